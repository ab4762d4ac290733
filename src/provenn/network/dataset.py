"""Training data on an integer grid, with equal samples merged."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError

GRID_LIMIT = 2**40
WEIGHT_LIMIT = 2**40


def _check_grid(X: NDArray[Any]) -> NDArray[np.int64]:
    """Return X as a contiguous int64 matrix, or say which entry is not a grid point."""
    if X.ndim != 2 or min(X.shape) < 1:
        raise InputError(f"X must be a matrix with at least one row and one column, got shape {X.shape}")
    bad = ~(np.isfinite(X) & (np.abs(X) <= GRID_LIMIT) & (np.rint(X) == X))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise InputError(
            f"X[{row}, {column}] = {X[row, column]} is not an integer of at most 2^40; "
            "put the data on the grid first, for example with provenn.network.Grid"
        )
    return np.ascontiguousarray(X, dtype=np.int64)


@dataclass(frozen=True)
class Dataset:
    """Samples in grid units with class indices and multiplicities.

    Parameters
    ----------
    X : ndarray of shape (n, d), int64
        Distinct (sample, class) pairs in grid units; the real value is ``X / scale``.
    y : ndarray of shape (n,), int64
        Class indices.
    classes : tuple
        The label of every class index.
    multiplicity : ndarray of shape (n,), int64
        How often each sample occurs, at least 1.
    scale : int
        Grid units in 1.

    Examples
    --------
    >>> data = Dataset.merge([[1, 0], [1, 0], [1, 0]], ["a", "a", "b"])
    >>> data.X.tolist(), data.y.tolist(), data.multiplicity.tolist(), data.conflicts
    ([[1, 0], [1, 0]], [0, 1], [2, 1], 1)
    """

    X: NDArray[np.int64]
    y: NDArray[np.int64]
    classes: tuple[Any, ...]
    multiplicity: NDArray[np.int64]
    scale: int = 1

    @classmethod
    def merge(
        cls, X: Any, y: Any, multiplicity: Any = None, scale: int = 1, classes: tuple[Any, ...] | None = None
    ) -> "Dataset":
        """Merge equal samples of equal class and number the classes.

        Parameters
        ----------
        X : array of shape (n, d), integers
            Samples in grid units.
        y : array of shape (n,)
            Labels, at least two distinct ones unless `classes` names more.
        multiplicity : array of shape (n,), non-negative integers, optional
            Weight of each sample; samples of weight 0 are dropped.
        scale : int
            Grid units in 1, at least 1.
        classes : tuple, optional
            All labels in order; by default the sorted distinct labels.

        Raises
        ------
        InputError
            For entries off the grid, unequal lengths, one class, or bad weights.
        """
        grid, labels = _check_grid(np.asarray(X)), np.asarray(y)
        weights = np.ones(len(grid), dtype=np.int64) if multiplicity is None else np.asarray(multiplicity)
        if not (len(grid) == len(labels) == len(weights)):
            raise InputError(f"lengths differ: {len(grid)} samples, {len(labels)} labels, {len(weights)} weights")
        if scale < 1:
            raise InputError(f"the scale must be at least 1 grid unit, got {scale}")
        if np.any(weights != np.rint(weights)) or np.any(weights < 0) or np.any(weights > WEIGHT_LIMIT):
            raise InputError("multiplicities must be whole numbers from 0 to 2^40")
        kept = weights > 0
        if not kept.any():
            raise InputError("all sample weights are 0: at least one sample must count")
        grid, labels, weights = grid[kept], labels[kept], weights[kept].astype(np.int64)
        known = classes if classes is not None else tuple(np.unique(labels).tolist())
        if len(known) < 2:
            raise InputError(f"the target has one class only ({known[0]!r}); a classifier needs at least two")
        number = {label: index for index, label in enumerate(known)}
        unknown = sorted({str(label) for label in labels.tolist() if label not in number})
        if unknown:
            raise InputError(f"labels that are not among the classes: {', '.join(unknown[:5])}")
        index = np.array([number[label] for label in labels.tolist()], dtype=np.int64)
        rows, inverse = np.unique(np.column_stack([grid, index]), axis=0, return_inverse=True)
        counts = np.zeros(len(rows), dtype=np.int64)
        np.add.at(counts, inverse.ravel(), weights)
        return cls(np.ascontiguousarray(rows[:, :-1]), rows[:, -1].copy(), known, counts, scale)

    @property
    def n_samples(self) -> int:
        """Number of merged samples."""
        return len(self.X)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.X.shape[1]

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def total(self) -> int:
        """Number of samples before merging."""
        return int(self.multiplicity.sum())

    @cached_property
    def live(self) -> NDArray[np.bool_]:
        """Features that are not constant over the samples, bool of shape (d,).

        The weights of the others are fixed at 0 where the domain allows.
        """
        return np.asarray(self.X.min(axis=0) != self.X.max(axis=0))

    @cached_property
    def conflicts(self) -> int:
        """Number of samples that any classifier gets wrong: equal samples of different classes.

        For each distinct sample, all but its most frequent class.
        """
        _, group = np.unique(self.X, axis=0, return_inverse=True)
        table = np.zeros((int(group.max()) + 1, self.n_classes), dtype=np.int64)
        np.add.at(table, (group.ravel(), self.y), self.multiplicity)
        return int((table.sum(axis=1) - table.max(axis=1)).sum())

    def targets(self, n_outputs: int) -> NDArray[np.int64]:
        """Return the labels as +1 and -1, one column an output.

        Parameters
        ----------
        n_outputs : int
            1 (two classes: class 1 is +1) or the number of classes (one-hot).

        Returns
        -------
        ndarray of shape (n, n_outputs), int64
        """
        if n_outputs == 1 and self.n_classes == 2:
            return 2 * self.y[:, None] - 1
        if n_outputs != self.n_classes:
            raise InputError(f"the data have {self.n_classes} classes and the network has {n_outputs} outputs")
        return 2 * (self.y[:, None] == np.arange(n_outputs)).astype(np.int64) - 1

    def subset(self, rows: NDArray[Any]) -> "Dataset":
        """Return the merged samples with the given indices or mask, with the same classes and scale."""
        return Dataset(self.X[rows], self.y[rows], self.classes, self.multiplicity[rows], self.scale)

    def fingerprint(self) -> str:
        """Return a SHA-256 of samples, labels, multiplicities and scale, in hexadecimal."""
        digest = hashlib.sha256(f"{self.X.shape}{self.scale}{[str(c) for c in self.classes]}".encode())
        for array in (self.X, self.y, self.multiplicity):
            digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
        return digest.hexdigest()
