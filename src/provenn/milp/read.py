"""Reads MPS files, free or fixed, plain or gzip."""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import sparse

from provenn.errors import ModelFileError
from provenn.milp.model import MILP

Sense = Literal["min", "max"]
WITHOUT_VALUE = frozenset({"FR", "MI", "PL", "BV"})
INTEGER_KINDS = frozenset({"BV", "LI", "UI"})


def read_mps(path: str | Path) -> tuple[MILP, Sense]:
    """Read an MPS file; a maximisation is returned negated, as a minimisation.

    Sections NAME, OBJSENSE, ROWS, COLUMNS with integer markers, RHS, RANGES, BOUNDS and INDICATORS.
    Names must not contain spaces. The first N row is the objective, its right-hand side minus the
    offset; further N rows are dropped. Integer columns without bounds are binary.

    Parameters
    ----------
    path : str or Path
        A name that ends in ``.gz`` is decompressed.

    Returns
    -------
    milp : MILP
    sense : "min" or "max"
        What the file asks for: the file's optimum is minus the model's for "max".

    Raises
    ------
    ModelFileError
        When the file is damaged; the message names the line.

    Examples
    --------
    >>> import tempfile
    >>> from provenn.milp import Builder, Terms
    >>> from provenn.milp.write import write_mps
    >>> builder = Builder()
    >>> builder.rows([Terms(builder.columns("x", (2,), 0, 3), [2.0, 1.0])], upper=5)
    >>> target = Path(tempfile.mkdtemp()) / "model.mps.gz"
    >>> write_mps(builder.build(), target)
    >>> model, sense = read_mps(target)
    >>> model.A.toarray().tolist(), model.col_upper.tolist(), sense
    ([[2.0, 1.0]], [3.0, 3.0], 'min')
    """
    path = Path(path)
    data = path.read_bytes()
    try:
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ModelFileError(f"{path.name} is no {'gzip' if path.suffix == '.gz' else 'text'} file: {error}") from error
    reader = _Reader(path.name)
    reader.read(text.splitlines())
    return reader.model(), reader.sense


