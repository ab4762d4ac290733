"""Compiled: the exact loss along a line in parameter space, piecewise constant, and the choice of one of its pieces."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Longs = NDArray[np.int64]
Floats = NDArray[np.float64]
NOWHERE = 2**62


@njit(cache=True, nogil=True)
def first_step(a: int, g: int, v: int) -> int:
    """Return the first integer t at which the comparison ``a + t g >= v`` has changed as t rises, g != 0."""
    return -((a - v) // g) if g > 0 else (a - v) // -g + 1


@njit(cache=True, nogil=True)
def breakpoints(
    a: Longs, g: Longs, v: Longs, u: Longs, low: Floats, mid: Floats, high: Floats,
    start: int, stop: int, at: Longs, jump: Floats,
) -> tuple[int, float]:  # fmt: skip
    """Collect where in start + 1..stop the sum over samples of a function of ``a_k + t g_k`` jumps, and by how much.

    The function of sample k is ``low_k`` below ``v_k``, ``mid_k`` in ``v_k..u_k - 1`` and ``high_k`` from ``u_k`` on.

    Returns
    -------
    count : int
        Filled entries of `at` and `jump`, of which there must be room for 2 a sample.
    base : float
        The sum at t = start.
    """
    count, base = 0, 0.0
    for k in range(len(a)):
        here = a[k] + start * g[k]
        base += low[k] if here < v[k] else mid[k] if here < u[k] else high[k]
        if g[k] == 0:
            continue
        one, two = first_step(a[k], g[k], v[k]), first_step(a[k], g[k], u[k])
        sign = 1.0 if g[k] > 0 else -1.0
        if one == two:
            if start < one <= stop and low[k] != high[k]:
                at[count], jump[count] = one, sign * (high[k] - low[k])
                count += 1
            continue
        if start < one <= stop and low[k] != mid[k]:
            at[count], jump[count] = one, sign * (mid[k] - low[k])
            count += 1
        if start < two <= stop and mid[k] != high[k]:
            at[count], jump[count] = two, sign * (high[k] - mid[k])
            count += 1
    return count, base


@njit(cache=True, nogil=True)
def choose_piece(
    at: Longs, jump: Floats, base: float, start: int, stop: int, heat: float, zero: int, price: float,
    rng: np.random.Generator,
) -> tuple[int, int, float]:  # fmt: skip
    """Draw a piece of a piecewise constant function on the integers start..stop by its heat bath.

    A piece of `width` integers with the value `loss` is drawn with a probability proportional to
    ``width * exp(-loss / heat)``; without heat only the least value counts.

    Parameters
    ----------
    at, jump : ndarray of shape (m,)
        Where the function jumps, in any order, and by how much; `base` is its value at start.
    zero : int
        The integer that is spared the `price`, which all others pay.

    Returns
    -------
    first, last, loss
    """
    order = np.argsort(at)
    best, least, first, last, first_here, loss = -math.inf, math.inf, start, start, start, base
    for e in range(len(at) + 1):
        here = at[order[e]] if e < len(at) else stop + 1
        if here > first_here:
            for spared in range(2 if price > 0.0 and first_here <= zero < here else 1):
                width = 1.0 if spared else float(here - first_here)
                value = loss + (0.0 if spared else price)
                key = math.log(width) - math.log(-math.log(1.0 - rng.random()))
                if heat > 0.0:
                    key -= (value - base) / heat
                    better = key > best
                else:
                    better = value < least or (value == least and key > best)
                if better:
                    best, least = key, value
                    first, last = (zero, zero) if spared else (first_here, here - 1)
            first_here = here
        if e < len(at):
            loss += jump[order[e]]
    return first, last, least


@njit(cache=True, nogil=True)
def place_in(first: int, last: int, heat: float, rng: np.random.Generator) -> int:
    """Return an integer of first..last: a random one while it is hot, else the middle."""
    if heat > 0.0:
        return first + min(int(rng.random() * (last - first + 1)), last - first)
    return first + (last - first) // 2
