"""A finished tree of splits and the boxes of its leaves."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit
from numpy.typing import NDArray

from provenn.tame._simplex import Floats, Integers


@dataclass(frozen=True)
class Tree:
    """Splits of integer columns; node 0 is the root, and the right child follows the left.

    Parameters
    ----------
    column, left : ndarray of shape (N,), int64
        Split column and left child, -1 for leaves.
    split : ndarray of shape (N,), float64
        Left: ``x <= split``; right: ``x >= split + 1``.
    dual : ndarray of shape (N,), int64
        Which dual vector bounds a leaf, -1 for inner nodes.
    """

    column: Integers
    left: Integers
    split: Floats
    dual: Integers

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return len(self.column)

    @cached_property
    def parent(self) -> Integers:
        """Node above each node, -1 for the root."""
        parent = np.full(self.n_nodes, -1, dtype=np.int64)
        inner = np.flatnonzero(self.left >= 0)
        parent[self.left[inner]] = parent[self.left[inner] + 1] = inner
        return parent

    @cached_property
    def leaves(self) -> NDArray[np.int64]:
        """Numbers of the leaves."""
        return np.flatnonzero(self.left < 0)

    def boxes(self, nodes: Integers, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        """Boxes of some nodes within the columns' bounds, two arrays of shape (nodes, n)."""
        low, high = np.empty((len(nodes), lower.size)), np.empty((len(nodes), lower.size))
        _boxes(nodes, self.parent, self.column, self.left, self.split, lower, upper, low, high)
        return low, high

    def refined(self, finer: "Tree") -> "Tree":
        """Return a tree that continues this one, with the duals of the leaves here for the leaves below them."""
        dual = np.full(finer.n_nodes, -1, dtype=np.int64)
        dual[: self.n_nodes] = self.dual
        for node in np.flatnonzero(finer.left >= 0).tolist():
            left = int(finer.left[node])
            if left >= self.n_nodes:
                dual[left] = dual[left + 1] = dual[node]
        return Tree(finer.column, finer.left, finer.split, np.where(finer.left < 0, dual, -1))

    def preorder(self) -> list[int]:
        """Nodes in the order root, left part, right part."""
        order, stack = [], [0]
        left = self.left.tolist()
        while stack:
            node = stack.pop()
            order.append(node)
            if left[node] >= 0:
                stack += [left[node] + 1, left[node]]
        return order


@njit(cache=True, nogil=True)
def _boxes(
    nodes: Integers,
    parent: Integers,
    column: Integers,
    left: Integers,
    split: Floats,
    lower: Floats,
    upper: Floats,
    low: Floats,
    high: Floats,
) -> None:
    for i in range(nodes.size):
        low[i], high[i] = lower, upper
        node = nodes[i]
        while parent[node] >= 0:
            above = parent[node]
            k = column[above]
            if node == left[above]:
                high[i, k] = min(high[i, k], split[above])
            else:
                low[i, k] = max(low[i, k], split[above] + 1)
            node = above
