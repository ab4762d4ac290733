"""Iterative data splitting: samples share their activations in parts, which are split where the loss is."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

import numpy as np

from provenn.errors import CapabilityError, InputError
from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.network import IntegerNetwork
from provenn.solvers import Solver
from provenn.status import Status
from provenn.trainers._base import OnProgress, Proof, Record, Trainer, TrainResult
from provenn.trainers._splitting_lines import refitted
from provenn.trainers._splitting_rounds import Round, Rounds
from provenn.trainers._splitting_settle import settled
from provenn.trainers._splitting_start import linear_starts
from provenn.trainers._start import warm_up
from provenn.trainers.exact import prover_name

START_SHARE = 0.2

__all__ = ["Round", "Splitting", "SplittingResult"]


@dataclass(frozen=True)
class SplittingResult(TrainResult):
    """What data splitting found.

    Parameters
    ----------
    rounds : tuple of Round
        Parts, binaries, members, loss and seconds of every round.
    """

    rounds: tuple[Round, ...] = ()


@dataclass(frozen=True)
class Splitting(Trainer):
    """Solve the training MIP with one activation pattern a part of the samples, and split parts until it is exact.

    All samples of a part share the activations of the first hidden layer, so that binaries count
    parts and not samples. Each round solves this model from the best network, judges every network on
    all samples, and splits the parts with the largest loss in two by k-means.

    Parameters
    ----------
    solver : Solver, optional
        By default highs for continuous weights and cpsat for integers.
    max_parts : int, optional
        By default until every part is a single point: then the model is the exact one, and proves.
    per_class : bool
        Start from one part a class instead of one part.
    batch_size : int, optional
        Samples, drawn anew in each round, that must share activations with their part; by default all.
        Each thread takes a sample of its own.
    growth : float
        Parts split in a round, as a share of those that there are; at least one.
    seconds_per_round : float
    hear : callable, optional
        Gets the network that each restricted model ends with, better or not.

    References
    ----------
    Kurtz & Bah, arXiv 2110.11382.

    Examples
    --------
    >>> from provenn.losses.max_correct import MaxCorrect
    >>> from provenn.network import Architecture, Dataset
    >>> data = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    >>> xor = Problem(Architecture.build(2, 2, hidden=(2,)), data, MaxCorrect())
    >>> result = Splitting().train(xor, Limits(seconds=60))
    >>> result.certificate.loss, result.certificate.optimal
    (0, True)
    """

    solver: Solver | None = None
    max_parts: int | None = None
    per_class: bool = True
    batch_size: int | None = None
    growth: float = 1.0
    seconds_per_round: float = 5.0
    hear: Callable[[IntegerNetwork], None] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check counts and shares."""
        for name, least in (("max_parts", self.max_parts), ("batch_size", self.batch_size)):
            if least is not None and least < 1:
                raise InputError(f"{name} must be at least 1, got {least}")
        if not 0 <= self.growth <= 1:
            raise InputError(f"growth must lie in 0..1: no part is split twice in a round, got {self.growth}")
        if not self.seconds_per_round > 0:
            raise InputError(f"seconds_per_round must be above 0, got {self.seconds_per_round}")

    def showing(self, hear: Callable[[IntegerNetwork], None]) -> "Splitting":
        """Return the trainer that also shows the network of every restricted model, better or not."""
        return replace(self, hear=hear)

    @staticmethod
    def obstacle(problem: Problem) -> str | None:
        """Say why data splitting does not apply to a problem, or None when it does."""
        if not problem.architecture.hidden:
            return "there is no hidden layer whose activations samples could share"
        if not problem.loss.additive(problem.architecture):
            return "the loss is no sum over the samples"
        return None if problem.loss.has_milp else "the loss has no MILP"

    def train(
        self,
        problem: Problem,
        limits: Limits,
        start: IntegerNetwork | None = None,
        on_progress: OnProgress | None = None,
    ) -> SplittingResult:
        """Return the best network with its certificate; see `Trainer.train`.

        Raises
        ------
        CapabilityError
            When `obstacle` has an answer, or the solver takes no such models.
        InputError
            When there are more parts than samples, or the rounds could not end.
        """
        solver = self._solver(problem)
        self._check(problem, limits, solver)
        _load()
        record = Record(problem, on_progress)
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("solver", "hear")}
        rounds = Rounds(record, limits, solver, **options)
        if self.hear is not None:
            rounds.hear = self.hear
        try:
            _begin(record, limits, start)
            proof = rounds.run()
        except KeyboardInterrupt:
            proof = Proof(Status.INTERRUPTED, rounds.nodes)
        return _result(rounds, proof)

    def _solver(self, problem: Problem) -> Solver:
        if self.solver is not None:
            return self.solver
        return Solver.create("highs" if problem.architecture.continuous else "cpsat")

    def _check(self, problem: Problem, limits: Limits, solver: Solver) -> None:
        """Refuse what does not fit, before any work."""
        reason = self.obstacle(problem)
        if reason is not None:
            raise CapabilityError(f"data splitting does not apply: {reason}; choose another method")
        if problem.architecture.continuous and "continuous" not in solver.capabilities:
            raise CapabilityError("the solver takes no continuous weights; use highs, scip or gurobi")
        n, classes = problem.dataset.n_samples, len(np.unique(problem.dataset.y))
        most, fewest = self.max_parts, classes if self.per_class else 1
        if most is not None and most > n:
            raise InputError(f"more parts than samples: max_parts is {most}, and there are {n} distinct samples")
        if most is not None and most < fewest:
            raise InputError(f"max_parts is {most}, and there is a part for each of {classes} classes to start with")
        if most is not None and most < n and limits.seconds == float("inf") and limits.nodes is None:
            raise InputError("with max_parts the rounds do not end by themselves: give a time limit")


def _load() -> None:
    """Import what takes seconds, before the clock starts."""
    import sklearn.cluster
    import sklearn.linear_model  # noqa: F401


def _begin(record: Record, limits: Limits, start: IntegerNetwork | None) -> None:
    """Offer the given start, constant networks, and what is soon found without splitting."""
    record.begin(start)
    problem = record.problem
    if not problem.architecture.continuous:
        warm_up(record, limits)
        return
    for network in linear_starts(problem.architecture, problem.dataset):
        record.offer(settled(network, problem.dataset.X))
        if record.elapsed > START_SHARE * limits.seconds:
            break
    if record.network is not None:
        record.offer(settled(refitted(record.network, problem), problem.dataset.X))


def _result(rounds: Rounds, proof: Proof) -> SplittingResult:
    """Certify, and say how small the models were."""
    prover = rounds.record.proved_by or prover_name(rounds.solver)
    trusted = proof.status is not Status.REJECTED
    failed = f"{rounds.rejected} answers of the solver failed the exact check" if rounds.rejected else ""
    message = "; ".join(part for part in (summary(rounds), failed, proof.message) if part)
    result = rounds.record.finish(proof.status, prover if rounds.proved else None, proof.nodes, message, trusted)
    return SplittingResult(
        **{f.name: getattr(result, f.name) for f in fields(TrainResult)}, rounds=tuple(rounds.figures)
    )


def summary(rounds: Rounds) -> str:
    """Return one line on rounds, parts and binaries."""
    if not rounds.figures:
        return ""
    last, problem = rounds.figures[-1], rounds.problem
    every = problem.dataset.n_samples * sum(problem.architecture.hidden)
    count = len(rounds.figures)
    return (
        f"{count} round{'s' * (count != 1)}, {last.parts:,} part{'s' * (last.parts != 1)}, "
        f"{last.binaries:,} activation binaries instead of {every:,}"
    )
