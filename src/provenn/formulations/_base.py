"""The contract of a side constraint or price."""

from abc import ABC, abstractmethod
from fractions import Fraction

from provenn.errors import InputError
from provenn.losses import Model
from provenn.network import Architecture, Dataset, IntegerNetwork


class SideConstraint(ABC):
    """A condition on the network, a price for it, or both; subclasses are frozen dataclasses, one a file."""

    @property
    def price_unit(self) -> Fraction | None:
        """Smallest step of the price, in the loss's own measure; None without a price."""
        return None

    def check(self, architecture: Architecture, dataset: Dataset) -> None:
        """Raise `InputError` when the constraint has no meaning for this architecture or data."""

    def on(self, dataset: Dataset) -> "SideConstraint":
        """Return the same constraint for other samples; itself where samples do not matter."""
        return self

    @abstractmethod
    def admits(self, network: IntegerNetwork) -> bool:
        """Whether a network fulfils the condition, exactly."""

    def count(self, network: IntegerNetwork) -> int:
        """Return how many price units the network costs."""
        return 0

    @abstractmethod
    def add_to(self, model: Model, units: int) -> None:
        """Add rows, and the price as `units` objective units for each price unit."""


def exact_price(price: float | Fraction, what: str) -> Fraction:
    """Return a price as the fraction that was meant, at most six decimals."""
    if not abs(float(price)) < float("inf"):
        raise InputError(f"the price of a {what} must be a finite number, got {price}")
    exact = Fraction(price).limit_denominator(1_000_000)
    if exact < 0 or (price > 0) != (exact > 0):
        raise InputError(f"the price of a {what} must be 0 or at least 1e-6, got {price}")
    return exact
