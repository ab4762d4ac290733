"""One run, one process: started afresh, watched, and killed well after its limit."""

import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import psutil

Row = dict[str, Any]
COMMAND = ("-P", "-m", "provenn.benchmark._child")
POLL_SECONDS = 0.02
START_SECONDS = 600.0
"""Time for imports, loading data and compiling, before the clock of a run starts."""
LAST_LINES = 3
LIBRARIES = ("provenn", "numpy", "scikit-learn", "ortools", "highspy", "pyscipopt", "gurobipy", "torch")


@dataclass(frozen=True)
class Run:
    """One method on one task with one seed.

    Parameters
    ----------
    folder : str
        Of the cases.
    case, task, method : str
    seed : int
        Of the split and of the method.
    data : str or None
        Folder of the data.
    seconds : float
        Time limit.
    threads : int
    """

    folder: str
    case: str
    task: str
    method: str
    seed: int
    data: str | None
    seconds: float
    threads: int = 1

    @property
    def hard_limit(self) -> float:
        """Seconds after which the process is killed."""
        return 1.5 * self.seconds + 20.0


def carry_out(run: Run, hard_limit: float | None = None) -> Row:
    """Carry out a run in a process of its own and return its row.

    A process that dies is a row with the status ``crashed`` and its last words, one that does not
    stop is killed and a row with the status ``killed``. Ctrl-C ends the process and propagates.
    """
    began = time.time()
    with tempfile.TemporaryDirectory(prefix="provenn-bench-") as folder:
        answer = Path(folder) / "row.json"
        with _process(run, answer) as (process, stderr):
            limit = run.hard_limit if hard_limit is None else hard_limit
            fate = _wait(process, answer.with_suffix(".ready"), limit)
            row = _row(process, answer, stderr, fate, limit)
    identity = {k: v for k, v in asdict(run).items() if k not in ("folder", "data", "seconds")}
    return {**identity, "limit": run.seconds, **row, "started": round(began, 3), **machine(), "command": sys.argv}


class _process:  # noqa: N801 (reads as a function in `with`)
    """A started child with its standard error; gone, with all its descendants, after the context."""

    def __init__(self, run: Run, answer: Path) -> None:
        self._order = json.dumps({**asdict(run), "answer": str(answer), "parent": os.getpid()}).encode()
        self._threads = run.threads

    def __enter__(self) -> tuple["subprocess.Popen[bytes]", IO[bytes]]:
        """Start the process and send the order."""
        self._stderr = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, *COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            env=_environment(self._threads),
            start_new_session=sys.platform != "win32",
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(self._order)
            self._process.stdin.close()
        return self._process, self._stderr

    def __exit__(self, *_: object) -> None:
        """Kill what is left."""
        kill_tree(self._process.pid)
        self._process.wait()
        self._stderr.close()


def kill_tree(pid: int) -> None:
    """Kill a process and its descendants."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in (*parent.children(recursive=True), parent):
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _wait(process: "subprocess.Popen[bytes]", ready: Path, limit: float) -> str:
    """Return why waiting ended: "ended", or "killed" at the limit after the clock of the run started."""
    deadline = time.monotonic() + START_SECONDS
    started = False
    while process.poll() is None:
        if not started and ready.exists():
            started, deadline = True, time.monotonic() + limit
        if time.monotonic() > deadline:
            return "killed"
        time.sleep(POLL_SECONDS)
    return "ended"


def _row(process: "subprocess.Popen[bytes]", answer: Path, stderr: IO[bytes], fate: str, limit: float) -> Row:
    if fate == "killed":
        return {"status": "killed", "note": f"did not stop within {limit:g} s and was killed"}
    if process.returncode == 0 and answer.exists():
        return dict(json.loads(answer.read_text()))
    stderr.seek(0)
    words = stderr.read().decode(errors="replace").strip().splitlines()[-LAST_LINES:]
    return {"status": "crashed", "note": f"exit code {process.returncode}: {' '.join(words)}"}


def _environment(threads: int) -> dict[str, str]:
    """Pass on the search path, without an entry for the current directory, and bound the threads of libraries."""
    bounds = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
    return {**os.environ, **bounds, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}


@cache
def machine() -> Row:
    """Return what the machine is and which versions are installed."""
    return {
        "machine": {
            "platform": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": math.ceil(psutil.virtual_memory().total / 2**30),
        },
        "versions": {"python": platform.python_version(), **dict(_versions())},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor()


def _versions() -> Iterator[tuple[str, str]]:
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            yield name, version(name)
