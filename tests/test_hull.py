"""Laws of the hull bound: brute force over all networks, evidence that can be derived again, limits."""

from dataclasses import replace
from itertools import combinations_with_replacement, product

import numpy as np
import pytest

from provenn.bounds import agreement
from provenn.bounds._hull_master import Master
from provenn.bounds._hull_regions import bound_by, denominator, roots, split, table
from provenn.bounds.hull import HullProblem, Outside, check, minimise
from provenn.errors import CapabilityError, InputError
from provenn.formulations import Problem
from provenn.formulations.sparsity import Sparsity
from provenn.losses.logistic import Logistic, LogisticCurve
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_hinge import MinHinge
from provenn.losses.min_weight import MinWeight
from provenn.losses.sat_margin import SatMargin
from provenn.milp import Limits
from provenn.network import Architecture, IntegerDomain
from provenn.status import Status
from provenn.testing.toys import domains, optimum, random_dataset, random_losses
from provenn.trainers.hull import PROVER, Hull

DOMAINS = [(-1, 1, 2), (-1, 1, 1), (-2, 2, 1), (0, 2, 1)]


def random_problem(rng, levels=(-1, 1), hidden=None, n=None, inner=None, outer=None):
    n, d = n or int(rng.integers(3, 9)), int(rng.integers(1, 3))
    scale = int(rng.choice([1, 3, 100]))
    X = rng.integers(0, scale + 1, (n, d))
    inner = inner or DOMAINS[rng.integers(len(DOMAINS))]
    outer = outer or DOMAINS[rng.integers(len(DOMAINS))]
    hidden = hidden or int(rng.integers(1, 4))
    losses = random_losses(rng, n)
    bias = None if rng.random() < 0.3 else inner
    output_bias = None if rng.random() < 0.3 else outer
    low, high = np.full(d, inner[0]), np.full(d, inner[1])
    multiplicity = rng.integers(1, 4, n)
    return HullProblem(
        X, multiplicity, scale, low, high, inner[2], bias, hidden, outer, output_bias, losses, levels
    )  # fmt: skip


def values(domain):
    return [0] if domain is None else list(range(domain[0], domain[1] + 1, domain[2]))


def all_units(problem):
    d = problem.X.shape[1]
    box = (int(problem.low[0]), int(problem.high[0]), problem.step)
    neurons = np.array(list(product(*[values(box)] * d, values(problem.bias))))
    fires = neurons[:, :-1] @ problem.X.T + problem.scale * neurons[:, -1:] >= 0
    return np.unique(np.where(fires, problem.levels[1], problem.levels[0]), axis=0)


def brute_force(problem):
    units, best = all_units(problem), None
    for chosen in combinations_with_replacement(range(len(units)), problem.hidden):
        for v in product(values(problem.outputs), repeat=problem.hidden):
            sums = np.array(v) @ units[list(chosen)]
            for b in values(problem.output_bias):
                loss = problem.losses(np.arange(-20, 21))[np.arange(len(sums)), sums + b + 20]
                value = int(loss @ problem.multiplicity)
                best = value if best is None else min(best, value)
    return best


def value_of(problem, answer):
    fires = problem.X @ answer.w + problem.scale * answer.b >= 0
    units = np.where(fires, problem.levels[1], problem.levels[0])
    scores = units @ answer.v + answer.c
    loss = problem.losses(np.arange(-20, 21))[np.arange(len(scores)), scores + 20]
    return int(loss @ problem.multiplicity)


@pytest.mark.parametrize("levels", [(-1, 1), (0, 1)])
@pytest.mark.parametrize("seed", range(40))
def test_the_bound_is_the_optimum(seed, levels):
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, levels, hidden=1 + seed % 2)
    optimum = brute_force(problem)
    told = []
    result = minimise(problem, Limits(seed=seed), outside=Outside(on_bound=told.append))
    assert told == sorted(told)
    assert result.status is Status.OPTIMAL
    assert result.bound == optimum == result.answer.value == value_of(problem, result.answer)


def test_three_units():
    for seed in range(6):
        problem = random_problem(np.random.default_rng(seed), hidden=3, inner=(-1, 1, 1), outer=(-1, 1, 1), n=6)
        assert minimise(problem, Limits()).bound == brute_force(problem)


