"""Exact training of networks with one hidden layer by the hull of their units."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from logging import getLogger
from typing import ClassVar

import numpy as np

from provenn.bounds.hull import Answer, HullProblem, Outside, minimise, roots
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

    The bound of several outputs is the sum of their own: each has the units to itself. It
    can then stay below the best network. Side constraints only raise losses, so that bounds without them hold.
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
    """Bound every output and enter what is found into the record.

    Parameters
    ----------
    record : Record
    limits : Limits
        The time counts from the record's beginning.
    stopped : callable
        Asked often; True ends the search.
    """
    problem = record.problem
    outputs = problem.architecture.n_outputs
    unit, bounds, nodes, status = int(problem.loss_unit / problem.unit), [0] * outputs, 0, Status.OPTIMAL
    for j in range(outputs):
        part = subproblem(problem, j)
        assert part is not None
        share = record.remaining(limits)
        share = replace(share, seconds=0 if status is Status.INTERRUPTED else share.seconds / (outputs - j))

        def on_bound(bound: int, j: int = j) -> None:
            bounds[j] = max(bounds[j], bound)
            record.raise_bound(sum(bounds) * unit, PROVER)

        outside = Outside(stopped, lambda: None, on_bound)
        if outputs == 1:
            outside = Outside(stopped, lambda: _known(record, unit), on_bound, lambda answer: _offer(record, answer))
        result = minimise(part, share, outside=outside)
        nodes += result.nodes
        if result.bound is not None:
            on_bound(result.bound, j)
        if status is Status.OPTIMAL or result.status is Status.INTERRUPTED:
            status = result.status
    if status is Status.OPTIMAL and not record.closed:
        return Proof(Status.NODE_LIMIT, nodes, "the hull leaves out side constraints and that outputs share units")
    return Proof(status, nodes)


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


def _known(record: Record, unit: int) -> int | None:
    """Return the least whole number of loss units that is not below the best objective."""
    return None if record.loss is None else -(-record.loss // unit)


def _offer(record: Record, answer: Answer) -> None:
    """Enter a network; one that breaks a side constraint is not taken."""
    parts = [answer.w, answer.v[:, None]], [answer.b, [answer.c]]
    record.offer(IntegerNetwork.of(record.problem.architecture, *parts, record.problem.dataset.scale))


@cache
def compile_kernels() -> None:
    """Compile or load the kernels on a toy, so that the clock of a training does not count it."""
    began, one = time.perf_counter(), np.ones(1, dtype=np.int64)
    X, two = np.array([[1], [-1], [0]]), (-1, 1, 1)

    def losses(scores: np.ndarray) -> np.ndarray:
        return np.abs(np.array([[2], [1], [-2]]) - scores)

    minimise(HullProblem(X, np.ones(3, dtype=np.int64), 1, -one, one, 1, two, 2, two, two, losses), Limits())
    getLogger("provenn").info("kernels ready after %.1f s", time.perf_counter() - began)
