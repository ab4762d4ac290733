import itertools

import numpy as np
import pytest

from provenn.errors import InputError
from provenn.milp import Builder, Terms
from provenn.milp.write import write_mps

torch = pytest.importorskip("torch")
pyepo = pytest.importorskip("pyepo")

from provenn.tame.pyepo import MilpModel  # noqa: E402

torch.set_num_threads(1)
WEIGHTS = np.array([[3.0, 5.0, 2.0, 4.0, 6.0], [4.0, 1.0, 5.0, 3.0, 2.0]])
CAPACITY = np.array([9.0, 8.0])


def knapsack(extra=False):
    """Two capacities, five items; with `extra` a continuous column that buys capacity of the first."""
    builder = Builder()
    x = builder.columns("x", (5,), 0, 1)
    builder.minimise(x, -1.0)
    terms = [Terms(x, WEIGHTS)]
    if extra:
        more = builder.columns("more", (1,), 0, 2, integer=False)
        builder.minimise(more, 0.6)
        terms.append(Terms(more, np.array([[-1.0], [0.0]])))
    builder.rows(terms, upper=CAPACITY)
    return builder.build()


def best(gains):
    points = np.array(list(itertools.product((0, 1), repeat=5)))
    points = points[(points @ WEIGHTS.T <= CAPACITY).all(axis=1)]
    return (points @ gains).max()


@pytest.mark.parametrize("maximise", [True, False])
def test_solutions_are_optimal(rng, maximise):
    model = MilpModel(knapsack(), maximise=maximise)
    assert model.num_cost == 5
    assert model.c_pred_index is None
    for _ in range(5):
        gains = rng.normal(size=5)
        model.setObj(gains if maximise else -gains)
        x, value = model.solve()
        assert value == pytest.approx(best(gains) if maximise else -best(gains))
        assert (gains if maximise else -gains) @ x == pytest.approx(value)


def test_costs_of_some_columns_leave_the_others():
    model = MilpModel(knapsack(extra=True), columns="x", maximise=True)
    assert model.num_cost == 5
    model.setObj(torch.tensor([3.0, 5.0, 2.0, 4.0, 6.0]))
    x, value = model.solve()
    assert len(x) == 6
    assert value == pytest.approx(np.array([3, 5, 2, 4, 6, -0.6]) @ x)
    assert x[5] > 0
    costs = torch.ones(2, 5, requires_grad=True)
    full = model._fullCost(costs)
    full.sum().backward()
    assert full.shape == (2, 6)
    assert full[0, 5].item() == pytest.approx(-0.6)
    assert torch.equal(costs.grad, torch.ones(2, 5))
    assert np.array_equal(model._fullCost(np.ones((2, 5)))[:, 5], [-0.6, -0.6])


def test_a_model_is_read_from_mps(tmp_path, rng):
    write_mps(knapsack(), tmp_path / "knapsack.mps")
    model = MilpModel.from_mps(tmp_path / "knapsack.mps")
    assert model.modelSense == pyepo.MINIMIZE
    gains = rng.normal(size=5)
    model.setObj(-gains)
    assert model.solve()[1] == pytest.approx(-best(gains))


def test_rows_relaxations_and_copies(rng):
    model = MilpModel(knapsack(), maximise=True)
    gains = np.abs(rng.normal(size=5)) + 0.1
    values = []
    for other in (model, model.relax(), model.addConstr([1] * 5, 1), model.rebuild(), model.copy()):
        other.setObj(gains)
        values.append(other.solve()[1])
    assert values[1] >= values[0] >= values[2] == pytest.approx(gains.max())
    assert values[3] == values[4] == values[0]


def test_bad_calls_are_refused():
    model = MilpModel(knapsack())
    for call, message in [
        (lambda: model.setObj(np.ones(4)), "5 predicted costs"),
        (lambda: model.addConstr([1.0], 1), "5 coefficients"),
        (lambda: MilpModel(knapsack(), columns=[0, 0]), "distinct columns"),
        (lambda: MilpModel(knapsack(), columns="y"), "no block"),
    ]:
        with pytest.raises(InputError, match=message):
            call()


def mean_regret(model, predict, data):
    from torch.utils.data import DataLoader

    return pyepo.metric.regret(predict, model, DataLoader(data, batch_size=16))


@pytest.mark.parametrize("loss", ["spo", "perturbed", "blackbox"])
def test_losses_of_pyepo_train_through_the_model(rng, loss):
    torch.manual_seed(0)
    model = MilpModel(knapsack(), maximise=True)
    features = rng.normal(size=(24, 4)).astype(np.float32)
    costs = (features @ rng.normal(size=(4, 5)) + 2.0).astype(np.float32)
    data = pyepo.data.dataset.optDataset(model, features, costs)
    predict = torch.nn.Linear(4, 5)
    before = mean_regret(model, predict, data)
    spo = pyepo.func.SPOPlus(model)
    perturbed = pyepo.func.perturbedOpt(model, n_samples=4, sigma=0.5)
    blackbox = pyepo.func.blackboxOpt(model, lambd=5.0)
    optimiser = torch.optim.Adam(predict.parameters(), 0.1)
    x, c, w, z = data.feats, data.costs, data.sols, data.objs
    for _ in range(15):
        optimiser.zero_grad()
        value = {
            "spo": lambda cp: spo(cp, c, w, z),
            "perturbed": lambda cp: ((perturbed(cp) - w) ** 2).mean(),
            "blackbox": lambda cp: (z[:, 0] - (blackbox(cp) * c).sum(dim=1)).mean(),
        }[loss](predict(x))
        value.backward()
        optimiser.step()
    assert mean_regret(model, predict, data) < 0.6 * before
