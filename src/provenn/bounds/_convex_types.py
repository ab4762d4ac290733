"""The problem that the convex engine solves, and what it returns."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError, OverflowRiskError
from provenn.losses._base import weighted_sum
from provenn.status import Status

Integers = NDArray[np.int64]
LARGEST_SCORE = 2**52
LARGEST_WEIGHT = 2**27
"""A box of continuous weights up to 127 on multiples of 2^-20 fits; nodes keep their boxes as int32."""


def fits(A: Integers, low: Integers, high: Integers) -> bool:
    """Whether weights fit nodes, and scores are exact in floats."""
    reach = np.maximum(np.abs(low), np.abs(high)).astype(np.float64)
    return bool(reach.max() <= LARGEST_WEIGHT and (np.abs(A.astype(np.float64)) @ reach).max() < LARGEST_SCORE)


@dataclass(frozen=True)
class ConvexProblem:
    """One neuron: minimise a convex loss of its scores over integer weights.

    ``F(w, b) = sum_k multiplicity_k T(t_k (x_k . w + scale b)) + price * #{j : w_j != 0}``

    Parameters
    ----------
    X : ndarray of shape (n, d), int64
        Samples in grid units, best merged.
    t : ndarray of shape (n,), int64
        Labels, +1 or -1.
    multiplicity : ndarray of shape (n,), int64
    curve : Curve
        The table T as ``exact(z)``, its smooth convex extension as ``code`` and ``parameters``
        (see `provenn.losses._curves`), and ``slack``, how far the two are apart at most.
    scale : int
        Grid units that the bias counts.
    low, high : ndarray of shape (d,), int64
        Box of each weight; ``high - low`` is a multiple of `step`.
    step : int
        Distance of neighbouring weights.
    bias : (low, high, step) or None
        Domain of b; None fixes b at 0.
    price : int
        Cost of each non-zero weight, in units, at least 0.
    max_nonzeros : int or None
        Largest number of non-zero weights.
    tolerance : int
        A search may end when its bound is so near the value, in units. On a grid so fine that neighbours
        have equal losses a proof to the last unit would visit them all; no bound gets within `slack` of the value.
    """

    X: Integers
    t: Integers
    multiplicity: Integers
    curve: Any
    scale: int
    low: Integers
    high: Integers
    step: int = 1
    bias: tuple[int, int, int] | None = None
    price: int = 0
    max_nonzeros: int | None = None
    tolerance: int = 0

    def __post_init__(self) -> None:
        """Refuse shapes and boxes that do not fit together, and scores beyond exact floats."""
        n, d = self.X.shape
        if n < 1 or d < 1 or self.t.shape != (n,) or self.multiplicity.shape != (n,):
            raise InputError(f"X has shape {self.X.shape}: t and multiplicity need one entry for each of its rows")
        if self.low.shape != (d,) or self.high.shape != (d,):
            raise InputError(f"low and high need one entry for each of the {d} features")
        if not np.isin(self.t, (-1, 1)).all() or (self.multiplicity < 0).any():
            raise InputError("labels t must be +1 or -1 and multiplicities at least 0")
        if self.price < 0 or (self.max_nonzeros is not None and self.max_nonzeros < 0):
            raise InputError(f"price and max_nonzeros must be at least 0, got {self.price} and {self.max_nonzeros}")
        boxes = zip(*self.boxes(), strict=True)
        if any(s < 1 or h < lo or (h - lo) % s or max(abs(lo), abs(h)) > LARGEST_WEIGHT for lo, h, s in boxes):
            raise InputError(
                f"every box must hold low, low + step, ..., high within -{LARGEST_WEIGHT}..{LARGEST_WEIGHT}"
            )
        if not fits(self.signed(), *self.boxes()[:2]):
            raise OverflowRiskError("scores can exceed 2^52; use a coarser grid or a smaller weight bound")

    def boxes(self) -> tuple[Integers, Integers, Integers]:
        """Return low, high and step of all entries, the bias last where there is one."""
        steps = np.full(len(self.low), self.step, dtype=np.int64)
        if self.bias is None:
            return self.low, self.high, steps
        low, high, step = self.bias
        return np.append(self.low, low), np.append(self.high, high), np.append(steps, step)

    def counts(self) -> NDArray[np.bool_]:
        """Return which entries price and budget apply to: the weights whose box holds 0, bool of shape (D,)."""
        low, high, step = self.boxes()
        counts = (low <= 0) & (high >= 0) & (-low % step == 0)
        if self.bias is not None:
            counts[-1] = False
        return counts

    def forced_nonzeros(self) -> int:
        """Return the number of weights whose box leaves 0 out."""
        return len(self.low) - int(self.counts().sum())

    @property
    def slack(self) -> float:
        """Largest distance between the exact loss and its smooth extension, in units."""
        return float(self.curve.slack) * float(self.multiplicity.sum())

    def floor(self) -> int:
        """Return a lower bound of the loss of every neuron: each sample at its best possible score."""
        low, high, _ = self.boxes()
        A = self.signed()
        best = np.maximum(A, 0) @ high + np.minimum(A, 0) @ low
        return weighted_sum(self.curve.exact(best), self.multiplicity)

    def nearest_to_zero(self) -> NDArray[np.float64]:
        """Return the point of the box with every entry as near to 0 as the grid has it."""
        low, high, step = self.boxes()
        return (low + step * ((np.clip(0, low, high) - low) // step)).astype(np.float64)

    def pack(self, w: Integers, b: int) -> NDArray[np.float64]:
        """Return w, and b where there is a bias, as one float vector."""
        return (np.append(w, b) if self.bias is not None else w).astype(np.float64)

    def unpack(self, v: NDArray[np.float64]) -> tuple[Integers, int]:
        """Undo `pack`."""
        whole = np.rint(v).astype(np.int64)
        return (whole[:-1], int(whole[-1])) if self.bias is not None else (whole, 0)

    def signed(self) -> Integers:
        """Return the matrix A with rows ``t_k (x_k, scale)`` (without the last column if there is no bias)."""
        columns = self.X if self.bias is None else np.column_stack([self.X, np.full(len(self.X), self.scale)])
        return np.asarray(columns * self.t[:, None], dtype=np.int64)

    def value(self, w: Integers, b: int) -> int:
        """Return the exact objective of a neuron, in units."""
        z = self.t * (self.X @ w + self.scale * b)
        return weighted_sum(self.curve.exact(z), self.multiplicity) + self.price * int(np.count_nonzero(w))

    def allows(self, w: Integers, b: int) -> bool:
        """Whether a neuron lies in the box, on the grid and within the budget."""
        low, high, step = self.boxes()
        v = np.append(w, b) if self.bias is not None else np.asarray(w)
        if v.shape != low.shape or (self.bias is None and b != 0):
            return False
        fits = (v >= low) & (v <= high) & ((v - low) % step == 0)
        return bool(fits.all()) and (self.max_nonzeros is None or int(np.count_nonzero(w)) <= self.max_nonzeros)


@dataclass(frozen=True)
class Leaves:
    """The closed leaves of a search: boxes that together cover the root box.

    Parameters
    ----------
    low, high : ndarray of shape (m, D), int64
        Box of each leaf, the bias last where there is one.
    w : ndarray of shape (m, D), float64
        Point whose tangent bound closes the box (see `minimise`).
    kind : ndarray of shape (m,), int64
        -1: closed by its bound; -2: a single point; -3: no point of it counts (below); 2i or
        2i + 1: minus or plus ``shifts[i]`` takes it to equal points nearer to the anchors.
    shifts : ndarray of shape (r, D), int64
        Moves u with ``A u = 0``. A point v of the root box counts iff ``v + sum_i z_i shifts_i`` is
        in the problem's box for some integers z; every point of that box is one of these.
    reference, anchor : ndarray of shape (r,) or (0,), int64
        A reference entry of each shift, moved by no other one, and a value of it. Of equal
        points the search keeps the one with the smallest sum of ``|v_reference - anchor|``.
    root_low, root_high : ndarray of shape (D,), int64
        The root box; without shifts it is the problem's.
    """

    low: Integers
    high: Integers
    w: NDArray[np.float64]
    kind: Integers
    shifts: Integers
    reference: Integers
    anchor: Integers
    root_low: Integers
    root_high: Integers


@dataclass(frozen=True)
class ConvexResult:
    """What a search found and proved.

    Parameters
    ----------
    status : Status
    w : ndarray of shape (d,), int64, or None when infeasible
    b : int
    value : int
        Exact objective of (w, b), in units.
    bound : int
        Proven lower bound of every objective, in units; equal to `value` iff that is proven optimal.
    nodes : int
        Nodes branched on.
    seconds : float
    root_bound : int
        Bound of the root relaxation.
    leaves : Leaves or None
    """

    status: Status
    w: Integers | None
    b: int
    value: int
    bound: int
    nodes: int
    seconds: float
    root_bound: int
    leaves: Leaves | None = None
