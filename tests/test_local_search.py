"""Local search: kernels against their NumPy twin, exact moves, laws of the search."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from provenn.errors import CapabilityError, InputError
from provenn.formulations import Problem
from provenn.losses import Loss
from provenn.losses.cross_entropy import CrossEntropy
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.max_margin import MaxMargin
from provenn.losses.min_hinge import MinHinge
from provenn.losses.sat_margin import SatMargin
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.network.architecture import Activation
from provenn.search import _kernels, _reference
from provenn.search._moves import UNLIMITED, Terms, sweep, uniform, workspace
from provenn.search._score_losses import sample_losses, score_loss_of
from provenn.search._state import flatten, inputs_of, shape_of, state_of, unflatten
from provenn.search.descent import descend
from provenn.search.local_search import Annealing, Prices, local_search, obstacle
from provenn.testing.toys import odd_problem, optimum, random_network, with_steps
from provenn.trainers._start import _deepened

LOSSES: list[Loss] = [CrossEntropy(), Logistic(0.7), MinHinge(), SatMargin(), MaxCorrect()]
DOMAINS = [IntegerDomain.binary(), IntegerDomain.ternary(), IntegerDomain.symmetric(3)]
SHAPES: list[tuple[int, ...]] = [(), (3,), (3, 2), (2, 3, 2)]


def instance(seed: int, loss: Loss) -> tuple[Dataset, IntegerNetwork]:
    rng = np.random.default_rng(seed)
    classes, d = int(rng.integers(2, 5)), int(rng.integers(2, 6))
    n = int(rng.integers(classes + 1, 16))
    scale = int(rng.choice([1, 1, 10, 1000]))
    X = rng.integers(0, 2, (n, d)) if scale == 1 and rng.random() < 0.7 else rng.integers(-scale, scale + 1, (n, d))
    y = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    data = Dataset.merge(X, y, rng.integers(1, 4, n), scale, tuple(range(classes)))
    domain = DOMAINS[rng.integers(3)]
    bias = [domain, None, IntegerDomain.symmetric(5)][rng.integers(3)]
    shape = Architecture.build(d, classes, SHAPES[rng.integers(4)], domain, bias)
    return data, IntegerNetwork.random(with_steps(rng, shape, 0.5), rng, scale)


def behind_signs(network: IntegerNetwork) -> IntegerNetwork:
    """Return the network of signs with the same activations: ``h = (1 + s) / 2`` behind a layer doubles it."""
    layers, biases = list(network.architecture.layers), list(network.biases)
    wide = IntegerDomain.symmetric(127)
    for number, layer in enumerate(network.architecture.layers):
        step = number > 0 and network.architecture.layers[number - 1].activation == "step"
        biases[number] = biases[number] * 2 + network.weights[number].sum(axis=0) if step else biases[number]
        layers[number] = replace(layer, bias=wide, activation="sign" if layer.activation else None)
    return IntegerNetwork(Architecture(tuple(layers)), network.weights, tuple(biases), network.scale)


@pytest.mark.parametrize("seed", range(40))
def test_a_network_of_steps_is_one_of_signs_with_other_biases(seed: int) -> None:
    data, network = instance(seed, Logistic())
    other, layers = behind_signs(network), network.architecture.layers
    trace, signs = network.trace(data.X), other.trace(data.X)
    doubled = len(layers) > 1 and layers[-2].activation == "step"
    for h, s in zip(trace.activations, signs.activations, strict=True):
        assert np.array_equal(h > 0, s > 0)
    assert np.array_equal(trace.scores * (2 if doubled else 1), signs.scores)
    assert np.array_equal(network.predict(data.X), other.predict(data.X))
    assert Logistic(1.0).value(network, data) == Logistic(2.0 if doubled else 1.0).value(other, data)
    if network.architecture.hidden:
        rules = [
            score_loss_of(Logistic(1.0 + doubled * k), n.architecture, data) for k, n in enumerate((network, other))
        ]
        states = [state_of(n, data, rule) for n, rule in zip((network, other), rules, strict=True)]
        assert np.array_equal(states[0].activations > 0, states[1].activations > 0)
        assert states[0].loss == pytest.approx(states[1].loss)


def test_both_activations_and_all_depths_are_drawn() -> None:
    drawn = [instance(seed, Logistic())[1].architecture.layers[:-1] for seed in range(25)]
    mixed = [{layer.activation for layer in layers} for layers in drawn if len(layers) > 1]
    assert {"sign", "step"} in mixed
    assert {1, 2, 3} <= {len(layers) for layers in drawn if any(layer.activation == "step" for layer in layers)}


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("seed", range(25))
def test_scores_and_moves_equal_the_twin(loss: Loss, seed: int) -> None:
    data, network = instance(seed, loss)
    rule = score_loss_of(loss, network.architecture, data, guide=0.01)
    inputs, shape, state = inputs_of(data), shape_of(network.architecture, data), state_of(network, data, rule)
    space, rng = workspace(shape, state, 3), np.random.default_rng(seed)
    size = 1.0 + float(np.abs(state.loss).sum())
    for layer, dense in enumerate(network.architecture.layers):
        j = int(rng.integers(dense.n_out))
        _kernels.prepare(shape, state, layer, j, space)
        _kernels.score(inputs, shape, state, rule, layer, j, space)
        scores = space.gain[:, :, : dense.n_in + 1].astype(float)
        twin = _reference.gains(network, data, rule, layer, j, 3)
        np.testing.assert_allclose(scores, twin, atol=1e-5 * size)
        for i, m, side in itertools.product(range(dense.n_in + 1), range(3), range(2)):
            dv = (m + 1) * (1 - 2 * side)
            change = _kernels.move(inputs, shape, state, rule, layer, j, i, dv, space)
            assert change == pytest.approx(twin[side, m, i], abs=1e-7 * size)
            _kernels.move(inputs, shape, state, rule, layer, j, i, -dv, space)
    fresh = state_of(unflatten(state.parameters, network), data, rule)
    for kept, computed in zip(state, fresh, strict=True):
        np.testing.assert_allclose(kept, computed, atol=1e-6)


@pytest.mark.parametrize("hidden", [(1,), (2,), (1, 1)])
@pytest.mark.parametrize("seed", range(4))
def test_finds_the_optimum_of_odd_toys_with_steps(seed: int, hidden: tuple[int, ...]) -> None:
    rng, loss = np.random.default_rng(seed), LOSSES[1 + seed]
    problem = None
    while problem is None or problem.constraints or obstacle(problem.architecture, problem.dataset, loss) is not None:
        problem = odd_problem(rng, loss, hidden, 8, 2, 20_000)
    steps = (replace(layer, activation="step") for layer in problem.architecture.layers[:-1])
    problem = replace(problem, architecture=Architecture((*steps, problem.architecture.layers[-1])))
    starts = [random_network(rng, problem) for _ in range(4)]
    heard: list[IntegerNetwork] = []
    for start in starts:
        local_search(start, problem.dataset, loss, np.random.default_rng(0), 600, on_better=heard.append)
    assert min(problem.value(network) or 0 for network in heard) == optimum(problem)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_sample_losses_add_up_to_the_exact_loss(loss: Loss) -> None:
    for seed in range(20):
        data, network = instance(seed, loss)
        rule = score_loss_of(loss, network.architecture, data, guide=0.0)
        total = float(sample_losses(rule, network.scores(data.X), data.y) @ data.multiplicity)
        exact = loss.value(network, data)
        assert exact is not None
        assert total == pytest.approx(exact, abs=data.total * network.architecture.n_outputs, rel=1e-6)


def test_rounded_tables_stay_close() -> None:
    data = Dataset.merge([[0], [10**6], [3 * 10**5]], [0, 1, 0], scale=10**6)
    network = IntegerNetwork.of(Architecture.build(1, 2, bias=IntegerDomain.symmetric(2)), [[[1]]], [[-1]], 10**6)
    for loss in (Logistic(), CrossEntropy()):
        rule = score_loss_of(loss, network.architecture, data)
        assert rule.rule.shift > 0
        total = float(sample_losses(rule, network.scores(data.X), data.y).sum())
        assert total == pytest.approx(loss.value(network, data), rel=1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_sweep_reports_the_change_and_stays_in_the_domains(seed: int) -> None:
    loss = LOSSES[seed % len(LOSSES)]
    data, network = instance(seed, loss)
    rule = score_loss_of(loss, network.architecture, data)
    inputs, shape, state = inputs_of(data), shape_of(network.architecture, data), state_of(network, data, rule)
    before = float(state.loss @ inputs.weight)
    terms = Terms(before / 10 + 1e-3, 0.0, UNLIMITED, UNLIMITED, 8, 3)
    random = np.array([seed], dtype=np.uint64)
    change = sum(sweep(inputs, shape, state, rule, terms, workspace(shape, state, 3), random) for _ in range(5))
    after = unflatten(state.parameters, network)
    rows = state_of(after, data, rule).loss
    assert float(rows @ inputs.weight) == pytest.approx(before + change, abs=1e-6 * (1 + before))
    if network.architecture.layers[0].weights.has_zero:
        assert np.array_equal(after.weights[0][~data.live], network.weights[0][~data.live])


def test_zero_heat_ends_where_no_single_move_helps() -> None:
    rng = np.random.default_rng(3)
    data = Dataset.merge(rng.integers(0, 2, (40, 6)), rng.integers(0, 2, 40))
    shape = Architecture.build(6, 2, (4,))
    loss = Logistic()
    best = local_search(IntegerNetwork.random(shape, rng), data, loss, rng, 200, annealing=Annealing(reach=2))
    value, flat = loss.value(best, data), flatten(best)
    assert value is not None
    for at, new in itertools.product(range(len(flat)), (-1, 0, 1)):
        other = flat.copy()
        other[at] = new
        network = unflatten(other, best)
        if np.array_equal(network.weights[0][~data.live], best.weights[0][~data.live]):
            worse = loss.value(network, data)
            assert worse is not None
            assert worse >= value - data.total


@pytest.mark.parametrize("activation", ["sign", "step"])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_finds_the_optimum_of_toys(loss: Loss, activation: Activation) -> None:
    rng = np.random.default_rng(1)
    data = Dataset.merge(rng.integers(0, 2, (8, 3)), np.arange(8) % 2, rng.integers(1, 4, 8))
    shape = Architecture.build(3, 2, (1,), activation=activation)
    every = [
        unflatten(np.array(values, dtype=np.int32), IntegerNetwork.constant(shape, 0))
        for values in itertools.product((-1, 0, 1), repeat=6)
    ]
    optimum = min(loss.value(network, data) or 0 for network in every)
    heard: list[IntegerNetwork] = []  # A guide may lead from the best count to another network in the end.
    for seed in range(5):
        local_search(every[0], data, loss, np.random.default_rng(seed), 300, on_better=heard.append)
    assert min(loss.value(network, data) or 0 for network in heard) == optimum


def test_same_generator_same_network_and_every_call_is_better() -> None:
    data, start = instance(5, Logistic())
    heard: list[int] = []
    runs = [
        local_search(
            start, data, Logistic(), np.random.default_rng(7), 300, on_better=lambda n: heard.append(_value(n, data))
        )
        for _ in range(2)
    ]
    assert runs[0].equals(runs[1])
    half = heard[: len(heard) // 2]
    assert len(half) > 1
    assert all(b <= a + 2 * data.total for a, b in itertools.pairwise(half))


def _value(network: IntegerNetwork, data: Dataset) -> int:
    value = Logistic().value(network, data)
    assert value is not None
    return value


@pytest.mark.parametrize("activation", ["sign", "step"])
def test_batches_and_noise_keep_the_domains_and_learn(activation: Activation) -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (300, 12))
    y = (X[:, :6].sum(axis=1) > X[:, 6:].sum(axis=1)).astype(int)
    data = Dataset.merge(X, y)
    start = IntegerNetwork.random(Architecture.build(12, 2, (5,), activation=activation), rng)
    for annealing in (
        Annealing(first_batch=64),
        Annealing(noise=1.0, replicas=3),
        Annealing(noise=0.5, first_batch=100),
    ):
        best = local_search(start, data, Logistic(), np.random.default_rng(1), 1200, annealing=annealing)
        assert float(np.mean(best.predict(X) == y)) > 0.93


def test_prices_and_budgets() -> None:
    rng = np.random.default_rng(4)
    X = rng.integers(0, 2, (80, 8))
    data = Dataset.merge(X, (X[:, 0] & X[:, 1]) ^ (rng.random(80) < 0.1))
    start = IntegerNetwork.random(Architecture.build(8, 2, (6,)), rng)

    def trained(prices: Prices) -> IntegerNetwork:
        return local_search(start, data, Logistic(), np.random.default_rng(2), 800, prices=prices)

    free, priced = trained(Prices()), trained(Prices(nonzero=1e6))
    assert sum(np.count_nonzero(W) for W in priced.weights) < sum(np.count_nonzero(W) for W in free.weights)
    few = trained(Prices(neuron=4e6))
    assert few.live_units(0).sum() < free.live_units(0).sum()
    for limits in (Prices(max_nonzeros=5), Prices(fan_in=2)):
        empty = IntegerNetwork.constant(start.architecture, 0)
        tight = local_search(empty, data, Logistic(), np.random.default_rng(2), 800, prices=limits)
        counts = [np.count_nonzero(W, axis=0) for W in tight.weights]
        assert sum(count.sum() for count in counts) <= (limits.max_nonzeros or 99)
        assert max(count.max() for count in counts) <= (limits.fan_in or 99)


def test_stops_when_asked() -> None:
    data, start = instance(2, Logistic())
    asked = itertools.count()
    local_search(start, data, Logistic(), np.random.default_rng(0), 10**9, stopped=lambda: next(asked) > 3)
    assert next(asked) < 60


def test_refuses_what_it_cannot_search() -> None:
    data, start = instance(1, Logistic())
    with pytest.raises(CapabilityError, match="MaxMargin"):
        local_search(start, data, MaxMargin(), np.random.default_rng(0), 1)
    many = Architecture.build(2, 3)
    toy = Dataset.merge([[0, 1], [1, 0], [1, 1]], [0, 1, 2])
    assert "hard" in str(obstacle(many, toy, MaxCorrect(rule="published")))
    assert obstacle(many, toy, MaxCorrect()) is None
    wide = Dataset.merge([[0], [2**35]], [0, 1], scale=2**35)
    assert "grid" in str(obstacle(Architecture.build(1, 2), wide, MaxCorrect()))
    real = Architecture.build(2, 3, (2,), [IntegerDomain.continuous(), IntegerDomain.ternary()])
    assert "continuous" in str(obstacle(real, toy, MaxCorrect()))
    for bad in ({"hot": 0.01}, {"reach": 9}, {"noise": -1.0}, {"replicas": 0}):
        with pytest.raises(InputError):
            Annealing(**bad)  # type: ignore[arg-type]


STEPS = [("step", "step"), ("sign", "step"), ("step", "sign")]


@pytest.mark.parametrize("kinds", STEPS)
@pytest.mark.parametrize("domain", [*DOMAINS[1:], IntegerDomain.symmetric(2), IntegerDomain.continuous()], ids=str)
def test_a_single_layer_is_handed_on_through_steps(kinds: tuple[Activation, ...], domain: IntegerDomain) -> None:
    rng = np.random.default_rng(0)
    shape = Architecture.build(4, 2, (3, 2), domain)
    hidden = (replace(layer, activation=kind) for layer, kind in zip(shape.layers, kinds, strict=False))
    shape = Architecture((*hidden, shape.layers[-1]))
    flat = IntegerNetwork.random(Architecture.build(4, 2, (), domain), rng, 10)
    X, deep = rng.integers(-30, 30, (200, 4)), _deepened(flat, shape)
    assert deep is not None
    assert 0 < flat.predict(X).sum() < 200
    assert np.array_equal(deep.predict(X), flat.predict(X))


def test_steps_without_a_bias_behind_them_hand_nothing_on() -> None:
    flat = IntegerNetwork.random(Architecture.build(4, 2), np.random.default_rng(0))
    assert _deepened(flat, Architecture.build(4, 2, (3,), bias=None, activation="step")) is None
    assert _deepened(flat, Architecture.build(4, 2, (3,), bias=IntegerDomain(0, 2), activation="step")) is None
    assert _deepened(flat, Architecture.build(4, 2, (3,), activation="step")) is not None


@pytest.mark.parametrize("hidden", [(), (2,)])
def test_descent_moves_in_a_continuous_box(hidden: tuple[int, ...]) -> None:
    rng, box = np.random.default_rng(2), IntegerDomain.continuous()
    data = Dataset.merge(rng.integers(0, 10, (40, 3)), np.arange(40) % 2, scale=10)
    problem = Problem(Architecture.build(3, 2, hidden, box), data, Logistic(0.2))
    start = IntegerNetwork.constant(problem.architecture, 1, 10)
    before, after = problem.value(start), problem.value(descend(start, problem.value, rng, 3000))
    assert before is not None
    assert after is not None
    assert after < 0.99 * before


def test_uniform_numbers_are_uniform() -> None:
    random = np.array([1], dtype=np.uint64)
    drawn = np.array([uniform(random) for _ in range(4000)])
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.02
    assert abs(drawn.var() - 1 / 12) < 0.005
