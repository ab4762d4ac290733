"""Moves the continuous columns of a point away from the rows that its integer columns switch on."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from provenn.milp.model import MILP, Floats

REACH = 1e-3
OBJECTIVE_SLACK = 1e-7


def centre(milp: MILP, x: Floats, reach: float = REACH) -> Floats | None:
    """Return a point with the same integers whose conditional rows hold with as much room as possible.

    With the integer columns fixed at the nearest integers the model is a linear program. It maximises
    ``sum_r s_r`` where row r, switched on by its indicator, holds with slack ``0 <= s_r <= reach``; the
    objective gets no worse than at x. A point in the middle of its activations keeps them
    when it is rounded to a grid afterwards.

    Parameters
    ----------
    milp : MILP
    x : ndarray of shape (n,), float64
        A point that is feasible up to a solver's tolerance.
    reach : float
        Slack beyond which more is of no use, in units of the rows.

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
    >>> centre(builder.build(), np.array([1.0, -1e-9]))[1] >= 0.001
    True
    """
    whole = np.where(milp.integer, np.rint(x), x)
    program = _program(milp, whole, reach)
    found = linprog(
        program.costs, A_ub=program.rows, b_ub=program.limits, A_eq=program.equal, b_eq=program.values,
        bounds=program.bounds, method="highs",
    )  # fmt: skip
    if found.x is None:
        return None
    moved = whole.copy()
    moved[~milp.integer] = found.x[: program.moving]
    return moved


@dataclass(frozen=True)
class _Program:
    """The linear program of `centre` over the continuous columns, then the slacks."""

    costs: Floats
    rows: sparse.csr_matrix
    limits: Floats
    equal: sparse.csr_matrix
    values: Floats
    bounds: Floats
    moving: int


def _program(milp: MILP, x: Floats, reach: float) -> _Program:
    free = ~milp.integer
    kept = milp.active(x)
    A, fixed = milp.A[:, free], milp.A[:, milp.integer] @ x[milp.integer]
    lower, upper = milp.row_lower - fixed, milp.row_upper - fixed
    used = kept & (np.diff(A.indptr) > 0)
    same, below, above = used & (lower == upper), used & np.isfinite(upper), used & np.isfinite(lower)
    below, above = below & ~same, above & ~same
    switched = milp.indicator >= 0
    chosen = np.concatenate([np.flatnonzero(below & switched), np.flatnonzero(above & switched)])
    number = np.full((2, milp.n_rows), -1)
    number[0, below & switched] = np.arange((below & switched).sum())
    number[1, above & switched] = (below & switched).sum() + np.arange((above & switched).sum())
    sides = [(A[below], number[0, below]), (-A[above], number[1, above])]
    rows = sparse.vstack([sparse.hstack([part, _slacks(place, len(chosen))]) for part, place in sides])
    c = milp.c[free]
    limits = np.concatenate([upper[below], -lower[above]])
    if np.any(c):
        rows = sparse.vstack([rows, sparse.hstack([sparse.csr_matrix(c), sparse.csr_matrix((1, len(chosen)))])])
        limits = np.append(limits, c @ x[free] + OBJECTIVE_SLACK * (1 + abs(float(c @ x[free]))))
    none = sparse.csr_matrix((int(same.sum()), len(chosen)))
    ends = [np.column_stack([milp.col_lower[free], milp.col_upper[free]]), np.tile([0.0, reach], (len(chosen), 1))]
    return _Program(
        np.concatenate([np.zeros(int(free.sum())), -np.ones(len(chosen))]),
        sparse.csr_matrix(rows), limits,
        sparse.csr_matrix(sparse.hstack([A[same], none])), lower[same],
        np.vstack(ends), int(free.sum()),
    )  # fmt: skip


def _slacks(place: np.ndarray, count: int) -> sparse.csr_matrix:
    """Return one row for each entry, with a 1 in the column that it names; -1 names none."""
    rows = np.flatnonzero(place >= 0)
    return sparse.csr_matrix((np.ones(len(rows)), (rows, place[rows])), shape=(len(place), count))
