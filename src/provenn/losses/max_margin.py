"""Largest sum of neuron margins among the networks that get every sample right."""

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from provenn.errors import InputError
from provenn.losses._base import Integers, Loss, Model, Terms, add_all_good, all_good_value
from provenn.network import Architecture, Dataset, IntegerNetwork


@dataclass(frozen=True)
class MaxMargin(Loss):
    """Maximise the sum over all neurons of their margin m_j; every output must have the right sign.

    ``u = 1 => a >= m_j`` and ``u = 0 => a <= -eps - m_j`` on every sample, outputs likewise
    with their targets. Margins are real: 1 is `scale` grid units, and eps = 1 / scale in
    every layer. The loss is minus the sum, in grid units. Margins are bounded by the
    interval of the pre-activation, since unbounded ones let solvers exploit tolerances.

    References
    ----------
    Toro Icarte, Illanes, Castro, Cire, McIlraith & Beck, CP 2019,
    doi 10.1007/978-3-030-30048-7_24.

    Examples
    --------
    >>> from provenn.network import Architecture, Dataset, IntegerNetwork
    >>> data = Dataset.merge([[-30], [20]], [0, 1], scale=10)
    >>> MaxMargin().value(IntegerNetwork.of(Architecture.build(1, 2), [[[1]]], [[0]], scale=10), data)
    -20
    """

    hard: ClassVar[bool] = True
    linear: ClassVar[bool] = True

    def check(self, architecture: Architecture, dataset: Dataset) -> None:
        """Refuse continuous weights, whose margins have another unit in every layer."""
        if architecture.continuous:
            raise InputError("max_margin adds up margins in grid units and needs integer weights in every layer")

    def unit(self, architecture: Architecture, dataset: Dataset) -> Fraction:
        """One unit is one grid unit."""
        return Fraction(1, dataset.scale)

    def value(self, network: IntegerNetwork, dataset: Dataset) -> int | None:
        """Return minus the sum of margins in grid units; None when a sample is not all-good."""
        if not all_good_value(network, dataset):
            return None
        layers = network.trace(dataset.X).preactivations
        return -sum(int(margins(a, i, dataset).sum()) for i, a in enumerate(layers))

    def add_to(self, model: Model) -> None:
        """Add the hard signs and one margin column a neuron."""
        add_all_good(model)
        for layer in range(len(model.architecture.layers)):
            self._add_layer(model, layer)

    def _add_layer(self, model: Model, layer: int) -> None:
        data, a = model.dataset, model.preactivations[layer]
        factor = _factor(layer, data)
        low, high = model.bounds(layer)
        most = factor * int(np.maximum(high, -low).min())
        name = f"margin{layer}"
        m = model.builder.columns(
            name, (a.shape[1],), 0, most, fill=lambda state: margins(state.trace.preactivations[layer], layer, data)
        )
        model.builder.minimise(m, -1.0)
        flat, wide = a.ravel()[:, None], np.broadcast_to(m, a.shape).ravel()[:, None]
        above = [Terms(flat, float(factor)), Terms(wide, -1.0)]
        below = [Terms(flat, float(factor)), Terms(wide, 1.0)]
        if layer < len(model.firing):
            fires = model.firing[layer].ravel()
            model.builder.rows(above, lower=0, when=(fires, 1))
            model.builder.rows(below, upper=-1, when=(fires, 0))
            return
        positive = data.targets(a.shape[1]).ravel() > 0
        for terms, least, greatest, rows in ((above, 0.0, np.inf, positive), (below, -np.inf, -1.0, ~positive)):
            if rows.any():
                model.builder.rows([Terms(t.columns[rows], t.values) for t in terms], least, greatest)


def _factor(layer: int, dataset: Dataset) -> int:
    """Grid units in one unit of a pre-activation."""
    return 1 if layer == 0 else dataset.scale


def margins(a: Integers, layer: int, dataset: Dataset) -> Integers:
    """Return the margin of every unit of a layer in grid units: min over samples of a, or -a - 1 grid unit."""
    scaled = a * _factor(layer, dataset)
    return np.where(scaled >= 0, scaled, -scaled - 1).min(axis=0)
