"""Layers with integer weights and binary activations, trained by gradients."""

import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError
from provenn.network import Architecture, Dense, IntegerDomain, IntegerNetwork
from provenn.network.architecture import LOWEST, Activation
from provenn.tame._torch_activations import Backward, check_backward, on_grid, quantised, threshold
from provenn.tame._torch_import import Module, Tensor, torch

Weights = Literal["binary", "ternary"] | int | IntegerDomain


def domain_of(weights: Weights) -> IntegerDomain:
    """Return the domain with a name: "binary", "ternary", or P for ``-P..P``."""
    if isinstance(weights, IntegerDomain):
        domain = weights
    elif isinstance(weights, str):
        named = {"binary": IntegerDomain.binary, "ternary": IntegerDomain.ternary}
        if weights not in named:
            raise InputError(f"unknown weights {weights!r}: choose 'binary', 'ternary' or a largest absolute value P")
        domain = named[weights]()
    else:
        domain = IntegerDomain.symmetric(weights)
    if domain.continuous_box:
        raise InputError("a BinaryLayer has integer weights: choose 'binary', 'ternary' or P")
    return domain


class BinaryLayer(Module):
    """A layer ``h = sign(x W + b)`` or ``step(x W + b)`` with integer W and b, exact in the forward pass.

    Latent real weights are rounded to the nearest values of their domain; rounding passes gradients
    on, except those that push a latent weight out of its box. The activation's gradient is that of a
    regularised layer problem, see `threshold`.

    Parameters
    ----------
    n_in, n_out : int
    weights : "binary", "ternary", int P or IntegerDomain
        Domain of weights and biases.
    activation : "sign", "step" or None
        None for the output layer.
    backward : "qp", "entropy", "perturb", "blackbox" or "zero"
    width : float, optional
        Width of the gradient in units of the pre-activation, by default ``sqrt(n_in)``, about the
        spread of pre-activations.
    bias : bool
    scale : int, optional
        Of a first layer: inputs are rounded to whole grid units, `scale` in 1, and pre-activations are
        summed in them, exactly. None takes inputs as they are: signs of the layer before, or grid points.

    References
    ----------
    Courbariaux et al., arXiv 1602.02830. Aspman, Korpas & Marecek, arXiv 2310.04469.

    Examples
    --------
    >>> layer = BinaryLayer(2, 1, weights="ternary", activation="step")
    >>> _ = layer.assign([[1], [-1]], [0])
    >>> layer(torch.tensor([[3.0, 1.0], [1.0, 3.0]])).tolist()
    [[1.0], [0.0]]
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        weights: Weights = "ternary",
        activation: Activation | None = "sign",
        backward: Backward = "qp",
        width: float | None = None,
        bias: bool = True,
        scale: int | None = None,
    ) -> None:
        """Draw latent weights uniformly from their box."""
        super().__init__()
        self.domain = domain_of(weights)
        self.dense = Dense(n_in, n_out, self.domain, self.domain if bias else None, activation)
        self.backward_name: Backward = backward
        self.width = math.sqrt(n_in) if width is None else float(width)
        self.scale = scale
        check_backward(backward, self.width)
        if scale is not None and scale < 1:
            raise InputError(f"the scale must be at least 1 grid unit in 1, got {scale}")
        self.weight = torch.nn.Parameter(self._drawn(n_in, n_out))
        self.bias = torch.nn.Parameter(self._drawn(n_out)) if bias else None

    def _drawn(self, *shape: int) -> Tensor:
        return self.domain.low + (self.domain.high - self.domain.low) * torch.rand(*shape)

    def parameters_quantised(self) -> tuple[Tensor, Tensor | None]:
        """Return W of shape (n_in, n_out) and b of shape (n_out,), on their domain."""
        return quantised(self.weight, self.domain), None if self.bias is None else quantised(self.bias, self.domain)

    def forward(self, x: Tensor) -> Tensor:
        """Return activations (scores of an output layer) for inputs of shape (..., n_in)."""
        a = self.preactivations(x)
        if self.dense.activation is None:
            return a.to(x.dtype)
        return threshold(a, LOWEST[self.dense.activation], self.backward_name, self.width).to(x.dtype)

    def preactivations(self, x: Tensor) -> Tensor:
        """Return ``x W + b`` in real units."""
        W, b = self.parameters_quantised()
        if self.scale is None:
            a = x @ W.to(x.dtype)
            return a if b is None else a + b.to(x.dtype)
        a = on_grid(x, self.scale) @ W.double()
        return (a if b is None else a + self.scale * b.double()) / self.scale

    def integers(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return weights and biases as arrays; zeros where there are no biases."""
        W, b = self.parameters_quantised()
        biases = torch.zeros(self.dense.n_out) if b is None else b
        return tuple(part.detach().cpu().numpy().astype(np.int64) for part in (W, biases))

    def assign(self, weights: Any, biases: Any = None) -> "BinaryLayer":
        """Set the latent parameters to given integers, and return the layer."""
        with torch.no_grad():
            self.weight.copy_(torch.as_tensor(weights, dtype=self.weight.dtype))
            if self.bias is not None and biases is not None:
                self.bias.copy_(torch.as_tensor(biases, dtype=self.bias.dtype))
        return self

    def get_extra_state(self) -> dict[str, Any]:
        """Return what the parameters mean, so that a state of another layer is refused."""
        return {**self.domain.to_dict(), "activation": self.dense.activation, "scale": self.scale}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Refuse the state of a layer with another domain, activation or scale."""
        if state != self.get_extra_state():
            raise InputError(f"the state is that of a layer {state}, this one is {self.get_extra_state()}")

    def extra_repr(self) -> str:
        """Describe the layer."""
        d = self.domain
        return (
            f"{self.dense.n_in}, {self.dense.n_out}, weights={d.low}..{d.high} by {d.step}, "
            f"activation={self.dense.activation}, backward={self.backward_name}, width={self.width:g}"
        )


def to_integer_network(layers: Iterable[Any], scale: int = 1) -> IntegerNetwork:
    """Convert a trained chain of `BinaryLayer` into an `IntegerNetwork` that computes the same, bit for bit.

    The network reads grid units ``X``, the chain ``X / scale``. Scores without hidden layers are those of
    the chain times `scale`, with hidden layers they are equal.

    Parameters
    ----------
    layers : Sequential or other iterable of BinaryLayer
        All but the last have an activation.
    scale : int
        Grid units in 1. The first layer must have been built with this `scale`, unless it is a power of
        two: sums of other fractions are not exact in floats, so that signs could differ.

    Raises
    ------
    InputError
        For other modules, layers that do not fit, or a scale that the chain does not compute exactly.

    Examples
    --------
    >>> chain = torch.nn.Sequential(BinaryLayer(3, 2, scale=10), BinaryLayer(2, 1, activation=None))
    >>> network = to_integer_network(chain, scale=10)
    >>> X = np.array([[7, -3, 10], [1, 2, 3]])
    >>> bool((network.scores(X) == chain(torch.tensor(X) / 10).detach().numpy()).all())
    True
    """
    chain = list(layers)
    other = [type(layer).__name__ for layer in chain if not isinstance(layer, BinaryLayer)]
    if other or not chain:
        raise InputError(f"only chains of BinaryLayer become integer networks, not {', '.join(other) or 'nothing'}")
    _check_scale([layer.scale for layer in chain], scale)
    parts = [layer.integers() for layer in chain]
    shape = Architecture(tuple(layer.dense for layer in chain))
    return IntegerNetwork(shape, tuple(W for W, _ in parts), tuple(b for _, b in parts), scale)


def _check_scale(scales: list[int | None], scale: int) -> None:
    """Refuse chains whose float sums on a grid of that scale are not exact."""
    if any(given is not None for given in scales[1:]):
        raise InputError("only the first layer of a chain may have a scale: the others read activations")
    exact = scales[0] == scale if scales[0] is not None else scale >= 1 and scale & (scale - 1) == 0
    if not exact:
        raise InputError(
            f"the first layer was built with scale={scales[0]}, so that it is not exact on a grid of {scale} units "
            f"in 1: build it with scale={scale}"
        )
