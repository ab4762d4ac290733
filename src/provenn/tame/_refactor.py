"""Recomputes a tableau from the data."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from provenn.tame._simplex import PIVOT_TOLERANCE, Floats, Integers, Tableau, pivot, slack_basis


def refactor(tab: Tableau, A: Floats, c: Floats) -> None:
    """Recompute the tableau of the same basis from the data, which removes the rounding of many pivots.

    The columns of the basis enter the slack basis one after the other. No matrix library is called: its threads
    cost more than these small eliminations.

    Raises
    ------
    LinAlgError
        When the basis is singular; the tableau is then of some other basis.
    """
    wanted = np.zeros(sum(A.shape), dtype=np.bool_)
    wanted[tab.basic] = True
    fresh = slack_basis(A, c)
    regular = exchange(fresh.T, fresh.basic, fresh.nonbasic, fresh.d, fresh.value, fresh.at, fresh.norm, wanted)
    for old, new in zip(tab[:4], fresh[:4], strict=True):
        old[:] = new
    tab.norm[:] = fresh.norm
    if not regular:
        raise np.linalg.LinAlgError("the basis is singular")


@njit(cache=True, nogil=True)
def exchange(
    T: Floats,
    basic: Integers,
    nonbasic: Integers,
    d: Floats,
    value: Floats,
    at: Floats,
    norm: Floats,
    wanted: NDArray[np.bool_],
) -> bool:
    """Bring the wanted model columns into a slack basis, by the largest entry among the rows that leave it."""
    n = d.size
    for q in range(n):
        if not wanted[q]:
            continue
        best, row = PIVOT_TOLERANCE, -1
        for i in range(basic.size):
            if basic[i] >= n and not wanted[basic[i]] and abs(T[i, q]) > best:
                best, row = abs(T[i, q]), i
        if row < 0:
            return False
        pivot(T, basic, nonbasic, d, value, at, norm, row, q, 0.0)
    return True
