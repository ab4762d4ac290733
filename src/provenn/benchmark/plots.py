"""Plots of a session: anytime curves, test accuracies with published numbers, and figures against sizes."""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from math import ceil, log10
from pathlib import Path
from typing import Any

from provenn.benchmark.statistics import Row, Spread
from provenn.errors import MissingDependencyError

Entry = dict[str, Any]
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#8a8a8a",
    "#882255",
    "#117733",
    "#999933",
    "#332288",
)
"""Palettes of Okabe and Ito, and of Tol, readable without colour vision; methods keep their colour in a session."""
PER_ROW = 3
FIRST_SECOND = 0.01
LEAST_RANGE = 10.0
SWEPT = {
    "gap": "gap, %",
    "seconds": "seconds to the proof, hollow: none",
    "speed": "nodes per second",
    "peak_mib": "peak memory, MiB",
}
WIDE = 8.0
"""Ratio of largest to smallest from which an axis is logarithmic."""
FEW_DECADES = 2.5
"""Decades below which a logarithmic axis has ticks at 1, 2 and 5."""


def need_matplotlib() -> Any:
    """Import matplotlib for files, without a display.

    Raises
    ------
    MissingDependencyError
        When it is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError("the plots of --out need matplotlib: pip install 'provenn[bench]'")
    module = importlib.import_module("matplotlib.figure")

    def figure(width: float, height: float) -> Any:
        return module.Figure(figsize=(width, height), dpi=120, layout="constrained")

    return figure


def write_plots(rows: Sequence[Row], entries: Sequence[Entry], folder: Path) -> list[Path]:
    """Write the plots of every case that has curves or accuracies; returns the files."""
    figure = need_matplotlib()
    methods = list(dict.fromkeys(entry["method"] for entry in entries))
    colours = {method: COLOURS[i % len(COLOURS)] for i, method in enumerate(methods)}
    files = []
    for case in dict.fromkeys(entry["case"] for entry in entries):
        swept = [row for row in rows if row["case"] == case and row.get("sweep") and row["status"] == "done"]
        factors = list(dict.fromkeys(row["sweep"]["factor"] for row in swept))
        for factor in factors:
            chosen = [row for row in swept if row["sweep"]["factor"] == factor]
            files.append(_sweep(figure, chosen, folder / f"{case}_{_slug(factor)}.png"))
        own_rows = [row for row in rows if row["case"] == case and row.get("curve") and not row.get("sweep")]
        own = [entry for entry in entries if entry["case"] == case]
        if own_rows:
            files.append(_anytime(figure, own_rows, colours, folder / f"{case}_anytime.png"))
        if any(entry["test_accuracy"] is not None for entry in own):
            files.append(_accuracy(figure, own, colours, folder / f"{case}_accuracy.png"))
    return files


def _grid(figure: Any, count: int) -> tuple[Any, list[Any]]:
    """Return a figure with `count` axes, up to `PER_ROW` in a row."""
    across = min(PER_ROW, count)
    down = ceil(count / across)
    made = figure(4.2 * across + 0.6, 3.0 * down + 0.5)
    axes = made.subplots(down, across, squeeze=False).ravel().tolist()
    for spare in axes[count:]:
        spare.remove()
    return made, axes[:count]


def _anytime(figure: Any, rows: Sequence[Row], colours: dict[str, str], path: Path) -> Path:
    """Draw objective (solid) and bound (dotted) against time, one thin line a seed."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    made, axes = _grid(figure, len(tasks))
    for ax, task in zip(axes, tasks, strict=True):
        own = [row for row in rows if row["task"] == task]
        for row in own:
            _curve(ax, row, colours[row["method"]])
        if own[0].get("published_loss") is not None:
            ax.axhline(own[0]["published_loss"], color="#666666", linewidth=1, linestyle="--")
        _axes(ax, own)
        ax.set_title(task, fontsize=9)
    used = [method for method in colours if any(row["method"] == method for row in rows)]
    made.supxlabel("seconds", fontsize=9)
    made.supylabel("objective", fontsize=9)
    _legend(made, used, colours)
    made.savefig(path)
    return path


