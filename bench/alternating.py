"""Breast cancer with two step units and continuous weights: alternation, coordinate search, and the exact MILP.

As in Kurtz & Bah, arXiv 2110.11382: random halves for training, a quarter for validation, which methods without
choices leave alone, a quarter for testing; weights in [-1, 1]. Columns are min-max scaled over the training rows
and rounded to four decimals. All methods get the same time.

    provenn bench alternating --seconds 15 --seeds 3
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer

from provenn.benchmark import Case, Rows, Split, Task
from provenn.benchmark.task import Job, Method, Outcome
from provenn.formulations import Problem
from provenn.losses import Loss
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.network import Architecture, Dataset, IntegerDomain
from provenn.network.quantize import Grid
from provenn.search.coordinate_search import compile_kernels, improve, start_network
from provenn.solvers import Solver
from provenn.trainers._base import Record
from provenn.trainers.alternating import Alternating
from provenn.trainers.exact import Exact


def halves(seed: int) -> Split:
    X, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(y))
    train, test = order[: len(y) // 2], order[-(len(y) // 4) :]
    grid = Grid().fit(X[train])
    return Split(Rows(grid.transform(X[train]), y[train]), Rows(grid.transform(X[test]), y[test]), scale=grid.steps)


def task(name: str, loss: Loss, units: int) -> Task:
    def problem(split: Split) -> Problem:
        data = Dataset.merge(split.train.X, split.train.y, scale=split.scale)
        box = IntegerDomain.continuous(1.0)
        return Problem(Architecture.build(data.n_features, 2, (units,), box, activation="step"), data, loss)

    return Task(name, halves, loss, (units,), IntegerDomain.continuous(1.0), problem=problem)


def tasks(data: Path | None) -> Iterator[Task]:
    yield task("[2] max_correct", MaxCorrect(), 2)
    yield task("[2] logistic", Logistic(), 2)


def alternate(job: Job) -> Outcome:
    return Outcome.of_training(Alternating().train(job.problem, job.limits, None, job.on_progress))


def solve(job: Job) -> Outcome:
    return Outcome.of_training(Exact(Solver.create("highs")).train(job.problem, job.limits, None, job.on_progress))


def search(job: Job) -> Outcome:
    record, rng = Record(job.problem, job.on_progress), np.random.default_rng(job.limits.seed)
    record.begin(None)
    improve(job.problem, start_network(job.problem, rng), rng, seconds=job.limits.seconds, offer=record.offer)
    return Outcome(network=record.network, stopped="time_limit")


CASE = Case(
    tasks, ("alternating", "coordinates", "exact_highs"), seconds=15, seeds=3, reference="alternating", short=(5, 1),
    own_methods=(
        Method("alternating", alternate, "alternation of the first layer and the others", compile_kernels),
        Method("coordinates", search, "coordinate search alone", compile_kernels),
        Method("exact_highs", solve, "our exact model on HiGHS, from a constant network"),
    ),
)  # fmt: skip
