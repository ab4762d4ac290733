r"""Exact training of the worst case of a convex loss without hidden layers, by the convex engine on lifted data.

For perturbations ``|delta_i| <= R_i`` the worst signed score of a sample is ``t a - sum_i R_i |w_i|``. With
``w = p - n`` and ``p, n >= 0`` it is at least

    t a' = t (x . p - x . n + s b) - sum_i R_i (p_i + n_i),

a neuron over the 2d features ``x_i - t R_i`` and ``-x_i - t R_i``, with equality where ``p_i n_i = 0``. Convex losses
here fall with the signed score and prices count non-zero weights, so that lowering both p_i and n_i costs nothing: some
optimum has ``p_i n_i = 0`` everywhere, and both problems have the same optimum. Bounds carry over as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from provenn.bounds.convex import ConvexProblem, ConvexResult, Neuron, Outside, assisted, minimise
from provenn.formulations import Problem
from provenn.losses._worst_case import WorstCase
from provenn.milp import Event, Limits
from provenn.network import IntegerDomain
from provenn.status import Status
from provenn.trainers._base import Proof, Record
from provenn.trainers._engine import Engine
from provenn.trainers.convex import PROVER, Convex, Proving, _Watcher, compile_kernels, subproblem

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class RobustConvex(Engine):
    """Prove single-layer networks optimal for the worst case of a convex loss in a box around every sample.

    References
    ----------
    The worst case of a linear model as a dual norm: Xu, Caramanis & Mannor, JMLR 10 (2009).

    Examples
    --------
    >>> from provenn.losses.logistic import Logistic
    >>> from provenn.network import Architecture, Dataset
    >>> data = Dataset.merge([[0, 3], [3, 4], [5, 1], [4, 2]], [0, 0, 1, 1])
    >>> problem = Problem(Architecture.build(2, 2), data, WorstCase(Logistic(), (1, 1)))
    >>> result = RobustConvex().train(problem, Limits())
    >>> result.certificate.optimal, result.certificate.loss == problem.value(result.network)
    (True, True)
    """

    engine: ClassVar[str] = "robust convex engine"
    prover: ClassVar[str] = PROVER

    @staticmethod
    def obstacle(problem: Problem) -> str | None:
        """Say why the engine does not apply to a problem, or None when it does."""
        if not isinstance(problem.loss, WorstCase):
            return "the loss is no worst case; its convex losses are a matter of the convex engine"
        if problem.loss.norm != "inf":
            return f"the worst case in norm {problem.loss.norm!r} is not linear in the lifted weights"
        reason = Convex.obstacle(replace(problem, loss=problem.loss.loss))
        if reason is None and not _liftable(problem.architecture.layers[0].weights):
            return "weights that are never 0 and have several sizes cannot be split into two parts"
        return reason

    @staticmethod
    def compile() -> None:
        """Compile or load the kernels."""
        compile_kernels()

    @staticmethod
    def work(record: Record, limits: Limits) -> Proof:
        """Prove; see `prove`."""
        return prove(record, limits, threads=limits.threads)


def prove(record: Record, limits: Limits, stopped: Callable[[], bool] = lambda: False, threads: int = 1) -> Proof:
    """Run the engine on every output; parameters as of `provenn.trainers.convex.prove`."""
    proving = LiftedProving(record, limits, threads)
    with assisted(proving.work, threads - 1, proving.halt):
        proving.work(stopped)
        proving.halt()
    return proving.proof()


def _liftable(domain: IntegerDomain) -> bool:
    """Whether parts p, n on the domain's grid make every weight, or all weights have one size or sign."""
    return domain.has_zero or domain.low >= 0 or domain.high <= 0 or len(set(np.abs(domain.values).tolist())) == 1


