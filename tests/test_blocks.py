"""Blocks: what can change in one is known, its model is exact, and the search built on it is honest."""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pytest

from provenn.errors import CapabilityError, InputError
from provenn.formulations import Problem
from provenn.formulations._skeleton import Skeleton
from provenn.formulations.sparsity import Sparsity
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.max_margin import MaxMargin
from provenn.losses.min_hinge import MinHinge
from provenn.losses.min_weight import MinWeight
from provenn.milp import Limits, Solution
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.search.blocks import Arm, Arms, Space, count_variants, reach, variants
from provenn.solvers import Solver
from provenn.status import Status
from provenn.testing.toys import best_value, count_networks, domains, losses, random_network, random_problem
from provenn.trainers._base import Record
from provenn.trainers._block_model import BlockModel
from provenn.trainers._block_outputs import best_outputs, has_convex_outputs
from provenn.trainers._block_search import BlockSearch
from provenn.trainers.blocks import Blocks

XOR = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])


def allowed(network, block, X):
    """Every network of the block, by enumeration."""
    before = network.trace(X).activations
    for changed in variants(network, block):
        if not block.hold or all(map(np.array_equal, changed.trace(X).activations, before)):
            yield changed


def small_blocks(problem, rng, most=250):
    """Blocks of every kind that have few enough variants, and the held ones."""
    space = Space.of(problem.architecture, problem.dataset.live)
    kinds = ("neurons", "early", "features") if problem.architecture.hidden else ("neurons",)
    blocks = [space.draw(kind, size, rng) for kind in kinds for size in (1, 4)]
    blocks += space.held(apart=False) + space.held(apart=True)
    return [block for block in blocks if block.size and count_variants(problem.architecture, block) <= most]


@pytest.mark.parametrize("hidden", [(), (2,), (2, 2)])
def test_reach_contains_everything_a_block_can_do(hidden):
    rng = np.random.default_rng(len(hidden))
    seen = 0
    for domain in domains() * 3:
        problem = random_problem(rng, MaxCorrect(), hidden, domain, steps=0.5)
        network = random_network(rng, problem)
        for block in small_blocks(problem, rng):
            known = reach(network, problem.dataset.X, block)
            for changed in allowed(network, block, problem.dataset.X):
                trace = changed.trace(problem.dataset.X)
                for low, high, a in zip(known.low, known.high, trace.preactivations, strict=True):
                    assert np.all((low <= a) & (a <= high))
                for units, before, h in zip(known.units, known.activations, trace.activations, strict=True):
                    assert np.array_equal(h[~units], before[~units])
                seen += 1
    assert seen > 500


@pytest.mark.parametrize("steps", [0.0, 0.7])
@pytest.mark.parametrize("loss", losses(), ids=repr)
def test_the_model_of_a_block_has_the_best_network_of_the_block(loss, steps):
    rng = np.random.default_rng(3)
    solver, solved = Solver.create("cpsat"), 0
    for attempt in range(400):
        hidden = ((2,), (2, 2), ())[attempt % 3]
        problem = random_problem(rng, loss, hidden, domains()[attempt % 2], n=5, d=2, steps=steps)
        if problem is None or len(set(problem.dataset.y)) < problem.dataset.n_classes:
            continue
        drawn = (random_network(rng, problem) for _ in range(200 if loss.hard else 1))
        network = next((network for network in drawn if problem.value(network) is not None), None)
        if network is None:
            continue
        encoding = problem.encode([network])
        if encoding.relaxed:
            continue
        model, x = BlockModel(problem, encoding), encoding.encode(network)
        current = encoding.decode(x)
        blocks = small_blocks(problem, rng)
        block = blocks[int(rng.integers(len(blocks)))] if blocks else None
        if block is None:
            continue
        small = model.restrict(x, current, block)
        start = x[small.columns]
        assert small.milp.violation(start) == 0
        assert np.array_equal(small.lift(start), x)
        assert small.milp.objective(start) == problem.value(network)
        best = min(v for v in map(problem.value, allowed(current, block, problem.dataset.X)) if v is not None)
        solution = solver.solve(small.milp)
        assert solution.objective == best
        assert problem.value(encoding.decode(small.lift(solution.x))) == best
        solved += 1
        if solved == 2:
            break
    assert solved == 2


