"""The optimal value of a mixed-integer model as a differentiable function of its numbers."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from provenn.errors import InputError
from provenn.milp import MILP
from provenn.milp.model import Columns, Floats
from provenn.tame._torch_import import Function, Tensor, once_differentiable, torch
from provenn.tame._torch_programs import Solve, answered, solve_here
from provenn.tame.value import fixed_value

Side = Literal["lower", "upper"]


class Slopes(NamedTuple):
    """The value of a model with its derivatives by the variable numbers of a template."""

    value: float
    A: Floats
    b: Floats
    c: Floats


@dataclass(frozen=True)
class Template:
    """A model of which some numbers are variables: entries of A, sides of rows, costs.

    Parameters
    ----------
    milp : MILP
        Without conditional rows (lower them with `provenn.milp.lower.big_m`: a big M that must hold
        while its row moves is the caller's to choose).
    A : (rows, columns), optional
        Integers that broadcast to one shape, the shape of the variable block of A; every entry once.
    b : array of integers, optional
        Rows whose side is variable: the finite one, both where they are equal.
    c : array of integers or str, optional
        Columns whose cost is variable, or the name of a block of them.
    side : "lower" or "upper", optional
        Which side `b` means, needed where a row has two different finite ones.

    Raises
    ------
    InputError
        When rows or columns do not exist, entries repeat, or a side is not clear.
    """

    milp: MILP
    A: tuple[ArrayLike, ArrayLike] | None = None
    b: ArrayLike | None = None
    c: ArrayLike | str | None = None
    side: Side | None = None

    def __post_init__(self) -> None:
        """Check the places once."""
        if self.milp.has_indicators:
            raise InputError("the model has conditional rows: lower them first, with provenn.milp.lower.big_m")
        rows, columns = self.places
        for what, index, most in (
            ("row", rows, self.milp.n_rows), ("column", columns, self.milp.n_columns),
            ("row", self.rows, self.milp.n_rows), ("column", self.columns, self.milp.n_columns),
        ):  # fmt: skip
            if index.size and not 0 <= int(index.min()) <= int(index.max()) < most:
                raise InputError(f"{what} {int(index.max())} is not in the model, which has {most} of them")
        for part in (rows * self.milp.n_columns + columns, self.rows, self.columns):
            if np.unique(part).size < part.size:
                raise InputError("a variable number of a template must be listed once, and one is listed twice")
        _ = self._moved_sides

    @cached_property
    def places(self) -> tuple[Columns, Columns]:
        """Rows and columns of the variable entries of A, broadcast against each other."""
        rows, columns = (np.zeros(0), np.zeros(0)) if self.A is None else self.A
        pair = np.broadcast_arrays(np.asarray(rows, dtype=np.int64), np.asarray(columns, dtype=np.int64))
        return pair[0], pair[1]

    @cached_property
    def rows(self) -> Columns:
        """Rows with a variable side, any shape."""
        return np.asarray([] if self.b is None else self.b, dtype=np.int64)

    @cached_property
    def columns(self) -> Columns:
        """Columns with variable costs, any shape."""
        if isinstance(self.c, str):
            if self.c not in self.milp.blocks:
                raise InputError(f"no block of columns is named {self.c!r}; there are {sorted(self.milp.blocks)}")
            return self.milp.blocks[self.c]
        return np.asarray([] if self.c is None else self.c, dtype=np.int64)

    @cached_property
    def _moved_sides(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether each row of `b` moves its lower side, and its upper side."""
        low, high = self.milp.row_lower[self.rows], self.milp.row_upper[self.rows]
        lower, upper = np.isfinite(low), np.isfinite(high)
        if self.side is not None:
            lower, upper = lower & (self.side == "lower"), upper & (self.side == "upper")
        elif (lower & upper & (low != high)).any():
            raise InputError("a row of b has two different sides: say side='lower' or side='upper'")
        if not (lower | upper).all():
            raise InputError("a row of b has no such finite side in the model: give the template's row one")
        return lower, upper

    @cached_property
    def _rest(self) -> sparse.csr_matrix:
        """A without its variable entries."""
        A = self.milp.A.tocoo()
        rows, columns = self.places
        variable = np.isin(A.row.astype(np.int64) * A.shape[1] + A.col, (rows * A.shape[1] + columns).ravel())
        kept = ~variable
        return sparse.csr_matrix((A.data[kept], (A.row[kept], A.col[kept])), shape=A.shape)

    def filled(self, A: Floats | None = None, b: Floats | None = None, c: Floats | None = None) -> MILP:
        """Return the model with the given numbers; what is None keeps those of the template."""
        changes: dict[str, Any] = {}
        if A is not None:
            rows, columns = self.places
            moved = sparse.csr_matrix((A.ravel(), (rows.ravel(), columns.ravel())), shape=self._rest.shape)
            changes["A"] = self._rest + moved
        if b is not None:
            for name, moves in zip(("row_lower", "row_upper"), self._moved_sides, strict=True):
                changes[name] = getattr(self.milp, name).copy()
                changes[name][self.rows[moves]] = b[moves]
        if c is not None:
            changes["c"] = self.milp.c.copy()
            changes["c"][self.columns] = c
        return replace(self.milp, **changes) if changes else self.milp

    def slopes(self, milp: MILP, solve: Solve) -> Slopes:
        """Return the value of a filled model and ``(-y x', y, x)`` at the variable numbers.

        The solver only gives the integers. Value, x and y come from the linear program with these
        integers fixed, since a solver's objective is off by its tolerances.
        """
        integers = answered(solve, milp)[1] if milp.integer.any() else None
        solved = fixed_value(milp, integers)
        rows, columns = self.places
        lower, upper = self._moved_sides
        y = solved.y[self.rows]
        sides = np.where(lower, np.maximum(y, 0), 0) + np.where(upper, np.minimum(y, 0), 0)
        return Slopes(solved.value, -solved.y[rows] * solved.x[columns], sides, solved.x[self.columns])


class MIPValue(Function):
    """Batch of values ``z(A, b, c)``, with an element of the conservative field as gradient.

    Forward: the integers of an optimal point, then the linear program in the other columns.
    Backward: ``(dA, db, dc) = (-y x', y, x)`` times the incoming gradient. Use `mip_value`.

    References
    ----------
    Aspman, Korpas & Marecek, arXiv 2310.04469. Bolte, Le, Pauwels & Silveti-Falls, arXiv 2106.04350.
    """

    @staticmethod
    def forward(ctx: Any, A: Tensor, b: Tensor, c: Tensor, template: Template, solve: Solve) -> Tensor:
        """Return the values of a batch; the numbers have shape (batch, *shape of the block) or are None."""
        parts = [None if part is None else part.detach().numpy() for part in (A, b, c)]
        size = next(len(part) for part in parts if part is not None)
        slopes = []
        for i in range(size):
            milp = template.filled(*(None if part is None else part[i] for part in parts))
            slopes.append(template.slopes(milp, solve))
        ctx.given = [part is not None for part in parts]
        ctx.save_for_backward(*(torch.from_numpy(np.stack([s[k] for s in slopes])) for k in (1, 2, 3)))
        return torch.tensor([s.value for s in slopes], dtype=torch.float64)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients by A, b and c."""
        parts = [
            gradient.reshape(-1, *[1] * (slope.ndim - 1)) * slope if given else None
            for given, slope in zip(ctx.given, ctx.saved_tensors, strict=True)
        ]
        return (*parts, None, None)


def mip_value(A: Tensor, b: Tensor, c: Tensor, template: Template, solve: Solve = solve_here) -> Tensor:
    """Return ``z(A, b, c) = min c x, A x >= b, x_j integer for j in I``, differentiable in A, b and c.

    At a point where the optimal x and multipliers y are unique the gradient is ``(-y x', y, x)``;
    elsewhere it is one element of a conservative field. Where every column is integer, z is a step
    function of A and b, and this gradient, 0, says nothing about it: see docs/tame_torch.md.

    Parameters
    ----------
    A, b, c : tensor or None
        New numbers for the places of the template: the shape of the places, after any number of batch
        dimensions, which broadcast against each other. None keeps the template's numbers. All
        computation is in float64 on the CPU.
    template : Template
    solve : callable
        Minimises a `MILP` and returns an object with a point `x`, for example ``Highs().solve``.

    Returns
    -------
    tensor of the batch dimensions, float64
        On the device of the first tensor.

    Raises
    ------
    InputError
        When no tensor is given, or a shape does not fit.
    InfeasibleError
        When a model of the batch has no feasible point.

    References
    ----------
    Aspman, Korpas & Marecek, arXiv 2310.04469. Bolte, Le, Pauwels & Silveti-Falls, arXiv 2106.04350.

    Examples
    --------
    >>> from provenn.milp import Builder, Terms
    >>> builder = Builder()
    >>> k, s = builder.columns("k", (1,), 0, 5), builder.columns("s", (1,), 0, 9, integer=False)
    >>> builder.rows([Terms(k, 2.0), Terms(s, 1.0)], lower=3.5)
    >>> builder.minimise(k, 4.0)
    >>> builder.minimise(s, 3.0)
    >>> b = torch.tensor([3.5, 5.25, 4.0], dtype=torch.float64, requires_grad=True)
    >>> z = mip_value(None, b[:, None], None, Template(builder.build(), b=[0]))
    >>> z.sum().backward()
    >>> z.tolist(), b.grad.tolist()
    ([8.0, 11.75, 8.0], [0.0, 3.0, 0.0])
    """
    given = [part for part in (A, b, c) if part is not None]
    if not given:
        raise InputError("give at least one of A, b and c: without variables there is nothing to differentiate")
    shapes = (template.places[0].shape, template.rows.shape, template.columns.shape)
    batch = torch.broadcast_shapes(*(_batch(part, s) for part, s in zip((A, b, c), shapes, strict=True)))
    parts = [_flat(part, batch, s) for part, s in zip((A, b, c), shapes, strict=True)]
    return MIPValue.apply(*parts, template, solve).reshape(batch).to(given[0].device)


def _batch(part: Tensor | None, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the batch dimensions of a block."""
    if part is None:
        return ()
    own = tuple(part.shape)
    if own[len(own) - len(shape) :] != shape:
        raise InputError(f"a block of the template has shape {shape}, the tensor for it {own}")
    return own[: len(own) - len(shape)]


def _flat(part: Tensor | None, batch: tuple[int, ...], shape: tuple[int, ...]) -> Tensor | None:
    """Return a block as float64 on the CPU with one batch dimension."""
    if part is None:
        return None
    return part.to("cpu", torch.float64).expand(*batch, *shape).reshape(-1, *shape)
