"""A mixed-integer linear model as arrays, and the builder that collects them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from provenn.errors import InputError

Floats = NDArray[np.float64]
Columns = NDArray[np.int64]
EXACT = 2.0**53


@dataclass(frozen=True)
class MILP:
    """minimise ``c x + offset`` subject to ``row_lower <= A x <= row_upper`` and column bounds.

    Parameters
    ----------
    c : ndarray of shape (n,), float64
    A : csr matrix of shape (m, n), float64; duplicates summed
    row_lower, row_upper : ndarray of shape (m,); infinite where open
    col_lower, col_upper : ndarray of shape (n,); infinite where open
    integer : ndarray of shape (n,), bool
    offset : float
    indicator : ndarray of shape (m,), int64
        Row i holds only when the binary column ``indicator[i]`` equals ``indicator_value[i]``;
        -1 for rows that always hold.
    indicator_value : ndarray of shape (m,), int64, 0 or 1
    blocks : dict of str to ndarray
        Named groups of columns.

    Raises
    ------
    InputError
        When shapes do not fit, entries are not finite, bounds are not numbers, or an indicator
        is not a binary column.
    """

    c: Floats
    A: sparse.csr_matrix
    row_lower: Floats
    row_upper: Floats
    col_lower: Floats
    col_upper: Floats
    integer: NDArray[np.bool_]
    offset: float = 0.0
    indicator: Columns = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    indicator_value: Columns = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    blocks: dict[str, Columns] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Bring arrays to their types and check them once."""
        put = object.__setattr__
        for name in ("c", "row_lower", "row_upper", "col_lower", "col_upper"):
            put(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        put(self, "integer", np.asarray(self.integer, dtype=np.bool_))
        A = sparse.csr_matrix(self.A, dtype=np.float64)
        A.sum_duplicates()
        A.eliminate_zeros()
        put(self, "A", A)
        m, n = A.shape
        if len(self.indicator) == 0:
            put(self, "indicator", np.full(m, -1, dtype=np.int64))
            put(self, "indicator_value", np.zeros(m, dtype=np.int64))
        columns = (self.c, self.col_lower, self.col_upper, self.integer)
        rows = (self.row_lower, self.row_upper, self.indicator, self.indicator_value)
        if any(part.shape != (n,) for part in columns) or any(part.shape != (m,) for part in rows):
            raise InputError(f"arrays do not fit a model of {m} rows and {n} columns")
        if not (np.isfinite(self.c).all() and np.isfinite(A.data).all() and np.isfinite(self.offset)):
            raise InputError("objective and matrix entries must be finite numbers")
        if any(np.isnan(part).any() for part in (*columns[1:3], *rows[:2])):
            raise InputError("bounds must be numbers or infinite, not NaN")
        used = self.indicator[self.indicator >= 0]
        if used.size and (used.max() >= n or not self.binary[used].all()):
            raise InputError("every indicator must be a binary column (integer with bounds within 0..1)")

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.A.shape[0])

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return int(self.A.shape[1])

    @property
    def binary(self) -> NDArray[np.bool_]:
        """Columns that are integer with bounds within 0..1."""
        return self.integer & (self.col_lower >= 0) & (self.col_upper <= 1)

    @property
    def has_indicators(self) -> bool:
        """Whether any row is conditional."""
        return bool((self.indicator >= 0).any())

    def active(self, x: Floats) -> NDArray[np.bool_]:
        """Rows that must hold at x, bool of shape (m,)."""
        on = np.ones(self.n_rows, dtype=np.bool_)
        rows = self.indicator >= 0
        on[rows] = np.rint(x[self.indicator[rows]]) == self.indicator_value[rows]
        return on

    @cached_property
    def _integral_data(self) -> bool:
        parts = (self.A.data, self.c, np.array([self.offset]))
        return all(bool(np.all(part == np.rint(part))) for part in parts)

    def objective(self, x: Floats) -> Fraction:
        """Return ``c x + offset`` exactly."""
        if self._integral_data and np.all(x == np.rint(x)) and float(np.abs(self.c) @ np.abs(x)) < EXACT / 2:
            return Fraction(int(self.c @ x + self.offset))
        used = np.flatnonzero(self.c)
        terms = (Fraction(float(self.c[j])) * Fraction(float(x[j])) for j in used)
        return sum(terms, Fraction(float(self.offset)))

    def violation(self, x: Floats) -> Fraction:
        """Return the largest violation of a bound, an integrality or an active row at x, exactly.

        Integer models are checked in float64 where every partial sum is a proven exact
        integer; everything else in rational arithmetic.
        """
        off_grid = np.abs(x - np.rint(x))[self.integer]
        worst = max(
            Fraction(float(np.max(self.col_lower - x, initial=0.0))),
            Fraction(float(np.max(x - self.col_upper, initial=0.0))),
            Fraction(float(off_grid.max(initial=0.0))),
        )
        reach = abs(self.A) @ np.abs(x)
        exact = self._integral_data and bool(np.all(x == np.rint(x))) and float(reach.max(initial=0.0)) < EXACT / 2
        active = self.active(x)
        if exact:
            activity = self.A @ x
            over = np.maximum(self.row_lower - activity, activity - self.row_upper)[active]
            return max(worst, Fraction(float(over.max(initial=0.0))))
        return max([worst, *(self._row_violation(int(i), x) for i in np.flatnonzero(active))])

    def _row_violation(self, row: int, x: Floats) -> Fraction:
        span = slice(self.A.indptr[row], self.A.indptr[row + 1])
        pairs = zip(self.A.data[span], self.A.indices[span], strict=True)
        activity = sum((Fraction(float(v)) * Fraction(float(x[j])) for v, j in pairs), Fraction(0))
        worst = Fraction(0)
        if np.isfinite(self.row_lower[row]):
            worst = max(worst, Fraction(float(self.row_lower[row])) - activity)
        if np.isfinite(self.row_upper[row]):
            worst = max(worst, activity - Fraction(float(self.row_upper[row])))
        return worst

    def with_bounds(self, lower: Floats, upper: Floats) -> "MILP":
        """Return the same model with other column bounds."""
        return replace(self, col_lower=lower, col_upper=upper)


