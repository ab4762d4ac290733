"""The portfolio: right on toys, obedient to limits and signals, and resumable after any death."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import psutil
import pytest

from provenn.errors import InputError, MissingDependencyError
from provenn.formulations import Problem
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.max_margin import MaxMargin
from provenn.losses.min_hinge import MinHinge
from provenn.losses.min_weight import MinWeight
from provenn.losses.sat_margin import SatMargin
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerDomain
from provenn.solvers import Solver
from provenn.status import Status
from provenn.testing.toys import best_value, count_networks, domains, random_dataset, random_network, random_problem
from provenn.trainers import _portfolio_run
from provenn.trainers._base import Record
from provenn.trainers._portfolio_size import model_size, too_large
from provenn.trainers._portfolio_turns import Turns
from provenn.trainers.checkpoint import Checkpoint
from provenn.trainers.portfolio import Portfolio

LOSSES = [Logistic(0.7), MaxCorrect(), MaxCorrect("published"), SatMargin(), MinHinge(), MinWeight(), MaxMargin()]


def hard_to_prove(n=80, loss=None):
    """A problem that no prover finishes within a test."""
    data = random_dataset(np.random.default_rng(3), n, 6, 2, 10)
    return Problem(Architecture.build(6, 2, (4,), IntegerDomain.symmetric(3)), data, loss or Logistic())


def small_problem(rng, loss, hidden):
    """Draw a problem with few enough networks to look at all of them."""
    while True:
        domain = domains()[rng.integers(3)]
        problem = random_problem(rng, loss, hidden, domain, n=5, d=2)
        if problem is not None and count_networks(problem) <= 3000:
            return problem


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    assert psutil.Process().children(recursive=True) == []


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_it_agrees_with_brute_force(loss):
    rng = np.random.default_rng(len(repr(loss)))
    for hidden, threads in (((), 1), ((1,), int(rng.integers(1, 4)))):
        problem = small_problem(rng, loss, hidden)
        best, seen = best_value(problem), []
        result = Portfolio().train(problem, Limits(seconds=60, threads=threads), None, seen.append)
        bounds = [p.bound for p in (*seen, *result.history) if p.bound is not None]
        if best is None:
            assert result.status is Status.INFEASIBLE
            assert result.network is None
            continue
        assert all(bound <= best for bound in bounds)
        assert problem.value(result.network) == result.certificate.loss == best
        assert result.status in (Status.OPTIMAL, Status.TOLERANCE)
        assert result.certificate.proved_by is not None


def test_progress_is_told_in_order_in_the_calling_thread():
    problem, told = hard_to_prove(), []
    here = threading.get_ident()

    def listen(progress):
        assert threading.get_ident() == here
        told.append(progress)

    result = Portfolio().train(problem, Limits(seconds=3, threads=2), None, listen)
    for entries in (told, result.history):
        losses = [p.loss for p in entries]
        bounds = [p.bound for p in entries if p.bound is not None]
        assert losses == sorted(losses, reverse=True)
        assert bounds == sorted(bounds)
        assert all(problem.value(p.network) == p.loss for p in entries)
    assert told[-1].loss == result.certificate.loss


def test_what_the_listener_raises_ends_the_training():
    def listen(progress):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        Portfolio().train(hard_to_prove(), Limits(seconds=30, threads=2), None, listen)
    assert not [t for t in threading.enumerate() if t.name.startswith("provenn") and _still_working(t)]


def _still_working(thread):
    thread.join(10)
    return thread.is_alive()


def test_no_worker_outlives_the_time_limit():
    problem = hard_to_prove()
    result = Portfolio().train(problem, Limits(seconds=2, threads=2))
    assert result.status is Status.TIME_LIMIT
    assert not [t for t in threading.enumerate() if t.name.startswith("provenn") and _still_working(t)]
    assert result.certificate.bound is None or result.certificate.bound <= result.certificate.loss


def test_no_time_gives_the_start_or_a_constant_network():
    problem = hard_to_prove()
    start = random_network(np.random.default_rng(0), problem)
    result = Portfolio().train(problem, Limits(seconds=0), start)
    assert result.certificate.loss <= problem.value(start)
    assert result.status is Status.TIME_LIMIT


@pytest.mark.parametrize("loss", [Logistic(), MaxCorrect(), MinWeight()], ids=repr)
@pytest.mark.parametrize("bounds", [True, False])
def test_one_thread_and_a_node_limit_repeat(loss, bounds):
    problem = hard_to_prove(12, loss)
    trainer = Portfolio(bounds=bounds, solvers=("cpsat",))
    one, two = (trainer.train(problem, Limits(nodes=30, seed=4)) for _ in range(2))
    assert one.status is two.status
    if one.network is None:
        assert two.network is None
        return
    assert one.network.equals(two.network)
    assert one.certificate == two.certificate
    assert [p.loss for p in one.history if p.bound is None] == [p.loss for p in two.history if p.bound is None]


def test_search_alone_claims_no_bound():
    result = Portfolio(bounds=False).train(hard_to_prove(), Limits(seconds=1))
    assert result.status is Status.TIME_LIMIT
    assert result.certificate.bound is None
    assert result.certificate.proved_by is None


def test_hopeless_models_are_not_built_and_the_message_says_so():
    problem = hard_to_prove()
    assert too_large(problem, None) is None
    assert "memory limit" in too_large(problem, 1)
    result = Portfolio().train(problem, Limits(seconds=1, memory_mb=1))
    assert "more than the memory limit" in result.message
    assert "cpsat" not in str(result.certificate.proved_by)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_the_size_of_a_model_is_estimated_within_a_factor_of_four(loss):
    for hidden in ((), (3,), (3, 2)):
        data = random_dataset(np.random.default_rng(3), 40, 5, 2, 10)
        problem = Problem(Architecture.build(5, 2, hidden), data, loss)
        size, milp = model_size(problem), problem.encode().milp
        assert 1 / 4 < size.nonzeros / milp.A.nnz < 4
        assert 1 / 4 < size.rows / milp.n_rows < 4


def test_unknown_and_missing_solvers_are_refused_before_any_work(monkeypatch):
    problem = hard_to_prove()
    with pytest.raises(InputError, match="unknown"):
        Portfolio(solvers=("nonesuch",)).train(problem, Limits(seconds=5))
    monkeypatch.setattr(Solver, "available", classmethod(lambda cls: False))
    with pytest.raises(MissingDependencyError, match="pip install"):
        Portfolio(solvers=("highs",)).train(problem, Limits(seconds=5))


def test_a_better_network_from_outside_speeds_the_convex_engine_and_is_kept():
    data = random_dataset(np.random.default_rng(5), 30, 3, 2, 10)
    problem = Problem(Architecture.build(3, 2, (), IntegerDomain.symmetric(3)), data, Logistic(0.3))
    results = [Portfolio().train(problem, Limits(seconds=60, threads=threads)) for threads in (1, 2)]
    assert len({r.certificate.loss for r in results}) == 1
    assert all(r.certificate.optimal for r in results)


def test_a_liar_among_the_provers_is_found_out(monkeypatch):
    from provenn.trainers import _portfolio_workers as workers

    problem, proof = hard_to_prove(12, MaxCorrect()), workers.MilpProof
    truth = Portfolio().train(problem, Limits(seconds=60)).certificate.loss

    class Lying(proof):
        def run(self, limits):
            if type(self.solver).__name__ == "Highs":
                self.record.raise_bound(10**6, "highs " + self.solver.version())
            return super().run(limits)

    monkeypatch.setattr(workers, "MilpProof", Lying)
    result = Portfolio().train(problem, Limits(seconds=60, threads=2))
    assert result.certificate.loss == truth
    assert "highs" not in (result.certificate.proved_by or "")
    assert result.certificate.bound is None or result.certificate.bound <= truth
    assert all(p.bound is None or p.bound <= truth for p in result.history)


def test_the_record_holds_under_many_threads():
    problem, told, busy = hard_to_prove(20), [], threading.Lock()

    def listen(progress):
        assert busy.acquire(blocking=False), "two calls at once"
        told.append(progress)
        time.sleep(0.0005)
        busy.release()

    record = Record(problem, listen)
    record.begin(None)
    rngs = [np.random.default_rng(seed) for seed in range(8)]
    offered = [[random_network(rng, problem) for _ in range(40)] for rng in rngs]

    def work(number):
        for i, network in enumerate(offered[number]):
            record.offer(network)
            record.raise_bound(i * 8 + number, f"prover {number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    best = min(problem.value(network) for networks in offered for network in networks)
    assert record.loss == min(best, told[0].loss) == problem.value(record.network)
    assert record.bound == max(record.claims.values()) == 39 * 8 + 7
    assert record.proved_by == "prover 7"
    assert [p.loss for p in told] == sorted((p.loss for p in told), reverse=True)
    record.withdraw("prover 7")
    assert record.bound == 39 * 8 + 6
    assert max(p.bound for p in record.history if p.bound is not None) == record.bound


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_turns_are_fair_and_never_too_many(threads):
    now = [0.0]
    turns = Turns(threads, clock=lambda: now[0])
    workers = [turns.join(weight) for weight in (2.0, 1.0, 1.0, 1.0)]
    time_of = dict.fromkeys(range(4), 0.0)
    for _ in range(4000):
        turns.deal()
        assert sum(w.running for w in workers) == threads
        now[0] += 0.1
        for i, w in enumerate(workers):
            time_of[i] += 0.1 * w.running
    assert time_of[1] == pytest.approx(time_of[2], rel=0.05)
    share = min(2 * threads / 5, 1.0)
    assert time_of[0] == pytest.approx(share * 400, rel=0.05)
    workers[0].ended = True
    turns.deal()
    assert not workers[0].running


def test_workers_take_turns_in_order_when_results_must_repeat():
    turns = Turns(1, in_order=True, clock=time.perf_counter)
    one, two = turns.join(1.0), turns.join(5.0)
    turns.deal()
    assert (one.running, two.running) == (True, False)
    one.ended = True
    turns.deal()
    assert two.running


def test_a_solver_in_a_child_is_held_and_let_go():
    problem = hard_to_prove()
    milp, began, states = problem.encode().milp, time.monotonic(), []

    def paused():
        for child in psutil.Process().children():
            states.append(child.status())
        return time.monotonic() - began < 2

    solution = Solver.create("highs").solve(
        milp, Limits(seconds=60), stopped=lambda: time.monotonic() - began > 3, paused=paused
    )
    assert solution.status is Status.INTERRUPTED
    assert psutil.STATUS_STOPPED in states
    assert states[-1] != psutil.STATUS_STOPPED


TRAINING = """
import sys
import numpy as np
from provenn.formulations import Problem
from provenn.losses.logistic import Logistic
from provenn.milp import Limits
from provenn.network import Architecture, IntegerDomain
from provenn.testing.toys import random_dataset
from provenn.trainers.portfolio import Portfolio

