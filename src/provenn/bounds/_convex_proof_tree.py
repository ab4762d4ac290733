"""From the leaves of a search to a tree of boxes that the checker accepts."""

from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._convex_leaves import BY_BOUND
from provenn.bounds._convex_types import ConvexProblem, Integers
from provenn.check_proof import NODE_BITS, ONE, Box, Hinge, Logistic, Neuron, Tree
from provenn.errors import InputError
from provenn.losses.logistic import LogisticCurve
from provenn.losses.min_hinge import HingeCurve

BLOCK = 256
LARGEST = 2**62
EXACT_FLOAT = 2**53


@dataclass
class Written:
    """A tree as it is written.

    Parameters
    ----------
    nodes : list of list of int
        See `provenn.check_proof.Tree`.
    failed : list of (box, node)
        Boxes that no leaf closes, with the numbers of their nodes.
    """

    nodes: list[list[int]] = field(default_factory=list)
    failed: list[tuple[Box, int]] = field(default_factory=list)


class TreeWriter:
    """Finds the splits that separate leaves: these come from cuts through whole boxes, so there always are some.

    Before each split it cuts the box with the point of its largest leaf, as the search did; that leaves most boxes
    of the record out of the proof.

    Parameters
    ----------
    tree : Tree
        The checker, which knows the points.
    low, high : ndarray of shape (m, D), int64
        Disjoint boxes that cover the root box.
    point : ndarray of shape (m,), int64
        Number of the point of each, or -1.
    kind : ndarray of shape (m,), int64
        As in `Leaves`.
    """

    def __init__(self, tree: Tree, low: Integers, high: Integers, point: Integers, kind: Integers) -> None:
        self.tree, self.low, self.high, self.point, self.kind = tree, low, high, point, kind

    def write(self, root: Box, deadline: float) -> Written:
        """Return the tree below a root box; boxes after the deadline fail."""
        written = Written()
        stack: list[tuple[Box | None, Integers]] = [(root, np.arange(len(self.kind)))]
        while stack:
            box, rows = stack.pop()
            if box is None:
                written.nodes.append([-1])
                continue
            late = perf_counter() > deadline
            self._node(box, rows[:1] if late else rows, written, stack)
        return written

    def _node(self, box: Box, rows: Integers, written: Written, stack: list[tuple[Box | None, Integers]]) -> None:
        rows = self._inside(box, rows)
        p = self._point_of_largest(box, rows)
        left = self.tree.cut(box, p)
        if left is None or self._final(left, rows):
            move = [-1, int(self.kind[rows[0]])] if len(rows) and self.kind[rows[0]] >= 0 and left is not None else []
            written.nodes.append([p, *move])
            if not (self.tree.moved(left, move[1]) if move else self.tree.closed(left)):
                written.failed.append((box, len(written.nodes) - 1))
            return
        same = _equal(left, box)
        rows = rows if same else self._inside(left, rows)
        cut = self._separating(left, rows) if same or p == self._point_of_largest(left, rows) else None
        if cut is None:
            written.nodes.append([p, -1])
            stack.append((left, rows if not same else rows[:1]))
            return
        written.nodes.append([-1 if same else p, *cut])
        stack.extend((part, rows) for part in self.tree.split(left, *cut))

    def _final(self, box: Box, rows: Integers) -> bool:
        """Whether nothing is left to try: there is one leaf or none, or a single point."""
        return len(rows) <= 1 or _equal((box[0], box[0]), (box[1], box[1]))

    def _inside(self, box: Box, rows: Integers) -> Integers:
        """Return the rows that meet a box."""
        low, high = np.array(box[0]), np.array(box[1])
        return rows[((self.low[rows] <= high) & (self.high[rows] >= low)).all(axis=1)]

    def _point_of_largest(self, box: Box, rows: Integers) -> int:
        """Return the point of the leaf that fills most of a box, -1 where no leaf has one."""
        rows = rows[self.kind[rows] == BY_BOUND]
        if not len(rows):
            return -1
        size = np.minimum(self.high[rows], box[1]) - np.maximum(self.low[rows], box[0])
        return int(self.point[rows[np.argmax(np.log2(size + 1.0).sum(axis=1))]])

    def _separating(self, box: Box, rows: Integers) -> tuple[int, int] | None:
        """Return entry and value of the most even split that cuts no leaf of the box, or None."""
        if len(rows) < 2:
            return None
        low, high = np.maximum(self.low[rows], box[0]), np.minimum(self.high[rows], box[1])
        varies = np.flatnonzero(np.array(box[0]) < np.array(box[1]))
        low, high = low[:, varies], high[:, varies]
        order = np.argsort(low, axis=0, kind="stable")
        tops = np.maximum.accumulate(np.take_along_axis(high, order, axis=0), axis=0)[:-1]
        free = tops < np.take_along_axis(low, order, axis=0)[1:]
        at, entry = np.nonzero(free)
        if not len(at):
            return None
        best = np.argmin(np.abs(2 * at + 2 - len(rows)))
        return int(varies[entry[best]]), int(tops[at[best], entry[best]])


