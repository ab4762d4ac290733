"""Finds the cases of a folder: every public Python file in it that has a ``CASE``."""

import importlib
import re
import sys
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import provenn
from provenn.benchmark.methods import METHODS
from provenn.benchmark.task import Case, Method, Task
from provenn.errors import InputError

HAS_CASE = re.compile(r"^CASE\b", re.MULTILINE)
"""Scripts beside the cases have none, and are not imported to find out."""


def default_folder() -> Path:
    """Return ./bench, or the folder `bench` of the source checkout that provenn runs from."""
    candidates = (Path("bench"), Path(provenn.__file__).resolve().parents[2] / "bench")
    for folder in candidates:
        if folder.is_dir() and names(folder):
            return folder
    raise InputError(
        f"no benchmark cases: neither {candidates[0]} nor {candidates[1]} has any; "
        "give their folder with --cases, it is the folder 'bench' of the source repository"
    )


def names(folder: Path) -> tuple[str, ...]:
    """List the cases of a folder, sorted."""
    if not folder.is_dir():
        raise InputError(f"the folder of cases {folder} does not exist; give one with --cases")
    files = (path for path in folder.glob("*.py") if not path.stem.startswith("_"))
    return tuple(sorted(path.stem for path in files if HAS_CASE.search(path.read_text(encoding="utf-8"))))


def load(folder: Path, name: str) -> Case:
    """Import a case; the folder is a package, so that cases can share private modules.

    Raises
    ------
    InputError
        When there is no such case, or its file has no ``CASE``.
    """
    case = getattr(_module(folder, name), "CASE", None)
    if not isinstance(case, Case):
        raise InputError(f"{folder / name}.py has no CASE = Case(...) and so is no benchmark case")
    return case


def summary(folder: Path, name: str) -> str:
    """Return the first line of a case's docstring."""
    return (_module(folder, name).__doc__ or "").strip().split("\n")[0]


def _module(folder: Path, name: str) -> ModuleType:
    known = names(folder)
    if name not in known:
        raise InputError(f"unknown case {name!r}: choose one of all, {', '.join(known)}")
    return importlib.import_module(f"{_package(folder.resolve())}.{name}")


def _package(folder: Path) -> str:
    """Make the folder importable as a package with a name of its own, and return that name."""
    name = f"provenn_cases_{sha256(str(folder).encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    return name


def tasks_of(case: Case, data: Path | None, containing: str = "") -> list[Task]:
    """Return the tasks whose names contain a text."""
    tasks = [task for task in case.tasks(data) if containing in task.name]
    if not tasks:
        raise InputError(f"no task has {containing!r} in its name: {', '.join(t.name for t in case.tasks(data))}")
    return tasks


def missing_files(case: Case, data: Path | None) -> list[str]:
    """Return the files that a case needs and the data folder lacks."""
    return [name for name in case.needs if data is None or not (data / name).exists()]


def method_of(case: Case, name: str) -> Method:
    """Return a method of the case or of the registry.

    Raises
    ------
    InputError
        When neither knows the name.
    """
    known = {**METHODS, **{method.name: method for method in case.own_methods}}
    if name not in known:
        raise InputError(f"unknown method {name!r}: choose among {', '.join(sorted(known))}")
    return known[name]
