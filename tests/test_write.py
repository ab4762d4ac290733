"""Files round trip, and the readers of solvers see the same model."""

import gzip
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from provenn.errors import InputError, ModelFileError
from provenn.milp import MILP, Builder, Limits, Terms
from provenn.milp.lower import big_m
from provenn.milp.read import read_mps
from provenn.milp.write import column_names, write_lp, write_mps, write_opb
from provenn.solvers import Solver
from provenn.testing.solver_laws import TOLERANCE, tiny_models

MODELS = tiny_models()
DATA = Path(__file__).parent / "data"
HIGHS_READER = """
import json, sys, highspy
highs = highspy.Highs()
highs.setOptionValue("output_flag", False)
answers = []
for path in sys.argv[1:]:
    assert highs.readModel(path) != highspy.HighsStatus.kError, path
    lp = highs.getLp()
    matrix = lp.a_matrix_
    matrix.ensureColwise() if hasattr(matrix, "ensureColwise") else None
    kinds = [kind == highspy.HighsVarType.kInteger for kind in lp.integrality_] or [False] * lp.num_col_
    answers.append(dict(
        c=list(lp.col_cost_), lower=list(lp.col_lower_), upper=list(lp.col_upper_), offset=lp.offset_,
        row_lower=list(lp.row_lower_), row_upper=list(lp.row_upper_), integer=kinds,
        start=list(matrix.start_), index=list(matrix.index_), value=list(matrix.value_),
        columnwise=matrix.format_ == highspy.MatrixFormat.kColwise,
        maximise=lp.sense_ == highspy.ObjSense.kMaximize,
    ))
print(json.dumps(answers))
"""


def read_by_highs(paths):
    """What HiGHS reads, in a process of its own."""
    command = [sys.executable, "-c", HIGHS_READER, *map(str, paths)]
    answers = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return [(_milp(answer), "max" if answer["maximise"] else "min") for answer in answers]


def _milp(a):
    shape = (len(a["row_lower"]), len(a["c"]))
    kind = sparse.csc_matrix if a["columnwise"] else sparse.csr_matrix
    sign = -1.0 if a["maximise"] else 1.0
    return MILP(
        c=sign * np.array(a["c"]),
        A=sparse.csr_matrix(kind((a["value"], a["index"], a["start"]), shape=shape)),
        row_lower=np.array(a["row_lower"]),
        row_upper=np.array(a["row_upper"]),
        col_lower=np.array(a["lower"]),
        col_upper=np.array(a["upper"]),
        integer=np.array(a["integer"], dtype=bool),
        offset=sign * a["offset"],
    )


