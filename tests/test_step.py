"""Step activations: exact models against brute force, and their translation to and from the sign."""

import json
from dataclasses import replace

import numpy as np
import pytest

from provenn.errors import InputError
from provenn.formulations import Problem
from provenn.formulations.neuron_count import NeuronCount
from provenn.formulations.sparsity import Sparsity
from provenn.losses.hamming import Hamming
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_weight import MinWeight
from provenn.losses.sat_margin import SatMargin
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, Dense, IntegerDomain, IntegerNetwork
from provenn.solvers import Solver
from provenn.status import Status
from provenn.testing.toys import best_value, count_networks

BINARY, TERNARY = IntegerDomain.binary(), IntegerDomain.ternary()
LOSSES = [MaxCorrect(), MaxCorrect("published"), Hamming(), SatMargin(), Logistic(0.7), MinWeight()]


def samples(rng, n, d, classes=2, scale=None):
    scale = scale or int(rng.choice([1, 3, 10]))
    y = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    return Dataset.merge(rng.integers(-scale, scale + 1, (n, d)), y, scale=scale, classes=tuple(range(classes)))


def step(d, classes, hidden, domain=TERNARY, bias="same", outputs=None):
    return Architecture.build(d, classes, hidden, domain, bias, outputs, activation="step")


def mixed(shape, kinds):
    layers = [replace(layer, activation=kind) for layer, kind in zip(shape.layers[:-1], kinds, strict=False)]
    return Architecture((*layers, shape.layers[-1]))


def test_the_forward_pass_is_its_definition():
    rng = np.random.default_rng(0)
    for domain in (TERNARY, IntegerDomain.symmetric(3)):
        shape, X = step(3, 3, (4, 2), domain), rng.integers(-7, 8, (20, 3))
        network = IntegerNetwork.random(shape, rng, 5)
        (W, V, U), (b, c, d) = network.weights, network.biases
        h = (X @ W + 5 * b >= 0) * 1
        h = (h @ V + c >= 0) * 1
        assert np.array_equal(network.scores(X), h @ U + d)


def test_bounds_are_reached():
    """Every pre-activation stays inside, and some network on some sample reaches both ends."""
    for domain in (TERNARY, BINARY, IntegerDomain(1, 2), IntegerDomain(-2, 0)):
        shape, X = step(1, 2, (2,), domain, None), np.array([[-3], [4]])
        low, high = shape.bounds(1, X, 1)
        scores = [
            int(a)
            for first in np.array(np.meshgrid(domain.values, domain.values)).T.reshape(-1, 2)
            for second in np.array(np.meshgrid(domain.values, domain.values)).T.reshape(-1, 2)
            for a in IntegerNetwork.of(shape, [first[None, :], second[:, None]], [[0, 0], [0]]).scores(X).ravel()
        ]
        assert low[0] <= min(scores)
        assert max(scores) <= high[0]
        if domain.low < 0 < domain.high:
            assert (min(scores), max(scores)) == (low[0], high[0])


@pytest.mark.parametrize("hidden", [(1,), (2,), (2, 1)], ids=str)
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("solver", ["cpsat", "highs"])
def test_the_optimum_of_the_model_is_the_brute_force_optimum(loss, hidden, solver):
    rng, checked = np.random.default_rng(3), 0
    for domain in (BINARY, TERNARY, IntegerDomain(0, 1)):
        for outputs in (None, 2):
            shape = step(2 if len(hidden) == 1 else 1, 2, hidden, domain, domain if hidden[0] < 2 else None, outputs)
            try:
                problem = Problem(shape, samples(rng, 5, shape.n_features), loss)
            except InputError:
                continue
            if count_networks(problem) > 800 or (loss.convex and solver == "cpsat"):
                continue
            best, encoding = best_value(problem), problem.encode()
            solution = Solver.create(solver).solve(encoding.milp, Limits(seconds=60))
            checked += 1
            if best is None:
                assert solution.status is Status.INFEASIBLE
                continue
            assert solution.status is Status.OPTIMAL
            assert solution.objective == pytest.approx(best, rel=1e-9, abs=1e-4)
            assert problem.value(encoding.decode(solution.x)) == best
    assert checked or (loss.convex and solver == "cpsat")


@pytest.mark.parametrize("hidden", [(2,), (3, 2)], ids=str)
@pytest.mark.parametrize("kinds", [("step", "step"), ("step", "sign"), ("sign", "step")], ids="-".join)
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_a_network_encodes_to_a_point_with_its_exact_objective(loss, kinds, hidden):
    feasible = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        domain = [BINARY, TERNARY, IntegerDomain(-1, 2)][seed % 3]
        classes = 2 + seed % 2
        shape = mixed(step(3, classes, hidden, domain, "same" if seed % 2 else None, classes), kinds)
        prices = (Sparsity(0.25), NeuronCount(0.5)) if domain.has_zero and seed > 5 else ()
        try:
            problem = Problem(shape, samples(rng, 6, 3, classes), loss, prices)
        except InputError:
            continue
        network, encoding = IntegerNetwork.random(shape, rng, problem.dataset.scale), problem.encode()
        x = encoding.encode(network)
        decoded = encoding.decode(x)
        assert np.array_equal(decoded.scores(problem.dataset.X), network.scores(problem.dataset.X))
        assert np.array_equal(encoding.encode(decoded), x)
        value = problem.value(decoded)
        if value is None:
            assert encoding.milp.violation(x) > 0
            continue
        feasible += 1
        assert encoding.milp.violation(x) == 0
        assert encoding.milp.objective(x) == value
    assert feasible or loss.hard


