"""What a benchmark case is made of: tasks, the methods that run on them, and what a method returns."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from provenn.formulations import Problem, SideConstraint
from provenn.losses import Loss
from provenn.losses.logistic import Logistic
from provenn.milp import Limits
from provenn.network import Architecture, Certificate, Dataset, IntegerDomain, IntegerNetwork
from provenn.status import Status
from provenn.trainers import OnProgress, TrainResult

Predict = Callable[[NDArray[np.int64]], NDArray[np.int64]]


@dataclass(frozen=True)
class Rows:
    """Samples on the grid with their classes.

    Parameters
    ----------
    X : ndarray of shape (n, d), integers
        In grid units; the real value is ``X / scale``.
    y : ndarray of shape (n,), int64
        Classes 0, 1, ...
    """

    X: NDArray[Any]
    y: NDArray[np.int64]

    def take(self, index: NDArray[Any]) -> "Rows":
        """Return the rows with these indices."""
        return Rows(self.X[index], self.y[index])


@dataclass(frozen=True)
class Split:
    """Rows to train on and rows to test on; methods see the former only.

    Parameters
    ----------
    train, test : Rows
        The test rows may be None.
    n_classes : int
    scale : int
        Grid units in 1.
    """

    train: Rows
    test: Rows | None
    n_classes: int = 2
    scale: int = 1


@dataclass(frozen=True)
class Sweep:
    """The place of a task in a series of tasks that differ in one size, for a plot against that size.

    Parameters
    ----------
    factor : str
        What grows, with its unit: the label of the axis, the same for all series of a plot.
    series : str
        What stays the same: the label of the line.
    size : float
    """

    factor: str
    series: str
    size: float


@dataclass(frozen=True)
class Task:
    """One row of a benchmark: data by seed, architecture, weight domain, loss, and what to compare with.

    Parameters
    ----------
    name : str
        Unique in its case.
    load : callable
        Seed to `Split`; called in the process of a run only.
    loss : Loss
    hidden : tuple of int
        Units of each hidden layer.
    weights : IntegerDomain
    bias : IntegerDomain, None or "same"
        "same" is the domain of the weights.
    outputs : int, optional
        1 for two classes by default, otherwise one for each class.
    constraints : tuple of SideConstraint
    problem : callable, optional
        Training rows to `Problem`, where the fields above do not say it all.
    target : float, optional
        Objective to reach, usually a published one; else the best of all methods within 1%.
    optimum : float, optional
        Known optimum; a result below it, or a proof of another value, is marked as wrong.
    published : mapping of str to float
        Published test accuracies in percent, by a short name of their source.
    sweep : Sweep, optional
        Where the task is one of a series.
    details : any
        For the methods of the case file.
    """

    name: str
    load: Callable[[int], Split]
    loss: Loss = field(default_factory=Logistic)
    hidden: tuple[int, ...] = ()
    weights: IntegerDomain = field(default_factory=IntegerDomain.ternary)
    bias: IntegerDomain | Literal["same"] | None = "same"
    outputs: int | None = None
    constraints: tuple[SideConstraint, ...] = ()
    problem: Callable[[Split], Problem] | None = None
    target: float | None = None
    optimum: float | None = None
    published: Mapping[str, float] = field(default_factory=dict)
    sweep: Sweep | None = None
    details: Any = None

    def problem_of(self, split: Split) -> Problem:
        """Return the training problem of a split."""
        if self.problem is not None:
            return self.problem(split)
        train, classes = split.train, tuple(range(split.n_classes))
        data = Dataset.merge(train.X, train.y, scale=split.scale, classes=classes)
        shape = Architecture.build(
            data.n_features, split.n_classes, self.hidden, self.weights, self.bias, outputs=self.outputs
        )
        return Problem(shape, data, self.loss, self.constraints)


@dataclass(frozen=True)
class Job:
    """What a method gets: the task, the training rows, limits. Test rows stay outside.

    Parameters
    ----------
    task : Task
    split : Split
        Without test rows.
    limits : Limits
        Seconds, threads and seed of the run.
    on_progress : callable
        Takes a `Progress` at every improvement; the runner keeps the curve.
    """

    task: Task
    split: Split
    limits: Limits
    on_progress: OnProgress

    @cached_property
    def problem(self) -> Problem:
        """The training problem, of the training rows."""
        return self.task.problem_of(self.split)

    @property
    def rows(self) -> Rows:
        """The training rows."""
        return self.split.train


@dataclass(frozen=True)
class Outcome:
    """What a method returns; every part that it has no notion of stays None.

    Parameters
    ----------
    network : IntegerNetwork, optional
        An integer network; its exact loss and its predictions are computed by the runner.
    predict : callable, optional
        Samples in grid units to classes, for methods without an integer network.
    loss, bound : float, optional
        Objective and proven bound in real units; `loss` is ignored where there is a network.
    optimal : bool
        Proven optimal.
    proved_by : str, optional
        Who vouches for the bound.
    stopped : str
        Why the method stopped.
    validation : float, optional
        Accuracy in percent on rows that the method held out of the training rows.
    optimum : float, optional
        Known optimum of what the method solved, where it differs from that of the task.
    nodes : int, optional
        Nodes of a search tree.
    size_bits : int, optional
        Bits of the parameters, where there is no network.
    note : str
        What a reader should know.
    """

    network: IntegerNetwork | None = None
    predict: Predict | None = None
    loss: float | None = None
    bound: float | None = None
    optimal: bool = False
    proved_by: str | None = None
    stopped: str = ""
    validation: float | None = None
    optimum: float | None = None
    nodes: int | None = None
    size_bits: int | None = None
    note: str = ""

    @classmethod
    def of_training(cls, result: TrainResult, validation: float | None = None) -> "Outcome":
        """Return the outcome of a trainer."""
        certificate: Certificate | None = result.certificate
        return cls(
            network=result.network,
            bound=certificate.bound_value if certificate is not None else None,
            optimal=certificate is not None and certificate.optimal,
            proved_by=certificate.proved_by if certificate is not None else None,
            stopped=Status(result.status).name.lower(),
            validation=validation,
            nodes=result.nodes or None,
            note=result.message,
        )


@dataclass(frozen=True)
class Method:
    """A way to train, by name.

    Parameters
    ----------
    name : str
    run : callable
        Job to `Outcome`. A `CapabilityError` or `MissingDependencyError` means that the method
        does not apply: the run is skipped, with the message as its note.
    what : str
        One line for people.
    prepare : callable
        Imports and compiles before the clock starts.
    needs_problem : bool
        The training problem is built before the clock starts.
    """

    name: str
    run: Callable[[Job], Outcome]
    what: str = ""
    prepare: Callable[[], None] = lambda: None
    needs_problem: bool = True


@dataclass(frozen=True)
class Case:
    """The object ``CASE`` of a case file.

    Parameters
    ----------
    tasks : callable
        Data folder to tasks; cheap, for data are loaded by `Task.load`.
    methods : tuple of str
        Names of the methods that run by default.
    seconds : float
        Time limit of a run by default.
    seeds : int
        Seeds 0, 1, ... that run by default.
    needs : tuple of str
        Files that the case reads, relative to the data folder.
    own_methods : tuple of Method
        Methods that only this case knows.
    reference : str
        The method that the others are compared with.
    short : tuple of float and int
        Seconds and seeds in ``provenn bench all``.
    """

    tasks: Callable[[Path | None], Iterable[Task]]
    methods: tuple[str, ...]
    seconds: float = 20.0
    seeds: int = 5
    needs: tuple[str, ...] = ()
    own_methods: tuple[Method, ...] = ()
    reference: str = "provenn"
    short: tuple[float, int] = (5.0, 1)
