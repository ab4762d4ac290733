"""Checks that the parts of a model file have the right types and fit together."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenn.encoding import TableEncoder
from provenn.network import IntegerNetwork

FIELDS: dict[str, tuple[type, ...]] = {
    "target": (str,),
    "classes": (list,),
    "network": (dict,),
    "encoding": (dict,),
    "named_columns": (bool,),
    "loss": (dict,),
    "score_unit": (int, float),
    "weight_unit": (int,),
    "certificate": (dict,),
    "status": (str,),
    "message": (str,),
    "score_card": (dict, type(None)),
    "options": (dict,),
    "provenance": (dict,),
}
CERTIFICATE: dict[str, tuple[type, ...]] = {
    "feasible": (bool,),
    "loss": (int,),
    "bound": (int, type(None)),
    "unit": (str,),
    "agrees": (bool,),
    "violation": (str,),
    "proved_by": (str, type(None)),
}
SCALARS = (str, bool, int, float)


def check_fields(data: dict[str, Any]) -> None:
    """Raise `TypeError` or `KeyError` for a field that is missing or of another type."""
    _check_types(data, FIELDS, "")
    _check_types(data["certificate"], CERTIFICATE, "certificate.")
    if not isinstance(data["provenance"].get("data_fingerprint"), str):
        raise TypeError("provenance.data_fingerprint must be text")
    if data["weight_unit"] < 1:
        raise ValueError(f"weight_unit must be at least 1, got {data['weight_unit']}")
    if data["score_card"] is not None:
        _check_score_card(data["score_card"])


def _check_types(data: dict[str, Any], expected: dict[str, tuple[type, ...]], where: str) -> None:
    for name, kinds in expected.items():
        if name not in data:
            raise KeyError(f"{where}{name} is missing")
        if type(data[name]) not in kinds:
            raise TypeError(f"{where}{name} must be {kinds[0].__name__}, got {type(data[name]).__name__}")


def _check_score_card(card: dict[str, Any]) -> None:
    _check_types(card, {"target": (str,), "intercept": (int, float), "points": (list,), "risk": (list,)}, "score_card.")
    point: dict[str, tuple[type, ...]] = {"feature": (str,), "points": (int, float), "kind": (str,)}
    number = (int, float)
    ends = {"low": number, "high": number}
    risk = {"from": number, "to": number, "risk": number, "samples": (int,), "observed": (int, float, type(None))}
    for entry in card["points"]:
        _check_types(entry, point | ends, "score_card.points.")
    for entry in card["risk"]:
        _check_types(entry, risk, "score_card.risk.")


def check_encoding(encoder: TableEncoder, network: IntegerNetwork) -> None:
    """Raise `ValueError` or `TypeError` when an encoder could not feed the network."""
    if not encoder.columns or not all(isinstance(name, str) for name in encoder.columns):
        raise TypeError("encoding.columns must be a list of names")
    if len(set(encoder.columns)) != len(encoder.columns) or not set(encoder.categories) <= set(encoder.columns):
        raise ValueError("encoding.columns must differ and include all columns with categories")
    for name, known in encoder.categories.items():
        if not isinstance(known, list) or not known or not all(type(v) in SCALARS for v in known):
            raise TypeError(f"the categories of {name!r} must be a list of text, numbers or booleans")
    _check_numbers(encoder.to_dict())
    if encoder.scale != network.scale:
        raise ValueError(f"the encoding has scale {encoder.scale} and the network {network.scale}")
    width = len(encoder.features)
    if max(1, width) != network.architecture.n_features:
        raise ValueError(f"the encoding gives {width} inputs and the network reads {network.architecture.n_features}")


def _check_numbers(encoding: dict[str, Any]) -> None:
    groups = [encoding.get("offset", []), encoding.get("divisor", []), *encoding.get("thresholds", [])]
    if not all(math.isfinite(value) for group in groups for value in group):
        raise ValueError("the encoding has numbers that are not finite")
    if any(value < 0 for value in encoding.get("divisor", [])):
        raise ValueError("the encoding has a negative divisor")
    numeric = [name for name in encoding["columns"] if name not in encoding["categories"]]
    if encoding["quantize"] == "thermometer" and len(encoding.get("thresholds", [])) != len(numeric):
        raise ValueError("the encoding lacks thresholds of a column")


def labels_array(classes: list[Any]) -> NDArray[Any]:
    """Return labels as an array that keeps their types; text becomes an array of objects."""
    kinds = {type(label) for label in classes}
    if not kinds <= set(SCALARS) or len(set(classes)) != len(classes):
        raise TypeError("classes must be distinct texts, numbers or booleans")
    return np.array(classes, dtype=object if str in kinds or len(kinds) > 1 else None)
