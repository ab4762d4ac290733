"""Coordinate search: exact lines against enumeration, states against the forward pass, laws of the search."""

import itertools

import numpy as np
import pytest

from provenn.errors import InputError
from provenn.formulations import Problem
from provenn.formulations.feature_signs import FeatureSigns
from provenn.formulations.sparsity import Sparsity
from provenn.losses import Loss
from provenn.losses.cross_entropy import CrossEntropy
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_hinge import MinHinge
from provenn.losses.min_weight import MinWeight
from provenn.losses.sat_margin import SatMargin
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.search import _coordinate_kernels as kernels
from provenn.search._coordinate_lines import breakpoints, choose_piece
from provenn.search._coordinate_losses import WORST, rule_of, sample_loss, turning_points
from provenn.search._coordinate_refit import refitted
from provenn.search._coordinate_state import network_of, setting_of, state_of
from provenn.search.coordinate_search import Cooling, improve, start_network, supported, unit_costs
from provenn.testing.toys import all_networks, best_value, optimum

LOSSES: list[Loss] = [Logistic(0.7), MinHinge(), SatMargin(), MaxCorrect(), MaxCorrect("published")]
CONTINUOUS = IntegerDomain.continuous(1.0, bits=8)
DOMAINS = [IntegerDomain.binary(), IntegerDomain.ternary(), IntegerDomain(-3, 3, 2), CONTINUOUS]


def random_problem(seed: int, loss: Loss, hidden: tuple[int, ...] = (2,)) -> Problem:
    rng = np.random.default_rng(seed)
    n_classes, d, scale = int(rng.integers(2, 4)), int(rng.integers(1, 4)), int(rng.choice([1, 10]))
    n = int(rng.integers(n_classes + 2, 12))
    X = rng.integers(-scale, scale + 1, (n, d))
    y = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n - n_classes)])
    data = Dataset.merge(X, y, rng.integers(1, 4, n), scale, tuple(range(n_classes)))
    domains = [DOMAINS[rng.integers(len(DOMAINS))] for _ in range(len(hidden) + 1)]
    if isinstance(loss, MinHinge) and domains[-1].continuous_box:
        domains[-1] = IntegerDomain.symmetric(2)
    shape = Architecture.build(
        d, n_classes, hidden, domains, [None, "same"][rng.integers(2)],
        n_classes if rng.random() < 0.5 else None, ["sign", "step"][rng.integers(2)],
        margin=float(rng.choice([1e-4, 0.2])),
    )  # fmt: skip
    return Problem(shape, data, loss)


def penalised(problem: Problem, network: IntegerNetwork) -> float:
    """The objective from the exact forward pass, with what the search charges for each broken condition."""
    trace, data, shape = network.trace(problem.dataset.X), problem.dataset, problem.architecture
    broken = sum(
        int(((a < 0) & (a > -shape.margin(i, data.scale))).sum()) for i, a in enumerate(trace.preactivations[:-1])
    )
    loss = problem.loss.value(network, data)
    return WORST * broken + (np.inf if loss is None else loss)


@pytest.mark.parametrize("seed", range(40))
def test_the_pieces_of_a_line_are_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, start, stop = int(rng.integers(1, 6)), int(rng.integers(-9, 1)), int(rng.integers(0, 9))
    a, g = rng.integers(-9, 10, n), rng.integers(-3, 4, n)
    v = rng.integers(-4, 4, n)
    u = v + rng.integers(0, 3, n)
    low, mid, high = rng.integers(0, 4, (3, n)).astype(np.float64)
    at, jump = np.zeros(2 * n, dtype=np.int64), np.zeros(2 * n)
    count, base = breakpoints(a, g, v, u, low, mid, high, start, stop, at, jump)

    def value(t: int) -> float:
        here = a + t * g
        return float(np.where(here < v, low, np.where(here < u, mid, high)).sum())

    for t in range(start, stop + 1):
        assert base + jump[:count][at[:count] <= t].sum() == value(t)
    zero, price = int(rng.integers(start, stop + 1)), float(rng.choice([0.0, 1.5]))
    first, last, least = choose_piece(at[:count], jump[:count], base, start, stop, 0.0, zero, price, rng)
    best = min(value(t) + price * (t != zero) for t in range(start, stop + 1))
    assert least == best
    assert all(value(t) + price * (first != zero or last != zero) == best for t in range(first, last + 1))


