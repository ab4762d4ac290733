"""Checks of tables before training: cells that are no numbers, memory that is not there."""

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from provenn.errors import InputError

GIB = 2**30
COPIES = 4
"""Matrices of the encoded size that training holds at once."""


def check_memory(needed: int, what: str, hint: str = "use fewer rows or columns") -> None:
    """Refuse work that needs more memory than is free.

    Parameters
    ----------
    needed : int
        Bytes.
    what : str
        What needs them, for the message.
    hint : str
        The way out.
    """
    import psutil

    free = psutil.virtual_memory().available
    if needed > free:
        raise InputError(f"{what} needs about {needed / GIB:.1f} GiB of memory, {free / GIB:.1f} GiB are free; {hint}")


def check_cells(frame: pd.DataFrame) -> None:
    """Refuse columns of dates, complex numbers, lists and other objects, naming row and column."""
    for name in frame.columns:
        column = frame[name]
        kind = str(column.dtype)
        if kind.startswith(("datetime", "timedelta", "period", "complex")):
            raise InputError(f"column {name!r} holds values of type {kind}; turn them into numbers or drop the column")
        if column.dtype == object:
            odd = [i for i, v in enumerate(column) if not _usable(v)]
            if odd:
                value = column.iloc[odd[0]]
                raise InputError(
                    f"column {name!r}, row {odd[0] + 1}: the value is of type {type(value).__name__}; "
                    "use numbers, text or booleans, or drop the column"
                )


def _usable(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int | float | np.generic) or value is pd.NA


def check_numbers(features: pd.DataFrame, categorical: Collection[str] = ()) -> None:
    """Refuse text in columns of which at least half are numbers.

    Parameters
    ----------
    features : DataFrame
    categorical : collection of str
        Columns that are categories on purpose.

    Raises
    ------
    InputError
        Names row, column and value, and the way out.

    Examples
    --------
    >>> check_numbers(pd.DataFrame({"age": ["31", "x", "40"]}))
    Traceback (most recent call last):
    ...
    provenn.errors.InputError: column 'age', row 2: text 'x' in a numeric column; correct it, or treat the \
column as categories with --categorical age
    """
    for name in features.columns:
        column = features[name]
        if (
            name in categorical
            or pd.api.types.is_numeric_dtype(column)
            or isinstance(column.dtype, pd.CategoricalDtype)
        ):
            continue
        filled = column[column.notna()]
        bad = _not_numbers(filled)
        if len(filled) and 2 * bad.sum() <= len(filled):
            _refuse(filled, bad, name)
        commas = _not_numbers(filled.astype(str).str.replace(",", ".", n=1))
        if len(filled) and 2 * commas.sum() <= len(filled):
            raise InputError(
                f"column {name!r}, row {int(filled.index[0]) + 1}: {filled.iloc[0]!r} has a decimal comma; "
                f"write numbers with a point, or treat the column as categories with --categorical {name}"
            )


def _not_numbers(column: "pd.Series[Any]") -> NDArray[np.bool_]:
    return np.asarray(pd.to_numeric(column, errors="coerce").isna())


def _refuse(filled: "pd.Series[Any]", bad: NDArray[np.bool_], name: str) -> None:
    first = int(np.flatnonzero(bad)[0]) if bad.any() else 0
    what = f"text {filled.iloc[first]!r} in a numeric column" if bad.any() else "numbers that are stored as text"
    raise InputError(
        f"column {name!r}, row {int(filled.index[first]) + 1}: {what}; correct it, "
        f"or treat the column as categories with --categorical {name}"
    )


def check_width(features: pd.DataFrame, categorical: Collection[str], bits: int) -> None:
    """Refuse tables whose encoding does not fit into memory, naming the column with most categories.

    Parameters
    ----------
    features : DataFrame
    categorical : collection of str
    bits : int
        Features for each numeric column.
    """
    numeric = {n for n in features.columns if pd.api.types.is_numeric_dtype(features[n]) and n not in categorical}
    widths = {n: bits if n in numeric else features[n].nunique() for n in features.columns}
    widest = max(widths, key=lambda n: widths[n])
    hint = "use fewer rows" if widest in numeric else f"drop the column {widest!r}, which has {widths[widest]} values"
    needed = 8 * COPIES * len(features) * sum(widths.values())
    check_memory(needed, f"training on {len(features)} samples with {sum(widths.values())} features", hint)
