"""The training MIP of an integer head over features that move: a priced hinge, and priced activations."""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from provenn.errors import InfeasibleError, InputError
from provenn.formulations import Encoding, Problem
from provenn.losses import Model, SeparableLoss
from provenn.milp import MILP, Terms
from provenn.milp.lower import big_m
from provenn.milp.model import Floats
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.tame._torch_value import Template
from provenn.tame.value import FixedValue, fixed_value

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class HingeLine:
    """``max(0, margin - z)`` in integers."""

    margin: int
    unit: Fraction

    def exact(self, z: NDArray[Any]) -> Integers:
        """Return the loss at every integer z, same shape."""
        return np.maximum(self.margin - np.asarray(z, dtype=np.int64), 0)


@dataclass(frozen=True)
class PricedHinge(SeparableLoss):
    """Sum over samples and outputs of ``max(0, margin - t a)``, with one real slack column each.

    Linear, so that the value of its MIP with fixed integers is Lipschitz in the data.

    Parameters
    ----------
    margin : float
        In real units of the score, rounded to whole units.

    Examples
    --------
    >>> from provenn.network import Architecture, Dataset, IntegerNetwork
    >>> data = Dataset.merge([[0], [4]], [0, 1])
    >>> PricedHinge(2.0).value(IntegerNetwork.of(Architecture.build(1, 2), [[[1]]], [[0]]), data)
    2
    """

    margin: float = 1.0

    def curve(self, architecture: Architecture, dataset: Dataset) -> HingeLine:
        """Return the hinge in integers of the score."""
        unit = architecture.unit(-1, dataset.scale)
        return HingeLine(round(self.margin * unit), Fraction(1, unit))

    def additive(self, architecture: Architecture) -> bool:
        """Each term belongs to one sample."""
        return True

    def floor(self, dataset: Dataset) -> int | None:
        """Return 0: no term is negative."""
        return 0

    def add_to(self, model: Model) -> None:
        """Add ``slack >= margin - t a``, at a cost of one unit."""
        t = model.dataset.targets(model.architecture.n_outputs)
        curve = self.curve(model.architecture, model.dataset)
        low, high = model.bounds(len(model.architecture.layers) - 1)
        slack = model.builder.columns(
            "slack", t.shape, 0, curve.margin + max(int(np.abs(low).max()), int(np.abs(high).max())),
            fill=lambda state: curve.exact(t * state.trace.scores), integer=False,
        )  # fmt: skip
        model.builder.minimise(slack, np.broadcast_to(model.dataset.multiplicity[:, None], t.shape))
        a = model.preactivations[-1].ravel()[:, None]
        model.builder.rows([Terms(slack.ravel()[:, None], 1), Terms(a, t.ravel()[:, None])], lower=curve.margin)


class Moving(Dataset):
    """Samples whose features will move: none counts as constant, equal samples are not merged."""

    @property
    def live(self) -> NDArray[np.bool_]:
        """All features."""
        return np.ones(self.n_features, dtype=np.bool_)


@dataclass(frozen=True)
class Range:
    """Where features may move, and the price of activations.

    Parameters
    ----------
    reach : int
        Largest absolute value of a feature, in grid units.
    price : int
        Cost of a grid unit of slack of a hidden pre-activation, in units of the objective.
    room : int
        Distance from 0 below which hidden pre-activations pay, in grid units.
    """

    reach: int
    price: int = 0
    room: int = 0


def safe_price(architecture: Architecture) -> int:
    """Return the least price at which no activation is worth buying.

    A hidden unit with the wrong sign pays at least one grid unit of slack more than with its true one.
    Flipping it changes every output by at most ``(1 - lowest) P``, and the hinge by no more. One above
    that is the price.

    Examples
    --------
    >>> safe_price(Architecture.build(3, 2, hidden=(2,)))
    3
    """
    if not architecture.hidden:
        return 0
    out, hidden = architecture.layers[-1], architecture.layers[-2]
    return (1 - hidden.lowest) * out.weights.bound * out.n_out + 1


