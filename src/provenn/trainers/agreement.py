"""Exact training of one sign neuron, alone or as the only hidden unit, by the agreement engine."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from logging import getLogger

import numpy as np
from numpy.typing import NDArray

from provenn.bounds.agreement import AgreementProblem, AgreementResult, Integers, Neuron, minimise
from provenn.errors import CapabilityError
from provenn.formulations import Problem
from provenn.formulations.feature_signs import FeatureSigns
from provenn.losses.max_correct import MaxCorrect
from provenn.milp import Event, Limits
from provenn.network import Architecture, Dataset, Dense, IntegerDomain, IntegerNetwork
from provenn.status import Status
from provenn.trainers._base import OnProgress, Proof, Record, Trainer, TrainResult

PROVER = "agreement branch and bound (provenn)"
MOST_OUTPUTS = 2_000


@dataclass(frozen=True)
class Agreement(Trainer):
    """Prove networks with a single sign to choose optimal: one neuron with max_correct, or one hidden unit.

    Without hidden layers the sign is the prediction. With one hidden unit and one output, every value
    of the output's weight and bias leaves an agreement problem: a sample costs the difference of its
    losses at the two signs. Prices and limits on weights are left out of the bound, which stays valid.
    """

    @staticmethod
    def obstacle(problem: Problem) -> str | None:
        """Say why the engine does not apply to a problem, or None when it does."""
        shape, loss = problem.architecture, problem.loss
        if not shape.hidden:
            if not isinstance(loss, MaxCorrect):
                return f"without hidden layers the loss must be max_correct, not {type(loss).__name__}"
            if shape.n_outputs > 2 or (shape.n_outputs == 2 and loss.rule != "argmax"):
                return "the prediction is not one sign"
            return None
        if shape.hidden != (1,) or shape.n_outputs != 1:
            return "the network has more than one hidden unit or more than one output"
        if loss.hard or not loss.additive(shape):
            return f"the loss {type(loss).__name__} is not a sum over the samples"
        last = shape.layers[-1]
        pairs = len(last.weights) * (len(last.bias) if last.bias is not None else 1)
        return f"the output has {pairs} settings, too many to go through" if pairs > MOST_OUTPUTS else None

    def train(
        self,
        problem: Problem,
        limits: Limits,
        start: IntegerNetwork | None = None,
        on_progress: OnProgress | None = None,
    ) -> TrainResult:
        """Return the best network with its certificate; see `Trainer.train`."""
        obstacle = self.obstacle(problem)
        if obstacle is not None:
            raise CapabilityError(f"the agreement engine does not apply: {obstacle}; choose solver='cpsat' or 'auto'")
        record = Record(problem, on_progress)
        try:
            record.begin(start)
            compile_kernels()
            record.began = time.perf_counter()
            proof = prove(record, limits)
        except KeyboardInterrupt:
            return record.finish(Status.INTERRUPTED, None)
        return record.finish(proof.status, PROVER, proof.nodes, proof.message)


@dataclass(frozen=True)
class Part:
    """Networks that differ in one sign neuron only.

    Parameters
    ----------
    base : int
        Objective of a network that agrees with all wanted signs, in units of the problem.
    neurons : AgreementProblem
    network : callable
        Turns (w, b) into a network.
    neuron : callable
        Turns a network into its (w, b).
    """

    base: int
    neurons: AgreementProblem
    network: Callable[[Integers, int], IntegerNetwork]
    neuron: Callable[[IntegerNetwork], Neuron]


def prove(record: Record, limits: Limits, stopped: Callable[[], bool] = lambda: False) -> Proof:
    """Run the engine on every part and enter what it finds into the record.

    Better networks that others offer to the record in the meantime cut off boxes here, too.

    Parameters
    ----------
    record : Record
    limits : Limits
        The time counts from the record's beginning.
    stopped : callable
        Asked many times a second; True ends the search.
    """
    parts = sorted(parts_of(record.problem), key=lambda part: part.base)
    bounds, nodes, status = [part.base for part in parts], 0, Status.OPTIMAL
    for i, part in enumerate(parts):
        left = record.remaining(limits)
        left = replace(left, seconds=left.seconds / (len(parts) - i))
        if limits.nodes is not None:
            left = replace(left, nodes=max(0, limits.nodes - nodes))
        result = _prove_part(record, part, bounds, i, left, stopped)
        nodes += result.nodes
        status = result.status if status is Status.OPTIMAL or result.status is Status.INTERRUPTED else status
    return Proof(status, nodes)


def _prove_part(
    record: Record, part: Part, bounds: list[int], i: int, limits: Limits, stopped: Callable[[], bool]
) -> AgreementResult:
    """Run the engine on one part; `bounds` holds those of all parts."""

    def raise_bound(bound: int) -> None:
        bounds[i] = max(bounds[i], part.base + bound)
        record.raise_bound(min(bounds), PROVER)

    def on_event(event: Event) -> None:
        if event.x is not None:
            x = np.rint(event.x).astype(np.int64)
            record.offer(part.network(x[:-1], int(x[-1])))
        if event.bound is not None:
            raise_bound(int(event.bound))

    def known() -> int | None:
        return None if record.loss is None else record.loss - part.base

    start = None if record.network is None else part.neuron(record.network)
    result = minimise(part.neurons, limits, start, on_event=on_event, stopped=stopped, known=known)
    raise_bound(result.bound)
    return result


@cache
def compile_kernels() -> None:
    """Compile or load the kernels on toys, so that the clock of a training does not count it."""
    began, one = time.perf_counter(), np.ones(1, dtype=np.int64)
    X, t = np.array([[1], [-1], [2]]), np.array([1, -1, -1])
    for cost in (1, 2**40):
        minimise(AgreementProblem(X, t, np.full(3, cost) + np.arange(3), 1, -one, one, bias=(-1, 1, 1)), Limits())
    getLogger("provenn").info("kernels ready after %.1f s", time.perf_counter() - began)


def parts_of(problem: Problem) -> list[Part]:
    """Return parts that together hold a best network of a problem that `Agreement` applies to."""
    if problem.architecture.hidden:
        return _hidden_unit(problem)
    return [_one_output(problem) if problem.architecture.n_outputs == 1 else _two_outputs(problem)]


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


def _in_units(problem: Problem, loss: Integers) -> Integers:
    """Turn units of the loss into units of the problem."""
    return loss * int(problem.loss_unit / problem.unit)


def _one_output(problem: Problem) -> Part:
    """Return the part of a network that is one neuron."""
    data, shape = problem.dataset, problem.architecture
    layer, (low, high) = shape.layers[0], _boxes(problem, shape.layers[0].weights)
    cost = _in_units(problem, data.multiplicity)
    neurons = AgreementProblem(
        data.X, data.targets(1)[:, 0], cost, data.scale, low, high, layer.weights.step, _triple(layer.bias)
    )

    def network(w: Integers, b: int) -> IntegerNetwork:
        return IntegerNetwork.of(shape, [w[:, None]], [[b]], data.scale)

    return Part(0, neurons, network, lambda net: (net.weights[0][:, 0], int(net.biases[0][0])))


def _two_outputs(problem: Problem) -> Part:
    """Return the part of two outputs: class 1 is predicted iff the difference of the scores is above 0."""
    data, shape = problem.dataset, problem.architecture
    layer = shape.layers[0]
    W, wide = _differences(layer.weights), layer.weights.high - layer.weights.low
    B = _differences(layer.bias) if layer.bias is not None else {0: (0, 0)}
    low = np.full(data.n_features, -wide, dtype=np.int64)
    low[~data.live] *= 0 if layer.weights.has_zero else 1
    bias = None if layer.bias is None else (min(B), max(B), layer.bias.step)
    cost = _in_units(problem, data.multiplicity)
    neurons = AgreementProblem(data.X, 2 * data.y - 1, cost, data.scale, low, -low, layer.weights.step, bias, zero=-1)

    def network(w: Integers, b: int) -> IntegerNetwork:
        return IntegerNetwork.of(shape, [np.array([W[d] for d in w.tolist()])], [B[b]], data.scale)

    def neuron(net: IntegerNetwork) -> Neuron:
        return net.weights[0][:, 1] - net.weights[0][:, 0], int(net.biases[0][1] - net.biases[0][0])

    return Part(0, neurons, network, neuron)


def _differences(domain: IntegerDomain) -> dict[int, tuple[int, int]]:
    """Map every difference ``w1 - w0`` of two values to the smallest such values (w0, w1)."""
    pairs = sorted(product(domain.values.tolist(), repeat=2), key=lambda pair: -abs(pair[0]) - abs(pair[1]))
    return {one - zero: (zero, one) for zero, one in pairs}


def _hidden_unit(problem: Problem) -> list[Part]:
    """Return one part for each output whose losses no other output undercuts on every class and sign."""
    shape = problem.architecture
    last = shape.layers[-1]
    biases = last.bias.values.tolist() if last.bias is not None else [0]
    outputs = sorted(product(last.weights.values.tolist(), biases), key=lambda output: (abs(output[0]), abs(output[1])))
    tables = [(_table(problem, *output), output) for output in outputs]
    kept: list[tuple[Integers, tuple[int, int]]] = []
    for table, output in sorted(tables, key=lambda one: int(one[0].sum())):
        if not any(np.all(other <= table) for other, _ in kept):
            kept.append((table, output))
    return [_part(problem, table, output) for table, output in kept]


def _table(problem: Problem, v: int, b: int) -> Integers:
    """Return the loss of a sample by its class and the sign of the hidden unit, shape (2, 2), signs -1 and 1.

    It is that of a stand-in network with one input, which is the sign.
    """
    last = problem.architecture.layers[-1]
    shape = Architecture((Dense(1, 1, IntegerDomain.binary(), None, "sign"), last))
    network = IntegerNetwork.of(shape, [[[1]], [[v]]], [[0], [b]])
    table = np.zeros((2, 2), dtype=np.int64)
    for y, s in product((0, 1), (0, 1)):
        sample: NDArray[np.int64] = np.array([[2 * s - 1]])
        data = Dataset(sample, np.array([y]), problem.dataset.classes, np.ones(1, dtype=np.int64))
        value = problem.loss.value(network, data)
        assert value is not None, "a sum over samples has a value on each"
        table[y, s] = value
    return table


def _part(problem: Problem, table: Integers, output: tuple[int, int]) -> Part:
    """Return the part of one output weight and bias."""
    data, shape = problem.dataset, problem.architecture
    layer, (low, high) = shape.layers[0], _boxes(problem, shape.layers[0].weights)
    losses = _in_units(problem, table)[data.y]
    t, cost = np.where(losses[:, 1] <= losses[:, 0], 1, -1), np.abs(losses[:, 1] - losses[:, 0]) * data.multiplicity
    neurons = AgreementProblem(data.X, t, cost, data.scale, low, high, layer.weights.step, _triple(layer.bias))
    v, c = output

    def network(w: Integers, b: int) -> IntegerNetwork:
        return IntegerNetwork.of(shape, [w[:, None], [[v]]], [[b], [c]], data.scale)

    base = sum(int(least) * int(m) for least, m in zip(losses.min(axis=1), data.multiplicity, strict=True))
    return Part(base, neurons, network, lambda net: (net.weights[0][:, 0], int(net.biases[0][0])))


__all__ = ["PROVER", "Agreement", "compile_kernels", "parts_of", "prove"]
