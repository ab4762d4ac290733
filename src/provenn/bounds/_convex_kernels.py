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
REORDER = {"reassoc", "contract", "nsz"}
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


@njit(cache=True, fastmath=REORDER)
def scores(samples: Samples, start: Floats, free: Integers, x: Floats, z: Floats) -> None:
    """Write ``z = start + A_free x``."""
    for k in range(len(z)):
        z[k] = start[k]
    for a in range(len(free)):
        j, value = free[a], x[a]
        if value != 0.0 and samples.dense.shape[1] > 0:
            for k in range(len(z)):
                z[k] += value * samples.dense[j, k]
        elif value != 0.0:
            for i in range(samples.col_start[j], samples.col_start[j + 1]):
                z[samples.col_row[i]] += value * samples.col_value[i]


@njit(cache=True, fastmath=REORDER)
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


@njit(cache=True, fastmath=REORDER)
def loss_only(samples: Samples, z: Floats) -> float:
    """Return ``f`` at scores z."""
    value = 0.0
    for k in range(len(z)):
        value += samples.weight[k] * curve_point(samples.code, samples.p0, samples.p1, z[k])[0]
    return value


@njit(cache=True, fastmath=REORDER)
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


@njit(cache=True, fastmath=REORDER)
def dense_hessian(samples: Samples, curvature: Floats, free: Integers, H: Floats) -> None:
    """Write the lower triangle of ``A^T diag(curvature) A`` column by column."""
    n = len(curvature)
    scaled = np.empty(n)
    for a in range(len(free)):
        for k in range(n):
            scaled[k] = curvature[k] * samples.dense[free[a], k]
        for b in range(a + 1):
            total = 0.0
            for k in range(n):
                total += scaled[k] * samples.dense[free[b], k]
            H[a, b] = total


@njit(cache=True)
def sparse_hessian(samples: Samples, curvature: Floats, free: Integers, H: Floats) -> None:
    """Write the lower triangle of ``A^T diag(curvature) A`` sample by sample."""
    position = np.empty(len(samples.col_start) - 1, np.int64)
    for j in range(len(position)):
        position[j] = -1
    for a in range(len(free)):
        position[free[a]] = a
        for b in range(a + 1):
            H[a, b] = 0.0
    place, filled = np.empty(len(position), np.int64), np.empty(len(position))
    for k in range(len(curvature)):
        count = 0
        for i in range(samples.row_start[k], samples.row_start[k + 1]):
            if position[samples.row_col[i]] >= 0:
                place[count], filled[count] = position[samples.row_col[i]], samples.row_value[i]
                count += 1
        for i in range(count):
            value = curvature[k] * filled[i]
            for e in range(i + 1):
                H[place[i], place[e]] += value * filled[e]


@njit(cache=True)
def hessian(samples: Samples, curvature: Floats, free: Integers, H: Floats) -> None:
    """Write ``H = A^T diag(curvature) A`` on the listed ascending columns, with a relative ridge of 1e-9."""
    if samples.dense.shape[1] > 0:
        dense_hessian(samples, curvature, free, H)
    else:
        sparse_hessian(samples, curvature, free, H)
    most = 1e-20  # representable as float32, in which models are kept
    for a in range(len(free)):
        most = max(most, H[a, a])
    for a in range(len(free)):
        H[a, a] = H[a, a] * (1.0 + RIDGE) + 1e-12 * most
        for b in range(a):
            H[b, a] = H[a, b]


@njit(cache=True, fastmath=REORDER)
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
                C[a, a] = (
                    np.sqrt(total) if total > 1e-10 * H[index[a], index[a]] else 1e5 * np.sqrt(H[index[a], index[a]])
                )


@njit(cache=True, fastmath=REORDER)
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


@njit(cache=True)
def back_substitute(C: Floats, m: int, y: Floats) -> None:
    """Overwrite y by ``C^-T y``."""
    for a in range(m - 1, -1, -1):
        y[a] /= C[a, a]
        for e in range(a):
            y[e] -= C[a, e] * y[a]


@njit(cache=True)
def leave_zero(g: float, w: float, low: float, high: float, price: float) -> float:
    """Return the smallest ``g (v - w) + price`` over the ends of a box that are not 0 (infinite for {0})."""
    best = np.inf
    if low != 0.0:
        best = g * (low - w) + price
    if high != 0.0:
        best = min(best, g * (high - w) + price)
    return best


@njit(cache=True)
def linear_minimum(
    g: Floats,
    w: Floats,
    low: Floats,
    high: Floats,
    price: Floats,
    counts: NDArray[np.bool_],
    room: int,
) -> float:
    """Minimise ``g . (v - w) + price . [v != 0]`` over the integers of a box with at most `room` non-zeros.

    Each entry is best at an end of its box or at 0; under a budget, the entries that gain
    most from leaving 0 do.

    Parameters
    ----------
    g, w, low, high, price : ndarray of shape (m,), float64
    counts : ndarray of shape (m,), bool
        Entries that the budget and the prices apply to; 0 is in the domain of each of them.
    room : int
        Largest number of non-zeros among them; negative for no budget.
    """
    total, forced = 0.0, 0
    gains = np.zeros(len(g) if room >= 0 else 0)
    for a in range(len(g)):
        leave = leave_zero(g[a], w[a], low[a], high[a], price[a] if counts[a] else 0.0)
        if low[a] > 0.0 or high[a] < 0.0:
            total += leave
            forced += counts[a]
        elif room < 0 or not counts[a]:
            total += min(leave, -g[a] * w[a])
        else:
            total -= g[a] * w[a]
            gains[a] = max(0.0, -g[a] * w[a] - leave)
    if room >= 0 and forced > room:
        return np.inf
    for _ in range(room - forced):
        best = 0
        for a in range(len(g)):
            if gains[a] > gains[best]:
                best = a
        if gains[best] == 0.0:
            break
        total -= gains[best]
        gains[best] = 0.0
    return total


