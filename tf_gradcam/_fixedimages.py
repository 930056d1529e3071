"""The images that are looked at again and again: copied, with photos to paint on and labels, checked at the door.

Axis legend: B images, K classes, H0 x W0 pixels.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam._figures.sheet import shown_photo
from tf_gradcam.image.overlay import to_photo
from tf_gradcam.targets.classes_scores import ClassNames, class_indices

_MOST = 64  # more make a picture that no screen holds, and are explained in one batch beside a training
_CHOOSE = "Choose some, as images[:16]."


class FixedImages:
    """A few images and what is known of them.

    Args:
        images: (B, H0, W0, C) as a model expects them, or a list or dict of the inputs of one that has several.
        photos: B photos (H0, W0, 3) uint8 RGB, of any sizes; None where the images are RGB or grey in 0..255.
        labels: B indices or names of classes, (B,) or (B, 1); None where they are not known.
        class_names: as `Explainer`.

    Attributes:
        images: a copy of them, in the same structure.
        photos: B photos uint8 RGB, no larger than a panel of a figure can show.
        labels: (B,) int32, or None.
        names: of the classes.

    Raises:
        TypeError: no numbers, paths, a dataset.
        ValueError: none or more than 64 images, another number of photos or labels, no photos where the images are
            none, a label of no known kind.
    """

    def __init__(self, images: Any, photos: Any, labels: Any, class_names: Sequence[str] | Mapping[int, str] | None):
        self.names = ClassNames(class_names)
        self.images = _copied(images)
        self.photos = _photos(self.images, photos)
        self.labels = None if labels is None else _label_indices(labels, len(self), self.names)

    def __len__(self) -> int:
        return len(self.photos)


def _copied(images: Any) -> Any:
    """Arrays of the user's images, which may change theirs later."""
    if isinstance(images, tf.data.Dataset):
        raise TypeError("Expected images as an array, received a tf.data.Dataset: take next(iter(dataset))[0][:16].")
    is_batch = isinstance(images, (list, tuple)) and all(np.ndim(one) == 3 for one in images)
    if is_batch and len({np.shape(one) for one in images}) > 1:
        raise ValueError("Expected images of one shape, received several: resize them to what the model takes.")
    parts = np.array(images) if is_batch else keras.tree.map_structure(np.array, images)
    for part in keras.tree.flatten(parts):
        if part.ndim == 0 or part.dtype.kind not in "biuf":
            raise TypeError(
                f"Expected images as arrays of numbers, received {part.tolist()!r:.80}. Read files with "
                "get_img_array(path, size=(height, width)), and scale them as the model was trained."
            )
        if not 1 <= len(part) <= _MOST:
            raise ValueError(f"Expected 1 to {_MOST} images, received {len(part)}. {_CHOOSE}")
    return parts


def _photos(images: Any, photos: Any) -> list[np.ndarray]:
    """What to paint on: the photos, or the images themselves where they are some."""
    counts = sorted({len(part) for part in keras.tree.flatten(images)})
    if photos is None:
        return _as_photos(images)
    if isinstance(photos, (str, bytes, os.PathLike)) or not hasattr(photos, "__len__"):
        raise TypeError(f"Expected photos as arrays (H0, W0, 3) uint8 RGB, received {type(photos).__name__}.")
    if counts != [len(photos)]:
        wanted = " and ".join(map(str, counts))
        raise ValueError(f"Expected as many photos as images, {wanted}, received {len(photos)}: give one for each.")
    return [shown_photo(to_photo(photo)) for photo in photos]


def _as_photos(images: Any) -> list[np.ndarray]:
    if not isinstance(images, np.ndarray):
        raise ValueError("Expected photos=, uint8 RGB, beside the images of a model of several inputs, received None.")
    if images.ndim != 4:
        remedy = " A single image needs a batch axis: images[None]." if images.ndim == 3 else ""
        raise ValueError(f"Expected pictures as images, (B, H0, W0, C), received {images.shape}.{remedy}")
    try:
        return [shown_photo(to_photo(image)) for image in images]
    except ValueError as error:
        raise ValueError(
            f"Expected photos=, uint8 RGB, beside images that are no photos themselves, received None. {error}"
        ) from error


def _label_indices(labels: Any, count: int, names: ClassNames) -> np.ndarray:
    """(B,) int32; a column, as data sets have it, and whole floats, as a sigmoid is trained with, count too."""
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or len(array) != count:
        remedy = " One-hot rows become indices by np.argmax(labels, axis=-1)." if array.ndim == 2 else ""
        raise ValueError(f"Expected {count} labels, one per image, received shape {array.shape}.{remedy}")
    if array.dtype.kind == "f" and np.array_equal(array, np.rint(array)):
        array = array.astype(np.int64)
    return class_indices(array.tolist(), count, names)
