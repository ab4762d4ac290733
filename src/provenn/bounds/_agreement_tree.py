"""The tree of the agreement engine: open boxes by bound, and workers that search below them in pieces."""

import heapq
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from provenn.bounds._agreement_kernels import explore
from provenn.bounds._agreement_rows import FOUND, LEAVES, NODES, OPEN
from provenn.bounds._agreement_setup import directions, near_pairs
from provenn.bounds._agreement_types import Integers

PAIRS_EACH, PAIRS_MOST = 6, 24
LANES = 32
PIECE_WORK = 2e7
FIRST_PIECES, FIRST_NODES = 32, 64
LARGEST_PIECE, RECORDED_PIECE = 20_000, 200
INT32_REACH = 2**30
NODE_BYTES = 200
TICK = 0.02


@dataclass
class Piece:
    """One box to search below, and what came of it."""

    bound: int
    box: Integers
    nodes: int = 0
    boxes: Integers | None = None
    bounds: Integers | None = None
    point: Integers | None = None
    points: Integers | None = None
    leaves: tuple[Integers, Integers] | None = None


class Space:
    """Memory of one worker."""

    def __init__(self, D: int, depth: int, points: int, leaves: int) -> None:
        """Allocate."""
        self.counts = np.zeros(4, dtype=np.int64)
        self.point = np.zeros(D, dtype=np.int64)
        self.boxes, self.bounds = np.zeros((3 * depth, 2, D), np.int64), np.zeros(3 * depth, np.int64)
        self.points = np.zeros((points, D), dtype=np.int64)
        self.leaves, self.parts = np.zeros((leaves, 2, D), np.int64), np.zeros((leaves, 3), np.int64)


