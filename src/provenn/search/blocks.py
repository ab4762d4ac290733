"""Choice of neighbourhoods for a large neighbourhood search: which parameters of a network are free.

A block frees some weights and biases and fixes the others. It may hold all activations too, so
that neurons do not act on each other. Which activations can change follows by interval arithmetic.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from provenn.network import Architecture, IntegerNetwork

Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]
Unit = tuple[int, int]
"""Layer and index of a neuron."""

KINDS = ("neurons", "early", "features", "held")
GROW, SHRINK, DECAY, FLOOR, PATIENCE = 1.5, 0.75, 0.7, 0.15, 1.1
SMALLEST = 4


@dataclass(frozen=True)
class Block:
    """Free parameters; everything else keeps its value.

    Parameters
    ----------
    weights : tuple of bool ndarray of shape (n_in, n_out), one a layer
    biases : tuple of bool ndarray of shape (n_out,)
    hold : bool
        Whether every activation of every sample must stay as it is.
    """

    weights: tuple[Mask, ...]
    biases: tuple[Mask, ...]
    hold: bool = False

    @property
    def size(self) -> int:
        """Number of free parameters."""
        return int(sum(part.sum() for part in (*self.weights, *self.biases)))

    def within(self, other: "Block") -> bool:
        """Whether every change that this block allows is allowed by the other."""
        pairs = zip((*self.weights, *self.biases), (*other.weights, *other.biases), strict=True)
        return (self.hold or not other.hold) and not any(bool((a & ~b).any()) for a, b in pairs)


@dataclass(frozen=True)
class Space:
    """All parameters that may be freed, and the blocks made of them.

    Parameters
    ----------
    whole : Block
        Everything but the weights of constant features.
    architecture : Architecture

    Examples
    --------
    >>> space = Space.of(Architecture.build(5, 2, hidden=(3,)), np.ones(5, dtype=bool))
    >>> space.whole.size, space.neurons([(0, 1)]).size, space.outputs([0]).size
    (22, 8, 4)
    """

    whole: Block
    architecture: Architecture

    @classmethod
    def of(cls, architecture: Architecture, live: Mask) -> "Space":
        """Return the space of an architecture; weights of dead inputs stay 0 where the domain has 0."""
        weights = [np.ones((layer.n_in, layer.n_out), dtype=np.bool_) for layer in architecture.layers]
        if architecture.layers[0].weights.has_zero:
            weights[0] &= live[:, None]
        biases = tuple(np.full(layer.n_out, layer.bias is not None) for layer in architecture.layers)
        return cls(Block(tuple(weights), biases), architecture)

    @property
    def units(self) -> list[Unit]:
        """Hidden neurons; the outputs where there are none."""
        last = len(self.architecture.layers) - 1
        return self.hidden or [(last, j) for j in range(self.architecture.n_outputs)]

    @property
    def hidden(self) -> list[Unit]:
        """Hidden neurons."""
        return [(i, j) for i, n in enumerate(self.architecture.hidden) for j in range(n)]

    def _empty(self) -> tuple[list[Mask], list[Mask]]:
        return [np.zeros_like(W) for W in self.whole.weights], [np.zeros_like(b) for b in self.whole.biases]

    def _block(self, parts: tuple[list[Mask], list[Mask]], hold: bool = False) -> Block:
        weights = tuple(a & b for a, b in zip(parts[0], self.whole.weights, strict=True))
        return Block(weights, tuple(a & b for a, b in zip(parts[1], self.whole.biases, strict=True)), hold)

    def neurons(self, units: list[Unit], inputs: Integers | None = None, outgoing: bool = True) -> Block:
        """Free the incoming weights and biases of some neurons, their outgoing weights and the output biases.

        Parameters
        ----------
        units : list of (layer, index)
        inputs : ndarray of int, optional
            Free only the incoming weights from these inputs of the layer.
        outgoing : bool
            False keeps the outgoing weights: with all hidden neurons, this is the first half of the
            alternation of Kurtz & Bah, arXiv 2110.11382.
        """
        weights, biases = self._empty()
        for layer, j in units:
            weights[layer][slice(None) if inputs is None else inputs, j] = True
            biases[layer][j] = True
            if outgoing and layer + 1 < len(weights):
                weights[layer + 1][j] = True
        if outgoing and self.architecture.hidden:
            biases[-1][:] = True
        return self._block((weights, biases))

    def features(self, features: Integers) -> Block:
        """Free the weights of some features in all first-layer neurons, and the biases of first and last layer."""
        weights, biases = self._empty()
        weights[0][features] = True
        biases[0][:], biases[-1][:] = True, True
        return self._block((weights, biases))

    def held(self, apart: bool) -> list[Block]:
        """Return the blocks that hold all activations: every hidden neuron by itself, then the outputs.

        With all activations held the neurons do not act on each other (the hybrid of Toro Icarte
        et al., CP 2019), and the outputs are the second half of the alternation of Kurtz & Bah.

        Parameters
        ----------
        apart : bool
            Whether the outputs are independent problems too; otherwise they are one block.
        """
        outputs = range(self.architecture.n_outputs)
        hidden = [replace(self.neurons([unit], outgoing=False), hold=True) for unit in self.hidden]
        return hidden + [self.outputs([j]) for j in outputs if apart] + [self.outputs([*outputs])] * (not apart)

    def outputs(self, outputs: list[int]) -> Block:
        """Free the parameters of some outputs and hold all activations."""
        weights, biases = self._empty()
        weights[-1][:, outputs] = True
        biases[-1][outputs] = True
        return self._block((weights, biases), hold=True)

    def draw(self, kind: str, size: int, rng: np.random.Generator) -> Block:
        """Draw a block of a kind with about the given number of free parameters.

        Parameters
        ----------
        kind : "neurons", "early" or "features"
            Neurons with their outgoing weights, without them, or features in the first layer.
        size : int
            A neuron larger than this gets some of its inputs only.
        rng : Generator
        """
        if kind == "features":
            live = np.flatnonzero(self.whole.weights[0].any(axis=1))
            count = max(1, size // self.architecture.layers[0].n_out)
            return self.features(rng.permutation(live)[:count])
        units = self.units
        chosen: list[Unit] = []
        left = size
        for at in rng.permutation(len(units)):
            cost = self._cost(units[at], kind == "neurons")
            if chosen and cost > left:
                break
            chosen.append(units[at])
            left -= cost
        if left >= 0:
            return self.neurons(chosen, outgoing=kind == "neurons")
        layer = chosen[0][0]
        inputs = np.flatnonzero(self.whole.weights[layer].any(axis=1))
        count = max(1, len(inputs) + left)
        return self.neurons(chosen, rng.permutation(inputs)[:count], outgoing=kind == "neurons")

    def _cost(self, unit: Unit, outgoing: bool) -> int:
        layer, j = unit
        after = self.whole.weights[layer + 1][j].sum() if outgoing and layer + 1 < len(self.whole.weights) else 0
        return int(self.whole.weights[layer][:, j].sum() + self.whole.biases[layer][j] + after)

    def largest(self, kind: str) -> int:
        """Size from which on `draw` frees all that the kind can free."""
        if kind == "held":
            return SMALLEST
        if kind == "features":
            first = self.whole.weights[0]
            return max(SMALLEST, int(first.any(axis=1).sum()) * first.shape[1])
        return max(SMALLEST, sum(self._cost(unit, kind == "neurons") for unit in self.units))


def count_variants(architecture: Architecture, block: Block) -> float:
    """Count the networks that agree with a given one outside the block."""
    count = 1.0
    for layer, W, b in zip(architecture.layers, block.weights, block.biases, strict=True):
        count *= float(len(layer.weights)) ** int(W.sum())
        count *= float(len(layer.bias)) ** int(b.sum()) if layer.bias is not None else 1.0
    return count


def variants(network: IntegerNetwork, block: Block) -> Iterator[IntegerNetwork]:
    """Enumerate the networks that agree with a given one outside the block, whatever their activations.

    Examples
    --------
    >>> shape = Architecture.build(2, 2, hidden=(1,))
    >>> block = Space.of(shape, np.ones(2, dtype=bool)).outputs([0])
    >>> sum(1 for _ in variants(IntegerNetwork.constant(shape, 0), block)), count_variants(shape, block)
    (9, 9.0)
    """
    layers = network.architecture.layers
    places: list[tuple[int, bool, int]] = []
    for number in range(len(layers)):
        for bias, mask in ((False, block.weights[number]), (True, block.biases[number])):
            places += [(number, bias, int(at)) for at in np.flatnonzero(mask)]
    domains = [layers[i].bias if bias else layers[i].weights for i, bias, _ in places]
    for values in product(*(domain.values.tolist() for domain in domains if domain is not None)):
        weights, biases = [W.copy() for W in network.weights], [b.copy() for b in network.biases]
        for (number, bias, at), value in zip(places, values, strict=True):
            (biases if bias else weights)[number].flat[at] = value
        yield replace(network, weights=tuple(weights), biases=tuple(biases))


class Reach(NamedTuple):
    """What can change within a block, layer by layer.

    Attributes
    ----------
    low, high : list of ndarray of shape (n, n_l), int64
        Interval of the pre-activations.
    units : list of bool ndarray of shape (n, n_l)
        Activations of hidden layers that are not certain.
    activations : list of ndarray of shape (n, n_l), int64
        Those of the network.
    """

    low: list[Integers]
    high: list[Integers]
    units: list[Mask]
    activations: list[Integers]


def reach(network: IntegerNetwork, X: Integers, block: Block) -> Reach:
    """Bound the pre-activations within a block by interval arithmetic, sample by sample.

    ``high = H+ w_high - H- w_low + M max(w_high, l w_low, l w_high)`` with H the certain inputs, M the
    uncertain ones, which are 1 or l.

    Examples
    --------
    >>> shape = Architecture.build(2, 2, hidden=(1,))
    >>> net = IntegerNetwork.of(shape, [[[1], [0]], [[1]]], [[0], [0]])
    >>> block = Space.of(shape, np.ones(2, dtype=bool)).features(np.array([1]))
    >>> reach(net, np.array([[5, 1], [1, 3]]), block).units[0].tolist()
    [[False], [True]]
    """
    inputs, uncertain = X, np.zeros(X.shape, dtype=np.bool_)
    result = Reach([], [], [], [])
    layers = network.architecture.layers
    for number, layer in enumerate(layers):
        W, b = network.weights[number], network.biases[number]
        scale = network.scale if number == 0 else 1
        a = np.asarray(inputs @ W + scale * b)
        low, high = a.copy(), a.copy()
        free, free_bias = block.weights[number], block.biases[number]
        loose = np.flatnonzero(free.any(axis=0) | free_bias | uncertain.any())
        least, most = (np.where(free, edge, W)[:, loose] for edge in (layer.weights.low, layer.weights.high))
        domain = layer.bias if layer.bias is not None else layer.weights
        bias = tuple(scale * np.where(free_bias, edge, b)[loose] for edge in (domain.low, domain.high))
        known = np.where(uncertain, 0, inputs)
        positive, negative = np.maximum(known, 0), np.maximum(-known, 0)
        lowest, unsure = layers[number - 1].lowest, uncertain.astype(np.int64)
        down = np.minimum(least, np.minimum(lowest * least, lowest * most))
        up = np.maximum(most, np.maximum(lowest * least, lowest * most))
        low[:, loose] = positive @ least - negative @ most + unsure @ down + bias[0]
        high[:, loose] = positive @ most - negative @ least + unsure @ up + bias[1]
        result.low.append(low)
        result.high.append(high)
        if number < len(layers) - 1:
            inputs = np.where(a >= 0, 1, layer.lowest).astype(np.int64)
            uncertain = (low < 0) & (high >= 0) & (not block.hold)
            result.units.append(uncertain)
            result.activations.append(inputs)
    return result


@dataclass
class Arm:
    """One kind of block: how large the next one is, how long it may take, what it gained per second."""

    size: float
    largest: int
    patience: float = 1.0
    score: float = 1.0
    open: bool = True


@dataclass
class Arms:
    """Chooses kinds of blocks by their gain per second, and sizes by what was proven in time.

    Parameters
    ----------
    arms : dict of str to Arm
    """

    arms: dict[str, Arm] = field(default_factory=dict)

    def choose(self, rng: np.random.Generator) -> str | None:
        """Draw an open kind with probability proportional to its score, with a floor; None when all are closed."""
        names = [name for name, arm in self.arms.items() if arm.open]
        if not names:
            return None
        scores = np.array([self.arms[name].score for name in names])
        scores = np.maximum(scores, FLOOR * scores.max()) + 1e-12
        return str(rng.choice(names, p=scores / scores.sum()))

    def learn(self, name: str, gain: float, seconds: float, proven: bool, size: float = float("inf")) -> None:
        """Note what a block of this size gained, as a share of the objective, and whether it was solved to proof."""
        arm = self.arms[name]
        arm.score = DECAY * arm.score + (1 - DECAY) * gain / max(seconds, 1e-3)
        if gain > 0:
            return
        if proven:
            self.grow(name)
        else:
            arm.size = max(SMALLEST, SHRINK * min(arm.size, size))
            arm.patience *= PATIENCE

    def grow(self, name: str) -> None:
        """Make the next block larger; a kind that is at its largest is closed."""
        arm = self.arms[name]
        arm.open = arm.size < arm.largest
        arm.size = min(arm.largest, GROW * arm.size)

    def reopen(self) -> None:
        """Open all kinds again, for another network."""
        for arm in self.arms.values():
            arm.open = True
