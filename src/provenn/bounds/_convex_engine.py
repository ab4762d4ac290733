"""The open nodes of the convex engine, in Python around one compiled call a node."""

import math
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._convex_boxes import HIGH, LOW, OPEN, POINT, Report
from provenn.bounds._convex_branch import expand
from provenn.bounds._convex_groups import make_samples
from provenn.bounds._convex_leaves import BY_BOUND, LeafRecord
from provenn.bounds._convex_models import Models
from provenn.bounds._convex_setup import make_root
from provenn.bounds._convex_types import ConvexProblem, Integers

OFFERING_NODES, OFFERING_STRIDE = 200, 16
NO_SLOPE = np.zeros(0, dtype=np.float32)


class Node(NamedTuple):
    """An open node, ordered by its bound and then by age.

    Parameters
    ----------
    bound : float
    serial : int
    box : ndarray of shape (2, D), int32
    start : ndarray of shape (D,), float32
        Where to start the relaxation.
    w : ndarray of shape (D,), float32
        Point that gives the bound, its own or an ancestor's.
    penalty : float
        Multiplier of the budget.
    slope : ndarray of shape (D,) or (0,), float32
        The gradient at `start`, where the bound comes from there.
    """

    bound: float
    serial: int
    box: NDArray[np.int32]
    start: NDArray[np.float32]
    w: NDArray[np.float32]
    penalty: float
    slope: NDArray[np.float32]


class Engine:
    """The open nodes below one root box."""

    def __init__(
        self,
        A: Integers,
        problem: ConvexProblem,
        shifts: tuple[Integers, Integers],
        relative: bool = False,
        record: bool = False,
    ) -> None:
        """Make the root the only open node; it has no bound before it is expanded."""
        counts, forced = problem.counts(), problem.forced_nonzeros()
        budget = -1 if problem.max_nonzeros is None else problem.max_nonzeros - forced
        slack = problem.slack - problem.price * forced
        price = problem.price * counts.astype(np.int64)
        mixing = not record and problem.price == 0 and problem.max_nonzeros is None
        self.root = make_root(len(A), problem.boxes(), price, counts, budget, slack, shifts, relative, mixing)
        low, high = self.root.table[LOW], self.root.table[HIGH]
        reach = np.maximum(np.abs(low), np.abs(high))
        self.samples = make_samples(A, problem.multiplicity, problem.curve, reach)
        self.models = Models(self.samples)
        box = np.array([low, high], dtype=np.int32)
        start = np.clip(0.0, low, high).astype(np.float32)
        self.heap = [Node(-math.inf, 0, box, start, start, 0.0, NO_SLOPE)]
        self.busy: list[Node] = []
        self.serial = self.nodes = 0
        self.leaves = LeafRecord(self.root) if record else None

    def anchor_at(self, v: NDArray[np.float64]) -> None:
        """Keep, of points with equal scores, the one nearest to v in its references."""
        self.root = self.root._replace(anchor=v[self.root.reference])
        if self.leaves is not None:
            self.leaves.root = self.root

    @property
    def bound(self) -> float:
        """Lowest bound of the open nodes, those at work among them; infinite when there is none."""
        return min((node.bound for node in (*self.heap[:1], *self.busy)), default=math.inf)

    def take(self) -> Node | None:
        """Take the node of lowest bound to work; None when there is none at the moment."""
        if not self.heap:
            return None
        self.busy.append(self.heap[0])
        return heappop(self.heap)

    def expand(self, node: Node, report: Report, cutoff: float, best: float) -> None:
        """Bound both halves of a node at work; changes only the report, so that threads need no lock.

        Parameters
        ----------
        node : Node
        report : Report
            Written.
        cutoff : float
            A bound above it closes a node.
        best : float
            Loss that a rounded point must beat to be worth an evaluation; later only some nodes are rounded.
        """
        D = len(node.start)
        near = self.models.near(node.start)
        model = np.zeros((D, D), dtype=np.float32) if near is None else near
        offers = self.nodes < OFFERING_NODES or self.nodes % OFFERING_STRIDE == 0
        level = cutoff, best if offers else -math.inf
        expand(
            self.samples,
            self.root,
            report,
            node.box,
            node.start,
            model,
            near is None,
            node.slope,
            level,
            node.bound,
            node.penalty,
        )
        if near is None:
            self.models.add(node.start, model)

    def settle(self, node: Node, report: Report) -> list[NDArray[np.float64]]:
        """Open the halves of an expanded node; return the points to evaluate exactly before it is finished."""
        self.nodes += 1
        if self.leaves is not None:
            self.leaves.add(node.box, report)
        last = 3 if report.state[0] == OPEN else 1
        points = [report.box[i, LOW].astype(np.float64) for i in range(last) if report.state[i] == POINT]
        if report.state[5]:
            points.append(report.offer.copy())
        self._open_halves(node, report, last)
        return points

    def finish(self, node: Node) -> None:
        """Forget a settled node, all points of which are evaluated."""
        self.busy = [one for one in self.busy if one is not node]

    def _open_halves(self, node: Node, report: Report, last: int) -> None:
        """Open the halves; one whose bound is worse than its parent's inherits that, with its point."""
        parent, w = node.bound, node.w
        if report.bound[0] >= parent:
            parent, w = float(report.bound[0]), report.w[0].copy()
        for i in range(1, last):
            if report.state[i] == OPEN:
                self.serial += 1
                own, penalty = float(report.bound[i]), float(report.penalty[i])
                box, start = report.box[i, :2].copy(), report.w[i].copy()
                point, slope = (start, report.slope[i].copy()) if own >= parent else (w, NO_SLOPE)
                heappush(self.heap, Node(max(own, parent), self.serial, box, start, point, penalty, slope))

    def close_rest(self) -> None:
        """Record the open nodes, those at work among them, as leaves that their bounds close."""
        for node in (*self.heap, *self.busy):
            if self.leaves is not None:
                self.leaves.append(node.box[LOW], node.box[HIGH], node.w, BY_BOUND)
        self.heap, self.busy = [], []
