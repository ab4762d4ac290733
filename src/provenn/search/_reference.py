"""NumPy twin of the compiled scoring: one weight at a time, all samples at once."""

import numpy as np
from numpy.typing import NDArray

from provenn.network import Dataset, IntegerNetwork
from provenn.network.network import Trace
from provenn.search._score_losses import Floats, ScoreLoss, sample_losses

Integers = NDArray[np.int64]


def gains(
    network: IntegerNetwork, dataset: Dataset, loss: ScoreLoss, layer: int, j: int, reach: int
) -> NDArray[np.float64]:
    """Score all moves of unit j of a layer.

    Returns
    -------
    ndarray of shape (2, reach, n_in + 1), float64
        Change of the loss when parameter i (the last is the bias) rises (0) or falls (1) by m + 1.
    """
    trace = network.trace(dataset.X)
    now = sample_losses(loss, trace.scores, dataset.y)
    inputs = dataset.X if layer == 0 else trace.activations[layer - 1]
    one = np.full((dataset.n_samples, 1), dataset.scale if layer == 0 else 1)
    columns = np.column_stack([inputs, one])
    result = np.zeros((2, reach, columns.shape[1]))
    for i in range(columns.shape[1]):
        for m in range(reach):
            for side, dv in enumerate((m + 1, -m - 1)):
                after = _losses_after(network, dataset, loss, trace, layer, j, dv * columns[:, i])
                result[side, m, i] = (after - now) @ dataset.multiplicity
    return result


def _losses_after(
    network: IntegerNetwork, dataset: Dataset, loss: ScoreLoss, trace: Trace, layer: int, j: int, change: Integers
) -> Floats:
    """Return the loss of every sample after the pre-activation of one unit changes."""
    a = trace.preactivations[layer][:, j]
    if layer == len(network.weights) - 1:
        scores = trace.scores.copy()
        scores[:, j] += change
        return sample_losses(loss, scores, dataset.y)
    layers = network.architecture.layers
    flips = np.where(a + change >= 0, 1, layers[layer].lowest) - trace.activations[layer][:, j]
    below = trace.preactivations[layer + 1] + flips[:, None] * network.weights[layer + 1][j]
    for number in range(layer + 2, len(layers)):
        h = np.where(below >= 0, 1, layers[number - 1].lowest)
        below = h @ network.weights[number] + network.biases[number]
    return sample_losses(loss, below, dataset.y)
