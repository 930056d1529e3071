"""What finished runs reached: a Markdown table, a row for all runs that differ in nothing but the seed.

python -m training.summary RUN [RUN ...]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from training.loop.run_folder import Run


class Finished(NamedTuple):
    """A run that has ended: its settings, its metrics, how long its epochs took in all, in minutes."""

    name: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    minutes: float


def read_run(path: Path) -> Finished:
    """A finished run.

    Raises:
        FileNotFoundError: no run, or one that has not ended.
    """
    files = [path / name for name in ("config.json", "metrics.json")]
    if not all(file.is_file() for file in files):
        raise FileNotFoundError(f"Expected a finished run in '{path}', with config.json and metrics.json.")
    config, metrics = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    seconds = sum(float(row["seconds"]) for row in Run(path, resume=True).rows())
    return Finished(path.name, config, metrics, seconds / 60)


def settings(run: Finished) -> str:
    """Everything that it was told but the seed, as a key."""
    data = {key: value for key, value in run.config["data"].items() if key != "seed"}
    return json.dumps([data, run.config["training"]], sort_keys=True)


def row(runs: Sequence[Finished]) -> str:
    """Mean and range over runs of the same settings."""
    data, training = runs[0].config["data"], runs[0].config["training"]
    accuracies = [run.metrics["accuracy"] for run in runs]
    losses = [run.metrics["loss"] for run in runs]
    split = runs[0].metrics["split"]
    leaked = sorted({run.metrics["split"]["validation_images_with_a_twin_in_training"] for run in runs})
    twins = f"{leaked[0]} to {leaked[-1]}" if len(leaked) > 1 else str(leaked[0])
    cells = [
        f"{training['backbone']}, {data['image_size']} px",
        Path(data["data"]).name,
        f"{data['split']}, {split['training']} / {split['validation']}, {twins} leaked",
        str(len(runs)),
        _mean_and_range(accuracies),
        _mean_and_range(losses),
        f"{sum(run.minutes for run in runs) / len(runs):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _mean_and_range(values: Sequence[float]) -> str:
    mean = f"{sum(values) / len(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.4f} to {max(values):.4f})"


def main(words: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of finished runs")
    try:
        runs = [read_run(path) for path in parser.parse_args(words).runs]
    except OSError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    print("| network | data | split, train / validate | seeds | accuracy | loss | minutes |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    groups: dict[str, list[Finished]] = {}
    for run in runs:
        groups.setdefault(settings(run), []).append(run)
    for group in groups.values():
        print(row(group))
    return 0


if __name__ == "__main__":
    sys.exit(main())
