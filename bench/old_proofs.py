"""Old proofs on new data: cross-validation folds, flipped labels, samples that leave or come in, moved features.

One neuron with the logistic loss on heart, breast cancer and Adult. The splits of a search for one set of samples bound
the optimum for another (`lower_bound`), and start its search (`warm_start`). Columns: how many old weights are shown to
be within 5 % and 1 % of the new optimum, with old points as they are (effort 0) and moved (effort 1); mean milliseconds
of that bound, of a fresh search, of one that is given the old weights, and of the warm start; relaxations of these
three. All are CPU time of this process, measured side by side. The last table leaves one sample out at a time.

    python bench/old_proofs.py --data DIR --tasks "heart P=1,adult 280 P=1"
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench._data import SCALE, grid, some_adult, some_heart

from provenn.benchmark import Rows
from provenn.bounds.convex import ConvexProblem, minimise
from provenn.bounds.convex_proof import KeptSearch, OldProof, minimise_and_keep
from provenn.losses.logistic import LogisticCurve
from provenn.milp import Limits

FOLDS, COUNTS, SIGMA = 5, (1, 3, 10), 0.01
NODE = 2  # relaxations a node of a fresh search: both halves
Case = tuple[str, ConvexProblem, ConvexProblem]


def neuron(rows: Rows, bound: int) -> ConvexProblem:
    """Return the problem of one neuron with weights up to a bound and temperature 1."""
    X, n = rows.X.astype(np.int64), len(rows.y)
    box = np.full(X.shape[1], bound)
    whole = ConvexProblem(
        X, np.where(rows.y > 0, 1, -1), np.ones(n, dtype=np.int64), LogisticCurve(float(SCALE)), SCALE, -box, box, 1,
        (-bound, bound, 1),
    )  # fmt: skip
    return part(whole, np.ones(n, dtype=np.bool_))


def part(problem: ConvexProblem, kept: NDArray[np.bool_]) -> ConvexProblem:
    """Return the problem on some samples; weights of columns that do not vary there are 0."""
    X = problem.X[kept]
    box = np.where(X.min(axis=0) == X.max(axis=0), 0, problem.high)
    return replace(problem, X=X, t=problem.t[kept], multiplicity=problem.multiplicity[kept], low=-box, high=box)


def instances(data: Path) -> dict[str, Callable[[], ConvexProblem]]:
    """Return the panel by names."""
    from sklearn.datasets import load_breast_cancer

    heart, cancer = some_heart(data, 217, 0).train, load_breast_cancer()
    rows = Rows(grid(cancer.data), cancer.target.astype(np.int64))
    panel = {f"heart P={P}": lambda P=P: neuron(heart, P) for P in (1, 3, 5)}
    panel |= {f"breast cancer P={P}": lambda P=P: neuron(rows, P) for P in (1, 5)}
    return panel | {f"adult {n} P=1": lambda n=n: neuron(some_adult(data, n, 0).train, 1) for n in (280, 800)}


def changes(whole: ConvexProblem, times: int) -> Iterator[Case]:
    """Yield kind, old problem and new problem."""
    rng, n = np.random.default_rng(0), len(whole.t)
    fold = rng.permutation(n) % FOLDS
    folds = [part(whole, fold != i) for i in range(FOLDS)][: times + 1]
    yield from (("full set to fold", whole, one) for one in folds[:times])
    yield from (("fold to fold", one, two) for one, two in pairwise(folds))
    moving = np.array([len(np.unique(column)) > 2 for column in whole.X.T])
    for k in COUNTS if times > 1 else COUNTS[:1]:
        for _ in range(min(times, 3)):
            chosen = np.isin(np.arange(n), rng.choice(n, k, replace=False))
            yield f"{k} flipped", whole, replace(whole, t=np.where(chosen, -whole.t, whole.t))
            yield f"{k} removed", whole, part(whole, ~chosen)
            yield f"{k} added", part(whole, ~chosen), whole
    for sigma in (SIGMA, SIGMA / 10) if times > 1 else (SIGMA,):
        for _ in range(min(times, 3)):
            noise = np.rint(SCALE * sigma * rng.normal(size=whole.X.shape)).astype(np.int64) * moving
            yield f"sigma {sigma}", whole, replace(whole, X=whole.X + noise)


def timed(work: Callable[[], object]) -> tuple[object, float]:
    """Return a result and its CPU milliseconds."""
    began = time.process_time()
    return work(), 1000 * (time.process_time() - began)


@dataclass
class Row:
    """Sums over the cases of one kind."""

    cases: int = 0
    close: int = 0
    shown: dict[tuple[int, float], int] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, amount: float) -> None:
        """Add to a sum."""
        self.spent[name] = self.spent.get(name, 0.0) + amount

    def line(self, name: str, kind: str) -> str:
        """Return the row as Markdown, with means."""
        shown = " | ".join(f"{self.shown.get(key, 0)}" for key in ((0, 0.05), (1, 0.05), (1, 0.01)))
        mean = {key: total / self.cases for key, total in self.spent.items()}
        times = " | ".join(f"{mean[key]:.1f}" for key in ("bound", "fresh", "given", "warm"))
        counts = " | ".join(f"{mean[key]:,.0f}" for key in ("fresh n", "given n", "warm n"))
        return f"| {name} | {kind} | {self.cases} | {self.close} | {shown} | {times} | {counts} |"


def measure(row: Row, old: KeptSearch, new: ConvexProblem, limits: Limits) -> None:
    """Bound and search a new problem, from an old search and without it."""
    known = np.clip(old.result.w, new.low, new.high), old.result.b
    value = new.value(*known)
    for effort, gap in ((0, 0.05), (1, 0.01), (1, 0.05)):
        goal, proof = int(np.ceil((1 - gap) * value)), OldProof(old.tree, new)
        shown, spent = timed(lambda p=proof, g=goal, e=effort: p.proves(g, e))
        row.shown[effort, gap] = row.shown.get((effort, gap), 0) + bool(shown)
    row.add("bound", spent)
    fresh, spent = timed(lambda: minimise(new, limits))
    row.add("fresh", spent)
    row.add("fresh n", NODE * fresh.nodes)
    given, spent = timed(lambda: minimise(new, limits, known))
    row.add("given", spent)
    row.add("given n", NODE * given.nodes)
    warm, spent = timed(lambda: OldProof(old.tree, new).resume(known, limits))
    row.add("warm", spent)
    row.add("warm n", warm.relaxations)
    row.cases += 1
    row.close += value * 0.95 <= fresh.value
    found = warm.result
    if (found.bound, fresh.bound) == (found.value, fresh.value) and found.value != fresh.value:
        raise AssertionError("two proven optima differ")


def table(name: str, whole: ConvexProblem, times: int, limits: Limits) -> None:
    """Print the rows of one instance."""
    rows, known = dict[str, Row](), dict[int, KeptSearch]()
    for kind, old, new in changes(whole, times):
        if id(old) not in known:
            known[id(old)] = minimise_and_keep(old, limits)
        measure(rows.setdefault(kind, Row()), known[id(old)], new, limits)
    for kind, row in rows.items():
        print(row.line(name, kind), flush=True)


def leave_one_out(name: str, whole: ConvexProblem, limits: Limits, compared: int) -> None:
    """Print what it takes to solve the problem without each sample, and how far the derivative foretells that."""
    kept, n = minimise_and_keep(whole, limits), len(whole.t)
    known, value = (kept.result.w, kept.result.b), kept.result.value
    losses = whole.curve.exact(whole.t * (whole.X @ known[0] + whole.scale * known[1]))
    foretold = OldProof(kept.tree, whole).grad(known).multiplicity
    spent, values, fresh = 0.0, np.zeros(n), 0.0
    for i in range(n):
        new = part(whole, np.arange(n) != i)
        weights = np.clip(known[0], new.low, new.high), known[1]
        found, cost = timed(lambda p=new, w=weights: OldProof(kept.tree, p).warm_start(w, limits))
        values[i], spent = found.value, spent + cost
        if i < compared:
            fresh += timed(lambda p=new: minimise(p, limits))[1]
    drop = value - values
    same, size = np.mean(drop == losses), np.corrcoef(drop, foretold)[0, 1]
    print(f"| {name} | {n} | {spent / n:.1f} | {fresh / compared:.1f} | {100 * same:.0f} % | {size:.3f} |", flush=True)


def main() -> None:
    """Run the tasks of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", default="", help="names, with commas; all by default")
    parser.add_argument("--seconds", type=float, default=30, help="limit of each search")
    given = parser.parse_args()
    limits, panel = Limits(seconds=given.seconds), instances(given.data)
    names = given.tasks.split(",") if given.tasks else list(panel)
    minimise_and_keep(panel["heart P=1"](), limits)  # loads the kernels
    OldProof(minimise_and_keep(panel["heart P=1"](), limits).tree, panel["heart P=1"]()).lower_bound(10**9)
    shown, times = "effort 0 | effort 1 | within 1 %", "fresh ms | given old weights | warm start"
    counts = "relaxations fresh | given old weights | warm start"
    print(f"| task | change | cases | old weights within 5 % | shown: {shown} | bound ms | {times} | {counts} |")
    print("|---" * 14 + "|")
    for name in names:
        table(name, panel[name](), 1 if "800" in name else 2 if "280" in name else FOLDS, limits)
    print(
        "\n| leave one out | samples | warm start ms | fresh ms | optimum stays | correlation of drop and derivative |"
    )
    print("|---" * 6 + "|")
    for name in [n for n in ("heart P=1", "heart P=5", "breast cancer P=5") if n in names]:
        leave_one_out(name, panel[name](), limits, 40)


if __name__ == "__main__":
    main()
