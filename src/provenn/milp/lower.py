"""Reformulations from model to model: each takes a `MILP` and returns one that simpler solvers can read.

`big_m` and `integer_rows` keep the columns, so that a point of the result is a point of the source.
`binary_columns` changes them and returns the map back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from provenn.errors import InputError
from provenn.milp.model import EXACT, MILP, Floats

MAX_DIGITS = 9
MAX_SCALE = 10**MAX_DIGITS
MAX_ACTIVITY = 2.0**61
NOISE = 8


def integral_bounds(milp: MILP) -> tuple[Floats, Floats]:
    """Round the bounds of integer columns inwards.

    Returns
    -------
    lower, upper : ndarray of shape (n,), float64
    """
    lower = np.where(milp.integer, np.ceil(milp.col_lower), milp.col_lower)
    upper = np.where(milp.integer, np.floor(milp.col_upper), milp.col_upper)
    return lower, upper


def activity_bounds(milp: MILP) -> tuple[Floats, Floats]:
    """Interval of every row's activity under the column bounds.

    ``low_i = sum_j max(a_ij, 0) l_j + min(a_ij, 0) u_j``, and ``high_i`` with l and u exchanged.

    Returns
    -------
    low, high : ndarray of shape (m,), float64; infinite where a column is open

    Examples
    --------
    >>> import numpy as np
    >>> from provenn.milp import Builder, Terms
    >>> builder = Builder()
    >>> builder.rows([Terms(builder.columns("x", (2,), [0, 0], [3, 5]), [2.0, -1.0])], upper=1)
    >>> [bound.tolist() for bound in activity_bounds(builder.build())]
    [[-5.0], [6.0]]
    """
    lower, upper = integral_bounds(milp)
    positive, negative = milp.A.maximum(0).tocsr(), milp.A.minimum(0).tocsr()
    low = _product(positive, lower) + _product(negative, upper)
    high = _product(positive, upper) + _product(negative, lower)
    return low, high


def _product(A: sparse.csr_matrix, x: Floats) -> Floats:
    """Return ``A x`` where x may be infinite and absent entries count as 0."""
    rows = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))
    nonzero = A.data != 0
    terms = A.data[nonzero] * x[A.indices[nonzero]]
    return np.bincount(rows[nonzero], weights=terms, minlength=A.shape[0]).astype(np.float64)


def big_m(milp: MILP) -> MILP:
    """Turn conditional rows into plain ones with the tightest M of each row.

    Source: ``z = v  implies  L <= a x <= U`` with ``low <= a x <= high`` from the column bounds.
    Target: ``a x + (high - U) [z = v] <= high`` and ``a x - (L - low) [z = v] >= low``,
    where ``[z = 1] = z`` and ``[z = 0] = 1 - z``. Plain rows come first, in their order.

    Parameters
    ----------
    milp : MILP

    Returns
    -------
    MILP
        The same columns and feasible points, no conditional rows.

    Raises
    ------
    InputError
        When a conditional row has no finite M because a column in it has no bound.

    Examples
    --------
    >>> import numpy as np
    >>> from provenn.milp import Builder, Terms
    >>> builder = Builder()
    >>> x, z = builder.columns("x", (1,), 0, 9), builder.columns("z", (1,), 0, 1)
    >>> builder.rows([Terms(x, 1.0)], upper=4, when=(z, 1))
    >>> model = big_m(builder.build())
    >>> model.A.toarray().tolist(), model.row_upper.tolist()
    ([[1.0, 5.0]], [9.0])
    """
    if not milp.has_indicators:
        return milp
    milp = _settle(milp)
    low, high = activity_bounds(milp)
    conditional = milp.indicator >= 0
    plain = np.flatnonzero(~conditional)
    above = np.flatnonzero(conditional & np.isfinite(milp.row_upper))
    below = np.flatnonzero(conditional & np.isfinite(milp.row_lower))
    _need_finite(milp, above, high, "above")
    _need_finite(milp, below, low, "below")
    upper_part, upper_rhs = _relaxed(milp, above, np.maximum(high[above] - milp.row_upper[above], 0), milp.row_upper)
    lower_part, lower_rhs = _relaxed(milp, below, np.minimum(low[below] - milp.row_lower[below], 0), milp.row_lower)
    open_above, open_below = np.full(below.size, np.inf), np.full(above.size, -np.inf)
    return replace(
        milp,
        A=sparse.vstack([milp.A[plain], upper_part, lower_part], format="csr"),
        row_lower=np.concatenate([milp.row_lower[plain], open_below, lower_rhs]),
        row_upper=np.concatenate([milp.row_upper[plain], upper_rhs, open_above]),
        indicator=np.zeros(0, dtype=np.int64),
        indicator_value=np.zeros(0, dtype=np.int64),
    )


def _settle(milp: MILP) -> MILP:
    """Make rows with a fixed indicator plain: as they are, or open on both sides."""
    z = np.maximum(milp.indicator, 0)
    lower, upper = integral_bounds(milp)
    fixed = (milp.indicator >= 0) & (lower[z] == upper[z])
    off = fixed & (lower[z] != milp.indicator_value)
    return replace(
        milp,
        row_lower=np.where(off, -np.inf, milp.row_lower),
        row_upper=np.where(off, np.inf, milp.row_upper),
        indicator=np.where(fixed, -1, milp.indicator),
    )


def _need_finite(milp: MILP, rows: NDArray[np.int64], reach: Floats, side: str) -> None:
    lost = rows[~np.isfinite(reach[rows])]
    if lost.size:
        row = int(lost[0])
        columns = milp.A.indices[milp.A.indptr[row] : milp.A.indptr[row + 1]]
        open_ = columns[~(np.isfinite(milp.col_lower[columns]) & np.isfinite(milp.col_upper[columns]))]
        raise InputError(
            f"conditional row {row} has no finite big-M: its activity is unbounded {side} "
            f"(column {int(open_[0])} lacks a bound; {lost.size} such rows); "
            "give the columns finite bounds or use a solver that takes indicator rows"
        )


def _relaxed(milp: MILP, rows: NDArray[np.int64], M: Floats, side: Floats) -> tuple[sparse.csr_matrix, Floats]:
    """Rows ``a x + M [z = v]`` and their right-hand side ``side + M``, constants moved over."""
    on_one = milp.indicator_value[rows] == 1
    shape = (rows.size, milp.n_columns)
    switch = sparse.csr_matrix((np.where(on_one, M, -M), (np.arange(rows.size), milp.indicator[rows])), shape=shape)
    return (milp.A[rows] + switch).tocsr(), side[rows] + np.where(on_one, M, 0.0)


def integer_rows(milp: MILP) -> MILP:
    """Scale the rows of a pure-integer model to integer coefficients.

    A coefficient is read as the decimal number that it stands for: 0.3396 is 3396/10000, and
    5.7688999999999995, within `NOISE` units in the last place, is 5.7689. Each row is multiplied by its
    smallest power of ten up to 1e9 that makes all coefficients integral, or else divided by its largest
    coefficient and multiplied by the least common denominator. Its sides are rounded inwards, which
    loses no integer point.

    Parameters
    ----------
    milp : MILP

    Returns
    -------
    MILP
        The same columns and feasible points; integer matrix and row bounds.

    Raises
    ------
    InputError
        When a column is continuous, a row has no such scale, or ``sum |a_j x_j|`` could leave int64.

    Examples
    --------
    >>> from provenn.milp import Builder, Terms
    >>> builder = Builder()
    >>> builder.rows([Terms(builder.columns("x", (2,), 0, 1), [0.3396, 0.5])], lower=0.35)
    >>> model = integer_rows(builder.build())
    >>> model.A.toarray().tolist(), model.row_lower.tolist()
    ([[3396.0, 5000.0]], [3500.0])
    """
    if not milp.integer.all():
        column = int(np.flatnonzero(~milp.integer)[0])
        raise InputError(f"column {column} is continuous: only models of integer columns have integer rows")
    scale = _row_scales(milp.A)
    A = milp.A.copy()
    A.data = np.rint(A.data * np.repeat(scale, np.diff(A.indptr)))
    scaled = replace(
        milp,
        A=A,
        row_lower=_round_up(milp.row_lower, scale),
        row_upper=-_round_up(-milp.row_upper, scale),
    )
    _need_exact(scaled)
    return scaled


def _row_scales(A: sparse.csr_matrix) -> Floats:
    """Multiplier of each row that makes its coefficients integral, shape (m,)."""
    rows = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))
    digits = _row_maximum(A, rows, decimal_digits(A.data))
    scale = 10.0 ** np.minimum(digits, MAX_DIGITS)
    for row in np.flatnonzero(digits > MAX_DIGITS):
        values = A.data[A.indptr[row] : A.indptr[row + 1]]
        pivot = float(np.abs(values).max())
        scale[row] = common_denominator(values / pivot, f"row {row}") / pivot
    return scale


def _row_maximum(A: sparse.csr_matrix, rows: NDArray[np.int64], values: NDArray[Any]) -> Floats:
    """Largest entry of each row, 0 for empty rows."""
    largest = np.zeros(A.shape[0])
    np.maximum.at(largest, rows, values)
    return largest


def _noise(values: Floats) -> Floats:
    """Distance from an integer that counts as rounding of earlier sums."""
    return np.minimum(NOISE * np.finfo(np.float64).eps * np.abs(values), 1e-6)


def decimal_digits(values: Floats) -> NDArray[np.int64]:
    """Digits after the point of each number; more than `MAX_DIGITS` count as that plus one.

    Examples
    --------
    >>> decimal_digits(np.array([2.0, 0.5, 0.3396, 1 / 3])).tolist()
    [0, 1, 4, 10]
    """
    digits = np.full(values.shape, MAX_DIGITS + 1, dtype=np.int64)
    for power in range(MAX_DIGITS, -1, -1):
        scaled = values * 10.0**power
        digits[np.abs(scaled - np.rint(scaled)) <= _noise(scaled)] = power
    return digits


def common_denominator(values: Floats, where: str) -> int:
    """Least common denominator of numbers that are quotients of small integers.

    Raises
    ------
    InputError
        When there is none up to 1e9.

    Examples
    --------
    >>> common_denominator(np.array([1 / 3, 0.5]), "row 0")
    6
    """
    fractions = [Fraction(float(v)).limit_denominator(10**6) for v in values]
    total = lcm(*(f.denominator for f in fractions))
    scaled = values * float(min(total, MAX_SCALE))
    if total > MAX_SCALE or (np.abs(scaled - np.rint(scaled)) > _noise(scaled)).any():
        raise InputError(
            f"{where} has coefficients without a common denominator up to 1e9: "
            "round the data to a decimal grid, or use a solver for continuous columns (highs or scip)"
        )
    return total


def _round_up(bound: Floats, scale: Floats) -> Floats:
    """Smallest integer k with ``k >= bound * scale``, up to noise."""
    scaled = bound * scale
    finite = np.where(np.isfinite(scaled), scaled, 0.0)
    return np.where(np.isfinite(scaled), np.ceil(finite - _noise(finite)), scaled) + 0.0


def _need_exact(milp: MILP) -> None:
    lower, upper = integral_bounds(milp)
    size = np.maximum(np.abs(lower), np.abs(upper))
    reach = _product(abs(milp.A).tocsr(), size)
    sides = np.maximum(*(np.where(np.isfinite(b), np.abs(b), 0) for b in (milp.row_lower, milp.row_upper)))
    big = _row_maximum(milp.A, np.repeat(np.arange(milp.n_rows), np.diff(milp.A.indptr)), np.abs(milp.A.data))
    bad = np.flatnonzero((reach > MAX_ACTIVITY) | (np.maximum(sides, big) > EXACT))
    if bad.size:
        row = int(bad[0])
        raise InputError(
            f"row {row} can reach {reach[row]:.3g} in integers, which may overflow int64: "
            "tighten the column bounds, round its coefficients, or use highs or scip"
        )


def integer_costs(milp: MILP) -> tuple[NDArray[np.int64], int]:
    """Return integer costs k and the divisor D with ``c = k / D``, numbers read as they print.

    Raises
    ------
    InputError
        When there is no D up to 1e9, or the objective could leave int64.

    Examples
    --------
    >>> from provenn.milp import Builder
    >>> builder = Builder()
    >>> builder.minimise(builder.columns("x", (2,), 0, 1), [0.5, 2])
    >>> costs, divisor = integer_costs(builder.build())
    >>> costs.tolist(), divisor
    ([5, 20], 10)
    """
    digits = int(decimal_digits(milp.c).max(initial=0))
    divisor = 10**digits if digits <= MAX_DIGITS else common_denominator(milp.c, "the objective")
    costs = np.rint(milp.c * divisor)
    used = costs != 0
    size = np.maximum(*(np.abs(bound[used]) for bound in integral_bounds(milp)))
    if np.abs(costs).max(initial=0) > EXACT or float(np.abs(costs[used]) @ size) > MAX_ACTIVITY:
        raise InputError("the objective can leave int64 in integers: divide or round its costs, or use highs or scip")
    return costs.astype(np.int64), divisor


@dataclass(frozen=True)
class BinaryExpansion:
    """A model in binary columns and the map back to the source: ``x = shift + basis @ y``.

    Parameters
    ----------
    milp : MILP
        Columns y, all binary.
    basis : csr matrix of shape (n, number of y), float64
    shift : ndarray of shape (n,), float64
    """

    milp: MILP
    basis: sparse.csr_matrix
    shift: Floats

    def decode(self, y: Floats) -> Floats:
        """Return the point of the source model."""
        return np.asarray(self.shift + self.basis @ y, dtype=np.float64)


def binary_columns(milp: MILP) -> BinaryExpansion:
    """Write every integer column as its lower bound plus weighted binary columns.

    A range R takes the weights 1, 2, 4, ... and last ``R - (2**k - 1)``, so that every 0/1 vector is in
    range and no further row is needed. Conditional rows must have been lowered.

    Raises
    ------
    InputError
        When a column is continuous, open or without value, or a row is conditional.

    Examples
    --------
    >>> from provenn.milp import Builder
    >>> builder = Builder()
    >>> _ = builder.columns("x", (1,), -1, 4)
    >>> binary_columns(builder.build()).basis.toarray().tolist()
    [[1.0, 2.0, 2.0]]
    """
    lower, upper = integral_bounds(milp)
    unfit = np.flatnonzero(~(milp.integer & np.isfinite(lower) & np.isfinite(upper)))
    if unfit.size or milp.has_indicators:
        what = f"column {int(unfit[0])} is not" if unfit.size else "conditional rows must be lowered first, and all"
        raise InputError(f"{what} integer with finite bounds: binary expansion needs such columns")
    if (lower > upper).any():
        raise InputError(f"column {int(np.argmax(lower - upper))} has no integer within its bounds: nothing to expand")
    basis = _basis([_weights(int(reach)) for reach in upper - lower])
    width = basis.shape[1]
    moved = milp.A @ lower
    binary = MILP(
        c=basis.T @ milp.c,
        A=milp.A @ basis,
        row_lower=milp.row_lower - moved,
        row_upper=milp.row_upper - moved,
        col_lower=np.zeros(width),
        col_upper=np.ones(width),
        integer=np.ones(width, dtype=np.bool_),
        offset=float(milp.offset + milp.c @ lower),
    )
    return BinaryExpansion(binary, basis, lower)


def _weights(reach: int) -> list[int]:
    """Return weights whose subset sums are exactly 0..reach."""
    bits = max(reach.bit_length() - 1, 0)
    head = [1 << k for k in range(bits)]
    return [*head, reach - sum(head)] if reach else []


def _basis(weights: Sequence[Sequence[int]]) -> sparse.csr_matrix:
    counts = np.array([len(w) for w in weights], dtype=np.int64)
    data: NDArray[Any] = np.array([v for w in weights for v in w], dtype=np.float64)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return sparse.csr_matrix((data, np.arange(data.size), indptr), shape=(len(weights), data.size))
