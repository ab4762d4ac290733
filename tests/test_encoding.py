import json

import numpy as np
import pandas as pd
import pytest

from provenn.encoding import TableEncoder
from provenn.errors import InputError, ModelFileError

TABLE = pd.DataFrame(
    {
        "age": [20.0, 35.5, 50.0, 80.0],
        "smokes": [True, False, True, False],
        "job": ["a", "b", "a", "c"],
        "grade": pd.Categorical(["x", "y", "x", "x"]),
        "code": [3, 1, 3, 2],
    }
)


@pytest.mark.parametrize("quantize", ["grid", "thermometer"])
def test_features_name_every_column_of_the_code(quantize):
    encoder = TableEncoder(quantize, steps=100, bits=3, categorical=["code"]).fit(TABLE)
    Z = encoder.transform(TABLE)
    assert Z.dtype == np.int64
    assert Z.shape == (4, len(encoder.features))
    names = [f.name for f in encoder.features]
    assert names[-8:] == ["job = a", "job = b", "job = c", "grade = x", "grade = y", "code = 1", "code = 2", "code = 3"]
    assert np.array_equal(Z[:, -8:] // encoder.scale, pd.get_dummies(TABLE[["job", "grade", "code"]].astype(str)))


def test_json_round_trip_encodes_the_same():
    for options in ({}, {"quantize": "thermometer"}, {"categorical": ["code"], "steps": 7}):
        encoder = TableEncoder(**options).fit(TABLE)
        again = TableEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
        assert np.array_equal(again.transform(TABLE), encoder.transform(TABLE))
        assert again.features == encoder.features


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age": [1.0, np.nan, 2.0, 3.0]}, r"column 'age', row 2: the value is missing"),
        ({"age": [1.0, 2.0, np.inf, 3.0]}, r"column 'age', row 3: the value is infinite"),
        ({"age": ["1", "2", "old", "4"]}, r"column 'age', row 3: 'old' is not a number"),
        ({"age": ["1", "2", "3", "4"]}, r"column 'age' holds text"),
        ({"job": ["a", None, "a", "c"]}, r"column 'job', row 2: the value is missing"),
        ({"job": ["a", "b", "poet", "c"]}, r"column 'job', row 3: the category 'poet' was never seen"),
    ],
)
def test_bad_cells_are_named(change, message):
    encoder = TableEncoder().fit(TABLE)
    with pytest.raises(InputError, match=message):
        encoder.transform(TABLE.assign(**change))


def test_missing_and_double_columns_are_named():
    encoder = TableEncoder().fit(TABLE)
    with pytest.raises(InputError, match="lack the column 'job'"):
        encoder.transform(TABLE.drop(columns="job"))
    with pytest.raises(InputError, match="'age' occurs more than once"):
        TableEncoder().fit(pd.concat([TABLE, TABLE[["age"]]], axis=1))


def test_more_columns_and_another_order_do_not_matter():
    encoder = TableEncoder().fit(TABLE)
    other = TABLE[TABLE.columns[::-1]].assign(extra=1)
    assert np.array_equal(encoder.transform(other), encoder.transform(TABLE))


@pytest.mark.parametrize("damage", [{"columns": 3}, {"offset": [0.0]}, {"quantize": "x"}, {"steps": None}])
def test_damaged_encodings_are_refused(damage):
    data = TableEncoder().fit(TABLE).to_dict() | damage
    with pytest.raises(InputError):
        TableEncoder.from_dict(data)
    with pytest.raises(ModelFileError):
        TableEncoder.from_dict({})
