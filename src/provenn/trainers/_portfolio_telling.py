"""What the listener hears and the checkpoint keeps: nothing is told that is not on disk."""

import time
from collections import deque
from threading import Event

from provenn.errors import InputError
from provenn.trainers._base import OnProgress, Progress, Record
from provenn.trainers.checkpoint import Checkpoint

SOON = 1.0


class Teller:
    """Takes improvements from any thread, and tells the listener in the thread that calls `attend`.

    With a checkpoint the state is written first, at most once a second while improvements come fast.

    Parameters
    ----------
    listener : callable, optional
    checkpoint : Checkpoint, optional
    """

    def __init__(self, listener: OnProgress | None, checkpoint: Checkpoint | None) -> None:
        """Begin with nothing to tell."""
        self.trouble = ""
        self._listener, self._checkpoint = listener, checkpoint
        self._news: deque[Progress] = deque()
        self._awake = Event()
        self._written = float("-inf")

    def begin(self, record: Record, rounds: int) -> None:
        """Write the first state, so that a file that cannot be written is an error before any work.

        Raises
        ------
        InputError
            When it cannot be written.
        """
        if self._checkpoint is not None:
            self._checkpoint.write(record, rounds)

    def hear(self, progress: Progress) -> None:
        """Take an improvement; any thread may call this."""
        self._news.append(progress)
        self._awake.set()

    def wake(self, *_: object) -> None:
        """Let `wait` return."""
        self._awake.set()

    def wait(self, seconds: float) -> None:
        """Wait until there is something to do, at most so long."""
        self._awake.wait(seconds)
        self._awake.clear()

    def attend(self, record: Record, rounds: int, last: bool = False) -> None:
        """Write what is due, then tell what is written.

        Parameters
        ----------
        record : Record
        rounds : int
            Rounds of search done.
        last : bool
            Write and tell at once.
        """
        if self._checkpoint is not None:
            age = time.perf_counter() - self._written
            if not (last or age >= (SOON if self._news else self._checkpoint.every)):
                return
        news = [self._news.popleft() for _ in range(len(self._news))]
        if self._checkpoint is not None:
            self._write(self._checkpoint, record, rounds)
        if self._listener is not None:
            for progress in news:
                self._listener(progress)

    def _write(self, checkpoint: Checkpoint, record: Record, rounds: int) -> None:
        """Write the state; a full disk is no reason to lose the training, and is said at the end."""
        try:
            checkpoint.write(record, rounds)
            self.trouble = ""
        except InputError as error:
            self.trouble = f"the last checkpoint is missing: {error}"
        self._written = time.perf_counter()
