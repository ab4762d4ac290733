"""Reads tables of training data from files, standard input, scikit-learn and OpenML."""

import sys
import warnings
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from provenn._table_checks import check_cells, check_memory
from provenn._table_csv import parse_csv
from provenn.errors import InputError, MissingDependencyError

SETS = ("breast_cancer", "digits", "iris", "wine")
TARGET = "target"
MANY_CLASSES = 1000
CSV_GROWTH = 8
"""Bytes of memory for each byte of CSV text while it is parsed."""


@dataclass(frozen=True)
class Table:
    """A table of raw data.

    Parameters
    ----------
    frame : DataFrame
        All columns, with text column names and rows numbered from 0.
    default_target : str or None
        The target where the source itself names one.
    name : str
        The source, for people.
    """

    frame: pd.DataFrame
    default_target: str | None
    name: str


def read_table(source: str | Path) -> Table:
    """Read a table.

    Parameters
    ----------
    source : str or Path
        A file (``.csv``, ``.tsv``, ``.txt``, ``.parquet``, ``.npz``), ``-`` for CSV on
        standard input, ``sklearn:NAME`` for a bundled set, ``openml:NAME`` or
        ``openml:NUMBER`` for a set of openml.org.

    Returns
    -------
    Table
        Cells that are empty, ``?`` or ``NA`` are missing values.

    Raises
    ------
    InputError
        When the source is missing, unreadable, empty, damaged, too large for the memory
        or has a column name twice.

    Examples
    --------
    >>> table = read_table("sklearn:iris")
    >>> table.frame.shape, table.default_target, table.frame["target"].iloc[0]
    ((150, 5), 'target', 'setosa')
    """
    text = str(source)
    try:
        table = _read(text)
    except MemoryError as error:
        raise InputError(f"{text} does not fit into memory; train on fewer rows or columns") from error
    _check_shape(table.frame, text)
    check_cells(table.frame)
    return table


def _read(source: str) -> Table:
    kind, _, name = source.partition(":")
    if kind == "sklearn":
        return Table(_from_sklearn(name), TARGET, source)
    if kind == "openml":
        return _from_openml(name, source)
    if source == "-":
        return Table(parse_csv(sys.stdin.buffer.read(), "standard input"), None, "standard input")
    path = _existing(source)
    readers = {".csv": _csv, ".tsv": _csv, ".txt": _csv, ".parquet": _parquet, ".pq": _parquet, ".npz": _npz}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{source}: unknown kind of file {path.suffix or 'without an extension'!r}; use .csv, .tsv, .parquet "
            "or .npz, or send CSV text to standard input with -"
        )
    try:
        frame = reader(path)
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror or error}") from error
    return Table(frame, TARGET if reader is _npz and TARGET in frame else None, path.name)


def _existing(source: str) -> Path:
    path = Path(source)
    try:
        if path.is_dir():
            raise InputError(f"{source} is a directory; name a file in it")
        if not path.exists():
            raise InputError(f"there is no file {source}{_similar_file(path)}")
        if path.is_file() and path.stat().st_size == 0:
            raise InputError(f"{source} is empty; it needs a line of column names and one line a sample")
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read {source!r}: {error}") from error
    return path


