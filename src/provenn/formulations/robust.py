"""First-layer activations that no perturbation of a training sample changes, as a condition or at a price."""

from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError
from provenn.formulations._base import SideConstraint, exact_price
from provenn.losses import Model
from provenn.losses._base import weighted_sum
from provenn.losses._dual_norm import add_reach, largest_reach, steps_of
from provenn.milp import Terms
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.network.intervals import checked_radius, reach


@dataclass(frozen=True)
class Robust(SideConstraint):
    """Keep the first hidden layer's activations of every sample the same in a ball around it.

    With D_j the reach of unit j (`provenn.network.intervals.reach`),

        u = 1 => a - D_j >= 0,    u = 0 => a + D_j <= -margin

    on every sample. Nothing after the first layer then changes, so that the prediction of each sample is certified.
    With a price, a sample whose activations may change costs the price, times its multiplicity: a binary column
    relaxes its rows by the largest D.

    Parameters
    ----------
    radius : tuple of int
        One entry for each feature, in grid units.
    norm : {"inf", "1", "2"}
        The norm "2" needs integer weights and a table of at most 256 steps, see `provenn.losses._dual_norm`: cuts
        around a larger one would admit networks that the condition forbids, or forbid some that it admits.
    price : float or Fraction, optional
        Cost of a sample that is not certified, in the loss's measure; None makes it a condition.
    dataset : Dataset
        The samples, those of the problem.

    References
    ----------
    Kurtz & Bah, arXiv 2110.11382.

    Examples
    --------
    >>> data = Dataset.merge([[0], [3]], [0, 1])
    >>> shape = Architecture.build(1, 2, (1,))
    >>> net = IntegerNetwork.of(shape, [[[1]], [[1]]], [[-1], [0]])
    >>> [Robust((radius,), dataset=data).admits(net) for radius in (0, 1)]
    [True, False]
    >>> Robust((1,), price=0.5, dataset=data).count(net)
    1
    """

    radius: tuple[int, ...]
    norm: str = "inf"
    price: float | Fraction | None = None
    dataset: Dataset = field(kw_only=True, repr=False, compare=False)

    @property
    def price_unit(self) -> Fraction | None:
        """Cost of one sample that is not certified."""
        return None if self.price is None else exact_price(self.price, "sample that is not certified") or None

    def check(self, architecture: Architecture, dataset: Dataset) -> None:
        """Refuse networks without a first hidden layer, other samples, and norms without an exact model."""
        checked_radius(self.radius, self.norm, architecture.n_features)
        if not architecture.hidden:
            raise InputError(
                "activations that stay the same need a hidden layer; without one train the worst case of a loss"
            )
        if dataset is not self.dataset and dataset.fingerprint() != self.dataset.fingerprint():
            raise InputError("the samples of the condition must be those of the problem")
        if self.norm == "2" and steps_of(architecture, self.radius) is None:
            raise InputError(
                "the norm '2' has no exact model here: it needs integer weights and few values of sum (R_i w_i)^2; "
                "choose norm 'inf' or '1', equal radii for all features, or the worst case of a loss"
            )

    def on(self, dataset: Dataset) -> "Robust":
        """Return the same condition on other samples."""
        return replace(self, dataset=dataset)

    def admits(self, network: IntegerNetwork) -> bool:
        """Whether every sample is certified, or may be left uncertified at a price."""
        return self.price is not None or not self.uncertified(network).any()

    def count(self, network: IntegerNetwork) -> int:
        """Count the samples that are not certified."""
        return weighted_sum(self.uncertified(network).astype(np.int64), self.dataset.multiplicity)

    def uncertified(self, network: IntegerNetwork) -> NDArray[np.bool_]:
        """Tell which samples' first activations may change in the ball, bool of shape (n,)."""
        D = reach(network.weights[0], self.radius, self.norm)
        a = network.trace(self.dataset.X).preactivations[0]
        margin = network.architecture.margin(0, network.scale)
        return np.asarray(((a >= 0) & (a < D) | (a < 0) & (a + D > -margin)).any(axis=1))

    def add_to(self, model: Model, units: int) -> None:
        """Add the reach of every unit, and the two rows of every sample and unit."""
        if self.price is not None and not units:
            return
        D = add_reach(model, self.radius, self.norm, "robust_reach")
        a, u = model.preactivations[0], model.firing[0].ravel()
        own, moved = a.ravel()[:, None], np.broadcast_to(D, a.shape).ravel()[:, None]
        above, below = [Terms(own, 1.0), Terms(moved, -1.0)], [Terms(own, 1.0), Terms(moved, 1.0)]
        if self.price is not None:
            broken = model.builder.columns(
                "not_certified", (len(a),), 0, 1, fill=lambda state: self.uncertified(state.network)
            )  # fmt: skip
            model.builder.minimise(broken, units * model.dataset.multiplicity.astype(np.float64))
            spread = np.broadcast_to(broken[:, None], a.shape).ravel()[:, None]
            most = largest_reach(model.architecture, self.radius, self.norm) / model.unit(0)
            above, below = [*above, Terms(spread, most)], [*below, Terms(spread, -most)]
        model.builder.rows(above, lower=0, when=(u, 1))
        model.builder.rows(below, upper=-model.margin(0), when=(u, 0))
