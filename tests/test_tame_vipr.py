"""Certificates in the VIPR format, checked by a small validator of its own."""

from fractions import Fraction
from math import inf
from pathlib import Path

import numpy as np
import pytest

from provenn.milp import Builder, Terms
from provenn.tame import branch_and_bound, write_vipr

Terms_ = dict[int, Fraction]


class Vipr:
    """Reads a certificate and derives its claims anew; supports what `write_vipr` writes."""

    def __init__(self, text: str) -> None:
        self.words = [word for line in text.splitlines() if not line.startswith("%") for word in line.split()]
        self.at = 0
        self.senses: list[str] = []
        self.sides: list[Fraction] = []
        self.terms: list[Terms_] = []
        self.assumed: list[set[int]] = []
        assert self.take(2) == ["VER", "1.0"]
        self.n = self.count("VAR")
        self.take(self.n)
        self.integer = {int(word) for word in self.take(self.count("INT"))}
        assert self.take(2) == ["OBJ", "min"]
        self.cost = self.read_terms()
        rows = self.count("CON")
        self.take(1)
        for _ in range(rows):
            self.take(1)
            self.read_constraint()
            self.assumed.append(set())
        assert self.take(1) == ["RTP"]
        kind = self.take(1)[0]
        self.range = None if kind == "infeas" else self.take(2)
        self.points = self.count("SOL")
        self.solutions = [(self.take(1), self.read_terms())[1] for _ in range(self.points)]
        self.derivations = self.count("DER")

    def take(self, count: int) -> list[str]:
        self.at += count
        return self.words[self.at - count : self.at]

    def count(self, name: str) -> int:
        assert self.take(1) == [name]
        return int(self.take(1)[0])

    def read_terms(self) -> Terms_:
        word = self.take(1)[0]
        if word == "OBJ":
            return dict(self.cost)
        flat = self.take(2 * int(word))
        return {int(k): Fraction(v) for k, v in zip(flat[::2], flat[1::2], strict=True)}

    def read_constraint(self) -> None:
        sense, side = self.take(2)
        self.senses.append(sense)
        self.sides.append(Fraction(side))
        self.terms.append(self.read_terms())

    def check(self) -> None:
        for x in self.solutions:
            self.check_solution(x)
        for _ in range(self.derivations):
            self.take(1)
            self.read_constraint()
            assert self.take(1) == ["{"]
            self.assumed.append(self.reason(self.take(1)[0]))
            assert self.take(2)[0] == "}"
        assert self.at == len(self.words)
        assert not self.assumed[-1]
        self.check_claim()

    def check_solution(self, x: Terms_) -> None:
        assert all(x.get(j, Fraction(0)).denominator == 1 for j in self.integer)
        for sense, side, terms in zip(self.senses, self.sides, self.terms, strict=True):
            value = sum((v * x.get(j, Fraction(0)) for j, v in terms.items()), Fraction(0))
            assert {"E": value == side, "G": value >= side, "L": value <= side}[sense]
        assert self.range is not None
        assert sum((v * x.get(j, Fraction(0)) for j, v in self.cost.items()), Fraction(0)) <= Fraction(self.range[1])

    def reason(self, kind: str) -> set[int]:
        number = len(self.senses) - 1
        if kind == "asm":
            return {number}
        if kind == "lin":
            return self.check_sum(number)
        assert kind == "uns"
        p, a, q, b = (int(word) for word in self.take(4))
        assert self.terms[a] == self.terms[b]
        assert list(self.terms[a].values()) == [1]
        assert set(self.terms[a]) <= self.integer
        assert (self.senses[a], self.senses[b]) == ("L", "G")
        assert self.sides[b] == self.sides[a] + 1
        for known in (p, q):
            assert self.dominates(self.senses[known], self.sides[known], self.terms[known], number)
        return (self.assumed[p] - {a}) | (self.assumed[q] - {b})

    def check_sum(self, number: int) -> set[int]:
        flat = self.take(2 * int(self.take(1)[0]))
        total: Terms_ = {}
        side, used = Fraction(0), set()
        for word, factor in zip(flat[::2], map(Fraction, flat[1::2]), strict=True):
            k = int(word)
            assert k < number
            assert self.senses[k] == "E" or (factor >= 0) == (self.senses[k] == "G")
            side += factor * self.sides[k]
            used |= self.assumed[k]
            for j, v in self.terms[k].items():
                total[j] = total.get(j, Fraction(0)) + factor * v
        assert self.dominates("G", side, {j: v for j, v in total.items() if v}, number)
        return used

    def dominates(self, sense: str, side: Fraction, terms: Terms_, number: int) -> bool:
        absurd = not terms and side > 0
        same = terms == self.terms[number] and sense == self.senses[number] == "G" and side >= self.sides[number]
        return absurd or same

    def check_claim(self) -> None:
        if self.range is None:
            assert not self.terms[-1]
            assert self.sides[-1] > 0
        else:
            assert self.terms[-1] == self.cost
            assert self.sides[-1] >= Fraction(self.range[0])


def model(seed: int, feasible: bool = True):
    rng = np.random.default_rng(seed)
    builder = Builder()
    x = builder.columns("x", (4,), -1, 2)
    s = builder.columns("s", (2,), 0, 9.5, integer=False)
    builder.rows([Terms(np.tile(x, (2, 1)), rng.integers(-9, 10, (2, 4))), Terms(s[:, None], 1.0)], lower=2.5, upper=30)
    builder.rows([Terms(x, [2.0, 2.0, 2.0, 2.0])], lower=2 if feasible else 1, upper=2 if feasible else 1)
    builder.minimise(x, rng.normal(size=4))
    builder.minimise(s, 0.3)
    builder.offset = 1.25
    return builder.build()


@pytest.mark.parametrize("seed", range(10))
def test_trees_pass_the_validator(seed, tmp_path: Path):
    certificate = branch_and_bound(model(seed))
    write_vipr(certificate, tmp_path / "proof.vipr")
    read = Vipr((tmp_path / "proof.vipr").read_text())
    read.check()
    assert [Fraction(word) for word in read.range] == [certificate.exact_bound - Fraction(5, 4)] * 2
    assert read.points == 1


def test_infeasible_models_derive_a_contradiction(tmp_path: Path):
    write_vipr(branch_and_bound(model(0, feasible=False)), tmp_path / "proof.vipr")
    read = Vipr((tmp_path / "proof.vipr").read_text())
    read.check()
    assert read.range is None


def test_empty_leaves_are_contradictions(tmp_path: Path):
    old = branch_and_bound(model(1))
    assert old.tree.n_nodes > 1
    changed = model(1)
    changed = changed.with_bounds(np.where(changed.integer, 2, changed.col_lower), changed.col_upper)
    certificate = old.warm_start(changed)
    write_vipr(certificate, tmp_path / "proof.vipr")
    Vipr((tmp_path / "proof.vipr").read_text()).check()
    assert certificate.value is None or certificate.value < inf


def test_the_validator_refuses_edits(tmp_path: Path):
    write_vipr(branch_and_bound(model(2)), tmp_path / "proof.vipr")
    lines = (tmp_path / "proof.vipr").read_text().splitlines()
    leaf = next(k for k, line in enumerate(lines) if "{ lin" in line)
    weaker = lines[leaf].split()
    weaker[-3] = str(Fraction(weaker[-3]) + 1)
    for edited in ([*lines[:leaf], " ".join(weaker), *lines[leaf + 1 :]], lines[:-1]):
        with pytest.raises((AssertionError, IndexError, ValueError)):
            Vipr("\n".join(edited)).check()
