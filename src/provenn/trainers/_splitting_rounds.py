"""The loop of data splitting: form parts, solve the restricted model, judge on all samples, split."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from math import ceil
from threading import Event
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.network import IntegerNetwork
from provenn.solvers import Solver
from provenn.status import Status
from provenn.trainers._base import Proof, Record
from provenn.trainers._portfolio_run import LEAST
from provenn.trainers._portfolio_size import too_large
from provenn.trainers._splitting_lines import refitted
from provenn.trainers._splitting_model import NOBODY, Restricted
from provenn.trainers._splitting_parts import Parts
from provenn.trainers._splitting_solve import Solve
from provenn.trainers.exact import MilpProof

Integers = NDArray[np.int64]
SHORTEST = 0.05
STOPPING = (Status.INTERRUPTED, Status.CRASHED, Status.MEMORY_LIMIT)


class Round(NamedTuple):
    """Figures of one round.

    Parameters
    ----------
    parts : int
    binaries : int
        Activation binaries: one for each part and hidden unit.
    members : int
        Samples with rows of their own beside the representatives, in the largest model of the round.
    loss : int or None
        Exact objective of the best network so far, on all samples.
    seconds : float
        Since training began, at the end of the round.
    """

    parts: int
    binaries: int
    members: int
    loss: int | None
    seconds: float


@dataclass
class Rounds:
    """Data splitting on a record.

    Parameters
    ----------
    record : Record
        Of the whole problem.
    limits : Limits
    solver : Solver
    per_class, max_parts, batch_size, growth, seconds_per_round
        See `provenn.trainers.splitting.Splitting`.
    hear : callable
        Gets the network that every restricted model ends with.
    """

    record: Record
    limits: Limits
    solver: Solver
    per_class: bool
    max_parts: int | None
    batch_size: int | None
    growth: float
    seconds_per_round: float
    hear: Callable[[IntegerNetwork], None] = lambda network: None
    figures: list[Round] = field(default_factory=list)
    nodes: int = 0
    rejected: int = 0
    members: int = 0
    proved: bool = False
    _stop: Event = field(default_factory=Event)

    @property
    def problem(self) -> Problem:
        """The whole problem."""
        return self.record.problem

    def run(self) -> Proof:
        """Go on until the parts are single points and the exact model is solved, or a limit is reached."""
        parts = self._around(None)
        proofs: Sequence[Proof] = ()
        while True:
            ended = self._ended() or next((proof for proof in proofs if proof.status in STOPPING), None)
            if ended is not None:
                return replace(ended, nodes=self.nodes)
            if parts.final:
                return self._prove()
            models = self._models(parts)
            reason = too_large(models[0].with_members(NOBODY), self.limits.memory_mb)
            if reason is not None:
                return Proof(Status.MEMORY_LIMIT, self.nodes, reason)
            proofs = self._solve(models)
            self._note(len(parts.rows), self.members)
            parts = self._next(parts)

    def _ended(self) -> Proof | None:
        if self._least():
            self.record.raise_bound(self.problem.floor, LEAST)
            self.proved = True
            return Proof(Status.OPTIMAL)
        if self._left < SHORTEST:
            return Proof(Status.TIME_LIMIT)
        out_of_nodes = self.limits.nodes is not None and self.nodes >= self.limits.nodes
        return Proof(Status.NODE_LIMIT) if out_of_nodes else None

    def _least(self) -> bool:
        """Whether the best network has the least loss that any can have."""
        loss, floor = self.record.loss, self.problem.floor
        return loss is not None and floor is not None and loss <= floor

    def _stopped(self) -> bool:
        return self._stop.is_set() or self._least()

    @property
    def _left(self) -> float:
        return self.limits.seconds - self.record.elapsed

    def _prove(self) -> Proof:
        """Solve the exact model, whose bound is one of the problem."""
        reason = too_large(self.problem, self.limits.memory_mb)
        if reason is not None:
            return Proof(Status.MEMORY_LIMIT, self.nodes, reason)
        self.proved = True
        # The time of a proof counts from the beginning of its record.
        limits = replace(self._share(0, self.limits.threads), seconds=self.limits.seconds)
        proof = MilpProof(self.solver, self.record).run(limits)
        count = self.problem.dataset.n_samples
        self._note(count, 0)
        return replace(proof, nodes=self.nodes + proof.nodes)

    def _share(self, seconds: float, threads: int) -> Limits:
        nodes = None if self.limits.nodes is None else max(0, self.limits.nodes - self.nodes)
        return replace(self.limits, seconds=max(0.0, min(seconds, self._left)), nodes=nodes, threads=threads)

    def _around(self, count: int | None) -> Parts:
        """Form parts in which the best network is feasible, split up to `count`."""
        data, most = self.problem.dataset, self.max_parts
        parts = Parts.first(data, self.per_class, self.record.network)
        if most is not None and len(parts.rows) > most:
            parts = Parts.first(data, self.per_class)
        return parts if count is None else self._split(parts, count)

    def _split(self, parts: Parts, count: int) -> Parts:
        """Split parts by their loss and by their size in turns: large parts without loss keep others from moving."""
        seed, times = self.limits.seed + len(self.figures), max(0, count - len(parts.rows))
        for share, weigh in ((times - times // 2, self._weigh), (times // 2, len)):
            parts = parts.split(share, weigh, seed, lambda: self._left < SHORTEST)
        return parts

    def _weigh(self, rows: Integers) -> float:
        """Return the loss of the best network on some samples."""
        data = self.problem.dataset.subset(rows)
        network = self.record.network
        value = None if network is None else self.problem.loss.value(network, data)
        return float("inf") if value is None else float(value)

    def _next(self, parts: Parts) -> Parts:
        """Split the worst parts; form them anew where the best network breaks them or there may be no more of them."""
        now, most = len(parts.rows), self.max_parts
        wanted = max(now + 1, ceil(now * (1 + self.growth)))
        count = wanted if most is None else min(wanted, most)
        if self.batch_size is not None and count == now and self._held(parts):
            return parts
        return self._split(parts, count) if count > now and self._held(parts) else self._around(count)

    def _held(self, parts: Parts) -> bool:
        network = self.record.network
        if network is None:
            return True
        h = network.trace(self.problem.dataset.X).activations[0]
        return all(bool((h[rows] == h[rows[0]]).all()) for rows in parts.rows)

    def _solve(self, models: Sequence[Restricted]) -> list[Proof]:
        """Solve the restricted model of a round, or those of several minibatches at once."""
        share = self._share(self.seconds_per_round, max(1, self.limits.threads // len(models)))
        solves = [Solve(model, self.record, self.solver, share, self.limits.seconds, self._stopped) for model in models]
        with ThreadPoolExecutor(len(solves)) as pool:
            try:
                futures = [pool.submit(solve.run) for solve in solves]
                proofs = [future.result() for future in futures]
            except BaseException:
                self._stop.set()
                raise
        self.nodes += sum(proof.nodes for proof in proofs)
        self.rejected += sum(proof.status is Status.REJECTED for proof in proofs)
        self.members = max(solve.members for solve in solves)
        for solve in solves:
            if solve.network is not None:
                self.hear(solve.network)
                self.hear(refitted(solve.network, self.problem))
        return proofs

    def _models(self, parts: Parts) -> list[Restricted]:
        n = self.problem.dataset.n_samples
        if self.batch_size is None or self.batch_size >= n:
            return [Restricted.of(self.problem, parts)]
        models = []
        for number in range(self.limits.threads):
            rng = np.random.default_rng([self.limits.seed, len(self.figures), number])
            sample = np.zeros(n, dtype=np.bool_)
            sample[rng.choice(n, self.batch_size, replace=False)] = True
            models.append(Restricted.of(self.problem, parts, sample))
        return models

    def _note(self, parts: int, members: int) -> None:
        units = sum(self.problem.architecture.hidden)
        self.figures.append(Round(parts, parts * units, members, self.record.loss, self.record.seconds))
