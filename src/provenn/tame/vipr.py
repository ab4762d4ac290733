"""Writes certificates in the VIPR format, for checkers by others."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from provenn.milp import MILP
from provenn.tame.certificate import DualCertificate

Terms = dict[int, Fraction]


def write_vipr(certificate: DualCertificate, path: str | Path) -> None:
    """Write a certificate as a ``.vipr`` file.

    Rows with two different sides become two constraints, and the bounds of columns are constraints too. VIPR
    knows no constant in the objective: the range that is proven is that of the objective without it.

    Parameters
    ----------
    certificate : DualCertificate
    path : str or Path

    References
    ----------
    Cheung, Gleixner & Steffy, IPCO 2017, doi:10.1007/978-3-319-59250-3_13;
    https://github.com/ambros-gleixner/VIPR

    Examples
    --------
    >>> import tempfile
    >>> from provenn.milp import Builder
    >>> from provenn.tame.branch_and_bound import branch_and_bound
    >>> builder = Builder()
    >>> builder.minimise(builder.columns("x", (1,), 0, 3), -1.0)
    >>> target = Path(tempfile.mkdtemp()) / "proof.vipr"
    >>> write_vipr(branch_and_bound(builder.build()), target)
    >>> target.read_text().splitlines()[-1]
    'D0 G -3 OBJ { lin 1 1 -1 } -1'
    """
    Path(path).write_text("\n".join(_Writer(certificate).lines()) + "\n")


class _Writer:
    """Numbers constraints as they are written."""

    def __init__(self, certificate: DualCertificate) -> None:
        self.certificate, self.milp = certificate, certificate.milp
        self.constraints: list[str] = []
        self.lower: list[int] = []
        self.upper: list[int] = []
        self.row_lower: dict[int, int] = {}
        self.row_upper: dict[int, int] = {}
        self.derived: list[str] = []
        self.bound = certificate.exact_bound - Fraction(float(self.milp.offset))

    def lines(self) -> Iterator[str]:
        """All lines of the file."""
        milp, found = self.milp, None if self.certificate.slack else self.certificate.point
        integer = np.flatnonzero(milp.integer).tolist()
        self._model()
        self._derivations()
        yield from ("% provenn", "VER 1.0", f"VAR {milp.n_columns}")
        yield from (f"x{j}" for j in range(milp.n_columns))
        yield f"INT {len(integer)}"
        yield " ".join(map(str, integer))
        yield "OBJ min"
        yield _terms(_exact(milp.c))
        yield f"CON {len(self.constraints)} {2 * milp.n_columns}"
        yield from self.constraints
        yield self._claim()
        yield f"SOL {int(found is not None)}"
        if found is not None:
            yield "best " + _terms({j: v for j, v in enumerate(found) if v})
        yield f"DER {len(self.derived)}"
        yield from self.derived

    def _claim(self) -> str:
        value = None if self.certificate.slack else self.certificate.exact_value
        if value is None:
            return "RTP infeas" if self._infeasible() else f"RTP range {self.bound} inf"
        return f"RTP range {self.bound} {value - Fraction(float(self.milp.offset))}"

    def _model(self) -> None:
        """Write bounds of columns, then rows."""
        for j in range(self.milp.n_columns):
            self.lower.append(self._constraint("B", "G", Fraction(float(self.milp.col_lower[j])), {j: Fraction(1)}))
            self.upper.append(self._constraint("B", "L", Fraction(float(self.milp.col_upper[j])), {j: Fraction(1)}))
        for i in range(self.milp.n_rows):
            low, high, terms = self.milp.row_lower[i], self.milp.row_upper[i], _row(self.milp, i)
            if low == high:
                self.row_lower[i] = self.row_upper[i] = self._constraint("C", "E", Fraction(float(low)), terms)
                continue
            if np.isfinite(low):
                self.row_lower[i] = self._constraint("C", "G", Fraction(float(low)), terms)
            if np.isfinite(high):
                self.row_upper[i] = self._constraint("C", "L", Fraction(float(high)), terms)

    def _constraint(self, name: str, sense: str, side: Fraction, terms: Terms) -> int:
        number = len(self.constraints)
        self.constraints.append(f"{name}{number} {sense} {side} {_terms(terms)}")
        return number

    def _derive(self, sense: str, side: Fraction, terms: str, reason: str) -> int:
        self.derived.append(f"D{len(self.derived)} {sense} {side} {terms} {{ {reason} }} -1")
        return len(self.constraints) + len(self.derived) - 1

    def _derivations(self) -> None:
        """Assume the splits, bound the leaves, and undo the splits from below."""
        tree = self.certificate.tree
        assumed: dict[int, tuple[int, int]] = {}
        proven: dict[int, int] = {}
        for node in tree.preorder():
            if tree.left[node] >= 0:
                unit, split = _terms({int(tree.column[node]): Fraction(1)}), Fraction(float(tree.split[node]))
                assumed[node] = self._derive("L", split, unit, "asm"), self._derive("G", split + 1, unit, "asm")
        for node in reversed(tree.preorder()):
            if tree.left[node] < 0:
                proven[node] = self._leaf(node, assumed)
                continue
            left = int(tree.left[node])
            (a, b), (p, q) = assumed[node], (proven[left], proven[left + 1])
            proven[node] = self._derive("G", self.bound, "OBJ", f"uns {p} {a} {q} {b}")
        if self.certificate.exact_value is None and self._infeasible():
            self._contradiction(proven[0])

    def _leaf(self, node: int, assumed: dict[int, tuple[int, int]]) -> int:
        """Add up rows and the bounds that hold in the leaf."""
        lower, upper, crossed = self._leaf_bounds(node, assumed)
        if crossed is not None:
            return self._derive(
                "G",
                Fraction(1),
                "0",
                f"lin 2 {lower[crossed][1]} {crossed_factor(lower[crossed][0], upper[crossed][0])}"
                f" {upper[crossed][1]} {-crossed_factor(lower[crossed][0], upper[crossed][0])}",
            )
        denominator, rows, numerators = self.certificate.duals.exact[self.certificate.tree.dual[node]]
        reduced, weights = _exact(self.milp.c), {}
        for i, v in zip(rows, numerators, strict=True):
            y = Fraction(v, denominator)
            weights[self.row_lower[i] if y > 0 else self.row_upper[i]] = y
            for j, a in _row(self.milp, i).items():
                reduced[j] = reduced.get(j, Fraction(0)) - y * a
        for j, r in reduced.items():
            if r:
                weights[(lower if r > 0 else upper)[j][1]] = r
        return self._derive("G", self.bound, "OBJ", f"lin {_terms(weights)}")

    def _leaf_bounds(
        self, node: int, assumed: dict[int, tuple[int, int]]
    ) -> tuple[dict[int, tuple[Fraction, int]], dict[int, tuple[Fraction, int]], int | None]:
        """Tightest bounds of all columns with their constraints; the column whose bounds cross, if any."""
        milp, tree = self.milp, self.certificate.tree
        lower = {j: (Fraction(float(v)), self.lower[j]) for j, v in enumerate(milp.col_lower)}
        upper = {j: (Fraction(float(v)), self.upper[j]) for j, v in enumerate(milp.col_upper)}
        while tree.parent[node] >= 0:
            above = int(tree.parent[node])
            j, split = int(tree.column[above]), Fraction(float(tree.split[above]))
            if node == tree.left[above] and split < upper[j][0]:
                upper[j] = split, assumed[above][0]
            elif node != tree.left[above] and split + 1 > lower[j][0]:
                lower[j] = split + 1, assumed[above][1]
            node = above
        crossed = [j for j in lower if lower[j][0] > upper[j][0]]
        return lower, upper, crossed[0] if crossed else None

    def _largest(self) -> tuple[Fraction, Terms]:
        """Return the largest objective in the columns' bounds, and the weights that prove it."""
        total, weights = Fraction(0), {}
        for j, c in _exact(self.milp.c).items():
            total += c * Fraction(float(self.milp.col_upper[j] if c > 0 else self.milp.col_lower[j]))
            weights[(self.upper if c > 0 else self.lower)[j]] = -c
        return total, weights

    def _infeasible(self) -> bool:
        return self.bound > self._largest()[0]

    def _contradiction(self, objective: int) -> None:
        """Scale the difference of the objective's bound and its largest value, which is smaller, to ``0 >= 1``."""
        largest, weights = self._largest()
        scale = 1 / (self.bound - largest)
        scaled = {k: w * scale for k, w in weights.items()}
        scaled[objective] = scale
        self._derive("G", Fraction(1), "0", f"lin {_terms(scaled)}")


def crossed_factor(low: Fraction, high: Fraction) -> Fraction:
    """Weight that turns ``x >= low`` and ``x <= high < low`` into ``0 >= 1``."""
    return 1 / (low - high)


def _exact(values: np.ndarray) -> Terms:
    return {j: Fraction(float(v)) for j, v in enumerate(values) if v}


def _row(milp: MILP, i: int) -> Terms:
    span = slice(milp.A.indptr[i], milp.A.indptr[i + 1])
    return {int(j): Fraction(float(v)) for j, v in zip(milp.A.indices[span], milp.A.data[span], strict=True)}


def _terms(terms: Terms) -> str:
    return " ".join([str(len(terms)), *(f"{k} {v}" for k, v in sorted(terms.items()))])
