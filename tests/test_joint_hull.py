"""Laws of the joint hull bound: brute force over all networks, evidence that can be derived again, limits."""

from dataclasses import replace
from itertools import combinations_with_replacement, product

import numpy as np
import pytest

from provenn.bounds import _joint_driver as driver
from provenn.bounds import _joint_pricing as pricing
from provenn.bounds import agreement, hull, joint_hull
from provenn.bounds._joint_close import Hidden
from provenn.bounds._joint_layers import extensions, layers_of_one, own_bounds
from provenn.bounds._joint_master import JointMaster
from provenn.bounds.hull import HullProblem
from provenn.bounds.joint_hull import JointOutside, JointProblem, check, minimise
from provenn.errors import CapabilityError, InputError
from provenn.formulations import Problem
from provenn.formulations.sparsity import Sparsity
from provenn.losses.logistic import Logistic
from provenn.losses.min_hinge import MinHinge
from provenn.losses.sat_margin import SatMargin
from provenn.milp import Limits
from provenn.network import Architecture, IntegerDomain
from provenn.status import Status
from provenn.testing.toys import odd_problem, optimum, random_dataset, random_losses
from provenn.trainers import hull as trainer
from provenn.trainers.hull import PROVER, Hull

INNER = [(-1, 1, 2), (-1, 1, 1), (-2, 2, 1), (0, 2, 1), (-1, 2, 1)]
OUTER = [(-1, 1, 2), (-1, 1, 1), (-2, 2, 2), (-1, 2, 1), (0, 1, 1), (1, 2, 1)]


def values(domain):
    return [0] if domain is None else list(range(domain[0], domain[1] + 1, domain[2]))


def random_problem(rng, levels=None, outputs=None, hidden=None):
    n, d, scale = int(rng.integers(3, 8)), int(rng.integers(1, 3)), int(rng.choice([1, 3, 100]))
    inner, outer = INNER[rng.integers(len(INNER))], OUTER[rng.integers(len(OUTER))]
    hidden = hidden or int(rng.choice([1, 1, 2]))
    bias, output_bias = (None if rng.random() < 0.3 else domain for domain in (inner, outer))
    low, high = np.full(d, inner[0]), np.full(d, inner[1])
    one = HullProblem(
        rng.integers(0, scale + 1, (n, d)), rng.integers(1, 4, n), scale, low, high, inner[2], bias, hidden, outer,
        output_bias, random_losses(rng, n), levels or ((-1, 1), (0, 1))[rng.integers(2)],
    )  # fmt: skip
    others = [replace(one, losses=random_losses(rng, n)) for _ in range((outputs or int(rng.integers(2, 4))) - 1)]
    return JointProblem((one, *others))


def all_units(problem):
    units = problem.units
    box = (int(units.low[0]), int(units.high[0]), units.step)
    neurons = np.array(list(product(*[values(box)] * units.X.shape[1], values(units.bias))))
    fires = neurons[:, :-1] @ units.X.T + units.scale * neurons[:, -1:] >= 0
    return np.unique(np.where(fires, units.levels[1], units.levels[0]), axis=0)


def brute_force(problem):
    """Return the least loss of all networks: for every hidden layer each output has its best layer."""
    units, one = all_units(problem), problem.units
    layers = list(product(*[values(one.outputs)] * one.hidden, values(one.output_bias)))
    tables = [part.losses(np.arange(-20, 21)) * one.multiplicity[:, None] for part in problem.parts]
    weights, best = np.array(layers), None
    for chosen in combinations_with_replacement(range(len(units)), one.hidden):
        scores = weights[:, :-1] @ units[list(chosen)] + weights[:, -1:] + 20
        value = sum(int(table[np.arange(scores.shape[1]), scores].sum(axis=1).min()) for table in tables)
        best = value if best is None else min(best, value)
    return best


def value_of(problem, answer):
    one = problem.units
    fires = one.X @ answer.w + one.scale * answer.b >= 0
    scores = np.where(fires, one.levels[1], one.levels[0]) @ answer.v + answer.c
    total = 0
    for o, part in enumerate(problem.parts):
        table = part.losses(np.arange(-20, 21)) * one.multiplicity[:, None]
        total += int(table[np.arange(len(scores)), scores[:, o] + 20].sum())
    return total


def assert_in_domain(problem, answer):
    one = problem.units
    assert np.all(np.isin(answer.w, values((int(one.low[0]), int(one.high[0]), one.step))))
    assert np.all(np.isin(answer.b, values(one.bias)))
    assert np.all(np.isin(answer.v, values(one.outputs)))
    assert np.all(np.isin(answer.c, values(one.output_bias)))


