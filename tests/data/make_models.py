"""Writes the bundled model files; their optima come from counting, not from a solver.

python tests/data/make_models.py
"""

import json
from itertools import product
from pathlib import Path

import numpy as np

from provenn.milp import MILP, Builder, Terms
from provenn.milp.write import write_mps

HERE = Path(__file__).parent
ALL = ["cpsat", "highs", "brute_force"]


def samples(n: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random signs and labels, so that no neuron is perfect."""
    rng = np.random.default_rng(seed)
    return rng.choice([-1, 1], (n, d)), rng.choice([-1, 1], n)


def ternary_neuron() -> tuple[MILP, float]:
    """Errors of one ternary neuron, ``t (w x) >= 1`` when right: conditional rows."""
    X, t = samples(24, 6, 1)
    builder = Builder()
    w = builder.columns("w", (6,), -1, 1)
    wrong = builder.columns("wrong", (24,), 0, 1)
    builder.rows([Terms(np.broadcast_to(w, X.shape), t[:, None] * X)], lower=1, when=(wrong, 0))
    builder.minimise(wrong, 1.0)
    errors = [int((t * (X @ np.array(v)) < 1).sum()) for v in product((-1, 0, 1), repeat=6)]
    return builder.build(), float(min(errors))


def odd_cycle_cover() -> tuple[MILP, float]:
    """Cover of the edges of a cycle of 9 by vertices: 5, where the relaxation says 4.5."""
    builder = Builder()
    x = builder.columns("x", (9,), 0, 1)
    builder.rows([Terms(np.stack([x, np.roll(x, 1)], axis=1), 1.0)], lower=1)
    builder.minimise(x, 1.0)
    return builder.build(), 5.0


def decimal_knapsack() -> tuple[MILP, float]:
    """A knapsack of decimals with a range and an offset."""
    rng = np.random.default_rng(2)
    weights, gains = rng.integers(1, 9999, 12) / 10000, rng.integers(1, 100, 12)
    builder = Builder()
    x = builder.columns("x", (12,), 0, 1)
    builder.rows([Terms(x, weights)], 0.5, 2.5)
    builder.minimise(x, -gains / 4)
    builder.offset = 7.25
    whole = np.rint(weights * 10000).astype(int)
    points = np.array(list(product((0, 1), repeat=12)))
    fits = (points @ whole >= 5000) & (points @ whole <= 25000)
    return builder.build(), 7.25 - float((points @ gains)[fits].max()) / 4


def widest_margin() -> tuple[MILP, float]:
    """Smallest margin of one neuron of weights -2..2, maximised: one continuous column."""
    X, _ = samples(12, 5, 3)
    t = np.where(X @ np.array([2, 1, -1, 1, 2]) > 0, 1, -1)
    builder = Builder()
    w = builder.columns("w", (5,), -2, 2)
    margin = builder.columns("margin", (1,), -np.inf, np.inf, integer=False)
    builder.rows([Terms(np.broadcast_to(w, X.shape), t[:, None] * X), Terms(margin, -1.0)], lower=0)
    builder.minimise(margin, -1.0)
    best = max(int((t * (X @ np.array(v))).min()) for v in product(range(-2, 3), repeat=5))
    return builder.build(), -float(best)


def main() -> None:
    """Write every model and the table of optima."""
    makers = [(ternary_neuron, ALL), (odd_cycle_cover, ALL), (decimal_knapsack, ALL), (widest_margin, ["highs"])]
    table = []
    for make, solvers in makers:
        milp, optimum = make()
        name = f"{make.__name__}.mps.gz"
        write_mps(milp, HERE / name)
        table.append({"file": name, "optimum": optimum, "solvers": solvers, "proved_by": "enumeration"})
    (HERE / "known_optima.json").write_text(json.dumps({"models": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
