"""MNIST with 100, 2,000 and 10,000 images: no hidden layer, [16] and [128], ternary weights, binary pixels.

Published: 100 images, [784, 16, 10]: MIP 51.1 % in 1,852 s (arXiv 2009.03825), local search 55.4 % in 60 s (Bruhn
2024); no hidden layer: min_hinge 73.9 % in 60 s; 2,000 images, local search, 300 s: [16] 76.0 %, [128] 82.2 %. Images
are balanced and random by seed, out of the first 10,000 training images; test rows are the 10,000 test images.

    provenn bench mnist --data DIR --tasks "100 " --seconds 20 --seeds 3
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from provenn.benchmark import Case, Task
from provenn.losses.logistic import Logistic
from provenn.losses.min_hinge import MinHinge

from ._data import MNIST, some_mnist

PUBLISHED = {
    (100, 0): {"min_hinge": 73.9},
    (100, 16): {"MIP": 51.1, "local search": 55.4},
    (2000, 16): {"local search": 76.0},
    (2000, 128): {"local search": 82.2},
}
TEMPERATURES = {0: 4.0, 16: 2.0, 128: 6.0}


def tasks(data: Path | None) -> Iterator[Task]:
    yield Task("100 min_hinge", partial(some_mnist, data, 10), MinHinge(), published=PUBLISHED[100, 0])
    for n in (100, 2000, 10_000):
        for units in (0, 16, 128):
            yield Task(
                name=f"{n} [{units or ''}]",
                load=partial(some_mnist, data, n // 10),
                loss=Logistic(TEMPERATURES[units]),
                hidden=(units,) if units else (),
                published=PUBLISHED.get((n, units), {}),
            )


CASE = Case(
    tasks, ("provenn", "provenn_chosen", "search", "ste", "logistic", "mlp"), seconds=30, seeds=5, needs=MNIST,
    short=(12, 1),
)  # fmt: skip