class Terms(NamedTuple):
    """Part of a linear expression for R rows: ``sum_t values[r, t] * x[columns[r, t]]``.

    Both arrays broadcast to shape (R, T).
    """

    columns: Columns
    values: Any


class Builder:
    """Collects columns and rows as arrays; `build` turns them into a `MILP`.

    Examples
    --------
    >>> builder = Builder()
    >>> x = builder.columns("x", (3,), 0, 1)
    >>> builder.rows([Terms(x, 1.0)], lower=2.0)
    >>> builder.minimise(x, [1.0, 2.0, 3.0])
    >>> model = builder.build()
    >>> model.n_rows, model.n_columns, int(model.objective(np.array([1.0, 1.0, 0.0])))
    (1, 3, 3)
    """

    def __init__(self) -> None:
        """Start without rows and columns."""
        self.n_columns = 0
        self.n_rows = 0
        self.blocks: dict[str, Columns] = {}
        self._lower: list[Floats] = []
        self._upper: list[Floats] = []
        self._integer: list[NDArray[np.bool_]] = []
        self._fills: list[tuple[Columns, Callable[[Any], ArrayLike]]] = []
        self._coo: list[tuple[NDArray[np.int32], NDArray[np.int32], Floats]] = []
        self._row_lower: list[Floats] = []
        self._row_upper: list[Floats] = []
        self._indicator: list[Columns] = []
        self._indicator_value: list[Columns] = []
        self._costs: list[tuple[Columns, Floats]] = []
        self.offset = 0.0

    def columns(
        self,
        name: str,
        shape: tuple[int, ...],
        lower: ArrayLike,
        upper: ArrayLike,
        fill: Callable[[Any], ArrayLike] | None = None,
        integer: bool = True,
    ) -> Columns:
        """Add a named block of columns and return their indices, int64 of the given shape.

        Parameters
        ----------
        name : str
            Unique name of the block.
        shape : tuple of int
        lower, upper : array
            Bounds, broadcast to the shape.
        fill : callable, optional
            Maps a known answer (any object) to the columns' values; used by `fill`.
        integer : bool
        """
        if name in self.blocks:
            raise InputError(f"the model already has a block of columns named {name!r}")
        count = int(np.prod(shape))
        index = np.arange(self.n_columns, self.n_columns + count, dtype=np.int64).reshape(shape)
        self.n_columns += count
        self.blocks[name] = index
        self._lower.append(np.broadcast_to(np.asarray(lower, dtype=np.float64), shape).ravel())
        self._upper.append(np.broadcast_to(np.asarray(upper, dtype=np.float64), shape).ravel())
        self._integer.append(np.full(count, integer))
        if fill is not None:
            self._fills.append((index, fill))
        return index

    def rows(
        self,
        terms: Sequence[Terms],
        lower: ArrayLike = -np.inf,
        upper: ArrayLike = np.inf,
        when: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> None:
        """Add R rows ``lower <= sum of terms <= upper``, optionally conditional.

        Parameters
        ----------
        terms : sequence of Terms
            Each broadcasts to (R, T); one-dimensional parts of length T mean a single row.
        lower, upper : array
            Broadcast to (R,).
        when : (columns, values), optional
            The rows hold only where the binary column equals the value; both broadcast to (R,).
        """
        pairs = [np.broadcast_arrays(np.atleast_2d(t.columns), np.atleast_2d(t.values)) for t in terms]
        sizes = [len(columns) for columns, _ in pairs] + [np.size(lower), np.size(upper)]
        count = max(sizes + ([np.size(when[0])] if when is not None else []))
        for columns, values in pairs:
            full = (count, columns.shape[1])
            row, term = np.nonzero(np.broadcast_to(values, full))
            used = (np.broadcast_to(part, full)[row, term] for part in (columns, values))
            self._coo.append(((self.n_rows + row).astype(np.int32), next(used).astype(np.int32), next(used) * 1.0))
        self._row_lower.append(np.broadcast_to(np.asarray(lower, dtype=np.float64), count))
        self._row_upper.append(np.broadcast_to(np.asarray(upper, dtype=np.float64), count))
        on, value = (-1, 0) if when is None else when
        self._indicator.append(np.broadcast_to(np.asarray(on, dtype=np.int64), count))
        self._indicator_value.append(np.broadcast_to(np.asarray(value, dtype=np.int64), count))
        self.n_rows += count

    def minimise(self, columns: Columns, costs: ArrayLike) -> None:
        """Add ``sum of costs * columns`` to the objective."""
        full = np.broadcast_to(np.asarray(costs, dtype=np.float64), columns.shape)
        self._costs.append((columns.ravel(), full.ravel()))

    def scale_costs(self, factor: int) -> None:
        """Multiply all costs so far, and the offset, by a factor."""
        self._costs = [(columns, costs * factor) for columns, costs in self._costs]
        self.offset *= factor

    def fill(self, answer: Any) -> Floats:
        """Return the point that every block's `fill` computes for a known answer."""
        x = np.zeros(self.n_columns)
        for index, function in self._fills:
            x[index.ravel()] = np.broadcast_to(np.asarray(function(answer), dtype=np.float64), index.shape).ravel()
        return x

    def build(self) -> MILP:
        """Return the collected model."""
        c = np.zeros(self.n_columns)
        for columns, costs in self._costs:
            np.add.at(c, columns, costs)
        shape = (self.n_rows, self.n_columns)
        rows, columns, values = (_join([entry[k] for entry in self._coo]) for k in range(3))
        A = sparse.csr_matrix((values, (rows.astype(np.int32), columns.astype(np.int32))), shape=shape)
        return MILP(
            c,
            A,
            _join(self._row_lower),
            _join(self._row_upper),
            _join(self._lower),
            _join(self._upper),
            _join(self._integer).astype(np.bool_),
            self.offset,
            _join(self._indicator).astype(np.int64),
            _join(self._indicator_value).astype(np.int64),
            dict(self.blocks),
        )


def _join(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0)