@pytest.mark.parametrize("hidden", [(2,), (2, 2)], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_fixing_the_inputs_reproduces_predict(hidden, seed):
    """With weights and biases fixed, one point is left: the forward pass."""
    rng = np.random.default_rng(seed)
    problem = Problem(step(2, 2, hidden), samples(rng, 4, 2), MaxCorrect())
    encoding = problem.encode()
    network = encoding.decode(encoding.encode(IntegerNetwork.random(problem.architecture, rng, problem.dataset.scale)))
    point, milp = encoding.encode(network), encoding.milp
    low, high = milp.col_lower.copy(), milp.col_upper.copy()
    for name, columns in milp.blocks.items():
        if name[0] in "Wb":
            low[columns] = high[columns] = point[columns]
    solution = Solver.create("brute_force").solve(milp.with_bounds(low, high), Limits())
    for name, columns in milp.blocks.items():
        if name[0] in "Wbauc":
            assert np.array_equal(solution.x[columns], point[columns]), name
    answer = (solution.x[milp.blocks["a" + str(len(hidden))][:, 0]] >= 0).astype(int)
    assert answer.tolist() == network.predict(problem.dataset.X).tolist()


def as_steps(network):
    """The step network with the same hidden decisions and scores: ``2 h - 1`` is the sign of a unit that fires as h."""
    layers, weights, biases = list(network.architecture.layers), list(network.weights), list(network.biases)
    for i in range(1, len(layers)):
        biases[i] = biases[i] - weights[i].sum(axis=0)
        weights[i] = 2 * weights[i]
        box, most = IntegerDomain.symmetric(2 * layers[i].weights.bound), int(np.abs(biases[i]).max())
        layers[i] = replace(layers[i], weights=box, bias=IntegerDomain.symmetric(max(1, most)))
        layers[i - 1] = replace(layers[i - 1], activation="step")
    return IntegerNetwork(Architecture(tuple(layers)), tuple(weights), tuple(biases), network.scale)


@pytest.mark.parametrize("hidden", [(3,), (3, 2), (2, 4, 3)], ids=str)
@pytest.mark.parametrize("domain", [BINARY, TERNARY, IntegerDomain.symmetric(5)], ids=repr)
def test_a_sign_network_is_the_step_network_with_doubled_weights(domain, hidden):
    rng = np.random.default_rng(5)
    X = rng.integers(-10, 11, (50, 3))
    network = IntegerNetwork.random(Architecture.build(3, 3, hidden, domain), rng, 7)
    translated = as_steps(network)
    assert np.array_equal(translated.scores(X), network.scores(X))
    signs, steps = network.trace(X).activations, translated.trace(X).activations
    assert all(np.array_equal(2 * h - 1, s) for h, s in zip(steps, signs, strict=True))


def test_the_translated_problem_has_no_worse_optimum():
    """Every sign network is one of the step networks with doubled weights and wider biases."""
    rng = np.random.default_rng(8)
    data = samples(rng, 6, 2, scale=1)
    sign = Architecture.build(2, 2, (2,), TERNARY)
    layers = (
        replace(sign.layers[0], activation="step"),
        Dense(2, 1, IntegerDomain(-2, 2, 2), IntegerDomain(-3, 3)),
    )
    best = []
    for shape in (sign, Architecture(layers)):
        solution = Solver.create("cpsat").solve(Problem(shape, data, MaxCorrect()).encode().milp, Limits(seconds=60))
        assert solution.status is Status.OPTIMAL
        best.append(solution.objective)
    assert best[1] <= best[0]


def test_json_keeps_activations_and_continuous_layers(tmp_path):
    rng = np.random.default_rng(1)
    box = IntegerDomain.continuous(1.5, low=-0.25, bits=12)
    for shape in (step(3, 3, (2, 2)), step(3, 2, (2,), box), step(3, 2, (2, 2), [box, TERNARY, BINARY])):
        network = IntegerNetwork.random(shape, rng, 10)
        network.save(tmp_path / "network.json")
        loaded = IntegerNetwork.load(tmp_path / "network.json")
        assert loaded.equals(network)
        assert loaded.architecture == shape
        assert network.to_dict()["version"] == 2


def test_files_of_sign_networks_stay_at_version_1():
    network = IntegerNetwork.random(Architecture.build(3, 2, (2,)), np.random.default_rng(1))
    data = json.loads(json.dumps(network.to_dict()))
    assert data["version"] == 1
    assert set(data["architecture"]["layers"][0]) == {"n_in", "n_out", "weights", "bias", "activation"}
    assert set(data["architecture"]["layers"][0]["weights"]) == {"low", "high", "step"}
    assert IntegerNetwork.from_dict(data).equals(network)


def test_stripping_keeps_scores():
    rng = np.random.default_rng(2)
    for _ in range(20):
        network = IntegerNetwork.random(step(3, 2, (3, 2)), rng)
        dead = [W.copy() for W in network.weights]
        dead[1][0] = dead[2][1] = 0
        network = replace(network, weights=tuple(dead))
        X = rng.integers(-3, 4, (30, 3))
        assert np.array_equal(network.strip().scores(X), network.scores(X))
        assert network.strip().architecture.hidden[0] < 3
