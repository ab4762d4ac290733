"""Compiled mathematics of the convex engine: losses, gradients, Hessians and lower bounds of one neuron.

The loss of a point v (weights, then bias) is ``f(v) = sum_k m_k c(z_k)`` with ``z = A v``, where
row k of A is ``t_k * (x_k, s)`` and c is a convex curve. By convexity, at any point w,

    f(v) >= f(w) + g . (v - w)    for all v,  g = A^T (m * c'(z)),

so minimising the right side over the integer points of a box bounds the loss from below; w need
not be the minimiser of anything. NumPy twins are in `_convex_reference`.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from provenn.losses._curves import curve_point

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
REORDER = frozenset({"reassoc", "contract", "nsz"})
UNIT_ROUNDOFF = 2.0**-53
RIDGE = 1e-9


class Samples(NamedTuple):
    """Signed samples A (n rows, D columns) as dense columns or sparse columns and rows.

    Parameters
    ----------
    dense : ndarray of shape (D, n), float64, C-contiguous; (D, 0) where the sparse form is used
    col_start, col_row, col_value, row_start, row_col, row_value : sparse columns, sparse rows
    weight : ndarray of shape (n,), float64
        Multiplicities m.
    radius : ndarray of shape (n,), float64
        Bound of ``|z_k|`` over the root box, plus the curve's own length scale.
    code, p0, p1 : the curve, see `provenn.losses._curves`
    """

    dense: Floats
    col_start: Integers
    col_row: Integers
    col_value: Floats
    row_start: Integers
    row_col: Integers
    row_value: Floats
    weight: Floats
    radius: Floats
    code: int
    p0: float
    p1: float


@njit(cache=True, fastmath=REORDER)  # type: ignore[untyped-decorator]
def scores(samples: Samples, v: Floats, z: Floats) -> None:
    """Write ``z = A v``."""
    z[:] = 0.0
    if samples.dense.shape[1] > 0:
        for j in range(len(v)):
            if v[j] != 0.0:
                column, value = samples.dense[j], v[j]
                for k in range(len(z)):
                    z[k] += value * column[k]
        return
    for j in range(len(v)):
        if v[j] != 0.0:
            for i in range(samples.col_start[j], samples.col_start[j + 1]):
                z[samples.col_row[i]] += v[j] * samples.col_value[i]


@njit(cache=True, fastmath=REORDER)  # type: ignore[untyped-decorator]
def losses(samples: Samples, z: Floats, slope: Floats, curvature: Floats) -> tuple[float, float]:
    """Write ``m c'(z)`` and ``m c''(z)``; return ``f`` and ``sum_k m_k |c'(z_k)| radius_k``."""
    value, reach = 0.0, 0.0
    for k in range(len(z)):
        c, first, second = curve_point(samples.code, samples.p0, samples.p1, z[k])
        slope[k] = samples.weight[k] * first
        curvature[k] = samples.weight[k] * second
        value += samples.weight[k] * c
        reach += abs(slope[k]) * samples.radius[k]
    return value, reach


@njit(cache=True, fastmath=REORDER)  # type: ignore[untyped-decorator]
def loss_only(samples: Samples, z: Floats) -> float:
    """Return ``f`` at scores z."""
    value = 0.0
    for k in range(len(z)):
        value += samples.weight[k] * curve_point(samples.code, samples.p0, samples.p1, z[k])[0]
    return value


@njit(cache=True, fastmath=REORDER)  # type: ignore[untyped-decorator]
def gradient(samples: Samples, slope: Floats, free: Integers, g: Floats) -> None:
    """Write ``g_a = (A^T slope)_{free_a}`` for the listed columns."""
    for a in range(len(free)):
        j = free[a]
        total = 0.0
        if samples.dense.shape[1] > 0:
            column = samples.dense[j]
            for k in range(len(slope)):
                total += column[k] * slope[k]
        else:
            for i in range(samples.col_start[j], samples.col_start[j + 1]):
                total += samples.col_value[i] * slope[samples.col_row[i]]
        g[a] = total


@njit(cache=True, fastmath=REORDER)  # type: ignore[untyped-decorator]
def hessian(samples: Samples, curvature: Floats, free: Integers, H: Floats) -> None:
    """Write ``H = A^T diag(curvature) A`` on the listed columns, with a relative ridge of 1e-9."""
    n, m = len(curvature), len(free)
    H[:, :] = 0.0
    if samples.dense.shape[1] > 0:
        scaled = np.empty(n)
        for a in range(m):
            column = samples.dense[free[a]]
            for k in range(n):
                scaled[k] = curvature[k] * column[k]
            for b in range(a + 1):
                other = samples.dense[free[b]]
                total = 0.0
                for k in range(n):
                    total += scaled[k] * other[k]
                H[a, b] = total
    else:
        position = np.full(len(samples.col_start) - 1, -1)
        position[free] = np.arange(m)
        for k in range(n):
            for i in range(samples.row_start[k], samples.row_start[k + 1]):
                a = position[samples.row_col[i]]
                if a >= 0:
                    value = curvature[k] * samples.row_value[i]
                    for e in range(samples.row_start[k], i + 1):
                        b = position[samples.row_col[e]]
                        if b >= 0:
                            H[a, b] += value * samples.row_value[e]
    for a in range(m):
        H[a, a] = H[a, a] * (1.0 + RIDGE) + 1e-300
        for b in range(a):
            H[b, a] = H[a, b]


@njit(cache=True, fastmath=REORDER)  # type: ignore[untyped-decorator]
def cholesky(H: Floats, index: Integers, m: int, C: Floats) -> None:
    """Write the lower factor of ``H[index[:m], index[:m]]``; vanishing pivots become huge (directions are dropped)."""
    for a in range(m):
        for b in range(a + 1):
            total = H[index[a], index[b]]
            for e in range(b):
                total -= C[a, e] * C[b, e]
            if b < a:
                C[a, b] = total / C[b, b]
            else:
                C[a, a] = np.sqrt(total) if total > 1e-10 * H[index[a], index[a]] else 1e5 * np.sqrt(H[index[a], index[a]])


@njit(cache=True, fastmath=REORDER)  # type: ignore[untyped-decorator]
def inverse_diagonal(C: Floats, m: int, p: int, y: Floats) -> float:
    """Write ``y = C^-1 e_p`` and return ``|y|^2``, the p-th diagonal entry of the inverse."""
    norm = 0.0
    for a in range(p):
        y[a] = 0.0
    for a in range(p, m):
        total = 1.0 if a == p else 0.0
        for e in range(p, a):
            total -= C[a, e] * y[e]
        y[a] = total / C[a, a]
        norm += y[a] * y[a]
    return norm


@njit(cache=True)  # type: ignore[untyped-decorator]
def back_substitute(C: Floats, m: int, y: Floats) -> None:
    """Overwrite y by ``C^-T y``."""
    for a in range(m - 1, -1, -1):
        y[a] /= C[a, a]
        for e in range(a):
            y[e] -= C[a, e] * y[a]


@njit(cache=True)  # type: ignore[untyped-decorator]
def lowest(g: float, w: float, low: float, high: float, price: float) -> tuple[float, float]:
    """Return ``min g (v - w) + price [v != 0]`` over the integers v of a box, over all v and over v != 0.

    The extreme points of the pieces suffice: low, high and 0. The second value is that of the
    better end that is not 0 (infinite where the box is {0}).
    """
    ends = min(
        g * (low - w) + price if low != 0.0 else np.inf,
        g * (high - w) + price if high != 0.0 else np.inf,
    )
    if low <= 0.0 <= high:
        return min(ends, -g * w), ends
    return ends, ends


@njit(cache=True)  # type: ignore[untyped-decorator]
def linear_minimum(
    g: Floats, w: Floats, low: Floats, high: Floats, price: Floats, room: int, zero_ok: NDArray[np.bool_], gains: Floats
) -> float:
    """Minimise ``g . (v - w) + price . [v != 0]`` over the integers of a box with at most `room` non-zeros.

    Parameters
    ----------
    g, w, low, high, price : ndarray of shape (m,), float64
    room : int
        Non-zero entries still allowed among the entries with a budget; negative for no budget.
    zero_ok : ndarray of shape (m,), bool
        Entries that count in the budget and whose domain has 0.
    gains : ndarray of shape (m,), float64
        Written: by how much each entry pays for leaving 0.
    """
    total, count = 0.0, 0
    for a in range(len(g)):
        best, ends = lowest(g[a], w[a], low[a], high[a], price[a])
        gains[a] = 0.0
        if not zero_ok[a]:
            total += ends if price[a] > 0.0 or room >= 0 and low[a] > 0.0 else best
            continue
        if room < 0 or low[a] > 0.0 or high[a] < 0.0:
            total += best
            count += 1 if low[a] > 0.0 or high[a] < 0.0 else 0
            continue
        total += -g[a] * w[a]
        gains[a] = max(0.0, -g[a] * w[a] - ends)
    if room < 0:
        return total
    allowed = room - count
    if allowed < 0:
        return np.inf
    ranked = np.sort(gains)
    for a in range(min(allowed, len(ranked))):
        total -= ranked[len(ranked) - 1 - a]
    return total
