"""CP-SAT of OR-Tools: the strongest prover for bounded integer models."""

import math
import threading
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from provenn.errors import CapabilityError, InputError, MissingDependencyError, SolverError
from provenn.milp import MILP, Limits, Solution
from provenn.milp.lower import MAX_ACTIVITY, integer_costs, integer_rows, integral_bounds
from provenn.milp.model import EXACT
from provenn.solvers._base import Emit, Point, Solver
from provenn.status import Status

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
PORTFOLIO = ("core", "default_lp", "quick_restart", "max_lp", "reduced_costs", "no_lp")
"""Full subsolvers in the order in which workers get them."""
MANY_THREADS = 4
TURNS = 3
"""Subsolvers that share a single thread, together with local search."""
COUNTING = "core_for_counts"
"""The first subsolver where the objective counts: every column that costs is binary."""
NODE_TIME = 1e-3
"""Deterministic time that counts as a node: conflict limits do not hold across subsolvers."""


@dataclass(frozen=True)
class Cpsat(Solver):
    """Lazy clause generation with linear relaxations; integer columns only, exact arithmetic.

    Parameters
    ----------
    mode : "portfolio", "core" or "default"
        "portfolio" runs the workers of `PORTFOLIO`, the first of which raises lower bounds by
        unsatisfiable cores: the stock portfolio ("default") leaves bounds of counting objectives
        near 0. With fewer than four threads, one takes turns between three of them and local search:
        deterministic, and sooner with a proof than two threads of one worker each; where the objective
        counts (all columns that cost are binary), only a single thread does that. "core" runs the
        first alone: the fastest to raise the bounds of counts, but without a search for better points,
        and slow where costs are many and large.
    workers : int, optional
        Threads; by default those of the limits.

    References
    ----------
    Perron, Didier, Gay: The CP-SAT-LP Solver, CP 2023, doi:10.4230/LIPIcs.CP.2023.3

    Examples
    --------
    >>> from provenn.milp import Builder, Terms
    >>> builder = Builder()
    >>> x = builder.columns("x", (2,), 0, 5)
    >>> builder.rows([Terms(x, [2.0, 3.0])], lower=7)
    >>> builder.minimise(x, 1.0)
    >>> Cpsat().solve(builder.build()).objective
    3.0
    """

    mode: Literal["portfolio", "core", "default"] = "portfolio"
    workers: int | None = None

    exact: ClassVar[bool] = True
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"integer", "indicators", "start", "nodes", "threads", "memory", "events", "bound"}
    )
    module: ClassVar[str] = "ortools"
    distribution: ClassVar[str] = "ortools"
    note: ClassVar[str] = "proves integer models fastest; a node is a thousandth of its deterministic seconds"

    def __post_init__(self) -> None:
        """Refuse unknown modes."""
        if self.mode not in ("portfolio", "core", "default"):
            raise InputError(f"mode must be portfolio, core or default, got {self.mode!r}")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"at least one worker is needed, got {self.workers}")

    def prepare(self, milp: MILP) -> MILP:
        """Scale rows to integers and refuse columns beyond exact doubles."""
        size = np.maximum(np.abs(milp.col_lower), np.abs(milp.col_upper))
        if (size > EXACT).any():
            column = int(np.argmax(size))
            raise CapabilityError(
                f"cpsat needs columns within +-2**53, column {column} reaches {size[column]:.3g}: "
                "give it tighter bounds or use highs or scip"
            )
        return integer_rows(milp)

    def run(self, milp: MILP, limits: Limits, start: Point | None, emit: Emit) -> Solution:
        """Solve in this process."""
        helper = _library()
        objective = _Objective.of(milp)
        proto = _model(helper, milp, objective, start)
        wrapper = helper.SolveWrapper()
        wrapper.set_parameters(self._parameters(helper, limits, _counts(milp)))
        callback = _callback(helper, objective, emit)
        wrapper.add_solution_callback(callback)
        wrapper.add_best_bound_callback(lambda bound: emit(None, objective.bound(bound), None))
        response = wrapper.solve(proto)
        return _solution(helper, response, objective, limits)

    def _parameters(self, helper: Any, limits: Limits, counts: bool) -> Any:
        p = helper.SatParameters()
        p.max_time_in_seconds = min(limits.seconds, 1e9)
        p.random_seed = limits.seed
        if limits.nodes is not None:
            p.max_deterministic_time = limits.nodes * NODE_TIME
        if limits.memory_mb is not None:
            p.max_memory_in_mb = limits.memory_mb
        p.num_workers = self.workers or limits.threads
        if self.mode == "core":
            p.num_workers = 1
            _by_cores(p, counts)
        elif self.mode == "portfolio":
            _portfolio(p, helper, counts)
        return p


def _counts(milp: MILP) -> bool:
    """Whether the objective counts: every column that costs is binary."""
    return bool(milp.binary[np.flatnonzero(milp.c)].all())


def _by_cores(p: Any, counts: bool) -> None:
    """Raise the bound by unsatisfiable cores.

    Cores of counts are taken as they are found: to make them smaller takes longer than it saves. Their
    relaxations over big-M rows bound nothing, so no time goes into them. Where columns that cost are not
    binary, cores are minimised: without that, OR-Tools 9.15 was seen to call its start optimal when it was not.
    """
    p.optimize_with_core = True
    if counts:
        p.core_minimization_level = 0
        p.linearization_level = 0


