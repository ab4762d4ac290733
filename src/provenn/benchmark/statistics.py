"""Figures of many runs: means and deviations, paired differences, time to target, primal integral."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Any

Row = dict[str, Any]
Curve = Sequence[Sequence[float | None]]
"""Points (seconds, best objective or None, proven bound or None) in order of time."""
SLACK = 1e-6
WITHIN = 0.01
"""Share by which the best of all methods may be missed where a task has no published objective."""


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1) of n numbers; the deviation of one number is 0."""

    mean: float
    sd: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Spread | None":
        """Return the spread of the numbers that are there, or None where there are none.

        Examples
        --------
        >>> Spread.of([1.0, None, 3.0])
        Spread(mean=2.0, sd=1.4142135623730951, n=2)
        """
        numbers = [float(value) for value in values if value is not None]
        if not numbers:
            return None
        mean = sum(numbers) / len(numbers)
        squares = sum((number - mean) ** 2 for number in numbers)
        return cls(mean, sqrt(squares / (len(numbers) - 1)) if len(numbers) > 1 else 0.0, len(numbers))


@dataclass(frozen=True)
class Paired:
    """Differences ours - theirs on the same splits."""

    difference: Spread
    better: int
    worse: int

    @classmethod
    def of(cls, ours: Mapping[int, float | None], theirs: Mapping[int, float | None]) -> "Paired | None":
        """Compare by seed; None where no seed has both.

        Examples
        --------
        >>> Paired.of({0: 81.0, 1: 80.0}, {0: 80.0, 1: 80.0, 2: 99.0})
        Paired(difference=Spread(mean=0.5, sd=0.7071067811865476, n=2), better=1, worse=0)
        """
        pairs = [(mine, theirs.get(seed)) for seed, mine in ours.items()]
        differences = [mine - other for mine, other in pairs if mine is not None and other is not None]
        spread = Spread.of(differences)
        if spread is None:
            return None
        return cls(spread, sum(d > 0 for d in differences), sum(d < 0 for d in differences))


@dataclass(frozen=True)
class Slower:
    """Seconds to the proof as a multiple of the reference's, on the same splits.

    Parameters
    ----------
    ratio : float
        Sum of the method's seconds over that of the reference; a run without a proof counts until it stopped.
    limit : "", ">" or "<"
        ">" where a run of the method found no proof, so that the ratio is a lower bound; "<" where one of
        the reference did.
    """

    ratio: float
    limit: str

    @classmethod
    def of(cls, reference: Sequence[Row], rows: Sequence[Row]) -> "Slower | None":
        """Compare by seed; None where no seed has both, or both lack proofs.

        Examples
        --------
        >>> ours, theirs = {"seed": 0, "seconds": 2.0, "optimal": True}, {"seed": 0, "seconds": 60.0, "optimal": False}
        >>> Slower.of([ours], [theirs])
        Slower(ratio=30.0, limit='>')
        """
        ours = {row["seed"]: row for row in reference if row.get("seconds")}
        pairs = [(ours[row["seed"]], row) for row in rows if row["seed"] in ours and row.get("seconds")]
        proven, other = (all(pair[i].get("optimal") for pair in pairs) for i in (0, 1))
        if not pairs or not (proven or other):
            return None
        ratio = sum(row["seconds"] for _, row in pairs) / sum(row["seconds"] for row, _ in pairs)
        return cls(ratio, "" if proven and other else ">" if proven else "<")


def time_to_target(curve: Curve, target: float) -> float | None:
    """Return the seconds until the objective was at most the target, or None.

    Examples
    --------
    >>> time_to_target([(0.1, 9.0, None), (0.5, 4.0, 1.0)], 5.0)
    0.5
    """
    slack = 1e-9 * max(1.0, abs(target))
    return next((t for t, loss, *_ in curve if t is not None and loss is not None and loss <= target + slack), None)


def primal_gap(objective: float | None, best: float) -> float:
    """Return Berthold's gap in 0..1 of an objective to the best known one.

    1 without an objective or when the signs differ, 0 when both are equal, else
    ``|objective - best| / max(|objective|, |best|)``.

    References
    ----------
    Berthold: Measuring the impact of primal heuristics, 2013, doi:10.1016/j.orl.2013.08.007.
    """
    if objective is None:
        return 1.0
    if objective == best:
        return 0.0
    if objective * best < 0:
        return 1.0
    return abs(objective - best) / max(abs(objective), abs(best))


