"""Model files: round trips, damage, and verification from raw data."""

import copy
import json
import math
import pickle
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provenn import IntegerNetworkClassifier
from provenn.errors import InputError, ModelFileError
from provenn.losses.logistic import Logistic
from provenn.model_file import checksum, load_model, model_from_dict, model_to_dict, save_model
from provenn.network import IntegerDomain
from provenn.verification import verify

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "age": RNG.integers(20, 80, 40),
        "dose": RNG.normal(size=40).round(3),
        "smoker": RNG.random(40) < 0.5,
        "job": RNG.choice(["x", "y", "z"], 40),
    }
)
LABELS = np.where(FRAME["age"] + 20 * FRAME["dose"] > 50, "ill", "well").astype(object)


def fitted(labels=LABELS, frame=FRAME, **options):
    return IntegerNetworkClassifier(time_limit=20, node_limit=200, random_state=0, **options).fit(frame, labels)


@pytest.fixture(scope="module")
def model():
    return fitted()


@pytest.fixture(scope="module")
def data(model):
    return json.loads(json.dumps(model_to_dict(model, "state")))


def signed(data):
    """Return the data with a correct checksum, as a careful forger would."""
    body = {k: v for k, v in data.items() if k != "checksum"}
    return body | {"checksum": checksum(body)}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_bound": 3, "bias_bound": None},
        {"weight_bound": "binary", "quantize": "thermometer", "bits": 2},
        {"weight_bound": IntegerDomain(0, 2), "bias_bound": IntegerDomain(-5, 5)},
        {"loss": "min_hinge"},
        {"loss": Logistic(0.5)},
        {"max_nonzeros": 2, "nonzero_price": 0.01},
        {"feature_signs": {"age": 1}},
        {"class_weight": {"ill": 2.0, "well": 1.0}},
        {"class_weight": "balanced"},
        {"categorical_features": ("smoker",)},
    ],
    ids=str,
)
def test_round_trip(tmp_path, options):
    model = fitted(**options)
    save_model(tmp_path / "m.json", model, "state")
    loaded = load_model(tmp_path / "m.json")
    assert loaded.network.equals(model.network_)
    assert loaded.certificate == model.certificate_
    assert loaded.target == "state"
    assert loaded.predict(FRAME).tolist() == model.predict(FRAME).tolist()
    assert loaded.estimator.predict(FRAME).tolist() == model.predict(FRAME).tolist()
    np.testing.assert_array_equal(loaded.encode(FRAME), model.encoder_.transform(FRAME))
    found = verify(loaded, FRAME, LABELS)
    assert found.agrees, found
    assert found.training_data
    assert found.loss == model.certificate_.loss_value
    assert model_to_dict(loaded.estimator, "state")["network"] == model_to_dict(model, "state")["network"]


def test_probabilities_and_scores(model, data):
    loaded = model_from_dict(data)
    np.testing.assert_array_equal(loaded.probabilities(FRAME), model.predict_proba(FRAME))
    np.testing.assert_array_equal(loaded.scores(FRAME)[:, 0] + model.score_unit / 2, model.decision_function(FRAME))
    assert model_from_dict(model_to_dict(fitted(loss="min_hinge"), "y")).probabilities(FRAME) is None


def test_hidden_layers_and_several_classes(tmp_path):
    three = np.digitize(FRAME["age"], [35, 55])
    for labels, options in ((LABELS, {"hidden_layer_sizes": (1,), "loss": "max_correct"}), (three, {})):
        model = IntegerNetworkClassifier(time_limit=20, random_state=0, **options).fit(FRAME, labels)
        save_model(tmp_path / "m.json", model)
        loaded = load_model(tmp_path / "m.json")
        assert loaded.predict(FRAME).tolist() == model.predict(FRAME).tolist()
        assert loaded.score_card is None
        assert verify(loaded, FRAME, labels).agrees