def _curve(ax: Any, row: Row, colour: str) -> None:
    for index, style in ((1, "-"), (2, ":")):
        points = [(max(p[0], FIRST_SECOND), p[index]) for p in row["curve"] if p[index] is not None]
        if points:
            end = max(row.get("seconds") or 0.0, points[-1][0])
            times, values = zip(*points, (end, points[-1][1]), strict=True)
            ax.step(times, values, where="post", color=colour, linestyle=style, linewidth=1.2, alpha=0.8)
            ax.plot(end, values[-1], marker="o" if index == 1 else ".", color=colour, markersize=4, alpha=0.8)


def _axes(ax: Any, rows: Sequence[Row]) -> None:
    """Give time a log axis."""
    ax.set_xscale("log")
    ax.set_xlim(FIRST_SECOND, max(row["limit"] for row in rows) * 1.1)
    ax.tick_params(labelsize=8)
    ax.grid(alpha=0.25, linewidth=0.5)
    ax.spines[["top", "right"]].set_visible(False)


def _accuracy(figure: Any, entries: Sequence[Entry], colours: dict[str, str], path: Path) -> Path:
    """Draw mean test accuracy with its deviation, one point a method, and published numbers as lines."""
    own = [entry for entry in entries if entry["test_accuracy"] is not None]
    tasks = list(dict.fromkeys(entry["task"] for entry in own))
    made, axes = _grid(figure, len(tasks))
    for ax, task in zip(axes, tasks, strict=True):
        bars = [entry for entry in own if entry["task"] == task]
        _bars(ax, bars, colours)
        for number, (name, value) in enumerate(bars[0]["published"].items()):
            ax.axhline(value, color="#444444", linewidth=1, linestyle=("--", ":", "-.")[number % 3])
            at = ax.get_yaxis_transform()
            ax.text(1.01, value, name, transform=at, fontsize=7, va="center", ha="left", color="#444444")
        _widen(ax)
        ax.set_title(task, fontsize=9)
    made.supylabel("test accuracy, % (mean and sd over seeds)", fontsize=9)
    made.savefig(path)
    return path


def _widen(ax: Any) -> None:
    """Show at least `LEAST_RANGE` percent, so that small differences look small."""
    low, high = ax.get_ylim()
    spare = max(0.0, LEAST_RANGE - (high - low)) / 2
    ax.set_ylim(low - spare, high + spare)


def _bars(ax: Any, entries: Sequence[Entry], colours: dict[str, str]) -> None:
    """Draw points with error bars on an axis that need not begin at 0, which bars would."""
    values: list[Spread] = [entry["test_accuracy"] for entry in entries]
    for i, (entry, value) in enumerate(zip(entries, values, strict=True)):
        colour = colours[entry["method"]]
        ax.errorbar(
            i, value.mean, yerr=value.sd if value.n > 1 else None, fmt="o", color=colour, capsize=3, markersize=5
        )
        ax.annotate(f"{value.mean:.1f}", (i, value.mean), (6, 0), textcoords="offset points", fontsize=7, va="center")
    ax.set_xticks(range(len(entries)), [entry["method"] for entry in entries], rotation=30, ha="right", fontsize=8)
    ax.set_xlim(-0.6, len(entries) - 0.4)
    ax.tick_params(axis="y", labelsize=8)
    ax.grid(axis="y", alpha=0.25, linewidth=0.5)
    ax.spines[["top", "right"]].set_visible(False)


def _slug(factor: str) -> str:
    """Return the factor without its unit, as part of a file name."""
    return factor.partition(",")[0].strip().replace(" ", "_")


