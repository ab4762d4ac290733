from importlib.metadata import EntryPoint

import pytest

from provenn import registry
from provenn.errors import InputError
from provenn.losses import Loss
from provenn.losses.max_correct import MaxCorrect
from provenn.solvers import Solver

EXPECTED = {"logistic", "max_correct", "sat_margin", "min_hinge", "min_weight", "max_margin"}


def test_files_are_the_registry():
    assert set(registry.names("provenn.losses")) >= EXPECTED
    assert set(registry.names("provenn.solvers")) >= {"cpsat", "highs", "scip", "gurobi", "brute_force"}
    for name in registry.names("provenn.losses"):
        assert issubclass(registry.load("provenn.losses", name), Loss)
    for name in registry.names("provenn.solvers"):
        assert issubclass(registry.load("provenn.solvers", name), Solver)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(InputError, match=r"unknown name 'hinge' in losses: choose one of .*min_hinge"):
        registry.load("provenn.losses", "hinge")


def test_other_distributions_add_pieces_by_entry_points(monkeypatch):
    point = EntryPoint("mine", "provenn.losses.max_correct:MaxCorrect", "provenn.losses")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "provenn.losses" else [])
    assert "mine" in registry.names("provenn.losses")
    assert registry.load("provenn.losses", "mine") is MaxCorrect
    assert "mine" not in registry.names("provenn.solvers")
