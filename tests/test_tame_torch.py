import doctest
import importlib
import io
import itertools
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from provenn.errors import InfeasibleError, InputError, MissingDependencyError, SolverError
from provenn.formulations import Problem
from provenn.formulations.sparsity import Sparsity
from provenn.milp import MILP, Builder, Solution, Terms
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.status import Status
from provenn.tame.branch_and_bound import branch_and_bound
from provenn.tame.value import fixed_value

torch = pytest.importorskip("torch")

from provenn.tame._torch_hinge import Moving  # noqa: E402
from provenn.tame.torch import (  # noqa: E402
    BinaryLayer,
    Lipschitz,
    MIPHead,
    PricedHinge,
    Range,
    Step,
    Template,
    by_answer,
    by_certificate,
    mip_value,
    on_grid,
    quantised,
    regularised,
    safe_price,
    solve_here,
    threshold,
    to_integer_network,
)

torch.set_num_threads(1)

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
SMOOTH = ["qp", "entropy", "perturb"]


def mixed_model(rng, integers=3, rows=3, reals=2):
    """A mixed model with a priced slack a row, ``min c x + 20 s, A x + s >= b``: every integer point is feasible."""
    builder = Builder()
    k = builder.columns("k", (integers,), -1, 2)
    x = builder.columns("x", (reals,), 0, 3, integer=False)
    s = builder.columns("s", (rows,), 0, 1000, integer=False)
    builder.minimise(np.concatenate([k, x]), rng.normal(size=integers + reals) + 1.0)
    builder.minimise(s, 20.0)
    for i in range(rows):
        terms = [Terms(np.concatenate([k, x]), rng.normal(size=integers + reals)), Terms(s[[i]], 1.0)]
        builder.rows(terms, lower=float(rng.normal()))
    return builder.build()


def dense_template(milp):
    """All coefficients of k and x, all lower sides, all costs."""
    columns = np.concatenate([milp.blocks["k"], milp.blocks["x"]])
    rows = np.arange(milp.n_rows)
    return Template(milp, A=(rows[:, None], columns[None, :]), b=rows, c=np.arange(milp.n_columns))


def numbers_of(template):
    milp, (rows, columns) = template.milp, template.places
    A = milp.A.toarray()[rows, columns]
    return [torch.tensor(part, dtype=torch.float64) for part in (A, milp.row_lower[template.rows], milp.c)]


def brute_force(milp):
    """The least value over all integer points, and the gap to the second."""
    low, high = (bound[milp.integer].astype(int) for bound in (milp.col_lower, milp.col_upper))
    boxes = itertools.product(*(range(a, b + 1) for a, b in zip(low, high, strict=True)))
    values = []
    for point in boxes:
        try:
            values.append(fixed_value(milp, point).value)
        except InfeasibleError:
            continue
    first, second = sorted(values)[:2]
    return first, second - first


