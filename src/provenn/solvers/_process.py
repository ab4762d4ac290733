"""The parent's side of a solve: starts the child, watches it, and never leaves it running."""

import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import IO, Any

from provenn import errors
from provenn.errors import ProvennError, SolverError
from provenn.milp import MILP, Limits, Solution
from provenn.solvers._base import Point, Solver
from provenn.solvers._messages import Failure, Job, Message, Report, frame_of, read_frame
from provenn.solvers._progress import Progress
from provenn.status import Status

POLL_SECONDS = 0.05
COMMAND = ("-P", "-m", "provenn.solvers._child")
LAST_LINES = 5


def run_in_child(solver: Solver, milp: MILP, limits: Limits, start: Point | None, progress: Progress) -> Solution:
    """Solve in a child process; see `Solver.solve`."""
    try:
        left = max(limits.seconds - progress.seconds, 0.0)
        job = Job(solver, milp, replace(limits, seconds=left), start, time.time())
        with _Child(frame_of(job)) as child:
            return _watch(child, limits, progress)
    except KeyboardInterrupt:
        return progress.stopped(Status.INTERRUPTED)


def _watch(child: "_Child", limits: Limits, progress: Progress) -> Solution:
    deadline = limits.seconds + grace(limits.seconds)
    while True:
        if progress.asked_to_stop():
            return progress.stopped(Status.INTERRUPTED)
        child.hold(progress.asked_to_pause())
        message = child.next_message(POLL_SECONDS)
        if isinstance(message, Report):
            progress.report(message.objective, message.bound, message.x)
        elif isinstance(message, Solution):
            return progress.finished(message)
        elif isinstance(message, Failure):
            return _failed(message, progress)
        elif child.ended:
            return progress.stopped(Status.CRASHED, child.last_words())
        if limits.memory_mb is not None and child.memory_mb() > limits.memory_mb:
            return progress.stopped(Status.MEMORY_LIMIT, f"the solver process passed {limits.memory_mb} MiB")
        if progress.seconds > deadline:
            return progress.stopped(Status.TIME_LIMIT, "the solver did not stop by itself and was ended")


def grace(seconds: float) -> float:
    """Seconds that a solver gets to stop by itself after its time limit."""
    return 1.0 + min(0.1 * seconds, 4.0)


def _failed(failure: Failure, progress: Progress) -> Solution:
    """Raise our own exceptions as they are and all others as `SolverError`."""
    if failure.kind == "MemoryError":
        return progress.stopped(Status.MEMORY_LIMIT, "the solver process ran out of memory")
    kind = getattr(errors, failure.kind, None)
    if isinstance(kind, type) and issubclass(kind, ProvennError):
        raise kind(failure.text)
    raise SolverError(f"the solver failed with {failure.kind}: {failure.text}")


class _Child:
    """One child process, its messages in a queue; ended when the context is left."""

    def __init__(self, job: bytes) -> None:
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed in __exit__)
        self._process = subprocess.Popen(
            [sys.executable, *COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=_environment(),
            **_own_group(),
        )
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (lambda: self._send(job), self._read)]
        self.ended = self._held = self._ready = False

    def __enter__(self) -> "_Child":
        """Start to send and to listen."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the process and everything it started, and wait until it is gone."""
        self._kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        self._stderr.close()

    def _send(self, job: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write(job)
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while (frame := read_frame(self._process.stdout)) is not None:  # type: ignore[arg-type]
            self._messages.put(pickle.loads(frame))
        self._messages.put(None)

    def next_message(self, timeout: float) -> Message | None:
        """Return the next message, or None when none came in time or none will come."""
        try:
            message = self._messages.get(timeout=timeout)
        except queue.Empty:
            return None
        self.ended, self._ready = message is None, True
        return message

    def hold(self, held: bool) -> None:
        """Suspend the process or let it go on.

        Only where the system kills it with its parent, and once it has asked for that: a suspended
        process cannot see that its parent is gone. Elsewhere the processes share the cores.
        """
        if held == self._held or not self._ready or sys.platform != "linux":
            return
        import psutil

        with suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            (process.suspend if held else process.resume)()
        self._held = held

    def memory_mb(self) -> float:
        """Resident memory of the child in MiB."""
        import psutil

        try:
            return float(psutil.Process(self._process.pid).memory_info().rss) / 2**20
        except psutil.Error:
            return 0.0

    def last_words(self) -> str:
        """How the process ended, and the last lines that it wrote."""
        code = self._process.wait()
        how = f"killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()[-LAST_LINES:]
        return "\n".join([f"the solver process was {how}" if code < 0 else f"the solver process {how}", *lines])

    def _kill(self) -> None:
        if os.name == "posix" and self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _own_group() -> dict[str, Any]:
    """Keep Ctrl-C in the terminal away from the child."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _environment() -> dict[str, str]:
    """Let the child import what this process can import."""
    paths = [path or os.getcwd() for path in sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
