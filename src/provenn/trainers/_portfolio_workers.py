"""The workers of a portfolio: which ones a problem gets, and what each does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Event

from provenn.errors import CapabilityError, MissingDependencyError, OverflowRiskError, SolverError
from provenn.formulations import Problem
from provenn.losses._worst_case import WorstCase
from provenn.milp import Limits
from provenn.solvers import Solver
from provenn.status import Status
from provenn.trainers import agreement, groups, hull, tree
from provenn.trainers._base import Proof, Record
from provenn.trainers._groups_parts import obstacle
from provenn.trainers._portfolio_primal import Primal
from provenn.trainers._portfolio_size import too_large
from provenn.trainers._portfolio_turns import Turn
from provenn.trainers.convex import PROVER, Convex, Proving
from provenn.trainers.exact import MilpProof, prover_name

SEARCH_WEIGHT = FAVOURITE_WEIGHT = 2.0
SPARE = 3
"""Threads beyond one for each worker from which the first solver gets them, and not more searches."""

MOST_INPUTS = 40
"""Features that vary; beyond them exact searches over the weights of a neuron take too long."""
FEWEST_GROUPED = 80
TREE_NODES = 100_000
"""Nodes, about a second of work, after which the tree over patterns leaves a problem to the others."""


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
        proving = Proving(record, limits, limits.threads)
        return [Worker(PROVER, lambda turn: proving.work(turn.stopped)) for _ in range(limits.threads)], ""
    own = _engines(problem, record, limits) if names is None else []
    reason = too_large(problem, limits.memory_mb)
    if reason is not None:
        return own, f"{'no solver is asked' if own else 'search alone'}: {reason}"
    solvers = [Solver.create(name) for name in names] if names is not None else _default(problem)
    if own:
        solvers = solvers[:1]
    elif names is None and _groups_help(problem, limits):
        solvers, own = solvers[:1], [_groups_worker(record, limits)]
    _check_installed(solvers)
    spare = limits.threads - len(solvers) - len(own) - 1
    threads = [1 + spare if spare >= SPARE and place == 0 else 1 for place in range(len(solvers))]
    workers = [
        _milp_worker(record, replace(limits, threads=count), solver, FAVOURITE_WEIGHT if place == 0 else 1.0)
        for place, (solver, count) in enumerate(zip(solvers, threads, strict=True))
    ]
    return own + workers, ""


def _check_installed(solvers: Sequence[Solver]) -> None:
    for solver in solvers:
        if not solver.available():
            raise MissingDependencyError(
                f"{type(solver).__name__.lower()} needs {solver.distribution}: pip install {solver.distribution}"
            )


def _engines(problem: Problem, record: Record, limits: Limits) -> list[Worker]:
    """Return the exact engines of this library whose searches over the weights of a neuron can be expected to end."""
    if problem.dataset.live.sum() > MOST_INPUTS:
        return []
    alone, workers = replace(limits, threads=1), list[Worker]()
    if not problem.architecture.hidden and agreement.Agreement.obstacle(problem) is None:
        agreement.compile_kernels()
        return [_own_worker(agreement.PROVER, lambda turn: agreement.prove(record, alone, turn.stopped))]
    if tree.Tree.obstacle(problem) is None:
        tree.compile_kernels()
        few = replace(alone, nodes=min(TREE_NODES, limits.nodes or TREE_NODES))
        workers.append(_own_worker(tree.PROVER, lambda turn: tree.prove(record, few, turn.stopped)))
    if hull.Hull.obstacle(problem) is None:
        hull.compile_kernels()
        workers.append(_own_worker(hull.PROVER, lambda turn: hull.prove(record, alone, turn.stopped)))
    return workers


def _own_worker(name: str, prove: Callable[[Turn], Proof]) -> Worker:
    return Worker(name, lambda turn: _guarded(lambda: prove(turn), turn), FAVOURITE_WEIGHT)


def _default(problem: Problem) -> list[Solver]:
    """Return solvers that complement each other, the likelier winner first; counts are bounded by cores.

    CP-SAT knows no continuous columns.
    """
    loss = problem.loss
    if problem.architecture.continuous:
        return [Solver.create("highs")]
    if _counts(problem):
        return [Solver.create("cpsat", mode="core"), Solver.create("highs")]
    linear = loss.linear or (loss.convex and not problem.architecture.hidden)
    return [Solver.create(name) for name in (("highs", "cpsat") if linear else ("cpsat", "highs"))]


def _counts(problem: Problem) -> bool:
    """Whether the loss counts samples or outputs."""
    loss = problem.loss.loss if isinstance(problem.loss, WorstCase) else problem.loss
    return loss.additive(problem.architecture) and not loss.convex


def _groups_help(problem: Problem, limits: Limits) -> bool:
    """Whether sums over groups of samples are likely to beat a second solver: many samples, and no limit on nodes."""
    many = problem.dataset.n_samples >= FEWEST_GROUPED
    return many and limits.nodes is None and _counts(problem) and obstacle(problem) is None


def _groups_worker(record: Record, limits: Limits) -> Worker:
    solver, alone = Solver.create("cpsat", mode="core"), replace(limits, threads=1)

    def work(turn: Turn) -> Proof:
        return _guarded(lambda: groups.prove(record, alone, turn.stop.is_set, turn.paused), turn)

    return Worker(groups.prover(solver), work, waits=True)


def _milp_worker(record: Record, limits: Limits, solver: Solver, weight: float) -> Worker:
    def work(turn: Turn) -> Proof:
        return _guarded(lambda: MilpProof(solver, record, turn.stop.is_set, turn.paused).run(limits), turn)

    return Worker(prover_name(solver), work, weight, waits=True)


def _guarded(run: Callable[[], Proof], turn: Turn) -> Proof:
    """Wait for the turn and run a solver; what it cannot do is told and ends no training."""
    if turn.stopped():
        return Proof(Status.INTERRUPTED)
    try:
        return run()
    except (CapabilityError, MissingDependencyError, OverflowRiskError, SolverError) as error:
        return Proof(Status.REJECTED, 0, str(error))
    except MemoryError:
        return Proof(Status.MEMORY_LIMIT, 0, "there was no memory to build the model")


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
