"""Straight-through training alone: the network that gradients find, with its exact loss and no bound."""

from dataclasses import dataclass, replace

import numpy as np

from provenn.errors import CapabilityError
from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.network import IntegerNetwork
from provenn.search._gradient_passes import load_torch
from provenn.search.straight_through import DEFAULT, GradientOptions, available, train
from provenn.status import Status
from provenn.trainers._base import OnProgress, Record, Trainer, TrainResult

__all__ = ["Gradient", "load_torch"]

SHORTEST = 0.01


@dataclass(frozen=True)
class Gradient(Trainer):
    """Train by gradients for the whole time; keep the network with the smallest cross entropy.

    Cross entropy at the temperature of the gradients, with inputs dropped at random, is not the
    loss of the problem: the network often predicts new data better than one that search has
    polished on that loss, which the certificate reports.

    Parameters
    ----------
    options : GradientOptions
    """

    options: GradientOptions = DEFAULT

    @staticmethod
    def obstacle(problem: Problem) -> str | None:
        """Say why gradients do not apply to a problem, or None when they do."""
        if problem.loss.hard or problem.constraints:
            return "gradients know no hard losses and no side constraints"
        if problem.architecture.continuous:
            return "the weights are continuous, and the latent weights are rounded to integers"
        return None if available() else "PyTorch is not installed (pip install 'provenn[torch]')"

    def train(
        self,
        problem: Problem,
        limits: Limits,
        start: IntegerNetwork | None = None,
        on_progress: OnProgress | None = None,
    ) -> TrainResult:
        """Return the network of the smallest cross entropy, see `Trainer.train`.

        Under a limit on nodes the work is fixed and the result repeats.
        """
        reason = self.obstacle(problem)
        if reason is not None:
            raise CapabilityError(f"gradient training does not apply: {reason}; choose solver='portfolio'")
        record, heard = Record(problem, on_progress), [start] if start is not None else []

        def hear(network: IntegerNetwork) -> None:
            heard.append(network)
            record.offer(network)

        status = Status.TIME_LIMIT if limits.nodes is None else Status.NODE_LIMIT
        try:
            network = train(
                start,
                problem.architecture,
                problem.dataset,
                np.random.default_rng(limits.seed),
                self.options,
                seconds=max(limits.seconds, SHORTEST) if limits.nodes is None else None,
                on_better=hear,
                threads=limits.threads,
            )
        except KeyboardInterrupt:
            if not heard:
                return record.finish(Status.INTERRUPTED, None)
            network, status = heard[-1], Status.INTERRUPTED
        final = Record(problem, began=record.began)
        final.offer(network)
        return replace(final.finish(status, None), history=tuple(record.history))
