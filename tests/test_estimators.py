import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from provenn import IntegerNetworkClassifier
from provenn.errors import InfeasibleError, InputError, NoAnswerError
from provenn.losses.logistic import Logistic
from provenn.network import IntegerDomain
from provenn.solvers import Solver
from provenn.status import Status


@parametrize_with_checks([IntegerNetworkClassifier(weight_bound=3, temperature=0.1, node_limit=50, time_limit=600)])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True, as_frame=True)
    return X, y


@pytest.fixture(scope="module")
def mixed():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": rng.integers(18, 90, 120),
            "job": rng.choice(["clerk", "farmer", "none"], 120),
            "smokes": rng.random(120) < 0.4,
            "blood": pd.Categorical(rng.choice(list("AB0"), 120)),
        }
    )
    label = np.where((table["age"] > 55) | (table["job"] == "farmer") & table["smokes"], "ill", "well")
    return table, label


def test_a_proven_optimum_on_real_data():
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    model = IntegerNetworkClassifier(temperature=1.0, node_limit=50_000, time_limit=600).fit(X, y)
    certificate = model.certificate_
    assert certificate.optimal
    assert certificate.bound == certificate.loss
    assert model.status_ is Status.OPTIMAL
    assert certificate.loss_value == pytest.approx(
        np.log1p(np.exp(-(2 * y - 1) * (model.decision_function(X) - 0.5e-4))).sum(), abs=1e-3
    )
    assert model.score(X, y) > 0.93


def test_several_classes_without_and_with_hidden_layers(iris):
    X, y = iris
    flat = IntegerNetworkClassifier(weight_bound=3, temperature=0.1, node_limit=2000).fit(X, y)
    assert flat.score(X, y) > 0.9
    deep = IntegerNetworkClassifier((2,), loss="max_correct", time_limit=5, quantize="thermometer", bits=2).fit(X, y)
    assert deep.score(X, y) > 0.6
    assert not hasattr(deep, "predict_proba")
    assert deep.certificate_.loss == int((deep.predict(X) != y).sum())


def test_mixed_frames_text_labels_and_probabilities(mixed):
    table, label = mixed
    model = IntegerNetworkClassifier(temperature=1.0, weight_bound=3, node_limit=3000).fit(table, label)
    assert set(model.predict(table)) <= {"ill", "well"}
    assert model.feature_names_in_.tolist() == list(table.columns)
    probabilities = model.predict_proba(table)
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert np.array_equal(model.classes_[(probabilities[:, 1] >= 0.5).astype(int)], model.predict(table))
    with pytest.raises(InputError, match=r"column 'job', row 1: the category 'poet' was never seen"):
        model.predict(table.assign(job="poet"))
    with pytest.raises(InputError, match=r"column 'age', row 3: the value is missing"):
        model.predict(table.assign(age=table["age"].astype(float).where(table.index != 2)))


def test_the_card_adds_up_to_the_score(mixed):
    table, label = mixed
    model = IntegerNetworkClassifier(temperature=1.0, weight_bound=3, node_limit=3000).fit(table, label)
    card = model.score_card()
    raw = table.iloc[7]
    total = card.intercept
    for feature, points in card.points:
        value = raw[feature.column]
        if feature.kind == "grid":
            total += points * round((float(value) - feature.low) / (feature.high - feature.low) * 1e4) / 1e4
        else:
            total += points * (str(value) == feature.name.split(" = ")[1])
    assert total == pytest.approx(model.decision_function(table)[7], abs=1e-3)
    assert sum(row[3] for row in card.risk) == len(table)
    text = str(card)
    assert "intercept" in text
    assert "age" in text


def test_a_card_needs_two_classes_and_no_hidden_layer(iris):
    X, y = iris
    with pytest.raises(InputError, match="score card"):
        IntegerNetworkClassifier(temperature=1.0, node_limit=20).fit(X, y).score_card()


def test_budgets_prices_and_signs_hold(mixed):
    table, label = mixed
    y = label == "ill"
    few = IntegerNetworkClassifier(temperature=1.0, max_nonzeros=2, node_limit=3000).fit(table, y)
    assert np.count_nonzero(few.network_.weights[0]) <= 2
    costly = IntegerNetworkClassifier(temperature=1.0, nonzero_price=1000.0, node_limit=3000).fit(table, y)
    assert np.count_nonzero(costly.network_.weights[0]) == 0
    signed = IntegerNetworkClassifier(temperature=1.0, feature_signs={"age": -1}, node_limit=3000).fit(table, y)
    assert signed.network_.weights[0][0, 0] <= 0
    with pytest.raises(InputError, match="'agee'"):
        IntegerNetworkClassifier(temperature=1.0, feature_signs={"agee": -1}).fit(table, y)


def test_whole_sample_weights_equal_repeated_rows(iris):
    X, y = iris
    weights = np.arange(len(X)) % 3
    one = IntegerNetworkClassifier(temperature=1.0, node_limit=500).fit(X, y, sample_weight=weights)
    two = IntegerNetworkClassifier(temperature=1.0, node_limit=500).fit(
        X.loc[X.index.repeat(weights)], y.repeat(weights)
    )
    assert one.network_.equals(two.network_)
    assert one.certificate_ == two.certificate_


def test_fractional_weights_are_rounded_to_a_stated_unit(iris):
    X, y = iris
    model = IntegerNetworkClassifier(temperature=1.0, node_limit=300).fit(X, y, sample_weight=np.full(len(X), 0.37))
    same = IntegerNetworkClassifier(temperature=1.0, node_limit=300).fit(X, y)
    assert model.weight_unit_ > 1
    assert np.array_equal(model.predict(X), same.predict(X))


