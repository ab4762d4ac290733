"""From an agreement problem to a smaller one for the kernels: equal columns, equal and opposite samples merged."""

from dataclasses import dataclass, field

import numpy as np

from provenn.bounds._agreement_types import AgreementProblem, Integers, Neuron
from provenn.bounds._convex_setup import score_shifts

MAX_DIFFERENCES = 12
MAX_PARTNERS = 1000
BLOCK = 2**15
"""Pairs of samples at a time, which stay in a fast cache."""


@dataclass(frozen=True)
class Reduced:
    """Entries u with ``0 <= u <= top``; sample k is right iff ``A[:, k] . u + offset[k] >= 0``.

    Parameters
    ----------
    problem : AgreementProblem
    A : ndarray of shape (D, n), int64
    offset, cost : ndarray of shape (n,), int64
    constant : int
        Cost of what is wrong whatever u is.
    top : ndarray of shape (D,), int64
    column, sign : ndarray of shape (d + 1,), int64
        The entry that each weight (the last is the bias) belongs to, and its sign there; -1 for none.
    """

    problem: AgreementProblem
    A: Integers
    offset: Integers
    cost: Integers
    constant: int
    top: Integers
    column: Integers
    sign: Integers
    boxes: tuple[Integers, Integers, Integers] = field(repr=False)

    @property
    def n_entries(self) -> int:
        """Number of entries of u."""
        return len(self.top)

    def neuron(self, u: Integers) -> Neuron:
        """Return a neuron of the original problem: each entry fills its members one after the other."""
        low, high, step = self.boxes
        v, left = np.where(self.sign < 0, high, low), np.asarray(u, dtype=np.int64).copy()
        for i in np.flatnonzero(self.column >= 0):
            j = self.column[i]
            steps = min(int(left[j]), int((high[i] - low[i]) // step[i]))
            v[i] += self.sign[i] * steps * step[i]
            left[j] -= steps
        w, b = v[:-1], int(v[-1])
        dead = (self.column[:-1] < 0) & (low[:-1] <= 0) & (high[:-1] >= 0) & (low[:-1] % step[:-1] == 0)
        return np.where(dead & ~np.any(self.problem.X != 0, axis=0), 0, w), b

    def entries(self, w: Integers, b: int) -> Integers:
        """Return the entries of a neuron."""
        low, high, step = self.boxes
        v = np.append(np.asarray(w, dtype=np.int64), b)
        steps = np.where(self.sign < 0, high - v, v - low) // step
        u = np.zeros(self.n_entries, dtype=np.int64)
        np.add.at(u, self.column[self.column >= 0], steps[self.column >= 0])
        return u


def reduce(problem: AgreementProblem, keep_free: bool = False) -> Reduced:
    """Merge and drop what has no effect.

    Parameters
    ----------
    problem : AgreementProblem
    keep_free : bool
        Keep samples of cost 0, whose signs matter to whoever collects patterns.
    """
    low, high, step, columns = _columns(problem)
    movable = (high > low) & columns.any(axis=0)
    column, sign, unique = _merge_columns(columns, movable, step)
    first = np.where(sign < 0, high, low)
    offset = columns @ first - (problem.t != problem.zero)
    steps = (high - low) // step
    top = np.zeros(len(unique), dtype=np.int64)
    np.add.at(top, column[column >= 0], steps[column >= 0])
    A = unique.T if len(unique) else np.zeros((len(problem.t), 0), dtype=np.int64)
    A, offset, cost, constant = _merge_rows(A, offset, problem.cost, top, keep_free)
    return Reduced(problem, np.ascontiguousarray(A.T), offset, cost, constant, top, column, sign, (low, high, step))


def _columns(problem: AgreementProblem) -> tuple[Integers, Integers, Integers, Integers]:
    """Return low, high, step of all weights and the bias, and the columns ``t * x`` of shape (n, d + 1)."""
    bias = problem.bias or (0, 0, 1)
    low, high = np.append(problem.low, bias[0]), np.append(problem.high, bias[1])
    step = np.append(np.full(len(problem.low), problem.step), bias[2])
    ones = np.full((len(problem.t), 1), problem.scale, dtype=np.int64)
    return low, high, step, problem.t[:, None] * np.hstack([problem.X, ones])


def _merge_columns(columns: Integers, movable: np.ndarray, step: Integers) -> tuple[Integers, Integers, Integers]:
    """Give numbers to distinct columns (times the step, up to the sign); return numbers, signs, columns (D, n)."""
    sign = np.ones(len(step), dtype=np.int64)
    column = np.full(len(step), -1, dtype=np.int64)
    seen: dict[bytes, int] = {}
    unique: list[Integers] = []
    for j in np.flatnonzero(movable):
        values = columns[:, j] * step[j]
        sign[j] = np.sign(values[np.flatnonzero(values)[0]])
        key = (values * sign[j]).tobytes()
        if key not in seen:
            seen[key] = len(unique)
            unique.append(values * sign[j])
        column[j] = seen[key]
    return column, sign, np.array(unique, dtype=np.int64).reshape(len(unique), len(columns))


def _merge_rows(
    A: Integers, offset: Integers, cost: Integers, top: Integers, keep_free: bool
) -> tuple[Integers, Integers, Integers, int]:
    """Merge rows that are equal or opposite up to a factor and drop decided ones.

    Divided by their divisors, ``(a, c)`` and ``(-a, -c - 1)`` are never right together and never wrong
    together. The rows get their factors back in the end, since sums of pairs of them say more then.
    """
    divisor = np.maximum(np.gcd.reduce(A, axis=1), 1) if A.shape[1] else np.ones(len(A), dtype=np.int64)
    A, offset = A // divisor[:, None], offset // divisor
    least, most = offset + np.minimum(A, 0) @ top, offset + np.maximum(A, 0) @ top
    constant = int(cost[most < 0].sum())
    open_rows = (most >= 0) & (least < 0) & (keep_free | (cost > 0))
    A, offset, cost, divisor = A[open_rows], offset[open_rows], cost[open_rows], divisor[open_rows]
    if not len(A):
        return A, offset, cost, constant
    lead = np.sign(A[np.arange(len(A)), (A != 0).argmax(axis=1)])
    rows = np.column_stack([A * lead[:, None], np.where(lead > 0, offset, -offset - 1)])
    rows, member, number = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    sums = np.zeros((2, len(rows)), dtype=np.int64)
    np.add.at(sums, ((lead < 0).astype(np.int64), number.ravel()), cost)
    constant += int(sums.min(axis=0).sum())
    net, way = np.abs(sums[0] - sums[1]), np.where(sums[0] >= sums[1], 1, -1)
    kept = keep_free | (net > 0)
    A, offset = rows[:, :-1] * way[:, None], np.where(way > 0, rows[:, -1], -rows[:, -1] - 1)
    back = divisor[member]
    return (A * back[:, None])[kept], (offset * back)[kept], net[kept], constant


def directions(A: Integers, top: Integers) -> tuple[Integers, Integers]:
    """Find moves that leave every score as it is, and a rank that every one of them raises.

    Parameters
    ----------
    A : ndarray of shape (D, n), int64
    top : ndarray of shape (D,), int64

    Returns
    -------
    moves : ndarray of shape (r, D), int64
        Shifts, and differences of shifts where these are few.
    rank : ndarray of shape (D,), int64
    """
    zero, one = np.zeros_like(top), np.ones_like(top)
    shifts, reference = score_shifts(np.ascontiguousarray(A.T), zero, top, one)
    count, rank = len(shifts), np.zeros_like(top)
    rank[reference] = np.arange(count, 0, -1)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)] if count <= MAX_DIFFERENCES else []
    moves = [*shifts, *(shifts[i] - shifts[j] for i, j in pairs)]
    return np.array(moves, dtype=np.int64).reshape(len(moves), len(top)), rank


