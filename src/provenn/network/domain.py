"""Sets of values that weights and biases may take."""

from dataclasses import dataclass
from fractions import Fraction
from math import isfinite, trunc
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError

MAX_BOUND = 127
FRACTION_BITS = 20
MAX_FRACTION = 2**24


@dataclass(frozen=True)
class IntegerDomain:
    """The integers ``low, low + step, ..., high``, or these divided by a power of two.

    A box of continuous weights is stored on the dyadic grid of multiples of ``1 / denominator``:
    networks over it are integer networks up to that factor, and everything is exact.

    Parameters
    ----------
    low, high : int
        Smallest and largest value, ``-127 <= low <= high <= 127``; in units of
        ``1 / denominator``, as all values of a domain are.
    step : int
        Distance of neighbouring values, 1 or 2; it divides ``high - low``.
    denominator : int
        1, or a power of two up to 2^24 for a continuous box.

    Examples
    --------
    >>> IntegerDomain.binary().values.tolist()
    [-1, 1]
    >>> IntegerDomain.symmetric(3).bits
    3
    >>> box = IntegerDomain.continuous(1.0)
    >>> box.continuous_box, box.high == box.denominator == 2**20
    (True, True)
    """

    low: int
    high: int
    step: int = 1
    denominator: int = 1

    def __post_init__(self) -> None:
        """Refuse empty, huge or uneven domains."""
        if not all(isinstance(value, Integral) for value in (self.low, self.high, self.step, self.denominator)):
            raise InputError(f"a weight domain needs whole numbers, got {self.low!r}, {self.high!r}, {self.step!r}")
        if not 1 <= self.denominator <= MAX_FRACTION or self.denominator & (self.denominator - 1):
            raise InputError(f"the denominator must be a power of two up to 2^24, got {self.denominator}")
        most = MAX_BOUND * self.denominator
        if not -most <= self.low <= self.high <= most:
            raise InputError(
                f"weight domain [{self.low}, {self.high}] is not usable: bounds must be ordered and lie within "
                f"-{MAX_BOUND}..{MAX_BOUND}; choose a smaller weight bound"
            )
        if self.step not in (1, 2) or (self.high - self.low) % self.step:
            raise InputError(f"step {self.step} does not lead from {self.low} to {self.high}; use 1, or 2 for binary")
        if self.continuous_box and self.step != 1:
            raise InputError("a continuous box has step 1: every multiple of 1 / denominator is one of its values")

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

    @classmethod
    def continuous(cls, bound: float = 1.0, low: float | None = None, bits: int = FRACTION_BITS) -> "IntegerDomain":
        """Return the box [low, bound] on multiples of 2^-bits; `low` is -bound where it is not given.

        Its ends are rounded towards 0.
        """
        lowest = -bound if low is None else low
        if not (isfinite(bound) and isfinite(lowest) and max(abs(bound), abs(lowest)) <= MAX_BOUND):
            raise InputError(f"a box of weights must lie within -{MAX_BOUND}..{MAX_BOUND}, got [{lowest}, {bound}]")
        if not 1 <= bits <= MAX_FRACTION.bit_length() - 1:
            raise InputError(f"weights are stored with 1 to {MAX_FRACTION.bit_length() - 1} binary digits, got {bits}")
        return cls(trunc(lowest * 2**bits), trunc(bound * 2**bits), 1, 2**bits)

    @property
    def continuous_box(self) -> bool:
        """Whether the domain stands for a continuous box."""
        return self.denominator > 1

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

    def in_units_of(self, other: "IntegerDomain") -> "IntegerDomain":
        """Return the same interval in the units of another domain; between its integers all its multiples count."""
        if self.denominator == other.denominator:
            return self
        low, high = (trunc(Fraction(end * other.denominator, self.denominator)) for end in (self.low, self.high))
        return IntegerDomain(low, high, 1, other.denominator)

    def contains(self, values: NDArray[np.int64]) -> bool:
        """Whether every entry of an integer array is one of the values."""
        inside = (values >= self.low) & (values <= self.high) & ((values - self.low) % self.step == 0)
        return bool(np.all(inside))

    def clip(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Round every entry, in units of ``1 / denominator``, to the nearest value of the domain."""
        steps = np.rint((np.clip(values, self.low, self.high) - self.low) / self.step)
        return (self.low + self.step * steps).astype(np.int64)

    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Draw an array of independent uniform values."""
        return self.low + self.step * rng.integers(0, len(self), size=shape)

    def to_dict(self) -> dict[str, int]:
        """Return the fields as JSON numbers."""
        fields = {"low": self.low, "high": self.high, "step": self.step}
        return {**fields, "denominator": self.denominator} if self.continuous_box else fields
