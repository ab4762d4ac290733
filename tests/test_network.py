import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenn.errors import InputError, ModelFileError, OverflowRiskError
from provenn.network import Architecture, Dataset, Dense, IntegerDomain, IntegerNetwork

DOMAINS = st.one_of(
    st.just(IntegerDomain.binary()), st.just(IntegerDomain.ternary()), st.integers(1, 127).map(IntegerDomain.symmetric)
)


@st.composite
def networks(draw):
    sizes = draw(st.lists(st.integers(1, 4), max_size=3))
    n_classes = draw(st.integers(2, 4))
    outputs = n_classes if draw(st.booleans()) else None
    bias = draw(st.one_of(st.none(), DOMAINS))
    shape = Architecture.build(draw(st.integers(1, 5)), n_classes, sizes, draw(DOMAINS), bias, outputs)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    network = IntegerNetwork.random(shape, rng, scale=draw(st.integers(1, 10_000)))
    return network, rng.integers(-20_000, 20_000, (7, shape.n_features)), rng.integers(0, n_classes, 7)


def forward_in_python(network, row):
    """An independent forward pass in Python integers."""
    h = [int(v) for v in row]
    for number, (W, b) in enumerate(zip(network.weights, network.biases, strict=True)):
        unit = network.scale if number == 0 else 1
        a = [sum(x * int(W[i, j]) for i, x in enumerate(h)) + unit * int(b[j]) for j in range(W.shape[1])]
        h = [1 if v >= 0 else -1 for v in a]
    return a


@given(networks())
def test_scores_are_those_of_python_integers(case):
    network, X, _ = case
    assert network.scores(X).tolist() == [forward_in_python(network, row) for row in X]


@given(networks())
def test_predictions_follow_the_argmax_rule_with_lowest_index_on_ties(case):
    network, X, _ = case
    for scores, label in zip(network.scores(X).tolist(), network.predict(X), strict=True):
        if len(scores) == 1:
            assert label == int(scores[0] >= 0)
        else:
            assert label == scores.index(max(scores))


@given(networks())
def test_margins_and_all_good_agree_with_their_definitions(case):
    network, X, y = case
    scores, margins, good = network.scores(X), network.margins(X, y), network.all_good(X, y)
    for k in range(len(X)):
        if scores.shape[1] == 1:
            assert margins[k] == scores[k, 0] * (2 * y[k] - 1)
            assert good[k] == ((scores[k, 0] >= 0) == (y[k] == 1))
        else:
            others = [s for j, s in enumerate(scores[k]) if j != y[k]]
            assert margins[k] == scores[k, y[k]] - max(others)
            assert good[k] == (scores[k, y[k]] >= 0 and max(others) < 0)


@given(networks())
def test_json_round_trip_keeps_everything(case):
    network, X, _ = case
    again = IntegerNetwork.from_dict(json.loads(json.dumps(network.to_dict())))
    assert again.equals(network)
    assert np.array_equal(again.scores(X), network.scores(X))


@given(networks())
def test_stripping_never_changes_scores(case):
    network, X, _ = case
    stripped, inputs = network.strip().strip_inputs()
    assert np.array_equal(stripped.scores(X[:, inputs]), network.scores(X))
    assert stripped.size_bits <= network.size_bits


def test_stripping_drops_unread_units_and_inputs():
    shape = Architecture.build(3, 2, hidden=(2, 2))
    W1 = [[1, 0], [0, 1], [0, 0]]
    network = IntegerNetwork.of(shape, [W1, [[1, 1], [0, 1]], [[1], [0]]], [[0, 0], [0, 0], [0]])
    stripped, inputs = network.strip().strip_inputs()
    assert stripped.architecture.hidden == (1, 1)
    assert inputs.tolist() == [0]


def test_size_counts_bits_of_weights_and_biases():
    shape = Architecture.build(5, 2, hidden=(3,), weights=IntegerDomain.binary(), bias=IntegerDomain.symmetric(3))
    assert shape.size_bits == (5 * 3 * 1 + 3 * 3) + (3 * 1 * 1 + 1 * 3)


def test_overflow_is_refused_before_it_happens():
    network = IntegerNetwork.of(Architecture.build(2, 2), [[[1], [1]]], [[0]])
    assert network.scores([[2**60, 2**60]]).tolist() == [[2**61]]
    with pytest.raises(OverflowRiskError, match="coarser grid"):
        network.scores([[2**61, 2**61]])
    with pytest.raises(OverflowRiskError):
        network.scores(np.array([[2.0**60, 0.0]]))


@pytest.mark.parametrize("bad", [[[0.5, 1.0]], [[np.nan, 1.0]], [[1, 2, 3]], [1, 2]])
def test_inputs_off_the_grid_or_of_another_width_are_refused(bad):
    network = IntegerNetwork.of(Architecture.build(2, 2), [[[1], [1]]], [[0]])
    with pytest.raises(InputError):
        network.scores(bad)


