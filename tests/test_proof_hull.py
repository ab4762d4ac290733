"""Proofs for networks with one hidden layer: what is true is accepted, what was tampered with is not."""

import json
from dataclasses import replace
from itertools import islice
from math import inf
from pathlib import Path

import numpy as np
import pytest

from provenn import check_proof, proofs
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
from provenn.proofs import as_proof, merged_data, obstacle, write_proof
from provenn.proofs._hull import HULL
from provenn.tables import read_table
from provenn.testing.proof_cases import (
    CHECKER,
    assert_checked_alone,
    assert_rejected,
    case_of,
    early_leaf,
    label_flipped,
    model_of,
    provable,
    put,
    risk_table,
    row_dropped,
    run_alone,
    signed,
    train,
)
from provenn.testing.toys import odd_problem, optimum
from provenn.trainers.hull import subproblem

HEART = Path(__file__).parents[2] / "shared" / "data" / "heart" / "heart.csv"


def trained(folder, **options):
    """Return the case of a table with 24 rows."""
    given = {"hidden_layer_sizes": (2,), "temperature": 1.0, "random_state": 0, **options}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proofs, "KINDS", (HULL,))
        return case_of(folder, risk_table(24, 1), "hull", **given)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proofs")
    return {
        "plain": trained(folder / "plain"),
        "steps": trained(folder / "steps", activation="step", class_weight="balanced"),
        "counts": trained(folder / "counts", loss="max_correct", bias_bound=None, hidden_layer_sizes=(1,)),
        "binary": trained(folder / "binary", loss="min_hinge", weight_bound="binary", quantize="thermometer", bits=2),
    }


@pytest.fixture
def case(cases, tmp_path):
    return lambda name="plain": cases[name].copy_to(tmp_path)


def test_runs_without_any_package(cases):
    assert_checked_alone(cases)


def test_what_the_cases_are_for(cases):
    """Without lists and moves the tampering below would show nothing."""
    sides = [side for cut in cases["plain"].proof["outputs"][0]["cuts"] for side in cut["sides"]]
    assert any(side["listed"] > side["bound"] for side in sides)
    assert any(node < 0 for side in sides for node in side["tree"])
    assert min(len(side["tree"]) for side in sides) > 20


@pytest.mark.shared
@pytest.mark.skipif(not HEART.exists(), reason="needs the data beside the project")
def test_heart(tmp_path):
    files = [tmp_path / name for name in ("proof.json", "model.json", "heart.csv")]
    read_table(str(HEART)).frame.sample(36, random_state=0).to_csv(files[2], index=False)
    options = {"hidden_layer_sizes": (2,), "temperature": 2.0, "random_state": 0}
    _, report = train(tmp_path, files[2], "target", **options)
    assert report.written, report.message
    found = run_alone(CHECKER, *files)
    assert "ACCEPTED: optimal" in found.stdout, found.stdout + found.stderr


LOSSES = [Logistic(1.0), Logistic(0.7), MinHinge(), SatMargin(), MaxCorrect(), Hamming()]


def drawn(rng):
    """Yield problems with two hidden units and a network each."""
    return provable(rng, HULL, lambda: odd_problem(rng, LOSSES[rng.integers(4)], (2,), 10, 3, 20_000))


@pytest.mark.parametrize("seed", range(4))
def test_proofs_of_toys_equal_brute_force(seed):
    rng, tight, lists = np.random.default_rng(seed), 0, 0

    def draw():
        loss, hidden = LOSSES[rng.integers(len(LOSSES))], (int(rng.integers(1, 3)),)
        return odd_problem(rng, loss, hidden, int(rng.integers(3, 12)), int(rng.integers(1, 4)), 20_000)

    for problem, network in islice(provable(rng, HULL, draw), 20):
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
        tight += found["bound"] == best
        sides = [side for output in proof["outputs"] for cut in output["cuts"] for side in cut["sides"]]
        lists += any(side["listed"] > side["bound"] for side in sides)
    assert tight > 14
    assert lists


@pytest.mark.parametrize("seed", range(3))
def test_a_search_that_is_stopped_proves_less(seed):
    for problem, network in islice(drawn(np.random.default_rng(seed)), 6):
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


