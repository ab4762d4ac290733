"""Certificates of small MIPs: one table for each row of what a prototype showed, its figures beside.

Training problems have two inputs and two hidden ternary units, samples above and below a line, a fifth of the labels
flipped. Trees are those of pattern models (`provenn.tame.patterns`) and of big-M models (`Problem.encode`). The
opponent is a plain loop in Python over HiGHS on the big-M model (one warm model, best bound first, most fractional
column, told the optimum), whose leaves are checked one by one with Fractions (seconds from an even share of 2,000
leaves). Seconds are of the processor. Where a figure has a >, the loop was stopped.
The prototype was such a loop, on samples of its own. Its lazy heads and layer gradients: `bench/tame_heads.py`.

    python bench/tame.py            # about five minutes
    python bench/tame.py --quick    # without the opponent: about three minutes
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint
from scipy.optimize import milp as reference
from tame_opponent import Opponent

from provenn.formulations import Problem
from provenn.losses import Loss
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_hinge import MinHinge
from provenn.milp import MILP, Builder, Terms
from provenn.milp.lower import big_m
from provenn.milp.read import read_mps
from provenn.milp.write import write_mps
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.tame import DualCertificate, branch_and_bound, fixed_value
from provenn.tame._torch_hinge import PricedHinge, Range, Step, safe_price
from provenn.tame.patterns import PatternModel
from provenn.testing.toys import all_networks

SCALE = 100
FINE = 10_000
OPPONENT_SECONDS = 40.0
STEP = 1e-4
SIGMAS = (0.01, 0.05)
DRAWS = 32
"""Moves that prepare a certificate, drawn apart from those that test it."""
PROTOTYPE = {4: (935, 0.15, 0.3), 8: (2019, 0.5, 1.2), 12: (9069, 3.1, 8.6), 16: (5133, 3.1, 9.5)}
"""Nodes, seconds of the tree, seconds of the exact check, by number of samples."""


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the seconds of the processor that it took."""
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def training(n: int, loss: Loss) -> Problem:
    """Draw samples above and below a line, a fifth of the labels flipped."""
    rng = np.random.default_rng(n)
    X = rng.integers(0, SCALE + 1, (n, 2))
    y = (X.sum(axis=1) > SCALE).astype(np.int64)
    flipped = max(n // 5, 1)
    y[:flipped] = 1 - y[:flipped]
    y[-2:] = [0, 1]
    data = Dataset.merge(X, y, scale=SCALE, classes=(0, 1))
    return Problem(Architecture.build(2, 2, (2,), IntegerDomain.ternary()), data, loss)


def labelled(n: int, d: int, hidden: int, loss: Loss, kind: str, seed: int = 0, scale: int = FINE) -> Problem:
    """Draw samples that are labelled by a line with flips, by two crossed lines with flips, or by chance."""
    rng = np.random.default_rng(1000 * seed + n)
    X = rng.integers(0, scale + 1, (n, d))
    over = X > scale / 2  # noqa: SIM300
    total = X[:, :2].sum(axis=1)
    labels = {"line": total > scale, "xor": over[:, 0] ^ over[:, 1], "chance": rng.random(n) > 0.5}
    y = labels[kind]
    y = np.where((rng.random(n) < 0.15) & (kind != "chance"), ~y, y).astype(np.int64)
    y[:2] = [0, 1]
    data = Dataset.merge(X, y, scale=scale, classes=(0, 1))
    return Problem(Architecture.build(d, 2, (hidden,), IntegerDomain.ternary()), data, loss)


def implied(milp: MILP) -> MILP:
    """Make the columns continuous that are whole wherever weights and activations are."""
    integer = milp.integer.copy()
    for name, columns in milp.blocks.items():
        integer[columns.ravel()] &= name[0] not in "ac"
    return replace(milp, integer=integer)


def model_and_start(problem: Problem) -> tuple[MILP, np.ndarray]:
    """Return the lowered big-M model and an optimal point of it."""
    encoding = problem.encode()
    best = min(all_networks(problem), key=lambda network: problem.value(network) or 0)
    return implied(big_m(encoding.milp)), encoding.encode(best)


def tree_and_check(milp: MILP, start: np.ndarray | None = None) -> tuple[DualCertificate, str]:
    certificate, tree_s = timed(lambda: branch_and_bound(milp, start))
    shown, check_s = timed(certificate.verify)
    assert shown["optimal"], "the proof is not complete"
    return certificate, f"{certificate.tree.n_nodes:6} {tree_s:7.3f} {check_s:7.3f}"


def training_table(opponent: bool) -> None:
    print("nodes, seconds of the tree, seconds of the exact check (prototype: a loop of that kind, other samples)")
    print("training MIP     n value | patterns               kB | big-M                 ", end=" | ")
    print("loop over HiGHS, big-M      | prototype")
    for loss in (MaxCorrect(), PricedHinge(1.0)):
        for n, (nodes, tree_s, check_s) in PROTOTYPE.items():
            problem = training(n, loss)
            mine, text = tree_and_check(PatternModel.of(problem).milp)
            milp, start = model_and_start(problem)
            other, bigm = tree_and_check(milp, start)
            assert mine.value == other.value, "the two models differ"
            size = len(json.dumps(mine.to_dict())) / 1000
            print(
                f"{type(loss).__name__:12} {n:5} {mine.value:5g} | {text} {size:4.0f} | {bigm} | ", end="", flush=True
            )
            loop = opponent_text(milp, mine.value) if opponent else f"{'':28}"
            print(f"{loop} | {nodes:5} {tree_s:5} {check_s:5}", flush=True)


def opponent_text(milp: MILP, value: float) -> str:
    other = Opponent(milp, value)
    (nodes, finished), seconds = timed(lambda: other.run(OPPONENT_SECONDS))
    check_s = other.check()
    more = " " if finished else ">"
    return f"{more}{nodes:8} {more}{seconds:7.2f} {more}{check_s:7.2f}"


def larger_table() -> None:
    print("\nlarger, patterns       d units   n  value  rows columns   nodes  tree s check s")
    for loss in (MaxCorrect(), MinHinge()):
        for d, hidden, n, kind in (
            (2, 2, 24, "xor"), (2, 2, 32, "xor"), (2, 2, 64, "xor"), (2, 3, 32, "xor"), (2, 3, 32, "chance"),
            (3, 2, 24, "xor"), (3, 3, 24, "xor"), (3, 3, 32, "xor"), (4, 2, 24, "xor"),
        ):  # fmt: skip
            model = PatternModel.of(labelled(n, d, hidden, loss, kind, scale=SCALE))
            certificate, text = tree_and_check(model.milp)
            shape = f"{certificate.milp.n_rows:5} {certificate.milp.n_columns:7}"
            name = f"{type(loss).__name__} {kind}"
            print(f"{name:20} {d:3} {hidden:5} {n:3} {certificate.value:6g} {shape} {text}", flush=True)


def random_program(seed: int) -> MILP:
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(3, 9)), int(rng.integers(2, 8))
    A, x = rng.normal(size=(m, n)), rng.integers(-2, 3, n)
    return MILP(rng.normal(size=n), sparse.csr_matrix(A), A @ x - rng.random(m), A @ x + 2 * rng.random(m),
                np.full(n, -3.0), np.full(n, 3.0), rng.random(n) < (1.0 if seed % 2 else 0.6))  # fmt: skip


