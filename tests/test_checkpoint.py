"""Checkpoints: what is written comes back, and nothing else is believed."""

import hashlib
import json
from itertools import pairwise

import numpy as np
import pytest

from provenn.errors import InputError, ModelFileError
from provenn.formulations import Problem
from provenn.formulations.sparsity import Sparsity
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.milp import Limits
from provenn.network import Architecture, IntegerDomain
from provenn.status import Status
from provenn.testing.toys import random_dataset, random_network
from provenn.trainers._base import Record
from provenn.trainers.checkpoint import Checkpoint
from provenn.trainers.portfolio import Portfolio

LAST_MOMENT = 0.05
"""Seconds between the last checkpoint and the result, which a resumed training does not know of."""


def toy(seed=0, loss=None, domain=None, constraints=(), n=12):
    data = random_dataset(np.random.default_rng(seed), n, 3, 2, 10)
    shape = Architecture.build(3, 2, (2,), domain or IntegerDomain.ternary())
    return Problem(shape, data, loss or MaxCorrect(), constraints)


@pytest.fixture
def written(tmp_path):
    """A checkpoint of a toy with a network, a bound below its loss and a history."""
    problem, rng = toy(), np.random.default_rng(1)
    record = Record(problem)
    record.begin(None)
    for _ in range(20):
        record.offer(random_network(rng, problem))
    record.raise_bound(0, "a prover")
    file = Checkpoint(tmp_path / "run.json")
    file.write(record, rounds=7)
    return problem, record, file


def changed(file, change, sign=True):
    """Change the data of a checkpoint, with a fitting checksum when signed."""
    data = json.loads(file.path.read_text())
    data.pop("checksum")
    change(data)
    text = json.dumps(data, sort_keys=True)
    checksum = hashlib.sha256(text.encode()).hexdigest() if sign else "0" * 64
    file.path.write_text(json.dumps({**data, "checksum": checksum}))


def test_everything_comes_back(written):
    problem, record, file = written
    saved = file.read(problem)
    assert saved.network.equals(record.network)
    assert (saved.loss, saved.claims, saved.rounds) == (record.loss, {"a prover": 0}, 7)
    assert [(p.loss, p.bound) for p in saved.history] == [(p.loss, p.bound) for p in record.history]
    again = Record(problem)
    saved.enter(again)
    assert (again.loss, again.bound, again.proved_by) == (record.loss, 0, "a prover")
    assert again.seconds >= saved.seconds > 0
    assert again.elapsed < again.seconds
    assert again.history[-1].network.equals(record.network)


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"seed": 5}, "the data"),
        ({"loss": Logistic()}, "the loss"),
        ({"loss": MaxCorrect("published")}, "the loss"),
        ({"domain": IntegerDomain.symmetric(3)}, "weight domain"),
        ({"constraints": (Sparsity(0.5),)}, "side constraints"),
    ],
)
def test_the_checkpoint_of_another_problem_is_refused_and_the_message_says_what_differs(written, other, what):
    with pytest.raises(InputError, match=what):
        written[2].read(toy(**other))


def test_every_cut_and_every_flipped_byte_is_refused(written, rng):
    problem, _, file = written
    whole = file.path.read_bytes()
    for cut in rng.integers(0, len(whole) - 2, 20):
        file.path.write_bytes(whole[:cut])
        with pytest.raises(ModelFileError):
            file.read(problem)
    for place in rng.integers(0, len(whole) - 2, 40):
        broken = bytearray(whole)
        broken[place] = ord("7") if broken[place] != ord("7") else ord("8")
        file.path.write_bytes(bytes(broken))
        with pytest.raises(InputError):
            file.read(problem)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(loss=d["loss"] - 1), "has the loss"),
        (lambda d: d.update(claims={"a prover": d["loss"] + 1}), "bound above"),
        (lambda d: d.update(claims={"a prover": 0.5}), "whole number"),
        (lambda d: d.update(network=None), "without a network"),
        (lambda d: d.update(seconds=-1.0), "times"),
        (lambda d: d.pop("history"), "history"),
        (lambda d: d["network"]["weights"][0][0].__setitem__(0, 99), "domain"),
        (lambda d: d.update(version=2), "version 2"),
        (lambda d: d.update(format="provenn-network"), "not a checkpoint"),
    ],
)
def test_a_file_that_was_tampered_with_and_signed_again_is_refused(written, change, words):
    problem, _, file = written
    changed(file, change)
    with pytest.raises(ModelFileError, match=words):
        file.read(problem)


def test_a_bound_without_a_fitting_checksum_is_refused(written):
    problem, record, file = written
    changed(file, lambda d: d.update(claims={"a prover": record.loss}), sign=False)
    with pytest.raises(ModelFileError, match="checksum"):
        file.read(problem)


def test_an_existing_file_is_never_overwritten_by_a_new_training(written, tmp_path):
    problem, _, file = written
    before = file.path.read_bytes()
    with pytest.raises(InputError, match="resume"):
        Portfolio(checkpoint=str(file.path)).train(problem, Limits(seconds=5))
    assert file.path.read_bytes() == before
    with pytest.raises(InputError, match="another problem"):
        Portfolio(checkpoint=str(file.path), resume=True).train(toy(seed=9), Limits(seconds=5))
    assert file.path.read_bytes() == before
    with pytest.raises(InputError, match="checkpoint=PATH"):
        Portfolio(resume=True).train(problem, Limits(seconds=5))
    nowhere = Portfolio(checkpoint=str(tmp_path / "missing" / "run.json"))
    with pytest.raises(InputError, match="cannot write"):
        nowhere.train(problem, Limits(seconds=5))


def test_a_proven_training_resumes_at_its_end(tmp_path):
    problem, path = toy(), str(tmp_path / "run.json")
    trainer = Portfolio(checkpoint=path, resume=True)
    first = trainer.train(problem, Limits(seconds=60))
    assert first.status is Status.OPTIMAL
    second = trainer.train(problem, Limits(seconds=0))
    assert second.status is Status.OPTIMAL
    assert second.certificate == first.certificate
    assert second.network.equals(first.network)
    assert second.seconds > first.seconds - LAST_MOMENT


def test_a_resumed_training_is_never_worse_and_its_bounds_never_fall(tmp_path):
    problem, path = toy(loss=Logistic(), n=40, domain=IntegerDomain.symmetric(3)), str(tmp_path / "run.json")
    trainer = Portfolio(checkpoint=path, resume=True)
    losses, bounds, seconds, history = [], [], [], ()
    for _ in range(3):
        result = trainer.train(problem, Limits(seconds=1.5))
        losses.append(result.certificate.loss)
        bounds.append(result.certificate.bound or 0)
        seconds.append(result.seconds)
        before = [(p.loss, p.bound) for p in history[:-1]]
        assert [(p.loss, p.bound) for p in result.history][: len(before)] == before
        history = result.history
    assert losses == sorted(losses, reverse=True)
    assert bounds == sorted(bounds)
    assert all(after > before - LAST_MOMENT for before, after in pairwise(seconds))


def test_nothing_is_told_before_it_is_on_disk(tmp_path):
    problem, path = toy(loss=Logistic(), n=40), tmp_path / "run.json"
    file, told = Checkpoint(path), []

    def listen(progress):
        saved = file.read(problem)
        told.append(progress)
        assert saved.loss <= progress.loss
        assert progress.bound is None or max(saved.claims.values()) >= progress.bound

    result = Portfolio(checkpoint=str(path)).train(problem, Limits(seconds=3), on_progress=listen)
    assert told[-1].loss == result.certificate.loss
    assert told[-1].bound == result.certificate.bound
