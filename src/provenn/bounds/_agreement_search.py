"""Compiled annealing of one sign neuron: the first incumbent of the agreement engine."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from provenn.bounds._agreement_rows import Numbers
from provenn.bounds._agreement_types import Integers


@njit(cache=True, nogil=True)
def random_bits(state: NDArray[np.uint64]) -> int:
    """Advance a xorshift generator."""
    x = state[0]
    x ^= x << np.uint64(13)
    x ^= x >> np.uint64(7)
    x ^= x << np.uint64(17)
    state[0] = x
    return x


@njit(cache=True, nogil=True)
def random_unit(state: NDArray[np.uint64]) -> float:
    """Return a number in [0, 1)."""
    return np.float64(random_bits(state) >> np.uint64(11)) * 2.0**-53


@njit(cache=True, nogil=True)
def cost_moved(score: Numbers, column: Numbers, cost: Numbers, by: int) -> int:
    """Return the cost of the samples that are wrong after an entry changes by `by`."""
    kind = cost.dtype.type
    total, none, step = kind(0), kind(0), kind(by)
    for k in range(len(score)):
        total = kind(total + (cost[k] if kind(score[k] + kind(column[k] * step)) < none else none))
    return int(total)


@njit(cache=True, nogil=True)
def anneal(
    A: Numbers,
    offset: Numbers,
    cost: Numbers,
    top: Integers,
    u: Integers,
    steps: int,
    hot: float,
    cold: float,
    state: NDArray[np.uint64],
    best: Integers,
) -> int:
    """Anneal from u over changes of one entry; write the best point to `best` and return its cost."""
    D, n = A.shape
    score = offset.copy()
    for j in range(D):
        for k in range(n):
            score[k] += A[j, k] * u[j]
    current = cost_moved(score, A[0], cost, 0)
    best[:] = u
    best_cost = current
    factor = (cold / hot) ** (1.0 / max(1, steps))
    heat = hot
    for _ in range(steps):
        heat *= factor
        j = int(random_unit(state) * D)
        new = int(random_unit(state) * top[j])
        new += 1 if new >= u[j] else 0
        if top[j] > 4 and random_unit(state) < 0.5:
            new = min(top[j], max(0, u[j] + (1 if random_unit(state) < 0.5 else -1)))
        found = cost_moved(score, A[j], cost, new - u[j])
        if found <= current or random_unit(state) < np.exp((current - found) / heat):
            for k in range(n):
                score[k] += A[j, k] * (new - u[j])
            u[j], current = new, found
            if current < best_cost:
                best_cost = current
                best[:] = u
    return best_cost
