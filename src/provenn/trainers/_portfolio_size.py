"""How large the MILP of a problem would be, before anything is built."""

from typing import NamedTuple

import numpy as np

from provenn.formulations import Problem

MOST_NONZEROS = 6_000_000
BYTES = 500
"""Memory that a solver was seen to take for each non-zero of a large model."""
EDGES = 48


class Size(NamedTuple):
    """Rows and matrix entries of a MILP, estimated."""

    rows: int
    nonzeros: int

    @property
    def memory_mb(self) -> int:
        """Memory that a solver needs for it, in MiB."""
        return self.nonzeros * BYTES // 2**20


def model_size(problem: Problem) -> Size:
    """Estimate the MILP of a problem: a row for each sample and unit, four for each product of later layers.

    Examples
    --------
    >>> from provenn.losses.max_correct import MaxCorrect
    >>> from provenn.network import Architecture, Dataset
    >>> data = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    >>> problem = Problem(Architecture.build(2, 2, hidden=(2,)), data, MaxCorrect())
    >>> size, milp = model_size(problem), problem.encode().milp
    >>> 0.5 < size.nonzeros / milp.A.nnz < 2
    True
    """
    shape, data = problem.architecture, problem.dataset
    n, rows, nonzeros = data.n_samples, 0, 0
    for number, layer in enumerate(shape.layers):
        sums = n * layer.n_out
        if number == 0:
            nonzeros += int(np.count_nonzero(data.X[:, data.live])) * layer.n_out + 2 * sums
        else:
            products = sums * layer.n_in
            rows, nonzeros = rows + 4 * products, nonzeros + 13 * products + 2 * sums
        rows += sums
        if layer.activation is not None:
            rows, nonzeros = rows + 2 * sums, nonzeros + 2 * sums
    curve = n * shape.n_outputs * (EDGES if problem.loss.convex else 1)
    return Size(rows + curve, nonzeros + 2 * curve)


def too_large(problem: Problem, memory_mb: int | None) -> str | None:
    """Say why no solver is asked to prove a problem, or None.

    Parameters
    ----------
    problem : Problem
    memory_mb : int or None
        Memory that a solver may use, in MiB.
    """
    size = model_size(problem)
    if size.nonzeros > MOST_NONZEROS:
        return f"the model would have about {size.rows:,} rows and {size.nonzeros:,} entries, more than solvers prove"
    if memory_mb is not None and size.memory_mb > memory_mb:
        return f"the model would need about {size.memory_mb} MiB, more than the memory limit of {memory_mb} MiB"
    return None
