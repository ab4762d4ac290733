"""Substitutes columns of a model: fixed ones by their values, tied ones by another column.

The small model keeps the feasible points of the source that have these values, and their objective.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from provenn.errors import InputError
from provenn.milp.lower import activity_bounds
from provenn.milp.model import EXACT, MILP, Columns, Floats

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Ties:
    """Columns that follow another one: ``x[columns] = shift + factor * x[sources]``.

    Parameters
    ----------
    columns, sources : ndarray of shape (k,), int64
        Each column at most once; no source is itself tied.
    factor, shift : ndarray of shape (k,), float64
        Whole numbers where the column is integer.
    """

    columns: Columns
    sources: Columns
    factor: Floats
    shift: Floats

    @classmethod
    def none(cls) -> "Ties":
        """Return no ties."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0))


@dataclass(frozen=True)
class Restricted:
    """A small model and the map back: ``x = shift + factor * y[source]``, where source is -1 just the shift.

    Parameters
    ----------
    milp : MILP
    columns : ndarray of shape (number of y,), int64
        The source's column behind every column of the small model.
    source : ndarray of shape (n,), int64
    factor, shift : ndarray of shape (n,), float64
    """

    milp: MILP
    columns: Columns
    source: Columns
    factor: Floats
    shift: Floats

    def lift(self, y: Floats) -> Floats:
        """Return the point of the source model, shape (n,)."""
        x = self.shift.copy()
        used = self.source >= 0
        x[used] += self.factor[used] * y[self.source[used]]
        return x


def restrict(milp: MILP, fixed: Mask, x: Floats, ties: Ties | None = None) -> Restricted:
    """Substitute fixed and tied columns, and drop the rows that then always hold.

    With ``x = shift + F y`` for the columns y that stay, the small model is::

        minimise (F' c) y + (offset + c shift)   subject to   L - A shift <= A F y <= U - A shift

    A row whose indicator is fixed becomes plain or disappears. A row disappears when its
    interval over the column bounds lies within its sides. Rows without columns that cannot
    hold stay, so that the small model is infeasible as it should be. Fixed values outside
    their bounds, or off the integers, give such a row as well.

    Objectives and rows are exact where coefficients and values are integers below 2^53 in
    every sum; otherwise up to the rounding of floats, and rows are then dropped only with a
    margin above that rounding.

    Parameters
    ----------
    milp : MILP
    fixed : ndarray of shape (n,), bool
    x : ndarray of shape (n,), float64
        Values of the fixed columns; the others are not read.
    ties : Ties, optional
        Columns to express by others; the small model keeps their bounds as bounds of the
        sources. Sources that are fixed make their columns fixed.

    Returns
    -------
    Restricted

    Raises
    ------
    InputError
        When shapes do not fit, or a tie is not between whole numbers, or an indicator is tied.

    Examples
    --------
    >>> from provenn.milp import Builder, Terms
    >>> builder = Builder()
    >>> cols = builder.columns("x", (3,), 0, 9)
    >>> builder.rows([Terms(cols, [1.0, 2.0, 3.0])], lower=12)
    >>> builder.minimise(cols, 1.0)
    >>> small = restrict(builder.build(), np.array([True, False, False]), np.array([4.0, 0.0, 0.0]))
    >>> small.milp.A.toarray().tolist(), small.milp.row_lower.tolist(), small.milp.offset
    ([[2.0, 3.0]], [8.0], 4.0)
    >>> small.lift(np.array([1.0, 2.0])).tolist()
    [4.0, 1.0, 2.0]
    """
    ties = ties or Ties.none()
    if fixed.shape != (milp.n_columns,) or np.shape(x) != (milp.n_columns,):
        raise InputError(f"the mask and the values must have one entry for each of the {milp.n_columns} columns")
    _check_ties(milp, ties)
    if not milp.n_columns:
        return Restricted(milp, *(np.zeros(0, dtype=np.int64),) * 2, np.zeros(0), np.zeros(0))
    stays = ~fixed
    stays[ties.columns] = False
    columns = np.flatnonzero(stays)
    source = np.where(stays, np.cumsum(stays) - 1, -1)
    factor, shift = np.ones(milp.n_columns), np.where(stays, 0.0, x)
    loose = stays[ties.sources]
    source[ties.columns] = np.where(loose, source[ties.sources], -1)
    factor[ties.columns] = ties.factor
    shift[ties.columns] = ties.shift + np.where(loose, 0.0, ties.factor * shift[ties.sources])
    maps = (columns, source, factor, shift)
    return Restricted(_without_idle_rows(*_substituted(milp, maps)), *maps)


def _check_ties(milp: MILP, ties: Ties) -> None:
    tied = np.zeros(milp.n_columns, dtype=np.bool_)
    tied[ties.columns] = True
    if np.count_nonzero(tied) != len(ties.columns) or tied[ties.sources].any():
        raise InputError("each column can be tied once, and only to a column that is not tied itself")
    if tied[milp.indicator[milp.indicator >= 0]].any():
        raise InputError("indicator columns cannot be tied")
    whole = milp.integer[ties.sources] & (ties.factor == np.rint(ties.factor)) & (ties.shift == np.rint(ties.shift))
    if not whole[milp.integer[ties.columns]].all():
        raise InputError("an integer column can only be tied to an integer column, by whole numbers")


