"""Programs whose vertices are degenerate, with data that floats round: the exact point is found all the same."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from provenn.milp import MILP, Builder, Terms
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
