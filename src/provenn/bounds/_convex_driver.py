"""The driver of the convex engine: starts, exact values, limits, events."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._convex_engine import Engine
from provenn.bounds._convex_search import anneal, descend
from provenn.bounds._convex_setup import into_box, relative_box, score_shifts
from provenn.bounds._convex_types import ConvexProblem, ConvexResult, Integers, fits
from provenn.milp.result import Event, Limits, OnEvent
from provenn.status import Status

ANNEALINGS = 4
ANNEALING_WORK = 2_500_000
ANNEALING_STEPS = 8_000
ANNEALING_PER_ENTRY = 400
ANNEALING_SWEEPS = 40
ANNEALING_SPEED = 2e6
POLISH_SWEEPS = 20
RELATIVE_LOSS = 0.15
EVENT_SECONDS = 0.05
NODE_BYTES = 700
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
    """

    stopped: Callable[[], bool] = lambda: False
    best: Callable[[], Neuron | None] = lambda: None


class Search:
    """One run of the engine.

    `answer` and `bound` are consistent at every moment, so that an interrupt may come at any:
    `bound` is only raised after all points of the closed boxes are evaluated.
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
            self.on_event(Event(kind, self.told_at, float(value), float(self.bound), x))

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
        status = self.stopped_before()
        if status is None:
            engine = self.prepare()
            while status is None:
                self.take_from_outside()
                self.raise_bound(engine)
                status = self.stopped(engine)
                if status is None:
                    self.step(engine)
            if self.record and self.bound >= self.answer[0]:
                engine.close_rest()
            if self.bound > self.told_bound:
                self.send("bound")
        return status

    def step(self, engine: Engine) -> None:
        """Process one node and evaluate the points that it leaves."""
        for v in engine.step(self.cutoff, self.best):
            self.offer(v, engine)

    def take_from_outside(self) -> None:
        """Make a better neuron found elsewhere the incumbent."""
        found = self.outside.best()
        if found is None or found is self.seen:
            return
        self.seen = found
        if self.problem.allows(*found) and (value := self.problem.value(*found)) < self.answer[0]:
            self.take(value, *found)

    def prepare(self) -> Engine:
        """Anneal for a first incumbent; expand the root of the plain box and of the relative one; return the better.

        Points with equal scores make the plain search repeat itself; the relative box has one
        of each class, but it is wider and forgets how the entries of a class limit each other.
        It is used when that costs little of the bound.
        """
        A, boxes = self.problem.signed(), self.problem.boxes()
        shifts = np.zeros((0, A.shape[1]), dtype=np.int64), np.zeros(0, dtype=np.int64)
        if self.problem.price == 0 and self.problem.max_nonzeros is None:
            shifts = score_shifts(A, *boxes)
        self.engine = self.plain = plain = Engine(A, self.problem, shifts, record=self.record)
        self.anneal(plain)
        plain.anchor_at(self.problem.pack(*self.answer[1:]))
        self.step(plain)
        if len(shifts[0]) and plain.heap and fits(A, *relative_box(*boxes, *shifts)[:2]):
            relative = Engine(A, self.problem, shifts, relative=True, record=self.record)
            self.step(relative)
            if relative.bound >= plain.bound - RELATIVE_LOSS * (self.answer[0] - plain.bound):
                self.engine = relative
        self.raise_bound(self.engine)
        self.root_bound = self.bound
        return self.engine

    def anneal(self, engine: Engine) -> None:
        """Anneal from the incumbent, limited by work and not by time, in pieces that let interrupts in.

        Under a limit of one node, which asks for a quick answer, there is one piece.
        """
        samples, D = engine.samples, engine.root.table.shape[1]
        work = samples.weight.size if samples.dense.size else max(1, samples.row_value.size // D)
        steps = min(ANNEALING_STEPS, ANNEALING_PER_ENTRY * D, max(ANNEALING_WORK // work, ANNEALING_SWEEPS * D))
        steps = int(min(steps, ANNEALING_SPEED * self.limits.seconds / work)) + 1
        rng = np.random.default_rng(self.limits.seed)
        for _ in range(1 if self.limits.nodes == 1 else ANNEALINGS):
            if self.outside.stopped():
                return
            v = self.problem.pack(*self.answer[1:])
            anneal(samples, engine.root, v, rng.random((steps, 6)))
            self.offer(v)

    def offer(self, v: NDArray[np.float64], engine: Engine | None = None) -> None:
        """Evaluate a point exactly; if it is better keep it, and what single steps make of it (given an engine)."""
        inside = into_box(engine.root, v) if engine is not None else v
        if inside is None:
            return
        w, b = self.problem.unpack(inside)
        value = self.problem.value(w, b)
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

    def stopped(self, engine: Engine) -> Status | None:
        """Return why to stop now, or None."""
        limits, value = self.limits, self.answer[0]
        if self.bound >= value:
            return Status.OPTIMAL
        if self.target is not None and value <= self.target:
            return Status.INTERRUPTED
        if self.outside.stopped():
            return Status.INTERRUPTED
        if limits.nodes is not None and engine.nodes >= limits.nodes:
            return Status.NODE_LIMIT
        if self.seconds() >= limits.seconds:
            return Status.TIME_LIMIT
        size = len(engine.heap) * (NODE_BYTES + 8 * engine.root.table.shape[1])
        return Status.MEMORY_LIMIT if limits.memory_mb is not None and size > limits.memory_mb * 2**20 else None
