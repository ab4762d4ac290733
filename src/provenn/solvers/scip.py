"""SCIP: branch and cut for mixed models with native conditional rows."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from provenn.errors import SolverError
from provenn.milp import MILP, Limits, Solution
from provenn.solvers._base import Emit, Point, Solver, snapped
from provenn.status import Status

INFINITY = 1e20
STATUSES = {
    "optimal": Status.OPTIMAL,
    "gaplimit": Status.OPTIMAL,
    "infeasible": Status.INFEASIBLE,
    "unbounded": Status.UNBOUNDED,
    "timelimit": Status.TIME_LIMIT,
    "nodelimit": Status.NODE_LIMIT,
    "totalnodelimit": Status.NODE_LIMIT,
    "memlimit": Status.MEMORY_LIMIT,
    "userinterrupt": Status.INTERRUPTED,
    "terminate": Status.INTERRUPTED,
}


@dataclass(frozen=True)
class Scip(Solver):
    """Constraint integer programming in floats, on one thread.

    Parameters
    ----------
    presolve : bool
    heuristics : bool
    tolerance : float
        Allowed violation of rows, 1e-10 to 1e-3.

    References
    ----------
    Bolusani et al.: The SCIP Optimization Suite 9.0, arXiv:2402.17702

    Examples
    --------
    >>> Scip.limits_note()
    'not more than one thread; an extra: pip install pyscipopt'
    """

    presolve: bool = True
    heuristics: bool = True
    tolerance: float = 1e-9

    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"integer", "continuous", "free_columns", "indicators", "start", "nodes", "memory", "events", "bound"}
    )
    module: ClassVar[str] = "pyscipopt"
    distribution: ClassVar[str] = "pyscipopt"
    note: ClassVar[str] = "an extra: pip install pyscipopt"

    def run(self, milp: MILP, limits: Limits, start: Point | None, emit: Emit) -> Solution:
        """Solve in this process."""
        import pyscipopt

        model, columns = self._loaded(pyscipopt, milp, limits)
        if start is not None:
            _set_start(model, columns, start)
        _listen(pyscipopt, model, columns, milp, emit)
        model.optimizeNogil()
        status = str(model.getStatus())
        if status in ("inforunbd", "unbounded"):
            left = max(limits.seconds - model.getSolvingTime(), 0.0)
            return self._unbounded_or_infeasible(pyscipopt, milp, replace(limits, seconds=left))
        return _solution(model, columns, milp, status)

    def _loaded(self, pyscipopt: Any, milp: MILP, limits: Limits) -> tuple[Any, list[Any]]:
        """Return a SCIP model and its variables."""
        model = pyscipopt.Model()
        model.hideOutput()
        for name, value in self._options(limits).items():
            model.setParam(name, value)
        if not self.presolve:
            model.setPresolve(pyscipopt.SCIP_PARAMSETTING.OFF)
        if not self.heuristics:
            model.setHeuristics(pyscipopt.SCIP_PARAMSETTING.OFF)
        columns = _add_columns(model, milp)
        _add_rows(pyscipopt, model, milp, columns)
        model.addObjoffset(milp.offset)
        return model, columns

    def _options(self, limits: Limits) -> dict[str, Any]:
        return {
            "limits/time": min(limits.seconds, INFINITY),
            "limits/gap": 0.0,
            "limits/absgap": 0.0,
            "numerics/feastol": self.tolerance,
            "randomization/randomseedshift": limits.seed,
            "misc/catchctrlc": False,
            **({} if limits.nodes is None else {"limits/totalnodes": limits.nodes}),
            **({} if limits.memory_mb is None else {"limits/memory": float(limits.memory_mb)}),
        }

    def _unbounded_or_infeasible(self, pyscipopt: Any, milp: MILP, limits: Limits) -> Solution:
        """Tell the two apart by a solve without objective."""
        plain = replace(milp, c=np.zeros(milp.n_columns))
        model, columns = self._loaded(pyscipopt, plain, limits)
        model.optimizeNogil()
        found = _solution(model, columns, plain, str(model.getStatus()))
        status = Status.UNBOUNDED if found.status is Status.OPTIMAL else found.status
        return Solution(status, None, None, None, found.seconds, found.nodes, found.message)


def _add_columns(model: Any, milp: MILP) -> list[Any]:
    kinds = np.where(milp.binary, "B", np.where(milp.integer, "I", "C")).tolist()
    lower = [None if value == -np.inf else value for value in milp.col_lower.tolist()]
    upper = [None if value == np.inf else value for value in milp.col_upper.tolist()]
    parts = zip(kinds, lower, upper, milp.c.tolist(), strict=True)
    return [model.addVar(vtype=kind, lb=low, ub=high, obj=cost) for kind, low, high, cost in parts]


def _add_rows(pyscipopt: Any, model: Any, milp: MILP, columns: list[Any]) -> None:
    """Add rows from ready-made terms; a conditional row becomes one indicator for each side."""
    from pyscipopt.scip import ExprCons, Term

    terms = [Term(column) for column in columns]
    indices, values, starts = milp.A.indices.tolist(), milp.A.data.tolist(), milp.A.indptr.tolist()
    for row in range(milp.n_rows):
        span = slice(starts[row], starts[row + 1])
        linear = dict(zip((terms[j] for j in indices[span]), values[span], strict=True))
        low, high = float(milp.row_lower[row]), float(milp.row_upper[row])
        lhs, rhs = (None if np.isinf(side) else side for side in (low, high))
        if lhs is None and rhs is None:
            continue
        if milp.indicator[row] < 0:
            linear = linear or {terms[0]: 0.0}
            model.addCons(ExprCons(pyscipopt.Expr(linear), lhs=lhs, rhs=rhs))
            continue
        switch, on_one = columns[milp.indicator[row]], bool(milp.indicator_value[row])
        linear = linear or {terms[0]: 0.0}
        if rhs is not None:
            model.addConsIndicator(ExprCons(pyscipopt.Expr(linear), rhs=rhs), switch, activeone=on_one)
        if lhs is not None:
            negated = {term: -value for term, value in linear.items()}
            model.addConsIndicator(ExprCons(pyscipopt.Expr(negated), rhs=-lhs), switch, activeone=on_one)


def _set_start(model: Any, columns: list[Any], start: Point) -> None:
    point = model.createSol()
    for column, value in zip(columns, start.tolist(), strict=True):
        model.setSolVal(point, column, value)
    model.addSol(point)


def _listen(pyscipopt: Any, model: Any, columns: list[Any], milp: MILP, emit: Emit) -> None:
    kinds = pyscipopt.SCIP_EVENTTYPE

    class Improvements(pyscipopt.Eventhdlr):
        """Reports better solutions and bounds."""

        def eventinit(self) -> None:
            for kind in (kinds.BESTSOLFOUND, kinds.DUALBOUNDIMPROVED):
                self.model.catchEvent(kind, self)

        def eventexit(self) -> None:
            for kind in (kinds.BESTSOLFOUND, kinds.DUALBOUNDIMPROVED):
                self.model.dropEvent(kind, self)

        def eventexec(self, event: Any) -> None:
            bound = _finite(self.model.getDualbound())
            if event.getType() == kinds.BESTSOLFOUND:
                best = self.model.getBestSol()
                emit(float(self.model.getSolObjVal(best)), bound, _point(self.model, best, columns, milp))
            else:
                emit(None, bound, None)

    model.includeEventhdlr(Improvements(), "improvements", "reports better solutions and bounds")


def _point(model: Any, solution: Any, columns: list[Any], milp: MILP) -> Point:
    return snapped(milp, np.array([model.getSolVal(solution, column) for column in columns], dtype=np.float64))


def _finite(bound: float) -> float | None:
    return float(bound) if abs(bound) < INFINITY else None


def _solution(model: Any, columns: list[Any], milp: MILP, name: str) -> Solution:
    if name not in STATUSES:
        raise SolverError(f"SCIP stopped with the status {name!r}: try another solver")
    status, nodes = STATUSES[name], int(model.getNTotalNodes())
    seconds, bound = float(model.getSolvingTime()), _finite(model.getDualbound())
    if not model.getNSols() or status in (Status.INFEASIBLE, Status.UNBOUNDED):
        return Solution(status, None, None, bound, seconds, nodes)
    best = model.getBestSol()
    return Solution(status, _point(model, best, columns, milp), float(model.getSolObjVal(best)), bound, seconds, nodes)
