"""The contract of a loss: its exact integer value and its block of a MILP."""

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from provenn.milp import Builder, Terms
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.network.network import Trace

Integers = NDArray[np.int64]


class Model(Protocol):
    """What a loss may use of the model that it is added to; n samples, n_l units in layer l.

    Attributes
    ----------
    builder : Builder
        Where rows, columns and costs go. `fill` callbacks of columns get a `State`.
    preactivations : list of ndarray of shape (n, n_l)
        Columns of ``a`` of every layer (the first in grid units); the last are the scores.
        Of continuous layers they are in real units: `unit` integers make 1.
    firing : list of ndarray of shape (n, n_l)
        Binary columns of the hidden layers: 1 where the unit fires.
    exact_at : tuple of ndarray of shape (n, n_outputs)
        Scores at which a loss that is modelled by an outer approximation must be exact.
    known : tuple of IntegerNetwork
        The networks with these scores, for prices that are modelled so.
    """

    builder: Builder
    architecture: Architecture
    dataset: Dataset
    preactivations: list[Integers]
    firing: list[Integers]
    exact_at: tuple[Integers, ...]
    known: tuple[IntegerNetwork, ...]

    def nonzero(self) -> list[tuple[Integers, Integers]]:
        """Binary columns for the weights and biases of every layer: 1 where they may be non-zero."""
        ...

    def magnitudes(self, layer: int) -> Integers:
        """Columns ``xi >= |w|`` of the weights of a layer, shape (n_in, n_out), in units of the weight columns."""
        ...

    def kept(self, layer: int) -> Integers:
        """Binary columns of shape (n_l,): 1 where a hidden unit is kept; the others have zero weights."""
        ...

    def bounds(self, layer: int) -> tuple[Integers, Integers]:
        """Interval of the pre-activations of a layer for each sample, two arrays of shape (n,)."""
        ...

    def unit(self, layer: int) -> int:
        """Integers in one unit of the layer's pre-activation columns: 1, or more where they are continuous."""
        ...

    def margin(self, layer: int) -> float:
        """Return the least distance from 0 of a pre-activation below 0, in units of its columns."""
        ...

    def approximate(self) -> None:
        """Note that the model bounds the loss from below instead of reproducing it."""
        ...


class State(Protocol):
    """A known answer, from which `fill` callbacks compute the values of their columns."""

    network: IntegerNetwork
    trace: Trace


class Loss(ABC):
    """What training minimises; subclasses are frozen dataclasses, one a file.

    All values are whole numbers of `unit`, so that comparisons are exact.
    """

    convex: ClassVar[bool] = False
    """Convex in the scores, with a `curve`: the convex engine applies without hidden layers."""
    hard: ClassVar[bool] = False
    """Some networks are infeasible; training can end without an answer."""
    linear: ClassVar[bool] = False
    """The MILP is mostly linear over wide ranges: LP-based solvers prove it faster than clause learning."""
    has_milp: ClassVar[bool] = True
    """There is a MILP; losses without one are for searches alone."""

    def check(self, architecture: Architecture, dataset: Dataset) -> None:
        """Raise `InputError` when the loss has no meaning for this architecture or data."""

    @abstractmethod
    def unit(self, architecture: Architecture, dataset: Dataset) -> Fraction:
        """Value of one unit of the loss."""

    @abstractmethod
    def value(self, network: IntegerNetwork, dataset: Dataset) -> int | None:
        """Return the exact loss in units, or None where the network breaks a hard condition."""

    def floor(self, dataset: Dataset) -> int | None:
        """Return a number of units that no network goes below, or None where none is known without work."""
        return None

    def additive(self, architecture: Architecture) -> bool:
        """Whether every network's loss on the samples is the sum of its losses on any parts of them.

        Parts must keep the data's scale. Not so where a scale of the loss comes from all samples,
        as that of `output_bound` without hidden layers.
        The program of such a loss puts costs on blocks of columns with one row for each sample.
        """
        return False

    def counts_errors(self, architecture: Architecture) -> bool:
        """Whether the value is the number of samples that `predict` gets wrong (by the margin, where there is one)."""
        return False

    def by_score(self, architecture: Architecture, dataset: Dataset, output: int, scores: Integers) -> Integers | None:
        """Return what each sample adds to the loss of an output at each of some scores, without multiplicities.

        Parameters
        ----------
        output : int
        scores : ndarray of shape (S,), int64

        Returns
        -------
        ndarray of shape (n, S), int64, or None
            None where the loss is no sum over samples and outputs.
        """
        return None

    @abstractmethod
    def add_to(self, model: Model) -> None:
        """Add columns, rows and costs to a MILP; one unit of cost is one `unit`."""


