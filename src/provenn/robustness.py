"""How robust a trained network is: certified samples, counterexamples, smallest perturbations.

A sample is certified when no real perturbation in a ball changes its prediction. `certify` asks the cheapest proof
first: activations that stay the same, intervals of the scores, the closed form of networks without hidden layers; then
attacks look for a counterexample, and a mixed-integer program decides what is left. A counterexample is a point on a
grid as fine as needed whose exact forward pass gives another class.
"""

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf, isinf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenn._robustness_attack import attack
from provenn._robustness_ball import Ball, Counterexample, finer, on_grids
from provenn._robustness_report import Report, Smallest, Verdict
from provenn._robustness_search import Search
from provenn.errors import InputError
from provenn.milp import Limits
from provenn.network import IntegerNetwork
from provenn.network.intervals import Intervals, intervals
from provenn.network.network import predict_scores
from provenn.solvers import Solver

Integers = NDArray[np.int64]


def certify(
    network: IntegerNetwork,
    X: Any,
    y: Any,
    radius: Any,
    norm: str = "inf",
    limits: Limits | None = None,
    solver: Solver | None = None,
    tries: int = 64,
) -> Report:
    """Decide for every sample whether a perturbation in a ball changes its prediction.

    Parameters
    ----------
    network : IntegerNetwork
    X : array of shape (n, n_features), integers
        Samples in grid units.
    y : array of shape (n,), int
        Class indices.
    radius : sequence of int, length n_features
        In grid units; 0 for features that are not perturbed.
    norm : {"inf", "1", "2"}
        See `provenn.network.intervals.reach`.
    limits : Limits, optional
        Seconds, threads and seed count; samples that the time does not suffice for are unknown.
    solver : Solver, optional
        For what cheap proofs and attacks leave open; HiGHS by default. Its floats vouch for its verdicts.
    tries : int
        Work of the attacks.

    Raises
    ------
    InputError
        For a negative radius, one larger than the range of the data, an unknown norm, or lengths that differ.

    References
    ----------
    Constant activations: Kurtz & Bah, arXiv 2110.11382. Programs for fixed networks: Tjeng, Xiao & Tedrake,
    arXiv 1711.07356.

    Examples
    --------
    >>> from provenn.network import Architecture, IntegerDomain
    >>> shape = Architecture.build(2, 2, (2,), IntegerDomain(-5, 5))
    >>> net = IntegerNetwork.of(shape, [[[1, 1], [0, 1]], [[1], [1]]], [[-3, -5], [1]])
    >>> report = certify(net, [[5, 5], [4, 1], [0, 0]], [1, 1, 0], (1, 1))
    >>> [verdict.state for verdict in report.verdicts], report.certified_accuracy
    (['certified', 'certified', 'certified'], 1.0)
    >>> certify(net, [[4, 1], [0, 0]], [1, 0], (2, 2)).verdicts[0].counterexample.prediction
    0
    """
    limits = limits or Limits()
    until = time.monotonic() + limits.seconds
    samples, labels, ball = _checked(network, X, y, radius, norm)
    verdicts = _cheap(network, samples, ball)
    open_ = [k for k, verdict in enumerate(verdicts) if verdict is None]
    work = _Work(network, samples, ball, solver or Solver.create("highs"), until, limits, tries, open_)
    for k, verdict in zip(open_, work.run(), strict=True):
        verdicts[k] = verdict
    right = network.predict(samples) == labels
    return Report(
        tuple(map(int, ball.radius)), norm, tuple(map(bool, right)), tuple(v for v in verdicts if v is not None)
    )


