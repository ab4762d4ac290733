"""Compiled node processing of the convex engine: branching, bounding children, the search loop."""

import numpy as np
from numba import njit

from provenn.bounds._convex_kernels import (
    Floats,
    Integers,
    Samples,
    back_substitute,
    cholesky,
    hessian,
    inverse_diagonal,
    loss_only,
    scores,
)
from provenn.bounds._convex_tree import (
    BEST,
    CANDIDATES,
    CUTOFF,
    HEAP,
    LEAVES,
    NODES,
    POINTS,
    ROUNDS,
    Root,
    Tree,
    certified,
    close,
    dominating_shift,
    model_step,
    pop,
    push,
    tighten,
)


@njit(cache=True)
def free_entries(low: Floats, high: Floats) -> Integers:
    """Return the entries whose box is not a point."""
    return np.flatnonzero(low < high)


@njit(cache=True)
def offer_point(samples: Samples, root: Root, tree: Tree, v: Floats, z: Floats) -> None:
    """Hand v to the caller when its loss by floats beats the best one (within the budget)."""
    cost, used = 0.0, 0
    for j in range(len(v)):
        if v[j] != 0.0 and root.counts[j]:
            cost += root.price[j]
            used += 1
    if root.budget >= 0 and used > root.budget or tree.count[POINTS] >= len(tree.points):
        return
    scores(samples, v, z)
    value = loss_only(samples, z) + cost
    if value < tree.level[BEST]:
        tree.level[BEST] = value
        tree.points[tree.count[POINTS]] = v
        tree.count[POINTS] += 1


@njit(cache=True)
def rounded(root: Root, low: Floats, high: Floats, v: Floats) -> Floats:
    """Return the grid point nearest to v."""
    near = root.low + root.step * np.rint((v - root.low) / root.step)
    return np.minimum(np.maximum(near, low), high)


@njit(cache=True)
def split_at(root: Root, low: Floats, high: Floats, v: Floats, j: int) -> float:
    """Return the largest value of the lower half: floor v_j, below the upper end."""
    below = root.low[j] + root.step[j] * np.floor((v[j] - root.low[j]) / root.step[j])
    return max(low[j], min(below, high[j] - root.step[j]))


@njit(cache=True)
def branch(
    root: Root,
    low: Floats,
    high: Floats,
    v: Floats,
    free: Integers,
    g: Floats,
    H: Floats,
    C: Floats,
    inner: Integers,
    m: int,
    room: float,
) -> int:
    """Return the position in `free` to branch on: the best product of both children's predicted gains.

    Moving entry j by d costs ``d^2 / (2 (H_FF^-1)_jj)`` while the other entries strictly inside
    their boxes (F, `inner`) follow; entries at an end cost ``|g_j| d`` beside that. Since
    ``1 / (H^-1)_jj <= H_jj``, the products with H_jj are upper bounds, by which few inverses
    have to be computed.
    """
    p = len(free)
    place = np.full(p, -1)
    for a in range(m):
        place[inner[a]] = a
    rank = np.empty(p)
    for a in range(p):
        rank[a] = gain(root, low, high, v, free[a], g[a] if place[a] < 0 else 0.0, H[a, a], room)
    best, chosen = -1.0, 0
    y = np.empty(p)
    for _ in range(CANDIDATES):
        a = np.argmax(rank)
        if rank[a] <= best:
            break
        score = rank[a]
        if place[a] >= 0:
            score = gain(root, low, high, v, free[a], 0.0, 1.0 / inverse_diagonal(C, m, place[a], y), room)
        rank[a] = -1.0
        if score > best:
            best, chosen = score, a
    return chosen


@njit(cache=True)
def gain(root: Root, low: Floats, high: Floats, v: Floats, j: int, g: float, h: float, room: float) -> float:
    """Return the product of the predicted gains of both halves, each at most what closes it."""
    below = split_at(root, low, high, v, j)
    down, up = max(0.0, v[j] - below), max(0.0, below + root.step[j] - v[j])
    lower = 0.5 * h * down * down + max(0.0, -g) * down
    upper = 0.5 * h * up * up + max(0.0, g) * up
    floor = 1e-3 * room
    return max(min(lower, room), floor) * max(min(upper, room), floor)


@njit(cache=True)
def relax(
    samples: Samples,
    root: Root,
    tree: Tree,
    low: Floats,
    high: Floats,
    v: Floats,
    free: Integers,
    H: Floats,
    g: Floats,
    parent: float,
    penalty: float,
    z: Floats,
    slope: Floats,
    curvature: Floats,
) -> tuple[float, float]:
    """Improve v and its bound over a box by steps of the model with Hessian H; g is the model's gradient at v.

    Stops when the node closes, or when what is left to gain is small against the distance to
    the cutoff. On return the bound, v, z, slope, curvature and g belong together.
    """
    bound, cutoff = -np.inf, tree.level[CUTOFF]
    for _ in range(ROUNDS):
        x = v[free]
        penalty = model_step(root, H, g, x, low, high, free, penalty, 1e-4 * max(cutoff - parent, 1.0))
        v[free] = x.astype(np.float32).astype(np.float64)
        value, bound = certified(samples, root, low, high, v, free, z, g, slope, curvature)
        if bound > cutoff or value - root.slack - bound < 0.05 * max(cutoff - bound, 1.0):
            break
    return bound, penalty


