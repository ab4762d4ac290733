"""What the hull bound is computed for, and what it delivers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from provenn.bounds.agreement import AgreementProblem
from provenn.bounds.agreement import Leaves as AgreementLeaves
from provenn.errors import InputError
from provenn.status import Status

Integers = NDArray[np.int64]
Signs = NDArray[np.int8]
Floats = NDArray[np.float64]
Domain = tuple[int, int, int]
Proofs = tuple[tuple[int, int, AgreementLeaves | None], ...]
Found = TypeVar("Found")


@dataclass(frozen=True)
class HullProblem:
    """One output of a network with one hidden layer: minimise ``sum_k m_k loss_k(b + sum_i v_i u_i(x_k))``.

    Parameters
    ----------
    X : ndarray of shape (n, d), int64
        Samples in grid units.
    multiplicity : ndarray of shape (n,), int64
    scale : int
        Grid units that a hidden bias of 1 counts.
    low, high : ndarray of shape (d,), int64
        Box of the weights of every hidden unit.
    step : int
    bias : (low, high, step) or None
        Domain of the hidden biases; None fixes them at 0.
    hidden : int
        Number of hidden units h.
    outputs : (low, high, step)
        Domain of the output weights v.
    output_bias : (low, high, step) or None
        Domain of b.
    losses : callable
        Takes integer scores, int64 of shape (S,), and returns the loss of each sample at each of them in
        units, int64 of shape (n, S), without multiplicities. It need not be convex.
    levels : {(-1, 1), (0, 1)}
        Values of a hidden unit: (-1, 1) for sign, (0, 1) for step activations.
    """

    X: Integers
    multiplicity: Integers
    scale: int
    low: Integers
    high: Integers
    step: int
    bias: Domain | None
    hidden: int
    outputs: Domain
    output_bias: Domain | None
    losses: Callable[[Integers], Integers]
    levels: tuple[int, int] = (-1, 1)

    def __post_init__(self) -> None:
        """Refuse numbers of units and levels that make no sense."""
        if self.hidden < 1:
            raise InputError(f"the hull bound needs hidden units, got {self.hidden}")
        if self.levels not in ((-1, 1), (0, 1)):
            raise InputError(f"the levels of a unit are (-1, 1) or (0, 1), got {self.levels}")

    def agreement(self, wanted: Integers, side: int) -> AgreementProblem:
        """Return the problem of the unit that agrees best with weighted signs.

        Parameters
        ----------
        wanted : ndarray of shape (n,), int64
            The sign that is wanted, times its weight.
        side : {1, -1}
            1: among units sigma_w; -1: among mirrored units ``-sigma_w``, as neurons -w of a sign that is -1 at 0.
        """
        low, high, bias = self.low, self.high, self.bias
        if side < 0:
            low, high = -high, -low
            bias = None if bias is None else (-bias[1], -bias[0], bias[2])
        t = np.where(wanted >= 0, 1, -1).astype(np.int64)
        return AgreementProblem(self.X, t, np.abs(wanted), self.scale, low, high, self.step, bias, side)


@dataclass(frozen=True)
class Cut:
    """Slopes for all samples with a proven bound on how well a unit can agree with them.

    Parameters
    ----------
    slopes : ndarray of shape (n,), int64
        G_k, in units over `quotient` per step of the score.
    quotient : int
        Q > 0.
    agreement : int
        At least ``-sum_k m_k G_k sigma(x_k)`` for every unit sigma, plain or mirrored.
    proofs : tuple of (side, bound, leaves)
        For both sides a lower bound of the disagreement and, where recorded, the leaves that prove it.
    """

    slopes: Integers
    quotient: int
    agreement: int
    proofs: Proofs = ()


@dataclass(frozen=True)
class Region:
    """A set of output layers: one bias, and all weights of a total or the given ones.

    Parameters
    ----------
    base : int
        Score of the mean of both levels, times the denominator.
    most : int
        Largest sum of the magnitudes ``|v_i|`` (times the denominator, over 2 for steps).
    offsets : ndarray of shape (S,), int64
        Every value that ``sum_i magnitude_i sign_i`` can take, ascending.
    magnitudes : tuple of int
        Of the units, descending and without zeros; empty when the region holds several layers.
    sides : tuple of int
        For each magnitude: 1 or -1 for the sign of its weight, 0 when both signs are allowed.
    least : int
        Smallest sum of the magnitudes.
    """

    base: int
    most: int
    offsets: Integers
    magnitudes: tuple[int, ...] = ()
    sides: tuple[int, ...] = ()
    least: int = 0

    @property
    def exact(self) -> bool:
        """Whether the region holds one output layer, up to the order of its units."""
        return len(self.magnitudes) > 0 or self.most == 0


@dataclass(frozen=True)
class Evidence:
    """From what the bound can be derived again, see `provenn.bounds.hull.check`.

    Parameters
    ----------
    regions : tuple of Region
        Together they hold every output layer.
    bounds : tuple of int
        Proven bound of each region, in units.
    cuts : tuple of Cut
    cut : tuple of int
        The cut of each region; -1 where the best loss of each sample alone is the bound.
    enumerated : tuple of bool
        Whether all networks that a region's cut leaves were tried; its bound is then not the cut's.
    """

    regions: tuple[Region, ...] = ()
    bounds: tuple[int, ...] = ()
    cuts: tuple[Cut, ...] = ()
    cut: tuple[int, ...] = ()
    enumerated: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Answer:
    """A network of one output.

    Parameters
    ----------
    w : ndarray of shape (d, h), int64
    b : ndarray of shape (h,), int64
    v : ndarray of shape (h,), int64
        Output weights.
    c : int
        Output bias.
    value : int
        Exact loss in units.
    """

    w: Integers
    b: Integers
    v: Integers
    c: int
    value: int


@dataclass(frozen=True)
class HullResult:
    """What was found and proven.

    Parameters
    ----------
    status : Status
        OPTIMAL when the bound reaches the best known loss.
    answer : Answer or None
        Best network found here.
    bound : int or None
        No network has a smaller loss; None before the first pricing.
    nodes : int
        Nodes of all pricing problems.
    pricings : int
        Exact pricing problems.
    columns : int
    seconds : float
    evidence : Evidence
    """

    status: Status
    answer: Answer | None
    bound: int | None
    nodes: int
    pricings: int
    columns: int
    seconds: float
    evidence: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True)
class Surroundings(Generic[Found]):
    """What a search that runs beside others asks and tells the caller.

    Parameters
    ----------
    stopped : callable
        True ends the search.
    best : callable
        Returns the smallest loss known elsewhere, or None.
    on_bound : callable
        Called with every better bound.
    on_answer : callable
        Called with every better answer.
    """

    stopped: Callable[[], bool] = lambda: False
    best: Callable[[], int | None] = lambda: None
    on_bound: Callable[[int], object] = lambda bound: None
    on_answer: Callable[[Found], object] = lambda answer: None