def test_regions_with_too_many_units_to_list(monkeypatch):
    """The search goes on with columns as long as they help, and stops; what it shows is proven."""
    monkeypatch.setattr(_hull_driver, "MOST_COLLECTED", 1)
    alone = (pair for pair in drawn(np.random.default_rng(2)) if pair[0].architecture.n_outputs == 1)
    open_ = 0
    for problem, network in islice(alone, 8):
        result = minimise(subproblem(problem, 0), Limits(seconds=20))
        fields_ = fields_of(subproblem(problem, 0), result.evidence, result.bound, inf)
        proof, best = {"outputs": [fields_], "bound": fields_["bound"]}, optimum(replace(problem, constraints=()))
        shown = check_proof.check_hull(proof, model_of(problem, network), merged_data(problem.dataset))
        assert shown["bound"] == result.bound <= best
        open_ += result.bound < best
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


def sides(case, cut=0):
    return case.part["cuts"][cut]["sides"]


def slopes(case):
    return case.part["cuts"][0]["slopes"]


def listing(case):
    """Return the sides of the cut whose trees list units."""
    return next(cut for cut in case.part["cuts"] if cut["sides"][0]["listed"] > cut["sides"][0]["bound"])["sides"]


def region_of_a_cut(case):
    return next(region for region in case.part["regions"] if region[5] >= 0)


def list_cut_short(case):
    """Without the units up to the cost that a better network could have, nothing is known of it."""
    for side in listing(case):
        side["listed"] = side["bound"]


def list_a_little_shorter(case):
    side = listing(case)[0]
    side["listed"] -= (side["listed"] - side["bound"]) // 2 + 1


def leaf_of_a_list_left_out(case):
    tree = listing(case)[0]["tree"]
    tree[max(i for i in range(len(tree)) if tree[i] > 0)] = 0


def bound_of_units_raised(case):
    """Units agree less than they do: then every region would be closed."""
    for side in listing(case):
        side["bound"] += 10**5
        side["listed"] = max(side["bound"], side["listed"])


def region_with_smaller_total(case):
    region_of_a_cut(case)[1] -= 1
    region_of_a_cut(case)[2] -= 1


def region_with_no_magnitudes(case):
    """Then no list of units helps."""
    for region in case.part["regions"]:
        region[3:5] = [], []


def regions_of_totals_only(case):
    """One range holds all layers of a bias, and the cuts are too weak for it."""
    bases = {region[0] for region in case.part["regions"]}
    case.part["regions"] = [[base, 0, 2, [], [], 0] for base in sorted(bases)]


def unit_added(case):
    network, layers = case.model["network"], case.layers
    layers[0]["n_out"] = layers[1]["n_in"] = 3
    network["weights"] = [[[*row, 0] for row in network["weights"][0]], [*network["weights"][1], [0]]]
    network["biases"][0].append(0)


