r"""The MIP of a network's forward pass over all samples (FORMULATIONS: the skeleton).

Columns: weights ``W`` and biases ``b`` (binary domains as ``w = 2z - 1``, which hands parity
to the solver), pre-activations ``a``, and for hidden layers ``u = 1`` iff ``a >= 0``. Rows:

* ``a^1 = x W^1 + s b^1`` and ``a^l = sum_i c^l_i + b^l``,
* ``u = 1 => a >= 0``, ``u = 0 => a <= -1`` (one grid unit is exact on integer data),
* products ``c = w h`` of the sign, ``h = 2u - 1``: ``c - w + 2Pu <= 2P``, ``c + w - 2Pu <= 0``,
  ``c - w - 2Pu >= -2P``, ``c + w + 2Pu >= 0``,
* products of the step, ``h = u``: ``c <= Pu``, ``c >= -Pu``, ``c <= w + P(1 - u)``, ``c >= w - P(1 - u)``.

Layers with continuous weights have continuous columns in real units, and ``u = 0 => a <= -margin``.

Source: Thorbjarnarson & Yorke-Smith, arXiv 2009.03825; Toro Icarte et al., CP 2019; step activations and
continuous weights: Kurtz & Bah, arXiv 2110.11382. New here:
bounds of ``a`` for each sample, eps of one unit, merged samples, symmetry breaking.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from provenn.errors import OverflowRiskError
from provenn.milp import Builder, Terms
from provenn.network import Architecture, Dataset, IntegerDomain, IntegerNetwork
from provenn.network.network import Trace

Integers = NDArray[np.int64]
KEY_LIMIT = 10_000
EXACT_FLOAT = 2**50


@dataclass(frozen=True)
class Answer:
    """A network with its forward pass over the training data."""

    network: IntegerNetwork
    trace: Trace


class Affine(NamedTuple):
    """Integers stored as ``shift + step * column``; of a continuous box as ``denominator * column``."""

    columns: Integers
    shift: int
    step: int
    denominator: int = 1

    def terms(self, factor: NDArray[Any] | int = 1) -> Terms:
        """Return ``factor * step * column``; the constant is `constant`."""
        return Terms(self.columns, np.asarray(factor) * self.step)

    def values(self, x: NDArray[np.float64]) -> Integers:
        """Read the integers off a point, rounded to the grid."""
        if self.denominator > 1:
            return np.rint(x[self.columns] * self.denominator).astype(np.int64)
        return self.shift + self.step * np.rint(x[self.columns]).astype(np.int64)


class Skeleton:
    """The model of a forward pass, to which losses and side constraints add themselves.

    Parameters
    ----------
    architecture : Architecture
    dataset : Dataset
    exact_at : tuple of ndarray of shape (n, n_outputs)
    known : tuple of IntegerNetwork
        See `provenn.losses.Model`.
    """

    def __init__(
        self,
        architecture: Architecture,
        dataset: Dataset,
        exact_at: tuple[Integers, ...] = (),
        known: tuple[IntegerNetwork, ...] = (),
    ) -> None:
        self.builder = Builder()
        self.architecture = architecture
        self.dataset = dataset
        self.exact_at = exact_at
        self.known = known
        self.relaxed = False
        self.weights: list[Affine] = []
        self.biases: list[Affine | None] = []
        self.preactivations: list[Integers] = []
        self.firing: list[Integers] = []
        self._kept: dict[int, Integers] = {}
        for layer in range(len(architecture.layers)):
            self._add_parameters(layer)
            self._add_preactivations(layer)
            if layer < len(architecture.layers) - 1:
                self._add_firing(layer)

    def approximate(self) -> None:
        """Note that the model bounds the loss from below instead of reproducing it."""
        self.relaxed = True

    @cached_property
    def dead_inputs(self) -> NDArray[np.bool_]:
        """Features whose weights are fixed at 0, bool of shape (n_features,)."""
        return ~self.dataset.live & self.architecture.layers[0].weights.has_zero

    def unit(self, layer: int) -> int:
        """Integers in one unit of the layer's pre-activation columns: 1, or more in a continuous layer."""
        return self.architecture.unit(layer, self.dataset.scale) if self.architecture.layers[layer].continuous else 1

    def margin(self, layer: int) -> float:
        """Return the least distance from 0 of a pre-activation below 0, in units of its columns."""
        return self.architecture.margin(layer, self.dataset.scale) / self.unit(layer)

    def bounds(self, layer: int) -> tuple[Integers, Integers]:
        """Interval of the pre-activations of a layer for each sample, two arrays of shape (n,)."""
        X = np.where(self.dead_inputs, 0, self.dataset.X)
        low, high = self.architecture.bounds(layer, X, self.dataset.scale)
        if max(abs(int(low.min())), abs(int(high.max()))) > EXACT_FLOAT:
            raise OverflowRiskError("pre-activations exceed what solvers represent exactly; use a coarser grid")
        return low, high

    def _add_parameters(self, layer: int) -> None:
        dense = self.architecture.layers[layer]
        live = ~self.dead_inputs[:, None] if layer == 0 else np.ones((dense.n_in, 1), dtype=np.bool_)
        self.weights.append(self._affine(f"W{layer}", dense.weights, (dense.n_in, dense.n_out), live))
        self.biases.append(
            self._affine(f"b{layer}", dense.bias, (dense.n_out,), np.ones(1, dtype=np.bool_)) if dense.bias else None
        )

    def _affine(self, name: str, domain: IntegerDomain, shape: tuple[int, ...], live: NDArray[np.bool_]) -> Affine:
        kind, layer = name[0], int(name[1:])
        shift, box = (0 if domain.step == 1 else domain.low), domain.continuous_box

        def stored(part: Integers | int) -> Any:
            return part / domain.denominator if box else (part - shift) // domain.step

        def fill(answer: Answer) -> Any:
            return stored(answer.network.weights[layer] if kind == "W" else answer.network.biases[layer])

        low, high = (stored(edge) * live for edge in (domain.low, domain.high))
        columns = self.builder.columns(name, shape, low, high, fill=fill, integer=not box)
        return Affine(columns, shift, domain.step, domain.denominator)

    def _add_preactivations(self, layer: int) -> None:
        n, dense = self.dataset.n_samples, self.architecture.layers[layer]
        low, high = self.bounds(layer)
        unit = self.unit(layer)
        a = self.builder.columns(
            f"a{layer}", (n, dense.n_out), low[:, None] / unit, high[:, None] / unit,
            fill=lambda answer: answer.trace.preactivations[layer] / unit, integer=not dense.continuous,
        )  # fmt: skip
        self.preactivations.append(a)
        products = self._add_products(layer) if layer else None
        W, b, X = self.weights[layer], self.biases[layer], self.dataset.X
        scale = self.dataset.scale if layer == 0 else 1
        factors = X / scale if dense.continuous else X
        scale = 1 if dense.continuous else scale
        for j in range(dense.n_out):
            terms = [Terms(a[:, [j]], -1)]
            constant = np.zeros(n, dtype=np.int64)
            if products is None:
                terms.append(W._replace(columns=W.columns[:, j]).terms(factors))
                constant += W.shift * X.sum(axis=1)
            else:
                terms.append(Terms(products[:, :, j], 1))
            if b is not None:
                terms.append(Terms(b.columns[[j]], scale * b.step))
                constant += scale * b.shift
            self.builder.rows(terms, lower=-constant, upper=-constant)

    def _add_firing(self, layer: int) -> None:
        a = self.preactivations[layer]
        u = self.builder.columns(
            f"u{layer}", a.shape, 0, 1, fill=lambda answer: answer.trace.activations[layer] > 0
        )  # fmt: skip
        self.builder.rows([Terms(a.ravel()[:, None], 1)], lower=0, when=(u.ravel(), 1))
        self.builder.rows([Terms(a.ravel()[:, None], 1)], upper=-self.margin(layer), when=(u.ravel(), 0))
        self.firing.append(u)

    def _add_products(self, layer: int) -> Integers:
        """Add ``c_kij = w_ij h_ki`` and return its columns, shape (n, n_in, n_out)."""
        dense, W, u = self.architecture.layers[layer], self.weights[layer], self.firing[layer - 1]
        n, P = len(u), dense.weights.bound / dense.weights.denominator
        shape = (n, dense.n_in, dense.n_out)
        c = self.builder.columns(
            f"c{layer}", shape, -P, P, integer=not dense.continuous,
            fill=lambda answer: answer.trace.activations[layer - 1][:, :, None] * answer.network.weights[layer]
            / dense.weights.denominator,
        )  # fmt: skip
        parts = [c, np.broadcast_to(W.columns, shape), np.broadcast_to(u[:, :, None], shape)]
        add = self._sign_products if self.architecture.layers[layer - 1].lowest < 0 else self._step_products
        add([part.ravel()[:, None] for part in parts], W, P)
        return c

    def _sign_products(self, columns: list[Integers], W: Affine, P: float) -> None:
        c, w, u = columns
        for sign, slope, upper in ((-1, 2 * P, 2 * P), (1, -2 * P, 0)):
            terms = [Terms(c, 1), Terms(w, sign * W.step), Terms(u, slope)]
            self.builder.rows(terms, upper=upper - sign * W.shift)
        for sign, slope, lower in ((-1, -2 * P, -2 * P), (1, 2 * P, 0)):
            terms = [Terms(c, 1), Terms(w, sign * W.step), Terms(u, slope)]
            self.builder.rows(terms, lower=lower - sign * W.shift)

    def _step_products(self, columns: list[Integers], W: Affine, P: float) -> None:
        c, w, u = columns
        self.builder.rows([Terms(c, 1), Terms(u, -P)], upper=0)
        self.builder.rows([Terms(c, 1), Terms(u, P)], lower=0)
        self.builder.rows([Terms(c, 1), Terms(w, -W.step), Terms(u, P)], upper=P + W.shift)
        self.builder.rows([Terms(c, 1), Terms(w, -W.step), Terms(u, -P)], lower=W.shift - P)

    @cached_property
    def _nonzero(self) -> list[tuple[Integers, Integers]]:
        empty = np.zeros(0, dtype=np.int64)
        return [
            (self._add_nonzero(f"v{i}", W), self._add_nonzero(f"vb{i}", b) if b is not None else empty)
            for i, (W, b) in enumerate(zip(self.weights, self.biases, strict=True))
        ]

    def nonzero(self) -> list[tuple[Integers, Integers]]:
        """Binary columns for the weights and biases of every layer: 1 where they may be non-zero."""
        return self._nonzero

    def _add_nonzero(self, name: str, part: Affine) -> Integers:
        bias, layer = name.startswith("vb"), int(name.lstrip("vb"))
        v = self.builder.columns(
            name, part.columns.shape, 0, 1,
            fill=lambda answer: (answer.network.biases[layer] if bias else answer.network.weights[layer]) != 0,
        )  # fmt: skip
        dense = self.architecture.layers[layer]
        self._only_if(part, v.ravel(), dense.bias if bias and dense.bias is not None else dense.weights)
        return v

    def _only_if(self, part: Affine, switch: Integers, domain: IntegerDomain) -> None:
        """Add ``low * switch <= w <= high * switch``, one switch a weight."""
        w = part.columns.ravel()[:, None]
        self.builder.rows([Terms(w, 1), Terms(switch[:, None], -domain.high / domain.denominator)], upper=0)
        self.builder.rows([Terms(w, 1), Terms(switch[:, None], -domain.low / domain.denominator)], lower=0)

    @cached_property
    def _magnitudes(self) -> dict[int, Integers]:
        return {}

    def magnitudes(self, layer: int) -> Integers:
        """Columns ``xi >= |w|`` of the weights of a layer, shape (n_in, n_out), in units of the weight columns."""
        if layer not in self._magnitudes:
            W, dense = self.weights[layer], self.architecture.layers[layer]
            xi = self.builder.columns(
                f"size{layer}", W.columns.shape, 0, dense.weights.bound / dense.weights.denominator,
                fill=lambda answer: np.abs(answer.network.weights[layer]) / dense.weights.denominator,
                integer=not dense.continuous,
            )  # fmt: skip
            flat, w = xi.ravel()[:, None], W.columns.ravel()[:, None]
            for sign in (1, -1):
                self.builder.rows([Terms(flat, 1), Terms(w, -sign * W.step)], lower=sign * W.shift)
            self._magnitudes[layer] = xi
        return self._magnitudes[layer]

    def kept(self, layer: int) -> Integers:
        """Binary columns of shape (n_l,): 1 where a hidden unit is kept; the others have zero weights."""
        if layer not in self._kept:
            self._kept[layer] = self._add_kept(layer)
        return self._kept[layer]

    def _add_kept(self, layer: int) -> Integers:
        dense, after = self.architecture.layers[layer], self.architecture.layers[layer + 1]
        last = layer == len(self.architecture.hidden) - 1
        fewest = min(self.architecture.n_outputs, dense.n_out) if last else 0
        kept = self.builder.columns(
            f"kept{layer}", (dense.n_out,), 0, 1,
            fill=lambda answer: _at_least(answer.network.live_units(layer), fewest),
        )  # fmt: skip
        self.builder.rows([Terms(kept, 1)], lower=fewest)
        incoming, outgoing, bias = self.weights[layer], self.weights[layer + 1], self.biases[layer]
        self._only_if(incoming, np.broadcast_to(kept, incoming.columns.shape).ravel(), dense.weights)
        self._only_if(outgoing, np.broadcast_to(kept[:, None], outgoing.columns.shape).ravel(), after.weights)
        if bias is not None and dense.bias is not None:
            self._only_if(bias, kept, dense.bias)
        return kept

    def break_symmetry(self) -> None:
        """Order the units of every hidden layer by `unit_keys`: permuted networks are the same network."""
        for layer, dense in enumerate(self.architecture.layers[:-1]):
            if dense.n_out < 2:
                continue
            terms = self._key_terms(layer)
            pairs = [Terms(t.columns[:-1], t.values) for t in terms] + [Terms(t.columns[1:], -t.values) for t in terms]
            self.builder.rows(pairs, upper=0)

    def _key_terms(self, layer: int) -> list[Terms]:
        """Return the terms of the key of every unit, columns of shape (n_l, digits)."""
        base, inputs = key_digits(self.architecture, self.dead_inputs, layer)
        W, b = self.weights[layer], self.biases[layer]
        powers = base ** np.arange(len(inputs))
        terms = [Terms(W.columns[inputs].T, powers * W.step)]
        if b is not None:
            terms.append(Terms(b.columns[:, None], np.array([base ** len(inputs)]) * b.step))
        if layer in self._kept:
            top = Fraction(base ** (len(inputs) + 1) * 2, W.denominator)
            terms.append(Terms(self._kept[layer][:, None], np.array([float(top)])))
        return terms

    def answer(self, network: IntegerNetwork) -> Answer:
        """Bring a network into the model's canonical form and trace it."""
        canonical = canonical_form(network, self.dead_inputs, self.kept_minimum)
        return Answer(canonical, canonical.trace(self.dataset.X))

    @cached_property
    def kept_minimum(self) -> dict[int, int]:
        """Fewest kept units of every layer that has keep columns."""
        last = len(self.architecture.hidden) - 1
        return {i: (self.architecture.n_outputs if i == last else 0) for i in self._kept}

    def decode(self, x: NDArray[np.float64]) -> IntegerNetwork:
        """Read the network off a point."""
        weights = tuple(W.values(x) for W in self.weights)
        biases = tuple(
            b.values(x) if b is not None else np.zeros(layer.n_out, dtype=np.int64)
            for b, layer in zip(self.biases, self.architecture.layers, strict=True)
        )
        return IntegerNetwork(self.architecture, weights, biases, self.dataset.scale)


