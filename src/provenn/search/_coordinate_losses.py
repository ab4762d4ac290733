"""Losses of one sample as functions of its integer scores, compiled, and where a score changes them."""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from provenn.losses import Loss, SeparableLoss
from provenn.losses._base import output_bound, score_margin
from provenn.losses._curves import HINGE, LOGISTIC, curve_point
from provenn.losses.cross_entropy import CrossEntropy
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.sat_margin import SatMargin
from provenn.network import Architecture, Dataset

SOFTMAX, ERRORS, ONE_FIRES, SHORT = 2, 3, 4, 5
WORST = 2.0**40
"""What breaking a hard condition on one sample costs during the search."""
MICRO = 1e6

Longs = NDArray[np.int64]


class Rule(NamedTuple):
    """A loss as a code and two parameters.

    ``LOGISTIC`` and ``HINGE``: curves of the signed scores. ``SOFTMAX``: cross entropy in micro-nats at
    temperature p0. ``ERRORS``: wrong predictions, ``ONE_FIRES``: the same under the published rule, a hard
    condition; p0 is the margin of scores below 0. ``SHORT``: outputs with ``4 z < p0``.
    """

    code: int
    p0: float
    p1: float


def rule_of(loss: Loss, architecture: Architecture, dataset: Dataset) -> Rule | None:
    """Return the form of a loss, or None where it has none of this kind."""
    margin = float(score_margin(architecture, dataset))
    match loss:
        case SeparableLoss():
            curve = loss.curve(architecture, dataset)
            code = getattr(curve, "code", None)
            return Rule(code, *curve.parameters) if code in (LOGISTIC, HINGE) else None  # type: ignore[attr-defined]
        case CrossEntropy():
            return Rule(SOFTMAX, loss.temperature * architecture.unit(-1, dataset.scale), 0.0)
        case MaxCorrect(rule="published") if architecture.n_outputs > 1:
            return Rule(ONE_FIRES, margin, 0.0)
        case _ if loss.counts_errors(architecture):
            return Rule(ERRORS, margin, 0.0)
        case SatMargin(kept_only=False):
            return Rule(SHORT, float(output_bound(architecture, dataset)), 0.0)
    return None


@njit(cache=True, nogil=True)
def sample_loss(code: int, p0: float, p1: float, row: Longs, label: int) -> float:
    """Return the loss of one sample with scores `row`, without its multiplicity."""
    outputs = len(row)
    if code == ERRORS:
        return _is_wrong(int(p0), row, label)
    if code == SOFTMAX:
        return _cross_entropy(p0, row, label)
    total = 0.0
    if code == ONE_FIRES:
        fired = 0
        for c in range(outputs):
            fired += 1 if row[c] >= 0 else 0
            total += WORST if -p0 < row[c] < 0 else 0.0
        return total + WORST * abs(fired - 1) + (0.0 if row[label] >= 0 else 1.0)
    for c in range(outputs):
        right = c == label if outputs > 1 else label == 1
        z = float(row[c] if right else -row[c])
        if code == SHORT:
            total += 1.0 if 4 * z < p0 else 0.0
        else:
            total += math.floor(curve_point(code, p0, p1, z)[0] + 0.5)
    return total


@njit(cache=True, nogil=True)
def _is_wrong(margin: int, row: Longs, label: int) -> float:
    """Return 1 unless the prediction is the label; a strict inequality asks for the margin."""
    if len(row) == 1:
        return 1.0 if (row[0] < 0 if label == 1 else row[0] > -margin) else 0.0
    for j in range(len(row)):
        if j != label and row[label] - row[j] < (margin if j < label else 0):
            return 1.0
    return 0.0


@njit(cache=True, nogil=True)
def _cross_entropy(tau: float, row: Longs, label: int) -> float:
    if len(row) == 1:
        z = float(row[0] if label == 1 else -row[0])
        return curve_point(LOGISTIC, MICRO, tau, z)[0]
    top, mass = row.max(), 0.0
    for c in range(len(row)):
        mass += math.exp((row[c] - top) / tau)
    return MICRO * (math.log(mass) + (top - row[label]) / tau)


@njit(cache=True, nogil=True)
def turning_points(code: int, p0: float, row: Longs, c: int, label: int) -> tuple[int, int]:
    """Return (v, u), v <= u: a counting loss is constant for scores of output c below v, in v..u-1, and from u on."""
    outputs, margin = len(row), int(p0)
    if code == ONE_FIRES:
        return 1 - margin, 0
    wanted = c == label if outputs > 1 else label == 1
    if code == SHORT:
        v = -(-margin // 4) if wanted else -margin // 4 + 1
    elif outputs == 1:
        v = 0 if wanted else 1 - margin
    elif wanted:
        v = -(2**62)
        for j in range(outputs):
            if j != c:
                v = max(v, row[j] + (margin if j < label else 0))
    else:
        v = row[label] - (margin if c < label else 0) + 1
    return v, v


__all__ = ["ERRORS", "ONE_FIRES", "SHORT", "SOFTMAX", "WORST", "Rule", "rule_of", "sample_loss", "turning_points"]
