"""Compiled choice of the entry to branch on: what both halves of each candidate would gain in the quadratic model."""

import numpy as np
from numba import njit

from provenn.bounds._convex_boxes import LOW, STEP, Box, Root
from provenn.bounds._convex_kernels import back_substitute, coordinate_descent, inverse_diagonal
from provenn.bounds._convex_samples import Floats, Integers

CANDIDATES = 12
PROBES = 40
SWEEPS = 3
LEAST_SHARE = 1e-3


@njit(cache=True)
def split_at(root: Root, box: Box, a: int) -> float:
    """Return the largest value of the lower half: floor x_a, below the upper end."""
    low, step = root.table[LOW, box.free[a]], root.table[STEP, box.free[a]]
    return max(box.low[a], min(low + step * np.floor((box.x[a] - low) / step), box.high[a] - step))


@njit(cache=True)
def gain(root: Root, box: Box, a: int, slope: float, curvature: float, room: float) -> float:
    """Return the product of the predicted gains of both halves, each at most what closes it."""
    below = split_at(root, box, a)
    down, up = max(0.0, box.x[a] - below), max(0.0, below + root.table[STEP, box.free[a]] - box.x[a])
    lower = 0.5 * curvature * down * down + max(0.0, -slope) * down
    upper = 0.5 * curvature * up * up + max(0.0, slope) * up
    floor = LEAST_SHARE * room
    return max(min(lower, room), floor) * max(min(upper, room), floor)


@njit(cache=True)
def most_gains(root: Root, box: Box, place: Integers, room: float) -> Floats:
    """Return upper bounds of the products of gains: H_aa at least what the inverse would say; -1 where no choice is."""
    most = np.full(len(box.free), -1.0)
    for a in range(len(box.free)):
        if box.low[a] < box.high[a]:
            most[a] = gain(root, box, a, box.g[a] if place[a] < 0 else 0.0, box.H[a, a], room)
    return most


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
    most = most_gains(root, box, place, room)
    best, chosen = -1.0, 0
    for _ in range(CANDIDATES):
        a = int(np.argmax(most))
        if most[a] <= best:
            break
        score = most[a]
        if place[a] >= 0:
            score = gain(root, box, a, 0.0, 1.0 / inverse_diagonal(box.C, m, place[a], y), room)
        most[a] = -1.0
        if score > best:
            best, chosen = score, a
    return chosen


@njit(cache=True)
def follow(box: Box, inner: Integers, m: int, place: int, y: Floats, move: Floats) -> None:
    """Write how the entries strictly inside their boxes follow when the one at the given place among them moves by 1.

    With no place (-1) none follows.
    """
    for a in range(len(move)):
        move[a] = 0.0
    if place >= 0:
        inverse_diagonal(box.C, m, place, y)
        back_substitute(box.C, m, y)
        for e in range(m):
            move[inner[e]] = y[e] / y[place]


@njit(cache=True)
def best_probe(
    root: Root, box: Box, place: Integers, inner: Integers, m: int, room: float, penalty: float, y: Floats
) -> int:
    """Return the free entry whose halves gain most in the model with its prices, by product.

    Unlike `best_entry` this minimises the model over both halves of each candidate: a half that is
    narrower on one side of 0, or leaves 0 out, has a steeper envelope, and that is most of the gain
    under prices and budgets.

    References
    ----------
    Strong branching by the product of gains: Achterberg, Koch & Martin, Oper. Res. Lett. 33 (2005).
    """
    p = len(box.free)
    price, move = np.empty(p), np.empty(p)
    for a in range(p):
        price[a] = box.price[a] + (penalty if box.counts[a] else 0.0)
    most = most_gains(root, box, place, room)
    best, chosen = -1.0, 0
    for _ in range(min(p, PROBES)):
        a = int(np.argmax(most))
        if most[a] < 0.0:
            break
        most[a] = -1.0
        follow(box, inner, m, place[a], y, move)
        move[a] = 1.0
        score = probe(root, box, a, room, price, move)
        if score > best:
            best, chosen = score, a
    return chosen


@njit(cache=True)
def probe(root: Root, box: Box, a: int, room: float, price: Floats, move: Floats) -> float:
    """Return the product of the gains of both halves of entry a, each at most what closes it."""
    below, product = split_at(root, box, a), 1.0
    low, high = box.low.copy(), box.high.copy()
    high[a] = below
    product *= max(min(half_gain(box, a, low, high, room, price, move), room), LEAST_SHARE * room)
    low[a], high[a] = below + root.table[STEP, box.free[a]], box.high[a]
    return product * max(min(half_gain(box, a, low, high, room, price, move), room), LEAST_SHARE * room)


@njit(cache=True)
def envelope(x: float, low: float, high: float, price: float) -> float:
    """Return the envelope of ``price [v != 0]`` over an interval, at x."""
    if low > 0.0 or high < 0.0:
        return price
    return price * (x / high if x > 0.0 else x / low) if x != 0.0 else 0.0


@njit(cache=True)
def half_gain(box: Box, a: int, low: Floats, high: Floats, room: float, price: Floats, move: Floats) -> float:
    """Return how much the model with its prices rises from the box to its half ``low..high``, all but converged."""
    p = len(box.x)
    x, g, value = np.empty(p), box.g.copy(), 0.0
    length = min(max(box.x[a], low[a]), high[a]) - box.x[a]
    for b in range(p):
        x[b] = min(max(box.x[b] + length * move[b], low[b]), high[b])
        change = x[b] - box.x[b]
        if change != 0.0:
            for e in range(p):
                g[e] += change * box.H[b, e]
    coordinate_descent(box.H, g, x, low, high, price, LEAST_SHARE * room, SWEEPS)
    for b in range(p):
        value += 0.5 * (g[b] + box.g[b]) * (x[b] - box.x[b])
        value += envelope(x[b], low[b], high[b], price[b]) - envelope(box.x[b], box.low[b], box.high[b], price[b])
    return value
