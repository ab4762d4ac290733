"""Continuous weights in the exact model, against truths by linear programs over enumerated activations."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linprog, minimize
from scipy.special import expit

from provenn.errors import CapabilityError, InputError
from provenn.formulations import Problem
from provenn.formulations.neuron_count import NeuronCount
from provenn.formulations.sparsity import Sparsity
from provenn.losses._base import score_margin
from provenn.losses._epigraph import _spread, _tangents
from provenn.losses.hamming import Hamming
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.max_margin import MaxMargin
from provenn.losses.min_hinge import MinHinge
from provenn.losses.min_weight import MinWeight
from provenn.losses.sat_margin import SatMargin
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.registry import load
from provenn.solvers import Solver
from provenn.status import Status
from provenn.trainers.exact import Exact

BOX, TERNARY = IntegerDomain.continuous(1.0), IntegerDomain.ternary()
FOLDER = Path(__file__).resolve().parents[2] / "shared" / "instances"
SOFT = [MaxCorrect(), Hamming(), SatMargin(), Logistic(0.3)]
LAYERS = [(BOX, BOX), (BOX, TERNARY), (TERNARY, BOX)]


def train(problem, solver="highs", seconds=60.0):
    result = Exact(Solver.create(solver)).train(problem, Limits(seconds=seconds))
    assert result.status in (Status.OPTIMAL, Status.TOLERANCE), result
    assert result.certificate.bound <= result.certificate.loss == problem.value(result.network)
    return result


def samples(seed, n, d, scale=10, classes=2):
    rng = np.random.default_rng(seed)
    X = rng.integers(-scale, scale + 1, (n, d))
    y = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    return Dataset.merge(X, y, rng.integers(1, 3, n), scale, tuple(range(classes)))


def separable(H, wanted, bound, bias, margin):
    """Whether ``sign(H w + b) = wanted`` has weights within the bound, negatives below the margin."""
    n, d = H.shape
    A = np.column_stack([H, np.ones(n)]) * -np.where(wanted, 1.0, -1.0)[:, None]
    limits = [(-bound, bound)] * d + [(-bound, bound) if bias else (0, 0)]
    found = linprog(np.zeros(d + 1), A_ub=A, b_ub=np.where(wanted, 0.0, -margin), bounds=limits, method="highs")
    return found.status == 0


def patterns(H, bound, bias, margin):
    """Every way in which one unit can fire on the samples."""
    every = itertools.product([False, True], repeat=len(H))
    return [np.array(p) for p in every if separable(H, np.array(p), bound, bias, margin)]


def fewest_errors(H, y, weights, bound, bias, margin):
    """Least weight of wrong samples of one output unit."""
    subsets = itertools.product([False, True], repeat=len(y))
    ordered = sorted(subsets, key=lambda wrong: np.array(wrong) @ weights)
    for wrong in ordered:
        right = ~np.array(wrong)
        if separable(H[right], y[right] == 1, bound, bias, margin):
            return int(np.array(wrong) @ weights)
    raise AssertionError


def hidden_layers(X, width, bound, bias, lowest, domain=None):
    """Activations of every hidden layer, up to the order of units."""
    if domain is None:
        units = patterns(X, bound, bias, 1e-4)
    else:
        free = domain.values if bias else [0]
        drawn = itertools.product(*[domain.values] * X.shape[1], free)
        units = list({tuple(X @ w[:-1] + w[-1] >= -1e-12) for w in map(np.array, drawn)})
    for chosen in itertools.combinations_with_replacement(range(len(units)), width):
        yield np.column_stack([np.where(units[i], 1.0, lowest) for i in chosen])


def least_errors(problem):
    """The optimum of max_correct with one output, by enumerating activations."""
    shape, data = problem.architecture, problem.dataset
    X, bias = data.X / data.scale, shape.layers[0].bias is not None
    first, last = shape.layers
    inner = hidden_layers(X, first.n_out, 1.0, bias, first.lowest, None if first.continuous else first.weights)
    if last.continuous:
        return min(fewest_errors(H, data.y, data.multiplicity, 1.0, bias, 1e-4) for H in inner)
    outer = [np.array(w) for w in itertools.product(last.weights.values, repeat=last.n_in + 1) if bias or not w[-1]]
    return min(int((((H @ w[:-1] + w[-1] >= 0) != data.y) * data.multiplicity).sum()) for H in inner for w in outer)


def least_logistic(X, t, weights, tau, bound, bias):
    """The optimum of the logistic loss of one neuron, in micro-nats."""
    A = np.column_stack([X, np.ones(len(X))])

    def loss(w):
        z = t * (A @ w) / tau
        slope = -weights * t / tau * expit(-z)
        return 1e6 * (weights @ np.logaddexp(0, -z)), 1e6 * (A.T @ slope)

    limits = [(-bound, bound)] * X.shape[1] + [(-bound, bound) if bias else (0, 0)]
    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 10_000}
    return minimize(loss, np.zeros(A.shape[1]), jac=True, bounds=limits, method="L-BFGS-B", options=options).fun


# The model as a picture of networks


SHAPES = [(hidden, [first, *[rest] * len(hidden)]) for hidden in ((), (2,), (3, 2)) for first, rest in LAYERS]


@pytest.mark.parametrize(("hidden", "kinds"), SHAPES)
@pytest.mark.parametrize("loss", SOFT, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("activation", ["step", "sign"])
def test_a_network_encodes_to_a_point_with_its_exact_objective(loss, hidden, kinds, activation):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        classes = 2 + seed % 2
        data = samples(seed, 6, 3, [1, 10, 10_000][seed % 3], classes)
        outputs = classes if seed % 4 else None
        bias = "same" if seed % 2 else None
        shape = Architecture.build(3, classes, hidden, kinds, bias, outputs, activation)
        extra = (Sparsity(0.25), *([NeuronCount(0.5)] if hidden else [])) if seed > 3 else ()
        problem = Problem(shape, data, loss, extra)
        encoding = problem.encode()
        network = IntegerNetwork.random(shape, rng, data.scale)
        x = encoding.encode(network)
        decoded = encoding.decode(x)
        assert np.array_equal(decoded.scores(data.X), network.scores(data.X))
        assert np.array_equal(encoding.encode(decoded), x)
        value = problem.value(network)
        if value is None:
            assert encoding.milp.violation(x) > 1e-9
            continue
        assert encoding.milp.violation(x) < 1e-9
        assert float(encoding.milp.objective(x)) == pytest.approx(value, abs=1e-6)
        assert problem.value(decoded) == value


def test_a_hidden_pre_activation_within_the_margin_has_no_value():
    data = Dataset.merge([[-1], [1]], [0, 1])
    shape = Architecture.build(1, 2, (1,), BOX, activation="step", margin=0.01)
    ok = IntegerNetwork.of(shape, [[[2**20]], [[2**20]]], [[0], [-1]])
    near = IntegerNetwork.of(shape, [[[10_000]], [[2**20]]], [[0], [-1]])
    problem = Problem(shape, data, Logistic())
    assert problem.value(ok) is not None
    assert near.trace(data.X).preactivations[0].tolist() == [[-10_000], [10_000]]
    assert problem.value(near) is None
    assert problem.encode().milp.violation(problem.encode().encode(near)) > 1e-4


def test_scores_within_the_margin_are_wrong():
    data = Dataset.merge([[-1], [1]], [0, 1])
    shape = Architecture.build(1, 2, (), BOX, bias=None, margin=0.25)
    quarter = 2**18
    assert score_margin(shape, data) == quarter
    for weight, errors in ((quarter, 0), (quarter - 1, 1), (1, 1), (0, 1), (-1, 2)):
        network = IntegerNetwork.of(shape, [[[weight]]], [[0]])
        assert [loss.value(network, data) for loss in (MaxCorrect(), Hamming())] == [errors, errors]


# Optima


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("loss", [MaxCorrect(), Hamming()], ids=lambda loss: type(loss).__name__)
def test_one_neuron_reaches_the_optimum_of_enumerated_errors(loss, seed):
    data = samples(seed, 7, 1 + seed % 2, [10, 10_000][seed % 2])
    shape = Architecture.build(data.n_features, 2, (), BOX, "same" if seed % 3 else None)
    truth = fewest_errors(data.X / data.scale, data.y, data.multiplicity, 1.0, seed % 3 != 0, 1e-4)
    assert train(Problem(shape, data, loss)).certificate.loss == truth


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("activation", ["step", "sign"])
@pytest.mark.parametrize("kinds", LAYERS, ids=["both", "first", "last"])
def test_a_hidden_layer_reaches_the_optimum_of_enumerated_activations(kinds, activation, seed):
    data = samples(100 + seed, 4, 2)
    width = 1 if kinds == (BOX, BOX) and seed > 1 else 2
    shape = Architecture.build(2, 2, (width,), kinds, "same" if seed % 2 else None, activation=activation)
    problem = Problem(shape, data, MaxCorrect())
    result = train(problem)
    assert result.certificate.loss == least_errors(problem)
    assert result.certificate.optimal


def test_xor_needs_two_hidden_units():
    data = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    found = [
        train(Problem(Architecture.build(2, 2, hidden, BOX, activation="step"), data, MaxCorrect())).certificate.loss
        for hidden in ((), (1,), (2,))
    ]
    assert found == [1, 1, 0]


@pytest.mark.parametrize(("tau", "bound"), [(0.1, 100.0), (1.0, 1.0), (1000.0, 100.0)])
def test_logistic_reaches_the_convex_optimum(tau, bound):
    data = samples(3, 15, 2)
    problem = Problem(Architecture.build(2, 2, (), IntegerDomain.continuous(bound)), data, Logistic(tau))
    t = 2 * data.y - 1
    truth = least_logistic(data.X / data.scale, t, data.multiplicity, tau, bound, True)
    certificate = train(problem).certificate
    assert certificate.loss == pytest.approx(truth, abs=data.total / 2 + 4e-6 * truth)
    assert certificate.bound <= truth + data.total / 2 + 1
    assert certificate.loss - certificate.bound <= data.total + 4e-6 * truth + 2


@pytest.mark.parametrize("activation", ["step", "sign"])
def test_logistic_with_a_hidden_layer_reaches_the_best_of_all_activations(activation):
    data = samples(7, 5, 2)
    shape = Architecture.build(2, 2, (1,), BOX, activation=activation)
    t, lowest = 2 * data.y - 1, shape.layers[0].lowest
    layers = hidden_layers(data.X / data.scale, 1, 1.0, True, lowest)
    truth = min(least_logistic(H, t, data.multiplicity, 0.3, 1.0, True) for H in layers)
    certificate = train(Problem(shape, data, Logistic(0.3))).certificate
    assert certificate.loss == pytest.approx(truth, rel=1e-5, abs=data.total)
    assert certificate.bound <= truth + data.total / 2 + 1


@pytest.mark.parametrize("loss", [MaxCorrect(), Hamming()], ids=lambda loss: type(loss).__name__)
def test_three_classes_on_a_line(loss):
    """Outputs a_j = w_j x + b_j in order of slope separate three intervals; Hamming's bit of the middle cannot."""
    data = Dataset.merge([[-9], [-7], [0], [1], [7], [8]], [0, 0, 1, 1, 2, 2], scale=10)
    certificate = train(Problem(Architecture.build(1, 3, (), BOX), data, loss)).certificate
    assert certificate.loss == (0 if isinstance(loss, MaxCorrect) else 2)
    assert certificate.optimal


