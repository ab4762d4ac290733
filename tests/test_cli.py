"""The command line: every command, its JSON, its exit codes, and real processes that are interrupted."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from provenn import IntegerNetworkClassifier, __version__, registry
from provenn import cli as command_line
from provenn.choices import TRAINERS
from provenn.cli import main
from provenn.errors import InfeasibleError, NoAnswerError, SolverError
from provenn.tables import read_table, split_target

BREAST = "sklearn:breast_cancer"
COMMANDS = ("train", "predict", "check", "verify", "report", "solvers", "bench")
TRAIN_KEYS = {
    "status", "loss", "bound", "gap", "optimal", "proved_by", "train_accuracy", "seconds", "nonzeros", "size_bits",
    "model",
}  # fmt: skip


def run(capsys, *argv):
    """Run in this process; returns exit code, standard output, standard error."""
    code = main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def one_object(text):
    """Parse exactly one strict JSON object on one line."""
    assert text.endswith("\n")
    assert text.count("\n") == 1
    value = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not strict JSON"))
    assert isinstance(value, dict)
    return value


@contextmanager
def process(*argv, **options):
    """Run as a real process, which is gone afterwards."""
    command = [sys.executable, "-m", "provenn.cli", *map(str, argv)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) as child:
        try:
            yield child
        finally:
            child.kill()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "breast.json"
    assert main(["train", BREAST, "--max-nonzeros", "3", "--node-limit", "500", "-o", str(path), "--quiet"]) == 0
    return path


@pytest.mark.parametrize("command", [(), *((c,) for c in COMMANDS)], ids=str)
def test_help(capsys, command):
    code, out, err = run(capsys, *command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: provenn {' '.join(command)}".rstrip())


def test_no_command_shows_help(capsys):
    assert run(capsys)[1] == run(capsys, "--help")[1]


def test_every_command_and_option_has_help():
    group = command_line.get_command(command_line.app)
    assert set(group.commands) == set(COMMANDS)
    for command in group.commands.values():
        assert command.help, command.name
        for parameter in command.params:
            assert parameter.help, f"{command.name} {parameter.name}"


def test_every_command_and_option_is_documented():
    page = Path(__file__).parents[1] / "docs" / "cli.md"
    if not page.exists():
        pytest.skip("the documentation is not beside the tests")
    text = page.read_text()
    for command in command_line.get_command(command_line.app).commands.values():
        assert f"## provenn {command.name}" in text
        for parameter in command.params:
            option = max(parameter.opts, key=len)
            assert not option.startswith("--") or option in text, f"{command.name} {option}"


def test_choices_come_from_the_registry(capsys):
    text = " ".join(run(capsys, "train", "--help")[1].split())
    for name in (*registry.names("provenn.losses"), *registry.names("provenn.solvers"), "auto", "convex"):
        assert re.search(rf"\b{name}\b", text)


def test_version(capsys):
    assert run(capsys, "--version")[:2] == (0, f"provenn {__version__}\n")


def test_help_imports_nothing_heavy():
    code = "import sys, provenn.cli; print([m for m in ('numpy', 'pandas', 'sklearn', 'numba') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_train_json(capsys):
    code, out, _ = run(capsys, "train", "sklearn:iris", "--node-limit", "300", "--json", "--quiet")
    result = one_object(out)
    assert code == 0
    assert result.keys() >= TRAIN_KEYS
    assert result["model"] is None
    assert result["classes"] == ["setosa", "versicolor", "virginica"]
    assert result["bound"] <= result["loss"]
    assert result["optimal"] == (result["status"] == "optimal")


def test_unknown_gap_is_null(capsys, tmp_path):
    code, out, _ = run(capsys, "train", BREAST, "--time-limit", "0", "--json", "--weight-bound", "9")
    result = one_object(out)
    assert code == 0
    assert not result["optimal"]
    assert result["gap"] is None or result["gap"] > 0


def test_train_predict_verify_report(capsys, model):
    features, labels, _ = split_target(read_table(BREAST), None)
    estimator = IntegerNetworkClassifier(max_nonzeros=3, node_limit=500, random_state=0).fit(features, labels)

    code, out, err = run(capsys, "predict", model, BREAST, "--json")
    result = one_object(out)
    assert code == 0
    assert result["predictions"] == estimator.predict(features).tolist()
    np.testing.assert_array_equal(result["probabilities"], estimator.predict_proba(features))
    assert len(result["scores"]) == len(labels)
    assert [score >= 0 for score in result["scores"]] == [p == result["classes"][1] for p in result["predictions"]]
    assert f"accuracy {estimator.score(features, labels):.2%}" in err

    code, out, _ = run(capsys, "predict", model, BREAST)
    assert (code, out.splitlines()) == (0, result["predictions"])

    code, out, _ = run(capsys, "verify", model, BREAST, "--json")
    verified = one_object(out)
    assert (code, verified["agrees"], verified["training_data"]) == (0, True, True)
    assert verified["loss"] == verified["stored_loss"] == estimator.certificate_.loss_value

    code, out, _ = run(capsys, "verify", model, BREAST)
    assert code == 0
    assert "The certificate agrees" in out
    assert "claim of" in out

    code, out, _ = run(capsys, "report", model, "--json")
    report = one_object(out)
    assert (code, report["loss"]) == (0, verified["loss"])
    assert report["score_card"] == estimator.score_card().to_dict()
    assert report["provenance"]["n_samples"] == 569

    code, out, _ = run(capsys, "report", model)
    assert code == 0
    assert all(point["feature"] in out for point in report["score_card"]["points"])


def test_output_has_no_blanks_at_line_ends(capsys, model):
    for argv in (["report", model], ["verify", model, BREAST], ["solvers"], ["train", BREAST, "--node-limit", "9"]):
        out = run(capsys, *argv)[1]
        assert out
        assert not [line for line in out.splitlines() if line != line.rstrip()]


def test_predictions_as_csv(capsys, model, tmp_path):
    path = tmp_path / "out.csv"
    assert run(capsys, "predict", model, BREAST, "-o", path)[:2] == (0, "")
    table = pd.read_csv(path)
    assert table.columns.tolist() == ["prediction", "score", "probability benign", "probability malignant"]
    assert len(table) == 569


def test_predict_reads_rows_without_target_in_any_column_order(capsys, model, tmp_path):
    frame = read_table(BREAST).frame
    expected = run(capsys, "predict", model, BREAST)[1]
    frame.drop(columns="target")[frame.columns[::-1][1:]].assign(extra="x").to_csv(tmp_path / "raw.csv", index=False)
    code, out, err = run(capsys, "predict", model, tmp_path / "raw.csv")
    assert (code, out, err) == (0, expected, "")


def test_standard_input(model):
    text = read_table(BREAST).frame.head(5).to_csv(index=False)
    with process("predict", model, "-", stdin=subprocess.PIPE) as child:
        out, err = child.communicate(text, timeout=60)
    assert child.returncode == 0, err
    assert out.splitlines() == ["malignant"] * len(out.splitlines())
    assert len(out.splitlines()) == 5


def test_verify_on_other_data_disagrees(capsys, model, tmp_path):
    read_table(BREAST).frame.head(300).to_csv(tmp_path / "part.csv", index=False)
    code, out, err = run(capsys, "verify", model, tmp_path / "part.csv", "--json")
    result = one_object(out)
    assert code == 1
    assert not result["agrees"]
    assert not result["training_data"]
    assert not result["optimal"]
    assert "does not agree" in err
    assert "other data" in err


def test_solvers(capsys):
    code, out, _ = run(capsys, "solvers", "--json")
    listed = {entry["name"]: entry for entry in one_object(out)["solvers"]}
    assert code == 0
    assert set(listed) == {"convex", "agreement", "tree", "hull", *registry.names("provenn.solvers")}
    assert all({"installed", "version", "capabilities", "limits"} <= entry.keys() for entry in listed.values())
    assert listed["cpsat"]["installed"]
    code, out, _ = run(capsys, "solvers")
    assert code == 0
    assert all(name in out for name in listed)


def test_options_reach_the_model(capsys, tmp_path):
    FRAME = pd.DataFrame({"a": [1, 2, 3, 4] * 3, "b": [1, 1, 2, 2] * 3, "id": range(12), "y": ["n", "n", "p", "p"] * 3})
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    path = tmp_path / "m.json"
    code, _, err = run(
        capsys, "train", tmp_path / "t.csv", "--target", "y", "--drop", "id", "--categorical", "b", "--hidden", "2",
        "--weight-bound", "2", "--bias-bound", "none", "--loss", "max_correct", "--time-limit", "20", "--seed", "7",
        "--quantize", "thermometer", "--bits", "3", "--fan-in", "2", "--neuron-price", "0.25", "-o", path,
    )  # fmt: skip
    assert code == 0, err
    report = one_object(run(capsys, "report", path, "--json")[1])
    assert report["columns"] == ["a", "b"]
    assert report["layers"] == [5, 2, 1]
    assert report["provenance"]["dropped"] == ["id"]
    assert run(capsys, "verify", path, tmp_path / "t.csv")[0] == 0
    data = json.loads(path.read_text())
    assert data["options"]["random_state"] == 7
    assert data["network"]["architecture"]["layers"][0]["weights"] == {"low": -2, "high": 2, "step": 1}
    assert data["network"]["architecture"]["layers"][0]["bias"] is None


def test_progress_lines_without_terminal(capsys, monkeypatch):
    monkeypatch.setattr("provenn._cli_output.PLAIN_SECONDS", 0.001)
    _, _, err = run(capsys, "train", BREAST, "--node-limit", "3000")
    assert "569 samples, 30 inputs, 2 classes" in err
    assert re.search(r"loss \S+   bound \S+   gap .+ s of 60 s", err)
    assert run(capsys, "train", BREAST, "--node-limit", "300", "--quiet")[2] == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InfeasibleError("no network"), 2),
        (NoAnswerError("none found"), 3),
        (SolverError("died"), 3),
        (MemoryError(), 1),
        (KeyboardInterrupt(), 1),
        (ZeroDivisionError("surprise\nin two lines"), 1),
    ],
)
def test_exit_codes(capsys, monkeypatch, error, code):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(IntegerNetworkClassifier, "fit", fail)
    found, out, err = run(capsys, "train", BREAST, "--json")
    assert found == code
    assert one_object(out)["exit_code"] == code
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err


def test_infeasible_is_exit_code_2(capsys, tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n1,0\n1,1\n2,0\n2,1\n")
    code, out, err = run(capsys, "train", tmp_path / "t.csv", "--target", "y", "--loss", "min_weight", "--json", "-q")
    assert code == 2, err
    assert "infeasible" in one_object(out)["error"]


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("PROVENN_DEBUG", "1")
    with pytest.raises(Exception, match="no file"):
        main(["train", "nowhere.csv"])


@pytest.mark.skipif(sys.platform == "win32", reason="pipes")
def test_broken_pipe_is_quiet(model):
    command = f"{sys.executable} -m provenn.cli predict {model} {BREAST} --json | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "{"
    assert "Error" not in done.stderr


HARD = (
    "--hidden",
    "3",
    "--loss",
    "sat_margin",
    "--weight-bound",
    "3",
    "--time-limit",
    "120",
    "--json",
    "--solver",
    "cpsat",
)


def wait_for_progress(child):
    """Wait until a line with a loss has appeared on standard error."""
    seen = []
    for line in child.stderr:
        seen.append(line)
        if line.startswith("loss"):
            return
    pytest.fail(f"the process ended without progress: {seen}")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    "hard",
    [HARD, ("--weight-bound", "100", "--temperature", "0.2", "--time-limit", "120", "--json")],
    ids=["cpsat", "convex"],
)
def test_interrupt_keeps_the_incumbent(tmp_path, capsys, hard):
    path = tmp_path / "m.json"
    with process("train", BREAST, *hard, "-o", path, start_new_session=True) as child:
        wait_for_progress(child)
        os.killpg(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    result = one_object(out)
    assert result["status"] == "interrupted"
    assert result["model"] == str(path)
    assert "Traceback" not in err
    assert run(capsys, "verify", path, BREAST)[0] == 0


def wait_for_solver(child):
    """Wait until the process has a child that has been at work for a moment, and return it."""
    for _ in range(1200):
        solvers = psutil.Process(child.pid).children(recursive=True)
        if solvers:
            time.sleep(1.5)
            return solvers
        time.sleep(0.1)
    pytest.fail("no solver process appeared")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_killed_solver_keeps_the_incumbent(tmp_path):
    with process("train", BREAST, *HARD, "-o", tmp_path / "m.json") as child:
        solvers = wait_for_solver(child)
        for solver in solvers:
            solver.kill()
        out, err = child.communicate(timeout=60)
    assert child.returncode in (0, 3), err
    assert "Traceback" not in err
    result = one_object(out)
    assert result.get("status") == "crashed" or result["exit_code"] == 3
    assert (tmp_path / "m.json").exists() == (child.returncode == 0)


def test_the_command_line_names_every_engine():
    """Its list is written out, because importing the engines would delay every command."""
    assert command_line.ENGINES == TRAINERS


def test_the_hull_proves_a_hidden_layer(tmp_path, capsys):
    path = tmp_path / "xor.csv"
    path.write_text("a,b,target\n0,0,0\n0,1,1\n1,0,1\n1,1,0\n")
    arguments = ["train", str(path), "--target", "target", "--hidden", "2", "--solver", "hull", "--temperature", "1"]
    assert main([*arguments, "--json", "-o", str(tmp_path / "model.json")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["optimal"]
    assert answer["loss"] == answer["bound"]
    assert answer["proved_by"] == "neuron hull (provenn)"