class Tree:
    """Open boxes of one reduced problem; costs in whole units of the reduced problem.

    Parameters
    ----------
    A, offset, cost, top : ndarray
        See `Reduced`.
    limit : int
        Boxes that cost this or more are closed; at least 1.
    points : int
        Points to collect in one piece; 0 to minimise.
    record : bool
        Keep closed boxes.
    """

    def __init__(
        self, A: Integers, offset: Integers, cost: Integers, top: Integers, limit: int, points: int, record: bool
    ) -> None:
        """Open the root box."""
        D, n = A.shape
        self.clip = limit
        cost = np.minimum(cost, limit)
        self.moves, self.rank = directions(A, top)
        one, two, near = near_pairs(A, offset, top, PAIRS_EACH, PAIRS_MOST)
        kind, pad = small_type(A, offset, cost, top), -n % LANES
        # Whole vectors: samples that are always right and cost nothing fill the last one, pairs too many are left out.
        pairs = len(one) // LANES * LANES if len(one) > 2 * LANES else len(one)
        self.one, self.two, self.near = one[:pairs], two[:pairs], min(pairs, -(-near // LANES) * LANES)
        self.pair_A = np.ascontiguousarray((A[:, self.one] + A[:, self.two]).astype(kind))
        self.A, self.top = np.pad(A, ((0, 0), (0, pad))).astype(kind), top
        self.offset, self.cost = np.pad(offset, (0, pad)).astype(kind), np.pad(cost, (0, pad)).astype(kind)
        self.best = np.array([limit], dtype=np.int64)
        self.depth = 2 + int(np.sum([int(t).bit_length() for t in top]))
        self.points = points
        self.record: list[tuple[Integers, Integers]] | None = [] if record else None
        self.heap: list[tuple[int, int, Integers]] = [(0, 0, np.stack([np.zeros_like(top), top]))]
        self.active: dict[int, Piece] = {}
        self.serial, self.nodes, self.pieces = 1, 0, 0
        # Every leaf takes at least one value from one entry of the box of its node.
        self.leaves_per_node = int(top.sum()) + 4
        self.piece_nodes = int(
            min(RECORDED_PIECE if record else LARGEST_PIECE, max(16, PIECE_WORK // (D * (n + self.near) + 1)))
        )
        self.lock = threading.Condition()

    @property
    def bound(self) -> int:
        """The least bound of an open box, or the limit when none is open."""
        lowest = min((piece.bound for piece in self.active.values()), default=int(self.best[0]))
        return min(int(self.best[0]), lowest, self.heap[0][0] if self.heap else lowest)

    @property
    def finished(self) -> bool:
        """Whether no box is open."""
        return not self.heap and not self.active

    def open_boxes(self) -> list[Integers]:
        """Return all boxes that are not closed."""
        return [box for _, _, box in self.heap] + [piece.box for piece in self.active.values()]

    @property
    def bytes(self) -> int:
        """Estimate the memory of open boxes and the record."""
        kept = sum(len(part) for _, part in self.record) if self.record is not None else 0
        return (len(self.heap) + kept) * (NODE_BYTES + 16 * len(self.top))

    def take(self) -> tuple[int, Piece] | None:
        """Take the open box with the least bound, or None when there is none now; hold the lock."""
        while self.heap:
            bound, _, box = heapq.heappop(self.heap)
            if bound < self.best[0] or self.record is not None:
                self.serial += 1
                self.active[self.serial] = piece = Piece(bound, box)
                return self.serial, piece
        return None

    def work(self, piece: Piece, space: Space, budget: int) -> None:
        """Search below a box; needs no lock."""
        explore(
            self.A, self.offset, self.cost, self.pair_A, self.one, self.two, self.near, self.top, self.moves, piece.box,
            self.best, budget, space.counts, space.point, space.points, space.boxes, space.bounds,
            space.leaves, space.parts,
        )  # fmt: skip
        counts = space.counts
        piece.nodes = int(counts[NODES])
        piece.boxes, piece.bounds = space.boxes[: counts[OPEN]].copy(), space.bounds[: counts[OPEN]].copy()
        if self.points:
            piece.points = space.points[: counts[FOUND]].copy()
        elif counts[FOUND]:
            piece.point = space.point.copy()
        if self.record is not None:
            if counts[LEAVES] > len(space.parts):
                raise RuntimeError("the record of leaves overflows: a node closed more boxes than it has values")
            piece.leaves = space.leaves[: counts[LEAVES]].copy(), space.parts[: counts[LEAVES]].copy()

    def put_back(self, serial: int, piece: Piece) -> None:
        """Enter what came of a piece; hold the lock."""
        del self.active[serial]
        assert piece.boxes is not None
        assert piece.bounds is not None
        for box, bound in zip(piece.boxes, piece.bounds.tolist(), strict=True):
            self.serial += 1
            heapq.heappush(self.heap, (max(bound, piece.bound), self.serial, box))
        self.nodes += piece.nodes
        if self.record is not None and piece.leaves is not None:
            self.record.append(piece.leaves)

    def space(self) -> Space:
        """Allocate memory for a worker."""
        leaves = self.piece_nodes * self.leaves_per_node if self.record is not None else 0
        return Space(len(self.top), self.depth, self.points, leaves)

    def budget(self, left: int | None) -> int:
        """Return the nodes of the next piece: few at first, so that there are boxes for all workers."""
        self.pieces += 1
        nodes = FIRST_NODES if self.pieces <= FIRST_PIECES else self.piece_nodes
        nodes = min(nodes, self.piece_nodes)
        return nodes if left is None else max(1, min(nodes, left))


def small_type(A: Integers, offset: Integers, cost: Integers, top: Integers) -> type[np.signedinteger[Any]]:
    """Return int32 where every reach and every sum of costs fits, else int64."""
    reach = (np.abs(A).astype(np.float64).T @ top.astype(np.float64) + np.abs(offset)).max(initial=0)
    return np.int32 if 4 * reach < INT32_REACH and float(cost.sum()) < INT32_REACH else np.int64


def run(
    tree: Tree,
    threads: int,
    left: Callable[[], int | None],
    note: Callable[[Piece], None],
    stop: Callable[[], bool],
) -> None:
    """Search until the tree is finished or `stop` is true, here with one thread, else in workers.

    Parameters
    ----------
    left : callable
        Returns the nodes that are left, None without a limit.
    note : callable
        Called after every piece, with the lock held.
    stop : callable
        Asked by the calling thread after every piece or a few times in a tenth of a second.
    """
    if threads == 1:
        space = tree.space()
        while not stop() and not tree.finished:
            _one_piece(tree, space, left, note)
        return
    quit_now = threading.Event()
    troubles: list[BaseException] = []
    workers = [
        threading.Thread(target=_work, args=(tree, left, note, quit_now, troubles), daemon=True) for _ in range(threads)
    ]
    for worker in workers:
        worker.start()
    try:
        while any(worker.is_alive() for worker in workers) and not stop():
            with tree.lock:
                if not tree.finished:
                    tree.lock.wait(TICK)
    finally:
        quit_now.set()
        for worker in workers:
            worker.join()
    if troubles:
        raise troubles[0]


def _one_piece(tree: Tree, space: Space, left: Callable[[], int | None], note: Callable[[Piece], None]) -> bool:
    """Take a box, search below it and enter what came of it; return whether there was a box."""
    with tree.lock:
        taken = tree.take()
        if taken is None:
            return False
        budget = tree.budget(left())
    serial, piece = taken
    tree.work(piece, space, budget)
    with tree.lock:
        tree.put_back(serial, piece)
        note(piece)
        tree.lock.notify_all()
    return True


def _work(
    tree: Tree,
    left: Callable[[], int | None],
    note: Callable[[Piece], None],
    quit_now: threading.Event,
    troubles: list[BaseException],
) -> None:
    """Work until the tree is finished; hand what goes wrong to the calling thread."""
    space = tree.space()
    try:
        while not quit_now.is_set() and not tree.finished:
            if not _one_piece(tree, space, left, note):
                with tree.lock:
                    if not tree.finished:
                        tree.lock.wait(TICK)
    except BaseException as trouble:  # noqa: BLE001 - raised again by the caller
        troubles.append(trouble)
        quit_now.set()
