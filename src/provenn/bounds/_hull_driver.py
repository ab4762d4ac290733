"""The driver of the hull bound: regions of output layers, best bound first, columns and cuts shared by all."""

import math
import time
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._hull_close import combine, exchange
from provenn.bounds._hull_master import Master, Point
from provenn.bounds._hull_pricing import Columns, Effort, Pricing
from provenn.bounds._hull_regions import bound_by, denominator, roots, signed_weights, split, table
from provenn.bounds._hull_types import (
    Answer,
    Cut,
    Evidence,
    Floats,
    HullProblem,
    HullResult,
    Integers,
    Region,
    Surroundings,
)
from provenn.milp.result import Limits
from provenn.status import Status

ROUNDS, LAST_EFFORT = 25, 8.0
RELATIVE_GAP = 1e-4
SHARE_OF_GAP = 0.1
SETTLED = 0.25
MOST_COLUMNS = 500
STARTS, TRIED_COLUMNS = 12, 300
MOST_COLLECTED, VISITS = 40_000, 2_000_000_000
FIRST_PRICING, GROWTH = 5.0, 2.0


@dataclass
class Node:
    """A region at work; `crowded` where too many units or networks are left to enumerate, `stuck` without a way on."""

    region: Region
    losses: Integers
    size: float
    bound: int
    cut: int = -1
    cut_bound: int = 0
    point: Point[float] | None = None
    upper: float = math.inf
    stuck: bool = False
    crowded: bool = False
    closed: bool = False
    enumerated: bool = False
    primal: Floats = field(default_factory=lambda: np.zeros(0))


class Outside(Surroundings[Answer]):
    """What a search that runs beside others asks and tells the caller; see `Surroundings`."""


