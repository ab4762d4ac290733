"""Lower bounds of networks with hidden layers by a tree over clusters of activation patterns, with a checkable record.

A unit of the first layer acts by its pattern alone: on which samples it fires. All patterns are listed, once each, and
clustered; so are the heads, what the later layers can make of the units' activations. A node of the tree is a cluster
for every unit. For a head and a sample the least loss over the activations that the clusters leave open bounds the
loss, and the best head bounds the node. See the documentation's page on proofs of networks.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._network_tree_kernels import FULL, N_HEAP, N_NODES, PAUSED, bound_of, explore, marks
from provenn.bounds._network_tree_setup import Arrays, NetworkProblem, arrays_of, overflows
from provenn.bounds._network_tree_witness import Found, witness
from provenn.check_proof import RejectedError, Search
from provenn.errors import InputError
from provenn.milp.result import Limits
from provenn.status import Status

FIRST_NODES, BYTES_A_NODE, LARGEST_TREE = 2**14, 64, 2**23
SLICE = 20_000
Prepared = tuple[Arrays, Search]


@dataclass(frozen=True)
class NetworkTree:
    """What a search shows.

    Parameters
    ----------
    bound : int
        No network has a smaller value, in units of the problem.
    cuts : list of int
        The clusters of patterns, see `provenn.check_proof.Search`.
    tree : str
        The nodes, as there.
    nodes : int
        Of the tree.
    patterns, heads : int
        How many there are.
    status : Status
        Why the search ended.
    better : Found or None
        A network with the value `bound`, where that is below the goal.
    """

    bound: int
    cuts: list[int]
    tree: str
    nodes: int
    patterns: int
    heads: int
    status: Status
    better: Found | None = None


def prepare(problem: NetworkProblem) -> Prepared:
    """List and cluster patterns and heads, which any number of searches can use.

    Raises
    ------
    InputError
        For a problem that the checker of proofs does not know, or that is too large for it.
    """
    try:
        return arrays_of(problem.networks())
    except RejectedError as error:
        raise InputError(f"there is no tree for this problem: {error}") from error


def prove(
    problem: NetworkProblem,
    goal: int,
    limits: Limits,
    stopped: Callable[[], bool] = lambda: False,
    on_bound: Callable[[int], None] = lambda bound: None,
    prepared: Prepared | None = None,
) -> NetworkTree:
    """Search until no network below the goal is left, or a limit is met.

    Parameters
    ----------
    problem : NetworkProblem
    goal : int
        The value of a known network.
    limits : Limits
    stopped : callable
        Asked many times a second; True ends the search.
    on_bound : callable
        Told the bound as often.
    prepared : pair, optional
        What `prepare` returned for the problem.

    Raises
    ------
    InputError
        For a problem that the checker of proofs does not know, or that is too large for it.

    Examples
    --------
    >>> from provenn.network import Architecture, Dataset
    >>> data = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    >>> xor = NetworkProblem(Architecture.build(2, 2, hidden=(1,)), data, "max_correct", {"rule": "argmax"})
    >>> prove(xor, 1, Limits()).bound
    1
    """
    began = time.perf_counter()
    ready, search = prepared or prepare(problem)
    arrays = ready.cut(goal)
    if overflows(arrays):
        raise InputError("there is no tree for this problem: its values could leave 64 bits; use smaller weights")
    nodes = OpenNodes(arrays, search.networks.h)

    def ended() -> bool:
        on_bound(nodes.least(goal))
        return stopped()

    status = _run(nodes, goal, limits, began, ended)
    bound = nodes.least(goal)
    tree = nodes.text(bound)
    heads = sum(len(part) for configuration in search.configurations for part in configuration)
    better = None
    if status is Status.OPTIMAL and bound < goal:
        members = [search.clusters[i].members[0] for i in nodes.first]
        better = witness(search.networks, [search.patterns[i] for i in members])
    return NetworkTree(bound, arrays.cuts, tree, len(tree), len(search.patterns), heads, status, better)


def _run(nodes: "OpenNodes", goal: int, limits: Limits, began: float, stopped: Callable[[], bool]) -> Status:
    """Explore in slices; return why the search ended."""
    most = LARGEST_TREE
    if limits.memory_mb is not None:
        most = min(most, limits.memory_mb * 2**20 // BYTES_A_NODE)
    try:
        nodes.plant(goal)
        while True:
            if time.perf_counter() - began >= limits.seconds:
                return Status.TIME_LIMIT
            code = nodes.explore(goal, SLICE if limits.nodes is None else min(SLICE, max(1, limits.nodes - nodes.size)))
            if code not in (PAUSED, FULL):
                return Status.OPTIMAL
            if code == FULL and not nodes.grow(most):
                return Status.MEMORY_LIMIT
            if limits.nodes is not None and nodes.size >= limits.nodes:
                return Status.NODE_LIMIT
            if stopped():
                return Status.INTERRUPTED
    except KeyboardInterrupt:
        return Status.INTERRUPTED


@dataclass
class OpenNodes:
    """The tree and the heap of its open nodes."""

    arrays: Arrays
    units: int
    tuples: NDArray[np.int32] = field(init=False)
    bound: NDArray[np.int64] = field(init=False)
    split: NDArray[np.int8] = field(init=False)
    below: NDArray[np.int32] = field(init=False)
    heap: NDArray[np.int32] = field(init=False)
    counters: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        """Make room for the first nodes."""
        self.tuples = np.zeros((FIRST_NODES, self.units), dtype=np.int32)
        self.bound, self.split = np.zeros(FIRST_NODES, dtype=np.int64), np.zeros(FIRST_NODES, dtype=np.int8)
        self.below, self.heap = np.full((FIRST_NODES, 2), -1, dtype=np.int32), np.zeros(FIRST_NODES, dtype=np.int32)
        self.counters = np.zeros(3, dtype=np.int64)

    @property
    def size(self) -> int:
        """Number of nodes."""
        return int(self.counters[N_NODES])

    def plant(self, goal: int) -> None:
        """Add the root: any pattern for every unit."""
        a = self.arrays
        scratch = np.zeros(a.tables.shape[1], dtype=np.int64)
        self.bound[0] = bound_of(
            self.tuples[0], a.status, a.prices, a.weights, a.tables, a.starts, a.options, a.pointers, a.setting,
            scratch, np.zeros(len(a.tables), dtype=np.int64), scratch.copy(),
        )  # fmt: skip
        self.counters[N_NODES], self.counters[N_HEAP] = 1, int(self.bound[0] < goal)

    def explore(self, goal: int, budget: int) -> int:
        """Work for some milliseconds; return why that ended."""
        return int(
            explore(
                self.tuples, self.bound, self.split, self.below, self.heap, self.counters, goal, budget,
                *self.arrays.kernel(),
            )
        )  # fmt: skip

    def grow(self, most: int) -> bool:
        """Double the room for nodes; False at the limit."""
        if 2 * len(self.bound) > most:
            return False
        for name in ("tuples", "bound", "split", "below", "heap"):
            part = getattr(self, name)
            setattr(self, name, np.concatenate([part, np.zeros_like(part)]))
        return True

    @property
    def first(self) -> list[int]:
        """The clusters of the node with the least bound."""
        return [int(i) for i in self.tuples[self.heap[0]]]

    def least(self, goal: int) -> int:
        """Return what all open nodes show."""
        return min(goal, int(self.bound[self.heap[0]])) if self.counters[N_HEAP] else goal

    def text(self, bound: int) -> str:
        """Return the tree as text; nodes that reach the bound become leaves."""
        n = self.size
        return marks(self.bound[:n], self.split[:n], self.below[:n], bound).tobytes().decode("ascii")
