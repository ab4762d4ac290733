"""Default of credit card clients, 30,000 rows: two step units by data splitting.

Published: arXiv 2110.11382 trains such networks with continuous weights on these data. Half of the rows train, a
quarter chooses (or trains too, where a method holds nothing out), a quarter tests. The note of a run says how many
activation binaries the last model had, against one for each row and unit.

    provenn bench credit_default --data DIR --seconds 60

As a script it draws loss and binaries over the rounds of one run:

    python bench/credit_default.py DIR FIGURE.png
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from provenn.benchmark import Case, Job, Method, Outcome, Rows, Split, Task
from provenn.formulations import Problem
from provenn.losses.max_correct import MaxCorrect
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerDomain
from provenn.network.quantize import Grid
from provenn.trainers.early_stopping import EarlyStopping
from provenn.trainers.splitting import Splitting, SplittingResult

FILE = "credit_default/default_of_credit_card_clients.csv.gz"
SCALE, UNITS = 10_000, 2
DOMAINS = {
    "continuous": (IntegerDomain.continuous(1.0), IntegerDomain.continuous(30.0)),
    "P=3": (IntegerDomain.symmetric(3), IntegerDomain.symmetric(3)),
    "ternary": (IntegerDomain.ternary(), IntegerDomain.ternary()),
}
MINIBATCH = Splitting(max_parts=30, batch_size=60, seconds_per_round=2)


@cache
def _rows(data: Path) -> Rows:
    frame = pd.read_csv(data / FILE, sep=";", header=None).to_numpy(dtype=float)
    return Rows(Grid(SCALE).fit_transform(frame[:, :-1]), frame[:, -1].astype(np.int64))


def _split(data: Path, seed: int) -> Split:
    """Return three quarters to train and choose on, and the last quarter as test rows."""
    rows = _rows(data)
    order = np.random.default_rng(seed).permutation(len(rows.y))
    cut = 3 * len(order) // 4
    return Split(rows.take(order[:cut]), rows.take(order[cut:]), scale=SCALE)


def _problem(split: Split, kind: str) -> Problem:
    weights, bias = DOMAINS[kind]
    data = Dataset.merge(split.train.X, split.train.y, scale=SCALE, classes=(0, 1))
    shape = Architecture.build(data.n_features, 2, (UNITS,), weights, bias, activation="step")
    return Problem(shape, data, MaxCorrect())


def tasks(data: Path | None) -> Iterator[Task]:
    for kind in DOMAINS:
        yield Task(f"[{UNITS}] {kind}", partial(_split, data), MaxCorrect(), problem=partial(_problem, kind=kind))


def _train(job: Job, trainer: Splitting, held_out: bool) -> Outcome:
    """Train on all rows, or on two thirds and choose on the others."""
    if not held_out:
        return Outcome.of_training(trainer.train(job.problem, job.limits, None, job.on_progress))
    data = job.problem.dataset
    outside = np.random.default_rng(job.limits.seed).permutation(data.n_samples) % 3 == 0
    result = EarlyStopping(trainer, tuple(outside.tolist())).train(job.problem, job.limits, None, None)
    rows = data.subset(outside)
    if result.network is None:
        return Outcome.of_training(result)
    right = rows.multiplicity[result.network.predict(rows.X) == rows.y].sum()
    return Outcome.of_training(result, validation=100 * float(right) / rows.total)


OWN = (
    Method("splitting", partial(_train, trainer=Splitting(), held_out=False), "data splitting, all rows in each round"),
    Method("minibatches", partial(_train, trainer=MINIBATCH, held_out=False), "data splitting with 60 rows a round"),
    Method("stopped", partial(_train, trainer=MINIBATCH, held_out=True), "the same, chosen on a third of the rows"),
)
CASE = Case(
    tasks, ("minibatches", "splitting", "stopped", "logistic"), seconds=60, seeds=2, needs=(FILE,), own_methods=OWN,
    reference="minibatches", short=(20, 1),
)  # fmt: skip


def draw(result: SplittingResult, out: Path) -> None:
    """Draw loss and activation binaries over the rounds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    number = np.arange(1, len(result.rounds) + 1)
    figure, left = plt.subplots(figsize=(6, 3), layout="constrained")
    left.step(number, [one.loss for one in result.rounds], where="post", color="tab:blue")
    left.set_xlabel("round")
    left.set_ylabel("wrong training rows", color="tab:blue")
    left.xaxis.get_major_locator().set_params(integer=True)
    right = left.twinx()
    right.plot(number, [one.binaries for one in result.rounds], ".-", color="tab:orange")
    right.set_ylim(bottom=0)
    right.set_ylabel("activation binaries", color="tab:orange")
    figure.savefig(out, dpi=110)


def main(data: Path, out: Path, seconds: float = 60.0) -> None:
    """Train with continuous weights and draw."""
    result = replace(MINIBATCH).train(_problem(_split(data, 0), "continuous"), Limits(seconds=seconds))
    print(result.message)
    draw(result, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
