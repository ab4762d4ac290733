"""Public data sets with the preprocessing of the papers, from the folder of ``--data``.

The folder holds ``adult/adult.data`` and ``adult.test``, ``heart/heart.csv`` and ``mnist/*.gz``. Columns are
one-hot where they are categories, min-max scaled over all rows (training and test together, as published) and
rounded to 4 decimals, so that they are whole numbers of 1/10,000.
"""

import gzip
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from provenn.benchmark import Rows, Split

SCALE = 10_000
ADULT = ("adult/adult.data", "adult/adult.test")
HEART = ("heart/heart.csv",)
MNIST = (
    "mnist/train-first10000-images-idx3-ubyte.gz",
    "mnist/train-first10000-labels-idx1-ubyte.gz",
    "mnist/t10k-images-idx3-ubyte.gz",
    "mnist/t10k-labels-idx1-ubyte.gz",
)


def grid(X: NDArray[np.float64]) -> NDArray[np.int64]:
    """Scale columns to 0..1 and round them to whole numbers of 1/10,000."""
    low, high = X.min(axis=0), X.max(axis=0)
    return np.rint((X - low) / np.where(high > low, high - low, 1.0) * SCALE).astype(np.int64)


@cache
def adult(folder: Path) -> tuple[Rows, Rows]:
    """Return the official training and test rows of Adult, 108 inputs; '?' is a category of its own."""
    files = [pd.read_csv(folder / name, header=None, skipinitialspace=True).dropna() for name in ADULT]
    frame = pd.concat(files, ignore_index=True)
    label = frame.pop(14).str.startswith(">50K").to_numpy(dtype=np.int64)
    texts = [c for c in frame.columns if not pd.api.types.is_numeric_dtype(frame[c])]
    X, cut = grid(pd.get_dummies(frame, columns=texts).to_numpy(dtype=float)), len(files[0])
    return Rows(X[:cut], label[:cut]), Rows(X[cut:], label[cut:])


@cache
def heart(folder: Path) -> Rows:
    """Return all 303 rows of heart disease, 21 inputs."""
    frame = pd.read_csv(folder / HEART[0], encoding="utf-8-sig")
    X = pd.get_dummies(frame.drop(columns="target"), columns=["cp", "thal", "slope"])
    return Rows(grid(X.to_numpy(dtype=float)), frame["target"].to_numpy(dtype=np.int64))


@cache
def mnist(folder: Path) -> tuple[Rows, Rows]:
    """Return the first 10,000 training images and the 10,000 test images as 784 pixels, 0 or 1 (above 127)."""
    images = [_idx(folder / name, 16).reshape(-1, 784) > 127 for name in MNIST[::2]]
    labels = [_idx(folder / name, 8).astype(np.int64) for name in MNIST[1::2]]
    train, test = (Rows(X.astype(np.int8), y) for X, y in zip(images, labels, strict=True))
    return train, test


def _idx(path: Path, header: int) -> NDArray[np.uint8]:
    return np.frombuffer(gzip.decompress(path.read_bytes()), dtype=np.uint8, offset=header)


def some_adult(folder: Path, n: int | None, seed: int) -> Split:
    """Return n random training rows of Adult (all for None), and the official test file as test rows."""
    train, test = adult(folder)
    chosen = np.random.default_rng(seed).permutation(len(train.y))[:n]
    return Split(train.take(chosen), test, scale=SCALE)


def some_heart(folder: Path, n: int, seed: int) -> Split:
    """Return n random rows of heart disease, and the others as test rows."""
    rows = heart(folder)
    order = np.random.default_rng(seed).permutation(len(rows.y))
    return Split(rows.take(order[:n]), rows.take(order[n:]), scale=SCALE)


def some_mnist(folder: Path, each: int, seed: int) -> Split:
    """Return `each` random training images of every digit (all images from 900 on), and all test images."""
    train, test = mnist(folder)
    rng = np.random.default_rng(seed)
    parts = [rng.permutation(np.flatnonzero(train.y == digit))[:each] for digit in range(10)]
    chosen = np.arange(len(train.y)) if each >= 900 else np.concatenate(parts)
    return Split(train.take(chosen), test, n_classes=10)
