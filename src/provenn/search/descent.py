"""Iterated first-improvement descent over single parameters, on any exact objective."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from provenn.network import IntegerDomain, IntegerNetwork

Objective = Callable[[IntegerNetwork], int | None]
KICK = 3


def descend(
    start: IntegerNetwork,
    objective: Objective,
    rng: np.random.Generator,
    evaluations: int,
    stopped: Callable[[], bool] = lambda: False,
    on_better: Callable[[IntegerNetwork], object] = lambda network: None,
) -> IntegerNetwork:
    """Change one weight or bias at a time while the objective does not get worse.

    All parameters are visited in random order, each with the other values of its domain in
    random order; equal values are accepted, which walks over plateaus. A pass without an
    improvement ends in a kick: a few random changes of the best network.

    Parameters
    ----------
    start : IntegerNetwork
        A network whose objective is not None.
    objective : callable
        Exact integer objective; None where a hard condition fails.
    rng : Generator
    evaluations : int
        Work limit: calls of the objective.
    stopped : callable
        Asked before every evaluation; True ends the search.
    on_better : callable
        Called with every strictly better network.

    Returns
    -------
    IntegerNetwork
        The best network met, never worse than the start.

    Examples
    --------
    >>> from provenn.network import Architecture, Dataset
    >>> from provenn.losses.max_correct import MaxCorrect
    >>> data = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    >>> start = IntegerNetwork.constant(Architecture.build(2, 2, hidden=(2,)), favoured=1)
    >>> loss = MaxCorrect()
    >>> best = descend(start, lambda net: loss.value(net, data), np.random.default_rng(0), 3000)
    >>> loss.value(best, data)
    0
    """
    best = current = start
    best_value = value = objective(start)
    assert best_value is not None
    assert value is not None
    left = evaluations
    while left > 0 and not stopped():
        improved = False
        for candidate in _neighbours(current, rng):
            if left <= 0 or stopped():
                break
            left -= 1
            network = candidate(current)
            new = objective(network)
            if new is None or new > value:
                continue
            current, improved, value = network, improved or new < value, new
            if value < best_value:
                best, best_value = current, value
                on_better(best)
        if not improved:
            current, value = _kicked(best, best_value, objective, rng)
    return best


def _neighbours(
    network: IntegerNetwork, rng: np.random.Generator
) -> Iterator[Callable[[IntegerNetwork], IntegerNetwork]]:
    """Yield one random change for every parameter, in random order, as functions of the current network."""
    places = [
        (layer, index)
        for layer, (W, b, dense) in enumerate(
            zip(network.weights, network.biases, network.architecture.layers, strict=True)
        )
        for index in range(W.size + (b.size if dense.bias is not None else 0))
    ]
    for at in rng.permutation(len(places)):
        layer, index = places[at]
        yield partial(_changed, layer=layer, index=index, seed=float(rng.random()))


def _changed(network: IntegerNetwork, layer: int, index: int, seed: float) -> IntegerNetwork:
    """Give one parameter another value of its domain; `seed` in [0, 1) chooses which."""
    dense, W, b = network.architecture.layers[layer], network.weights[layer].copy(), network.biases[layer].copy()
    if index < W.size:
        W.flat[index] = _other(int(W.flat[index]), dense.weights, seed)
    elif dense.bias is not None:
        b[index - W.size] = _other(int(b[index - W.size]), dense.bias, seed)
    weights = (*network.weights[:layer], W, *network.weights[layer + 1 :])
    biases = (*network.biases[:layer], b, *network.biases[layer + 1 :])
    return replace(network, weights=weights, biases=biases)


def _other(value: int, domain: IntegerDomain, seed: float) -> int:
    """Return another value: a neighbour in half the cases, any in the others."""
    if domain.continuous_box:
        return _elsewhere(value, domain, seed)
    others = domain.values[domain.values != value]
    if seed < 0.5:
        near = others[np.abs(others - value) == domain.step]
        others = near if len(near) else others
    return int(others[int(2 * (seed % 0.5) * len(others))]) if len(others) else value


def _elsewhere(value: int, domain: IntegerDomain, seed: float) -> int:
    """Return a value of a continuous box: at a distance of any size in half the cases, else 0 or any."""
    part, kind = 4 * seed % 1, int(4 * seed)
    if kind < 2:
        distance = round((domain.high - domain.low) ** part)
        return min(max(value + (distance if kind else -distance), domain.low), domain.high)
    if kind == 2 and value != 0 and domain.has_zero:
        return 0
    return domain.low + int(part * len(domain))


def _kicked(
    best: IntegerNetwork, value: int, objective: Objective, rng: np.random.Generator
) -> tuple[IntegerNetwork, int]:
    """Return the best network with a few random changes, or itself where they break a hard condition."""
    network = best
    changes = list(_neighbours(best, rng))[:KICK]
    for change in changes:
        network = change(network)
    kicked = objective(network)
    return (best, value) if kicked is None else (network, kicked)
