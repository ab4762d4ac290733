"""The best output layer for given activations, by the convex engine."""

import numpy as np

from provenn.bounds.convex import ConvexProblem, minimise
from provenn.formulations import Problem
from provenn.losses import SeparableLoss
from provenn.milp import Limits
from provenn.network import IntegerNetwork
from provenn.status import Status
from provenn.trainers.convex import compile_kernels


def has_convex_outputs(problem: Problem) -> bool:
    """Whether the output layer alone is a convex problem for every output, without prices and conditions."""
    loss = problem.loss
    return (
        bool(problem.architecture.hidden)
        and isinstance(loss, SeparableLoss)
        and loss.convex
        and not problem.constraints
    )


def best_outputs(problem: Problem, network: IntegerNetwork, limits: Limits) -> tuple[IntegerNetwork, bool]:
    """Minimise the loss over the output layer, all activations as they are.

    Every output is a neuron that reads the last activations, with the curve of the whole network.

    Returns
    -------
    network : IntegerNetwork
        Not worse than the given one.
    proven : bool
        Whether every output is proven optimal.

    Raises
    ------
    KeyboardInterrupt
    """
    compile_kernels()
    data, shape, loss = problem.dataset, problem.architecture, problem.loss
    assert isinstance(loss, SeparableLoss)
    layer, h = shape.layers[-1], network.trace(data.X).activations[-1]
    W, b, proven = network.weights[-1].copy(), network.biases[-1].copy(), True
    edge = np.ones(layer.n_in, dtype=np.int64)
    for j in range(shape.n_outputs):
        neuron = ConvexProblem(
            X=h,
            t=data.targets(shape.n_outputs)[:, j],
            multiplicity=data.multiplicity,
            curve=loss.curve(shape, data),
            scale=1,
            low=layer.weights.low * edge,
            high=layer.weights.high * edge,
            step=layer.weights.step,
            bias=(layer.bias.low, layer.bias.high, layer.bias.step) if layer.bias is not None else None,
        )
        result = minimise(neuron, limits, (W[:, j].copy(), int(b[j])))
        if result.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        proven &= result.status is Status.OPTIMAL
        if result.w is not None:
            W[:, j], b[j] = result.w, result.b
    weights, biases = (*network.weights[:-1], W), (*network.biases[:-1], b)
    return IntegerNetwork(shape, weights, biases, network.scale), proven
