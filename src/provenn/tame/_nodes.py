"""What the compiled search keeps: nodes, open leaves, recent duals, the model in arrays."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from provenn.tame._simplex import Floats, Integers

N_NODES, N_DUALS, N_OPEN, CURRENT, PIVOTS, PROGRAMS, N_POOL, CLOCK, FORCED = range(9)
COUNTERS = 9
"""Places of the counters."""


class Nodes(NamedTuple):
    """A tree of splits; entries are per node, and the two children of a node have successive numbers.

    Parameters
    ----------
    parent, column, left : ndarray, int64
        Node above; column that is split and left child, -1 for leaves.
    split : ndarray, float64
        Left: ``x <= split``; right: ``x >= split + 1``.
    dual : ndarray, int64
        What closed a leaf, -1 where nothing did.
    bound, move : ndarray, float64
        Proven bound; how far the split moved its column from the parent's program.
    """

    parent: Integers
    column: Integers
    left: Integers
    split: Floats
    dual: Integers
    bound: Floats
    move: Floats


class Heap(NamedTuple):
    """Open leaves, the one with the smallest key first."""

    key: Floats
    node: Integers


class Pool(NamedTuple):
    """Reduced costs of recent duals: what a leaf is tried against before its program is solved.

    Parameters
    ----------
    reduced : ndarray of shape (P, n), float64
    rows : ndarray of shape (P,), float64
        Part of the bound that the rows' sides give.
    dual, used : ndarray of shape (P,), int64
        Number of the dual; time when it last closed a leaf.
    """

    reduced: Floats
    rows: Floats
    dual: Integers
    used: Integers


class Model(NamedTuple):
    """The model in arrays; boxes count the rows' activities after the columns."""

    indptr: Integers
    indices: Integers
    data: Floats
    c: Floats
    integer: NDArray[np.bool_]
    lower: Floats
    upper: Floats


class Work(NamedTuple):
    """Box of the node at hand and scratch space."""

    lower: Floats
    upper: Floats
    y: Floats
    reduced: Floats
    seen: Floats
    times: Floats


@njit(cache=True, nogil=True)
def push(key: Floats, node: Integers, size: int, new_key: float, new_node: int) -> None:
    """Add a leaf to a heap of the given size."""
    i = size
    while i > 0 and key[(i - 1) // 2] > new_key:
        key[i], node[i] = key[(i - 1) // 2], node[(i - 1) // 2]
        i = (i - 1) // 2
    key[i], node[i] = new_key, new_node


@njit(cache=True, nogil=True)
def pop(key: Floats, node: Integers, size: int) -> int:
    """Remove the leaf with the smallest key from a heap of the given size."""
    top, last, carried = node[0], key[size - 1], node[size - 1]
    i, n = 0, size - 1
    while 2 * i + 1 < n:
        child = 2 * i + 1
        if child + 1 < n and key[child + 1] < key[child]:
            child += 1
        if key[child] >= last:
            break
        key[i], node[i] = key[child], node[child]
        i = child
    key[i], node[i] = last, carried
    return top


@njit(cache=True, nogil=True)
def load_box(
    node: int,
    parent: Integers,
    column: Integers,
    left: Integers,
    split: Floats,
    root_lower: Floats,
    root_upper: Floats,
    lower: Floats,
    upper: Floats,
) -> None:
    """Write the box of a node, from the splits above it."""
    lower[:] = root_lower
    upper[:] = root_upper
    while parent[node] >= 0:
        above = parent[node]
        k = column[above]
        if node == left[above]:
            upper[k] = min(upper[k], split[above])
        else:
            lower[k] = max(lower[k], split[above] + 1)
        node = above


def empty_nodes(size: int) -> Nodes:
    """Return room for nodes."""
    whole = [np.zeros(size, dtype=np.int64) for _ in range(4)]
    return Nodes(whole[0], whole[1], whole[2], np.zeros(size), whole[3], np.zeros(size), np.zeros(size))
