"""Lower bounds of networks with one hidden layer whose outputs share its units."""

import numpy as np
from threadpoolctl import threadpool_limits

from provenn.bounds._joint_check import check
from provenn.bounds._joint_close import Hidden
from provenn.bounds._joint_driver import Search
from provenn.bounds._joint_layers import layers_of, layers_of_one, obstacle, own_bounds
from provenn.bounds._joint_types import (
    Integers,
    JointAnswer,
    JointCut,
    JointEvidence,
    JointOutside,
    JointProblem,
    JointRegion,
    JointResult,
)
from provenn.bounds.hull import HullProblem
from provenn.milp.result import Limits


def minimise(
    problem: JointProblem,
    limits: Limits,
    *,
    own: Integers | None = None,
    record: bool = False,
    outside: JointOutside | None = None,
) -> JointResult:
    """Minimise a `JointProblem` by a tree over output layers, column generation and enumeration of what is left.

    Let the output layers be given. Then the loss of a sample is a table ``T_k`` over the cells ``s`` in
    ``{-1, 1}^h`` of the signs of the hidden units, summed over the outputs. For any slopes g, one for each sample
    and unit::

        sum_k m_k T_k(s(k)) >= sum_k m_k min_s [T_k(s) - sum_i g_ik s_i] - sum_i A(g_i)

    where ``A(g_i) = max_s -sum_k m_k g_ik s(k)`` is the agreement of the best single unit. The tree fixes the layer
    of one output after the other; outputs that are not fixed count with their own bounds. A node that slopes cannot
    close is divided; with all outputs fixed, every unit that a better network can have has a small reduced cost,
    and all such units are collected and combined.

    Parameters
    ----------
    problem : JointProblem
    limits : Limits
        Seconds, nodes of the pricing problems, threads of these and seed.
    own : ndarray of shape (m, L), int64, optional
        A lower bound of each output's own loss with each of its layers, see `own_bounds`.
    record : bool
        Keep all regions and the leaves of every pricing problem in the evidence.
    outside : JointOutside, optional
        Asked whether to stop and for the best loss known elsewhere; told of bounds and networks.

    Returns
    -------
    JointResult

    Raises
    ------
    CapabilityError
        When there are too many layers of one output, samples or units, see `obstacle`.

    References
    ----------
    Lagrangian decomposition by copies of shared variables: Guignard & Kim, doi:10.1007/BF02592954.

    Examples
    --------
    Two outputs that want XOR and its opposite share one unit; two wrong signs are left.

    >>> import numpy as np
    >>> from provenn.bounds.hull import HullProblem
    >>> X, label = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[-1, 1, 1, -1], [1, 1, -1, -1]])
    >>> ones, box, two = np.ones(4, dtype=np.int64), np.ones(2, dtype=np.int64), (-1, 1, 1)
    >>> def part(wanted):
    ...     wrong = lambda scores: ((scores >= 0) != (wanted[:, None] > 0)).astype(np.int64)
    ...     return HullProblem(X, ones, 1, -box, box, 1, None, 1, two, None, wrong)
    >>> result = minimise(JointProblem((part(label[0]), part(label[1]))), Limits())
    >>> result.status.name, result.bound, result.answer.value
    ('OPTIMAL', 2, 2)
    """
    if own is None:
        layers = len(layers_of_one(problem)[1])
        own = np.full((len(problem.parts), layers), -(2**62), dtype=np.int64)
    with threadpool_limits(1):  # matrices are small: threads that wait for each other take a hundred times longer
        return Search(problem, own, limits, outside or JointOutside(), record).run()


def compile_kernels(part: HullProblem) -> None:
    """Compile or load the kernels on a small problem of one output."""
    problem = JointProblem((part, part))
    minimise(problem, Limits())
    layers, (h, n) = layers_of(problem), (part.hidden, len(part.X))
    cut, one_unit = JointCut(np.zeros((h, n), dtype=np.int64), 1, (0,) * h), np.ones((1, n), dtype=np.int8)
    hidden = Hidden(layers.table((0, 0)), cut, one_unit, layers.signs, np.ones((h, 1), dtype=np.int64), 0)
    hidden.best(layers.largest, 0, 1, np.zeros(h, dtype=np.int64))


__all__ = [
    "Integers",
    "JointAnswer",
    "JointCut",
    "JointEvidence",
    "JointOutside",
    "JointProblem",
    "JointRegion",
    "JointResult",
    "check",
    "compile_kernels",
    "minimise",
    "obstacle",
    "own_bounds",
]  # fmt: skip
