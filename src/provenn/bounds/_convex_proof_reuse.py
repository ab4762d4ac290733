"""Old proofs on new data: bounds, warm starts and derivatives from the splits of a finished search."""

import math
from dataclasses import replace
from heapq import heapify
from typing import Any

import numpy as np

from provenn.bounds._convex_driver import Neuron
from provenn.bounds._convex_engine import Engine
from provenn.bounds._convex_proof_again import Replay, cutoff_below, engine_for
from provenn.bounds._convex_proof_gradient import BoundGradient, gradient_at
from provenn.bounds._convex_proof_kept import Keeping, KeptSearch, Row, tree_of
from provenn.bounds._convex_proof_splits import SplitTree
from provenn.bounds._convex_search import descend
from provenn.bounds._convex_types import ConvexProblem, ConvexResult
from provenn.errors import InputError
from provenn.milp.result import Limits

POLISH_SWEEPS, LATER_ANNEALING = 100, 256
CHUNK = 2000
EFFORT = 1
MOVED = 1000
"""Splits are put aside where single steps lower the loss of the old weights by more than one part in this.

The optimum has moved then, and splits that were chosen around the old one were seen to cost up to twice a fresh search.
"""


class OldProof:
    """The splits of a search for one problem, applied to another one with the same inputs.

    Only splits and points are used, as advice: every box is bounded again on the new data, first at its old point,
    then after model steps from there, so that each bound is as valid as one of a fresh search. Boxes are taken best
    bound first from the root on, and nothing below a closed one is looked at.

    Parameters
    ----------
    tree : SplitTree or dict
        Of `minimise_and_keep`, or the ``data`` of a `NeuronProof`.
    problem : ConvexProblem
        The new problem.

    Examples
    --------
    >>> from provenn.bounds.convex_proof import minimise_and_keep
    >>> from provenn.losses.logistic import LogisticCurve
    >>> box, ones = np.full(2, 3), np.ones(4, dtype=np.int64)
    >>> X, t = np.array([[0, 1], [1, 0], [1, 1], [2, 0]]), np.array([-1, 1, -1, 1])
    >>> old = ConvexProblem(X, t, ones, LogisticCurve(1.0), 1, -box, box, 1, (-3, 3, 1))
    >>> kept = minimise_and_keep(old, Limits())
    >>> proof = OldProof(kept.tree, replace(old, multiplicity=np.array([2, 2, 2, 1])))
    >>> value = proof.problem.value(kept.result.w, kept.result.b)
    >>> 0.9 * value < proof.lower_bound(value) <= value
    True
    """

    def __init__(self, tree: SplitTree | dict[str, Any], problem: ConvexProblem) -> None:
        """Compare shapes; nothing is computed yet."""
        self.tree = SplitTree.of_proof(tree) if isinstance(tree, dict) else tree
        if self.tree.point.shape[1] != len(problem.boxes()[0]):
            raise InputError("the proof is for another number of weights; use one of a problem with the same inputs")
        self.problem, self.relaxations = problem, 0

    def proves(self, bound: int, effort: int = EFFORT) -> bool:
        """Whether the old splits show that no neuron of the new problem has a loss below a bound."""
        return self.lower_bound(bound, effort) >= bound

    def lower_bound(self, most: int, effort: int = EFFORT) -> int:
        """Return a bound, up to `most`, of the loss of every neuron of the new problem.

        Parameters
        ----------
        most : int
            A bound that suffices, for example the loss of the old weights.
        effort : int
            Model steps a box; 0 takes the old points as they are.
        """
        return most if _infeasible(self.problem) else self._bounded(most, effort)[0]

    def grad(self, incumbent: Neuron, effort: int = EFFORT) -> BoundGradient:
        """Return the derivative of the lower bound in the data of the new problem.

        The bound is the least relaxed minimum ``min_v sum_k m_k c(A_k v) + prices`` of the open boxes. By the
        envelope theorem its derivatives are those of the sum at the minimum v of that box:
        ``c(A_k v)`` by m_k, and ``m_k c'(A_k v) t_k v_j`` by feature j of sample k. Where nothing is open the bound
        is the loss of the incumbent, and v its weights.

        Parameters
        ----------
        incumbent : (w, b)
            A neuron of the new problem; its loss is the most that the bound can be.
        effort : int

        References
        ----------
        Derivatives of optimal values: Danskin, SIAM J. Appl. Math. 14 (1966), doi:10.1137/0114053.
        """
        if not self.problem.allows(*incumbent):
            raise InputError("the incumbent lies outside the box or the budget of the new problem")
        bound, replay = self._bounded(self.problem.value(*incumbent), effort)
        lowest = replay.lowest()
        return gradient_at(self.problem, bound, self.problem.pack(*incumbent) if lowest is None else lowest)

    def _bounded(self, most: int, effort: int) -> tuple[int, Replay]:
        """Return the bound and the replay that shows it."""
        replay = Replay(engine_for(self.problem, self.tree), self.tree, effort)
        bound, over = most, False
        while not over:
            over = replay.run(cutoff_below(most), CHUNK, whole=False)
            points = [*replay.singles(), *replay.few()]
            bound = min([bound, *(value for v in points if (value := replay.value(self.problem, v)) is not None)])
            over &= not points
        self.relaxations = replay.relaxations
        least = self.problem.floor() + self.problem.price * self.problem.forced_nonzeros()
        return (bound if math.isinf(replay.bound) else min(bound, max(least, math.ceil(replay.bound)))), replay

    def warm_start(self, incumbent: Neuron, limits: Limits, effort: int = EFFORT) -> ConvexResult:
        """Search the boxes that the splits leave open; the result is as proven as that of a fresh search.

        Parameters
        ----------
        incumbent : (w, b)
            A neuron of the new problem, for example the old optimum.
        limits : Limits
        effort : int
            Model steps a box of the old tree.
        """
        return self.resume(incumbent, limits, effort).result

    def resume(self, incumbent: Neuron, limits: Limits, effort: int = EFFORT) -> KeptSearch:
        """Search as `warm_start` does, and keep the splits, old and new."""
        if not self.problem.allows(*incumbent):
            raise InputError("the incumbent lies outside the box or the budget of the new problem")
        return Resumed(self.problem, limits, self.tree, effort).kept(incumbent)


