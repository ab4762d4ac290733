"""Compiled local search of the convex engine: annealing and 1-opt descent of one neuron in integers."""

import numpy as np
from numba import njit

from provenn.bounds._convex_boxes import COUNTS, HIGH, LOW, PRICE, STEP, Root
from provenn.bounds._convex_samples import Floats, Samples, scores
from provenn.losses._curves import curve_point

SHIFT_SHARE, PAIR_SHARE, HEAT = 0.03, 0.3, 0.3


@njit(cache=True)
def move_cost(samples: Samples, z: Floats, now: Floats, j: int, move: float) -> float:
    """Return the change of the loss when entry j moves; `now` holds the loss of every sample."""
    total = 0.0
    code, p0, p1 = samples.code, samples.p0, samples.p1
    if samples.place[j] >= 0:
        column = samples.dense[samples.place[j]]
        for k in range(len(z)):
            total += samples.weight[k] * curve_point(code, p0, p1, z[k] + move * column[k])[0] - now[k]
        return total
    for i in range(samples.col_start[j], samples.col_start[j + 1]):
        k = samples.col_row[i]
        total += samples.weight[k] * curve_point(code, p0, p1, z[k] + move * samples.col_value[i])[0] - now[k]
    return total


@njit(cache=True)
def apply_move(samples: Samples, z: Floats, now: Floats, j: int, move: float) -> float:
    """Move entry j: update scores and losses, return the change of the loss."""
    total = 0.0
    code, p0, p1 = samples.code, samples.p0, samples.p1
    if samples.place[j] >= 0:
        column = samples.dense[samples.place[j]]
        for k in range(len(z)):
            if column[k] != 0.0:
                z[k] += move * column[k]
                after = samples.weight[k] * curve_point(code, p0, p1, z[k])[0]
                total += after - now[k]
                now[k] = after
        return total
    for i in range(samples.col_start[j], samples.col_start[j + 1]):
        k = samples.col_row[i]
        z[k] += move * samples.col_value[i]
        after = samples.weight[k] * curve_point(code, p0, p1, z[k])[0]
        total += after - now[k]
        now[k] = after
    return total


@njit(cache=True, nogil=True)
def descend(samples: Samples, root: Root, v: Floats, sweeps: int) -> float:
    """Improve v by single steps of single entries until none helps; return its loss with prices."""
    z, now = np.empty(len(samples.weight)), np.empty(len(samples.weight))
    value, used = begin(samples, root, v, z, now)
    for _ in range(sweeps):
        improved = False
        for j in range(len(v)):
            for move in (-root.table[STEP, j], root.table[STEP, j]):
                new = v[j] + move
                if new < root.table[LOW, j] or new > root.table[HIGH, j]:
                    continue
                more = root.table[COUNTS, j] * ((new != 0.0) * 1 - (v[j] != 0.0) * 1)
                if root.budget >= 0 and more > 0 and used + more > root.budget:
                    continue
                change = move_cost(samples, z, now, j, move) + more * root.table[PRICE, j]
                if change < -1e-9 * abs(value) - 1e-9:
                    apply_move(samples, z, now, j, move)
                    v[j] = new
                    value += change
                    used += int(more)
                    improved = True
        if not improved:
            break
    return value


@njit(cache=True)
def begin(samples: Samples, root: Root, v: Floats, z: Floats, now: Floats) -> tuple[float, int]:
    """Write scores and losses of v; return its value and its number of counted non-zeros."""
    for k in range(len(z)):
        now[k] = 0.0
    scores(samples, now, np.arange(len(v)), v, z)
    value, used = 0.0, 0
    for k in range(len(z)):
        now[k] = samples.weight[k] * curve_point(samples.code, samples.p0, samples.p1, z[k])[0]
        value += now[k]
    for j in range(len(v)):
        if root.table[COUNTS, j] > 0.0 and v[j] != 0.0:
            value += root.table[PRICE, j]
            used += 1
    return value, used


@njit(cache=True)
def propose(root: Root, v: Floats, draw: Floats, target: Floats) -> None:
    """Write a random neighbour of v: one entry steps, or two do, or a whole shift is added and clipped to the box.

    Parameters
    ----------
    draw : ndarray of shape (6,), float64
        Uniform numbers: kind, first entry, its sign, second entry, its sign, acceptance (not used here).
    """
    D, r = len(v), len(root.shifts)
    for j in range(D):
        target[j] = v[j]
    if r > 0 and draw[0] < SHIFT_SHARE:
        i = int(draw[1] * r)
        for j in range(D):
            moved = v[j] + (root.shifts[i, j] if draw[2] < 0.5 else -root.shifts[i, j])
            target[j] = min(max(moved, root.table[LOW, j]), root.table[HIGH, j])
        return
    for part in range(2 if draw[0] > 1.0 - PAIR_SHARE else 1):
        j = int(draw[1 + 2 * part] * D)
        moved = v[j] + (root.table[STEP, j] if draw[2 + 2 * part] < 0.5 else -root.table[STEP, j])
        if root.table[LOW, j] <= moved <= root.table[HIGH, j]:
            target[j] = moved


@njit(cache=True)
def move_to(samples: Samples, root: Root, z: Floats, now: Floats, v: Floats, target: Floats) -> tuple[float, int]:
    """Move v to the target, exchanging the two; return the changes of the value and of the counted non-zeros."""
    change, more = 0.0, 0
    for j in range(len(v)):
        if target[j] != v[j]:
            change += apply_move(samples, z, now, j, target[j] - v[j])
            if root.table[COUNTS, j] > 0.0:
                count = (1 if target[j] != 0.0 else 0) - (1 if v[j] != 0.0 else 0)
                more += count
                change += count * root.table[PRICE, j]
            v[j], target[j] = target[j], v[j]
    return change, more


@njit(cache=True, nogil=True)
def anneal(samples: Samples, root: Root, v: Floats, draws: Floats) -> float:
    """Anneal from v by random moves, then descend; v becomes the best point, its value is returned.

    Move i uses ``draws[i]``, see `propose`. The temperature falls geometrically, from a fraction
    of the mean change of the first moves to a five-hundredth of that.
    """
    z, now = np.empty(len(samples.weight)), np.empty(len(samples.weight))
    value, used = begin(samples, root, v, z, now)
    best, best_value, target = v.copy(), value, v.copy()
    scale, seen, steps = 0.0, 0, len(draws)
    for i in range(steps):
        propose(root, v, draws[i], target)
        change, more = move_to(samples, root, z, now, v, target)
        if change != 0.0 and seen < 50:
            scale, seen = scale + abs(change), seen + 1
        heat = max(HEAT * scale / max(seen, 1) * 0.002 ** (i / steps), 1e-300)
        crowded = root.budget >= 0 and more > 0 and used + more > root.budget
        if crowded or (change > 0.0 and draws[i, 5] >= np.exp(-change / heat)):
            move_to(samples, root, z, now, v, target)
            continue
        value += change
        used += more
        if value < best_value:
            best_value = value
            for e in range(len(v)):
                best[e] = v[e]
    for e in range(len(v)):
        v[e] = best[e]
    return descend(samples, root, v, 100)
