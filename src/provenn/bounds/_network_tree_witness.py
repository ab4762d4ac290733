"""From the patterns of a node to a network: the cheapest unit of every pattern, and the best layers after it."""

import itertools
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import mul
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from provenn.check_proof import Networks, Price, Table, both, lowest_of, values_of

Integers = NDArray[np.int64]
Unit = tuple[tuple[int, ...], int]
CHUNK = 2**14


class Found(NamedTuple):
    """Weights (one list of rows a layer) and biases of a network."""

    weights: list[list[list[int]]]
    biases: list[list[int]]


class Layers(NamedTuple):
    """Units of some layers after the first, what the last of them makes of every cell, and their price."""

    units: tuple[tuple[Unit, ...], ...]
    rows: tuple[Table, ...]
    price: Price


def witness(networks: Networks, patterns: Sequence[int]) -> Found | None:
    """Return the best network whose first layer has these patterns; None where limits exclude all.

    Parameters
    ----------
    networks : Networks
    patterns : sequence of int
        One a unit, as `Networks.patterns` lists them.
    """
    first = [unit_of(networks, pattern) for pattern in patterns]
    best: tuple[int, tuple[tuple[Unit, ...], ...]] | None = None
    counts, prices = _counts(networks, first), [networks.price(w, b) for w, b in first]
    for layers in _later(networks):
        found = _outputs(networks, layers, counts, prices)
        if found is not None and (best is None or found[0] < best[0]):
            best = found[0], (tuple(first), *layers.units, found[1])
    if best is None:
        return None
    weights = [[list(row) for row in zip(*[w for w, _ in units], strict=True)] for units in best[1]]
    return Found(weights, [[b for _, b in units] for units in best[1]])


def unit_of(networks: Networks, pattern: int) -> Unit:
    """Return the cheapest unit of a pattern, or of the reverse pattern where that is as good."""
    first, n = networks.layers[0], len(networks.rows)
    fires = np.array([bool(pattern >> n - 1 - k & 1) for k in range(n)])
    values = values_of(first["weights"])
    entries = [[0] if dead and 0 in values else values for dead in networks.dead] + [values_of(first["bias"])]
    sizes = tuple(map(len, entries))
    X = np.column_stack([np.array(networks.rows, dtype=np.int64), np.full(n, networks.scale)])
    best: tuple[Price, Unit] | None = None
    for start in range(0, int(np.prod(sizes)), CHUNK):
        digits = np.unravel_index(np.arange(start, min(start + CHUNK, int(np.prod(sizes)))), sizes)
        vectors = np.column_stack([np.array(e)[d] for e, d in zip(entries, digits, strict=True)])
        same = (vectors @ X.T >= 0) == fires
        hits = same.all(axis=1) | (~same.any(axis=1) & networks.mirrored(0))
        for vector in vectors[hits].tolist():
            w, b = tuple(vector[:-1]), vector[-1]
            price = networks.price(w, b)
            if price[1] <= networks.fan_in and (best is None or price < best[0]):
                best = price, (w, b)
    assert best is not None
    return best[1]


def _counts(networks: Networks, first: Sequence[Unit]) -> list[list[int]]:
    """Return the weight of every cell and label, one after the other, for each term."""
    counts = [[0] * (2**networks.h * term.width) for term in networks.terms]
    for k, row in enumerate(networks.rows):
        cell = 0
        for w, b in first:
            cell = 2 * cell + (sum(map(mul, w, row)) + networks.scale * b >= 0)
        for term, count in zip(networks.terms, counts, strict=True):
            for category, weights in zip(term.categories, term.weights, strict=True):
                for label in category:
                    count[cell * term.width + label] += weights[k]
    return counts


def _later(networks: Networks) -> Iterator[Layers]:
    """Yield all choices of the hidden layers after the first, one for each thing that they do."""
    lowest = lowest_of(networks.layers[0])
    found = [Layers((), tuple(itertools.product((lowest, 1), repeat=networks.h)), (0, 0, 0))]
    for layer in range(1, len(networks.layers) - 1):
        grown: dict[tuple[Table, ...], Layers] = {}
        for one in found:
            options = list(_functions(networks, layer, one.rows, hidden=True).items())
            for chosen in itertools.combinations_with_replacement(options, networks.layers[layer]["n_out"]):
                rows = tuple(zip(*[table for table, _ in chosen], strict=True))
                price = reduce(both, [price for _, (price, _) in chosen], one.price)
                if rows not in grown or price < grown[rows].price:
                    grown[rows] = Layers((*one.units, tuple(unit for _, (_, unit) in chosen)), rows, price)
        found = list(grown.values())
    yield from found


def _functions(
    networks: Networks, layer: int, rows: Sequence[Table], *, hidden: bool
) -> dict[Table, tuple[Price, Unit]]:
    """Return the cheapest unit of a layer for everything that a unit can make of the cells."""
    shape, found = networks.layers[layer], dict[Table, tuple[Price, Unit]]()
    lowest = lowest_of(shape)
    for w in itertools.product(values_of(shape["weights"]), repeat=shape["n_in"]):
        if sum(map(bool, w)) > networks.fan_in:
            continue
        plain = [sum(map(mul, w, row)) for row in rows]
        for b in values_of(shape["bias"]):
            table = tuple((1 if a + b >= 0 else lowest) if hidden else a + b for a in plain)
            price = networks.price(w, b)
            if table not in found or price < found[table][0]:
                found[table] = price, (w, b)
    return found


def _outputs(
    networks: Networks, layers: Layers, counts: list[list[int]], first: Sequence[Price]
) -> tuple[int, tuple[Unit, ...]] | None:
    """Return the best output layer with its value."""
    options = list(_functions(networks, len(networks.layers) - 1, layers.rows, hidden=False).items())
    together = networks.loss.outputs if networks.loss.joint else 1
    total, chosen_units = 0, list[Unit]()
    for count in counts:
        best: tuple[int, tuple[Unit, ...]] | None = None
        for chosen in itertools.product(options, repeat=together):
            table = networks.loss.table([*zip(*[t for t, _ in chosen], strict=True)])
            units = tuple(unit for _, (_, unit) in chosen)
            prices = [p for _, (p, _) in chosen]
            used = layers.price[1] + sum(p[1] for p in (*prices, *first))
            if used > networks.room:
                continue
            live = sum(p[2] or any(w[j] for w, _ in units) for j, p in enumerate(first)) if networks.neuron else 0
            fewest = min(networks.h, networks.loss.outputs)
            value = networks.factor * sum(map(mul, table, count)) + sum(p[0] for p in prices)
            value += networks.neuron * max(live, fewest)
            if best is None or value < best[0]:
                best = value, units
        if best is None:
            return None
        total, chosen_units = total + best[0], [*chosen_units, *best[1]]
    return total + layers.price[0] + sum(p[0] for p in first), tuple(chosen_units)
