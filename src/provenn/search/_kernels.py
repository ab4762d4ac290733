"""Compiled kernels of the local search: effect of a flipped unit, scores of all moves of a unit, moves.

A move changes one parameter of unit j of layer l by dv. The scores of all moves of a unit are
``gain[side, m, i]``, the change of the loss when parameter i (the last is the bias) is raised
(side 0) or lowered (side 1) by m + 1.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from provenn.search._score_losses import ScoreLoss, sample_loss
from provenn.search._state import BINARY, Bytes, Inputs, Ints, Longs, Shape, State

Singles = NDArray[np.float32]
Layout = tuple[Longs, Longs, Longs, Longs]


class Space(NamedTuple):
    """Memory that kernels write to.

    Attributes
    ----------
    gain : ndarray of shape (2, reach, width + 1), float32
        Scores of the moves of one unit.
    row : ndarray of shape (tail,), int32
        Tail of one sample.
    outgoing : ndarray of shape (width,), int32
        Outgoing weights of one unit.
    place, effect : ndarray of shape (n,)
        Critical samples, bucket by bucket, and what their flips change; a bucket is ``side * reach + m``.
    found : ndarray of shape (n,), int64
        Critical samples in their order.
    value : ndarray of shape (n,), float32
        What their flips change.
    bucket : ndarray of shape (n,), int8
    ends : ndarray of shape (2 reach + 1,), int64
        Where the buckets begin and end in `place`.
    """

    gain: NDArray[np.float32]
    row: Ints
    outgoing: Ints
    place: Longs
    effect: Singles
    found: Longs
    value: Singles
    bucket: Bytes
    ends: Longs


@njit(cache=True, nogil=True)
def workspace(shape: Shape, state: State, reach: int) -> Space:
    """Return memory for moves of at most `reach`."""
    width, n = np.max(shape.size), len(state.loss)
    return Space(
        np.zeros((2, reach, width + 1), dtype=np.float32),
        np.zeros(state.tail.shape[1], dtype=np.int32),
        np.zeros(width, dtype=np.int32),
        np.zeros(n, dtype=np.int64),
        np.zeros(n, dtype=np.float32),
        np.zeros(n + 1, dtype=np.int64),
        np.zeros(n, dtype=np.float32),
        np.zeros(n, dtype=np.int8),
        np.zeros(2 * reach + 1, dtype=np.int64),
    )


@njit(cache=True, nogil=True)
def prepare(shape: Shape, state: State, layer: int, j: int, space: Space) -> None:
    """Gather the outgoing weights of a hidden unit, which `flip` needs."""
    if layer < len(shape.tail) - 1:
        n_in, base = shape.size[layer + 1], shape.flat[layer + 1]
        for u in range(shape.size[layer + 2]):
            space.outgoing[u] = state.parameters[base + u * (n_in + 1) + j]


@njit(cache=True, nogil=True)
def flip(
    layout: Layout, p: Ints, tail: Ints, activations: Bytes, outgoing: Ints, row: Ints, k: int, layer: int, j: int
) -> None:
    """Write into `row` the tail of sample k after unit j of a hidden layer flips.

    `layout` holds `Shape.size`, `Shape.tail`, `Shape.flat` and `Shape.lowest`, `p` the parameters.
    """
    size, place, flat, lowest = layout
    for t in range(len(row)):
        row[t] = tail[k, t]
    at, begin = (size[1] + place[layer] if layer > 0 else 0), place[layer + 1]
    change = 1 + lowest[layer] - 2 * activations[k, at + j]
    for u in range(size[layer + 2]):
        row[begin + u] += change * outgoing[u]
    for m in range(layer + 1, len(place) - 1):
        at, n_in, base, rise = size[1] + place[m], size[m + 1], flat[m + 1], 1 - lowest[m]
        for u in range(n_in):
            fires = row[place[m] + u] >= 0
            if fires != (activations[k, at + u] > 0):
                change = rise if fires else -rise
                for v in range(size[m + 2]):
                    row[place[m + 1] + v] += change * p[base + v * (n_in + 1) + u]


@njit(cache=True, nogil=True)
def score(inputs: Inputs, shape: Shape, state: State, loss: ScoreLoss, layer: int, j: int, space: Space) -> None:
    """Write the gains of all moves of a unit; `prepare` was called."""
    gain = space.gain
    gain[:] = 0.0
    if layer == len(shape.tail) - 1:
        _score_output(inputs, shape, state, loss, j, space)
        return
    _weigh_critical(inputs, shape, state, loss, layer, j, space)
    if layer == 0 and inputs.kind == BINARY:
        _add_rows(inputs, space)
    elif layer == 0:
        _add_sparse_rows(inputs, state, j, space)
    else:
        _add_activations(shape, state, layer, space)
    for side in range(2):
        for m in range(1, gain.shape[1]):
            for i in range(gain.shape[2]):
                gain[side, m, i] += gain[side, m - 1, i]


@njit(cache=True, nogil=True)
def _find_critical(inputs: Inputs, shape: Shape, state: State, layer: int, j: int, space: Space) -> int:
    """List the samples that a single move may flip, without branches; return their number."""
    first, tail, largest, found = state.first, state.tail, inputs.largest, space.found
    place, reach, n = shape.tail[layer] + j, space.gain.shape[1], len(inputs.weight)
    wide, count = layer == 0 and inputs.kind != BINARY, 0
    for k in range(n):
        a = np.int64(first[j, k]) if layer == 0 else np.int64(tail[k, place])
        limit = reach * largest[k] if wide else reach
        found[count] = k
        count += 1 if -limit <= a < limit else 0
    return count


@njit(cache=True, nogil=True)
def _weigh_critical(
    inputs: Inputs, shape: Shape, state: State, loss: ScoreLoss, layer: int, j: int, space: Space
) -> None:
    """Note the effect of the flip of every critical sample, sorted by the smallest step that flips it.

    A sample with a >= 0 flips when a falls by at least a + 1, otherwise when it rises by -a.
    """
    layout, rule, table = (shape.size, shape.tail, shape.flat, shape.lowest), loss.rule, loss.table
    first, p, tail, activations, now = state.first, state.parameters, state.tail, state.activations, state.loss
    row, outgoing, found, value, bucket, ends = (
        space.row, space.outgoing, space.found, space.value, space.bucket, space.ends
    )  # fmt: skip
    label, weight, n_outputs = inputs.label, inputs.weight, shape.size[len(shape.tail)]
    begin, place, reach = shape.tail[len(shape.tail) - 1], shape.tail[layer] + j, space.gain.shape[1]
    wide, shallow = layer == 0 and inputs.kind != BINARY, len(shape.tail) == 2
    count, fall = _find_critical(inputs, shape, state, layer, j, space), shape.lowest[layer] - 1
    ends[:] = 0
    for e in range(count):
        k = found[e]
        a = first[j, k] if layer == 0 else tail[k, place]
        if shallow:
            change = fall if a >= 0 else -fall
            for t in range(n_outputs):
                row[t] = tail[k, t] + change * outgoing[t]
        else:
            flip(layout, p, tail, activations, outgoing, row, k, layer, j)
        value[e] = weight[k] * (sample_loss(rule, table, row, begin, label[k]) - now[k])
        bucket[e] = (reach if a >= 0 else 0) + (0 if wide else (a if a >= 0 else -a - 1))
        ends[bucket[e] + 1] += 1
    for b in range(2 * reach):
        ends[b + 1] += ends[b]
    for e in range(count):
        at = ends[bucket[e]]
        space.place[at], space.effect[at] = found[e], value[e]
        ends[bucket[e]] += 1
    for b in range(2 * reach, 0, -1):
        ends[b] = ends[b - 1]
    ends[0] = 0


@njit(cache=True, nogil=True)
def _add_rows(inputs: Inputs, space: Space) -> None:
    """Add ``effect * x`` of all critical samples to their buckets, four rows at a time."""
    gain, place, effect, ends, rows = space.gain, space.place, space.effect, space.ends, inputs.rows
    reach, d = gain.shape[1], rows.shape[1]
    for b in range(2 * reach):
        into, last = gain[b // reach, b % reach], ends[b + 1] - 1
        for e in range(ends[b], ends[b + 1], 4):
            p, q, r, s = place[e], place[min(e + 1, last)], place[min(e + 2, last)], place[min(e + 3, last)]
            fp = effect[e]
            fq = effect[e + 1] if e + 1 <= last else np.float32(0.0)
            fr = effect[e + 2] if e + 2 <= last else np.float32(0.0)
            fs = effect[e + 3] if e + 3 <= last else np.float32(0.0)
            into[d] += (fp + fq) + (fr + fs)
            _add_four(into, rows[p], rows[q], rows[r], rows[s], fp, fq, fr, fs)


@njit(cache=True, nogil=True)
def _add_four(into: Singles, p: Bytes, q: Bytes, r: Bytes, s: Bytes, fp: Any, fq: Any, fr: Any, fs: Any) -> None:
    for i in range(len(p)):
        into[i] += (fp * np.float32(p[i]) + fq * np.float32(q[i])) + (fr * np.float32(r[i]) + fs * np.float32(s[i]))


@njit(cache=True, nogil=True)
def _add_sparse_rows(inputs: Inputs, state: State, j: int, space: Space) -> None:
    """Add every critical sample's effect to the smallest move of each feature that flips it."""
    gain, place, effect, ends, first = space.gain, space.place, space.effect, space.ends, state.first
    start, index, value = inputs.row_start, inputs.row_index, inputs.row_value
    reach = gain.shape[1]
    for at in range(ends[2 * reach]):
        k = place[at]
        a = first[j, k]
        side, need = (1, a + 1) if a >= 0 else (0, -a)
        for e in range(start[k], start[k + 1]):
            x = value[e]
            m = (need - 1) // abs(x)
            if m < reach:
                gain[side if x > 0 else 1 - side, m, index[e]] += effect[at]


