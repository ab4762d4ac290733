"""Sets of integers that weights and biases may take."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError

MAX_BOUND = 127


@dataclass(frozen=True)
class IntegerDomain:
    """The integers ``low, low + step, ..., high``.

    Parameters
    ----------
    low, high : int
        Smallest and largest value, ``-127 <= low <= high <= 127``.
    step : int
        Distance of neighbouring values, 1 or 2; it divides ``high - low``.

    Examples
    --------
    >>> IntegerDomain.binary().values.tolist()
    [-1, 1]
    >>> IntegerDomain.symmetric(3).bits
    3
    """

    low: int
    high: int
    step: int = 1

    def __post_init__(self) -> None:
        """Refuse empty, huge or uneven domains."""
        if not all(isinstance(value, Integral) for value in (self.low, self.high, self.step)):
            raise InputError(f"a weight domain needs whole numbers, got {self.low!r}, {self.high!r}, {self.step!r}")
        if not -MAX_BOUND <= self.low <= self.high <= MAX_BOUND:
            raise InputError(
                f"weight domain [{self.low}, {self.high}] is not usable: bounds must be ordered and lie within "
                f"-{MAX_BOUND}..{MAX_BOUND}; choose a smaller weight bound"
            )
        if self.step not in (1, 2) or (self.high - self.low) % self.step:
            raise InputError(f"step {self.step} does not lead from {self.low} to {self.high}; use 1, or 2 for binary")

    @classmethod
    def binary(cls) -> "IntegerDomain":
        """Return {-1, 1}."""
        return cls(-1, 1, 2)

    @classmethod
    def ternary(cls) -> "IntegerDomain":
        """Return {-1, 0, 1}."""
        return cls(-1, 1)

    @classmethod
    def symmetric(cls, bound: int) -> "IntegerDomain":
        """Return {-bound, ..., bound}, 1 <= bound <= 127."""
        if not 1 <= bound <= MAX_BOUND:
            raise InputError(f"weight bound {bound} is outside 1..{MAX_BOUND}")
        return cls(-bound, bound)

    @property
    def values(self) -> NDArray[np.int64]:
        """All values in ascending order, int64 of shape (len(self),)."""
        return np.arange(self.low, self.high + 1, self.step, dtype=np.int64)

    def __len__(self) -> int:
        """Count the values."""
        return (self.high - self.low) // self.step + 1

    @property
    def bound(self) -> int:
        """Largest absolute value."""
        return max(abs(self.low), abs(self.high))

    @property
    def bits(self) -> int:
        """Bits that store one value."""
        return (len(self) - 1).bit_length()

    @property
    def has_zero(self) -> bool:
        """Whether 0 is one of the values."""
        return self.low <= 0 <= self.high and -self.low % self.step == 0

    def contains(self, values: NDArray[np.int64]) -> bool:
        """Whether every entry of an integer array is one of the values."""
        inside = (values >= self.low) & (values <= self.high) & ((values - self.low) % self.step == 0)
        return bool(np.all(inside))

    def clip(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Round every entry to the nearest value of the domain."""
        steps = np.rint((np.clip(values, self.low, self.high) - self.low) / self.step)
        return (self.low + self.step * steps).astype(np.int64)

    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Draw an array of independent uniform values."""
        return rng.choice(self.values, size=shape)

    def to_dict(self) -> dict[str, int]:
        """Return the fields as JSON numbers."""
        return {"low": self.low, "high": self.high, "step": self.step}
