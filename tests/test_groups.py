"""Bounds of groups of samples never exceed what brute force finds, and their evidence adds up."""

import itertools

import numpy as np
import pytest

from provenn.errors import CapabilityError, InputError
from provenn.formulations import Problem
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.max_margin import MaxMargin
from provenn.losses.sat_margin import SatMargin
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerDomain
from provenn.solvers.cpsat import Cpsat
from provenn.status import Status
from provenn.testing.toys import (
    all_networks,
    best_value,
    count_networks,
    domains,
    losses,
    random_dataset,
    random_network,
    random_problem,
)
from provenn.trainers._base import Record
from provenn.trainers._groups_parts import Claim, GroupBounds, part_of
from provenn.trainers.groups import SampleGroups, prove

ADDITIVE = [MaxCorrect(), MaxCorrect("published"), SatMargin(), SatMargin(kept_only=True), Logistic()]


def small_problems(loss, hidden, seed, count, most, n=6, d=2, steps=0.0):
    rng = np.random.default_rng(seed)
    found = 0
    for domain in itertools.cycle(domains()):
        problem = random_problem(rng, loss, hidden, domain, n=n, d=d, steps=steps)
        if problem is not None and loss.additive(problem.architecture) and count_networks(problem) <= most:
            found += 1
            yield rng, problem
        if found == count:
            return


@pytest.mark.parametrize("loss", losses(), ids=repr)
@pytest.mark.parametrize("hidden", [(), (2,)], ids=str)
def test_an_additive_loss_is_the_sum_over_any_partition(loss, hidden):
    rng = np.random.default_rng(5)
    for domain in domains() * 4:
        problem = random_problem(rng, loss, hidden, domain, n=7, steps=0.5)
        if problem is None or not loss.additive(problem.architecture):
            continue
        data, cut = problem.dataset, rng.integers(0, 3, problem.dataset.n_samples)
        network = random_network(rng, problem)
        parts = [loss.value(network, data.subset(cut == c)) for c in range(3) if (cut == c).any()]
        whole = loss.value(network, data)
        assert (whole is None) == (None in parts)
        assert whole is None or whole == sum(parts)


@pytest.mark.parametrize("loss", ADDITIVE, ids=repr)
def test_the_optimum_of_a_part_is_the_least_loss_on_it_of_all_networks(loss):
    """Features that are constant on the part must not lose their weights."""
    hidden = (2,) if not loss.additive(Architecture.build(2, 2)) else ()
    for rng, problem in small_problems(loss, hidden, seed=1, count=25, most=3000):
        data = problem.dataset
        rows = np.sort(rng.choice(data.n_samples, rng.integers(1, data.n_samples + 1), replace=False))
        admitted = (net for net in all_networks(problem) if all(c.admits(net) for c in problem.constraints))
        values = (loss.value(network, data.subset(rows)) for network in admitted)
        least = min((value for value in values if value is not None), default=None)
        assert best_value(part_of(problem, rows)) == least


def test_a_constant_feature_of_a_part_acts_as_a_bias():
    """With its weight fixed at 0 the part would seem to cost 1."""
    data = Dataset.merge([[1, 1], [1, 2], [0, 0]], [0, 1, 0])
    problem = Problem(Architecture.build(2, 2, bias=None), data, MaxCorrect())
    rows = np.flatnonzero(data.X[:, 0] == 1)
    part = part_of(problem, rows)
    assert best_value(part) == 1
    assert part.dataset.live.all()
    assert not data.subset(rows).live.all()
    shifted = Problem(Architecture.build(2, 2, weights=IntegerDomain.symmetric(2), bias=None), data, MaxCorrect())
    assert best_value(part_of(shifted, rows)) == 0


@pytest.mark.parametrize("loss", ADDITIVE, ids=repr)
@pytest.mark.parametrize("hidden", [(), (2,)], ids=str)
def test_rows_of_known_bounds_cut_off_no_network(loss, hidden):
    for rng, problem in (
        small_problems(loss, hidden, seed=2, count=12, most=20_000)
        if hidden or loss.additive(Architecture.build(2, 2))
        else ()
    ):
        rows = np.arange(0, problem.dataset.n_samples, 2)
        least = best_value(part_of(problem, rows))
        if least is None:
            continue
        part = part_of(problem, np.arange(problem.dataset.n_samples), (Claim(rows, least, "brute force"),))
        encoding = part.encode()
        assert encoding.milp.n_rows == part_of(problem, np.arange(len(part.dataset.X))).encode().milp.n_rows + (
            least > 0 and not encoding.milp.offset
        )
        for _ in range(6):
            network = random_network(rng, part)
            if part.value(network) is not None:
                assert encoding.milp.violation(encoding.encode(network)) == 0


