"""Hessians at points of the search, kept for nodes nearby: bounds need none to be exact."""

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._convex_samples import Floats, Samples
from provenn.losses._curves import HINGE

KEPT_BYTES = 2**24
MOST_KEPT = 256
NEAR = 2.0
Matrix = NDArray[np.float32]


class Models:
    """Hessians of the loss at a limited number of points, the oldest dropped first.

    Any number of threads may use it.

    Parameters
    ----------
    samples : Samples
    """

    def __init__(self, samples: Samples) -> None:
        """Begin without any."""
        D = len(samples.col_start) - 1
        self.size = min(MOST_KEPT, max(1, KEPT_BYTES // (4 * D * D)))
        self.reach = _mean_size(samples) / (abs(samples.p0) if samples.code == HINGE else samples.p1)
        self.points = np.full((self.size, D), np.inf, dtype=np.float32)
        self.hessians: dict[int, Matrix] = {}
        self.added = 0

    def near(self, w: NDArray[np.float32]) -> Matrix | None:
        """Return the Hessian at the nearest point, None where scores there may differ by over NEAR curve lengths.

        That is in the mean over samples. Bounds after a number of nodes were seen to be all but
        the same with Hessians from 4 curve lengths away as with each node's own.
        """
        count = min(self.added, self.size)
        distance = np.abs(self.points[:count] - w) @ self.reach
        return self.hessians.get(int(np.argmin(distance))) if count and distance.min() <= NEAR else None

    def add(self, w: NDArray[np.float32], hessian: Matrix) -> None:
        """Keep the Hessian at w."""
        place = self.added % self.size
        self.hessians[place], self.points[place] = hessian, w
        self.added += 1


def _mean_size(samples: Samples) -> Floats:
    """Return the mean of ``|A_kj|`` over all samples, of shape (D,)."""
    D = len(samples.place)
    entries = np.abs(samples.col_value) * samples.weight[samples.col_row]
    sums = np.bincount(np.repeat(np.arange(D), np.diff(samples.col_start)), entries, D)
    dense = samples.place >= 0
    sums[dense] = np.abs(samples.dense) @ samples.weight
    return np.asarray(sums / samples.weight.sum())
