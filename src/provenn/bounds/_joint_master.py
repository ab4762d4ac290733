"""The master of the joint hull bound: well-centred slopes for every unit of the hidden layer."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from provenn.bounds._hull_master import CentralPath, Point, solve
from provenn.bounds._joint_types import Floats


@dataclass(frozen=True)
class JointMaster(CentralPath[Floats]):
    """Maximise ``sum_k eta_k - sum_i pi_i`` over duals that respect the columns found so far.

    ``eta_k <= table_kc - sum_i g_ik sign_ci`` for all cells c and ``pi_i >= -sum_k g_ik s(k)`` for all columns s.
    This is the dual of minimising the lower convex envelopes of the samples' losses over the cube of the units'
    signs, each unit a convex combination of columns.

    Parameters
    ----------
    table : ndarray of shape (n, 2**h)
        Loss of each sample in each cell, with its multiplicity.
    signs : ndarray of shape (2**h, h)
    """

    table: Floats
    signs: Floats

    @property
    def hidden(self) -> int:
        """Number of units."""
        return self.signs.shape[1]

    @cached_property
    def bounds(self) -> tuple[Floats, Floats]:
        """Bounds of the slopes, shape (h, n), a little beyond those of the edges, which no better dual leaves."""
        h, n = self.hidden, len(self.table)
        cube = self.table.reshape(n, *[2] * h)
        edges = [np.diff(cube, axis=1 + i).reshape(n, -1) / 2 for i in range(h)]
        low, high = np.array([e.min(axis=1) for e in edges]), np.array([e.max(axis=1) for e in edges])
        margin = 0.05 * (high - low) + 0.01 * np.ptp(self.table, axis=1).mean() / h + 1e-9
        return low - margin, high + margin

    def repaired(self, g: Floats | None, columns: Floats) -> Point[Floats]:
        """Return a strictly feasible point with slopes near g, or near the middle ones."""
        size = np.ptp(self.table, axis=1).mean() + 1e-9
        low, high = self.bounds
        inner = 0.01 * (high - low)
        g = (low + high) / 2 if g is None else np.clip(g, low + inner, high - inner)
        eta = (self.table - g.T @ self.signs.T).min(axis=1) - 0.1 * size
        return Point(g, eta, -(columns @ g.T).min(axis=0) + 0.1 * size)

    def value(self, point: Point[Floats]) -> float:
        """Return the dual objective with eta and pi as given."""
        return float(point.eta.sum() - point.pi.sum())

    def centre(self, point: Point[Floats], columns: Floats, gap: float) -> tuple[Point[Floats], Floats]:
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
        ndarray of shape (h, K)
            Primal weights of the columns for each unit, with sums near 1.
        """
        constraints = self.table.size + 2 * point.g.size + self.hidden * len(columns)
        last = gap / constraints
        p = self._slacks(point, columns)[0]
        mu = max(last, float(p.min(axis=1).sum()) / constraints)
        return self._follow(point, columns, mu, last)

    def _slacks(self, point: Point[Floats], columns: Floats) -> tuple[Floats, ...]:
        """Return the slacks of the cells (n, C), of both bounds of slopes (h, n) and of the columns (h, K)."""
        low, high = self.bounds
        p = self.table - point.g.T @ self.signs.T - point.eta[:, None]
        return p, point.g - low, high - point.g, point.pi[:, None] + point.g @ columns.T

    def _changes(self, move: Point[Floats], columns: Floats) -> tuple[Floats, ...]:
        """Return how the slacks change along a direction."""
        dp = -move.g.T @ self.signs.T - move.eta[:, None]
        return dp, move.g, -move.g, move.pi[:, None] + move.g @ columns.T

    def _direction(self, slacks: tuple[Floats, ...], columns: Floats, mu: float) -> tuple[Point[Floats], float]:
        """Return the Newton direction and its decrement; eta is eliminated sample by sample."""
        p, above, below, r = slacks
        h, n = above.shape
        q, s = 1.0 / p, 1.0 / r
        to_eta, to_pi = 1.0 / mu - q.sum(axis=1), -1.0 / mu + s.sum(axis=1)
        to_g = -(q @ self.signs).T + 1.0 / above - 1.0 / below + s @ columns
        q2 = q * q
        alpha, beta = q2.sum(axis=1), (q2 @ self.signs).T
        H = np.zeros((h * n + h, h * n + h))
        for i in range(h):
            for j in range(i + 1):
                block = H[i * n : (i + 1) * n, j * n : (j + 1) * n]
                if i == j:
                    scaled = columns * s[i][:, None]
                    block[:] = scaled.T @ scaled
                    H[h * n + i, i * n : (i + 1) * n] = s[i] @ scaled
                    block[np.arange(n), np.arange(n)] += 1.0 / above[i] ** 2 + 1.0 / below[i] ** 2
                twin = q2 @ (self.signs[:, i] * self.signs[:, j]) - beta[i] * beta[j] / alpha
                block[np.arange(n), np.arange(n)] += twin
            H[h * n + i, h * n + i] = s[i] @ s[i]
        move = solve(H, np.append((to_g - beta / alpha * to_eta).ravel(), to_pi))
        dg, dpi = move[: h * n].reshape(h, n), move[h * n :]
        deta = (to_eta - (beta * dg).sum(axis=0)) / alpha
        decrement = float(to_eta @ deta + (to_g * dg).sum() + to_pi @ dpi)
        return Point(dg, deta, dpi), max(decrement, 0.0) ** 0.5
