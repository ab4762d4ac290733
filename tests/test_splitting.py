"""Data splitting: restricted models are what they claim, the last one is exact, and figures count what was solved."""

import itertools
import time
from dataclasses import replace
from threading import get_ident

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from provenn.errors import CapabilityError, InputError
from provenn.formulations import Problem
from provenn.formulations.shared_activations import Representatives, SharedActivations
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.max_margin import MaxMargin
from provenn.losses.min_weight import MinWeight
from provenn.losses.sat_margin import SatMargin
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.network.quantize import Grid
from provenn.solvers import Solver
from provenn.status import Status
from provenn.testing.toys import all_networks, best_value, count_networks, odd_problem, optimum, random_dataset
from provenn.trainers._splitting_lines import refinements, refitted, steps_towards
from provenn.trainers._splitting_model import Restricted
from provenn.trainers._splitting_parts import Parts
from provenn.trainers._splitting_settle import settled
from provenn.trainers._splitting_start import linear_starts
from provenn.trainers.early_stopping import EarlyStopping
from provenn.trainers.exact import Exact
from provenn.trainers.splitting import Splitting, SplittingResult

ADDITIVE = [MaxCorrect(), MaxCorrect("published"), SatMargin(), Logistic()]
BOX, WIDE = IntegerDomain.continuous(1.0, bits=10), IntegerDomain.continuous(4.0, bits=10)
DOMAINS = [IntegerDomain.binary(), IntegerDomain.ternary(), IntegerDomain(-3, 3, 2), IntegerDomain.symmetric(2), BOX]


def toys(loss, seed, count, most=3000, n=7, d=2):
    """Yield odd problems with a hidden layer and an additive loss."""
    rng, found = np.random.default_rng(seed), 0
    while found < count:
        problem = odd_problem(rng, loss, (2,) if rng.random() < 0.6 else (1,), n, d, most)
        if problem is None or not problem.loss.additive(problem.architecture):
            continue
        if len(np.unique(problem.dataset.y)) > 1:
            found += 1
            yield rng, problem


def some_problem(rng, domain, activation, hidden=(2,), n=12, loss=None):
    data = random_dataset(rng, n, 3, 2, 4)
    bias = WIDE if domain.continuous_box else IntegerDomain.symmetric(3) if rng.random() < 0.6 else domain
    shape = Architecture.build(3, 2, hidden, domain, bias, activation=activation)
    return Problem(shape, data, loss or MaxCorrect())


def some_parts(rng, data, count):
    cut = rng.integers(0, count, data.n_samples)
    return Parts(data, tuple(np.flatnonzero(cut == c) for c in np.unique(cut)))


def share(network, parts):
    """Whether the samples of every part have the same activations in the first hidden layer."""
    h = network.trace(parts.data.X).activations[0]
    return all((h[rows] == h[rows[0]]).all() for rows in parts.rows)


def everyone(model):
    return model.with_members(np.arange(len(model.members)))


def likely(rng, problem):
    """A random network, half of the time with large first biases, so that parts often share activations."""
    network = IntegerNetwork.random(problem.architecture, rng, problem.dataset.scale)
    bias = problem.architecture.layers[0].bias
    if bias is None or rng.random() < 0.5:
        return network
    far = np.where(rng.random(len(network.biases[0])) < 0.5, bias.low, bias.high)
    return replace(network, biases=(far, *network.biases[1:]))


@pytest.mark.parametrize("activation", ["sign", "step"])
@pytest.mark.parametrize("domain", DOMAINS, ids=str)
def test_the_restricted_problem_admits_what_shares_activations_at_its_exact_loss(domain, activation):
    """Of every network the problem, and the rows of its MILP, say what a look at all samples says."""
    rng, seen = np.random.default_rng(3), {True: 0, False: 0}
    for _ in range(15):
        problem = some_problem(rng, domain, activation)
        parts = some_parts(rng, problem.dataset, int(rng.integers(2, 6)))
        restricted = everyone(Restricted.of(problem, parts))
        encoding = restricted.encode()
        for _ in range(10):
            network = likely(rng, problem)
            holds = share(network, parts) and problem.value(network) is not None
            assert restricted.value(network) == (problem.value(network) if holds else None)
            violation = encoding.milp.violation(encoding.encode(network))
            assert (violation <= (1e-9 if domain.continuous_box else 0)) == holds
            seen[holds] += 1
    assert min(seen.values()) > 5


