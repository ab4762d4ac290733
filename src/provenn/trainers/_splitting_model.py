"""The problem in which the samples of a part share their activations, by representatives and their members."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from provenn.formulations import Problem
from provenn.formulations.shared_activations import Representatives, SharedActivations, broken
from provenn.network import IntegerNetwork
from provenn.trainers._splitting_parts import Parts

Integers = NDArray[np.int64]
NOBODY = np.zeros(0, dtype=np.int64)
WORST = 2
"""Members that enter the model at a time, for each part, unit and side."""


@dataclass(frozen=True)
class Restricted:
    """A problem whose samples share the activations of the first hidden layer within parts.

    Parameters
    ----------
    problem : Problem
        On all samples.
    samples : Representatives
        One sample for each part and label in it, with the multiplicity of all these.
    joined : ndarray of shape (p, 2), int64
        Representatives of the same part.
    members : ndarray of shape (m,), int64
        Indices of the other samples that must share activations.
    leader : ndarray of shape (m,), int64
        The representative of every member.
    """

    problem: Problem
    samples: Representatives
    joined: Integers
    members: Integers
    leader: Integers

    @classmethod
    def of(cls, problem: Problem, parts: Parts, sample: NDArray[np.bool_] | None = None) -> "Restricted":
        """Choose the sample nearest to the mean of each part and label as representative.

        Parameters
        ----------
        parts : Parts
        sample : ndarray of shape (n,), bool, optional
            The samples that must share activations; by default all. A part without any keeps one.
        """
        data = problem.dataset
        chosen: list[int] = []
        weight: list[int] = []
        joined: list[tuple[int, int]] = []
        members: list[Integers] = []
        leader: list[Integers] = []
        for rows in parts.rows:
            first = len(chosen)
            for label in np.unique(data.y[rows]):
                same = rows[data.y[rows] == label]
                taken = _sampled(same, sample)
                place = len(chosen)
                chosen.append(_central(data.X, taken))
                weight.append(int(data.multiplicity[same].sum()))
                others = taken[taken != chosen[-1]]
                members.append(others)
                leader.append(np.full(len(others), place))
                if place > first:
                    joined.append((first, place))
        index = np.array(chosen)
        kept = Representatives(
            data.X[index], data.y[index], data.classes, np.array(weight, dtype=np.int64), data.scale, data.live
        )
        pairs = np.array(joined, dtype=np.int64).reshape(-1, 2)
        return cls(problem, kept, pairs, np.concatenate(members), np.concatenate(leader))

    def with_members(self, places: Integers) -> Problem:
        """Return the problem on the representatives, with rows for some of the members."""
        X = self.problem.dataset.X
        shared = SharedActivations(self.samples.X, X[self.members[places]], self.leader[places], self.joined)
        return replace(self.problem, dataset=self.samples, constraints=(*self.problem.constraints, shared))

    def outermost(self) -> Integers:
        """Return places of the members at which a feature is smallest or largest in their part."""
        X = self.problem.dataset.X[self.members]
        found = [
            _first_of(np.lexsort((side * X[:, j], self.leader)), self.leader)
            for j in np.flatnonzero(self.samples.live)
            for side in (1, -1)
        ]
        return np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)

    def violated(self, network: IntegerNetwork) -> Integers:
        """Return places of the members that miss their activations by the most, a few for each part and unit."""
        fires = network.trace(self.samples.X).preactivations[0] >= 0
        missed = broken(network, self.problem.dataset.X[self.members], fires[self.leader])
        worst = []
        for j in range(missed.shape[1]):
            places = np.flatnonzero(missed[:, j])
            for _ in range(WORST):
                order = places[np.lexsort((-missed[places, j], self.leader[places]))]
                worst.append(_first_of(order, self.leader))
                places = np.setdiff1d(places, worst[-1])
        return np.unique(np.concatenate(worst))


def _sampled(rows: Integers, sample: NDArray[np.bool_] | None) -> Integers:
    taken = rows if sample is None else rows[sample[rows]]
    return taken if len(taken) else rows[:1]


def _central(X: Integers, rows: Integers) -> int:
    """Return the row that is nearest to the mean."""
    points = X[rows].astype(np.float64)
    return int(rows[((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin()])


def _first_of(order: Integers, group: Integers) -> Integers:
    """Return the first place of every group in an order that is sorted by groups."""
    if not len(order):
        return order
    return order[np.append(True, np.diff(group[order]) != 0)]
