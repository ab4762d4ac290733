"""Models of provenn as optimisation models of PyEPO, for its predict-then-optimise losses.

PyEPO (https://github.com/khalil-research/PyEPO) is not a dependency: importing this module without it
raises `MissingDependencyError`. It is not imported by any other module.
"""

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from provenn.errors import InputError, MissingDependencyError
from provenn.milp import MILP
from provenn.milp.model import Columns, Floats
from provenn.milp.read import read_mps
from provenn.tame._torch_import import Tensor, torch
from provenn.tame._torch_programs import Solve, answered, solve_here

try:
    _epo: Any = importlib.import_module("pyepo.EPO")
    _opt_model: Any = importlib.import_module("pyepo.model.opt").optModel
except ImportError as error:
    raise MissingDependencyError("provenn.tame.pyepo needs PyEPO, which is not installed: pip install pyepo") from error

__all__ = ["MilpModel"]


class MilpModel(_opt_model):
    """A `MILP` with variable costs, as PyEPO's losses call it.

    Solutions are those of all columns; predicted costs belong to some of them, and the others keep
    the costs of the model. Only costs may change: PyEPO's losses know no other data.

    Parameters
    ----------
    milp : MILP
        Its costs count as minimised, whatever `maximise` says, and must have no offset.
    columns : sequence of int or str, optional
        Columns whose costs are predicted, or the name of a block; by default all.
    maximise : bool
        Costs are gains: the model maximises ``c x``, of which `milp` holds the negation.
    solve : callable
        Minimises a `MILP`; by default in this process. `Solver.solve` takes a process a solve.

    References
    ----------
    Tang & Khalil, PyEPO, doi:10.1007/s12532-024-00255-x

    Examples
    --------
    >>> from provenn.milp import Builder, Terms
    >>> builder = Builder()
    >>> x = builder.columns("x", (3,), 0, 1)
    >>> builder.rows([Terms(x, [2.0, 3.0, 4.0])], upper=5)
    >>> knapsack = MilpModel(builder.build(), maximise=True)
    >>> knapsack.setObj([3.0, 4.0, 5.0])
    >>> knapsack.solve()
    (array([1., 1., 0.]), 7.0)
    """

    _model: MILP

    def __init__(
        self,
        milp: MILP,
        columns: Sequence[int] | Columns | str | None = None,
        maximise: bool = False,
        solve: Solve = solve_here,
    ) -> None:
        """Keep the model; the columns become PyEPO's variables."""
        if milp.offset:
            raise InputError(f"PyEPO compares c x with objectives, and this model adds {milp.offset}: drop the offset")
        self._milp, self._solver, self._sign = milp, solve, -1.0 if maximise else 1.0
        self._predicted = _columns(milp, columns)
        self.modelSense = _epo.MAXIMIZE if maximise else _epo.MINIMIZE
        super().__init__()

    @classmethod
    def from_mps(
        cls, path: str | Path, columns: Sequence[int] | Columns | None = None, solve: Solve = solve_here
    ) -> "MilpModel":
        """Read a model from an MPS file, with its sense; a constant in its objective is dropped."""
        milp, sense = read_mps(path)
        return cls(replace(milp, offset=0.0), columns, sense == "max", solve)

    def _getModel(self) -> tuple[MILP, list[int]]:  # noqa: N802
        return self._milp, list(range(self._milp.n_columns))

    @property
    def num_cost(self) -> int:
        """Number of predicted costs."""
        return len(self._predicted)

    @property
    def c_pred_index(self) -> Columns | None:
        """Columns with predicted costs, or None for all in order."""
        everything = np.arange(self._milp.n_columns)
        return None if np.array_equal(self._predicted, everything) else self._predicted

    def _fullCost(self, pred_cost: Any) -> Any:  # noqa: N802
        """Return the costs of all columns, differentiable where the predicted ones are a tensor."""
        if self.c_pred_index is None:
            return pred_cost
        fixed = self._sign * self._milp.c
        fixed[self._predicted] = 0.0
        if isinstance(pred_cost, torch.Tensor):
            return self._scattered(pred_cost, fixed)
        full = np.broadcast_to(fixed, (*np.shape(pred_cost)[:-1], len(fixed))).copy()
        full[..., self._predicted] = pred_cost
        return full

    def _scattered(self, pred_cost: Tensor, fixed: Floats) -> Tensor:
        empty = pred_cost.new_zeros((*pred_cost.shape[:-1], len(fixed)))
        places = torch.as_tensor(self._predicted, device=pred_cost.device)
        return empty.index_add(-1, places, pred_cost) + torch.as_tensor(fixed).to(pred_cost)

    def setObj(self, c: Any) -> None:  # noqa: N802
        """Set the predicted costs, shape (num_cost,)."""
        if np.shape(c) != (self.num_cost,):
            raise InputError(f"the model has {self.num_cost} predicted costs, got the shape {tuple(np.shape(c))}")
        self._setFullObj(self._fullCost(c))

    def _setFullObj(self, c: Any) -> None:  # noqa: N802
        """Set the costs of all columns."""
        costs = c.detach().cpu().numpy() if isinstance(c, torch.Tensor) else c
        self._model = replace(self._model, c=self._sign * np.asarray(costs, dtype=np.float64))

    def solve(self) -> tuple[Floats, float]:
        """Return an optimal point of all columns and its objective ``c x`` in the sense of the model."""
        x = answered(self._solver, self._model)[1]
        return x, self._sign * float(self._model.c @ x)

    def addConstr(self, coefs: Any, rhs: float) -> "MilpModel":  # noqa: N802
        """Return a model with the row ``coefs x <= rhs`` over all columns."""
        row = sparse.csr_matrix(np.asarray(coefs, dtype=np.float64).reshape(1, -1))
        if row.shape[1] != self._milp.n_columns:
            raise InputError(f"a row needs {self._milp.n_columns} coefficients, got {row.shape[1]}")
        return self._changed(
            A=sparse.vstack([self._milp.A, row]),
            row_lower=np.append(self._milp.row_lower, -np.inf),
            row_upper=np.append(self._milp.row_upper, float(rhs)),
            indicator=np.append(self._milp.indicator, -1),
            indicator_value=np.append(self._milp.indicator_value, 0),
        )

    def relax(self) -> "MilpModel":
        """Return the model without integrality."""
        return self._changed(integer=np.zeros(self._milp.n_columns, dtype=np.bool_))

    def _changed(self, **changes: Any) -> "MilpModel":
        maximise = self.modelSense == _epo.MAXIMIZE
        return MilpModel(replace(self._milp, **changes), self._predicted, maximise, self._solver)


def _columns(milp: MILP, columns: Sequence[int] | Columns | str | None) -> Columns:
    """Return the predicted columns as distinct indices."""
    if isinstance(columns, str):
        if columns not in milp.blocks:
            raise InputError(f"no block of columns is named {columns!r}; there are {sorted(milp.blocks)}")
        columns = milp.blocks[columns].ravel()
    index = np.arange(milp.n_columns) if columns is None else np.asarray(columns, dtype=np.int64)
    inside = index.ndim == 1 and bool(np.all((index >= 0) & (index < milp.n_columns)))
    if not inside or not index.size or np.unique(index).size < index.size:
        raise InputError(f"predicted costs need distinct columns out of {milp.n_columns}, got {columns}")
    return index
