"""A linear function of the data of a model: value and derivatives at a point."""

from dataclasses import dataclass

import numpy as np

from provenn.milp import MILP
from provenn.tame._duals import reduced_costs, row_parts
from provenn.tame._simplex import Floats


@dataclass(frozen=True)
class Linearisation:
    """Value at a model, and derivatives by its data.

    Parameters
    ----------
    milp : MILP
        Where it was taken.
    value : float
    x : ndarray of shape (n,), float64
        Derivative by the costs.
    y : ndarray of shape (m,), float64
        Derivative by the rows' active sides: lower where positive, upper where negative.
    reduced : ndarray of shape (n,), float64
        Derivative by the columns' active bounds: lower where positive, upper where negative; valid for
        columns whose bounds in the leaf are the model's.
    """

    milp: MILP
    value: float
    x: Floats
    y: Floats
    reduced: Floats

    @classmethod
    def of(cls, milp: MILP, y: Floats, lower: Floats, upper: Floats) -> "Linearisation":
        """Linearise ``g = y b + min over the box of (c - A' y) x``."""
        Y, rows = row_parts(milp, y[None])
        r = reduced_costs(milp, Y)[0]
        x = np.where(r > 0, lower, upper)
        return cls(milp, float(rows[0] + r @ x) + milp.offset, x, Y[0], r)

    @property
    def matrix(self) -> Floats:
        """Derivative by the matrix, ``-y x'``, shape (m, n)."""
        return -np.outer(self.y, self.x)

    def at(self, milp: MILP) -> float:
        """Value of the linear function at other A, sides of rows, costs and offset; bounds of columns unchanged."""
        _, before = row_parts(self.milp, self.y[None])
        _, now = row_parts(milp, self.y[None])
        change = (milp.c - self.milp.c) @ self.x - self.y @ ((milp.A - self.milp.A) @ self.x)
        return self.value + float(now[0] - before[0] + change) + milp.offset - self.milp.offset