def _at_least(live: NDArray[np.bool_], fewest: int) -> NDArray[np.bool_]:
    """Count dead units as kept, from the last on, until there are enough."""
    kept = live.copy()
    dead = np.flatnonzero(~kept)
    missing = max(0, min(fewest, len(kept)) - int(kept.sum()))
    kept[dead[len(dead) - missing :]] = True
    return kept


def key_digits(architecture: Architecture, dead: NDArray[np.bool_], layer: int) -> tuple[int, Integers]:
    """Return the base and the inputs whose weights form the ordering key of a layer's units."""
    dense = architecture.layers[layer]
    sizes = [dense.weights.high - dense.weights.low + 1]
    if dense.bias is not None:
        sizes.append(dense.bias.high - dense.bias.low + 1)
    base = max(sizes)
    digits = 0 if dense.continuous and dense.bias is not None else max(1, int(np.log(KEY_LIMIT) / np.log(base)))
    inputs = np.flatnonzero(~dead) if layer == 0 else np.arange(dense.n_in)
    return base, inputs[:digits].astype(np.int64)


def unit_keys(network: IntegerNetwork, dead: NDArray[np.bool_], layer: int) -> Integers:
    """Return the ordering key of every hidden unit: its bias and first weights as digits."""
    base, inputs = key_digits(network.architecture, dead, layer)
    keys = base ** np.arange(len(inputs)) @ network.weights[layer][inputs]
    if network.architecture.layers[layer].bias is not None:
        keys = keys + base ** len(inputs) * network.biases[layer]
    return np.asarray(keys, dtype=np.int64)


def canonical_form(network: IntegerNetwork, dead: NDArray[np.bool_], kept: dict[int, int]) -> IntegerNetwork:
    """Zero the weights of dead inputs and sort hidden units by their keys; predictions stay the same on the data."""
    weights, biases = [W.copy() for W in network.weights], [b.copy() for b in network.biases]
    weights[0][dead] = 0
    for layer in range(len(weights) - 1):
        current = replace(network, weights=tuple(weights), biases=tuple(biases))
        keys = unit_keys(current, dead, layer)
        if layer in kept:
            base, inputs = key_digits(network.architecture, dead, layer)
            live = _at_least(current.live_units(layer), kept[layer])
            keys = keys + 2 * base ** (len(inputs) + 1) * live
        order = np.argsort(keys, kind="stable")
        weights[layer], biases[layer] = weights[layer][:, order], biases[layer][order]
        weights[layer + 1] = weights[layer + 1][order]
    return replace(network, weights=tuple(weights), biases=tuple(biases))
