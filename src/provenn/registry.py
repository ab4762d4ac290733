"""Finds the pieces of provenn by their file names, without importing them.

A package such as ``provenn.losses`` holds one public module per piece. The module
``max_correct`` provides the class ``MaxCorrect``; modules whose names start with an
underscore are support code. Other distributions add pieces through the entry point
group of the same name (``[project.entry-points."provenn.losses"]``).
"""

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any

from provenn.errors import InputError


def _external(package: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=package)}


def names(package: str) -> tuple[str, ...]:
    """List the names of all pieces of a package, sorted.

    Examples
    --------
    >>> "max_correct" in names("provenn.losses")
    True
    """
    spec = find_spec(package)
    paths = list(spec.submodule_search_locations or ()) if spec is not None else []
    own = {module.name for module in iter_modules(paths) if not module.name.startswith("_")}
    return tuple(sorted(own | set(_external(package))))


def load(package: str, name: str) -> Any:
    """Import the class that a piece provides.

    Raises
    ------
    InputError
        When the package has no piece of that name.

    Examples
    --------
    >>> load("provenn.losses", "max_correct").__name__
    'MaxCorrect'
    """
    kind = package.rsplit(".", 1)[-1]
    if name not in names(package):
        raise InputError(f"unknown name {name!r} in {kind}: choose one of {', '.join(names(package))}")
    external = _external(package)
    if name in external:
        return external[name].load()
    class_name = "".join(part.capitalize() for part in name.split("_"))
    return getattr(import_module(f"{package}.{name}"), class_name)
