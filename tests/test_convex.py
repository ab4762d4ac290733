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
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenn.bounds import _convex_kernels as kernels
from provenn.bounds import _convex_losses as curves
from provenn.bounds import _convex_reference as twins
from provenn.bounds import _convex_samples as passes
from provenn.bounds._convex_boxes import BOX_HIGH, BOX_LOW
from provenn.bounds._convex_groups import arrange, make_samples
from provenn.bounds._convex_search import move_cost
from provenn.bounds._convex_setup import into_box, score_shifts
from provenn.bounds.convex import ConvexProblem, minimise
from provenn.errors import InputError, OverflowRiskError
from provenn.losses._curves import curve_points
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


def leaf_bound(problem, low, high, w):
    """Derive a bound over a box again, in decimals of 50 digits where it matters: tangents at w."""
    A = problem.signed()
    code, p0, p1 = problem.curve.code, *problem.curve.parameters
    z = A.astype(np.float64) @ w
    value, slope, _ = curve_points(code, p0, p1, z)
    slopes = [Fraction(float(s)) * int(m) for s, m in zip(slope, problem.multiplicity, strict=True)]
    total = sum(Fraction(float(v)) * int(m) for v, m in zip(value, problem.multiplicity, strict=True))
    total -= sum(s * Fraction(float(zk)) for s, zk in zip(slopes, z, strict=True))
    counts, terms, gains, forced = problem.counts(), [], [], 0
    for j in range(A.shape[1]):
        g = sum(s * int(a) for s, a in zip(slopes, A[:, j], strict=True))
        price = problem.price if counts[j] else 0
        ends = min(g * int(end) + price for end in (low[j], high[j]) if end != 0) if (low[j], high[j]) != (0, 0) else 0
        if counts[j] and problem.max_nonzeros is not None and low[j] <= 0 <= high[j]:
            gains.append(max(0, -ends))
        else:
            terms.append(min(0, ends) if low[j] <= 0 <= high[j] else ends)
            forced += counts[j] and not low[j] <= 0 <= high[j]
    if problem.max_nonzeros is not None:
        room = problem.max_nonzeros - problem.forced_nonzeros() - forced
        if room < 0:
            return math.inf
        terms.append(-sum(sorted(gains, reverse=True)[:room]))
    slack = Fraction(problem.curve.slack) * int(problem.multiplicity.sum())
    return float(total + sum(terms) - slack) + problem.price * problem.forced_nonzeros()


def in_leaf(leaves, i, v):
    return bool(np.all((leaves.low[i] <= v) & (v <= leaves.high[i])))


@pytest.mark.parametrize("seed", range(40))
def test_leaves_prove_the_bound(seed):
    problem = random_problem(1000 + seed)
    result = minimise(problem, Limits(), record=True)
    if result.status is Status.INFEASIBLE:
        return
    leaves = result.leaves
    A = problem.signed()
    assert not (A @ leaves.shifts.T).any()
    for i in range(len(leaves.kind)):
        if leaves.kind[i] == -1:
            bound = leaf_bound(problem, leaves.low[i], leaves.high[i], leaves.w[i])
            assert bound > result.value - 1 - 1e-6 * abs(result.value) - 1e-3, (seed, i)
    for w, b in points(problem):
        v = problem.pack(w, b).astype(np.int64)
        orbit = [v + np.array(z, dtype=np.int64) @ leaves.shifts for z in shift_multiples(leaves)]
        orbit = [u for u in orbit if np.all((leaves.root_low <= u) & (u <= leaves.root_high))]
        kinds = [[int(leaves.kind[i]) for i in range(len(leaves.kind)) if in_leaf(leaves, i, u)] for u in orbit]
        assert orbit
        assert all(len(k) == 1 for k in kinds), (seed, v)
        assert any(k[0] in (-1, -2) for k in kinds), (seed, v)
        if len(leaves.reference) == 0:
            assert all(k[0] != -3 for k in kinds), (seed, v)


