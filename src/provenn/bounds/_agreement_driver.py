"""The driver of the agreement engine: first incumbents, exact values, limits, events."""

import time
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._agreement_check import leaf_bound, whole_box
from provenn.bounds._agreement_rows import WHOLE
from provenn.bounds._agreement_search import anneal
from provenn.bounds._agreement_setup import Reduced, reduce
from provenn.bounds._agreement_tree import Piece, Tree, run, small_type
from provenn.bounds._agreement_types import (
    AgreementProblem,
    AgreementResult,
    Collection,
    Integers,
    Known,
    Leaves,
    Neuron,
    Stopped,
)
from provenn.milp.result import Event, Limits, OnEvent, float_below
from provenn.status import Status

ANNEALING_WORK = 4e7
STAGES = ((6, 400, 20_000), (12, 6000, 2**62))
"""Restarts and steps for each entry of annealing, then nodes of the tree."""
EVENT_SECONDS = 0.05
COLLECTED_PIECE = 4096


class Search:
    """One minimisation; `value`, `neuron` and `bound` are consistent at every moment."""

    def __init__(
        self,
        problem: AgreementProblem,
        limits: Limits,
        cutoff: int | None,
        on_event: OnEvent | None,
        record: bool,
        stopped: Stopped,
        known: Known,
    ) -> None:
        """Reduce the problem and set the clock."""
        self.began, self.told_at = time.perf_counter(), 0.0
        self.problem, self.limits, self.on_event = problem, limits, on_event
        self.outside, self.known, self.record = stopped, known, record
        self.reduced = reduce(problem)
        self.unit = max(1, int(np.gcd.reduce(self.reduced.cost))) if len(self.reduced.cost) else 1
        total = self.reduced.constant + int(self.reduced.cost.sum())
        self.cutoff = total + 1 if cutoff is None else cutoff
        self.value: int | None = None
        self.neuron: Neuron | None = None
        self.bound = self.told_bound = min(self.cutoff, self.reduced.constant)
        self.tree: Tree | None = None
        self.why: Status | None = None

    def run(self, start: Neuron | None) -> AgreementResult:
        """Search until the proof is complete or a limit is reached."""
        try:
            if start is not None and self.problem.allows(*start):
                self.take(np.asarray(start[0], dtype=np.int64).copy(), int(start[1]))
            self.search()
        except KeyboardInterrupt:
            self.why = Status.INTERRUPTED
        if self.bound > self.told_bound:
            self.send("bound")
        return self.result()

    @property
    def limit(self) -> int:
        """What a neuron must cost less than, to be of interest."""
        return self.cutoff if self.value is None else min(self.value, self.cutoff)

    @property
    def complete(self) -> bool:
        """Whether nothing better than `limit` is left."""
        return self.bound >= self.limit

    def reduced_limit(self) -> int:
        """Return `limit` in units of the reduced problem, rounded up."""
        return -((self.reduced.constant - self.limit) // self.unit)

    def take(self, w: Integers, b: int) -> None:
        """Keep a neuron if it is better than what is known."""
        value = self.problem.value(w, b)
        if self.value is None or value < self.value:
            self.value, self.neuron = value, (w, b)
            self.send("incumbent")

    def offer(self, u: Integers) -> None:
        """Keep the neuron of a point if it is better and below the cutoff."""
        w, b = self.reduced.neuron(u)
        if self.problem.value(w, b) < self.limit:
            self.take(w, b)
            if self.tree is not None:
                self.tree.best[0] = max(0, self.reduced_limit())

    def search(self) -> None:
        """Anneal and search the tree in turns; trees that take long get more annealing."""
        for restarts, steps, nodes in STAGES:
            if self.stop():
                return
            self.anneal(restarts, steps)
            if self.stop():
                return
            if self.tree is None:
                self.tree = self.plant()
            run(self.tree, self.limits.threads, self.nodes_left, self.note, self.stage_end(nodes))

    def plant(self) -> Tree:
        """Return the tree with the root box."""
        one, cost = self.reduced, self.reduced.cost // self.unit
        return Tree(one.A, one.offset, cost, one.top, self.reduced_limit(), 0, self.record)

    def stage_end(self, nodes: int) -> Stopped:
        """Return what says that a stage ends."""
        return lambda: self.stop() or (self.tree is not None and self.tree.nodes >= nodes)

    def anneal(self, restarts: int, steps: int) -> None:
        """Look for better incumbents from random points."""
        reduced = self.reduced
        D, n = reduced.A.shape
        if not n or not D:
            self.offer(np.zeros(D, dtype=np.int64))
            return
        cost = np.minimum(reduced.cost // self.unit, max(1, self.reduced_limit()))
        kind = small_type(reduced.A, reduced.offset, cost, reduced.top)
        A, offset, cost = reduced.A.astype(kind), reduced.offset.astype(kind), cost.astype(kind)
        rng = np.random.default_rng((self.limits.seed, steps))
        state = rng.integers(1, 2**63, 1, dtype=np.uint64)
        typical = float(np.minimum(cost, np.median(cost) * 10 + 1).mean())
        steps, best = int(min(steps * D, ANNEALING_WORK / n)) + 1, np.zeros(D, dtype=np.int64)
        for _ in range(restarts):
            u = rng.integers(0, reduced.top + 1)
            anneal(A, offset, cost, reduced.top, u, steps, typical * 2, typical * 0.1, state, best)
            self.offer(best)
            if self.stop():
                return

    def nodes_left(self) -> int | None:
        """Return the nodes that the limit leaves."""
        nodes = 0 if self.tree is None else self.tree.nodes
        return None if self.limits.nodes is None else self.limits.nodes - nodes

    def note(self, piece: Piece) -> None:
        """Take what a piece found and raise the bound."""
        assert self.tree is not None
        if piece.point is not None:
            self.offer(piece.point)
        self.tree.best[0] = max(0, self.reduced_limit())
        self.raise_bound()

    def raise_bound(self) -> None:
        """Raise the bound to that of the open boxes."""
        assert self.tree is not None
        found = self.limit if self.tree.finished else self.reduced.constant + self.unit * self.tree.bound
        self.bound = max(self.bound, min(found, self.limit))
        if self.bound > self.told_bound and self.seconds() >= self.told_at + EVENT_SECONDS:
            self.send("bound")

    def seconds(self) -> float:
        """Return the time since the search began."""
        return time.perf_counter() - self.began

    def send(self, kind: Literal["incumbent", "bound"]) -> None:
        """Send an event."""
        self.told_bound, self.told_at = self.bound, self.seconds()
        if self.on_event is not None:
            x: NDArray[np.float64] | None = None
            if kind == "incumbent" and self.neuron is not None:
                x = np.append(*self.neuron).astype(np.float64)
            value = None if self.value is None else float(self.value)
            self.on_event(Event(kind, self.told_at, value, float_below(self.bound), x))

    def stop(self) -> bool:
        """Whether to stop now; `why` then says why. Asks for costs known elsewhere, too."""
        known = self.known()
        if known is not None and known < self.cutoff:
            self.cutoff = known
            if self.tree is not None:
                with self.tree.lock:
                    self.tree.best[0] = max(0, self.reduced_limit())
        left = self.nodes_left()
        if self.complete:
            self.why = Status.OPTIMAL
        elif self.outside():
            self.why = Status.INTERRUPTED
        elif left is not None and left <= 0:
            self.why = Status.NODE_LIMIT
        elif self.seconds() >= self.limits.seconds:
            self.why = Status.TIME_LIMIT
        elif self.memory_full():
            self.why = Status.MEMORY_LIMIT
        return self.why is not None

    def memory_full(self) -> bool:
        """Whether open boxes fill the memory limit."""
        limit = self.limits.memory_mb
        return limit is not None and self.tree is not None and self.tree.bytes > limit * 2**20

    def result(self) -> AgreementResult:
        """Return answer and bound; a complete proof is optimal, whatever stopped the search."""
        status = Status.OPTIMAL if self.complete else self.why or Status.INTERRUPTED
        w, b = self.neuron if self.neuron is not None else (None, 0)
        nodes = 0 if self.tree is None else self.tree.nodes
        leaves = self.record_leaves() if self.record else None
        return AgreementResult(status, w, b, self.value, min(self.bound, self.limit), nodes, self.seconds(), leaves)

    def record_leaves(self) -> Leaves:
        """Return closed and open boxes; the bound becomes what the open ones show by themselves."""
        reduced, tree = self.reduced, self.tree
        if tree is None or tree.record is None:
            return whole_box(reduced)
        rest = np.array(tree.open_boxes(), dtype=np.int64).reshape(-1, 2, reduced.n_entries)
        boxes = np.concatenate([*(box for box, _ in tree.record), rest])
        open_part = np.tile(np.array([WHOLE, 0, 0]), (len(rest), 1))
        part = np.concatenate([*(part for _, part in tree.record), open_part])
        clip = tree.clip * self.unit
        leaves = Leaves(boxes[:, 0], boxes[:, 1], part, tree.moves, tree.rank, tree.one, tree.two, clip)
        shown = [leaf_bound(reduced, leaves, i) for i in range(len(boxes) - len(rest), len(boxes))]
        self.bound = min([self.limit, *shown])
        return leaves


def collect(problem: AgreementProblem, threshold: int, limits: Limits, most: int, stopped: Stopped) -> Collection:
    """Collect all patterns up to a cost; see `provenn.bounds.agreement.collect`."""
    began = time.perf_counter()
    reduced = reduce(problem, keep_free=True)
    found = _Patterns(problem, reduced, threshold, most)
    limit = threshold - reduced.constant + 1
    if limit <= 0:
        return found.collection(True, 0)
    if not len(reduced.cost):
        found.add(np.zeros((1, reduced.n_entries), dtype=np.int64))
        return found.collection(True, 0)
    tree = Tree(reduced.A, reduced.offset, reduced.cost, reduced.top, limit, COLLECTED_PIECE, record=False)

    def note(piece: Piece) -> None:
        assert piece.points is not None
        found.add(piece.points)

    def left() -> int | None:
        return None if limits.nodes is None else limits.nodes - tree.nodes

    def stop() -> bool:
        late = time.perf_counter() - began >= limits.seconds or (
            limits.nodes is not None and tree.nodes >= limits.nodes
        )
        full = limits.memory_mb is not None and tree.bytes + found.bytes > limits.memory_mb * 2**20
        return late or full or found.overflow or stopped()

    run(tree, limits.threads, left, note, stop)
    return found.collection(tree.finished and not found.overflow, tree.nodes)


class _Patterns:
    """Distinct patterns with a neuron of each."""

    def __init__(self, problem: AgreementProblem, reduced: Reduced, threshold: int, most: int) -> None:
        self.problem, self.reduced, self.threshold, self.most = problem, reduced, threshold, most
        self.known: dict[bytes, Neuron] = {}

    @property
    def overflow(self) -> bool:
        """Whether there are more patterns than asked for."""
        return len(self.known) > self.most

    @property
    def bytes(self) -> int:
        """Estimate the memory."""
        return len(self.known) * (300 + len(self.problem.t) // 8 + 8 * len(self.problem.low))

    def add(self, points: Integers) -> None:
        """Add the patterns of points."""
        for u in points:
            w, b = self.reduced.neuron(u)
            self.known.setdefault(np.packbits(self.problem.pattern(w, b) > 0).tobytes(), (w, b))

    def collection(self, complete: bool, nodes: int) -> Collection:
        """Return what was found, at most as many as asked for."""
        neurons = list(self.known.values())[: self.most]
        n, d = self.problem.X.shape
        w = np.array([w for w, _ in neurons], dtype=np.int64).reshape(len(neurons), d)
        b = np.array([b for _, b in neurons], dtype=np.int64)
        patterns = np.array([self.problem.pattern(*one) for one in neurons], dtype=np.int8).reshape(len(neurons), n)
        values = (patterns != self.problem.t) @ self.problem.cost
        return Collection(patterns, w, b, values, complete, nodes)
