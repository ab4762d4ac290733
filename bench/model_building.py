"""Seconds and memory of building training MILPs for Adult: no solver runs.

Published shapes of arXiv 2009.03825 and larger ones; the note gives rows, columns and non-zeros.

    provenn bench model_building --data DIR
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from provenn.benchmark import Case, Job, Method, Outcome, Task
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_hinge import MinHinge
from provenn.network import IntegerDomain

from ._data import ADULT, some_adult

SHAPES = (
    (280, (16,), 1, MaxCorrect("published")),
    (280, (16,), 15, MinHinge()),
    (280, (16,), 1, Logistic()),
    (280, (16, 16), 1, MaxCorrect()),
    (4000, (16,), 1, MaxCorrect()),
    (20_000, (16,), 1, MaxCorrect()),
)


def tasks(data: Path | None) -> Iterator[Task]:
    for n, hidden, bound, loss in SHAPES:
        name = f"{n} {list(hidden)} P={bound} {type(loss).__name__}"
        weights = IntegerDomain.symmetric(bound)
        yield Task(name, partial(some_adult, data, n), loss, hidden, weights, outputs=2)


def build(job: Job) -> Outcome:
    """Build the MILP and say how large it is."""
    milp = job.problem.encode().milp
    return Outcome(note=f"{milp.n_rows:,} rows, {milp.n_columns:,} columns, {milp.A.nnz:,} non-zeros")


CASE = Case(
    tasks, ("build",), seconds=60, seeds=1, needs=ADULT, reference="build", short=(60, 1),
    own_methods=(Method("build", build, "builds the model"),),
)  # fmt: skip