class TestValue:
    @pytest.mark.parametrize("seed", range(6))
    def test_the_value_is_the_least_over_all_integer_points(self, seed):
        template = dense_template(mixed_model(np.random.default_rng(seed)))
        z = mip_value(*numbers_of(template), template)
        assert z.item() == pytest.approx(brute_force(template.milp)[0], abs=1e-9)

    @pytest.mark.parametrize("seed", range(12))
    def test_the_gradient_is_that_of_finite_differences(self, seed):
        rng = np.random.default_rng(100 + seed)
        template = dense_template(mixed_model(rng))
        if brute_force(template.milp)[1] < 1e-2:
            pytest.skip("a kink: two integer points are optimal")
        numbers = [part.requires_grad_() for part in numbers_of(template)]
        mip_value(*numbers, template).backward()
        step = 1e-6
        for k, part in enumerate(numbers):
            direction = torch.tensor(rng.normal(size=part.shape))
            ends = []
            for sign in (1, -1):
                moved = [p.detach() for p in numbers]
                moved[k] = moved[k] + sign * step * direction
                ends.append(mip_value(*moved, template).item())
            assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float((part.grad * direction).sum()), abs=1e-6)

    def test_gradcheck_accepts_it_over_a_batch(self):
        template = dense_template(mixed_model(np.random.default_rng(3), 2, 2, 1))
        A, b, c = numbers_of(template)
        b = b + 0.01 * torch.arange(2, dtype=torch.float64)[:, None]
        parts = [part.clone().requires_grad_() for part in (A, b, c)]
        assert torch.autograd.gradcheck(lambda A, b, c: mip_value(A, b, c, template), parts)

    def test_a_batch_is_its_models_one_by_one_and_broadcasts(self, rng):
        template = dense_template(mixed_model(rng))
        A, b, c = numbers_of(template)
        A = A + 0.1 * torch.tensor(rng.normal(size=(2, 1, *A.shape)))
        b = (b + 0.1 * torch.tensor(rng.normal(size=(3, *b.shape)))).requires_grad_()
        z = mip_value(A, b, c, template)
        assert z.shape == (2, 3)
        for i, j in np.ndindex(2, 3):
            assert z[i, j].item() == mip_value(A[i, 0], b[j], c, template).item()
        z.sum().backward()
        alone = b.detach()[1].requires_grad_()
        sum(mip_value(A[i, 0], alone, c, template) for i in range(2)).backward()
        assert torch.allclose(b.grad[1], alone.grad, atol=1e-12)

    def test_the_gradient_integrates_to_the_change_of_a_mixed_value(self):
        template = dense_template(mixed_model(np.random.default_rng(7)))
        A, b, c = numbers_of(template)
        assert self.integral(template, A, b, c) == pytest.approx(self.change(template, A, b, c), abs=1e-4)

    def test_the_gradient_of_a_pure_integer_value_does_not_integrate_to_its_change(self):
        builder = Builder()
        k = builder.columns("k", (3,), -4, 4)
        builder.minimise(k, [1.0, 1.5, 2.0])
        builder.rows([Terms(k, np.array([[1.0, 0.3, 0.7], [0.2, 1.0, -0.4]]))], lower=[-2.3, -1.1])
        template = Template(builder.build(), A=([[0], [1]], [[0, 1, 2]]), b=[0, 1], c=[0, 1, 2])
        A, b, c = numbers_of(template)
        change, path = self.change(template, A, b, c), self.integral(template, A, b, c)
        assert abs(change) > 0.5
        assert path == 0.0

    @staticmethod
    def move(b):
        return b + torch.linspace(0.3, 1.2, len(b), dtype=torch.float64)

    def change(self, template, A, b, c):
        return mip_value(A, self.move(b), c, template).item() - mip_value(A, b, c, template).item()

    def integral(self, template, A, b, c, pieces=160, finest=1e-6):
        """Integral of the gradient along a straight path of b: intervals with other slopes at their ends are halved."""

        def slopes(times):
            times = torch.tensor(times, dtype=torch.float64, requires_grad=True)
            mip_value(A, b + times[:, None] * (self.move(b) - b), c, template).sum().backward()
            return times.grad.tolist()

        times = [i / pieces for i in range(pieces + 1)]
        known = slopes(times)
        todo = list(zip(itertools.pairwise(times), itertools.pairwise(known), strict=True))
        total = 0.0
        while todo:
            (start, end), (first, last) = todo.pop()
            if abs(first - last) < 1e-9 or end - start < finest:
                total += (end - start) * (first + last) / 2
                continue
            middle = (start + end) / 2
            (slope,) = slopes([middle])
            todo += [((start, middle), (first, slope)), ((middle, end), (slope, last))]
        return total

    def test_the_value_is_that_of_the_fixed_program_not_the_solvers(self):
        template = dense_template(mixed_model(np.random.default_rng(1)))
        exact = mip_value(None, None, numbers_of(template)[2], template).item()

        def sloppy(milp):
            found = solve_here(milp)
            x = found.x + np.where(milp.integer, 3e-6, 3e-6)
            return Solution(Status.OPTIMAL, x, found.objective + 2e-6, None, 0.0)

        assert mip_value(None, None, numbers_of(template)[2], template, sloppy).item() == exact

    def test_a_linear_program_needs_no_solver(self):
        milp = mixed_model(np.random.default_rng(2))
        relaxed = MILP(
            milp.c, milp.A, milp.row_lower, milp.row_upper, milp.col_lower, milp.col_upper,
            np.zeros(milp.n_columns, dtype=bool), blocks=milp.blocks,
        )  # fmt: skip
        template = dense_template(relaxed)
        z = mip_value(*numbers_of(template), template, solve=lambda milp: pytest.fail("solved"))
        assert z.item() <= brute_force(milp)[0] + 1e-9

    def test_sides_of_equations_and_upper_rows(self):
        builder = Builder()
        x = builder.columns("x", (3,), 0, 10, integer=False)
        builder.minimise(x, [1.0, 2.0, -1.0])
        builder.rows([Terms(x[:2], 1.0)], lower=3.0, upper=3.0)
        builder.rows([Terms(x[2:], 1.0)], upper=4.0)
        b = torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True)
        z = mip_value(None, b, None, Template(builder.build(), b=[0, 1]))
        z.backward()
        assert (z.item(), b.grad.tolist()) == (-1.0, [1.0, -1.0])

    def test_a_row_with_two_sides_needs_to_be_told_which(self):
        builder = Builder()
        x = builder.columns("x", (1,), 0, 10, integer=False)
        builder.minimise(x, 1.0)
        builder.rows([Terms(x, 1.0)], lower=2.0, upper=5.0)
        milp = builder.build()
        with pytest.raises(InputError, match="side='lower'"):
            Template(milp, b=[0])
        for side, slope in (("lower", 1.0), ("upper", 0.0)):
            b = torch.tensor([2.5 if side == "lower" else 4.5], dtype=torch.float64, requires_grad=True)
            mip_value(None, b, None, Template(milp, b=[0], side=side)).backward()
            assert b.grad.item() == slope
        with pytest.raises(InputError, match="no such finite side"):
            Template(mixed_model(np.random.default_rng(0)), b=[0], side="upper")

    def test_integers_keep_no_gradient_to_what_is_not_variable(self):
        template = Template(mixed_model(np.random.default_rng(4)), c="k")
        c = torch.zeros(3, dtype=torch.float32, requires_grad=True)
        mip_value(None, None, c, template).backward()
        assert c.grad.dtype == torch.float32
        assert np.array_equal(c.grad.numpy(), np.rint(c.grad.numpy()))

    @pytest.mark.parametrize("device", DEVICES)
    def test_devices(self, device):
        template = dense_template(mixed_model(np.random.default_rng(5)))
        parts = [part.to(device).requires_grad_() for part in numbers_of(template)]
        z = mip_value(*parts, template)
        z.backward()
        assert z.device == parts[0].device == parts[0].grad.device

    @pytest.mark.parametrize(
        ("places", "message"),
        [
            ({"A": ([0, 0], [1, 1])}, "twice"),
            ({"b": [99]}, "row 99 is not in the model"),
            ({"c": [-1]}, "column"),
            ({"c": "weights"}, "no block of columns is named 'weights'"),
        ],
    )
    def test_places_that_do_not_exist_are_refused(self, places, message):
        with pytest.raises(InputError, match=message):
            _ = Template(mixed_model(np.random.default_rng(0)), **places).columns

    def test_bad_shapes_and_models_are_refused(self):
        milp = mixed_model(np.random.default_rng(0))
        template = dense_template(milp)
        with pytest.raises(InputError, match="at least one"):
            mip_value(None, None, None, template)
        with pytest.raises(InputError, match="has shape"):
            mip_value(None, torch.zeros(2), None, template)
        builder = Builder()
        builder.rows(
            [Terms(builder.columns("x", (1,), 0, 1), 1.0)], lower=1, when=(builder.columns("u", (1,), 0, 1), 1)
        )
        with pytest.raises(InputError, match="big_m"):
            Template(builder.build())

    def test_failures_of_solvers_are_errors(self):
        builder = Builder()
        x = builder.columns("x", (2,), 0, 1)
        builder.rows([Terms(x, 1.0)], lower=3)
        b = torch.tensor([3.0], dtype=torch.float64)
        with pytest.raises(InfeasibleError):
            mip_value(None, b, None, Template(builder.build(), b=[0]))
        nothing = Solution(Status.TIME_LIMIT, None, None, None, 0.0)
        with pytest.raises(SolverError, match="no feasible point"):
            mip_value(None, b, None, Template(builder.build(), b=[0]), lambda milp: nothing)
        free = Builder()
        free.minimise(free.columns("x", (1,), -np.inf, np.inf), 1.0)
        with pytest.raises(InputError, match="decrease for ever"):
            solve_here(free.build())

    def test_any_solver_of_the_library_gives_the_integers(self):
        from provenn.solvers import Solver

        template = dense_template(mixed_model(np.random.default_rng(8)))
        solve = Solver.create("highs").solve
        assert (
            mip_value(*numbers_of(template), template, solve).item()
            == mip_value(*numbers_of(template), template).item()
        )


