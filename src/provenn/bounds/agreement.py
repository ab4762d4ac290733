"""Exact agreement of one sign neuron with wanted signs, by branch and bound in weight space."""

from provenn.bounds import _agreement_driver as driver
from provenn.bounds._agreement_check import check
from provenn.bounds._agreement_types import (
    AgreementProblem,
    AgreementResult,
    Collection,
    Integers,
    Known,
    Leaves,
    Neuron,
    Stopped,
)
from provenn.milp.result import Limits, OnEvent


def never() -> bool:
    """Return False."""
    return False


def nothing() -> None:
    """Return None."""


def minimise(
    problem: AgreementProblem,
    limits: Limits,
    start: Neuron | None = None,
    *,
    cutoff: int | None = None,
    on_event: OnEvent | None = None,
    record: bool = False,
    stopped: Stopped = never,
    known: Known = nothing,
) -> AgreementResult:
    """Minimise an `AgreementProblem` by branch and bound over boxes of weights.

    In a box of weights a sample is surely wrong when even the largest value of its signed score is. Of two
    samples whose signed scores sum to less than 0 in the whole box, one is wrong; for near samples of opposite
    labels that is known long before either is surely wrong. Such pairs share out the costs of their samples,
    those with few neighbours first, and what they get adds to the bound. Every free weight is restricted to each
    of its values (to halves, where it has more than three) to see the bound rise: that removes values, closes
    boxes and chooses the weight to branch on. Of neurons with equal scores, only one needs a visit.

    Parameters
    ----------
    problem : AgreementProblem
    limits : Limits
        On one thread and under a node limit the result is a function of the seed.
    start : (w, b), optional
        A known neuron; ignored if it lies outside the box.
    cutoff : int, optional
        Only neurons that cost less are of interest.
    on_event : callable, optional
        Receives an `Event` at each new incumbent, x = [w, b], and at raised bounds, never two at once.
    record : bool
        Keep the closed boxes, from which `check` derives the bound; slower, and one box takes some hundred bytes.
    stopped : callable
        Asked every few hundredths of a second; True ends the search with status INTERRUPTED.
    known : callable
        Asked as often; lowers the cutoff to the cost that it returns, if any.

    Returns
    -------
    AgreementResult
        OPTIMAL says that the search is complete: ``bound`` is the smaller of the optimum and the cutoff.

    References
    ----------
    Weighted 0-1 loss by branch and bound in weight space: Nguyen & Sanner, ICML 2013. Packings of cores as bounds:
    Li, Manya & Planes, AAAI 2006 (disjoint inconsistent subformulas in MaxSAT).

    Examples
    --------
    >>> import numpy as np
    >>> X, box = np.array([[0], [1], [2]]), np.ones(1, dtype=np.int64)
    >>> neuron = AgreementProblem(X, np.array([-1, 1, -1]), np.array([2, 1, 3]), 1, -box, box, bias=(-1, 1, 1))
    >>> result = minimise(neuron, Limits())
    >>> result.value, result.bound, result.status.name
    (1, 1, 'OPTIMAL')
    >>> neuron.pattern(result.w, result.b).tolist()
    [-1, -1, -1]
    """
    return driver.Search(problem, limits, cutoff, on_event, record, stopped, known).run(start)


def collect(
    problem: AgreementProblem, threshold: int, limits: Limits, *, most: int = 1_000_000, stopped: Stopped = never
) -> Collection:
    """Collect all distinct sign patterns of neurons that cost at most a threshold.

    Parameters
    ----------
    problem : AgreementProblem
    threshold : int
    limits : Limits
    most : int
        Stop beyond so many patterns.
    stopped : callable
        See `minimise`.

    Returns
    -------
    Collection

    Examples
    --------
    >>> import numpy as np
    >>> X, box = np.array([[0], [1], [2]]), np.ones(1, dtype=np.int64)
    >>> neuron = AgreementProblem(X, np.array([-1, 1, -1]), np.array([2, 1, 3]), 1, -box, box, bias=(-1, 1, 1))
    >>> found = collect(neuron, 2, Limits())
    >>> found.complete, sorted(zip(found.values.tolist(), found.patterns.tolist()))
    (True, [(1, [-1, -1, -1]), (2, [1, 1, -1])])
    """
    return driver.collect(problem, threshold, limits, most, stopped)


__all__ = [
    "AgreementProblem",
    "AgreementResult",
    "Collection",
    "Integers",
    "Known",
    "Leaves",
    "Neuron",
    "Stopped",
    "check",
    "collect",
    "minimise",
    "never",
    "nothing",
]
