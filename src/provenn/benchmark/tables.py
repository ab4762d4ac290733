"""Results as Markdown tables."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from provenn.benchmark.statistics import Paired, Slower, Spread

Entry = dict[str, Any]
PLACES = {
    "seconds": 2,
    "seconds_to_target": 2,
    "primal_integral": 2,
    "peak_mib": 0,
    "size_bits": 0,
    "nonzeros": 1,
    "nodes": 0,
}
HEADINGS = {
    "train_accuracy": "train %",
    "validation_accuracy": "valid %",
    "test_accuracy": "test %",
    "loss": "loss",
    "bound": "bound",
    "gap": "gap %",
    "gap_closed": "gap closed %",
    "seconds": "seconds",
    "seconds_to_target": "to target",
    "primal_integral": "primal int.",
    "peak_mib": "MiB",
    "nodes": "nodes",
    "nonzeros": "non-zeros",
    "size_bits": "bits",
}


def spread(value: Spread | None, places: int = 1, factor: float = 1.0) -> str:
    """Return mean and deviation, e.g. ``80.8 ± 1.7``.

    Examples
    --------
    >>> spread(Spread(80.84, 1.66, 5)), spread(Spread(3.0, 0.0, 1)), spread(None)
    ('80.8 ± 1.7', '3.0', '')
    """
    if value is None:
        return ""
    mean = f"{factor * value.mean:.{places}f}"
    return mean if value.n < 2 else f"{mean} ± {factor * value.sd:.{places}f}"


def _loss(value: Spread | None) -> str:
    """Choose digits by size: losses of six digits need no decimals."""
    if value is None:
        return ""
    size = abs(value.mean)
    return spread(value, 0 if size >= 10_000 else 1 if size >= 1000 else 2 if size >= 10 else 4)


def _cell(entry: Entry, name: str) -> str:
    if name in ("loss", "bound"):
        return _loss(entry[name])
    if name in ("gap", "gap_closed"):
        return spread(entry[name], 2 if name == "gap" else 1, 100)
    return spread(entry[name], PLACES.get(name, 1))


def _figure(name: str) -> Callable[[Entry], str]:
    return lambda entry: _cell(entry, name)


def _count(name: str) -> Callable[[Entry], str]:
    return lambda entry: f"{entry[name]}/{entry['runs']}" if entry[name] else ""


def _ahead(entry: Entry) -> str:
    """Return the reference minus this method, on the same splits."""
    paired: Paired | None = entry["ahead"]
    if paired is None:
        return ""
    d = paired.difference
    return f"{d.mean:+.1f}" + (f" ± {d.sd:.1f}" if d.n > 1 else "") + f" ({paired.better}:{paired.worse})"


def _slower(entry: Entry) -> str:
    """Return the multiple of the reference's time."""
    slower: Slower | None = entry["slower"]
    return "" if slower is None else f"{slower.limit}{slower.ratio:.3g}"


def _published(entry: Entry) -> str:
    parts = [f"{name} {value:g} %" for name, value in entry["published"].items()]
    if entry["published_loss"] is not None:
        parts.append(f"loss {entry['published_loss']:g}")
    return ", ".join(parts)


def _state(entry: Entry) -> str:
    wrong = [f"{entry['wrong']} WRONG"] if entry["wrong"] else []
    return "; ".join([*wrong, *entry["notes"]])


def plain(entry: Entry) -> Entry:
    """Return an entry as JSON data."""
    return {
        key: asdict(value) if isinstance(value, Spread | Paired | Slower) else value for key, value in entry.items()
    }


def table(entries: Sequence[Entry], references: dict[str, str]) -> str:
    """Return one Markdown table a case; columns without any entry are left out."""
    return "\n".join(
        _case(name, [entry for entry in entries if entry["case"] == name], references[name])
        for name in dict.fromkeys(entry["case"] for entry in entries)
    )


def _case(name: str, entries: Sequence[Entry], reference: str) -> str:
    columns: dict[str, Callable[[Entry], str]] = {
        "task": lambda entry: entry["task"],
        "method": lambda entry: entry["method"],
        "runs": lambda entry: f"{entry['done']}/{entry['runs']}",
        **{HEADINGS[key]: _figure(key) for key in HEADINGS},
        "proven": _count("proven"),
        f"time / {reference}": _slower,
        "on target": _count("reached"),
        f"{reference} ahead (won:lost)": _ahead,
        "published": _published,
        "note": _state,
    }
    rows = [[column(entry).replace("|", "/") for column in columns.values()] for entry in entries]
    used = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    return f"## {name}\n\n" + markdown([list(columns)[i] for i in used], [[row[i] for i in used] for row in rows])


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns.

    Examples
    --------
    >>> print(markdown(["a", "bb"], [["1", "2"]]), end="")
    | a | bb |
    |---|----|
    | 1 | 2  |
    """
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text) + "\n"
