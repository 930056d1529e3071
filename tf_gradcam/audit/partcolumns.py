"""The columns of a part, as Arrow and as NumPy. Imported where it is needed: it takes pyarrow.

Axis legend: N rows, K classes, H x W cells of a map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_gradcam._extras import require

pa = require("pyarrow", extra="audit")

Columns = dict[str, np.ndarray]

FIELDS = {
    "index": pa.int64(),
    "file": pa.string(),
    "label": pa.int32(),
    "status": pa.string(),
    "error": pa.string(),
    "predicted": pa.int32(),
    "probability": pa.float32(),
    "probabilities": pa.list_(pa.float32()),
    "score": pa.float32(),
    "heatmap": pa.list_(pa.float16()),
    "diagnosis": pa.string(),
    "thumbnail": pa.binary(),
}
_SIDES = (b"height", b"width")  # of the maps, in the metadata: a map is a flat list


def is_table(table: Any) -> bool:
    """Whether an Arrow table is one that `to_arrow` made."""
    return table.schema.names == list(FIELDS) and set(_SIDES) <= set(table.schema.metadata or {})


def to_arrow(columns: Mapping[str, np.ndarray]) -> Any:
    """An Arrow table of these columns, which are those of `FIELDS`; probabilities (N, K), heatmap (N, H, W)."""
    sides = [str(side).encode() for side in columns["heatmap"].shape[1:]]
    schema = pa.schema(list(FIELDS.items()), metadata=dict(zip(_SIDES, sides, strict=True)))
    return pa.table([_arrow(columns[name], kind) for name, kind in FIELDS.items()], schema=schema)


def to_numpy(tables: Sequence[Any]) -> Columns:
    """The columns of tables, one below the other."""
    columns = {
        name: np.concatenate([_numpy(chunk, kind) for table in tables for chunk in table[name].chunks])
        for name, kind in FIELDS.items()
    }
    height, width = (int(tables[0].schema.metadata[side]) for side in _SIDES)
    columns["heatmap"] = columns["heatmap"].reshape(-1, height, width)
    return columns


def _arrow(column: np.ndarray, kind: Any) -> Any:
    """A column of numbers, texts or bytes; of several numbers a row as lists."""
    if kind == pa.string():  # a file name that is no UTF-8 has characters that no text can hold
        texts = [str(text).encode("utf-8", "surrogateescape").decode("utf-8", "replace") for text in column]
        return pa.array(texts, kind)
    if not pa.types.is_list(kind):
        return pa.array(column, kind)
    flat = np.ascontiguousarray(column, kind.value_type.to_pandas_dtype()).reshape(len(column), -1)
    offsets = np.arange(len(flat) + 1, dtype=np.int32) * flat.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat.ravel(), kind.value_type))


def _numpy(array: Any, kind: Any) -> np.ndarray:
    """The same back: lists as (N, numbers), texts and bytes as objects."""
    if pa.types.is_list(kind):
        return np.asarray(array.flatten().to_numpy(zero_copy_only=False)).reshape(len(array), -1)
    values = array.to_numpy(zero_copy_only=False)
    return np.array(values, object) if kind in (pa.string(), pa.binary()) else np.array(values)
