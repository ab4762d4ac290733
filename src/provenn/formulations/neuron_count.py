"""A price on hidden neurons that are kept."""

from dataclasses import dataclass
from fractions import Fraction

from provenn.errors import InputError
from provenn.formulations._base import SideConstraint, exact_price
from provenn.losses import Model
from provenn.milp import Terms
from provenn.network import Architecture, Dataset, IntegerNetwork


@dataclass(frozen=True)
class NeuronCount(SideConstraint):
    """Binary H_j for each hidden neuron; H_j = 0 makes all its weights and its bias 0; cost price * sum H.

    Parameters
    ----------
    price : float or Fraction
        Cost of one kept neuron, in the loss's measure.
    min_neurons : int, optional
        Kept neurons of the last hidden layer at least; by default (and as published) as many
        as there are outputs.

    References
    ----------
    Thorbjarnarson & Yorke-Smith, arXiv 2009.03825.

    Examples
    --------
    >>> from provenn.network import IntegerDomain
    >>> net = IntegerNetwork.constant(Architecture.build(3, 2, hidden=(4,)), favoured=1)
    >>> NeuronCount(0.5).count(net)
    1
    """

    price: float | Fraction
    min_neurons: int | None = None

    @property
    def price_unit(self) -> Fraction | None:
        """Cost of one neuron."""
        return exact_price(self.price, "neuron") or None

    def check(self, architecture: Architecture, dataset: Dataset) -> None:
        """Refuse networks without hidden layers or with domains that lack 0."""
        if not architecture.hidden:
            raise InputError("neuron_count needs a hidden layer; give hidden_layer_sizes")
        if not all(layer.weights.has_zero for layer in architecture.layers):
            raise InputError("neuron_count removes neurons by zero weights, and binary weights are never 0")
        if self.min_neurons is not None and not 0 <= self.min_neurons <= architecture.hidden[-1]:
            raise InputError(f"min_neurons must lie in 0..{architecture.hidden[-1]}, got {self.min_neurons}")

    def _fewest(self, architecture: Architecture) -> int:
        wanted = architecture.n_outputs if self.min_neurons is None else self.min_neurons
        return min(wanted, architecture.hidden[-1])

    def admits(self, network: IntegerNetwork) -> bool:
        """Every network is admitted: a dead neuron may be counted as kept."""
        return True

    def count(self, network: IntegerNetwork) -> int:
        """Count the live neurons, in the last hidden layer at least the minimum."""
        last = len(network.architecture.hidden) - 1
        live = [int(network.live_units(i).sum()) for i in range(last + 1)]
        return sum(live[:-1]) + max(live[-1], self._fewest(network.architecture))

    def add_to(self, model: Model, units: int) -> None:
        """Add the keep columns, their cost and the minimum."""
        hidden = model.architecture.hidden
        for layer in range(len(hidden)):
            kept = model.kept(layer)
            if units:
                model.builder.minimise(kept, float(units))
            if layer == len(hidden) - 1:
                model.builder.rows([Terms(kept[None, :], 1.0)], lower=self._fewest(model.architecture))
