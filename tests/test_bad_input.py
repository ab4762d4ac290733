"""Bad input at the command line: exit code 1, one clear message with a way out, no traceback, nothing destroyed."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from provenn.cli import main

GOOD = pd.DataFrame(
    {"age": [30, 41, 52, 63, 35, 47], "job": list("xyxyxy"), "ill": ["no", "yes", "yes", "yes", "no", "no"]}
)
QUICK = ("--node-limit", "50", "--quiet")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    GOOD.to_csv("good.csv", index=False)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the text of a good model file."""
    path = tmp_path_factory.mktemp("trained")
    GOOD.to_csv(path / "good.csv", index=False)
    assert main(["train", str(path / "good.csv"), "--target", "ill", "-o", str(path / "m.json"), *QUICK]) == 0
    return (path / "m.json").read_text()


def refused(capsys, *argv, code=1):
    """Run, check the form of the refusal, and return the message."""
    found = main([str(a) for a in argv])
    captured = capsys.readouterr()
    assert found == code, captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert "internal error" not in captured.err
    lines = captured.err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("provenn: ")

    assert main([*map(str, argv), "--json"]) == code
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"error": lines[0].removeprefix("provenn: "), "exit_code": code}
    return lines[0]


def train(capsys, data, *more):
    return refused(capsys, "train", data, "--target", "ill", *QUICK, *more)


def csv(**columns):
    """Write the good table with some columns changed."""
    GOOD.assign(**columns).to_csv("bad.csv", index=False)
    return "bad.csv"


TABLES = {
    "missing value": ({"age": [30, None, 52, 63, 35, 47]}, ["'age'", "row 2", "missing", "fill or drop"]),
    "question mark": ({"age": ["30", "41", "?", "63", "35", "47"]}, ["'age'", "row 3", "missing", "fill or drop"]),
    "missing category": ({"job": ["x", "y", None, "x", "y", "x"]}, ["'job'", "row 3", "missing", "fill or drop"]),
    "infinite": ({"age": [30, 41, np.inf, 63, 35, 47]}, ["'age'", "row 3", "infinite", "remove or replace"]),
    "minus infinite": ({"age": [30, 41, 52, -np.inf, 35, 47]}, ["'age'", "row 4", "infinite", "remove or replace"]),
    "one class": ({"ill": ["no"] * 6}, ["one class", "'no'", "at least two"]),
    "missing label": ({"ill": ["no", "yes", None, "no", "no", "yes"]}, ["'ill'", "row 3", "missing", "drop such rows"]),
    "fractional label": ({"ill": [0.5, 1, 0, 1, 1, 0]}, ["'ill'", "row 1", "no classes", "turn it into classes"]),
    "text in numbers": ({"age": ["30", "41", "5x", "63", "3", "4"]}, ["'age'", "row 3", "'5x'", "--categorical age"]),
    "decimal comma": (
        {"age": ["3,5", "4,5", "5,5", "6,5", "3,5", "4,75"]},
        ["'age'", "row 1", "decimal comma", "point"],
    ),
}


@pytest.mark.parametrize(("columns", "words"), TABLES.values(), ids=TABLES)
def test_bad_cells(folder, capsys, columns, words):
    message = train(capsys, csv(**columns))
    assert all(word in message for word in words), message


TEXTS = {
    "empty": (b"", ["is empty", "needs a line"]),
    "header only": (b"age,job,ill\n", ["no rows", "at least one sample"]),
    "short row": (b"age,job,ill\n1,x,no\n2,y\n", ["line 3", "2 cells", "repair"]),
    "long row": (b"age,job,ill\n1,x,no,9\n", ["line 2", "4 cells", "repair"]),
    "duplicate columns": (b"age,age,ill\n1,2,no\n", ["'age'", "more than once", "rename"]),
    "no header": (b"1,1,0\n2,1,1\n", ["more than once", "add a line of column names"]),
    "NUL bytes": (b"age,ill\n1\x00,no\n", ["binary", "use .csv"]),
    "Latin-1": ("age,ill\n1,é\n".encode("latin-1"), ["line 2", "UTF-8"]),
    "UTF-16": ("age,ill\n1,no\n".encode("utf-16"), ["UTF-16", "save it as UTF-8"]),
    "only target": (b"ill\nno\nyes\n", ["only column", "at least one feature"]),
    "endless quote": (b'age,ill\n1,"no\n2,yes\n', ["line 3", "repair the line or its quotes"]),
}


@pytest.mark.parametrize(("text", "words"), TEXTS.values(), ids=TEXTS)
def test_bad_files(folder, capsys, text, words):
    Path("bad.csv").write_bytes(text)
    message = train(capsys, "bad.csv")
    assert "bad.csv" in message or "'ill'" in message
    assert all(word in message for word in words), message


