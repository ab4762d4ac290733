import importlib.util
import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from provenn.errors import InputError, MissingDependencyError
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.search import straight_through
from provenn.search.straight_through import GradientOptions, available, default_temperature, train
from provenn.testing.toys import with_steps

torch = pytest.importorskip("torch")

from provenn.search._gradient_passes import describe, exact_scores, spreads  # noqa: E402
from provenn.search._gradient_run import Run  # noqa: E402

DOMAINS = [IntegerDomain.binary(), IntegerDomain.ternary(), IntegerDomain.symmetric(5), IntegerDomain(-3, 1, 2)]
SHORT = GradientOptions(epochs=5)
XOR = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])


def random_data(rng, n_classes=2, n=60, d=6, scale=10):
    X = rng.integers(-20, 20, (n, d))
    return Dataset.merge(X, np.arange(n) % n_classes, rng.integers(1, 4, n), scale)


def cross_entropy(network, data, temperature=None):
    """The mean training loss, in NumPy."""
    shape = network.architecture
    grid = 1 if shape.hidden else data.scale
    z = network.scores(data.X) / grid / (temperature or default_temperature(shape, data))
    if z.shape[1] == 1:
        losses = np.logaddexp(0.0, -z[:, 0] * (2 * data.y - 1))
    else:
        losses = np.logaddexp.reduce(z, axis=1) - z[np.arange(len(z)), data.y]
    return float(np.average(losses, weights=data.multiplicity))


@pytest.mark.parametrize("domain", DOMAINS, ids=str)
@pytest.mark.parametrize("bias", ["same", None, IntegerDomain.symmetric(9)], ids=str)
def test_every_network_met_has_weights_of_the_domain_and_each_is_better(domain, bias):
    rng = np.random.default_rng(3)
    for hidden, n_classes, outputs in [((), 2, 1), ((3,), 2, 2), ((4, 3), 3, 3)]:
        data = random_data(rng, n_classes)
        shape = with_steps(rng, Architecture.build(6, n_classes, hidden, domain, bias, outputs), 0.5)
        met = []
        options = GradientOptions(epochs=4, batch_size=20, evaluations=4, averaging=0.5, weight_decay=0.1)
        best = train(None, shape, data, rng, options, on_better=met.append)
        assert best is met[-1]
        assert best.architecture == shape
        assert best.scale == data.scale
        losses = [cross_entropy(network, data) for network in met]
        assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("domain", DOMAINS, ids=str)
@pytest.mark.parametrize("scale", [1, 10_000, 10**8])
def test_the_forward_pass_is_exact(domain, scale):
    rng = np.random.default_rng(0)
    for hidden, outputs in [((), 1), ((5,), 3), ((4, 3), 2)]:
        data = Dataset.merge(rng.integers(-scale, scale + 1, (80, 6)), np.arange(80) % max(2, outputs), scale=scale)
        architecture = with_steps(rng, Architecture.build(6, max(2, outputs), hidden, domain, outputs=outputs), 0.5)
        network = IntegerNetwork.random(architecture, rng, scale)
        shape = describe(network.architecture, data, 1.0)
        scores = exact_scores(shape, shape.parameters(network.weights, network.biases), shape.inputs(data.X))
        grid = 1 if hidden else scale
        assert np.array_equal(np.rint(scores.double().numpy() * grid), network.scores(data.X))
        assert shape.covers(network)


def test_sums_beyond_float32_are_computed_exactly():
    X = np.array([[2**24, 1], [2**24, 0]])
    data = Dataset.merge(np.vstack([X, -X]), [0, 1, 0, 1])
    network = IntegerNetwork.of(Architecture.build(2, 2), [[[1], [1]]], [[0]])
    shape = describe(network.architecture, data, 1.0)
    scores = exact_scores(shape, shape.parameters(network.weights, network.biases), shape.inputs(data.X))
    assert np.array_equal(scores.numpy(), network.scores(data.X))


