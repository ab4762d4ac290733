"""The contract of a trainer and what it returns."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil
from threading import RLock

import numpy as np

from provenn.errors import InputError
from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.network import Certificate, IntegerNetwork
from provenn.status import Status


@dataclass(frozen=True)
class Progress:
    """Best loss and bound known after an improvement; losses are in the problem's units.

    Parameters
    ----------
    seconds : float
        Time since training began.
    loss : int or None
        Exact objective of the best network so far.
    bound : int or None
        Proven lower bound so far.
    network : IntegerNetwork or None
        The network behind `loss`.
    """

    seconds: float
    loss: int | None
    bound: int | None
    network: IntegerNetwork | None


SAME_MOMENT = 0.05
FLOAT_ERROR = 1e-6
OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class TrainResult:
    """What training found.

    Parameters
    ----------
    network : IntegerNetwork or None
        The best network, None when there is no feasible one at hand.
    certificate : Certificate or None
        What is proven about it.
    status : Status
        Why training stopped.
    history : tuple of Progress
        Every improvement; losses fall and bounds rise.
    seconds : float
    nodes : int
    message : str
        What a person should know beyond the status.
    """

    network: IntegerNetwork | None
    certificate: Certificate | None
    status: Status
    history: tuple[Progress, ...]
    seconds: float
    nodes: int = 0
    message: str = ""


class Trainer(ABC):
    """Trains networks for a problem; subclasses are frozen dataclasses, one a file."""

    @abstractmethod
    def train(
        self,
        problem: Problem,
        limits: Limits,
        start: IntegerNetwork | None = None,
        on_progress: OnProgress | None = None,
    ) -> TrainResult:
        """Return a network that is never worse than `start`, with its certificate.

        Parameters
        ----------
        problem : Problem
        limits : Limits
        start : IntegerNetwork, optional
            A network of the problem's architecture to begin with.
        on_progress : callable, optional
            Called with a `Progress` at every improvement.

        Raises
        ------
        InputError
            When the trainer cannot treat the problem, before any work.
        """


@dataclass
class Record:
    """Keeps the best network and bound during training, and tells the listener of every improvement.

    Any thread may offer networks and bounds. The listener hears of improvements in order and never
    from two threads at once.

    Parameters
    ----------
    problem : Problem
    on_progress : callable, optional
    began : float
        `time.perf_counter()` when the clock started.
    earlier : float
        Seconds that went before, in a run that this one resumes.
    loss, bound, network, history
        What is known.
    claims : dict
        The bound of every prover that gave its name.
    """

    problem: Problem
    on_progress: OnProgress | None = None
    began: float = field(default_factory=time.perf_counter)
    earlier: float = 0.0
    loss: int | None = None
    bound: int | None = None
    network: IntegerNetwork | None = None
    history: list[Progress] = field(default_factory=list)
    claims: dict[str, int] = field(default_factory=dict)
    lock: AbstractContextManager[bool] = field(default_factory=RLock, repr=False)

    @property
    def seconds(self) -> float:
        """Time since training began, with that of the runs before."""
        return self.earlier + self.elapsed

    @property
    def elapsed(self) -> float:
        """Time since this run began."""
        return time.perf_counter() - self.began

    @property
    def closed(self) -> bool:
        """Whether the bound reaches the loss: both are integers, so nothing better is left."""
        with self.lock:
            return self.loss is not None and self.bound is not None and self.bound >= self.loss

    @property
    def proved_by(self) -> str | None:
        """Name of the prover whose claim is the bound."""
        with self.lock:
            return next((name for name, claim in self.claims.items() if claim == self.bound), None)

    def remaining(self, limits: Limits) -> Limits:
        """Return the limits with the time that is left."""
        return replace(limits, seconds=max(0.0, limits.seconds - self.elapsed))

    def begin(self, start: IntegerNetwork | None) -> None:
        """Take the better of the given start and the best constant network."""
        problem = self.problem
        if start is not None:
            if start.architecture != problem.architecture or start.scale != problem.dataset.scale:
                raise InputError("the start network has another architecture, weight domain or scale than the problem")
            self.offer(_without_dead_inputs(start, problem))
        for favoured in range(problem.architecture.n_classes):
            self.offer(IntegerNetwork.constant(problem.architecture, favoured, problem.dataset.scale))

    def offer(self, network: IntegerNetwork) -> int | None:
        """Evaluate a network exactly and keep it if it is the best; returns its objective."""
        value = self.problem.value(network)
        with self.lock:
            if value is not None and (self.loss is None or value < self.loss):
                self.loss, self.network = value, network
                self._tell()
        return value

    def raise_bound(self, bound: int | None, prover: str | None = None) -> None:
        """Note a proven lower bound, and whose claim it is."""
        if bound is None:
            return
        with self.lock:
            if prover is not None:
                self.claims[prover] = max(bound, self.claims.get(prover, bound))
            if self.bound is None or bound > self.bound:
                self.bound = bound
                self._tell()

    def withdraw(self, prover: str) -> None:
        """Forget what a prover claimed, in the history too: no bound there exceeds those that remain."""
        with self.lock:
            self.claims.pop(prover, None)
            self.bound = max(self.claims.values(), default=None)
            self.history = [replace(entry, bound=_lower(entry.bound, self.bound)) for entry in self.history]

    def _tell(self) -> None:
        """Tell the listener and add to the history, where a quick run of bounds leaves only its last."""
        progress = Progress(self.seconds, self.loss, self.bound, self.network)
        before = self.history[-1] if self.history else None
        if before is not None and before.loss == progress.loss and progress.seconds - before.seconds < SAME_MOMENT:
            self.history.pop()
        self.history.append(progress)
        if self.on_progress is not None:
            self.on_progress(progress)

    def finish(
        self, status: Status, proved_by: str | None, nodes: int = 0, message: str = "", trusted: bool = True
    ) -> TrainResult:
        """Certify the best network.

        Parameters
        ----------
        trusted : bool
            False withholds the bound: what the engine claimed failed an exact check.
        """
        bound = self.bound if trusted else None
        if bound is not None and self.loss is not None and bound > self.loss:
            bound, trusted, status = None, False, Status.REJECTED
            message = f"the claimed bound {self.bound} exceeds the exact loss {self.loss} of a network; {message}"
        certificate = None
        if self.loss is not None:
            prover = proved_by if bound is not None else None
            certificate = Certificate(True, self.loss, bound, self.problem.unit, trusted, Fraction(0), prover)
            if certificate.optimal:
                status = Status.OPTIMAL
            elif status is Status.OPTIMAL:
                status = Status.TOLERANCE
        return TrainResult(
            self.network, certificate, status, tuple(self.history), self.seconds, nodes, message.strip("; ")
        )


@dataclass(frozen=True)
class Proof:
    """How the work of a prover on a record ended.

    Parameters
    ----------
    status : Status
    nodes : int
    message : str
    """

    status: Status
    nodes: int = 0
    message: str = ""


def _without_dead_inputs(network: IntegerNetwork, problem: Problem) -> IntegerNetwork:
    """Zero the weights of features that are constant in training, as every model of the problem does."""
    if not problem.architecture.layers[0].weights.has_zero:
        return network
    first = np.where(problem.dataset.live[:, None], network.weights[0], 0)
    return replace(network, weights=(first, *network.weights[1:]))


def _lower(one: int | None, other: int | None) -> int | None:
    """Return the smaller of two bounds, None where either is missing."""
    return None if one is None or other is None else min(one, other)


def whole_bound(bound: float | None, exact: bool) -> int | None:
    """Round a solver's bound up to whole units.

    The bound of a solver that computes in floats is first lowered by a millionth of its
    size: such solvers were seen to cut off networks that are better by less than that.
    """
    if bound is None or not abs(bound) < 2**62:
        return None
    return ceil(bound - 1e-6 - (0.0 if exact else FLOAT_ERROR * abs(bound)))
