"""Lower bounds by sums over disjoint groups of samples, for losses that are sums over samples."""

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import RLock

import numpy as np

from provenn.errors import CapabilityError
from provenn.milp import Limits
from provenn.network import IntegerNetwork
from provenn.solvers import Solver
from provenn.status import Status
from provenn.trainers._base import Proof, Record
from provenn.trainers._groups_forming import Searched, distances, form, search
from provenn.trainers._groups_parts import Claim, GroupBounds, Integers, obstacle, part_of
from provenn.trainers._mirrored import mirrored, single_output_problem
from provenn.trainers.exact import MilpProof, prover_name

FIRST_TIME = 3.0
TICK = 0.05


def prover(solver: Solver) -> str:
    """Return the name under which bounds are claimed."""
    return f"sample groups (provenn, {prover_name(solver)})"


def prove(
    record: Record,
    limits: Limits,
    stopped: Callable[[], bool] = lambda: False,
    paused: Callable[[], bool] = lambda: False,
) -> Proof:
    """Raise the record's bound by solving groups of samples, until stopped or proven.

    Parameters
    ----------
    record : Record
        Its network tells which samples are hard.
    limits : Limits
        The time counts from the record's beginning; `threads` groups are solved at once.
    stopped, paused : callable
        See `provenn.solvers.Solver.solve`.

    Raises
    ------
    CapabilityError
        When the loss is no sum over samples.
    """
    return SampleGroups(record, limits, stopped=stopped, paused=paused).run()


@dataclass
class Group:
    """Some of the samples and what is known about them.

    Parameters
    ----------
    rows : ndarray of shape (m,), int64
    network : IntegerNetwork or None
        The best known on these samples.
    value : int or None
        Its loss there.
    claims : tuple of Claim
        On disjoint subsets of the rows.
    seconds : float
        Time for the next proof.
    busy, exhausted : bool
        A solver works on it; none gets further, as with programs that only bound the loss from below.
    """

    rows: Integers
    network: IntegerNetwork | None
    value: int | None
    claims: tuple[Claim, ...] = ()
    seconds: float = FIRST_TIME
    busy: bool = False
    exhausted: bool = False

    @property
    def bound(self) -> int:
        """The sum of what is claimed."""
        return sum(claim.bound for claim in self.claims)

    @property
    def closed(self) -> bool:
        """Whether nothing better is left on these samples."""
        return self.value is not None and self.bound >= self.value


