"""Refits a unit of the first layer by a linear program, which separates samples where a hyperplane can."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from provenn.formulations import Problem

Longs = NDArray[np.int64]
Floats = NDArray[np.float64]
MOST_SAMPLES, MOST_ENTRIES = 1500, 200_000
WIDEST = 0.1
"""Largest distance from 0 that a refit asks for, in real units."""


def refitted(problem: Problem, gain: Floats, low: Longs, high: Longs, rng: np.random.Generator) -> Longs | None:
    r"""Return the parameters of a unit that agrees with wanted activations as well as a linear program can say.

    .. math:: \min_{w, b, \xi \ge 0} \sum_k |gain_k| \xi_k \quad\text{subject to}\quad
        t_k (x_k w + b) \ge \rho - \xi_k, \; t_k = \operatorname{sign} gain_k

    over the box of the parameters, with a distance rho that is drawn uniformly in its logarithm. If a hyperplane
    separates the samples by rho, this one does.

    Parameters
    ----------
    problem : Problem
    gain : ndarray of shape (n,), float64
        What is gained when the unit fires on a sample; 0 where it does not matter.
    low, high : ndarray of shape (D + 1,), int64
        Box of the parameters, the bias last.
    rng : Generator

    Returns
    -------
    ndarray of shape (D + 1,), int64, or None
        None where nothing matters, or the linear program has no answer.
    """
    data, dense, d = problem.dataset, problem.architecture.layers[0], problem.dataset.n_features
    rows = np.flatnonzero(gain)
    if not len(rows):
        return None
    rows = rng.permutation(rows)[: max(1, min(MOST_SAMPLES, MOST_ENTRIES // d))]
    cost = np.abs(gain[rows]) / np.abs(gain[rows]).max()
    Z = np.sign(gain[rows])[:, None] * np.column_stack([data.X[rows] / data.scale, np.ones(len(rows))])
    distance = 2 * dense.margin * (WIDEST / (2 * dense.margin)) ** rng.random()
    used = np.append(np.arange(d), len(low) - 1)
    box = np.column_stack([low[used], high[used]]) / dense.weights.denominator
    found = linprog(
        np.append(np.zeros(d + 1), cost),
        A_ub=sparse.hstack([-sparse.csr_matrix(Z), -sparse.identity(len(rows))], format="csr"),
        b_ub=np.full(len(rows), -distance),
        bounds=np.vstack([box, np.tile([0.0, np.inf], (len(rows), 1))]),
        method="highs",
    )
    if found.x is None:
        return None
    parameters = np.zeros(len(low), dtype=np.int64)
    parameters[used] = np.rint(found.x[: d + 1] * dense.weights.denominator).astype(np.int64)
    return np.clip(parameters, low, high)
