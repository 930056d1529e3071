"""A Markdown table of finished runs, one row for all runs that differ only in the seed.

python -m training.summary RUN [RUN ...]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import help_text
from .data.download import shown
from .loop.run_folder import METRICS, Run
from .reading import read_object


class Finished(NamedTuple):
    """A finished run: its settings, its metrics, the minutes of all its epochs."""

    name: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    minutes: float


def read_run(path: Path) -> Finished:
    """Read a finished run.

    Raises:
        FileNotFoundError: there is no run, or it has not ended.
        ValueError: a file of the run is damaged.
    """
    files = [path / name for name in ("config.json", "metrics.json")]
    if (path / "fold_1").is_dir():
        raise FileNotFoundError(f"Expected a run, received the folds of '{path}'. Name them: {path}/fold_*")
    if not all(file.is_file() for file in files):
        raise FileNotFoundError(f"Expected a finished run in '{path}', with config.json and metrics.json. Resume it.")
    config = read_object(files[0], {"data": dict, "training": dict})
    metrics = read_object(files[1], METRICS)
    seconds = sum(float(row["seconds"]) for row in Run(path, resume=True).rows(("seconds",)))
    return Finished(path.name, config, metrics, seconds / 60)


def settings(run: Finished) -> str:
    """Return all settings that change the model, except the seed, as a key."""
    data = {key: value for key, value in run.config["data"].items() if key not in ("seed", "fold", "boxes")}
    return json.dumps([data, run.config["training"]], sort_keys=True)


def row(runs: Sequence[Finished]) -> str:
    """Return the row of runs with the same settings: means and ranges."""
    data, training = runs[0].config["data"], runs[0].config["training"]
    split = runs[0].metrics["split"]
    leaked = sorted({run.metrics["split"]["validation_images_with_a_twin_in_training"] for run in runs})
    twins = f"{leaked[0]} to {leaked[-1]}" if len(leaked) > 1 else str(leaked[0])
    cells = [
        f"{training['backbone']}, {data['image_size']} px",
        Path(shown(data["data"])).name,
        f"{data['split']}, {split['training']} / {split['validation']}, {twins} leaked",
        str(len(runs)),
        *(_mean_and_range([run.metrics.get(key) for run in runs]) for key in ("accuracy", "loss")),
        f"{sum(run.minutes for run in runs) / len(runs):.1f}",
        *(_mean_and_range([run.metrics.get(key) for run in runs]) for key in ("macro_f1", "auc")),
    ]
    return f"| {' | '.join(cells)} |"


def _mean_and_range(values: Sequence[float | None]) -> str:
    """Return mean and range; a dash where a run lacks the value, as runs of older versions do."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "-"
    mean = f"{sum(known) / len(known):.4f}"
    return mean if len(known) == 1 else f"{mean} ({min(known):.4f} to {max(known):.4f})"


def main(words: Sequence[str] | None = None) -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(
        description=help_text(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of finished runs")
    try:
        runs = [read_run(path) for path in parser.parse_args(words).runs]
    except (OSError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    print("| network | data | split, train / validate | runs | accuracy | loss | minutes | macro F1 | AUC |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    groups: dict[str, list[Finished]] = {}
    for run in runs:
        groups.setdefault(settings(run), []).append(run)
    for group in groups.values():
        print(row(group))
    return 0


if __name__ == "__main__":
    sys.exit(main())
