"""How far proofs get: one neuron with the logistic loss, and networks with hidden units, on heart and Adult.

Goals: heart P = 5 and Adult 800 P = 1 closed in 60 s on two cores, Adult full P = 1 within 1 % in 10 minutes; every
max_correct task here closed in 60 s; hidden units with logistic loss, heart 60 and 100 rows, within 1 % in 60 s.
Rows are random by seed; nothing is tested.

    provenn bench proofs --data DIR --tasks "heart 303" --seconds 60 --seeds 1
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from provenn.benchmark import Case, Rows, Split, Task
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.network import IntegerDomain

from ._data import ADULT, HEART, grid, heart, some_adult, some_heart


def breast_cancer(seed: int) -> Split:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    return Split(Rows(grid(data.data), data.target.astype(np.int64)), None, scale=10_000)


def halves(data: Path, n: int, seed: int) -> Split:
    """Return heart with every column cut at its median: above it or not."""
    rows = heart(data)
    binary = Rows((np.median(rows.X, axis=0) < rows.X).astype(np.int8), rows.y)
    return Split(binary.take(np.random.default_rng(seed).permutation(len(rows.y))[:n]), None)


def train_only(split: Split) -> Split:
    return Split(split.train, None, split.n_classes, split.scale)


def on_heart(data: Path, n: int, seed: int) -> Split:
    return train_only(some_heart(data, n, seed))


def on_adult(data: Path, n: int | None, seed: int) -> Split:
    return train_only(some_adult(data, n, seed))


def tasks(data: Path | None) -> Iterator[Task]:
    yield Task("breast cancer P=1", breast_cancer)
    for n, bounds in {217: (1, 3, 5), 303: (1, 3, 5)}.items():
        for bound in bounds:
            yield Task(f"heart {n} P={bound}", partial(on_heart, data, n), weights=IntegerDomain.symmetric(bound))
    yield Task("adult 280 P=1 tau=2", partial(on_adult, data, 280), Logistic(2.0))
    yield Task("adult 280 P=1", partial(on_adult, data, 280))
    yield Task("adult 800 P=1", partial(on_adult, data, 800))
    yield Task("adult full P=1", partial(on_adult, data, None))
    for n in (140, 217):
        yield Task(f"halved heart {n} max_correct", partial(halves, data, n), MaxCorrect())
    for n in (40, 60, 80, 100):
        for units in (1, 2, 4):
            load = partial(on_heart, data, n)
            yield Task(f"heart {n} [{units}] max_correct", load, MaxCorrect(), (units,))
            yield Task(f"heart {n} [{units}] logistic", load, Logistic(1.0 if n == 40 else 2.0), (units,))


CASE = Case(tasks, ("provenn",), seconds=60, seeds=1, needs=(*HEART, *ADULT), short=(10, 1))
