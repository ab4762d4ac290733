"""The blocks of the alternation: what improves the first layer, or the later ones, with the other side fixed."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from provenn.bounds import agreement as engine
from provenn.errors import InputError
from provenn.formulations import Encoding, Problem
from provenn.losses.max_correct import MaxCorrect
from provenn.milp import Event, Limits, Solution
from provenn.milp.centre import centre
from provenn.milp.restrict import Restricted
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.search.coordinate_search import improve, supported, unit_costs
from provenn.solvers import Solver
from provenn.solvers._base import default_for
from provenn.status import Status
from provenn.trainers._alternating_model import first_layer_model, later_layers_model
from provenn.trainers._base import Record
from provenn.trainers._block_outputs import best_outputs, has_convex_outputs
from provenn.trainers.agreement import Agreement, prove
from provenn.trainers.exact import rounding_of

FEW_INPUTS = 16
BLOCK_NODES = 2_000
REFINEMENTS = 3
SHORTEST = 0.3
"""A solver gets no less time than this, in seconds."""
SAFE_COST = 2.0**40


@dataclass
class Sides:
    """Improves one side of a network at a time; every result is checked by the exact objective.

    Parameters
    ----------
    record : Record
        Its problem is trained, and it hears of every network.
    limits : Limits
    solver : Solver or None
        None takes the one that proves such models fastest.
    block_seconds : float
        Time limit of a solver or an exact engine.
    solvable : bool
        Whether the models are small enough for a solver.
    rng : Generator
    used : int
        Visits of the search and nodes of solvers so far.
    """

    record: Record
    limits: Limits
    solver: Solver | None
    block_seconds: float
    solvable: bool
    rng: np.random.Generator
    used: int = 0

    @property
    def problem(self) -> Problem:
        """What is trained."""
        return self.record.problem

    @property
    def over(self) -> bool:
        """Whether a limit is reached or nothing better is left."""
        nodes, floor = self.limits.nodes, self.problem.floor
        best = floor is not None and self.record.loss is not None and self.record.loss <= floor
        return best or self.record.elapsed >= self.limits.seconds or (nodes is not None and self.used >= nodes)

    def searched(self, network: IntegerNetwork, layers: tuple[int, ...], visits: int) -> IntegerNetwork:
        """Improve some layers by the coordinate search, with so many visits of every unit."""
        visits *= sum(self.problem.architecture.layers[i].n_out for i in layers)
        work = visits if self.limits.nodes is None else min(visits, self.limits.nodes - self.used)
        self.used += work

        def stopped() -> bool:
            return self.record.elapsed >= self.limits.seconds

        return improve(
            self.problem, network, self.rng, work=work, layers=layers, stopped=stopped, offer=self.record.offer
        )

    def solved(self, network: IntegerNetwork, first: bool) -> IntegerNetwork:
        """Improve one side by the exact method that suits it."""
        if first:
            network = self._units(network) if self._units_apart() else network
        elif not self.problem.architecture.layers[1].continuous and has_convex_outputs(self.problem):
            if len(self.problem.architecture.hidden) == 1:
                return self._better(network, best_outputs(self.problem, network, self._short())[0])
        elif (flat := _flat(self.problem, network)) is not None and Agreement.obstacle(flat) is None:
            return self._one_sign(network, flat)
        late = self.limits.seconds - self.record.elapsed < SHORTEST
        if self.over or late or not self.solvable or self.problem.value(network) is None:
            return network
        return self._by_model(network, first_layer_model if first else later_layers_model)

    def _short(self) -> Limits:
        """Return the limits of one block."""
        nodes = None if self.limits.nodes is None else max(0, min(BLOCK_NODES, self.limits.nodes - self.used))
        seconds = self.limits.seconds - self.record.elapsed
        if nodes is None:
            seconds = min(seconds, self.block_seconds)
        return replace(self.limits, seconds=max(0.0, seconds), nodes=nodes, seed=int(self.rng.integers(2**31 - 1)))

    def _better(self, network: IntegerNetwork, other: IntegerNetwork) -> IntegerNetwork:
        """Return the better of two networks by exact objective, the first on ties."""
        value, new = self.problem.value(network), self.record.offer(other)
        return network if new is None or (value is not None and value <= new) else other

    def _units_apart(self) -> bool:
        """Whether the agreement engine finds the best unit given the others."""
        first, data = self.problem.architecture.layers[0], self.problem.dataset
        few = int(np.count_nonzero(data.live)) <= FEW_INPUTS
        return not first.continuous and few and supported(self.problem) and not self.problem.constraints

    def _units(self, network: IntegerNetwork) -> IntegerNetwork:
        """Replace one unit of the first layer after the other by the best one, all else the same."""
        count = self.problem.architecture.layers[0].n_out
        for j in range(count):
            if self.over:
                break
            short = self._short()
            network = self._unit(network, j, replace(short, seconds=short.seconds / count))
        return network

    def _unit(self, network: IntegerNetwork, j: int, limits: Limits) -> IntegerNetwork:
        dense, data = self.problem.architecture.layers[0], self.problem.dataset
        quiet, fires = unit_costs(self.problem, network, 0, j)
        gain = np.clip(quiet - fires, -SAFE_COST, SAFE_COST)
        edge = np.where(data.live | (not dense.weights.has_zero), 1, 0)
        part = engine.AgreementProblem(
            data.X, np.where(gain > 0, 1, -1), np.rint(np.abs(gain)).astype(np.int64), data.scale,
            dense.weights.low * edge, dense.weights.high * edge, dense.weights.step,
            None if dense.bias is None else (dense.bias.low, dense.bias.high, dense.bias.step),
        )  # fmt: skip
        start = network.weights[0][:, j].copy(), int(network.biases[0][j])
        found = engine.minimise(part, limits, start)
        self.used += found.nodes
        if found.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if found.w is None:
            return network
        W, b = network.weights[0].copy(), network.biases[0].copy()
        W[:, j], b[j] = found.w, found.b
        changed = replace(network, weights=(W, *network.weights[1:]), biases=(b, *network.biases[1:]))
        return self._better(network, changed)

    def _one_sign(self, network: IntegerNetwork, flat: Problem) -> IntegerNetwork:
        """Minimise the errors of an output layer whose prediction is one sign."""
        record = Record(flat)
        record.offer(IntegerNetwork(flat.architecture, network.weights[1:], network.biases[1:]))
        proof = prove(record, self._short())
        self.used += proof.nodes
        if proof.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        assert record.network is not None
        weights = (network.weights[0], *record.network.weights)
        return self._better(
            network, replace(network, weights=weights, biases=(network.biases[0], *record.network.biases))
        )

    def _by_model(
        self, network: IntegerNetwork, restricted: Callable[[Problem, Encoding, np.ndarray], Restricted]
    ) -> IntegerNetwork:
        """Solve the model of one side from the network; a relaxed one again where it underrates what it found."""
        exact_at = [network]
        for _ in range(REFINEMENTS):
            encoding = self.problem.encode(exact_at)
            x = encoding.encode(network)
            small = restricted(self.problem, encoding, x)
            if not small.milp.n_columns:
                break
            found, solution = self._solve(encoding, small, x)
            before, network = network, network if found is None else self._better(network, found)
            if not encoding.relaxed or found is None or network is not before or solution.x is None or self.over:
                break
            exact_at.append(found)
        return network

    def _solve(
        self, encoding: Encoding, small: Restricted, x: np.ndarray
    ) -> tuple[IntegerNetwork | None, Solution]:  # fmt: skip
        """Return the best network that a solver finds in a restricted model, and its claim."""
        solver = self.solver or default_for(small.milp)
        best: list[tuple[int, IntegerNetwork]] = []

        def on_event(event: Event) -> None:
            if event.x is not None:
                self._offer(encoding, small.lift(event.x), best)

        solution = solver.solve(small.milp, self._short(), x[small.columns], on_event)
        self.used += solution.nodes
        if solution.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if solution.x is not None:
            self._hear(encoding, small, solution.x, solution.objective, best)
        return (min(best, key=lambda entry: entry[0])[1] if best else None), solution

    def _hear(
        self, encoding: Encoding, small: Restricted, y: np.ndarray, claim: float | None,
        best: list[tuple[int, IntegerNetwork]],
    ) -> None:  # fmt: skip
        """Offer the network of a point; one that lost activations by rounding moves to their middle first."""
        value = self._offer(encoding, small.lift(y), best)
        short = value is None or (claim is not None and value > claim + 1e-4 + 1e-6 * abs(claim))
        if self.problem.architecture.continuous and short:
            middle = centre(small.milp, y, rounding_of(self.problem))
            if middle is not None:
                self._offer(encoding, small.lift(middle), best)

    def _offer(self, encoding: Encoding, x: np.ndarray, best: list[tuple[int, IntegerNetwork]]) -> int | None:
        try:
            network = encoding.decode(x)
        except InputError:
            return None
        value = self.record.offer(network)
        if value is not None:
            best.append((value, network))
        return value


def _flat(problem: Problem, network: IntegerNetwork) -> Problem | None:
    """Return the output layer as a problem on the activations, for errors, one hidden layer and integer weights."""
    shape, data = problem.architecture, problem.dataset
    fits = isinstance(problem.loss, MaxCorrect) and len(shape.hidden) == 1 and not problem.constraints
    if not fits or shape.layers[1].continuous:
        return None
    h = network.trace(data.X).activations[0]
    merged = Dataset.merge(h, data.y, data.multiplicity, classes=tuple(range(data.n_classes)))
    return Problem(Architecture((shape.layers[1],)), merged, problem.loss)
