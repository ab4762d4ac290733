"""Small published training models with known optima: our own model from their data, and their model files.

Method ``provenn`` rebuilds the training problem from the data of an instance and proves its optimum; ``file`` solves
the published MPS file with the solver that fits, ``file_NAME`` with one solver. Every answer is compared with the known
optimum, and one that contradicts it is marked as wrong. The folder ``instances`` lies beside the data folder.

    provenn bench instances --data DIR --seconds 60 --methods provenn,file_cpsat,file_highs,file_scip
"""

import json
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from provenn.benchmark import Case, Job, Method, Outcome, Rows, Split, Task
from provenn.errors import CapabilityError
from provenn.formulations import Problem
from provenn.formulations.neuron_count import NeuronCount
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.max_margin import MaxMargin
from provenn.losses.min_hinge import MinHinge
from provenn.losses.min_weight import MinWeight
from provenn.losses.sat_margin import SatMargin
from provenn.milp.read import read_mps
from provenn.network import Architecture, Dataset, IntegerDomain
from provenn.solvers import Solver
from provenn.solvers._base import default_for
from provenn.status import Status

INDEX = "../instances/index.json"
LOSSES = {
    "max_correct": MaxCorrect("published"),
    "sat_margin": SatMargin(),
    "min_hinge": MinHinge(),
    "min_w": MinWeight(),
    "toro_w": MinWeight(count_biases=False),
    "max_m": MaxMargin(),
}
CORRECTED = {"toro_mip_w_mnist012_b7_n2_h2": 6.0}
"""Optimum of our model where the published program adds its last output weight once for every bias by a slip."""
SOLVERS = ("cpsat", "highs", "scip", "gurobi")


def tasks(data: Path | None) -> Iterator[Task]:
    folder = Path() if data is None else (data / INDEX).parent
    for entry in json.loads((folder / "index.json").read_text()):
        if entry["optimum"] is None:
            continue
        sign = -1.0 if entry["sense"] == "max" else 1.0
        yield Task(
            name=entry["name"],
            load=partial(rows_of, folder, entry),
            problem=partial(problem_of, folder, entry),
            optimum=sign * CORRECTED.get(entry["name"], entry["optimum"]),
            target=sign * entry["optimum"],
            details=(folder / entry["mps"], sign * entry["optimum"]),
        )


def rows_of(folder: Path, entry: dict[str, Any], seed: int) -> Split:
    """Return the training rows where our own model has a reader for them, else a single row that nobody uses."""
    if not readable(entry):
        return Split(Rows(np.zeros((1, 1), dtype=np.int64), np.zeros(1, dtype=np.int64)), None)
    data = json.loads((folder / entry["data"]).read_text())
    scale = round(1 / data["eps"])  # eps = 1 / scale: scaling the data sets the published eps
    X = np.rint(np.array(data["train_x"]) * scale).astype(np.int64)
    return Split(Rows(X, np.argmax(data["oh"], axis=1).astype(np.int64)), None, len(data["oh"][0]), scale)


def readable(entry: dict[str, Any]) -> bool:
    return str(entry["name"]).startswith(("mipnn", "toro"))


def problem_of(folder: Path, entry: dict[str, Any], split: Split) -> Problem:
    """Rebuild the published training problem."""
    if not readable(entry):
        raise CapabilityError("this family of models has no reader; its file is solved by the method 'file'")
    train = split.train
    data = Dataset.merge(train.X, train.y, scale=split.scale, classes=tuple(range(split.n_classes)))
    toro = entry["name"].startswith("toro")
    loss = LOSSES["toro_w" if "_w_" in entry["name"] else "max_m"] if toro else LOSSES[entry["loss"]]
    constraints: tuple[NeuronCount, ...] = ()
    sizes = json.loads((folder / entry["data"]).read_text())["arch"]
    if entry["neuron_price"]:
        price = Fraction(1, sizes[1]) if entry["loss"] == "min_hinge" else Fraction(str(entry["neuron_price"]))
        constraints = (NeuronCount(price),)
        loss = SatMargin(kept_only=True) if entry["loss"] == "sat_margin" else loss
    domain = IntegerDomain.symmetric(entry["P"] or 1)
    shape = Architecture.build(sizes[0], split.n_classes, sizes[1:-1], domain, outputs=sizes[-1])
    return Problem(shape, data, loss, constraints)


def solve_file(job: Job, name: str | None) -> Outcome:
    """Solve the published MPS file."""
    path, optimum = job.task.details
    milp, _ = read_mps(path)
    found = (default_for(milp) if name is None else Solver.create(name)).solve(milp, job.limits)
    done, why = found.status is Status.OPTIMAL, found.status.name.lower()
    return Outcome(loss=found.objective, bound=found.bound, optimal=done, stopped=why, optimum=optimum)


CASE = Case(
    tasks, ("provenn", "file"), seconds=60, seeds=1, needs=(INDEX,), short=(10, 1),
    own_methods=(
        Method("file", partial(solve_file, name=None), "the published file, solver that fits", needs_problem=False),
        *(Method(f"file_{name}", partial(solve_file, name=name), f"the published file on {name}", needs_problem=False)
          for name in SOLVERS),
    ),
)  # fmt: skip
