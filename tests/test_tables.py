"""Tables: what is read, and what is refused with which words."""

import csv
import io
import sys
from contextlib import suppress
from urllib.error import URLError

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenn._table_checks import check_cells, check_memory, check_numbers, check_width
from provenn._table_csv import MISSING, parse_csv
from provenn.errors import InputError
from provenn.tables import SETS, Table, labels_of, read_table, split_target

FRAME = pd.DataFrame({"age": [30, 41, 52], "job": ["a", "b", "a"], "ill": ["no", "yes", "no"]})


def written(folder, text, name="data.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_delimiters_marks_and_line_ends(tmp_path, delimiter, mark, end):
    text = end.join(delimiter.join(row) for row in (["a", "b"], ["1", "x"], ["2.5", "y"])) + end
    frame = read_table(written(tmp_path, mark + text.encode())).frame
    assert frame.columns.tolist() == ["a", "b"]
    assert frame["a"].tolist() == [1.0, 2.5]
    assert frame["b"].tolist() == ["x", "y"]


def test_quoted_cells_and_blank_lines(tmp_path):
    frame = read_table(written(tmp_path, 'a,"b, c"\n1,"x, y"\n\n2,"two\nlines"\n')).frame
    assert frame.columns.tolist() == ["a", "b, c"]
    assert frame["b, c"].tolist() == ["x, y", "two\nlines"]


@pytest.mark.parametrize("cell", ["", "?", "NA", "NaN", " ?"])
def test_missing_cells(tmp_path, cell):
    assert read_table(written(tmp_path, f"a,b\n1,{cell}\n2,3\n")).frame["b"].isna().tolist() == [True, False]


def test_words_that_are_no_missing_values(tmp_path):
    assert read_table(written(tmp_path, "a,b\n1,None\n2,none\n")).frame["b"].tolist() == ["None", "none"]


def test_unnamed_columns_get_names(tmp_path):
    assert read_table(written(tmp_path, ",b\n1,2\n")).frame.columns.tolist() == ["column 1", "b"]


def test_parquet_and_npz(tmp_path):
    FRAME.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.parquet").frame, FRAME, check_dtype=False)
    np.savez(tmp_path / "t.npz", X=np.eye(3), y=np.array(["u", "v", "u"]), feature_names=np.array(["p", "q", "r"]))
    table = read_table(tmp_path / "t.npz")
    assert table.frame.columns.tolist() == ["p", "q", "r", "target"]
    assert table.default_target == "target"
    np.savez(tmp_path / "x.npz", X=np.eye(2))
    assert read_table(tmp_path / "x.npz").default_target is None


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a,b\n1,2\n")))
    assert read_table("-").frame.to_dict("list") == {"a": [1], "b": [2]}


@pytest.mark.parametrize("name", SETS)
def test_bundled_sets(name):
    features, labels, target = split_target(read_table(f"sklearn:{name}"), None)
    assert len(features) == len(labels)
    assert target == "target"
    assert isinstance(labels.tolist()[0], int if name == "digits" else str)


def test_openml(monkeypatch):
    import sklearn.datasets

    class Bunch:
        frame = FRAME
        target_names = ("ill",)

    def fetched(**_):
        return Bunch

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetched)
    assert read_table("openml:some").default_target == "ill"

    def offline(*_, **__):
        raise URLError("no route")

    monkeypatch.undo()
    monkeypatch.setattr("sklearn.datasets._openml.urlopen", offline)
    with pytest.raises(InputError, match=r"openml.org does not answer .* check the network"):
        read_table("openml:some")
    with pytest.raises(InputError, match="needs the name"):
        read_table("openml:")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("  \n \n", "is empty"),
        ("a,b\n", "no rows"),
        ("a,b\n1,2\n3\n", r"line 3: 1 cells where the header has 2"),
        ("a,b\n1,2,3\n", r"line 2: 3 cells where the header has 2"),
        ("a,b,a\n1,2,3\n", "'a' occurs more than once"),
        ("1,1,2\n1,1,3\n", "looks like data: add a line of column names"),
        (b"a,b\n1,\xff\n", "line 2: the text is not UTF-8"),
        (b"\xff\xfea\x00", "UTF-16"),
        (b"PK\x00\x01\x02", "binary"),
        (b"a,b\n1,\x00\n", "binary"),
        ('a,b\n1,"' + "x" * 200_000, "line"),
    ],
)
def test_bad_csv(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        read_table(written(tmp_path, text))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='ab1.,;"\n\r\t? \ufeff', max_size=60).map(str.encode))
def test_any_bytes_are_a_table_or_an_input_error(content):
    with suppress(InputError):
        frame = parse_csv(content, "bytes")
        assert frame.columns.is_unique
        assert all(isinstance(name, str) and name for name in frame.columns)


def reads_as_number(text):
    try:
        float(text)
    except ValueError:
        return text[:1].isdigit()
    return True


