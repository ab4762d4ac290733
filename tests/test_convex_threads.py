"""The convex engine on several threads, its shared Hessians and its probing."""

import itertools
import threading

import numpy as np
import pytest

from provenn.bounds import _convex_reference as twins
from provenn.bounds._convex_groups import make_samples
from provenn.bounds._convex_models import NEAR, Models
from provenn.bounds._convex_probing import envelope
from provenn.bounds._convex_samples import Samples
from provenn.bounds.convex import ConvexProblem, Outside, Team, minimise
from provenn.formulations import Problem
from provenn.formulations.sparsity import Sparsity
from provenn.losses.logistic import Logistic, LogisticCurve
from provenn.milp import Limits
from provenn.network import Architecture, IntegerDomain
from provenn.status import Status
from provenn.testing.toys import best_value, random_dataset
from provenn.trainers._base import Record
from provenn.trainers.convex import Convex, Proving


def neuron(seed=3, n=120, d=12, bound=3, price=0, budget=None):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 1001, (n, d))
    t = np.where(X @ rng.normal(size=d) + 2000 * rng.normal(size=n) > 0, 1, -1)
    box, ones = np.full(d, bound), np.ones(n, dtype=np.int64)
    curve, bias = LogisticCurve(700.0), (-bound, bound, 1)
    return ConvexProblem(X, t, ones, curve, 1000, -box, box, 1, bias, price=price, max_nonzeros=budget)


def small_values(problem):
    """Return the least value of all feasible points."""
    ends = zip(problem.low, problem.high, strict=True)
    ranges = [range(a, b + 1) for a, b in (*ends, problem.bias[:2])]
    points = ((np.array(w), b) for *w, b in itertools.product(*ranges))
    return min(problem.value(w, b) for w, b in points if problem.allows(w, b))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("threads", [2, 5])
