"""How far perturbed inputs move pre-activations: exact in the first layer, intervals after it."""

from dataclasses import dataclass
from math import isqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError, OverflowRiskError
from provenn.network.dataset import GRID_LIMIT
from provenn.network.network import INT64_SAFE, IntegerNetwork

Integers = NDArray[np.int64]
Norm = Literal["inf", "1", "2"]
NORMS: tuple[Norm, ...] = ("inf", "1", "2")


def checked_radius(radius: Any, norm: str, n_features: int) -> Integers:
    """Return a radius as an array of shape (n_features,), int64.

    Raises
    ------
    InputError
        For an unknown norm, another length, or entries that are no whole numbers from 0 to 2^40.
    """
    if norm not in NORMS:
        raise InputError(f"unknown norm {norm!r} of perturbations: choose 'inf', '1' or '2'")
    R = np.asarray(radius)
    if R.shape != (n_features,):
        raise InputError(f"the radius needs one entry for each of the {n_features} features, got shape {R.shape}")
    if R.dtype.kind not in "iufb" or not np.all((np.rint(R) == R) & (R >= 0) & (R <= GRID_LIMIT)):
        raise InputError(f"a radius must be whole grid units from 0 to 2^40 for every feature, got {R.tolist()}")
    return R.astype(np.int64)


def reach(W: Integers, radius: Any, norm: str) -> Integers:
    r"""Return how far perturbations in the ball move the pre-activation of every unit.

    The ball holds real perturbations: ``|delta_i| <= R_i`` for "inf", ``sum_i |delta_i| / R_i <= 1`` for "1",
    ``sum_i (delta_i / R_i)^2 <= 1`` for "2", and ``delta_i = 0`` where ``R_i = 0``. The largest ``w . delta`` is
    the dual norm of w: ``sum_i R_i |w_i|``, ``max_i R_i |w_i|``, ``sqrt(sum_i (R_i w_i)^2)``; the last is rounded
    up to an integer, which keeps every claim safe.

    Parameters
    ----------
    W : ndarray of shape (n_features, n_units), int64
        Weights of the first layer.
    radius : sequence of int, length n_features
        In grid units.
    norm : {"inf", "1", "2"}

    Returns
    -------
    ndarray of shape (n_units,), int64
        In the integers of the layer's pre-activations.

    Raises
    ------
    InputError
        See `checked_radius`.
    OverflowRiskError
        When the sum could leave int64.

    References
    ----------
    Kurtz & Bah, arXiv 2110.11382.

    Examples
    --------
    >>> W = np.array([[2], [-1], [1]])
    >>> [int(reach(W, (1, 2, 2), norm)[0]) for norm in NORMS]
    [6, 2, 4]
    """
    R = checked_radius(radius, norm, len(W))
    largest = int(R.max(initial=0)) * int(np.abs(W).max(initial=0))
    if largest * max(1, len(W)) >= INT64_SAFE:
        raise OverflowRiskError("perturbations may move pre-activations beyond int64; use a smaller radius")
    moved = np.abs(W) * R[:, None]
    if norm == "inf":
        return np.asarray(moved.sum(axis=0))
    if norm == "1":
        return np.asarray(moved.max(axis=0, initial=0))
    exact = moved if largest**2 * max(1, len(W)) < INT64_SAFE else moved.astype(object)
    return np.array([root_above(int(total)) for total in (exact * exact).sum(axis=0)], dtype=np.int64)


def root_above(total: int) -> int:
    """Return the smallest integer whose square is at least `total`."""
    return isqrt(total - 1) + 1 if total > 0 else 0


@dataclass(frozen=True)
class Intervals:
    """Bounds of a forward pass over all perturbations in a ball.

    Parameters
    ----------
    lower, upper : tuple of ndarray of shape (n, n_l), int64
        Of the pre-activations of every layer; the last are the scores.
    fires, may_fire : tuple of ndarray of shape (n, n_l), bool
        Hidden units that fire under every perturbation, and those that fire under some, as far as intervals tell.
    """

    lower: tuple[Integers, ...]
    upper: tuple[Integers, ...]
    fires: tuple[NDArray[np.bool_], ...]
    may_fire: tuple[NDArray[np.bool_], ...]

    @property
    def settled(self) -> NDArray[np.bool_]:
        """Samples whose first activations are the same under all perturbations, and so the scores; shape (n,)."""
        if not self.fires:
            return np.asarray((self.lower[0] == self.upper[0]).all(axis=1))
        return np.asarray((self.fires[0] == self.may_fire[0]).all(axis=1))

    def worst(self, targets: Integers) -> Integers:
        """Return the lower score where the target is +1 and the upper one where it is -1, shape (n, n_outputs)."""
        return np.where(targets > 0, self.lower[-1], self.upper[-1])


def intervals(network: IntegerNetwork, X: Any, radius: Any, norm: str, margins: bool = True) -> Intervals:
    """Bound all pre-activations under perturbations of the input.

    The first layer is exact, ``[a - reach, a + reach]``. After it, a unit fires surely when its lower bound is
    at least 0, surely not when its upper bound is below 0, and the interval of the next layer takes the worse of
    both activations for every unit that may do either.

    Parameters
    ----------
    network : IntegerNetwork
    X : array of shape (n, n_features), integers
        In grid units.
    radius, norm
        See `reach`.
    margins : bool
        Whether a unit must stay below 0 by the margin of its layer to count as surely not firing, as networks with
        continuous weights must in training; for integer layers it is the same.

    Examples
    --------
    >>> from provenn.network import Architecture
    >>> net = IntegerNetwork.of(Architecture.build(2, 2, (2,)), [[[1, 1], [0, 1]], [[1], [1]]], [[0, 0], [0]])
    >>> found = intervals(net, [[2, 0]], (1, 1), "inf")
    >>> [int(part[-1][0, 0]) for part in (found.lower, found.upper)], bool(found.settled[0])
    ([2, 2], True)
    """
    moved = reach(network.weights[0], radius, norm)
    a = network.trace(X).preactivations[0]
    if int(np.abs(a).max(initial=0)) + int(moved.max(initial=0)) >= INT64_SAFE:
        raise OverflowRiskError("perturbations may move pre-activations beyond int64; use a smaller radius")
    lower, upper = [a - moved], [a + moved]
    fires, may_fire = [], []
    layers = network.architecture.layers
    for i, layer in enumerate(layers[:-1]):
        margin = network.architecture.margin(i, network.scale) if margins else 1
        fires.append(lower[i] >= 0)
        may_fire.append(upper[i] > -margin)
        least, most = (np.where(part, 1, layer.lowest).astype(np.int64) for part in (fires[i], may_fire[i]))
        W, b = network.weights[i + 1], network.biases[i + 1]
        up, down = np.maximum(W, 0), np.minimum(W, 0)
        lower.append(least @ up + most @ down + b)
        upper.append(most @ up + least @ down + b)
    return Intervals(tuple(lower), tuple(upper), tuple(fires), tuple(may_fire))
