"""A picture of a network with two step units and continuous weights: its units' lines, their margins, its classes.

python bench/step_picture.py docs/_static/continuous_margins.png
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from provenn.formulations import Problem
from provenn.losses.max_correct import MaxCorrect
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, Dense, IntegerDomain, IntegerNetwork
from provenn.solvers import Solver
from provenn.trainers.exact import Exact

SCALE, MARGIN, SAMPLES = 1000, 0.04, 60
BOX, REACH = IntegerDomain.continuous(1.0), IntegerDomain.continuous(2.0)


def band(rng: np.random.Generator) -> Dataset:
    """Draw samples whose class is 1 between two lines."""
    X = rng.integers(0, SCALE + 1, (SAMPLES, 2))
    height = (X[:, 0] + X[:, 1]) / SCALE
    return Dataset.merge(X, ((height > 0.7) & (height < 1.3)).astype(int), scale=SCALE)


def trained(dataset: Dataset) -> IntegerNetwork:
    """Return a network that is proven to have the fewest errors."""
    hidden = Dense(2, 2, BOX, REACH, "step", MARGIN)
    shape = Architecture((hidden, Dense(2, 1, BOX, REACH, None, MARGIN)))
    result = Exact(Solver.create("highs")).train(Problem(shape, dataset, MaxCorrect()), Limits(60))
    assert result.network is not None
    assert result.certificate is not None
    print(f"errors {result.certificate.loss}, bound {result.certificate.bound}")
    return result.network


def draw(dataset: Dataset, network: IntegerNetwork, path: Path) -> None:
    figure = Figure(figsize=(4.6, 4.2), dpi=130, layout="constrained")
    axes = figure.subplots()
    across = np.arange(0, SCALE + 1, 4)
    grid = np.stack(np.meshgrid(across, across), axis=-1).reshape(-1, 2)
    classes = network.predict(grid).reshape(len(across), -1)
    place = across / SCALE
    axes.contourf(place, place, classes, levels=[-0.5, 0.5, 1.5], colors=["#f6e3d3", "#dcebf5"])
    a = network.trace(grid).preactivations[0] / network.architecture.unit(0, SCALE)
    for unit, colour in enumerate(("#117733", "#882255")):
        height: NDArray[np.float64] = a[:, unit].reshape(len(across), -1)
        axes.contour(place, place, height, levels=[0.0], colors=colour, linewidths=1.4)
        axes.contour(place, place, height, levels=[-MARGIN], colors=colour, linewidths=0.9, linestyles=":")
    for label, mark, colour in ((0, "s", "#d55e00"), (1, "o", "#0072b2")):
        chosen = dataset.X[dataset.y == label] / SCALE
        axes.plot(chosen[:, 0], chosen[:, 1], mark, color=colour, markersize=4.5, label=f"class {label}")
    axes.set(xlabel="first feature", ylabel="second feature", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.legend(loc="upper right", fontsize=8)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    path = parser.parse_args().path
    dataset = band(np.random.default_rng(3))
    draw(dataset, trained(dataset), path)


if __name__ == "__main__":
    main()
