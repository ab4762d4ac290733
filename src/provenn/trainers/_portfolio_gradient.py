"""Gradient training as a worker of a portfolio: good networks for many samples and many units."""

import math
from dataclasses import dataclass

import numpy as np

from provenn.errors import CapabilityError, MissingDependencyError
from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.network import IntegerNetwork
from provenn.search.straight_through import available, train
from provenn.status import Status
from provenn.trainers._base import Proof, Record
from provenn.trainers._portfolio_turns import Turn

FEWEST_SAMPLES = 1000
SHORTEST, FIRST, SHARE = 1.0, 4.0, 0.1
STREAM = 1_000_003


def wanted(problem: Problem, choice: bool | None) -> bool:
    """Whether a problem gets this worker.

    Parameters
    ----------
    problem : Problem
    choice : bool or None
        None: where PyTorch is installed, there are hidden layers, and samples enough to learn from.

    Raises
    ------
    MissingDependencyError
        When it is asked for and PyTorch is not installed.
    CapabilityError
        When it is asked for with continuous weights.
    """
    if choice and not available():
        raise MissingDependencyError("gradient=True needs PyTorch: pip install torch, or leave gradient out")
    if choice and problem.architecture.continuous:
        raise CapabilityError("gradient=True does not apply to continuous weights: leave gradient out")
    shape = problem.architecture
    fits = bool(shape.hidden) and problem.dataset.total >= FEWEST_SAMPLES and not problem.loss.hard
    fits = fits and not shape.continuous
    return (fits and available()) if choice is None else choice


@dataclass(frozen=True)
class GradientWorker:
    """Train in rounds of doubling length, from random latent weights and from the best network in turn.

    Parameters
    ----------
    record : Record
    limits : Limits
        Under a limit on nodes there is one round of a fixed number of steps.
    """

    record: Record
    limits: Limits

    def work(self, turn: Turn) -> Proof:
        """Train until the turn is stopped or too little time is left for a round."""
        if self.limits.nodes is not None:
            if self.limits.nodes > 0 and not turn.stopped():
                self._round(0, None, turn)
            return Proof(Status.NODE_LIMIT)
        number, seconds = 0, min(FIRST, SHARE * self.limits.seconds)
        while not turn.stopped() and (left := self.record.remaining(self.limits).seconds) > SHORTEST:
            self._round(number, max(SHORTEST, min(seconds, left)), turn)
            number, seconds = number + 1, 2 * seconds
        return Proof(Status.TIME_LIMIT)

    def _round(self, number: int, seconds: float | None, turn: Turn) -> None:
        problem = self.record.problem

        def value(network: IntegerNetwork) -> float:
            found = problem.value(network)
            return math.inf if found is None else float(found)

        start = self.record.network if number % 2 else None
        rng = np.random.default_rng([self.limits.seed, STREAM, number])
        train(
            start, problem.architecture, problem.dataset, rng,
            seconds=seconds, stopped=turn.stopped, on_better=self.record.offer, value=value,
        )  # fmt: skip
