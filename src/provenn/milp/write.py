"""Writes models as MPS, LP and OPB files, which every solver of the field reads."""

import gzip
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from provenn.errors import InputError
from provenn.milp.lower import big_m, binary_columns, integer_costs, integer_rows
from provenn.milp.model import MILP, Floats

LINE_TERMS = 8


def column_names(milp: MILP) -> list[str]:
    """Name columns after their blocks, such as ``w_0_2``; columns of no block are ``x5``.

    Examples
    --------
    >>> from provenn.milp import Builder
    >>> builder = Builder()
    >>> _ = builder.columns("w", (1, 2), 0, 1)
    >>> column_names(builder.build())
    ['w_0_0', 'w_0_1']
    """
    result = [f"x{j}" for j in range(milp.n_columns)]
    for name, block in milp.blocks.items():
        stem = re.sub(r"\W", "_", name)
        for index in product(*(range(size) for size in block.shape)):
            result[int(block[index])] = "_".join([stem, *map(str, index)])
    clash = len(set(result)) < len(result) or any(not name[:1].isalpha() for name in result)
    return [f"x{j}" for j in range(milp.n_columns)] if clash else result


def _number(value: float) -> str:
    """Shortest text that reads back as the same double."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _save(path: str | Path, lines: Iterable[str]) -> None:
    """Write lines; a name that ends in .gz is compressed, always to the same bytes."""
    text = "\n".join(lines) + "\n"
    path = Path(path)
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())


def _two_sided(milp: MILP) -> NDArray[np.bool_]:
    """Rows with two sides that are no equations."""
    return np.isfinite(milp.row_lower) & np.isfinite(milp.row_upper) & (milp.row_lower != milp.row_upper)


def _split(milp: MILP, chosen: NDArray[np.bool_]) -> MILP:
    """Drop open rows, and replace each chosen row by one for its lower and one for its upper side."""
    closed = np.isfinite(milp.row_lower) | np.isfinite(milp.row_upper)
    order = np.repeat(np.arange(milp.n_rows), closed.astype(np.int64) + chosen)
    second = np.zeros(order.size, dtype=np.bool_)
    second[1:] = order[1:] == order[:-1]
    return replace(
        milp,
        A=milp.A[order],
        row_lower=np.where(second, -np.inf, milp.row_lower[order]),
        row_upper=np.where(chosen[order] & ~second, np.inf, milp.row_upper[order]),
        indicator=milp.indicator[order],
        indicator_value=milp.indicator_value[order],
    )


def write_mps(milp: MILP, path: str | Path) -> None:
    """Write a free-format MPS file.

    Rows open on both sides are left out, two-sided rows are split where a range would not be exact.
    Conditional rows go to the section INDICATORS, which Gurobi, SCIP and CPLEX read, two-sided ones
    as two rows; for HiGHS apply `provenn.milp.lower.big_m` before.

    Parameters
    ----------
    milp : MILP
    path : str or Path
        A name that ends in ``.gz`` is compressed.

    Examples
    --------
    >>> import tempfile
    >>> from provenn.milp import Builder, Terms
    >>> builder = Builder()
    >>> builder.rows([Terms(builder.columns("x", (1,), 0, 3), 2.0)], upper=5)
    >>> target = Path(tempfile.mkdtemp()) / "model.mps"
    >>> write_mps(builder.build(), target)
    >>> target.read_text().splitlines()[5:8]
    [' L  r0', 'COLUMNS', " MARKER  'MARKER'  'INTORG'"]
    """
    milp = _split(milp, _two_sided(milp) & ~_exact_range(milp))
    names = column_names(milp)
    sections = (_mps_rows(milp), _mps_columns(milp, names), _mps_sides(milp), _mps_bounds(milp, names))
    lines = [line for section in sections for line in section]
    _save(path, ["NAME  provenn", "OBJSENSE", "  MIN", *lines, *_mps_indicators(milp, names), "ENDATA"])


def _exact_range(milp: MILP) -> NDArray[np.bool_]:
    """Plain rows of which a reader gets both sides back from the upper one and the range."""
    low, high = (np.where(np.isfinite(side), side, 0.0) for side in (milp.row_lower, milp.row_upper))
    return (milp.indicator < 0) & (low < high) & (high - (high - low) == low)


def _mps_rows(milp: MILP) -> Iterator[str]:
    yield from ("ROWS", " N  cost")
    low, high = np.isfinite(milp.row_lower), np.isfinite(milp.row_upper)
    kinds = np.where(milp.row_lower == milp.row_upper, "E", np.where(high, "L", np.where(low, "G", "N")))
    yield from (f" {kind}  r{i}" for i, kind in enumerate(kinds))


def _mps_columns(milp: MILP, names: list[str]) -> Iterator[str]:
    yield "COLUMNS"
    by_column = milp.A.tocsc()
    rows, values, starts = by_column.indices.tolist(), by_column.data.tolist(), by_column.indptr.tolist()
    inside = False
    for j, name in enumerate(names):
        if bool(milp.integer[j]) != inside:
            inside = not inside
            yield f" MARKER  'MARKER'  '{'INTORG' if inside else 'INTEND'}'"
        span = slice(starts[j], starts[j + 1])
        if milp.c[j] or not rows[span]:
            yield f" {name}  cost  {_number(milp.c[j])}"
        yield from (f" {name}  r{i}  {_number(v)}" for i, v in zip(rows[span], values[span], strict=True))
    if inside:
        yield " MARKER  'MARKER'  'INTEND'"


def _mps_sides(milp: MILP) -> Iterator[str]:
    yield "RHS"
    if milp.offset:
        yield f" RHS  cost  {_number(-milp.offset)}"
    high = np.isfinite(milp.row_upper)
    side = np.where(high, milp.row_upper, milp.row_lower)
    yield from (f" RHS  r{i}  {_number(side[i])}" for i in np.flatnonzero(side).tolist())
    ranged = high & np.isfinite(milp.row_lower) & (milp.row_lower != milp.row_upper)
    if ranged.any():
        yield "RANGES"
    for i in np.flatnonzero(ranged).tolist():
        yield f" RNG  r{i}  {_number(milp.row_upper[i] - milp.row_lower[i])}"


def _mps_bounds(milp: MILP, names: list[str]) -> Iterator[str]:
    yield "BOUNDS"
    parts = zip(names, milp.col_lower.tolist(), milp.col_upper.tolist(), milp.integer.tolist(), strict=True)
    for name, low, high, integer in parts:
        if low == high:
            yield f" FX BND  {name}  {_number(low)}"
            continue
        if low == -np.inf:
            yield f" {'FR' if high == np.inf else 'MI'} BND  {name}"
        elif low != 0 or integer:
            yield f" LO BND  {name}  {_number(low)}"
        if high != np.inf:
            yield f" UP BND  {name}  {_number(high)}"
        elif integer and low != -np.inf:
            yield f" PL BND  {name}"


def _mps_indicators(milp: MILP, names: list[str]) -> Iterator[str]:
    if milp.has_indicators:
        yield "INDICATORS"
    for i in np.flatnonzero(milp.indicator >= 0).tolist():
        yield f" IF r{i}  {names[milp.indicator[i]]}  {int(milp.indicator_value[i])}"


def write_lp(milp: MILP, path: str | Path) -> None:
    """Write a file in CPLEX LP format; two-sided rows become two rows.

    Parameters
    ----------
    milp : MILP
    path : str or Path
        A name that ends in ``.gz`` is compressed.

    Raises
    ------
    InputError
        When the model has no columns, which the format cannot say.

    Examples
    --------
    >>> import tempfile
    >>> from provenn.milp import Builder, Terms
    >>> builder = Builder()
    >>> builder.rows([Terms(builder.columns("x", (2,), 0, 1), [2.0, -1.0])], upper=1)
    >>> target = Path(tempfile.mkdtemp()) / "model.lp"
    >>> write_lp(builder.build(), target)
    >>> target.read_text().splitlines()[3]
    ' r0: 2 x_0 - 1 x_1 <= 1'
    """
    if not milp.n_columns:
        raise InputError("a model without columns cannot be written in LP format: write MPS")
    milp = _split(milp, _two_sided(milp))
    names = column_names(milp)
    used = np.flatnonzero(milp.c)
    cost = _lp_sum(milp.c[used].tolist(), [names[j] for j in used], names[0])
    head = ["Minimize", f" cost: {cost}" + (f" {_signed(milp.offset)}" if milp.offset else ""), "Subject To"]
    _save(path, [*head, *_lp_rows(milp, names), *_lp_bounds(milp, names), *_lp_integers(milp, names), "End"])


def _signed(value: float) -> str:
    return f"{'-' if value < 0 else '+'} {_number(abs(value))}"


def _lp_sum(values: list[float], names: list[str], some_name: str) -> str:
    """Return a sum, broken into lines; an empty one is 0 times some column."""
    terms = [f"{_signed(v)} {name}" for v, name in zip(values, names, strict=True)] or [f"0 {some_name}"]
    lines = [" ".join(terms[k : k + LINE_TERMS]) for k in range(0, len(terms), LINE_TERMS)]
    return "\n  ".join(lines).removeprefix("+ ")


def _lp_rows(milp: MILP, names: list[str]) -> Iterator[str]:
    for i in range(milp.n_rows):
        span = slice(milp.A.indptr[i], milp.A.indptr[i + 1])
        total = _lp_sum(milp.A.data[span].tolist(), [names[j] for j in milp.A.indices[span]], names[0])
        low, high = float(milp.row_lower[i]), float(milp.row_upper[i])
        sense, side = ("=", high) if low == high else ("<=", high) if np.isfinite(high) else (">=", low)
        switch = int(milp.indicator[i])
        when = f"{names[switch]} = {int(milp.indicator_value[i])} -> " if switch >= 0 else ""
        yield f" r{i}: {when}{total} {sense} {_number(side)}"


def _lp_bounds(milp: MILP, names: list[str]) -> Iterator[str]:
    yield "Bounds"
    for name, low, high in zip(names, milp.col_lower.tolist(), milp.col_upper.tolist(), strict=True):
        left = "-inf" if low == -np.inf else _number(low)
        right = "+inf" if high == np.inf else _number(high)
        yield f" {name} free" if low == -np.inf and high == np.inf else f" {left} <= {name} <= {right}"


def _lp_integers(milp: MILP, names: list[str]) -> Iterator[str]:
    if milp.integer.any():
        yield "General"
    yield from (f" {names[j]}" for j in np.flatnonzero(milp.integer))


def write_opb(milp: MILP, path: str | Path) -> None:
    """Write a pseudo-Boolean OPB file of a model of bounded integer columns.

    Conditional rows go through big-M, rows and costs are scaled to integers, and integer columns
    become sums of 0/1 columns. Comments say how to read an answer back:
    ``* column w_0_0 = -1 +1 x1 +1 x2`` and ``* objective = (value + 12) / 100``.

    Parameters
    ----------
    milp : MILP
    path : str or Path
        A name that ends in ``.gz`` is compressed.

    Raises
    ------
    InputError
        When a column is continuous, open or without value, or a coefficient is no small quotient.

    Examples
    --------
    >>> import tempfile
    >>> from provenn.milp import Builder, Terms
    >>> builder = Builder()
    >>> builder.rows([Terms(builder.columns("x", (1,), -1, 1), 2.0)], upper=1)
    >>> target = Path(tempfile.mkdtemp()) / "model.opb"
    >>> write_opb(builder.build(), target)
    >>> target.read_text().splitlines()[-1]
    '-2 x1 -2 x2 >= -3 ;'
    """
    expansion = binary_columns(integer_rows(big_m(milp)))
    binary = _split(expansion.milp, _two_sided(expansion.milp))
    costs, divisor = integer_costs(replace(milp, offset=0.0))
    in_binary = np.rint(expansion.basis.T @ costs.astype(np.float64)).astype(np.int64)
    constant = int(costs @ np.rint(expansion.shift).astype(np.int64)) + milp.offset * divisor
    used = np.flatnonzero(in_binary)
    rows = list(_opb_rows(binary))
    lines = [f"* #variable= {max(binary.n_columns, 1)} #constraint= {len(rows)}"]
    lines += _opb_columns(expansion.basis, expansion.shift, column_names(milp))
    lines.append(f"* objective = (value {_signed(constant)}) / {divisor}")
    if used.size:
        lines.append(f"min: {_opb_sum(in_binary[used], used)} ;")
    _save(path, [*lines, *rows])


def _opb_columns(basis: sparse.csr_matrix, shift: Floats, names: list[str]) -> Iterator[str]:
    for j, name in enumerate(names):
        span = slice(basis.indptr[j], basis.indptr[j + 1])
        yield f"* column {name} = {_number(shift[j])} {_opb_sum(basis.data[span], basis.indices[span])}".rstrip()


def _opb_sum(values: NDArray[Any], columns: NDArray[Any]) -> str:
    return " ".join(f"{int(v):+d} x{j + 1}" for v, j in zip(values.tolist(), columns.tolist(), strict=True))


def _opb_rows(milp: MILP) -> Iterator[str]:
    """Rows with ``>=`` and ``=``; an empty row gets a zero term."""
    for i in range(milp.n_rows):
        span = slice(milp.A.indptr[i], milp.A.indptr[i + 1])
        low, high = float(milp.row_lower[i]), float(milp.row_upper[i])
        sign = 1 if np.isfinite(low) else -1
        side, sense = (low, "=" if low == high else ">=") if sign == 1 else (-high, ">=")
        total = _opb_sum(sign * milp.A.data[span], milp.A.indices[span])
        yield f"{total or '+0 x1'} {sense} {int(side)} ;"
