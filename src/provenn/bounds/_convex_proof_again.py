"""Old splits on new data: boxes that they leave open, as nodes of an engine."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._convex_boxes import HIGH, LOW, X, load, write_back
from provenn.bounds._convex_branch import ROOT_ROUNDS, fixed_scores
from provenn.bounds._convex_engine import Engine, Node
from provenn.bounds._convex_nodes import relax
from provenn.bounds._convex_proof_replay import (
    FREE,
    LEFT,
    MODELS,
    QUEUED,
    SINGLE,
    VISITS,
    Frontier,
    Hessians,
    Splits,
    replay,
)
from provenn.bounds._convex_proof_splits import SplitTree
from provenn.bounds._convex_setup import into_box, relative_box, score_shifts
from provenn.bounds._convex_types import ConvexProblem, Integers, fits

MOST_POINTS = 4
Shifts = tuple[Integers, Integers]


def engine_for(problem: ConvexProblem, tree: SplitTree) -> Engine:
    """Return an engine on new data that treats points with equal scores as the old search did, where they still are.

    Moves of the old tree that change scores of the new samples are left out. When the new samples have more
    moves, all of those count.
    """
    A, shifts = problem.signed(), moves_left(problem, tree)
    wide = tree.relative and len(shifts[0]) and fits(A, *relative_box(*problem.boxes(), *shifts)[:2])
    engine = Engine(A, problem, shifts, relative=bool(wide))
    if not wide:
        anchor = problem.nearest_to_zero()
        anchor[tree.reference] = tree.anchor if not tree.relative else anchor[tree.reference]
        engine.anchor_at(np.clip(anchor, *problem.boxes()[:2]))
    return engine


def moves_left(problem: ConvexProblem, tree: SplitTree) -> Shifts:
    """Return the moves of a tree that still leave all scores as they are, or those of the problem if they are more."""
    A, (low, high, step) = problem.signed(), problem.boxes()
    if problem.price or problem.max_nonzeros is not None:
        return np.zeros((0, A.shape[1]), dtype=np.int64), np.zeros(0, dtype=np.int64)
    still = ~(A @ tree.shifts.T).any(axis=0) & ~(tree.shifts % step).any(axis=1)
    still &= ~(tree.shifts[:, low == high] != 0).any(axis=1)
    if len(still) and still.all():
        return tree.shifts, tree.reference
    found = score_shifts(A, low, high, step)
    return found if len(found[0]) > still.sum() else (tree.shifts[still], tree.reference[still])


def cutoff_below(value: int) -> float:
    """Return the largest bound that leaves a box open which may hold less than a value, an integer."""
    return float(value - 1) if int(float(value - 1)) >= value - 1 else math.nextafter(float(value - 1), math.inf)


def relaxed(engine: Engine, low: Any, high: Any, w: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the minimum of the relaxation over a box, from a point nearby."""
    box = load(engine.root, low, high, w, len(engine.samples.weight))
    fixed_scores(engine.samples, box)
    relax(engine.samples, box, np.inf, -np.inf, 0.0, ROOT_ROUNDS, True, True, False)
    write_back(box)
    return box.full[X].copy()


