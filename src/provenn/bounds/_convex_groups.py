"""From signed samples to the arrays of the compiled passes: dense columns, and groups of rows equal in the others."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._convex_samples import Samples
from provenn.losses._curves import HINGE

Integers = NDArray[np.int64]
DENSE_COST = 0.3
"""Time of an entry of a dense column, against one of a sparse row."""
MOST_VALUES = (2, 3, 5, 10, 20, 50)


class Arrangement(NamedTuple):
    """How samples are laid out.

    Parameters
    ----------
    order : ndarray of shape (n,), int64
        The rows, group by group.
    dense : ndarray of shape (D,), bool
        The columns that are stored densely.
    first : ndarray of shape (G + 1,), int64
        Where each group of rows with equal entries in the sparse columns begins, and the end.
    """

    order: Integers
    dense: NDArray[np.bool_]
    first: Integers


def arrange(A: Integers) -> Arrangement:
    """Choose which columns are dense: what makes a pass cheapest, counting an access to each entry of a group.

    Columns with few values are the candidates for grouping, at several thresholds of "few". All
    sparse and all dense are candidates, too.
    """
    n, D = A.shape
    values = np.array([len(np.unique(A[:, j])) for j in range(D)])
    choices = [np.ones(D, dtype=bool), *(values > most for most in MOST_VALUES), np.zeros(D, dtype=bool)]
    best: Arrangement | None = None
    least = np.inf
    for dense in choices:
        if best is not None and dense.all():
            continue
        order, first = _groups(A[:, ~dense]) if not dense.all() else (np.arange(n), np.zeros(1, dtype=np.int64))
        entries = np.count_nonzero(A[order[first[:-1]]][:, ~dense]) if not dense.all() else -n
        cost = DENSE_COST * n * np.count_nonzero(dense) + entries + n
        if cost < least:
            best, least = Arrangement(order, dense, first), cost
    assert best is not None
    return best


def _groups(A: Integers) -> tuple[Integers, Integers]:
    """Return an order in which equal rows are neighbours, and where each group begins, the end last.

    Rows are sorted by a hash and compared with their neighbours; if different rows share a hash, a
    group may be split, which costs time and nothing else.
    """
    factors = np.random.default_rng(0).integers(1, 2**63, A.shape[1], dtype=np.uint64) | np.uint64(1)
    order = np.argsort(A.astype(np.uint64) @ factors, kind="stable")
    rows = A[order]
    new = np.flatnonzero((rows[1:] != rows[:-1]).any(axis=1)) + 1
    return order, np.concatenate([[0], new, [len(A)]]).astype(np.int64)


def make_samples(A: Integers, multiplicity: Integers, curve: Any, reach: Integers) -> Samples:
    """Return signed samples A of shape (n, D) laid out by `arrange`."""
    order, dense, first = arrange(A)
    values, D = A[order].astype(np.float64), A.shape[1]
    place = np.where(dense, np.cumsum(dense) - 1, -1).astype(np.int64)
    columns = np.where(dense, 0.0, values).T.nonzero()
    heads = np.where(dense, 0.0, values[first[:-1]])
    rows = heads.nonzero()
    p0, p1 = (float(p) for p in curve.parameters)
    length = abs(p0) if curve.code == HINGE else p1
    return Samples(
        np.ascontiguousarray(values[:, dense].T),
        place,
        np.searchsorted(columns[0], np.arange(D + 1)).astype(np.int64),
        columns[1].astype(np.int64),
        values[columns[1], columns[0]],
        first,
        np.searchsorted(rows[0], np.arange(len(heads) + 1)).astype(np.int64),
        rows[1].astype(np.int64),
        heads[rows],
        multiplicity[order].astype(np.float64),
        np.abs(values) @ reach.astype(np.float64) + length,
        int(curve.code),
        p0,
        p1,
    )


__all__ = ["Arrangement", "arrange", "make_samples"]
