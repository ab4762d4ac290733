"""The centring program: integers stay, rows hold, and the least slack is as large as it can be."""

import numpy as np
import pytest

from provenn.milp import Builder, Terms
from provenn.milp.centre import centre


def two_units(gap):
    """Unit 0 fires at a = w - 1, unit 1 is quiet at a = w - 1 - gap: w lies between 1 and 1 + gap."""
    builder = Builder()
    u = builder.columns("u", (2,), 0, 1)
    w = builder.columns("w", (1,), -5, 5, integer=False)
    builder.rows([Terms(w, 1.0)], lower=1, when=(u[:1], 1))
    builder.rows([Terms(w, 1.0)], upper=1 + gap, when=(u[1:], 0))
    return builder, u, w


def test_a_point_moves_to_the_middle():
    builder, _, w = two_units(1e-3)
    point = centre(builder.build(), np.array([1.0, 1e-10, 1.0]))
    assert point[:2].tolist() == [1, 0]
    assert point[w[0]] == pytest.approx(1.0005, abs=1e-9)


def test_slack_beyond_the_rounding_is_not_sought():
    builder, _, w = two_units(4.0)
    point = centre(builder.build(), np.array([1.0, 0.0, 1.0]), rounding=0.5)
    assert 1.5 - 1e-9 <= point[w[0]] <= 4.5 + 1e-9


def test_rows_that_are_switched_off_do_not_matter():
    builder, _, w = two_units(1e-3)
    point = centre(builder.build(), np.array([1.0, 1.0, 1.0]), rounding=2.0)
    assert point[w[0]] >= 3 - 1e-9


def test_the_objective_gets_no_worse():
    builder, _, w = two_units(1.0)
    builder.minimise(w, 1.0)
    milp = builder.build()
    point = centre(milp, np.array([1.0, 0.0, 1.25]))
    assert point[w[0]] == pytest.approx(1.0, abs=1e-6)


def test_the_objective_pays_for_rounding_and_no_more():
    builder, _, w = two_units(1.0)
    builder.minimise(w, 1.0)
    point = centre(builder.build(), np.array([1.0, 0.0, 1.0]), rounding=1e-4)
    assert point[w[0]] == pytest.approx(1.0001, abs=1e-6)
    builder, _, w = two_units(1e-5)
    builder.minimise(w, 1.0)
    point = centre(builder.build(), np.array([1.0, 0.0, 1.000004]), rounding=1e-4)
    assert 1 <= point[w[0]] <= 1.0000043


def test_equations_and_plain_rows_hold():
    builder, u, w = two_units(1.0)
    twice = builder.columns("twice", (1,), -9, 9, integer=False)
    builder.rows([Terms(twice, 1.0), Terms(w, -2.0), Terms(u[:1], -1.0)], lower=0, upper=0)
    builder.rows([Terms(twice, 1.0)], upper=3.2)
    milp = builder.build()
    point = centre(milp, np.array([1.0, 0.0, 1.0, 3.0]), rounding=1.0)
    assert float(milp.violation(point)) < 1e-9
    assert point[w[0]] == pytest.approx(1.1)
    assert point[twice[0]] == pytest.approx(3.2)


def test_integers_without_a_point_give_none():
    builder, _, _ = two_units(-0.5)
    assert centre(builder.build(), np.array([1.0, 0.0, 1.0])) is None


def test_conditional_rows_with_two_sides_have_two_slacks():
    builder = Builder()
    u, w = builder.columns("u", (1,), 0, 1), builder.columns("w", (1,), -5, 5, integer=False)
    builder.rows([Terms(w, 1.0)], lower=1, upper=2, when=(u, 1))
    assert centre(builder.build(), np.array([1.0, 1.0]), rounding=3.0)[w[0]] == pytest.approx(1.5)


@pytest.mark.parametrize("seed", range(10))
def test_the_least_slack_is_the_largest_possible(seed):
    """Against a grid over two columns and conditional rows through random half planes."""
    rng = np.random.default_rng(seed)
    A, inside = rng.normal(size=(6, 2)), rng.uniform(-0.5, 0.5, 2)
    b = A @ inside - rng.uniform(0, 0.2, 6)
    builder = Builder()
    u, w = builder.columns("u", (6,), 0, 1), builder.columns("w", (2,), -1, 1, integer=False)
    builder.rows([Terms(w[None, :], A)], lower=b, when=(u, 1))
    point = centre(builder.build(), np.append(np.ones(6), inside), rounding=0.1)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 201)] * 2), axis=-1).reshape(-1, 2)

    def worth(points):
        slack = np.clip(points @ A.T - b, None, 0.1)
        return np.where(slack.min(axis=1) >= 0, 6 * slack.min(axis=1) + slack.sum(axis=1), -1)

    assert float(worth(point[None, 6:])[0]) >= worth(grid).max() - 1e-9