class TestActivations:
    @pytest.mark.parametrize("backward", SMOOTH)
    @pytest.mark.parametrize("lowest", [-1, 0])
    @pytest.mark.parametrize("width", [0.3, 1.0, 5.0])
    def test_the_backward_pass_is_the_jacobian_of_the_regularised_problem(self, backward, lowest, width):
        a = torch.linspace(-4.03, 4.01, 41, dtype=torch.float64, requires_grad=True)
        exact, smooth = threshold(a, lowest, backward, width), regularised(a, backward, width, lowest)
        weights = torch.linspace(-1, 2, 41, dtype=torch.float64)
        got, want = (torch.autograd.grad((h * weights).sum(), a)[0] for h in (exact, smooth))
        assert torch.allclose(got, want, atol=1e-14)
        assert exact.tolist() == [1.0 if v >= 0 else float(lowest) for v in a.tolist()]

    def test_the_solutions_solve_their_problems(self):
        h = np.linspace(-1, 1, 200_001)
        with np.errstate(divide="ignore", invalid="ignore"):
            p = (1 + h) / 2
            entropy = np.nan_to_num(-p * np.log(p)) + np.nan_to_num(-(1 - p) * np.log(1 - p))
        for a, width in [(0.3, 1.0), (-0.2, 0.5), (1.7, 0.8), (-2.0, 3.0)]:
            point = torch.tensor(a, dtype=torch.float64)
            quadratic = h[np.argmax(a * h - width * h**2 / 2)]
            entropic = h[np.argmax(a * h + width * entropy)]
            assert regularised(point, "qp", width).item() == pytest.approx(quadratic, abs=1e-4)
            assert regularised(point, "entropy", width).item() == pytest.approx(entropic, abs=1e-4)
            noise = np.random.default_rng(0).normal(size=400_000)
            mean = np.where(a + width * noise >= 0, 1, -1).mean()
            assert regularised(point, "perturb", width).item() == pytest.approx(mean, abs=6e-3)

    def test_blackbox_is_the_difference_of_two_solutions(self):
        a = torch.tensor([0.5, 0.5, -0.5, 2.0], requires_grad=True)
        gradient = torch.tensor([1.0, -1.0, -1.0, 1.0])
        (got,) = torch.autograd.grad(threshold(a, -1, "blackbox", 1.0), a, gradient)
        assert got.tolist() == [2.0, 0.0, -2.0, 0.0]

    def test_zero_is_the_true_derivative(self):
        a = torch.tensor([0.5, -0.5], requires_grad=True)
        (got,) = torch.autograd.grad(threshold(a, 0, "zero", 1.0).sum(), a)
        assert got.tolist() == [0.0, 0.0]

    def test_unknown_passes_and_widths_are_refused(self):
        with pytest.raises(InputError, match="choose one of qp, entropy"):
            threshold(torch.zeros(1), backward="magic")
        with pytest.raises(InputError, match="positive"):
            threshold(torch.zeros(1), width=0.0)
        with pytest.raises(InputError, match="no regularised solution"):
            regularised(torch.zeros(1), "blackbox", 1.0)

    @pytest.mark.parametrize("domain", [IntegerDomain.binary(), IntegerDomain.ternary(), IntegerDomain(-3, 1, 2)])
    def test_quantised_weights_are_the_nearest_values(self, domain):
        latent = torch.linspace(-4, 4, 81, dtype=torch.float64)
        values = quantised(latent, domain).numpy()
        assert domain.contains(values.astype(np.int64))
        best = np.abs(domain.values[None, :] - np.clip(latent.numpy(), domain.low, domain.high)[:, None]).min(axis=1)
        assert np.allclose(np.abs(values - np.clip(latent.numpy(), domain.low, domain.high)), best)

    def test_latent_weights_are_not_pushed_out_of_their_box(self):
        latent = torch.tensor([2.0, 2.0, -2.0, 0.3], requires_grad=True)
        (got,) = torch.autograd.grad(quantised(latent, IntegerDomain.ternary()), latent, torch.tensor([1.0, -1, 1, -1]))
        assert got.tolist() == [1.0, 0.0, 0.0, -1.0]

    def test_grid_points_are_whole_numbers_within_the_range(self):
        x = torch.linspace(-3, 3, 1001, requires_grad=True)
        X = on_grid(x, 10_000, 2.0)
        assert X.dtype == torch.float64
        assert torch.equal(X, torch.round(X))
        assert X.abs().max() == 20_000
        (slope,) = torch.autograd.grad(X.sum(), x)
        assert set(slope.unique().tolist()) == {0.0, 10_000.0}


