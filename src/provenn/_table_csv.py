"""CSV text to a DataFrame, with messages that name the line."""

import csv
import io
from itertools import islice

import pandas as pd

from provenn.errors import InputError

DELIMITERS = (",", ";", "\t")
MISSING = ("", "?", "NA", "N/A", "NaN", "nan", "null", "NULL")


def parse_csv(data: bytes, name: str, delimiter: str | None = None) -> pd.DataFrame:
    r"""Parse CSV text in UTF-8 with a line of column names.

    Parameters
    ----------
    data : bytes
        With or without a byte order mark.
    name : str
        The source, for messages.
    delimiter : str, optional
        Found out among comma, semicolon and tab by default.

    Raises
    ------
    InputError
        When the text is binary, empty, has a column name twice or a row of another width.

    Examples
    --------
    >>> parse_csv(b"a;b\n1;x\n2;?\n", "example")["b"].isna().tolist()
    [False, True]
    """
    text = _decode(data, name)
    separator = delimiter or _sniff(text)
    names, header_lines = _check_rows(text, separator, name)
    try:
        return pd.read_csv(
            io.StringIO(text),
            sep=separator,
            names=names,
            header=None,
            skiprows=header_lines,
            index_col=False,
            skipinitialspace=True,
            keep_default_na=False,
            na_values=list(MISSING),
            low_memory=False,
        )
    except ValueError as error:
        raise InputError(f"{name} is no table in CSV: {error}; repair the file") from error


def _decode(data: bytes, name: str) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{name} is text in UTF-16; save it as UTF-8")
    if b"\0" in data[:1_000_000]:
        raise InputError(f"{name} is a binary file and no CSV text; use .csv, .parquet or .npz with their own contents")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{name}, line {line}: the text is not UTF-8; save the file as UTF-8") from error
    if not text.strip():
        raise InputError(f"{name} is empty; it needs a line of column names and one line a sample")
    return text.replace("\0", "")


def _sniff(text: str) -> str:
    """Choose the delimiter that splits the first lines most evenly, into most columns."""

    def merit(delimiter: str) -> tuple[int, int]:
        try:
            rows = [len(row) for row in islice(csv.reader(io.StringIO(text), delimiter=delimiter), 20) if row]
        except csv.Error:
            return (0, 0)
        return (sum(width == rows[0] for width in rows) if rows[0] > 1 else 0, rows[0])

    return max(DELIMITERS, key=merit)


def _check_rows(text: str, delimiter: str, name: str) -> tuple[list[str], int]:
    """Return the column names and the lines that they take.

    Rows of another width are refused: pandas would fill them up or cut them off.
    """
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        header = next(row for row in reader if row)
        width, lines = len(header), reader.line_num
        for row in reader:
            if len(row) != width and row:
                raise InputError(
                    f"{name}, line {reader.line_num}: {len(row)} cells where the header has {width}; "
                    f"repair the line (the delimiter is {delimiter!r}, quote cells that contain it)"
                )
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: {error}; repair the line or its quotes") from error
    return _column_names(header, name), lines


def _column_names(header: list[str], name: str) -> list[str]:
    names = [cell.strip() or f"column {i + 1}" for i, cell in enumerate(header)]
    twice = sorted({cell for cell in names if names.count(cell) > 1})
    if twice:
        looks = " (the first line looks like data: add a line of column names)" if all(map(_number, names)) else ""
        raise InputError(f"{name}: the column name {twice[0]!r} occurs more than once; rename one of them{looks}")
    return names


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
