"""Compiled mathematics of the convex engine: losses, gradients, Hessians and lower bounds of one neuron.

The loss of a point v (weights, then bias) is ``f(v) = sum_k m_k c(z_k)`` with ``z = A v``, where
row k of A is ``t_k * (x_k, s)`` and c is a convex curve. By convexity, at any point w,

    f(v) >= f(w) + g . (v - w)    for all v,  g = A^T (m * c'(z)),

so minimising the right side over the integer points of a box bounds the loss from below; w need
not be the minimiser of anything. NumPy twins are in `_convex_reference`.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from provenn.bounds._convex_samples import REORDER, Floats, Integers


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
