"""Compiled data structures of the convex engine: the root box, the open nodes, one node at work."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from provenn.bounds._convex_kernels import Floats, Integers

HEAP, SPARE, NODES, POINTS, LEAVES = 0, 1, 2, 3, 4
CUTOFF, BEST = 0, 1
BY_BOUND, BY_VALUE, EMPTY = np.int64(-1), np.int64(-2), np.int64(-3)


class Root(NamedTuple):
    """The root box and everything about it that no node changes; D entries each, bias last.

    Parameters
    ----------
    low, high, step : ndarray of shape (D,), float64
    price : ndarray of shape (D,), float64
        Price of a non-zero entry, 0 where it is not counted.
    counts : ndarray of shape (D,), bool
        Weights whose domain has 0.
    budget : int
        Largest number of non-zeros among them, negative for none.
    slack : float
        ``slack * sum m``, how far the integer table can lie below the curve, less constant prices.
    margin : float
        Relative rounding error of a bound, see `certified`.
    shifts : ndarray of shape (r, D), float64
        Moves that leave every score as it is; row i is 0 on the references of the others.
    shift_low, shift_high : ndarray of shape (r,), float64
        In the relative box: range of their multiples; else of shape (0,).
    reference : ndarray of shape (r,), int64
        In the plain box: an entry that each shift moves; else of shape (0,).
    anchor : ndarray of shape (r,), float64
        Of equal points only those whose references are nearest to their anchors must be kept.
    box_low, box_high : ndarray of shape (D,), float64
        The original box; in the relative box a point counts iff some multiples take it there.
    """

    low: Floats
    high: Floats
    step: Floats
    price: Floats
    counts: NDArray[np.bool_]
    budget: int
    slack: float
    margin: float
    shifts: Floats
    shift_low: Floats
    shift_high: Floats
    reference: Integers
    anchor: Floats
    box_low: Floats
    box_high: Floats


class Tree(NamedTuple):
    """Open nodes (a pool and a binary heap by bound) and what the search hands back.

    Parameters
    ----------
    low, high : ndarray of shape (capacity, D), int16
    w : ndarray of shape (capacity, D), float32
        The point where the node's bound was taken; its children start there.
    bound, penalty : ndarray of shape (capacity,), float64
    heap, spare : ndarray of shape (capacity,), int64
    counters : ndarray of shape (8,), int64
        Sizes of heap and spare, nodes so far, points and leaves in the buffers.
    level : ndarray of shape (2,), float64
        A bound above level[CUTOFF] closes a node; level[BEST] is the lowest loss by floats.
    points : ndarray of shape (buffer, D), float64
        Points that the caller must evaluate exactly.
    leaf_low, leaf_high, leaf_w, leaf_kind : the record of closed leaves, empty when not wanted
    """

    low: NDArray[np.int16]
    high: NDArray[np.int16]
    w: NDArray[np.float32]
    bound: Floats
    penalty: Floats
    heap: Integers
    spare: Integers
    counters: Integers
    level: Floats
    points: Floats
    leaf_low: NDArray[np.int16]
    leaf_high: NDArray[np.int16]
    leaf_w: NDArray[np.float32]
    leaf_kind: Integers


class Box(NamedTuple):
    """One node at work: its D entries, and its p free ones packed.

    Parameters
    ----------
    full_low, full_high, full_x : ndarray of shape (D,), float64
        Used for pushing and recording; packed entries are written back first.
    free : ndarray of shape (p,), int64
    low, high, x, price : ndarray of shape (p,), float64
    counts : ndarray of shape (p,), bool
    start, z, slope, curvature : ndarray of shape (n,), float64
        Scores of the fixed entries; scores, ``m c'`` and ``m c''`` at x.
    g : ndarray of shape (p,), float64
    H, C : ndarray of shape (p, p), float64
        Hessian of the loss at some point of the node, and scratch for its factors.
    cost, room : float, int
        Price of the fixed non-zeros, and how many more the budget allows (negative: any number).
    """

    full_low: Floats
    full_high: Floats
    full_x: Floats
    free: Integers
    low: Floats
    high: Floats
    x: Floats
    price: Floats
    counts: NDArray[np.bool_]
    start: Floats
    z: Floats
    slope: Floats
    curvature: Floats
    g: Floats
    H: Floats
    C: Floats
    cost: float
    room: int


@njit(cache=True)
def push(tree: Tree, box: Box, point: Floats, bound: float, penalty: float) -> None:
    """Add the box as a node with the point that bounds it; the caller has made sure that there is room."""
    tree.counters[SPARE] -= 1
    node = tree.spare[tree.counters[SPARE]]
    for j in range(len(box.full_low)):
        tree.low[node, j], tree.high[node, j] = np.int16(box.full_low[j]), np.int16(box.full_high[j])
        tree.w[node, j] = point[j]
    for a in range(len(box.free)):
        tree.low[node, box.free[a]], tree.high[node, box.free[a]] = np.int16(box.low[a]), np.int16(box.high[a])
    tree.bound[node], tree.penalty[node] = bound, penalty
    child = tree.counters[HEAP]
    tree.counters[HEAP] += 1
    while child > 0 and tree.bound[tree.heap[(child - 1) // 2]] > bound:
        tree.heap[child] = tree.heap[(child - 1) // 2]
        child = (child - 1) // 2
    tree.heap[child] = node


@njit(cache=True)
def pop(tree: Tree) -> int:
    """Remove and return the node of lowest bound; its slot is free again but still intact."""
    top = tree.heap[0]
    tree.counters[HEAP] -= 1
    size = tree.counters[HEAP]
    last, hole = tree.heap[size], 0
    while 2 * hole + 1 < size:
        child = 2 * hole + 1
        if child + 1 < size and tree.bound[tree.heap[child + 1]] < tree.bound[tree.heap[child]]:
            child += 1
        if tree.bound[tree.heap[child]] >= tree.bound[last]:
            break
        tree.heap[hole] = tree.heap[child]
        hole = child
    tree.heap[hole] = last
    tree.spare[tree.counters[SPARE]] = top
    tree.counters[SPARE] += 1
    return top


@njit(cache=True)
def close(tree: Tree, box: Box, kind: int) -> None:
    """Record the box as a closed leaf, when leaves are recorded: BY_BOUND at x, BY_VALUE, EMPTY, a shift."""
    if len(tree.leaf_kind) == 0:
        return
    leaf = tree.counters[LEAVES]
    tree.counters[LEAVES] += 1
    tree.leaf_kind[leaf] = kind
    for j in range(len(box.full_low)):
        tree.leaf_low[leaf, j], tree.leaf_high[leaf, j] = np.int16(box.full_low[j]), np.int16(box.full_high[j])
        tree.leaf_w[leaf, j] = box.full_x[j]
    for a in range(len(box.free)):
        j = box.free[a]
        tree.leaf_low[leaf, j], tree.leaf_high[leaf, j] = np.int16(box.low[a]), np.int16(box.high[a])
        tree.leaf_w[leaf, j] = box.x[a]


@njit(cache=True)
def close_node(tree: Tree, node: int) -> None:
    """Record a stored node as a leaf closed by its bound, when leaves are recorded."""
    if len(tree.leaf_kind) > 0:
        leaf = tree.counters[LEAVES]
        tree.counters[LEAVES] += 1
        tree.leaf_kind[leaf] = BY_BOUND
        for j in range(tree.low.shape[1]):
            tree.leaf_low[leaf, j], tree.leaf_high[leaf, j] = tree.low[node, j], tree.high[node, j]
            tree.leaf_w[leaf, j] = tree.w[node, j]


@njit(cache=True)
def hand_over(tree: Tree, box: Box) -> None:
    """Give the caller the box's low corner, the only point that it has left, for exact evaluation."""
    row = tree.counters[POINTS]
    tree.counters[POINTS] += 1
    for j in range(len(box.full_low)):
        tree.points[row, j] = box.full_low[j]
    for a in range(len(box.free)):
        tree.points[row, box.free[a]] = box.low[a]


