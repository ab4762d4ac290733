"""The opponent of `bench/tame.py`: branch and bound as a plain loop in Python over HiGHS."""

import heapq
import time
from fractions import Fraction

import highspy
import numpy as np

from provenn.milp import MILP


class Opponent:
    """Branch and bound in Python over one warm HiGHS model."""

    def __init__(self, milp: MILP, cutoff: float) -> None:
        """Load the relaxation."""
        self.milp, self.cutoff, self.leaves = milp, cutoff, []
        self.highs = highspy.Highs()
        self.highs.setOptionValue("output_flag", False)
        self.highs.setOptionValue("threads", 1)
        self.highs.setOptionValue("presolve", "off")
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = milp.n_columns, milp.n_rows
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = milp.c, milp.col_lower, milp.col_upper
        lp.row_lower_, lp.row_upper_ = milp.row_lower, milp.row_upper
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = milp.A.indptr, milp.A.indices, milp.A.data
        self.highs.passModel(lp)

    def run(self, seconds: float) -> tuple[int, bool]:
        """Return the nodes, and whether the tree was finished."""
        began, nodes = time.process_time(), 0
        heap: list[tuple[float, int, np.ndarray, np.ndarray]] = [(-np.inf, 0, self.milp.col_lower, self.milp.col_upper)]
        columns = np.arange(self.milp.n_columns, dtype=np.int32)
        while heap and time.process_time() - began < seconds:
            _, _, low, high = heapq.heappop(heap)
            nodes += 1
            self.highs.changeColsBounds(len(columns), columns, low, high)
            self.highs.run()
            feasible = self.highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
            solution = self.highs.getSolution()
            bound = self.highs.getObjectiveValue() if feasible else np.inf
            if bound >= self.cutoff - 1e-7:
                self.leaves.append((np.array(solution.row_dual) if feasible else None, low, high))
                continue
            x = np.array(solution.col_value)
            off = np.where(self.milp.integer, np.abs(x - np.rint(x)), 0)
            j = int(np.argmax(off))
            if off[j] < 1e-6:
                self.leaves.append((np.array(solution.row_dual), low, high))
                continue
            for side in range(2):
                child_low, child_high = low.copy(), high.copy()
                (child_low if side else child_high)[j] = np.floor(x[j]) + side
                heapq.heappush(heap, (bound, 2 * nodes + side, child_low, child_high))
        return nodes, not heap

    def check(self, most: int = 2000) -> float:
        """Compute leaves' bounds in Fractions; return the seconds for all, from those of an even share of `most`."""
        began, step = time.process_time(), max(-(-len(self.leaves) // most), 1)
        milp = self.milp
        rows = [
            list(zip(milp.A[i].indices.tolist(), map(Fraction, milp.A[i].data.tolist()), strict=True))
            for i in range(milp.n_rows)
        ]
        for y, low, high in self.leaves[::step]:
            if y is None:
                continue
            reduced, total = [Fraction(v) for v in milp.c.tolist()], Fraction(0)
            for i, v in enumerate(np.round(y * 2**20) / 2**20):
                side = milp.row_lower[i] if v > 0 else milp.row_upper[i]
                if v and np.isfinite(side):
                    total += Fraction(v) * Fraction(side)
                    for j, a in rows[i]:
                        reduced[j] -= Fraction(v) * a
            total += sum(min(r * Fraction(a), r * Fraction(b)) for r, a, b in zip(reduced, low, high, strict=True))
        return step * (time.process_time() - began)
