"""What all commands write: the machine, raw rows as CSV, a summary table, a plot."""

from __future__ import annotations

import argparse
import csv
import importlib.metadata
import importlib.util
import math
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from napari_unet import __version__
from napari_unet.learning.runtime import available_cores

Row = dict[str, str | int | float]
"""One measurement: column -> value."""


def machine(threads: int | None = None) -> str:
    """Say in one line what this was measured on."""
    return (
        f"{_processor()}, {available_cores()} cores, {threads or 'all'} threads, "
        f"load {_load():.1f}; Python {platform.python_version()}, "
        f"torch {importlib.metadata.version('torch')}, napari-unet-mri {__version__}"
    )


def _load() -> float:
    """How many processes wanted to run, on average over the last minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


class Report:
    """Collects the rows of one command, prints them and writes them out.

    Parameters
    ----------
    command : str
        Module of the command in `benchmarks`, ``learning.few_slices``; its files are called
        after the last part.
    options : argparse.Namespace
        Its options: `out` (folder or None) and `threads`.
    """

    def __init__(self, command: str, options: argparse.Namespace) -> None:
        self.rows: list[Row] = []
        self._name = command.rpartition(".")[2]
        self._out: Path | None = options.out
        self._begun: set[str] = set()
        self._lines = [f"# {self._name}", "", machine(options.threads), ""]
        self._lines += [f"`python -m benchmarks.{command} {' '.join(options.argv)}`".strip(), ""]
        print(*self._lines, sep="\n")
        if self._out:
            self._out.mkdir(parents=True, exist_ok=True)

    def add(self, **row: str | int | float) -> None:
        """Note one measurement; it is on disk before the next one starts."""
        row["load"] = round(_load(), 2)
        if not self.rows:
            print(" ".join(f"{key:>{_width(key, row)}}" for key in row))
        self.rows.append(row)
        print(
            " ".join(f"{_shown(value):>{_width(key, row)}}" for key, value in row.items()),
            flush=True,
        )
        self._write(self._name, [row])

    def details(self, name: str, rows: Sequence[Row]) -> None:
        """Note rows of a finer kind (same columns each time) in a file of their own, unprinted."""
        self._write(f"{self._name}-{name}", rows)

    def _write(self, name: str, rows: Sequence[Row]) -> None:
        """Append rows to a CSV file, which begins anew with each run."""
        if not self._out or not rows:
            return
        with (self._out / f"{name}.csv").open("a" if name in self._begun else "w", newline="") as f:
            writer = csv.DictWriter(f, list(rows[0]))
            if name not in self._begun:
                writer.writeheader()
            writer.writerows(rows)
        self._begun.add(name)

    def table(self, title: str, text: str) -> None:
        """Show a table, and keep it for the summary file."""
        lines = [f"## {title}", "", text, ""]
        print("", *lines, sep="\n")
        self._lines += lines
        if self._out:
            path = self._out / f"{self._name}.md"
            path.write_text("\n".join(self._lines), encoding="utf-8")

    def plot(
        self,
        draw: Callable[[object], None],
        suffix: str = "",
        size: tuple[float, float] = (9, 4),
    ) -> None:
        """Draw a figure with matplotlib, where that is installed and `--out` is given.

        Parameters
        ----------
        draw : callable
            Draws into the figure that it gets.
        suffix : str
            Added to the name of the file.
        size : tuple of float
            Width and height, in inches.
        """
        if not self._out:
            return
        if importlib.util.find_spec("matplotlib") is None:
            print("no plot: pip install 'napari-unet-mri[benchmark]'")
            return
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(self._out / f"{self._name}{suffix}.png", dpi=120)


def summarise(
    rows: Sequence[Row], by: Sequence[str], values: Sequence[str], digits: int = 3
) -> str:
    """Make a markdown table: median, and range, of `values` for each combination of `by`."""
    groups: dict[tuple[str | int | float, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in by), []).append(row)
    lines = ["| " + " | ".join([*by, "n", *values]) + " |", "|---" * (len(by) + 1 + len(values))]
    lines[1] += "|"
    for key, members in groups.items():
        cells = [median_and_range([m[v] for m in members], digits) for v in values]
        lines.append("| " + " | ".join([*map(_shown, key), str(len(members)), *cells]) + " |")
    return "\n".join(lines)


def median_and_range(values: Sequence[str | int | float], digits: int = 3) -> str:
    """``median (lowest to highest)`` of those that are numbers; a dash if none is."""
    known = [float(v) for v in values if not math.isnan(float(v))]
    if not known:
        return "–"
    if all(isinstance(v, int) for v in values):
        digits = 0
    middle = f"{statistics.median(known):.{digits}f}"
    if len(known) > 1:
        middle += f" ({min(known):.{digits}f} to {max(known):.{digits}f})"
    if len(known) < len(values):
        middle += f" [{len(values) - len(known)} never]"
    return middle


def lines_plot(
    rows: Sequence[Row],
    *,
    panel: str,
    line: str,
    x: str,
    ys: Sequence[str],
    words: Mapping[str, str] | None = None,
) -> Callable[[object], None]:
    """Medians (and ranges) of `ys` over `x`: a panel for each value of `panel`.

    Parameters
    ----------
    rows : sequence of dict
        Measurements.
    panel, line, x : str
        Columns: what the panels, the lines and the axis stand for.
    ys : sequence of str
        Columns to draw; the first solid, the second dashed.
    words : mapping of str to str, optional
        What to call columns and values in the figure.
    """

    def word(name: object) -> str:
        return (words or {}).get(str(name), str(name))

    def draw(figure: object) -> None:
        panels = list(dict.fromkeys(row[panel] for row in rows))
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]  # type: ignore[attr-defined]
        names = list(dict.fromkeys(row[line] for row in rows))
        for axis, title in zip(axes, panels, strict=True):
            for number, name in enumerate(names):
                chosen = [row for row in rows if row[panel] == title and row[line] == name]
                for y, style in zip(ys, ("-", "--"), strict=False):
                    points = _by_x(chosen, x, y)
                    at = [point[0] for point in points]
                    color = f"C{number}"
                    label = word(name) if style == "-" else None
                    axis.plot(at, [p[2] for p in points], f"o{style}", color=color, label=label)
                    if style == "-":
                        low, high = [p[1] for p in points], [p[3] for p in points]
                        axis.fill_between(at, low, high, color=color, alpha=0.15)
            axis.set(title=word(title), xlabel=word(x))
            axis.grid(alpha=0.3)
        axes[0].set_ylabel(" / ".join(map(word, ys)))
        axes[0].legend()

    return draw


def _by_x(rows: Sequence[Row], x: str, y: str) -> list[tuple[float, float, float, float]]:
    """Points (x, lowest, median, highest), ascending."""
    groups: dict[float, list[float]] = {}
    for row in rows:
        if not math.isnan(float(row[y])):
            groups.setdefault(float(row[x]), []).append(float(row[y]))
    return [(at, min(v), statistics.median(v), max(v)) for at, v in sorted(groups.items())]


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line, and remember it for the report."""
    given = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(given)
    options.argv = given
    return options


def _shown(value: str | int | float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _width(key: str, row: Row) -> int:
    return max(len(key), 13 if isinstance(row[key], str) else 5)