@dataclass
class _Reader:
    """What was read so far, by names' positions."""

    name: str
    sense: Sense = "min"
    rows: dict[str, int] = field(default_factory=dict)
    kinds: list[str] = field(default_factory=list)
    columns: dict[str, int] = field(default_factory=dict)
    integer: list[bool] = field(default_factory=list)
    entries: list[tuple[int, int, float]] = field(default_factory=list)
    costs: dict[int, float] = field(default_factory=dict)
    sides: dict[int, float] = field(default_factory=dict)
    ranges: dict[int, float] = field(default_factory=dict)
    lower: dict[int, float] = field(default_factory=dict)
    upper: dict[int, float] = field(default_factory=dict)
    bounded: set[int] = field(default_factory=set)
    indicators: dict[int, tuple[int, int]] = field(default_factory=dict)
    offset: float = 0.0
    objective: str | None = None
    dropped: set[str] = field(default_factory=set)
    in_integers: bool = False

    def read(self, lines: Iterable[str]) -> None:
        section = ""
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or line.startswith("*"):
                continue
            if not line[0].isspace():
                section = words[0].upper()
                if section == "ENDATA":
                    return
                self._header(section, words, number)
                continue
            try:
                getattr(self, f"_{section.lower()}")(words)
            except (KeyError, ValueError, IndexError) as error:
                raise ModelFileError(f"{self.name}, line {number}: cannot read {line.strip()!r} ({error})") from error
        raise ModelFileError(f"{self.name} ends without ENDATA: it is damaged or no MPS file")

    def _header(self, section: str, words: list[str], number: int) -> None:
        known = ("NAME", "OBJSENSE", "ROWS", "COLUMNS", "RHS", "RANGES", "BOUNDS", "INDICATORS")
        if section not in known:
            raise ModelFileError(f"{self.name}, line {number}: unknown section {section}, known are {', '.join(known)}")
        if section == "OBJSENSE" and len(words) > 1:
            self._objsense(words[1:])

    def _objsense(self, words: list[str]) -> None:
        self.sense = "max" if words[0].upper().startswith("MAX") else "min"

    def _name(self, words: list[str]) -> None:
        raise ValueError("NAME has no lines of its own")

    def _rows(self, words: list[str]) -> None:
        kind, name = words[0].upper(), words[1]
        if kind == "N":
            if self.objective is None:
                self.objective = name
            else:
                self.dropped.add(name)
            return
        if kind not in ("L", "G", "E"):
            raise ValueError(f"unknown kind of row {kind}")
        self.rows[name] = len(self.rows)
        self.kinds.append(kind)

    def _columns(self, words: list[str]) -> None:
        if len(words) >= 3 and words[-2].strip("'").upper() == "MARKER":
            self.in_integers = words[-1].strip("'").upper() == "INTORG"
            return
        column = self.columns.setdefault(words[0], len(self.columns))
        if column == len(self.integer):
            self.integer.append(self.in_integers)
        for row, value in _pairs(words[1:]):
            if row == self.objective:
                self.costs[column] = self.costs.get(column, 0.0) + value
            elif row not in self.dropped:
                self.entries.append((self.rows[row], column, value))

    def _rhs(self, words: list[str]) -> None:
        for row, value in _pairs(words[len(words) % 2 :]):
            if row == self.objective:
                self.offset = -value
            elif row not in self.dropped:
                self.sides[self.rows[row]] = value

    def _ranges(self, words: list[str]) -> None:
        for row, value in _pairs(words[len(words) % 2 :]):
            if row not in self.dropped and row != self.objective:
                self.ranges[self.rows[row]] = value

    def _bounds(self, words: list[str]) -> None:
        kind = words[0].upper()
        if kind in WITHOUT_VALUE:
            # The set's name and a value are both optional: "BV x", "BV BND x", "BV BND x 1".
            name = words[1] if len(words) == 2 else words[2]
            self._bound(kind, self.columns[name], 0.0)
        else:
            self._bound(kind, self.columns[words[-2]], float(words[-1]))

    def _bound(self, kind: str, column: int, value: float) -> None:
        self.bounded.add(column)
        if kind in INTEGER_KINDS:
            self.integer[column] = True
        if kind in ("LO", "LI", "FX"):
            self.lower[column] = value
        if kind in ("UP", "UI"):
            # An upper bound below 0 opens a lower bound that nothing has set.
            if value < 0 and column not in self.lower:
                self.lower[column] = -np.inf
            self.upper[column] = value
        elif kind == "FX":
            self.upper[column] = value
        elif kind in ("FR", "MI"):
            self.lower[column] = -np.inf
        if kind in ("FR", "PL"):
            self.upper[column] = np.inf
        elif kind == "BV":
            self.lower[column], self.upper[column] = 0.0, 1.0
        elif kind not in ("LO", "LI", "UP", "UI", "FX", "MI"):
            raise ValueError(f"unknown kind of bound {kind}")

    def _indicators(self, words: list[str]) -> None:
        if words[0].upper() != "IF":
            raise ValueError("an indicator line is IF row column value")
        self.indicators[self.rows[words[1]]] = (self.columns[words[2]], int(words[3]))

    def model(self) -> MILP:
        """Return the minimisation model."""
        m, n = len(self.rows), len(self.columns)
        sign = -1.0 if self.sense == "max" else 1.0
        lower = np.array([self.lower.get(j, 0.0) for j in range(n)])
        binary = [integer and j not in self.bounded for j, integer in enumerate(self.integer)]
        upper = np.array([self.upper.get(j, 1.0 if binary[j] else np.inf) for j in range(n)])
        i, j, v = zip(*self.entries, strict=True) if self.entries else ((), (), ())
        row_lower, row_upper = self._row_sides()
        indicator = [self.indicators.get(row, (-1, 0)) for row in range(m)]
        return MILP(
            c=sign * np.array([self.costs.get(column, 0.0) for column in range(n)]),
            A=sparse.csr_matrix(
                (np.array(v), (np.array(i, dtype=np.int64), np.array(j, dtype=np.int64))), shape=(m, n)
            ),
            row_lower=row_lower,
            row_upper=row_upper,
            col_lower=lower,
            col_upper=upper,
            integer=np.array(self.integer, dtype=np.bool_),
            offset=sign * self.offset,
            indicator=np.array([column for column, _ in indicator], dtype=np.int64),
            indicator_value=np.array([value for _, value in indicator], dtype=np.int64),
        )

    def _row_sides(self) -> tuple[np.ndarray, np.ndarray]:
        """Sides from kind and range: L and G get the range on their open side, E on the sign's side."""
        kind = np.array(self.kinds, dtype="U1")
        side = np.array([self.sides.get(i, 0.0) for i in range(kind.size)])
        reach = np.array([self.ranges.get(i, np.nan) for i in range(kind.size)])
        ranged = ~np.isnan(reach)
        size = np.abs(np.where(ranged, reach, 0.0))
        open_ = np.where(ranged, size, np.inf)
        down, up = (kind == "L") | ((kind == "E") & (reach < 0)), (kind == "G") | ((kind == "E") & (reach > 0))
        return side - np.where(down, open_, 0.0), side + np.where(up, open_, 0.0)


def _pairs(words: list[str]) -> Iterator[tuple[str, float]]:
    if len(words) % 2:
        raise ValueError("names and values must come in pairs")
    return ((words[k], float(words[k + 1])) for k in range(0, len(words), 2))
