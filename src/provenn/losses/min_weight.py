"""Fewest non-zero weights among the networks that get every sample right."""

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from provenn.errors import InputError
from provenn.losses._base import Loss, Model, add_all_good, all_good_value
from provenn.network import Architecture, Dataset, IntegerNetwork


@dataclass(frozen=True)
class MinWeight(Loss):
    """Minimise the number of non-zero weights and biases; every output must have the right sign.

    Parameters
    ----------
    count_biases : bool
        Whether non-zero biases count too, as in the re-implementation of Thorbjarnarson &
        Yorke-Smith (arXiv 2009.03825); the original counts weights only.

    References
    ----------
    Toro Icarte, Illanes, Castro, Cire, McIlraith & Beck, CP 2019,
    doi 10.1007/978-3-030-30048-7_24. The published model caps weights at 1; this one does not.

    Examples
    --------
    >>> from provenn.network import Architecture, Dataset, IntegerNetwork
    >>> data = Dataset.merge([[0, 0], [1, 0]], [0, 1])
    >>> MinWeight().value(IntegerNetwork.of(Architecture.build(2, 2), [[[1], [0]]], [[-1]]), data)
    2
    """

    count_biases: bool = True
    hard: ClassVar[bool] = True

    def check(self, architecture: Architecture, dataset: Dataset) -> None:
        """Refuse domains in which nothing can be zero."""
        if not all(layer.weights.has_zero for layer in architecture.layers):
            raise InputError("min_weight counts non-zero weights, and binary weights are never 0; use ternary weights")

    def unit(self, architecture: Architecture, dataset: Dataset) -> Fraction:
        """One unit is one weight or bias."""
        return Fraction(1)

    def value(self, network: IntegerNetwork, dataset: Dataset) -> int | None:
        """Count non-zero weights and biases; None when a sample is not all-good."""
        if not all_good_value(network, dataset):
            return None
        biases = 0 if self.count_biases else sum(int(np.count_nonzero(b)) for b in network.biases)
        return network.nonzeros - biases

    def floor(self, dataset: Dataset) -> int | None:
        """Return 0: no term is negative."""
        return 0

    def add_to(self, model: Model) -> None:
        """Add the hard signs of the outputs and a cost of 1 for each non-zero parameter."""
        add_all_good(model)
        for columns in model.nonzero():
            for part in columns if self.count_biases else columns[:1]:
                model.builder.minimise(part, 1.0)
