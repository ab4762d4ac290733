"""Branch and bound over linear relaxations that keeps a dual vector for every leaf."""

import time
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from provenn.errors import InfeasibleError, InputError
from provenn.milp import MILP, Event, Limits, OnEvent
from provenn.milp.lower import big_m, integral_bounds
from provenn.status import Status
from provenn.tame._engine import Engine
from provenn.tame._exact import largest
from provenn.tame._shorten import shorten
from provenn.tame.certificate import DualCertificate

LARGEST_TABLEAU = 2**27
"""Entries of a dense tableau, at most: one gibibyte of floats."""


def branch_and_bound(
    milp: MILP,
    incumbent: ArrayLike | None = None,
    limits: Limits | None = None,
    on_event: OnEvent | None = None,
) -> DualCertificate:
    """Minimise a model and return the tree with its duals: a proof, and a bound for changed data.

    Boxes shrink by branching alone: no propagation, no cuts, no fixing by reduced costs. So the leaves cover
    all points of the columns' bounds whatever the data are, and their duals bound every changed model.

    Parameters
    ----------
    milp : MILP
        With finite bounds on all columns. Conditional rows are lowered first, see `provenn.milp.lower.big_m`:
        their M depends on the data, so that a changed model must be lowered too.
    incumbent : array of shape (n,), optional
        A known point; its integer columns count, continuous ones are optimised. One that is infeasible is
        ignored.
    limits : Limits, optional
        Seconds and nodes. A tree that is stopped is a valid bound.
    on_event : callable, optional
        Called with every better incumbent, and with the bound from time to time. What it raises propagates.

    Raises
    ------
    InputError
        When a column has no finite bounds or the model is too large for a dense tableau.
    InfeasibleError
        When the sides of a row or the bounds of a column exclude each other.

    References
    ----------
    Aspman, Korpas & Marecek, arXiv 2310.04469

    Examples
    --------
    >>> from provenn.milp import Builder, Terms
    >>> builder = Builder()
    >>> x = builder.columns("x", (3,), 0, 1)
    >>> builder.rows([Terms(x, [5.0, 4.0, 3.0])], upper=8)
    >>> builder.minimise(x, [-9.0, -7.0, -5.0])
    >>> proof = branch_and_bound(builder.build())
    >>> proof.value, proof.bound, proof.x.tolist(), proof.status.name
    (-14.0, -14.0, [1.0, 0.0, 1.0], 'OPTIMAL')
    """
    milp = ready(milp)
    limits = limits or Limits()
    depth_first = incumbent is not None and limits.nodes is None and limits.seconds == np.inf
    engine = Engine(milp, depth_first)
    return search(engine, incumbent, limits, on_event)


def ready(milp: MILP) -> MILP:
    """Lower conditional rows; refuse what the search cannot do."""
    lower, upper = integral_bounds(milp)
    milp = big_m(milp).with_bounds(lower, upper)
    open_ = np.flatnonzero(~(np.isfinite(milp.col_lower) & np.isfinite(milp.col_upper)))
    if open_.size:
        raise InputError(
            f"column {int(open_[0])} has no finite bounds ({open_.size} such columns): a bound on changed data needs "
            "finite bounds everywhere; give each column the largest value that it can usefully take"
        )
    if milp.n_rows * milp.n_columns > LARGEST_TABLEAU:
        raise InputError(
            f"a dense tableau of {milp.n_rows} x {milp.n_columns} entries is too large (at most {LARGEST_TABLEAU}): "
            "certify a smaller model"
        )
    if (milp.col_lower > milp.col_upper).any():
        raise InfeasibleError(f"column {int(np.argmax(milp.col_lower - milp.col_upper))} has no value in its bounds")
    if (
        (milp.row_lower > milp.row_upper).any()
        or np.isposinf(milp.row_lower).any()
        or np.isneginf(milp.row_upper).any()
    ):
        raise InfeasibleError("the sides of a row exclude each other")
    return milp


def search(
    engine: Engine, incumbent: ArrayLike | None, limits: Limits, on_event: OnEvent | None = None
) -> DualCertificate:
    """Run an engine within limits and pack what it found."""
    began = time.monotonic()
    report = _reporter(engine, began, on_event)
    if incumbent is not None:
        engine.offer(_point(engine.milp, incumbent))
        report()
    status = _run(engine, began, limits, report)
    engine.settle()
    tree, duals = shorten(engine.milp, engine.tree(), engine.duals(), _goal(engine, status))
    done = time.monotonic() - began
    return DualCertificate.of(
        engine.milp, tree, duals, engine.x, engine.value, status, done, engine.programs, engine.slack
    )


def _goal(engine: Engine, status: Status) -> Fraction | None:
    """Value that the leaves should reach; without a point, anything above the largest objective."""
    if engine.value is not None or status is not Status.INFEASIBLE:
        return engine.value
    return largest(engine.milp) + Fraction(1, 2)


def _run(engine: Engine, began: float, limits: Limits, report: Callable[[], None]) -> Status:
    try:
        while engine.step(limits.nodes):
            report()
            if time.monotonic() - began > limits.seconds:
                return Status.TIME_LIMIT
    except KeyboardInterrupt:
        return Status.INTERRUPTED
    report()
    if not engine.finished:
        return Status.NODE_LIMIT
    return Status.OPTIMAL if engine.value is not None else Status.INFEASIBLE


def _reporter(engine: Engine, began: float, on_event: OnEvent | None) -> Callable[[], None]:
    """Return a function that tells of what is new since its last call."""
    told: dict[str, float] = {"value": np.inf, "bound": -np.inf}

    def report() -> None:
        if on_event is None:
            return
        seconds, bound = time.monotonic() - began, engine.bound
        value = None if engine.value is None else float(engine.value)
        if value is not None and value < told["value"] and engine.x is not None:
            told["value"] = value
            x = np.array([float(v) for v in engine.x])
            on_event(Event("incumbent", seconds, value, min(bound, value), x))
        if bound > told["bound"] and (value is None or bound <= value):
            told["bound"] = bound
            on_event(Event("bound", seconds, value, bound))

    return report


def _point(milp: MILP, incumbent: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(incumbent, dtype=np.float64)
    if x.shape != (milp.n_columns,) or not np.isfinite(x).all():
        raise InputError(f"the incumbent must be {milp.n_columns} finite numbers, one for each column")
    return x