@pytest.mark.parametrize("loss", ADDITIVE, ids=repr)
def test_the_restricted_optimum_is_that_of_all_networks_that_share_activations(loss):
    for rng, problem in toys(loss, seed=2, count=3):
        parts = some_parts(rng, problem.dataset, 3)
        model = everyone(Restricted.of(problem, parts))
        values = [problem.value(network) for network in all_networks(problem) if share(network, parts)]
        least = min((value for value in values if value is not None), default=None)
        result = Exact(Solver.create("cpsat")).train(model, Limits(seconds=60))
        assert (result.certificate.loss if result.certificate else None) == least
        assert least is None or result.certificate.bound == least


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("loss", ADDITIVE, ids=repr)
def test_until_single_points_the_result_is_the_proven_optimum(loss, per_class):
    for _, problem in toys(loss, seed=5, count=2):
        heard = []
        result = Splitting(per_class=per_class).train(problem, Limits(seconds=100), None, heard.append)
        best = optimum(problem)
        if best is None:
            assert result.status is Status.INFEASIBLE
            continue
        assert result.certificate.loss == problem.value(result.network) == best
        assert result.status is Status.OPTIMAL
        assert result.certificate.bound == best
        losses = [progress.loss for progress in heard if progress.loss is not None]
        assert all(one >= two for one, two in itertools.pairwise(losses))
        last = result.rounds[-1] if result.rounds else None
        assert last is None or last.loss == best


def test_a_restricted_model_proves_nothing():
    """Two parts of a problem whose classes no pair of parts separates: the loss is kept, a bound is not."""
    rng = np.random.default_rng(0)
    data = Dataset.merge(rng.integers(0, 9, (30, 2)), rng.integers(0, 2, 30))
    problem = Problem(Architecture.build(2, 2, (1,)), data, MaxCorrect())
    result = Splitting(max_parts=2).train(problem, Limits(seconds=2))
    assert result.status is Status.TIME_LIMIT
    assert result.certificate.bound is None
    assert {entry.bound for entry in result.history} == {None}
    assert {one.parts for one in result.rounds} == {2}


def test_features_that_vary_among_members_keep_their_weights():
    """Both representatives have the same first feature, which is the only one that counts."""
    data = Dataset.merge([[0, 3], [2, 3], [4, 3]], [0, 1, 0])
    parts = Parts(data, (np.array([0, 1]), np.array([2])))
    shape = Architecture.build(2, 2, (1,), bias=IntegerDomain.symmetric(3))
    model = Restricted.of(Problem(shape, data, MaxCorrect()), parts)
    assert isinstance(model.samples, Representatives)
    assert model.samples.live.tolist() == [True, False]
    network = IntegerNetwork.of(shape, [[[1], [0]], [[1]]], [[-3], [0]])
    encoding = everyone(model).encode()
    assert encoding.decode(encoding.encode(network)).equals(network)


def test_labels_of_a_mixed_part_share_one_pattern_and_keep_their_weight():
    data = Dataset.merge([[0], [1], [2], [8]], [0, 1, 1, 0], [1, 2, 3, 4])
    problem = Problem(Architecture.build(1, 2, (1,), bias=IntegerDomain.symmetric(9)), data, MaxCorrect())
    model = Restricted.of(problem, Parts(data, (np.array([0, 1, 2]), np.array([3]))))
    assert model.joined.tolist() == [[0, 1]]
    assert model.samples.multiplicity.tolist() == [1, 5, 4]
    assert model.samples.y.tolist() == [0, 1, 0]
    cuts = [IntegerNetwork.of(problem.architecture, [[[1]], [[1]]], [[-cut], [0]]) for cut in (1, 5)]
    assert [everyone(model).value(cut) for cut in cuts] == [None, problem.value(cuts[1])]


