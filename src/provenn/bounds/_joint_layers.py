"""Output layers of several outputs that share hidden units: those of one output, their tables, and their extensions."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numba import njit

from provenn.bounds._hull_regions import INT64_SAFE, denominator, largest_sum, output_biases
from provenn.bounds._hull_types import Evidence
from provenn.bounds._joint_types import Integers, JointProblem
from provenn.errors import CapabilityError, OverflowRiskError

MOST_ENTRIES = 2**24
MOST_SLOPES = 2500
Key = tuple[int, tuple[tuple[int, int], ...]]
"""Base of the scores, and (magnitude, side) of the weights in descending order, without zeros."""


@dataclass(frozen=True)
class Layers:
    """Every layer of one output, and what each sample then adds to each output's loss.

    Parameters
    ----------
    weights : ndarray of shape (L, h), int64
    biases : ndarray of shape (L,), int64
    signs : ndarray of shape (2**h, h), int64
        Of the units in each cell.
    tables : ndarray of shape (m, L, n, 2**h), int64
        Loss of each sample in each cell, with its multiplicity.
    largest : int
        No sum of magnitudes of the samples' losses exceeds it.
    """

    weights: Integers
    biases: Integers
    signs: Integers
    tables: Integers
    largest: int

    def table(self, layers: tuple[int, ...]) -> Integers:
        """Return the sum of the first outputs' tables, int64 of shape (n, 2**h)."""
        total = np.zeros(self.tables.shape[2:], dtype=np.int64)
        for output, layer in enumerate(layers):
            total += self.tables[output, layer]
        return total

    def tilt(self, slopes: Integers) -> Integers:
        """Return ``sum_i W_ik s_i`` for every sample and cell, int64 of shape (n, 2**h)."""
        return slopes.T @ self.signs.T