TAMPERING = dict(
    drop_leaf=lambda c: sides(c)[0]["tree"].pop(),
    one_leaf=lambda c: sides(c)[1].update(tree=[0]),
    double_leaf=lambda c: sides(c, -1)[1]["tree"].append(0),
    early_leaf=lambda c: early_leaf(sides(c)[0]["tree"]),
    list_cut_short=list_cut_short,
    list_a_little_shorter=list_a_little_shorter,
    list_longer_than_its_tree=lambda c: listing(c)[0].update(listed=2 * listing(c)[0]["listed"]),
    leaf_of_a_list_left_out=leaf_of_a_list_left_out,
    list_from_below=lambda c: listing(c)[0].update(bound=listing(c)[0]["listed"] + 1),
    bound_of_units_raised=bound_of_units_raised,
    no_mirrored_units=lambda c: sides(c).pop(),
    plain_units_twice=lambda c: put(sides(c)[0], sides(c), 1),
    sides_swapped=lambda c: listing(c).reverse(),
    cut_dropped=lambda c: c.part["cuts"].pop(),
    cuts_reversed=lambda c: c.part["cuts"].reverse(),
    no_cut=lambda c: put(-1, region_of_a_cut(c), 5),
    unknown_cut=lambda c: put(17, region_of_a_cut(c), 5),
    slopes_moved=lambda c: slopes(c).append(slopes(c).pop(0)),
    slope_changed=lambda c: put(slopes(c)[0] + max(map(abs, slopes(c))), slopes(c), 0),
    slopes_turned=lambda c: c.part["cuts"][0].update(slopes=[-g for g in slopes(c)]),
    slope_missing=lambda c: slopes(c).pop(),
    no_slopes=lambda c: c.part["cuts"][0].update(slopes=[0 for _ in slopes(c)]),
    quotient_halved=lambda c: c.part["cuts"][0].update(quotient=c.part["cuts"][0]["quotient"] // 2),
    quotient_doubled=lambda c: c.part["cuts"][0].update(quotient=c.part["cuts"][0]["quotient"] * 2),
    quotient_negative=lambda c: c.part["cuts"][0].update(quotient=-c.part["cuts"][0]["quotient"]),
    region_dropped=lambda c: c.part["regions"].remove(region_of_a_cut(c)),
    region_with_other_bias=lambda c: put(region_of_a_cut(c)[0] + 40, region_of_a_cut(c), 0),
    region_with_smaller_total=region_with_smaller_total,
    region_with_other_sides=lambda c: put([1 - abs(side) for side in region_of_a_cut(c)[4]], region_of_a_cut(c), 4),
    region_with_no_magnitudes=region_with_no_magnitudes,
    regions_of_totals_only=regions_of_totals_only,
    no_regions=lambda c: c.part.update(regions=[]),
    bound_raised=lambda c: c.claim(c.proof["bound"] + 1),
    total_raised=lambda c: c.proof.update(bound=c.proof["bound"] + 1),
    bound_in_fractions=lambda c: c.claim(c.proof["bound"] - 0.5),
    output_dropped=lambda c: c.proof.update(outputs=[]),
    output_doubled=lambda c: c.proof.update(outputs=c.proof["outputs"] * 2),
    label_flipped=label_flipped,
    row_dropped=row_dropped,
    kind_changed=lambda c: c.proof.update(kind="agreement"),
) | signed(
    bound_and_loss_raised=lambda c: c.claim(c.proof["bound"] + 10**5, c.proof["bound"] + 10**5),
    hidden_domain_widened=lambda c: c.layers[0]["weights"].update(low=-2, high=2),
    output_domain_widened=lambda c: c.layers[1]["weights"].update(low=-2, high=2),
    output_bias_widened=lambda c: c.layers[1]["bias"].update(low=-2, high=2),
    activation_changed=lambda c: c.layers[0].update(activation="step"),
    unit_added=unit_added,
    units_told_wrong=lambda c: c.layers[1].update(n_in=3),
    weight_changed=lambda c: put([[-row[0]] for row in c.weights[1]], c.weights, 1),
    hidden_weight_out_of_domain=lambda c: put(2, c.weights, 0, 0, 0),
    bias_out_of_domain=lambda c: put(2, c.model["network"]["biases"], 1, 0),
    temperature_changed=lambda c: c.model["loss"]["options"].update(temperature=1.01),
    loss_changed=lambda c: c.model.update(loss={"name": "max_margin", "options": {}}),
    price_added=lambda c: c.model["options"].update(neuron_price=0.01),
    radius_added=lambda c: c.model["options"].update(robust_radius={"age": 0.5}),
    unknown_option=lambda c: c.model["options"].update(more=1),
    too_many_weights=lambda c: c.model["options"].update(max_nonzeros=1),
)


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_is_rejected(case, name):
    assert_rejected(case(), TAMPERING[name])


def test_harmless_edits_are_accepted(case):
    assert case().verdict()["accepted"]
    one = case()
    one.proof = dict(reversed(one.proof.items()))
    one.part["regions"].reverse()
    one.part["regions"].append([99, 0, 2, [1, 1], [0, 0], -1])
    assert not one.verdict()["accepted"], "a region that no layer needs must be closed, too"
    one.part["regions"].pop()
    assert one.verdict()["accepted"]
    turned = case()
    turned.part["cuts"].reverse()
    for region in turned.part["regions"]:
        region[5] = len(turned.part["cuts"]) - 1 - region[5] if region[5] >= 0 else -1
    assert turned.verdict()["accepted"]
    finer = case()
    for cut in finer.part["cuts"]:
        cut.update(slopes=[3 * g for g in cut["slopes"]], quotient=3 * cut["quotient"])
        for side in cut["sides"]:
            side.update(bound=3 * side["bound"], listed=3 * side["listed"])
    assert finer.verdict()["accepted"]
    weaker = case()
    weaker.proof["bound"] = weaker.part["bound"] = weaker.proof["bound"] - 10**4
    found = weaker.verdict()
    assert (found["accepted"], found["optimal"], found["confirms_certificate"]) == (True, False, False)


def test_too_many_networks_are_refused(case, monkeypatch):
    monkeypatch.setattr(check_proof, "MOST_NETWORKS", 0)
    assert case().verdict()["reason"] == "there are too many networks to combine"
    monkeypatch.setattr(check_proof, "MOST_LAYERS", 3)
    assert case().verdict()["reason"] == "there are too many output layers"
