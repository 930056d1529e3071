"""The peak of memory of each contestant, measured in separate processes."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contestants import FORWARD
from benchmarks.pairs import one_line
from benchmarks.report import Table
from benchmarks.settings import Settings
from benchmarks.visits import visit

BATCH = 8
_NAMES = (FORWARD, "Explainer", "Explainer(freeze=True)", "keras.io recipe")


def run(settings: Settings) -> Iterator[Table]:
    """Yield a table for each model, with the largest batch of the settings up to `BATCH`."""
    batch = max([batch for batch in settings.batches if batch <= BATCH], default=BATCH)
    for model in settings.models:
        plain = visit(model, FORWARD, batch).peak_bytes
        rows = [(name, *_cells(model, name, batch, plain)) for name in _NAMES]
        note = "Each in a process of its own. Building a model leaves memory behind that every contestant uses first."
        yield Table(f"Peak of memory: {model}, batch {batch}", ("", "peak, MiB", "beyond F, MiB"), rows, note)


def _cells(model: str, name: str, batch: int, plain: int) -> tuple[str, str]:
    try:
        peak = visit(model, name, batch).peak_bytes
    except RuntimeError as error:
        return "fails", one_line(error)
    return f"{peak / 2**20:.0f}", f"{(peak - plain) / 2**20:+.0f}"