def test_the_heat_bath_draws_by_width_and_loss() -> None:
    rng = np.random.default_rng(0)
    at, jump, heat = np.array([6, 2]), np.array([1.0, -2.0]), 0.8
    drawn = [choose_piece(at, jump, 3.0, 0, 9, heat, 0, 0.0, rng)[0] for _ in range(20_000)]
    weights = np.array([2, 4, 4]) * np.exp(-np.array([3.0, 1.0, 2.0]) / heat)
    frequencies = np.array([drawn.count(first) for first in (0, 2, 6)]) / len(drawn)
    np.testing.assert_allclose(frequencies, weights / weights.sum(), atol=0.012)


@pytest.mark.parametrize("loss", [*LOSSES, CrossEntropy()], ids=repr)
@pytest.mark.parametrize("seed", range(12))
def test_sample_losses_sum_up_to_the_exact_loss(loss: Loss, seed: int) -> None:
    problem = random_problem(seed, loss)
    rule = rule_of(loss, problem.architecture, problem.dataset)
    assert rule is not None
    data, rng = problem.dataset, np.random.default_rng(seed)
    for _ in range(10):
        network = IntegerNetwork.random(problem.architecture, rng, data.scale)
        scores = network.scores(data.X)
        total = sum(m * sample_loss(*rule, row, k) for row, k, m in zip(scores, data.y, data.multiplicity, strict=True))
        exact = loss.value(network, data)
        assert total >= WORST if exact is None else total == pytest.approx(exact, abs=data.total)


@pytest.mark.parametrize("loss", LOSSES[2:], ids=repr)
@pytest.mark.parametrize("seed", range(10))
def test_counting_losses_turn_where_they_say(loss: Loss, seed: int) -> None:
    problem = random_problem(seed, loss)
    rule = rule_of(loss, problem.architecture, problem.dataset)
    assert rule is not None
    rng, outputs = np.random.default_rng(seed), problem.architecture.n_outputs
    for _ in range(30):
        row, label = rng.integers(-6, 7, outputs), int(rng.integers(problem.dataset.n_classes))
        c = int(rng.integers(outputs))
        v, u = turning_points(rule.code, rule.p0, row, c, label)

        def value(score: int, row: np.ndarray = row, c: int = c, label: int = label) -> float:
            return sample_loss(*rule, np.where(np.arange(len(row)) == c, score, row), label)

        for score in range(min(v, -8) - 3, max(u, 8) + 4):
            assert value(score) == value(v - 1 if score < v else v if score < u else u)


@pytest.mark.parametrize("hidden", [(2,), (2, 3), ()], ids=str)
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("seed", range(8))
def test_the_state_follows_the_forward_pass(loss: Loss, seed: int, hidden: tuple[int, ...]) -> None:
    problem = random_problem(seed, loss, hidden)
    rng = np.random.default_rng(seed)
    start = IntegerNetwork.random(problem.architecture, rng, problem.dataset.scale)
    setting, state = setting_of(problem, start, tuple(range(len(hidden) + 1))), state_of(start, problem)
    for layer, dense in enumerate(problem.architecture.layers):
        for j in range(dense.n_out):
            kernels.visit(setting, state, layer, j, 6, float(rng.choice([0.0, 0.5, 1e6])), rng)
            network = network_of(state.parameters, start)
            np.testing.assert_array_equal(state.pre, state_of(network, problem).pre)
            exact, found = penalised(problem, network), kernels.total_loss(setting, state)
            assert found >= WORST if exact == np.inf else found == pytest.approx(exact, abs=problem.dataset.total)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("seed", range(12))
