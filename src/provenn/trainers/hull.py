"""Exact training of networks with one hidden layer by the hull of their units."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from logging import getLogger
from typing import ClassVar

import numpy as np

from provenn.bounds import joint_hull
from provenn.bounds.hull import Answer, HullProblem, HullResult, Outside, minimise, roots
from provenn.bounds.joint_hull import Integers, JointAnswer, JointOutside, JointProblem, own_bounds
from provenn.errors import CapabilityError, OverflowRiskError
from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.network import IntegerNetwork
from provenn.status import Status
from provenn.trainers._base import Proof, Record
from provenn.trainers._engine import Engine

PROVER = "neuron hull (provenn)"
MOST_SAMPLES = 2000
"""Distinct samples; the master factorises a matrix of this size in every step."""


@dataclass(frozen=True)
class Hull(Engine):
    """Prove networks with one hidden layer optimal by column generation over their units.

    Several outputs begin with the sum of their own bounds, each with the units to itself, and go on with a bound in
    which they share the units. Side constraints only raise losses, so that bounds without them hold.
    """

    engine: ClassVar[str] = "hull bound"
    prover: ClassVar[str] = PROVER

    @staticmethod
    def obstacle(problem: Problem) -> str | None:
        """Say why the bound does not apply to a problem, or None when it does."""
        if len(problem.architecture.hidden) != 1:
            return "the network has not exactly one hidden layer"
        if problem.architecture.continuous:
            return "the weights are continuous, and units are enumerated over integers"
        try:
            parts = [subproblem(problem, j) for j in range(problem.architecture.n_outputs)]
            if parts[0] is None:
                return f"the loss {type(problem.loss).__name__} is no sum over samples and outputs"
            if problem.dataset.n_samples > MOST_SAMPLES:
                return f"there are more than {MOST_SAMPLES} distinct samples"
            parts[0].agreement(np.ones(problem.dataset.n_samples, dtype=np.int64), 1)
            roots(parts[0])
        except (OverflowRiskError, CapabilityError) as error:
            return str(error)
        return None

    @staticmethod
    def compile() -> None:
        """Compile or load the kernels."""
        compile_kernels()

    @staticmethod
    def work(record: Record, limits: Limits) -> Proof:
        """Prove; see `prove`."""
        return prove(record, limits)


def prove(record: Record, limits: Limits, stopped: Callable[[], bool] = lambda: False) -> Proof:
    """Bound every output, then all of them together, and enter what is found into the record.

    Parameters
    ----------
    record : Record
    limits : Limits
        The time counts from the record's beginning.
    stopped : callable
        Asked often; True ends the search.
    """
    return _Proof(record, limits, stopped).run()


class _Proof:
    """One run: the outputs' own bounds, whose sum holds for all, then the bound of the units that they share."""

    def __init__(self, record: Record, limits: Limits, stopped: Callable[[], bool]) -> None:
        self.record, self.limits, self.stopped = record, limits, stopped
        self.unit = int(record.problem.loss_unit / record.problem.unit)
        self.problem = joint_problem(record.problem)
        self.bounds = [0] * len(self.problem.parts)
        self.nodes = 0
        self.alone = self._alone()

    def _alone(self) -> str | None:
        """Say why the outputs' own bounds are all there is, or None where they share units."""
        return "there is one output" if len(self.bounds) == 1 else joint_hull.obstacle(self.problem)

    def run(self) -> Proof:
        """Prove until the bound reaches the loss or a limit is reached."""
        evidence, status = [], Status.OPTIMAL
        for j in range(len(self.bounds)):
            result = self._own(j, interrupted=status is Status.INTERRUPTED)
            evidence.append(result.evidence)
            if status is Status.OPTIMAL or result.status is Status.INTERRUPTED:
                status = result.status
        if self.alone is None and status is not Status.INTERRUPTED and not self.record.closed:
            status = self._joint(own_bounds(self.problem, evidence))
        if status is Status.OPTIMAL and not self.record.closed:
            return Proof(Status.NODE_LIMIT, self.nodes, self._message())
        return Proof(status, self.nodes)

    def _message(self) -> str:
        if self.alone is None or len(self.bounds) == 1:
            return "the hull leaves out side constraints"
        return f"the hull leaves out side constraints and that outputs share units: {self.alone}"

    def _own(self, j: int, interrupted: bool) -> HullResult:
        """Bound one output; half of the time is left for the joint bound."""
        left, outputs = self.record.remaining(self.limits), len(self.bounds) - j
        seconds = 0 if interrupted else left.seconds / (outputs if self.alone else outputs + len(self.bounds))

        def on_bound(bound: int) -> None:
            self.bounds[j] = max(self.bounds[j], bound)
            self._raise(sum(self.bounds))

        outside = Outside(self.stopped, lambda: None, on_bound)
        if len(self.bounds) == 1:
            outside = Outside(self.stopped, self._known, on_bound, self._offer_one)
        result = minimise(self.problem.parts[j], replace(left, seconds=seconds), outside=outside)
        self.nodes += result.nodes
        if result.bound is not None:
            on_bound(result.bound)
        return result

    def _joint(self, own: Integers) -> Status:
        """Bound all outputs together."""
        outside = JointOutside(self.stopped, self._known, self._raise, self._offer)
        result = joint_hull.minimise(self.problem, self.record.remaining(self.limits), own=own, outside=outside)
        self.nodes += result.nodes
        self._raise(result.bound)
        return result.status

    def _raise(self, bound: int) -> None:
        """Enter a bound of the loss."""
        self.record.raise_bound(bound * self.unit, PROVER)

    def _known(self) -> int | None:
        """Return the least whole number of loss units that is not below the best objective."""
        return None if self.record.loss is None else -(-self.record.loss // self.unit)

    def _offer_one(self, answer: Answer) -> None:
        """Enter a network with one output."""
        self._offer(JointAnswer(answer.w, answer.b, answer.v[:, None], np.array([answer.c]), answer.value))

    def _offer(self, answer: JointAnswer) -> None:
        """Enter a network; one that breaks a side constraint is not taken."""
        problem, parts = self.record.problem, ([answer.w, answer.v], [answer.b, answer.c])
        self.record.offer(IntegerNetwork.of(problem.architecture, *parts, problem.dataset.scale))


def joint_problem(problem: Problem) -> JointProblem:
    """Return the problem of all outputs, each of which has a part."""
    parts = (subproblem(problem, j) for j in range(problem.architecture.n_outputs))
    return JointProblem(tuple(part for part in parts if part is not None))


def subproblem(problem: Problem, output: int) -> HullProblem | None:
    """Return the problem of one output, or None when the loss is no sum over samples and outputs."""
    data, shape, loss = problem.dataset, problem.architecture, problem.loss
    if loss.by_score(shape, data, output, np.zeros(1, dtype=np.int64)) is None:
        return None
    first, last = shape.layers
    low = np.full(data.n_features, first.weights.low, dtype=np.int64)
    high = np.full(data.n_features, first.weights.high, dtype=np.int64)
    if first.weights.has_zero:
        low[~data.live], high[~data.live] = 0, 0

    def losses(scores: np.ndarray) -> np.ndarray:
        by_score = loss.by_score(shape, data, output, scores)
        assert by_score is not None
        return by_score

    inner, outer = ((d.low, d.high, d.step) if d is not None else None for d in (first.bias, last.bias))
    weights = last.weights.low, last.weights.high, last.weights.step
    return HullProblem(data.X, data.multiplicity, data.scale, low, high, first.weights.step, inner, last.n_in,
                       weights, outer, losses, (first.lowest, 1))  # fmt: skip


@cache
def compile_kernels() -> None:
    """Compile or load the kernels on a toy, so that the clock of a training does not count it."""
    began, one = time.perf_counter(), np.ones(1, dtype=np.int64)
    X, two = np.array([[1], [-1], [0]]), (-1, 1, 1)

    def losses(scores: np.ndarray) -> np.ndarray:
        return np.abs(np.array([[2], [1], [-2]]) - scores)

    problem = HullProblem(X, np.ones(3, dtype=np.int64), 1, -one, one, 1, two, 2, two, two, losses)
    minimise(problem, Limits())
    joint_hull.compile_kernels(problem)
    getLogger("provenn").info("kernels ready after %.1f s", time.perf_counter() - began)
