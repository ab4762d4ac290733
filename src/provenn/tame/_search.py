"""The loop of the branch and bound, compiled: solve a node, close it or split it, dive."""

import numpy as np
from numba import njit

from provenn.tame._nodes import (
    CLOCK,
    CURRENT,
    FORCED,
    N_DUALS,
    N_NODES,
    N_OPEN,
    N_POOL,
    PIVOTS,
    PROGRAMS,
    Heap,
    Model,
    Nodes,
    Pool,
    Work,
    load_box,
    pop,
    push,
)
from provenn.tame._simplex import (
    CLOSED,
    TROUBLE,
    Floats,
    Integers,
    Tableau,
    bound_of,
    box_minimum,
    breakpoints,
    duals,
    far_step,
    minimise,
    objective,
    place,
    sit,
    walk,
)

DONE, PAUSED, FULL, INTEGRAL, STUCK = 0, 1, 2, 3, 4
"""Why `explore` returns: no open leaf; pivots spent; arrays full; a point with whole integers; a failed program."""

FRACTION = 1e-6
"""Distance from whole numbers up to which a value counts as whole."""
LONGEST_SOLVE = 5_000
"""Pivots after which a program counts as failed."""
SMALLEST_GAIN = 1e-6


@njit(cache=True, nogil=True)
def try_pool(
    reduced: Floats, rows: Floats, size: int, lower: Floats, upper: Floats, cutoff: float
) -> tuple[float, int]:
    """Return the best bound of pooled duals in a box, and its place; ends early at the cutoff."""
    best, place_ = -np.inf, -1
    for p in range(size):
        g = rows[p] + box_minimum(reduced[p], lower, upper)
        if g > best:
            best, place_ = g, p
            if best >= cutoff:
                break
    return best, place_


@njit(cache=True, nogil=True)
def keep_dual(
    Y: Floats, y: Floats, pool: Pool, reduced: Floats, g: float, lower: Floats, upper: Floats, counters: Integers
) -> int:
    """Store a dual and put it into the pool in place of the least recently used; return its number."""
    number = counters[N_DUALS]
    Y[number] = y
    counters[N_DUALS] += 1
    if counters[N_POOL] < pool.rows.size:
        slot = counters[N_POOL]
        counters[N_POOL] += 1
    else:
        slot = int(np.argmin(pool.used))
    counters[CLOCK] += 1
    pool.reduced[slot] = reduced
    pool.rows[slot] = g - box_minimum(reduced, lower, upper)
    pool.dual[slot], pool.used[slot] = number, counters[CLOCK]
    return number


@njit(cache=True, nogil=True)
def side_gain(tab: Tableau, r: int, sign: float, slope: float, work: Work) -> tuple[int, float, float, float]:
    """First dual step for moving the basic column of a row by `slope`: entering column, step, gain, slope left."""
    T, nonbasic, step, listed = tab.T, tab.nonbasic, tab.step, tab.listed
    size = breakpoints(T[r], sign, nonbasic, tab.d, tab.at, work.lower, work.upper, step, listed)
    q, _, t, gain, left = walk(T[r], slope, nonbasic, work.lower, work.upper, step, listed, size)
    return q, t, gain, left


@njit(cache=True, nogil=True)
def choose(tab: Tableau, model: Model, work: Work, room: float, seen: Floats, times: Floats) -> int:
    """Row of the fractional integer column with the largest product of both children's predicted gains.

    A gain is at least that of the first dual step, and else what this column gained before, per unit moved.
    """
    n, best, row = model.c.size, -1.0, -1
    for i in range(tab.basic.size):
        k = tab.basic[i]
        if k >= n or not model.integer[k]:
            continue
        f = tab.value[i] - np.floor(tab.value[i])
        if f < FRACTION or f > 1 - FRACTION:
            continue
        score = 1.0
        for side in range(2):
            move = f if side == 0 else 1 - f
            q, _, gain, _ = side_gain(tab, i, -1.0 if side == 0 else 1.0, move, work)
            if times[2 * k + side] > 0:
                gain = max(gain, move * seen[2 * k + side] / times[2 * k + side])
            score *= max(room if q < 0 else min(gain, room), SMALLEST_GAIN * room)
        if score > best:
            best, row = score, i
    return row


