"""The scikit-learn edge: `IntegerNetworkClassifier`."""

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from provenn._training_data import frame, not_empty, training_table, whole_weights
from provenn.encoding import Quantizer, TableEncoder
from provenn.errors import InfeasibleError, InputError, NoAnswerError, SolverError
from provenn.formulations import Problem
from provenn.losses import Loss
from provenn.losses._worst_case import WorstCase
from provenn.losses.logistic import Logistic
from provenn.milp import Limits
from provenn.network import Dataset, IntegerDomain, IntegerNetwork
from provenn.network.architecture import Activation
from provenn.network.network import predict_scores
from provenn.perturbation import Excluded
from provenn.plan import Plan
from provenn.score_card import ScoreCard, score_card
from provenn.selection import Selection
from provenn.solvers import Solver
from provenn.status import Status
from provenn.trainers import OnProgress, Trainer, TrainResult

WeightKind = Literal["integer", "continuous"]


def _has_probabilities(estimator: "IntegerNetworkClassifier") -> bool:
    loss = getattr(estimator, "loss_", estimator.loss)
    if loss == "logistic" or isinstance(loss, Logistic):
        return True
    raise AttributeError("predict_proba needs loss='logistic'; the other losses give no probabilities")


class IntegerNetworkClassifier(ClassifierMixin, BaseEstimator):
    """A classifier with small integer weights, trained to proven optimality or with an honest gap.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default ()
        Units in each hidden layer; none gives an integer score.
    activation : {"sign", "step"}, default "sign"
        Of hidden units: -1 or 1, or 0 or 1; 0 counts as positive.
    weights : {"integer", "continuous"} or one for each layer, default "integer"
        Continuous weights lie in [-weight_bound, weight_bound], on multiples of 2^-20.
    weight_bound : int, float, "binary", "ternary" or IntegerDomain, default 1
        Weights are -P..P for a number P from 1 to 127; "binary" is {-1, 1}. Fractions are for
        continuous weights.
    bias_bound : int, float, IntegerDomain, None or "auto", default "auto"
        Domain of the biases, None for no biases. "auto": that of the weights with hidden
        layers, -127..127 without; in continuous layers as far as inputs of 0..1 can reach.
    loss : str or Loss, default "logistic"
        logistic, cross_entropy, min_hinge, max_correct, hamming, sat_margin, min_weight or max_margin.
    temperature : float or "auto", default "auto"
        tau of logistic and cross_entropy, in units of the score. "auto" chooses it on validation
        data; with hidden layers of some size also whether search or gradients train. After a
        start that is an estimator its choices stay.
    solver : str, Solver or Trainer, default "auto"
        "auto" is the portfolio: search beside provers. "convex", "agreement", "hull", "tree", "blocks",
        "gradient", "alternating", "splitting" and the names of solvers run one engine alone.
    validation : float, int or "auto", default "auto"
        What choices are judged by: a share of the samples, split off once, stratified and always
        the same, or a number of folds. "auto" is 5 folds for fewer than 1,000 samples without
        hidden layers, else 0.25. The network is then trained on all samples.
    early_stopping : bool, default False
        Hold out a share of the samples (`validation`, or a tenth when that is a number of folds)
        and keep the network with the fewest errors there; nothing is proven then.
    time_limit : float, default 60
        Seconds.
    node_limit, memory_limit : int, optional
        Search nodes, and MiB of a solver process.
    max_nonzeros, fan_in : int, optional
        Budget of non-zero weights, in the network and for each neuron.
    nonzero_price : float or "auto", default 0
        Cost of a non-zero weight, in the measure of the loss; "auto" chooses on validation data.
    neuron_price : float, default 0
        Cost of a kept hidden neuron, in the measure of the loss.
    l1_price, l2_price : float, default 0
        Cost of the sum of absolute weights, and of squared weights, in the measure of the loss.
    max_parts : int, optional
        Parts of the data at which solver="splitting" stops; by default it goes on to the exact model.
    batch_size : int, optional
        Samples of a round of solver="splitting"; by default all.
    robust_radius : float, dict or sequence, default 0
        Size of perturbations to withstand, in units of the scaled features (0..1 in training): one
        for all, raw columns by name, or one for each encoded feature.
    robust_norm : {"inf", 1, 2}, default "inf"
        Norm of perturbations.
    robust_rule : {"auto", "pattern", "worst_case"}, default "auto"
        "worst_case", which is "auto": minimise the loss under the worst perturbation, by intervals
        behind a hidden layer. "pattern": no perturbation changes an activation of the first hidden
        layer on a training sample.
    robust_price : float, optional
        Of "pattern": cost of a sample whose activations may change; None makes it a condition.
    robust_exclude : sequence of str or "categorical", default ()
        Raw columns that are never perturbed; "categorical" names all categories.
    feature_signs : dict or sequence, optional
        -1, 0 or +1 for each raw column (by name) or each encoded feature; only without
        hidden layers and for two classes.
    quantize : {"grid", "thermometer"}, default "grid"
        How numeric columns become integers.
    grid_steps : int, default 10000
        Grid units in 1 after min-max scaling.
    bits : int, default 4
        Thermometer bits a column.
    categorical_features : sequence of str, default ()
        Numeric columns to treat as categories; text columns always are.
    class_weight : dict, "balanced" or None
    warm_start : bool, default False
        Begin with the network of the last `fit`.
    checkpoint : str, optional
        File that keeps the state of the training as it goes.
    resume : bool, default False
        Go on from the checkpoint.
    n_jobs : int, default 1
        Threads.
    random_state : int, RandomState or None

    Attributes
    ----------
    network_ : IntegerNetwork
    certificate_ : Certificate
        Exact loss, proven bound, gap, and who proved it.
    history_ : tuple of Progress
        Every improvement with its time.
    status_ : Status
        Why training stopped.
    classes_ : ndarray
    encoder_ : TableEncoder
    selection_ : Selection or None
        What was chosen on validation data, and every trial; None when all was given.
    nonzero_price_ : float
        The price in use, chosen or given.
    weight_unit_ : Fraction or int
        Sample weights are whole multiples of ``1 / weight_unit_`` in the certificate's loss.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = IntegerNetworkClassifier(weight_bound=3).fit(X[y < 2], y[y < 2])
    >>> model.certificate_.optimal, model.score(X[y < 2], y[y < 2])
    (True, 1.0)
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (),
        *,
        activation: Activation = "sign",
        weights: WeightKind | Sequence[WeightKind] = "integer",
        weight_bound: float | Literal["binary", "ternary"] | IntegerDomain = 1,
        bias_bound: float | Literal["auto", "binary", "ternary"] | IntegerDomain | None = "auto",
        loss: str | Loss = "logistic",
        temperature: float | Literal["auto"] = "auto",
        solver: str | Solver | Trainer = "auto",
        validation: float | int | Literal["auto"] = "auto",
        early_stopping: bool = False,
        time_limit: float = 60,
        node_limit: int | None = None,
        memory_limit: int | None = None,
        max_nonzeros: int | None = None,
        fan_in: int | None = None,
        nonzero_price: float | Literal["auto"] = 0,
        neuron_price: float = 0,
        l1_price: float = 0,
        l2_price: float = 0,
        max_parts: int | None = None,
        batch_size: int | None = None,
        robust_radius: float | dict[str, float] | Sequence[float] = 0.0,
        robust_norm: Literal["inf", "1", "2", 1, 2] = "inf",
        robust_rule: Literal["auto", "pattern", "worst_case"] = "auto",
        robust_price: float | None = None,
        robust_exclude: Excluded = (),
        feature_signs: dict[str, int] | Sequence[int] | None = None,
        quantize: Quantizer = "grid",
        grid_steps: int = 10_000,
        bits: int = 4,
        categorical_features: Sequence[str] = (),
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        warm_start: bool = False,
        checkpoint: str | None = None,
        resume: bool = False,
        n_jobs: int = 1,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.weights = weights
        self.weight_bound = weight_bound
        self.bias_bound = bias_bound
        self.loss = loss
        self.temperature = temperature
        self.solver = solver
        self.validation = validation
        self.early_stopping = early_stopping
        self.time_limit = time_limit
        self.node_limit = node_limit
        self.memory_limit = memory_limit
        self.max_nonzeros = max_nonzeros
        self.fan_in = fan_in
        self.nonzero_price = nonzero_price
        self.neuron_price = neuron_price
        self.l1_price = l1_price
        self.l2_price = l2_price
        self.max_parts = max_parts
        self.batch_size = batch_size
        self.robust_radius = robust_radius
        self.robust_norm = robust_norm
        self.robust_rule = robust_rule
        self.robust_price = robust_price
        self.robust_exclude = robust_exclude
        self.feature_signs = feature_signs
        self.quantize = quantize
        self.grid_steps = grid_steps
        self.bits = bits
        self.categorical_features = categorical_features
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.resume = resume
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        start: "IntegerNetwork | IntegerNetworkClassifier | None" = None,
        on_progress: OnProgress | None = None,
    ) -> Self:
        """Encode the data, train, and certify.

        Parameters
        ----------
        X : array or DataFrame of shape (n, n_features)
            Numbers, or a frame with numeric and categorical columns.
        y : array of shape (n,)
            Labels of any kind, at least two distinct ones.
        sample_weight : array of shape (n,), optional
            Non-negative; whole numbers count samples exactly, others are rounded to
            thousandths of their mean.
        start : IntegerNetwork or fitted estimator, optional
            Never returned worse than this.
        on_progress : callable, optional
            Called with a `Progress` at every improvement.

        Raises
        ------
        InputError
            For data or options that cannot be used.
        InfeasibleError
            When a hard loss or constraint excludes every network.
        NoAnswerError
            When a limit was reached before any feasible network was found.
        """
        table, labels, weights = training_table(self, X, y, sample_weight)
        encoder = TableEncoder(self.quantize, self.grid_steps, self.bits, self.categorical_features).fit(table)
        multiplicity, self.weight_unit_ = whole_weights(weights)
        dataset = Dataset.merge(
            not_empty(encoder.transform(table)), labels, multiplicity, encoder.scale, tuple(range(len(self.classes_)))
        )
        self.dataset_fingerprint_ = dataset.fingerprint()
        plan = Plan(self.get_params(deep=False), dataset, encoder.features, self.weight_unit_)
        known = start if isinstance(start, IntegerNetworkClassifier) else self if self.warm_start else None
        limits = self._limits()
        if known is not None and hasattr(known, "loss_"):
            plan.keep(getattr(known.loss_, "temperature", None), known.nonzero_price_)
        else:
            limits = plan.choose(limits)
        problem = plan.problem()
        self.selection_: Selection | None = plan.selection
        self.nonzero_price_: float = plan.setting.nonzero_price
        self._prepared(problem)
        begin = self._start(start) or plan.start()
        result = plan.trainer(problem).train(problem, limits, begin, on_progress)
        if plan.selection is not None and plan.selection.interrupted:
            result = replace(result, status=Status.INTERRUPTED)
        self._keep(result, problem, encoder)
        if not problem.architecture.hidden:
            self._card_data = (dataset, self.network_.scores(dataset.X))
        return self

    def _prepared(self, problem: Problem) -> None:
        """Take note of the problem before it is trained; for subclasses."""

    def _limits(self) -> Limits:
        if not isinstance(self.time_limit, Real) or isinstance(self.time_limit, bool):
            raise InputError(f"time_limit must be a number of seconds, got {self.time_limit!r}")
        seed = (
            int(self.random_state)
            if isinstance(self.random_state, Integral)
            else int(check_random_state(self.random_state).randint(2**31 - 1))
        )
        return Limits(float(self.time_limit), self.node_limit, self.memory_limit, self.n_jobs, seed)

    def _start(self, start: "IntegerNetwork | IntegerNetworkClassifier | None") -> IntegerNetwork | None:
        if start is None and self.warm_start:
            return getattr(self, "network_", None)
        return start.network_ if isinstance(start, IntegerNetworkClassifier) else start

    def _keep(self, result: TrainResult, problem: Problem, encoder: TableEncoder) -> None:
        """Keep the result as fitted attributes, or raise what explains its absence."""
        if result.network is None or result.certificate is None:
            text = f"{result.status.value}. {result.message}".rstrip(". ")
            if result.status is Status.INFEASIBLE:
                raise InfeasibleError(text)
            if result.status in (Status.CRASHED, Status.REJECTED):
                raise SolverError(text)
            raise NoAnswerError(f"no network that satisfies the hard conditions was found: {text}")
        self.network_ = result.network
        self.certificate_ = result.certificate
        self.history_ = result.history
        self.status_ = result.status
        self.message_ = result.message
        self.seconds_ = result.seconds
        self.loss_: Any = problem.loss.loss if isinstance(problem.loss, WorstCase) else problem.loss
        self.encoder_ = encoder

    def _encode(self, X: Any) -> NDArray[np.int64]:
        check_is_fitted(self, "network_")
        if isinstance(X, pd.DataFrame) and hasattr(self, "feature_names_in_"):
            validate_data(self, X, skip_check_array=True, reset=False)
            return not_empty(self.encoder_.transform(X))
        if any(name in self.encoder_.categories for name in self.encoder_.columns):
            raise InputError("the model was trained on a frame with categories: predict needs a DataFrame too")
        array = validate_data(self, X, dtype=np.float64, reset=False)
        return not_empty(self.encoder_.transform(frame(array, self.encoder_.columns)))

    def scores(self, X: Any) -> NDArray[np.int64]:
        """Return the exact integer scores of shape (n, n_outputs), in grid units without hidden layers."""
        return self.network_.scores(self._encode(X))

    @property
    def score_unit(self) -> float:
        """Value of 1 in `scores`: 1 / scale without hidden layers, else 1; less where weights are continuous."""
        return 1.0 / self.network_.score_unit

    def _real_scores(self, X: Any) -> NDArray[np.float64]:
        encoded = self._encode(X)
        return self.network_.scores(encoded).astype(np.float64) * self.score_unit

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return the scores in real units, of shape (n,) for two classes and (n, n_classes) otherwise.

        With two classes, class 1 is predicted at 0 or more; half the smallest step is added,
        so that the sign alone decides.
        """
        scores = self._real_scores(X)
        return scores if scores.shape[1] > 1 else scores[:, 0] + self.score_unit / 2

    def predict(self, X: Any) -> NDArray[Any]:
        """Return labels of shape (n,)."""
        encoded = self._encode(X)
        return self.classes_[predict_scores(self.network_.scores(encoded))]

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return probabilities of shape (n, n_classes): logistic of score / tau, normalised over the classes."""
        scores = self._real_scores(X)
        temperature = self.loss_.temperature
        positive = 1 / (1 + np.exp(-np.clip(scores / temperature, -700, 700)))
        if scores.shape[1] == 1:
            return np.hstack([1 - positive, positive])
        return positive / positive.sum(axis=1, keepdims=True)

    def score_card(self) -> ScoreCard:
        """Return the points of every feature and the risk of every total (two classes, no hidden layer)."""
        check_is_fitted(self, "network_")
        if self.network_.architecture.hidden or len(self.classes_) != 2:
            raise InputError("a score card needs two classes and no hidden layer: hidden_layer_sizes=()")
        dataset, scores = self._card_data
        temperature = self.loss_.temperature if isinstance(self.loss_, Logistic) else None
        return score_card(
            self.network_,
            self.encoder_.features,
            str(self.classes_[-1]),
            temperature,
            scores[:, 0].astype(np.float64) * self.score_unit,
            dataset.y == 1,
            dataset.multiplicity,
        )