@pytest.mark.parametrize("seed", range(3))
def test_argmax_of_three_classes_is_a_set_of_linear_programs(seed):
    data = samples(30 + seed, 5, 1, classes=3)
    problem = Problem(Architecture.build(1, 3, (), BOX), data, MaxCorrect())
    x, truth = data.X[:, 0] / data.scale, None
    for wrong in sorted(itertools.product([0, 1], repeat=5), key=lambda w: np.array(w) @ data.multiplicity):
        rows, limits = [], []
        for k in np.flatnonzero(np.array(wrong) == 0):
            for j in set(range(3)) - {int(data.y[k])}:
                row = np.zeros(6)
                row[[j, 3 + j]], row[[data.y[k], 3 + data.y[k]]] = (x[k], 1), (-x[k], -1)
                rows.append(row)
                limits.append(-1e-4 if j < data.y[k] else 0.0)
        if not rows or linprog(np.zeros(6), np.array(rows), limits, bounds=[(-1, 1)] * 6).status == 0:
            truth = int(np.array(wrong) @ data.multiplicity)
            break
    assert train(problem).certificate.loss == truth


@pytest.mark.parametrize("seed", range(3))
def test_sat_margin_is_the_published_condition_in_real_units(seed):
    data = samples(50 + seed, 6, 2)
    shape = Architecture.build(2, 2, (2,), [TERNARY, BOX], activation="sign")
    X, B = data.X / data.scale, 3.0
    best = data.total
    for H in hidden_layers(X, 2, 1.0, True, -1.0, TERNARY):
        A = np.column_stack([H, np.ones(len(H))]) * (2 * data.y - 1)[:, None]
        for short in itertools.product([False, True], repeat=len(H)):
            cost = int(np.array(short) @ data.multiplicity)
            if cost >= best:
                continue
            kept = -A[~np.array(short)]
            if (
                not len(kept)
                or linprog(np.zeros(3), kept, np.full(len(kept), -B / 4), bounds=[(-1, 1)] * 3).status == 0
            ):
                best = cost
    assert train(Problem(shape, data, SatMargin())).certificate.loss == best


