r"""The smallest perturbation that changes one prediction of a fixed network, as a mixed-integer program.

Columns: the perturbation ``e_i = delta_i / R_i``, its norm ``rho``, and a binary u for every hidden unit that may
change within L times the radius; units of the first layer that are the same function on the ball share theirs. With
a the pre-activation at the sample and r the reach of the unit,

    min rho,   u = 1 => a / r + sum_i (R_i w_i / r) e_i >= 0,   u = 0 => the same <= 0,   |e| <= rho <= L,

integer rows ``u = 1 => a >= 0``, ``u = 0 => a <= -1`` in later layers, and one row that says that a rival class wins.
The closed condition for u = 0 makes the optimum the largest radius within which nothing changes (an infimum). Cells
of the input space that only exist in the closure are cut off one by one when they come up.

The norm "2" starts from ``|e_i| <= rho`` and ``sum |e_i| <= sqrt(d) rho`` and gets tangents ``g . e <= rho``, so that
every bound is valid whatever the number of tangents.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from math import gcd, lcm, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from provenn._robustness_ball import Ball, Floats, Integers
from provenn.milp import MILP, Builder, Terms
from provenn.network import IntegerNetwork
from provenn.network.intervals import intervals, reach

STRICT = 1e-7
CLOSE = 1e-7
TANGENTS = 40
SMALL = 10_000
LARGEST_SHARE = 2**20


@dataclass
class Around:
    """A fixed network around one sample.

    Parameters
    ----------
    network : IntegerNetwork
    sample : ndarray of shape (d,), int64
    ball : Ball
    factor : int
        L, the largest multiple of the radius that counts.

    Attributes
    ----------
    groups : ndarray of shape (n_1,), int64
        The binary of every unit of the first layer, -1 for those that never change.
    first, r : ndarray of shape (groups,), int64
        A unit of every group, and its reach.
    A, c : ndarray
        Rows ``c + A e`` of the groups, each divided by its reach.
    cuts : list of ndarray of shape (m,)
        Unit vectors g of tangents ``g . e <= rho``.
    """

    network: IntegerNetwork
    sample: Integers
    ball: Ball
    factor: int
    groups: Integers = field(init=False)
    first: Integers = field(init=False)
    r: Integers = field(init=False)
    A: Floats = field(init=False)
    c: Floats = field(init=False)
    cuts: list[Floats] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Find the units that may change, and those that are one function on the ball."""
        radius = tuple(int(R) * self.factor for R in self.ball.radius)
        self.found = intervals(self.network, self.sample[None], radius, self.ball.norm, margins=False)
        self.a = self.network.trace(self.sample[None]).preactivations[0][0]
        self.W = (self.network.weights[0] * self.ball.radius[:, None])[self.ball.active]
        open_ = self.found.fires[0][0] != self.found.may_fire[0][0]
        self.groups = np.full(len(self.a), -1, dtype=np.int64)
        keys: dict[tuple[int, ...], int] = {}
        for j in np.flatnonzero(open_):
            column = (int(self.a[j]), *map(int, self.W[:, j]))
            shared = gcd(*column)
            self.groups[j] = keys.setdefault(tuple(value // shared for value in column), len(keys))
        first = [int(np.flatnonzero(self.groups == g)[0]) for g in range(len(keys))]
        self.first = np.array(first, dtype=np.int64)
        r = np.maximum(reach(self.network.weights[0][:, self.first], self.ball.radius, self.ball.norm), 1)
        self.r = r
        self.A = np.asarray((self.W[:, first] / r).T, dtype=np.float64).reshape(len(first), len(self.ball.active))
        self.c = self.a[first] / r

    def model(self, rival: int, excluded: list[Integers], most: float) -> MILP | None:
        """Return the program for one rival class, None where no unit that changes could make it win.

        Parameters
        ----------
        rival : int
            A class other than the prediction.
        excluded : list of ndarray of shape (groups,), int64
            Patterns of the first layer's binaries that are cut off.
        most : float
            Upper bound of rho, at most L.
        """
        builder = Builder()
        m = len(self.ball.active)
        rho = builder.columns("rho", (1,), 0.0, most, integer=False)
        e = builder.columns("e", (m,), -float(self.factor), float(self.factor), integer=False)
        u = builder.columns("u", (len(self.c),), 0, 1)
        self._add_norm(builder, rho, e)
        if len(self.c):
            rows = np.broadcast_to(e, self.A.shape)
            builder.rows([Terms(rows, self.A)], lower=-self.c, when=(u, 1))
            builder.rows([Terms(rows, self.A)], upper=-self.c, when=(u, 0))
        for pattern in excluded:
            builder.rows([Terms(u, 1.0 - 2.0 * pattern)], lower=1.0 - float(pattern.sum()))
        constant, terms = self._add_layers(builder, u)
        if not self._add_win(builder, rival, constant, terms):
            return None
        builder.minimise(rho, 1.0)
        return builder.build()

    def _add_norm(self, builder: Builder, rho: Integers, e: Integers) -> None:
        wide = np.broadcast_to(rho, e.shape)[:, None]
        for sign in (1.0, -1.0):
            builder.rows([Terms(e[:, None], sign), Terms(wide, -1.0)], upper=0)
        if self.ball.norm == "inf" or len(e) < 2:
            return
        sizes = builder.columns("sizes", e.shape, 0.0, float(self.factor), integer=False)
        for sign in (1.0, -1.0):
            builder.rows([Terms(e[:, None], sign), Terms(sizes[:, None], -1.0)], upper=0)
        most = 1.0 if self.ball.norm == "1" else sqrt(len(e)) * (1 + 1e-12)
        builder.rows([Terms(sizes, 1.0), Terms(rho, -most)], upper=0)
        for g in self.cuts:
            builder.rows([Terms(e, g), Terms(rho, -1.0)], upper=0)

    def _add_layers(self, builder: Builder, u: Integers) -> tuple[Integers, list[tuple[Integers, Integers]]]:
        """Return the scores as constants and pairs (columns, coefficients of shape (columns, n_outputs))."""
        layers = self.network.architecture.layers
        fixed, columns, places = self.found.fires[0][0], u, self.groups
        for i in range(1, len(layers)):
            W, b, lowest = self.network.weights[i], self.network.biases[i], layers[i - 1].lowest
            base = np.where(fixed & (places < 0), 1, lowest)
            constant = base @ W + b
            coefficients = np.zeros((len(columns), W.shape[1]), dtype=np.int64)
            np.add.at(coefficients, places[places >= 0], (1 - lowest) * W[places >= 0])
            if i == len(layers) - 1:
                return constant, [(columns, coefficients)]
            fires, may = self.found.fires[i][0], self.found.may_fire[i][0]
            open_ = np.flatnonzero(fires != may)
            after = builder.columns(f"u{i}", (len(open_),), 0, 1)
            if len(open_):
                terms = [Terms(np.broadcast_to(columns, (len(open_), len(columns))), coefficients[:, open_].T)]
                builder.rows(terms, lower=-constant[open_], when=(after, 1))
                builder.rows(terms, upper=-1 - constant[open_], when=(after, 0))
            places = np.full(len(fires), -1, dtype=np.int64)
            places[open_] = np.arange(len(open_))
            fixed, columns = fires, after
        raise AssertionError("a network with hidden layers has an output layer")

    def _add_win(
        self, builder: Builder, rival: int, constant: Integers, terms: list[tuple[Integers, Integers]]
    ) -> bool:
        """Add the row that the rival class wins; False where it cannot."""
        (columns, coefficients), label = terms[0], int(self.network.predict(self.sample[None])[0])
        if len(constant) == 1:
            sign = 1 if label == 0 else -1
            lead, by, least = sign * int(constant[0]), sign * coefficients[:, 0], 0 if label == 0 else 1
        else:
            lead = int(constant[rival] - constant[label])
            by, least = coefficients[:, rival] - coefficients[:, label], int(rival > label)
        if lead + int(np.maximum(by, 0).sum()) < least:
            return False
        if len(columns):
            builder.rows([Terms(columns, by)], lower=least - lead)
        return True

    def inner_point(self, pattern: Integers, most: float) -> Floats | None:
        """Return a perturbation with these activations, as far inside their cell as the radius allows.

        First with a distance from the boundary on all sides, then on those of units that do not fire only.
        """
        for both in (True, False):
            e = self._centre(pattern, most, both)[0]
            if e is not None:
                return e
        return None

    def proven_empty(self, pattern: Integers) -> bool:
        """Whether no perturbation within L times the radius has these activations, proven in integers.

        For multipliers y >= 0 with ``g = sum_fires y_j a_j - sum_others y_j a_j`` a cell needs g > 0 somewhere if
        any y of the others is positive, since those a are negative. The duals of the linear program, as fractions
        of small denominators, are such y; the largest g in the ball is exact.
        """
        duals = self._centre(pattern, float(self.factor), False)[1]
        if duals is None or duals.max(initial=0.0) <= 0:
            return False
        shares = [Fraction(y / duals.max()).limit_denominator(SMALL) for y in duals]
        parts = [share / int(r) for share, r in zip(shares, self.r, strict=True)]
        common = lcm(*(part.denominator for part in parts))
        y = [int(part * common) * (1 if fires else -1) for part, fires in zip(parts, pattern, strict=True)]
        if not any(value < 0 for value in y) or max(map(abs, y)) >= LARGEST_SHARE:
            return False
        weights = sum(
            (v * self.network.weights[0][:, j] for v, j in zip(y, self.first, strict=True)), start=0 * self.r[0]
        )
        moved = reach(np.asarray(weights)[:, None], self.ball.radius * self.factor, self.ball.norm)
        return sum(v * int(self.a[j]) for v, j in zip(y, self.first, strict=True)) + int(moved[0]) <= 0

    def _centre(self, pattern: Integers, most: float, both: bool) -> tuple[Floats | None, Floats | None]:
        """Return the point of a cell that is farthest inside, and the duals of the units where there is none."""
        A, b = self._cell(pattern, both, most)
        m, cuts = len(self.ball.active), list(self.cuts)
        box = [(-most, most)] * m + [(0.0, most)] * m + [(0.0, 1.0)]
        cost = np.append(np.zeros(2 * m), -1.0)
        for _ in range(TANGENTS):
            extra = [np.concatenate([g, np.zeros(m + 1)])[None] for g in cuts]
            found = linprog(cost, np.vstack([A, *extra]), np.concatenate([b, np.full(len(cuts), most)]), bounds=box)
            if found.x is None:
                return None, None
            if found.x[-1] < STRICT:
                return None, -np.asarray(found.ineqlin.marginals[: len(self.c)])
            e: NDArray[np.float64] = found.x[:m]
            length = float(np.linalg.norm(e)) if self.ball.norm == "2" else 0.0
            inner = e if length <= most else e * (most / length * (1 - 1e-12))
            if length <= most or self._holds(inner, pattern, both):
                return inner, None
            cuts.append(e / length)
        return None, None

    def _holds(self, e: Floats, pattern: Integers, both: bool) -> bool:
        """Whether a point lies inside a cell."""
        a = self.c + self.A @ e
        return bool(np.where(pattern > 0, a >= (STRICT if both else 0.0), a <= -STRICT).all())

    def tighten(self, pattern: Integers) -> None:
        """Add tangents of the norm "2" until they give the least norm in the closure of a cell."""
        m = len(self.ball.active)
        A, b = self._cell(pattern, False, 0.0)
        A[:, -1], cost = 0.0, np.append(np.zeros(2 * m), 1.0)
        A[-1, -1] = -sqrt(m)
        box = [(-float(self.factor), float(self.factor))] * m + [(0.0, None)] * (m + 1)
        for _ in range(TANGENTS):
            extra = [np.concatenate([g, np.zeros(m), [-1.0]])[None] for g in self.cuts]
            found = linprog(cost, np.vstack([A, *extra]), np.append(b, np.zeros(len(extra))), bounds=box)
            if found.x is None or float(np.linalg.norm(found.x[:m])) <= found.x[-1] * (1 + CLOSE):
                return
            self.cuts.append(found.x[:m] / np.linalg.norm(found.x[:m]))

    def _cell(self, pattern: Integers, both: bool, most: float) -> tuple[Floats, Floats]:
        """Return rows over e, its absolute values and the distance: the cell and, as far as it is linear, the ball."""
        m, fires = len(self.ball.active), pattern.astype(bool)
        slack = np.where(fires, 1.0 if both else 0.0, 1.0)[:, None]
        sign = np.where(fires, -1.0, 1.0)[:, None]
        rows = np.hstack([sign * self.A, np.zeros((len(self.c), m)), slack])
        sizes = np.vstack([np.hstack([s * np.eye(m), -np.eye(m), np.zeros((m, 1))]) for s in (1.0, -1.0)])
        room = {"inf": float(m), "1": 1.0, "2": sqrt(m)}[self.ball.norm] * most
        total = np.concatenate([np.zeros(m), np.ones(m), np.zeros(1)])[None]
        limits = np.concatenate([-sign[:, 0] * self.c, np.zeros(2 * m), [room]])
        return np.vstack([rows, sizes, total]), limits

    def delta(self, e: Floats) -> Floats:
        """Return a perturbation in grid units, shape (d,)."""
        full = np.zeros(len(self.ball.radius))
        full[self.ball.active] = e * self.ball.radius[self.ball.active]
        return full
