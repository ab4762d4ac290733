"""Proofs of networks with hidden layers: equal to brute force, and rejected when tampered with."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

import provenn.proofs
from provenn import check_proof
from provenn.bounds._network_tree_kernels import bound_of, order
from provenn.bounds._network_tree_setup import arrays_of, overflows
from provenn.bounds.network_tree import NetworkProblem, prove
from provenn.check_proof import RejectedError, Search
from provenn.errors import InputError
from provenn.formulations import Problem
from provenn.formulations.neuron_count import NeuronCount
from provenn.formulations.norm_price import NormPrice
from provenn.formulations.sparsity import Sparsity
from provenn.losses.hamming import Hamming
from provenn.losses.logistic import Logistic
from provenn.losses.max_correct import MaxCorrect
from provenn.losses.max_margin import MaxMargin
from provenn.losses.min_hinge import MinHinge
from provenn.losses.min_weight import MinWeight
from provenn.losses.sat_margin import SatMargin
from provenn.milp import Limits
from provenn.network import Architecture, Dataset, IntegerDomain
from provenn.proofs._network import NETWORK
from provenn.status import Status
from provenn.testing.proof_cases import (
    assert_checked_alone,
    assert_rejected,
    case_of,
    put,
    row_dropped,
    signed,
    train,
)
from provenn.testing.toys import Batch, choices, odd_problem, optimum, random_network
from provenn.trainers.tree import Tree, task_of

LOSSES = [Logistic(0.7), Logistic(2.0), MinHinge(), MaxCorrect(), MaxCorrect("published"), Hamming(), SatMargin(),
          MinWeight(), MinWeight(count_biases=False)]  # fmt: skip
SHAPES = [(1,), (2,), (2,), (3,), (1, 1), (2, 1), (1, 2), (2, 2)]


def problems(block, count=24):
    """Yield tiny problems of all kinds with their optima."""
    rng, found = np.random.default_rng(block), 0
    while found < count:
        loss, hidden = LOSSES[rng.integers(len(LOSSES))], SHAPES[rng.integers(len(SHAPES))]
        problem = odd_problem(rng, loss, hidden, int(rng.integers(2, 13)), int(rng.integers(1, 4)), 20_000)
        if problem is None or Tree.obstacle(problem) is not None:
            continue
        best = optimum(problem)
        if best is not None:
            found += 1
            yield problem, best


def accepts(task, tree, bound):
    try:
        Search(task.networks(), tree.cuts).check(tree.tree, bound)
    except RejectedError:
        return False
    return True


@pytest.mark.parametrize("block", range(6))
def test_proofs_of_toys_equal_brute_force(block):
    rng = np.random.default_rng(block)
    for problem, best in problems(block):
        task = task_of(problem)
        tree = prove(task, best, Limits())
        assert (tree.bound, tree.status) == (best, Status.OPTIMAL), problem
        assert accepts(task, tree, best), problem
        assert not accepts(task, tree, best + 1), problem
        assert prove(task, best + 1000, Limits()).bound == best, problem
        short = prove(task, best, Limits(nodes=1))
        assert short.bound <= best, problem
        assert accepts(task, short, short.bound), problem
        networks = task.networks()
        assert networks.unit == problem.unit
        for _ in range(3):
            network = random_network(rng, problem)
            assert networks.value(network.to_dict()) == problem.value(network), problem


@pytest.mark.parametrize("block", range(2))
def test_the_trainer_finds_the_optimum(block):
    for problem, best in problems(100 + block, 12):
        result = Tree().train(problem, Limits())
        assert result.status is Status.OPTIMAL, problem
        assert problem.value(result.network) == result.certificate.loss == result.certificate.bound == best, problem


def test_the_trainer_knows_what_is_infeasible():
    data = Dataset.merge([[0], [0], [1]], [0, 1, 1])
    problem = Problem(Architecture.build(1, 2, (2,)), data, MinWeight())
    assert Tree().train(problem, Limits()).status is Status.INFEASIBLE


def drawn(seed, hidden=(2,), loss=None, P=1, outputs=None, activation="sign", n=24, d=3, classes=2, constraints=()):
    rng = np.random.default_rng(seed)
    X, y = rng.integers(0, 2, (n, d)), rng.integers(0, classes, n)
    shape = Architecture.build(d, classes, hidden, IntegerDomain.symmetric(P), outputs=outputs, activation=activation)
    data = Dataset.merge(X, y, rng.integers(1, 4, n), classes=tuple(range(classes)))
    return Problem(shape, data, loss or MaxCorrect(), constraints)


def enumerated(problem):
    """Return the least value of all networks where the only condition is a price on the size of the weights."""
    (price,) = problem.constraints
    free = replace(problem, constraints=())
    batch = Batch.of(free, np.array(list(itertools.product(*choices(free)))))
    sizes = sum((abs(W) ** price.power).reshape(len(W), -1).sum(axis=1) for W in batch.weights)
    values, _ = batch.values()
    return int((values * int(free.unit / problem.unit) + sizes * int(price.price_unit / problem.unit)).min())


@pytest.mark.parametrize("constraint", [NormPrice(0.3), NormPrice(0.1, 2), NeuronCount(1), Sparsity(0.5, 4, 2)])
@pytest.mark.parametrize("loss", [MaxCorrect(), Logistic()])
def test_prices_and_limits(constraint, loss):
    for seed, activation in enumerate(("sign", "step")):
        problem = drawn(seed, (2,), loss, d=2, constraints=(constraint,), activation=activation)
        best = enumerated(problem) if isinstance(constraint, NormPrice) else optimum(problem)
        tree = prove(task_of(problem), best, Limits())
        assert tree.bound == best
        assert accepts(task_of(problem), tree, best)
        assert not accepts(task_of(problem), tree, best + 1)


@pytest.mark.parametrize(
    "problem",
    [
        drawn(0, (3,)),
        drawn(1, (2, 2), Logistic()),
        drawn(2, (2,), Logistic(), classes=3),
        drawn(3, (2,), MaxCorrect(), classes=3, constraints=(Sparsity(0.25, 7),)),
        drawn(4, (2,), MinHinge(), activation="step", constraints=(NeuronCount(0.5),)),
    ],
)
def test_kernel_and_checker_agree_on_every_node(problem):
    rng, networks = np.random.default_rng(0), task_of(problem).networks()
    arrays, search = arrays_of(networks)
    a, scratch = arrays.cut(10**9), np.zeros(arrays.tables.shape[1], dtype=np.int64)
    assert not overflows(a)
    h, dropped = networks.h, 0
    for _ in range(200):
        nodes = rng.integers(0, len(search.clusters), h)
        told, own = search.ordered(nodes.tolist()), nodes.astype(np.int32)
        assert order(own, a.first, a.last, a.children) == (told is not None)
        if told is None:
            dropped += 1
            continue
        assert tuple(own.tolist()) == told
        bound = bound_of(
            own, a.status, a.prices, a.weights, a.tables, a.starts, a.options, a.pointers, a.setting, scratch,
            np.zeros(len(a.tables), dtype=np.int64), scratch.copy(),
        )  # fmt: skip
        assert bound == search.bound(told) or bound > 10**9 < search.bound(told)
        assert all(search.bound(told) <= search.bound(child) for child in children(search, told))
    assert dropped


def children(search, nodes):
    """Yield the nodes below a node, out of order ones left out."""
    for j, number in enumerate(nodes):
        for child in search.clusters[number].children:
            below = search.ordered([*nodes[:j], child, *nodes[j + 1 :]])
            if below is not None:
                yield below


def test_patterns_are_those_of_all_units():
    """Both activations, wide and uneven domains: the list holds every pattern, and its price is the least."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        domain = [IntegerDomain.symmetric(3), IntegerDomain(-1, 2), IntegerDomain.binary(), IntegerDomain(0, 2)][
            seed % 4
        ]
        activation = ("sign", "step")[seed // 4 % 2]
        shape = Architecture.build(2, 2, (1,), domain, activation=activation)
        data = Dataset.merge(rng.integers(-9, 10, (7, 2)), [0, 1, 0, 1, 0, 1, 0], scale=4)
        price = Fraction(1), Fraction(0), Fraction(0), Fraction(0)
        networks = NetworkProblem(shape, data, "max_correct", {"rule": "argmax"}, price).networks()
        rows, found = np.array(networks.rows), {}
        for w in np.array(np.meshgrid(*[domain.values] * 3)).reshape(3, -1).T:
            fires = (rows @ w[:2] + 4 * w[2] >= 0).tolist()
            keys = [check_proof.mask_of(fires)]
            keys += [networks.all ^ keys[0]] if networks.mirrored(0) else []
            found[min(keys)] = min(found.get(min(keys), 9), int(np.count_nonzero(w[:2])))
        assert {p: price[0] for p, price in networks.patterns().items()} == found
        assert networks.mirrored(0) == (activation == "sign" and domain.low == -domain.high)


def test_limits_end_the_search_with_a_bound():
    task = task_of(drawn(5, (2,), MaxCorrect(), d=5, n=60))
    full = prove(task, 10**6, Limits())
    for limits, status in (
        (Limits(nodes=1), Status.NODE_LIMIT),
        (Limits(seconds=0), Status.TIME_LIMIT),
        (Limits(memory_mb=1), Status.MEMORY_LIMIT),
    ):
        hard = task_of(drawn(5, (4,), MaxCorrect(), d=5, n=60)) if limits.memory_mb else task
        tree = prove(hard, 10**6, limits)
        assert tree.status is status
        assert accepts(hard, tree, tree.bound)
        if hard is task:
            assert 0 <= tree.bound <= full.bound
    assert prove(task, full.bound, Limits(), stopped=lambda: True).status in (Status.INTERRUPTED, Status.OPTIMAL)


def test_ctrl_c_keeps_the_bound():
    def press():
        raise KeyboardInterrupt

    task = task_of(drawn(5, (4,), MaxCorrect(), d=5, n=60))
    tree = prove(task, 10**6, Limits(), stopped=press)
    assert tree.status is Status.INTERRUPTED
    assert accepts(task, tree, tree.bound)


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (drawn(0, ()), "no hidden layer"),
        (drawn(0, (12,)), "first hidden layer"),
        (drawn(0, (2,), P=9, d=9), "units to choose from"),
        (drawn(0, (4,), P=2, d=6, n=300), "first layers are too many"),
        (drawn(0, (5,), classes=3), "later layers"),
        (drawn(0, (2, 2), constraints=(NeuronCount(1),)), "single hidden layer"),
        (drawn(0, (2,), SatMargin(kept_only=True)), "kept_only"),
        (drawn(0, (2,), MaxMargin()), "MaxMargin"),
    ],
)
def test_obstacles(problem, text):
    assert text in Tree.obstacle(problem)