def test_models_fitted_on_arrays(tmp_path):
    X = FRAME[["age", "dose"]].to_numpy(dtype=float)
    model = fitted(frame=X)
    save_model(tmp_path / "m.json", model)
    loaded = load_model(tmp_path / "m.json")
    frame = pd.DataFrame(X, columns=["x0", "x1"])
    assert loaded.estimator.predict(X).tolist() == loaded.predict(frame).tolist() == model.predict(X).tolist()
    np.testing.assert_array_equal(loaded.probabilities(frame), model.predict_proba(X))


@pytest.mark.parametrize("labels", [["a", "b"], [0, 1], [0.0, 1.0], [False, True], ["0", "1"], ["é\n", "\U0001f600"]])
def test_labels_keep_their_types(labels):
    model = fitted(np.array(labels, dtype=object if isinstance(labels[0], str) else None)[RNG.integers(0, 2, 40)])
    loaded = model_from_dict(json.loads(json.dumps(model_to_dict(model, "y"))))
    found = loaded.estimator.classes_.tolist()
    assert found == sorted(labels)
    assert {type(v) for v in found} == {type(labels[0])}


def test_saving_refuses_what_it_cannot_keep(tmp_path, model):
    with pytest.raises(InputError, match="not fitted"):
        save_model(tmp_path / "m.json", IntegerNetworkClassifier())
    odd = copy.copy(model)
    odd.classes_ = np.array([b"a", b"b"], dtype=object)
    with pytest.raises(InputError, match="text, numbers or booleans, got bytes"):
        save_model(tmp_path / "m.json", odd)
    assert not list(tmp_path.iterdir())


def test_same_training_writes_the_same_file(tmp_path):
    for name in ("a.json", "b.json"):
        save_model(tmp_path / name, fitted())
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_infinite_time_limit_is_strict_json(tmp_path):
    model = fitted().set_params(time_limit=math.inf)
    save_model(tmp_path / "m.json", model)
    json.loads((tmp_path / "m.json").read_text(), parse_constant=pytest.fail)
    assert load_model(tmp_path / "m.json").estimator.time_limit == math.inf


