"""Straight-through training as an opponent: on all training rows, or stopped early on held-out ones."""

import numpy as np
from numpy.typing import NDArray

from provenn.benchmark.task import Job, Outcome, Rows
from provenn.errors import CapabilityError
from provenn.network import Dataset, IntegerNetwork
from provenn.search import straight_through
from provenn.trainers._base import Record

HELD_OUT = 0.2


def train_straight_through(job: Job, early_stopping: bool) -> Outcome:
    """Train by the straight-through estimator with cross-entropy, for the time of the run.

    Parameters
    ----------
    job : Job
    early_stopping : bool
        Hold a fifth of the training rows out of every class, and return the network with the
        lowest cross-entropy on them; else that with the lowest on all training rows.
    """
    problem, record = job.problem, Record(job.problem, job.on_progress)
    rng = np.random.default_rng(job.limits.seed)
    inside, outside = _parts(job, rng) if early_stopping else (problem.dataset, None)
    temperature = straight_through.default_temperature(problem.architecture, problem.dataset)

    def held_out_loss(network: IntegerNetwork) -> float:
        assert outside is not None
        return cross_entropy(network.scores(outside.X), outside.y, temperature * _unit(network))

    network = straight_through.train(
        None,
        problem.architecture,
        inside,
        rng,
        seconds=job.limits.seconds,
        on_better=record.offer,
        value=held_out_loss if early_stopping else None,
        threads=job.limits.threads,
    )
    validation = None if outside is None else 100.0 * float(np.mean(network.predict(outside.X) == outside.y))
    return Outcome(network=network, validation=validation, stopped="trained")


def _unit(network: IntegerNetwork) -> int:
    """Return 1 in units of the scores."""
    return 1 if network.architecture.hidden else network.scale


def _parts(job: Job, rng: np.random.Generator) -> tuple[Dataset, Rows]:
    """Split the training rows, class by class; every class with two rows keeps one inside."""
    y = job.rows.y
    members = [rng.permutation(np.flatnonzero(y == c)) for c in range(job.split.n_classes)]
    outside = np.concatenate([m[: min(round(HELD_OUT * len(m)), len(m) - 1)] if len(m) else m for m in members])
    if not len(outside):
        raise CapabilityError("early stopping needs three rows of a class, so that one can be held out")
    inside = job.rows.take(np.setdiff1d(np.arange(len(y)), outside))
    classes = tuple(range(job.split.n_classes))
    return Dataset.merge(inside.X, inside.y, scale=job.split.scale, classes=classes), job.rows.take(outside)


def cross_entropy(scores: NDArray[np.int64], y: NDArray[np.int64], temperature: float) -> float:
    """Return the mean cross-entropy of ``scores / temperature``; one output s stands for the scores 0 and s.

    Examples
    --------
    >>> round(cross_entropy(np.array([[0], [0]]), np.array([0, 1]), 1.0), 6)
    0.693147
    """
    z = scores / temperature
    if z.shape[1] == 1:
        z = np.column_stack([np.zeros(len(z)), z])
    return float(np.mean(np.logaddexp.reduce(z, axis=1) - z[np.arange(len(y)), y]))
