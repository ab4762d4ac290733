"""The alternation: models of the blocks against enumeration, never worse, optima of toys, limits, refusals."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from provenn.errors import CapabilityError, InputError
from provenn.formulations import Problem
from provenn.losses import Loss
from provenn.losses.cross_entropy import CrossEntropy
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_hinge import MinHinge
from provenn.losses.min_weight import MinWeight
from provenn.losses.sat_margin import SatMargin
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.solvers import Solver
from provenn.status import Status
from provenn.testing.toys import optimum
from provenn.trainers._alternating_blocks import Sides
from provenn.trainers._alternating_model import first_layer_model, later_layers_model
from provenn.trainers._base import Record
from provenn.trainers.alternating import Alternating

LOSSES: list[Loss] = [MaxCorrect(), Logistic(), SatMargin(), MinHinge()]
TERNARY, CONTINUOUS = IntegerDomain.ternary(), IntegerDomain.continuous(1.0)
CORNERS = list(itertools.product([0, 1], repeat=2))


def tiny(loss: Loss, activation: str = "sign", domains=TERNARY, hidden: tuple[int, ...] = (2,)) -> Problem:
    data = Dataset.merge(CORNERS, [a ^ b for a, b in CORNERS], [3, 1, 2, 2])
    return Problem(Architecture.build(2, 2, hidden, domains, activation=activation), data, loss)


def noisy(activation: str, domains, loss: Loss) -> Problem:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 101, (40, 3))
    y = ((X[:, 0] > 50) ^ (X[:, 1] > 50)).astype(np.int64) ^ (rng.random(40) < 0.1)
    data = Dataset.merge(X, y, scale=100)
    return Problem(Architecture.build(3, 2, (3,), domains, activation=activation), data, loss)


def one_side(problem: Problem, network: IntegerNetwork, first: bool) -> int:
    """The best objective over the parameters of one side, by enumeration."""
    layer = problem.architecture.layers[0 if first else 1]
    at, best = 0 if first else 1, []
    count = (layer.n_in + 1) * layer.n_out
    for values in itertools.product(layer.weights.values.tolist(), repeat=count):
        table = np.array(values, dtype=np.int64).reshape(layer.n_in + 1, layer.n_out)
        weights, biases = list(network.weights), list(network.biases)
        weights[at], biases[at] = table[:-1], table[-1]
        best.append(problem.value(replace(network, weights=tuple(weights), biases=tuple(biases))))
    return min(best)


@pytest.mark.parametrize("activation", ["sign", "step"])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_the_models_of_both_sides_have_the_enumerated_optima(loss: Loss, activation: str) -> None:
    problem = tiny(loss, activation)
    network = IntegerNetwork.random(problem.architecture, np.random.default_rng(1))
    encoding = problem.encode([network])
    x = encoding.encode(network)
    base = encoding.decode(x)
    for first, model in ((True, first_layer_model), (False, later_layers_model)):
        small = model(problem, encoding, x)
        found = Solver.create("cpsat").solve(small.milp, Limits(seconds=60))
        best = one_side(problem, base, first)
        assert found.objective == pytest.approx(best)
        assert problem.value(encoding.decode(small.lift(found.x))) == best


@pytest.mark.parametrize("activation", ["sign", "step"])
@pytest.mark.parametrize("loss", LOSSES[:3], ids=repr)
@pytest.mark.parametrize(
    "domains", [TERNARY, [CONTINUOUS, TERNARY], [TERNARY, CONTINUOUS]], ids=["int", "cont0", "cont1"]
)
def test_exact_blocks_never_lose(loss: Loss, activation: str, domains) -> None:
    problem = noisy(activation, domains, loss)
    record = Record(problem)
    record.begin(None)
    blocks = Sides(record, Limits(seconds=120), None, 1.0, True, np.random.default_rng(0))
    network = record.network
    for first in (True, False):
        before = problem.value(network)
        network = blocks.solved(network, first)
        assert problem.value(network) <= before
        assert problem.value(network) >= record.loss


@pytest.mark.parametrize("activation", ["sign", "step"])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_toys_reach_their_optimum(loss: Loss, activation: str) -> None:
    problem = tiny(loss, activation)
    result = Alternating(restarts=2).train(problem, Limits(seconds=60))
    assert result.certificate.loss == optimum(problem)
    assert result.certificate.bound == (problem.floor if problem.floor == result.certificate.loss else None)


@pytest.mark.parametrize("domains", [TERNARY, CONTINUOUS, [CONTINUOUS, TERNARY, TERNARY]], ids=["int", "cont", "mixed"])
@pytest.mark.parametrize("hidden", [(2,), (2, 2)], ids=str)
def test_xor_is_learned(hidden: tuple[int, ...], domains) -> None:
    mixed = domains[: len(hidden) + 1] if isinstance(domains, list) else domains
    problem = tiny(MaxCorrect(), "step", mixed, hidden)
    result = Alternating().train(problem, Limits(seconds=60))
    assert (result.certificate.loss, result.certificate.bound, result.status) == (0, 0, Status.OPTIMAL)


@pytest.mark.parametrize("activation", ["sign", "step"])
def test_hard_losses_improve_from_a_feasible_start(activation: str) -> None:
    problem = tiny(MinWeight(), activation, IntegerDomain.symmetric(2))
    rng = np.random.default_rng(0)
    drawn = (IntegerNetwork.random(problem.architecture, rng) for _ in range(100_000))
    start = next(network for network in drawn if problem.value(network) is not None)
    result = Alternating(restarts=0, visits=10).train(problem, Limits(seconds=30), start)
    assert result.certificate.loss <= problem.value(start)
    assert problem.value(result.network) == result.certificate.loss
    lost = Alternating(restarts=1, visits=1).train(
        tiny(MinWeight(), activation, IntegerDomain(0, 1)), Limits(seconds=5)
    )
    assert lost.network is None
    assert "none satisfied" in lost.message


def test_losses_fall_and_the_start_is_kept() -> None:
    problem = noisy("step", CONTINUOUS, MaxCorrect())
    good = Alternating(restarts=0).train(problem, Limits(seconds=20))
    losses = [entry.loss for entry in good.history]
    assert losses == sorted(losses, reverse=True)
    again = Alternating(restarts=0, max_rounds=1, visits=1).train(problem, Limits(seconds=5, seed=3), good.network)
    assert again.certificate.loss <= good.certificate.loss
    assert problem.value(again.network) == again.certificate.loss


def test_a_work_limit_repeats() -> None:
    problem = noisy("step", [CONTINUOUS, TERNARY], MaxCorrect())
    limits = Limits(nodes=1500, seed=4)
    first, second = (Alternating(solver=Solver.create("highs")).train(problem, limits) for _ in range(2))
    assert first.network.equals(second.network)
    assert first.status in (Status.NODE_LIMIT, Status.OPTIMAL)


def test_an_interrupt_keeps_the_best() -> None:
    problem = noisy("sign", CONTINUOUS, MaxCorrect())
    heard = []

    def interrupt(progress) -> None:
        heard.append(progress.loss)
        if len(heard) == 3:
            raise KeyboardInterrupt

    result = Alternating().train(problem, Limits(seconds=60), None, interrupt)
    assert result.status is Status.INTERRUPTED
    assert result.certificate.loss == heard[-1] == problem.value(result.network)


def test_refusals_name_what_to_do() -> None:
    flat = Problem(Architecture.build(2, 2), tiny(MaxCorrect()).dataset, MaxCorrect())
    with pytest.raises(CapabilityError, match="no hidden layer"):
        Alternating().train(flat, Limits(seconds=1))
    with pytest.raises(CapabilityError, match="no MILP"):
        Alternating().train(tiny(CrossEntropy()), Limits(seconds=1))
    with pytest.raises(CapabilityError, match=r"cpsat takes no continuous weights.*highs"):
        Alternating(Solver.create("cpsat")).train(tiny(MaxCorrect(), domains=CONTINUOUS), Limits(seconds=1))
    with pytest.raises(InputError, match="restarts"):
        Alternating(restarts=-1)
