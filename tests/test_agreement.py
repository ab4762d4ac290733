"""The agreement engine: brute force, an independent check of its leaves, limits, events, the trainer."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from provenn.bounds.agreement import AgreementProblem, check, collect, minimise
from provenn.errors import InputError, OverflowRiskError
from provenn.formulations import Problem
from provenn.formulations.feature_signs import FeatureSigns
from provenn.formulations.sparsity import Sparsity
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_weight import MinWeight
from provenn.milp import Limits
from provenn.network import Architecture
from provenn.status import Status
from provenn.testing.toys import best_value, domains, random_dataset
from provenn.trainers._base import Record
from provenn.trainers.agreement import Agreement, prove

DOMAINS = [(-1, 1, 2), (-1, 1, 1), (-2, 2, 1), (-3, 3, 1), (-3, 3, 2), (0, 2, 1), (-5, 5, 1)]
BIASES = [None, (0, 0, 1), (-1, 1, 1), (-1, 1, 2), (-3, 3, 1), (-2, 4, 2)]


def random_problem(seed):
    """Return a tiny problem that can be enumerated; every option turns up."""
    rng = np.random.default_rng(seed)
    low, high, step = DOMAINS[rng.integers(len(DOMAINS))]
    bias = BIASES[rng.integers(len(BIASES))]
    d = int(rng.integers(1, 6 if (high - low) // step < 3 else 4))
    n = int(rng.integers(1, 25))
    scale = int(rng.choice([1, 1, 10, 10_000]))
    X = rng.integers(0, 2, (n, d)) * scale if rng.random() < 0.5 else rng.integers(-scale, scale + 1, (n, d))
    if d >= 3 and rng.random() < 0.5:
        X[:, :3] = (rng.integers(0, 3, n)[:, None] == np.arange(3)) * scale
    if d >= 2 and rng.random() < 0.3:
        X[:, -1] = X[:, 0] * rng.choice([-1, 1])
    if rng.random() < 0.2:
        X[:, 0] = 0
    t = np.where((X @ rng.normal(size=d)) / scale + rng.normal(size=n) > 0, 1, -1)
    lows, highs = np.full(d, low), np.full(d, high)
    if rng.random() < 0.3:
        lows[rng.random(d) < 0.3] = high
    size = int(rng.choice([1, 5, 1000, 2**40]))
    cost = rng.integers(0, size + 1, n)
    if rng.random() < 0.2:
        cost[rng.random(n) < 0.2] = 2**45
    return AgreementProblem(X, t, cost, scale, lows, highs, step, bias, int(rng.choice([1, -1])))


def points(problem):
    """Yield every (w, b) of the box."""
    boxes = [range(lo, hi + 1, problem.step) for lo, hi in zip(problem.low, problem.high, strict=True)]
    low, high, step = problem.bias or (0, 0, 1)
    for *w, b in itertools.product(*boxes, range(low, high + 1, step)):
        yield np.array(w), b


def all_patterns(problem):
    """Return the cost of every pattern that a neuron has, by its bytes."""
    found = {}
    for w, b in points(problem):
        pattern = problem.pattern(w, b)
        found[pattern.tobytes()] = int(problem.cost[pattern != problem.t].sum())
    return found


@pytest.mark.parametrize("seed", range(150))
def test_the_minimum_is_that_of_brute_force(seed):
    problem = random_problem(seed)
    best = min(all_patterns(problem).values())
    result = minimise(problem, Limits(seed=seed, threads=1 + seed % 2))
    assert (result.status, result.value, result.bound) == (Status.OPTIMAL, best, best)
    assert problem.allows(result.w, result.b)
    assert problem.value(result.w, result.b) == best


@pytest.mark.parametrize("seed", range(60))
def test_a_cutoff_bounds_what_is_below_it(seed):
    rng = np.random.default_rng(seed)
    problem = random_problem(seed)
    values = sorted(all_patterns(problem).values())
    cutoff = int(rng.choice(values)) + int(rng.integers(0, 2))
    start = next(points(problem)) if rng.random() < 0.5 else None
    result = minimise(problem, Limits(), start, cutoff=cutoff)
    assert result.bound == min(values[0], cutoff)
    if values[0] < cutoff:
        assert result.value == values[0]
    else:
        assert result.value == (None if start is None else problem.value(*start))


@pytest.mark.parametrize("seed", range(100))
def test_all_patterns_up_to_a_threshold_are_collected(seed):
    rng = np.random.default_rng(seed)
    problem = random_problem(seed)
    patterns = all_patterns(problem)
    threshold = int(rng.choice(list(patterns.values()))) - int(rng.integers(0, 2))
    found = collect(problem, threshold, Limits(threads=1 + seed % 2))
    assert found.complete
    assert {p.tobytes() for p in found.patterns} == {p for p, v in patterns.items() if v <= threshold}
    for pattern, w, b, value in zip(found.patterns, found.w, found.b, found.values, strict=True):
        assert problem.allows(w, b)
        assert np.array_equal(problem.pattern(w, b), pattern)
        assert value == problem.value(w, b)


@pytest.mark.parametrize("seed", range(80))
def test_the_record_shows_the_bound(seed):
    problem = random_problem(seed)
    result = minimise(problem, Limits(nodes=[None, 3, 20][seed % 3], threads=1), record=True)
    check(problem, result.leaves, result.bound)
    if result.status is Status.OPTIMAL:
        assert result.bound == min(all_patterns(problem).values())
        with pytest.raises(ValueError, match="does not reach"):
            check(problem, result.leaves, result.bound + 1)


def noisy(n, d):
    """Return a problem whose tree takes a while: noisy labels of a dense neuron."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 1000, (n, d))
    t = np.where(X @ rng.normal(size=d) + 300 * rng.normal(size=n) > 0, 1, -1)
    ones = np.ones(d, dtype=np.int64)
    return AgreementProblem(X, t, rng.integers(1, 1000, n), 1000, -ones, ones, bias=(-1, 1, 1))