SOURCES = {
    "none.csv": ["there is no file"],
    "god.csv": ["did you mean 'good.csv'"],
    ".": ["is a directory", "name a file"],
    "notes.docx": ["unknown kind of file", "use .csv"],
    "sklearn:nothing": ["choose one of", "iris"],
    "bad.npz": ["damaged"],
    "bad.parquet": ["no Parquet file"],
}


@pytest.mark.parametrize(("source", "words"), SOURCES.items(), ids=SOURCES)
def test_bad_sources(folder, capsys, source, words):
    for name in ("notes.docx", "bad.npz", "bad.parquet"):
        Path(name).write_bytes(b"something else")
    message = train(capsys, source)
    assert all(word in message for word in words), message


OPTIONS = {
    "--weight-bound 0": ["'0'", "1 to 127", "ternary"],
    "--weight-bound -1": ["'-1'", "1 to 127"],
    "--weight-bound 1000": ["'1000'", "1 to 127"],
    "--weight-bound abc": ["'abc'", "1 to 127"],
    "--weight-bound 1.5": ["'1.5'", "1 to 127"],
    "--bias-bound 128": ["'128'", "1 to 127", "none", "auto"],
    "--hidden 0": ["positive whole numbers", "16,16"],
    "--hidden 4,,4": ["positive whole numbers", "16,16"],
    "--hidden many": ["positive whole numbers", "16,16"],
    "--time-limit -1": ["time limit", "-1", "from 0 up"],
    "--time-limit nan": ["time limit", "nan"],
    "--time-limit soon": ["--time-limit", "number"],
    "--node-limit -5": ["node limit", "-5"],
    "--memory-limit 0": ["memory limit", "at least 1"],
    "--threads 0": ["at least one thread"],
    "--seed -1": ["--seed"],
    "--seed 99999999999": ["--seed"],
    "--max-nonzeros -1": ["max_nonzeros", "at least 0"],
    "--max-nonzeros 1 --weight-bound binary": ["binary", "use ternary"],
    "--neuron-price 1": ["hidden layer"],
    "--nonzero-price -1": ["--nonzero-price", "0 to 1e9"],
    "--nonzero-price inf": ["--nonzero-price", "0 to 1e9"],
    "--temperature 0": ["temperature", "1e-6..1e6"],
    "--temperature nan": ["temperature", "1e-6..1e6"],
    "--loss hinge": ["'hinge'", "choose one of", "logistic"],
    "--solver cplex": ["'cplex'", "choose one of", "cpsat"],
    "--solver convex --hidden 2": ["does not apply", "choose solver"],
    "--quantize fine": ["'fine'", "grid, thermometer"],
    "--grid-steps 0": ["steps", "1..2^30"],
    "--bits 0 --quantize thermometer": ["bits", "1..64"],
    "--categorical jobb": ["'jobb'", "did you mean 'job'"],
    "--drop nothing": ["'nothing'", "the columns are"],
    "--drop ill": ["'ill' is the target"],
    "--drop age --drop job": ["all features are dropped", "keep at least one"],
    "--target il": ["'il'", "did you mean 'ill'"],
    "--colour red": ["--colour"],
    "extra": ["extra"],
}


@pytest.mark.parametrize(("options", "words"), OPTIONS.items(), ids=OPTIONS)
def test_absurd_options(folder, capsys, options, words):
    message = train(capsys, "good.csv", *options.split())
    assert all(word in message for word in words), message


def test_target_must_be_named(folder, capsys):
    assert "--target; the columns are: age, job, ill" in refused(capsys, "train", "good.csv", *QUICK)


@pytest.mark.parametrize("arguments", [["trian"], ["predict"], ["predict", "a"], ["--nonsense"], ["train"]], ids=str)
def test_usage_errors_are_exit_code_1(capsys, arguments):
    assert "--help" in refused(capsys, *arguments)


