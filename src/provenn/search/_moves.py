"""Compiled search: a visit of one unit at a temperature, and sweeps over all units."""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from provenn.search._kernels import Singles, Space, move, prepare, score, workspace
from provenn.search._score_losses import ScoreLoss
from provenn.search._state import Inputs, Shape, State

HOPELESS = 30.0
UNLIMITED = 2**31


class Terms(NamedTuple):
    """What a sweep obeys.

    Attributes
    ----------
    heat : float
        Temperature of the Metropolis rule, in units of the loss; 0 takes improvements only.
    price : float
        Cost of a non-zero weight.
    budget, fan_in : int
        Largest number of non-zero weights, in the network and of a unit.
    changes : int
        Moves that one visit may take before the unit is scored again.
    reach : int
        Largest change of a parameter in one move.
    """

    heat: float
    price: float
    budget: int
    fan_in: int
    changes: int
    reach: int


@njit(cache=True, nogil=True)
def uniform(random: NDArray[np.uint64]) -> float:
    """Return the next number of a splitmix64 sequence, in [0, 1)."""
    random[0] += np.uint64(0x9E3779B97F4A7C15)
    z = random[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.float64((z ^ (z >> np.uint64(31))) >> np.uint64(11)) / 9007199254740992.0


@njit(cache=True, nogil=True)
def visit(
    inputs: Inputs,
    shape: Shape,
    state: State,
    loss: ScoreLoss,
    terms: Terms,
    layer: int,
    j: int,
    used: int,
    space: Space,
    random: NDArray[np.uint64],
) -> tuple[float, int]:
    """Score all moves of a unit once, and take some of them by the Metropolis rule.

    Every parameter, from a random one on, proposes a move: a random one, at zero heat its best.
    The scores sift the proposals, the exact change at the time of the move decides. Returns the
    change of the objective and of the number of non-zero weights; `used` is that number before.
    """
    p, gain, fixed, n_in = state.parameters, space.gain, shape.fixed, shape.size[layer]
    prepare(shape, state, layer, j, space)
    score(inputs, shape, state, loss, layer, j, space)
    base, total, taken, more, own = shape.flat[layer] + j * (n_in + 1), 0.0, 0, 0, 0
    for i in range(n_in):
        own += 1 if p[base + i] != 0 else 0
    begin = int(uniform(random) * (n_in + 1))
    for e in range(n_in + 1):
        i = (begin + e) % (n_in + 1)
        kind = 1 if i == n_in else 0
        low, high, step = shape.low[kind, layer], shape.high[kind, layer], shape.step[kind, layer]
        if low == high or fixed[base + i]:
            continue
        value = p[base + i]
        if terms.heat > 0.0:
            dv = _random_move(value, low, high, step, terms.reach, random)
        else:
            dv = _best_move(value, low, high, step, gain, i, 0.0 if kind == 1 else terms.price)
        count = 0 if kind == 1 else (1 if value + dv != 0 else 0) - (1 if value != 0 else 0)
        if dv == 0 or (count > 0 and (own + 1 > terms.fan_in or used + more + 1 > terms.budget)):
            continue
        cost = terms.price * count
        expected = gain[0 if dv > 0 else 1, abs(dv) - 1, i] + cost
        if expected > HOPELESS * terms.heat:
            continue
        allowed = -terms.heat * math.log(1.0 - uniform(random))
        if expected > allowed or (terms.heat == 0.0 and expected >= 0.0):
            continue
        change = move(inputs, shape, state, loss, layer, j, i, dv, space) + cost
        if change > allowed or (terms.heat == 0.0 and change >= 0.0):
            move(inputs, shape, state, loss, layer, j, i, -dv, space)
            continue
        total += change
        more += count
        own += count
        taken += 1
        if taken >= terms.changes:
            break
    return total, more


@njit(cache=True, nogil=True)
def _random_move(value: int, low: int, high: int, step: int, reach: int, random: NDArray[np.uint64]) -> int:
    """Return a random legal change of at most `reach`, or 0 where there is none."""
    down, up = min(value - low, reach) // step, min(high - value, reach) // step
    pick = int(uniform(random) * (down + up))
    if down + up == 0:
        return 0
    return (pick + 1) * step if pick < up else -(pick - up + 1) * step


@njit(cache=True, nogil=True)
def _best_move(value: int, low: int, high: int, step: int, gain: Singles, i: int, price: float) -> int:
    """Return the legal change of the smallest score, or 0 where none is below 0."""
    best, least = 0, 0.0
    for m in range(step, gain.shape[1] + 1, step):
        for side in range(2):
            new = value + m if side == 0 else value - m
            if new < low or new > high:
                continue
            cost = gain[side, m - 1, i] + price * ((1 if new != 0 else 0) - (1 if value != 0 else 0))
            if cost < least:
                best, least = new - value, cost
    return best


@njit(cache=True, nogil=True)
def sweep(
    inputs: Inputs,
    shape: Shape,
    state: State,
    loss: ScoreLoss,
    terms: Terms,
    space: Space,
    random: NDArray[np.uint64],
) -> float:
    """Visit every unit once, in random order; return the change of the objective."""
    units, total, used = 0, 0.0, 0
    for layer in range(len(shape.tail)):
        units += shape.size[layer + 1]
        for j in range(shape.size[layer + 1]):
            for i in range(shape.size[layer]):
                used += 1 if state.parameters[shape.flat[layer] + j * (shape.size[layer] + 1) + i] != 0 else 0
    order = np.arange(units)
    for e in range(units - 1, 0, -1):
        other = int(uniform(random) * (e + 1))
        order[e], order[other] = order[other], order[e]
    for e in range(units):
        j, layer = order[e], 0
        while j >= shape.size[layer + 1]:
            j -= shape.size[layer + 1]
            layer += 1
        change, more = visit(inputs, shape, state, loss, terms, layer, j, used, space, random)
        total += change
        used += more
    return total


@njit(cache=True, nogil=True)
def typical_effect(
    inputs: Inputs, shape: Shape, state: State, loss: ScoreLoss, space: Space, units: int, random: NDArray[np.uint64]
) -> float:
    """Return the mean absolute score of the smallest moves of random units."""
    total, count = 0.0, 0
    for _ in range(units):
        layer = int(uniform(random) * len(shape.tail))
        j = int(uniform(random) * shape.size[layer + 1])
        prepare(shape, state, layer, j, space)
        score(inputs, shape, state, loss, layer, j, space)
        for i in range(shape.size[layer]):
            for side in range(2):
                total += abs(space.gain[side, 0, i])
                count += 1
    return total / max(count, 1)


__all__ = ["Terms", "sweep", "typical_effect", "uniform", "visit", "workspace"]
