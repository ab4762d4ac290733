"""Training problems: certificates equal brute force, and old ones bound problems with moved data."""

import numpy as np
import pytest

from provenn.formulations import Problem
from provenn.losses import Loss
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_hinge import MinHinge
from provenn.milp.lower import big_m
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.tame import branch_and_bound
from provenn.testing.toys import all_networks, optimum

pytest.importorskip("torch")

from provenn.tame._torch_hinge import PricedHinge


def training(n: int, loss: Loss, noise: int = 0) -> Problem:
    """Draw samples with two inputs for two hidden ternary units."""
    rng = np.random.default_rng(n)
    X = rng.integers(0, 11, (n, 2))
    y = (X[:, 0] + X[:, 1] > 10).astype(np.int64)
    y[: 2 + n // 8] = [0, 1, *rng.integers(0, 2, n // 8)]
    X = np.clip(X + np.random.default_rng(noise).integers(-1, 2, X.shape) * (noise > 0), 0, 10)
    data = Dataset.merge(X, y, scale=10, classes=(0, 1))
    return Problem(Architecture.build(2, 2, (2,), IntegerDomain.ternary()), data, loss)


@pytest.mark.parametrize("loss", [MaxCorrect(), MinHinge(), PricedHinge(1.0)], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("n", [4, 8, 12])
def test_certificates_of_training_problems(n, loss):
    problem = training(n, loss)
    encoding = problem.encode()
    certificate = branch_and_bound(encoding.milp)
    assert certificate.value == optimum(problem)
    assert problem.value(encoding.decode(np.rint(certificate.x))) == certificate.value
    shown = certificate.verify()
    assert shown["optimal"]
    assert shown["value"] == certificate.value


def test_sixteen_samples_from_a_known_network():
    problem = training(16, MaxCorrect())
    encoding = problem.encode()
    best = min(all_networks(problem), key=problem.value)
    certificate = branch_and_bound(encoding.milp, encoding.encode(best))
    assert certificate.verify()["value"] == problem.value(best) > 0
    assert certificate.gap == 0


def test_realisable_data_need_one_node():
    rng = np.random.default_rng(0)
    shape, X = Architecture.build(2, 2, (2,), IntegerDomain.ternary()), rng.integers(0, 11, (12, 2))
    teachers = (IntegerNetwork.random(shape, rng, 10) for _ in range(1000))
    teacher = next(network for network in teachers if 3 < network.predict(X).sum() < 9)
    problem = Problem(shape, Dataset.merge(X, teacher.predict(X), scale=10, classes=(0, 1)), MaxCorrect())
    encoding = problem.encode()
    certificate = branch_and_bound(encoding.milp, encoding.encode(teacher))
    assert certificate.value == 0
    assert certificate.tree.n_nodes == 1
    assert certificate.verify()["optimal"]


def test_old_certificates_bound_and_warm_start_moved_features():
    problem = training(10, PricedHinge(1.0))
    old = branch_and_bound(problem.encode().milp)
    for noise in (1, 2, 3):
        moved = training(10, PricedHinge(1.0), noise)
        milp = big_m(moved.encode().milp)
        if milp.A.shape != old.milp.A.shape:
            continue
        assert old.lower_bound(milp) <= optimum(moved) + 1e-6
        assert old.warm_start(milp).value == optimum(moved)
