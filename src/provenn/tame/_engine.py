"""The state of a running branch and bound: arrays that the compiled loop fills, and how they grow."""

from fractions import Fraction

import numpy as np
from numba import njit

from provenn.milp import MILP
from provenn.milp.lower import integral_bounds
from provenn.tame._exact import Rationals, best_point, dense, objective_of, slack_of
from provenn.tame._nodes import (
    COUNTERS,
    CURRENT,
    FORCED,
    N_DUALS,
    N_NODES,
    N_OPEN,
    N_POOL,
    PIVOTS,
    PROGRAMS,
    Heap,
    Model,
    Nodes,
    Pool,
    Work,
    empty_nodes,
    load_box,
    pop,
    push,
)
from provenn.tame._refactor import refactor
from provenn.tame._search import (
    DONE,
    FULL,
    INTEGRAL,
    LONGEST_SOLVE,
    PAUSED,
    STUCK,
    explore,
    keep_dual,
    split_whole,
    try_pool,
    unfixed_row,
)
from provenn.tame._simplex import Floats, Tableau, bound_of, duals, minimise, place, sit, slack_basis
from provenn.tame._tree import Tree

__all__ = ["DONE", "PAUSED", "Engine"]
POOL = 64
"""Duals against which every new leaf is tried."""
SLICE = 4_000
"""Pivots between two looks at limits."""
FIRST_CAPACITY = 1024
SLACK = Fraction(1, 10**9)
"""By how much a point may break a bound or the side of a row; its value is then no claim of exactness."""
REFRESH = 20_000
"""Pivots after which the tableau is recomputed."""