def test_members_enter_the_model_until_none_is_violated():
    rng = np.random.default_rng(1)
    problem = some_problem(rng, IntegerDomain.symmetric(3), "step", n=60)
    model = Restricted.of(problem, some_parts(rng, problem.dataset, 3))
    for _ in range(200):
        network = likely(rng, problem)
        places = model.violated(network)
        assert (len(places) == 0) == (everyone(model).value(network) is not None)
        assert np.isin(places, np.arange(len(model.members))).all()
        assert len(places) == 0 or model.with_members(places).value(network) is None
    few = model.outermost()
    X = problem.dataset.X
    for place in np.unique(model.leader):
        mine = model.members[model.leader == place]
        held = X[model.members[few[model.leader[few] == place]]]
        assert held.min(axis=0).tolist() == X[mine].min(axis=0).tolist()
        assert held.max(axis=0).tolist() == X[mine].max(axis=0).tolist()


def test_a_minibatch_enforces_only_its_samples():
    data = Dataset.merge(np.arange(20)[:, None], np.arange(20) // 10)
    problem = Problem(Architecture.build(1, 2, (1,), bias=None), data, MaxCorrect())
    sample = np.isin(np.arange(20), [2, 3, 4])
    model = Restricted.of(problem, Parts.first(data, per_class=True), sample)
    assert sorted([*model.members.tolist(), *model.samples.X[:, 0].tolist()]) == [2, 3, 4, 10]
    assert model.samples.multiplicity.tolist() == [10, 10]


@pytest.mark.parametrize("seed", range(6))
def test_parts_cover_the_data_and_end_as_single_points(seed):
    rng = np.random.default_rng(seed)
    data = random_dataset(rng, 40, 2, 3, 5)
    network = IntegerNetwork.random(Architecture.build(2, 3, (2,)), rng, data.scale)
    parts = Parts.first(data, bool(seed % 2), network)
    assert share(network, parts)
    finer = parts.split(7, lambda rows: float(rng.random()), seed)
    assert len(finer.rows) == len(parts.rows) + 7
    for rows in finer.rows:
        assert any(np.isin(rows, old).all() for old in parts.rows)
    last = finer.split(1000, len, seed)
    assert last.final
    assert not parts.final
    for some in (parts, finer, last):
        assert sorted(np.concatenate(some.rows).tolist()) == list(range(data.n_samples))
    assert all((data.X[rows] == data.X[rows[0]]).all() for rows in last.rows)


def test_the_part_with_the_largest_loss_is_split_first():
    data = Dataset.merge(np.arange(12)[:, None], [0] * 8 + [1] * 4)
    parts = Parts.first(data, per_class=True)
    split = parts.split(1, lambda rows: float((data.y[rows] == 1).sum()), 0)
    assert sorted(rows.tolist() for rows in split.rows) == [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9], [10, 11]]


def test_k_means_that_does_not_divide_leaves_it_to_labels_and_medians(monkeypatch):
    class One:
        def __init__(self, *given, **named): ...

        def fit_predict(self, X):
            return np.zeros(len(X), dtype=int)

    monkeypatch.setattr("sklearn.cluster.KMeans", One)
    data = Dataset.merge([[0, 0], [0, 1], [0, 7], [0, 7]], [0, 0, 0, 1])
    labels = Parts.first(data, per_class=False).split(1, len, 0)
    assert sorted(rows.tolist() for rows in labels.rows) == [[0, 1, 2], [3]]
    pure = Parts(data, (np.array([0, 1, 2]),)).split(1, len, 0)
    assert sorted(len(rows) for rows in pure.rows) == [1, 2]
    assert Parts(data, pure.rows).split(9, len, 0).final


