"""Alternating local search: the first layer and the later ones are improved in turn, in the end exactly."""

import time
from dataclasses import dataclass

import numpy as np

from provenn.errors import CapabilityError, InputError
from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.network import IntegerNetwork
from provenn.registry import load, names
from provenn.search.coordinate_search import compile_kernels, start_network
from provenn.solvers import Solver
from provenn.status import Status
from provenn.trainers import agreement, convex
from provenn.trainers._alternating_blocks import Sides
from provenn.trainers._base import OnProgress, Record, Trainer, TrainResult
from provenn.trainers._portfolio_size import too_large

RESTARTS = 20
TOGETHER, EXACTLY = 1, 2
LONGER = 4
WORTH = 1e-3
PROVER = "range of the objective (provenn)"


@dataclass(frozen=True)
class Alternating(Trainer):
    r"""Fix the later layers and improve the first with its activations; fix the activations and improve the rest.

    With W the parameters of the first layer, V all others and u(W) the activations of the first layer,

    .. math:: W' \in \arg\min_W L(u(W), V), \qquad V' \in \arg\min_V L(u(W'), V),

    until a round improves nothing. Both blocks are searched first (`provenn.search.coordinate_search`). When that
    stalls, all layers are searched together, and when that stalls at a network that is as good as any so far, both
    blocks are solved: one hidden unit after the other by the agreement engine, an output layer by the convex or the
    agreement engine, anything else as a MILP in which the products of weights and activations are linear. No round
    makes a network worse by its exact objective. Further starts are random.

    Parameters
    ----------
    solver : Solver, optional
        By default the one that proves such models fastest.
    restarts : int, optional
        Starts after the first, at least 0. By default as many as the limits allow, and 20 where there are no limits.
    max_rounds : int
        Rounds of a start, at most.
    visits : int
        Visits that every unit gets in the search of a block; in that of all layers four times as many.
    block_seconds : float
        Time limit of an exact block.

    References
    ----------
    Kurtz & Bah, arXiv 2110.11382, section 4.1.

    Examples
    --------
    >>> from provenn.losses.max_correct import MaxCorrect
    >>> from provenn.network import Architecture, Dataset, IntegerDomain
    >>> data = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    >>> shape = Architecture.build(2, 2, (2,), IntegerDomain.continuous(), activation="step")
    >>> result = Alternating().train(Problem(shape, data, MaxCorrect()), Limits(seconds=60))
    >>> result.certificate.loss, result.certificate.bound
    (0, 0)
    """

    solver: Solver | None = None
    restarts: int | None = None
    max_rounds: int = 50
    visits: int = 100
    block_seconds: float = 2.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if min(self.restarts or 0, self.max_rounds - 1, self.visits - 1) < 0 or not self.block_seconds > 0:
            raise InputError("restarts must be at least 0, max_rounds and visits at least 1, block_seconds above 0")

    def obstacle(self, problem: Problem) -> str | None:
        """Say why the alternation does not apply to a problem, or None when it does."""
        if not problem.architecture.hidden:
            return "the network has no hidden layer; choose solver='auto'"
        if not problem.loss.has_milp:
            return f"the loss {type(problem.loss).__name__} has no MILP; choose loss='logistic' or loss='max_correct'"
        if problem.architecture.continuous and self.solver and "continuous" not in self.solver.capabilities:
            name = type(self.solver).__name__.lower()
            return f"{name} takes no continuous weights; choose the solver {' or '.join(_continuous())}"
        return None

    def train(
        self,
        problem: Problem,
        limits: Limits,
        start: IntegerNetwork | None = None,
        on_progress: OnProgress | None = None,
    ) -> TrainResult:
        """Return the best network; see `Trainer.train`.

        There is a bound only where the objective reaches a value that no network goes below. Under a limit on nodes,
        which counts visits of the search too, and without one on time that is met, the result is a function of the
        seed.
        """
        reason = self.obstacle(problem)
        if reason is not None:
            raise CapabilityError(f"the alternation does not apply: {reason}")
        record, message = Record(problem, on_progress), ""
        try:
            record.begin(start)
            _compile(record)
            status, message = self._run(record, limits, start)
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        if record.loss is not None and problem.floor is not None and record.loss <= problem.floor:
            record.raise_bound(problem.floor)
        return record.finish(status, PROVER, message=message)

    def _run(self, record: Record, limits: Limits, start: IntegerNetwork | None) -> tuple[Status, str]:
        """Alternate from the given network, then from random ones."""
        problem, rng = record.problem, np.random.default_rng(limits.seed)
        size, ended, number = too_large(problem, limits.memory_mb), 0, 0
        sides = Sides(record, limits, self.solver, self.block_seconds, size is None, rng)
        while not sides.over and number <= self._most(limits):
            network = record.network if number == 0 and start is not None else None
            ended += self._alternate(sides, network or start_network(problem, rng))
            number += 1
        message = f"{ended} of {number} starts ended in networks that no block improves"
        message += "" if record.loss is not None else ", none satisfied the hard conditions: give a start that does"
        status = Status.TIME_LIMIT if record.elapsed >= limits.seconds else Status.NODE_LIMIT
        return status, message if size is None else f"{message}; searched only: {size}"

    def _most(self, limits: Limits) -> float:
        """Return the starts after the first."""
        if self.restarts is not None:
            return self.restarts
        return RESTARTS if limits.nodes is None and np.isinf(limits.seconds) else np.inf

    def _alternate(self, sides: Sides, network: IntegerNetwork) -> bool:
        """Improve both sides in turn, by ever stronger rounds while they stall; whether that came to its end."""
        strength = 0
        for _ in range(self.max_rounds):
            before = sides.problem.value(network)
            network = self._round(sides, network, strength)
            if sides.over:
                return False
            value = sides.problem.value(network)
            strength = strength + 1 if _stalled(before, value, strength) else 0
            if strength > EXACTLY or (strength == EXACTLY and (value is None or value != sides.record.loss)):
                return strength > EXACTLY
        return False

    def _round(self, sides: Sides, network: IntegerNetwork, strength: int) -> IntegerNetwork:
        """Search the first layer and the others in turn, search them together, or solve for one and the others."""
        every = tuple(range(len(network.weights)))
        if strength == TOGETHER:
            return sides.searched(network, every, LONGER * self.visits)
        for layers in (every[:1], every[1:]):
            if not sides.over:
                network = (
                    sides.solved(network, layers == every[:1])
                    if strength
                    else sides.searched(network, layers, self.visits)
                )
        return network


def _stalled(before: int | None, value: int | None, strength: int) -> bool:
    """Whether a round did not gain enough for another one of its kind; after an exact one every gain is enough."""
    if value is None or before is None:
        return value is None
    least = 1 if strength == EXACTLY else max(1, WORTH * abs(before))
    return before - value < least


def _compile(record: Record) -> None:
    """Make the kernels ready, and set the record's clock, which does not count that."""
    compile_kernels()
    agreement.compile_kernels()
    if record.problem.loss.convex:
        convex.compile_kernels()
    record.began = time.perf_counter()


def _continuous() -> list[str]:
    """Return the names of the solvers that take continuous columns."""
    return [name for name in names("provenn.solvers") if "continuous" in load("provenn.solvers", name).capabilities]
