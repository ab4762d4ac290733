"""Entry point of the child process: reads one job from stdin, solves it, sends messages back.

Run by `provenn.solvers._process` as ``python -m provenn.solvers._child``. A message is a length of
eight bytes and a pickle. Solvers may print: file descriptor 1 is made a copy of stderr, and messages
go through a private duplicate of the old one.
"""

import os
import pickle
import sys
import threading
import time
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, BinaryIO

from provenn.milp import MILP, Limits, Solution
from provenn.solvers._base import Point, Solver

HEADER = 8


@dataclass(frozen=True)
class Job:
    """What the parent asks for.

    Parameters
    ----------
    solver : Solver
    milp : MILP
        Prepared by the solver.
    limits : Limits
    start : ndarray of shape (n_columns,), optional
    sent : float
        Wall clock when `limits.seconds` were left.
    """

    solver: Solver
    milp: MILP
    limits: Limits
    start: Point | None
    sent: float


@dataclass(frozen=True)
class Report:
    """A point with its objective, or a bound."""

    objective: float | None
    bound: float | None
    x: Point | None


@dataclass(frozen=True)
class Failure:
    """An exception in the child: the name of its class, and its text."""

    kind: str
    text: str


Message = Report | Failure | Solution


def read_frame(stream: BinaryIO) -> bytes | None:
    """Return the next pickle, or None at the end of the stream."""
    header = stream.read(HEADER)
    if len(header) < HEADER:
        return None
    size = int.from_bytes(header, "big")
    body = stream.read(size)
    return body if len(body) == size else None


def write_frame(stream: BinaryIO, item: Any) -> None:
    """Send one object."""
    body = pickle.dumps(item, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(len(body).to_bytes(HEADER, "big"))
    stream.write(body)
    stream.flush()


class _Channel:
    """Sends messages from any thread."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "wb")
        self._lock = threading.Lock()
        os.dup2(2, 1)

    def send(self, message: Message) -> None:
        with self._lock:
            write_frame(self._stream, message)

    def emit(self, objective: float | None, bound: float | None, x: Point | None) -> None:
        self.send(Report(objective, bound, x))

    def fail(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.__excepthook__(kind, error, trace)
        self.send(Failure(kind.__name__, str(error)))


def _exit_with_parent() -> None:
    """Leave as soon as the parent closes our stdin, which its death does too."""
    while os.read(0, 1):
        pass
    os._exit(0)


def _die_with_parent() -> None:
    """Ask Linux for the same: it works while a solver holds the interpreter lock."""
    if sys.platform == "linux":
        import ctypes
        import signal

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGKILL))


def main() -> None:
    """Solve the job on stdin."""
    channel = _Channel()
    sys.excepthook = channel.fail
    _die_with_parent()
    with os.fdopen(os.dup(0), "rb", buffering=0) as stream:
        frame = read_frame(_Whole(stream))
    if frame is None:
        return
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    job: Job = pickle.loads(frame)
    left = max(job.limits.seconds - max(time.time() - job.sent, 0.0), 0.0)
    limits = replace(job.limits, seconds=left)
    channel.send(job.solver.run(job.milp, limits, job.start, channel.emit))
    os._exit(0)


if __name__ == "__main__":
    main()
