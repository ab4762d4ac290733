"""Programs whose vertices are degenerate, with data that floats round: the exact point is found all the same."""

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from provenn.check_proof import RejectedError, check_milp
from provenn.milp import MILP, Builder, Terms
from provenn.status import Status
from provenn.tame import branch_and_bound, fixed_value


def facilities() -> MILP:
    """Five sites with a capacity, nine customers whose demand may go unmet at a price."""
    rng = np.random.default_rng(4)
    sites, customers = rng.random((5, 2)), rng.random((9, 2))
    demand = rng.integers(3, 9, 9) * 1.0
    distance = np.round(10 * np.linalg.norm(sites[:, None] - customers, axis=2), 2)
    builder = Builder()
    opened = builder.columns("opened", (5,), 0, 1)
    flow = builder.columns("flow", (5, 9), 0, np.tile(2 * demand, (5, 1)), integer=False)
    missing = builder.columns("missing", (9,), 0, 2 * demand, integer=False)
    builder.rows([Terms(flow.T, 1.0), Terms(missing[:, None], 1.0)], lower=demand)
    builder.rows([Terms(flow, 1.0), Terms(opened[:, None], -27.0)], upper=0)
    builder.minimise(opened, rng.integers(15, 25, 5))
    builder.minimise(flow, distance)
    builder.minimise(missing, 12.0)
    return builder.build()


@pytest.mark.parametrize("factor", [0.54, 0.9, 1.0, 1.08, 1.35])
def test_the_best_point_is_found_where_rounding_breaks_a_bound(factor: float) -> None:
    model = facilities()
    model = replace(model, row_lower=model.row_lower * factor)
    certificate = branch_and_bound(model)
    shown = certificate.verify()
    assert shown["bound"] <= shown["value"]
    assert float(shown["value"] - shown["bound"]) < 1e-12
    best = min(fixed_value(model, choice).value for choice in product((0.0, 1.0), repeat=5))
    assert certificate.value == pytest.approx(best, rel=1e-12)


def thirds() -> MILP:
    """Return a program in which only x = (1, 1, 1) is meant, and 0.1 + 0.2 + 0.3 is not 0.6 in floats."""
    builder = Builder()
    x = builder.columns("x", (3,), 0, 1)
    builder.rows([Terms(x, [0.1, 0.2, 0.3])], lower=0.6, upper=0.6)
    builder.minimise(x, [1.0, 2.0, 4.0])
    return builder.build()


def test_a_point_that_is_feasible_up_to_rounding_says_so() -> None:
    certificate = branch_and_bound(thirds())
    assert certificate.x is not None
    assert certificate.x.tolist() == [1, 1, 1]
    assert certificate.status is Status.TOLERANCE
    assert 0 < certificate.slack < Fraction(1, 10**15)
    shown = certificate.verify()
    assert (shown["value"], shown["optimal"], shown["slack"]) == (7, False, certificate.slack)
    proof = certificate.to_dict()
    for slack in ([0, 1], [1, 10**18], [-1, 1], [1, 0]):
        with pytest.raises(RejectedError):
            check_milp({**proof, "slack": slack})


def test_exact_points_are_preferred() -> None:
    exact = branch_and_bound(facilities())
    assert exact.slack == 0
    assert exact.status is Status.OPTIMAL