def primal_integral(curve: Curve, best: float, seconds: float) -> float:
    """Return the integral of the primal gap over the time 0..seconds, in seconds.

    A method that ends early keeps its last objective.

    Examples
    --------
    >>> primal_integral([(1.0, 8.0, None), (3.0, 4.0, None)], 4.0, 5.0)  # 1 * 1 + 2 * 0.5 + 2 * 0
    2.0
    """
    total, now, gap = 0.0, 0.0, 1.0
    for t, objective, *_ in curve:
        if t is None or t >= seconds:
            break
        total += gap * (t - now)
        now, gap = t, min(gap, primal_gap(objective, best))
    return total + gap * (seconds - now)


def gap_closed(bound: float | None, floor: float | None, best: float) -> float | None:
    """Return the share of what there was to prove that a bound proves: ``(bound - floor) / (best - floor)``.

    `best` is the lowest loss known, of all methods or published, and the floor is the bound that takes no work:
    every sample at the best score that it alone can reach, see `provenn.benchmark._child.trivial_floor`. 1 is a
    proof that `best` is optimal, 0 says nothing. None where one of the three is missing or the floor is `best`.

    Examples
    --------
    >>> gap_closed(14.0, 10.0, 18.0), gap_closed(0.0, 0.0, 0.0)
    (0.5, None)
    """
    if bound is None or floor is None or not floor < best < inf:
        return None
    return min(1.0, max(0.0, (bound - floor) / (best - floor)))


def finished(rows: Sequence[Row]) -> list[Row]:
    """Return copies of the rows with what needs all methods: target, time to target, primal integral, wrong bounds.

    The best objective is that of all methods on the same task and seed, or the known optimum.
    """
    best: dict[tuple[str, str, int], float] = {}
    for row in rows:
        key = (row["case"], row["task"], row["seed"])
        known = [value for value in (row.get("loss"), row.get("optimum")) if value is not None]
        best[key] = min([best.get(key, inf), *known])
    return [_finished(row, best[row["case"], row["task"], row["seed"]]) for row in rows]


def _finished(row: Row, best: float) -> Row:
    target = row.get("published_loss")
    if target is None and best < inf:
        target = best + WITHIN * abs(best)
    curve = row.get("curve") or []
    known = bool(curve) and best < inf and target is not None
    return {
        **row,
        "wrong": bool(row.get("wrong")) or _contradicts(row, best),
        "gap_closed": gap_closed(row.get("bound"), row.get("floor"), best),
        "target": target,
        "seconds_to_target": time_to_target(curve, target) if known and target is not None else None,
        "primal_integral": primal_integral(curve, best, row["limit"]) if known else None,
    }


def _contradicts(row: Row, best: float) -> bool:
    """Whether a bound lies above a loss that some method reached; known optima are compared in the run itself."""
    bound = row.get("bound")
    return bound is not None and row.get("optimum") is None and bound > best + SLACK * max(1.0, abs(best))


FIGURES = (
    "train_accuracy", "validation_accuracy", "test_accuracy", "loss", "bound", "gap", "gap_closed", "seconds",
    "seconds_to_target", "primal_integral", "peak_mib", "nodes", "nonzeros", "size_bits",
)  # fmt: skip


def summarise(rows: Sequence[Row], reference: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return one entry a task and method: spreads, counts, and paired differences.

    Parameters
    ----------
    rows : sequence of dict
        Of `finished`.
    reference : mapping of str to str
        The method that others are compared with, by case.
    """
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["task"], row["method"]), []).append(row)
    return [_entry(key, group, groups.get((*key[:2], reference[key[0]]), [])) for key, group in groups.items()]


def _entry(key: tuple[str, str, str], group: list[Row], reference: list[Row]) -> dict[str, Any]:
    case, task, method = key
    own = bool(reference) and reference[0]["method"] == method
    paired = None if own else Paired.of(_by_seed(reference), _by_seed(group))
    return {
        "case": case,
        "task": task,
        "method": method,
        "runs": len(group),
        "done": sum(row["status"] == "done" for row in group),
        "proven": sum(bool(row.get("optimal")) for row in group),
        "wrong": sum(bool(row.get("wrong")) for row in group),
        "reached": sum(row["seconds_to_target"] is not None for row in group),
        "notes": sorted({note for row in group if (note := _note(row))}),
        "published": group[0].get("published") or {},
        "published_loss": group[0].get("published_loss"),
        "ahead": paired,
        "slower": None if own else Slower.of(reference, group),
        **{name: Spread.of(row.get(name) for row in group) for name in FIGURES},
    }


def _note(row: Row) -> str:
    """Say what went wrong in a run, or nothing."""
    if row["status"] != "done":
        return f"{row['status']}: {row['note']}"
    return f"rejected: {row['note']}" if row.get("stopped") == "rejected" else ""


def _by_seed(rows: Sequence[Row]) -> dict[int, float | None]:
    return {row["seed"]: row.get("test_accuracy") for row in rows}
