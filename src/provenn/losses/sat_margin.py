"""Number of outputs without a comfortable margin."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from provenn.errors import InputError
from provenn.losses._base import Integers, Loss, Model, Terms, output_bound, weighted_sum
from provenn.network import Architecture, Dataset, IntegerNetwork


@dataclass(frozen=True)
class SatMargin(Loss):
    """Minimise the number of outputs with ``h t < 1/2``, ``h = 2 a / B``, that is ``4 t a < B``.

    Parameters
    ----------
    kept_only : bool
        B counts only the kept units of the last hidden layer, ``B = (kept + 1) P``, as
        published together with a price on neurons; at least as many units as outputs count.

    References
    ----------
    Thorbjarnarson & Yorke-Smith, arXiv 2009.03825.

    Examples
    --------
    >>> from provenn.network import Architecture, Dataset, IntegerNetwork
    >>> data = Dataset.merge([[0], [4]], [0, 1])  # B = 2
    >>> SatMargin().value(IntegerNetwork.of(Architecture.build(1, 2), [[[1]]], [[0]]), data)
    1
    """

    kept_only: bool = False

    def check(self, architecture: Architecture, dataset: Dataset) -> None:
        """Refuse `kept_only` where there are no hidden units to keep."""
        if self.kept_only and not architecture.hidden:
            raise InputError("kept_only scales with the kept hidden units; this network has no hidden layer")

    def unit(self, architecture: Architecture, dataset: Dataset) -> Fraction:
        """One unit is one output of one sample."""
        return Fraction(1)

    def value(self, network: IntegerNetwork, dataset: Dataset) -> int | None:
        """Count outputs of all samples whose margin is too small."""
        shape = network.architecture
        B = output_bound(shape, dataset)
        if self.kept_only:
            last = shape.layers[-1]
            live = int(network.live_units(len(shape.hidden) - 1).sum())
            B -= (last.n_in - max(live, _fewest(shape))) * last.weights.bound
        short = 4 * dataset.targets(shape.n_outputs) * network.scores(dataset.X) < B
        return weighted_sum(short.sum(axis=1), dataset.multiplicity)

    def additive(self, architecture: Architecture) -> bool:
        """Each term belongs to one sample; without hidden layers its scale comes from all of them."""
        return bool(architecture.hidden)

    def by_score(self, architecture: Architecture, dataset: Dataset, output: int, scores: Integers) -> Integers | None:
        """Return 1 where ``4 t a < B``; B is unknown before training when it counts the kept units."""
        if self.kept_only:
            return None
        t = dataset.targets(architecture.n_outputs)[:, output]
        return (4 * t[:, None] * scores < output_bound(architecture, dataset)).astype(np.int64)

    def floor(self, dataset: Dataset) -> int | None:
        """Return 0: no term is negative."""
        return 0

    def add_to(self, model: Model) -> None:
        """Add one binary column a sample and output: ``short = 0 => 4 t a >= B``."""
        shape, data = model.architecture, model.dataset
        t = data.targets(shape.n_outputs)
        B = output_bound(shape, data)
        kept = model.kept(len(shape.hidden) - 1) if self.kept_only else np.zeros(0, dtype=np.int64)
        last = shape.layers[-1]

        def short_at(scores: Integers, count: int) -> Integers:
            return (4 * t * scores < B - (len(kept) - count) * last.weights.bound).astype(np.int64)

        def fill(state: object) -> Integers:
            live = int(state.network.live_units(len(shape.hidden) - 1).sum()) if len(kept) else 0  # type: ignore[attr-defined]
            return short_at(state.trace.scores, max(live, _fewest(shape)) if len(kept) else 0)  # type: ignore[attr-defined]

        short = model.builder.columns("short", t.shape, 0, 1, fill=fill)
        model.builder.minimise(short, np.broadcast_to(data.multiplicity[:, None], t.shape))
        terms = [Terms(model.preactivations[-1].ravel()[:, None], 4.0 * t.ravel()[:, None])]
        if len(kept):
            terms.append(Terms(kept[None, :], -last.weights.bound / model.unit(-1)))
        least = (B - len(kept) * last.weights.bound) / model.unit(-1)
        model.builder.rows(terms, lower=least, when=(short.ravel(), 0))


def _fewest(architecture: Architecture) -> int:
    return min(architecture.n_outputs, architecture.layers[-1].n_in)
