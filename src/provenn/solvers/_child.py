"""Entry point of the child process: reads one job from stdin, solves it, sends messages back.

Run by `provenn.solvers._process` as ``python -m provenn.solvers._child``. Solvers may print: file
descriptor 1 is made a copy of stderr, and messages go through a private duplicate of the old one.
"""

import os
import pickle
import sys
import threading
import time
from dataclasses import replace
from types import TracebackType

from provenn.solvers._base import Point
from provenn.solvers._messages import Failure, Job, Message, Report, frame_of, read_frame


class _Channel:
    """Sends messages from any thread."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "wb")
        self._lock = threading.Lock()
        os.dup2(2, 1)

    def send(self, message: Message) -> None:
        with self._lock:
            self._stream.write(frame_of(message))
            self._stream.flush()

    def emit(self, objective: float | None, bound: float | None, x: Point | None) -> None:
        self.send(Report(objective, bound, x))

    def fail(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """Ship an exception that nothing caught; installed as `sys.excepthook`."""
        sys.__excepthook__(kind, error, trace)
        self.send(Failure(kind.__name__, str(error)))
        os._exit(1)


def _exit_with_parent() -> None:
    """Leave as soon as the parent closes our stdin, which its death does too."""
    while os.read(0, 1):
        pass
    os._exit(0)


def _die_with_parent() -> None:
    """Ask Linux for the same, which works even while a solver holds the interpreter lock."""
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
    channel.emit(None, None, None)  # from now on the parent may suspend this process: it dies with the parent
    with os.fdopen(os.dup(0), "rb") as stream:
        frame = read_frame(stream)
    if frame is None:
        return
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    job: Job = pickle.loads(frame)
    left = job.limits.seconds - max(time.time() - job.sent, 0.0)
    limits = replace(job.limits, seconds=max(left, 0.0))
    channel.send(job.solver.run(job.milp, limits, job.start, channel.emit))
    os._exit(0)


if __name__ == "__main__":
    main()
