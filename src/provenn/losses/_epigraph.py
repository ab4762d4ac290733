"""MILP block of a convex curve: integer columns above the lower hull of its table."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenn.losses._base import ConvexCurve, Curve, Integers, Model, State, Terms
from provenn.losses._curves import curve_points

Numbers = NDArray[Any]
TABLE_LIMIT = 1024
TANGENTS = 24
CANDIDATES = 2000
FLOAT_ERROR = 1e-12
SLOPE_BITS = 12


def add_epigraph(model: Model, curve: ConvexCurve) -> None:
    """Minimise ``sum multiplicity * e`` with ``e >= T(t a)`` for every sample and output.

    Where the scores span at most `TABLE_LIMIT` values, the rows are the edges of the lower
    convex hull of the integer table T; because e is an integer and T is within less than
    one unit of its hull, the smallest e is T itself. Over longer ranges the rows are
    tangents at spread points and at the model's `exact_at` scores: the model then bounds
    the loss from below and is exact at those scores. Score columns of a continuous layer
    are in real units, and so are the tangents.

    Parameters
    ----------
    model : Model
    curve : Curve with a convex code
    """
    targets, unit = model.dataset.targets(model.architecture.n_outputs), model.unit(-1)
    lows, highs = model.bounds(len(model.architecture.layers) - 1)
    reach = int(max(abs(lows).max(), abs(highs).max()))
    top = int(curve.exact(np.array([-reach]))[0])
    columns = model.builder.columns(
        "loss", targets.shape, 0, top, fill=lambda state: _table(curve, state, targets), integer=unit == 1
    )
    model.builder.minimise(columns, np.broadcast_to(model.dataset.multiplicity[:, None], targets.shape))
    e, a, t = columns.ravel(), model.preactivations[-1].ravel(), targets.ravel()
    if unit == 1 and 2 * reach + 1 <= TABLE_LIMIT:
        q, p, c = _hull(curve, reach)
        _add_rows(model, (e, a, t), q[None, :], p[None, :], c[None, :])
        return
    model.approximate()
    points = _spread(curve, reach)
    for z in (points[None, :], *((targets * scores).reshape(-1, 1) for scores in model.exact_at)):
        _add_rows(model, (e, a, t), *_tangents(curve, z, reach, unit))


def _table(curve: Curve, state: State, targets: Integers) -> Integers:
    return curve.exact(targets * state.trace.scores)


def _add_rows(
    model: Model,
    columns: tuple[Integers, Integers, Integers],
    q: Integers,
    p: Numbers,
    c: Numbers,
) -> None:
    """Add ``q e - p t a >= c``; q, p, c have shape (1 or samples * outputs, rows each)."""
    e, a, t = (np.broadcast_to(part[:, None], (len(part), q.shape[1])).ravel() for part in columns)
    q, p, c = (np.broadcast_to(part, (len(columns[0]), q.shape[1])).ravel() for part in (q, p, c))
    model.builder.rows([Terms(e[:, None], q[:, None]), Terms(a[:, None], (-p * t)[:, None])], lower=c)


def _spread(curve: ConvexCurve, reach: int) -> Integers:
    """Return points at which tangents leave errors of one size: their density is the root of the curvature."""
    half = np.unique(np.rint(np.geomspace(1.0, float(max(reach, 1)), CANDIDATES)))
    z = np.concatenate([-half[::-1], [0.0], half])
    bend = np.sqrt(curve_points(curve.code, *curve.parameters, z)[2])
    length = np.concatenate([[0.0], np.cumsum(np.diff(z) * (bend[1:] + bend[:-1]) / 2)])
    between = np.interp(np.linspace(0.0, length[-1], TANGENTS), length, z)
    return np.unique(np.rint(np.append(between, [-reach, reach])).astype(np.int64))


def _hull(curve: Curve, reach: int) -> tuple[Integers, Integers, Integers]:
    """Return the edges of the lower hull of the points (z, T(z)), |z| <= reach, as rows q e - p z >= c."""
    z = np.arange(-reach, reach + 1)
    T = curve.exact(z)
    corners: list[int] = []
    for i in range(len(z)):
        while len(corners) > 1 and _above(z, T, corners[-2], corners[-1], i):
            corners.pop()
        corners.append(i)
    at = np.array(corners)
    q, p = np.diff(z[at]), np.diff(T[at])
    return q, p, q * T[at[:-1]] - p * z[at[:-1]]


def _above(z: Integers, T: Integers, i: int, j: int, k: int) -> bool:
    """Whether point j lies on or above the chord from i to k."""
    return int(T[j] - T[i]) * int(z[k] - z[i]) >= int(T[k] - T[i]) * int(z[j] - z[i])


def _tangents(curve: ConvexCurve, z: Integers, reach: int, unit: int = 1) -> tuple[Integers, Numbers, Numbers]:
    """Return valid rows ``q e - p z / unit >= c`` that are within rounding of tight at the given z.

    The slope p / q is the derivative, rounded to 2^-SLOPE_BITS where all columns are integers. The least value of
    ``q (f(z) - slack) - p z / unit`` over the range lies between z and the point where the exact
    slope is p / q; a golden-section search finds it, lowered by a float margin.
    """
    _, slope, _ = curve_points(curve.code, *curve.parameters, z.astype(np.float64))
    q = np.full(z.shape, 2**SLOPE_BITS if unit == 1 else 1, dtype=np.int64)
    p = np.rint(slope * q).astype(np.int64) if unit == 1 else slope * unit

    def height(at: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(curve_points(curve.code, *curve.parameters, at)[0] - curve.slack - p / q * (at / unit))

    low, high = np.full(z.shape, -float(reach)), np.full(z.shape, float(reach))
    for _ in range(100):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        shrink = height(left) > height(right)
        low, high = np.where(shrink, left, low), np.where(shrink, high, right)
    least = np.minimum(height((low + high) / 2), height(z.astype(np.float64)))
    margin = FLOAT_ERROR * (1.0 + np.abs(least) + np.abs(slope) * reach)
    return q, p, np.floor((least - margin) * q).astype(np.int64) if unit == 1 else least - margin
