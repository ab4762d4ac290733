r"""The loss of the worst perturbation of every sample.

The exact value takes, for every output, the lowest score where the target is +1 and the highest where it is -1
(`provenn.network.intervals`). That is the loss of the worst perturbation for one output without hidden layers. With
several outputs each has a perturbation of its own, and with hidden layers scores come from intervals: then it is an
upper bound of the loss under the worst perturbation.

`provenn.losses._worst_case_model` is the MILP block.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import numpy as np

from provenn.errors import InputError, OverflowRiskError
from provenn.losses._base import ConvexCurve, Integers, Loss, Model, SeparableLoss
from provenn.losses._curves import curve_points
from provenn.losses._dual_norm import largest_reach
from provenn.losses._worst_case_model import at_worst_scores, perturbed
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.max_margin import MaxMargin
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.network.intervals import checked_radius, intervals

LARGEST_LOSS = 2.0**62


@dataclass(frozen=True)
class WorstCase(Loss):
    """A loss under the worst perturbation in a ball, see the module.

    Parameters
    ----------
    loss : Loss
        Any but max_margin and the published rule of max_correct with several outputs.
    radius : tuple of int
        One entry for each feature, in grid units; 0 for features that are never perturbed.
    norm : {"inf", "1", "2"}
        See `provenn.network.intervals.reach`.

    References
    ----------
    Kurtz & Bah, arXiv 2110.11382; worst cases by the dual norm: Xu, Caramanis & Mannor, JMLR 10 (2009).

    Examples
    --------
    >>> from provenn.losses.max_correct import MaxCorrect
    >>> data = Dataset.merge([[0], [1], [4]], [0, 1, 1])
    >>> net = IntegerNetwork.of(Architecture.build(1, 2), [[[1]]], [[-1]])
    >>> [WorstCase(MaxCorrect(), (radius,)).value(net, data) for radius in (0, 1, 4)]
    [0, 2, 3]
    """

    loss: Loss
    radius: tuple[int, ...]
    norm: str = "inf"

    @property
    def hard(self) -> bool:  # type: ignore[override]
        """Whether some networks are infeasible."""
        return self.loss.hard

    @property
    def linear(self) -> bool:  # type: ignore[override]
        """Whether LP-based solvers prove the MILP faster."""
        return self.loss.linear

    @property
    def has_milp(self) -> bool:  # type: ignore[override]
        """Whether the wrapped loss has a MILP."""
        return self.loss.has_milp

    def check(self, architecture: Architecture, dataset: Dataset) -> None:
        """Refuse radii that do not fit, losses without a worst score, and values beyond exact integers."""
        self.loss.check(architecture, dataset)
        checked_radius(self.radius, self.norm, architecture.n_features)
        published = isinstance(self.loss, MaxCorrect) and self.loss.rule == "published" and architecture.n_outputs > 1
        if isinstance(self.loss, MaxMargin | WorstCase) or published:
            raise InputError(
                f"the worst case of {type(self.loss).__name__} is not its value at the worst scores; "
                "choose 'logistic', 'min_hinge', 'sat_margin' or 'max_correct' with rule='argmax'"
            )
        low, high = self._bounds(architecture, dataset)
        reach = max(-int(low.min()), int(high.max()))
        if isinstance(self.loss, SeparableLoss) and self._top(reach, architecture, dataset) >= LARGEST_LOSS:
            raise OverflowRiskError("the loss of a perturbed sample could leave int64; use a smaller radius")

    def _top(self, reach: int, architecture: Architecture, dataset: Dataset) -> float:
        """Return about the largest loss of one output."""
        assert isinstance(self.loss, SeparableLoss)
        curve = cast(ConvexCurve, self.loss.curve(architecture, dataset))
        return float(curve_points(curve.code, *curve.parameters, np.array([-float(reach)]))[0][0])

    def _bounds(self, architecture: Architecture, dataset: Dataset) -> tuple[Integers, Integers]:
        """Bound the worst scores of every sample."""
        last = len(architecture.layers) - 1
        low, high = architecture.bounds(last, dataset.X, dataset.scale)
        wider = 0 if architecture.hidden else largest_reach(architecture, self.radius, self.norm)
        return low - wider, high + wider

    def unit(self, architecture: Architecture, dataset: Dataset) -> Fraction:
        """Value of one unit of the wrapped loss."""
        return self.loss.unit(architecture, dataset)

    def scores(self, network: IntegerNetwork, dataset: Dataset) -> Integers:
        """Return the worst score of every sample and output, shape (n, n_outputs)."""
        targets = dataset.targets(network.architecture.n_outputs)
        return intervals(network, dataset.X, self.radius, self.norm).worst(targets)

    def value(self, network: IntegerNetwork, dataset: Dataset) -> int | None:
        """Return the wrapped loss at the worst scores."""
        return self.loss.value(perturbed(network, self.scores(network, dataset)), dataset)

    def additive(self, architecture: Architecture) -> bool:
        """Each sample has perturbations of its own."""
        return self.loss.additive(architecture)

    def floor(self, dataset: Dataset) -> int | None:
        """Return that of the wrapped loss: no worst case is better."""
        return self.loss.floor(dataset)

    def add_to(self, model: Model) -> None:
        """Add worst scores and, on them, the block of the wrapped loss."""
        self.loss.add_to(at_worst_scores(model, self.radius, self.norm))
