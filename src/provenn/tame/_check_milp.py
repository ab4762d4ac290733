"""Checks a proof of a mixed-integer linear program, with the standard library alone.

The problem: minimise ``c x + offset`` subject to ``L <= A x <= U`` and ``l <= x <= u``, some columns
integer. All numbers are integers over a power of two. A tree of splits of integer columns covers all points:
left ``x_j <= v``, right ``x_j >= v + 1``. In the box of a leaf any vector y, with ``r = c - A' y``, bounds the
objective from below by ``g = sum_i y_i side_i + sum_j min(r_j l_j, r_j u_j) + offset``, where a positive y_i
takes the lower side of its row and a negative one the upper. The least g of all leaves bounds the optimum.
"""

import hashlib
import json
from collections.abc import Iterator
from fractions import Fraction
from typing import Any


class ProofError(Exception):
    """The proof is damaged, or does not show what it claims."""


def check_milp(proof: dict[str, Any], problem: dict[str, Any] | None = None) -> dict[str, Any]:
    """Check a proof of kind "milp"; return what it shows.

    Parameters
    ----------
    proof : dict
        As read from JSON.
    problem : dict, optional
        The problem that must have been proven, if not the one in the proof.

    Returns
    -------
    dict
        "value": Fraction or None, the objective of the proof's point; "bound": Fraction, at most the
        objective of any point; "optimal": whether they are equal; "infeasible": whether there is no
        point; "leaves": their number.

    Raises
    ------
    ProofError
    """
    try:
        return _check(proof, problem)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise ProofError(f"the proof is damaged: {type(error).__name__}: {error}") from error


