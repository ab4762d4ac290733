"""Compiled kernels of the agreement engine that process one node: moves to equal scores, looking ahead."""

import numpy as np
from numba import njit

from provenn.bounds._agreement_rows import BY_MOVE, WHOLE, Numbers, note_leaf, part_of, parts, restrict
from provenn.bounds._agreement_sharing import least_left, price_parts, share_out, worth
from provenn.bounds._agreement_types import Integers


@njit(cache=True, nogil=True)
def leaving_entry(move: Integers, low: Integers, high: Integers, top: Integers) -> int:
    """Return the only entry at which a move can leave the root box from a box; -1 for none, -2 for several."""
    found = -1
    for j in range(len(move)):
        d = move[j]
        if (d > 0 and high[j] + d > top[j]) or (d < 0 and low[j] + d < 0):
            if found >= 0:
                return -2
            found = j
    return found


@njit(cache=True, nogil=True)
def apply_moves(
    A: Numbers,
    pair_A: Numbers,
    reach: Numbers,
    pair_reach: Numbers,
    low: Integers,
    high: Integers,
    top: Integers,
    moves: Integers,
    counts: Integers,
    leaves: Integers,
    leaf_part: Integers,
) -> bool:
    """Leave out points from which a move to equal scores stays in the root box; return whether none is left."""
    changed = True
    while changed:
        changed = False
        for r in range(len(moves)):
            j = leaving_entry(moves[r], low, high, top)
            if j == -1:
                note_leaf(counts, leaves, leaf_part, low, high, BY_MOVE, r, r)
                return True
            if j < 0:
                continue
            d, first, last = moves[r, j], low[j], high[j]
            if d > 0:
                first = max(first, top[j] - d + 1)
            else:
                last = min(last, -d - 1)
            if first > low[j] or last < high[j]:
                changed = True
                before = low[j], high[j]
                if d > 0:
                    high[j] = first - 1
                else:
                    low[j] = last + 1
                note_leaf(counts, leaves, leaf_part, low, high, BY_MOVE, r, r)
                low[j], high[j] = first, last
                restrict(reach, A[j], before[1] - last, first - before[0])
                restrict(pair_reach, pair_A[j], before[1] - last, first - before[0])
    return False


@njit(cache=True, nogil=True)
def shave(
    A: Numbers,
    pair_A: Numbers,
    reach: Numbers,
    pair_reach: Numbers,
    low: Integers,
    high: Integers,
    j: int,
    prices: Integers,
    limit: int,
    counts: Integers,
    leaves: Integers,
    leaf_part: Integers,
) -> bool:
    """Cut the outer parts of entry j that cost the limit or more, one part costing less; return whether any was."""
    count = parts(low[j], high[j])
    begin, end = 0, count - 1
    while prices[begin] >= limit:
        begin += 1
    while prices[end] >= limit:
        end -= 1
    if begin == 0 and end == count - 1:
        return False
    for p in range(count):
        if p < begin or p > end:
            first, last = part_of(low[j], high[j], p)
            note_leaf(counts, leaves, leaf_part, low, high, j, first, last)
    first, last = part_of(low[j], high[j], begin)[0], part_of(low[j], high[j], end)[1]
    restrict(reach, A[j], high[j] - last, first - low[j])
    restrict(pair_reach, pair_A[j], high[j] - last, first - low[j])
    low[j], high[j] = first, last
    return True


@njit(cache=True, nogil=True)
def look_ahead(
    A: Numbers,
    pair_A: Numbers,
    cost: Numbers,
    one: Integers,
    two: Integers,
    near: int,
    reach: Numbers,
    pair_reach: Numbers,
    low: Integers,
    high: Integers,
    limit: int,
    rest: Numbers,
    pair_rest: Numbers,
    spare: Numbers,
    degree: Integers,
    pairs: Integers,
    order: Integers,
    prices: Integers,
    guesses: Integers,
    counts: Integers,
    leaves: Integers,
    leaf_part: Integers,
    out: Integers,
) -> None:
    """Bound a box, cut parts of entries that cost the limit or more, choose the entry to branch on.

    Parameters
    ----------
    prices, guesses : ndarray of shape (D, 3), int64
        Get a bound and an estimate of the cost of each part of each free entry.
    out : ndarray of shape (2,), int64
        Gets a bound, the limit or more where the box is closed, and the entry, -1 when all are fixed.
    """
    again = True
    while again:
        again = False
        base = share_out(reach, pair_reach, one, two, cost, rest, degree, pairs, order)
        out[0], out[1] = base, -1
        if base >= limit:
            note_leaf(counts, leaves, leaf_part, low, high, WHOLE, 0, 0)
            return
        least_left(rest, one, two, pair_rest)
        best_score = -1.0
        for j in range(len(A)):
            if low[j] == high[j]:
                continue
            least = price_parts(
                A[j], pair_A[j, :near], reach, pair_reach[:near], one, two, low[j], high[j], base, limit, rest,
                pair_rest, spare, prices[j], guesses[j],
            )  # fmt: skip
            count = parts(low[j], high[j])
            if least >= limit:
                for p in range(count):
                    first, last = part_of(low[j], high[j], p)
                    note_leaf(counts, leaves, leaf_part, low, high, j, first, last)
                out[0] = least
                return
            if shave(A, pair_A, reach, pair_reach, low, high, j, prices[j], limit, counts, leaves, leaf_part):
                again = True
                if len(leaf_part) > 0:
                    break  # what the costs have left belongs to the box before the cut: a record needs that of its own
                continue
            out[0] = max(out[0], least)
            score = worth(guesses[j], count, limit, least - base)
            if score > best_score:
                best_score, out[1] = score, j


@njit(cache=True, nogil=True)
def order_parts(guesses: Integers, count: int, order: Integers) -> None:
    """Write the parts to `order`, cheapest first."""
    for p in range(count):
        i = p
        while i > 0 and guesses[order[i - 1]] > guesses[p]:
            order[i] = order[i - 1]
            i -= 1
        order[i] = p


@njit(cache=True, nogil=True)
def decided(A: Numbers, reach: Numbers, low: Integers, high: Integers) -> bool:
    """Whether every sample is right in the whole box or wrong in the whole box."""
    for k in range(len(reach)):
        least = np.int64(reach[k])
        for j in range(len(A)):
            least -= abs(A[j, k]) * (high[j] - low[j]) if reach[k] >= 0 else 0
        if reach[k] >= 0 and least < 0:
            return False
    return True
