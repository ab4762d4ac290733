"""MNIST by 45 ternary neurons, one for each pair of digits, and a majority vote.

Published: BeMi (arXiv 2212.03659), 45 networks [784, 4, 4, 1], 160 to 600 s each, 8,000 balanced test images; 100
images a class: local search, 45 networks [784, 10, 1], 900 s (Bruhn 2024). Here every pair is one neuron with 784
inputs and the logistic loss at temperature 5, trained by the convex engine in a 45th of the time. Images are random
by seed, binary.

    provenn bench mnist_pairs --data DIR --seconds 20 --seeds 3
"""

import time
from collections.abc import Iterator
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from provenn.benchmark import Case, Job, Method, Outcome, Split, Task
from provenn.formulations import Problem
from provenn.losses.logistic import Logistic
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.trainers.convex import Convex, compile_kernels

from ._data import MNIST, some_mnist

PUBLISHED = {2: 49.5, 6: 63.7, 10: 68.3, 20: 75.4, 30: 80.9, 40: 81.7, 100: 86.8}
PAIRS = tuple(combinations(range(10), 2))
TEMPERATURE = 5.0
TEST_EACH = 800


def split(data: Path, each: int, seed: int) -> Split:
    """Return `each` training images of a digit, and the first 800 test images of every digit."""
    whole = some_mnist(data, each, seed)
    assert whole.test is not None
    chosen = np.concatenate([np.flatnonzero(whole.test.y == digit)[:TEST_EACH] for digit in range(10)])
    return Split(whole.train, whole.test.take(chosen), n_classes=10)


def tasks(data: Path | None) -> Iterator[Task]:
    for each, accuracy in PUBLISHED.items():
        source = "BeMi" if each < 100 else "local search"
        yield Task(f"{each} a class", partial(split, data, each), published={source: accuracy})


def train_pairs(job: Job) -> Outcome:
    """Train one neuron a pair, each with an equal share of the time that is left."""
    began = time.perf_counter()
    shape = Architecture.build(job.rows.X.shape[1], 2)
    found = []
    for number, (first, second) in enumerate(PAIRS):
        left = max(0.0, job.limits.seconds - (time.perf_counter() - began))
        share = Limits(left / (len(PAIRS) - number), threads=job.limits.threads, seed=job.limits.seed)
        rows = job.rows.take(np.isin(job.rows.y, (first, second)))
        data = Dataset.merge(rows.X, (rows.y == second).astype(np.int64), classes=(0, 1))
        found.append(Convex().train(Problem(shape, data, Logistic(TEMPERATURE)), share))
    networks = [result.network for result in found if result.network is not None]
    proven = sum(result.certificate is not None and result.certificate.optimal for result in found)
    bits = sum(network.size_bits for network in networks)
    return Outcome(
        predict=partial(vote, networks), size_bits=bits, stopped="trained", note=f"{proven} of 45 pairs proven optimal"
    )


def vote(networks: list[IntegerNetwork], X: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the digit that most pairs choose; the sum of scores breaks ties."""
    votes = np.zeros((len(X), 10))
    for (first, second), network in zip(PAIRS, networks, strict=True):
        scores = network.scores(X)[:, 0]
        wins = scores >= 0
        share = np.tanh(scores / 100) / 100
        votes[:, second] += wins + share
        votes[:, first] += ~wins - share
    return votes.argmax(axis=1)


CASE = Case(
    tasks, ("pairs", "logistic"), seconds=20, seeds=5, needs=MNIST, reference="pairs", short=(10, 1),
    own_methods=(Method("pairs", train_pairs, "45 ternary neurons and a vote", compile_kernels, needs_problem=False),),
)  # fmt: skip
