"""Checks a proof that provenn wrote: one file that needs nothing but Python's standard library.

``python check_proof.py proof.json model.json data.csv`` encodes the rows again, recomputes the network's loss in
integers and derives the lower bound from the proof in exact arithmetic. The documentation's page on proofs has the
argument.
"""

import argparse
import csv
import functools
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
from operator import mul, or_
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


# --- Kind "network": networks with hidden layers and few weights. ---
#
# On the samples a unit of the first layer is a pattern: where it fires. The layers after it are a head: scores for
# every cell, that is for every choice of the units that fire. All patterns and all heads are listed, equal ones once,
# with the least price of any. Cuts (does the unit fire on sample k?) gather the patterns in nested clusters. A node of
# the tree names a cluster for every unit. In it each sample lies in a cube: a unit fires on it with all patterns of its
# cluster, with none, or it is open. For every head, the least losses over the cells of these cubes bound the loss.

FORBIDDEN, NEVER = 2**40, 2**62
MOST_VECTORS, MOST_HEADS, MOST_UNITS = 2**19, 2**17, 6
PRICES = ("nonzero_price", "l1_price", "l2_price", "neuron_price")
HARMLESS = {
    "hidden_layer_sizes", "activation", "weights", "weight_bound", "bias_bound", "loss", "temperature", "solver",
    "validation", "early_stopping", "time_limit", "node_limit", "memory_limit", "max_parts", "batch_size",
    "robust_norm", "robust_rule", "robust_exclude", "quantize", "grid_steps", "bits", "categorical_features",
    "class_weight", "warm_start", "checkpoint", "resume", "n_jobs", "random_state",
}  # fmt: skip
Price = tuple[int, int, int]
Table = tuple[int, ...]


def values_of(domain: Json | None) -> list[int]:
    """Return the values of a weight or bias; 0 where there is none."""
    return [*range(domain["low"], domain["high"] + 1, domain["step"])] if domain else [0]


def lowest_of(layer: Json) -> int:
    """Return the activation of a unit that does not fire."""
    return -1 if layer["activation"] == "sign" else 0


def least_of(found: dict[Any, Price], key: Any, price: Price) -> None:
    """Keep the least of each number that belongs to a key."""
    a, b, c = found.get(key, price)
    found[key] = min(a, price[0]), min(b, price[1]), min(c, price[2])


def both(one: Price, other: Price) -> Price:
    """Return the price of two parts of a unit."""
    return one[0] + other[0], one[1] + other[1], one[2] | other[2]


def planes_of(weights: list[int]) -> list[tuple[int, int]]:
    """Return pairs (value, mask) whose values sum up to the weights; item 0 is the highest bit of a mask."""
    size = max(weights).bit_length()
    values = sorted({w for w in weights if w}) if len(set(weights)) <= size else []
    chosen = [(v, [w == v for w in weights]) for v in values] or [
        (1 << i, [bool(w >> i & 1) for w in weights]) for i in range(size)
    ]
    return [(value, mask_of(bits)) for value, bits in chosen]


def mask_of(bits: Sequence[bool]) -> int:
    """Return bits as an integer, the first one highest."""
    return int("".join("1" if bit else "0" for bit in bits) or "0", 2)


class ScoreLoss:
    """The loss of a sample as a function of its scores: a sum over outputs, or of all together (joint)."""

    def __init__(self, loss: Json, layers: Sequence[Json], classes: int, joint: bool) -> None:
        self.name, options, last = loss["name"], loss["options"], layers[-1]
        bounds = [max(abs(d["low"]), abs(d["high"])) if d else 0 for d in (last["weights"], last["bias"])]
        self.B, self.outputs, self.unit = last["n_in"] * bounds[0] + bounds[1], last["n_out"], Fraction(1)
        self.published, self.count_biases = options.get("rule") == "published", options.get("count_biases", True)
        known = {"logistic": {"temperature"}, "min_hinge": set(), "sat_margin": {"kept_only"}, "max_correct": {"rule"},
                 "hamming": {"codes"}, "min_weight": {"count_biases"}}  # fmt: skip
        demand(self.name in known, f"proofs of this kind do not know the loss {self.name!r}")
        demand(set(options) <= known[self.name] and not options.get("kept_only"), "the loss has an unknown option")
        demand(options.get("rule", "argmax") in ("argmax", "published"), "the loss has an unknown rule")
        if self.name == "logistic":
            self.curve: Logistic | Hinge = Logistic(options["temperature"])
            self.unit = Fraction(1, MICRO)
        elif self.name == "min_hinge":
            self.curve, self.unit = Hinge(self.B), Fraction(1, 4 * self.B**2)
        usual = [[c] if self.outputs == 1 else [i == c for i in range(classes)] for c in range(classes)]
        self.bits = [[*map(int, row)] for row in options.get("codes") or usual]
        fitting = all(len(row) == self.outputs and set(row) <= {0, 1} for row in self.bits)
        demand(len(self.bits) == classes and fitting, "the code words do not fit the network")
        self.hard = self.name == "min_weight" or (self.published and self.outputs > 1)
        self.joint = self.outputs > 1 and (joint or self.name == "max_correct")
        self.terms = 1 if self.joint else self.outputs
        self.known = dict[tuple[int, ...], list[int]]()

    def one(self, bit: int, score: int) -> int:
        """Return the loss of one output whose bit is told."""
        if self.name in ("logistic", "min_hinge"):
            return self.curve.exact(score if bit else -score)
        if self.name == "sat_margin":
            return int(4 * (score if bit else -score) < self.B)
        return int((score >= 0) != bool(bit)) * (FORBIDDEN if self.name == "min_weight" else 1)

    def of_classes(self, scores: tuple[int, ...]) -> list[int]:
        """Return the loss of a sample of each class."""
        if scores not in self.known:
            self.known[scores] = self._of_classes(scores)
        return self.known[scores]

    def _of_classes(self, scores: tuple[int, ...]) -> list[int]:
        if self.name != "max_correct" or self.outputs == 1:
            return [sum(map(self.one, bits, scores)) for bits in self.bits]
        if self.published:
            fires = [s >= 0 for s in scores]
            return [int(not f) if sum(fires) == 1 else FORBIDDEN for f in fires]
        return [int(scores.index(max(scores)) != c) for c in range(len(scores))]

    def table(self, scores: Sequence[tuple[int, ...]]) -> Table:
        """Return the losses of cells with these scores: one after the other, for all labels."""
        if self.joint:
            return tuple(itertools.chain.from_iterable(map(self.of_classes, scores)))
        return tuple(self.one(bit, score[0]) for score in scores for bit in (0, 1))

    def labels(self, term: int) -> list[int]:
        """Return the label of every class."""
        return [*range(len(self.bits))] if self.joint else [bits[term] for bits in self.bits]


