"""Seconds that each solver needs on every published training model with a known optimum.

    python bench/solvers_on_instances.py [--seconds 60] [--threads 2] [--solvers cpsat highs] [--instances FOLDER]

A number is the time of a correct proof, ``-`` means that the solver does not take the model, ``limit``
that it stopped early, with its objective and bound; anything else is a wrong answer and fails the run.
"""

import argparse
import json
import sys
from pathlib import Path

from provenn.errors import InputError, SolverError
from provenn.milp import MILP, Limits
from provenn.milp.read import read_mps
from provenn.registry import names
from provenn.solvers import Solver

HERE = Path(__file__).resolve()
INSTANCES = HERE.parents[2] / "shared" / "instances"


def cell(solver: Solver, milp: MILP, sign: float, optimum: float, limits: Limits) -> tuple[str, float | None]:
    try:
        found = solver.solve(milp, limits)
    except InputError:
        return "-", None
    except SolverError as error:
        return str(error)[:30], None
    if found.status.stopped_early:
        shown = [f"{sign * value:.6g}" if value is not None else "?" for value in (found.objective, found.bound)]
        return f"limit {'/'.join(shown)}", None
    right = found.objective is not None and abs(sign * found.objective - optimum) <= 1e-4 * max(1, abs(optimum))
    return (f"{found.seconds:.1f}" if right else f"WRONG {found.objective}"), found.seconds if right else None


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--solvers", nargs="*", default=[n for n in names("provenn.solvers") if n != "brute_force"])
    parser.add_argument("--instances", type=Path, default=INSTANCES)
    parser.add_argument("--option", nargs="*", default=[], help="name=value, for all solvers")
    arguments = parser.parse_args()
    options = dict(pair.split("=", 1) for pair in arguments.option)
    solvers = {name: Solver.create(name, **options) for name in arguments.solvers}
    solvers = {name: solver for name, solver in solvers.items() if solver.available()}
    limits = Limits(seconds=arguments.seconds, threads=arguments.threads)
    print(f"{'instance':48} {'columns':>7} {'rows':>6}", *(f"{name:>20}" for name in solvers), flush=True)
    wrong, totals, proofs = 0, dict.fromkeys(solvers, 0.0), dict.fromkeys(solvers, 0)
    for entry in json.loads((arguments.instances / "index.json").read_text()):
        if entry.get("optimum") is None:
            continue
        milp, sense = read_mps(arguments.instances / entry["mps"])
        sign = 1.0 if sense == "min" else -1.0
        row = []
        for name, solver in solvers.items():
            text, seconds = cell(solver, milp, sign, entry["optimum"], limits)
            wrong += text.startswith("WRONG")
            totals[name] += arguments.seconds if seconds is None and text != "-" else seconds or 0.0
            proofs[name] += seconds is not None
            row.append(f"{text:>20}")
        print(f"{entry['name'][:48]:48} {milp.n_columns:7} {milp.n_rows:6}", *row, flush=True)
    print(f"{'seconds, limits counted in full':48} {'':7} {'':6}", *(f"{totals[name]:20.1f}" for name in solvers))
    print(f"{'proofs':48} {'':7} {'':6}", *(f"{proofs[name]:20}" for name in solvers))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
