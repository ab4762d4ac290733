"""Proofs are refused when they are tampered with, accepted after harmless edits, and checked without NumPy."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from provenn import check_proof as checker
from provenn.check_proof import RejectedError, check_milp, problem_hash
from provenn.cli import main
from provenn.errors import ModelFileError
from provenn.milp import MILP, Builder, Limits, Terms
from provenn.milp.read import read_mps
from provenn.milp.write import write_mps
from provenn.tame import DualCertificate, branch_and_bound

Proof = dict[str, Any]


def mixed(seed: int = 0) -> MILP:
    """Draw a covering model with continuous slacks that needs a tree."""
    rng = np.random.default_rng(seed)
    builder = Builder()
    x = builder.columns("x", (8,), 0, 3)
    s = builder.columns("s", (4,), 0, 50, integer=False)
    A = rng.integers(1, 20, (4, 8)) * 1.0
    builder.rows([Terms(np.tile(x, (4, 1)), A), Terms(s[:, None], 1.0)], lower=A.sum(axis=1) * 0.77, upper=200)
    builder.minimise(x, rng.integers(5, 25, 8) + 0.25)
    builder.minimise(s, 1.1 + rng.random(4))
    builder.offset = 1.5
    return builder.build()


@pytest.fixture(scope="module")
def proof() -> Proof:
    made: Proof = branch_and_bound(mixed()).to_dict()
    assert len(made["tree"]) > 20
    return made


def rehashed(proof: Proof) -> None:
    proof["hash"] = problem_hash(proof["problem"])


def first(proof: Proof, inner: bool) -> int:
    return next(k for k, node in enumerate(proof["tree"]) if isinstance(node, list) == inner)


def drop_leaf(proof: Proof) -> None:
    del proof["tree"][first(proof, False)]


def drop_subtree(proof: Proof) -> None:
    proof["tree"] = proof["tree"][:-2]


def extra_leaf(proof: Proof) -> None:
    proof["tree"].append(0)


def collapse(proof: Proof) -> None:
    proof["tree"] = [0]


def fractional_split(proof: Proof) -> None:
    proof["tree"][first(proof, True)][1] = 0.5


def moved_splits(proof: Proof) -> None:
    proof["tree"] = [
        [j, v + 1] if isinstance(node, list) else node
        for node in proof["tree"]
        for j, v in [node if isinstance(node, list) else (0, 0)]
    ]


def continuous_split(proof: Proof) -> None:
    proof["tree"][first(proof, True)][0] = proof["problem"]["integer"].index(0)


def continuous_made_integer(proof: Proof) -> None:
    proof["problem"]["integer"] = [1] * proof["problem"]["columns"]
    rehashed(proof)


def unknown_column(proof: Proof) -> None:
    proof["tree"][first(proof, True)][0] = 10_000


def negative_column(proof: Proof) -> None:
    proof["tree"][first(proof, True)][0] = -1


def flipped_duals(proof: Proof) -> None:
    proof["duals"] = [[d, rows, [-v for v in values]] for d, rows, values in proof["duals"]]


def larger_duals(proof: Proof) -> None:
    proof["duals"] = [[d, rows, [4 * v for v in values]] for d, rows, values in proof["duals"]]


def smaller_denominator(proof: Proof) -> None:
    proof["duals"] = [[max(d // 2, 1), rows, values] for d, rows, values in proof["duals"]]


def negative_denominator(proof: Proof) -> None:
    proof["duals"][0][0] *= -1


def row_twice(proof: Proof) -> None:
    _, rows, values = next(dual for dual in proof["duals"] if dual[1])
    rows.append(rows[0])
    values.append(values[0])


def wrong_dual(proof: Proof) -> None:
    proof["tree"] = [node if isinstance(node, list) else 0 for node in proof["tree"]]


def unknown_dual(proof: Proof) -> None:
    proof["tree"][first(proof, False)] = len(proof["duals"])


def negative_dual(proof: Proof) -> None:
    proof["tree"][first(proof, False)] = -1


def better_bound(proof: Proof) -> None:
    proof["bound"][0] += 1


def better_value(proof: Proof) -> None:
    proof["value"][0] -= 1


def bound_and_value_raised(proof: Proof) -> None:
    value = Fraction(*proof["value"]) + 1
    proof["value"] = proof["bound"] = [value.numerator, value.denominator]


def changed_point(proof: Proof) -> None:
    proof["x"]["x"][0] += proof["x"]["denominator"]


def fractional_point(proof: Proof) -> None:
    proof["x"]["denominator"] *= 2


def worse_point(proof: Proof) -> None:
    """Every integer at its upper bound: feasible, but not of the claimed value."""
    proof["x"] = {"denominator": 1, "x": [3] * 8 + [0] * 4}


def changed_cost(proof: Proof) -> None:
    proof["problem"]["c"][0] += 1


def changed_cost_and_hash(proof: Proof) -> None:
    proof["problem"]["c"] = [c - 16 * 2 ** proof["problem"]["shift"] for c in proof["problem"]["c"]]
    rehashed(proof)


def changed_side_and_hash(proof: Proof) -> None:
    proof["problem"]["row_lower"] = [v // 2 for v in proof["problem"]["row_lower"]]
    rehashed(proof)


def changed_entry_and_hash(proof: Proof) -> None:
    proof["problem"]["A"] = [[columns, [3 * v for v in values]] for columns, values in proof["problem"]["A"]]
    rehashed(proof)


def open_bound_and_hash(proof: Proof) -> None:
    proof["problem"]["col_upper"][0] = None
    rehashed(proof)


def wider_bound_and_hash(proof: Proof) -> None:
    proof["problem"]["col_lower"] = [v - 3 * 2 ** proof["problem"]["shift"] for v in proof["problem"]["col_lower"]]
    rehashed(proof)


def other_hash(proof: Proof) -> None:
    proof["hash"] = "0" * 64


def other_format(proof: Proof) -> None:
    proof["format"] = "other"


def other_version(proof: Proof) -> None:
    proof["version"] = 2


def true_for_one(proof: Proof) -> None:
    proof["version"] = True


def missing_key(proof: Proof) -> None:
    del proof["duals"]


def text_for_number(proof: Proof) -> None:
    proof["problem"]["c"][0] = "1"


def float_for_number(proof: Proof) -> None:
    proof["duals"][-1][2] = [float(v) for v in proof["duals"][-1][2]]


TAMPERED = [
    drop_leaf, drop_subtree, extra_leaf, collapse, fractional_split, moved_splits, continuous_split,
    continuous_made_integer, unknown_column, negative_column, flipped_duals, larger_duals, smaller_denominator,
    negative_denominator, row_twice, wrong_dual, unknown_dual, negative_dual, better_bound, better_value,
    bound_and_value_raised, changed_point, fractional_point, worse_point, changed_cost, changed_cost_and_hash,
    changed_side_and_hash, changed_entry_and_hash, open_bound_and_hash, wider_bound_and_hash, other_hash,
    other_format, other_version, true_for_one, missing_key, text_for_number, float_for_number,
]  # fmt: skip


def nothing(proof: Proof) -> None:
    """Change nothing."""


def spare_dual(proof: Proof) -> None:
    proof["duals"].append([1, [], []])


def scaled_duals(proof: Proof) -> None:
    proof["duals"] = [[3 * d, rows, [3 * v for v in values]] for d, rows, values in proof["duals"]]


def reordered_duals(proof: Proof) -> None:
    last = len(proof["duals"]) - 1
    proof["duals"].reverse()
    proof["tree"] = [node if isinstance(node, list) else last - node for node in proof["tree"]]


def weaker_bound(proof: Proof) -> None:
    proof["bound"][0] -= 1


def finer_tree(proof: Proof) -> None:
    at = first(proof, False)
    leaf = proof["tree"][at]
    proof["tree"][at : at + 1] = [[0, 1], leaf, leaf]


def scaled_point(proof: Proof) -> None:
    proof["x"] = {"denominator": 2 * proof["x"]["denominator"], "x": [2 * v for v in proof["x"]["x"]]}


def extra_key(proof: Proof) -> None:
    proof["note"] = "anything"


HARMLESS = [nothing, spare_dual, scaled_duals, reordered_duals, weaker_bound, finer_tree, scaled_point, extra_key]


@pytest.mark.parametrize("edit", TAMPERED, ids=lambda edit: edit.__name__)
def test_tampering_is_refused(proof: Proof, edit: Callable[[Proof], None]) -> None:
    edited = copy.deepcopy(proof)
    edit(edited)
    with pytest.raises(RejectedError):
        check_milp(edited, proof["problem"] if edit is continuous_made_integer else None)


@pytest.mark.parametrize("edit", HARMLESS, ids=lambda edit: edit.__name__)
def test_harmless_edits_are_accepted(proof: Proof, edit: Callable[[Proof], None]) -> None:
    edited = copy.deepcopy(proof)
    edit(edited)
    shown = check_milp(edited, proof["problem"])
    assert shown["value"] == Fraction(*proof["value"])
    assert shown["bound"] == Fraction(*edited["bound"])


def test_random_edits_never_raise_the_bound_above_the_optimum(proof: Proof) -> None:
    rng, optimum, accepted = np.random.default_rng(0), Fraction(*proof["value"]), 0
    for _ in range(300):
        edited = copy.deepcopy(proof)
        part = [edited["tree"], edited["duals"]][rng.integers(2)]
        k = int(rng.integers(len(part)))
        if isinstance(part[k], int):
            part[k] = int(rng.integers(len(edited["duals"])))
        elif part is edited["tree"]:
            part[k][int(rng.integers(2))] += int(rng.integers(-2, 3))
        elif part[k][2]:
            part[k][2][int(rng.integers(len(part[k][2])))] += int(rng.integers(-50, 50))
        try:
            shown = check_milp(edited)
        except RejectedError:
            continue
        accepted += 1
        assert shown["bound"] <= optimum
    assert 0 < accepted < 300


def test_the_proof_of_one_problem_is_refused_for_another(proof: Proof) -> None:
    other = branch_and_bound(mixed(1)).to_dict()
    assert check_milp(other, other["problem"])["optimal"]
    with pytest.raises(RejectedError, match="another problem"):
        check_milp(proof, other["problem"])


def test_the_checker_runs_where_numpy_cannot_be_imported(proof: Proof, tmp_path: Path) -> None:
    target = tmp_path / "proof.json"
    target.write_text(json.dumps(proof))
    for name in ("numpy", "scipy", "numba", "provenn"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not here')\n")
    script = (
        "import importlib.util, json, sys\n"
        "try:\n    import numpy\nexcept ImportError:\n    pass\nelse:\n    sys.exit('numpy is importable')\n"
        "spec = importlib.util.spec_from_file_location('checker', sys.argv[1])\n"
        "checker = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(checker)\n"
        "shown = checker.check_milp(json.load(open(sys.argv[2], encoding='utf-8')))\n"
        "print(shown['value'], shown['optimal'], sorted(set(sys.modules) & {'numpy', 'provenn'}))\n"
    )
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{script}"]
    done = subprocess.run([*command, str(checker.__file__), str(target)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(Fraction(*proof["value"])), "True", "[]"]


def test_json_both_ways(proof: Proof) -> None:
    read = DualCertificate.from_dict(json.loads(json.dumps(proof)))
    assert read.to_dict() == proof
    assert read.lower_bound() == branch_and_bound(mixed()).lower_bound()
    assert read.warm_start(mixed()).value == read.value
    damaged = copy.deepcopy(proof)
    drop_subtree(damaged)
    with pytest.raises(ModelFileError, match="the proof cannot be used"):
        DualCertificate.from_dict(damaged)


def test_unfinished_trees_are_proofs_of_their_bound() -> None:
    whole = branch_and_bound(mixed())
    bounds = []
    for nodes in (0, 1, 5, 21, 101):
        part = branch_and_bound(mixed(), incumbent=whole.x, limits=Limits(nodes=nodes))
        shown = part.verify()
        assert shown["bound"] == part.exact_bound <= whole.exact_value
        assert part.tree.n_nodes <= max(nodes, 1)
        bounds.append(part.exact_bound)
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[-1]


def test_infeasible_models_have_proofs() -> None:
    builder = Builder()
    x = builder.columns("x", (2,), 0, 5)
    builder.rows([Terms(x, [2.0, -2.0])], lower=1, upper=1)
    builder.minimise(x, [1.0, 1.0])
    certificate = branch_and_bound(builder.build())
    assert certificate.value is None
    assert certificate.verify()["infeasible"]


def test_the_command_checks_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, same, other = (tmp_path / name for name in ("p.json", "same.mps", "other.mps"))
    write_mps(mixed(), same)
    write_mps(mixed(1), other)
    proof = branch_and_bound(read_mps(same)[0]).to_dict()
    path.write_text(json.dumps(proof))
    assert main(["check", str(path)]) == 0
    assert main(["check", str(path), str(same), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (shown["optimal"], Fraction(shown["value"])) == (True, Fraction(*proof["value"]))
    assert main(["check", str(path), str(other)]) == 1
    assert "another problem" in capsys.readouterr().err
    proof = {**proof, "bound": [proof["bound"][0] + 1, proof["bound"][1]]}
    path.write_text(json.dumps(proof))
    assert main(["check", str(path)]) == 1
    assert checker.main([str(path)]) == 1
    path.write_text(json.dumps({**proof, "kind": "convex"}))
    assert main(["check", str(path)]) == 1
    assert "name the model file" in capsys.readouterr().err
