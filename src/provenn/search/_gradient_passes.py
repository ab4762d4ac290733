"""The forward pass of an integer network in PyTorch, exact and with straight-through gradients."""

import importlib
import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenn.errors import MissingDependencyError
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.network.architecture import Dense

Tensor = Any
EXACT_FLOAT32 = 2**24
EXACT_FLOAT64 = 2**53


def available() -> bool:
    """Whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def load_torch() -> Any:
    """Return the module `torch`.

    Raises
    ------
    MissingDependencyError
        When it is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise MissingDependencyError(
            "gradient training needs PyTorch, which is not installed: pip install 'provenn[torch]'"
        ) from error


@dataclass(frozen=True)
class Box:
    """The domains of a layer's parameters, for a matrix whose last row are the biases.

    Every field is a number where weights and biases share a domain, else a column of
    shape (n_in + 1, 1). A layer without biases has the domain {0} for them.
    """

    low: Tensor
    high: Tensor
    step: Tensor

    @classmethod
    def of(cls, layer: Dense, n_in: int, dtype: Any) -> "Box":
        """Describe a layer of which `n_in` inputs are trained."""
        bias = layer.bias if layer.bias is not None else IntegerDomain(0, 0)
        if bias == layer.weights:
            return cls(float(bias.low), float(bias.high), float(bias.step))
        domains = [*[layer.weights] * n_in, bias]
        table = [[[float(value)] for value in column] for column in zip(*map(_bounds, domains), strict=True)]
        return cls(*(load_torch().tensor(column, dtype=dtype) for column in table))

    def clip(self, latent: Tensor) -> Tensor:
        """Move latent parameters into the box, in place."""
        return latent.clamp_(min=self.low, max=self.high)

    def round(self, latent: Tensor) -> Tensor:
        """Return the nearest values of the domain for latent parameters inside the box."""
        return load_torch().round((latent - self.low) / self.step) * self.step + self.low


def _bounds(domain: IntegerDomain) -> tuple[int, int, int]:
    return domain.low, domain.high, domain.step


@dataclass(frozen=True)
class Shape:
    """What the passes need to know of an architecture and data.

    Parameters
    ----------
    architecture : Architecture
    scale : int
        Grid units in 1.
    widths : tuple of float
        Width of the gradient of the sign, one a hidden layer, in real units.
    columns : ndarray of int64
        The features that are trained; the others have weight 0.
    dtype : torch.dtype
        float32 where all pre-activations are below 2^24, so that they are exact, else float64.
    boxes : tuple of Box
    exact : bool
        Whether pre-activations are below 2^53, so that the passes are exact.
    """

    architecture: Architecture
    scale: int
    widths: tuple[float, ...]
    columns: NDArray[np.int64]
    dtype: Any
    boxes: tuple[Box, ...]
    exact: bool

    def covers(self, network: IntegerNetwork) -> bool:
        """Whether a network has no weights at features that are not trained, and float passes are exact."""
        others = np.delete(network.weights[0], self.columns, axis=0)
        return self.exact and not others.any()

    def inputs(self, X: NDArray[np.int64]) -> Tensor:
        """Return the trained columns of X as a tensor of shape (n, len(columns))."""
        return load_torch().tensor(X[:, self.columns], dtype=self.dtype)

    def parameters(self, weights: Sequence[NDArray[Any]], biases: Sequence[NDArray[Any]]) -> list[Tensor]:
        """Return the parameters of a network, one tensor of shape (n_in + 1, n_out) a layer."""
        first = [weights[0][self.columns], *weights[1:]]
        return [load_torch().tensor(np.vstack([W, b]), dtype=self.dtype) for W, b in zip(first, biases, strict=True)]

    def arrays(self, parameters: Sequence[Tensor]) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        """Return weights and biases as arrays; the inverse of `parameters`."""
        weights = [P[:-1].numpy() for P in parameters]
        full = np.zeros((self.architecture.n_features, weights[0].shape[1]))
        full[self.columns] = weights[0]
        return [full, *weights[1:]], [P[-1].numpy() for P in parameters]


