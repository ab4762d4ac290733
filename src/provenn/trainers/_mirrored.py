"""Networks with one output as networks with two outputs of opposite signs, for the published rule of max_correct."""

from dataclasses import replace

import numpy as np

from provenn.formulations import Problem
from provenn.losses.max_correct import MaxCorrect
from provenn.network import Architecture, IntegerNetwork


def single_output_problem(problem: Problem) -> Problem | None:
    """Return the problem with one output whose networks `mirrored` turns back, or None where there is none.

    The published rule wants exactly one of two outputs to fire on every sample. Scores s and -s do
    that wherever s is not 0, and s is odd on all samples when the sum of the output's weights and its
    bias is: with hidden activations of +1 and -1 all scores have the parity of that sum. Behind steps
    scores have no parity, but s and -s - 1 always do it.
    """
    shape, loss = problem.architecture, problem.loss
    two = isinstance(loss, MaxCorrect) and loss.rule == "published" and shape.n_outputs == 2
    last = shape.layers[-1]
    symmetric = all(d is None or d.low == -d.high for d in (last.weights, last.bias))
    if not (two and shape.hidden and symmetric) or problem.constraints or shape.continuous:
        return None
    if _behind_steps(shape) and (last.bias is None or last.bias.step > 1):
        return None
    single = Architecture((*shape.layers[:-1], replace(last, n_out=1)))
    return Problem(single, problem.dataset, MaxCorrect())


def mirrored(network: IntegerNetwork, architecture: Architecture) -> IntegerNetwork:
    """Return outputs -s and s, with odd scores where the bias leaves room for that.

    A bias raised by one turns even scores s into s + 1, which has the sign that s predicts. Behind steps
    the outputs are -s - 1 and s, where the bias leaves room for that.
    """
    w, b = network.weights[-1][:, 0], int(network.biases[-1][0])
    domain, other = architecture.layers[-1].bias, -b
    if domain is not None and _behind_steps(architecture):
        other = -b - 1 if domain.contains(np.array([-b - 1])) else -b
    elif (int(w.sum()) + b) % 2 == 0 and domain is not None:
        b = next((c for c in (b + 1, b - 1) if domain.contains(np.array([c]))), b)
        other = -b
    weights = (*network.weights[:-1], np.column_stack([-w, w]))
    return IntegerNetwork(architecture, weights, (*network.biases[:-1], np.array([other, b])), network.scale)


def _behind_steps(architecture: Architecture) -> bool:
    """Whether the output layer reads activations of 0 and 1."""
    return architecture.layers[-2].lowest == 0
