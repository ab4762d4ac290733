"""The default trainer: search finds better and better networks while provers raise the bound."""

import os
import time
from dataclasses import dataclass

from provenn.errors import InputError
from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.network import IntegerNetwork
from provenn.status import Status
from provenn.trainers._base import OnProgress, Record, Trainer, TrainResult
from provenn.trainers._portfolio_run import Run
from provenn.trainers._portfolio_telling import Teller
from provenn.trainers._start import make_ready
from provenn.trainers.checkpoint import Checkpoint


@dataclass(frozen=True)
class Portfolio(Trainer):
    """Run search and provers side by side until the loss is proven, a limit is reached, or Ctrl-C.

    Networks without hidden layers and with a convex loss go to the convex engine, with local
    search beside it on more than one thread. For the others local search runs beside two MILP
    solvers that win on different problems, CP-SAT and HiGHS. The workers share `Limits.threads`:
    when there are more workers than threads they take turns. Every network is evaluated in exact
    integers; the best network and the best bound of all are returned.

    On one thread and under a node limit the workers run one after the other, each with limited
    work: equal seeds then give equal results.

    Parameters
    ----------
    bounds : bool
        False searches only, for problems that are out of reach of any proof.
    gradient : bool, optional
        Train by gradients, too; by default where PyTorch is installed and the network has hidden
        layers and samples enough.
    solvers : tuple of str, optional
        Solvers that raise bounds; by default those that fit the problem.
    checkpoint : str, optional
        A file that keeps the state, so that a killed training can be resumed.
    resume : bool
        Go on where the checkpoint ends; begins anew where there is none yet. Time and networks of
        earlier runs count in the history, and not against the limits.

    Examples
    --------
    >>> from provenn.losses.max_correct import MaxCorrect
    >>> from provenn.network import Architecture, Dataset
    >>> data = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    >>> xor = Problem(Architecture.build(2, 2, hidden=(2,)), data, MaxCorrect())
    >>> result = Portfolio().train(xor, Limits(seconds=60))
    >>> result.certificate.loss, result.status.name
    (0, 'OPTIMAL')
    """

    bounds: bool = True
    gradient: bool | None = None
    solvers: tuple[str, ...] | None = None
    checkpoint: str | os.PathLike[str] | None = None
    resume: bool = False

    def train(
        self,
        problem: Problem,
        limits: Limits,
        start: IntegerNetwork | None = None,
        on_progress: OnProgress | None = None,
    ) -> TrainResult:
        """Return the best network with its certificate; see `Trainer.train`.

        `on_progress` is called in the calling thread; what it raises ends the training.
        """
        file = self.file()
        teller = Teller(on_progress, file)
        record = Record(problem, teller.hear)
        rounds = 0
        if file is not None and file.exists():
            saved = file.read(problem)
            saved.enter(record)
            rounds = saved.rounds
        run = Run(record, limits, teller, rounds)
        try:
            run.prepare(self.bounds, self.solvers, self.gradient)
            make_ready(record)
            record.began = time.perf_counter()
            record.begin(start)
            teller.begin(record, rounds)
        except KeyboardInterrupt:
            return record.finish(Status.INTERRUPTED, record.proved_by)
        return run.go()

    def file(self) -> Checkpoint | None:
        """Return the checkpoint; an existing file is only touched by a run that resumes it.

        Raises
        ------
        InputError
            When the file is there and not to be resumed, or there is no file to resume from.
        """
        if self.checkpoint is None:
            if self.resume:
                raise InputError("resume needs the file to go on from: give --checkpoint FILE (checkpoint=PATH)")
            return None
        file = Checkpoint(self.checkpoint)
        if file.exists() and not self.resume:
            raise InputError(f"the checkpoint {self.checkpoint} exists: resume it (resume=True, --resume) or remove it")
        return file
