"""A price on non-zero weights, a budget of them, a fan-in limit for each neuron."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from provenn.errors import InputError
from provenn.formulations._base import SideConstraint, exact_price
from provenn.losses import Model
from provenn.milp import Terms
from provenn.network import Architecture, Dataset, IntegerNetwork


@dataclass(frozen=True)
class Sparsity(SideConstraint):
    """Count non-zero weights (biases are free) and price or limit them.

    Parameters
    ----------
    price : float or Fraction
        Cost of one non-zero weight, in the loss's measure.
    max_nonzeros : int, optional
        Largest number of non-zero weights in the network.
    fan_in : int, optional
        Largest number of non-zero incoming weights of any neuron.

    Examples
    --------
    >>> net = IntegerNetwork.of(Architecture.build(3, 2), [[[1], [0], [-1]]], [[1]])
    >>> Sparsity(max_nonzeros=1).admits(net), Sparsity(price=0.1).count(net)
    (False, 2)
    """

    price: float | Fraction = 0
    max_nonzeros: int | None = None
    fan_in: int | None = None

    @property
    def price_unit(self) -> Fraction | None:
        """Cost of one non-zero weight."""
        return exact_price(self.price, "non-zero weight") or None

    def check(self, architecture: Architecture, dataset: Dataset) -> None:
        """Refuse negative limits and domains that lack 0."""
        for name, value in (("max_nonzeros", self.max_nonzeros), ("fan_in", self.fan_in)):
            if value is not None and value < 0:
                raise InputError(f"{name} must be at least 0, got {value}")
        if not all(layer.weights.has_zero for layer in architecture.layers):
            raise InputError("sparsity counts non-zero weights, and binary weights are never 0; use ternary weights")

    def admits(self, network: IntegerNetwork) -> bool:
        """Whether the budget and every fan-in limit hold."""
        fan_in = max(int(np.count_nonzero(W, axis=0).max()) for W in network.weights)
        within = self.max_nonzeros is None or self.count(network) <= self.max_nonzeros
        return within and (self.fan_in is None or fan_in <= self.fan_in)

    def count(self, network: IntegerNetwork) -> int:
        """Count non-zero weights."""
        return sum(int(np.count_nonzero(W)) for W in network.weights)

    def add_to(self, model: Model, units: int) -> None:
        """Add binary columns ``low v <= w <= high v``, their cost, the budget and the fan-in rows."""
        weights = [columns for columns, _ in model.nonzero()]
        flat = np.concatenate([columns.ravel() for columns in weights])
        if units:
            model.builder.minimise(flat, float(units))
        if self.max_nonzeros is not None:
            model.builder.rows([Terms(flat, 1.0)], upper=self.max_nonzeros)
        if self.fan_in is not None:
            for columns in weights:
                model.builder.rows([Terms(columns.T, 1.0)], upper=self.fan_in)