def chain_of(rng, sizes, weights, activation, scale=None, bias=True, dtype=torch.float32):
    torch.manual_seed(int(rng.integers(2**31)))
    last = len(sizes) - 2
    return torch.nn.Sequential(
        *(
            BinaryLayer(a, b, weights, activation if i < last else None, bias=bias, scale=scale if i == 0 else None).to(
                dtype
            )
            for i, (a, b) in enumerate(itertools.pairwise(sizes))
        )
    )


class TestLayers:
    @pytest.mark.parametrize("weights", ["binary", "ternary", 3])
    @pytest.mark.parametrize("activation", ["sign", "step"])
    @pytest.mark.parametrize("bias", [True, False])
    def test_conversion_is_exact_on_all_small_inputs(self, rng, weights, activation, bias):
        for sizes in ([3, 1], [3, 4, 2], [3, 4, 3, 2]):
            chain = chain_of(rng, sizes, weights, activation, bias=bias)
            network = to_integer_network(chain)
            X = np.array(list(itertools.product(range(-2, 3), repeat=3)))
            scores = chain(torch.tensor(X, dtype=torch.float32)).detach().numpy()
            assert np.array_equal(scores, network.scores(X))

    @pytest.mark.parametrize("scale", [3, 10, 10_000, 64])
    def test_conversion_is_exact_on_the_boundary_of_every_unit(self, rng, scale):
        chain = chain_of(rng, [4, 5, 2], "ternary", "sign", scale)
        network = to_integer_network(chain, scale)
        X = rng.integers(-scale, scale + 1, (3000, 4))
        W, b = network.weights[0], network.biases[0]
        for j in range(5):
            i = int(np.argmax(np.abs(W[:, j])))
            if W[i, j]:
                rest = X @ W[:, j] + scale * b[j] - X[:, i] * W[i, j]
                rows = slice(j * 600, (j + 1) * 600)
                X[rows, i] = -rest[rows] * W[i, j]
        assert (network.trace(X).preactivations[0] == 0).any()
        got = chain(torch.tensor(X, dtype=torch.float64) / scale).detach().numpy()
        assert np.array_equal(got, network.scores(X))

    def test_scores_without_hidden_layer_are_the_networks_in_grid_units(self, rng):
        chain = chain_of(rng, [4, 3], 2, "sign", 8)
        X = rng.integers(-8, 9, (200, 4))
        got = chain(torch.tensor(X, dtype=torch.float64) / 8).detach().numpy()
        assert np.array_equal(got * 8, to_integer_network(chain, 8).scores(X))

    def test_a_scale_that_floats_do_not_compute_exactly_is_refused(self, rng):
        chain = chain_of(rng, [4, 5, 2], "ternary", "sign")
        with pytest.raises(InputError, match="build it with scale=10"):
            to_integer_network(chain, 10)
        assert to_integer_network(chain, 16).scale == 16
        with pytest.raises(InputError, match="only chains"):
            to_integer_network([torch.nn.Linear(2, 2)])
        with pytest.raises(InputError, match="hidden layers need an activation"):
            to_integer_network([BinaryLayer(2, 2)])

    def test_the_state_makes_a_round_trip_and_refuses_other_layers(self, rng, tmp_path):
        chain, other = (chain_of(rng, [4, 5, 2], "ternary", "step", 10) for _ in range(2))
        torch.save(chain.state_dict(), tmp_path / "state.pt")
        other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        assert to_integer_network(chain, 10).equals(to_integer_network(other, 10))
        x = torch.randn(50, 4)
        assert torch.equal(chain(x), other(x))
        with pytest.raises(InputError, match="the state is that of a layer"):
            chain_of(rng, [4, 5, 2], "binary", "step", 10).load_state_dict(chain.state_dict())

    def test_bad_options_are_refused(self):
        for options, message in [
            ({"weights": "quaternary"}, "binary"),
            ({"weights": IntegerDomain.continuous()}, "integer weights"),
            ({"backward": "none"}, "backward"),
            ({"width": -1.0}, "positive"),
            ({"scale": 0}, "scale"),
            ({"activation": "relu"}, "activation"),
        ]:
            with pytest.raises(InputError, match=message):
                BinaryLayer(2, 2, **options)

    @pytest.mark.parametrize("device", DEVICES)
    @pytest.mark.parametrize("backward", ["qp", "entropy", "perturb", "blackbox"])
    def test_every_family_learns_a_linear_rule(self, backward, device):
        torch.manual_seed(0)
        x = torch.randn(400, 6)
        y = (x[:, 0] + x[:, 1] - x[:, 2] > 0).long()
        width = 100.0 if backward == "blackbox" else 2.0
        chain = torch.nn.Sequential(
            BinaryLayer(6, 12, backward=backward, width=width), BinaryLayer(12, 2, activation=None)
        ).to(device)
        x, y = x.to(device), y.to(device)
        optimiser = torch.optim.Adam(chain.parameters(), 0.02)
        for _ in range(150):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(chain(x) / 3.0, y).backward()
            optimiser.step()
        accuracy = (chain(x).argmax(1) == y).float().mean().item()
        assert accuracy > 0.85
        network = to_integer_network(chain)
        assert network.architecture.hidden == (12,)


