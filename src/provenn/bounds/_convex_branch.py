"""Compiled branching of the convex engine: one node and its two halves."""

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
    SHIFTED,
    STEP,
    Box,
    Report,
    Root,
    X,
    couple,
    dominating_shift,
    load,
    tighten,
    undecided_reference,
    write_back,
)
from provenn.bounds._convex_kernels import cholesky
from provenn.bounds._convex_losses import loss_only, losses
from provenn.bounds._convex_nodes import relax
from provenn.bounds._convex_probing import best_entry, best_probe, follow, split_at
from provenn.bounds._convex_samples import Floats, Samples, hessian, scores

ROUNDS = 3
ROOT_ROUNDS = 60


@njit(cache=True)
def offer_rounded(samples: Samples, root: Root, report: Report, box: Box, best: float) -> None:
    """Round x to the grid and offer the point when its loss by floats beats the best one."""
    p, cost, room = len(box.free), box.constant + root.slack, box.room
    near = np.empty(p)
    for j in range(len(report.offer)):
        report.offer[j] = box.full[X, j]
    for a in range(p):
        j = box.free[a]
        low, step = root.table[LOW, j], root.table[STEP, j]
        near[a] = min(max(low + step * np.floor((box.x[a] - low) / step + 0.5), box.low[a]), box.high[a])
        report.offer[j] = near[a]
        if near[a] != 0.0 and box.counts[a]:
            cost += box.price[a]
            room -= 1
    scores(samples, box.start, box.free, near, box.z)
    report.state[5] = (root.budget < 0 or room >= 0) and loss_only(samples, box.z) + cost < best


@njit(cache=True)
def choose(root: Root, box: Box, room: float, penalty: float, move: Floats) -> tuple[int, float]:
    """Choose an entry to branch on and where; write how all entries follow when it moves by 1."""
    p = len(box.free)
    inner, place, m, priced = np.empty(p, np.int64), np.empty(p, np.int64), 0, False
    for a in range(p):
        dear = box.counts[a] and box.price[a] + penalty > 0.0
        priced, kink, place[a] = priced or dear, dear and box.x[a] == 0.0, -1
        if box.low[a] < box.x[a] < box.high[a] and not kink:
            place[a] = m
            inner[m] = a
            m += 1
    cholesky(box.H, inner, int(m), box.C)
    y = np.empty(p)
    i = undecided_reference(root, box)
    if i >= 0:
        chosen = 0
        while box.free[chosen] != root.reference[i]:
            chosen += 1
        step = root.table[STEP, box.free[chosen]]
        below = root.anchor[i] - (0.0 if root.anchor[i] < box.high[chosen] else step)
    else:
        if priced:
            chosen = best_probe(root, box, place, inner, int(m), room, penalty, y)
        else:
            chosen = best_entry(root, box, place, int(m), room, y)
        below = split_at(root, box, int(chosen))
    follow(box, inner, int(m), place[chosen], y, move)
    move[chosen] = 1.0
    return chosen, below


@njit(cache=True)
def fixed_scores(samples: Samples, box: Box) -> None:
    """Write the scores of the fixed entries."""
    D, count = box.full.shape[1], 0
    fixed, value = np.empty(D, np.int64), np.empty(D)
    for j in range(D):
        if box.full[LOW, j] == box.full[HIGH, j]:
            fixed[count], value[count] = j, box.full[X, j]
            count += 1
    for k in range(len(box.z)):
        box.z[k] = 0.0
    scores(samples, box.z, fixed[:count], value[:count], box.start)


@njit(cache=True)
def fill_model(samples: Samples, root: Root, box: Box, model: NDArray[np.float32]) -> None:
    """Write the Hessian at x on all entries that the root leaves a choice."""
    D = box.full.shape[1]
    entries, m = np.empty(D, np.int64), 0
    for j in range(D):
        if root.table[LOW, j] < root.table[HIGH, j]:
            entries[m] = j
            m += 1
    H = np.empty((m, m))
    scores(samples, box.start, box.free, box.x, box.z)
    losses(samples, box.z, box.slope, box.curvature)
    hessian(samples, box.curvature, entries[:m], H)
    for a in range(m):
        for b in range(m):
            model[entries[a], entries[b]] = H[a, b]


@njit(cache=True)
def take_model(box: Box, model: NDArray[np.float32]) -> None:
    """Take the Hessian of the free entries from a model."""
    for a in range(len(box.free)):
        for b in range(len(box.free)):
            box.H[a, b] = model[box.free[a], box.free[b]]