def obstacle(problem: JointProblem) -> str | None:
    """Say why the joint bound does not apply, or None when it does."""
    h, n, (low, high, step) = problem.hidden, len(problem.units.X), problem.units.outputs
    layers = ((high - low) // step + 1) ** h * len(output_biases(problem.units))
    if h * n > MOST_SLOPES:
        return f"{h} units on {n} distinct samples have more than {MOST_SLOPES} slopes"
    if layers * len(problem.parts) * n * 2**h > MOST_ENTRIES:
        return f"{layers} layers of one output are too many for tables of {n} samples and {2**h} patterns of signs"
    if 8 * h * sum(largest_sum(part) for part in problem.parts) >= INT64_SAFE:
        return "the losses leave the range of exact int64"
    return None


def layers_of_one(problem: JointProblem) -> tuple[Integers, Integers]:
    """Return weights (L, h) and biases (L,) of every layer of one output."""
    h, (low, high, step) = problem.hidden, problem.units.outputs
    pairs = [(v, b) for b in output_biases(problem.units) for v in product(range(low, high + 1, step), repeat=h)]
    weights = np.array([v for v, _ in pairs], dtype=np.int64).reshape(len(pairs), h)
    return weights, np.array([b for _, b in pairs], dtype=np.int64)


def own_bounds(problem: JointProblem, evidence: Sequence[Evidence]) -> Integers:
    """Return what the outputs' own hull bounds say about each of their layers.

    Parameters
    ----------
    problem : JointProblem
    evidence : sequence of Evidence
        Of every output, see `provenn.bounds.hull.minimise`.

    Returns
    -------
    ndarray of shape (m, L), int64
    """
    keys = [_key(problem, v, b) for v, b in zip(*(part.tolist() for part in layers_of_one(problem)), strict=True)]
    return np.array([_own(one, keys) for one in evidence], dtype=np.int64)


def _key(problem: JointProblem, v: list[int], b: int) -> Key:
    """Return the base of a layer's scores, and its weights as regions of the own bounds have them."""
    sided = not problem.mirrored
    used = sorted(((abs(one), (one > 0) - (one < 0) if sided else 0) for one in v if one), reverse=True)
    middle = 0 if problem.units.levels == (-1, 1) else 1
    return denominator(problem.units) * b + middle * sum(v), tuple(used)


def _own(evidence: Evidence, keys: list[Key]) -> list[int]:
    """Return for each layer the largest bound of a region that holds it."""
    single: dict[Key, int] = {}
    ranges = []
    for region, bound in zip(evidence.regions, evidence.bounds, strict=True):
        if region.exact:
            single[region.base, tuple(zip(region.magnitudes, region.sides, strict=True))] = bound
        else:
            ranges.append((region, bound))

    def held(base: int, used: tuple[tuple[int, int], ...]) -> list[int]:
        total = sum(m for m, _ in used)
        return [bound for region, bound in ranges if region.base == base and region.least <= total <= region.most]

    known = {key: max([*held(*key), *([single[key]] if key in single else [])]) for key in set(keys)}
    return [known[key] for key in keys]


def layers_of(problem: JointProblem) -> Layers:
    """Return the layers of one output with their tables.

    Raises
    ------
    CapabilityError
        When there are too many, see `obstacle`.
    """
    reason = obstacle(problem)
    if reason is not None:
        raise CapabilityError(f"the joint hull bound does not apply: {reason}; use the outputs' own bounds")
    h, (weights, biases) = problem.hidden, layers_of_one(problem)
    signs = np.array(list(product((-1, 1), repeat=h)), dtype=np.int64)
    levels = np.where(signs > 0, problem.units.levels[1], problem.units.levels[0])
    scores = weights @ levels.T + biases[:, None]
    distinct, place = np.unique(scores, return_inverse=True)
    place = place.reshape(scores.shape)
    tables = np.stack(
        [(part.losses(distinct) * part.multiplicity[:, None])[:, place].transpose(1, 0, 2) for part in problem.parts]
    )
    largest = sum(largest_sum(part) for part in problem.parts)
    if int(np.abs(tables).max(initial=0)) > largest:
        raise OverflowRiskError("the losses leave the range of exact int64; use smaller sample weights or losses")
    return Layers(weights, biases, signs, np.ascontiguousarray(tables), largest)


def extensions(prefix: Integers, weights: Integers, mirrored: bool) -> Integers:
    """Return which layers of the next output keep rows in order: one of all orders and mirrorings of units.

    In order means that rows, one a unit, do not increase, and with mirrored units that the first weight of a row
    that is not 0 is positive. The first columns of such rows are in order, too.

    Parameters
    ----------
    prefix : ndarray of shape (h, q), int64
        Weights of the first q outputs, in order.
    weights : ndarray of shape (L, h), int64

    Returns
    -------
    ndarray of int64
        Numbers of the layers.
    """
    kept = np.ones(len(weights), dtype=np.bool_)
    for i in range(len(prefix)):
        if mirrored and not prefix[i].any():
            kept &= weights[:, i] >= 0
        if i > 0 and np.array_equal(prefix[i - 1], prefix[i]):
            kept &= weights[:, i - 1] >= weights[:, i]
    return np.flatnonzero(kept)


@njit(cache=True, nogil=True)
def least_sums(tables: Integers, nodes: Integers, tilt: Integers, quotient: int) -> Integers:
    """Return ``sum_k min_c [Q T_kc - tilt_kc]`` for every node, with T the sum of its outputs' tables.

    Parameters
    ----------
    tables : ndarray of shape (m, L, n, C), int64
    nodes : ndarray of shape (N, q), int64
        Layers of the first q outputs.
    tilt : ndarray of shape (n, C), int64
    quotient : int
    """
    n, cells = tilt.shape
    sums = np.zeros(len(nodes), dtype=np.int64)
    for i in range(len(nodes)):
        for k in range(n):
            least = 0
            for c in range(cells):
                value = -tilt[k, c]
                for o in range(nodes.shape[1]):
                    value += quotient * tables[o, nodes[i, o], k, c]
                if c == 0 or value < least:
                    least = value
            sums[i] += least
    return sums


@njit(cache=True, nogil=True)
def best_layers(tables: Integers, cells: Integers, chosen: Integers) -> int:
    """Choose the best layer of each output for given units; return the loss.

    Parameters
    ----------
    tables : ndarray of shape (m, L, n, C), int64
    cells : ndarray of shape (n,), int64
        The cell of each sample.
    chosen : ndarray of shape (m,), int64
        Written.
    """
    total = 0
    for o in range(tables.shape[0]):
        best = 0
        for layer in range(tables.shape[1]):
            value = 0
            for k in range(len(cells)):
                value += tables[o, layer, k, cells[k]]
            if layer == 0 or value < best:
                best, chosen[o] = value, layer
        total += best
    return total
