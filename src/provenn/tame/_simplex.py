"""A dual simplex method on a dense tableau, for small linear programs with boxes that change often.

Rows become columns of their own, ``s = A x`` with the sides of the row as bounds, so that every program is
``min d x_N`` with ``x_B = T x_N`` and boxes on all columns. Any basis then has correct signs once each
nonbasic column sits at the bound that its reduced cost d wants. So one tableau serves all nodes of a tree,
and every basis met on the way proves a lower bound.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

OPTIMAL, CLOSED, TROUBLE = 0, 1, 2
PRIMAL_TOLERANCE = 1e-9
ENTRY_TOLERANCE = 1e-9
PIVOT_TOLERANCE = 1e-7
TIE = 1e-10
NOISE = 1e-12
"""Entries of the tableau below this are rounding of zeros."""


class Tableau(NamedTuple):
    """A basis, its tableau and its point.

    Parameters
    ----------
    T : ndarray of shape (m, n), float64
        ``x_B = T x_N``.
    basic : ndarray of shape (m,), int64
        Columns 0..n-1 are the model's, n+i is the activity of row i.
    nonbasic : ndarray of shape (n,), int64
    d : ndarray of shape (n,), float64
        Reduced costs of the nonbasic columns.
    value : ndarray of shape (m,), float64
        Values of the basic columns.
    at : ndarray of shape (n,), float64
        Values of the nonbasic columns, each one of its bounds.
    norm : ndarray of shape (m,), float64
        One plus the squared norm of each row of T.
    step, listed : ndarray of shape (n,), float64 and int64
        Scratch of the ratio test: columns, and the step at which their reduced costs change sign.
    """

    T: Floats
    basic: Integers
    nonbasic: Integers
    d: Floats
    value: Floats
    at: Floats
    norm: Floats
    step: Floats
    listed: Integers


def slack_basis(A: Floats, c: Floats) -> Tableau:
    """Return the tableau in which the rows' activities are basic, with a scratch of its own."""
    m, n = A.shape
    return Tableau(
        np.ascontiguousarray(A, dtype=np.float64).copy(),
        n + np.arange(m, dtype=np.int64),
        np.arange(n, dtype=np.int64),
        c.astype(np.float64).copy(),
        np.zeros(m),
        np.zeros(n),
        1.0 + (A * A).sum(axis=1),
        np.zeros(n),
        np.zeros(n, dtype=np.int64),
    )


@njit(cache=True, nogil=True)
def sit(nonbasic: Integers, d: Floats, at: Floats, lower: Floats, upper: Floats) -> None:
    """Put every nonbasic column at the bound that its reduced cost wants."""
    for j in range(nonbasic.size):
        k = nonbasic[j]
        wants_lower = d[j] > 0 or (d[j] == 0 and at[j] != upper[k])
        if wants_lower:
            at[j] = lower[k] if lower[k] > -np.inf else upper[k]
        else:
            at[j] = upper[k] if upper[k] < np.inf else lower[k]


@njit(cache=True, nogil=True)
def place(T: Floats, at: Floats, value: Floats) -> None:
    """Compute the values of the basic columns."""
    for i in range(value.size):
        total = 0.0
        for j in range(at.size):
            total += T[i, j] * at[j]
        value[i] = total


@njit(cache=True, nogil=True)
def objective(d: Floats, at: Floats) -> float:
    """Return the bound that the basis proves."""
    total = 0.0
    for j in range(d.size):
        if d[j] != 0:
            total += d[j] * at[j]
    return total


@njit(cache=True, nogil=True)
def leaving_row(basic: Integers, value: Floats, norm: Floats, lower: Floats, upper: Floats) -> int:
    """Row whose value is outside its box by most, relative to the row's norm; -1 when all are inside."""
    best, row = 0.0, -1
    for i in range(basic.size):
        k = basic[i]
        over = max(lower[k] - value[i], value[i] - upper[k])
        if over > PRIMAL_TOLERANCE * (1 + abs(value[i])) and over * over > best * norm[i]:
            best, row = over * over / norm[i], i
    return row


