"""HiGHS: branch and cut for mixed models, the default where columns are continuous."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from provenn.errors import InputError, SolverError
from provenn.milp import MILP, Limits, Solution
from provenn.milp.lower import big_m
from provenn.solvers._base import Emit, Point, Solver, snapped
from provenn.status import Status

ROWWISE, MINIMISE = 2, 1
ABSOLUTE_GAP = 1e-9
FLOAT_STEP = 4e-15
CALM_ACTIVITY = 2.0**20


@dataclass(frozen=True)
class Highs(Solver):
    """Branch and cut in floats; conditional rows go through big-M.

    Parameters
    ----------
    presolve : bool
    heuristics : float
        Share of the effort that goes to heuristics, 0 to 1.
    tolerance : float
        Allowed violation of rows, bounds and integrality, 1e-10 to 1e-3; tight by default, because a
        margin of one grid unit must not drown in big-M rows. Raised to what doubles can express
        (at most 1e-6) where columns reach far: a tolerance below it makes HiGHS cut off optima.

    References
    ----------
    Huangfu, Hall: Parallelizing the dual revised simplex method, 2018, doi:10.1007/s12532-017-0130-5

    Examples
    --------
    >>> from provenn.milp import Builder, Terms
    >>> builder = Builder()
    >>> x = builder.columns("x", (2,), 0, 5, integer=False)
    >>> builder.rows([Terms(x, [2.0, 1.0])], lower=7)
    >>> builder.minimise(x, 1.0)
    >>> Highs().solve(builder.build()).objective
    3.5
    """

    presolve: bool = True
    heuristics: float = 0.05
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
    module: ClassVar[str] = "highspy"
    distribution: ClassVar[str] = "highspy"
    note: ClassVar[str] = "conditional rows need finite column bounds"

    def __post_init__(self) -> None:
        """Refuse values that HiGHS would refuse later."""
        if not 1e-10 <= self.tolerance <= 1e-3:
            raise InputError(f"the tolerance must lie in 1e-10..1e-3, got {self.tolerance}")
        if not 0 <= self.heuristics <= 1:
            raise InputError(f"the share of heuristics must lie in 0..1, got {self.heuristics}")

    def prepare(self, milp: MILP) -> MILP:
        """Replace conditional rows by big-M rows and scale rows of large activity down."""
        return _balanced(big_m(milp))

    def run(self, milp: MILP, limits: Limits, start: Point | None, emit: Emit) -> Solution:
        """Solve in this process."""
        import highspy

        highs = self._loaded(highspy, milp, limits)
        if start is not None:
            _set_start(highspy, highs, start)
        _listen(highspy, highs, milp, emit)
        _ask(highspy, highs.run(), "solve")
        model_status = highs.getModelStatus()
        kinds = highspy.HighsModelStatus
        if model_status in (kinds.kUnboundedOrInfeasible, kinds.kUnbounded):
            left = max(limits.seconds - highs.getRunTime(), 0.0)
            return self._unbounded_or_infeasible(highspy, milp, replace(limits, seconds=left))
        return _solution(highspy, highs, milp, limits)

    def _loaded(self, highspy: Any, milp: MILP, limits: Limits) -> Any:
        """Return a HiGHS instance with options and model."""
        highs = highspy.Highs()
        for name, value in self._options(milp, limits).items():
            _ask(highspy, highs.setOptionValue(name, value), f"set {name}")
        answer = highs.passModel(
            milp.n_columns,
            milp.n_rows,
            milp.A.nnz,
            ROWWISE,
            MINIMISE,
            milp.offset,
            milp.c,
            milp.col_lower,
            milp.col_upper,
            milp.row_lower,
            milp.row_upper,
            milp.A.indptr.astype(np.int32),
            milp.A.indices.astype(np.int32),
            milp.A.data,
            milp.integer.astype(np.int32),
        )
        _ask(highspy, answer, "read the model")
        return highs

    def _options(self, milp: MILP, limits: Limits) -> dict[str, Any]:
        tolerance = max(self.tolerance, min(1e-6, FLOAT_STEP * _reach(milp).max(initial=1.0)))
        return {
            "output_flag": False,
            "time_limit": limits.seconds,
            "threads": limits.threads,
            "parallel": "on" if limits.threads > 1 else "off",
            "random_seed": limits.seed,
            "mip_rel_gap": 0.0,
            "mip_abs_gap": ABSOLUTE_GAP,
            "mip_feasibility_tolerance": tolerance,
            "primal_feasibility_tolerance": tolerance,
            "mip_heuristic_effort": self.heuristics,
            "presolve": "choose" if self.presolve else "off",
            **({} if limits.nodes is None else {"mip_max_nodes": limits.nodes}),
        }

    def _unbounded_or_infeasible(self, highspy: Any, milp: MILP, limits: Limits) -> Solution:
        """Tell the two apart by a solve without objective."""
        plain = self._loaded(highspy, replace(milp, c=np.zeros(milp.n_columns)), limits)
        _ask(highspy, plain.run(), "solve without objective")
        found = _solution(highspy, plain, milp, limits)
        status = Status.UNBOUNDED if found.status is Status.OPTIMAL else found.status
        return Solution(status, None, None, None, found.seconds, found.nodes, found.message)


def _reach(milp: MILP) -> Point:
    """Largest finite absolute value of every column; 1 for columns without finite bounds."""
    ends = np.abs(np.stack([milp.col_lower, milp.col_upper]))
    return np.max(np.where(np.isfinite(ends), ends, 1.0), axis=0, initial=0.0)


def _balanced(milp: MILP) -> MILP:
    """Scale rows by powers of two so that no activity exceeds `CALM_ACTIVITY`.

    Tolerances are absolute: beyond about 1e6, rounding errors of doubles look like violations.
    """
    activity = np.maximum(abs(milp.A) @ _reach(milp), 1.0)
    factor = np.exp2(-np.ceil(np.maximum(np.log2(activity / CALM_ACTIVITY), 0.0)))
    rows = {"row_lower": milp.row_lower * factor, "row_upper": milp.row_upper * factor}
    return replace(milp, A=sparse.diags_array(factor) @ milp.A, **rows) if (factor < 1).any() else milp


def _ask(highspy: Any, answer: Any, what: str) -> None:
    """Raise where HiGHS only returns an error."""
    if answer == highspy.HighsStatus.kError:
        raise SolverError(f"HiGHS could not {what}")


def _set_start(highspy: Any, highs: Any, start: Point) -> None:
    solution = highspy.HighsSolution()
    solution.col_value = start.tolist()
    _ask(highspy, highs.setSolution(solution), "read the start")


def _listen(highspy: Any, highs: Any, milp: MILP, emit: Emit) -> None:
    """Report incumbents and bounds."""
    kinds = highspy.cb.HighsCallbackType

    def hear(kind: Any, _message: str, out: Any, _in: Any, _data: Any) -> None:
        bound = float(out.mip_dual_bound)
        if kind == kinds.kCallbackMipImprovingSolution:
            x = snapped(milp, np.array(out.mip_solution, dtype=np.float64))
            emit(float(out.objective_function_value), bound, x)
        else:
            emit(None, bound, None)

    _ask(highspy, highs.setCallback(hear, None), "set the callback")
    for kind in (kinds.kCallbackMipImprovingSolution, kinds.kCallbackMipLogging):
        _ask(highspy, highs.startCallback(kind), "start the callback")


def _solution(highspy: Any, highs: Any, milp: MILP, limits: Limits) -> Solution:
    status = _status(highspy, highs.getModelStatus(), highs.modelStatusToString(highs.getModelStatus()), limits)
    info = highs.getInfo()
    nodes, seconds = max(int(info.mip_node_count), 0), float(highs.getRunTime())
    if status is Status.INFEASIBLE:
        return Solution(status, None, None, None, seconds, nodes)
    mixed = bool(milp.integer.any())
    value = float(info.objective_function_value)
    bound = float(info.mip_dual_bound) if mixed else None
    feasible = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    if not feasible or not np.isfinite(value):
        return Solution(status, None, None, bound, seconds, nodes)
    x = snapped(milp, np.array(highs.getSolution().col_value, dtype=np.float64))
    if status is Status.OPTIMAL and not mixed:
        bound = value
    return Solution(status, x, value, bound, seconds, nodes)


def _status(highspy: Any, model_status: Any, text: str, limits: Limits) -> Status:
    kinds = highspy.HighsModelStatus
    known = {
        kinds.kOptimal: Status.OPTIMAL,
        kinds.kModelEmpty: Status.OPTIMAL,
        kinds.kInfeasible: Status.INFEASIBLE,
        kinds.kUnbounded: Status.UNBOUNDED,
        kinds.kTimeLimit: Status.TIME_LIMIT,
        kinds.kSolutionLimit: Status.NODE_LIMIT,
        kinds.kIterationLimit: Status.NODE_LIMIT,
        kinds.kInterrupt: Status.INTERRUPTED,
        kinds.kHighsInterrupt: Status.INTERRUPTED,
        kinds.kMemoryLimit: Status.MEMORY_LIMIT,
    }
    if model_status not in known:
        raise SolverError(f"HiGHS stopped with the status {text!r}: try another solver, or presolve=False")
    return known[model_status]
