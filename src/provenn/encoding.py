"""From tables of raw features to integers on a grid, and back to readable names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from provenn.errors import InputError, ModelFileError
from provenn.network import Grid, Thermometer

Quantizer = Literal["grid", "thermometer"]


@dataclass(frozen=True)
class Feature:
    """One integer input of a network.

    Parameters
    ----------
    name : str
        For people: ``age``, ``age >= 54`` or ``thal = 2``.
    column : str
        The raw column that it comes from.
    kind : {"grid", "bit", "category"}
    low, high : float
        Raw values at 0 and at 1 of a grid feature; 0 and 1 otherwise.
    """

    name: str
    column: str
    kind: Literal["grid", "bit", "category"]
    low: float = 0.0
    high: float = 1.0


class TableEncoder:
    """Encode numeric columns by a quantiser and other columns one-hot.

    Numeric columns (numbers and booleans) go through `Grid` or `Thermometer`; columns of
    text or categories become one feature a category. Missing values, infinite values and
    categories that training never saw are refused with the row and the column.

    Parameters
    ----------
    quantize : {"grid", "thermometer"}
        grid: min-max scaling to ``1 / steps``; thermometer: bits at quantiles.
    steps : int
        Grid units in 1.
    bits : int
        Thermometer bits a numeric column at most.
    categorical : sequence of str, optional
        Numeric columns to treat as categories.

    Examples
    --------
    >>> table = pd.DataFrame({"age": [20, 40, 30], "job": ["x", "y", "x"]})
    >>> encoder = TableEncoder(steps=10)
    >>> encoder.fit(table).transform(table).tolist()
    [[0, 10, 0], [10, 0, 10], [5, 10, 0]]
    >>> [f.name for f in encoder.features]
    ['age', 'job = x', 'job = y']
    """

    def __init__(
        self, quantize: Quantizer = "grid", steps: int = 10_000, bits: int = 4, categorical: Sequence[str] = ()
    ) -> None:
        if quantize not in ("grid", "thermometer"):
            raise InputError(f"unknown quantiser {quantize!r}: choose 'grid' or 'thermometer'")
        self.quantize = quantize
        self.steps = steps
        self.bits = bits
        self.categorical = tuple(str(name) for name in categorical)
        self.columns: list[str] = []
        self.categories: dict[str, list[Any]] = {}
        self._quantizer: Grid | Thermometer = Grid(steps) if quantize == "grid" else Thermometer(bits)

    @property
    def scale(self) -> int:
        """Grid units in 1."""
        return self.steps if self.quantize == "grid" else 1

    @property
    def numeric(self) -> list[str]:
        """Names of the numeric columns."""
        return [name for name in self.columns if name not in self.categories]

    def fit(self, table: pd.DataFrame) -> "TableEncoder":
        """Learn scales, thresholds and categories."""
        table = _named(table)
        self.columns = list(table.columns)
        unknown = sorted(set(self.categorical) - set(self.columns))
        if unknown:
            raise InputError(f"no column named {unknown[0]!r} to treat as categories")
        self.categories = {}
        for name in self.columns:
            _refuse_missing(table[name], name)
            if name in self.categorical or not _is_numeric(table[name]):
                self.categories[name] = sorted({_plain(v) for v in table[name]}, key=lambda v: (str(type(v)), v))
        if self.numeric:
            self._quantizer.fit(self._numbers(table))
        return self

    def transform(self, table: pd.DataFrame) -> NDArray[np.int64]:
        """Return integers of shape (n, number of features)."""
        table = _named(table)
        missing = [name for name in self.columns if name not in table.columns]
        if missing:
            raise InputError(f"the data lack the column {missing[0]!r} that the model was trained on")
        bits: dict[str, NDArray[np.int64]] = {}
        if self.numeric:
            encoded, start = self._quantizer.transform(self._numbers(table)), 0
            for name, width in zip(self.numeric, self._widths(), strict=True):
                bits[name], start = encoded[:, start : start + width], start + width
        for name, known in self.categories.items():
            bits[name] = self.scale * self._one_hot(table[name], name, known)
        return np.hstack([bits[name] for name in self.columns]) if self.columns else np.zeros((len(table), 0), np.int64)

    def _widths(self) -> list[int]:
        if isinstance(self._quantizer, Grid):
            return [1] * len(self.numeric)
        return [len(cuts) for cuts in self._quantizer.thresholds_]

    def _numbers(self, table: pd.DataFrame) -> NDArray[np.float64]:
        columns = []
        for name in self.numeric:
            _refuse_missing(table[name], name)
            if not _is_numeric(table[name]):
                raise InputError(_not_a_number(table[name], name))
            column = table[name].to_numpy(dtype=np.float64)
            if not np.isfinite(column).all():
                row = int(np.flatnonzero(~np.isfinite(column))[0])
                raise InputError(f"column {name!r}, row {row + 1}: the value is infinite; remove or replace it")
            columns.append(column)
        return np.column_stack(columns)

    def _one_hot(self, column: "pd.Series[Any]", name: str, known: list[Any]) -> NDArray[np.int64]:
        _refuse_missing(column, name)
        number = {value: i for i, value in enumerate(known)}
        if all(isinstance(value, str) for value in known):
            index = [number.get(str(_plain(v)), -1) for v in column]
        else:
            index = [number.get(_plain(v), -1) for v in column]
        if -1 in index:
            row = index.index(-1)
            raise InputError(
                f"column {name!r}, row {row + 1}: the category {column.iloc[row]!r} was never seen in training; "
                f"known are {', '.join(map(repr, known[:8]))}{' ...' if len(known) > 8 else ''}"
            )
        return np.asarray(np.array(index)[:, None] == np.arange(len(known)), dtype=np.int64)

    @property
    def features(self) -> list[Feature]:
        """Describe every integer input, in order."""
        grid = self._quantizer if isinstance(self._quantizer, Grid) else None
        described: list[Feature] = []
        for name in self.columns:
            if name in self.categories:
                described += [Feature(f"{name} = {v}", name, "category") for v in self.categories[name]]
            elif grid is not None:
                i = self.numeric.index(name)
                low = float(grid.offset_[i])
                described.append(Feature(name, name, "grid", low, low + float(grid.divisor_[i])))
            else:
                cuts = self._quantizer.thresholds_[self.numeric.index(name)]
                described += [Feature(f"{name} >= {cut:.6g}", name, "bit") for cut in cuts]
        return described

    def to_dict(self) -> dict[str, Any]:
        """Return options and everything learnt as JSON data."""
        data: dict[str, Any] = {
            "quantize": self.quantize,
            "steps": self.steps,
            "bits": self.bits,
            "categorical": list(self.categorical),
            "columns": self.columns,
            "categories": self.categories,
        }
        if self.numeric and isinstance(self._quantizer, Grid):
            data |= {"offset": self._quantizer.offset_.tolist(), "divisor": self._quantizer.divisor_.tolist()}
        elif self.numeric:
            data["thresholds"] = [cuts.tolist() for cuts in self._quantizer.thresholds_]
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "TableEncoder":
        """Rebuild an encoder from `to_dict`; a damaged object raises `ModelFileError`."""
        try:
            encoder = cls(data["quantize"], int(data["steps"]), int(data["bits"]), data["categorical"])
            encoder.columns, encoder.categories = list(data["columns"]), dict(data["categories"])
            if encoder.numeric:
                encoder._quantizer.n_features_in_ = len(encoder.numeric)
            if encoder.numeric and isinstance(encoder._quantizer, Grid):
                encoder._quantizer.offset_ = np.array(data["offset"], dtype=np.float64)
                encoder._quantizer.divisor_ = np.array(data["divisor"], dtype=np.float64)
                if not len(data["offset"]) == len(data["divisor"]) == len(encoder.numeric):
                    raise ValueError("lengths of offset and divisor")
            elif encoder.numeric:
                encoder._quantizer.thresholds_ = [np.array(cuts, dtype=np.float64) for cuts in data["thresholds"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"damaged encoding: {type(error).__name__}: {error}") from error
        return encoder


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with text column names, all different."""
    names = [str(name) for name in table.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"the column name {twice[0]!r} occurs more than once; rename one of them")
    return table.set_axis(names, axis=1)


def _is_numeric(column: "pd.Series[Any]") -> bool:
    return bool(pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column))


def _plain(value: Any) -> Any:
    """Return a category as a plain Python value that JSON keeps."""
    item = value.item() if isinstance(value, np.generic) else value
    return item if isinstance(item, str | int | float | bool) else str(item)


def _refuse_missing(column: "pd.Series[Any]", name: str) -> None:
    gone = column.isna().to_numpy()
    if gone.any():
        row = int(np.flatnonzero(gone)[0])
        raise InputError(
            f"column {name!r}, row {row + 1}: the value is missing ({int(gone.sum())} in the column); "
            "fill or drop missing values first"
        )


def _not_a_number(column: "pd.Series[Any]", name: str) -> str:
    bad = pd.to_numeric(column, errors="coerce").isna().to_numpy()
    if not bad.any():
        return f"column {name!r} holds text; it was numeric in training"
    row = int(np.flatnonzero(bad)[0])
    value = column.iloc[row]
    return f"column {name!r}, row {row + 1}: {value!r} is not a number, and the column was numeric in training"