@pytest.fixture(scope="module")
def long_problem():
    return noisy(80, 14)


def trained(problem, **options):
    return Agreement().train(problem, Limits(**options))


def toy(seed, loss, hidden, outputs=None):
    """Return a small training problem with two classes."""
    rng = np.random.default_rng(seed)
    domain = domains()[seed % 3]
    bias = domain if rng.random() < 0.7 else None
    shape = Architecture.build(3, 2, hidden, domain, bias, outputs)
    data = random_dataset(rng, 7, 3, 2, int(rng.choice([1, 3, 10])), separable=bool(rng.random() < 0.3))
    return Problem(shape, data, loss)


@pytest.mark.parametrize("seed", range(24))
def test_one_neuron_is_trained_to_the_best(seed):
    problem = toy(seed, MaxCorrect(rule=["argmax", "published"][seed % 2]), ())
    result = trained(problem, threads=1 + seed % 2)
    best = best_value(problem)
    assert (result.certificate.loss, result.certificate.bound, result.status) == (best, best, Status.OPTIMAL)


@pytest.mark.parametrize("seed", [0, 1, 3, 4, 6, 7])
def test_two_outputs_are_trained_to_the_best(seed):
    problem = toy(seed, MaxCorrect(), (), outputs=2)
    result = trained(problem)
    assert (result.certificate.loss, result.certificate.bound) == (best_value(problem),) * 2


def test_constraints_only_loosen_the_bound():
    for seed in range(1, 12):
        plain = toy(seed, MaxCorrect(), ())
        if not plain.architecture.layers[0].weights.has_zero:
            continue
        signed = replace(plain, constraints=(FeatureSigns((1, 0, -1)),))
        assert trained(signed).certificate.optimal
        assert trained(signed).certificate.loss == best_value(signed)
        priced = replace(plain, constraints=(Sparsity(0.25, fan_in=2),))
        certificate = trained(priced).certificate
        assert certificate.bound <= best_value(priced) <= certificate.loss


def test_what_does_not_fit_is_refused():
    for loss, hidden, outputs in [
        (Logistic(), (), None),
        (MaxCorrect(), (1,), None),
        (MaxCorrect(rule="published"), (), 2),
        (MinWeight(), (), None),
    ]:
        problem = toy(1, loss, hidden, outputs)
        assert Agreement.obstacle(problem)
        with pytest.raises(InputError):
            trained(problem)


def test_a_network_found_elsewhere_ends_the_proof():
    problem = toy(1, MaxCorrect(), ())
    record = Record(problem)
    record.begin(trained(problem).network)
    assert prove(record, Limits()).status is Status.OPTIMAL
    assert record.closed


@pytest.mark.parametrize("threads", [1, 2])
def test_limits_leave_a_valid_bound(long_problem, threads):
    best = minimise(long_problem, Limits())
    assert best.status is Status.OPTIMAL
    for limits in [Limits(nodes=0), Limits(nodes=40), Limits(nodes=400), Limits(seconds=0), Limits(memory_mb=1)]:
        result = minimise(long_problem, replace(limits, threads=threads))
        assert result.bound <= best.value
        assert result.value is None or result.value >= best.value
    assert minimise(long_problem, Limits(nodes=40)).status is Status.NODE_LIMIT
    assert minimise(long_problem, Limits(seconds=0)).status is Status.TIME_LIMIT


