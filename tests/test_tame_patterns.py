"""Models that count units: equal to brute force, exact both ways, one shape wherever the features are."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from provenn.errors import InputError
from provenn.formulations import Problem
from provenn.formulations.feature_signs import FeatureSigns
from provenn.formulations.norm_price import NormPrice
from provenn.formulations.robust import Robust
from provenn.formulations.sparsity import Sparsity
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.max_margin import MaxMargin
from provenn.losses.min_hinge import MinHinge
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.tame import DualCertificate, branch_and_bound
from provenn.tame.patterns import PatternModel
from provenn.testing.toys import all_networks, losses, odd_problem, optimum, random_network

COUNTED = [loss for loss in losses() if not isinstance(loss, MaxMargin)]


def drawn(seed: int, most: int = 4000) -> Problem | None:
    """Draw a problem with one or two hidden units from all losses and options."""
    rng = np.random.default_rng(1000 + seed)
    hidden = (int(rng.integers(1, 3)),)
    return odd_problem(rng, COUNTED[seed % len(COUNTED)], hidden, 6, int(rng.integers(1, 3)), most)


def noisy(n: int, loss=None, hidden: int = 2, seed: int = 0, scale: int = 1000) -> Problem:
    """Draw samples with labels by chance."""
    rng = np.random.default_rng(seed)
    X, y = rng.integers(0, scale + 1, (n, 2)), rng.integers(0, 2, n)
    y[:2] = [0, 1]
    data = Dataset.merge(X, y, scale=scale, classes=(0, 1))
    return Problem(Architecture.build(2, 2, (hidden,), IntegerDomain.ternary()), data, loss or MaxCorrect())


def shifted(problem: Problem, seed: int, reach: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    X = problem.dataset.X
    return np.clip(X + rng.integers(-reach, reach + 1, X.shape), 0, problem.dataset.scale)


def test_the_least_value_is_that_of_brute_force():
    seen: Counter[str] = Counter()
    for seed in range(100):
        problem = drawn(seed)
        if problem is None:
            continue
        best, kinds = optimum(problem), [PatternModel.of(problem)]
        if len(kinds[0].counted.columns) < 300:
            kinds.append(PatternModel.of(problem, movable=True))
        for model in kinds:
            proof = branch_and_bound(model.milp, limits=Limits(seconds=5))
            seen.update([type(problem.loss).__name__, problem.architecture.layers[0].activation])
            seen[f"{problem.architecture.n_outputs} outputs"] += 1
            assert proof.bound <= (np.inf if best is None else best)
            if model.relaxed:
                continue
            assert proof.value == best
            assert proof.verify()["optimal" if best is not None else "infeasible"]
            if proof.x is not None:
                assert problem.value(model.decode(proof.x)) == best
    wanted = {"sign", "step", "1 outputs", "3 outputs", *(type(loss).__name__ for loss in COUNTED)}
    assert wanted <= set(seen), seen


def test_networks_and_points_go_both_ways():
    checked = 0
    for seed in range(150):
        problem = drawn(seed, 10**6)
        if problem is None:
            continue
        network = random_network(np.random.default_rng(seed), problem)
        value = problem.value(network)
        for model in (PatternModel.of(problem), PatternModel.of(problem, movable=True)):
            x = model.encode(network)
            assert (model.milp.violation(x) == 0) == (value is not None)
            if value is None:
                continue
            again = model.decode(x)
            assert problem.value(again) == value
            assert (again.scores(problem.dataset.X) == network.scores(problem.dataset.X)).all()
            if not model.relaxed:
                assert model.milp.objective(x) == value
                checked += 1
    assert checked > 50


def test_permuted_units_are_one_point():
    problem = noisy(8)
    network = IntegerNetwork.random(problem.architecture, np.random.default_rng(3), problem.dataset.scale)
    (W, V), (b, c) = network.weights, network.biases
    other = replace(network, weights=(W[:, ::-1].copy(), V[::-1].copy()), biases=(b[::-1].copy(), c))
    model = PatternModel.of(problem, movable=True)
    assert (model.encode(network) == model.encode(other)).all()


@pytest.mark.parametrize("constraint", [Sparsity(0.3, 5, 2), Sparsity(fan_in=1), NormPrice(0.25), NormPrice(0.25, 2)])
def test_side_constraints_that_are_sums_over_units(constraint):
    problem = noisy(7)
    shape = Architecture.build(2, 2, (1,), IntegerDomain.symmetric(2))
    problem = replace(problem, architecture=shape, constraints=(constraint,))
    values = [v for v in map(problem.value, all_networks(problem)) if v is not None]
    for movable in (False, True):
        model = PatternModel.of(problem, movable)
        proof = branch_and_bound(model.milp)
        assert proof.value == min(values) == problem.value(model.decode(proof.x))
        assert proof.verify()["optimal"]


@pytest.mark.parametrize("loss", [MaxCorrect(), MinHinge()], ids=lambda loss: type(loss).__name__)
def test_certificates_bound_and_warm_start_moved_features(loss):
    problem = noisy(10, loss)
    model = PatternModel.of(problem, movable=True)
    old = branch_and_bound(model.milp)
    network = model.decode(old.x)
    for seed in range(4):
        for reach in (10, 100):
            moved = model.at(shifted(problem, seed, reach))
            best = optimum(moved.problem)
            assert old.lower_bound(moved.milp) <= best + 1e-9
            again = old.warm_start(moved.milp, moved.encode(network))
            assert again.value == best == moved.problem.value(moved.decode(again.x))
            assert again.verify()["optimal"]
    still = model.at(problem.dataset.X)
    assert (still.milp.A != model.milp.A).nnz == 0
    assert old.lower_bound(still.milp) == pytest.approx(old.value, abs=1e-6)


@pytest.mark.parametrize("loss", [MaxCorrect(), MinHinge()], ids=lambda loss: type(loss).__name__)
def test_prepared_certificates_are_strong_at_their_models_and_valid_elsewhere(loss):
    problem = noisy(7, loss)
    model = PatternModel.of(problem, movable=True)
    old = branch_and_bound(model.milp)
    likely = [model.at(shifted(problem, seed, 60)) for seed in range(3)]
    ready = old.prepared(part.milp for part in likely)
    assert ready.verify()["optimal"]
    assert ready.exact_value == old.exact_value
    assert DualCertificate.from_dict(ready.to_dict()).lower_bound(likely[0].milp) == ready.lower_bound(likely[0].milp)
    for part in likely:
        assert ready.lower_bound(part.milp) == pytest.approx(optimum(part.problem), abs=1e-6)
    for seed in range(5, 8):
        moved = model.at(shifted(problem, seed, 60))
        best = optimum(moved.problem)
        assert old.lower_bound(moved.milp) - 1e-9 <= ready.lower_bound(moved.milp) <= best + 1e-9
        assert ready.warm_start(moved.milp).value == best


def test_features_that_become_constant_or_equal_keep_the_shape():
    problem = noisy(6)
    model = PatternModel.of(problem, movable=True)
    old = branch_and_bound(model.milp)
    for X in (problem.dataset.X * [1, 0], np.zeros_like(problem.dataset.X)):
        moved = model.at(X)
        assert moved.milp.A.shape == model.milp.A.shape
        assert old.lower_bound(moved.milp) <= optimum(moved.problem) == old.warm_start(moved.milp).value


def test_sixteen_noisy_samples_need_few_nodes():
    problem = noisy(16)
    proof = branch_and_bound(PatternModel.of(problem).milp)
    assert proof.verify()["value"] == optimum(problem) > 0
    assert proof.tree.n_nodes < 500


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": Architecture.build(2, 2)}, "one hidden layer"),
        ({"architecture": Architecture.build(2, 2, (2, 2))}, "one hidden layer"),
        ({"architecture": Architecture.build(2, 2, (2,), IntegerDomain.continuous(1.0))}, "must be integers"),
        ({"architecture": Architecture.build(2, 2, (2,), IntegerDomain.symmetric(30))}, "too many to list"),
        ({"loss": MaxMargin()}, "hidden pre-activations"),
        ({"constraints": (Robust((1, 1), dataset=noisy(6).dataset),)}, "no sum over units"),
    ],
)
def test_other_problems_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        PatternModel.of(replace(noisy(6), **change))


def test_merged_models_do_not_move():
    problem = noisy(6)
    with pytest.raises(InputError, match="movable=True"):
        PatternModel.of(problem).at(problem.dataset.X)
    with pytest.raises(InputError, match="must have the shape"):
        PatternModel.of(problem, movable=True).at(problem.dataset.X[:3])
    with pytest.raises(InputError, match="no hidden layer"):
        replace(problem, constraints=(FeatureSigns((1, 0)),))
