"""The sign of every feature's weight, in a network without hidden layers."""

from dataclasses import dataclass

import numpy as np

from provenn.errors import InputError
from provenn.formulations._base import SideConstraint
from provenn.losses import Model
from provenn.milp import Terms
from provenn.network import Architecture, Dataset, IntegerNetwork


@dataclass(frozen=True)
class FeatureSigns(SideConstraint):
    """Keep weights of a feature non-negative (+1), non-positive (-1), or free (0).

    Parameters
    ----------
    signs : tuple of int
        One of -1, 0, 1 for each feature; a larger feature value then never lowers (raises)
        the score of class 1.

    Examples
    --------
    >>> net = IntegerNetwork.of(Architecture.build(2, 2), [[[1], [-1]]], [[0]])
    >>> FeatureSigns((1, 0)).admits(net), FeatureSigns((0, 1)).admits(net)
    (True, False)
    """

    signs: tuple[int, ...]

    def check(self, architecture: Architecture, dataset: Dataset) -> None:
        """Refuse wrong lengths and values, and networks with more than one neuron."""
        if architecture.hidden or architecture.n_outputs != 1:
            raise InputError("feature signs need two classes and no hidden layer: one neuron")
        if len(self.signs) != architecture.n_features or not set(self.signs) <= {-1, 0, 1}:
            raise InputError(f"feature signs must be {architecture.n_features} numbers out of -1, 0 and 1")
        if any(self.signs) and not architecture.layers[0].weights.has_zero:
            raise InputError("feature signs need weights that can be 0; binary weights cannot")

    def admits(self, network: IntegerNetwork) -> bool:
        """Whether every weight has its sign."""
        return bool(np.all(network.weights[0][:, 0] * np.array(self.signs) >= 0))

    def add_to(self, model: Model, units: int) -> None:
        """Add one bound row for each signed feature."""
        rows = np.flatnonzero(self.signs)
        if rows.size:
            signs = np.array(self.signs)[rows, None]
            model.builder.rows([Terms(model.builder.blocks["W0"][rows, 0][:, None], signs)], lower=0)
