"""Lower bounds of networks with one hidden layer from the hull of their units: column generation over neurons."""

from threadpoolctl import threadpool_limits

from provenn.bounds._hull_check import check
from provenn.bounds._hull_driver import Outside, Search
from provenn.bounds._hull_regions import roots
from provenn.bounds._hull_types import Answer, Cut, Evidence, HullProblem, HullResult, Region
from provenn.milp.result import Limits


def minimise(
    problem: HullProblem, limits: Limits, *, record: bool = False, outside: Outside | None = None
) -> HullResult:
    """Minimise a `HullProblem` by column generation, regions of output layers and enumeration of what is left.

    For one bias b and output weights of the magnitudes ``|v_1|, ..., |v_h|`` a score is ``b + o`` with
    ``o = sum_i |v_i| s_i`` and every ``s_i`` a unit of the first layer or its mirror image. For any slopes g::

        sum_k m_k loss_k(b + o_k) >= sum_k m_k min_o [loss_k(b + o) - g_k o] - (sum_i |v_i|) A(g)

    where o runs over the sums that signs can give and ``A(g) = max_s -sum_k m_k g_k s(x_k)`` is the agreement of
    the best single unit, whatever the other units are. Slopes come from the dual of the same relaxation
    over the units known so far, by an interior-point method; A(g) from an exact search over weights. Any upper
    bound of A(g) gives a valid bound, and one A(g) serves all output layers.

    Where the best bound stays below the best network, every unit s of a better network satisfies
    ``|v_i| (A(g) - agreement of s) <= loss - bound``; all such units are collected and combined.

    Parameters
    ----------
    problem : HullProblem
    limits : Limits
        Seconds, nodes of the pricing problems, memory, threads and seed.
    record : bool
        Keep the leaves of every pricing problem in the evidence.
    outside : Outside, optional
        Asked whether to stop and for the best loss known elsewhere; told of bounds and networks.

    Returns
    -------
    HullResult

    Raises
    ------
    CapabilityError
        For step activations with too many output layers.

    References
    ----------
    Well-centred duals: Gondzio, Gonzalez-Brevis & Munari, doi:10.1016/j.ejor.2012.07.024. Enumeration of columns
    by reduced cost: Baldacci, Christofides & Mingozzi, doi:10.1007/s10107-007-0178-5.

    Examples
    --------
    >>> import numpy as np
    >>> X, label = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([-1, 1, 1, -1])
    >>> def wrong(scores):
    ...     return ((scores >= 0) != (label[:, None] > 0)).astype(np.int64)
    >>> ones, box = np.ones(4, dtype=np.int64), np.ones(2, dtype=np.int64)
    >>> xor = HullProblem(X, ones, 1, -box, box, 1, (-1, 1, 1), 2, (-1, 1, 1), (-1, 1, 1), wrong)
    >>> result = minimise(xor, Limits())
    >>> result.status.name, result.bound, result.answer.value
    ('OPTIMAL', 0, 0)
    """
    with threadpool_limits(1):  # matrices are small: threads that wait for each other take a hundred times longer
        return Search(problem, limits, outside or Outside(), record).run()


__all__ = ["Answer", "Cut", "Evidence", "HullProblem", "HullResult", "Outside", "Region", "check",
           "minimise", "roots"]  # fmt: skip
