"""Losses against independent arithmetic: decimals, fractions and definitions."""

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenn.errors import CapabilityError, InputError, OverflowRiskError
from provenn.formulations import Problem
from provenn.losses._base import output_bound, weighted_sum
from provenn.losses._curves import HINGE, LOGISTIC, curve_point, curve_points
from provenn.losses._epigraph import _hull, _tangents
from provenn.losses.cross_entropy import CrossEntropy
from provenn.losses.logistic import Logistic, LogisticCurve
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.max_margin import MaxMargin
from provenn.losses.min_hinge import HingeCurve, MinHinge
from provenn.losses.min_weight import MinWeight
from provenn.losses.sat_margin import SatMargin
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.testing.toys import losses


def micro_nats(z: int, tau: float) -> int:
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = 80, 10**15, -(10**15)
        return round(1_000_000 * (1 + (-Decimal(z) / Decimal(tau)).exp()).ln())


@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=20), st.floats(0.05, 1e5))
def test_the_logistic_table_is_correctly_rounded(z, tau):
    assert LogisticCurve(tau).exact(np.array(z)).tolist() == [micro_nats(v, tau) for v in z]


def test_the_logistic_table_survives_extremes():
    table = LogisticCurve(1.0).exact(np.array([-(10**9), 0, 10**9]))
    assert table.tolist() == [10**15, 693147, 0]


@given(st.integers(-500, 500), st.integers(1, 120))
def test_the_hinge_is_its_definition(z, B):
    h = Fraction(2 * z, B)
    gap = max(Fraction(0), Fraction(1, 2) - h)
    real = gap**2 if h >= -1 else Fraction(9, 4) - 3 * (h + 1)
    curve = HingeCurve(B)
    assert int(curve.exact(np.array([z]))[0]) * curve.unit == real


@given(st.sampled_from([LOGISTIC, HINGE]), st.integers(1, 500), st.floats(-2000, 2000), st.floats(0.05, 50))
def test_compiled_curves_equal_their_numpy_twins(code, B, z, tau):
    p = (1e6, tau) if code == LOGISTIC else (float(B), 0.0)
    one = curve_point(code, *p, z)
    many = curve_points(code, *p, np.array([z]))
    for a, b in zip(one, many, strict=True):
        assert a == pytest.approx(b[0], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("curve", [LogisticCurve(0.3), LogisticCurve(7.0), HingeCurve(9), HingeCurve(40)], ids=repr)
def test_smooth_curves_are_convex_and_within_slack_of_the_table(curve):
    z = np.arange(-300, 301)
    f, slope, curvature = curve_points(curve.code, *curve.parameters, z.astype(float))
    assert np.all(np.abs(curve.exact(z) - f) <= curve.slack + 1e-6)
    assert np.all(np.diff(slope) >= -1e-9)
    assert np.all(curvature >= 0)


@pytest.mark.parametrize("curve", [LogisticCurve(0.3), LogisticCurve(11.0), HingeCurve(9), HingeCurve(40)], ids=repr)
def test_the_hull_with_integer_columns_is_the_table(curve):
    q, p, c = _hull(curve, 60)
    z = np.arange(-60, 61)
    lowest = np.max(np.ceil((c[None, :] + p[None, :] * z[:, None]) / q[None, :] - 1e-12), axis=1)
    assert lowest.astype(int).tolist() == curve.exact(z).tolist()


@pytest.mark.parametrize("curve", [LogisticCurve(900.0), LogisticCurve(12345.6), HingeCurve(5001)], ids=repr)
def test_tangents_are_valid_and_tight_where_they_touch(curve):
    reach = 20_000
    points = np.array([[-reach, -5000, -77, 0, 1250, 9999, reach]])
    q, p, c = (part[0].astype(object) for part in _tangents(curve, points, reach))
    every = np.arange(-reach, reach + 1, 7)
    for qi, pi, ci in zip(q, p, c, strict=True):
        assert np.all(qi * curve.exact(every).astype(object) - pi * every >= ci)
    for i, z in enumerate(points[0]):
        least = -((-(c[i] + p[i] * int(z))) // q[i])
        assert abs(least - int(curve.exact(np.array([z]))[0])) <= 1 + 1e-6 * abs(float(least))


def xor():
    return Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])


def test_sat_margin_counts_outputs_with_little_margin():
    data = Dataset.merge([[0], [1], [5]], [0, 1, 1], [1, 2, 3])
    net = IntegerNetwork.of(Architecture.build(1, 2), [[[1]]], [[0]])
    B = output_bound(net.architecture, data)
    assert round(17 / 6) == B
    assert SatMargin().value(net, data) == 1 * (B > 0) + 2 * (B > 4) + 3 * (B > 20)


