"""Proofs of small trained models as files that tests tamper with, and neurons small enough to enumerate."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from functools import reduce
from itertools import product
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from provenn import IntegerNetworkClassifier, check_proof
from provenn.bounds.convex import ConvexProblem
from provenn.formulations import Problem
from provenn.formulations.feature_signs import FeatureSigns
from provenn.formulations.sparsity import Sparsity
from provenn.losses.logistic import LogisticCurve
from provenn.losses.min_hinge import HingeCurve
from provenn.milp import Limits
from provenn.model_file import checksum, save_model
from provenn.network import IntegerNetwork
from provenn.proofs import ProofReport, write_proof
from provenn.proofs._kinds import Kind
from provenn.tables import read_table, split_target
from provenn.testing.toys import random_network

CHECKER = Path(check_proof.__file__)
FILES = ("proof.json", "model.json", "data.csv")
MINUTE = Limits(seconds=60)


class Watched(IntegerNetworkClassifier):
    """An estimator that keeps its training problem as `problem_`."""

    problem_: Problem

    def _prepared(self, problem: Problem) -> None:
        self.problem_ = problem


@dataclass
class Case:
    """Files of a proof, as JSON data and text."""

    folder: Path
    proof: dict[str, Any]
    model: dict[str, Any]
    csv: str

    @property
    def paths(self) -> list[Path]:
        """The files, in the order in which the checker takes them."""
        return [self.folder / name for name in FILES]

    @property
    def part(self) -> dict[str, Any]:
        """The proof of the first output."""
        return self.proof["outputs"][0]

    @property
    def layers(self) -> list[dict[str, Any]]:
        """The layers of the model's architecture."""
        return self.model["network"]["architecture"]["layers"]

    @property
    def weights(self) -> list[list[list[int]]]:
        """The weights of the model, layer by layer."""
        return self.model["network"]["weights"]

    def copy_to(self, folder: Path) -> "Case":
        """Return a copy that writes into another folder."""
        return replace(deepcopy(self), folder=folder)

    def verdict(self) -> dict[str, Any]:
        """Write the files and check them."""
        for path, text in zip(self.paths, (json.dumps(self.proof), json.dumps(self.model), self.csv), strict=True):
            path.write_text(text, "utf-8")
        return check_proof.check_files(*map(str, self.paths))

    def sign(self) -> "Case":
        """Make checksum and ties of a changed model right again, as someone who cheats would."""
        self.model.pop("checksum")
        self.model["checksum"] = self.proof["model"] = checksum(self.model)
        return self

    def claim(self, bound: object, loss: object = None) -> None:
        """Claim a bound, also for the only output where the proof has outputs, and a loss where one is given."""
        self.proof["bound"] = bound
        if "outputs" in self.proof:
            self.part["bound"] = bound
        if loss is not None:
            self.proof["loss"] = self.model["certificate"]["loss"] = loss


def risk_table(n: int, seed: int) -> pd.DataFrame:
    """Draw a table with numbers, categories and truth values; the target is `risk`."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(50, 10, n),
            "visits": rng.integers(0, 9, n),
            "job": rng.choice(["clerk", "smith, old", "cook"], n),
            "ill": rng.random(n) < 0.4,
        }
    )
    score = frame["age"] / 10 + frame["visits"] + 2 * frame["ill"] + rng.normal(0, 2, n)
    return frame.assign(risk=np.where(score > np.median(score), "high", "low"))


def train(
    folder: Path, csv: Path | str, target: str, limits: Limits = MINUTE, unused: Sequence[str] = (), **options: Any
) -> tuple[Watched, ProofReport]:
    """Train on a CSV file, some columns left out, and write model and proof into a folder."""
    features, labels, target = split_target(read_table(str(csv)), target)
    estimator = Watched(**options).fit(features.drop(columns=list(unused)), labels)
    proof, model = folder / FILES[0], folder / FILES[1]
    save_model(model, estimator, target)
    return estimator, write_proof(proof, model, estimator.problem_, estimator.network_, limits)


def case_of(folder: Path, table: pd.DataFrame, kind: str, **options: Any) -> Case:
    """Train on a table with the target `risk`; the proof must be of the kind and prove the certificate's bound."""
    folder.mkdir()
    csv = folder / FILES[2]
    csv.write_text(table.to_csv(index=False), "utf-8")
    _, report = train(folder, csv, "risk", **options)
    assert (report.written, report.message, report.kind) == (True, "", kind), report
    proof, model = (json.loads((folder / name).read_text("utf-8")) for name in FILES[:2])
    assert proof["bound"] == report.bound, report
    return Case(folder, proof, model, csv.read_text("utf-8"))


