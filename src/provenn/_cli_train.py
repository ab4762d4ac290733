"""`provenn train`: read, check, train, print, write."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.text import Text

from provenn import _cli_output as out
from provenn._cli_check import beside, proof_dict, proof_row, prove_trained, refuse_without_proof
from provenn._table_checks import check_numbers, check_width
from provenn.errors import InputError
from provenn.estimators import IntegerNetworkClassifier
from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.model_file import model_to_dict, save_model
from provenn.proofs import ProofReport
from provenn.selection import Selection
from provenn.tables import known_columns, read_table, split_target


@dataclass(frozen=True)
class TrainRequest:
    """What `provenn train` was asked for.

    Parameters
    ----------
    data : str
        See `read_table`.
    target : str or None
    drop : tuple of str
        Columns to leave out.
    output : str or None
        Where the model goes.
    options : dict
        Parameters of `IntegerNetworkClassifier`.
    proof : str or None
        Where the proof goes.
    proof_limit : int
        Its largest size in MiB.
    """

    data: str
    target: str | None
    drop: tuple[str, ...]
    output: str | None
    options: dict[str, Any]
    proof: str | None = None
    proof_limit: int = 64


class _Watched(IntegerNetworkClassifier):
    """An estimator that shows its problem to a listener before training."""

    def watch(self, listener: Callable[[Problem], None]) -> None:
        self._listener = listener

    def _prepared(self, problem: Problem) -> None:
        self.trained_problem_ = problem
        self._listener(problem)


def run_train(request: TrainRequest, *, as_json: bool, quiet: bool) -> None:
    """Train a network and report it; see `provenn train --help`."""
    if request.proof is not None and request.output is None:
        request = replace(request, output=beside(request.proof))
    check_output(request.output, request.data)
    check_output(request.proof, request.data, request.output or "")
    features, labels, target, name = _load(request)
    estimator = _Watched(**request.options)
    with out.ProgressLine(out.error_console(), request.options["time_limit"], quiet) as line:

        def begin(problem: Problem) -> None:
            if request.proof is not None:
                refuse_without_proof(problem)
            line.begin(problem, name)

        estimator.watch(begin)
        estimator.fit(features, labels, on_progress=line.update)
    accuracy = float(np.mean(estimator.predict(features) == labels))
    provenance = {"data": name, "n_samples": len(features), "train_accuracy": accuracy, "dropped": list(request.drop)}
    if request.output is not None:
        save_model(request.output, estimator, target, provenance)
    report = _proof(estimator, request)
    if as_json:
        result = _as_json(estimator, request, features, target, accuracy)
        out.print_json(result if report is None else {**result, "proof": proof_dict(report)})
    else:
        _print(estimator, request, target, accuracy, len(features), report)


def _proof(estimator: _Watched, request: TrainRequest) -> ProofReport | None:
    """Write the proof that was asked for."""
    if request.proof is None or request.output is None:
        return None
    limits = Limits(request.options["time_limit"], seed=request.options["random_state"])
    return prove_trained(
        request.proof, request.output, estimator.trained_problem_, estimator.network_, limits, request.proof_limit
    )


def check_output(path: str | None, *inputs: str) -> None:
    """Refuse an output file that could not be written, before any work.

    Parameters
    ----------
    path : str or None
        The output; None for none.
    *inputs : str
        Files that are read, which the output must not replace.
    """
    if path is None:
        return
    target = Path(path)
    way_out = "choose another file with -o"
    if target.is_dir():
        raise InputError(f"cannot write {path}: it is a directory; {way_out}")
    if not target.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no directory {target.parent}; create it, or {way_out}")
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"cannot write {path}: the directory {target.parent} is not writable; {way_out}")
    if any(target.exists() and Path(name).exists() and target.samefile(name) for name in inputs):
        raise InputError(f"cannot write {path}: it is an input of this command; {way_out}")


def _load(request: TrainRequest) -> tuple[pd.DataFrame, NDArray[Any], str, str]:
    table = read_table(request.data)
    features, labels, target = split_target(table, request.target)
    for column in (*request.drop, *request.options["categorical_features"]):
        if column == target:
            raise InputError(f"{column!r} is the target; it can be neither dropped nor a feature")
    features = features.drop(columns=known_columns(features, request.drop, "--drop"))
    if features.shape[1] == 0:
        raise InputError("all features are dropped; keep at least one")
    categorical = known_columns(features, request.options["categorical_features"], "--categorical")
    check_numbers(features, categorical)
    bits = request.options["bits"] if request.options["quantize"] == "thermometer" else 1
    check_width(features, categorical, bits)
    return features, labels, target, table.name


def _as_json(
    estimator: _Watched, request: TrainRequest, features: pd.DataFrame, target: str, accuracy: float
) -> dict[str, Any]:
    certificate, network, data = estimator.certificate_, estimator.network_, estimator.trained_problem_.dataset
    saved = model_to_dict(estimator, target)
    return {
        "status": estimator.status_.name.lower(),
        "message": _message(estimator),
        "loss": certificate.loss_value,
        "bound": certificate.bound_value,
        "gap": certificate.gap,
        "optimal": certificate.optimal,
        "proved_by": certificate.proved_by,
        "unit": str(certificate.unit),
        "train_accuracy": accuracy,
        "seconds": round(estimator.seconds_, 3),
        "temperature": getattr(estimator.loss_, "temperature", None),
        "selection": estimator.selection_.to_dict() if estimator.selection_ is not None else None,
        "nonzeros": network.nonzeros,
        "size_bits": network.size_bits,
        "n_samples": len(features),
        "n_distinct": data.n_samples,
        "n_features": features.shape[1],
        "n_inputs": data.n_features,
        "forced_errors": data.conflicts,
        "target": target,
        "classes": saved["classes"],
        "seed": estimator.random_state,
        "score_card": saved["score_card"],
        "model": request.output,
    }


def chosen(selection: Selection) -> str:
    """Say what was chosen, and on what."""
    setting = selection.setting
    parts = [f"temperature {setting.temperature:.4g}"]
    if any(t.setting.nonzero_price != setting.nonzero_price for t in selection.trials):
        parts.append(f"price {setting.nonzero_price:g}")
    if setting.method != "portfolio":
        parts.append(f"method {setting.method}")
    return f"{', '.join(parts)}; {'by ' if selection.trials else ''}{selection.scheme}"


def _message(estimator: IntegerNetworkClassifier) -> str:
    return ". ".join(part for part in (estimator.status_.value, estimator.message_) if part)


def _print(
    estimator: _Watched, request: TrainRequest, target: str, accuracy: float, samples: int, report: ProofReport | None
) -> None:
    rows = out.certificate_rows(estimator.certificate_)
    if not estimator.certificate_.optimal:
        rows["stopped"] = estimator.status_.value
    if estimator.message_:
        rows["note"] = estimator.message_
    rows["accuracy"] = f"{accuracy:.2%} of {samples} training samples"
    rows["network"] = out.network_row(estimator.network_)
    if estimator.selection_ is not None:
        rows["chosen"] = chosen(estimator.selection_)
    if report is not None:
        rows["proof"] = proof_row(report)
    rows["time"] = f"{estimator.seconds_:.2f} s"
    out.show(out.facts(rows))
    card = model_to_dict(estimator, target)["score_card"]
    if card is not None:
        out.show(out.score_card(card))
    if request.output is None:
        out.show("", Text("The model is not kept: -o model.json writes it.", style="dim"))
    else:
        out.show("", Text(f"Model written to {request.output}"))
