import numpy as np
import pytest

from provenn.formulations import Problem
from provenn.losses.max_correct import MaxCorrect
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.search.descent import descend
from provenn.testing.toys import best_value, domains, losses, random_network, random_problem
from provenn.trainers._base import Record
from provenn.trainers._start import _deepened, warm_up


@pytest.mark.parametrize("loss", losses(), ids=repr)
def test_descent_is_never_worse_and_stays_in_the_domain(loss):
    rng = np.random.default_rng(5)
    for domain in domains():
        problem = random_problem(rng, loss, (2,), domain)
        start = None if problem is None else random_network(rng, problem)
        if start is None or problem.value(start) is None:
            continue
        better = []
        best = descend(start, problem.value, rng, 200, on_better=better.append)
        values = [problem.value(start), *map(problem.value, better)]
        assert values == sorted(set(values), reverse=True)
        assert problem.value(best) == values[-1]


def test_descent_finds_optima_of_toys():
    rng = np.random.default_rng(1)
    for _ in range(5):
        problem = random_problem(rng, MaxCorrect(), (), IntegerDomain.ternary(), d=2)
        start = IntegerNetwork.constant(problem.architecture, 0, problem.dataset.scale)
        best = descend(start, problem.value, rng, 3000)
        assert problem.value(best) == best_value(problem)


def test_descent_stops_when_told_and_repeats_itself():
    data = Dataset.merge(np.random.default_rng(0).integers(0, 9, (40, 5)), np.arange(40) % 2, scale=3)
    problem = Problem(Architecture.build(5, 2, (3,)), data, MaxCorrect())
    start = IntegerNetwork.constant(problem.architecture, 1, 3)
    assert descend(start, problem.value, np.random.default_rng(0), 500, stopped=lambda: True) is start
    runs = [descend(start, problem.value, np.random.default_rng(9), 300) for _ in range(2)]
    assert runs[0].equals(runs[1])


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_a_deepened_network_predicts_like_its_single_layer(outputs):
    rng = np.random.default_rng(outputs)
    n_classes = max(2, outputs)
    flat = IntegerNetwork.random(Architecture.build(4, n_classes, (), outputs=outputs), rng, 10)
    shape = Architecture.build(4, n_classes, (4, 3), outputs=outputs)
    X = rng.integers(-30, 30, (200, 4))
    deep = _deepened(flat, shape)
    fired = flat.scores(X) >= 0
    assert np.array_equal(deep.scores(X) >= 0, fired)
    clear = fired.sum(axis=1) == 1 if outputs > 1 else np.ones(200, dtype=bool)
    assert np.array_equal(deep.predict(X)[clear], flat.predict(X)[clear])


def test_warming_up_beats_the_constant_network():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 100, (80, 6))
    data = Dataset.merge(X, (X[:, 0] > X[:, 1]).astype(int), scale=100)
    record = Record(Problem(Architecture.build(6, 2, (3,)), data, MaxCorrect()))
    record.begin(None)
    constant = record.loss
    warm_up(record, Limits(seconds=60))
    assert record.loss < constant / 4