def test_damaged_files(tmp_path, data):
    text = json.dumps(data)
    path = tmp_path / "m.json"
    cases = [
        (b"", "damaged or not JSON"),
        (text[: len(text) // 2].encode(), "damaged or not JSON"),
        (b"\xff\xfe\x00", "cannot read"),
        (pickle.dumps({"a": 1}), "cannot read|damaged"),
        (b"[" * 100_000, "damaged"),
        (b'{"format": "onnx"}', "field 'format' must be 'provenn-model'"),
        (b"[1, 2]", "field 'format'"),
        (json.dumps(data["network"]).encode(), "field 'format'"),
        (json.dumps(data | {"version": 2}).encode(), "version 2 is not readable .* train again"),
        (json.dumps(data | {"target": "other"}).encode(), "checksum is wrong"),
        (b'{"format": "provenn-model", "version": 1}', "checksum is wrong"),
    ]
    for content, words in cases:
        path.write_bytes(content)
        with pytest.raises(InputError, match=words) as caught:
            load_model(path)
        assert "m.json" in str(caught.value)
    with pytest.raises(InputError, match="cannot read"):
        load_model(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot read"):
        load_model(tmp_path)


@settings(max_examples=200, deadline=None)
@given(draws=st.data())
def test_any_changed_character_is_noticed(data, draws):
    text = json.dumps(data)
    place = draws.draw(st.integers(0, len(text) - 1))
    changed = text[:place] + draws.draw(st.characters(codec="utf-8")) + text[place + 1 :]
    try:
        parsed = json.loads(changed)
    except ValueError:
        return
    if parsed != data:
        with pytest.raises(ModelFileError):
            model_from_dict(parsed)


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


junk = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=True), st.text(max_size=3),
    st.lists(st.integers(-3, 3), max_size=3), st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(draws=st.data())
def test_forged_fields_are_refused_or_harmless(data, draws):
    """Anything may be replaced, with a correct checksum: loading refuses it, or prediction works."""
    forged = copy.deepcopy(data)
    spots = [p for p in places({k: v for k, v in data.items() if k != "checksum"}) if p]
    *way, last = draws.draw(st.sampled_from(spots))
    parent = forged
    for key in way:
        parent = parent[key]
    parent[last] = draws.draw(junk)
    try:
        loaded = model_from_dict(signed(forged))
    except ModelFileError:
        return
    known = "never seen in training|lack the column|was numeric in training"
    with nullcontext() if readable(loaded) else pytest.raises(InputError, match=known):
        labels = loaded.predict(FRAME).tolist()
        assert len(labels) == len(FRAME)
        assert all(type(v) in (str, bool, int, float) for v in labels)


def readable(loaded):
    """Whether columns and categories are still those of the table."""
    encoder = loaded.estimator.encoder_
    return set(encoder.columns) <= set(FRAME) and all(
        set(FRAME[name]) <= set(known) for name, known in encoder.categories.items()
    )


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        (("classes",), ["a", "b", "c"], "3 classes for a network of 2"),
        (("classes",), ["a", "a"], "distinct"),
        (("certificate", "loss"), 1.5, "certificate.loss must be int, got float"),
        (("certificate", "bound"), 10**12, "bound 1000000000000 exceeds"),
        (("certificate", "unit"), "1/0", "damaged"),
        (("certificate", "unit"), "-1", "not positive"),
        (("encoding", "columns"), ["age"], "damaged"),
        (("network", "scale"), 7, "scale"),
        (("network", "weights", 0, 0, 0), 5, "outside its domain"),
        (("score_unit",), 0.5, "score unit"),
        (("weight_unit",), 0, "weight_unit"),
        (("status",), "FINE", "damaged"),
        (("loss", "name"), "nonsense", "unknown name"),
        (("options", "colour"), 1, "damaged"),
        (("score_card", "points"), 1, "score_card.points must be list"),
        (("provenance", "data_fingerprint"), None, "fingerprint"),
    ],
    ids=str,
)
def test_parts_must_fit_together(data, where, value, words):
    forged = copy.deepcopy(data)
    parent = forged
    for key in where[:-1]:
        parent = parent[key]
    parent[where[-1]] = value
    with pytest.raises(ModelFileError, match=words):
        model_from_dict(signed(forged))


def test_verify_finds_forgeries(data):
    def failed(forged, frame=FRAME, labels=LABELS):
        return {
            check.name for check in verify(model_from_dict(signed(forged)), frame, labels).checks if not check.passed
        }

    assert failed(data) == set()
    better = copy.deepcopy(data)
    better["certificate"] |= {"loss": data["certificate"]["loss"] - 1, "bound": None}
    assert failed(better) == {"loss"}
    weight = copy.deepcopy(data)
    weight["network"]["biases"][0][0] += 1
    assert failed(weight) == {"loss", "score card"}
    domain = copy.deepcopy(data)
    domain["options"]["weight_bound"] = 2
    assert failed(domain) == {"domains"}
    distrusted = copy.deepcopy(data)
    distrusted["certificate"]["agrees"] = False
    assert failed(distrusted) == {"solver"}
    assert "data" in failed(data, FRAME.iloc[:-1], LABELS[:-1])
    assert "data" in failed(data, labels=np.roll(LABELS, 1))


def test_verify_names_unknown_labels(data):
    labels = LABELS.copy()
    labels[3] = "dead"
    with pytest.raises(InputError, match="row 4: the label 'dead' was not among the training labels 'ill', 'well'"):
        verify(model_from_dict(data), FRAME, labels)


def test_row_order_does_not_matter(data):
    order = RNG.permutation(len(FRAME))
    assert verify(model_from_dict(data), FRAME.iloc[order], LABELS[order]).agrees
    assert verify(model_from_dict(data), FRAME[FRAME.columns[::-1]], LABELS).agrees