@dataclass(frozen=True)
class Lifted:
    """One output as a neuron over lifted data.

    Parameters
    ----------
    neuron : ConvexProblem
    d : int
        Number of features.
    split : bool
        Weights are split into p and n; otherwise ``|w_i|`` is a constant or ``+-w_i``.
    """

    neuron: ConvexProblem
    d: int
    split: bool

    def lower(self, w: NDArray[np.float64] | Integers) -> Integers:
        """Return the network's weights, shape (d,)."""
        w = np.rint(w).astype(np.int64)
        return np.asarray(w[: self.d] - w[self.d :] if self.split else w[: self.d])

    def lift(self, column: Neuron | None) -> Neuron | None:
        """Return the lifted neuron of a network's."""
        if column is None:
            return None
        w, b = column
        if self.split:
            return np.concatenate([np.maximum(w, 0), np.maximum(-w, 0)]), b
        return (np.append(w, 1), b) if len(self.neuron.low) > self.d else column

    def event(self, event: Event) -> Event:
        """Return an event of the lifted search as one of the network's."""
        if event.x is None:
            return event
        size = len(self.neuron.low)
        bias = event.x[size:] if len(event.x) > size else np.zeros(1)
        return replace(event, x=np.concatenate([self.lower(event.x[:size]), bias]))

    def result(self, result: ConvexResult) -> ConvexResult:
        """Return a result of the lifted search as the network's."""
        return result if result.w is None else replace(result, w=self.lower(result.w))


def lifted(plain: ConvexProblem, radius: Integers, domain: IntegerDomain) -> Lifted:
    """Return the lifted problem of one output.

    Parameters
    ----------
    plain : ConvexProblem
        Without perturbations.
    radius : ndarray of shape (d,), int64
    domain : IntegerDomain
        Of the weights.
    """
    X, d, moved = plain.X, len(plain.low), plain.t[:, None] * radius
    if domain.low >= 0 or domain.high <= 0:
        sign = 1 if domain.low >= 0 else -1
        return Lifted(replace(plain, X=X - sign * moved), d, False)
    if domain.has_zero:
        low = np.concatenate([np.maximum(plain.low, 0), np.maximum(-plain.high, 0)])
        high = np.concatenate([np.maximum(plain.high, 0), np.maximum(-plain.low, 0)])
        return Lifted(replace(plain, X=np.hstack([X - moved, -X - moved]), low=low, high=high), d, True)
    constant = -domain.bound * moved.sum(axis=1, keepdims=True)
    low, high = np.append(plain.low, 1), np.append(plain.high, 1)
    return Lifted(replace(plain, X=np.hstack([X, constant]), low=low, high=high, step=plain.step), d, False)


class LiftedProving(Proving):
    """The work of the convex engine on lifted outputs, told in terms of the network."""

    def _lead(self, j: int, stopped: Callable[[], bool]) -> None:
        """Minimise one lifted output with an equal share of the time, and let others help."""
        share, rounds = self.record.remaining(self.limits), -(-(len(self.teams) - j) // self.threads)
        seconds = 0 if self.status is Status.INTERRUPTED else share.seconds / rounds
        part = _part(self.record.problem, j)
        watcher = _LiftedWatcher(_Watcher(self.record, j), part)
        outside = Outside(lambda: stopped() or self.halted, watcher.best, self.teams[j])
        try:
            limits, start = replace(share, seconds=seconds, threads=1), part.lift(self.best[j])
            found = minimise(part.neuron, limits, start, lambda e: self._note(j, part.event(e)), outside=outside)
            self._settle(j, part.result(found))
        finally:
            self.teams[j].end()


class _LiftedWatcher:
    """Returns the lifted column of the record's best network, the same object while that stays."""

    def __init__(self, watcher: _Watcher, part: Lifted) -> None:
        self.watcher, self.part = watcher, part
        self.seen: Neuron | None = None
        self.lifted: Neuron | None = None

    def best(self) -> Neuron | None:
        """Return the column as (w, b)."""
        column = self.watcher.best()
        if column is not self.seen:
            self.seen, self.lifted = column, self.part.lift(column)
        return self.lifted


def _part(problem: Problem, output: int) -> Lifted:
    """Return the lifted problem of one output."""
    loss = problem.loss
    assert isinstance(loss, WorstCase)
    plain = subproblem(replace(problem, loss=loss.loss), output)
    return lifted(plain, np.array(loss.radius, dtype=np.int64), problem.architecture.layers[0].weights)
