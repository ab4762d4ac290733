"""Why a computation stopped, kept apart from what its answer is."""

from enum import Enum


class Status(Enum):
    """Why a solve stopped; the value is the sentence a person reads.

    Examples
    --------
    >>> Status.TIME_LIMIT.stopped_early
    True
    >>> print(Status.OPTIMAL.value)
    proven optimal
    """

    OPTIMAL = "proven optimal"
    TOLERANCE = "optimal up to the solver's floating-point tolerance; an exact solver or engine can close the last gap"
    INFEASIBLE = "infeasible: no network satisfies the hard conditions; use a soft loss or relax the constraints"
    UNBOUNDED = "unbounded: the objective can decrease for ever; give every column a bound"
    TIME_LIMIT = "stopped at the time limit; raise it to close the gap"
    NODE_LIMIT = "stopped at the node limit; raise it to close the gap"
    MEMORY_LIMIT = "stopped at the memory limit; raise it, or train on fewer samples"
    HELD_OUT = "finished; the network was chosen on held-out samples, so nothing is proven about its loss"
    INTERRUPTED = "interrupted; the best answer so far is kept"
    CRASHED = "the solver process died; the best answer so far is kept, try another solver"
    REJECTED = "the solver's answer failed the exact check and is not used; try another solver"

    @property
    def stopped_early(self) -> bool:
        """True when the stop says nothing about optimality or feasibility."""
        return self not in (Status.OPTIMAL, Status.TOLERANCE, Status.INFEASIBLE, Status.UNBOUNDED)
