"""Number of wrong samples."""

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError
from provenn.losses._base import Integers, Loss, Model, Terms, score_margin, weighted_sum
from provenn.network import Architecture, Dataset, IntegerNetwork


@dataclass(frozen=True)
class MaxCorrect(Loss):
    """Minimise the number of wrong samples.

    ``argmax``: a sample is right when `predict` returns its label: ``a_label > a_j`` for
    j < label and ``a_label >= a_j`` for j > label. ``published``: exactly one output fires
    (``o = 1 => a >= 0``, ``o = 0 => a <= -1``) on every sample, a hard condition, and the
    sample is wrong unless that output is its label. With one output both count
    ``(a >= 0) != label``. Where the output layer is continuous, a strict inequality asks
    for its margin: ``a < 0`` for ``a <= -margin``.

    Parameters
    ----------
    rule : {"argmax", "published"}

    References
    ----------
    Thorbjarnarson & Yorke-Smith, arXiv 2009.03825.

    Examples
    --------
    >>> from provenn.network import Architecture, Dataset, IntegerNetwork
    >>> data = Dataset.merge([[0], [1], [2]], [0, 1, 0])
    >>> MaxCorrect().value(IntegerNetwork.of(Architecture.build(1, 2), [[[1]]], [[-1]]), data)
    1
    """

    rule: Literal["argmax", "published"] = "argmax"
    convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the name of the rule."""
        if self.rule not in ("argmax", "published"):
            raise InputError(f"unknown rule {self.rule!r} of max_correct: choose 'argmax' or 'published'")

    @property
    def hard(self) -> bool:  # type: ignore[override]
        """The published rule is infeasible for networks on which two outputs fire."""
        return self.rule == "published"

    def unit(self, architecture: Architecture, dataset: Dataset) -> Fraction:
        """One unit is one sample."""
        return Fraction(1)

    def value(self, network: IntegerNetwork, dataset: Dataset) -> int | None:
        """Count wrong samples; None when the published rule's condition fails."""
        if self._one_fires(network.architecture):
            scores = network.scores(dataset.X)
            fired = scores >= 0
            quiet = scores <= -score_margin(network.architecture, dataset)
            if np.any(fired.sum(axis=1) != 1) or not np.all(fired | quiet):
                return None
            wrong = ~fired[np.arange(dataset.n_samples), dataset.y]
        else:
            wrong = _wrong(network.scores(dataset.X), dataset.y, score_margin(network.architecture, dataset))
        return weighted_sum(wrong.astype(np.int64), dataset.multiplicity)

    def counts_errors(self, architecture: Architecture) -> bool:
        """Whether the rule is that of `predict`."""
        return not self._one_fires(architecture)

    def additive(self, architecture: Architecture) -> bool:
        """Each term belongs to one sample."""
        return True

    def floor(self, dataset: Dataset) -> int | None:
        """Return the errors that equal samples of different classes force."""
        return dataset.conflicts

    def by_score(self, architecture: Architecture, dataset: Dataset, output: int, scores: Integers) -> Integers | None:
        """Return 1 where the only output has the wrong sign."""
        if architecture.n_outputs > 1:
            return None
        below = score_margin(architecture, dataset)
        return np.where(dataset.y[:, None] == 1, scores < 0, scores > -below).astype(np.int64)

    def _one_fires(self, architecture: Architecture) -> bool:
        return self.rule == "published" and architecture.n_outputs > 1

    def add_to(self, model: Model) -> None:
        """Add binary columns that count wrong samples."""
        if self._one_fires(model.architecture):
            self._add_published(model)
        elif model.architecture.n_outputs == 1:
            self._add_single(model)
        else:
            self._add_argmax(model)

    def _wrong(self, model: Model) -> Integers:
        """Columns: 1 where the sample may be wrong; of equal samples at most one class is right."""
        data = model.dataset
        wrong = model.builder.columns(
            "wrong", (data.n_samples,), 0, 1,
            fill=lambda state: _wrong(state.trace.scores, data.y, score_margin(model.architecture, data)),
        )  # fmt: skip
        model.builder.minimise(wrong, data.multiplicity)
        _, group, size = np.unique(data.X, axis=0, return_inverse=True, return_counts=True)
        for g in np.flatnonzero(size > 1):
            members = wrong[group.ravel() == g]
            model.builder.rows([Terms(members, 1.0)], lower=len(members) - 1)
        return wrong

    def _add_single(self, model: Model) -> None:
        t = model.dataset.targets(1)[:, 0]
        scores, wrong = model.preactivations[-1], self._wrong(model)
        model.builder.rows([Terms(scores, t[:, None])], lower=np.where(t > 0, 0, model.margin(-1)), when=(wrong, 0))

    def _add_argmax(self, model: Model) -> None:
        y, scores, wrong = model.dataset.y, model.preactivations[-1], self._wrong(model)
        for j in range(scores.shape[1]):
            rows = np.flatnonzero(y != j)
            if not rows.size:
                continue
            own, other = scores[rows, y[rows]], scores[rows, j]
            terms = [Terms(own[:, None], 1.0), Terms(other[:, None], -1.0)]
            model.builder.rows(terms, lower=(j < y[rows]) * model.margin(-1), when=(wrong[rows], 0))

    def _add_published(self, model: Model) -> None:
        data, scores = model.dataset, model.preactivations[-1]
        fires = model.builder.columns("fires", scores.shape, 0, 1, fill=lambda state: state.trace.scores >= 0)
        model.builder.rows([Terms(fires, 1.0)], lower=1, upper=1)
        flat = scores.ravel()[:, None]
        model.builder.rows([Terms(flat, 1.0)], lower=0, when=(fires.ravel(), 1))
        model.builder.rows([Terms(flat, 1.0)], upper=-model.margin(-1), when=(fires.ravel(), 0))
        model.builder.minimise(fires[np.arange(data.n_samples), data.y], -data.multiplicity.astype(float))
        model.builder.offset += float(data.total)


def _wrong(scores: Integers, y: Integers, margin: int) -> NDArray[np.bool_]:
    """Tell which samples are wrong, where a strict inequality asks for a margin; bool of shape (n,)."""
    if scores.shape[1] == 1:
        return np.asarray(np.where(y == 1, scores[:, 0] < 0, scores[:, 0] > -margin))
    lead = scores[np.arange(len(scores)), y][:, None] - scores
    others = np.arange(scores.shape[1])
    needed = np.where(others < y[:, None], margin, 0)
    return np.asarray(np.any((lead < needed) & (others != y[:, None]), axis=1))
