"""Exact training of one neuron for the number of errors, by the agreement engine."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from logging import getLogger
from typing import ClassVar

import numpy as np

from provenn.bounds.agreement import AgreementProblem, Integers, Neuron, minimise
from provenn.formulations import Problem
from provenn.formulations.feature_signs import FeatureSigns
from provenn.milp import Event, Limits
from provenn.network import IntegerDomain, IntegerNetwork
from provenn.status import Status
from provenn.trainers._base import Proof, Record
from provenn.trainers._engine import Engine

PROVER = "agreement branch and bound (provenn)"
MOST_OUTPUTS = 2_000


@dataclass(frozen=True)
class Agreement(Engine):
    """Prove that networks without hidden layers and two classes make the fewest errors, where prediction is one sign.

    Prices and limits on weights are left out of the bound, which stays valid.
    """

    engine: ClassVar[str] = "agreement engine"
    prover: ClassVar[str] = PROVER

    @staticmethod
    def obstacle(problem: Problem) -> str | None:
        """Say why the engine does not apply to a problem, or None when it does."""
        shape, loss = problem.architecture, problem.loss
        if shape.hidden:
            return "the network has hidden layers"
        if shape.continuous:
            return "the weights are continuous, and boxes are searched down to single integers"
        if not loss.counts_errors(shape):
            return f"the loss must be max_correct, or another that counts wrong predictions, not {type(loss).__name__}"
        if shape.n_outputs > 2:
            return "the prediction is not one sign"
        return None

    @staticmethod
    def compile() -> None:
        """Compile or load the kernels."""
        compile_kernels()

    @staticmethod
    def work(record: Record, limits: Limits) -> Proof:
        """Prove; see `prove`."""
        return prove(record, limits)


@dataclass(frozen=True)
class Part:
    """A problem as that of one sign neuron.

    Parameters
    ----------
    neurons : AgreementProblem
    network : callable
        Turns (w, b) into a network.
    neuron : callable
        Turns a network into its (w, b).
    """

    neurons: AgreementProblem
    network: Callable[[Integers, int], IntegerNetwork]
    neuron: Callable[[IntegerNetwork], Neuron]


def prove(record: Record, limits: Limits, stopped: Callable[[], bool] = lambda: False) -> Proof:
    """Run the engine and enter what it finds into the record.

    Better networks that others offer to the record in the meantime cut off boxes here, too.

    Parameters
    ----------
    record : Record
    limits : Limits
        The time counts from the record's beginning.
    stopped : callable
        Asked many times a second; True ends the search.
    """
    part = part_of(record.problem)

    def on_event(event: Event) -> None:
        if event.x is not None:
            x = np.rint(event.x).astype(np.int64)
            record.offer(part.network(x[:-1], int(x[-1])))
        if event.bound is not None:
            record.raise_bound(int(event.bound), PROVER)

    start = None if record.network is None else part.neuron(record.network)
    result = minimise(
        part.neurons, record.remaining(limits), start, on_event=on_event, stopped=stopped, known=lambda: record.loss
    )
    record.raise_bound(result.bound, PROVER)
    if result.status is Status.OPTIMAL and not record.closed:
        return Proof(Status.NODE_LIMIT, result.nodes, "the bound leaves out prices and limits on weights")
    return Proof(result.status, result.nodes)


@cache
def compile_kernels() -> None:
    """Compile or load the kernels on toys, so that the clock of a training does not count it."""
    began, one = time.perf_counter(), np.ones(1, dtype=np.int64)
    X, t = np.array([[1], [-1], [2]]), np.array([1, -1, -1])
    for cost in (1, 2**40):
        minimise(AgreementProblem(X, t, np.full(3, cost) + np.arange(3), 1, -one, one, bias=(-1, 1, 1)), Limits())
    getLogger("provenn").info("kernels ready after %.1f s", time.perf_counter() - began)


def part_of(problem: Problem) -> Part:
    """Return the sign neuron of a problem that `Agreement` applies to."""
    return _one_output(problem) if problem.architecture.n_outputs == 1 else _two_outputs(problem)


def _boxes(problem: Problem, domain: IntegerDomain) -> tuple[Integers, Integers]:
    """Return the box of the weights of a neuron that reads the inputs: dead ones are 0 where the domain has 0."""
    low = np.full(problem.dataset.n_features, domain.low, dtype=np.int64)
    high = np.full(problem.dataset.n_features, domain.high, dtype=np.int64)
    for constraint in problem.constraints:
        if isinstance(constraint, FeatureSigns):
            signs = np.array(constraint.signs)
            low[signs > 0], high[signs < 0] = 0, 0
    if problem.architecture.layers[0].weights.has_zero:
        low[~problem.dataset.live], high[~problem.dataset.live] = 0, 0
    return low, high


def _triple(domain: IntegerDomain | None) -> tuple[int, int, int] | None:
    return None if domain is None else (domain.low, domain.high, domain.step)


def _costs(problem: Problem) -> Integers:
    """Return what an error on each sample costs, in units of the problem."""
    return problem.dataset.multiplicity * int(problem.loss_unit / problem.unit)


def _one_output(problem: Problem) -> Part:
    """Return the part of a network that is one neuron."""
    data, shape = problem.dataset, problem.architecture
    layer, (low, high) = shape.layers[0], _boxes(problem, shape.layers[0].weights)
    neurons = AgreementProblem(
        data.X, data.targets(1)[:, 0], _costs(problem), data.scale, low, high, layer.weights.step, _triple(layer.bias)
    )

    def network(w: Integers, b: int) -> IntegerNetwork:
        return IntegerNetwork.of(shape, [w[:, None]], [[b]], data.scale)

    return Part(neurons, network, lambda net: (net.weights[0][:, 0], int(net.biases[0][0])))


def _two_outputs(problem: Problem) -> Part:
    """Return the part of two outputs: class 1 is predicted iff the difference of the scores is above 0."""
    data, shape = problem.dataset, problem.architecture
    layer = shape.layers[0]
    W, wide = _differences(layer.weights), layer.weights.high - layer.weights.low
    B = _differences(layer.bias) if layer.bias is not None else {0: (0, 0)}
    low = np.full(data.n_features, -wide, dtype=np.int64)
    low[~data.live] *= 0 if layer.weights.has_zero else 1
    bias = None if layer.bias is None else (min(B), max(B), layer.bias.step)
    t, step = 2 * data.y - 1, layer.weights.step
    neurons = AgreementProblem(data.X, t, _costs(problem), data.scale, low, -low, step, bias, zero=-1)

    def network(w: Integers, b: int) -> IntegerNetwork:
        return IntegerNetwork.of(shape, [np.array([W[d] for d in w.tolist()])], [B[b]], data.scale)

    def neuron(net: IntegerNetwork) -> Neuron:
        return net.weights[0][:, 1] - net.weights[0][:, 0], int(net.biases[0][1] - net.biases[0][0])

    return Part(neurons, network, neuron)


def _differences(domain: IntegerDomain) -> dict[int, tuple[int, int]]:
    """Map every difference ``w1 - w0`` of two values to the smallest such values (w0, w1)."""
    pairs = sorted(product(domain.values.tolist(), repeat=2), key=lambda pair: -abs(pair[0]) - abs(pair[1]))
    return {one - zero: (zero, one) for zero, one in pairs}


__all__ = ["PROVER", "Agreement", "compile_kernels", "part_of", "prove"]
