"""Published models, and our bundled ones, are solved to their known optima."""

import json
from pathlib import Path

import pytest

from provenn.errors import InputError
from provenn.milp import Limits
from provenn.milp.lower import integer_rows
from provenn.milp.read import read_mps
from provenn.registry import load
from provenn.solvers import Solver

SHARED = Path(__file__).resolve().parents[2] / "shared" / "instances"
DATA = Path(__file__).parent / "data"
HARD = {"mipnn_heart_N60_s99413_h0_P1_max_correct": "gurobi", "mipnn_heart_N30_s465426341_h2_P1_min_hinge": "scip"}
"""Models in floats on which highs needs more time than a test should take, with a solver that is quick."""


def published():
    index = SHARED / "index.json"
    entries = json.loads(index.read_text()) if index.exists() else []
    return [entry for entry in entries if entry.get("optimum") is not None]


def bundled():
    path = DATA / "known_optima.json"
    return json.loads(path.read_text())["models"]


def fitting(milp):
    """Cpsat where all columns and coefficients are whole numbers of some unit, else highs."""
    try:
        integer_rows(milp)
    except InputError:
        return "highs"
    return "cpsat"


def solve(path, name=None, seconds=60.0):
    """Status and optimum of a file, in its own sense."""
    milp, sense = read_mps(path)
    solver = Solver.create(name or fitting(milp))
    found = solver.solve(milp, Limits(seconds=seconds, threads=2))
    assert found.x is not None
    assert milp.violation(found.x) < 1e-6
    return found.status.name, found.objective if sense == "min" else -found.objective


@pytest.mark.shared
def test_the_instances_are_there():
    if not SHARED.exists():
        pytest.skip("the folder with published instances is not beside the project")
    assert len(published()) > 30


@pytest.mark.shared
@pytest.mark.parametrize("entry", published(), ids=lambda entry: entry["name"])
def test_published_optimum(entry):
    solver = HARD.get(entry["name"])
    if solver is not None and not load("provenn.solvers", solver).available():
        pytest.skip(f"{solver} is not installed, and highs needs a minute or more")
    status, objective = solve(SHARED / entry["mps"], solver)
    assert status == "OPTIMAL"
    assert objective == pytest.approx(entry["optimum"], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("solver", ["cpsat", "highs", "brute_force"])
@pytest.mark.parametrize("entry", bundled(), ids=lambda entry: entry["file"])
def test_bundled_optimum(entry, solver):
    if solver not in entry["solvers"]:
        pytest.skip(f"not a model for {solver}")
    status, objective = solve(DATA / entry["file"], solver)
    assert (status, objective) == ("OPTIMAL", pytest.approx(entry["optimum"], abs=1e-6))
