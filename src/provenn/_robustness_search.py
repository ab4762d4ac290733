"""Exact answers about one sample: in closed form without hidden layers, by mixed-integer programs with them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import inf, isqrt

import numpy as np

from provenn._robustness_ball import Ball, Counterexample, Floats, Integers, changes
from provenn._robustness_model import Around
from provenn.milp import Limits
from provenn.network import IntegerNetwork
from provenn.solvers import Solver
from provenn.status import Status

ROUNDS = 60
ROOT_BITS = 40
NEAR = 1e-5
FAR = 1e-6


@dataclass(frozen=True)
class Nearest:
    """What a search for the nearest change found, in multiples of the radius.

    Parameters
    ----------
    bound : float
        Nothing changes within less; infinite where nothing changes at all within the largest multiple.
    witness : Counterexample or None
    distance : float
        Where the witness lies.
    """

    bound: float
    witness: Counterexample | None = None
    distance: float = inf


@dataclass(frozen=True)
class Search:
    """A search around one sample.

    Parameters
    ----------
    network : IntegerNetwork
    sample : ndarray of shape (d,), int64
    ball : Ball
    solver : Solver
    until : float
        `time.monotonic()` when it ends.
    factor : int
        Largest multiple of the radius that counts.
    tolerance : float or None
        How near a witness must come to the bound, relatively; None accepts any.
    """

    network: IntegerNetwork
    sample: Integers
    ball: Ball
    solver: Solver
    until: float
    factor: int = 1
    tolerance: float | None = None

    def run(self) -> Nearest:
        """Search all rival classes, each within what the ones before left."""
        if not self.network.architecture.hidden:
            return self._linear()
        around = Around(self.network, self.sample, self.ball, self.factor)
        best = Nearest(inf)
        for rival in rivals(self.network, self.sample):
            found = self._rival(around, rival, min(best.distance, float(self.factor)))
            nearer = found if found.distance < best.distance else best
            best = Nearest(min(best.bound, found.bound), nearer.witness, nearer.distance)
            if best.witness is not None and self.tolerance is None:
                break
        return best

    def _rival(self, around: Around, rival: int, most: float) -> Nearest:
        """Solve, realise what was found by a point, and solve again without cells that no point was found in."""
        excluded: list[Integers] = []
        best, lost, bound = Nearest(0.0), inf, 0.0
        for _ in range(ROUNDS):
            milp = around.model(rival, excluded, most)
            if milp is None:
                return replace(best, bound=lost)
            left = self.until - time.monotonic()
            if left <= 0:
                break
            solution = self.solver.solve(milp, Limits(seconds=left))
            if solution.status is Status.INFEASIBLE:
                return replace(best, bound=min(lost, most if most < self.factor else inf))
            bound = max(bound, _below(solution.bound))
            if solution.x is None:
                break
            e, pattern = (solution.x[milp.blocks[name]] for name in ("e", "u"))
            rho = float(solution.x[milp.blocks["rho"][0]])
            fires = np.rint(pattern).astype(np.int64)
            best = self._better(around, fires, best, rho)
            if self._done(best, min(bound, lost)) or solution.status is not Status.OPTIMAL:
                break
            if self.ball.norm == "2" and float(np.linalg.norm(e)) > rho * (1 + FAR):
                around.tighten(fires)
                continue
            if not around.proven_empty(fires):
                lost = min(lost, bound)
            excluded.append(fires)
        return replace(best, bound=min(lost, bound))

    def _done(self, best: Nearest, bound: float) -> bool:
        """Whether the witness is as near as asked for."""
        if best.witness is None:
            return False
        return self.tolerance is None or best.distance <= bound * (1 + self.tolerance) + 2 * NEAR

    def _better(self, around: Around, pattern: Integers, best: Nearest, rho: float) -> Nearest:
        """Return the nearer of a known witness and one with the given activations."""
        for room in self._rooms(rho):
            e = around.inner_point(pattern, room)
            found = Nearest(0.0) if e is None else self.nearest(around.delta(e))
            if found.witness is not None:
                return replace(found, bound=best.bound) if found.distance < best.distance else best
        return best

    def _rooms(self, rho: float) -> Iterator[float]:
        """Yield multiples of the radius in which to look for a point of a cell that begins at rho."""
        if self.tolerance is not None:
            near = rho * (1 + self.tolerance / 2) + NEAR
            yield from (room for room in (near, 2 * near) if room < self.factor)
        yield float(self.factor)

    def nearest(self, delta: Floats) -> Nearest:
        """Return the perturbation as a witness if exact forward passes confirm it, on the grid where it is nearest."""
        best = Nearest(0.0)
        for found in changes(self.network, self.sample, self.outer, delta[None]):
            distance = self.ball.factor_of(found.perturbation(self.sample), found.factor)
            if distance < best.distance:
                best = Nearest(0.0, found, distance)
            if self.tolerance is None:
                break
        return best

    @property
    def outer(self) -> Ball:
        """The ball of the largest multiple."""
        return Ball(self.ball.radius * self.factor, self.ball.norm)

    def _linear(self) -> Nearest:
        """Return the nearest change without hidden layers: the lead over the dual norm of the difference."""
        W = self.network.weights[0]
        best = Nearest(inf)
        for rival in rivals(self.network, self.sample):
            lead, w = _difference(self.network, self.sample, W, rival)
            size = _dual_norm(w, self.ball)
            reached = self.factor * size
            if size == 0 or lead > reached or (lead == reached and not _wins_ties(self.network, self.sample, rival)):
                continue
            distance = float(Fraction(lead) / size)
            found = self._linear_witness(-w.astype(np.float64), distance)
            nearer = found if found.distance < best.distance else best
            below = float(np.nextafter(distance, -inf)) if distance else 0.0
            best = Nearest(min(best.bound, below), nearer.witness, nearer.distance)
        return best

    def _linear_witness(self, direction: Floats, distance: float) -> Nearest:
        """Return a point a little beyond the boundary, or on it."""
        corner = self.ball.corners(direction[None])[0]
        for room in (distance, *self._rooms(distance)):
            found = self.nearest(corner * room)
            if found.witness is not None:
                return found
        return Nearest(0.0)


def rivals(network: IntegerNetwork, sample: Integers) -> list[int]:
    """Return the other classes, those with the best scores first."""
    scores = network.scores(sample[None])[0]
    if len(scores) == 1:
        return [int(scores[0] < 0)]
    label = int(network.predict(sample[None])[0])
    return [int(j) for j in np.argsort(-scores, kind="stable") if j != label]


def _difference(network: IntegerNetwork, sample: Integers, W: Integers, rival: int) -> tuple[int, Integers]:
    """Return by how much the prediction leads a rival, and the weights of that lead."""
    scores = network.scores(sample[None])[0]
    if len(scores) == 1:
        sign = 1 if rival == 0 else -1
        return sign * int(scores[0]), sign * W[:, 0]
    label = int(network.predict(sample[None])[0])
    return int(scores[label] - scores[rival]), W[:, label] - W[:, rival]


def _wins_ties(network: IntegerNetwork, sample: Integers, rival: int) -> bool:
    """Whether the rival class is predicted at equal scores, or at the score 0 of the only output."""
    label = int(network.predict(sample[None])[0])
    return rival == 1 if network.architecture.n_outputs == 1 else rival < label


def _dual_norm(w: Integers, ball: Ball) -> Fraction:
    """Return the largest ``|w . delta|`` in a ball; for the norm "2" rounded up by less than a billionth."""
    moved = [abs(int(a)) * int(R) for a, R in zip(w, ball.radius, strict=True)]
    if ball.norm == "inf":
        return Fraction(sum(moved))
    if ball.norm == "1":
        return Fraction(max(moved, default=0))
    total = sum(value * value for value in moved) << ROOT_BITS
    root = isqrt(total)
    return Fraction(root if root * root == total else root + 1, 1 << ROOT_BITS // 2)


def _below(bound: float | None) -> float:
    """Return a solver's bound, lowered by its float error; at least 0."""
    return 0.0 if bound is None else max(0.0, bound - 1e-9 - 1e-7 * abs(bound))