@njit(cache=True)
def coordinate_minimum(x: float, g: float, h: float, low: float, high: float, price: float) -> float:
    """Minimise ``g (v - x) + h (v - x)^2 / 2 + envelope(v)`` over an interval.

    The envelope of ``price [v != 0]`` is ``price |v| / |end|`` on each side of 0, and constant
    where the interval leaves 0 out.
    """
    free = x - g / h
    if price == 0.0 or low > 0.0 or high < 0.0:
        return min(max(free, low), high)
    if high > 0.0 and free - price / high / h > 0.0:
        return min(free - price / high / h, high)
    if low < 0.0 and free - price / low / h < 0.0:
        return max(free - price / low / h, low)
    return 0.0


@njit(cache=True)
def coordinate_descent(
    H: Floats, g: Floats, x: Floats, low: Floats, high: Floats, price: Floats, tolerance: float, sweeps: int
) -> bool:
    """Minimise ``g . d + d H d / 2 + envelope(x + d)`` over a box; x and the model's gradient g move along."""
    for _ in range(sweeps):
        most = 0.0
        for a in range(len(x)):
            if low[a] < high[a]:
                new = coordinate_minimum(x[a], g[a], H[a, a], low[a], high[a], price[a])
                move = new - x[a]
                if move != 0.0:
                    x[a] = new
                    most += move * move * H[a, a]
                    for b in range(len(x)):
                        g[b] += move * H[a, b]
        if most <= tolerance:
            return True
    return False


@njit(cache=True)
def newton_step(H: Floats, g: Floats, x: Floats, low: Floats, high: Floats, price: Floats, C: Floats) -> None:
    """Solve the model on the entries strictly inside their pieces, and move there as far as the box allows.

    The step is clipped to the box where that lowers the model, and cut short at the first end otherwise.
    """
    p = len(x)
    inner, m = np.empty(p, np.int64), 0
    for a in range(p):
        if low[a] < x[a] < high[a] and (x[a] != 0.0 or price[a] == 0.0):
            inner[m] = a
            m += 1
    if m == 0:
        return
    y, move = np.empty(m), np.zeros(p)
    cholesky(H, inner, int(m), C)
    for e in range(m):
        a = inner[e]
        y[e] = -g[a] - envelope_slope(x[a], low[a], high[a], price[a])
    for e in range(m):
        for b in range(e):
            y[e] -= C[e, b] * y[b]
        y[e] /= C[e, e]
    back_substitute(C, int(m), y)
    longest, before = 1.0, 0.0
    for e in range(m):
        a = inner[e]
        bottom, top = piece(x[a], low[a], high[a], price[a])
        end = top if y[e] > 0.0 else bottom
        if y[e] != 0.0:
            longest = min(longest, (end - x[a]) / y[e])
        move[a] = min(max(y[e], bottom - x[a]), top - x[a])
        before += move[a] * (g[a] + envelope_slope(x[a], low[a], high[a], price[a]))
    step = np.zeros(p)
    inner = inner[:m]
    curved = hessian_step(H, inner, move, step)
    if before + 0.5 * curved > 0.25 * before:
        for e in range(m):
            move[inner[e]] = longest * y[e]
        hessian_step(H, inner, move, step)
    for a in range(p):
        x[a] = min(max(x[a] + move[a], low[a]), high[a])
        g[a] += step[a]


@njit(cache=True)
def hessian_step(H: Floats, inner: Integers, move: Floats, step: Floats) -> float:
    """Write ``step = H move`` for a move of the inner entries and return ``move H move``."""
    for a in range(len(step)):
        step[a] = 0.0
    for a in inner:
        if move[a] != 0.0:
            for b in range(len(move)):
                step[b] += move[a] * H[a, b]
    curved = 0.0
    for a in range(len(move)):
        curved += move[a] * step[a]
    return curved


@njit(cache=True)
def envelope_slope(x: float, low: float, high: float, price: float) -> float:
    """Return the slope of the envelope of ``price [v != 0]`` at x."""
    if price == 0.0 or low > 0.0 or high < 0.0 or x == 0.0:
        return 0.0
    return price / high if x > 0.0 else price / low


@njit(cache=True)
def piece(x: float, low: float, high: float, price: float) -> tuple[float, float]:
    """Return the part of the box on which the envelope is linear around x."""
    if price == 0.0 or low > 0.0 or high < 0.0:
        return low, high
    return (0.0, high) if x > 0.0 else (low, 0.0)


@njit(cache=True)
def minimise_model(
    H: Floats, g: Floats, x: Floats, low: Floats, high: Floats, price: Floats, tolerance: float, C: Floats
) -> None:
    """Minimise the model over a box: coordinate descent, and Newton steps where that is too slow."""
    for trial in range(7):
        if trial > 0:
            newton_step(H, g, x, low, high, price, C)
        if coordinate_descent(H, g, x, low, high, price, tolerance, 4 if trial == 0 else 2):
            return


@njit(cache=True)
def envelope_use(x: Floats, low: Floats, high: Floats, counts: NDArray[np.bool_]) -> float:
    """Return ``sum |v| / |end|``, the relaxed number of non-zeros."""
    use = 0.0
    for a in range(len(x)):
        if counts[a]:
            if low[a] > 0.0 or high[a] < 0.0:
                use += 1.0
            elif x[a] > 0.0:
                use += x[a] / high[a]
            elif x[a] < 0.0:
                use += x[a] / low[a]
    return use
