"""The contract of a solver: options as fields, declared capabilities, one `solve`."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from provenn.errors import CapabilityError, InputError, MissingDependencyError
from provenn.milp import MILP, Limits, OnEvent, Solution
from provenn.milp.lower import integral_bounds
from provenn.registry import load, names
from provenn.status import Status

if TYPE_CHECKING:
    from provenn.solvers._progress import Progress

Point = NDArray[np.float64]
Emit = Callable[[float | None, float | None, Point | None], None]
"""Reports an objective with its point, or a bound: ``emit(objective, bound, x)``."""

CAPABILITIES = {
    "integer": "integer columns",
    "continuous": "continuous columns",
    "free_columns": "columns without finite bounds",
    "indicators": "conditional rows, natively or through big-M",
    "start": "a complete starting point",
    "nodes": "a limit on nodes or conflicts",
    "threads": "more than one thread",
    "memory": "a limit on memory",
    "events": "incumbents while it runs",
    "bound": "lower bounds, also when it stops early",
}


class Solver(ABC):
    """Minimises a `MILP`; subclasses are frozen dataclasses, one a file.

    Examples
    --------
    >>> Solver.create("brute_force").capabilities >= {"integer", "indicators"}
    True
    """

    capabilities: ClassVar[frozenset[str]]
    """What it accepts, out of `CAPABILITIES`."""
    exact: ClassVar[bool] = False
    """Computes in integers, so that its bounds carry no rounding error."""
    module: ClassVar[str] = ""
    """Library that it needs, as imported; empty for none."""
    distribution: ClassVar[str] = "provenn"
    """Library that it needs, as installed."""
    note: ClassVar[str] = ""
    """Limits that a person should know."""

    @staticmethod
    def create(name: str, **options: Any) -> "Solver":
        """Return the solver of that name with these options.

        Raises
        ------
        InputError
            When the name or an option is unknown; the message lists the allowed ones.

        Examples
        --------
        >>> Solver.create("brute_force", colour="red")
        Traceback (most recent call last):
        ...
        provenn.errors.InputError: brute_force has no option colour; its options: max_columns
        """
        kind = load("provenn.solvers", name)
        allowed = [field.name for field in fields(kind)]
        unknown = sorted(set(options) - set(allowed))
        if unknown:
            raise InputError(f"{name} has no option {', '.join(unknown)}; its options: {', '.join(allowed) or 'none'}")
        solver: Solver = kind(**options)
        return solver

    @classmethod
    def available(cls) -> bool:
        """Whether its library is installed; nothing is imported and no licence is asked for."""
        if not cls.module:
            return True
        try:
            return find_spec(cls.module) is not None
        except ModuleNotFoundError:
            return False

    @classmethod
    def version(cls) -> str:
        """Version of its library, or an empty string where it is not installed."""
        try:
            return distribution_version(cls.distribution)
        except PackageNotFoundError:
            return ""

    @classmethod
    def limits_note(cls) -> str:
        """One line for people: what it cannot do and what to know."""
        lacks = [text for name, text in CAPABILITIES.items() if name not in cls.capabilities]
        parts = [f"not {', not '.join(lacks)}" if lacks else "", cls.note]
        return "; ".join(part for part in parts if part)

    def check(self, milp: MILP, limits: Limits, start: Point | None = None) -> None:
        """Refuse what the solver cannot do, before any work.

        Raises
        ------
        CapabilityError
            When the model, a limit or the start needs what the solver does not declare.
        MissingDependencyError
            When its library is not installed.
        InputError
            When the start is no point of the model.
        """
        name = _name(type(self))
        missing = needs(milp, limits, start) - self.capabilities
        if missing:
            raise CapabilityError(
                f"{name} does not take {' and '.join(CAPABILITIES[m] for m in sorted(missing))}: use {_able(missing)}"
            )
        if not self.available():
            raise MissingDependencyError(f"{name} needs {self.distribution}: pip install {self.distribution}")
        if start is not None and (start.shape != (milp.n_columns,) or not np.isfinite(start).all()):
            raise InputError(f"the start must be {milp.n_columns} finite numbers, one for each column")

    def prepare(self, milp: MILP) -> MILP:
        """Return the model as the solver reads it, with the same columns."""
        return milp

    @abstractmethod
    def run(self, milp: MILP, limits: Limits, start: Point | None, emit: Emit) -> Solution:
        """Solve a prepared model in this process; `limits.seconds` is the time left."""

    def solve(
        self,
        milp: MILP,
        limits: Limits | None = None,
        start: Point | None = None,
        on_event: OnEvent | None = None,
        *,
        stopped: Callable[[], bool] | None = None,
        paused: Callable[[], bool] | None = None,
    ) -> Solution:
        """Minimise the model in a child process.

        Parameters
        ----------
        milp : MILP
        limits : Limits, optional
            The time counts from this call.
        start : ndarray of shape (n_columns,), optional
            A complete point; one that is infeasible is ignored.
        on_event : callable, optional
            Called in this process with every better incumbent and bound. What it raises
            ends the solve and propagates.
        stopped : callable, optional
            Asked every 50 ms in the calling thread; True ends the solve with the status INTERRUPTED.
        paused : callable, optional
            Asked as often; the child is held while it is True, so that several solves can share a
            core by taking turns. Time goes on.

        Returns
        -------
        Solution
            On Ctrl-C, at limits and when the child dies: the best answer so far.

        Raises
        ------
        CapabilityError, MissingDependencyError, InputError
            Before any work, see `check` and `prepare`.
        SolverError
            When the back end refuses the model.
        """
        from provenn.solvers._process import run_in_child
        from provenn.solvers._progress import Progress

        began = time.monotonic()
        limits = limits or Limits()
        self.check(milp, limits, start)
        prepared = self.prepare(milp)
        known = obvious(prepared, began)
        if known is not None:
            return known
        if stopped is None and paused is None:
            return self._carry_out(prepared, limits, start, Progress(began, on_event))
        progress = Progress(began, on_event, stopped or _never, paused or _never)
        return run_in_child(self, prepared, limits, start, progress)

    def _carry_out(self, milp: MILP, limits: Limits, start: Point | None, progress: "Progress") -> Solution:
        from provenn.solvers._process import run_in_child

        return run_in_child(self, milp, limits, start, progress)


def needs(milp: MILP, limits: Limits, start: Point | None) -> set[str]:
    """Capabilities that a call asks for."""
    open_ = not (np.isfinite(milp.col_lower).all() and np.isfinite(milp.col_upper).all())
    asked = {
        "integer": bool(milp.integer.any()),
        "continuous": not milp.integer.all(),
        "free_columns": open_,
        "indicators": milp.has_indicators,
        "start": start is not None,
        "nodes": limits.nodes is not None,
        "memory": limits.memory_mb is not None,
    }
    return {name for name, wanted in asked.items() if wanted}


def obvious(milp: MILP, began: float) -> Solution | None:
    """Answer models with crossed bounds or without columns; None for all others."""
    lower, upper = integral_bounds(milp)
    always = milp.indicator < 0
    crossed = bool((lower > upper).any() or (milp.row_lower > milp.row_upper)[always].any())
    if not crossed and milp.n_columns:
        return None
    infeasible = crossed or bool((milp.row_lower > 0).any() or (milp.row_upper < 0).any())
    seconds = time.monotonic() - began
    if infeasible:
        return Solution(Status.INFEASIBLE, None, None, None, seconds, message="found without the solver")
    return Solution(Status.OPTIMAL, np.zeros(0), milp.offset, milp.offset, seconds, message="found without the solver")


def default_for(milp: MILP) -> Solver:
    """Return the solver that proves such models fastest: cpsat for bounded integers, else highs.

    Examples
    --------
    >>> from provenn.milp import Builder
    >>> builder = Builder()
    >>> _ = builder.columns("x", (3,), 0, 1)
    >>> default_for(builder.build())
    Cpsat(mode='portfolio', workers=None)
    """
    bounded = np.isfinite(milp.col_lower).all() and np.isfinite(milp.col_upper).all()
    return Solver.create("cpsat" if milp.integer.all() and bounded else "highs")


def snapped(milp: MILP, x: Point, tolerance: float = 1e-5) -> Point:
    """Round integer columns that are within the tolerance of an integer."""
    near = np.rint(x)
    return np.where(milp.integer & (np.abs(x - near) <= tolerance), near, x) + 0.0


def _never() -> bool:
    return False


def _name(kind: type[Solver]) -> str:
    return kind.__module__.rsplit(".", 1)[-1]


def _able(missing: set[str]) -> str:
    kinds = [(name, load("provenn.solvers", name)) for name in names("provenn.solvers")]
    able = [name for name, kind in kinds if missing <= kind.capabilities]
    return " or ".join(able) or "another model: no solver takes all of it"