def test_weights_outside_their_domain_are_refused():
    shape = Architecture.build(2, 2, weights=IntegerDomain.binary(), bias=None)
    with pytest.raises(InputError, match="layer 0 has a weight outside"):
        IntegerNetwork.of(shape, [[[1], [0]]], [[0]])
    with pytest.raises(InputError, match="bias outside"):
        IntegerNetwork.of(shape, [[[1], [1]]], [[1]])


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.update(format="other"),
        lambda d: d.update(version=99),
        lambda d: d.pop("weights"),
        lambda d: d["weights"].pop(),
        lambda d: d["weights"][0][0].__setitem__(0, 5),
        lambda d: d["weights"][0][0].__setitem__(0, 0.5),
        lambda d: d["weights"][0][0].__setitem__(0, "1"),
        lambda d: d["architecture"].update(layers=[]),
        lambda d: d["architecture"]["layers"][0].update(activation="relu"),
        lambda d: d.update(scale=0),
    ],
)
def test_damaged_networks_are_refused(damage):
    data = IntegerNetwork.of(Architecture.build(2, 2), [[[1], [1]]], [[0]]).to_dict()
    damage(data)
    with pytest.raises(InputError):
        IntegerNetwork.from_dict(data)


def test_save_and_load(tmp_path):
    network = IntegerNetwork.of(Architecture.build(2, 2), [[[1], [-1]]], [[0]], scale=7)
    path = tmp_path / "net.json"
    network.save(path)
    assert IntegerNetwork.load(path).equals(network)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ModelFileError, match="damaged"):
        IntegerNetwork.load(path)
    with pytest.raises(InputError, match="cannot read"):
        IntegerNetwork.load(tmp_path / "absent.json")


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    network = IntegerNetwork.of(Architecture.build(2, 2), [[[1], [-1]]], [[0]])
    path = tmp_path / "net.json"
    path.write_text("precious")

    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="no space"):
        network.save(path)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("low", "high", "step"), [(1, 0, 1), (-128, 0, 1), (0, 128, 1), (-1, 2, 2), (0, 3, 3)])
def test_bad_domains_are_refused(low, high, step):
    with pytest.raises(InputError):
        IntegerDomain(low, high, step)


@given(DOMAINS, st.lists(st.floats(-200, 200), min_size=1, max_size=20))
def test_clipping_gives_the_nearest_value(domain, values):
    clipped = domain.clip(np.array(values))
    assert domain.contains(clipped)
    for value, near in zip(values, clipped, strict=True):
        assert abs(value - near) <= np.abs(domain.values - value).min() + 1e-9


def test_architectures_must_fit_together():
    ternary = IntegerDomain.ternary()
    with pytest.raises(InputError, match="followed by"):
        Architecture((Dense(2, 3, ternary, None, "sign"), Dense(2, 1, ternary, None)))
    with pytest.raises(InputError, match="need an activation"):
        Architecture((Dense(2, 3, ternary, None), Dense(3, 1, ternary, None)))
    with pytest.raises(InputError, match="two classes"):
        Architecture.build(2, 1)
    with pytest.raises(InputError, match="tell 3 classes"):
        Architecture.build(2, 3, outputs=1)


@given(networks())
def test_bounds_contain_every_preactivation(case):
    network, X, _ = case
    trace = network.trace(X)
    for layer, a in enumerate(trace.preactivations):
        low, high = network.architecture.bounds(layer, X, network.scale)
        assert np.all(low[:, None] <= a)
        assert np.all(a <= high[:, None])


def test_merging_counts_equal_samples_and_conflicts():
    X = [[1, 2], [1, 2], [3, 4], [1, 2], [3, 4], [1, 2]]
    data = Dataset.merge(X, ["a", "a", "b", "b", "b", "c"])
    assert data.total == 6
    assert data.n_samples == 4
    assert data.conflicts == 2
    assert data.classes == ("a", "b", "c")


@given(st.integers(0, 2**32 - 1))
def test_merging_is_the_same_for_every_order_of_the_samples(seed):
    rng = np.random.default_rng(seed)
    X, y, m = rng.integers(0, 3, (20, 2)), rng.integers(0, 2, 20), rng.integers(0, 3, 20)
    y[:2], m[:2] = [0, 1], 1
    order = rng.permutation(20)
    one, two = Dataset.merge(X, y, m), Dataset.merge(X[order], y[order], m[order])
    assert one.fingerprint() == two.fingerprint()
    assert one.total == int(m.sum())


@pytest.mark.parametrize(
    ("X", "y", "extra", "message"),
    [
        ([[0.5]], [0], {}, r"X\[0, 0\] = 0.5"),
        ([[0], [1]], [0], {}, "lengths differ"),
        ([[0], [1]], [0, 0], {}, "one class only"),
        ([[0], [1]], [0, 1], {"multiplicity": [-1, 1]}, "multiplicities"),
        ([[0], [1]], [0, 1], {"multiplicity": [0, 0]}, "all sample weights"),
        ([[0], [1]], [0, 1], {"scale": 0}, "scale"),
        ([[2**41], [1]], [0, 1], {}, "2\\^40"),
        ([], [], {}, "matrix"),
        ([[0], [1]], [0, 5], {"classes": (0, 1)}, "not among the classes: 5"),
    ],
)
def test_bad_datasets_are_refused_with_the_reason(X, y, extra, message):
    with pytest.raises(InputError, match=message):
        Dataset.merge(X, y, **extra)
