"""Exceptions of provenn: every one is a `ProvennError` and a standard exception.

A message says what is wrong, what was given, what is allowed and what to do next.
"""


class ProvennError(Exception):
    """Parent of every exception that provenn raises on purpose."""


class InputError(ProvennError, ValueError):
    """Data, options or combinations of options that cannot be used as they are."""


class ModelFileError(InputError):
    """A model file that is damaged, foreign, or of a version this release cannot read."""


class CapabilityError(InputError):
    """A solver or trainer was asked for something that it does not declare."""


class OverflowRiskError(ProvennError, OverflowError):
    """Exact int64 arithmetic cannot be guaranteed for these data and bounds."""


class MissingDependencyError(ProvennError, ImportError):
    """An optional library is needed and not installed."""


class SolverError(ProvennError, RuntimeError):
    """A solver back end refused the model or answered in a way that cannot be used."""


class InfeasibleError(ProvennError, ValueError):
    """The model has no solution, for the reason that the message gives."""


class NoAnswerError(ProvennError, RuntimeError):
    """A limit was reached before any network that satisfies the hard conditions was found."""