def random_table() -> None:
    trees, checks, closed, wrong, solves = 0.0, 0.0, 0, 0, 0
    for seed in range(80):
        milp, rng = random_program(seed), np.random.default_rng(seed)
        certificate, seconds = timed(lambda m=milp: branch_and_bound(m))
        shown, check_s = timed(certificate.verify)
        trees, checks, closed = trees + seconds, checks + check_s, closed + shown["optimal"]
        for _ in range(25):
            m = replace(
                milp, c=milp.c + 0.3 * rng.normal(size=milp.n_columns), A=milp.A + 0.1 * rng.normal(size=milp.A.shape),
                row_lower=milp.row_lower + 0.2 * rng.normal(size=milp.n_rows) - 0.5,
                row_upper=milp.row_upper + 0.2 * rng.normal(size=milp.n_rows) + 0.5,
            )  # fmt: skip
            solved = reference(m.c, constraints=LinearConstraint(m.A, m.row_lower, m.row_upper),
                               bounds=Bounds(m.col_lower, m.col_upper), integrality=m.integer)  # fmt: skip
            solves += 1
            wrong += bool(solved.status == 0 and certificate.lower_bound(m) > solved.fun + 1e-6)
    print(
        f"\n80 random programs: {closed} proven exactly, {wrong} violations in {solves} re-solves by HiGHS over", end=""
    )
    print(
        f" (A, b, c), {trees / 80e-3:.2f} ms a tree, {checks / 80e-3:.2f} ms a check (prototype: 80, 0 in 2000, 2 ms)"
    )