@njit(cache=True, nogil=True)
def unfixed_row(tab: Tableau, model: Model, work: Work) -> int:
    """Return an integer column whose box is no single point, or -1."""
    for k in range(model.c.size):
        if model.integer[k] and work.lower[k] < work.upper[k]:
            return k
    return -1


@njit(cache=True, nogil=True)
def value_of(tab: Tableau, k: int) -> float:
    """Return the value of a column."""
    for i in range(tab.basic.size):
        if tab.basic[i] == k:
            return tab.value[i]
    for j in range(tab.nonbasic.size):
        if tab.nonbasic[j] == k:
            return tab.at[j]
    return np.nan


@njit(cache=True, nogil=True)
def add_children(nodes: Nodes, counters: Integers, node: int, k: int, split: float, bound: float) -> int:
    """Split a node; return the number of its left child."""
    first = counters[N_NODES]
    counters[N_NODES] += 2
    nodes.column[node], nodes.split[node], nodes.left[node] = k, split, first
    for child in (first, first + 1):
        nodes.parent[child], nodes.column[child], nodes.left[child], nodes.dual[child] = node, -1, -1, -1
        nodes.bound[child], nodes.move[child] = bound, 0.0
    return first


@njit(cache=True, nogil=True)
def examine_child(
    tab: Tableau,
    model: Model,
    nodes: Nodes,
    Y: Floats,
    pool: Pool,
    work: Work,
    counters: Integers,
    child: int,
    r: int,
    side: int,
    cutoff: float,
) -> None:
    """Close a child by the first dual step or by the pool, or give it its bound; the box is the child's."""
    k = tab.basic[r]
    sign = -1.0 if side == 0 else 1.0
    slope = tab.value[r] - work.upper[k] if side == 0 else work.lower[k] - tab.value[r]
    nodes.move[child] = slope
    q, t, gain, left = side_gain(tab, r, sign, slope, work)
    reached = objective(tab.d, tab.at)
    if q < 0:
        t = far_step(reached, t, gain, left, cutoff)
    if q < 0 or reached + gain >= cutoff:
        duals(tab.T, tab.basic, tab.nonbasic, tab.d, r, sign, t, work.y)
        g = bound_of(work.y, model.indptr, model.indices, model.data, model.c, work.lower, work.upper, work.reduced)
        if g >= cutoff:
            nodes.bound[child] = g
            nodes.dual[child] = keep_dual(Y, work.y, pool, work.reduced, g, work.lower, work.upper, counters)
            return
    else:
        nodes.bound[child] = max(nodes.bound[child], reached + gain)
    g, slot = try_pool(pool.reduced, pool.rows, counters[N_POOL], work.lower, work.upper, cutoff)
    if g >= cutoff:
        counters[CLOCK] += 1
        nodes.bound[child], nodes.dual[child], pool.used[slot] = g, pool.dual[slot], counters[CLOCK]
    elif g > nodes.bound[child]:
        nodes.bound[child] = g


@njit(cache=True, nogil=True)
def branch(
    tab: Tableau,
    model: Model,
    nodes: Nodes,
    Y: Floats,
    pool: Pool,
    heap: Heap,
    work: Work,
    counters: Integers,
    node: int,
    r: int,
    cutoff: float,
    depth_first: bool,
) -> None:
    """Split the node at a fractional basic column; dive into the child with the smaller bound."""
    k = tab.basic[r]
    split = np.floor(tab.value[r])
    first = add_children(nodes, counters, node, k, split, nodes.bound[node])
    old = work.lower[k], work.upper[k]
    for side in range(2):
        work.lower[k] = split + 1 if side else old[0]
        work.upper[k] = old[1] if side else split
        examine_child(tab, model, nodes, Y, pool, work, counters, first + side, r, side, cutoff)
    work.lower[k], work.upper[k] = old
    nearer = 1 if nodes.bound[first + 1] < nodes.bound[first] else 0
    for side in (1 - nearer, nearer):
        child = first + side
        if nodes.dual[child] >= 0:
            continue
        if side == nearer or nodes.dual[first + nearer] >= 0:
            counters[CURRENT] = child
            if side:
                work.lower[k] = split + 1
            else:
                work.upper[k] = split
        else:
            key = -float(child) if depth_first else nodes.bound[child]
            push(heap.key, heap.node, counters[N_OPEN], key, child)
            counters[N_OPEN] += 1


