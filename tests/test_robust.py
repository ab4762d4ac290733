"""Robust training: balls and intervals against sampling, models and engines against brute force."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenn.errors import InputError, OverflowRiskError
from provenn.formulations import Problem
from provenn.formulations.feature_signs import FeatureSigns
from provenn.formulations.robust import Robust
from provenn.formulations.sparsity import Sparsity
from provenn.losses._dual_norm import steps_of
from provenn.losses._worst_case import WorstCase
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.max_margin import MaxMargin
from provenn.losses.min_hinge import MinHinge
from provenn.losses.min_weight import MinWeight
from provenn.losses.sat_margin import SatMargin
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.network.intervals import NORMS, intervals, reach
from provenn.search._worst_case_search import Perturbed, Run
from provenn.search.descent import descend
from provenn.solvers import Solver
from provenn.testing.toys import all_networks, best_value, count_networks
from provenn.trainers.convex import Convex
from provenn.trainers.exact import Exact
from provenn.trainers.robust_convex import RobustConvex
from provenn.trainers.robust_search import goal_of, improve

LOSSES = [Logistic(), MaxCorrect(), SatMargin(), MinHinge(), MinWeight()]
DOMAINS = [IntegerDomain.ternary(), IntegerDomain.binary(), IntegerDomain(-2, 2), IntegerDomain(-1, 2)]


def toy(rng, hidden, n=5, d=2, loss=None, domain=None, scale=3, activation=None, classes=None):
    """Return a tiny problem without radius; parts that do not fit are drawn again."""
    try:
        return draw(rng, hidden, n, d, loss, domain, scale, activation, classes)
    except InputError:
        return toy(rng, hidden, n, d, loss, domain, scale, activation, classes)


def draw(rng, hidden, n, d, loss, domain, scale, activation, classes):
    classes = int(rng.integers(2, 4)) if classes is None else classes
    domain = DOMAINS[rng.integers(len(DOMAINS))] if domain is None else domain
    activation = ("sign", "step")[rng.integers(2)] if activation is None else activation
    outputs = classes if rng.random() < 0.4 else None
    shape = Architecture.build(d, classes, hidden, domain, outputs=outputs, activation=activation)
    X = rng.integers(-scale, scale + 1, (n, d))
    data = Dataset.merge(X, rng.integers(0, classes, n), rng.integers(1, 4, n), scale, tuple(range(classes)))
    return Problem(shape, data, loss or LOSSES[rng.integers(len(LOSSES))])


def radius_of(rng, d, most=2):
    return tuple(int(r) for r in rng.integers(0, most + 1, d))


def random_points(rng, x, R, norm, count):
    """Draw points of the ball, as fractions of the radius in float, with the corners among them."""
    D = rng.uniform(-1, 1, (count, len(x))) if rng.random() < 0.5 else rng.choice([-1.0, 0.0, 1.0], (count, len(x)))
    D = D * (np.array(R) > 0)
    if norm != "inf":
        sizes = np.abs(D).sum(axis=1) if norm == "1" else np.sqrt((D * D).sum(axis=1))
        D = D / np.maximum(sizes, 1)[:, None]
    return x + D * np.array(R)


def solve(problem, solver, exact_at=()):
    encoding = problem.encode(exact_at)
    solution = Solver.create(solver).solve(encoding.milp, Limits(seconds=60, threads=1))
    return encoding, solution


def check_optimum(problem, solver):
    """The MILP's optimum is that of all networks, and its rows hold at every network with its exact objective."""
    encoding, solution = solve(problem, solver)
    best = best_value(problem)
    if best is None:
        assert solution.status.name == "INFEASIBLE"
        return
    assert solution.status.name == "OPTIMAL", solution
    assert solution.objective == pytest.approx(best, abs=1e-4), problem
    assert problem.value(encoding.decode(solution.x)) == best