def test_the_published_rule_needs_exactly_one_firing_output():
    data = xor()
    both = IntegerNetwork.of(Architecture.build(2, 2, outputs=2), [[[0, 0], [0, 0]]], [[1, 1]])
    one = IntegerNetwork.of(Architecture.build(2, 2, outputs=2), [[[0, 0], [0, 0]]], [[1, -1]])
    assert MaxCorrect("published").value(both, data) is None
    assert MaxCorrect("published").value(one, data) == 2
    assert MaxCorrect().value(both, data) == 2


def test_hard_losses_have_no_value_where_a_sample_is_wrong():
    constant = IntegerNetwork.constant(Architecture.build(2, 2), 1)
    assert MinWeight().value(constant, xor()) is None
    assert MaxMargin().value(constant, xor()) is None


def test_xor_needs_a_hidden_layer_and_then_has_a_margin():
    shape = Architecture.build(2, 2, hidden=(2,))
    net = IntegerNetwork.of(shape, [[[1, -1], [1, -1]], [[1], [1]]], [[-1, 1], [-1]])
    assert net.predict(xor().X).tolist() == xor().y.tolist()
    assert MinWeight().value(net, xor()) == 9
    assert MinWeight(count_biases=False).value(net, xor()) == 6
    assert MaxMargin().value(net, xor()) is not None


def test_min_hinge_of_a_confident_network_is_zero():
    data = Dataset.merge([[-4], [4]], [0, 1])
    net = IntegerNetwork.of(Architecture.build(1, 2, weights=IntegerDomain.symmetric(3)), [[[3]]], [[0]])
    assert MinHinge().value(net, data) == 0


def test_weighted_sums_do_not_overflow():
    big = np.array([2**62, 2**62], dtype=np.int64)
    assert weighted_sum(big, np.array([3, 5])) == 8 * 2**62


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf"), 1e9])
def test_bad_temperatures_are_refused(temperature):
    with pytest.raises(InputError, match="temperature"):
        Logistic(temperature)


def test_bad_rules_are_refused():
    with pytest.raises(InputError, match="unknown rule"):
        MaxCorrect("majority")
    with pytest.raises(InputError, match="kept_only"):
        SatMargin(kept_only=True).check(Architecture.build(2, 2), xor())


@pytest.mark.parametrize("loss", [*losses(), CrossEntropy()], ids=repr)
def test_no_network_goes_below_the_floor(loss):
    rng = np.random.default_rng(11)
    data = Dataset.merge(rng.integers(0, 2, (12, 2)), rng.integers(0, 2, 12))
    shape = Architecture.build(2, 2, (2,), outputs=2)
    floor = loss.floor(data)
    for _ in range(200):
        value = loss.value(IntegerNetwork.random(shape, rng), data)
        assert floor is None or value is None or value >= floor
    assert (floor is None) == (type(loss).__name__ == "MaxMargin")


@pytest.mark.parametrize("seed", range(20))
def test_cross_entropy_is_the_rounded_sum(seed):
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 5))
    X = rng.integers(0, 4, (9, 3))
    data = Dataset.merge(X, np.concatenate([np.arange(classes), rng.integers(0, classes, 9 - classes)]), scale=3)
    shape = Architecture.build(3, classes, [(), (4,)][seed % 2])
    network, tau = IntegerNetwork.random(shape, rng, 3), float(rng.choice([0.1, 1.0, 7.0]))
    s = network.scores(data.X) / (tau * (1 if shape.hidden else 3))
    s = np.column_stack([np.zeros(len(s)), s]) if classes == 2 else s
    terms = np.logaddexp.reduce(s, axis=1) - s[np.arange(len(s)), data.y]
    exact = CrossEntropy(tau).value(network, data)
    assert exact == pytest.approx(1e6 * terms @ data.multiplicity, abs=0.51 * data.total)
    with pytest.raises(CapabilityError, match="cross_entropy"):
        Problem(shape, data, CrossEntropy(tau)).encode()


def test_a_hinge_on_a_grid_that_is_too_fine_is_refused():
    data = Dataset.merge([[2**32, 0], [0, 2**32]], [0, 1])
    with pytest.raises(OverflowRiskError, match="coarser grid"):
        Problem(Architecture.build(2, 2, weights=IntegerDomain.symmetric(100)), data, MinHinge())
