"""Adult, all 32,561 rows, [108, 16, 2], P = 15, and one neuron.

Published: batch training (arXiv 2009.03825) 83.8 % in 18,900 s; local search (Bruhn 2024) 83.9 % in 90 s. Test rows
are the official test file.

    provenn bench adult_full --data DIR --seconds 90
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from provenn.benchmark import Case, Task
from provenn.losses.logistic import Logistic
from provenn.losses.sat_margin import SatMargin
from provenn.network import IntegerDomain

from ._data import ADULT, some_adult

PUBLISHED = {"batches": 83.8, "local search": 83.9}


def tasks(data: Path | None) -> Iterator[Task]:
    load = partial(some_adult, data, None)
    wide = IntegerDomain.symmetric(15)
    yield Task("[16] sat_margin", load, SatMargin(), (16,), wide, outputs=2, published=PUBLISHED)
    yield Task("[16] logistic", load, Logistic(60.0), (16,), wide, published=PUBLISHED)
    yield Task("one neuron P=15", load, Logistic(4.0), (), wide, published=PUBLISHED)


CASE = Case(tasks, ("provenn", "ste", "ste_stopped", "logistic"), seconds=90, seeds=3, needs=ADULT, short=(40, 1))