@pytest.mark.parametrize("hidden", [(), (4,), (3, 3)])
@pytest.mark.parametrize("domain", DOMAINS, ids=str)
def test_the_loss_that_selects_is_the_exact_cross_entropy(domain, hidden):
    rng = np.random.default_rng(8)
    for outputs in (1, 2):
        data = random_data(rng)
        data = Dataset.merge(np.column_stack([data.X, np.full(len(data.X), 7)]), data.y, data.multiplicity, data.scale)
        shape = with_steps(rng, Architecture.build(7, 2, hidden, domain, outputs=outputs), 0.5)
        run = Run(shape, data, SHORT, 0, None)
        network = IntegerNetwork.random(shape, rng, data.scale)
        assert run.exact_loss(network) == pytest.approx(cross_entropy(network, data), rel=1e-6)


@pytest.mark.parametrize(("activation", "rise"), [("sign", 1.0), ("step", 0.5)])
def test_gradients_pass_through_the_activations_near_zero_only(activation, rise):
    data = Dataset.merge([[1], [3]], [0, 1])
    shape = describe(Architecture.build(1, 2, (1,), activation=activation), data, 1.0)
    width = shape.widths[0]
    first = torch.tensor([[0.5], [0.0]], requires_grad=True)
    second = torch.tensor([[1.0], [0.0]])
    for x in (1.0, 3.0, 100.0):
        (gradient,) = torch.autograd.grad(exact_scores(shape, [first, second], torch.tensor([[x]])).sum(), [first])
        expected = rise * x * max(0.0, 1.0 - 0.5 * x / width) / width
        assert float(gradient[0]) == pytest.approx(expected, rel=1e-5)


def test_dropped_inputs_keep_the_mean_of_the_preactivations():
    rng = np.random.default_rng(2)
    data = random_data(rng)
    shape = describe(Architecture.build(6, 2), data, 1.0)
    parameters, x = [torch.tensor(rng.normal(size=(7, 1)))], shape.inputs(data.X).double()
    masks = [torch.tensor(rng.random(tuple(x.shape)) < 0.6) for _ in range(4000)]
    mean = torch.stack([exact_scores(shape, parameters, x * mask, 0.6) for mask in masks]).mean(dim=0)
    assert torch.allclose(mean, exact_scores(shape, parameters, x), atol=0.3)


@pytest.mark.parametrize("hidden", [(), (4,)])
def test_never_worse_than_the_start_under_any_value(hidden):
    rng = np.random.default_rng(5)
    data = random_data(rng)
    shape = Architecture.build(6, 2, hidden)

    def value(network):
        return float(sum(np.abs(W).sum() for W in network.weights))

    for _ in range(3):
        start = IntegerNetwork.random(shape, rng, data.scale)
        better = []
        best = train(start, shape, data, rng, SHORT, value=value, on_better=better.append)
        values = [value(start), *map(value, better)]
        assert values == sorted(set(values), reverse=True)
        assert value(best) == values[-1]
    empty = IntegerNetwork.constant(shape, 1, data.scale)
    assert train(empty, shape, data, rng, SHORT, value=value) is empty


def test_a_good_start_is_kept_and_improved():
    rng = np.random.default_rng(6)
    X = rng.integers(0, 2, (200, 12))
    data = Dataset.merge(X, (X[:, :3].sum(axis=1) >= 2).astype(int))
    shape = Architecture.build(12, 2)
    start = IntegerNetwork.of(shape, [[[1], [1], [0], *[[0]] * 9]], [[-1]])
    best = train(start, shape, data, rng, GradientOptions(epochs=60))
    assert cross_entropy(best, data) < cross_entropy(start, data)


def test_the_same_seed_gives_the_same_network():
    data = random_data(np.random.default_rng(0), 3)
    shape = Architecture.build(6, 3, (5,))
    options = GradientOptions(epochs=10, batch_size=16, input_dropout=0.2, restarts=2)
    runs = [train(None, shape, data, np.random.default_rng(seed), options) for seed in (1, 1, 2)]
    assert runs[0].equals(runs[1])
    assert not runs[0].equals(runs[2])


