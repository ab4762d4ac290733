"""Best answer so far of one solve: filters reports, stamps events, makes the final solution."""

import math
import time
from collections.abc import Callable
from dataclasses import replace

from provenn.milp import Event, OnEvent, Solution
from provenn.solvers._base import Point
from provenn.status import Status

ROUNDING = 1e-6


class Progress:
    """Keeps the best incumbent and bound and calls `on_event` when one improves.

    Parameters
    ----------
    began : float
        `time.monotonic()` at the call.
    on_event : callable, optional
    stopped, paused : callable
        Asked by who watches the solve: whether to end it, and whether to hold it for now.

    Examples
    --------
    >>> import numpy as np
    >>> progress = Progress(time.monotonic())
    >>> progress.report(5.0, None, np.zeros(1))
    >>> progress.report(7.0, 2.0, np.ones(1))
    >>> progress.objective, progress.bound
    (5.0, 2.0)
    """

    def __init__(
        self,
        began: float,
        on_event: OnEvent | None = None,
        stopped: Callable[[], bool] = lambda: False,
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        """Start without answers."""
        self.began, self.asked_to_stop, self.asked_to_pause = began, stopped, paused
        self.objective: float | None = None
        self.bound: float | None = None
        self.x: Point | None = None
        self._on_event = on_event

    @property
    def seconds(self) -> float:
        """Time since the call."""
        return time.monotonic() - self.began

    def report(self, objective: float | None, bound: float | None, x: Point | None) -> None:
        """Take what a solver says and pass improvements on."""
        if bound is not None and math.isfinite(bound) and (self.bound is None or bound > self.bound):
            self.bound = bound
            if x is None:
                self._tell("bound")
        if x is not None and objective is not None and (self.objective is None or objective < self.objective):
            self.objective, self.x = objective, x
            self._tell("incumbent")

    def _tell(self, kind: str) -> None:
        if self._on_event is not None:
            x = self.x if kind == "incumbent" else None
            self._on_event(Event(kind, self.seconds, self.objective, self._capped(), x))  # type: ignore[arg-type]

    def _capped(self) -> float | None:
        """Bound, not above the objective by mere rounding."""
        if self.bound is None or self.objective is None or self.bound <= self.objective:
            return self.bound
        slack = ROUNDING * max(1.0, abs(self.objective))
        return self.objective if self.bound <= self.objective + slack else self.bound

    def stopped(self, status: Status, message: str = "", nodes: int = 0) -> Solution:
        """Return the best answer so far under this status."""
        if status in (Status.INFEASIBLE, Status.UNBOUNDED):
            return Solution(status, None, None, None, self.seconds, nodes, message)
        return Solution(status, self.x, self.objective, self._capped(), self.seconds, nodes, message)

    def finished(self, claim: Solution) -> Solution:
        """Return a solver's final claim, with anything better that it had reported."""
        quiet, self._on_event = self._on_event, None
        self.report(claim.objective, claim.bound, claim.x)
        self._on_event = quiet
        return replace(self.stopped(claim.status, claim.message, claim.nodes), seconds=self.seconds)
