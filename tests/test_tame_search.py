"""The search: its linear programs, limits, events, refusals and numerically awkward models."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linprog

from provenn.errors import InfeasibleError, InputError
from provenn.milp import MILP, Builder, Event, Limits, Terms
from provenn.status import Status
from provenn.tame import branch_and_bound, fixed_value
from provenn.tame._engine import Engine
from provenn.tame._exact import eliminate, solved, vertex
from provenn.tame._nodes import CURRENT
from provenn.tame._refactor import refactor
from provenn.tame._simplex import (
    CLOSED,
    OPTIMAL,
    bound_of,
    duals,
    minimise,
    objective,
    place,
    sit,
    slack_basis,
)


def knapsack(n: int = 14, seed: int = 0) -> MILP:
    rng = np.random.default_rng(seed)
    builder = Builder()
    x = builder.columns("x", (n,), 0, 1)
    weights = rng.integers(10, 60, (3, n)) * 1.0
    builder.rows([Terms(np.tile(x, (3, 1)), weights)], upper=np.floor(weights.sum(axis=1) / 2))
    builder.minimise(x, -rng.integers(10, 60, n) * 1.0)
    return builder.build()


@pytest.mark.parametrize("seed", range(60))
def test_the_simplex_method_agrees_with_highs_after_changes_of_bounds(seed):
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 12)), int(rng.integers(1, 12))
    A, c = rng.integers(-3, 4, (m, n)) * 1.0, rng.integers(-3, 4, n) * 1.0
    at = A @ rng.integers(-2, 3, n)
    low = np.where(rng.random(m) < 0.3, -np.inf, at - rng.integers(0, 3, m))
    high = np.where(rng.random(m) < 0.4, np.inf, at + rng.integers(0, 3, m))
    lower, upper = np.concatenate([np.full(n, -3.0), low]), np.concatenate([np.full(n, 3.0), high])
    tab, matrix = slack_basis(A, c), sparse.csr_matrix(A)
    for turn in range(4):
        sit(tab.nonbasic, tab.d, tab.at, lower, upper)
        place(tab.T, tab.at, tab.value)
        status, row, sign, t, _ = minimise(tab, lower, upper, 1e4, 500)
        y, reduced = np.zeros(m), np.zeros(n)
        duals(tab.T, tab.basic, tab.nonbasic, tab.d, row, sign, t, y)
        csr = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data
        bound = bound_of(y, *csr, c, lower, upper, reduced)
        fixed = np.array([*-A[np.isfinite(low)], *A[np.isfinite(high)]]).reshape(-1, n)
        sides = np.array([*-low[np.isfinite(low)], *high[np.isfinite(high)]])
        known = linprog(c, A_ub=fixed, b_ub=sides, bounds=np.column_stack([lower[:n], upper[:n]]))
        assert status == (CLOSED if known.status == 2 else OPTIMAL)
        if known.status == 2:
            assert bound >= 1e4
        else:
            assert objective(tab.d, tab.at) == pytest.approx(known.fun, abs=1e-7)
            assert bound == pytest.approx(known.fun, abs=1e-7)
        j, side = int(rng.integers(n)), rng.random() < 0.5
        (lower if side else upper)[j] = rng.integers(lower[j], upper[j] + 1)
        if turn == 1:
            refactor(tab, A, c)


def test_vertices_are_exact():
    builder = Builder()
    x = builder.columns("x", (2,), 0, 1, integer=False)
    builder.rows([Terms(np.tile(x, (2, 1)), [[3.0, 1.0], [1.0, 7.0]])], lower=[1.0, 2.0])
    builder.minimise(x, [1.0, 1.0])
    milp = builder.build()
    point = vertex(milp, solved(milp, milp.col_lower, milp.col_upper))
    assert [str(v) for v in point] == ["1/4", "1/4"]
    assert eliminate([{0: point[0]}, {0: point[0]}], [point[0], point[1]]) is None


def test_incumbents_and_bounds_are_told_and_close_in():
    events: list[Event] = []
    certificate = branch_and_bound(knapsack(), on_event=events.append)
    values = [event.objective for event in events if event.kind == "incumbent"]
    bounds = [event.bound for event in events if event.kind == "bound"]
    assert values == sorted(values, reverse=True)
    assert bounds == sorted(bounds)
    assert values[-1] == certificate.value
    assert all(bound <= certificate.value + 1e-6 for bound in bounds)


def test_limits_stop_with_a_valid_bound():
    optimum = branch_and_bound(knapsack(40)).value
    slow = branch_and_bound(knapsack(40), limits=Limits(seconds=0))
    few = branch_and_bound(knapsack(40), limits=Limits(nodes=9))
    assert (slow.status, few.status) == (Status.TIME_LIMIT, Status.NODE_LIMIT)
    assert few.tree.n_nodes <= 9
    assert max(slow.bound, few.bound) <= optimum
    assert few.verify()["bound"] == few.exact_bound
    assert few.warm_start(knapsack(40)).value == optimum


def test_an_interrupt_keeps_the_best():
    def interrupt(_: Event) -> None:
        raise KeyboardInterrupt

    certificate = branch_and_bound(knapsack(40), on_event=interrupt)
    assert certificate.status is Status.INTERRUPTED
    assert certificate.verify()["bound"] <= branch_and_bound(knapsack(40)).value


def test_infeasible_incumbents_are_ignored_and_bad_ones_refused():
    milp = knapsack()
    assert branch_and_bound(milp, np.ones(14)).value == branch_and_bound(milp).value
    with pytest.raises(InputError, match="14 finite numbers"):
        branch_and_bound(milp, np.ones(3))


def test_conditional_rows_are_lowered():
    builder = Builder()
    x, z = builder.columns("x", (1,), 0, 9), builder.columns("z", (1,), 0, 1)
    builder.rows([Terms(x, 1.0)], lower=4, when=(z, 1))
    builder.minimise(x, 1.0)
    builder.minimise(z, -2.5)
    certificate = branch_and_bound(builder.build())
    assert certificate.value == 0
    assert certificate.lower_bound(replace(builder.build(), c=np.array([1.0, -5.0]))) <= -1 + 1e-9


def test_refusals():
    milp = knapsack()
    with pytest.raises(InputError, match="no finite bounds"):
        branch_and_bound(replace(milp, col_upper=np.full(14, np.inf)))
    with pytest.raises(InfeasibleError, match="no value in its bounds"):
        branch_and_bound(replace(milp, col_lower=np.full(14, 0.2), col_upper=np.full(14, 0.8)))
    with pytest.raises(InfeasibleError, match="exclude each other"):
        branch_and_bound(replace(milp, row_lower=milp.row_upper + 1))
    certificate = branch_and_bound(milp)
    with pytest.raises(InputError, match="rows and 14 columns"):
        certificate.lower_bound(knapsack(15))
    with pytest.raises(InputError, match="without finite bounds"):
        certificate.lower_bound(replace(milp, col_upper=np.full(14, np.inf)))


def test_fixed_values_refuse_what_does_not_fit():
    milp = knapsack()
    with pytest.raises(InfeasibleError, match="break row"):
        fixed_value(milp, np.ones(14))
    with pytest.raises(InfeasibleError, match="outside the bounds"):
        fixed_value(milp, np.full(14, 2))
    with pytest.raises(InputError, match="whole values"):
        fixed_value(milp, np.full(14, 0.5))
    with pytest.raises(InputError, match="give 14 values"):
        fixed_value(milp, np.ones(3))
    relaxed = fixed_value(milp, None)
    assert relaxed.value <= branch_and_bound(milp).value
    builder = Builder()
    x = builder.columns("x", (1,), 0, np.inf, integer=False)
    builder.rows([Terms(x, 1.0)], lower=1)
    builder.minimise(x, -1.0)
    with pytest.raises(InputError, match="for ever"):
        fixed_value(builder.build(), None)


def test_models_without_rows_or_integers():
    builder = Builder()
    x = builder.columns("x", (3,), -2, 5)
    builder.minimise(x, [1.0, -1.0, 0.0])
    assert branch_and_bound(builder.build()).value == -7
    builder = Builder()
    y = builder.columns("y", (2,), 0, 1, integer=False)
    builder.rows([Terms(y, [1.0, 3.0])], lower=1)
    builder.minimise(y, [1.0, 1.0])
    certificate = branch_and_bound(builder.build())
    assert str(certificate.exact_value) == "1/3"
    assert certificate.gap == 0


@pytest.mark.parametrize("scale", [1e-5, 1e5])
def test_badly_scaled_rows(scale):
    milp = knapsack(10)
    rows = np.array([scale, 1.0, 1 / scale])
    scaled = replace(milp, A=sparse.diags(rows) @ milp.A, row_upper=rows * milp.row_upper + 1e-9 * np.abs(rows))
    certificate = branch_and_bound(scaled)
    assert certificate.value == branch_and_bound(milp).value
    assert certificate.verify()["optimal"]


def test_nodes_that_floats_cannot_solve_are_split_or_given_up(monkeypatch):
    monkeypatch.setattr("provenn.tame._engine.SLICE", 7)
    milp, given_up = knapsack(), 0
    engine = Engine(milp)
    while engine.step():
        if engine.counters[CURRENT] >= 0 and given_up < 40:
            for _ in range(3):
                engine._stuck()
            engine._tried, given_up = 0, given_up + 1
    engine.settle()
    assert given_up > 5
    assert float(engine.value) == branch_and_bound(milp).value
    assert engine.bound == pytest.approx(float(engine.value), abs=1e-6)
