"""Compiled branching of the convex engine, and the loop over nodes."""

import numpy as np
from numba import njit

from provenn.bounds._convex_kernels import (
    Floats,
    Integers,
    Samples,
    back_substitute,
    cholesky,
    inverse_diagonal,
    loss_only,
    scores,
)
from provenn.bounds._convex_nodes import couple, dominating_shift, relax, settle, undecided_reference
from provenn.bounds._convex_tree import (
    BEST,
    CUTOFF,
    HEAP,
    LEAVES,
    NODES,
    POINTS,
    SPARE,
    Box,
    Root,
    Tree,
    close,
    close_node,
    load,
    pop,
    push,
)

CANDIDATES = 12
ROUNDS = 3
ROOT_ROUNDS = 60


@njit(cache=True)
def offer_rounded(samples: Samples, root: Root, tree: Tree, box: Box) -> None:
    """Round x to the grid and hand the point to the caller when its loss by floats beats the best one."""
    p, row = len(box.free), tree.counters[POINTS]
    cost, room = box.cost, box.room
    near = np.empty(p)
    for a in range(p):
        j = box.free[a]
        grid = root.low[j] + root.step[j] * np.floor((box.x[a] - root.low[j]) / root.step[j] + 0.5)
        near[a] = min(max(grid, box.low[a]), box.high[a])
        if near[a] != 0.0 and box.counts[a]:
            cost += box.price[a]
            room -= 1
    if root.budget >= 0 and room < 0:
        return
    scores(samples, box.start, box.free, near, box.z)
    value = loss_only(samples, box.z) + cost
    if value < tree.level[BEST]:
        tree.level[BEST] = value
        tree.counters[POINTS] += 1
        for j in range(len(box.full_x)):
            tree.points[row, j] = box.full_x[j]
        for a in range(p):
            tree.points[row, box.free[a]] = near[a]


@njit(cache=True)
def split_at(root: Root, box: Box, a: int) -> float:
    """Return the largest value of the lower half: floor x_a, below the upper end."""
    j = box.free[a]
    below = root.low[j] + root.step[j] * np.floor((box.x[a] - root.low[j]) / root.step[j])
    return max(box.low[a], min(below, box.high[a] - root.step[j]))


@njit(cache=True)
def gain(root: Root, box: Box, a: int, slope: float, curvature: float, room: float) -> float:
    """Return the product of the predicted gains of both halves, each at most what closes it."""
    below = split_at(root, box, a)
    down, up = max(0.0, box.x[a] - below), max(0.0, below + root.step[box.free[a]] - box.x[a])
    lower = 0.5 * curvature * down * down + max(0.0, -slope) * down
    upper = 0.5 * curvature * up * up + max(0.0, slope) * up
    floor = 1e-3 * room
    return max(min(lower, room), floor) * max(min(upper, room), floor)


@njit(cache=True)
def best_entry(root: Root, box: Box, place: Integers, m: int, room: float, y: Floats) -> int:
    """Return the free entry to branch on: the best product of both children's predicted gains.

    Moving entry a by d costs ``d^2 / (2 (H_FF^-1)_aa)`` while the other entries strictly inside
    their boxes (F) follow; entries at an end cost ``|g_a| d`` beside that. Since
    ``1 / (H^-1)_aa <= H_aa``, the products with H_aa are upper bounds, by which few inverses
    have to be computed.

    References
    ----------
    Ellipsoidal bounds for convex quadratic integer programs: Buchheim, Caprara & Lodi,
    Math. Program. 135 (2012).
    """
    p = len(box.free)
    rank = np.empty(p)
    for a in range(p):
        rank[a] = -1.0
        if box.low[a] < box.high[a]:
            rank[a] = gain(root, box, a, box.g[a] if place[a] < 0 else 0.0, box.H[a, a], room)
    best, chosen = -1.0, np.int64(0)
    for _ in range(CANDIDATES):
        a = np.int64(0)
        for b in range(p):
            if rank[b] > rank[a]:
                a = b
        if rank[a] <= best:
            break
        score = rank[a]
        if place[a] >= 0:
            score = gain(root, box, a, 0.0, 1.0 / inverse_diagonal(box.C, m, place[a], y), room)
        rank[a] = -1.0
        if score > best:
            best, chosen = score, a
    return chosen


@njit(cache=True)
def choose(tree: Tree, root: Root, box: Box, parent: float, penalty: float, move: Floats) -> tuple[int, float]:
    """Choose an entry to branch on and where; write how all entries follow when it moves by 1."""
    p = len(box.free)
    inner, place, m = np.empty(p, np.int64), np.empty(p, np.int64), np.int64(0)
    for a in range(p):
        kink = box.x[a] == 0.0 and box.counts[a] and box.price[a] + penalty > 0.0
        place[a], move[a] = -1, 0.0
        box.full_low[box.free[a]], box.full_high[box.free[a]] = box.low[a], box.high[a]
        if box.low[a] < box.x[a] < box.high[a] and not kink:
            place[a] = m
            inner[m] = a
            m += 1
    cholesky(box.H, inner, m, box.C)
    y = np.empty(p)
    i = undecided_reference(root, box)
    if i >= 0:
        chosen = np.int64(0)
        while box.free[chosen] != root.reference[i]:
            chosen += 1
        below = root.anchor[i] if root.anchor[i] < box.high[chosen] else root.anchor[i] - root.step[box.free[chosen]]
    else:
        chosen = best_entry(root, box, place, m, max(tree.level[CUTOFF] - parent, 1.0), y)
        below = split_at(root, box, chosen)
    if place[chosen] >= 0:
        inverse_diagonal(box.C, m, place[chosen], y)
        back_substitute(box.C, m, y)
        for e in range(m):
            move[inner[e]] = y[e] / y[place[chosen]]
    move[chosen] = 1.0
    return chosen, below


