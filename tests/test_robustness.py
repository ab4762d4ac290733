"""Verification of perturbations: against sampling, breakpoints on a line, corners, and exact forward passes."""

import itertools
import json
from fractions import Fraction
from math import inf, isinf

import numpy as np
import pytest

from provenn._robustness_ball import Ball, finer
from provenn.errors import InputError
from provenn.milp import Limits
from provenn.network import Architecture, IntegerDomain, IntegerNetwork
from provenn.network.intervals import NORMS
from provenn.robustness import (
    attacked_accuracy,
    certified_accuracy,
    certify,
    noisy_accuracy,
    smallest_perturbation,
)
from provenn.solvers import Solver
from provenn.trainers.robust_convex import RobustConvex

FINE = 64


def random_net(rng, hidden, d=2, classes=None, scale=10, domain=None):
    classes = int(rng.integers(2, 4)) if classes is None else classes
    domain = domain or (IntegerDomain.ternary(), IntegerDomain.symmetric(3), IntegerDomain.binary())[rng.integers(3)]
    activation = ("sign", "step")[rng.integers(2)]
    shape = Architecture.build(d, classes, hidden, domain, activation=activation)
    return IntegerNetwork.random(shape, rng, scale)


def predictions_around(net, x, ball, points):
    """Predictions at fine points of the ball, given as real perturbations."""
    fine = x * FINE + np.trunc(points * FINE).astype(np.int64)
    return finer(net, FINE).predict(fine)


def corners(ball):
    """All corners of the ball: exact for "inf" and "1", axis points for "2"."""
    if ball.norm == "inf":
        return np.array(list(itertools.product([-1, 1], repeat=len(ball.radius)))) * ball.radius
    eye = np.eye(len(ball.radius))
    return np.vstack([eye, -eye]) * ball.radius


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("hidden", [(), (2,), (5,), (3, 3)])
def test_certified_samples_survive_and_counterexamples_are_real(hidden, norm, rng):
    states = set()
    for _ in range(6):
        net = random_net(rng, hidden, d=3)
        X = rng.integers(-20, 21, (4, 3))
        R = rng.integers(0, 8, 3)
        ball = Ball(R, norm)
        report = certify(net, X, np.zeros(4), R, norm)
        for x, verdict in zip(X, report.verdicts, strict=True):
            states.add(verdict.state)
            before = int(net.predict(x[None])[0])
            if verdict.state == "certified":
                points = np.vstack([ball.draw(rng, 10_000), corners(ball)])
                assert (predictions_around(net, x, ball, points) == before).all()
            elif verdict.state == "counterexample":
                found = verdict.counterexample
                assert found.confirmed(net, x, ball)
                inside = ball.size(found.perturbation(x), found.factor)
                assert inside <= 1
                at = [Fraction(v, found.factor) for v in found.x]
                assert predict_exactly(net, at) == found.prediction != before
    assert states >= {"certified", "counterexample"}


def predict_exactly(net, x):
    """The forward pass in fractions, independent of the library's."""
    h = [Fraction(v) for v in x]
    for number, (W, b, layer) in enumerate(zip(net.weights, net.biases, net.architecture.layers, strict=True)):
        unit = net.scale if number == 0 else 1
        a = [sum((h[i] * int(W[i, j]) for i in range(len(h))), Fraction(unit * int(b[j]))) for j in range(W.shape[1])]
        h = [1 if v >= 0 else layer.lowest for v in a]
    if len(a) == 1:
        return int(a[0] >= 0)
    return max(range(len(a)), key=lambda j: (a[j], -j))


@pytest.mark.parametrize("hidden", [(), (3,), (4, 2)])
def test_the_smallest_perturbation_on_a_line_is_the_nearest_breakpoint(hidden):
    rng = np.random.default_rng(3)
    for _ in range(10 if hidden else 30):
        net = random_net(rng, hidden, d=1)
        x, R = int(rng.integers(-30, 31)), int(rng.integers(1, 5))
        norm = NORMS[rng.integers(3)]
        truth = nearest_on_line(net, x)
        found = smallest_perturbation(net, [x], (R,), norm, largest=12)
        if truth is None or truth > 12 * R:
            assert found.witness is None
            assert isinf(found.lower) or found.lower <= (inf if truth is None else truth / R) + 1e-9
            assert isinf(found.lower)
            continue
        assert found.lower <= truth / R + 1e-9
        if truth < 12 * R:
            assert truth / R * (1 - 1e-9) <= found.upper <= truth / R * 1.001 + 3e-5
            assert found.lower >= truth / R * (1 - 1e-3) - 3e-5


