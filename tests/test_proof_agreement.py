"""Proofs for one neuron whose errors are counted: what is true is accepted, what was tampered with is not."""

import itertools
import json
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest

from provenn import check_proof
from provenn.bounds._agreement_proof import NODES_AT_ONCE, grow_tree, signs_of
from provenn.bounds.agreement import AgreementProblem, minimise
from provenn.errors import InputError
from provenn.formulations.sparsity import Sparsity
from provenn.losses.hamming import Hamming
from provenn.losses.max_correct import MaxCorrect
from provenn.milp import Limits
from provenn.proofs import as_proof, merged_data, obstacle, write_proof
from provenn.proofs._agreement import AGREEMENT
from provenn.tables import read_table
from provenn.testing.proof_cases import (
    CHECKER,
    assert_checked_alone,
    assert_rejected,
    case_of,
    early_leaf,
    fingerprints_changed,
    label_flipped,
    model_of,
    provable,
    put,
    risk_table,
    row_doubled,
    run_alone,
    signed,
    train,
)
from provenn.testing.toys import odd_problem, optimum

HEART = Path(__file__).parents[2] / "shared" / "data" / "heart" / "heart.csv"


OPTIONS = {"loss": "max_correct", "random_state": 0}


def trained(folder, **options):
    """Return the case of a table with 24 rows."""
    return case_of(folder, risk_table(24, 1), "agreement", **{**OPTIONS, "weight_bound": 2, "bias_bound": 2, **options})


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proofs")
    return {
        "plain": trained(folder / "plain"),
        "signs": trained(folder / "signs", feature_signs={"visits": 1, "age": 1}),
        "weighted": trained(folder / "weighted", loss="hamming", class_weight={"high": 2.5, "low": 1.0}),
        "wide": trained(folder / "wide", weight_bound=1, bias_bound="auto", quantize="thermometer", bits=2),
    }


@pytest.fixture
def case(cases, tmp_path):
    return lambda name="plain": cases[name].copy_to(tmp_path)


def test_runs_without_any_package(cases):
    assert_checked_alone(cases)


def test_what_the_cases_are_for(cases):
    """Without moves, splits and pairs of samples the tampering below would show nothing."""
    proof = cases["plain"].proof
    assert any(node < 0 for node in proof["tree"])
    assert len(proof["tree"]) > 40
    assert 0 < proof["bound"] == proof["loss"]


@pytest.mark.shared
@pytest.mark.skipif(not HEART.exists(), reason="needs the data beside the project")
def test_heart(tmp_path):
    files = [tmp_path / name for name in ("proof.json", "model.json", "heart.csv")]
    read_table(str(HEART)).frame.sample(80, random_state=0).to_csv(files[2], index=False)
    _, report = train(tmp_path, files[2], "target", **OPTIONS)
    assert report.written, report.message
    found = run_alone(CHECKER, *files)
    assert "ACCEPTED: optimal" in found.stdout, found.stdout + found.stderr


@pytest.mark.parametrize("seed", range(4))
def test_proofs_of_toys_equal_brute_force(seed):
    rng, tight = np.random.default_rng(seed), 0

    def draw():
        loss = [MaxCorrect(), Hamming(), MaxCorrect("published")][rng.integers(3)]
        return odd_problem(rng, loss, (), int(rng.integers(3, 16)), int(rng.integers(1, 5)), 5000)

    for problem, network in itertools.islice(provable(rng, AGREEMENT, draw), 25):
        best, model = optimum(problem), model_of(problem, network)
        proof = json.loads(json.dumps(as_proof(model, "agreement", AGREEMENT.prove(problem, network, Limits()))))
        found = check_proof.check(proof, model, merged_data(problem.dataset))
        assert found["loss"] == problem.value(network)
        assert found["bound"] == best or (problem.constraints and found["bound"] < best)
        for bound in {best + 1, found["loss"]} - {best}:
            with pytest.raises(check_proof.RejectedError):
                check_proof.check({**proof, "bound": bound}, model, merged_data(problem.dataset))
        tight += found["bound"] == best
    assert tight > 20


