"""Layer 3: solvers of MILPs, one file each; every solve of a foreign solver runs in a child process."""

from provenn.solvers._base import CAPABILITIES, Solver, default_for

__all__ = ["CAPABILITIES", "Solver", "default_for"]
