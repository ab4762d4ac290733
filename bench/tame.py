"""Certificates of small MIPs: size of trees, seconds to build and to check, use under changed data.

Training problems have two inputs and two hidden ternary units. The opponent is a plain loop in Python over HiGHS
(one warm model, best bound first, most fractional column), whose leaves are checked one by one with Fractions. A
prototype of that kind needed 0.15 / 0.5 / 3.1 / 3.1 s for n = 4 / 8 / 12 / 16 samples of its own, with 935 / 2,019 /
9,069 / 5,133 nodes, and 0.3 / 1.2 / 8.6 / 9.5 s for the exact check; the goal is a tenth of both. Seconds are of the
processor, on one core.

    python bench/tame.py            # about two minutes
    python bench/tame.py --quick    # without the opponent
"""

import heapq
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import highspy
import numpy as np
from scipy import sparse

from provenn.formulations import Problem
from provenn.losses import Loss
from provenn.losses.max_correct import MaxCorrect
from provenn.milp import MILP, Builder, Terms
from provenn.milp.lower import big_m
from provenn.milp.read import read_mps
from provenn.milp.write import write_mps
from provenn.network import Architecture, Dataset, IntegerDomain
from provenn.tame import branch_and_bound, fixed_value
from provenn.tame._torch_hinge import PricedHinge, Range, Step, safe_price
from provenn.testing.toys import all_networks

SCALE = 100
OPPONENT_SECONDS = 10.0
SIGMAS = (0.01, 0.05)
PRICE = 0.05
"""Units of the objective for a hundredth of a feature's range."""


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the seconds of the processor that it took."""
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def training(n: int, loss: Loss, sigma: float = 0.0, seed: int = 0) -> Problem:
    """Draw samples above and below a line, a fifth of the labels flipped; move features by sigma of their range."""
    rng = np.random.default_rng(n)
    X = rng.integers(0, SCALE + 1, (n, 2))
    y = (X.sum(axis=1) > SCALE).astype(np.int64)
    flipped = max(n // 5, 1)
    y[:flipped] = 1 - y[:flipped]
    y[-2:] = [0, 1]
    X = X + np.rint(sigma * SCALE * np.random.default_rng(seed).normal(size=X.shape)).astype(np.int64)
    data = Dataset.merge(np.clip(X, 0, SCALE), y, scale=SCALE, classes=(0, 1))
    return Problem(Architecture.build(2, 2, (2,), IntegerDomain.ternary()), data, loss)


def model_and_start(problem: Problem) -> tuple[MILP, np.ndarray]:
    """Return the lowered model and an optimal point of it."""
    encoding = problem.encode()
    best = min(all_networks(problem), key=lambda network: problem.value(network) or 0)
    return implied(big_m(encoding.milp)), encoding.encode(best)


class Opponent:
    """Branch and bound in Python over one warm HiGHS model."""

    def __init__(self, milp: MILP, cutoff: float) -> None:
        """Load the relaxation."""
        self.milp, self.cutoff, self.leaves = milp, cutoff, []
        self.highs = highspy.Highs()
        self.highs.setOptionValue("output_flag", False)
        self.highs.setOptionValue("threads", 1)
        self.highs.setOptionValue("presolve", "off")
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = milp.n_columns, milp.n_rows
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = milp.c, milp.col_lower, milp.col_upper
        lp.row_lower_, lp.row_upper_ = milp.row_lower, milp.row_upper
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = milp.A.indptr, milp.A.indices, milp.A.data
        self.highs.passModel(lp)

    def run(self, seconds: float) -> tuple[int, bool]:
        """Return the nodes, and whether the tree was finished."""
        began, nodes = time.process_time(), 0
        heap: list[tuple[float, int, np.ndarray, np.ndarray]] = [(-np.inf, 0, self.milp.col_lower, self.milp.col_upper)]
        columns = np.arange(self.milp.n_columns, dtype=np.int32)
        while heap and time.process_time() - began < seconds:
            _, _, low, high = heapq.heappop(heap)
            nodes += 1
            self.highs.changeColsBounds(len(columns), columns, low, high)
            self.highs.run()
            feasible = self.highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
            solution = self.highs.getSolution()
            bound = self.highs.getObjectiveValue() if feasible else np.inf
            if bound >= self.cutoff - 1e-7:
                self.leaves.append((np.array(solution.row_dual) if feasible else None, low, high))
                continue
            x = np.array(solution.col_value)
            off = np.where(self.milp.integer, np.abs(x - np.rint(x)), 0)
            j = int(np.argmax(off))
            if off[j] < 1e-6:
                self.leaves.append((np.array(solution.row_dual), low, high))
                continue
            for side in range(2):
                child_low, child_high = low.copy(), high.copy()
                (child_low if side else child_high)[j] = np.floor(x[j]) + side
                heapq.heappush(heap, (bound, 2 * nodes + side, child_low, child_high))
        return nodes, not heap

    def check(self) -> None:
        """Compute every leaf's bound in Fractions."""
        milp = self.milp
        rows = [
            list(zip(milp.A[i].indices.tolist(), map(Fraction, milp.A[i].data.tolist()), strict=True))
            for i in range(milp.n_rows)
        ]
        for y, low, high in self.leaves:
            if y is None:
                continue
            reduced, total = [Fraction(v) for v in milp.c.tolist()], Fraction(0)
            for i, v in enumerate(np.round(y * 2**20) / 2**20):
                side = milp.row_lower[i] if v > 0 else milp.row_upper[i]
                if v and np.isfinite(side):
                    total += Fraction(v) * Fraction(side)
                    for j, a in rows[i]:
                        reduced[j] -= Fraction(v) * a
            total += sum(min(r * Fraction(a), r * Fraction(b)) for r, a, b in zip(reduced, low, high, strict=True))


