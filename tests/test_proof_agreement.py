"""Proofs for one neuron whose errors are counted: what is true is accepted, what was tampered with is not."""

import copy
import itertools
import json
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from math import inf
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from provenn import IntegerNetworkClassifier, check_proof
from provenn.bounds._agreement_proof import NODES_AT_ONCE, grow_tree, signs_of
from provenn.bounds.agreement import AgreementProblem, minimise
from provenn.errors import InputError
from provenn.formulations.feature_signs import FeatureSigns
from provenn.formulations.sparsity import Sparsity
from provenn.losses.hamming import Hamming
from provenn.losses.max_correct import MaxCorrect
from provenn.milp import Limits
from provenn.model_file import checksum, save_model
from provenn.network import IntegerNetwork
from provenn.proofs import as_proof, merged_data, obstacle, write_proof
from provenn.proofs._agreement import AGREEMENT
from provenn.tables import read_table, split_target
from provenn.testing.toys import odd_problem, optimum

HEART = Path(__file__).parents[2] / "shared" / "data" / "heart" / "heart.csv"


class Watched(IntegerNetworkClassifier):
    def _prepared(self, problem):
        self.problem_ = problem


def table(n=24, seed=1):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(50, 10, n),
            "visits": rng.integers(0, 9, n),
            "job": rng.choice(["clerk", "smith, old", "cook"], n),
            "ill": rng.random(n) < 0.4,
        }
    )
    score = frame["age"] / 10 + frame["visits"] + 2 * frame["ill"] + rng.normal(0, 2, n)
    return frame.assign(risk=np.where(score > np.median(score), "high", "low"))


@dataclass
class Case:
    """Files of a proof, as JSON data and text."""

    folder: Path
    proof: dict
    model: dict
    csv: str

    def verdict(self):
        paths = [self.folder / name for name in ("p.json", "m.json", "d.csv")]
        for path, text in zip(paths, (json.dumps(self.proof), json.dumps(self.model), self.csv), strict=True):
            path.write_text(text, "utf-8")
        return check_proof.check_files(*map(str, paths))

    def sign(self):
        """Make checksum and ties of a changed model right again, as someone who cheats would."""
        self.model.pop("checksum")
        self.model["checksum"] = self.proof["model"] = checksum(self.model)
        return self


def case_of(folder, name, **options):
    place = folder / name
    place.mkdir()
    csv = place / "data.csv"
    csv.write_text(table().to_csv(index=False), "utf-8")
    features, labels, target = split_target(read_table(str(csv)), "risk")
    chosen = {"loss": "max_correct", "weight_bound": 2, "bias_bound": 2, "random_state": 0, **options}
    estimator = Watched(**chosen).fit(features, labels)
    model, proof = place / "model.json", place / "proof.json"
    save_model(model, estimator, target)
    report = write_proof(proof, model, estimator.problem_, estimator.network_, Limits(seconds=60))
    assert report.written, report.message
    assert (report.message, report.kind) == ("", "agreement")
    return Case(place, *(json.loads(path.read_text("utf-8")) for path in (proof, model)), csv.read_text("utf-8"))


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proofs")
    return {
        "plain": case_of(folder, "plain"),
        "signs": case_of(folder, "signs", feature_signs={"visits": 1, "age": 1}),
        "weighted": case_of(folder, "weighted", loss="hamming", class_weight={"high": 2.5, "low": 1.0}),
        "wide": case_of(folder, "wide", weight_bound=1, bias_bound="auto", quantize="thermometer", bits=2),
    }


@pytest.fixture
def case(cases, tmp_path):
    def fresh(name="plain"):
        found = copy.deepcopy(cases[name])
        found.folder = tmp_path
        return found

    return fresh


