"""Tiny models with known answers: what every solver must get right within what it declares.

A third party tests a solver with ``check(solver, model)`` for every ``model`` of `tiny_models`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from provenn.milp import MILP, Builder, Terms
from provenn.milp.result import Limits
from provenn.solvers import Solver
from provenn.solvers._base import needs
from provenn.status import Status

TOLERANCE = Fraction(1, 10**6)


@dataclass(frozen=True)
class TinyModel:
    """A model and its answer.

    Parameters
    ----------
    name : str
    milp : MILP
    status : Status
    objective : float or None
        Optimum, where there is one.
    needs : frozenset of str
        Capabilities that a solver must declare to take it.
    """

    name: str
    milp: MILP
    status: Status
    objective: float | None
    needs: frozenset[str]


class LawBrokenError(AssertionError):
    """A solver's answer is not what the law demands."""


def tiny_models() -> list[TinyModel]:
    """Return all models, each small enough for milliseconds.

    Examples
    --------
    >>> models = tiny_models()
    >>> len(models) >= 30, len({model.name for model in models}) == len(models)
    (True, True)
    """
    return [_tiny(make) for make in MODELS]


def check(solver: Solver, model: TinyModel) -> None:
    """Solve a model and compare status, objective, bound and point with its answer.

    Raises
    ------
    LawBrokenError
        When anything differs by more than 1e-6.
    """
    found = solver.solve(model.milp)
    _demand(found.status is model.status, f"{model.name}: status {found.status}, not {model.status}")
    if model.objective is None:
        _demand(found.x is None, f"{model.name}: a point although {model.status.value}")
        return
    if found.x is None or found.objective is None or found.bound is None:
        raise LawBrokenError(f"{model.name}: optimal without point, objective or bound")
    _demand(model.milp.violation(found.x) <= TOLERANCE, f"{model.name}: the point {found.x} is infeasible")
    values = {"objective": found.objective, "bound": found.bound, "recomputed": float(model.milp.objective(found.x))}
    for what, value in values.items():
        close = abs(value - model.objective) <= float(TOLERANCE)
        _demand(close, f"{model.name}: {what} {value}, not {model.objective}")


def _demand(kept: bool, message: str) -> None:
    if not kept:
        raise LawBrokenError(message)


Answer = tuple[MILP, float | Status]
MODELS: list[Callable[[], Answer]] = []


def _model(make: Callable[[], Answer]) -> Callable[[], Answer]:
    """Register a model: its function's name is its name; a number is its optimum."""
    MODELS.append(make)
    return make


def _tiny(make: Callable[[], Answer]) -> TinyModel:
    milp, answer = make()
    name, demands = make.__name__.strip("_"), frozenset(needs(milp, Limits(), None))
    if isinstance(answer, Status):
        return TinyModel(name, milp, answer, None, demands)
    return TinyModel(name, milp, Status.OPTIMAL, answer, demands)


def _start(costs: Sequence[float], lower: Any = 0, upper: Any = 1, integer: bool = True) -> tuple[Builder, Any]:
    builder = Builder()
    x = builder.columns("x", (len(costs),), lower, upper, integer=integer)
    builder.minimise(x, list(costs))
    return builder, x


@_model
def _knapsack() -> Answer:
    builder, x = _start([-10, -13, -7, -8])
    builder.rows([Terms(x, [5.0, 6.0, 4.0, 3.0])], upper=10)
    return builder.build(), -21.0


@_model
def _integer_knapsack() -> Answer:
    builder, x = _start([-4, -5], upper=10)
    builder.rows([Terms(x, [[2.0, 3.0], [4.0, 1.0]])], upper=[12, 16])
    return builder.build(), -22.0


@_model
def _assignment() -> Answer:
    costs = np.array([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]])
    builder = Builder()
    x = builder.columns("x", (3, 3), 0, 1)
    builder.minimise(x, costs)
    builder.rows([Terms(x, 1.0)], 1, 1)
    builder.rows([Terms(x.T, 1.0)], 1, 1)
    return builder.build(), 5.0


@_model
def _set_cover() -> Answer:
    builder, x = _start([1.0] * 5)
    cycle = np.stack([x, np.roll(x, 1)], axis=1)
    builder.rows([Terms(cycle, 1.0)], lower=1)
    return builder.build(), 3.0


@_model
def _ties() -> Answer:
    builder, x = _start([1.0] * 6)
    builder.rows([Terms(x, 1.0)], 3, 3)
    return builder.build(), 3.0


@_model
def _equality() -> Answer:
    builder, x = _start([1.0, 1.0], upper=20)
    builder.rows([Terms(x, [3.0, 5.0])], 31, 31)
    return builder.build(), 7.0


@_model
def _range() -> Answer:
    builder, x = _start([1.0, 0.0], lower=-5, upper=5)
    builder.rows([Terms(x, [2.0, 2.0])], 5, 9)
    return builder.build(), -2.0


@_model
def _negative_bounds() -> Answer:
    builder, x = _start([1.0, -1.0], lower=[-7, -9], upper=[-3, -4])
    builder.rows([Terms(x, [1.0, 1.0])], lower=-10)
    return builder.build(), -2.0


