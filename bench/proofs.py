"""How far proofs get: one neuron and small networks on heart, Adult, breast cancer, digits, iris and wine.

Goals: heart P = 5 and Adult 800 P = 1 closed in 60 s on two cores, Adult full P = 1 within 1 % in 10 minutes; heart
with one hidden unit and max_correct, and one neuron on halved heart, closed in 60 s; hidden units with logistic loss,
heart 60 and 100 rows, within 1 % in 60 s. The other tasks are the next sizes. Rows are random by seed; nothing is
tested. Opponents are the plain big-M models, in the same run (`--methods provenn,bigm_cpsat,bigm_highs,bigm_scip`).
"gap closed" is the share of what there was to prove that a bound proves, from the bound that takes no work up to the
best loss of all methods; "time / provenn" is a lower bound (>) where the opponent found no proof.

    provenn bench proofs --data DIR --tasks "heart 303" --threads 2 --seeds 1
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from provenn.benchmark import Case, Rows, Split, Task
from provenn.formulations.sparsity import Sparsity
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.network import IntegerDomain

from ._data import ADULT, HEART, SCALE, grid, heart, some_adult, some_heart

OUTPUTS = {"iris": 3, "wine": 3}


def heart_rows(data: Path, n: int, seed: int) -> Split:
    """Return n random rows of heart disease, none to test on."""
    return replace(some_heart(data, n, seed), test=None)


def adult_rows(data: Path, n: int | None, seed: int) -> Split:
    """Return n random training rows of Adult (all for None), none to test on."""
    return replace(some_adult(data, n, seed), test=None)


def breast_cancer(seed: int) -> Split:
    """Return all 569 rows of scikit-learn's breast cancer, 30 inputs."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    return Split(Rows(grid(data.data), data.target.astype(np.int64)), None, scale=SCALE)


def halves(data: Path, n: int, seed: int) -> Split:
    """Return heart with every column cut at its median: above it or not."""
    rows = heart(data)
    binary = Rows((np.median(rows.X, axis=0) < rows.X).astype(np.int8), rows.y)
    return Split(binary.take(np.random.default_rng(seed).permutation(len(rows.y))[:n]), None)


def bundled(name: str, seed: int) -> Split:
    """Return a data set of scikit-learn; digits have 17 levels, the others the fine grid."""
    from sklearn import datasets

    data = getattr(datasets, f"load_{name}")()
    if name == "digits":
        return Split(Rows(data.data.astype(np.int64), data.target), None, n_classes=10, scale=16)
    return Split(Rows(grid(data.data), data.target), None, OUTPUTS[name], scale=SCALE)


def thermometer(seed: int) -> Split:
    """Return iris with two thermometer bits a column: above its lower and its upper third."""
    from sklearn.datasets import load_iris

    data = load_iris()
    bits = [data.data > np.quantile(data.data, share, axis=0) for share in (1 / 3, 2 / 3)]
    return Split(Rows(np.concatenate(bits, axis=1).astype(np.int8), data.target), None, n_classes=3)


def without_hidden(data: Path | None) -> Iterator[Task]:
    """One neuron, or one for each class, with the logistic loss."""
    for n in (217, 303):
        for P in (1, 3, 5, 15):
            yield Task(f"heart {n} P={P}", partial(heart_rows, data, n), weights=IntegerDomain.symmetric(P))
    yield Task("adult 280 P=1 tau=2", partial(adult_rows, data, 280), Logistic(2.0))
    yield Task("adult 280 P=1", partial(adult_rows, data, 280))
    yield Task("adult 800 P=1", partial(adult_rows, data, 800))
    yield Task("adult full P=1", partial(adult_rows, data, None))
    for P in (1, 3):
        yield Task(f"digits P={P}", partial(bundled, "digits"), weights=IntegerDomain.symmetric(P))
    for P in (1, 5, 9):
        yield Task(f"breast cancer P={P}", breast_cancer, weights=IntegerDomain.symmetric(P))
        for most in (3, 5, 8):
            yield Task(
                f"breast cancer P={P} nonzeros {most}",
                breast_cancer,
                weights=IntegerDomain.symmetric(P),
                constraints=(Sparsity(max_nonzeros=most),),
            )


def counted(data: Path | None) -> Iterator[Task]:
    """Errors counted: one neuron, and one or two hidden units."""
    for n in (60, 80, 100, 140, 217, 303):
        yield Task(f"heart {n} neuron max_correct", partial(heart_rows, data, n), MaxCorrect())
    for n in (140, 217):
        yield Task(f"halved heart {n} neuron max_correct", partial(halves, data, n), MaxCorrect())
    yield Task("adult 280 neuron max_correct", partial(adult_rows, data, 280), MaxCorrect())
    yield Task("breast cancer neuron max_correct", breast_cancer, MaxCorrect())
    for units, sizes in {1: (60, 80, 100, 200, 303), 2: (60, 100)}.items():
        for n in sizes:
            yield Task(f"heart {n} [{units}] max_correct", partial(heart_rows, data, n), MaxCorrect(), (units,))
    yield Task("iris thermometer [2] max_correct", thermometer, MaxCorrect(), (2,))


def hidden(data: Path | None) -> Iterator[Task]:
    """Hidden units with the logistic loss; tau = 1 and 2 were the settings of the first figures."""
    for n, units in ((40, 1), (40, 2), *((n, units) for n in (60, 100, 200) for units in (1, 2, 4, 8))):
        loss = Logistic(1.0 if n == 40 else 2.0)
        yield Task(f"heart {n} [{units}] logistic", partial(heart_rows, data, n), loss, (units,))
    for n in (60, 100):
        domain = IntegerDomain.symmetric(3)
        yield Task(f"heart {n} [2] P=3 logistic", partial(heart_rows, data, n), Logistic(2.0), (2,), domain)
    for name in OUTPUTS:
        yield Task(f"{name} [2] logistic", partial(bundled, name), Logistic(2.0), (2,))
    yield Task("iris thermometer [2] logistic", thermometer, Logistic(2.0), (2,))


def tasks(data: Path | None) -> Iterator[Task]:
    """Return all tasks, the convex ones first."""
    yield from without_hidden(data)
    yield from counted(data)
    yield from hidden(data)


CASE = Case(tasks, ("provenn",), seconds=60, seeds=1, needs=(*HEART, *ADULT), short=(5, 1))
