"""Turns the strings and numbers that people give into domains, losses and trainers."""

from numbers import Integral
from typing import Any

from provenn import registry
from provenn.errors import InputError
from provenn.formulations import Problem
from provenn.losses import Loss
from provenn.losses.logistic import Logistic
from provenn.network import IntegerDomain
from provenn.solvers import Solver
from provenn.trainers import Trainer
from provenn.trainers.convex import Convex
from provenn.trainers.exact import Exact


def domain_of(bound: Any, what: str = "weight_bound") -> IntegerDomain:
    """Turn 1, 3, ..., "binary", "ternary" or an `IntegerDomain` into a domain."""
    if isinstance(bound, IntegerDomain):
        return bound
    if bound in ("binary", "ternary"):
        return IntegerDomain.binary() if bound == "binary" else IntegerDomain.ternary()
    if isinstance(bound, Integral) and not isinstance(bound, bool):
        return IntegerDomain.symmetric(int(bound))
    raise InputError(f"{what} must be a whole number from 1 to 127, 'binary', 'ternary' or a domain, got {bound!r}")


def loss_of(loss: str | Loss, temperature: float) -> Loss:
    """Turn the name of a loss into the loss; the temperature applies to losses that have one."""
    if isinstance(loss, Loss):
        return loss
    if loss == "logistic":
        return Logistic(temperature)
    return registry.load("provenn.losses", loss)()


def trainer_of(solver: Any, problem: Problem) -> Trainer:
    """Turn "auto", "convex", the name of a solver, a `Solver` or a `Trainer` into a trainer.

    "auto" is the convex engine where it applies; elsewhere CP-SAT on the MILP, or HiGHS where
    the MILP is mostly linear over wide ranges.
    """
    if isinstance(solver, Trainer):
        return solver
    if isinstance(solver, Solver):
        return Exact(solver)
    if solver == "convex" or (solver == "auto" and Convex.obstacle(problem) is None):
        return Convex()
    names = registry.names("provenn.solvers")
    if solver != "auto" and solver not in names:
        raise InputError(f"unknown solver {solver!r}: choose one of auto, convex, {', '.join(names)}")
    if solver == "auto":
        wide = problem.loss.linear or (problem.loss.convex and not problem.architecture.hidden)
        solver = "highs" if wide else "cpsat"
    return Exact(Solver.create(solver))