def nearest_on_line(net, x):
    """Infimum of the distances at which a network with one input changes its prediction, by all breakpoints."""
    points = set()
    if net.architecture.hidden:
        points |= {
            Fraction(-net.scale * int(b), int(w)) for w, b in zip(net.weights[0][0], net.biases[0], strict=True) if w
        }
    else:
        W, b = net.weights[0][0], net.biases[0]
        pairs = [(0, None)] if len(W) == 1 else itertools.combinations(range(len(W)), 2)
        for i, j in pairs:
            w, c = int(W[i]), int(b[i])
            if j is not None:
                w, c = w - int(W[j]), c - int(b[j])
            if w:
                points.add(Fraction(-net.scale * c, w))
    before, best = predict_exactly(net, [Fraction(x)]), None
    tiny = Fraction(1, 10**9)
    for point in points:
        for near in (point - tiny, point, point + tiny):
            if predict_exactly(net, [near]) != before:
                distance = abs(point - x)
                best = distance if best is None else min(best, distance)
    return best


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("hidden", [(3,), (2, 2)])
def test_no_sampled_change_is_nearer_than_the_lower_bound(hidden, norm):
    rng, found_some = np.random.default_rng(5), 0
    for _ in range(5):
        net = random_net(rng, hidden, classes=3)
        x, R = rng.integers(-10, 11, 2), rng.integers(1, 4, 2)
        found = smallest_perturbation(net, x, R, norm, Limits(seconds=60), largest=5)
        ball, outer = Ball(R, norm), Ball(5 * R, norm)
        points = np.trunc(outer.draw(rng, 20_000) * FINE) / FINE
        changed = predictions_around(net, x, outer, points) != net.predict(x[None])
        sizes = [ball.factor_of(np.rint(p * FINE).astype(np.int64), FINE) for p in points[changed]]
        nearest = min(sizes, default=inf)
        assert found.lower <= nearest + 1e-6
        if found.witness is not None:
            found_some += 1
            assert found.lower <= found.upper <= found.lower * 1.002 + 3e-5
            assert found.upper <= nearest * 1.001 + 3e-5
            assert found.witness.confirmed(net, x, outer)
    assert found_some


def test_linear_networks_are_decided_at_their_corners(rng):
    for _ in range(40):
        net = random_net(rng, (), d=3)
        X, R = rng.integers(-9, 10, (3, 3)), rng.integers(0, 5, 3)
        report = certify(net, X, [0, 0, 0], R)
        for x, verdict in zip(X, report.verdicts, strict=True):
            now = net.predict(x + corners(Ball(R, "inf")))
            assert verdict.state == ("certified" if (now == net.predict(x[None])).all() else "counterexample")


def test_two_equal_units_do_not_confuse_the_program():
    shape = Architecture.build(1, 2, (2,), IntegerDomain.symmetric(3))
    # both units fire together: the score is 1 + 1 - 1 or -1 - 1 - 1 + ..., never the cell in between
    net = IntegerNetwork.of(shape, [[[1, 2]], [[1], [-1]]], [[-1, -2], [0]], scale=1)
    report = certify(net, [[3]], [1], (3,), tries=1)
    assert report.verdicts[0].state == "certified"
    opposite = IntegerNetwork.of(shape, [[[1, -1]], [[1], [1]]], [[0, 0], [-1]], scale=1)
    # both fire at 0 alone: score 1, elsewhere -1
    verdict = certify(opposite, [[3]], [0], (3,), tries=1).verdicts[0]
    assert verdict.state == "counterexample"
    assert verdict.counterexample.values.tolist() == [0.0]


def test_a_network_that_grows_the_radius_loses_certified_samples(rng):
    net = random_net(rng, (4,), d=3, classes=2)
    X = rng.integers(-30, 31, (30, 3))
    y = net.predict(X)
    shares = []
    for radius in (0, 1, 3, 6, 12):
        report = certify(net, X, y, (radius,) * 3)
        assert report.count("unknown") == 0
        assert certified_accuracy(net, X, y, (radius,) * 3) <= report.certified_accuracy
        attacked = attacked_accuracy(net, X, y, (radius,) * 3, rng=np.random.default_rng(0))
        assert report.certified_accuracy <= attacked
        assert report.certified_accuracy == report.attacked_accuracy
        assert noisy_accuracy(net, X, y, (radius,) * 3, rng=np.random.default_rng(0)) >= report.certified_accuracy
        shares.append(report.certified_accuracy)
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1.0


def test_attacks_find_nearly_all_counterexamples(rng):
    missed = total = 0
    for _ in range(5):
        net = random_net(rng, (6,), d=5, classes=2)
        X = rng.integers(-20, 21, (20, 5))
        verdicts = certify(net, X, net.predict(X), (4,) * 5).verdicts
        total += sum(v.state == "counterexample" for v in verdicts)
        missed += sum(v.state == "counterexample" and v.method == "highs" for v in verdicts)
    assert total > 20
    assert missed <= 0.1 * total