def own(problem):
    return own_bounds(problem, [hull.minimise(part, Limits()).evidence for part in problem.parts])


@pytest.fixture
def unlisted(monkeypatch):
    """Units are found by search and priced by the agreement engine, however few there are."""
    monkeypatch.setattr(pricing, "MOST_LISTED", 0)


@pytest.mark.parametrize("first", range(0, 180, 20))
def test_the_bound_is_the_optimum(first):
    for seed in range(first, first + 20):
        problem = random_problem(np.random.default_rng(seed))
        best, told = brute_force(problem), []
        outside = JointOutside(on_bound=told.append)
        result = minimise(problem, Limits(seed=seed), own=own(problem) if seed % 4 else None, outside=outside)
        assert told == sorted(told)
        assert result.status is Status.OPTIMAL
        assert result.bound == best == result.answer.value == value_of(problem, result.answer)
        assert_in_domain(problem, result.answer)


@pytest.mark.parametrize("first", range(300, 340, 20))
def test_the_bound_is_the_optimum_with_exact_pricing(first, unlisted):
    for seed in range(first, first + 20):
        problem = random_problem(np.random.default_rng(seed))
        result = minimise(problem, Limits(seed=seed), own=own(problem) if seed % 4 else None)
        assert result.status is Status.OPTIMAL
        assert result.bound == brute_force(problem) == result.answer.value == value_of(problem, result.answer)


def test_three_units():
    for seed in range(3):
        problem = random_problem(np.random.default_rng(seed), outputs=2, hidden=3)
        problem = JointProblem(tuple(replace(part, outputs=(-1, 1, 1)) for part in problem.parts))
        assert minimise(problem, Limits(), own=own(problem)).bound == brute_force(problem)


