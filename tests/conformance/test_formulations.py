"""Laws of losses and formulations; a new loss is tested by existing."""

from dataclasses import replace

import numpy as np
import pytest

from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.network import Dataset
from provenn.solvers import Solver
from provenn.status import Status
from provenn.testing.toys import best_value, count_networks, domains, losses, random_network, random_problem

SHAPES = [(), (2,), (3, 2)]


def _id(loss):
    return repr(loss)


def problems(loss, hidden, seed, count=4, **sizes):
    rng = np.random.default_rng(seed)
    for domain in domains():
        for _ in range(count):
            problem = random_problem(rng, loss, hidden, domain, **sizes)
            if problem is not None:
                yield rng, problem


@pytest.mark.parametrize("hidden", SHAPES, ids=str)
@pytest.mark.parametrize("loss", losses(), ids=_id)
def test_a_network_encodes_to_a_point_with_its_exact_objective(loss, hidden):
    feasible = 0
    for rng, problem in problems(loss, hidden, seed=1):
        encoding = problem.encode()
        for _ in range(6):
            network = random_network(rng, problem)
            x = encoding.encode(network)
            decoded = encoding.decode(x)
            assert np.array_equal(decoded.predict(problem.dataset.X), network.predict(problem.dataset.X))
            assert np.array_equal(encoding.encode(decoded), x)
            value = problem.value(network)
            if value is None:
                assert encoding.milp.violation(x) > 0
            else:
                feasible += 1
                assert encoding.milp.violation(x) == 0
                assert encoding.milp.objective(x) == value == problem.value(decoded)
    assert feasible or loss.hard or (hidden == () and getattr(loss, "kept_only", False))


@pytest.mark.parametrize("hidden", [(), (2,)], ids=str)
@pytest.mark.parametrize("loss", losses(), ids=_id)
def test_the_optimum_of_the_model_is_the_brute_force_optimum(loss, hidden):
    checked = 0
    solver = Solver.create("highs" if loss.linear or (loss.convex and not hidden) else "cpsat")
    for _, problem in problems(loss, hidden, seed=2, count=2, n=5, d=2):
        if count_networks(problem) > 20_000:
            continue
        best, encoding = best_value(problem), problem.encode()
        solution = solver.solve(encoding.milp, Limits(seconds=60))
        if best is None:
            assert solution.status is Status.INFEASIBLE
        elif encoding.relaxed:
            assert solution.objective <= best + 1e-3
        else:
            assert solution.status is Status.OPTIMAL
            assert solution.objective == pytest.approx(best, rel=1e-9, abs=1e-4)
            assert problem.value(encoding.decode(solution.x)) == best
        checked += 1
    assert checked or (hidden == () and getattr(loss, "kept_only", False))


@pytest.mark.parametrize("loss", losses(), ids=_id)
def test_permuted_and_duplicated_samples_change_nothing_they_should_not(loss):
    for rng, problem in problems(loss, (2,), seed=3):
        data = problem.dataset
        order = rng.permutation(data.n_samples)
        shuffled = Dataset.merge(data.X[order], data.y[order], data.multiplicity[order], data.scale, data.classes)
        twice = replace(data, multiplicity=2 * data.multiplicity)
        network = random_network(rng, problem)
        value = loss.value(network, data)
        assert loss.value(network, shuffled) == value
        doubled = loss.value(network, twice)
        if value is None or (loss.hard and not getattr(loss, "rule", None)):
            assert doubled == value
        else:
            assert doubled == 2 * value


@pytest.mark.parametrize("hidden", SHAPES, ids=str)
def test_fixing_the_parameters_reproduces_the_forward_pass(hidden):
    """With weights and biases fixed, the model has one point: the forward pass."""
    from provenn.losses.max_correct import MaxCorrect

    oracle = Solver.create("brute_force")
    for rng, problem in problems(MaxCorrect(), hidden, seed=4, count=1, n=4, d=2):
        plain = Problem(problem.architecture, problem.dataset, MaxCorrect())
        encoding = plain.encode()
        network = encoding.decode(encoding.encode(random_network(rng, plain)))
        point = encoding.encode(network)
        low, high = encoding.milp.col_lower.copy(), encoding.milp.col_upper.copy()
        for name, columns in encoding.milp.blocks.items():
            if name[0] in "Wb":
                low[columns] = high[columns] = point[columns]
        solution = oracle.solve(encoding.milp.with_bounds(low, high), Limits())
        for name, columns in encoding.milp.blocks.items():
            if name[0] in "Wbau":
                assert np.array_equal(solution.x[columns], point[columns]), name
