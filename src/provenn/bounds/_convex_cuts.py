"""Compiled mixtures of tangents: the best convex combination of two cuts over a box, whatever the number of samples.

Where each of several cuts ``f(v) >= c_i + g_i . v`` is valid, so is every mixture of them with shares that
sum to 1, and its minimum over a box, ``c + sum_j min(g_j low_j, g_j high_j)``, can exceed those of all
of them: the best shares are the dual of minimising the largest cut, the linear program of cutting-plane methods.

References
----------
Cutting planes in weight space: Ustun & Rudin, arXiv 1610.00168. Aggregated cuts in bundle methods: Kiwiel,
Math. Program. 27 (1983), doi:10.1007/BF02591907.
"""

import numpy as np
from numba import njit

from provenn.bounds._convex_samples import REORDER, Floats

BISECTIONS = 16


@njit(cache=True, fastmath=REORDER)
def box_minimum(g: Floats, low: Floats, high: Floats) -> float:
    """Return the minimum of ``g . v`` over a box."""
    total = 0.0
    for a in range(len(g)):
        total += min(g[a] * low[a], g[a] * high[a])
    return total


@njit(cache=True)
def steepness(cut: Floats, g: Floats, share: float, low: Floats, high: Floats) -> float:
    """Return ``(g - cut) . v`` at the point v of the box where ``cut + share (g - cut)`` is least."""
    total = 0.0
    for a in range(len(g)):
        rise = g[a] - cut[a]
        total += rise * (low[a] if cut[a] + share * rise > 0.0 else high[a])
    return total


@njit(cache=True)
def mix(
    cut: Floats, offset: float, mixed: float, g: Floats, bound: float, low: Floats, high: Floats
) -> tuple[float, float]:
    """Mix a tangent into a cut such that the minimum over a box is largest; return the new offset and that minimum.

    The minimum is concave in the share of the tangent, its slope is ``c_2 - c_1`` plus the `steepness`, and
    bisection finds where it changes its sign. Sizes stay those of the tangents, so the rounding
    that these account for covers the few operations here.

    Parameters
    ----------
    cut : ndarray of shape (p,), float64
        Slope of the cut so far; overwritten.
    offset, mixed : float
        Its offset and its minimum over the box; ``mixed = -inf`` if there is none yet.
    g : ndarray of shape (p,), float64
        Slope of the tangent.
    bound : float
        The tangent's minimum over the box.
    low, high : ndarray of shape (p,), float64
    """
    if bound == -np.inf:
        return offset, mixed
    other = bound - box_minimum(g, low, high)
    if mixed == -np.inf:
        for a in range(len(g)):
            cut[a] = g[a]
        return other, bound
    bottom, top = 0.0, 1.0
    for _ in range(BISECTIONS):
        share = 0.5 * (bottom + top)
        if other - offset + steepness(cut, g, share, low, high) > 0.0:
            bottom = share
        else:
            top = share
    share = 0.0 if bottom == 0.0 else 1.0 if top == 1.0 else 0.5 * (bottom + top)
    for a in range(len(g)):
        cut[a] += share * (g[a] - cut[a])
    offset += share * (other - offset)
    return offset, offset + box_minimum(cut, low, high)
