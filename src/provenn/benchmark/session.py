"""A benchmark session: plans runs, carries them out one at a time, keeps every row as it comes."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from provenn.benchmark import discovery, statistics
from provenn.benchmark.runs import Run, carry_out
from provenn.benchmark.task import Task
from provenn.errors import InputError
from provenn.milp import Limits

Row = dict[str, Any]
ALL = "all"


@dataclass(frozen=True)
class Request:
    """What to run.

    Parameters
    ----------
    folder : Path
        Of the cases.
    case : str
        One case, or "all".
    data : Path, optional
        Folder of the data.
    methods : tuple of str
        Instead of those of the case.
    tasks : str
        Run the tasks whose names contain this.
    seconds, seeds : optional
        Instead of those of the case.
    threads : int
    out : Path, optional
        Folder of ``runs.jsonl``, ``table.md`` and plots.
    """

    folder: Path
    case: str
    data: Path | None = None
    methods: tuple[str, ...] = ()
    tasks: str = ""
    seconds: float | None = None
    seeds: int | None = None
    threads: int = 1
    out: Path | None = None


@dataclass
class Session:
    """The planned runs with what their tasks publish, and notes on cases that were left out."""

    planned: list[tuple[Run, Task]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    reference: dict[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Sum of all time limits."""
        return sum(run.seconds for run, _ in self.planned)


def plan(request: Request) -> Session:
    """Plan all runs before the first.

    Raises
    ------
    InputError
        For unknown names, and for missing data of a case that was asked for by name.
    """
    session = Session()
    every = request.case == ALL
    for name in discovery.names(request.folder) if every else (request.case,):
        case = discovery.load(request.folder, name)
        missing = discovery.missing_files(case, request.data)
        if missing:
            where = "no data folder was given" if request.data is None else f"{request.data} lacks them"
            text = f"the case {name} needs the files {', '.join(missing)} in the folder of --data; {where}"
            if not every:
                raise InputError(text)
            session.left_out.append(text)
            continue
        session.reference[name] = case.reference
        seconds, seeds = case.short if every else (case.seconds, case.seeds)
        session.planned += _runs(request, name, seconds, seeds)
    return session


def _runs(request: Request, name: str, seconds: float, seeds: int) -> Iterator[tuple[Run, Task]]:
    case = discovery.load(request.folder, name)
    methods = request.methods or case.methods
    for method in methods:
        discovery.method_of(case, method)
    data = None if request.data is None else str(request.data.resolve())
    limit = Limits(request.seconds if request.seconds is not None else seconds, threads=request.threads).seconds
    for task in discovery.tasks_of(case, request.data, request.tasks):
        for seed in range(request.seeds if request.seeds is not None else seeds):
            for method in methods:
                folder = str(request.folder.resolve())
                yield Run(folder, name, task.name, method, seed, data, limit, request.threads), task


def carry_out_all(session: Session, out: Path | None, on_row: Callable[[Row], None]) -> tuple[list[Row], bool]:
    """Carry out the planned runs, one at a time.

    Parameters
    ----------
    session : Session
    out : Path, optional
        Folder in which every row is appended to ``runs.jsonl`` at once.
    on_row : callable
        Called with every row.

    Returns
    -------
    rows : list of dict
    interrupted : bool
        Ctrl-C ended the session; the rows so far are kept.
    """
    rows: list[Row] = []
    try:
        for run, task in session.planned:
            row = {**carry_out(run), **_published(task)}
            if out is not None:
                with (out / "runs.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
            rows.append(row)
            on_row(row)
    except KeyboardInterrupt:
        return rows, True
    return rows, False


def _published(task: Task) -> Row:
    sweep = None if task.sweep is None else asdict(task.sweep)
    return {
        "published": dict(task.published),
        "published_loss": task.target,
        "optimum": task.optimum,
        "sweep": sweep,
    }


def summary(session: Session, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the statistics of finished rows, see `provenn.benchmark.statistics.summarise`."""
    return statistics.summarise(rows, session.reference)


finished = statistics.finished
