"""Laws of all lower bounds: none exceeds the brute-force optimum, and a claimed proof equals it."""

import itertools

import numpy as np
import pytest

from provenn.bounds.hull import HullProblem
from provenn.bounds.hull import minimise as minimise_hull
from provenn.errors import CapabilityError, OverflowRiskError
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_hinge import MinHinge
from provenn.losses.sat_margin import SatMargin
from provenn.milp import Limits
from provenn.solvers import Solver
from provenn.status import Status
from provenn.testing.toys import best_value, losses, odd_problem, optimum, random_network
from provenn.trainers import agreement, convex, groups, hull
from provenn.trainers._base import Record
from provenn.trainers._groups_parts import obstacle
from provenn.trainers.agreement import Agreement
from provenn.trainers.convex import Convex
from provenn.trainers.exact import Exact
from provenn.trainers.hull import Hull
from provenn.trainers.portfolio import Portfolio

ENGINES = {"convex": (Convex, convex), "agreement": (Agreement, agreement), "hull": (Hull, hull)}
SHAPES = [(), (), (1,), (1,), (2,), (2,), (1, 1)]
SOFT = [Logistic(0.1), Logistic(), Logistic(30), MinHinge(), MaxCorrect(), MaxCorrect(), SatMargin()]
ALL = losses()
PROBLEMS, CHUNK, MOST_NETWORKS = 1000, 25, 50_000


def draw(seed, given=None, hidden=None, most=MOST_NETWORKS):
    """Return random numbers and the first problem that fits; two of three losses are those of an engine."""
    rng = np.random.default_rng(seed)
    while True:
        pool = given or (SOFT if rng.random() < 0.67 else ALL)
        shape = SHAPES[rng.integers(len(SHAPES))] if hidden is None else hidden
        loss = pool[rng.integers(len(pool))]
        problem = odd_problem(rng, loss, shape, int(rng.integers(2, 10)), int(rng.integers(1, 4)), most)
        if problem is not None:
            return rng, problem


def chunks(count):
    return [range(first, first + CHUNK) for first in range(0, count, CHUNK)]


def check(problem, best, record, told, proven):
    """Assert the laws of a record after a prover worked on it; `proven` says that it claims a proof."""
    bounds = [progress.bound for progress in told if progress.bound is not None]
    found = [progress.loss for progress in told if progress.loss is not None]
    assert bounds == sorted(bounds)
    assert found == sorted(found, reverse=True)
    if best is None:
        assert record.network is None
        return
    assert record.bound is None or record.bound <= best
    if record.loss is not None:
        assert problem.value(record.network) == record.loss >= best
    if proven:
        assert record.bound == best == record.loss


def engines(problem):
    return [module for engine, module in ENGINES.values() if engine.obstacle(problem) is None]


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    for _, module in ENGINES.values():
        module.compile_kernels()


@pytest.mark.parametrize("seed", range(40))
def test_both_brute_forces_agree(seed):
    """One runs the library's own losses network by network, the other its own arithmetic on arrays."""
    _, problem = draw(10_000 + seed, given=ALL, most=300)
    assert optimum(problem) == best_value(problem)


