"""The MILP type and its builder."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from provenn.errors import InputError
from provenn.milp import MILP, Builder, Limits, Terms


def simple(**changes):
    parts = dict(
        c=[1.0, 2.0],
        A=sparse.csr_matrix([[1.0, 1.0], [1.0, -1.0]]),
        row_lower=[0.0, -np.inf],
        row_upper=[2.0, 1.0],
        col_lower=[0.0, 0.0],
        col_upper=[1.0, 1.0],
        integer=[True, True],
    )
    return MILP(**(parts | changes))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"c": [1.0]}, "do not fit"),
        ({"row_lower": [0.0]}, "do not fit"),
        ({"c": [np.inf, 0.0]}, "finite"),
        ({"offset": np.nan}, "finite"),
        ({"A": sparse.csr_matrix([[np.nan, 1.0], [1.0, 1.0]])}, "finite"),
        ({"col_lower": [np.nan, 0.0]}, "NaN"),
        ({"indicator": np.array([-1, 5]), "indicator_value": np.array([0, 1])}, "binary column"),
        (
            {"indicator": np.array([-1, 0]), "indicator_value": np.array([0, 1]), "col_upper": [2.0, 1.0]},
            "binary column",
        ),
    ],
)
def test_bad_models_are_refused(changes, text):
    with pytest.raises(InputError, match=text):
        simple(**changes)


def test_duplicates_are_summed_and_zeros_dropped():
    A = sparse.csr_matrix((np.array([1.0, 2.0, 3.0, -3.0]), (np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]))), (2, 2))
    assert simple(A=A).A.nnz == 1
    assert simple(A=A).A[0, 0] == 3


@given(st.lists(st.integers(-4, 4), min_size=2, max_size=2), st.sampled_from([1.0, 0.1, 1 / 3]))
def test_violation_is_the_exact_worst(x, unit):
    milp = simple(A=sparse.csr_matrix(np.array([[1.0, 1.0], [1.0, -1.0]]) * unit))
    point = np.array(x, dtype=float)
    u = Fraction(unit)
    rows = [-u * sum(x), u * sum(x) - 2, u * (x[0] - x[1]) - 1]
    bounds = [-min(x), max(x) - 1]
    assert milp.violation(point) == max([Fraction(0), *rows, *map(Fraction, bounds)])
    assert milp.objective(point) == x[0] + 2 * x[1]


def test_violation_of_integrality():
    assert simple().violation(np.array([0.5, 0.0])) == Fraction(1, 2)
    assert replace(simple(), integer=np.array([False, True])).violation(np.array([0.5, 0.0])) == 0


def test_conditional_rows_count_only_where_active():
    milp = simple(indicator=np.array([-1, 1]), indicator_value=np.array([0, 0]), row_upper=[2.0, 0.0])
    assert milp.active(np.array([1.0, 1.0])).tolist() == [True, False]
    assert milp.violation(np.array([1.0, 1.0])) == 0
    assert milp.violation(np.array([1.0, 0.0])) == 1
    assert milp.has_indicators


def test_builder_broadcasts_rows():
    builder = Builder()
    x = builder.columns("x", (3, 2), -1, 1)
    s = builder.columns("s", (3,), 0, np.inf, integer=False)
    builder.rows([Terms(x, [1.0, 2.0]), Terms(s[:, None], -1.0)], upper=[1, 2, 3])
    builder.rows([Terms(x.ravel(), 1.0)], lower=0)
    builder.minimise(s, 2.0)
    builder.offset = 3.0
    milp = builder.build()
    assert milp.A.toarray().tolist() == [
        [1, 2, 0, 0, 0, 0, -1, 0, 0],
        [0, 0, 1, 2, 0, 0, 0, -1, 0],
        [0, 0, 0, 0, 1, 2, 0, 0, -1],
        [1, 1, 1, 1, 1, 1, 0, 0, 0],
    ]
    assert milp.row_upper.tolist() == [1, 2, 3, np.inf]
    assert milp.row_lower.tolist() == [-np.inf] * 3 + [0]
    assert milp.c.tolist() == [0] * 6 + [2] * 3
    assert milp.objective(np.ones(9)) == 9
    assert milp.integer.tolist() == [True] * 6 + [False] * 3
    assert milp.blocks["x"].shape == (3, 2)


def test_builder_fills_known_answers():
    builder = Builder()
    builder.columns("a", (2,), 0, 9, fill=lambda answer: answer["a"])
    builder.columns("quiet", (1,), 0, 9)
    builder.columns("b", (1, 2), 0, 9, fill=lambda answer: 7)
    assert builder.fill({"a": [1, 2]}).tolist() == [1, 2, 0, 7, 7]


def test_builder_refuses_a_second_block_of_a_name():
    builder = Builder()
    builder.columns("x", (1,), 0, 1)
    with pytest.raises(InputError, match="already has a block"):
        builder.columns("x", (1,), 0, 1)


def test_builder_conditions_broadcast():
    builder = Builder()
    x, z = builder.columns("x", (2,), 0, 9), builder.columns("z", (2,), 0, 1)
    builder.rows([Terms(x[:, None], 1.0)], upper=3, when=(z, [0, 1]))
    milp = builder.build()
    assert milp.indicator.tolist() == [2, 3]
    assert milp.indicator_value.tolist() == [0, 1]


def test_an_empty_builder_builds_an_empty_model():
    milp = Builder().build()
    assert (milp.n_rows, milp.n_columns, milp.objective(np.zeros(0))) == (0, 0, 0)


def test_with_bounds_changes_only_bounds():
    milp = simple()
    fixed = milp.with_bounds(np.ones(2), np.ones(2))
    assert fixed.col_lower.tolist() == [1, 1]
    assert fixed.A is milp.A or (fixed.A != milp.A).nnz == 0


@pytest.mark.parametrize(
    "limits", [{"seconds": -1}, {"seconds": np.nan}, {"nodes": -1}, {"memory_mb": 0}, {"threads": 0}, {"seed": 2**31}]
)
def test_limits_refuse_nonsense(limits):
    with pytest.raises(InputError):
        Limits(**limits)