def _sweep(figure: Any, rows: Sequence[Row], path: Path) -> Path:
    """Draw gap, seconds, nodes per second and memory against a size, one line a series; hollow points lack a proof."""
    names = [_series(row, rows) for row in rows]
    lines = {name: [row for row, own in zip(rows, names, strict=True) if own == name] for name in dict.fromkeys(names)}
    made = figure(9.5, 7.0)
    axes = made.subplots(2, 2).ravel().tolist()
    for ax, (figure_name, label) in zip(axes, SWEPT.items(), strict=True):
        for i, own in enumerate(lines.values()):
            _line(ax, sorted(own, key=lambda row: row["sweep"]["size"]), figure_name, COLOURS[i % len(COLOURS)])
        _sized(ax, figure_name)
        ax.set_ylabel(label, fontsize=9)
    made.supxlabel(rows[0]["sweep"]["factor"], fontsize=9)
    line = importlib.import_module("matplotlib.lines").Line2D
    handles = [line([], [], color=COLOURS[i % len(COLOURS)], label=name) for i, name in enumerate(lines)]
    made.legend(handles=handles, loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    made.savefig(path)
    return path


def _series(row: Row, rows: Sequence[Row]) -> str:
    """Return the label of a line; it names the method where there are several."""
    several = len({row["method"] for row in rows}) > 1
    return f"{row['sweep']['series']}, {row['method']}" if several else str(row["sweep"]["series"])


def _line(ax: Any, rows: Sequence[Row], name: str, colour: str) -> None:
    """Draw one series; every seed is a point."""
    points = [(row["sweep"]["size"], value, row["optimal"]) for row in rows if (value := _swept(row, name)) is not None]
    if not points:
        return
    ax.plot([x for x, _, _ in points], [y for _, y, _ in points], color=colour, linewidth=1.2, alpha=0.8)
    for filled in (True, False):
        own = [(x, y) for x, y, optimal in points if optimal is filled]
        face = colour if filled else "white"
        ax.plot([x for x, _ in own], [y for _, y in own], "o", color=colour, markerfacecolor=face, markersize=4.5)


def _swept(row: Row, name: str) -> float | None:
    """Return one of the figures of `SWEPT`."""
    if name == "speed":
        return row["nodes"] / row["seconds"] if row["nodes"] and row["seconds"] else None
    value: float | None = row[name]
    return 100 * value if name == "gap" and value is not None else value


def _sized(ax: Any, name: str) -> None:
    """Choose logarithmic axes where values differ a lot; a gap is linear, for it can be 0."""
    _axis(ax.xaxis, ax.set_xscale, [value for line in ax.lines for value in line.get_xdata()])
    if name != "gap":
        _axis(ax.yaxis, ax.set_yscale, [value for line in ax.lines for value in line.get_ydata()])
    if ax.get_yscale() == "linear":
        ax.set_ylim(bottom=0, top=1.05 * ax.get_ylim()[1])
    ax.tick_params(which="both", labelsize=8)
    ax.grid(alpha=0.25, linewidth=0.5)
    ax.spines[["top", "right"]].set_visible(False)


def _axis(axis: Any, set_scale: Callable[[str], None], values: Sequence[float]) -> None:
    """Make an axis logarithmic, with plain numbers, where positive values differ by a factor of at least `WIDE`."""
    if not values or min(values) <= 0 or max(values) < WIDE * min(values):
        return
    ticker = importlib.import_module("matplotlib.ticker")
    set_scale("log")
    decades = log10(max(values) / min(values))
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if decades < FEW_DECADES else (1,)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def _legend(made: Any, methods: Sequence[str], colours: dict[str, str]) -> None:
    line = importlib.import_module("matplotlib.lines").Line2D
    handles = [line([], [], color=colours[method], label=method) for method in methods]
    handles.append(line([], [], color="#666666", linestyle=":", label="bounds"))
    handles.append(line([], [], color="#666666", linestyle="--", label="published objective"))
    made.legend(handles=handles, loc="outside upper center", ncols=min(5, len(handles)), fontsize=8, frameon=False)
