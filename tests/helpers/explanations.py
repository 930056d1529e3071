"""Explanations without a network: maps written by hand, and explainers that are three lines long."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tf_gradcam._results.explanation import Explanation, MapArrays
from tf_gradcam.image.resize import Placement, Unplaced, positive_share

LABELS = ("sun", "moon")


def explained(
    raw: Any,
    image_size: tuple[int, ...] | None = None,
    classes: Any = None,
    offset: tuple[float, ...] | None = None,
    **options: Any,
) -> Explanation:
    """The explanation whose maps before relu are `raw` (B, N); every image is 75 % "sun", the class that is explained.

    `image_size` is that of the maps where it is not given; cells are tiles of it, moved by `offset` pixels.
    """
    raw = np.asarray(raw, np.float32)
    size = raw.shape[1:] if image_size is None else image_size
    placement: Placement | Unplaced = Unplaced(0, size, "they differ")
    if len(size) == raw.ndim - 1:
        placement = Placement.tiles(raw.shape[1:], size)
        start = tuple(np.add(placement.start, offset or 0.0).tolist())
        placement = dataclasses.replace(placement, start=start, known_by="measured" if offset else "tiles")
    count = len(raw)
    class_indices = np.zeros(count, np.int32) if classes is None else np.asarray(classes)
    arrays = MapArrays(
        raw=raw,
        heatmaps=positive_share(raw),
        outputs=np.tile(np.log([3.0, 1.0]), (count, 1)),
        probabilities=np.tile([0.75, 0.25], (count, 1)),
        scores=np.full(count, 3.0),
        class_indices=class_indices,
        gradient_peaks=np.abs(raw).reshape(count, -1).max(axis=1),
        finite_images=np.isfinite(raw).reshape(count, -1).all(axis=1),
    )
    settings = {
        "labels": [LABELS[index] if index >= 0 else "a callable" for index in class_indices],
        "layer_name": "cells",
        "method": "by_hand",
        "placement": placement,
        "has_open_head": True,
        "class_names": dict(enumerate(LABELS)),
    }
    return Explanation(arrays, **{**settings, **options})


def seeing(look: Callable[[np.ndarray], Any], **options: Any) -> Callable[..., Explanation]:
    """An explainer whose maps before relu are `look(images)`; `calls` lists the (images, target) that it was given."""

    def explainer(images: Any, target: Any = None, *, progress: Any = None) -> Explanation:
        explainer.calls.append((images, target))  # type: ignore[attr-defined]
        return explained(look(images), **options)

    explainer.calls = []  # type: ignore[attr-defined]
    return explainer


def first_channel(images: np.ndarray) -> np.ndarray:
    return images[..., 0]
