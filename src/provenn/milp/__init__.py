"""Layer 2: mixed-integer linear models as arrays, what solvers are told and what they answer."""

from provenn.milp.model import MILP, Builder, Terms
from provenn.milp.result import Event, Limits, OnEvent, Solution

__all__ = ["MILP", "Builder", "Event", "Limits", "OnEvent", "Solution", "Terms"]