class Engine:
    """Solves a model with finite bounds by splits, from nothing or from a tree with open leaves.

    Parameters
    ----------
    milp : MILP
    depth_first : bool
        Take the newest leaf first, not the one with the smallest bound.
    """

    def __init__(self, milp: MILP, depth_first: bool = False) -> None:
        """Start with the root as the only leaf."""
        m, n = milp.A.shape
        self.milp, self.depth_first = milp, depth_first
        self.A = dense(milp)
        lower, upper = integral_bounds(milp)
        boxes = np.concatenate([lower, milp.row_lower]), np.concatenate([upper, milp.row_upper])
        A = milp.A
        self.model = Model(A.indptr.astype(np.int64), A.indices.astype(np.int64), A.data, milp.c, milp.integer, *boxes)
        self.tab: Tableau = slack_basis(self.A, milp.c)
        self.nodes = empty_nodes(FIRST_CAPACITY)
        self.Y = np.zeros((FIRST_CAPACITY, m))
        self.pool = Pool(np.zeros((POOL, n)), np.zeros(POOL), np.zeros(POOL, np.int64), np.zeros(POOL, np.int64))
        self.heap = Heap(np.zeros(FIRST_CAPACITY), np.zeros(FIRST_CAPACITY, dtype=np.int64))
        self.work = Work(boxes[0].copy(), boxes[1].copy(), np.zeros(m), np.zeros(n), np.zeros(2 * n), np.zeros(2 * n))
        self.counters = np.zeros(COUNTERS, dtype=np.int64)
        self.counters[CURRENT] = self.counters[FORCED] = -1
        self.value: Fraction | None = None
        self.x: Rationals | None = None
        self.slack = Fraction(0)
        worst = float(np.maximum(milp.c * lower, milp.c * upper).sum())
        self.cutoff = worst + 0.1 * abs(worst) + 1.0
        self.nodes.parent[0] = self.nodes.column[0] = self.nodes.left[0] = self.nodes.dual[0] = -1
        self.nodes.bound[0] = float(np.minimum(milp.c * lower, milp.c * upper).sum())
        self.counters[N_NODES] = 1
        self._push(0)
        self._tried = self._refreshed = 0

    @property
    def n_nodes(self) -> int:
        """Nodes so far."""
        return int(self.counters[N_NODES])

    @property
    def pivots(self) -> int:
        """Basis exchanges so far."""
        return int(self.counters[PIVOTS])

    @property
    def programs(self) -> int:
        """Linear programs solved so far."""
        return int(self.counters[PROGRAMS])

    @property
    def finished(self) -> bool:
        """Whether no leaf is open."""
        return bool(self.counters[CURRENT] < 0 and self.counters[N_OPEN] == 0)

    @property
    def bound(self) -> float:
        """Smallest bound of all leaves, in floats."""
        leaves = self.nodes.left[: self.n_nodes] < 0
        return float(self.nodes.bound[: self.n_nodes][leaves].min()) + self.milp.offset

    def adopt(self, tree: Tree, Y: Floats, bounds: Floats, cutoff: float) -> None:
        """Continue a tree whose leaves have these bounds: those below the cutoff are opened again.

        Parameters
        ----------
        tree : Tree
        Y : ndarray of shape (p, m)
            Its duals.
        bounds : ndarray of shape (N,)
            Bound of each node, offset excluded.
        cutoff : float
        """
        N, p = tree.n_nodes, len(Y)
        self._grow(N + FIRST_CAPACITY, p + FIRST_CAPACITY)
        for name in ("parent", "column", "left", "split", "dual"):
            getattr(self.nodes, name)[:N] = getattr(tree, name)
        self.nodes.bound[:N], self.Y[:p] = bounds, Y
        self.counters[N_NODES], self.counters[N_DUALS], self.counters[N_OPEN] = N, p, 0
        for node in tree.leaves[bounds[tree.leaves] < cutoff]:
            self.nodes.dual[node] = -1
            self._push(int(node))

    def _push(self, node: int) -> None:
        size = int(self.counters[N_OPEN])
        push(self.heap.key, self.heap.node, size, float(self.nodes.bound[node]), node)
        self.counters[N_OPEN] += 1

    def _grow(self, nodes: int, duals_: int) -> None:
        self.nodes = Nodes(*(_longer(part, nodes) for part in self.nodes))
        self.heap = Heap(*(_longer(part, nodes) for part in self.heap))
        self.Y = _longer(self.Y, duals_)

    def offer(self, integers: Floats) -> bool:
        """Take a point with these integers as incumbent if it is better; return whether it was taken.

        A point that is feasible up to rounding counts where it is better by more than rounding.
        """
        x = best_point(self.milp, integers)
        if x is None:
            return False
        value, slack = objective_of(self.milp, x), slack_of(self.milp, x)
        if slack > SLACK or not self._better(value, slack):
            return False
        self.value, self.x, self.slack = value, x, slack
        goal = float(value) - self.milp.offset
        self.cutoff = goal - 1e-9 * (1 + abs(goal))
        return True

    def _better(self, value: Fraction, slack: Fraction) -> bool:
        if self.value is None:
            return True
        apart = SLACK * (1 + abs(self.value)) * ((slack > 0) - (self.slack > 0))
        return value + apart < self.value

    def step(self, most_nodes: int | None = None) -> bool:
        """Work for one slice; return whether work is left."""
        if most_nodes is not None and self.n_nodes + 2 > most_nodes:
            return False
        if self.pivots - self._refreshed > REFRESH:
            self._refresh()
        self._make_room(most_nodes)
        code = explore(
            self.tab, self.model, self.nodes, self.Y, self.pool, self.heap, self.work, self.counters,
            self.cutoff, SLICE, self.depth_first,
        )  # fmt: skip
        if code == INTEGRAL:
            self._integral()
        elif code == STUCK:
            self._stuck()
        elif code in (DONE, PAUSED, FULL):
            self._tried = 0
        return code != DONE

    def _make_room(self, most_nodes: int | None) -> None:
        size = len(self.nodes.parent)
        wanted = 2 * size if self.n_nodes + 2 > size else size
        if most_nodes is not None:
            wanted = max(min(wanted, most_nodes), self.n_nodes)
        rows = len(self.Y)
        if wanted != size or self.counters[N_DUALS] + 3 > rows:
            self._grow(wanted, 2 * rows if self.counters[N_DUALS] + 3 > rows else rows)

    def _integral(self) -> None:
        """Take the point of the node at hand, or have the node split although it is whole."""
        x = np.zeros(sum(self.A.shape))
        x[self.tab.basic], x[self.tab.nonbasic] = self.tab.value, self.tab.at
        if not self.offer(x[: self.milp.n_columns]):
            self.counters[FORCED] = self.counters[CURRENT]

    def _refresh(self) -> None:
        """Recompute the tableau, from the slack basis where the basis is singular."""
        self._refreshed = self.pivots
        try:
            refactor(self.tab, self.A, self.milp.c)
        except np.linalg.LinAlgError:
            self.tab = slack_basis(self.A, self.milp.c)
        sit(self.tab.nonbasic, self.tab.d, self.tab.at, self.work.lower, self.work.upper)
        place(self.tab.T, self.tab.at, self.tab.value)

    def _stuck(self) -> None:
        """Recompute the tableau, then start it afresh, then give the node up: split it or keep its weak bound."""
        self._tried += 1
        if self._tried == 2:
            self.tab = slack_basis(self.A, self.milp.c)
        self._refresh()
        if self._tried > 2:
            self._tried = 0
            node = int(self.counters[CURRENT])
            k = unfixed_row(self.tab, self.model, self.work)
            self.counters[CURRENT] = -1
            if k >= 0:
                split_whole(self.nodes, self.heap, self.tab, self.work, self.counters, node, k)
            else:
                push(self.heap.key, self.heap.node, int(self.counters[N_OPEN]), -np.inf, node)
                self.counters[N_OPEN] += 1
                self._settle(1)

    def settle(self) -> None:
        """Give every open leaf a dual: that of its program, solved as far as floats go."""
        if self.counters[CURRENT] >= 0:
            self._push(int(self.counters[CURRENT]))
            self.counters[CURRENT] = -1
        self._settle(int(self.counters[N_OPEN]))

    def _settle(self, count: int) -> None:
        """Give duals to the open leaves with the smallest keys."""
        need = int(self.counters[N_DUALS]) + count
        if need > len(self.Y):
            self._grow(len(self.nodes.parent), need)
        settle_open(
            self.tab, self.model, self.nodes, self.Y, self.pool, self.heap, self.work, self.counters, count
        )  # fmt: skip

    def tree(self) -> Tree:
        """Return the tree; every leaf must have its dual."""
        N = self.n_nodes
        dual = np.where(self.nodes.left[:N] < 0, self.nodes.dual[:N], -1)
        return Tree(self.nodes.column[:N].copy(), self.nodes.left[:N].copy(), self.nodes.split[:N].copy(), dual)

    def duals(self) -> Floats:
        """Return the duals so far."""
        return self.Y[: self.counters[N_DUALS]].copy()