def random_neuron(rng):
    n, d = int(rng.integers(2, 12)), int(rng.integers(1, 5))
    X = rng.integers(-3, 4, (n, d)) if rng.random() < 0.5 else rng.integers(0, 2, (n, d))
    low, high, step = [(-1, 1, 1), (-1, 1, 2), (-2, 2, 1), (0, 2, 1), (-1, 2, 1), (-3, 3, 2)][rng.integers(6)]
    bias = [None, (-1, 1, 1), (-2, 4, 2), (0, 0, 1)][rng.integers(4)]
    t, cost = rng.choice([-1, 1], n), rng.integers(0, 5, n) * rng.integers(1, 100)
    box = np.full(d, low), np.full(d, high)
    return AgreementProblem(X, t, cost, int(rng.integers(1, 3)), *box, step, bias, int(rng.choice([-1, 1])))


def all_patterns(problem):
    """Return the signs of all neurons with their costs."""
    weights = [range(a, b + 1, problem.step) for a, b in zip(problem.low, problem.high, strict=True)]
    low, high, step = problem.bias or (0, 0, 1)
    found = {}
    for *w, b in itertools.product(*weights, range(low, high + 1, step)):
        found[tuple(problem.pattern(np.array(w), b).tolist())] = problem.value(np.array(w), b)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_lists_hold_all_signs_up_to_a_cost(seed):
    rng = np.random.default_rng(seed)
    for _ in range(40):
        problem = random_neuron(rng)
        costs = all_patterns(problem)
        bound = min(costs.values())
        listed = int(rng.integers(bound, max(costs.values()) + 2))
        signs = signs_of(problem, every=listed > bound)
        tree = grow_tree(signs, bound, listed, inf)
        found = check_proof.SignTree(signs, tree).check(tree["tree"])
        assert found == {signs: cost for signs, cost in costs.items() if cost < listed}
        false = {**tree, "bound": bound + 1, "listed": max(listed, bound + 1)}
        with pytest.raises(check_proof.RejectedError):
            check_proof.SignTree(signs, false).check(tree["tree"])


def test_no_tree_for_what_is_false_or_late():
    rng = np.random.default_rng(5)
    problem = random_neuron(rng)
    bound = min(all_patterns(problem).values())
    assert grow_tree(signs_of(problem), bound + 1, bound + 1, inf) is None
    X, ones, box = rng.integers(0, 99, (40, 12)), np.ones(40, dtype=np.int64), np.ones(12, dtype=np.int64)
    large = AgreementProblem(X, rng.choice([-1, 1], 40), ones, 99, -box, box, bias=(-1, 1, 1))
    bound = minimise(large, Limits()).bound
    assert grow_tree(signs_of(large), bound, bound, 0.0) is None
    assert len(grow_tree(signs_of(large), bound, bound, inf)["tree"]) > NODES_AT_ONCE


def test_time_that_is_up_gives_a_smaller_bound(cases, tmp_path):
    estimator, report = train(tmp_path, cases["plain"].paths[2], "risk", Limits(seconds=0), **OPTIONS)
    assert report.written
    assert report.bound < estimator.certificate_.bound
    assert "give the search more time" in report.message


def test_obstacles():
    rng = np.random.default_rng(0)
    problem = None
    while problem is None or problem.architecture.n_outputs > 1 or not problem.architecture.layers[0].weights.has_zero:
        problem = odd_problem(rng, MaxCorrect(), (), 6, 2, 5000)
    problem = replace(problem, constraints=())
    assert AGREEMENT.obstacle(problem) is None
    priced = replace(problem, constraints=(Sparsity(0.5),))
    assert "Sparsity is a price" in AGREEMENT.obstacle(priced)
    with pytest.raises(InputError, match="there is no kind of proofs"):
        write_proof("p.json", "m.json", priced, None, Limits())
    assert obstacle(problem) is None


