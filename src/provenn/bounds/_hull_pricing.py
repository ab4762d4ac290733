"""The columns of the hull bound: units found by search, and the exact pricing that makes bounds of duals."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from provenn.bounds import agreement
from provenn.bounds._hull_regions import INT64_SAFE, largest_sum
from provenn.bounds._hull_search import search
from provenn.bounds._hull_types import Cut, Floats, HullProblem, Integers, Proofs, Signs
from provenn.milp.result import Limits
from provenn.status import Status

COST_SUM = 2**27
RUN_WORK = 2e7
FEWEST_RUNS, MOST_RUNS = 12, 400
MOST_NEW = 40
RANDOM_UNITS = 8
TIE = 0.5


class Columns:
    """Distinct units with their signs on all samples.

    Parameters
    ----------
    problem : HullProblem
    sided : bool
        Whether a unit and a mirrored unit of equal signs are different columns.
    """

    def __init__(self, problem: HullProblem, sided: bool) -> None:
        """Start without columns."""
        self.problem, self.sided = problem, sided
        n, d = problem.X.shape
        self.patterns: Signs = np.zeros((0, n), dtype=np.int8)
        self.sides: Signs = np.zeros(0, dtype=np.int8)
        self.neurons: Integers = np.zeros((0, d + 1), dtype=np.int64)
        self._known: set[tuple[bytes, int]] = set()

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self.patterns)

    def add(self, neurons: Integers, side: int, most: int | None = None) -> Integers:
        """Add units that are new, given as (w, b) of the neuron whose signs, with -1 at 0 for side -1, they have.

        Returns
        -------
        ndarray of shape (added,), int64
            Indices of the given units that were added.
        """
        problem = self.problem
        scores = neurons[:, :-1] @ problem.X.T + problem.scale * neurons[:, -1:]
        patterns = np.where(scores >= (0 if side > 0 else 1), 1, -1).astype(np.int8)
        added: list[int] = []
        for i, pattern in enumerate(patterns):
            key = pattern.tobytes(), side if self.sided else 0
            if key not in self._known and (most is None or len(added) < most):
                self._known.add(key)
                added.append(i)
        chosen = np.array(added, dtype=np.int64)
        self.patterns = np.concatenate([self.patterns, patterns[chosen]])
        self.sides = np.append(self.sides, np.full(len(chosen), side, dtype=np.int8))
        self.neurons = np.concatenate([self.neurons, side * neurons[chosen]])
        return chosen


@dataclass(frozen=True)
class Effort:
    """What exact pricing may take.

    Parameters
    ----------
    limits : callable
        Asked before every search for the limits of this one: what earlier ones took is no longer there.
    record : bool
        Keep the leaves of proofs.
    stopped : callable
    """

    limits: Callable[[], Limits]
    record: bool
    stopped: Callable[[], bool]


class Source:
    """Units that agree with wanted signs: by search, and all of them or the best one exactly.

    Parameters
    ----------
    units : HullProblem
    columns : Columns
        Get what is found.
    sides : tuple of int
        1 for units, -1 for mirrored units.
    seed : int
    """

    def __init__(self, units: HullProblem, columns: Columns, sides: tuple[int, ...], seed: int) -> None:
        """Prepare the arrays of the compiled search."""
        self.columns, self.sides, self.rng = columns, sides, np.random.default_rng(seed)
        self._units, one, bias = units, np.ones((1, len(units.X))), units.bias or (0, 0, 1)
        self.A: Floats = np.ascontiguousarray(np.concatenate([units.X.T.astype(np.float64), units.scale * one]))
        low, high = np.append(units.low, bias[0]), np.append(units.high, bias[1])
        step = np.append(np.full(len(units.low), units.step), bias[2])
        self.boxes = {side: np.array([low, high, step] if side > 0 else [-high, -low, step]) for side in sides}
        self.domains = {side: box.astype(np.float64) for side, box in self.boxes.items()}
        self.exact = self.nodes = 0

    def find(self, wanted: Floats, least: float, best: Integers, runs: int, most: int) -> None:
        """Add units that agree with the wanted signs better than `least`.

        Parameters
        ----------
        wanted : ndarray of shape (n,)
            Signs with weights.
        least : float
        best : ndarray of shape (s,), int64
            Columns to begin with.
        runs : int
        most : int
            Units to add for each side.
        """
        D = len(self.A)
        for side, domain in self.domains.items():
            starts = (self.columns.sides[best, None] * self.columns.neurons[best]).astype(np.float64)
            starts = np.clip(starts, domain[0], domain[1])
            found, draws = np.empty((len(starts) + runs, D)), self.rng.random((runs, 2 * max(2, D // 6)))
            values = search(self.A, wanted, TIE * side, domain, starts, draws, found)
            order = np.argsort(-values, kind="stable")
            better = order[values[order] > least + 1e-9 * abs(least)]
            self.columns.add(np.rint(found[better]).astype(np.int64), side, most)

    def price(self, wanted: Integers, allowed: int, effort: Effort) -> tuple[int, Proofs, bool]:
        """Return a bound on the agreement with wanted signs, its proofs, and whether it is as good as any.

        Parameters
        ----------
        wanted : ndarray of shape (n,), int64
        allowed : int
            An agreement that is low enough: no less is proven.
        effort : Effort
        """
        total = int(np.abs(wanted).sum())
        cutoff, worst, whole, proofs = (total - allowed + 1) // 2, allowed, True, []
        for side in self.sides:
            problem = self._units.agreement(wanted, side)
            result = agreement.minimise(
                problem, effort.limits(), cutoff=cutoff, record=effort.record, stopped=effort.stopped
            )
            self.exact, self.nodes = self.exact + 1, self.nodes + result.nodes
            if result.w is not None and result.value is not None:
                self.columns.add(np.append(result.w, result.b)[None], side)
                cutoff = min(cutoff, result.value)
            proofs.append((side, result.bound, result.leaves))
            worst = max(worst, total - 2 * result.bound)
            whole &= result.status is Status.OPTIMAL
        return worst, tuple(proofs), whole

    def gather(self, wanted: Integers, threshold: int, most: int, effort: Effort) -> Status:
        """Add every unit whose disagreement with wanted signs is at most a threshold.

        Returns
        -------
        Status
            OPTIMAL when all are there, MEMORY_LIMIT when there are more than `most`, else TIME_LIMIT.
        """
        for side in self.sides:
            problem = self._units.agreement(wanted, side)
            found = agreement.collect(problem, threshold, effort.limits(), most=most, stopped=effort.stopped)
            self.nodes += found.nodes
            self.columns.add(np.column_stack([found.w, found.b]), side)
            if not found.complete:
                return Status.MEMORY_LIMIT if len(found.values) >= most else Status.TIME_LIMIT
        return Status.OPTIMAL


class Pricing(Source):
    """Finds units of high agreement and proves that there is none of a higher one."""

    def __init__(self, problem: HullProblem, columns: Columns, seed: int) -> None:
        """Prepare the search for units and for mirrored units."""
        super().__init__(problem, columns, (1, -1), seed)
        self.problem, self.most_quotient = problem, 1

    def begin(self) -> None:
        """Add a few random units and mirrored units, and note how finely slopes can be rounded."""
        self.most_quotient = INT64_SAFE // (2 * largest_sum(self.problem))
        for side, (low, high, step) in self.domains.items():
            count = np.rint((high - low) / step).astype(np.int64) + 1
            neurons = low + step * self.rng.integers(0, count, (RANDOM_UNITS, len(low)))
            self.columns.add(np.rint(neurons).astype(np.int64), side)

    def search(self, wanted: Floats, best: Integers, effort: float = 1.0) -> None:
        """Add units that agree with the wanted signs better than all columns.

        Parameters
        ----------
        wanted : ndarray of shape (n,)
            Signs with weights.
        best : ndarray of shape (s,), int64
            Columns to begin with.
        effort : float
            Multiple of the usual number of runs.
        """
        D, n = self.A.shape
        runs = int(np.clip(effort * RUN_WORK / (D * D * n), FEWEST_RUNS, MOST_RUNS * effort))
        self.find(wanted, float((self.columns.patterns @ wanted).max()), best, runs, MOST_NEW)

    def cut(self, slopes: Floats, needed: Callable[[Integers, int], int | None], effort: Effort) -> tuple[Cut, bool]:
        """Prove how well a unit can agree with slopes, rounded to integers; add the best unit found.

        Parameters
        ----------
        slopes : ndarray of shape (n,)
            Duals g_k, in units per step of the score.
        needed : callable
            Takes the rounded slopes with their quotient and returns an agreement that is low enough, or None: no
            less is proven.
        effort : Effort

        Returns
        -------
        Cut
        bool
            Whether the proof is complete.
        """
        m = self.problem.multiplicity
        quotient = 2 * max(1, min(self.most_quotient, int(COST_SUM / max(1.0, float(m @ np.abs(slopes))))))
        rounded = np.rint(quotient * slopes).astype(np.int64)
        wanted = -m * rounded
        enough, total = needed(rounded, quotient), int(np.abs(wanted).sum())
        agreements = self.columns.patterns @ wanted
        known = max(int(agreements.max(initial=-total)), -total if enough is None else enough)
        worst, proofs, complete = self.price(wanted, known, effort)
        return Cut(rounded, quotient, worst, proofs), complete

    def collect(self, cut: Cut, room: int, most: int, effort: Effort) -> Status:
        """Add every unit whose agreement is within `room` of a cut's; see `gather`."""
        wanted = -self.problem.multiplicity * cut.slopes
        threshold = (int(np.abs(wanted).sum()) - cut.agreement + room) // 2
        return Status.OPTIMAL if threshold < 0 else self.gather(wanted, threshold, most, effort)
