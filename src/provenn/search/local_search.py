"""Annealed local search over single parameters, with all moves of a unit scored in one pass."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenn.errors import CapabilityError, InputError
from provenn.losses import Loss
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.search import _score_losses
from provenn.search._kernels import Space
from provenn.search._moves import UNLIMITED, Terms, sweep, typical_effect, workspace
from provenn.search._score_losses import LARGEST_MOVE, score_loss_of
from provenn.search._state import Floats, Inputs, Longs, State, flatten, inputs_of, shape_of, state_of, unflatten

SAMPLED_UNITS = 32
QUENCH = 40
WORTH_TELLING = 0.01


@dataclass(frozen=True)
class Annealing:
    """How a run cools.

    Parameters
    ----------
    hot, cold : float
        First and last temperature, in multiples of the mean effect of a move on random
        networks. In between it falls geometrically, and at the end only improvements count.
    changes : int
        Moves taken from one scoring of a unit, at most.
    reach : int
        Largest change of a parameter in one move, 1 to 8; no more than the width of the domains counts.
    noise : float
        Standard deviation of noise on the pre-activations of the first hidden layer, in
        units of the grid: the mean loss over noisy copies prefers flat minima. 0 for none.
    replicas : int
        Noisy copies of every sample; drawn anew in every sweep.
    first_batch : int
        Samples of the first stage. Each stage doubles them until all take part in the last, which
        has half of the work.

    References
    ----------
    Flat minima by replicas: Baldassi et al., arXiv 1605.06444. Deltas in batches: M. S. Bruhn,
    master thesis, SDU 2024.
    """

    hot: float = 2.0
    cold: float = 0.02
    changes: int = 64
    reach: int = 6
    noise: float = 0.0
    replicas: int = 1
    first_batch: int = 4000

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.hot >= self.cold > 0:
            raise InputError(f"annealing needs hot >= cold > 0, got {self.hot} and {self.cold}")
        if not 1 <= self.reach <= LARGEST_MOVE:
            raise InputError(f"reach must be 1 to {LARGEST_MOVE}, got {self.reach}")
        if min(self.changes, self.replicas, self.first_batch) < 1 or self.noise < 0:
            raise InputError("changes, replicas and first_batch must be at least 1 and the noise at least 0")


@dataclass(frozen=True)
class Prices:
    """What networks cost beyond the loss, in its units, and what they may not exceed."""

    nonzero: float = 0.0
    neuron: float = 0.0
    max_nonzeros: int | None = None
    fan_in: int | None = None


def obstacle(architecture: Architecture, dataset: Dataset, loss: Loss) -> str | None:
    """Say why the search does not apply, or None when it does."""
    if architecture.continuous:
        return "the weights are continuous, and moves step from integer to integer"
    low, high = architecture.bounds(0, dataset.X, dataset.scale)
    reach = max(-int(low.min()), int(high.max())) + LARGEST_MOVE * max(int(np.abs(dataset.X).max()), dataset.scale)
    if reach >= 2**30:
        return "scores may pass 2^30 grid units; use a coarser grid"
    return _score_losses.obstacle(architecture, dataset, loss)


def local_search(
    start: IntegerNetwork,
    dataset: Dataset,
    loss: Loss,
    rng: np.random.Generator,
    work: int,
    *,
    annealing: Annealing = Annealing(),
    prices: Prices = Prices(),
    stopped: Callable[[], bool] = lambda: False,
    on_better: Callable[[IntegerNetwork], object] = lambda network: None,
) -> IntegerNetwork:
    """Anneal from a network, then descend to a network that no single move improves.

    All moves of a unit are scored in one pass over its critical samples, those that a move
    can flip: with delta_k the change of the loss when the unit flips on sample k, moving w_i
    by dv changes the loss by ``sum_k delta_k [x_ki dv flips k]``. The Metropolis rule decides.

    Parameters
    ----------
    start : IntegerNetwork
        Hot runs forget it; cool ones search near it.
    dataset : Dataset
    loss : Loss
        One of logistic, cross_entropy, min_hinge, sat_margin, max_correct, or any separable loss.
    rng : Generator
    work : int
        Visits of units; the result depends on this and the generator, not on the clock.
    annealing : Annealing
    prices : Prices
    stopped : callable
        Asked before every sweep; True ends the search.
    on_better : callable
        Called with networks whose objective is smaller than all before, rounding of wide tables
        and noise aside.

    Returns
    -------
    IntegerNetwork
        The best network met, by the same measure.

    Raises
    ------
    CapabilityError
        See `obstacle`.

    Examples
    --------
    >>> from provenn.losses.max_correct import MaxCorrect
    >>> data = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    >>> start = IntegerNetwork.constant(Architecture.build(2, 2, hidden=(3,)), favoured=1)
    >>> best = local_search(start, data, MaxCorrect(), np.random.default_rng(0), 400)
    >>> MaxCorrect().value(best, data)
    0
    """
    reason = obstacle(start.architecture, dataset, loss)
    if reason is not None:
        raise CapabilityError(f"the local search does not apply: {reason}")
    run = _Run(start, dataset, loss, rng, annealing, prices, stopped, on_better)
    units = sum(layer.n_out for layer in start.architecture.layers)
    run.anneal(max(1, work // units))
    return run.best


class _Run:
    """One annealing run."""

    def __init__(
        self,
        start: IntegerNetwork,
        dataset: Dataset,
        loss: Loss,
        rng: np.random.Generator,
        annealing: Annealing,
        prices: Prices,
        stopped: Callable[[], bool],
        on_better: Callable[[IntegerNetwork], object],
    ) -> None:
        self.data, self.rng, self.annealing, self.prices = dataset, rng, annealing, prices
        self.stopped, self.on_better = stopped, on_better
        self.rule = score_loss_of(loss, start.architecture, dataset)
        self.shape = shape_of(start.architecture, dataset)
        self.reach = min(annealing.reach, int((self.shape.high - self.shape.low)[0].max()))
        self.random = rng.integers(0, 2**63, 1).astype(np.uint64)
        self.best = self.current = start
        self.least = self.told = np.inf

    def anneal(self, sweeps: int) -> None:
        """Cool in stages over growing batches, then descend on all samples."""
        sizes = [self.data.n_samples]
        while sizes[0] > self.annealing.first_batch:
            sizes.insert(0, max(self.annealing.first_batch, sizes[0] // 2))
        shares = np.array([2.0 ** -max(len(sizes) - 1 - i, 1) for i in range(len(sizes))])
        shares[-1] = 1.0
        ends = np.rint(np.cumsum(shares / shares.sum()) * sweeps).astype(int)
        heats = np.geomspace(self.annealing.hot, self.annealing.cold, sweeps)
        for size, begin, end in zip(sizes, [0, *ends[:-1]], ends, strict=True):
            self._stage(size, heats[begin:end])
        self._stage(sizes[-1], np.zeros(QUENCH))
        if self.prices.neuron > 0:
            self._remove_units()

    def _stage(self, size: int, heats: Floats) -> None:
        """Sweep once at each temperature over a random part of the samples."""
        settle, whole = not heats.any(), size == self.data.n_samples
        noisy = self.annealing.noise > 0 and bool(self.current.architecture.hidden) and not settle
        part = self.data if whole else self.data.subset(self.rng.choice(self.data.n_samples, size, replace=False))
        if noisy and self.annealing.replicas > 1:
            part = part.subset(np.repeat(np.arange(size), self.annealing.replicas))
        inputs = inputs_of(part)
        inputs = inputs._replace(weight=inputs.weight * (self.data.total / part.total))
        state = state_of(self.current, part, self.rule)
        space = workspace(self.shape, state, self.reach)
        unit = 0.0 if settle else self._unit(inputs, part, space)
        for heat in heats:
            if self.stopped():
                break
            if noisy:
                state = state_of(unflatten(state.parameters, self.current), part, self.rule, self._noise(part))
            change = sweep(inputs, self.shape, state, self.rule, self._terms(heat * unit), space, self.random)
            if whole and not noisy:
                self._offer(state)
            if settle and change == 0.0:
                break
        self.current = unflatten(state.parameters, self.current)
        if whole:
            self._offer(state_of(self.current, self.data, self.rule), settled=True)

    def _unit(self, inputs: Inputs, part: Dataset, space: Space) -> float:
        """Return the mean effect of a move on a random network."""
        network = IntegerNetwork.random(self.current.architecture, np.random.default_rng(0), self.data.scale)
        state, one = state_of(network, part, self.rule), np.ones(1, dtype=np.uint64)
        return typical_effect(inputs, self.shape, state, self.rule, space, SAMPLED_UNITS, one)

    def _noise(self, part: Dataset) -> Longs:
        shape = (part.n_samples, self.current.architecture.hidden[0])
        return np.rint(self.annealing.noise * self.rng.standard_normal(shape)).astype(np.int64)

    def _terms(self, heat: float) -> Terms:
        budget, fan_in = self.prices.max_nonzeros, self.prices.fan_in
        return Terms(
            heat,
            float(self.prices.nonzero),
            UNLIMITED if budget is None else budget,
            UNLIMITED if fan_in is None else fan_in,
            self.annealing.changes,
            self.reach,
        )

    def _offer(self, state: State, settled: bool = False) -> None:
        """Keep the network of a state if it is the best; tell of it when it is clearly better or settled."""
        network = unflatten(state.parameters, self.current)
        value = self._value(network, state)
        if value < self.least:
            self.least, self.best = value, network
        if self.least < self.told * (1.0 if settled else 1.0 - WORTH_TELLING):
            self.told = self.least
            self.on_better(self.best)

    def _value(self, network: IntegerNetwork, state: State) -> float:
        """Return loss and prices; infinite above a budget."""
        counts = [np.count_nonzero(W, axis=0) for W in network.weights]
        nonzeros = sum(int(count.sum()) for count in counts)
        budget, fan_in = self.prices.max_nonzeros, self.prices.fan_in
        if budget is not None and nonzeros > budget:
            return np.inf
        if fan_in is not None and max(int(count.max()) for count in counts) > fan_in:
            return np.inf
        live = sum(int(network.live_units(layer).sum()) for layer in range(len(network.architecture.hidden)))
        return float(state.loss @ self.data.multiplicity) + self.prices.nonzero * nonzeros + self.prices.neuron * live

    def _remove_units(self) -> None:
        """Remove one hidden unit after the other while that pays, descending after each removal."""
        for layer in range(len(self.best.architecture.hidden)):
            for j in np.argsort(np.abs(self.best.weights[layer + 1]).sum(axis=1), kind="stable"):
                if self.stopped() or not self.best.live_units(layer)[j]:
                    continue
                kept, self.current = self.shape, _without_unit(self.best, layer, int(j))
                self.shape = kept._replace(fixed=kept.fixed | _of_unit(self.best, layer, int(j)))
                before = self.least
                self._stage(self.data.n_samples, np.zeros(QUENCH))
                if self.least == before:
                    self.shape = kept


def _without_unit(network: IntegerNetwork, layer: int, j: int) -> IntegerNetwork:
    """Set all weights of a hidden unit and its bias to 0."""
    mask = _of_unit(network, layer, j)
    return unflatten(np.where(mask, 0, flatten(network)).astype(np.int32), network)


def _of_unit(network: IntegerNetwork, layer: int, j: int) -> NDArray[np.bool_]:
    """Tell which parameters belong to a hidden unit, in the order of the search's state."""
    weights = [np.zeros(W.shape, dtype=np.int64) for W in network.weights]
    biases = [np.zeros(b.shape, dtype=np.int64) for b in network.biases]
    weights[layer][:, j], biases[layer][j], weights[layer + 1][j] = 1, 1, 1
    return np.concatenate([np.column_stack([W.T, b]).ravel() for W, b in zip(weights, biases, strict=True)]) > 0
