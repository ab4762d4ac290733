"""Training problems with one small hidden layer as models that count units: no big-M, no order of units."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse

from provenn.errors import InputError
from provenn.formulations import Encoding, Problem
from provenn.milp import MILP
from provenn.milp.model import Floats
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.tame._pattern_skeleton import CountedUnits
from provenn.tame._pattern_units import Units
from provenn.tame._simplex import Integers

MOST_UNITS = 50_000
"""Choices of the weights of one hidden unit, incoming and outgoing, that are listed at most."""


@dataclass(frozen=True)
class PatternModel:
    r"""A training problem as a MIP that counts how many hidden units have which weights.

    For each choice p of incoming weights w, bias c and outgoing weights v of one unit, an integer column
    :math:`n_p` says how many of the h units make it. Which samples a choice fires on is known beforehand, so

    .. math:: s_k = b + \sum_p v_p\, \sigma(x_k w_p + c_p)\, n_p, \qquad \sum_p n_p = h,\ n_p \ge 0,

    and the loss is added on the scores s. Nothing is conditional in the hidden layer, and networks that differ
    in the order of their units are one point.

    Parameters
    ----------
    problem : Problem
    milp : MILP
        Its objective counts units of the problem. Columns "units" are n, "b1" output biases, "a1" scores.
    counted : CountedUnits
        The model before choices were merged.
    classes : ndarray of shape (p,), int64
        Choices with equal numbers add the same to every row. Not movable: -1 for choices that are left out.
    movable : bool
        See `of`.

    References
    ----------
    The choices are the extreme points of the hull over one unit, as in Bienstock, Muñoz & Pokutta, arXiv 1810.03218;
    certificates: Aspman, Korpas & Marecek, arXiv 2310.04469.

    Examples
    --------
    >>> from provenn.losses.max_correct import MaxCorrect
    >>> from provenn.network import Dataset
    >>> from provenn.tame import branch_and_bound
    >>> data = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    >>> xor = Problem(Architecture.build(2, 2, hidden=(2,)), data, MaxCorrect())
    >>> model = PatternModel.of(xor)
    >>> proof = branch_and_bound(model.milp)
    >>> network = model.decode(proof.x)
    >>> proof.value, xor.value(network), proof.verify()["optimal"]
    (0.0, 0, True)
    """

    problem: Problem
    milp: MILP
    counted: CountedUnits
    classes: Integers
    movable: bool

    @classmethod
    def of(
        cls, problem: Problem, movable: bool = False, exact_at: Sequence[IntegerNetwork] = (), most: int = MOST_UNITS
    ) -> "PatternModel":
        """Build the model.

        Parameters
        ----------
        problem : Problem
            One hidden layer of integer weights. Its loss may speak of scores, of numbers of non-zero
            parameters and of kept units; side constraints are `Sparsity`, `NeuronCount` and `NormPrice`.
        movable : bool
            Keep one column for each choice of weights, so that the model has the same shape wherever the features
            are, see `at`. Otherwise choices that are the same on these data share a column, which makes
            smaller models and trees.
        exact_at : sequence of IntegerNetwork
            Networks at which what is modelled by tangents must be exact.
        most : int
            Choices that are listed at most.

        Raises
        ------
        InputError
            When the network has another shape, a part of the problem has no such model, or there are too many choices.
        """
        _check(problem.architecture)
        first = problem.architecture.layers[0]
        live = problem.dataset.live | (movable or not first.weights.has_zero)
        counted = CountedUnits(problem, Units.of(problem.architecture, live, most), movable, tuple(exact_at))
        return _grouped(counted, None) if movable else _merged(counted)

    def at(self, X: Integers) -> "PatternModel":
        """Return the model of the same samples at other features.

        Rows and columns stay; only entries of the matrix change, and bounds of choices that the data exclude.
        So certificates of one model bound the other. A "group" column counts units whose choices
        were the same on the first data.

        Parameters
        ----------
        X : ndarray of shape (n, d), int64
            Features of the samples of the problem, in their order, in grid units.
        """
        if not self.movable:
            raise InputError("choices of this model are merged for its data: build it with movable=True")
        data, X = self.problem.dataset, np.asarray(X, dtype=np.int64)
        if X.shape != data.X.shape:
            raise InputError(f"the features must have the shape {data.X.shape} of the first ones, not {X.shape}")
        moved = self.problem.on(Dataset(X, data.y, data.classes, data.multiplicity, data.scale))
        counted = CountedUnits(moved, self.counted.units, True, self.counted.known)
        return _grouped(counted, self.classes)

    @property
    def relaxed(self) -> bool:
        """Whether the model bounds the loss from below instead of reproducing it everywhere."""
        return self.counted.relaxed

    @property
    def encoding(self) -> Encoding:
        """The model with its maps, as `Problem.encode` returns it: for any solver."""
        return Encoding(self.milp, self.encode, self.decode, self.relaxed)

    def encode(self, network: IntegerNetwork) -> Floats:
        """Return the point of a network."""
        full = self.counted.builder.fill(self.counted.answer(network))
        if self.movable:
            return np.concatenate([full, _members(self.classes) @ full[self.counted.columns]])
        x = full[self._kept].copy()
        x[self.milp.blocks["units"]] = np.bincount(
            self.classes[self.classes >= 0], full[self.counted.columns][self.classes >= 0]
        )
        return x

    def decode(self, x: Floats) -> IntegerNetwork:
        """Read a network off a point: for merged choices, with the first one."""
        counts = np.zeros(len(self.classes), dtype=np.int64)
        counts[self._representatives] = np.rint(x[self.milp.blocks["units"]]).astype(np.int64)
        out, bias = self.problem.architecture.layers[-1], self.counted.output_bias
        b = np.zeros(out.n_out, dtype=np.int64)
        if out.bias is not None:
            b = bias.shift + bias.step * np.rint(x[self.milp.blocks["b1"]]).astype(np.int64)
        return self.counted.units.network(counts, b, self.problem.dataset.scale)

    @cached_property
    def _representatives(self) -> Integers:
        """Choice behind every column."""
        if self.movable:
            return np.arange(len(self.classes))
        return np.unique(self.classes, return_index=True)[1][int((self.classes < 0).any()) :]

    @cached_property
    def _kept(self) -> Integers:
        """Columns of the unmerged model that stay."""
        stays = np.ones(self.counted.builder.n_columns, dtype=np.bool_)
        stays[self.counted.columns] = False
        stays[self.counted.columns[self._representatives]] = True
        return np.flatnonzero(stays)


def _check(architecture: Architecture) -> None:
    if len(architecture.hidden) != 1:
        raise InputError(f"a pattern model needs one hidden layer, this network has {len(architecture.hidden)}")
    if architecture.continuous:
        raise InputError("a pattern model lists the weights of a unit, so they must be integers: use Problem.encode()")


def _classes(counted: CountedUnits, milp: MILP) -> Integers:
    """Return the number of each choice's column of the matrix and cost, from the first on; -1 where excluded."""
    columns = np.flatnonzero(milp.col_upper[counted.columns] > 0)
    parts = np.vstack([milp.A[:, counted.columns[columns]].toarray(), milp.c[counted.columns[columns]]])
    _, first, number = np.unique(parts.T, axis=0, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    classes = np.full(len(counted.columns), -1, dtype=np.int64)
    classes[columns] = rank[number.ravel()]
    return classes


def _merged(counted: CountedUnits) -> PatternModel:
    """Keep the first choice of every class."""
    full = counted.builder.build()
    model = PatternModel(counted.problem, full, counted, _classes(counted, full), False)
    kept = model._kept
    number = np.full(full.n_columns, -1, dtype=np.int64)
    number[kept] = np.arange(len(kept))
    blocks = {name: number[columns] for name, columns in full.blocks.items() if name != "units"}
    small = MILP(
        full.c[kept], full.A[:, kept], full.row_lower, full.row_upper, full.col_lower[kept], full.col_upper[kept],
        full.integer[kept], full.offset, np.where(full.indicator >= 0, number[full.indicator], -1),
        full.indicator_value, {**blocks, "units": number[counted.columns[model._representatives]]},
    )  # fmt: skip
    return replace(model, milp=small)


def _grouped(counted: CountedUnits, classes: Integers | None) -> PatternModel:
    """Add integer columns that count the units of each class of several choices: what trees split first."""
    full = counted.builder.build()
    if classes is None:
        contributions = counted.units.contributions(counted.problem.dataset).transpose(1, 0, 2)
        flat = contributions.reshape(len(counted.columns), -1)
        classes = np.unique(flat, axis=0, return_inverse=True)[1].ravel().astype(np.int64)
    member = _members(classes)
    k, none = member.shape[0], np.zeros(member.shape[0])
    rows = sparse.hstack([_spread(member, counted.columns, full.n_columns), -sparse.identity(k)])
    above = sparse.hstack([full.A, sparse.csr_matrix((full.n_rows, k))])
    grouped = MILP(
        np.append(full.c, none),
        sparse.vstack([above, rows], format="csr"),
        np.append(full.row_lower, none),
        np.append(full.row_upper, none),
        np.append(full.col_lower, none),
        np.append(full.col_upper, none + counted.architecture.hidden[0]),
        np.append(full.integer, none == 0),
        full.offset,
        np.append(full.indicator, none.astype(np.int64) - 1),
        np.append(full.indicator_value, none.astype(np.int64)),
        {**full.blocks, "group": full.n_columns + np.arange(k)},
    )
    return PatternModel(counted.problem, grouped, counted, classes, True)


def _members(classes: Integers) -> sparse.csr_matrix:
    """Which choices are in which class, for classes of several; shape (classes, p)."""
    p = len(classes)
    all_ = sparse.csr_matrix((np.ones(p), (classes, np.arange(p))), shape=(int(classes.max()) + 1, p))
    return all_[np.flatnonzero(np.bincount(classes) > 1)]


def _spread(member: sparse.csr_matrix, columns: Integers, width: int) -> sparse.csr_matrix:
    """Give the columns of a matrix their places among more."""
    coo = member.tocoo()
    return sparse.csr_matrix((coo.data, (coo.row, columns[coo.col])), shape=(member.shape[0], width))
