"""Compiled kernel that grows the tree of a proof of the agreement engine, node by node, depth first.

It closes boxes by the same sums as `provenn.check_proof.Signs`, and looks ahead only to choose where to split.
"""

import numpy as np
from numba import njit

from provenn.bounds._agreement_look import decided, leaving_entry
from provenn.bounds._agreement_rows import Numbers, begin_part, part_of, parts, restrict
from provenn.bounds._agreement_sharing import least_left, price_parts, share, share_out, worth
from provenn.bounds._agreement_types import Integers

HEIGHT, WRITTEN = 0, 1
LEAF = 0


@njit(cache=True, nogil=True)
def share_in_order(
    reach: Numbers, pair_reach: Numbers, one: Integers, two: Integers, cost: Numbers, rest: Numbers
) -> int:
    """Bound the cost of a box by wrong samples and by pairs in the order of their numbers."""
    total, none = np.int64(0), cost.dtype.type(0)
    for k in range(len(reach)):
        wrong = reach[k] < 0
        total += cost[k] if wrong else none
        rest[k] = none if wrong else cost[k]
    for m in range(len(pair_reach)):
        if pair_reach[m] < 0:
            total += share(rest, one[m], two[m])
    return int(total)


@njit(cache=True, nogil=True)
def moved(moves: Integers, low: Integers, high: Integers, top: Integers, split: Integers) -> int:
    """Return the move that closes a box, else -1; `split` gets (entry, value) where one closes a part of the box."""
    split[0] = -1
    for r in range(len(moves)):
        j = leaving_entry(moves[r], low, high, top)
        if j == -1:
            return r
        if j >= 0 and split[0] < 0:
            d = moves[r, j]
            value = top[j] - d if d > 0 else -d - 1
            if low[j] <= value < high[j]:
                split[0], split[1] = j, value
    return -1


@njit(cache=True, nogil=True)
def choose(
    A: Numbers,
    pair_A: Numbers,
    one: Integers,
    two: Integers,
    near: int,
    reach: Numbers,
    pair_reach: Numbers,
    low: Integers,
    high: Integers,
    base: int,
    limit: int,
    rest: Numbers,
    pair_rest: Numbers,
    spare: Numbers,
    prices: Integers,
    guesses: Integers,
    split: Integers,
) -> None:
    """Choose the entry and the value to split a box at: at once where a part costs the limit, else what gains most."""
    least_left(rest, one, two, pair_rest)
    best_score = -1.0
    for j in range(len(A)):
        if low[j] == high[j]:
            continue
        least = price_parts(
            A[j], pair_A[j, :near], reach, pair_reach[:near], one, two, low[j], high[j], base, limit, rest, pair_rest,
            spare, prices, guesses,
        )  # fmt: skip
        count = parts(low[j], high[j])
        below, above = prices[0] >= limit, prices[count - 1] >= limit
        first = guesses[0] >= guesses[count - 1] if below == above else below
        value = part_of(low[j], high[j], 0)[1] if first else part_of(low[j], high[j], count - 1)[0] - 1
        closes = least >= limit
        score = np.inf if below or above else worth(guesses, count, limit, least - base)
        if closes or score > best_score:
            best_score, split[0], split[1] = score, j, value
        if closes:
            return


@njit(cache=True, nogil=True)
def grow(
    A: Numbers,
    cost: Numbers,
    pair_A: Numbers,
    one: Integers,
    two: Integers,
    near: int,
    top: Integers,
    moves: Integers,
    limit: int,
    listing: bool,
    low: Integers,
    high: Integers,
    reach: Numbers,
    pair_reach: Numbers,
    state: Integers,
    nodes: Integers,
) -> bool:
    """Write nodes until no box is left or there is no room; return whether a box is left that nothing closes.

    Parameters
    ----------
    A, pair_A : ndarray of shape (D, n) and (D, m)
    cost : ndarray of shape (n,)
    one, two : ndarray of shape (m,), int64
    near : int
        Pairs, the first ones, to look ahead with.
    limit : int
        Boxes that cost this or more are closed.
    listing : bool
        Boxes in which all samples are decided are closed, too.
    low, high, reach, pair_reach : ndarray of shape (height, ...)
        The stack of boxes; the last is the next.
    state : ndarray of shape (2,), int64
        Height of the stack and nodes written.
    nodes : ndarray of int64
        See `provenn.check_proof.SignTree`.
    """
    D, n = A.shape
    rest, spare, pair_rest = np.zeros(n, A.dtype), np.zeros(n, A.dtype), np.zeros(near, A.dtype)
    degree, pairs, order = np.zeros(n, np.int64), np.zeros(len(one), np.int64), np.zeros(len(one), np.int64)
    prices, guesses, split = np.zeros(3, np.int64), np.zeros(3, np.int64), np.zeros(2, np.int64)
    while state[HEIGHT] > 0 and state[WRITTEN] < len(nodes):
        i = state[HEIGHT] - 1
        move = moved(moves, low[i], high[i], top, split)
        node = -1 - move
        if move < 0:
            node = LEAF
            if share_in_order(reach[i], pair_reach[i], one, two, cost, rest) < limit:
                base = share_out(reach[i], pair_reach[i], one, two, cost, rest, degree, pairs, order)
                if base < limit and not (listing and decided(A, reach[i], low[i], high[i])):
                    if split[0] < 0:
                        choose(
                            A, pair_A, one, two, near, reach[i], pair_reach[i], low[i], high[i], base, limit, rest,
                            pair_rest, spare, prices, guesses, split,
                        )  # fmt: skip
                    if split[0] < 0:
                        return True
                    node = 1 + split[0] + D * split[1]
        nodes[state[WRITTEN]] = node
        state[WRITTEN] += 1
        if node <= 0:
            state[HEIGHT] -= 1
            continue
        j, value = split[0], split[1]
        begin_part(A, pair_A, low, high, reach, pair_reach, i, j, low[i, j], value)
        up = value + 1 - low[i, j]
        restrict(reach[i], A[j], 0, up)
        restrict(pair_reach[i], pair_A[j], 0, up)
        low[i, j] = value + 1
        state[HEIGHT] += 1
    return False
