"""Layer 1: integer networks, their data, and certificates, in exact integer arithmetic."""

from provenn.network.architecture import Architecture, Dense
from provenn.network.certificate import Certificate
from provenn.network.dataset import Dataset
from provenn.network.domain import IntegerDomain
from provenn.network.network import IntegerNetwork
from provenn.network.quantize import Grid, Thermometer

__all__ = [
    "Architecture",
    "Certificate",
    "Dataset",
    "Dense",
    "Grid",
    "IntegerDomain",
    "IntegerNetwork",
    "Thermometer",
]
