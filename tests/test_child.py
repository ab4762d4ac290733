"""The child process of a solve, with real processes: killed, starved, interrupted, orphaned."""

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

from provenn.errors import InputError, MissingDependencyError, SolverError
from provenn.milp import Builder, Limits, Terms
from provenn.solvers import Solver
from provenn.status import Status

STAND_IN = """
import os, signal, sys, time
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from provenn.errors import InputError
from provenn.milp import Solution
from provenn.solvers import CAPABILITIES, Solver
from provenn.status import Status


@dataclass(frozen=True)
class StandIn(Solver):
    act: str = "hang"
    capabilities: ClassVar = frozenset(CAPABILITIES)

    def run(self, milp, limits, start, emit):
        emit(5.0, 1.0, np.zeros(milp.n_columns))
        emit(7.0, 0.5, np.ones(milp.n_columns))
        emit(None, 2.0, None)
        print("a solver that talks to stdout")
        os.write(1, b"and to its descriptor")
        getattr(self, self.act)()
        return Solution(Status.OPTIMAL, np.zeros(milp.n_columns), 5.0, 5.0, 0.0)

    def answer(self):
        pass

    def hang(self):
        while True:
            time.sleep(0.05)

    def hold_the_interpreter_lock(self):
        sys.setswitchinterval(1e6)
        sum(1 for _ in iter(int, 1))

    def die(self):
        os.write(2, b"first words\\nlast words\\n")
        os.kill(os.getpid(), signal.SIGKILL)

    def leave(self):
        os._exit(3)

    def eat(self):
        self.__dict__["food"] = bytearray(os.urandom(1)) * (600 * 2**20)
        self.hang()

    def starve(self):
        raise MemoryError

    def refuse(self):
        raise InputError("the model has a hole: mend it")

    def fail(self):
        raise KeyError("boom")
"""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """A solver that misbehaves as told, importable in the child."""
    folder = tmp_path_factory.mktemp("solvers")
    (folder / "stand_in_solver.py").write_text(STAND_IN)
    sys.path.insert(0, str(folder))
    import stand_in_solver

    yield stand_in_solver.StandIn
    sys.path.remove(str(folder))
    sys.modules.pop("stand_in_solver", None)


@pytest.fixture
def milp():
    builder = Builder()
    x = builder.columns("x", (3,), 0, 1)
    builder.rows([Terms(x, 1.0)], lower=1)
    builder.minimise(x, 1.0)
    return builder.build()


@pytest.fixture(autouse=True)
def nothing_left_running():
    """No test leaves a process or a thread behind."""
    threads = threading.active_count()
    yield
    wait_until(lambda: not children())
    wait_until(lambda: threading.active_count() <= threads)


def children(pid=None):
    return [
        child
        for child in psutil.Process(pid).children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE and "_child" in " ".join(child.cmdline())
    ]


def wait_until(holds, seconds=10):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def assert_incumbent_kept(found):
    assert (found.objective, found.bound) == (5.0, 2.0)
    assert found.x.tolist() == [0, 0, 0]


def test_events_are_filtered_and_prints_do_no_harm(stand_in, milp):
    events = []
    found = stand_in("answer").solve(milp, on_event=events.append)
    assert found.status is Status.OPTIMAL
    assert [(event.kind, event.objective, event.bound) for event in events] == [
        ("incumbent", 5.0, 1.0),
        ("bound", 5.0, 2.0),
    ]
    assert found.seconds >= events[-1].seconds >= events[0].seconds > 0


def test_killed_child_keeps_the_incumbent(stand_in, milp):
    def kill(event):
        if event.kind == "bound":
            os.kill(children()[0].pid, signal.SIGKILL)

    found = stand_in("hang").solve(milp, on_event=kill)
    assert found.status is Status.CRASHED
    assert "SIGKILL" in found.message
    assert_incumbent_kept(found)