def _portfolio(p: Any, helper: Any, counts: bool) -> None:
    """Choose subsolvers by hand; few threads would leave no room for local search, so one takes turns."""
    p.interleave_search = p.num_workers < (2 if counts else MANY_THREADS)
    if p.interleave_search:
        p.num_workers = 1
    names = list(PORTFOLIO[: TURNS if p.interleave_search else p.num_workers])
    if counts:
        first = helper.SatParameters()
        first.name = names[0] = COUNTING
        _by_cores(first, counts)
        p.subsolver_params.append(first)
    p.subsolvers.extend(names)


@dataclass(frozen=True)
class _Objective:
    """Integer costs, and the way back: ``value = raw / divisor + offset``."""

    costs: NDArray[np.int64]
    divisor: int
    offset: float

    @classmethod
    def of(cls, milp: MILP) -> "_Objective":
        costs, divisor = integer_costs(milp)
        return cls(costs, divisor, milp.offset)

    @property
    def empty(self) -> bool:
        return not self.costs.any()

    def value(self, x: NDArray[np.int64]) -> float:
        return int(self.costs @ x) / self.divisor + self.offset

    def bound(self, raw: float) -> float:
        whole = math.ceil(raw - 1e-6) if math.isfinite(raw) else raw
        return whole / self.divisor + self.offset


def _library() -> Any:
    """Import the bindings alone: the modelling layer would load pandas."""
    from ortools.sat.python import cp_model_helper

    if not hasattr(cp_model_helper, "CpModelProto"):
        raise MissingDependencyError("cpsat needs ortools 9.15 or newer: pip install --upgrade ortools")
    return cp_model_helper


def _model(helper: Any, milp: MILP, objective: _Objective, start: Point | None) -> Any:
    proto = helper.CpModelProto()
    add = proto.variables.add
    lower, upper = (bound.astype(np.int64).tolist() for bound in integral_bounds(milp))
    for pair in zip(lower, upper, strict=True):
        add().domain.extend(pair)
    _add_rows(proto, milp)
    used = np.flatnonzero(objective.costs)
    if used.size:
        proto.objective.vars.extend(used.tolist())
        proto.objective.coeffs.extend(objective.costs[used].tolist())
    if start is not None:
        proto.solution_hint.vars.extend(range(milp.n_columns))
        proto.solution_hint.values.extend(np.rint(start).astype(np.int64).tolist())
    return proto


def _add_rows(proto: Any, milp: MILP) -> None:
    """Add every row that can bind; each takes four calls, whatever its length."""
    lower, upper = _sides(milp.row_lower, INT64_MIN), _sides(milp.row_upper, INT64_MAX)
    # A conditional row with crossed sides forbids its condition: no terms, and a domain without 0.
    crossed = milp.row_lower > milp.row_upper
    literals = np.where(milp.indicator_value == 1, milp.indicator, -1 - milp.indicator).tolist()
    conditional = (milp.indicator >= 0).tolist()
    indices, coefficients = milp.A.indices.tolist(), milp.A.data.astype(np.int64).tolist()
    starts = milp.A.indptr.tolist()
    add = proto.constraints.add
    for row in np.flatnonzero(np.isfinite(milp.row_lower) | np.isfinite(milp.row_upper)).tolist():
        constraint = add()
        if conditional[row]:
            constraint.enforcement_literal.append(literals[row])
        linear = constraint.linear
        if crossed[row]:
            linear.domain.extend((1, 1))
            continue
        linear.vars.extend(indices[starts[row] : starts[row + 1]])
        linear.coeffs.extend(coefficients[starts[row] : starts[row + 1]])
        linear.domain.extend((lower[row], upper[row]))


def _sides(bound: NDArray[np.float64], open_: int) -> list[int]:
    finite = np.isfinite(bound) & (np.abs(bound) <= MAX_ACTIVITY)
    exact = np.where(finite, bound, 0).astype(np.int64)
    return [value if ok else open_ for value, ok in zip(exact.tolist(), finite.tolist(), strict=True)]


def _callback(helper: Any, objective: _Objective, emit: Emit) -> Any:
    class Incumbents(helper.SolutionCallback):
        """Reports every better solution with its bound."""

        lock = threading.Lock()

        def OnSolutionCallback(self) -> None:  # noqa: N802 (name given by the library)
            response = self.Response()
            x = np.array(list(response.solution), dtype=np.int64)
            bound = None if objective.empty else objective.bound(self.BestObjectiveBound())
            with self.lock:
                emit(objective.value(x), bound, x.astype(np.float64))

    return Incumbents()


def _solution(helper: Any, response: Any, objective: _Objective, limits: Limits) -> Solution:
    """Translate a response; without a solution its bound is a default value and not a claim."""
    names = helper.CpSolverStatus
    seconds, nodes = float(response.wall_time), int(response.num_branches)
    if response.status == names.MODEL_INVALID:
        raise SolverError(f"CP-SAT refused the model: {response.solution_info or 'no reason given'}")
    if response.status == names.INFEASIBLE:
        return Solution(Status.INFEASIBLE, None, None, None, seconds, nodes)
    proven = response.status == names.OPTIMAL
    status = Status.OPTIMAL if proven else _limit(response, limits)
    raw = list(response.solution)
    x = np.array(raw, dtype=np.int64)
    value = objective.value(x) if raw else None
    bound = value if proven else None
    if not proven and raw and not objective.empty:
        bound = objective.bound(float(response.best_objective_bound))
    return Solution(status, x.astype(np.float64) if raw else None, value, bound, seconds, nodes)


def _limit(response: Any, limits: Limits) -> Status:
    """Tell which limit stopped CP-SAT, which does not say."""
    if response.wall_time >= limits.seconds * 0.98:
        return Status.TIME_LIMIT
    if limits.nodes is not None:
        return Status.NODE_LIMIT
    return Status.MEMORY_LIMIT if limits.memory_mb is not None else Status.TIME_LIMIT
