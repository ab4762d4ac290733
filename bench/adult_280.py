"""Adult, 280 rows, [108, 16, 2], weights -P..P: the published losses and their objectives.

Published: arXiv 2009.03825, the authors' result files, 5 seeds, Gurobi, up to 36,000 s a run; their runs stop at
the first network with less than 10 % error, so the objectives are upper bounds, not optima. Rows are random by
seed; test rows are the official test file (16,281 rows).

    provenn bench adult_280 --data DIR --seconds 20 --seeds 3
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from provenn.benchmark import Case, Task
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_hinge import MinHinge
from provenn.losses.sat_margin import SatMargin
from provenn.network import IntegerDomain

from ._data import ADULT, some_adult

LOSSES = {"max_correct": MaxCorrect("published"), "sat_margin": SatMargin(), "min_hinge": MinHinge()}
BOUNDS = (1, 3, 7, 15)
ACCURACY = {
    "max_correct": (75.8, 76.6, 76.9, 75.1),
    "sat_margin": (79.6, 81.2, 80.5, 80.1),
    "min_hinge": (79.7, 79.7, 79.7, 79.9),
    "gradient": (78.8, 79.8, 80.0, 78.2),
}
OBJECTIVE = {
    "max_correct": (22.2, 23.6, 5.2, 5.6),
    "sat_margin": (56.4, 28.0, 28.0, 26.8),
    "min_hinge": (10.6, 11.1, 7.6, 38.6),
}


def tasks(data: Path | None) -> Iterator[Task]:
    for name, loss in LOSSES.items():
        for i, bound in enumerate(BOUNDS):
            yield Task(
                name=f"{name} P={bound}",
                load=partial(some_adult, data, 280),
                loss=loss,
                hidden=(16,),
                weights=IntegerDomain.symmetric(bound),
                outputs=2,
                target=OBJECTIVE[name][i],
                published={"MIP": ACCURACY[name][i], "gradient": ACCURACY["gradient"][i]},
            )


CASE = Case(
    tasks, ("provenn", "search", "ste", "ste_stopped", "logistic"), seconds=60, seeds=5, needs=ADULT, short=(8, 1)
)
