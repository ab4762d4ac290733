"""The workers of a portfolio: which ones a problem gets, and what each does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Event

from provenn.errors import CapabilityError, MissingDependencyError, OverflowRiskError, SolverError
from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.solvers import Solver
from provenn.status import Status
from provenn.trainers._base import Proof, Record
from provenn.trainers._portfolio_primal import Primal
from provenn.trainers._portfolio_size import too_large
from provenn.trainers._portfolio_turns import Turn
from provenn.trainers.convex import PROVER, Convex, prove
from provenn.trainers.exact import MilpProof, prover_name

SEARCH_WEIGHT = FAVOURITE_WEIGHT = 2.0
SPARE = 3
"""Threads beyond one for each worker from which the first solver gets them, and not more searches."""


@dataclass(frozen=True)
class Worker:
    """One part of a portfolio.

    Parameters
    ----------
    name : str
        As certificates name it.
    work : callable
        Does the work in a thread of its own until its turn is stopped.
    weight : float
        Its share of the threads.
    proves : bool
        Raises bounds; the training ends when no such worker is left, under a limit on nodes.
    waits : bool
        Begins only when the search has a good network.
    """

    name: str
    work: Callable[[Turn], Proof]
    weight: float = 1.0
    proves: bool = True
    waits: bool = False


def provers(problem: Problem, record: Record, limits: Limits, names: Sequence[str] | None) -> tuple[list[Worker], str]:
    """Return the workers that raise bounds, and a note on what is left out.

    Parameters
    ----------
    problem : Problem
    record : Record
        Where they enter what they find.
    limits : Limits
        Threads that no other worker needs go to the first solver.
    names : sequence of str, optional
        Solvers to use, also where the convex engine applies; by default those that fit.
    """
    if names is None and Convex.obstacle(problem) is None:
        return [Worker(PROVER, lambda turn: prove(record, limits, turn.stopped))], ""
    reason = too_large(problem, limits.memory_mb)
    if reason is not None:
        return [], f"search alone: {reason}"
    solvers = [Solver.create(name) for name in (_default(problem) if names is None else names)]
    for solver in solvers:
        if not solver.available():
            raise MissingDependencyError(
                f"{type(solver).__name__.lower()} needs {solver.distribution}: pip install {solver.distribution}"
            )
    spare = limits.threads - len(solvers) - 1
    threads = [1 + spare if spare >= SPARE and place == 0 else 1 for place in range(len(solvers))]
    workers = [
        _milp_worker(record, replace(limits, threads=count), solver, FAVOURITE_WEIGHT if place == 0 else 1.0)
        for place, (solver, count) in enumerate(zip(solvers, threads, strict=True))
    ]
    return workers, ""


def _default(problem: Problem) -> list[str]:
    """Return solvers that complement each other, the likelier winner first."""
    linear = problem.loss.linear or (problem.loss.convex and not problem.architecture.hidden)
    return ["highs", "cpsat"] if linear else ["cpsat", "highs"]


def _milp_worker(record: Record, limits: Limits, solver: Solver, weight: float) -> Worker:
    def work(turn: Turn) -> Proof:
        if turn.stopped():
            return Proof(Status.INTERRUPTED)
        try:
            return MilpProof(solver, record, turn.stop.is_set, turn.paused).run(limits)
        except (CapabilityError, MissingDependencyError, OverflowRiskError, SolverError) as error:
            return Proof(Status.REJECTED, 0, str(error))
        except MemoryError:
            return Proof(Status.MEMORY_LIMIT, 0, "there was no memory to build the model")

    return Worker(prover_name(solver), work, weight, waits=True)


def searches(
    problem: Problem, record: Record, limits: Limits, opened: Event, proving: int, rounds: int
) -> list[Primal]:
    """Return searches with different random numbers; the first goes on after `rounds` rounds.

    One thread leaves a convex problem to its engine, which searches too. Of more threads than
    workers, a few make more searches and many go to the first solver, see `provers`.
    """
    if proving and limits.threads == 1 and Convex.obstacle(problem) is None:
        return []
    spare = max(0, limits.threads - proving - 1)
    count = 1 if proving and spare >= SPARE else 1 + spare
    return [Primal(record, limits, opened, number, rounds) for number in range(count)]
