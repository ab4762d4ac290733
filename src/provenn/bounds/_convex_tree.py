"""Compiled search tree of the convex engine: relax a node, branch, bound both children."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from provenn.bounds._convex_kernels import (
    Floats,
    Integers,
    Samples,
    envelope_use,
    gradient,
    leave_zero,
    linear_minimum,
    losses,
    minimise_model,
    scores,
)

HEAP, SPARE, NODES, POINTS, LEAVES = 0, 1, 2, 3, 4
CUTOFF, BEST = 0, 1
CANDIDATES = 12
ROUNDS = 3


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
        ``slack * sum m``, what the integer table can lie below the curve, plus constants.
    margin : float
        Bound of the relative rounding error of a bound, see `certified`.
    shifts : ndarray of shape (r, D), float64
        Moves that leave every score as it is; row i is 0 on the references of the others.
    reference : ndarray of shape (r,), int64
    anchor : ndarray of shape (r,), float64
        Among equal points only those are kept whose references are nearest to their anchors.
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
    reference: Integers
    anchor: Floats


class Tree(NamedTuple):
    """Open nodes (a pool and a binary heap by bound) and what the search hands back.

    Parameters
    ----------
    low, high : ndarray of shape (capacity, D), int16
    w : ndarray of shape (capacity, D), float32
        The point where the node's bound was taken; the children start there.
    bound, penalty : ndarray of shape (capacity,), float64
    heap, spare : ndarray of shape (capacity,), int64
    count : ndarray of shape (8,), int64
        Sizes of heap and spare, nodes so far, points and leaves in the buffers.
    level : ndarray of shape (2,), float64
        Close a node when its certified bound exceeds level[0]; best loss by floats in level[1].
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
    count: Integers
    level: Floats
    points: Floats
    leaf_low: NDArray[np.int16]
    leaf_high: NDArray[np.int16]
    leaf_w: NDArray[np.float32]
    leaf_kind: Integers


