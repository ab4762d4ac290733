"""How the loss and flat minima decide what search alone learns: MNIST with 16 units, 100 and 2,000 images.

The same annealing under every loss, with and without noise on the hidden pre-activations. Temperatures are fixed: 4 for
cross_entropy and logistic, the deviation of a score of 16 signs.

    provenn bench losses --data DIR --seconds 10 --seeds 3
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from provenn.benchmark import Case, Task
from provenn.losses.cross_entropy import CrossEntropy
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_hinge import MinHinge
from provenn.losses.sat_margin import SatMargin

from ._data import MNIST, some_mnist

LOSSES = (CrossEntropy(4.0), Logistic(4.0), MinHinge(), SatMargin(), MaxCorrect())


def tasks(data: Path | None) -> Iterator[Task]:
    for n in (100, 2000):
        for loss in LOSSES:
            yield Task(f"{n} {type(loss).__name__}", partial(some_mnist, data, n // 10), loss, hidden=(16,))


CASE = Case(
    tasks, ("search", "search_noisy"), seconds=10, seeds=3, needs=MNIST, reference="search", short=(10, 1),
)  # fmt: skip