def shift_multiples(leaves):
    return itertools.product(range(-7, 8), repeat=len(leaves.shifts))


def medium_problem(seed=3, n=120, d=14, bound=3):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 1001, (n, d))
    t = np.where(X @ rng.normal(size=d) + 2000 * rng.normal(size=n) > 0, 1, -1)
    box = np.full(d, bound)
    return ConvexProblem(X, t, np.ones(n, dtype=np.int64), LogisticCurve(700.0), 1000, -box, box, 1, (-bound, bound, 1))


def test_node_limit_is_deterministic_and_honest():
    problem = medium_problem()
    one, two = (minimise(problem, Limits(nodes=40, seed=5)) for _ in range(2))
    assert one.status is Status.NODE_LIMIT
    assert one.nodes == 40
    assert (one.value, one.bound, one.w.tolist(), one.b) == (two.value, two.bound, two.w.tolist(), two.b)
    full = minimise(problem, Limits())
    assert full.status is Status.OPTIMAL
    assert one.bound <= full.value <= one.value
    assert one.root_bound <= one.bound


@pytest.mark.parametrize("limits", [Limits(seconds=0), Limits(seconds=0.05), Limits(nodes=0), Limits(nodes=1)])
def test_limits_are_honest(limits):
    problem = medium_problem(4)
    best = minimise(problem, Limits()).value
    result = minimise(problem, limits)
    assert result.status in (Status.TIME_LIMIT, Status.NODE_LIMIT, Status.OPTIMAL)
    assert result.bound <= best <= result.value
    assert result.value == problem.value(result.w, result.b)


def test_never_worse_than_the_start():
    problem = medium_problem(5)
    best = minimise(problem, Limits())
    again = minimise(problem, Limits(nodes=0), start=(best.w, best.b))
    assert again.value == best.value
    outside = minimise(problem, Limits(nodes=0), start=(best.w + 100, best.b))
    assert problem.allows(outside.w, outside.b)


def test_target_stops_early():
    problem = medium_problem(5)
    best = minimise(problem, Limits())
    early = minimise(problem, Limits(), start=(best.w, best.b), target=best.value)
    assert early.nodes < best.nodes
    assert early.bound <= best.value == early.value


def test_events_are_monotone_and_true():
    problem, events = medium_problem(3), []
    result = minimise(problem, Limits(), on_event=events.append)
    incumbents = [e for e in events if e.kind == "incumbent"]
    assert incumbents
    assert all(e.x is not None and e.x.shape == (15,) for e in incumbents)
    for e in incumbents:
        x = np.rint(e.x).astype(np.int64)
        assert problem.value(x[:-1], int(x[-1])) == e.objective
    for before, after in itertools.pairwise(events):
        assert after.objective <= before.objective
        assert after.bound >= before.bound
        assert after.seconds >= before.seconds
    assert events[-1].objective == events[-1].bound == result.value


def test_memory_limit():
    result = minimise(medium_problem(7, 200, 20), Limits(memory_mb=1, seconds=20))
    assert result.status in (Status.MEMORY_LIMIT, Status.OPTIMAL)
    assert result.bound <= result.value


def test_refuses_what_does_not_fit():
    good = medium_problem(8, 10, 3)
    with pytest.raises(InputError):
        replace(good, t=good.t[:-1])
    with pytest.raises(InputError):
        replace(good, low=good.high + 1)
    with pytest.raises(InputError):
        replace(good, price=-1)
    with pytest.raises(InputError):
        replace(good, t=np.zeros_like(good.t))
    with pytest.raises(OverflowRiskError):
        replace(good, X=good.X * 2**50)