def _longer(part: np.ndarray, size: int) -> np.ndarray:
    """Copy an array into one of another length along its first axis."""
    longer = np.zeros((size, *part.shape[1:]), dtype=part.dtype)
    kept = min(size, len(part))
    longer[:kept] = part[:kept]
    return longer


@njit(cache=True, nogil=True)
def settle_open(
    tab: Tableau,
    model: Model,
    nodes: Nodes,
    Y: Floats,
    pool: Pool,
    heap: Heap,
    work: Work,
    counters: np.ndarray,
    count: int,
) -> None:
    """Solve the programs of open leaves without a cutoff; whatever basis results, or a better known dual, closes it."""
    for _ in range(count):
        node = pop(heap.key, heap.node, counters[N_OPEN])
        counters[N_OPEN] -= 1
        load_box(
            node, nodes.parent, nodes.column, nodes.left, nodes.split,
            model.lower, model.upper, work.lower, work.upper,
        )  # fmt: skip
        sit(tab.nonbasic, tab.d, tab.at, work.lower, work.upper)
        place(tab.T, tab.at, tab.value)
        _, row, sign, t, pivots = minimise(tab, work.lower, work.upper, 1e300, LONGEST_SOLVE)
        counters[PIVOTS] += pivots
        counters[PROGRAMS] += 1
        step = 0.0 if t > 1e200 else t
        duals(tab.T, tab.basic, tab.nonbasic, tab.d, row, sign, step, work.y)
        g = bound_of(work.y, model.indptr, model.indices, model.data, model.c, work.lower, work.upper, work.reduced)
        known, slot = try_pool(pool.reduced, pool.rows, counters[N_POOL], work.lower, work.upper, 1e300)
        if known > g:
            nodes.bound[node], nodes.dual[node] = known, pool.dual[slot]
            continue
        nodes.bound[node] = g
        nodes.dual[node] = keep_dual(Y, work.y, pool, work.reduced, g, work.lower, work.upper, counters)
