"""Compiled: visits of units, which redraw one parameter after the other from its exact loss, and sweeps."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from provenn.search._coordinate_directions import aim, reach_along
from provenn.search._coordinate_lines import breakpoints, choose_piece, place_in
from provenn.search._coordinate_losses import ERRORS, WORST, sample_loss, turning_points
from provenn.search._coordinate_state import Data, Setting, Shape, Space, State

Longs = NDArray[np.int64]
Floats = NDArray[np.float64]
FEW = 24
"""So many values of an output's parameter are all looked at."""


@njit(cache=True, nogil=True)
def loss_if(
    rule: tuple[int, float, float], size: Longs, lowest: Longs, margin: Longs, parameters: Longs, pre: Longs,
    label: int, k: int, layer: int, j: int, h: int, one: Longs, two: Longs,
) -> float:  # fmt: skip
    """Return the loss of sample k if unit j of a hidden layer had the activation h; later layers follow."""
    last = len(size) - 2
    change = h - (1 if pre[layer, j, k] >= 0 else lowest[layer])
    for u in range(size[layer + 2]):
        one[u] = pre[layer + 1, u, k] + change * parameters[layer + 1, u, j]
    total = 0.0
    for m in range(layer + 1, last):
        for i in range(size[m + 1]):
            total += WORST if -margin[m] < one[i] < 0 else 0.0
            one[i] = 1 if one[i] >= 0 else lowest[m]
        for u in range(size[m + 2]):
            two[u] = parameters[m + 1, u, -1]
            for i in range(size[m + 1]):
                two[u] += parameters[m + 1, u, i] * one[i]
        for u in range(size[m + 2]):
            one[u] = two[u]
    return total + sample_loss(rule[0], rule[1], rule[2], one[: size[last + 1]], label)


@njit(cache=True, nogil=True)
def weigh_hidden(setting: Setting, state: State, layer: int, j: int) -> None:
    """Note what every sample costs while a hidden unit is quiet, undecided or fires."""
    rule, data, shape, space = setting
    size, lowest, margin, weight, label = shape.size, shape.lowest, shape.margin, data.weight, data.label
    code = (rule.code, rule.p0, rule.p1)
    for k in range(len(weight)):
        for fires in range(2):
            h = 1 if fires else lowest[layer]
            loss = weight[k] * loss_if(
                code, size, lowest, margin, state.parameters, state.pre, label[k], k, layer, j, h, space.one, space.two
            )
            if fires:
                space.high[k] = loss
            else:
                space.low[k], space.mid[k] = loss, loss + WORST
        space.v[k], space.u[k] = 1 - margin[layer], 0


@njit(cache=True, nogil=True)
def weigh_output(setting: Setting, state: State, c: int) -> None:
    """Note what every sample costs by the score of an output, for losses that count."""
    rule, data, shape, space = setting
    last = len(shape.size) - 2
    outputs = shape.size[last + 1]
    row = space.one[:outputs]
    for k in range(len(data.weight)):
        for i in range(outputs):
            row[i] = state.pre[last, i, k]
        v, u = turning_points(rule.code, rule.p0, row, c, data.label[k])
        space.v[k], space.u[k] = v, u
        row[c] = v - 1
        space.low[k] = data.weight[k] * sample_loss(rule.code, rule.p0, rule.p1, row, data.label[k])
        row[c] = v
        space.mid[k] = data.weight[k] * sample_loss(rule.code, rule.p0, rule.p1, row, data.label[k])
        row[c] = u
        space.high[k] = data.weight[k] * sample_loss(rule.code, rule.p0, rule.p1, row, data.label[k])


@njit(cache=True, nogil=True)
def slopes(data: Data, shape: Shape, state: State, layer: int, i: int, g: Longs) -> None:
    """Fill in how much a unit's pre-activations rise per step of its parameter i."""
    if i == state.parameters.shape[2] - 1:
        g[:] = shape.bias_step[layer] * shape.one[layer]
        return
    if layer == 0:
        for k in range(len(g)):
            g[k] = shape.step[0] * data.columns[i, k]
        return
    for k in range(len(g)):
        g[k] = shape.step[layer] * (1 if state.pre[layer - 1, i, k] >= 0 else shape.lowest[layer - 1])


