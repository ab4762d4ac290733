"""Compiled kernels of the agreement engine over rows: reach in a box, sums over the rows that are wrong in it.

``reach[k]`` is the largest value that ``A[:, k] . u + offset[k]`` takes in a box: sample k is wrong in all of
the box where that is negative. Counts are int32 where they fit, which numba needs to be told of at every step.
"""

from typing import Any

from numba import njit
from numpy.typing import NDArray

from provenn.bounds._agreement_types import Integers

Numbers = NDArray[Any]
NODES, OPEN, LEAVES, FOUND = 0, 1, 2, 3
WHOLE, BY_MOVE = -1, -2
INFINITE = 2**62


@njit(cache=True, nogil=True)
def restrict(reach: Numbers, column: Numbers, down: int, up: int) -> None:
    """Lower the reach for an entry whose top falls by `down` and whose bottom rises by `up`."""
    kind = reach.dtype.type
    none, less, more = kind(0), kind(down), kind(up)
    for k in range(len(reach)):
        a = column[k]
        reach[k] = kind(reach[k] - kind(max(a, none) * less) + kind(min(a, none) * more))


@njit(cache=True, nogil=True)
def begin_part(
    A: Numbers,
    pair_A: Numbers,
    low: Integers,
    high: Integers,
    reach: Numbers,
    pair_reach: Numbers,
    level: int,
    j: int,
    first: int,
    last: int,
) -> None:
    """Write the part ``first..last`` of entry j of the box of a level to the next level."""
    down, up = high[level, j] - last, first - low[level, j]
    low[level + 1], high[level + 1] = low[level], high[level]
    low[level + 1, j], high[level + 1, j] = first, last
    reach[level + 1], pair_reach[level + 1] = reach[level], pair_reach[level]
    restrict(reach[level + 1], A[j], down, up)
    restrict(pair_reach[level + 1], pair_A[j], down, up)


@njit(cache=True, nogil=True)
def first_reach(A: Numbers, offset: Numbers, low: Integers, high: Integers, reach: Numbers) -> None:
    """Compute the reach in a box."""
    kind = reach.dtype.type
    reach[:] = offset
    for j in range(len(A)):
        for k in range(len(offset)):
            reach[k] += max(A[j, k] * kind(low[j]), A[j, k] * kind(high[j]))


@njit(cache=True, nogil=True)
def sum_within(reach: Numbers, column: Numbers, weight: Numbers, down: int, up: int) -> int:
    """Sum the weights of the rows that are wrong once the top of an entry falls by `down`, its bottom rises by `up`."""
    kind = weight.dtype.type
    none, less, more = kind(0), kind(down), kind(up)
    total = none
    for k in range(len(reach)):
        a = column[k]
        left = kind(reach[k] - kind(max(a, none) * less) + kind(min(a, none) * more))
        total = kind(total + (weight[k] if left < none else none))
    return int(total)


@njit(cache=True, nogil=True)
def sum_values(reach: Numbers, column: Numbers, weight: Numbers, sums: Integers) -> None:
    """Write to `sums` what `sum_within` is for each of the three values of an entry, in one pass."""
    kind = weight.dtype.type
    none = kind(0)
    first, middle, last = none, none, none
    for k in range(len(reach)):
        up, down = max(column[k], none), min(column[k], none)
        one = kind(reach[k] - up + down)
        first = kind(first + (weight[k] if kind(reach[k] - up - up) < none else none))
        middle = kind(middle + (weight[k] if one < none else none))
        last = kind(last + (weight[k] if kind(reach[k] + down + down) < none else none))
    sums[0], sums[1], sums[2] = first, middle, last


@njit(cache=True, nogil=True)
def parts(low: int, high: int) -> int:
    """Count the parts that an interval is branched into: single values up to three, halves beyond."""
    return high - low + 1 if high - low <= 2 else 2


@njit(cache=True, nogil=True)
def part_of(low: int, high: int, part: int) -> tuple[int, int]:
    """Return the ends of a part of an interval."""
    if high - low <= 2:
        return low + part, low + part
    middle = (low + high) // 2
    return (low, middle) if part == 0 else (middle + 1, high)


@njit(cache=True, nogil=True)
def note_leaf(
    counts: Integers,
    leaves: Integers,
    leaf_part: Integers,
    low: Integers,
    high: Integers,
    j: int,
    first: int,
    last: int,
) -> None:
    """Add to the record, where there is one, the part ``first..last`` of entry j of a box; see `Leaves`."""
    i = counts[LEAVES]
    if i < len(leaf_part):
        leaves[i, 0], leaves[i, 1] = low, high
        leaf_part[i, 0], leaf_part[i, 1], leaf_part[i, 2] = j, first, last
    counts[LEAVES] += 1
