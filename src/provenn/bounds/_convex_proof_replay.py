"""Compiled: follows the splits of an old tree on new data, best bound first, and keeps the boxes that stay open."""

from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from provenn.bounds._convex_boxes import (
    CLOSED,
    EMPTY,
    HIGH,
    LOW,
    OPEN,
    POINT,
    Box,
    Root,
    X,
    couple,
    dominating_shift,
    load,
    tighten,
    write_back,
)
from provenn.bounds._convex_branch import fill_model, fixed_scores, take_model
from provenn.bounds._convex_nodes import certified, relax
from provenn.bounds._convex_samples import Floats, Integers, Samples

FREE, QUEUED, LEFT, SINGLE = 0, 1, 2, 3
LEAF, PASS = -1, -2
VISITS, MODELS = 0, 1
NEAR, CONVERGED, LEAF_CUTS = 2.0, 0.05, 5


class Frontier(NamedTuple):
    """Boxes of the replay, one a slot.

    Parameters
    ----------
    box : ndarray of shape (slots, 2, D), int32
    w : ndarray of shape (slots, D), float32
        The point of its last tangent.
    slope : ndarray of shape (slots, D), float32
        The gradient there, of entries that are free.
    bound, penalty : ndarray of shape (slots,), float64
    node : ndarray of shape (slots,), int64
        Number of the tree's node.
    state : ndarray of shape (slots,), int64
        FREE; QUEUED, to be split as the tree says; LEFT open by a leaf; SINGLE, a point to evaluate.
    """

    box: NDArray[np.int32]
    w: NDArray[np.float32]
    slope: NDArray[np.float32]
    bound: Floats
    penalty: Floats
    node: Integers
    state: Integers


class Hessians(NamedTuple):
    """Hessians at points of the replay, which boxes nearby share.

    Parameters
    ----------
    matrix : ndarray of shape (most, D, D), float32
    point : ndarray of shape (most, D), float32
    reach : ndarray of shape (D,), float64
        Mean change of scores when an entry moves by 1, in lengths of the curve.
    used : ndarray of shape (2,), int64
        Boxes relaxed so far, Hessians computed.
    """

    matrix: NDArray[np.float32]
    point: NDArray[np.float32]
    reach: Floats
    used: Integers


class Splits(NamedTuple):
    """The arrays of a `SplitTree`; with `drift` points are minima, which move with the data."""

    entry: Integers
    below: Integers
    child: Integers
    point: NDArray[np.float32]
    drift: bool


@njit(cache=True)
def hessian_near(samples: Samples, root: Root, box: Box, hessians: Hessians) -> None:
    """Give a box the Hessian at the nearest known point, or at its own where that is far."""
    count, best, nearest = hessians.used[MODELS], np.inf, 0
    most = len(hessians.point)
    for i in range(min(count, most)):
        distance = 0.0
        for j in range(len(hessians.reach)):
            distance += hessians.reach[j] * abs(box.full[X, j] - hessians.point[i, j])
            if distance >= best:
                break
        if distance < best:
            best, nearest = distance, i
    if best > NEAR:
        nearest = count % most
        fill_model(samples, root, box, hessians.matrix[nearest])
        for j in range(len(hessians.reach)):
            hessians.point[nearest, j] = box.full[X, j]
        hessians.used[MODELS] += 1
    take_model(box, hessians.matrix[nearest])


