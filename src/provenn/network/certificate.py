"""What is known about a trained network: its exact loss and a proven bound."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class Certificate:
    """Two claims kept apart: the loss, ours and exact, and the bound, with its prover.

    Parameters
    ----------
    feasible : bool
        The network satisfies every row of the model, checked in exact integers.
    loss : int
        Exact minimised value (loss and prices) of the network, in units.
    bound : int or None
        Proven lower bound on the loss of every network, in units; None when there is none.
    unit : Fraction
        Value of one unit; all losses are whole numbers of units.
    agrees : bool
        What the solver claimed about its answer equals what the exact check found.
    violation : Fraction
        Largest violation of a model row by the network, 0 when feasible.
    proved_by : str or None
        Who vouches for the bound.

    Examples
    --------
    >>> done = Certificate(True, 7, 7, Fraction(1), True, Fraction(0), "cpsat")
    >>> done.optimal, done.gap
    (True, 0.0)
    """

    feasible: bool
    loss: int
    bound: int | None
    unit: Fraction
    agrees: bool
    violation: Fraction
    proved_by: str | None

    @property
    def optimal(self) -> bool:
        """Feasible, confirmed, and no network can be a whole unit better."""
        return self.feasible and self.agrees and self.bound is not None and self.bound >= self.loss

    @property
    def gap(self) -> float:
        """Relative distance ``(loss - bound) / max(|loss|, 1 unit)``; infinite without a bound."""
        if self.bound is None:
            return float("inf")
        return max(0, self.loss - self.bound) / max(abs(self.loss), 1)

    @property
    def loss_value(self) -> float:
        """The loss as a number, ``loss * unit``."""
        return float(self.loss * self.unit)

    @property
    def bound_value(self) -> float | None:
        """The bound as a number, or None."""
        return None if self.bound is None else float(self.bound * self.unit)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON data, fractions as strings."""
        return {
            "feasible": self.feasible,
            "loss": self.loss,
            "bound": self.bound,
            "unit": str(self.unit),
            "agrees": self.agrees,
            "violation": str(self.violation),
            "proved_by": self.proved_by,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Certificate":
        """Rebuild a certificate from `to_dict`."""
        return cls(
            bool(data["feasible"]),
            int(data["loss"]),
            None if data["bound"] is None else int(data["bound"]),
            Fraction(data["unit"]),
            bool(data["agrees"]),
            Fraction(data["violation"]),
            data["proved_by"],
        )
