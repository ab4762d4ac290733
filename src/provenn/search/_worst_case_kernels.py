"""Compiled annealing over single parameters for networks with one hidden layer under perturbations.

A change of a weight of the first layer costs one pass over the samples; only those whose code changes have another
loss.

Names: XT features by rows with the bias input, `scale` everywhere, last, shape (d + 1, n); first incoming weights and
bias of every unit, shape (h, d + 1); second outgoing weights with the biases as last row, shape (h + 1, n_outputs); a
pre-activations and codes, shape (h, n); D reach of every unit; open_ number of units that may change, shape (n,); rows
worst scores, shape (n, n_outputs); loss of every sample; prices of a sample that may change (times its multiplicity),
of a non-zero weight, and of a pre-activation within the margin.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from provenn.search._moves import uniform
from provenn.search._score_losses import Rule, sample_loss
from provenn.search._worst_case_units import NEAR, code_of, extra, reach_with, share, unit_reach

Longs = NDArray[np.int64]
Floats = NDArray[np.float64]
HOPELESS = 30.0


@njit(cache=True, nogil=True)
def begin(
    XT: Longs, first: Longs, second: Longs, R: Longs, norm: int, targets: Longs, lowest: int, worst: bool, margin: int,
    a: Longs, codes: Longs, D: Longs, open_: Longs, rows: NDArray[np.int32],
) -> None:  # fmt: skip
    """Compute the state of all units and the worst scores from scratch."""
    h, n = codes.shape
    for j in range(h):
        D[j] = unit_reach(first[j], R, norm)
        for i in range(len(XT)):
            if first[j, i] != 0:
                for k in range(n):
                    a[j, k] += first[j, i] * XT[i, k]
        for k in range(n):
            codes[j, k] = code_of(a[j, k], D[j], margin)
            open_[k] += extra(codes[j, k])
    for k in range(n):
        for o in range(rows.shape[1]):
            total = second[h, o]
            for j in range(h):
                total += share(second[j, o], codes[j, k], lowest, worst, targets[k, o] > 0)
            rows[k, o] = total


@njit(cache=True, nogil=True)
def energy_of(
    first: Longs, second: Longs, codes: Longs, open_: Longs, loss: Floats, mult: Floats, prices: Floats
) -> float:
    """Return the loss with all prices."""
    h, n = codes.shape
    near = 0
    for j in range(h):
        for k in range(n):
            if codes[j, k] & NEAR:
                near += 1
    total = prices[2] * near + prices[1] * (np.count_nonzero(first[:, :-1]) + np.count_nonzero(second[:h]))
    for k in range(n):
        total += mult[k] * (loss[k] + (prices[0] if open_[k] > 0 else 0.0))
    return total


@njit(cache=True, nogil=True)
def try_first(
    j: int, i: int, change: int, D: int, XT: Longs, second: Longs, a: Longs, codes: Longs, open_: Longs,
    rows: NDArray[np.int32], loss: Floats, label: Longs, targets: Longs, mult: Floats, prices: Floats, lowest: int,
    worst: bool, margin: int, rule: Rule, table: Floats, changed: Longs, new_code: Longs, new_rows: NDArray[np.int32],
    new_loss: Floats,
) -> tuple[int, float]:  # fmt: skip
    """Write what a change of one incoming weight does to samples whose code changes: their number, the gain."""
    count, gain = 0, 0.0
    for k in range(codes.shape[1]):
        before = codes[j, k]
        code = code_of(a[j, k] + change * XT[i, k], D, margin)
        if code == before:
            continue
        for o in range(rows.shape[1]):
            low, v = targets[k, o] > 0, second[j, o]
            moved = share(v, code, lowest, worst, low) - share(v, before, lowest, worst, low)
            new_rows[count, o] = rows[k, o] + moved
        now = open_[k] + extra(code) - extra(before)
        gain += mult[k] * prices[0] * ((1 if now > 0 else 0) - (1 if open_[k] > 0 else 0))
        gain += prices[2] * ((1 if code & NEAR else 0) - (1 if before & NEAR else 0))
        changed[count], new_code[count] = k, code
        new_loss[count] = sample_loss(rule, table, new_rows[count], 0, label[k])
        gain += mult[k] * (new_loss[count] - loss[k])
        count += 1
    return count, gain


@njit(cache=True, nogil=True)
def try_second(
    j: int, o: int, old: int, value: int, codes: Longs, rows: NDArray[np.int32], loss: Floats, label: Longs,
    targets: Longs, mult: Floats, lowest: int, worst: bool, rule: Rule, table: Floats, changed: Longs,
    new_rows: NDArray[np.int32], new_loss: Floats,
) -> tuple[int, float]:  # fmt: skip
    """Write what a change of one outgoing weight or output bias does to all samples: their number, the gain."""
    gain, n = 0.0, codes.shape[1]
    for k in range(n):
        low, moved = targets[k, o] > 0, value - old
        if j < len(codes):
            code = codes[j, k]
            moved = share(value, code, lowest, worst, low) - share(old, code, lowest, worst, low)
        for c in range(rows.shape[1]):
            new_rows[k, c] = rows[k, c]
        new_rows[k, o] += moved
        changed[k], new_loss[k] = k, loss[k]
        if moved != 0:
            new_loss[k] = sample_loss(rule, table, new_rows[k], 0, label[k])
            gain += mult[k] * (new_loss[k] - loss[k])
    return n, gain


@njit(cache=True, nogil=True)
def commit(
    count: int, changed: Longs, new_rows: NDArray[np.int32], new_loss: Floats, rows: NDArray[np.int32], loss: Floats
) -> None:
    """Enter new scores and losses."""
    for at in range(count):
        for o in range(rows.shape[1]):
            rows[changed[at], o] = new_rows[at, o]
        loss[changed[at]] = new_loss[at]


@njit(cache=True, nogil=True)
def commit_first(
    j: int, i: int, change: int, count: int, XT: Longs, a: Longs, codes: Longs, open_: Longs, changed: Longs,
    new_code: Longs,
) -> None:  # fmt: skip
    """Enter new pre-activations and codes of a unit."""
    for k in range(a.shape[1]):
        a[j, k] += change * XT[i, k]
    for at in range(count):
        k = changed[at]
        open_[k] += extra(new_code[at]) - extra(codes[j, k])
        codes[j, k] = new_code[at]


@njit(cache=True, nogil=True)
def refused(gain: float, heat: float, random: NDArray[np.uint64]) -> bool:
    """Whether the Metropolis rule turns a change down; without heat everything that is worse."""
    if gain <= 0.0:
        return False
    return heat <= 0.0 or gain > HOPELESS * heat or uniform(random) >= math.exp(-gain / heat)


@njit(cache=True, nogil=True)
def anneal(
    XT: Longs, mult: Floats, label: Longs, targets: Longs, first: Longs, second: Longs, domains: Longs,
    fixed: NDArray[np.bool_], R: Longs, norm: int, worst: bool, prices: Floats, lowest: int, margin: int, rule: Rule,
    table: Floats, random: NDArray[np.uint64], steps: int, hot: float, cold: float, best_first: Longs,
    best_second: Longs,
) -> tuple[float, float]:  # fmt: skip
    """Propose changes of single parameters under a falling temperature; return the least energy and the mean effect.

    The last twentieth of the steps takes no change for the worse. `first` and `second` are changed in place, the best
    ones are written to `best_first` and `best_second`. `domains` has low, high and step of weights and biases of both
    layers, `fixed` the inputs whose weights stay.
    """
    # One long function: numba allocates the state once, and the steps share all of it.
    h, width = first.shape
    n, outputs, d = XT.shape[1], second.shape[1], width - 1
    a, codes, D, open_ = (
        np.zeros((h, n), np.int64),
        np.zeros((h, n), np.int64),
        np.zeros(h, np.int64),
        np.zeros(n, np.int64),
    )
    rows, loss = np.zeros((n, outputs), np.int32), np.zeros(n)
    begin(XT, first, second, R, norm, targets, lowest, worst, margin, a, codes, D, open_, rows)
    for k in range(n):
        loss[k] = sample_loss(rule, table, rows[k], 0, label[k])
    energy = energy_of(first, second, codes, open_, loss, mult, prices)
    best, effect, effects, total = energy, 0.0, 0, h * width + (h + 1) * outputs
    best_first[:], best_second[:] = first, second
    changed, new_code, new_loss, new_rows = (
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        np.zeros(n),
        np.zeros_like(rows),
    )
    for step in range(steps):
        heat = hot * (cold / hot) ** (step / max(1, steps - 1)) if step < 0.95 * steps and hot > 0 else 0.0
        place = int(uniform(random) * total)
        inner, at = place < h * width, place if place < h * width else place - h * width
        j, i = (at // width, at % width) if inner else (at // outputs, at % outputs)
        if inner and fixed[i]:
            continue
        weight = i < d if inner else j < h
        old = first[j, i] if inner else second[j, i]
        value = proposal(old, domains[(0 if inner else 2) + (0 if weight else 1)], random)
        if value == old:
            continue
        reach = D[j] if inner else 0
        if inner and weight and R[i] > 0:
            reach = reach_with(first, j, i, value, R, norm)
        if inner:
            count, gain = try_first(
                j, i, value - old, reach, XT, second, a, codes, open_, rows, loss, label, targets, mult, prices,
                lowest, worst, margin, rule, table, changed, new_code, new_rows, new_loss,
            )  # fmt: skip
        else:
            count, gain = try_second(
                j, i, old, value, codes, rows, loss, label, targets, mult, lowest, worst, rule, table, changed,
                new_rows, new_loss,
            )  # fmt: skip
        gain += prices[1] * (int(value != 0) - int(old != 0)) * int(weight)
        effect += abs(gain)
        effects += int(gain != 0.0)
        if refused(gain, heat, random):
            continue
        if inner:
            first[j, i], D[j] = value, reach
            commit_first(j, i, value - old, count, XT, a, codes, open_, changed, new_code)
        else:
            second[j, i] = value
        commit(count, changed, new_rows, new_loss, rows, loss)
        energy += gain
        if energy < best - 1e-9 * abs(best):
            best = energy
            best_first[:], best_second[:] = first, second
    return best, effect / max(1, effects)


@njit(cache=True, nogil=True)
def proposal(old: int, domain: Longs, random: NDArray[np.uint64]) -> int:
    """Return another value: any of a small domain, of a large one a step of some power of two."""
    low, high, step = domain
    values = (high - low) // step + 1
    if values < 2:
        return old
    if values <= 16:
        other = low + step * int(uniform(random) * (values - 1))
        return other if other < old else other + step
    digits = int(math.log2(values))
    move = np.int64(1) << int(uniform(random) * digits)
    if uniform(random) < 0.5:
        move = -move
    return min(high, max(low, old + step * move))
