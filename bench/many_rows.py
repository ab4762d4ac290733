"""One neuron with the logistic loss on all rows of Adult (32,561) and of credit card default (30,000).

What a node of branch and bound costs is passes over the rows. Goal: Adult within 0.8 % in a minute on two cores.
Nothing is tested.

    provenn bench many_rows --data DIR --threads 2 --seconds 60
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from provenn.benchmark import Case, Rows, Split, Task
from provenn.network import IntegerDomain

from ._data import ADULT, SCALE, grid, some_adult

CREDIT = "credit_default/default_of_credit_card_clients.csv.gz"


def adult(data: Path, seed: int) -> Split:
    """Return all training rows of Adult, one-hot but for six columns."""
    return replace(some_adult(data, None, seed), test=None)


def credit(data: Path, seed: int) -> Split:
    """Return all rows of credit card default, 23 inputs, most of them numbers."""
    frame = pd.read_csv(data / CREDIT, sep=";", header=None).to_numpy(dtype=float)
    return Split(Rows(grid(frame[:, :-1]), frame[:, -1].astype(np.int64)), None, scale=SCALE)


def tasks(data: Path | None) -> Iterator[Task]:
    """Ternary weights, and larger ones on the dense data."""
    yield Task("adult P=1", partial(adult, data))
    for P in (1, 3, 15):
        yield Task(f"credit default P={P}", partial(credit, data), weights=IntegerDomain.symmetric(P))


CASE = Case(tasks, ("provenn",), seconds=60, seeds=1, needs=(*ADULT, CREDIT), short=(5, 1))
