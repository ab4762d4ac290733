"""Networks to start from where weights are continuous: one threshold, on a feature or on a linear score."""

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from provenn.network import Architecture, Dataset, IntegerNetwork

Floats = NDArray[np.float64]
THRESHOLDS = 64


def linear_starts(shape: Architecture, data: Dataset) -> Iterator[IntegerNetwork]:
    """Yield networks that hand linear classifiers through; none where there is no room for them.

    Two classes: one unit at the best thresholds of each feature and of a logistic regression. More
    classes: one unit for each of them, one against the others.

    Parameters
    ----------
    shape : Architecture
        With hidden layers.
    data : Dataset
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    X = np.where(data.live, data.X, 0) / data.scale
    present = len(np.unique(data.y))
    if not data.live.any() or present < data.n_classes or min(shape.hidden) < (1 if present == 2 else present):
        return
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(max_iter=300).fit(X, data.y, sample_weight=data.multiplicity)
    if present > 2:
        yield _network(shape, model.coef_.T, model.intercept_, data.scale)
        return
    signed = (2 * data.y - 1) * data.multiplicity
    directions = [model.coef_[0], *np.eye(data.n_features)[data.live]]
    for w in directions:
        score = X @ w
        for sign in (1, -1):
            cut = _best_threshold(sign * score, signed)
            yield _network(shape, sign * w[:, None], np.array([-cut]), data.scale)
    for cut in np.quantile(X @ model.coef_[0], np.linspace(0, 1, THRESHOLDS + 1)[:-1]):
        yield _network(shape, model.coef_.T, np.array([-cut]), data.scale)


def _best_threshold(score: Floats, signed: NDArray[np.int64]) -> float:
    """Return the threshold in the middle of a gap at which ``score >= threshold`` has the fewest errors."""
    order = np.argsort(score)
    last = np.flatnonzero(np.append(np.diff(score[order]) > 0, True))
    gain = -np.cumsum(signed[order])[last][:-1]
    if not len(gain):
        return float(score[order[0]])
    best = last[int(gain.argmax())]
    return float((score[order[best]] + score[order[best + 1]]) / 2)


def _network(shape: Architecture, W: Floats, b: Floats, scale: int) -> IntegerNetwork:
    """Build the network whose first units are the given ones; later layers hand their activations through."""
    weights, biases = [], []
    for number, layer in enumerate(shape.layers):
        w, c = np.zeros((layer.n_in, layer.n_out)), np.zeros(layer.n_out)
        count = W.shape[1]
        if number == 0:
            ends = [layer.weights.high / max(float(np.abs(W).max()), 1e-12)]
            if layer.bias is not None and np.abs(b).max() > 0:
                ends.append(layer.bias.high / float(np.abs(b).max()))
            w[:, :count], c[:count] = W * min(ends), b * min(ends)
        else:
            reach, step = layer.weights.high, shape.layers[number - 1].lowest == 0
            half = -((reach + 1) // 2) if step else 0
            if count == 1 and layer.n_out == 2 and number == len(shape.layers) - 1:
                w[0], c[:] = (-reach, reach), (-half, half)
            else:
                w[:count, :count] = np.eye(count) * reach
                c[:count] = half
        weights.append(layer.weights.clip(w))
        biases.append(layer.bias.clip(c) if layer.bias is not None else np.zeros(layer.n_out))
    return IntegerNetwork.of(shape, weights, biases, scale)
