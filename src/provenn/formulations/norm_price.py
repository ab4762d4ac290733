"""A price on the size of the weights: the sum of their absolute values or of their squares."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np

from provenn.errors import InputError
from provenn.formulations._base import SideConstraint, exact_price
from provenn.losses import Model
from provenn.losses._base import Integers, Terms
from provenn.milp import Builder
from provenn.network import Architecture, Dataset, IntegerNetwork

MICRO = 1_000_000
TANGENTS = 32


@dataclass(frozen=True)
class NormPrice(SideConstraint):
    r"""Charge ``price * sum |w|`` (power 1) or ``price * sum w^2`` (power 2); biases are free.

    Weights count in real units. The price of a network is a whole number of steps of ``price / parts``:
    ``ceil(parts * sum |w|^power)``. Over integer weights one part is exact. Over continuous weights
    the sum is rounded up to whole parts, and the MILP charges the sum itself: it never charges more
    than what is counted, and less than one part less.

    The MILP is linear, for every solver. Rows ``xi >= |w|`` give power 1. With power 2 the square of an integer lies
    on the chords ``q >= (2k + 1) xi - k (k + 1)``, ``k = 0..P-1``, and that of a continuous weight above the
    tangents ``q >= 2 p xi - p^2`` at spread points p and at the weights of the networks where the model is to be exact.

    Parameters
    ----------
    price : float or Fraction
        Cost of 1 in the sum, in the loss's measure.
    power : {1, 2}
    parts : int
        Steps in which 1 is counted, at least 1; continuous weights need more than 1, for example 1,000,000.

    References
    ----------
    Kurtz & Bah, arXiv 2110.11382.

    Examples
    --------
    >>> net = IntegerNetwork.of(Architecture.build(3, 2), [[[1], [0], [-1]]], [[1]])
    >>> NormPrice(0.5).count(net), NormPrice(0.5).price_unit
    (2, Fraction(1, 2))
    >>> from provenn.network import IntegerDomain
    >>> shape = Architecture.build(2, 2, weights=IntegerDomain.continuous(1.0, bits=1))
    >>> half = IntegerNetwork.of(shape, [[[1], [-1]]], [[0]])
    >>> NormPrice(1, 1, 1000).count(half), NormPrice(1, 2, 1000).count(half)
    (1000, 500)
    """

    price: float | Fraction
    power: int = 1
    parts: int = 1

    def __post_init__(self) -> None:
        """Refuse other norms, negative prices and broken parts."""
        exact_price(self.price, "weight")
        if self.power not in (1, 2):
            raise InputError(f"the power of a norm price must be 1 or 2, got {self.power!r}")
        if not (isinstance(self.parts, int) and self.parts >= 1):
            raise InputError(f"the parts of a norm price must be a whole number from 1 up, got {self.parts!r}")

    @property
    def price_unit(self) -> Fraction | None:
        """Cost of one part."""
        return exact_price(self.price, "weight") / self.parts or None

    def check(self, architecture: Architecture, dataset: Dataset) -> None:
        """Refuse to count continuous weights in whole units."""
        if architecture.continuous and self.parts == 1:
            raise InputError(
                f"a norm price would round the sum of continuous weights up to a whole number; give parts={MICRO}"
            )

    def admits(self, network: IntegerNetwork) -> bool:
        """Every network is admitted."""
        return True

    def count(self, network: IntegerNetwork) -> int:
        """Return ``parts * sum |w|^power``, rounded up."""
        layers = zip(network.weights, network.architecture.layers, strict=True)
        sums = (Fraction(self._sum(W), dense.weights.denominator**self.power) for W, dense in layers)
        return ceil(self.parts * sum(sums, Fraction(0)))

    def _sum(self, W: Integers) -> int:
        """Return the sum of integers below 2^31 in size, or of their squares, exactly."""
        size = np.abs(W).ravel()
        if self.power == 1:
            return int(size.sum())
        high, low = size >> 16, size & 0xFFFF
        return (int(high @ high) << 32) + (int(high @ low) << 17) + int(low @ low)

    def add_to(self, model: Model, units: int) -> None:
        """Add the sizes of all weights, for power 2 their squares, and the cost."""
        if not units:
            return
        for layer, dense in enumerate(model.architecture.layers):
            columns = model.magnitudes(layer)
            if self.power == 2:
                columns = _squares(model, layer, columns)
            model.builder.minimise(columns, float(units) * self.parts)
            if dense.continuous:
                model.approximate()


def _squares(model: Model, layer: int, sizes: Integers) -> Integers:
    """Add columns ``q >= xi^2`` for the sizes xi of the weights of a layer and return them."""
    dense = model.architecture.layers[layer]
    denominator, bound = dense.weights.denominator, dense.weights.bound / dense.weights.denominator
    name, builder = f"square{layer}", model.builder
    if name in builder.blocks:
        return builder.blocks[name]
    squares = builder.columns(
        name, sizes.shape, 0, bound**2, integer=not dense.continuous,
        fill=lambda state: (state.network.weights[layer] / denominator) ** 2,
    )  # fmt: skip
    if not dense.continuous:
        k = np.arange(dense.weights.bound)
        _add_lines(builder, squares, sizes, 2 * k + 1, k * (k + 1))
        return squares
    points = np.linspace(0.0, bound, TANGENTS + 1)[1:]
    _add_lines(builder, squares, sizes, 2 * points, points**2)
    for network in model.known:
        at = np.abs(network.weights[layer] / denominator).reshape(-1, 1)
        _add_lines(builder, squares, sizes, 2 * at, at**2)
    return squares


def _add_lines(builder: Builder, squares: Integers, sizes: Integers, slopes: np.ndarray, shifts: np.ndarray) -> None:
    """Add ``q - slope xi >= -shift`` for every weight; slopes and shifts of shape (lines,) or (weights, lines)."""
    slopes, shifts = (np.broadcast_to(part, (sizes.size, part.shape[-1])).ravel() for part in (slopes, shifts))
    q, xi = (np.repeat(part.ravel(), len(slopes) // sizes.size)[:, None] for part in (squares, sizes))
    builder.rows([Terms(q, 1.0), Terms(xi, -slopes[:, None])], lower=-shifts)
