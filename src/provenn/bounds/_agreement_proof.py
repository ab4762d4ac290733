"""Trees that prove agreement problems, in the form that `provenn.check_proof` checks."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from provenn.bounds._agreement_grow import HEIGHT, WRITTEN, grow
from provenn.bounds._agreement_rows import Numbers
from provenn.bounds._agreement_setup import directions
from provenn.bounds._agreement_tree import small_type
from provenn.bounds._agreement_types import AgreementProblem, Integers
from provenn.check_proof import Signs

NODES_AT_ONCE = 4096
SPARE_HEIGHT = 64


def signs_of(problem: AgreementProblem, every: bool = False) -> Signs:
    """Return a problem as the checker knows it.

    Parameters
    ----------
    problem : AgreementProblem
    every : bool
        Keep samples that cost nothing, whose signs belong to a list.
    """
    X, boxes = problem.X, (problem.low, problem.high, np.full(len(problem.low), problem.step))
    low, high, step = (box.tolist() for box in boxes)
    if problem.bias is not None:
        X = np.column_stack([X, np.full(len(X), problem.scale)])
        low, high, step = ([*box, end] for box, end in zip((low, high, step), problem.bias, strict=True))
    wanted = (problem.t * problem.cost).tolist()
    return Signs(X.tolist(), wanted, (low, high, step), problem.zero, every)


@dataclass(frozen=True)
class _Grid:
    """The arrays of a problem for the kernel, see `grow`."""

    A: Numbers
    cost: Numbers
    sums: Numbers
    one: Integers
    two: Integers
    near: int
    top: Integers
    moves: Integers
    rank: Integers
    reach: Numbers
    pair_reach: Numbers

    @classmethod
    def of(cls, signs: Signs) -> "_Grid":
        """Return the arrays of a problem as the checker knows it."""
        D, n, top = len(signs.top), len(signs.rows), np.array(signs.top, dtype=np.int64)
        A = np.array([a for a, _ in signs.rows], dtype=np.int64).reshape(n, D).T.copy()
        offset = np.array([c for _, c in signs.rows], dtype=np.int64)
        cost = np.array(signs.costs, dtype=np.int64)
        one, two = np.array(signs.pairs, dtype=np.int64).reshape(-1, 2).T.copy()
        moves, rank = directions(A, top) if n else (np.zeros((0, D), dtype=np.int64), np.zeros_like(top))
        kind, pair_A = small_type(A, offset, cost, top), A[:, one] + A[:, two]
        reach = offset + np.maximum(A, 0).T @ top
        pair_reach = offset[one] + offset[two] + np.maximum(pair_A, 0).T @ top
        rows, costs, sums = A.astype(kind), cost.astype(kind), pair_A.astype(kind)
        ends = reach.astype(kind), pair_reach.astype(kind)
        return cls(rows, costs, sums, one, two, signs.close, top, moves, rank, *ends)


def grow_tree(signs: Signs, bound: int, listed: int, ends: float) -> dict[str, Any] | None:
    """Grow the tree of the proof that no neuron costs less than a bound.

    Parameters
    ----------
    signs : Signs
    bound : int
        Must be true.
    listed : int
        Signs of all neurons that cost less are listed; equal to the bound, none are.
    ends : float
        When to give up, by `time.perf_counter`.

    Returns
    -------
    dict or None
        The fields that `provenn.check_proof.SignTree` reads, for JSON; None when the time is up or a neuron was met
        that costs less than the bound.
    """
    grid = _Grid.of(signs)
    height = SPARE_HEIGHT + sum(2 * (t.bit_length() + 1) for t in signs.top)
    low, high = (np.zeros((height, len(signs.top)), dtype=np.int64) for _ in range(2))
    reach, pair_reach = (np.zeros((height, len(row)), row.dtype) for row in (grid.reach, grid.pair_reach))
    high[0], reach[0], pair_reach[0] = grid.top, grid.reach, grid.pair_reach
    tree, state, room = list[int](), np.array([1, 0]), np.zeros(NODES_AT_ONCE, dtype=np.int64)
    while state[HEIGHT]:
        state[WRITTEN] = 0
        stuck = grow(
            grid.A, grid.cost, grid.sums, grid.one, grid.two, grid.near, grid.top, grid.moves,
            listed - signs.constant, listed > bound, low, high, reach, pair_reach, state, room,
        )  # fmt: skip
        tree += room[: state[WRITTEN]].tolist()
        if stuck or (state[HEIGHT] and time.perf_counter() > ends):
            return None
    moves, rank = grid.moves.tolist(), grid.rank.tolist()
    return {"bound": bound, "listed": listed, "moves": moves, "rank": rank, "tree": tree}
