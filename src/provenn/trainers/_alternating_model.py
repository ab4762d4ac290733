"""The two models of the alternation: the first layer for fixed later ones, and the later ones for fixed activations."""

import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from provenn.formulations import Encoding, Problem
from provenn.milp import MILP
from provenn.milp.restrict import Restricted, Ties, restrict
from provenn.trainers._block_model import BlockModel

Mask = NDArray[np.bool_]
Point = NDArray[np.float64]
LATER = re.compile(r"[Wb][1-9]\d*")


def first_layer_model(problem: Problem, encoding: Encoding, x: Point) -> Restricted:
    """Return the model in which all parameters but those of the first layer have the values of a point.

    Products with fixed weights are linear in the activations: ``c = w h`` with ``h = l + (1 - l) u``, where l is the
    activation of a unit that does not fire.

    Parameters
    ----------
    problem : Problem
    encoding : Encoding
        Of this problem.
    x : ndarray of shape (n_columns,), float64
        The point of a network.
    """
    milp = BlockModel(problem, encoding).unordered
    fixed, ties = np.zeros(milp.n_columns, dtype=np.bool_), []
    for name, columns in milp.blocks.items():
        fixed[columns.ravel()] = LATER.fullmatch(name) is not None
    network = encoding.decode(x)
    for layer in range(1, len(problem.architecture.layers)):
        dense, c = problem.architecture.layers[layer], milp.blocks[f"c{layer}"]
        w = network.weights[layer] / dense.weights.denominator
        u = np.broadcast_to(milp.blocks[f"u{layer - 1}"][:, :, None], c.shape)
        lowest = problem.architecture.layers[layer - 1].lowest
        ties.append(_tied(fixed, c, u, (1 - lowest) * w, lowest * w))
    return _restricted(milp, fixed, x, ties, tuple(range(1, len(problem.architecture.layers))))


def later_layers_model(problem: Problem, encoding: Encoding, x: Point) -> Restricted:
    """Return the model in which the first layer, and so all its activations, are those of a point.

    Products with fixed activations are linear in the weights: ``c = h w``. Rows without free columns are left out,
    since the network that the point comes from fulfils them by an exact check.

    Parameters
    ----------
    problem, encoding, x
        See `first_layer_model`.
    """
    milp = BlockModel(problem, encoding).unordered
    fixed = np.zeros(milp.n_columns, dtype=np.bool_)
    for name in ("W0", "b0", "a0", "u0"):
        if name in milp.blocks:
            fixed[milp.blocks[name].ravel()] = True
    dense, lowest = problem.architecture.layers[1], problem.architecture.layers[0].lowest
    c, h = milp.blocks["c1"], np.where(x[milp.blocks["u0"]] > 0.5, 1, lowest)
    step, shift = (1, 0) if dense.weights.step == 1 else (dense.weights.step, dense.weights.low)
    ties = [_tied(fixed, c, np.broadcast_to(milp.blocks["W1"], c.shape), h[:, :, None] * step, h[:, :, None] * shift)]
    return _restricted(milp, fixed, x, ties, (1,))


def _tied(fixed: Mask, c: NDArray[np.int64], source: NDArray[np.int64], factor: Point, shift: Point) -> Ties:
    """Tie the products that are not always 0, and fix the others."""
    factor, shift = np.broadcast_to(factor, c.shape), np.broadcast_to(shift, c.shape)
    live = factor != 0
    fixed[c[~live]] = True
    return Ties(c[live], source[live], factor[live].astype(np.float64), shift[live].astype(np.float64))


def _restricted(milp: MILP, fixed: Mask, x: Point, ties: list[Ties], layers: tuple[int, ...]) -> Restricted:
    joined = Ties(
        *(np.concatenate([getattr(t, part) for t in ties]) for part in ("columns", "sources", "factor", "shift"))
    )
    return restrict(_without_rows(milp, _implied(milp, layers) | _settled(milp, fixed)), fixed, x, joined)


def _implied(milp: MILP, layers: tuple[int, ...]) -> Mask:
    """Tell the rows that define products of some layers: they hold a product, and no pre-activation."""
    products, sums = np.zeros(milp.n_columns), np.zeros(milp.n_columns)
    for layer in layers:
        products[milp.blocks[f"c{layer}"].ravel()] = 1
        sums[milp.blocks[f"a{layer}"].ravel()] = 1
    pattern = milp.A != 0
    return np.asarray((pattern @ products > 0) & (pattern @ sums == 0))


def _settled(milp: MILP, fixed: Mask) -> Mask:
    """Tell the rows whose columns, with the indicator, are all fixed."""
    free = np.asarray((milp.A != 0) @ (~fixed).astype(np.float64)) > 0
    conditional = milp.indicator >= 0
    free[conditional] |= ~fixed[milp.indicator[conditional]]
    return ~free


def _without_rows(milp: MILP, left_out: Mask) -> MILP:
    rows = ~left_out
    return replace(
        milp,
        A=milp.A[rows],
        row_lower=milp.row_lower[rows],
        row_upper=milp.row_upper[rows],
        indicator=milp.indicator[rows],
        indicator_value=milp.indicator_value[rows],
    )
