"""Proofs by cuts and regions of output layers, for networks with one hidden layer."""

from dataclasses import replace
from math import comb
from time import perf_counter
from typing import Any

from provenn.bounds._hull_proof import fields_of
from provenn.bounds._hull_regions import output_biases, signed_weights
from provenn.bounds.hull import HullProblem, Outside, minimise
from provenn.check_proof import MOST_LAYERS
from provenn.formulations import Problem
from provenn.losses.hamming import Hamming
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_hinge import MinHinge
from provenn.losses.sat_margin import SatMargin
from provenn.milp import Limits
from provenn.network import IntegerNetwork
from provenn.proofs._agreement import limits_alone
from provenn.proofs._kinds import Evidence, Kind
from provenn.trainers.hull import Hull, subproblem


def obstacle(problem: Problem) -> str | None:
    """Say why there can be no such proof for a problem, or None when there can."""
    why = Hull.obstacle(problem) or limits_alone(problem)
    if why is None and not _known(problem):
        why = f"the checker does not know the loss {type(problem.loss).__name__}"
    return why or _too_many_layers(problem)


def _known(problem: Problem) -> bool:
    """Whether the checker has the loss's table."""
    loss = problem.loss
    plain = type(loss) in (Logistic, MinHinge, SatMargin, MaxCorrect)
    return plain or (type(loss) is Hamming and loss.codes is None)


def _too_many_layers(problem: Problem) -> str | None:
    part = _part(problem, 0)
    layers = comb(len(signed_weights(part)) + part.hidden - 1, part.hidden) * len(output_biases(part))
    return f"there are {layers} output layers" if layers > MOST_LAYERS else None


def _part(problem: Problem, output: int) -> HullProblem:
    part = subproblem(problem, output)
    assert part is not None
    return part


def prove(problem: Problem, network: IntegerNetwork, limits: Limits) -> Evidence:
    """Search every output for half of its time, and grow the trees of its cuts, for up to three times as long."""
    outputs, known = problem.architecture.n_outputs, problem.value(network)
    found, searched = list[dict[str, Any]](), 0.0
    best = (lambda: known) if outputs == 1 else (lambda: None)
    for j in range(outputs):
        part, began = _part(problem, j), perf_counter()
        share = limits.seconds / outputs
        result = minimise(part, replace(limits, seconds=share / 2), outside=Outside(best=best))
        took = perf_counter() - began
        found.append(fields_of(part, result.evidence, result.bound or 0, began + 2 * share))
        searched += took
    return Evidence({"outputs": found}, sum(part["bound"] for part in found), _nodes(found), 0, searched)


def _nodes(outputs: list[dict[str, Any]]) -> int:
    return sum(len(side["tree"]) for part in outputs for cut in part["cuts"] for side in cut["sides"])


HULL = Kind("hull", obstacle, prove)
