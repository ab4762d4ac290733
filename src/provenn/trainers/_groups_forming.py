"""Which samples form a group: neighbours in feature space, as many as a search cannot get all right."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenn.formulations import Problem
from provenn.network import IntegerNetwork
from provenn.trainers._groups_parts import part_of
from provenn.trainers._portfolio_primal import improve

Integers = NDArray[np.int64]
SMALLEST, GROWTH, LEAST = 12, 1.4, 2
SWEEPS, STARTS = 150, 4


@dataclass(frozen=True)
class Searched:
    """Samples, the best network that a search found for them, and its loss there; None without a feasible one."""

    rows: Integers
    network: IntegerNetwork | None
    value: int | None


def search(problem: Problem, rows: Integers, start: IntegerNetwork, rng: np.random.Generator) -> Searched:
    """Look for a network that is good on some of the samples; ends early at the least value of the loss.

    Nothing is searched from a start that breaks a hard condition there.
    """
    part = part_of(problem, rows)
    best: list[tuple[int, IntegerNetwork]] = []

    def hear(network: IntegerNetwork) -> None:
        value = part.value(network)
        if value is not None and (not best or value < best[0][0]):
            best[:] = [(value, network)]

    def enough() -> bool:
        return bool(best) and part.floor is not None and best[0][0] <= part.floor

    hear(start)
    work = SWEEPS * sum(layer.n_out for layer in problem.architecture.layers)
    for turn in range(STARTS):
        if best and not enough():
            improve(part, best[0][1], rng, work, enough, hear, turn)
    return Searched(rows, best[0][1], best[0][0]) if best else Searched(rows, None, None)


def distances(problem: Problem, rows: Integers, seed: int) -> NDArray[np.float64]:
    """Return how far samples are from one of them: features scaled to 0..1, absolute differences summed."""
    X = problem.dataset.X
    span = np.maximum(X.max(axis=0) - X.min(axis=0), 1)
    return np.asarray(np.abs((X[rows] - X[seed]) / span).sum(axis=1))


def form(
    problem: Problem, start: IntegerNetwork, rng: np.random.Generator, stopped: Callable[[], bool]
) -> list[Searched]:
    """Cut the samples into groups of neighbours.

    A group begins with a sample that the given network gets wrong, while there are any, and takes
    its nearest free neighbours, more and more until a search leaves a loss of `LEAST` units: groups
    on which the loss can be 0 are worth no proof. Neighbours of different classes collide sooner
    than random samples do.

    Parameters
    ----------
    problem : Problem
    start : IntegerNetwork
        The best known network.
    rng : Generator
    stopped : callable
        True leaves the remaining samples in one group.

    Returns
    -------
    list of Searched
        Disjoint, together all samples.
    """
    data = problem.dataset
    free = np.ones(data.n_samples, dtype=np.bool_)
    wrong = start.predict(data.X) != data.y
    groups: list[Searched] = []
    size = float(SMALLEST)
    while free.any():
        seeds = np.flatnonzero(free & wrong) if (free & wrong).any() else np.flatnonzero(free)
        group = _grow(problem, int(rng.choice(seeds)), np.flatnonzero(free), size, start, rng, stopped)
        free[group.rows] = False
        groups.append(group)
        size = max(SMALLEST, len(group.rows) / GROWTH)
    return groups


def _grow(
    problem: Problem,
    seed: int,
    free: Integers,
    size: float,
    start: IntegerNetwork,
    rng: np.random.Generator,
    stopped: Callable[[], bool],
) -> Searched:
    """Return the nearest free neighbours of a sample; too few left over belong to it, too."""
    order = free[np.argsort(distances(problem, free, seed), kind="stable")]
    while True:
        count = len(order) if stopped() or len(order) < size + SMALLEST else int(size)
        found = search(problem, np.sort(order[:count]), start, rng)
        if count == len(order) or found.value is None or found.value >= LEAST:
            return found
        size *= GROWTH
