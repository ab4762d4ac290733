"""What the exact engines of this library share when each trains alone."""

import time
from abc import abstractmethod
from typing import ClassVar

from provenn.errors import CapabilityError
from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.network import IntegerNetwork
from provenn.status import Status
from provenn.trainers._base import OnProgress, Proof, Record, Trainer, TrainResult


class Engine(Trainer):
    """An exact engine as a trainer: it searches and proves by itself; subclasses are frozen dataclasses."""

    engine: ClassVar[str]
    """What messages call it."""
    prover: ClassVar[str]
    """What certificates call it."""

    @staticmethod
    @abstractmethod
    def obstacle(problem: Problem) -> str | None:
        """Say why the engine does not apply to a problem, or None when it does."""

    @staticmethod
    @abstractmethod
    def compile() -> None:
        """Compile or load the kernels, so that the clock of a training does not count it."""

    @staticmethod
    @abstractmethod
    def work(record: Record, limits: Limits) -> Proof:
        """Prove, and enter what is found into the record."""

    def train(
        self,
        problem: Problem,
        limits: Limits,
        start: IntegerNetwork | None = None,
        on_progress: OnProgress | None = None,
    ) -> TrainResult:
        """Return the best network with its certificate; see `Trainer.train`."""
        obstacle = self.obstacle(problem)
        if obstacle is not None:
            raise CapabilityError(f"the {self.engine} does not apply: {obstacle}; choose solver='cpsat' or 'auto'")
        record = Record(problem, on_progress)
        try:
            record.begin(start)
            self.compile()
            record.began = time.perf_counter()
            proof = self.work(record, limits)
        except KeyboardInterrupt:
            return record.finish(Status.INTERRUPTED, None)
        return record.finish(proof.status, self.prover, proof.nodes, proof.message)
