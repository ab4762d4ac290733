"""Moves thresholds of continuous hidden units into gaps between the samples."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from provenn.network import IntegerNetwork

Integers = NDArray[np.int64]


def settled(network: IntegerNetwork, X: Integers) -> IntegerNetwork:
    """Shift biases as little as possible so that no hidden pre-activation lies between -margin and 0.

    For each unit of a hidden layer with a margin, with pre-activations ``a_k`` and a bias in steps of s:
    the t of least ``|t|`` for which no ``a_k + s t`` is below 0 and above -margin. A unit keeps its bias
    where none in its domain will do.

    Parameters
    ----------
    network : IntegerNetwork
    X : ndarray of shape (n, d), int64
        Samples in grid units.

    Examples
    --------
    >>> from provenn.network import Architecture, IntegerDomain
    >>> shape = Architecture.build(1, 2, (1,), IntegerDomain.continuous(1.0, bits=4), margin=0.25)
    >>> network = IntegerNetwork.of(shape, [[[16]], [[16]]], [[-4], [0]], scale=4)
    >>> moved = settled(network, np.array([[0], [3], [4]]))
    >>> network.decided(network.trace([[0]])), moved.biases[0].tolist()
    (True, [-4])
    """
    biases, h = list(network.biases), X
    for number, layer in enumerate(network.architecture.layers[:-1]):
        unit = network.scale if number == 0 else 1
        a = h @ network.weights[number] + unit * biases[number]
        if layer.margin and layer.bias is not None:
            margin = network.architecture.margin(number, network.scale)
            low, high = layer.bias.low - biases[number], layer.bias.high - biases[number]
            shift = np.array([_shift(a[:, j], margin, unit, low[j], high[j]) for j in range(a.shape[1])])
            biases[number] = biases[number] + shift
            a = a + unit * shift
        h = np.where(a >= 0, 1, layer.lowest)
    return replace(network, biases=tuple(biases))


def _shift(a: Integers, margin: int, unit: int, low: int, high: int) -> int:
    """Return the least shift, in steps of `unit`, after which no entry lies in (-margin, 0)."""
    if not ((a < 0) & (a > -margin)).any():
        return 0
    above = np.unique(a)
    up = -(above // unit)
    down = -((above + margin + unit - 1) // unit)
    candidates = np.unique(np.concatenate([up, down]))
    candidates = candidates[(candidates >= low) & (candidates <= high)]
    for t in candidates[np.argsort(np.abs(candidates), kind="stable")]:
        first = np.searchsorted(above, -unit * t - margin, side="right")
        if first == len(above) or above[first] + unit * t >= 0:
            return int(t)
    return 0
