"""Toy training problems, small enough to enumerate every network."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from provenn import registry
from provenn.errors import InputError
from provenn.formulations import Problem, SideConstraint
from provenn.formulations.feature_signs import FeatureSigns
from provenn.formulations.neuron_count import NeuronCount
from provenn.formulations.sparsity import Sparsity
from provenn.losses import Loss, SeparableLoss
from provenn.losses._base import output_bound
from provenn.losses.hamming import Hamming
from provenn.losses.logistic import LogisticCurve
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.max_margin import MaxMargin
from provenn.losses.min_weight import MinWeight
from provenn.losses.sat_margin import SatMargin
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


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


def with_steps(rng: np.random.Generator, shape: Architecture, share: float) -> Architecture:
    """Give each hidden layer a step activation with some probability."""
    hidden = (replace(layer, activation="step") if rng.random() < share else layer for layer in shape.layers[:-1])
    return Architecture((*hidden, shape.layers[-1]))


def random_problem(
    rng: np.random.Generator,
    loss: Loss,
    hidden: tuple[int, ...],
    domain: IntegerDomain,
    n: int = 6,
    d: int = 3,
    steps: float = 0.0,
) -> Problem | None:
    """Draw a problem that has the given parts, or None where they do not fit together.

    `steps` is the probability of a step activation in each hidden layer.
    """
    n_classes = int(rng.integers(2, 4))
    outputs = n_classes if rng.random() < 0.5 else None
    bias = domain if rng.random() < 0.7 else None
    shape = Architecture.build(d, n_classes, hidden, domain, bias, outputs)
    shape = with_steps(rng, shape, steps) if steps else shape
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


def random_losses(rng: np.random.Generator, n: int) -> Callable[[Integers], Integers]:
    """Draw the losses of n samples for scores of shape (n, scores) or (scores,), of one of four kinds."""
    t, kind = rng.choice([-1, 1], n), int(rng.integers(4))
    curve, noise = LogisticCurve(float(rng.choice([0.5, 1.0, 3.0]))), rng.integers(0, 1000, (n, 41))

    def losses(scores: Integers) -> Integers:
        z = t[:, None] * scores
        if kind == 0:
            return curve.exact(z)
        if kind == 1:
            return ((scores >= 0) != (t[:, None] > 0)).astype(np.int64)
        return np.maximum(0, 2 - z) ** 2 if kind == 2 else noise[:, (scores + 20) % 41]

    return losses


def odd_domains() -> list[IntegerDomain]:
    """Return those of `domains`, and wider, uneven and one-sided ones."""
    more = [(-2, 2, 1), (-3, 3, 2), (-1, 2, 1), (0, 2, 1), (-2, 0, 1), (1, 2, 1), (0, 1, 1)]
    return domains() + [IntegerDomain(*values) for values in more]


def odd_dataset(rng: np.random.Generator, n: int, d: int, n_classes: int) -> Dataset:
    """Draw samples with weights, equal samples of other classes, constant and equal features, negative entries."""
    scale = int(rng.choice([1, 1, 3, 10, 1000, 10_000]))
    X = rng.integers(-scale if rng.random() < 0.3 else 0, scale + 1, (n, d))
    if rng.random() < 0.3:
        X[rng.integers(n, size=n // 2)] = X[rng.integers(n, size=n // 2)]
    if rng.random() < 0.2:
        X[:, rng.integers(d)] = rng.integers(-1, scale + 1)
    if rng.random() < 0.2:
        X[:, rng.integers(d)] = X[:, rng.integers(d)] * rng.choice([-1, 1])
    y = rng.integers(0, n_classes, n)
    if rng.random() < 0.5:
        y = np.digitize(X @ rng.normal(size=d), np.sort(rng.normal(size=n_classes - 1)) * scale)
    y[rng.random(n) < rng.choice([0, 0.1])] = 0
    weights = rng.integers(0, int(rng.choice([2, 4, 1000])), n)
    weights[0] = 1
    return Dataset.merge(X, y, weights if rng.random() < 0.5 else None, scale, tuple(range(n_classes)))


def odd_problem(
    rng: np.random.Generator, loss: Loss, hidden: tuple[int, ...], n: int, d: int, most: int
) -> Problem | None:
    """Draw a problem from all options together, steps among them.

    None where they do not fit or leave more than `most` networks.
    """
    domain = odd_domains()[rng.integers(len(odd_domains()))]
    n_classes = int(rng.choice([2, 2, 3]))
    biases = [domain, domain, None, IntegerDomain(0, 0), IntegerDomain(-3, 3)]
    outputs = n_classes if rng.random() < 0.3 else None
    shape = Architecture.build(d, n_classes, hidden, domain, biases[rng.integers(len(biases))], outputs)
    shape = with_steps(rng, shape, 0.5)
    if _count(shape) > most:
        return None
    constraints: list[SideConstraint] = []
    if rng.random() < 0.3:
        price = float(rng.choice([0, 0.25, 0.3, 1.5]))
        limits = [None if rng.random() < 0.6 else int(rng.integers(0, 6)) for _ in range(2)]
        constraints.append(Sparsity(price, *limits))
    if hidden and rng.random() < 0.2:
        constraints.append(NeuronCount(float(rng.choice([0.125, 2]))))
    if not hidden and rng.random() < 0.2:
        constraints.append(FeatureSigns(tuple(int(sign) for sign in rng.integers(-1, 2, d))))
    try:
        return Problem(shape, odd_dataset(rng, n, d, n_classes), loss, tuple(constraints))
    except InputError:
        return None


def choices(problem: Problem) -> list[tuple[int, ...]]:
    """Return the values of every parameter, in the order of `unflatten`."""
    found: list[tuple[int, ...]] = []
    for number, layer in enumerate(problem.architecture.layers):
        for i in range(layer.n_in):
            dead = number == 0 and layer.weights.has_zero and not problem.dataset.live[i]
            found += [(0,) if dead else tuple(layer.weights.values.tolist())] * layer.n_out
        found += [tuple(layer.bias.values.tolist()) if layer.bias is not None else (0,)] * layer.n_out
    return found


def all_networks(problem: Problem) -> Iterator[IntegerNetwork]:
    """Enumerate every network of a problem; weights of constant features are 0 where the domain has 0."""
    for values in itertools.product(*choices(problem)):
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
    return _count(problem.architecture)


def _count(shape: Architecture) -> int:
    count = 1
    for layer in shape.layers:
        count *= len(layer.weights) ** (layer.n_in * layer.n_out)
        count *= len(layer.bias) ** layer.n_out if layer.bias is not None else 1
    return count


def best_value(problem: Problem) -> int | None:
    """Return the smallest exact objective of all networks, or None when none is feasible."""
    values = (problem.value(network) for network in all_networks(problem))
    return min((v for v in values if v is not None), default=None)


def optimum(problem: Problem, chunk: int = 2**14) -> int | None:
    """Return what `best_value` returns, by arrays that hold many networks at once; for the losses of `losses`."""
    options, best = [np.array(values) for values in choices(problem)], None
    sizes = tuple(map(len, options))
    for first in range(0, prod(sizes), chunk):
        digits = np.unravel_index(np.arange(first, min(first + chunk, prod(sizes))), sizes)
        drawn = np.column_stack([values[digit] for values, digit in zip(options, digits, strict=True)])
        values, feasible = Batch.of(problem, drawn).values()
        if feasible.any():
            least = int(values[feasible].min())
            best = least if best is None else min(best, least)
    return best


@dataclass(frozen=True)
class Batch:
    """K networks of a problem with their pre-activations; written apart from the losses that it values.

    Parameters
    ----------
    problem : Problem
    weights : list of ndarray of shape (K, n_in, n_out), int64
    biases : list of ndarray of shape (K, n_out), int64
    layers : list of ndarray of shape (K, n, n_out), int64
        Pre-activations, the first in grid units.
    """

    problem: Problem
    weights: list[Integers]
    biases: list[Integers]
    layers: list[Integers]

    @classmethod
    def of(cls, problem: Problem, drawn: Integers) -> "Batch":
        """Cut vectors, shape (K, parameters), into networks as `unflatten` does, and run them."""
        weights, biases, layers, at = [], [], [], 0
        h, unit = problem.dataset.X[None], problem.dataset.scale
        for layer in problem.architecture.layers:
            count = layer.n_in * layer.n_out
            weights.append(drawn[:, at : at + count].reshape(-1, layer.n_in, layer.n_out))
            biases.append(drawn[:, at + count : at + count + layer.n_out])
            layers.append(h @ weights[-1] + unit * biases[-1][:, None])
            h, unit, at = np.where(layers[-1] >= 0, 1, layer.lowest), 1, at + count + layer.n_out
        return cls(problem, weights, biases, layers)

    def values(self) -> tuple[Integers, Mask]:
        """Return the objective of every network in units, and which ones are feasible, both of shape (K,)."""
        problem = self.problem
        values, feasible = self._loss()
        values = values * int(problem.loss_unit / problem.unit)
        for constraint in problem.constraints:
            count, admitted = self._constraint(constraint)
            feasible = feasible & admitted
            if constraint.price_unit is not None:
                values = values + int(constraint.price_unit / problem.unit) * count
        return values, feasible

    def _loss(self) -> tuple[Integers, Mask]:
        loss, data, shape = self.problem.loss, self.problem.dataset, self.problem.architecture
        scores, t = self.layers[-1], data.targets(shape.n_outputs)
        every = np.ones(len(scores), dtype=np.bool_)
        match loss:
            case SeparableLoss():
                return loss.curve(shape, data).exact(t * scores).sum(axis=2) @ data.multiplicity, every
            case MaxCorrect(rule="published") if shape.n_outputs > 1:
                fires = scores >= 0
                return ~fires[:, np.arange(data.n_samples), data.y] @ data.multiplicity, (fires.sum(2) == 1).all(1)
            case MaxCorrect():
                guess = scores.argmax(axis=2) if shape.n_outputs > 1 else scores[:, :, 0] >= 0
                return (guess != data.y) @ data.multiplicity, every
            case SatMargin():
                return (4 * t * scores < self._bounds(loss)[:, None, None]).sum(axis=2) @ data.multiplicity, every
            case Hamming():
                bits = t > 0 if loss.codes is None else np.array(loss.codes)[data.y] > 0
                return ((scores >= 0) != bits).sum(axis=2) @ data.multiplicity, every
            case MinWeight():
                counted = [*self.weights, *(self.biases if loss.count_biases else [])]
                values = _nonzeros(counted)
            case MaxMargin():
                values = -self._margins()
            case _:
                raise InputError(f"no brute force knows the loss {loss}")
        return values, self._all_good()

    def _all_good(self) -> Mask:
        t = self.problem.dataset.targets(self.problem.architecture.n_outputs)
        return np.asarray(((self.layers[-1] >= 0) == (t > 0)).all(axis=(1, 2)))

    def _margins(self) -> Integers:
        """Sum over all units of the least distance from the sign's change, in grid units."""
        scale = self.problem.dataset.scale
        scaled = [a if i == 0 else a * scale for i, a in enumerate(self.layers)]
        return np.asarray(sum(np.maximum(a, -a - 1).min(axis=1).sum(axis=1) for a in scaled))

    def _bounds(self, loss: SatMargin) -> Integers:
        """Return B of every network."""
        shape = self.problem.architecture
        most = np.full(len(self.layers[-1]), output_bound(shape, self.problem.dataset))
        if loss.kept_only:
            most -= (shape.hidden[-1] - self._kept()[-1]) * shape.layers[-1].weights.bound
        return most

    def _kept(self) -> list[Integers]:
        """Count the units of every hidden layer with any parameter but 0, in the last at least the fewest."""
        counts = [
            ((W != 0).any(axis=1) | (b != 0) | (after != 0).any(axis=2)).sum(axis=1)
            for W, b, after in zip(self.weights, self.biases, self.weights[1:], strict=False)
        ]
        shape = self.problem.architecture
        return [*counts[:-1], np.maximum(counts[-1], min(shape.n_outputs, shape.hidden[-1]))]

    def _constraint(self, constraint: SideConstraint) -> tuple[Integers, Mask]:
        """Return how many price units every network costs, and whether it is admitted."""
        every = np.ones(len(self.layers[-1]), dtype=np.bool_)
        match constraint:
            case Sparsity():
                count = _nonzeros(self.weights)
                fan_in = np.max([(W != 0).sum(axis=1).max(axis=1) for W in self.weights], axis=0)
                admitted = every if constraint.max_nonzeros is None else count <= constraint.max_nonzeros
                return count, admitted if constraint.fan_in is None else admitted & (fan_in <= constraint.fan_in)
            case NeuronCount():
                return np.sum(self._kept(), axis=0), every
            case FeatureSigns(signs=signs):
                return np.zeros(len(every), np.int64), (self.weights[0][:, :, 0] * np.array(signs) >= 0).all(axis=1)
        raise InputError(f"no brute force knows the constraint {constraint}")


def _nonzeros(parts: list[Integers]) -> Integers:
    return np.asarray(sum((part != 0).reshape(len(part), -1).sum(axis=1) for part in parts))


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