@njit(cache=True)
def load(tree: Tree, root: Root, node: int, n: int) -> Box:
    """Unpack a stored node into fresh arrays, its point clipped to its box."""
    D = tree.low.shape[1]
    low, high, x = np.empty(D), np.empty(D), np.empty(D)
    free, p, cost, room = np.empty(D, np.int64), 0, 0.0, root.budget
    for j in range(D):
        low[j], high[j] = tree.low[node, j], tree.high[node, j]
        x[j] = min(max(np.float64(tree.w[node, j]), low[j]), high[j])
        if low[j] < high[j]:
            free[p] = j
            p += 1
        elif low[j] != 0.0 and root.counts[j]:
            cost += root.price[j]
            room -= 1
    packed = np.empty((4, p))
    counts = np.empty(p, np.bool_)
    for a in range(p):
        j = free[a]
        packed[0, a], packed[1, a], packed[2, a], packed[3, a] = low[j], high[j], x[j], root.price[j]
        counts[a] = root.counts[j]
    long = np.zeros((4, n))
    square = np.empty((2, p, p))
    return Box(
        low,
        high,
        x,
        free[:p],
        packed[0],
        packed[1],
        packed[2],
        packed[3],
        counts,
        long[0],
        long[1],
        long[2],
        long[3],
        np.zeros(p),
        square[0],
        square[1],
        cost,
        room if root.budget >= 0 else -1,
    )
