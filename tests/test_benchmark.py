"""The benchmark runner on tiny cases: crashes, kills, statistics, plots' inputs, and the command line."""

import json
import subprocess
import sys
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest

from provenn.benchmark import discovery, runs, session, statistics, tables
from provenn.benchmark._child import figures, trivial_floor
from provenn.benchmark._plain_model import PlainModel
from provenn.benchmark.methods import METHODS
from provenn.benchmark.plots import write_plots
from provenn.benchmark.statistics import Paired, Slower, Spread, gap_closed, primal_gap, primal_integral, time_to_target
from provenn.cli import main
from provenn.errors import InputError
from provenn.formulations import Problem
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_hinge import MinHinge
from provenn.losses.sat_margin import SatMargin
from provenn.milp import Limits
from provenn.milp.lower import big_m
from provenn.network import Architecture, Dataset, IntegerDomain
from provenn.solvers import Solver
from provenn.testing.toys import all_networks

TINY = '''"""Three points on a line.

More.
"""
import os
import time
from pathlib import Path

import numpy as np

from provenn.benchmark import Case, Method, Outcome, Rows, Split, Task
from provenn.errors import CapabilityError
from provenn.losses.max_correct import MaxCorrect


def split(seed):
    X = np.array([[0], [1], [2], [3]])
    return Split(Rows(X[:3], np.array([0, 1, 1])), Rows(X[2:], np.array([1, 1])))


def crash(job):
    os._exit(7)


def hang(job):
    time.sleep(60)


def peek(job):
    assert job.split.test is None
    return Outcome(predict=lambda X: np.ones(len(X), dtype=int), validation=50.0)


def refuse(job):
    raise CapabilityError("not for points on a line")


def broken(job):
    raise RuntimeError("a bug")


def false_proof(job):
    return Outcome(loss=0.5, bound=0.5, optimal=True)


def tasks(data):
    yield Task("line", split, MaxCorrect(), optimum=0.0, published={"paper": 90.0}, target=1.0)


OWN = tuple(Method(f.__name__, f) for f in (crash, hang, peek, refuse, broken, false_proof))
CASE = Case(tasks, ("cpsat", "peek"), seconds=5, seeds=2, own_methods=OWN, reference="cpsat")
'''


@pytest.fixture
def folder(tmp_path):
    cases = tmp_path / "cases"
    cases.mkdir()
    (cases / "tiny.py").write_text(TINY)
    (cases / "_shared.py").write_text("")
    needy = TINY.replace('reference="cpsat"', 'needs=("planets/mars.csv",), reference="cpsat"')
    (cases / "needy.py").write_text(needy)
    return cases


def row_of(folder, method, **options):
    run = runs.Run(str(folder), "tiny", "line", method, 0, None, 5.0)
    return runs.carry_out(run, **options)


