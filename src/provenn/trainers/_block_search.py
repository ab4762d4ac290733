"""The loop of the large neighbourhood search."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError
from provenn.formulations import Encoding
from provenn.losses import SeparableLoss
from provenn.milp import Event, Limits, Solution
from provenn.milp.restrict import Restricted
from provenn.network import IntegerNetwork
from provenn.search.blocks import Arm, Arms, Block, Space, count_variants, variants
from provenn.solvers import Solver
from provenn.solvers._base import default_for
from provenn.status import Status
from provenn.trainers._base import Record, whole_bound
from provenn.trainers._block_model import BlockModel, level_ground
from provenn.trainers._block_outputs import best_outputs, has_convex_outputs

DRAWS = 20
STUCK = 6
WALK = 0.25
SHORTEST = 0.3
FIRST_SIZE = 40
MOST_SUBSETS = 2000
MOST_FAILURES = 3
PARAMETERS = re.compile(r"[Wb]\d+")


class BlockSearch:
    """Solves blocks until a limit is met or the problem is proven; see `provenn.trainers.blocks.Blocks`.

    Parameters
    ----------
    record : Record
        Begun, with a network where one is known.
    limits : Limits
    solver : Solver or None
    block_seconds : float
    kinds : tuple of str
    """

    def __init__(
        self, record: Record, limits: Limits, solver: Solver | None, block_seconds: float, kinds: tuple[str, ...]
    ) -> None:
        problem = record.problem
        self.record, self.limits, self.block_seconds, self.problem = record, limits, block_seconds, problem
        self.nodes, self.message, self.prover = 0, "", None if solver is None else _name(solver)
        self._given = solver
        self._rng = np.random.default_rng(limits.seed)
        self._space = Space.of(problem.architecture, problem.dataset.live)
        largest = {
            kind: self._space.largest(kind) for kind in kinds if problem.architecture.hidden or kind == "neurons"
        }
        self._arms = Arms({kind: Arm(min(FIRST_SIZE, most), most) for kind, most in largest.items()})
        self._exact_at: list[IntegerNetwork] = []
        self._proven: list[Block] = []
        self._idle = self._failures = 0
        self._stop: Status | None = None
        self._least: int | None = None
        self._network: IntegerNetwork | None = None
        self._home: IntegerNetwork | None = None
        self._home_claim = ""

    def run(self) -> Status:
        """Search; returns why it stopped, with the best network and bound in the record."""
        self.value, network = self.record.loss, self.record.network
        self._exact_at += [] if network is None else [network]
        self._build(network)
        while (stop := self._reason()) is None:
            self._step()
        if stop is not Status.OPTIMAL and not self.message:
            self.message = self._claim() if self._network is self._home else self._home_claim
        return stop

    def _build(self, network: IntegerNetwork | None) -> None:
        """Build the MIP, exact at the networks at which that matters."""
        encoding = self.problem.encode(self._exact_at)
        self._encoding, self._model = encoding, BlockModel(self.problem, encoding)
        self._solver = self._given or default_for(encoding.milp)
        parts = [columns for name, columns in encoding.milp.blocks.items() if PARAMETERS.fullmatch(name)]
        self._parameters = np.zeros(encoding.milp.n_columns, dtype=np.int64)
        self._parameters[np.concatenate([columns.ravel() for columns in parts])] = 1
        self.prover = _name(self._solver)
        if network is not None:
            self._move(network)

        milp = encoding.milp
        c, low, high = (part[milp.c != 0] for part in (milp.c, milp.col_lower, milp.col_upper))
        least = np.minimum(c * low, c * high).sum() + milp.offset
        self._least = whole_bound(float(least), exact=False)
        began = time.perf_counter()
        if network is not None:
            self.problem.value(network)
        self._evaluation = time.perf_counter() - began

    def _move(self, network: IntegerNetwork) -> None:
        """Make a network the current one, with hidden neurons in the order of the MIP."""
        before = self._network
        self._x = self._encoding.encode(network)
        self._network = self._encoding.decode(self._x)
        if before is not None and before.equals(self._network):
            self._network = before
        else:
            self._proven = []
            self._arms.reopen()
        if network is self.record.network:
            self._home, self._home_claim = self._network, ""

    @property
    def _current(self) -> IntegerNetwork:
        assert self._network is not None
        return self._network

    def _reason(self) -> Status | None:
        """Why to stop now, None to go on."""
        record = self.record
        if record.loss is not None and self._least is not None and record.loss <= self._least:
            self.prover = "range of the objective (provenn)"
            record.raise_bound(self._least)
        if self._stop is not None:
            return self._stop
        if record.loss is not None and record.bound is not None and record.bound >= record.loss:
            return Status.OPTIMAL
        if self.limits.nodes is not None and self.nodes >= self.limits.nodes:
            return Status.NODE_LIMIT
        return Status.TIME_LIMIT if self._left < SHORTEST else None

    @property
    def _left(self) -> float:
        return self.limits.seconds - self.record.seconds

    def _limits(self, seconds: float) -> Limits:
        """Return the limits of one block."""
        nodes = None if self.limits.nodes is None else self.limits.nodes - self.nodes
        seed = int(self._rng.integers(2**31 - 1))
        return replace(self.limits, seconds=min(seconds, max(0.0, self._left)), nodes=nodes, seed=seed)

    def _step(self) -> None:
        kind = None if self.value is None else self._arms.choose(self._rng)
        if kind is None:
            self._solve_all(float("inf"))
        elif kind == "held":
            self._solve_held(kind)
        elif self._idle >= STUCK and self._rng.random() < WALK:
            self._walk(kind)
        elif (block := self._fresh(kind)) is None:
            self._arms.grow(kind)
        else:
            self._solve_block(kind, block)

    def _fresh(self, kind: str) -> Block | None:
        """Draw a block that is not known to be optimal; None when there seem to be none of this size."""
        size = int(self._arms.arms[kind].size)
        for _ in range(DRAWS):
            block = self._space.draw(kind, size, self._rng)
            if not any(block.within(known) for known in self._proven):
                return block
        return None

    def _solve_block(self, kind: str, block: Block) -> None:
        arm, began, before, network = self._arms.arms[kind], self.record.seconds, self.value, self._current
        seconds = self.block_seconds * arm.patience
        if self._quick(block, seconds):
            proven = self._enumerate(block)
        elif self._space.whole.within(block):
            proven = self._solve_all(max(seconds, self._left / 4))
        else:
            small = self._model.restrict(self._x, network, block)
            if not small.milp.c.any():
                self._proven.append(block)
                return
            proven = self._improve(small, self._limits(seconds))
        if proven and self._current is network:
            self._proven = [known for known in self._proven if not known.within(block)] + [block]
        self._learn(kind, before, began, proven, block.size)

    def _quick(self, block: Block, seconds: float) -> bool:
        """Whether all networks of a block can be evaluated in less time than a solver takes to start."""
        return count_variants(self.problem.architecture, block) * self._evaluation < min(seconds / 2, self._left)

    def _enumerate(self, block: Block) -> bool:
        """Evaluate every network of a block; a proof without a solver, and of the problem if it is the whole."""
        best = self._current
        for network in variants(self._current, block):
            value = self.problem.value(network)
            if value is not None and self.value is not None and value < self.value and self._offer_apart(network):
                best = network
        if best is not self._current:
            self._move(best)
        if self._space.whole.within(block):
            self.record.raise_bound(self.value)
            self.prover = "enumeration (provenn)"
        return True

    def _improve(self, small: Restricted, limits: Limits) -> bool:
        """Solve a block from the current network and move to what it finds; returns whether it was proven."""
        start, encoding = self._x[small.columns], self._encoding

        def on_event(event: Event) -> None:
            if event.x is not None:
                self._offer(_decoded(encoding, small.lift(event.x)))

        solution = self._solver.solve(small.milp, limits, start, on_event)
        return self._take(solution, None if solution.x is None else small.lift(solution.x))

    def _take(self, solution: Solution, x: NDArray[np.float64] | None) -> bool:
        """Judge a solver's answer in exact integers; returns whether the block is proven for the current network."""
        self.nodes += solution.nodes
        if solution.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        before = self.value
        network = None if x is None else _decoded(self._encoding, x)
        value = self._offer(network)
        failed = solution.status in (Status.CRASHED, Status.INFEASIBLE) or (x is not None and value is None)
        if network is not None and value is not None and solution.objective is not None:
            missed = value - solution.objective > 1e-4 + 1e-7 * abs(value)
            failed |= missed and not self._encoding.relaxed and solution.status is Status.OPTIMAL
            if missed and self._encoding.relaxed and before is not None and value >= before:
                self._refine(network)
        self._failures = self._failures + 1 if failed else 0
        if self._failures >= MOST_FAILURES:
            self._stop = Status.CRASHED if solution.status is Status.CRASHED else Status.REJECTED
            self.message = solution.message or f"{self.prover} gave {MOST_FAILURES} answers that exact checks refute"
        bound = whole_bound(solution.bound, self._solver.exact)
        return not failed and bound is not None and self.value is not None and bound >= self.value

    def _refine(self, network: IntegerNetwork) -> None:
        """Make the MIP exact at a network whose loss it underrates."""
        if not any(network.equals(known) for known in self._exact_at):
            self._exact_at.append(network)
            self._build(self._current)

    def _offer(self, network: IntegerNetwork | None) -> int | None:
        """Move to a network that is better or as good."""
        if network is None:
            return None
        value = self.record.offer(network)
        if value is not None and (self.value is None or value <= self.value):
            self.value = value
            self._move(network)
        return value

    def _solve_all(self, seconds: float) -> bool:
        """Solve the whole MIP, whose bound is a bound of the problem; returns whether it is proven."""
        encoding, record = self._encoding, self.record

        def on_event(event: Event) -> None:
            if event.x is not None:
                self._offer(_decoded(encoding, event.x))
            record.raise_bound(whole_bound(event.bound, self._solver.exact))

        start = None if self.value is None else self._x
        solution = self._solver.solve(encoding.milp, self._limits(seconds), start, on_event)
        if solution.status is Status.INFEASIBLE and self.value is None:
            self._stop = Status.INFEASIBLE
            return True
        proven = self._take(solution, solution.x)
        if solution.status is not Status.INFEASIBLE:
            record.raise_bound(whole_bound(solution.bound, self._solver.exact))
        return proven

    def _solve_held(self, kind: str) -> None:
        """Solve every neuron by itself with all activations held, several at a time, and join what they found."""
        began, before, base = self.record.seconds, self.value, self._current
        if has_convex_outputs(self.problem):
            network, proven = best_outputs(self.problem, base, self._limits(self.block_seconds))
            self._offer(network)
            self._learn(kind, before, began, proven)
            return
        blocks, smalls = self._held()
        if all(self._quick(block, self.block_seconds) for block in blocks):
            for block in blocks:
                self._enumerate(block)
            self._learn(kind, before, began, True)
            return
        limits = self._limits(self.block_seconds * self._arms.arms[kind].patience)
        workers = min(limits.threads, len(smalls))
        alone = replace(limits, threads=limits.threads // workers, seconds=limits.seconds * workers / len(smalls))
        solver, x = self._solver, self._x

        stop = threading.Event()

        def solve(small: Restricted) -> Solution:
            return solver.solve(small.milp, alone, x[small.columns], stopped=stop.is_set)

        with ThreadPoolExecutor(workers) as pool:
            try:
                solutions = list(pool.map(solve, smalls))
            finally:
                stop.set()
        if any(solution.status is Status.INTERRUPTED for solution in solutions):
            raise KeyboardInterrupt
        proven = True
        for block, small, solution in zip(blocks, smalls, solutions, strict=True):
            self.nodes += solution.nodes
            found = None if solution.x is None else _decoded(self._encoding, small.lift(solution.x))
            joined = base if found is None else _joined(base, found, block)
            base = joined if self._offer_apart(joined) else base
            bound = whole_bound(solution.bound, solver.exact)
            proven &= bound is not None and before is not None and bound >= before
        self._move(base)
        self._learn(kind, before, began, proven)

    def _offer_apart(self, network: IntegerNetwork) -> bool:
        """Offer a network without moving to it; returns whether it is as good as the current one."""
        value = self.record.offer(network)
        if value is None or self.value is None or value > self.value:
            return False
        self.value = value
        return True

    def _learn(self, kind: str, before: int | None, began: float, proven: bool, size: float = float("inf")) -> None:
        gain = _gain(before, self.value)
        self._idle = 0 if gain else self._idle + 1
        self._arms.learn(kind, gain, self.record.seconds - began, proven, size)

    def _held(self) -> tuple[list[Block], list[Restricted]]:
        """Return the blocks of single neurons whose change has a price, with their models."""
        blocks = self._space.held(isinstance(self.problem.loss, SeparableLoss))
        smalls = [self._model.restrict(self._x, self._current, block) for block in blocks]
        priced = [pair for pair in zip(blocks, smalls, strict=True) if pair[1].milp.c.any()]
        return [block for block, _ in priced], [small for _, small in priced]

    def _walk(self, kind: str) -> None:
        """Move over level ground: the random cheapest network of a block among those that are not worse."""
        began = self.record.seconds
        block = self._space.draw(kind, int(self._arms.arms[kind].size), self._rng)
        small = self._model.restrict(self._x, self._current, block)
        costs = self._rng.integers(-1, 2, small.milp.n_columns) * self._parameters[small.columns]
        if not costs.any():
            return
        before, y = self.value, self._x[small.columns]
        if self._current is self._home:
            self._home_claim = self._claim()
        solution = self._solver.solve(level_ground(small.milp, y, costs), self._limits(self.block_seconds), y)
        if solution.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        self.nodes += solution.nodes
        if solution.x is not None:
            self._offer(_decoded(self._encoding, small.lift(solution.x)))
        if _gain(before, self.value):
            self._learn(kind, before, began, False)

    def _claim(self) -> str:
        """Say how far the current network is proven to be locally optimal."""
        units = self._space.units
        most = 0
        for count in range(1, len(units) + 1):
            if comb(len(units), count) > MOST_SUBSETS:
                break
            blocks = (self._space.neurons(list(chosen)) for chosen in combinations(units, count))
            if not all(any(block.within(known) for known in self._proven) for block in blocks):
                break
            most = count
        if not most:
            return ""
        what = "neuron" if most == 1 else f"{most} neurons"
        return f"proven locally optimal: no change of any {what} with their outgoing weights improves it"


def _gain(before: int | None, after: int | None) -> float:
    """Improvement as a share of the objective."""
    if before is None or after is None:
        return 0.0
    return (before - after) / max(1, abs(before))


def _name(solver: Solver) -> str:
    return f"{type(solver).__name__.lower()} {solver.version() or ''}".strip()


def _decoded(encoding: Encoding, x: NDArray[np.float64]) -> IntegerNetwork | None:
    """Decode a solver's point; None when its weights are not in their domains."""
    try:
        return encoding.decode(x)
    except InputError:
        return None


def _joined(base: IntegerNetwork, found: IntegerNetwork, block: Block) -> IntegerNetwork:
    """Take the parameters of a block from one network and the others from another."""
    weights = (
        np.where(mask, new, old) for mask, new, old in zip(block.weights, found.weights, base.weights, strict=True)
    )
    biases = (np.where(mask, new, old) for mask, new, old in zip(block.biases, found.biases, base.biases, strict=True))
    return replace(base, weights=tuple(weights), biases=tuple(biases))
