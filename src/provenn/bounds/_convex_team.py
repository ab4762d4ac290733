"""Several threads on one search: those that a search starts itself, and those that others lend it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition

Stopped = Callable[[], bool]
Work = Callable[[Stopped], object]
POLL = 0.05


class Team:
    """Lends threads to whatever search is at work, one after the other.

    The thread that runs the searches calls `on` around each and `end` after the last; every
    other thread calls `serve`. A search goes on without waiting for a thread that is paused.

    Examples
    --------
    >>> team, done = Team(), []
    >>> with team.on(lambda stopped: done.append(stopped())):
    ...     team.serve(lambda: bool(done))
    >>> done
    [False]
    """

    def __init__(self) -> None:
        """Begin without a search."""
        self._changed = Condition()
        self._work: Work | None = None
        self._ended = False

    @contextmanager
    def on(self, work: Work) -> Iterator[None]:
        """Offer a search's work, which returns when the search is over, within a with-block."""
        with self._changed:
            self._work = work
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._work = None

    def end(self) -> None:
        """Let the serving threads go."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def serve(self, stopped: Stopped) -> None:
        """Work on each search until the team ends or `stopped`, asked between nodes, returns True."""
        while not stopped():
            with self._changed:
                if self._ended:
                    return
                work = self._work
                if work is None:
                    self._changed.wait(POLL)
            if work is not None:
                work(stopped)


@contextmanager
def assisted(work: Work, threads: int, halt: Callable[[], None]) -> Iterator[None]:
    """Run `work` in a number of further threads beside a with-block; `halt` makes it return if the block fails."""
    if threads < 1:
        yield
        return
    with ThreadPoolExecutor(threads, "provenn-convex") as pool:
        helpers = [pool.submit(work, lambda: False) for _ in range(threads)]
        try:
            yield
        except BaseException:
            halt()
            raise
        for helper in helpers:
            helper.result()
