"""Checks a proof that provenn wrote: one file that needs nothing but Python's standard library.

``python check_proof.py proof.json model.json data.csv`` encodes the rows again, recomputes the network's loss in
integers and derives the lower bound from the proof in exact arithmetic. The documentation's page on proofs has the
argument.
"""

import argparse
import csv
import hashlib
import io
import itertools
import json
import math
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from operator import mul
from pathlib import Path
from typing import Any

MISSING = {"", "?", "NA", "N/A", "NaN", "nan", "null", "NULL"}
CLIP, MICRO, MOST_POINTS = 2**30, 10**6, 4
ONE, NODE_BITS, UNITS = 2**24, 8, 2**10
Json = dict[str, Any]
Box = tuple[list[int], list[int]]
Row = tuple[list[int], list[int]]


class RejectedError(ValueError):
    """The proof, the model or the data do not show what is claimed."""


def demand(true: Any, text: str) -> None:
    """Reject with a text unless something is true."""
    if not true:
        raise RejectedError(text)


# --- Data: rows of CSV become integers on the grid of the model, and equal ones are merged. ---


def read_csv(text: str, delimiter: str | None) -> dict[str, list[str]]:
    """Return the columns of CSV text by their names."""

    def merit(mark: str) -> tuple[int, int]:
        widths = [len(row) for row in itertools.islice(csv.reader(io.StringIO(text), delimiter=mark), 20) if row]
        return (sum(width == widths[0] for width in widths) if widths[0] > 1 else 0, widths[0])

    mark = delimiter or max((",", ";", "\t"), key=merit)
    rows = [r for r in csv.reader(io.StringIO(text), delimiter=mark, skipinitialspace=True, strict=True) if r]
    demand(all(len(row) == len(rows[0]) for row in rows), "rows of the data differ in their number of cells")
    names = [name.strip() or f"column {i + 1}" for i, name in enumerate(rows[0])]
    return {name: [row[i] for row in rows[1:]] for i, name in enumerate(names)}


def number(cell: str) -> float:
    """Return a cell as a double; True is 1 and False 0."""
    text = cell.strip().lower()
    return float(text == "true") if text in ("true", "false") else float(text)


def positions(cells: Sequence[str], known: Sequence[Any]) -> list[int]:
    """Return the index in `known`, values of one type, of every cell."""
    index, text = {value: i for i, value in enumerate(known)}, all(isinstance(value, str) for value in known)
    found = [index.get(cell if text else number(cell), -1) for cell in cells]
    demand(-1 not in found, f"the model knows {', '.join(map(str, known[:8]))}, and a cell holds something else")
    return found


def encode(encoding: Json, table: dict[str, list[str]]) -> list[tuple[int, ...]]:
    """Return the integer inputs of every row."""
    numeric = [name for name in encoding["columns"] if name not in encoding["categories"]]
    scale, columns = scale_of(encoding), list[list[int]]()
    for name in encoding["columns"]:
        demand(name in table, f"the data lack the column {name!r}")
        cells = table[name]
        demand(not MISSING.intersection(cells), f"the column {name!r} has missing values")
        if name in encoding["categories"]:
            found = positions(cells, known := encoding["categories"][name])
            columns += [[scale * (i == j) for i in found] for j in range(len(known))]
        elif encoding["quantize"] == "grid":
            i = numeric.index(name)
            columns.append([on_grid(number(c), encoding["offset"][i], encoding["divisor"][i], scale) for c in cells])
        else:
            cuts = encoding["thresholds"][numeric.index(name)]
            columns += [[int(number(c) >= cut) for c in cells] for cut in cuts]
    return list(zip(*columns, strict=True)) if columns else [(0,)] * len(next(iter(table.values())))


def scale_of(encoding: Json) -> int:
    """Return the grid units in 1."""
    return int(encoding["steps"]) if encoding["quantize"] == "grid" else 1


def on_grid(value: float, offset: float, divisor: float, steps: int) -> int:
    """Return ``rint(steps * (value - offset) / divisor)``, clipped; 0 for a column that was constant."""
    return round(min(max((value - offset) / divisor * steps, -CLIP), CLIP)) if divisor > 0 else 0


def sample_weights(model: Json, y: list[int]) -> list[int]:
    """Return the whole weight of every row, from the class weights of the model."""
    given, counts = model["options"]["class_weight"], Counter(y)
    named = {} if given in (None, "balanced") else {label: weight for label, weight in given}
    of = {c: named.get(model["classes"][c], 1.0) for c in counts}
    if given == "balanced":
        of = {c: len(y) / (len(counts) * float(counts[c])) for c in counts}
    if all(weight == round(weight) for weight in of.values()):
        return [round(of[c]) for c in y]
    return [max(1, round(of[c] * model["weight_unit"])) for c in y]


