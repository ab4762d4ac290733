"""The state of a local search: parameters, pre-activations and losses of all samples, as arrays for kernels."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix

from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.search._score_losses import ScoreLoss, sample_losses

Bytes = NDArray[np.int8]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Floats = NDArray[np.float64]

BINARY, SPARSE = 0, 1


class Inputs(NamedTuple):
    """The samples, one column more than features: the last is the bias input, `scale` everywhere.

    Attributes
    ----------
    kind : int
        BINARY when every feature is 0 or 1, otherwise SPARSE.
    rows : ndarray of shape (n, d), int8
        The samples of BINARY inputs without the bias column; empty otherwise.
    row_start, row_index, row_value : ndarray
        Non-zero entries by sample with the bias input (SPARSE only).
    col_start, col_index, col_value : ndarray
        Non-zero entries by feature, without the bias input; no values for BINARY inputs.
    scale : int
    largest : ndarray of shape (n,), int64
        Largest absolute entry of each sample, bias input included (SPARSE only).
    weight : ndarray of shape (n,), float64
        Multiplicities.
    label : ndarray of shape (n,), int64
        Class indices.
    """

    kind: int
    rows: Bytes
    row_start: Longs
    row_index: Ints
    row_value: Ints
    col_start: Longs
    col_index: Ints
    col_value: Ints
    scale: int
    largest: Longs
    weight: Floats
    label: Longs


class Shape(NamedTuple):
    """Sizes and domains; L layers, the tail is layers 2..L.

    Attributes
    ----------
    size : ndarray of shape (L + 1,), int64
        Width of the input and of every layer.
    tail : ndarray of shape (L,), int64
        Where a layer begins in a row of the tail (a first hidden layer has no place there: 0).
    flat : ndarray of shape (L,), int64
        Where a layer's parameters begin in `State.parameters`: units one after the other, each
        with its incoming weights and then its bias.
    lowest : ndarray of shape (L,), int64
        Activation of a unit that does not fire: -1 (sign) or 0 (step); without meaning for the output layer.
    low, high, step : ndarray of shape (2, L), int64
        Domains of weights (row 0) and biases (row 1); a layer without biases has low = high = 0.
    fixed : ndarray of bool
        Parameters that stay as they are, in the order of `State.parameters`.
    """

    size: Longs
    tail: Longs
    flat: Longs
    lowest: Longs
    low: Longs
    high: Longs
    step: Longs
    fixed: NDArray[np.bool_]


class State(NamedTuple):
    """What moves change.

    Attributes
    ----------
    parameters : ndarray, int32
        See `Shape.flat`.
    first : ndarray of shape (n_1, n), int32
        Pre-activations of the first hidden layer, a row a unit; without hidden layers no rows.
    activations : ndarray of shape (n, n_1 + ... + n_{L-1}), int8
        Of all hidden layers: 1, or the layer's `Shape.lowest`.
    tail : ndarray of shape (n, n_2 + ... + n_L), int32
        Pre-activations of the later layers, a row a sample; the last are the scores.
    loss : ndarray of shape (n,), float64
        Loss of each sample, without its multiplicity.
    """

    parameters: Ints
    first: Ints
    activations: Bytes
    tail: Ints
    loss: Floats


def inputs_of(dataset: Dataset) -> Inputs:
    """Lay out the samples; binary features get dense rows of bytes as well."""
    X = dataset.X
    binary = dataset.scale == 1 and bool(((X == 0) | (X == 1)).all())
    columns = csc_matrix(X)
    with_bias = csc_matrix(np.column_stack([X, np.full(len(X), dataset.scale)])).tocsr() if not binary else None
    empty = np.zeros(0, dtype=np.int32)
    return Inputs(
        BINARY if binary else SPARSE,
        np.ascontiguousarray(X, dtype=np.int8) if binary else np.zeros((0, X.shape[1]), dtype=np.int8),
        np.zeros(1, dtype=np.int64) if with_bias is None else with_bias.indptr.astype(np.int64),
        empty if with_bias is None else with_bias.indices.astype(np.int32),
        empty if with_bias is None else with_bias.data.astype(np.int32),
        columns.indptr.astype(np.int64),
        columns.indices.astype(np.int32),
        empty if binary else columns.data.astype(np.int32),
        dataset.scale,
        np.zeros(0, dtype=np.int64) if binary else np.maximum(np.abs(X).max(axis=1), dataset.scale),
        dataset.multiplicity.astype(np.float64),
        dataset.y,
    )


def shape_of(architecture: Architecture, dataset: Dataset) -> Shape:
    """Lay out the layers."""
    layers = architecture.layers
    size = np.array([architecture.n_features, *(layer.n_out for layer in layers)], dtype=np.int64)
    none = IntegerDomain(0, 0)
    domains = [[layer.weights for layer in layers], [layer.bias or none for layer in layers]]

    def table(name: str) -> Longs:
        return np.array([[getattr(domain, name) for domain in row] for row in domains], dtype=np.int64)

    dead = ~dataset.live if layers[0].weights.has_zero else np.zeros(dataset.n_features, dtype=bool)
    later = np.zeros(sum(layer.n_out * (layer.n_in + 1) for layer in layers[1:]), dtype=bool)
    return Shape(
        size,
        np.concatenate([[0, 0], np.cumsum(size[2:])])[: len(layers)].astype(np.int64),
        np.concatenate([[0], np.cumsum((size[:-1] + 1) * size[1:])])[:-1].astype(np.int64),
        np.array([layer.lowest for layer in layers], dtype=np.int64),
        table("low"),
        table("high"),
        table("step"),
        np.concatenate([np.tile(np.append(dead, False), layers[0].n_out), later]),
    )


def flatten(network: IntegerNetwork) -> Ints:
    """Return all parameters in the order of `Shape.flat`."""
    parts = [np.column_stack([W.T, b]).ravel() for W, b in zip(network.weights, network.biases, strict=True)]
    return np.concatenate(parts).astype(np.int32)


def unflatten(parameters: Ints, like: IntegerNetwork) -> IntegerNetwork:
    """Return the network with these parameters."""
    weights, biases, begin = [], [], 0
    for layer in like.architecture.layers:
        end = begin + (layer.n_in + 1) * layer.n_out
        block = parameters[begin:end].reshape(layer.n_out, layer.n_in + 1).astype(np.int64)
        weights.append(np.ascontiguousarray(block[:, :-1].T))
        biases.append(block[:, -1].copy())
        begin = end
    return replace(like, weights=tuple(weights), biases=tuple(biases))


def state_of(network: IntegerNetwork, dataset: Dataset, loss: ScoreLoss, noise: Longs | None = None) -> State:
    """Compute the state of a network.

    Parameters
    ----------
    noise : ndarray of shape (n, n_1), int64, optional
        Added to the pre-activations of the first hidden layer.
    """
    hidden, n = bool(network.architecture.hidden), dataset.n_samples
    if noise is None:
        trace = network.trace(dataset.X)
        before, activations = trace.preactivations, trace.activations
    else:
        first = network.trace(dataset.X).preactivations[0] + noise
        h = np.where(first >= 0, 1, network.architecture.layers[0].lowest)
        rest = later_layers(network).trace(h)
        before = (first, *rest.preactivations)
        activations = (h, *rest.activations)
    joined = np.concatenate(activations, axis=1).astype(np.int8) if hidden else np.zeros((n, 0), dtype=np.int8)
    top = np.ascontiguousarray(before[0].T, dtype=np.int32) if hidden else np.zeros((0, n), dtype=np.int32)
    tail = np.concatenate(before[1:] if hidden else before, axis=1).astype(np.int32)
    values = sample_losses(loss, before[-1], dataset.y)
    return State(flatten(network), top, np.ascontiguousarray(joined), np.ascontiguousarray(tail), values)


def later_layers(network: IntegerNetwork) -> IntegerNetwork:
    """Return the network that reads the first hidden layer."""
    return IntegerNetwork(Architecture(network.architecture.layers[1:]), network.weights[1:], network.biases[1:])