def _similar_file(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    return did_you_mean(path.name, names)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known name nearest to a wrong one, or an empty string."""
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _csv(path: Path) -> pd.DataFrame:
    check_memory(CSV_GROWTH * path.stat().st_size, str(path))
    return parse_csv(path.read_bytes(), str(path), "\t" if path.suffix.lower() == ".tsv" else None)


def _parquet(path: Path) -> pd.DataFrame:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependencyError("Parquet files need pyarrow: pip install pyarrow") from error
    try:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        _refuse_duplicates(names, str(path))
        check_memory(16 * file.metadata.num_rows * max(1, len(names)), str(path))
        frame: pd.DataFrame = file.read().to_pandas()
    except arrow.ArrowException as error:
        raise InputError(f"{path} is damaged or no Parquet file: {error}") from error
    return _plain_frame(frame, str(path))


def _npz(path: Path) -> pd.DataFrame:
    try:
        with zipfile.ZipFile(path) as archive:
            check_memory(2 * sum(entry.file_size for entry in archive.infolist()), str(path))
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is damaged, no NPZ file, or holds pickled objects, which are never read: {error}"
        ) from error
    return _from_arrays(arrays, str(path))


def _from_arrays(arrays: dict[str, NDArray[Any]], name: str) -> pd.DataFrame:
    X, y = arrays.get("X"), arrays.get("y")
    if X is None:
        raise InputError(f"{name} needs an array 'X' (and 'y' for training); it holds {', '.join(arrays) or 'nothing'}")
    if X.ndim != 2 or X.dtype.kind not in "iufbU":
        raise InputError(f"{name}: X must be a matrix of numbers or text, got shape {X.shape}, type {X.dtype}")
    if y is not None and y.shape != (len(X),):
        raise InputError(f"{name}: y must have one label for each of the {len(X)} rows of X, got shape {y.shape}")
    names = [str(n) for n in arrays.get("feature_names", [f"x{i}" for i in range(X.shape[1])])]
    if len(names) != X.shape[1]:
        raise InputError(f"{name}: {len(names)} feature_names for the {X.shape[1]} columns of X")
    _refuse_duplicates([*names, TARGET] if y is not None else names, name)
    frame = pd.DataFrame(X, columns=names)
    return frame if y is None else frame.assign(**{TARGET: y})


def _from_sklearn(name: str) -> pd.DataFrame:
    if name not in SETS:
        raise InputError(f"no classification set {name!r} comes with scikit-learn: choose one of {', '.join(SETS)}")
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    frame: pd.DataFrame = bunch.frame.copy()
    labels = np.asarray(bunch.target_names)
    frame[TARGET] = labels[frame[TARGET].to_numpy()]
    return _plain_frame(frame, name)


def _from_openml(name: str, source: str) -> Table:
    from sklearn.datasets import fetch_openml

    wanted: dict[str, Any] = {"data_id": int(name)} if name.isdecimal() else {"name": name}
    if not name:
        raise InputError("openml: needs the name or number of a set, for example openml:adult")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bunch = fetch_openml(**wanted, as_frame=True, parser="auto", n_retries=1, delay=0.1)
    except OSError as error:
        raise InputError(
            f"{source} cannot be fetched: openml.org does not answer ({error}); check the network, or download the "
            "set elsewhere and give the file"
        ) from error
    except ValueError as error:
        raise InputError(f"{source} cannot be used: {error}; see https://www.openml.org for names") from error
    targets = list(bunch.target_names or [])
    target = targets[0] if len(targets) == 1 else None
    return Table(_plain_frame(bunch.frame, source), target, source)


def _plain_frame(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the frame with text column names and rows numbered from 0."""
    names = [str(column) for column in frame.columns]
    _refuse_duplicates(names, name)
    return frame.set_axis(names, axis=1).reset_index(drop=True)


def _refuse_duplicates(names: list[str], source: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{source}: the column name {twice[0]!r} occurs more than once; rename one of them")


def _check_shape(frame: pd.DataFrame, name: str) -> None:
    if frame.shape[1] == 0:
        raise InputError(f"{name} has no columns; the first line must name them")
    if len(frame) == 0:
        raise InputError(f"{name} has column names and no rows; at least one sample is needed")


def known_columns(frame: pd.DataFrame, names: Iterable[str], what: str) -> list[str]:
    """Return the names, or say which of them is no column of the frame.

    Parameters
    ----------
    frame : DataFrame
    names : iterable of str
    what : str
        What asks for the column, for the message.

    Raises
    ------
    InputError
        For the first unknown name, with the nearest column.
    """
    columns, listed = list(frame.columns), list(names)
    for name in listed:
        if name not in columns:
            shown = ", ".join(columns[:30]) + (", ..." if len(columns) > 30 else "")
            guess = did_you_mean(name, columns) or ";"
            raise InputError(f"{what}: there is no column {name!r}{guess} the columns are: {shown}")
    return listed


def split_target(table: Table, target: str | None) -> tuple[pd.DataFrame, NDArray[Any], str]:
    """Split a table into features and labels.

    Parameters
    ----------
    table : Table
    target : str or None
        Column of the labels; None takes the one that the source names.

    Returns
    -------
    features : DataFrame
    labels : ndarray of shape (n,)
        Text (as objects), whole numbers, floats that are whole, or booleans.
    target : str

    Raises
    ------
    InputError
        When the target is unknown, missing in a row, or no class.

    Examples
    --------
    >>> features, labels, target = split_target(read_table("sklearn:iris"), None)
    >>> features.shape, str(labels[0]), target
    ((150, 4), 'setosa', 'target')
    """
    frame = table.frame
    if target is None and table.default_target is None:
        raise InputError(f"name the column of the labels with --target; the columns are: {', '.join(frame.columns)}")
    name = known_columns(frame, [str(target if target is not None else table.default_target)], "target")[0]
    if frame.shape[1] == 1:
        raise InputError(f"the target {name!r} is the only column; at least one feature is needed")
    return frame.drop(columns=name), labels_of(frame[name], name), name


def labels_of(column: "pd.Series[Any]", name: str) -> NDArray[np.generic]:
    """Return a column of labels as an array of one plain type; missing and fractional labels are refused."""
    gone = column.isna().to_numpy()
    if gone.any():
        row = int(np.flatnonzero(gone)[0]) + 1
        raise InputError(
            f"the target {name!r} is missing in row {row} ({int(gone.sum())} in all); fill in or drop such rows"
        )
    values = column.tolist()
    labels = np.array(values, dtype=object if isinstance(values[0], str) else None)
    kinds = {type(value) for value in values}
    if len(kinds) > 1 or labels.dtype.kind not in "Obiuf":
        raise InputError(f"the target {name!r} mixes {' and '.join(sorted(k.__name__ for k in kinds))}; use one type")
    if labels.dtype.kind == "f" and (bad := np.flatnonzero(labels != np.rint(labels))).size:
        raise InputError(
            f"the target {name!r} holds numbers that are no classes (row {bad[0] + 1}: {labels[bad[0]]:g}); "
            "turn it into classes first, for example 'above' and 'below' a limit"
        )
    distinct = column.nunique()
    if distinct > MANY_CLASSES:
        raise InputError(f"the target {name!r} has {distinct} different labels, which are no classes; choose another")
    return labels
