"""A price on hidden neurons that are kept."""

from dataclasses import dataclass
from fractions import Fraction

from provenn.errors import InputError
from provenn.formulations._base import SideConstraint, exact_price
from provenn.losses import Model
from provenn.network import Architecture, Dataset, IntegerNetwork


@dataclass(frozen=True)
class NeuronCount(SideConstraint):
    """Binary H_j for each hidden neuron; H_j = 0 makes all its weights and its bias 0; cost price * sum H.

    As published, at least as many neurons of the last hidden layer count as there are outputs.

    Parameters
    ----------
    price : float or Fraction
        Cost of one kept neuron, in the loss's measure.

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

    def admits(self, network: IntegerNetwork) -> bool:
        """Every network is admitted: a dead neuron may be counted as kept."""
        return True

    def count(self, network: IntegerNetwork) -> int:
        """Count the live neurons, in the last hidden layer at least the minimum."""
        hidden = network.architecture.hidden
        live = [int(network.live_units(i).sum()) for i in range(len(hidden))]
        return sum(live[:-1]) + max(live[-1], min(network.architecture.n_outputs, hidden[-1]))

    def add_to(self, model: Model, units: int) -> None:
        """Add the keep columns and their cost."""
        for layer in range(len(model.architecture.hidden)):
            model.builder.minimise(model.kept(layer), float(units))