class Replay:
    """An old tree on new data.

    Parameters
    ----------
    engine : Engine
        Of the new problem; its root box is where the splits are followed.
    tree : SplitTree
    rounds : int
        Model steps a box, 0 to evaluate the old points alone.
    """

    def __init__(self, engine: Engine, tree: SplitTree, rounds: int) -> None:
        """Queue the root."""
        D, slots, models = tree.point.shape[1], tree.leaves + 2, engine.models
        self.engine, self.tree, self.rounds = engine, tree, rounds
        self.splits = Splits(tree.entry, tree.below, tree.child, tree.point, tree.minima)
        self.frontier = Frontier(
            np.empty((slots, 2, D), dtype=np.int32),
            np.empty((slots, D), dtype=np.float32),
            np.zeros((slots, D), dtype=np.float32),
            np.full(slots, -np.inf),
            np.zeros(slots),
            np.zeros(slots, dtype=np.int64),
            np.full(slots, FREE),
        )
        self.frontier.box[0] = engine.root.table[[LOW, HIGH]]
        start = tree.point[0]
        self.frontier.w[0] = np.where(np.isnan(start), engine.heap[0].start, start)
        self.frontier.state[0] = QUEUED
        most = models.size if rounds else 1
        self.hessians = Hessians(
            np.empty((most, D, D), dtype=np.float32),
            np.empty((most, D), dtype=np.float32),
            models.reach,
            np.zeros(2, dtype=np.int64),
        )

    @property
    def relaxations(self) -> int:
        """Boxes relaxed so far."""
        return int(self.hessians.used[VISITS])

    def run(self, cutoff: float, most: int, whole: bool) -> bool:
        """Follow the splits for at most so many boxes; return whether that is done, see `replay`."""
        engine = self.engine
        return bool(
            replay(
                engine.samples, engine.root, self.splits, self.frontier, self.hessians,
                cutoff, self.rounds, most, whole,
            )
        )  # fmt: skip

    @property
    def bound(self) -> float:
        """The lowest bound of an open box, infinite when there is none."""
        still = (self.frontier.state == QUEUED) | (self.frontier.state == LEFT)
        return float(self.frontier.bound[still].min(initial=np.inf))

    def singles(self) -> Iterator[NDArray[np.float64]]:
        """Yield the points that are left to evaluate, and forget them."""
        for slot in np.flatnonzero(self.frontier.state == SINGLE):
            yield self.frontier.box[slot, LOW].astype(np.float64)
            self.frontier.state[slot] = FREE

    def few(self) -> Iterator[NDArray[np.float64]]:
        """Yield the points of open boxes with very few of them, and forget these boxes."""
        step = self.engine.root.table[2]
        for slot in np.flatnonzero(self.frontier.state == LEFT):
            low, high = self.frontier.box[slot].astype(np.float64)
            counts = (high - low) / step + 1
            if np.log2(counts).sum() <= np.log2(MOST_POINTS):
                grid = np.meshgrid(*(np.arange(a, b + 1, s) for a, b, s in zip(low, high, step, strict=True)))
                yield from np.stack([axis.ravel() for axis in grid], axis=1)
                self.frontier.state[slot] = FREE

    def value(self, problem: ConvexProblem, v: NDArray[np.float64]) -> int | None:
        """Return the loss of a point of the engine's box, None where no neuron of the problem has its scores."""
        inside = into_box(self.engine.root, v)
        return None if inside is None or not problem.allows(*(one := problem.unpack(inside))) else problem.value(*one)

    def lowest(self) -> NDArray[np.float64] | None:
        """Return the minimum of the relaxation over the open box of lowest bound, None when no box is open."""
        bounds = np.where(np.isin(self.frontier.state, (QUEUED, LEFT)), self.frontier.bound, np.inf)
        slot = int(np.argmin(bounds))
        if math.isinf(bounds[slot]):
            return None
        low, high = self.frontier.box[slot].astype(np.int32)
        return relaxed(self.engine, low, high, self.frontier.w[slot])

    def nodes(self) -> tuple[list[Node], list[int]]:
        """Return the open boxes as nodes of an engine, and their numbers in the tree."""
        frontier, nodes, numbers = self.frontier, list[Node](), list[int]()
        for slot in np.flatnonzero((frontier.state == QUEUED) | (frontier.state == LEFT)):
            w, slope = frontier.w[slot].copy(), frontier.slope[slot].copy()
            bound, penalty = float(frontier.bound[slot]), float(frontier.penalty[slot])
            nodes.append(Node(bound, len(nodes), frontier.box[slot].copy(), w, w, penalty, slope))
            numbers.append(int(frontier.node[slot]))
        return nodes, numbers

    def hand_over_models(self) -> None:
        """Give the Hessians of the replay to the engine."""
        for i in range(min(int(self.hessians.used[MODELS]), len(self.hessians.point))):
            self.engine.models.add(self.hessians.point[i], self.hessians.matrix[i])
