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
    best, chosen = -1.0, 0
    for _ in range(CANDIDATES):
        a = 0
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
    inner, place, m = np.empty(p, np.int64), np.empty(p, np.int64), 0
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
        chosen = 0
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
def follow(box: Box, x: Floats, g: Floats, move: Floats, length: float) -> None:
    """Set x and the model's gradient for a child whose branching entry moves by `length`."""
    p = len(x)
    for a in range(p):
        box.x[a] = min(max(x[a] + length * move[a], box.low[a]), box.high[a])
        box.g[a] = g[a]
    for a in range(p):
        change = box.x[a] - x[a]
        if change != 0.0:
            for b in range(p):
                box.g[b] += change * box.H[a, b]


@njit(cache=True)
def store_point(box: Box) -> None:
    """Write the packed x back to the full one."""
    for a in range(len(box.free)):
        box.full_x[box.free[a]] = box.x[a]


@njit(cache=True)
def expand(samples: Samples, root: Root, tree: Tree, node: int, offer: bool) -> None:
    """Relax a node again with its own Hessian, branch, and bound both children.

    Stage 0 is the node itself, stages 1 and 2 are its halves.
    """
    box = load(tree, root, node, len(samples.weight))
    parent, penalty = tree.bound[node], tree.penalty[node]
    origin = tree.w[node].copy()
    fixed, fixed_x = np.empty(len(box.full_x), np.int64), np.empty(len(box.full_x))
    count = 0
    for j in range(len(box.full_x)):
        if box.full_low[j] == box.full_high[j]:
            fixed[count], fixed_x[count] = j, box.full_x[j]
            count += 1
    p = len(box.free)
    scores(samples, box.z, fixed[:count], fixed_x[:count], box.start)
    x, g, low, high, move = np.empty(p), np.empty(p), np.empty(p), np.empty(p), np.empty(p)
    chosen, below, start_penalty = -1, 0.0, penalty
    for stage in range(3):
        if stage > 0:
            for a in range(p):
                box.low[a], box.high[a] = low[a], high[a]
                box.full_low[box.free[a]], box.full_high[box.free[a]] = low[a], high[a]
            j = box.free[chosen]
            if stage == 1:
                box.high[chosen] = box.full_high[j] = below
            else:
                box.low[chosen] = box.full_low[j] = below + root.step[j]
            shift = dominating_shift(root, box)
            if shift >= 0:
                close(tree, box, shift)
            if shift >= 0 or not couple(tree, root, box):
                continue
            end = min(max(x[chosen], box.low[chosen]), box.high[chosen])
            follow(box, x, g, move, end - x[chosen])
            penalty = start_penalty
        rounds = ROUNDS if stage > 0 or parent > -np.inf else ROOT_ROUNDS
        bound, penalty = relax(samples, root, tree, box, parent, penalty, rounds, stage == 0)
        if settle(tree, root, box, bound):
            if stage == 0:
                return
            continue
        store_point(box)
        if stage > 0:
            better = bound >= parent
            for j in range(len(origin)):
                box.full_x[j] = box.full_x[j] if better else origin[j]
            push(tree, box, box.full_x, max(bound, parent), penalty)
            continue
        if offer:
            offer_rounded(samples, root, tree, box)
        if bound >= parent:
            parent = bound
            for j in range(len(origin)):
                origin[j] = box.full_x[j]
        start_penalty = penalty
        for a in range(p):
            box.x[a] = min(max(box.x[a], box.low[a]), box.high[a])
            x[a], g[a], low[a], high[a] = box.x[a], box.g[a], box.low[a], box.high[a]
        chosen, below = choose(tree, root, box, parent, penalty, move)


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