def test_min_weight_counts_the_fewest_real_weights():
    """Class 1 iff x_0 > 0.25 or so: a weight and a bias; behind a step unit, one more weight that forbids class 1."""
    data = Dataset.merge([[0, 3], [2, 9], [4, 1], [9, 5]], [0, 0, 1, 1], scale=10)
    flat = train(Problem(Architecture.build(2, 2, (), BOX), data, MinWeight()))
    assert flat.certificate.loss == 2
    deep = train(Problem(Architecture.build(2, 2, (2,), BOX, activation="step"), data, MinWeight()))
    assert deep.certificate.loss == 3
    inseparable = Dataset.merge([[0], [1], [2]], [0, 1, 0])
    hard = Problem(Architecture.build(1, 2, (), BOX), inseparable, MinWeight())
    assert Exact(Solver.create("highs")).train(hard, Limits(seconds=30)).status is Status.INFEASIBLE


def test_sparsity_and_neurons_have_their_price():
    data = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    shape = Architecture.build(2, 2, (3,), BOX, activation="step")
    result = train(Problem(shape, data, MaxCorrect(), (NeuronCount(0.25),)))
    assert result.certificate.loss_value == pytest.approx(0.5)
    assert int(result.network.live_units(0).sum()) == 2
    sparse = train(Problem(shape, data, MaxCorrect(), (Sparsity(0.01),)))
    assert sparse.certificate.loss_value == pytest.approx(0.06)
    budget = train(Problem(shape, data, MaxCorrect(), (Sparsity(max_nonzeros=4),)))
    assert budget.certificate.loss == 1


