"""Compiled local search of the convex engine: annealing and 1-opt descent of one neuron in integers."""

import numpy as np
from numba import njit

from provenn.bounds._convex_kernels import Floats, Samples, scores
from provenn.bounds._convex_tree import Root
from provenn.losses._curves import curve_point


@njit(cache=True)
def move_cost(samples: Samples, z: Floats, now: Floats, j: int, move: float) -> float:
    """Return the change of the loss when entry j moves; `now` holds the loss of every sample."""
    total = 0.0
    code, p0, p1 = samples.code, samples.p0, samples.p1
    if samples.dense.shape[1] > 0:
        column = samples.dense[j]
        for k in range(len(z)):
            total += samples.weight[k] * curve_point(code, p0, p1, z[k] + move * column[k])[0] - now[k]
        return total
    for i in range(samples.col_start[j], samples.col_start[j + 1]):
        k = samples.col_row[i]
        total += samples.weight[k] * curve_point(code, p0, p1, z[k] + move * samples.col_value[i])[0] - now[k]
    return total


@njit(cache=True)
def apply_move(samples: Samples, z: Floats, now: Floats, j: int, move: float) -> None:
    """Move entry j: update scores and losses."""
    code, p0, p1 = samples.code, samples.p0, samples.p1
    if samples.dense.shape[1] > 0:
        for k in range(len(z)):
            if samples.dense[j, k] != 0.0:
                z[k] += move * samples.dense[j, k]
                now[k] = samples.weight[k] * curve_point(code, p0, p1, z[k])[0]
        return
    for i in range(samples.col_start[j], samples.col_start[j + 1]):
        k = samples.col_row[i]
        z[k] += move * samples.col_value[i]
        now[k] = samples.weight[k] * curve_point(code, p0, p1, z[k])[0]


@njit(cache=True)
def descend(samples: Samples, root: Root, v: Floats, sweeps: int) -> float:
    """Improve v by single steps of single entries until none helps; return its loss with prices."""
    z, now = np.empty(len(samples.weight)), np.empty(len(samples.weight))
    value, used = begin(samples, root, v, z, now)
    for _ in range(sweeps):
        improved = False
        for j in range(len(v)):
            for move in (-root.step[j], root.step[j]):
                new = v[j] + move
                if new < root.low[j] or new > root.high[j]:
                    continue
                more = root.counts[j] * ((new != 0.0) * 1 - (v[j] != 0.0) * 1)
                if root.budget >= 0 and more > 0 and used + more > root.budget:
                    continue
                change = move_cost(samples, z, now, j, move) + more * root.price[j]
                if change < -1e-9 * abs(value) - 1e-9:
                    apply_move(samples, z, now, j, move)
                    v[j] = new
                    value += change
                    used += more
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
        if root.counts[j] and v[j] != 0.0:
            value += root.price[j]
            used += 1
    return value, used


@njit(cache=True)
def anneal(samples: Samples, root: Root, v: Floats, uniform: Floats) -> float:
    """Anneal from v by random steps, then descend; v becomes the best point, its value is returned.

    Move i takes ``uniform[i]`` (entry, direction and acceptance); the temperature falls
    geometrically from the mean change of the first moves to a thousandth of it.
    """
    z, now = np.empty(len(samples.weight)), np.empty(len(samples.weight))
    value, used = begin(samples, root, v, z, now)
    best, best_value = v.copy(), value
    scale, seen, steps = 0.0, 0, len(uniform)
    for i in range(steps):
        j = int(uniform[i, 0] * len(v))
        move = root.step[j] if uniform[i, 1] < 0.5 else -root.step[j]
        new = v[j] + move
        if new < root.low[j] or new > root.high[j]:
            continue
        more = root.counts[j] * ((new != 0.0) * 1 - (v[j] != 0.0) * 1)
        if root.budget >= 0 and more > 0 and used + more > root.budget:
            continue
        change = move_cost(samples, z, now, j, move) + more * root.price[j]
        if seen < 50:
            scale, seen = scale + abs(change), seen + 1
        heat = 0.3 * scale / seen * 0.002 ** (i / steps)
        if change <= 0.0 or uniform[i, 2] < np.exp(-change / max(heat, 1e-300)):
            apply_move(samples, z, now, j, move)
            v[j] = new
            value += change
            used += more
            if value < best_value:
                best_value = value
                for e in range(len(v)):
                    best[e] = v[e]
    for e in range(len(v)):
        v[e] = best[e]
    return descend(samples, root, v, 100)