@pytest.mark.parametrize("enumerates", [False, True])
def test_neurons_that_keep_their_activations_all_find_their_cheapest_weights(enumerates, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (12, 4))
    problem = Problem(Architecture.build(4, 2, (3,)), Dataset.merge(X, X[:, 0] | X[:, 1]), MinWeight())
    W0 = np.array([[1, 0, 1], [1, 0, 0], [0, 1, 0], [0, 1, -1]])
    start = IntegerNetwork.of(problem.architecture, [W0, [[1], [0], [0]]], [[-1, 1, -1], [0]])
    before = problem.value(start)
    record = Record(problem)
    record.offer(start)
    search = BlockSearch(record, Limits(seconds=60, threads=2), None, 10.0, ("held",))
    search.value = before
    search._build(start)
    monkeypatch.setattr(search, "_quick", lambda block, seconds: enumerates)
    current, space = search._current, Space.of(problem.architecture, problem.dataset.live)
    wanted = before
    for block in space.held(apart=False):
        values = map(problem.value, allowed(current, block, problem.dataset.X))
        wanted -= before - min(value for value in values if value is not None)
    search._solve_held("held")
    assert search.value == record.loss == problem.value(record.network) <= wanted < before - 2
    assert enumerates or search.value == wanted


@pytest.mark.parametrize("steps", [0.0, 1.0])
@pytest.mark.parametrize("loss", [MaxCorrect(), MinWeight(), MaxMargin()], ids=repr)
def test_a_small_problem_is_solved_to_its_optimum_and_proven(loss, steps):
    rng = np.random.default_rng(8)
    start = None
    while start is None:
        problem = random_problem(rng, loss, (2,), IntegerDomain.ternary(), n=6, d=2, steps=steps)
        if problem is None or count_networks(problem) > 7_000 or len(set(problem.dataset.y)) < 2:
            continue
        drawn = (random_network(rng, problem) for _ in range(300))
        start = next((network for network in drawn if problem.value(network) is not None), None)
    result = Blocks().train(problem, Limits(seconds=120), start)
    assert result.certificate.loss == problem.value(result.network) == best_value(problem)
    assert result.certificate.optimal
    losses_ = [p.loss for p in result.history if p.loss is not None]
    assert losses_ == sorted(losses_, reverse=True)


def medium(seed=0, hidden=(4,), loss=None):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 100, (60, 5))
    y = ((X[:, 0] > X[:, 1]) ^ (X[:, 2] > 50) ^ (rng.random(60) < 0.1)).astype(int)
    return Problem(Architecture.build(5, 2, hidden), Dataset.merge(X, y, scale=100), loss or MaxCorrect())


def test_claims_of_local_optimality_hold():
    problem = medium(hidden=(2,))
    result = Blocks(neighbourhoods=("neurons",)).train(problem, Limits(seconds=3))
    assert result.certificate.loss == problem.value(result.network)
    if "any neuron" not in result.message and "neurons" not in result.message:
        assert result.certificate.optimal or not result.message
        return
    space = Space.of(problem.architecture, problem.dataset.live)
    rng = np.random.default_rng(1)
    for units in combinations(space.units, 1):
        block = space.neurons(list(units))
        for _ in range(500):
            noise = IntegerNetwork.random(problem.architecture, rng, 100)
            weights = [
                np.where(m, a, b) for m, a, b in zip(block.weights, noise.weights, result.network.weights, strict=True)
            ]
            biases = [
                np.where(m, a, b) for m, a, b in zip(block.biases, noise.biases, result.network.biases, strict=True)
            ]
            assert (
                problem.value(IntegerNetwork.of(problem.architecture, weights, biases, 100)) >= result.certificate.loss
            )