@pytest.mark.parametrize("norm", NORMS)
def test_reach_is_the_largest_move(norm, rng):
    for _ in range(30):
        d = int(rng.integers(1, 5))
        w, R = rng.integers(-4, 5, (d, 1)), radius_of(rng, d, 5)
        moved = random_points(rng, np.zeros(d), R, norm, 2000) @ w
        found = int(reach(w, R, norm)[0])
        assert moved.max() <= found + 1e-9
        exact = {"inf": np.abs(w[:, 0]) @ R, "1": max(np.abs(w[:, 0]) * R), "2": np.linalg.norm(w[:, 0] * R)}[norm]
        assert exact <= found + 1e-9 < exact + 1


def test_the_root_is_exact_for_huge_radii():
    W, R = np.array([[127], [126]]), (2**40, 2**40 - 1)
    total = (127 * R[0]) ** 2 + (126 * R[1]) ** 2
    found = int(reach(W, R, "2")[0])
    assert (found - 1) ** 2 < total <= found**2
    with pytest.raises(OverflowRiskError):
        reach(np.array([[2**31]]), (2**40,), "inf")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("hidden", [(), (2,), (3, 2), (2, 2, 2)])
def test_no_perturbation_leaves_the_intervals(hidden, norm, rng):
    for _ in range(15):
        problem = toy(rng, hidden)
        net = IntegerNetwork.random(problem.architecture, rng, problem.dataset.scale)
        R = radius_of(rng, 2)
        found = intervals(net, problem.dataset.X, R, norm)
        for k, x in enumerate(problem.dataset.X):
            fine = replace(net, scale=net.scale * 64)
            points = np.trunc((random_points(rng, x, R, norm, 200) - x) * 64).astype(np.int64) + 64 * x
            trace = fine.trace(points)
            assert (trace.preactivations[0] >= 64 * found.lower[0][k]).all()
            for a, low, high in zip(trace.preactivations[1:], found.lower[1:], found.upper[1:], strict=True):
                assert ((a >= low[k]) & (a <= high[k])).all()
            for h, fires, may in zip(trace.activations, found.fires, found.may_fire, strict=True):
                assert (h[:, fires[k]] == 1).all()
                assert (h[:, ~may[k]] < 1).all()


@pytest.mark.parametrize("hidden", [(), (2,), (2, 2)])
def test_radius_zero_is_the_plain_loss_and_larger_radii_cost_more(hidden, rng):
    for _ in range(20):
        problem = toy(rng, hidden)
        values = []
        for factor in (0, 1, 2, 4):
            loss = WorstCase(problem.loss, (factor, factor), NORMS[rng.integers(3)] if not factor else "inf")
            values.append([loss.value(net, problem.dataset) for net in nets(problem, np.random.default_rng(1))])
        assert values[0] == [
            problem.loss.value(net, problem.dataset) for net in nets(problem, np.random.default_rng(1))
        ]
        for before, after in itertools.pairwise(values):
            assert all(b is None or (a is not None and a <= b) for a, b in zip(before, after, strict=True))


def nets(problem, rng, count=20):
    return [IntegerNetwork.random(problem.architecture, rng, problem.dataset.scale) for _ in range(count)]


def test_the_worst_score_of_one_neuron_is_attained_at_a_corner(rng):
    for _ in range(20):
        problem = toy(rng, (), loss=MaxCorrect(), classes=2)
        if problem.architecture.n_outputs > 1:
            continue
        net, R = IntegerNetwork.random(problem.architecture, rng, problem.dataset.scale), (1, 2)
        data, worst = problem.dataset, 0
        for x, y, m in zip(data.X, data.y, data.multiplicity, strict=True):
            corners = [x + np.array(c) * R for c in itertools.product([-1, 1], repeat=2)]
            worst += int(m) * int((net.predict(np.array(corners)) != y).any())
        assert WorstCase(MaxCorrect(), R).value(net, data) == worst


