"""Cross entropy of a softmax over the scores, for searches and gradient starts."""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from typing import ClassVar

import numpy as np

from provenn.errors import CapabilityError, InputError
from provenn.losses._base import Integers, Loss, Model, weighted_sum
from provenn.losses.logistic import MICRO, NEAR_TIE, NO_TAIL
from provenn.network import Architecture, Dataset, IntegerNetwork


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Sum over samples of ``log(sum_c exp(s_c / tau)) - s_y / tau``, in micro-nats.

    ``s`` are the scores in real units. A single
    output s stands for the two scores 0 and s, which is the logistic loss. Each term is rounded
    once to an integer number of micro-nats. The loss has no MILP: searches and gradient
    training minimise it, and no bound is proven.

    Parameters
    ----------
    temperature : float
        tau > 0, in real units of the score.

    Examples
    --------
    >>> from provenn.network import Architecture, Dataset, IntegerNetwork
    >>> data = Dataset.merge([[0], [1], [2]], [0, 1, 2])
    >>> net = IntegerNetwork.of(Architecture.build(1, 3), [[[0, 0, 0]]], [[0, 0, 0]])
    >>> CrossEntropy().value(net, data)  # 3 log 3
    3295836
    """

    temperature: float = 1.0
    has_milp: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse temperatures that are not positive numbers."""
        if not (1e-6 <= self.temperature <= 1e6):
            raise InputError(f"the temperature must lie in 1e-6..1e6, got {self.temperature}")

    def unit(self, architecture: Architecture, dataset: Dataset) -> Fraction:
        """One unit is a micro-nat."""
        return Fraction(1, MICRO)

    def value(self, network: IntegerNetwork, dataset: Dataset) -> int | None:
        """Return the exact loss in micro-nats."""
        scores = network.scores(dataset.X)
        if scores.shape[1] == 1:
            scores = np.column_stack([np.zeros_like(scores), scores])
        tau = self.temperature * network.architecture.unit(-1, dataset.scale)
        ahead = scores - scores[np.arange(len(scores)), dataset.y][:, None]
        top = ahead.max(axis=1)
        value = MICRO * (top / tau + np.log(np.exp((ahead - top[:, None]) / tau).sum(axis=1)))
        terms = np.rint(value).astype(np.int64)
        doubtful = np.abs(value - np.floor(value) - 0.5) < NEAR_TIE + 1e-12 * np.abs(value)
        for k in np.flatnonzero(doubtful):
            terms[k] = _decimal(ahead[k], tau)
        return weighted_sum(terms, dataset.multiplicity)

    def floor(self, dataset: Dataset) -> int | None:
        """Return 0: no term is negative."""
        return 0

    def add_to(self, model: Model) -> None:
        """Refuse: no MILP of a softmax is known that is worth solving."""
        raise CapabilityError(
            "cross_entropy has no MILP: train it by search (solver='portfolio'), or choose loss='logistic'"
        )


def _decimal(ahead: Integers, tau: float) -> int:
    """Return the correctly rounded term of one sample; `ahead` are the scores minus that of the label."""
    with localcontext() as context:
        context.prec = 50
        ratios = [Decimal(int(a)) / Decimal(tau) for a in ahead]
        top = max(ratios)
        mass = sum(((r - top).exp() for r in ratios if top - r < NO_TAIL), Decimal(0))
        return int((MICRO * (top + mass.ln())).to_integral_value(rounding=ROUND_HALF_EVEN))
