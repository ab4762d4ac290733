"""The checker of proofs: accepts what the engine proves, without NumPy, and rejects what was tampered with."""

import copy
import itertools
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from provenn import IntegerNetworkClassifier, check_proof
from provenn.bounds.convex import ConvexProblem
from provenn.bounds.convex_proof import checked, neuron_of, proof_of, prove_again
from provenn.errors import InputError
from provenn.losses.logistic import LogisticCurve
from provenn.losses.min_hinge import HingeCurve
from provenn.milp import Limits
from provenn.model_file import checksum, save_model
from provenn.proofs import write_proof
from provenn.tables import read_table, split_target

HEART = Path(__file__).parents[2] / "shared" / "data" / "heart" / "heart.csv"
CHECKER = Path(check_proof.__file__)


class Watched(IntegerNetworkClassifier):
    def _prepared(self, problem):
        self.problem_ = problem


def trained(folder, csv, target, **options):
    """Train on a CSV file, write model and proof; return the report and the two paths."""
    features, labels, target = split_target(read_table(csv), target)
    estimator = Watched(**{"temperature": 1.0, "random_state": 0, **options}).fit(features, labels)
    model, proof = folder / "model.json", folder / "proof.json"
    save_model(model, estimator, target)
    return write_proof(proof, model, estimator.problem_, estimator.network_, Limits(seconds=60)), model, proof


def table(n=80, seed=0):
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

    def claim(self, bound):
        """Claim a bound for the only output."""
        self.proof["bound"] = self.proof["outputs"][0]["bound"] = bound

    @property
    def part(self):
        return self.proof["outputs"][0]