def test_global_state_of_torch_is_left_alone():
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        train(None, Architecture.build(2, 2), XOR, np.random.default_rng(0), SHORT, value=lambda _: 1 / 0, threads=3)
    train(None, Architecture.build(2, 2), XOR, np.random.default_rng(0), SHORT, threads=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_gradients_of_steps_are_those_of_the_signs_that_they_translate_to():
    """With W / 2 and biases b + W / 2 behind it a layer of signs is one of steps."""
    rng = np.random.default_rng(1)
    data = random_data(rng)
    signs, steps = (describe(Architecture.build(6, 2, (3, 2), activation=kind), data, 1.0) for kind in ("sign", "step"))
    first = [torch.tensor(rng.normal(size=size)) for size in ((7, 3), (4, 2), (3, 1))]
    other = [first[0], *(torch.vstack([P[:-1] / 2, P[-1] + P[:-1].sum(0) / 2]) for P in first[1:])]
    x, widths = steps.inputs(data.X).double(), (2.0, 3.0)
    gradients = []
    for shape, parameters in ((replace(steps, widths=widths), first), (replace(signs, widths=widths), other)):
        leaf = parameters[0].clone().requires_grad_()
        scores = exact_scores(shape, [leaf, *parameters[1:]], x)
        gradients.append((scores.detach(), *torch.autograd.grad(scores.sum(), [leaf])))
    for one, two in zip(*gradients, strict=True):
        assert torch.allclose(one, two)
    assert gradients[0][1].abs().max() > 0


def test_random_steps_have_the_spread_that_is_expected():
    data = random_data(np.random.default_rng(1), n=400)
    shape = Architecture.build(6, 2, (40, 30), activation="step")
    drawn = [IntegerNetwork.random(shape, np.random.default_rng(seed), data.scale).trace(data.X) for seed in range(60)]
    for layer, expected in enumerate(spreads(shape, data)):
        unit = data.scale if layer == 0 else 1
        found = np.sqrt(np.mean([np.average((t.preactivations[layer] / unit) ** 2, axis=0, weights=data.multiplicity)
                                 for t in drawn]))  # fmt: skip
        assert found == pytest.approx(expected, rel=0.15)


XORS = [(2, 3, 3), (3, 3, 1), (4, 1, 1), (4, 3, 2)]


@pytest.mark.parametrize(
    ("hidden", "bound", "seed", "activation"),
    [(4, 1, 0, "sign"), *((*one, kind) for one in XORS for kind in ("sign", "step"))],
)
def test_learns_xor(hidden, bound, seed, activation):
    solved = []

    def note(network):
        if np.array_equal(network.predict(XOR.X), XOR.y):
            solved.append(network)

    options = GradientOptions(
        learning_rate=0.1, sign_width=1.0, temperature=0.5, epochs=10_000, restarts=200, evaluations=1000
    )
    shape = Architecture.build(2, 2, (hidden,), IntegerDomain.symmetric(bound), activation=activation)
    train(None, shape, XOR, np.random.default_rng(seed), options, on_better=note, stopped=lambda: bool(solved))
    assert solved


@pytest.mark.parametrize(("hidden", "activation"), [((), "sign"), *product([(8,), (8, 8)], ["sign", "step"])])
def test_separates_separable_data(hidden, activation):
    rng = np.random.default_rng(4)
    X = rng.integers(0, 2, (300, 15))
    margin = X @ np.repeat([1, -1, 0], 5)
    X, y = X[np.abs(margin) >= 1], (margin[np.abs(margin) >= 1] > 0).astype(int)
    data = Dataset.merge(X, y)
    shape = Architecture.build(15, 2, hidden, activation=activation)
    best = train(None, shape, data, rng, GradientOptions(epochs=60))
    assert np.mean(best.predict(X) == y) >= (1.0 if not hidden else 0.95)


def test_multiplicities_count_as_repeated_samples():
    rng = np.random.default_rng(7)
    data = random_data(rng, 3, n=30)
    repeated = Dataset(
        np.repeat(data.X, data.multiplicity, axis=0),
        np.repeat(data.y, data.multiplicity),
        data.classes,
        np.ones(data.total, dtype=np.int64),
        data.scale,
    )
    shape = Architecture.build(6, 3, (4,))
    options = GradientOptions(epochs=20, batch_size=1000, input_dropout=0.0)
    runs = [Run(shape, samples, options, 0, None) for samples in (data, repeated)]
    assert runs[0].temperature == pytest.approx(runs[1].temperature)
    for run in runs:
        for rows in run.batches():
            run.step(rows, 0.0)
    for one, other in zip(runs[0].first, runs[1].first, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-6)
    network = IntegerNetwork.random(shape, rng, data.scale)
    assert runs[0].exact_loss(network) == pytest.approx(runs[1].exact_loss(network), rel=1e-6)


def test_constant_features_get_weight_zero():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 9, (40, 5))
    X[:, 2] = 4
    data = Dataset.merge(X, np.arange(40) % 2)
    network = train(None, Architecture.build(5, 2, (3,)), data, rng, SHORT)
    assert not network.weights[0][2].any()
    X[:] = 1
    train(None, Architecture.build(5, 2, (3,)), Dataset.merge(X, np.arange(40) % 2), rng, SHORT)