@njit(cache=True)
def settle(
    root: Root, tree: Tree, low: Floats, high: Floats, v: Floats, free: Integers, g: Floats, bound: float
) -> bool:
    """Close a node by its bound or as a point (handed to the caller); tighten its box otherwise."""
    if bound > tree.level[CUTOFF]:
        close(tree, low, high, v, -1)
        return True
    tighten(tree, root, bound, low, high, v, free, g)
    if np.any(low < high):
        return False
    tree.points[tree.count[POINTS]] = low
    tree.count[POINTS] += 1
    close(tree, low, high, low, -2)
    return True


@njit(cache=True)
def add_child(
    samples: Samples,
    root: Root,
    tree: Tree,
    low: Floats,
    high: Floats,
    v: Floats,
    free: Integers,
    H: Floats,
    g: Floats,
    origin: Floats,
    parent: float,
    penalty: float,
    z: Floats,
    slope: Floats,
    curvature: Floats,
) -> None:
    """Bound a child and keep it open, or close it; it inherits the bound that `origin` gave its parent."""
    shift = dominating_shift(root, low, high)
    if shift >= 0:
        close(tree, low, high, v, shift)
        return
    bound, penalty = relax(samples, root, tree, low, high, v, free, H, g, parent, penalty, z, slope, curvature)
    if not settle(root, tree, low, high, v, free, g, bound):
        push(tree, low, high, v if bound >= parent else origin, max(bound, parent), penalty)


@njit(cache=True)
def expand(samples: Samples, root: Root, tree: Tree, node: int) -> None:
    """Relax a node again with its own Hessian, branch, and bound both children."""
    n = len(samples.weight)
    z, slope, curvature = np.empty(n), np.empty(n), np.empty(n)
    low, high = tree.low[node].astype(np.float64), tree.high[node].astype(np.float64)
    origin = tree.w[node].astype(np.float64)
    v = np.minimum(np.maximum(origin, low), high)
    parent, penalty = tree.bound[node], tree.penalty[node]
    free = free_entries(low, high)
    g, H = np.empty(len(free)), np.empty((len(free), len(free)))
    value, bound = certified(samples, root, low, high, v, free, z, g, slope, curvature)
    hessian(samples, curvature, free, H)
    if value - root.slack - bound > 0.1 * max(tree.level[CUTOFF] - bound, 1.0):
        bound, penalty = relax(samples, root, tree, low, high, v, free, H, g, parent, penalty, z, slope, curvature)
    if settle(root, tree, low, high, v, free, g, bound):
        return
    if bound >= parent:
        origin, parent = v.copy(), bound
    v = np.minimum(np.maximum(v, low), high)
    split(samples, root, tree, low, high, v, free, H, g, origin, parent, penalty, z, slope, curvature)


@njit(cache=True)
def inner_entries(root: Root, low: Floats, high: Floats, v: Floats, free: Integers, penalty: float) -> Integers:
    """Return the positions in `free` of the entries strictly inside their boxes and off the kink at 0."""
    inner, m = np.empty(len(free), np.int64), 0
    for a in range(len(free)):
        j = free[a]
        kink = v[j] == 0.0 and root.counts[j] and root.price[j] + penalty > 0.0
        if low[j] < v[j] < high[j] and not kink:
            inner[m] = a
            m += 1
    return inner[:m]


@njit(cache=True)
def split(
    samples: Samples,
    root: Root,
    tree: Tree,
    low: Floats,
    high: Floats,
    v: Floats,
    free: Integers,
    H: Floats,
    g: Floats,
    origin: Floats,
    parent: float,
    penalty: float,
    z: Floats,
    slope: Floats,
    curvature: Floats,
) -> None:
    """Choose the entry to branch on and add both children, each from where the model predicts it."""
    inner = inner_entries(root, low, high, v, free, penalty)
    m = len(inner)
    C, y = np.empty((m, m)), np.zeros(len(free))
    cholesky(H, inner, m, C)
    a, (j, below) = -1, forced_branch(root, low, high)
    if j >= 0:
        a = np.flatnonzero(free == j)[0]
    else:
        a = branch(root, low, high, v, free, g, H, C, inner, m, max(tree.level[CUTOFF] - parent, 1.0))
        below = split_at(root, low, high, v, free[a])
    direction(C, inner, a, y)
    j = free[a]
    for side in range(2):
        l, h, u, q = low.copy(), high.copy(), v.copy(), g.copy()
        if side == 0:
            h[j] = below
        else:
            l[j] = below + root.step[j]
        move = min(max(v[j], l[j]), h[j]) - v[j]
        u[free] = np.minimum(np.maximum(v[free] + move * y, l[free]), h[free])
        for e in range(len(free)):
            change = u[free[e]] - v[free[e]]
            if change != 0.0:
                q += change * H[e]
        add_child(samples, root, tree, l, h, u, free, H, q, origin, parent, penalty, z, slope, curvature)


