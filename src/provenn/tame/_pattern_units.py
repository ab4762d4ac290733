"""Every hidden unit of a small domain: its weights, its activations on the data, its weights to the outputs."""

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError
from provenn.milp.model import Floats
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.tame._simplex import Integers


@dataclass(frozen=True)
class Units:
    """All combinations of incoming weights, bias and outgoing weights of one hidden unit, p of them.

    Parameters
    ----------
    architecture : Architecture
        With one hidden layer.
    options : tuple of tuple of int
        Values of each incoming weight, of the bias, and of each outgoing weight.
    table : ndarray of shape (p, d + 1 + m), int64
        One row a unit, in the order of these options; the last varies fastest.
    """

    architecture: Architecture
    options: tuple[tuple[int, ...], ...]
    table: Integers

    @classmethod
    def of(cls, architecture: Architecture, live: NDArray[np.bool_], most: int) -> "Units":
        """Enumerate the units; weights of features that are not live are 0.

        Raises
        ------
        InputError
            When there are more than `most`.
        """
        hidden, out = architecture.layers
        values, bias = tuple(hidden.weights.values.tolist()), hidden.bias
        options = (
            *(values if alive else (0,) for alive in live),
            tuple(bias.values.tolist()) if bias is not None else (0,),
            *(tuple(out.weights.values.tolist()),) * out.n_out,
        )
        count = prod(map(len, options))
        if count > most:
            raise InputError(
                f"a hidden unit has {count} choices of weights, too many to list (at most {most}): use fewer "
                "features, a smaller weight bound, or Problem.encode()"
            )
        digits = np.unravel_index(np.arange(count), tuple(map(len, options)))
        columns = [np.array(choice)[digit] for choice, digit in zip(options, digits, strict=True)]
        return cls(architecture, options, np.column_stack(columns).astype(np.int64))

    @property
    def incoming(self) -> Integers:
        """Incoming weights, shape (p, d)."""
        return self.table[:, : self.architecture.n_features]

    @property
    def bias(self) -> Integers:
        """Biases, shape (p,)."""
        return self.table[:, self.architecture.n_features]

    @property
    def outgoing(self) -> Integers:
        """Outgoing weights, shape (p, m)."""
        return self.table[:, self.architecture.n_features + 1 :]

    def preactivations(self, data: Dataset) -> Integers:
        """Return ``a`` of every sample and unit in grid units, shape (n, p)."""
        return data.X @ self.incoming.T + data.scale * self.bias

    def contributions(self, data: Dataset) -> Integers:
        """Return what a unit adds to the scores of every sample, shape (n, p, m)."""
        sigma = np.where(self.preactivations(data) >= 0, 1, self.architecture.layers[0].lowest)
        return sigma[:, :, None] * self.outgoing

    def allowed(self, data: Dataset) -> NDArray[np.bool_]:
        """Units whose weights of constant features are 0 and whose pre-activations keep the margin, shape (p,)."""
        first = self.architecture.layers[0]
        a, margin = self.preactivations(data), self.architecture.margin(0, data.scale)
        dead = ~data.live & first.weights.has_zero
        return ~(self.incoming[:, dead] != 0).any(axis=1) & ((a >= 0) | (a <= -margin)).all(axis=0)

    def counts(self, network: IntegerNetwork) -> Floats:
        """Return how often a network uses each unit, shape (p,)."""
        rows = np.column_stack([network.weights[0].T, network.biases[0], network.weights[1]])
        sizes = tuple(map(len, self.options))
        digits = [np.searchsorted(choice, row) for choice, row in zip(self.options, rows.T, strict=True)]
        found = np.bincount(np.ravel_multi_index(tuple(digits), sizes), minlength=len(self.table))
        return found.astype(np.float64)

    def network(self, counts: Integers, output_bias: Integers, scale: int) -> IntegerNetwork:
        """Return the network that uses each unit so often."""
        rows = np.repeat(self.table, counts, axis=0)
        d = self.architecture.n_features
        return IntegerNetwork.of(
            self.architecture, [rows[:, :d].T, rows[:, d + 1 :]], [rows[:, d], output_bias], scale
        )  # fmt: skip
