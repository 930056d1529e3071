"""The list of a model's layers, the table that shows it, and a few of them through the depth."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import keras
import numpy as np

from tf_gradcam._files.class_names import ClassNames
from tf_gradcam._models.alignment import measure_places
from tf_gradcam._models.keras_internals import has_learned_weights
from tf_gradcam._models.layers import LayerRow, find_layer, is_spatial, layer_rows
from tf_gradcam._models.reader import ModelReader, reader_of
from tf_gradcam._models.segmentation import segmentation_layers
from tf_gradcam._models.split import split_model
from tf_gradcam._models.task import task_of


class LayerRows(list[LayerRow]):
    """The result of `list_layers`: a list that consoles and notebooks show as the table of `tf-gradcam layers`."""

    def __repr__(self) -> str:
        return layer_table(self, any(row.offset is not None for row in self))


_LAYER_COLUMNS = ("layer", "type", "output", "stride", "can be explained")


def layer_table(rows: Iterable[LayerRow], offsets: bool = False) -> str:
    """Format the rows of `list_layers` in aligned columns: shapes without batch axis, strides and offsets in pixels."""
    lines = [(_LAYER_COLUMNS, "offset down, right"), *((_layer_cells(row), _offset_cell(row)) for row in rows)]
    return _aligned([(*cells[:-1], offset, cells[-1]) if offsets else cells for cells, offset in lines])


def _offset_cell(row: LayerRow) -> str:
    return "" if row.offset is None else " ".join(f"{pixels:+.1f}" for pixels in row.offset)


def _layer_cells(row: LayerRow) -> Sequence[str]:
    shape = " x ".join("any" if side is None else str(side) for side in row.output_shape[1:])
    stride = " x ".join(f"{pixels:g}" for pixels in row.stride or ())
    verdict = "yes, the default" if row.default else "yes" if row.explainable else f"no: {row.reason}"
    verdict += f", for {row.role}" if row.role else ""
    return row.path, row.type, shape, stride, verdict


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def list_layers(model: keras.Model | ModelReader, offsets: bool = False) -> list[LayerRow]:
    """List the layers of a model in the order of execution, the layers of nested models by their path.

    Args:
        model: any built Keras 3 model.
        offsets: whether to measure the offset of each layer that can be explained, by which `Explainer(
            align="measured")` shifts its maps. About a second a layer. Defaults to False.

    Returns:
        A `LayerRow` per call: path, type, output_shape, stride, explainable, reason, default, offset, role; shown as a
        table. Of a segmentation, the rows of the layers for context (the default) and for detail say so.

    Raises:
        TypeError, ValueError: as `split_model`.
    """
    reader = reader_of(model)
    rows = _with_roles(reader, layer_rows(reader, exact=True))
    if offsets:
        value_range = reader.preprocessing.value_range or (0.0, 1.0)
        rows = [dataclasses.replace(row, offset=_offset(reader, row, value_range)) for row in rows]
    return LayerRows(rows)


def _with_roles(reader: ModelReader, rows: list[LayerRow]) -> list[LayerRow]:
    """Mark the two layers of a segmentation, of which the one for context is the default."""
    if not any(row.default for row in rows):
        return rows
    try:
        task = task_of(reader, None, ClassNames(None))
    except ValueError:  # a graph refuses the model, and so does every explainer; its layers can be listed
        return rows
    if task.name != "segmentation":
        return rows
    layers = segmentation_layers(reader)
    roles = {layers.detail: "detail", layers.context: "context"} if layers.detail != layers.context else {}
    return [dataclasses.replace(row, default=row.path == layers.context, role=roles.get(row.path, "")) for row in rows]


def _offset(reader: ModelReader, row: LayerRow, value_range: tuple[float, float]) -> tuple[float, float] | None:
    """Measure (down, right) pixels; None without two spatial axes, or without a gradient to the pixels."""
    if not row.explainable or row.stride is None or len(row.stride) != 2 or not is_spatial(row.output_shape):
        return None
    try:
        down, right = measure_places(split_model(reader, row.path), value_range)[0]
    except ValueError:  # the layer does not depend on the pixels
        return None
    return down, right


_MIN_GRIDS = 3  # fewer grids: _LAYER_COUNT layers instead, evenly through the depth
_LAYER_COUNT = 6


def through_the_depth(model: keras.Model | ModelReader) -> list[str]:
    """Return the paths of a few layers from the first to the default one.

    They are the last learned layer of each grid size that every path to the output passes; where all layers have one
    size, as the blocks of a transformer, six of them from the first to the last.
    """
    reader = reader_of(model)
    default = find_layer(reader)
    calls = [call for call in default.view.calls if not call.is_model]
    trunk: list[tuple[str, tuple[int | None, ...]]] = []  # path and grid
    learned: set[tuple[int | None, ...]] = {default.call.shape[1:-1]}  # grids of padding or pooling alone are left out
    for row, call in zip(layer_rows(reader), calls, strict=True):
        shape = row.output_shape
        has_grid = row.explainable and is_spatial(shape) and len(shape) == len(default.call.shape)
        if has_grid and has_learned_weights(call.operation):
            learned.add(shape[1:-1])
        if row.default or (has_grid and default.view.has_learned(call) and default.view.is_cut_point(call)):
            trunk.append((row.path, shape[1:-1]))
        if row.default:
            break
    last_of_grid = {grid: path for path, grid in trunk if grid in learned}
    if len(last_of_grid) >= min(_MIN_GRIDS, len(trunk)):
        return list(last_of_grid.values())
    chosen = np.unique(np.linspace(0, len(trunk) - 1, _LAYER_COUNT).round().astype(int))
    return [trunk[index][0] for index in chosen]
