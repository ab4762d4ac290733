"""The optimal value of a model with fixed integers, with the multipliers that differentiate it."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.optimize import linprog

from provenn.errors import InfeasibleError, InputError, SolverError
from provenn.milp import MILP, Limits
from provenn.milp.lower import big_m
from provenn.tame.branch_and_bound import branch_and_bound
from provenn.tame.certificate import DualCertificate

Floats = NDArray[np.float64]
TOLERANCE = 1e-7
"""By how much, relative to its size, a row without continuous columns may be off at a float point."""
INFEASIBLE = 2
UNBOUNDED = 3


@dataclass(frozen=True)
class FixedValue:
    """A solved linear program: value, point and multipliers.

    Parameters
    ----------
    value : float
        ``c x + offset``.
    x : ndarray of shape (n,), float64
    y : ndarray of shape (m,), float64
        Derivative of the value by the side of the row that is active; at least 0 where that is the
        lower side, at most 0 where it is the upper, 0 where neither is.
    reduced : ndarray of shape (n,), float64
        ``c - A' y``, the derivative of the value by the bound that holds a column, or by its fixed value.
    """

    value: float
    x: Floats
    y: Floats
    reduced: Floats


def fixed_value(milp: MILP, integers: ArrayLike | None) -> FixedValue:
    """Minimise over the continuous columns while the integer columns keep given values.

    Where the optimal integers are unique, the value of the whole model has the derivatives
    ``dz/dc = x``, ``dz/db = y`` and ``dz/dA = -y x'``, if x and y are unique too.

    Parameters
    ----------
    milp : MILP
        Without conditional rows.
    integers : array of shape (n,) or (number of integer columns,), or None
        A complete point, of which the integer columns count, or those columns alone. None lets the
        integer columns take any value within their bounds: the linear relaxation.

    Raises
    ------
    InputError
        When rows are conditional, the integers do not fit, or the program is unbounded.
    InfeasibleError
        When no continuous columns fit the integers.
    SolverError
        When the solver gives up.

    References
    ----------
    Aspman, Korpas & Marecek, arXiv 2310.04469

    Examples
    --------
    >>> from provenn.milp import Builder, Terms
    >>> builder = Builder()
    >>> k, s = builder.columns("k", (1,), 0, 5), builder.columns("s", (1,), 0, 9, integer=False)
    >>> builder.rows([Terms(k, 2.0), Terms(s, 1.0)], lower=3.5)
    >>> builder.minimise(s, [3.0])
    >>> solved = fixed_value(builder.build(), [1])
    >>> solved.value, solved.x.tolist(), solved.y.tolist(), solved.reduced.tolist()
    (4.5, [1.0, 1.5], [3.0], [-6.0, 0.0])
    """
    if milp.has_indicators:
        raise InputError("the model has conditional rows: lower them first, with provenn.milp.lower.big_m")
    x, free = _start(milp, integers)
    rest = milp.A @ x
    loose = np.diff(milp.A[:, free].indptr) == 0
    _check_rows(milp, rest, loose)
    x[free], y = _solve(milp, free, rest, ~loose)
    return FixedValue(float(milp.c @ x) + milp.offset, x, y, milp.c - milp.A.T @ y)


def _start(milp: MILP, integers: ArrayLike | None) -> tuple[Floats, NDArray[np.int64]]:
    """Return a point with the given integers and 0 elsewhere, and the columns that are free."""
    x = np.zeros(milp.n_columns)
    if integers is None:
        return x, np.arange(milp.n_columns)
    given = np.asarray(integers, dtype=np.float64)
    count = int(milp.integer.sum())
    if given.shape not in {(milp.n_columns,), (count,)}:
        raise InputError(f"give {milp.n_columns} values, or one for each of {count} integer columns, not {given.shape}")
    kept = given[milp.integer] if given.shape == (milp.n_columns,) else given
    near = np.rint(kept)
    if not np.all(np.abs(kept - near) <= 1e-5):
        raise InputError(f"integer columns must have whole values, got {float(kept[np.argmax(np.abs(kept - near))])}")
    if (near < milp.col_lower[milp.integer]).any() or (near > milp.col_upper[milp.integer]).any():
        raise InfeasibleError("the given integers are outside the bounds of their columns")
    x[milp.integer] = near
    return x, np.flatnonzero(~milp.integer)


def _check_rows(milp: MILP, activity: Floats, rows: NDArray[np.bool_]) -> None:
    """Refuse integers that break a row in which nothing is free."""
    over = np.maximum(milp.row_lower - activity, activity - milp.row_upper) - TOLERANCE * (1 + np.abs(activity))
    bad = np.flatnonzero(rows & (over > 0))
    if bad.size:
        raise InfeasibleError(f"the given integers break row {int(bad[0])} ({bad.size} rows without free columns)")


def _solve(milp: MILP, free: NDArray[np.int64], rest: Floats, rows: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Solve for the free columns; return them and the multipliers of all rows."""
    y = np.zeros(milp.n_rows)
    if not free.size:
        return np.zeros(0), y
    lower, upper = milp.row_lower - rest, milp.row_upper - rest
    equal = rows & (lower == upper)
    below, above = rows & ~equal & np.isfinite(lower), rows & ~equal & np.isfinite(upper)
    part = milp.A[:, free]
    found = linprog(
        milp.c[free],
        A_ub=sparse.vstack([-part[below], part[above]], format="csr"),
        b_ub=np.concatenate([-lower[below], upper[above]]),
        A_eq=part[equal],
        b_eq=lower[equal],
        bounds=np.column_stack([milp.col_lower[free], milp.col_upper[free]]),
        method="highs-ds",
    )
    _check_status(int(found.status), str(found.message))
    multipliers = np.asarray(found.ineqlin.marginals)
    y[below] -= multipliers[: below.sum()]
    y[above] += multipliers[below.sum() :]
    y[equal] = found.eqlin.marginals
    return np.asarray(found.x, dtype=np.float64), y


