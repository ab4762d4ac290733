"""The splits of a finished search, to be followed again on changed data: no box of theirs is taken over."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._convex_types import Integers

LEAF, PASS = -1, -2


@dataclass(frozen=True)
class SplitTree:
    """A binary tree of splits with a point for every node, and the moves to equal points that its search used.

    Parameters
    ----------
    entry, below : ndarray of shape (m,), int64
        The first branch of a node has ``v_entry <= below``, the second the rest; entry is -1 in leaves,
        and -2 in nodes that only cut values off their box and pass it on to their first branch.
    child : ndarray of shape (m, 2), int64
        Numbers of the nodes of both branches, larger than its own; -1 in leaves. Node 0 is the root.
    point : ndarray of shape (m, D), float32
        Where the relaxation of a node was best, NaN where that is not known.
    shifts : ndarray of shape (r, D), int64
        Moves that left all scores as they were.
    reference : ndarray of shape (r,), int64
        For each an entry that no other one moves.
    anchor : ndarray of shape (r,), float64
        Of equal points those with references nearest to these were kept, unless relative.
    relative : bool
        Whether the references were fixed, and the other entries relative to them.
    minima : bool
        Whether points are minima of the relaxations of their nodes, which move with the data as their parents do.
    """

    entry: Integers
    below: Integers
    child: Integers
    point: NDArray[np.float32]
    shifts: Integers
    reference: Integers
    anchor: NDArray[np.float64]
    relative: bool
    minima: bool = True

    @property
    def leaves(self) -> int:
        """The number of leaves."""
        return int((self.entry == LEAF).sum())

    def stump(self) -> "SplitTree":
        """Return the tree of the root alone."""
        leaf, point = np.full(1, LEAF), self.point[:1]
        return replace(self, entry=leaf, below=np.zeros(1, dtype=np.int64), child=np.full((1, 2), LEAF), point=point)

    @staticmethod
    def of_proof(data: dict[str, Any]) -> "SplitTree":
        """Read splits and points off the data of a proof, see `provenn.check_proof.Tree`."""
        nodes = data["tree"]
        entry = np.array([_entry(*node[1:]) for node in nodes], dtype=np.int64)
        below = np.array([node[2] if len(node) == 3 else 0 for node in nodes], dtype=np.int64)
        D = len((data["points"] or data["moves"] or [[]])[0])
        known = np.array(data["points"], dtype=np.float64).reshape(-1, D) / 2.0 ** data["bits"]
        known = np.concatenate([known, np.full((1, D), np.nan)])
        shifts, reference = np.array(data["moves"], dtype=np.int64).reshape(-1, D), np.array(data["references"])
        return SplitTree(
            entry,
            below,
            _children(entry),
            known[[node[0] for node in nodes]].astype(np.float32),
            shifts,
            reference.astype(np.int64),
            np.array(data["anchors"], dtype=np.float64),
            relative=False,
            minima=False,
        )


def _entry(j: int | None = None, move: int | None = None) -> int:
    """Return the kind of a node of a proof; a leaf that a move closes is a leaf."""
    if j is None or (j < 0 and move is not None):
        return LEAF
    return PASS if j < 0 else j


def _children(entry: Integers) -> Integers:
    """Return the numbers of both branches of every node of a tree that is listed depth first."""
    child, waiting = np.full((len(entry), 2), LEAF, dtype=np.int64), list[int]()
    for i, j in enumerate(entry.tolist()):
        if i:
            parent = waiting[-1]
            second = int(child[parent, 0] != LEAF)
            child[parent, second] = i
            if second or entry[parent] == PASS:
                waiting.pop()
        if j != LEAF:
            waiting.append(i)
    return child
