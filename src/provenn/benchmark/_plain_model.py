"""The training MILP as published programs write it: one big M, no symmetry breaking, no start."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from provenn.benchmark.task import Job
from provenn.errors import CapabilityError, InputError
from provenn.formulations import Problem
from provenn.formulations._skeleton import Skeleton
from provenn.milp import MILP, Event
from provenn.milp.lower import activity_bounds
from provenn.network import IntegerNetwork
from provenn.solvers import Solver
from provenn.trainers._base import Record, TrainResult, whole_bound


@dataclass(frozen=True)
class PlainModel:
    """A MILP of plain rows, and the skeleton that reads networks off its points."""

    milp: MILP
    skeleton: Skeleton

    @classmethod
    def of(cls, problem: Problem) -> "PlainModel":
        """Build the model of a problem without side constraints."""
        if problem.constraints:
            raise CapabilityError("the plain big-M model has no side constraints")
        if not problem.loss.has_milp:
            raise CapabilityError(f"the loss {type(problem.loss).__name__} has no MILP")
        skeleton = Skeleton(problem.architecture, problem.dataset)
        problem.loss.add_to(skeleton)
        return cls(one_big_m(skeleton.builder.build(), _grid_rows(problem)), skeleton)

    def network(self, x: NDArray[np.float64]) -> IntegerNetwork | None:
        """Read the network off a point; None when a weight is outside its domain."""
        try:
            return self.skeleton.decode(x)
        except InputError:
            return None


def _grid_rows(problem: Problem) -> dict[str, int]:
    """Return the grid units in 1 of the conditional rows, by the block of their indicator; the others count 1."""
    scale = problem.dataset.scale
    return {"u0": scale} if problem.architecture.hidden else {"": scale}


def one_big_m(milp: MILP, units: dict[str, int]) -> MILP:
    """Turn conditional rows into plain ones with the same M everywhere.

    M is the largest that any row needs, in real units: rows over grid units get ``M * unit``.

    Parameters
    ----------
    milp : MILP
    units : dict of str to int
        Units of the rows whose indicator lies in a block; the key "" stands for all other blocks.

    Examples
    --------
    >>> from provenn.milp import Builder, Terms
    >>> builder = Builder()
    >>> x, z = builder.columns("x", (2,), 0, [9, 5]), builder.columns("z", (1,), 0, 1)
    >>> builder.rows([Terms(x[:, None], 1.0)], upper=4, when=(z, 1))
    >>> one_big_m(builder.build(), {}).A.toarray().tolist()
    [[1.0, 0.0, 5.0], [0.0, 1.0, 5.0]]
    """
    low, high = activity_bounds(milp)
    conditional = milp.indicator >= 0
    unit = np.full(milp.n_columns, units.get("", 1))
    for name, value in units.items():
        unit[milp.blocks[name].ravel() if name else []] = value
    needed = np.maximum(_finite(high - milp.row_upper), _finite(milp.row_lower - low))
    rows = np.flatnonzero(conditional)
    M = np.max(np.ceil(needed[rows] / unit[milp.indicator[rows]]), initial=0) * unit[milp.indicator]
    parts, lower, upper = [milp.A[~conditional]], [milp.row_lower[~conditional]], [milp.row_upper[~conditional]]
    for side, sign in ((milp.row_upper, 1.0), (milp.row_lower, -1.0)):
        chosen = np.flatnonzero(conditional & np.isfinite(side))
        on_one, reach = milp.indicator_value[chosen] == 1, sign * M[chosen]
        switch = sparse.csr_matrix(
            (np.where(on_one, reach, -reach), (np.arange(chosen.size), milp.indicator[chosen])),
            shape=(chosen.size, milp.n_columns),
        )
        parts.append(milp.A[chosen] + switch)
        moved, open_ = side[chosen] + np.where(on_one, reach, 0.0), np.full(chosen.size, np.inf)
        lower.append(-open_ if sign > 0 else moved)
        upper.append(moved if sign > 0 else open_)
    return replace(
        milp,
        A=sparse.vstack(parts, format="csr"),
        row_lower=np.concatenate(lower),
        row_upper=np.concatenate(upper),
        indicator=np.zeros(0, dtype=np.int64),
        indicator_value=np.zeros(0, dtype=np.int64),
    )


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(values), np.maximum(values, 0), 0)


def solve_plainly(job: Job, solver: Solver) -> TrainResult:
    """Solve the plain model without a start; every incumbent is evaluated in exact integers."""
    record = Record(job.problem, job.on_progress)
    plain = PlainModel.of(job.problem)

    def on_event(event: Event) -> None:
        network = None if event.x is None else plain.network(event.x)
        if network is not None:
            record.offer(network)
        record.raise_bound(whole_bound(event.bound, solver.exact))

    solution = solver.solve(plain.milp, record.remaining(job.limits), None, on_event)
    network = None if solution.x is None else plain.network(solution.x)
    if network is not None:
        record.offer(network)
    record.raise_bound(whole_bound(solution.bound, solver.exact))
    prover = f"{type(solver).__name__.lower()} {solver.version()}".strip()
    return record.finish(solution.status, prover, solution.nodes, solution.message)