@njit(cache=True)
def improve(
    samples: Samples,
    root: Root,
    box: Box,
    hessians: Hessians,
    cutoff: float,
    parent: float,
    penalty: float,
    rounds: int,
) -> tuple[float, float, bool]:
    """Bound a box by the tangent at its point, and by those after up to `rounds` model steps if that leaves it open.

    Both cut the box. Returns the bound of the last tangent, the penalty of the budget, and whether a choice is left.
    """
    hessians.used[VISITS] += 1
    value, bound = certified(samples, box)
    if bound > cutoff:
        return bound, penalty, True
    for a in range(len(box.free)):
        box.cut[a] = box.g[a]
    done = rounds == 0 or value + box.constant - bound < CONVERGED * max(cutoff - bound, 1.0)
    if not tighten(root, box, cutoff - bound):
        return bound, penalty, False
    if done:
        return bound, penalty, True
    write_back(box)
    hessian_near(samples, root, box, hessians)
    for a in range(len(box.free)):
        change = min(max(box.x[a], box.low[a]), box.high[a]) - box.x[a]
        if change != 0.0:
            box.x[a] += change
            for c in range(len(box.free)):
                box.g[c] += change * box.H[a, c]
    parent = max(parent, bound)
    bound, penalty = relax(samples, box, cutoff, parent, penalty, rounds, False, False, root.mixing)
    return bound, penalty, bound > cutoff or tighten(root, box, cutoff - bound)


@njit(cache=True)
def visit(
    samples: Samples, root: Root, frontier: Frontier, slot: int, hessians: Hessians, cutoff: float, rounds: int
) -> int:
    """Bound the box in a slot, cut it, and say what is left: CLOSED, EMPTY, POINT or OPEN."""
    box = load(root, frontier.box[slot, LOW], frontier.box[slot, HIGH], frontier.w[slot], len(samples.weight))
    fixed_scores(samples, box)  # before the box shrinks: entries fixed from here on stay among the free ones
    if dominating_shift(root, box) >= 0:
        return CLOSED
    if not couple(root, box):
        return EMPTY
    for a in range(len(box.free)):
        box.x[a] = min(max(box.x[a], box.low[a]), box.high[a])
    write_back(box)
    parent = frontier.bound[slot]
    bound, penalty, choice = improve(samples, root, box, hessians, cutoff, parent, frontier.penalty[slot], rounds)
    if bound > cutoff:
        return CLOSED
    write_back(box)
    for j in range(box.full.shape[1]):
        frontier.box[slot, LOW, j], frontier.box[slot, HIGH, j] = (
            np.int32(box.full[LOW, j]),
            np.int32(box.full[HIGH, j]),
        )
        frontier.w[slot, j] = min(max(box.full[X, j], box.full[LOW, j]), box.full[HIGH, j])
    for a in range(len(box.free)):
        frontier.slope[slot, box.free[a]] = box.g[a]
    frontier.bound[slot], frontier.penalty[slot] = max(parent, bound), penalty
    return OPEN if choice else POINT


@njit(cache=True)
def predict(splits: Splits, node: int, child: int, w: NDArray[np.float32]) -> None:
    """Turn the parent's new point w into where a branch is expected: its old point, drifted as its parent did."""
    old, new = splits.point[node], splits.point[child]
    for j in range(len(w)):
        if not np.isnan(new[j]):
            w[j] = new[j] + (w[j] - old[j] if splits.drift and not np.isnan(old[j]) else 0.0)


@njit(cache=True)
def branch(root: Root, splits: Splits, frontier: Frontier, slot: int, other: int) -> int:
    """Write the branches of a slot into itself and another one; return 1, 2 or 3 for the first, the second or both.

    A node that only cuts passes the box on to the next, and 0 is returned.
    """
    node = frontier.node[slot]
    j, below = splits.entry[node], splits.below[node]
    if j == PASS:
        predict(splits, node, splits.child[node, 0], frontier.w[slot])
        frontier.node[slot] = splits.child[node, 0]
        return 0
    low, high, step = frontier.box[slot, LOW, j], frontier.box[slot, HIGH, j], np.int64(root.table[2, j])
    below = low + (below - low) // step * step
    if below >= high or below < low:
        first = 0 if below >= high else 1
        predict(splits, node, splits.child[node, first], frontier.w[slot])
        frontier.node[slot] = splits.child[node, first]
        return 1 + first
    frontier.box[other] = frontier.box[slot]
    frontier.w[other] = frontier.w[slot]
    frontier.bound[other], frontier.penalty[other] = frontier.bound[slot], frontier.penalty[slot]
    frontier.box[slot, HIGH, j], frontier.box[other, LOW, j] = np.int32(below), np.int32(below + step)
    frontier.node[slot], frontier.node[other] = splits.child[node, 0], splits.child[node, 1]
    predict(splits, node, frontier.node[slot], frontier.w[slot])
    predict(splits, node, frontier.node[other], frontier.w[other])
    return 3