def _equal(one: Box, two: Box) -> bool:
    return list(one[0]) == list(two[0]) and list(one[1]) == list(two[1])


def fill_tangents(tree: Tree, A: Integers, multiplicity: Integers, begin: int = 0) -> None:
    """Compute the tangents of the points of a tree from number `begin` on, as `Neuron.tangent` does one by one.

    Where numbers might not fit int64, this is left to the checker.
    """
    neuron, W = tree.neuron, np.array(tree.points[begin:], dtype=np.int64).reshape(-1, A.shape[1])
    curve = neuron.curve
    if not isinstance(curve, Logistic) or not len(W) or not _small(A, multiplicity, W):
        return
    weighted, factor = A * multiplicity[:, None], -curve.parts * curve.slope.numerator
    for first in range(0, len(W), BLOCK):
        p = _lines(curve, W[first : first + BLOCK] @ A.T, tree.bits)
        totals, slopes = (_intercepts(curve, p) @ multiplicity).tolist(), (p @ weighted).tolist()
        for i, (total, row) in enumerate(zip(totals, slopes, strict=True)):
            tree.tangents[begin + first + i] = total * curve.slope.denominator, [factor * g for g in row]


def _intercepts(curve: Logistic, p: Integers) -> Integers:
    """Return `Logistic.intercept` of every line."""
    q = np.minimum(p, ONE - p)
    bits = np.maximum(np.frexp(q.astype(np.float64))[1] - NODE_BITS, 0).astype(np.int64)
    node, rest = q >> bits << bits, q & ((1 << bits) - 1)
    known = np.unique(np.append(node, node + (1 << bits)))
    values = np.array([curve.node(int(one)) for one in known], dtype=np.int64)
    low, high = values[np.searchsorted(known, node)], values[np.searchsorted(known, node + (1 << bits))]
    return np.asarray(np.where(p > 0, low + (rest * (high - low) >> bits), 0))


def _lines(curve: Logistic, Z: Integers, bits: int) -> Integers:
    """Return `Logistic.line` at every ``Z / 2^bits``."""
    z: NDArray[np.float64] = Z.astype(np.float64) / (1 << bits) / curve.tau
    return np.rint(float(ONE) / (1.0 + np.exp(np.minimum(z, 700.0)))).astype(np.int64)


def _small(A: Integers, multiplicity: Integers, W: Integers) -> bool:
    """Whether scores are exact in floats and sums in int64."""
    reach = np.abs(A).astype(np.float64) @ np.abs(W).max(axis=0)
    weight = (np.abs(A) * multiplicity[:, None].astype(np.float64)).sum(axis=0).max()
    return bool(reach.max() < EXACT_FLOAT and weight < LARGEST / 2**25 and multiplicity.sum() < LARGEST / 2**39)


def neuron_of(problem: ConvexProblem) -> Neuron:
    """Return a problem as the checker knows it; losses that it does not know are refused."""
    curve: Logistic | Hinge
    if isinstance(problem.curve, LogisticCurve):
        curve = Logistic(problem.curve.tau)
    elif isinstance(problem.curve, HingeCurve):
        curve = Hinge(problem.curve.B)
    else:
        raise InputError(f"proofs know the losses logistic and min_hinge, not {type(problem.curve).__name__}")
    low, high, step = (part.tolist() for part in problem.boxes())
    multiplicity = problem.multiplicity.tolist()
    A = problem.signed().tolist()
    return Neuron(A, multiplicity, curve, (low, high, step), len(problem.low), problem.price, problem.max_nonzeros)


def within(problem: ConvexProblem, box: Box) -> ConvexProblem:
    """Return the problem on a smaller box."""
    low, high = (np.array(ends, dtype=np.int64) for ends in box)
    d = len(problem.low)
    bias = None if problem.bias is None else (int(low[d]), int(high[d]), problem.bias[2])
    return replace(problem, low=low[:d], high=high[:d], bias=bias)