@dataclass
class SampleGroups:
    """Bounds of groups of samples add up: ``loss(network) >= sum_G min over networks of loss on G``.

    The samples are cut into groups of neighbours, small enough to be solved in a moment. Groups
    that are solved are merged with near ones: the program of a merged group contains the bounds
    of its parts as rows, so that its proof begins at their sum. Where a search finds a network that
    attains this sum the merged group needs no proof. The last merged group is the whole problem.

    Parameters
    ----------
    record : Record
    limits : Limits
    solver : Solver, optional
        By default CP-SAT, by cores where the loss counts.
    stopped, paused : callable

    Examples
    --------
    >>> from provenn.formulations import Problem
    >>> from provenn.losses.max_correct import MaxCorrect
    >>> from provenn.network import Architecture, Dataset
    >>> data = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    >>> record = Record(Problem(Architecture.build(2, 2), data, MaxCorrect()))
    >>> record.begin(None)
    >>> groups = SampleGroups(record, Limits(seconds=60))
    >>> groups.run().status.name, record.loss, groups.evidence().total
    ('OPTIMAL', 1, 1)
    """

    record: Record
    limits: Limits
    solver: Solver | None = None
    stopped: Callable[[], bool] = lambda: False
    paused: Callable[[], bool] = lambda: False
    groups: list[Group] = field(default_factory=list, init=False)
    nodes: int = field(default=0, init=False)
    lock: RLock = field(default_factory=RLock, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse losses that are no sums; with the published rule, one of two outputs says all."""
        reason = obstacle(self.record.problem)
        if reason is not None:
            raise CapabilityError(f"groups of samples give no bound: {reason}")
        single = single_output_problem(self.record.problem)
        self.problem = self.record.problem if single is None else single
        self.units = int(self.record.problem.loss_unit / self.record.problem.unit)
        mode = "portfolio" if self.problem.loss.convex else "core"
        self.solving = self.solver or Solver.create("cpsat", mode=mode)
        self.rng = np.random.default_rng(self.limits.seed)

    def evidence(self) -> GroupBounds:
        """Return the bounds of the groups that are known now."""
        with self.lock:
            return GroupBounds(tuple(claim for group in self.groups for claim in group.claims), self.units)

    def run(self) -> Proof:
        """Form groups, solve them and merge them until the loss is proven or time is over."""
        if self._ended():
            return Proof(self._why())
        self.groups = [_group(found) for found in form(self.problem, self._start(), self.rng, self._ended)]
        with ThreadPoolExecutor(self.limits.threads, "provenn-groups") as pool:
            active: dict[Future[Proof], Group] = {}
            while not self._ended():
                while len(active) < self.limits.threads and (group := self._next()) is not None:
                    group.busy = True
                    active[pool.submit(self._solve, group)] = group
                if not active:
                    return Proof(self._settle(), self.nodes)
                for future in wait(active, TICK, FIRST_COMPLETED).done:
                    ended = self._take(active.pop(future), future.result())
                    if ended is not None:
                        return ended
        return Proof(self._why(), self.nodes)

    def _ended(self) -> bool:
        while self.paused() and not self.stopped():
            time.sleep(TICK)
        return self.stopped() or self.record.closed or self.record.remaining(self.limits).seconds <= 0

    def _why(self) -> Status:
        if self.record.closed:
            return Status.OPTIMAL
        return Status.INTERRUPTED if self.stopped() else Status.TIME_LIMIT

    def _start(self) -> IntegerNetwork:
        """Return the best network known, with one output where that says all."""
        network = self.record.network
        if network is None:
            return IntegerNetwork.constant(self.problem.architecture, 0, self.problem.dataset.scale)
        if self.problem is self.record.problem:
            return network
        weights = (*network.weights[:-1], network.weights[-1][:, 1:])
        biases = (*network.biases[:-1], network.biases[-1][1:])
        return IntegerNetwork(self.problem.architecture, weights, biases, network.scale)

    def _next(self) -> Group | None:
        """Return the group to solve next: one that needs the least time, after merging all that are closed."""
        while (pair := self._nearest_closed()) is not None:
            self._merge(*pair)
        open_ = [group for group in self.groups if not (group.closed or group.busy or group.exhausted)]
        return min(open_, key=lambda g: (g.seconds, -(g.value or 0) + g.bound), default=None)

    def _nearest_closed(self) -> tuple[Group, Group] | None:
        closed = [group for group in self.groups if group.closed]
        if len(closed) < 2 or self._ended():
            return None
        one = min(closed, key=lambda group: len(group.rows))
        middle = _middle(self, one)
        others = [group for group in closed if group is not one]
        return one, min(others, key=lambda g: float(distances(self.problem, g.rows, middle).mean()))

    def _merge(self, one: Group, other: Group) -> None:
        """Put two groups together; the best of their networks and that of the record begins the search on both."""
        rows = np.sort(np.concatenate([one.rows, other.rows]))
        part = part_of(self.problem, rows)
        known = [self._start(), *(g.network for g in (one, other) if g.network is not None)]
        rated = [(value, i) for i, network in enumerate(known) if (value := part.value(network)) is not None]
        start = known[min(rated, default=(0, 0))[1]]
        merged = _group(search(self.problem, rows, start, self.rng))
        merged.claims, merged.seconds = one.claims + other.claims, max(one.seconds, other.seconds)
        with self.lock:
            self.groups = [g for g in self.groups if g is not one and g is not other] + [merged]

    def _solve(self, group: Group) -> Proof:
        """Prove one group, for its time; bounds count as soon as the solver has them."""
        part = part_of(self.problem, group.rows, group.claims)
        sub = Record(part)
        if group.network is not None:
            sub.offer(group.network)
        seconds = min(group.seconds, self.record.remaining(self.limits).seconds)
        limits = Limits(seconds, memory_mb=self.limits.memory_mb, seed=self.limits.seed)
        sub.on_progress = lambda progress: self._raise(group, progress.bound)

        def stopped() -> bool:
            return self.stopped() or self.record.closed or sub.closed

        proof = MilpProof(self.solving, sub, stopped, self.paused).run(limits)
        with self.lock:
            group.network, group.value = sub.network, sub.loss
        self._raise(group, sub.bound)
        return proof

    def _raise(self, group: Group, bound: int | None) -> None:
        with self.lock:
            if bound is not None and bound > group.bound:
                group.claims = (Claim(group.rows, bound, prover_name(self.solving)),)
            total = self.units * sum(g.bound for g in self.groups)
        self.record.raise_bound(total, prover(self.solving))

    def _take(self, group: Group, proof: Proof) -> Proof | None:
        """Note how the proof of a group ended; returns what ends everything."""
        group.busy, group.seconds = False, 2 * group.seconds
        group.exhausted = proof.status is Status.OPTIMAL and not group.closed
        self.nodes += proof.nodes
        if proof.status in (Status.REJECTED, Status.INFEASIBLE):
            return Proof(proof.status, self.nodes, proof.message)
        return None

    def _settle(self) -> Status:
        """Offer the network of the last group, which has all samples; a program may end before that."""
        if any(group.exhausted for group in self.groups):
            return Status.TOLERANCE
        network = self.groups[0].network
        assert network is not None
        whole = network if self.problem is self.record.problem else mirrored(network, self.record.problem.architecture)
        self.record.offer(whole)
        self._raise(self.groups[0], self.groups[0].bound)
        return Status.OPTIMAL if self.record.closed else Status.TOLERANCE


def _group(found: Searched) -> Group:
    return Group(found.rows, found.network, found.value)


def _middle(groups: SampleGroups, group: Group) -> int:
    """Return the sample of a group that is nearest to the others."""
    return int(min(group.rows, key=lambda k: float(distances(groups.problem, group.rows, int(k)).sum())))
