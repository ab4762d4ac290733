"""Limits that a solve gets, events that it sends, the solution that it returns."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, nextafter
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError
from provenn.status import Status


@dataclass(frozen=True)
class Limits:
    """What a solve may use.

    Parameters
    ----------
    seconds : float
        Wall time, at least 0; infinite by default.
    nodes : int, optional
        Nodes of the search tree (conflicts where a solver has no nodes).
    memory_mb : int, optional
        Resident memory of the solve in MiB.
    threads : int
        Threads, at least 1.
    seed : int
        Seed of everything random, 0 to 2**31 - 1.
    """

    seconds: float = float("inf")
    nodes: int | None = None
    memory_mb: int | None = None
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse negative or empty limits."""
        if not self.seconds >= 0:
            raise InputError(f"the time limit must be a number of seconds from 0 up, got {self.seconds}")
        if self.nodes is not None and self.nodes < 0:
            raise InputError(f"the node limit must be at least 0, got {self.nodes}")
        if self.memory_mb is not None and self.memory_mb < 1:
            raise InputError(f"the memory limit must be at least 1 MiB, got {self.memory_mb}")
        if self.threads < 1:
            raise InputError(f"at least one thread is needed, got {self.threads}")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"the seed must lie in 0..2**31-1, got {self.seed}")


def float_below(value: int) -> float:
    """Return the largest float that is not above an integer: bounds must not rise by rounding.

    Examples
    --------
    >>> float_below(2**53 + 3) <= 2**53 + 3 < float(2**53 + 3)
    True
    """
    near = float(value)
    return near if int(near) <= value else nextafter(near, -inf)


@dataclass(frozen=True)
class Event:
    """One improvement during a solve.

    Parameters
    ----------
    kind : "incumbent" or "bound"
    seconds : float
        Time since the solve began.
    objective : float or None
        Best objective so far.
    bound : float or None
        Best lower bound so far.
    x : ndarray of shape (n_columns,), optional
        The new point, on incumbents.
    """

    kind: Literal["incumbent", "bound"]
    seconds: float
    objective: float | None
    bound: float | None
    x: NDArray[np.float64] | None = None


OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Solution:
    """A solver's claim in floats; `x` is None when it found no point.

    Parameters
    ----------
    status : Status
        Why the solve stopped.
    x : ndarray of shape (n_columns,), float64, or None
    objective, bound : float or None
        Claimed objective of `x` and lower bound.
    seconds : float
    nodes : int
    message : str
        What a person should know beyond the status.
    """

    status: Status
    x: NDArray[np.float64] | None
    objective: float | None
    bound: float | None
    seconds: float
    nodes: int = 0
    message: str = ""
