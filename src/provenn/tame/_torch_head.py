"""A network's last layers as the optimum of a training MIP over the features before them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenn.errors import InputError
from provenn.formulations import Problem, SideConstraint
from provenn.milp.model import Floats
from provenn.network import Architecture, IntegerNetwork
from provenn.tame._torch_activations import on_grid
from provenn.tame._torch_hinge import Moving, PricedHinge, Range, Step, check_head, feature_shift, safe_price
from provenn.tame._torch_import import Module, Tensor, torch
from provenn.tame._torch_lazy import Certify, Lipschitz, LowerBound
from provenn.tame._torch_programs import Solve, answered, solve_here
from provenn.tame._torch_value import mip_value

PURCHASE = 1e-5
"""Units of the objective by which a solver's optimum may be below the true one through its tolerances."""


@dataclass
class HeadRecord:
    """What a head did so far.

    Parameters
    ----------
    solves, skips : int
        Steps that solved a MIP, and steps in which a certificate showed the old weights to be good enough.
    bought : int
        Solves whose optimum paid for activations that the network does not make.
    lower_bound : float
        Lower bound of the last step's optimum, in units of the loss.
    """

    solves: int = 0
    skips: int = 0
    bought: int = 0
    lower_bound: float = field(default=float("-inf"))


class MIPHead(Module):
    """Integer weights that are optimal for the features that come in, under side constraints.

    ``forward(features, labels)`` puts features on a grid, minimises the priced hinge over the head's weights,
    and returns the mean hinge of these weights, whose gradient by the features is that of the optimal
    value: ``-y x'`` at the features' entries of A. Training the extractor on it minimises jointly over
    both. The head has no parameters of its own.

    With a hidden layer the MIP pays `price` for each grid unit by which a hidden pre-activation is on the
    wrong side of 0, or closer to it than `room`. From `safe_price` on (the default) it never buys an
    activation that the network does not make; below, the solver's optimum may be too good, which
    `record.bought` counts. The loss is always that of the real network, with its true activations.

    Parameters
    ----------
    architecture : Architecture
        At most one hidden layer, integer weights.
    classes : sequence
        Labels; class indices are their places.
    scale : int
        Grid units in 1.
    reach : float
        Features are clipped to ``-reach..reach``; big-M values hold there.
    margin : float
        Of the hinge, in real units of the score.
    constraints : sequence of SideConstraint
    price, room : int, optional
        In units of the objective, and in grid units.
    solve : callable
        Minimises a `MILP`, see `mip_value`.
    certify : callable or None
        Makes the certificate of each solve: `Lipschitz`; `by_answer` with ``solve=branch_and_bound``, whose
        dual function is much stronger and whose tree is slower; `by_certificate`; or None to solve always.
    tolerance : float
        A step keeps the old weights where they are proven to be within this of the optimal mean hinge.
    memory : int
        Samples of earlier steps that also count, without gradients.

    References
    ----------
    Aspman, Korpas & Marecek, arXiv 2310.04469.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> head = MIPHead(Architecture.build(2, 2), (0, 1), scale=8, reach=2.0)
    >>> features = torch.tensor([[0.5, 0.0], [0.0, 0.75]], requires_grad=True)
    >>> loss = head(features, torch.tensor([0, 1]))
    >>> loss.backward()
    >>> head.network.weights[0].ravel().tolist(), loss.item(), features.grad.tolist()
    ([-1, 1], 0.375, [[-0.5, 0.5], [0.5, -0.5]])
    """

    def __init__(
        self,
        architecture: Architecture,
        classes: Sequence[Any] = (0, 1),
        scale: int = 16,
        reach: float = 4.0,
        margin: float = 1.0,
        constraints: Sequence[SideConstraint] = (),
        price: int | None = None,
        room: int = 0,
        solve: Solve = solve_here,
        certify: Certify | None = Lipschitz,
        tolerance: float = 0.0,
        memory: int = 0,
    ) -> None:
        """Keep the options; nothing is solved yet."""
        super().__init__()
        check_head(architecture)
        if not 0 < reach < float("inf") or scale < 1:
            raise InputError(f"reach must be positive and scale at least 1, got {reach} and {scale}")
        self.architecture, self.classes, self.scale, self.reach = architecture, tuple(classes), scale, reach
        self.loss, self.constraints = PricedHinge(margin), tuple(constraints)
        paid = safe_price(architecture) if price is None else price
        self.area = Range(int(reach * scale), paid, room)
        self.solve, self.certify, self.tolerance, self.memory = solve, certify, tolerance, memory
        self.network: IntegerNetwork | None = None
        self.record = HeadRecord()
        self._certificate: LowerBound | None = None
        self._kept: tuple[Tensor, Tensor] | None = None

    def grid(self, features: Tensor) -> Tensor:
        """Return features in whole grid units, float64, with straight-through gradients within the range."""
        return on_grid(features, self.scale, self.reach)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Choose weights for the features, and return their mean hinge over batch and memory.

        Parameters
        ----------
        features : tensor of shape (n, n_features)
        labels : tensor of shape (n,)
            Class indices.

        Returns
        -------
        tensor, scalar
        """
        X, y = self._remembered(self.grid(features), labels)
        step = self.step(X.detach().cpu().numpy().astype(np.int64), y.cpu().numpy().astype(np.int64))
        chosen = self._choose(step)
        value = mip_value(*self._numbers(step, X), None, step.template, lambda _: _Point(chosen))
        self.record.lower_bound *= step.unit / len(X)
        return (value * (step.unit / len(X))).to(features.dtype)

    def step(self, X: NDArray[np.int64], y: NDArray[np.int64]) -> Step:
        """Return the training MIP for features in grid units, shape (n, n_features), and class indices."""
        data = Moving(X, y, self.classes, np.ones(len(X), dtype=np.int64), self.scale)
        return Step(Problem(self.architecture, data, self.loss, self.constraints), self.area)

    def scores(self, features: Tensor) -> NDArray[np.int64]:
        """Return the exact scores of the real network, integers of shape (n, n_outputs)."""
        return self._trained().scores(self.grid(features).detach().cpu().numpy().astype(np.int64))

    def predict(self, features: Tensor) -> NDArray[np.int64]:
        """Return class indices of shape (n,)."""
        return self._trained().predict(self.grid(features).detach().cpu().numpy().astype(np.int64))

    def get_extra_state(self) -> dict[str, Any]:
        """Return the weights, which are no parameters, as plain data."""
        return {"network": None if self.network is None else self.network.to_dict()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take the weights of a state; certificates are not part of it."""
        network = None if state["network"] is None else IntegerNetwork.from_dict(state["network"])
        if network is not None and (network.architecture, network.scale) != (self.architecture, self.scale):
            raise InputError("the state is that of a head with another architecture or scale")
        self.network, self._certificate, self._kept = network, None, None

    def _trained(self) -> IntegerNetwork:
        if self.network is None:
            raise InputError("the head has no weights yet: call it on features and labels first")
        return self.network

    def _remembered(self, X: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Add the samples in memory to a batch, and remember the newest."""
        if not self.memory:
            return X, labels
        if self._kept is not None:
            X, labels = torch.cat([X, self._kept[0]]), torch.cat([labels, self._kept[1]])
        self._kept = (X.detach()[: self.memory], labels.detach()[: self.memory])
        return X, labels

    def _numbers(self, step: Step, X: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the features' entries of A, and the sides that they move for domains of step 2."""
        n, d, h = step.template.places[0].shape
        A = (X * self.architecture.layers[0].weights.step)[:, :, None].expand(n, d, h)
        shift = feature_shift(step.problem)
        if not shift:
            return A, None
        known = torch.from_numpy(step.milp.row_lower[step.template.rows]).to(X.device)
        total = X.sum(dim=1, keepdim=True)
        return A, known + shift * (total.detach() - total)

    def _choose(self, step: Step) -> Floats:
        """Return the integers to use, at a point of the MIP: old ones where they are proven to be good enough."""
        old = None if self.network is None else step.value(self.network)
        value = float("inf") if old is None else old.value
        bound = float("-inf") if self._certificate is None else self._certificate(step)
        if self.network is not None and value - bound <= self.tolerance * len(step.problem.dataset.X) / step.unit:
            self.record.skips += 1
        else:
            bound = self._solve(step, value)
        self.record.lower_bound = bound
        return step.point(self._trained())

    def _solve(self, step: Step, old: float) -> float:
        """Solve a step, keep the better of old and new weights, and return a lower bound."""
        answer, x = answered(self.solve, step.milp)
        network = step.decode(x)
        new = step.value(network)
        value = float("inf") if new is None else new.value
        self.record.solves += 1
        self.record.bought += value > float(step.milp.objective(x)) + PURCHASE * (1 + abs(value))
        if self.network is None or value <= old:
            self.network = network
        self._certificate = None if self.certify is None else self.certify(step, answer)
        return float("-inf") if answer.bound is None else answer.bound


@dataclass(frozen=True)
class _Point:
    """The answer of a solve that is already known."""

    x: Floats
    bound: float | None = None
