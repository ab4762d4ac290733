"""An independent check of the evidence of a joint hull bound, in integers, that trusts neither searches nor duals."""

from itertools import product

import numpy as np

from provenn.bounds._hull_check import CheckAgreement, check_agreements
from provenn.bounds._joint_types import Integers, JointCut, JointEvidence, JointProblem, JointRegion
from provenn.errors import InputError

MOST_LAYERS, MOST_NEURONS = 300_000, 2**17
Layer = tuple[tuple[int, ...], int]


def check(problem: JointProblem, evidence: JointEvidence, check_agreement: CheckAgreement) -> int:
    """Derive the bound again from regions, slopes and leaves; enumerations are not believed.

    The outputs' own bounds are taken as they are: `provenn.bounds.hull.check` is for them.

    Parameters
    ----------
    problem : JointProblem
    evidence : JointEvidence
        Recorded.
    check_agreement : callable
        Raises unless leaves prove a bound of an agreement problem, see `provenn.bounds.agreement.check`.

    Returns
    -------
    int
        The bound that the evidence proves; below the claimed one where that rests on an enumeration.

    Raises
    ------
    InputError
        When regions leave an output layer out, or a proof of a cut is missing or wrong.
    """
    if sorted(evidence.order) != list(range(len(problem.parts))):
        raise InputError("the order of the outputs leaves one out or has one twice")
    for number in {region.cut for region in evidence.regions} - {-1}:
        _check_cut(problem, evidence.cuts[number], check_agreement)
    _check_cover(problem, evidence)
    return min(_bound(problem, evidence, region) for region in evidence.regions)


def _single_layers(problem: JointProblem) -> list[Layer]:
    """Return the weights and the bias of every layer of one output, in the order of the own bounds."""
    values = [range(low, high + 1, step) for low, high, step in
              (problem.units.outputs, problem.units.output_bias or (0, 0, 1))]  # fmt: skip
    return [(v, b) for b in values[1] for v in product(values[0], repeat=problem.hidden)]


def _check_cover(problem: JointProblem, evidence: JointEvidence) -> None:
    """Raise unless every output layer, its units mirrored and sorted, begins like a region."""
    single = _single_layers(problem)
    if len(single) ** len(problem.parts) > MOST_LAYERS:
        raise InputError(f"{len(single)} layers of each output are too many to check one by one")
    known = {(region.weights.tobytes(), region.biases.tobytes()) for region in evidence.regions}
    for layers in product(single, repeat=len(problem.parts)):
        rows = np.array([v for v, _ in layers], dtype=np.int64).T
        biases = np.array([b for _, b in layers], dtype=np.int64)
        ordered = np.array(sorted((_upright(problem, row) for row in rows.tolist()), reverse=True))
        depths = range(len(biases) + 1)
        if not any((ordered[:, :q].tobytes(), biases[:q].tobytes()) in known for q in depths):
            raise InputError(f"no region holds the output weights {rows.tolist()} with biases {biases.tolist()}")


def _upright(problem: JointProblem, row: list[int]) -> list[int]:
    """Mirror a unit where it may be mirrored and its first weight that is not 0 is negative."""
    first = next((v for v in row if v), 0)
    return [-v for v in row] if problem.mirrored and first < 0 else row


def _check_cut(problem: JointProblem, cut: JointCut, check_agreement: CheckAgreement) -> None:
    """Raise unless no unit agrees better with the slopes than the cut says: by leaves, or by trying all."""
    if cut.quotient < 1 or len(cut.agreement) != problem.hidden or len(cut.slopes) != problem.hidden:
        raise InputError("a cut needs a positive quotient, and slopes and an agreement for each unit")
    if not cut.proofs:
        best = _largest(problem, cut.slopes)
        if any(claimed < true for claimed, true in zip(cut.agreement, best, strict=True)):
            raise InputError("a unit agrees better with the slopes of a cut than the cut claims")
        return
    for slopes, claimed, proofs in zip(cut.slopes, cut.agreement, cut.proofs, strict=True):
        check_agreements(problem.units, -slopes, claimed, proofs, problem.sides, check_agreement)


def _largest(problem: JointProblem, slopes: Integers) -> list[int]:
    """Return the best agreement of any unit with the slopes of each place, by trying all."""
    units, bias = problem.units, problem.units.bias or (0, 0, 1)
    boxes = [
        range(low, high + 1, units.step) for low, high in zip(units.low.tolist(), units.high.tolist(), strict=True)
    ]
    neurons = np.array(list(product(*boxes, range(bias[0], bias[1] + 1, bias[2]))), dtype=np.int64)
    if len(neurons) > MOST_NEURONS:
        raise InputError(f"{len(neurons)} units are too many to be tried one by one")
    fires = neurons[:, :-1] @ units.X.T + units.scale * neurons[:, -1:] >= 0
    agreements = -np.where(fires, 1, -1) @ slopes.T
    return [int(max((side * agreements[:, i]).max() for side in problem.sides)) for i in range(len(slopes))]


def _bound(problem: JointProblem, evidence: JointEvidence, region: JointRegion) -> int:
    """Return the bound of a region: a cut for the first outputs, own bounds for the others."""
    single = _single_layers(problem)
    fixed = [(tuple(v), b) for v, b in zip(region.weights.T.tolist(), region.biases.tolist(), strict=True)]
    own = [int(evidence.own[o, single.index(layer)]) for o, layer in enumerate(fixed)]
    free = evidence.own[len(fixed) :].min(axis=1).tolist()
    if region.cut < 0:
        return sum(own) + sum(free)
    by_cut = _by_cut(problem, evidence, evidence.cuts[region.cut], fixed[: region.depth])
    return max(sum(own), by_cut + sum(own[region.depth :])) + sum(free)


def _by_cut(problem: JointProblem, evidence: JointEvidence, cut: JointCut, fixed: list[Layer]) -> int:
    """Return the bound of given layers by Lagrangian duality, rounded up to a whole unit."""
    lowest, total = problem.units.levels[0], 0
    cells = list(product((-1, 1), repeat=problem.hidden))
    sums = np.zeros((len(problem.units.X), len(cells)), dtype=np.int64)
    for place, (v, b) in enumerate(fixed):
        scores = [b + sum(w * (1 if s > 0 else lowest) for w, s in zip(v, cell, strict=True)) for cell in cells]
        sums += problem.parts[evidence.order[place]].losses(np.array(scores, dtype=np.int64))
    for k, (row, m) in enumerate(zip(sums.tolist(), problem.units.multiplicity.tolist(), strict=True)):
        slopes = cut.slopes[:, k].tolist()
        total += min(
            cut.quotient * m * loss - sum(g * s for g, s in zip(slopes, cell, strict=True))
            for loss, cell in zip(row, cells, strict=True)
        )
    return -((sum(cut.agreement) - total) // cut.quotient)
