"""The units of the joint hull bound: listed where they are few, else found by search and priced exactly."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from provenn.bounds import agreement
from provenn.bounds._hull_pricing import TIE, Columns
from provenn.bounds._hull_regions import INT64_SAFE
from provenn.bounds._hull_search import search
from provenn.bounds._joint_types import Floats, Integers, JointCut, JointProblem
from provenn.bounds.agreement import Leaves as AgreementLeaves
from provenn.milp.result import Limits
from provenn.status import Status

COST_SUM = 2**27
RUN_WORK = 4e6
FEWEST_RUNS, MOST_RUNS, MOST_NEW = 8, 60, 20
RANDOM_UNITS = 8
MOST_LISTED = 2**17
MOST_PATTERNS = 20_000
LISTED_WORK = 2**26

Proofs = tuple[tuple[int, int, AgreementLeaves | None], ...]


@dataclass(frozen=True)
class Effort:
    """What exact pricing may take.

    Parameters
    ----------
    limits : Limits
        Threads and memory; under a limit on nodes time does not count, so that results repeat.
    until : float
        Value of `time.perf_counter` at which to stop.
    record : bool
        Keep the leaves of proofs.
    stopped : callable
    """

    limits: Limits
    until: float
    record: bool
    stopped: Callable[[], bool]

    def left(self, nodes: int) -> Limits:
        """Return the limits of one search when earlier ones took some nodes."""
        seconds = max(0.0, self.until - time.perf_counter())
        left = None if self.limits.nodes is None else max(0, self.limits.nodes - nodes)
        return replace(self.limits, seconds=seconds, nodes=left)


class Units:
    """Known units, and exact answers about all of them."""

    def __init__(self, problem: JointProblem, largest: int, seed: int) -> None:
        """List all units where they are few, else a few random ones."""
        self.problem, self.rng = problem, np.random.default_rng(seed)
        units, bias = problem.units, problem.units.bias or (0, 0, 1)
        self.columns = Columns(units, sided=False)
        one = np.ones((1, len(units.X)))
        self.A: Floats = np.ascontiguousarray(np.concatenate([units.X.T.astype(np.float64), units.scale * one]))
        low, high = np.append(units.low, bias[0]), np.append(units.high, bias[1])
        step = np.append(np.full(len(units.low), units.step), bias[2])
        boxes = {1: np.array([low, high, step]), -1: np.array([-high, -low, step])}
        self.domains = {side: boxes[side].astype(np.float64) for side in problem.sides}
        self.most_quotient = INT64_SAFE // (4 * largest)
        self.listed = self._list(low, high, step)
        self.nodes = 0
        self._cast: Floats = np.zeros((0, len(units.X)))

    def _list(self, low: Integers, high: Integers, step: Integers) -> bool:
        """Add all units if there are few, else random ones; say which."""
        counts = [int(count) for count in (high - low) // step + 1]
        neurons = prod(counts)
        few = neurons <= min(MOST_LISTED, LISTED_WORK // len(self.problem.units.X))
        for side in self.problem.sides:
            first, width = (low, step) if side > 0 else (-high, step)
            if few:
                places = np.stack(np.unravel_index(np.arange(neurons), counts), axis=1)
            else:
                places = self.rng.integers(0, np.array(counts), (RANDOM_UNITS, len(counts)))
            self.columns.add(first + width * places, side)
        return few and len(self.columns) <= MOST_PATTERNS

    def __len__(self) -> int:
        """Return the number of known units."""
        return len(self.columns)

    @property
    def patterns(self) -> Floats:
        """Signs of the known units as floats, shape (K, n)."""
        if len(self._cast) < len(self.columns):
            new = self.columns.patterns[len(self._cast) :].astype(np.float64)
            self._cast = np.concatenate([self._cast, new])
        return self._cast

    def search(self, slopes: Floats) -> None:
        """Add units that agree with the slopes of any place, shape (h, n), better than all known ones."""
        if self.listed:
            return
        D, n = self.A.shape
        runs = int(np.clip(RUN_WORK / (D * D * n), FEWEST_RUNS, MOST_RUNS))
        for g in slopes:
            values = -(self.patterns @ g)
            least, first = float(values.max()), np.argsort(-values, kind="stable")[:8]
            for side, domain in self.domains.items():
                starts = (self.columns.sides[first, None] * self.columns.neurons[first]).astype(np.float64)
                starts = np.clip(starts, domain[0], domain[1])
                found, draws = np.empty((len(starts) + runs, D)), self.rng.random((runs, 2 * max(2, D // 6)))
                agreements = search(self.A, -g, TIE * side, domain, starts, draws, found)
                order = np.argsort(-agreements, kind="stable")
                better = order[agreements[order] > least + 1e-9 * abs(least)]
                self.columns.add(np.rint(found[better]).astype(np.int64), side, MOST_NEW)

    def rounded(self, slopes: Floats) -> tuple[Integers, int]:
        """Return slopes of shape (h, n) as integers, with their quotient."""
        largest = float(np.abs(slopes).sum(axis=1).max(initial=0.0))
        quotient = 2 * max(1, min(self.most_quotient, int(COST_SUM / max(1.0, largest))))
        return np.rint(quotient * slopes).astype(np.int64), quotient

    def known(self, slopes: Integers) -> list[int]:
        """Return for each place the best agreement of a known unit."""
        patterns = self.columns.patterns
        return [max(int((patterns @ -g).max(initial=-int(np.abs(g).sum()))), -int(np.abs(g).sum())) for g in slopes]

    def cut(self, slopes: Integers, quotient: int, needed: int | None, effort: Effort) -> tuple[JointCut, bool]:
        """Prove how well units can agree with slopes; add the best units found.

        Parameters
        ----------
        slopes : ndarray of shape (h, n), int64
        quotient : int
        needed : int or None
            A sum of agreements that is low enough: no less is proven.
        effort : Effort

        Returns
        -------
        JointCut
        bool
            Whether the proofs are complete.
        """
        known = self.known(slopes)
        if self.listed:
            return JointCut(slopes, quotient, tuple(known)), True
        keys = [g.tobytes() for g in slopes]
        slack, complete = (0 if needed is None else max(0, needed - sum(known))), True
        done: dict[bytes, tuple[int, Proofs]] = {}
        for i, key in enumerate(keys):
            if key in done:
                continue
            allowed = known[i] + slack // len([other for other in keys if other not in done])
            worst, proofs, whole = self._price(slopes[i], allowed, effort)
            done[key], complete = (worst, proofs), complete and whole
            slack = max(0, slack - keys.count(key) * max(0, worst - known[i]))
        return JointCut(slopes, quotient, tuple(done[k][0] for k in keys), tuple(done[k][1] for k in keys)), complete

    def _price(self, g: Integers, allowed: int, effort: Effort) -> tuple[int, Proofs, bool]:
        """Return a bound on the agreement with the slopes of one place, its proofs, and whether it is as good as any.

        Parameters
        ----------
        allowed : int
            An agreement that is low enough.
        """
        total = int(np.abs(g).sum())
        cutoff, worst, whole, proofs = (total - allowed + 1) // 2, allowed, True, []
        for side in self.problem.sides:
            problem = self.problem.units.agreement(-g, side)
            result = agreement.minimise(
                problem, effort.left(self.nodes), cutoff=cutoff, record=effort.record, stopped=effort.stopped
            )
            self.nodes += result.nodes
            if result.w is not None and result.value is not None:
                self.columns.add(np.append(result.w, result.b)[None], side)
                cutoff = min(cutoff, result.value)
            proofs.append((side, result.bound, result.leaves))
            worst = max(worst, total - 2 * result.bound)
            whole &= result.status is Status.OPTIMAL
        return worst, tuple(proofs), whole

    def collect(self, cut: JointCut, places: Integers, room: int, most: int, effort: Effort) -> Status:
        """Add every unit whose agreement with the slopes of one of some places is within `room` of the cut's.

        Returns
        -------
        Status
            OPTIMAL when all are there, MEMORY_LIMIT when there are more than `most`, else TIME_LIMIT.
        """
        if self.listed or room < 0:
            return Status.OPTIMAL
        wanted = {cut.slopes[i].tobytes(): (cut.slopes[i], cut.agreement[i]) for i in places.tolist()}
        for g, worst in wanted.values():
            status = self._collect(g, (int(np.abs(g).sum()) - worst + room) // 2, most, effort)
            if status is not Status.OPTIMAL:
                return status
        return Status.OPTIMAL

    def _collect(self, g: Integers, threshold: int, most: int, effort: Effort) -> Status:
        """Add every unit whose disagreement with slopes is at most a threshold."""
        for side in self.problem.sides:
            problem = self.problem.units.agreement(-g, side)
            found = agreement.collect(problem, threshold, effort.left(self.nodes), most=most, stopped=effort.stopped)
            self.nodes += found.nodes
            self.columns.add(np.column_stack([found.w, found.b]), side)
            if not found.complete:
                return Status.MEMORY_LIMIT if len(found.values) >= most else Status.TIME_LIMIT
        return Status.OPTIMAL