@njit(cache=True)
def direction(C: Floats, inner: Integers, a: int, y: Floats) -> None:
    """Write how the inner entries follow when entry a moves by 1: ``H^-1 e_a / (H^-1)_aa``."""
    m = len(inner)
    place = np.flatnonzero(inner == a)
    y[a] = 1.0
    if len(place) > 0:
        x = np.empty(m)
        inverse_diagonal(C, m, place[0], x)
        back_substitute(C, m, x)
        y[inner] = x / x[place[0]]


@njit(cache=True)
def forced_branch(root: Root, low: Floats, high: Floats) -> tuple[int, float]:
    """Return an entry to branch on because of a shift, and the top of its lower half; or -1.

    First each reference splits into below, at and above its anchor. A box on either side
    splits off what keeps its points from moving towards the anchor, entry by entry, until the
    rest can be dropped (`dominating_shift`).
    """
    for i in range(len(root.reference)):
        j, anchor = root.reference[i], root.anchor[i]
        if low[j] < high[j] and low[j] <= anchor <= high[j]:
            return j, anchor if anchor < high[j] else anchor - root.step[j]
        if low[j] <= anchor <= high[j]:
            continue
        sign = -1.0 if low[j] > anchor else 1.0
        found, below = -1, 0.0
        for e in range(len(low)):
            move = sign * root.shifts[i, e]
            if high[e] + move < root.low[e] or low[e] + move > root.high[e]:
                found = -1
                break
            if low[e] + move < root.low[e]:
                found, below = e, root.low[e] - move - root.step[e]
            elif high[e] + move > root.high[e]:
                found, below = e, root.high[e] - move
        if found >= 0:
            return found, below
    return -1, 0.0


@njit(cache=True)
def open_root(samples: Samples, root: Root, tree: Tree, v: Floats) -> float:
    """Relax the root from v by damped model steps, open it, and return its bound."""
    n, low, high = len(samples.weight), root.low.copy(), root.high.copy()
    z, slope, curvature = np.empty(n), np.empty(n), np.empty(n)
    free, cutoff = free_entries(low, high), tree.level[CUTOFF]
    g, H, penalty = np.empty(len(free)), np.empty((len(free), len(free))), 0.0
    best, best_bound, best_penalty, around = v.copy(), -np.inf, 0.0, v.copy()
    for _ in range(60):
        value, bound = certified(samples, root, low, high, v, free, z, g, slope, curvature)
        if bound >= best_bound:
            best, best_bound, best_penalty = v.copy(), bound, penalty
            if bound > cutoff or value - root.slack - bound < 0.02 * max(cutoff - bound, 1.0):
                break
            around = v.copy()
        else:
            v = (around + v) * 0.5
            around = 0.5 * (around + best)
            certified(samples, root, low, high, v, free, z, g, slope, curvature)
        hessian(samples, curvature, free, H)
        x = v[free]
        penalty = model_step(root, H, g, x, low, high, free, penalty, 1e-6 * max(cutoff - bound, 1.0))
        v[free] = x.astype(np.float32).astype(np.float64)
    push(tree, low, high, best, best_bound, best_penalty)
    return best_bound


@njit(cache=True, nogil=True)
def search(samples: Samples, root: Root, tree: Tree, nodes: int) -> None:
    """Process up to `nodes` nodes, best bound first; stop early when a buffer could overflow or a point waits."""
    D = len(root.low)
    z = np.empty(len(samples.weight))
    for _ in range(nodes):
        if tree.count[HEAP] == 0 or tree.count[1] < 4 or tree.count[POINTS] > 0:
            return
        if len(tree.leaf_kind) > 0 and len(tree.leaf_kind) - tree.count[LEAVES] < 8 * D + 8:
            return
        node = pop(tree)
        if tree.bound[node] > tree.level[CUTOFF]:
            close(
                tree,
                tree.low[node].astype(np.float64),
                tree.high[node].astype(np.float64),
                tree.w[node].astype(np.float64),
                -1,
            )
            continue
        tree.count[NODES] += 1
        v, low, high = (
            tree.w[node].astype(np.float64),
            tree.low[node].astype(np.float64),
            tree.high[node].astype(np.float64),
        )
        if tree.count[NODES] < 200 or tree.count[NODES] % 16 == 0:
            offer_point(samples, root, tree, rounded(root, low, high, v), z)
        expand(samples, root, tree, node)
