"""Good networks to start from: a proven single layer in front of a deeper network, and a short descent."""

import time
from collections.abc import Callable

import numpy as np

from provenn.formulations import Problem
from provenn.losses._worst_case import WorstCase
from provenn.losses.logistic import Logistic
from provenn.milp import Limits
from provenn.network import Architecture, IntegerNetwork
from provenn.search import coordinate_search
from provenn.search.descent import descend
from provenn.status import Status
from provenn.trainers import convex, robust_convex
from provenn.trainers._base import Record

NODES = 20
EVALUATIONS = 20_000
PASSES = 100
VISITS = 500
SHARE = 0.2
LONGEST = 300.0


def warm_up(record: Record, limits: Limits, stopped: Callable[[], bool] = lambda: False) -> None:
    """Offer good networks to the record, within a fifth of the time and a minute at most.

    What `deepen_a_single_layer` finds, or else the best network known, descends over single
    parameters, up to a fixed number of evaluations, so that the result does not depend on the
    clock unless time is short. Continuous weights behind a hidden layer are searched along coordinates.

    Parameters
    ----------
    record : Record
        Its clock is set anew once the kernels are ready.
    limits : Limits
    stopped : callable
        True ends it early.
    """
    problem = record.problem
    budget = SHARE * min(limits.seconds, LONGEST)

    def out_of_time() -> bool:
        return record.elapsed > budget or stopped()

    if problem.architecture.continuous and problem.architecture.hidden:
        _search_coordinates(record, limits, out_of_time)
        return
    if not out_of_time():
        make_ready(record)
        deepen_a_single_layer(record, limits, stopped)
    if record.network is not None and not out_of_time():
        rng = np.random.default_rng(limits.seed)
        descend(record.network, problem.value, rng, first_work(problem), out_of_time, record.offer)


def _search_coordinates(record: Record, limits: Limits, out_of_time: Callable[[], bool]) -> None:
    if out_of_time() or not coordinate_search.supported(record.problem):
        return
    coordinate_search.compile_kernels()
    record.began = time.perf_counter()
    rng = np.random.default_rng(limits.seed)
    start, units = coordinate_search.start_network(record.problem, rng), sum(record.problem.architecture.hidden)
    coordinate_search.improve(
        record.problem, start, rng, work=VISITS * units, stopped=out_of_time, offer=record.offer
    )  # fmt: skip


def first_work(problem: Problem) -> int:
    """Return the evaluations of the first descent: some for each parameter, within reason."""
    parameters = sum(layer.n_out * (layer.n_in + 1) for layer in problem.architecture.layers)
    return min(EVALUATIONS, PASSES * parameters)


def make_ready(record: Record) -> None:
    """Compile or load what the start needs, and set the record's clock, which does not count it."""
    if _single_layer(record.problem) is not None or convex.Convex.obstacle(record.problem) is None:
        convex.compile_kernels()
        record.began = time.perf_counter()


def deepen_a_single_layer(record: Record, limits: Limits, stopped: Callable[[], bool] = lambda: False) -> None:
    """Train a network without hidden layers, robust where the loss is, and offer it with more layers behind it.

    Its neurons become the first units of the first hidden layer, and later layers hand on whether
    they fire. Nothing happens where the architecture has no room for that.
    """
    flat = _single_layer(record.problem)
    if flat is None:
        return
    single = Record(flat)
    single.begin(None)
    short = Limits(SHARE / 2 * limits.seconds, NODES, threads=limits.threads, seed=limits.seed)
    proof = (robust_convex if isinstance(flat.loss, WorstCase) else convex).prove(single, short, stopped)
    if proof.status is Status.INTERRUPTED and not stopped():
        raise KeyboardInterrupt
    deep = None if single.network is None else _deepened(single.network, record.problem.architecture)
    if deep is not None:
        record.offer(deep)


def _single_layer(problem: Problem) -> Problem | None:
    """Return the problem without hidden layers, where the architecture has room for its neurons."""
    shape = problem.architecture
    fits = bool(shape.hidden) and min(shape.hidden) >= shape.n_outputs
    if not fits or not all(layer.weights.has_zero and layer.weights.high > 0 for layer in shape.layers):
        return None
    first = shape.layers[0]
    flat = Architecture.build(shape.n_features, shape.n_classes, (), first.weights, first.bias, shape.n_outputs)
    if isinstance(problem.loss, WorstCase):
        robust = Problem(flat, problem.dataset, WorstCase(Logistic(), problem.loss.radius, problem.loss.norm))
        return robust if robust_convex.RobustConvex.obstacle(robust) is None else None
    single = Problem(flat, problem.dataset, Logistic())
    return single if convex.Convex.obstacle(single) is None else None


def _deepened(flat: IntegerNetwork, shape: Architecture) -> IntegerNetwork | None:
    """Return the deeper network, or None where a layer cannot tell a 1 from the activation below it.

    A unit with weight w and bias b hands on h, which is 1 or l, when ``w l + b < 0 <= w + b``; for steps,
    with l = 0, that takes a bias below 0.
    """
    weights, biases = [], []
    for number, layer in enumerate(shape.layers):
        W, b = np.zeros((layer.n_in, layer.n_out)), np.zeros(layer.n_out)
        if number == 0:
            W[:, : shape.n_outputs], b[: shape.n_outputs] = flat.weights[0], flat.biases[0]
        else:
            count = shape.n_outputs
            w, below = layer.weights.high, shape.layers[number - 1].lowest
            W[:count, :count] = np.eye(count) * w
            b[:count] = -w * (1 + below) // 2 if layer.bias is not None else 0
            middle = int(layer.bias.clip(b)[0]) if layer.bias is not None else 0
            if not w * below + middle < 0 <= w + middle:
                return None
        weights.append(W)
        biases.append(layer.bias.clip(b) if layer.bias is not None else b)
    return IntegerNetwork.of(shape, weights, biases, flat.scale)
