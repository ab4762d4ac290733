"""Exact training by a MILP solver, every answer checked in integers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenn.errors import CapabilityError, InputError
from provenn.formulations import Encoding, Problem
from provenn.milp import Event, Limits, Solution
from provenn.milp.centre import centre
from provenn.network import IntegerNetwork
from provenn.solvers import Solver
from provenn.status import Status
from provenn.trainers._base import OnProgress, Proof, Record, Trainer, TrainResult, whole_bound
from provenn.trainers._start import warm_up

FLOAT_ROWS = 1e-6
"""Violation that rows with float coefficients may show; the network itself is checked in integers."""
CLOSED = 1e-6
"""Share of the loss below which a gap of a continuous model is float error."""
TOO_FINE = "the margin may lie within the solver's tolerance; scale the features to about 1 or raise the margin"
PATIENCE = 8
"""Solves in a row that may move neither the loss nor the bound of a continuous model."""


@dataclass(frozen=True)
class Exact(Trainer):
    """Build the MILP, solve it from the best known network, decode, and check in exact integers.

    A loss that the MILP only bounds from below (a smooth curve over a fine grid) is made
    exact at the answer and solved again, until the two agree or a limit is reached. Over continuous
    weights they agree up to float error: within a millionth of the loss.

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
        if problem.architecture.continuous and "continuous" not in self.solver.capabilities:
            raise CapabilityError(
                f"{prover_name(self.solver)} solves models in integers, and the weights are continuous; "
                "choose highs, scip or gurobi, or integer weights"
            )
        record = Record(problem, on_progress)
        try:
            record.begin(start)
            warm_up(record, limits)
            proof = MilpProof(self.solver, record).run(limits)
        except KeyboardInterrupt:
            return record.finish(Status.INTERRUPTED, None)
        trusted = proof.status is not Status.REJECTED
        return record.finish(proof.status, prover_name(self.solver), proof.nodes, proof.message, trusted)


def prover_name(solver: Solver) -> str:
    """Return the name and version of a solver, as certificates give it.

    Examples
    --------
    >>> prover_name(Solver.create("brute_force")).split()[0]
    'bruteforce'
    """
    return f"{type(solver).__name__.lower()} {solver.version() or ''}".strip()


