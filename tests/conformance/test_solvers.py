"""Every solver, every tiny model, every limit: what a solver declares it must keep."""

import re
import time
from dataclasses import fields
from functools import cache

import numpy as np
import pytest

from provenn.errors import CapabilityError, InputError, SolverError
from provenn.formulations import Problem
from provenn.losses.logistic import Logistic
from provenn.milp import Builder, Event, Limits, Terms
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.registry import load, names
from provenn.solvers import CAPABILITIES, Solver, default_for
from provenn.status import Status
from provenn.testing.solver_laws import TinyModel, check, tiny_models
from provenn.trainers.convex import Convex

SOLVERS = names("provenn.solvers")
MODELS = tiny_models()


@cache
def ready(name):
    """A solver, or a skip where its library is missing."""
    solver = Solver.create(name)
    if not solver.available():
        pytest.skip(f"{name}: {solver.distribution} is not installed")
    return solver


def declaring(name, *capabilities):
    solver = ready(name)
    for capability in capabilities:
        if capability not in solver.capabilities:
            pytest.skip(f"{name} does not declare {capability}")
    return solver


def market_split(columns=40, rows=4, seed=3):
    """Equations with one planted 0/1 answer that no solver finds in seconds."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 100, (rows, columns))
    answer = rng.integers(0, 2, columns)
    builder = Builder()
    x = builder.columns("x", (columns,), 0, 1)
    side = weights @ answer
    builder.rows([Terms(np.broadcast_to(x, weights.shape), weights)], side, side)
    return builder.build(), answer.astype(float)


def open_pit(columns=60, rows=40, seed=1):
    """A dense multi-knapsack: points come at once, the proof takes minutes."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(10, 100, (rows, columns))
    builder = Builder()
    x = builder.columns("x", (columns,), 0, 1)
    builder.rows([Terms(np.broadcast_to(x, weights.shape), weights)], upper=weights.sum(axis=1) // 3)
    builder.minimise(x, -rng.integers(10, 100, columns))
    return builder.build()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@pytest.mark.parametrize("name", SOLVERS)
def test_tiny_models(name: str, model: TinyModel):
    check(declaring(name, *sorted(model.needs)), model)


@pytest.mark.parametrize("name", SOLVERS)
def test_missing_capability_raises_and_names_a_way_out(name):
    solver = ready(name)
    lacking = [model for model in MODELS if model.needs - solver.capabilities]
    for model in lacking:
        with pytest.raises(CapabilityError, match="highs") as caught:
            solver.solve(model.milp)
        assert name in str(caught.value)


@pytest.mark.parametrize("name", SOLVERS)
def test_unknown_option_names_the_allowed_ones(name):
    allowed = [field.name for field in fields(load("provenn.solvers", name))]
    with pytest.raises(InputError, match="no option colour") as caught:
        Solver.create(name, colour="red")
    assert all(option in str(caught.value) for option in allowed)


@pytest.mark.parametrize("name", SOLVERS)
def test_declarations_are_known_and_the_note_names_the_gaps(name):
    kind = load("provenn.solvers", name)
    assert kind.capabilities <= set(CAPABILITIES)
    for capability in set(CAPABILITIES) - kind.capabilities:
        assert CAPABILITIES[capability] in kind.limits_note()
    assert kind.version() or not kind.available()


@pytest.mark.parametrize("name", SOLVERS)
def test_start_is_used(name):
    solver = declaring(name, "start")
    milp, answer = market_split()
    found = solver.solve(milp, Limits(seconds=4), start=answer)
    assert found.x is not None
    assert milp.violation(found.x) == 0


@pytest.mark.parametrize("name", SOLVERS)
def test_start_that_is_no_point_is_refused_and_an_infeasible_one_ignored(name):
    solver = declaring(name, "start")
    model = next(model for model in MODELS if model.name == "knapsack")
    with pytest.raises(InputError, match="start must be 4 finite numbers"):
        solver.solve(model.milp, start=np.zeros(3))
    assert solver.solve(model.milp, start=np.ones(4)).objective == pytest.approx(model.objective)


@pytest.mark.parametrize("name", SOLVERS)
def test_time_limit_is_kept_and_named(name):
    solver = ready(name)
    began = time.monotonic()
    found = solver.solve(open_pit(columns=150, rows=80), Limits(seconds=1.5))
    assert found.status is Status.TIME_LIMIT
    assert time.monotonic() - began < 4
    assert found.x is not None
    assert found.bound <= found.objective


@pytest.mark.parametrize("name", SOLVERS)
def test_no_time_at_all(name):
    solver = ready(name)
    assert solver.solve(open_pit(), Limits(seconds=0)).status is Status.TIME_LIMIT


@pytest.mark.parametrize("name", SOLVERS)
def test_node_limit_is_kept_and_named(name):
    solver = declaring(name, "nodes")
    found = solver.solve(open_pit(), Limits(nodes=5, seconds=60))
    assert found.status is Status.NODE_LIMIT


@pytest.mark.parametrize("name", SOLVERS)
def test_memory_limit_is_named(name):
    solver = declaring(name, "memory")
    assert solver.solve(open_pit(), Limits(memory_mb=1, seconds=60)).status is Status.MEMORY_LIMIT


@pytest.mark.parametrize("name", SOLVERS)
def test_events_are_monotone_and_lead_to_the_solution(name):
    solver = declaring(name, "events", "bound")
    events: list[Event] = []
    milp = open_pit()
    found = solver.solve(milp, Limits(seconds=2), on_event=events.append)
    points = [event for event in events if event.kind == "incumbent"]
    assert points
    assert all(milp.violation(event.x) == 0 and milp.objective(event.x) == round(event.objective) for event in points)
    objectives = [event.objective for event in points]
    bounds = [event.bound for event in events if event.bound is not None]
    assert objectives == sorted(set(objectives), reverse=True)
    assert bounds == sorted(bounds)
    assert all(event.bound <= found.objective for event in events if event.bound is not None)
    assert found.objective <= objectives[-1]
    assert [event.seconds for event in events] == sorted(event.seconds for event in events)


@pytest.mark.parametrize("name", SOLVERS)
def test_same_seed_same_answer_under_a_work_limit(name):
    solver = declaring(name, "nodes")
    first, second = (solver.solve(open_pit(), Limits(nodes=50, seed=7)) for _ in range(2))
    assert first.objective == second.objective
    assert first.bound == second.bound
    assert np.array_equal(first.x, second.x) if first.x is not None else second.x is None


def test_gurobi_explains_its_licence():
    solver = ready("gurobi")
    builder = Builder()
    x = builder.columns("x", (2100,), 0, 1)
    builder.rows([Terms(x, 1.0)], lower=3)
    try:
        status = solver.solve(builder.build()).status
    except SolverError as error:
        status = str(error)
    assert status is Status.OPTIMAL or re.search("2000.*cpsat or highs", str(status))


def test_default_follows_the_columns():
    chosen = {model.name: type(default_for(model.milp)).__name__ for model in MODELS}
    assert chosen["knapsack"] == "Cpsat"
    assert chosen["mixed"] == chosen["free_integer"] == "Highs"


def test_unknown_solver_names_the_known_ones():
    with pytest.raises(InputError, match="brute_force, cpsat"):
        Solver.create("cplex")


@pytest.mark.parametrize("options", [{"mode": "fast"}, {"workers": 0}])
def test_cpsat_refuses_bad_values(options):
    with pytest.raises(InputError):
        Solver.create("cpsat", **options)


def test_cpsat_refuses_what_is_not_exact():
    builder = Builder()
    x = builder.columns("x", (2,), 0, 1)
    builder.rows([Terms(x, [2**0.5, 1.0])], upper=2)
    with pytest.raises(InputError, match="common denominator"):
        Solver.create("cpsat").solve(builder.build())


def test_cpsat_modes_agree():
    model = next(model for model in MODELS if model.name == "set_cover")
    for options in ({"mode": "core"}, {"mode": "default"}, {"workers": 4}):
        check(Solver.create("cpsat", **options), model)


@pytest.mark.parametrize("name", ["highs", "scip"])
def test_without_presolve(name):
    if not load("provenn.solvers", name).available():
        pytest.skip(f"{name} is not installed")
    model = next(model for model in MODELS if model.name == "mixed")
    check(Solver.create(name, presolve=False), model)


def test_cores_of_costs_that_are_no_counts_do_not_call_a_poor_start_optimal():
    """With cores that are not minimised, OR-Tools 9.15 did: bound 46,795,720 where 29,907,589 is the optimum."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 10001, (60, 8))
    y = ((X - 5000) @ rng.normal(size=8) / 10000 + rng.normal(size=60) > 0).astype(int)
    data = Dataset.merge(X, y, scale=10000)
    shape = Architecture.build(8, 2, (), IntegerDomain.ternary(), IntegerDomain.symmetric(127))
    problem, start = Problem(shape, data, Logistic(1.0)), IntegerNetwork.constant(shape, 0, 10000)
    encoding = problem.encode([start])
    found = Solver.create("cpsat", mode="core").solve(encoding.milp, Limits(3), encoding.encode(start))
    assert found.bound <= Convex().train(problem, Limits(60)).certificate.loss
