"""A subadditive dual function of a small pure-integer program, by Chvatal-Gomory cuts in exact arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil, floor

import numpy as np

from provenn.errors import InfeasibleError, InputError
from provenn.milp import MILP
from provenn.milp.lower import integral_bounds

Vector = list[Fraction]
Weights = dict[int, Fraction]


@dataclass(frozen=True)
class SubadditiveDual:
    """``F(b) = sum_i y_i b_i + sum_k y_k ceil(lambda_k . (b, f_1(b), ..., f_(k-1)(b)))`` with y, lambda >= 0.

    F is subadditive and nondecreasing, F(0) = 0, and ``F(A_j) <= c_j`` for every column. So for any b,
    ``F(b) <= F(A x) <= sum_j F(A_j) x_j <= c x`` for all whole x >= 0 with A x >= b: F(b) bounds the program
    ``min c x, A x >= b, x >= 0 whole`` from below, whatever b is.

    Parameters
    ----------
    columns : tuple of tuple of int
        A by columns, each of length m.
    b, costs : tuple
        Sides, integers of length m; costs, Fractions.
    cuts : tuple of dict
        lambda_k: weights of the rows 0..m-1 and of earlier cuts m, m+1, ...
    y : dict of int to Fraction
        Weights of rows and cuts in F.
    offset : Fraction
        What is added to the objective: costs of the columns' lower bounds, which were moved to 0.
    closed : bool
        Whether F(b) is the optimum; else the cuts ran out and F(b) is a lower bound.
    """

    columns: tuple[tuple[int, ...], ...]
    b: tuple[int, ...]
    costs: tuple[Fraction, ...]
    cuts: tuple[Weights, ...]
    y: Weights
    offset: Fraction
    closed: bool

    def __call__(self, b: Sequence[int | Fraction]) -> Fraction:
        """Evaluate F, exactly."""
        values = [Fraction(v) for v in b]
        for cut in self.cuts:
            values.append(Fraction(ceil(_dot(cut, values))))
        return _dot(self.y, values)

    @cached_property
    def bound(self) -> Fraction:
        """Lower bound of the model's objective, ``F(b) + offset``."""
        return self(self.b) + self.offset


def _dot(weights: Weights, values: Sequence[Fraction | int]) -> Fraction:
    return sum((w * values[k] for k, w in weights.items()), Fraction(0))


def subadditive_dual(milp: MILP, most_cuts: int = 100) -> SubadditiveDual:
    """Solve a pure-integer program by Gomory's fractional cuts and return its dual function.

    Two-sided rows become two rows ``A x >= b``, finite upper bounds rows ``-x_j >= -u_j``, and lower bounds
    are moved to 0.

    Parameters
    ----------
    milp : MILP
        Integer columns with finite lower bounds, integer matrix, no conditional rows; columns with negative
        costs need finite upper bounds.
    most_cuts : int
        Cuts after which it stops with what is proven.

    Raises
    ------
    InputError
        When the model is not of this kind.
    InfeasibleError
        When it has no point.

    References
    ----------
    Chvatal, Discrete Mathematics 4 (1973), doi:10.1016/0012-365X(73)90167-2.
    Blair & Jeroslow, Mathematical Programming 23 (1982), doi:10.1007/BF01583794.

    Examples
    --------
    >>> from provenn.milp import Builder, Terms
    >>> builder = Builder()
    >>> x = builder.columns("x", (2,), 0, 9)
    >>> builder.rows([Terms(x, [2.0, 2.0])], lower=3)
    >>> builder.minimise(x, [1.0, 1.0])
    >>> F = subadditive_dual(builder.build())
    >>> F.bound, F.closed, F([5, -9, -9]), F([0, 0, 0])
    (Fraction(2, 1), True, Fraction(3, 1), Fraction(0, 1))
    """
    rows, b, costs, offset, capped = _canonical(milp)
    work = _Tableau(rows, b, costs)
    negative = [j for j, c in enumerate(costs) if c < 0]
    if negative:
        work.add_cut({capped[j]: Fraction(1) for j in negative})
        work.pivot(len(work.basic) - 1, min(negative, key=lambda j: costs[j]))
    closed = False
    for _ in range(most_cuts + 1):
        work.solve()
        fractional = work.fractional()
        closed = fractional is None
        if fractional is None or len(work.cuts) >= most_cuts:
            break
        work.add_cut(work.fraction_row(fractional))
    m = len(b)
    columns = tuple(tuple(row[j] for row in rows) for j in range(len(costs)))
    kept = {k: v for k, v in work.y().items() if v}
    return SubadditiveDual(columns, tuple(b[:m]), tuple(costs), tuple(work.cuts), kept, offset, closed)


