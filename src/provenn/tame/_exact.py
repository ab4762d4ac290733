"""Exact arithmetic: sparse rational elimination, exact points, short exact duals."""

from fractions import Fraction
from math import lcm

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from provenn.errors import SolverError
from provenn.milp import MILP
from provenn.milp.model import EXACT
from provenn.tame._refactor import refactor
from provenn.tame._simplex import (
    OPTIMAL,
    PIVOT_TOLERANCE,
    Floats,
    Integers,
    Tableau,
    breakpoints,
    duals,
    minimise,
    pivot,
    place,
    sit,
    slack_basis,
    walk,
)

MOST_EXCHANGES = 50
Rationals = list[Fraction]
Row = dict[int, Fraction]


def eliminate(rows: list[Row], right: Rationals) -> Rationals | None:
    """Solve a square sparse system exactly by Gauss-Jordan, shortest rows first; None if it is singular.

    Examples
    --------
    >>> eliminate([{0: Fraction(2), 1: Fraction(1)}, {1: Fraction(4)}], [Fraction(1), Fraction(2)])
    [Fraction(1, 4), Fraction(1, 2)]
    """
    rows, right = [dict(row) for row in rows], list(right)
    left = set(range(len(rows)))
    pivots: dict[int, int] = {}
    while left:
        i = min(left, key=lambda k: len(rows[k]))
        left.remove(i)
        if not rows[i]:
            return None
        j = min(rows[i], key=lambda k: rows[i][k].denominator + abs(rows[i][k].numerator))
        pivots[j] = i
        for k in left:
            if j in rows[k]:
                right[k] -= rows[k][j] / rows[i][j] * right[i]
                _subtract(rows[k], rows[i], rows[k][j] / rows[i][j])
    return _substitute(rows, right, pivots)


def _subtract(target: Row, source: Row, factor: Fraction) -> None:
    for j, value in source.items():
        rest = target.get(j, Fraction(0)) - factor * value
        if rest:
            target[j] = rest
        else:
            del target[j]


def _substitute(rows: list[Row], right: Rationals, pivots: dict[int, int]) -> Rationals:
    """Read the unknowns off an echelon form, the last pivot first."""
    x: dict[int, Fraction] = {}
    for j, i in reversed(pivots.items()):
        known = sum((value * x[k] for k, value in rows[i].items() if k != j), Fraction(0))
        x[j] = (right[i] - known) / rows[i][j]
    return [x[j] for j in range(len(rows))]


def _entries(A: sparse.csr_matrix, i: int) -> list[tuple[int, Fraction]]:
    span = slice(A.indptr[i], A.indptr[i + 1])
    return [(int(j), Fraction(float(v))) for j, v in zip(A.indices[span], A.data[span], strict=True)]


def _activity(A: sparse.csr_matrix, i: int, x: Rationals) -> Fraction:
    """Return a row's activity; columns at 0, which are most, cost nothing."""
    span = slice(A.indptr[i], A.indptr[i + 1])
    pairs = zip(A.indices[span].tolist(), A.data[span].tolist(), strict=True)
    return sum((Fraction(v) * x[j] for j, v in pairs if x[j]), Fraction(0))


def dense(milp: MILP) -> Floats:
    """Return the matrix as a contiguous dense array."""
    return np.ascontiguousarray(milp.A.toarray(), dtype=np.float64)


def solved(milp: MILP, lower: Floats, upper: Floats) -> Tableau | None:
    """Return an optimal tableau for the columns' bounds, integrality dropped; None without a point."""
    A = dense(milp)
    tab = slack_basis(A, milp.c)
    low, high = np.concatenate([lower, milp.row_lower]), np.concatenate([upper, milp.row_upper])
    for _ in range(3):
        sit(tab.nonbasic, tab.d, tab.at, low, high)
        place(tab.T, tab.at, tab.value)
        status, row, *_ = minimise(tab, low, high, np.inf, 50_000)
        if row >= 0:
            return None
        if status == OPTIMAL and _fits(milp, tab):
            return tab
        refactor(tab, A, milp.c)
    raise SolverError("the linear program could not be solved in floats: scale its rows to entries near 1")


