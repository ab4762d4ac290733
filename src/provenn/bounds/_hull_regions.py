"""Regions of output layers: how they begin, split, and bound the loss by a cut."""

from collections.abc import Iterator
from itertools import combinations_with_replacement
from math import comb

import numpy as np

from provenn.bounds._hull_types import Cut, HullProblem, Integers, Region
from provenn.errors import CapabilityError, OverflowRiskError

MOST_LAYERS = 64
"""A region with at most so many output layers splits into single ones at once."""
MOST_SPLIT = 400
INT64_SAFE = 2**60


def denominator(problem: HullProblem) -> int:
    """Return in what parts of 1 magnitudes and bases are counted: halves for steps."""
    return 1 if problem.levels == (-1, 1) else 2


def signed_weights(problem: HullProblem) -> list[tuple[int, int]]:
    """Return the (magnitude, side) pairs of output weights; side 0 stands for both signs."""
    low, high, step = problem.outputs
    values = range(low, high + 1, step)
    if problem.levels == (-1, 1) and low == -high:
        return sorted({(abs(v), 0) for v in values}, reverse=True)
    return sorted({(abs(v), (v > 0) - (v < 0)) for v in values}, reverse=True)


def output_biases(problem: HullProblem) -> list[int]:
    """Return the values of the output bias."""
    low, high, step = problem.output_bias or (0, 0, 1)
    return list(range(low, high + 1, step))


def reach(problem: HullProblem) -> int:
    """Return the largest magnitude of a score, at least 1."""
    (low, high, _), (least, most, _) = problem.outputs, problem.output_bias or (0, 0, 1)
    return max(1, problem.hidden * max(abs(low), abs(high)) + max(abs(least), abs(most)))


def largest_sum(problem: HullProblem) -> int:
    """Return a number that no sum of magnitudes of the samples' losses exceeds, at least 1."""
    scores = np.arange(-reach(problem), reach(problem) + 1)
    largest = np.abs(problem.losses(scores)).max(axis=1)
    return max(1, sum(int(m) * int(v) for m, v in zip(problem.multiplicity, largest, strict=True)))


def roots(problem: HullProblem) -> list[Region]:
    """Return regions that together hold every output layer.

    Raises
    ------
    CapabilityError
        For step activations with too many output layers, whose sums have no common middle.
    OverflowRiskError
        When sums of losses, or of slopes times offsets, may leave the int64 range.
    """
    if largest_sum(problem) * reach(problem) >= INT64_SAFE:
        raise OverflowRiskError("the losses leave the range of exact int64; use smaller sample weights or losses")
    weights, h = signed_weights(problem), problem.hidden
    layers = comb(len(weights) + h - 1, h)
    if layers <= MOST_LAYERS:
        return [layer for b in output_biases(problem) for layer in _layers(problem, b, None)]
    if any(side for _, side in weights):
        raise CapabilityError(f"{layers} output layers are too many for the hull bound: use fewer units or bits")
    magnitudes = [m for m, _ in weights]
    most, least = h * max(magnitudes), h * min(magnitudes)
    return [_range(b, least, most) for b in output_biases(problem)]


def split(problem: HullProblem, region: Region) -> list[Region]:
    """Return smaller regions that hold the same output layers; only itself when it cannot be split."""
    if region.exact:
        return [region]
    if region.least < region.most:
        middle = (region.least + region.most) // 2
        return [_range(region.base, region.least, middle), _range(region.base, middle + 1, region.most)]
    layers = _layers(problem, region.base, region.most)
    parts = [next(layers, None) for _ in range(MOST_SPLIT + 1)]
    return [region] if parts[-1] is not None else [part for part in parts if part is not None]


def _range(base: int, least: int, most: int) -> Region:
    """Return the region of all totals in a range; with one total, sums have its parity."""
    step = 2 if least == most else 1
    return Region(base, most, np.arange(-most, most + 1, step, dtype=np.int64), least=least)


def _layers(problem: HullProblem, b: int, total: int | None) -> Iterator[Region]:
    """Yield single output layers with a bias, of a total if one is given."""
    middle = 0 if problem.levels == (-1, 1) else 1
    for chosen in combinations_with_replacement(signed_weights(problem), problem.hidden):
        if total is not None and sum(m for m, _ in chosen) != total:
            continue
        used = [(m, side) for m, side in chosen if m > 0]
        offsets = {0}
        for m, _ in used:
            offsets = {o + s * m for o in offsets for s in (-1, 1)}
        base = denominator(problem) * b + middle * sum(m * side for m, side in used)
        most = sum(m for m, _ in used)
        magnitudes, sides = tuple(m for m, _ in used), tuple(side for _, side in used)
        yield Region(base, most, np.array(sorted(offsets), dtype=np.int64), magnitudes, sides, most)


def table(problem: HullProblem, region: Region) -> Integers:
    """Return the loss of each sample at each offset of a region, int64 of shape (n, S), without multiplicities."""
    return problem.losses((region.base + region.offsets) // denominator(problem))


def bound_by(problem: HullProblem, region: Region, losses: Integers, cut: Cut) -> int:
    """Return the bound of a region that a cut proves, in units, by integers.

    ``loss_k(s) >= min_o [loss_k(o) - G_k o / Q] + G_k o_k / Q`` at the offset o_k of any network, and the sum of
    ``m_k G_k o_k`` is at least minus the total of the magnitudes times the largest agreement of a unit.

    Parameters
    ----------
    losses : ndarray of shape (n, S), int64
        See `table`.
    """
    least = (cut.quotient * losses - cut.slopes[:, None] * region.offsets).min(axis=1)
    own = sum(int(m) * int(v) for m, v in zip(problem.multiplicity, least, strict=True))
    total = region.most if cut.agreement >= 0 else region.least
    return -((total * cut.agreement - own) // cut.quotient)
