"""The Python side of the convex engine: starts, chunks of compiled search, exact values, limits and events."""

import math
import time
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._convex_branch import search
from provenn.bounds._convex_kernels import Samples
from provenn.bounds._convex_search import anneal, descend
from provenn.bounds._convex_setup import into_box, make_root, make_samples, make_tree, relative_box, score_shifts
from provenn.bounds._convex_tree import BEST, CUTOFF, HEAP, LEAVES, NODES, POINTS, SPARE, Root, Tree
from provenn.bounds._convex_types import ConvexProblem, ConvexResult, Integers, Leaves, fits
from provenn.milp.result import Event, Limits, OnEvent
from provenn.status import Status

CHUNK_SECONDS = 0.05
ANNEALINGS = 4
ANNEALING_WORK = 2_500_000
ANNEALING_STEPS = 8_000
POLISH_SWEEPS = 20
FIRST_CAPACITY = 1024
RELATIVE_LOSS = 0.15


class Search:
    """One run of the engine; all state that a stop at any moment must find consistent."""

    def __init__(
        self, problem: ConvexProblem, limits: Limits, on_event: OnEvent | None, target: int | None, record: bool
    ) -> None:
        """Set the clock; nothing is computed before `run`."""
        self.began = time.perf_counter()
        self.problem, self.limits, self.on_event, self.target = problem, limits, on_event, target
        self.record = record
        self.answer: tuple[int, Integers, int] | None = None
        self.bound = self.root_bound = 0
        self.nodes = 0
        self.leaves: list[tuple[NDArray[Any], ...]] = []
        self.root: Root
        self.plain: Root
        self.tree: Tree
        self.samples: Samples

    def run(self, start: tuple[Integers, int] | None) -> ConvexResult:
        """Search until the proof is complete or a limit is reached."""
        if self.problem.max_nonzeros is not None and self.problem.forced_nonzeros() > self.problem.max_nonzeros:
            return ConvexResult(Status.INFEASIBLE, None, 0, 0, 0, 0, self.seconds(), 0)
        self.offer_first(start)
        try:
            status = self.stopped_before() or self.search()
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        assert self.answer is not None
        value, w, b = self.answer
        if self.bound >= value:
            status = Status.OPTIMAL
        return ConvexResult(
            status, w, b, value, self.bound, self.nodes, self.seconds(), self.root_bound, self.recorded()
        )

    def search(self) -> Status:
        """Prepare and run chunks of nodes."""
        self.prepare()
        return self.loop()

    def stopped_before(self) -> Status | None:
        """Return the limit that leaves nothing to do, or None."""
        if self.limits.nodes == 0:
            return Status.NODE_LIMIT
        return Status.TIME_LIMIT if self.limits.seconds == 0 else None

    def seconds(self) -> float:
        """Return the time since the search began."""
        return time.perf_counter() - self.began

    def send(self, kind: Literal["incumbent", "bound"]) -> None:
        """Send an event."""
        if self.on_event is not None and self.answer is not None:
            value, w, b = self.answer
            x = np.append(w, b).astype(np.float64) if kind == "incumbent" else None
            self.on_event(Event(kind, self.seconds(), float(value), float(self.bound), x))

    def offer_first(self, start: tuple[Integers, int] | None) -> None:
        """Take the start as the incumbent where it is allowed, and otherwise the point nearest to 0."""
        v = self.problem.nearest_to_zero()
        w, b = self.problem.unpack(v)
        if start is not None and self.problem.allows(*start):
            w, b = np.asarray(start[0], dtype=np.int64).copy(), int(start[1])
        self.bound = self.root_bound = self.problem.price * self.problem.forced_nonzeros() + self.problem.floor()
        self.answer = (self.problem.value(w, b), w, b)
        self.send("incumbent")

    def prepare(self) -> None:
        """Anneal for a first incumbent; expand the root of the plain box and of the relative one.

        Points with equal scores make the plain search repeat itself; the relative box has one
        of each class, but it is wider and forgets how the entries of a class limit each other.
        It is used when that costs little of the bound.
        """
        self.A = self.problem.signed()
        self.shifts = self.usable_shifts()
        self.use_root(relative=False)
        self.plain = self.root
        self.anneal()
        plain = self.expand_root()
        wide = relative_box(*self.problem.boxes(), *self.shifts)[:2]
        if len(self.shifts[0]) and plain < math.inf and fits(self.A, *wide):
            saved = self.root, self.tree, self.samples, self.leaves
            self.use_root(relative=True)
            assert self.answer is not None
            if self.expand_root() < plain - RELATIVE_LOSS * (self.answer[0] - plain):
                self.root, self.tree, self.samples, self.leaves = saved
                self.set_levels()
        self.settle()
        self.root_bound = self.bound

    def usable_shifts(self) -> tuple[Integers, Integers]:
        """Return the shifts of the scores; none where prices or a budget tell shifted points apart."""
        low, high, step = self.problem.boxes()
        if self.problem.price > 0 or self.problem.max_nonzeros is not None:
            return np.zeros((0, len(low)), np.int64), np.zeros(0, np.int64)
        return score_shifts(self.A, low, high, step)

    def expand_root(self) -> float:
        """Process the root node and return the lowest bound of what is open then."""
        search(self.samples, self.root, self.tree, 1)
        self.take_over()
        return float(self.tree.bound[self.tree.heap[0]]) if self.tree.counters[HEAP] else math.inf

    def use_root(self, relative: bool) -> None:
        """Set up samples, root and tree, with the root as the only open node; it has no bound before it is expanded."""
        problem = self.problem
        counts, forced = problem.counts(), problem.forced_nonzeros()
        budget = -1 if problem.max_nonzeros is None else problem.max_nonzeros - forced
        slack = float(problem.curve.slack) * float(problem.multiplicity.sum()) - problem.price * forced
        n = len(problem.t)
        self.root = make_root(n, problem.boxes(), problem.price * counts, counts, budget, slack, self.shifts, relative)
        reach = np.maximum(np.abs(self.root.low), np.abs(self.root.high))
        self.samples = make_samples(self.A, problem.multiplicity, problem.curve, reach)
        self.leaves = []
        self.tree = make_tree(FIRST_CAPACITY, len(reach), self.record_size())
        tree = self.tree
        tree.counters[SPARE] -= 1
        node = int(tree.spare[tree.counters[SPARE]])
        tree.low[node], tree.high[node] = self.root.low, self.root.high
        tree.w[node] = np.clip(0.0, self.root.low, self.root.high)
        tree.bound[node], tree.penalty[node] = -math.inf, 0.0
        tree.heap[0], tree.counters[HEAP] = node, 1
        self.set_levels()

    def record_size(self) -> int:
        """Return the capacity of the buffer of closed leaves."""
        return 32 * (8 * (len(self.problem.low) + 1) + 8) if self.record else 0

    def anneal(self) -> None:
        """Anneal from the incumbent, limited by work and not by time, in pieces that let interrupts in."""
        assert self.answer is not None
        dense, D = self.samples.dense.size > 0, len(self.root.low)
        work = len(self.samples.weight) if dense else max(1, len(self.samples.row_value) // D)
        steps = int(min(ANNEALING_STEPS, ANNEALING_WORK // work, 2e5 * self.limits.seconds)) + 1
        rng = np.random.default_rng(self.limits.seed)
        for _ in range(ANNEALINGS):
            v = self.problem.pack(self.answer[1], self.answer[2])
            anneal(self.samples, self.root, v, rng.random((steps, 3)))
            self.offer(v, polish=False)

    def offer(self, v: NDArray[np.float64], polish: bool = True) -> None:
        """Evaluate a point exactly; keep it if it is better, and then see what single steps improve."""
        assert self.answer is not None
        inside = into_box(self.root, v)
        w, b = self.problem.unpack(v if inside is None else inside)
        if inside is None or not self.problem.allows(w, b):
            self.set_levels()
            return
        value = self.problem.value(w, b)
        if value < self.answer[0]:
            self.answer = (value, w, b)
            self.set_levels()
            self.send("incumbent")
            if polish:
                v = self.problem.pack(w, b)
                descend(self.samples, self.plain, v, POLISH_SWEEPS)
                self.offer(v, polish=False)

    def set_levels(self) -> None:
        """Tell the kernels which bounds close a node: those above ``value - 1``, since values are integers."""
        assert self.answer is not None
        value = self.answer[0]
        cutoff = float(value - 1)
        self.tree.level[CUTOFF] = cutoff if int(cutoff) >= value - 1 else math.nextafter(cutoff, math.inf)
        self.tree.level[BEST] = float(value)

    def raise_bound(self, bound: float) -> None:
        """Raise the proven bound to a certified bound of all open nodes, rounded up, or to the incumbent."""
        assert self.answer is not None
        value = self.answer[0]
        new = value if bound >= value else max(math.ceil(bound), self.bound) if bound > -math.inf else self.bound
        new = min(new, value)
        if new > self.bound:
            self.bound = new
            self.send("bound")

    def loop(self) -> Status:
        """Run chunks of about 50 ms until a limit is reached or every node is closed."""
        chunk = 1
        while True:
            status = self.stopped()
            if status is not None:
                return status
            nodes = chunk
            if self.limits.nodes is not None:
                nodes = min(nodes, self.limits.nodes - self.nodes)
            began, before = time.perf_counter(), int(self.tree.counters[NODES])
            search(self.samples, self.root, self.tree, nodes)
            spent, done = time.perf_counter() - began, int(self.tree.counters[NODES]) - before
            self.settle()
            if done == nodes and spent < CHUNK_SECONDS / 2:
                chunk = min(2 * chunk, 100_000)
            elif spent > CHUNK_SECONDS:
                chunk = max(1, chunk // 2)

    def take_over(self) -> None:
        """Take over what the kernels handed back: points and leaves."""
        for i in range(int(self.tree.counters[POINTS])):
            self.offer(self.tree.points[i].copy())
        self.tree.counters[POINTS] = 0
        self.nodes = int(self.tree.counters[NODES])
        self.drain()

    def settle(self) -> None:
        """Take over results, raise the bound, make room for more nodes."""
        self.take_over()
        tree = self.tree
        self.raise_bound(float(tree.bound[tree.heap[0]]) if tree.counters[HEAP] else math.inf)
        if tree.counters[SPARE] < 8:
            self.tree = make_tree(2 * len(tree.bound), tree.low.shape[1], self.record_size(), tree)

    def stopped(self) -> Status | None:
        """Return why to stop now, or None."""
        assert self.answer is not None
        if self.tree.counters[HEAP] == 0 or (self.bound >= self.answer[0] and not self.record):
            return Status.OPTIMAL
        if self.target is not None and self.answer[0] <= self.target:
            return Status.INTERRUPTED
        if self.limits.nodes is not None and self.nodes >= self.limits.nodes:
            return Status.NODE_LIMIT
        if self.seconds() >= self.limits.seconds:
            return Status.TIME_LIMIT
        size = sum(array.nbytes for array in self.tree)
        if self.limits.memory_mb is not None and 3 * size > self.limits.memory_mb * 2**20:
            return Status.MEMORY_LIMIT
        return None

    def drain(self) -> None:
        """Move recorded leaves out of the kernels' buffer."""
        count = int(self.tree.counters[LEAVES])
        if count:
            t = self.tree
            self.leaves.append(tuple(a[:count].copy() for a in (t.leaf_low, t.leaf_high, t.leaf_w, t.leaf_kind)))
            t.counters[LEAVES] = 0

    def recorded(self) -> Leaves | None:
        """Return the record of closed leaves."""
        if not self.record or not hasattr(self, "tree"):
            return None
        self.drain()
        t = self.tree
        empty = (t.leaf_low[:0], t.leaf_high[:0], t.leaf_w[:0], t.leaf_kind[:0])
        low, high, w, kind = (np.concatenate(parts) for parts in zip(empty, *self.leaves, strict=True))
        return Leaves(
            low.astype(np.int64),
            high.astype(np.int64),
            w.astype(np.float64),
            kind,
            self.root.shifts.astype(np.int64),
            self.root.reference,
            self.root.anchor.astype(np.int64),
            self.root.low.astype(np.int64),
            self.root.high.astype(np.int64),
        )
