"""Old splits on new data: bounds, warm starts and derivatives, against brute force and fresh searches."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from provenn.bounds._convex_proof_again import engine_for
from provenn.bounds._convex_smooth import minimum
from provenn.bounds.convex import ConvexProblem, minimise
from provenn.bounds.convex_proof import OldProof, minimise_and_keep, proof_of, prove_again
from provenn.errors import InputError
from provenn.losses._curves import curve_points
from provenn.losses.logistic import LogisticCurve
from provenn.milp import Limits
from provenn.status import Status
from provenn.testing.proof_cases import changes, grouped, least, neuron

OPTIONS = [{}, {"price": 200_000}, {"budget": 2}, {"hinge": True}]


def holds(tree, old, new, known):
    """Assert that bounds at all efforts are valid and rise, and that a warm start finds the optimum."""
    value, most = least(new), new.value(*known)
    bounds = [OldProof(tree, new).lower_bound(most, effort) for effort in (0, 1, 3)]
    assert max(bounds) <= value
    assert min(bounds) >= min(new.floor(), most)
    again = OldProof(tree, new).resume(known, Limits())
    assert again.result.value == again.result.bound == value == new.value(again.result.w, again.result.b)
    return again


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_kept_splits_bound_new_problems_and_start_their_search(seed, options):
    old = neuron(seed, **options)
    kept = minimise_and_keep(old, Limits())
    known = kept.result.w, kept.result.b
    assert kept.result.value == kept.result.bound == least(old)
    for new in changes(old, np.random.default_rng(seed)):
        again = holds(kept.tree, old, new, known)
        other = new.value(*known)
        assert least(new) <= other
        third = OldProof(again.tree, new).resume((again.result.w, again.result.b), Limits())
        assert third.result.value == third.result.bound == again.result.value


@pytest.mark.parametrize("seed", range(4))
def test_moves_to_equal_points_are_used_while_they_hold(seed):
    old = grouped(seed)
    kept = minimise_and_keep(old, Limits())
    assert len(kept.tree.shifts)
    for new in changes(old, np.random.default_rng(seed)):
        holds(kept.tree, old, new, (kept.result.w, kept.result.b))
    broken = replace(old, X=old.X + np.random.default_rng(seed).integers(0, 2, old.X.shape))
    assert not (broken.signed() @ engine_for(broken, kept.tree).root.shifts.T).any()


@pytest.mark.parametrize("relative", [False, True])
def test_splits_are_valid_on_either_root_box(relative):
    """The root box may be the plain one or that with fixed references; splits of one hold on the other."""
    old = grouped(7)
    kept = minimise_and_keep(old, Limits())
    tree = replace(kept.tree, relative=relative)
    assert engine_for(old, tree).root.multiples.shape[1] == (len(tree.shifts) if relative else 0)
    for new in changes(old, np.random.default_rng(3)):
        holds(tree, old, new, (kept.result.w, kept.result.b))


def test_random_splits_are_advice_alone():
    """Bounds and optima hold whatever the tree says, also where its points and splits are noise."""
    rng, problem = np.random.default_rng(0), neuron(1, d=5)
    kept = minimise_and_keep(problem, Limits())
    for _ in range(4):
        tree = kept.tree
        inner = tree.entry >= 0
        noise = replace(
            tree,
            entry=np.where(inner, rng.integers(0, 6, len(inner)), -1),
            below=rng.integers(-4, 4, len(inner)),
            point=rng.normal(0, 3, tree.point.shape).astype(np.float32),
        )
        holds(noise, problem, problem, (kept.result.w, kept.result.b))


@pytest.mark.parametrize("options", OPTIONS)
def test_proofs_of_files_serve_as_trees(options):
    old = neuron(2, **options)
    result = prove_again(old, None, Limits())
    data = proof_of(old, result).data
    assert OldProof(data, old).lower_bound(result.value) > 0.95 * result.value
    for new in changes(old, np.random.default_rng(0)):
        holds(data, old, new, (result.w, result.b))


def test_effort_raises_the_bound_and_old_points_do_not_suffice():
    old = neuron(3, d=6, n=80)
    kept = minimise_and_keep(old, Limits())
    new = replace(old, multiplicity=np.random.default_rng(0).integers(0, 3, 80))
    value = minimise(new, Limits()).value
    proof = OldProof(kept.tree, new)
    still, moved = (proof.lower_bound(value, effort) for effort in (0, 1))
    assert still < moved
    assert moved >= 0.95 * value
    assert proof.proves(moved)
    assert not proof.proves(value + 1)


def test_a_bound_at_the_root_looks_at_one_box():
    """Nothing below a closed box is looked at."""
    old = replace(neuron(4, d=10, n=150, bound=1), curve=LogisticCurve(4.0))
    kept = minimise_and_keep(old, Limits())
    proof = OldProof(kept.tree, old)
    assert proof.proves(kept.result.value * 8 // 10)
    assert proof.relaxations == 1
    assert proof.lower_bound(kept.result.value) > 0.97 * kept.result.value
    assert proof.relaxations > 20


def test_after_a_small_change_old_splits_close_all_but_a_few_boxes():
    rng, old = np.random.default_rng(0), neuron(4, d=10, n=150, bound=1)
    old = replace(old, curve=LogisticCurve(4.0))
    kept = minimise_and_keep(old, Limits())
    new = replace(old, multiplicity=1000 + rng.integers(-5, 6, 150))
    again = OldProof(kept.tree, new).resume((kept.result.w, kept.result.b), Limits())
    fresh = minimise_and_keep(new, Limits())
    assert again.result.value == again.result.bound == fresh.result.value
    assert fresh.result.nodes > 20
    assert again.result.nodes < 0.2 * fresh.result.nodes
    assert again.relaxations <= 1.5 * fresh.relaxations


def test_limits_leave_a_valid_bound():
    old = neuron(4, d=6, n=80)
    kept = minimise_and_keep(old, Limits())
    known, new = (kept.result.w, kept.result.b), replace(old, t=np.where(np.arange(80) < 8, -old.t, old.t))
    value = minimise(new, Limits()).value
    for limits in (Limits(nodes=0), Limits(nodes=1), Limits(seconds=0), Limits(nodes=3)):
        found = OldProof(kept.tree, new).resume(known, limits)
        assert found.result.bound <= value <= found.result.value
    assert OldProof(kept.tree, new).warm_start(known, Limits(nodes=0)).status is Status.NODE_LIMIT


def test_other_shapes_and_neurons_outside_are_refused():
    kept = minimise_and_keep(neuron(0), Limits())
    with pytest.raises(InputError, match="number of weights"):
        OldProof(kept.tree, neuron(0, d=3))
    tight = OldProof(kept.tree, neuron(0, budget=1))
    for work in (tight.grad, lambda known: tight.warm_start(known, Limits())):
        with pytest.raises(InputError, match="incumbent"):
            work((np.ones(4, dtype=np.int64), 0))


def test_budgets_that_no_neuron_meets_prove_everything():
    old = neuron(0)
    kept = minimise_and_keep(old, Limits())
    positive = replace(old, low=np.ones(4, dtype=np.int64), max_nonzeros=2)
    assert OldProof(kept.tree, positive).proves(10**12)


def relaxed_value(problem, box):
    point = minimum(problem, *box)
    value = curve_points(problem.curve.code, *problem.curve.parameters, problem.signed() @ point)[0]
    return float(problem.multiplicity @ (value - problem.curve.slack))


@pytest.mark.parametrize("hinge", [False, True])
def test_derivatives_are_those_of_the_relaxed_minimum(hinge):
    """Finite differences of the relaxed minimum over the root box, on which the bound hangs when there is no tree."""
    fine = 10_000
    problem = neuron(0, hinge=hinge, n=20)
    problem = replace(problem, multiplicity=np.full(20, fine))
    low, high, _ = (part.astype(float) for part in problem.boxes())
    kept = minimise_and_keep(problem, Limits())
    found = OldProof(kept.tree.stump(), problem).grad((kept.result.w, kept.result.b))
    assert found.bound < kept.result.value
    inside = (found.point > low) & (found.point < high)
    assert inside.any()
    for k in range(0, 20, 3):
        up, down = (replace(problem, multiplicity=problem.multiplicity + s * (np.arange(20) == k)) for s in (20, -20))
        slope = (relaxed_value(up, (low, high)) - relaxed_value(down, (low, high))) / 40
        assert found.multiplicity[k] == pytest.approx(slope, rel=1e-3, abs=2.0)


def test_derivatives_in_features_are_those_of_finer_grids():
    rng = np.random.default_rng(5)
    X = rng.integers(0, 1001, (20, 3))
    t, ones, box = np.where(X[:, 0] + 300 * rng.normal(size=20) > 500, 1, -1), np.ones(20, np.int64), np.full(3, 2)
    problem = ConvexProblem(X, t, ones, LogisticCurve(1000.0), 1000, -box, box, 1, (-2, 2, 1))
    low, high, _ = (part.astype(float) for part in problem.boxes())
    kept = minimise_and_keep(problem, Limits())
    found = OldProof(kept.tree.stump(), problem).grad((kept.result.w, kept.result.b))
    for k, j in itertools.product(range(0, 20, 5), range(3)):
        moved = []
        for by in (5, -5):
            Z = X.copy()
            Z[k, j] += by
            moved.append(relaxed_value(replace(problem, X=Z), (low, high)))
        assert found.features[k, j] == pytest.approx((moved[0] - moved[1]) / 10, rel=1e-2, abs=1.0)


def test_a_complete_proof_has_the_derivative_of_the_optimum():
    """Each sample's share is its loss at the optimum, and the shares add up to the bound."""
    problem = neuron(1)
    kept = minimise_and_keep(problem, Limits())
    known = kept.result.w, kept.result.b
    found = OldProof(kept.tree, problem).grad(known, effort=3)
    assert found.bound == kept.result.value
    exact = problem.curve.exact(problem.t * (problem.X @ known[0] + 10 * known[1]))
    assert np.abs(found.multiplicity - exact).max() <= 1.0
    assert found.multiplicity @ problem.multiplicity == pytest.approx(found.bound, abs=40)
