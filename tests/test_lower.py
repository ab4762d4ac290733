"""Reformulations keep exactly the feasible points."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from provenn.errors import InputError
from provenn.milp import MILP, Builder, Terms
from provenn.milp.lower import (
    activity_bounds,
    big_m,
    binary_columns,
    decimal_digits,
    integer_costs,
    integer_rows,
)

SMALL = st.integers(-3, 3)


@st.composite
def models(draw, unit=1.0):
    """Three integer columns, two of them switches, and up to four rows; coefficients times a unit."""
    low = draw(st.integers(-2, 0))
    m = draw(st.integers(0, 4))
    A = np.array(draw(st.lists(st.lists(SMALL, min_size=4, max_size=4), min_size=m, max_size=m)), dtype=float)
    sides = np.sort(np.array(draw(st.lists(st.tuples(SMALL, SMALL), min_size=m, max_size=m)), dtype=float), axis=-1)
    sides = sides.reshape(m, 2) * unit
    open_ = np.array(draw(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=m, max_size=m))).reshape(m, 2)
    return MILP(
        c=np.array(draw(st.lists(SMALL, min_size=4, max_size=4)), dtype=float) * unit,
        A=sparse.csr_matrix(A.reshape(m, 4) * unit),
        row_lower=np.where(open_[:, 0], -np.inf, sides[:, 0]),
        row_upper=np.where(open_[:, 1], np.inf, sides[:, 1]),
        col_lower=np.array([low, -1, 0, draw(st.integers(0, 1))], dtype=float),
        col_upper=np.array([low + draw(st.integers(0, 3)), 1, 1, 1], dtype=float),
        integer=np.ones(4, dtype=bool),
        offset=draw(SMALL) * unit,
        indicator=np.array(draw(st.lists(st.sampled_from([-1, 2, 3]), min_size=m, max_size=m)), dtype=np.int64),
        indicator_value=np.array(draw(st.lists(st.integers(0, 1), min_size=m, max_size=m)), dtype=np.int64),
    )


def box(milp):
    spans = zip(milp.col_lower.astype(int), milp.col_upper.astype(int), strict=True)
    return [np.array(x, dtype=float) for x in product(*(range(low, high + 1) for low, high in spans))]


def feasible(milp, points):
    return [milp.violation(x) == 0 for x in points]


@given(models())
def test_big_m_keeps_exactly_the_feasible_points(milp):
    lowered, points = big_m(milp), box(milp)
    assert not lowered.has_indicators
    assert feasible(milp, points) == feasible(lowered, points)
    assert [milp.objective(x) for x in points] == [lowered.objective(x) for x in points]


@given(models(unit=0.07))
def test_integer_rows_keep_exactly_the_feasible_points(milp):
    scaled, points = integer_rows(milp), box(milp)
    assert np.array_equal(scaled.A.data, np.rint(scaled.A.data))
    coarse = [milp.violation(x) < 1e-9 for x in points]
    assert coarse == feasible(scaled, points)


@given(models())
def test_binary_columns_map_onto_the_feasible_points(milp):
    plain = big_m(milp)
    expansion = binary_columns(plain)
    assert expansion.milp.binary.all()
    points = {tuple(x): plain.violation(x) == 0 for x in box(plain)}
    seen = set()
    for y in product((0.0, 1.0), repeat=expansion.milp.n_columns):
        x = expansion.decode(np.array(y))
        seen.add(tuple(x))
        assert points[tuple(x)] == (expansion.milp.violation(np.array(y)) == 0)
        assert expansion.milp.objective(np.array(y)) == plain.objective(x)
    assert seen == set(points)


@given(models())
def test_activity_bounds_are_the_extremes(milp):
    low, high = activity_bounds(milp)
    activity = np.array([milp.A @ x for x in box(milp)])
    assert np.array_equal(low, activity.min(axis=0))
    assert np.array_equal(high, activity.max(axis=0))


def conditional(upper, side="upper"):
    builder = Builder()
    x, z = builder.columns("x", (2,), 0, upper), builder.columns("z", (1,), 0, 1)
    builder.rows([Terms(x, 1.0)], upper=100)
    builder.rows([Terms(x, [1.0, -1.0])], when=(z, 1), **{side: 3})
    return builder.build()


def test_an_open_conditional_row_says_what_to_do():
    with pytest.raises(InputError, match=r"row 1 .*column 0 lacks a bound.*finite bounds"):
        big_m(conditional([np.inf, 5]))
    with pytest.raises(InputError, match="column 1"):
        big_m(conditional([5, np.inf], "lower"))


def test_a_side_that_needs_no_big_m_may_be_open():
    assert big_m(conditional([5, np.inf])).row_upper.tolist() == [100, 5]


def test_integer_rows_of_published_coefficients():
    builder = Builder()
    x = builder.columns("x", (4,), 0, 1)
    builder.rows([Terms(x, [0.5, 0.3396, 1.0, -5.7688999999999995])], upper=-0.0001)
    scaled = integer_rows(builder.build())
    assert scaled.A.toarray().tolist() == [[5000, 3396, 10000, -57689]]
    assert scaled.row_upper.tolist() == [-1]


def test_integer_rows_of_scaled_rows():
    builder = Builder()
    x = builder.columns("x", (3,), 0, 1)
    builder.rows([Terms(x, np.array([0.5, 0.25, 1.0]) * 2 / 6.537)], lower=0.5 * 2 / 6.537)
    scaled = integer_rows(builder.build())
    assert scaled.A.toarray().tolist() == [[2, 1, 4]]
    assert scaled.row_lower.tolist() == [2]


@pytest.mark.parametrize(
    ("values", "upper", "text"),
    [([2**0.5, 1.0], 1, "common denominator"), ([1.0, 1.0], 1e19, "int64"), ([1e17, 1.0], 1, "int64")],
)
def test_integer_rows_refuse(values, upper, text):
    builder = Builder()
    builder.rows([Terms(builder.columns("x", (2,), 0, upper), values)], upper=1)
    with pytest.raises(InputError, match=text):
        integer_rows(builder.build())


def test_integer_rows_refuse_continuous_columns():
    builder = Builder()
    builder.columns("x", (2,), 0, 1, integer=False)
    with pytest.raises(InputError, match="column 0 is continuous"):
        integer_rows(builder.build())


@given(st.lists(st.tuples(st.integers(-(10**6), 10**6), st.integers(0, 9)), min_size=1, max_size=5))
def test_decimals_are_read_exactly(parts):
    values = np.array([k / 10**p for k, p in parts])
    assert all(digits <= p for digits, (_, p) in zip(decimal_digits(values), parts, strict=True))


def test_integer_costs_refuse_overflow_and_roots():
    for cost, upper, text in ((1e12, 1e12, "int64"), (2**0.5, 1, "common denominator")):
        builder = Builder()
        builder.minimise(builder.columns("x", (2,), 0, upper), [cost, 1.0])
        with pytest.raises(InputError, match=text):
            integer_costs(builder.build())


def test_binary_columns_refuse_open_and_conditional():
    builder = Builder()
    builder.columns("x", (1,), 0, np.inf)
    with pytest.raises(InputError, match="column 0 is not integer with finite bounds"):
        binary_columns(builder.build())
    with pytest.raises(InputError, match="lowered first"):
        binary_columns(conditional([5, 5]))


def test_a_million_nonzeros_take_seconds(rng):
    import time

    builder = Builder()
    x = builder.columns("x", (1000,), -1, 1)
    z = builder.columns("z", (1000,), 0, 1)
    columns = rng.integers(0, 1000, (100_000, 10))
    builder.rows([Terms(x[columns], 0.25)], lower=-1, when=(z[columns[:, 0]], 1))
    milp = builder.build()
    began = time.process_time()
    integer_rows(big_m(milp))
    assert time.process_time() - began < 10
