"""What an estimator does to its data before training: frames, labels and weights, checked."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, column_or_1d, validate_data

from provenn.errors import InputError

WEIGHT_STEPS = 1000


def training_table(estimator: Any, X: Any, y: Any, sample_weight: Any) -> tuple[pd.DataFrame, Any, NDArray[np.float64]]:
    """Check what `fit` is given; note the classes on the estimator.

    Returns
    -------
    table : DataFrame
        Rows with a positive weight.
    index : ndarray of shape (n,), int64
        Their classes.
    weights : ndarray of shape (n,), float64
    """
    if isinstance(X, pd.DataFrame):
        validate_data(estimator, X, skip_check_array=True)
        labels = column_or_1d(y, warn=True)
        table = X
        if len(X) != len(labels):
            raise InputError(f"X has {len(X)} rows and y has {len(labels)} labels")
    else:
        array, labels = validate_data(estimator, X, y, dtype=np.float64)
        table = frame(array)
    if len(table) == 0 or table.shape[1] == 0:
        raise InputError(f"the data have {len(table)} rows and {table.shape[1]} columns; both must be at least 1")
    if pd.isna(labels).any():
        row = int(np.flatnonzero(pd.isna(labels))[0])
        raise InputError(f"the target is missing in row {row + 1}; drop such rows first")
    check_classification_targets(labels)
    weights = _check_sample_weight(sample_weight, np.zeros((len(table), 1)), ensure_non_negative=True)
    if estimator.class_weight is not None:
        weights = weights * compute_sample_weight(estimator.class_weight, labels)
    kept = weights > 0
    if not kept.any():
        raise InputError("all sample weights are zero: at least one sample must count")
    table, labels, weights = table.loc[kept] if not kept.all() else table, labels[kept], weights[kept]
    estimator.classes_, index = np.unique(labels, return_inverse=True)
    if len(estimator.classes_) < 2:
        raise InputError(
            f"the target has one class only ({estimator.classes_.tolist()[0]!r}); "
            "a classifier needs at least two classes"
        )
    return table, index, weights


def frame(array: NDArray[np.float64], names: Sequence[str] | None = None) -> pd.DataFrame:
    """Return an array as a frame with the given column names, or x0, x1, ..."""
    columns = list(names) if names is not None else [f"x{i}" for i in range(array.shape[1])]
    return pd.DataFrame(array, columns=columns)


def not_empty(encoded: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give data without a single varying feature one constant column."""
    return encoded if encoded.shape[1] else np.zeros((len(encoded), 1), dtype=np.int64)


def whole_weights(weights: NDArray[np.float64]) -> tuple[NDArray[np.int64], int]:
    """Return whole multiplicities and how many of them make a weight of 1."""
    if np.all(weights == np.rint(weights)) and weights.max() < 2**40:
        return weights.astype(np.int64), 1
    unit = max(1, int(np.ceil(WEIGHT_STEPS / weights.mean())))
    return np.maximum(1, np.rint(weights * unit)).astype(np.int64), unit