def _check_status(status: int, message: str) -> None:
    if status == INFEASIBLE:
        raise InfeasibleError("no values of the continuous columns fit the given integers")
    if status == UNBOUNDED:
        raise InputError("the objective can decrease for ever in the continuous columns: give every column a bound")
    if status:
        raise SolverError(f"HiGHS (through scipy) gave up on the linear program: {message}")


class ValueFunction:
    """Optimal values as a function of the data: bounded below by certificates, above by integer assignments.

    Every certificate bounds the optimum of every changed model from below, see `DualCertificate`; every
    assignment of the integer columns bounds it from above, see `fixed_value`.

    Parameters
    ----------
    milp : MILP
        Where to start; certified at once.
    limits : Limits, optional
        Of the first certificate.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from provenn.milp import Builder, Terms
    >>> builder = Builder()
    >>> x = builder.columns("x", (3,), 0, 1)
    >>> builder.rows([Terms(x, [5.0, 4.0, 3.0])], upper=8)
    >>> builder.minimise(x, [-9.0, -7.0, -5.0])
    >>> model = builder.build()
    >>> z = ValueFunction(model)
    >>> changed = replace(model, c=np.array([-9.0, -9.0, -5.0]))
    >>> low, high = z.refine(changed)
    >>> round(low, 9), high, len(z.certificates)
    (-14.0, -14.0, 1)
    """

    def __init__(self, milp: MILP, limits: Limits | None = None) -> None:
        """Certify the first model."""
        self.certificates: list[DualCertificate] = []
        self.assignments: list[Floats] = []
        self._keep(branch_and_bound(milp, limits=limits))

    def lower(self, milp: MILP) -> float:
        """Return the largest bound of all certificates."""
        return max(certificate.lower_bound(milp) for certificate in self.certificates)

    def upper(self, milp: MILP) -> float:
        """Return the smallest value of all assignments; infinite where none fits."""
        return min((solved.value for solved in self._fitting(milp)), default=np.inf)

    def best(self, milp: MILP) -> FixedValue | None:
        """Return the assignment with the smallest value, solved; None where none fits."""
        return min(self._fitting(milp), key=lambda solved: solved.value, default=None)

    def bracket(self, milp: MILP) -> tuple[float, float]:
        """Return `lower` and `upper`."""
        return self.lower(milp), self.upper(milp)

    def refine(self, milp: MILP, tolerance: float = 1e-6, limits: Limits | None = None) -> tuple[float, float]:
        """Certify a model from the best certificate, unless its bracket is within the tolerance; return the bracket."""
        low, high = self.bracket(milp)
        if high - low <= tolerance * (1 + abs(high)):
            return low, high
        nearest = max(self.certificates, key=lambda certificate: certificate.lower_bound(milp))
        best = self.best(milp)
        self._keep(nearest.warm_start(milp, None if best is None else best.x, limits))
        return self.bracket(milp)

    def _keep(self, certificate: DualCertificate) -> None:
        self.certificates.append(certificate)
        x = certificate.x
        if x is not None and not any((x[certificate.milp.integer] == known).all() for known in self.assignments):
            self.assignments.append(x[certificate.milp.integer])

    def _fitting(self, milp: MILP) -> Iterator[FixedValue]:
        lowered = big_m(milp)
        for integers in self.assignments:
            with suppress(InfeasibleError):
                yield fixed_value(lowered, integers)