@pytest.mark.parametrize("threads", [1, 2])
def test_interrupt_keeps_answer_and_bound(threads):
    script = textwrap.dedent(
        f"""
        import numpy as np
        from provenn.bounds.convex import ConvexProblem, minimise
        from provenn.losses.logistic import LogisticCurve
        from provenn.milp import Limits
        rng = np.random.default_rng(0)
        X = rng.integers(0, 1001, (300, 60))
        t = np.where(rng.random(300) < 0.5, 1, -1)
        box, ones = np.full(60, 5), np.ones(300, dtype=np.int64)
        problem = ConvexProblem(X, t, ones, LogisticCurve(3000.0), 1000, -box, box, 1, (-5, 5, 1))
        minimise(problem, Limits(nodes=3))
        print("ready", flush=True)
        result = minimise(problem, Limits(seconds=60, threads={threads}))
        print(result.status.name, result.bound <= result.value == problem.value(result.w, result.b), flush=True)
        """
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "ready"
    time.sleep(1.5)
    sent = time.perf_counter()
    child.send_signal(signal.SIGINT)
    answer = child.stdout.read().split()
    child.wait(timeout=60)
    child.stdout.close()
    assert answer == ["INTERRUPTED", "True"]
    assert time.perf_counter() - sent < 5


@st.composite
def arrays(draw):
    """Draw matching arrays of up to 6 samples and 5 entries, extreme scores included."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, d = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    size = 10.0 ** draw(st.integers(-3, 6))
    A = np.rint(rng.normal(size=(n, d)) * size) * (rng.random((n, d)) < draw(st.sampled_from([0.2, 1.0])))
    curve = LogisticCurve(10.0 ** draw(st.integers(-2, 4))) if draw(st.booleans()) else HingeCurve(int(size) + 1)
    low = -rng.integers(0, 4, d)
    return rng, A.astype(np.int64), curve, low, low + rng.integers(0, 6, d)


@settings(max_examples=60, deadline=None)
@given(arrays())
def test_kernels_equal_their_twins(drawn):
    rng, A, curve, low, high = drawn
    n, d = A.shape
    samples = make_samples(A, rng.integers(1, 4, n), curve, np.maximum(np.abs(low), np.abs(high)))
    A = A[arrange(A).order]
    x = rng.uniform(low, high + 1e-9)
    free, z, start = np.arange(d), np.empty(n), np.zeros(n)
    passes.scores(samples, start, free, x, z)
    np.testing.assert_allclose(z, A @ x, rtol=1e-12, atol=1e-9)
    slope, curvature, g, H = np.empty(n), np.empty(n), np.empty(d), np.empty((d, d))
    packed = (curve.code, *curve.parameters)
    value, reach, slopes, curvatures = twins.losses(packed, samples.weight, samples.radius, z)
    np.testing.assert_allclose(curves.losses(samples, z, slope, curvature), (value, reach), rtol=1e-12, atol=1e-280)
    np.testing.assert_allclose(curves.loss_only(samples, z), value, rtol=1e-12, atol=1e-280)
    np.testing.assert_allclose(slope, slopes, rtol=1e-12, atol=1e-280)
    np.testing.assert_allclose(curvature, curvatures, rtol=1e-12, atol=1e-280)
    passes.gradient(samples, slope, free, g)
    np.testing.assert_allclose(g, A.T @ slope, rtol=1e-9, atol=1e-9 * np.abs(A.T * slope).sum())
    passes.hessian(samples, curvature, free, H)
    np.testing.assert_allclose(H, twins.hessian(A.astype(float), curvature), rtol=1e-9, atol=1e-12 * np.abs(H).max())
    move = float(rng.integers(-2, 3))
    now = samples.weight * curve_points(*packed, z)[0]
    change = move_cost(samples, z, now, 0, move)
    expected = twins.annealing_change(packed, samples.weight, z, A[:, 0].astype(float), move)
    assert abs(change - expected) <= 1e-9 * (abs(value) + np.abs(now).sum() + abs(expected) + 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from([0.0, 1.0, 1e6]), st.integers(-1, 4))
def test_model_kernels_equal_their_twins(seed, d, dear, room):
    rng = np.random.default_rng(seed)
    low = -rng.integers(-1, 4, d).astype(float)
    high = low + rng.integers(0, 5, d)
    x, g = rng.uniform(low, high + 1e-9), rng.normal(size=d) * 10.0 ** rng.integers(-3, 6)
    counts = rng.random(d) < 0.7
    price = np.where(counts, dear, 0.0) * rng.random(d)
    found = kernels.linear_minimum(g, x, low, high, price, counts, room)
    np.testing.assert_allclose(found, twins.linear_minimum(g, x, low, high, price, counts, room), rtol=1e-9, atol=1e-6)
    root = rng.normal(size=(d + 1, d))
    H = root.T @ root + 1e-3 * np.eye(d)
    for a in range(d):
        args = (x[a], g[a], H[a, a], low[a], high[a], price[a])
        one, two = kernels.coordinate_minimum(*args), twins.coordinate_minimum(*args)

        def cost(v, a=a):
            ends = np.array([v]), low[a : a + 1], high[a : a + 1], price[a : a + 1]
            return g[a] * (v - x[a]) + 0.5 * H[a, a] * (v - x[a]) ** 2 + twins.envelope(*ends)[0]

        assert cost(one) <= cost(two) + 1e-9 * (1 + abs(cost(two)))
    y, q = np.clip(x, low, high), g.copy()
    begin = y.copy()
    kernels.minimise_model(H, q, y, low, high, price, 1e-12, np.empty((d, d)))
    np.testing.assert_allclose(q, g + H @ (y - begin), rtol=1e-6, atol=1e-6 * (1 + np.abs(g).max()))
    assert np.all((low <= y) & (y <= high))
    best = twins.model(H, g, y - begin) + twins.envelope(y, low, high, price).sum()
    for _ in range(50):
        other = rng.uniform(low, high + 1e-12)
        value = twins.model(H, g, other - begin) + twins.envelope(other, low, high, price).sum()
        assert best <= value + 1e-6 * (1 + abs(value))


def test_shifts_of_one_hot_groups():
    group = np.eye(3, dtype=np.int64)[[0, 1, 2, 0, 1]] * 10
    A = np.column_stack([group, np.arange(5), np.full(5, 10)])
    shifts, reference = score_shifts(A, np.full(5, -2), np.full(5, 2), np.ones(5, dtype=np.int64))
    assert len(shifts) == 1
    assert not (A @ shifts[0]).any()
    assert abs(shifts[0, reference[0]]) == 1


def test_points_move_into_the_box_whenever_that_is_possible():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(1500):
        D, r = int(rng.integers(2, 7)), int(rng.integers(0, 4))
        table = np.zeros((8, D))
        table[BOX_LOW], table[BOX_HIGH] = -rng.integers(0, 3, D), rng.integers(0, 3, D)
        shifts = rng.integers(-2, 3, (r, D)).astype(float)
        multiples = np.array([-rng.integers(0, 4, r), rng.integers(0, 4, r)], dtype=float)
        v = rng.integers(-3, 4, D).astype(float)
        root = SimpleNamespace(table=table, shifts=shifts, multiples=multiples)
        choices = itertools.product(*(np.arange(least, most + 1) for least, most in multiples.T))
        moved = (v + np.array(z) @ shifts if r else v for z in choices)
        possible = any(np.all((p >= table[BOX_LOW]) & (p <= table[BOX_HIGH])) for p in moved)
        inside = into_box(root, v)
        assert (inside is not None) == possible
        found += possible
        if inside is not None:
            assert np.all((inside >= table[BOX_LOW]) & (inside <= table[BOX_HIGH]))
    assert found > 100


def test_a_shift_that_fits_nowhere_is_found_at_once():
    groups, size = 12, 3
    D = groups * size
    table = np.zeros((8, D))
    table[BOX_LOW], table[BOX_HIGH] = -1, 1
    shifts = np.kron(np.eye(groups), np.ones(size))
    multiples = np.array([-6.0 * np.ones(groups), 6.0 * np.ones(groups)])
    v = np.zeros(D)
    v[-size:] = (3, -3, 0)
    assert into_box(SimpleNamespace(table=table, shifts=shifts, multiples=multiples), v) is None
