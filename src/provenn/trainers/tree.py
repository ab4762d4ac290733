"""Exact training of small networks with hidden layers, by the tree over clusters of activation patterns."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from logging import getLogger
from typing import ClassVar

import numpy as np

from provenn.bounds._network_tree_setup import NetworkProblem, options_of, too_large
from provenn.bounds.network_tree import Prepared, prepare
from provenn.bounds.network_tree import prove as search
from provenn.check_proof import FORBIDDEN
from provenn.formulations import Problem
from provenn.formulations.neuron_count import NeuronCount
from provenn.formulations.norm_price import NormPrice
from provenn.formulations.sparsity import Sparsity
from provenn.losses.hamming import Hamming
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_hinge import MinHinge
from provenn.losses.min_weight import MinWeight
from provenn.losses.sat_margin import SatMargin
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.status import Status
from provenn.trainers._base import Proof, Record
from provenn.trainers._engine import Engine
from provenn.trainers._portfolio_primal import compile_search, improve

PROVER = "tree over activation patterns (provenn)"
LOSSES = {
    Logistic: "logistic",
    MinHinge: "min_hinge",
    SatMargin: "sat_margin",
    MaxCorrect: "max_correct",
    Hamming: "hamming",
    MinWeight: "min_weight",
}
SPARSITY, ABSOLUTE, SQUARE, NEURON = range(4)
UNREACHABLE, QUICK = 2**60, 50_000
ROUNDS, VISITS, SHARE = 10, 100, 0.1


@dataclass(frozen=True)
class Tree(Engine):
    """Prove that no network of a small shape is better, any number of hidden layers, outputs and the usual losses."""

    engine: ClassVar[str] = "tree over activation patterns"
    prover: ClassVar[str] = PROVER

    @staticmethod
    def obstacle(problem: Problem) -> str | None:
        """Say why the engine does not apply to a problem, or None when it does."""
        shape = problem.architecture
        why = _unknown(problem)
        if why is not None:
            return why
        found = task_of(problem)
        if found.prices[NEURON] and len(shape.hidden) > 1:
            return "a price on neurons needs a single hidden layer"
        coupled = bool(found.prices[NEURON]) or found.max_nonzeros is not None or isinstance(problem.loss, MaxCorrect)
        return too_large(shape, problem.dataset, coupled and shape.n_outputs > 1)

    @staticmethod
    def compile() -> None:
        """Compile or load the kernels."""
        compile_kernels()

    @staticmethod
    def work(record: Record, limits: Limits) -> Proof:
        """Prove at once where that is easy, else look for a good network first; see `prove`."""
        nodes = QUICK if limits.nodes is None else min(QUICK, limits.nodes)
        ready = prepare(task_of(record.problem))
        proof = prove(record, replace(limits, nodes=nodes), prepared=ready)
        if proof.status is not Status.NODE_LIMIT or nodes == limits.nodes or record.closed:
            return proof
        look(record, limits)
        return prove(record, limits, prepared=ready)


def _unknown(problem: Problem) -> str | None:
    """Say which part of a problem the tree does not know, or None."""
    shape, loss = problem.architecture, problem.loss
    foreign = [type(c).__name__ for c in problem.constraints if not isinstance(c, Sparsity | NeuronCount | NormPrice)]
    reasons = (
        (not shape.hidden, "the network has no hidden layer"),
        (shape.continuous or any(layer.margin for layer in shape.layers), "the weights are continuous"),
        (type(loss) not in LOSSES, f"it does not know the loss {type(loss).__name__}"),
        (isinstance(loss, SatMargin) and loss.kept_only, "sat_margin with kept_only scales with every network"),
        (bool(foreign), f"it does not know the condition {', '.join(foreign)}"),
    )
    return next((text for holds, text in reasons if holds), None)


def task_of(problem: Problem) -> NetworkProblem:
    """Return a problem without obstacle as the tree knows it."""
    prices = [Fraction(0)] * 4
    limits: tuple[int | None, int | None] = (None, None)
    for constraint in problem.constraints:
        if isinstance(constraint, Sparsity):
            prices[SPARSITY] += constraint.price_unit or 0
            limits = constraint.max_nonzeros, constraint.fan_in
        elif isinstance(constraint, NeuronCount):
            prices[NEURON] += constraint.price_unit or 0
        elif isinstance(constraint, NormPrice):
            prices[ABSOLUTE if constraint.power == 1 else SQUARE] += constraint.price_unit or 0
    loss = problem.loss
    a, b, c, d = prices
    return NetworkProblem(
        problem.architecture, problem.dataset, LOSSES[type(loss)], options_of(loss), (a, b, c, d), *limits
    )


def look(record: Record, limits: Limits) -> None:
    """Anneal from the best network known, round after round, within a share of the time."""
    problem, ends = record.problem, record.elapsed + SHARE * record.remaining(limits).seconds
    units = sum(layer.n_out for layer in problem.architecture.layers)
    compile_search()
    for turn in range(ROUNDS):
        if record.network is None or record.elapsed > ends:
            return
        rng, work = np.random.default_rng([limits.seed, turn]), VISITS * units * 2 ** (turn // 2)
        improve(problem, record.network, rng, work, lambda: record.elapsed > ends, record.offer, turn)


def prove(
    record: Record, limits: Limits, stopped: Callable[[], bool] = lambda: False, prepared: Prepared | None = None
) -> Proof:
    """Run the engine and enter what it finds into the record.

    Parameters
    ----------
    record : Record
    limits : Limits
        The time counts from the record's beginning.
    stopped : callable
        Asked many times a second; True ends the search.
    prepared : pair, optional
        What `prepare` of the engine returned.
    """
    problem, goal = record.problem, UNREACHABLE if record.loss is None else record.loss

    def ended() -> bool:
        return stopped() or record.closed

    never = FORBIDDEN if problem.loss.hard else UNREACHABLE

    def note(bound: int) -> None:
        if bound < never:
            record.raise_bound(bound, PROVER)

    result = search(task_of(problem), goal, record.remaining(limits), ended, note, prepared)
    if result.better is not None:
        record.offer(IntegerNetwork.of(problem.architecture, *result.better, problem.dataset.scale))
    note(result.bound)
    excluded = record.loss is None and result.status is Status.OPTIMAL and result.bound >= never
    return Proof(Status.INFEASIBLE if excluded else result.status, result.nodes)


@cache
def compile_kernels() -> None:
    """Compile or load the kernels on a toy, so that the clock of a training does not count it."""
    began = time.perf_counter()
    data = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    search(NetworkProblem(Architecture.build(2, 2, (2,)), data, "max_correct", {"rule": "argmax"}), 2, Limits())
    getLogger("provenn").info("kernels ready after %.1f s", time.perf_counter() - began)


__all__ = ["PROVER", "Tree", "compile_kernels", "task_of"]
