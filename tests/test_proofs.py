"""Writing proofs, limits on them, and old proofs on new data."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from provenn import check_proof
from provenn.bounds.convex import minimise
from provenn.bounds.convex_proof import OldProof, checked, proof_of, prove_again
from provenn.errors import InputError
from provenn.milp import Limits
from provenn.model_file import save_model
from provenn.proofs import merged_data, obstacle, write_proof
from provenn.testing.proof_cases import Watched, changes, grouped, least, neuron


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(70, 8)), columns=[f"x{i}" for i in range(8)])
    y = np.where(X.sum(axis=1) + rng.normal(0, 2, 70) > 0, "yes", "no")
    estimator = Watched(weight_bound=3, temperature=1.0, random_state=0).fit(X, y)
    save_model(folder / "model.json", estimator)
    return folder, estimator


def test_report_and_file_agree(fitted):
    folder, estimator = fitted
    report = write_proof(folder / "p.json", folder / "model.json", estimator.problem_, estimator.network_, Limits())
    text = (folder / "p.json").read_text()
    proof = json.loads(text)
    assert report.written
    assert (report.message, report.size) == ("", len(text))
    assert report.bound == proof["bound"] == estimator.certificate_.bound
    assert report.nodes == len(proof["outputs"][0]["tree"])
    assert report.points == len(proof["outputs"][0]["points"])
    model = json.loads((folder / "model.json").read_text())
    assert check_proof.check(proof, model, merged_data(estimator.problem_.dataset))["optimal"]


def test_a_proof_too_large_is_not_written(fitted):
    folder, estimator = fitted
    path = folder / "large.json"
    report = write_proof(path, folder / "model.json", estimator.problem_, estimator.network_, Limits(), size_limit=500)
    assert not report.written
    assert not path.exists()
    assert "more than the limit of 500" in report.message
    assert report.size > 500


def test_an_interrupted_search_proves_less_and_says_so(fitted):
    folder, estimator = fitted
    path, limits = folder / "part.json", Limits(nodes=1)
    report = write_proof(path, folder / "model.json", estimator.problem_, estimator.network_, limits)
    assert report.written
    assert 0 < report.bound < estimator.certificate_.bound
    assert "more time" in report.message
    model, proof = (json.loads(p.read_text()) for p in (folder / "model.json", path))
    found = check_proof.check(proof, model, merged_data(estimator.problem_.dataset))
    assert (found["bound"], found["optimal"], found["confirms_certificate"]) == (report.bound, False, False)


def test_another_models_problem_gives_no_file(fitted):
    folder, _ = fitted
    other = Watched(weight_bound=1, temperature=1.0, random_state=0)
    X, y = pd.DataFrame(np.eye(8), columns=[f"x{i}" for i in range(8)]), [0, 1] * 4
    other.fit(X, y)
    path = folder / "other.json"
    report = write_proof(path, folder / "model.json", other.problem_, other.network_, Limits())
    assert not report.written
    assert not path.exists()
    assert "fingerprint" in report.message


def test_losses_without_a_kind_of_proofs_are_refused(fitted):
    folder, estimator = fitted
    hidden = Watched([2], loss="max_margin", random_state=0, time_limit=1)
    hidden.fit(np.eye(6), [0, 1] * 3)
    assert "network: it does not know the loss MaxMargin" in obstacle(hidden.problem_)
    assert obstacle(estimator.problem_) is None
    with pytest.raises(InputError, match=r"no kind of proofs for this problem: convex: .* hull: "):
        write_proof(folder / "x.json", folder / "model.json", hidden.problem_, hidden.network_, Limits())


@pytest.mark.parametrize("options", [{}, {"price": 200_000}, {"budget": 2}, {"hinge": True}])
@pytest.mark.parametrize("seed", range(3))
def test_old_proofs_bound_new_problems_and_start_their_search(seed, options):
    old = neuron(seed, **options)
    result = prove_again(old, None, Limits())
    proof = proof_of(old, result)
    assert proof.bound == least(old)
    assert not OldProof(proof.data, old).proves(proof.bound + 1)
    for new in changes(old, np.random.default_rng(seed)):
        value, reused = least(new), OldProof(proof.data, new)
        assert reused.lower_bound(new.value(result.w, result.b)) <= value
        again = reused.warm_start((result.w, result.b), Limits())
        assert again.value == again.bound == value
        assert new.value(again.w, again.b) == value


def test_moves_of_an_old_proof_are_not_taken_over():
    """Moves keep scores on the old samples only; what they closed is searched again."""
    old = grouped(1, n=60, classes=4, bias=4)
    from provenn.bounds._convex_proof_search import search

    result = search(old, Limits(), None, True)
    proof = proof_of(old, result)
    assert proof.data["moves"]
    new = replace(old, X=old.X + np.random.default_rng(1).integers(0, 2, old.X.shape))
    again = OldProof(proof.data, new).warm_start((result.w, result.b), Limits())
    assert again.value == again.bound == minimise(new, Limits()).value


def test_old_proofs_refuse_other_shapes():
    proof = proof_of(neuron(0), prove_again(neuron(0), None, Limits()))
    with pytest.raises(InputError, match="number of weights"):
        OldProof(proof.data, neuron(0, d=3))
    other = neuron(0, budget=1)
    with pytest.raises(InputError, match="incumbent"):
        OldProof(proof.data, other).warm_start((np.ones(4, dtype=np.int64), 0), Limits())


def test_time_for_writing_ends_with_a_lower_bound_that_still_holds():
    problem = neuron(5, d=6, n=80)
    result = prove_again(problem, None, Limits())
    short = proof_of(problem, result, seconds=0.0)
    assert short.bound <= result.bound
    assert checked(problem, short.data)
    coarse = proof_of(problem, result, bits=2)
    assert coarse.bound == result.bound
    assert checked(problem, coarse.data)
