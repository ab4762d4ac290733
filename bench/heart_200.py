"""Heart disease, 200 rows, the other 103 for testing: one ternary neuron, and the published network [21, 16, 2].

Published: arXiv 2009.03825, P = 1: max_correct 81.4 % (251 s), sat_margin 79.2 %, min_hinge 77.0 % (36,000 s),
gradient 79.2 % (86 s). One neuron is tuned by cross-validation on the training rows, as logistic regression is.

    provenn bench heart_200 --data DIR --tasks neuron --seconds 20 --seeds 30
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from provenn.benchmark import Case, Task
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_hinge import MinHinge
from provenn.losses.sat_margin import SatMargin
from provenn.network import IntegerDomain

from ._data import HEART, some_heart


def tasks(data: Path | None) -> Iterator[Task]:
    load = partial(some_heart, data, 200)
    yield Task("one neuron P=1", load, published={"MIP": 81.4})
    yield Task("one neuron P=3", load, weights=IntegerDomain.symmetric(3), published={"MIP": 81.4})
    yield Task("[16] max_correct P=1", load, MaxCorrect("published"), (16,), outputs=2, published={"MIP": 81.4})
    yield Task("[16] sat_margin P=1", load, SatMargin(), (16,), outputs=2, published={"MIP": 79.2})
    yield Task("[16] min_hinge P=1", load, MinHinge(), (16,), outputs=2, published={"MIP": 77.0})


CASE = Case(
    tasks, ("provenn", "provenn_chosen", "ste_stopped", "logistic", "logistic_free", "logistic_cv"),
    seconds=10, seeds=30, needs=HEART, reference="provenn_chosen", short=(5, 2),
)  # fmt: skip
