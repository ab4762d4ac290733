"""Compiled: directions between the axes in which the parameters of a hidden unit move together."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from provenn.search._coordinate_state import Data, Shape, Space, State

Longs = NDArray[np.int64]
NARROW = 24
FINE = 64
"""Directions are integers of at most this size, in boxes narrower than `NARROW` of at most 1."""


@njit(cache=True, nogil=True)
def aim(data: Data, shape: Shape, state: State, layer: int, j: int, space: Space, rng: np.random.Generator) -> None:
    """Draw a direction for the weights and the bias of a hidden unit, integers of at most `FINE`.

    One of: towards samples that should fire and away from those that should not; the difference of two
    samples; a few random entries.
    """
    n, d = len(data.weight), shape.size[layer]
    direction, fine = space.direction, 1 if shape.high[layer, j].max() - shape.low[layer, j].min() < NARROW else FINE
    direction[:] = 0
    kind = int(rng.random() * 3)
    if kind == 2 or fine == 1:
        for _ in range(2 + int(rng.random() * 2)):
            i = int(rng.random() * (d + 1))
            direction[i if i < d else len(direction) - 1] = int(rng.random() * (2 * fine + 1)) - fine
        return
    pull = np.zeros(len(direction))
    for draw in range(2 if kind else n):
        k = int(rng.random() * n) if kind else draw
        gain = (1.0 - 2.0 * draw) if kind else space.low[k] - space.high[k]
        wrong = kind == 1 or (gain > 0) != (state.pre[layer, j, k] >= 0)
        if gain == 0.0 or not wrong:
            continue
        for i in range(d):
            h = (
                data.columns[i, k]
                if layer == 0
                else (1 if state.pre[layer - 1, i, k] >= 0 else shape.lowest[layer - 1])
            )
            pull[i] += gain * h
        pull[-1] += gain * shape.one[layer]
    largest = np.abs(pull).max()
    if largest > 0.0:
        for i in range(len(direction)):
            direction[i] = math.floor(fine * pull[i] / largest + 0.5)


@njit(cache=True, nogil=True)
def reach_along(low: Longs, high: Longs, row: Longs, direction: Longs) -> tuple[int, int]:
    """Return the range of t in which ``row + t direction`` stays in the box."""
    start, stop = -(2**40), 2**40
    for i in range(len(direction)):
        d = direction[i]
        if d > 0:
            start, stop = max(start, -((row[i] - low[i]) // d)), min(stop, (high[i] - row[i]) // d)
        elif d < 0:
            start, stop = max(start, -((high[i] - row[i]) // -d)), min(stop, (row[i] - low[i]) // -d)
    return (start, stop) if stop < 2**40 else (0, 0)
