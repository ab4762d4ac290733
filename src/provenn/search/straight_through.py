"""Gradient training of integer networks with the straight-through estimator."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from provenn.errors import InputError
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.search._gradient_passes import available, load_torch
from provenn.search._gradient_run import GradientOptions, Run, default_temperature

__all__ = ["GradientOptions", "available", "default_temperature", "train"]

STEPS = 5000
EVALUATION_SHARE = 0.1
DEFAULT = GradientOptions()


def train(
    start: IntegerNetwork | None,
    architecture: Architecture,
    dataset: Dataset,
    rng: np.random.Generator,
    options: GradientOptions = DEFAULT,
    *,
    seconds: float | None = None,
    stopped: Callable[[], bool] = lambda: False,
    on_better: Callable[[IntegerNetwork], object] = lambda network: None,
    value: Callable[[IntegerNetwork], float] | None = None,
    threads: int = 1,
) -> IntegerNetwork:
    """Train latent real weights by Adam and return the best of their roundings.

    Minimises the cross-entropy of ``scores / temperature`` (two classes with one output:
    the logistic loss), with inputs dropped at random. Constant features get weight 0
    where the domain has it. With `seconds` the learning rate falls to 0 within that time;
    without, the result depends on the generator alone.

    Parameters
    ----------
    start : IntegerNetwork or None
        Where the latent weights begin; None begins uniformly at random.
    architecture : Architecture
    dataset : Dataset
    rng : Generator
        Gives the seed of a generator of PyTorch.
    options : GradientOptions
    seconds : float, optional
        Time to use, scoring included; loading PyTorch is not counted. With `epochs` as
        well, whichever ends first.
    stopped : callable
        Asked before every step; True ends the training.
    on_better : callable
        Called with every strictly better network.
    value : callable, optional
        Score of an integer network, lower is better; by default the exact training loss.
    threads : int
        Threads of PyTorch, whose own setting is restored in the end.

    Returns
    -------
    IntegerNetwork
        The best network met, never worse than the start.

    Raises
    ------
    MissingDependencyError
        When PyTorch is not installed.
    InputError
        When data, architecture and start do not fit together.

    References
    ----------
    Courbariaux et al. (2016), arXiv:1602.02830. Li & Liu (2016), ternary weight networks, arXiv:1605.04711.

    Examples
    --------
    >>> data = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    >>> shape = Architecture.build(2, 2, hidden=(4,))
    >>> if available():
    ...     options = GradientOptions(learning_rate=0.1, epochs=1000, restarts=20)
    ...     network = train(None, shape, data, np.random.default_rng(0), options)
    ...     assert network.predict(data.X).tolist() == data.y.tolist()
    """
    _check(start, architecture, dataset, seconds, threads)
    with _threads(threads):
        began = time.perf_counter()
        best = _Best(value, on_better)
        run = Run(architecture, dataset, options, int(rng.integers(2**62)), start)
        if value is None:
            best.value = run.exact_loss
        return _loop(run, best, start, _Clock(options, run.n_batches, seconds, began), stopped)


def _check(
    start: IntegerNetwork | None, architecture: Architecture, dataset: Dataset, seconds: float | None, threads: int
) -> None:
    """Refuse inputs that do not fit together."""
    if architecture.n_features != dataset.n_features:
        raise InputError(f"the network reads {architecture.n_features} features, the data have {dataset.n_features}")
    dataset.targets(architecture.n_outputs)
    if start is not None and (start.architecture != architecture or start.scale != dataset.scale):
        raise InputError("the start has another architecture or scale than the network to train")
    if seconds is not None and not seconds > 0:
        raise InputError(f"seconds = {seconds} is not usable: give a positive number, or None for epochs")
    if threads < 1:
        raise InputError(f"threads = {threads} is not usable: give at least 1")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Use a number of threads of PyTorch for a while."""
    torch = load_torch()
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Clock:
    """Progress from 0 to 1, by steps, by time or by both."""

    def __init__(self, options: GradientOptions, n_batches: int, seconds: float | None, began: float) -> None:
        """Count the time from `began` on."""
        self.began = began
        self.seconds = seconds
        epochs = options.epochs
        if epochs is None and seconds is None:
            epochs = math.ceil(STEPS / n_batches)
        self.steps = math.inf if epochs is None else epochs * n_batches
        self.spacing = 1.0 / options.evaluations
        self.next = self.spacing

    def progress(self, step: int) -> float:
        """Return the share of steps or time that is used."""
        share = step / self.steps
        if self.seconds is None:
            return share
        return max(share, (time.perf_counter() - self.began) / self.seconds)

    def due(self, progress: float) -> bool:
        """Tell whether a network should be scored."""
        return progress >= self.next

    def scored(self, progress: float, cost: float) -> None:
        """Choose when to score next: costly scores are spaced out, so that they take a tenth of the time."""
        gap = self.spacing
        if self.seconds is not None:
            gap = max(gap, cost / (EVALUATION_SHARE * self.seconds))
        self.next = progress + gap

    def reserve(self, cost: float) -> None:
        """Keep time back for the last score."""
        if self.seconds is not None:
            self.seconds = max(self.seconds - cost, 1e-9)


@dataclass
class _Best:
    """The best network so far."""

    value: Callable[[IntegerNetwork], float] | None
    on_better: Callable[[IntegerNetwork], object]
    network: IntegerNetwork | None = None
    score: float = math.inf

    def offer(self, network: IntegerNetwork, quiet: bool = False) -> float:
        """Score a network, keep it if it is better, and return the seconds this took."""
        began = time.perf_counter()
        assert self.value is not None
        score = self.value(network)
        if self.network is None or score < self.score:
            self.network, self.score = network, score
            if not quiet:
                self.on_better(network)
        return time.perf_counter() - began

    def answer(self) -> IntegerNetwork:
        """Return the best network; at least one has been offered."""
        assert self.network is not None
        return self.network


def _loop(
    run: Run, best: _Best, start: IntegerNetwork | None, clock: _Clock, stopped: Callable[[], bool]
) -> IntegerNetwork:
    """Step through batches until the clock or the caller ends it, scoring roundings on the way."""
    first = start if start is not None else run.rounded(run.latent)
    clock.reserve(1.5 * best.offer(first, quiet=start is not None))
    restarts = run.options.restarts
    step, progress, cycle = 0, 0.0, 0
    while progress < 1.0:
        for rows in run.batches():
            if stopped():
                return _last(run, best)
            run.step(rows, min(progress * restarts - cycle, 1.0))
            step += 1
            progress = clock.progress(step)
            ended = progress * restarts >= cycle + 1
            if ended or clock.due(progress):
                clock.scored(progress, sum(best.offer(network) for network in run.candidates()))
            if progress >= 1.0:
                break
            if ended:
                cycle = int(progress * restarts)
                run.begin(run.random())
    return best.answer()


def _last(run: Run, best: _Best) -> IntegerNetwork:
    """Return the best network after a stop request, whatever has been learned since the last score included."""
    if run.count:
        for network in run.candidates():
            best.offer(network)
    return best.answer()
