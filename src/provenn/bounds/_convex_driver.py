"""The driver of the convex engine: starts, exact values, limits, events."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import RLock
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._convex_boxes import OPEN, Report
from provenn.bounds._convex_engine import Engine, Node
from provenn.bounds._convex_search import anneal, descend
from provenn.bounds._convex_setup import into_box, make_report, relative_box, score_shifts
from provenn.bounds._convex_smooth import smooth_root
from provenn.bounds._convex_starts import model_starts
from provenn.bounds._convex_team import Team, assisted
from provenn.bounds._convex_types import ConvexProblem, ConvexResult, Integers, fits
from provenn.milp.result import Event, Limits, OnEvent, float_below
from provenn.status import Status

FIRST_ANNEALING, ANNEALING_PAUSE = 64, 4
ANNEALING_WORK = 1_250_000
ANNEALING_STEPS = 8_000
ANNEALING_PER_ENTRY = 400
ANNEALING_SWEEPS = 20
ANNEALING_SPEED = 2e6
FILLED = 0.3
POLISH_SWEEPS = 20
MANY_ROWS = 5_000
MODEL_SHARE = 0.1
RELATIVE_LOSS = 0.15
EVENT_SECONDS = 0.05
IDLE_SECONDS = 0.0005
NODE_BYTES, ENTRY_BYTES = 800, 16
Neuron = tuple[Integers, int]


@dataclass(frozen=True)
class Outside:
    """What a search that runs beside others asks the caller.

    Parameters
    ----------
    stopped : callable
        True ends the search.
    best : callable
        Returns the best neuron known elsewhere as (w, b), the same object while nothing is new, or None.
    team : Team
        Threads that others lend.
    """

    stopped: Callable[[], bool] = lambda: False
    best: Callable[[], Neuron | None] = lambda: None
    team: Team = field(default_factory=Team)


class Search:
    """One run of the engine.

    `answer` and `bound` are consistent at every moment, so that an interrupt may come at any:
    `bound` is only raised after all points of the closed boxes are evaluated. A node at work
    counts as open until then. All that threads share changes under `lock`; compiled work and exact
    evaluations need none. A cutoff from before a better incumbent closes less, but nothing wrongly.
    """

    def __init__(
        self,
        problem: ConvexProblem,
        limits: Limits,
        on_event: OnEvent | None,
        target: int | None,
        record: bool,
        outside: Outside,
    ) -> None:
        """Set the clock; nothing is computed before `run`."""
        self.outside = outside
        self.seen: Neuron | None = None
        self.began = time.perf_counter()
        self.problem, self.limits, self.on_event, self.target = problem, limits, on_event, target
        self.record = record
        self.answer: tuple[int, Integers, int] = (0, np.zeros(0, dtype=np.int64), 0)
        self.bound = self.root_bound = self.told_bound = 0
        self.best = math.inf
        self.told_at = 0.0
        self.engine: Engine | None = None
        self.plain: Engine
        self.status: Status | None = None
        self.lock = RLock()
        self.rng = np.random.default_rng(limits.seed)
        self.next_annealing = FIRST_ANNEALING

    def run(self, start: tuple[Integers, int] | None) -> ConvexResult:
        """Search until the proof is complete or a limit is reached."""
        budget = self.problem.max_nonzeros
        if budget is not None and self.problem.forced_nonzeros() > budget:
            return ConvexResult(Status.INFEASIBLE, None, 0, 0, 0, 0, self.seconds(), 0)
        self.offer_first(start)
        try:
            status = self.search()
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        finally:
            self.halt()
        return self.result(status)

    def result(self, status: Status) -> ConvexResult:
        """Return answer and bound; a complete proof is optimal, whatever stopped the search."""
        value, w, b = self.answer
        if self.bound >= value:
            status = Status.OPTIMAL
        nodes = self.engine.nodes if self.engine is not None else 0
        leaves = self.engine.leaves.finish() if self.engine is not None and self.engine.leaves is not None else None
        return ConvexResult(status, w, b, value, self.bound, nodes, self.seconds(), self.root_bound, leaves)

    def seconds(self) -> float:
        """Return the time since the search began."""
        return time.perf_counter() - self.began

    def send(self, kind: Literal["incumbent", "bound"]) -> None:
        """Send an event."""
        self.told_bound, self.told_at = self.bound, self.seconds()
        if self.on_event is not None:
            value, w, b = self.answer
            x = np.append(w, b).astype(np.float64) if kind == "incumbent" else None
            self.on_event(Event(kind, self.told_at, float(value), float_below(self.bound), x))

    def offer_first(self, start: tuple[Integers, int] | None) -> None:
        """Take the start as the incumbent where it is allowed, and otherwise the point nearest to 0."""
        w, b = self.problem.unpack(self.problem.nearest_to_zero())
        if start is not None and self.problem.allows(*start):
            w, b = np.asarray(start[0], dtype=np.int64).copy(), int(start[1])
        self.bound = self.root_bound = self.problem.price * self.problem.forced_nonzeros() + self.problem.floor()
        self.take(self.problem.value(w, b), w, b)

    def take(self, value: int, w: Integers, b: int) -> None:
        """Make a neuron the incumbent."""
        self.answer, self.best = (value, w, b), float(value)
        self.send("incumbent")

    @property
    def cutoff(self) -> float:
        """The bound that a node must exceed to be closed, ``value - 1`` since values are integers, rounded up."""
        value = self.answer[0] - 1
        return float(value) if int(float(value)) >= value else math.nextafter(float(value), math.inf)

    def search(self) -> Status:
        """Prepare, then process nodes until something stops it."""
        self.status = self.stopped_before()
        if self.status is None:
            engine = self.engine = self.prepare()
            with self.outside.team.on(self.work), assisted(self.work, self.limits.threads - 1, self.halt):
                self.work(self.outside.stopped)
                self.halt()
            if self.record and self.bound >= self.answer[0]:
                engine.close_rest()
            if self.bound > self.told_bound:
                self.send("bound")
        return self.status or Status.INTERRUPTED

    def halt(self) -> None:
        """Let all threads end before their next node."""
        with self.lock:
            self.status = self.status or Status.INTERRUPTED

    def work(self, stopped: Callable[[], bool]) -> None:
        """Process nodes until the search is over or `stopped`, asked between nodes; any number of threads may."""
        engine, whole = self.engine, False
        assert engine is not None
        report = make_report(engine.root.table.shape[1])
        try:
            while not stopped():
                with self.lock:
                    node = self.next_node(engine)
                    if self.status is not None:
                        break
                if node is None:
                    time.sleep(IDLE_SECONDS)
                else:
                    self.process(engine, node, report)
            whole = True
        finally:
            if not whole:
                self.halt()

    def next_node(self, engine: Engine) -> Node | None:
        """Take a node unless it is time to stop; None, too, when all open ones are at work in other threads."""
        if self.status is None:
            self.take_from_outside()
            self.raise_bound(engine)
            self.status = self.reason_to_stop(engine)
        return engine.take() if self.status is None else None

    def process(self, engine: Engine, node: Node, report: Report) -> None:
        """Expand a node at work and evaluate the points that it leaves, unless the search ended meanwhile."""
        engine.expand(node, report, self.cutoff, self.best)
        with self.lock:
            if self.status is not None:
                return
            points = engine.settle(node, report)
            tired = engine.nodes >= self.next_annealing
            self.next_annealing *= ANNEALING_PAUSE if tired else 1
        for v in points:
            self.offer(v, engine)
        with self.lock:
            engine.finish(node)
        if tired:
            self.anneal()

    def take_from_outside(self) -> None:
        """Make a better neuron found elsewhere the incumbent."""
        found = self.outside.best()
        if found is None or found is self.seen:
            return
        self.seen = found
        if self.problem.allows(*found) and (value := self.problem.value(*found)) < self.answer[0]:
            self.take(value, *found)

    def prepare(self) -> Engine:
        """Find a first incumbent; expand the root of the plain box and of the relative one; return the better.

        Points with equal scores make the plain search repeat itself; the relative box has one
        of each class, but it is wider and forgets how the entries of a class limit each other.
        It is used when that costs little of the bound.
        """
        A, boxes = self.problem.signed(), self.problem.boxes()
        shifts = np.zeros((0, A.shape[1]), dtype=np.int64), np.zeros(0, dtype=np.int64)
        if self.problem.price == 0 and self.problem.max_nonzeros is None:
            shifts = score_shifts(A, *boxes)
        self.plain = plain = Engine(A, self.problem, shifts, record=self.record)
        if self.problem.tolerance:
            self.take_smooth_root()
        self.look_at_root()
        self.anneal()
        plain.anchor_at(self.problem.pack(*self.answer[1:]))
        self.expand_root(plain)
        chosen = plain
        if len(shifts[0]) and plain.heap and fits(A, *relative_box(*boxes, *shifts)[:2]):
            relative = Engine(A, self.problem, shifts, relative=True, record=self.record)
            self.expand_root(relative)
            if relative.bound >= plain.bound - RELATIVE_LOSS * (self.answer[0] - plain.bound):
                chosen = relative
        self.raise_bound(chosen)
        self.root_bound = self.bound
        return chosen

    def take_smooth_root(self) -> None:
        """Offer the grid point next to the smooth minimum, and raise the bound to what that proves."""
        point, bound = smooth_root(
            self.plain, self.problem, lambda: self.outside.stopped() or self.seconds() >= self.limits.seconds
        )
        self.offer(np.rint(point))
        with self.lock:
            self.bound = max(self.bound, min(math.ceil(bound), self.answer[0])) if bound > -math.inf else self.bound

    def look_at_root(self) -> None:
        """Relax the root for nothing but its rounded point; the bounds profit from a good incumbent."""
        root, report = self.plain.heap[0], make_report(self.plain.root.table.shape[1])
        self.plain.expand(root, report, self.cutoff, self.best)
        if report.state[0] == OPEN and report.state[5]:
            self.offer(report.offer.copy(), self.plain)
        free = self.problem.price == 0 and self.problem.max_nonzeros is None
        if free and self.plain.samples.weight.size >= MANY_ROWS:
            self.start_from_models(report.w[0].astype(np.float64))

    def start_from_models(self, w: NDArray[np.float64]) -> None:
        """Offer points that the quadratic model at the relaxed root finds, where a pass over the samples is long."""
        for v in model_starts(self.plain.samples, self.plain.root, w, self.rng):
            self.offer(v, self.plain)
            if self.outside.stopped() or self.seconds() >= MODEL_SHARE * self.limits.seconds:
                return

    def expand_root(self, engine: Engine) -> None:
        """Process the first node."""
        if (node := engine.take()) is not None:
            self.process(engine, node, make_report(engine.root.table.shape[1]))

    def anneal(self) -> None:
        """Anneal from the incumbent, limited by work and not by time."""
        samples, D = self.plain.samples, self.plain.root.table.shape[1]
        work = max(1, (samples.dense.size + samples.col_value.size) // D)
        work = samples.weight.size if work > FILLED * samples.weight.size else work
        steps = min(ANNEALING_STEPS, ANNEALING_PER_ENTRY * D, max(ANNEALING_WORK // work, ANNEALING_SWEEPS * D))
        steps = int(min(steps, ANNEALING_SPEED * self.limits.seconds / work)) + 1
        with self.lock:
            v, draws = self.problem.pack(*self.answer[1:]), self.rng.random((steps, 6))
        anneal(samples, self.plain.root, v, draws)
        self.offer(v)

    def offer(self, v: NDArray[np.float64], engine: Engine | None = None) -> None:
        """Evaluate a point exactly; if it is better keep it, and what single steps make of it (given an engine)."""
        inside = into_box(engine.root, v) if engine is not None else v
        if inside is None:
            return
        w, b = self.problem.unpack(inside)
        value = self.problem.value(w, b)
        with self.lock:
            if not self.problem.allows(w, b) or value >= self.answer[0]:
                self.best = float(self.answer[0]) - self.problem.slack
                return
            self.take(value, w, b)
        if engine is not None:
            polished = self.problem.pack(w, b)
            descend(self.plain.samples, self.plain.root, polished, POLISH_SWEEPS)
            self.offer(polished)

    def raise_bound(self, engine: Engine) -> None:
        """Raise the proven bound to that of the open nodes, rounded up, and at most to the incumbent's value."""
        value, lowest = self.answer[0], engine.bound
        new = value if lowest > self.cutoff else math.ceil(lowest) if lowest > -math.inf else self.bound
        self.bound = max(self.bound, min(new, value))
        if self.bound > self.told_bound and self.seconds() >= self.told_at + EVENT_SECONDS:
            self.send("bound")

    def stopped_before(self) -> Status | None:
        """Return the limit that leaves nothing to do, or None."""
        if self.limits.nodes == 0:
            return Status.NODE_LIMIT
        if self.outside.stopped():
            return Status.INTERRUPTED
        return Status.TIME_LIMIT if self.limits.seconds == 0 else None

    def reason_to_stop(self, engine: Engine) -> Status | None:
        """Return why to stop now, or None."""
        limits, value = self.limits, self.answer[0]
        if self.bound >= value:
            return Status.OPTIMAL
        if self.bound >= value - self.problem.tolerance:
            return Status.TOLERANCE
        if self.target is not None and value <= self.target:
            return Status.INTERRUPTED
        if limits.nodes is not None and engine.nodes >= limits.nodes:
            return Status.NODE_LIMIT
        if self.seconds() >= limits.seconds:
            return Status.TIME_LIMIT
        size = len(engine.heap) * (NODE_BYTES + ENTRY_BYTES * engine.root.table.shape[1])
        return Status.MEMORY_LIMIT if limits.memory_mb is not None and size > limits.memory_mb * 2**20 else None