def test_killed_real_solver_keeps_the_incumbent():
    rng = np.random.default_rng(1)
    weights = rng.integers(10, 100, (40, 60))
    builder = Builder()
    x = builder.columns("x", (60,), 0, 1)
    builder.rows([Terms(np.broadcast_to(x, weights.shape), weights)], upper=weights.sum(axis=1) // 3)
    builder.minimise(x, -rng.integers(10, 100, 60))
    model = builder.build()

    def kill(event):
        if event.kind == "incumbent" and event.objective < 0:
            os.kill(children()[0].pid, signal.SIGKILL)

    found = Solver.create("cpsat").solve(model, Limits(seconds=30), on_event=kill)
    assert found.status is Status.CRASHED
    assert model.violation(found.x) == 0
    assert model.objective(found.x) == found.objective


def test_a_crash_shows_the_last_words(stand_in, milp):
    found = stand_in("die").solve(milp)
    assert found.status is Status.CRASHED
    assert "last words" in found.message
    assert_incumbent_kept(found)


def test_an_exit_code_is_named(stand_in, milp):
    found = stand_in("leave").solve(milp)
    assert found.status is Status.CRASHED
    assert "exit code 3" in found.message
    assert_incumbent_kept(found)


def test_memory_limit(stand_in, milp):
    found = stand_in("eat").solve(milp, Limits(memory_mb=400, seconds=60))
    assert found.status is Status.MEMORY_LIMIT
    assert "400 MiB" in found.message
    assert_incumbent_kept(found)


def test_out_of_memory_is_a_memory_limit(stand_in, milp):
    assert stand_in("starve").solve(milp).status is Status.MEMORY_LIMIT


@pytest.mark.parametrize("act", ["hang", "hold_the_interpreter_lock"])
def test_a_deaf_solver_is_ended_after_the_time_limit(stand_in, milp, act):
    began = time.monotonic()
    found = stand_in(act).solve(milp, Limits(seconds=1))
    assert found.status is Status.TIME_LIMIT
    assert 1 <= time.monotonic() - began < 4
    assert_incumbent_kept(found)


def test_exceptions_come_back(stand_in, milp):
    with pytest.raises(InputError, match="the model has a hole: mend it"):
        stand_in("refuse").solve(milp)
    with pytest.raises(SolverError, match="KeyError: 'boom'"):
        stand_in("fail").solve(milp)


def test_an_exception_in_on_event_propagates(stand_in, milp):
    def fail(event):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        stand_in("hang").solve(milp, on_event=fail)
    assert not children()


def test_an_option_that_cannot_travel(stand_in, milp):
    with pytest.raises((AttributeError, TypeError)):
        stand_in(threading.Lock()).solve(milp)


def test_a_missing_library_is_named(stand_in, milp, monkeypatch):
    monkeypatch.setattr(stand_in, "module", "no_such_library_anywhere")
    monkeypatch.setattr(stand_in, "distribution", "no-such-library")
    assert not stand_in.available()
    assert stand_in.version() == ""
    with pytest.raises(MissingDependencyError, match="pip install no-such-library"):
        stand_in().solve(milp)


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from stand_in_solver import StandIn
from provenn.milp import Builder, Terms
builder = Builder()
x = builder.columns("x", (3,), 0, 1)
builder.rows([Terms(x, 1.0)], lower=1)
found = StandIn({act!r}).solve(builder.build(), on_event=lambda event: print(event.kind, event.bound, flush=True))
print(found.status.name, found.objective, found.bound, flush=True)
"""


@pytest.fixture
def script(stand_in, tmp_path):
    """Start a script without a main guard; ends it afterwards."""
    started = []

    def start(act):
        folder = os.path.dirname(sys.modules["stand_in_solver"].__file__)
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(SCRIPT.format(folder=folder, act=act)))
        process = subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE, text=True, start_new_session=True)
        started.append(process)
        while process.stdout.readline().strip() != "bound 2.0":
            assert process.poll() is None
        return process, children(process.pid)

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_returns_the_incumbent(script):
    process, solvers = script("hang")
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert out.strip() == "INTERRUPTED 5.0 2.0"
    assert process.returncode == 0
    wait_until(lambda: not any(solver.is_running() for solver in solvers))


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("act", ["hang", "hold_the_interpreter_lock"])
def test_the_child_does_not_outlive_a_killed_parent(script, act):
    if act == "hold_the_interpreter_lock" and sys.platform != "linux":
        pytest.skip("only Linux ends a process that holds its interpreter lock")
    process, solvers = script(act)
    assert solvers
    process.kill()
    process.wait()
    wait_until(lambda: not any(s.is_running() and s.status() != psutil.STATUS_ZOMBIE for s in solvers))


def test_several_solves_at_once(milp):
    found = []
    threads = [threading.Thread(target=lambda: found.append(Solver.create("highs").solve(milp))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [solution.objective for solution in found] == [1.0] * 3


def test_the_child_imports_little():
    """Start-up is paid by every solve."""
    code = "import sys, provenn.solvers._child; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pandas", "sklearn", "numba", "pyarrow", "rich", "typer", "ortools", "highspy", "psutil"} & set(loaded)
