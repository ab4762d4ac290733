"""The price on the size of weights: exact over integers, a lower model within one part over continuous weights."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from provenn.errors import CapabilityError, InputError
from provenn.formulations import Problem
from provenn.formulations.norm_price import MICRO, NormPrice
from provenn.formulations.sparsity import Sparsity
from provenn.losses.hamming import Hamming
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.solvers import Solver
from provenn.status import Status
from provenn.testing.toys import best_value
from provenn.trainers.agreement import Agreement
from provenn.trainers.convex import Convex
from provenn.trainers.exact import Exact
from provenn.trainers.gradient import Gradient
from provenn.trainers.portfolio import Portfolio

BOX = IntegerDomain.continuous(1.0)
DOMAINS = [IntegerDomain.binary(), IntegerDomain.ternary(), IntegerDomain.symmetric(3), IntegerDomain(1, 2)]


def samples(seed, n, d, scale=10):
    rng = np.random.default_rng(seed)
    y = np.concatenate([[0, 1], rng.integers(0, 2, n - 2)])
    return Dataset.merge(rng.integers(-scale, scale + 1, (n, d)), y, scale=scale)


def train(problem, solver="highs"):
    result = Exact(Solver.create(solver)).train(problem, Limits(seconds=60))
    assert result.status in (Status.OPTIMAL, Status.TOLERANCE), result
    assert result.certificate.bound <= result.certificate.loss == problem.value(result.network)
    return result


# What is counted


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("bits", [1, 20, 24])
def test_the_count_is_the_sum_in_fractions_rounded_up(bits, power):
    rng = np.random.default_rng(bits)
    kinds = [IntegerDomain.continuous(127.0, bits=bits), IntegerDomain.symmetric(3), BOX]
    network = IntegerNetwork.random(Architecture.build(4, 2, (3, 2), kinds), rng)
    pairs = zip(network.weights, kinds, strict=True)
    total = sum(abs(Fraction(int(w), kind.denominator)) ** power for W, kind in pairs for w in W.ravel())
    for parts in (1, 7, MICRO):
        count = NormPrice(0.5, power, parts).count(network)
        assert 0 <= count - parts * total < 1


def test_what_has_no_meaning_is_refused():
    for price in (-1, float("nan"), float("inf"), 1e-9):
        with pytest.raises(InputError, match="price"):
            NormPrice(price)
    for power in (0, 3, 1.5):
        with pytest.raises(InputError, match="power"):
            NormPrice(1, power)
    for parts in (0, -1, 2.5):
        with pytest.raises(InputError, match="parts"):
            NormPrice(1, 1, parts)
    with pytest.raises(InputError, match="give parts=1000000"):
        Problem(Architecture.build(2, 2, (), BOX), samples(0, 4, 2), MaxCorrect(), (NormPrice(0.1),))


def test_no_price_changes_nothing():
    data = samples(0, 6, 2)
    shape = Architecture.build(2, 2)
    free, plain = (Problem(shape, data, MaxCorrect(), c) for c in ((NormPrice(0),), ()))
    assert free.unit == plain.unit == 1
    assert free.encode().milp.n_columns == plain.encode().milp.n_columns


# Integer weights


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("hidden", [(), (2,)], ids=str)
@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
@pytest.mark.parametrize("activation", ["sign", "step"])
def test_an_integer_network_encodes_to_its_exact_objective(domain, hidden, power, activation):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        shape = Architecture.build(3, 2, hidden, domain, activation=activation)
        prices = (NormPrice(Fraction(1, 3), power), *([Sparsity(0.25)] if domain.has_zero else []))
        problem = Problem(shape, samples(seed, 6, 3), Hamming(), prices)
        encoding = problem.encode()
        network = IntegerNetwork.random(shape, rng, 10)
        x = encoding.encode(network)
        assert encoding.milp.violation(x) == 0
        assert encoding.milp.objective(x) == problem.value(network) == problem.value(encoding.decode(x))
        assert not encoding.relaxed


@pytest.mark.parametrize("solver", ["cpsat", "highs"])
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(
    ("domain", "hidden"),
    [(IntegerDomain.symmetric(3), ()), (IntegerDomain.ternary(), (1,)), (IntegerDomain(-1, 2), ())],
    ids=repr,
)
def test_integer_optima_are_those_of_brute_force(domain, hidden, power, solver):
    for seed, price in ((1, 0.05), (2, Fraction(1, 7)), (3, 1)):
        shape = Architecture.build(2, 2, hidden, domain, IntegerDomain.ternary())
        problem = Problem(shape, samples(seed, 6, 2), MaxCorrect(), (NormPrice(price, power),))
        solution = Solver.create(solver).solve(problem.encode().milp, Limits(seconds=60))
        assert solution.status is Status.OPTIMAL
        assert solution.objective == pytest.approx(best_value(problem), abs=1e-6)
        assert solution.bound <= best_value(problem) + 1e-6


def test_squares_of_several_prices_share_their_columns():
    shape = Architecture.build(2, 2, weights=IntegerDomain.symmetric(2))
    one, two = NormPrice(0.1, 2), NormPrice(0.2, 2)
    problem = Problem(shape, samples(4, 6, 2), MaxCorrect(), (one, NormPrice(0.5), two))
    network = IntegerNetwork.of(shape, [[[2], [-1]]], [[1]], 10)
    encoding = problem.encode()
    assert encoding.milp.objective(encoding.encode(network)) == problem.value(network)
    price = problem.value(network) * problem.unit - MaxCorrect().value(network, problem.dataset)
    assert price == Fraction(3, 10) * 5 + Fraction(1, 2) * 3


@pytest.mark.parametrize("power", [1, 2])
def test_the_engines_refuse_or_respect_the_price(power):
    data = samples(5, 8, 2)
    domain = IntegerDomain.symmetric(2)
    for loss, trainers in ((Logistic(), [Portfolio()]), (MaxCorrect(), [Portfolio(), Agreement()])):
        problem = Problem(Architecture.build(2, 2, weights=domain), data, loss, (NormPrice(0.3, power),))
        best = best_value(problem)
        for trainer in trainers:
            certificate = trainer.train(problem, Limits(seconds=20)).certificate
            assert certificate.bound is None or certificate.bound <= best <= certificate.loss
            assert isinstance(trainer, Agreement) or certificate.loss == best
    logistic = Problem(Architecture.build(2, 2, weights=domain), data, Logistic(), (NormPrice(0.3, power),))
    for trainer in (Convex(), Gradient()):
        with pytest.raises(CapabilityError):
            trainer.train(logistic, Limits(seconds=5))


# Continuous weights


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("kinds", [(BOX, BOX), (BOX, IntegerDomain.ternary()), (IntegerDomain.ternary(), BOX)])
def test_the_model_never_charges_more_than_what_is_counted(kinds, power):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        shape = Architecture.build(3, 2, (2,), kinds, activation="step", margin=1e-6)
        problem = Problem(shape, samples(seed, 6, 3), Hamming(), (NormPrice(0.01, power, MICRO),))
        network = IntegerNetwork.random(shape, rng, 10)
        encoding = problem.encode([network])
        x, value = encoding.encode(network), problem.value(network)
        assert encoding.relaxed
        assert encoding.milp.violation(x) < 1e-9
        assert value - 1 - 1e-3 < encoding.milp.objective(x) <= value
        assert problem.value(encoding.decode(x)) == value


def least_norm(data, wrong, power):
    """Least sum of |w| or of w^2 of a neuron in the unit box with margin 0.05 that gets all but these samples right."""
    X = np.column_stack([data.X / data.scale, np.ones(data.n_samples)])[~wrong]
    t = (2 * data.y - 1)[~wrong]
    least = np.where(t > 0, 0.0, 0.05)
    d = data.n_features
    if power == 1:
        rows = np.column_stack([-t[:, None] * X, np.zeros((len(t), d))])
        eye = np.eye(d)
        sizes = [np.column_stack([s * eye, np.zeros((d, 1)), -eye]) for s in (1, -1)]
        A, b = np.vstack([rows, *sizes]), np.concatenate([-least, np.zeros(2 * d)])
        costs = np.concatenate([np.zeros(d + 1), np.ones(d)])
        found = linprog(costs, A, b, bounds=[(-1, 1)] * (d + 1) + [(0, 1)] * d)
        return found.fun if found.status == 0 else np.inf
    if linprog(np.zeros(d + 1), -t[:, None] * X, -least, bounds=[(-1, 1)] * (d + 1)).status != 0:
        return np.inf
    found = minimize(
        lambda w: (w[:d] @ w[:d], np.append(2 * w[:d], 0.0)), np.zeros(d + 1), jac=True, method="SLSQP",
        bounds=[(-1, 1)] * (d + 1), options={"ftol": 1e-14, "maxiter": 500},
        constraints={"type": "ineq", "fun": lambda w: t * (X @ w) - least, "jac": lambda _: t[:, None] * X},
    )  # fmt: skip
    return found.fun if found.success else np.inf


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("price", [0.5, 5.0])
def test_continuous_errors_and_norms_reach_the_best_subset(price, power):
    """Margins bind at the optimum: rounding to the grid costs a little."""
    data = samples(6, 7, 2)
    shape = Architecture.build(2, 2, (), BOX, margin=0.05)
    problem = Problem(shape, data, MaxCorrect(), (NormPrice(price, power, MICRO),))
    subsets = [np.array(s) for s in itertools.product([False, True], repeat=data.n_samples)]
    truth = min(int(s @ data.multiplicity) + price * least_norm(data, s, power) for s in subsets)
    certificate = train(problem).certificate
    assert truth - 1e-6 <= float(certificate.loss_value) <= truth + price * 2e-5 + 2e-6 * truth
    assert float(certificate.bound_value) <= truth + price * 1e-6


@pytest.mark.parametrize("power", [1, 2])
def test_continuous_logistic_regression_with_a_price(power):
    data = samples(7, 12, 2)
    price, tau = 0.5, 0.5
    problem = Problem(Architecture.build(2, 2, (), BOX), data, Logistic(tau), (NormPrice(price, power, MICRO),))
    A, t = np.column_stack([data.X / data.scale, np.ones(data.n_samples)]), 2 * data.y - 1

    def objective(v):
        w = v[:3] - v[3:]
        size = np.abs(v[[0, 1, 3, 4]]).sum() if power == 1 else w[:2] @ w[:2]
        return data.multiplicity @ np.logaddexp(0, -t * (A @ w) / tau) + price * size

    limits = [(0, 1)] * 6
    truth = minimize(objective, np.full(6, 0.1), bounds=limits, method="L-BFGS-B", options={"ftol": 1e-15}).fun
    certificate = train(problem).certificate
    assert float(certificate.loss_value) == pytest.approx(truth, abs=2e-5)
    assert float(certificate.bound_value) <= truth + 1e-5
    assert float(certificate.loss_value) - float(certificate.bound_value) <= 5e-5