@njit(cache=True, nogil=True)
def search_line(
    a: Longs, space: Space, start: int, stop: int, heat: float, zero: int, price: float, rng: np.random.Generator
) -> int:
    """Return the integer of start..stop to which a unit's pre-activations ``a + t g`` move."""
    count, base = breakpoints(
        a, space.g, space.v, space.u, space.low, space.mid, space.high, start, stop, space.at, space.jump
    )
    first, last, _ = choose_piece(space.at[:count], space.jump[:count], base, start, stop, heat, zero, price, rng)
    return place_in(first, last, heat, rng)


@njit(cache=True, nogil=True)
def smooth_sum(setting: Setting, state: State, c: int, t: int) -> float:
    """Return the loss with the scores of output c moved by t times the slopes."""
    rule, data, shape, space = setting
    last = len(shape.size) - 2
    row, total = space.one[: shape.size[last + 1]], 0.0
    for k in range(len(data.weight)):
        for i in range(len(row)):
            row[i] = state.pre[last, i, k]
        row[c] += t * space.g[k]
        total += data.weight[k] * sample_loss(rule.code, rule.p0, rule.p1, row, data.label[k])
    return total


@njit(cache=True, nogil=True)
def search_smooth(
    setting: Setting, state: State, c: int, start: int, stop: int, heat: float, zero: int, price: float,
    rng: np.random.Generator,
) -> int:  # fmt: skip
    """Return a step for the scores of an output under a convex loss: by the heat bath if few, else the best."""
    if stop - start < FEW:
        best, chosen, base = -math.inf, 0, smooth_sum(setting, state, c, 0)
        for t in range(start, stop + 1):
            key = base - smooth_sum(setting, state, c, t) - (0.0 if t == zero else price)
            if heat > 0.0:
                key = key / heat - math.log(-math.log(1.0 - rng.random()))
            if key > best or (key == best and t == 0):
                best, chosen = key, t
        return chosen
    left, right = start, stop
    while left < right:
        middle = left + (right - left) // 2
        if smooth_sum(setting, state, c, middle) <= smooth_sum(setting, state, c, middle + 1):
            right = middle
        else:
            left = middle + 1
    best, chosen = smooth_sum(setting, state, c, left) + (0.0 if left == zero else price), left
    for t in (0, zero):
        if start <= t <= stop and smooth_sum(setting, state, c, t) + (0.0 if t == zero else price) < best:
            best, chosen = smooth_sum(setting, state, c, t) + (0.0 if t == zero else price), t
    return chosen


