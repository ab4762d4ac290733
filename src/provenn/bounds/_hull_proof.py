"""The evidence of a hull bound as a proof that `provenn.check_proof` checks: few cuts, with trees of their pricing."""

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from provenn.bounds._agreement_proof import grow_tree, signs_of
from provenn.bounds._hull_regions import table
from provenn.bounds._hull_types import Cut, Evidence, HullProblem, Integers, Region


class Pieces:
    """Regions and cuts of a search, and what they show: all in Python integers.

    Parameters
    ----------
    problem : HullProblem
    evidence : Evidence
    """

    def __init__(self, problem: HullProblem, evidence: Evidence) -> None:
        self.problem, self.evidence = problem, evidence
        self.tables = [table(problem, region) for region in evidence.regions]
        self.alone = [self._sum(losses.min(axis=1)) for losses in self.tables]

    def _sum(self, values: Integers) -> int:
        return sum(int(m) * int(v) for m, v in zip(self.problem.multiplicity, values, strict=True))

    def slack(self, i: int, number: int, bound: int) -> int:
        """Return V times the largest agreement at which a cut shows a bound for region i, V its largest total."""
        cut, region = self.evidence.cuts[number], self.evidence.regions[i]
        least = (cut.quotient * self.tables[i] - cut.slopes[:, None] * region.offsets).min(axis=1)
        return self._sum(least) - cut.quotient * (bound - 1) - 1

    def shows(self, i: int, number: int, bound: int) -> bool:
        """Whether a cut shows a bound for region i."""
        return self.slack(i, number, bound) >= self.evidence.regions[i].most * self.evidence.cuts[number].agreement

    def total(self, number: int) -> int:
        """Return the agreement of a unit that is right on all samples."""
        return self._sum(np.abs(self.evidence.cuts[number].slopes))


@dataclass(frozen=True)
class Plan:
    """Which cut shows a bound in each region (-1: each sample alone), and the regions that are enumerated."""

    bound: int
    cut: dict[int, int]
    enumerated: frozenset[int]

    @classmethod
    def of(cls, pieces: Pieces, bound: int) -> "Plan":
        """Choose few cuts: those that enumerations need, then the ones that serve the most regions."""
        evidence, chosen, left = pieces.evidence, dict[int, int](), set[int]()
        able = dict[int, set[int]]()
        for i in range(len(evidence.regions)):
            able[i] = {c for c in range(len(evidence.cuts)) if pieces.shows(i, c, bound)}
            if pieces.alone[i] >= bound:
                chosen[i] = -1
            elif not able[i]:
                chosen[i] = evidence.cut[i]
            else:
                left.add(i)
        tried = frozenset(i for i in chosen if chosen[i] >= 0)
        best = set(chosen.values())
        while left:
            waiting = [c for i in left for c in sorted(able[i])]
            known = [c for c in waiting if c in best]
            number = known[0] if known else max(sorted(set(waiting)), key=waiting.count)
            done = {i for i in left if number in able[i]}
            chosen |= dict.fromkeys(done, number)
            left -= done
        return cls(bound, chosen, tried)

    def goals(self, pieces: Pieces, number: int) -> tuple[int, int]:
        """Return what the trees of a cut must show, and up to what cost they must list units.

        Without enumerations, the agreement may be as large as the regions allow, which makes trees smaller.
        """
        mine = [i for i, c in self.cut.items() if c == number]
        regions, total = pieces.evidence.regions, pieces.total(number)
        agreement = pieces.evidence.cuts[number].agreement
        if not self.enumerated.intersection(mine):
            agreement = min(pieces.slack(i, number, self.bound) // regions[i].most for i in mine)
        bound = max(0, -((agreement - total) // 2))
        listed, agreement = bound, total - 2 * bound
        for i in self.enumerated.intersection(mine):
            room = regions[i].most * agreement - 1 - pieces.slack(i, number, self.bound)
            listed = max(listed, (total - agreement + room // min(regions[i].magnitudes)) // 2 + 1)
        return bound, listed


def fields_of(problem: HullProblem, evidence: Evidence, bound: int, ends: float) -> dict[str, Any]:
    """Return the fields of an output's proof, for JSON.

    Trees that cannot be grown in time are left out, and the bound is then what the others show.

    Parameters
    ----------
    problem : HullProblem
    evidence : Evidence
    bound : int
        What the evidence shows.
    ends : float
        By `time.perf_counter`.
    """
    pieces = Pieces(problem, evidence)
    plan, cuts = Plan.of(pieces, bound), dict[int, dict[str, Any]]()
    for number in sorted(set(plan.cut.values()) - {-1}):
        grown = _cut_fields(problem, evidence.cuts[number], *plan.goals(pieces, number), ends)
        if grown is None:
            return _weaker(pieces, plan, cuts)
        cuts[number] = grown
    return _all_fields(pieces, plan.cut, cuts, bound)


def _cut_fields(problem: HullProblem, cut: Cut, bound: int, listed: int, ends: float) -> dict[str, Any] | None:
    """Return a cut with the trees of units and mirrored units, or None when the time is up."""
    trees = []
    for side in (1, -1):
        signs = signs_of(problem.agreement(-problem.multiplicity * cut.slopes, side), listed > bound)
        trees.append(grow_tree(signs, bound, listed, ends) if perf_counter() < ends else None)
        if trees[-1] is None:
            return None
    return {"slopes": cut.slopes.tolist(), "quotient": cut.quotient, "sides": trees}


def _weaker(pieces: Pieces, plan: Plan, cuts: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Return the proof of the bound that is left without some cuts: each sample alone where theirs were needed."""
    cut = {i: c if c in cuts and i not in plan.enumerated else -1 for i, c in plan.cut.items()}
    bound = min([plan.bound, *(pieces.alone[i] for i, c in cut.items() if c < 0)])
    return _all_fields(pieces, cut, {c: part for c, part in cuts.items() if c in cut.values()}, bound)


def _all_fields(pieces: Pieces, cut: dict[int, int], cuts: dict[int, dict[str, Any]], bound: int) -> dict[str, Any]:
    numbers = {c: place for place, c in enumerate(cuts)}
    regions = [_region_fields(region, numbers.get(cut[i], -1)) for i, region in enumerate(pieces.evidence.regions)]
    return {"bound": bound, "regions": regions, "cuts": list(cuts.values())}


def _region_fields(region: Region, cut: int) -> list[Any]:
    return [region.base, region.least, region.most, list(region.magnitudes), list(region.sides), cut]
