"""Compiled kernel of the agreement engine: the depth-first search below one box."""

import numpy as np
from numba import njit

from provenn.bounds._agreement_look import apply_moves, decided, look_ahead, order_parts
from provenn.bounds._agreement_rows import (
    FOUND,
    NODES,
    OPEN,
    WHOLE,
    Numbers,
    begin_part,
    first_reach,
    note_leaf,
    part_of,
    parts,
)
from provenn.bounds._agreement_types import Integers


@njit(cache=True, nogil=True)
def depth_of(box: Integers) -> int:
    """Return the number of levels that branching on all entries can take."""
    depth = 2
    for j in range(box.shape[1]):
        width = box[1, j] - box[0, j]
        while width > 0:
            width //= 2
            depth += 1
    return depth


@njit(cache=True, nogil=True)
def take(
    A: Numbers,
    reach: Numbers,
    low: Integers,
    high: Integers,
    out: Integers,
    best: Integers,
    counts: Integers,
    point: Integers,
    points: Integers,
    leaves: Integers,
    leaf_part: Integers,
) -> bool:
    """Take the point of a box where one stands for all of it; return whether so. See `explore`."""
    if len(points) > 0:
        if out[1] < 0 or decided(A, reach, low, high):
            points[counts[FOUND]] = low
            counts[FOUND] += 1
            return True
        return False
    if out[1] >= 0:
        return False
    if out[0] < best[0]:
        best[0], counts[FOUND] = out[0], 1
        point[:] = low
    note_leaf(counts, leaves, leaf_part, low, high, WHOLE, 0, 0)
    return True


@njit(cache=True, nogil=True)
def leave_open(
    low: Integers,
    high: Integers,
    j: int,
    order: Integers,
    begun: int,
    price: Integers,
    floor: int,
    counts: Integers,
    open_boxes: Integers,
    open_bounds: Integers,
) -> None:
    """Write the parts of an entry from number `begun` in the order on to the open boxes."""
    for i in range(begun, parts(low[j], high[j])):
        p, o = order[i], counts[OPEN]
        open_boxes[o, 0], open_boxes[o, 1] = low, high
        open_boxes[o, 0, j], open_boxes[o, 1, j] = part_of(low[j], high[j], p)
        open_bounds[o] = max(price[p], floor)
        counts[OPEN] += 1


@njit(cache=True, nogil=True)
def explore(
    A: Numbers,
    offset: Numbers,
    cost: Numbers,
    pair_A: Numbers,
    one: Integers,
    two: Integers,
    near: int,
    top: Integers,
    moves: Integers,
    box: Integers,
    best: Integers,
    budget: int,
    counts: Integers,
    point: Integers,
    points: Integers,
    open_boxes: Integers,
    open_bounds: Integers,
    leaves: Integers,
    leaf_part: Integers,
) -> None:
    """Search below a box until it is closed or the budget of nodes is used up.

    Parameters
    ----------
    A : ndarray of shape (D, n), int32 or int64
    offset, cost : ndarray of shape (n,), same type
    pair_A : ndarray of shape (D, m), same type
    one, two : ndarray of shape (m,), int64
    near : int
        Pairs, the first ones, to look ahead with.
    top : ndarray of shape (D,), int64
    moves : ndarray of shape (r, D), int64
    box : ndarray of shape (2, D), int64
    best : ndarray of shape (1,), int64
        Boxes that cost this or more are closed; lowered to what is found.
    budget : int
        Nodes.
    counts : ndarray of shape (4,), int64
        Gets the numbers of nodes, open boxes, leaves and found points.
    point : ndarray of shape (D,), int64
        Gets the best point found.
    points : ndarray of shape (p, D), int64
        With p > 0, `best` stays as it is, and the search collects one point of every box in which all
        samples are decided, until these are full.
    open_boxes, open_bounds : ndarray of shape (o, 2, D) and (o,), int64
        Get the boxes that are left.
    leaves, leaf_part : ndarray of shape (l, 2, D) and (l, 3), int64
        Get the closed boxes, as many as there is room for.
    """
    D, n = A.shape
    M = len(one)
    depth = depth_of(box)
    reach, pair_reach = np.zeros((depth, n), A.dtype), np.zeros((depth, M), A.dtype)
    low, high = np.zeros((depth, D), np.int64), np.zeros((depth, D), np.int64)
    entry, done, floor = np.zeros(depth, np.int64), np.zeros(depth, np.int64), np.zeros(depth, np.int64)
    order, price = np.zeros((depth, 3), np.int64), np.zeros((depth, 3), np.int64)
    prices, guesses, out = np.zeros((D, 3), np.int64), np.zeros((D, 3), np.int64), np.zeros(2, np.int64)
    rest, spare, pair_rest = np.zeros(n, A.dtype), np.zeros(n, A.dtype), np.zeros(near, A.dtype)
    degree, pairs, ranked = np.zeros(n, np.int64), np.zeros(M, np.int64), np.zeros(M, np.int64)
    counts[:] = 0
    low[0], high[0] = box[0], box[1]
    first_reach(A, offset, low[0], high[0], reach[0])
    first_reach(pair_A, offset[one] + offset[two], low[0], high[0], pair_reach[0])
    level, fresh = 0, True
    while level >= 0:
        lo, hi = low[level], high[level]
        if fresh:
            if counts[NODES] >= budget or (len(points) > 0 and counts[FOUND] == len(points)):
                break
            counts[NODES] += 1
            fresh = False
            here, pair_here, limit = reach[level], pair_reach[level], best[0]
            closed = apply_moves(A, pair_A, here, pair_here, lo, hi, top, moves, counts, leaves, leaf_part)
            if not closed:
                look_ahead(
                    A, pair_A, cost, one, two, near, here, pair_here, lo, hi, limit, rest, pair_rest, spare, degree,
                    pairs, ranked, prices, guesses, counts, leaves, leaf_part, out,
                )  # fmt: skip
                closed = out[0] >= limit or take(A, here, lo, hi, out, best, counts, point, points, leaves, leaf_part)
            if closed:
                level -= 1
                continue
            j = out[1]
            entry[level], done[level], floor[level] = j, 0, out[0]
            price[level] = prices[j]
            order_parts(guesses[j], parts(lo[j], hi[j]), order[level])
        j, i = entry[level], done[level]
        if i == parts(lo[j], hi[j]):
            level -= 1
            continue
        done[level] += 1
        p = order[level, i]
        a, b = part_of(lo[j], hi[j], p)
        if price[level, p] >= best[0]:
            note_leaf(counts, leaves, leaf_part, lo, hi, j, a, b)
            continue
        begin_part(A, pair_A, low, high, reach, pair_reach, level, j, a, b)
        level += 1
        fresh = True
    for above in range(level):
        begun = done[above] - (1 if above == level - 1 else 0)
        leave_open(
            low[above], high[above], entry[above], order[above], begun, price[above], floor[above], counts,
            open_boxes, open_bounds,
        )  # fmt: skip