@njit(cache=True)
def width(frontier: Frontier, slot: int) -> float:
    """Return the sum of the widths of the box in a slot."""
    total = 0.0
    for j in range(frontier.box.shape[2]):
        total += np.float64(frontier.box[slot, HIGH, j]) - np.float64(frontier.box[slot, LOW, j])
    return total


@njit(cache=True, nogil=True)
def replay(
    samples: Samples,
    root: Root,
    splits: Splits,
    frontier: Frontier,
    hessians: Hessians,
    cutoff: float,
    rounds: int,
    most: int,
    whole: bool,
) -> bool:
    """Follow the tree from the queued slots on; return whether that is done.

    Parameters
    ----------
    samples, root, splits
    frontier : Frontier
        Written; at first its slot 0 is queued with the root box and the root's number.
    hessians : Hessians
        Written.
    cutoff : float
        A bound above it closes a box.
    rounds : int
        Model steps a box, 0 to take the old points as they are.
    most : int
        Boxes to relax in this call.
    whole : bool
        Follow all branches; else end when the lowest bound is that of a box which a leaf left open.
    """
    queue, free = [(np.inf, 0)], [0]
    queue.clear()
    free.clear()
    for i in range(len(frontier.state) - 1, -1, -1):
        if frontier.state[i] == QUEUED:
            queue.append((frontier.bound[i], i))
        elif frontier.state[i] == FREE:
            free.append(i)
    heapify(queue)
    last = hessians.used[VISITS] + most
    if hessians.used[VISITS] == 0:
        look(samples, root, splits, frontier, heappop(queue)[1], hessians, cutoff, rounds, queue, free)
    while len(queue) > 0:
        if hessians.used[VISITS] >= last:
            return False
        slot = heappop(queue)[1]
        if splits.entry[frontier.node[slot]] == LEAF:
            frontier.state[slot] = LEFT
            if not whole:
                return True
            continue
        other = free.pop()
        made = branch(root, splits, frontier, slot, other)
        if made == 0:
            free.append(other)
            look(samples, root, splits, frontier, slot, hessians, cutoff, rounds, queue, free)
            continue
        if made != 3:
            # The split says nothing here: the box has its bound already.
            free.append(other)
            heappush(queue, (frontier.bound[slot], slot))
            continue
        look(samples, root, splits, frontier, slot, hessians, cutoff, rounds, queue, free)
        look(samples, root, splits, frontier, other, hessians, cutoff, rounds, queue, free)
    return True


@njit(cache=True)
def look(
    samples: Samples,
    root: Root,
    splits: Splits,
    frontier: Frontier,
    slot: int,
    hessians: Hessians,
    cutoff: float,
    rounds: int,
    queue: list[tuple[float, int]],
    free: list[int],
) -> None:
    """Bound the box in a slot, at root and leaves while it shrinks; queue it, keep it as a point, or free the slot."""
    found, size = OPEN, np.inf
    again = splits.entry[frontier.node[slot]] == LEAF or frontier.bound[slot] == -np.inf
    for _ in range(1 + LEAF_CUTS * min(1, rounds)):
        found = visit(samples, root, frontier, slot, hessians, cutoff, rounds)
        smaller = width(frontier, slot)
        if found != OPEN or not again or smaller >= size:
            break
        size = smaller
    if found == OPEN:
        frontier.state[slot] = QUEUED
        heappush(queue, (frontier.bound[slot], slot))
    elif found == POINT:
        frontier.state[slot] = SINGLE
    else:
        frontier.state[slot] = FREE
        free.append(slot)