def test_a_cold_redraw_finds_the_best_value_of_a_parameter(loss: Loss, seed: int) -> None:
    problem = random_problem(seed, loss)
    rng = np.random.default_rng(seed)
    start = IntegerNetwork.random(problem.architecture, rng, problem.dataset.scale)
    setting = setting_of(problem, start, (0, 1))
    for layer, dense in enumerate(problem.architecture.layers):
        state = state_of(start, problem)
        i, j = int(rng.integers(dense.n_in)), int(rng.integers(dense.n_out))
        if layer == 0 and not problem.dataset.live[i]:
            continue
        if layer == 0:
            kernels.weigh_hidden(setting, state, layer, j)
        elif rule_of(loss, problem.architecture, problem.dataset).code >= 3:
            kernels.weigh_output(setting, state, j)
        kernels.redraw(setting, state, layer, j, i, 0.0, rng)
        if layer == 0:
            setting.space.before[:] = np.where(state_of(start, problem).pre[0, j] >= 0, 1, dense.lowest)
            kernels.hand_on(setting.shape, state, layer, j, setting.space.before)
        found = kernels.total_loss(setting, state)
        values = []
        for value in dense.weights.values.tolist():
            parameters = state_of(start, problem).parameters
            parameters[layer, j, i] = value
            other = state_of(network_of(parameters, start), problem)
            values.append(kernels.total_loss(setting, other))
        assert found == min(values)


@pytest.mark.parametrize("seed", range(6))
def test_unit_costs_are_those_of_flipped_activations(seed: int) -> None:
    problem = random_problem(seed, SatMargin(), (3,))
    rng = np.random.default_rng(seed)
    network = IntegerNetwork.random(problem.architecture, rng, problem.dataset.scale)
    h = network.trace(problem.dataset.X).activations[0]
    rule = rule_of(problem.loss, problem.architecture, problem.dataset)
    costs = unit_costs(problem, network, 0, 1)
    for activation, cost in zip((problem.architecture.layers[0].lowest, 1), costs, strict=True):
        g = h.copy()
        g[:, 1] = activation
        scores = g @ network.weights[1] + network.biases[1]
        losses = [sample_loss(*rule, row, k) for row, k in zip(scores, problem.dataset.y, strict=True)]
        np.testing.assert_array_equal(cost, losses * problem.dataset.multiplicity)


def toy(activation: str, domain: IntegerDomain, loss: Loss, constraints: tuple = ()) -> Problem:
    X = list(itertools.product([0, 1], repeat=3))
    data = Dataset.merge(X, [(a ^ b) | (b & c) for a, b, c in X])
    return Problem(Architecture.build(3, 2, (2,), domain, activation=activation), data, loss, constraints)


@pytest.mark.parametrize("activation", ["sign", "step"])
@pytest.mark.parametrize("loss", [MaxCorrect(), Logistic(), SatMargin()], ids=repr)
def test_toys_are_solved_to_the_optimum(activation: str, loss: Loss) -> None:
    problem = toy(activation, IntegerDomain.ternary(), loss)
    least = optimum(problem)
    reached = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        best = improve(problem, IntegerNetwork.random(problem.architecture, rng), rng, work=20_000)
        value = problem.value(best)
        assert value >= least
        reached += value == least
    assert reached >= 4


def test_prices_and_signs_are_kept() -> None:
    problem = toy("step", IntegerDomain.ternary(), MaxCorrect(), (Sparsity(0.25),))
    rng = np.random.default_rng(0)
    assert supported(problem)
    best = improve(problem, IntegerNetwork.random(problem.architecture, rng), rng, work=30_000)
    assert problem.value(best) == optimum(problem)
    data = Dataset.merge([[0, 1], [1, 0], [2, 1], [1, 2]], [0, 1, 1, 0])
    signed = Problem(Architecture.build(2, 2), data, MaxCorrect(), (FeatureSigns((-1, 1)),))
    best = improve(signed, IntegerNetwork.constant(signed.architecture, 1), rng, work=500)
    assert signed.value(best) == best_value(signed)


