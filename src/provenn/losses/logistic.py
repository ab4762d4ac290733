"""Logistic loss at a temperature, as an integer table of micro-nats."""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError
from provenn.losses._base import Integers, Model, SeparableLoss
from provenn.losses._curves import LOGISTIC, curve_points
from provenn.losses._epigraph import add_epigraph
from provenn.network import Architecture, Dataset

MICRO = 1_000_000
NEAR_TIE = 1e-4
NO_TAIL = 100


@dataclass(frozen=True)
class LogisticCurve:
    """``T(z) = round(10^6 log(1 + exp(-z / tau)))``, correctly rounded; tau in units of z."""

    tau: float
    unit: ClassVar[Fraction] = Fraction(1, MICRO)
    slack: ClassVar[float] = 0.5
    code: ClassVar[int] = LOGISTIC

    @property
    def parameters(self) -> tuple[float, float]:
        """Parameters (p0, p1) of the compiled curve."""
        return float(MICRO), self.tau

    def exact(self, z: NDArray[Any]) -> Integers:
        """Return T(z) for every integer z; floats decide except near ties, where decimals do."""
        distinct, inverse = np.unique(np.asarray(z, dtype=np.int64), return_inverse=True)
        value = curve_points(LOGISTIC, float(MICRO), self.tau, distinct.astype(np.float64))[0]
        table = np.rint(value).astype(np.int64)
        doubtful = np.abs(value - np.floor(value) - 0.5) < NEAR_TIE + 1e-13 * np.abs(value)
        for i in np.flatnonzero(doubtful):
            table[i] = self._decimal(int(distinct[i]))
        return table[inverse].reshape(np.shape(z))

    def _decimal(self, z: int) -> int:
        with localcontext() as context:
            context.prec = 50
            ratio = Decimal(z) / Decimal(self.tau)
            tail = (1 + (-abs(ratio)).exp()).ln() if abs(ratio) < NO_TAIL else Decimal(0)
            value = MICRO * (tail + max(-ratio, Decimal(0)))
            return int(value.to_integral_value(rounding=ROUND_HALF_EVEN))


@dataclass(frozen=True)
class Logistic(SeparableLoss):
    """Sum over samples and outputs of ``log(1 + exp(-t a / tau))``, in micro-nats.

    ``a`` is the score in real units, ``t`` the
    label as +1 or -1. Each term is rounded once to an integer number of micro-nats; that
    table is the loss, the same for every engine.

    Parameters
    ----------
    temperature : float
        tau > 0, in real units of the score.

    References
    ----------
    Log-loss in MIP training: Patil & Mintz, arXiv 2201.00723. Integer scores: Ustun & Rudin,
    arXiv 1610.00168.

    Examples
    --------
    >>> from provenn.network import Architecture, Dataset, IntegerNetwork
    >>> data = Dataset.merge([[0], [1]], [0, 1])
    >>> net = IntegerNetwork.of(Architecture.build(1, 2), [[[1]]], [[0]])
    >>> Logistic().value(net, data)  # log 2 + log(1 + 1/e)
    1006409
    """

    temperature: float = 1.0
    convex: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse temperatures that are not positive numbers."""
        if not (1e-6 <= self.temperature <= 1e6):
            raise InputError(f"the temperature must lie in 1e-6..1e6, got {self.temperature}")

    def curve(self, architecture: Architecture, dataset: Dataset) -> LogisticCurve:
        """Return the table for signed scores in their own units."""
        return LogisticCurve(self.temperature * architecture.unit(-1, dataset.scale))

    def additive(self, architecture: Architecture) -> bool:
        """Each term belongs to one sample."""
        return True

    def floor(self, dataset: Dataset) -> int | None:
        """Return 0: no term is negative."""
        return 0

    def add_to(self, model: Model) -> None:
        """Add one integer epigraph column a sample and output, above tangents of the curve."""
        add_epigraph(model, self.curve(model.architecture, model.dataset))
