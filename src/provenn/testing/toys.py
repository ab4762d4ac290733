"""Toy training problems, small enough to enumerate every network."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from provenn import registry
from provenn.formulations import Problem, SideConstraint
from provenn.formulations.neuron_count import NeuronCount
from provenn.formulations.sparsity import Sparsity
from provenn.losses import Loss
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_weight import MinWeight
from provenn.losses.sat_margin import SatMargin
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork


def losses() -> list[Loss]:
    """Every registered loss that has a MILP with its default options, and the options that change its model."""
    registered = [registry.load("provenn.losses", name)() for name in registry.names("provenn.losses")]
    return [loss for loss in registered if loss.has_milp] + [
        MaxCorrect(rule="published"),
        MinWeight(count_biases=False),
        SatMargin(kept_only=True),
    ]


def domains() -> list[IntegerDomain]:
    """Binary, ternary and 2-bit-plus domains."""
    return [IntegerDomain.binary(), IntegerDomain.ternary(), IntegerDomain.symmetric(3)]


def random_dataset(
    rng: np.random.Generator, n: int, d: int, n_classes: int, scale: int, separable: bool = False
) -> Dataset:
    """Draw samples on a grid with every class present; separable labels come from a random neuron."""
    X = rng.integers(0, scale + 1, (n, d))
    y = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n - n_classes)])
    if separable and n_classes == 2:
        order = X @ rng.choice([-1, 1], d)
        y = (order > np.median(order)).astype(np.int64)
        y[order.argmax()], y[order.argmin()] = 1, 0
    return Dataset.merge(X, y, scale=scale, classes=tuple(range(n_classes)))


def random_problem(
    rng: np.random.Generator, loss: Loss, hidden: tuple[int, ...], domain: IntegerDomain, n: int = 6, d: int = 3
) -> Problem | None:
    """Draw a problem that has the given parts, or None where they do not fit together."""
    n_classes = int(rng.integers(2, 4))
    outputs = n_classes if rng.random() < 0.5 else None
    bias = domain if rng.random() < 0.7 else None
    shape = Architecture.build(d, n_classes, hidden, domain, bias, outputs)
    data = random_dataset(rng, n, d, n_classes, int(rng.choice([1, 3, 10, 1000])), separable=bool(rng.random() < 0.5))
    constraints: list[SideConstraint] = []
    if domain.has_zero and rng.random() < 0.5:
        constraints.append(Sparsity(0.25, int(rng.integers(1, 6)) if rng.random() < 0.5 else None))
    if domain.has_zero and hidden and rng.random() < 0.5:
        constraints.append(NeuronCount(0.125))
    try:
        return Problem(shape, data, loss, tuple(constraints))
    except ValueError:
        return None


def all_networks(problem: Problem) -> Iterator[IntegerNetwork]:
    """Enumerate every network of a problem; weights of constant features are 0 where the domain has 0."""
    layers = problem.architecture.layers
    choices: list[tuple[int, ...]] = []
    for number, layer in enumerate(layers):
        for i in range(layer.n_in):
            dead = number == 0 and layer.weights.has_zero and not problem.dataset.live[i]
            choices += [(0,) if dead else tuple(layer.weights.values.tolist())] * layer.n_out
        choices += [tuple(layer.bias.values.tolist()) if layer.bias is not None else (0,)] * layer.n_out
    for values in itertools.product(*choices):
        yield unflatten(problem, np.array(values, dtype=np.int64))


def unflatten(problem: Problem, values: np.ndarray) -> IntegerNetwork:
    """Cut a flat vector (weights row by row, then biases, layer by layer) into a network."""
    weights, biases, at = [], [], 0
    for layer in problem.architecture.layers:
        count = layer.n_in * layer.n_out
        weights.append(values[at : at + count].reshape(layer.n_in, layer.n_out))
        biases.append(values[at + count : at + count + layer.n_out])
        at += count + layer.n_out
    return IntegerNetwork(problem.architecture, tuple(weights), tuple(biases), problem.dataset.scale)


def count_networks(problem: Problem) -> int:
    """Count the networks that `all_networks` yields, at most."""
    count = 1
    for layer in problem.architecture.layers:
        count *= len(layer.weights) ** (layer.n_in * layer.n_out)
        count *= len(layer.bias) ** layer.n_out if layer.bias is not None else 1
    return count


def best_value(problem: Problem) -> int | None:
    """Return the smallest exact objective of all networks, or None when none is feasible."""
    values = (problem.value(network) for network in all_networks(problem))
    return min((v for v in values if v is not None), default=None)


def random_network(rng: np.random.Generator, problem: Problem) -> IntegerNetwork:
    """Draw a network of a problem, sparse or dense, without weights on constant features."""
    network = IntegerNetwork.random(problem.architecture, rng, problem.dataset.scale)
    weights = list(network.weights)
    for i, layer in enumerate(problem.architecture.layers):
        if layer.weights.has_zero and rng.random() < 0.5:
            weights[i] = np.where(rng.random(weights[i].shape) < 0.6, 0, weights[i])
    if problem.architecture.layers[0].weights.has_zero:
        weights[0] = np.where(problem.dataset.live[:, None], weights[0], 0)
    return replace(network, weights=tuple(weights))