class Term:
    """A part of the loss: distinct samples by categories, and the distinct loss tables of heads.

    A sample of several labels counts as categories of several labels, so that what they cost together is kept.
    """

    def __init__(self, weights: Sequence[Sequence[int]], units: int) -> None:
        layers = dict[tuple[int, ...], list[int]]()
        for i, row in enumerate(weights):
            order = sorted(range(len(row)), key=lambda label: (-row[label], label))
            for r, label in enumerate(order):
                more = row[label] - (row[order[r + 1]] if r + 1 < len(row) else 0)
                if more:
                    layers.setdefault(tuple(sorted(order[: r + 1])), [0] * len(weights))[i] = more
        self.categories, self.weights, self.units = [*layers], [*layers.values()], units
        self.planes, self.width = [planes_of(column) for column in self.weights], len(weights[0])
        self.cubes = [self._cells(cube) for cube in itertools.product(range(3), repeat=units)]
        self.index, self.tables, self.columns = dict[Table, int](), list[list[int]](), list[int]()

    def _cells(self, cube: tuple[int, ...]) -> list[int]:
        return [
            sum(bit << self.units - 1 - j for j, bit in enumerate(bits))
            for bits in itertools.product(*[(s,) if s < 2 else (0, 1) for s in cube])
        ]

    def add(self, table: Table) -> int:
        """Return the number of a head's table; keep it with its least losses in every cube."""
        if table not in self.index:
            cells = [table[at : at + self.width] for at in range(0, len(table), self.width)]
            costs = [[sum(cell[label] for label in category) for category in self.categories] for cell in cells]
            self.index[table] = len(self.tables)
            self.tables.append([min(c) for cube in self.cubes for c in zip(*[costs[i] for i in cube], strict=True)])
        return self.index[table]

    def pack(self) -> None:
        """Put the losses of all tables in one place into one integer, 64 bits each: their sums are taken at once."""
        most = max(map(max, self.tables)) * sum(map(sum, self.weights))
        demand(most < 2**64, "the values are too large for proofs of this kind")
        size, columns = 8 * len(self.tables), zip(*self.tables, strict=True)
        self.columns = [int.from_bytes(struct.pack(f"<{size // 8}Q", *column), "little") for column in columns]

    def losses(self, cubes: Sequence[int]) -> tuple[int, ...]:
        """Return the loss from below with every table, for samples that lie in cubes, given as masks."""
        total, place, wide = 0, 0, len(self.planes)
        for cube in cubes:
            if cube:
                for at, planes in enumerate(self.planes, place):
                    for value, mask in planes:
                        total += value * (cube & mask).bit_count() * self.columns[at]
            place += wide
        return struct.unpack(f"<{len(self.tables)}Q", total.to_bytes(8 * len(self.tables), "little"))


