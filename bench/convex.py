"""The convex engine on heart, Adult and breast cancer: how far a proof gets, and how fast.

Run ``python bench/convex.py --data PATH --seconds 60``, where PATH has ``heart/heart.csv`` and
``adult/adult.data``, ``adult/adult.test``; without ``--data`` only scikit-learn's own data run.
Columns are min-max scaled over all rows and rounded to 4 decimals, categories one-hot.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from provenn.bounds.convex import ConvexProblem, ConvexResult, minimise
from provenn.losses.logistic import LogisticCurve
from provenn.milp import Limits
from provenn.network import Dataset

SCALE = 10_000
HEADER = "task                    P  tau  seconds     nodes        root       value       bound       gap"
Table = tuple[NDArray[np.float64], NDArray[np.int64]]


def breast_cancer() -> Table:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    return data.data, data.target


def heart(folder: Path) -> Table:
    frame = pd.read_csv(folder / "heart" / "heart.csv", encoding="utf-8-sig")
    X = pd.get_dummies(frame.drop(columns="target"), columns=["cp", "thal", "slope"])
    return X.to_numpy(dtype=float), frame["target"].to_numpy()


def adult(folder: Path) -> Table:
    """Return the training rows, scaled over training and test rows together."""
    files = [
        pd.read_csv(folder / "adult" / f"adult.{part}", header=None, skipinitialspace=True) for part in ("data", "test")
    ]
    frame = pd.concat(files, ignore_index=True).dropna()
    texts = [c for c in frame.columns[:-1] if not pd.api.types.is_numeric_dtype(frame[c])]
    X = scaled(pd.get_dummies(frame[frame.columns[:-1]], columns=texts).to_numpy(dtype=float))
    rows = len(files[0].dropna())
    return X[:rows], frame.iloc[:rows, -1].str.startswith(">50K").to_numpy(dtype=int)


def scaled(X: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = X.min(axis=0), X.max(axis=0)
    return (X - low) / np.where(high > low, high - low, 1.0)


def problem(table: Table, rows: int | None, bound: int, tau: float, seed: int) -> ConvexProblem:
    """Return one neuron with weights and bias in -bound..bound on a random subset of rows."""
    grid = np.rint(scaled(table[0]) * SCALE).astype(np.int64)
    chosen = np.random.default_rng(seed).permutation(len(grid))[:rows]
    data = Dataset.merge(grid[chosen], table[1][chosen], scale=SCALE)
    live = np.where(data.live, bound, 0)
    t = 2 * data.y - 1
    return ConvexProblem(
        data.X, t, data.multiplicity, LogisticCurve(tau * SCALE), SCALE, -live, live, 1, (-bound, bound, 1)
    )


def cases(folder: Path | None) -> Iterator[tuple[str, Table, int | None, int, float]]:
    table = breast_cancer()
    yield "sklearn:breast_cancer", table, None, 1, 1.0
    if folder is None:
        return
    table = heart(folder)
    for bound in (1, 3, 5):
        yield "heart 217", table, 217, bound, 1.0
    for bound in (1, 3, 5):
        yield "heart 303", table, None, bound, 1.0
    table = adult(folder)
    yield "adult 280", table, 280, 1, 2.0
    yield "adult 280", table, 280, 1, 1.0
    yield "adult 800", table, 800, 1, 1.0
    yield "adult 32561", table, None, 1, 1.0


def row(name: str, bound: int, tau: float, result: ConvexResult) -> str:
    gap = (result.value - result.bound) / max(1, result.value)
    return (
        f"{name:22} {bound:2} {tau:4.1f} {result.seconds:8.2f} {result.nodes:9} {result.root_bound / 1e6:11.4f} "
        f"{result.value / 1e6:11.6f} {result.bound / 1e6:11.6f} {100 * gap:8.4f}%"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with heart/ and adult/")
    parser.add_argument("--seconds", type=float, default=60.0, help="time limit of each case")
    parser.add_argument("--seed", type=int, default=0, help="seed of the rows and of the engine")
    parser.add_argument("--only", default="", help="run only the cases whose name contains this")
    parser.add_argument("--bound", type=int, help="run only the cases with this weight bound P")
    arguments = parser.parse_args()
    began = time.perf_counter()
    minimise(problem((np.eye(3), np.array([0, 1, 1])), None, 1, 1.0, 0), Limits())
    print(f"first call (compiles or loads the kernels): {time.perf_counter() - began:.1f} s")
    print(HEADER)
    for name, table, rows, bound, tau in cases(arguments.data):
        if arguments.only in name and arguments.bound in (None, bound):
            case = problem(table, rows, bound, tau, arguments.seed)
            limits = Limits(seconds=arguments.seconds, seed=arguments.seed)
            print(row(name, bound, tau, minimise(case, limits)), flush=True)


if __name__ == "__main__":
    main()
