"""Seconds and megabytes of building training MILPs: rows, columns, non-zeros.

Run ``python bench/model_building.py [--adult FOLDER]``, where FOLDER holds adult.data; without it,
random data of the same shape (280 samples, 108 binary or scaled features) stand in.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd

from provenn.encoding import TableEncoder
from provenn.formulations import Problem
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_hinge import MinHinge
from provenn.network import Architecture, Dataset, IntegerDomain

CATEGORIES = [1, 3, 5, 6, 7, 8, 9, 13]


def adult(folder: str | None, n: int) -> Dataset:
    """Return n rows of Adult, one-hot and scaled to 4 decimals, or random data of that shape."""
    rng = np.random.default_rng(0)
    if folder is None:
        X = np.hstack([rng.integers(0, 10_001, (n, 6)), 10_000 * (rng.random((n, 102)) < 0.08)])
        return Dataset.merge(X, rng.integers(0, 2, n), scale=10_000)
    table = pd.read_csv(Path(folder) / "adult.data", header=None, skipinitialspace=True)
    label = table.pop(14)
    encoder = TableEncoder(categorical=[str(i) for i in CATEGORIES]).fit(table)
    rows = rng.choice(len(table), n, replace=False)
    return Dataset.merge(encoder.transform(table.iloc[rows]), label.iloc[rows], scale=encoder.scale)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adult", help="folder with adult.data")
    folder = parser.parse_args().adult
    cases = [
        (280, (16,), 1, MaxCorrect("published")),
        (280, (16,), 15, MinHinge()),
        (280, (16,), 1, Logistic()),
        (280, (16, 16), 1, MaxCorrect()),
        (4000, (16,), 1, MaxCorrect()),
        (20_000, (16,), 1, MaxCorrect()),
    ]
    print("|     n | hidden   |  P | loss        |      rows |   columns |  non-zeros | seconds | peak MiB |")
    print("|------:|----------|---:|-------------|----------:|----------:|-----------:|--------:|---------:|")
    for n, hidden, bound, loss in cases:
        data = adult(folder, n)
        shape = Architecture.build(data.n_features, 2, hidden, IntegerDomain.symmetric(bound), outputs=2)
        began = time.perf_counter()
        milp = Problem(shape, data, loss).encode().milp
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"| {n:5d} | {hidden!s:8s} | {bound:2d} | {type(loss).__name__:11s} | {milp.n_rows:9,d} | "
            f"{milp.n_columns:9,d} | {milp.A.nnz:10,d} | {seconds:7.2f} | {peak:8.0f} |"
        )


if __name__ == "__main__":
    main()