TAMPERING = dict(
    drop_leaf=lambda c: c.proof["tree"].pop(),
    drop_first_node=lambda c: c.proof["tree"].pop(0),
    double_leaf=lambda c: c.proof["tree"].append(0),
    one_leaf=lambda c: c.proof.update(tree=[0]),
    no_tree=lambda c: c.proof.update(tree=[]),
    tree_is_none=lambda c: c.proof.update(tree=None),
    text_in_tree=lambda c: put("1", c.proof["tree"], 3),
    split_nothing=lambda c: put(c.proof["tree"][0] + 100 * len(c.proof["rank"]), c.proof["tree"], 0),
    split_other_entry=lambda c: put(1 + c.proof["tree"][0] % len(c.proof["rank"]), c.proof["tree"], 0),
    early_leaf=lambda c: early_leaf(c.proof["tree"]),
    leaf_by_move=lambda c: put(-1, c.proof["tree"], c.proof["tree"].index(0)),
    unknown_move=lambda c: put(-1 - len(c.proof["moves"]), c.proof["tree"], c.proof["tree"].index(0)),
    move_changes_scores=lambda c: put(c.proof["moves"][0][0] + 1, c.proof["moves"], 0, 0),
    move_of_nothing=lambda c: put([0] * len(c.proof["rank"]), c.proof["moves"], 0),
    rank_of_nothing=lambda c: c.proof.update(rank=[0] * len(c.proof["rank"])),
    rank_turned=lambda c: c.proof.update(rank=[-r for r in c.proof["rank"]]),
    short_rank=lambda c: c.proof["rank"].pop(),
    bound_raised=lambda c: c.claim(c.proof["bound"] + 1),
    bound_in_fractions=lambda c: c.claim(c.proof["bound"] - 0.5),
    bound_is_text=lambda c: c.claim(str(c.proof["bound"])),
    list_asked_for=lambda c: c.proof.update(listed=c.proof["bound"] + 1),
    model_edited=lambda c: c.model.update(message="better"),
    label_flipped=label_flipped,
    row_doubled=row_doubled,
    kind_changed=lambda c: c.proof.update(kind="hull"),
) | signed(
    bound_and_loss_raised=lambda c: c.claim(c.proof["bound"] + 1, c.proof["bound"] + 1),
    weight_changed=lambda c: put([[0] for _ in c.weights[0]], c.weights, 0),
    weight_out_of_domain=lambda c: put(3, c.weights, 0, 0, 0),
    weight_of_wrong_sign=lambda c: c.model["options"].update(
        feature_signs=[-1 if row[0] > 0 else 1 for row in c.weights[0]]
    ),
    too_many_weights=lambda c: c.model["options"].update(max_nonzeros=1),
    too_many_weights_in_a_neuron=lambda c: c.model["options"].update(fan_in=1),
    loss_changed=lambda c: c.model.update(loss={"name": "logistic", "options": {"temperature": 1.0}}),
    codes_turned=lambda c: c.model.update(loss={"name": "hamming", "options": {"codes": [[1], [0]]}}),
    domain_widened=lambda c: c.layers[0]["weights"].update(low=-9, high=9),
    bias_widened=lambda c: c.layers[0]["bias"].update(low=-40, high=40),
    layer_added=lambda c: c.layers.append(dict(c.layers[0], n_in=1)),
    price_added=lambda c: c.model["options"].update(nonzero_price=0.5),
    radius_added=lambda c: c.model["options"].update(robust_radius=0.5),
    unknown_option=lambda c: c.model["options"].update(robust_something=1),
    class_weights_changed=lambda c: c.model["options"].update(class_weight=[["high", 2.0]]),
    fingerprints_changed=fingerprints_changed,
)


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_is_rejected(case, name):
    assert case().verdict()["accepted"]
    assert_rejected(case(), TAMPERING[name])


def test_every_node_counts(case):
    """No node can be left out, and no leaf can be taken for a leaf by a move."""
    one = case()
    for i in range(len(one.proof["tree"])):
        changed = case()
        changed.proof["tree"].pop(i)
        assert not changed.verdict()["accepted"]


def test_harmless_edits_are_accepted(case):
    one = case()
    one.proof = dict(reversed(one.proof.items()))
    one.proof["rank"] = [3 * r for r in one.proof["rank"]]
    one.proof["moves"].append(one.proof["moves"][0])
    assert one.verdict()["accepted"]
    weaker = case()
    weaker.proof["bound"] -= 1
    found = weaker.verdict()
    assert (found["accepted"], found["optimal"], found["confirms_certificate"]) == (True, False, False)
    lines = case().csv.splitlines()
    shuffled = case()
    shuffled.csv = "\r\n".join([lines[0], *reversed(lines[1:])]) + "\r\n"
    assert shuffled.verdict()["accepted"]