@pytest.mark.parametrize("seeds", chunks(PROBLEMS), ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_engines_are_bounded_by_brute_force(seeds):
    for seed in seeds:
        rng, problem = draw(seed)
        best = optimum(problem)
        assert best is None or problem.floor is None or problem.floor <= best
        for module in engines(problem):
            told = []
            record = Record(problem, told.append)
            if rng.random() < 0.8:
                record.begin(random_network(rng, problem) if rng.random() < 0.5 else None)
            proof = module.prove(record, Limits(seed=seed))
            if best is None:
                assert proof.status is not Status.OPTIMAL or not record.closed
            assert proof.status in (Status.OPTIMAL, Status.NODE_LIMIT, Status.INFEASIBLE)
            check(problem, best, record, told, record.closed)
            if best is not None and (module is convex or ends(problem)):
                assert proof.status is Status.OPTIMAL
                assert record.closed


def test_steps_are_among_the_problems_and_among_those_of_the_hull():
    drawn, proven = [], []
    for seed in range(PROBLEMS):
        problem = draw(seed)[1]
        drawn.append(tuple(layer.activation for layer in problem.architecture.layers[:-1]))
        if Hull.obstacle(problem) is None:
            proven.append(drawn[-1])
    assert sum("step" in hidden for hidden in drawn) > PROBLEMS / 5
    assert {("sign", "step"), ("step", "sign"), ("step", "step")} <= set(drawn)
    assert sum(hidden == ("step",) for hidden in proven) > PROBLEMS / 20


def ends(problem):
    """Whether the other engines reach every optimum: no conditions or prices, and no sum over shared units."""
    alone = problem.architecture.n_outputs == 1 or not problem.architecture.hidden
    return alone and not problem.constraints


@pytest.mark.parametrize("seeds", chunks(200), ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_a_stop_at_any_moment_leaves_a_valid_bound(seeds):
    for seed in seeds:
        rng, problem = draw(20_000 + seed, given=SOFT)
        best = optimum(problem)
        for module in engines(problem):
            kind, polls, told = int(rng.integers(5)), itertools.count(), []
            limits = [Limits(seconds=0), Limits(seconds=0.002), Limits(nodes=0), Limits(nodes=int(rng.integers(1, 40)))]
            last = int(rng.integers(20)) if kind == 4 else 10**9
            record = Record(problem, told.append)
            record.begin(None)
            given = limits[kind] if kind < 4 else Limits()
            proof = module.prove(record, given, lambda last=last, polls=polls: next(polls) >= last)
            check(problem, best, record, told, proof.status is Status.OPTIMAL and record.closed)


@pytest.mark.parametrize("name", ENGINES)
def test_a_trainer_says_where_it_does_not_apply(name):
    engine, _ = ENGINES[name]
    refused = 0
    for seed in range(30):
        _, problem = draw(30_000 + seed)
        if engine.obstacle(problem) is None:
            result = engine().train(problem, Limits(seconds=0))
            assert result.certificate is None or result.certificate.loss >= (result.certificate.bound or 0)
        else:
            refused += 1
            with pytest.raises(CapabilityError):
                engine().train(problem, Limits())
    assert 0 < refused < 30


def exact(name, **options):
    return lambda problem: Exact(Solver.create(name, **options)).train(problem, Limits(seconds=60))


TRAINERS = {
    "cores": exact("cpsat", mode="core", workers=1),
    "cpsat": exact("cpsat", mode="portfolio", workers=1),
    "highs": exact("highs"),
    "portfolio": lambda problem: Portfolio(gradient=False).train(problem, Limits(seconds=60)),
}


@pytest.mark.parametrize("seed", range(9))
@pytest.mark.parametrize("name", TRAINERS)
def test_trainers_with_solvers_are_bounded_by_brute_force(name, seed):
    pool = [loss for loss in ALL if not loss.convex] if name == "cores" else ALL  # Cores are for losses that count.
    loss = pool[seed % len(pool)]
    hidden = SHAPES[(seed + 1) % len(SHAPES)]
    if loss == SatMargin(kept_only=True):
        hidden = hidden or (1,)
    _, problem = draw(40_000 + seed, given=[loss], hidden=hidden, most=3000)
    best = optimum(problem)
    result = TRAINERS[name](problem)
    if best is None:
        assert result.network is None
        assert result.status is Status.INFEASIBLE
        return
    assert result.status in (Status.OPTIMAL, Status.TOLERANCE)
    certificate = result.certificate
    assert problem.value(result.network) == certificate.loss
    assert certificate.bound <= best <= certificate.loss
    assert not certificate.optimal or certificate.bound == best
    bounds = [progress.bound for progress in result.history if progress.bound is not None]
    assert bounds == sorted(bounds)


@pytest.mark.parametrize("seed", range(8))
def test_groups_are_bounded_by_brute_force(seed):
    pool = [MaxCorrect(), MaxCorrect("published"), SatMargin(), Logistic()]
    _, problem = draw(50_000 + seed, given=pool[seed % 4 : seed % 4 + 1], hidden=(1,), most=3000)
    assert obstacle(problem) is None
    best, told = optimum(problem), []
    record = Record(problem, told.append)
    record.begin(None)
    proof = groups.prove(record, Limits(seconds=60))
    check(problem, best, record, told, proof.status is Status.OPTIMAL)


def hull_problem(losses, outputs=(-1, 1, 1), hidden=2, weights=1):
    """Return a problem of the hull bound on the corners of a square with the given losses."""
    X, box = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.ones(2, dtype=np.int64)
    multiplicity = np.full(4, weights)
    return HullProblem(X, multiplicity, 1, -box, box, 1, (-1, 1, 1), hidden, outputs, None, losses)


def hull_optimum(problem):
    """Return the least loss by all pairs of units and output weights."""
    neurons = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    units = np.unique(np.where(neurons[:, :-1] @ problem.X.T + neurons[:, -1:] >= 0, 1, -1), axis=0)
    low, high, step = problem.outputs
    values = np.arange(low, high + 1, step)
    reach = 2 * max(abs(low), abs(high))
    table = problem.losses(np.arange(-reach, reach + 1)) * problem.multiplicity[:, None]
    sums = [v * one + w * two for v in values for w in values for one in units for two in units]
    return int(table[np.arange(4), np.array(sums) + reach].sum(axis=1).min())


@pytest.mark.parametrize("seed", range(10))
def test_losses_below_zero_are_bounded(seed):
    noise = np.random.default_rng(seed).integers(-500, 500, (4, 9))
    problem = hull_problem(lambda scores: noise[:, scores + 4])
    result = minimise_hull(problem, Limits())
    assert result.bound == result.answer.value == hull_optimum(problem)


@pytest.mark.parametrize("value", [0, 7, -5 * 10**9])
def test_losses_that_are_constant_are_proven(value):
    problem = hull_problem(lambda scores: np.full((4, len(scores)), value))
    result = minimise_hull(problem, Limits())
    assert (result.status, result.bound, result.answer.value) == (Status.OPTIMAL, 4 * value, 4 * value)


def test_totals_that_no_output_layer_has_are_passed_over():
    """Two odd weights have an even sum: ranges of totals split into some without a layer."""
    noise = np.random.default_rng(0).integers(0, 100, (4, 101))
    problem = hull_problem(lambda scores: noise[:, scores + 50], outputs=(-21, 21, 2))
    result = minimise_hull(problem, Limits())
    assert result.bound == result.answer.value == hull_optimum(problem)


@pytest.mark.parametrize("weight", [10**6, 10**12, 2**40])
def test_large_losses_are_bounded_or_refused(weight):
    label = np.array([-1, 1, 1, -1])
    problem = hull_problem(lambda scores: 10**5 * np.maximum(0, 2 - label[:, None] * scores) ** 2, weights=weight)
    try:
        result = minimise_hull(problem, Limits())
    except OverflowRiskError:
        assert weight * 4 * 16 * 10**5 * 2 >= 2**60
        return
    assert result.bound == result.answer.value == hull_optimum(problem)
