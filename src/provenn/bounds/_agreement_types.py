"""What an agreement problem is and what solving one returns."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError, OverflowRiskError
from provenn.status import Status

Integers = NDArray[np.int64]
Neuron = tuple[Integers, int]
Stopped = Callable[[], bool]
Known = Callable[[], int | None]
SAFE = 2**62


@dataclass(frozen=True)
class AgreementProblem:
    """Minimise ``sum_k cost_k [sign(x_k . w + scale * b) != t_k]`` over boxes of integer weights and bias.

    Parameters
    ----------
    X : ndarray of shape (n, d), int64
        Samples in grid units.
    t : ndarray of shape (n,), int64
        Wanted signs, +1 or -1.
    cost : ndarray of shape (n,), int64
        Cost of a wrong sign, at least 0; they sum to less than 2**62. One that exceeds the sum of
        the others forces its sample.
    scale : int
        Grid units in 1.
    low, high : ndarray of shape (d,), int64
        Box of the weights, which take the values ``low, low + step, ..., high``.
    step : int
    bias : (low, high, step), optional
        Values of the bias; None means b = 0.
    zero : {1, -1}
        The sign of a score of 0: +1 as the sign activation has it; -1 gives the mirrored unit ``-sign(-a)``.

    Raises
    ------
    InputError
        For shapes, signs, costs or boxes that do not fit.
    OverflowRiskError
        When a score or the sum of the costs could reach 2**62.
    """

    X: Integers
    t: Integers
    cost: Integers
    scale: int
    low: Integers
    high: Integers
    step: int = 1
    bias: tuple[int, int, int] | None = None
    zero: int = 1

    def __post_init__(self) -> None:
        """Check shapes, ranges and that int64 suffices."""
        n, d = self.X.shape
        if self.t.shape != (n,) or self.cost.shape != (n,) or self.low.shape != (d,) or self.high.shape != (d,):
            raise InputError("an agreement problem needs X (n, d), t and cost (n,), low and high (d,)")
        if not np.all(np.abs(self.t) == 1) or self.zero not in (1, -1):
            raise InputError("wanted signs and the sign of 0 must be +1 or -1")
        boxes = [(self.low, self.high, self.step)] + ([] if self.bias is None else [self.bias])
        if any(step < 1 or np.any(low > high) or np.any((high - low) % step) for low, high, step in boxes):
            raise InputError("boxes must be ordered and whole steps wide")
        if np.any(self.cost < 0):
            raise InputError("costs must not be negative")
        if sum(self.cost.tolist()) >= SAFE or self._reach() >= SAFE:
            raise OverflowRiskError("costs or scores leave the range of exact int64; use smaller units")

    def _reach(self) -> int:
        """Bound every score and every change of a score, in Python integers."""
        size = np.maximum(np.abs(self.low), np.abs(self.high)).tolist()
        largest = np.abs(self.X).max(axis=0, initial=0).tolist()
        bias = 0 if self.bias is None else max(abs(self.bias[0]), abs(self.bias[1]))
        return 2 * sum(x * w for x, w in zip(largest, size, strict=True)) + 2 * self.scale * bias + 2

    def right(self, w: Integers, b: int) -> NDArray[np.bool_]:
        """Tell for each sample whether a neuron has the wanted sign, bool of shape (n,)."""
        return np.asarray(self.pattern(w, b) == self.t)

    def pattern(self, w: Integers, b: int) -> NDArray[np.int8]:
        """Return the signs of a neuron, int8 of shape (n,)."""
        score = self.X @ np.asarray(w, dtype=np.int64) + self.scale * b
        return np.where(score >= (0 if self.zero > 0 else 1), 1, -1).astype(np.int8)

    def value(self, w: Integers, b: int) -> int:
        """Return the exact cost of a neuron."""
        return int(self.cost[~self.right(w, b)].sum())

    def allows(self, w: Integers, b: int) -> bool:
        """Whether a neuron lies in the box."""
        w, (low, high, step) = np.asarray(w), self.bias or (0, 0, 1)
        inside = np.all((w >= self.low) & (w <= self.high) & ((w - self.low) % self.step == 0))
        return bool(inside) and low <= b <= high and (b - low) % step == 0


@dataclass(frozen=True)
class Leaves:
    """Boxes that cover all neurons, each with what closes it; see `provenn.bounds.agreement.check`.

    Boxes are those of the entries of the reduced problem, m of them over D entries.

    Parameters
    ----------
    low, high : ndarray of shape (m, D), int64
    part : ndarray of shape (m, 3), int64
        ``(j, first, last)``: the leaf is the part ``first..last`` of entry j of the box. With j = -1 it is the
        whole box; with j = -2 it is closed by the move number `first`, which stays in the root box.
    moves : ndarray of shape (r, D), int64
        Moves that leave every score as it is.
    rank : ndarray of shape (D,), int64
        ``rank @ move > 0`` for every move: points of the largest rank among equals are never left out.
    one, two : ndarray of shape (p,), int64
        Pairs of merged samples, in the order in which they share out costs.
    clip : int
        Costs above it count as `clip`.
    """

    low: Integers
    high: Integers
    part: Integers
    moves: Integers
    rank: Integers
    one: Integers
    two: Integers
    clip: int


@dataclass(frozen=True)
class AgreementResult:
    """The best neuron found and what is proven.

    Parameters
    ----------
    status : Status
        OPTIMAL when the search is complete: then ``bound`` is the smaller of the optimum and the cutoff.
    w : ndarray of shape (d,), int64, or None
    b : int
    value : int or None
        Cost of (w, b); None when no neuron below the cutoff was found and no start was given.
    bound : int
        No neuron below the cutoff costs less.
    nodes : int
    seconds : float
    leaves : Leaves or None
    """

    status: Status
    w: Integers | None
    b: int
    value: int | None
    bound: int
    nodes: int
    seconds: float
    leaves: Leaves | None = None


@dataclass(frozen=True)
class Collection:
    """Distinct sign patterns of neurons up to a cost.

    Parameters
    ----------
    patterns : ndarray of shape (m, n), int8
        Signs, no row twice.
    w : ndarray of shape (m, d), int64
    b : ndarray of shape (m,), int64
        One neuron of each pattern.
    values : ndarray of shape (m,), int64
    complete : bool
        Whether every pattern up to the threshold is there.
    nodes : int
    """

    patterns: NDArray[np.int8]
    w: Integers
    b: Integers
    values: Integers
    complete: bool
    nodes: int