@njit(cache=True, nogil=True)
def _add_activations(shape: Shape, state: State, layer: int, space: Space) -> None:
    """Add every critical sample's effect to the moves that flip it: a weight raises ``a`` where h is 1.

    Where h is -1 it lowers ``a``, and where h is 0 it does nothing.
    """
    gain, place, effect, ends, activations = space.gain, space.place, space.effect, space.ends, state.activations
    n_in, reach, zero = shape.size[layer], gain.shape[1], shape.lowest[layer - 1] == 0
    begin = shape.size[1] + shape.tail[layer - 1] if layer > 1 else 0
    for b in range(2 * reach):
        side, m = b // reach, b % reach
        for at in range(ends[b], ends[b + 1]):
            k, half = place[at], np.float32(0.5) * effect[at]
            gain[side, m, n_in] += effect[at]
            if zero:
                for i in range(n_in):
                    gain[side, m, i] += effect[at] * np.float32(activations[k, begin + i])
                continue
            for i in range(n_in):
                part = half * np.float32(activations[k, begin + i])
                gain[side, m, i] += half + part
                gain[1 - side, m, i] += half - part


@njit(cache=True, nogil=True)
def _score_output(inputs: Inputs, shape: Shape, state: State, loss: ScoreLoss, j: int, space: Space) -> None:
    layer, rule, table = len(shape.tail) - 1, loss.rule, loss.table
    begin, n_in, gain, row = shape.tail[layer], shape.size[layer], space.gain, space.row
    tail, now, label, weight, place = state.tail, state.loss, inputs.label, inputs.weight, begin + j
    start, index, value = inputs.row_start, inputs.row_index, inputs.row_value
    at, sparse = (shape.size[1] + shape.tail[layer - 1] if layer > 1 else 0), inputs.kind != BINARY
    rows, activations, zero = inputs.rows, state.activations, shape.lowest[max(layer - 1, 0)] == 0
    for k in range(len(weight)):
        for t in range(len(row)):
            row[t] = tail[k, t]
        score = row[place]
        if layer == 0 and sparse:
            for e in range(start[k], start[k + 1]):
                for m in range(gain.shape[1]):
                    for side in range(2):
                        row[place] = score + (1 - 2 * side) * (m + 1) * value[e]
                        effect = weight[k] * (sample_loss(rule, table, row, begin, label[k]) - now[k])
                        gain[side, m, index[e]] += np.float32(effect)
            continue
        for m in range(gain.shape[1]):
            row[place] = score + m + 1
            up = np.float32(weight[k] * (sample_loss(rule, table, row, begin, label[k]) - now[k]))
            row[place] = score - m - 1
            down = np.float32(weight[k] * (sample_loss(rule, table, row, begin, label[k]) - now[k]))
            gain[0, m, n_in] += up
            gain[1, m, n_in] += down
            if layer > 0:
                _add_output(gain[0, m], gain[1, m], activations[k, at : at + n_in], up, down, zero)
                continue
            for i in range(n_in):
                gain[0, m, i] += up * np.float32(rows[k, i])
                gain[1, m, i] += down * np.float32(rows[k, i])