class Networks:
    """All networks of a shape with hidden layers, as what they do on the samples.

    Parameters
    ----------
    layers : list of dict
        Of the architecture.
    loss : dict
        Name and options.
    prices : list of Fraction
        Of a non-zero weight, the sum of sizes, the sum of squares, a live hidden unit.
    limits : (int or None, int or None)
        Of non-zero weights, in all and of each unit.
    data : Data
    """

    def __init__(
        self, layers: list[Json], loss: Json, prices: Sequence[Fraction], limits: Sequence[int | None], data: Data
    ) -> None:
        self.layers, self.scale, self.h = layers, data.scale, layers[0]["n_out"]
        self.room, self.fan_in = (math.inf if limit is None else limit for limit in limits)
        coupled = prices[3] > 0 or limits[0] is not None
        self.loss = ScoreLoss(loss, layers, data.classes, coupled)
        self.unit = self._unit(prices)
        self.factor = int(self.loss.unit / self.unit)
        self.nonzero, self.l1, self.l2, self.neuron = (int(price / self.unit) for price in prices)
        counting = self.factor * (self.loss.name == "min_weight")
        self.nonzero, self.bias = self.nonzero + counting, counting * self.loss.count_biases
        demand(len(layers) >= 2 and self.h <= MOST_UNITS, "proofs of this kind are for few units in hidden layers")
        demand(len(layers) == 2 or not self.neuron, "neuron_price goes with one hidden layer in proofs of this kind")
        self.rows: list[tuple[int, ...]] = sorted({tuple(row) for row in data.X})
        self.all = (1 << len(self.rows)) - 1
        self.dead = [min(column) == max(column) for column in zip(*self.rows, strict=True)]
        self.terms = [Term(self._weights(data, term), self.h) for term in range(self.loss.terms)]

    def _unit(self, prices: Sequence[Fraction]) -> Fraction:
        """Return the common measure of the loss and the prices."""
        parts = [self.loss.unit, *(price for price in prices if price)]
        below = math.lcm(*(part.denominator for part in parts))
        return Fraction(math.gcd(*(part.numerator * (below // part.denominator) for part in parts)), below)

    def _weights(self, data: Data, term: int) -> list[list[int]]:
        """Return the weight of every label in each distinct sample."""
        labels, number = self.loss.labels(term), {row: i for i, row in enumerate(self.rows)}
        weights = [[0] * (max(labels) + 1 if self.loss.joint else 2) for _ in self.rows]
        for row, y, m in zip(data.X, data.y, data.multiplicity, strict=True):
            weights[number[tuple(row)]][labels[y]] += m
        return weights

    def price(self, w: Sequence[int], b: int) -> Price:
        """Return price, non-zero weights and liveness of a unit."""
        used = sum(map(bool, w))
        sizes = self.l1 * sum(map(abs, w)) + self.l2 * sum(x * x for x in w)
        return self.nonzero * used + sizes + self.bias * bool(b), used, int(used > 0 or b != 0)

    def mirrored(self, layer: int) -> bool:
        """Whether a unit may fire where it did not, and the reverse: the next layer's weights change their signs."""
        after = values_of(self.layers[layer + 1]["weights"])
        return self.layers[layer]["activation"] == "sign" and after == [-v for v in reversed(after)]

    def entries(self) -> list[tuple[list[tuple[int, Price]], list[int]]]:
        """Return values and prices of every parameter of a first unit, with what it is multiplied by in each sample.

        Those that can change most come first.
        """
        first, n = self.layers[0], len(self.rows)
        values = values_of(first["weights"])
        zero = [0] if 0 in values else values
        columns = zip(self.dead, zip(*self.rows, strict=True), strict=True)
        found = [([(v, self.price([v], 0)) for v in (zero if dead else values)], [*x]) for dead, x in columns]
        found.append(([(v, self.price([], v)) for v in values_of(first["bias"])], [self.scale] * n))
        return sorted(found, key=lambda one: -max(abs(v) for v, _ in one[0]) * sum(map(abs, one[1])))

    def patterns(self) -> dict[int, Price]:
        """Return the least price of the units of every pattern in the first layer.

        Parameters are chosen one by one. What the others can still add closes a branch whose pattern is certain; they
        cost least at their smallest sizes. The pre-activations of all samples, plus a constant that makes the highest
        bit their sign, are one integer with so many bits for each.
        """
        entries, found, seen, n = self.entries(), dict[int, Price](), 0, len(self.rows)
        reach = max(sum(max(abs(v) for v, _ in some) * abs(x[k]) for some, x in entries) for k in range(n))
        width = reach.bit_length() + 1

        def packed(values: Sequence[int]) -> int:
            return sum(value << width * (n - 1 - k) for k, value in enumerate(values))

        signs, rest, columns = packed([1 << width - 1] * n), [(0, 0, (0, 0, 0))], [packed(x) for _, x in entries]
        for choices, x in reversed(entries):
            (low, high, price), ends = rest[-1], (choices[0][0], choices[-1][0])
            low += packed([min(v * z for v in ends) for z in x])
            high += packed([max(v * z for v in ends) for z in x])
            rest.append((low, high, both(price, min(choices, key=lambda one: abs(one[0]))[1])))
        stack = [(0, signs, (0, 0, 0))]
        while stack:
            depth, sums, price = stack.pop()
            low, high, least = rest[len(entries) - depth]
            if price[1] + least[1] > self.fan_in:
                continue
            fires = sums + low & signs
            if depth == len(entries) or fires == sums + high & signs:
                least_of(found, fires, both(price, least))
                continue
            seen += len(entries[depth][0])
            demand(seen <= MOST_VECTORS, "the first layer has too many weights for proofs of this kind")
            stack += [(depth + 1, sums + v * columns[depth], both(price, more)) for v, more in entries[depth][0]]
        return self._merged({int(f"{fires:0{n * width}b}"[::width], 2): price for fires, price in found.items()})

    def _merged(self, found: dict[int, Price]) -> dict[int, Price]:
        """Take the smaller of a pattern and its reverse for both, where one is as good as the other."""
        if not self.mirrored(0):
            return found
        merged = dict[int, Price]()
        for pattern, price in found.items():
            least_of(merged, min(pattern, self.all ^ pattern), price)
        return merged

    def functions(self, layer: int, rows: Sequence[Table]) -> dict[tuple[Table, int], Price]:
        """Return what the units of a later layer make of every cell, with the inputs that they use if that matters."""
        shape, found = self.layers[layer], dict[tuple[Table, int], Price]()
        values, biases, hidden = values_of(shape["weights"]), values_of(shape["bias"]), layer + 1 < len(self.layers)
        demand(len(values) ** shape["n_in"] * len(biases) <= MOST_HEADS, "a layer has too many weights")
        lowest, mirrored = lowest_of(shape), hidden and self.mirrored(layer)
        for w in itertools.product(values, repeat=shape["n_in"]):
            used = mask_of([x != 0 for x in w]) if self.neuron else 0
            plain = [sum(map(mul, w, row)) for row in rows]
            for b in biases if sum(map(bool, w)) <= self.fan_in else ():
                table = tuple(a + b for a in plain)
                if hidden:
                    table = tuple(1 if a >= 0 else lowest for a in table)
                    table = min(table, tuple(-a for a in table)) if mirrored else table
                least_of(found, (table, used), self.price(w, b))
        return found

    def configurations(self) -> dict[tuple[Table, ...], Price]:
        """Return what the hidden layers after the first make of every cell, with their least price."""
        found = {tuple(itertools.product((lowest_of(self.layers[0]), 1), repeat=self.h)): (0, 0, 0)}
        for layer in range(1, len(self.layers) - 1):
            grown = dict[tuple[Table, ...], Price]()
            for rows, before in found.items():
                units, n = [*self.functions(layer, rows).items()], self.layers[layer]["n_out"]
                demand(math.comb(len(units) + n - 1, n) <= MOST_HEADS, "the later layers have too many weights")
                for chosen in itertools.combinations_with_replacement(units, n):
                    after = tuple(zip(*[table for (table, _), _ in chosen], strict=True))
                    least_of(grown, after, functools.reduce(both, [price for _, price in chosen], before))
            found = grown
        return found

    def heads(self) -> list[list[list[tuple[int, int, int, int]]]]:
        """Return (table, price, non-zero weights, inputs used) of the heads, by configurations and terms."""
        found, count, n = list[list[dict[tuple[int, int], Price]]](), 0, self.layers[-1]["n_out"]
        for rows, before in self.configurations().items():
            if not found or self.loss.terms > 1:
                found.append([{} for _ in self.terms])
            outputs = [*self.functions(len(self.layers) - 1, rows).items()]
            together = n if self.loss.joint else 1
            count += len(outputs) ** together
            demand(count <= MOST_HEADS, "the output layer has too many weights for proofs of this kind")
            for chosen in itertools.product(outputs, repeat=together):
                scores = [*zip(*[table for (table, _), _ in chosen], strict=True)]
                used = functools.reduce(or_, [inputs for (_, inputs), _ in chosen])
                price = functools.reduce(both, [price for _, price in chosen])
                table = self.loss.table(scores)
                for i, term in enumerate(self.terms):
                    least_of(found[-1][i], (term.add(table), used), price if i else both(price, before))
        for term in self.terms:
            term.pack()
        return [[[(i, p[0], p[1], used) for (i, used), p in part.items()] for part in parts] for parts in found]

    def value(self, network: Json) -> int | None:
        """Return the objective of a network, None where it breaks a condition."""
        weights, biases = network["weights"], network["biases"]
        units = [self._units(layer, W, b) for layer, W, b in zip(self.layers, weights, biases, strict=True)]
        prices = [self.price(w, b) for layer in units for w, b in layer]
        dead = 0 in values_of(self.layers[0]["weights"]) and any(
            w[i] for w, _ in units[0] for i, constant in enumerate(self.dead) if constant
        )
        wide = any(sum(map(bool, w)) > self.fan_in for layer in units for w, _ in layer)
        used, loss = sum(price[1] for price in prices), self._loss(units)
        if dead or wide or used > self.room or (self.loss.hard and loss >= FORBIDDEN):
            return None
        live = [bool(any(w) or b or any(after[j] for after, _ in units[1])) for j, (w, b) in enumerate(units[0])]
        kept = max(sum(live), min(self.h, self.loss.outputs))
        return self.factor * loss + sum(price[0] for price in prices) + self.neuron * kept

    def _units(self, layer: Json, W: list[list[int]], b: list[int]) -> list[tuple[tuple[int, ...], int]]:
        """Return weights and bias of every unit of a layer, which must lie in their domains."""
        columns, allowed = [*zip(*W, strict=True)], set(values_of(layer["weights"]))
        demand(len(W) == layer["n_in"] and len(columns) == layer["n_out"] == len(b), "a layer has another shape")
        demand(all(type(x) is int for x in itertools.chain(b, *W)), "a weight is no integer")
        inside = all(x in allowed for x in itertools.chain(*W)) and set(b) <= set(values_of(layer["bias"]))
        demand(inside, "the network lies outside its domain")
        return [*zip(columns, b, strict=True)]

    def _loss(self, units: Sequence[Sequence[tuple[tuple[int, ...], int]]]) -> int:
        """Return the loss of a network: a forward pass on every distinct sample."""
        rows, one, total = self.rows, self.scale, 0
        for layer, shape in zip(units, self.layers, strict=True):
            scores = [tuple(sum(map(mul, w, x)) + one * b for w, b in layer) for x in rows]
            rows, one = [tuple(1 if a >= 0 else lowest_of(shape) for a in row) for row in scores], 1
        for i, term in enumerate(self.terms):
            for k, row in enumerate(scores):
                table = self.loss.table([row if self.loss.joint else (row[i],)])
                for category, weights in zip(term.categories, term.weights, strict=True):
                    total += weights[k] * sum(table[label] for label in category)
        return total


class Cluster:
    """Some patterns: on which samples none, all or a part of them fires, and the least price."""

    def __init__(self, members: list[int], first: int) -> None:
        self.members, self.first, self.last = members, first, first + len(members)
        self.masks, self.price, self.children = (0, 0, 0), (0, 0, 0), list[int]()

    def gather(self, parts: Sequence["Cluster"], whole: int) -> None:
        """Take masks and prices from other clusters."""
        none, fires = whole, whole
        for part in parts:
            none, fires = none & part.masks[0], fires & part.masks[1]
        self.masks = none, fires, whole & ~none & ~fires
        a, b, c = (min(part.price[i] for part in parts) for i in range(3))
        self.price = a, b, c


class Search:
    """The proof that no network has a value below a bound.

    `cuts` lists clusters depth first: the sample that parts those on which it does not fire from those on which it
    fires, which come next and after that, or -1 for a cluster that stays whole. `tree` has a character for every node,
    depth first: 0 for a leaf, whose bound is enough, or which unit goes on with the two parts of its cluster. Units
    can change places, so that networks whose clusters are not in ascending order are left out.
    """

    def __init__(self, networks: Networks, cuts: Sequence[int]) -> None:
        self.networks, self.configurations = networks, networks.heads()
        found, n = networks.patterns(), len(networks.rows)
        self.patterns, self.clusters, stack = [*found], list[Cluster](), [(-1, [*range(len(found))], 0)]
        for k in cuts:
            demand(stack and type(k) is int and -1 <= k < n, "the clusters are malformed")
            parent, members, first = stack.pop()
            number, cluster = len(self.clusters), Cluster(members, first)
            self.clusters.append(cluster)
            if parent >= 0:
                self.clusters[parent].children.append(number)
            if k >= 0:
                fires = [i for i in members if self.patterns[i] >> n - 1 - k & 1]
                quiet = [i for i in members if not self.patterns[i] >> n - 1 - k & 1]
                demand(fires and quiet, "a cut parts nothing")
                stack += [(number, fires, first + len(quiet)), (number, quiet, first)]
        demand(not stack and self.clusters, "the clusters are incomplete")
        for cluster in reversed(self.clusters):
            one = [] if cluster.children else [Cluster([i], 0) for i in cluster.members]
            for leaf, i in zip(one, cluster.members, strict=False):
                pattern = self.patterns[i]
                leaf.masks, leaf.price = (networks.all & ~pattern, pattern, 0), found[pattern]
            cluster.gather(one or [self.clusters[c] for c in cluster.children], networks.all)

    def ordered(self, nodes: Sequence[int]) -> tuple[int, ...] | None:
        """Drop parts of clusters that are out of order: patterns ascend from unit to unit."""
        kept, most = list(nodes), len(self.patterns)
        for i in range(1, len(kept)):
            kept[i] = self._part(kept[i], self.clusters[kept[i - 1]].first, most)
        for i in range(len(kept) - 2, -1, -1):
            kept[i] = self._part(kept[i], -1, self.clusters[kept[i + 1]].last)
        return None if -1 in kept else tuple(kept)

    def _part(self, number: int, low: int, high: int) -> int:
        """Return the smallest cluster with all patterns of a cluster but for parts before `low` or from `high` on.

        -1 where there is none.
        """
        while number >= 0:
            inside = self.clusters[number].last > low and self.clusters[number].first < high
            children = self.clusters[number].children
            good = [c for c in children if self.clusters[c].last > low and self.clusters[c].first < high]
            if len(good) != 1:
                return number if inside else -1
            number = good[0]
        return -1

    def bound(self, nodes: Sequence[int]) -> int:
        """Return a number that no network of some clusters, one a unit, goes below."""
        one, parts, cubes = self.networks, [self.clusters[i] for i in nodes], [self.networks.all]
        for part in parts:
            cubes = [c & m for c in cubes for m in part.masks]
        losses = [term.losses(cubes) for term in one.terms]
        room = one.room - sum(part.price[1] for part in parts)
        live, fewest = mask_of([part.price[2] > 0 for part in parts]), min(one.h, one.loss.outputs)
        totals = [
            sum(
                min(
                    (
                        one.factor * loss[i] + price + one.neuron * max((live | used).bit_count(), fewest)
                        for i, price, nonzeros, used in options
                        if nonzeros <= room
                    ),
                    default=NEVER,
                )
                for options, loss in zip(configuration, losses, strict=True)
            )
            for configuration in self.configurations
        ]
        return min(totals) + sum(part.price[0] for part in parts)

    def check(self, tree: str, bound: int) -> None:
        """Reject unless every leaf reaches the bound, and the leaves cover everything."""
        stack: list[tuple[int, ...]] = [(0,) * self.networks.h]
        for number, mark in enumerate(tree):
            demand(stack and mark in "0123456789"[: self.networks.h + 1], f"node {number} is malformed or one too many")
            nodes, unit = stack.pop(), int(mark) - 1
            if unit < 0:
                demand(self.bound(nodes) >= bound, f"node {number} does not reach the bound")
                continue
            children = self.clusters[nodes[unit]].children
            demand(children, f"node {number} parts a cluster that stays whole")
            after = [self.ordered([*nodes[:unit], child, *nodes[unit + 1 :]]) for child in reversed(children)]
            stack += [child for child in after if child is not None]
        demand(not stack, "the tree leaves networks out")


def layers_of(model: Json, data: Data) -> list[Json]:
    """Return the layers of a model; reject options that are not known, perturbations, and layers that do not fit."""
    network, options = model["network"], model["options"]
    layers: list[Json] = network["architecture"]["layers"]
    known = HARMLESS | {*PRICES, "max_nonzeros", "fan_in", "feature_signs", "robust_radius", "robust_price"}
    demand(set(options) <= known, "the model has an option that this checker does not know")
    radius = options.get("robust_radius") or []
    radii = radius.values() if isinstance(radius, dict) else radius if isinstance(radius, list) else [radius]
    demand(not any(radii), "proofs of this kind are for models without perturbations")
    told = network["scale"], layers[0]["n_in"]
    demand(told == (data.scale, len(data.X[0])), "the network has other inputs")
    demand(all(a["n_out"] == b["n_in"] for a, b in itertools.pairwise(layers)), "the layers do not fit together")
    demand(all(layer["activation"] in ("sign", "step") for layer in layers[:-1]), "an activation is unknown")
    demand(layers[-1]["n_out"] in ({1, 2} if data.classes == 2 else {data.classes}), "the network has other outputs")
    plain = all((layer[d] or {}).get("denominator", 1) == 1 for layer in layers for d in ("weights", "bias"))
    demand(plain and not any(layer.get("margin") for layer in layers), "weights must be integers")
    return layers


def networks_of(model: Json, data: Data) -> Networks:
    """Return the networks that a model with hidden layers was chosen from."""
    layers, options = layers_of(model, data), model["options"]
    demand(not options.get("feature_signs"), "signs of features do not go with hidden layers")
    prices = [Fraction((options.get(p) or 0) * model["weight_unit"]).limit_denominator(MICRO) for p in PRICES]
    return Networks(layers, model["loss"], prices, (options["max_nonzeros"], options["fan_in"]), data)


def check_network(proof: Json, model: Json, data: Data) -> Json:
    """Check a proof by clusters of patterns for networks with hidden layers; return its loss, bound and unit."""
    networks, bound = networks_of(model, data), proof["bound"]
    loss = networks.value(model["network"])
    demand(loss is not None, "the network breaks a condition")
    demand(type(bound) is int and type(proof["tree"]) is str, "the proof is malformed")
    Search(networks, proof["cuts"]).check(proof["tree"], bound)
    return {"loss": loss, "bound": bound, "unit": str(networks.unit)}


# --- Neurons whose wrong signs cost: boxes of weights in which samples, or one of two, must be wrong. ---


PARTNERS, CLOSE = 24, 6


class Fields:
    """The largest values of rows ``a u + c`` in a box, packed into one integer, `size` bytes each; `half` is 0.

    Narrowing a box lowers them by whole columns: one subtraction for all rows.
    """

    def __init__(self, rows: Sequence[tuple[Sequence[int], int]], top: Sequence[int], size: int) -> None:
        half, self.size, self.count = 1 << (8 * size - 1), size, len(rows)
        self.half = self.pack([half] * len(rows))
        self.reach = self.pack([half + c + sum(max(x, 0) * t for x, t in zip(a, top, strict=True)) for a, c in rows])
        self.down = [self.pack([max(a[j], 0) for a, _ in rows]) for j in range(len(top))]
        self.up = [self.pack([max(-a[j], 0) for a, _ in rows]) for j in range(len(top))]

    def pack(self, values: Sequence[int]) -> int:
        """Return one integer for all values."""
        return int.from_bytes(b"".join(value.to_bytes(self.size, "little") for value in values), "little")

    def wrong(self, reach: int) -> bytes:
        """Return a byte a row, 0 where the row can reach 0."""
        return (~reach & self.half).to_bytes(self.size * self.count, "little")[self.size - 1 :: self.size]


class Signs:
    """Entries ``0 <= u <= top`` of a neuron, and rows ``a u + c``: row k is right from 0 on, else costs `costs[k]`.

    They come from weights: equal columns are one entry, equal rows one row, and of opposite rows one is wrong
    whatever the weights are.

    Parameters
    ----------
    X : list of rows, with the scale at their end where there is a bias
    wanted : list of int
        The wanted sign of each sample times the cost of the other one.
    box : (low, high, step), lists with one integer a weight, that of the bias last
    zero : {1, -1}
        The sign of a score of 0.
    every : bool
        Keep rows that cost nothing, too, so that the rows tell the signs of all samples.
    """

    def __init__(
        self,
        X: Sequence[Sequence[int]],
        wanted: Sequence[int],
        box: tuple[list[int], list[int], list[int]],
        zero: int,
        every: bool,
    ) -> None:
        self.signs = [1 if cost >= 0 else -1 for cost in wanted]
        offsets, entries = [-(t != zero) for t in self.signs], dict[tuple[int, ...], int]()
        for low, high, step, column in zip(*box, zip(*X, strict=True), strict=True):
            values = [t * x for t, x in zip(self.signs, column, strict=True)]
            lead = next((v for v in values if v), 0)
            start, way = (high, -step) if lead < 0 else (low, step)
            offsets = [c + v * start for c, v in zip(offsets, values, strict=True)]
            if lead and low < high:
                key = tuple(way * v for v in values)
                entries[key] = entries.get(key, 0) + (high - low) // step
        self.top = list(entries.values())
        self.constant, self.fates = 0, list[tuple[Any, bool]]()
        rows = list(zip(*entries, strict=True)) if entries else [()] * len(X)
        self.rows, self.costs = self._merged(rows, offsets, [abs(cost) for cost in wanted], every)
        self.all = self.constant + sum(self.costs)
        self.pairs, self.close = self._pairs()
        self._pack()

    def _merged(
        self, rows: Sequence[tuple[int, ...]], offsets: list[int], costs: list[int], every: bool
    ) -> tuple[list[tuple[tuple[int, ...], int]], list[int]]:
        """Return the rows that are open in the root box, equal and opposite ones merged, and their costs."""
        found = dict[Any, list[int]]()
        for row, offset, cost in zip(rows, offsets, costs, strict=True):
            factor = math.gcd(*row) or 1
            a, c = tuple(x // factor for x in row), offset // factor
            ends = [(x * t, 0) for x, t in zip(a, self.top, strict=True)]
            least, most = c + sum(map(min, ends)), c + sum(map(max, ends))
            if most < 0 or least >= 0 or not (cost or every):
                self.constant += cost if most < 0 else 0
                self.fates.append((None, most < 0))
                continue
            other = next(x for x in a if x) < 0
            key = (tuple(-x for x in a), -c - 1) if other else (a, c)
            found.setdefault(key, [0, 0, factor])[other] += cost
            self.fates.append((key, other))
        self.constant += sum(min(right, wrong) for right, wrong, _ in found.values())
        kept = {key: one for key, one in found.items() if every or one[0] != one[1]}
        self.ways = {key: (i, one[0] < one[1]) for i, (key, one) in enumerate(kept.items())}
        ways = [-factor if right < wrong else factor for right, wrong, factor in kept.values()]
        merged = [(tuple(f * x for x in a), f * (c if f > 0 else c + 1)) for (a, c), f in zip(kept, ways, strict=True)]
        return merged, [abs(right - wrong) for right, wrong, _ in kept.values()]

    def _pairs(self) -> tuple[list[tuple[int, int]], int]:
        """Return pairs of rows whose sum reaches least far, the closest of each row first, and how many these are."""
        chosen = dict[tuple[int, int], tuple[bool, int]]()
        able = [i for i, cost in enumerate(self.costs) if cost]
        reach = [[self._reach(i, j) for j in able[:number]] for number, i in enumerate(able)]
        for number, i in enumerate(able):
            after = (row[number] for row in reach[number + 1 :])
            near = sorted(zip((*reach[number], *after), (j for j in able if j != i), strict=True))
            for rank, (value, j) in enumerate(near[:PARTNERS]):
                pair = min(i, j), max(i, j)
                chosen[pair] = min((rank >= CLOSE, value), chosen.get(pair, (True, value)))
        order = sorted(chosen, key=lambda pair: (chosen[pair], pair))
        return order, sum(not far for far, _ in chosen.values())

    def _reach(self, i: int, j: int) -> int:
        """Return the largest value of the sum of two rows in the root box."""
        (a, c), (b, d) = self.rows[i], self.rows[j]
        return c + d + sum([(x + y) * t for x, y, t in zip(a, b, self.top, strict=True) if x + y > 0])

    def _pack(self) -> None:
        """Pack rows, and the sums of the rows of pairs."""
        ends = (abs(c) + sum(abs(x) * t for x, t in zip(a, self.top, strict=True)) for a, c in self.rows)
        size = (2 * max(ends, default=0)).bit_length() // 8 + 1
        both = ((self.rows[i], self.rows[j]) for i, j in self.pairs)
        sums = [([x + y for x, y in zip(a, b, strict=True)], c + d) for (a, c), (b, d) in both]
        self.single, self.double = Fields(self.rows, self.top, size), Fields(sums, self.top, size)

    def reaches(self, reach: int, double: int, enough: int) -> bool:
        """Whether all neurons of a box are seen to cost so much: by wrong rows, and by pairs that share out costs."""
        rest = [0 if wrong else cost for cost, wrong in zip(self.costs, self.single.wrong(reach), strict=True)]
        missing = enough - self.all + sum(rest)
        if missing <= 0:
            return True
        found = itertools.compress(self.pairs, self.double.wrong(double))
        apart = [(i, j) for i, j in found if rest[i] and rest[j]]
        if shared(apart, rest.copy()) >= missing:
            return True
        degree = [0] * len(rest)
        for i, j in apart:
            degree[i] += 1
            degree[j] += 1
        apart.sort(key=lambda pair: degree[pair[0]] + degree[pair[1]])
        return shared(apart, rest) >= missing

    def decided(self, reach: int, widths: Sequence[int]) -> tuple[int, tuple[int, ...]] | None:
        """Return the cost and the signs of all samples where every point of a box has the same, else None."""
        least = reach - sum(
            (up + down) * width for up, down, width in zip(self.single.up, self.single.down, widths, strict=True)
        )
        if reach & self.single.half & ~least:
            return None
        wrong = [bool(byte) for byte in self.single.wrong(reach)]
        cost = self.constant + sum(itertools.compress(self.costs, wrong))
        ways = {key: wrong[i] != turned for key, (i, turned) in self.ways.items()}
        fates = (wrong if key is None else ways[key] != wrong for key, wrong in self.fates)
        return cost, tuple(-t if wrong else t for t, wrong in zip(self.signs, fates, strict=True))


def shared(pairs: Sequence[tuple[int, int]], rest: list[int]) -> int:
    """Return what pairs take, one after the other, of what both of their rows have left."""
    total = 0
    for i, j in pairs:
        a, b = rest[i], rest[j]
        if a and b:
            share = a if a < b else b
            total += share
            rest[i], rest[j] = a - share, b - share
    return total


class SignTree:
    """The proof that all neurons of `Signs` cost at least `bound`, and the signs of all that cost less than `listed`.

    A tree of boxes of entries, its nodes listed depth first, each an integer v. With D entries,

    * ``v > 0``, ``v - 1 = c D + j``: entry j is at most c in the first branch, and above c in the second;
    * ``v = 0``: all neurons of the box are seen to cost `listed` or more, or all have the same signs;
    * ``v < 0``: move ``-1 - v`` takes the box to points of the root box with equal scores and a larger rank.
    """

    def __init__(self, signs: Signs, data: Json) -> None:
        self.signs, self.bound, self.listed = signs, integer(data["bound"]), integer(data["listed"])
        self.moves, rank = data["moves"], integers(data["rank"], len(signs.top))
        demand(self.listed >= self.bound, "a list ends below its bound")
        for u in self.moves:
            integers(u, len(rank))
            demand(not any(sum(map(mul, a, u)) for a, _ in signs.rows), "a move changes scores")
            demand(sum(map(mul, rank, u)) > 0, "a move does not raise the rank")

    def check(self, nodes: Sequence[int]) -> dict[tuple[int, ...], int]:
        """Reject unless every leaf is closed; return the listed signs with their costs."""
        signs, entries = self.signs, len(self.signs.top)
        (one, two), found = (signs.single, signs.double), dict[tuple[int, ...], int]()
        boxes = [(one.reach, two.reach, [0] * entries, signs.top)]
        for number, node in enumerate(nodes):
            demand(boxes, f"node {number} has no box")
            reach, double, low, high = boxes.pop()
            if node > 0:
                c, j = divmod(node - 1, entries)
                demand(low[j] <= c < high[j], f"node {number} splits nothing")
                up, down = c + 1 - low[j], high[j] - c
                above, below = [*low[:j], c + 1, *low[j + 1 :]], [*high[:j], c, *high[j + 1 :]]
                boxes.append((reach - one.up[j] * up, double - two.up[j] * up, above, high))
                boxes.append((reach - one.down[j] * down, double - two.down[j] * down, low, below))
            elif node < 0:
                demand(self.moved(-1 - node, low, high), f"node {number} moves nowhere")
            elif not signs.reaches(reach, double, self.listed):
                demand(self.listed > self.bound, f"node {number} does not reach the bound")
                same = signs.decided(reach, [b - a for a, b in zip(low, high, strict=True)])
                demand(same is not None and same[0] >= self.bound, f"node {number} does not reach the bound")
                found.update([same[::-1]] if same else [])
        demand(not boxes, "the tree leaves boxes open")
        return found

    def moved(self, i: int, low: list[int], high: list[int]) -> bool:
        """Whether move i takes all of a box into the root box."""
        ends = zip(self.moves[i], low, high, self.signs.top, strict=True)
        return all(a + u >= 0 and b + u <= top for u, a, b, top in ends)


# --- Kind "agreement": one neuron, whose errors are counted. ---


def plain_layers(model: Json, data: Data, hidden: int) -> list[Json]:
    """Return the layers of a model without prices and perturbations, whose network keeps domains and limits."""
    network, options, layers = model["network"], model["options"], layers_of(model, data)
    demand(not any(options.get(price) for price in PRICES), "proofs of this kind are for models without prices")
    demand(len(layers) == hidden + 1, "the network has another number of layers than proofs of this kind")
    used = [[sum(1 for x in column if x) for column in zip(*W, strict=True)] for W in network["weights"]]
    budget, fan_in = options.get("max_nonzeros"), options.get("fan_in")
    demand(budget is None or sum(map(sum, used)) <= budget, "the network has too many weights")
    demand(fan_in is None or max(map(max, used)) <= fan_in, "a neuron has too many weights")
    for i, (layer, W, b) in enumerate(zip(layers, network["weights"], network["biases"], strict=True)):
        domains = [layer["weights"]] * layer["n_in"] if i else weight_domains(model, data, layer["weights"])
        demand(len(W) == layer["n_in"] == len(domains), "a layer has another number of inputs")
        demand(all(len(row) == layer["n_out"] for row in (*W, b)), "a layer has another number of units")
        demand(all(holds(d, x) for row, d in zip(W, domains, strict=True) for x in row), "a weight outside its domain")
        demand(all(holds(layer["bias"], x) for x in b), "a bias outside its domain")
    return layers


def holds(domain: Json | None, value: Any) -> bool:
    """Whether a domain holds a value; without one only 0."""
    if domain is None or type(value) is not int:
        return value == 0
    return bool(domain["low"] <= value <= domain["high"] and (value - domain["low"]) % domain["step"] == 0)


def scores_of(network: Json, X: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the scores of every output on all samples."""
    layers, scale = network["architecture"]["layers"], network["scale"]
    for i, (W, b) in enumerate(zip(network["weights"], network["biases"], strict=True)):
        columns = list(zip(*W, strict=True))
        X = [[sum(map(mul, x, w)) + scale * c for w, c in zip(columns, b, strict=True)] for x in X]
        scale = 1
        if i < len(layers) - 1:
            lowest = {"sign": -1, "step": 0}[layers[i]["activation"]]
            X = [[1 if a >= 0 else lowest for a in row] for row in X]
    return [list(column) for column in zip(*X, strict=True)]


def unit_box(model: Json, data: Data, layer: Json) -> tuple[list[list[int]], tuple[list[int], list[int], list[int]]]:
    """Return the samples, with the scale at their end where a layer has biases, and the box of a unit's weights."""
    bias = layer["bias"]
    domains = [*weight_domains(model, data, layer["weights"]), *([bias] if bias is not None else [])]
    rows = [[*row, *([data.scale] if bias is not None else [])] for row in data.X]
    even = all(d["step"] > 0 and (d["high"] - d["low"]) % d["step"] == 0 for d in domains)
    demand(even, "a domain does not end at one of its values")
    return rows, ([d["low"] for d in domains], [d["high"] for d in domains], [d["step"] for d in domains])


def counts_errors(loss: Json) -> bool:
    """Whether a loss of one output counts the samples whose sign is wrong."""
    name, options = loss["name"], loss["options"]
    return name == "max_correct" or (name == "hamming" and options["codes"] is None)


def check_agreement(proof: Json, model: Json, data: Data) -> Json:
    """Check a proof for one neuron whose errors are counted; return its loss, bound and unit."""
    (layer,) = plain_layers(model, data, 0)
    demand(layer["n_out"] == 1 and counts_errors(model["loss"]), "proofs of this kind count the errors of one output")
    (scores,), targets = scores_of(model["network"], data.X), [1 if y == 1 else -1 for y in data.y]
    wrong = [(a >= 0) != (t > 0) for a, t in zip(scores, targets, strict=True)]
    X, box = unit_box(model, data, layer)
    wanted = [m * t for m, t in zip(data.multiplicity, targets, strict=True)]
    tree = SignTree(Signs(X, wanted, box, 1, every=False), {"listed": proof["bound"], **proof})
    demand(tree.listed == tree.bound, "an agreement proof lists nothing")
    tree.check(proof["tree"])
    return {"loss": sum(itertools.compress(data.multiplicity, wrong)), "bound": tree.bound, "unit": "1"}


# --- Kind "hull": networks with one hidden layer. ---


MOST_LAYERS, MOST_NETWORKS = 200_000, 10**6
Unit = tuple[int, int, tuple[int, ...]]


class Region:
    """Output layers of a bias, with all weights of a range of totals, or with single magnitudes and sides."""

    def __init__(self, data: Any) -> None:
        base, least, most, magnitudes, sides, self.cut = data
        self.base, self.least, self.most, self.cut = integer(base), integer(least), integer(most), integer(data[5])
        integers(sides, len(integers(magnitudes, len(magnitudes))))
        self.layer, sums = list(zip(magnitudes, sides, strict=True)), {0}
        demand(0 <= self.least <= self.most, "a region of no totals")
        for m in magnitudes:
            sums = {o + s * m for o in sums for s in (-1, 1)}
        self.exact = bool(magnitudes) or self.most == 0
        demand(not magnitudes or self.least == self.most == sum(magnitudes), "a region of other totals than its own")
        step = 2 if self.least == self.most else 1
        self.offsets = sorted(sums) if self.exact else list(range(-self.most, self.most + 1, step))


class Cut:
    """Slopes ``G_k / Q`` of all samples, and how well a unit or a mirrored unit can agree with them at best."""

    def __init__(self, hidden: "Hidden", data: Json) -> None:
        self.quotient, self.slopes = integer(data["quotient"]), integers(data["slopes"], len(hidden.multiplicity))
        demand(self.quotient > 0, "a quotient is not positive")
        wanted = [-m * slope for m, slope in zip(hidden.multiplicity, self.slopes, strict=True)]
        self.total, self.units = sum(map(abs, wanted)), list[Unit]()
        low, high, step = hidden.box
        mirrored = [-x for x in high], [-x for x in low], step
        bounds, self.listed = [], []
        for side, box, part in zip((1, -1), (hidden.box, mirrored), data["sides"], strict=True):
            signs = Signs(hidden.X, wanted, box, side, every=part["listed"] > part["bound"])
            tree = SignTree(signs, part)
            self.units += [(cost, side, pattern) for pattern, cost in tree.check(part["tree"]).items()]
            bounds.append(tree.bound)
            self.listed.append(tree.listed)
        self.agreement = self.total - 2 * min(bounds)

    def within(self, room: int, sided: bool) -> list[Unit]:
        """Return all units that agree at most `room` worse than the best can, as (how much worse, side, signs)."""
        most = (self.total - self.agreement + room) // 2
        demand(all(most < listed for listed in self.listed), "the lists of a cut leave units out")
        near = ((self.agreement - self.total + 2 * cost, side, signs) for cost, side, signs in self.units)
        units = sorted(unit for unit in near if unit[0] <= room)
        return units if sided else list({signs: (worse, side, signs) for worse, side, signs in units}.values())


class Hidden:
    """One output of a network with one hidden layer: its loss is at least `bound`, by regions of output layers.

    With units s of signs, and mirrored ones, magnitudes m and a bias every score is ``(base + o) / parts``, with
    ``o = sum_i m_i s_i``. A cut with slopes g gives ``sum_k loss_k(o_k) >= sum_k min_o [loss_k(o) - g_k o] - V A``,
    where V is the sum of magnitudes and A the best agreement of a unit. If a region's bound by its cut is too small,
    all units that agree well enough for a better network are combined.
    """

    def __init__(self, model: Json, data: Data, layers: list[Json], output: int) -> None:
        self.X, self.box = unit_box(model, data, layers[0])
        self.multiplicity, self.layer, self.units = data.multiplicity, layers[1], layers[0]["n_out"]
        self.parts = {"sign": 1, "step": 2}[layers[0]["activation"]]
        self.targets = targets_of(data, layers[1]["n_out"], output)
        self.loss, _ = loss_of(model["loss"], layers[1])
        self.networks = 0

    def weights(self) -> list[tuple[int, int]]:
        """Return magnitudes and sides of output weights; side 0 stands for both."""
        domain = self.layer["weights"]
        values = range(domain["low"], domain["high"] + 1, domain["step"])
        even = self.parts == 1 and domain["low"] == -domain["high"]
        return sorted({(abs(v), 0 if even else (v > 0) - (v < 0)) for v in values}, reverse=True)

    def cover(self, regions: Sequence[Region]) -> None:
        """Reject unless every output layer is in a region."""
        domain, weights = self.layer["bias"] or {"low": 0, "high": 0, "step": 1}, self.weights()
        biases = range(domain["low"], domain["high"] + 1, domain["step"])
        layers = math.comb(len(weights) + self.units - 1, self.units) * len(biases)
        demand(layers <= MOST_LAYERS, "there are too many output layers")
        single = {(region.base, tuple(region.layer)) for region in regions if region.exact}
        ranges = {(r.base, V) for r in regions if not r.exact for V in range(r.least, r.most + 1)}
        for chosen in itertools.combinations_with_replacement(weights, self.units):
            used = tuple((m, side) for m, side in chosen if m)
            middle = sum(m * side for m, side in used) if self.parts == 2 else 0
            for b in biases:
                base = self.parts * b + middle
                held = (base, used) in single or (base, sum(m for m, _ in used)) in ranges
                demand(held, f"no region holds the output bias {b} with {list(used)}")

    def losses(self, region: Region) -> list[list[int]]:
        """Return what each sample, counted once, loses at each offset of a region."""
        scores = [(region.base + o) // self.parts for o in region.offsets]
        of = {t: [self.loss(t, a) for a in scores] for t in (-1, 1)}
        return [of[t] for t in self.targets]

    def check(self, region: Region, cuts: Sequence[Cut], bound: int) -> None:
        """Reject unless no network of a region has a loss below the bound."""
        table = self.losses(region)
        alone = sum(m * min(row) for m, row in zip(self.multiplicity, table, strict=True))
        if region.cut < 0 or alone >= bound:
            demand(alone >= bound, "a region's bound is too small")
            return
        cut = cuts[region.cut]
        slopes = zip(self.multiplicity, table, cut.slopes, strict=True)
        own = sum(
            m * min([cut.quotient * v - g * o for v, o in zip(row, region.offsets, strict=True)])
            for m, row, g in slopes
        )  # fmt: skip
        room = cut.quotient * (bound - 1) - own + max(region.least * cut.agreement, region.most * cut.agreement)
        if room >= 0:
            demand(region.exact and region.most, "a region's bound is too small")
            units = cut.within(room // min(m for m, _ in region.layer), any(side for _, side in region.layer))
            Combination(self, region, table, units, room, bound).check()


class Combination:
    """All networks of one output layer whose units, taken from a list, agree at most `room` worse in all."""

    def __init__(
        self, hidden: Hidden, region: Region, table: list[list[int]], units: list[Unit], room: int, bound: int
    ) -> None:
        self.hidden, self.layer, self.units, self.room, self.bound = hidden, region.layer, units, room, bound
        costs = [dict(zip(region.offsets, row, strict=True)) for row in table]
        self.costs = [{o: m * v for o, v in row.items()} for m, row in zip(hidden.multiplicity, costs, strict=True)]

    def check(self) -> None:
        """Reject if a network is below the bound."""
        self.add(0, 0, self.room, [0] * len(self.costs))

    def add(self, level: int, first: int, room: int, sums: list[int]) -> None:
        """Try all units for an output weight, of which equal ones come in the order of the list."""
        m, side = self.layer[level]
        rest = self.layer[level + 1 :]
        alike = m * (1 + sum(1 for other in rest if other == (m, side)))
        for i in range(first, len(self.units)):
            worse, kind, signs = self.units[i]
            if alike * worse > room:
                return
            if side and kind != side:
                continue
            self.hidden.networks += 1
            demand(self.hidden.networks <= MOST_NETWORKS, "there are too many networks to combine")
            after = [o + m * s for o, s in zip(sums, signs, strict=True)]
            if rest:
                self.add(level + 1, i if rest[0] == (m, side) else 0, room - m * worse, after)
            else:
                value = sum(row[o] for row, o in zip(self.costs, after, strict=True))
                demand(value >= self.bound, "a network of listed units is below the bound")


def targets_of(data: Data, outputs: int, output: int) -> list[int]:
    """Return the wanted sign of an output on every sample."""
    own = 1 if outputs == 1 else output
    return [1 if y == own else -1 for y in data.y]


def loss_of(loss: Json, layer: Json) -> tuple[Callable[[int, int], int], Fraction]:
    """Return what an output of a wanted sign loses at a score, behind a hidden layer, and the value of a unit."""
    name, options = loss["name"], loss["options"]
    bounds = [max(abs(d["low"]), abs(d["high"])) for d in (layer["weights"], layer["bias"]) if d is not None]
    B = layer["n_in"] * bounds[0] + sum(bounds[1:])
    if name == "logistic":
        logistic = Logistic(options["temperature"])
        return lambda t, a: logistic.exact(t * a), Fraction(1, MICRO)
    if name == "min_hinge":
        hinge = Hinge(B)
        return lambda t, a: hinge.exact(t * a), Fraction(1, 4 * B * B)
    if name == "sat_margin" and not options["kept_only"]:
        return lambda t, a: int(4 * t * a < B), Fraction(1)
    known = counts_errors(loss) and (name == "hamming" or layer["n_out"] == 1)
    demand(known, f"proofs of this kind do not know the loss {name!r}")
    return lambda t, a: int((a >= 0) != (t > 0)), Fraction(1)


def check_hull(proof: Json, model: Json, data: Data) -> Json:
    """Check a proof for a network with one hidden layer; return its loss, bound and unit."""
    layers, loss = plain_layers(model, data, 1), 0
    of, unit = loss_of(model["loss"], layers[1])
    demand(len(proof["outputs"]) == layers[1]["n_out"], "the proof has another number of outputs")
    for i, (part, scores) in enumerate(zip(proof["outputs"], scores_of(model["network"], data.X), strict=True)):
        hidden, regions = Hidden(model, data, layers, i), [Region(region) for region in part["regions"]]
        loss += sum(m * of(t, a) for m, t, a in zip(data.multiplicity, hidden.targets, scores, strict=True))
        hidden.cover(regions)
        cuts = [Cut(hidden, cut) for cut in part["cuts"]]
        for region in regions:
            hidden.check(region, cuts, integer(part["bound"]))
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
        objective of any point; "slack": Fraction, by how much that point may break a bound or a side, 0 for one
        that is feasible exactly; "optimal": whether value and bound are equal and the slack is 0; "infeasible":
        whether there is no point; "leaves": their number.

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
    value, slack = None, fraction(proof.get("slack", [0, 1]))
    if claimed is None:
        demand(proof["x"] is None, "a point without a value")
    else:
        value = model.value(proof["x"], slack)
        demand(value == fraction(claimed), "the point's objective is not the claimed value")
        demand(value >= bound or slack > 0, "the bound is above the value")
    infeasible = bound > model.largest()
    return {
        "value": value,
        "bound": bound,
        "slack": slack,
        "optimal": value == bound and slack == 0,
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

    def value(self, point: Any, slack: Fraction) -> Fraction:
        """Objective of a point, which must satisfy everything up to a slack, and its integers exactly."""
        denominator = integer(point["denominator"])
        x = integers(point["x"], self.n)
        demand(denominator > 0 and slack >= 0, "the point's denominator or its slack is not positive")
        room = slack * self.unit * denominator if slack else 0
        for v, low, up, kind in zip(x, self.lower, self.upper, self.integer, strict=True):
            inside = low * denominator - room <= v * self.unit <= up * denominator + room
            demand(inside, "the point is outside a column's bounds")
            demand(not kind or v % denominator == 0, "an integer column is not whole at the point")
        for row, below, above in zip(self.A, self.row_lower, self.row_upper, strict=True):
            activity = sum(a * x[j] for j, a in row)
            demand(below is None or below * denominator - room <= activity, "the point breaks the lower side of a row")
            demand(above is None or activity <= above * denominator + room, "the point breaks the upper side of a row")
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


KINDS: dict[str, Callable[[Json, Json, Data], Json]] = {
    "convex": check_convex,
    "agreement": check_agreement,
    "hull": check_hull,
    "network": check_network,
}


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
        value, bound = (v and format(float(Fraction(v)), ".9g") for v in (found["value"], found["bound"]))
        least = f"no point of the program has an objective below {bound}"
        slack = float(Fraction(found["slack"]))
        near = f" at a point that breaks a row or a bound by {slack:.1e}" if slack else ""
        return f"ACCEPTED: {'optimal, ' * found['optimal']}the value is {value}{near}, and {least}"
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