def random_step(rng, architecture, n=5, scale=4, area=None, margin=1.0, constraints=()):
    X = rng.integers(-2 * scale, 2 * scale + 1, (n, architecture.n_features))
    y = np.arange(n) % architecture.n_classes
    data = Moving(X, y, tuple(range(architecture.n_classes)), np.ones(n, dtype=np.int64), scale)
    area = area or Range(3 * scale, safe_price(architecture))
    return Step(Problem(architecture, data, PricedHinge(margin), constraints), area)


def every_network(architecture, scale):
    domains = [(layer.weights, (layer.n_in, layer.n_out)) for layer in architecture.layers]
    spaces = [list(itertools.product(d.values, repeat=math.prod(shape))) for d, shape in domains]
    biases = [
        list(itertools.product(layer.bias.values, repeat=layer.n_out)) if layer.bias else [(0,) * layer.n_out]
        for layer in architecture.layers
    ]
    for parts in itertools.product(*spaces, *biases):
        half = len(domains)
        weights = [np.reshape(W, shape) for W, (_, shape) in zip(parts[:half], domains, strict=True)]
        yield IntegerNetwork.of(architecture, weights, parts[half:], scale)


SMALL = [
    Architecture.build(3, 2),
    Architecture.build(2, 3, bias=None),
    Architecture.build(3, 2, weights=IntegerDomain.binary()),
    Architecture.build(2, 2, weights=IntegerDomain.symmetric(2)),
    Architecture.build(2, 2, (2,), IntegerDomain.binary()),
    Architecture.build(2, 2, (2,), IntegerDomain.binary(), activation="step"),
    Architecture.build(2, 2, (1,)),
]


