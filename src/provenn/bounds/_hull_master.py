"""The master of the hull bound: well-centred duals of a column generation by an interior-point method."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from provenn.bounds._hull_types import Floats

CENTRED = 0.25
NEWTON_STEPS = 60
TO_THE_BOUNDARY = 0.9
SHRINK = 0.2
RIDGE = 1e-12

Price = TypeVar("Price", float, Floats)


class Point(NamedTuple, Generic[Price]):
    """A strictly feasible dual point.

    Parameters
    ----------
    g : ndarray of shape (n,) or (h, n)
        Slope of the loss of each sample, along the score or along each unit's sign.
    eta : ndarray of shape (n,)
        Below the least that is left of each sample's loss.
    pi : float or ndarray of shape (h,)
        Above the agreement with the slopes of all columns, for all units or for each of them.
    """

    g: Floats
    eta: Floats
    pi: Price


class CentralPath(ABC, Generic[Price]):
    """Newton's method along the central path of a dual whose slacks, those of the columns last, a subclass knows."""

    def _follow(self, point: Point[Price], columns: Floats, mu: float, last: float) -> tuple[Point[Price], Floats]:
        """Centre for smaller and smaller mu down to the last; return the point and the primal weights of columns."""
        while True:
            point, slacks = self._newton(point, columns, mu)
            if mu <= last:
                return point, mu / slacks[-1]
            mu = max(last, SHRINK * mu)

    def _newton(self, point: Point[Price], columns: Floats, mu: float) -> tuple[Point[Price], tuple[Floats, ...]]:
        """Maximise ``objective / mu + sum log slacks`` from a feasible point; return it with its slacks.

        Where rounding spoils a step, the point before it is as good a point as any.
        """
        slacks = self._slacks(point, columns)
        for _ in range(NEWTON_STEPS):
            try:
                move, decrement = self._direction(slacks, columns, mu)
            except LinAlgError:
                break
            changes = self._changes(move, columns)
            worst = max(float((-d / s).max()) for d, s in zip(changes, slacks, strict=True))
            step = min(1.0, TO_THE_BOUNDARY / worst) if worst > 0 else 1.0
            moved = Point(point.g + step * move.g, point.eta + step * move.eta, point.pi + step * move.pi)
            after = self._slacks(moved, columns)
            if not (np.isfinite(decrement) and min(s.min() for s in after) > 0.0):
                break
            point, slacks = moved, after
            if decrement < CENTRED:
                break
        return point, slacks

    @abstractmethod
    def _slacks(self, point: Point[Price], columns: Floats) -> tuple[Floats, ...]:
        """Return the slacks of all constraints, those of the columns last."""

    @abstractmethod
    def _changes(self, move: Point[Price], columns: Floats) -> tuple[Floats, ...]:
        """Return how the slacks change along a direction."""

    @abstractmethod
    def _direction(self, slacks: tuple[Floats, ...], columns: Floats, mu: float) -> tuple[Point[Price], float]:
        """Return the Newton direction and its decrement."""


def solve(H: Floats, right: Floats) -> Floats:
    """Solve ``H x = right`` for a positive definite H, which gets a little heavier on its diagonal.

    Raises
    ------
    LinAlgError
        When H is not finite, or not positive definite for floats.
    """
    H[np.diag_indices(len(H))] *= 1.0 + RIDGE
    if not np.isfinite(H).all():
        raise LinAlgError("the slacks are too small for floats")
    return np.asarray(cho_solve(cho_factor(H, lower=True, check_finite=False), right, check_finite=False))


