"""Adult, 800 rows, [108, 16, 2], P = 15: a price on hidden neurons.

Published: arXiv 2009.03825, 10 hours a run: without price 78.1 % (16 neurons), alpha = 0.01 77.9 % (2.2 neurons),
alpha = 0.1 78.8 % (5.2 neurons); local search (Bruhn 2024), 60 s: 82.4 %. Rows are random by seed; test rows are the
official test file.

    provenn bench adult_800 --data DIR --seconds 60
"""

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

from provenn.benchmark import Case, Task
from provenn.formulations.neuron_count import NeuronCount
from provenn.losses.sat_margin import SatMargin
from provenn.network import IntegerDomain

from ._data import ADULT, some_adult

PUBLISHED = {"0": 78.1, "1/100": 77.9, "1/10": 78.8}


def tasks(data: Path | None) -> Iterator[Task]:
    for price, accuracy in PUBLISHED.items():
        priced = price != "0"
        yield Task(
            name=f"neuron price {price}",
            load=partial(some_adult, data, 800),
            loss=SatMargin(kept_only=priced),
            hidden=(16,),
            weights=IntegerDomain.symmetric(15),
            outputs=2,
            constraints=(NeuronCount(Fraction(price)),) if priced else (),
            published={"MIP": accuracy, "local search": 82.4},
        )


CASE = Case(tasks, ("provenn", "ste", "ste_stopped", "logistic"), seconds=60, seeds=5, needs=ADULT, short=(20, 1))