def _canonical(milp: MILP) -> tuple[list[list[int]], list[int], Vector, Fraction, dict[int, int]]:
    """Rows and sides of ``A x >= b, x >= 0``; costs, offset, and the row of each column's upper bound."""
    _check(milp)
    lower, upper = integral_bounds(milp)
    shift = [int(v) for v in lower]
    rows: list[list[int]] = []
    b: list[int] = []
    for row, low, high in zip(milp.A.toarray(), milp.row_lower, milp.row_upper, strict=True):
        whole = [int(v) for v in row]
        moved = sum(a * s for a, s in zip(whole, shift, strict=True))
        if np.isfinite(low):
            rows, b = [*rows, whole], [*b, ceil(low) - moved]
        if np.isfinite(high):
            rows, b = [*rows, [-a for a in whole]], [*b, moved - floor(high)]
    capped = {}
    for j in np.flatnonzero(np.isfinite(upper)).tolist():
        capped[j] = len(rows)
        rows, b = [*rows, [-int(k == j) for k in range(len(shift))]], [*b, shift[j] - int(upper[j])]
    costs = [Fraction(float(c)) for c in milp.c]
    missing = [j for j, c in enumerate(costs) if c < 0 and j not in capped]
    if missing:
        raise InputError(f"column {missing[0]} has a negative cost and no upper bound: give it one")
    offset = Fraction(float(milp.offset)) + sum((c * s for c, s in zip(costs, shift, strict=True)), Fraction(0))
    return rows, b, costs, offset, capped


def _check(milp: MILP) -> None:
    if milp.has_indicators or not milp.integer.all():
        raise InputError("a subadditive dual needs integer columns only and no conditional rows: use branch_and_bound")
    if not np.isfinite(milp.col_lower).all():
        raise InputError("every column needs a finite lower bound")
    if (milp.A.data != np.rint(milp.A.data)).any():
        raise InputError("the matrix must be of integers: scale its rows with provenn.milp.lower.integer_rows")


class _Tableau:
    """Exact dual simplex; ``x_B = T x_N`` where 0..n-1 are columns and n+k is the activity of row k."""

    def __init__(self, rows: list[list[int]], b: list[int], costs: Vector) -> None:
        self.n = len(costs)
        self.T = [[Fraction(a) for a in row] for row in rows]
        self.lower = [Fraction(0)] * self.n + [Fraction(v) for v in b]
        self.basic = [self.n + k for k in range(len(rows))]
        self.nonbasic = list(range(self.n))
        self.d = list(costs)
        self.rows = [[Fraction(a) for a in row] for row in rows]
        self.cuts: list[Weights] = []

    def add_cut(self, weights: Weights) -> None:
        """Append the row ``ceil(lambda A) x >= ceil(lambda b)``."""
        row = [
            Fraction(ceil(sum((w * self.rows[k][j] for k, w in weights.items()), Fraction(0)))) for j in range(self.n)
        ]
        side = ceil(sum((w * self.lower[self.n + k] for k, w in weights.items()), Fraction(0)))
        self.cuts.append(weights)
        self.rows.append(row)
        self.lower.append(Fraction(side))
        place = {k: self.T[i] for i, k in enumerate(self.basic)}
        for j, k in enumerate(self.nonbasic):
            place[k] = [Fraction(int(i == j)) for i in range(self.n)]
        self.T.append(
            [sum((row[k] * place[k][j] for k in range(self.n) if row[k]), Fraction(0)) for j in range(self.n)]
        )
        self.basic.append(self.n + len(self.rows) - 1)

    def value(self, i: int) -> Fraction:
        """Value of the basic column of row i, all nonbasic ones at their lower bounds."""
        return sum((t * self.lower[k] for t, k in zip(self.T[i], self.nonbasic, strict=True) if t), Fraction(0))

    def solve(self) -> None:
        """Pivot until every basic column is at or above its lower bound; smallest numbers first, against cycles."""
        while True:
            low = [(k, i) for i, k in enumerate(self.basic) if self.value(i) < self.lower[k]]
            if not low:
                return
            r = min(low)[1]
            ratios = [
                (d / t, k, j) for j, (t, d, k) in enumerate(zip(self.T[r], self.d, self.nonbasic, strict=True)) if t > 0
            ]
            if not ratios:
                raise InfeasibleError("the integer program has no point")
            self.pivot(r, min(ratios)[2])

    def pivot(self, r: int, q: int) -> None:
        """Exchange the basic column of row r with nonbasic column q."""
        inverse = 1 / self.T[r][q]
        new = [-t * inverse for t in self.T[r]]
        new[q] = inverse
        for i, row in enumerate(self.T):
            if i != r:
                self.T[i] = _replaced(row, new, q)
        self.T[r], self.d = new, _replaced(self.d, new, q)
        self.basic[r], self.nonbasic[q] = self.nonbasic[q], self.basic[r]

    def fractional(self) -> int | None:
        """Row of the first column of the model whose value is not whole."""
        found = [(k, i) for i, k in enumerate(self.basic) if k < self.n and self.value(i).denominator != 1]
        return min(found)[1] if found else None

    def fraction_row(self, i: int) -> Weights:
        """Fractional parts of a tableau row's weights on the rows: the vertex breaks the cut that they give."""
        pairs = zip(self.T[i], self.nonbasic, strict=True)
        return {k - self.n: t - floor(t) for t, k in pairs if k >= self.n and t.denominator != 1}

    def y(self) -> Weights:
        """Duals of rows and cuts."""
        return {k - self.n: d for d, k in zip(self.d, self.nonbasic, strict=True) if k >= self.n}


def _replaced(row: Vector, new: Vector, q: int) -> Vector:
    """Substitute the entering column's expression into a row."""
    factor = row[q]
    if not factor:
        return row
    replaced = [t + factor * v for t, v in zip(row, new, strict=True)]
    replaced[q] = factor * new[q]
    return replaced
