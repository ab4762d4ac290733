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
    bias is: with hidden activations of +1 and -1 all scores have the parity of that sum.
    """
    shape, loss = problem.architecture, problem.loss
    two = isinstance(loss, MaxCorrect) and loss.rule == "published" and shape.n_outputs == 2
    last = shape.layers[-1]
    symmetric = all(d is None or d.low == -d.high for d in (last.weights, last.bias))
    if not (two and shape.hidden and symmetric) or problem.constraints:
        return None
    single = Architecture((*shape.layers[:-1], replace(last, n_out=1)))
    return Problem(single, problem.dataset, MaxCorrect())


def mirrored(network: IntegerNetwork, architecture: Architecture) -> IntegerNetwork:
    """Return outputs -s and s, with odd scores where the bias leaves room for that.

    A bias raised by one turns even scores s into s + 1, which has the sign that s predicts.
    """
    w, b = network.weights[-1][:, 0], int(network.biases[-1][0])
    domain = architecture.layers[-1].bias
    if (int(w.sum()) + b) % 2 == 0 and domain is not None:
        b = next((c for c in (b + 1, b - 1) if domain.contains(np.array([c]))), b)
    weights = (*network.weights[:-1], np.column_stack([-w, w]))
    return IntegerNetwork(architecture, weights, (*network.biases[:-1], np.array([-b, b])), network.scale)
