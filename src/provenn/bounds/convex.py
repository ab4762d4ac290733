"""Exact branch and bound in weight space for one neuron under a convex loss."""

from provenn.bounds._convex_driver import Neuron, Outside, Search
from provenn.bounds._convex_starts import compile_starts
from provenn.bounds._convex_team import Team, assisted
from provenn.bounds._convex_types import ConvexProblem, ConvexResult, Integers, Leaves
from provenn.milp.result import Limits, OnEvent


def minimise(
    problem: ConvexProblem,
    limits: Limits,
    start: tuple[Integers, int] | None = None,
    on_event: OnEvent | None = None,
    target: int | None = None,
    record: bool = False,
    outside: Outside | None = None,
) -> ConvexResult:
    """Minimise a `ConvexProblem` by branch and bound over boxes of weights.

    A node relaxes its weights to a box B. At any point w, by convexity,

        min_B F >= f(w) + min over v in B of [g . (v - w) + price * #{v_j != 0}] - slack * sum m - rounding

    with g the gradient of f. The point w comes from a few steps of a quadratic model, so no node
    has to converge and no Hessian to be exact: nodes share those of nodes nearby. Without prices,
    budget and record the bound is that of the best mixture of the tangents at all these points. Nodes are taken
    best bound first, branched on the weight with the largest predicted product of both halves'
    gains (the model is minimised over the halves where prices or a budget count), and closed when
    the bound rounded up to an integer reaches the incumbent. Boxes of a single point are evaluated
    exactly, in integers.

    Parameters
    ----------
    problem : ConvexProblem
    limits : Limits
        Seconds, nodes, memory, threads and seed count. The result of one thread under a node limit is a
        function of the seed; several threads take nodes from one heap and stop a few nodes later.
    start : (w, b), optional
        A known answer; ignored if it lies outside the box or the budget.
    on_event : callable, optional
        Receives an `Event` at each new incumbent and at improved bounds, x = [w, b].
    target : int, optional
        Stop as soon as the incumbent's objective is at most this, with status INTERRUPTED unless proven optimal.
    record : bool
        Keep the closed leaves, from which the bound can be derived again.
    outside : Outside, optional
        Asked after every node: whether to stop, with status INTERRUPTED, and for a better neuron found elsewhere.

    Returns
    -------
    ConvexResult
        ``bound == value`` iff the answer is proven optimal; w is None when infeasible.

    References
    ----------
    Branch and bound for convex integer programs: Gupta & Ravindran, Management Science 31 (1985).
    Ellipsoidal gains for branching: Buchheim, Caprara & Lodi, Math. Program. 135 (2012).
    Cutting planes in weight space: Ustun & Rudin, arXiv 1610.00168.

    Examples
    --------
    >>> import numpy as np
    >>> from provenn.losses.logistic import LogisticCurve
    >>> ones, box = np.ones(2, dtype=np.int64), np.ones(1, dtype=np.int64)
    >>> neuron = ConvexProblem(np.array([[1], [-1]]), np.array([1, -1]), ones, LogisticCurve(1.0), 1, -box, box)
    >>> result = minimise(neuron, Limits())
    >>> result.w.tolist(), result.value, result.bound, result.status.name
    ([1], 626524, 626524, 'OPTIMAL')
    """
    return Search(problem, limits, on_event, target, record, outside or Outside()).run(start)


__all__ = [
    "ConvexProblem",
    "ConvexResult",
    "Leaves",
    "Neuron",
    "Outside",
    "Team",
    "assisted",
    "compile_starts",
    "minimise",
]