@njit(cache=True, nogil=True)
def breakpoints(
    row: Floats,
    sign: float,
    nonbasic: Integers,
    d: Floats,
    at: Floats,
    lower: Floats,
    upper: Floats,
    step: Floats,
    listed: Integers,
) -> int:
    """List the columns whose reduced cost ``d - t sign row`` changes its sign, with the step at which it does.

    Returns their number.
    """
    size = 0
    for j in range(d.size):
        a = sign * row[j]
        if abs(a) > ENTRY_TOLERANCE:
            k = nonbasic[j]
            if lower[k] < upper[k] and (a > 0) == (at[j] == lower[k]):
                step[size], listed[size] = max(d[j] / a, 0.0), j
                size += 1
    return size


@njit(cache=True, nogil=True)
def walk(
    row: Floats,
    slope: float,
    nonbasic: Integers,
    lower: Floats,
    upper: Floats,
    step: Floats,
    listed: Integers,
    size: int,
) -> tuple[int, int, float, float, float]:
    """Raise the dual step until the bound stops rising; the columns passed come first in `listed`.

    Returns
    -------
    column : int
        Entering column, or -1 where the bound rises for ever.
    passed : int
        Number of columns passed: they move to their other bound.
    t, gain, slope : float
        The step, the rise of the bound up to it, and the slope that is left for column -1.
    """
    t, gain = 0.0, 0.0
    for passed in range(size):
        first = passed
        for i in range(passed + 1, size):
            if step[i] < step[first]:
                first = i
        step[passed], step[first] = step[first], step[passed]
        listed[passed], listed[first] = listed[first], listed[passed]
        gain += slope * (step[passed] - t)
        t = step[passed]
        j = listed[passed]
        slope -= abs(row[j]) * (upper[nonbasic[j]] - lower[nonbasic[j]])
        if slope <= PRIMAL_TOLERANCE:
            return _largest(row, step, listed, t, passed, size), passed, t, gain, 0.0
    return -1, size, t, gain, slope


@njit(cache=True, nogil=True)
def _largest(row: Floats, step: Floats, listed: Integers, t: float, first: int, size: int) -> int:
    """Of the columns that tie with the first, the one with the largest entry."""
    best = listed[first]
    for i in range(first + 1, size):
        if step[i] <= t + TIE and abs(row[listed[i]]) > abs(row[best]):
            best = listed[i]
    return best


@njit(cache=True, nogil=True)
def flip(
    T: Floats,
    nonbasic: Integers,
    at: Floats,
    value: Floats,
    lower: Floats,
    upper: Floats,
    listed: Integers,
    passed: int,
) -> None:
    """Move the passed columns to their other bound."""
    for i in range(passed):
        j = listed[i]
        k = nonbasic[j]
        to = upper[k] if at[j] == lower[k] else lower[k]
        for r in range(value.size):
            value[r] += T[r, j] * (to - at[j])
        at[j] = to


@njit(cache=True, nogil=True)
def pivot(
    T: Floats,
    basic: Integers,
    nonbasic: Integers,
    d: Floats,
    value: Floats,
    at: Floats,
    norm: Floats,
    r: int,
    q: int,
    bound: float,
) -> None:
    """Exchange the basic column of row r, which goes to the bound, with nonbasic column q."""
    n, pivot_entry = d.size, T[r, q]
    move = (bound - value[r]) / pivot_entry
    for i in range(value.size):
        value[i] += T[i, q] * move
    value[r], at[q] = at[q] + move, bound
    inverse = 1.0 / pivot_entry
    for j in range(n):
        T[r, j] = -T[r, j] * inverse
    T[r, q] = 0.0
    for i in range(value.size):
        factor = T[i, q]
        if i != r and abs(factor) > NOISE:
            T[i, q] = 0.0
            squares = _add_clean_row(T[i], T[r], factor)
            T[i, q] = factor * inverse
            norm[i] = 1.0 + squares + T[i, q] * T[i, q]
        elif i != r:
            T[i, q] = 0.0
    factor = d[q]
    _add_row(d, T[r], factor)
    d[q], T[r, q] = factor * inverse, inverse
    norm[r] = 1.0 + _squares(T[r])
    basic[r], nonbasic[q] = nonbasic[q], basic[r]


@njit(cache=True, nogil=True, fastmath=True)
def _add_row(target: Floats, source: Floats, factor: float) -> None:
    for j in range(target.size):
        target[j] += factor * source[j]


@njit(cache=True, nogil=True, fastmath=True)
def _add_clean_row(target: Floats, source: Floats, factor: float) -> float:
    """Add a multiple of a row, clear what rounding leaves of zeros, and return the squared norm."""
    total = 0.0
    for j in range(target.size):
        entry = target[j] + factor * source[j]
        square = entry * entry
        keep = square > NOISE * NOISE
        target[j] = entry if keep else 0.0
        total += square if keep else 0.0
    return total


