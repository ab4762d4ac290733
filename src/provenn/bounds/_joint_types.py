"""What the joint hull bound is computed for, and what it delivers."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._hull_types import Proofs, Surroundings
from provenn.bounds.hull import HullProblem
from provenn.errors import InputError
from provenn.status import Status

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Signs = NDArray[np.int8]


@dataclass(frozen=True)
class JointProblem:
    """A network with one hidden layer and several outputs: minimise the sum of the outputs' losses.

    Parameters
    ----------
    parts : tuple of HullProblem
        One for each output; they differ in their losses alone.

    Raises
    ------
    InputError
        Without parts, or when they differ in more.
    """

    parts: tuple[HullProblem, ...]

    def __post_init__(self) -> None:
        """Refuse parts that have other units or output layers."""
        if not self.parts:
            raise InputError("the joint hull bound needs outputs, got none")
        if any(_shape(part) != _shape(self.parts[0]) for part in self.parts[1:]):
            raise InputError("outputs that share hidden units have the same samples, units and weights")

    @property
    def units(self) -> HullProblem:
        """A part, for what all of them have in common."""
        return self.parts[0]

    @property
    def hidden(self) -> int:
        """Number of hidden units."""
        return self.parts[0].hidden

    @property
    def mirrored(self) -> bool:
        """Whether a unit may be replaced by its mirror image, with the signs of all its output weights."""
        low, high, _ = self.units.outputs
        return self.units.levels == (-1, 1) and low == -high

    @property
    def sides(self) -> tuple[int, ...]:
        """Kinds of units: 1 for plain, -1 for mirrored ones."""
        return (1, -1) if self.mirrored else (1,)


def _shape(part: HullProblem) -> tuple[object, ...]:
    arrays = tuple(one.tobytes() for one in (part.X, part.multiplicity, part.low, part.high))
    return (*arrays, part.scale, part.step, part.bias, part.hidden, part.outputs, part.output_bias, part.levels)


@dataclass(frozen=True)
class JointCut:
    """Slopes for every sample and place in the hidden layer, with proven bounds on how well a unit can agree.

    Parameters
    ----------
    slopes : ndarray of shape (h, n), int64
        W_ik, multiplicities included, in units over `quotient` per sign of the unit.
    quotient : int
        Q > 0.
    agreement : tuple of int
        For each place at least ``-sum_k W_ik s(k)`` for every unit s.
    proofs : tuple of tuples of (side, bound, leaves)
        For each place and side a lower bound of the disagreement and, where recorded, the leaves that prove it;
        nothing where all units were listed.
    """

    slopes: Integers
    quotient: int
    agreement: tuple[int, ...]
    proofs: tuple[Proofs, ...] = ()


@dataclass
class Node:
    """All output layers with given layers of the first outputs.

    Parameters
    ----------
    layers : tuple of int
    joint : int
        Bound of the first outputs' losses together.
    bound : int
        With the own bounds of the others.
    cut, depth : int
        The cut behind the bound, and for how many of the outputs it was taken; -1 and 0 for none.
    g : ndarray of shape (h, n), optional
        Slopes to begin with.
    priced : int
        The last cut of the node's own slopes whose proof is complete, or -1.
    """

    layers: tuple[int, ...]
    joint: int
    bound: int
    cut: int = -1
    depth: int = 0
    g: Floats | None = None
    priced: int = -1
    enumerated: bool = False
    stuck: bool = False


@dataclass(frozen=True)
class JointRegion:
    """All output layers with given weights and biases of the first outputs, and what is proven about them.

    Parameters
    ----------
    weights : ndarray of shape (h, q), int64
        Of the first q outputs, in the order of the evidence.
    biases : ndarray of shape (q,), int64
    bound : int
    cut, depth : int
        The cut behind the bound, taken for the first `depth` outputs; the others count with their own bounds. -1 and
        0 where all do.
    enumerated : bool
        Whether all networks that the cut leaves were tried.
    """

    weights: Integers
    biases: Integers
    bound: int
    cut: int = -1
    depth: int = 0
    enumerated: bool = False


@dataclass(frozen=True)
class JointEvidence:
    """From what the bound can be derived again, see `provenn.bounds.joint_hull.check`.

    Parameters
    ----------
    order : tuple of int
        The outputs in the order in which regions fix them.
    own : ndarray of shape (m, L), int64
        For each output, in the same order, a lower bound of its own loss with each of its layers.
    regions : tuple of JointRegion
        Together they hold every output layer, up to the order and the mirroring of units.
    cuts : tuple of JointCut
    """

    order: tuple[int, ...] = ()
    own: Integers = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    regions: tuple[JointRegion, ...] = ()
    cuts: tuple[JointCut, ...] = ()


@dataclass(frozen=True)
class JointAnswer:
    """A network.

    Parameters
    ----------
    w : ndarray of shape (d, h), int64
    b : ndarray of shape (h,), int64
    v : ndarray of shape (h, m), int64
        Output weights.
    c : ndarray of shape (m,), int64
        Output biases.
    value : int
        Exact loss in units.
    """

    w: Integers
    b: Integers
    v: Integers
    c: Integers
    value: int


class JointOutside(Surroundings[JointAnswer]):
    """What a search that runs beside others asks and tells the caller; see `Surroundings`."""


@dataclass(frozen=True)
class JointResult:
    """What was found and proven.

    Parameters
    ----------
    status : Status
        OPTIMAL when the bound reaches the best known loss.
    answer : JointAnswer or None
    bound : int
        No network has a smaller loss.
    nodes : int
        Nodes of all pricing problems.
    regions : int
        Regions that were worked on.
    columns : int
    seconds : float
    evidence : JointEvidence
    """

    status: Status
    answer: JointAnswer | None
    bound: int
    nodes: int
    regions: int
    columns: int
    seconds: float
    evidence: JointEvidence = field(default_factory=JointEvidence)
