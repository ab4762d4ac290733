"""From a problem to what the tree over clusters of patterns works on."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from math import comb, log2, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._network_tree_kernels import clusters_of
from provenn.check_proof import MOST_HEADS, MOST_UNITS, MOST_VECTORS, Data, Networks, Search
from provenn.network import Architecture, Dataset

Integers = NDArray[np.int64]
LARGEST = 2**61
HOPELESS_BITS = 45.0
LARGEST_LISTING = 2**28


@dataclass(frozen=True)
class NetworkProblem:
    """All networks of a shape on some data, with the parts of the objective that the checker of proofs knows.

    Parameters
    ----------
    architecture : Architecture
    dataset : Dataset
    loss : str
        Its name.
    loss_options : dict
    prices : tuple of Fraction
        Of a non-zero weight, of the sum of sizes, of the sum of squares, and of a live hidden unit.
    max_nonzeros, fan_in : int or None
    """

    architecture: Architecture
    dataset: Dataset
    loss: str
    loss_options: dict[str, Any]
    prices: tuple[Fraction, Fraction, Fraction, Fraction] = (Fraction(0),) * 4
    max_nonzeros: int | None = None
    fan_in: int | None = None

    def networks(self) -> Networks:
        """Return the networks as the checker knows them; `check_proof.RejectedError` where it does not."""
        layers = self.architecture.to_dict()["layers"]
        loss = {"name": self.loss, "options": self.loss_options}
        return Networks(layers, loss, self.prices, (self.max_nonzeros, self.fan_in), data_of(self.dataset))


def data_of(dataset: Dataset) -> Data:
    """Return a dataset as the checker knows it."""
    rows, y, multiplicity = (part.tolist() for part in (dataset.X, dataset.y, dataset.multiplicity))
    return Data(rows, y, multiplicity, dataset.scale, dataset.n_classes)


def options_of(loss: Any) -> dict[str, Any]:
    """Return the options of a loss, as a model file holds them."""
    return {field.name: getattr(loss, field.name) for field in fields(loss)}


def network_bits(shape: Architecture) -> float:
    """Return log2 of the number of networks of a shape."""
    return float(sum(layer.n_in * layer.n_out * log2(len(layer.weights)) + layer.n_out * log2(len(layer.bias or [0]))
                     for layer in shape.layers))  # fmt: skip


def too_large(shape: Architecture, dataset: Dataset, joint: bool) -> str | None:
    """Say why a tree is hopeless by the number of networks alone, or None."""
    first, units = shape.layers[0], shape.hidden[0]
    live = int(dataset.live.sum()) if first.weights.has_zero else first.n_in
    vectors = len(first.weights) ** live * len(first.bias or [0])
    size = f"there are 2^{network_bits(shape):.0f} networks"
    if units > MOST_UNITS:
        return f"{size}, with {units} units in the first hidden layer, and the tree takes {MOST_UNITS}"
    distinct = len(np.unique(dataset.X, axis=0))
    most = min(MOST_VECTORS // 2, LARGEST_LISTING // distinct)
    if vectors > most:
        return f"{size}, with {vectors:.3g} units to choose from on {distinct} samples, and the tree lists {most}"
    choices = min(vectors, 2**distinct)
    if log2(comb(choices + units - 1, units)) > HOPELESS_BITS:
        return f"{size}, and 2^{log2(comb(choices + units - 1, units)):.0f} first layers are too many for the tree"
    if _heads(shape, joint) > MOST_HEADS:
        return f"{size}, with {_heads(shape, joint):.3g} choices of the later layers, and the tree lists {MOST_HEADS}"
    return None


def _heads(shape: Architecture, joint: bool) -> int:
    """Return a number that the choices of the layers after the first do not exceed."""
    counts = [len(layer.weights) ** layer.n_in * len(layer.bias or [0]) for layer in shape.layers]
    cells = 2**2 ** min(shape.hidden[0], 4)
    middle = [
        comb(min(count, cells) + layer.n_out - 1, layer.n_out)
        for count, layer in zip(counts[1:-1], shape.layers[1:-1], strict=True)
    ]
    return max(*counts[1:], prod(middle) * counts[-1] ** (shape.n_outputs if joint else 1))


@dataclass(frozen=True)
class Arrays:
    """A search of the checker as arrays, see `_network_tree_kernels`.

    Parameters
    ----------
    cuts : list of int
    first, last : ndarray of shape (clusters,), int32
        Patterns ``first..last-1`` are in a cluster.
    children : ndarray of shape (clusters, 2), int32
        -1 for none.
    opened : ndarray of shape (clusters,), int64
        Samples that are open.
    status : ndarray of shape (clusters, n), int8
        0 where no pattern fires, 1 where all do, else 2.
    prices : ndarray of shape (clusters, 3), int64
    weights : ndarray of shape (terms, n, categories), int64
    tables : ndarray of shape (tables, cubes * categories), int64
    starts : ndarray of shape (terms + 1,), int64
    options : ndarray of shape (options, 4), int64
    pointers : ndarray of shape (configurations * terms + 1,), int64
    setting : ndarray of shape (4,), int64
    """

    cuts: list[int]
    first: NDArray[np.int32]
    last: NDArray[np.int32]
    children: NDArray[np.int32]
    opened: Integers
    status: NDArray[np.int8]
    prices: Integers
    weights: Integers
    tables: Integers
    starts: Integers
    options: Integers
    pointers: Integers
    setting: Integers

    def cut(self, goal: int) -> "Arrays":
        """Return the arrays with losses up to the goal: a sample that costs more closes a node, and sums stay small."""
        return replace(self, tables=np.minimum(self.tables, max(goal, 0) // int(self.setting[0]) + 1))

    def kernel(self) -> tuple[Any, ...]:
        """Return the arrays in the order of `explore`."""
        return (
            self.first, self.last, self.children, self.opened, self.status, self.prices, self.weights, self.tables,
            self.starts, self.options, self.pointers, self.setting,
        )  # fmt: skip


def arrays_of(networks: Networks) -> tuple[Arrays, Search]:
    """List patterns and heads, cluster the patterns, and return all of it as arrays."""
    n, found = len(networks.rows), networks.patterns()
    cuts = clusters_of(_bits(list(found), n)).tolist()
    search = Search(networks, cuts)
    clusters = search.clusters
    status = _bits([c.masks[1] for c in clusters], n) + 2 * _bits([c.masks[2] for c in clusters], n)
    weights, tables, starts = _terms(networks)
    options, pointers = _options(search)
    every = sum(layer["n_in"] * layer["n_out"] for layer in networks.layers)
    budget = int(min(every, networks.room))
    setting = [networks.factor, networks.neuron, min(networks.h, networks.loss.outputs), budget]
    arrays = Arrays(
        cuts,
        np.array([c.first for c in clusters], dtype=np.int32),
        np.array([c.last for c in clusters], dtype=np.int32),
        np.array([c.children or (-1, -1) for c in clusters], dtype=np.int32),
        (status == 2).sum(axis=1).astype(np.int64),
        status,
        np.array([c.price for c in clusters], dtype=np.int64),
        weights,
        tables,
        starts,
        options,
        pointers,
        np.array(setting, dtype=np.int64),
    )
    return arrays, search


def _bits(masks: Sequence[int], n: int) -> NDArray[np.int8]:
    """Return masks as rows of 0 and 1; the highest of n bits is first."""
    width = (n + 7) // 8
    raw = np.frombuffer(b"".join((m << 8 * width - n).to_bytes(width, "big") for m in masks), dtype=np.uint8)
    return np.unpackbits(raw.reshape(len(masks), width), axis=1)[:, :n].astype(np.int8)


def _terms(networks: Networks) -> tuple[Integers, Integers, Integers]:
    """Return weights of categories, tables, and where those of a term start; narrower terms are padded with 0."""
    width, n = max(len(term.categories) for term in networks.terms), len(networks.rows)
    weights = np.zeros((len(networks.terms), n, width), dtype=np.int64)
    tables, starts = [], [0]
    for t, term in enumerate(networks.terms):
        own = len(term.categories)
        weights[t, :, :own] = np.array(term.weights, dtype=np.int64).T
        padded = np.zeros((len(term.tables), len(term.cubes), width), dtype=np.int64)
        padded[:, :, :own] = np.array(term.tables, dtype=np.int64).reshape(len(term.tables), len(term.cubes), own)
        tables.append(padded.reshape(len(term.tables), -1))
        starts.append(starts[-1] + len(term.tables))
    return weights, np.concatenate(tables), np.array(starts, dtype=np.int64)


def _options(search: Search) -> tuple[Integers, Integers]:
    """Return the options of all configurations and terms in one array, and where each list starts."""
    flat, pointers = [], [0]
    for configuration in search.configurations:
        for part in configuration:
            flat += part
            pointers.append(len(flat))
    return np.array(flat, dtype=np.int64).reshape(-1, 4), np.array(pointers, dtype=np.int64)


def overflows(arrays: Arrays) -> bool:
    """Whether a value could leave the range of the kernels."""
    most = int(arrays.tables.max(initial=0)) * int(arrays.weights.sum(axis=(1, 2)).max(initial=0))
    prices = int(arrays.prices.sum(axis=0)[0]) + int(arrays.options[:, 1].max(initial=0))
    return len(arrays.starts) * int(arrays.setting[0]) * most + prices + 8 * int(arrays.setting[1]) >= LARGEST