def training_table(opponent: bool) -> None:
    ours = "training MIP              n   rows columns | value  nodes   LPs  tree s  check s  proof kB"
    print(ours, "| opponent: nodes  tree s  check s")
    for loss in (MaxCorrect(), PricedHinge(1.0)):
        for n in (4, 8, 12, 16):
            milp, start = model_and_start(training(n, loss))
            certificate, tree_s = timed(lambda m=milp, x=start: branch_and_bound(m, x))
            proof = certificate.to_dict()
            shown, check_s = timed(certificate.verify)
            assert shown["optimal"], "the proof is not complete"
            text = f"{type(loss).__name__:20} {n:6} {milp.n_rows:6} {milp.n_columns:7} |"
            text += f" {certificate.value:5g} {certificate.tree.n_nodes:6}"
            text += f" {certificate.programs:5} {tree_s:7.3f} {check_s:8.3f} {len(json.dumps(proof)) / 1000:9.0f} |"
            print(text + (opponent_text(milp, certificate.value) if opponent else ""), flush=True)


def opponent_text(milp: MILP, value: float) -> str:
    other = Opponent(milp, value)
    (nodes, finished), seconds = timed(lambda: other.run(OPPONENT_SECONDS))
    _, check_s = timed(other.check)
    return f" {'' if finished else '>'}{nodes:8} {'' if finished else '>'}{seconds:7.2f} {check_s:8.2f}"


def random_table() -> None:
    trees, checks, closed = 0.0, 0.0, 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        n, m = int(rng.integers(3, 9)), int(rng.integers(2, 8))
        A, x = rng.normal(size=(m, n)), rng.integers(-2, 3, n)
        milp = MILP(rng.normal(size=n), sparse.csr_matrix(A), A @ x - rng.random(m), A @ x + 2 * rng.random(m),
                    np.full(n, -3.0), np.full(n, 3.0), rng.random(n) < (1.0 if seed % 2 else 0.6))  # fmt: skip
        certificate, seconds = timed(lambda m=milp: branch_and_bound(m))
        shown, check_s = timed(certificate.verify)
        trees, checks, closed = trees + seconds, checks + check_s, closed + shown["optimal"]
    times = f"{trees / 80e-3:.2f} ms a tree, {checks / 80e-3:.2f} ms a check"
    print(f"\n80 random programs: {closed} with gap exactly 0; {times}")


def priced(n: int, sigma: float = 0.0, seed: int = 0) -> MILP:
    """Return a model in which activations have a low price: its value is Lipschitz in the features.

    Its M hold for all features of the range.
    """
    problem = training(n, PricedHinge(1.0), sigma, seed)
    milp = implied(big_m(Step(problem, Range(SCALE, safe_price(problem.architecture))).milp))
    c = milp.c.copy()
    c[milp.blocks["activation_slack"].ravel()] = PRICE
    return replace(milp, c=c)


def implied(milp: MILP) -> MILP:
    """Make the columns continuous that are whole wherever weights and activations are."""
    integer = milp.integer.copy()
    for name, columns in milp.blocks.items():
        integer[columns.ravel()] &= name[0] not in "ac"
    return replace(milp, integer=integer)