@njit(cache=True)
def start_half(root: Root, box: Box, upper: bool, chosen: int, below: float, kept: Floats) -> int:
    """Set up a half at the point that the model predicts; OPEN, or EMPTY or SHIFTED when nothing in it counts."""
    p = len(box.free)
    for a in range(p):
        box.low[a], box.high[a] = kept[2, a], kept[3, a]
    if upper:
        box.low[chosen] = below + root.table[STEP, box.free[chosen]]
    else:
        box.high[chosen] = below
    write_back(box)
    shift = dominating_shift(root, box)
    if shift >= 0:
        return SHIFTED + shift
    if not couple(root, box):
        return EMPTY
    length = min(max(kept[0, chosen], box.low[chosen]), box.high[chosen]) - kept[0, chosen]
    for a in range(p):
        box.x[a] = min(max(kept[0, a] + length * kept[4, a], box.low[a]), box.high[a])
        box.g[a] = kept[1, a]
    for a in range(p):
        change = box.x[a] - kept[0, a]
        if change != 0.0:
            for b in range(p):
                box.g[b] += change * box.H[a, b]
    return OPEN


@njit(cache=True)
def note(report: Report, box: Box, stage: int, row: int) -> None:
    """Write the box and its point to the report."""
    write_back(box)
    for j in range(box.full.shape[1]):
        report.box[stage, row, j], report.box[stage, row + 1, j] = (
            np.int32(box.full[LOW, j]),
            np.int32(box.full[HIGH, j]),
        )
        report.w[stage, j] = box.full[X, j]
    for a in range(len(box.free)):
        report.slope[stage, box.free[a]] = box.g[a]


@njit(cache=True, nogil=True)
def expand(
    samples: Samples,
    root: Root,
    report: Report,
    box: NDArray[np.int32],
    w: NDArray[np.float32],
    model: NDArray[np.float32],
    fill: bool,
    slope: NDArray[np.float32],
    level: tuple[float, float],
    parent: float,
    penalty: float,
) -> None:
    """Relax a node again with its own Hessian, branch, and bound both halves.

    Stage 0 is the node itself, stages 1 and 2 are its halves.

    Parameters
    ----------
    samples, root
    report : Report
        Written.
    box : ndarray of shape (2 or more, D), int32
        LOW and HIGH of the node.
    w : ndarray of shape (D,), float32
        Where to start.
    model : ndarray of shape (D, D), float32
        Hessian of the loss at some point nearby.
    fill : bool
        Whether to write the Hessian at w into it first.
    slope : ndarray of shape (D,) or (0,), float32
        The gradient at w, where the parent's bound comes from there; nothing is relaxed again then.
    level : (float, float)
        A bound above the first closes a node; the second is the loss that an offer must beat, -inf for none.
    parent : float
        Bound of the node so far, -inf for the root.
    penalty : float
        Penalty of the budget.
    """
    node = load(root, box[LOW], box[HIGH], w, len(samples.weight))
    rounds = ROUNDS if parent > -np.inf else ROOT_ROUNDS
    fixed_scores(samples, node)
    if fill:
        fill_model(samples, root, node, model)
    take_model(node, model)
    kept = np.zeros((5, len(node.free)))
    chosen, below, cutoff = -1, 0.0, level[0]
    report.state[5] = 0
    for stage in range(3):
        if stage > 0:
            report.state[stage] = start_half(root, node, stage == 2, int(chosen), below, kept)
            note(report, node, stage, 2)
            if report.state[stage] != OPEN:
                continue
        if stage == 0 and len(slope) > 0:
            for a in range(len(node.free)):
                node.g[a] = slope[node.free[a]]
            bound, report.penalty[0], report.state[0] = parent, penalty, OPEN
        else:
            bound, report.penalty[stage] = relax(
                samples, node, cutoff, parent, penalty, rounds, stage == 0, stage == 0 and rounds > ROUNDS, root.mixing
            )
            report.state[stage] = CLOSED
            if bound <= cutoff:
                report.state[stage] = OPEN if tighten(root, node, cutoff - bound) else POINT
        report.bound[stage] = bound
        note(report, node, stage, 0)
        if stage == 0 and report.state[0] != OPEN:
            return
        if stage == 0:
            if level[1] > -np.inf:
                offer_rounded(samples, root, report, node, level[1])
            parent, penalty, rounds = max(parent, bound), report.penalty[0], ROUNDS
            for a in range(len(node.free)):
                node.x[a] = min(max(node.x[a], node.low[a]), node.high[a])
                kept[0, a], kept[1, a], kept[2, a], kept[3, a] = node.x[a], node.g[a], node.low[a], node.high[a]
            chosen, below = choose(root, node, max(cutoff - parent, 1.0), penalty, kept[4])
            report.state[3], report.state[4] = node.free[chosen], int(below)
