"""Compiled node processing of the convex engine: bound a box, tighten it, drop it by symmetry."""

import numpy as np
from numba import njit

from provenn.bounds._convex_kernels import (
    Floats,
    Samples,
    envelope_use,
    gradient,
    hessian,
    leave_zero,
    linear_minimum,
    losses,
    minimise_model,
    scores,
)
from provenn.bounds._convex_tree import BY_BOUND, BY_VALUE, CUTOFF, EMPTY, Box, Root, Tree, close, hand_over

BISECTIONS = 12


@njit(cache=True)
def certified(samples: Samples, root: Root, box: Box) -> tuple[float, float]:
    """Evaluate at x, write z, slope, curvature and g; return the loss and a rigorous bound over the box.

    The bound is ``f(x) + min g . (u - x) - slack - margin (f + 2 reach + prices)``. The scores
    need no exactness: the tangents at the computed z are the bound, and only their values and
    slopes (correct to a few ulp at a point within ``ulp * radius_k`` of z_k) and the sums over n
    samples and D entries round. With ``margin = 2^-51 (n + D + 64)`` and ``reach = sum m |c'|
    radius`` the standard bound of a dot product, ``n u sum |a_i b_i|``, covers all of them in any order.
    """
    scores(samples, box.start, box.free, box.x, box.z)
    value, reach = losses(samples, box.z, box.slope, box.curvature)
    gradient(samples, box.slope, box.free, box.g)
    prices = 0.0
    for j in range(len(root.price)):
        prices += root.price[j]
    linear = linear_minimum(box.g, box.x, box.low, box.high, box.price, box.counts, box.room)
    error = root.margin * (value + 2.0 * reach + prices) + 1e-6
    return value, value + linear + box.cost - root.slack - error


@njit(cache=True)
def model_step(root: Root, box: Box, penalty: float, tolerance: float) -> float:
    """Minimise the quadratic model over the box (x and g move along); return the penalty of the budget.

    Under a budget the multiplier of ``sum |v| / |end| <= K`` is found by bisection.
    """
    p = len(box.x)
    price = np.empty(p)
    bottom, top = 0.0, np.inf
    for trial in range(BISECTIONS if root.budget >= 0 else 1):
        for a in range(p):
            price[a] = box.price[a] + (penalty if box.counts[a] else 0.0)
        minimise_model(box.H, box.g, box.x, box.low, box.high, price, tolerance, box.C)
        if root.budget < 0:
            break
        use = envelope_use(box.x, box.low, box.high, box.counts)
        if abs(use - box.room) < 0.01 or (use <= box.room and penalty == 0.0) or trial == BISECTIONS - 1:
            break
        if use > box.room:
            bottom = penalty
        else:
            top = penalty
        if top < np.inf:
            penalty = 0.5 * (bottom + top)
        else:
            for a in range(p):
                penalty = max(penalty, 0.1 * abs(box.g[a]) * (box.high[a] - box.low[a]))
            penalty = 2.0 * penalty + 1.0
    return penalty


@njit(cache=True)
def relax(
    samples: Samples, root: Root, tree: Tree, box: Box, parent: float, penalty: float, rounds: int, fresh: bool
) -> tuple[float, float]:
    """Improve x and the bound over the box by steps of the quadratic model.

    A fresh box is evaluated first and gets its own Hessian; otherwise g is the gradient at x
    of the parent's model, whose Hessian stays. Stops when the box closes, or when what is left
    to gain is small against the distance to the cutoff. A step that makes the bound worse is
    halved. On return the bound, x, z, slope, curvature and g belong together.
    """
    p, cutoff = len(box.x), tree.level[CUTOFF]
    kept, best, bound, worse = box.x.copy(), -np.inf, -np.inf, False
    for step in range(rounds + 1):
        if step == rounds or worse:
            share = 1.0 if step == rounds else 0.5
            if step == rounds and not worse:
                break
            for a in range(p):
                box.x[a] = np.float64(np.float32(box.x[a] + share * (kept[a] - box.x[a])))
        elif step > 0 or not fresh:
            penalty = model_step(root, box, penalty, 1e-4 * max(cutoff - max(parent, bound), 1.0))
            for a in range(p):
                box.x[a] = np.float64(np.float32(box.x[a]))
        value, bound = certified(samples, root, box)
        worse = bound < best
        if not worse:
            best = bound
            for a in range(p):
                kept[a] = box.x[a]
        if fresh and (step == 0 or rounds > 10):
            hessian(samples, box.curvature, box.free, box.H)
        gap = 0.1 if fresh and rounds < 10 else 0.05
        if not worse and (bound > cutoff or value - root.slack - bound < gap * max(cutoff - bound, 1.0)):
            break
    return bound, penalty


@njit(cache=True)
def limit_of(root: Root, box: Box, a: int, spare: float) -> float:
    """Return how far entry a can go where its slope pushes back until its linear bound closes the box.

    With x the point of the bound, all v_a beyond are closed when ``spare < g_a (v_a - x_a) - base``,
    base being the most that entry a contributed to the bound.
    """
    slope = box.g[a]
    base = -slope * box.x[a]
    holds_zero = box.low[a] <= 0.0 <= box.high[a]
    if not (holds_zero and box.counts[a] and root.budget >= 0):
        leave = leave_zero(slope, box.x[a], box.low[a], box.high[a], box.price[a])
        base = min(base, leave) if holds_zero else leave - box.price[a]
    return box.x[a] + (spare + base) / slope


