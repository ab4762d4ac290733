"""Squared hinge of the scaled score, linear for very wrong samples."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError, OverflowRiskError
from provenn.losses._base import Integers, Model, SeparableLoss, output_bound
from provenn.losses._curves import HINGE
from provenn.losses._epigraph import add_epigraph
from provenn.network import Architecture, Dataset

LARGEST_LOSS = 2**62


@dataclass(frozen=True)
class HingeCurve:
    """``(B - 4z)^2`` in units of ``1 / (4 B^2)``, 0 from z = B/4 on, linear below z = -B/2."""

    B: int
    slack: ClassVar[float] = 0.0
    code: ClassVar[int] = HINGE

    @property
    def unit(self) -> Fraction:
        """Value of one unit."""
        return Fraction(1, 4 * self.B**2)

    @property
    def parameters(self) -> tuple[float, float]:
        """Parameters (p0, p1) of the compiled curve."""
        return float(self.B), 0.0

    def exact(self, z: NDArray[Any]) -> Integers:
        """Return the integer loss at every integer z, same shape."""
        z = np.asarray(z, dtype=np.int64)
        gap = np.maximum(self.B - 4 * z, 0)
        return np.where(2 * z < -self.B, -3 * self.B**2 - 24 * self.B * z, np.minimum(gap, 3 * self.B) ** 2)


@dataclass(frozen=True)
class MinHinge(SeparableLoss):
    """Sum over samples and outputs of ``phi(h t)``, ``phi(z) = max(0, 1/2 - z)^2``, ``h = 2 a / B``.

    Below z = -1 the function continues linearly. It is convex, so the MILP block is exact
    epigraph rows (the published code hands a non-convex piecewise object to its solver).
    B is the bound of a score with hidden layers, otherwise the mean sum of the features.

    References
    ----------
    Thorbjarnarson & Yorke-Smith, arXiv 2009.03825.

    Examples
    --------
    >>> from provenn.network import Architecture, Dataset, IntegerNetwork
    >>> data = Dataset.merge([[0], [4]], [0, 1])  # B = 2
    >>> net = IntegerNetwork.of(Architecture.build(1, 2), [[[1]]], [[-1]])
    >>> loss = MinHinge()
    >>> loss.value(net, data), loss.unit(net.architecture, data)
    (0, Fraction(1, 16))
    """

    convex: ClassVar[bool] = True

    def check(self, architecture: Architecture, dataset: Dataset) -> None:
        """Refuse grids on which the integer loss of a sample could leave int64."""
        if architecture.layers[-1].continuous:
            raise InputError(
                "min_hinge counts in squares of the score's grid, which is too fine with continuous output weights; "
                "choose loss='logistic', or integer weights in the output layer"
            )
        B = output_bound(architecture, dataset)
        low, high = architecture.bounds(0, dataset.X, dataset.scale) if not architecture.hidden else (-B, B)
        reach = max(-int(np.min(low)), int(np.max(high)))
        if 9 * B * B + 24 * B * reach >= LARGEST_LOSS:
            raise OverflowRiskError(
                f"min_hinge could reach {9 * B * B + 24 * B * reach} units for one sample, beyond exact int64; "
                "use a coarser grid or smaller weight bounds"
            )

    def curve(self, architecture: Architecture, dataset: Dataset) -> HingeCurve:
        """Return the parabola for this B."""
        return HingeCurve(output_bound(architecture, dataset))

    def additive(self, architecture: Architecture) -> bool:
        """Each term belongs to one sample; without hidden layers its scale comes from all of them."""
        return bool(architecture.hidden)

    def floor(self, dataset: Dataset) -> int | None:
        """Return 0: no term is negative."""
        return 0

    def add_to(self, model: Model) -> None:
        """Add one epigraph column a sample and output, above chords of the parabola."""
        add_epigraph(model, self.curve(model.architecture, model.dataset))
