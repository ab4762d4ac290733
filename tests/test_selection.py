"""Choices on validation data: splits, trials, the chosen setting, early stopping, resuming."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris

from provenn import IntegerNetworkClassifier
from provenn.errors import CapabilityError, InputError
from provenn.formulations import Problem
from provenn.formulations.sparsity import Sparsity
from provenn.losses.cross_entropy import CrossEntropy
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.selection import Setting, held_out, scheme_of, select, temperatures
from provenn.status import Status
from provenn.trainers import Trainer, TrainResult
from provenn.trainers._base import OnProgress, Record
from provenn.trainers.convex import Convex
from provenn.trainers.early_stopping import EarlyStopping
from provenn.trainers.gradient import Gradient


@pytest.fixture(scope="module")
def noisy():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (120, 8))
    y = (X[:, 0] + X[:, 1] + (rng.random(120) < 0.2) > 1).astype(int)
    return Dataset.merge(X, y)


def flat_problem(data, setting):
    shape = Architecture.build(data.n_features, data.n_classes)
    return Problem(shape, data, Logistic(setting.temperature))


def trials_of(data, validation, settings):
    return select(
        [lambda best: settings], settings[0], data, flat_problem, lambda s: Convex(), validation, Limits(600, 1)
    )


def test_the_smallest_validation_loss_wins_and_repeats(noisy):
    settings = [Setting(t) for t in (0.05, 0.5, 5.0)]
    for validation in (0.25, 4):
        first, second = trials_of(noisy, validation, settings), trials_of(noisy, validation, settings)
        assert [t.setting for t in first.trials] == settings
        assert first.setting == min(first.trials, key=lambda t: t.loss).setting
        assert first.trials == second.trials
        assert all(0 < t.loss < np.inf and 0.4 < t.accuracy <= 1 for t in first.trials)
    one, folds = trials_of(noisy, 0.25, settings), trials_of(noisy, 4, settings)
    assert one.trials != folds.trials
    assert "25%" in one.scheme
    assert "4-fold" in folds.scheme


def test_trials_see_only_their_part(noisy):
    sizes = []

    @dataclass(frozen=True)
    class Spy(Trainer):
        def train(self, problem, limits, start=None, on_progress=None):
            sizes.append(problem.dataset.n_samples)
            return Convex().train(problem, limits, start, on_progress)

    select([lambda best: [best]], Setting(1.0), noisy, flat_problem, lambda s: Spy(), 5, Limits(600, 1))
    assert len(sizes) == 5
    assert sum(noisy.n_samples - size for size in sizes) == noisy.n_samples


def test_an_interrupt_keeps_what_was_tried(noisy):
    calls = []

    @dataclass(frozen=True)
    class Impatient(Trainer):
        def train(self, problem, limits, start=None, on_progress=None):
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return Convex().train(problem, limits, start, on_progress)

    settings = [Setting(0.5), Setting(1.0), Setting(2.0)]
    choice = select(
        [lambda best: settings], settings[1], noisy, flat_problem, lambda s: Impatient(), 0.25, Limits(600, 1)
    )
    assert choice.interrupted
    assert choice.setting == settings[0]
    assert choice.network is not None


def test_few_samples_keep_the_usual_setting():
    data = Dataset.merge([[0], [1], [2]], [0, 1, 0])
    choice = trials_of(data, 0.25, [Setting(3.0), Setting(1.0)])
    assert choice.setting == Setting(3.0)
    assert not choice.trials


@pytest.mark.parametrize("bad", [0.0, 1.0, 1, 0, -1, True, "half", 1.5])
def test_bad_validation_is_refused(bad):
    with pytest.raises(InputError, match="validation"):
        scheme_of(bad)
    with pytest.raises(InputError, match="validation"):
        IntegerNetworkClassifier(validation=bad).fit([[0.0], [1.0]], [0, 1])


def test_held_out_samples_are_stratified_and_fixed():
    rng = np.random.default_rng(1)
    data = Dataset.merge(rng.random((200, 3)).round(3) * 1000, np.repeat([0, 1, 2, 2], 50))
    mask = held_out(data, 0.2)
    assert np.array_equal(mask, held_out(data, 0.2))
    assert np.bincount(data.y[mask]).tolist() == [10, 10, 20]
    rare = Dataset.merge([[i] for i in range(6)], [0, 1, 2, 0, 0, 0])
    assert held_out(rare, 0.3).sum() == 2


def test_temperatures_follow_the_weights():
    flat = temperatures(Architecture.build(3, 2))
    assert temperatures(Architecture.build(3, 2, (16,)))[0] == 4.0
    assert len(set(flat)) == len(flat)


def test_auto_beats_a_poor_temperature():
    X, y = load_iris(return_X_y=True)
    auto = IntegerNetworkClassifier(weight_bound=3, node_limit=1, time_limit=600).fit(X, y)
    fixed = IntegerNetworkClassifier(weight_bound=3, temperature=6.0, node_limit=1, time_limit=600).fit(X, y)
    assert auto.score(X, y) > fixed.score(X, y)
    assert auto.selection_.setting.temperature == auto.loss_.temperature
    assert fixed.selection_ is None
    folds = IntegerNetworkClassifier(validation=3, node_limit=1, time_limit=600).fit(X, y)
    assert folds.selection_.scheme.startswith("3-fold")


def test_auto_price_is_one_of_the_trials():
    X, y = load_breast_cancer(return_X_y=True)
    model = IntegerNetworkClassifier(temperature=0.5, nonzero_price="auto", node_limit=1, time_limit=600).fit(X, y)
    prices = [t.setting.nonzero_price for t in model.selection_.trials]
    assert prices == [0.0, 0.5, 1.0, 2.0, 4.0]
    assert model.selection_.setting.nonzero_price in prices


def test_unusable_numbers_are_refused():
    for options in (
        {"temperature": "warm"},
        {"nonzero_price": "cheap"},
        {"neuron_price": "auto"},
        {"temperature": True},
    ):
        with pytest.raises(InputError, match="must be a number"):
            IntegerNetworkClassifier(**options).fit([[0.0], [1.0]], [0, 1])


@dataclass(frozen=True)
class Sequence(Trainer):
    """Tells of given networks one after the other."""

    networks: tuple[IntegerNetwork, ...]

    def train(self, problem: Problem, limits: Limits, start: object = None, on_progress: OnProgress | None = None):
        record = Record(problem, on_progress)
        for network in self.networks:
            record.offer(network)
        return record.finish(Status.OPTIMAL, None)


def test_early_stopping_keeps_the_fewest_held_out_errors(noisy):
    shape = Architecture.build(8, 2)
    rng = np.random.default_rng(3)
    problem = Problem(shape, noisy, Logistic())
    outside = held_out(noisy, 0.3)
    part = replace(problem, dataset=noisy.subset(~outside))
    networks = sorted((IntegerNetwork.random(shape, rng) for _ in range(40)), key=lambda n: -part.value(n))
    result: TrainResult = EarlyStopping(Sequence(tuple(networks)), tuple(outside.tolist())).train(problem, Limits(1))
    data = noisy.subset(outside)

    def errors(network):
        return int(data.multiplicity[network.predict(data.X) != data.y].sum())

    assert errors(result.network) == min(map(errors, networks))
    assert result.certificate.loss == problem.value(result.network)
    assert result.certificate.bound is None
    assert result.status is Status.HELD_OUT
    assert f"{errors(result.network)} errors" in result.message


def test_early_stopping_through_the_estimator():
    X, y = load_breast_cancer(return_X_y=True)
    model = IntegerNetworkClassifier((3,), temperature=2.0, early_stopping=True, solver="search", time_limit=3).fit(
        X, y
    )
    assert model.score(X, y) > 0.85
    assert "held-out" in model.message_


def test_resume_keeps_the_chosen_temperature(tmp_path):
    X, y = load_iris(return_X_y=True)
    options = {"node_limit": 2, "time_limit": 600, "checkpoint": str(tmp_path / "run.json")}
    first = IntegerNetworkClassifier(**options).fit(X, y)
    again = IntegerNetworkClassifier(**options, resume=True).fit(X, y)
    assert again.loss_ == first.loss_
    assert again.selection_ is None
    assert again.certificate_.loss <= first.certificate_.loss
    with pytest.raises(InputError, match="exists"):
        IntegerNetworkClassifier(**options).fit(X, y)
    with pytest.raises(InputError, match="another problem"):
        IntegerNetworkClassifier(**options, resume=True, weight_bound=2).fit(X, y)
    with pytest.raises(InputError, match="portfolio"):
        IntegerNetworkClassifier(**options, resume=True, solver="cpsat").fit(X, y)


def test_gradient_refuses_what_it_cannot_do(noisy):
    for problem in (_priced(noisy), Problem(Architecture.build(8, 2, outputs=2), noisy, MaxCorrect("published"))):
        with pytest.raises(CapabilityError, match="gradient"):
            Gradient().train(problem, Limits(1))


def _priced(data):
    return Problem(Architecture.build(8, 2), data, Logistic(), (Sparsity(0.5),))


def test_gradient_trains_and_certifies(noisy):
    pytest.importorskip("torch")
    problem = Problem(Architecture.build(8, 2, (3,)), noisy, CrossEntropy())
    first, second = (Gradient().train(problem, Limits(600, 1, seed=4)) for _ in range(2))
    assert first.network.equals(second.network)
    assert first.certificate.loss == problem.value(first.network)
    assert first.certificate.bound is None
    assert float(np.mean(first.network.predict(noisy.X) == noisy.y)) > 0.7