@dataclass
class _Work:
    """The samples that cheap proofs leave open."""

    network: IntegerNetwork
    samples: Integers
    ball: Ball
    solver: Solver
    until: float
    limits: Limits
    tries: int
    open_: list[int]

    def run(self) -> Iterable[Verdict]:
        """Yield their verdicts in order."""
        if self.limits.threads == 1:
            return map(self.decide, range(len(self.open_)))
        with ThreadPoolExecutor(self.limits.threads) as pool:
            return list(pool.map(self.decide, range(len(self.open_))))

    def decide(self, place: int) -> Verdict:
        """Attack, then search exactly with a fair share of the time."""
        k = self.open_[place]
        linear = not self.network.architecture.hidden
        if not linear:
            rng = np.random.default_rng([self.limits.seed, k])
            found = attack(self.network, self.samples[k], self.ball, rng, self.tries)
            if found is not None:
                return Verdict("counterexample", "attack", 0.0, found)
        now = time.monotonic()
        rounds = -(-(len(self.open_) - place) // self.limits.threads)
        until = now + max(0.0, self.until - now) / rounds
        nearest = Search(self.network, self.samples[k], self.ball, self.solver, until).run()
        name = "closed form" if linear else type(self.solver).__name__.lower()
        if nearest.witness is not None:
            return Verdict("counterexample", name, min(nearest.bound, nearest.distance), nearest.witness)
        if isinf(nearest.bound):
            return Verdict("certified", name, inf)
        return Verdict("unknown", "limit", nearest.bound)


def _checked(network: IntegerNetwork, X: Any, y: Any, radius: Any, norm: str) -> tuple[Integers, Integers, Ball]:
    """Check samples, labels and radius."""
    samples = network._grid(X)
    labels = np.asarray(y, dtype=np.int64)
    if len(samples) == 0 or labels.shape != (len(samples),):
        raise InputError(f"every sample needs a class index, got {len(samples)} samples and labels of {labels.shape}")
    return samples, labels, Ball.of(radius, norm, samples)


def _cheap(network: IntegerNetwork, samples: Integers, ball: Ball) -> list[Verdict | None]:
    """Certify by constant activations and by intervals."""
    found = intervals(network, samples, ball.radius, ball.norm, margins=False)
    sure = _interval_certified(network, samples, found)
    settled = found.settled & bool(network.architecture.hidden)
    same, apart = Verdict("certified", "activations", inf), Verdict("certified", "intervals", inf)
    return [same if s else apart if c else None for s, c in zip(settled, sure, strict=True)]


def _interval_certified(network: IntegerNetwork, samples: Integers, found: Intervals) -> NDArray[np.bool_]:
    """Tell which predictions hold for all scores in the intervals, bool of shape (n,)."""
    now = network.predict(samples)
    outputs = network.architecture.n_outputs
    own = now[:, None] == (np.arange(outputs) if outputs > 1 else 1)
    return np.asarray(predict_scores(found.worst(np.where(own, 1, -1))) == now)


def certified_accuracy(network: IntegerNetwork, X: Any, y: Any, radius: Any, norm: str = "inf") -> float:
    """Return the share of samples that activations or intervals prove right in the ball.

    Exact integers and no search; `certify` can only find more. Parameters as of `certify`.
    """
    samples, labels, ball = _checked(network, X, y, radius, norm)
    found = intervals(network, samples, ball.radius, norm, margins=False)
    settled = found.settled | _interval_certified(network, samples, found)
    return float(np.mean(settled & (network.predict(samples) == labels)))


def attacked_accuracy(
    network: IntegerNetwork,
    X: Any,
    y: Any,
    radius: Any,
    norm: str = "inf",
    rng: np.random.Generator | None = None,
    tries: int = 64,
) -> float:
    """Return the share of samples that are right and that no attack changed: at least the true robust accuracy.

    Parameters as of `certify`; `rng` is `numpy.random.default_rng(0)` by default.
    """
    rng = rng or np.random.default_rng(0)
    samples, labels, ball = _checked(network, X, y, radius, norm)
    cheap, right = _cheap(network, samples, ball), network.predict(samples) == labels
    stands = [
        bool(right[k]) and (cheap[k] is not None or attack(network, samples[k], ball, rng, tries) is None)
        for k in range(len(samples))
    ]
    return float(np.mean(stands))


def noisy_accuracy(
    network: IntegerNetwork,
    X: Any,
    y: Any,
    radius: Any,
    norm: str = "inf",
    rng: np.random.Generator | None = None,
    draws: int = 100,
) -> float:
    """Return the mean accuracy over perturbations drawn uniformly from the ball; parameters as of `attacked_accuracy`.

    Parameters
    ----------
    draws : int
        Perturbations of each sample.
    """
    rng = rng or np.random.default_rng(0)
    samples, labels, ball = _checked(network, X, y, radius, norm)
    shares = []
    for x, label in zip(samples, labels, strict=True):
        *_, (factor, points) = on_grids(network, x, ball.draw(rng, draws))
        shares.append(np.mean(finer(network, factor).predict(points) == label))
    return float(np.mean(shares))


def smallest_perturbation(
    network: IntegerNetwork,
    x: Any,
    radius: Any,
    norm: str = "inf",
    limits: Limits | None = None,
    solver: Solver | None = None,
    largest: int = 1,
    tolerance: float = 1e-3,
) -> Smallest:
    """Bound the smallest multiple of a radius at which the prediction of one sample changes.

    Parameters
    ----------
    network : IntegerNetwork
    x : array of shape (n_features,), integers
        In grid units.
    radius, norm, limits, solver
        See `certify`.
    largest : int
        Largest multiple that counts, at least 1.
    tolerance : float
        The search ends when the witness is within this share of the lower bound.

    Returns
    -------
    Smallest
        Whose bounds are as far apart as the time and the tolerance left them.

    Examples
    --------
    >>> from provenn.network import Architecture, IntegerDomain
    >>> net = IntegerNetwork.of(Architecture.build(2, 2, (), IntegerDomain(-2, 2)), [[[1], [-2]]], [[0]])
    >>> found = smallest_perturbation(net, [6, 1], (1, 1), largest=10)
    >>> bool(found.lower <= 4 / 3 <= found.upper < 1.34)
    True
    """
    if largest < 1 or not 0 < tolerance < 1:
        raise InputError(f"largest must be at least 1 and the tolerance in (0, 1), got {largest} and {tolerance}")
    limits = limits or Limits()
    sample = network._grid(np.asarray(x)[None])[0]
    ball = Ball.of(radius, norm, sample[None])
    until = time.monotonic() + limits.seconds
    found = Search(network, sample, ball, solver or Solver.create("highs"), until, largest, tolerance).run()
    return Smallest(found.bound, found.distance, found.witness)


__all__ = [
    "Counterexample",
    "Report",
    "Smallest",
    "Verdict",
    "attacked_accuracy",
    "certified_accuracy",
    "certify",
    "noisy_accuracy",
    "smallest_perturbation",
]
