"""An independent check of the evidence of a hull bound, in integers, that trusts neither searches nor duals."""

from collections.abc import Callable
from itertools import combinations_with_replacement
from math import comb

import numpy as np

from provenn.bounds._hull_regions import denominator, output_biases, signed_weights, table
from provenn.bounds._hull_types import Cut, Evidence, HullProblem, Integers, Proofs, Region
from provenn.bounds.agreement import AgreementProblem
from provenn.bounds.agreement import Leaves as AgreementLeaves
from provenn.errors import InputError

MOST_LAYERS = 200_000
CheckAgreement = Callable[[AgreementProblem, AgreementLeaves, int], None]


def check(problem: HullProblem, evidence: Evidence, check_agreement: CheckAgreement) -> int:
    """Derive the bound again from regions, slopes and leaves; enumerations are not believed.

    Parameters
    ----------
    problem : HullProblem
    evidence : Evidence
        Recorded with leaves.
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
    _check_cover(problem, evidence.regions)
    for number in set(evidence.cut) - {-1}:
        _check_cut(problem, evidence.cuts[number], check_agreement)
    bounds = []
    for region, number in zip(evidence.regions, evidence.cut, strict=True):
        bound = _bound(problem, region, None)
        bounds.append(bound if number < 0 else max(bound, _bound(problem, region, evidence.cuts[number])))
    return min(bounds)


def _check_cover(problem: HullProblem, regions: tuple[Region, ...]) -> None:
    """Raise unless every output layer is in a region."""
    weights = signed_weights(problem)
    count = comb(len(weights) + problem.hidden - 1, problem.hidden)
    if count > MOST_LAYERS:
        raise InputError(f"{count} output layers are too many to check one by one")
    parts = denominator(problem)
    for chosen in combinations_with_replacement(weights, problem.hidden):
        used = [pair for pair in chosen if pair[0] > 0]
        for b in output_biases(problem):
            base = parts * b + (sum(m * side for m, side in used) if parts > 1 else 0)
            if not any(_holds(region, base, used) for region in regions):
                raise InputError(f"no region holds the output bias {b} with magnitudes {[m for m, _ in used]}")


def _holds(region: Region, base: int, used: list[tuple[int, int]]) -> bool:
    """Whether a region holds an output layer; its offsets must be all that the layer's sums can be."""
    total, sums = sum(m for m, _ in used), {0}
    for m, _ in used:
        sums = {o + s * m for o in sums for s in (-1, 1)}
    if region.base != base or not sums <= set(region.offsets.tolist()) or not region.least <= total <= region.most:
        return False
    return not region.exact or used == list(zip(region.magnitudes, region.sides, strict=True))


def _check_cut(problem: HullProblem, cut: Cut, check_agreement: CheckAgreement) -> None:
    """Raise unless the leaves prove that no unit agrees better with the slopes than the cut says."""
    if cut.quotient < 1:
        raise InputError("a cut needs a positive quotient")
    wanted = -problem.multiplicity * cut.slopes
    check_agreements(problem, wanted, cut.agreement, cut.proofs, (1, -1), check_agreement)


def check_agreements(
    units: HullProblem,
    wanted: Integers,
    claimed: int,
    proofs: Proofs,
    sides: tuple[int, ...],
    check_agreement: CheckAgreement,
) -> None:
    """Raise unless the leaves prove for every side that no unit agrees better with the wanted signs than claimed."""
    total = int(np.abs(wanted).sum())
    if {side for side, _, _ in proofs} != set(sides):
        raise InputError("a cut needs proofs for units, and for mirrored units where there are such")
    for side, bound, leaves in proofs:
        if leaves is None or total - 2 * bound > claimed:
            raise InputError("the leaves of a cut are missing, or prove less than the cut claims")
        check_agreement(units.agreement(wanted, side), leaves, bound)


def _bound(problem: HullProblem, region: Region, cut: Cut | None) -> int:
    """Return the bound of a region by Lagrangian duality, rounded up to a whole unit."""
    losses = table(problem, region).tolist()
    slopes, quotient = ([0] * len(losses), 1) if cut is None else (cut.slopes.tolist(), cut.quotient)
    least = 0
    for m, row, slope in zip(problem.multiplicity.tolist(), losses, slopes, strict=True):
        values = [quotient * v - slope * o for v, o in zip(row, region.offsets.tolist(), strict=True)]
        least += m * min(values)
    if cut is not None:
        least -= max(region.least * cut.agreement, region.most * cut.agreement)
    return -(-least // quotient)