def case_of(folder, name, **options):
    place = folder / name
    place.mkdir()
    (place / "data.csv").write_text(table().to_csv(index=False), "utf-8")
    report, model, proof = trained(place, str(place / "data.csv"), "risk", **options)
    assert report.written, report.message
    assert report.message == ""
    parts = [json.loads(path.read_text("utf-8")) for path in (proof, model)]
    return Case(place, *parts, (place / "data.csv").read_text("utf-8"))


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proofs")
    return {
        "plain": case_of(folder, "plain", weight_bound=3, bias_bound=9),
        "priced": case_of(folder, "priced", weight_bound=3, bias_bound=9, nonzero_price=2.0),
        "budget": case_of(folder, "budget", weight_bound=3, bias_bound=9, max_nonzeros=1),
        "signs": case_of(folder, "signs", weight_bound=3, bias_bound=9, feature_signs={"visits": 1, "age": 1}),
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
    return subprocess.run(
        [sys.executable, "-S", "-I", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_runs_without_any_package(cases):
    assert "ModuleNotFoundError" in run_alone("-c", "import numpy").stderr
    for case in cases.values():
        paths = [case.folder / name for name in ("proof.json", "model.json", "data.csv")]
        found = run_alone(CHECKER, *paths, "--json")
        assert found.returncode == 0, found.stdout + found.stderr
        verdict = json.loads(found.stdout)
        assert (verdict["accepted"], verdict["optimal"], verdict["confirms_certificate"]) == (True, True, True)
        assert verdict["bound"] == case.model["certificate"]["bound"]
        assert run_alone(CHECKER, *paths).stdout.startswith("ACCEPTED: optimal")
    rejected = run_alone(CHECKER, cases["priced"].folder / "proof.json", *paths[1:])
    assert rejected.returncode == 1
    assert rejected.stdout == "REJECTED: the proof belongs to another model\n"


@pytest.mark.shared
@pytest.mark.skipif(not HEART.exists(), reason="needs the data beside the project")
@pytest.mark.parametrize("weight_bound", [1, 3])
def test_heart(tmp_path, weight_bound):
    report, model, proof = trained(tmp_path, str(HEART), "target", weight_bound=weight_bound)
    assert report.written
    assert report.message == ""
    found = run_alone(CHECKER, proof, model, HEART)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "optimal" in found.stdout


@pytest.mark.parametrize(
    "options",
    [
        {"quantize": "thermometer", "weight_bound": 2, "bias_bound": 5},
        {"loss": "min_hinge", "weight_bound": 2, "bias_bound": 5},
        {"weight_bound": "binary", "bias_bound": 3},
        {"class_weight": "balanced", "weight_bound": 1, "bias_bound": 3},
        {"class_weight": {"high": 2.5, "low": 1.0}, "weight_bound": 1, "bias_bound": 3, "nonzero_price": 0.5},
        {"categorical_features": ["visits", "ill"], "weight_bound": 1, "bias_bound": 2},
        {"bias_bound": None, "grid_steps": 100},
    ],
)
def test_options(tmp_path, options):
    case = case_of(tmp_path, "one", **options)
    assert case.verdict()["accepted"], case.verdict()


@pytest.mark.parametrize("options", [{}, {"fan_in": 1}])
def test_several_outputs(tmp_path, options):
    report, model, proof = trained(tmp_path, "sklearn:iris", "target", weight_bound=2, bias_bound=3, **options)
    assert report.written, report.message
    read_table("sklearn:iris").frame.to_csv(tmp_path / "iris.csv", index=False)
    assert len(json.loads(proof.read_text())["outputs"]) == 3
    found = check_proof.check_files(str(proof), str(model), str(tmp_path / "iris.csv"))
    assert found["accepted"], found


def swap_cells(case, row, column, value):
    lines = case.csv.splitlines()
    cells = lines[row].split(",")
    cells[column] = value
    lines[row] = ",".join(cells)
    case.csv = "\n".join(lines) + "\n"


def drop_leaf(case):
    case.part["tree"].pop()


def double_leaf(case):
    case.part["tree"].append(case.part["tree"][-1])


def one_leaf(case):
    case.part["tree"] = [[0]]


def no_tree(case):
    case.part["tree"] = []


def open_leaf(case):
    case.part["tree"] = [[-1] if len(node) == 1 else [-1, *node[1:]] for node in case.part["tree"]]


def far_points(case):
    case.part["points"] = [[(3 if i % 2 else -3) << 16 for i in range(len(w))] for w in case.part["points"]]


def short_point(case):
    case.part["points"][0].pop()


def wrong_index(case):
    case.part["tree"][0][0] = len(case.part["points"])


def split_nowhere(case):
    node = next(node for node in case.part["tree"] if len(node) == 3)
    node[1] = len(case.part["points"][0])


def split_at_nan(case):
    next(node for node in case.part["tree"] if len(node) == 3)[2] = float("nan")


def whole_box_one_side(case):
    next(node for node in case.part["tree"] if len(node) == 3)[2] = 1000


def bound_raised(case):
    case.claim(case.proof["bound"] + 1)


def bound_and_loss_raised(case):
    case.claim(case.proof["bound"] + 10**6)
    case.proof["loss"] = case.model["certificate"]["loss"] = case.proof["bound"]
    case.sign()


def total_raised(case):
    case.proof["bound"] += 1


def fraction_in_bound(case):
    case.claim(case.proof["bound"] + 0.5)


def false_move(case):
    n = len(case.part["points"][0])
    case.part.update(moves=[[1] + [0] * (n - 1)], references=[0], anchors=[0])


def weight_changed(case):
    case.model["network"]["weights"][0][0][0] += 1 if case.model["network"]["weights"][0][0][0] < 3 else -1
    case.sign()


def weight_out_of_domain(case):
    case.model["network"]["weights"][0][0][0] = 50
    case.sign()


def loss_changed(case):
    case.proof["loss"] = case.model["certificate"]["loss"] = case.proof["loss"] + 1
    case.sign()


def temperature_changed(case):
    case.model["loss"]["options"]["temperature"] = 1.5
    case.sign()


def domain_widened(case):
    case.model["network"]["architecture"]["layers"][0]["weights"].update(low=-40, high=40)
    case.sign()


def fingerprint_changed(case):
    case.proof["data"] = "0" * 64


def fingerprints_changed(case):
    case.proof["data"] = case.model["provenance"]["data_fingerprint"] = "0" * 64
    case.sign()


def checksum_changed(case):
    case.model["checksum"] = "0" * 64


def model_edited(case):
    case.model["message"] = "better"


def grid_changed(case):
    case.model["encoding"]["divisor"][0] *= 2
    case.sign()


def row_changed(case):
    swap_cells(case, 3, 1, "7777")


def label_flipped(case):
    lines = case.csv.splitlines()
    swap_cells(case, 5, len(lines[5].split(",")) - 1, "low" if lines[5].endswith("high") else "high")


def row_doubled(case):
    case.csv += case.csv.splitlines()[-1] + "\n"


def row_dropped(case):
    case.csv = "\n".join(case.csv.splitlines()[:-1]) + "\n"


def row_swapped_for_a_copy(case):
    lines = case.csv.splitlines()
    case.csv = "\n".join([*lines[:-1], lines[1]]) + "\n"


def kind_changed(case):
    case.proof["kind"] = "milp-of-mine"


def version_changed(case):
    case.proof["version"] = 2


def format_changed(case):
    case.proof["format"] = "other-proof"


def output_dropped(case):
    case.proof["outputs"] = []


TAMPERING = [
    drop_leaf,
    double_leaf,
    one_leaf,
    no_tree,
    open_leaf,
    far_points,
    short_point,
    wrong_index,
    split_nowhere,
    split_at_nan,
    whole_box_one_side,
    bound_raised,
    bound_and_loss_raised,
    total_raised,
    fraction_in_bound,
    false_move,
    weight_changed,
    weight_out_of_domain,
    loss_changed,
    temperature_changed,
    domain_widened,
    fingerprint_changed,
    fingerprints_changed,
    checksum_changed,
    model_edited,
    grid_changed,
    row_changed,
    label_flipped,
    row_doubled,
    row_dropped,
    row_swapped_for_a_copy,
    kind_changed,
    version_changed,
    format_changed,
    output_dropped,
]


@pytest.mark.parametrize("tamper", TAMPERING, ids=lambda f: f.__name__)
def test_tampering_is_rejected(case, tamper):
    changed = case()
    tamper(changed)
    found = changed.verdict()
    assert not found["accepted"], found
    assert found["reason"]


def test_the_same_problem_with_less_asked_of_it_is_another_problem(case):
    for name, option, value in (
        ("priced", "nonzero_price", 0.1),
        ("budget", "max_nonzeros", None),
        ("budget", "max_nonzeros", 2),
        ("signs", "feature_signs", {"visits": -1, "age": -1}),
    ):
        changed = case(name)
        assert changed.verdict()["accepted"]
        changed.model["options"][option] = value
        assert not changed.sign().verdict()["accepted"], name


def test_no_price_told_as_no_loss(case):
    """Loss and bound told as those without a price: the loss is recomputed, and the tree no longer closes."""
    changed = case("budget")
    changed.model["options"]["max_nonzeros"] = 3
    assert "does not reach the bound" in changed.sign().verdict()["reason"]


def test_harmless_edits_are_accepted(case):
    one = case()
    one.proof = dict(reversed(one.proof.items()))
    one.part["points"] = [*one.part["points"], [0] * len(one.part["points"][0])]
    assert one.verdict()["accepted"]
    finer = case()
    finer.part["bits"] += 3
    finer.part["points"] = [[8 * x for x in w] for w in finer.part["points"]]
    assert finer.verdict()["accepted"]
    near = case()
    near.part["points"] = [[x + (i + j) % 3 - 1 for i, x in enumerate(w)] for j, w in enumerate(near.part["points"])]
    weaker = near.proof["bound"] - 10**4
    near.claim(weaker)
    found = near.verdict()
    assert (found["accepted"], found["optimal"], found["confirms_certificate"]) == (True, False, False)
    assert found["bound"] == weaker
    lines = case().csv.splitlines()
    shuffled = case()
    shuffled.csv = "\r\n".join(['"age", visits,job,ill,risk', *reversed(lines[1:])]) + "\r\n\r\n"
    assert shuffled.verdict()["accepted"]


def test_a_moved_split_is_accepted_only_where_the_bound_still_follows(case):
    rejected = 0
    for name, number in itertools.product(("plain", "priced"), range(40)):
        changed = case(name)
        splits = [node for node in changed.part["tree"] if len(node) == 3 and node[1] >= 0]
        if number >= len(splits):
            break
        splits[number][2] += 1
        rejected += not changed.verdict()["accepted"]
    assert rejected


def test_unreadable_files_are_rejected(tmp_path, capsys):
    for text in ("", "{", "[]", '{"format": "provenn-proof"}'):
        (tmp_path / "x.json").write_text(text)
        assert check_proof.main([str(tmp_path / "x.json")] * 3) == 1
    assert check_proof.main([str(tmp_path / "none")] * 3) == 1
    assert capsys.readouterr().out.count("REJECTED") == 5


DOMAINS = [(-1, 1, 2), (-1, 1, 1), (-2, 2, 1), (-3, 3, 1), (-2, 2, 2), (-3, 3, 2), (0, 2, 1)]
BIASES = [None, (0, 0, 1), (-1, 1, 1), (-1, 1, 2), (-3, 3, 1), (-2, 4, 2)]


def random_problem(seed):
    """Return a tiny problem that can be enumerated; every option turns up."""
    rng = np.random.default_rng(seed)
    low, high, step = DOMAINS[rng.integers(len(DOMAINS))]
    bias = BIASES[rng.integers(len(BIASES))]
    d, n = int(rng.integers(1, 5)), int(rng.integers(1, 30))
    scale = int(rng.choice([1, 10, 10_000]))
    X = rng.integers(0, 2, (n, d)) * scale if rng.random() < 0.5 else rng.integers(-scale, scale + 1, (n, d))
    if d >= 3 and rng.random() < 0.6:
        X[:, :3] = (rng.integers(0, 3, n)[:, None] == np.arange(3)) * scale
    t = np.where((X @ rng.normal(size=d)) / scale + rng.normal(size=n) > 0, 1, -1)
    curve = LogisticCurve(float(rng.choice([0.3, 1.0, 3.0])) * scale) if rng.random() < 0.6 else HingeCurve(3 * scale)
    box = np.full(d, low), np.full(d, high)
    price = int(rng.integers(1, 3 * 10**5)) if rng.random() < 0.3 else 0
    budget = int(rng.integers(0, d + 1)) if rng.random() < 0.3 else None
    return ConvexProblem(X, t, rng.integers(1, 4, n), curve, scale, *box, step, bias, price, budget)


def enumerated(problem):
    """Return the exact values of all feasible points."""
    low, high, step = problem.boxes()
    ranges = [range(a, b + 1, s) for a, b, s in zip(low, high, step, strict=True)]
    found = (problem.unpack(np.array(v, dtype=float)) for v in itertools.product(*ranges))
    return [problem.value(w, b) for w, b in found if problem.allows(w, b)]


@pytest.mark.parametrize("block", range(6))
def test_proofs_of_toys_equal_brute_force(block):
    for seed in range(16 * block, 16 * block + 16):
        problem = random_problem(seed)
        values = enumerated(problem)
        if not values:
            with pytest.raises(InputError, match="nothing to prove"):
                prove_again(problem, None, Limits())
            continue
        for limits in (Limits(), Limits(nodes=1)):
            result = prove_again(problem, None, limits)
            proof = proof_of(problem, result)
            assert proof.bound <= min(values), seed
            assert checked(problem, proof.data), seed
            assert limits.nodes or proof.bound == min(values), seed
            assert not checked(problem, {**proof.data, "bound": min(values) + 1}), seed


def test_moves_to_equal_points_in_proofs():
    """One-hot groups and a bias: the same scores in many ways, of which one is searched."""
    used = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        group = np.eye(4, dtype=np.int64)[rng.integers(0, 4, 60)]
        X = np.column_stack([group, rng.integers(0, 5, (60, 2))])
        t = np.where(X @ rng.normal(size=6) + rng.normal(size=60) > 0, 1, -1)
        box, ones = np.full(6, 2), np.ones(60, dtype=np.int64)
        problem = ConvexProblem(X, t, ones, LogisticCurve(1.5), 1, -box, box, 1, (-4, 4, 1))
        from provenn.bounds._convex_proof_search import search

        result = search(problem, Limits(), None, True)
        plain = search(problem, Limits(), None, False)
        proof = proof_of(problem, result)
        assert proof.bound == result.value == plain.value
        assert checked(problem, proof.data)
        nodes = [node for node in proof.data["tree"] if len(node) == 3 and node[1] < 0]
        used += len(nodes)
        if nodes:
            for key, value in (("moves", [[1, 0, 0, 0, 0, 0, 0]]), ("anchors", [9]), ("references", [5])):
                assert not checked(problem, {**proof.data, key: value})
            flipped = [[*node[:2], node[2] ^ 1] if node in nodes else node for node in proof.data["tree"]]
            assert not checked(problem, {**proof.data, "tree": flipped})
    assert used


@pytest.mark.parametrize("curve", [LogisticCurve(0.37), LogisticCurve(20_000.0), HingeCurve(7), HingeCurve(12_345)])
def test_lines_lie_below_the_table(curve):
    rng = np.random.default_rng(0)
    problem = ConvexProblem(np.ones((1, 1), dtype=np.int64), np.ones(1, dtype=np.int64), np.ones(1, dtype=np.int64),
                            curve, 1, -np.ones(1, dtype=np.int64), np.ones(1, dtype=np.int64))  # fmt: skip
    own = neuron_of(problem).curve
    size = 30 * (curve.tau if isinstance(curve, LogisticCurve) else curve.B)
    z = np.unique(np.append(rng.integers(-size, size + 1, 400), np.arange(-20, 21)))
    table = curve.exact(z)
    assert [own.exact(int(a)) for a in z] == table.tolist()
    for at in z[::4]:
        p = own.line(float(at))
        gaps = [own.parts * int(value) - own.intercept(p) + own.parts * own.slope * p * int(a)
                for a, value in zip(z, table, strict=True)]  # fmt: skip
        assert min(gaps) >= 0
        assert gaps[int(np.flatnonzero(z == at)[0])] / own.parts <= 40 + own.exact(int(at)) / 1000


def test_cells_are_read_as_in_training():
    rng = np.random.default_rng(0)
    cells = [
        repr(float(x))
        for x in np.concatenate([rng.normal(size=300), rng.normal(size=300) * 10.0 ** rng.integers(-30, 30, 300)])
    ]
    cells += ["1", "-0.5", "+3.", ".25", "1e5", "1E-7", "0.1234567890123456789", "12345678901234567890.5", "1e300"]
    read = read_csv_column(cells)
    assert [check_proof.number(cell) for cell in cells] == read


def read_csv_column(cells):
    from provenn._table_csv import parse_csv

    return parse_csv(("x,y\n" + "".join(f"{cell},1\n" for cell in cells)).encode(), "test")["x"].tolist()
