"""A training problem on some of the samples, and what lower bounds of such parts say about the whole."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from provenn.errors import InputError
from provenn.formulations import Encoding, Problem, SideConstraint
from provenn.formulations.sparsity import Sparsity
from provenn.milp import MILP
from provenn.network import Dataset, IntegerNetwork

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Claim:
    """Every network of a problem loses at least `bound` on a group of samples.

    Parameters
    ----------
    rows : ndarray of shape (m,), int64
        Indices of merged samples, ascending.
    bound : int
        In units of the loss.
    prover : str
    """

    rows: Integers
    bound: int
    prover: str


@dataclass(frozen=True)
class GroupBounds:
    """Bounds of disjoint groups of samples, whose sum bounds the loss.

    Parameters
    ----------
    claims : tuple of Claim
        Samples in no group count 0.
    units : int
        Units of the problem's objective in one unit of the loss.

    Examples
    --------
    >>> one, two = Claim(np.array([0, 2]), 1, "x"), Claim(np.array([1, 3, 4]), 2, "x")
    >>> GroupBounds((one, two), 10).total
    30
    """

    claims: tuple[Claim, ...]
    units: int = 1

    @property
    def total(self) -> int:
        """The bound of the objective, in its units; prices are not negative."""
        return self.units * sum(claim.bound for claim in self.claims)

    def check(self, problem: Problem) -> int:
        """Return `total` if it follows from the claims.

        A claim itself is checked by training on ``part_of(problem, claim.rows)``.

        Raises
        ------
        InputError
            When the loss is no sum over samples, or a sample is missing or in two groups.
        """
        reason = obstacle(problem)
        if reason is not None:
            raise InputError(f"bounds of groups do not add up: {reason}")
        rows = np.concatenate([claim.rows for claim in self.claims]) if self.claims else np.zeros(0, dtype=np.int64)
        if len(np.unique(rows)) < len(rows) or not np.isin(rows, np.arange(problem.dataset.n_samples)).all():
            raise InputError("groups must be disjoint sets of the problem's samples")
        if self.units != int(problem.loss_unit / problem.unit):
            raise InputError(f"one unit of the loss is {problem.loss_unit / problem.unit} units here, not {self.units}")
        return self.total


def obstacle(problem: Problem) -> str | None:
    """Say why bounds of groups do not add up for a problem, or None where they do."""
    name = type(problem.loss).__name__
    if problem.architecture.continuous:
        return "the weights are continuous, and the groups are solved in integers"
    if not problem.loss.has_milp:
        return f"the loss {name} has no mixed-integer program"
    return None if problem.loss.additive(problem.architecture) else f"the loss {name} is no sum over the samples"


@dataclass(frozen=True)
class Part(Dataset):
    """Some of the samples of a dataset.

    A feature that is constant on them, but not on all, still tells networks apart: its weight
    must stay free unless the constant is 0.

    Parameters
    ----------
    free : ndarray of shape (d,), bool
        Features that are not constant over all samples.
    """

    free: NDArray[np.bool_] | None = None

    @cached_property
    def live(self) -> NDArray[np.bool_]:
        """Features whose weights may matter, bool of shape (d,)."""
        assert self.free is not None
        return np.asarray(self.free & (self.X != 0).any(axis=0))


@dataclass(frozen=True)
class PartProblem(Problem):
    """A problem on some of the samples, without prices, whose program contains what is known about parts of it.

    Parameters
    ----------
    known : tuple of (ndarray, int)
        Samples of this part and a proven bound of the loss on them.
    """

    known: tuple[tuple[Integers, int], ...] = ()

    def encode(self, exact_at: Sequence[IntegerNetwork] = ()) -> Encoding:
        """Build the MILP and add ``loss on samples >= bound`` for what is known."""
        encoding = super().encode(exact_at)
        if encoding.milp.offset or not self.known:
            return encoding
        return replace(encoding, milp=_with_bounds(encoding.milp, self.dataset.n_samples, self.known))


def _with_bounds(milp: MILP, n: int, known: tuple[tuple[Integers, int], ...]) -> MILP:
    """Add a row for each bound; every cost belongs to a column of a block with one row for each sample."""
    owner = np.full(milp.n_columns, -1, dtype=np.int64)
    for columns in milp.blocks.values():
        if len(columns) == n:
            owner[columns.reshape(n, -1)] = np.arange(n)[:, None]
    costs = np.flatnonzero(milp.c)
    if (owner[costs] < 0).any():
        return milp
    rows = [np.where(np.isin(owner, samples), milp.c, 0.0) for samples, _ in known]
    lower = np.array([float(bound) for _, bound in known])
    return replace(
        milp,
        A=sparse.vstack([milp.A, sparse.csr_matrix(np.array(rows))], format="csr"),
        row_lower=np.append(milp.row_lower, lower),
        row_upper=np.append(milp.row_upper, np.full(len(known), np.inf)),
        indicator=np.append(milp.indicator, np.full(len(known), -1)),
        indicator_value=np.append(milp.indicator_value, np.zeros(len(known), dtype=np.int64)),
    )


def part_of(problem: Problem, rows: Integers, known: Sequence[Claim] = ()) -> PartProblem:
    """Return the problem on some samples: its optimum bounds the loss on them of every network of the whole.

    Conditions on the network stay, prices are left out.

    Parameters
    ----------
    problem : Problem
    rows : ndarray of shape (m,), int64
        Indices of merged samples, ascending.
    known : sequence of Claim
        On subsets of the rows.

    Examples
    --------
    >>> from provenn.losses.max_correct import MaxCorrect
    >>> from provenn.network import Architecture
    >>> data = Dataset.merge([[0, 1], [1, 1], [2, 0]], [0, 1, 0])
    >>> part = part_of(Problem(Architecture.build(2, 2), data, MaxCorrect()), np.array([0, 1]))
    >>> part.dataset.n_samples, part.dataset.live.tolist()
    (2, [True, True])
    """
    data = problem.dataset
    samples = Part(data.X[rows], data.y[rows], data.classes, data.multiplicity[rows], data.scale, data.live)
    inside = tuple((np.searchsorted(rows, claim.rows), claim.bound) for claim in known if claim.bound > 0)
    conditions = tuple(kept.on(samples) for c in problem.constraints if (kept := _without_price(c)) is not None)
    return PartProblem(problem.architecture, samples, problem.loss, conditions, inside)


def _without_price(constraint: SideConstraint) -> SideConstraint | None:
    """Return the condition in a constraint that has a price, None where it has none."""
    if constraint.price_unit is None:
        return constraint
    return replace(constraint, price=0) if isinstance(constraint, Sparsity) else None
