"""From the parameters of an estimator and its data to a problem and a trainer, with choices made on validation data."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np

from provenn.choices import architecture_of, loss_of, trainer_of
from provenn.encoding import Feature
from provenn.errors import InputError
from provenn.formulations import Problem, SideConstraint
from provenn.formulations.feature_signs import FeatureSigns
from provenn.formulations.neuron_count import NeuronCount
from provenn.formulations.norm_price import MICRO, NormPrice
from provenn.formulations.robust import Robust
from provenn.formulations.sparsity import Sparsity
from provenn.losses import Loss
from provenn.losses._worst_case import WorstCase
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.perturbation import RULES, Perturbation
from provenn.selection import PRICES, Selection, Setting, held_out, scheme_of, select, temperatures
from provenn.trainers import Trainer
from provenn.trainers._portfolio_primal import compile_search
from provenn.trainers.checkpoint import Checkpoint
from provenn.trainers.convex import Convex, compile_kernels
from provenn.trainers.early_stopping import EarlyStopping
from provenn.trainers.gradient import Gradient, load_torch
from provenn.trainers.portfolio import Portfolio
from provenn.trainers.robust_convex import RobustConvex

PROVABLE = 1000
NODES_OF_A_TRIAL = 10
TENTH, QUARTER = 0.1, 0.25
FEW, FOLDS = 1000, 5
USUAL = Setting(1.0)


class Plan:
    """What an estimator is to train, and how.

    Parameters
    ----------
    options : dict
        Parameters of `IntegerNetworkClassifier`.
    dataset : Dataset
    features : list of Feature
        What the columns of the dataset are.
    weight_unit : int
        Sample weights count ``1 / weight_unit``.

    Attributes
    ----------
    setting : Setting
        Temperature, price and method in use.
    selection : Selection or None
        How they were chosen.
    """

    def __init__(self, options: dict[str, Any], dataset: Dataset, features: list[Feature], weight_unit: int) -> None:
        self.options, self.dataset, self.features, self.weight_unit = options, dataset, features, weight_unit
        self.validation = options["validation"]
        if isinstance(self.validation, str) and self.validation == "auto":
            small = dataset.total < FEW and not np.size(np.asarray(options["hidden_layer_sizes"], dtype=object))
            self.validation = FOLDS if small else QUARTER
        scheme_of(self.validation)
        for name in ("temperature", "nonzero_price", "neuron_price", "l1_price", "l2_price"):
            _check_number(name, options[name], name in ("temperature", "nonzero_price"))
        for name in ("max_nonzeros", "fan_in"):
            if options[name] == 0:
                raise InputError(f"{name}=0 leaves no weight, only a constant answer: give at least 1, or leave it out")
        self.architecture = self._architecture()
        self.perturbation = Perturbation.of(
            options["robust_radius"], options["robust_norm"], options["robust_exclude"], features, dataset.scale
        )
        self.selection: Selection | None = None
        self.setting = replace(USUAL, temperature=self._temperatures()[0], nonzero_price=self._prices()[0])

    def problem(self, dataset: Dataset | None = None, setting: Setting | None = None) -> Problem:
        """Return the problem of a setting on some data; by default the chosen one on all."""
        data, chosen = dataset or self.dataset, setting or self.setting
        loss: Loss = loss_of(self.options["loss"], chosen.temperature)
        return self.problem_for(loss, data, chosen.nonzero_price)

    def problem_for(self, loss: Loss, dataset: Dataset, nonzero_price: float) -> Problem:
        """Return the problem of a loss on some data, with all conditions and the worst case of perturbations."""
        ball = self.perturbation
        if ball is not None and self._takes_worst_case():
            loss = WorstCase(loss, ball.radius, ball.norm)
        return Problem(self.architecture, dataset, loss, self._constraints(nonzero_price, dataset))

    def _takes_worst_case(self) -> bool:
        """Whether perturbations enter through the loss, and not through the activations of the first layer."""
        rule = self.options["robust_rule"]
        if rule not in RULES:
            raise InputError(f"unknown robust_rule {rule!r}: choose one of {', '.join(RULES)}")
        if rule == "pattern" and not self.architecture.hidden:
            raise InputError("robust_rule='pattern' is about hidden units: without a hidden layer take 'worst_case'")
        return rule != "pattern"

    def trainer(self, problem: Problem) -> Trainer:
        """Return the trainer of the chosen setting."""
        options, setting = self.options, self.setting
        given = setting.method if options["solver"] == "auto" else options["solver"]
        more = (options[name] for name in ("checkpoint", "resume", "max_parts", "batch_size"))
        trainer = trainer_of(given, problem, *more)
        if not options["early_stopping"]:
            return trainer
        share = self.validation if isinstance(self.validation, float) else TENTH
        return EarlyStopping(trainer, tuple(held_out(self.dataset, share).tolist()))

    def keep(self, temperature: float | None, nonzero_price: float) -> None:
        """Take over what an earlier training chose, where it is left open."""
        if self.options["temperature"] == "auto" and temperature is not None:
            self.setting = replace(self.setting, temperature=temperature)
        if self.options["nonzero_price"] == "auto":
            self.setting = replace(self.setting, nonzero_price=nonzero_price)

    def choose(self, limits: Limits) -> Limits:
        """Choose what is left open on validation data; return the limits for the training that follows.

        Options that do not fit together are refused before that.
        """
        trainer = self.trainer(self.problem())
        if isinstance(trainer, Portfolio):
            trainer.file()
        stages = self._stages()
        if self._resumed() or not stages:
            return limits
        self._make_ready()
        per_trial = replace(limits, nodes=self._nodes_of_a_trial(limits.nodes))
        self.selection = select(
            stages, self.setting, self.dataset, self.problem, self._trial_trainer, self.validation, per_trial
        )
        self.setting = self.selection.setting
        left = 0.0 if self.selection.interrupted else limits.seconds - self.selection.seconds
        return replace(limits, seconds=max(0.0, left))

    def _nodes_of_a_trial(self, nodes: int | None) -> int | None:
        """One node of the convex engine; with hidden layers some, or no limit but time."""
        if not self.architecture.hidden:
            return 1
        return None if nodes is None else min(nodes, NODES_OF_A_TRIAL)

    def start(self) -> IntegerNetwork | None:
        """Return the network of the chosen trial, unless it would spoil gradients or a judgement."""
        chosen = self.selection
        if chosen is None:
            return None
        fresh = self.setting.method == "gradient" or self.options["early_stopping"]
        return None if fresh and not chosen.interrupted else chosen.network

    def _make_ready(self) -> None:
        """Compile and import before the clock of the trials runs."""
        if Convex.obstacle(self.problem()) is None:
            compile_kernels()
        else:
            compile_search()
        if "gradient" in self._methods():
            load_torch()

    def _stages(self) -> list[Callable[[Setting], Sequence[Setting]]]:
        stages: list[Callable[[Setting], Sequence[Setting]]] = []
        methods = self._methods()
        if len(methods) > 1 or len(self._temperatures()) > 1:
            usual, *others = self._temperatures()
            stages.append(lambda best: [replace(best, temperature=usual, method=m) for m in methods])
            stages.append(lambda best: [replace(best, temperature=t) for t in others if best.method == methods[0]])
        if len(self._prices()) > 1:
            stages.append(lambda best: [replace(best, nonzero_price=p) for p in self._prices()])
        return stages

    def _temperatures(self) -> tuple[float, ...]:
        given = self.options["temperature"]
        if given != "auto":
            return (float(given),)
        return temperatures(self.architecture) if self._has_temperature() else (1.0,)

    def _has_temperature(self) -> bool:
        return self.options["loss"] in ("logistic", "cross_entropy")

    def _prices(self) -> tuple[float, ...]:
        given = self.options["nonzero_price"]
        return PRICES if given == "auto" else (float(given),)

    def _methods(self) -> tuple[str, ...]:
        """Return the methods to choose from: gradients too where no proof is in reach and all is left open."""
        options = self.options
        large = sum(self.architecture.hidden) * self.dataset.n_samples > PROVABLE
        open_ = options["solver"] == "auto" and options["temperature"] == "auto" and self._has_temperature()
        if not (large and open_ and options["checkpoint"] is None):
            return ("portfolio",)
        return ("portfolio", "gradient") if Gradient.obstacle(self.problem()) is None else ("portfolio",)

    def _trial_trainer(self, setting: Setting) -> Trainer:
        if setting.method == "gradient":
            return Gradient()
        problem = self.problem(setting=setting)
        for engine in (Convex, RobustConvex):
            if engine.obstacle(problem) is None:
                return engine()
        return Portfolio(bounds=False, gradient=False)

    def _resumed(self) -> bool:
        """Take the setting with which the checkpoint was begun, where there is one to go on from."""
        path = self.options["checkpoint"]
        if path is None or not self.options["resume"] or not Checkpoint(path).exists():
            return False
        settings = [
            replace(USUAL, temperature=t, nonzero_price=p) for t in self._temperatures() for p in self._prices()
        ]
        found = [s for s in settings if Checkpoint(path).belongs_to(self.problem(setting=s))]
        self.setting = found[0] if found else self.setting
        return True

    def _architecture(self) -> Architecture:
        options = self.options
        hidden = tuple(np.atleast_1d(np.asarray(options["hidden_layer_sizes"], dtype=object)).tolist())
        if not all(isinstance(size, Integral) and int(size) > 0 for size in hidden):
            raise InputError(
                f"hidden_layer_sizes must be positive whole numbers, got {options['hidden_layer_sizes']!r}"
            )
        given = (options[name] for name in ("activation", "weights", "weight_bound", "bias_bound"))
        sizes = [int(size) for size in hidden]
        return architecture_of(self.dataset.n_features, self.dataset.n_classes, sizes, *given)

    def _constraints(self, nonzero_price: float, dataset: Dataset) -> tuple[SideConstraint, ...]:
        unit, options = self.weight_unit, self.options
        constraints: list[SideConstraint] = []
        if nonzero_price or options["max_nonzeros"] is not None or options["fan_in"] is not None:
            constraints.append(Sparsity(nonzero_price * unit, options["max_nonzeros"], options["fan_in"]))
        if options["neuron_price"]:
            constraints.append(NeuronCount(options["neuron_price"] * unit))
        for name, power in (("l1_price", 1), ("l2_price", 2)):
            if options[name]:
                parts = MICRO if self.architecture.continuous else 1
                constraints.append(NormPrice(options[name] * unit, power, parts))
        ball, price = self.perturbation, options["robust_price"]
        if ball is not None and not self._takes_worst_case():
            constraints.append(Robust(ball.radius, ball.norm, None if price is None else price * unit, dataset=dataset))
        if options["feature_signs"] is not None:
            constraints.append(FeatureSigns(_signs(options["feature_signs"], self.features)))
        return tuple(constraints)


def _check_number(name: str, value: Any, auto: bool) -> None:
    if auto and isinstance(value, str) and value == "auto":
        return
    if not isinstance(value, Real) or isinstance(value, bool):
        raise InputError(f"{name} must be a number{' or auto' if auto else ''}, got {value!r}")


def _signs(signs: dict[str, int] | Sequence[int], features: list[Feature]) -> tuple[int, ...]:
    if not isinstance(signs, dict):
        return tuple(int(s) for s in signs)
    unknown = sorted(set(signs) - {f.column for f in features})
    if unknown:
        raise InputError(f"feature_signs names the column {unknown[0]!r}, which the data do not have")
    return tuple(int(signs.get(f.column, 0)) for f in features)
