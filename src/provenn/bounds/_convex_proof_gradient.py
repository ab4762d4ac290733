"""Derivatives of proven bounds in the data."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._convex_types import ConvexProblem
from provenn.losses._curves import curve_points

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BoundGradient:
    """The derivative of a lower bound, in its units.

    Without prices ``multiplicity @ m`` is the bound itself, since that grows with the data: each sample has its share.

    Parameters
    ----------
    bound : int
    point : ndarray of shape (D,), float64
        Weights, and the bias last, on which the bound hangs.
    multiplicity : ndarray of shape (n,), float64
        By the multiplicity of each sample, which may be 0: what the bound gains when a sample comes in.
    features : ndarray of shape (n, d), float64
        By each feature, in grid units.
    """

    bound: int
    point: Floats
    multiplicity: Floats
    features: Floats


def gradient_at(problem: ConvexProblem, bound: int, point: Floats) -> BoundGradient:
    """Return the derivative of the relaxed objective at a point.

    Parameters
    ----------
    problem : ConvexProblem
    bound : int
    point : ndarray of shape (D,), float64
    """
    p0, p1 = problem.curve.parameters
    value, slope, _ = curve_points(problem.curve.code, p0, p1, problem.signed() @ point)
    moved = (problem.multiplicity * slope * problem.t)[:, None]
    return BoundGradient(bound, point, value - problem.curve.slack, moved * point[: problem.X.shape[1]])
