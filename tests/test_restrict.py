"""A restricted model has exactly the points of its source with the fixed values, and their objective."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from provenn.errors import InputError
from provenn.milp import MILP, Builder, Terms
from provenn.milp.restrict import Ties, restrict
from provenn.solvers import Solver
from provenn.status import Status

SMALL = st.integers(-3, 3)
N = 5


@st.composite
def models(draw, unit=1.0):
    """Three integer columns and two switches, up to five rows, some of them conditional."""
    m = draw(st.integers(0, 5))
    A = np.array(draw(st.lists(SMALL, min_size=m * N, max_size=m * N)), dtype=float).reshape(m, N)
    sides = np.sort(np.array(draw(st.lists(SMALL, min_size=2 * m, max_size=2 * m)), dtype=float).reshape(m, 2), axis=1)
    open_ = np.array(draw(st.lists(st.booleans(), min_size=2 * m, max_size=2 * m)), dtype=bool).reshape(m, 2)
    low = draw(st.integers(-2, 0))
    return MILP(
        c=np.array(draw(st.lists(SMALL, min_size=N, max_size=N)), dtype=float) * unit,
        A=sparse.csr_matrix(A * unit),
        row_lower=np.where(open_[:, 0], -np.inf, 2 * sides[:, 0] * unit),
        row_upper=np.where(open_[:, 1], np.inf, 2 * sides[:, 1] * unit),
        col_lower=np.array([low, -1, -1, 0, 0], dtype=float),
        col_upper=np.array([low + draw(st.integers(0, 2)), 1, 0, 1, 1], dtype=float),
        integer=np.ones(N, dtype=bool),
        offset=draw(SMALL) * unit,
        indicator=np.array(draw(st.lists(st.sampled_from([-1, 3, 4]), min_size=m, max_size=m)), dtype=np.int64),
        indicator_value=np.array(draw(st.lists(st.integers(0, 1), min_size=m, max_size=m)), dtype=np.int64),
    )


def box(milp):
    spans = zip(milp.col_lower.astype(int), milp.col_upper.astype(int), strict=True)
    return [np.array(x, dtype=float) for x in product(*(range(low, high + 1) for low, high in spans))]


def check(milp, small, wanted):
    """Compare the feasible points of the small model, lifted, with the wanted points of the source."""
    lifted = {}
    for y in box(small.milp):
        if small.milp.violation(y) == 0:
            x = small.lift(y)
            assert small.milp.objective(y) == milp.objective(x)
            assert np.array_equal(x[small.columns], y)
            lifted[tuple(x)] = True
    assert set(lifted) == {tuple(x) for x in wanted}


@given(models(), st.lists(st.booleans(), min_size=N, max_size=N), st.lists(st.integers(-1, 1), min_size=N, max_size=N))
def test_fixing_keeps_exactly_the_points_with_these_values(milp, fixed, values):
    fixed, x = np.array(fixed), np.array(values, dtype=float)
    wanted = [p for p in box(milp) if np.array_equal(p[fixed], x[fixed]) and milp.violation(p) == 0]
    check(milp, restrict(milp, fixed, x), wanted)


@given(models(unit=0.125), st.lists(st.booleans(), min_size=N, max_size=N))
def test_fractions_that_floats_hold_are_exact_too(milp, fixed):
    fixed, x = np.array(fixed), np.zeros(N)
    wanted = [p for p in box(milp) if not p[fixed].any() and milp.violation(p) == 0]
    check(milp, restrict(milp, fixed, x), wanted)


@given(models(), st.booleans(), st.integers(-2, 2), st.integers(-1, 1), st.sampled_from([1, 2, 3]))
def test_tied_columns_follow_their_source(milp, fix_source, factor, shift, source):
    fixed, x = np.zeros(N, dtype=bool), np.ones(N)
    fixed[source] = fix_source
    ties = Ties(*(np.array([v]) for v in (0, source, float(factor), float(shift))))
    wanted = [
        p
        for p in box(milp)
        if p[0] == shift + factor * p[source] and not (fix_source and p[source] != 1) and milp.violation(p) == 0
    ]
    check(milp, restrict(milp, fixed, x, ties), wanted)


def product_model():
    """The product rows of a network: c = w (2u - 1) for w in -1..1."""
    builder = Builder()
    w, u, c = (builder.columns(name, (1,), low, 1) for name, low in (("w", -1), ("u", 0), ("c", -1)))
    for sign, slope, side in ((-1, 2, 2), (1, -2, 0)):
        builder.rows([Terms(c, 1), Terms(w, sign), Terms(u, slope)], upper=side)
    for sign, slope, side in ((-1, -2, -2), (1, 2, 0)):
        builder.rows([Terms(c, 1), Terms(w, sign), Terms(u, slope)], lower=side)
    return builder.build()


@pytest.mark.parametrize("u", [0.0, 1.0])
def test_a_product_with_a_known_sign_needs_no_rows_when_it_is_tied(u):
    milp, fixed = product_model(), np.array([False, True, False])
    ties = Ties(np.array([2]), np.array([0]), np.array([2 * u - 1]), np.zeros(1))
    assert restrict(milp, fixed, np.array([0, u, 0])).milp.n_rows == 2
    small = restrict(milp, fixed, np.array([0, u, 0]), ties)
    assert (small.milp.n_rows, small.milp.n_columns) == (0, 1)
    assert small.lift(np.array([-1.0])).tolist() == [-1.0, u, 1 - 2 * u]


def test_impossible_values_make_the_small_model_infeasible():
    builder = Builder()
    x = builder.columns("x", (2,), 0, 3)
    builder.rows([Terms(x[:1], 1.0)], lower=2)
    milp = builder.build()
    for value in (1.0, 9.0, 2.5):
        small = restrict(milp, np.array([True, False]), np.array([value, 0.0]))
        assert Solver.create("brute_force").solve(small.milp).status is Status.INFEASIBLE
        full = restrict(milp, np.ones(2, dtype=bool), np.array([value, 0.0]))
        assert Solver.create("brute_force").solve(full.milp).status is Status.INFEASIBLE
    assert restrict(milp, np.ones(2, dtype=bool), np.array([2.0, 0.0])).milp.n_rows == 0


def test_rows_near_their_sides_in_floats_are_kept():
    builder = Builder()
    x = builder.columns("x", (2,), 0, 1, integer=False)
    builder.rows([Terms(x, [0.1, 0.2])], upper=0.3)
    milp = builder.build()
    assert restrict(milp, np.array([True, False]), np.array([1.0, 0.0])).milp.n_rows == 1


def test_ties_that_lose_exactness_are_refused():
    milp = product_model()
    free, x = np.zeros(3, dtype=bool), np.zeros(3)

    def tie(columns, sources, factor, shift):
        return Ties(np.array(columns), np.array(sources), np.array(factor), np.array(shift))

    for ties in (
        tie([2], [0], [0.5], [0.0]),
        tie([2], [0], [1.0], [0.5]),
        tie([2, 0], [0, 1], [1.0, 1.0], [0.0, 0.0]),
        tie([2, 2], [0, 0], [1.0, 1.0], [0.0, 0.0]),
    ):
        with pytest.raises(InputError):
            restrict(milp, free, x, ties)
    conditional = Builder()
    a, z = conditional.columns("a", (1,), 0, 1), conditional.columns("z", (1,), 0, 1)
    conditional.rows([Terms(a, 1.0)], lower=1, when=(z, 1))
    with pytest.raises(InputError, match="indicator"):
        restrict(conditional.build(), free[:2], x[:2], tie([1], [0], [1.0], [0.0]))
    with pytest.raises(InputError, match="mask"):
        restrict(milp, free[:2], x)
