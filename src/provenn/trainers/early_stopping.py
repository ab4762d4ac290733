"""Keeps the network that does best on samples that training does not see."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np

from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.network import Dataset, IntegerNetwork
from provenn.status import Status
from provenn.trainers._base import OnProgress, Progress, Record, Trainer, TrainResult
from provenn.trainers._splitting_settle import settled


@runtime_checkable
class Showing(Protocol):
    """A trainer that can show more networks than those that improve its loss."""

    def showing(self, hear: Callable[[IntegerNetwork], None]) -> Trainer:
        """Return the trainer that hands every such network to `hear`."""
        ...


@dataclass(frozen=True)
class EarlyStopping(Trainer):
    """Train on some of the samples with any trainer; return the network with the fewest errors on the others.

    Every improvement is judged, and what a trainer with the method `showing` shows besides. Biases of
    continuous layers first move into gaps between all samples, so that those held out keep the margin too.
    Of equal errors the smaller loss on those samples decides, then the earlier network. The
    certificate states the loss on all samples and no bound: what is proven about some of the
    samples is dropped, since features can be constant there and scales differ.

    Parameters
    ----------
    trainer : Trainer
    held_out : tuple of bool, one for each sample
        Samples of the problem's data to judge by; the others train.
    """

    trainer: Trainer
    held_out: tuple[bool, ...]

    def train(
        self,
        problem: Problem,
        limits: Limits,
        start: IntegerNetwork | None = None,
        on_progress: OnProgress | None = None,
    ) -> TrainResult:
        """Return the network that is best on the held-out samples; see `Trainer.train`.

        The history has the losses on the samples that train.
        """
        outside = np.array(self.held_out)
        judge = _Judge(problem, problem.dataset.subset(outside))
        part = problem.on(problem.dataset.subset(~outside))

        def watch(progress: Progress) -> None:
            judge.hear(progress.network)
            if on_progress is not None:
                on_progress(progress)

        trainer = self.trainer.showing(judge.hear) if isinstance(self.trainer, Showing) else self.trainer
        result = trainer.train(part, limits, start, watch)
        judge.hear(result.network)
        return judge.conclude(result)


@dataclass
class _Judge:
    """The best network on held-out samples."""

    problem: Problem
    data: Dataset
    network: IntegerNetwork | None = None
    score: tuple[int, int] | None = None
    heard: IntegerNetwork | None = field(default=None, repr=False)

    def hear(self, network: IntegerNetwork | None) -> None:
        if network is None or network is self.heard:
            return
        self.heard = network
        if self.problem.architecture.continuous:
            network = settled(network, self.problem.dataset.X)
        wrong = network.predict(self.data.X) != self.data.y
        loss = self.problem.loss.value(network, self.data)
        score = (int(self.data.multiplicity[wrong].sum()), 2**62 if loss is None else loss)
        if self.problem.value(network) is not None and (self.score is None or score < self.score):
            self.network, self.score = network, score

    def conclude(self, result: TrainResult) -> TrainResult:
        """Certify the network on all samples."""
        if self.network is None or self.score is None:
            return result
        record = Record(self.problem)
        record.offer(self.network)
        message = f"{result.message}; kept for {self.score[0]} errors on {self.data.total} held-out samples"
        status = result.status if result.status.stopped_early else Status.HELD_OUT
        final = record.finish(status, None, result.nodes, message)
        # The result keeps its kind, and with it what only this trainer reports.
        return replace(
            result, network=final.network, certificate=final.certificate, status=final.status, message=final.message
        )
