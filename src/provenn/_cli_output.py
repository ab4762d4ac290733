"""What the command line prints: JSON, certificates, score cards, the progress line."""

import json
import math
import sys
import threading
import time
from collections.abc import Mapping
from fractions import Fraction
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from provenn.formulations import Problem
from provenn.network import Certificate, IntegerNetwork
from provenn.trainers import Progress

PLAIN_SECONDS = 2.0
"""Time between progress lines where standard error is no terminal."""


def output_console() -> Console:
    """Return a console for standard output."""
    return Console(highlight=False, soft_wrap=False)


def error_console() -> Console:
    """Return a console for standard error."""
    return Console(stderr=True, highlight=False)


def show(*parts: RenderableType) -> None:
    """Print on standard output, without blanks at the ends of lines."""
    console = output_console()
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))


def print_json(data: Mapping[str, Any]) -> None:
    """Print one strict JSON object: numbers that are not finite become null."""
    sys.stdout.write(json.dumps(strict(data), allow_nan=False) + "\n")


def strict(value: Any) -> Any:
    """Return JSON data with None for infinite and undefined numbers.

    Examples
    --------
    >>> strict({"gap": float("inf"), "loss": [1.5, float("nan")]})
    {'gap': None, 'loss': [1.5, None]}
    """
    if isinstance(value, Mapping):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(value: float | None) -> str:
    """Return a loss or bound for people."""
    return "none" if value is None else f"{value:.9g}"


def percent(gap: float) -> str:
    """Return a gap for people; one that is not zero never reads as zero.

    Examples
    --------
    >>> percent(0), percent(0.12345), percent(1e-9), percent(float("inf"))
    ('0 %', '12.3 %', '< 0.01 %', 'unknown')
    """
    if not math.isfinite(gap):
        return "unknown"
    if 0 < gap < 1e-4:
        return "< 0.01 %"
    return f"{100 * gap:.3g} %"


def facts(rows: Mapping[str, str | Text]) -> RenderableType:
    """Return names and values in two columns, indented."""
    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows.items():
        grid.add_row(name, value if isinstance(value, Text) else Text(value))
    return Padding(grid, (0, 0, 0, 2))


def heading(text: str) -> RenderableType:
    """Return a heading with an empty line above."""
    return Group("", Text(text, style="bold"))


def verdict(certificate: Certificate) -> Text:
    """Say in a few words what is proven."""
    if certificate.optimal:
        return Text("proven optimal", style="bold green")
    if not (certificate.feasible and certificate.agrees):
        return Text("not confirmed: the exact check disagrees with the solver", style="bold red")
    return Text("best network found, not proven optimal", style="bold yellow")


def certificate_rows(certificate: Certificate) -> dict[str, str | Text]:
    """Return the certificate for `facts`."""
    bound = Text(number(certificate.bound_value))
    if certificate.proved_by:
        bound.append(f"   proved by {certificate.proved_by}", style="dim")
    return {
        "certificate": verdict(certificate),
        "loss": f"{number(certificate.loss_value)}   exact, in steps of {certificate.unit}",
        "bound": bound,
        "gap": percent(certificate.gap),
    }


def network_row(network: IntegerNetwork) -> str:
    """Describe a network in one line."""
    shape = network.architecture
    sizes = " - ".join(map(str, (shape.n_features, *shape.hidden, shape.n_outputs)))
    return f"{sizes} units, {network.nonzeros} non-zero parameters, {network.size_bits} bits"


def score_card(card: Mapping[str, Any]) -> RenderableType:
    """Return a score card (see `ScoreCard.to_dict`) as two tables."""
    parts: list[RenderableType] = [heading(f"Score card: {card['target']!r} is predicted from 0 points up")]
    parts.append(Padding(_points(card), (0, 0, 0, 2)))
    if card["risk"]:
        parts += ["", Padding(_risk(card), (0, 0, 0, 2))]
    return Group(*parts)


def _points(card: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    table.add_column("feature", overflow="fold")
    table.add_column("points", justify="right")
    table.add_column("counted")
    for point in card["points"]:
        span = f"in proportion, {point['low']:.6g} gives 0 and {point['high']:.6g} gives {point['points']:+.6g}"
        counted = span if point["kind"] == "grid" else "when true"
        table.add_row(Text(point["feature"]), f"{point['points']:+.6g}", Text(counted, style="dim"))
    table.add_row("intercept", f"{card['intercept']:+.6g}", Text("always", style="dim"))
    return table


def _risk(card: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    for name in ("points", "risk", "observed", "samples"):
        table.add_column(name, justify="right")
    for row in card["risk"]:
        seen = "" if row["observed"] is None else f"{row['observed']:.1%}"
        table.add_row(
            f"{_signed(row['from'])} to {_signed(row['to'])}", f"{row['risk']:.1%}", seen, str(row["samples"])
        )
    return table


def _signed(points: float) -> str:
    return f"{points:+.0f}" if points else "0"


class ProgressLine:
    """A live line on a terminal, a plain line now and then elsewhere.

    Parameters
    ----------
    console : Console
        Of standard error.
    limit : float
        Time limit in seconds.
    quiet : bool
        Show nothing.
    """

    def __init__(self, console: Console, limit: float, quiet: bool = False) -> None:
        """Start the clock."""
        self._console, self._limit, self._quiet = console, limit, quiet
        self._began = time.monotonic()
        self._unit = Fraction(1)
        self._last: Progress | None = None
        self._shown: Progress | None = None
        self._ended = threading.Event()
        self._printer = threading.Thread(target=self._print_often, daemon=True)
        live = console.is_terminal and not quiet
        self._live = Live(self, console=console, refresh_per_second=5, transient=True) if live else None

    def __enter__(self) -> Self:
        """Start the live line or the thread that prints plain lines."""
        if self._live is not None:
            self._live.start()
        elif not self._quiet:
            self._printer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the live line, or end the thread."""
        if self._live is not None:
            self._live.stop()
        elif not self._quiet:
            self._ended.set()
            self._printer.join()

    def _print_often(self) -> None:
        """Print a plain line now and then, when something is new."""
        while not self._ended.wait(PLAIN_SECONDS):
            if self._last is not self._shown:
                self._shown = self._last
                self._console.print(self.__rich__(), soft_wrap=True)

    def begin(self, problem: Problem, name: str) -> None:
        """Take the unit of losses and say what is trained."""
        self._unit = problem.unit
        data = problem.dataset
        merged = f" ({data.n_samples} distinct)" if data.n_samples < data.total else ""
        text = f"{name}: {data.total} samples{merged}, {data.n_features} inputs, {data.n_classes} classes"
        if data.conflicts:
            text += f"; equal samples of different classes force {data.conflicts} error{'s' * (data.conflicts > 1)}"
        if not self._quiet:
            self._console.print(Text(text))

    def update(self, progress: Progress) -> None:
        """Take an improvement."""
        self._last = progress

    def __rich__(self) -> Text:
        """Return the line."""
        seconds = time.monotonic() - self._began
        clock = f"{seconds:.0f} s" + (f" of {self._limit:g} s" if math.isfinite(self._limit) else "")
        if self._last is None:
            return Text(f"preparing   {clock}")
        loss, bound = self._last.loss, self._last.bound
        gap = math.inf if loss is None or bound is None else max(0, loss - bound) / max(abs(loss), 1)
        values = [number(None if v is None else float(v * self._unit)) for v in (loss, bound)]
        return Text(f"loss {values[0]}   bound {values[1]}   gap {percent(gap)}   {clock}")
