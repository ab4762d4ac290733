"""Looks for perturbations that change a prediction: corners, coordinate search, random points."""

import numpy as np

from provenn._robustness_ball import Ball, Counterexample, Floats, Integers, finer, first_change, on_grids
from provenn.network import IntegerNetwork

ROUNDS = 8


def attack(
    network: IntegerNetwork, sample: Integers, ball: Ball, rng: np.random.Generator, tries: int = 64
) -> Counterexample | None:
    """Return a perturbation of one sample that changes its prediction, or None where none was found.

    Tries the corners of the ball along single units of the first layer and along random mixtures that favour a
    change, random points, and in the norm "inf" a coordinate search from the best of them.

    Parameters
    ----------
    network : IntegerNetwork
    sample : ndarray of shape (d,), int64
    ball : Ball
    rng : Generator
    tries : int
        Number of mixtures and of random points.
    """
    if not ball.active.size:
        return None
    directions = _directions(network, sample, rng, tries)
    deltas = np.vstack([ball.corners(directions), ball.draw(rng, tries)])
    found = first_change(network, sample, ball, deltas)
    if found is not None or ball.norm != "inf":
        return found
    return _coordinate_search(network, sample, ball, deltas)


def _directions(network: IntegerNetwork, sample: Integers, rng: np.random.Generator, tries: int) -> Floats:
    """Return single units' weights, both ways, and mixtures in which units near their change count more."""
    W = network.weights[0].astype(np.float64)
    a = network.trace(sample[None]).preactivations[0][0]
    near = 1.0 / (1.0 + np.abs(a) / max(1.0, float(np.abs(a).mean())))
    mixed = rng.normal(size=(tries, W.shape[1])) * near
    if len(network.weights) == 2:
        wanted = _wanted(network, sample, rng, tries)
        mixed = np.where(rng.random((tries, 1)) < 0.75, np.abs(mixed) * wanted, mixed)
    return np.vstack([W.T, -W.T, mixed @ W.T])


def _wanted(network: IntegerNetwork, sample: Integers, rng: np.random.Generator, tries: int) -> Floats:
    """Return the directions in which the units of one hidden layer help a random rival class."""
    W, label = network.weights[1], int(network.predict(sample[None])[0])
    if W.shape[1] == 1:
        return np.asarray(np.sign(W[:, 0]) * (-1.0 if label else 1.0))[None]
    rivals = rng.choice([j for j in range(W.shape[1]) if j != label], tries)
    return np.asarray(np.sign(W[:, rivals] - W[:, [label]]).T, dtype=np.float64)


def _coordinate_search(network: IntegerNetwork, sample: Integers, ball: Ball, deltas: Floats) -> Counterexample | None:
    """Set one coordinate after the other to either end or to 0, while the lead of the prediction shrinks."""
    label = network.predict(sample[None])
    delta, lead = _weakest(network, sample, label, deltas)
    for _ in range(ROUNDS):
        d = len(sample)
        moved = np.repeat(delta[None], 3 * len(ball.active), axis=0)
        rows, ends = np.arange(3 * len(ball.active)), np.tile([-1.0, 0.0, 1.0], len(ball.active))
        places = np.repeat(ball.active, 3)
        moved[rows, places] = ends * ball.radius[places]
        assert moved.shape == (len(rows), d)
        found = first_change(network, sample, ball, moved)
        if found is not None:
            return found
        best, after = _weakest(network, sample, label, moved)
        if after >= lead:
            return None
        delta, lead = best, after
    return None


def _weakest(network: IntegerNetwork, sample: Integers, label: Integers, deltas: Floats) -> tuple[Floats, int]:
    """Return the perturbation at which the prediction leads least, and its lead."""
    factor, points = next(on_grids(network, sample, deltas))
    leads = finer(network, factor).margins(points, np.repeat(label, len(points)))
    weakest = int(leads.argmin())
    return deltas[weakest], int(leads[weakest])