@njit(cache=True, nogil=True)
def split_whole(nodes: Nodes, heap: Heap, tab: Tableau, work: Work, counters: Integers, node: int, k: int) -> None:
    """Split a node at a whole value of an integer column that is not fixed; both children stay open."""
    value = np.rint(value_of(tab, k))
    split = min(max(value, work.lower[k]), work.upper[k] - 1)
    first = add_children(nodes, counters, node, k, split, nodes.bound[node])
    for child in (first, first + 1):
        push(heap.key, heap.node, counters[N_OPEN], nodes.bound[child], child)
        counters[N_OPEN] += 1


@njit(cache=True, nogil=True)
def learn(nodes: Nodes, seen: Floats, times: Floats, node: int, reached: float) -> None:
    """Remember how much the split above a node gained per unit that its column moved."""
    above = nodes.parent[node]
    if above >= 0 and nodes.move[node] > FRACTION:
        slot = 2 * nodes.column[above] + (node - nodes.left[above])
        seen[slot] += max(reached - nodes.bound[above], 0.0) / nodes.move[node]
        times[slot] += 1
        nodes.move[node] = 0.0


@njit(cache=True, nogil=True)
def explore(
    tab: Tableau,
    model: Model,
    nodes: Nodes,
    Y: Floats,
    pool: Pool,
    heap: Heap,
    work: Work,
    counters: Integers,
    cutoff: float,
    pivots: int,
    depth_first: bool,
) -> int:
    """Solve and split nodes until one of the reasons above; everything is kept in the arguments."""
    last = counters[PIVOTS] + pivots
    while counters[PIVOTS] < last:
        if counters[N_NODES] + 2 > nodes.parent.size or counters[N_DUALS] + 3 > Y.shape[0]:
            return FULL
        if counters[CURRENT] < 0:
            if counters[N_OPEN] == 0:
                return DONE
            counters[CURRENT] = pop(heap.key, heap.node, counters[N_OPEN])
            counters[N_OPEN] -= 1
            load_box(
                counters[CURRENT], nodes.parent, nodes.column, nodes.left, nodes.split,
                model.lower, model.upper, work.lower, work.upper,
            )  # fmt: skip
            sit(tab.nonbasic, tab.d, tab.at, work.lower, work.upper)
            place(tab.T, tab.at, tab.value)
        node = counters[CURRENT]
        status, row, sign, t, count = minimise(tab, work.lower, work.upper, cutoff, LONGEST_SOLVE)
        counters[PIVOTS] += count + 1
        counters[PROGRAMS] += 1
        if status == TROUBLE:
            return STUCK
        duals(tab.T, tab.basic, tab.nonbasic, tab.d, row, sign, t, work.y)
        g = bound_of(work.y, model.indptr, model.indices, model.data, model.c, work.lower, work.upper, work.reduced)
        nodes.bound[node] = max(nodes.bound[node], g)
        learn(nodes, work.seen, work.times, node, min(g, cutoff))
        if status == CLOSED:
            if g < cutoff - 1e-9 * (1 + abs(cutoff)):
                return STUCK
            nodes.dual[node] = keep_dual(Y, work.y, pool, work.reduced, g, work.lower, work.upper, counters)
            counters[CURRENT] = -1
            continue
        r = choose(tab, model, work, cutoff - objective(tab.d, tab.at), work.seen, work.times)
        if r >= 0:
            counters[CURRENT] = -1
            branch(tab, model, nodes, Y, pool, heap, work, counters, node, r, cutoff, depth_first)
            continue
        if counters[FORCED] != node:
            return INTEGRAL
        k = unfixed_row(tab, model, work)
        counters[CURRENT] = -1
        if k >= 0:
            split_whole(nodes, heap, tab, work, counters, node, k)
        else:
            nodes.dual[node] = keep_dual(Y, work.y, pool, work.reduced, g, work.lower, work.upper, counters)
    return PAUSED
