"""Local search: kernels against their NumPy twin, exact moves, laws of the search."""

import itertools

import numpy as np
import pytest

from provenn.errors import CapabilityError, InputError
from provenn.losses import Loss
from provenn.losses.cross_entropy import CrossEntropy
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.max_margin import MaxMargin
from provenn.losses.min_hinge import MinHinge
from provenn.losses.sat_margin import SatMargin
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.search import _kernels, _reference
from provenn.search._moves import UNLIMITED, Terms, sweep, uniform, workspace
from provenn.search._score_losses import sample_losses, score_loss_of
from provenn.search._state import flatten, inputs_of, shape_of, state_of, unflatten
from provenn.search.local_search import Annealing, Prices, local_search, obstacle

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
    return data, IntegerNetwork.random(shape, rng, scale)


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


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_finds_the_optimum_of_toys(loss: Loss) -> None:
    rng = np.random.default_rng(1)
    data = Dataset.merge(rng.integers(0, 2, (8, 3)), np.arange(8) % 2, rng.integers(1, 4, 8))
    shape = Architecture.build(3, 2, (1,))
    every = [
        unflatten(np.array(values, dtype=np.int32), IntegerNetwork.constant(shape, 0))
        for values in itertools.product((-1, 0, 1), repeat=6)
    ]
    optimum = min(loss.value(network, data) or 0 for network in every)
    found = [
        loss.value(local_search(every[0], data, loss, np.random.default_rng(seed), 300), data) for seed in range(5)
    ]
    assert min(v for v in found if v is not None) == optimum


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


def test_batches_and_noise_keep_the_domains_and_learn() -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (300, 12))
    y = (X[:, :6].sum(axis=1) > X[:, 6:].sum(axis=1)).astype(int)
    data = Dataset.merge(X, y)
    start = IntegerNetwork.random(Architecture.build(12, 2, (5,)), rng)
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
    for bad in ({"hot": 0.01}, {"reach": 9}, {"noise": -1.0}, {"replicas": 0}):
        with pytest.raises(InputError):
            Annealing(**bad)  # type: ignore[arg-type]


def test_uniform_numbers_are_uniform() -> None:
    random = np.array([1], dtype=np.uint64)
    drawn = np.array([uniform(random) for _ in range(4000)])
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.02
    assert abs(drawn.var() - 1 / 12) < 0.005
