"""The command line of the benchmarks.

    python -m benchmarks [--models VGG16,...] [--batches 1,8,32] [--rounds 15] [--only ratios,growth]
                               [--plot FILE] [--out FILE.md]

Prints the machine, then each table as soon as it is done. All of it takes about a quarter of an hour on two quiet
cores, without the peers; those are measured if `pip install ".[bench]"` has installed them.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks import auditing, firstuse, folder, growth, machine, memory, peers, probing, ratios, styles
from benchmarks.models import MEASURED, NETWORKS
from benchmarks.pairs import one_line
from benchmarks.report import Curves, Report, Table, plot
from benchmarks.settings import Settings

SECTIONS: dict[str, Callable[[Settings], Iterable[Table | Curves | str]]] = {
    "ratios": ratios.run,
    "peers": peers.run,
    "memory": memory.run,
    "growth": growth.run,
    "probing": probing.run,
    "first": firstuse.run,
    "folder": folder.run,
    "auditing": auditing.run,
    "styles": styles.run,
    "gpu": ratios.run_on_gpu,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections; return 1 if one failed (the others are done), else 0."""
    options = _parser().parse_args(arguments)
    settings = Settings(options.models, options.batches, options.rounds, options.seconds, options.files)
    report = Report(sys.stdout, options.out)
    report.add(machine.describe())
    curves, status, begun = [], 0, time.perf_counter()
    for name in options.only:
        try:
            for part in SECTIONS[name](settings):
                if isinstance(part, Curves):
                    curves.append(part)
                else:
                    report.add(part)
        except Exception as error:  # one section less, not all of them
            report.add(f"{name} failed: {one_line(error)}")
            status = 1
    if options.plot and curves:
        plot(curves, options.plot)
    elif options.plot:
        report.add("No plot: it shows the growth curves, which were not measured. Add growth to --only.")
    report.add(f"Measured in {(time.perf_counter() - begun) / 60:.1f} minutes.")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=_names(NETWORKS), default=tuple(MEASURED), help="names, separated by commas")
    parser.add_argument("--batches", type=_counts, default=(1, 8, 32), help="batch sizes, separated by commas")
    parser.add_argument("--rounds", type=_count, default=15, help="the largest number of rounds of a comparison")
    parser.add_argument("--seconds", type=float, default=15.0, help="time after which a comparison starts no new round")
    parser.add_argument("--files", type=_count, default=96, help="number of photographs in the folder")
    parser.add_argument("--only", type=_names(SECTIONS), default=tuple(SECTIONS), help=", ".join(SECTIONS))
    parser.add_argument("--plot", type=Path, help="picture of the growth curves")
    parser.add_argument("--out", type=Path, help="file for the tables, as Markdown")
    return parser


def _names(known: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"expected names of {', '.join(known)}, received {unknown[0]!r}")
        return names

    return parse


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, received {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
