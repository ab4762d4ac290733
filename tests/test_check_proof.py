"""The checker of proofs: accepts what the engine proves, without NumPy, and rejects what was tampered with."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from provenn import check_proof
from provenn.bounds.convex import ConvexProblem
from provenn.bounds.convex_proof import checked, neuron_of, proof_of, prove_again
from provenn.errors import InputError
from provenn.losses.logistic import LogisticCurve
from provenn.losses.min_hinge import HingeCurve
from provenn.milp import Limits
from provenn.tables import read_table
from provenn.testing.proof_cases import (
    CHECKER,
    assert_checked_alone,
    assert_rejected,
    case_of,
    fingerprints_changed,
    grouped,
    least,
    put,
    risk_table,
    row_doubled,
    row_dropped,
    run_alone,
    signed,
    train,
)

HEART = Path(__file__).parents[2] / "shared" / "data" / "heart" / "heart.csv"
OPTIONS = {"temperature": 1.0, "random_state": 0}


def trained(folder, **options):
    """Return the case of a table with 80 rows."""
    return case_of(folder, risk_table(80, 0), "convex", **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder, bounds = tmp_path_factory.mktemp("proofs"), {"weight_bound": 3, "bias_bound": 9}
    return {
        "plain": trained(folder / "plain", **bounds),
        "priced": trained(folder / "priced", **bounds, nonzero_price=2.0),
        "budget": trained(folder / "budget", **bounds, max_nonzeros=1),
        "signs": trained(folder / "signs", **bounds, feature_signs={"visits": 1, "age": 1}),
    }


@pytest.fixture
def case(cases, tmp_path):
    return lambda name="plain": cases[name].copy_to(tmp_path)


def test_runs_without_any_package(cases):
    assert "ModuleNotFoundError" in run_alone("-c", "import numpy").stderr
    assert_checked_alone(cases)


@pytest.mark.shared
@pytest.mark.skipif(not HEART.exists(), reason="needs the data beside the project")
@pytest.mark.parametrize("weight_bound", [1, 3])
def test_heart(tmp_path, weight_bound):
    _, report = train(tmp_path, HEART, "target", weight_bound=weight_bound, **OPTIONS)
    assert report.written
    assert report.message == ""
    found = run_alone(CHECKER, tmp_path / "proof.json", tmp_path / "model.json", HEART)
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
    case = trained(tmp_path / "one", **options)
    assert case.verdict()["accepted"], case.verdict()


@pytest.mark.parametrize("options", [{}, {"fan_in": 1}])
def test_several_outputs(tmp_path, options):
    _, report = train(tmp_path, "sklearn:iris", "target", weight_bound=2, bias_bound=3, **OPTIONS, **options)
    assert report.written, report.message
    proof, model, csv = (tmp_path / name for name in ("proof.json", "model.json", "iris.csv"))
    read_table("sklearn:iris").frame.to_csv(csv, index=False)
    assert len(json.loads(proof.read_text())["outputs"]) == 3
    found = check_proof.check_files(str(proof), str(model), str(csv))
    assert found["accepted"], found


def swap_cells(case, row, column, value):
    lines = case.csv.splitlines()
    cells = lines[row].split(",")
    cells[column] = value
    lines[row] = ",".join(cells)
    case.csv = "\n".join(lines) + "\n"


def label_swapped(case):
    lines = case.csv.splitlines()
    swap_cells(case, 5, len(lines[5].split(",")) - 1, "low" if lines[5].endswith("high") else "high")


def row_swapped_for_a_copy(case):
    lines = case.csv.splitlines()
    case.csv = "\n".join([*lines[:-1], lines[1]]) + "\n"


def first_split(case):
    return next(node for node in case.part["tree"] if len(node) == 3)


def corners(points):
    return [[(3 if i % 2 else -3) << 16 for i in range(len(w))] for w in points]


TAMPERING = dict(
    drop_leaf=lambda c: c.part["tree"].pop(),
    double_leaf=lambda c: c.part["tree"].append(c.part["tree"][-1]),
    one_leaf=lambda c: c.part.update(tree=[[0]]),
    no_tree=lambda c: c.part.update(tree=[]),
    open_leaf=lambda c: c.part.update(tree=[[-1, *node[1:]] for node in c.part["tree"]]),
    far_points=lambda c: c.part.update(points=corners(c.part["points"])),
    short_point=lambda c: c.part["points"][0].pop(),
    wrong_index=lambda c: put(len(c.part["points"]), c.part["tree"], 0, 0),
    split_nowhere=lambda c: put(len(c.part["points"][0]), first_split(c), 1),
    split_at_nan=lambda c: put(float("nan"), first_split(c), 2),
    whole_box_one_side=lambda c: put(1000, first_split(c), 2),
    bound_raised=lambda c: c.claim(c.proof["bound"] + 1),
    total_raised=lambda c: c.proof.update(bound=c.proof["bound"] + 1),
    fraction_in_bound=lambda c: c.claim(c.proof["bound"] + 0.5),
    false_move=lambda c: c.part.update(moves=[[1] + [0] * (len(c.part["points"][0]) - 1)], references=[0], anchors=[0]),
    fingerprint_changed=lambda c: c.proof.update(data="0" * 64),
    checksum_changed=lambda c: c.model.update(checksum="0" * 64),
    model_edited=lambda c: c.model.update(message="better"),
    row_changed=lambda c: swap_cells(c, 3, 1, "7777"),
    label_flipped=label_swapped,
    row_doubled=row_doubled,
    row_dropped=row_dropped,
    row_swapped_for_a_copy=row_swapped_for_a_copy,
    kind_changed=lambda c: c.proof.update(kind="milp-of-mine"),
    version_changed=lambda c: c.proof.update(version=2),
    format_changed=lambda c: c.proof.update(format="other-proof"),
    output_dropped=lambda c: c.proof.update(outputs=[]),
) | signed(
    bound_and_loss_raised=lambda c: c.claim(c.proof["bound"] + 10**6, c.proof["bound"] + 10**6),
    weight_changed=lambda c: put(c.weights[0][0][0] + (1 if c.weights[0][0][0] < 3 else -1), c.weights, 0, 0, 0),
    weight_out_of_domain=lambda c: put(50, c.weights, 0, 0, 0),
    loss_changed=lambda c: c.claim(c.proof["bound"], c.proof["loss"] + 1),
    temperature_changed=lambda c: c.model["loss"]["options"].update(temperature=1.5),
    domain_widened=lambda c: c.layers[0]["weights"].update(low=-40, high=40),
    fingerprints_changed=fingerprints_changed,
    grid_changed=lambda c: put(2 * c.model["encoding"]["divisor"][0], c.model["encoding"]["divisor"], 0),
)


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_is_rejected(case, name):
    assert_rejected(case(), TAMPERING[name])


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


@pytest.mark.parametrize("block", range(6))
def test_proofs_of_toys_equal_brute_force(block):
    for seed in range(16 * block, 16 * block + 16):
        problem = random_problem(seed)
        best = least(problem)
        if best is None:
            with pytest.raises(InputError, match="nothing to prove"):
                prove_again(problem, None, Limits())
            continue
        for limits in (Limits(), Limits(nodes=1)):
            result = prove_again(problem, None, limits)
            proof = proof_of(problem, result)
            assert proof.bound <= best, seed
            assert checked(problem, proof.data), seed
            assert limits.nodes or proof.bound == best, seed
            assert not checked(problem, {**proof.data, "bound": best + 1}), seed


def test_moves_to_equal_points_in_proofs():
    """One-hot groups and a bias: the same scores in many ways, of which one is searched."""
    used = 0
    for seed in range(12):
        problem = grouped(seed, n=60, classes=4, bias=4)
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
