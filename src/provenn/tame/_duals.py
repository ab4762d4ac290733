"""Dual vectors with short exact numbers, and the bounds that they give in many boxes at once."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import lcm

import numpy as np

from provenn.milp import MILP
from provenn.tame._simplex import Floats

Dual = tuple[int, list[int], list[int]]
"""A denominator, rows, and the numerators of these rows."""


@dataclass(frozen=True)
class Duals:
    """Dual vectors of the rows, exactly.

    Parameters
    ----------
    exact : tuple of Dual
    n_rows : int
    """

    exact: tuple[Dual, ...]
    n_rows: int

    @cached_property
    def vectors(self) -> Floats:
        """The vectors in floats, shape (p, m); exact where the numbers fit."""
        Y = np.zeros((len(self.exact), self.n_rows))
        for k, (denominator, rows, numerators) in enumerate(self.exact):
            Y[k, rows] = [v / denominator for v in numerators]
        return Y


def dyadic(y: Floats, bits: int) -> Dual:
    """Round a vector to multiples of ``2**-bits``, in lowest terms.

    Examples
    --------
    >>> dyadic(np.array([0.0, 0.5, -1.26]), 8)
    (256, [1, 2], [128, -323])
    """
    scaled = np.rint(y * 2.0**bits)
    rows = np.flatnonzero(scaled)
    whole = [int(v) for v in scaled[rows].tolist()]
    spare = min([bits, *((v & -v).bit_length() - 1 for v in whole)]) if whole else bits
    return 1 << (bits - spare), rows.tolist(), [v >> spare for v in whole]


def from_rationals(y: dict[int, Fraction]) -> Dual:
    """Bring rationals to a common denominator."""
    y = {i: v for i, v in y.items() if v}
    denominator = lcm(*(v.denominator for v in y.values()))
    return denominator, list(y), [int(v * denominator) for v in y.values()]


def row_parts(milp: MILP, Y: Floats) -> tuple[Floats, Floats]:
    """Clear signs of absent sides; return the vectors and ``sum_i y_i side_i`` of each."""
    low, high = np.isfinite(milp.row_lower), np.isfinite(milp.row_upper)
    Y = np.where((Y > 0) & low | (Y < 0) & high, Y, 0.0)
    lower, upper = np.where(low, milp.row_lower, 0.0), np.where(high, milp.row_upper, 0.0)
    return Y, np.maximum(Y, 0) @ lower + np.minimum(Y, 0) @ upper


def reduced_costs(milp: MILP, Y: Floats) -> Floats:
    """Return ``c - A' y`` for each vector, shape (p, n)."""
    return np.asarray(milp.c - (milp.A.T @ Y.T).T)


def own_bounds(R: Floats, rows: Floats, low: Floats, high: Floats) -> Floats:
    """Bound of leaf k by vector k; R, low and high of shape (K, n); infinite where a box is empty."""
    bounds = rows + np.minimum(R * low, R * high).sum(axis=1)
    return np.where((low > high).any(axis=1), np.inf, bounds)


def all_bounds(R: Floats, rows: Floats, low: Floats, high: Floats) -> Floats:
    """Bound of every leaf by every vector, shape (leaves, p): two matrix products."""
    bounds = low @ np.maximum(R, 0).T + high @ np.minimum(R, 0).T + rows
    bounds[np.any(low > high, axis=1)] = np.inf
    return np.asarray(bounds)


def float_errors(milp: MILP, Y: Floats) -> Floats:
    """Bound on the rounding of each vector's bounds, ``(n + m + 8) 2^-52`` times the sum of all terms' sizes."""
    reach = np.maximum(np.abs(milp.col_lower), np.abs(milp.col_upper))
    low, high = (np.where(np.isfinite(b), np.abs(b), 0.0) for b in (milp.row_lower, milp.row_upper))
    terms = np.abs(Y) @ (abs(milp.A) @ reach + np.maximum(low, high)) + np.abs(milp.c) @ reach + abs(milp.offset)
    return np.asarray((milp.n_columns + milp.n_rows + 8) * 2.0**-52 * terms)
