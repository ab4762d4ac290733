"""Exact training of networks without hidden layers by branch and bound in weight space, on any number of threads."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from logging import getLogger
from math import ceil
from threading import RLock
from typing import ClassVar, cast

import numpy as np

from provenn.bounds.convex import (
    ConvexProblem,
    ConvexResult,
    Neuron,
    Outside,
    Team,
    assisted,
    compile_starts,
    minimise,
)
from provenn.errors import InputError, OverflowRiskError
from provenn.formulations import Problem
from provenn.formulations.feature_signs import FeatureSigns
from provenn.formulations.sparsity import Sparsity
from provenn.losses import SeparableLoss
from provenn.losses._base import ConvexCurve
from provenn.losses.logistic import LogisticCurve
from provenn.milp import Event, Limits
from provenn.network import IntegerNetwork
from provenn.status import Status
from provenn.trainers._base import Proof, Record
from provenn.trainers._engine import Engine

PROVER = "convex branch and bound (provenn)"
ROUNDINGS = 2.5
"""Distance of bound and value at which continuous weights end a search, in roundings of each sample's loss.

The bound lies one below the smooth loss, and the value up to one above it.
"""


@dataclass(frozen=True)
class Convex(Engine):
    """Prove single-layer networks with a convex loss optimal, one output after the other.

    The outputs are independent problems; the loss and the bound of the network are their
    sums. Each output gets an equal share of the time that is left; threads share outputs and nodes.
    Continuous weights are integers on their fine grid, proven up to the rounding of the loss.
    """

    engine: ClassVar[str] = "convex engine"
    prover: ClassVar[str] = PROVER

    @staticmethod
    def obstacle(problem: Problem) -> str | None:
        """Say why the engine does not apply to a problem, or None when it does."""
        if problem.architecture.hidden:
            return "the network has hidden layers"
        if not (problem.loss.convex and isinstance(problem.loss, SeparableLoss)):
            return f"the loss {type(problem.loss).__name__} is not convex in the scores"
        foreign = [type(c).__name__ for c in problem.constraints if not isinstance(c, Sparsity | FeatureSigns)]
        if foreign:
            return f"the side constraint {foreign[0]} is not supported"
        if problem.architecture.n_outputs > 1 and any(
            isinstance(c, Sparsity) and c.max_nonzeros is not None for c in problem.constraints
        ):
            return "max_nonzeros couples the outputs; give fan_in, a budget for each output, instead"
        return _obstacle_on_fine_grids(problem) if problem.architecture.continuous else None

    @staticmethod
    def compile() -> None:
        """Compile or load the kernels."""
        compile_kernels()

    @staticmethod
    def work(record: Record, limits: Limits) -> Proof:
        """Prove; see `prove`."""
        return prove(record, limits, threads=limits.threads)


def prove(record: Record, limits: Limits, stopped: Callable[[], bool] = lambda: False, threads: int = 1) -> Proof:
    """Run the engine on every output and enter what it finds into the record.

    Better networks that others offer to the record in the meantime cut off boxes here, too.

    Parameters
    ----------
    record : Record
    limits : Limits
        The time counts from the record's beginning; its threads do not count, see `threads`.
    stopped : callable
        Asked after every node; True ends the search.
    threads : int
        Threads to use, this one among them.
    """
    proving = Proving(record, limits, threads)
    with assisted(proving.work, threads - 1, proving.halt):
        proving.work(stopped)
        proving.halt()
    return proving.proof()


class Proving:
    """A proof that any number of threads work on: each begins outputs, then helps with those of the others.

    Parameters
    ----------
    record : Record
    limits : Limits
        The time counts from the record's beginning.
    threads : int
        How many will work at a time, by which the time is shared among the outputs.
    """

    def __init__(self, record: Record, limits: Limits, threads: int) -> None:
        """Begin with the record's network and no bounds."""
        outputs = record.problem.architecture.n_outputs
        self.record, self.limits, self.threads = record, limits, threads
        self.best = [_column(record.network, j) for j in range(outputs)]
        self.bounds, self.teams = [0] * outputs, [Team() for _ in range(outputs)]
        self.begun = self.nodes = 0
        self.status, self.halted, self.lock = Status.OPTIMAL, False, RLock()

    def work(self, stopped: Callable[[], bool]) -> Proof:
        """Work until the proof is complete or `stopped`; return it as it stands.

        A thread that is paused while it asks `stopped` holds up no other one.
        """
        try:
            while (output := self._begin()) is not None:
                self._lead(output, stopped)
            for team in self.teams:
                team.serve(lambda: stopped() or self.halted)
        except BaseException:
            self.halt()
            raise
        return self.proof()

    def proof(self) -> Proof:
        """Return how far the proof is; one up to the rounding of the loss is all there is for continuous weights."""
        if self.status is Status.TOLERANCE:
            return Proof(Status.OPTIMAL, self.nodes, "the bound is proven up to the rounding of each sample's loss")
        feasible = self.status is not Status.INFEASIBLE
        return Proof(self.status, self.nodes, "" if feasible else "no weights satisfy the side constraints")

    def halt(self) -> None:
        """Let all threads end soon."""
        self.halted = True

    def _begin(self) -> int | None:
        """Return an output that no thread began, or None."""
        with self.lock:
            if self.begun == len(self.teams) or self.status is Status.INFEASIBLE:
                return None
            self.begun += 1
            return self.begun - 1

    def _lead(self, j: int, stopped: Callable[[], bool]) -> None:
        """Minimise one output with an equal share of the time, and let others help."""
        share, rounds = self.record.remaining(self.limits), -(-(len(self.teams) - j) // self.threads)
        seconds = 0 if self.status is Status.INTERRUPTED else share.seconds / rounds
        outside = Outside(lambda: stopped() or self.halted, _Watcher(self.record, j).best, self.teams[j])
        part, begin = subproblem(self.record.problem, j), self.best[j]
        try:
            share = replace(share, seconds=seconds, threads=1)
            self._settle(j, minimise(part, share, begin, lambda event: self._note(j, event), outside=outside))
        finally:
            self.teams[j].end()

    def _note(self, output: int, event: Event) -> None:
        """Enter an event of one output into the record of the whole network."""
        if event.x is not None:
            x = np.rint(event.x).astype(np.int64)
            self._offer(output, (x[:-1], int(x[-1])))
        if event.bound is not None:
            self._raise(output, int(event.bound))

    def _settle(self, output: int, result: ConvexResult) -> None:
        """Enter the final answer of one output."""
        with self.lock:
            self.nodes += result.nodes
            self.status = _worse(self.status, result.status)
            if result.status in (Status.INFEASIBLE, Status.INTERRUPTED):
                self.halt()
            if result.w is None:
                return
            self.best[output] = result.w, result.b
        self._offer(output, self.best[output])
        self._raise(output, result.bound)

    def _raise(self, output: int, bound: int) -> None:
        """Raise the bound of one output, and with it the record's."""
        with self.lock:
            self.bounds[output] = max(self.bounds[output], bound)
            self.record.raise_bound(sum(self.bounds), PROVER)

    def _offer(self, output: int, part: Neuron | None) -> None:
        """Offer the network that has the given parameters at one output and the best known ones elsewhere."""
        with self.lock:
            known = [part if j == output else one for j, one in enumerate(self.best)]
        found = [one for one in known if one is not None]
        if len(found) == len(known):
            W, b = np.column_stack([w for w, _ in found]), np.array([b for _, b in found])
            problem = self.record.problem
            self.record.offer(IntegerNetwork.of(problem.architecture, [W], [b], problem.dataset.scale))


@dataclass
class _Watcher:
    """Returns one output's column of the record's best network, the same object while that stays."""

    record: Record
    output: int
    network: IntegerNetwork | None = None
    column: Neuron | None = None

    def best(self) -> Neuron | None:
        """Return the column as (w, b)."""
        if self.record.network is not self.network:
            self.network = self.record.network
            self.column = _column(self.network, self.output)
        return self.column


@cache
def compile_kernels() -> None:
    """Compile or load the kernels on a toy, so that the clock of a training does not count it.

    The first call on a machine compiles, for the better part of a minute; later ones load the
    cache that numba keeps.
    """
    began, one = time.perf_counter(), np.ones(1, dtype=np.int64)
    X, t, pair = np.array([[1], [-1]]), np.array([1, -1]), np.ones(2, dtype=np.int64)
    toy = ConvexProblem(X, t, pair, LogisticCurve(1.0), 1, -one, one, bias=(-1, 1, 1))
    minimise(toy, Limits())
    compile_starts(toy)
    getLogger("provenn").info("kernels ready after %.1f s", time.perf_counter() - began)


def _worse(before: Status, after: Status) -> Status:
    """Keep infeasibility and interruption, else the first reason for stopping early."""
    if Status.INFEASIBLE in (before, after):
        return Status.INFEASIBLE
    early = before not in (Status.OPTIMAL, Status.TOLERANCE)
    if after is Status.INTERRUPTED or before is Status.OPTIMAL:
        return after
    return before if early or after is Status.OPTIMAL else after


def _obstacle_on_fine_grids(problem: Problem) -> str | None:
    """Say why continuous weights are too many grid points, or None."""
    budgets = (b for c in problem.constraints if isinstance(c, Sparsity) for b in (c.max_nonzeros, c.fan_in))
    if any(budget is not None for budget in budgets):
        return "a budget of non-zero weights among continuous ones leaves its bounds too weak"
    try:
        subproblem(problem, 0)
    except (InputError, OverflowRiskError) as error:
        return f"the box of continuous weights has too many grid points ({error}); choose a smaller bound"
    return None


def _curve(problem: Problem) -> ConvexCurve:
    """Return the curve of a loss that is convex in the scores."""
    assert isinstance(problem.loss, SeparableLoss)
    return cast(ConvexCurve, problem.loss.curve(problem.architecture, problem.dataset))


def subproblem(problem: Problem, output: int) -> ConvexProblem:
    """Return the problem of one output: boxes from domain, dead inputs and signs, price and budget from sparsity."""
    data, layer = problem.dataset, problem.architecture.layers[0]
    low = np.full(data.n_features, layer.weights.low, dtype=np.int64)
    high = np.full(data.n_features, layer.weights.high, dtype=np.int64)
    price, budget = 0, None
    for constraint in problem.constraints:
        if isinstance(constraint, FeatureSigns):
            signs = np.array(constraint.signs)
            low[signs > 0], high[signs < 0] = 0, 0
        elif isinstance(constraint, Sparsity):
            if constraint.price_unit is not None:
                price += int(constraint.price_unit / problem.unit)
            limits = [b for b in (budget, constraint.max_nonzeros, constraint.fan_in) if b is not None]
            budget = min(limits, default=None)
    if layer.weights.has_zero:
        low[~data.live], high[~data.live] = 0, 0
    bias = (layer.bias.low, layer.bias.high, layer.bias.step) if layer.bias is not None else None
    multiplicity, curve = data.multiplicity * int(problem.loss_unit / problem.unit), _curve(problem)
    return ConvexProblem(
        X=data.X,
        t=data.targets(problem.architecture.n_outputs)[:, output],
        multiplicity=multiplicity,
        curve=curve,
        scale=data.scale,
        low=low,
        high=high,
        step=layer.weights.step,
        bias=bias,
        price=price,
        max_nonzeros=budget,
        tolerance=ceil(ROUNDINGS * curve.slack * int(multiplicity.sum())) if layer.continuous else 0,
    )


def _column(network: IntegerNetwork | None, output: int) -> Neuron | None:
    if network is None:
        return None
    return network.weights[0][:, output].copy(), int(network.biases[0][output])