def test_it_is_never_worse_than_the_start_whatever_the_limit():
    problem = medium()
    start = IntegerNetwork.random(problem.architecture, np.random.default_rng(5), 100)
    nothing = Blocks().train(problem, Limits(seconds=0), start)
    assert nothing.status is Status.TIME_LIMIT
    assert nothing.certificate.loss <= problem.value(start)
    few = Blocks().train(problem, Limits(nodes=1), start)
    assert few.status is Status.NODE_LIMIT
    assert few.certificate.loss <= problem.value(start)
    assert few.certificate.bound is None


def test_blocks_improve_without_a_warm_start(monkeypatch):
    monkeypatch.setattr("provenn.trainers.blocks.warm_up", lambda record, limits: None)
    problem, seen = medium(), []
    start = IntegerNetwork.constant(problem.architecture, 0, 100)
    result = Blocks(block_seconds=1.0).train(problem, Limits(seconds=3), start, on_progress=seen.append)
    assert [p.loss for p in seen if p.loss is not None][-1] == result.certificate.loss
    assert result.certificate.loss <= problem.value(start) - 5


def test_ctrl_c_keeps_the_best_network():
    problem = medium(seed=2, loss=Logistic())

    def interrupt(progress):
        if progress.network is not None and len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(progress.loss)

    seen = []
    result = Blocks().train(problem, Limits(seconds=60), on_progress=interrupt)
    assert result.status is Status.INTERRUPTED
    assert result.certificate.loss == problem.value(result.network) <= min(seen)


def test_infeasible_problems_are_recognised():
    same = Dataset(np.array([[1], [1], [0]]), np.array([0, 1, 0]), (0, 1), np.ones(3, dtype=np.int64))
    result = Blocks().train(Problem(Architecture.build(1, 2, (2,)), same, MinWeight()), Limits(seconds=60))
    assert result.status is Status.INFEASIBLE
    assert result.network is None


def test_a_hard_problem_without_a_start_finds_one():
    problem = Problem(Architecture.build(2, 2, (2,)), XOR, MinWeight())
    result = Blocks().train(problem, Limits(seconds=60))
    assert result.certificate.optimal
    assert result.certificate.loss == best_value(problem)


@dataclass(frozen=True)
class Liar(Solver):
    """Claims what no network reaches."""

    lie: str = "objective"
    capabilities = frozenset({"integer", "indicators", "start", "nodes", "threads", "memory", "events", "bound"})

    def run(self, milp, limits, start, emit):
        raise AssertionError("not called")

    def solve(self, milp, limits=None, start=None, on_event=None, **options):
        if self.lie == "infeasible":
            return Solution(Status.INFEASIBLE, None, None, None, 0.0)
        return Solution(Status.OPTIMAL, start, -5.0, -5.0, 0.0)


@pytest.mark.parametrize("lie", ["objective", "infeasible"])
def test_a_solver_that_lies_is_found_out(lie):
    problem = medium()
    result = Blocks(Liar(lie)).train(problem, Limits(seconds=60))
    assert result.status is Status.REJECTED
    assert result.certificate.bound is None
    assert result.certificate.loss == problem.value(result.network)


def test_budgets_and_prices_hold_throughout():
    problem = replace(medium(), constraints=(Sparsity(price=0.5, max_nonzeros=7, fan_in=3),))
    result = Blocks(block_seconds=0.5).train(problem, Limits(seconds=2, threads=2))
    assert problem.value(result.network) == result.certificate.loss
    assert sum(int(np.count_nonzero(W)) for W in result.network.weights) <= 7


def test_kinds_with_a_gain_are_chosen_more_often_and_sizes_follow_proofs():
    arms = Arms({"good": Arm(10, 30), "poor": Arm(10, 30)})
    for _ in range(20):
        arms.learn("good", 0.1, 1.0, proven=True)
        arms.learn("poor", 0.0, 1.0, proven=False)
    rng = np.random.default_rng(0)
    chosen = [arms.choose(rng) for _ in range(300)]
    assert chosen.count("good") > 2 * chosen.count("poor") > 0
    assert arms.arms["good"].size == 10
    assert arms.arms["poor"].size < 10
    assert arms.arms["poor"].patience > 1
    for _ in range(5):
        arms.learn("good", 0.0, 1.0, proven=True)
    assert not arms.arms["good"].open
    assert {arms.choose(rng) for _ in range(20)} == {"poor"}
    arms.reopen()
    assert arms.arms["good"].open


