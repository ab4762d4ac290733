"""How gap, time, nodes a second and memory of the exact engines grow with samples, inputs, weight bound and units.

Each engine runs alone: convex branch and bound (logistic loss, no hidden layer), agreement (max_correct, one neuron)
and neuron hull (logistic loss, one hidden layer). With --out there is one plot for each factor. Inputs are the first
columns; rows are random by seed, and smaller samples are parts of larger ones.

    provenn bench scaling --data DIR --tasks hull --threads 2 --out results
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from provenn.benchmark import Case, Job, Method, Outcome, Rows, Split, Sweep, Task
from provenn.choices import trainer_of
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.network import IntegerDomain
from provenn.trainers.agreement import compile_kernels as compile_agreement
from provenn.trainers.convex import compile_kernels as compile_convex
from provenn.trainers.hull import compile_kernels as compile_hull

from ._data import ADULT, HEART
from .proofs import adult_rows, breast_cancer, heart_rows

SAMPLES, INPUTS, BOUND, UNITS = "samples", "inputs", "weight bound P", "hidden units"
ADULT_ROWS = (100, 300, 1000, 3000, 10_000, 32_561)
HEART_ROWS = (40, 60, 80, 100, 200, 303)
TERNARY = IntegerDomain.ternary()
Load = Callable[[int], Split]


def columns(load: Load, count: int, seed: int) -> Split:
    """Return rows with their first columns only."""
    split = load(seed)
    return Split(Rows(split.train.X[:, :count], split.train.y), None, split.n_classes, split.scale)


def symmetric(P: int) -> IntegerDomain:
    return IntegerDomain.symmetric(P)


def convex_tasks(data: Path | None) -> Iterator[Task]:
    """One neuron with the logistic loss."""
    rows, cancer = partial(heart_rows, data, 303), "convex, breast cancer, P = 1"
    for n in ADULT_ROWS:
        sweep = Sweep(SAMPLES, "convex, Adult, P = 1", n)
        yield Task(f"convex adult {n}", partial(adult_rows, data, n), sweep=sweep, details="convex")
    for P in (1, 3, 7, 15, 31, 63):
        sweep = Sweep(BOUND, "convex, heart 303", P)
        yield Task(f"convex heart 303 P={P}", rows, Logistic(), weights=symmetric(P), sweep=sweep, details="convex")
    for count in (5, 10, 20, 30):
        load, sweep = partial(columns, breast_cancer, count), Sweep(INPUTS, cancer, count)
        yield Task(f"convex breast cancer {count} inputs", load, sweep=sweep, details="convex")


def agreement_tasks(data: Path | None) -> Iterator[Task]:
    """One neuron whose errors are counted."""
    for name, load, sizes in (("heart", heart_rows, HEART_ROWS), ("Adult", adult_rows, (40, 80, 140, 280))):
        for n in sizes:
            yield agreement(f"{name} {n}", partial(load, data, n), Sweep(SAMPLES, f"agreement, {name}, P = 1", n))
    for name, load, sizes in (
        ("heart 100", partial(heart_rows, data, 100), (8, 12, 16, 20)),
        ("heart 303", partial(heart_rows, data, 303), (8, 12, 16, 20)),
        ("breast cancer", breast_cancer, (5, 10, 20, 30)),
    ):
        for count in sizes:
            sweep = Sweep(INPUTS, f"agreement, {name}, P = 1", count)
            yield agreement(f"{name} {count} inputs", partial(columns, load, count), sweep)
    for n in (60, 303):
        for P in (1, 2, 3, 7):
            sweep = Sweep(BOUND, f"agreement, heart {n}", P)
            yield agreement(f"heart {n} P={P}", partial(heart_rows, data, n), sweep, symmetric(P))


def agreement(name: str, load: Load, sweep: Sweep, weights: IntegerDomain = TERNARY) -> Task:
    return Task(f"agreement {name}", load, MaxCorrect(), weights=weights, sweep=sweep, details="agreement")


def hull_tasks(data: Path | None) -> Iterator[Task]:
    """One hidden layer with the logistic loss."""
    for n in HEART_ROWS:
        sweep = Sweep(SAMPLES, "hull, heart, 2 units, P = 1, tau = 2", n)
        yield hull(f"heart {n} [2]", partial(heart_rows, data, n), sweep)
    for n in (60, 100):
        for units in (1, 2, 4, 8):
            sweep = Sweep(UNITS, f"hull, heart {n}, P = 1, tau = 2", units)
            yield hull(f"heart {n} units {units}", partial(heart_rows, data, n), sweep, units)
    load, series = partial(heart_rows, data, 60), "hull, heart 60, 2 units, tau = 2"
    for P in (1, 2, 3, 7):
        yield hull(f"heart 60 [2] P={P}", load, Sweep(BOUND, series, P), weights=symmetric(P))
    for count in (8, 12, 16, 20):
        yield hull(f"heart 60 [2] {count} inputs", partial(columns, load, count), Sweep(INPUTS, series, count))


def hull(name: str, load: Load, sweep: Sweep, units: int = 2, weights: IntegerDomain = TERNARY) -> Task:
    return Task(f"hull {name}", load, Logistic(2.0), (units,), weights, sweep=sweep, details="hull")


def tasks(data: Path | None) -> Iterator[Task]:
    """Return the series of all engines."""
    yield from convex_tasks(data)
    yield from agreement_tasks(data)
    yield from hull_tasks(data)


def run_engine(job: Job) -> Outcome:
    """Train by the engine that the task names, alone."""
    trainer = trainer_of(job.task.details, job.problem)
    return Outcome.of_training(trainer.train(job.problem, job.limits, None, job.on_progress))


def compile_all() -> None:
    """Load the kernels of all engines."""
    compile_convex()
    compile_agreement()
    compile_hull()


ENGINE = Method("engine", run_engine, "the exact engine of the series, alone", compile_all)
CASE = Case(
    tasks, ("engine",), seconds=20, seeds=1, needs=(*HEART, *ADULT), own_methods=(ENGINE,), reference="engine",
    short=(5, 1),
)  # fmt: skip
