"""Recomputes the exact part of a model's certificate from raw data."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import compute_sample_weight

from provenn._training_data import whole_weights
from provenn.errors import InputError
from provenn.formulations import Problem
from provenn.model_file import LoadedModel
from provenn.network import Dataset
from provenn.plan import Plan
from provenn.score_card import real_values


@dataclass(frozen=True)
class Check:
    """One thing that was recomputed.

    Parameters
    ----------
    name : str
    passed : bool
    text : str
        What was found, for people.
    """

    name: str
    passed: bool
    text: str


@dataclass(frozen=True)
class Verification:
    """What recomputing found.

    Parameters
    ----------
    checks : tuple of Check
    loss : float or None
        The recomputed loss with prices; None where the network breaks a hard condition.
    accuracy : float
        Share of the samples that are predicted right.
    training_data : bool
        The data are those of training, by their fingerprint.
    """

    checks: tuple[Check, ...]
    loss: float | None
    accuracy: float
    training_data: bool

    @property
    def agrees(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


def verify(model: LoadedModel, features: pd.DataFrame, labels: NDArray[Any]) -> Verification:
    """Encode raw data again and recompute loss, domains and fingerprint in exact integers.

    The bound is not recomputed: it is the claim of `certificate.proved_by`.

    Parameters
    ----------
    model : LoadedModel
    features : DataFrame
        Raw rows.
    labels : ndarray of shape (n,)

    Raises
    ------
    InputError
        When the data cannot be encoded or have a label that the model does not know.

    Examples
    --------
    >>> import tempfile
    >>> from provenn import IntegerNetworkClassifier
    >>> from provenn.model_file import load_model, save_model
    >>> X, y = pd.DataFrame({"age": [30, 40, 50, 60]}), np.array([0, 0, 1, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(f"{folder}/model.json", IntegerNetworkClassifier().fit(X, y))
    ...     model = load_model(f"{folder}/model.json")
    >>> verify(model, X, y).agrees, verify(model, X, 1 - y).agrees
    (True, False)
    """
    problem = _problem(model, features, labels)
    certificate = model.certificate
    value = problem.value(model.network)
    same_data = problem.dataset.fingerprint() == model.provenance["data_fingerprint"]
    checks = (
        _check_domains(model, problem),
        Check("data", same_data, "the training data" if same_data else "other data or sample weights than in training"),
        _check_loss(model, problem, value),
        _check_bound(model),
        _check_card(model),
    )
    accuracy = float(np.mean(model.predict(features) == labels))
    loss = None if value is None else float(value * problem.unit)
    return Verification(checks if certificate.agrees else (*checks, _distrust()), loss, accuracy, same_data)


def _problem(model: LoadedModel, features: pd.DataFrame, labels: NDArray[Any]) -> Problem:
    estimator = model.estimator
    index = class_index(estimator.classes_, labels, model.target)
    weights = np.ones(len(index))
    if estimator.class_weight is not None:
        weights = weights * compute_sample_weight(estimator.class_weight, labels)
    multiplicity, _ = whole_weights(weights)
    classes = tuple(range(len(estimator.classes_)))
    dataset = Dataset.merge(model.encode(features), index, multiplicity, estimator.encoder_.scale, classes)
    options = estimator.get_params(deep=False)
    plan = Plan(options, dataset, estimator.encoder_.features, estimator.weight_unit_)
    return plan.problem_for(estimator.loss_, dataset, plan.setting.nonzero_price)


def class_index(classes: NDArray[Any], labels: NDArray[Any], target: str) -> NDArray[np.int64]:
    """Return the index of every label, shape (n,); an unknown label is refused with its row."""
    number = {label: i for i, label in enumerate(classes.tolist())}
    index = np.array([number.get(label, -1) for label in labels.tolist()], dtype=np.int64)
    if (index < 0).any():
        row = int(np.flatnonzero(index < 0)[0])
        raise InputError(
            f"target {target!r}, row {row + 1}: the label {labels.tolist()[row]!r} was not among the training labels "
            f"{', '.join(map(repr, list(number)[:8]))}; give the data that the model was trained on"
        )
    return index


def _check_domains(model: LoadedModel, problem: Problem) -> Check:
    passed = problem.architecture == model.network.architecture
    domains = (layer.weights for layer in model.network.architecture.layers)
    bounds = sorted({domain.bound / domain.denominator for domain in domains})
    text = f"every weight lies in its domain (largest allowed: {', '.join(f'{bound:g}' for bound in bounds)})"
    return Check("domains", passed, text if passed else "layers or domains differ from the options of training")


def _check_loss(model: LoadedModel, problem: Problem, value: int | None) -> Check:
    stored = model.certificate
    if value is None:
        return Check("loss", False, "the network breaks a hard condition or side constraint on these data")
    passed = (value, problem.unit) == (stored.loss, stored.unit)
    found = f"{float(value * problem.unit):.9g}"
    return Check("loss", passed, f"{found}, recomputed in integers" if passed else
                 f"recomputed {found}, the certificate says {stored.loss_value:.9g}")  # fmt: skip


def _check_bound(model: LoadedModel) -> Check:
    stored = model.certificate
    if stored.bound is None:
        return Check("bound", True, "none is claimed")
    text = f"{stored.bound_value:.9g}, not above the loss; it is the claim of {stored.proved_by}, not recomputed here"
    return Check("bound", True, text)


def _check_card(model: LoadedModel) -> Check:
    card = model.score_card
    if card is None:
        return Check("score card", True, "none is stored")
    network = model.network
    features, weights = model.estimator.encoder_.features, real_values(network, network.weights[0][:, 0])
    points = {f.name: w for f, w in zip(features, weights, strict=True) if w}
    same = {p["feature"]: p["points"] for p in card["points"]} == points
    passed = same and card["intercept"] == real_values(network, network.biases[0])[0]
    return Check("score card", passed, "its points are the weights" if passed else "its points are not the weights")


def _distrust() -> Check:
    return Check("solver", False, "the solver's claim about its answer failed the exact check at training time")