def _substituted(milp: MILP, maps: tuple[Columns, Columns, Floats, Floats]) -> tuple[MILP, Floats]:
    """Return the model in the columns that stay, and a bound of the rounding in each row.

    Rows that are empty and hold, or whose indicator is off, are left out.
    """
    columns, source, factor, shift = maps
    lower, upper, forbidden = _column_bounds(milp, maps)
    on = np.where(milp.indicator >= 0, source[milp.indicator], -1)
    off = (milp.indicator >= 0) & (on < 0) & (np.rint(shift[milp.indicator]) != milp.indicator_value)
    live = source[milp.A.indices] >= 0
    before = np.concatenate([[0], np.cumsum(live)])
    counts = np.diff(before[milp.A.indptr])
    moved = milp.A @ shift
    row_lower, row_upper = milp.row_lower - moved, milp.row_upper - moved
    rows = ~off & ((counts > 0) | (row_lower > 0) | (row_upper < 0))
    entries = np.flatnonzero(live & np.repeat(rows, np.diff(milp.A.indptr)))
    at = milp.A.indices[entries]
    indptr = np.concatenate([[0], np.cumsum(counts[rows])])
    A = sparse.csr_matrix((milp.A.data[entries] * factor[at], source[at], indptr), (int(rows.sum()), len(columns)))
    c = np.bincount(source[source >= 0], (milp.c * factor)[source >= 0], minlength=len(columns))
    small = MILP(
        c.astype(np.float64), A, row_lower[rows], row_upper[rows], lower, upper, milp.integer[columns],
        float(_dot(milp.c, shift, milp.offset)), on[rows], milp.indicator_value[rows],
    )  # fmt: skip
    rounding = _rounding(milp, shift)[rows]
    return (_impossible(small), np.append(rounding, 0.0)) if forbidden else (small, rounding)


def _impossible(milp: MILP) -> MILP:
    """Add the row ``0 >= 1``."""
    return replace(
        milp,
        A=sparse.vstack([milp.A, sparse.csr_matrix((1, milp.n_columns))], format="csr"),
        row_lower=np.append(milp.row_lower, 1.0),
        row_upper=np.append(milp.row_upper, np.inf),
        indicator=np.append(milp.indicator, -1),
        indicator_value=np.append(milp.indicator_value, 0),
    )


def _column_bounds(milp: MILP, maps: tuple[Columns, Columns, Floats, Floats]) -> tuple[Floats, Floats, bool]:
    """Bounds of the columns that stay, narrowed by those tied to them; and whether a fixed value is forbidden."""
    columns, source, factor, shift = maps
    lower, upper = milp.col_lower[columns], milp.col_upper[columns]
    tied = source >= 0
    tied[columns] = False
    tied &= factor != 0
    low, high = ((bound[tied] - shift[tied]) / factor[tied] for bound in (milp.col_lower, milp.col_upper))
    np.maximum.at(lower, source[tied], np.where(factor[tied] > 0, low, high))
    np.minimum.at(upper, source[tied], np.where(factor[tied] > 0, high, low))
    whole = milp.integer[columns]
    if tied.any():
        lower, upper = np.where(whole, np.ceil(lower), lower), np.where(whole, np.floor(upper), upper)
    constant = (source < 0) | (factor == 0)
    outside = (shift < milp.col_lower) | (shift > milp.col_upper) | (milp.integer & (shift != np.rint(shift)))
    return lower, upper, bool((constant & outside).any())


def _dot(c: Floats, x: Floats, offset: float) -> Fraction:
    """Return ``c x + offset`` exactly."""
    used = np.flatnonzero((c != 0) & (x != 0))
    a, b = c[used], x[used]
    if np.all(a == np.rint(a)) and np.all(b == np.rint(b)) and float(np.abs(a) @ np.abs(b)) < EXACT / 2:
        return Fraction(int(a @ b)) + Fraction(offset)
    return sum((Fraction(float(v)) * Fraction(float(w)) for v, w in zip(a, b, strict=True)), Fraction(offset))


def _rounding(milp: MILP, shift: Floats) -> Floats:
    """Bound the rounding in the sides and the activity of every row, shape (m,); 0 where all sums are exact."""
    size = np.maximum(np.abs(milp.col_lower), np.abs(milp.col_upper))
    size = np.maximum(np.where(np.isfinite(size), size, 0), np.abs(shift))
    longest = int(np.diff(milp.A.indptr).max(initial=0))
    largest = longest * float(np.abs(milp.A.data).max(initial=0.0)) * float(size.max(initial=0.0))
    if largest < EXACT / 4 and all(bool(np.all(part == np.rint(part))) for part in (milp.A.data, shift)):
        return np.zeros(milp.n_rows)
    sides = (np.where(np.isfinite(part), np.abs(part), 0) for part in (milp.row_lower, milp.row_upper))
    reach = np.asarray(abs(milp.A) @ size + sum(sides))
    return 4 * (longest + 2) * float(np.finfo(np.float64).eps) * reach


def _without_idle_rows(milp: MILP, rounding: Floats) -> MILP:
    """Drop rows that hold for all values within the column bounds."""
    low, high = activity_bounds(milp)
    rows = ~((low - rounding >= milp.row_lower) & (high + rounding <= milp.row_upper))
    if rows.all():
        return milp
    return replace(
        milp,
        A=milp.A[rows],
        row_lower=milp.row_lower[rows],
        row_upper=milp.row_upper[rows],
        indicator=milp.indicator[rows],
        indicator_value=milp.indicator_value[rows],
    )
