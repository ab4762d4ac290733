"""Leaves out the doctests of solvers whose libraries are not installed."""

from importlib.util import find_spec

EXTRAS = {"gurobi": "gurobipy", "scip": "pyscipopt"}
collect_ignore = [f"src/provenn/solvers/{name}.py" for name, module in EXTRAS.items() if find_spec(module) is None]
