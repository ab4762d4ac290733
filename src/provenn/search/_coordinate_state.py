"""What the kernels of the coordinate search work on."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from provenn.formulations import Problem
from provenn.formulations.feature_signs import FeatureSigns
from provenn.formulations.sparsity import Sparsity
from provenn.network import IntegerNetwork
from provenn.search._coordinate_losses import Rule, rule_of

Longs = NDArray[np.int64]
Floats = NDArray[np.float64]


class Data(NamedTuple):
    """Samples and how their losses count; never changed.

    Attributes
    ----------
    columns : ndarray of shape (d, n), int64
        Samples, one row a feature.
    label : ndarray of shape (n,), int64
    weight : ndarray of shape (n,), float64
        Multiplicity in units of the objective.
    price : float
        Of a non-zero weight, in the same units.
    """

    columns: Longs
    label: Longs
    weight: Floats
    price: float


class Shape(NamedTuple):
    """Layers, padded to the widest; never changed.

    Attributes
    ----------
    size : ndarray of shape (L + 1,), int64
        Inputs, then units of every layer.
    lowest, margin : ndarray of shape (L,), int64
        Activation of units that do not fire, and distance from 0 of hidden pre-activations below it.
    step, one : ndarray of shape (L,), int64
        Distance of neighbouring values of a weight, and what a bias multiplies.
    low, high : ndarray of shape (L, U, D + 1), int64
        Box of every parameter of a unit, the bias last; equal where the parameter is fixed.
    bias_step : ndarray of shape (L,), int64
    """

    size: Longs
    lowest: Longs
    margin: Longs
    step: Longs
    bias_step: Longs
    one: Longs
    low: Longs
    high: Longs


class State(NamedTuple):
    """A network and its forward pass.

    Attributes
    ----------
    parameters : ndarray of shape (L, U, D + 1), int64
        Of a unit, the bias last.
    pre : ndarray of shape (L, U, n), int64
        Pre-activations.
    """

    parameters: Longs
    pre: Longs


class Space(NamedTuple):
    """Working memory.

    Attributes
    ----------
    low, mid, high : ndarray of shape (n,), float64
        Losses of a sample while a unit is quiet, undecided, or fires.
    v, u, g, before : ndarray of shape (n,), int64
    at, jump : ndarray of shape (2 n,)
    one, two : ndarray of shape (U,), int64
    direction : ndarray of shape (D + 1,), int64
    """

    low: Floats
    mid: Floats
    high: Floats
    v: Longs
    u: Longs
    g: Longs
    before: Longs
    at: Longs
    jump: Floats
    one: Longs
    two: Longs
    direction: Longs


class Setting(NamedTuple):
    """All that stays the same during a search, with its working memory."""

    rule: Rule
    data: Data
    shape: Shape
    space: Space


def supported(problem: Problem) -> bool:
    """Whether the kernels know the loss and all side constraints."""
    prices = all(
        isinstance(c, FeatureSigns) or (isinstance(c, Sparsity) and c.max_nonzeros is None and c.fan_in is None)
        for c in problem.constraints
    )
    return prices and rule_of(problem.loss, problem.architecture, problem.dataset) is not None


def setting_of(problem: Problem, network: IntegerNetwork, layers: tuple[int, ...]) -> Setting:
    """Return what a search over the parameters of some layers of a network needs."""
    rule = rule_of(problem.loss, problem.architecture, problem.dataset)
    assert rule is not None
    data, scale = problem.dataset, int(problem.loss_unit / problem.unit)
    prices = [c.price_unit for c in problem.constraints if c.price_unit is not None]
    price = float(sum(int(p / problem.unit) for p in prices))
    shape = _shape(problem, network, layers)
    columns = np.ascontiguousarray(data.X.T)
    mine = Data(columns, data.y.astype(np.int64), data.multiplicity.astype(np.float64) * scale, price)
    return Setting(rule, mine, shape, _space(data.n_samples, shape.low.shape[1], shape.low.shape[2]))


def _shape(problem: Problem, network: IntegerNetwork, layers: tuple[int, ...]) -> Shape:
    architecture, scale = problem.architecture, problem.dataset.scale
    low, high = _boxes(problem, network, layers)
    dense = architecture.layers
    return Shape(
        np.array([dense[0].n_in, *(layer.n_out for layer in dense)]),
        np.array([layer.lowest for layer in dense]),
        np.array([architecture.margin(i, scale) for i in range(len(dense))]),
        np.array([layer.weights.step for layer in dense]),
        np.array([layer.bias.step if layer.bias is not None else 1 for layer in dense]),
        np.array([scale if i == 0 else 1 for i in range(len(dense))]),
        low,
        high,
    )


def _boxes(problem: Problem, network: IntegerNetwork, layers: tuple[int, ...]) -> tuple[Longs, Longs]:
    """Return the boxes of all parameters: those of layers that are not searched hold nothing but the network."""
    low, high = (parameters_of(network) for _ in range(2))
    for i in layers:
        dense = problem.architecture.layers[i]
        low[i, : dense.n_out, : dense.n_in], high[i, : dense.n_out, : dense.n_in] = (
            dense.weights.low,
            dense.weights.high,
        )
        if dense.bias is not None:
            low[i, : dense.n_out, -1], high[i, : dense.n_out, -1] = dense.bias.low, dense.bias.high
    if 0 in layers:
        _narrow(problem, low[0], high[0])
    return low, high


def _narrow(problem: Problem, low: Longs, high: Longs) -> None:
    """Fix the weights of dead inputs at 0, and cut off forbidden signs."""
    first = problem.architecture.layers[0]
    for constraint in problem.constraints:
        if isinstance(constraint, FeatureSigns):
            signs = np.array(constraint.signs)
            low[:1, : first.n_in][:, signs > 0], high[:1, : first.n_in][:, signs < 0] = 0, 0
    if first.weights.has_zero:
        dead = np.flatnonzero(~problem.dataset.live)
        low[:, dead], high[:, dead] = 0, 0


def parameters_of(network: IntegerNetwork) -> Longs:
    """Return all parameters, shape (L, U, D + 1): those of a unit in a row, the bias last."""
    layers = network.architecture.layers
    widest, deepest = max(layer.n_out for layer in layers), max(layer.n_in for layer in layers)
    parameters = np.zeros((len(layers), widest, deepest + 1), dtype=np.int64)
    for i, (W, b) in enumerate(zip(network.weights, network.biases, strict=True)):
        parameters[i, : W.shape[1], : W.shape[0]], parameters[i, : W.shape[1], -1] = W.T, b
    return parameters


def network_of(parameters: Longs, like: IntegerNetwork) -> IntegerNetwork:
    """Return the network with these parameters."""
    weights, biases = [], []
    for i, W in enumerate(like.weights):
        weights.append(parameters[i, : W.shape[1], : W.shape[0]].T.copy())
        biases.append(parameters[i, : W.shape[1], -1].copy())
    return IntegerNetwork(like.architecture, tuple(weights), tuple(biases), like.scale)


def state_of(network: IntegerNetwork, problem: Problem) -> State:
    """Return a network with its forward pass."""
    parameters, trace = parameters_of(network), network.trace(problem.dataset.X)
    pre = np.zeros((*parameters.shape[:2], problem.dataset.n_samples), dtype=np.int64)
    for i, a in enumerate(trace.preactivations):
        pre[i, : a.shape[1]] = a.T
    return State(parameters, pre)


def _space(n: int, units: int, inputs: int) -> Space:
    def floats(count: int) -> Floats:
        return np.zeros(count)

    def longs(count: int) -> Longs:
        return np.zeros(count, dtype=np.int64)

    return Space(
        floats(n), floats(n), floats(n), longs(n), longs(n), longs(n), longs(n), longs(2 * n), floats(2 * n),
        longs(units), longs(units), longs(inputs),
    )  # fmt: skip
