"""NumPy twins of the compiled mathematics of the convex engine, for tests."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._convex_samples import RIDGE
from provenn.losses._curves import curve_points

Floats = NDArray[np.float64]
Curve = tuple[int, float, float]


def losses(curve: Curve, weight: Floats, radius: Floats, z: Floats) -> tuple[float, float, Floats, Floats]:
    """Return ``f``, ``sum_k m_k |c'(z_k)| radius_k``, ``m c'(z)`` and ``m c''(z)``."""
    value, slope, curvature = curve_points(*curve, z)
    return float(weight @ value), float(np.abs(weight * slope) @ radius), weight * slope, weight * curvature


def hessian(A: Floats, curvature: Floats) -> Floats:
    """Return ``A^T diag(curvature) A`` with the ridge of the kernel."""
    H = np.asarray(A.T @ (curvature[:, None] * A))
    diagonal = H.diagonal()
    H[np.diag_indices(len(H))] = diagonal * (1.0 + RIDGE) + 1e-12 * max(1e-20, diagonal.max(initial=0.0))
    return H


def linear_minimum(
    g: Floats, w: Floats, low: Floats, high: Floats, price: Floats, counts: NDArray[np.bool_], room: int
) -> float:
    """Minimise ``g . (v - w) + price . [v != 0]`` over a box with at most `room` non-zeros (negative: any)."""
    stay = np.where((low <= 0) & (high >= 0), -g * w, np.inf)
    paid = np.where(counts, price, 0.0)
    ends = np.stack([np.where(low != 0, g * (low - w), np.inf), np.where(high != 0, g * (high - w), np.inf)])
    leave = ends.min(axis=0) + paid
    if room < 0:
        return float(np.minimum(stay, leave).sum())
    forced = counts & np.isinf(stay)
    choice = counts & ~forced
    allowed = room - int(forced.sum())
    if allowed < 0:
        return float("inf")
    gains = np.sort(np.maximum(0.0, stay[choice] - leave[choice]))[::-1]
    rest = np.minimum(stay, leave)[~counts].sum() + leave[forced].sum() + stay[choice].sum()
    return float(rest - gains[:allowed].sum())


def envelope(v: Floats, low: Floats, high: Floats, price: Floats) -> Floats:
    """Return the convex envelope of ``price [v != 0]`` over each interval, at v."""
    held = (low <= 0) & (high >= 0)
    end = np.where(v > 0, high, low)
    share = np.divide(v, end, out=np.zeros_like(v), where=(v != 0) & (end != 0))
    return np.asarray(np.where(held, price * share, price))


def model(H: Floats, g: Floats, d: Floats) -> float:
    """Return ``g . d + d H d / 2``."""
    return float(g @ d + 0.5 * d @ H @ d)


def coordinate_minimum(x: float, g: float, h: float, low: float, high: float, price: float) -> float:
    """Minimise ``g (v - x) + h (v - x)^2 / 2 + envelope(v)`` over an interval by trying the stationary points."""
    slopes: Sequence[float] = [0.0]
    if price > 0 and low <= 0 <= high:
        slopes = [price / end for end in (low, high) if end != 0]
    stationary = np.array([x - (g + slope) / h for slope in slopes] + [low, high, 0.0 if low <= 0 <= high else low])
    v = np.clip(stationary, low, high)
    ones = np.ones_like(v)
    values = g * (v - x) + 0.5 * h * (v - x) ** 2 + envelope(v, low * ones, high * ones, price * ones)
    return float(v[np.argmin(values)])


def annealing_change(curve: Curve, weight: Floats, z: Floats, column: Floats, move: float) -> float:
    """Return the change of ``f`` when one entry moves."""
    return float(weight @ (curve_points(*curve, z + move * column)[0] - curve_points(*curve, z)[0]))
