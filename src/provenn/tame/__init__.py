"""Dual functions, certificates and gradients of the optimal values of mixed-integer linear models."""

from provenn.tame._problem_data import problem_data
from provenn.tame.branch_and_bound import branch_and_bound, ready
from provenn.tame.certificate import DualCertificate
from provenn.tame.chvatal import SubadditiveDual, subadditive_dual
from provenn.tame.linearisation import Linearisation
from provenn.tame.value import FixedValue, ValueFunction, fixed_value
from provenn.tame.vipr import write_vipr

__all__ = [
    "DualCertificate",
    "FixedValue",
    "Linearisation",
    "SubadditiveDual",
    "ValueFunction",
    "branch_and_bound",
    "fixed_value",
    "problem_data",
    "ready",
    "subadditive_dual",
    "write_vipr",
]
