"""Kernels of the local search: bandwidth, moves a second, scaling, memory.

Scoring a unit must read its pre-activations and, for every critical sample (one that a single move
can flip), the features, the scores and the loss of that sample. The floor is the time in which this machine
streams those bytes. The opponent scores one weight at a time in vectorised NumPy.

    python bench/kernels.py            # random binary features, half of the ternary weights 0
"""

import time
from collections.abc import Callable

import numpy as np
from numba import njit

from provenn.losses.cross_entropy import CrossEntropy
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.search import _kernels
from provenn.search._moves import UNLIMITED, Terms, sweep, workspace
from provenn.search._score_losses import ScoreLoss, sample_losses, score_loss_of
from provenn.search._state import Inputs, Shape, State, inputs_of, shape_of, state_of

DENSITY = 0.2
REACH = 2
SIZES = [
    (10_000, 784, 128, 10),
    (1_000, 784, 128, 10),
    (100, 784, 128, 10),
    (10_000, 100, 128, 10),
    (10_000, 3_000, 128, 10),
    (10_000, 784, 16, 10),
    (10_000, 784, 128, 2),
    (10_000, 784, 128, 40),
]
HEADER = (
    "samples inputs units classes | critical us/unit  GB/s  share | moves/s   NumPy moves/s  ratio | sweep s | B/sample"
)


def best_time(work: Callable[[], object], repeats: int = 5) -> float:
    """Return the least wall time of several repeats, in seconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def streaming_bandwidth() -> float:
    """Return the bytes a second at which one thread sums 400 MB of floats."""
    array = np.ones(100_000_000, dtype=np.float32)
    return array.nbytes / best_time(array.sum)


@njit
def score_units(inputs: Inputs, shape: Shape, state: State, rule: ScoreLoss, space: _kernels.Space) -> None:
    """Score all moves of every unit of the first layer."""
    for j in range(shape.size[1]):
        _kernels.prepare(shape, state, 0, j, space)
        _kernels.score(inputs, shape, state, rule, 0, j, space)


def measure(n: int, d: int, units: int, classes: int, stream: float) -> str:
    rng = np.random.default_rng(0)
    X = (rng.random((n, d)) < DENSITY).astype(np.int64)
    data = Dataset(X, rng.integers(0, classes, n), tuple(range(classes)), np.ones(n, dtype=np.int64))
    network = IntegerNetwork.random(Architecture.build(d, classes, (units,), IntegerDomain.ternary()), rng)
    rule = score_loss_of(CrossEntropy(8.0), network.architecture, data)
    inputs, shape, state = inputs_of(data), shape_of(network.architecture, data), state_of(network, data, rule)
    space = workspace(shape, state, REACH)

    seconds = best_time(lambda: score_units(inputs, shape, state, rule, space))
    critical = int(((state.first >= -REACH) & (state.first < REACH)).sum())
    outputs = state.tail.shape[1]
    bytes_read = critical * (d + 4 * outputs + 8 + 8) + units * n * 4
    moves = units * (d + 1) * 2 / seconds
    numpy_moves = 40 / best_time(lambda: score_one_by_one(network, data, state, rule), 2)
    terms = Terms(1.0, 0.0, UNLIMITED, UNLIMITED, 64, REACH)
    random = np.array([1], dtype=np.uint64)
    sweep(inputs, shape, state, rule, terms, space, random)
    swept = best_time(lambda: sweep(inputs, shape, state, rule, terms, space, random), 2)
    memory = sum(a.nbytes for a in (*inputs, *state, *space) if isinstance(a, np.ndarray))
    return (
        f"{n:7d} {d:6d} {units:5d} {classes:7d} | {critical / units / n:7.1%} {1e6 * seconds / units:8.0f} "
        f"{bytes_read / seconds / 1e9:5.1f} {bytes_read / seconds / stream:6.0%} | {moves:9.3g} {numpy_moves:9.3g} "
        f"{moves / numpy_moves:10.0f} | {swept:7.3f} | {memory / n:7.0f}"
    )


def score_one_by_one(network: IntegerNetwork, data: Dataset, state: State, rule: ScoreLoss) -> list[float]:
    """Score 40 moves of the first unit in vectorised NumPy, computing the loss of flipped samples only."""
    a, v, scores = state.first[0], network.weights[1][0], state.tail.astype(np.int64)
    gains = []
    for i in range(20):
        for dv in (-1, 1):
            h = np.where(a >= 0, 1, -1)
            after = np.where(a + dv * data.X[:, i] >= 0, 1, -1)
            flipped = np.flatnonzero(after != h)
            new = scores[flipped] + (after - h)[flipped, None] * v
            gains.append(float((sample_losses(rule, new, data.y[flipped]) - state.loss[flipped]).sum()))
    return gains


def main() -> None:
    stream = streaming_bandwidth()
    print(f"streaming read, one thread: {stream / 1e9:.1f} GB/s")
    print(HEADER)
    for size in SIZES:
        print(measure(*size, stream), flush=True)


if __name__ == "__main__":
    main()