class TestStep:
    @pytest.mark.parametrize("shape", SMALL, ids=lambda shape: f"{shape.hidden}{shape.layers[0].weights.values}")
    def test_the_optimum_at_a_safe_price_is_the_best_network(self, rng, shape):
        for _ in range(3):
            step = random_step(rng, shape)
            solution = solve_here(step.milp)
            best = min(step.problem.value(network) for network in every_network(shape, 4))
            assert solution.objective == pytest.approx(best, abs=1e-5)
            network = step.decode(solution.x)
            assert step.problem.value(network) == best
            assert step.value(network).value == pytest.approx(best, abs=1e-7)

    def test_a_low_price_buys_activations_that_the_network_does_not_make(self):
        shape, bought = Architecture.build(2, 2, (2,), IntegerDomain.binary()), 0
        for seed in range(6):
            step = random_step(np.random.default_rng(seed), shape, area=Range(12, 0), margin=2.0)
            solution = solve_here(step.milp)
            true = step.problem.value(step.decode(solution.x))
            assert solution.objective <= true + 1e-6
            bought += solution.objective < true - 0.5
        assert bought

    def test_room_makes_hidden_units_pay_for_small_preactivations(self, rng):
        shape = Architecture.build(2, 2, (2,), IntegerDomain.binary())
        step = random_step(rng, shape, area=Range(12, safe_price(shape), room=3))
        network = IntegerNetwork.random(shape, rng, 4)
        a = network.trace(step.problem.dataset.X).preactivations[0]
        short = np.where(a >= 0, np.maximum(3 - a, 0), np.maximum(a + 1 + 3, 0)).sum()
        want = step.problem.value(network) + safe_price(shape) * short
        assert step.value(network).value == pytest.approx(want, abs=1e-7)

    @pytest.mark.parametrize("shape", SMALL, ids=lambda shape: f"{shape.hidden}{shape.layers[0].weights.values}")
    def test_the_template_is_the_model_of_other_features(self, rng, shape):
        one, two = (random_step(rng, shape) for _ in range(2))
        head = MIPHead(shape, tuple(range(shape.n_classes)), scale=4, reach=3.0)
        X = torch.tensor(two.problem.dataset.X, dtype=torch.float64)
        A, b = head._numbers(two, X)
        moved = one.template.filled(A.numpy(), None if b is None else b.numpy())
        assert (moved.A != two.milp.A).nnz == 0
        for name in ("c", "row_lower", "row_upper", "col_lower", "col_upper", "integer"):
            assert np.array_equal(getattr(moved, name), getattr(two.milp, name)), name

    def test_certificates_by_the_lipschitz_constant_bound_other_features(self, rng):
        for shape in SMALL:
            step = random_step(rng, shape)
            answer = solve_here(step.milp)
            certificate = Lipschitz(step, answer)
            assert certificate(step) == answer.bound
            for size in (1, 2, 6):
                X = np.clip(
                    step.problem.dataset.X + rng.integers(-size, size + 1, step.problem.dataset.X.shape), -12, 12
                )
                data = Moving(
                    X, step.problem.dataset.y, step.problem.dataset.classes, step.problem.dataset.multiplicity, 4
                )
                other = Step(Problem(shape, data, step.problem.loss), step.area)
                assert certificate(other) <= solve_here(other.milp).objective + 1e-6

    def test_certificates_of_other_samples_say_nothing(self, rng):
        step, other = random_step(rng, SMALL[0]), random_step(rng, SMALL[0], n=6)
        assert Lipschitz(step, solve_here(step.milp))(other) == -math.inf

    def test_other_losses_and_shapes_are_refused(self, rng):
        from provenn.losses.max_correct import MaxCorrect

        data = Moving(np.eye(2, dtype=np.int64), np.array([0, 1]), (0, 1), np.ones(2, dtype=np.int64), 1)
        with pytest.raises(InputError, match="PricedHinge"):
            Step(Problem(SMALL[3], data, MaxCorrect()), Range(1))
        with pytest.raises(InputError, match="at most one hidden layer"):
            MIPHead(Architecture.build(2, 2, (2, 2)))
        with pytest.raises(InputError, match="integer weights"):
            MIPHead(Architecture.build(2, 2, weights=IntegerDomain.continuous()))


