"""provenn: small neural networks with integer weights, trained to proven optimality or with an honest gap."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["IntegerNetworkClassifier", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the estimator on first use, so that `import provenn` stays quick."""
    if name == "IntegerNetworkClassifier":
        from provenn.estimators import IntegerNetworkClassifier

        return IntegerNetworkClassifier
    raise AttributeError(f"module 'provenn' has no attribute {name!r}")