def test_no_bound_on_the_way_is_above_the_optimum(unlisted):
    """Whatever stops the search, and whatever it told before."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        problem = random_problem(rng, outputs=2 + seed % 2, hidden=2 - seed % 2)
        best, told = brute_force(problem), []
        asked = iter(range(10**9))
        outside = JointOutside(lambda asked=asked, most=10 * seed: next(asked) > most, on_bound=told.append)
        for result in (minimise(problem, Limits(), outside=outside), minimise(problem, Limits(nodes=seed))):
            assert result.bound <= best
            assert result.status in (Status.INTERRUPTED, Status.NODE_LIMIT, Status.OPTIMAL)
        assert all(bound <= best for bound in told)
    late = minimise(problem, Limits(seconds=0))
    assert late.status in (Status.TIME_LIMIT, Status.OPTIMAL)
    assert late.bound <= best


def test_interrupting_keeps_the_bound(monkeypatch):
    problem = random_problem(np.random.default_rng(3), outputs=3, hidden=2)
    calls = iter(range(10**9))

    def interrupt(*args):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return improve(*args)

    improve = driver.improve
    monkeypatch.setattr(driver, "improve", interrupt)
    result = minimise(problem, Limits())
    assert result.status is Status.INTERRUPTED
    assert 0 < result.bound <= brute_force(problem) <= result.answer.value


@pytest.mark.parametrize("seed", range(6))
def test_no_network_is_below_any_cut(seed, unlisted):
    """The evidence of a search that is stopped early, or not, is derived again in integers."""
    problem = random_problem(np.random.default_rng(seed), outputs=2 + seed % 2, hidden=1 + seed % 2)
    best = brute_force(problem)
    for limits in (Limits(nodes=4 * seed), Limits()):
        result = minimise(problem, limits, own=own(problem), record=True)
        again = check(problem, result.evidence, agreement.check)
        assert again <= best
        if not any(region.enumerated for region in result.evidence.regions):
            assert again >= result.bound
    assert result.bound == best


def test_listed_units_are_tried_again_by_the_check():
    for seed in range(6):
        problem = random_problem(np.random.default_rng(seed), outputs=2, hidden=2)
        result = minimise(problem, Limits(), record=True)
        assert check(problem, result.evidence, agreement.check) <= brute_force(problem) == result.bound


def test_the_check_misses_nothing(unlisted):
    problem = random_problem(np.random.default_rng(5), levels=(-1, 1), outputs=2, hidden=2)
    evidence = minimise(problem, Limits(), record=True).evidence
    used = next(region.cut for region in evidence.regions if region.cut >= 0)
    cut = evidence.cuts[used]

    def broken(**changes):
        return replace(evidence, cuts=(*evidence.cuts[:used], replace(cut, **changes), *evidence.cuts[used + 1 :]))

    with pytest.raises(InputError, match="no region"):
        check(problem, replace(evidence, regions=evidence.regions[1:]), agreement.check)
    with pytest.raises(InputError, match="less than"):
        check(problem, broken(agreement=tuple(a - 5 for a in cut.agreement)), agreement.check)
    with pytest.raises(InputError, match="than the cut claims"):
        check(problem, broken(proofs=(), agreement=tuple(a - 2**20 for a in cut.agreement)), agreement.check)
    with pytest.raises(InputError, match="needs proofs"):
        check(problem, broken(proofs=tuple(one[:-1] for one in cut.proofs)), agreement.check)
    with pytest.raises(InputError, match="order"):
        check(problem, replace(evidence, order=(0, 0)), agreement.check)
    strong = tuple(tuple((side, bound + 2**28, leaves) for side, bound, leaves in one) for one in cut.proofs)
    with pytest.raises(ValueError, match=r"."):
        check(problem, broken(proofs=strong), agreement.check)


def test_own_bounds_hold_for_each_layer():
    for seed in range(4):
        problem = random_problem(np.random.default_rng(seed), outputs=2, hidden=2)
        units, one, bounds = all_units(problem), problem.units, own(problem)
        weights, biases = layers_of_one(problem)
        for o, part in enumerate(problem.parts):
            table = part.losses(np.arange(-20, 21)) * one.multiplicity[:, None]
            least = np.full(len(biases), np.iinfo(np.int64).max)
            for chosen in product(range(len(units)), repeat=2):
                scores = weights @ units[list(chosen)] + biases[:, None] + 20
                least = np.minimum(least, table[np.arange(scores.shape[1]), scores].sum(axis=1))
            assert np.all((bounds[o] <= least) | (bounds[o] == least.min()))
            assert bounds[o].min() == least.min()


@pytest.mark.parametrize("mirrored", [True, False])
def test_extensions_reach_every_layer_once(mirrored):
    weights = np.array(list(product((-1, 0, 1), repeat=2)))
    first = [weights[i][:, None] for i in extensions(np.zeros((2, 0), np.int64), weights, mirrored)]
    both = [np.column_stack([p, weights[i]]) for p in first for i in extensions(p, weights, mirrored)]

    def ordered(rows):
        upright = [-row if mirrored and row[np.flatnonzero(row)[:1]].sum() < 0 else row for row in rows]
        return tuple(sorted((tuple(row) for row in upright), reverse=True))

    expected = {ordered(np.column_stack(pair)) for pair in product(weights, repeat=2)}
    assert sorted(tuple(map(tuple, rows)) for rows in both) == sorted(expected)


def test_the_master_finds_the_value_of_its_linear_program():
    from scipy.optimize import linprog

    rng = np.random.default_rng(2)
    n, K, h = 7, 6, 2
    table, columns = rng.random((n, 4)), rng.choice([-1.0, 1.0], (K, n))
    signs = np.array(list(product((-1, 1), repeat=h)), dtype=float)
    master = JointMaster(table, signs)
    point, weights = master.centre(master.repaired(None, columns), columns, gap=1e-3)
    A, b = np.zeros((h * n + n + h, 4 * n + h * K)), np.append(np.zeros(h * n), np.ones(n + h))
    for i in range(h):
        for k in range(n):
            A[i * n + k, 4 * k : 4 * k + 4] = signs[:, i]
            A[i * n + k, 4 * n + i * K : 4 * n + (i + 1) * K] = -columns[:, k]
        A[h * n + n + i, 4 * n + i * K : 4 * n + (i + 1) * K] = 1
    for k in range(n):
        A[h * n + k, 4 * k : 4 * k + 4] = 1
    exact = linprog(np.append(table.ravel(), np.zeros(h * K)), A_eq=A, b_eq=b)
    assert exact.fun - 2e-3 <= master.value(point) <= exact.fun + 1e-9
    assert weights.sum(axis=1) == pytest.approx(np.ones(h), rel=0.05)


def test_a_known_loss_ends_the_search():
    problem = random_problem(np.random.default_rng(5), outputs=2, hidden=2)
    best = minimise(problem, Limits()).bound
    told = minimise(problem, Limits(), outside=JointOutside(best=lambda: best))
    assert (told.status, told.bound) == (Status.OPTIMAL, best)


def test_what_does_not_fit_is_refused():
    problem = random_problem(np.random.default_rng(0), outputs=2, hidden=2)
    with pytest.raises(InputError, match="outputs"):
        JointProblem(())
    with pytest.raises(InputError, match="same samples"):
        JointProblem((problem.parts[0], replace(problem.parts[1], hidden=3)))
    many = JointProblem(tuple(replace(part, hidden=9) for part in problem.parts))
    assert "layers of one output are too many" in joint_hull.obstacle(many)
    with pytest.raises(CapabilityError, match="own bounds"):
        minimise(many, Limits())


@pytest.mark.parametrize("loss", [SatMargin(), MinHinge(), Logistic(1.0)])
@pytest.mark.parametrize("seed", range(5))
def test_networks_with_several_outputs_are_trained_to_the_best(loss, seed):
    """Without side constraints there is a proof; prices leave a bound."""
    rng = np.random.default_rng(seed)
    problem = None
    while problem is None or len(problem.dataset.classes) < 3 or Hull.obstacle(problem):
        problem = odd_problem(rng, loss, (1 + seed % 2,), 5, 2, 100_000)
    certificate, best = Hull().train(problem, Limits()).certificate, optimum(problem)
    assert certificate.bound <= best
    if best is not None:
        assert certificate.loss >= best
        if not problem.constraints:
            assert (certificate.loss, certificate.bound, certificate.proved_by) == (best, best, PROVER)


def test_where_the_joint_bound_does_not_apply_the_sum_holds(monkeypatch):
    rng = np.random.default_rng(1)
    shape = Architecture.build(1, 3, (2,), IntegerDomain.ternary())
    problem = Problem(shape, random_dataset(rng, 6, 1, 3, 5), Logistic(1.0))
    joint = Hull().train(problem, Limits())
    monkeypatch.setattr(trainer.joint_hull, "obstacle", lambda problem: "of a test")
    alone = Hull().train(problem, Limits())
    assert 0 < alone.certificate.bound < joint.certificate.bound == joint.certificate.loss
    assert "outputs share units: of a test" in alone.message


def test_prices_leave_a_bound_and_say_so():
    rng = np.random.default_rng(1)
    shape = Architecture.build(1, 3, (1,), IntegerDomain.ternary())
    problem = Problem(shape, random_dataset(rng, 6, 1, 3, 5), Logistic(1.0), (Sparsity(0.25),))
    result = Hull().train(problem, Limits())
    assert 0 < result.certificate.bound < result.certificate.loss
    assert result.message == "the hull leaves out side constraints"


@pytest.mark.parametrize("h", [1, 2, 3])
def test_combining_units_finds_the_best_hidden_layer(h):
    """Whatever the slopes are, reduced costs leave no better hidden layer out."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n, signs = 6, np.array(list(product((-1, 1), repeat=h)))
        table, patterns = rng.integers(0, 50, (n, 2**h)), rng.choice([-1, 1], (7, n)).astype(np.int8)
        slopes, quotient = rng.integers(-20, 21, (h, n)), int(rng.integers(1, 4))
        rows = np.arange(1, h + 1)[:, None]
        if seed % 4 == 0:
            slopes[0], slopes[-1] = 0, 0
        if seed % 4 == 1 and h == 2:
            slopes[0], rows[0], table[:, 2] = slopes[1], rows[1], table[:, 1]
        cut = joint_hull.JointCut(slopes, quotient, tuple(int((-patterns @ g).max()) for g in slopes.astype(np.int64)))
        places = 2 ** np.arange(h)[::-1]
        cells = [(patterns[list(units)] > 0).T @ places for units in product(range(7), repeat=h)]
        best, known = min(int(table[np.arange(n), one].sum()) for one in cells), int(rng.integers(60, 400))
        value, visits, chosen = known, 10**6, np.zeros(h, dtype=np.int64)
        own = int((quotient * table - slopes.T @ signs.T).min(axis=1).sum())
        room = max(0, quotient * (known - 1) - own + sum(cut.agreement))
        hidden = Hidden(table, cut, patterns, signs, rows, room)
        assert hidden.alike.tolist() == [0] * h if seed % 4 != 1 or h != 2 else [0, 1]
        for first in range(int(hidden.count[0])):
            value, visits = hidden.best(value, first, visits, chosen)
        assert visits >= 0
        assert value == min(best, known)
        if best < known:
            assert table[np.arange(n), (patterns[chosen] > 0).T @ places].sum() == best
