"""One restricted model of data splitting: solved lazily, every network judged on all samples."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from provenn.milp import Limits
from provenn.network import IntegerNetwork
from provenn.solvers import Solver
from provenn.status import Status
from provenn.trainers._base import Proof, Record
from provenn.trainers._splitting_lines import refinements
from provenn.trainers._splitting_model import NOBODY, Restricted
from provenn.trainers.exact import MilpProof

Integers = NDArray[np.int64]


@dataclass
class RoundRecord(Record):
    """The record of a restricted problem, which offers every network, and what line searches make of it, to the whole.

    Parameters
    ----------
    whole : Record
        Of the problem on all samples.
    seconds_in_all : float
        On its clock; later there are no line searches.
    """

    whole: Record | None = None
    seconds_in_all: float = float("inf")

    def offer(self, network: IntegerNetwork) -> int | None:
        """Evaluate a network on the restricted problem; see `Record.offer`."""
        assert self.whole is not None
        best, problem = self.whole.network, self.whole.problem
        self.whole.offer(network)
        if best is not network and self.whole.elapsed < self.seconds_in_all:
            for candidate in refinements(network, best, problem):
                self.whole.offer(candidate)
        return super().offer(network)


@dataclass
class Solve:
    """One restricted model, solved with rows for more and more members until none is violated.

    Parameters
    ----------
    model : Restricted
    whole : Record
        Of the problem on all samples.
    solver : Solver
    limits : Limits
        Of this model.
    deadline : float
        On the clock of the whole record: no line searches after it.
    stopped : callable
    network : IntegerNetwork or None
        The best one of the model, afterwards.
    members : int
        How many had rows of their own at the end.
    """

    model: Restricted
    whole: Record
    solver: Solver
    limits: Limits
    deadline: float
    stopped: Callable[[], bool]
    network: IntegerNetwork | None = None
    members: int = 0

    def run(self) -> Proof:
        """Solve with the outermost members of each part, then with those that are violated too, and so on."""
        record = Record(self.whole.problem)
        places = self.model.outermost()
        nodes = 0
        while True:
            proof = self._once(places, record.remaining(self.limits))
            nodes += proof.nodes
            violated = NOBODY if self.network is None else self.model.violated(self.network)
            if not len(violated) or proof.status is not Status.OPTIMAL:
                return replace(proof, nodes=nodes)
            places = np.union1d(places, violated)

    def _once(self, places: Integers, limits: Limits) -> Proof:
        self.members = len(places)
        record = RoundRecord(self.model.with_members(places), whole=self.whole, seconds_in_all=self.deadline)
        if self.whole.network is not None:
            record.offer(self.whole.network)
        proof = MilpProof(self.solver, record, self.stopped).run(limits)
        self.network = record.network
        return proof
