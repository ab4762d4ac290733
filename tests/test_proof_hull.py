"""Proofs for networks with one hidden layer: what is true is accepted, what was tampered with is not."""

import copy
import json
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from math import inf
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from provenn import IntegerNetworkClassifier, check_proof, proofs
from provenn.bounds import _hull_driver
from provenn.bounds._hull_proof import fields_of
from provenn.bounds.hull import minimise
from provenn.errors import InputError
from provenn.formulations.sparsity import Sparsity
from provenn.losses.cross_entropy import CrossEntropy
from provenn.losses.hamming import Hamming
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.min_hinge import MinHinge
from provenn.losses.sat_margin import SatMargin
from provenn.milp import Limits
from provenn.model_file import checksum, save_model
from provenn.network import IntegerNetwork
from provenn.proofs import as_proof, merged_data, obstacle, write_proof
from provenn.proofs._hull import HULL
from provenn.tables import read_table, split_target
from provenn.testing.toys import odd_problem, optimum
from provenn.trainers.hull import subproblem

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
    chosen = {"hidden_layer_sizes": (2,), "temperature": 1.0, "random_state": 0, **options}
    estimator = Watched(**chosen).fit(features, labels)
    model, proof = place / "model.json", place / "proof.json"
    save_model(model, estimator, target)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proofs, "KINDS", (HULL,))
        report = write_proof(proof, model, estimator.problem_, estimator.network_, Limits(seconds=60))
    assert report.written, report.message
    assert (report.message, report.kind) == ("", "hull")
    return Case(place, *(json.loads(path.read_text("utf-8")) for path in (proof, model)), csv.read_text("utf-8"))


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proofs")
    return {
        "plain": case_of(folder, "plain"),
        "steps": case_of(folder, "steps", activation="step", class_weight="balanced"),
        "counts": case_of(folder, "counts", loss="max_correct", bias_bound=None, hidden_layer_sizes=(1,)),
        "binary": case_of(folder, "binary", loss="min_hinge", weight_bound="binary", quantize="thermometer", bits=2),
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
    assert run_alone(cases["steps"].folder / "proof.json", *paths[1:]).returncode == 1


def test_what_the_cases_are_for(cases):
    """Without lists and moves the tampering below would show nothing."""
    sides = [side for cut in cases["plain"].proof["outputs"][0]["cuts"] for side in cut["sides"]]
    assert any(side["listed"] > side["bound"] for side in sides)
    assert any(node < 0 for side in sides for node in side["tree"])
    assert min(len(side["tree"]) for side in sides) > 20


@pytest.mark.shared
@pytest.mark.skipif(not HEART.exists(), reason="needs the data beside the project")
def test_heart(tmp_path):
    frame = read_table(str(HEART)).frame.sample(36, random_state=0)
    frame.to_csv(tmp_path / "heart.csv", index=False)
    options = {"temperature": 2.0, "random_state": 0}
    estimator = Watched((2,), **options).fit(frame.drop(columns="target"), frame["target"])
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


LOSSES = [Logistic(1.0), Logistic(0.7), MinHinge(), SatMargin(), MaxCorrect(), Hamming()]


@pytest.mark.parametrize("seed", range(4))
def test_proofs_of_toys_equal_brute_force(seed):
    rng, done, tight, lists = np.random.default_rng(seed), 0, 0, 0
    while done < 20:
        loss, hidden = LOSSES[rng.integers(len(LOSSES))], (int(rng.integers(1, 3)),)
        problem = odd_problem(rng, loss, hidden, int(rng.integers(3, 12)), int(rng.integers(1, 4)), 20_000)
        if problem is None or HULL.obstacle(problem) is not None:
            continue
        network = some_network(problem, rng)
        if network is None:
            continue
        best, model = optimum(problem), model_of(problem, network)
        proof = json.loads(json.dumps(as_proof(model, "hull", HULL.prove(problem, network, Limits(seconds=20)))))
        found = check_proof.check(proof, model, merged_data(problem.dataset))
        assert found["loss"] == problem.value(network)
        alone = problem.architecture.n_outputs == 1 and not problem.constraints
        assert found["bound"] == best or (not alone and found["bound"] < best)
        for bound in {best + 1, found["loss"]} - {best}:
            more = bound - proof["bound"]
            raised = [
                {**output, "bound": output["bound"] + more * (i == 0)} for i, output in enumerate(proof["outputs"])
            ]
            with pytest.raises(check_proof.RejectedError):
                check_proof.check({**proof, "bound": bound, "outputs": raised}, model, merged_data(problem.dataset))
        done, tight = done + 1, tight + (found["bound"] == best)
        sides = [side for output in proof["outputs"] for cut in output["cuts"] for side in cut["sides"]]
        lists += any(side["listed"] > side["bound"] for side in sides)
    assert tight > 14
    assert lists


@pytest.mark.parametrize("seed", range(3))
def test_a_search_that_is_stopped_proves_less(seed):
    rng, done = np.random.default_rng(seed), 0
    while done < 6:
        problem = odd_problem(rng, LOSSES[rng.integers(4)], (2,), 10, 3, 20_000)
        network = None if problem is None or HULL.obstacle(problem) is not None else some_network(problem, rng)
        if network is None:
            continue
        part, best = subproblem(problem, 0), optimum(problem)
        model = model_of(problem, network)
        for nodes, ends in ((1, inf), (60, inf), (None, 0.0)):
            result = minimise(part, Limits(nodes=nodes))
            fields_ = fields_of(part, result.evidence, result.bound, ends)
            assert fields_["bound"] <= result.bound
            assert ends or fields_["bound"] <= best
            proof = {"outputs": [fields_], "bound": fields_["bound"]}
            if problem.architecture.n_outputs == 1:
                assert check_proof.check_hull(proof, model, merged_data(problem.dataset))["bound"] <= best
        done += 1


def test_regions_with_too_many_units_to_list(monkeypatch):
    """The search goes on with columns as long as they help, and stops; what it shows is proven."""
    monkeypatch.setattr(_hull_driver, "MOST_COLLECTED", 1)
    rng, done, open_ = np.random.default_rng(1), 0, 0
    while done < 8:
        problem = odd_problem(rng, LOSSES[rng.integers(4)], (2,), 10, 3, 20_000)
        network = None if problem is None or HULL.obstacle(problem) is not None else some_network(problem, rng)
        if network is None or problem.architecture.n_outputs > 1:
            continue
        result = minimise(subproblem(problem, 0), Limits(seconds=20))
        fields_ = fields_of(subproblem(problem, 0), result.evidence, result.bound, inf)
        proof, best = {"outputs": [fields_], "bound": fields_["bound"]}, optimum(replace(problem, constraints=()))
        shown = check_proof.check_hull(proof, model_of(problem, network), merged_data(problem.dataset))
        assert shown["bound"] == result.bound <= best
        done, open_ = done + 1, open_ + (result.bound < best)
    assert open_


def test_obstacles(monkeypatch):
    rng = np.random.default_rng(0)
    problem = None
    while problem is None or HULL.obstacle(problem) is not None or not problem.architecture.layers[0].weights.has_zero:
        problem = odd_problem(rng, Logistic(1.0), (2,), 6, 2, 5000)
    problem = replace(problem, constraints=())
    assert "Sparsity is a price" in HULL.obstacle(replace(problem, constraints=(Sparsity(0.5),)))
    assert HULL.obstacle(replace(problem, constraints=(Sparsity(fan_in=1),))) is None
    assert "CrossEntropy" in HULL.obstacle(replace(problem, loss=CrossEntropy()))
    monkeypatch.setattr(proofs, "KINDS", (HULL,))
    with pytest.raises(InputError, match="there is no kind of proofs"):
        write_proof("p.json", "m.json", replace(problem, loss=CrossEntropy()), None, Limits())
    assert obstacle(problem) is None


def part(case):
    return case.proof["outputs"][0]


def listing(case):
    """Return the cut whose trees list units."""
    return next(cut for cut in part(case)["cuts"] if cut["sides"][0]["listed"] > cut["sides"][0]["bound"])


def region_of_a_cut(case):
    return next(region for region in part(case)["regions"] if region[5] >= 0)


def drop_leaf(case):
    part(case)["cuts"][0]["sides"][0]["tree"].pop()


def one_leaf(case):
    part(case)["cuts"][0]["sides"][1]["tree"] = [0]


def double_leaf(case):
    part(case)["cuts"][-1]["sides"][1]["tree"].append(0)


def early_leaf(case):
    tree = part(case)["cuts"][0]["sides"][0]["tree"]
    at = next(i for i in range(len(tree)) if tree[i] > 0 and tree[i + 1 : i + 3] == [0, 0])
    tree[at : at + 3] = [0]


def list_cut_short(case):
    """Without the units up to the cost that a better network could have, nothing is known of it."""
    for side in listing(case)["sides"]:
        side["listed"] = side["bound"]


def list_a_little_shorter(case):
    side = listing(case)["sides"][0]
    side["listed"] -= (side["listed"] - side["bound"]) // 2 + 1


def list_longer_than_its_tree(case):
    listing(case)["sides"][0]["listed"] *= 2


def leaf_of_a_list_left_out(case):
    tree = listing(case)["sides"][0]["tree"]
    tree[max(i for i in range(len(tree)) if tree[i] > 0)] = 0


def list_from_below(case):
    side = listing(case)["sides"][0]
    side["bound"] = side["listed"] + 1


def bound_of_units_raised(case):
    """Units agree less than they do: then every region would be closed."""
    for side in listing(case)["sides"]:
        side["bound"] += 10**5
        side["listed"] = max(side["bound"], side["listed"])


def no_mirrored_units(case):
    part(case)["cuts"][0]["sides"].pop()


def plain_units_twice(case):
    part(case)["cuts"][0]["sides"][1] = part(case)["cuts"][0]["sides"][0]


def sides_swapped(case):
    listing(case)["sides"].reverse()


def cut_dropped(case):
    part(case)["cuts"].pop()


def cuts_reversed(case):
    part(case)["cuts"].reverse()


def no_cut(case):
    region_of_a_cut(case)[5] = -1


def unknown_cut(case):
    region_of_a_cut(case)[5] = 17


def slopes_moved(case):
    slopes = part(case)["cuts"][0]["slopes"]
    slopes.append(slopes.pop(0))


def slope_changed(case):
    slopes = part(case)["cuts"][0]["slopes"]
    slopes[0] += max(map(abs, slopes))


def slopes_turned(case):
    cut = part(case)["cuts"][0]
    cut["slopes"] = [-g for g in cut["slopes"]]


def slope_missing(case):
    part(case)["cuts"][0]["slopes"].pop()


def no_slopes(case):
    cut = part(case)["cuts"][0]
    cut["slopes"] = [0 for _ in cut["slopes"]]


def quotient_halved(case):
    part(case)["cuts"][0]["quotient"] //= 2


def quotient_doubled(case):
    part(case)["cuts"][0]["quotient"] *= 2


def quotient_negative(case):
    part(case)["cuts"][0]["quotient"] *= -1


def region_dropped(case):
    part(case)["regions"].remove(region_of_a_cut(case))


def region_with_other_bias(case):
    region_of_a_cut(case)[0] += 40


def region_with_smaller_total(case):
    region_of_a_cut(case)[1] -= 1
    region_of_a_cut(case)[2] -= 1


def region_with_other_sides(case):
    region = region_of_a_cut(case)
    region[4] = [1 - abs(side) for side in region[4]]


def region_with_no_magnitudes(case):
    """Then no list of units helps."""
    for region in part(case)["regions"]:
        region[3:5] = [], []


def regions_of_totals_only(case):
    """One range holds all layers of a bias, and the cuts are too weak for it."""
    bases = {region[0] for region in part(case)["regions"]}
    part(case)["regions"] = [[base, 0, 2, [], [], 0] for base in sorted(bases)]


def no_regions(case):
    part(case)["regions"] = []


def bound_raised(case):
    part(case)["bound"] += 1
    case.proof["bound"] += 1


def total_raised(case):
    case.proof["bound"] += 1


def bound_and_loss_raised(case):
    part(case)["bound"] += 10**5
    case.proof["bound"] = case.proof["loss"] = case.model["certificate"]["loss"] = part(case)["bound"]
    case.sign()


def bound_in_fractions(case):
    part(case)["bound"] -= 0.5
    case.proof["bound"] -= 0.5


def output_dropped(case):
    case.proof["outputs"] = []


def output_doubled(case):
    case.proof["outputs"] *= 2


def hidden_domain_widened(case):
    case.model["network"]["architecture"]["layers"][0]["weights"].update(low=-2, high=2)
    case.sign()


def output_domain_widened(case):
    case.model["network"]["architecture"]["layers"][1]["weights"].update(low=-2, high=2)
    case.sign()


def output_bias_widened(case):
    case.model["network"]["architecture"]["layers"][1]["bias"].update(low=-2, high=2)
    case.sign()


def activation_changed(case):
    case.model["network"]["architecture"]["layers"][0]["activation"] = "step"
    case.sign()


def unit_added(case):
    layers, network = case.model["network"]["architecture"]["layers"], case.model["network"]
    layers[0]["n_out"] = layers[1]["n_in"] = 3
    network["weights"] = [[[*row, 0] for row in network["weights"][0]], [*network["weights"][1], [0]]]
    network["biases"][0].append(0)
    case.sign()


def units_told_wrong(case):
    case.model["network"]["architecture"]["layers"][1]["n_in"] = 3
    case.sign()


def weight_changed(case):
    case.model["network"]["weights"][1] = [[-row[0]] for row in case.model["network"]["weights"][1]]
    case.sign()


def hidden_weight_out_of_domain(case):
    case.model["network"]["weights"][0][0][0] = 2
    case.sign()


def bias_out_of_domain(case):
    case.model["network"]["biases"][1][0] = 2
    case.sign()


def temperature_changed(case):
    case.model["loss"]["options"]["temperature"] *= 1.01
    case.sign()


def loss_changed(case):
    case.model["loss"] = {"name": "max_margin", "options": {}}
    case.sign()


def price_added(case):
    case.model["options"]["neuron_price"] = 0.01
    case.sign()


def radius_added(case):
    case.model["options"]["robust_radius"] = {"age": 0.5}
    case.sign()


def unknown_option(case):
    case.model["options"]["more"] = 1
    case.sign()


def too_many_weights(case):
    case.model["options"]["max_nonzeros"] = 1
    case.sign()


def label_flipped(case):
    case.csv = case.csv.replace("high", "low", 1)


def row_dropped(case):
    case.csv = "\n".join(case.csv.splitlines()[:-1]) + "\n"


def kind_changed(case):
    case.proof["kind"] = "agreement"


TAMPERING = [
    drop_leaf, one_leaf, double_leaf, early_leaf, list_cut_short, list_a_little_shorter, list_longer_than_its_tree,
    leaf_of_a_list_left_out, list_from_below, bound_of_units_raised, no_mirrored_units, plain_units_twice,
    sides_swapped, cut_dropped, cuts_reversed, no_cut, unknown_cut, slopes_moved, slope_changed, slopes_turned,
    slope_missing, no_slopes, quotient_halved, quotient_doubled, quotient_negative, region_dropped,
    region_with_other_bias, region_with_smaller_total, region_with_other_sides, region_with_no_magnitudes,
    regions_of_totals_only, no_regions, bound_raised, total_raised, bound_and_loss_raised, bound_in_fractions,
    output_dropped, output_doubled, hidden_domain_widened, output_domain_widened, output_bias_widened,
    activation_changed, unit_added, units_told_wrong, weight_changed, hidden_weight_out_of_domain, bias_out_of_domain,
    temperature_changed, loss_changed, price_added, radius_added, unknown_option, too_many_weights, label_flipped,
    row_dropped, kind_changed,
]  # fmt: skip


@pytest.mark.parametrize("tamper", TAMPERING, ids=lambda f: f.__name__)
def test_tampering_is_rejected(case, tamper):
    changed = case()
    tamper(changed)
    found = changed.verdict()
    assert not found["accepted"], found
    assert found["reason"]


def test_harmless_edits_are_accepted(case):
    assert case().verdict()["accepted"]
    one = case()
    one.proof = dict(reversed(one.proof.items()))
    part(one)["regions"].reverse()
    part(one)["regions"].append([99, 0, 2, [1, 1], [0, 0], -1])
    assert not one.verdict()["accepted"], "a region that no layer needs must be closed, too"
    part(one)["regions"].pop()
    assert one.verdict()["accepted"]
    turned = case()
    part(turned)["cuts"].reverse()
    for region in part(turned)["regions"]:
        region[5] = len(part(turned)["cuts"]) - 1 - region[5] if region[5] >= 0 else -1
    assert turned.verdict()["accepted"]
    finer = case()
    for cut in part(finer)["cuts"]:
        cut.update(slopes=[3 * g for g in cut["slopes"]], quotient=3 * cut["quotient"])
        for side in cut["sides"]:
            side.update(bound=3 * side["bound"], listed=3 * side["listed"])
    assert finer.verdict()["accepted"]
    weaker = case()
    weaker.proof["bound"] = part(weaker)["bound"] = weaker.proof["bound"] - 10**4
    found = weaker.verdict()
    assert (found["accepted"], found["optimal"], found["confirms_certificate"]) == (True, False, False)


def test_too_many_networks_are_refused(case, monkeypatch):
    monkeypatch.setattr(check_proof, "MOST_NETWORKS", 0)
    assert case().verdict()["reason"] == "there are too many networks to combine"
    monkeypatch.setattr(check_proof, "MOST_LAYERS", 3)
    assert case().verdict()["reason"] == "there are too many output layers"
