"""Enumeration of the hidden layers that a cut leaves for given output layers, its loops compiled."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from provenn.bounds._joint_types import Integers, JointCut, Signs


@njit(cache=True, nogil=True)
def conditional(table: Integers, tilt: Integers, pattern: Signs, rest: Integers, quotient: int) -> int:
    """Fix the first unit of a table and bound the loss over the others; write what is left of the table.

    Parameters
    ----------
    table : ndarray of shape (n, 2 C), int64
        Loss of each sample, the first unit's -1 before its +1.
    tilt : ndarray of shape (n, C), int64
        ``sum_i W_ik s_i`` over the units that follow.
    pattern : ndarray of shape (n,), int8
        Signs of the first unit.
    rest : ndarray of shape (n, C), int64
        Written.
    quotient : int
    """
    n, cells = rest.shape
    total = 0
    for k in range(n):
        shift = cells if pattern[k] > 0 else 0
        least = 0
        for c in range(cells):
            rest[k, c] = table[k, shift + c]
            value = quotient * rest[k, c] - tilt[k, c]
            if c == 0 or value < least:
                least = value
        total += least
    return total


@njit(cache=True, nogil=True)
def combine(
    tables: Integers,
    tilts: Integers,
    later: Integers,
    patterns: Signs,
    units: Integers,
    reduced: Integers,
    count: Integers,
    alike: Integers,
    quotient: int,
    best: int,
    first: int,
    visits: int,
    chosen: Integers,
) -> tuple[int, int]:
    """Find the best hidden layer whose first unit is given; the others come from lists by reduced cost.

    With the first units fixed, ``Q loss >= sum_k min_c [Q T_kc - tilt_kc] - later`` over the others: a hidden layer
    better than `best` keeps the sum of the others' reduced costs within what this leaves.

    Parameters
    ----------
    tables : ndarray of shape (h + 1, n, 2**h), int64
        ``tables[0]`` is the loss; the others are memory.
    tilts : ndarray of shape (h, n, 2**(h - 1)), int64
        After each unit, over the cells of those that follow.
    later : ndarray of shape (h,), int64
        Sum of the agreements of the units that follow.
    patterns : ndarray of shape (K, n), int8
    units : ndarray of shape (h, R), int64
        For each place the units to try, in ascending order of their reduced costs.
    reduced : ndarray of shape (h, R), int64
    count : ndarray of shape (h,), int64
    alike : ndarray of shape (h,), int64
        1 where a place has the list of the place before, and units of both may be exchanged.
    best : int
        Only losses below it count.
    first : int
        Place of the first unit in its list.
    visits : int
        Work allowed, in units tried.
    chosen : ndarray of shape (h,), int64
        Written: the units of the best hidden layer.

    Returns
    -------
    best : int
    visits : int
        Work left; negative when the enumeration is not complete.
    """
    h = len(count)
    place, room = np.full(h, -1, np.int64), np.zeros(h + 1, np.int64)
    place[0], level = first - 1, 0
    room[0] = reduced[0, first]
    while level >= 0:
        place[level] += 1
        i = place[level]
        if i >= count[level] or (level == 0 and i > first) or reduced[level, i] > room[level]:
            level -= 1
            continue
        visits -= 1
        if visits < 0:
            return best, visits
        cells = 2 ** (h - level - 1)
        bound = conditional(
            tables[level, :, : 2 * cells], tilts[level, :, :cells], patterns[units[level, i]],
            tables[level + 1, :, :cells], quotient,
        )  # fmt: skip
        left = quotient * (best - 1) - (bound - later[level])
        if left < 0:
            continue
        if level == h - 1:
            best = bound // quotient
            for e in range(h):
                chosen[e] = units[e, place[e]]
            continue
        level += 1
        room[level] = left
        place[level] = place[level - 1] - 1 if alike[level] else -1
    return best, visits


@dataclass
class Hidden:
    """Every hidden layer that a cut leaves for some output layers, ready to be combined.

    Parameters
    ----------
    table : ndarray of shape (n, 2**h), int64
    cut : JointCut
    patterns : ndarray of shape (K, n), int8
        All units within `room` of the cut are among them.
    signs : ndarray of shape (2**h, h), int64
    rows : ndarray of shape (h, m), int64
        Output weights of every unit: any unit does where all are 0, and units of equal weights may be exchanged.
    room : int
        No better network has a unit of a larger reduced cost.
    """

    table: Integers
    cut: JointCut
    patterns: Signs
    signs: Integers
    rows: Integers
    room: int

    def __post_init__(self) -> None:
        """Sort the units of every place by their reduced costs, and lay out the memory."""
        h, (n, cells), slopes = len(self.cut.slopes), self.table.shape, self.cut.slopes
        lists = [self._within(i) for i in range(h)]
        self.count = np.array([len(order) for order, _ in lists], dtype=np.int64)
        self.units, self.reduced = np.zeros((2, h, int(self.count.max())), dtype=np.int64)
        for i, (order, reduced) in enumerate(lists):
            self.units[i, : len(order)], self.reduced[i, : len(order)] = order, reduced
        both = np.concatenate([self.rows, slopes], axis=1)
        self.alike = np.array([int(i > 0 and np.array_equal(both[i], both[i - 1])) for i in range(h)])
        self.tables = np.concatenate([self.table[None], np.zeros((h, n, cells), dtype=np.int64)])
        self.tilts = np.zeros((h, n, max(1, cells // 2)), dtype=np.int64)
        for i in range(h):
            signs = self.signs[: 2 ** (h - i - 1), i + 1 :]
            self.tilts[i, :, : len(signs)] = slopes[i + 1 :].T @ signs.T
        self.later = np.array([sum(self.cut.agreement[i + 1 :]) for i in range(h)], dtype=np.int64)

    def _within(self, i: int) -> tuple[Integers, Integers]:
        """Return the units for one place with their reduced costs; any one does where its weights are 0."""
        slopes = self.cut.slopes[i]
        reduced = self.cut.agreement[i] + self.patterns @ slopes
        order = np.argsort(reduced, kind="stable")
        order = order[reduced[order] <= self.room] if self.rows[i].any() else order[:1]
        return order, reduced[order]

    def best(self, below: int, first: int, visits: int, chosen: Integers) -> tuple[int, int]:
        """Try the hidden layers whose first unit is the given one of its list; see `combine`."""
        return combine(
            self.tables, self.tilts, self.later, self.patterns, self.units, self.reduced, self.count, self.alike,
            self.cut.quotient, below, first, visits, chosen,
        )  # fmt: skip