def test_stops_when_told_and_keeps_what_was_learned():
    rng = np.random.default_rng(0)
    data = random_data(rng)
    shape = Architecture.build(6, 2, (3,))
    start = IntegerNetwork.random(shape, rng, data.scale)
    assert train(start, shape, data, rng, SHORT, stopped=lambda: True) is start
    assert train(None, shape, data, rng, SHORT, stopped=lambda: True).architecture == shape
    calls = []
    options = GradientOptions(epochs=10**9, evaluations=1, learning_rate=0.3)
    best = train(start, shape, data, rng, options, stopped=lambda: len(calls) >= 40 or calls.append(1), seconds=1e9)
    assert len(calls) == 40
    assert cross_entropy(best, data) < cross_entropy(start, data)


def test_time_or_epochs_end_the_training_whichever_comes_first():
    data = random_data(np.random.default_rng(0))
    shape = Architecture.build(6, 2, (3,))
    train(None, shape, data, np.random.default_rng(0), GradientOptions(epochs=10**9), seconds=0.05)
    by_epochs = train(None, shape, data, np.random.default_rng(0), SHORT)
    assert train(None, shape, data, np.random.default_rng(0), SHORT, seconds=1e6).equals(by_epochs)


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 0},
        {"epochs": 0},
        {"temperature": math.inf},
        {"input_dropout": 1.0},
        {"averaging": -0.1},
        {"weight_decay": -1},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(InputError, match=str(next(iter(options)))):
        GradientOptions(**options)


def test_inputs_that_do_not_fit_are_refused():
    rng = np.random.default_rng(0)
    shape = Architecture.build(2, 2)
    with pytest.raises(InputError, match="features"):
        train(None, Architecture.build(3, 2), XOR, rng)
    with pytest.raises(InputError, match="classes"):
        train(None, Architecture.build(2, 3), XOR, rng)
    with pytest.raises(InputError, match="start"):
        train(IntegerNetwork.random(shape, rng, scale=5), shape, XOR, rng)
    with pytest.raises(InputError, match="seconds"):
        train(None, shape, XOR, rng, seconds=0.0)
    with pytest.raises(InputError, match="threads"):
        train(None, shape, XOR, rng, threads=0)


def test_missing_torch_is_explained(monkeypatch):
    assert available()
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'provenn\[torch\]'"):
        train(None, Architecture.build(2, 2), XOR, np.random.default_rng(0), SHORT)
    monkeypatch.delitem(__import__("sys").modules, "torch")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not straight_through.available()
