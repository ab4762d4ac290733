"""What robustness checks report."""

from dataclasses import dataclass
from math import isinf
from typing import Any, Literal

from provenn._robustness_ball import Counterexample

State = Literal["certified", "counterexample", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """What is known about one sample.

    Parameters
    ----------
    state : {"certified", "counterexample", "unknown"}
    method : str
        What decided: "activations", "intervals", "closed form", "attack", the name of a solver, or "limit".
    bound : float
        Nothing changes within less than this multiple of the radius, as far as is proven; infinite where certified.
    counterexample : Counterexample or None
    """

    state: State
    method: str
    bound: float
    counterexample: Counterexample | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON data; an infinite bound is null."""
        found = None if self.counterexample is None else self.counterexample.to_dict()
        bound = None if isinf(self.bound) else self.bound
        return {"state": self.state, "method": self.method, "bound": bound, "counterexample": found}


@dataclass(frozen=True)
class Report:
    """What is known about many samples.

    Parameters
    ----------
    radius : tuple of int
    norm : str
    right : tuple of bool
        Samples whose prediction without perturbation is their label.
    verdicts : tuple of Verdict
    """

    radius: tuple[int, ...]
    norm: str
    right: tuple[bool, ...]
    verdicts: tuple[Verdict, ...]

    def count(self, state: State) -> int:
        """Count the samples of a state."""
        return sum(verdict.state == state for verdict in self.verdicts)

    @property
    def accuracy(self) -> float:
        """Share of right predictions without perturbation."""
        return sum(self.right) / len(self.right)

    @property
    def certified_accuracy(self) -> float:
        """Share of samples that are right under every perturbation, as far as is proven."""
        return self._share("certified")

    @property
    def attacked_accuracy(self) -> float:
        """Share of samples that are right and have no known counterexample: no proof raises the true share above it."""
        return self._share("certified") + self._share("unknown")

    def _share(self, state: State) -> float:
        pairs = zip(self.right, self.verdicts, strict=True)
        return sum(right and verdict.state == state for right, verdict in pairs) / len(self.right)

    def to_dict(self) -> dict[str, Any]:
        """Return figures and verdicts as JSON data."""
        states: tuple[State, ...] = ("certified", "counterexample", "unknown")
        return {
            "radius": list(self.radius),
            "norm": self.norm,
            "samples": len(self.right),
            "accuracy": self.accuracy,
            "certified_accuracy": self.certified_accuracy,
            "attacked_accuracy": self.attacked_accuracy,
            **{state: self.count(state) for state in states},
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
        }


@dataclass(frozen=True)
class Smallest:
    """The smallest multiple of a radius at which a prediction changes.

    Parameters
    ----------
    lower : float
        Within less nothing changes, as the solver vouches; infinite where nothing changes within the largest multiple.
    upper : float
        The witness lies at this multiple; infinite without one.
    witness : Counterexample or None
    """

    lower: float
    upper: float
    witness: Counterexample | None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON data; infinite ones are null."""
        ends = {name: None if isinf(value) else value for name, value in (("lower", self.lower), ("upper", self.upper))}
        return {**ends, "witness": None if self.witness is None else self.witness.to_dict()}
