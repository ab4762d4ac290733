"""Compiled search for single neurons that agree best with weighted signs: the columns of the hull bound."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_SWEEPS = 60


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def agreement_after(a: Floats, column: Floats, move: float, tie: float, wanted: Floats) -> float:
    """Return ``sum wanted_k sign(a_k + move column_k)``; `tie` makes a score of 0 count as its sign."""
    total = 0.0
    for k in range(len(a)):
        total += wanted[k] if a[k] + move * column[k] + tie > 0.0 else -wanted[k]
    return total


@njit(cache=True)
def candidate(low: float, high: float, step: float, v: float, e: int) -> float:
    """Return the e-th value to try for an entry: all of a narrow box, else both ends and the nearest ones."""
    if high - low <= 4.0 * step:
        return low + e * step
    if e < 4:
        return v + (e - 2 + (e > 1)) * step
    return low if e == 4 else high


@njit(cache=True)
def descend(A: Floats, wanted: Floats, tie: float, domain: Floats, v: Floats, a: Floats) -> float:
    """Move single entries while the agreement rises, each to its best value; v and a are kept up to date.

    Parameters
    ----------
    A : ndarray of shape (D, n)
        Columns of the samples, the bias last.
    wanted : ndarray of shape (n,)
        Weight of each sample with the sign that is wanted.
    tie : float
        0.5 for units whose score of 0 counts as positive, -0.5 for mirrored ones.
    domain : ndarray of shape (3, D)
        Low, high and step of each entry.
    v : ndarray of shape (D,)
        Read and written.
    a : ndarray of shape (n,)
        Written: the scores.
    """
    D = len(v)
    a[:] = 0.0
    for j in range(D):
        if v[j] != 0.0:
            for k in range(len(a)):
                a[k] += v[j] * A[j, k]
    best = agreement_after(a, A[0], 0.0, tie, wanted)
    for _ in range(MOST_SWEEPS):
        entry, value, top = -1, 0.0, best
        for j in range(D):
            low, high, step = domain[0, j], domain[1, j], domain[2, j]
            for e in range(6):
                u = candidate(low, high, step, v[j], e)
                if low <= u <= high and u != v[j]:
                    other = agreement_after(a, A[j], u - v[j], tie, wanted)
                    if other > top:
                        entry, value, top = j, u, other
        if entry < 0:
            break
        for k in range(len(a)):
            a[k] += (value - v[entry]) * A[entry, k]
        v[entry], best = value, top
    return best


@njit(cache=True, nogil=True)
def search(
    A: Floats, wanted: Floats, tie: float, domain: Floats, starts: Floats, draws: Floats, found: Floats
) -> Floats:
    """Descend from every start and, in turn, from kicked copies of the best point so far.

    Parameters
    ----------
    A, wanted, tie, domain
        See `descend`.
    starts : ndarray of shape (s, D)
    draws : ndarray of shape (r, 2 k)
        Uniform numbers; run i changes k entries of the best point before it descends.
    found : ndarray of shape (s + r, D)
        Written: the local optima.

    Returns
    -------
    ndarray of shape (s + r,)
        Agreement of each local optimum.
    """
    D, runs = A.shape[0], len(starts) + len(draws)
    values, a = np.empty(runs), np.empty(A.shape[1])
    best, chosen = -np.inf, 0
    for i in range(runs):
        v = found[i]
        if i < len(starts):
            v[:] = starts[i]
        else:
            v[:] = found[chosen]
            for e in range(draws.shape[1] // 2):
                j = min(int(draws[i - len(starts), 2 * e] * D), D - 1)
                low, high, step = domain[0, j], domain[1, j], domain[2, j]
                count = np.floor((high - low) / step + 0.5) + 1.0
                v[j] = low + step * min(np.floor(draws[i - len(starts), 2 * e + 1] * count), count - 1.0)
        values[i] = descend(A, wanted, tie, domain, v, a)
        if values[i] > best:
            best, chosen = values[i], i
    return values