@pytest.mark.parametrize("loss", [MaxCorrect(), Logistic(0.5)], ids=lambda loss: type(loss).__name__)
def test_constant_and_negative_features_and_large_scales(loss):
    X = np.array([[5, -9_000, 7], [5, -2_000, 7], [5, 3_000, 7], [5, 9_999, 7]])
    data = Dataset.merge(X, [0, 0, 1, 1], scale=10_000)
    result = train(Problem(Architecture.build(3, 2, (1,), BOX, activation="step"), data, loss))
    assert not result.network.weights[0][[0, 2]].any()
    if isinstance(loss, MaxCorrect):
        assert result.certificate.loss == 0


def test_equal_samples_of_two_classes_are_one_error():
    data = Dataset.merge([[1], [1], [3]], [0, 1, 1])
    assert train(Problem(Architecture.build(1, 2, (), BOX), data, MaxCorrect())).certificate.loss == 1
    assert train(Problem(Architecture.build(1, 2, (), BOX, outputs=2), data, Hamming())).certificate.loss == 2


# Refusals


@pytest.mark.parametrize("solver", ["cpsat", "brute_force"])
def test_solvers_in_integers_refuse_continuous_weights_before_any_work(solver, monkeypatch):
    problem = Problem(Architecture.build(2, 2, (), BOX), samples(1, 5, 2), MaxCorrect())
    monkeypatch.setattr(Problem, "encode", lambda *_: pytest.fail("the model was built"))
    with pytest.raises(CapabilityError, match="continuous; choose highs"):
        Exact(Solver.create(solver)).train(problem, Limits(seconds=5))


