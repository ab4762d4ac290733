"""`provenn bench`: run benchmark cases and report them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from provenn import _cli_output as out
from provenn.benchmark import discovery, plots, session, tables
from provenn.benchmark.methods import METHODS
from provenn.benchmark.session import Request, Session
from provenn.errors import InputError
from provenn.network.files import write_text_safely

Row = dict[str, Any]


def run_bench(
    case: str | None,
    *,
    cases: str | None,
    data: str | None,
    methods: Sequence[str],
    tasks: str,
    seconds: float | None,
    seeds: int | None,
    threads: int,
    output: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a case, or list all; see `provenn bench --help`."""
    folder = Path(cases) if cases is not None else discovery.default_folder()
    if case is None:
        _list(folder, as_json=as_json)
        return
    request = Request(
        folder, case, _folder(data), tuple(methods), tasks, seconds, seeds, threads, Path(output) if output else None
    )
    planned = session.plan(request)
    if not planned.planned:
        raise InputError(f"nothing to run: {'; '.join(planned.left_out)}")
    if request.out is not None:
        plots.need_matplotlib()
        _make(request.out)
    _announce(planned, quiet=quiet)
    rows, interrupted = session.carry_out_all(planned, request.out, lambda row: _tell(row, quiet=quiet))
    if rows:
        _report(request, planned, rows, as_json=as_json)
    if interrupted:
        raise KeyboardInterrupt


def _folder(data: str | None) -> Path | None:
    if data is not None and not Path(data).is_dir():
        raise InputError(
            f"the data folder {data} does not exist; give with --data the folder that has adult, heart, mnist"
        )
    return None if data is None else Path(data)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create the folder {folder}: {error}; choose another with --out") from error


def _list(folder: Path, *, as_json: bool) -> None:
    found = {name: discovery.summary(folder, name) for name in discovery.names(folder)}
    known = {name: method.what for name, method in METHODS.items()}
    if as_json:
        out.print_json({"folder": str(folder), "cases": found, "methods": known})
        return
    out.show(out.heading("Cases"), out.facts(found), out.heading("Methods"), out.facts(known))


def _announce(planned: Session, *, quiet: bool) -> None:
    console = out.error_console()
    for text in planned.left_out:
        console.print(Text(f"left out: {text}"))
    if not quiet:
        minutes = planned.seconds / 60
        console.print(Text(f"{len(planned.planned)} runs, at most about {minutes:.1f} minutes of training"))


def _tell(row: Row, *, quiet: bool) -> None:
    if quiet:
        return
    parts = [f"{row['task']}, seed {row['seed']}, {row['method']}: {row['status']}"]
    if row["status"] == "done":
        for name, digits in (("loss", ".6g"), ("bound", ".6g"), ("test_accuracy", ".1f"), ("seconds", ".1f")):
            if row[name] is not None:
                parts.append(f"{name.replace('_', ' ')} {row[name]:{digits}}")
    if row["note"]:
        parts.append(row["note"])
    out.error_console().print(Text("   ".join(parts)), soft_wrap=True)


def _report(request: Request, planned: Session, rows: list[Row], *, as_json: bool) -> None:
    complete = session.finished(rows)
    entries = session.summary(planned, complete)
    text = tables.table(entries, planned.reference)
    if request.out is not None:
        write_text_safely(request.out / "table.md", text)
        files = plots.write_plots(complete, entries, request.out)
        out.error_console().print(
            Text(f"written: {', '.join(str(path) for path in (request.out / 'table.md', *files))}")
        )
    if as_json:
        out.print_json(
            {
                "cases": sorted(planned.reference),
                "left_out": planned.left_out,
                "runs": complete,
                "summary": [tables.plain(entry) for entry in entries],
            }
        )
    else:
        sys.stdout.write(text)
