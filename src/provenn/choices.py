"""Turns the strings and numbers that people give into domains, losses and trainers."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

from provenn import registry
from provenn.errors import InputError
from provenn.formulations import Problem
from provenn.losses import Loss
from provenn.losses.cross_entropy import CrossEntropy
from provenn.losses.logistic import Logistic
from provenn.network import Architecture, IntegerDomain
from provenn.solvers import Solver
from provenn.trainers import Trainer
from provenn.trainers.agreement import Agreement
from provenn.trainers.alternating import Alternating
from provenn.trainers.blocks import Blocks
from provenn.trainers.convex import Convex
from provenn.trainers.exact import Exact
from provenn.trainers.gradient import Gradient
from provenn.trainers.hull import Hull
from provenn.trainers.portfolio import Portfolio
from provenn.trainers.robust_convex import RobustConvex
from provenn.trainers.splitting import Splitting
from provenn.trainers.tree import Tree

KINDS = ("integer", "continuous")
LARGEST_BOX = FREE_BIAS = 127


def domain_of(bound: Any, what: str = "weight_bound", kind: str = "integer") -> IntegerDomain:
    """Turn 1, 3, ..., "binary", "ternary", an `IntegerDomain`, or the bound of a continuous box, into a domain."""
    if isinstance(bound, IntegerDomain):
        return bound
    if kind == "continuous":
        if isinstance(bound, Real) and not isinstance(bound, bool) and 0 < float(bound) <= LARGEST_BOX:
            return IntegerDomain.continuous(float(bound))
        raise InputError(f"{what} of continuous weights must be a number above 0 and up to 127, got {bound!r}")
    if bound in ("binary", "ternary"):
        return IntegerDomain.binary() if bound == "binary" else IntegerDomain.ternary()
    if isinstance(bound, Integral) and not isinstance(bound, bool):
        return IntegerDomain.symmetric(int(bound))
    raise InputError(f"{what} must be a whole number from 1 to 127, 'binary', 'ternary' or a domain, got {bound!r}")


def kinds_of(weights: Any, n_layers: int) -> tuple[str, ...]:
    """Turn "integer", "continuous" or one of them for each layer into one for each layer."""
    kinds = (weights,) * n_layers if isinstance(weights, str) else tuple(weights)
    if not set(kinds) <= set(KINDS):
        raise InputError(f"weights must be 'integer' or 'continuous', or one of them for each layer, got {weights!r}")
    if len(kinds) != n_layers:
        raise InputError(f"weights names {len(kinds)} layers, and the network has {n_layers}")
    return kinds


def architecture_of(
    n_features: int,
    n_classes: int,
    hidden: Sequence[int],
    activation: Any,
    weights: Any,
    weight_bound: Any,
    bias_bound: Any,
) -> Architecture:
    """Turn the parameters of an estimator into an architecture.

    A bias bound of "auto" is the domain of the weights with hidden layers, -127..127 without; in
    continuous layers as far as the weighted sum of inputs within -1..1 reaches.
    """
    if activation not in ("sign", "step"):
        raise InputError(f"unknown activation {activation!r}: choose 'sign' or 'step'")
    kinds = kinds_of(weights, len(hidden) + 1)
    domains = [domain_of(weight_bound, kind=kind) for kind in kinds]
    shape = Architecture.build(n_features, n_classes, hidden, domains, None, activation=activation)
    layers = []
    for layer, kind in zip(shape.layers, kinds, strict=True):
        bias: IntegerDomain | None = layer.weights
        if bias_bound is None:
            bias = None
        elif not isinstance(bias_bound, str) or bias_bound != "auto":
            bias = domain_of(bias_bound, "bias_bound", kind).in_units_of(layer.weights)
        elif kind == "continuous":
            reach = layer.n_in * layer.weights.bound / layer.weights.denominator
            bias = IntegerDomain.continuous(min(float(LARGEST_BOX), reach)).in_units_of(layer.weights)
        elif not hidden:
            bias = IntegerDomain.symmetric(FREE_BIAS)
        layers.append(replace(layer, bias=bias))
    return Architecture(tuple(layers))


def loss_of(loss: str | Loss, temperature: float) -> Loss:
    """Turn the name of a loss into the loss; the temperature applies to losses that have one."""
    if isinstance(loss, Loss):
        return loss
    if loss == "logistic":
        return Logistic(temperature)
    if loss == "cross_entropy":
        return CrossEntropy(temperature)
    return registry.load("provenn.losses", loss)()


TRAINERS = (
    "portfolio", "search", "convex", "agreement", "hull", "tree", "blocks", "gradient", "alternating", "splitting"
)  # fmt: skip


def trainer_of(
    solver: Any,
    problem: Problem,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    max_parts: int | None = None,
    batch_size: int | None = None,
) -> Trainer:
    """Turn the name of a trainer or solver, a `Solver` or a `Trainer` into a trainer.

    "auto" and "portfolio" are search beside provers, "search" is search alone, "convex", "agreement", "hull",
    "tree", "blocks", "gradient", "alternating" and "splitting" are single engines, and the name of a solver is that
    solver on the MILP. The worst case of a convex loss without hidden layers goes to the convex engine on lifted data.
    """
    if solver != "splitting" and (max_parts is not None or batch_size is not None):
        raise InputError("max_parts and batch_size (--parts, --batch-size) belong to solver='splitting'")
    if solver in ("auto", "portfolio", "convex") and checkpoint is None and RobustConvex.obstacle(problem) is None:
        return RobustConvex()
    if solver in ("auto", "portfolio", "search"):
        return Portfolio(bounds=solver != "search", checkpoint=checkpoint, resume=resume)
    if checkpoint is not None or resume:
        raise InputError(f"only the portfolio keeps checkpoints; leave out solver={solver!r}, or checkpoint and resume")
    if isinstance(solver, Trainer):
        return solver
    if isinstance(solver, Solver):
        return Exact(solver)
    engines: dict[str, Callable[[], Trainer]] = {
        "convex": Convex,
        "agreement": Agreement,
        "hull": Hull,
        "tree": Tree,
        "blocks": Blocks,
        "gradient": Gradient,
        "alternating": Alternating,
        "splitting": lambda: Splitting(max_parts=max_parts, batch_size=batch_size),
    }
    if solver in engines:
        return engines[solver]()
    names = registry.names("provenn.solvers")
    if solver not in names:
        raise InputError(f"unknown solver {solver!r}: choose one of auto, {', '.join((*TRAINERS, *names))}")
    return Exact(Solver.create(solver))