def assert_same(first, second):
    for name in ("c", "row_lower", "row_upper", "col_lower", "col_upper", "integer", "indicator"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    on = first.indicator >= 0
    assert np.array_equal(first.indicator_value[on], second.indicator_value[on])
    assert first.offset == second.offset
    assert first.A.shape == second.A.shape
    assert abs(first.A - second.A).nnz == 0


@pytest.mark.parametrize("suffix", [".mps", ".mps.gz"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_tiny_models_survive_a_round_trip(model, suffix, tmp_path):
    write_mps(model.milp, tmp_path / f"first{suffix}")
    again, sense = read_mps(tmp_path / f"first{suffix}")
    assert sense == "min"
    write_mps(again, tmp_path / f"second{suffix}")
    twice, _ = read_mps(tmp_path / f"second{suffix}")
    assert_same(again, twice)
    assert again.n_columns == model.milp.n_columns
    oracle = Solver.create("brute_force")
    if not model.needs - oracle.capabilities:
        found = oracle.solve(again)
        assert (found.status, found.objective) == (model.status, pytest.approx(model.objective))


NUMBERS = st.sampled_from([0.0, 1.0, -1.0, 0.3396, -2.5, 1e-7, 1 / 3, 12345678.9, -1e10])


@st.composite
def models(draw):
    n, m = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    entries = draw(st.lists(NUMBERS, min_size=n * m, max_size=n * m))
    sides = np.sort(np.array(draw(st.lists(NUMBERS, min_size=2 * m, max_size=2 * m))).reshape(m, 2), axis=1)
    kinds = draw(st.lists(st.sampled_from("LGER"), min_size=m, max_size=m))
    low, high = sides.T
    bounds = np.sort(np.array(draw(st.lists(NUMBERS, min_size=2 * n, max_size=2 * n))).reshape(n, 2), axis=1)
    open_ = np.array(draw(st.lists(st.booleans(), min_size=2 * n, max_size=2 * n))).reshape(n, 2)
    return MILP(
        c=np.array(draw(st.lists(NUMBERS, min_size=n, max_size=n))),
        A=sparse.csr_matrix(np.array(entries).reshape(m, n)),
        row_lower=np.array([-np.inf if k == "L" else v for k, v in zip(kinds, low, strict=True)]),
        row_upper=np.array(
            [np.inf if k == "G" else a if k == "E" else b for k, a, b in zip(kinds, low, high, strict=True)]
        ),
        col_lower=np.where(open_[:, 0], -np.inf, bounds[:, 0]),
        col_upper=np.where(open_[:, 1], np.inf, bounds[:, 1]),
        integer=np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n))),
        offset=draw(NUMBERS),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(models())
def test_doubles_survive_exactly(tmp_path, milp):
    write_mps(milp, tmp_path / "model.mps")
    again, _ = read_mps(tmp_path / "model.mps")
    closed = np.isfinite(milp.row_lower) & np.isfinite(milp.row_upper)
    low, high = milp.row_lower[closed], milp.row_upper[closed]
    if np.array_equal(high - (high - low), low):
        assert_same(milp, again)
    else:
        assert set(again.row_lower) | set(again.row_upper) >= set(milp.row_lower) | set(milp.row_upper)


def plain_models():
    """Tiny models that HiGHS can read: no conditional rows, sides in order."""
    open_ = {"indicator_with_crossed_sides", "infeasible_bounds", "no_columns"}
    for model in MODELS:
        if model.name not in open_:
            try:
                yield model.name, big_m(model.milp)
            except InputError:
                continue


def test_highs_reads_the_same_models_from_mps(tmp_path):
    models = dict(plain_models())
    paths = [tmp_path / f"{name}.mps" for name in models]
    for path, milp in zip(paths, models.values(), strict=True):
        write_mps(milp, path)
    for path, (theirs, sense) in zip(paths, read_by_highs(paths), strict=True):
        ours, _ = read_mps(path)
        assert sense == "min"
        assert_same(ours, theirs)


def test_highs_reads_equal_models_from_lp(tmp_path):
    models = dict(plain_models())
    paths = [tmp_path / f"{name}.lp" for name in models]
    for path, milp in zip(paths, models.values(), strict=True):
        write_lp(milp, path)
    answers = {model.name: model for model in MODELS}
    for name, (theirs, _) in zip(models, read_by_highs(paths), strict=True):
        assert theirs.n_columns == models[name].n_columns, name
        if not answers[name].needs - Solver.create("brute_force").capabilities:
            found = Solver.create("brute_force").solve(theirs)
            assert (found.status, found.objective) == (answers[name].status, pytest.approx(answers[name].objective))


def test_lp_says_conditions(tmp_path):
    write_lp(next(m.milp for m in MODELS if m.name == "indicator_on_zero"), tmp_path / "model.lp")
    assert " r0: x_1 = 0 -> 1 x_0 <= 4" in (tmp_path / "model.lp").read_text().splitlines()


@pytest.mark.shared
def test_published_files_read_as_in_highs(shared):
    paths = sorted((shared / "instances").glob("*.mps.gz"), key=lambda path: path.stat().st_size)[::4]
    assert paths
    for path, (theirs, sense) in zip(paths, read_by_highs(paths), strict=True):
        ours, our_sense = read_mps(path)
        assert sense == our_sense
        assert_same(ours, theirs)


FIXED = """NAME          SAMPLE
OBJSENSE
    MAX
ROWS
 N  COST
 N  OTHER
 L  LIM1
 G  LIM2
 E  MYEQN
 E  DOWN
COLUMNS
    X1        COST               1.0   LIM1               1.0
    X1        LIM2               1.0   OTHER              9.0
    MARKER                 'MARKER'                 'INTORG'
    X2        COST               2.0   LIM1               1.0
    X2        MYEQN             -1.0   DOWN               2.0
    X4        COST               0.5
    MARKER                 'MARKER'                 'INTEND'
    X3        COST              -1.0   MYEQN              1.0
RHS
    RHS       COST              -3.5   LIM1               4.0
    RHS       LIM2               1.0   MYEQN              7.0
    RHS       DOWN               2.0
RANGES
    RNG       LIM1               2.5   LIM2               4.0
    RNG       MYEQN              3.0   DOWN              -1.5
BOUNDS
 UP BND       X1                 4.0
 LO BND       X2                -1.0
 MI BND       X3
 UP BND       X3                -2.0
ENDATA
"""


def test_fixed_format_with_everything(tmp_path):
    path = tmp_path / "sample.mps"
    path.write_text(FIXED)
    ours, sense = read_mps(path)
    assert sense == "max"
    assert ours.c.tolist() == [-1, -2, -0.5, 1]
    assert ours.offset == -3.5
    assert ours.row_lower.tolist() == [1.5, 1, 7, 0.5]
    assert ours.row_upper.tolist() == [4, 5, 10, 2]
    assert ours.col_lower.tolist() == [0, -1, 0, -np.inf]
    assert ours.col_upper.tolist() == [4, np.inf, 1, -2]
    assert_same(ours, read_by_highs([path])[0][0])


@pytest.mark.parametrize(
    ("line", "low", "high"),
    [
        ("BV BND x", 0, 1),
        ("BV x", 0, 1),
        ("FR BND x", -np.inf, np.inf),
        ("FX BND x 3", 3, 3),
        ("UP BND x -2", -np.inf, -2),
        ("LI BND x -2", -2, np.inf),
        ("UI BND x 5", 0, 5),
        ("UP x 5", 0, 5),
        ("PL BND x", 0, np.inf),
        ("MI BND x", -np.inf, np.inf),
    ],
)
def test_bounds(line, low, high, tmp_path):
    (tmp_path / "b.mps").write_text(f"NAME\nROWS\n N c\nCOLUMNS\n x c 1\nRHS\nBOUNDS\n {line}\nENDATA\n")
    milp, _ = read_mps(tmp_path / "b.mps")
    assert (milp.col_lower[0], milp.col_upper[0]) == (low, high)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("NAME\nROWS\n N c\nCOLUMNS\n x r9 1\nENDATA\n", "line 5: cannot read 'x r9 1'"),
        ("NAME\nROWS\n Q c\nENDATA\n", "unknown kind of row Q"),
        ("NAME\nQUADOBJ\nENDATA\n", "unknown section QUADOBJ"),
        ("NAME\nROWS\n N c\nCOLUMNS\n x c 1\nBOUNDS\n XX BND x 1\nENDATA\n", "unknown kind of bound XX"),
        ("NAME\nROWS\n N c\n", "without ENDATA"),
        ("NAME\nROWS\n N c\nCOLUMNS\n x c one\nENDATA\n", "line 5"),
        ("NAME\n extra\nENDATA\n", "line 2"),
        ("NAME\nROWS\n N c\nCOLUMNS\n x c\nENDATA\n", "pairs"),
    ],
)
def test_damaged_files_name_the_line(text, complaint, tmp_path):
    (tmp_path / "bad.mps").write_text(text)
    with pytest.raises(ModelFileError, match=complaint):
        read_mps(tmp_path / "bad.mps")


