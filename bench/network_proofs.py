"""Proofs of networks with hidden layers: what they take to find and to check, and where they end.

"train" is the tree as a trainer that begins with a constant network, "prove" a second search from the best value, which
is what `provenn train --proof` does after training; its tree is checked. Seconds are of the processor, on one core.
Nets are counted as log2 of their number. A row with "limit" met the limit of seconds: its proof shows the bound that is
told, and no more is known.

    python bench/network_proofs.py            # about a minute
    python bench/network_proofs.py --quick    # some seconds
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from tame import training

from provenn.bounds._network_tree_setup import network_bits
from provenn.bounds.network_tree import prove
from provenn.check_proof import Search
from provenn.formulations import Problem
from provenn.losses import Loss
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerDomain
from provenn.status import Status
from provenn.trainers.tree import Tree, compile_kernels, task_of

SECONDS = 20.0
NOISE = 0.1
HEADS = (
    "data",
    "inputs",
    "units",
    "P",
    "activation",
    "samples",
    "loss",
    "nets",
    "patterns",
    "nodes",
    "train",
    "prove",
    "check",
    "kB",
    "bound",
)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the seconds of the processor that it took."""
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def binary(
    inputs: int, n: int, hidden: tuple[int, ...] = (2,), P: int = 1, activation: str = "sign", loss: Loss | None = None
) -> Problem:
    """Draw binary samples whose label is (x1 xor x2) or (x3 and x4), a tenth of them flipped: much like monks-1."""
    rng = np.random.default_rng(inputs)
    X = rng.integers(0, 2, (n, inputs))
    y = (X[:, 0] ^ X[:, 1]) | (X[:, 2] & X[:, 3])
    y = np.where(rng.random(n) < NOISE, 1 - y, y)
    shape = Architecture.build(inputs, 2, hidden, IntegerDomain.symmetric(P), activation=activation)  # type: ignore[arg-type]
    return Problem(shape, Dataset.merge(X, y, classes=(0, 1)), loss or MaxCorrect())


def plane(n: int, hidden: tuple[int, ...] = (2,), P: int = 1, classes: int = 2, loss: Loss | None = None) -> Problem:
    """Draw points of a square with noisy classes along its diagonal."""
    rng = np.random.default_rng(n)
    X = rng.integers(0, 101, (n, 2))
    score = X.sum(axis=1) + rng.normal(0, 20, n)
    y = np.digitize(score, np.quantile(score, np.arange(1, classes) / classes))
    shape = Architecture.build(2, classes, hidden, IntegerDomain.symmetric(P))
    return Problem(shape, Dataset.merge(X, y, scale=100, classes=tuple(range(classes))), loss or MaxCorrect())


def small() -> list[tuple[str, Problem]]:
    """Return what takes milliseconds."""
    found = [("toy", training(n, loss)) for n in (16, 32, 64, 200) for loss in (MaxCorrect(), Logistic())]
    found += [("toy", plane(200, (2, 2), loss=loss)) for loss in (MaxCorrect(), Logistic())]
    found += [("toy", plane(200, P=P)) for P in (2, 3, 7)]
    found += [("toy, 3 classes", plane(100, classes=3, loss=loss)) for loss in (MaxCorrect(), Logistic())]
    found += [
        ("binary", binary(d, 10 * d, P=P, activation=a)) for d in (4, 5) for P in (1, 2) for a in ("sign", "step")
    ]
    return [*found, ("binary", binary(4, 40, (2, 2))), ("binary", binary(4, 40, (3,)))]


def larger() -> list[tuple[str, Problem]]:
    """Return what shows where it ends."""
    found = [("binary", binary(6, 60, activation=a)) for a in ("sign", "step")]
    found += [("binary", binary(6, 60, loss=Logistic())), ("binary", binary(6, 60, (2, 2)))]
    found += [("binary", binary(6, 60, P=2)), ("binary", binary(6, 60, (3,))), ("binary", binary(8, 150))]
    return [*found, ("binary", binary(9, 200)), ("toy", plane(200, (3,), P=3)), ("toy", plane(200, (4,)))]


def row(name: str, problem: Problem) -> str:
    """Train, prove, check; return a line of the table."""
    shape, task = problem.architecture, task_of(problem)
    limits = Limits(seconds=SECONDS)
    trained, train = timed(lambda: Tree().train(problem, limits))
    tree, build = timed(lambda: prove(task, trained.certificate.loss, limits))
    _, check = timed(lambda: Search(task.networks(), tree.cuts).check(tree.tree, tree.bound))
    size = len(json.dumps({"cuts": tree.cuts, "tree": tree.tree}, separators=(",", ":"))) / 1000
    units = "-".join(map(str, shape.hidden))
    told = f"{tree.bound}" if tree.status is Status.OPTIMAL else f"{tree.bound} of {trained.certificate.loss}, limit"
    first = shape.layers[0]
    return (
        f"| {name} | {shape.n_features} | {units} | {first.weights.high} | {first.activation} | "
        f"{problem.dataset.n_samples} | {type(problem.loss).__name__} | {network_bits(shape):.0f} | {tree.patterns} | "
        f"{tree.nodes} | {train:.3f} | {build:.3f} | {check:.3f} | {size:.1f} | {told} |"
    )


def main() -> None:
    """Print the table."""
    compile_kernels()
    print("| " + " | ".join(HEADS) + " |")
    print("|" + "---|" * len(HEADS))
    for name, problem in small() + ([] if "--quick" in sys.argv else larger()):
        print(row(name, problem), flush=True)


if __name__ == "__main__":
    main()