@given(
    st.lists(st.tuples(st.integers(), st.text(st.characters(codec="utf-8", exclude_characters="\0\r"))), min_size=1),
    st.sampled_from([",", ";", "\t"]),
)
def test_written_csv_reads_back(rows, delimiter):
    text = pd.DataFrame(rows, columns=["number", "text"]).to_csv(sep=delimiter, index=False, quoting=csv.QUOTE_ALL)
    frame = parse_csv(text.encode(), "written")
    assert [int(n) for n in frame["number"]] == [n for n, _ in rows]
    for (_, wrote), read in zip(rows, frame["text"].tolist(), strict=True):
        assert str(read) == wrote or wrote.strip() in MISSING or str(read) == wrote.strip() or reads_as_number(wrote)


def test_bad_paths(tmp_path):
    written(tmp_path, "a,b\n1,2\n", "data.csv")
    for source, words in [
        (tmp_path, "is a directory"),
        (tmp_path / "date.csv", "did you mean 'data.csv'"),
        (written(tmp_path, "x", "notes.docx"), "unknown kind of file '.docx'"),
        (written(tmp_path, b"x", "bad.npz"), "damaged, no NPZ file"),
        (written(tmp_path, b"x", "bad.parquet"), "damaged or no Parquet"),
        ("sklearn:diabetes", "choose one of breast_cancer"),
        ("a\0b.csv", "cannot read|there is no file"),
    ]:
        with pytest.raises(InputError, match=words):
            read_table(source)


def test_bad_npz(tmp_path):
    for arrays, words in [
        ({"Z": np.eye(2)}, "needs an array 'X'"),
        ({"X": np.arange(3)}, "must be a matrix"),
        ({"X": np.eye(2), "y": np.arange(3)}, "one label for each of the 2 rows"),
        ({"X": np.eye(2), "feature_names": np.array(["a"])}, "1 feature_names for the 2 columns"),
        ({"X": np.eye(2), "feature_names": np.array(["a", "a"])}, "more than once"),
        ({"X": np.array([[object()]], dtype=object)}, "pickled objects"),
    ]:
        np.savez(tmp_path / "t.npz", **arrays)
        with pytest.raises(InputError, match=words):
            read_table(tmp_path / "t.npz")


def test_memory_is_checked_before_reading(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"needs about .* GiB of memory, .* are free; use fewer"):
        check_memory(2**60, "this")
    many = pd.DataFrame({"id": [f"r{i}" for i in range(1000)], "x": range(1000)})
    monkeypatch.setattr("provenn._table_checks.COPIES", 10**9)
    with pytest.raises(InputError, match="drop the column 'id', which has 1000 values"):
        check_width(many, (), 1)


def test_target():
    table = Table(FRAME, None, "t")
    features, labels, name = split_target(table, "ill")
    assert (features.columns.tolist(), labels.tolist(), name) == (["age", "job"], ["no", "yes", "no"], "ill")
    with pytest.raises(InputError, match=r"no column 'il'; did you mean 'ill'\? the columns are: age, job, ill"):
        split_target(table, "il")
    with pytest.raises(InputError, match="--target; the columns are: age, job, ill"):
        split_target(table, None)
    with pytest.raises(InputError, match="only column"):
        split_target(Table(FRAME[["ill"]], None, "t"), "ill")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["a", None, "b"], r"missing in row 2 \(1 in all\)"),
        ([1.0, float("nan")], "missing in row 2"),
        ([0, 1.5], r"no classes \(row 2: 1.5\)"),
        (["a", 1], "mixes int and str"),
        (list(range(5000)), "5000 different labels"),
    ],
)
def test_bad_labels(values, words):
    column = pd.Series(values, dtype=object if "a" in values else None)
    with pytest.raises(InputError, match=words):
        labels_of(column, "y")


@given(
    st.lists(st.one_of(st.integers(-9, 9)), min_size=1)
    | st.lists(st.text(), min_size=1)
    | st.lists(st.booleans(), min_size=1)
)
def test_labels_keep_their_types(values):
    labels = labels_of(pd.Series(values), "y").tolist()
    assert labels == values
    assert [type(v) for v in labels] == [type(v) for v in values]


def test_text_in_numeric_columns():
    check_numbers(pd.DataFrame({"x": ["a", "b", "1"]}))
    check_numbers(pd.DataFrame({"x": ["1", "2", "b"]}), ["x"])
    with pytest.raises(InputError, match=r"column 'x', row 3: text 'b' in a numeric column.*--categorical x"):
        check_numbers(pd.DataFrame({"x": ["1", "2", "b"]}))
    with pytest.raises(InputError, match="column 'x', row 1: '1,5' has a decimal comma"):
        check_numbers(pd.DataFrame({"x": ["1,5", "2,5"]}))
    with pytest.raises(InputError, match="stored as text"):
        check_numbers(pd.DataFrame({"x": ["1", "2"]}))


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pd.to_datetime(["2020-01-01"]), "datetime"),
        (np.array([1j]), "complex"),
        (pd.Series([[1, 2]]), "row 1: the value is of type list"),
    ],
)
def test_columns_that_are_neither_numbers_nor_text(column, words):
    with pytest.raises(InputError, match=words):
        check_cells(pd.DataFrame({"x": column}))
