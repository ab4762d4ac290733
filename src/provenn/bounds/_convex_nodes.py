"""Compiled bounding of the convex engine: a rigorous bound of a box, improved by a quadratic model."""

import numpy as np
from numba import njit

from provenn.bounds._convex_boxes import Box
from provenn.bounds._convex_cuts import mix
from provenn.bounds._convex_kernels import envelope_use, linear_minimum, minimise_model
from provenn.bounds._convex_losses import losses
from provenn.bounds._convex_samples import Samples, gradient, hessian, scores

BISECTIONS = 12
EXTRA_ROUNDS = 5
TOLERANCE = 1e-6


@njit(cache=True)
def certified(samples: Samples, box: Box) -> tuple[float, float]:
    """Evaluate at x, write z, slope, curvature and g; return the loss and a rigorous bound over the box.

    The bound is ``f(x) + min [g . (u - x) + prices] - slack - margin (f + 2 reach + prices)``. The
    scores need no exactness: the tangents at the computed z are the bound, and only their values
    and slopes (correct to a few ulp at a point within ``ulp * radius_k`` of z_k) and the sums over
    n samples and D entries round. With ``margin = 2^-51 (n + D + 64)`` and ``reach = sum m |c'|
    radius`` the standard bound of a dot product, ``n u sum |a_i b_i|``, covers all of them in any order.
    """
    scores(samples, box.start, box.free, box.x, box.z)
    value, reach = losses(samples, box.z, box.slope, box.curvature)
    gradient(samples, box.slope, box.free, box.g)
    linear = linear_minimum(box.g, box.x, box.low, box.high, box.price, box.counts, box.room)
    size = value + 2.0 * reach + abs(box.constant)
    for a in range(len(box.price)):
        size += box.price[a]
    bound = value + linear + box.constant - box.margin * size - 1e-6
    return value, -np.inf if np.isnan(bound) else bound


@njit(cache=True)
def model_step(box: Box, penalty: float, tolerance: float) -> float:
    """Minimise the quadratic model over the box (x and g move along); return the penalty of the budget.

    Under a budget the multiplier of ``sum |v| / |end| <= K`` is found by bisection.
    """
    p = len(box.x)
    price = np.empty(p)
    bottom, top = 0.0, np.inf
    for trial in range(BISECTIONS if box.room >= 0 else 1):
        for a in range(p):
            price[a] = box.price[a] + (penalty if box.counts[a] else 0.0)
        minimise_model(box.H, box.g, box.x, box.low, box.high, price, tolerance, box.C)
        if box.room < 0:
            break
        use = envelope_use(box.x, box.low, box.high, box.counts)
        if abs(use - box.room) < 0.01 or (use <= box.room and penalty == 0.0) or trial == BISECTIONS - 1:
            break
        if use > box.room:
            bottom = penalty
        else:
            top = penalty
        if top < np.inf:
            penalty = 0.5 * (bottom + top)
        else:
            for a in range(p):
                penalty = max(penalty, 0.1 * abs(box.g[a]) * (box.high[a] - box.low[a]))
            penalty = 2.0 * penalty + 1.0
    return penalty


@njit(cache=True)
def to_singles(box: Box) -> None:
    """Round x to single floats within the box, in which points are kept."""
    for a in range(len(box.x)):
        box.x[a] = min(max(np.float64(np.float32(box.x[a])), box.low[a]), box.high[a])


@njit(cache=True)
def relax(
    samples: Samples,
    box: Box,
    cutoff: float,
    parent: float,
    penalty: float,
    rounds: int,
    fresh: bool,
    own: bool,
    mixing: bool,
) -> tuple[float, float]:
    """Improve x and the bound over the box by steps of the quadratic model.

    A fresh box is evaluated first and gets its own Hessian; otherwise g is the gradient at x
    of the parent's model, whose Hessian stays. Stops when the box closes, or when what is left
    to gain is small against the distance to the cutoff. A step that makes the bound worse is
    halved. On return x, z, slope, curvature and g belong together, and so do the bound and the
    slope of its cut: the tangent at x, or with `mixing` a mixture of those at all points.
    """
    p = len(box.x)
    kept, best, bound, worse = box.x.copy(), -np.inf, -np.inf, False
    offset, mixed, least = 0.0, -np.inf, np.inf
    last = rounds + EXTRA_ROUNDS
    for step in range(last + 1):
        if not worse and (step == last or (step >= rounds and max(bound, mixed) >= parent)):
            break
        if worse:
            for a in range(p):
                box.x[a] += (1.0 if step == last else 0.5) * (kept[a] - box.x[a])
        elif step > 0 or not fresh:
            penalty = model_step(box, penalty, TOLERANCE * max(cutoff - max(parent, bound), 1.0))
        to_singles(box)
        value, bound = certified(samples, box)
        least = min(least, value + box.constant)
        if mixing:
            offset, mixed = mix(box.cut, offset, mixed, box.g, bound, box.low, box.high)
        worse = bound < best
        if not worse:
            best = bound
            for a in range(p):
                kept[a] = box.x[a]
        if own:
            hessian(samples, box.curvature, box.free, box.H)
        enough = (0.1 if fresh and rounds < 10 else 0.05) * max(cutoff - max(bound, mixed), 1.0)
        if mixed > cutoff or (not worse and (bound > cutoff or least - max(bound, mixed) < enough)):
            break
    if mixed >= bound:
        return mixed, penalty
    for a in range(p):
        box.cut[a] = box.g[a]
    return bound, penalty
