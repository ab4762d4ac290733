"""Leaves out the doctests of modules whose libraries are not installed."""

from importlib.util import find_spec

EXTRAS = {"gurobi": "gurobipy", "scip": "pyscipopt"}
TORCH = ["src/provenn/tame/torch.py", "src/provenn/tame/_torch_*.py"]
collect_ignore_glob = TORCH if find_spec("torch") is None else []
collect_ignore_glob += ["src/provenn/tame/pyepo.py"] if find_spec("pyepo") is None else []
collect_ignore = [f"src/provenn/solvers/{name}.py" for name, module in EXTRAS.items() if find_spec(module) is None]