@njit(cache=True)
def tighten(tree: Tree, root: Root, box: Box, bound: float) -> None:
    """Cut from the box what its linear bound closes."""
    for a in range(len(box.free)):
        if box.g[a] == 0.0 or box.low[a] == box.high[a]:
            continue
        j = box.free[a]
        first, step = root.low[j], root.step[j]
        low, high = box.low[a], box.high[a]
        limit = limit_of(root, box, a, tree.level[CUTOFF] - bound)
        if box.g[a] > 0.0:
            new = max(low, first + step * np.floor((min(limit, high) - first) / step))
            kept_low, kept_high, cut_low, cut_high = low, new, new + step, high
        else:
            new = min(high, first + step * np.ceil((max(limit, low) - first) / step))
            kept_low, kept_high, cut_low, cut_high = new, high, low, new - step
        if cut_low <= cut_high:
            box.low[a], box.high[a] = cut_low, cut_high
            close(tree, box, BY_BOUND)
            box.low[a], box.high[a] = kept_low, kept_high


@njit(cache=True)
def settle(tree: Tree, root: Root, box: Box, bound: float) -> bool:
    """Close a box by its bound, or as a point (handed to the caller); tighten it otherwise."""
    if bound > tree.level[CUTOFF]:
        close(tree, box, BY_BOUND)
        return True
    tighten(tree, root, box, bound)
    for a in range(len(box.free)):
        if box.low[a] < box.high[a]:
            return False
    hand_over(tree, box)
    close(tree, box, BY_VALUE)
    return True


@njit(cache=True)
def shift_range(root: Root, box: Box, least: Floats, most: Floats) -> bool:
    """Narrow the multiples of the shifts that can bring the box into the original one; False when none can.

    Entry e of the original point is ``v_e + sum_i z_i shifts_ie`` with integers z; this is
    interval propagation on ``box_low_e <= v_e + sum_i z_i shifts_ie <= box_high_e``.
    """
    for _ in range(2):
        for e in range(len(box.full_low)):
            down, up = 0.0, 0.0
            for i in range(len(least)):
                u = root.shifts[i, e]
                down += min(u * least[i], u * most[i])
                up += max(u * least[i], u * most[i])
            floor, roof = root.box_low[e] - box.full_high[e], root.box_high[e] - box.full_low[e]
            if down > roof or up < floor:
                return False
            for i in range(len(least)):
                u = root.shifts[i, e]
                if u != 0.0:
                    one = (roof - down + min(u * least[i], u * most[i])) / u
                    two = (floor - up + max(u * least[i], u * most[i])) / u
                    down -= min(u * least[i], u * most[i])
                    up -= max(u * least[i], u * most[i])
                    least[i] = max(least[i], np.ceil(min(one, two)))
                    most[i] = min(most[i], np.floor(max(one, two)))
                    down += min(u * least[i], u * most[i])
                    up += max(u * least[i], u * most[i])
                    if least[i] > most[i]:
                        return False
    return True


@njit(cache=True)
def couple(tree: Tree, root: Root, box: Box) -> bool:
    """Tighten a box (whose full arrays are up to date) to points that some shift takes into the original box."""
    r = len(root.shift_low)
    if r == 0:
        return True
    least, most = root.shift_low.copy(), root.shift_high.copy()
    if not shift_range(root, box, least, most):
        close(tree, box, EMPTY)
        return False
    for a in range(len(box.free)):
        e = box.free[a]
        low, high = root.box_low[e], root.box_high[e]
        for i in range(r):
            low -= max(root.shifts[i, e] * least[i], root.shifts[i, e] * most[i])
            high -= min(root.shifts[i, e] * least[i], root.shifts[i, e] * most[i])
        low, high = max(low, box.low[a]), min(high, box.high[a])
        keep_low, keep_high = box.low[a], box.high[a]
        if low > high:
            close(tree, box, EMPTY)
            return False
        if low > keep_low:
            box.high[a] = low - root.step[e]
            close(tree, box, EMPTY)
        if high < keep_high:
            box.low[a], box.high[a] = high + root.step[e], keep_high
            close(tree, box, EMPTY)
        box.low[a] = box.full_low[e] = low
        box.high[a] = box.full_high[e] = high
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
        if box.full_low[j] <= root.anchor[i] <= box.full_high[j]:
            continue
        sign = -1.0 if box.full_low[j] > root.anchor[i] else 1.0
        inside = True
        for e in range(len(box.full_low)):
            move = sign * root.shifts[i, e]
            if box.full_low[e] + move < root.low[e] or box.full_high[e] + move > root.high[e]:
                inside = False
                break
        if inside:
            return 2 * i + (1 if sign > 0.0 else 0)
    return -1


@njit(cache=True)
def undecided_reference(root: Root, box: Box) -> int:
    """Return the number of a shift whose reference can still be at its anchor or off it, or -1."""
    for i in range(len(root.reference)):
        j = root.reference[i]
        if box.full_low[j] < box.full_high[j] and box.full_low[j] <= root.anchor[i] <= box.full_high[j]:
            return i
    return -1