def closing_duals(milp: MILP, lower: Floats, upper: Floats, cutoff: float) -> Floats:
    """Return duals of the rows that bound an infeasible program by at least the cutoff, up to rounding."""
    tab, y = slack_basis(dense(milp), milp.c), np.zeros(milp.n_rows)
    low, high = np.concatenate([lower, milp.row_lower]), np.concatenate([upper, milp.row_upper])
    sit(tab.nonbasic, tab.d, tab.at, low, high)
    place(tab.T, tab.at, tab.value)
    _, row, sign, t, _ = minimise(tab, low, high, cutoff, 50_000)
    duals(tab.T, tab.basic, tab.nonbasic, tab.d, row, sign, t, y)
    return y


def _fits(milp: MILP, tab: Tableau) -> bool:
    """Whether rounding has left the rows' activities as they are."""
    x = np.zeros(milp.n_columns + milp.n_rows)
    x[tab.basic], x[tab.nonbasic] = tab.value, tab.at
    activity = milp.A @ x[: milp.n_columns]
    return bool(
        np.all(np.abs(activity - x[milp.n_columns :]) <= 1e-9 * (1 + abs(milp.A) @ np.abs(x[: milp.n_columns])))
    )


def vertex(milp: MILP, tab: Tableau) -> Rationals | None:
    """Return the exact point of a basis; None where the basis is singular."""
    n = milp.n_columns
    x = {int(k): Fraction(float(v)) for k, v in zip(tab.nonbasic, tab.at, strict=True)}
    unknown = sorted(int(k) for k in tab.basic if k < n)
    number = {k: i for i, k in enumerate(unknown)}
    rows, right = [], []
    for i in sorted(int(k) - n for k in tab.nonbasic if k >= n):
        entries = _entries(milp.A, i)
        rows.append({number[j]: v for j, v in entries if j in number})
        right.append(x[n + i] - sum((v * x[j] for j, v in entries if j not in number and x[j]), Fraction(0)))
    found = eliminate(rows, right)
    if found is None:
        return None
    x.update(zip(unknown, found, strict=True))
    return [x[j] for j in range(n)]


def basis_duals(milp: MILP, basic: Integers, nonbasic: Integers) -> dict[int, Fraction] | None:
    """Return the exact duals of a basis by row, ``A_RS' y = c_S``; None where the basis is singular."""
    n = milp.n_columns
    columns = sorted(int(k) for k in basic if k < n)
    active = sorted(int(k) - n for k in nonbasic if k >= n)
    number = {j: k for k, j in enumerate(columns)}
    rows: list[Row] = [{} for _ in columns]
    for k, i in enumerate(active):
        for j, v in _entries(milp.A, i):
            if j in number:
                rows[number[j]][k] = v
    y = eliminate(rows, [Fraction(float(milp.c[j])) for j in columns])
    return None if y is None else dict(zip(active, y, strict=True))


def best_point(milp: MILP, integers: Floats) -> Rationals | None:
    """Return an exact optimal point with these integers, or None where floats find none.

    Where no point satisfies everything exactly, it is one that floats take for feasible, see `slack_of`.
    """
    whole = np.rint(integers)
    if milp.integer.all():
        return [Fraction(int(v)) for v in whole]
    lower, upper = (np.where(milp.integer, whole, bound) for bound in (milp.col_lower, milp.col_upper))
    tab = solved(milp, lower, upper)
    if tab is None:
        return None
    return feasible_vertex(milp, tab, np.append(lower, milp.row_lower), np.append(upper, milp.row_upper))


