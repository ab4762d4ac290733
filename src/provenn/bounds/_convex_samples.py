"""Compiled passes over the samples of the convex engine: scores, gradients and Hessians.

Columns with many values lie densely. The others, one-hot groups above all, make equal rows: what
each group of rows with the same entries in them adds to the scores is computed once.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
REORDER = {"reassoc", "contract", "nsz"}
RIDGE = 1e-9
BLOCK = 2048


class Samples(NamedTuple):
    """Signed samples A (n rows, D columns), the rows in the order of their groups.

    Parameters
    ----------
    dense : ndarray of shape (r, n), float64, C-contiguous
        The dense columns.
    place : ndarray of shape (D,), int64
        Row of each column in `dense`, -1 for those that are sparse.
    col_start, col_row, col_value : sparse columns, empty for the dense ones
    first : ndarray of shape (G + 1,), int64
        Group g has the rows ``first[g]`` to ``first[g + 1] - 1``; without sparse columns there is no group.
    row_start, row_col, row_value : the sparse entries of each group
    weight : ndarray of shape (n,), float64
        Multiplicities m.
    radius : ndarray of shape (n,), float64
        Bound of ``|z_k|`` over the root box, plus the curve's own length scale.
    code, p0, p1 : the curve, see `provenn.losses._curves`
    """

    dense: Floats
    place: Integers
    col_start: Integers
    col_row: Integers
    col_value: Floats
    first: Integers
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
    n, full = len(z), np.zeros(len(samples.place))
    for a in range(len(free)):
        full[free[a]] = x[a]
    if len(samples.first) > 1:
        group_scores(samples.first, samples.row_start, samples.row_col, samples.row_value, full, start, z)
    else:
        for k in range(n):
            z[k] = start[k]
    for begin in range(0, n, BLOCK):
        part = z[begin : begin + BLOCK]
        for a in range(len(free)):
            i = samples.place[free[a]]
            if i >= 0 and x[a] != 0.0:
                column = samples.dense[i, begin : begin + BLOCK]
                for k in range(len(part)):
                    part[k] += x[a] * column[k]


@njit(cache=True, fastmath=REORDER)
def group_scores(
    first: Integers, row_start: Integers, row_col: Integers, row_value: Floats, full: Floats, start: Floats, z: Floats
) -> None:
    """Write ``z = start`` plus what the sparse entries add."""
    for g in range(len(first) - 1):
        total = 0.0
        for i in range(row_start[g], row_start[g + 1]):
            total += row_value[i] * full[row_col[i]]
        for k in range(first[g], first[g + 1]):
            z[k] = start[k] + total


@njit(cache=True, fastmath=REORDER)
def gradient(samples: Samples, slope: Floats, free: Integers, g: Floats) -> None:
    """Write ``g_a = (A^T slope)_{free_a}`` for the listed columns."""
    n, full = len(slope), np.zeros(len(samples.place))
    group_gradient(samples.first, samples.row_start, samples.row_col, samples.row_value, slope, full)
    for a in range(len(free)):
        g[a] = full[free[a]]
    for begin in range(0, n, BLOCK):
        part = slope[begin : begin + BLOCK]
        for a in range(len(free)):
            i = samples.place[free[a]]
            if i >= 0:
                column, total = samples.dense[i, begin : begin + BLOCK], 0.0
                for k in range(len(part)):
                    total += column[k] * part[k]
                g[a] += total


@njit(cache=True, fastmath=REORDER)
def group_gradient(
    first: Integers, row_start: Integers, row_col: Integers, row_value: Floats, slope: Floats, full: Floats
) -> None:
    """Add ``A^T slope`` of the sparse columns."""
    for g in range(len(first) - 1):
        total = 0.0
        for k in range(first[g], first[g + 1]):
            total += slope[k]
        for i in range(row_start[g], row_start[g + 1]):
            full[row_col[i]] += row_value[i] * total


@njit(cache=True, fastmath=REORDER)
def dense_hessian(samples: Samples, curvature: Floats, dense: Integers, H: Floats) -> None:
    """Write the entries of ``A^T diag(curvature) A`` among dense columns, listed by their positions in H."""
    scaled = np.empty(min(BLOCK, len(curvature)))
    for begin in range(0, len(curvature), BLOCK):
        part = curvature[begin : begin + BLOCK]
        for a in range(len(dense)):
            if dense[a] < 0:
                continue
            one = samples.dense[dense[a], begin : begin + BLOCK]
            for k in range(len(part)):
                scaled[k] = part[k] * one[k]
            for b in range(a + 1):
                if dense[b] < 0:
                    continue
                other, total = samples.dense[dense[b], begin : begin + BLOCK], 0.0
                for k in range(len(part)):
                    total += scaled[k] * other[k]
                H[a, b] += total


@njit(cache=True, fastmath=REORDER)
def group_hessian(samples: Samples, curvature: Floats, dense: Integers, position: Integers, H: Floats) -> None:
    """Add the entries with at least one sparse column, group by group."""
    place, filled = np.empty(len(position), np.int64), np.empty(len(position))
    mixed = np.empty(len(dense))
    for g in range(len(samples.first) - 1):
        count = 0
        for i in range(samples.row_start[g], samples.row_start[g + 1]):
            if position[samples.row_col[i]] >= 0:
                place[count], filled[count] = position[samples.row_col[i]], samples.row_value[i]
                count += 1
        begin, end, total = samples.first[g], samples.first[g + 1], 0.0
        for k in range(begin, end):
            total += curvature[k]
        for i in range(count):
            value = total * filled[i]
            for e in range(i + 1):
                H[place[i], place[e]] += value * filled[e]
        for a in range(len(dense)):
            if dense[a] >= 0:
                mixed[a] = 0.0
                for k in range(begin, end):
                    mixed[a] += curvature[k] * samples.dense[dense[a], k]
                for i in range(count):
                    H[max(a, place[i]), min(a, place[i])] += mixed[a] * filled[i]


@njit(cache=True)
def hessian(samples: Samples, curvature: Floats, free: Integers, H: Floats) -> None:
    """Write ``H = A^T diag(curvature) A`` on the listed ascending columns, with a relative ridge of 1e-9."""
    position, dense = np.full(len(samples.place), -1), np.empty(len(free), np.int64)
    for a in range(len(free)):
        position[free[a]], dense[a] = a, samples.place[free[a]]
        for b in range(a + 1):
            H[a, b] = 0.0
    dense_hessian(samples, curvature, dense, H)
    group_hessian(samples, curvature, dense, position, H)
    most = 1e-20  # representable as float32, in which models are kept
    for a in range(len(free)):
        most = max(most, H[a, a])
    for a in range(len(free)):
        H[a, a] = H[a, a] * (1.0 + RIDGE) + 1e-12 * most
        for b in range(a):
            H[b, a] = H[a, b]
