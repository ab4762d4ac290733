"""The record of closed leaves: boxes that cover the root box, each with what closes it."""

import numpy as np
from numpy.typing import NDArray

from provenn.bounds._convex_boxes import CLOSED, EMPTY, HIGH, LOW, OPEN, POINT, SHIFTED, Report, Root
from provenn.bounds._convex_types import Leaves

BY_BOUND, BY_VALUE, NOTHING = -1, -2, -3
Box = NDArray[np.int32]


class LeafRecord:
    """Collects leaves while nodes are processed."""

    def __init__(self, root: Root) -> None:
        """Start empty."""
        self.root = root
        self.rows: list[tuple[Box, Box, NDArray[np.float32], int]] = []

    def append(self, low: Box, high: Box, w: NDArray[np.float32], kind: int) -> None:
        """Add one leaf."""
        self.rows.append((low.copy(), high.copy(), w.copy(), kind))

    def cut(self, outer: Box, inner: Box, w: NDArray[np.float32], kind: int) -> None:
        """Add leaves that cover `outer` without `inner`, both of shape (2, D): at most two an entry."""
        low, high = outer[LOW].copy(), outer[HIGH].copy()
        for j in np.flatnonzero((inner[LOW] > low) | (inner[HIGH] < high)):
            step = int(self.root.table[2, j])
            for first, last in ((low[j], inner[LOW, j] - step), (inner[HIGH, j] + step, high[j])):
                if first <= last:
                    slab = low.copy(), high.copy()
                    slab[LOW][j], slab[HIGH][j] = first, last
                    self.append(slab[LOW], slab[HIGH], w, kind)
            low[j], high[j] = inner[LOW, j], inner[HIGH, j]

    def add(self, box: Box, report: Report) -> None:
        """Add what processing a node closed."""
        self._add_stage(box, report, 0)
        if report.state[0] == OPEN:
            j, below = int(report.state[3]), int(report.state[4])
            for stage in (1, 2):
                half = report.box[0, :2].copy()
                half[HIGH if stage == 1 else LOW, j] = below + (0 if stage == 1 else int(self.root.table[2, j]))
                state = int(report.state[stage])
                if state == EMPTY or state >= SHIFTED:
                    self.append(half[LOW], half[HIGH], report.w[stage], NOTHING if state == EMPTY else state - SHIFTED)
                    continue
                self.cut(half, report.box[stage, 2:], report.w[stage], NOTHING)
                self._add_stage(report.box[stage, 2:], report, stage)

    def _add_stage(self, box: Box, report: Report, stage: int) -> None:
        """Add the whole box if it is closed, else what its bound cut off, and its last point."""
        if report.state[stage] == CLOSED:
            self.append(box[LOW], box[HIGH], report.w[stage], BY_BOUND)
            return
        self.cut(box, report.box[stage, :2], report.w[stage], BY_BOUND)
        if report.state[stage] == POINT:
            self.append(report.box[stage, LOW], report.box[stage, HIGH], report.w[stage], BY_VALUE)

    def finish(self) -> Leaves:
        """Return the record as arrays."""
        D = self.root.table.shape[1]
        low, high = (np.array([r[i] for r in self.rows], dtype=np.int64).reshape(-1, D) for i in (0, 1))
        return Leaves(
            low,
            high,
            np.array([r[2] for r in self.rows], dtype=np.float64).reshape(-1, D),
            np.array([r[3] for r in self.rows], dtype=np.int64),
            self.root.shifts.astype(np.int64),
            self.root.reference,
            self.root.anchor.astype(np.int64),
            self.root.table[LOW].astype(np.int64),
            self.root.table[HIGH].astype(np.int64),
        )