def feasible_vertex(milp: MILP, tab: Tableau, lower: Floats, upper: Floats) -> Rationals | None:
    """Return the exact point of a basis that floats call feasible, after exchanges where exactly it is not.

    Degenerate vertices can break a bound by a rounding of the data. Each exchange is a step of the dual simplex
    method whose leaving column is found exactly. Where they do not end, it is the point of the first basis; None
    where that is singular.

    Parameters
    ----------
    milp : MILP
    tab : Tableau
        Optimal in floats; it is changed.
    lower, upper : ndarray of shape (n + m,), float64
        Bounds of the columns and then of the rows' activities.
    """
    first = vertex(milp, tab)
    x = first
    for _ in range(MOST_EXCHANGES):
        if x is None:
            return first
        r, sign = _broken(milp, tab, x, lower, upper)
        if r < 0:
            return x
        size = breakpoints(tab.T[r], sign, tab.nonbasic, tab.d, tab.at, lower, upper, tab.step, tab.listed)
        q, *_ = walk(tab.T[r], 0.0, tab.nonbasic, lower, upper, tab.step, tab.listed, size)
        if q < 0 or abs(tab.T[r, q]) < PIVOT_TOLERANCE:
            return first
        bound = (lower if sign > 0 else upper)[tab.basic[r]]
        pivot(tab.T, tab.basic, tab.nonbasic, tab.d, tab.value, tab.at, tab.norm, r, q, bound)
        x = vertex(milp, tab)
    return first


def _broken(milp: MILP, tab: Tableau, x: Rationals, lower: Floats, upper: Floats) -> tuple[int, float]:
    """Return the row of the basic column that is farthest outside its bounds, exactly, and 1 when it is below."""
    n, most, found = milp.n_columns, Fraction(0), (-1, 0.0)
    for r, k in enumerate(tab.basic.tolist()):
        value = x[k] if k < n else _activity(milp.A, k - n, x)
        for bound, sign in ((lower[k], 1.0), (upper[k], -1.0)):
            if np.isfinite(bound) and (over := int(sign) * (Fraction(float(bound)) - value)) > most:
                most, found = over, (r, sign)
    return found


def slack_of(milp: MILP, x: Rationals) -> Fraction:
    """Return by how much a point with whole integers breaks the bound or side that it breaks most, exactly."""
    if all(v.denominator == 1 and abs(v.numerator) < EXACT for v in x):
        return milp.violation(np.array([float(v) for v in x]))
    most = Fraction(0)
    for low, v, high in zip(milp.col_lower.tolist(), x, milp.col_upper.tolist(), strict=True):
        most = max(most, Fraction(low) - v, v - Fraction(high))
    for i, (below, above) in enumerate(zip(milp.row_lower.tolist(), milp.row_upper.tolist(), strict=True)):
        activity = _activity(milp.A, i, x)
        for side, sign in ((below, 1), (above, -1)):
            if np.isfinite(side):
                most = max(most, sign * (Fraction(side) - activity))
    return most


def largest(milp: MILP) -> Fraction:
    """Return the largest objective in the columns' bounds, exactly."""
    sides = zip(milp.c.tolist(), milp.col_lower.tolist(), milp.col_upper.tolist(), strict=True)
    terms = (max(Fraction(a) * Fraction(low), Fraction(a) * Fraction(high)) for a, low, high in sides)
    return sum(terms, Fraction(float(milp.offset)))


def objective_of(milp: MILP, x: Rationals) -> Fraction:
    """Return the objective of a point, exactly."""
    terms = (Fraction(float(milp.c[j])) * x[j] for j in np.flatnonzero(milp.c))
    return sum(terms, Fraction(float(milp.offset)))


def near_rationals(y: NDArray[np.float64], most: int = 4096) -> Rationals | None:
    """Return the simple fractions that floats stand for, or None where one stands for none.

    Examples
    --------
    >>> near_rationals(np.array([1 / 3, 0.25 + 1e-16]))
    [Fraction(1, 3), Fraction(1, 4)]
    """
    simple = [Fraction(float(v)).limit_denominator(most) for v in y]
    if any(abs(float(s) - v) > 1e-9 * (1 + abs(v)) for s, v in zip(simple, y, strict=True)):
        return None
    return simple if lcm(*(s.denominator for s in simple)) < 2**64 else None