class Curve(Protocol):
    """A function of ``z = t * a`` (signed score, grid units without hidden layer), exact on integers."""

    @property
    def unit(self) -> Fraction:
        """Value of one unit."""
        ...

    def exact(self, z: NDArray[Any]) -> Integers:
        """Return the integer loss at every integer z, same shape."""
        ...


class ConvexCurve(Curve, Protocol):
    """A curve with a compiled convex extension f, see `provenn.losses._curves`."""

    @property
    def slack(self) -> float:
        """Largest ``|exact(z) - f(z)|`` at integers z, in units."""
        ...

    @property
    def code(self) -> int:
        """Which compiled function f is."""
        ...

    @property
    def parameters(self) -> tuple[float, float]:
        """Parameters of the compiled function."""
        ...


class SeparableLoss(Loss):
    """A sum over samples and outputs of a curve of the signed score ``t * a``."""

    @abstractmethod
    def curve(self, architecture: Architecture, dataset: Dataset) -> Curve:
        """Return the curve for this architecture and these data."""

    def unit(self, architecture: Architecture, dataset: Dataset) -> Fraction:
        """Value of one unit of the loss."""
        return self.curve(architecture, dataset).unit

    def value(self, network: IntegerNetwork, dataset: Dataset) -> int | None:
        """Return the exact loss in units: the sum of multiplicity * curve(t * a)."""
        curve = self.curve(network.architecture, dataset)
        z = dataset.targets(network.architecture.n_outputs) * network.scores(dataset.X)
        return weighted_sum(curve.exact(z).sum(axis=1), dataset.multiplicity)

    def by_score(self, architecture: Architecture, dataset: Dataset, output: int, scores: Integers) -> Integers | None:
        """Return the curve of the signed scores."""
        t = dataset.targets(architecture.n_outputs)[:, output]
        return self.curve(architecture, dataset).exact(t[:, None] * scores)


def weighted_sum(values: Integers, multiplicity: Integers) -> int:
    """Return ``sum values * multiplicity`` as a Python integer, whatever its size."""
    largest = int(np.abs(values).max(initial=0)) * int(multiplicity.sum())
    if largest < 2**62:
        return int(values @ multiplicity)
    return sum(int(v) * int(m) for v, m in zip(values, multiplicity, strict=True))


def output_bound(architecture: Architecture, dataset: Dataset) -> int:
    """Return B, the scale of published losses: ``h = 2 a / B``.

    With hidden layers the bound of a score, ``n_{L-1} P + P_bias``; without, the mean over the
    samples of the sum of the features (published as mean(X) * n_0), rounded to a grid unit.
    """
    last = architecture.layers[-1]
    if architecture.hidden:
        return last.n_in * last.weights.bound + (last.bias.bound if last.bias is not None else 0)
    total = weighted_sum(dataset.X.sum(axis=1), dataset.multiplicity)
    return max(1, abs(round(Fraction(total * last.weights.denominator, dataset.total))))


def score_margin(architecture: Architecture, dataset: Dataset) -> int:
    """Return how far below 0, in integers, a score must be that a loss takes for negative; 1 on an integer grid."""
    return architecture.margin(-1, dataset.scale)


def all_good_value(network: IntegerNetwork, dataset: Dataset) -> bool:
    """Whether every sample is classified all-good: its output >= 0, the others < 0 by the margin."""
    targets, scores = dataset.targets(network.architecture.n_outputs), network.scores(dataset.X)
    return bool(np.where(targets > 0, scores >= 0, scores <= -score_margin(network.architecture, dataset)).all())


def add_all_good(model: Model) -> None:
    """Require of every sample that its output is >= 0 and the others are below it by the margin.

    Over continuous weights the rows are conditional on a column that is 1, so that `centre` gives them room.
    """
    targets = model.dataset.targets(model.architecture.n_outputs)
    scores = model.preactivations[-1]
    one, when = np.ones((1, 1)), None
    if model.unit(-1) > 1:
        when = (model.builder.columns("right", (1,), 1, 1, fill=lambda _: 1), 1)
    if (targets > 0).any():
        model.builder.rows([Terms(scores[targets > 0][:, None], one)], lower=0, when=when)
    if (targets < 0).any():
        model.builder.rows([Terms(scores[targets < 0][:, None], one)], upper=-model.margin(-1), when=when)


__all__ = [
    "ConvexCurve",
    "Curve",
    "Integers",
    "Loss",
    "Model",
    "SeparableLoss",
    "State",
    "Terms",
    "add_all_good",
    "all_good_value",
    "output_bound",
    "score_margin",
    "weighted_sum",
]