@pytest.mark.parametrize("loss", [MaxMargin(), MinHinge()], ids=repr)
def test_losses_in_units_of_the_grid_refuse_continuous_outputs(loss):
    with pytest.raises(InputError, match="integer weights"):
        Problem(Architecture.build(2, 2, (), BOX), samples(1, 5, 2), loss)


# Published instances, from their data


def published():
    index = FOLDER / "index.json"
    entries = json.loads(index.read_text()) if index.exists() else []
    return [e for e in entries if e["name"].startswith("bdnn") and e["optimum"] is not None]


@pytest.mark.shared
def test_the_four_instances_are_there():
    assert len(published()) == 4 or not FOLDER.exists()


@pytest.mark.shared
@pytest.mark.parametrize("solver", ["highs", "scip", "gurobi"])
@pytest.mark.parametrize("thresholds", ["zero", "free"])
@pytest.mark.parametrize("loss", [MaxCorrect(), Hamming()], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("entry", published(), ids=lambda e: e["name"].removeprefix("bdnn_exact_"))
def test_our_model_reaches_the_published_optimum(entry, loss, thresholds, solver):
    """The published objective omits a constant: errors = optimum + number of class-1 samples.

    With thresholds at 0, a constant feature c is a threshold of the first layer within -c..c. Weights of
    constant features are 0 in this library, which is why it stands as such in the architecture.
    """
    if not load("provenn.solvers", solver).available():
        pytest.skip(f"{solver} is not installed")
    given = json.loads((FOLDER / entry["data"]).read_text())
    scale = 10_000 if "Uniform" in entry["name"] else 1
    X = np.rint(np.array(given["train_x"]) * scale).astype(np.int64)
    data = Dataset.merge(X, given["y"], scale=scale)
    free = IntegerDomain.continuous(100.0) if thresholds == "free" else None
    shape = Architecture.build(X.shape[1], 2, (given["d2"],), BOX, free, activation="step")
    if free is None and not data.live.all():
        constant = IntegerDomain.continuous(float(np.abs(X[0, ~data.live]).sum()) / scale)
        shape = Architecture((replace(shape.layers[0], bias=constant), *shape.layers[1:]))
    certificate = train(Problem(shape, data, loss), solver, 120.0).certificate
    errors = round(entry["optimum"]) + sum(given["y"])
    assert certificate.optimal
    assert certificate.loss == errors == 0


# Tangents in real units


@pytest.mark.parametrize("tau", [0.01, 1.0, 1e4])
@pytest.mark.parametrize("unit", [2**20, 10_000 * 2**20])
def test_tangents_of_real_scores_are_valid_and_within_rounding_of_tight(tau, unit):
    curve, reach = Logistic(tau).curve(Architecture.build(1, 2, (), BOX), Dataset.merge([[0], [1]], [0, 1])), 50 * unit
    curve = replace(curve, tau=tau * unit)
    points = _spread(curve, reach)
    q, p, c = (part[0] for part in _tangents(curve, points[None, :], reach, unit))
    assert len(points) <= 26
    every = np.unique(np.rint(np.linspace(-reach, reach, 2001))).astype(np.int64)
    height = c[:, None] + p[:, None] * (every / unit)
    table = curve.exact(every)
    assert np.all(q == 1)
    assert np.all(height <= table + 1e-9 * np.abs(table))
    touching = c + p * (points / unit)
    assert np.all(curve.exact(points) - touching <= 1.01 + 1e-9 * curve.exact(points))
    gap = (table - height.max(axis=0)) / 1e6
    assert gap.max() < 0.06
