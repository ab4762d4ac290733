"""The model of a block: the training MIP with everything fixed that the block cannot change."""

import re
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from provenn.formulations import Encoding, Problem
from provenn.milp import MILP
from provenn.milp.restrict import Restricted, Ties, restrict
from provenn.network import IntegerNetwork
from provenn.search.blocks import Block, Reach, reach

Mask = NDArray[np.bool_]
Point = NDArray[np.float64]
SKELETON = re.compile(r"[Wbauc]\d+")


@dataclass(frozen=True)
class BlockModel:
    """A training MIP that is built once and restricted to one block after the other.

    Columns that depend on the forward pass only (losses, margins, non-zero switches) are free
    where they share a row with a free column, and keep their values elsewhere. The rows that
    order hidden neurons are left out, since they would forbid changes of single neurons.

    Parameters
    ----------
    problem : Problem
    encoding : Encoding
        Of this problem.
    """

    problem: Problem
    encoding: Encoding

    @cached_property
    def unordered(self) -> MILP:
        """The MILP without the rows that order hidden neurons, which come last."""
        milp = self.encoding.milp
        rows = milp.n_rows - sum(n - 1 for n in self.problem.architecture.hidden)
        return replace(
            milp,
            A=milp.A[:rows],
            row_lower=milp.row_lower[:rows],
            row_upper=milp.row_upper[:rows],
            indicator=milp.indicator[:rows],
            indicator_value=milp.indicator_value[:rows],
        )

    @cached_property
    def _followers(self) -> tuple[Mask, sparse.csr_matrix, sparse.csr_matrix]:
        """Columns outside the forward pass, and the pattern (with its transpose) of the rows that they are in."""
        milp = self.unordered
        outside = np.ones(milp.n_columns, dtype=np.bool_)
        for name, columns in milp.blocks.items():
            if SKELETON.fullmatch(name):
                outside[columns.ravel()] = False
        entries = np.flatnonzero(outside[milp.A.indices])
        touched = np.zeros(milp.n_rows, dtype=np.bool_)
        touched[np.searchsorted(milp.A.indptr, entries, side="right") - 1] = True
        conditional = milp.indicator >= 0
        touched[conditional] |= outside[milp.indicator[conditional]]
        rows = np.flatnonzero(touched)
        pattern = abs(milp.A[rows])
        on = np.flatnonzero(conditional[rows])
        switches = sparse.csr_matrix((np.ones(len(on)), (on, milp.indicator[rows[on]])), shape=pattern.shape)
        pattern = (pattern + switches).tocsr()
        return outside, pattern, pattern.T.tocsr()

    def restrict(self, x: Point, network: IntegerNetwork, block: Block) -> Restricted:
        """Return the model of a block around the network whose point is x."""
        milp = self.unordered
        changes = reach(network, self.problem.dataset.X, block)
        free = np.zeros(milp.n_columns, dtype=np.bool_)
        ties = [self._free_layer(free, layer, network, block, changes) for layer in range(len(changes.low))]
        self._free_followers(free)
        low, high = milp.col_lower.copy(), milp.col_upper.copy()
        for layer, (least, most) in enumerate(zip(changes.low, changes.high, strict=True)):
            columns = milp.blocks[f"a{layer}"]
            low[columns], high[columns] = np.maximum(low[columns], least), np.minimum(high[columns], most)
        joined = Ties(*(np.concatenate(parts) for parts in zip(*ties, strict=True)))
        return restrict(milp.with_bounds(low, high), ~free, x, joined)

    def _free_layer(
        self, free: Mask, layer: int, network: IntegerNetwork, block: Block, changes: Reach
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], Point, Point]:
        """Free the columns of one layer; returns its products with one certain factor as ties."""
        blocks = self.unordered.blocks
        free[blocks[f"W{layer}"]] = block.weights[layer]
        if f"b{layer}" in blocks:
            free[blocks[f"b{layer}"]] = block.biases[layer]
        free[blocks[f"a{layer}"]] = changes.low[layer] < changes.high[layer]
        if f"u{layer}" in blocks:
            free[blocks[f"u{layer}"]] = changes.units[layer]
        if not layer:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0)
        return self._products(free, layer, network.weights[layer], block.weights[layer], changes)

    def _products(
        self, free: Mask, layer: int, W: NDArray[np.int64], loose: Mask, changes: Reach
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], Point, Point]:
        """Free the products of two free factors, and tie those of one: ``c = h w`` with ``h = l + (1 - l) u``."""
        blocks, dense = self.unordered.blocks, self.problem.architecture.layers[layer]
        c, w, u = blocks[f"c{layer}"], blocks[f"W{layer}"], blocks[f"u{layer - 1}"]
        uncertain, h = changes.units[layer - 1], changes.activations[layer - 1]
        free[c[uncertain[:, :, None] & loose]] = True
        k, i, j = np.nonzero(~uncertain[:, :, None] & loose)
        shift = 0 if dense.weights.step == 1 else dense.weights.low
        by_weight = (c[k, i, j], w[i, j], 1.0 * h[k, i] * dense.weights.step, 1.0 * h[k, i] * shift)
        k, i, j = np.nonzero(uncertain[:, :, None] & (~loose & (W != 0)))
        lowest = self.problem.architecture.layers[layer - 1].lowest
        by_unit = (c[k, i, j], u[k, i], (1.0 - lowest) * W[i, j], 1.0 * lowest * W[i, j])
        columns, sources, factor, constant = (np.concatenate(parts) for parts in zip(by_weight, by_unit, strict=True))
        return columns, sources, factor, constant

    def _free_followers(self, free: Mask) -> None:
        """Free the columns outside the forward pass that share a row with a free one, until there are no more."""
        outside, pattern, transposed = self._followers
        count = -1
        while count != (count := int(free.sum())):
            hot = (pattern @ free.astype(np.float64)) > 0
            free |= outside & ((transposed @ hot.astype(np.float64)) > 0)


def level_ground(milp: MILP, y: Point, costs: NDArray[np.int64]) -> MILP:
    """Return the model of the points that are not worse than y, with other costs."""
    return replace(
        milp,
        c=costs.astype(np.float64),
        offset=0.0,
        A=sparse.vstack([milp.A, sparse.csr_matrix(milp.c)], format="csr"),
        row_lower=np.append(milp.row_lower, -np.inf),
        row_upper=np.append(milp.row_upper, float(milp.objective(y)) - milp.offset),
        indicator=np.append(milp.indicator, -1),
        indicator_value=np.append(milp.indicator_value, 0),
    )