def table(n=60):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.integers(0, 2, (n, 4)), columns=["a", "b", "c", "d"])
    frame["size"] = rng.normal(5, 2, n).round(2)
    return frame.assign(risk=np.where((frame["a"] ^ frame["b"]) & (rng.random(n) < 0.7), "high", "low"))


PLAIN = {
    "hidden_layer_sizes": (2,), "loss": "max_correct", "solver": Tree(), "random_state": 0, "grid_steps": 10,
    "unused": ("c", "d"),
}  # fmt: skip


def trained(folder, **options):
    found = case_of(folder, table(), "network", **{**PLAIN, **options})
    assert found.proof["bound"] == found.model["certificate"]["loss"]
    return found


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder, patch = tmp_path_factory.mktemp("network"), pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(provenn.proofs, "KINDS", (NETWORK,))
        return {
            "plain": trained(folder / "plain"),
            "deep": trained(folder / "deep", hidden_layer_sizes=(2, 2), activation="step", loss="hamming"),
            "priced": trained(folder / "priced", loss="logistic", temperature=1.0, nonzero_price=0.5, l1_price=0.25),
            "budget": trained(folder / "budget", max_nonzeros=3, fan_in=2, neuron_price=1.0, class_weight="balanced"),
        }


@pytest.fixture
def case(cases, tmp_path):
    return lambda name="plain": cases[name].copy_to(tmp_path)


