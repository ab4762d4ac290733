"""Certificates that tell when old weights are still good enough at new features."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from provenn.errors import InputError
from provenn.milp import MILP
from provenn.tame._torch_hinge import Step
from provenn.tame._torch_programs import Answer

LowerBound = Callable[[Step], float]
"""Bounds the optimum of another step from below, in units of its objective; minus infinity where it cannot."""

Certify = Callable[[Step, Answer], LowerBound]
"""Makes a `LowerBound` from a solved step and the solver's answer."""


class MilpCertificate(Protocol):
    """A certificate that bounds other models of the same shape, such as `DualCertificate`."""

    def lower_bound(self, milp: MILP) -> float:
        """Return a lower bound of the optimum of a model."""
        ...


def by_answer(step: Step, answer: Answer) -> LowerBound:
    """Use the solver's answer as certificate: that of `provenn.tame.branch_and_bound` is one.

    Raises
    ------
    InputError
        When the answer bounds nothing but its own model.
    """
    if not hasattr(answer, "lower_bound"):
        raise InputError(
            f"{type(answer).__name__} has no lower_bound for other models: solve by branch_and_bound, or choose "
            "certify=Lipschitz"
        )
    return _restricted(step, answer)


def by_certificate(prove: Callable[[MILP], MilpCertificate]) -> Certify:
    """Turn what proves models into a `Certify`: ``prove(model).lower_bound(other model)``."""

    def certify(step: Step, answer: Answer) -> LowerBound:
        return _restricted(step, prove(step.milp))

    return certify


def _restricted(step: Step, certificate: Any) -> LowerBound:
    """Ask a certificate about comparable steps only."""
    return lambda other: certificate.lower_bound(other.milp) if comparable(step, other) else float("-inf")


@dataclass(frozen=True)
class Lipschitz:
    """``z(X') >= z(X) - L sum_k |x'_k - x_k|_1``: a certificate without a tree.

    For fixed integers a feature moves a pre-activation by at most P times as much, and each unit of that
    costs at most a unit of hinge, or the price of a hidden unit, whatever the weights. So L is the
    largest weight P times the sum of these costs over the units of the first layer.

    Parameters
    ----------
    step : Step
    answer : Answer
        Its `bound` is a lower bound of the optimum.
    """

    step: Step
    answer: Answer

    def __post_init__(self) -> None:
        """Refuse side constraints that move with the features."""
        A, a = self.step.milp.A, self.step.milp.blocks["a0"].ravel()
        rows = 3 if self.step.problem.architecture.hidden else 2
        if (np.diff(A.tocsc().indptr)[a] > rows).any():
            raise InputError(
                "a side constraint on scores or activations moves with the features, and Lipschitz does not bound "
                "what it lets in: use certify=None or a certificate of the whole model"
            )

    def __call__(self, other: Step) -> float:
        """Return the lower bound for another step."""
        if self.answer.bound is None or not comparable(self.step, other):
            return float("-inf")
        shape, milp = self.step.problem.architecture, self.step.milp
        costs = milp.c[milp.blocks["activation_slack" if shape.hidden else "slack"]]
        each = costs.reshape(len(self.step.problem.dataset.X), -1).sum(axis=1) * shape.layers[0].weights.bound
        moved = np.abs(other.problem.dataset.X - self.step.problem.dataset.X).sum(axis=1)
        return self.answer.bound - float(each @ moved)


def comparable(step: Step, other: Step) -> bool:
    """Whether two steps differ in the features of the same samples only."""
    one, two = step.problem, other.problem
    return (
        (one.architecture, one.loss, one.constraints, step.area)
        == (two.architecture, two.loss, two.constraints, other.area)
        and one.dataset.scale == two.dataset.scale
        and np.array_equal(one.dataset.y, two.dataset.y)
        and np.array_equal(one.dataset.multiplicity, two.dataset.multiplicity)
    )