def test_the_same_seed_gives_the_same_run(long_problem):
    one, two = (minimise(long_problem, Limits(nodes=300, seed=5)) for _ in range(2))
    assert (one.nodes, one.bound, one.value, one.b) == (two.nodes, two.bound, two.value, two.b)
    assert np.array_equal(one.w, two.w)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_caller_may_stop_and_tell_of_better_neurons(long_problem, threads):
    best = minimise(long_problem, Limits())
    calls = itertools.count()
    stopped = minimise(long_problem, Limits(threads=threads), stopped=lambda: next(calls) > 8)
    assert stopped.status in (Status.INTERRUPTED, Status.OPTIMAL)
    assert stopped.bound <= best.value
    told = minimise(long_problem, Limits(threads=threads), known=lambda: best.value // 2)
    assert (told.status, told.bound) == (Status.OPTIMAL, best.value // 2)


def test_events_improve(long_problem):
    events = []
    result = minimise(long_problem, Limits(), on_event=events.append)
    found = [e for e in events if e.kind == "incumbent"]
    assert [e.objective for e in found] == sorted({e.objective for e in found}, reverse=True)
    assert [e.bound for e in events] == sorted(e.bound for e in events)
    assert events[-1].bound == result.bound
    for event in found:
        assert long_problem.value(event.x[:-1].astype(np.int64), int(event.x[-1])) == event.objective


def test_interrupts_return_what_is_known(long_problem):
    def interrupt(event):
        raise KeyboardInterrupt

    result = minimise(long_problem, Limits(), on_event=interrupt)
    assert result.status is Status.INTERRUPTED
    assert result.bound <= minimise(long_problem, Limits()).value


def test_collecting_stops_at_limits(long_problem):
    best = minimise(long_problem, Limits()).value
    few = collect(long_problem, 2 * best, Limits(), most=5)
    assert len(few.patterns) == 5
    assert not few.complete
    assert not collect(long_problem, 2 * best, Limits(nodes=1)).complete


def test_tampered_records_are_refused():
    problem = noisy(40, 8)
    result = minimise(problem, Limits(), record=True)
    leaves, bound = result.leaves, result.bound
    assert bound > 0
    check(problem, leaves, bound)
    rng = np.random.default_rng(0)
    kept = rng.permutation(len(leaves.low))[: len(leaves.low) - 1]
    lost = replace(leaves, low=leaves.low[kept], high=leaves.high[kept], part=leaves.part[kept])
    with pytest.raises(ValueError, match="cover"):
        check(problem, lost, bound)
    narrow = leaves.high.copy()
    narrow[np.argmax(leaves.high.sum(axis=1)), 0] -= 1
    with pytest.raises(ValueError, match=r"cover|outside"):
        check(problem, replace(leaves, high=narrow), bound)
    move = np.eye(1, leaves.low.shape[1], dtype=np.int64)
    with pytest.raises(ValueError, match="move"):
        check(problem, replace(leaves, moves=move, rank=move[0]), bound)
    with pytest.raises(ValueError, match="paired"):
        check(problem, replace(leaves, two=leaves.one), bound)
    with pytest.raises(ValueError, match="reach"):
        check(problem, replace(leaves, clip=0), bound)


def test_moves_that_leave_the_box_are_refused():
    problem = next(p for p in map(random_problem, range(300)) if _uses_moves(p))
    leaves = minimise(problem, Limits(), record=True).leaves
    row = np.flatnonzero(leaves.part[:, 0] == -2)[0]
    far = leaves.moves * 200
    with pytest.raises(ValueError, match=rf"leaf {row}: its move|reach"):
        check(problem, replace(leaves, moves=far), minimise(problem, Limits()).bound)


def _uses_moves(problem):
    return np.any(minimise(problem, Limits(), record=True).leaves.part[:, 0] == -2)


def test_bad_problems_are_refused():
    ones, box = np.ones(2, dtype=np.int64), np.ones(1, dtype=np.int64)
    good = AgreementProblem(np.ones((2, 1), dtype=np.int64), ones, ones, 1, -box, box)
    for change in [
        {"t": 2 * ones},
        {"cost": -ones},
        {"zero": 0},
        {"low": 2 * box},
        {"step": 3},
        {"t": np.ones(3, dtype=np.int64)},
        {"cost": ones * 2**61},
        {"X": np.full((2, 1), 2**62)},
        {"bias": (1, 0, 1)},
    ]:
        with pytest.raises((InputError, OverflowRiskError)):
            replace(good, **change)
