"""The shape of a network: layers, their domains and activations."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError
from provenn.network.domain import IntegerDomain

Activation = Literal["sign", "step"]
LOWEST: dict[Activation, int] = {"sign": -1, "step": 0}
MARGIN = 1e-4


@dataclass(frozen=True)
class Dense:
    """A fully connected layer ``a = h W + b`` with an optional activation.

    Parameters
    ----------
    n_in, n_out : int
        Numbers of inputs and units, at least 1.
    weights : IntegerDomain
        Values of every weight.
    bias : IntegerDomain or None
        Values of every bias; None for a layer without biases.
    activation : "sign", "step" or None
        ``sign(a) = +1 if a >= 0 else -1``, ``step(a) = 1 if a >= 0 else 0``; None on the output
        layer only.
    margin : float
        Distance from 0, in real units, that pre-activations below 0 keep on the training data.
        0 asks for what the grid gives anyway; continuous layers need more, since no solver tells
        smaller distances apart.
    """

    n_in: int
    n_out: int
    weights: IntegerDomain
    bias: IntegerDomain | None
    activation: Activation | None = None
    margin: float = 0.0

    def __post_init__(self) -> None:
        """Check sizes and the activation's name."""
        if self.n_in < 1 or self.n_out < 1:
            raise InputError(f"a layer needs at least one input and one unit, got {self.n_in} and {self.n_out}")
        if self.activation is not None and self.activation not in LOWEST:
            raise InputError(
                f"unknown activation {self.activation!r}: choose 'sign' or 'step', or None on the output layer"
            )
        if self.bias is not None and self.bias.denominator != self.weights.denominator:
            raise InputError("weights and biases of a layer must both be integers or both be continuous")
        if not 0 <= self.margin < 1:
            raise InputError(f"the margin of a layer must be at least 0 and below 1, got {self.margin}")
        if self.continuous and self.margin <= 0:
            raise InputError(f"a layer with continuous weights needs a positive margin, for example {MARGIN}")

    @property
    def continuous(self) -> bool:
        """Whether weights and biases are continuous, on a dyadic grid."""
        return self.weights.continuous_box

    @property
    def lowest(self) -> int:
        """Activation of a unit that does not fire: -1 for sign, 0 for step."""
        return LOWEST[self.activation or "sign"]

    @property
    def size_bits(self) -> int:
        """Bits that store all weights and biases."""
        bias_bits = self.bias.bits if self.bias is not None else 0
        return self.n_out * (self.n_in * self.weights.bits + bias_bits)


