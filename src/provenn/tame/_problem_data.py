"""The data of a model as integers over a power of two: what a proof carries."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy import sparse

from provenn.errors import ModelFileError
from provenn.milp import MILP
from provenn.tame._simplex import Floats


def problem_data(milp: MILP) -> dict[str, Any]:
    """Return the data of a model without conditional rows, exactly, ready for JSON.

    Examples
    --------
    >>> from provenn.milp import Builder
    >>> builder = Builder()
    >>> builder.minimise(builder.columns("x", (1,), 0, 3), 0.75)
    >>> data = problem_data(builder.build())
    >>> data["shift"], data["c"], data["col_upper"]
    (2, [3], [12])
    """
    sides = (milp.row_lower, milp.row_upper, milp.col_lower, milp.col_upper)
    shift = _shift((milp.c, milp.A.data, np.array([milp.offset]), *sides))
    values = _scaled(milp.A.data, shift)
    spans = zip(milp.A.indptr[:-1].tolist(), milp.A.indptr[1:].tolist(), strict=True)
    columns = milp.A.indices.tolist()
    return {
        "shift": shift,
        "rows": milp.n_rows,
        "columns": milp.n_columns,
        "c": _scaled(milp.c, shift),
        "offset": _scaled(np.array([milp.offset]), shift)[0],
        "A": [[columns[a:b], values[a:b]] for a, b in spans],
        **{name: _scaled(getattr(milp, name), shift) for name in ("row_lower", "row_upper", "col_lower", "col_upper")},
        "integer": milp.integer.astype(int).tolist(),
    }


def _shift(parts: Iterable[Floats]) -> int:
    """Return the smallest s for which all finite numbers are integers over 2**s."""
    values = np.unique(np.concatenate([part[np.isfinite(part)] for part in parts]))
    return max((v.as_integer_ratio()[1].bit_length() - 1 for v in values.tolist()), default=0)


def _scaled(values: Floats, shift: int) -> list[int | None]:
    """Numbers times 2**shift; None for infinite ones."""
    if shift == 0 and np.isfinite(values).all() and np.abs(values).max(initial=0) < 2.0**62:
        return list(values.astype(np.int64).tolist())
    return [_whole(v, shift) if np.isfinite(v) else None for v in values.tolist()]


def _whole(value: float, shift: int) -> int:
    numerator, denominator = value.as_integer_ratio()
    return (numerator << shift) // denominator


def model_of(data: dict[str, Any]) -> MILP:
    """Return the model of `problem_data`.

    Raises
    ------
    ModelFileError
        When the data are damaged, or do not fit floats.
    """
    try:
        unit = 1 << data["shift"]
        rows, shape = data["A"], (data["rows"], data["columns"])
        indptr = np.cumsum([0, *(len(columns) for columns, _ in rows)])
        indices = np.array([j for columns, _ in rows for j in columns], dtype=np.int64)
        values = np.array([v / unit for _, part in rows for v in part], dtype=np.float64)
        return MILP(
            np.array([v / unit for v in data["c"]]),
            sparse.csr_matrix((values, indices, indptr), shape=shape),
            _floats(data["row_lower"], unit, -np.inf),
            _floats(data["row_upper"], unit, np.inf),
            _floats(data["col_lower"], unit, -np.inf),
            _floats(data["col_upper"], unit, np.inf),
            np.array(data["integer"], dtype=np.bool_),
            data["offset"] / unit,
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelFileError(f"the proof's problem is damaged: {type(error).__name__}: {error}") from error


def _floats(values: list[int | None], unit: int, open_: float) -> Floats:
    return np.array([open_ if v is None else v / unit for v in values], dtype=np.float64)
