"""A search that keeps its splits, so that one on changed data can begin with them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._convex_boxes import BOX_HIGH, BOX_LOW, HIGH, LOW, OPEN, Report, Root
from provenn.bounds._convex_driver import Neuron, Outside, Search
from provenn.bounds._convex_engine import Engine, Node
from provenn.bounds._convex_proof_splits import LEAF, SplitTree
from provenn.bounds._convex_types import ConvexProblem, ConvexResult, Integers
from provenn.milp.result import Limits

RELAXATIONS_A_NODE = 2
Point = NDArray[np.float32]


@dataclass(frozen=True)
class KeptSearch:
    """What a search found, and its splits for related problems.

    Parameters
    ----------
    result : ConvexResult
    tree : SplitTree
    relaxations : int
        Boxes that were bounded: two a node of the engine, its halves, and one a node of an old tree.
    """

    result: ConvexResult
    tree: SplitTree
    relaxations: int


@dataclass(frozen=True)
class Row:
    """A node of a tree, see `SplitTree`."""

    entry: int
    below: int
    child: tuple[int, int]
    point: Point


@dataclass(frozen=True)
class _Split:
    """What expanding a node gave: a branch is the number of an open half, or the point of a closed one."""

    entry: int
    below: int
    point: Point
    branch: tuple[int | Point, int | Point]


class Keeping(Search):
    """A search in one thread that keeps its splits."""

    def __init__(self, problem: ConvexProblem, limits: Limits) -> None:
        """Set the clock."""
        super().__init__(problem, replace(limits, threads=1), None, None, False, Outside())
        self.splits = dict[int, dict[int, _Split]]()

    def process(self, engine: Engine, node: Node, report: Report) -> None:
        """Process a node, and keep how it was split."""
        serial = engine.serial
        super().process(engine, node, report)
        if report.state[0] != OPEN:
            return
        branch = list[int | Point]()
        for half in (1, 2):
            still_open = report.state[half] == OPEN
            serial += int(still_open)
            branch.append(serial if still_open else report.w[half].copy())
        split = _Split(int(report.state[3]), int(report.state[4]), report.w[0].copy(), (branch[0], branch[1]))
        self.splits.setdefault(id(engine), {})[node.serial] = split

    def kept(self, start: Neuron | None) -> KeptSearch:
        """Search, and return result and splits."""
        result = self.run(start)
        return KeptSearch(result, self.tree(), RELAXATIONS_A_NODE * result.nodes)

    def tree(self) -> SplitTree:
        """Return the splits so far; before there is a root they are those of a single leaf."""
        nowhere = np.full(len(self.problem.boxes()[0]), np.nan, np.float32)
        if self.engine is None:
            return tree_of([Row(LEAF, 0, (LEAF, LEAF), nowhere)], None)
        return tree_of(self.rows(self.engine, 0, nowhere, 0), self.engine.root)

    def rows(self, engine: Engine, serial: int, point: Point, number: int) -> list[Row]:
        """Return the nodes from one on downward, whose numbers in a tree begin with `number`."""
        splits, waiting, rows = self.splits.get(id(engine), {}), [(serial, point)], list[Row]()
        for at, w in waiting:
            if (split := splits.get(at)) is None:
                rows.append(Row(LEAF, 0, (LEAF, LEAF), w))
                continue
            first = number + len(waiting)
            waiting += [(one, split.point) if isinstance(one, int) else (LEAF, one) for one in split.branch]
            rows.append(Row(split.entry, split.below, (first, first + 1), split.point))
        return rows


def tree_of(rows: list[Row], root: Root | None) -> SplitTree:
    """Return nodes as the tree below a root."""
    D = len(rows[0].point)
    shifts = np.zeros((0, D), dtype=np.int64) if root is None else root.shifts.astype(np.int64)
    reference = np.zeros(0, dtype=np.int64) if root is None else references(root)
    relative = root is not None and root.multiples.shape[1] > 0
    return SplitTree(
        np.array([row.entry for row in rows], dtype=np.int64),
        np.array([row.below for row in rows], dtype=np.int64),
        np.array([row.child for row in rows], dtype=np.int64),
        np.array([row.point for row in rows], dtype=np.float32),
        shifts,
        reference,
        np.zeros(len(shifts)) if root is None or relative else root.anchor.copy(),
        relative,
    )


def references(root: Root) -> Integers:
    """Return the reference of every shift: in the relative box it is the entry that was fixed for it."""
    if len(root.reference) == len(root.shifts):
        return root.reference.copy()
    fixed = (root.table[LOW] == root.table[HIGH]) & (root.table[BOX_LOW] < root.table[BOX_HIGH])
    return np.argmax((root.shifts != 0) & fixed, axis=1).astype(np.int64)


def minimise_and_keep(problem: ConvexProblem, limits: Limits, start: Neuron | None = None) -> KeptSearch:
    """Minimise as `provenn.bounds.convex.minimise` does, in one thread, and keep the splits for related problems.

    Parameters
    ----------
    problem : ConvexProblem
    limits : Limits
    start : (w, b), optional

    Examples
    --------
    >>> from provenn.losses.logistic import LogisticCurve
    >>> ones, box = np.ones(2, dtype=np.int64), np.ones(1, dtype=np.int64)
    >>> neuron = ConvexProblem(np.array([[1], [-1]]), np.array([1, -1]), ones, LogisticCurve(1.0), 1, -box, box)
    >>> kept = minimise_and_keep(neuron, Limits())
    >>> kept.result.value, kept.tree.leaves
    (626524, 1)
    """
    return Keeping(problem, limits).kept(start)