def describe(architecture: Architecture, dataset: Dataset, width: float) -> Shape:
    """Choose the trained features, the precision and the widths for an architecture and data.

    Parameters
    ----------
    architecture : Architecture
    dataset : Dataset
    width : float
        Width of the gradient of the sign, in units of `spreads`.
    """
    torch = load_torch()
    first = architecture.layers[0]
    keep = dataset.live if first.weights.has_zero else np.ones(dataset.n_features, dtype=bool)
    columns = np.flatnonzero(keep)
    largest = int(np.abs(dataset.X).max())
    reach = first.n_in * largest * first.weights.bound + dataset.scale * (first.bias.bound if first.bias else 0)
    dtype = torch.float32 if reach < EXACT_FLOAT32 else torch.float64
    widths = tuple(width * spread for spread in spreads(architecture, dataset)[:-1])
    sizes = [len(columns), *architecture.hidden]
    boxes = tuple(Box.of(layer, n_in, dtype) for layer, n_in in zip(architecture.layers, sizes, strict=True))
    return Shape(architecture, dataset.scale, widths, columns, dtype, boxes, reach < EXACT_FLOAT64)


def spreads(architecture: Architecture, dataset: Dataset) -> list[float]:
    """Return the root mean square of each layer's pre-activations under uniform random weights, in real units."""
    squares = ((dataset.X / dataset.scale) ** 2).sum(axis=1)
    fan_in = float(np.average(squares, weights=dataset.multiplicity))
    result = []
    for layer in architecture.layers:
        bias = _mean_square(layer.bias) if layer.bias is not None else 0.0
        result.append(math.sqrt(fan_in * _mean_square(layer.weights) + bias) or 1.0)
        fan_in = layer.n_out * 0.5 * (1 + layer.lowest**2)
    return result


def _mean_square(domain: IntegerDomain) -> float:
    return float(np.mean(domain.values.astype(float) ** 2))


def exact_scores(shape: Shape, parameters: Sequence[Tensor], x: Tensor, kept: float = 1.0) -> Tensor:
    """Return the scores of integer weights, with straight-through gradients.

    Forward ``h = sign(a)``; backward as if ``dh/da = max(0, 1 - |a| / width) / width``. A step is
    ``h = (1 + sign(a)) / 2``, with half of that. The caller treats rounding as the identity: the
    gradient at the rounded weights moves the latent ones.

    Parameters
    ----------
    shape : Shape
    parameters : sequence of tensor of shape (n_in + 1, n_out)
        Weights and, in the last row, biases of every layer.
    x : tensor of shape (n, len(shape.columns))
        Grid units.
    kept : float
        Share of inputs that are not dropped; what they contribute is scaled up accordingly.

    Returns
    -------
    tensor of shape (n, n_outputs)
        In real units: exact integers behind a hidden layer, else grid units / scale.

    References
    ----------
    Bengio, Léonard & Courville (2013), arXiv:1308.3432. Hubara et al. (2016), arXiv:1602.02830.
    """
    torch = load_torch()
    h = x
    last = len(parameters) - 1
    for number, P in enumerate(parameters):
        a = _affine(shape, number, h, P, kept)
        if number < last:
            u = torch.clamp(a / shape.widths[number], -1.0, 1.0)
            soft = u * (1.0 - 0.5 * u.abs())
            lowest = shape.architecture.layers[number].lowest
            h = torch.where(a >= 0, 1.0, float(lowest)).to(a.dtype) + 0.5 * (1 - lowest) * (soft - soft.detach())
    return a


def _affine(shape: Shape, number: int, h: Tensor, P: Tensor, kept: float) -> Tensor:
    """Return the pre-activations in real units; exact sums of integers come before the division by the scale."""
    if number > 0:
        return h @ P[:-1] + P[-1]
    a = h @ P[:-1]
    a = (a if kept == 1.0 else a / kept) + shape.scale * P[-1]
    return a if shape.scale == 1 else a / shape.scale
