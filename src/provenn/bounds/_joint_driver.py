"""The driver of the joint hull bound: a tree over the output layers, output after output, best bound first."""

import time
from dataclasses import replace

import numpy as np

from provenn.bounds._hull_pricing import Effort
from provenn.bounds._joint_close import Hidden
from provenn.bounds._joint_layers import best_layers, extensions, layers_of, least_sums
from provenn.bounds._joint_pricing import Units
from provenn.bounds._joint_slopes import Slopes, improve
from provenn.bounds._joint_types import (
    Integers,
    JointAnswer,
    JointCut,
    JointEvidence,
    JointOutside,
    JointProblem,
    JointRegion,
    JointResult,
    Node,
)
from provenn.milp.result import Limits
from provenn.status import Status

TRIALS, TRIED_COLUMNS = 4, 40
MOST_COLLECTED, VISIT_WORK = 40_000, 2e11
FIRST_PRICING, GROWTH = 5.0, 2.0
TRIED_CUTS = 64
MOST_NODES = 300_000


class Search:
    """One run."""

    def __init__(
        self, problem: JointProblem, own: Integers, limits: Limits, outside: JointOutside, record: bool
    ) -> None:
        """Order the outputs, the one with the largest own bound first."""
        self.limits, self.outside, self.record, self.began = limits, outside, record, time.perf_counter()
        self.order = tuple(int(o) for o in np.argsort(-own.min(axis=1), kind="stable"))
        self.problem = JointProblem(tuple(problem.parts[o] for o in self.order))
        self.layers = layers_of(self.problem)
        alone = self.layers.tables.min(axis=3).sum(axis=2)
        self.own = np.maximum(own[list(self.order)], alone)
        self.own_list: list[list[int]] = self.own.tolist()
        lowest = [min(bounds) for bounds in self.own_list]
        self.rest = [sum(lowest[q:]) for q in range(len(lowest) + 1)]
        self.units = Units(self.problem, self.layers.largest, limits.seed)
        self.rng = np.random.default_rng(limits.seed)
        self.open: list[Node] = [Node((), 0, self.rest[0])]
        self.done: list[Node] = []
        self.cuts: list[JointCut] = []
        self.answer: JointAnswer | None = None
        self.bound, self.worked = self.rest[0], 0
        self.patience, self.exhausted = FIRST_PRICING, False

    def run(self) -> JointResult:
        """Search until the proof is complete or a limit is reached."""
        try:
            self._offer(self.rng.integers(0, len(self.units), self.problem.hidden))
            status = self._search()
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        best = self.best
        self.bound = min(self.bound, best)
        if self.bound >= best:
            status = Status.OPTIMAL
        seconds = time.perf_counter() - self.began
        return JointResult(
            status, self.answer, self.bound, self.units.nodes, self.worked, len(self.units), seconds, self._evidence()
        )

    @property
    def best(self) -> int:
        """The smallest loss known here or elsewhere."""
        own = self.answer.value if self.answer is not None else self.layers.largest + 1
        other = self.outside.best()
        return own if other is None else min(own, other)

    @property
    def remaining(self) -> float:
        """Seconds left."""
        return self.limits.seconds - (time.perf_counter() - self.began)

    def _evidence(self) -> JointEvidence:
        """Return nodes and cuts, where they were recorded."""
        if not self.record:
            return JointEvidence(self.order, self.own)
        regions = []
        for node in self.done + self.open:
            chosen = list(node.layers)
            weights, biases = self.layers.weights[chosen].T, self.layers.biases[chosen]
            regions.append(JointRegion(weights, biases, node.bound, node.cut, node.depth, node.enumerated))
        return JointEvidence(self.order, self.own, tuple(regions), tuple(self.cuts))

    def _search(self) -> Status:
        while True:
            best = self.best
            if self.record:
                self.done += [node for node in self.open if node.bound >= best]
            self.open = [node for node in self.open if node.bound < best]
            self._raise_bound(best)
            if not self.open:
                return Status.OPTIMAL
            status = self._stopped()
            if status is not None:
                return status
            workable = [node for node in self.open if not node.stuck]
            if not workable:
                return Status.NODE_LIMIT
            self._work(min(workable, key=lambda node: node.bound))

    def _stopped(self) -> Status | None:
        if self.outside.stopped():
            return Status.INTERRUPTED
        if self.exhausted or (self.limits.nodes is not None and self.units.nodes > self.limits.nodes):
            return Status.NODE_LIMIT
        if len(self.open) > MOST_NODES:
            return Status.MEMORY_LIMIT
        return Status.TIME_LIMIT if self.remaining <= 0 else None

    def _stop(self) -> bool:
        return self._stopped() is not None

    def _raise_bound(self, best: int) -> None:
        """Tell the smallest bound of all open nodes, where it is a better one."""
        lowest = min((node.bound for node in self.open), default=best)
        if lowest > self.bound:
            self.bound = lowest
            self.outside.on_bound(lowest)

    def _work(self, node: Node) -> None:
        """Do one round on a node: slopes and columns, networks, a cut; divide it where that does not close it.

        One output alone has its own bound already, so that a cut of it would help little.
        """
        if not node.layers:
            self._expand(node)
            return
        slopes = self._slopes(node)
        if self._stop():
            return
        if slopes.hopeless and (node.priced >= 0 or (len(node.layers) == 1 and not self._full(node))):
            self._divide(node)
            return
        before, known = node.bound, len(self.units)
        complete = self._price(node)
        same = node.bound == before and len(self.units) == known
        if not complete:
            self.patience *= GROWTH
            self.exhausted = self.limits.nodes is not None
        elif node.bound < self.best and (slopes.hopeless or same):
            self._divide(node)

    def _full(self, node: Node) -> bool:
        """Whether a node has the layers of all outputs."""
        return len(node.layers) == len(self.order)

    def _slopes(self, node: Node) -> Slopes:
        """Improve a node's slopes and the columns, and make networks of these."""
        self.worked += 1
        goal = self.best - self.rest[len(node.layers)]
        slopes = improve(self.layers, node.layers, self.units, goal, node.g, self._full(node), self._stop)
        node.g = slopes.g
        self._try(slopes)
        return slopes

    def _price(self, node: Node) -> bool:
        """Cut by exact pricing of the node's slopes; return whether the proof is complete."""
        assert node.g is not None
        slopes, quotient = self.units.rounded(node.g)
        own = int(self._least([node], slopes, quotient)[0])
        goal = self.best - self.rest[len(node.layers)]
        cut, complete = self.units.cut(slopes, quotient, own - quotient * (goal - 1) - 1, self._effort())
        self.cuts.append(cut)
        if complete:
            node.priced = len(self.cuts) - 1
        for depth in range(1, len(self.order) + 1):
            self._apply([other for other in self.open if len(other.layers) == depth], len(self.cuts) - 1)
        return complete

    def _effort(self) -> Effort:
        """Return what one exact pricing may take: some seconds, or all time under a limit on nodes."""
        seconds = self.remaining if self.limits.nodes is not None else min(self.remaining, self.patience)
        until = time.perf_counter() + seconds

        def left() -> Limits:
            nodes = None if self.limits.nodes is None else max(0, self.limits.nodes - self.units.nodes)
            return replace(self.limits, seconds=max(0.0, until - time.perf_counter()), nodes=nodes)

        return Effort(left, self.record, self.outside.stopped)

    def _least(self, nodes: list[Node], slopes: Integers, quotient: int) -> Integers:
        chosen = np.array([node.layers for node in nodes], dtype=np.int64)
        return np.asarray(least_sums(self.layers.tables, chosen, self.layers.tilt(slopes), quotient))

    def _apply(self, nodes: list[Node], number: int) -> None:
        """Raise the bounds of nodes of one depth by a cut."""
        if not nodes:
            return
        cut, depth = self.cuts[number], len(nodes[0].layers)
        own = self._least(nodes, cut.slopes, cut.quotient)
        for node, value in zip(nodes, own.tolist(), strict=True):
            joint = -((sum(cut.agreement) - value) // cut.quotient)
            if joint > node.joint:
                node.joint, node.bound = joint, joint + self.rest[depth]
                node.cut, node.depth = number, depth

    def _try(self, slopes: Slopes) -> None:
        """Make hidden layers of the columns with the largest weights, and offer them with their best outputs."""
        used, weights = slopes.used, slopes.weights
        top = np.argsort(-weights, axis=1, kind="stable")[:, :TRIED_COLUMNS]
        self._offer(used[top[:, 0]])
        for _ in range(TRIALS):
            shares = np.take_along_axis(weights, top, axis=1)
            drawn = [self.rng.choice(row, p=share / share.sum()) for row, share in zip(top, shares, strict=True)]
            self._offer(used[drawn])

    def _offer(self, chosen: Integers) -> None:
        """Give units their best output layers; tell of the network if it is the best of this search."""
        problem, layers, columns = self.problem, self.layers, self.units.columns
        cells = ((columns.patterns[chosen] > 0).T @ 2 ** np.arange(len(chosen))[::-1]).astype(np.int64)
        found = np.zeros(len(self.order), dtype=np.int64)
        value = int(best_layers(layers.tables, cells, found))
        if self.answer is not None and value >= self.answer.value:
            return
        neurons, sides = columns.neurons[chosen], columns.sides[chosen].astype(np.int64)
        v, c = np.zeros((problem.hidden, len(found)), dtype=np.int64), np.zeros(len(found), dtype=np.int64)
        v[:, list(self.order)] = sides[:, None] * layers.weights[found].T
        c[list(self.order)] = layers.biases[found]
        self.answer = JointAnswer(neurons[:, :-1].T.copy(), neurons[:, -1].copy(), v, c, value)
        self.outside.on_answer(self.answer)

    def _divide(self, node: Node) -> None:
        """Fix the next output's layer, or try all hidden layers that the node's cut leaves."""
        if self._full(node):
            self._enumerate(node)
        else:
            self._expand(node)

    def _expand(self, node: Node) -> None:
        """Replace a node by those with the layers of one more output."""
        q = len(node.layers)
        prefix = self.layers.weights[list(node.layers)].T.reshape(self.problem.hidden, q)
        best, children = self.best, []
        for layer in extensions(prefix, self.layers.weights, self.problem.mirrored).tolist():
            joint = node.joint + self.own_list[q][layer]
            bound = joint + self.rest[q + 1]
            if bound < best or self.record:
                children.append(Node((*node.layers, layer), joint, bound, node.cut, node.depth, node.g))
        for number in range(len(self.cuts))[-TRIED_CUTS:]:
            self._apply([child for child in children if child.bound < best], number)
        self.open.remove(node)
        self.open += children

    def _enumerate(self, node: Node) -> None:
        """Collect every unit that a better network can have at each place, and try all their combinations."""
        best, cut = self.best, self.cuts[node.priced]
        own = int(self._least([node], cut.slopes, cut.quotient)[0])
        room = cut.quotient * (best - 1) - (own - sum(cut.agreement))
        places = np.flatnonzero(self.layers.weights[list(node.layers)].any(axis=0))
        status = self.units.collect(cut, places, room, MOST_COLLECTED, self._effort())
        if status is not Status.OPTIMAL:
            node.stuck = status is Status.MEMORY_LIMIT
            self.patience *= GROWTH
            self.exhausted = self.limits.nodes is not None
            return
        found = self._combine(node, cut, room, best) if room >= 0 else best
        if found is None:
            node.stuck = True
            return
        node.joint, node.bound, node.enumerated = found, found, True

    def _combine(self, node: Node, cut: JointCut, room: int, best: int) -> int | None:
        """Return the smaller of the node's optimum and the best known loss, or None when that takes too long."""
        table, rows = self.layers.table(node.layers), self.layers.weights[list(node.layers)].T
        hidden = Hidden(table, cut, self.units.columns.patterns, self.layers.signs, rows, room)
        visits, value, chosen = int(VISIT_WORK / table.size), best, np.zeros(len(cut.slopes), dtype=np.int64)
        for first in range(int(hidden.count[0])):
            after, visits = hidden.best(value, first, visits, chosen)
            if after < value:
                self._offer(chosen)
                value = int(after)
            if visits < 0 or self._stop():
                return None
        return value
