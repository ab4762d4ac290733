"""Samples that share the activations of the first hidden layer with another sample."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError
from provenn.formulations._base import SideConstraint
from provenn.losses import Model
from provenn.milp import Terms
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Representatives(Dataset):
    """Samples that stand for others, with the multiplicity of all that they stand for.

    Parameters
    ----------
    free : ndarray of shape (d,), bool
        Features that are not constant over the samples that they stand for: their weights stay free,
        even where the representatives have the same value.
    """

    free: NDArray[np.bool_] | None = None

    @cached_property
    def live(self) -> NDArray[np.bool_]:
        """Features whose weights may matter, bool of shape (d,)."""
        assert self.free is not None
        return self.free


@dataclass(frozen=True)
class SharedActivations(SideConstraint):
    """Give every member the activations of its representative in the first hidden layer.

    For a member x with the representative r and every unit j of the first layer:
    ``u_rj = 1 => x W_j + b_j >= 0`` and ``u_rj = 0 => x W_j + b_j <= -margin``. Everything after the
    first layer follows from the activations, so that the loss of a member is that of a sample with
    the inputs of its representative.

    Parameters
    ----------
    samples : ndarray of shape (n, d), int64
        The samples of the problem, in their order.
    members : ndarray of shape (m, d), int64
        Samples outside the problem, in the same grid units.
    leader : ndarray of shape (m,), int64
        Index of the representative of every member among the samples.
    joined : ndarray of shape (p, 2), int64
        Pairs of samples of the problem that share their activations.

    References
    ----------
    Kurtz & Bah, arXiv 2110.11382 (data splitting).

    Examples
    --------
    >>> data = Dataset.merge([[0], [4]], [0, 1])
    >>> shared = SharedActivations(data.X, np.array([[3]]), np.array([1]))
    >>> shape = Architecture.build(1, 2, hidden=(1,), bias=IntegerDomain.symmetric(4))
    >>> nets = [IntegerNetwork.of(shape, [[[1]], [[1]]], [[-cut], [0]]) for cut in (3, 4)]
    >>> [shared.admits(net) for net in nets]
    [True, False]
    """

    samples: Integers
    members: Integers
    leader: Integers
    joined: Integers | None = None

    def check(self, architecture: Architecture, dataset: Dataset) -> None:
        """Refuse networks without hidden layers and samples of another problem."""
        if not architecture.hidden:
            raise InputError("shared activations need a hidden layer; give hidden_layer_sizes")
        if not np.array_equal(self.samples, dataset.X):
            raise InputError("the samples of shared activations must be those of the problem, in the same order")
        fits = self.members.ndim == 2 and self.members.shape[1] == dataset.n_features
        if not fits or self.leader.shape != (len(self.members),):
            raise InputError("every member needs one value for each feature, and one representative")
        if ((self.leader < 0) | (self.leader >= dataset.n_samples)).any():
            raise InputError(f"representatives are indices of samples, 0 to {dataset.n_samples - 1}")

    def admits(self, network: IntegerNetwork) -> bool:
        """Whether all members and joined samples share their activations, and keep the layer's margin."""
        fires = _first_layer(network, self.samples) >= 0
        joined = self.joined is None or bool((fires[self.joined[:, 0]] == fires[self.joined[:, 1]]).all())
        return joined and not broken(network, self.members, fires[self.leader]).any()

    def add_to(self, model: Model, units: int) -> None:
        """Add two conditional rows for each member and unit, and one for each joined pair and unit."""
        dense, u, columns = model.architecture.layers[0], model.firing[0], model.builder.blocks
        one = 1 if dense.continuous else model.dataset.scale
        factors = self.members / model.dataset.scale if dense.continuous else self.members
        constant = _shift(dense.weights) * self.members.sum(axis=1)
        if dense.bias is not None:
            constant = constant + one * _shift(dense.bias)
        for j in range(dense.n_out if len(self.members) else 0):
            terms = [Terms(columns["W0"][:, j], factors * dense.weights.step)]
            if dense.bias is not None:
                terms.append(Terms(columns["b0"][[j]], one * dense.bias.step))
            fires = u[self.leader, j]
            model.builder.rows(terms, lower=-constant, when=(fires, 1))
            model.builder.rows(terms, upper=-constant - model.margin(0), when=(fires, 0))
        if self.joined is not None and len(self.joined):
            first, second = (Terms(u[self.joined[:, k]].ravel()[:, None], 1 - 2 * k) for k in (0, 1))
            model.builder.rows([first, second], lower=0, upper=0)


def _shift(domain: IntegerDomain) -> int:
    """Return the value of a parameter whose column is 0: those of binary domains count steps from the lowest."""
    return 0 if domain.step == 1 else domain.low


def broken(network: IntegerNetwork, X: Integers, fires: NDArray[np.bool_]) -> Integers:
    """Return by how much samples miss given activations of the first hidden layer, in integers.

    Parameters
    ----------
    X : ndarray of shape (m, d), int64
    fires : ndarray of shape (m, n_1), bool

    Returns
    -------
    ndarray of shape (m, n_1), int64; 0 where the sample has the activation, outside the layer's margin

    Examples
    --------
    >>> shape = Architecture.build(1, 2, hidden=(1,))
    >>> network = IntegerNetwork.of(shape, [[[1]], [[1]]], [[0], [0]])
    >>> broken(network, np.array([[5], [-3]]), np.array([[False], [False]])).tolist()
    [[6], [0]]
    """
    a, margin = _first_layer(network, X), network.architecture.margin(0, network.scale)
    return np.asarray(np.where(fires, np.maximum(-a, 0), np.maximum(a + margin, 0)))


def _first_layer(network: IntegerNetwork, X: Integers) -> Integers:
    return network.trace(X).preactivations[0]
