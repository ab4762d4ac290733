"""Laws of trainers."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from scipy.optimize import minimize

from provenn.errors import CapabilityError, InputError
from provenn.formulations import Problem
from provenn.formulations.feature_signs import FeatureSigns
from provenn.formulations.sparsity import Sparsity
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_hinge import MinHinge
from provenn.milp import Event, Limits, Solution
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.solvers import Solver
from provenn.status import Status
from provenn.testing.toys import best_value, count_networks, domains, random_dataset, random_network
from provenn.trainers.agreement import Agreement
from provenn.trainers.blocks import Blocks
from provenn.trainers.convex import Convex
from provenn.trainers.exact import Exact
from provenn.trainers.gradient import Gradient
from provenn.trainers.hull import Hull


def toy(seed, hidden=(), loss=None, n=12, d=3, scale=10, n_classes=2, domain=None, constraints=(), activation="sign"):
    rng = np.random.default_rng(seed)
    domain = domain or IntegerDomain.ternary()
    data = random_dataset(rng, n, d, n_classes, scale)
    shape = Architecture.build(d, n_classes, hidden, domain, activation=activation)
    return rng, Problem(shape, data, loss or Logistic(0.7), constraints)


TRAINERS = [
    ("convex", Convex, {}),
    ("cpsat", lambda: Exact(Solver.create("cpsat", workers=1)), {"hidden": (2,), "loss": MaxCorrect()}),
    ("highs", lambda: Exact(Solver.create("highs")), {"hidden": (1,), "loss": MaxCorrect()}),
    (
        "cpsat-steps",
        lambda: Exact(Solver.create("cpsat", workers=1)),
        {"hidden": (2,), "loss": MaxCorrect(), "activation": "step"},
    ),
    (
        "highs-steps",
        lambda: Exact(Solver.create("highs")),
        {"hidden": (1,), "loss": MaxCorrect(), "activation": "step"},
    ),
    ("hull-steps", Hull, {"hidden": (2,), "loss": MaxCorrect(), "activation": "step"}),
]


@pytest.mark.parametrize(("make", "shape"), [t[1:] for t in TRAINERS], ids=[t[0] for t in TRAINERS])
def test_the_result_is_lawful(make, shape):
    for seed in range(3):
        rng, problem = toy(seed, **shape)
        start = random_network(rng, problem)
        seen = []
        result = make().train(problem, Limits(seconds=60, seed=1), start, seen.append)
        assert result.status is Status.OPTIMAL
        assert result.certificate.optimal
        assert result.certificate.loss == problem.value(result.network)
        assert result.certificate.loss <= problem.value(start)
        losses = [p.loss for p in seen if p.loss is not None]
        bounds = [p.bound for p in seen if p.bound is not None]
        assert losses == sorted(losses, reverse=True)
        assert bounds == sorted(bounds)
        assert all(p.network is None or problem.value(p.network) == p.loss for p in seen)


@pytest.mark.parametrize(("make", "shape"), [t[1:] for t in TRAINERS], ids=[t[0] for t in TRAINERS])
def test_the_same_seed_and_work_limit_give_the_same_network(make, shape):
    _, problem = toy(5, **shape)
    one, two = (make().train(problem, Limits(seconds=120, nodes=200, seed=7)) for _ in range(2))
    assert one.network.equals(two.network)
    assert one.certificate.loss == two.certificate.loss


@pytest.mark.parametrize("loss", [Logistic(0.5), MinHinge()], ids=repr)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_convex_training_finds_the_brute_force_optimum(loss, n_classes):
    for seed, domain in enumerate(domains() * 2):
        constraints = (Sparsity(0.25, None, 1),) if domain.has_zero and seed % 2 else ()
        d = 3 if n_classes == 2 and domain.high < 3 else 2 if n_classes == 2 else 1
        _, problem = toy(seed, loss=loss, d=d, n_classes=n_classes, domain=domain, constraints=constraints)
        if count_networks(problem) > 20_000:
            continue
        result = Convex().train(problem, Limits())
        assert result.certificate.optimal
        assert result.certificate.loss == best_value(problem)


def test_convex_training_obeys_signs_and_budgets():
    for seed in range(6):
        _, problem = toy(seed, constraints=(FeatureSigns((1, 0, -1)), Sparsity(0, 2)))
        result = Convex().train(problem, Limits())
        assert result.certificate.loss == best_value(problem)


def test_both_exact_engines_agree_on_long_ranges():
    """A fine grid makes the MILP an outer approximation that is refined until it is exact."""
    _, problem = toy(11, n=8, d=2, scale=2000, loss=Logistic(0.3))
    assert problem.encode().relaxed
    by_milp = Exact(Solver.create("highs")).train(problem, Limits(seconds=120))
    by_boxes = Convex().train(problem, Limits())
    assert by_milp.certificate.loss == by_boxes.certificate.loss
    assert by_boxes.certificate.optimal
    assert by_milp.certificate.gap <= 1e-4


def test_a_float_solver_proves_long_losses_up_to_its_tolerance():
    _, problem = toy(1, hidden=(1,))
    by_floats = Exact(Solver.create("highs")).train(problem, Limits(seconds=60))
    by_integers = Exact(Solver.create("cpsat")).train(problem, Limits(seconds=60))
    assert by_integers.certificate.optimal
    assert by_floats.status is Status.TOLERANCE
    assert not by_floats.certificate.optimal
    assert 0 < by_floats.certificate.gap < 2e-6
    assert by_floats.certificate.bound <= by_integers.certificate.loss <= by_floats.certificate.loss


def test_the_convex_engine_says_what_it_cannot_do():
    for shape, message in (
        ({"hidden": (2,)}, "hidden layers"),
        ({"loss": MaxCorrect()}, "not convex"),
        ({"n_classes": 3, "constraints": (Sparsity(0, 2),)}, "fan_in"),
    ):
        with pytest.raises(CapabilityError, match=message):
            Convex().train(toy(0, **shape)[1], Limits())


def smooth_optimum(problem):
    """Return the least logistic loss over the real box, in units, by SciPy."""
    data, layer = problem.dataset, problem.architecture.layers[0]
    A = np.column_stack([data.X / data.scale, np.ones(data.n_samples)]) * data.targets(1)
    ends = (layer.weights.low / layer.weights.denominator, layer.weights.high / layer.weights.denominator)

    def loss(w):
        z = A @ w / problem.loss.temperature
        slope = -data.multiplicity / (1.0 + np.exp(z)) / problem.loss.temperature
        return np.logaddexp(0.0, -z) @ data.multiplicity, slope @ A

    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 10_000, "maxfun": 100_000}
    found = minimize(loss, np.zeros(A.shape[1]), jac=True, bounds=[ends] * A.shape[1], options=options)
    return found.fun * 1e6


@pytest.mark.parametrize("bound", [0.5, 1.0, 15.0, 127.0])
@pytest.mark.parametrize("seed", range(4))
def test_continuous_weights_are_proven_up_to_the_rounding_of_the_loss(seed, bound):
    box = IntegerDomain.continuous(bound)
    _, problem = toy(seed, n=60, d=6, scale=(1, 100)[seed % 2], domain=box, loss=Logistic((1.0, 0.3)[seed // 2]))
    result = Convex().train(problem, Limits(seconds=60))
    certificate, total = result.certificate, problem.dataset.total
    assert result.status is Status.TOLERANCE
    assert problem.value(result.network) == certificate.loss
    assert certificate.loss - certificate.bound <= 1.25 * total + 1
    best = smooth_optimum(problem)
    assert certificate.bound <= best + total / 2
    assert certificate.loss <= best * (1 + 1e-6) + total / 2 + 2


@pytest.mark.parametrize("seed", range(6))
def test_coarse_continuous_boxes_are_bounded_by_brute_force(seed):
    box = IntegerDomain.continuous(1.0, bits=2 + seed % 2)
    prices = (Sparsity(0.25),) if seed % 3 == 1 else (FeatureSigns((1, -1)),) if seed % 3 == 2 else ()
    _, problem = toy(seed, n=9, d=2, domain=box, constraints=prices)
    certificate = Convex().train(problem, Limits(seconds=60)).certificate
    assert certificate.bound <= best_value(problem) <= certificate.loss
    assert certificate.loss - certificate.bound <= 1.25 * problem.dataset.total + 1


def test_engines_of_integers_refuse_continuous_weights():
    box = IntegerDomain.continuous()
    _, flat = toy(0, domain=box, loss=MaxCorrect())
    _, deep = toy(0, hidden=(2,), domain=[box, IntegerDomain.ternary()], loss=MaxCorrect())
    assert "continuous" in Agreement.obstacle(flat)
    for engine in (Hull, Blocks, Gradient):
        assert "continuous" in engine.obstacle(deep)
        with pytest.raises(CapabilityError, match="continuous"):
            engine().train(deep, Limits())
    assert "budget" in Convex.obstacle(toy(0, domain=box, constraints=(Sparsity(0, 2),))[1])
    assert "grid points" in Convex.obstacle(toy(0, domain=IntegerDomain.continuous(20.0, bits=24))[1])


def test_no_time_still_gives_the_best_constant_network():
    _, problem = toy(3, hidden=(3,), loss=MaxCorrect())
    result = Exact(Solver.create("cpsat")).train(problem, Limits(seconds=0))
    assert result.status is Status.TIME_LIMIT
    counts = np.bincount(problem.dataset.y, weights=problem.dataset.multiplicity)
    assert result.certificate.loss <= counts.min()
    assert not result.certificate.optimal or result.certificate.loss == 0


def test_a_foreign_start_is_refused():
    _, problem = toy(0)
    other = IntegerNetwork.constant(Architecture.build(4, 2), 0)
    with pytest.raises(InputError, match="another architecture"):
        Convex().train(problem, Limits(), other)


@dataclass(frozen=True)
class Liar(Solver):
    """Answers whatever it is told to."""

    answer: object = None
    capabilities: ClassVar[frozenset[str]] = frozenset({"integer", "indicators", "start", "bound", "events"})
    module: ClassVar[str] = "numpy"
    distribution: ClassVar[str] = "numpy"
    note: ClassVar[str] = ""

    def solve(self, milp, limits, start=None, on_event=None):
        return self.answer(milp, start, on_event)

    def run(self, milp, limits, start, emit):
        raise NotImplementedError


def claim(status, x, objective, bound):
    return Solution(status, x, objective, bound, 0.0)


def lies():
    return {
        "a better objective than its network has": lambda m, s, _: claim(
            Status.OPTIMAL, s, float(m.objective(s)) - 1, float(m.objective(s)) - 1
        ),
        "a worse objective at a claimed optimum": lambda m, s, _: claim(
            Status.OPTIMAL, s, float(m.objective(s)) + 1, float(m.objective(s)) + 1
        ),
        "weights outside their domains": lambda m, s, _: claim(
            Status.OPTIMAL, np.where(np.arange(m.n_columns) < 2, 9.0, s), float(m.objective(s)), 0.0
        ),
        "infeasible in face of a network": lambda m, s, _: claim(Status.INFEASIBLE, None, None, None),
        "a bound above a known network": lambda m, s, _: claim(Status.TIME_LIMIT, None, None, 1e6),
    }


@pytest.mark.parametrize("lie", lies(), ids=str)
def test_a_lying_solver_is_caught(lie):
    _, problem = toy(4, hidden=(2,), loss=MaxCorrect())
    result = Exact(Liar(answer=lies()[lie])).train(problem, Limits())
    assert result.status is Status.REJECTED
    assert result.message
    assert not result.certificate.optimal
    assert not result.certificate.agrees
    assert result.certificate.bound is None
    assert result.certificate.loss == problem.value(result.network)


def test_incumbents_of_a_dying_solver_are_kept_and_checked():
    _, problem = toy(4, hidden=(2,), loss=MaxCorrect())
    honest = Exact(Solver.create("cpsat")).train(problem, Limits(seconds=60))
    good = problem.encode().encode(honest.network)

    def die(milp, start, on_event):
        on_event(Event("incumbent", 0.0, -5.0, None, np.where(np.arange(milp.n_columns) < 2, 9.0, good)))
        on_event(Event("incumbent", 0.0, float(milp.objective(good)), None, good))
        return claim(Status.CRASHED, None, None, 0.0)

    result = Exact(Liar(answer=die)).train(problem, Limits())
    assert result.status in (Status.CRASHED, Status.OPTIMAL)
    assert result.certificate.loss == honest.certificate.loss


def test_prices_and_the_loss_share_one_measure():
    _, problem = toy(2, loss=MinHinge(), constraints=(Sparsity(0.3),))
    network = random_network(np.random.default_rng(0), problem)
    plain = replace(problem, constraints=())
    total = problem.value(network) * problem.unit
    parts = plain.value(network) * plain.unit + Sparsity(0.3).count(network) * Sparsity(0.3).price_unit
    assert total == parts


def test_dead_inputs_get_no_weight():
    data = Dataset.merge([[5, 0], [5, 3], [5, 7]], [0, 1, 1], scale=10)
    problem = Problem(Architecture.build(2, 2), data, Logistic(0.2))
    result = Convex().train(problem, Limits())
    assert result.network.weights[0][0, 0] == 0
    start = IntegerNetwork.of(problem.architecture, [[[1], [1]]], [[-1]], scale=10)
    assert Convex().train(problem, Limits(), start).certificate.optimal
