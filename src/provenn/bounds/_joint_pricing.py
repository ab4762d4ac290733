"""The units of the joint hull bound: listed where they are few, else found by search and priced exactly."""

from math import prod

import numpy as np

from provenn.bounds._hull_pricing import COST_SUM, RANDOM_UNITS, Columns, Effort, Source
from provenn.bounds._hull_regions import INT64_SAFE
from provenn.bounds._hull_types import Proofs
from provenn.bounds._joint_types import Floats, Integers, JointCut, JointProblem
from provenn.status import Status

RUN_WORK = 4e6
FEWEST_RUNS, MOST_RUNS, MOST_NEW = 8, 60, 20
MOST_LISTED = 2**17
MOST_PATTERNS = 20_000
LISTED_WORK = 2**26


class Units(Source):
    """Known units, and exact answers about all of them."""

    def __init__(self, problem: JointProblem, largest: int, seed: int) -> None:
        """List all units where they are few, else a few random ones."""
        super().__init__(problem.units, Columns(problem.units, sided=False), problem.sides, seed)
        self.problem = problem
        self.most_quotient = INT64_SAFE // (4 * largest)
        self.listed = self._list()
        self._cast: Floats = np.zeros((0, len(problem.units.X)))

    def _list(self) -> bool:
        """Add all units if there are few, else random ones; say which."""
        low, high, step = self.boxes[1]
        counts = [int(count) for count in (high - low) // step + 1]
        neurons = prod(counts)
        few = neurons <= min(MOST_LISTED, LISTED_WORK // len(self.problem.units.X))
        for side, (first, _, width) in self.boxes.items():
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
            self.find(-g, least, first, runs, MOST_NEW)

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
            worst, proofs, whole = self.price(-slopes[i], allowed, effort)
            done[key], complete = (worst, proofs), complete and whole
            slack = max(0, slack - keys.count(key) * max(0, worst - known[i]))
        return JointCut(slopes, quotient, tuple(done[k][0] for k in keys), tuple(done[k][1] for k in keys)), complete

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
            status = self.gather(-g, (int(np.abs(g).sum()) - worst + room) // 2, most, effort)
            if status is not Status.OPTIMAL:
                return status
        return Status.OPTIMAL