@dataclass(frozen=True)
class Master(CentralPath[float]):
    """Maximise ``sum_k m_k eta_k - total pi`` over duals that respect the columns found so far.

    ``eta_k <= table_ks - g_k offset_s`` for all scores s and ``pi >= -sum_k m_k g_k sigma(k)`` for all
    columns sigma. This is the dual of minimising the lower convex envelopes of the sample losses over
    ``score = b + sum_sigma lambda_sigma sigma`` with ``lambda >= 0`` and ``sum lambda = total``.

    Parameters
    ----------
    table : ndarray of shape (n, S)
        Loss of sample k at score s.
    offsets : ndarray of shape (S,)
        Scores less the bias.
    multiplicity : ndarray of shape (n,)
    total : float
        Sum of the absolute output weights.

    Notes
    -----
    Duals near the centre of the optimal face need far fewer columns than vertices do. Primal-dual column
    generation: Gondzio, Gonzalez-Brevis & Munari, EJOR 224 (2013), doi:10.1016/j.ejor.2012.07.024.
    """

    table: Floats
    offsets: Floats
    multiplicity: Floats
    total: float

    @cached_property
    def slopes(self) -> tuple[Floats, Floats]:
        """Bounds of the slopes, a little beyond those of the tables, which no better dual leaves.

        Without them the duals of a sample on which all columns agree would have no centre.
        """
        edges = np.diff(self.table, axis=1) / np.diff(self.offsets)
        low, high = edges.min(axis=1), edges.max(axis=1)
        margin = 0.05 * (high - low) + 0.01 * np.ptp(self.table, axis=1).mean() / self.total + 1e-9
        return low - margin, high + margin

    def start(self, columns: Floats) -> Point[float]:
        """Return the dual point with the middle slopes."""
        return self.repaired(np.mean(self.slopes, axis=0), columns)

    def repaired(self, g: Floats, columns: Floats) -> Point[float]:
        """Return a strictly feasible point with slopes near g."""
        size = np.ptp(self.table, axis=1).mean() + 1e-9
        low, high = self.slopes
        g = np.clip(g, low + 0.01 * (high - low), high - 0.01 * (high - low))
        eta = (self.table - g[:, None] * self.offsets).min(axis=1) - 0.1 * size
        agreement = -(columns @ (self.multiplicity * g))
        return Point(g, eta, float(agreement.max()) + 0.1 * size)

    def value(self, point: Point[float]) -> float:
        """Return the dual objective with eta and pi as given."""
        return float(self.multiplicity @ point.eta - self.total * point.pi)

    def centre(self, point: Point[float], columns: Floats, gap: float) -> tuple[Point[float], Floats]:
        """Follow the central path from a feasible point until the duality gap is about `gap`.

        Parameters
        ----------
        point : Point
        columns : ndarray of shape (K, n)
            Entries +1 and -1.
        gap : float

        Returns
        -------
        Point
        ndarray of shape (K,)
            Primal weights of the columns, with a sum near `total`.
        """
        constraints = self.table.size + 2 * len(self.table) + len(columns)
        weighted = columns * self.multiplicity
        last = gap / constraints
        p = self._slacks(point, weighted)[0][:, :-2]
        mu = max(last, float((self.multiplicity @ p.min(axis=1)) / constraints))
        return self._follow(point, weighted, mu, last)

    def _slacks(self, point: Point[float], columns: Floats) -> tuple[Floats, ...]:
        """Return the slacks of each sample (its scores, then the bounds of its slope) and of the columns."""
        low, high = self.slopes
        p = self.table - point.g[:, None] * self.offsets - point.eta[:, None]
        return np.column_stack([p, point.g - low, high - point.g]), point.pi + columns @ point.g

    def _changes(self, move: Point[float], columns: Floats) -> tuple[Floats, ...]:
        """Return how the slacks change along a direction."""
        dp = -move.g[:, None] * self.offsets - move.eta[:, None]
        return np.column_stack([dp, move.g, -move.g]), move.pi + columns @ move.g

    def _direction(self, slacks: tuple[Floats, ...], columns: Floats, mu: float) -> tuple[Point[float], float]:
        """Return the Newton direction and its decrement; eta is eliminated sample by sample."""
        p, r = slacks
        m, d, n = self.multiplicity, self.offsets, len(p)
        q, s = 1.0 / p[:, :-2], 1.0 / r
        below, above = 1.0 / p[:, -2], 1.0 / p[:, -1]
        to_eta, to_pi = m / mu - q.sum(axis=1), -self.total / mu + s.sum()
        to_g = -(q @ d) + below - above + columns.T @ s
        q2 = q * q
        alpha, beta, gamma = q2.sum(axis=1), q2 @ d, q2 @ (d * d) + below * below + above * above
        scaled = columns * s[:, None]
        H = np.empty((n + 1, n + 1))
        H[:n, :n] = scaled.T @ scaled
        H[np.arange(n), np.arange(n)] += gamma - beta * beta / alpha
        H[:n, n] = H[n, :n] = scaled.T @ s
        H[n, n] = s @ s
        move = solve(H, np.append(to_g - beta / alpha * to_eta, to_pi))
        dg, dpi = move[:n], float(move[n])
        deta = (to_eta - beta * dg) / alpha
        decrement = float(to_eta @ deta + to_g @ dg + to_pi * dpi)
        return Point(dg, deta, dpi), max(decrement, 0.0) ** 0.5
