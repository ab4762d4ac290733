r"""The MILP block of worst scores: a model whose score columns are those of the worst perturbation.

One direction of every inequality is enough, since no loss falls when a score moves away from its target: a minimiser
pushes every bound as far in as it is allowed to, and there it equals the interval. Columns that are too pessimistic
only cost more. With D the reach (`provenn.losses._dual_norm`), networks without hidden layers have ``worst = a - t D``,
hidden layers

    fires = 1 => lower >= 0,    may_fire = 0 => upper <= -margin,
    m <= s w h at both activations of the unit,    bound = s sum_i m_i + b,

with lower = a - D and upper = a + D in the first layer, s = +1 for lower and -1 for upper bounds, and s = t for the
worst scores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from provenn.losses._base import Integers, Model, State, Terms
from provenn.losses._dual_norm import add_reach, largest_reach
from provenn.milp import Builder
from provenn.network import IntegerNetwork
from provenn.network.intervals import Intervals, intervals
from provenn.network.network import Trace


@dataclass(frozen=True)
class _Perturbed(IntegerNetwork):
    """A network that answers with given scores."""

    given: Integers = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))

    def scores(self, X: Any) -> Integers:
        """Return the given scores, whatever the input."""
        return self.given


def at_worst_scores(model: Model, radius: tuple[int, ...], norm: str) -> Model:
    """Add worst scores to a model and return it with these as its scores."""
    return cast(Model, _View(cast(_Skeleton, model), radius, norm))


def perturbed(network: IntegerNetwork, scores: Integers) -> IntegerNetwork:
    """Return a network that answers with the given scores."""
    return _Perturbed(network.architecture, network.weights, network.biases, network.scale, scores)


class _Affine(Protocol):
    columns: Integers
    shift: int
    step: int


class _Skeleton(Model, Protocol):
    """What worst scores need of a model beyond what plain losses do."""

    weights: list[_Affine]
    biases: list[_Affine | None]


@dataclass
class _State:
    network: IntegerNetwork
    trace: Trace


class _View:
    """A model whose score columns are worst scores; everything else is the model's own."""

    def __init__(self, model: _Skeleton, radius: tuple[int, ...], norm: str) -> None:
        self._model, self._radius, self._norm = model, radius, norm
        self._known: tuple[object, Intervals] | None = None
        self.builder = _Fills(model.builder, self._at_worst)
        self.preactivations = [*model.preactivations[:-1], self._add_scores()]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    @property
    def exact_at(self) -> tuple[Integers, ...]:
        """Worst scores of the networks at which approximations must be exact."""
        X, targets = self._model.dataset.X, self._targets
        return tuple(intervals(net, X, self._radius, self._norm).worst(targets) for net in self._model.known)

    def bounds(self, layer: int) -> tuple[Integers, Integers]:
        """Interval of the pre-activations of a layer, of the last one that of the worst scores."""
        low, high = self._model.bounds(layer)
        if layer == 0 and not self._model.architecture.hidden:
            wider = largest_reach(self._model.architecture, self._radius, self._norm)
            return low - wider, high + wider
        return low, high

    def _intervals(self, state: State) -> Intervals:
        if self._known is None or self._known[0] is not state.network:
            found = intervals(state.network, self._model.dataset.X, self._radius, self._norm)
            self._known = state.network, found
        return self._known[1]

    @property
    def _targets(self) -> Integers:
        return self._model.dataset.targets(self._model.architecture.n_outputs)

    def _worst(self, state: State) -> Integers:
        return self._intervals(state).worst(self._targets)

    def _at_worst(self, state: State) -> State:
        """Return a known answer as the wrapped loss sees it."""
        worst = self._worst(state)
        layers = (*state.trace.preactivations[:-1], worst)
        return _State(perturbed(state.network, worst), Trace(layers, state.trace.activations))

    def _add_scores(self) -> Integers:
        """Add the worst scores."""
        model = self._model
        D = add_reach(model, self._radius, self._norm)
        low, high = self.bounds(len(model.architecture.layers) - 1)
        unit = model.unit(-1)
        worst = model.builder.columns(
            "worst", model.preactivations[-1].shape, low[:, None] / unit, high[:, None] / unit,
            fill=lambda state: self._worst(state) / unit, integer=not model.architecture.layers[-1].continuous,
        )  # fmt: skip
        lower: Sequence[Terms] = self._moved(D, 1)
        upper: Sequence[Terms] = self._moved(D, -1)
        constants = (np.zeros(1), np.zeros(1))
        for layer in range(len(model.architecture.hidden)):
            states = self._add_states(layer, (lower, upper), constants)
            if layer < len(model.architecture.hidden) - 1:
                ones = np.ones(model.preactivations[layer + 1].shape, dtype=np.int64)
                sides = [self._add_sums(layer + 1, s * ones, states, f"{name}{layer + 1}") for s, name in _SIDES]
                (lower, upper), constants = (sides[0][0], sides[1][0]), (sides[0][1], sides[1][1])
        if model.architecture.hidden:
            terms, constant = self._add_sums(len(model.architecture.hidden), self._targets, states, "share")
        else:
            flat = np.broadcast_to(D, worst.shape).ravel()[:, None]
            own = Terms(model.preactivations[-1].ravel()[:, None], 1.0)
            terms, constant = [own, Terms(flat, -self._targets.ravel()[:, None])], np.zeros(1)
        model.builder.rows([Terms(worst.ravel()[:, None], -1.0), *terms], lower=-constant, upper=-constant)
        return worst

    def _moved(self, D: Integers, sign: int) -> list[Terms]:
        """Return the first layer's lower (sign 1) or upper (sign -1) bounds."""
        a = self._model.preactivations[0]
        flat = np.broadcast_to(D, a.shape).ravel()[:, None]
        return [Terms(a.ravel()[:, None], 1.0), Terms(flat, -float(sign))]

    def _add_states(
        self, layer: int, sides: tuple[Sequence[Terms], Sequence[Terms]], constants: tuple[NDArray[Any], NDArray[Any]]
    ) -> tuple[Integers, Integers]:
        """Add ``fires <= u <= may_fire`` with ``fires = 1 => lower >= 0`` and ``may_fire = 0 => upper <= -margin``."""
        model, builder = self._model, self._model.builder
        u = model.firing[layer]
        fires = builder.columns(
            f"fires{layer}", u.shape, 0, 1, fill=lambda state: self._intervals(state).fires[layer]
        )  # fmt: skip
        may = builder.columns(
            f"may_fire{layer}", u.shape, 0, 1, fill=lambda state: self._intervals(state).may_fire[layer]
        )  # fmt: skip
        builder.rows(sides[0], lower=-constants[0], when=(fires.ravel(), 1))
        builder.rows(sides[1], upper=-model.margin(layer) - constants[1], when=(may.ravel(), 0))
        for small, large in ((fires, u), (u, may)):
            builder.rows([Terms(small.ravel()[:, None], 1.0), Terms(large.ravel()[:, None], -1.0)], upper=0)
        return fires, may

    def _add_sums(
        self, layer: int, signs: Integers, states: tuple[Integers, Integers], name: str
    ) -> tuple[list[Terms], NDArray[Any]]:
        """Return ``s sum_i m_i + b`` for every sample and unit, as terms and constants, with ``m <= s w h``."""
        model, dense = self._model, self._model.architecture.layers[layer]
        W, b, unit = model.weights[layer], model.biases[layer], dense.weights.denominator
        shape, P = (len(signs), dense.n_in, dense.n_out), dense.weights.bound / dense.weights.denominator
        s = np.broadcast_to(signs[:, None, :], shape)
        m = model.builder.columns(
            name, shape, -P, P, integer=not dense.continuous,
            fill=lambda state: _least(self._intervals(state), state.network, layer, s) / unit,
        )  # fmt: skip
        w = np.broadcast_to(W.columns, shape)
        for u in states:
            wide = np.broadcast_to(u[:, :, None], shape)
            columns = [part.ravel()[:, None] for part in (m, w, wide)]
            add = _sign_rows if model.architecture.layers[layer - 1].lowest < 0 else _step_rows
            add(model.builder, columns, s.ravel(), W, P)
        terms = [Terms(m.transpose(0, 2, 1).reshape(-1, dense.n_in), signs.ravel()[:, None])]
        if b is not None:
            terms.append(Terms(np.broadcast_to(b.columns, signs.shape).ravel()[:, None], float(b.step)))
        return terms, np.full(signs.size, 0 if b is None else b.shift)