def test_several_threads_prove_the_same_optimum(seed, threads):
    problem = neuron(seed, price=(0, 400_000)[seed % 2], budget=(None, 4)[seed // 3])
    alone, together = minimise(problem, Limits()), minimise(problem, Limits(threads=threads))
    assert alone.status is together.status is Status.OPTIMAL
    assert alone.value == alone.bound == together.value == together.bound == problem.value(together.w, together.b)


@pytest.mark.parametrize("seed", range(12))
def test_prices_and_budgets_equal_brute_force(seed):
    rng = np.random.default_rng(seed)
    problem = neuron(seed, 25, 4, 2, int(rng.integers(0, 3 * 10**6)), (None, 1, 2, 3)[seed % 4])
    assert minimise(problem, Limits(threads=1 + seed % 2)).value == small_values(problem)


def test_leaves_of_several_threads_cover_the_box():
    problem = neuron(1, 30, 3, 2)
    result = minimise(problem, Limits(threads=3), record=True)
    leaves = result.leaves
    assert result.status is Status.OPTIMAL
    assert len(leaves.shifts) == 0
    for v in itertools.product(range(-2, 3), repeat=4):
        inside = np.all((leaves.low <= v) & (v <= leaves.high), axis=1)
        assert inside.sum() == 1, v
        assert leaves.kind[np.argmax(inside)] in (-1, -2)


def test_a_node_limit_holds_on_several_threads():
    problem = neuron(4, 200, 20, 3)
    result = minimise(problem, Limits(nodes=30, threads=2))
    assert result.status is Status.NODE_LIMIT
    assert 30 <= result.nodes <= 32
    assert result.bound < result.value == problem.value(result.w, result.b)


@pytest.mark.parametrize("asked", [1, 5, 20])
def test_a_stop_leaves_a_valid_bound_and_answer(asked):
    problem, calls = neuron(4, 200, 16, 3), itertools.count()
    best = minimise(problem, Limits()).value
    stopped = minimise(problem, Limits(threads=2), outside=Outside(lambda: next(calls) >= asked))
    assert stopped.status is Status.INTERRUPTED
    assert stopped.bound <= best <= stopped.value == problem.value(stopped.w, stopped.b)


def test_a_failing_thread_ends_the_search(monkeypatch):
    from provenn.bounds._convex_engine import Engine

    real, main = Engine.expand, threading.current_thread()

    def expand(self, *args):
        if threading.current_thread() is not main:
            raise MemoryError
        real(self, *args)

    monkeypatch.setattr(Engine, "expand", expand)
    with pytest.raises(MemoryError):
        minimise(neuron(4, 200, 20, 3), Limits(threads=2))


def test_lent_threads_come_and_go():
    problem, team, asked = neuron(6), Team(), itertools.count()
    best = minimise(problem, Limits()).value
    lenders = [
        threading.Thread(target=team.serve, args=(lambda: next(asked) > 30,)),
        threading.Thread(target=team.serve, args=(lambda: False,)),
    ]
    for lender in lenders:
        lender.start()
    try:
        results = [minimise(problem, Limits(), outside=Outside(team=team)) for _ in range(2)]
    finally:
        team.end()
        for lender in lenders:
            lender.join(timeout=60)
    assert [r.value for r in results] == [r.bound for r in results] == [best, best]
    assert not any(lender.is_alive() for lender in lenders)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("constraints", [(), (Sparsity(price=0.05),), (Sparsity(fan_in=1),)])
def test_outputs_side_by_side_equal_brute_force(threads, constraints):
    data = random_dataset(np.random.default_rng(2), 12, 2, 3, 10)
    problem = Problem(Architecture.build(2, 3, (), IntegerDomain.symmetric(1)), data, Logistic(), constraints)
    result = Convex().train(problem, Limits(threads=threads))
    assert result.certificate.optimal
    assert result.certificate.loss == best_value(problem)


def test_a_stopped_worker_leaves_the_proof_to_the_others():
    data = random_dataset(np.random.default_rng(2), 30, 4, 3, 10)
    problem = Problem(Architecture.build(4, 3, (), IntegerDomain.symmetric(3)), data, Logistic(0.5))
    record = Record(problem)
    record.begin(None)
    proving, paused = Proving(record, Limits(), 2), threading.Event()
    slow = threading.Thread(target=proving.work, args=(lambda: not paused.wait(60),))
    slow.start()
    worker = threading.Thread(target=proving.work, args=(lambda: False,))
    worker.start()
    worker.join(timeout=0.5)
    paused.set()
    for one in (slow, worker):
        one.join(timeout=60)
    assert proving.proof().status is Status.OPTIMAL
    assert record.closed


def test_interrupts_reach_all_threads():
    data = random_dataset(np.random.default_rng(2), 60, 12, 4, 100)
    problem = Problem(Architecture.build(12, 4, (), IntegerDomain.symmetric(9)), data, Logistic(0.2))
    record, calls = Record(problem), itertools.count()
    record.begin(None)
    from provenn.trainers.convex import prove

    proof = prove(record, Limits(), lambda: next(calls) > 50, threads=2)
    assert proof.status is Status.INTERRUPTED
    assert record.bound is not None
    assert record.bound < record.loss


def test_the_probed_envelope_equals_its_twin():
    rng = np.random.default_rng(0)
    low = rng.integers(-3, 2, 200).astype(float)
    high = low + rng.integers(0, 4, 200)
    v, price = rng.uniform(low, high), rng.uniform(0, 5, 200)
    v[::3] = np.clip(0, low, high)[::3]
    found = [envelope(*args) for args in zip(v, low, high, price, strict=True)]
    np.testing.assert_allclose(found, twins.envelope(v, low, high, price), rtol=1e-12)


def models_of(D=3, n=5) -> tuple[Models, Samples]:
    rng = np.random.default_rng(0)
    A = rng.integers(-3, 4, (n, D))
    samples = make_samples(A, np.ones(n, dtype=np.int64), LogisticCurve(2.0), np.ones(D, dtype=np.int64))
    return Models(samples), samples


def test_models_are_found_nearby_only_and_dropped_in_turn():
    models, _ = models_of()
    zero, one = np.zeros(3, dtype=np.float32), np.eye(3, dtype=np.float32)
    assert models.near(zero) is None
    models.add(zero, one)
    assert models.near(zero) is one
    far = zero + np.float32(2 * NEAR / models.reach.max())
    assert models.near(far) is None
    for i in range(models.size):
        models.add(far, (i + 2) * one)
    assert models.near(zero) is None
    assert models.near(far)[0, 0] >= 2


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_the_reach_of_models_is_the_mean_size_of_columns(share):
    rng = np.random.default_rng(1)
    A = rng.integers(1, 5, (20, 4)) * (rng.random((20, 4)) < share)
    m = rng.integers(1, 4, 20)
    samples = make_samples(A, m, LogisticCurve(2.0), np.ones(4, dtype=np.int64))
    np.testing.assert_allclose(Models(samples).reach, np.average(np.abs(A), axis=0, weights=m) / 2.0)
