"""Integer heads with constraints that gradients cannot enforce, and gradients through binary layers.

Three tables, mean and standard deviation over seeds; seconds of one core:

* heads on a frozen extractor and few samples: the optimum of the training MIP, the straight-through estimator
  with penalties (three prices, roundings checked on the way, the best admitted one counts; or the last one
  at one price), and a random head;
* an extractor trained below the head: lazy MIP head against straight-through, with the number of solves;
* the backward passes of `BinaryLayer` and their widths, on a teacher of binary units.

    python bench/tame_heads.py            # all tables, 10 seeds
    python bench/tame_heads.py heads 3    # one table, 3 seeds
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from provenn.formulations import SideConstraint
from provenn.formulations.sparsity import Sparsity
from provenn.losses import Model
from provenn.milp import Terms
from provenn.network import Architecture, IntegerDomain, IntegerNetwork
from provenn.tame.torch import BinaryLayer, MIPHead, on_grid, solve_here, to_integer_network

SCALE, REACH, MARGIN, WIDTH, BUDGET = 16, 1.0, 1.0, 20, 5
SECONDS = 600.0
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class ScoreGap(SideConstraint):
    """Demographic parity of mean scores: ``|mean of group 0 - mean of group 1| <= most``, a linear row."""

    group: tuple[int, ...]
    most: Fraction

    def _weights(self) -> NDArray[np.float64]:
        g = np.array(self.group)
        return np.where(g == 0, (g == 1).sum(), -(g == 0).sum()).astype(np.float64)

    def _limit(self, scale: int) -> float:
        g = np.array(self.group)
        return float(self.most * int((g == 0).sum()) * int((g == 1).sum()) * scale)

    def on(self, scores: Rows, scale: int) -> bool:
        """Whether the constraint holds, exactly on whole scores."""
        return bool(abs(self._weights() @ scores[:, 0]) <= self._limit(scale))

    def admits(self, network: IntegerNetwork) -> bool:
        """Leave scores to `on`: a network alone does not have them."""
        return True

    def add_to(self, model: Model, units: int) -> None:
        """Add the linear rows."""
        limit = self._limit(model.dataset.scale)
        model.builder.rows([Terms(model.preactivations[-1][:, 0], self._weights())], lower=-limit, upper=limit)


@dataclass(frozen=True)
class Anchors(SideConstraint):
    """Given samples must be scored right with the margin: ``t a >= margin``."""

    samples: tuple[int, ...]
    signs: tuple[int, ...]

    def on(self, scores: Rows, scale: int) -> bool:
        """Whether the constraint holds, exactly on whole scores."""
        return bool((np.array(self.signs) * scores[list(self.samples), 0] >= MARGIN * scale).all())

    def admits(self, network: IntegerNetwork) -> bool:
        """Leave scores to `on`: a network alone does not have them."""
        return True

    def add_to(self, model: Model, units: int) -> None:
        """Add the linear rows."""
        a = model.preactivations[-1][list(self.samples), :1]
        model.builder.rows([Terms(a, np.array(self.signs)[:, None])], lower=MARGIN * model.dataset.scale)


@dataclass(frozen=True)
class Task:
    """Frozen features of training and test samples, and a constraint."""

    train: torch.Tensor
    y: torch.Tensor
    test: torch.Tensor
    y_test: Rows
    constraint: SideConstraint

    def violated(self, network: IntegerNetwork) -> bool:
        """Whether a network breaks the constraint on the training samples."""
        if isinstance(self.constraint, Sparsity):
            return not self.constraint.admits(network)
        return not self.constraint.on(network.scores(units(self.train)), SCALE)

    def hinge(self, network: IntegerNetwork) -> float:
        """Return the mean training hinge."""
        z = (2 * self.y.numpy() - 1) * network.scores(units(self.train))[:, 0] / SCALE
        return float(np.maximum(MARGIN - z, 0).mean())

    def accuracy(self, network: IntegerNetwork) -> float:
        """Return the share of test samples that are right."""
        return float((network.predict(units(self.test)) == self.y_test).mean())


def units(features: torch.Tensor) -> Rows:
    """Features in whole grid units."""
    return on_grid(features, SCALE, REACH).detach().numpy().astype(np.int64)


def task(name: str, seed: int) -> Task:
    """Draw training samples and a random extractor ``tanh(x R)``."""
    rng = np.random.default_rng(seed)
    X, y, group = table(name)
    n = 60 if name == "diabetes, parity" else 40
    order = rng.permutation(len(y))
    train, test = order[:n], order[n:]
    X = (X - X[train].mean(axis=0)) / (X[train].std(axis=0) + 1e-9)
    features = np.tanh(X @ rng.normal(size=(X.shape[1], WIDTH)) / np.sqrt(X.shape[1]))
    constraint: SideConstraint = Sparsity(max_nonzeros=BUDGET)
    if group is not None:
        constraint = ScoreGap(tuple(int(g) for g in group[train]), Fraction(1, 50))
    elif name.endswith("anchors"):
        chosen = tuple(int(k) for k in rng.choice(n, 8, replace=False))
        constraint = Anchors(chosen, tuple(int(2 * y[train][k] - 1) for k in chosen))
    parts = torch.tensor(features[train]), torch.tensor(y[train]), torch.tensor(features[test])
    return Task(*parts, y[test], constraint)


def table(name: str) -> tuple[NDArray[np.float64], Rows, Rows | None]:
    """Return inputs, classes 0 and 1, and groups where fairness is asked for."""
    if name == "cancer, 5 weights":
        X, y = load_breast_cancer(return_X_y=True)
        return X, y.astype(np.int64), None
    if name == "diabetes, parity":
        X, value = load_diabetes(return_X_y=True)
        return np.delete(X, 1, axis=1), (value > np.median(value)).astype(np.int64), (X[:, 1] > 0).astype(np.int64)
    X, digit = load_digits(return_X_y=True)
    kept = np.ones(len(digit), dtype=bool) if name == "digits 0, 5 weights" else np.isin(digit, (3, 8))
    positive = 0 if name == "digits 0, 5 weights" else 8
    return X[kept], (digit[kept] == positive).astype(np.int64), None


def optimal(case: Task, seed: int) -> IntegerNetwork:
    """Return the optimum of the training MIP."""
    solve = partial(solve_here, seconds=SECONDS)
    head = MIPHead(
        Architecture.build(WIDTH, 2), scale=SCALE, reach=REACH, margin=MARGIN, constraints=[case.constraint],
        solve=solve, certify=None,
    )  # fmt: skip
    loss = head(case.train, case.y).item()
    PROVEN.append(loss - head.record.lower_bound < 1e-6)
    assert head.network is not None
    return head.network


def straight_through(case: Task, seed: int) -> IntegerNetwork:
    """Straight-through training with a penalty at three prices; the best rounding that is admitted, if any."""
    met = [known for price in (0.3, 1.0, 3.0) for known in roundings(case, seed, price)]
    ranked = [(case.violated(network), case.hinge(network), k, network) for k, network in enumerate(met)]
    return min(ranked)[3]


def unchecked(case: Task, seed: int) -> IntegerNetwork:
    """Return the last rounding of straight-through training with a penalty."""
    return list(roundings(case, seed, 1.0))[-1]


def roundings(case: Task, seed: int, price: float) -> Iterator[IntegerNetwork]:
    """Train with a penalty, and yield the integer weights on the way."""
    torch.manual_seed(seed)
    layer = BinaryLayer(WIDTH, 1, activation=None, scale=SCALE).double()
    optimiser = torch.optim.Adam(layer.parameters(), 0.03)
    t = 2.0 * case.y - 1
    for step in range(400):
        optimiser.zero_grad()
        scores = layer(case.train)[:, 0]
        loss = torch.relu(MARGIN - t * scores).mean() + price * penalty(case, layer, scores)
        loss.backward()
        optimiser.step()
        if step % 5 == 4:
            yield to_integer_network([layer], SCALE)


def penalty(case: Task, layer: BinaryLayer, scores: torch.Tensor) -> torch.Tensor:
    """How far the constraint is broken, differentiable."""
    constraint = case.constraint
    if isinstance(constraint, Sparsity):
        return torch.relu(layer.weight.abs().sum() - float(constraint.max_nonzeros or 0)) / WIDTH
    if isinstance(constraint, ScoreGap):
        g = torch.tensor(constraint.group)
        return torch.relu((scores[g == 0].mean() - scores[g == 1].mean()).abs() - float(constraint.most))
    assert isinstance(constraint, Anchors)
    return torch.relu(MARGIN - torch.tensor(constraint.signs) * scores[list(constraint.samples)]).mean()


def drawn(case: Task, seed: int) -> IntegerNetwork:
    """Draw a random head, turned so that it is right on most training samples."""
    network = IntegerNetwork.random(Architecture.build(WIDTH, 2), np.random.default_rng(seed), SCALE)
    flipped = IntegerNetwork.of(network.architecture, [-network.weights[0]], [-network.biases[0]], SCALE)
    return min((network, flipped), key=case.hinge)


HEADS: dict[str, Callable[[Task, int], IntegerNetwork]] = {
    "MIP head": optimal,
    "straight-through, checked": straight_through,
    "straight-through, last": unchecked,
    "random": drawn,
}
PROVEN: list[bool] = []


def spread(values: list[float], digits: int = 3) -> str:
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}"


def heads(seeds: int) -> Iterator[str]:
    yield "| task | head | training hinge | test accuracy % | violations | seconds |"
    yield "|---|---|---|---|---|---|"
    for name in ("digits 0, 5 weights", "cancer, 5 weights", "diabetes, parity", "digits 3 and 8, anchors"):
        cases = [task(name, seed) for seed in range(seeds)]
        for method, train in HEADS.items():
            rows, broken = [], 0
            for seed, case in enumerate(cases):
                began = time.process_time()
                network = train(case, seed)
                seconds = time.process_time() - began
                broken += case.violated(network)
                rows.append((case.hinge(network), 100 * case.accuracy(network), seconds))
            hinge, accuracy, spent = ([row[k] for row in rows] for k in range(3))
            yield (
                f"| {name} | {method} | {spread(hinge)} | {spread(accuracy, 1)} | {broken} of {seeds} | "
                f"{spread(spent, 2)} |"
            )
    yield f"proven optimal: {sum(PROVEN)} of {len(PROVEN)}"


def extractors(seeds: int) -> Iterator[str]:
    yield "| head | training hinge | test accuracy % | most non-zero weights | solves of 60 | seconds |"
    yield "|---|---|---|---|---|---|"
    runs: dict[str, Callable[[int], tuple[float, ...]]] = {
        "MIP, exact": lambda seed: end_to_end(seed, 0.0),
        "MIP, within 0.1": lambda seed: end_to_end(seed, 0.1),
        "straight-through": lambda seed: end_to_end(seed, None),
    }
    for name, run in runs.items():
        hinge, accuracy, nonzeros, solves, seconds = zip(*(run(seed) for seed in range(seeds)), strict=True)
        yield (
            f"| {name} | {spread(hinge)} | {spread(accuracy, 1)} | {max(nonzeros):.0f} | {spread(solves, 1)} | "
            f"{spread(seconds, 2)} |"
        )


def end_to_end(seed: int, tolerance: float | None) -> tuple[float, ...]:
    """Train 64 -> 6 tanh features below a head of at most 3 weights, on 40 images of 3 and 8."""
    X, y, _ = table("digits 3 and 8, anchors")
    order = np.random.default_rng(seed).permutation(len(y))
    x, labels = torch.tensor(X / 16.0)[order], torch.tensor(y)[order]
    torch.manual_seed(seed)
    extractor = torch.nn.Sequential(torch.nn.Linear(64, 6), torch.nn.Tanh()).double()
    head = MIPHead(Architecture.build(6, 2), scale=SCALE, reach=REACH, constraints=[Sparsity(max_nonzeros=3)],
                   tolerance=tolerance or 0.0)  # fmt: skip
    layer = BinaryLayer(6, 1, activation=None, scale=SCALE).double()
    parameters = [*extractor.parameters(), *(layer.parameters() if tolerance is None else [])]
    optimiser, began = torch.optim.Adam(parameters, 0.01), time.process_time()
    for _ in range(60):
        optimiser.zero_grad()
        features = extractor(x[:40])
        if tolerance is None:
            over = torch.relu(layer.weight.abs().sum() - 3) / 6
            loss = torch.relu(1 - (2.0 * labels[:40] - 1) * layer(features)[:, 0]).mean() + over
        else:
            loss = head(features, labels[:40])
        loss.backward()
        optimiser.step()
    seconds = time.process_time() - began
    network = to_integer_network([layer], SCALE) if tolerance is None else head.network
    assert network is not None
    z = network.scores(units(extractor(x)))[:, 0] / SCALE * (2 * labels.numpy() - 1)
    hinge, right = np.maximum(1 - z[:40], 0).mean(), 100 * (z[40:] >= 0).mean()
    return float(hinge), float(right), float(np.count_nonzero(network.weights[0])), head.record.solves, seconds


def layers(seeds: int) -> Iterator[str]:
    widths = (0.1, 0.25, 0.5, 1.0, 2.0)
    yield "| backward | " + " | ".join(f"width {w}" for w in widths) + " |"
    yield "|---|" + "---|" * len(widths)
    for family in ("qp", "entropy", "perturb"):
        cells = [spread([100 * student(family, w * np.sqrt(16), s) for s in range(seeds)], 1) for w in widths]
        yield f"| {family} | " + " | ".join(cells) + " |"
    lambdas = (10.0, 100.0, 1000.0, 10_000.0, 100_000.0)
    yield "| | " + " | ".join(f"λ = {w:g}" for w in lambdas) + " |"
    cells = [spread([100 * student("blackbox", w, s) for s in range(seeds)], 1) for w in lambdas]
    yield "| blackbox | " + " | ".join(cells) + " |"
    yield f"| zero | {spread([100 * student('zero', 1.0, s) for s in range(seeds)], 1)} |"


def student(family: str, width: float, seed: int) -> float:
    """Test accuracy of two binary hidden layers that learn a teacher of the same kind from 1,000 samples."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    domain = IntegerDomain.binary()
    teacher = IntegerNetwork.random(Architecture.build(16, 2, (5,), domain), rng)
    X = 2 * rng.integers(0, 2, (3000, 16)) - 1
    y = torch.tensor(teacher.predict(X))
    x = torch.tensor(X, dtype=torch.float32)
    chain = torch.nn.Sequential(
        BinaryLayer(16, 32, "binary", backward=family, width=width),  # type: ignore[arg-type]
        BinaryLayer(32, 16, "binary", backward=family, width=width),  # type: ignore[arg-type]
        BinaryLayer(16, 2, "binary", activation=None),
    )
    optimiser = torch.optim.Adam(chain.parameters(), 0.02)
    for step in range(300):
        rows = torch.randint(1000, (200,))
        for group in optimiser.param_groups:
            group["lr"] = 0.02 * (1 - step / 300)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(chain(x[rows]) / 4.0, y[rows]).backward()
        optimiser.step()
    network = to_integer_network(chain)
    return float((network.predict(X[1000:]) == y[1000:].numpy()).mean())


TABLES = {"heads": heads, "extractors": extractors, "layers": layers}


def main() -> None:
    torch.set_num_threads(1)
    chosen = sys.argv[1:2] or list(TABLES)
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    for name in chosen:
        print(f"\n{name}, {seeds} seeds")
        for line in TABLES[name](seeds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
