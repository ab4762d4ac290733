"""Local search alone: annealing in rounds, each with twice the work of the one before."""

import numpy as np

from provenn.benchmark.task import Job, Outcome
from provenn.errors import CapabilityError
from provenn.network import IntegerNetwork
from provenn.search.local_search import Annealing, local_search, obstacle
from provenn.trainers._base import Record

COOLING = Annealing()
NOISY = Annealing(noise=8.0, replicas=10)
VISITS = 20
"""Visits of every unit in the first round."""


def search_alone(job: Job, annealing: Annealing = COOLING) -> Outcome:
    """Anneal again and again from the best network until the time is over."""
    problem = job.problem
    reason = obstacle(problem.architecture, problem.dataset, problem.loss)
    if reason is not None or problem.constraints:
        raise CapabilityError(f"the local search does not apply: {reason or 'the task has side constraints'}")
    record = Record(problem, job.on_progress)
    record.begin(None)
    rng = np.random.default_rng(job.limits.seed)
    network = record.network or IntegerNetwork.random(problem.architecture, rng, problem.dataset.scale)
    work = VISITS * sum(layer.n_out for layer in problem.architecture.layers)

    def stopped() -> bool:
        return record.seconds > job.limits.seconds

    while not stopped():
        found = local_search(
            network, problem.dataset, problem.loss, rng, work,
            annealing=annealing, stopped=stopped, on_better=record.offer,
        )  # fmt: skip
        record.offer(found)
        network, work = record.network or found, 2 * work
    return Outcome(network=record.network, stopped="time_limit")
