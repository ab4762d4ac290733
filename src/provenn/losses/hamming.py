"""Number of wrong output bits: the Hamming distance to the code word of each sample's class."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from provenn.errors import InputError
from provenn.losses._base import Integers, Loss, Model, Terms, score_margin, weighted_sum
from provenn.network import Architecture, Dataset, IntegerNetwork

Codes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Hamming(Loss):
    """Minimise the number of outputs whose bit is not that of the class's code word.

    ``sum_k sum_j [o_jk != c_{y_k j}]`` with ``o_jk = 1`` if ``a_jk >= 0``, else 0. With one output and
    two classes it is the number of wrong samples. Where the output layer is continuous,
    a bit 0 asks for its margin: ``a_jk <= -margin``.

    `IntegerNetwork.predict` answers with the largest score, which suits one-hot codes. The answer
    by the nearest code word is `decode`.

    Parameters
    ----------
    codes : tuple of tuples of int, optional
        One row of bits for each class, one bit for each output; no two rows are equal. By default
        ``(0,), (1,)`` for one output, else row i has a 1 in place i only.

    References
    ----------
    Kurtz & Bah, arXiv 2110.11382.

    Examples
    --------
    >>> from provenn.network import Architecture, Dataset, IntegerNetwork
    >>> data = Dataset.merge([[0], [1], [2]], [0, 1, 0])
    >>> Hamming().value(IntegerNetwork.of(Architecture.build(1, 2), [[[1]]], [[-1]]), data)
    1
    >>> two = IntegerNetwork.of(Architecture.build(1, 2, outputs=2), [[[0, 1]]], [[1, -1]])
    >>> Hamming().value(two, data), Hamming(((1, 0), (1, 1))).value(two, data)
    (2, 1)
    """

    codes: Codes | None = None

    def __post_init__(self) -> None:
        """Check that the code words are distinct rows of bits of one length."""
        if self.codes is None:
            return
        put = tuple(tuple(row) for row in self.codes)
        if len({len(row) for row in put}) != 1 or not all(bit in (0, 1) for row in put for bit in row):
            raise InputError(f"codes must be rows of 0 and 1 of one length, got {self.codes!r}")
        if len(set(put)) < len(put):
            raise InputError(f"two classes have the same code word in {self.codes!r}; give each class its own")
        object.__setattr__(self, "codes", tuple(tuple(int(bit) for bit in row) for row in put))

    def check(self, architecture: Architecture, dataset: Dataset) -> None:
        """Refuse codes that do not have a row for each class and a bit for each output."""
        wanted = dataset.n_classes, architecture.n_outputs
        if self._bits(*wanted).shape != wanted or (self.codes is None and wanted[1] == 1 and wanted[0] > 2):
            raise InputError(
                f"codes must have {wanted[0]} rows (classes) of {wanted[1]} bits (outputs), got "
                f"{len(self.codes or ())} rows of {len((self.codes or ((),))[0])}"
            )

    def _bits(self, n_classes: int, n_outputs: int) -> Integers:
        """Return the code words, shape (n_classes, n_outputs)."""
        if self.codes is not None:
            return np.array(self.codes, dtype=np.int64)
        if n_outputs == 1:
            return np.arange(n_classes, dtype=np.int64)[:, None]
        return np.eye(n_classes, dtype=np.int64)

    def _signs(self, architecture: Architecture, dataset: Dataset) -> Integers:
        """Return the bits of every sample as +1 and -1, shape (n, n_outputs)."""
        return 2 * self._bits(dataset.n_classes, architecture.n_outputs)[dataset.y] - 1

    def unit(self, architecture: Architecture, dataset: Dataset) -> Fraction:
        """One unit is one output of one sample."""
        return Fraction(1)

    def _wrong(self, scores: Integers, signs: Integers, margin: int) -> Integers:
        return np.where(signs > 0, scores < 0, scores > -margin).astype(np.int64)

    def value(self, network: IntegerNetwork, dataset: Dataset) -> int | None:
        """Count the wrong bits."""
        shape = network.architecture
        wrong = self._wrong(network.scores(dataset.X), self._signs(shape, dataset), score_margin(shape, dataset))
        return weighted_sum(wrong.sum(axis=1), dataset.multiplicity)

    def decode(self, scores: Integers) -> Integers:
        """Return the class whose code word is nearest to the outputs of each sample, the first of equally near ones.

        Parameters
        ----------
        scores : ndarray of shape (n, n_outputs), int64

        Returns
        -------
        ndarray of shape (n,), int64

        Examples
        --------
        >>> Hamming(((0, 0, 0), (1, 1, 1))).decode(np.array([[5, 2, -1], [-3, -1, 0]])).tolist()
        [1, 0]
        """
        outputs = scores.shape[1]
        bits = self._bits(2 if outputs == 1 else outputs, outputs)
        fired = (scores >= 0).astype(np.int64)
        return np.abs(fired[:, None, :] - bits[None]).sum(axis=2).argmin(axis=1).astype(np.int64)

    def counts_errors(self, architecture: Architecture) -> bool:
        """Whether there is one output with the usual code, which is wrong where the sample is."""
        return self.codes is None and architecture.n_outputs == 1

    def additive(self, architecture: Architecture) -> bool:
        """Each term belongs to one sample."""
        return True

    def by_score(self, architecture: Architecture, dataset: Dataset, output: int, scores: Integers) -> Integers | None:
        """Return 1 where the output has the wrong bit."""
        signs = self._signs(architecture, dataset)[:, [output]]
        return self._wrong(scores[None, :], signs, score_margin(architecture, dataset))

    def floor(self, dataset: Dataset) -> int | None:
        """Return the wrong bits that equal samples of different classes force, one output where codes do not say."""
        bits = self._bits(dataset.n_classes, 1 if dataset.n_classes == 2 else dataset.n_classes)[dataset.y]
        _, group = np.unique(dataset.X, axis=0, return_inverse=True)
        on, off = (np.zeros((int(group.max()) + 1, bits.shape[1]), dtype=np.int64) for _ in range(2))
        np.add.at(on, group.ravel(), dataset.multiplicity[:, None] * bits)
        np.add.at(off, group.ravel(), dataset.multiplicity[:, None] * (1 - bits))
        return int(np.minimum(on, off).sum())

    def add_to(self, model: Model) -> None:
        """Add one binary column a sample and output: ``wrong = 0`` forces its sign."""
        shape, data = model.architecture, model.dataset
        signs, margin = self._signs(shape, data), score_margin(shape, data)
        wrong = model.builder.columns(
            "wrong", signs.shape, 0, 1, fill=lambda state: self._wrong(state.trace.scores, signs, margin)
        )
        model.builder.minimise(wrong, np.broadcast_to(data.multiplicity[:, None], signs.shape))
        t, scores = signs.ravel(), model.preactivations[-1].ravel()
        least = np.where(t > 0, 0.0, model.margin(-1))
        model.builder.rows([Terms(scores[:, None], t[:, None])], lower=least, when=(wrong.ravel(), 0))
        self._add_conflicts(model, wrong, signs)

    def _add_conflicts(self, model: Model, wrong: Integers, signs: Integers) -> None:
        """Equal samples of different bits: one of the two is wrong."""
        _, group, size = np.unique(model.dataset.X, axis=0, return_inverse=True, return_counts=True)
        for g in np.flatnonzero(size > 1):
            members = np.flatnonzero(group.ravel() == g)
            first, other = members[np.array(np.triu_indices(len(members), 1))]
            pairs = np.stack([wrong[first], wrong[other]], axis=2)[signs[first] != signs[other]]
            if len(pairs):
                model.builder.rows([Terms(pairs, 1.0)], lower=1)
