"""Subadditive duals: their laws, and the optimum where cuts suffice."""

import numpy as np
import pytest
from scipy import sparse

from provenn.errors import InfeasibleError, InputError
from provenn.milp import MILP
from provenn.tame import SubadditiveDual, subadditive_dual


def drawn(seed: int) -> MILP:
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    A = rng.integers(-3, 6, (m, n)) * 1.0
    lower = rng.integers(-2, 2, n) * 1.0
    upper = lower + rng.integers(1, 4, n)
    at = A @ np.array([rng.integers(low, high + 1) for low, high in zip(lower, upper, strict=True)])
    high = np.where(rng.random(m) < 0.5, np.inf, at + rng.integers(0, 3, m))
    c = rng.integers(-6, 9, n) / 2.0
    return MILP(c, sparse.csr_matrix(A), at - rng.integers(0, 3, m), high, lower, upper, np.ones(n, bool), 0.5)


def enumerated(milp: MILP) -> float:
    axes = [np.arange(low, high + 1) for low, high in zip(milp.col_lower, milp.col_upper, strict=True)]
    points = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, milp.n_columns)
    activity = points @ milp.A.toarray().T
    fits = np.all((activity >= milp.row_lower) & (activity <= milp.row_upper), axis=1)
    return float((points[fits] @ milp.c).min()) + milp.offset


@pytest.fixture(scope="module")
def functions() -> list[tuple[MILP, SubadditiveDual]]:
    return [(milp, subadditive_dual(milp)) for milp in map(drawn, range(60))]


def test_the_bound_is_the_optimum_where_cuts_suffice(functions):
    closed = 0
    for milp, F in functions:
        if F.closed:
            assert F.bound == enumerated(milp)
            closed += 1
        else:
            assert F.bound <= enumerated(milp)
    assert closed >= 50
    assert any(F.cuts for _, F in functions)


def test_columns_cost_at_least_their_dual_value(functions):
    for _, F in functions:
        assert all(F(column) <= cost for column, cost in zip(F.columns, F.costs, strict=True))
        assert F([0] * len(F.b)) == 0


def test_subadditive_and_nondecreasing(functions):
    rng = np.random.default_rng(0)
    for _, F in functions:
        for _ in range(30):
            a, b = (rng.integers(-9, 10, len(F.b)).tolist() for _ in range(2))
            assert F([u + v for u, v in zip(a, b, strict=True)]) <= F(a) + F(b)
            assert F(a) <= F([v + int(rng.integers(0, 3)) for v in a])


def test_other_sides_are_bounded(functions):
    rng = np.random.default_rng(1)
    for milp, F in functions[:30]:
        axes = [np.arange(high - low + 1) for low, high in zip(milp.col_lower, milp.col_upper, strict=True)]
        points = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, milp.n_columns)
        activity = points @ np.array(F.columns).reshape(milp.n_columns, -1)
        for _ in range(20):
            b = np.array(F.b) - rng.integers(-3, 4, len(F.b))
            values = (points @ np.array([float(c) for c in F.costs]))[np.all(activity >= b, axis=1)]
            assert not len(values) or F(b.tolist()) <= values.min()


def test_all_weights_are_nonnegative(functions):
    for _, F in functions:
        assert all(v >= 0 for v in F.y.values())
        assert all(v >= 0 for cut in F.cuts for v in cut.values())


def test_refusals():
    milp = drawn(0)
    with pytest.raises(InputError, match="integer columns only"):
        subadditive_dual(
            MILP(milp.c, milp.A, milp.row_lower, milp.row_upper, milp.col_lower, milp.col_upper, ~milp.integer)
        )
    with pytest.raises(InputError, match="matrix must be of integers"):
        subadditive_dual(MILP([1.0], sparse.csr_matrix([[0.5]]), [1.0], [2.0], [0.0], [9.0], [True]))
    with pytest.raises(InputError, match="negative cost"):
        subadditive_dual(MILP([-1.0], sparse.csr_matrix([[1.0]]), [1.0], [2.0], [0.0], [np.inf], [True]))
    with pytest.raises(InfeasibleError):
        subadditive_dual(MILP([1.0], sparse.csr_matrix([[2.0]]), [1.0], [1.0], [0.0], [9.0], [True]))


def test_few_cuts_leave_a_valid_bound():
    for seed in range(60):
        milp = drawn(seed)
        assert subadditive_dual(milp, most_cuts=1).bound <= enumerated(milp)
