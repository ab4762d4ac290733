"""Step units, continuous weights, perturbations and proofs at the estimator and the command line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from provenn import IntegerNetworkClassifier
from provenn.cli import main
from provenn.encoding import Feature
from provenn.errors import InputError
from provenn.model_file import load_model, save_model
from provenn.perturbation import Perturbation

FEATURES = [Feature("age", "age", "grid"), Feature("job = x", "job", "category"), Feature("job = y", "job", "category")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    age, visits = rng.normal(50, 10, 60).round(1), rng.integers(0, 9, 60)
    frame = pd.DataFrame({"age": age, "visits": visits, "job": rng.choice(["x", "y"], 60)})
    frame["ill"] = np.where(age / 10 + visits > 9, "yes", "no")
    frame.to_csv("data.csv", index=False)
    return tmp_path


def run(capsys, *argv, code=0):
    found = main([*map(str, argv), "--json"])
    captured = capsys.readouterr()
    assert found == code, captured.err
    return json.loads(captured.out)


@pytest.mark.parametrize("weights", ["continuous", "continuous,integer", "integer,continuous"])
def test_step_networks_train_save_predict_and_verify(folder, capsys, weights):
    train = ("train", "data.csv", "--target", "ill", "--hidden", "2", "--activation", "step", "--loss", "max_correct")
    result = run(capsys, *train, "--weights", weights, "--time-limit", "20", "-o", "m.json", "-q")
    model = load_model("m.json")
    layers = model.network.architecture.layers
    assert layers[0].activation == "step"
    assert [layer.continuous for layer in layers] == [kind == "continuous" for kind in (weights.split(",") * 2)[:2]]
    assert run(capsys, "verify", "m.json", "data.csv")["agrees"]
    frame = pd.read_csv("data.csv")
    assert np.mean(model.predict(frame) == frame["ill"]) == pytest.approx(result["train_accuracy"])
    assert result["loss"] == pytest.approx(60 * (1 - result["train_accuracy"]), abs=1e-9)
    assert result["loss"] <= 3


def test_robust_neuron_is_proven_and_withstands_what_it_was_trained_for(folder, capsys):
    train = ("train", "data.csv", "--target", "ill", "--weight-bound", "3", "--temperature", "0.5", "-q")
    losses = []
    for radius in (0.0, 0.03, 0.08):
        more = ("--robust-radius", radius, "--robust-exclude", "categorical")
        result = run(capsys, *train, *more, "-o", f"m{radius}.json")
        assert result["optimal"]
        losses.append(result["loss"])
        assert run(capsys, "verify", f"m{radius}.json", "data.csv")["agrees"]
    assert losses == sorted(losses)
    found = run(capsys, "verify", "m0.08.json", "data.csv", "--radius", "0.08", "--exclude", "categorical")
    assert found["certified_accuracy"] <= found["attacked_accuracy"] <= found["accuracy"]
    assert found["robustness"]["samples"] == 60
    assert found["robustness"]["radius"][2:] == [0, 0]


def test_other_data_are_certified_without_a_complaint(folder, capsys):
    run(capsys, "train", "data.csv", "--target", "ill", "--temperature", "1", "-o", "m.json", "-q")
    pd.read_csv("data.csv").head(20).to_csv("new.csv", index=False)
    assert not run(capsys, "verify", "m.json", "new.csv", code=1)["agrees"]
    found = run(capsys, "verify", "m.json", "new.csv", "--radius", "0.01")
    assert not found["training_data"]
    assert found["robustness"]["samples"] == 20


@pytest.mark.parametrize("rule", ["pattern", "worst_case"])
def test_robust_hidden_layers(folder, capsys, rule):
    train = ("train", "data.csv", "--target", "ill", "--hidden", "1", "--loss", "max_correct", "--drop", "job", "-q")
    more = ("--robust-radius", "0.02", "--robust-rule", rule, "--robust-price", "0.5", "--time-limit", "8")
    result = run(capsys, *train, *more, "-o", "m.json")
    assert run(capsys, "verify", "m.json", "data.csv")["agrees"]
    found = run(capsys, "verify", "m.json", "data.csv", "--radius", "0.02")
    wrong = round(60 * (1 - found["certified_accuracy"]))
    assert wrong <= (result["loss"] if rule == "worst_case" else 2 * result["loss"])


BAD = {
    "negative radius": (("--robust-radius", "-0.1"), ["--robust-radius", "0 to 1"]),
    "radius beyond the data": (("--robust-radius", "1.5"), ["--robust-radius", "range"]),
    "norm": (("--robust-radius", "0.1", "--robust-norm", "3"), ["--robust-norm", "inf, 1, 2"]),
    "rule": (("--robust-radius", "0.1", "--robust-rule", "pattern"), ["hidden", "worst_case"]),
    "column": (("--robust-radius", "0.1", "--robust-exclude", "aeg"), ["'aeg'"]),
    "solver without continuous": (("--weights", "continuous", "--solver", "cpsat"), ["highs", "scip"]),
    "parts": (("--hidden", "2", "--solver", "splitting", "--parts", "500"), ["more parts than samples"]),
    "no parts": (("--hidden", "2", "--solver", "splitting", "--parts", "0"), ["max_parts", "at least 1"]),
    "parts elsewhere": (("--parts", "3"), ["splitting"]),
    "budget": (("--max-nonzeros", "0"), ["max_nonzeros=0", "at least 1"]),
    "fan-in": (("--fan-in", "0"), ["fan_in=0"]),
    "kind": (("--weights", "real"), ["--weights", "integer, continuous"]),
    "kinds": (("--weights", "continuous,integer"), ["2 layers", "1"]),
    "activation": (("--hidden", "1", "--activation", "relu"), ["--activation", "sign, step"]),
    "box": (("--weights", "continuous", "--weight-bound", "0"), ["--weight-bound"]),
    "price": (("--l1-price", "-1"), ["--l1-price"]),
    "proof": (
        ("--hidden", "1", "--loss", "max_margin", "--proof", "p.json"),
        ["no kind of proofs", "MaxMargin", "--proof"],
    ),
    "min_hinge": (("--weights", "continuous", "--loss", "min_hinge"), ["min_hinge", "continuous"]),
    "max_margin": (("--weights", "continuous", "--loss", "max_margin"), ["max_margin", "integer weights"]),
}


@pytest.mark.parametrize(("options", "words"), BAD.values(), ids=BAD)
def test_bad_options_are_refused_before_any_work(folder, capsys, options, words):
    found = run(capsys, "train", "data.csv", "--target", "ill", "-q", *options, code=1)
    assert all(word in found["error"] for word in words), found["error"]
    assert not Path("p.json").exists()


def test_radii():
    assert Perturbation.of({"age": 0.5}, 2, (), FEATURES, 100) == Perturbation((50, 0, 0), "2")
    assert Perturbation.of([0.011, 0, 1], "1", (), FEATURES, 100) == Perturbation((2, 0, 100), "1")
    assert Perturbation.of(0.1, float("inf"), ("job",), FEATURES, 100) == Perturbation((10, 0, 0), "inf")
    assert Perturbation.of(0.0, "inf", (), FEATURES, 100) is None
    for radius in (-0.1, 1.1, float("nan"), True, "0.1", [0.1], {"aeg": 0.1}):
        with pytest.raises(InputError):
            Perturbation.of(radius, "inf", (), FEATURES, 100)
    for norm in ("l2", 3, None, 0.5):
        with pytest.raises(InputError, match="robust_norm"):
            Perturbation.of(0.1, norm, (), FEATURES, 100)


def test_models_keep_what_they_were_trained_for(tmp_path):
    X = pd.DataFrame({"a": [0.0, 0.2, 0.5, 0.9], "b": [1.0, 0.1, 0.3, 0.4]})
    model = IntegerNetworkClassifier(
        weights="continuous", weight_bound=2.5, robust_radius={"a": 0.05}, robust_norm=1, temperature=1.0,
        time_limit=20,
    ).fit(X, [0, 0, 1, 1])  # fmt: skip
    save_model(tmp_path / "m.json", model)
    again = load_model(tmp_path / "m.json").estimator
    assert again.get_params()["robust_radius"] == {"a": 0.05}
    assert again.predict_proba(X) == pytest.approx(model.predict_proba(X))
    assert again.network_.equals(model.network_)


def test_proofs_are_written_and_checked_without_anything_installed(folder, capsys):
    result = run(capsys, "train", "data.csv", "--target", "ill", "--temperature", "1", "--proof", "ill.json", "-q")
    assert result["proof"]["written"]
    assert result["model"] == "ill.model.json"
    assert run(capsys, "check", "ill.json", "ill.model.json", "data.csv")["accepted"]
    checker = Path(sys.modules["provenn"].__file__).with_name("check_proof.py")
    alone = [sys.executable, "-S", "-I", str(checker), "ill.json", "ill.model.json", "data.csv"]
    assert subprocess.run(alone, capture_output=True, check=False).returncode == 0
    told = json.loads(Path("ill.json").read_text())
    Path("ill.json").write_text(json.dumps({**told, "bound": told["bound"] + 1}))
    assert not run(capsys, "check", "ill.json", "ill.model.json", "data.csv", code=1)["accepted"]
    assert "no file" in run(capsys, "check", "ill.json", "ill.model.json", "none.csv", code=1)["error"]