def moved_table() -> None:
    print("\nmoved features   within 5%  lower bound ms  fresh ms | warm start: same value   LPs  fresh LPs")
    for sigma in SIGMAS:
        near = same = count = 0
        spent, lps = np.zeros(2), np.zeros(2, dtype=np.int64)
        for n in (6, 8):
            first = priced(n)
            old = branch_and_bound(first)
            for seed in range(8):
                milp = priced(n, sigma, seed)
                if milp.A.shape != old.milp.A.shape:
                    continue
                count += 1
                bound, bound_s = timed(lambda c=old, m=milp: c.lower_bound(m))
                fresh, fresh_s = timed(lambda m=milp: branch_and_bound(m))
                warm = old.warm_start(milp)
                spent += bound_s, fresh_s
                near += fixed_value(milp, old.x).value <= bound + 0.05 * abs(bound) + 1e-9
                same += abs(warm.value - fresh.value) < 1e-9 * (1 + abs(fresh.value))
                lps += warm.programs, fresh.programs
        times = f"{spent[0] / count * 1e3:13.2f} {spent[1] / count * 1e3:10.1f}"
        print(f"sigma {sigma:4}    {near:4} of {count:3} {times} | {same:10} of {count:3} {lps[0]:10} {lps[1]:10}")


def knapsack() -> MILP:
    rng = np.random.default_rng(3)
    builder = Builder()
    x = builder.columns("x", (30,), 0, 1)
    weights = rng.integers(10, 60, (2, 30))
    builder.rows([Terms(np.tile(x, (2, 1)), weights)], upper=weights.sum(axis=1) // 2)
    builder.minimise(x, -rng.integers(10, 60, 30))
    return builder.build()


def facilities() -> MILP:
    """Six sites, twelve customers, capacities; flows have the demand as their bound."""
    rng = np.random.default_rng(4)
    sites, customers = rng.random((6, 2)), rng.random((12, 2))
    demand = rng.integers(3, 9, 12) * 1.0
    builder = Builder()
    opened = builder.columns("opened", (6,), 0, 1)
    flow = builder.columns("flow", (6, 12), 0, np.tile(demand, (6, 1)), integer=False)
    builder.rows([Terms(flow.T, 1.0)], lower=demand, upper=demand)
    builder.rows([Terms(flow, 1.0), Terms(opened[:, None], -30.0)], upper=0.0)
    builder.rows(
        [Terms(flow.reshape(-1, 1), 1.0), Terms(np.repeat(opened, 12)[:, None], -np.tile(demand, 6)[:, None])],
        upper=0.0,
    )
    builder.minimise(opened, rng.integers(15, 25, 6))
    builder.minimise(flow, np.linalg.norm(sites[:, None] - customers[None], axis=2) * 10)
    return builder.build()


def file_table() -> None:
    left = "\nfrom MPS files    value   nodes  tree s | sum |dz/dc|  sum |dz/db|"
    print(left, "| bound / optimum with all costs and sides moved by 1 %, 5 %")
    rng = np.random.default_rng(0)
    for name, made in (("knapsack", knapsack()), ("facilities", facilities())):
        with tempfile.TemporaryDirectory() as folder:
            write_mps(made, Path(folder) / "model.mps")
            milp, _ = read_mps(Path(folder) / "model.mps")
        certificate, seconds = timed(lambda m=milp: branch_and_bound(m))
        at = fixed_value(milp, certificate.x)
        text = f"{name:12} {certificate.value:10.2f} {certificate.tree.n_nodes:7} {seconds:7.3f} |"
        text += f" {np.abs(at.x).sum():10.1f} {np.abs(at.y).sum():12.1f} |"
        for size in (0.01, 0.05):
            c = milp.c * (1 + size * rng.uniform(-1, 1, milp.n_columns))
            tighter = 1 - size * rng.random(milp.n_rows)
            moved = replace(
                milp,
                c=c,
                row_upper=np.where(milp.row_lower == milp.row_upper, milp.row_upper, milp.row_upper * tighter),
            )
            text += f" {certificate.lower_bound(moved):9.2f} / {certificate.warm_start(moved).value:9.2f}"
        print(text, flush=True)


def main() -> None:
    branch_and_bound(knapsack()).lower_bound()  # compile
    training_table("--quick" not in sys.argv)
    random_table()
    moved_table()
    file_table()


if __name__ == "__main__":
    main()