def run_alone(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run Python with nothing but the standard library in reach."""
    command = [sys.executable, "-S", "-I", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def assert_checked_alone(cases: Mapping[str, Case]) -> None:
    """Assert that the checker takes every proof without any package, and none with another's model."""
    first, *_, last = cases.values()
    for case in cases.values():
        told, found = run_alone(CHECKER, *case.paths), run_alone(CHECKER, *case.paths, "--json")
        assert (told.returncode, told.stdout[:19]) == (0, "ACCEPTED: optimal, "), told
        assert found.returncode == 0, found
        verdict = json.loads(found.stdout)
        assert (verdict["accepted"], verdict["optimal"], verdict["confirms_certificate"]) == (True, True, True), verdict
        assert verdict["bound"] == case.model["certificate"]["bound"], verdict
    mixed = run_alone(CHECKER, first.paths[0], *last.paths[1:])
    assert (mixed.returncode, mixed.stdout) == (1, "REJECTED: the proof belongs to another model\n"), mixed


Change = Callable[[Case], object]


def signed(**changes: Change) -> dict[str, Change]:
    """Return changes of models that leave no trace in checksums."""
    return {name: _then_sign(change) for name, change in changes.items()}


def _then_sign(change: Change) -> Change:
    def forge(case: Case) -> None:
        change(case)
        case.sign()

    return forge


def assert_rejected(case: Case, change: Change) -> None:
    """Assert that the checker rejects a changed case and says why."""
    change(case)
    found = case.verdict()
    assert not found["accepted"], found
    assert found["reason"], found


def put(value: object, data: Any, *place: int | str) -> None:
    """Set an entry of nested lists and dictionaries."""
    *way, last = place
    reduce(getitem, way, data)[last] = value


def early_leaf(tree: list[int]) -> None:
    """Put a leaf in place of the first split of which both branches are leaves."""
    at = next(i for i in range(len(tree)) if tree[i] > 0 and tree[i + 1 : i + 3] == [0, 0])
    tree[at : at + 3] = [0]


def fingerprints_changed(case: Case) -> None:
    """Name other data in proof and model."""
    case.proof["data"] = case.model["provenance"]["data_fingerprint"] = "0" * 64


def label_flipped(case: Case) -> None:
    """Change the first label `high` of the data."""
    case.csv = case.csv.replace("high", "low", 1)


def row_doubled(case: Case) -> None:
    """Repeat the last row of the data."""
    case.csv += case.csv.splitlines()[-1] + "\n"


def row_dropped(case: Case) -> None:
    """Drop the last row of the data."""
    case.csv = "\n".join(case.csv.splitlines()[:-1]) + "\n"


def model_of(problem: Problem, network: IntegerNetwork) -> dict[str, Any]:
    """Return what the checker reads of a model file, for a problem that comes from no table."""
    loss: Any = problem.loss
    name = type(loss).__module__.rsplit(".", 1)[-1]
    options: dict[str, Any] = {"feature_signs": None, "max_nonzeros": None, "fan_in": None}
    for constraint in problem.constraints:
        if isinstance(constraint, FeatureSigns):
            options["feature_signs"] = list(constraint.signs)
        if isinstance(constraint, Sparsity):
            options.update(max_nonzeros=constraint.max_nonzeros, fan_in=constraint.fan_in)
    model = {
        "format": "provenn-model",
        "version": 1,
        "network": network.to_dict(),
        "loss": {"name": name, "options": {f.name: getattr(loss, f.name) for f in fields(loss)}},
        "options": options,
        "weight_unit": 1,
        "encoding": {"columns": [f"x{i}" for i in range(problem.dataset.n_features)], "categories": {}},
        "certificate": {"loss": problem.value(network), "bound": None, "unit": str(problem.unit)},
        "provenance": {"data_fingerprint": problem.dataset.fingerprint()},
    }
    return {**model, "checksum": checksum(model)}


def provable(
    rng: np.random.Generator, kind: Kind, draw: Callable[[], Problem | None]
) -> Iterator[tuple[Problem, IntegerNetwork]]:
    """Yield, without end, drawn problems that a kind of proofs takes, each with a random network that it admits."""
    while True:
        problem = draw()
        if problem is None or kind.obstacle(problem) is not None:
            continue
        networks = (random_network(rng, problem) for _ in range(20))
        network = next((network for network in networks if problem.value(network) is not None), None)
        if network is not None:
            yield problem, network


def neuron(
    seed: int, price: int = 0, budget: int | None = None, hinge: bool = False, d: int = 4, n: int = 40, bound: int = 2
) -> ConvexProblem:
    """Draw n samples for a neuron with d weights up to `bound`."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 11, (n, d))
    t = np.where(X @ rng.normal(size=d) + 5 * rng.normal(size=n) > 0, 1, -1)
    curve = HingeCurve(40) if hinge else LogisticCurve(10.0)
    box, ones = np.full(d, bound), np.ones(n, dtype=np.int64)
    return ConvexProblem(X, t, ones, curve, 10, -box, box, 1, (-2, 2, 1), price, budget)


def grouped(seed: int, n: int = 40, classes: int = 3, bias: int = 2) -> ConvexProblem:
    """Draw a neuron's problem with a one-hot group, so with moves that leave all scores as they are."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.eye(classes, dtype=np.int64)[rng.integers(0, classes, n)], rng.integers(0, 5, (n, 2))])
    t = np.where(X @ rng.normal(size=classes + 2) + rng.normal(size=n) > 0, 1, -1)
    box, ones = np.full(classes + 2, 2), np.ones(n, dtype=np.int64)
    return ConvexProblem(X, t, ones, LogisticCurve(1.5), 1, -box, box, 1, (-bias, bias, 1))


def least(problem: ConvexProblem) -> int | None:
    """Return the least objective of all neurons, in units, or None where the budget leaves none."""
    ranges = [range(a, b + 1, s) for a, b, s in zip(*problem.boxes(), strict=True)]
    V = np.array(list(product(*ranges)))
    used = np.count_nonzero(V[:, : len(problem.low)], axis=1)
    values = problem.curve.exact(problem.signed() @ V.T).T @ problem.multiplicity + problem.price * used
    allowed = values if problem.max_nonzeros is None else values[used <= problem.max_nonzeros]
    return int(allowed.min()) if len(allowed) else None


def changes(problem: ConvexProblem, rng: np.random.Generator) -> Iterator[ConvexProblem]:
    """Yield problems with other labels, features, multiplicities and samples."""
    t = problem.t.copy()
    t[rng.choice(len(t), 3, replace=False)] *= -1
    yield replace(problem, t=t)
    yield replace(problem, X=problem.X + rng.integers(-1, 2, problem.X.shape))
    yield replace(problem, multiplicity=rng.integers(0, 3, len(t)))
    kept = rng.random(len(t)) < 0.8
    yield replace(problem, X=problem.X[kept], t=problem.t[kept], multiplicity=problem.multiplicity[kept])