def test_openml_without_network(folder, capsys, monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("sklearn.datasets._openml.urlopen", offline)
    message = train(capsys, "openml:adult")
    assert "does not answer" in message
    assert "download the set elsewhere" in message


def test_more_samples_than_memory(folder, capsys, monkeypatch):
    monkeypatch.setattr("provenn._table_checks.COPIES", 10**15)
    message = train(capsys, "good.csv")
    assert "GiB of memory" in message
    assert "use fewer rows" in message or "drop the column" in message


ROWS = {
    "unseen category": (
        {"job": ["x", "baker", "x", "y", "x", "y"]},
        ["'job'", "row 2", "'baker'", "known are 'x', 'y'"],
    ),
    "text in numbers": ({"age": ["1", "2", "3", "old", "5", "6"]}, ["'age'", "row 4", "'old'", "not a number"]),
    "missing": ({"age": [1, 2, 3, 4, None, 6]}, ["'age'", "row 5", "missing"]),
    "infinite": ({"age": [1, 2, 3, 4, np.inf, 6]}, ["'age'", "row 5", "infinite"]),
}


@pytest.mark.parametrize(("columns", "words"), ROWS.values(), ids=ROWS)
def test_bad_rows_at_predict_time(folder, capsys, trained, columns, words):
    Path("m.json").write_text(trained)
    for command in ("predict", "verify"):
        message = refused(capsys, command, "m.json", csv(**columns))
        assert all(word in message for word in words), message


def test_missing_columns_at_predict_time(folder, capsys, trained):
    Path("m.json").write_text(trained)
    GOOD.rename(columns={"age": "ages"}).to_csv("bad.csv", index=False)
    message = refused(capsys, "predict", "m.json", "bad.csv")
    assert "lack the column 'age'" in message
    assert "did you mean 'ages'" in message
    GOOD.drop(columns="ill").to_csv("bad.csv", index=False)
    assert "needs the target column 'ill'" in refused(capsys, "verify", "m.json", "bad.csv")


def test_unknown_label_at_verify_time(folder, capsys, trained):
    Path("m.json").write_text(trained)
    message = refused(capsys, "verify", "m.json", csv(ill=["no", "yes", "dead", "no", "no", "yes"]))
    assert "row 3: the label 'dead' was not among the training labels 'no', 'yes'" in message


@pytest.mark.parametrize("command", ["predict", "verify", "report"])
def test_bad_model_files(folder, capsys, trained, command):
    network = json.dumps(json.loads(trained)["network"])
    cases = {
        "truncated": (trained[:-200].encode(), "damaged or not JSON"),
        "flipped": (trained.replace('"age"', '"agf"', 1).encode(), "damaged or was edited"),
        "foreign": (b'{"model": "onnx"}', "no model of provenn"),
        "network": (network.encode(), "no model of provenn"),
        "list": (b"[]", "no model of provenn"),
        "newer": (trained.replace('"version": 1', '"version": 9', 1).encode(), "install the release that wrote it"),
        "pickle": (pickle.dumps({"format": "provenn-model"}), "m.json"),
        "binary": (bytes(range(256)), "cannot read"),
        "empty": (b"", "damaged or not JSON"),
    }
    more = [] if command == "report" else ["good.csv"]
    for name, (content, words) in cases.items():
        Path("m.json").write_bytes(content)
        message = refused(capsys, command, "m.json", *more)
        assert words in message, name
        assert "m.json" in message, name
    assert "cannot read" in refused(capsys, command, "nowhere.json", *more)
    assert "cannot read" in refused(capsys, command, ".", *more)


def test_unwritable_output(folder, capsys, trained):
    Path("m.json").write_text(trained)
    for arguments in (["train", "good.csv", "--target", "ill"], ["predict", "m.json", "good.csv"]):
        for output, words in [
            ("missing/out.json", "there is no directory"),
            (".", "is a directory"),
            ("good.csv/out.json", "there is no directory"),
            ("good.csv", "is an input of this command"),
        ]:
            message = refused(capsys, *arguments, "-o", output)
            assert words in message
            assert "-o" in message
    assert Path("good.csv").read_text() == GOOD.to_csv(index=False)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_output_in_a_read_only_directory(folder, capsys):
    (folder / "locked").mkdir(mode=0o500)
    assert "not writable" in train(capsys, "good.csv", "-o", "locked/m.json")


def test_output_is_checked_before_reading(folder, capsys):
    assert "no directory" in train(capsys, "none.csv", "-o", "missing/m.json")


def test_a_failed_run_keeps_the_old_output(folder, capsys, monkeypatch):
    Path("m.json").write_text("precious")
    train(capsys, "none.csv", "-o", "m.json")
    train(capsys, csv(ill=["no"] * 6), "-o", "m.json")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in train(capsys, "good.csv", "-o", "m.json")
    assert Path("m.json").read_text() == "precious"
    assert sorted(p.name for p in folder.iterdir()) == ["bad.csv", "good.csv", "m.json"]


def test_a_real_process_shows_no_traceback(folder):
    done = subprocess.run(
        [sys.executable, "-m", "provenn.cli", "train", "-", "--target", "y"],
        input=b"\x00\x01\x02", capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr
    assert b"standard input is a binary file" in done.stderr