_SIDES = ((1, "lower"), (-1, "upper"))


def _sign_rows(builder: Builder, columns: list[Integers], s: Integers, W: _Affine, P: float) -> None:
    """Add ``m <= s w`` where u = 1 and ``m <= -s w`` where u = 0."""
    m, w, u = columns
    for side, slope, upper in ((-1, 2 * P, 2 * P), (1, -2 * P, 0.0)):
        terms = [Terms(m, 1.0), Terms(w, side * W.step * s[:, None]), Terms(u, slope)]
        builder.rows(terms, upper=upper - side * W.shift * s)


def _step_rows(builder: Builder, columns: list[Integers], s: Integers, W: _Affine, P: float) -> None:
    """Add ``m <= s w`` where u = 1 and ``m <= 0`` where u = 0."""
    m, w, u = columns
    builder.rows([Terms(m, 1.0), Terms(w, -W.step * s[:, None]), Terms(u, P)], upper=P + W.shift * s)
    builder.rows([Terms(m, 1.0), Terms(u, -P)], upper=0)


def _least(found: Intervals, network: IntegerNetwork, layer: int, s: Integers) -> Integers:
    """Return the smaller of ``s w h`` at the two activations that every unit may have."""
    lowest = network.architecture.layers[layer - 1].lowest
    ends = (np.where(part, 1, lowest)[:, :, None] for part in (found.fires[layer - 1], found.may_fire[layer - 1]))
    first, second = (s * network.weights[layer] * end for end in ends)
    return np.asarray(np.minimum(first, second), dtype=np.int64)


class _Fills:
    """A builder whose columns are filled from the answer as seen under the worst perturbation."""

    def __init__(self, builder: Builder, seen: Callable[[State], State]) -> None:
        self._builder, self._seen = builder, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._builder, name)

    @property
    def offset(self) -> float:
        """Constant of the objective."""
        return self._builder.offset

    @offset.setter
    def offset(self, value: float) -> None:
        self._builder.offset = value

    def columns(
        self,
        name: str,
        shape: tuple[int, ...],
        lower: ArrayLike,
        upper: ArrayLike,
        fill: Callable[[Any], ArrayLike] | None = None,
        integer: bool = True,
    ) -> Integers:
        """Add columns, see `Builder.columns`."""
        seen = None if fill is None else lambda state: fill(self._seen(state))
        return self._builder.columns(name, shape, lower, upper, seen, integer)
