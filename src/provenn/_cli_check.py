"""`provenn check`, and the proof that `provenn train --proof` writes."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from provenn import _cli_output as out
from provenn import check_proof
from provenn.errors import InputError, ModelFileError
from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.milp.read import read_mps
from provenn.model_file import load_model
from provenn.network import Dataset, IntegerNetwork
from provenn.network.files import read_json
from provenn.proofs import ProofReport, merged_data, obstacle, write_proof
from provenn.tables import labels_of, read_table
from provenn.tame import problem_data, ready
from provenn.verification import class_index

LEAST_SECONDS = 10.0


def beside(proof: str) -> str:
    """Return where the model goes when only its proof has a name: heart.json gives heart.model.json."""
    path = Path(proof)
    return str(path.with_name(f"{path.stem}.model.json"))


def refuse_without_proof(problem: Problem) -> None:
    """Raise where a problem can have no proof file, before it is trained."""
    if (why := obstacle(problem)) is not None:
        raise InputError(f"{why}; leave out --proof")


def prove_trained(
    proof: str, model: str, problem: Problem, network: IntegerNetwork, limits: Limits, mebibytes: int
) -> ProofReport:
    """Write the proof of a model that was just written; a short training leaves it some seconds."""
    seconds = max(LEAST_SECONDS, limits.seconds)
    return write_proof(proof, model, problem, network, Limits(seconds, seed=limits.seed), mebibytes * 2**20)


def proof_row(report: ProofReport) -> str:
    """Describe a proof in a line."""
    if not report.written:
        return f"not written: {report.message}"
    made = report.seconds_search + report.seconds_write
    text = f"{report.path}: {report.size:,} bytes, {report.nodes:,} nodes; {made:.2f} s to make"
    note = f"; {report.message}" if report.message else ""
    return f"{text}, {report.seconds_check:.2f} s to check{note}"


def proof_dict(report: ProofReport) -> dict[str, Any]:
    """Return a report as JSON data."""
    return {**asdict(report), "written": report.written}


def run_check(proof: str, model: str | None, data: str | None, *, as_json: bool) -> bool:
    """Check a proof and say whether it is accepted; see `provenn check --help`."""
    found = _found(proof, model, data)
    if as_json:
        out.print_json(found)
    else:
        out.show(check_proof.verdict(found))
    if not found["accepted"]:
        out.error_console().print(f"provenn: {proof} is rejected: {found['reason']}", markup=False, soft_wrap=True)
    return bool(found["accepted"])


def _found(proof: str, model: str | None, data: str | None) -> dict[str, Any]:
    """Return the verdict on a proof with the files that its kind needs."""
    if read_json(proof).get("kind") == "milp":
        return check_proof.check_files(proof) if model is None else _same_program(proof, model)
    if model is None or data is None:
        raise InputError(f"{proof} is no proof of a mixed-integer program: name the model file and the data too")
    read_json(model)
    if Path(data).suffix.lower() in (".csv", ".txt", ".tsv"):
        if not Path(data).is_file():
            raise InputError(f"there is no file {data}")
        return check_proof.check_files(proof, model, data)
    return _checked(proof, model, data)


def _same_program(proof: str, model: str) -> dict[str, Any]:
    """Check that a proof is of the program in a file, besides the proof."""
    program = problem_data(ready(read_mps(model)[0]))
    try:
        told = json.loads(Path(proof).read_text("utf-8"), **check_proof.WHOLE)
        return {"accepted": True, **check_proof.told(check_proof.check_milp(told, program))}
    except check_proof.RejectedError as error:
        return {"accepted": False, "reason": str(error)}


def _checked(proof: str, model: str, data: str) -> dict[str, Any]:
    """Check with data that are no CSV file, which this library reads and encodes."""
    loaded, frame = load_model(model), read_table(data).frame
    if loaded.target not in frame.columns:
        raise InputError(f"checking needs the target column {loaded.target!r}, which the data lack")
    labels = class_index(loaded.estimator.classes_, labels_of(frame[loaded.target], loaded.target), loaded.target)
    classes = tuple(range(len(loaded.estimator.classes_)))
    dataset = Dataset.merge(
        loaded.encode(frame), labels, np.ones(len(labels)), loaded.estimator.encoder_.scale, classes
    )
    try:
        told = json.loads(Path(proof).read_text("utf-8"), **check_proof.WHOLE)
        return {"accepted": True, **check_proof.check(told, read_json(model), merged_data(dataset))}
    except check_proof.RejectedError as error:
        return {"accepted": False, "reason": str(error)}
    except (ModelFileError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        return {"accepted": False, "reason": f"the proof is damaged: {type(error).__name__}: {error}"}