def _infeasible(problem: ConvexProblem) -> bool:
    return problem.max_nonzeros is not None and problem.forced_nonzeros() > problem.max_nonzeros


class Resumed(Keeping):
    """A search that begins with the boxes which old splits leave open."""

    def __init__(self, problem: ConvexProblem, limits: Limits, old: SplitTree, effort: int) -> None:
        """Set the clock."""
        super().__init__(problem, limits)
        self.old, self.effort, self.numbers, self.replayed = old, effort, list[int](), 0
        self.next_annealing = LATER_ANNEALING  # the old weights are a good start

    def prepare(self) -> Engine:
        """Improve the incumbent by single steps, follow the old splits, and open what they leave."""
        engine = engine_for(self.problem, self.old)
        self.plain = engine if not engine.root.multiples.shape[1] else self._plain_engine()
        if self._moved():
            self.old = self.old.stump()
        replay = Replay(engine, self.old, self.effort)
        self._follow(replay)
        self.replayed = replay.relaxations
        replay.hand_over_models()
        engine.heap, self.numbers = replay.nodes()
        engine.serial = len(engine.heap)
        heapify(engine.heap)
        self.raise_bound(engine)
        self.root_bound = self.bound
        return engine

    def _moved(self) -> bool:
        """Improve the incumbent by single steps, and say whether that shows that the optimum is elsewhere."""
        before, v = self.answer[0], self.problem.pack(*self.answer[1:])
        descend(self.plain.samples, self.plain.root, v, POLISH_SWEEPS)
        self.offer(v)
        return self.answer[0] < before - before // MOVED

    def _plain_engine(self) -> Engine:
        none = np.zeros((0, len(self.problem.boxes()[0])), dtype=np.int64), np.zeros(0, dtype=np.int64)
        return Engine(self.problem.signed(), self.problem, none)

    def _follow(self, replay: Replay) -> None:
        """Follow the old splits as far as limits allow."""
        over = False
        while not over and self.seconds() < self.limits.seconds and not self.outside.stopped():
            over = replay.run(self.cutoff, CHUNK, whole=True)
            for v in replay.singles():
                self.offer(v, replay.engine)

    def kept(self, start: Neuron | None) -> KeptSearch:
        """Search, and return result and splits, with all relaxations counted."""
        found = super().kept(start)
        return replace(found, relaxations=found.relaxations + self.replayed)

    def tree(self) -> SplitTree:
        """Return the old splits with the new ones below the leaves that had to be split."""
        if self.engine is None:
            return self.old
        old, grown = self.old, dict[int, list[Row]]()
        size = len(old.entry)
        for serial, number in enumerate(self.numbers):
            rows = self.rows(self.engine, serial, old.point[number], size - 1)
            if len(rows) > 1:
                grown[number] = rows
                size += len(rows) - 1
        return tree_of(_grafted(old, grown), self.engine.root)


def _grafted(old: SplitTree, grown: dict[int, list[Row]]) -> list[Row]:
    """Return the rows of a tree with others in place of some nodes; those name nodes after the old ones."""
    rows = [
        Row(int(j), int(c), (int(child[0]), int(child[1])), w)
        for j, c, child, w in zip(old.entry, old.below, old.child, old.point, strict=True)
    ]
    for number, more in grown.items():
        rows[number] = more[0]
    for more in grown.values():
        rows += more[1:]
    return rows