@pytest.mark.parametrize("activation", ["sign", "step"])
@pytest.mark.parametrize("domain", DOMAINS, ids=str)
@pytest.mark.parametrize("loss", [MaxCorrect(), Logistic(), SatMargin()], ids=repr)
def test_a_refitted_threshold_is_the_best_of_all(domain, activation, loss):
    """With one unit the bias is the best of the whole domain; with more, no bias alone is better."""
    rng = np.random.default_rng(7)
    for hidden in ((1,), (2,), (2, 2)):
        problem = some_problem(rng, domain, activation, hidden, loss=loss)
        network = likely(rng, problem)
        before, better = problem.value(network), refitted(network, problem)
        after = problem.value(better)
        assert before is None or (after is not None and after <= before)
        biases = problem.architecture.layers[0].bias.values
        for j in range(hidden[0]):
            for b in biases[:: max(1, len(biases) // 200)]:
                changed = better.biases[0].copy()
                changed[j] = b
                value = problem.value(replace(better, biases=(changed, *better.biases[1:])))
                assert value is None or after is None or after <= value


def test_refitting_keeps_one_sided_and_missing_biases():
    rng = np.random.default_rng(2)
    data = random_dataset(rng, 15, 2, 2, 3)
    for bias in (None, IntegerDomain(0, 0), IntegerDomain(-2, 0), IntegerDomain.binary()):
        problem = Problem(Architecture.build(2, 2, (2,), bias=bias), data, MaxCorrect())
        network = IntegerNetwork.random(problem.architecture, rng, data.scale)
        assert problem.value(refitted(network, problem)) <= problem.value(network)


def test_steps_reach_the_best_network_of_the_line():
    rng = np.random.default_rng(11)
    for _ in range(10):
        problem = some_problem(rng, BOX, "step", (1,), n=25)
        one, two = (IntegerNetwork.random(problem.architecture, rng, problem.dataset.scale) for _ in range(2))
        two = replace(two, weights=(two.weights[0], one.weights[1]), biases=(two.biases[0], one.biases[1]))
        found = [problem.value(settled(step, problem.dataset.X)) for step in steps_towards(one, two, problem)]
        ends = [np.vstack([net.weights[0], net.biases[0]]) for net in (one, two)]
        for t in np.linspace(0, 1, 101):
            middle = np.rint(ends[0] + t * (ends[1] - ends[0])).astype(np.int64)
            network = replace(one, weights=(middle[:-1], one.weights[1]), biases=(middle[-1], one.biases[1]))
            value = problem.value(network)
            assert value is None or found[0] is None or found[0] <= value + 1


def test_refinements_are_networks_of_the_problem():
    rng = np.random.default_rng(4)
    for domain in DOMAINS:
        problem = some_problem(rng, domain, "step")
        one, two = (IntegerNetwork.random(problem.architecture, rng, problem.dataset.scale) for _ in range(2))
        found = list(refinements(one, two, problem))
        assert found
        assert all(network.architecture == problem.architecture for network in found)


def test_settled_networks_are_decided_by_the_least_shift():
    rng = np.random.default_rng(9)
    shape = Architecture.build(2, 2, (3,), BOX, WIDE, activation="step", margin=0.05)
    moved = 0
    for _ in range(50):
        network = IntegerNetwork.random(shape, rng, 10)
        X = rng.integers(0, 11, (40, 2))
        after = settled(network, X)
        assert after.decided(after.trace(X))
        changes = after.biases[0] - network.biases[0]
        moved += changes.any()
        for j in np.flatnonzero(changes):
            for t in range(-abs(changes[j]) + 1, abs(changes[j])):
                a = (X @ network.weights[0] + 10 * (network.biases[0] + t))[:, j]
                assert ((a < 0) & (a > -shape.margin(0, 10))).any()
    assert moved


def test_integer_networks_are_settled_as_they_are():
    network = IntegerNetwork.random(Architecture.build(2, 2, (3,)), np.random.default_rng(0))
    assert settled(network, np.array([[0, 1], [1, 1]])).equals(network)


@pytest.mark.parametrize("hidden", [(1,), (2,), (3, 2)], ids=str)
@pytest.mark.parametrize("activation", ["sign", "step"])
def test_linear_starts_separate_what_a_line_separates(activation, hidden):
    X = np.random.default_rng(0).integers(0, 101, (60, 3))
    data = Dataset.merge(X, X[:, 1] >= 40, scale=100)
    shape = Architecture.build(3, 2, hidden, BOX, WIDE, activation=activation)
    problem = Problem(shape, data, MaxCorrect())
    values = [problem.value(settled(network, data.X)) for network in linear_starts(shape, data)]
    assert min(value for value in values if value is not None) == 0


def test_three_classes_and_two_outputs_start_from_linear_scores():
    rng = np.random.default_rng(1)
    X = rng.integers(0, 101, (90, 2))
    corners = np.where(X[:, 0] > 60, 0, np.where(X[:, 1] > 60, 1, 2))
    for classes, outputs, y in ((3, 3, corners), (2, 2, X[:, 0] > 50)):
        data = Dataset.merge(X, y.astype(int), scale=100)
        shape = Architecture.build(2, classes, (3,), BOX, WIDE, outputs, activation="step")
        problem = Problem(shape, data, MaxCorrect())
        values = [problem.value(settled(network, data.X)) for network in linear_starts(shape, data)]
        assert min(value for value in values if value is not None) < data.n_samples / 3
    assert not list(linear_starts(Architecture.build(2, 3, (2,), BOX, WIDE), Dataset.merge(X, corners)))


def test_continuous_weights_reach_what_the_exact_model_reaches():
    rng = np.random.default_rng(6)
    for activation in ("sign", "step"):
        data = random_dataset(rng, 9, 2, 2, 4)
        shape = Architecture.build(2, 2, (2,), BOX, WIDE, activation=activation)
        problem = Problem(shape, data, MaxCorrect())
        exact = Exact(Solver.create("highs")).train(problem, Limits(seconds=60))
        result = Splitting().train(problem, Limits(seconds=60))
        assert result.certificate.loss == exact.certificate.loss == problem.value(result.network)
        assert result.certificate.bound in (None, result.certificate.loss)


@pytest.mark.parametrize("threads", [1, 2])
def test_minibatches_keep_the_best_network_on_all_samples(threads):
    rng = np.random.default_rng(8)
    X = rng.integers(0, 11, (300, 3))
    data = Dataset.merge(X, ((X[:, 0] > 6) ^ (rng.random(300) < 0.1)).astype(int), scale=10)
    problem = Problem(Architecture.build(3, 2, (2,), BOX, WIDE, activation="step"), data, MaxCorrect())
    heard = []
    trainer = Splitting(max_parts=12, batch_size=30, seconds_per_round=0.5).showing(heard.append)
    result = trainer.train(problem, Limits(seconds=8, threads=threads))
    assert result.status is Status.TIME_LIMIT
    assert result.certificate.bound is None
    assert result.certificate.loss == problem.value(result.network) == result.history[-1].loss
    assert len(heard) >= len(result.rounds) >= 2
    assert all(one.members <= 30 for one in result.rounds)
    assert result.rounds[-1].parts <= 12
    losses = [one.loss for one in result.rounds]
    assert losses == sorted(losses, reverse=True)


def test_message_and_figures_count_binaries():
    rng = np.random.default_rng(0)
    data = Dataset.merge(rng.integers(0, 9, (50, 2)), rng.integers(0, 2, 50))
    problem = Problem(Architecture.build(2, 2, (2, 1)), data, MaxCorrect())
    result = Splitting(max_parts=8, seconds_per_round=1).train(problem, Limits(seconds=4))
    assert isinstance(result, SplittingResult)
    assert all(one.binaries == 3 * one.parts for one in result.rounds)
    last, every = result.rounds[-1], 3 * data.n_samples
    assert f"{last.parts} parts, {last.binaries} activation binaries instead of {every}" in result.message
    assert [one.seconds for one in result.rounds] == sorted(one.seconds for one in result.rounds)


def test_no_worse_than_the_start_and_prices_count():
    from provenn.formulations.sparsity import Sparsity

    rng = np.random.default_rng(3)
    data = random_dataset(rng, 20, 3, 2, 4)
    shape = Architecture.build(3, 2, (2,), bias=IntegerDomain.symmetric(3))
    problem = Problem(shape, data, MaxCorrect(), (Sparsity(0.5, max_nonzeros=4),))
    start = Exact(Solver.create("cpsat")).train(problem, Limits(seconds=5)).network
    result = Splitting(max_parts=4).train(problem, Limits(seconds=1), start)
    assert problem.value(result.network) <= problem.value(start)
    assert result.network.nonzeros <= 4 + 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_parts": 0}, "max_parts must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"growth": 1.5}, "growth must lie in"),
        ({"seconds_per_round": 0}, "seconds_per_round must be above 0"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        Splitting(**options)


def test_problems_that_do_not_fit_are_refused_before_any_work():
    data = Dataset.merge([[0], [1], [2]], [0, 1, 0])
    deep = Problem(Architecture.build(1, 2, (1,)), data, MaxCorrect())
    told = []
    for problem, trainer, error, words in (
        (Problem(Architecture.build(1, 2), data, MaxCorrect()), Splitting(), CapabilityError, "no hidden layer"),
        (replace(deep, loss=MinWeight()), Splitting(), CapabilityError, "no sum over the samples"),
        (replace(deep, loss=MaxMargin()), Splitting(), CapabilityError, "no sum over the samples"),
        (deep, Splitting(max_parts=4), InputError, "more parts than samples"),
        (deep, Splitting(max_parts=1), InputError, "a part for each of 2 classes"),
        (deep, Splitting(max_parts=2), InputError, "give a time limit"),
    ):
        with pytest.raises(error, match=words):
            trainer.train(problem, Limits(), None, told.append)
    real = Problem(Architecture.build(1, 2, (1,), BOX), data, MaxCorrect())
    with pytest.raises(CapabilityError, match="no continuous weights"):
        Splitting(Solver.create("cpsat")).train(real, Limits(seconds=1), None, told.append)
    assert not told
    assert Splitting(max_parts=1, per_class=False).train(deep, Limits(seconds=1)).network is not None


def test_shared_activations_refuse_other_samples():
    data = Dataset.merge([[0], [1]], [0, 1])
    shape = Architecture.build(1, 2, (1,))
    other = np.array([[5], [6]])
    for samples, members, leader, words in (
        (other, other, np.array([0, 1]), "must be those of the problem"),
        (data.X, other[:, :0], np.array([0, 1]), "one value for each feature"),
        (data.X, other, np.array([0]), "one representative"),
        (data.X, other, np.array([0, 2]), "indices of samples"),
    ):
        with pytest.raises(InputError, match=words):
            Problem(shape, data, MaxCorrect(), (SharedActivations(samples, members, leader),))
    with pytest.raises(InputError, match="need a hidden layer"):
        Problem(Architecture.build(1, 2), data, MaxCorrect(), (SharedActivations(data.X, other, np.array([0, 1])),))


def test_ctrl_c_keeps_the_best_network():
    X, y = load_breast_cancer(return_X_y=True)
    data = Dataset.merge(Grid().fit_transform(X), y, scale=10_000)
    shape = Architecture.build(30, 2, (2,), BOX, WIDE, activation="step")
    problem, told = Problem(shape, data, MaxCorrect()), []

    def interrupt(progress):
        told.append(progress)
        if len(told) == 4:
            raise KeyboardInterrupt

    result = Splitting().train(problem, Limits(seconds=60), None, interrupt)
    assert result.status is Status.INTERRUPTED
    assert result.certificate.loss == problem.value(result.network) == told[-1].loss


def test_an_error_of_the_listener_ends_the_round_at_once():
    rng = np.random.default_rng(5)
    X = rng.integers(0, 1001, (400, 4))
    data = Dataset.merge(X, rng.integers(0, 2, 400), scale=1000)
    problem = Problem(Architecture.build(4, 2, (2,), BOX, WIDE, activation="step"), data, MaxCorrect())
    main, began = get_ident(), time.perf_counter()

    def listen(progress):
        if get_ident() != main:
            raise ZeroDivisionError

    trainer = Splitting(max_parts=40, batch_size=80, seconds_per_round=30)
    with pytest.raises(ZeroDivisionError):
        trainer.train(problem, Limits(seconds=60, threads=2), None, listen)
    assert time.perf_counter() - began < 45


def test_early_stopping_judges_a_network_of_every_round():
    rng = np.random.default_rng(2)
    X = rng.integers(0, 101, (200, 3))
    data = Dataset.merge(X, ((X[:, 0] > 60) ^ (rng.random(200) < 0.15)).astype(int), scale=100)
    held = rng.random(data.n_samples) < 0.4
    problem = Problem(Architecture.build(3, 2, (2,), BOX, WIDE, activation="step"), data, MaxCorrect())
    shown = []

    class Watched(Splitting):
        def showing(self, hear):
            return super().showing(lambda network: (shown.append(network), hear(network))[1])

    trainer = EarlyStopping(Watched(max_parts=20, batch_size=40, seconds_per_round=1), tuple(held.tolist()))
    result = trainer.train(problem, Limits(seconds=5))
    assert isinstance(result, SplittingResult)
    assert result.rounds
    assert len(shown) >= len(result.rounds)
    outside = data.subset(held)

    def errors(network):
        return int(outside.multiplicity[network.predict(outside.X) != outside.y].sum())

    judged = [settled(network, data.X) for network in (*shown, *(entry.network for entry in result.history))]
    assert errors(result.network) == min(errors(net) for net in judged if problem.value(net) is not None)
    assert result.certificate.loss == problem.value(result.network)
    assert result.certificate.bound is None
    assert f"{errors(result.network)} errors on {outside.total} held-out samples" in result.message


def test_few_parts_train_on_breast_cancer():
    X, y = load_breast_cancer(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(y))[:284]
    data = Dataset.merge(Grid().fit_transform(X)[rows], y[rows], scale=10_000)
    box = IntegerDomain.continuous(1.0)
    shape = Architecture.build(30, 2, (2,), box, IntegerDomain.continuous(30.0), activation="step")
    result = Splitting().train(Problem(shape, data, MaxCorrect()), Limits(seconds=15))
    assert result.certificate.loss < 12
    assert result.rounds[0].binaries <= 16
    assert result.certificate.bound in (None, 0)


def test_the_exact_model_gets_all_the_time_that_is_left():
    rng = np.random.default_rng(0)
    data = Dataset.merge(rng.integers(0, 1001, (60, 6)), rng.integers(0, 2, 60), scale=1000)
    problem = Problem(Architecture.build(6, 2, (3,), BOX, WIDE, activation="step"), data, MaxCorrect())
    result = Splitting(seconds_per_round=0.1).train(problem, Limits(seconds=9))
    assert result.rounds[-1].parts == 60
    assert result.status is Status.OPTIMAL or result.seconds > 8


def test_a_toy_with_step_units_and_two_outputs_is_solved_exactly():
    rng, found = np.random.default_rng(12), 0
    while found < 2:
        data = random_dataset(rng, 5, 2, 2, 3)
        shape = Architecture.build(2, 2, (1,), bias=IntegerDomain.symmetric(2), outputs=2, activation="step")
        problem = Problem(shape, data, MaxCorrect())
        if count_networks(problem) > 20_000:
            continue
        found += 1
        result = Splitting().train(problem, Limits(seconds=60))
        assert result.certificate.loss == result.certificate.bound == best_value(problem)
