"""Turns the duals of a tree, which are floats, into short exact numbers that still reach the goal."""

from dataclasses import replace
from fractions import Fraction

import numpy as np

from provenn.check_proof import Dual as CheckedDual
from provenn.check_proof import Program
from provenn.milp import MILP
from provenn.tame._duals import Dual, dyadic, float_errors, from_rationals, own_bounds, reduced_costs, row_parts
from provenn.tame._exact import basis_duals, closing_duals, feasible_vertex, near_rationals, solved
from provenn.tame._problem_data import problem_data
from provenn.tame._simplex import Floats, Integers
from provenn.tame._tree import Tree

GRIDS = (10, 20, 30, 42)
"""Bits after the point that are tried in turn."""
TIE = 1e-6
"""How far below the goal a leaf may be and still be worth exact duals, relative to the goal."""
MOST_BASES = 200
"""Leaves whose duals are recomputed from their basis in rational arithmetic, at most."""
CHUNK = 4096
Box = dict[int, tuple[int, int]]


def shorten(milp: MILP, tree: Tree, Y: Floats, goal: Fraction | None) -> tuple[Tree, list[Dual]]:
    """Return the tree with its duals on the coarsest grid on which all their leaves reach the goal.

    Leaves that a dual only just closes get simple fractions or the exact duals of their basis. Leaves
    below the goal keep the finest grid; their bounds stay valid, as any dual's do.

    Parameters
    ----------
    milp : MILP
    tree : Tree
    Y : ndarray of shape (p, m), float64
    goal : Fraction or None
        Value to reach; None where no point is known.

    Returns
    -------
    tree : Tree
        The same splits; numbers of duals in the order of their first leaf.
    duals : list of Dual
        Those in use.
    """
    used, which = np.unique(tree.dual[tree.leaves], return_inverse=True)
    Y = row_parts(milp, Y[used])[0]
    exact, pending = [dyadic(y, GRIDS[-1]) for y in Y], np.ones(len(used), dtype=np.bool_)
    reached = np.zeros(len(used))
    target = float(goal) - milp.offset if goal is not None else np.inf
    for bits in GRIDS:
        rounded = np.rint(Y * 2.0**bits) * 2.0**-bits
        reached = _least(milp, tree, rounded, which, pending)
        margin = float_errors(milp, rounded)
        done = pending & (reached >= target + margin)
        for k in np.flatnonzero(done):
            exact[k] = dyadic(Y[k], bits)
        pending &= ~done
    pending &= reached >= target - TIE * (1 + abs(target))
    if goal is not None and pending.any():
        which = _close_ties(milp, tree, Y, exact, which, np.flatnonzero(pending), goal)
    return _renumber(tree, which, exact)


def _least(milp: MILP, tree: Tree, Y: Floats, which: Integers, wanted: np.ndarray) -> Floats:
    """Smallest bound of all leaves of each wanted dual, offset excluded."""
    Y, rows = row_parts(milp, Y)
    least = np.full(len(Y), np.inf)
    leaves = np.flatnonzero(wanted[which])
    R = reduced_costs(milp, Y)
    for first in range(0, len(leaves), CHUNK):
        part = leaves[first : first + CHUNK]
        low, high = tree.boxes(tree.leaves[part], milp.col_lower, milp.col_upper)
        np.minimum.at(least, which[part], own_bounds(R[which[part]], rows[which[part]], low, high))
    return least


def _close_ties(
    milp: MILP, tree: Tree, Y: Floats, exact: list[Dual], which: Integers, duals: Integers, goal: Fraction
) -> Integers:
    """Replace duals that fall short of the goal by exact ones, leaf by leaf where needed."""
    model, which, bases = Program(problem_data(milp)), which.copy(), 0
    for k in duals:
        places = np.flatnonzero(which == k)
        boxes = [_box(milp, model, tree, int(tree.leaves[i])) for i in places]
        nonzero = np.flatnonzero(np.abs(Y[k]) > 1e-11)
        simple = near_rationals(Y[k][nonzero])
        if simple is not None:
            candidate = from_rationals(dict(zip(nonzero.tolist(), simple, strict=True)))
            if all(_reaches(model, candidate, box, goal) for box in boxes):
                exact[k] = candidate
                continue
        for i, box in zip(places, boxes, strict=True):
            if bases < MOST_BASES and not _reaches(model, exact[k], box, goal):
                bases += 1
                found = _from_basis(milp, tree, int(tree.leaves[i]), goal)
                if found is not None and _bound(model, found, box) > _bound(model, exact[k], box):
                    which[i] = len(exact)
                    exact.append(found)
    return which


def _bound(model: Program, dual: Dual, box: Box) -> Fraction:
    counted = CheckedDual(model, list(dual))
    return Fraction(counted.bound(model, box), counted.scale)


def _reaches(model: Program, dual: Dual, box: Box, goal: Fraction) -> bool:
    return any(low > up for low, up in box.values()) or _bound(model, dual, box) >= goal


def _box(milp: MILP, model: Program, tree: Tree, leaf: int) -> Box:
    """Columns whose bounds the splits above a leaf have changed, in units."""
    low, high = tree.boxes(np.array([leaf]), milp.col_lower, milp.col_upper)
    changed = np.flatnonzero((low[0] != milp.col_lower) | (high[0] != milp.col_upper))
    return {int(j): (int(low[0, j]) * model.unit, int(high[0, j]) * model.unit) for j in changed}


def _from_basis(milp: MILP, tree: Tree, leaf: int, goal: Fraction) -> Dual | None:
    """Return the exact duals of an optimal basis of a leaf's program, or duals past the goal where it has no point."""
    low, high = tree.boxes(np.array([leaf]), milp.col_lower, milp.col_upper)
    tab = solved(milp, low[0], high[0])
    if tab is None:
        past = float(goal) - milp.offset + 1 + abs(float(goal))
        return dyadic(row_parts(milp, closing_duals(milp, low[0], high[0], past)[None])[0][0], GRIDS[-1])
    feasible_vertex(milp, tab, np.append(low[0], milp.row_lower), np.append(high[0], milp.row_upper))
    y = basis_duals(milp, tab.basic, tab.nonbasic)
    if y is None:
        return None
    kept = {i: v for i, v in y.items() if np.isfinite(milp.row_lower[i] if v > 0 else milp.row_upper[i])}
    return from_rationals(kept)


def _renumber(tree: Tree, which: Integers, exact: list[Dual]) -> tuple[Tree, list[Dual]]:
    """Give the duals in use numbers in the order of their first leaf."""
    used, first = np.unique(which, return_index=True)
    order = used[np.argsort(first)]
    number = np.empty(len(exact), dtype=np.int64)
    number[order] = np.arange(len(order))
    dual = np.full(tree.n_nodes, -1, dtype=np.int64)
    dual[tree.leaves] = number[which]
    return replace(tree, dual=dual), [exact[k] for k in order]
