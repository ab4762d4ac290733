"""Proofs by branch and bound for convex losses, as data that `provenn.check_proof` checks by itself."""

from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from provenn.bounds._convex_proof_kept import KeptSearch, minimise_and_keep
from provenn.bounds._convex_proof_reuse import OldProof
from provenn.bounds._convex_proof_search import search
from provenn.bounds._convex_proof_splits import SplitTree
from provenn.bounds._convex_proof_tree import TreeWriter, fill_tangents, neuron_of, within
from provenn.bounds._convex_types import ConvexProblem, ConvexResult, Integers, Leaves
from provenn.check_proof import Box, RejectedError, Tree
from provenn.errors import InputError
from provenn.milp.result import Limits

BITS = 16
NODES_WITHOUT_MOVES = 200
REPAIRS, REPAIR_NODES, HALVINGS = 2, 200, 2000


@dataclass(frozen=True)
class NeuronProof:
    """The proof of one neuron's bound.

    Parameters
    ----------
    data : dict
        JSON data in integers, see `provenn.check_proof.Tree`; ``data["bound"]`` is what it shows.
    result : ConvexResult
        What the search found and claimed.
    """

    data: dict[str, Any]
    result: ConvexResult

    @property
    def bound(self) -> int:
        """The bound that the proof shows, in units."""
        return int(self.data["bound"])


def prove_again(
    problem: ConvexProblem, incumbent: tuple[Integers, int] | None, limits: Limits, wanted: int | None = None
) -> ConvexResult:
    """Search with a record that covers the whole box, also when a limit ends it.

    First without moves to equal points, which shortens many proofs; when that takes more than a few hundred nodes,
    with them. Of two unfinished searches the higher bound counts.

    Parameters
    ----------
    problem : ConvexProblem
    incumbent : (w, b) or None
    limits : Limits
    wanted : int or None
        A bound that suffices.
    """
    began, moves = perf_counter(), problem.price == 0 and problem.max_nonzeros is None
    nodes = limits.nodes if not moves else min(NODES_WITHOUT_MOVES, limits.nodes or NODES_WITHOUT_MOVES)
    first = search(problem, replace(limits, nodes=nodes), incumbent, False, wanted)
    enough = first.value if wanted is None else min(wanted, first.value)
    if first.w is None:
        raise InputError("no weights satisfy the limits, so there is nothing to prove")
    if first.bound >= enough or not moves:
        return first
    left = replace(limits, seconds=max(0.0, limits.seconds - (perf_counter() - began)))
    second = search(problem, left, (first.w, first.b), True, wanted)
    return second if second.bound >= first.bound else first


def proof_of(
    problem: ConvexProblem, result: ConvexResult, seconds: float = 60.0, bits: int = BITS, bound: int | None = None
) -> NeuronProof:
    """Turn the leaves of a search into a proof.

    Parameters
    ----------
    problem : ConvexProblem
    result : ConvexResult
        Of `prove_again`.
    seconds : float
        Time for the writing; what is not done by then lowers the bound.
    bits : int
        Points are rounded to multiples of ``2^-bits``.
    bound : int, optional
        What to show; by default the result's bound.

    Returns
    -------
    NeuronProof
        With the bound that it shows, at most the result's.

    Examples
    --------
    >>> from provenn.losses.logistic import LogisticCurve
    >>> ones, box = np.ones(2, dtype=np.int64), np.ones(1, dtype=np.int64)
    >>> neuron = ConvexProblem(np.array([[1], [-1]]), np.array([1, -1]), ones, LogisticCurve(1.0), 1, -box, box)
    >>> result = prove_again(neuron, None, Limits())
    >>> proof = proof_of(neuron, result)
    >>> proof.bound == result.bound == result.value
    True
    >>> checked(neuron, proof.data)
    True
    """
    if result.leaves is None:
        raise InputError("the search kept no leaves; run prove_again")
    data = _frame(result.leaves, bits, result.bound if bound is None else min(bound, result.bound))
    writing = _Writing(problem, Tree(neuron_of(problem), data), perf_counter() + seconds)
    data["tree"] = writing.nodes(writing.root, result.leaves, REPAIRS)
    data["bound"] = min(data["bound"], writing.lowest)
    return NeuronProof(_packed(data), result)


