"""Compiled: bounds of tuples of clusters, the open nodes by best bound first, and how patterns are clustered.

The arrays say what `provenn.check_proof.Search` computes with masks; every bound is one that the checker derives too.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Small = NDArray[np.int32]
Bytes = NDArray[np.int8]

DONE, PAUSED, FULL = 0, 1, 2
N_NODES, N_HEAP, EVALUATIONS = 0, 1, 2
BEYOND = 2**62
TRIED_CUTS = 8
OPEN_SHARE = 1e-3


@njit(cache=True, nogil=True)
def part_of(number: int, low: int, high: int, first: Small, last: Small, children: Small) -> int:
    """Return the smallest cluster with all patterns of a cluster in ``low..high-1`` but for parts outside, or -1."""
    while number >= 0 and children[number, 0] >= 0:
        a, b = children[number, 0], children[number, 1]
        first_holds, second_holds = last[a] > low and first[a] < high, last[b] > low and first[b] < high
        if first_holds and second_holds:
            return number
        number = a if first_holds else b if second_holds else -1
    return number if number >= 0 and last[number] > low and first[number] < high else -1


@njit(cache=True, nogil=True)
def order(nodes: Small, first: Small, last: Small, children: Small) -> bool:
    """Drop parts that are out of order, in place; False where nothing is left."""
    h = nodes.size
    for i in range(1, h):
        nodes[i] = part_of(nodes[i], first[nodes[i - 1]], BEYOND, first, last, children)
        if nodes[i] < 0:
            return False
    for i in range(h - 2, -1, -1):
        nodes[i] = part_of(nodes[i], -1, last[nodes[i + 1]], first, last, children)
        if nodes[i] < 0:
            return False
    return True


@njit(cache=True, nogil=True)
def count(nodes: Small, status: Bytes, weights: Integers, counts: Integers) -> None:
    """Add up the weights of the samples of every cube and category."""
    counts[:] = 0
    width = weights.shape[1]
    for x in range(status.shape[1]):
        cube = 0
        for j in range(nodes.size):
            cube = 3 * cube + status[nodes[j], x]
        for c in range(width):
            counts[cube * width + c] += weights[x, c]


@njit(cache=True, nogil=True)
def losses_of(counts: Integers, tables: Integers, losses: Integers, touched: Integers) -> None:
    """Compute the loss from below with every table."""
    size = 0
    for e in range(counts.size):
        if counts[e]:
            touched[size] = e
            size += 1
    for i in range(losses.size):
        total = 0
        for s in range(size):
            total += tables[i, touched[s]] * counts[touched[s]]
        losses[i] = total


@njit(cache=True, nogil=True)
def bits(mask: int) -> int:
    """Count the bits of a mask."""
    size = 0
    while mask:
        size += mask & 1
        mask >>= 1
    return size


@njit(cache=True, nogil=True)
def best_option(options: Integers, losses: Integers, setting: Integers, room: int, live: int) -> int:
    """Return the least value of the options within a budget."""
    factor, neuron, fewest, least = setting[0], setting[1], setting[2], BEYOND
    for o in range(len(options)):
        if options[o, 2] <= room:
            value = factor * losses[options[o, 0]] + options[o, 1]
            if neuron:
                value += neuron * max(bits(live | options[o, 3]), fewest)
            least = min(least, value)
    return least


@njit(cache=True, nogil=True)
def bound_of(
    nodes: Small,
    status: Bytes,
    prices: Integers,
    weights: Integers,
    tables: Integers,
    starts: Integers,
    options: Integers,
    pointers: Integers,
    setting: Integers,
    counts: Integers,
    losses: Integers,
    touched: Integers,
) -> int:
    """Return what no network of clusters, one a unit, goes below: see `provenn.check_proof.Search.bound`.

    `setting` holds the factor of the loss, the price of a live unit, the fewest that count and the budget.
    """
    terms, price, live, room = weights.shape[0], 0, 0, setting[3]
    for j in range(nodes.size):
        price += prices[nodes[j], 0]
        room -= prices[nodes[j], 1]
        live = 2 * live + prices[nodes[j], 2]
    for t in range(terms):
        count(nodes, status, weights[t], counts)
        losses_of(counts, tables[starts[t] : starts[t + 1]], losses[starts[t] : starts[t + 1]], touched)
    best = BEYOND
    for q in range(0, pointers.size - 1, terms):
        total = 0
        for t in range(terms):
            own = options[pointers[q + t] : pointers[q + t + 1]]
            total = min(total + best_option(own, losses[starts[t] :], setting, room, live), BEYOND)
        best = min(best, total)
    return min(best + price, BEYOND)


@njit(cache=True, nogil=True)
def push(heap: Small, bound: Integers, size: int, node: int) -> None:
    """Add a node to the heap; the least bound is first, of equal ones the newest."""
    i = size
    while i > 0:
        up = (i - 1) // 2
        if (bound[heap[up]], -heap[up]) <= (bound[node], -node):
            break
        heap[i] = heap[up]
        i = up
    heap[i] = node


@njit(cache=True, nogil=True)
def pop(heap: Small, bound: Integers, size: int) -> None:
    """Remove the first node of a heap."""
    node, i, size = heap[size - 1], 0, size - 1
    while 2 * i + 1 < size:
        down = 2 * i + 1
        if down + 1 < size and (bound[heap[down + 1]], -heap[down + 1]) < (bound[heap[down]], -heap[down]):
            down += 1
        if (bound[node], -node) <= (bound[heap[down]], -heap[down]):
            break
        heap[i] = heap[down]
        i = down
    heap[i] = node


@njit(cache=True, nogil=True)
def gain(node: Small, sides: Small, found: Integers, bound: int, goal: int, opened: Integers) -> float:
    """Return the product of both children's gains in the bound, and a little for samples that are no longer open.

    A child that is out of order, -1, gains all.
    """
    score, span = 1.0, float(max(goal - bound, 1))
    for side in range(2):
        if found[side] < 0:
            score *= 1.0 + OPEN_SHARE
            continue
        here, there = 1.0, 1.0
        for j in range(node.size):
            here += opened[node[j]]
            there += opened[sides[side, j]]
        score *= (min(found[side], goal) - bound) / span + OPEN_SHARE * (here + 1.0 - there) / here
    return score


@njit(cache=True, nogil=True)
def add(nodes: Small, low: int, tuples: Small, bound: Integers, split: Bytes, counters: Integers) -> int:
    """Add a node and return its number."""
    new = counters[N_NODES]
    counters[N_NODES] += 1
    tuples[new], bound[new], split[new] = nodes, low, 0
    return int(new)


@njit(cache=True, nogil=True)
def explore(
    tuples: Small,
    bound: Integers,
    split: Bytes,
    below: Small,
    heap: Small,
    counters: Integers,
    goal: int,
    budget: int,
    first: Small,
    last: Small,
    children: Small,
    opened: Integers,
    status: Bytes,
    prices: Integers,
    weights: Integers,
    tables: Integers,
    starts: Integers,
    options: Integers,
    pointers: Integers,
    setting: Integers,
) -> int:
    """Split open nodes below the goal, best bound first, until none is left, work is spent or arrays are full.

    The unit to split is that with the largest product of both children's gains.
    """
    h = tuples.shape[1]
    counts = np.zeros(3**h * weights.shape[2], dtype=np.int64)
    losses, touched = np.zeros(tables.shape[0], dtype=np.int64), np.zeros(counts.size, dtype=np.int64)
    tried, kept = np.zeros((2, h), dtype=np.int32), np.zeros((2, h), dtype=np.int32)
    found, lows = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    ends = counters[EVALUATIONS] + budget
    while counters[N_HEAP]:
        node = heap[0]
        if counters[EVALUATIONS] >= ends:
            return PAUSED
        if counters[N_NODES] + 2 > bound.size:
            return FULL
        best, unit = -1.0, -1
        for j in range(h):
            if children[tuples[node, j], 0] < 0:
                continue
            for side in range(2):
                tried[side] = tuples[node]
                tried[side, j] = children[tuples[node, j], side]
                found[side] = -1
                if order(tried[side], first, last, children):
                    found[side] = bound_of(
                        tried[side], status, prices, weights, tables, starts, options, pointers, setting, counts,
                        losses, touched,
                    )  # fmt: skip
                    counters[EVALUATIONS] += 1
            score = gain(tuples[node], tried, found, bound[node], goal, opened)
            if score > best:
                best, unit = score, j
                kept[:], lows[:] = tried, found
        if unit < 0:
            return DONE
        pop(heap, bound, counters[N_HEAP])
        counters[N_HEAP] -= 1
        split[node] = unit + 1
        for side in range(2):
            below[node, side] = -1
            if lows[side] >= 0:
                below[node, side] = add(kept[side], max(lows[side], bound[node]), tuples, bound, split, counters)
                if bound[below[node, side]] < goal:
                    push(heap, bound, counters[N_HEAP], below[node, side])
                    counters[N_HEAP] += 1
    return DONE


@njit(cache=True, nogil=True)
def marks(bound: Integers, split: Bytes, below: Small, goal: int) -> Bytes:
    """Return the tree depth first, a character a node; nodes that reach the goal become leaves."""
    found, stack = np.zeros(bound.size, dtype=np.int8), np.zeros(bound.size + 1, dtype=np.int32)
    size, top = 0, 1
    while top:
        top -= 1
        node = stack[top]
        inner = split[node] > 0 and bound[node] < goal
        found[size] = 48 + (split[node] if inner else 0)
        size += 1
        for side in range(1, -1, -1):
            if inner and below[node, side] >= 0:
                stack[top] = below[node, side]
                top += 1
    return found[:size]


@njit(cache=True, nogil=True)
def open_samples(patterns: Bytes, members: Small) -> int:
    """Count samples on which some of the patterns fire and some do not."""
    count = 0
    for x in range(patterns.shape[1]):
        for i in range(1, members.size):
            if patterns[members[i], x] != patterns[members[0], x]:
                count += 1
                break
    return count


@njit(cache=True, nogil=True)
def best_cut(patterns: Bytes, members: Small) -> int:
    """Return the sample by which to part patterns: of the evenest cuts, the one that leaves the fewest samples open."""
    n, size = patterns.shape[1], members.size
    fires = np.zeros(n, dtype=np.int64)
    for i in members:
        for x in range(n):
            fires[x] += patterns[i, x]
    even = np.minimum(fires, size - fires)
    chosen, least = -1, np.inf
    for x in np.argsort(-even)[:TRIED_CUTS]:
        if even[x] == 0:
            continue
        on = patterns[members, x] == 1
        left = open_samples(patterns, members[on]) * fires[x] + open_samples(patterns, members[~on]) * (size - fires[x])
        if left < least:
            chosen, least = x, float(left)
    return int(chosen)


@njit(cache=True, nogil=True)
def clusters_of(patterns: Bytes) -> Small:
    """Return the cuts of nested clusters down to single patterns, depth first, -1 for a single pattern."""
    K = patterns.shape[0]
    cuts, size = np.full(2 * K - 1, -1, dtype=np.int32), 0
    members = np.arange(K).astype(np.int32)
    stack = np.zeros((K + 1, 2), dtype=np.int64)
    stack[0, 1], top = K, 1
    while top:
        top -= 1
        low, high = stack[top, 0], stack[top, 1]
        if high - low > 1:
            own = members[low:high].copy()
            k = best_cut(patterns, own)
            cuts[size] = k
            on = patterns[own, k] == 1
            quiet = own.size - np.count_nonzero(on)
            members[low : low + quiet] = own[~on]
            members[low + quiet : high] = own[on]
            stack[top, 0], stack[top, 1] = low + quiet, high
            stack[top + 1, 0], stack[top + 1, 1] = low, low + quiet
            top += 2
        size += 1
    return cuts
