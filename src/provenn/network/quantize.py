"""Quantisers: scikit-learn transformers from real features to integers on a grid."""

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from provenn.errors import InputError

CLIP = 2**30


class Grid(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Scale every feature and round it to multiples of ``1 / steps``, as integers.

    ``minmax``: ``rint(steps * (x - min) / (max - min))``; ``standard``:
    ``rint(steps * (x - mean) / sd)``; ``none``: ``rint(steps * x)``. A feature that is
    constant in `fit` becomes 0 (except with ``none``). Half-way cases go to the even integer.

    Parameters
    ----------
    steps : int, default 10000
        Grid units in 1, 1 to 2**30.
    scaling : {"minmax", "standard", "none"}, default "minmax"

    Attributes
    ----------
    offset_, divisor_ : ndarray of shape (n_features,)
        ``z = steps * (x - offset_) / divisor_``.

    References
    ----------
    Four decimals after min-max scaling: Thorbjarnarson & Yorke-Smith, arXiv 2009.03825.

    Examples
    --------
    >>> Grid(steps=10).fit_transform([[0.0], [5.0], [20.0]]).ravel().tolist()
    [0, 2, 10]
    """

    def __init__(self, steps: int = 10_000, scaling: Literal["minmax", "standard", "none"] = "minmax") -> None:
        self.steps = steps
        self.scaling = scaling

    def __sklearn_tags__(self) -> Tags:
        """Declare that the output is int64 whatever the input."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn offset and divisor of every feature.

        Parameters
        ----------
        X : array of shape (n, n_features), finite real numbers
        """
        if not 1 <= self.steps <= CLIP:
            raise InputError(f"steps must lie in 1..2^30, got {self.steps}")
        X = validate_data(self, X, dtype=np.float64)
        if self.scaling == "minmax":
            self.offset_, self.divisor_ = X.min(axis=0), X.max(axis=0) - X.min(axis=0)
        elif self.scaling == "standard":
            self.offset_, self.divisor_ = X.mean(axis=0), X.std(axis=0)
        elif self.scaling == "none":
            self.offset_, self.divisor_ = np.zeros(X.shape[1]), np.ones(X.shape[1])
        else:
            raise InputError(f"unknown scaling {self.scaling!r}: choose minmax, standard or none")
        return self

    def transform(self, X: Any) -> NDArray[np.int64]:
        """Return grid points, int64 of shape (n, n_features); values beyond 2^30 units are clipped."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        live = self.divisor_ > 0
        with np.errstate(over="ignore"):
            real = (X - self.offset_) / np.where(live, self.divisor_, 1.0) * self.steps
        return np.where(live, np.rint(np.clip(real, -CLIP, CLIP)), 0).astype(np.int64)

    def inverse_transform(self, X: Any) -> NDArray[np.float64]:
        """Return the real value of every grid point, float64 of the same shape."""
        check_is_fitted(self)
        return np.asarray(X, dtype=np.float64) / self.steps * self.divisor_ + self.offset_


class Thermometer(TransformerMixin, BaseEstimator):
    """Turn every feature into bits ``x >= threshold`` at quantiles of the training data.

    Equal thresholds are kept once; a feature with two values becomes one bit.

    Parameters
    ----------
    bits : int, default 4
        Largest number of thresholds a feature, 1 to 64.

    Attributes
    ----------
    thresholds_ : list of ndarray
        Ascending thresholds of every feature.

    Examples
    --------
    >>> Thermometer(bits=2).fit_transform([[1.0], [2.0], [3.0], [4.0]]).tolist()
    [[0, 0], [1, 0], [1, 1], [1, 1]]
    """

    def __init__(self, bits: int = 4) -> None:
        self.bits = bits

    def __sklearn_tags__(self) -> Tags:
        """Declare that the output is int64 whatever the input."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Choose thresholds among the values of every feature, at ``i / (bits + 1)`` quantiles."""
        if not 1 <= self.bits <= 64:
            raise InputError(f"bits must lie in 1..64, got {self.bits}")
        X = validate_data(self, X, dtype=np.float64)
        levels = np.arange(1, self.bits + 1) / (self.bits + 1)
        self.thresholds_ = [self._thresholds(column, levels) for column in X.T]
        return self

    @staticmethod
    def _thresholds(column: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.float64]:
        chosen = np.unique(np.quantile(column, levels, method="higher"))
        low = column.min()
        above = column[column > low]
        if len(above) and not (chosen > low).any():
            chosen = np.array([above.min()])
        return chosen[chosen > low]

    def transform(self, X: Any) -> NDArray[np.int64]:
        """Return bits 0 and 1, int64 of shape (n, number of thresholds)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        parts = [X[:, [j]] >= cuts for j, cuts in enumerate(self.thresholds_)]
        return np.hstack(parts).astype(np.int64) if parts else np.zeros((len(X), 0), dtype=np.int64)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Name every bit ``feature>=threshold``."""
        check_is_fitted(self)
        if input_features is None:
            input_features = getattr(self, "feature_names_in_", [f"x{j}" for j in range(len(self.thresholds_))])
        return np.array(
            [f"{name}>={cut:g}" for name, cuts in zip(input_features, self.thresholds_, strict=True) for cut in cuts],
            dtype=object,
        )
