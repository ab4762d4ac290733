"""Robust against nominal training: certified, attacked and noisy test accuracy over the size of perturbations.

Breast cancer (scikit-learn), half of the rows to train, a quarter to choose the temperature, a quarter to test. Two
networks, each trained nominally and for the worst perturbation of at most RADIUS in every scaled feature: one neuron
with weights of -3..3 and the logistic loss (proven optimal), and two step units with continuous weights counting
errors. Writes a table and a plot.

    python bench/robustness.py --splits 10 --seconds 10 --out results
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer

from provenn.choices import trainer_of
from provenn.formulations import Problem
from provenn.losses import Loss
from provenn.losses._worst_case import WorstCase
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, Grid, IntegerDomain, IntegerNetwork
from provenn.robustness import attacked_accuracy, certified_accuracy, noisy_accuracy

RADIUS = 0.03
SCALE = 10_000
AT = (0.0, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1)
TEMPERATURES = (0.25, 0.5, 1.0, 2.0)
CURVES = {"certified": certified_accuracy, "attacked": attacked_accuracy, "noisy": noisy_accuracy}


def splits(count: int) -> Iterator[tuple[Dataset, NDArray[np.int64], NDArray[np.int64], Dataset]]:
    """Yield training data, test rows and labels, and the rows to choose by."""
    X, y = load_breast_cancer(return_X_y=True)
    grid = Grid(SCALE).fit(X).transform(X)
    for seed in range(count):
        order = np.random.default_rng(seed).permutation(len(y))
        half, rest = len(y) // 2, 3 * len(y) // 4
        train, valid = (Dataset.merge(grid[p], y[p], scale=SCALE) for p in (order[:half], order[half:rest]))
        yield train, grid[order[rest:]], y[order[rest:]], valid


def neuron(features: int) -> Architecture:
    return Architecture.build(features, 2, (), IntegerDomain.symmetric(3), IntegerDomain.symmetric(127))


def steps(features: int) -> Architecture:
    box, reach = IntegerDomain.continuous(1.0), IntegerDomain.continuous(float(features))
    return Architecture.build(features, 2, (2,), box, reach, activation="step")


def trained(shape: Architecture, train: Dataset, loss: Loss, radius: float, limits: Limits) -> IntegerNetwork:
    if radius:
        loss = WorstCase(loss, (round(radius * SCALE),) * train.n_features)
    problem = Problem(shape, train, loss)
    result = trainer_of("auto", problem).train(problem, limits)
    assert result.network is not None
    return result.network


def chosen(shape: Architecture, train: Dataset, valid: Dataset, radius: float, limits: Limits) -> IntegerNetwork:
    """Return the network that is best on the rows to choose by, under the perturbations that it trained for."""
    losses: list[Loss] = [MaxCorrect()] if shape.hidden else [Logistic(t) for t in TEMPERATURES]
    share = replace(limits, seconds=limits.seconds / len(losses))
    networks = [trained(shape, train, loss, radius, share) for loss in losses]
    ball = (round(radius * SCALE),) * train.n_features
    scores = [certified_accuracy(network, valid.X, valid.y, ball) for network in networks]
    return networks[int(np.argmax(scores))]


def curves(network: IntegerNetwork, X: NDArray[np.int64], y: NDArray[np.int64]) -> dict[str, list[float]]:
    balls = [(round(radius * SCALE),) * X.shape[1] for radius in AT]
    return {name: [100 * curve(network, X, y, ball) for ball in balls] for name, curve in CURVES.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    limits = Limits(options.seconds, threads=options.threads)
    found: dict[str, list[dict[str, list[float]]]] = {}
    for train, X, y, valid in splits(options.splits):
        for name, shape in (("neuron", neuron(X.shape[1])), ("two steps", steps(X.shape[1]))):
            for kind, radius in (("nominal", 0.0), ("robust", RADIUS)):
                network = chosen(shape, train, valid, radius, limits)
                found.setdefault(f"{name}, {kind}", []).append(curves(network, X, y))
    table(found)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "robustness.json").write_text(json.dumps({"at": AT, "radius": RADIUS, "curves": found}))
        plot(found, options.out / "robustness.png")


def table(found: dict[str, list[dict[str, list[float]]]]) -> None:
    print(f"test accuracy in % (mean over splits), trained for {RADIUS}; columns: size of the perturbations")
    print(f"{'':32}" + "".join(f"{radius:>8}" for radius in AT))
    for name, runs in found.items():
        for curve in CURVES:
            means = np.mean([run[curve] for run in runs], axis=0)
            print(f"{name + ', ' + curve:32}" + "".join(f"{mean:8.1f}" for mean in means))


def plot(found: dict[str, list[dict[str, list[float]]]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), dpi=120, layout="constrained")
    axes = figure.subplots(1, len(CURVES), sharey=True)
    colours = ("#0072b2", "#0072b2", "#d55e00", "#d55e00")
    for ax, curve in zip(axes, CURVES, strict=True):
        for (name, runs), colour in zip(found.items(), colours, strict=True):
            values = np.array([run[curve] for run in runs])
            style = "-" if name.endswith("robust") else ":"
            ax.plot(AT, values.mean(axis=0), style, color=colour, label=name)
            spread = values.std(axis=0)
            ax.fill_between(
                AT, values.mean(axis=0) - spread, values.mean(axis=0) + spread, color=colour, alpha=0.1, lw=0
            )
        ax.axvline(RADIUS, color="#999999", linewidth=0.8)
        ax.set_title(f"{curve} accuracy", fontsize=10)
        ax.set_xlabel("largest change of a scaled feature")
    axes[0].set_ylabel("test accuracy, %")
    axes[-1].legend(fontsize=8, frameon=False, loc="lower left")
    figure.savefig(path)


if __name__ == "__main__":
    main()