def test_a_file_that_is_no_gzip(tmp_path):
    (tmp_path / "bad.mps.gz").write_bytes(b"NAME")
    with pytest.raises(ModelFileError, match="no gzip file"):
        read_mps(tmp_path / "bad.mps.gz")
    (tmp_path / "cut.mps.gz").write_bytes(gzip.compress(FIXED.encode())[:-20])
    with pytest.raises(ModelFileError):
        read_mps(tmp_path / "cut.mps.gz")


def parse_opb(text):
    """A tiny OPB reader: rows (coefficients, sense, side) and the objective."""
    rows, costs, width = [], {}, int(text.split("#variable=")[1].split()[0])
    for line in text.splitlines():
        words = line.split()
        if line.startswith("*"):
            continue
        body = words[1:-1] if words[0] == "min:" else words[:-3]
        terms = {int(body[k + 1][1:]) - 1: int(body[k]) for k in range(0, len(body), 2)}
        if words[0] == "min:":
            costs = terms
        else:
            rows.append((terms, words[-3], int(words[-2])))
    return width, costs, rows


def milp_of_opb(text):
    width, costs, rows = parse_opb(text)
    builder = Builder()
    x = builder.columns("x", (width,), 0, 1)
    for j, cost in costs.items():
        builder.minimise(x[[j]], cost)
    for terms, sense, side in rows:
        columns, values = np.array(list(terms), dtype=np.int64), np.array(list(terms.values()), dtype=float)
        builder.rows([Terms(x[columns], values)], side, side if sense == "=" else np.inf)
    return builder.build()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_opb_has_the_same_optimum(model, tmp_path):
    oracle = Solver.create("brute_force")
    if model.needs - oracle.capabilities or model.name in ("infeasible_bounds", "infeasible_integer_bounds"):
        pytest.skip("not for OPB")
    write_opb(model.milp, tmp_path / "model.opb")
    text = (tmp_path / "model.opb").read_text()
    found = oracle.solve(milp_of_opb(text), Limits(seconds=60))
    assert found.status is model.status
    if model.objective is not None:
        line = next(line for line in text.splitlines() if line.startswith("* objective"))
        sign, constant = line.split("(value ")[1].split(")")[0].split()
        divisor = float(line.split("/ ")[1])
        total = (found.objective + float(sign + constant)) / divisor
        assert total == pytest.approx(model.objective, abs=float(TOLERANCE))