def test_runs_without_any_package(cases):
    assert_checked_alone(cases)


def inner(proof):
    """Return the place of a cut that parts something."""
    return next(i for i, k in enumerate(proof["cuts"]) if k >= 0)


def label_flipped(case):
    lines = case.csv.splitlines()
    lines[5] = lines[5].replace("high", "LOW").replace("low", "high").replace("LOW", "low")
    case.csv = "\n".join(lines) + "\n"


TAMPERING = dict(
    drop_leaf=lambda c: c.proof.update(tree=c.proof["tree"][:-1]),
    double_leaf=lambda c: c.proof.update(tree=c.proof["tree"] + "0"),
    one_leaf=lambda c: c.proof.update(tree="0"),
    no_tree=lambda c: c.proof.update(tree=""),
    unknown_unit=lambda c: c.proof.update(tree=c.proof["tree"].replace("2", "3")),
    letter_in_tree=lambda c: c.proof.update(tree="x" + c.proof["tree"][1:]),
    tree_as_list=lambda c: c.proof.update(tree=list(c.proof["tree"])),
    leaf_for_a_split=lambda c: c.proof.update(tree=c.proof["tree"].replace("1", "0", 1)),
    split_of_a_whole_cluster=lambda c: c.proof.update(tree="1" * 50 + c.proof["tree"]),
    no_cuts=lambda c: c.proof.update(cuts=[]),
    clusters_gone=lambda c: c.proof.update(cuts=[-1]),
    cut_missing=lambda c: c.proof["cuts"].pop(),
    cut_too_many=lambda c: c.proof["cuts"].append(-1),
    cut_of_no_sample=lambda c: put(10**6, c.proof["cuts"], inner(c.proof)),
    cut_below_the_first_sample=lambda c: put(-2, c.proof["cuts"], inner(c.proof)),
    cut_is_true=lambda c: put(True, c.proof["cuts"], inner(c.proof)),
    cut_twice=lambda c: put(c.proof["cuts"][inner(c.proof)], c.proof["cuts"], inner(c.proof) + 1),
    bound_raised=lambda c: c.claim(c.proof["bound"] + 1),
    fraction_in_bound=lambda c: c.claim(c.proof["bound"] - 0.5),
    bound_is_text=lambda c: c.claim(str(c.proof["bound"])),
    label_flipped=label_flipped,
    row_dropped=row_dropped,
    other_kind=lambda c: c.proof.update(kind="convex"),
    kind_of_hulls=lambda c: c.proof.update(kind="hull"),
    tree_missing=lambda c: c.proof.pop("tree"),
) | signed(
    bound_and_loss_raised=lambda c: c.claim(c.proof["bound"] + 1, c.proof["bound"] + 1),
    weight_changed=lambda c: put(-c.weights[1][0][0] or 1, c.weights, 1, 0, 0),
    weight_out_of_domain=lambda c: put(3, c.weights, 0, 0, 0),
    weight_is_a_fraction=lambda c: put(0.5, c.weights, 0, 0, 0),
    activation_changed=lambda c: c.layers[0].update(activation="step"),
    domain_widened=lambda c: c.layers[0]["weights"].update(low=-9, high=9),
    output_domain_narrowed=lambda c: c.layers[1]["weights"].update(low=0, high=0),
    layer_dropped=lambda c: c.layers.pop(),
    loss_renamed=lambda c: c.model["loss"].update(name="min_hinge", options={}),
    loss_unknown=lambda c: c.model["loss"].update(name="max_margin"),
    rule_unknown=lambda c: c.model["loss"]["options"].update(rule="mine"),
    price_added=lambda c: c.model["options"].update(neuron_price=0.5),
    option_added=lambda c: c.model["options"].update(most_layers=3),
    robust_radius_added=lambda c: c.model["options"].update(robust_radius={"a": 0.1}),
    margin_added=lambda c: c.layers[0].update(margin=0.5),
    continuous_weights=lambda c: c.layers[0]["weights"].update(denominator=2),
    scale_changed=lambda c: c.model["network"].update(scale=20),
    classes_weighted=lambda c: c.model["options"].update(class_weight=[["high", 2.0], ["low", 1.0]]),
)


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_is_rejected(case, name):
    assert_rejected(case(), TAMPERING[name])


