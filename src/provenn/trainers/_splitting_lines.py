"""Exact line searches over all samples: thresholds, and steps towards the network of a minibatch."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from provenn.formulations import Problem
from provenn.network import Architecture, Dataset, Dense, IntegerDomain, IntegerNetwork
from provenn.trainers._splitting_settle import settled

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
MOST_PATTERNS = 64
PASSES = 3
FORBIDDEN = 2**31


def refinements(network: IntegerNetwork, best: IntegerNetwork | None, problem: Problem) -> Iterator[IntegerNetwork]:
    """Yield networks between a new one and the best one, with thresholds that fit all samples.

    Parameters
    ----------
    network : IntegerNetwork
        Often of a few samples only.
    best : IntegerNetwork or None
        On all samples.
    problem : Problem
        With an additive loss.
    """
    X = problem.dataset.X
    steps = [] if best is None else [settled(step, X) for step in steps_towards(best, network, problem)]
    yield from steps
    values = [problem.value(step) for step in steps]
    ranked = sorted((value, place) for place, value in enumerate(values) if value is not None)
    for chosen in [network] + [steps[place] for _, place in ranked[:1]]:
        yield settled(refitted(chosen, problem), X)


def refitted(network: IntegerNetwork, problem: Problem) -> IntegerNetwork:
    """Move the biases of the first hidden layer to where the loss on all samples is least, unit by unit.

    With the other units held, sample k loses ``l_k0`` or ``l_k1`` as unit j fires or not, so that sorting
    the samples by ``a_kj`` gives the loss at every threshold. Of a gap between samples the middle is
    taken; gaps narrower than the layer's margin are none. Weights stay. Networks whose samples have too many
    different activations keep their biases.

    Parameters
    ----------
    network : IntegerNetwork
    problem : Problem
        With an additive loss.

    Examples
    --------
    >>> from provenn.losses.max_correct import MaxCorrect
    >>> data = Dataset.merge([[0], [1], [4], [5]], [0, 0, 1, 1])
    >>> problem = Problem(Architecture.build(1, 2, (1,), bias=IntegerDomain.symmetric(9)), data, MaxCorrect())
    >>> network = IntegerNetwork.of(problem.architecture, [[[1]], [[1]]], [[0], [0]])
    >>> refitted(network, problem).biases[0].tolist()
    [-3]
    """
    domain = network.architecture.layers[0].bias
    for _ in range(PASSES if domain is not None else 0):
        before = network
        for unit in range(network.architecture.hidden[0]):
            a = network.trace(problem.dataset.X).preactivations[0]
            costs = unit_costs(network, problem, a >= 0, unit)
            if costs is None or domain is None:
                return network
            bias = network.biases[0].copy()
            bias[unit] += _best_shift(a[:, unit], costs, network, _moved(domain, int(bias[unit])))
            network = replace(network, biases=(bias, *network.biases[1:]))
        if network.equals(before):
            break
    return network


def _moved(domain: IntegerDomain, bias: int) -> tuple[int, int, int]:
    """Return the lowest and highest shift of a bias, and the step."""
    return domain.low - bias, domain.high - bias, domain.step


def _best_shift(a: Integers, costs: Integers, network: IntegerNetwork, shifts: tuple[int, int, int]) -> int:
    """Return the shift of the least cost; 0 where none is better.

    Entry i of an array stands for the shifts after which the i smallest entries of `a` do not fire.
    """
    order, scale, (low, high, step) = np.argsort(a, kind="stable"), network.scale, shifts
    a = a[order]
    off, on = costs[order].T
    total = np.append(0, np.cumsum(off)) + np.append(np.cumsum(on[::-1])[::-1], 0)
    first = np.maximum(np.append(-(a // scale), low), low)
    last = np.minimum(np.append(high, (-network.architecture.margin(0, scale) - a) // scale), high)
    # Shifts are multiples of the step from the present bias; outside all samples the nearest one will do.
    first, last = step * -(-first // step), step * (last // step)
    shift = first + (last - first) // (2 * step) * step
    shift[0], shift[-1] = first[0], last[-1]
    allowed = np.where(first <= last, total, np.iinfo(np.int64).max)
    now, best = int(np.searchsorted(a, 0)), int(allowed.argmin())
    return int(shift[best]) if allowed[best] < allowed[now] else 0


def steps_towards(network: IntegerNetwork, other: IntegerNetwork, problem: Problem) -> Iterator[IntegerNetwork]:
    """Yield networks in which one unit has moved along the line to a unit of another network.

    ``w + t (w' - w)`` with the t of least loss on all samples, where weights are continuous, and else ``t = 1``.

    Parameters
    ----------
    network, other : IntegerNetwork
    problem : Problem
        With an additive loss.
    """
    layer = network.architecture.layers[0]
    start = np.vstack([network.weights[0], network.biases[0]])
    target = np.vstack([other.weights[0], other.biases[0]])
    X = np.column_stack([problem.dataset.X, np.full(problem.dataset.n_samples, network.scale)])
    a = X @ start
    for unit in range(layer.n_out):
        costs = unit_costs(network, problem, a >= 0, unit)
        if costs is None:
            return
        for change in (target - start[:, [unit]]).T:
            if not change.any():
                continue
            t = 1.0
            if layer.continuous:
                ends = _ends(start[:, unit], change, layer)
                t = _best_step(a[:, unit], X @ change, costs, ends)
            moved = start.copy()
            moved[:, unit] += np.rint(t * change).astype(np.int64)
            W, b = layer.weights.clip(moved[:-1]), moved[-1]
            bias = layer.bias.clip(b) if layer.bias is not None else b * 0
            yield replace(network, weights=(W, *network.weights[1:]), biases=(bias, *network.biases[1:]))


class _Interval(NamedTuple):
    low: float
    high: float


def _ends(start: Integers, change: Integers, layer: Dense) -> _Interval:
    """Return the steps between which weights and bias stay in their domains."""
    bias = layer.bias if layer.bias is not None else IntegerDomain(0, 0)
    low = np.append(np.full(len(start) - 1, layer.weights.low), bias.low)
    high = np.append(np.full(len(start) - 1, layer.weights.high), bias.high)
    used = change != 0
    one, two = ((end[used] - start[used]) / change[used] for end in (low, high))
    return _Interval(float(np.minimum(one, two).max()), float(np.maximum(one, two).min()))


def _best_step(a: Integers, d: Integers, costs: Integers, ends: _Interval) -> float:
    """Return the t for which ``a + t d >= 0`` decides on the least cost, in the middle between two samples."""
    crossing = d != 0
    t = -a[crossing] / d[crossing]
    gain = (costs[crossing, 1] - costs[crossing, 0]) * np.sign(d[crossing])
    inside = (t > ends.low) & (t < ends.high)
    order = np.argsort(t[inside])
    # All costs count from the lowest step on, where samples beyond the interval make no difference.
    total = np.append(0, np.cumsum(gain[inside][order]))
    edges = np.concatenate([[ends.low], t[inside][order], [ends.high]])
    apart = np.diff(edges) > 0
    best = int(np.where(apart, total, np.iinfo(np.int64).max).argmin())
    return float((edges[best] + edges[best + 1]) / 2)


def unit_costs(network: IntegerNetwork, problem: Problem, fires: NDArray[np.bool_], unit: int) -> Integers | None:
    """Return what each sample loses where a unit of the first layer does not fire and where it does.

    Parameters
    ----------
    fires : ndarray of shape (n, n_1), bool
        The other units' columns count.

    Returns
    -------
    ndarray of shape (n, 2), int64, or None
        None where there are too many different activations.
    """
    data = problem.dataset
    keys = np.column_stack([np.delete(fires, unit, axis=1), data.y]).astype(np.int64)
    found, place = np.unique(keys, axis=0, return_inverse=True)
    if len(found) > MOST_PATTERNS:
        return None
    probe = _tail(network)
    table = [
        [_loss(probe, problem, np.insert(2 * key[:-1] - 1, unit, on), key[-1:]) for on in (-1, 1)] for key in found
    ]
    costs: Integers = np.array(table, dtype=np.int64)[place.ravel()] * data.multiplicity[:, None]
    return costs


def _tail(network: IntegerNetwork) -> IntegerNetwork:
    """Return the network behind a first layer that reads its activations, as 1 and -1."""
    shape, n = network.architecture, network.architecture.hidden[0]
    reader = Dense(n, n, IntegerDomain.ternary(), None, shape.layers[0].activation)
    return IntegerNetwork(
        Architecture((reader, *shape.layers[1:])),
        (np.eye(n, dtype=np.int64), *network.weights[1:]),
        (np.zeros(n, dtype=np.int64), *network.biases[1:]),
    )


def _loss(probe: IntegerNetwork, problem: Problem, activations: Integers, label: Integers) -> int:
    sample = Dataset(activations[None], label, problem.dataset.classes, np.ones(1, dtype=np.int64))
    value = problem.loss.value(probe, sample)
    return FORBIDDEN if value is None else value
