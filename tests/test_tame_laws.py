"""Strong and weak duality of certificates, by re-solving changed models."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint
from scipy.optimize import milp as reference

from provenn.milp import MILP
from provenn.tame import DualCertificate, Linearisation, branch_and_bound, fixed_value

BOX = 2


def drawn(seed: int, integers: float) -> MILP:
    """Draw a small model with a point; data are whole numbers in half of the models."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(2, 6)), int(rng.integers(1, 7))
    A = rng.integers(-3, 4, (m, n)) * 1.0 if seed % 2 else rng.normal(size=(m, n))
    at = A @ rng.integers(-BOX, BOX + 1, n)
    low = np.where(rng.random(m) < 0.3, -np.inf, at - rng.random(m))
    high = np.where(rng.random(m) < 0.4, np.inf, at + 2 * rng.random(m))
    c = rng.normal(size=n) if seed % 3 else rng.integers(-5, 6, n) * 1.0
    offset = float(rng.integers(3))
    box = np.full(n, float(BOX))
    return MILP(c, sparse.csr_matrix(A), low, high, -box, box, rng.random(n) < integers, offset)


def changed(milp: MILP, rng: np.random.Generator, size: float) -> MILP:
    """Move all data of a model."""
    m, n = milp.A.shape
    low = milp.row_lower + size * rng.normal(size=m)
    high = np.maximum(low, milp.row_upper + size * rng.normal(size=m))
    A = sparse.csr_matrix(milp.A.toarray() + size * rng.normal(size=(m, n)))
    return replace(milp, c=milp.c + size * rng.normal(size=n), A=A, row_lower=low, row_upper=high)


def enumerated(milp: MILP) -> float:
    """Return the optimum of a pure-integer model by all its points."""
    axes = [np.arange(low, high + 1) for low, high in zip(milp.col_lower, milp.col_upper, strict=True)]
    points = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, milp.n_columns)
    activity = points @ milp.A.toarray().T
    fits = np.all((activity >= milp.row_lower - 1e-9) & (activity <= milp.row_upper + 1e-9), axis=1)
    return float((points[fits] @ milp.c).min(initial=np.inf)) + milp.offset


def solved(milp: MILP) -> float:
    """Return the optimum by HiGHS."""
    rows = LinearConstraint(milp.A, milp.row_lower, milp.row_upper)
    box = Bounds(milp.col_lower, milp.col_upper)
    found = reference(milp.c, constraints=rows, bounds=box, integrality=milp.integer.astype(int))
    assert found.status in (0, 2)
    return np.inf if found.status == 2 else float(found.fun) + milp.offset


def value(certificate: DualCertificate) -> float:
    return np.inf if certificate.value is None else certificate.value


@pytest.mark.parametrize("seed", range(40))
def test_integer_programs_match_all_their_points_and_bound_changed_ones(seed):
    milp, rng = drawn(seed, 1.0), np.random.default_rng(1000 + seed)
    certificate = branch_and_bound(milp)
    assert value(certificate) == pytest.approx(enumerated(milp), abs=1e-9)
    assert certificate.gap == 0
    assert certificate.verify()["optimal"]
    assert certificate.lower_bound() == pytest.approx(value(certificate), abs=1e-8)
    for _ in range(50):
        other = changed(milp, rng, float(rng.choice([0.01, 0.1, 1])))
        assert certificate.lower_bound(other) <= enumerated(other) + 1e-7


@pytest.mark.parametrize("seed", range(100, 140))
def test_mixed_programs_match_highs_and_bound_changed_ones(seed):
    milp, rng = drawn(seed, 0.6), np.random.default_rng(1000 + seed)
    certificate = branch_and_bound(milp)
    assert value(certificate) == pytest.approx(solved(milp), abs=1e-5)
    assert certificate.verify()["optimal"]
    assert certificate.lower_bound() == pytest.approx(value(certificate), abs=1e-8)
    for _ in range(8):
        other = changed(milp, rng, float(rng.choice([0.01, 0.1, 1])))
        assert certificate.lower_bound(other) <= solved(other) + 1e-5


@pytest.mark.parametrize("seed", range(20))
def test_other_bounds_of_columns_are_bounded_too(seed):
    milp = drawn(seed, 1.0)
    rng = np.random.default_rng(seed)
    certificate = branch_and_bound(milp)
    for _ in range(10):
        lower = rng.integers(-BOX - 1, 1, milp.n_columns) * 1.0
        other = milp.with_bounds(lower, lower + rng.integers(0, 4, milp.n_columns))
        assert certificate.lower_bound(other) <= enumerated(other) + 1e-7


@pytest.mark.parametrize("seed", range(30))
def test_warm_starts_find_what_a_fresh_tree_finds(seed):
    milp, rng = drawn(seed, 0.7), np.random.default_rng(seed)
    certificate, programs = branch_and_bound(milp), []
    for size in (0.01, 0.3):
        other = changed(milp, rng, size)
        fresh, warm = branch_and_bound(other), certificate.warm_start(other)
        assert value(warm) == pytest.approx(value(fresh), abs=1e-7)
        shown = warm.verify()
        assert shown["optimal"] or shown["infeasible"]
        programs.append((warm.programs, fresh.programs))
    assert programs[0][0] <= programs[0][1] + 2


@pytest.mark.parametrize("seed", range(30))
def test_pieces_are_concave_in_the_data(seed):
    milp, rng = drawn(seed, 0.7), np.random.default_rng(seed)
    y = np.where(np.isfinite(milp.row_lower), 1.0, -1.0) * rng.random(milp.n_rows)
    line = Linearisation.of(milp, y, milp.col_lower, milp.col_upper)
    assert line.at(milp) == pytest.approx(line.value, abs=1e-12)
    assert line.matrix.shape == milp.A.shape
    for size in (0.01, 1, 10):
        other = changed(milp, rng, size)
        assert Linearisation.of(other, y, milp.col_lower, milp.col_upper).value <= line.at(other) + 1e-9


@pytest.mark.parametrize("seed", range(30))
def test_the_gradient_of_the_dual_function_matches_differences(seed):
    milp, rng = drawn(seed, 0.7), np.random.default_rng(seed)
    certificate = branch_and_bound(milp)
    at = changed(milp, rng, 0.05)
    there = changed(at, rng, 1e-4)
    line, beyond = certificate.grad(at), certificate.grad(there)
    assert line.value == pytest.approx(certificate.lower_bound(at), abs=1e-8)
    if (line.y == beyond.y).all() and (line.x == beyond.x).all():
        assert certificate.lower_bound(there) == pytest.approx(line.at(there), abs=1e-6)


def test_fixed_integers_give_the_value_with_multipliers():
    for seed in range(100, 140):
        milp = drawn(seed, 0.6)
        certificate = branch_and_bound(milp)
        found = fixed_value(milp, certificate.x)
        assert found.value == pytest.approx(certificate.value, abs=1e-7)
        sides = np.where(found.y > 0, milp.row_lower, milp.row_upper)
        rows = float(np.sum(found.y[np.abs(found.y) > 1e-9] * sides[np.abs(found.y) > 1e-9]))
        boxes = np.where(found.reduced > 0, milp.col_lower, milp.col_upper)
        columns = float(found.reduced @ np.where(milp.integer, certificate.x, boxes))
        assert rows + columns + milp.offset == pytest.approx(found.value, abs=1e-7)
