"""Exact training by a MILP solver, every answer checked in integers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError
from provenn.formulations import Encoding, Problem
from provenn.milp import Event, Limits, Solution
from provenn.network import IntegerNetwork
from provenn.solvers import Solver
from provenn.status import Status
from provenn.trainers._base import OnProgress, Record, Trainer, TrainResult, whole_bound
from provenn.trainers._start import warm_up


@dataclass(frozen=True)
class Exact(Trainer):
    """Build the MILP, solve it from the best known network, decode, and check in exact integers.

    A loss that the MILP only bounds from below (a smooth curve over a fine grid) is made
    exact at the answer and solved again, until the two agree or a limit is reached.

    Parameters
    ----------
    solver : Solver
    """

    solver: Solver

    def train(
        self,
        problem: Problem,
        limits: Limits,
        start: IntegerNetwork | None = None,
        on_progress: OnProgress | None = None,
    ) -> TrainResult:
        """Return the best network with its certificate; see `Trainer.train`."""
        record = Record(problem, on_progress)
        try:
            return self._train(record, start, limits)
        except KeyboardInterrupt:
            return record.finish(Status.INTERRUPTED, None)

    def _train(self, record: Record, start: IntegerNetwork | None, limits: Limits) -> TrainResult:
        problem = record.problem
        record.begin(start)
        warm_up(record, limits)
        exact_at: list[IntegerNetwork] = [] if record.network is None else [record.network]
        nodes = 0
        while True:
            encoding = problem.encode(exact_at)
            solution = self._solve(encoding, record, limits)
            nodes += solution.nodes
            status, message = self._check(encoding, solution, record)
            if status is not Status.OPTIMAL or not encoding.relaxed or solution.x is None:
                break
            network = encoding.decode(solution.x)
            if any(network.equals(known) for known in exact_at):
                break
            exact_at.append(network)
        prover = f"{type(self.solver).__name__.lower()} {self.solver.version() or ''}".strip()
        return record.finish(status, prover, nodes, message, trusted=status is not Status.REJECTED)

    def _solve(self, encoding: Encoding, record: Record, limits: Limits) -> Solution:
        def on_event(event: Event) -> None:
            network = None if event.x is None else _decoded(encoding, event.x)
            if network is not None:
                record.offer(network)
            record.raise_bound(whole_bound(event.bound, self.solver.exact))

        start = None if record.network is None else encoding.encode(record.network)
        return self.solver.solve(encoding.milp, record.remaining(limits), start, on_event)

    def _check(self, encoding: Encoding, solution: Solution, record: Record) -> tuple[Status, str]:
        """Compare a solver's answer with the exact integers; returns the honest status and a message."""
        if solution.status is Status.INFEASIBLE and record.network is not None:
            return Status.REJECTED, "the solver calls the model infeasible, and a network satisfies it"
        if solution.x is not None:
            network = _decoded(encoding, solution.x)
            if network is None:
                return Status.REJECTED, "the solver's weights are outside their domains"
            value, violation = record.offer(network), encoding.milp.violation(encoding.encode(network))
            if value is None or violation > 0:
                return Status.REJECTED, f"the solver's network violates the model by {float(violation):g}"
            if not _credible(solution, value, encoding.relaxed):
                return (
                    Status.REJECTED,
                    f"the solver claims the objective {solution.objective}, the exact value is {value}",
                )
        record.raise_bound(whole_bound(solution.bound, self.solver.exact))
        return solution.status, solution.message


def _decoded(encoding: Encoding, x: NDArray[np.float64]) -> IntegerNetwork | None:
    """Decode a solver's point; None when its weights are not in their domains."""
    try:
        return encoding.decode(x)
    except InputError:
        return None


def _credible(solution: Solution, value: int, relaxed: bool) -> bool:
    """Whether the claimed objective fits the exact one up to float error.

    A claim may be too high while a search goes on (auxiliary columns need not be tight), but
    not at a claimed optimum; it may be too low only where the model bounds the loss from below.
    """
    if solution.objective is None:
        return False
    difference, error = solution.objective - value, 1e-4 + 1e-7 * abs(value)
    return (relaxed or difference >= -error) and (difference <= error or solution.status is not Status.OPTIMAL)
