"""Old proofs on new data: the points of a tree still give tangents, whatever the samples and labels are."""

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from provenn.bounds._convex_proof_search import search
from provenn.bounds._convex_proof_tree import fill_tangents, neuron_of, within
from provenn.bounds._convex_types import ConvexProblem, ConvexResult, Integers
from provenn.check_proof import Box, Tree
from provenn.errors import InputError
from provenn.milp.result import Limits
from provenn.status import Status

PRECISION = 2000


class OldProof:
    """The tree of a proof for one problem, applied to another one with the same weights and bias.

    Only splits and points are used. Each tangent is derived again from the new samples, so that every bound is as
    valid as one of a fresh search; boxes that the tree does not close are open.

    Parameters
    ----------
    data : dict
        ``data`` of a `NeuronProof`.
    problem : ConvexProblem
        The new problem.

    Examples
    --------
    >>> from provenn.bounds.convex_proof import proof_of, prove_again
    >>> from provenn.losses.logistic import LogisticCurve
    >>> box, ones = np.full(2, 3), np.ones(4, dtype=np.int64)
    >>> X, t = np.array([[0, 1], [1, 0], [1, 1], [2, 0]]), np.array([-1, 1, -1, 1])
    >>> old = ConvexProblem(X, t, ones, LogisticCurve(1.0), 1, -box, box, 1, (-3, 3, 1))
    >>> proof = proof_of(old, prove_again(old, None, Limits()))
    >>> new = replace(old, multiplicity=ones + ones)
    >>> OldProof(proof.data, new).lower_bound(2 * proof.bound) > 1.9 * proof.bound
    True
    """

    def __init__(self, data: dict[str, Any], problem: ConvexProblem) -> None:
        """Compute all tangents on the new samples, in one pass."""
        if any(len(w) != len(problem.boxes()[0]) for w in data["points"]):
            raise InputError("the proof is for another number of weights; use one of a problem with the same inputs")
        self.problem, self.nodes = problem, data["tree"]
        self.tree = Tree(neuron_of(problem), {**data, "moves": [], "references": [], "anchors": []})
        fill_tangents(self.tree, problem.signed(), problem.multiplicity)

    def open_boxes(self, bound: int) -> list[Box]:
        """Return the boxes that the tree leaves open when it is to show a bound."""
        self.tree.bound = bound
        low, high, _ = self.problem.boxes()
        boxes, left = list[Box | None]([(low.tolist(), high.tolist())]), list[Box]()
        for p, *rest in self.nodes:
            box = self.tree.cut(boxes.pop(), p)
            if len(rest) == 1:
                boxes.append(box)
            elif rest and rest[0] >= 0:
                boxes.extend(self.tree.split(box, *rest))
            elif box is not None and not self._closed(box, rest):
                left.append(box)
        return left

    def _closed(self, box: Box, move: Sequence[int]) -> bool:
        return not move and self.tree.closed(box)

    def proves(self, bound: int) -> bool:
        """Whether the old tree shows that no neuron of the new problem has a loss below a bound."""
        return not self.open_boxes(bound)

    def lower_bound(self, most: int) -> int:
        """Return a bound that the old tree shows, up to `most`, to a precision of one part in 2,000 of that."""
        low, high = min(self.problem.floor(), most), most
        if self.proves(high):
            return high
        while high - low > max(1, most // PRECISION):
            middle = (low + high) // 2
            low, high = (middle, high) if self.proves(middle) else (low, middle)
        return low

    def warm_start(self, incumbent: tuple[Integers, int], limits: Limits) -> ConvexResult:
        """Search the boxes that the tree does not close for a better neuron; its bound is proven as a fresh one.

        Parameters
        ----------
        incumbent : (w, b)
            A neuron of the new problem, for example the old optimum.
        limits : Limits
        """
        if not self.problem.allows(*incumbent):
            raise InputError("the incumbent lies outside the box or the budget of the new problem")
        began, value, (w, b) = perf_counter(), self.problem.value(*incumbent), incumbent
        status, bound, nodes = Status.OPTIMAL, value, 0
        for box in self.open_boxes(value):
            left = replace(limits, seconds=max(0.0, limits.seconds - (perf_counter() - began)))
            start, moves = (np.asarray(w, dtype=np.int64), b), self.problem.max_nonzeros is None
            found = search(within(self.problem, box), left, start, moves and self.problem.price == 0, value)
            nodes += found.nodes
            if found.w is None:
                continue
            if found.value < value:
                value, w, b = found.value, found.w, found.b
            bound = min(bound, found.bound)
        bound = min(bound, value)
        status = Status.OPTIMAL if bound >= value else Status.TIME_LIMIT
        return ConvexResult(status, np.asarray(w), b, value, bound, nodes, perf_counter() - began, bound)
