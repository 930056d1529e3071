"""The first use: importing, the help, and the first map of a model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.pairs import Spread, once, one_line
from benchmarks.report import Table
from benchmarks.settings import Settings
from benchmarks.visits import ROOT, visit

MOST_ROUNDS = 7  # each starts processes
_IMPORT = "import numpy, time; begun = time.perf_counter(); import tf_gradcam; print(time.perf_counter() - begun)"
_FIRST = ("compiled split", "Explainer", "Explainer(freeze=True)")


def run(settings: Settings) -> Iterator[Table]:
    """Yield imports and help, then the first call of each model against Keras building and tracing both halves."""
    rounds = min(settings.rounds, MOST_ROUNDS)
    rows = [
        ("`import tf_gradcam` after `import numpy`", _milliseconds(_import_seconds, rounds)),
        ("`tf-gradcam --help`", _milliseconds(partial(_process_seconds, "-m", "tf_gradcam", "--help"), rounds)),
        ("a Python that does nothing", _milliseconds(partial(_process_seconds, "-c", ""), rounds)),
    ]
    yield Table("First use", ("", "ms"), rows, f"Medians (quartiles) of {rounds} processes.")
    maps = [(name, *(_first_map(model, name) for model in settings.models)) for name in _FIRST]
    note = (
        "From the built model to its first result, each in a process of its own. The compiled split is what Keras "
        "takes to build and trace the two halves."
    )
    yield Table("First map, batch 1: seconds", ("", *settings.models), maps, note)


def _milliseconds(seconds: Callable[[], float], rounds: int) -> Spread:
    seconds()  # reads the files from the disk
    return Spread.of(seconds() for _ in range(rounds)).scaled(1000)


def _import_seconds() -> float:
    command = [sys.executable, "-c", _IMPORT]
    return float(subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout)


def _process_seconds(*arguments: str) -> float:
    command = [sys.executable, *arguments]
    return once(lambda: subprocess.run(command, capture_output=True, cwd=ROOT, check=True))


def _first_map(model: str, name: str) -> str:
    try:
        return f"{visit(model, name, 1).first_seconds:.2f}"
    except RuntimeError as error:
        return one_line(error)
