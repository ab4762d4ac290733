"""Losses as functions of the scores of one sample, for compiled searches, with their NumPy twin."""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from provenn.errors import CapabilityError
from provenn.losses import Loss, SeparableLoss
from provenn.losses._base import output_bound
from provenn.losses.cross_entropy import CrossEntropy
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.sat_margin import SatMargin
from provenn.network import Architecture, Dataset

SEPARABLE, SOFTMAX = 0, 1
LARGEST_TABLE = 2**17
LARGEST_MOVE = 8
GUIDE = 0.3
NEVER = -(2**62)

Floats = NDArray[np.float64]


class Rule(NamedTuple):
    """How to compute the loss of one sample with integer scores s, label y and signed scores z = t s.

    ``SEPARABLE``: the sum over outputs of ``table[(z - low) >> shift]``; ``SOFTMAX``:
    ``unit * (log sum_c E[(max s - s_c) >> shift] + (max s - s_y) / tau)`` with ``E[m] =
    exp(-m / tau)`` in the table. To both are added `margin_weight` for every output with
    ``z < threshold`` and `error_weight` for a wrong prediction.

    A shift above 0 rounds the smooth part of losses over wide score ranges; the counts stay exact.
    """

    kind: int
    low: int
    shift: int
    tau: float
    unit: float
    threshold: int
    margin_weight: float
    error_weight: float


class ScoreLoss(NamedTuple):
    """A rule and its table."""

    rule: Rule
    table: Floats


def obstacle(architecture: Architecture, dataset: Dataset, loss: Loss) -> str | None:
    """Say why a loss has no form of this kind, or None when it has one."""
    if isinstance(loss, SeparableLoss | CrossEntropy):
        return None
    if loss.counts_errors(architecture):
        return None
    if isinstance(loss, MaxCorrect):
        return "the published rule of max_correct is a hard condition"
    if isinstance(loss, SatMargin):
        return "kept_only changes the threshold with the network" if loss.kept_only else None
    return f"the loss {type(loss).__name__} is no sum over samples of a function of the scores"


def score_loss_of(loss: Loss, architecture: Architecture, dataset: Dataset, guide: float = GUIDE) -> ScoreLoss:
    """Return the form of a loss.

    Parameters
    ----------
    guide : float
        Weight of a smooth loss that leads over the plateaus of losses that count, in units of
        the count: logistic for sat_margin, cross entropy for max_correct.

    Raises
    ------
    CapabilityError
        See `obstacle`.
    """
    reason = obstacle(architecture, dataset, loss)
    if reason is not None:
        raise CapabilityError(f"the compiled search does not apply: {reason}")
    low, high = architecture.bounds(len(architecture.layers) - 1, dataset.X, dataset.scale)
    grid = 1 if architecture.hidden else dataset.scale
    step = 1 if architecture.hidden else max(int(np.abs(dataset.X).max()), dataset.scale)
    reach = int(max(abs(int(low.min())), abs(int(high.max())))) + LARGEST_MOVE * step
    if isinstance(loss, SeparableLoss):
        return _separable(loss, architecture, dataset, reach)
    if isinstance(loss, CrossEntropy):
        return _softmax(loss.temperature * grid, 1e6, reach, architecture.n_outputs)
    spread = max(1.0, reach / 16)
    if loss.counts_errors(architecture):
        smooth = _softmax(spread, guide, reach, architecture.n_outputs)
        return smooth._replace(rule=smooth.rule._replace(error_weight=1.0))
    threshold = -(-output_bound(architecture, dataset) // 4)
    smooth = _separable(Logistic(max(threshold, 1) / 4 / grid), architecture, dataset, reach, threshold)
    return ScoreLoss(smooth.rule._replace(threshold=threshold, margin_weight=1.0), smooth.table * (guide / 1e6))


def _separable(
    loss: SeparableLoss, architecture: Architecture, dataset: Dataset, reach: int, centre: int = 0
) -> ScoreLoss:
    shift = _shift(2 * reach + 1)
    points = (np.arange((2 * reach >> shift) + 1, dtype=np.int64) << shift) + (1 << shift >> 1) - reach
    table = loss.curve(architecture, dataset).exact(points - centre).astype(np.float64)
    return ScoreLoss(Rule(SEPARABLE, -reach, shift, 1.0, 1.0, NEVER, 0.0, 0.0), table)


def _softmax(tau: float, unit: float, reach: int, outputs: int) -> ScoreLoss:
    """One output is a softmax over the scores s / 2 and -s / 2, which is the logistic loss of s."""
    shift = _shift(2 * reach + 1)
    points = (np.arange((2 * reach >> shift) + 1, dtype=np.int64) << shift) + (1 << shift >> 1)
    if outputs == 1:
        z = points - reach
        table = unit * np.logaddexp(0.0, -z / tau)
        return ScoreLoss(Rule(SEPARABLE, -reach, shift, tau, unit, NEVER, 0.0, 0.0), table)
    return ScoreLoss(Rule(SOFTMAX, 0, shift, tau, unit, NEVER, 0.0, 0.0), np.exp(-points / tau))


def _shift(entries: int) -> int:
    return max(0, (entries - 1).bit_length() - (LARGEST_TABLE - 1).bit_length())


@njit(cache=True, nogil=True)
def sample_loss(rule: Rule, table: Floats, row: NDArray[np.int32], begin: int, label: int) -> float:
    """Return the loss of the scores ``row[begin:]`` of one sample."""
    total, best, outputs = 0.0, begin, len(row) - begin
    if rule.kind == SOFTMAX:
        top = row[begin]
        for c in range(begin + 1, len(row)):
            if row[c] > top:
                top, best = row[c], c
        mass = 0.0
        for c in range(begin, len(row)):
            mass += table[(top - row[c]) >> rule.shift]
        total = rule.unit * (math.log(mass) + (top - row[begin + label]) / rule.tau)
        if rule.error_weight > 0.0 and best - begin != label:
            total += rule.error_weight
        return total
    for c in range(outputs):
        right = c == label if outputs > 1 else label == 1
        z = row[begin + c] if right else -row[begin + c]
        total += table[(z - rule.low) >> rule.shift]
        if z < rule.threshold:
            total += rule.margin_weight
    if rule.error_weight > 0.0 and (row[begin] >= 0) != (label == 1):
        total += rule.error_weight
    return total


def sample_losses(loss: ScoreLoss, scores: NDArray[np.int64], label: NDArray[np.int64]) -> Floats:
    """Return the loss of every sample: the NumPy twin of `sample_loss`."""
    rule, table = loss
    outputs = scores.shape[1]
    right = label[:, None] == (np.arange(outputs) if outputs > 1 else 1)
    z = np.where(right, scores, -scores)
    if rule.kind == SOFTMAX:
        top = scores.max(axis=1)
        mass = table[(top[:, None] - scores) >> rule.shift].sum(axis=1)
        total = rule.unit * (np.log(mass) + (top - scores[np.arange(len(scores)), label]) / rule.tau)
    else:
        total = table[(z - rule.low) >> rule.shift].sum(axis=1)
    total = total + rule.margin_weight * (z < rule.threshold).sum(axis=1)
    answer = scores.argmax(axis=1) if outputs > 1 else (scores[:, 0] >= 0).astype(np.int64)
    return np.asarray(total + rule.error_weight * (answer != label))