@njit(cache=True, nogil=True)
def _add_output(above: Singles, below: Singles, h: Bytes, up: Any, down: Any, zero: bool) -> None:
    """Add the effects of a rising and of a falling score to the moves that cause them; `zero`: no h is -1."""
    if zero:
        for i in range(len(h)):
            above[i] += up * np.float32(h[i])
            below[i] += down * np.float32(h[i])
        return
    mean, slope = np.float32(0.5) * (up + down), np.float32(0.5) * (up - down)
    for i in range(len(h)):
        part = slope * np.float32(h[i])
        above[i] += mean + part
        below[i] += mean - part


@njit(cache=True, nogil=True)
def _renew_activations(layout: Layout, activations: Bytes, row: Ints, k: int, layer: int) -> None:
    """Write the activations of the layers behind one from the tail of sample k."""
    size, place, _, lowest = layout
    for m in range(layer + 1, len(place) - 1):
        low = np.int8(lowest[m])
        for t in range(place[m], place[m + 1]):
            activations[k, size[1] + t] = np.int8(1) if row[t] >= 0 else low


@njit(cache=True, nogil=True)
def move(
    inputs: Inputs, shape: Shape, state: State, loss: ScoreLoss, layer: int, j: int, i: int, dv: int, space: Space
) -> float:
    """Change parameter i of a unit by dv, renew the state, and return the change of the loss."""
    layout, end = (shape.size, shape.tail, shape.flat, shape.lowest), len(shape.tail) - 1
    rule, table, p, activations = loss.rule, loss.table, state.parameters, state.activations
    first, tail, now = state.first, state.tail, state.loss
    index, value, label, weight = inputs.col_index, inputs.col_value, inputs.label, inputs.weight
    row, outgoing, n_in = space.row, space.outgoing, shape.size[layer]
    begin, place, scores = inputs.col_start[min(i, n_in - 1)], shape.tail[layer] + j, shape.tail[end]
    own = (shape.size[1] + shape.tail[layer] if layer > 0 else 0) + j
    before = shape.size[1] + shape.tail[layer - 1] if layer > 1 else 0
    sparse, hidden_first, binary = layer == 0 and i < n_in, layer == 0 and end > 0, inputs.kind == BINARY
    bias, both = dv * (inputs.scale if layer == 0 else 1), 1 + shape.lowest[layer]
    p[shape.flat[layer] + j * (n_in + 1) + i] += dv
    total = 0.0
    for e in range(inputs.col_start[i + 1] - begin if sparse else len(weight)):
        k, change = e, bias
        if sparse:
            k, change = index[begin + e], dv if binary else dv * value[begin + e]
        elif i < n_in:
            change = dv * activations[k, before + i]
            if change == 0:
                continue
        a = first[j, k] if hidden_first else tail[k, place]
        if hidden_first:
            first[j, k] = a + change
        else:
            tail[k, place] = a + change
        if layer < end:
            if (a >= 0) == (a + change >= 0):
                continue
            flip(layout, p, tail, activations, outgoing, row, k, layer, j)
            for t in range(len(row)):
                tail[k, t] = row[t]
            _renew_activations(layout, activations, row, k, layer)
            activations[k, own] = both - activations[k, own]
        else:
            for t in range(len(row)):
                row[t] = tail[k, t]
        after = sample_loss(rule, table, row, scores, label[k])
        total += weight[k] * (after - now[k])
        now[k] = after
    return total
