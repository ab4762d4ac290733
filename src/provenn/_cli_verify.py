"""`provenn verify`: recompute a certificate, and certify predictions against perturbations."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.text import Text

from provenn import _cli_output as out
from provenn._cli_commands import need_columns
from provenn.errors import InputError
from provenn.milp import Limits
from provenn.model_file import LoadedModel, load_model
from provenn.perturbation import Perturbation
from provenn.robustness import Report, certify
from provenn.tables import labels_of, read_table
from provenn.verification import Verification, class_index
from provenn.verification import verify as verify_model

SHOWN = 5


@dataclass(frozen=True)
class Around:
    """Perturbations to certify against.

    Parameters
    ----------
    radius : float
        In units of the scaled features; 0 leaves robustness out.
    norm : {"inf", "1", "2"}
    exclude : sequence of str, or "categorical"
    seconds : float
    threads : int
    """

    radius: float
    norm: str
    exclude: Any
    seconds: float
    threads: int


def run_verify(path: str, data: str, around: Around, *, as_json: bool) -> bool:
    """Recompute a model's certificate and say whether it agrees; see `provenn verify --help`.

    With a radius other data than those of training do not count as a disagreement: their robustness is asked for.
    """
    model = load_model(path)
    frame = read_table(data).frame
    need_columns(model, frame)
    if model.target not in frame.columns:
        raise InputError(f"verifying needs the target column {model.target!r}, which the data lack")
    features, labels = frame.drop(columns=model.target), labels_of(frame[model.target], model.target)
    robust = _certified(model, features, labels, around)
    found = verify_model(model, features, labels)
    elsewhere = robust is not None and not found.training_data
    if as_json:
        out.print_json(_verification(model, found) | ({} if robust is None else _robustness(robust, around)))
    else:
        _print_verification(model, found, elsewhere)
        if robust is not None:
            _print_robustness(robust, around)
    if found.agrees or elsewhere:
        return True
    failed = "; ".join(f"{check.name}: {check.text}" for check in found.checks if not check.passed)
    out.error_console().print(Text(f"provenn: {path} does not agree with {data}: {failed}"), soft_wrap=True)
    return False


def _certified(model: LoadedModel, features: pd.DataFrame, labels: Any, around: Around) -> Report | None:
    encoder = model.estimator.encoder_
    ball = Perturbation.of(around.radius, around.norm, around.exclude, encoder.features, encoder.scale)
    if ball is None:
        return None
    index = class_index(model.estimator.classes_, labels, model.target)
    limits = Limits(around.seconds, threads=around.threads)
    return certify(model.network, model.encode(features), index, ball.radius, ball.norm, limits)


def _verification(model: LoadedModel, found: Verification) -> dict[str, Any]:
    stored = model.certificate
    return {
        "agrees": found.agrees,
        "loss": found.loss,
        "stored_loss": stored.loss_value,
        "bound": stored.bound_value,
        "gap": stored.gap,
        "optimal": stored.optimal and found.agrees,
        "proved_by": stored.proved_by,
        "training_data": found.training_data,
        "accuracy": found.accuracy,
        "checks": [{"name": c.name, "passed": c.passed, "text": c.text} for c in found.checks],
    }


def _robustness(robust: Report, around: Around) -> dict[str, Any]:
    figures = robust.to_dict()
    return {
        "certified_accuracy": figures.pop("certified_accuracy"),
        "attacked_accuracy": figures.pop("attacked_accuracy"),
        "robustness": {**figures, "scaled_radius": around.radius},
    }


def _print_verification(model: LoadedModel, found: Verification, elsewhere: bool) -> None:
    rows: dict[str, str | Text] = {}
    for check in found.checks:
        if elsewhere and check.name in ("data", "loss"):
            continue
        mark = Text("ok    ", style="green") if check.passed else Text("WRONG ", style="bold red")
        rows[check.name] = mark + Text(check.text)
    rows["accuracy"] = f"      {found.accuracy:.2%}"
    proven = "the loss is proven optimal" if model.certificate.optimal else f"gap {out.percent(model.certificate.gap)}"
    verdict = Text(f"The certificate agrees: {proven}.", style="bold")
    if elsewhere:
        verdict = Text("These are not the training data: the loss of the certificate was not compared.", style="bold")
    elif not found.agrees:
        verdict = Text("The certificate does not agree.", style="bold red")
    out.show(out.facts(rows), "", verdict)


def _print_robustness(robust: Report, around: Around) -> None:
    rows: dict[str, str | Text] = {
        "certified accuracy": f"{robust.certified_accuracy:.2%}   right under every perturbation",
        "attacked accuracy": f"{robust.attacked_accuracy:.2%}   right and no counterexample known",
        "certified": f"{robust.count('certified')} of {len(robust.right)} samples",
        "counterexamples": str(robust.count("counterexample")),
        "undecided": str(robust.count("unknown")),
    }
    changed = [k for k, verdict in enumerate(robust.verdicts) if verdict.state == "counterexample"]
    if changed:
        more = ", ..." if len(changed) > SHOWN else ""
        rows["changed rows"] = ", ".join(str(k + 1) for k in changed[:SHOWN]) + more + "; --json gives the points"
    title = f"Perturbations of norm {around.norm} up to {around.radius:g} in scaled features"
    out.show(out.heading(title), out.facts(rows))
