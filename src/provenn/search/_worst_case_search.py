"""Annealing for losses under perturbations, networks with one hidden layer."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from provenn.losses import Loss
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.network.intervals import NORMS
from provenn.network.network import INT64_SAFE
from provenn.search._score_losses import GUIDE, score_loss_of
from provenn.search._score_losses import obstacle as loss_obstacle
from provenn.search._worst_case_kernels import anneal

FIRST_STEPS = 2_000
STEPS = 40_000
LARGEST_SCORE = 2**30
HOTTEST = (1.0, 0.1, 0.3)
COLD = 0.01
GUIDES = (GUIDE, 0.01)
FRESH = 3
LONGEST = 50


@dataclass(frozen=True)
class Perturbed:
    """What is minimised: a loss at worst or plain scores, and prices.

    Parameters
    ----------
    dataset : Dataset
    loss : Loss
        One that `score_loss_of` knows.
    radius : tuple of int
    norm : {"inf", "1", "2"}
    worst : bool
        Whether the loss is that of the worst scores in the ball.
    changed : float
        Price of a sample whose first activations may change in the ball.
    nonzero : float
        Price of a non-zero weight, in units of the loss as all prices.
    hard : bool
        Activations that may change are forbidden: their price grows from round to round.
    """

    dataset: Dataset
    loss: Loss
    radius: tuple[int, ...]
    norm: str
    worst: bool = True
    changed: float = 0.0
    nonzero: float = 0.0
    hard: bool = False


def obstacle(architecture: Architecture, dataset: Dataset, loss: Loss, radius: tuple[int, ...]) -> str | None:
    """Say why the search does not apply, or None when it does."""
    if len(architecture.hidden) != 1:
        return "the network has another number of hidden layers than one"
    low, high = architecture.bounds(1, dataset.X, dataset.scale)
    if max(-int(low.min()), int(high.max())) >= LARGEST_SCORE:
        return "scores are beyond 2^30"
    bound = architecture.layers[0].weights.bound
    if sum((int(R) * bound) ** 2 for R in radius) >= INT64_SAFE:
        return "the radius is too large for int64"
    return loss_obstacle(architecture, dataset, loss)


def search(
    start: IntegerNetwork,
    goal: Perturbed,
    seed: int,
    stopped: Callable[[], bool],
    offer: Callable[[IntegerNetwork], int | None],
) -> None:
    """Anneal in rounds, from the best network and from new ones, and offer the best of every round.

    Parameters
    ----------
    start : IntegerNetwork
    goal : Perturbed
    seed : int
    stopped : callable
        Asked after every compiled call, a fraction of a second each.
    offer : callable
        Evaluates a network exactly: its value, or None where it breaks a hard condition.
    """
    rng, run = np.random.default_rng(seed), Run(start, goal, seed)
    best, best_value, rounds, steps = start, offer(start), 0, STEPS
    while not stopped():
        fresh = rounds % FRESH == FRESH - 1
        begin = _random(start, goal.dataset, rng) if fresh else best
        found = run.round(begin, steps, HOTTEST[rounds % len(HOTTEST)], rounds, stopped)[1]
        value = offer(found)
        if best_value is None or (value is not None and value <= best_value):
            best, best_value = found, value
        rounds += 1
        steps = int(min(steps * 1.3, LONGEST * STEPS))


class Run:
    """The arrays of a search."""

    def __init__(self, start: IntegerNetwork, goal: Perturbed, seed: int) -> None:
        self.goal, self.shape = goal, start.architecture
        data = goal.dataset
        first, last = self.shape.layers
        self.XT = np.ascontiguousarray(np.column_stack([data.X, np.full(data.n_samples, data.scale)]).T)
        self.targets = data.targets(self.shape.n_outputs)
        empty = (0, 0, 1)
        domains = [first.weights, first.bias, last.weights, last.bias]
        self.domains = np.array([empty if D is None else (D.low, D.high, D.step) for D in domains], dtype=np.int64)
        dead = ~data.live if first.weights.has_zero else np.zeros(data.n_features, dtype=np.bool_)
        self.fixed = np.append(dead, first.bias is None)
        self.losses = [score_loss_of(goal.loss, self.shape, data, guide) for guide in GUIDES]
        self.random = np.array([np.uint64(seed)], dtype=np.uint64)
        self.radius = np.array(goal.radius, dtype=np.int64)

    def round(
        self, begin: IntegerNetwork, steps: int, hot: float, number: int, stopped: Callable[[], bool]
    ) -> tuple[float, IntegerNetwork]:
        """Anneal once; return the energy and the best network."""
        first = np.ascontiguousarray(np.vstack([begin.weights[0], begin.biases[0]]).T)
        second = np.ascontiguousarray(np.vstack([begin.weights[1], begin.biases[1]]))
        _, _, _, effect = self._call(first.copy(), second.copy(), FIRST_STEPS, 0.0, 0.0, number)
        if stopped():
            return np.inf, begin
        energy, first, second, _ = self._call(first, second, steps, hot * effect, COLD * hot * effect, number)
        weights, biases = [first[:, :-1].T, second[:-1]], [first[:, -1], second[-1]]
        return energy, IntegerNetwork.of(self.shape, weights, biases, begin.scale)

    def _call(
        self, first: np.ndarray, second: np.ndarray, steps: int, hot: float, cold: float, number: int
    ) -> tuple[float, np.ndarray, np.ndarray, float]:
        goal, data, loss = self.goal, self.goal.dataset, self.losses[number % len(GUIDES)]
        best_first, best_second = first.copy(), second.copy()
        scale = float(np.abs(loss.table).max()) * 4.0 ** min(number, 8) / 16.0
        changed = scale if goal.hard else goal.changed
        prices = np.array([changed, goal.nonzero, 100.0 * scale * data.n_samples])
        energy, effect = anneal(
            self.XT, data.multiplicity.astype(np.float64), data.y, self.targets, first, second,
            self.domains, self.fixed, self.radius, NORMS.index(goal.norm), goal.worst, prices,
            self.shape.layers[0].lowest, self.shape.margin(0, data.scale), loss.rule, loss.table,
            self.random, steps, hot, cold, best_first, best_second,
        )  # fmt: skip
        return energy, best_first, best_second, effect


def _random(start: IntegerNetwork, data: Dataset, rng: np.random.Generator) -> IntegerNetwork:
    """Draw a network without weights on features that are constant in training."""
    network = IntegerNetwork.random(start.architecture, rng, start.scale)
    if not start.architecture.layers[0].weights.has_zero:
        return network
    first = np.where(data.live[:, None], network.weights[0], 0)
    return IntegerNetwork(network.architecture, (first, *network.weights[1:]), network.biases, network.scale)