def test_the_same_problem_with_less_asked_of_it_is_another_problem(case):
    for name, option, value in (
        ("priced", "nonzero_price", 0.1),
        ("priced", "l1_price", 0),
        ("budget", "max_nonzeros", 9),
        ("budget", "fan_in", None),
        ("budget", "neuron_price", 0),
    ):
        changed = case(name)
        assert changed.verdict()["accepted"]
        changed.model["options"][option] = value
        found = changed.sign().verdict()
        assert not found["accepted"] or option == "fan_in", (name, option)


def test_harmless_edits_are_accepted(case):
    for name in ("plain", "deep", "priced", "budget"):
        one = case(name)
        one.proof = dict(reversed(one.proof.items()))
        assert one.verdict()["accepted"]
        weaker = case(name)
        weaker.proof["bound"] -= 1
        found = weaker.verdict()
        assert (found["accepted"], found["optimal"]) == (True, False)
    shuffled = case()
    lines = shuffled.csv.splitlines()
    shuffled.csv = "\r\n".join([lines[0], *reversed(lines[1:])]) + "\r\n"
    assert shuffled.verdict()["accepted"]
    solver = case()
    solver.model["options"]["solver"] = "cpsat"
    assert solver.sign().verdict()["accepted"]


def test_a_leaf_may_be_split_further(case):
    accepted, tree = 0, case().proof["tree"]
    for i, more in itertools.product([i for i, mark in enumerate(tree) if mark == "0"], ("100", "10", "200", "20")):
        finer = case()
        finer.proof["tree"] = tree[:i] + more + tree[i + 1 :]
        accepted += finer.verdict()["accepted"]
    assert accepted


def test_an_unfinished_search_is_told(cases, tmp_path, monkeypatch):
    one = cases["plain"]
    monkeypatch.setattr(provenn.proofs, "KINDS", (NETWORK,))
    _, report = train(tmp_path, one.paths[2], "risk", Limits(nodes=1), **PLAIN)
    assert report.written
    assert report.bound < one.proof["bound"]
    files = tmp_path / "proof.json", tmp_path / "model.json", one.paths[2]
    found = check_proof.check_files(*map(str, files))
    assert (found["accepted"], found["optimal"], found["bound"]) == (True, False, report.bound)


def test_what_the_tree_does_not_know_is_an_input_error():
    with pytest.raises(InputError, match="max_margin"):
        prove(NetworkProblem(drawn(0).architecture, drawn(0).dataset, "max_margin", {}), 5, Limits())