@njit(cache=True)
def push(tree: Tree, low: Floats, high: Floats, v: Floats, bound: float, penalty: float) -> None:
    """Add a node; the caller has made sure that there is room."""
    tree.count[SPARE] -= 1
    node = tree.spare[tree.count[SPARE]]
    for j in range(len(low)):
        tree.low[node, j], tree.high[node, j], tree.w[node, j] = low[j], high[j], v[j]
    tree.bound[node], tree.penalty[node] = bound, penalty
    child = tree.count[HEAP]
    tree.count[HEAP] += 1
    while child > 0 and tree.bound[tree.heap[(child - 1) // 2]] > bound:
        tree.heap[child] = tree.heap[(child - 1) // 2]
        child = (child - 1) // 2
    tree.heap[child] = node


@njit(cache=True)
def pop(tree: Tree) -> int:
    """Remove and return the node of lowest bound."""
    top = tree.heap[0]
    tree.count[HEAP] -= 1
    size = tree.count[HEAP]
    last = tree.heap[size]
    hole = 0
    while 2 * hole + 1 < size:
        child = 2 * hole + 1
        if child + 1 < size and tree.bound[tree.heap[child + 1]] < tree.bound[tree.heap[child]]:
            child += 1
        if tree.bound[tree.heap[child]] >= tree.bound[last]:
            break
        tree.heap[hole] = tree.heap[child]
        hole = child
    tree.heap[hole] = last
    tree.spare[tree.count[SPARE]] = top
    tree.count[SPARE] += 1
    return top


@njit(cache=True)
def close(tree: Tree, low: Floats, high: Floats, v: Floats, kind: int) -> None:
    """Record a closed leaf, when leaves are recorded: kind -1 by bound at v, -2 a point, else by shift `kind`."""
    if len(tree.leaf_kind) > 0:
        leaf = tree.count[LEAVES]
        tree.leaf_kind[leaf] = kind
        for j in range(len(low)):
            tree.leaf_low[leaf, j], tree.leaf_high[leaf, j], tree.leaf_w[leaf, j] = low[j], high[j], v[j]
        tree.count[LEAVES] += 1


@njit(cache=True)
def fixed_cost(root: Root, low: Floats, high: Floats, free: Integers) -> tuple[float, int]:
    """Return the price and the number of the non-zero entries that are fixed, but for those listed in `free`."""
    cost, used = 0.0, 0
    for j in range(len(low)):
        if low[j] == high[j] and low[j] != 0.0 and root.counts[j]:
            cost += root.price[j]
            used += 1
    for j in free:
        if low[j] == high[j] and low[j] != 0.0 and root.counts[j]:
            cost -= root.price[j]
            used -= 1
    return cost, used


@njit(cache=True)
def certified(
    samples: Samples,
    root: Root,
    low: Floats,
    high: Floats,
    v: Floats,
    free: Integers,
    z: Floats,
    g: Floats,
    slope: Floats,
    curvature: Floats,
) -> tuple[float, float]:
    """Evaluate at v, write z, slope, curvature and g; return the loss and a rigorous bound over the box.

    The bound is ``f(v) + min g . (u - v) - slack - margin (f + 2 reach + prices)``. The scores
    need no exactness: the tangents at the computed z are the bound, and only their values and
    slopes (correct to a few ulp at a point within ``ulp * radius_k`` of z_k) and the sums over n
    samples and D entries round. With ``margin = 2^-51 (n + D + 64)`` and ``reach = sum m |c'|
    radius`` the standard bound of a dot product, ``n u sum |a_i b_i|``, covers all of them in any order.
    """
    scores(samples, v, z)
    value, reach = losses(samples, z, slope, curvature)
    gradient(samples, slope, free, g)
    cost, used = fixed_cost(root, low, high, free)
    room = root.budget - used if root.budget >= 0 else -1
    if root.budget >= 0 and room < 0:
        return value, np.inf
    m = len(free)
    linear = linear_minimum(g[:m], v[free], low[free], high[free], root.price[free], root.counts[free], room)
    error = root.margin * (value + 2.0 * reach + root.price.sum()) + 1e-6
    return value, value + linear + cost - root.slack - error


@njit(cache=True)
def tighten(
    tree: Tree, root: Root, bound: float, low: Floats, high: Floats, v: Floats, free: Integers, g: Floats
) -> None:
    """Cut from the box what its linear bound closes: ``bound + g_j (x - best x) > cutoff``."""
    spare = tree.level[CUTOFF] - bound
    for a in range(len(free)):
        j = free[a]
        slope = g[a]
        if slope == 0.0 or low[j] == high[j]:
            continue
        base = -slope * v[j]
        if not (root.counts[j] and root.budget >= 0 and low[j] <= 0.0 <= high[j]):
            base = min(
                base if low[j] <= 0.0 <= high[j] else np.inf, leave_zero(slope, v[j], low[j], high[j], root.price[j])
            )
        limit = v[j] + (spare + base) / slope
        if slope > 0.0 and limit < high[j]:
            new = max(low[j], root.low[j] + root.step[j] * np.floor((limit - root.low[j]) / root.step[j]))
            if new < high[j]:
                keep = low[j]
                low[j] = new + root.step[j]
                close(tree, low, high, v, -1)
                low[j], high[j] = keep, new
        elif slope < 0.0 and limit > low[j]:
            new = min(high[j], root.low[j] + root.step[j] * np.ceil((limit - root.low[j]) / root.step[j]))
            if new > low[j]:
                keep = high[j]
                high[j] = new - root.step[j]
                close(tree, low, high, v, -1)
                low[j], high[j] = new, keep


@njit(cache=True)
def dominating_shift(root: Root, low: Floats, high: Floats) -> int:
    """Return a shift that takes the whole box to equal points nearer to the anchors, or -1.

    Number 2i subtracts ``step * shifts[i]``, number 2i + 1 adds it.
    """
    for i in range(len(root.reference)):
        j = root.reference[i]
        sign = 0.0
        if low[j] > root.anchor[i]:
            sign = -1.0
        elif high[j] < root.anchor[i]:
            sign = 1.0
        if sign != 0.0:
            inside = True
            for e in range(len(low)):
                move = sign * root.shifts[i, e]
                if low[e] + move < root.low[e] or high[e] + move > root.high[e]:
                    inside = False
                    break
            if inside:
                return 2 * i + (1 if sign > 0.0 else 0)
    return -1


@njit(cache=True)
def model_step(
    root: Root,
    H: Floats,
    q: Floats,
    x: Floats,
    low: Floats,
    high: Floats,
    free: Integers,
    penalty: float,
    tolerance: float,
) -> float:
    """Minimise the quadratic model over the box (x and q move along); return the penalty of the budget.

    Under a budget the multiplier of ``sum |v| / |end| <= K`` is found by bisection.
    """
    l, h, counts = low[free], high[free], root.counts[free]
    price = root.price[free]
    if root.budget < 0:
        minimise_model(H, q, x, l, h, price, tolerance)
        return 0.0
    room = root.budget - fixed_cost(root, low, high, free)[1]
    minimise_model(H, q, x, l, h, price + penalty * counts, tolerance)
    use = envelope_use(x, l, h, counts)
    if use <= room and penalty == 0.0:
        return 0.0
    bottom, top = 0.0, np.inf
    for _ in range(12):
        if use > room:
            bottom = penalty
            penalty = 0.5 * (bottom + top) if top < np.inf else 2.0 * penalty + np.abs(q).max() * 0.1 + 1.0
        else:
            top = penalty
            penalty = 0.5 * (bottom + top)
        minimise_model(H, q, x, l, h, price + penalty * counts, tolerance)
        use = envelope_use(x, l, h, counts)
        if abs(use - room) < 0.01:
            break
    return penalty
