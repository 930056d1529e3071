"""Tables of a training, as aligned text and as Markdown; the tables of its stages and of its network's blocks."""

from __future__ import annotations

import re
from collections.abc import Sequence

import keras

from ..config import Stage
from ..model.backbone import blocks_of, parameters, unfreeze

Table = list[tuple[str, ...]]  # rows of cells, the header first

_NUMBER = re.compile(r"-?[\d,.]+%?(e-?\d+)?|-|None")
_LISTED = 3  # blocks that a cell names; of more the first and the last
_MARKUP = re.compile(r"([\\`*_\[\]<>|#~$&])")


def network_tables(model: keras.Model, stages: Sequence[Stage]) -> tuple[Table, Table]:
    """Return the table of the stages and the table of the blocks.

    Args:
        model: of `build_classifier`; the blocks of the last stage stay unfrozen.
        stages: of the training.

    Raises:
        ValueError: as `unfreeze`.
    """
    blocks = blocks_of(model)
    trained = {stage.name: unfreeze(model, stage.unfreeze) for stage in stages}
    of_stages: Table = [("stage", "epochs", "learning rate", "trained blocks", "trained parameters", "all parameters")]
    for stage in stages:
        names = unfreeze(model, stage.unfreeze)
        count = f"{sum(parameters(model).values()):,}"
        rate = f"{stage.learning_rate:g}{', falling' if stage.decay else ''}"
        of_stages.append((stage.name, f"{stage.epochs}", rate, _span(names), count, f"{model.count_params():,}"))
    of_blocks: Table = [("block", "layers", "parameters", "trained in", "first layer", "last layer")]
    for name, layers in blocks.items():
        size = sum(layer.count_params() for layer in layers)
        inside = [stage for stage, names in trained.items() if name in names]
        told = "every stage" if len(inside) == len(stages) > 1 else ", ".join(inside)
        of_blocks.append((name, f"{len(layers)}", f"{size:,}", told, layers[0].name, layers[-1].name))
    return of_stages, of_blocks


def _span(names: Sequence[str]) -> str:
    """Return the names of consecutive blocks, of many the first and the last."""
    return ", ".join(names) if len(names) <= _LISTED else f"{names[0]} to {names[-1]}"


def as_text(table: Table) -> str:
    """Return a table as aligned lines, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    right = _numeric(table)
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        )
        for row in table
    ]
    return "\n".join(line.rstrip() for line in lines)


def as_markdown(table: Table) -> str:
    """Return a table as Markdown, numbers to the right; cells show their letters, whatever they are."""
    rule = tuple("---:" if number else "---" for number in _numeric(table))
    rows = [tuple(map(escaped, row)) for row in table]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))


def escaped(text: str) -> str:
    """Return text in one line that Markdown shows letter by letter."""
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split()))


def _numeric(table: Table) -> list[bool]:
    """Return for each column whether its cells below the header are numbers."""
    return [all(_NUMBER.fullmatch(cell) for cell in column[1:]) for column in zip(*table, strict=True)]
