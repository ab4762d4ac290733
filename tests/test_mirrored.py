"""Two outputs of opposite signs: the published rule is met and the predictions stay."""

import numpy as np
import pytest

from provenn.formulations import Problem
from provenn.losses.max_correct import MaxCorrect
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.trainers._mirrored import mirrored, single_output_problem
from provenn.trainers.portfolio import Portfolio


def published(rng, hidden=(3,), domain=None, activation="sign", bias="same"):
    domain = domain or IntegerDomain.symmetric(2)
    shape = Architecture.build(5, 2, hidden, domain, bias, outputs=2, activation=activation)
    return Problem(shape, Dataset.merge(rng.integers(0, 2, (40, 5)), rng.integers(0, 2, 40)), MaxCorrect("published"))


@pytest.mark.parametrize("seed", range(30))
def test_mirrored_networks_fire_one_output_and_predict_the_same(seed):
    rng = np.random.default_rng(seed)
    problem = published(rng, [(3,), (4, 2)][seed % 2])
    single = single_output_problem(problem)
    network = IntegerNetwork.random(single.architecture, rng)
    if abs(int(network.biases[-1][0])) == 2:
        return
    both = mirrored(network, problem.architecture)
    X = problem.dataset.X
    assert ((both.scores(X) >= 0).sum(axis=1) == 1).all()
    assert np.array_equal(both.predict(X), network.predict(X))
    assert problem.value(both) == single.value(network)


@pytest.mark.parametrize("seed", range(30))
def test_behind_steps_one_output_fires_wherever_the_bias_has_room(seed):
    rng = np.random.default_rng(seed)
    problem = published(rng, [(3,), (4, 2)][seed % 2], activation="step")
    single = single_output_problem(problem)
    network = IntegerNetwork.random(single.architecture, rng)
    both = mirrored(network, problem.architecture)
    X = problem.dataset.X
    assert np.array_equal(both.scores(X)[:, 1], network.scores(X)[:, 0])
    room = network.biases[-1][0] < 2
    assert ((both.scores(X) >= 0).sum(axis=1) == 1).all() or not room
    assert (
        problem.value(both) == single.value(network) if room else problem.value(both) in (None, single.value(network))
    )


def test_only_where_it_is_exact():
    rng = np.random.default_rng(0)
    assert single_output_problem(published(rng, ())) is None
    argmax = published(rng)
    assert single_output_problem(Problem(argmax.architecture, argmax.dataset, MaxCorrect())) is None
    lopsided = published(rng, domain=IntegerDomain(0, 2))
    assert single_output_problem(lopsided) is None
    assert single_output_problem(published(rng, activation="step", bias=None)) is None
    assert single_output_problem(published(rng, domain=IntegerDomain.binary(), activation="step")) is None
    assert single_output_problem(published(rng, domain=IntegerDomain.continuous())) is None


@pytest.mark.parametrize("activation", ["sign", "step"])
def test_the_search_reaches_few_errors_under_the_published_rule(activation):
    rng = np.random.default_rng(1)
    X = rng.integers(0, 2, (150, 12))
    data = Dataset.merge(X, (X[:, :4].sum(axis=1) > X[:, 4:8].sum(axis=1)).astype(int))
    shape = Architecture.build(12, 2, (4,), outputs=2, activation=activation)
    problem = Problem(shape, data, MaxCorrect("published"))
    result = Portfolio(bounds=False, gradient=False).train(problem, Limits(600, 300))
    assert result.certificate.loss < 10
