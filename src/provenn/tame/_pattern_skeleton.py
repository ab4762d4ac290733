"""The MIP over counted units that losses and side constraints add themselves to."""

from dataclasses import replace
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from provenn.errors import InputError
from provenn.formulations import Problem, SideConstraint
from provenn.formulations._skeleton import Affine, Answer
from provenn.formulations.neuron_count import NeuronCount
from provenn.formulations.norm_price import NormPrice
from provenn.formulations.sparsity import Sparsity
from provenn.milp import Builder, Terms
from provenn.network import IntegerNetwork
from provenn.tame._pattern_units import Units
from provenn.tame._simplex import Integers


class ScoresOnly(list[Integers]):
    """The layers' columns, of which only the last exist."""

    def __getitem__(self, layer: Any) -> Any:
        """Return the columns of the scores; refuse all others."""
        if self and layer in (-1, len(self) - 1):
            return super().__getitem__(layer)
        _refuse("its loss or a side constraint speaks of hidden pre-activations")


def _refuse(why: str) -> NoReturn:
    raise InputError(f"a pattern model cannot have this problem: {why}; use Problem.encode()")


class CountedUnits:
    """The model ``score_k = b + sum_p v_p sigma_p(x_k) n_p``, ``sum_p n_p = h``; see `provenn.losses.Model`.

    Parameters
    ----------
    problem : Problem
    units : Units
    movable : bool
        No row depends on where the features are.
    exact_at : tuple of IntegerNetwork
    """

    def __init__(
        self, problem: Problem, units: Units, movable: bool = False, exact_at: tuple[IntegerNetwork, ...] = ()
    ) -> None:
        self.builder, self.problem, self.units = Builder(), problem, units
        self.architecture, self.relaxed = problem.architecture, False
        self.dataset = replace(problem.dataset, X=_distinct(problem.dataset.X)) if movable else problem.dataset
        self.known = exact_at
        self.exact_at = tuple(network.scores(problem.dataset.X) for network in exact_at)
        self._add_units()
        self.preactivations: list[Integers] = ScoresOnly([np.zeros(0, dtype=np.int64), self._add_scores()])
        self.firing: list[Integers] = ScoresOnly()
        problem.loss.add_to(self)
        self.builder.scale_costs(int(problem.loss_unit / problem.unit))
        for constraint in problem.constraints:
            self._constrain(constraint)

    def _add_units(self) -> None:
        h = self.architecture.hidden[0]
        allowed = self.units.allowed(self.problem.dataset) & self._within_fan_in()
        self.columns = self.builder.columns(
            "units", allowed.shape, 0, h * allowed, fill=lambda answer: self.units.counts(answer.network)
        )
        self.builder.rows([Terms(self.columns, 1)], lower=h, upper=h)

    def _add_scores(self) -> Integers:
        n, dense = self.dataset.n_samples, self.architecture.layers[-1]
        self.output_bias = Affine(np.zeros(0, dtype=np.int64), 0, 1)
        if dense.bias is not None:
            step = dense.bias.step
            shift = 0 if step == 1 else dense.bias.low
            columns = self.builder.columns(
                "b1", (dense.n_out,), (dense.bias.low - shift) // step, (dense.bias.high - shift) // step,
                fill=lambda answer: (answer.network.biases[1] - shift) // step,
            )  # fmt: skip
            self.output_bias = Affine(columns, shift, step)
        low, high = self.bounds(1)
        scores = self.builder.columns(
            "a1", (n, dense.n_out), low[:, None], high[:, None], fill=lambda answer: answer.trace.scores
        )
        added = self.units.contributions(self.problem.dataset)
        for j in range(dense.n_out):
            terms = [Terms(scores[:, [j]], -1), Terms(self.columns, added[:, :, j])]
            if dense.bias is not None:
                terms.append(Terms(self.output_bias.columns[[j]], self.output_bias.step))
            self.builder.rows(terms, lower=-self.output_bias.shift, upper=-self.output_bias.shift)
        return scores

    def bounds(self, layer: int) -> tuple[Integers, Integers]:
        """Interval of the scores for each sample, two arrays of shape (n,)."""
        if layer % 2 == 0:
            _refuse("its loss or a side constraint speaks of hidden pre-activations")
        return self.architecture.bounds(1, self.dataset.X, self.dataset.scale)

    def unit(self, layer: int) -> int:
        """Return 1: all weights are integers."""
        return 1

    def margin(self, layer: int) -> float:
        """Return the least distance from 0 of a pre-activation below 0."""
        return float(self.architecture.margin(layer, self.dataset.scale))

    def approximate(self) -> None:
        """Note that the model bounds the loss from below instead of reproducing it."""
        self.relaxed = True

    def _count(self, name: str, coefficients: Integers) -> Integers:
        """Add columns ``sum_p coefficients[p, i] n_p``; coefficients of shape (p, k), the columns of shape (1, k)."""
        h, k = self.architecture.hidden[0], coefficients.shape[1]
        columns = self.builder.columns(
            name, (1, k), 0, h * coefficients.max(axis=0),
            fill=lambda answer: self.units.counts(answer.network) @ coefficients,
        )  # fmt: skip
        self.builder.rows([Terms(columns.T, -1), Terms(self.columns, coefficients.T)], lower=0, upper=0)
        return columns

    def nonzero(self) -> list[tuple[Integers, Integers]]:
        """Integer columns that count non-zero weights: of the hidden units together, and of every output."""
        return self._nonzero

    @cached_property
    def _nonzero(self) -> list[tuple[Integers, Integers]]:
        units, none = self.units, np.zeros(0, dtype=np.int64)
        hidden, out = self.architecture.layers
        incoming = self._count("v0", (units.incoming != 0).sum(axis=1)[:, None])
        biases = self._count("vb0", (units.bias != 0)[:, None].astype(np.int64)) if hidden.bias is not None else none
        outgoing = self._count("v1", (units.outgoing != 0).astype(np.int64))
        return [(incoming, biases), (outgoing, self._nonzero_output_biases() if out.bias is not None else none)]

    def _nonzero_output_biases(self) -> Integers:
        """Binary columns: 1 where the bias of an output may be non-zero."""
        domain, b = self.architecture.layers[-1].bias, self.output_bias
        assert domain is not None
        v = self.builder.columns(
            "vb1", b.columns.shape, 0, 1, fill=lambda answer: answer.network.biases[1] != 0
        )  # fmt: skip
        value, switch = b.columns[:, None], v[:, None]
        self.builder.rows([Terms(value, b.step), Terms(switch, -domain.high)], upper=-b.shift)
        self.builder.rows([Terms(value, b.step), Terms(switch, -domain.low)], lower=-b.shift)
        return v

    def magnitudes(self, layer: int) -> Integers:
        """Refuse: sizes of single weights have no columns."""
        _refuse("its loss speaks of the sizes of single weights")

    def kept(self, layer: int) -> Integers:
        """Binary columns of shape (h,), the first ones 1: as many as units are alive, or as outputs need."""
        return self._kept

    @cached_property
    def _kept(self) -> Integers:
        h = self.architecture.hidden[0]
        fewest, live = min(self.architecture.n_outputs, h), (self.units.table != 0).any(axis=1).astype(np.int64)
        kept = self.builder.columns(
            "kept0", (h,), 0, 1,
            fill=lambda answer: np.arange(h) < max(fewest, int(answer.network.live_units(0).sum())),
        )  # fmt: skip
        self.builder.rows([Terms(kept, 1)], lower=fewest)
        self.builder.rows([Terms(kept, 1), Terms(self.columns, -live)], lower=0)
        if h > 1:
            self.builder.rows([Terms(kept[:-1, None], 1), Terms(kept[1:, None], -1)], lower=0)
        return kept

    def _within_fan_in(self) -> Any:
        """Units with few enough non-zero incoming weights."""
        limits = [c.fan_in for c in self.problem.constraints if isinstance(c, Sparsity) and c.fan_in is not None]
        return (self.units.incoming != 0).sum(axis=1) <= min(limits, default=self.architecture.n_features)

    def _constrain(self, constraint: SideConstraint) -> None:
        """Add a price or a limit that is a sum over units."""
        price = constraint.price_unit
        units = 0 if price is None else int(price / self.problem.unit)
        match constraint:
            case Sparsity():
                replace(constraint, fan_in=None).add_to(self, units)
                if constraint.fan_in is not None:
                    self.builder.rows([Terms(self.nonzero()[1][0].T, 1)], upper=constraint.fan_in)
            case NeuronCount():
                constraint.add_to(self, units)
            case NormPrice(power=power, parts=parts):
                sizes = np.abs(np.delete(self.units.table, self.architecture.n_features, axis=1)) ** power
                self.builder.minimise(self.columns, units * parts * sizes.sum(axis=1))
            case _:
                _refuse(f"{type(constraint).__name__} is no sum over units")

    def answer(self, network: IntegerNetwork) -> Answer:
        """Zero the weights of constant features, as the model does, and trace the network."""
        dead = ~self.problem.dataset.live & self.architecture.layers[0].weights.has_zero
        first = np.where(dead[:, None], 0, network.weights[0])
        network = replace(network, weights=(first, *network.weights[1:]))
        return Answer(network, network.trace(self.problem.dataset.X))


def _distinct(X: Integers) -> Integers:
    """Return features of the same shape that differ from sample to sample."""
    return np.broadcast_to(np.arange(len(X))[:, None], X.shape)