def test_ranges_of_totals_reach_the_optimum():
    """Many output layers begin as ranges of totals, which split."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        t, curve = rng.choice([-1, 1], 5), LogisticCurve(2.0)
        problem = replace(
            random_problem(rng, hidden=3, inner=(-1, 1, 1), outer=(-6, 6, 1), n=5),
            output_bias=None,
            losses=lambda scores, t=t, curve=curve: curve.exact(t[:, None] * scores),
        )
        assert all(region.least < region.most for region in roots(problem))
        assert minimise(problem, Limits(seconds=60)).bound == brute_force(problem)


def test_no_network_is_below_any_cut():
    """The bound of any slopes holds, whatever the search does."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        problem = random_problem(rng, hidden=2)
        optimum = brute_force(problem)
        result = minimise(problem, Limits(nodes=1), record=True)
        assert result.bound <= optimum
        for cut in result.evidence.cuts:
            bounds = [bound_by(problem, region, table(problem, region), cut) for region in roots(problem)]
            assert min(bounds) <= optimum


def test_the_evidence_gives_the_bound_again():
    for seed in range(15):
        problem = random_problem(np.random.default_rng(seed), levels=(-1, 1) if seed % 3 else (0, 1), hidden=2)
        result = minimise(problem, Limits(), record=True)
        again = check(problem, result.evidence, agreement.check)
        optimum = brute_force(problem)
        assert again <= optimum == result.bound
        if not any(result.evidence.enumerated):
            assert again == result.bound


def test_the_check_misses_nothing():
    problem = random_problem(np.random.default_rng(3), hidden=2, inner=(-1, 1, 1), outer=(-1, 1, 1))
    evidence = minimise(problem, Limits(), record=True).evidence
    used = next(number for number in evidence.cut if number >= 0)
    cuts = list(evidence.cuts)

    def broken(**changes):
        return replace(evidence, cuts=tuple([*cuts[:used], replace(cuts[used], **changes), *cuts[used + 1 :]]))

    with pytest.raises(InputError, match="no region"):
        check(problem, replace(evidence, regions=evidence.regions[1:], cut=evidence.cut[1:]), agreement.check)
    with pytest.raises(InputError, match="less than"):
        check(problem, broken(agreement=cuts[used].agreement - 5), agreement.check)
    with pytest.raises(InputError, match="proofs"):
        check(problem, broken(proofs=cuts[used].proofs[:1]), agreement.check)
    too_strong = tuple((side, bound + 2**27, leaves) for side, bound, leaves in cuts[used].proofs)
    with pytest.raises(ValueError, match=r"."):
        check(problem, broken(proofs=too_strong), agreement.check)


def test_regions_hold_every_layer_once_they_are_split():
    problem = random_problem(np.random.default_rng(0), hidden=3, outer=(-3, 3, 1))
    regions = roots(problem)
    while True:
        parts = [part for region in regions for part in split(problem, region)]
        if len(parts) == len(regions):
            break
        regions = parts
    layers = {(region.base, region.magnitudes) for region in regions}
    expected = {
        (denominator(problem) * b, tuple(m for m in sorted(map(abs, v), reverse=True) if m))
        for v in product(values(problem.outputs), repeat=3)
        for b in values(problem.output_bias)
    }
    assert layers == expected


def test_the_master_finds_the_value_of_its_linear_program():
    from scipy.optimize import linprog

    rng = np.random.default_rng(2)
    n, K, h = 12, 9, 2
    curve, t = LogisticCurve(1.0), rng.choice([-1, 1], n)
    offsets = np.array([-2, 0, 2])
    losses = curve.exact(t[:, None] * offsets).astype(float)
    columns = rng.choice([-1.0, 1.0], (K, n))
    master = Master(losses, offsets.astype(float), np.ones(n), float(h))
    point, weights = master.centre(master.start(columns), columns, gap=1.0)
    slopes = np.diff(losses, axis=1) / 2
    A = np.vstack([np.hstack([slopes[:, [i]] * columns.T, -np.eye(n)]) for i in range(2)])
    b = np.concatenate([slopes[:, i] * offsets[i] - losses[:, i] for i in range(2)])
    exact = linprog(
        np.append(np.zeros(K), np.ones(n)), A, b, np.append(np.ones(K), np.zeros(n))[None], [h],
        [(0, None)] * K + [(None, None)] * n,
    )  # fmt: skip
    assert exact.fun - 2.0 <= master.value(point) <= exact.fun + 1e-6
    assert weights.sum() == pytest.approx(h, rel=0.05)


