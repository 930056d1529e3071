"""The layers of a model as a list: what can be explained, what is the default, where the cells look."""

from __future__ import annotations

import dataclasses

import keras

from tf_gradcam._models.alignment import measure_offset
from tf_gradcam._models.layers import LayerRow, is_spatial, layer_rows
from tf_gradcam._models.listing import LayerRows
from tf_gradcam._models.preprocessing import find_preprocessing
from tf_gradcam._models.reader import BorrowedModel
from tf_gradcam._models.split import split_model


def list_layers(model: keras.Model, offsets: bool = False) -> list[LayerRow]:
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
    rows = layer_rows(BorrowedModel(model))
    if offsets:
        value_range = find_preprocessing(model).value_range or (0.0, 1.0)
        rows = [dataclasses.replace(row, offset=_offset(model, row, value_range)) for row in rows]
    return LayerRows(rows)


def _offset(model: keras.Model, row: LayerRow, value_range: tuple[float, float]) -> tuple[float, float] | None:
    """(down, right) pixels; None where there are no cells on a picture, or nothing leads to the pixels."""
    if not row.explainable or row.stride is None or len(row.stride) != 2 or not is_spatial(row.output_shape):
        return None
    try:
        return measure_offset(split_model(model, row.path), value_range)
    except ValueError:  # a layer that the pixels do not move
        return None