@pytest.mark.parametrize("solver", ["cpsat", "highs"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("hidden", [(), (2,), (1, 1), (2, 1)])
def test_the_worst_case_model_has_the_optimum_of_all_networks(hidden, norm, solver, rng):
    seed = 100 * NORMS.index(norm) + len(hidden)
    rng, done = np.random.default_rng(seed), 0
    losses = [MaxCorrect(), SatMargin(), MinWeight()] if solver == "cpsat" else LOSSES
    while done < 3:
        try:
            loss = losses[rng.integers(len(losses))]
            plain = toy(rng, hidden, 4, loss=loss, scale=int(rng.choice([1, 3])))
            problem = replace(plain, loss=WorstCase(plain.loss, radius_of(rng, 2), norm))
        except InputError:
            continue
        if count_networks(problem) > 4_000:
            continue
        check_optimum(problem, solver)
        done += 1


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("price", [None, Fraction(1, 4), 2])
def test_the_robust_model_has_the_optimum_of_all_networks(norm, price):
    rng, done = np.random.default_rng(7), 0
    while done < 3:
        try:
            loss = [MaxCorrect(), SatMargin(), MinWeight()][rng.integers(3)]
            plain = toy(rng, ((1,), (2,), (1, 2))[rng.integers(3)], 4, loss=loss)
        except InputError:
            continue
        if count_networks(plain) > 4_000:
            continue
        robust = Robust(radius_of(rng, 2), norm, price, dataset=plain.dataset)
        check_optimum(replace(plain, constraints=(robust,)), "cpsat" if done % 2 else "highs")
        done += 1


@pytest.mark.parametrize("norm", NORMS)
def test_every_network_is_a_point_of_the_models_with_its_exact_objective(norm, rng):
    for hidden in ((), (2,), (2, 2)):
        for _ in range(4):
            try:
                plain = toy(rng, hidden)
                constraints = (Robust((1, 2), norm, 0.5, dataset=plain.dataset),) if hidden else ()
                problem = replace(plain, loss=WorstCase(plain.loss, (2, 1), norm), constraints=constraints)
            except InputError:
                continue
            encoding = problem.encode()
            for net in nets(problem, rng, 10):
                value = problem.value(net)
                x = encoding.encode(net)
                if value is not None and not encoding.relaxed:
                    assert encoding.milp.violation(x) == 0
                    assert encoding.milp.objective(x) == value


def test_continuous_first_layers_have_both_models(rng):
    box = [IntegerDomain.continuous(1.0, bits=8), IntegerDomain.ternary()]
    data = Dataset.merge(rng.integers(0, 11, (6, 2)), [0, 1, 0, 1, 1, 0], scale=10)
    shape = Architecture.build(2, 2, (2,), box)
    for norm in ("inf", "1"):
        robust = Robust((1, 2), norm, dataset=data)
        for problem in (
            Problem(shape, data, MaxCorrect(), (robust,)),
            Problem(shape, data, WorstCase(MaxCorrect(), (1, 2), norm)),
        ):
            encoding, solution = solve(problem, "highs")
            value = problem.value(encoding.decode(solution.x))
            checked = [v for net in nets(problem, rng, 200) if (v := problem.value(net)) is not None]
            assert solution.bound <= min([*checked, *([] if value is None else [value])], default=99) + 1e-6
            for net in nets(problem, rng, 20):
                if problem.value(net) is not None:
                    x = encoding.encode(net)
                    assert encoding.milp.violation(x) < 1e-9
                    assert encoding.milp.objective(x) == problem.value(net)


def test_large_tables_of_the_euclidean_norm_bound_from_below(rng):
    X = rng.integers(0, 1001, (5, 2))
    data = Dataset.merge(X, [0, 1, 0, 1, 1], scale=1000)
    shape = Architecture.build(2, 2, (1,), IntegerDomain.symmetric(2))
    assert steps_of(shape, (997, 991)) is None
    problem = Problem(shape, data, WorstCase(MaxCorrect(), (299, 99), "2"))
    encoding, solution = solve(problem, "cpsat")
    assert encoding.relaxed
    assert solution.bound <= best_value(problem)
    for net in itertools.islice(all_networks(problem), 0, None, 37):
        assert encoding.milp.violation(encoding.encode(net)) == 0
    for loss in (MaxCorrect(), Logistic(0.5)):
        problem = Problem(shape, data, WorstCase(loss, (299, 97), "2"))
        result = Exact(Solver.create("cpsat")).train(problem, Limits(seconds=100))
        assert result.certificate.loss == result.certificate.bound == best_value(problem)
    with pytest.raises(InputError, match="no exact model"):
        Problem(shape, data, MaxCorrect(), (Robust((299, 99), "2", dataset=data),))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.integers(1, 3))
@settings(max_examples=40)
def test_the_steps_are_the_rounded_norm(radius, bound):
    shape = Architecture.build(len(radius), 2, (1,), IntegerDomain.symmetric(bound))
    steps = steps_of(shape, radius)
    assert steps is not None
    for w in itertools.product(range(bound + 1), repeat=len(radius)):
        S = sum(f * v * v for f, v in zip(steps.factors, w, strict=True))
        D = sum(size for start, size in zip(steps.starts, steps.sizes, strict=True) if start <= S)
        assert int(reach(np.array(w)[:, None], radius, "2")[0]) == D


def test_the_ternary_table_counts_weights():
    steps = steps_of(Architecture.build(5, 2, (1,)), (7, 7, 7, 0, 7))
    assert steps.starts == [1, 2, 3, 4]
    assert np.cumsum(steps.sizes).tolist() == [7, 10, 13, 14]


def test_bad_radii_and_losses_are_refused():
    data = Dataset.merge([[0, 1], [1, 0]], [0, 1])
    one, hidden = Architecture.build(2, 2), Architecture.build(2, 2, (2,))
    for radius, norm in [((1,), "inf"), ((-1, 0), "inf"), ((0.5, 1), "inf"), ((1, 1), "3")]:
        with pytest.raises(InputError):
            Problem(one, data, WorstCase(Logistic(), radius, norm))
        with pytest.raises(InputError):
            Problem(hidden, data, Logistic(), (Robust(radius, norm, dataset=data),))
    with pytest.raises(InputError, match="hidden layer"):
        Problem(one, data, Logistic(), (Robust((1, 1), dataset=data),))
    with pytest.raises(InputError, match="worst case"):
        Problem(one, data, WorstCase(MaxMargin(), (1, 1)))
    with pytest.raises(InputError, match="samples"):
        Problem(hidden, data, Logistic(), (Robust((1, 1), dataset=data.subset([0])),))
    two = Architecture.build(2, 2, outputs=2)
    with pytest.raises(InputError, match="worst case"):
        Problem(two, data, WorstCase(MaxCorrect(rule="published"), (1, 1)))
    with pytest.raises(OverflowRiskError):
        Problem(one, data, WorstCase(Logistic(1e-3), (2**39, 0)))


def test_curves_over_wide_scores_are_made_exact_at_worst_scores(rng):
    X = rng.integers(0, 1001, (12, 2))
    data = Dataset.merge(X, (X[:, 0] > 500).astype(int), scale=1000)
    problem = Problem(Architecture.build(2, 2), data, WorstCase(Logistic(), (50, 30)))
    assert problem.encode().relaxed
    result = Exact(Solver.create("highs")).train(problem, Limits(seconds=100))
    best = best_value(problem)
    assert result.certificate.loss == best
    assert best - 2 - 3e-6 * best <= result.certificate.bound <= best


def test_prices_of_other_constraints_add_up(rng):
    data = toy(rng, (2,), domain=IntegerDomain.ternary(), classes=2).dataset
    shape = Architecture.build(2, 2, (2,))
    both = (Sparsity(0.3), Robust((1, 1), price=0.5, dataset=data))
    problem = Problem(shape, data, MaxCorrect(), both)
    for net in nets(problem, rng):
        parts = [Problem(shape, data, MaxCorrect(), c) for c in ((), both[:1], both[1:])]
        nominal, sparse, robust = (part.value(net) * part.unit for part in parts)
        assert problem.value(net) * problem.unit == sparse + robust - nominal


def engine_problem(rng, radius_zero=False):
    """Return a problem for the robust convex engine with all kinds of domains, prices and signs, or None."""
    domains = [*DOMAINS, IntegerDomain(-3, 3), IntegerDomain(-2, 2, 2), IntegerDomain(0, 2), IntegerDomain(-2, 0)]
    domain = [*domains, IntegerDomain(1, 2)][rng.integers(len(domains) + 1)]
    classes, d = int(rng.choice([2, 2, 3])), int(rng.integers(1, 4))
    scale = int(rng.choice([1, 3, 1000]))
    X = rng.integers(-scale, scale + 1, (7, d))
    data = Dataset.merge(X, rng.integers(0, classes, 7), rng.integers(1, 4, 7), scale, tuple(range(classes)))
    constraints = []
    if rng.random() < 0.4:
        constraints.append(Sparsity(float(rng.choice([0, 0.3])), None, int(rng.integers(1, 3))))
    if rng.random() < 0.3 and classes == 2:
        constraints.append(FeatureSigns(tuple(int(s) for s in rng.integers(-1, 2, d))))
    shape = Architecture.build(d, classes, (), domain, bias=(domain, None, "same")[rng.integers(3)])
    inner = Logistic(float(rng.choice([0.5, 2]))) if rng.random() < 0.7 else MinHinge()
    radius = (0,) * d if radius_zero else tuple(int(r) for r in rng.integers(0, max(2, scale // 2), d))
    try:
        problem = Problem(shape, data, WorstCase(inner, radius), tuple(constraints))
    except InputError:
        return None
    return problem if count_networks(problem) <= 5_000 else None


@pytest.mark.parametrize("seed", range(40))
def test_the_engine_finds_and_proves_the_optimum_of_all_networks(seed):
    problem = engine_problem(np.random.default_rng(seed))
    if problem is None or RobustConvex.obstacle(problem) is not None:
        return
    best = best_value(problem)
    result = RobustConvex().train(problem, Limits(seconds=60, threads=1 + seed % 2))
    if best is None:
        assert result.status.name == "INFEASIBLE"
        return
    assert (result.certificate.loss, result.certificate.bound) == (best, best)
    assert problem.value(result.network) == best


@pytest.mark.parametrize("seed", range(8))
def test_the_engine_at_radius_zero_is_the_plain_engine(seed):
    problem = engine_problem(np.random.default_rng(seed), radius_zero=True)
    if problem is None or RobustConvex.obstacle(problem) is not None:
        return
    plain = Convex().train(replace(problem, loss=problem.loss.loss), Limits(seconds=60))
    robust = RobustConvex().train(problem, Limits(seconds=60))
    assert plain.status == robust.status
    if plain.network is not None:
        assert plain.certificate == robust.certificate


def test_larger_radii_never_lower_the_optimum(rng):
    X = rng.integers(0, 101, (60, 4))
    data = Dataset.merge(X, (X @ [2, -1, 1, 0] + rng.integers(-30, 31, 60) > 90).astype(int), scale=100)
    shape, losses = Architecture.build(4, 2, (), IntegerDomain.symmetric(3)), []
    for radius in (0, 2, 5, 10, 30):
        result = RobustConvex().train(Problem(shape, data, WorstCase(Logistic(), (radius,) * 4)), Limits(seconds=60))
        assert result.certificate.optimal
        losses.append(result.certificate.loss)
    assert losses == sorted(losses)


def test_the_engine_says_why_it_does_not_apply():
    data = Dataset.merge([[0, 1], [1, 0]], [0, 1])
    one, hidden = Architecture.build(2, 2), Architecture.build(2, 2, (2,))
    wide = Architecture.build(2, 2, (), IntegerDomain(-3, 3, 2))
    assert "hidden" in RobustConvex.obstacle(Problem(hidden, data, WorstCase(Logistic(), (1, 1))))
    assert "norm '1'" in RobustConvex.obstacle(Problem(one, data, WorstCase(Logistic(), (1, 1), "1")))
    assert "not convex" in RobustConvex.obstacle(Problem(one, data, WorstCase(MaxCorrect(), (1, 1))))
    assert "sizes" in RobustConvex.obstacle(Problem(wide, data, WorstCase(Logistic(), (1, 1))))
    assert "convex engine" in RobustConvex.obstacle(Problem(one, data, Logistic()))


def search_problem(rng, kind):
    """Return a tiny problem with one hidden layer for the search."""
    norm = NORMS[rng.integers(3)]
    loss = [Logistic(0.7), MaxCorrect(), MinHinge(), SatMargin()][rng.integers(4)]
    plain = toy(rng, ((1,), (2,))[rng.integers(2)], 6, loss=loss)
    R = radius_of(rng, 2)
    price = {"hard": None, "priced": Fraction(1, 2), "worst": None}[kind]
    try:
        robust = () if kind == "worst" else (Robust(R, norm, price, dataset=plain.dataset),)
        return replace(plain, loss=WorstCase(loss, R, norm) if kind == "worst" else loss, constraints=robust)
    except InputError:
        return search_problem(rng, kind)


@pytest.mark.parametrize("kind", ["worst", "hard", "priced"])
def test_the_search_reaches_the_optimum_of_tiny_problems(kind):
    rng, done = np.random.default_rng(11), 0
    while done < 6:
        problem = search_problem(rng, kind)
        if count_networks(problem) > 4_000:
            continue
        best = best_value(problem)
        if best is None:
            continue
        start = IntegerNetwork.random(problem.architecture, rng, problem.dataset.scale)
        values = []
        found = improve(problem, start, 30, 1, lambda: best in values, lambda net: values.append(problem.value(net)))  # noqa: B023
        assert problem.value(found) == best or problem.value(start) == best
        assert values == sorted(values, reverse=True)
        done += 1


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("worst", [True, False])
def test_the_kernel_keeps_the_exact_loss(norm, worst, rng):
    for domain in (IntegerDomain.symmetric(3), IntegerDomain.continuous(1.0, bits=6)):
        X = rng.integers(0, 11, (20, 4))
        data = Dataset.merge(X, rng.integers(0, 3, 20), rng.integers(1, 4, 20), 10, (0, 1, 2))
        shape = Architecture.build(4, 3, (3,), [domain, IntegerDomain.ternary()], activation="step")
        goal = Perturbed(data, Logistic(), (1, 2, 0, 1), norm, worst, changed=1000.0)
        net = IntegerNetwork.random(shape, rng, 10)
        energy, found = Run(net, goal, 3).round(net, 3000, 1.0, 0, lambda: False)
        loss = WorstCase(Logistic(), goal.radius, norm) if worst else Logistic()
        uncertain = Robust((1, 2, 0, 1), norm if not domain.continuous_box or norm != "2" else "2", 1, dataset=data)
        assert found.decided(found.trace(data.X))
        assert energy == pytest.approx(loss.value(found, data) + 1000.0 * uncertain.count(found), rel=1e-9)


def test_the_search_is_at_least_as_good_as_descent(rng):
    X = rng.integers(0, 101, (150, 5))
    y = ((X[:, 0] > 50) ^ (X[:, 1] + X[:, 2] > 100)).astype(int)
    data, shape = Dataset.merge(X, y, scale=100), Architecture.build(5, 2, (4,))
    problem = Problem(shape, data, WorstCase(Logistic(), (3,) * 5))
    start = IntegerNetwork.constant(shape, 1, 100)
    slow = descend(start, problem.value, np.random.default_rng(0), 3000)
    assert problem.value(improve(problem, start, 5)) <= problem.value(slow)


def test_other_shapes_are_left_to_descent(rng):
    problem = toy(rng, (2, 2), loss=MaxCorrect(), classes=2)
    problem = replace(problem, loss=WorstCase(problem.loss, (1, 1)))
    assert goal_of(problem) is None
    start = IntegerNetwork.constant(problem.architecture, 0, problem.dataset.scale)
    assert problem.value(improve(problem, start, 1.0)) <= problem.value(start)