@dataclass(frozen=True)
class MilpProof:
    """The work of a MILP solver on a record: every point is decoded and checked, bounds become whole units.

    Parameters
    ----------
    solver : Solver
    record : Record
        Its network is the start.
    stopped, paused : callable, optional
        See `Solver.solve`.
    """

    solver: Solver
    record: Record
    stopped: Callable[[], bool] | None = None
    paused: Callable[[], bool] | None = None

    def run(self, limits: Limits) -> Proof:
        """Solve, and solve again while the answer shows where a relaxed model must be exact.

        Parameters
        ----------
        limits : Limits
            The time counts from the record's beginning.
        """
        exact_at: list[IntegerNetwork] = [] if self.record.network is None else [self.record.network]
        nodes, last, idle = 0, self._reached(), 0
        while True:
            encoding = self.record.problem.encode(exact_at)
            solution = self._solve(encoding, limits)
            nodes += solution.nodes
            status, message, network = self._check(encoding, solution)
            if status is not Status.OPTIMAL or not encoding.relaxed or network is None:
                return Proof(status, nodes, message)
            idle, last = (idle + 1 if self._reached() == last else 0), self._reached()
            repeated = any(network.equals(known) for known in exact_at)
            continuous = self.record.problem.architecture.continuous
            if repeated or (continuous and (idle == PATIENCE or self._agrees(solution))):
                stuck = continuous and not self._agrees(solution)
                return Proof(status, nodes, f"solving again changes nothing: {TOO_FINE}" if stuck else message)
            exact_at.append(network)

    def _reached(self) -> tuple[int | None, int | None]:
        return self.record.loss, self.record.bound

    def _agrees(self, solution: Solution) -> bool:
        """Whether the best loss is the optimum of a model that bounds it from below, up to rounding and float error."""
        problem, loss, bound = self.record.problem, self.record.loss, solution.bound
        rounding = problem.dataset.total * problem.architecture.n_outputs * float(problem.loss_unit / problem.unit)
        return loss is not None and bound is not None and loss - bound <= rounding + CLOSED * abs(loss)

    def _solve(self, encoding: Encoding, limits: Limits) -> Solution:
        record = self.record

        def on_event(event: Event) -> None:
            if event.x is not None:
                self._offer(encoding, event.x, event.objective)
            self._raise_bound(event.bound)

        start = None if record.network is None else encoding.encode(record.network)
        hooks = {"stopped": self.stopped, "paused": self.paused}
        given = {name: hook for name, hook in hooks.items() if hook is not None}
        return self.solver.solve(encoding.milp, record.remaining(limits), start, on_event, **given)

    def _offer(
        self, encoding: Encoding, x: NDArray[np.float64], claim: float | None
    ) -> tuple[IntegerNetwork | None, int | None]:
        """Offer the network of a point; return it and its exact value, None where it breaks a hard condition.

        Rounding continuous weights to the grid can lose activations that a solver left within its
        tolerance. Then the point first moves into the middle of its activations.
        """
        network = _decoded(encoding, x)
        value = None if network is None else self.record.offer(network)
        if not self.record.problem.architecture.continuous or _reached(value, claim):
            return network, value
        middle = centre(encoding.milp, x, rounding_of(self.record.problem))
        moved = None if middle is None else _decoded(encoding, middle)
        other = None if moved is None else self.record.offer(moved)
        return (network, value) if other is None or (value is not None and value <= other) else (moved, other)

    def _raise_bound(self, bound: float | None) -> None:
        self.record.raise_bound(whole_bound(bound, self.solver.exact), prover_name(self.solver))

    def _check(self, encoding: Encoding, solution: Solution) -> tuple[Status, str, IntegerNetwork | None]:
        """Compare a solver's answer with the exact integers; returns the honest status, a message and the network."""
        fault, network = None, None
        if solution.status is Status.INFEASIBLE and self.record.network is not None:
            fault = "the solver calls the model infeasible, and a network satisfies it"
        if solution.x is not None:
            network, value = self._offer(encoding, solution.x, solution.objective)
            fault = self._fault(encoding, solution, network, value)
            if fault is not None and self.record.problem.architecture.continuous:
                fault = f"{fault}: {TOO_FINE}"
        if fault is not None:
            return Status.REJECTED, fault, None
        self._raise_bound(solution.bound)
        return solution.status, solution.message, network

    def _fault(
        self, encoding: Encoding, solution: Solution, network: IntegerNetwork | None, value: int | None
    ) -> str | None:
        """Say what is wrong with the network of a solver's answer, None when nothing is."""
        if network is None:
            return "the solver's weights are outside their domains"
        violation = encoding.milp.violation(encoding.encode(network))
        if value is None or violation > (FLOAT_ROWS if self.record.problem.architecture.continuous else 0):
            return f"the solver's network violates the model by {float(violation):g}"
        if not _credible(solution, value, encoding.relaxed):
            return f"the solver claims the objective {solution.objective}, the exact value is {value}"
        return None


def rounding_of(problem: Problem) -> float:
    """Return how far rounding continuous weights to the grid moves a pre-activation at most, in real units."""
    shape, data = problem.architecture, problem.dataset
    sizes = [float(np.abs(data.X).sum(axis=1).max()) / data.scale, *map(float, shape.hidden)]
    layers = zip(sizes, shape.layers, strict=True)
    return max((size + 1) / (2 * layer.weights.denominator) for size, layer in layers if layer.continuous)


def _decoded(encoding: Encoding, x: NDArray[np.float64]) -> IntegerNetwork | None:
    """Decode a solver's point; None when its weights are not in their domains."""
    try:
        return encoding.decode(x)
    except InputError:
        return None


def _reached(value: int | None, claim: float | None) -> bool:
    """Whether a network is as good as its solver said, up to float error."""
    return value is not None and claim is not None and value <= claim + 1e-4 + 1e-6 * abs(claim)


def _credible(solution: Solution, value: int, relaxed: bool) -> bool:
    """Whether the claimed objective fits the exact one up to float error.

    A claim may be too high while a search goes on (auxiliary columns need not be tight), but
    not at a claimed optimum; it may be too low only where the model bounds the loss from below.
    """
    if solution.objective is None:
        return False
    difference, error = solution.objective - value, 1e-4 + 1e-7 * abs(value)
    return (relaxed or difference >= -error) and (difference <= error or solution.status is not Status.OPTIMAL)