def test_the_whole_space_is_reached_by_the_largest_blocks_of_neurons():
    rng = np.random.default_rng(0)
    for hidden in ((), (3,), (2, 3)):
        space = Space.of(Architecture.build(4, 3, hidden), np.array([True, True, False, True]))
        block = space.draw("neurons", space.largest("neurons"), rng)
        assert space.whole.within(block)
        assert block.within(space.whole)
        assert not block.weights[0][2].any()
        assert not any(space.whole.within(held) for held in space.held(apart=True))


def test_a_loss_of_zero_ends_the_search_at_once():
    problem = Problem(Architecture.build(2, 2, (2,)), XOR, MaxCorrect())
    start = IntegerNetwork.of(problem.architecture, [[[1, 1], [1, 1]], [[1], [-1]]], [[-1, 0], [0]])
    start = next(n for n in variants(start, Space.of(problem.architecture, XOR.live).whole) if problem.value(n) == 0)
    result = Blocks(Liar("infeasible")).train(problem, Limits(), start)
    assert result.status is Status.OPTIMAL
    assert result.certificate.bound == 0


def test_bad_options_are_refused():
    with pytest.raises(InputError, match="neighbourhoods"):
        Blocks(neighbourhoods=("neurons", "moon"))
    with pytest.raises(InputError, match="block_seconds"):
        Blocks(block_seconds=0)
    real = Architecture.build(2, 2, (2,), [IntegerDomain.continuous(), IntegerDomain.ternary()])
    with pytest.raises(CapabilityError, match="continuous"):
        Blocks().train(Problem(real, XOR, MaxCorrect()), Limits())


@pytest.mark.parametrize("loss", [Logistic(), MinHinge()], ids=repr)
def test_the_convex_engine_finds_the_best_outputs_for_given_activations(loss):
    rng = np.random.default_rng(4)
    for domain in (*domains()[:2], IntegerDomain.symmetric(2)):
        data = Dataset.merge(rng.integers(0, 10, (20, 3)), np.arange(20) % 3, scale=10)
        activation = rng.choice(["sign", "step"])
        problem = Problem(Architecture.build(3, 3, (2,), domain, activation=str(activation)), data, loss)
        assert has_convex_outputs(problem)
        network = IntegerNetwork.random(problem.architecture, rng, 10)
        found, proven = best_outputs(problem, network, Limits())
        space, value = Space.of(problem.architecture, data.live), problem.value(network)
        gains = (value - min(map(problem.value, variants(network, space.outputs([j])))) for j in range(3))
        assert proven
        assert problem.value(found) == value - sum(gains)
        assert np.array_equal(found.weights[0], network.weights[0])


@pytest.mark.parametrize("loss", losses(), ids=repr)
def test_only_the_rows_that_order_neurons_are_left_out(loss):
    rng = np.random.default_rng(2)
    for hidden in ((3,), (2, 3), ()):
        drawn = (random_problem(rng, loss, hidden, IntegerDomain.ternary()) for _ in range(20))
        problems = (p for p in drawn if p is not None and len(set(p.dataset.y)) == p.dataset.n_classes)
        problem = next(problems, None)
        if problem is None:
            assert not hidden
            continue
        model = Skeleton(problem.architecture, problem.dataset)
        problem.loss.add_to(model)
        for constraint in problem.constraints:
            constraint.add_to(model, 1)
        wanted, got = model.builder.build(), BlockModel(problem, problem.encode()).unordered
        assert wanted.A.shape == got.A.shape
        assert (wanted.A != got.A).nnz == 0
        assert np.array_equal(wanted.row_upper, got.row_upper)
