"""The convex engine as a prover that keeps what it proved: plain boxes, with or without moves, open ones too."""

from collections.abc import Callable

import numpy as np

from provenn.bounds._convex_driver import Search
from provenn.bounds._convex_engine import Engine
from provenn.bounds._convex_setup import score_shifts
from provenn.bounds._convex_team import Team
from provenn.bounds._convex_types import ConvexProblem, ConvexResult, Integers
from provenn.bounds.convex import Outside
from provenn.milp.result import Limits
from provenn.status import Status


class RecordedSearch(Search):
    """A search whose leaves cover the root box, whatever stopped it.

    It never takes the relative box, in which a point stands for others outside: a proof is simpler to check without.

    Parameters
    ----------
    problem : ConvexProblem
    limits : Limits
    moves : bool
        Use moves to points with equal scores; only without price and budget.
    wanted : int or None
        A bound that suffices.
    stopped : callable
    """

    def __init__(
        self,
        problem: ConvexProblem,
        limits: Limits,
        moves: bool,
        wanted: int | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        outside = Outside(lambda: stopped() or self._suffices(wanted), lambda: None, Team())
        super().__init__(problem, limits, None, None, True, outside)
        self.moves = moves

    def _suffices(self, wanted: int | None) -> bool:
        """Whether the bound is as wanted, and there is a root that can be recorded."""
        return wanted is not None and self.engine is not None and self.bound >= wanted

    def search(self) -> Status:
        """Search, then keep the open nodes as leaves that their own bounds close."""
        status = super().search()
        if self.engine is not None:
            self.engine.close_rest()
        return status

    def prepare(self) -> Engine:
        """Find a first incumbent and expand the root of the plain box."""
        A, boxes = self.problem.signed(), self.problem.boxes()
        shifts: tuple[Integers, Integers] = np.zeros((0, A.shape[1]), dtype=np.int64), np.zeros(0, dtype=np.int64)
        if self.moves:
            shifts = score_shifts(A, *boxes)
        self.plain = plain = Engine(A, self.problem, shifts, record=True)
        self.look_at_root()
        self.anneal()
        plain.anchor_at(self.problem.pack(*self.answer[1:]))
        self.expand_root(plain)
        self.raise_bound(plain)
        self.root_bound = self.bound
        return plain


def search(
    problem: ConvexProblem,
    limits: Limits,
    start: tuple[Integers, int] | None,
    moves: bool,
    wanted: int | None = None,
) -> ConvexResult:
    """Run a recorded search.

    Parameters
    ----------
    problem : ConvexProblem
    limits : Limits
    start : (w, b) or None
    moves : bool
    wanted : int or None
        A bound that suffices.
    """
    return RecordedSearch(problem, limits, moves, wanted).run(start)
