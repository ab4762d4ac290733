"""The convex engine: brute force, independent checks of its leaves, limits, events, interrupts."""

import itertools
import math
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from provenn.bounds.convex import ConvexProblem, minimise
from provenn.errors import InputError, OverflowRiskError
from provenn.losses.logistic import LogisticCurve
from provenn.losses.min_hinge import HingeCurve
from provenn.milp import Limits
from provenn.status import Status

DOMAINS = [(-1, 1, 2), (-1, 1, 1), (-2, 2, 1), (-3, 3, 1), (-2, 2, 2), (-3, 3, 2), (0, 2, 1)]
BIASES = [None, (0, 0, 1), (-1, 1, 1), (-1, 1, 2), (-3, 3, 1), (-2, 4, 2)]


def random_problem(seed):
    """Return a tiny problem that can be enumerated; every option turns up."""
    rng = np.random.default_rng(seed)
    low, high, step = DOMAINS[rng.integers(len(DOMAINS))]
    bias = BIASES[rng.integers(len(BIASES))]
    d = int(rng.integers(1, 6 if (high - low) // step < 3 else 5))
    n = int(rng.integers(1, 30))
    scale = int(rng.choice([1, 1, 10, 10_000]))
    X = rng.integers(0, 2, (n, d)) * scale if rng.random() < 0.5 else rng.integers(-scale, scale + 1, (n, d))
    if d >= 3 and rng.random() < 0.4:
        group = rng.integers(0, 3, n)
        X[:, :3] = (group[:, None] == np.arange(3)) * scale
    if d >= 2 and rng.random() < 0.2:
        X[:, -1] = X[:, 0]
    t = np.where((X @ rng.normal(size=d)) / scale + rng.normal(size=n) > 0, 1, -1)
    lows, highs = np.full(d, low), np.full(d, high)
    if low < 0 and rng.random() < 0.4:
        holds_zero = -low % step == 0
        lows[rng.random(d) < 0.3] = 0 if holds_zero else high
        highs[rng.random(d) < 0.2] = 0 if holds_zero else high
        highs = np.maximum(lows, highs)
    size = int(np.abs(X).sum(axis=1).max() * high + scale)
    curve = LogisticCurve(float(rng.choice([0.3, 1.0, 3.0])) * scale) if rng.random() < 0.6 else HingeCurve(size)
    return ConvexProblem(
        X=X,
        t=t,
        multiplicity=rng.integers(1, 4, n),
        curve=curve,
        scale=scale,
        low=lows,
        high=highs,
        step=step,
        bias=bias,
        price=int(rng.integers(1, 3 * 10**5)) if rng.random() < 0.3 else 0,
        max_nonzeros=int(rng.integers(0, d + 1)) if rng.random() < 0.3 else None,
    )


def points(problem):
    """Yield every (w, b) of the box."""
    boxes = [range(lo, hi + 1, problem.step) for lo, hi in zip(problem.low, problem.high, strict=True)]
    low, high, step = problem.bias if problem.bias is not None else (0, 0, 1)
    for *w, b in itertools.product(*boxes, range(low, high + 1, step)):
        if problem.max_nonzeros is None or np.count_nonzero(w) <= problem.max_nonzeros:
            yield np.array(w), b


def enumerated(problem):
    """Return the exact values of all feasible points."""
    return [problem.value(w, b) for w, b in points(problem)]


@pytest.mark.parametrize("block", range(24))
def test_equals_brute_force(block):
    for seed in range(12 * block, 12 * block + 12):
        problem = random_problem(seed)
        values = enumerated(problem)
        result = minimise(problem, Limits(seed=seed))
        if not values:
            assert result.status is Status.INFEASIBLE
            continue
        assert result.status is Status.OPTIMAL, seed
        assert result.value == result.bound == min(values), seed
        assert problem.allows(result.w, result.b)
        assert result.value == problem.value(result.w, result.b)