def test_other_constraints_and_hard_losses_go_by_the_exact_objective() -> None:
    problem = toy("sign", IntegerDomain.ternary(), MaxCorrect(), (Sparsity(0.0, max_nonzeros=4),))
    assert not supported(problem)
    rng = np.random.default_rng(1)
    best = improve(problem, IntegerNetwork.constant(problem.architecture, 1), rng, work=8000)
    assert problem.value(best) == optimum(problem)
    data = Dataset.merge([[0], [1]], [0, 1])
    hard = Problem(Architecture.build(1, 2, (1,), IntegerDomain.symmetric(2)), data, MinWeight())
    start = next(network for network in all_networks(hard) if hard.value(network) is not None)
    assert hard.value(improve(hard, start, rng, work=3000)) == best_value(hard)


@pytest.mark.parametrize("hidden", [(3,), (3, 2)], ids=str)
@pytest.mark.parametrize("activation", ["sign", "step"])
def test_offers_fall_keep_margins_and_repeat(hidden: tuple[int, ...], activation: str) -> None:
    rng = np.random.default_rng(5)
    X = rng.integers(0, 1001, (60, 4))
    data = Dataset.merge(X, (X[:, 0] > 500) ^ (X[:, 1] > 500), scale=1000)
    domains = [IntegerDomain.continuous(), *[IntegerDomain.symmetric(3)] * len(hidden)]
    shape = Architecture.build(4, 2, hidden, domains, activation=activation, margin=0.05)
    problem = Problem(shape, data, Logistic())

    def run() -> tuple[list[int | None], IntegerNetwork]:
        own, told = np.random.default_rng(3), []
        start = start_network(problem, own)
        best = improve(problem, start, own, work=1500, offer=lambda net: told.append(problem.value(net)))
        return told, best

    (values, best), (again, same) = run(), run()
    assert values == again
    assert best.equals(same)
    assert None not in values
    assert values == sorted(set(values), reverse=True)
    a = best.trace(data.X).preactivations[0]
    assert not ((a < 0) & (a > -shape.margin(0, 1000))).any()
    assert problem.value(best) == values[-1] < 25_000_000


def test_a_refit_separates_what_a_hyperplane_separates() -> None:
    rng = np.random.default_rng(2)
    X, normal = rng.integers(0, 1001, (80, 6)), rng.normal(size=6)
    side = X @ normal - np.median(X @ normal)
    keep = np.abs(side) > 100
    data = Dataset.merge(X[keep], side[keep] > 0, scale=1000)
    shape = Architecture.build(6, 2, (2,), IntegerDomain.continuous(), activation="step")
    problem = Problem(shape, data, MaxCorrect())
    gain = np.where(data.y == 1, 1.0, -1.0) * rng.integers(1, 4, data.n_samples)
    box = np.full(7, 2**20)
    row = refitted(problem, gain, -box, box, rng)
    a = data.X @ row[:-1] + 1000 * row[-1]
    np.testing.assert_array_equal(a >= 0, data.y == 1)
    assert a[a < 0].max() <= -shape.margin(0, 1000)
    assert refitted(problem, 0 * gain, -box, box, rng) is None


def test_layers_that_are_not_searched_stay() -> None:
    problem = random_problem(3, SatMargin(), (3,))
    rng = np.random.default_rng(0)
    start = IntegerNetwork.random(problem.architecture, rng, problem.dataset.scale)
    for layer in (0, 1):
        found = improve(problem, start, rng, work=300, layers=(layer,))
        np.testing.assert_array_equal(found.weights[1 - layer], start.weights[1 - layer])
        np.testing.assert_array_equal(found.biases[1 - layer], start.biases[1 - layer])


def test_it_stops_and_refuses() -> None:
    problem = toy("step", CONTINUOUS, Logistic(0.1))
    rng = np.random.default_rng(0)
    start = IntegerNetwork.constant(problem.architecture, 0)
    assert improve(problem, start, rng, stopped=lambda: True).equals(start)
    assert improve(problem, start, rng, seconds=0.0).equals(start)
    with pytest.raises(InputError, match="layers must be"):
        improve(problem, start, rng, work=1, layers=(2,))
    with pytest.raises(InputError, match="hot >= cold"):
        Cooling(0.1, 0.2)
