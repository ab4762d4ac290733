"""Exact training of networks without hidden layers by branch and bound in weight space."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from logging import getLogger

import numpy as np

from provenn.bounds.convex import ConvexProblem, ConvexResult, Neuron, Outside, minimise
from provenn.errors import CapabilityError
from provenn.formulations import Problem
from provenn.formulations.feature_signs import FeatureSigns
from provenn.formulations.sparsity import Sparsity
from provenn.losses import SeparableLoss
from provenn.losses.logistic import LogisticCurve
from provenn.milp import Event, Limits
from provenn.network import IntegerNetwork
from provenn.status import Status
from provenn.trainers._base import OnProgress, Proof, Record, Trainer, TrainResult

PROVER = "convex branch and bound (provenn)"


@dataclass(frozen=True)
class Convex(Trainer):
    """Prove single-layer networks with a convex loss optimal, one output after the other.

    The outputs are independent problems; the loss and the bound of the network are their
    sums. Each output gets an equal share of the time that is left.
    """

    @staticmethod
    def obstacle(problem: Problem) -> str | None:
        """Say why the engine does not apply to a problem, or None when it does."""
        if problem.architecture.hidden:
            return "the network has hidden layers"
        if not (problem.loss.convex and isinstance(problem.loss, SeparableLoss)):
            return f"the loss {type(problem.loss).__name__} is not convex in the scores"
        foreign = [type(c).__name__ for c in problem.constraints if not isinstance(c, Sparsity | FeatureSigns)]
        if foreign:
            return f"the side constraint {foreign[0]} is not supported"
        if problem.architecture.n_outputs > 1 and any(
            isinstance(c, Sparsity) and c.max_nonzeros is not None for c in problem.constraints
        ):
            return "max_nonzeros couples the outputs; give fan_in, a budget for each output, instead"
        return None

    def train(
        self,
        problem: Problem,
        limits: Limits,
        start: IntegerNetwork | None = None,
        on_progress: OnProgress | None = None,
    ) -> TrainResult:
        """Return the best network with its certificate; see `Trainer.train`."""
        obstacle = self.obstacle(problem)
        if obstacle is not None:
            raise CapabilityError(f"the convex engine does not apply: {obstacle}; choose solver='cpsat' or 'auto'")
        record = Record(problem, on_progress)
        try:
            record.begin(start)
            compile_kernels()
            record.began = time.perf_counter()
            proof = prove(record, limits)
        except KeyboardInterrupt:
            return record.finish(Status.INTERRUPTED, None)
        return record.finish(proof.status, PROVER, proof.nodes, proof.message)


def prove(record: Record, limits: Limits, stopped: Callable[[], bool] = lambda: False) -> Proof:
    """Run the engine on every output and enter what it finds into the record.

    Better networks that others offer to the record in the meantime cut off boxes here, too.

    Parameters
    ----------
    record : Record
    limits : Limits
        The time counts from the record's beginning.
    stopped : callable
        Asked after every node; True ends the search.
    """
    problem = record.problem
    outputs = problem.architecture.n_outputs
    parts = [_subproblem(problem, j) for j in range(outputs)]
    best = [_column(record.network, j) for j in range(outputs)]
    bounds, nodes, status = [0] * outputs, 0, Status.OPTIMAL
    for j, part in enumerate(parts):
        share = record.remaining(limits)
        share = replace(share, seconds=0 if status is Status.INTERRUPTED else share.seconds / (outputs - j))

        def on_event(event: Event, j: int = j) -> None:
            _note(record, best, bounds, j, event)

        outside = Outside(stopped, _Watcher(record, j).best)
        result = minimise(part, share, best[j], on_event, outside=outside)
        nodes += result.nodes
        if result.status is Status.INFEASIBLE:
            return Proof(Status.INFEASIBLE, nodes, "no weights satisfy the side constraints")
        _settle(record, best, bounds, j, result)
        status = _worse(status, result.status)
    return Proof(status, nodes)


@dataclass
class _Watcher:
    """Returns one output's column of the record's best network, the same object while that stays."""

    record: Record
    output: int
    network: IntegerNetwork | None = None
    column: Neuron | None = None

    def best(self) -> Neuron | None:
        """Return the column as (w, b)."""
        if self.record.network is not self.network:
            self.network = self.record.network
            self.column = _column(self.network, self.output)
        return self.column


@cache
def compile_kernels() -> None:
    """Compile or load the kernels on a toy, so that the clock of a training does not count it.

    The first call on a machine compiles, for the better part of a minute; later ones load the
    cache that numba keeps.
    """
    began, one = time.perf_counter(), np.ones(1, dtype=np.int64)
    X, t, pair = np.array([[1], [-1]]), np.array([1, -1]), np.ones(2, dtype=np.int64)
    minimise(ConvexProblem(X, t, pair, LogisticCurve(1.0), 1, -one, one, bias=(-1, 1, 1)), Limits())
    getLogger("provenn").info("kernels ready after %.1f s", time.perf_counter() - began)


def _worse(before: Status, after: Status) -> Status:
    """Keep an interruption, else the first reason for stopping early."""
    return after if before is Status.OPTIMAL or after is Status.INTERRUPTED else before


def _subproblem(problem: Problem, output: int) -> ConvexProblem:
    """Return the problem of one output: boxes from domain, dead inputs and signs, price and budget from sparsity."""
    data, layer = problem.dataset, problem.architecture.layers[0]
    assert isinstance(problem.loss, SeparableLoss)
    low = np.full(data.n_features, layer.weights.low, dtype=np.int64)
    high = np.full(data.n_features, layer.weights.high, dtype=np.int64)
    price, budget = 0, None
    for constraint in problem.constraints:
        if isinstance(constraint, FeatureSigns):
            signs = np.array(constraint.signs)
            low[signs > 0], high[signs < 0] = 0, 0
        elif isinstance(constraint, Sparsity):
            if constraint.price_unit is not None:
                price += int(constraint.price_unit / problem.unit)
            limits = [b for b in (budget, constraint.max_nonzeros, constraint.fan_in) if b is not None]
            budget = min(limits, default=None)
    if layer.weights.has_zero:
        low[~data.live], high[~data.live] = 0, 0
    bias = (layer.bias.low, layer.bias.high, layer.bias.step) if layer.bias is not None else None
    return ConvexProblem(
        X=data.X,
        t=data.targets(problem.architecture.n_outputs)[:, output],
        multiplicity=data.multiplicity * int(problem.loss_unit / problem.unit),
        curve=problem.loss.curve(problem.architecture, data),
        scale=data.scale,
        low=low,
        high=high,
        step=layer.weights.step,
        bias=bias,
        price=price,
        max_nonzeros=budget,
    )


def _column(network: IntegerNetwork | None, output: int) -> Neuron | None:
    if network is None:
        return None
    return network.weights[0][:, output].copy(), int(network.biases[0][output])


def _note(record: Record, best: list[Neuron | None], bounds: list[int], output: int, event: Event) -> None:
    """Enter an event of one output into the record of the whole network."""
    if event.x is not None:
        x = np.rint(event.x).astype(np.int64)
        _offer(record, best, output, (x[:-1], int(x[-1])))
    if event.bound is not None and event.bound > bounds[output]:
        bounds[output] = int(event.bound)
        record.raise_bound(sum(bounds), PROVER)


def _settle(record: Record, best: list[Neuron | None], bounds: list[int], output: int, result: ConvexResult) -> None:
    """Enter the final answer of one output."""
    if result.w is not None:
        best[output] = (result.w, result.b)
        _offer(record, best, output, best[output])
    bounds[output] = max(bounds[output], result.bound)
    record.raise_bound(sum(bounds), PROVER)


def _offer(record: Record, best: list[Neuron | None], output: int, part: Neuron | None) -> None:
    """Offer the network that has the given parameters at one output and the best known ones elsewhere."""
    parts = [part if j == output else known for j, known in enumerate(best)]
    if all(p is not None for p in parts):
        known = [p for p in parts if p is not None]
        W, b = np.column_stack([w for w, _ in known]), np.array([b for _, b in known])
        record.offer(IntegerNetwork.of(record.problem.architecture, [W], [b], record.problem.dataset.scale))
