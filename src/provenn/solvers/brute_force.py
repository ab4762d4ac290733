"""Exhaustive search in exact integers: the oracle that the other solvers are tested against."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np

from provenn.errors import CapabilityError
from provenn.milp import MILP, Limits, Solution
from provenn.milp.lower import integer_costs, integer_rows, integral_bounds
from provenn.solvers._base import Emit, Point, Solver
from provenn.solvers._progress import Progress
from provenn.status import Status


@dataclass(frozen=True)
class BruteForce(Solver):
    """Depth-first search over column bounds with propagation, in Python integers, in this process.

    Branches on the first open column, lower half first unless its cost is negative. No floats take
    part in any decision, so that its answers are exact.

    Parameters
    ----------
    max_columns : int
        Larger models are refused.

    Examples
    --------
    >>> from provenn.milp import Builder, Terms
    >>> builder = Builder()
    >>> x = builder.columns("x", (2,), 0, 5)
    >>> builder.rows([Terms(x, [2.0, 3.0])], lower=7, upper=7)
    >>> BruteForce().solve(builder.build()).x.tolist()
    [2.0, 1.0]
    """

    max_columns: int = 2000

    exact: ClassVar[bool] = True
    capabilities: ClassVar[frozenset[str]] = frozenset({"integer", "indicators", "start", "nodes", "events", "bound"})
    note: ClassVar[str] = "for toy models only; bounds of stopped runs are those of the root"

    def prepare(self, milp: MILP) -> MILP:
        """Scale rows to integers; refuse models beyond toys."""
        if milp.n_columns > self.max_columns:
            raise CapabilityError(
                f"brute_force takes {self.max_columns} columns, the model has {milp.n_columns}: "
                "use cpsat or highs, or raise max_columns"
            )
        return integer_rows(milp)

    def run(self, milp: MILP, limits: Limits, start: Point | None, emit: Emit) -> Solution:
        """Solve in this process."""
        search = _Search(milp, emit)
        if start is not None and milp.violation(start) == 0:
            search.accept([int(value) for value in np.rint(start)])
        return search.run(limits)

    def _carry_out(self, milp: MILP, limits: Limits, start: Point | None, progress: Progress) -> Solution:
        left = replace(limits, seconds=max(limits.seconds - progress.seconds, 0.0))
        try:
            return progress.finished(self.run(milp, left, start, progress.report))
        except KeyboardInterrupt:
            return progress.stopped(Status.INTERRUPTED)


class _Row(NamedTuple):
    """``low <= sum of a x <= high``, when ``x[switch] == value`` or always (switch -1); None is open."""

    terms: list[tuple[int, int]]
    low: int | None
    high: int | None
    switch: int
    value: int


class _Search:
    """Bounds of one node, a trail to undo changes, and the best point."""

    def __init__(self, milp: MILP, emit: Emit) -> None:
        self._emit = emit
        self._offset = milp.offset
        costs, self._divisor = integer_costs(milp)
        self.costs: list[int] = costs.tolist()
        self.lower, self.upper = ([int(value) for value in bound] for bound in integral_bounds(milp))
        self.rows = [*_rows(milp), _Row([(j, c) for j, c in enumerate(self.costs) if c], None, None, -1, 0)]
        self.watch: list[list[int]] = [[] for _ in self.lower]
        for index, row in enumerate(self.rows):
            for column in {column for column, _ in row.terms} | ({row.switch} if row.switch >= 0 else set()):
                self.watch[column].append(index)
        self.trail: list[tuple[int, int, int]] = []
        self.best: list[int] | None = None

    def run(self, limits: Limits) -> Solution:
        """Search until the tree is done or a limit is met."""
        began = time.monotonic()
        nodes = 0
        bound: float | None = None
        # An entry undoes the trail to its length, then sets the bounds of a column.
        stack: list[tuple[int, int, int, int]] = [(0, -1, 0, 0)]
        while stack:
            mark, column, low, high = stack.pop()
            self._undo(mark)
            if limits.nodes is not None and nodes >= limits.nodes:
                return self._answer(Status.NODE_LIMIT, bound, time.monotonic() - began, nodes)
            if time.monotonic() - began >= limits.seconds:
                return self._answer(Status.TIME_LIMIT, bound, time.monotonic() - began, nodes)
            nodes += 1
            feasible = self._enter(column, low, high)
            if nodes == 1 and feasible:
                bound = self._value(self._least(self.rows[-1]))
                self._emit(None, bound, None)
            if feasible:
                self._branch(stack)
        status = Status.OPTIMAL if self.best is not None else Status.INFEASIBLE
        return self._answer(status, None, time.monotonic() - began, nodes)

    def accept(self, x: Sequence[int]) -> None:
        """Take a feasible point as incumbent and ask for strictly better ones."""
        total = sum(cost * value for cost, value in zip(self.costs, x, strict=True))
        self.best = list(x)
        self.rows[-1] = self.rows[-1]._replace(high=total - 1)
        self._emit(self._value(total), None, np.array(x, dtype=np.float64))

    def _enter(self, column: int, low: int, high: int) -> bool:
        """Set the bounds of a branch and propagate; False when nothing is left of it."""
        if column < 0:
            return self._propagate(set(range(len(self.rows))))
        queue = {len(self.rows) - 1}
        return self._tighten(column, low, high, queue) and self._propagate(queue)

    def _branch(self, stack: list[tuple[int, int, int, int]]) -> None:
        column = next((j for j, low in enumerate(self.lower) if low < self.upper[j]), None)
        if column is None:
            self.accept(self.lower)
            return
        low, high = self.lower[column], self.upper[column]
        middle = (low + high) // 2
        halves = [(len(self.trail), column, low, middle), (len(self.trail), column, middle + 1, high)]
        stack.extend(halves if self.costs[column] < 0 else reversed(halves))

    def _undo(self, mark: int) -> None:
        while len(self.trail) > mark:
            column, self.lower[column], self.upper[column] = self.trail.pop()

    def _tighten(self, column: int, low: int, high: int, queue: set[int]) -> bool:
        """Intersect a column's bounds; False when they become empty."""
        old_low, old_high = self.lower[column], self.upper[column]
        low, high = max(low, old_low), min(high, old_high)
        if (low, high) != (old_low, old_high):
            self.trail.append((column, old_low, old_high))
            self.lower[column], self.upper[column] = low, high
            queue.update(self.watch[column])
        return low <= high

    def _propagate(self, queue: set[int]) -> bool:
        while queue:
            row = self.rows[queue.pop()]
            least, most = self._least(row), self._most(row)
            fails = (row.high is not None and least > row.high) or (row.low is not None and most < row.low)
            state = self._state(row)
            if state is None and fails and not self._tighten(row.switch, 1 - row.value, 1 - row.value, queue):
                return False
            if state and (fails or not self._narrow(row, least, most, queue)):
                return False
        return True

    def _state(self, row: _Row) -> bool | None:
        """Whether the row must hold; None while its switch is open."""
        if row.switch < 0:
            return True
        low = self.lower[row.switch]
        return low == row.value if low == self.upper[row.switch] else None

    def _narrow(self, row: _Row, least: int, most: int, queue: set[int]) -> bool:
        """Tighten every column of an active row: ``a x <= high - (least - a's part)`` and its mirror."""
        for column, a in row.terms:
            low, high = self.lower[column], self.upper[column]
            part_low, part_high = (a * low, a * high) if a > 0 else (a * high, a * low)
            top = part_high if row.high is None else min(part_high, row.high - least + part_low)
            bottom = part_low if row.low is None else max(part_low, row.low - most + part_high)
            new = (-(-bottom // a), top // a) if a > 0 else (-(-top // a), bottom // a)
            if not self._tighten(column, *new, queue):
                return False
            least += (a * self.lower[column] if a > 0 else a * self.upper[column]) - part_low
            most += (a * self.upper[column] if a > 0 else a * self.lower[column]) - part_high
        return True

    def _least(self, row: _Row) -> int:
        return sum(a * (self.lower[j] if a > 0 else self.upper[j]) for j, a in row.terms)

    def _most(self, row: _Row) -> int:
        return sum(a * (self.upper[j] if a > 0 else self.lower[j]) for j, a in row.terms)

    def _value(self, total: int) -> float:
        return total / self._divisor + self._offset

    def _answer(self, status: Status, bound: float | None, seconds: float, nodes: int) -> Solution:
        if self.best is None:
            return Solution(status, None, None, bound, seconds, nodes)
        value = self._value(sum(cost * x for cost, x in zip(self.costs, self.best, strict=True)))
        bound = value if status is Status.OPTIMAL else bound
        return Solution(status, np.array(self.best, dtype=np.float64), value, bound, seconds, nodes)


def _rows(milp: MILP) -> list[_Row]:
    """Rows of the model in Python integers."""
    rows = []
    for i in range(milp.n_rows):
        span = slice(milp.A.indptr[i], milp.A.indptr[i + 1])
        terms = list(zip(milp.A.indices[span].tolist(), map(int, milp.A.data[span].tolist()), strict=True))
        low, high = (int(side) if np.isfinite(side) else None for side in (milp.row_lower[i], milp.row_upper[i]))
        rows.append(_Row(terms, low, high, int(milp.indicator[i]), int(milp.indicator_value[i])))
    return rows
