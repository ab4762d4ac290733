"""The contract of a loss: its exact integer value and its block of a MILP."""

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError
from provenn.milp import Builder, Terms
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.network.network import Trace

Integers = NDArray[np.int64]


class Model(Protocol):
    """What a loss may use of the model that it is added to; n samples, n_l units in layer l.

    Attributes
    ----------
    builder : Builder
        Where rows, columns and costs go. `fill` callbacks of columns get a `State`.
    preactivations : list of ndarray of shape (n, n_l)
        Columns of ``a`` of every layer (the first in grid units); the last are the scores.
    firing : list of ndarray of shape (n, n_l)
        Binary columns of the hidden layers: 1 where the unit's activation is +1.
    """

    builder: Builder
    architecture: Architecture
    dataset: Dataset
    preactivations: list[Integers]
    firing: list[Integers]

    def nonzero(self) -> Integers:
        """Binary columns, one for each weight and bias that may be non-zero: 1 where it is."""
        ...

    def kept(self, layer: int) -> Integers:
        """Binary columns of shape (n_l,): 1 where a hidden unit is kept; the others have zero weights."""
        ...

    def score_bounds(self) -> tuple[Integers, Integers]:
        """Interval of the scores for each sample, two arrays of shape (n,)."""
        ...


class State(Protocol):
    """A known answer, from which `fill` callbacks compute the values of their columns."""

    network: IntegerNetwork
    trace: Trace


class Loss(ABC):
    """What training minimises; subclasses are frozen dataclasses, one a file.

    All values are whole numbers of `unit`, so that comparisons are exact.
    """

    convex: ClassVar[bool] = False
    """Convex in the scores, with a `curve`: the convex engine applies without hidden layers."""
    hard: ClassVar[bool] = False
    """Some networks are infeasible; training can end without an answer."""

    def check(self, architecture: Architecture, dataset: Dataset) -> None:
        """Raise `InputError` when the loss has no meaning for this architecture or data."""

    @abstractmethod
    def unit(self, architecture: Architecture, dataset: Dataset) -> Fraction:
        """Value of one unit of the loss."""

    @abstractmethod
    def value(self, network: IntegerNetwork, dataset: Dataset) -> int | None:
        """Return the exact loss in units, or None where the network breaks a hard condition."""

    @abstractmethod
    def add_to(self, model: Model) -> None:
        """Add columns, rows and costs to a MILP; one unit of cost is one `unit`."""


class Curve(ABC):
    """A function of ``z = t * a`` (signed score, grid units without hidden layer), exact on integers.

    Parameters
    ----------
    unit : Fraction
        Value of one unit.
    """

    unit: Fraction
    slack: float = 0.0
    """``|exact(z) - smooth(z)| <= slack`` at every integer z, in units."""

    @abstractmethod
    def exact(self, z: NDArray[Any]) -> Integers:
        """Return the integer loss at every integer z, same shape."""


class SeparableLoss(Loss):
    """A sum over samples and outputs of a curve of the signed score ``t * a``."""

    @abstractmethod
    def curve(self, architecture: Architecture, dataset: Dataset) -> Curve:
        """Return the curve for this architecture and these data."""

    def unit(self, architecture: Architecture, dataset: Dataset) -> Fraction:
        """Value of one unit of the loss."""
        return self.curve(architecture, dataset).unit

    def value(self, network: IntegerNetwork, dataset: Dataset) -> int | None:
        """Return the exact loss in units: the sum of multiplicity * curve(t * a)."""
        curve = self.curve(network.architecture, dataset)
        z = dataset.targets(network.architecture.n_outputs) * network.scores(dataset.X)
        return weighted_sum(curve.exact(z).sum(axis=1), dataset.multiplicity)


def weighted_sum(values: Integers, multiplicity: Integers) -> int:
    """Return ``sum values * multiplicity`` as a Python integer, whatever its size."""
    largest = int(np.abs(values).max(initial=0)) * int(multiplicity.sum())
    if largest < 2**62:
        return int(values @ multiplicity)
    return sum(int(v) * int(m) for v, m in zip(values, multiplicity, strict=True))


def require_all_good_targets(architecture: Architecture, loss: str) -> None:
    """Refuse an architecture for which the all-good condition has no outputs to look at."""
    if architecture.n_outputs < 1:
        raise InputError(f"{loss} needs at least one output")


__all__ = ["Curve", "Loss", "Model", "SeparableLoss", "State", "Terms", "weighted_sum"]
