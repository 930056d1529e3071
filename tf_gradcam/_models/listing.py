"""What is listed in a console: the layers of a model, the methods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tf_gradcam._models.layers import LayerRow
    from tf_gradcam._rules.table import MethodInfo


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


def method_list(methods: Iterable[str]) -> str:
    """Each method by name, with what it does, costs and comes from."""
    from tf_gradcam._rules.table import describe

    return "\n".join(line for info in map(describe, methods) for line in _method_lines(info))


def _method_lines(info: MethodInfo) -> list[str]:
    lines = [info.name, f"  {info.summary}"]
    return lines + [f"  {field}: {text}" for field, text in (("Cost", info.cost), ("Source", info.source)) if text]
