"""Compiled losses of the convex engine: the curve at all scores, in loops that compile to vector instructions.

No library function has such a form for all processors, so exponential and logarithm are polynomials
here: ``exp(u) = 2^k exp(r)`` with ``|r| <= log(2) / 2`` from its series, and ``log(1 + e)`` from
``2 artanh(e / (2 + e))``. Both are right to a few units in the last place.
"""

import numpy as np
from numba import njit

from provenn.bounds._convex_samples import REORDER, Floats, Samples
from provenn.losses._curves import LOGISTIC, curve_point

PART = 512
"""Scores at a time: what lies between the loops stays in the fastest cache."""
DEEPEST = 700.0
LOG2_E = 1.4426950408889634
LOG_2 = 0.6931471805599453


@njit(cache=True, fastmath=REORDER, error_model="numpy")
def decay(z: Floats, p1: float, e: Floats, power: Floats) -> None:
    """Write ``exp(-|z| / p1)`` to e, as far as -DEEPEST; `power` is scratch."""
    bits = power.view(np.int64)
    for i in range(len(z)):
        u = max(-abs(z[i]) / p1, -DEEPEST)
        k = np.floor(u * LOG2_E + 0.5)
        r = u - k * LOG_2
        p = 1.0 / 6227020800.0
        p = p * r + 1.0 / 479001600.0
        p = p * r + 1.0 / 39916800.0
        p = p * r + 1.0 / 3628800.0
        p = p * r + 1.0 / 362880.0
        p = p * r + 1.0 / 40320.0
        p = p * r + 1.0 / 5040.0
        p = p * r + 1.0 / 720.0
        p = p * r + 1.0 / 120.0
        p = p * r + 1.0 / 24.0
        p = p * r + 1.0 / 6.0
        p = p * r + 0.5
        p = p * r + 1.0
        e[i] = p * r + 1.0
        bits[i] = (np.int64(k) + 1023) << 52
    for i in range(len(z)):
        e[i] *= power[i]


@njit(cache=True, fastmath=REORDER, error_model="numpy")
def log_one_plus(e: float) -> float:
    """Return ``log(1 + e)`` for e in 0..1."""
    s = e / (2.0 + e)
    t = s * s
    p = 1.0 / 31.0
    p = p * t + 1.0 / 29.0
    p = p * t + 1.0 / 27.0
    p = p * t + 1.0 / 25.0
    p = p * t + 1.0 / 23.0
    p = p * t + 1.0 / 21.0
    p = p * t + 1.0 / 19.0
    p = p * t + 1.0 / 17.0
    p = p * t + 1.0 / 15.0
    p = p * t + 1.0 / 13.0
    p = p * t + 1.0 / 11.0
    p = p * t + 1.0 / 9.0
    p = p * t + 1.0 / 7.0
    p = p * t + 1.0 / 5.0
    p = p * t + 1.0 / 3.0
    return 2.0 * s * (p * t + 1.0)


@njit(cache=True, fastmath=REORDER, error_model="numpy")
def logistic_part(
    p0: float, p1: float, weight: Floats, radius: Floats, z: Floats, e: Floats, slope: Floats, curvature: Floats
) -> tuple[float, float]:
    """Write slopes and curvatures of the logistic loss from ``e = exp(-|z| / p1)``; return its sum and reach."""
    value, reach = 0.0, 0.0
    for i in range(len(z)):
        share, size = 1.0 / (1.0 + e[i]), weight[i] * p0
        steep = size / p1 * share * (e[i] if z[i] > 0.0 else 1.0)
        slope[i] = -steep
        curvature[i] = size / (p1 * p1) * e[i] * share * share
        value += size * (log_one_plus(e[i]) + max(-z[i] / p1, 0.0))
        reach += steep * radius[i]
    return value, reach


@njit(cache=True, fastmath=REORDER)
def losses(samples: Samples, z: Floats, slope: Floats, curvature: Floats) -> tuple[float, float]:
    """Write ``m c'(z)`` and ``m c''(z)``; return ``f`` and ``sum_k m_k |c'(z_k)| radius_k``."""
    value, reach = 0.0, 0.0
    weight, radius = samples.weight, samples.radius
    if samples.code == LOGISTIC:
        e, power = np.empty(PART), np.empty(PART)
        for a in range(0, len(z), PART):
            b = min(a + PART, len(z))
            decay(z[a:b], samples.p1, e[: b - a], power[: b - a])
            here = logistic_part(
                samples.p0, samples.p1, weight[a:b], radius[a:b], z[a:b], e[: b - a], slope[a:b], curvature[a:b]
            )
            value += here[0]
            reach += here[1]
        return value, reach
    for k in range(len(z)):
        c, first, second = curve_point(samples.code, samples.p0, samples.p1, z[k])
        slope[k] = weight[k] * first
        curvature[k] = weight[k] * second
        value += weight[k] * c
        reach += abs(slope[k]) * radius[k]
    return value, reach


@njit(cache=True, fastmath=REORDER, error_model="numpy")
def loss_only(samples: Samples, z: Floats) -> float:
    """Return ``f`` at scores z."""
    value = 0.0
    if samples.code == LOGISTIC:
        e, power = np.empty(PART), np.empty(PART)
        for a in range(0, len(z), PART):
            b = min(a + PART, len(z))
            decay(z[a:b], samples.p1, e[: b - a], power[: b - a])
            for i in range(b - a):
                value += samples.weight[a + i] * (log_one_plus(e[i]) + max(-z[a + i] / samples.p1, 0.0))
        return value * samples.p0
    for k in range(len(z)):
        value += samples.weight[k] * curve_point(samples.code, samples.p0, samples.p1, z[k])[0]
    return value