data = random_dataset(np.random.default_rng(3), 80, 6, 2, 10)
problem = Problem(Architecture.build(6, 2, (4,), IntegerDomain.symmetric(3)), data, Logistic())
tell = lambda p: print(p.loss, p.bound, flush=True)
result = Portfolio(checkpoint=sys.argv[1], resume=True).train(problem, Limits(seconds=60, threads=2), None, tell)
print("end", result.status.name, result.certificate.loss, result.certificate.bound, flush=True)
"""


@pytest.fixture
def training(tmp_path):
    """A training in a process of its own, and its checkpoint."""
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(TRAINING))
    path = tmp_path / "run.json"
    process = subprocess.Popen([sys.executable, str(script), str(path)], stdout=subprocess.PIPE, text=True)
    yield process, path
    process.kill()
    process.wait()
    process.stdout.close()


def told_by(process, count):
    """Read so many reports, and wait until the provers run."""
    lines = [process.stdout.readline().split() for _ in range(count)]
    deadline = time.monotonic() + 30
    while not psutil.Process(process.pid).children() and time.monotonic() < deadline:
        time.sleep(0.05)
    return lines


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
def test_a_killed_training_loses_nothing_that_it_told(training):
    process, path = training
    lines = told_by(process, 3)
    children = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGKILL)
    lines += [line.split() for line in process.stdout if len(line.split()) == 2]
    process.wait()
    problem = hard_to_prove()
    saved = Checkpoint(path).read(problem)
    assert children
    assert saved.loss <= min(int(loss) for loss, _ in lines)
    told = [int(bound) for _, bound in lines if bound != "None"]
    assert max(told, default=0) <= max(saved.claims.values(), default=0)
    result = Portfolio(checkpoint=path, resume=True).train(problem, Limits(seconds=1))
    assert result.certificate.loss <= saved.loss
    assert (result.certificate.bound or 0) >= max(saved.claims.values(), default=0)
    assert result.history[0].loss >= result.certificate.loss
    assert result.seconds > saved.seconds
    psutil.wait_procs(children, timeout=10)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
def test_an_interrupted_training_keeps_its_best_network(training):
    process, path = training
    lines = told_by(process, 3)
    process.send_signal(signal.SIGINT)
    lines += [line.split() for line in process.stdout]
    end = lines.pop()
    assert end[:2] == ["end", "INTERRUPTED"]
    assert int(end[2]) == min(int(loss) for loss, _ in lines)
    assert Checkpoint(path).read(hard_to_prove()).loss == int(end[2])
    assert process.wait() == 0


def test_a_full_disk_is_said_and_does_not_end_the_training(tmp_path, monkeypatch):
    from provenn.trainers._portfolio_telling import Teller

    def full(self, record, rounds):
        raise InputError("cannot write: no space left on device")

    monkeypatch.setattr(Teller, "begin", lambda *_: None)
    monkeypatch.setattr(Checkpoint, "write", full)
    result = Portfolio(checkpoint=tmp_path / "run.json").train(hard_to_prove(), Limits(seconds=1))
    assert "no space left" in result.message
    assert result.network is not None


def test_hard_losses_get_a_network_from_search_alone():
    data = Dataset.merge([[0, 1], [1, 0], [3, 1], [4, 1]], [0, 0, 1, 1], scale=4)
    problem = Problem(Architecture.build(2, 2, (2,)), data, MinWeight())
    result = Portfolio(bounds=False).train(problem, Limits(seconds=30, nodes=200))
    assert result.network is not None
    assert (result.network.predict(data.X) == data.y).all()


def test_the_tick_is_short_enough_for_signals():
    assert _portfolio_run.TICK <= 0.1
