"""Gurobi: commercial branch and cut for mixed models with native conditional rows."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from provenn.errors import SolverError
from provenn.milp import MILP, Limits, Solution
from provenn.solvers._base import Emit, Point, Solver, snapped
from provenn.status import Status

SIZE_LIMITED = 10010
INFINITY = 1e100


@dataclass(frozen=True)
class Gurobi(Solver):
    """Branch and cut in floats; needs a licence for all but small models.

    Parameters
    ----------
    focus : int
        0 balances, 1 looks for points, 2 for proofs, 3 for the bound (Gurobi's MIPFocus).
    tolerance : float
        Allowed violation of rows and integrality, 1e-9 to 1e-2.

    References
    ----------
    Gurobi Optimizer Reference Manual, https://docs.gurobi.com

    Examples
    --------
    >>> Gurobi.note
    "an extra: pip install 'provenn[gurobi]'; its pip licence stops at 2000 columns or rows"
    """

    focus: int = 0
    tolerance: float = 1e-9

    capabilities: ClassVar[frozenset[str]] = frozenset(
        {
            "integer",
            "continuous",
            "free_columns",
            "indicators",
            "start",
            "nodes",
            "threads",
            "memory",
            "events",
            "bound",
        }
    )
    module: ClassVar[str] = "gurobipy"
    distribution: ClassVar[str] = "gurobipy"
    note: ClassVar[str] = "an extra: pip install 'provenn[gurobi]'; its pip licence stops at 2000 columns or rows"

    def run(self, milp: MILP, limits: Limits, start: Point | None, emit: Emit) -> Solution:
        """Solve in this process."""
        import gurobipy

        try:
            with gurobipy.Env(params={"OutputFlag": 0}) as env, gurobipy.Model(env=env) as model:
                self._load(gurobipy, model, milp, limits)
                if start is not None:
                    model.setAttr("Start", model.getVars(), start.tolist())
                model.optimize(_listener(gurobipy, milp, emit))
                return _solution(gurobipy, model, milp)
        except gurobipy.GurobiError as error:
            raise SolverError(_explain(error)) from error

    def _load(self, gurobipy: Any, model: Any, milp: MILP, limits: Limits) -> None:
        for name, value in self._options(limits).items():
            model.setParam(name, value)
        kinds = np.where(milp.integer, "I", "C")
        x = model.addMVar(milp.n_columns, lb=milp.col_lower, ub=milp.col_upper, obj=milp.c, vtype=kinds)
        model.ObjCon = milp.offset
        _add_rows(gurobipy, model, milp, x)
        model.update()

    def _options(self, limits: Limits) -> dict[str, Any]:
        return {
            "TimeLimit": min(limits.seconds, INFINITY),
            "Threads": limits.threads,
            "Seed": limits.seed,
            "MIPGap": 0.0,
            "MIPGapAbs": 0.0,
            "MIPFocus": self.focus,
            "FeasibilityTol": self.tolerance,
            "IntFeasTol": self.tolerance,
            "IntegralityFocus": 1,
            "DualReductions": 1,
            **({} if limits.nodes is None else {"NodeLimit": limits.nodes}),
            **({} if limits.memory_mb is None else {"SoftMemLimit": limits.memory_mb / 1000}),
        }


def _add_rows(gurobipy: Any, model: Any, milp: MILP, x: Any) -> None:
    """Add plain rows as two matrix blocks, and each side of a conditional row as an indicator."""
    plain = milp.indicator < 0
    equal = plain & (milp.row_lower == milp.row_upper)
    blocks = [
        (equal, "=", milp.row_lower),
        (plain & ~equal & np.isfinite(milp.row_lower), ">", milp.row_lower),
        (plain & ~equal & np.isfinite(milp.row_upper), "<", milp.row_upper),
    ]
    for chosen, sense, side in blocks:
        if chosen.any():
            model.addMConstr(sparse.csr_matrix(milp.A[chosen]), x, sense, side[chosen])
    columns = x.tolist()
    for row in np.flatnonzero(~plain).tolist():
        span = slice(milp.A.indptr[row], milp.A.indptr[row + 1])
        terms = [columns[j] for j in milp.A.indices[span]]
        linear = gurobipy.LinExpr(milp.A.data[span].tolist(), terms)
        switch, value = columns[milp.indicator[row]], int(milp.indicator_value[row])
        for sense, side in ((">", milp.row_lower[row]), ("<", milp.row_upper[row])):
            if np.isfinite(side):
                model.addGenConstrIndicator(switch, value, linear, sense, float(side))


def _listener(gurobipy: Any, milp: MILP, emit: Emit) -> Any:
    codes = gurobipy.GRB.Callback
    last = -math.inf

    def hear(model: Any, where: int) -> None:
        nonlocal last
        if where == codes.MIPSOL:
            x = np.array(model.cbGetSolution(model.getVars()), dtype=np.float64)
            bound = float(model.cbGet(codes.MIPSOL_OBJBND))
            emit(float(model.cbGet(codes.MIPSOL_OBJ)), _finite(bound), snapped(milp, x))
        elif where == codes.MIP and (bound := float(model.cbGet(codes.MIP_OBJBND))) > last:
            last = bound
            emit(None, _finite(bound), None)

    return hear


def _solution(gurobipy: Any, model: Any, milp: MILP) -> Solution:
    codes = gurobipy.GRB
    if model.Status in (codes.INF_OR_UNBD, codes.UNBOUNDED):
        return _unbounded_or_infeasible(codes, model)
    status, nodes = _status(codes, model.Status), int(model.NodeCount)
    if status is Status.INFEASIBLE or not model.SolCount:
        bound = _finite(float(model.ObjBound)) if model.IsMIP and status is not Status.INFEASIBLE else None
        return Solution(status, None, None, bound, float(model.Runtime), nodes)
    x = snapped(milp, np.array(model.getAttr("X", model.getVars()), dtype=np.float64))
    value = float(model.ObjVal)
    bound = _finite(float(model.ObjBound)) if model.IsMIP else value
    return Solution(status, x, value, bound, float(model.Runtime), nodes)


def _unbounded_or_infeasible(codes: Any, model: Any) -> Solution:
    """Tell the two apart by a solve without objective."""
    model.setAttr("Obj", model.getVars(), [0.0] * model.NumVars)
    model.optimize()
    status = _status(codes, model.Status)
    if status is Status.OPTIMAL:
        status = Status.UNBOUNDED
    return Solution(status, None, None, None, float(model.Runtime), int(model.NodeCount))


def _status(codes: Any, code: int) -> Status:
    known = {
        codes.OPTIMAL: Status.OPTIMAL,
        codes.INFEASIBLE: Status.INFEASIBLE,
        codes.UNBOUNDED: Status.UNBOUNDED,
        codes.TIME_LIMIT: Status.TIME_LIMIT,
        codes.NODE_LIMIT: Status.NODE_LIMIT,
        codes.INTERRUPTED: Status.INTERRUPTED,
        codes.MEM_LIMIT: Status.MEMORY_LIMIT,
    }
    if code not in known:
        raise SolverError(f"Gurobi stopped with status code {code}: try another solver")
    return known[code]


def _finite(bound: float) -> float | None:
    return bound if abs(bound) < INFINITY else None


def _explain(error: Any) -> str:
    if getattr(error, "errno", None) == SIZE_LIMITED:
        limit = "the 2000 columns or rows of Gurobi's pip licence"
        return f"the model exceeds {limit}: get a full licence or use cpsat or highs"
    return f"Gurobi failed: {error}"
