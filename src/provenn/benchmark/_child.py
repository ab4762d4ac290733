"""The entry point of a run's process: reads a `Run` as JSON, trains, writes the row as JSON."""

import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from provenn.benchmark import discovery
from provenn.benchmark.runs import kill_tree
from provenn.benchmark.task import Job, Outcome, Rows, Split, Task
from provenn.errors import CapabilityError, MissingDependencyError, ProvennError
from provenn.formulations import Problem
from provenn.losses import SeparableLoss
from provenn.losses._base import Integers, weighted_sum
from provenn.milp import Limits
from provenn.trainers import Progress

CURVE_POINTS = 300
SAME_MOMENT = 0.02
PARENT_SECONDS = 0.5
Row = dict[str, Any]


class Curve:
    """Collects the anytime curve of a run, on the clock of the run."""

    def __init__(self) -> None:
        """Start empty."""
        self.begin(1.0)

    def begin(self, unit: float) -> None:
        """Start the clock; `unit` is the value of one unit of the loss."""
        self._unit = unit
        self._began = time.perf_counter()
        self._points: list[list[float | None]] = []

    @property
    def seconds(self) -> float:
        """Time since the run began."""
        return time.perf_counter() - self._began

    def note(self, progress: Progress) -> None:
        """Take an improvement; of bounds in quick succession only the last stays."""
        values = [None if value is None else value * self._unit for value in (progress.loss, progress.bound)]
        now = self.seconds
        last = self._points[-1] if self._points else None
        if last is not None and last[1] == values[0] and now - (last[0] or 0.0) < SAME_MOMENT:
            self._points.pop()
        self._points.append([now, *values])

    def thinned(self) -> list[list[float | None]]:
        """Return at most `CURVE_POINTS` points, first and last included."""
        if len(self._points) <= CURVE_POINTS:
            return self._points
        index = np.unique(np.linspace(0, len(self._points) - 1, CURVE_POINTS).astype(int))
        return [self._points[i] for i in index]


