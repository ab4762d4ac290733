r"""Columns for how far perturbations move the first pre-activations of every unit.

For "inf" the column is ``D_j = sum_i R_i |w_ij|``, for "1" ``D_j >= R_i |w_ij|`` for every feature, both linear in the
magnitudes. For "2" with integer weights ``D_j = ceil(g sqrt(S_j))`` with ``S_j = sum_i (R_i / g)^2 w_ij^2`` and g the
greatest common divisor of the radii. S is an integer, so that D is a step function of it,

    D_j = sum_v step_v y_vj,    y_vj = 0 => S_j <= v - 1,

with one binary column for each threshold v at which D grows: as many as weights for ternary weights and equal radii
(the table of Kurtz & Bah). Chords hold ``q >= w^2``, exact at integers.

Tables of more than `TABLE_LIMIT` thresholds, and continuous weights, get ``D_j >= R_i |w_ij|`` and tangents
``D_j >= sum_i g_i R_i |w_ij|`` with ``|g|_2 = 1``. All are at most the norm, so that a model with them bounds the worst
case from below. g is ``1 / sqrt(d)``, and the direction of every unit of the networks at which the model must be exact.
"""

from collections.abc import Sequence
from functools import partial
from math import gcd
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from provenn.losses._base import Integers, Model, State, Terms
from provenn.network import Architecture
from provenn.network.intervals import reach, root_above

TABLE_LIMIT = 256
LARGEST_SQUARE = 2**50
ROOT_BITS = 20


class Steps(NamedTuple):
    """The step function of the norm "2": D grows by ``sizes[i]`` where S reaches ``starts[i]``."""

    factors: list[int]
    starts: list[int]
    sizes: list[int]


def steps_of(architecture: Architecture, radius: Sequence[int]) -> Steps | None:
    """Return the step function of the norm "2" for a first layer, or None where it has too many steps."""
    domain = architecture.layers[0].weights
    shared = gcd(*(int(R) for R in radius)) or 1
    factors = [(int(R) // shared) ** 2 for R in radius]
    most = sum(factors) * domain.bound**2
    if domain.continuous_box or most > LARGEST_SQUARE:
        return None
    starts: list[int] = []
    sizes: list[int] = []
    D, v = 0, 1
    while v <= most:
        if len(starts) == TABLE_LIMIT:
            return None
        after = root_above(shared**2 * v)
        starts.append(v)
        sizes.append(after - D)
        D, v = after, after**2 // shared**2 + 1
    return Steps(factors, starts, sizes)


def largest_reach(architecture: Architecture, radius: Sequence[int], norm: str) -> int:
    """Return the largest reach of any unit of the first layer."""
    layer = architecture.layers[0]
    return int(reach(np.full((layer.n_in, 1), layer.weights.bound, dtype=np.int64), radius, norm)[0])


def add_reach(model: Model, radius: Sequence[int], norm: str, name: str = "reach") -> Integers:
    """Add columns D of shape (n_units,) that are at least the reach of every unit, in units of the pre-activations.

    Their smallest values are `provenn.network.intervals.reach`; where that has no model of a fair size, they are
    bounds of it from below, and the model is marked as an approximation.
    """
    layer, unit = model.architecture.layers[0], model.unit(0)
    D = model.builder.columns(
        name, (layer.n_out,), 0, largest_reach(model.architecture, radius, norm) / unit,
        fill=partial(_reach, radius, norm, unit), integer=not layer.continuous,
    )  # fmt: skip
    used = np.flatnonzero(np.array(radius))
    if not used.size:
        return D
    scale = model.dataset.scale if layer.continuous else 1
    R, xi = np.array(radius)[used] / scale, model.magnitudes(0)[used]
    steps = steps_of(model.architecture, radius) if norm == "2" else None
    if norm == "inf":
        model.builder.rows([Terms(D[:, None], 1.0), Terms(xi.T, -R)], lower=0)
    elif steps is not None:
        _add_steps(model, D, steps, name)
    else:
        for i in range(len(used)):
            model.builder.rows([Terms(D[:, None], 1.0), Terms(xi[i][:, None], -R[i])], lower=0)
    if norm == "2" and steps is None:
        model.approximate()
        _add_tangents(model, D, used, R)
    return D


def _reach(radius: Sequence[int], norm: str, unit: int, state: State) -> NDArray[np.float64]:
    return reach(state.network.weights[0], radius, norm) / unit


def _add_tangents(model: Model, D: Integers, used: Integers, R: NDArray[Any]) -> None:
    """Add tangents of the norm "2", their slopes rounded down."""
    xi, directions = model.magnitudes(0)[used], [np.ones(len(used))]
    for network in model.known:
        moved = np.abs(network.weights[0][used]) * R[:, None]
        directions += [column for column in moved.T.astype(np.float64) if column.any()]
    for g in directions:
        slopes = np.floor(g / np.linalg.norm(g) * (1 - 1e-12) * 2.0**ROOT_BITS) * R
        model.builder.rows([Terms(D[:, None], 2.0**ROOT_BITS), Terms(xi.T, -slopes)], lower=0)


def _add_steps(model: Model, D: Integers, steps: Steps, name: str) -> None:
    """Add ``D = sum of sizes * y`` and ``y = 0 => S < start``."""
    starts, sizes, factors = (np.array(part, dtype=np.int64) for part in (steps.starts, steps.sizes, steps.factors))
    squares = _squares(model, name)
    y = model.builder.columns(
        f"{name}_steps", (len(D), len(starts)), 0, 1,
        fill=lambda state: (state.network.weights[0].T ** 2 @ factors)[:, None] >= starts,
    )  # fmt: skip
    model.builder.rows([Terms(D[:, None], 1.0), Terms(y, -sizes)], lower=0, upper=0)
    for i, start in enumerate(starts):
        model.builder.rows([Terms(squares.T, factors)], upper=start - 1, when=(y[:, i], 0))


def _squares(model: Model, name: str) -> Integers:
    """Return columns ``q >= w^2``, above the chords ``(2v + 1) |w| - v (v + 1)``; for |w| <= 1 the magnitudes."""
    xi, bound = model.magnitudes(0), model.architecture.layers[0].weights.bound
    if bound == 1:
        return xi
    q = model.builder.columns(f"{name}_squares", xi.shape, 0, bound**2, fill=_squared_weights)
    for v in range(bound):
        terms = [Terms(q.ravel()[:, None], 1), Terms(xi.ravel()[:, None], -(2 * v + 1))]
        model.builder.rows(terms, lower=-v * (v + 1))
    return q


def _squared_weights(state: State) -> Integers:
    return state.network.weights[0] ** 2