Way = tuple[np.ndarray, np.ndarray, np.ndarray]


def recourse(seed: int) -> tuple[MILP, Way]:
    """Draw a mixed model whose rows may be broken at a price, and a direction of its data."""
    rng = np.random.default_rng(seed)
    n, m = 3, 5
    builder = Builder()
    x = builder.columns("x", (n,), -2, 2)
    slack = builder.columns("slack", (m,), 0, 100, integer=False)
    builder.rows([Terms(np.tile(x, (m, 1)), rng.normal(size=(m, n))), Terms(slack[:, None], 1.0)], rng.normal(size=m))
    builder.minimise(x, rng.normal(size=n) * 0.3)
    builder.minimise(slack, 0.5 + rng.random(m))
    dA = np.where(np.arange(n + m) < n, rng.normal(size=(m, n + m)), 0.0)
    return builder.build(), (rng.normal(size=n + m), dA, rng.normal(size=m))


def along(milp: MILP, way: Way, t: float) -> MILP:
    dc, dA, db = way
    return replace(milp, c=milp.c + t * dc, A=sparse.csr_matrix(milp.A + t * dA), row_lower=milp.row_lower + t * db)


def slope(milp: MILP, way: Way) -> float:
    """Return the derivative of the optimal value along a direction, from one program with fixed integers."""
    at = fixed_value(milp, branch_and_bound(milp).x)
    dc, dA, db = way
    return float(at.x @ dc - at.y @ dA @ at.x + at.y @ db)


def difference(milp: MILP, way: Way) -> float | None:
    """Error of the slope against central differences; None where there is a kink within the step."""
    low, at, high = (branch_and_bound(along(milp, way, t)).value for t in (-STEP, 0.0, STEP))
    if abs(low + high - 2 * at) > 1e-2 * STEP:
        return None
    return abs(slope(milp, way) - (high - low) / (2 * STEP))


def feature_direction(seed: int) -> tuple[MILP, Way]:
    """Return the training MIP with priced activations, and a direction of its features."""
    problem, rng = training(5 + seed % 2, PricedHinge(1.0)), np.random.default_rng(seed)
    template = Step(problem, Range(SCALE, safe_price(problem.architecture))).template
    rows, columns = template.places
    X = problem.dataset.X + rng.uniform(-1, 1, problem.dataset.X.shape)
    milp = replace(template.filled(A=np.broadcast_to(X[:, None, :].swapaxes(1, 2), rows.shape)))
    dA = np.zeros(milp.A.shape)
    dA[rows, columns] = np.broadcast_to(rng.normal(size=X.shape)[:, :, None], rows.shape)
    return milp, (np.zeros(milp.n_columns), dA, np.zeros(milp.n_rows))


def gradient_table() -> None:
    for what, draw, count, before in (
        ("(A, b, c), random", recourse, 60, "60 of 60, error <= 7e-7"),
        ("X of a training MIP", feature_direction, 40, "40 of 40, error <= 4e-9"),
    ):
        errors = [difference(*draw(seed)) for seed in range(count)]
        known = np.array([error for error in errors if error is not None])
        print(f"dz/d{what:22} {int((known < 1e-6).sum())} of {len(known)}, {count - len(known)} at kinks,", end=" ")
        print(f"error <= {known.max():.0e} (prototype: {before})", flush=True)
    for name, milp, way in (("path integral", *recourse(201)), ("negative test, pure integer", *pure_integer())):
        change = branch_and_bound(along(milp, way, 1.0)).value - branch_and_bound(milp).value
        total = integral(lambda t, m=milp, w=way: slope(along(m, w, t), w))
        print(f"{name}: {total:.6f}, change of z {change:.6f}, apart by {abs(total - change):.0e}", flush=True)


def pure_integer() -> tuple[MILP, Way]:
    """Return a model whose value jumps: the integral of its slope, 0, must miss the change."""
    builder = Builder()
    x = builder.columns("x", (2,), 0, 5)
    builder.rows([Terms(x, [1.0, 2.0])], lower=0.5)
    builder.minimise(x, [1.0, 1.5])
    return builder.build(), (np.zeros(2), np.zeros((1, 2)), np.array([3.0]))