class Data:
    """Distinct samples X with class y and multiplicity; `scale` grid units make 1."""

    def __init__(self, X: Sequence[Sequence[int]], y: list[int], multiplicity: list[int], scale: int, n: int) -> None:
        self.X, self.y, self.multiplicity, self.scale, self.classes = X, y, multiplicity, scale, n

    def fingerprint(self) -> str:
        """Return the SHA-256 of samples, labels, multiplicities and scale."""
        names = [str(c) for c in range(self.classes)]
        digest = hashlib.sha256(f"{(len(self.X), len(self.X[0]))}{self.scale}{names}".encode())
        for values in ([*itertools.chain(*self.X)], self.y, self.multiplicity):
            digest.update(struct.pack(f"<{len(values)}q", *values))
        return digest.hexdigest()


def merge(model: Json, table: dict[str, list[str]]) -> Data:
    """Return the samples that a model was trained on, in lexicographic order."""
    demand(model["target"] in table, f"the data lack the target {model['target']!r}")
    y, counts = positions(table[model["target"]], model["classes"]), Counter[tuple[int, ...]]()
    for row, label, weight in zip(encode(model["encoding"], table), y, sample_weights(model, y), strict=True):
        counts[(*row, label)] += weight
    rows = sorted(row for row in counts if counts[row])
    scale, classes = scale_of(model["encoding"]), len(model["classes"])
    return Data([r[:-1] for r in rows], [r[-1] for r in rows], [counts[r] for r in rows], scale, classes)


# --- Losses T(z), integers, and lines below them: parts * T(z) >= intercept(p) - parts * slope * p * z. ---


class Logistic:
    """``T(z) = round(10^6 log(1 + exp(-z / tau)))``, and tangents of the curve less 1/2.

    The tangent of slope ``-10^6 s / tau`` has the intercept ``10^6 H(s)`` with the entropy H; that is concave, so
    that values between two nodes lie above the line through them. Line p has ``s = p / 2^24``; line 0 is 0.
    """

    parts = UNITS

    def __init__(self, tau: float) -> None:
        self.tau, self.slope = tau, Fraction(MICRO, ONE) / Fraction(tau)
        self.table, self.nodes = dict[int, int](), dict[int, int]()

    def exact(self, z: int, digits: int = 25) -> int:
        """Return T(z), by decimals with more digits where it takes them to decide."""
        if z not in self.table:
            with localcontext() as context:
                context.prec = digits
                ratio = Decimal(z) / Decimal(self.tau)
                tail = (1 + (-abs(ratio)).exp()).ln() if abs(ratio) < 100 else Decimal(0)
                value = MICRO * (tail + max(-ratio, Decimal(0)))
                whole = value.to_integral_value()
            near = abs(abs(value - whole) - Decimal("0.5")) < abs(value) * Decimal(10) ** (5 - digits) + Decimal("1e-9")
            self.table[z] = self.exact(z, 80) if near and digits < 80 else int(whole)
        return self.table[z]

    def line(self, z: float) -> int:
        """Return the line for a real z: ``s = 1 / (1 + exp(z / tau))``."""
        return round(ONE / (1.0 + math.exp(min(z / self.tau, 700.0))))

    def intercept(self, p: int) -> int:
        """Return the intercept of line p, interpolated between nodes of 8 binary digits."""
        q = min(p, ONE - p)
        bits = max(0, q.bit_length() - NODE_BITS)
        node, rest = q >> bits << bits, q & ((1 << bits) - 1)
        more = rest * (self.node(node + (1 << bits)) - self.node(node)) >> bits if rest else 0
        return self.node(node) + more if p else 0

    def node(self, q: int) -> int:
        """Return the entropy at q, less 1/2, rounded down."""
        if q not in self.nodes:
            with localcontext() as context:
                context.prec = 24
                s = Decimal(q) / ONE
                entropy = -s * s.ln() - (1 - s) * (1 - s).ln() if q else Decimal(0)
                self.nodes[q] = math.floor((MICRO * entropy - Decimal("0.5")) * UNITS - Decimal("1e-6"))
        return self.nodes[q]


class Hinge:
    """``(B - 4z)^2``, 0 from z = B/4 on, linear below z = -B/2; its tangent of slope -p: pB/4 - p²/64 - pz."""

    parts, slope = 64, Fraction(1)

    def __init__(self, B: int) -> None:
        self.B = B

    def exact(self, z: int) -> int:
        """Return T(z)."""
        return -3 * self.B**2 - 24 * self.B * z if 2 * z < -self.B else max(self.B - 4 * z, 0) ** 2

    def line(self, z: float) -> int:
        """Return the slope at a real z, rounded."""
        return round(min(max(8 * (self.B - 4 * z), 0), 24 * self.B))

    def intercept(self, p: int) -> int:
        """Return the intercept of line p."""
        return 16 * p * self.B - p * p


