"""The list of a model's layers, and the table that shows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import keras

from tf_gradcam._models.alignment import measure_offset
from tf_gradcam._models.layers import LayerRow, is_spatial, layer_rows
from tf_gradcam._models.reader import ModelReader, reader_of
from tf_gradcam._models.split import split_model

if TYPE_CHECKING:
    from tf_gradcam._models.layers import LayerRow


class LayerRows(list["LayerRow"]):
    """What `list_layers` finds: a list whose picture, in a console or notebook, is the table of `tf-gradcam layers`."""

    def __repr__(self) -> str:
        return layer_table(self, any(row.offset is not None for row in self))


_LAYER_COLUMNS = ("layer", "type", "output", "stride", "can be explained")


def layer_table(rows: Iterable[LayerRow], offsets: bool = False) -> str:
    """The rows of `list_layers` in aligned columns: shapes without the batch axis, strides and offsets in pixels."""
    lines = [(_LAYER_COLUMNS, "offset down, right"), *((_layer_cells(row), _offset_cell(row)) for row in rows)]
    return _aligned([(*cells[:-1], offset, cells[-1]) if offsets else cells for cells, offset in lines])


def _offset_cell(row: LayerRow) -> str:
    return "" if row.offset is None else " ".join(f"{pixels:+.1f}" for pixels in row.offset)


def _layer_cells(row: LayerRow) -> Sequence[str]:
    shape = " x ".join("any" if side is None else str(side) for side in row.output_shape[1:])
    stride = " x ".join(f"{pixels:g}" for pixels in row.stride or ())
    verdict = "yes, the default" if row.default else "yes" if row.explainable else f"no: {row.reason}"
    return row.path, row.type, shape, stride, verdict


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def list_layers(model: keras.Model | ModelReader, offsets: bool = False) -> list[LayerRow]:
    """The layers of a model in the order of execution, those of nested models by their path.

    Args:
        model: any built Keras 3 model.
        offsets: whether to measure, for each layer that can be explained, where its cells look beside their tile: what
            `Explainer(align="measured")` shifts by. About a second a layer. Defaults to False.

    Returns:
        A `LayerRow` per call: path, type, output_shape, stride, explainable, reason, default, offset; shown as a table.

    Raises:
        TypeError, ValueError: as `split_model`.
    """
    reader = reader_of(model)
    rows = layer_rows(reader)
    if offsets:
        value_range = reader.preprocessing.value_range or (0.0, 1.0)
        rows = [dataclasses.replace(row, offset=_offset(reader, row, value_range)) for row in rows]
    return LayerRows(rows)


def _offset(reader: ModelReader, row: LayerRow, value_range: tuple[float, float]) -> tuple[float, float] | None:
    """(down, right) pixels; None where there are no cells on a picture, or nothing leads to the pixels."""
    if not row.explainable or row.stride is None or len(row.stride) != 2 or not is_spatial(row.output_shape):
        return None
    try:
        return measure_offset(split_model(reader, row.path), value_range)
    except ValueError:  # a layer that the pixels do not move
        return None