@njit(cache=True, nogil=True, fastmath=True)
def _squares(row: Floats) -> float:
    total = 0.0
    for j in range(row.size):
        total += row[j] * row[j]
    return total


@njit(cache=True, nogil=True)
def minimise(
    tab: Tableau, lower: Floats, upper: Floats, cutoff: float, most: int
) -> tuple[int, int, float, float, int]:
    """Solve from the current basis, whose point must fit the boxes' bounds.

    Returns
    -------
    status : int
        `OPTIMAL`; `CLOSED`: the step below proves a bound of at least the cutoff; `TROUBLE`: too many
        pivots, or none with a usable entry.
    row : int
        The row along which a closed program's duals move, or -1 where the basis itself reaches the cutoff.
    sign, t : float
        Duals are those of the basis plus t times the row, see `duals`.
    pivots : int
    """
    T, basic, nonbasic, d, value, at, norm, step, listed = tab
    for count in range(most):
        reached = objective(d, at)
        if reached >= cutoff:
            return CLOSED, -1, 0.0, 0.0, count
        r = leaving_row(basic, value, norm, lower, upper)
        if r < 0:
            return OPTIMAL, -1, 0.0, 0.0, count
        below = value[r] < lower[basic[r]]
        sign = 1.0 if below else -1.0
        bound = lower[basic[r]] if below else upper[basic[r]]
        size = breakpoints(T[r], sign, nonbasic, d, at, lower, upper, step, listed)
        q, passed, t, gain, slope = walk(T[r], abs(bound - value[r]), nonbasic, lower, upper, step, listed, size)
        if q < 0:
            return CLOSED, r, sign, far_step(reached, t, gain, slope, cutoff), count
        if reached + gain >= cutoff:
            return CLOSED, r, sign, t, count
        if abs(T[r, q]) < PIVOT_TOLERANCE:
            return TROUBLE, -1, 0.0, 0.0, count
        flip(T, nonbasic, at, value, lower, upper, listed, passed)
        pivot(T, basic, nonbasic, d, value, at, norm, r, q, bound)
    return TROUBLE, -1, 0.0, 0.0, most


@njit(cache=True, nogil=True)
def far_step(reached: float, t: float, gain: float, slope: float, cutoff: float) -> float:
    """Step along a ray that passes the cutoff by a tenth of its size and one."""
    wanted = cutoff + 0.1 * abs(cutoff) + 1.0
    return t + max(wanted - reached - gain, 0.0) / slope


@njit(cache=True, nogil=True)
def duals(
    T: Floats, basic: Integers, nonbasic: Integers, d: Floats, row: int, sign: float, t: float, y: Floats
) -> None:
    """Write the rows' duals of the basis, moved by t along a row of the tableau, to y."""
    n = nonbasic.size
    y[:] = 0.0
    for j in range(n):
        if nonbasic[j] >= n:
            y[nonbasic[j] - n] = d[j] - (t * sign * T[row, j] if row >= 0 else 0.0)
    if row >= 0 and basic[row] >= n:
        y[basic[row] - n] = sign * t


@njit(cache=True, nogil=True)
def bound_of(
    y: Floats,
    indptr: Integers,
    indices: Integers,
    data: Floats,
    c: Floats,
    lower: Floats,
    upper: Floats,
    reduced: Floats,
) -> float:
    """Clear duals of the wrong sign, write ``c - A' y`` to `reduced`, return the bound that y proves in the box."""
    n = c.size
    reduced[:] = c
    total = 0.0
    for i in range(y.size):
        side = lower[n + i] if y[i] > 0 else upper[n + i]
        if y[i] == 0 or np.isinf(side):
            y[i] = 0.0
            continue
        total += y[i] * side
        for k in range(indptr[i], indptr[i + 1]):
            reduced[indices[k]] -= y[i] * data[k]
    return total + box_minimum(reduced, lower, upper)


@njit(cache=True, nogil=True)
def box_minimum(reduced: Floats, lower: Floats, upper: Floats) -> float:
    """Return ``sum_j min(r_j l_j, r_j u_j)``, where 0 times infinity is 0."""
    total = 0.0
    for j in range(reduced.size):
        if reduced[j] > 0:
            total += reduced[j] * lower[j]
        elif reduced[j] < 0:
            total += reduced[j] * upper[j]
    return total
