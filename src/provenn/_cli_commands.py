"""`provenn predict`, `verify`, `report` and `solvers`."""

import csv
import io
import sys
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from provenn import _cli_output as out
from provenn import registry
from provenn._cli_train import check_output
from provenn.errors import InputError
from provenn.model_file import LoadedModel, installed_version, load_model
from provenn.network.files import write_text_safely
from provenn.network.network import predict_scores
from provenn.solvers import Solver
from provenn.tables import did_you_mean, read_table


def run_predict(path: str, data: str, output: str | None, *, as_json: bool) -> None:
    """Predict raw rows; see `provenn predict --help`."""
    check_output(output, path, data)
    model = load_model(path)
    frame = read_table(data).frame
    need_columns(model, frame)
    scores = model.network.scores(model.encode(frame))
    labels = model.estimator.classes_[predict_scores(scores)].tolist()
    real = scores * model.estimator.score_unit
    result = {
        "predictions": labels,
        "scores": (real[:, 0] if real.shape[1] == 1 else real).tolist(),
        "classes": model.estimator.classes_.tolist(),
        "accuracy": _accuracy(model, frame, labels),
    }
    probabilities = model.probabilities(frame)
    if probabilities is not None:
        result["probabilities"] = probabilities.tolist()
    if output is not None:
        write_text_safely(output, _prediction_csv(result))
    if as_json:
        out.print_json(result)
    elif output is None:
        sys.stdout.write(_csv_text([[label] for label in labels]))
    if result["accuracy"] is not None:
        share = f"accuracy {result['accuracy']:.2%}, comparing with the column {model.target!r}"
        out.error_console().print(Text(share))


def need_columns(model: LoadedModel, frame: pd.DataFrame) -> None:
    """Refuse data that lack a column which the model reads."""
    for name in model.columns:
        if name not in frame.columns:
            guess = did_you_mean(name, frame.columns) or ";"
            raise InputError(
                f"the data lack the column {name!r} that the model was trained on{guess} "
                f"they have: {', '.join(frame.columns[:30])}"
            )


def _accuracy(model: LoadedModel, frame: pd.DataFrame, labels: list[Any]) -> float | None:
    """Return the share of right predictions among rows that have a label, or None."""
    if model.target not in frame.columns or model.target in model.columns:
        return None
    truth = frame[model.target]
    right = [a == b for a, b, gone in zip(truth.tolist(), labels, truth.isna(), strict=True) if not gone]
    return float(np.mean(right)) if right else None


def _prediction_csv(result: dict[str, Any]) -> str:
    classes = result["classes"]
    scores = np.array(result["scores"], dtype=float).reshape(len(result["predictions"]), -1)
    names = ["score"] if scores.shape[1] == 1 else [f"score {label}" for label in classes]
    columns = [scores]
    if "probabilities" in result:
        names += [f"probability {label}" for label in classes]
        columns.append(np.array(result["probabilities"]))
    rows = zip(result["predictions"], np.hstack(columns).tolist(), strict=True)
    return _csv_text([["prediction", *names], *([label, *(f"{x:.12g}" for x in numbers)] for label, numbers in rows)])


