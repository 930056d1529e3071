"""The output: Markdown tables, printed as soon as they are done, and a plot of the growth curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from benchmarks.pairs import Pairs

TIMING_COLUMNS = ("", "ms a call", "x F")


@dataclass(frozen=True)
class Table:
    """A table: heading, column names, rows, and a note below."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""

    def markdown(self) -> str:
        lines = [f"### {self.title}", "", _row(self.columns), _row("---" for _ in self.columns)]
        lines += [_row(row) for row in self.rows]
        return "\n".join(lines + (["", self.note] if self.note else []))


@dataclass(frozen=True)
class Curves:
    """Growth curves: seconds over a number for each contestant, {label: {number: seconds}}."""

    title: str
    axis: str
    seconds: Mapping[str, Mapping[int, float]]


class Report:
    """The output of results: the terminal, and a file if one is named."""

    def __init__(self, terminal: TextIO, path: Path | None = None):
        self._terminal = terminal
        self._path = path
        if path is not None:
            path.write_text("", encoding="utf-8")

    def add(self, part: Table | str) -> None:
        """Print and write a part at once, so that an interrupted run keeps it."""
        text = part if isinstance(part, str) else part.markdown()
        print(f"{text}\n", file=self._terminal, flush=True)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{text}\n\n")


def timing_table(title: str, pairs: Pairs, note: str = "") -> Table:
    """Return a table of milliseconds and ratios of every contestant, with the errors of those that failed."""
    rows: list[Sequence[object]] = [
        (name, timing.seconds.scaled(1000), timing.ratio) for name, timing in pairs.timings.items()
    ]
    rows += [(name, "fails", error) for name, error in pairs.failures.items()]
    times = f"Medians (quartiles) of {pairs.rounds} rounds. {note}".strip()
    return Table(title, TIMING_COLUMNS, rows, times)


def plot(curves: Sequence[Curves], path: Path) -> None:
    """Plot the curves on logarithmic axes: proportional growth is a straight line. F is dashed."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    figure = Figure(figsize=(5.5 * len(curves), 4.2), layout="constrained")
    for axes, one in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
        for label, points in one.seconds.items():
            milliseconds = [1000 * value for value in points.values()]
            style = {"color": "black", "linestyle": "--"} if label == "F" else {}
            axes.plot(list(points), milliseconds, marker="o", markersize=3, label=label, **style)
        numbers = sorted({number for points in one.seconds.values() for number in points})
        axes.set(title=one.title, xlabel=one.axis, ylabel="milliseconds", xscale="log", yscale="log")
        axes.set_xticks(numbers, [str(number) for number in numbers])
        axes.xaxis.set_minor_locator(NullLocator())
        lowest, highest = axes.get_ylim()
        middle = (lowest * highest) ** 0.5
        axes.set_ylim(min(lowest, middle / 4), max(highest, middle * 4))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"