@njit(cache=True)
def fixed_scores(samples: Samples, box: Box) -> None:
    """Write the scores of the fixed entries."""
    D, count = len(box.full_x), 0
    fixed, value = np.empty(D, np.int64), np.empty(D)
    for j in range(D):
        if box.full_low[j] == box.full_high[j]:
            fixed[count], value[count] = j, box.full_x[j]
            count += 1
    scores(samples, box.z, fixed[:count], value[:count], box.start)


@njit(cache=True)
def keep(box: Box, kept: Floats) -> None:
    """Copy x, g, low and high of a node, from which its halves start; x moves into the tightened box."""
    for a in range(len(box.free)):
        box.x[a] = min(max(box.x[a], box.low[a]), box.high[a])
        kept[0, a], kept[1, a], kept[2, a], kept[3, a] = box.x[a], box.g[a], box.low[a], box.high[a]


@njit(cache=True)
def start_half(tree: Tree, root: Root, box: Box, upper: bool, chosen: int, below: float, kept: Floats) -> bool:
    """Set up a half at the point that the model predicts, or close it when shifts show that nothing in it counts."""
    for a in range(len(box.free)):
        box.low[a], box.high[a] = kept[2, a], kept[3, a]
        if a == chosen and upper:
            box.low[a] = below + root.step[box.free[a]]
        elif a == chosen:
            box.high[a] = below
        box.full_low[box.free[a]], box.full_high[box.free[a]] = box.low[a], box.high[a]
    shift = dominating_shift(root, box)
    if shift >= 0:
        close(tree, box, shift)
        return False
    if not couple(tree, root, box):
        return False
    start = kept[0, chosen]
    length = min(max(start, box.low[chosen]), box.high[chosen]) - start
    for a in range(len(box.free)):
        box.x[a] = min(max(kept[0, a] + length * kept[4, a], box.low[a]), box.high[a])
        box.g[a] = kept[1, a]
    for a in range(len(box.free)):
        change = box.x[a] - kept[0, a]
        if change != 0.0:
            for b in range(len(box.free)):
                box.g[b] += change * box.H[a, b]
    return True


@njit(cache=True)
def copy_point(box: Box, point: Floats) -> None:
    """Write the packed x into a point of all entries, whose fixed ones are in place."""
    for a in range(len(box.free)):
        point[box.free[a]] = box.x[a]


@njit(cache=True)
def expand(samples: Samples, root: Root, tree: Tree, node: int, offer: bool) -> None:
    """Relax a node again with its own Hessian, branch, and bound both halves.

    Stage 0 is the node itself, stages 1 and 2 are its halves. A half whose bound is worse than
    its parent's keeps the parent's, and the point where that was taken.
    """
    box = load(tree, root, node, len(samples.weight))
    parent, penalty = tree.bound[node], tree.penalty[node]
    rounds = ROUNDS if parent > -np.inf else ROOT_ROUNDS
    origin = box.full_x.copy()
    for j in range(len(origin)):
        origin[j] = tree.w[node, j]
    fixed_scores(samples, box)
    kept = np.zeros((5, len(box.free)))
    chosen, below, begin_penalty = np.int64(-1), 0.0, penalty
    for stage in range(3):
        if stage > 0 and not start_half(tree, root, box, stage == 2, chosen, below, kept):
            continue
        bound, penalty = relax(samples, root, tree, box, parent, begin_penalty, rounds, stage == 0)
        better, closed = bound >= parent, settle(tree, root, box, bound)
        if stage == 0 and closed:
            return
        if not closed and better:
            copy_point(box, box.full_x if stage > 0 else origin)
        if stage == 0:
            if offer:
                offer_rounded(samples, root, tree, box)
            parent, begin_penalty, rounds = max(parent, bound), penalty, ROUNDS
            keep(box, kept)
            chosen, below = choose(tree, root, box, parent, penalty, kept[4])
        elif not closed:
            push(tree, box, box.full_x if better else origin, max(bound, parent), penalty)


@njit(cache=True, nogil=True)
def search(samples: Samples, root: Root, tree: Tree, nodes: int) -> None:
    """Process up to `nodes` nodes, best bound first; stop early when a buffer could overflow or a point waits."""
    D = len(root.low)
    for _ in range(nodes):
        if tree.counters[HEAP] == 0 or tree.counters[SPARE] < 4 or tree.counters[POINTS] > 0:
            return
        if len(tree.leaf_kind) > 0 and len(tree.leaf_kind) - tree.counters[LEAVES] < 8 * D + 8:
            return
        node = pop(tree)
        if tree.bound[node] > tree.level[CUTOFF]:
            close_node(tree, node)
            continue
        tree.counters[NODES] += 1
        expand(samples, root, tree, node, tree.counters[NODES] < 200 or tree.counters[NODES] % 16 == 0)
