"""Our own models reach the proven optima of published models, from the same data."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from provenn.formulations import Problem
from provenn.formulations.neuron_count import NeuronCount
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.max_margin import MaxMargin
from provenn.losses.min_hinge import MinHinge
from provenn.losses.min_weight import MinWeight
from provenn.losses.sat_margin import SatMargin
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerDomain
from provenn.solvers import Solver
from provenn.status import Status
from provenn.trainers.exact import Exact

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "instances"
LOSSES = {
    "max_correct": MaxCorrect("published"),
    "sat_margin": SatMargin(),
    "min_hinge": MinHinge(),
    "min_w": MinWeight(),
    "toro_w": MinWeight(count_biases=False),
    "max_m": MaxMargin(),
}
# The published program adds its last output weight once for every bias where it means the
# biases; without that slip this instance has a network with six non-zero weights.
CORRECTED = {"toro_mip_w_mnist012_b7_n2_h2": 6.0}


def entries():
    index = FOLDER / "index.json"
    if not index.exists():
        return []
    known = [e for e in json.loads(index.read_text()) if e["optimum"] is not None]
    return [e for e in known if e["name"].startswith(("mipnn", "toro"))]


def published_problem(entry, data) -> Problem:
    """Rebuild the training problem; eps = 1 / scale, so scaling the data sets the published eps."""
    scale = round(1 / data["eps"])
    X = np.rint(np.array(data["train_x"]) * scale).astype(np.int64)
    y = np.argmax(data["oh"], axis=1)
    dataset = Dataset.merge(X, y, scale=scale, classes=tuple(range(len(data["oh"][0]))))
    toro = entry["name"].startswith("toro")
    loss = LOSSES["toro_w" if "_w_" in entry["name"] else "max_m"] if toro else LOSSES[entry["loss"]]
    constraints: tuple[NeuronCount, ...] = ()
    if entry["neuron_price"]:
        price = Fraction(1, data["arch"][1]) if entry["loss"] == "min_hinge" else entry["neuron_price"]
        constraints = (NeuronCount(price),)
        loss = SatMargin(kept_only=True) if entry["loss"] == "sat_margin" else loss
    domain = IntegerDomain.symmetric(entry["P"] or 1)
    sizes = data["arch"]
    shape = Architecture.build(sizes[0], len(dataset.classes), sizes[1:-1], domain, outputs=sizes[-1])
    return Problem(shape, dataset, loss, constraints)


@pytest.mark.shared
@pytest.mark.skipif(not FOLDER.exists(), reason="the published instances are not beside the project")
@pytest.mark.parametrize("entry", entries(), ids=lambda e: e["name"])
def test_our_model_reaches_the_published_optimum(entry):
    data = json.loads((FOLDER / entry["data"]).read_text())
    problem = published_problem(entry, data)
    result = Exact(Solver.create("highs" if problem.loss.linear else "cpsat")).train(
        problem, Limits(seconds=120, threads=2)
    )
    assert result.certificate is not None
    assert result.certificate.optimal or result.status is Status.TOLERANCE, result
    assert result.certificate.gap <= 2e-6
    optimum = CORRECTED.get(entry["name"], entry["optimum"])
    sign = -1 if entry["sense"] == "max" else 1
    assert sign * result.certificate.loss_value == pytest.approx(optimum, abs=1e-6)