@_model
def _fixed_columns() -> Answer:
    builder, x = _start([1.0, 2.0, 3.0], lower=[2, 0, 0], upper=[2, 4, 4])
    builder.rows([Terms(x, 1.0)], lower=5)
    return builder.build(), 8.0


@_model
def _all_fixed() -> Answer:
    builder, x = _start([1.0, 1.0], lower=[1, -2], upper=[1, -2])
    builder.rows([Terms(x, 1.0)], -1, -1)
    return builder.build(), -1.0


@_model
def _fractional_bounds() -> Answer:
    builder, _ = _start([1.0, -1.0], lower=[0.5, -1.5], upper=[3.5, 2.5])
    return builder.build(), -1.0


@_model
def _empty_rows() -> Answer:
    builder, x = _start([-1.0, -1.0])
    builder.rows([Terms(x, [0.0, 0.0])], lower=-1, upper=1)
    builder.rows([Terms(x, [1.0, 1.0])], upper=1)
    return builder.build(), -1.0


@_model
def _empty_row_infeasible() -> Answer:
    builder, x = _start([1.0, 1.0])
    builder.rows([Terms(x, [0.0, 0.0])], lower=1)
    return builder.build(), Status.INFEASIBLE


@_model
def _open_row() -> Answer:
    builder, x = _start([-1.0, -2.0])
    builder.rows([Terms(x, [1.0, 1.0])])
    return builder.build(), -3.0


@_model
def _empty_objective() -> Answer:
    builder, x = _start([0.0, 0.0])
    builder.rows([Terms(x, 1.0)], 1, 1)
    return builder.build(), 0.0


@_model
def _offset() -> Answer:
    builder, x = _start([1.0, 1.0], upper=5)
    builder.offset = -12.5
    builder.rows([Terms(x, 1.0)], lower=3)
    return builder.build(), -9.5


@_model
def _offset_without_objective() -> Answer:
    builder, _ = _start([0.0])
    builder.offset = 4.0
    return builder.build(), 4.0


@_model
def _no_rows() -> Answer:
    builder, _ = _start([1.0, -1.0], lower=-2, upper=3)
    return builder.build(), -5.0


@_model
def _no_columns() -> Answer:
    builder = Builder()
    builder.offset = 1.5
    return builder.build(), 1.5


@_model
def _infeasible() -> Answer:
    builder, x = _start([1.0, 1.0])
    builder.rows([Terms(x, 1.0)], lower=3)
    return builder.build(), Status.INFEASIBLE


@_model
def _infeasible_bounds() -> Answer:
    builder, _ = _start([1.0, 1.0], lower=[0, 2], upper=[1, 1])
    return builder.build(), Status.INFEASIBLE


@_model
def _infeasible_integer_bounds() -> Answer:
    builder, _ = _start([1.0], lower=0.25, upper=0.75)
    return builder.build(), Status.INFEASIBLE


@_model
def _infeasible_sides() -> Answer:
    builder, x = _start([1.0, 1.0])
    builder.rows([Terms(x, 1.0)], lower=2, upper=1)
    return builder.build(), Status.INFEASIBLE


@_model
def _feasible_in_reals_only() -> Answer:
    builder, x = _start([1.0, 1.0], lower=-9, upper=9)
    builder.rows([Terms(x, [2.0, 4.0])], 7, 7)
    return builder.build(), Status.INFEASIBLE


@_model
def _indicator_on_one() -> Answer:
    builder, x = _start([-1.0, -6.0], upper=[9, 1])
    builder.rows([Terms(x[:1], 1.0)], upper=4, when=(x[1], 1))
    return builder.build(), -10.0


@_model
def _indicator_on_zero() -> Answer:
    builder, x = _start([-1.0, 2.0], upper=[9, 1])
    builder.rows([Terms(x[:1], 1.0)], upper=4, when=(x[1], 0))
    return builder.build(), -7.0


@_model
def _indicator_equality() -> Answer:
    builder, x = _start([1.0, 2.0, -10.0], lower=[-5, -5, 0], upper=[5, 5, 1])
    builder.rows([Terms(x[:2], [1.0, 1.0])], 6, 6, when=(x[2], 1))
    return builder.build(), -15.0


@_model
def _indicator_range() -> Answer:
    builder, x = _start([1.0, -3.0], lower=[-9, 0], upper=[9, 1])
    builder.rows([Terms(x[:1], 1.0)], -7, 2, when=(x[1], 1))
    return builder.build(), -10.0


@_model
def _indicator_forced_off() -> Answer:
    builder, x = _start([0.0, -1.0], upper=[3, 1])
    builder.rows([Terms(x[:1], 2.0)], 3, 3, when=(x[1], 1))
    return builder.build(), 0.0


@_model
def _indicator_with_crossed_sides() -> Answer:
    builder, x = _start([1.0, -1.0], upper=[3, 1])
    builder.rows([Terms(x[:1], 1.0)], 3, 2, when=(x[1], 1))
    return builder.build(), 0.0


