"""Good networks to start from: a proven single layer in front of a deeper network, and a short descent."""

import time

import numpy as np

from provenn.formulations import Problem
from provenn.losses.logistic import Logistic
from provenn.milp import Limits
from provenn.network import Architecture, IntegerNetwork
from provenn.search.descent import descend
from provenn.status import Status
from provenn.trainers._base import Record
from provenn.trainers.convex import Convex, compile_kernels

NODES = 20
EVALUATIONS = 20_000
PASSES = 100
SHARE = 0.2
LONGEST = 300.0


def warm_up(record: Record, limits: Limits) -> None:
    """Offer good networks to the record, within a fifth of the time and a minute at most.

    A network without hidden layers is trained by the convex engine, its neurons become the
    first units of the first hidden layer, and later layers hand their signs through. The
    best network known then descends over single parameters, up to a fixed number of
    evaluations, so that the result does not depend on the clock unless time is short.
    """
    problem = record.problem
    budget = SHARE * min(limits.seconds, LONGEST)

    def stopped() -> bool:
        return record.seconds > budget

    flat = _single_layer(problem)
    if flat is not None and not stopped():
        compile_kernels()
        record.began = time.perf_counter()
        record.offer(_trained_and_deepened(flat, problem.architecture, limits))
    if record.network is not None and not stopped():
        rng = np.random.default_rng(limits.seed)
        parameters = sum(layer.n_out * (layer.n_in + 1) for layer in problem.architecture.layers)
        evaluations = min(EVALUATIONS, PASSES * parameters)
        descend(record.network, problem.value, rng, evaluations, stopped, record.offer)


def _single_layer(problem: Problem) -> Problem | None:
    """Return the problem without hidden layers, where the architecture has room for its neurons."""
    shape = problem.architecture
    fits = bool(shape.hidden) and min(shape.hidden) >= shape.n_outputs
    if not fits or not all(layer.weights.has_zero and layer.weights.high > 0 for layer in shape.layers):
        return None
    first = shape.layers[0]
    flat = Architecture.build(shape.n_features, shape.n_classes, (), first.weights, first.bias, shape.n_outputs)
    return Problem(flat, problem.dataset, Logistic())


def _trained_and_deepened(flat: Problem, shape: Architecture, limits: Limits) -> IntegerNetwork:
    """Train the single layer for a moment and put it in front of a deeper network."""
    short = Limits(SHARE / 2 * limits.seconds, NODES, threads=limits.threads, seed=limits.seed)
    result = Convex().train(flat, short)
    if result.status is Status.INTERRUPTED or result.network is None:
        raise KeyboardInterrupt
    return _deepened(result.network, shape)


def _deepened(flat: IntegerNetwork, shape: Architecture) -> IntegerNetwork:
    weights, biases = [], []
    for number, layer in enumerate(shape.layers):
        W, b = np.zeros((layer.n_in, layer.n_out)), np.zeros(layer.n_out)
        if number == 0:
            W[:, : shape.n_outputs], b[: shape.n_outputs] = flat.weights[0], flat.biases[0]
        else:
            count = shape.n_outputs
            W[:count, :count] = np.eye(count) * layer.weights.high
        weights.append(W)
        biases.append(layer.bias.clip(b) if layer.bias is not None else b)
    return IntegerNetwork.of(shape, weights, biases, flat.scale)
