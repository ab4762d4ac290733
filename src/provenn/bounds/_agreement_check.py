"""An independent check of the leaves of the agreement engine, in exact integers, without its kernels."""

import numpy as np

from provenn.bounds._agreement_setup import Reduced, reduce
from provenn.bounds._agreement_types import AgreementProblem, Integers, Leaves

WHOLE, BY_MOVE = -1, -2


def check(problem: AgreementProblem, leaves: Leaves, bound: int) -> None:
    """Derive from the leaves that no neuron of a problem costs less than a bound.

    Parameters
    ----------
    problem : AgreementProblem
    leaves : Leaves
    bound : int

    Raises
    ------
    ValueError
        When the leaves do not show that.
    """
    reduced = reduce(problem)
    _check_moves(reduced, leaves)
    low, high = leaves.low.copy(), leaves.high.copy()
    rows = np.flatnonzero(leaves.part[:, 0] >= 0)
    j = leaves.part[rows, 0]
    low[rows, j], high[rows, j] = leaves.part[rows, 1], leaves.part[rows, 2]
    if np.any(low < leaves.low) or np.any(high > leaves.high):
        raise ValueError("a part lies outside its box")
    _check_cover(np.zeros_like(reduced.top), reduced.top, low, high)
    for i in range(len(low)):
        if leaves.part[i, 0] == BY_MOVE:
            move = leaves.moves[leaves.part[i, 1]]
            if np.any(low[i] + move < 0) or np.any(high[i] + move > reduced.top):
                raise ValueError(f"leaf {i}: its move leaves the root box")
        elif leaf_bound(reduced, leaves, i) < bound:
            raise ValueError(f"leaf {i} does not reach the bound {bound}")


def whole_box(reduced: Reduced) -> Leaves:
    """Return the root box as the only leaf."""
    none, D = np.zeros(0, dtype=np.int64), reduced.n_entries
    zero, part = np.zeros((1, D), dtype=np.int64), np.array([[WHOLE, 0, 0]])
    clip = int(reduced.cost.sum())
    return Leaves(zero, reduced.top[None], part, zero[:0], np.zeros(D, dtype=np.int64), none, none, clip)


def leaf_bound(reduced: Reduced, leaves: Leaves, i: int) -> int:
    """Bound the cost of all neurons of a leaf that no move closes.

    Samples that are wrong in the whole box cost what they cost. Of two samples whose rows sum to less
    than 0 in the whole box, one is wrong; such pairs take shares of the costs, one after the other.
    """
    low, high, (j, first, last) = leaves.low[i], leaves.high[i], leaves.part[i]
    rest = np.minimum(reduced.cost, leaves.clip)
    total = _take_wrong(reduced, low, high, rest)
    pairs = np.array([m for m in _contradicting(reduced, leaves, low, high) if _smaller(rest, leaves, m) > 0])
    if len(pairs):
        degree = np.bincount(np.concatenate([leaves.one[pairs], leaves.two[pairs]]), minlength=len(rest))
        ranked = pairs[np.argsort(degree[leaves.one[pairs]] + degree[leaves.two[pairs]], kind="stable")]
        total += _take_pairs(leaves, ranked, rest)
    if j >= 0:
        low, high = low.copy(), high.copy()
        low[j], high[j] = first, last
        total += _take_wrong(reduced, low, high, rest)
        total += _take_pairs(leaves, _contradicting(reduced, leaves, low, high), rest)
    return reduced.constant + total


def _take_wrong(reduced: Reduced, low: Integers, high: Integers, rest: Integers) -> int:
    """Take what is left of the costs of the samples that are wrong in a box."""
    wrong = reduced.offset + np.minimum(reduced.A, 0).T @ low + np.maximum(reduced.A, 0).T @ high < 0
    total = int(rest[wrong].sum())
    rest[wrong] = 0
    return total


def _contradicting(reduced: Reduced, leaves: Leaves, low: Integers, high: Integers) -> Integers:
    """Return the numbers of the pairs that contradict each other in a box."""
    A = reduced.A[:, leaves.one] + reduced.A[:, leaves.two]
    offset = reduced.offset[leaves.one] + reduced.offset[leaves.two]
    return np.flatnonzero(offset + np.minimum(A, 0).T @ low + np.maximum(A, 0).T @ high < 0)


def _smaller(rest: Integers, leaves: Leaves, m: int) -> int:
    return int(min(rest[leaves.one[m]], rest[leaves.two[m]]))


def _take_pairs(leaves: Leaves, pairs: Integers, rest: Integers) -> int:
    """Let pairs take what both of their samples have left."""
    total = 0
    for m in pairs:
        share = _smaller(rest, leaves, m)
        rest[leaves.one[m]] -= share
        rest[leaves.two[m]] -= share
        total += share
    return total


def _check_moves(reduced: Reduced, leaves: Leaves) -> None:
    """Check that every move leaves all scores as they are and raises the rank, and that pairs are pairs."""
    if np.any(leaves.moves @ reduced.A) or np.any(leaves.moves @ leaves.rank <= 0):
        raise ValueError("a move changes a score or does not raise the rank")
    if np.any(leaves.one == leaves.two):
        raise ValueError("a sample is paired with itself")


def _check_cover(low: Integers, high: Integers, first: Integers, last: Integers) -> None:
    """Check that boxes ``first..last`` of shape (m, D) cover a box, by cuts that cross none of them."""
    waiting = [(low, high, np.arange(len(first)))]
    while waiting:
        low, high, rows = waiting.pop()
        rows = rows[np.all((first[rows] <= high) & (last[rows] >= low), axis=1)]
        if np.any(np.all((first[rows] <= low) & (last[rows] >= high), axis=1)):
            continue
        cut = next((c for j in range(len(low)) if (c := _cut(low, high, first[rows], last[rows], j)) is not None), None)
        if not len(rows) or cut is None:
            raise ValueError(f"the leaves do not cover the box {low.tolist()}..{high.tolist()}")
        j, value = cut
        below, above = high.copy(), low.copy()
        below[j], above[j] = value, value + 1
        waiting += [(low, below, rows), (above, high, rows)]


def _cut(low: Integers, high: Integers, first: Integers, last: Integers, j: int) -> tuple[int, int] | None:
    """Return (j, value) with no box on both sides of the cut after that value of entry j, or None."""
    width = int(high[j] - low[j])
    crossed = np.zeros(width + 2, dtype=np.int64)
    np.add.at(crossed, np.maximum(first[:, j], low[j]) - low[j], 1)
    np.add.at(crossed, np.minimum(last[:, j], high[j]) - low[j], -1)
    free = np.flatnonzero(np.cumsum(crossed)[:width] == 0)
    return (j, int(low[j] + free[len(free) // 2])) if len(free) else None