def test_opb_refuses_columns_without_value(tmp_path):
    with pytest.raises(InputError, match="column 0 has no integer"):
        write_opb(next(m.milp for m in MODELS if m.name == "infeasible_integer_bounds"), tmp_path / "model.opb")


def test_opb_refuses_continuous_columns(tmp_path):
    with pytest.raises(InputError, match="continuous"):
        write_opb(next(m.milp for m in MODELS if m.name == "mixed"), tmp_path / "model.opb")


def test_formats_refuse_models_without_columns(tmp_path):
    milp = next(m.milp for m in MODELS if m.name == "no_columns")
    with pytest.raises(InputError, match="without columns"):
        write_lp(milp, tmp_path / "model.lp")
    write_mps(milp, tmp_path / "model.mps")
    assert read_mps(tmp_path / "model.mps")[0].offset == 1.5


def test_names_that_clash_fall_back(tmp_path):
    builder = Builder()
    builder.columns("a b", (1,), 0, 1)
    builder.columns("a.b", (1,), 0, 1)
    assert column_names(builder.build()) == ["x0", "x1"]
    milp = replace(builder.build(), blocks={})
    assert column_names(milp) == ["x0", "x1"]


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name in ("one.mps.gz", "two.mps.gz"):
        write_mps(MODELS[0].milp, tmp_path / name)
    assert (tmp_path / "one.mps.gz").read_bytes() == (tmp_path / "two.mps.gz").read_bytes()