def test_without_time_open_samples_are_unknown_and_say_so(rng):
    net = random_net(rng, (6,), d=5, classes=2, domain=IntegerDomain.symmetric(3))
    X = rng.integers(-20, 21, (40, 5))
    report = certify(net, X, net.predict(X), (2,) * 5, limits=Limits(seconds=0))
    assert all(v.bound < 1 for v in report.verdicts if v.state == "unknown")
    full = certify(net, X, net.predict(X), (2,) * 5, limits=Limits(seconds=120, threads=2))
    for early, late in zip(report.verdicts, full.verdicts, strict=True):
        assert early.state in ("unknown", late.state)
    assert report.certified_accuracy <= full.certified_accuracy <= full.attacked_accuracy <= report.attacked_accuracy


def test_other_solvers_agree(rng):
    if not Solver.create("highs").available():
        pytest.skip("no second solver")
    scip = pytest.importorskip("pyscipopt")
    assert scip is not None
    net = random_net(rng, (4,), d=2, classes=2)
    X = rng.integers(-10, 11, (6, 2))
    one = certify(net, X, net.predict(X), (3, 3), tries=1)
    two = certify(net, X, net.predict(X), (3, 3), solver=Solver.create("scip"), tries=1)
    assert [v.state for v in one.verdicts] == [v.state for v in two.verdicts]


def test_continuous_weights_are_verified_exactly(rng):
    box = [IntegerDomain.continuous(1.0), IntegerDomain.ternary()]
    net = IntegerNetwork.random(Architecture.build(3, 2, (3,), box), rng, 100)
    X = rng.integers(0, 101, (10, 3))
    report = certify(net, X, net.predict(X), (10, 10, 10))
    ball = Ball(np.full(3, 10), "inf")
    for x, verdict in zip(X, report.verdicts, strict=True):
        if verdict.state == "certified":
            points = np.vstack([ball.draw(rng, 5_000), corners(ball)])
            assert (predictions_around(net, x, ball, points) == net.predict(x[None])).all()
        elif verdict.counterexample is not None:
            assert verdict.counterexample.confirmed(net, x, ball)
    assert report.count("unknown") == 0


def test_reports_are_json(rng):
    net = random_net(rng, (3,), d=2, classes=2)
    X = rng.integers(-10, 11, (8, 2))
    report = certify(net, X, net.predict(X), (3, 3))
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["certified"] + data["counterexample"] + data["unknown"] == data["samples"] == 8
    found = smallest_perturbation(net, X[0], (1, 1), largest=2)
    assert set(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == {"lower", "upper", "witness"}


def test_bad_questions_are_refused(rng):
    net = random_net(rng, (2,), d=2)
    X, y = [[0, 5], [3, 1]], [0, 1]
    for radius, norm, text in [
        ((-1, 0), "inf", "whole grid units"),
        ((6, 0), "inf", "larger than the range"),
        ((1,), "inf", "one entry"),
        ((1, 1), "max", "unknown norm"),
    ]:
        with pytest.raises(InputError, match=text):
            certify(net, X, y, radius, norm)
    with pytest.raises(InputError, match="class index"):
        certify(net, X, [0], (1, 1))
    with pytest.raises(InputError, match="largest"):
        smallest_perturbation(net, [0, 0], (1, 1), largest=0)


def test_draws_stay_in_the_ball_and_fill_it(rng):
    R = np.array([3, 0, 5])
    for norm in NORMS:
        ball = Ball(R, norm)
        drawn = ball.draw(rng, 4000)
        assert not drawn[:, 1].any()
        sizes = [ball.size(np.trunc(row * 2**20).astype(np.int64), 2**20) for row in drawn[:300]]
        assert max(sizes) <= 1
        inner = drawn[:, [0, 2]] / R[[0, 2]]
        share = np.mean(np.abs(inner).max(axis=1) < 0.5)
        volume = {"inf": 0.25, "1": 0.5, "2": 1 / np.pi}[norm]
        assert share == pytest.approx(volume, abs=0.04)


def test_the_engine_trains_networks_with_more_certified_samples(rng):
    from provenn.formulations import Problem
    from provenn.losses._worst_case import WorstCase
    from provenn.losses.logistic import Logistic
    from provenn.network import Dataset

    X = rng.integers(0, 101, (80, 6))
    y = (X[:, 0] + X[:, 1] - X[:, 2] + rng.integers(-20, 21, 80) > 50).astype(int)
    data, shape = Dataset.merge(X, y, scale=100), Architecture.build(6, 2, (), IntegerDomain.symmetric(3))
    shares = []
    for radius in (0, 10):
        problem = Problem(shape, data, WorstCase(Logistic(0.5), (radius,) * 6))
        net = RobustConvex().train(problem, Limits(seconds=60)).network
        shares.append(certify(net, data.X, data.y, (10,) * 6).certified_accuracy)
    assert shares[1] >= shares[0]