def problem_hash(problem: dict[str, Any]) -> str:
    """Return the SHA-256 of a problem's data."""
    text = json.dumps(problem, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _check(proof: dict[str, Any], problem: dict[str, Any] | None) -> dict[str, Any]:
    for key, known in (("format", "provenn-proof"), ("version", 1), ("kind", "milp")):
        _need(proof[key] == known and type(proof[key]) is type(known), f"{key} is not {known!r}")
    data = proof["problem"]
    _need(problem is None or problem == data, "the proof is of another problem")
    _need(proof["hash"] == problem_hash(data), "the hash is not that of the problem in the proof")
    model = _Model(data)
    bound, claimed = _fraction(proof["bound"]), proof["value"]
    leaves = _check_tree(model, proof["tree"], [_Dual(model, dual) for dual in proof["duals"]], bound)
    value = None
    if claimed is None:
        _need(proof["x"] is None, "a point without a value")
    else:
        value = model.value(proof["x"])
        _need(value == _fraction(claimed), "the point's objective is not the claimed value")
        _need(value >= bound, "the bound is above the value")
    infeasible = bound > model.largest()
    return {
        "value": value,
        "bound": bound,
        "optimal": value == bound,
        "infeasible": infeasible,
        "leaves": leaves,
    }


def _need(holds: bool, what: str) -> None:
    if not holds:
        raise ProofError(what)


def _int(value: Any) -> int:
    _need(type(value) is int, f"{value!r} is no integer")
    number: int = value
    return number


def _ints(values: Any, length: int) -> list[int]:
    _need(type(values) is list and len(values) == length, f"a list does not have {length} entries")
    _need(all(type(v) is int for v in values), "a list has entries that are no integers")
    whole: list[int] = values
    return whole


def _bounds(values: Any, length: int) -> list[int | None]:
    _need(type(values) is list and len(values) == length, f"a list does not have {length} entries")
    _need(all(v is None or type(v) is int for v in values), "a bound is neither integer nor null")
    bounds: list[int | None] = values
    return bounds


def _fraction(pair: Any) -> Fraction:
    numerator, denominator = _ints(pair, 2)
    _need(denominator > 0, "a denominator is not positive")
    return Fraction(numerator, denominator)


class _Model:
    """The problem; numbers count units of ``1 / unit``, a power of two."""

    def __init__(self, data: dict[str, Any]) -> None:
        shift, self.n, self.m = _int(data["shift"]), _int(data["columns"]), _int(data["rows"])
        _need(shift >= 0 and self.n >= 0 and self.m >= 0, "a size is negative")
        self.unit = 1 << shift
        self.c = _ints(data["c"], self.n)
        self.offset = _int(data["offset"])
        self.row_lower, self.row_upper = _bounds(data["row_lower"], self.m), _bounds(data["row_upper"], self.m)
        lower, upper = _bounds(data["col_lower"], self.n), _bounds(data["col_upper"], self.n)
        self.integer = _ints(data["integer"], self.n)
        self.A = self._rows(data["A"])
        self.lower = [self._inward(v, k, -1) for v, k in zip(lower, self.integer, strict=True)]
        self.upper = [self._inward(v, k, 1) for v, k in zip(upper, self.integer, strict=True)]

    def _rows(self, rows: Any) -> list[list[tuple[int, int]]]:
        _need(type(rows) is list and len(rows) == self.m, "the matrix has another number of rows")
        pairs = []
        for columns, values in rows:
            _ints(values, len(_ints(columns, len(columns))))
            _need(all(0 <= j < self.n for j in columns), "an entry is outside the matrix")
            pairs.append(list(zip(columns, values, strict=True)))
        return pairs

    def _inward(self, bound: int | None, integer: int, side: int) -> int:
        """Finite bound, rounded to a whole number inwards for integer columns."""
        if bound is None:
            raise ProofError("a column has no finite bound")
        return side * ((side * bound) // self.unit * self.unit) if integer else bound

    def largest(self) -> Fraction:
        """Return the largest objective in the columns' bounds."""
        total = sum(max(c * low, c * up) for c, low, up in zip(self.c, self.lower, self.upper, strict=True))
        return Fraction(total + self.offset * self.unit, self.unit**2)

    def value(self, point: Any) -> Fraction:
        """Objective of a point, which must satisfy everything exactly."""
        denominator = _int(point["denominator"])
        x = _ints(point["x"], self.n)
        _need(denominator > 0, "the point's denominator is not positive")
        for v, low, up, integer in zip(x, self.lower, self.upper, self.integer, strict=True):
            _need(low * denominator <= v * self.unit <= up * denominator, "the point is outside a column's bounds")
            _need(not integer or v % denominator == 0, "an integer column is not whole at the point")
        for row, below, above in zip(self.A, self.row_lower, self.row_upper, strict=True):
            activity = sum(a * x[j] for j, a in row)
            _need(below is None or below * denominator <= activity, "the point breaks the lower side of a row")
            _need(above is None or activity <= above * denominator, "the point breaks the upper side of a row")
        total = sum(c * v for c, v in zip(self.c, x, strict=True))
        return Fraction(total + self.offset * denominator, self.unit * denominator)


class _Dual:
    """One vector y over its denominator, and the bound that it gives in the root's box.

    `scale` times a bound is an integer, so leaves only add what their splits change.
    """

    def __init__(self, model: _Model, dual: Any) -> None:
        denominator, rows, numerators = dual
        _need(_int(denominator) > 0, "a denominator is not positive")
        _ints(numerators, len(_ints(rows, len(rows))))
        _need(len(set(rows)) == len(rows), "a dual names a row twice")
        reduced = {j: c * denominator for j, c in enumerate(model.c) if c}
        total = model.offset * model.unit * denominator
        for i, y in zip(rows, numerators, strict=True):
            _need(0 <= i < model.m, "a dual names a row that does not exist")
            if y:
                side = model.row_lower[i] if y > 0 else model.row_upper[i]
                if side is None:
                    raise ProofError("a dual has the sign of a side that its row does not have")
                total += y * side * model.unit
                for j, a in model.A[i]:
                    reduced[j] = reduced.get(j, 0) - y * a
        self.reduced = reduced
        self.scale = model.unit * model.unit * denominator
        self.root = total + sum(r * (model.lower[j] if r > 0 else model.upper[j]) for j, r in reduced.items())

    def bound(self, model: _Model, box: dict[int, tuple[int, int]]) -> int:
        """Return `scale` times the bound in a box, given by the columns that differ from the root's."""
        total = self.root
        for j, (low, up) in box.items():
            r = self.reduced.get(j, 0)
            total += r * (low - model.lower[j]) if r > 0 else r * (up - model.upper[j])
        return total


def _check_tree(model: _Model, tree: Any, duals: list[_Dual], bound: Fraction) -> int:
    """Every leaf's dual must reach the bound; return the number of leaves."""
    need = [-(-bound.numerator * dual.scale // bound.denominator) for dual in duals]
    leaves = 0
    for number, reached in _leaf_bounds(model, tree, duals):
        _need(reached is None or reached >= need[number], f"leaf {leaves} does not reach the bound")
        leaves += 1
    return leaves


def _leaf_bounds(model: _Model, tree: Any, duals: list[_Dual]) -> Iterator[tuple[int, int | None]]:
    """Each leaf's dual and its scaled bound, None in an empty box; nodes come in the order root, left, right."""
    _need(type(tree) is list, "the tree is no list")
    boxes: list[dict[int, tuple[int, int]]] = [{}]
    for node in tree:
        _need(bool(boxes), "the tree has nodes after its last leaf")
        box = boxes.pop()
        if type(node) is list:
            boxes.extend(_split(model, node, box))
            continue
        number = _int(node)
        _need(0 <= number < len(duals), "a leaf names a dual that does not exist")
        empty = any(low > up for low, up in box.values())
        yield number, None if empty else duals[number].bound(model, box)
    _need(not boxes, "the tree does not cover all points: leaves are missing")


def least_bound(problem: dict[str, Any], tree: list[Any], duals: list[Any]) -> Fraction:
    """Return the bound that a tree proves: the least of all leaves."""
    model = _Model(problem)
    counted = [_Dual(model, dual) for dual in duals]
    least: dict[int, int] = {}
    for number, reached in _leaf_bounds(model, tree, counted):
        if reached is not None and reached < least.get(number, reached + 1):
            least[number] = reached
    return min(Fraction(reached, counted[number].scale) for number, reached in least.items())


def _split(model: _Model, node: Any, box: dict[int, tuple[int, int]]) -> list[dict[int, tuple[int, int]]]:
    """Return the boxes right and left of a split."""
    j, v = _ints(node, 2)
    _need(0 <= j < model.n and bool(model.integer[j]), "a split of a column that is not integer")
    low, up = box.get(j, (model.lower[j], model.upper[j]))
    left = {**box, j: (low, min(up, v * model.unit))}
    right = {**box, j: (max(low, (v + 1) * model.unit), up)}
    return [right, left]
