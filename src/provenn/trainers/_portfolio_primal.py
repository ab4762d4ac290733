"""The searching side of a portfolio: rounds of local search from good and from new places."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from threading import Event

import numpy as np

from provenn.formulations import Problem
from provenn.formulations.neuron_count import NeuronCount
from provenn.formulations.sparsity import Sparsity
from provenn.losses._worst_case import WorstCase
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.search import coordinate_search
from provenn.search.descent import descend
from provenn.search.local_search import Annealing, Prices, local_search, obstacle
from provenn.status import Status
from provenn.trainers import robust_search
from provenn.trainers._base import Proof, Record
from provenn.trainers._mirrored import mirrored, single_output_problem
from provenn.trainers._portfolio_turns import Turn
from provenn.trainers._start import deepen_a_single_layer

WORK_PER_NODE = 20
LONGEST_ROUND = 2**12
FIRST_ROUND = 4e8
SWEEPS = (10, 100)
NEW_PLACE = 4
FIRST_LOOK, LONGEST_LOOK = 0.5, 16.0
BROKEN = 10**15
HOTTEST = (2.0, 0.3)
"""Temperatures at which annealing begins, round after round."""

Stopped = Callable[[], bool]
Offer = Callable[[IntegerNetwork], object]


@dataclass
class Primal:
    """Search in rounds until stopped, each with more work and its own random numbers.

    The state that a later run needs to go on is the number of rounds: round r of a seed always
    draws the same numbers.

    Parameters
    ----------
    record : Record
    limits : Limits
        Of the seconds nothing is used here: who runs this stops it. Under a limit on nodes the work
        is limited too, and the result repeats.
    opened : Event
        Set when provers have a good network to begin with: after the start, on one thread after the
        first round.
    number : int
        Which of several searches this is; the first makes the start.
    rounds : int
        Rounds that are done.
    """

    record: Record
    limits: Limits
    opened: Event
    number: int = 0
    rounds: int = 0

    def work(self, turn: Turn) -> Proof:
        """Search until the turn is stopped or the work is done."""
        nodes = self.limits.nodes
        left = None if nodes is None else WORK_PER_NODE * nodes
        if self.number == 0 and self.rounds == 0 and left != 0:
            self._start(turn.stopped)
        if self.limits.threads > 1:
            self.opened.set()
        while (left is None or left > 0) and not turn.stopped():
            work = self._work_of_round() if left is None else min(left, self._work_of_round())
            self._round(work, turn.stopped)
            self.opened.set()
            self.rounds += 1
            left = None if left is None else left - work
        return Proof(Status.NODE_LIMIT if left == 0 else Status.INTERRUPTED)

    def _start(self, stopped: Stopped) -> None:
        """Offer a first network."""
        problem = self.record.problem
        nominal = not isinstance(problem.loss, WorstCase)
        if problem.architecture.continuous and problem.architecture.hidden and nominal:
            rng = np.random.default_rng([self.limits.seed, self.number])
            self.record.offer(coordinate_search.start_network(problem, rng))
        else:
            deepen_a_single_layer(self.record, self.limits, stopped)

    def _work_of_round(self) -> int:
        """Return visits of units: a moment's work in the first rounds, twice as much in every second one."""
        problem = self.record.problem
        units = sum(layer.n_out for layer in problem.architecture.layers)
        sweeps = FIRST_ROUND / (problem.dataset.X.size * units)
        return int(min(LONGEST_ROUND, 2 ** (self.rounds // 2)) * units * np.clip(sweeps, *SWEEPS))

    def _round(self, work: int, stopped: Stopped) -> None:
        rng = np.random.default_rng([self.limits.seed, self.number, self.rounds])
        best, problem = self.record.network, self.record.problem
        if best is None:
            _repair(self.record, rng, work, stopped)
            return
        improve(problem, best, rng, work, stopped, self.record.offer, self.rounds)


@cache
def compile_search() -> None:
    """Compile or load the kernels of the annealing on a toy, so that the clock of a training does not count it."""
    data = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    start = IntegerNetwork.constant(Architecture.build(2, 2, (2,)), 0)
    for loss in (Logistic(), MaxCorrect()):
        local_search(start, data, loss, np.random.default_rng(0), 1)


def make_ready(problem: Problem) -> None:
    """Compile or load the kernels that the search of a problem uses."""
    if robust_search.goal_of(problem) is not None:
        robust_search.compile_kernels()
    elif problem.architecture.continuous and coordinate_search.supported(problem):
        coordinate_search.compile_kernels()
    else:
        compile_search()


def improve(
    problem: Problem,
    start: IntegerNetwork,
    rng: np.random.Generator,
    work: int,
    stopped: Stopped,
    offer: Offer,
    turn: int,
) -> None:
    """Search from a feasible network by annealing, or by what applies where the annealing does not.

    Perturbations have a search of their own, which counts seconds and not work; continuous weights
    and losses that the annealing does not know are searched along coordinates, all else by descent.

    Annealing that begins hot forgets where it came from, cool annealing looks around; they take turns.

    Parameters
    ----------
    problem : Problem
    start : IntegerNetwork
    rng : Generator
    work : int
        Visits of units by the annealing, or evaluations of the objective by the descent.
    stopped, offer : callable
    turn : int
        Chooses the first temperature.
    """
    single = single_output_problem(problem)
    if single is not None:
        shape = problem.architecture

        def hear(network: IntegerNetwork) -> None:
            offer(mirrored(network, shape))

        improve(single, _random(single, rng), rng, work, stopped, hear, 0)
        return
    if robust_search.goal_of(problem) is not None:
        seconds = min(LONGEST_LOOK, FIRST_LOOK * 2.0 ** (turn // 2))
        robust_search.improve(problem, start, seconds, int(rng.integers(2**31)), stopped, offer)
        return
    prices = _prices(problem)
    if prices is None or obstacle(problem.architecture, problem.dataset, problem.loss) is not None:
        if coordinate_search.supported(problem):
            coordinate_search.improve(problem, start, rng, work=work, stopped=stopped, offer=offer)
        else:
            descend(start, problem.value, rng, work, stopped, offer)
        return
    local_search(
        start, problem.dataset, problem.loss, rng, work,
        annealing=Annealing(hot=HOTTEST[turn % len(HOTTEST)]), prices=prices, stopped=stopped, on_better=offer,
    )  # fmt: skip


def _prices(problem: Problem) -> Prices | None:
    """Return prices and budgets as the annealing takes them; None where a constraint is of another kind."""
    prices = Prices()
    for constraint in problem.constraints:
        price = 0.0 if constraint.price_unit is None else float(constraint.price_unit / problem.loss_unit)
        if isinstance(constraint, Sparsity):
            prices = replace(
                prices,
                nonzero=prices.nonzero + price,
                max_nonzeros=_least(prices.max_nonzeros, constraint.max_nonzeros),
                fan_in=_least(prices.fan_in, constraint.fan_in),
            )
        elif isinstance(constraint, NeuronCount):
            prices = replace(prices, neuron=prices.neuron + price)
        else:
            return None
    return prices


def _least(one: int | None, other: int | None) -> int | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _random(problem: Problem, rng: np.random.Generator) -> IntegerNetwork:
    """Draw a network, without weights on features that are constant in training."""
    network = IntegerNetwork.random(problem.architecture, rng, problem.dataset.scale)
    if not problem.architecture.layers[0].weights.has_zero:
        return network
    first = np.where(problem.dataset.live[:, None], network.weights[0], 0)
    return replace(network, weights=(first, *network.weights[1:]))


def _repair(record: Record, rng: np.random.Generator, work: int, stopped: Stopped) -> None:
    """Look for a first network that satisfies a hard loss: reduce the number of outputs with the wrong sign.

    Every hard condition is a condition on the signs of the outputs, so that a network without
    wrong signs is feasible.
    """
    problem = record.problem
    data, positive = problem.dataset, problem.dataset.targets(problem.architecture.n_outputs) > 0

    def broken(network: IntegerNetwork) -> int | None:
        if not all(constraint.admits(network) for constraint in problem.constraints):
            return None
        value = problem.value(network)
        wrong = int(((network.scores(data.X) >= 0) != positive).sum())
        return BROKEN * wrong if value is None else min(0, value)

    starts = [_random(problem, rng) for _ in range(NEW_PLACE)]
    starts.append(IntegerNetwork.constant(problem.architecture, 0, data.scale))
    rated = [(wrong, place) for place, network in enumerate(starts) if (wrong := broken(network)) is not None]
    if rated:
        descend(starts[min(rated)[1]], broken, rng, work, stopped, record.offer)
