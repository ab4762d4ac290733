"""Model files: versioned JSON with network, encoding, certificate and provenance, never pickle."""

import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from provenn import __version__, registry
from provenn._model_checks import check_encoding, check_fields, labels_array
from provenn.encoding import TableEncoder
from provenn.errors import InputError, ModelFileError
from provenn.estimators import IntegerNetworkClassifier
from provenn.losses import Loss
from provenn.network import Certificate, IntegerDomain, IntegerNetwork
from provenn.network.files import read_json, write_text_safely
from provenn.network.network import predict_scores
from provenn.solvers import Solver
from provenn.status import Status
from provenn.trainers import Trainer
from provenn.trainers.exact import Exact

FORMAT = "provenn-model"
VERSION = 1
OF_THE_RUN = ("checkpoint", "resume")
LIBRARIES = ("numpy", "scipy", "pandas", "scikit-learn", "numba", "ortools", "highspy", "pyscipopt", "gurobipy")
DAMAGED = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class LoadedModel:
    """A model that reads raw rows.

    Parameters
    ----------
    estimator : IntegerNetworkClassifier
        Fitted, as it was saved, without its history.
    target : str
        The column that it predicts.
    score_card : dict or None
        See `ScoreCard.to_dict`; None for networks without one.
    provenance : dict
        Versions, options, seed, data fingerprint.
    """

    estimator: IntegerNetworkClassifier
    target: str
    score_card: dict[str, Any] | None
    provenance: dict[str, Any]

    @property
    def network(self) -> IntegerNetwork:
        """The integer network."""
        return self.estimator.network_

    @property
    def certificate(self) -> Certificate:
        """What was proven at training time."""
        return self.estimator.certificate_

    @property
    def columns(self) -> list[str]:
        """Raw columns that the model reads."""
        return self.estimator.encoder_.columns

    def encode(self, frame: pd.DataFrame) -> NDArray[np.int64]:
        """Return the integer inputs of raw rows, shape (n, n_inputs); other columns are ignored."""
        X = self.estimator.encoder_.transform(frame)
        return X if X.shape[1] else np.zeros((len(frame), 1), dtype=np.int64)

    def scores(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Return scores in real units, shape (n, n_outputs); two classes: class 1 from 0 up."""
        return self.network.scores(self.encode(frame)).astype(np.float64) * self.estimator.score_unit

    def predict(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Return labels of shape (n,)."""
        return self.estimator.classes_[predict_scores(self.network.scores(self.encode(frame)))]

    def probabilities(self, frame: pd.DataFrame) -> NDArray[np.float64] | None:
        """Return probabilities of shape (n, n_classes), or None where the loss gives none."""
        if not hasattr(self.estimator, "predict_proba"):
            return None
        chosen = frame[self.columns]
        named = hasattr(self.estimator, "feature_names_in_")
        return self.estimator.predict_proba(chosen if named else chosen.to_numpy(dtype=np.float64))


def save_model(
    path: str | os.PathLike[str],
    estimator: IntegerNetworkClassifier,
    target: str = "target",
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write a fitted estimator as a model file; an existing file is replaced only by a complete one.

    The file holds no date, so that the same training writes the same file.

    Parameters
    ----------
    path : path
    estimator : IntegerNetworkClassifier
        Fitted. Labels must be text, numbers or booleans.
    target : str
        The column that it predicts.
    provenance : mapping, optional
        JSON data to keep beside versions, seed, options and fingerprint.

    Raises
    ------
    InputError
        When the path cannot be written or the estimator holds what JSON cannot keep.

    Examples
    --------
    >>> import tempfile
    >>> X = pd.DataFrame({"age": [30, 40, 50, 60]})
    >>> model = IntegerNetworkClassifier(weight_bound=9).fit(X, ["no", "no", "yes", "yes"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(f"{folder}/model.json", model, "ill")
    ...     load_model(f"{folder}/model.json").predict(X).tolist()
    ['no', 'no', 'yes', 'yes']
    """
    data = model_to_dict(estimator, target, provenance)
    write_text_safely(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def load_model(path: str | os.PathLike[str]) -> LoadedModel:
    """Read a model file.

    Raises
    ------
    InputError
        When there is no readable file.
    ModelFileError
        When it is damaged, foreign, or of a version that this release does not know.
    """
    try:
        return model_from_dict(read_json(path))
    except ModelFileError as error:
        text = str(error)
        raise ModelFileError(text if str(path) in text else f"{path}: {text}") from error


def model_to_dict(
    estimator: IntegerNetworkClassifier, target: str, provenance: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a fitted estimator as JSON data with a checksum."""
    if not hasattr(estimator, "network_"):
        raise InputError("the estimator is not fitted; call fit first")
    options = {
        name: _plain_option(name, value)
        for name, value in estimator.get_params(deep=False).items()
        if name not in OF_THE_RUN
    }
    options["nonzero_price"] = estimator.nonzero_price_
    data = {
        "format": FORMAT,
        "version": VERSION,
        "target": target,
        "classes": _plain_labels(estimator.classes_),
        "network": estimator.network_.to_dict(),
        "encoding": estimator.encoder_.to_dict(),
        "named_columns": hasattr(estimator, "feature_names_in_"),
        "loss": _loss_to_dict(estimator.loss_),
        "score_unit": estimator.score_unit,
        "weight_unit": estimator.weight_unit_,
        "certificate": estimator.certificate_.to_dict(),
        "status": estimator.status_.name,
        "message": estimator.message_,
        "score_card": _score_card(estimator),
        "options": options,
        "provenance": {**_provenance(estimator), **dict(provenance or {})},
    }
    data["checksum"] = checksum(data)
    return data


def model_from_dict(data: Any) -> LoadedModel:
    """Rebuild a model from `model_to_dict`, checking that its parts fit together."""
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ModelFileError(f"no model of provenn (the field 'format' must be {FORMAT!r}); write one with train -o")
    if data.get("version") != VERSION:
        raise ModelFileError(
            f"model format version {data.get('version')!r} is not readable by provenn {__version__}, which reads "
            f"version {VERSION}; install the release that wrote it, or train again"
        )
    if data.get("checksum") != checksum({k: v for k, v in data.items() if k != "checksum"}):
        raise ModelFileError("the file is damaged or was edited: its checksum is wrong; copy it again, or train again")
    try:
        return _rebuild(data)
    except DAMAGED as error:
        what = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        raise ModelFileError(f"the model is damaged: {what}; copy the file again, or train again") from error


def checksum(data: Mapping[str, Any]) -> str:
    """Return the SHA-256 of JSON data in canonical form."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _rebuild(data: dict[str, Any]) -> LoadedModel:
    check_fields(data)
    network = IntegerNetwork.from_dict(data["network"])
    encoder = TableEncoder.from_dict(data["encoding"])
    check_encoding(encoder, network)
    if len(data["classes"]) != network.architecture.n_classes:
        raise ValueError(f"{len(data['classes'])} classes for a network of {network.architecture.n_classes}")
    estimator = IntegerNetworkClassifier(**{k: _option(k, v) for k, v in data["options"].items()})
    estimator.loss_ = _loss_from_dict(data["loss"])
    if data["options"].get("loss") is None:
        estimator.loss = estimator.loss_
    estimator.network_, estimator.encoder_ = network, encoder
    estimator.nonzero_price_ = float(estimator.nonzero_price)
    estimator.certificate_ = Certificate.from_dict(data["certificate"])
    _check_certificate(estimator.certificate_)
    estimator.classes_ = labels_array(data["classes"])
    estimator.weight_unit_ = data["weight_unit"]
    estimator.status_, estimator.message_ = Status[data["status"]], data["message"]
    estimator.history_ = ()
    estimator.n_features_in_ = len(encoder.columns)
    estimator.dataset_fingerprint_ = data["provenance"]["data_fingerprint"]
    if data["named_columns"]:
        estimator.feature_names_in_ = np.array(encoder.columns, dtype=object)
    if data["score_unit"] != estimator.score_unit:
        raise ValueError(f"the score unit {data['score_unit']} does not fit the scale {network.scale}")
    return LoadedModel(estimator, data["target"], data["score_card"], data["provenance"])


def _check_certificate(certificate: Certificate) -> None:
    if certificate.bound is not None and certificate.bound > certificate.loss:
        raise ValueError(f"the bound {certificate.bound} exceeds the loss {certificate.loss}")
    if certificate.unit <= Fraction(0):
        raise ValueError(f"the unit {certificate.unit} is not positive")


def _plain_labels(classes: NDArray[Any]) -> list[Any]:
    labels: list[Any] = classes.tolist()
    kinds = {type(label) for label in labels}
    if not kinds <= {str, int, float, bool}:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise InputError(f"a model file keeps labels that are text, numbers or booleans, got {names}; convert them")
    return labels


def _loss_to_dict(loss: Loss) -> dict[str, Any]:
    name = type(loss).__module__.rsplit(".", 1)[-1]
    if name not in registry.names("provenn.losses") or registry.load("provenn.losses", name) is not type(loss):
        raise InputError(f"the loss {type(loss).__name__} is not registered; give it an entry point of provenn.losses")
    return {"name": name, "options": {f.name: getattr(loss, f.name) for f in fields(loss)}}  # type: ignore[arg-type]


def _loss_from_dict(data: dict[str, Any]) -> Loss:
    loss: Loss = registry.load("provenn.losses", data["name"])(**data["options"])
    return loss


def _plain_option(name: str, value: Any) -> Any:
    """Return an option of the estimator as JSON data; a loss or random state that is an object becomes None."""
    if isinstance(value, Loss | np.random.RandomState):
        return None
    if isinstance(value, IntegerDomain):
        return value.to_dict()
    if isinstance(value, Solver | Trainer):
        return type(value.solver if isinstance(value, Exact) else value).__module__.rsplit(".", 1)[-1]
    if isinstance(value, dict):
        return _plain_mapping(name, value)
    return _plain_value(value)


def _plain_mapping(name: str, value: dict[Any, Any]) -> Any:
    """Return class weights as pairs, whose labels keep their types, radii and feature signs as mappings."""
    if name == "class_weight":
        return [[_plain_value(label), float(weight)] for label, weight in value.items()]
    number = float if name == "robust_radius" else int
    return {str(key): number(entry) for key, entry in value.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain_value(item) for item in value]
    return "inf" if isinstance(value, float) and math.isinf(value) else value


def _option(name: str, value: Any) -> Any:
    if name == "class_weight" and isinstance(value, list):
        return {label: weight for label, weight in value}
    if name in ("weight_bound", "bias_bound") and isinstance(value, dict):
        return IntegerDomain(**value)
    if value == "inf" and name != "robust_norm":
        return math.inf
    if isinstance(value, list):
        return tuple(value)
    return "logistic" if name == "loss" and value is None else value


def _score_card(estimator: IntegerNetworkClassifier) -> dict[str, Any] | None:
    shape = estimator.network_.architecture
    described = len(estimator.encoder_.features) == shape.n_features
    if shape.hidden or shape.n_outputs > 1 or not described or not hasattr(estimator, "_card_data"):
        return None
    return estimator.score_card().to_dict()


def _provenance(estimator: IntegerNetworkClassifier) -> dict[str, Any]:
    return {
        "provenn": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: number for name in LIBRARIES if (number := installed_version(name))},
        "data_fingerprint": estimator.dataset_fingerprint_,
    }


def installed_version(name: str) -> str:
    """Return the version of an installed library, or an empty string."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
