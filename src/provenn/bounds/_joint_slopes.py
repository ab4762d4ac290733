"""Slopes for given output layers of the joint hull bound, by column generation around central duals."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from provenn.bounds._hull_master import Point
from provenn.bounds._joint_layers import Layers
from provenn.bounds._joint_master import JointMaster
from provenn.bounds._joint_pricing import Units
from provenn.bounds._joint_types import Floats, Integers

ROUNDS = 30
FIRST_GAP, LAST_GAP, SHRINK = 0.05, 1e-4, 0.2
MOST_COLUMNS = 250
SAME = 1e-9


@dataclass(frozen=True)
class Slopes:
    """What column generation found for some output layers.

    Parameters
    ----------
    g : ndarray of shape (h, n)
        Slopes in units of the loss, equal for units of equal weights.
    hopeless : bool
        Whether no slopes reach the goal: what is left is the relaxation's own gap.
    used : ndarray of shape (K,), int64
        Columns in the master.
    weights : ndarray of shape (h, K)
        How much of each column every unit is made of.
    """

    g: Floats
    hopeless: bool
    used: Integers
    weights: Floats


def improve(
    layers: Layers,
    chosen: tuple[int, ...],
    units: Units,
    goal: int,
    g: Floats | None,
    settle: bool,
    stopped: Callable[[], bool],
) -> Slopes:
    """Look for slopes whose bound on the loss of some output layers reaches a goal.

    Losses are scaled to a mean range of 1.

    Parameters
    ----------
    chosen : tuple of int
        Layers of the first outputs.
    goal : int
    g : ndarray of shape (h, n), optional
        Slopes to begin with.
    settle : bool
        Go on until the slopes are the best ones, also where they cannot reach the goal.
    stopped : callable
    """
    table = layers.table(chosen)
    least = table.min(axis=1, keepdims=True)
    size = max(1e-9, float(np.ptp(table, axis=1).mean()))
    search = _Search(
        JointMaster((table - least) / size, layers.signs.astype(np.float64)),
        units,
        (goal - int(least.sum())) / size,
    )
    slopes = search.run(None if g is None else g / size, settle, stopped)
    even = _even(slopes.g, layers.weights[list(chosen)].T)
    return Slopes(even * size, slopes.hopeless, slopes.used, slopes.weights)


@dataclass
class _Search:
    """Column generation for one table."""

    master: JointMaster
    units: Units
    goal: float
    gap: float = FIRST_GAP

    def run(self, g: Floats | None, settle: bool, stopped: Callable[[], bool]) -> Slopes:
        """Centre the duals and add columns in turns, until what they show about the goal does not change."""
        for _ in range(ROUNDS):
            used = self._in_use(g)
            patterns, room = self.units.patterns[used], self.gap * max(1.0, abs(self.goal))
            point, weights = self.master.centre(self.master.repaired(g, patterns), patterns, room)
            slopes = Slopes(point.g, self.master.value(point) + room < self.goal, used, weights)
            if stopped() or (slopes.hopeless and not settle) or not self._more(point):
                break
            g = point.g
        return slopes

    def _more(self, point: Point[Floats]) -> bool:
        """Add columns, or reduce the gap where there are none; return whether that may change something."""
        agreement = -(self.units.patterns @ point.g.T).min(axis=0)
        reached = float(point.eta.sum() - agreement.sum()) >= self.goal
        known = len(self.units)
        self.units.search(point.g)
        if len(self.units) > known:
            return True
        if reached:
            return False
        if self.units.listed and bool((agreement > point.pi + SAME).any()):
            return True
        if self.gap <= LAST_GAP:
            return False
        self.gap = max(LAST_GAP, SHRINK * self.gap)
        return True

    def _in_use(self, g: Floats | None) -> Integers:
        """Return the columns for the master: those that agree best with the slopes of some unit."""
        count = len(self.units)
        if count <= 2 * MOST_COLUMNS:
            return np.arange(count)
        if g is None:
            return np.linspace(0, count - 1, MOST_COLUMNS).astype(np.int64)
        values = self.units.patterns @ g.T
        best = [np.argpartition(values[:, i], MOST_COLUMNS)[:MOST_COLUMNS] for i in range(len(g))]
        return np.unique(np.concatenate(best))


def _even(g: Floats, rows: Integers) -> Floats:
    """Return slopes that are equal where units have equal weights, and 0 where all weights are."""
    even = np.zeros_like(g)
    for i in np.flatnonzero(rows.any(axis=1)):
        even[i] = g[(rows == rows[i]).all(axis=1)].mean(axis=0)
    return even
