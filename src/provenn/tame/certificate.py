"""A tree with a dual vector for every leaf: a proof for one model, a lower bound for all changed ones."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import inf, lcm, nextafter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from provenn.check_proof import RejectedError, check_milp, least_bound, problem_hash
from provenn.errors import InputError, ModelFileError
from provenn.milp import MILP, Limits, OnEvent
from provenn.milp.lower import big_m, integral_bounds
from provenn.status import Status
from provenn.tame._duals import (
    Dual,
    Duals,
    all_bounds,
    float_errors,
    own_bounds,
    reduced_costs,
    row_parts,
)
from provenn.tame._exact import Rationals, largest
from provenn.tame._problem_data import model_of, problem_data
from provenn.tame._simplex import Floats, Integers
from provenn.tame._tree import Tree
from provenn.tame.linearisation import Linearisation

ZERO: Dual = (1, [], [])
"""Bounds every box by its corners alone, whatever the rows become."""
CHUNK = 512
"""Leaves that are tried against all duals at a time."""


@dataclass(frozen=True)
class DualCertificate:
    """A value, a point that has it, and a dual function F that is at most the optimum of any changed model.

    ``F(A, b, c) = min over leaves, max over duals y, of  y b + sum_j min(r_j l_j, r_j u_j)``, ``r = c - A' y``,
    with the leaf's box as l and u, and as b_i the lower side of a row where y_i is positive, else the upper.

    Parameters
    ----------
    milp : MILP
        The model, conditional rows lowered and bounds of integer columns whole.
    tree : Tree
    duals : Duals
    point : tuple of Fraction, or None
        The best known point, exactly.
    exact_value : Fraction or None
        Its objective.
    exact_bound : Fraction
        The least bound of all leaves, each by its own dual.
    status : Status
        Why the search stopped.
    seconds : float
    programs : int
        Linear programs that were solved.
    slack : Fraction
        By how much the point breaks the bound or side that it breaks most: 0, or rounding of data for which no
        point is feasible exactly. The bound does not depend on it.
    """

    milp: MILP
    tree: Tree
    duals: Duals
    point: tuple[Fraction, ...] | None
    exact_value: Fraction | None
    exact_bound: Fraction
    status: Status
    seconds: float = 0.0
    programs: int = 0
    slack: Fraction = Fraction(0)

    @classmethod
    def of(
        cls,
        milp: MILP,
        tree: Tree,
        duals: list[Dual],
        point: Rationals | None,
        value: Fraction | None,
        status: Status,
        seconds: float = 0.0,
        programs: int = 0,
        slack: Fraction = Fraction(0),
    ) -> "DualCertificate":
        """Pack a tree and compute the exact bound of its leaves; the zero vector joins the pool."""
        duals = duals if ZERO in duals else [*duals, ZERO]
        kept = Duals(tuple(duals), milp.n_rows)
        bound = least_bound(problem_data(milp), _listed(tree), [list(dual) for dual in duals])
        open_ = value is not None and (bound < value or slack > 0)
        if (status is Status.OPTIMAL and open_) or (status is Status.INFEASIBLE and bound <= largest(milp)):
            status = Status.TOLERANCE
        x = None if point is None else tuple(point)
        return cls(milp, tree, kept, x, value, bound, status, seconds, programs, slack)

    @property
    def value(self) -> float | None:
        """Objective of the best known point."""
        return None if self.exact_value is None else float(self.exact_value)

    @property
    def bound(self) -> float:
        """Proven lower bound, rounded down to a float."""
        near = float(self.exact_bound)
        return near if Fraction(near) <= self.exact_bound else nextafter(near, -inf)

    @property
    def x(self) -> Floats | None:
        """The best known point in floats, shape (n,)."""
        return None if self.point is None else np.array([float(v) for v in self.point])

    @property
    def gap(self) -> Fraction | None:
        """Exact difference of value and bound, 0 for a complete proof; None without a point."""
        return None if self.exact_value is None else max(self.exact_value - self.exact_bound, Fraction(0))

    def lower_bound(self, milp: MILP | None = None) -> float:
        """Return F at a model with the same rows, columns and integer columns, rounding accounted for.

        Parameters
        ----------
        milp : MILP, optional
            A, the rows' sides, costs and bounds may differ. The certificate's own model by default.

        Raises
        ------
        InputError
            When the model has another shape, or columns without finite bounds.
        """
        milp = self._fitting(milp)
        bounds, _ = self._raised(milp)
        return float(bounds.min()) + milp.offset

    def grad(self, milp: MILP | None = None) -> Linearisation:
        """Return the linear function of the data that touches F's active piece at a model.

        The piece ``g(y)`` of one leaf and one dual is concave in (A, b, c), so the linear function is above it
        everywhere. Where one piece is active alone, it is the derivative of F.
        """
        milp = self._fitting(milp)
        bounds, best = self._raised(milp)
        leaf = int(np.argmin(bounds))
        low, high = self._boxes(milp, np.array([leaf]))
        if (low > high).any():
            raise InputError("no point is within the bounds of the columns: there is nothing to differentiate")
        return Linearisation.of(milp, self.duals.vectors[best[leaf]], low[0], high[0])

    def leaf_bounds(self, milp: MILP | None = None) -> Floats:
        """Return the bound of every leaf by its own dual, shape (leaves,)."""
        milp = self._fitting(milp)
        return self._own(milp) + milp.offset

    def warm_start(
        self,
        milp: MILP,
        incumbent: ArrayLike | None = None,
        limits: Limits | None = None,
        on_event: OnEvent | None = None,
    ) -> "DualCertificate":
        """Certify a changed model: only leaves whose bound is below the incumbent's value are searched again.

        Parameters
        ----------
        milp : MILP
        incumbent : array of shape (n,), optional
            A good point of the changed model. The old point is tried too.
        limits, on_event : optional
            See `branch_and_bound`.
        """
        from provenn.tame._engine import Engine
        from provenn.tame.branch_and_bound import search

        milp = self._fitting(milp)
        engine = Engine(milp)
        for x in (self.x, None if incumbent is None else np.asarray(incumbent, dtype=np.float64)):
            if x is not None:
                engine.offer(x)
        bounds, best = self._raised(milp, engine.cutoff)
        per_node, tree = np.full(self.tree.n_nodes, -inf), self.tree
        dual = tree.dual.copy()
        per_node[tree.leaves], dual[tree.leaves] = bounds, best
        engine.adopt(Tree(tree.column, tree.left, tree.split, dual), self.duals.vectors, per_node, engine.cutoff)
        return search(engine, None, limits or Limits(), on_event)

    def prepared(self, models: Iterable[MILP], limits: Limits | None = None) -> "DualCertificate":
        """Return a certificate of the same model whose bounds hold up better near other models.

        Each model is certified from the tree so far; its splits and duals stay. F is nowhere lower than before,
        it touches the optimum at each of the models, and evaluating it takes longer.

        Parameters
        ----------
        models : iterable of MILP
            Changes that may come, for example drawn by chance.
        limits : Limits, optional
            Of each search, see `branch_and_bound`.
        """
        kept = self
        for milp in models:
            solved = kept.warm_start(milp, limits=limits)
            known = {_key(dual) for dual in kept.duals.exact}
            more = [dual for dual in solved.duals.exact if _key(dual) not in known]
            duals = Duals((*kept.duals.exact, *more), self.milp.n_rows)
            kept = replace(kept, tree=kept.tree.refined(solved.tree), duals=duals)
        return kept

    def verify(self) -> dict[str, Any]:
        """Check everything in rational arithmetic, by the checker that needs the standard library alone.

        Returns
        -------
        dict
            "value", "bound" and "slack" as Fractions, "optimal", "infeasible", "leaves".

        Raises
        ------
        RejectedError
            When something does not hold.
        """
        return check_milp(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the proof as a dictionary of whole numbers and lists, ready for JSON."""
        data, value, bound = problem_data(self.milp), self.exact_value, self.exact_bound
        return {
            "format": "provenn-proof",
            "version": 1,
            "kind": "milp",
            "problem": data,
            "hash": problem_hash(data),
            "status": self.status.name,
            "value": None if value is None else [value.numerator, value.denominator],
            "bound": [bound.numerator, bound.denominator],
            "x": None if self.point is None else _common(self.point),
            "slack": [self.slack.numerator, self.slack.denominator],
            "tree": _listed(self.tree),
            "duals": [list(dual) for dual in self.duals.exact],
        }

    @classmethod
    def from_dict(cls, proof: dict[str, Any]) -> "DualCertificate":
        """Read a proof and check it.

        Raises
        ------
        ModelFileError
            When it is damaged or proves less than it claims.
        """
        try:
            shown = check_milp(proof)
            status = Status[proof["status"]]
        except (RejectedError, KeyError) as error:
            raise ModelFileError(f"the proof cannot be used: {error}") from error
        milp, x = model_of(proof["problem"]), proof["x"]
        point = None if x is None else tuple(Fraction(v, x["denominator"]) for v in x["x"])
        duals = Duals(tuple((d, rows, values) for d, rows, values in proof["duals"]), milp.n_rows)
        slack = shown["slack"]
        return cls(milp, _unlisted(proof["tree"]), duals, point, shown["value"], shown["bound"], status, slack=slack)

    def _fitting(self, milp: MILP | None) -> MILP:
        """Lower a changed model and refuse one that does not fit."""
        if milp is None:
            return self.milp
        milp = big_m(milp)
        if milp.A.shape != self.milp.A.shape or (milp.integer != self.milp.integer).any():
            raise InputError(
                f"the certificate is for {self.milp.n_rows} rows and {self.milp.n_columns} columns with its own "
                f"integer columns, the model has {milp.n_rows} rows and {milp.n_columns} columns or other integer ones"
            )
        lower, upper = integral_bounds(milp)
        if not (np.isfinite(lower).all() and np.isfinite(upper).all()):
            raise InputError("the changed model has columns without finite bounds: give every column finite bounds")
        return milp.with_bounds(lower, upper)

    def _boxes(self, milp: MILP, leaves: Integers) -> tuple[Floats, Floats]:
        return self.tree.boxes(self.tree.leaves[leaves], milp.col_lower, milp.col_upper)

    @cached_property
    def _which(self) -> Integers:
        """Dual of every leaf."""
        return self.tree.dual[self.tree.leaves]

    def _parts(self, milp: MILP) -> tuple[Floats, Floats]:
        """Reduced costs of every dual, and what its rows give, less what rounding may add."""
        Y, rows = row_parts(milp, self.duals.vectors)
        return reduced_costs(milp, Y), rows - float_errors(milp, Y)

    def _own(self, milp: MILP) -> Floats:
        """Bound of every leaf by its own dual, offset excluded."""
        R, rows = self._parts(milp)
        bounds = np.empty(len(self._which))
        for first in range(0, len(bounds), 8 * CHUNK):
            part = np.arange(first, min(first + 8 * CHUNK, len(bounds)))
            own = self._which[part]
            bounds[part] = own_bounds(R[own], rows[own], *self._boxes(milp, part))
        return bounds

    def _raised(self, milp: MILP, enough: float = inf) -> tuple[Floats, Integers]:
        """Bounds of leaves, and by which dual; those that decide the least one, or are not enough, by all duals."""
        R, rows = self._parts(milp)
        bounds, best = self._own(milp), self._which.copy()
        todo = np.argsort(bounds, kind="stable")
        reached, size = inf, 16
        while todo.size and bounds[todo[0]] < (min(reached, enough) if enough == inf else enough):
            part, todo = todo[:size], todo[size:]
            raised = all_bounds(R, rows, *self._boxes(milp, part))
            choice = np.argmax(raised, axis=1)
            better = raised[np.arange(len(part)), choice] > bounds[part]
            best[part] = np.where(better, choice, best[part])
            bounds[part] = np.where(better, raised[np.arange(len(part)), choice], bounds[part])
            reached, size = min(reached, float(bounds[part].min())), min(2 * size, CHUNK)
        return bounds, best