def run_alone(*arguments):
    """Run the checker with nothing but the standard library in reach."""
    command = [sys.executable, "-S", "-I", check_proof.__file__, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_runs_without_any_package(cases):
    for case in cases.values():
        paths = [case.folder / name for name in ("proof.json", "model.json", "data.csv")]
        found = run_alone(*paths)
        assert (found.returncode, found.stdout[:19]) == (0, "ACCEPTED: optimal, "), found.stdout + found.stderr
    assert run_alone(cases["signs"].folder / "proof.json", *paths[1:]).returncode == 1


def test_what_the_cases_are_for(cases):
    """Without moves, splits and pairs of samples the tampering below would show nothing."""
    proof = cases["plain"].proof
    assert any(node < 0 for node in proof["tree"])
    assert len(proof["tree"]) > 40
    assert 0 < proof["bound"] == proof["loss"]


@pytest.mark.shared
@pytest.mark.skipif(not HEART.exists(), reason="needs the data beside the project")
def test_heart(tmp_path):
    frame = read_table(str(HEART)).frame.sample(80, random_state=0)
    frame.to_csv(tmp_path / "heart.csv", index=False)
    estimator = Watched(loss="max_correct", random_state=0).fit(frame.drop(columns="target"), frame["target"])
    files = [tmp_path / name for name in ("proof.json", "model.json", "heart.csv")]
    save_model(files[1], estimator, "target")
    report = write_proof(files[0], files[1], estimator.problem_, estimator.network_, Limits(seconds=60))
    assert report.written, report.message
    found = run_alone(*files)
    assert "ACCEPTED: optimal" in found.stdout, found.stdout + found.stderr


def model_of(problem, network):
    """Return what the checker reads of a model file, for a problem that comes from no table."""
    name = type(problem.loss).__module__.rsplit(".", 1)[-1]
    options = {"feature_signs": None, "max_nonzeros": None, "fan_in": None}
    for constraint in problem.constraints:
        if isinstance(constraint, FeatureSigns):
            options["feature_signs"] = list(constraint.signs)
        if isinstance(constraint, Sparsity):
            options.update(max_nonzeros=constraint.max_nonzeros, fan_in=constraint.fan_in)
    model = {
        "format": "provenn-model",
        "version": 1,
        "network": network.to_dict(),
        "loss": {"name": name, "options": {f.name: getattr(problem.loss, f.name) for f in fields(problem.loss)}},
        "options": options,
        "weight_unit": 1,
        "encoding": {"columns": [f"x{i}" for i in range(problem.dataset.n_features)], "categories": {}},
        "certificate": {"loss": problem.value(network), "bound": None, "unit": str(problem.unit)},
        "provenance": {"data_fingerprint": problem.dataset.fingerprint()},
    }
    return {**model, "checksum": checksum(model)}


def some_network(problem, rng):
    """Return a random network that the problem admits, or None where none of a few is."""
    for _ in range(20):
        weights, biases = [], []
        for i, layer in enumerate(problem.architecture.layers):
            W = rng.choice(layer.weights.values, (layer.n_in, layer.n_out))
            if i == 0 and layer.weights.has_zero:
                W[~problem.dataset.live] = 0
            weights.append(W)
            biases.append(rng.choice(layer.bias.values if layer.bias else [0], layer.n_out))
        network = IntegerNetwork.of(problem.architecture, weights, biases, problem.dataset.scale)
        if problem.value(network) is not None:
            return network
    return None


@pytest.mark.parametrize("seed", range(4))
def test_proofs_of_toys_equal_brute_force(seed):
    rng, done, tight = np.random.default_rng(seed), 0, 0
    while done < 25:
        loss = [MaxCorrect(), Hamming(), MaxCorrect("published")][rng.integers(3)]
        problem = odd_problem(rng, loss, (), int(rng.integers(3, 16)), int(rng.integers(1, 5)), 5000)
        if problem is None or AGREEMENT.obstacle(problem) is not None:
            continue
        network = some_network(problem, rng)
        if network is None:
            continue
        best, model = optimum(problem), model_of(problem, network)
        proof = json.loads(json.dumps(as_proof(model, "agreement", AGREEMENT.prove(problem, network, Limits()))))
        found = check_proof.check(proof, model, merged_data(problem.dataset))
        assert found["loss"] == problem.value(network)
        assert found["bound"] == best or (problem.constraints and found["bound"] < best)
        for bound in {best + 1, found["loss"]} - {best}:
            with pytest.raises(check_proof.RejectedError):
                check_proof.check({**proof, "bound": bound}, model, merged_data(problem.dataset))
        done, tight = done + 1, tight + (found["bound"] == best)
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
    frame = read_table(str(cases["plain"].folder / "data.csv")).frame
    estimator = Watched(loss="max_correct", random_state=0).fit(frame.drop(columns="risk"), frame["risk"])
    save_model(tmp_path / "model.json", estimator, "risk")
    files = tmp_path / "proof.json", tmp_path / "model.json"
    report = write_proof(*files, estimator.problem_, estimator.network_, Limits(seconds=0))
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


def drop_leaf(case):
    case.proof["tree"].pop()


def drop_first_node(case):
    case.proof["tree"].pop(0)


def double_leaf(case):
    case.proof["tree"].append(0)


def one_leaf(case):
    case.proof["tree"] = [0]


def no_tree(case):
    case.proof["tree"] = []


def tree_is_none(case):
    case.proof["tree"] = None


def text_in_tree(case):
    case.proof["tree"][3] = "1"


def split_nothing(case):
    case.proof["tree"][0] += 100 * len(case.proof["rank"])


def split_other_entry(case):
    case.proof["tree"][0] = 1 + case.proof["tree"][0] % len(case.proof["rank"])


def early_leaf(case):
    """A leaf in place of the first split of which both branches are leaves."""
    tree = case.proof["tree"]
    at = next(i for i in range(len(tree)) if tree[i] > 0 and tree[i + 1 : i + 3] == [0, 0])
    tree[at : at + 3] = [0]


def leaf_by_move(case):
    tree = case.proof["tree"]
    tree[tree.index(0)] = -1


def unknown_move(case):
    tree = case.proof["tree"]
    tree[tree.index(0)] = -1 - len(case.proof["moves"])


def move_changes_scores(case):
    case.proof["moves"][0][0] += 1


def move_of_nothing(case):
    case.proof["moves"][0] = [0] * len(case.proof["rank"])


def rank_of_nothing(case):
    case.proof["rank"] = [0] * len(case.proof["rank"])


def rank_turned(case):
    case.proof["rank"] = [-r for r in case.proof["rank"]]


def short_rank(case):
    case.proof["rank"].pop()


def bound_raised(case):
    case.proof["bound"] += 1


def bound_and_loss_raised(case):
    case.proof["bound"] += 1
    case.proof["loss"] = case.model["certificate"]["loss"] = case.proof["bound"]
    case.sign()


def bound_in_fractions(case):
    case.proof["bound"] -= 0.5


def bound_is_text(case):
    case.proof["bound"] = str(case.proof["bound"])


def list_asked_for(case):
    case.proof["listed"] = case.proof["bound"] + 1


def weight_changed(case):
    case.model["network"]["weights"][0] = [[0] for _ in case.model["network"]["weights"][0]]
    case.sign()


def weight_out_of_domain(case):
    case.model["network"]["weights"][0][0][0] = 3
    case.sign()


def weight_of_wrong_sign(case):
    case.model["options"]["feature_signs"] = [-1 if row[0] > 0 else 1 for row in case.model["network"]["weights"][0]]
    case.sign()


def too_many_weights(case):
    case.model["options"]["max_nonzeros"] = 1
    case.sign()


def too_many_weights_in_a_neuron(case):
    case.model["options"]["fan_in"] = 1
    case.sign()


def loss_changed(case):
    case.model["loss"] = {"name": "logistic", "options": {"temperature": 1.0}}
    case.sign()


def codes_turned(case):
    case.model["loss"] = {"name": "hamming", "options": {"codes": [[1], [0]]}}
    case.sign()


def domain_widened(case):
    case.model["network"]["architecture"]["layers"][0]["weights"].update(low=-9, high=9)
    case.sign()


def bias_widened(case):
    case.model["network"]["architecture"]["layers"][0]["bias"].update(low=-40, high=40)
    case.sign()


def layer_added(case):
    layers = case.model["network"]["architecture"]["layers"]
    layers.append(dict(layers[0], n_in=1))
    case.sign()


def price_added(case):
    case.model["options"]["nonzero_price"] = 0.5
    case.sign()


def radius_added(case):
    case.model["options"]["robust_radius"] = 0.5
    case.sign()


def unknown_option(case):
    case.model["options"]["robust_something"] = 1
    case.sign()


def class_weights_changed(case):
    case.model["options"]["class_weight"] = [["high", 2.0]]
    case.sign()


def fingerprints_changed(case):
    case.proof["data"] = case.model["provenance"]["data_fingerprint"] = "0" * 64
    case.sign()


def model_edited(case):
    case.model["message"] = "better"


def label_flipped(case):
    case.csv = case.csv.replace("high", "low", 1)


def row_doubled(case):
    case.csv += case.csv.splitlines()[-1] + "\n"


def kind_changed(case):
    case.proof["kind"] = "hull"


TAMPERING = [
    drop_leaf, drop_first_node, double_leaf, one_leaf, no_tree, tree_is_none, text_in_tree, split_nothing,
    split_other_entry, early_leaf, leaf_by_move, unknown_move, move_changes_scores, move_of_nothing, rank_of_nothing,
    rank_turned, short_rank, bound_raised, bound_and_loss_raised, bound_in_fractions, bound_is_text, list_asked_for,
    weight_changed, weight_out_of_domain, weight_of_wrong_sign, too_many_weights, too_many_weights_in_a_neuron,
    loss_changed, codes_turned, domain_widened, bias_widened, layer_added, price_added, radius_added, unknown_option,
    class_weights_changed, fingerprints_changed, model_edited, label_flipped, row_doubled, kind_changed,
]  # fmt: skip


@pytest.mark.parametrize("tamper", TAMPERING, ids=lambda f: f.__name__)
def test_tampering_is_rejected(case, tamper):
    changed = case()
    assert changed.verdict()["accepted"]
    tamper(changed)
    found = changed.verdict()
    assert not found["accepted"], found
    assert found["reason"]


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