def near_pairs(A: Integers, offset: Integers, top: Integers, each: int, most: int) -> tuple[Integers, Integers, int]:
    """Return pairs of samples that soon contradict each other: for each sample those of least reach.

    Parameters
    ----------
    A : ndarray of shape (D, n), int64
    offset : ndarray of shape (n,), int64
    top : ndarray of shape (D,), int64
    each, most : int
        Pairs that each sample chooses for the front, and in all.

    Returns
    -------
    one, two : ndarray of shape (m,), int64
        The front and the rest, either sorted by reach.
    front : int
    """
    n = len(offset)
    candidates = np.arange(n) if n <= MAX_PARTNERS else np.linspace(0, n - 1, MAX_PARTNERS).astype(np.int64)
    near, reach = _nearest(A, offset, top, candidates, max(0, min(most, n - 1, len(candidates))))
    samples, partners = np.arange(n)[:, None], candidates[near]
    number = (np.minimum(samples, partners) * n + np.maximum(samples, partners)).ravel()
    far = np.broadcast_to(np.arange(near.shape[1]) >= each, near.shape).ravel()
    order = np.lexsort((far, number))
    order = order[np.diff(number[order], prepend=-1) > 0]  # a pair that both of its samples choose counts once
    order = order[np.lexsort((number[order], reach.ravel()[order], far[order]))]
    return number[order] // n, number[order] % n, int(np.count_nonzero(~far[order]))


def _nearest(
    A: Integers, offset: Integers, top: Integers, candidates: Integers, count: int
) -> tuple[Integers, Integers]:
    """Return for each sample the candidates that make pairs of least reach with it, and these reaches, ascending."""
    n, C = len(offset), len(candidates)
    near, least = np.zeros((2, n, count), dtype=np.int64)
    scaled, block = A * top[:, None], max(1, BLOCK // max(C, 1))
    for k in range(0, n if count else 0, block):
        end = min(k + block, n)
        reach = offset[k:end, None] + offset[candidates]
        part = np.empty_like(reach)
        for row in scaled:
            np.add(row[k:end, None], row[candidates], out=part)
            reach += np.maximum(part, 0, out=part)
        reach[np.arange(k, end)[:, None] == candidates] = np.iinfo(np.int64).max
        near[k:end] = _smallest(reach, count)
        least[k:end] = np.take_along_axis(reach, near[k:end], axis=1)
    return near, least


def _smallest(values: Integers, count: int) -> Integers:
    """Return the places of the smallest values of each row, ascending, ties as they come."""
    last = np.partition(values, count - 1, axis=1)[:, count - 1 : count]
    row, place = np.nonzero(values <= last)
    order = np.lexsort((values[row, place], row))
    begin = np.searchsorted(row, np.arange(len(values)))
    return np.asarray(place[order[begin[:, None] + np.arange(count)]])
