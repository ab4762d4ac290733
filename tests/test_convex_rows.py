"""Many rows in the convex engine: grouped passes, vector losses, mixtures of tangents, starts from models."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linprog

from provenn.bounds import _convex_driver as driver
from provenn.bounds import _convex_losses as curves
from provenn.bounds import _convex_samples as passes
from provenn.bounds import _convex_starts as starts
from provenn.bounds._convex_cuts import box_minimum, mix
from provenn.bounds._convex_engine import Engine
from provenn.bounds._convex_groups import arrange, make_samples
from provenn.bounds._convex_setup import score_shifts
from provenn.bounds._convex_smooth import minimum
from provenn.bounds.convex import ConvexProblem, minimise
from provenn.losses._curves import curve_points
from provenn.losses.logistic import LogisticCurve
from provenn.losses.min_hinge import HingeCurve
from provenn.milp import Limits
from provenn.status import Status

KINDS = ["grouped", "sparse", "dense", "mixed"]


def signed_rows(kind, n=400, seed=0):
    """Return rows that `arrange` lays out in one of its ways."""
    rng = np.random.default_rng(seed)
    t = rng.choice([-1, 1], n)
    groups = [(rng.integers(0, size, n)[:, None] == np.arange(size)) * 7 for size in (3, 4, 5)]
    numbers = rng.integers(-50, 50, (n, 3))
    few = rng.integers(0, 2, (n, 40)) * (rng.random((n, 40)) < 0.2)
    parts = {"grouped": [*groups], "sparse": [few], "dense": [numbers], "mixed": [*groups, numbers]}
    return np.column_stack([*parts[kind], np.full(n, 7)]) * t[:, None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("curve", [LogisticCurve(5.0), HingeCurve(90)])
def test_passes_equal_matrix_products(kind, curve):
    A = signed_rows(kind)
    n, D = A.shape
    rng = np.random.default_rng(1)
    m, layout = rng.integers(1, 4, n), arrange(A)
    samples = make_samples(A, m, curve, np.ones(D, dtype=np.int64))
    A, m = A[layout.order], m[layout.order]
    assert {"grouped": len(layout.first) < n / 3, "sparse": not layout.dense.any(), "dense": layout.dense.all()}.get(
        kind, 0 < layout.dense.sum() < D and 1 < len(layout.first) < n
    )
    free = np.sort(rng.permutation(D)[: D - 1])
    x, start = rng.normal(size=D - 1), rng.normal(size=n)
    z, slope, curvature, g, H = np.empty(n), np.empty(n), np.empty(n), np.empty(D - 1), np.empty((D - 1, D - 1))
    passes.scores(samples, start, free, x, z)
    np.testing.assert_allclose(z, start + A[:, free] @ x, rtol=1e-10, atol=1e-10)
    value, _ = curves.losses(samples, z, slope, curvature)
    expected = curve_points(curve.code, *map(float, curve.parameters), z)
    np.testing.assert_allclose([value, curves.loss_only(samples, z)], m @ expected[0], rtol=1e-13)
    np.testing.assert_allclose(slope, m * expected[1], rtol=1e-14, atol=1e-300)
    passes.gradient(samples, slope, free, g)
    np.testing.assert_allclose(g, slope @ A[:, free], rtol=1e-9, atol=1e-9 * np.abs(slope).sum())
    passes.hessian(samples, curvature, free, H)
    exact = A[:, free].T @ (A[:, free] * curvature[:, None])
    np.testing.assert_allclose(H, exact, rtol=1e-8, atol=1e-8 * np.abs(exact).max() + 1e-20)


def test_groups_are_rows_equal_in_the_sparse_columns():
    A = signed_rows("mixed")
    layout = arrange(A)
    kept = A[layout.order][:, ~layout.dense]
    for a, b in itertools.pairwise(layout.first):
        assert (kept[a:b] == kept[a]).all()
    assert len(layout.first) - 1 == len(np.unique(kept, axis=0))
    assert sorted(layout.order.tolist()) == list(range(len(A)))


def test_logarithm_and_exponential_are_right_to_the_last_places():
    curve, A = LogisticCurve(1.0), np.ones((1, 1), dtype=np.int64)
    samples = make_samples(A, A[0], curve, A[0])
    z = np.concatenate([np.linspace(-30, 30, 1001), [-690.0, 690.0, -5000.0, 1e-12, 0.0]])
    many = samples._replace(weight=np.ones(len(z)), radius=np.ones(len(z)))
    slope, curvature = np.empty(len(z)), np.empty(len(z))
    curves.losses(many, z, slope, curvature)
    _, slopes, curvatures = curve_points(curve.code, *curve.parameters, z)
    roundings = 2e-15 + 2.3e-16 * np.minimum(np.abs(z), 700.0)  # as if the score had moved by a unit in the last place
    assert (np.abs(slope / slopes - 1) <= roundings).all()
    assert (np.abs(curvature[:1003] / curvatures[:1003] - 1) <= roundings[:1003]).all()
    for one, rtol in zip(z, roundings, strict=True):
        alone = samples._replace(weight=np.ones(1))
        value = curves.loss_only(alone, np.array([one]))
        np.testing.assert_allclose(value, 1e6 * np.logaddexp(0, -one), rtol=2 * rtol)


@pytest.mark.parametrize("seed", range(30))
def test_mixtures_are_valid_and_best(seed):
    rng = np.random.default_rng(seed)
    p = int(rng.integers(1, 8))
    low = rng.integers(-3, 2, p).astype(float)
    high = low + rng.integers(0, 4, p)
    slopes, offsets = rng.normal(size=(2, p)) * 5, rng.normal(size=2)
    lone = [float(c + box_minimum(g, low, high)) for c, g in zip(offsets, slopes, strict=True)]
    cut, offset, mixed = np.zeros(p), 0.0, -np.inf
    for g, bound in zip(slopes, lone, strict=True):
        offset, mixed = mix(cut, offset, mixed, g, bound, low, high)
    ends = list(zip(low, high, strict=True))
    relaxed = linprog([0.0] * p + [1.0], np.column_stack([slopes, [-1, -1]]), -offsets, bounds=[*ends, (None, None)])
    assert mixed >= max(lone) - 1e-3 * (1 + np.abs(slopes).sum())
    assert relaxed.fun - 1e-3 * (1 + np.abs(slopes).sum()) <= mixed <= relaxed.fun + 1e-9
    for _ in range(20):
        v = rng.uniform(low, high + 1e-12)
        assert offset + cut @ v <= (offsets + slopes @ v).max() + 1e-9


def one_hot_problem(seed, n=150):
    """Return a problem with equal rows, shifts and few enough points to enumerate."""
    rng = np.random.default_rng(seed)
    one, two = rng.integers(0, 3, n), rng.integers(0, 2, n)
    X = np.column_stack([one[:, None] == np.arange(3), two[:, None] == np.arange(2)]).astype(np.int64) * 10
    X = np.column_stack([X, rng.integers(0, 11, n)])
    t = np.where(X @ rng.normal(size=6) / 10 + rng.normal(size=n) > 0, 1, -1)
    box = np.ones(6, dtype=np.int64)
    return ConvexProblem(X, t, rng.integers(1, 3, n), LogisticCurve(8.0), 10, -box, box, 1, (-1, 1, 1))


def least(problem):
    boxes = [range(lo, hi + 1) for lo, hi in zip(problem.low, problem.high, strict=True)]
    A, m = problem.signed(), problem.multiplicity
    V = np.array(list(itertools.product(*boxes, range(-1, 2))))
    rough = np.logaddexp(0, -(V @ A.T) / 8.0) @ m
    near = V[rough <= rough.min() + 1e-6 * len(A)]
    return min(problem.value(v[:-1], int(v[-1])) for v in near)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("threads", [1, 2])
def test_many_rows_equal_brute_force(seed, threads, monkeypatch):
    monkeypatch.setattr(driver, "MANY_ROWS", 1)
    monkeypatch.setattr(starts, "RESTARTS", 2)
    monkeypatch.setattr(starts, "MOVES", 200)
    problem = one_hot_problem(seed)
    told = []
    result = minimise(problem, Limits(seed=seed, threads=threads), on_event=told.append)
    best = least(problem)
    assert (result.status, result.value, result.bound) == (Status.OPTIMAL, best, best)
    assert all(event.bound <= best <= event.objective for event in told)


@pytest.mark.parametrize("nodes", [1, 2, 4])
def test_bounds_are_valid_at_any_node(nodes):
    for seed in range(6):
        problem = one_hot_problem(seed)
        result = minimise(problem, Limits(nodes=nodes))
        assert result.bound <= least(problem) <= result.value


@pytest.mark.parametrize("seed", range(4))
def test_starts_from_models_are_near_the_optimum(seed, monkeypatch):
    monkeypatch.setattr(starts, "MOVES", 2000)
    problem = one_hot_problem(seed)
    engine = Engine(problem.signed(), problem, score_shifts(problem.signed(), *problem.boxes()))
    rng, w = np.random.default_rng(seed), minimum(problem, *(ends.astype(float) for ends in problem.boxes()[:2]))
    found = list(starts.model_starts(engine.samples, engine.root, w, rng))
    assert starts.ENOUGH <= len(found) <= starts.RESTARTS
    values = [problem.value(*problem.unpack(v)) for v in found]
    assert all(problem.allows(*problem.unpack(v)) for v in found)
    assert min(values) <= 1.001 * least(problem)


def test_records_mix_no_tangents():
    problem = one_hot_problem(0)
    none = np.zeros((0, 7), dtype=np.int64), np.zeros(0, dtype=np.int64)
    assert not Engine(problem.signed(), problem, none, record=True).root.mixing
    assert Engine(problem.signed(), problem, none).root.mixing
    result = minimise(problem, Limits(), record=True)
    assert result.status is Status.OPTIMAL
    assert result.value == least(problem)
