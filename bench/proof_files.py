"""How large proofs in files are, and how long the checker takes: heart with one neuron and with one hidden layer.

Each run trains, writes model, data and proof, and has the proof checked by ``check_proof.py`` in a process of its own
with nothing but Python's standard library. The note gives the kind, the size and the seconds to make and to check; the
bound is what the checker accepted. Tasks are those of the case ``proofs``.

    provenn bench proof_files --data DIR --seconds 120
"""

import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from provenn import check_proof
from provenn.benchmark import Case, Job, Method, Outcome, Task
from provenn.formulations import Problem
from provenn.model_file import checksum
from provenn.network import Certificate, Dataset, IntegerNetwork
from provenn.proofs import write_proof
from provenn.trainers.portfolio import Portfolio

from . import proofs
from ._data import HEART

NAMES = (
    *(f"heart {n} neuron max_correct" for n in (60, 100, 140, 217)),
    *(f"heart 60 [{h}] logistic" for h in (1, 2, 4, 8)),
    *(f"heart 100 [{h}] logistic" for h in (1, 2, 4)),
    "heart 60 [1] max_correct",
)


def tasks(data: Path | None) -> Iterator[Task]:
    """Return the tasks whose proofs go into files."""
    known = {task.name: task for task in proofs.tasks(data)}
    yield from (known[name] for name in NAMES)


def model_of(problem: Problem, network: IntegerNetwork, certificate: Certificate) -> dict[str, Any]:
    """Return what the checker reads of a model file, for a problem that comes from no table."""
    data, d = problem.dataset, problem.dataset.n_features
    name = type(problem.loss).__module__.rsplit(".", 1)[-1]
    grid = {"quantize": "grid", "steps": data.scale, "offset": [0.0] * d, "divisor": [float(data.scale)] * d}
    model = {
        "format": "provenn-model",
        "version": 1,
        "target": "label",
        "classes": list(range(data.n_classes)),
        "network": network.to_dict(),
        "encoding": {**grid, "columns": [f"x{i}" for i in range(d)], "categories": {}},
        "loss": {"name": name, "options": {f.name: getattr(problem.loss, f.name) for f in fields(problem.loss)}},  # type: ignore[arg-type]
        "weight_unit": 1,
        "certificate": certificate.to_dict(),
        "options": {"feature_signs": None, "max_nonzeros": None, "fan_in": None, "class_weight": None},
        "provenance": {"data_fingerprint": data.fingerprint()},
    }
    return {**model, "checksum": checksum(model)}


def write_rows(path: Path, data: Dataset) -> None:
    """Write the rows in grid units, as often as they occur."""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow([*(f"x{i}" for i in range(data.n_features)), "label"])
        for row, y, m in zip(data.X.tolist(), data.y.tolist(), data.multiplicity.tolist(), strict=True):
            out.writerows([[*row, y]] * m)


def prove(job: Job) -> Outcome:
    """Train, write the proof, and check it as somebody else would."""
    problem, began = job.problem, time.perf_counter()
    trained = Portfolio().train(problem, job.limits)
    took = time.perf_counter() - began
    assert trained.network is not None
    assert trained.certificate is not None
    with TemporaryDirectory() as folder:
        model, rows, proof = (Path(folder) / name for name in ("model.json", "rows.csv", "proof.json"))
        model.write_text(json.dumps(model_of(problem, trained.network, trained.certificate)))
        write_rows(rows, problem.dataset)
        report = write_proof(proof, model, problem, trained.network, job.limits)
        if not report.written:
            return Outcome(network=trained.network, note=report.message)
        seconds, found = check(proof, model, rows)
    made = report.seconds_search + report.seconds_write
    note = f"{report.kind}: {report.size:,} bytes, {report.nodes:,} nodes, {took:.1f} s to train, {made:.1f} s to make"
    bound = float(found["bound"] * Fraction(found["unit"]))
    note = f"{note}, {seconds:.1f} s to check"
    return Outcome(trained.network, bound=bound, optimal=found["optimal"], proved_by=report.kind, note=note)


def check(proof: Path, model: Path, rows: Path) -> tuple[float, dict[str, Any]]:
    """Return the seconds of a check in a process without packages, and its verdict."""
    command = [sys.executable, "-S", "-I", str(check_proof.__file__), *map(str, (proof, model, rows)), "--json"]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    verdict: dict[str, Any] = json.loads(done.stdout)
    return time.perf_counter() - began, verdict


CASE = Case(
    tasks, ("proof",), seconds=120, seeds=1, needs=HEART, reference="proof", short=(20, 1),
    own_methods=(Method("proof", prove, "trains, writes a proof and checks it"),),
)  # fmt: skip
