"""A training problem, its exact objective and its MILP."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import gcd, lcm

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError
from provenn.formulations._base import SideConstraint
from provenn.formulations._skeleton import Skeleton
from provenn.losses import Loss
from provenn.milp import MILP
from provenn.network import Architecture, Dataset, IntegerNetwork


@dataclass(frozen=True)
class Encoding:
    """A MILP with the two maps between networks and points.

    Parameters
    ----------
    milp : MILP
        Its objective counts units.
    encode : callable
        Network to point; equal networks up to the order of hidden units give the same point.
    decode : callable
        Point to network.
    relaxed : bool
        The MILP bounds the loss from below instead of reproducing it everywhere.
    """

    milp: MILP
    encode: Callable[[IntegerNetwork], NDArray[np.float64]]
    decode: Callable[[NDArray[np.float64]], IntegerNetwork]
    relaxed: bool


@dataclass(frozen=True)
class Problem:
    """Minimise a loss plus prices over the networks of an architecture, under side constraints.

    Parameters
    ----------
    architecture : Architecture
    dataset : Dataset
    loss : Loss
    constraints : tuple of SideConstraint

    Examples
    --------
    >>> from provenn.losses.max_correct import MaxCorrect
    >>> data = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    >>> xor = Problem(Architecture.build(2, 2, hidden=(2,)), data, MaxCorrect())
    >>> xor.encode().milp.n_rows > 0
    True
    """

    architecture: Architecture
    dataset: Dataset
    loss: Loss
    constraints: tuple[SideConstraint, ...] = ()

    def __post_init__(self) -> None:
        """Check that all parts fit together, before any work."""
        if self.architecture.n_features != self.dataset.n_features:
            raise InputError(
                f"the network reads {self.architecture.n_features} features, the data have {self.dataset.n_features}"
            )
        self.dataset.targets(self.architecture.n_outputs)
        self.loss.check(self.architecture, self.dataset)
        for constraint in self.constraints:
            constraint.check(self.architecture, self.dataset)

    def on(self, dataset: Dataset) -> "Problem":
        """Return the same problem on other samples."""
        return replace(self, dataset=dataset, constraints=tuple(c.on(dataset) for c in self.constraints))

    @cached_property
    def loss_unit(self) -> Fraction:
        """Value of one unit of the loss alone."""
        return self.loss.unit(self.architecture, self.dataset)

    @cached_property
    def unit(self) -> Fraction:
        """Value of one unit of the objective: the common measure of the loss and all prices."""
        parts = [self.loss_unit] + [c.price_unit for c in self.constraints if c.price_unit is not None]
        return Fraction(gcd(*(p.numerator * (lcm(*(q.denominator for q in parts)) // p.denominator) for p in parts)),
                        lcm(*(p.denominator for p in parts)))  # fmt: skip

    def _units(self, price: Fraction | None) -> int:
        return 0 if price is None else int(price / self.unit)

    def value(self, network: IntegerNetwork) -> int | None:
        """Return the exact objective of a network in units, or None where it breaks a hard condition."""
        if not self._decided(network) or not all(constraint.admits(network) for constraint in self.constraints):
            return None
        loss = self.loss.value(network, self.dataset)
        if loss is None:
            return None
        prices = sum(self._units(c.price_unit) * c.count(network) for c in self.constraints)
        return loss * self._units(self.loss_unit) + prices

    def _decided(self, network: IntegerNetwork) -> bool:
        """Whether hidden layers with a margin keep it on every sample."""
        if not any(layer.margin for layer in self.architecture.layers[:-1]):
            return True
        return network.decided(network.trace(self.dataset.X))

    @cached_property
    def floor(self) -> int | None:
        """A value that no network goes below, known without work: prices are not negative."""
        floor = self.loss.floor(self.dataset)
        return None if floor is None else floor * self._units(self.loss_unit)

    def encode(self, exact_at: Sequence[IntegerNetwork] = ()) -> Encoding:
        """Build the MILP.

        Parameters
        ----------
        exact_at : sequence of IntegerNetwork
            Networks at which what is modelled by tangents must be exact.
        """
        scores = tuple(network.scores(self.dataset.X) for network in exact_at)
        model = Skeleton(self.architecture, self.dataset, scores, tuple(exact_at))
        self.loss.add_to(model)
        model.builder.scale_costs(self._units(self.loss_unit))
        for constraint in self.constraints:
            constraint.add_to(model, self._units(constraint.price_unit))
        model.break_symmetry()
        builder = model.builder

        def encode(network: IntegerNetwork) -> NDArray[np.float64]:
            return builder.fill(model.answer(network))

        return Encoding(builder.build(), encode, model.decode, model.relaxed)
