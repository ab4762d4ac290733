"""Networks with step activations: exact, alternating and splitting against logistic regression and ReLU networks.

The protocol of Kurtz & Bah (arXiv 2110.11382): half of the rows to train, a quarter to choose, a quarter to test, ten
random splits. Every method trains on the same half and uses the second quarter only to choose between what it found
(our trainers: among their networks; the others: penalty and initialisation). Features are min-max scaled.

    provenn bench binary_activation --data DIR --seconds 60 --seeds 10
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from provenn.benchmark import Case, Job, Method, Outcome, Rows, Split, Task
from provenn.formulations import Problem
from provenn.losses.max_correct import MaxCorrect
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.search.coordinate_search import compile_kernels as compile_coordinates
from provenn.solvers import Solver
from provenn.trainers import Progress, Trainer
from provenn.trainers._portfolio_primal import compile_search
from provenn.trainers.agreement import compile_kernels as compile_agreement
from provenn.trainers.alternating import Alternating
from provenn.trainers.convex import compile_kernels as compile_convex
from provenn.trainers.exact import Exact
from provenn.trainers.hull import compile_kernels as compile_hull
from provenn.trainers.portfolio import Portfolio
from provenn.trainers.splitting import Splitting

from ._data import SCALE, grid, mnist

SHARE_OF_TRAINING = 2 / 3
BOX = IntegerDomain.continuous(1.0)
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
DECAYS = (1e-4, 1e-2, 1.0)


@cache
def rows(data: Path, name: str) -> Rows:
    """Return all rows of a data set on the grid."""
    if name in ("breast_cancer", "digits", "iris"):
        from sklearn import datasets

        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    elif name == "mnist":
        images, _ = mnist(data)
        return Rows(images.X[:2000].astype(np.int64), images.y[:2000])
    else:
        table = pd.read_csv(data / FILES[name], sep=";", header=None).dropna().to_numpy(dtype=float)
        X, y = table[:, :-1], table[:, -1].astype(np.int64)
    return Rows(grid(np.asarray(X, dtype=float)), np.asarray(y, dtype=np.int64))


FILES = {
    "wisconsin": "breast_cancer_wisconsin/bdnn-breast-cancer-wisconsin.csv",
    "credit_default": "credit_default/default_of_credit_card_clients.csv.gz",
    "uniform_10": "bdnn_uniform/Uniform_N10_m1000_0.csv.gz",
    "uniform_100": "bdnn_uniform/Uniform_N100_m200_0.csv.gz",
}
HIDDEN = {
    "breast_cancer": (2,), "wisconsin": (2,), "iris": (3,), "digits": (16,), "mnist": (16,),
    "uniform_10": (4,), "uniform_100": (2,), "credit_default": (2,),
}  # fmt: skip


def load(data: Path, name: str, seed: int) -> Split:
    """Return three quarters of the rows, of which the last third is for choosing, and a quarter to test."""
    everything = rows(data, name)
    order = np.random.default_rng(seed).permutation(len(everything.y))
    cut = round(0.75 * len(order))
    scale = 1 if name == "mnist" else SCALE
    return Split(everything.take(order[:cut]), everything.take(order[cut:]), int(everything.y.max()) + 1, scale)


def halves(split: Split) -> tuple[Rows, Rows]:
    """Return the rows to train on and the rows to choose by."""
    cut = round(SHARE_OF_TRAINING * len(split.train.y))
    everything = np.arange(len(split.train.y))
    return split.train.take(everything[:cut]), split.train.take(everything[cut:])


def problem(split: Split, hidden: tuple[int, ...], weights: IntegerDomain = BOX) -> Problem:
    """Return the problem of the training half: step units, fewest errors."""
    train, classes = halves(split)[0], tuple(range(split.n_classes))
    dataset = Dataset.merge(train.X, train.y, scale=split.scale, classes=classes)
    reach = IntegerDomain.continuous(min(127.0, float(dataset.n_features))) if weights.continuous_box else weights
    shape = Architecture.build(
        dataset.n_features, split.n_classes, hidden, weights, reach, activation="step"
    )  # fmt: skip
    return Problem(shape, dataset, MaxCorrect())


def tasks(data: Path | None) -> Iterator[Task]:
    for name, hidden in HIDDEN.items():
        yield Task(
            f"{name} {list(hidden)}", partial(load, data, name), hidden=hidden,
            problem=partial(problem, hidden=hidden), details=name,
        )  # fmt: skip


def accuracy(network: IntegerNetwork, at: Rows) -> float:
    return float(np.mean(network.predict(at.X) == at.y))


def chosen(job: Job, trainer: Trainer, on: Problem | None = None) -> Outcome:
    """Train on the half, and return the network that is best on the second quarter, later ones on ties."""
    valid = halves(job.split)[1]
    found: list[tuple[float, float, IntegerNetwork]] = []

    def judge(progress: Progress) -> None:
        job.on_progress(progress)
        if progress.network is not None and (not found or found[-1][2] is not progress.network):
            found.append((accuracy(progress.network, valid), progress.seconds, progress.network))

    result = trainer.train(on or job.problem, job.limits, None, judge)
    outcome = Outcome.of_training(result)
    if not found:
        return outcome
    best = max(found, key=lambda entry: entry[:2])
    same = result.network is best[2]
    return Outcome(
        network=best[2], bound=outcome.bound, optimal=outcome.optimal and same, proved_by=outcome.proved_by,
        stopped=outcome.stopped, validation=100 * best[0], note=outcome.note,
    )  # fmt: skip


def best_of(
    job: Job, fit: Callable[[NDArray[np.float64], NDArray[np.int64], float], object], grid_: tuple[float, ...]
) -> Outcome:
    """Fit a model of scikit-learn for every setting and return the one that is best on the second quarter."""
    train, valid = halves(job.split)
    scale = job.split.scale
    models = [fit(train.X / scale, train.y, value) for value in grid_]
    scores = [float(np.mean(model.predict(valid.X / scale) == valid.y)) for model in models]  # type: ignore[attr-defined]
    model = models[int(np.argmax(scores))]
    return Outcome(
        predict=lambda X: model.predict(X / scale), validation=100 * max(scores), stopped="converged"  # type: ignore[attr-defined]
    )  # fmt: skip


def logistic(job: Job) -> Outcome:
    from sklearn.linear_model import LogisticRegression

    return best_of(job, lambda X, y, C: LogisticRegression(C=C, max_iter=5000).fit(X, y), PENALTIES)


def relu(job: Job) -> Outcome:
    from sklearn.neural_network import MLPClassifier

    hidden, seed = job.task.hidden, job.limits.seed
    return best_of(
        job, lambda X, y, decay: MLPClassifier(hidden, alpha=decay, max_iter=2000, random_state=seed).fit(X, y), DECAYS
    )


def ternary(job: Job) -> Outcome:
    return chosen(job, Portfolio(), problem(job.split, job.task.hidden, IntegerDomain.ternary()))


def compile_all() -> None:
    """Compile or load all kernels before the clock runs."""
    for ready in (compile_search, compile_coordinates, compile_convex, compile_agreement, compile_hull):
        ready()


OWN = (
    Method(
        "exact",
        lambda job: chosen(job, Exact(Solver.create("highs"))),
        "step units, continuous weights, HiGHS",
        compile_all,
    ),
    Method("alternating", lambda job: chosen(job, Alternating()), "the same network by alternation", compile_all),
    Method(
        "splitting", lambda job: chosen(job, Splitting()), "the same network by iterative data splitting", compile_all
    ),
    Method("ternary", ternary, "step units, ternary weights, the portfolio", compile_all),
    Method("logistic_half", logistic, "logistic regression, penalty chosen", needs_problem=False),
    Method("relu_half", relu, "ReLU network of the same shape, decay chosen", needs_problem=False),
)
CASE = Case(
    tasks, ("exact", "alternating", "splitting", "ternary", "logistic_half", "relu_half"), seconds=60, seeds=10,
    needs=(*FILES.values(), "mnist/train-first10000-images-idx3-ubyte.gz"), own_methods=OWN, reference="splitting",
    short=(10, 1),
)  # fmt: skip
