"""Minimises small models in this process, by HiGHS inside SciPy."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from scipy.optimize import Bounds, LinearConstraint
from scipy.optimize import milp as scipy_milp

from provenn.errors import InfeasibleError, InputError, ProvennError, SolverError
from provenn.milp import MILP, Solution
from provenn.milp.lower import big_m
from provenn.milp.model import Floats
from provenn.status import Status

OPTIMAL, LIMIT, INFEASIBLE, UNBOUNDED, OTHER = range(5)


class Answer(Protocol):
    """What a solve gives back; `provenn.milp.Solution` is one."""

    @property
    def x(self) -> Floats | None:
        """A feasible point, or None where none was found."""
        ...

    @property
    def bound(self) -> float | None:
        """A lower bound of the optimum, or None where none is known."""
        ...


Solve = Callable[[MILP], Answer]
"""Minimises a model: `solve_here`, or the method `solve` of any solver of `provenn.solvers`."""


def solve_here(milp: MILP, seconds: float = float("inf")) -> Solution:
    """Minimise a model in this process, which saves the start of a child process.

    Fit for the many small models of a training loop. It has no limit on memory, does not hear Ctrl-C,
    and its answer is a claim in floats, with tolerances of 1e-6.

    Parameters
    ----------
    milp : MILP
        Conditional rows become big-M rows.
    seconds : float
        Time limit; at the limit the best point so far is returned.

    Raises
    ------
    InfeasibleError
        When the model has no feasible point.
    InputError
        When the objective can decrease for ever.
    SolverError
        When HiGHS gives up, or the limit comes before any point.

    Examples
    --------
    >>> from provenn.milp import Builder, Terms
    >>> builder = Builder()
    >>> x = builder.columns("x", (3,), 0, 1)
    >>> builder.rows([Terms(x, [2.0, 3.0, 4.0])], upper=5)
    >>> builder.minimise(x, [-3.0, -4.0, -5.0])
    >>> solve_here(builder.build()).x.tolist()
    [1.0, 1.0, 0.0]
    """
    began = time.perf_counter()
    found = _found(big_m(milp), seconds)
    if found.x is None or found.status not in (OPTIMAL, LIMIT):
        raise _failure(milp, found, seconds)
    x = np.where(milp.integer, np.rint(found.x), found.x)
    ended = Status.OPTIMAL if found.status == OPTIMAL else Status.TIME_LIMIT
    return Solution(ended, x, found.fun + milp.offset, _bound(found) + milp.offset, time.perf_counter() - began)


def _found(milp: MILP, seconds: float) -> Any:
    options = {"mip_rel_gap": 0.0, **({"time_limit": seconds} if np.isfinite(seconds) else {})}
    rows = [LinearConstraint(milp.A, milp.row_lower, milp.row_upper)] if milp.n_rows else []
    return scipy_milp(
        milp.c, integrality=milp.integer.astype(int), bounds=Bounds(milp.col_lower, milp.col_upper),
        constraints=rows, options=options,
    )  # fmt: skip


def _failure(milp: MILP, found: Any, seconds: float) -> ProvennError:
    """Return the reason for a missing point; whether it is infeasible shows without the objective."""
    status = int(found.status)
    if status in (OTHER, UNBOUNDED):
        plain = _found(big_m(replace(milp, c=np.zeros(milp.n_columns))), seconds)
        status = {INFEASIBLE: INFEASIBLE, OPTIMAL: UNBOUNDED}.get(int(plain.status), OTHER)
    if status == INFEASIBLE:
        return InfeasibleError("the model has no feasible point")
    if status == UNBOUNDED:
        return InputError("the objective can decrease for ever: give every column a bound")
    return SolverError(f"HiGHS (through scipy) found no point: {found.message}")


def _bound(found: Any) -> float:
    """Return the dual bound; a linear program is its own."""
    bound = found.get("mip_dual_bound")
    return float(found.fun) if bound is None else float(bound)


def answered(solve: Solve, milp: MILP) -> tuple[Answer, Floats]:
    """Return a solver's answer and its point.

    Raises
    ------
    SolverError
        When the solver comes back without a point.
    """
    answer = solve(milp)
    if answer.x is None:
        raise SolverError("the solver found no feasible point: relax the constraints, or give it more time")
    return answer, answer.x
