"""Compiled: what a unit does under perturbations.

Its state on a sample is a code of bits: `FIRES` (under every perturbation), `MAY` (under some), `ON` (at the sample
itself) and `NEAR` (below 0 by less than the margin).
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Longs = NDArray[np.int64]
FIRES, MAY, ON, NEAR = 1, 2, 4, 8
INF, ONE, TWO = 0, 1, 2


@njit(cache=True, nogil=True)
def ceil_root(total: int) -> int:
    """Return the smallest integer whose square is at least `total`, below 2^62."""
    root = int(math.sqrt(float(total)))
    while root * root < total:
        root += 1
    while root > 0 and (root - 1) * (root - 1) >= total:
        root -= 1
    return root


@njit(cache=True, nogil=True)
def unit_reach(w: Longs, R: Longs, norm: int) -> int:
    """Return how far perturbations move a unit with weights w."""
    total = 0
    for i in range(len(R)):
        moved = int(abs(w[i]) * R[i])
        if norm == INF:
            total += moved
        elif norm == ONE:
            total = max(total, moved)
        else:
            total += moved * moved
    return ceil_root(total) if norm == TWO else total


@njit(cache=True, nogil=True)
def code_of(a: int, D: int, margin: int) -> int:
    """Return the state of a unit with pre-activation a and reach D."""
    code = 0
    if a >= D:
        code |= FIRES
    if a + D > -margin:
        code |= MAY
    if a >= 0:
        code |= ON
    elif a > -margin:
        code |= NEAR
    return code


@njit(cache=True, nogil=True)
def share(v: int, code: int, lowest: int, worst: bool, lower: bool) -> int:
    """Return what a unit adds to the lower or upper score through the weight v."""
    low = 1 if code & (FIRES if worst else ON) else lowest
    high = 1 if code & (MAY if worst else ON) else lowest
    one, two = v * low, v * high
    return min(one, two) if lower else max(one, two)


@njit(cache=True, nogil=True)
def extra(code: int) -> int:
    """Return 1 for a unit that may change under perturbations."""
    return 1 if (code & FIRES != 0) != (code & MAY != 0) else 0


@njit(cache=True, nogil=True)
def reach_with(first: Longs, j: int, i: int, value: int, R: Longs, norm: int) -> int:
    """Return the reach of unit j with another weight at input i."""
    old = first[j, i]
    first[j, i] = value
    reach = unit_reach(first[j], R, norm)
    first[j, i] = old
    return reach
