import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.utils.estimator_checks import parametrize_with_checks

from provenn.errors import InputError
from provenn.network import Grid, Thermometer

MATRICES = arrays(np.float64, st.tuples(st.integers(2, 12), st.integers(1, 4)), elements=st.floats(-1e6, 1e6, width=32))


@parametrize_with_checks([Grid(), Grid(scaling="standard"), Thermometer()])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@given(MATRICES, st.integers(1, 10_000))
def test_minmax_grid_covers_exactly_its_range(X, steps):
    Z = Grid(steps).fit_transform(X)
    assert Z.dtype == np.int64
    assert Z.min() >= 0
    assert Z.max() <= steps
    for x, z in zip(X.T, Z.T, strict=True):
        if np.ptp(x) > 0:
            assert z[x.argmin()] == 0
            assert z[x.argmax()] == steps
        else:
            assert not z.any()


@given(MATRICES)
def test_grid_keeps_order_and_inverts_within_half_a_step(X):
    grid = Grid(1000).fit(X)
    Z = grid.transform(X)
    for x, z in zip(X.T, Z.T, strict=True):
        assert np.all(np.diff(z[np.argsort(x, kind="stable")]) >= 0)
    back = grid.inverse_transform(Z)
    assert np.all(np.abs(back - X) <= grid.divisor_ * 0.50001 / 1000 + 1e-6 * np.abs(X))


@given(MATRICES, st.integers(1, 8))
def test_thermometer_bits_are_thresholds_in_order(X, bits):
    thermometer = Thermometer(bits).fit(X)
    B, at = thermometer.transform(X), 0
    for x, cuts in zip(X.T, thermometer.thresholds_, strict=True):
        assert np.array_equal(cuts, np.unique(cuts))
        assert len(cuts) <= bits
        assert (len(cuts) > 0) == (np.ptp(x) > 0)
        for j, cut in enumerate(cuts):
            assert np.array_equal(B[:, at + j] == 1, x >= cut)
            assert 0 < B[:, at + j].sum() < len(x)
        at += len(cuts)
    assert B.shape[1] == at


def test_far_values_are_clipped_not_wrapped():
    grid = Grid(10).fit([[0.0], [1e-300]])
    assert abs(grid.transform([[1e300]])[0, 0]) == 2**30


@pytest.mark.parametrize("bad", [Grid(0), Grid(2**31), Grid(scaling="log"), Thermometer(0), Thermometer(65)])
def test_bad_options_are_refused(bad):
    with pytest.raises(InputError):
        bad.fit([[0.0], [1.0]])
