"""Compiled kernels of the agreement engine that bound the cost of a box and of the parts of its entries.

A pair of samples has the sum of their rows: where its reach is negative, one of the two is wrong, whichever the
point. Pairs share the costs of their samples out greedily, so what they add up to is a lower bound.
"""

from typing import Any

import numpy as np
from numba import njit

from provenn.bounds._agreement_rows import INFINITE, Numbers, part_of, parts, sum_values, sum_within
from provenn.bounds._agreement_types import Integers


@njit(cache=True, nogil=True)
def share(rest: Numbers, a: int, b: int) -> Any:
    """Take from two samples of which one is wrong the smaller of what is left of their costs, and return it."""
    least = min(rest[a], rest[b])
    rest[a] -= least
    rest[b] -= least
    return least


@njit(cache=True, nogil=True)
def least_left(rest: Numbers, one: Integers, two: Integers, pair_rest: Numbers) -> None:
    """Write the smaller of what is left of both samples' costs, of as many pairs as there is room for."""
    for m in range(len(pair_rest)):
        pair_rest[m] = min(rest[one[m]], rest[two[m]])


@njit(cache=True, nogil=True)
def worth(guesses: Integers, count: int, limit: int, gain: int) -> float:
    """Return how good branching on an entry is: the mean guess of its parts, up to the limit, and the bound's gain."""
    total = 0.0
    for p in range(count):
        total += min(guesses[p], limit)
    return 2.0 * total / count + gain


@njit(cache=True, nogil=True)
def share_out(
    reach: Numbers,
    pair_reach: Numbers,
    one: Integers,
    two: Integers,
    cost: Numbers,
    rest: Numbers,
    degree: Integers,
    pairs: Integers,
    order: Integers,
) -> int:
    """Bound the cost of a box: samples that are wrong in all of it, then pairs, those with few neighbours first.

    Parameters
    ----------
    reach, pair_reach : ndarray of shape (n,) and (m,)
    one, two : ndarray of shape (m,), int64
        Samples of each pair.
    cost, rest : ndarray of shape (n,)
        `rest` gets what is left of the costs.
    degree, pairs, order : ndarray of shape (n,), (m,) and (m,), int64
        Work space.
    """
    total, none, found = np.int64(0), cost.dtype.type(0), 0
    for k in range(len(reach)):
        wrong = reach[k] < 0
        total += cost[k] if wrong else none
        rest[k] = none if wrong else cost[k]
        degree[k] = 0
    for m in range(len(pair_reach)):
        if pair_reach[m] < 0 and rest[one[m]] > 0 and rest[two[m]] > 0:
            degree[one[m]] += 1
            degree[two[m]] += 1
            pairs[found] = m
            found += 1
    sort_pairs(pairs, found, one, two, degree, order)
    for i in range(found):
        total += share(rest, one[order[i]], two[order[i]])
    return int(total)


@njit(cache=True, nogil=True)
def sort_pairs(pairs: Integers, count: int, one: Integers, two: Integers, degree: Integers, order: Integers) -> None:
    """Sort pairs by the sum of the degrees of their samples, ties as they come, into `order`; by counting."""
    most = 0
    for i in range(count):
        most = max(most, degree[one[pairs[i]]] + degree[two[pairs[i]]])
    start = np.zeros(most + 2, np.int64)
    for i in range(count):
        start[degree[one[pairs[i]]] + degree[two[pairs[i]]] + 1] += 1
    for i in range(most):
        start[i + 1] += start[i]
    for i in range(count):
        d = degree[one[pairs[i]]] + degree[two[pairs[i]]]
        order[start[d]] = pairs[i]
        start[d] += 1


@njit(cache=True, nogil=True)
def share_more(
    reach: Numbers,
    column: Numbers,
    pair_reach: Numbers,
    pair_column: Numbers,
    one: Integers,
    two: Integers,
    rest: Numbers,
    spare: Numbers,
    down: int,
    up: int,
) -> int:
    """Return what `share_out` gains from `rest` after an entry's top falls by `down` and its bottom rises by `up`."""
    total = np.int64(0)
    for k in range(len(reach)):
        wrong = reach[k] - max(column[k], 0) * down + min(column[k], 0) * up < 0
        total += rest[k] if wrong else 0
        spare[k] = 0 if wrong else rest[k]
    for m in range(len(pair_reach)):
        if pair_reach[m] - max(pair_column[m], 0) * down + min(pair_column[m], 0) * up < 0:
            total += share(spare, one[m], two[m])
    return int(total)


@njit(cache=True, nogil=True)
def sum_parts(reach: Numbers, column: Numbers, weight: Numbers, low: int, high: int, sums: Integers) -> None:
    """Write to `sums` the weights of the rows that are wrong in each part of the interval of an entry."""
    if high - low == 2:
        sum_values(reach, column, weight, sums)
        return
    for p in range(parts(low, high)):
        first, last = part_of(low, high, p)
        sums[p] = sum_within(reach, column, weight, high - last, first - low)


@njit(cache=True, nogil=True)
def price_parts(
    column: Numbers,
    pair_column: Numbers,
    reach: Numbers,
    pair_reach: Numbers,
    one: Integers,
    two: Integers,
    low: int,
    high: int,
    base: int,
    limit: int,
    rest: Numbers,
    pair_rest: Numbers,
    spare: Numbers,
    prices: Integers,
    guesses: Integers,
) -> int:
    """Bound the cost of each part of ``low..high``; pairs that cannot reach the limit only enter a guess."""
    least = np.int64(INFINITE)
    sum_parts(reach, column, rest, low, high, prices)
    sum_parts(pair_reach, pair_column, pair_rest, low, high, guesses)
    for p in range(parts(low, high)):
        alone, paired = base + prices[p], guesses[p]
        prices[p], guesses[p] = alone, alone + paired // 2
        if alone + paired >= limit and alone < limit:
            first, last = part_of(low, high, p)
            down, up = high - last, first - low
            prices[p] = base + share_more(reach, column, pair_reach, pair_column, one, two, rest, spare, down, up)
            guesses[p] = prices[p]
        least = min(least, prices[p])
    return int(least)
