"""From a problem to the arrays of the compiled kernels: root box, shifts, reports."""

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._convex_boxes import BOX_HIGH, BOX_LOW, Report, Root

Integers = NDArray[np.int64]
MAX_SHIFTS = 32
SHIFT_COLUMNS = 400
LARGEST_SHIFT = 8


def score_shifts(A: Integers, low: Integers, high: Integers, step: Integers) -> tuple[Integers, Integers]:
    """Find moves of the weights that leave every score as it is.

    One-hot groups with a bias, complementary or equal columns have such moves: small integer
    vectors u with ``A u = 0``. They come from the reduced echelon form of A^T A in floats,
    and each one is checked in integers.

    Returns
    -------
    shifts : ndarray of shape (r, D), int64
        Already times the step; 0 on the references of the other shifts.
    reference : ndarray of shape (r,), int64
    """
    movable = np.flatnonzero(high > low)
    none = np.zeros((0, A.shape[1]), dtype=np.int64), np.zeros(0, dtype=np.int64)
    if not 0 < len(movable) <= SHIFT_COLUMNS:
        return none
    basis, free = _null_space(A[:, movable].astype(np.float64))
    largest = int(np.abs(A).max(initial=0))
    shifts, reference = [], []
    for row, j in zip(basis[:MAX_SHIFTS], free, strict=False):
        u = np.rint(row).astype(np.int64)
        if np.abs(u - row).max() > 1e-6 or np.abs(u).max() > LARGEST_SHIFT or largest * np.abs(u).sum() >= 2**62:
            continue
        full = np.zeros(A.shape[1], dtype=np.int64)
        full[movable] = u * step[movable[j]]
        if not (full % step).any() and not (A[:, movable] @ u).any():
            shifts.append(full)
            reference.append(int(movable[j]))
    return (np.array(shifts), np.array(reference, dtype=np.int64)) if shifts else none


def _null_space(A: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[int]]:
    """Return a basis of the null space, row i being 1 at ``free[i]`` and 0 at the other free columns."""
    R = np.linalg.qr(A / np.maximum(np.linalg.norm(A, axis=0), 1e-300), mode="r")
    R = R * np.maximum(np.linalg.norm(A, axis=0), 1e-300)
    pivots: list[int] = []
    row = 0
    scale = np.abs(R).max(axis=0)
    for j in range(R.shape[1] - 1, -1, -1):
        if row == len(R):
            break
        i = row + int(np.argmax(np.abs(R[row:, j])))
        if abs(R[i, j]) <= 1e-8 * scale[j]:
            continue
        R[[row, i]] = R[[i, row]]
        R[row] /= R[row, j]
        others = np.arange(len(R)) != row
        R[others] -= np.outer(R[others, j], R[row])
        pivots.append(j)
        row += 1
    free = [j for j in range(R.shape[1]) if j not in set(pivots)]
    basis = np.zeros((len(free), R.shape[1]))
    for i, j in enumerate(free):
        basis[i, j] = 1.0
        basis[i, pivots] = -R[: len(pivots), j]
    return basis, free


def relative_box(
    low: Integers, high: Integers, step: Integers, shifts: Integers, reference: Integers
) -> tuple[Integers, Integers, Integers, Integers]:
    """Fix the reference of each shift at its value nearest to 0 and widen the other entries accordingly.

    Every point v of the box equals ``v' + sum_i z_i shifts_i`` for one v' of the wider box.

    Returns
    -------
    low, high : ndarray of shape (D,), int64
        The wider box.
    least, most : ndarray of shape (r,), int64
        Range of z.
    """
    zero = np.clip(0, low[reference], high[reference])
    least = -((zero - low[reference]) // step[reference])
    most = least + (high[reference] - low[reference]) // step[reference]
    ends = np.stack([shifts * least[:, None], shifts * most[:, None]])
    wide_low, wide_high = low - ends.max(axis=0).sum(axis=0), high - ends.min(axis=0).sum(axis=0)
    anchor = low[reference] - least * step[reference]
    wide_low[reference] = wide_high[reference] = anchor
    return wide_low, wide_high, least, most


def make_root(
    n: int,
    boxes: tuple[Integers, Integers, Integers],
    price: Integers,
    counts: NDArray[np.bool_],
    budget: int,
    slack: float,
    shifts: tuple[Integers, Integers],
    relative: bool,
    mixing: bool = False,
) -> Root:
    """Return the root box, the plain one or the one relative to the references of the shifts."""
    low, high, step = boxes
    wide_low, wide_high, least, most = relative_box(*boxes, *shifts)
    reference = shifts[1]
    first, last = (wide_low, wide_high) if relative else (low, high)
    return Root(
        np.array([first, last, step, price, counts, low, high], dtype=np.float64),
        shifts[0].astype(np.float64),
        np.array([least, most], dtype=np.float64)[:, : len(reference) if relative else 0].copy(),
        reference[: 0 if relative else len(reference)].copy(),
        wide_low[reference][: 0 if relative else len(reference)].astype(np.float64),
        budget,
        slack,
        2.0**-51 * (n + len(low) + 64),
        mixing,
    )


def make_report(D: int) -> Report:
    """Return an empty report."""
    return Report(
        np.zeros((3, 4, D), np.int32),
        np.zeros((3, D), np.float32),
        np.zeros(3),
        np.zeros(3),
        np.zeros(6, np.int64),
        np.zeros(D),
        np.zeros((3, D), np.float32),
    )


def into_box(root: Root, v: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return a point of the original box with the same scores as v, or None if there is none."""
    least, most = root.multiples
    return _shifted(root, v, least, most)


def _shifted(
    root: Root, v: NDArray[np.float64], least: NDArray[np.float64], most: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Choose the multiples of the last shifts by depth-first search; every choice narrows the others."""
    ranges = _narrowed(root, v, least, most)
    if ranges is None:
        return None
    if not len(least):
        return v
    least, most = ranges
    shift = root.shifts[len(root.shifts) - len(least)]
    multiples = np.arange(least[0], most[0] + 1)
    for z in multiples[np.argsort(np.abs(multiples), kind="stable")]:
        found = _shifted(root, v + z * shift, least[1:], most[1:])
        if found is not None:
            return found
    return None


def _narrowed(
    root: Root, v: NDArray[np.float64], least: NDArray[np.float64], most: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Cut multiples that leave the box whatever the others are, until nothing changes; None when none is left.

    Without this a shift that fits nowhere would be found out only after all multiples of the others.
    """
    S = root.shifts[len(root.shifts) - len(least) :]
    low, high = root.table[BOX_LOW] - v, root.table[BOX_HIGH] - v
    size, used = np.where(S == 0, 1.0, np.abs(S)), S != 0
    while True:
        one, two = S * least[:, None], S * most[:, None]
        down, up = np.minimum(one, two), np.maximum(one, two)
        total_down, total_up = down.sum(axis=0), up.sum(axis=0)
        if np.any((total_up < low) | (total_down > high)):
            return None
        floor, roof = low - (total_up - up), high - (total_down - down)
        first = np.where(used, np.ceil(np.where(S > 0, floor, -roof) / size), -np.inf).max(axis=1, initial=-np.inf)
        last = np.where(used, np.floor(np.where(S > 0, roof, -floor) / size), np.inf).min(axis=1, initial=np.inf)
        first, last = np.maximum(first, least), np.minimum(last, most)
        if np.any(first > last):
            return None
        if np.array_equal(first, least) and np.array_equal(last, most):
            return least, most
        least, most = first, last


__all__ = ["into_box", "make_report", "make_root", "relative_box", "score_shifts"]