def _csv_text(rows: list[list[Any]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def run_report(path: str, *, as_json: bool) -> None:
    """Print what a model file says; see `provenn report --help`."""
    model = load_model(path)
    if as_json:
        out.print_json(_report(model))
        return
    rows = out.certificate_rows(model.certificate)
    rows["network"] = out.network_row(model.network)
    rows["predicts"] = f"{model.target}: {', '.join(map(str, model.estimator.classes_.tolist()))}"
    rows["reads"] = ", ".join(model.columns)
    rows["loss function"] = str(model.estimator.loss_)
    out.show(out.facts(rows), out.heading("Provenance"), out.facts(_provenance_rows(model, model.provenance)))
    if model.score_card is not None:
        out.show(out.score_card(model.score_card))


def _provenance_rows(model: LoadedModel, made: dict[str, Any]) -> dict[str, str | Text]:
    named = {"data": "data", "n_samples": "samples", "data_fingerprint": "fingerprint", "platform": "platform"}
    rows: dict[str, str | Text] = {text: str(made[key]) for key, text in named.items() if key in made}
    versions = {"provenn": made.get("provenn"), "Python": made.get("python"), **made.get("libraries", {})}
    rows["versions"] = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
    changed = {k: v for k, v in model.estimator.get_params(deep=False).items() if v != _defaults()[k]}
    rows["options"] = ", ".join(f"{k}={v!r}" for k, v in changed.items()) or "defaults"
    return rows


def _defaults() -> dict[str, Any]:
    from provenn.estimators import IntegerNetworkClassifier

    return IntegerNetworkClassifier().get_params(deep=False)


def _report(model: LoadedModel) -> dict[str, Any]:
    certificate, network = model.certificate, model.network
    return {
        "status": model.estimator.status_.name.lower(),
        "message": model.estimator.status_.value,
        "loss": certificate.loss_value,
        "bound": certificate.bound_value,
        "gap": certificate.gap,
        "optimal": certificate.optimal,
        "proved_by": certificate.proved_by,
        "unit": str(certificate.unit),
        "loss_function": str(model.estimator.loss_),
        "nonzeros": network.nonzeros,
        "size_bits": network.size_bits,
        "layers": [network.architecture.n_features, *network.architecture.hidden, network.architecture.n_outputs],
        "target": model.target,
        "classes": model.estimator.classes_.tolist(),
        "columns": model.columns,
        "provenance": model.provenance,
        "score_card": model.score_card,
    }


def run_solvers(*, as_json: bool) -> None:
    """List engines; see `provenn solvers --help`."""
    engines = [*_own_engines(), *(_solver(name) for name in registry.names("provenn.solvers"))]
    if as_json:
        out.print_json({"solvers": engines})
        return
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim", show_lines=False)
    for name in ("solver", "version", "takes", "limits"):
        table.add_column(name, overflow="fold", no_wrap=name in ("solver", "version"))
    for engine in engines:
        version = engine["version"] if engine["installed"] else "missing"
        takes = Text(", ".join(engine["capabilities"]))
        table.add_row(engine["name"], version, takes, Text(engine["limits"], style="dim"), end_section=True)
    out.show(Padding(table, (0, 0, 0, 2)))


def _solver(name: str) -> dict[str, Any]:
    kind: type[Solver] = registry.load("provenn.solvers", name)
    return {
        "name": name,
        "installed": kind.available(),
        "library": kind.distribution,
        "version": kind.version(),
        "capabilities": sorted(kind.capabilities),
        "limits": kind.limits_note(),
    }


def _own_engines() -> list[dict[str, Any]]:
    """Describe the exact engines of this library; auto chooses them where they apply."""
    losses = registry.names("provenn.losses")
    convex = ", ".join(name for name in losses if registry.load("provenn.losses", name).convex)
    limits = {
        "convex": f"branch and bound of provenn, no MILP: only networks without hidden layers, losses {convex}",
        "agreement": "branch and bound of provenn, no MILP: only one neuron, two classes, loss max_correct",
        "hull": f"column generation of provenn, no MILP: only one hidden layer, losses {convex}, sat_margin and, "
        "with one output, max_correct",
        "tree": "tree of provenn over activation patterns, no MILP: only hidden layers with few weights (some thousand "
        "units for the inputs, 2^45 choices of them)",
    }
    capabilities = ["events", "bound", "nodes", "start"]
    return [
        {
            "name": name,
            "installed": True,
            "library": "numba",
            "version": installed_version("numba"),
            "capabilities": capabilities,
            "limits": f"{text}; auto chooses it there",
        }
        for name, text in limits.items()
    ]
