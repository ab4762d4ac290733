"""Compiled data structures of the convex engine: the root, one node at work, the report on it."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from provenn.bounds._convex_kernels import leave_zero
from provenn.bounds._convex_samples import Floats, Integers

LOW, HIGH, STEP, PRICE, COUNTS, BOX_LOW, BOX_HIGH = 0, 1, 2, 3, 4, 5, 6
X = 2
CLOSED, OPEN, POINT, EMPTY = 0, 1, 2, 3
SHIFTED = 4


class Root(NamedTuple):
    """The root box and everything about it that no node changes.

    Parameters
    ----------
    table : ndarray of shape (7, D), float64
        LOW, HIGH and STEP of each entry (bias last); PRICE of a non-zero one; COUNTS: 1 for weights
        whose domain has 0, which price and budget apply to; BOX_LOW and BOX_HIGH, the original box.
    shifts : ndarray of shape (r, D), float64
        Moves that leave every score as it is; row i is 0 on the references of the others.
    multiples : ndarray of shape (2, r), float64
        In the relative box: least and largest multiple of each shift. A point counts iff some
        multiples take it into the original box. In the plain box: of shape (2, 0).
    reference : ndarray of shape (r,), int64
        In the plain box: an entry that each shift moves; else of shape (0,).
    anchor : ndarray of shape (r,), float64
        Of equal points only those whose references are nearest to their anchors must be kept.
    budget : int
        Largest number of non-zeros among the counted entries, negative for none.
    slack : float
        ``slack * sum m``, how far the integer table can lie below the curve, less constant prices.
    margin : float
        Relative rounding error of a bound, see `certified`.
    mixing : bool
        Whether bounds may come from mixtures of tangents, see `provenn.bounds._convex_cuts`.
    """

    table: Floats
    shifts: Floats
    multiples: Floats
    reference: Integers
    anchor: Floats
    budget: int
    slack: float
    margin: float
    mixing: bool


class Box(NamedTuple):
    """One node at work: its D entries, and its p free ones packed.

    Parameters
    ----------
    full : ndarray of shape (3, D), float64
        LOW, HIGH and X of all entries; the packed ones are written back when needed.
    free : ndarray of shape (p,), int64
    low, high, x, price, g, cut : ndarray of shape (p,), float64
        `cut` is the slope of the bound: g, or that of a mixture of tangents.
    counts : ndarray of shape (p,), bool
    start, z, slope, curvature : ndarray of shape (n,), float64
        Scores of the fixed entries; scores, ``m c'`` and ``m c''`` at x.
    H, C : ndarray of shape (p, p), float64
        Hessian of the loss at some point of the node, and scratch for its factors.
    constant : float
        Price of the fixed non-zeros and of those without a choice, less slack.
    margin : float
    room : int
        How many more non-zeros the budget allows, negative for any number.
    """

    full: Floats
    free: Integers
    low: Floats
    high: Floats
    x: Floats
    price: Floats
    g: Floats
    cut: Floats
    counts: NDArray[np.bool_]
    start: Floats
    z: Floats
    slope: Floats
    curvature: Floats
    H: Floats
    C: Floats
    constant: float
    margin: float
    room: int


class Report(NamedTuple):
    """What processing a node found: row 0 for the node, rows 1 and 2 for its halves.

    Parameters
    ----------
    box : ndarray of shape (3, 4, D), int32
        LOW and HIGH at the end, and (rows 2 and 3) after what only shifts could cut.
    w : ndarray of shape (3, D), float32
        The point of the bound.
    bound, penalty : ndarray of shape (3,), float64
        Own bound (a half inherits its parent's where that is better) and penalty of the budget.
    state : ndarray of shape (6,), int64
        CLOSED by its bound, OPEN, POINT (evaluate it), EMPTY, or SHIFTED + number of a shift; row 0
        also tells the entry branched on (state[3]), the top of the lower half (state[4]), and
        whether `offer` is worth an exact evaluation (state[5]).
    offer : ndarray of shape (D,), float64
        The rounded point of the node.
    slope : ndarray of shape (3, D), float32
        The gradient at the point of the bound, of entries that are free.
    """

    box: NDArray[np.int32]
    w: NDArray[np.float32]
    bound: Floats
    penalty: Floats
    state: Integers
    offer: Floats
    slope: NDArray[np.float32]


@njit(cache=True)
def load(root: Root, low: NDArray[np.int32], high: NDArray[np.int32], w: NDArray[np.float32], n: int) -> Box:
    """Unpack a stored node into fresh arrays, its point clipped to its box."""
    D = len(low)
    full, free, p = np.empty((3, D)), np.empty(D, np.int64), 0
    constant, room = -root.slack, root.budget
    for j in range(D):
        full[LOW, j], full[HIGH, j] = low[j], high[j]
        full[X, j] = min(max(np.float64(w[j]), full[LOW, j]), full[HIGH, j])
        if low[j] < high[j]:
            free[p] = j
            p += 1
        elif low[j] != 0 and root.table[COUNTS, j] > 0.0:
            constant += root.table[PRICE, j]
            room -= 1
    packed, long, square, counts = np.zeros((6, p)), np.empty((4, n)), np.empty((2, p, p)), np.empty(p, np.bool_)
    for a in range(p):
        j = free[a]
        packed[0, a], packed[1, a], packed[2, a], packed[3, a] = (
            full[0, j],
            full[1, j],
            full[2, j],
            root.table[PRICE, j],
        )
        counts[a] = root.table[COUNTS, j] > 0.0
    return Box(
        full,
        free[:p],
        packed[0],
        packed[1],
        packed[2],
        packed[3],
        packed[4],
        packed[5],
        counts,
        long[0],
        long[1],
        long[2],
        long[3],
        square[0],
        square[1],
        constant,
        root.margin,
        room if root.budget >= 0 else -1,
    )


@njit(cache=True)
def write_back(box: Box) -> None:
    """Write the packed low, high and x into the full ones."""
    for a in range(len(box.free)):
        j = box.free[a]
        box.full[LOW, j], box.full[HIGH, j], box.full[X, j] = box.low[a], box.high[a], box.x[a]


@njit(cache=True)
def tighten(root: Root, box: Box, spare: float) -> bool:
    """Cut from the box what its linear bound closes, `spare` below the cutoff; return whether a choice is left.

    With x the point of the bound, values v_a are closed when ``spare < g_a (v_a - x_a) - base``,
    g the slope of the bound and base the most that entry a contributed to it.
    """
    choice = False
    for a in range(len(box.free)):
        slope, low, high = box.cut[a], box.low[a], box.high[a]
        if slope != 0.0 and low < high:
            base = -slope * box.x[a]
            holds_zero = low <= 0.0 <= high
            if not (holds_zero and box.counts[a] and root.budget >= 0):
                leave = leave_zero(slope, box.x[a], low, high, box.price[a])
                base = min(base, leave) if holds_zero else leave - box.price[a]
            limit = box.x[a] + (spare + base) / slope
            first, step = root.table[LOW, box.free[a]], root.table[STEP, box.free[a]]
            if slope > 0.0:
                box.high[a] = max(low, first + step * np.floor((min(limit, high) - first) / step))
            else:
                box.low[a] = min(high, first + step * np.ceil((max(limit, low) - first) / step))
        choice = choice or box.low[a] < box.high[a]
    return choice


@njit(cache=True)
def shift_range(root: Root, box: Box, least: Floats, most: Floats) -> bool:
    """Narrow the multiples of the shifts that can bring the box into the original one; False when none can.

    Entry e of the original point is ``v_e + sum_i z_i shifts_ie`` with integers z; this is
    interval propagation on ``box_low_e <= v_e + sum_i z_i shifts_ie <= box_high_e``.
    """
    for e in range(box.full.shape[1]):
        down, up = 0.0, 0.0
        for i in range(len(least)):
            u = root.shifts[i, e]
            down += min(u * least[i], u * most[i])
            up += max(u * least[i], u * most[i])
        floor, roof = root.table[BOX_LOW, e] - box.full[HIGH, e], root.table[BOX_HIGH, e] - box.full[LOW, e]
        if down > roof or up < floor:
            return False
        for i in range(len(least)):
            u = root.shifts[i, e]
            if u != 0.0:
                own_down, own_up = min(u * least[i], u * most[i]), max(u * least[i], u * most[i])
                one, two = (roof - down + own_down) / u, (floor - up + own_up) / u
                least[i] = max(least[i], np.ceil(min(one, two)))
                most[i] = min(most[i], np.floor(max(one, two)))
                if least[i] > most[i]:
                    return False
                down += min(u * least[i], u * most[i]) - own_down
                up += max(u * least[i], u * most[i]) - own_up
    return True


@njit(cache=True)
def couple(root: Root, box: Box) -> bool:
    """Tighten a box (written back) to points that shifts can take into the original box; False if it has none."""
    r = root.multiples.shape[1]
    if r == 0:
        return True
    least, most = root.multiples[0].copy(), root.multiples[1].copy()
    if not shift_range(root, box, least, most) or not shift_range(root, box, least, most):
        return False
    for a in range(len(box.free)):
        e = box.free[a]
        low, high = root.table[BOX_LOW, e], root.table[BOX_HIGH, e]
        for i in range(r):
            low -= max(root.shifts[i, e] * least[i], root.shifts[i, e] * most[i])
            high -= min(root.shifts[i, e] * least[i], root.shifts[i, e] * most[i])
        box.low[a], box.high[a] = max(low, box.low[a]), min(high, box.high[a])
        if box.low[a] > box.high[a]:
            return False
        box.full[LOW, e], box.full[HIGH, e] = box.low[a], box.high[a]
    return True


@njit(cache=True)
def dominating_shift(root: Root, box: Box) -> int:
    """Return a shift that takes the whole box to equal points nearer to the anchors, or -1.

    Number 2i subtracts ``shifts[i]``, number 2i + 1 adds it. Of equal points the one with the
    smallest ``sum_i |v_reference_i - anchor_i|`` is never dropped, since a shift moves only its
    own reference.
    """
    for i in range(len(root.reference)):
        j = root.reference[i]
        if box.full[LOW, j] <= root.anchor[i] <= box.full[HIGH, j]:
            continue
        sign = -1.0 if box.full[LOW, j] > root.anchor[i] else 1.0
        inside = True
        for e in range(box.full.shape[1]):
            move = sign * root.shifts[i, e]
            if box.full[LOW, e] + move < root.table[LOW, e] or box.full[HIGH, e] + move > root.table[HIGH, e]:
                inside = False
        if inside:
            return 2 * i + (1 if sign > 0.0 else 0)
    return -1


@njit(cache=True)
def undecided_reference(root: Root, box: Box) -> int:
    """Return the number of a shift whose reference can still be at its anchor or off it, or -1."""
    for i in range(len(root.reference)):
        j = root.reference[i]
        if box.full[LOW, j] < box.full[HIGH, j] and box.full[LOW, j] <= root.anchor[i] <= box.full[HIGH, j]:
            return i
    return -1