@dataclass(frozen=True)
class Architecture:
    """A chain of layers; hidden layers have an activation, the output layer has none.

    Examples
    --------
    >>> net = Architecture.build(5, 2, hidden=(4,), weights=IntegerDomain.ternary())
    >>> [(layer.n_in, layer.n_out, layer.activation) for layer in net.layers]
    [(5, 4, 'sign'), (4, 1, None)]
    """

    layers: tuple[Dense, ...]

    def __post_init__(self) -> None:
        """Check that the layers fit together."""
        if not self.layers:
            raise InputError("an architecture needs at least one layer")
        for before, after in zip(self.layers, self.layers[1:], strict=False):
            if before.n_out != after.n_in:
                raise InputError(f"a layer with {before.n_out} units is followed by one with {after.n_in} inputs")
        if any(layer.activation is None for layer in self.layers[:-1]) or self.layers[-1].activation is not None:
            raise InputError("hidden layers need an activation, sign or step, and the output layer has none")

    @classmethod
    def build(
        cls,
        n_features: int,
        n_classes: int,
        hidden: Sequence[int] = (),
        weights: IntegerDomain | Sequence[IntegerDomain] | None = None,
        bias: IntegerDomain | Literal["same"] | None = "same",
        outputs: int | None = None,
        activation: Activation = "sign",
        margin: float = MARGIN,
    ) -> "Architecture":
        """Chain layers of the given sizes.

        Parameters
        ----------
        n_features, n_classes : int
            Input width and number of classes (at least 2).
        hidden : sequence of int
            Units of each hidden layer.
        weights : IntegerDomain or one for each layer, default ternary
            Domain of the weights.
        bias : IntegerDomain, None or "same"
            Domain of the biases; "same" uses the domain of the layer's weights, None leaves biases out.
            A layer whose weights are continuous and the bias is not, or the reverse, has its bias in
            the same units as its weights.
        outputs : int, optional
            Output units; by default 1 for two classes, otherwise one for each class.
        activation : "sign" or "step"
            Of all hidden layers.
        margin : float
            Of layers with continuous weights, see `Dense`.
        """
        if n_classes < 2:
            raise InputError(f"a classifier needs at least two classes, got {n_classes}")
        n_outputs = outputs if outputs is not None else (1 if n_classes == 2 else n_classes)
        if n_outputs != n_classes and (n_outputs, n_classes) != (1, 2):
            raise InputError(f"{n_outputs} outputs cannot tell {n_classes} classes apart; use one output a class")
        sizes = [n_features, *hidden, n_outputs]
        if min(sizes) < 1:
            raise InputError(f"every layer needs at least one unit, got the sizes {sizes}")
        last = len(sizes) - 2
        given = weights if weights is not None else IntegerDomain.ternary()
        domains = [given] * (last + 1) if isinstance(given, IntegerDomain) else list(given)
        if len(domains) != last + 1:
            raise InputError(f"{last + 1} layers need as many weight domains, got {len(domains)}")
        return cls(
            tuple(
                Dense(
                    sizes[i],
                    sizes[i + 1],
                    domain,
                    domain if bias == "same" else None if bias is None else bias.in_units_of(domain),
                    activation if i < last else None,
                    margin if domain.continuous_box else 0.0,
                )
                for i, domain in enumerate(domains)
            )
        )

    @property
    def n_features(self) -> int:
        """Width of the input."""
        return self.layers[0].n_in

    @property
    def n_outputs(self) -> int:
        """Width of the output."""
        return self.layers[-1].n_out

    @property
    def n_classes(self) -> int:
        """Number of classes: two for a single output, else one for each output."""
        return max(2, self.n_outputs)

    @property
    def hidden(self) -> tuple[int, ...]:
        """Units of each hidden layer."""
        return tuple(layer.n_out for layer in self.layers[:-1])

    @property
    def size_bits(self) -> int:
        """Bits that store all weights and biases."""
        return sum(layer.size_bits for layer in self.layers)

    @property
    def continuous(self) -> bool:
        """Whether any layer has continuous weights."""
        return any(layer.continuous for layer in self.layers)

    def unit(self, layer: int, scale: int) -> int:
        """Return the integer that stands for a pre-activation of 1 in a layer.

        Parameters
        ----------
        layer : int
            Index of the layer; -1 is the output layer.
        scale : int
            Grid units in 1.
        """
        first = layer % len(self.layers) == 0
        return self.layers[layer].weights.denominator * (scale if first else 1)

    def margin(self, layer: int, scale: int) -> int:
        """Return the distance from 0 that negative pre-activations keep, in integers, at least 1."""
        return max(1, ceil(self.layers[layer].margin * self.unit(layer, scale)))

    def bounds(self, layer: int, X: NDArray[np.int64], scale: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bound the pre-activations of a layer, the one source of big-M values.

        The interval of ``a = h W + b`` over the weight boxes; exact for each sample in
        layer 0, where ``h`` is the sample and the bias counts ``scale`` grid units, and
        the same for all samples in later layers, where every ``h`` is one of two activations.

        Parameters
        ----------
        layer : int
            Index of the layer, 0 is the first.
        X : ndarray of shape (n, n_features), int64
            Samples in grid units.
        scale : int
            Grid units in 1.

        Returns
        -------
        low, high : ndarray of shape (n,), int64
        """
        dense = self.layers[layer]
        if layer == 0:
            positive, negative = np.maximum(X, 0).sum(axis=1), np.minimum(X, 0).sum(axis=1)
            low = dense.weights.low * positive + dense.weights.high * negative
            high = dense.weights.high * positive + dense.weights.low * negative
        else:
            corners = np.outer([self.layers[layer - 1].lowest, 1], [dense.weights.low, dense.weights.high])
            low, high = (
                np.full(len(X), dense.n_in * int(end), dtype=np.int64) for end in (corners.min(), corners.max())
            )
            scale = 1
        if dense.bias is not None:
            low, high = low + scale * dense.bias.low, high + scale * dense.bias.high
        return low, high

    def to_dict(self) -> dict[str, Any]:
        """Return the layers as JSON data."""
        return {
            "layers": [
                {
                    "n_in": layer.n_in,
                    "n_out": layer.n_out,
                    "weights": layer.weights.to_dict(),
                    "bias": layer.bias.to_dict() if layer.bias is not None else None,
                    "activation": layer.activation,
                    **({"margin": layer.margin} if layer.margin else {}),
                }
                for layer in self.layers
            ]
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Architecture":
        """Rebuild an architecture from `to_dict`."""
        return cls(
            tuple(
                Dense(
                    int(layer["n_in"]),
                    int(layer["n_out"]),
                    IntegerDomain(**layer["weights"]),
                    IntegerDomain(**layer["bias"]) if layer["bias"] is not None else None,
                    layer["activation"],
                    float(layer.get("margin", 0.0)),
                )
                for layer in data["layers"]
            )
        )
