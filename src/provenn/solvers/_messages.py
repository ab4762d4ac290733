"""What parent and child say to each other: length-prefixed pickles over pipes."""

import pickle
from dataclasses import dataclass
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
        The seconds are those left at `sent`.
    start : ndarray of shape (n_columns,), optional
    sent : float
        Wall clock of sending.
    """

    solver: Solver
    milp: MILP
    limits: Limits
    start: Point | None
    sent: float


@dataclass(frozen=True)
class Report:
    """A point with its objective, or a bound, or both."""

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
    """Return the next pickle, or None where the stream ends."""
    header = stream.read(HEADER)
    size = int.from_bytes(header, "big")
    body = stream.read(size) if len(header) == HEADER else b""
    return body if body and len(body) == size else None


def frame_of(item: Any) -> bytes:
    """Return the bytes that `read_frame` turns back into a pickle."""
    body = pickle.dumps(item, protocol=pickle.HIGHEST_PROTOCOL)
    return len(body).to_bytes(HEADER, "big") + body