def figures(order: dict[str, Any], ready: Path) -> Row:
    """Carry out a run and return its row.

    Parameters
    ----------
    order : dict
        Fields of `provenn.benchmark.runs.Run`.
    ready : Path
        Created when the clock starts.
    """
    data = Path(order["data"]) if order["data"] is not None else None
    case = discovery.load(Path(order["folder"]), order["case"])
    task = next(t for t in discovery.tasks_of(case, data) if t.name == order["task"])
    method = discovery.method_of(case, order["method"])
    split = task.load(order["seed"])
    limits = Limits(order["seconds"], threads=order["threads"], seed=order["seed"])
    curve = Curve()
    job = Job(task, replace(split, test=None), limits, curve.note)
    try:
        unit = float(job.problem.unit) if method.needs_problem else 1.0
        method.prepare()
        ready.touch()
        curve.begin(unit)
        outcome = method.run(job)
    except (CapabilityError, MissingDependencyError) as error:
        return {"status": "skipped", "note": " ".join(str(error).split())}
    except ProvennError as error:
        return {"status": "failed", "note": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    seconds = curve.seconds
    row = {"status": "done", "note": outcome.note, "seconds": seconds, "peak_mib": peak_mib()}
    return {**row, **_quality(outcome, job), **_accuracies(outcome, split), **_curve(curve, outcome, job, seconds)}


def _quality(outcome: Outcome, job: Job) -> Row:
    """Return objective, bound and size; the loss of a network is computed here, whatever the method says."""
    loss, network = _loss(outcome, job), outcome.network
    gap = None if loss is None or outcome.bound is None else max(0.0, loss - outcome.bound) / max(abs(loss), 1e-9)
    return {
        "loss": loss,
        "bound": outcome.bound,
        "gap": gap,
        "floor": trivial_floor(job.problem) if outcome.bound is not None else None,
        "optimal": outcome.optimal,
        "proved_by": outcome.proved_by,
        "stopped": outcome.stopped,
        "nodes": outcome.nodes,
        "wrong": _wrong(job.task, loss, outcome),
        "nonzeros": None if network is None else network.nonzeros,
        "size_bits": outcome.size_bits if network is None else network.size_bits,
    }


def _loss(outcome: Outcome, job: Job) -> float | None:
    if outcome.network is None:
        return outcome.loss
    value = job.problem.value(outcome.network)
    return None if value is None else float(value * job.problem.unit)


def trivial_floor(problem: Problem) -> float | None:
    """Return the bound that takes no work, in real units: every sample at the best score that it alone can reach.

    Losses that are no sum of curves of scores have their constant floor, usually 0; None where there is none.
    """
    shape, data, loss = problem.architecture, problem.dataset, problem.loss
    if not isinstance(loss, SeparableLoss):
        return None if (floor := loss.floor(data)) is None else float(floor * problem.loss_unit)
    low, high = _score_range(problem)
    t = data.targets(shape.n_outputs)
    best = loss.curve(shape, data).exact(np.where(t > 0, high[:, None], -low[:, None]))
    return float(weighted_sum(best.sum(axis=1), data.multiplicity) * problem.loss_unit)


def _score_range(problem: Problem) -> tuple[Integers, Integers]:
    """Return the lowest and highest score of an output for each sample, arrays of shape (n,), as losses take them."""
    last, data = problem.architecture.layers[-1], problem.dataset
    b_low, b_high = (last.bias.low, last.bias.high) if last.bias is not None else (0, 0)
    if problem.architecture.hidden:
        reach = np.full(data.n_samples, last.n_in * last.weights.bound)
        return b_low - reach, b_high + reach
    ends = np.stack([data.X * last.weights.low, data.X * last.weights.high])
    return ends.min(axis=0).sum(axis=1) + b_low * data.scale, ends.max(axis=0).sum(axis=1) + b_high * data.scale


def _wrong(task: Task, loss: float | None, outcome: Outcome) -> bool:
    """Whether a result contradicts the known optimum."""
    optimum = task.optimum if outcome.optimum is None else outcome.optimum
    if optimum is None:
        return False
    slack = 1e-6 * max(1.0, abs(optimum))
    below = loss is not None and loss < optimum - slack
    other = outcome.optimal and (loss is None or loss > optimum + slack)
    return below or other or (outcome.bound is not None and outcome.bound > optimum + slack)


def _accuracies(outcome: Outcome, split: Split) -> Row:
    return {
        "train_accuracy": _accuracy(outcome, split.train),
        "validation_accuracy": outcome.validation,
        "test_accuracy": _accuracy(outcome, split.test),
    }


def _accuracy(outcome: Outcome, rows: Rows | None) -> float | None:
    predict = outcome.network.predict if outcome.network is not None else outcome.predict
    if rows is None or predict is None or not len(rows.y):
        return None
    right: NDArray[np.bool_] = predict(rows.X) == rows.y
    return 100.0 * float(right.mean())


def _curve(curve: Curve, outcome: Outcome, job: Job, seconds: float) -> Row:
    """Return the curve, ended by what the method returned."""
    loss = _loss(outcome, job)
    points = curve.thinned()
    if loss is not None and (not points or points[-1][1] != loss or points[-1][2] != outcome.bound):
        points.append([seconds, loss, outcome.bound])
    return {"curve": points}


def peak_mib() -> float | None:
    """Return the resident memory, at its highest, of the largest process of this run, in MiB.

    `ru_maxrss` of a process begins at that of its parent before `exec`; for the run's own process
    the kernel's high-water mark is used where there is one. Solver processes count by `ru_maxrss`.
    None where the platform has no such figures.
    """
    if sys.platform == "win32":
        return None
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    status = Path("/proc/self/status")
    if status.exists():
        lines = [line.split() for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        own = int(lines[0][1]) / 1024 if lines else own
    return max(own, children)


def _end_with(parent: int) -> None:
    """End this process and its descendants when the session that started it is gone."""
    while os.getppid() == parent and psutil.pid_exists(parent):
        time.sleep(PARENT_SECONDS)
    kill_tree(os.getpid())


def main() -> int:
    """Read the order from standard input; the row goes to the file that it names."""
    order = json.load(sys.stdin)
    threading.Thread(target=_end_with, args=(order.pop("parent"),), daemon=True).start()
    answer = Path(order.pop("answer"))
    answer.write_text(json.dumps(figures(order, answer.with_suffix(".ready"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