def _key(dual: Dual) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    denominator, rows, numerators = dual
    return denominator, tuple(rows), tuple(numerators)


def _listed(tree: Tree) -> list[Any]:
    """Nodes in the order root, left, right: ``[column, split]`` or the number of the leaf's dual."""
    column, split, dual = tree.column.tolist(), tree.split.tolist(), tree.dual.tolist()
    return [[column[node], int(split[node])] if column[node] >= 0 else dual[node] for node in tree.preorder()]


def _unlisted(listed: list[Any]) -> Tree:
    """Return the tree of such a list; the children of a node follow each other."""
    nodes = [[-1, -1, 0, -1]]
    stack = [0]
    for entry in listed:
        node = nodes[stack.pop()]
        if isinstance(entry, int):
            node[3] = entry
            continue
        node[0], node[1], node[2] = entry[0], len(nodes), entry[1]
        stack += [len(nodes) + 1, len(nodes)]
        nodes += [[-1, -1, 0, -1], [-1, -1, 0, -1]]
    column, left, split, dual = np.array(nodes, dtype=np.int64).T
    return Tree(column, left, split.astype(np.float64), dual)


def _common(point: tuple[Fraction, ...]) -> dict[str, Any]:
    """Bring a point to its common denominator."""
    denominator = lcm(*(v.denominator for v in point))
    return {"denominator": denominator, "x": [int(v * denominator) for v in point]}