def integral(f: Callable[[float], float], pieces: int = 160) -> float:
    """Integrate from 0 to 1 by Lobatto's rule, which sees the ends of pieces; halve them where that changes it."""
    nodes, weights = (-1, -(0.2**0.5), 0.2**0.5, 1), (1 / 6, 5 / 6, 5 / 6, 1 / 6)

    def lobatto(a: float, b: float) -> float:
        return float(
            (b - a) / 2 * sum(w * f((a + b) / 2 + (b - a) / 2 * s) for s, w in zip(nodes, weights, strict=True))
        )

    def refined(a: float, b: float, whole: float) -> float:
        middle = (a + b) / 2
        halves = lobatto(a, middle), lobatto(middle, b)
        if abs(sum(halves) - whole) < 1e-8 or b - a < 1e-6:
            return sum(halves)
        return refined(a, middle, halves[0]) + refined(middle, b, halves[1])

    ends = np.linspace(0, 1, pieces + 1).tolist()
    return sum(refined(a, b, lobatto(a, b)) for a, b in pairwise(ends))


def realisable_line() -> None:
    nodes = []
    for seed in range(20):
        problem, rng = labelled(16, 2, 2, MaxCorrect(), "line", seed), np.random.default_rng(seed)
        teacher = IntegerNetwork.random(problem.architecture, rng, FINE)
        data = replace(problem.dataset, y=teacher.predict(problem.dataset.X))
        model = PatternModel.of(problem.on(data))
        nodes.append(branch_and_bound(model.milp, model.encode(teacher)).tree.n_nodes)
    print(f"\nrealisable data, told the network, 20 problems: at most {max(nodes)} node (prototype: one)")


def moved_table() -> None:
    """Three times four samples, four moves of each: 48 cases."""
    print("\nold certificates on moved features: old weights proven within 5 % of the optimum, of those that are")
    print("(prototype, sigma 0.01: 46 of 48 cases, 4 ms for 50 ms; warm start: same value 72/72, 71 LPs for 3,822)")
    print("                             proven: as built, prepared, true | ms: bound, prepared, fresh", end=" | ")
    print("same value, LPs, fresh LPs | prepared in ms")
    for loss in (PricedHinge(1.0), MaxCorrect()):
        for kind in ("line", "chance"):
            for sigma in SIGMAS:
                rows = [row for n in (8, 12, 16) for base in range(4) for row in moved_case(loss, kind, n, base, sigma)]
                total = np.sum(rows, axis=0)
                count, proven, prepared, true, same, warm, fresh = total[:7].astype(int)
                times = (total[7:] / count * 1e3).round(2)
                text = f"{type(loss).__name__:12} {kind:8} {sigma:4} {proven:12} {prepared:9} {true:5} of {count} |"
                text += f" {times[0]:9} {times[1]:9} {times[2]:6} | {same:10} {warm:5} {fresh:5}"
                print(f"{text} | {4 * times[3]:8.0f}", flush=True)


def moved_case(loss: Loss, kind: str, n: int, base: int, sigma: float) -> list[list[float]]:
    """Move the features of one problem four times; other draws prepare a certificate."""
    problem = labelled(n, 2, 2, loss, kind, base)
    model = PatternModel.of(problem, movable=True)

    def moved(seed: int) -> PatternModel:
        shift = sigma * FINE * np.random.default_rng([base, seed]).normal(size=problem.dataset.X.shape)
        return model.at(np.clip(problem.dataset.X + np.rint(shift).astype(np.int64), 0, FINE))

    old = branch_and_bound(model.milp)
    ready, ready_s = timed(lambda: old.prepared(moved(DRAWS + k).milp for k in range(DRAWS)))
    return [[*moved_row(old, ready, model.decode(old.x), moved(seed)), ready_s / 4] for seed in range(4)]


def moved_row(old: DualCertificate, ready: DualCertificate, network: IntegerNetwork, new: PatternModel) -> list[float]:
    bound, bound_s = timed(lambda: old.lower_bound(new.milp))
    better, better_s = timed(lambda: ready.lower_bound(new.milp))
    fresh, fresh_s = timed(lambda: branch_and_bound(new.milp))
    warm, value = old.warm_start(new.milp), new.problem.value(network)
    assert bound - 1e-9 <= better <= fresh.value + 1e-9, "a bound is above the optimum"
    near = [value <= low + 0.05 * abs(low) + 1e-9 for low in (bound, better, fresh.value)]
    return [1, *near, warm.value == fresh.value, warm.programs, fresh.programs, bound_s, better_s, fresh_s]


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
    larger_table()
    random_table()
    gradient_table()
    realisable_line()
    moved_table()
    file_table()


if __name__ == "__main__":
    main()
