"""Writes the proof of a trained model into a file that `provenn.check_proof` checks by itself."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from provenn import check_proof
from provenn.errors import InputError
from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.network import Dataset, IntegerNetwork
from provenn.network.files import read_json, write_text_safely
from provenn.proofs._agreement import AGREEMENT
from provenn.proofs._convex import CONVEX
from provenn.proofs._hull import HULL
from provenn.proofs._kinds import Evidence, Kind
from provenn.proofs._network import NETWORK

FORMAT, VERSION = "provenn-proof", 1
SIZE_LIMIT = 64 * 2**20


@dataclass(frozen=True)
class ProofReport:
    """What became of a proof.

    Parameters
    ----------
    path : str or None
        The file; None where none was written.
    message : str
        Why none was written, or what it leaves unproven; empty for a proof of the certificate's bound.
    bound : int
        What the proof shows, in units.
    size : int
        Bytes.
    nodes, points : int
        Of all trees.
    seconds_search, seconds_write, seconds_check : float
        For the search, for turning it into a proof, and for the checker.
    kind : str
        Which kind of proof it is, see `provenn.check_proof`.
    """

    path: str | None
    message: str
    bound: int
    size: int
    nodes: int
    points: int
    seconds_search: float
    seconds_write: float
    seconds_check: float
    kind: str = ""

    @property
    def written(self) -> bool:
        """Whether there is a file, which the checker accepts."""
        return self.path is not None


KINDS: tuple[Kind, ...] = (CONVEX, AGREEMENT, NETWORK, HULL)
"""Those that are tried, in this order."""


def obstacle(problem: Problem) -> str | None:
    """Say why there can be no proof file for a problem, or None when there can."""
    reasons = [(kind.name, kind.obstacle(problem)) for kind in KINDS]
    if any(why is None for _, why in reasons):
        return None
    return "there is no kind of proofs for this problem: " + "; ".join(f"{name}: {why}" for name, why in reasons)


def write_proof(
    path: str | os.PathLike[str],
    model: str | os.PathLike[str],
    problem: Problem,
    network: IntegerNetwork,
    limits: Limits,
    size_limit: int = SIZE_LIMIT,
) -> ProofReport:
    """Search again with a record, write the proof, and let the checker check it.

    No file is written that the checker does not accept, or that is larger than the limit.

    Parameters
    ----------
    path : path
        Of the proof.
    model : path
        The model file that the proof belongs to.
    problem : Problem
        What the model was trained on.
    network : IntegerNetwork
        The model's.
    limits : Limits
        Of the search; the writing may take as long again.
    size_limit : int
        Bytes.

    Raises
    ------
    InputError
        Where there is no proof for such a problem, or a file cannot be read or written.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from provenn import IntegerNetworkClassifier
    >>> from provenn.model_file import save_model
    >>> class Watched(IntegerNetworkClassifier):
    ...     def _prepared(self, problem):
    ...         self.problem = problem
    >>> X, y = pd.DataFrame({"age": [30, 40, 50, 60]}), [0, 0, 1, 1]
    >>> model = Watched(temperature=1.0, bias_bound=3).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(f"{folder}/model.json", model)
    ...     file, where = f"{folder}/model.json", f"{folder}/proof.json"
    ...     report = write_proof(where, file, model.problem, model.network_, Limits())
    >>> report.written, report.bound == model.certificate_.bound
    (True, True)
    """
    if (why := obstacle(problem)) is not None:
        raise InputError(f"{why}; train another network, or leave the proof out")
    saved, began = read_json(model), perf_counter()
    kind, found = _best(problem, network, limits)
    wrote = perf_counter()
    proof = as_proof(saved, kind.name, found)
    text = json.dumps(proof, separators=(",", ":")) + "\n"
    message = _verdict(proof, saved, problem.dataset)
    if len(text) > size_limit:
        message = f"the proof takes {len(text)} bytes, more than the limit of {size_limit}; the bound stays a claim"
    elif message is None:
        write_text_safely(path, text)
    return ProofReport(
        str(path) if message is None else None,
        message or _shortfall(proof, saved),
        found.bound,
        len(text),
        found.nodes,
        found.points,
        found.seconds_search,
        wrote - began - found.seconds_search,
        perf_counter() - wrote,
        kind.name,
    )


def _best(problem: Problem, network: IntegerNetwork, limits: Limits) -> tuple[Kind, Evidence]:
    """Return the first proof that the network is optimal, else the best of all kinds; they share the time left."""
    goal, ends = problem.value(network), perf_counter() + limits.seconds
    able = [kind for kind in KINDS if kind.obstacle(problem) is None]
    best: tuple[Kind, Evidence] | None = None
    for number, kind in enumerate(able):
        seconds = max(0.0, ends - perf_counter()) / (len(able) - number)
        found = kind.prove(problem, network, replace(limits, seconds=seconds))
        if best is None or found.bound > best[1].bound:
            best = kind, found
        if goal is not None and found.bound >= goal:
            break
    assert best is not None
    return best


def as_proof(model: Mapping[str, Any], kind: str, found: Evidence) -> dict[str, Any]:
    """Return the JSON data of a proof for a model file.

    Parameters
    ----------
    model : mapping
        The model file's JSON data.
    kind : str
    found : Evidence
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "model": model["checksum"],
        "data": model["provenance"]["data_fingerprint"],
        "loss": model["certificate"]["loss"],
        "bound": found.bound,
        "unit": model["certificate"]["unit"],
        **found.fields,
    }


def merged_data(dataset: Dataset) -> check_proof.Data:
    """Return a dataset as the checker knows it."""
    rows, y, multiplicity = (part.tolist() for part in (dataset.X, dataset.y, dataset.multiplicity))
    return check_proof.Data(rows, y, multiplicity, dataset.scale, dataset.n_classes)


def _verdict(proof: dict[str, Any], model: dict[str, Any], dataset: Dataset) -> str | None:
    """Return why the checker rejects a proof, or None."""
    try:
        check_proof.check(proof, model, merged_data(dataset))
    except check_proof.RejectedError as error:
        return f"the checker does not accept the proof ({error}); the bound stays a claim"
    return None


def _shortfall(proof: dict[str, Any], model: dict[str, Any]) -> str:
    claimed, shown = model["certificate"]["bound"], proof["bound"]
    if claimed is None or shown >= claimed:
        return ""
    return f"the proof shows {shown} units and the certificate claims {claimed}; give the search more time"