@dataclass(frozen=True)
class Step:
    """The training MIP of a head at some features.

    Its column bounds and big-M values hold for all features within the range, so that only the features'
    coefficients differ between steps, and certificates of one step bound another.

    Parameters
    ----------
    problem : Problem
        Its value is the exact hinge of the real network, which makes its activations itself.
    area : Range
    """

    problem: Problem
    area: Range

    def __post_init__(self) -> None:
        """Refuse shapes that a head cannot have, and other losses."""
        check_head(self.problem.architecture)
        _hinge(self.problem)

    @cached_property
    def encoding(self) -> Encoding:
        """The exact MILP of the problem, with its maps."""
        return self.problem.encode()

    @cached_property
    def template(self) -> Template:
        """The MILP with slack, in which the features are the variable entries of A."""
        return _template(self.problem, _softened(self.problem, self.encoding.milp, self.area))

    @property
    def milp(self) -> MILP:
        """The MILP with slack."""
        return self.template.milp

    @property
    def unit(self) -> float:
        """Loss of one unit of the objective."""
        return float(self.problem.unit)

    def point(self, network: IntegerNetwork) -> Floats:
        """Return a point whose integer columns are those of a network with its true activations."""
        known = self.encoding.encode(network)
        return np.concatenate([known, np.zeros(self.milp.n_columns - len(known))])

    def decode(self, x: Floats) -> IntegerNetwork:
        """Read the network off a point."""
        return self.encoding.decode(x[: self.encoding.milp.n_columns])

    def value(self, network: IntegerNetwork) -> FixedValue | None:
        """Return the objective of a network with true activations, or None where it breaks a constraint."""
        try:
            return fixed_value(self.milp, self.point(network))
        except InfeasibleError:
            return None


def check_head(architecture: Architecture) -> None:
    """Refuse shapes that a head cannot have."""
    if len(architecture.hidden) > 1:
        raise InputError("a head has at most one hidden layer: the price of a flip is known for those alone")
    if architecture.continuous:
        raise InputError("a head has integer weights: use the layers of torch for continuous ones")


def _hinge(problem: Problem) -> PricedHinge:
    if not isinstance(problem.loss, PricedHinge):
        raise InputError(
            f"a head is trained by PricedHinge, whose MIP is Lipschitz in the features, not {problem.loss}"
        )
    return problem.loss


def _softened(problem: Problem, milp: MILP, area: Range) -> MILP:
    """Let first pre-activations be real and in range, and give hidden ones a priced slack; lower the rest."""
    shape, scale, P = problem.architecture, problem.dataset.scale, problem.architecture.layers[0].weights.bound
    bias = shape.layers[0].bias
    most = shape.n_features * area.reach * P + scale * (bias.bound if bias is not None else 0)
    a = milp.blocks["a0"].ravel()
    lower, upper, integer = milp.col_lower.copy(), milp.col_upper.copy(), milp.integer.copy()
    lower[a], upper[a], integer[a] = -most, most, False
    if not shape.hidden:
        upper[milp.blocks["slack"]] = most + _hinge(problem).curve(shape, problem.dataset).margin
    wide = replace(milp, col_lower=lower, col_upper=upper, integer=integer)
    return big_m(_with_slack(wide, area, most) if shape.hidden else wide)


def _with_slack(milp: MILP, area: Range, most: int) -> MILP:
    """Add ``u = 1 => a + s >= room`` and ``u = 0 => a - s <= -1 - room``, each s at the price."""
    u = milp.blocks["u0"].ravel()
    number = np.full(milp.n_columns, -1)
    number[u] = np.arange(u.size)
    rows = np.flatnonzero((milp.indicator >= 0) & (number[milp.indicator] >= 0))
    fires = milp.indicator_value[rows] == 1
    columns = number[milp.indicator[rows]]
    slack = sparse.csr_matrix((np.where(fires, 1.0, -1.0), (rows, columns)), shape=(milp.n_rows, u.size))
    row_lower, row_upper = milp.row_lower.copy(), milp.row_upper.copy()
    row_lower[rows[fires]] += area.room
    row_upper[rows[~fires]] -= area.room
    s = np.zeros(u.size)
    return replace(
        milp,
        c=np.concatenate([milp.c, s + area.price]),
        A=sparse.hstack([milp.A, slack]),
        row_lower=row_lower,
        row_upper=row_upper,
        col_lower=np.concatenate([milp.col_lower, s]),
        col_upper=np.concatenate([milp.col_upper, s + most + area.room + 1]),
        integer=np.concatenate([milp.integer, s > 0]),
        blocks={**milp.blocks, "activation_slack": milp.n_columns + np.arange(u.size)},
    )


def _template(problem: Problem, milp: MILP) -> Template:
    """Mark the features' entries of A, and for binary weights the sides that they move.

    Row ``j n + k`` is ``-a_kj + step sum_i x_ki z_ij + ... = -shift sum_i x_ki + ...``, for
    ``w = shift + step z``; the skeleton adds these rows first.
    """
    n, h = problem.dataset.n_samples, milp.blocks["W0"].shape[1]
    rows = np.arange(h)[None, :] * n + np.arange(n)[:, None]
    A = (rows[:, None, :], milp.blocks["W0"][None, :, :])
    return Template(milp, A=A, b=rows if feature_shift(problem) else None)


def feature_shift(problem: Problem) -> int:
    """Return the shift of the first layer's weights, which is not 0 for domains of step 2."""
    domain = problem.architecture.layers[0].weights
    return 0 if domain.step == 1 else domain.low
