"""Compiled enumeration of all networks from a list of units, and improvement by exchanging units."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Signs = NDArray[np.int8]


@njit(cache=True, nogil=True)
def combine(
    patterns: Signs,
    sides: Signs,
    reduced: Integers,
    magnitudes: Integers,
    wanted: Integers,
    losses: Integers,
    room: int,
    quotient: int,
    best: int,
    first: int,
    visits: int,
    chosen: Integers,
) -> tuple[int, int]:
    """Find the best network with the given first unit among units in ascending order of their reduced costs.

    Parameters
    ----------
    patterns : ndarray of shape (K, n), int8
    sides : ndarray of shape (K,), int8
        1 or -1: plain or mirrored unit; 0: both.
    reduced : ndarray of shape (K,), int64
        Ascending: what a unit of magnitude 1 adds to the bound, in units over `quotient`.
    magnitudes, wanted : ndarray of shape (h,), int64
        Of each unit, equal ones side by side, and the side that it must have (0: any).
    losses : ndarray of shape (n, 2 r + 1), int64
        Loss of each sample, with its multiplicity, at offsets -r..r.
    room : int
        Sum of ``magnitude * reduced`` that a network better than `best` cannot exceed.
    best : int
        Only networks below this value count.
    first : int
        The first unit.
    visits : int
        Work allowed, in evaluated networks and partial ones.
    chosen : ndarray of shape (h,), int64
        Written: the best network's units.

    Returns
    -------
    best : int
    visits : int
        Work left; negative when the enumeration is not complete.
    """
    K, n = patterns.shape
    h, middle = len(magnitudes), losses.shape[1] // 2
    place, used = np.full(h, -1, np.int64), np.zeros(h + 1, np.int64)
    sums = np.full((h + 1, n), middle, np.int64)
    alike = magnitudes.copy()  # with all units that follow and cannot have a smaller reduced cost
    for e in range(h - 2, -1, -1):
        if magnitudes[e] == magnitudes[e + 1] and wanted[e] == wanted[e + 1]:
            alike[e] += alike[e + 1]
    level = 0
    place[0] = first - 1
    while level >= 0:
        place[level] += 1
        i = place[level]
        if i >= K or (level == 0 and i > first) or used[level] + alike[level] * reduced[i] > room:
            level -= 1
            continue
        if wanted[level] * sides[i] < 0:
            continue
        visits -= 1
        if visits < 0:
            return best, visits
        if level == h - 1:
            value = 0
            for k in range(n):
                value += losses[k, sums[level, k] + magnitudes[level] * patterns[i, k]]
                if value >= best:
                    break
            if value < best:
                room -= (best - value) * quotient
                best = value
                chosen[:] = place
            continue
        for k in range(n):
            sums[level + 1, k] = sums[level, k] + magnitudes[level] * patterns[i, k]
        used[level + 1] = used[level] + magnitudes[level] * reduced[i]
        level += 1
        same = magnitudes[level] == magnitudes[level - 1] and wanted[level] == wanted[level - 1]
        place[level] = i - 1 if same else -1
    return best, visits


@njit(cache=True, nogil=True)
def exchange(
    patterns: Signs, sides: Signs, magnitudes: Integers, wanted: Integers, losses: Integers, chosen: Integers
) -> int:
    """Exchange single units for the best of the list until none improves; `chosen` is read and written.

    Returns
    -------
    int
        The loss of the network.
    """
    K, n = patterns.shape
    h, middle = len(magnitudes), losses.shape[1] // 2
    sums = np.full(n, middle, np.int64)
    for e in range(h):
        for k in range(n):
            sums[k] += magnitudes[e] * patterns[chosen[e], k]
    best = 0
    for k in range(n):
        best += losses[k, sums[k]]
    improved = True
    while improved:
        improved = False
        for e in range(h):
            for k in range(n):
                sums[k] -= magnitudes[e] * patterns[chosen[e], k]
            for i in range(K):
                if wanted[e] * sides[i] < 0:
                    continue
                value = 0
                for k in range(n):
                    value += losses[k, sums[k] + magnitudes[e] * patterns[i, k]]
                    if value >= best:
                        break
                if value < best:
                    best, chosen[e], improved = value, i, True
            for k in range(n):
                sums[k] += magnitudes[e] * patterns[chosen[e], k]
    return best
