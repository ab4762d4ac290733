"""Moves the continuous columns of a point away from the rows that its integer columns switch on."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from provenn.milp.model import MILP, Floats

REACH = 1e-3
OBJECTIVE_SLACK = 1e-7


def centre(milp: MILP, x: Floats, rounding: float = 0.0) -> Floats | None:
    """Return a point with the same integers whose conditional rows hold with as much room as possible.

    A point in the middle of its activations keeps them when it is rounded to a grid afterwards. With the
    integer columns fixed at the nearest integers the model is a linear program. Two are solved:

    * the least objective where every row that an indicator switches on holds with slack `rounding`. An optimum
      lies on such rows, and rounding would push it over them. Where there is no such point, or the continuous columns
      cost nothing, the objective at x stands.
    * the largest ``m t + sum_r s_r`` over the m switched rows at no worse objective, where row r holds
      with slack s_r and ``0 <= t <= s_r <= max(REACH, rounding)``: the least slack counts most.

    Parameters
    ----------
    milp : MILP
    x : ndarray of shape (n,), float64
        A point that is feasible up to a solver's tolerance.
    rounding : float
        How far rounding to the grid can move a row, in its units.

    Returns
    -------
    ndarray of shape (n,), float64, or None
        None where no point with these integers satisfies the rows.

    Examples
    --------
    >>> from provenn.milp.model import Builder, Terms
    >>> builder = Builder()
    >>> u, a = builder.columns("u", (1,), 0, 1), builder.columns("a", (1,), -1, 1, integer=False)
    >>> builder.rows([Terms(a, 1.0)], lower=0, when=(u, 1))
    >>> float(centre(builder.build(), np.array([1.0, -1e-9]))[1]) >= 0.001
    True
    """
    whole = np.where(milp.integer, np.rint(x), x)
    c = milp.c[~milp.integer]
    worth = float(c @ whole[~milp.integer])
    program = _program(milp, whole, max(REACH, rounding))
    slacks = len(program.bounds) - len(c)
    if np.any(c):
        free = program.bounds.copy()
        free[len(c) :, 0] = rounding
        cheapest = program.minimum(np.append(c, np.zeros(slacks)), free)
        worth = worth if cheapest is None else float(c @ cheapest[: len(c)])
    limited = program.limited(np.append(c, np.zeros(slacks)), worth + OBJECTIVE_SLACK * (1 + abs(worth)))
    room = np.concatenate([np.zeros(len(c)), -np.ones(slacks - 1), [1.0 - slacks]])
    found = limited.minimum(room, program.bounds)
    if found is None:
        return None
    whole[~milp.integer] = found[: len(c)]
    return whole


@dataclass(frozen=True)
class _Program:
    """The rows of `centre` over the continuous columns, the slacks, and the least slack, and their bounds."""

    rows: sparse.csr_matrix
    limits: Floats
    equal: sparse.csr_matrix
    values: Floats
    bounds: Floats

    def limited(self, row: Floats, most: float) -> "_Program":
        """Return the program with one more row: at most this."""
        rows = sparse.csr_matrix(sparse.vstack([self.rows, sparse.csr_matrix(row)]))
        return replace(self, rows=rows, limits=np.append(self.limits, most))

    def minimum(self, costs: Floats, bounds: Floats) -> Floats | None:
        """Return a point of least costs, None where there is none."""
        found = linprog(
            costs, A_ub=self.rows, b_ub=self.limits, A_eq=self.equal, b_eq=self.values, bounds=bounds, method="highs"
        )
        point: Floats | None = found.x
        return point


def _program(milp: MILP, x: Floats, reach: float) -> _Program:
    free = ~milp.integer
    A, fixed = milp.A[:, free], milp.A[:, milp.integer] @ x[milp.integer]
    lower, upper = milp.row_lower - fixed, milp.row_upper - fixed
    used = milp.active(x) & (np.diff(A.indptr) > 0)
    same = used & (lower == upper)
    below, above = used & ~same & np.isfinite(upper), used & ~same & np.isfinite(lower)
    switched = np.concatenate([milp.indicator[below] >= 0, milp.indicator[above] >= 0])
    slacks = int(switched.sum())
    none = sparse.csr_matrix((int(same.sum()), slacks + 1))
    rows = [
        sparse.hstack([sparse.vstack([A[below], -A[above]]), _choose(switched), _zeros(len(switched), 1)]),
        sparse.hstack([_zeros(slacks, A.shape[1]), -sparse.identity(slacks), np.ones((slacks, 1))]),
    ]
    limits = [upper[below], -lower[above], np.zeros(slacks)]
    ends = [np.column_stack([milp.col_lower[free], milp.col_upper[free]]), np.tile([0.0, reach], (slacks + 1, 1))]
    return _Program(
        sparse.csr_matrix(sparse.vstack(rows)), np.concatenate(limits),
        sparse.csr_matrix(sparse.hstack([A[same], none])), lower[same], np.vstack(ends),
    )  # fmt: skip


def _choose(switched: np.ndarray) -> sparse.csr_matrix:
    """Return one row for each row of the model, with a 1 in a column of its own where it has a slack."""
    rows = np.flatnonzero(switched)
    return sparse.csr_matrix((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(len(switched), len(rows)))


def _zeros(rows: int, columns: int) -> sparse.csr_matrix:
    return sparse.csr_matrix((rows, columns))
