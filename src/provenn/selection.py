"""Chooses temperature, price of weights and method of training on validation data."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit

from provenn.errors import InputError
from provenn.formulations import Problem
from provenn.losses.cross_entropy import CrossEntropy
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.status import Status
from provenn.trainers import Trainer

SHARE = 0.3
TRIALS = 8
LARGEST = 4000
FEWEST = 20
FLAT_TEMPERATURES = (0.25, 0.5, 0.125, 1.0, 0.0625, 2.0, 4.0, 0.03125)
DEEP_TEMPERATURES = (1.0, 0.5, 2.0, 0.25)
PRICES = (0.0, 0.5, 1.0, 2.0, 4.0)
FACTORS = (1.0, 0.25, 0.5, 2.0, 4.0)
SPLIT_SEED = 0

Validation = float | int
Split = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Setting:
    """What is chosen.

    Parameters
    ----------
    temperature : float
        tau of the loss, in units of the score.
    nonzero_price : float
        Cost of a non-zero weight, in the measure of the loss.
    method : str
        "portfolio" or "gradient".
    """

    temperature: float
    nonzero_price: float = 0.0
    method: str = "portfolio"


@dataclass(frozen=True)
class Trial:
    """A setting and how it did on validation data: mean cross entropy (or loss) a sample and accuracy."""

    setting: Setting
    loss: float
    accuracy: float
    network: IntegerNetwork | None = field(default=None, repr=False, compare=False)
    """The network of the first split."""


@dataclass(frozen=True)
class Selection:
    """The chosen setting and why.

    Parameters
    ----------
    setting : Setting
    trials : tuple of Trial
        All settings that were tried, in order.
    scheme : str
        How the data were split.
    seconds : float
    interrupted : bool
        Ctrl-C came before all settings were tried.
    """

    setting: Setting
    trials: tuple[Trial, ...]
    scheme: str
    seconds: float
    interrupted: bool = False

    @property
    def network(self) -> IntegerNetwork | None:
        """A network of the chosen setting, trained on some of the samples."""
        return next((t.network for t in self.trials if t.setting == self.setting), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the choice, the scheme and all trials as JSON data."""
        return {
            "scheme": self.scheme,
            "seconds": round(self.seconds, 3),
            "chosen": asdict(self.setting),
            "trials": [{**asdict(t.setting), "loss": t.loss, "accuracy": t.accuracy} for t in self.trials],
        }


def temperatures(architecture: Architecture) -> tuple[float, ...]:
    """Return temperatures to try, the usual one first.

    Multiples of the largest weight without hidden layers, where features are scaled to 0..1;
    multiples of the standard deviation ``P sqrt(n)`` of a sum over n hidden units otherwise.
    """
    last = architecture.layers[-1]
    largest = last.weights.bound / last.weights.denominator
    if architecture.hidden:
        return tuple(t * largest * sqrt(last.n_in) for t in DEEP_TEMPERATURES)
    return tuple(t * largest for t in FLAT_TEMPERATURES)


def select(
    stages: Sequence[Callable[[Setting], Sequence[Setting]]],
    usual: Setting,
    dataset: Dataset,
    problem_of: Callable[[Dataset, Setting], Problem],
    trainer_of: Callable[[Setting], Trainer],
    validation: Validation,
    limits: Limits,
) -> Selection:
    """Try settings on the same splits and return the one with the smallest mean loss on validation data.

    Parameters
    ----------
    stages : sequence of callables
        Each returns settings to try, given the best one so far.
    usual : Setting
        The answer for fewer than 20 distinct samples or when no time is left.
    dataset : Dataset
        Equal samples of equal class are one and stay on one side of a split. At most 4,000
        distinct samples are used.
    problem_of : callable
        The problem of a setting on some of the data.
    trainer_of : callable
    validation : float or int
        A share in (0, 1) to hold out once, or a number of folds, at least 2.
    limits : Limits
        A share of 0.3 of the time at most goes to the choice, and an eighth of that to each trial. With a
        limit on nodes it repeats unless time is short.

    Raises
    ------
    InputError
        When the validation is neither a share nor a number of folds.
    """
    began = time.perf_counter()
    scheme = scheme_of(validation)
    splits = _splits(dataset, validation, limits.seed)
    if not splits:
        return Selection(usual, (), "fewer than 20 distinct samples, too few to choose", 0.0)
    trials: list[Trial] = []
    interrupted = False
    try:
        for stage in stages:
            best = min(trials, key=lambda t: t.loss).setting if trials else usual
            todo = [s for s in stage(best) if all(s != t.setting for t in trials)]
            for setting in todo:
                if SHARE * limits.seconds < time.perf_counter() - began and trials:
                    break
                seconds = SHARE * limits.seconds / TRIALS / len(splits)
                trial = _trial(setting, dataset, splits, problem_of, trainer_of, replace(limits, seconds=seconds))
                if trial is not None:
                    trials.append(trial)
    except KeyboardInterrupt:
        interrupted = True
    best = min(trials, key=lambda t: t.loss).setting if trials else usual
    return Selection(best, tuple(trials), scheme, time.perf_counter() - began, interrupted)


