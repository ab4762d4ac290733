"""One integer neuron on 280 and 800 rows of Adult, against logistic regression with real weights.

Published, with 16 hidden units: arXiv 2009.03825, 280 rows: 81.2 % in 13,236 s (P = 3); local search (Bruhn 2024),
800 rows: 82.4 % in 60 s. Temperature and sparsity are chosen by cross-validation on the training rows; test rows are
the official test file.

    provenn bench one_neuron --data DIR --seconds 20 --seeds 20
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from provenn.benchmark import Case, Task
from provenn.network import IntegerDomain

from ._data import ADULT, some_adult

PUBLISHED = {280: {"MIP": 81.2}, 800: {"local search": 82.4}}


def tasks(data: Path | None) -> Iterator[Task]:
    for n, published in PUBLISHED.items():
        for bound in (1, 3, 7):
            load = partial(some_adult, data, n)
            yield Task(f"Adult {n} P={bound}", load, weights=IntegerDomain.symmetric(bound), published=published)


CASE = Case(
    tasks, ("provenn", "provenn_chosen", "logistic", "logistic_cv"), seconds=20, seeds=20, needs=ADULT,
    reference="provenn_chosen", short=(10, 2),
)  # fmt: skip
