"""What a kind of proofs offers to the writer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.network import IntegerNetwork


@dataclass(frozen=True)
class Evidence:
    """What a search found for a proof.

    Parameters
    ----------
    fields : dict
        What the kind adds to the proof, ready for JSON: integers, lists, text.
    bound : int
        What it shows, in units of the problem.
    nodes, points : int
        Of all trees, for the report.
    seconds_search : float
        The rest of the time went into turning the record into a proof.
    """

    fields: dict[str, Any]
    bound: int
    nodes: int
    points: int
    seconds_search: float


@dataclass(frozen=True)
class Kind:
    """A kind of proofs, one that `provenn.check_proof` knows by the same name.

    Parameters
    ----------
    name : str
    obstacle : callable
        Says why there can be no such proof for a problem, or None.
    prove : callable
        Searches with a record, from a known network, within limits.
    """

    name: str
    obstacle: Callable[[Problem], str | None]
    prove: Callable[[Problem, IntegerNetwork, Limits], Evidence]
