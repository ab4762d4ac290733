"""Search for problems with perturbations: annealing for one hidden layer, descent for all others."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from provenn.formulations import Problem
from provenn.formulations.robust import Robust
from provenn.formulations.sparsity import Sparsity
from provenn.losses._worst_case import WorstCase
from provenn.losses.logistic import Logistic
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.search._worst_case_search import Perturbed, Run, obstacle, search
from provenn.search.descent import descend

EVALUATIONS = 10**9


def goal_of(problem: Problem) -> Perturbed | None:
    """Return a problem as the annealing takes it, or None where it does not apply.

    It knows one radius and norm, for the worst case of a loss, for constant activations, or for both, and the price of
    non-zero weights.
    """
    loss = problem.loss.loss if isinstance(problem.loss, WorstCase) else problem.loss
    balls = [(problem.loss.radius, problem.loss.norm)] if isinstance(problem.loss, WorstCase) else []
    changed, nonzero, hard = 0.0, 0.0, False
    for constraint in problem.constraints:
        price = 0.0 if constraint.price_unit is None else float(constraint.price_unit / problem.loss_unit)
        if isinstance(constraint, Robust):
            balls.append((constraint.radius, constraint.norm))
            changed, hard = changed + price, hard or constraint.price is None
        elif isinstance(constraint, Sparsity) and constraint.max_nonzeros is None and constraint.fan_in is None:
            nonzero += price
        else:
            return None
    if len(set(balls)) != 1 or obstacle(problem.architecture, problem.dataset, loss, balls[0][0]) is not None:
        return None
    worst = isinstance(problem.loss, WorstCase)
    return Perturbed(problem.dataset, loss, *balls[0], worst, changed, nonzero, hard)


@cache
def compile_kernels() -> None:
    """Compile or load the kernels, so that the clock of a search does not count it."""
    data = Dataset.merge([[0], [1]], [0, 1])
    start = IntegerNetwork.constant(Architecture.build(1, 2, (1,)), 1)
    Run(start, Perturbed(data, Logistic(), (1,), "inf"), 0).round(start, 10, 1.0, 0, lambda: False)


@dataclass
class _Best:
    problem: Problem
    network: IntegerNetwork
    value: int | None
    tell: Callable[[IntegerNetwork], object]

    def offer(self, network: IntegerNetwork) -> int | None:
        """Keep a network that is exactly better, and tell of it; return its value."""
        value = self.problem.value(network)
        if value is not None and (self.value is None or value < self.value):
            self.network, self.value = network, value
            self.tell(network)
        return value


def improve(
    problem: Problem,
    network: IntegerNetwork,
    seconds: float,
    seed: int = 0,
    stopped: Callable[[], bool] = lambda: False,
    offer: Callable[[IntegerNetwork], object] = lambda network: None,
) -> IntegerNetwork:
    """Return the best network that a search finds, never worse than the given one.

    Parameters
    ----------
    problem : Problem
        With the worst case of a loss, or with `Robust`; any other is minimised by descent.
    network : IntegerNetwork
        Where to begin; descent needs it to be feasible.
    seconds : float
    seed : int
    stopped : callable
        True ends the search.
    offer : callable
        Called with every network that is exactly better.

    Examples
    --------
    >>> from provenn.losses.max_correct import MaxCorrect
    >>> from provenn.network import Architecture, Dataset, IntegerDomain
    >>> data = Dataset.merge([[0, 0], [0, 9], [9, 0], [9, 9]], [0, 1, 1, 0], scale=9)
    >>> shape = Architecture.build(2, 2, (2,), IntegerDomain.symmetric(3))
    >>> xor = Problem(shape, data, WorstCase(MaxCorrect(), (1, 1)))
    >>> start = IntegerNetwork.constant(xor.architecture, 1, 9)
    >>> seen = []
    >>> found = improve(xor, start, 60, stopped=lambda: 0 in seen, offer=lambda net: seen.append(xor.value(net)))
    >>> xor.value(found)
    0
    """
    goal, best = goal_of(problem), _Best(problem, network, problem.value(network), offer)
    if goal is not None:
        compile_kernels()
    until = time.monotonic() + seconds

    def done() -> bool:
        return time.monotonic() >= until or stopped()

    if goal is not None:
        search(network, goal, seed, done, best.offer)
    elif best.value is not None:
        descend(network, problem.value, np.random.default_rng(seed), EVALUATIONS, done, best.offer)
    return best.network
