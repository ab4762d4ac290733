"""Layer 3: training problems as MILPs: the skeleton, and one side constraint a file."""

from provenn.formulations._base import SideConstraint
from provenn.formulations._problem import Encoding, Problem

__all__ = ["Encoding", "Problem", "SideConstraint"]
