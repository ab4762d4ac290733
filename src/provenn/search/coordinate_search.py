"""Annealed search that redraws one parameter after the other from its exact loss, on integers and continuous boxes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError
from provenn.formulations import Problem
from provenn.losses.sat_margin import SatMargin
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.search._coordinate_generic import improve_any
from provenn.search._coordinate_kernels import sweep, total_loss, typical_effect, weigh_hidden
from provenn.search._coordinate_refit import refitted
from provenn.search._coordinate_start import start_network
from provenn.search._coordinate_state import State, network_of, setting_of, state_of, supported

FIRST_CYCLE, LONGEST_CYCLE = 40, 5000
QUENCH, REFITS = 12, 4
Floats = NDArray[np.float64]
OnNetwork = Callable[[IntegerNetwork], object]


@dataclass(frozen=True)
class Cooling:
    """How a cycle of the search cools.

    Parameters
    ----------
    hot, cold : float
        First and last temperature, in multiples of the mean effect of one activation on the loss. In between it
        falls geometrically, and at the end only what is not worse counts.
    lines : int
        Lines that one visit of a unit searches, at most.
    """

    hot: float = 4.0
    cold: float = 0.1
    lines: int = 32

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.hot >= self.cold > 0:
            raise InputError(f"cooling needs hot >= cold > 0, got {self.hot} and {self.cold}")
        if self.lines < 1:
            raise InputError(f"a visit searches at least 1 line, got {self.lines}")


def improve(
    problem: Problem,
    start: IntegerNetwork,
    rng: np.random.Generator,
    *,
    work: int | None = None,
    seconds: float = float("inf"),
    layers: tuple[int, ...] | None = None,
    cooling: Cooling = Cooling(),
    stopped: Callable[[], bool] = lambda: False,
    offer: OnNetwork = lambda network: None,
) -> IntegerNetwork:
    r"""Search for a network of smaller objective by exact line searches under a falling temperature.

    Let a unit have the pre-activations ``a_k``, and let one of its parameters move by t steps, along which they rise
    by ``g_k``. With ``delta_k`` the change of the loss when the unit fires on sample k, all else the same, the loss is

    .. math:: L(t) = \mathrm{const} + \sum_k \delta_k \, [a_k + t g_k \ge 0],

    piecewise constant with at most one jump a sample; pieces on which a sample keeps no margin are infeasible. The
    jumps are sorted and summed up once, which gives the loss of *all* values of the parameter, and the next value is
    drawn from its heat bath: a piece of `width` values with a probability proportional to ``width exp(-L / heat)``.
    The ``delta_k`` serve all parameters of a unit. Lines between the axes (differences of samples, towards samples
    that should fire) are searched alike, parameters of the outputs too where the loss counts; where it is convex,
    their best value is found by bisection. After every cycle a linear program refits the continuous units of the
    first layer to the activations that the others ask for. Cycles of cooling double in length and begin from the best
    network or a random one in turn.

    Parameters
    ----------
    problem : Problem
        Losses and side constraints that the kernels do not know are searched by single changes that the exact
        objective judges, which is far slower.
    start : IntegerNetwork
        It may break the margins of continuous layers.
    rng : Generator
        Under a limit on work alone, the result is a function of it.
    work : int, optional
        Visits of units.
    seconds : float
    layers : tuple of int, optional
        Search the parameters of these layers only; by default of all.
    cooling : Cooling
    stopped : callable
        Asked before every sweep; True ends the search.
    offer : callable
        Called with every network whose exact objective is smaller than that of all before.

    Returns
    -------
    IntegerNetwork
        The best network met by exact objective, never worse than the start.

    References
    ----------
    Heat bath on lines: Smith, Operations Research 32(6), 1984, doi 10.1287/opre.32.6.1296 (hit-and-run). Networks with
    step activations and continuous weights: Kurtz & Bah, arXiv 2110.11382.

    Examples
    --------
    >>> from provenn.losses.max_correct import MaxCorrect
    >>> from provenn.network import Architecture, Dataset, IntegerDomain
    >>> data = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    >>> shape = Architecture.build(2, 2, hidden=(2,), weights=IntegerDomain.continuous(), activation="step")
    >>> xor = Problem(shape, data, MaxCorrect())
    >>> start = IntegerNetwork.constant(shape, favoured=1)
    >>> xor.value(improve(xor, start, np.random.default_rng(0), work=2000))
    0
    """
    count = len(problem.architecture.layers)
    chosen = tuple(range(count)) if layers is None else layers
    if not chosen or not set(chosen) <= set(range(count)):
        raise InputError(f"layers must be some of 0..{count - 1}, got {chosen}")
    began, most = time.perf_counter(), float("inf") if work is None else work

    def over() -> bool:
        return time.perf_counter() - began > seconds or stopped()

    if not supported(problem):
        return improve_any(problem, start, rng, most, chosen, over, offer)
    run = _Run(problem, start, rng, chosen, cooling, over, offer)
    run.search(most)
    return run.best


def unit_costs(problem: Problem, network: IntegerNetwork, layer: int, unit: int) -> tuple[Floats, Floats]:
    """Return what every sample costs while a hidden unit is quiet and while it fires, all else the same.

    Only for problems that `supported` accepts.

    Returns
    -------
    quiet, fires : ndarray of shape (n,), float64
        In units of the objective, with multiplicities.
    """
    setting = setting_of(problem, network, ())
    weigh_hidden(setting, state_of(network, problem), layer, unit)
    return setting.space.low.copy(), setting.space.high.copy()


@cache
def compile_kernels() -> None:
    """Compile or load the kernels on a toy, so that the clock of a training does not count it."""
    data = Dataset.merge([[0], [1], [2]], [0, 1, 0])
    problem = Problem(Architecture.build(1, 2, (2,)), data, SatMargin())
    improve(problem, IntegerNetwork.constant(problem.architecture, 0), np.random.default_rng(0), work=20)


class _Run:
    """A search: cycles of cooling until it is over."""

    def __init__(
        self, problem: Problem, start: IntegerNetwork, rng: np.random.Generator, layers: tuple[int, ...],
        cooling: Cooling, over: Callable[[], bool], offer: OnNetwork,
    ) -> None:  # fmt: skip
        self.problem, self.rng, self.cooling, self.over, self.offer = problem, rng, cooling, over, offer
        self.best, self.value = start, problem.value(start)
        self.setting = setting_of(problem, start, layers)
        units = [(i, j) for i in layers for j in range(problem.architecture.layers[i].n_out)]
        self.places, self.units = (np.array(part, dtype=np.int64) for part in zip(*units, strict=True))
        self.least = np.inf

    @property
    def done(self) -> bool:
        """Whether nothing better is left, or the search is over."""
        floor = self.problem.floor
        return (floor is not None and self.value is not None and self.value <= floor) or self.over()

    def search(self, work: float) -> None:
        """Run cycles, each twice as long as the one before, from the best network and from random ones in turn."""
        sweeps, cycle = FIRST_CYCLE, 0
        left = work / len(self.units)
        effect = self._effect()
        while left >= 1 and not self.done:
            state = state_of(self.best, self.problem) if cycle % 2 == 0 else self._random()
            hot = self.cooling.hot if cycle % 2 else np.sqrt(self.cooling.hot * self.cooling.cold)
            heats = np.append(np.geomspace(hot, self.cooling.cold, sweeps) * effect, np.zeros(QUENCH))
            for heat in heats[: int(min(left, len(heats)))]:
                if self.done:
                    return
                self._sweep(state, float(heat))
            state = self._refit(state)
            left -= len(heats)
            cycle += 1
            sweeps = min(LONGEST_CYCLE, 2 * sweeps) if cycle % 2 == 0 else sweeps

    def _refit(self, state: State) -> State:
        """Refit the continuous units of the first layer where that helps, each followed by a quench."""
        if not self.problem.architecture.layers[0].continuous or not self.problem.architecture.hidden:
            return state
        for j in self.rng.permutation(np.tile(self.units[self.places == 0], REFITS)):
            if self.done:
                break
            other = self._with_refitted(state, int(j))
            if other is not None and total_loss(self.setting, other) <= total_loss(self.setting, state):
                state = other
                self._sweep(state, 0.0)
        return state

    def _with_refitted(self, state: State, j: int) -> State | None:
        shape, space = self.setting.shape, self.setting.space
        weigh_hidden(self.setting, state, 0, j)
        row = refitted(self.problem, space.low - space.high, shape.low[0, j], shape.high[0, j], self.rng)
        if row is None:
            return None
        parameters = state.parameters.copy()
        parameters[0, j] = row
        return state_of(network_of(parameters, self.best), self.problem)

    def _sweep(self, state: State, heat: float) -> None:
        loss = sweep(self.setting, state, self.places, self.units, self.cooling.lines, heat, self.rng)
        if loss < self.least:
            self.least = loss
            self._note(network_of(state.parameters, self.best))

    def _note(self, network: IntegerNetwork) -> None:
        """Keep a network that is better by its exact objective, and tell of it."""
        value = self.problem.value(network)
        if value is not None and (self.value is None or value < self.value):
            self.best, self.value = network, value
            self.offer(network)

    def _random(self) -> State:
        """Return a state with random values in the boxes of the parameters."""
        shape, drawn = self.setting.shape, IntegerNetwork.random(self.best.architecture, self.rng, self.best.scale)
        parameters = np.clip(state_of(drawn, self.problem).parameters, shape.low, shape.high)
        return state_of(network_of(parameters, self.best), self.problem)

    def _effect(self) -> float:
        """Return the mean effect of one activation on the loss, where it has one, in a random network."""
        hidden: NDArray[np.bool_] = self.places < len(self.best.weights) - 1
        drawn = [typical_effect(self.setting, self._random(), self.places[hidden], self.units[hidden]) for _ in "123"]
        return max(drawn, default=0.0) or 1.0


__all__ = ["Cooling", "compile_kernels", "improve", "start_network", "supported", "unit_costs"]
