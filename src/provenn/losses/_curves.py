"""Convex curves as numba scalars, shared by the convex engine, the searches and the MILP blocks.

A convex curve is a code and two parameters, so that compiled kernels are cached once
for all losses:

* `LOGISTIC`: ``f(z) = p0 * log(1 + exp(-z / p1))``
* `HINGE`: ``f(z) = (p0 - 4z)^2`` for ``-p0/2 <= z < p0/4``, 0 above, ``-3 p0^2 - 24 p0 z`` below
"""

import math

import numpy as np
from numba import njit

LOGISTIC = 0
HINGE = 1


@njit(cache=True)
def curve_point(code: int, p0: float, p1: float, z: float) -> tuple[float, float, float]:
    """Return value, slope and curvature of a convex curve at a real z."""
    if code == LOGISTIC:
        e = math.exp(-abs(z) / p1)
        value = p0 * (math.log1p(e) + max(-z / p1, 0.0))
        sigmoid = (e if z > 0 else 1.0) / (1.0 + e)
        return value, -p0 / p1 * sigmoid, p0 / (p1 * p1) * e / ((1.0 + e) * (1.0 + e))
    if z >= p0 / 4:
        return 0.0, 0.0, 0.0
    if z < -p0 / 2:
        return -3.0 * p0 * p0 - 24.0 * p0 * z, -24.0 * p0, 0.0
    gap = p0 - 4.0 * z
    return gap * gap, -8.0 * gap, 32.0


def curve_points(code: int, p0: float, p1: float, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return value, slope and curvature at every z: the NumPy twin of `curve_point`."""
    if code == LOGISTIC:
        e = np.exp(-np.abs(z) / p1)
        value = p0 * (np.log1p(e) + np.maximum(-z / p1, 0.0))
        sigmoid = np.where(z > 0, e, 1.0) / (1.0 + e)
        return value, -p0 / p1 * sigmoid, p0 / p1**2 * e / (1.0 + e) ** 2
    gap = np.maximum(p0 - 4.0 * z, 0.0)
    steep = z < -p0 / 2
    value = np.where(steep, -3.0 * p0 * p0 - 24.0 * p0 * z, gap * gap)
    return value, np.where(steep, -24.0 * p0, -8.0 * gap), np.where(steep | (gap == 0), 0.0, 32.0)