def scheme_of(validation: Validation) -> str:
    """Describe a validation, or refuse it."""
    if isinstance(validation, float) and 0 < validation < 1:
        return f"a fixed stratified split with {validation:.0%} held out"
    if isinstance(validation, int) and not isinstance(validation, bool) and validation >= 2:
        return f"{validation}-fold stratified cross-validation"
    raise InputError(
        f"validation = {validation!r} is not usable: give a share between 0 and 1 to hold out, or a number of folds, "
        "at least 2"
    )


def held_out(dataset: Dataset, share: float) -> NDArray[np.bool_]:
    """Mark a fixed stratified share of the distinct samples, at least one."""
    mask = np.zeros(dataset.n_samples, dtype=bool)
    mask[_one_split(np.arange(dataset.n_samples), dataset.y, share)[1]] = True
    return mask


def _splits(dataset: Dataset, validation: Validation, seed: int) -> list[Split]:
    """Return pairs of training and validation rows; none for very few samples."""
    n = dataset.n_samples
    if n < FEWEST:
        return []
    rows = np.arange(n)
    if n > LARGEST:
        rows = np.sort(np.random.default_rng(SPLIT_SEED).choice(n, LARGEST, replace=False))
    y = dataset.y[rows]
    if isinstance(validation, float):
        return [_one_split(rows, y, validation)]
    folds = min(validation, int(np.bincount(y)[np.unique(y)].max()))
    return [(rows[i], rows[v]) for i, v in _quiet_folds(folds, y)]


def _one_split(rows: NDArray[np.int64], y: NDArray[np.int64], share: float) -> Split:
    """Stratify where every class has two samples at least and every side room for all classes."""
    counts = np.bincount(y)[np.unique(y)]
    size = max(1, round(share * len(rows)))
    if counts.min() >= 2 and min(size, len(rows) - size) >= len(counts):
        split = StratifiedShuffleSplit(1, test_size=size, random_state=SPLIT_SEED)
        train, valid = next(split.split(np.zeros((len(rows), 1)), y))
        return rows[np.sort(train)], rows[np.sort(valid)]
    order = np.random.default_rng(SPLIT_SEED).permutation(len(rows))
    return rows[np.sort(order[size:])], rows[np.sort(order[:size])]


def _quiet_folds(folds: int, y: NDArray[np.int64]) -> Iterator[Split]:
    """Stratify; members of classes rarer than the folds go to some of them."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        yield from StratifiedKFold(folds, shuffle=True, random_state=SPLIT_SEED).split(np.zeros((len(y), 1)), y)


def _trial(
    setting: Setting,
    dataset: Dataset,
    splits: list[Split],
    problem_of: Callable[[Dataset, Setting], Problem],
    trainer_of: Callable[[Setting], Trainer],
    limits: Limits,
) -> Trial | None:
    """Train on every split; None where that gives no network.

    A single neuron is judged by its loss at the temperature that trained, so that the probabilities
    of the choice fit. Other networks are judged by cross entropy at the temperature that suits them
    best: it says how well the scores order the classes, and compares search with gradients, whose own
    temperature becomes the one measured.
    """
    pairs: list[tuple[IntegerNetwork, Dataset]] = []
    for train, valid in splits:
        result = trainer_of(setting).train(problem_of(dataset.subset(train), setting), limits)
        if result.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if result.network is None:
            return None
        pairs.append((result.network, dataset.subset(valid)))
    total = sum(valid.total for _, valid in pairs)
    losses = {}
    for factor in FACTORS[:1] if _is_neuron(pairs[0][0].architecture) else FACTORS:
        scaled = replace(setting, temperature=factor * setting.temperature)
        losses[scaled] = sum(_loss(problem_of(valid, scaled), network) for network, valid in pairs) / total
    best = min(losses, key=lambda s: losses[s])
    right = sum(int(v.multiplicity[n.predict(v.X) == v.y].sum()) for n, v in pairs)
    return Trial(best if setting.method == "gradient" else setting, losses[best], right / total, pairs[0][0])


def _loss(problem: Problem, network: IntegerNetwork) -> float:
    """Return the loss itself of a single neuron or without a temperature, or else the cross entropy."""
    tau = None if _is_neuron(problem.architecture) else getattr(problem.loss, "temperature", None)
    loss = problem.loss if tau is None else CrossEntropy(tau)
    value = loss.value(network, problem.dataset)
    return float("inf") if value is None else float(value * loss.unit(problem.architecture, problem.dataset))


def _is_neuron(architecture: Architecture) -> bool:
    return not architecture.hidden and architecture.n_outputs == 1