def toy_features(rng, n=12, d=3):
    features = torch.tensor(rng.normal(size=(n, d)), dtype=torch.float64)
    return features, torch.tensor((features.numpy() @ rng.normal(size=d) > 0).astype(np.int64))


class TestHead:
    @pytest.mark.parametrize("shape", [SMALL[0], SMALL[2], Architecture.build(3, 3)])
    def test_the_gradient_by_the_features_is_that_of_the_loss(self, rng, shape):
        """Between grid points: the head's weights stay, and the loss is their hinge."""
        features, _ = toy_features(rng)
        labels = torch.arange(12) % shape.n_classes
        head = MIPHead(shape, tuple(range(shape.n_classes)), scale=64, reach=4.0)
        features.requires_grad_()
        head(features, labels).backward()
        W, b = (torch.tensor(part, dtype=torch.float64) for part in (head.network.weights[0], head.network.biases[0]))
        moving = (on_grid(features.detach(), 64, 4.0) / 64).requires_grad_()
        t = torch.tensor(2 * np.eye(shape.n_classes)[labels.numpy()] - 1)
        t = 2.0 * labels[:, None] - 1 if shape.n_outputs == 1 else t
        hinge = torch.relu(1.0 - t * (moving @ W + b)).sum() / 12
        (want,) = torch.autograd.grad(hinge, moving)
        inside = features.detach().abs() < 4.0
        assert torch.allclose(features.grad[inside], want[inside], atol=1e-9)

    def test_an_extractor_learns_below_the_head(self):
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        x, _ = toy_features(rng, 20, 4)
        labels = ((x[:, 0] * x[:, 1]) > 0).long()
        extractor = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double()
        head = MIPHead(Architecture.build(3, 2), scale=16, reach=3.0, tolerance=0.05)
        optimiser = torch.optim.Adam(extractor.parameters(), 0.02)
        losses = []
        for _ in range(40):
            optimiser.zero_grad()
            loss = head(extractor(x), labels)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert losses[-1] < 0.4 * losses[0]
        assert head.record.solves + head.record.skips == 40
        assert head.record.skips > 0
        accuracy = (head.predict(extractor(x)) == labels.numpy()).mean()
        assert accuracy > 0.85

    def test_skipped_solves_are_within_the_tolerance(self, rng):
        features, labels = toy_features(rng)
        lazy = MIPHead(SMALL[0], scale=64, reach=4.0, tolerance=0.05)
        exact = MIPHead(SMALL[0], scale=64, reach=4.0, certify=None)
        for _ in range(15):
            features = features + 0.02 * torch.tensor(rng.normal(size=features.shape))
            difference = lazy(features, labels).item() - exact(features, labels).item()
            assert -1e-9 <= difference <= 0.05 + 1e-9
            assert lazy.record.lower_bound <= exact(features, labels).item() + 1e-9
        assert lazy.record.skips >= 3
        assert exact.record.solves == 30

    def test_the_dual_function_of_a_tree_is_a_certificate(self, rng):
        """It skips more solves than the Lipschitz constant, and what it skips is as good as it says."""
        start, labels = toy_features(rng)
        skips = {}
        for name, options in {"tree": {"solve": branch_and_bound, "certify": by_answer}, "constant": {}}.items():
            features, walk = start, np.random.default_rng(1)
            head = MIPHead(SMALL[0], scale=64, tolerance=0.03, **options)
            for _ in range(12):
                features = features + 0.02 * torch.tensor(walk.normal(size=features.shape))
                loss = head(features, labels).item()
                exact = MIPHead(SMALL[0], scale=64, certify=None)(features, labels).item()
                assert head.record.lower_bound - 1e-9 <= exact <= loss + 1e-9 <= exact + 0.03 + 2e-9
            skips[name] = head.record.skips
        assert skips["tree"] > skips["constant"]
        with pytest.raises(InputError, match="branch_and_bound"):
            MIPHead(SMALL[0], certify=by_answer)(start, labels)

    def test_any_certificate_fits(self, rng):
        features, labels = toy_features(rng)
        asked = []

        class Zero:
            def lower_bound(self, milp):
                asked.append(milp.n_rows)
                return 0.0

        head = MIPHead(SMALL[0], scale=64, certify=by_certificate(lambda milp: Zero()), tolerance=10.0)
        for _ in range(3):
            head(features, labels)
        assert (head.record.solves, head.record.skips, len(asked)) == (1, 2, 2)

    def test_constraints_hold_and_those_on_scores_need_another_certificate(self, rng):
        features, labels = toy_features(rng, d=3)
        head = MIPHead(SMALL[0], scale=16, constraints=[Sparsity(max_nonzeros=1)])
        free = MIPHead(SMALL[0], scale=16)
        assert head(features, labels).item() >= free(features, labels).item()
        assert np.count_nonzero(head.network.weights[0]) <= 1

        class Tie(Sparsity):
            def add_to(self, model, units):
                a = model.preactivations[-1]
                model.builder.rows([Terms(a[:2, 0], np.array([1.0, -1.0]))], lower=-20, upper=20)

        with pytest.raises(InputError, match="certify=None"):
            MIPHead(SMALL[0], scale=16, constraints=[Tie()])(features, labels)

    def test_the_price_decides_whether_activations_are_bought(self):
        rng = np.random.default_rng(5)
        shape = Architecture.build(2, 2, (2,), IntegerDomain.binary())
        features, labels = torch.tensor(rng.normal(size=(6, 2))), torch.tensor([0, 1, 1, 0, 1, 0])
        cheap, safe = (MIPHead(shape, scale=4, reach=3.0, margin=2.0, price=price) for price in (0, None))
        cheap_loss, safe_loss = cheap(features, labels).item(), safe(features, labels).item()
        assert (cheap.record.bought, safe.record.bought) == (1, 0)
        assert cheap_loss >= safe_loss

    def test_memory_adds_samples_without_gradients(self, rng):
        features, labels = toy_features(rng, 10)
        head, both = (MIPHead(SMALL[0], scale=16, memory=k) for k in (5, 0))
        head(features[:5], labels[:5])
        batch = features[5:].requires_grad_()
        together = head(batch, labels[5:])
        together.backward()
        assert together.item() == both(features, labels).item()
        assert batch.grad.abs().sum() > 0
        assert len(head._kept[0]) == 5

    def test_the_state_keeps_the_weights(self, rng, tmp_path):
        features, labels = toy_features(rng)
        head, other = (MIPHead(SMALL[0], scale=16) for _ in range(2))
        with pytest.raises(InputError, match="no weights yet"):
            head.predict(features)
        head(features, labels)
        torch.save(head.state_dict(), tmp_path / "head.pt")
        other.load_state_dict(torch.load(tmp_path / "head.pt", weights_only=True))
        assert np.array_equal(head.scores(features), other.scores(features))
        with pytest.raises(InputError, match="another architecture"):
            MIPHead(SMALL[0], scale=8).load_state_dict(head.state_dict())

    @pytest.mark.parametrize("device", DEVICES)
    def test_devices(self, rng, device):
        features, labels = toy_features(rng)
        features = features.to(device).float().requires_grad_()
        loss = MIPHead(SMALL[0], scale=16)(features, labels.to(device))
        loss.backward()
        assert loss.dtype == torch.float32
        assert loss.device == features.grad.device


