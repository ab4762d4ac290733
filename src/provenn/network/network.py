"""A trained network: integer weights and an exact forward pass."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError, ModelFileError, OverflowRiskError
from provenn.network.architecture import Architecture, Dense
from provenn.network.files import read_json, write_text_safely

Integers = NDArray[np.int64]
FORMAT = "provenn-network"
VERSION = 2
READABLE = (1, 2)
INT64_SAFE = 2**62


@dataclass(frozen=True)
class Trace:
    """All values of a forward pass.

    Parameters
    ----------
    preactivations : tuple of ndarray of shape (n, n_l), int64
        ``a`` of every layer; the first in grid units, the last are the scores.
    activations : tuple of ndarray of shape (n, n_l), int64
        ``h = sign(a)`` or ``h = step(a)`` of every hidden layer.
    """

    preactivations: tuple[Integers, ...]
    activations: tuple[Integers, ...]

    @property
    def scores(self) -> Integers:
        """Output pre-activations, shape (n, n_outputs)."""
        return self.preactivations[-1]


@dataclass(frozen=True)
class IntegerNetwork:
    """Weights and biases of an `Architecture`.

    Parameters
    ----------
    architecture : Architecture
    weights : tuple of ndarray of shape (n_in, n_out), int64
        In units of ``1 / denominator`` of the layer's domain.
    biases : tuple of ndarray of shape (n_out,), int64
        In the same units; zeros for layers without biases.
    scale : int
        Grid units in 1; the first layer's bias counts `scale` grid units.

    Examples
    --------
    >>> shape = Architecture.build(2, 2)
    >>> net = IntegerNetwork.of(shape, [[[1], [-1]]], [[0]], scale=10)
    >>> net.scores([[7, 3]]).tolist(), net.predict([[7, 3], [2, 3]]).tolist()
    ([[4]], [1, 0])
    """

    architecture: Architecture
    weights: tuple[Integers, ...]
    biases: tuple[Integers, ...]
    scale: int = 1

    def __post_init__(self) -> None:
        """Check shapes and domains."""
        if self.scale < 1:
            raise InputError(f"the scale must be at least 1, got {self.scale}")
        layers = self.architecture.layers
        if not len(layers) == len(self.weights) == len(self.biases):
            raise InputError(f"{len(layers)} layers need as many weight matrices and bias vectors")
        for number, (layer, W, b) in enumerate(zip(layers, self.weights, self.biases, strict=True)):
            if W.shape != (layer.n_in, layer.n_out) or b.shape != (layer.n_out,):
                raise InputError(f"layer {number} needs weights {(layer.n_in, layer.n_out)}, got {W.shape}, {b.shape}")
            if not layer.weights.contains(W):
                raise InputError(f"layer {number} has a weight outside its domain {layer.weights}")
            if not (layer.bias.contains(b) if layer.bias is not None else not b.any()):
                raise InputError(f"layer {number} has a bias outside its domain {layer.bias}")

    @classmethod
    def of(
        cls, architecture: Architecture, weights: Sequence[Any], biases: Sequence[Any], scale: int = 1
    ) -> "IntegerNetwork":
        """Build a network from nested lists or arrays of integers."""
        return cls(
            architecture,
            tuple(np.array(W, dtype=np.int64) for W in weights),
            tuple(np.array(b, dtype=np.int64) for b in biases),
            scale,
        )

    @classmethod
    def random(cls, architecture: Architecture, rng: np.random.Generator, scale: int = 1) -> "IntegerNetwork":
        """Draw every weight and bias uniformly from its domain."""
        return cls.of(
            architecture,
            [layer.weights.random(rng, (layer.n_in, layer.n_out)) for layer in architecture.layers],
            [
                layer.bias.random(rng, (layer.n_out,)) if layer.bias is not None else np.zeros(layer.n_out)
                for layer in architecture.layers
            ],
            scale,
        )

    @classmethod
    def constant(cls, architecture: Architecture, favoured: int, scale: int = 1) -> "IntegerNetwork":
        """Return the network nearest to always answering one class: zero weights, output biases of +1 and -1."""
        weights = [layer.weights.clip(np.zeros((layer.n_in, layer.n_out))) for layer in architecture.layers]
        signs = np.where(np.arange(architecture.n_outputs) == favoured, 1.0, -1.0)
        if architecture.n_outputs == 1:
            signs = np.array([1.0 if favoured == 1 else -1.0])
        signs = signs * architecture.layers[-1].weights.denominator
        biases = [
            layer.bias.clip(signs if layer is architecture.layers[-1] else np.zeros(layer.n_out))
            if layer.bias is not None
            else np.zeros(layer.n_out)
            for layer in architecture.layers
        ]
        return cls.of(architecture, weights, biases, scale)

    def trace(self, X: Any) -> Trace:
        """Run the exact forward pass and keep every layer.

        Parameters
        ----------
        X : array of shape (n, n_features), integers
            Samples in grid units.

        Raises
        ------
        InputError
            When X has another width or is not integer.
        OverflowRiskError
            When a pre-activation could leave the int64 range.
        """
        h = self._grid(X)
        preactivations: list[Integers] = []
        activations: list[Integers] = []
        for number, (layer, W, b) in enumerate(zip(self.architecture.layers, self.weights, self.biases, strict=True)):
            a = _exact_product(h, W) + (self.scale * b if number == 0 else b)
            preactivations.append(a)
            h = np.where(a >= 0, 1, layer.lowest).astype(np.int64)
            activations.append(h)
        return Trace(tuple(preactivations), tuple(activations[:-1]))

    def _grid(self, X: Any) -> Integers:
        """Check the input and prove that int64 suffices: |a| <= max_k |x_k|_1 * max|w| + scale * max|b|."""
        array = np.asarray(X)
        if array.ndim != 2 or array.shape[1] != self.architecture.n_features:
            raise InputError(f"X needs shape (n, {self.architecture.n_features}), got {array.shape}")
        if array.dtype.kind not in "iub":
            if not np.all(np.isfinite(array.astype(float)) & (array == np.rint(array.astype(float)))):
                raise InputError("X must hold integers in grid units; encode real features first")
            if np.abs(array.astype(float)).max(initial=0) >= 2**53:
                raise OverflowRiskError("X has floating-point entries of 2^53 or more, which are not exact integers")
        first = self.architecture.layers[0]
        largest = max(abs(int(array.max(initial=0))), abs(int(array.min(initial=0)))) if array.size else 0
        reach = first.n_in * largest * first.weights.bound + self.scale * (first.bias.bound if first.bias else 0)
        if reach >= INT64_SAFE:
            raise OverflowRiskError(
                f"pre-activations may reach {reach}, beyond exact int64; use a coarser grid or smaller weight bounds"
            )
        return array.astype(np.int64)

    def scores(self, X: Any) -> Integers:
        """Return the output pre-activations, int64 of shape (n, n_outputs)."""
        return self.trace(X).scores

    def predict(self, X: Any) -> Integers:
        """Return class indices of shape (n,): the largest score, the lowest index on ties; one output: score >= 0."""
        return predict_scores(self.scores(X))

    def margins(self, X: Any, y: NDArray[Any]) -> Integers:
        """Return the score of the true class minus the best other score (one output: the signed score)."""
        scores, labels = self.scores(X), np.asarray(y, dtype=np.int64)
        if scores.shape[1] == 1:
            return scores[:, 0] * (2 * labels - 1)
        rows = np.arange(len(scores))
        others = scores.copy()
        others[rows, labels] = np.iinfo(np.int64).min
        return np.asarray(scores[rows, labels] - others.max(axis=1))

    def all_good(self, X: Any, y: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell for each sample whether the true output is >= 0 and all others are < 0."""
        scores, labels = self.scores(X), np.asarray(y, dtype=np.int64)
        wanted = labels[:, None] == (np.arange(scores.shape[1]) if scores.shape[1] > 1 else 1)
        return np.asarray(np.all((scores >= 0) == wanted, axis=1))

    @property
    def score_unit(self) -> int:
        """The integer that stands for a score of 1."""
        return self.architecture.unit(-1, self.scale)

    def decided(self, trace: Trace) -> bool:
        """Whether every hidden pre-activation of a trace that is below 0 keeps the margin of its layer."""
        return not any(
            self.architecture.layers[i].margin and np.any((a < 0) & (a > -self.architecture.margin(i, self.scale)))
            for i, a in enumerate(trace.preactivations[:-1])
        )

    @property
    def size_bits(self) -> int:
        """Bits that store all weights and biases."""
        return self.architecture.size_bits

    @property
    def nonzeros(self) -> int:
        """Number of non-zero weights and biases."""
        return int(sum(np.count_nonzero(part) for part in (*self.weights, *self.biases)))

    def live_units(self, layer: int) -> NDArray[np.bool_]:
        """Hidden units of a layer with any non-zero incoming or outgoing weight or bias, bool of shape (n_l,)."""
        incoming = np.any(self.weights[layer] != 0, axis=0) | (self.biases[layer] != 0)
        return np.asarray(incoming | np.any(self.weights[layer + 1] != 0, axis=1))

    def strip(self) -> "IntegerNetwork":
        """Drop hidden units that no later layer reads; predictions and scores stay the same.

        A unit is dropped when all its outgoing weights are 0; at least one unit a layer
        stays. Dropping a unit can free units before it, so layers are taken from the back.
        """
        layers = list(self.architecture.layers)
        weights, biases = list(self.weights), list(self.biases)
        for i in range(len(layers) - 2, -1, -1):
            keep = np.any(weights[i + 1] != 0, axis=1)
            if not keep.any():
                keep[0] = True
            weights[i], biases[i], weights[i + 1] = weights[i][:, keep], biases[i][keep], weights[i + 1][keep]
            layers[i] = _resize(layers[i], n_out=int(keep.sum()))
            layers[i + 1] = _resize(layers[i + 1], n_in=int(keep.sum()))
        return IntegerNetwork(Architecture(tuple(layers)), tuple(weights), tuple(biases), self.scale)

    def used_inputs(self) -> NDArray[np.bool_]:
        """Features with a non-zero weight, bool of shape (n_features,)."""
        return np.asarray(np.any(self.weights[0] != 0, axis=1))

    def strip_inputs(self) -> "tuple[IntegerNetwork, NDArray[np.int64]]":
        """Drop features without a weight; returns the network and the indices of the features it reads."""
        keep = self.used_inputs()
        if not keep.any():
            keep[0] = True
        first = _resize(self.architecture.layers[0], n_in=int(keep.sum()))
        shape = Architecture((first, *self.architecture.layers[1:]))
        weights = (self.weights[0][keep], *self.weights[1:])
        return replace(self, architecture=shape, weights=weights), np.flatnonzero(keep)

    def equals(self, other: "IntegerNetwork") -> bool:
        """Whether architecture, scale and all parameters are the same."""
        return (
            self.architecture == other.architecture
            and self.scale == other.scale
            and all(map(np.array_equal, self.weights, other.weights))
            and all(map(np.array_equal, self.biases, other.biases))
        )

    def _needs_newest(self) -> bool:
        """Whether the network has a step activation or continuous weights, which version 1 did not know."""
        layers = self.architecture.layers
        return self.architecture.continuous or any(layer.activation == "step" for layer in layers)

    def to_dict(self) -> dict[str, Any]:
        """Return the network as versioned JSON data, in the oldest version that can say it."""
        return {
            "format": FORMAT,
            "version": VERSION if self._needs_newest() else READABLE[0],
            "scale": self.scale,
            "architecture": self.architecture.to_dict(),
            "weights": [W.tolist() for W in self.weights],
            "biases": [b.tolist() for b in self.biases],
        }

    @classmethod
    def from_dict(cls, data: Any) -> "IntegerNetwork":
        """Rebuild a network from `to_dict`; a damaged or foreign object raises `ModelFileError`."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ModelFileError(f"not a network: the field 'format' must be {FORMAT!r}")
        if data.get("version") not in READABLE:
            raise ModelFileError(
                f"network format version {data.get('version')!r} is not readable by this release, "
                f"which reads up to {VERSION}"
            )
        try:
            shape = Architecture.from_dict(data["architecture"])
            parts = [_exact_array(part) for part in (*data["weights"], *data["biases"])]
            half = len(data["weights"])
            return cls(shape, tuple(parts[:half]), tuple(parts[half:]), int(data["scale"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelFileError(f"damaged network: {type(error).__name__}: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network as JSON; an existing file is replaced only by a complete one."""
        write_text_safely(path, json.dumps(self.to_dict()) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "IntegerNetwork":
        """Read a network that `save` wrote."""
        return cls.from_dict(read_json(path))


def _exact_product(h: Integers, W: Integers) -> Integers:
    """Return ``h @ W``, through floats where every partial sum is exact in them: those products are fast."""
    reach = h.shape[1] * int(np.abs(h).max(initial=0)) * int(np.abs(W).max(initial=0))
    for kind, digits in ((np.float32, 24), (np.float64, 53)):
        if reach < 2**digits:
            return np.asarray((h.astype(kind) @ W.astype(kind)).astype(np.int64))
    return np.asarray(h @ W)


def _resize(layer: Dense, n_in: int | None = None, n_out: int | None = None) -> Dense:
    return replace(layer, n_in=layer.n_in if n_in is None else n_in, n_out=layer.n_out if n_out is None else n_out)


def _exact_array(part: Any) -> Integers:
    array = np.array(part)
    if array.dtype.kind not in "iu":
        raise ValueError("weights and biases must be integers")
    return array.astype(np.int64)


def predict_scores(scores: Integers) -> Integers:
    """Turn scores of shape (n, n_outputs) into class indices of shape (n,)."""
    if scores.shape[1] == 1:
        return (scores[:, 0] >= 0).astype(np.int64)
    return scores.argmax(axis=1).astype(np.int64)