def bench(capsys, *argv):
    code = main(["bench", *map(str, argv)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_run_reports_loss_bound_accuracy_time_and_memory(folder):
    row = row_of(folder, "cpsat")
    assert (row["status"], row["loss"], row["bound"], row["optimal"], row["wrong"]) == ("done", 0.0, 0.0, True, False)
    assert (row["train_accuracy"], row["test_accuracy"]) == (100.0, 100.0)
    assert 10 < row["peak_mib"] < 10_000
    assert row["curve"][-1][1:] == [0.0, 0.0]
    assert [p[0] for p in row["curve"]] == sorted(p[0] for p in row["curve"])
    assert {"machine", "versions", "command", "seed", "limit", "started"} <= set(row)
    assert row["versions"]["numpy"] == np.__version__


def test_a_method_sees_no_test_rows_and_is_scored_on_them(folder):
    row = row_of(folder, "peek")
    assert row["status"] == "done", row["note"]
    assert row["train_accuracy"] == pytest.approx(200 / 3)
    assert (row["test_accuracy"], row["validation_accuracy"], row["loss"]) == (100.0, 50.0, None)


@pytest.mark.parametrize(
    ("method", "status", "note"),
    [
        ("crash", "crashed", "exit code 7"),
        ("broken", "crashed", "RuntimeError: a bug"),
        ("refuse", "skipped", "not for points on a line"),
    ],
)
def test_what_goes_wrong_is_a_row_that_says_so(folder, method, status, note):
    row = row_of(folder, method)
    assert row["status"] == status
    assert note in row["note"]


def test_a_run_that_does_not_stop_is_killed(folder):
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    began = time.monotonic()
    row = row_of(folder, "hang", hard_limit=0.2)
    assert row["status"] == "killed"
    assert time.monotonic() - began < 50
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_run_ends_when_its_session_is_killed(folder):
    code = (
        "from provenn.benchmark import runs\n"
        f"runs.carry_out(runs.Run({str(folder)!r}, 'tiny', 'line', 'hang', 0, None, 5.0))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        children: list[psutil.Process] = []
        while not children:
            assert parent.poll() is None
            children = psutil.Process(parent.pid).children()
            time.sleep(0.05)
        parent.kill()
    gone, alive = psutil.wait_procs(children, timeout=60)
    assert (len(gone), alive) == (1, [])


def test_a_false_proof_is_marked(folder):
    assert row_of(folder, "false_proof")["wrong"]


@pytest.mark.parametrize("n", [1, 2, 7])
def test_spread_agrees_with_numpy(rng, n):
    values = rng.normal(size=n)
    found = Spread.of([*values, None])
    assert found.n == n
    assert found.mean == pytest.approx(np.mean(values))
    assert found.sd == pytest.approx(np.std(values, ddof=1) if n > 1 else 0.0)
    assert Spread.of([None]) is None


def test_paired_differences_use_common_splits_only(rng):
    ours = dict(enumerate(rng.normal(size=9)))
    theirs = {seed: rng.normal() for seed in range(4, 12)}
    differences = np.array([ours[seed] - theirs[seed] for seed in range(4, 9)])
    found = Paired.of(ours, {**theirs, 3: None})
    assert (found.difference.n, found.better, found.worse) == (5, (differences > 0).sum(), (differences < 0).sum())
    assert found.difference.sd == pytest.approx(differences.std(ddof=1))
    assert Paired.of({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize(
    ("objective", "best", "gap"),
    [
        (None, 5.0, 1.0),
        (5.0, 5.0, 0.0),
        (0.0, 0.0, 0.0),
        (10.0, 5.0, 0.5),
        (-2.0, -4.0, 0.5),
        (1.0, -1.0, 1.0),
        (3.0, 0.0, 1.0),
    ],
)
def test_primal_gap(objective, best, gap):
    assert primal_gap(objective, best) == gap


def test_primal_integral_by_hand():
    curve = [(0.5, None, 0.0), (1.0, 20.0, 0.0), (2.0, 10.0, 1.0), (4.0, 5.0, 5.0), (9.0, 1.0, 1.0)]
    # 1 s without a network, 1 s at gap 3/4, 2 s at gap 1/2, 4 s at gap 0; the last point lies after the end.
    assert primal_integral(curve, 5.0, 8.0) == pytest.approx(1 + 0.75 + 2 * 0.5)
    assert primal_integral([], 5.0, 8.0) == 8.0


def test_primal_integral_falls_when_a_better_network_comes_sooner(rng):
    for _ in range(50):
        times, losses = np.sort(rng.random(5)), np.sort(rng.integers(5, 50, 5))[::-1]
        curve = [(t, float(loss), None) for t, loss in zip(times, losses, strict=True)]
        sooner = [(t * 0.9, loss, bound) for t, loss, bound in curve]
        assert primal_integral(sooner, 5.0, 1.0) <= primal_integral(curve, 5.0, 1.0)


def test_time_to_target():
    curve = [(0.1, None, 0.0), (0.2, 9.0, None), (0.7, 4.0, None)]
    assert [time_to_target(curve, target) for target in (9.0, 8.9, 4.0, 3.9)] == [0.2, 0.7, 0.7, None]


def row(method, seed, loss, **more):
    curve = [] if loss is None else [[1.0, 2 * loss, None], [2.0, loss, 0.0]]
    identity = {"case": "c", "task": "t", "method": method, "seed": seed, "limit": 10.0}
    published = {"published_loss": None, "optimum": None, "published": {}}
    return {
        **identity,
        **published,
        "status": "done",
        "note": "",
        "loss": loss,
        "curve": curve,
        "optimal": False,
        **more,
    }


def test_target_is_the_best_of_all_methods_within_a_percent_unless_published():
    rows = [row("a", 0, 100.0), row("b", 0, 100.9), row("d", 0, 102.0), row("e", 0, None)]
    found = {r["method"]: r for r in statistics.finished(rows)}
    assert {m: r["seconds_to_target"] for m, r in found.items()} == {"a": 2.0, "b": 2.0, "d": None, "e": None}
    assert found["a"]["primal_integral"] == pytest.approx(1 + 0.5)
    assert found["e"]["primal_integral"] is None
    published = statistics.finished([{**r, "published_loss": 201.0} for r in rows])
    assert [r["seconds_to_target"] for r in published] == [1.0, 2.0, 2.0, None]


@pytest.mark.parametrize("loss", [Logistic(2.0), MinHinge()], ids=repr)
@pytest.mark.parametrize(("hidden", "outputs"), [((), 1), ((), 2), ((2,), 1), ((1,), 2)])
def test_the_trivial_floor_is_the_sum_of_what_each_sample_alone_can_reach(loss, hidden, outputs, rng):
    data = Dataset.merge(rng.integers(-3, 5, (6, 2)), np.array([0, 1, 0, 1, 1, 1]), scale=4, classes=(0, 1))
    assert data.live.all()
    domain = IntegerDomain.ternary()
    problem = Problem(Architecture.build(2, 2, hidden, domain, domain, outputs), data, loss)
    curve, t = loss.curve(problem.architecture, data), data.targets(outputs)
    losses = np.array([curve.exact(t * network.scores(data.X)) for network in all_networks(problem)])
    best = float((losses.min(axis=0).sum(axis=1) @ data.multiplicity) * problem.loss_unit)
    assert trivial_floor(problem) == pytest.approx(best, rel=1e-12)


def test_the_trivial_floor_of_counts_is_what_equal_samples_force():
    data = Dataset.merge([[0], [0], [0], [1]], [0, 1, 1, 1])
    assert trivial_floor(Problem(Architecture.build(1, 2), data, MaxCorrect())) == 1.0


@pytest.mark.parametrize(
    ("bound", "floor", "best", "share"),
    [
        (2.0, 2.0, 6.0, 0.0),
        (6.0, 2.0, 6.0, 1.0),
        (3.0, 2.0, 6.0, 0.25),
        (1.0, 2.0, 6.0, 0.0),
        (2.0, 2.0, 2.0, None),
        (None, 2.0, 6.0, None),
        (3.0, None, 6.0, None),
        (3.0, 2.0, np.inf, None),
    ],
)
def test_gap_closed(bound, floor, best, share):
    assert gap_closed(bound, floor, best) == share


def test_times_to_proofs_are_compared_by_seed_and_bounded_where_one_has_none():
    def runs_of(*seconds, proven=True):
        return [{"seed": i, "seconds": s, "optimal": proven} for i, s in enumerate(seconds)]

    assert Slower.of(runs_of(1, 3), runs_of(6, 2, 100)) == Slower(2.0, "")
    assert Slower.of(runs_of(1, 3), runs_of(60, 60, proven=False)) == Slower(30.0, ">")
    assert Slower.of(runs_of(60, proven=False), runs_of(6)) == Slower(0.1, "<")
    assert Slower.of(runs_of(60, proven=False), runs_of(60, proven=False)) is None
    assert Slower.of(runs_of(60), [{"seed": 0, "status": "crashed"}]) is None
    assert Slower.of([], runs_of(1)) is None


def test_a_bound_above_the_loss_of_another_method_is_wrong():
    rows = [row("a", 0, 9.0, bound=8.5), row("b", 0, 8.0, bound=8.0), row("d", 1, 9.0, bound=8.5)]
    assert [r["wrong"] for r in statistics.finished(rows)] == [True, False, False]
    known = [{**r, "optimum": 8.0} for r in rows]
    assert not any(r["wrong"] for r in statistics.finished(known))


def test_the_table_says_how_much_of_the_gap_is_closed_and_how_much_longer_proofs_take():
    ours = row("ours", 0, 8.0, optimal=True, seconds=2.0, bound=8.0, floor=4.0)
    theirs = row("theirs", 0, 10.0, seconds=60.0, bound=5.0, floor=4.0)
    text = tables.table(statistics.summarise(statistics.finished([ours, theirs]), {"c": "ours"}), {"c": "ours"})
    header, _, first, second = ([cell.strip() for cell in line.split("|")] for line in text.splitlines() if "|" in line)
    assert (first[header.index("gap closed %")], second[header.index("gap closed %")]) == ("100.0", "25.0")
    assert (first[header.index("time / ours")], second[header.index("time / ours")]) == ("", ">30")


def test_summary_and_table(rng):
    accuracies = {"ours": rng.uniform(70, 90, 4), "theirs": rng.uniform(70, 90, 4)}
    rows = [
        row(method, seed, 3.0, test_accuracy=float(value), optimal=method == "ours" and seed < 3)
        for method, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    rows.append({**row("broken", 0, None), "status": "crashed", "note": "exit | code 7"})
    entries = statistics.summarise(statistics.finished(rows), {"c": "ours"})
    ours, theirs, broken = entries
    assert (ours["runs"], ours["proven"], ours["ahead"]) == (4, 3, None)
    differences = accuracies["ours"] - accuracies["theirs"]
    assert theirs["ahead"].difference.mean == pytest.approx(differences.mean())
    assert (broken["done"], broken["test_accuracy"]) == (0, None)
    text = tables.table(entries, {"c": "ours"})
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    mean, sd = differences.mean(), differences.std(ddof=1)
    assert f"{mean:+.1f} ± {sd:.1f}" in text
    assert f"{accuracies['ours'].mean():.1f} ± {accuracies['ours'].std(ddof=1):.1f}" in text
    assert "crashed: exit / code 7" in text
    json.dumps([tables.plain(entry) for entry in entries])


def some_problem(loss, hidden, rng):
    X, y = rng.integers(0, 5, (7, 2)), np.array([0, 1, 0, 1, 0, 1, 1])
    data = Dataset.merge(X, y, scale=4, classes=(0, 1))
    return Problem(Architecture.build(2, 2, hidden, outputs=2), data, loss)


@pytest.mark.parametrize("loss", [MaxCorrect("published"), MaxCorrect(), SatMargin(), MinHinge()], ids=repr)
@pytest.mark.parametrize("hidden", [(), (2,)])
def test_the_plain_model_has_one_m_and_the_optimum_of_ours(loss, hidden, rng):
    problem = some_problem(loss, hidden, rng)
    plain = PlainModel.of(problem)
    assert not plain.milp.has_indicators
    ours, theirs = (
        Solver.create("cpsat").solve(milp, Limits(seconds=60)) for milp in (problem.encode().milp, plain.milp)
    )
    assert theirs.objective == pytest.approx(ours.objective, abs=1e-6)
    network = plain.network(theirs.x)
    assert problem.value(network) == pytest.approx(theirs.objective, abs=1e-6)


def coefficients_of_switches(milp, block):
    """Sizes of the coefficients of the binary columns that switch rows on, where they act as switches."""
    return {abs(value) for value in milp.A[:, milp.blocks[block].ravel()].tocoo().data.tolist()}


def test_one_m_serves_all_rows_and_is_what_the_worst_of_them_needs(rng):
    problem = some_problem(SatMargin(), (2,), rng)
    plain, tight = PlainModel.of(problem).milp, big_m(problem.encode().milp)
    (M,) = coefficients_of_switches(plain, "short")
    firing, products = coefficients_of_switches(plain, "u0"), {2.0}
    assert firing - products == {M * problem.dataset.scale}
    units = {"short": 1, "u0": problem.dataset.scale}
    needed = max(max(coefficients_of_switches(tight, block)) / unit for block, unit in units.items())
    assert needed <= M < needed + 2


def test_every_method_of_the_registry_says_what_it_is():
    assert all(method.what and method.name == name for name, method in METHODS.items())


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_trains_or_says_why_not(folder, method, tmp_path):
    order = asdict(runs.Run(str(folder), "tiny", "line", method, 0, None, 30.0 if "bigm" in method else 0.5))
    row = figures(order, tmp_path / "ready")
    assert row["status"] in ("done", "skipped"), row["note"]
    if row["status"] == "done":
        assert (tmp_path / "ready").exists()
        assert 0 <= row["test_accuracy"] <= 100
        assert not row["wrong"]
    else:
        assert row["note"]


def test_plan_counts_tasks_methods_and_seeds(folder):
    request = session.Request(folder, "tiny", seeds=3, methods=("peek", "crash"))
    planned = session.plan(request)
    assert [(run.method, run.seed) for run, _ in planned.planned] == [
        (m, s) for s in range(3) for m in ("peek", "crash")
    ]
    assert planned.seconds == 30
    every = session.plan(session.Request(folder, "all"))
    assert {run.case for run, _ in every.planned} == {"tiny"}
    assert "planets/mars.csv" in every.left_out[0]


def test_rows_are_written_as_they_finish_and_kept_on_ctrl_c(folder, tmp_path):
    planned = session.plan(session.Request(folder, "tiny", methods=("peek",), seeds=3))
    seen = []

    def stop(row):
        seen.append(row)
        assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == len(seen)
        if len(seen) == 2:
            raise KeyboardInterrupt

    rows, interrupted = session.carry_out_all(planned, tmp_path, stop)
    assert (len(rows), interrupted) == (2, True)
    assert [json.loads(line)["seed"] for line in (tmp_path / "runs.jsonl").read_text().splitlines()] == [0, 1]


def test_listing(folder, capsys):
    code, text, _ = bench(capsys, "--cases", folder)
    assert code == 0
    assert "Three points on a line." in text
    assert "_shared" not in text
    code, text, _ = bench(capsys, "--cases", folder, "--json")
    found = json.loads(text)
    assert (code, set(found["cases"])) == (0, {"tiny", "needy"})
    assert set(found["methods"]) == set(METHODS)


def test_json_is_one_object_and_out_gets_everything(folder, capsys, tmp_path):
    out = tmp_path / "out"
    drawn = ["--out", out] if find_spec("matplotlib") is not None else []
    code, text, error = bench(capsys, "tiny", "--cases", folder, "--seeds", 1, "--json", *drawn)
    assert code == 0
    assert text.count("\n") == 1
    found = json.loads(text, parse_constant=pytest.fail)
    assert [r["method"] for r in found["runs"]] == ["cpsat", "peek"]
    assert found["runs"][0]["published"] == {"paper": 90.0}
    assert found["summary"][0]["proven"] == 1
    assert "2 runs" in error
    if drawn:
        names = {path.name for path in out.iterdir()}
        assert names == {"runs.jsonl", "table.md", "tiny_anytime.png", "tiny_accuracy.png"}
        assert len((out / "runs.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch"], "unknown case 'nosuch'"),
        (["tiny", "--methods", "magic"], "unknown method 'magic'"),
        (["tiny", "--tasks", "circle"], "no task has 'circle'"),
        (["needy"], "needs the files planets/mars.csv"),
        (["needy", "--data", "DATA"], "lacks them"),
        (["tiny", "--data", "nowhere"], "the data folder nowhere does not exist"),
        (["tiny", "--seeds", "0"], "--seeds"),
        (["tiny", "--seconds", "-1"], "seconds"),
    ],
)
def test_bad_input_ends_with_code_1_before_any_run(folder, capsys, tmp_path, arguments, said):
    arguments = [str(tmp_path) if a == "DATA" else a for a in arguments]
    code, _, error = bench(capsys, *arguments, "--cases", folder)
    assert code == 1
    assert said in error


def test_folders_without_cases(capsys, tmp_path):
    code, _, error = bench(capsys, "--cases", tmp_path / "nowhere")
    assert code == 1
    assert "does not exist" in error
    (tmp_path / "odd.py").write_text("CASE = 3\n")
    with pytest.raises(InputError, match=r"has no CASE"):
        discovery.load(tmp_path, "odd")


def test_cases_of_two_folders_do_not_mix(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "_data.py").write_text(f"NAME = {name!r}\n")
        text = "from ._data import NAME\nfrom provenn.benchmark import Case\nCASE = Case(lambda data: [], (NAME,))\n"
        (tmp_path / name / "same.py").write_text(text)
    assert [discovery.load(tmp_path / name, "same").methods for name in ("one", "two")] == [("one",), ("two",)]


def test_the_cases_of_the_source_are_sound():
    folder = Path(__file__).resolve().parents[1] / "bench"
    for name in discovery.names(folder):
        case = discovery.load(folder, name)
        assert case.reference in case.methods
        assert all(discovery.method_of(case, method) for method in case.methods)
        assert discovery.summary(folder, name)
        if not any("instances" in needed for needed in case.needs):
            tasks = discovery.tasks_of(case, Path("data"))
            assert len({task.name for task in tasks}) == len(tasks)


def test_plots(rng, tmp_path):
    pytest.importorskip("matplotlib")
    rows = [
        row(method, seed, float(rng.integers(1, 9)), task=task, seconds=2.0, test_accuracy=float(rng.uniform(70, 90)))
        for task in ("t", "u")
        for method in METHODS
        for seed in range(2)
    ]
    finished = statistics.finished([{**r, "published": {"paper": 80.0}, "published_loss": 3.0} for r in rows])
    files = write_plots(finished, statistics.summarise(finished, {"c": "provenn"}), tmp_path)
    assert [path.name for path in files] == ["c_anytime.png", "c_accuracy.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files)


def test_tasks_of_a_series_are_plotted_against_their_size(folder, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    text = (folder / "tiny.py").read_text().replace("Rows, Split, Task", "Rows, Split, Sweep, Task")
    begin, end = text.index("    yield Task"), text.index("OWN =")
    series = """    for n in (1, 40):
        yield Task(f"line {n}", split, MaxCorrect(), sweep=Sweep("samples", "a line", n))
        yield Task(f"bound {n}", split, MaxCorrect(), sweep=Sweep("weight bound P", "a line", n))


"""
    (folder / "tiny.py").write_text(text[:begin] + series + text[end:])
    code, _, error = bench(capsys, "tiny", "--cases", folder, "--seeds", 1, "--out", tmp_path / "out")
    assert code == 0, error
    drawn = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert drawn == {"tiny_samples.png", "tiny_weight_bound_P.png", "tiny_accuracy.png"}
    sweeps = [json.loads(line)["sweep"] for line in (tmp_path / "out" / "runs.jsonl").read_text().splitlines()]
    assert {(s["factor"], s["size"]) for s in sweeps} == {
        (f, n) for f in ("samples", "weight bound P") for n in (1, 40)
    }


def test_plots_name_the_missing_library(folder, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("provenn.benchmark.plots.importlib.util.find_spec", lambda name: None)
    code, _, error = bench(capsys, "tiny", "--cases", folder, "--out", tmp_path / "out")
    assert code == 1
    assert "provenn[bench]" in error
