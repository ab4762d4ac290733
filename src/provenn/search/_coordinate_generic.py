"""Search by single changes that the exact objective judges: for losses and side constraints without kernels."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from provenn.formulations import Problem
from provenn.network import IntegerDomain, IntegerNetwork

KICK, PATIENCE = 3, 40


def improve_any(
    problem: Problem,
    start: IntegerNetwork,
    rng: np.random.Generator,
    work: float,
    layers: tuple[int, ...],
    over: Callable[[], bool],
    offer: Callable[[IntegerNetwork], object],
) -> IntegerNetwork:
    """Change random parameters while the objective does not get worse; kick the best network when that stalls.

    Parameters
    ----------
    problem, start, rng, layers, offer
        See `provenn.search.coordinate_search.improve`.
    work : float
        Evaluations of the objective.
    over : callable
        Asked before every evaluation; True ends the search.
    """
    best = current = start
    least = value = problem.value(start)
    places = _places(problem, layers)
    idle = 0
    while work > 0 and not over() and not (least is not None and least == problem.floor):
        work -= 1
        network = current
        kick = idle >= PATIENCE * len(places)
        for _ in range(KICK if kick else 1):
            network = _changed(
                best if kick and network is current else network, *places[rng.integers(len(places))], rng
            )
        new = problem.value(network)
        idle = 0 if kick else idle + 1
        if new is None or not (kick or value is None or new <= value):
            continue
        current, value = network, new
        if least is None or new < least:
            best, least, idle = network, new, 0
            offer(best)
    return best


def _places(problem: Problem, layers: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Return layer, input (-1 for the bias) and unit of every parameter that may change."""
    places = []
    for layer in layers:
        dense = problem.architecture.layers[layer]
        live = problem.dataset.live if layer == 0 and dense.weights.has_zero else np.ones(dense.n_in, dtype=np.bool_)
        inputs = [int(i) for i in np.flatnonzero(live)] + ([-1] if dense.bias is not None else [])
        places += [(layer, i, j) for i in inputs for j in range(dense.n_out)]
    return places


def _changed(network: IntegerNetwork, layer: int, i: int, j: int, rng: np.random.Generator) -> IntegerNetwork:
    dense = network.architecture.layers[layer]
    weights, biases = list(network.weights), list(network.biases)
    part = weights if i >= 0 else biases
    part[layer] = part[layer].copy()
    place = (i, j) if i >= 0 else (j,)
    domain = dense.weights if i >= 0 or dense.bias is None else dense.bias
    part[layer][place] = _other(int(part[layer][place]), domain, rng)
    return replace(network, weights=tuple(weights), biases=tuple(biases))


def _other(value: int, domain: IntegerDomain, rng: np.random.Generator) -> int:
    """Return a value: 0, any, or one at a distance that is uniform in its logarithm."""
    kind = rng.random()
    if kind < 0.2 and domain.has_zero:
        return 0
    if kind < 0.5:
        return domain.low + domain.step * int(rng.integers(len(domain)))
    steps = int(len(domain) ** rng.random()) * int(rng.choice([-1, 1]))
    return int(domain.clip(np.array([value + domain.step * steps]))[0])
