"""A picture of the optimal cost of a facility problem against its demand, with bounds from one and from four trees.

python bench/tame_picture.py docs/_static/tame_facilities.png
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from provenn.milp import MILP, Builder, Terms
from provenn.tame import ValueFunction, branch_and_bound

SITES, CUSTOMERS, CAPACITY, PENALTY = 5, 9, 27.0, 12.0
FACTORS = np.linspace(0.5, 1.6, 111)
REFINED = (0.7, 1.25, 1.5)


def facilities(seed: int = 4) -> MILP:
    """Open sites, send goods at a cost for distance; demand that is not met costs a penalty."""
    rng = np.random.default_rng(seed)
    sites, customers = rng.random((SITES, 2)), rng.random((CUSTOMERS, 2))
    demand = rng.integers(3, 9, CUSTOMERS) * 1.0
    distance = np.round(10 * np.linalg.norm(sites[:, None] - customers, axis=2), 2)
    builder = Builder()
    opened = builder.columns("opened", (SITES,), 0, 1)
    flow = builder.columns("flow", (SITES, CUSTOMERS), 0, np.tile(2 * demand, (SITES, 1)), integer=False)
    missing = builder.columns("missing", (CUSTOMERS,), 0, 2 * demand, integer=False)
    builder.rows([Terms(flow.T, 1.0), Terms(missing[:, None], 1.0)], lower=demand)
    builder.rows([Terms(flow, 1.0), Terms(opened[:, None], -CAPACITY)], upper=0)
    builder.minimise(opened, rng.integers(15, 25, SITES))
    builder.minimise(flow, distance)
    builder.minimise(missing, PENALTY)
    return builder.build()


def with_demand(model: MILP, factor: float) -> MILP:
    """Return the model with all demands times a factor."""
    return replace(model, row_lower=model.row_lower * factor)


def panel(axes: Axes, z: ValueFunction, models: list[MILP], exact: NDArray[np.float64], title: str) -> None:
    """Draw what is known of the optimum."""
    low, high = np.array([z.bracket(model) for model in models]).T
    axes.fill_between(FACTORS, low, high, color="tab:blue", alpha=0.2, lw=0)
    axes.plot(FACTORS, high, color="tab:orange", label="best known assignment")
    axes.plot(FACTORS, exact, color="black", label="optimum z")
    axes.plot(FACTORS, low, color="tab:blue", label="dual function F")
    axes.set(title=title, xlabel="demand, as a multiple of the first")
    print(f"{title}: largest gap {(1 - low / high).max():.1%}, mean {(1 - low / high).mean():.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    first = facilities()
    models = [with_demand(first, factor) for factor in FACTORS]
    exact = np.array([branch_and_bound(model).value for model in models], dtype=np.float64)
    z = ValueFunction(first)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    panel(left, z, models, exact, "one tree, at demand 1")
    for factor in REFINED:
        z.refine(with_demand(first, factor))
    panel(right, z, models, exact, f"{len(z.certificates)} trees")
    left.set_ylabel("cost")
    left.legend(frameon=False)
    figure.savefig(output, dpi=150)


if __name__ == "__main__":
    main()
