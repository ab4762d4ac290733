"""Derivatives of optimal values: finite differences, integrals along paths, and where they must fail."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse
from scipy.integrate import fixed_quad

from provenn.milp import MILP, Builder, Terms
from provenn.tame import ValueFunction, branch_and_bound, fixed_value

STEP = 1e-5


def priced(seed: int) -> MILP:
    """Draw a mixed model whose rows may be broken at a price: its value is Lipschitz in the data."""
    rng = np.random.default_rng(seed)
    n, m = 3, 5
    builder = Builder()
    x = builder.columns("x", (n,), -2, 2)
    slack = builder.columns("slack", (m,), 0, 100, integer=False)
    builder.rows([Terms(np.tile(x, (m, 1)), rng.normal(size=(m, n))), Terms(slack[:, None], 1.0)], rng.normal(size=m))
    builder.minimise(x, rng.normal(size=n) * 0.3)
    builder.minimise(slack, 0.5 + rng.random(m))
    return builder.build()


def direction(milp: MILP, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a change of c, A and the lower sides; the columns of slacks stay as they are."""
    dA = rng.normal(size=milp.A.shape)
    dA[:, ~milp.integer] = 0.0
    return rng.normal(size=milp.n_columns), dA, rng.normal(size=milp.n_rows)


def moved(milp: MILP, way: tuple[np.ndarray, np.ndarray, np.ndarray], t: float) -> MILP:
    dc, dA, db = way
    A = sparse.csr_matrix(milp.A.toarray() + t * dA)
    return replace(milp, c=milp.c + t * dc, A=A, row_lower=milp.row_lower + t * db)


def slope(milp: MILP, integers: np.ndarray, way: tuple[np.ndarray, np.ndarray, np.ndarray]) -> float:
    """Derivative along a direction by ``dc = x, dA = -y x', db = y``."""
    found = fixed_value(milp, integers)
    dc, dA, db = way
    return float(found.x @ dc - found.y @ dA @ found.x + found.y @ db)


def optimum(milp: MILP) -> tuple[float, np.ndarray]:
    certificate = branch_and_bound(milp)
    return certificate.value, certificate.x


@pytest.mark.parametrize("seed", range(60))
def test_finite_differences(seed):
    rng = np.random.default_rng(seed)
    milp = priced(seed)
    way = direction(milp, rng)
    values = [optimum(moved(milp, way, t)) for t in (-STEP, 0.0, STEP)]
    if any((x[milp.integer] != values[1][1][milp.integer]).any() for _, x in values):
        pytest.skip("a kink within the step")
    numeric = (values[2][0] - values[0][0]) / (2 * STEP)
    bent = abs(values[2][0] - 2 * values[1][0] + values[0][0]) / STEP
    if bent > 1e-4:
        pytest.skip("a kink within the step")
    assert slope(milp, values[1][1], way) == pytest.approx(numeric, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_integrates_to_the_change_of_the_value(seed):
    rng = np.random.default_rng(100 + seed)
    milp = priced(200 + seed)
    way = direction(milp, rng)
    total = integral(milp, way)
    assert total == pytest.approx(optimum(moved(milp, way, 1.0))[0] - optimum(milp)[0], abs=1e-4)


def integral(milp: MILP, way: tuple[np.ndarray, np.ndarray, np.ndarray]) -> float:
    """Integrate the slope from t = 0 to 1, by Gauss' rule between the changes of the optimal integers or basis."""

    @cache
    def piece(t: float) -> tuple[float, tuple[float, ...]]:
        at = moved(milp, way, t)
        x = optimum(at)[1]
        found = fixed_value(at, x)
        return slope(at, x, way), (*x[milp.integer], *np.sign(np.round(found.y, 7)), *(np.round(found.x, 7) > 0))

    def refined(a: float, b: float) -> list[tuple[float, float]]:
        if piece(a)[1] == piece(b)[1] or b - a < 1e-7:
            return [(a, b)]
        return merged(refined(a, (a + b) / 2) + refined((a + b) / 2, b))

    def merged(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
        joined = spans[:1]
        for a, b in spans[1:]:
            same = joined[-1][1] == a and piece(joined[-1][0])[1] == piece(b)[1]
            joined = [*joined[:-1], (joined[-1][0], b)] if same else [*joined, (a, b)]
        return joined

    ends = np.linspace(0, 1, 161).tolist()
    spans = merged([span for a, b in pairwise(ends) for span in refined(a, b)])
    return float(sum(fixed_quad(np.vectorize(lambda t: piece(t)[0]), a, b, n=5)[0] for a, b in spans))


def test_the_integral_misses_the_jumps_of_a_pure_integer_value():
    builder = Builder()
    x = builder.columns("x", (2,), 0, 5)
    builder.rows([Terms(x, [1.0, 2.0])], lower=0.5)
    builder.minimise(x, [1.0, 1.5])
    milp = builder.build()
    way = np.zeros(2), np.zeros((1, 2)), np.array([3.0])
    change = optimum(moved(milp, way, 1.0))[0] - optimum(milp)[0]
    total = np.mean([slope(moved(milp, way, t), optimum(moved(milp, way, t))[1], way) for t in np.linspace(0, 1, 200)])
    assert change == 2
    assert abs(total - change) > 1


def test_a_strong_dual_function_is_flat_where_the_value_is():
    """No free lunch: F touches z from below, so where z is locally constant F has a local maximum."""
    builder = Builder()
    x = builder.columns("x", (2,), 0, 5)
    builder.rows([Terms(x, [1.0, 2.0])], lower=0.5)
    builder.minimise(x, [1.0, 1.5])
    milp = builder.build()
    certificate = branch_and_bound(milp)
    sides = np.linspace(0.1, 0.9, 9)
    values = [certificate.lower_bound(replace(milp, row_lower=np.array([side]))) for side in sides]
    assert max(values) <= certificate.value + 1e-12
    assert values[4] == pytest.approx(1.0, abs=1e-9)


def test_value_functions_bracket_and_refine():
    milp = priced(3)
    rng = np.random.default_rng(0)
    z = ValueFunction(milp)
    for _ in range(10):
        other = moved(milp, direction(milp, rng), 0.3)
        exact = optimum(other)[0]
        low, high = z.bracket(other)
        assert low - 1e-7 <= exact <= high + 1e-7
        low, high = z.refine(other)
        assert low == pytest.approx(exact, abs=1e-5)
        assert high == pytest.approx(exact, abs=1e-5)
    assert len(z.certificates) > 1