def test_priced_hinge_is_a_loss_like_any_other(rng):
    """Exact value, MILP and brute force agree, and merged samples count with their multiplicity."""
    shape = Architecture.build(2, 2, (2,), IntegerDomain.binary())
    data = Dataset.merge(rng.integers(-3, 4, (8, 2)), np.arange(8) % 2)
    problem = Problem(shape, data, PricedHinge(2.0))
    best = min(problem.value(network) for network in every_network(shape, 1))
    found = solve_here(problem.encode().milp)
    assert found.objective == pytest.approx(best, abs=1e-5)


def test_the_page_runs():
    """Blocks of docs/tame_torch.md are not marked python, because they need PyTorch; they are doctests."""
    page = (Path(__file__).resolve().parents[1] / "docs" / "tame_torch.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\{code-block\} python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "tame_torch.md", None, 0)
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=report.write)
    assert runner.failures == 0, report.getvalue()


def test_without_pytorch_the_module_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "provenn.tame._torch_import")
    with pytest.raises(MissingDependencyError, match=r"provenn\[torch\]"):
        importlib.import_module("provenn.tame._torch_import")


def test_no_other_module_imports_pytorch():
    """Solvers are left out, whose libraries may be missing."""
    code = (
        "import importlib, pkgutil, sys, provenn\n"
        "for module in pkgutil.walk_packages(provenn.__path__, 'provenn.'):\n"
        "    apart = ('provenn.tame.torch', 'provenn.tame._torch', 'provenn.tame.pyepo', 'provenn.solvers.')\n"
        "    if not module.name.startswith(apart):\n"
        "        importlib.import_module(module.name)\n"
        "assert 'provenn.tame.value' in sys.modules and 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
