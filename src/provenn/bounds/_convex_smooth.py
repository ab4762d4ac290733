"""The smooth root of a fine grid: a projected Newton method in doubles, and the certified bound of its point."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._convex_boxes import HIGH, LOW, load
from provenn.bounds._convex_branch import fixed_scores
from provenn.bounds._convex_engine import Engine
from provenn.bounds._convex_nodes import certified
from provenn.bounds._convex_types import ConvexProblem
from provenn.losses._curves import curve_points

Floats = NDArray[np.float64]
STEPS, HALVINGS = 200, 40
RIDGE, ENOUGH, SMALL = 1e-13, 1e-4, 1e-13


def smooth_root(engine: Engine, problem: ConvexProblem, stopped: Callable[[], bool]) -> tuple[Floats, float]:
    """Minimise the smooth loss over the root box; return the point and a rigorous bound of every objective.

    The nodes of the search keep their points in single floats, which limits how small a gradient gets;
    on a grid of millions of points that alone leaves a gap. `stopped` is asked before every step.
    """
    low, high = engine.root.table[LOW], engine.root.table[HIGH]
    point = minimum(problem, low, high, stopped)
    box = load(
        engine.root, low.astype(np.int32), high.astype(np.int32), point.astype(np.float32), len(engine.samples.weight)
    )
    fixed_scores(engine.samples, box)
    box.x[:] = point[box.free]
    return point, float(certified(engine.samples, box)[1])


def minimum(problem: ConvexProblem, low: Floats, high: Floats, stopped: Callable[[], bool] = lambda: False) -> Floats:
    """Return the minimum of the smooth loss, prices aside, over a box, as far as doubles reach.

    Entries at an end of the box whose gradient points outward stay; the others take a Newton step,
    which is projected on the box and halved until it descends.

    References
    ----------
    Two-metric projection: Bertsekas, SIAM J. Control Optim. 20 (1982), doi:10.1137/0320018.
    """
    width = np.maximum(high - low, 1.0)
    A = problem.signed().astype(np.float64) * width
    first, last = low / width, high / width
    x = np.clip(np.zeros(len(low)), first, last)
    value, g, H = _model(problem, A, x)
    for _ in range(STEPS):
        free = ~(((x <= first) & (g >= 0)) | ((x >= last) & (g <= 0)))
        if stopped() or not free.any():
            break
        step = np.zeros(len(x))
        inner = H[np.ix_(free, free)]
        inner[np.diag_indices(len(inner))] += RIDGE * max(float(H.diagonal().max()), 1e-300)
        step[free] = -np.linalg.lstsq(inner, g[free], rcond=None)[0]
        found = _search(problem, A, x, step, (first, last), (value, g))
        if found is None:
            break
        gained, x = value - found[1], found[0]
        value, g, H = _model(problem, A, x)
        if gained <= SMALL * abs(value):
            break
    return np.clip(x * width, low, high)


def _model(problem: ConvexProblem, A: Floats, x: Floats) -> tuple[float, Floats, Floats]:
    """Return value, gradient and Hessian of the smooth loss."""
    p0, p1 = problem.curve.parameters
    value, slope, curvature = curve_points(problem.curve.code, p0, p1, A @ x)
    m = problem.multiplicity
    return float(m @ value), A.T @ (m * slope), A.T @ (A * (m * curvature)[:, None])


def _search(
    problem: ConvexProblem, A: Floats, x: Floats, step: Floats, box: tuple[Floats, Floats], now: tuple[float, Floats]
) -> tuple[Floats, float] | None:
    """Halve a projected step until it descends enough; None when it never does."""
    p0, p1 = problem.curve.parameters
    for halvings in range(HALVINGS):
        trial = np.clip(x + 0.5**halvings * step, *box)
        value = curve_points(problem.curve.code, p0, p1, A @ trial)[0]
        new = float(problem.multiplicity @ value)
        if new < now[0] and new <= now[0] + ENOUGH * float(now[1] @ (trial - x)):
            return trial, new
    return None
