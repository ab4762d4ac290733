"""Turns the strings and numbers that people give into domains, losses and trainers."""

import os
from numbers import Integral
from typing import Any

from provenn import registry
from provenn.errors import InputError
from provenn.formulations import Problem
from provenn.losses import Loss
from provenn.losses.cross_entropy import CrossEntropy
from provenn.losses.logistic import Logistic
from provenn.network import IntegerDomain
from provenn.solvers import Solver
from provenn.trainers import Trainer
from provenn.trainers.agreement import Agreement
from provenn.trainers.blocks import Blocks
from provenn.trainers.convex import Convex
from provenn.trainers.exact import Exact
from provenn.trainers.gradient import Gradient
from provenn.trainers.hull import Hull
from provenn.trainers.portfolio import Portfolio


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
    if loss == "cross_entropy":
        return CrossEntropy(temperature)
    return registry.load("provenn.losses", loss)()


TRAINERS = ("portfolio", "search", "convex", "agreement", "hull", "blocks", "gradient")


def trainer_of(
    solver: Any, problem: Problem, checkpoint: str | os.PathLike[str] | None = None, resume: bool = False
) -> Trainer:
    """Turn the name of a trainer or solver, a `Solver` or a `Trainer` into a trainer.

    "auto" and "portfolio" are search beside provers, "search" is search alone, "convex", "agreement", "hull",
    "blocks" and "gradient" are single engines, and the name of a solver is that solver on the MILP.
    """
    if solver in ("auto", "portfolio", "search"):
        return Portfolio(bounds=solver != "search", checkpoint=checkpoint, resume=resume)
    if checkpoint is not None or resume:
        raise InputError(f"only the portfolio keeps checkpoints; leave out solver={solver!r}, or checkpoint and resume")
    if isinstance(solver, Trainer):
        return solver
    if isinstance(solver, Solver):
        return Exact(solver)
    engines: dict[str, type[Trainer]] = {
        "convex": Convex,
        "agreement": Agreement,
        "hull": Hull,
        "blocks": Blocks,
        "gradient": Gradient,
    }
    if solver in engines:
        return engines[solver]()
    names = registry.names("provenn.solvers")
    if solver not in names:
        raise InputError(f"unknown solver {solver!r}: choose one of auto, {', '.join((*TRAINERS, *names))}")
    return Exact(Solver.create(solver))
