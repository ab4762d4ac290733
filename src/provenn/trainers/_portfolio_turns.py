"""Who may compute now: workers share a number of threads by taking turns."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

QUANTUM = 0.5
POLL = 0.02


@dataclass
class Turn:
    """One worker's place among the others.

    Parameters
    ----------
    weight : float
        Its share of the threads is proportional to it.
    stop : Event
        Set when the worker must end.
    spent : float
        Thread seconds that it had, over its weight; who has least is next.
    running : bool
        Whether it may compute now.
    ended : bool
    """

    weight: float
    stop: Event = field(default_factory=Event)
    spent: float = 0.0
    running: bool = False
    ended: bool = False

    def paused(self) -> bool:
        """Whether it is the turn of others; for work that something else can hold."""
        return not self.running and not self.stop.is_set()

    def stopped(self) -> bool:
        """Wait for the turn, then say whether to end; for work that asks this now and then."""
        while self.paused():
            self.stop.wait(POLL)
        return self.stop.is_set()


class Turns:
    """Deals out threads so that every worker gets its share, and no more run than there are threads.

    Stride scheduling: the workers that had least of their share run for the next half second.

    Parameters
    ----------
    threads : int
    in_order : bool
        One worker after the other, each to its end, so that results repeat.
    clock : callable
        Seconds that never go back.

    References
    ----------
    Waldspurger & Weihl, Stride Scheduling, MIT/LCS/TM-528 (1995).

    Examples
    --------
    >>> turns = Turns(1, clock=iter([0.0, 1.0, 2.0, 3.0]).__next__)
    >>> often, seldom = turns.join(2.0), turns.join(1.0)
    >>> runs = [turns.deal() or often.running for _ in range(4)]
    >>> runs, seldom.running
    ([True, False, True, True], False)
    """

    def __init__(self, threads: int, in_order: bool = False, clock: Callable[[], float] = time.perf_counter) -> None:
        """Begin without workers."""
        self.turns: list[Turn] = []
        self._threads, self._in_order, self._clock = threads, in_order, clock
        self._dealt: float | None = None

    def join(self, weight: float) -> Turn:
        """Add a worker, which gets nothing for the time before."""
        turn = Turn(weight, spent=min((one.spent for one in self.turns if not one.ended), default=0.0))
        self.turns.append(turn)
        return turn

    def deal(self) -> None:
        """Choose who runs until the next call; nothing changes within half a second unless a worker ended."""
        now = self._clock()
        waiting = [turn for turn in self.turns if not turn.ended]
        running = [turn for turn in waiting if turn.running]
        full = len(running) == min(self._threads, len(waiting))
        if self._dealt is not None and full and now - self._dealt < QUANTUM:
            return
        for turn in running:
            turn.spent += (now - (self._dealt or 0.0)) / turn.weight
        self._dealt = now
        if not self._in_order:
            waiting.sort(key=lambda turn: turn.spent)
        chosen = waiting[: 1 if self._in_order else self._threads]
        for turn in self.turns:
            turn.running = any(turn is one for one in chosen)

    def stop(self) -> None:
        """Ask everybody to end."""
        for turn in self.turns:
            turn.stop.set()
