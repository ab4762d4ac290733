"""Networks to begin with: hidden units that separate classes on random parts of the samples."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from provenn.formulations import Problem
from provenn.network import Dense, IntegerNetwork

Floats = NDArray[np.float64]
ROUNDS, PENALTY, PART = 60, 1e-3, 0.5


def start_network(problem: Problem, rng: np.random.Generator) -> IntegerNetwork:
    """Return a random network whose first hidden units separate one class from the others.

    Every unit is a logistic regression on a random half of the samples and of the features, scaled until its largest
    parameter meets its box and rounded to the grid. Its bias then moves to the middle of the gap between the
    pre-activations on both sides of 0. Later layers are random.

    Parameters
    ----------
    problem : Problem
    rng : Generator

    Returns
    -------
    IntegerNetwork
        It may break side constraints and margins.

    Examples
    --------
    >>> from provenn.losses.max_correct import MaxCorrect
    >>> from provenn.network import Architecture, Dataset, IntegerDomain
    >>> data = Dataset.merge([[0, 0], [0, 9], [9, 0], [9, 9]], [0, 1, 0, 1], scale=9)
    >>> shape = Architecture.build(2, 2, (3,), IntegerDomain.continuous(), activation="step")
    >>> network = start_network(Problem(shape, data, MaxCorrect()), np.random.default_rng(0))
    >>> bool(abs(network.weights[0]).max() <= 2**20)
    True
    """
    network = IntegerNetwork.random(problem.architecture, rng, problem.dataset.scale)
    if not problem.architecture.hidden:
        return network
    dense, data = problem.architecture.layers[0], problem.dataset
    W, b = network.weights[0].copy(), network.biases[0].copy()
    X = data.X / data.scale
    for j in range(dense.n_out):
        W[:, j], b[j] = _on_grid(dense, *_direction(problem, X, rng))
        if dense.bias is not None:
            b[j] = _in_the_gap(data.X @ W[:, j], int(b[j]), data.scale, dense)
    return IntegerNetwork(
        problem.architecture, (W, *network.weights[1:]), (b, *network.biases[1:]), problem.dataset.scale
    )


def _direction(problem: Problem, X: Floats, rng: np.random.Generator) -> tuple[Floats, float]:
    """Fit a logistic regression of a random class to random samples and features."""
    data = problem.dataset
    rows = rng.random(len(X)) < PART
    features = data.live & (rng.random(X.shape[1]) < PART)
    if not features.any() or not rows.any():
        rows[:], features = True, data.live.copy()
    wanted = int(rng.integers(data.n_classes))
    t, weight = np.where(data.y[rows] == wanted, 1.0, -1.0), data.multiplicity[rows] / data.multiplicity[rows].sum()
    Z = np.column_stack([X[rows][:, features], np.ones(int(rows.sum()))])

    def loss(v: Floats) -> tuple[float, Floats]:
        z = t * (Z @ v)
        pull = -weight * t / (1.0 + np.exp(np.clip(z, -500, 500)))
        return float(weight @ np.logaddexp(0.0, -z) + PENALTY / 2 * v @ v), Z.T @ pull + PENALTY * v

    v = minimize(loss, np.zeros(Z.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": ROUNDS}).x
    w = np.zeros(X.shape[1])
    w[features] = v[:-1]
    return w, float(v[-1])


def _on_grid(dense: Dense, w: Floats, b: float) -> tuple[NDArray[np.int64], int]:
    """Scale a neuron until its largest parameter meets its box, and round it."""
    size = float(np.abs(w).max()) / max(dense.weights.bound, 1)
    if dense.bias is not None and dense.bias.bound:
        size = max(size, abs(b) / dense.bias.bound)
    factor = 1.0 / size if size > 0 else 0.0
    rounded = dense.weights.clip(w * factor)
    return rounded, int(dense.bias.clip(np.array([b * factor]))[0]) if dense.bias is not None else 0


def _in_the_gap(products: NDArray[np.int64], b: int, scale: int, dense: Dense) -> int:
    """Return the bias that puts 0 into the middle of the gap of the pre-activations ``products + scale b``."""
    assert dense.bias is not None
    a = products + scale * b
    above, below = a[a >= 0], a[a < 0]
    if not (len(above) and len(below)):
        return b
    return int(dense.bias.clip(np.array([b - (int(above.min()) + int(below.max())) / (2 * scale)]))[0])