# --- One output: a neuron over a box, and a tree of boxes. ---


def nonzero(row: Sequence[int]) -> Row:
    """Return the positions of the entries that are not 0, and these."""
    return [i for i, value in enumerate(row) if value], [value for value in row if value]


def product(row: Row, v: Sequence[int]) -> int:
    """Return a row times a vector."""
    return sum(map(mul, row[1], map(v.__getitem__, row[0])))


class Neuron:
    """Minimise ``F(v) = sum_k m_k T(A_k v) + price * (weights not 0)``, with at most `budget` such weights.

    Parameters
    ----------
    A : list of rows ``t_k (x_k, scale)``, without the last entry where there is no bias
    multiplicity : list of int
    curve : Logistic or Hinge
    box : (low, high, step), lists with one integer an entry
    weights : int
        So many of the entries are weights; a bias costs and counts nothing.
    price : int
    budget : int or None
    """

    def __init__(
        self,
        A: Sequence[Sequence[int]],
        multiplicity: Sequence[int],
        curve: Logistic | Hinge,
        box: tuple[list[int], list[int], list[int]],
        weights: int,
        price: int,
        budget: int | None,
    ) -> None:
        self.multiplicity, self.curve, (self.low, self.high, self.step) = multiplicity, curve, box
        self.weights, self.price, self.budget = weights, price, budget
        self.rows = [nonzero(row) for row in A]
        self.columns = [nonzero([*map(mul, multiplicity, column)]) for column in zip(*A, strict=True)]
        self.unit = curve.parts * curve.slope.denominator

    def value(self, v: Sequence[int]) -> int | None:
        """Return F(v), or None outside the box or the budget."""
        used = sum(1 for x in v[: self.weights] if x)
        inside = all(
            a <= x <= b and (x - a) % s == 0 for x, a, b, s in zip(v, self.low, self.high, self.step, strict=True)
        )
        if not inside or (self.budget is not None and used > self.budget):
            return None
        losses = map(self.curve.exact, (product(row, v) for row in self.rows))
        return sum(map(mul, self.multiplicity, losses)) + self.price * used

    def tangent(self, w: Sequence[int], bits: int) -> tuple[int, list[int]]:
        """Return c and a with ``unit * sum_k m_k T(A_k v) >= c + a v`` for all integer v, nearly "=" at w / 2^bits."""
        p = [self.curve.line(product(row, w) / (1 << bits)) for row in self.rows]
        factor, c = -self.curve.parts * self.curve.slope.numerator, map(self.curve.intercept, p)
        total = sum(map(mul, self.multiplicity, c)) * self.curve.slope.denominator
        return total, [factor * product(column, p) for column in self.columns]

    def parts(self, c: int, a: Sequence[int], box: Box) -> tuple[int | None, list[int]]:
        """Return the least ``c + a v + unit * prices`` over a box, None for no point; and what each entry adds."""
        least, gains, room = [], list[int](), self.budget if self.budget is not None else self.weights
        for j, (low, high, step) in enumerate(zip(*box, self.step, strict=True)):
            zero, sign = low <= 0 <= high and low % step == 0, 1 if a[j] >= 0 else -1
            end = (low if sign > 0 else high) or sign * step
            away = a[j] * end + (self.price * self.unit if j < self.weights else 0) if low <= end <= high else 0
            least.append(min(away, 0) if zero else away)
            room -= j < self.weights and not zero
            gains += [least[-1]] if j < self.weights and zero else []
        return (c + sum(least) - sum(sorted(gains)[room:]) if room >= 0 else None), least

    def ends(self, j: int, a: int, box: Box, most: int) -> tuple[int, int]:
        """Return an interval that holds the values of entry j that cost at most `most`, of which there is one."""
        low, high, step = box[0][j], box[1][j], self.step[j]
        if low == high or a == 0:
            return low, high
        reach = (most - (self.price * self.unit if j < self.weights else 0)) // abs(a)
        first = low if a > 0 else max(low, high - (high + reach) // step * step)
        last = high if a < 0 else min(high, low + (reach - low) // step * step)
        kept = [first, last] if first <= last else []
        kept += [0] if low <= 0 <= high and low % step == 0 and most >= 0 else []
        return min(kept), max(kept)


class Tree:
    """The proof that ``F >= bound`` on the box of a neuron: a tree of boxes, its nodes listed depth first.

    A node first cuts values off its box that cost too much at the tangent of its point p (-1: none). Then

    * ``[p]``: nothing is left, or so few points that their values can be computed;
    * ``[p, -1]``: the next node goes on with the box;
    * ``[p, j, c]``: entry j is at most c in the first branch, and above c in the second;
    * ``[p, -1, i]``: move i, minus for even i, takes the box to points with equal scores that count in its place.

    Moves u have ``A u = 0``. Each changes one of the reference entries, and brings that nearer to its anchor.
    """

    def __init__(self, neuron: Neuron, data: Json) -> None:
        self.neuron, self.bound, self.bits, self.points = neuron, data["bound"], data["bits"], data["points"]
        self.moves, self.references, self.anchors = data["moves"], data["references"], data["anchors"]
        self.tangents = dict[int, tuple[int, list[int]]]()
        demand(all(len(w) == len(neuron.low) for w in (*self.points, *self.moves)), "a point of another dimension")
        demand(not self.moves or (neuron.price == 0 and neuron.budget is None), "moves do not go with prices")
        for u, r in zip(self.moves, self.references, strict=True):
            demand(not any(product(row, u) for row in neuron.rows), "a move changes scores")
            demand(not any(x % s for x, s in zip(u, neuron.step, strict=True)), "a move leaves the grid")
            demand(u[r] and sum(1 for other in self.moves if other[r]) == 1, "a reference that two moves change")

    def tangent(self, p: int) -> tuple[int, list[int]]:
        """Return the tangent at point p."""
        if p not in self.tangents:
            self.tangents[p] = self.neuron.tangent(self.points[p], self.bits)
        return self.tangents[p]

    def cut(self, box: Box | None, p: int) -> Box | None:
        """Return a box that holds all points of a box whose F can be below the bound, by the tangent at point p."""
        if box is None or p < 0:
            return box
        (c, a), most = self.tangent(p), (self.bound - 1) * self.neuron.unit
        total, parts = self.neuron.parts(c, a, box)
        if total is None or total > most:
            return None
        if self.neuron.budget is not None:
            return box
        ends = [self.neuron.ends(j, a[j], box, part + most - total) for j, part in enumerate(parts)]
        return [low for low, _ in ends], [high for _, high in ends]

    def closed(self, box: Box | None) -> bool:
        """Whether a box is empty, or has few points and none of them below the bound."""
        if box is None:
            return True
        values = [range(low, high + 1, s) for low, high, s in zip(*box, self.neuron.step, strict=True)]
        few = math.prod(map(len, values)) <= MOST_POINTS
        found = (self.neuron.value(v) for v in itertools.product(*values))
        return few and all(value is None or value >= self.bound for value in found)

    def moved(self, box: Box | None, i: int) -> bool:
        """Whether move i takes all of a box to points of the root box whose reference is nearer to its anchor."""
        if box is None:
            return True
        r, c, d = self.references[i // 2], self.anchors[i // 2], [(2 * (i % 2) - 1) * x for x in self.moves[i // 2]]
        ends = zip(*box, d, self.neuron.low, self.neuron.high, strict=True)
        inside = all(first <= low + x and high + x <= last for low, high, x, first, last in ends)
        return inside and all(abs(v[r] + d[r] - c) < abs(v[r] - c) for v in box)

    def split(self, box: Box | None, j: int, c: int) -> tuple[Box | None, Box | None]:
        """Return the parts of a box where entry j is above c, and at most c."""
        if box is None:
            return None, None
        (low, high), step = box, self.neuron.step[j]
        c -= (c - low[j]) % step
        above = ([*low[:j], max(low[j], c + step), *low[j + 1 :]], high) if c < high[j] else None
        return above, (low, [*high[:j], min(high[j], c), *high[j + 1 :]]) if c >= low[j] else None

    def check(self, nodes: Sequence[Sequence[int]]) -> None:
        """Reject unless every node closes its box or passes it on."""
        boxes: list[Box | None] = [(self.neuron.low, self.neuron.high)]
        for number, (p, *rest) in enumerate(nodes):
            demand(boxes and -1 <= p < len(self.points), f"node {number} has no box or no point")
            box, j = self.cut(boxes.pop(), p), rest[0] if rest else -1
            demand(len(rest) < 3 and -1 <= j < len(self.neuron.low), f"node {number} is malformed")
            if not rest:
                demand(self.closed(box), f"node {number} does not reach the bound")
            elif len(rest) == 1:
                boxes.append(box)
            elif j < 0:
                demand(0 <= rest[1] < 2 * len(self.moves) and self.moved(box, rest[1]), f"node {number} moves nowhere")
            else:
                boxes.extend(self.split(box, j, rest[1]))
        demand(not boxes, "the tree leaves boxes open")


# --- Kind "convex": the neurons of a network without hidden layers. ---


def neurons(model: Json, data: Data) -> tuple[list[Neuron], Fraction]:
    """Return the neuron of every output of a network without hidden layers, and the value of a unit."""
    layers, options = model["network"]["architecture"]["layers"], model["options"]
    layer, n = layers[0], len(data.X[0])
    domain, bias, n_out = layer["weights"], layer["bias"], layer["n_out"]
    demand(len(layers) == 1, "proofs of this kind are for networks without hidden layers")
    demand(not any(options.get(p) for p in ("l1_price", "l2_price", "neuron_price")), "a price of another kind")
    demand(all((d or {}).get("denominator", 1) == 1 for d in (domain, bias)), "weights must be integers")
    demand((model["network"]["scale"], layer["n_in"]) == (data.scale, n), "the network has other inputs")
    demand(n_out == 1 or options["max_nonzeros"] is None, "max_nonzeros couples the outputs")
    curve, loss_unit = curve_of(model["loss"], data)
    price = Fraction(options["nonzero_price"] * model["weight_unit"]).limit_denominator(MICRO)
    unit = Fraction(math.gcd(loss_unit.numerator * price.denominator, price.numerator * loss_unit.denominator),
                    loss_unit.denominator * price.denominator)  # fmt: skip
    budget = min((b for b in (options["max_nonzeros"], options["fan_in"]) if b is not None), default=None)
    ends, tail = [bias] * (bias is not None), [data.scale] * (bias is not None)
    domains = [*weight_domains(model, data, domain), *ends]
    box = [d["low"] for d in domains], [d["high"] for d in domains], [d["step"] for d in domains]
    multiplicity = [m * int(loss_unit / unit) for m in data.multiplicity]
    found = []
    for i in range(n_out):
        targets = [1 if y == (1 if n_out == 1 else i) else -1 for y in data.y]
        A = [[t * x for x in (*row, *tail)] for row, t in zip(data.X, targets, strict=True)]
        found.append(Neuron(A, multiplicity, curve, box, n, int(price / unit), budget))
    return found, unit


def curve_of(loss: Json, data: Data) -> tuple[Logistic | Hinge, Fraction]:
    """Return the loss of a sample, and the value of its unit."""
    if loss["name"] == "logistic":
        return Logistic(loss["options"]["temperature"] * data.scale), Fraction(1, MICRO)
    demand(loss["name"] == "min_hinge", f"proofs of this kind do not know the loss {loss['name']!r}")
    total = sum(map(mul, data.multiplicity, map(sum, data.X)))
    B = max(1, abs(round(Fraction(total, sum(data.multiplicity)))))
    return Hinge(B), Fraction(1, 4 * B * B)


def weight_domains(model: Json, data: Data, domain: Json) -> list[Json]:
    """Return the domain of every weight: halved by signs, and 0 for inputs that never vary."""
    encoding, signs = model["encoding"], model["options"]["feature_signs"] or {}
    widths = {name: len(known) for name, known in encoding["categories"].items()}
    rest = [name for name in encoding["columns"] if name not in widths]
    widths |= {name: len(cuts) for name, cuts in zip(rest, encoding.get("thresholds", []), strict=False)}
    columns = [name for name in encoding["columns"] for _ in range(widths.get(name, 1))] or [""]
    listed = [signs.get(name, 0) for name in columns] if isinstance(signs, dict) else signs
    has_zero = domain["low"] <= 0 <= domain["high"] and domain["low"] % domain["step"] == 0
    low, high = [0 if s > 0 else domain["low"] for s in listed], [0 if s < 0 else domain["high"] for s in listed]
    dead = [has_zero and min(column) == max(column) for column in zip(*data.X, strict=True)]
    boxes = zip(low, high, dead, strict=True)
    return [{"low": a * (not d), "high": b * (not d), "step": domain["step"]} for a, b, d in boxes]


def check_convex(proof: Json, model: Json, data: Data) -> Json:
    """Check a proof by branch and bound for a network without hidden layers; return its loss, bound and unit."""
    (found, unit), network, loss = neurons(model, data), model["network"], 0
    demand(len(proof["outputs"]) == len(found), "the proof has another number of outputs")
    for i, (neuron, part) in enumerate(zip(found, proof["outputs"], strict=True)):
        v = [row[i] for row in network["weights"][0]] + network["biases"][0][i : i + len(neuron.low) - neuron.weights]
        value = neuron.value(v) if len(v) > neuron.weights or not network["biases"][0][i] else None
        demand(value is not None, "the network lies outside its domain or breaks a limit")
        loss += value or 0
        Tree(neuron, part).check(part["tree"])
    return {"loss": loss, "bound": sum(part["bound"] for part in proof["outputs"]), "unit": str(unit)}


# --- Mixed-integer programs. ---
#
# Minimise c x + offset subject to L <= A x <= U and l <= x <= u, some columns integer. All numbers are integers over a
# power of two. A tree of splits of integer columns covers all points: left x_j <= v, right x_j >= v + 1. In the box of
# a leaf any vector y, with r = c - A' y, bounds the objective from below by
# g = sum_i y_i side_i + sum_j min(r_j l_j, r_j u_j) + offset, where a positive y_i takes the lower side of its row and
# a negative one the upper. The least g of all leaves bounds the optimum.


def check_milp(proof: Json, problem: Json | None = None) -> Json:
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
    RejectedError
    """
    try:
        return check_program(proof, problem)
    except RejectedError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise RejectedError(f"the proof is damaged: {type(error).__name__}: {error}") from error


def problem_hash(problem: Json) -> str:
    """Return the SHA-256 of a problem's data."""
    text = json.dumps(problem, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def check_program(proof: Json, problem: Json | None) -> Json:
    """Check as `check_milp` does, with the errors of damaged proofs."""
    for key, known in (("format", "provenn-proof"), ("version", 1), ("kind", "milp")):
        demand(proof[key] == known and type(proof[key]) is type(known), f"{key} is not {known!r}")
    data = proof["problem"]
    demand(problem is None or problem == data, "the proof is of another problem")
    demand(proof["hash"] == problem_hash(data), "the hash is not that of the problem in the proof")
    model = Program(data)
    bound, claimed = fraction(proof["bound"]), proof["value"]
    leaves = check_leaves(model, proof["tree"], [Dual(model, dual) for dual in proof["duals"]], bound)
    value = None
    if claimed is None:
        demand(proof["x"] is None, "a point without a value")
    else:
        value = model.value(proof["x"])
        demand(value == fraction(claimed), "the point's objective is not the claimed value")
        demand(value >= bound, "the bound is above the value")
    infeasible = bound > model.largest()
    return {
        "value": value,
        "bound": bound,
        "optimal": value == bound,
        "infeasible": infeasible,
        "leaves": leaves,
    }


def integer(value: Any) -> int:
    """Return what must be an integer."""
    demand(type(value) is int, f"{value!r} is no integer")
    number: int = value
    return number


def integers(values: Any, length: int) -> list[int]:
    """Return what must be a list of so many integers."""
    demand(type(values) is list and len(values) == length, f"a list does not have {length} entries")
    demand(all(type(v) is int for v in values), "a list has entries that are no integers")
    whole: list[int] = values
    return whole


def sides(values: Any, length: int) -> list[int | None]:
    """Return what must be a list of so many integers or nulls."""
    demand(type(values) is list and len(values) == length, f"a list does not have {length} entries")
    demand(all(v is None or type(v) is int for v in values), "a bound is neither integer nor null")
    bounds: list[int | None] = values
    return bounds


def fraction(pair: Any) -> Fraction:
    """Return the fraction of a pair of integers."""
    numerator, denominator = integers(pair, 2)
    demand(denominator > 0, "a denominator is not positive")
    return Fraction(numerator, denominator)


class Program:
    """The problem; numbers count units of ``1 / unit``, a power of two."""

    def __init__(self, data: Json) -> None:
        shift, self.n, self.m = integer(data["shift"]), integer(data["columns"]), integer(data["rows"])
        demand(shift >= 0 and self.n >= 0 and self.m >= 0, "a size is negative")
        self.unit = 1 << shift
        self.c = integers(data["c"], self.n)
        self.offset = integer(data["offset"])
        self.row_lower, self.row_upper = sides(data["row_lower"], self.m), sides(data["row_upper"], self.m)
        lower, upper = sides(data["col_lower"], self.n), sides(data["col_upper"], self.n)
        self.integer = integers(data["integer"], self.n)
        self.A = self._rows(data["A"])
        self.lower = [self._inward(v, k, -1) for v, k in zip(lower, self.integer, strict=True)]
        self.upper = [self._inward(v, k, 1) for v, k in zip(upper, self.integer, strict=True)]

    def _rows(self, rows: Any) -> list[list[tuple[int, int]]]:
        demand(type(rows) is list and len(rows) == self.m, "the matrix has another number of rows")
        pairs = []
        for columns, values in rows:
            integers(values, len(integers(columns, len(columns))))
            demand(all(0 <= j < self.n for j in columns), "an entry is outside the matrix")
            pairs.append(list(zip(columns, values, strict=True)))
        return pairs

    def _inward(self, bound: int | None, whole: int, side: int) -> int:
        """Finite bound, rounded to a whole number inwards for integer columns."""
        if bound is None:
            raise RejectedError("a column has no finite bound")
        return side * ((side * bound) // self.unit * self.unit) if whole else bound

    def largest(self) -> Fraction:
        """Return the largest objective in the columns' bounds."""
        total = sum(max(c * low, c * up) for c, low, up in zip(self.c, self.lower, self.upper, strict=True))
        return Fraction(total + self.offset * self.unit, self.unit**2)

    def value(self, point: Any) -> Fraction:
        """Objective of a point, which must satisfy everything exactly."""
        denominator = integer(point["denominator"])
        x = integers(point["x"], self.n)
        demand(denominator > 0, "the point's denominator is not positive")
        for v, low, up, kind in zip(x, self.lower, self.upper, self.integer, strict=True):
            demand(low * denominator <= v * self.unit <= up * denominator, "the point is outside a column's bounds")
            demand(not kind or v % denominator == 0, "an integer column is not whole at the point")
        for row, below, above in zip(self.A, self.row_lower, self.row_upper, strict=True):
            activity = sum(a * x[j] for j, a in row)
            demand(below is None or below * denominator <= activity, "the point breaks the lower side of a row")
            demand(above is None or activity <= above * denominator, "the point breaks the upper side of a row")
        total = sum(c * v for c, v in zip(self.c, x, strict=True))
        return Fraction(total + self.offset * denominator, self.unit * denominator)


class Dual:
    """One vector y over its denominator, and the bound that it gives in the root's box.

    `scale` times a bound is an integer, so leaves only add what their splits change.
    """

    def __init__(self, model: Program, dual: Any) -> None:
        denominator, rows, numerators = dual
        demand(integer(denominator) > 0, "a denominator is not positive")
        integers(numerators, len(integers(rows, len(rows))))
        demand(len(set(rows)) == len(rows), "a dual names a row twice")
        reduced = {j: c * denominator for j, c in enumerate(model.c) if c}
        total = model.offset * model.unit * denominator
        for i, y in zip(rows, numerators, strict=True):
            demand(0 <= i < model.m, "a dual names a row that does not exist")
            if y:
                side = model.row_lower[i] if y > 0 else model.row_upper[i]
                if side is None:
                    raise RejectedError("a dual has the sign of a side that its row does not have")
                total += y * side * model.unit
                for j, a in model.A[i]:
                    reduced[j] = reduced.get(j, 0) - y * a
        self.reduced = reduced
        self.scale = model.unit * model.unit * denominator
        self.root = total + sum(r * (model.lower[j] if r > 0 else model.upper[j]) for j, r in reduced.items())

    def bound(self, model: Program, box: dict[int, tuple[int, int]]) -> int:
        """Return `scale` times the bound in a box, given by the columns that differ from the root's."""
        total = self.root
        for j, (low, up) in box.items():
            r = self.reduced.get(j, 0)
            total += r * (low - model.lower[j]) if r > 0 else r * (up - model.upper[j])
        return total


def check_leaves(model: Program, tree: Any, duals: list[Dual], bound: Fraction) -> int:
    """Every leaf's dual must reach the bound; return the number of leaves."""
    need = [-(-bound.numerator * dual.scale // bound.denominator) for dual in duals]
    leaves = 0
    for number, reached in leaf_bounds(model, tree, duals):
        demand(reached is None or reached >= need[number], f"leaf {leaves} does not reach the bound")
        leaves += 1
    return leaves


def leaf_bounds(model: Program, tree: Any, duals: list[Dual]) -> Iterator[tuple[int, int | None]]:
    """Each leaf's dual and its scaled bound, None in an empty box; nodes come in the order root, left, right."""
    demand(type(tree) is list, "the tree is no list")
    boxes: list[dict[int, tuple[int, int]]] = [{}]
    for node in tree:
        demand(bool(boxes), "the tree has nodes after its last leaf")
        box = boxes.pop()
        if type(node) is list:
            boxes.extend(split_box(model, node, box))
            continue
        number = integer(node)
        demand(0 <= number < len(duals), "a leaf names a dual that does not exist")
        empty = any(low > up for low, up in box.values())
        yield number, None if empty else duals[number].bound(model, box)
    demand(not boxes, "the tree does not cover all points: leaves are missing")


def least_bound(problem: Json, tree: list[Any], duals: list[Any]) -> Fraction:
    """Return the bound that a tree proves: the least of all leaves."""
    model = Program(problem)
    counted = [Dual(model, dual) for dual in duals]
    least: dict[int, int] = {}
    for number, reached in leaf_bounds(model, tree, counted):
        if reached is not None and reached < least.get(number, reached + 1):
            least[number] = reached
    return min(Fraction(reached, counted[number].scale) for number, reached in least.items())


def split_box(model: Program, node: Any, box: dict[int, tuple[int, int]]) -> list[dict[int, tuple[int, int]]]:
    """Return the boxes right and left of a split."""
    j, v = integers(node, 2)
    demand(0 <= j < model.n and bool(model.integer[j]), "a split of a column that is not integer")
    low, up = box.get(j, (model.lower[j], model.upper[j]))
    left = {**box, j: (low, min(up, v * model.unit))}
    right = {**box, j: (max(low, (v + 1) * model.unit), up)}
    return [right, left]


# --- The kinds of proofs, the verdict. ---


KINDS: dict[str, Callable[[Json, Json, Data], Json]] = {"convex": check_convex}


def check(proof: Json, model: Json, data: Data | None = None, table: dict[str, list[str]] | None = None) -> Json:
    """Check a proof against a model and merged data or the columns of a table; `RejectedError` has the reason.

    The proof must have been read with `WHOLE`: other numbers than integers could be compared and rounded wrongly.
    """
    told = model["certificate"]
    plain = json.dumps({key: value for key, value in model.items() if key != "checksum"}, sort_keys=True)
    demand((model["format"], model["version"]) == ("provenn-model", 1), "the model is of another format")
    demand(model["checksum"] == hashlib.sha256(plain.encode()).hexdigest(), "the model's checksum is wrong")
    demand((proof["format"], proof["version"]) == ("provenn-proof", 1), "the proof is of another format")
    demand(proof["kind"] in KINDS, f"there is no kind of proofs {proof['kind']!r}")
    demand(proof["model"] == model["checksum"], "the proof belongs to another model")
    data = data or merge(model, table or {})
    told_data = {proof["data"], model["provenance"]["data_fingerprint"]}
    demand(told_data == {data.fingerprint()}, "the data are not those of the training, by their fingerprint")
    found = KINDS[proof["kind"]](proof, model, data)
    demand((found["loss"], found["unit"]) == (told["loss"], told["unit"]), f"the loss is {found['loss']}, not as told")
    for name in ("loss", "bound", "unit"):
        demand(proof[name] == found[name], f"the proof tells another {name}, and shows {found[name]}")
    demand(found["bound"] <= found["loss"], "the bound exceeds the loss of a network")
    certain = told["bound"] is None or told["bound"] <= found["bound"]
    return {**found, "optimal": found["bound"] == found["loss"], "confirms_certificate": certain}


def whole(text: str) -> int:
    """Refuse a number that is no integer: proofs have none."""
    raise RejectedError(f"the proof holds {text}, which is no integer")


WHOLE: Json = {"parse_float": whole, "parse_constant": whole}


def check_files(proof: str, model: str | None = None, data: str | None = None) -> Json:
    """Check a proof in files; return the verdict, with the reason where it is rejected.

    The proof of a mixed-integer program holds all that it takes; those of networks need the model and the data.
    """
    try:
        found = json.loads(Path(proof).read_text("utf-8"), **WHOLE)
        if found["kind"] == "milp":
            return {"accepted": True, **told(check_milp(found))}
        demand(model is not None and data is not None, "the proof of a network needs the model file and the data")
        network, text = json.loads(Path(model or "").read_text("utf-8")), Path(data or "").read_text("utf-8-sig")
        table = read_csv(text, "\t" if str(data).lower().endswith(".tsv") else None)
        return {"accepted": True, **check(found, network, table=table)}
    except RejectedError as error:
        return {"accepted": False, "reason": str(error)}
    except (
        OSError,
        csv.Error,
        ArithmeticError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        return {"accepted": False, "reason": f"a file is damaged or unreadable: {type(error).__name__}: {error}"}


def told(shown: Json) -> Json:
    """Return what `check_milp` shows, with fractions as text, for JSON."""
    return {name: str(value) if isinstance(value, Fraction) else value for name, value in shown.items()}


def verdict(found: Json) -> str:
    """Say the verdict in a sentence."""
    if not found["accepted"]:
        return f"REJECTED: {found['reason']}"
    if "leaves" in found:
        if found["infeasible"]:
            return "ACCEPTED: the program has no point"
        value, bound = (v if v is None else float(Fraction(v)) for v in (found["value"], found["bound"]))
        least = f"no point of the program has an objective below {bound:.9g}"
        return f"ACCEPTED: {'optimal, ' * found['optimal']}the value is {value}, and {least}"
    loss, bound = (float(found[name] * Fraction(found["unit"])) for name in ("loss", "bound"))
    less = "" if found["confirms_certificate"] else "; the model's certificate claims more"
    best = "optimal, " if found["optimal"] else ""
    return f"ACCEPTED: {best}the loss is {loss:.9g}, and no network of this shape has less than {bound:.9g}{less}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the files named on the command line; return 0 when the proof is accepted, else 1."""
    parser = argparse.ArgumentParser(description="Check a proof of provenn in exact arithmetic.")
    parser.add_argument("proof", help="the proof")
    parser.add_argument("model", nargs="?", help="the model file, for proofs of networks")
    parser.add_argument("data", nargs="?", help="the training data, CSV, for proofs of networks")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    given = parser.parse_args(arguments)
    found = check_files(given.proof, given.model, given.data)
    sys.stdout.write((json.dumps(found) if given.json else verdict(found)) + "\n")
    return 0 if found["accepted"] else 1


if __name__ == "__main__":
    sys.exit(main())