def checked(problem: ConvexProblem, data: dict[str, Any]) -> bool:
    """Whether the checker accepts a proof for a problem."""
    try:
        Tree(neuron_of(problem), data).check(data["tree"])
    except RejectedError:
        return False
    return True


def _frame(leaves: Leaves, bits: int, bound: int) -> dict[str, Any]:
    """Return the data of a proof that has no points and no tree yet."""
    moves = {
        "moves": leaves.shifts.tolist(),
        "references": leaves.reference.tolist(),
        "anchors": leaves.anchor.tolist(),
    }
    return {"bound": bound, "bits": bits, **moves, "points": []}


class _Writing:
    """A proof at work: its tree, whose points grow, and the least bound that it shows so far."""

    def __init__(self, problem: ConvexProblem, tree: Tree, deadline: float) -> None:
        self.problem, self.tree, self.deadline = problem, tree, deadline
        self.A, self.lowest, self.halvings = problem.signed(), tree.bound, HALVINGS
        low, high, _ = problem.boxes()
        self.root: Box = (low.tolist(), high.tolist())

    def nodes(self, box: Box, leaves: Leaves, repairs: int) -> list[list[int]]:
        """Return the tree of a box from leaves that cover it; boxes that stay open are searched again."""
        begin, bits = len(self.tree.points), self.tree.bits
        points, point = np.unique(np.rint(leaves.w * 2**bits).astype(np.int64), axis=0, return_inverse=True)
        self.tree.points.extend(points.tolist())
        fill_tangents(self.tree, self.A, self.problem.multiplicity, begin)
        writer = TreeWriter(self.tree, leaves.low, leaves.high, begin + point.ravel(), leaves.kind)
        written = writer.write(box, self.deadline)
        instead = {number: self._again(failed, written.nodes[number], repairs) for failed, number in written.failed}
        return [node for i, one in enumerate(written.nodes) for node in instead.get(i, [one])]

    def _again(self, box: Box, node: list[int], repairs: int) -> list[list[int]]:
        """Return the tree of a box that its leaf did not close, or lower the bound to what the leaf shows."""
        left = self.deadline - perf_counter()
        if repairs and left > 0:
            wanted = self.tree.bound + self._margin()
            found = search(within(self.problem, box), Limits(left, REPAIR_NODES), None, False, wanted)
            if found.leaves is not None and found.bound >= self.tree.bound:
                return self.nodes(box, found.leaves, repairs - 1)
        elif self.halvings and left > 0:
            return self._halved(box)
        return self._as_it_is(box, node[0])

    def _halved(self, box: Box) -> list[list[int]]:
        """Return the tree of a box split in the middle of its widest entry."""
        self.halvings -= 1
        widths = [high - low for low, high in zip(*box, strict=True)]
        j = widths.index(max(widths))
        c = box[0][j] + (widths[j] - 1) // 2
        above, below = self.tree.split(box, j, c)
        halves = [
            [[-1]] if self.tree.closed(half) or half is None else self._again(half, [-1], 1) for half in (below, above)
        ]
        return [[-1, j, c], *halves[0], *halves[1]]

    def _margin(self) -> int:
        """Return by how much leaves of a second search should exceed the bound."""
        return max(1, abs(self.tree.bound) // 10_000)

    def _as_it_is(self, box: Box, p: int) -> list[list[int]]:
        """Return the leaf of an open box, and lower the bound to what the tangent at its point shows."""
        if p < 0:
            p = len(self.tree.points)
            self.tree.points.append([(low + high) << self.tree.bits - 1 for low, high in zip(*box, strict=True)])
        total, _ = self.tree.neuron.parts(*self.tree.tangent(p), box)
        if total is not None:
            self.lowest = min(self.lowest, -(-total // self.tree.neuron.unit))
        return [[p]]


def _packed(data: dict[str, Any]) -> dict[str, Any]:
    """Leave out points that no node names."""
    used = sorted({node[0] for node in data["tree"]} - {-1})
    number = {p: i for i, p in enumerate(used)} | {-1: -1}
    points = [data["points"][p] for p in used]
    return {**data, "points": points, "tree": [[number[node[0]], *node[1:]] for node in data["tree"]]}


__all__ = [
    "KeptSearch",
    "NeuronProof",
    "OldProof",
    "SplitTree",
    "checked",
    "minimise_and_keep",
    "neuron_of",
    "proof_of",
    "prove_again",
]