def test_a_start_is_never_made_worse(iris):
    X, y = iris
    good = IntegerNetworkClassifier(temperature=1.0, weight_bound=3, node_limit=3000).fit(X[:100], y[:100])
    again = IntegerNetworkClassifier(temperature=1.0, weight_bound=3, time_limit=0).fit(X[:100], y[:100], start=good)
    assert again.certificate_.loss <= good.certificate_.loss
    with pytest.raises(InputError, match="another architecture"):
        IntegerNetworkClassifier(temperature=1.0, weight_bound=5).fit(X[:100], y[:100], start=good)


def test_the_same_seed_gives_the_same_network(iris):
    X, y = iris
    fits = [
        IntegerNetworkClassifier(temperature=1.0, weight_bound=5, node_limit=100, random_state=3).fit(X, y)
        for _ in range(2)
    ]
    assert fits[0].network_.equals(fits[1].network_)
    assert fits[0].certificate_ == fits[1].certificate_


def test_history_is_monotone(iris):
    X, y = iris
    seen = []
    model = IntegerNetworkClassifier(temperature=1.0, weight_bound=5, node_limit=500).fit(X, y, on_progress=seen.append)
    assert set(map(id, model.history_)) <= set(map(id, seen))
    losses = [p.loss for p in seen if p.loss is not None]
    bounds = [p.bound for p in seen if p.bound is not None]
    assert losses == sorted(losses, reverse=True)
    assert bounds == sorted(bounds)
    assert losses[-1] == model.certificate_.loss


def test_objects_work_where_names_do(iris):
    X, y = iris
    model = IntegerNetworkClassifier(
        weight_bound=IntegerDomain(0, 2), loss=Logistic(0.5), solver=Solver.create("cpsat", workers=1),
        quantize="thermometer", bits=1, time_limit=30,
    ).fit(X[:100], y[:100])  # fmt: skip
    assert model.certificate_.optimal
    convex = IntegerNetworkClassifier(
        weight_bound=IntegerDomain(0, 2), temperature=0.5, solver="convex", quantize="thermometer", bits=1
    ).fit(X[:100], y[:100])
    assert model.certificate_.loss == convex.certificate_.loss


def test_hard_losses_say_infeasible_or_no_answer():
    X, y = np.array([[0.0], [1.0], [2.0]]), [0, 1, 0]
    with pytest.raises(InfeasibleError, match="no network satisfies"):
        IntegerNetworkClassifier(loss="min_weight").fit(X, y)
    rng = np.random.default_rng(0)
    X, y = rng.random((60, 8)), rng.integers(0, 2, 60)
    with pytest.raises(NoAnswerError, match="time limit"):
        IntegerNetworkClassifier((8,), loss="min_weight", time_limit=0.01).fit(X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_bound": 0}, "outside 1..127"),
        ({"weight_bound": 128}, "outside 1..127"),
        ({"weight_bound": "quaternary"}, "weight_bound must be"),
        ({"weight_bound": 1.5}, "weight_bound must be"),
        ({"bias_bound": -1}, "outside 1..127"),
        ({"loss": "hinge"}, "unknown name 'hinge'"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"solver": "cplex"}, "unknown solver 'cplex'"),
        ({"solver": "convex", "hidden_layer_sizes": (2,)}, "hidden layers"),
        ({"time_limit": -1}, "time limit"),
        ({"time_limit": "long"}, "time_limit"),
        ({"node_limit": -1}, "node limit"),
        ({"memory_limit": 0}, "memory limit"),
        ({"n_jobs": 0}, "thread"),
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": (2.5,)}, "hidden_layer_sizes"),
        ({"max_nonzeros": -1}, "max_nonzeros"),
        ({"nonzero_price": -0.5}, "price"),
        ({"nonzero_price": float("inf")}, "finite"),
        ({"nonzero_price": float("nan")}, "finite"),
        ({"random_state": -1}, "seed"),
        ({"nonzero_price": 1, "weight_bound": "binary"}, "binary weights are never 0"),
        ({"neuron_price": 1}, "hidden layer"),
        ({"feature_signs": [1]}, "feature signs must be"),
        ({"quantize": "log"}, "unknown quantiser"),
        ({"grid_steps": 0}, "steps"),
        ({"quantize": "thermometer", "bits": 0}, "bits"),
        ({"categorical_features": ["nope"]}, "no column named 'nope'"),
        ({"loss": "min_weight", "weight_bound": "binary"}, "binary"),
    ],
)
def test_bad_options_are_refused_before_any_work(iris, options, message):
    X, y = iris
    with pytest.raises(InputError, match=message):
        IntegerNetworkClassifier(**options).fit(X[:100], y[:100])


def test_it_lives_in_the_scikit_learn_world(iris):
    X, y = iris
    X, y = X[:100].to_numpy(), y[:100].to_numpy()
    model = IntegerNetworkClassifier(temperature=1.0, node_limit=100)
    assert cross_val_score(make_pipeline(StandardScaler(), model), X, y, cv=3).mean() > 0.9
    search = GridSearchCV(model, {"weight_bound": [1, 2]}, cv=3).fit(X, y)
    assert search.best_score_ > 0.9
    fitted = clone(model).fit(X, y)
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), fitted.predict(X))
    frame = pd.DataFrame(X, columns=list("abcd"))
    with pytest.warns(UserWarning, match="feature names"):
        assert np.array_equal(fitted.predict(frame), fitted.predict(X))