def test_a_known_loss_ends_the_search():
    problem = random_problem(np.random.default_rng(5), hidden=2)
    optimum = minimise(problem, Limits()).bound
    told = minimise(problem, Limits(), outside=Outside(best=lambda: optimum))
    assert told.status is Status.OPTIMAL
    assert told.bound == optimum


def test_limits_and_stops_leave_a_valid_bound():
    rng = np.random.default_rng(7)
    problem = random_problem(rng, hidden=2, n=8)
    optimum = brute_force(problem)
    for limits, status in ((Limits(seconds=0), Status.TIME_LIMIT), (Limits(nodes=0), Status.NODE_LIMIT)):
        result = minimise(problem, limits)
        assert result.bound <= optimum
        assert result.status in (status, Status.OPTIMAL)
    stopped = minimise(problem, Limits(), outside=Outside(stopped=lambda: True))
    assert stopped.bound <= optimum


def test_bad_problems_are_refused():
    problem = random_problem(np.random.default_rng(0))
    with pytest.raises(InputError, match="hidden units"):
        replace(problem, hidden=0)
    with pytest.raises(InputError, match="levels"):
        replace(problem, levels=(1, 2))
    with pytest.raises(CapabilityError, match="output layers"):
        minimise(replace(problem, hidden=8, outputs=(-7, 7, 1), levels=(0, 1)), Limits())


@pytest.mark.parametrize("loss", [MaxCorrect(), SatMargin(), MinHinge(), Logistic(0.5)])
@pytest.mark.parametrize("activation", ["sign", "step"])
@pytest.mark.parametrize("seed", range(6))
def test_networks_are_trained_to_the_best(loss, seed, activation):
    rng = np.random.default_rng(seed)
    domain = domains()[seed % 3]
    bias = domain if rng.random() < 0.7 else None
    shape = Architecture.build(2, 2, (1 + (seed % 3 == 0),), domain, bias, activation=activation)
    problem = Problem(shape, random_dataset(rng, 7, 2, 2, int(rng.choice([1, 3, 10]))), loss)
    result = Hull().train(problem, Limits())
    assert (result.certificate.loss, result.certificate.bound) == (optimum(problem),) * 2
    assert result.certificate.proved_by == PROVER


def test_several_outputs_and_prices_leave_a_bound():
    for seed in range(6):
        rng = np.random.default_rng(seed)
        shape = Architecture.build(1, 3, (1,), IntegerDomain.ternary(), activation=("sign", "step")[seed // 3])
        prices = (Sparsity(0.25),) if seed % 2 else ()
        problem = Problem(shape, random_dataset(rng, 6, 1, 3, 5), Logistic(1.0), prices)
        certificate = Hull().train(problem, Limits()).certificate
        assert 0 < certificate.bound <= optimum(problem) <= certificate.loss


def test_what_does_not_fit_is_refused():
    data = random_dataset(np.random.default_rng(0), 6, 2, 2, 5)
    for hidden, loss in [
        ((), Logistic(1.0)),
        ((2, 2), Logistic(1.0)),
        ((2,), SatMargin(kept_only=True)),
        ((2,), MinWeight()),
    ]:
        problem = Problem(Architecture.build(2, 2, hidden), data, loss)
        assert Hull.obstacle(problem)
        with pytest.raises(CapabilityError, match="hull"):
            Hull().train(problem, Limits())
    real = [IntegerDomain.continuous(), IntegerDomain.ternary()]
    assert "continuous" in Hull.obstacle(Problem(Architecture.build(2, 2, (2,), real), data, Logistic()))
    many = Architecture.build(2, 2, (3,), IntegerDomain.symmetric(3), activation="step")
    assert "84 output layers are too many" in Hull.obstacle(Problem(many, data, Logistic()))
    assert Hull.obstacle(Problem(Architecture.build(2, 2, (3,), activation="step"), data, Logistic())) is None
