"""Partitions of the training samples: formed by classes and activations, split by k-means."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from provenn.network import Dataset, IntegerNetwork

Integers = NDArray[np.int64]
Weigh = Callable[[Integers], float]
"""Tells what the samples of a part add to the loss."""


@dataclass(frozen=True)
class Parts:
    """Disjoint sets of samples that cover the data.

    Parameters
    ----------
    data : Dataset
    rows : tuple of ndarray of int64
        Indices of merged samples, ascending.

    Examples
    --------
    >>> data = Dataset.merge([[0], [1], [8], [9]], [0, 0, 0, 1])
    >>> parts = Parts.first(data, per_class=True)
    >>> [part.tolist() for part in parts.rows]
    [[0, 1, 2], [3]]
    >>> [part.tolist() for part in parts.split(1, len, seed=0).rows]
    [[0, 1], [2], [3]]
    """

    data: Dataset
    rows: tuple[Integers, ...]

    @classmethod
    def first(cls, data: Dataset, per_class: bool, network: IntegerNetwork | None = None) -> "Parts":
        """Return one part, or one a class, each cut by the activations of a network's first hidden layer."""
        keys = [data.y[:, None]] if per_class else []
        if network is not None:
            keys.append(network.trace(data.X).activations[0])
        if not keys:
            return cls(data, (np.arange(data.n_samples),))
        _, cell = np.unique(np.hstack(keys), axis=0, return_inverse=True)
        return cls(data, _groups(np.arange(data.n_samples), cell.ravel()))

    @property
    def final(self) -> bool:
        """Whether no part has two different points: the parts then say nothing that the samples do not."""
        return not any(self._divisible(rows) for rows in self.rows)

    def split(self, times: int, weigh: Weigh, seed: int, stopped: Callable[[], bool] = lambda: False) -> "Parts":
        """Split the part that weighs most in two, of equal ones the larger, so many times.

        Parameters
        ----------
        times : int
            Fewer where all parts are single points.
        weigh : callable
        seed : int
            Of k-means.
        stopped : callable
            Asked before each split.
        """
        done = [rows for rows in self.rows if not self._divisible(rows)]
        heap = [self._entry(rows, weigh) for rows in self.rows if self._divisible(rows)]
        heapify(heap)
        for _ in range(times):
            if not heap or stopped():
                break
            for half in self._halves(heappop(heap)[-1], seed):
                if self._divisible(half):
                    heappush(heap, self._entry(half, weigh))
                else:
                    done.append(half)
        return Parts(self.data, tuple(sorted(done + [entry[-1] for entry in heap], key=lambda rows: int(rows[0]))))

    def _entry(self, rows: Integers, weigh: Weigh) -> tuple[float, int, int, Integers]:
        """Order parts by weight, then by size; the first index tells the rest apart."""
        return -weigh(rows), -len(rows), int(rows[0]), rows

    def _divisible(self, rows: Integers) -> bool:
        return bool((self.data.X[rows] != self.data.X[rows[0]]).any())

    def _halves(self, rows: Integers, seed: int) -> tuple[Integers, ...]:
        """Cut a part in two by k-means; where that fails by the label, or at the median of the widest feature."""
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
        from threadpoolctl import threadpool_limits

        X = self.data.X[rows] / self.data.scale
        # Threads of k-means spin while they wait, which on a busy machine takes ten times as long as one alone.
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)
            halves = _groups(rows, KMeans(2, n_init=1, random_state=seed).fit_predict(X))
        if len(halves) < 2:
            halves = _groups(rows, self.data.y[rows])
        if len(halves) < 2:
            widest = int(np.argmax(np.ptp(X, axis=0)))
            values = self.data.X[rows, widest]
            halves = _groups(rows, values > min(np.median(values), values.max() - 1))
        return halves


def _groups(rows: Integers, label: NDArray[np.generic]) -> tuple[Integers, ...]:
    """Return the rows of every label."""
    return tuple(rows[label == value] for value in np.unique(label))