@_model
def _indicator_in_its_own_row() -> Answer:
    builder, x = _start([-1.0, -1.0], upper=[5, 1])
    builder.rows([Terms(x, [1.0, 3.0])], upper=4, when=(x[1], 1))
    return builder.build(), -5.0


@_model
def _indicator_fixed() -> Answer:
    builder, x = _start([-1.0, 0.0, 0.0], lower=[0, 1, 0], upper=[5, 1, 0])
    builder.rows([Terms(x[:1], 1.0)], upper=3, when=(x[1], 1))
    builder.rows([Terms(x[:1], 1.0)], upper=1, when=(x[2], 1))
    return builder.build(), -3.0


@_model
def _indicator_infeasible() -> Answer:
    builder, x = _start([0.0, 0.0], upper=[3, 1])
    builder.rows([Terms(x[:1], 1.0)], lower=2, when=(x[1], 1))
    builder.rows([Terms(x[:1], 1.0)], lower=2, when=(x[1], 0))
    builder.rows([Terms(x[:1], 1.0)], upper=1)
    return builder.build(), Status.INFEASIBLE


@_model
def _rational_coefficients() -> Answer:
    builder, x = _start([-0.3396, -0.25, -0.125])
    builder.rows([Terms(x, [0.3396, 0.2604, 0.4])], upper=0.6)
    return builder.build(), -0.5896


@_model
def _thirds() -> Answer:
    builder, x = _start([-1.0, -1.0], upper=9)
    builder.rows([Terms(x, [1 / 3, 1 / 6])], upper=1)
    return builder.build(), -6.0


@_model
def _margin_of_one_grid_unit() -> Answer:
    builder, x = _start([0.0, 1.0], lower=[-20, 0], upper=[20, 1])
    builder.rows([Terms(x, [1.0, 20.0001])], lower=0.0001)
    builder.rows([Terms(x[:1], 1.0)], upper=0)
    return builder.build(), 1.0


@_model
def _big_coefficients() -> Answer:
    builder, x = _start([-1e6, -999999.0, -999998.0])
    builder.rows([Terms(x, [1e6, 1000001.0, 1000003.0])], upper=2000003)
    return builder.build(), -1999999.0


@_model
def _duplicates_summed() -> Answer:
    builder, x = _start([-1.0], upper=10)
    builder.rows([Terms(x, 1.0), Terms(x, 2.0)], upper=10)
    builder.minimise(x, -1.0)
    return builder.build(), -6.0


@_model
def _duplicate_rows() -> Answer:
    builder, x = _start([-1.0, -2.0], upper=3)
    builder.rows([Terms(np.stack([x] * 4), [1.0, 1.0])], upper=4)
    return builder.build(), -7.0


@_model
def _unbounded_integers() -> Answer:
    builder, x = _start([-1.0, 0.0], upper=np.inf)
    builder.rows([Terms(x, [1.0, -1.0])], upper=3)
    return builder.build(), Status.UNBOUNDED


@_model
def _infeasible_before_unbounded() -> Answer:
    builder, x = _start([-1.0, -1.0], lower=[0, -np.inf], upper=[1, np.inf])
    builder.rows([Terms(x[:1], 2.0)], 1, 1)
    return builder.build(), Status.INFEASIBLE


@_model
def _free_integer() -> Answer:
    builder, x = _start([1.0], lower=-np.inf, upper=np.inf)
    builder.rows([Terms(x, 2.0)], lower=-7)
    return builder.build(), -3.0


@_model
def _continuous() -> Answer:
    builder, x = _start([-3.0, -2.0], upper=10, integer=False)
    builder.rows([Terms(x, [[2.0, 1.0], [1.0, 3.0]])], upper=[4, 6])
    return builder.build(), -6.8


@_model
def _continuous_free() -> Answer:
    builder, x = _start([1.0, 0.0], lower=-np.inf, upper=np.inf, integer=False)
    builder.rows([Terms(x, [[1.0, 1.0], [1.0, -1.0]])], lower=[-3, -2])
    return builder.build(), -2.5


@_model
def _continuous_unbounded() -> Answer:
    builder, _ = _start([1.0], lower=-np.inf, upper=0, integer=False)
    return builder.build(), Status.UNBOUNDED


@_model
def _continuous_infeasible() -> Answer:
    builder, x = _start([1.0, 1.0], upper=1, integer=False)
    builder.rows([Terms(x, [1.0, -1.0])], lower=1.5)
    return builder.build(), Status.INFEASIBLE


@_model
def _mixed() -> Answer:
    builder, y = _start([-1.0], upper=2.5, integer=False)
    z = builder.columns("z", (1,), 0, 3)
    builder.minimise(z, 0.75)
    builder.rows([Terms(y, 1.0), Terms(z, -1.0)], upper=0.5)
    return builder.build(), -1.0


@_model
def _mixed_indicator() -> Answer:
    builder, y = _start([-1.0], upper=2.5, integer=False)
    z = builder.columns("z", (1,), 0, 1)
    builder.minimise(z, 1.5)
    builder.rows([Terms(y, 2.0)], upper=3, when=(z, 0))
    return builder.build(), -1.5