@pytest.mark.parametrize("loss", ADDITIVE, ids=repr)
@pytest.mark.parametrize(("hidden", "steps"), [((), 0), ((2,), 0), ((2,), 1), ((1, 1), 0.5)], ids=str)
def test_bounds_never_exceed_the_brute_force_optimum(loss, hidden, steps):
    if not loss.additive(Architecture.build(2, 2, hidden)) or (loss.convex and not hidden):
        pytest.skip("no sum over samples without hidden layers, or a matter for the convex engine")
    for _, problem in small_problems(loss, hidden, seed=3, count=2, most=3000, n=30, steps=steps):
        best = best_value(problem)
        record = Record(problem)
        record.begin(None)
        groups = SampleGroups(record, Limits(seconds=15))
        proof = groups.run()
        if best is None:
            assert proof.status in (Status.INFEASIBLE, Status.TIME_LIMIT)
            continue
        assert record.bound is None or record.bound <= best
        assert groups.evidence().check(problem) == (record.bound or 0)
        if proof.status is Status.OPTIMAL:
            assert record.bound == best == record.loss
        for claim in groups.evidence().claims:
            assert claim.bound <= best_value(part_of(problem, claim.rows))


def test_groups_end_when_asked():
    data = random_dataset(np.random.default_rng(0), 60, 8, 2, 10)
    problem = Problem(Architecture.build(8, 2, (2,)), data, MaxCorrect())
    record = Record(problem)
    record.begin(None)
    assert prove(record, Limits(), stopped=lambda: True).status is Status.INTERRUPTED
    assert prove(record, Limits(seconds=0)).status is Status.TIME_LIMIT


def test_two_threads_solve_groups_at_once():
    data = random_dataset(np.random.default_rng(1), 60, 3, 2, 10)
    record = Record(Problem(Architecture.build(3, 2), data, MaxCorrect()))
    record.begin(None)
    groups = SampleGroups(record, Limits(seconds=120, threads=2))
    assert groups.run().status is Status.OPTIMAL
    assert record.loss == record.bound == best_value(record.problem) == groups.evidence().check(record.problem)


def test_a_loss_that_is_no_sum_is_refused():
    data = random_dataset(np.random.default_rng(0), 6, 2, 2, 10)
    for loss in (MaxMargin(), SatMargin()):
        with pytest.raises(CapabilityError, match="no sum over the samples"):
            SampleGroups(Record(Problem(Architecture.build(2, 2), data, loss)), Limits())
    real = Problem(Architecture.build(2, 2, weights=IntegerDomain.continuous()), data, MaxCorrect())
    with pytest.raises(CapabilityError, match="continuous"):
        SampleGroups(Record(real), Limits())


def test_evidence_with_a_sample_in_two_groups_is_refused():
    data = random_dataset(np.random.default_rng(0), 6, 2, 2, 10)
    problem = Problem(Architecture.build(2, 2), data, MaxCorrect())
    one, two = Claim(np.array([0, 1]), 1, "x"), Claim(np.array([1, 2]), 1, "x")
    with pytest.raises(InputError, match="disjoint"):
        GroupBounds((one, two)).check(problem)
    with pytest.raises(InputError, match="units"):
        GroupBounds((one,), 2).check(problem)
    assert GroupBounds((one,)).check(problem) == 1


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("mode", ["core", "portfolio"])
def test_cores_of_counts_prove_the_brute_force_optimum(mode, threads):
    for _, problem in small_problems(MaxCorrect(), (2,), seed=7, count=2, most=20_000, n=12):
        plain = Problem(problem.architecture, problem.dataset, MaxCorrect())
        solution = Cpsat(mode).solve(plain.encode().milp, Limits(seconds=60, threads=threads))
        assert solution.status is Status.OPTIMAL
        assert solution.objective == solution.bound == best_value(plain)