class Search:
    """One run."""

    def __init__(self, problem: HullProblem, limits: Limits, outside: Outside, record: bool) -> None:
        """Set the clock; nothing is computed before `run`."""
        self.problem, self.limits, self.outside, self.record = problem, limits, outside, record
        self.began = time.perf_counter()
        self.multiplicity = problem.multiplicity.astype(np.float64)
        self.columns = Columns(problem, any(side for _, side in signed_weights(problem)))
        self.pricing = Pricing(problem, self.columns, limits.seed)
        self.rng = np.random.default_rng(limits.seed)
        self.nodes: list[Node] = []
        self.cuts: list[Cut] = []
        self.answer: Answer | None = None
        self.bound: int | None = None
        self.patience, self.exhausted = FIRST_PRICING, False

    def run(self) -> HullResult:
        """Search until the proof is complete or a limit is reached."""
        try:
            self.pricing.begin()
            self.nodes = [self._node(region) for region in roots(self.problem)]
            status = self._search()
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        best = self.best
        if self.bound is not None and best is not None and self.bound >= best:
            status = Status.OPTIMAL
        evidence = Evidence(
            tuple(node.region for node in self.nodes),
            tuple(node.bound for node in self.nodes),
            tuple(self.cuts),
            tuple(node.cut for node in self.nodes),
            tuple(node.enumerated for node in self.nodes),
        )
        pricing, seconds = self.pricing, time.perf_counter() - self.began
        return HullResult(
            status, self.answer, self.bound, pricing.nodes, pricing.exact, len(self.columns), seconds, evidence
        )

    @property
    def best(self) -> int | None:
        """The smallest loss known here or elsewhere."""
        own, other = self.answer.value if self.answer is not None else None, self.outside.best()
        return min((value for value in (own, other) if value is not None), default=None)

    @property
    def remaining(self) -> float:
        """Seconds left."""
        return self.limits.seconds - (time.perf_counter() - self.began)

    def _node(self, region: Region) -> Node:
        """Return a region with the best bound that the cuts so far give, at least that of each sample alone."""
        losses = table(self.problem, region)
        size = max(1e-9, float(np.ptp(losses, axis=1).mean()))
        node = Node(region, losses, size, self._sum(losses.min(axis=1)))
        if region.most == 0:
            node.closed = True
            self._offer(region, np.zeros(0, dtype=np.int64), node.bound)
        for number in range(len(self.cuts)):
            self._apply(node, number)
        return node

    def _apply(self, node: Node, number: int) -> None:
        if node.closed:
            return
        bound = bound_by(self.problem, node.region, node.losses, self.cuts[number])
        if node.cut < 0 or bound > node.cut_bound:
            node.cut, node.cut_bound = number, bound
        node.bound = max(node.bound, bound)

    def _sum(self, values: Integers) -> int:
        return sum(int(m) * int(v) for m, v in zip(self.problem.multiplicity, values, strict=True))

    def _search(self) -> Status:
        while True:
            self._raise_bound()
            best = self.best
            open_ = [node for node in self.nodes if not node.closed and (best is None or node.bound < best)]
            if not open_:
                return Status.OPTIMAL
            status = self._stopped()
            if status is not None:
                return status
            workable = [node for node in open_ if not node.stuck]
            if not workable:
                return Status.NODE_LIMIT
            self._work(min(workable, key=lambda node: node.bound))

    def _stopped(self) -> Status | None:
        if self.outside.stopped():
            return Status.INTERRUPTED
        if self.exhausted or (self.limits.nodes is not None and self.pricing.nodes >= self.limits.nodes):
            return Status.NODE_LIMIT
        return Status.TIME_LIMIT if self.remaining <= 0 else None

    def _raise_bound(self) -> None:
        """Tell the smallest bound of all regions, where it is a better one."""
        lowest = min(node.bound for node in self.nodes)
        best = self.best
        lowest = lowest if best is None else min(lowest, best)
        if self.bound is None or lowest > self.bound:
            self.bound = lowest
            self.outside.on_bound(lowest)

    def _work(self, node: Node) -> None:
        """Do one round on a region: columns by search, networks from them, a cut by exact pricing."""
        self._find_columns(node)
        if node.region.exact:
            self._improve(node)
        best = self.best
        if best is not None and node.bound >= best:
            return
        assert node.point is not None
        cut, complete = self.pricing.cut(
            node.size * node.point.g,
            lambda slopes, q: self._enough(node, slopes, q),
            self._effort,
        )
        before, known = node.bound, len(self.columns)
        self.cuts.append(cut)
        for other in self.nodes:
            self._apply(other, len(self.cuts) - 1)
        if not complete:
            self.patience *= GROWTH
            self.exhausted = self.limits.nodes is not None
        elif (node.bound == before and len(self.columns) == known) or (not node.crowded and self._settled(node)):
            self._divide(node)

    def _find_columns(self, node: Node) -> None:
        """Add columns that the search finds until it finds no better ones; losses are scaled to a mean range of 1.

        Between two scores losses are lines, whose slopes are the only duals to try.
        """
        offsets, effort = node.region.offsets.astype(np.float64), 1.0
        least = node.losses.min(axis=1, keepdims=True)
        above = (node.losses - least) / node.size
        master, base = Master(above, offsets, self.multiplicity, float(node.region.most)), self._sum(least[:, 0])
        if len(offsets) == 2:
            node.point, node.primal = master.start(self.columns.patterns.astype(np.float64)), np.ones(len(self.columns))
            return
        for _ in range(ROUNDS):
            used = self._in_use(node)
            patterns = self.columns.patterns[used].astype(np.float64)
            g = node.point.g if node.point is not None else master.start(patterns).g
            point = master.repaired(g, patterns)
            gap = self._gap(node, base + master.value(point) * node.size) / node.size
            node.point, weights = master.centre(point, patterns, gap)
            node.upper = base + (master.value(node.point) + gap) * node.size
            node.primal = np.zeros(len(self.columns))
            node.primal[used] = weights
            known = len(self.columns)
            wanted = -self.multiplicity * node.point.g
            order = np.argsort(-(self.columns.patterns @ wanted), kind="stable")
            self.pricing.search(wanted, order[:20], effort)
            if self.outside.stopped() or self.remaining <= 0:
                break
            if len(self.columns) > known:
                effort = 1.0
            elif effort > 1.0:
                break
            else:
                effort = LAST_EFFORT

    def _in_use(self, node: Node) -> Integers:
        """Return the columns for the master: those that agree best with the duals so far."""
        if len(self.columns) <= MOST_COLUMNS or node.point is None:
            return np.arange(len(self.columns))[-4 * MOST_COLUMNS :]
        agreement = -(self.columns.patterns @ (self.multiplicity * node.point.g))
        return np.sort(np.argpartition(-agreement, MOST_COLUMNS)[:MOST_COLUMNS])

    def _gap(self, node: Node, value: float) -> float:
        least = RELATIVE_GAP * max(1.0, abs(value))
        if not math.isfinite(node.upper) or node.cut < 0:
            return max(least, SHARE_OF_GAP * abs(value))
        return max(least, SHARE_OF_GAP * (node.upper - node.bound))

    def _enough(self, node: Node, slopes: Integers, quotient: int) -> int | None:
        """Return the largest agreement with which these slopes close the region."""
        best = self.best
        if best is None:
            return None
        own = self._sum((quotient * node.losses - slopes[:, None] * node.region.offsets).min(axis=1))
        return (own - quotient * (best - 1) - 1) // node.region.most

    @property
    def _effort(self) -> Effort:
        return Effort(self._pricing_limits, self.record, self.outside.stopped)

    def _pricing_limits(self) -> Limits:
        """Return the limits of one exact search: some seconds, or what is left of the nodes, so that results repeat."""
        left = max(0.0, self.remaining)
        if self.limits.nodes is not None:
            return replace(self.limits, nodes=max(0, self.limits.nodes - self.pricing.nodes), seconds=left)
        return replace(self.limits, seconds=min(left, self.patience))

    def _settled(self, node: Node) -> bool:
        """Whether more columns would not close the region: what is left is the relaxation's own gap."""
        best = self.best
        if best is None or node.bound >= best:
            return best is None
        open_ = max(node.upper - node.bound, 0.0)
        return open_ <= max(2.0 * RELATIVE_GAP * abs(node.upper), 1e-6) or (
            node.upper < best and open_ < SETTLED * (best - node.bound)
        )

    def _divide(self, node: Node) -> None:
        """Split a region, or enumerate what its cut leaves when it holds one output layer."""
        if node.crowded:
            node.stuck = True
            return
        if node.region.exact:
            self._enumerate(node)
            return
        parts = split(self.problem, node.region)
        if any(part is node.region for part in parts):
            node.stuck = True
            return
        self.nodes.remove(node)
        for part in parts:
            child = self._node(part)
            child.point = None
            self.nodes.append(child)

    def _wide(self, node: Node) -> tuple[Integers, int]:
        """Return the losses with multiplicities above each sample's least one, and the sum of those.

        At all offsets from -most to most, 0 where none is. No entry is negative, so that partial sums only grow.
        """
        least = node.losses.min(axis=1)
        wide = np.zeros((len(node.losses), 2 * node.region.most + 1), dtype=np.int64)
        above = node.losses - least[:, None]
        wide[:, node.region.offsets + node.region.most] = above * self.problem.multiplicity[:, None]
        return wide, self._sum(least)

    def _improve(self, node: Node) -> None:
        """Make networks of the columns with the largest primal weights, and exchange their units."""
        magnitudes, sides = (np.array(part, dtype=np.int64) for part in (node.region.magnitudes, node.region.sides))
        (wide, least), count = self._wide(node), len(magnitudes)
        weights = np.zeros(len(self.columns))
        weights[: len(node.primal)] = node.primal
        tried = np.argsort(-weights, kind="stable")[:TRIED_COLUMNS]
        patterns, kinds = self.columns.patterns[tried], self.columns.sides[tried]
        share = weights[tried] / max(weights[tried].sum(), 1e-300)
        for trial in range(STARTS):
            drawn = np.arange(count) % len(tried) if trial == 0 else self.rng.choice(len(tried), count, p=share)
            chosen = _fitting(drawn.astype(np.int64), kinds, sides)
            if chosen is None:
                return
            value = int(exchange(patterns, kinds, magnitudes, sides, wide, chosen))
            self._offer(node.region, tried[chosen], least + value)

    def _offer(self, region: Region, chosen: Integers, value: int) -> None:
        """Tell of a network if it is the best of this search."""
        if self.answer is not None and value >= self.answer.value:
            return
        problem, h = self.problem, self.problem.hidden
        inner = np.tile(np.append(problem.low, (problem.bias or (0, 0, 1))[0]), (h, 1))
        outer = np.zeros(h, dtype=np.int64)
        inner[: len(chosen)] = self.columns.neurons[chosen]
        outer[: len(chosen)] = self.columns.sides[chosen] * np.array(region.magnitudes, dtype=np.int64)
        parts, middle = denominator(problem), 0 if problem.levels == (-1, 1) else 1
        c = (region.base - middle * int(outer.sum())) // parts
        low, high, _ = problem.outputs
        if outer.min() >= low and outer.max() <= high:
            self.answer = Answer(inner[:, :-1].T.copy(), inner[:, -1].copy(), outer, c, value)
            self.outside.on_answer(self.answer)

    def _enumerate(self, node: Node) -> None:
        """Collect every unit that a better network can have, and try all their combinations."""
        best, region = self.best, node.region
        cut = self.cuts[node.cut]
        if best is None:
            return
        own = self._sum((cut.quotient * node.losses - cut.slopes[:, None] * region.offsets).min(axis=1))
        room = cut.quotient * (best - 1) - (own - region.most * cut.agreement)
        status = self.pricing.collect(cut, room // min(region.magnitudes), MOST_COLLECTED, self._effort)
        if status is not Status.OPTIMAL:
            node.crowded = status is Status.MEMORY_LIMIT
            self.patience *= GROWTH
            self.exhausted = self.limits.nodes is not None
            return
        found = self._combine(node, cut, room, best)
        if found is None:
            node.crowded = True
            return
        node.bound, node.enumerated, node.closed = found, True, True

    def _combine(self, node: Node, cut: Cut, room: int, best: int) -> int | None:
        """Return the smaller of the region's optimum and the best known loss, or None when that takes too long."""
        region, columns = node.region, self.columns
        reduced = cut.agreement + columns.patterns.astype(np.int64) @ (self.problem.multiplicity * cut.slopes)
        order = np.argsort(reduced, kind="stable")
        order = order[reduced[order] <= room // min(region.magnitudes)]
        magnitudes, sides = (np.array(part, dtype=np.int64) for part in (region.magnitudes, region.sides))
        patterns, kinds, ascending = columns.patterns[order], columns.sides[order], reduced[order]
        (wide, least), visits, value = self._wide(node), VISITS // len(node.losses), best
        chosen = np.zeros(len(magnitudes), dtype=np.int64)
        for first in range(len(order)):
            after, visits = combine(
                patterns, kinds, ascending, magnitudes, sides, wide, room, cut.quotient, value - least, first, visits,
                chosen,
            )  # fmt: skip
            if least + after < value:
                room -= (value - least - after) * cut.quotient
                value = least + int(after)
                self._offer(region, order[chosen], value)
            if visits < 0 or self._stopped() is not None:
                return None
        return value


def _fitting(chosen: Integers, kinds: NDArray[np.int8], sides: Integers) -> Integers | None:
    """Replace units of the wrong side by the first of the right one; None where there is none."""
    for e in np.flatnonzero(kinds[chosen] * sides < 0):
        right = np.flatnonzero(kinds == sides[e])
        if len(right) == 0:
            return None
        chosen[e] = right[0]
    return chosen
