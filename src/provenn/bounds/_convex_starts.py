"""First incumbents where samples are many: annealing on the quadratic model of the relaxed root.

A move of a single entry costs a pass over its column, but in the model only a row of the Hessian,
however many samples there are. The model at the relaxed point ranks points well enough to find good
regions; there it is made anew at the best point until that stays.
"""

from collections.abc import Iterator

import numpy as np
from numba import njit

from provenn.bounds._convex_boxes import HIGH, LOW, STEP, Root
from provenn.bounds._convex_engine import Engine
from provenn.bounds._convex_losses import losses
from provenn.bounds._convex_samples import Floats, Integers, Samples, gradient, hessian, scores
from provenn.bounds._convex_types import ConvexProblem

RESTARTS, CHUNKS, MOVES = 10, 10, 100_000
REFINEMENTS = 8
ENOUGH, SAME = 3, 1e-9
FIRST_HEAT, REFINING_HEAT, COOLING = 0.1, 0.003, 0.002
SHIFT_SHARE, PAIR_SHARE = 0.03, 0.6


@njit(cache=True, nogil=True)
def quadratic_model(samples: Samples, v: Floats, g: Floats, H: Floats) -> float:
    """Write gradient and Hessian of the loss at v; return the loss."""
    n, every = len(samples.weight), np.arange(len(v))
    z, slope, curvature = np.empty(n), np.empty(n), np.empty(n)
    scores(samples, np.zeros(n), every, v, z)
    value = losses(samples, z, slope, curvature)[0]
    gradient(samples, slope, every, g)
    hessian(samples, curvature, every, H)
    return value


@njit(cache=True)
def draw_move(root: Root, v: Floats, draw: Floats, entry: Integers, by: Floats) -> int:
    """Write a random move, one entry or two or a shift clipped to the box, and return its number of entries.

    Parameters
    ----------
    draw : ndarray of shape (6,), float64
        Uniform numbers: kind, first entry, its sign, second entry, its sign, acceptance (not used here).
    """
    D, count = len(v), 0
    if len(root.shifts) > 0 and draw[0] < SHIFT_SHARE:
        shift = root.shifts[int(draw[1] * len(root.shifts))]
        for j in range(D):
            if shift[j] != 0.0:
                moved = v[j] + (shift[j] if draw[2] < 0.5 else -shift[j])
                by[count] = min(max(moved, root.table[LOW, j]), root.table[HIGH, j]) - v[j]
                entry[count] = j
                count += by[count] != 0.0
        return count
    for part in range(2 if draw[0] > 1.0 - PAIR_SHARE else 1):
        j = int(draw[1 + 2 * part] * D)
        step = root.table[STEP, j] if draw[2 + 2 * part] < 0.5 else -root.table[STEP, j]
        if root.table[LOW, j] <= v[j] + step <= root.table[HIGH, j] and (part == 0 or count == 0 or entry[0] != j):
            entry[count], by[count] = j, step
            count += 1
    return count


@njit(cache=True, nogil=True)
def anneal_model(
    H: Floats, root: Root, v: Floats, g: Floats, best: Floats, now: Floats, draws: Floats, heat: float, cooling: float
) -> None:
    """Anneal on a quadratic model; v, its gradient g, the best point and the two values in `now` move along.

    The temperature falls geometrically from `heat` to `cooling` times that.
    """
    D = len(v)
    entry, by = np.empty(D, np.int64), np.empty(D)
    for i in range(len(draws)):
        count, change = draw_move(root, v, draws[i], entry, by), 0.0
        for a in range(count):
            change += by[a] * g[entry[a]]
            for b in range(count):
                change += 0.5 * by[a] * by[b] * H[entry[a], entry[b]]
        if change > 0.0 and draws[i, 5] >= np.exp(-change / (heat * cooling ** (i / len(draws)))):
            continue
        for a in range(count):
            v[entry[a]] += by[a]
            for j in range(D):
                g[j] += by[a] * H[entry[a], j]
        now[0] += change
        if now[0] < now[1]:
            now[1] = now[0]
            for j in range(D):
                best[j] = v[j]


def model_starts(samples: Samples, root: Root, w: Floats, rng: np.random.Generator) -> Iterator[Floats]:
    """Yield good points of a box without prices and budget, each from an annealing run of its own.

    Ends when the best loss was found three times.

    Parameters
    ----------
    samples : Samples
    root : Root
        Of the plain box.
    w : ndarray of shape (D,), float64
        The relaxed minimum.
    rng : Generator
    """
    low, high, step = root.table[LOW], root.table[HIGH], root.table[STEP]
    g, H = np.zeros(len(w)), np.zeros((len(w), len(w)))
    value = quadratic_model(samples, w, g, H)
    rounded = np.clip(low + step * np.rint((w - low) / step), low, high)
    best, times = np.inf, 0
    for _ in range(RESTARTS):
        heats = FIRST_HEAT * value * COOLING ** (np.arange(CHUNKS) / CHUNKS)
        found = _annealed(H, root, rounded, g + H @ (rounded - w), rng, heats, COOLING ** (1 / CHUNKS))
        v, loss = _refined(samples, root, found, rng)
        times = 1 if best == np.inf or loss < best - SAME * abs(best) else times + (loss <= best + SAME * abs(best))
        best = min(best, loss)
        yield v
        if times == ENOUGH:
            return


def _annealed(
    H: Floats, root: Root, v: Floats, g: Floats, rng: np.random.Generator, heats: Floats, cooling: float
) -> Floats:
    """Return the best point that the model has on a run from v, where its gradient is g."""
    now, v, g, best = np.zeros(2), v.copy(), g.copy(), v.copy()
    for heat in heats:
        anneal_model(H, root, v, g, best, now, rng.random((MOVES, 6)), heat, cooling)
    return best


def _refined(samples: Samples, root: Root, v: Floats, rng: np.random.Generator) -> tuple[Floats, float]:
    """Move to the best point of the model at v while that makes the loss itself smaller; return it and its loss."""
    g, H = np.zeros(len(v)), np.zeros((len(v), len(v)))
    value = quadratic_model(samples, v, g, H)
    heat = REFINING_HEAT * value
    for _ in range(REFINEMENTS):
        found, heat = _annealed(H, root, v, g, rng, np.array([heat]), COOLING), 0.5 * heat
        other_g, other_H = np.zeros(len(v)), np.zeros((len(v), len(v)))
        if (other := quadratic_model(samples, found, other_g, other_H)) < value:
            value, v, g, H = other, found, other_g, other_H
    return v, value


def compile_starts(problem: ConvexProblem) -> None:
    """Compile or load the kernels of this module on a toy."""
    D = problem.signed().shape[1]
    engine = Engine(problem.signed(), problem, (np.zeros((0, D), dtype=np.int64), np.zeros(0, dtype=np.int64)))
    v, g, H = np.zeros(D), np.zeros(D), np.zeros((D, D))
    quadratic_model(engine.samples, v, g, H)
    anneal_model(H, engine.root, v, g, v.copy(), np.zeros(2), np.zeros((1, 6)), 1.0, COOLING)
