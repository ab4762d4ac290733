"""Balls of perturbations and points in them, in exact integers on grids as fine as needed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError, OverflowRiskError
from provenn.network import IntegerNetwork
from provenn.network.intervals import checked_radius

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
FINENESS = tuple(2**k for k in (20, 14, 10, 6, 3))
LARGEST = 2.0**60


@dataclass(frozen=True)
class Ball:
    """Perturbations of a norm up to a radius, see `provenn.network.intervals.reach`.

    Parameters
    ----------
    radius : ndarray of shape (d,), int64
        In grid units.
    norm : {"inf", "1", "2"}
    """

    radius: Integers
    norm: str

    @classmethod
    def of(cls, radius: Any, norm: str, X: Integers) -> "Ball":
        """Check a radius against samples.

        Raises
        ------
        InputError
            For a bad radius or norm, and for a radius larger than the range of the values of several samples.
        """
        R = checked_radius(radius, norm, X.shape[1])
        spread = int(X.max(initial=0)) - int(X.min(initial=0))
        if len(X) > 1 and int(R.max(initial=0)) > spread:
            raise InputError(
                f"a radius of {int(R.max())} grid units is larger than the range of the data, {spread}; "
                "give the radius in the units of the features"
            )
        return cls(R, norm)

    @property
    def active(self) -> Integers:
        """Features that perturbations change."""
        return np.flatnonzero(self.radius)

    def size(self, delta: Integers, factor: int) -> Fraction:
        """Return the norm of a perturbation given in ``1 / factor`` grid units, for "2" its square.

        Features of radius 0 must not move.
        """
        if np.any(delta[self.radius == 0]):
            raise InputError("the perturbation moves a feature whose radius is 0")
        parts = [Fraction(abs(int(delta[i])), factor * int(self.radius[i])) for i in self.active]
        if self.norm == "inf":
            return max(parts, default=Fraction(0))
        return sum((part if self.norm == "1" else part * part for part in parts), Fraction(0))

    def factor_of(self, delta: Integers, factor: int) -> float:
        """Return the multiple of the radius at which the perturbation lies, rounded up."""
        size = self.size(delta, factor)
        exact = sqrt(size) if self.norm == "2" else float(size)
        return float(np.nextafter(exact, np.inf)) if exact else 0.0

    def corners(self, directions: Floats) -> Floats:
        """Return the points of the ball that lie farthest along the directions, both of shape (m, d)."""
        moved = directions * self.radius
        if self.norm == "inf":
            return np.sign(moved) * self.radius
        if self.norm == "1":
            best = np.abs(moved).argmax(axis=1)
            only = np.arange(len(self.radius)) == best[:, None]
            return np.where(only, np.sign(moved), 0.0) * self.radius
        return moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-300) * self.radius

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        """Draw perturbations uniformly from the ball, shape (count, d)."""
        m = len(self.active)
        drawn = np.zeros((count, len(self.radius)))
        if self.norm == "inf":
            inner = rng.uniform(-1.0, 1.0, (count, m))
        elif self.norm == "1":
            shares = rng.exponential(size=(count, m + 1))
            inner = rng.choice([-1.0, 1.0], (count, m)) * shares[:, :m] / shares.sum(axis=1, keepdims=True)
        else:
            normal = rng.normal(size=(count, m))
            length = np.linalg.norm(normal, axis=1, keepdims=True)
            inner = normal / np.maximum(length, 1e-300) * rng.random((count, 1)) ** (1.0 / max(m, 1))
        drawn[:, self.active] = inner
        return drawn * self.radius


@dataclass(frozen=True)
class Counterexample:
    """A perturbed sample that gets another prediction than the sample.

    Parameters
    ----------
    x : tuple of int
        The perturbed sample, in ``1 / factor`` grid units.
    factor : int
    prediction : int
        Class index there.
    """

    x: tuple[int, ...]
    factor: int
    prediction: int

    @property
    def values(self) -> Floats:
        """The perturbed sample in grid units."""
        return np.array(self.x) / self.factor

    def perturbation(self, sample: Integers) -> Integers:
        """Return the difference to a sample, in ``1 / factor`` grid units."""
        return np.array(self.x, dtype=np.int64) - self.factor * sample

    def confirmed(self, network: IntegerNetwork, sample: Integers, ball: Ball) -> bool:
        """Whether the point lies in the ball and changes the prediction, by exact forward passes."""
        inside = ball.size(self.perturbation(sample), self.factor) <= 1
        now = int(finer(network, self.factor).predict(np.array([self.x]))[0])
        return inside and now == self.prediction != int(network.predict(sample[None])[0])

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON data."""
        return {"x": list(self.x), "factor": self.factor, "prediction": self.prediction}


def finer(network: IntegerNetwork, factor: int) -> IntegerNetwork:
    """Return the network for samples in ``1 / factor`` grid units: its first layer computes ``factor a``."""
    return replace(network, scale=network.scale * factor)


def on_grids(network: IntegerNetwork, sample: Integers, deltas: Floats) -> Iterator[tuple[int, Integers]]:
    """Yield perturbed samples cut towards the sample, to the data's grid and to the finest that int64 can hold.

    Yields
    ------
    factor : int
    points : ndarray of shape (m, d), int64
        In ``1 / factor`` grid units.
    """
    yield 1, sample + np.trunc(deltas).astype(np.int64)
    for factor in FINENESS:
        if (np.abs(sample).max(initial=0) + np.abs(deltas).max(initial=0)) * factor >= LARGEST:
            continue
        points = sample * factor + np.trunc(deltas * factor).astype(np.int64)
        try:
            finer(network, factor)._grid(points)
        except OverflowRiskError:
            continue
        yield factor, points
        return


def changes(network: IntegerNetwork, sample: Integers, ball: Ball, deltas: Floats) -> Iterator[Counterexample]:
    """Yield those of some perturbations that change the prediction, confirmed exactly, on every grid of `on_grids`."""
    before = int(network.predict(sample[None])[0])
    for factor, points in on_grids(network, sample, deltas):
        now = finer(network, factor).predict(points)
        for i in np.flatnonzero(now != before):
            found = Counterexample(tuple(map(int, points[i])), factor, int(now[i]))
            if found.confirmed(network, sample, ball):
                yield found


def first_change(network: IntegerNetwork, sample: Integers, ball: Ball, deltas: Floats) -> Counterexample | None:
    """Return the first of `changes`, or None."""
    return next(changes(network, sample, ball, deltas), None)