@njit(cache=True, nogil=True)
def redraw(
    setting: Setting, state: State, layer: int, j: int, i: int, heat: float, rng: np.random.Generator
) -> None:  # fmt: skip
    """Redraw parameter i of a unit whose samples are weighed, from all values of its box."""
    rule, data, shape, space = setting
    bias = i == state.parameters.shape[2] - 1
    value, step = state.parameters[layer, j, i], shape.bias_step[layer] if bias else shape.step[layer]
    start, stop = (shape.low[layer, j, i] - value) // step, (shape.high[layer, j, i] - value) // step
    if start >= stop:
        return
    slopes(data, shape, state, layer, i, space.g)
    zero, price = (0, 0.0) if bias or value % step else (-value // step, data.price)
    output, a = layer == len(shape.size) - 2, state.pre[layer, j]
    if output and rule.code < ERRORS:
        t = search_smooth(setting, state, j, start, stop, heat, zero, price, rng)
    else:
        t = search_line(a, space, start, stop, heat, zero, price, rng)
    if t:
        state.parameters[layer, j, i] += t * step
        for k in range(len(a)):
            a[k] += t * space.g[k]


@njit(cache=True, nogil=True)
def shift(setting: Setting, state: State, layer: int, j: int, heat: float, rng: np.random.Generator) -> None:
    """Move the parameters of a hidden unit whose samples are weighed along a direction, by the exact loss on it."""
    _, data, shape, space = setting
    aim(data, shape, state, layer, j, space, rng)
    row, direction, bias = state.parameters[layer, j], space.direction, len(space.direction) - 1
    for i in range(len(direction)):
        if shape.low[layer, j, i] == shape.high[layer, j, i]:
            direction[i] = 0
        else:
            direction[i] *= shape.bias_step[layer] if i == bias else shape.step[layer]
    start, stop = reach_along(shape.low[layer, j], shape.high[layer, j], row, direction)
    if start >= stop:
        return
    space.g[:] = direction[bias] * shape.one[layer]
    for i in range(shape.size[layer]):
        if direction[i]:
            for k in range(len(space.g)):
                h = data.columns[i, k] if layer == 0 else (
                    1 if state.pre[layer - 1, i, k] >= 0 else shape.lowest[layer - 1]
                )  # fmt: skip
                space.g[k] += direction[i] * h
    a = state.pre[layer, j]
    t = search_line(a, space, start, stop, heat, 0, 0.0, rng)
    for i in range(len(direction)):
        row[i] += t * direction[i]
    for k in range(len(a)):
        a[k] += t * space.g[k]


@njit(cache=True, nogil=True)
def hand_on(shape: Shape, state: State, layer: int, j: int, before: Longs) -> None:
    """Renew the later layers on the samples on which a hidden unit no longer has the activation `before`."""
    size, parameters, pre = shape.size, state.parameters, state.pre
    last = len(size) - 2
    for k in range(len(before)):
        now = 1 if pre[layer, j, k] >= 0 else shape.lowest[layer]
        if now == before[k]:
            continue
        for u in range(size[layer + 2]):
            pre[layer + 1, u, k] += (now - before[k]) * parameters[layer + 1, u, j]
        for m in range(layer + 1, last):
            for u in range(size[m + 2]):
                total = parameters[m + 1, u, -1]
                for i in range(size[m + 1]):
                    total += parameters[m + 1, u, i] * (1 if pre[m, i, k] >= 0 else shape.lowest[m])
                pre[m + 1, u, k] = total


@njit(cache=True, nogil=True)
def visit(
    setting: Setting, state: State, layer: int, j: int, lines: int, heat: float, rng: np.random.Generator
) -> None:
    """Weigh all samples of a unit, then redraw parameters in random order and move along directions in between."""
    rule, _, shape, space = setting
    bias, hidden = state.parameters.shape[2] - 1, layer < len(shape.size) - 2
    if hidden:
        weigh_hidden(setting, state, layer, j)
        for k in range(len(space.before)):
            space.before[k] = 1 if state.pre[layer, j, k] >= 0 else shape.lowest[layer]
    elif rule.code >= ERRORS:
        weigh_output(setting, state, j)
    for _ in range(lines):
        if hidden and rng.random() < 0.3:
            shift(setting, state, layer, j, heat, rng)
            continue
        i = int(rng.random() * (shape.size[layer] + 1))
        redraw(setting, state, layer, j, i if i < shape.size[layer] else bias, heat, rng)
    if hidden:
        hand_on(shape, state, layer, j, space.before)


@njit(cache=True, nogil=True)
def total_loss(setting: Setting, state: State) -> float:
    """Return loss and prices of a state, `WORST` for every hard condition that it breaks included."""
    rule, data, shape, space = setting
    last = len(shape.size) - 2
    row, total = space.one[: shape.size[last + 1]], 0.0
    for k in range(len(data.weight)):
        for i in range(len(row)):
            row[i] = state.pre[last, i, k]
        total += data.weight[k] * sample_loss(rule.code, rule.p0, rule.p1, row, data.label[k])
        for m in range(last):
            for i in range(shape.size[m + 1]):
                total += WORST if -shape.margin[m] < state.pre[m, i, k] < 0 else 0.0
    if data.price > 0.0:
        for m in range(last + 1):
            for u in range(shape.size[m + 1]):
                total += data.price * np.count_nonzero(state.parameters[m, u, : shape.size[m]])
    return total


@njit(cache=True, nogil=True)
def sweep(
    setting: Setting, state: State, layers: Longs, units: Longs, most: int, heat: float, rng: np.random.Generator
) -> float:
    """Visit as many random units as there are in the list, and return the loss."""
    for _ in range(len(units)):
        e = int(rng.random() * len(units))
        layer = layers[e]
        visit(setting, state, layer, units[e], min(most, setting.shape.size[layer] + 1), heat, rng)
    return total_loss(setting, state)


@njit(cache=True, nogil=True)
def typical_effect(setting: Setting, state: State, layers: Longs, units: Longs) -> float:
    """Return the mean change of a sample's loss when a hidden unit fires, over those changes that are not 0."""
    space, total, count = setting.space, 0.0, 0
    for e in range(len(units)):
        weigh_hidden(setting, state, layers[e], units[e])
        for k in range(len(space.low)):
            effect = abs(space.high[k] - space.low[k])
            if 0.0 < effect < WORST:
                total += effect
                count += 1
    return total / count if count else 0.0
