"""One layer with temperature and sparsity price chosen by cross-validation on the training rows."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from provenn.benchmark.task import Job, Outcome
from provenn.errors import CapabilityError
from provenn.formulations import Problem
from provenn.formulations.sparsity import Sparsity
from provenn.losses.logistic import Logistic
from provenn.milp import Limits
from provenn.network import Dataset, IntegerNetwork
from provenn.trainers import TrainResult
from provenn.trainers.convex import Convex

TEMPERATURES = (0.5, 1.0, 2.0, 4.0)
PRICES = (0.0, 0.25, 1.0)
FOLDS = 5
SHARE = 0.7
"""Part of the time that goes to cross-validation; the rest trains on all rows."""


@dataclass(frozen=True)
class _Score:
    """Mean log-loss and accuracy on held-out rows."""

    loss: float
    accuracy: float


def train_tuned(job: Job) -> Outcome:
    """Choose by the log-loss of held-out rows, at the temperature that trained, then train on all rows."""
    problem = job.problem
    if problem.architecture.hidden or problem.constraints or not isinstance(problem.loss, Logistic):
        raise CapabilityError("tuning is for networks without hidden layers, with the logistic loss")
    folds = min(FOLDS, int(np.bincount(job.rows.y).min()))
    if folds < 2:
        raise CapabilityError("cross-validation needs two samples of every class")
    splitter = StratifiedKFold(folds, shuffle=True, random_state=job.limits.seed)
    parts = list(splitter.split(job.rows.X, job.rows.y))
    grid = list(product(TEMPERATURES, PRICES))
    share = SHARE * job.limits.seconds / (len(grid) * len(parts))
    scores = {choice: _cross_validate(job, parts, choice, share) for choice in grid}
    best = min(grid, key=lambda choice: scores[choice].loss)
    result = _fit(job, np.arange(len(job.rows.y)), best, (1 - SHARE) * job.limits.seconds)
    note = f"temperature {best[0]:g}, price of a weight {best[1]:g}"
    return Outcome(network=result.network, validation=100 * scores[best].accuracy, stopped="tuned", note=note)


def _fit(job: Job, rows: NDArray[np.int64], choice: tuple[float, float], seconds: float) -> TrainResult:
    temperature, price = choice
    chosen, split = job.rows.take(rows), job.split
    data = Dataset.merge(chosen.X, chosen.y, scale=split.scale, classes=tuple(range(split.n_classes)))
    constraints = (Sparsity(price),) if price else ()
    problem = Problem(job.problem.architecture, data, Logistic(temperature), constraints)
    return Convex().train(problem, Limits(seconds, threads=job.limits.threads, seed=job.limits.seed))


def _cross_validate(
    job: Job, parts: list[tuple[NDArray[np.int64], NDArray[np.int64]]], choice: tuple[float, float], seconds: float
) -> _Score:
    losses, right = [], []
    for inside, outside in parts:
        network = _fit(job, inside, choice, seconds).network
        assert network is not None
        held_out = job.rows.take(outside)
        losses.append(_log_losses(network, held_out.X, held_out.y, choice[0]))
        right.append(network.predict(held_out.X) == held_out.y)
    return _Score(float(np.concatenate(losses).mean()), float(np.concatenate(right).mean()))


def _log_losses(
    network: IntegerNetwork, X: NDArray[np.int64], y: NDArray[np.int64], temperature: float
) -> NDArray[np.float64]:
    """Return the summed logistic losses of all outputs, shape (n,)."""
    z = network.scores(X) / (network.scale * temperature)
    wanted = y[:, None] == (np.arange(z.shape[1]) if z.shape[1] > 1 else 1)
    return np.asarray(np.logaddexp(0, np.where(wanted, -z, z)).sum(axis=1))
