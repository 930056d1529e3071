"""The target of a segmentation: a class in a part of the picture.

Axis legend: B images, H x W cells of the output (any number of spatial axes), K classes, H0 x W0 pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_gradcam._files.class_names import ClassNames
from tf_gradcam._models.reader import shown
from tf_gradcam.image.masks import nearest
from tf_gradcam.targets.base import (
    Class,
    FrozenArray,
    NamedTarget,
    are_labels,
    as_class,
    is_integer,
    label_of,
    one_output,
    place_of,
)
from tf_gradcam.targets.outputs import OutputOf

_BACKGROUND = ("background", "bg")


class Known(NamedTuple):
    """What an explainer knows of a segmentation's output.

    Attributes:
        place: "mask" or "point", where that comes with the images at each call; else "".
        sides: (H0, W0) of the picture, None for a free side.
        has_two_names: whether the names of two classes are known: one unit then has two sides.
        background: the class of that name, None where none has it.
    """

    place: str
    sides: tuple[int | None, ...]
    has_two_names: bool
    background: int | None = None


class Parts(NamedTuple):
    """A segmentation as a region reads it; tensors.

    Attributes:
        scores: (B, H, W), the logits of the explained class.
        inside: (B, H, W) bool, the cells that are explained.
        explained: (B,) int32, the explained class.
        predicted: (B, H, W) int32, the class of each cell; -1 where none of several labels, or not the only one, is.
        class_count: K; 2 for one unit of two sides.
        has_none: whether a cell may have no class.
    """

    scores: tf.Tensor
    inside: tf.Tensor
    explained: tf.Tensor
    predicted: tf.Tensor
    class_count: int
    has_none: bool


@dataclass(frozen=True)
class Region(NamedTarget):
    """A class in a part of a segmentation: the sum of its logits over the pixels there.

        Region("road")                              # where it is predicted
        Region("road", point=(0.3, 0.55))           # at one pixel
        Region("road", mask=masks)                  # inside a mask, here one for each image

    Args:
        index: class of outputs (B, H, W, K), any number of spatial axes; None for each image's class of most pixels
            there, one named "background" only where there is no other. Of one unit (B, H, W, 1) it is 0, or, where two
            class names are known, 1 for what the unit finds and 0 for the rest; None is then what it finds.
        mask: (H, W), or (B, H, W) for a mask of each image; True or 1 inside. Of the size of the output, or of the
            pictures, from which an explainer takes the nearest pixels. "all" for the whole picture; None for the pixels
            where the class is predicted: its score is the highest, or in a model of sigmoids above zero. An image
            without such a pixel has the score zero and a blank map, whose diagnosis says so.
        point: (x, y) of one pixel in place of a mask, as shares of the width and the height in [0, 1), or (B, 2) for a
            point of each image. Pixel (column, row) of a picture W x H is ((column + 0.5) / W, (row + 0.5) / H).

    Raises:
        TypeError: a class of another kind.
        ValueError: a mask and a point; a mask of other values, or an empty one; a point outside of the picture; when it
            is explained, a mask of another size, or of another number of images.

    Source: Vinogradova et al. 2020, Seg-Grad-CAM, https://arxiv.org/abs/2002.11434. Deviation: none; None is one choice
    of the paper's set of pixels.
    """

    index: Class = None
    mask: NDArray[Any] | str | None = None
    point: tuple[float, float] | NDArray[Any] | None = None
    known: Known | None = field(default=None, repr=False, kw_only=True)
    classes: ClassVar = ("index",)

    def __post_init__(self) -> None:
        if self.mask is not None and self.point is not None:
            raise ValueError("Expected a mask or a point, received both.")
        if isinstance(self.mask, str) and self.mask != "all":
            raise ValueError(f"Expected a mask of True and False, or 'all', received '{self.mask}'.")
        mask = self.mask if self.mask is None or isinstance(self.mask, str) else FrozenArray.of(as_mask(self.mask))
        point = None if self.point is None else _as_points(self.point)
        self._set(index=as_class(self.index, or_top=True), mask=mask, point=point)

    def __call__(self, outputs: Any) -> tf.Tensor:
        output = one_output(outputs, self)
        parts = self.parts(output, place_of(output))
        return tf.reduce_sum(tf.where(parts.inside, parts.scores, 0.0), axis=list(range(1, parts.scores.shape.rank)))

    def parts(self, output: tf.Tensor, place: Any = None, has_labels: bool | None = None) -> Parts:
        """Read an output.

        Args:
            output: the logits; (B, H, W, K), or flattened or without the axis of a single class where `known` knows
                the picture.
            place: a mask (B, H, W) bool or points (B, 2) as `known.place` says; None for the target's own.
            has_labels: whether each logit is a label by itself; None to read the mark of the tensor.
        """
        each = are_labels(output) if has_labels is None else has_labels
        logits = _as_cells(tf.convert_to_tensor(output), self.known, self)
        sides, count = tf.shape(logits)[1:-1], logits.shape[-1]
        is_pair = count == 1 and self.known is not None and self.known.has_two_names
        if is_pair:
            logits = tf.concat([-logits, logits], axis=-1)
        axes = list(range(1, logits.shape.rank - 1))
        best = tf.argmax(logits, axis=-1, output_type=tf.int32)
        is_alone = each or count == 1  # a class is predicted where its logit is above zero
        given = self._inside(place, tf.shape(logits)[0], logits.shape[1:-1], sides)
        if self.index is not None:
            explained = tf.fill(tf.shape(logits)[:1], self._known(logits))
        elif is_pair and given is None:
            explained = tf.ones(tf.shape(logits)[:1], tf.int32)
        else:
            counted = tf.ones_like(best, tf.float32) if given is None else tf.cast(given, tf.float32)
            counts = tf.reduce_sum(tf.one_hot(best, tf.shape(logits)[-1]) * counted[..., None], axis=axes)
            background = None if self.known is None else self.known.background
            if background is not None:
                others = counts * (1.0 - tf.one_hot(background, tf.shape(logits)[-1]))
                counts = tf.where(tf.reduce_any(others > 0, axis=-1, keepdims=True), others, counts)
            explained = tf.argmax(counts, axis=-1, output_type=tf.int32)
        chosen = tf.reshape(explained, [-1, *[1] * len(axes)])
        if self.index is None:
            scores = tf.reduce_sum(logits * tf.one_hot(chosen, tf.shape(logits)[-1], dtype=logits.dtype), axis=-1)
        else:
            scores = logits[..., self._known(logits)]
        predicted = scores > 0.0 if is_alone else best == chosen
        has_none = is_alone and not is_pair
        if has_none:
            best = tf.where(tf.reduce_max(logits, axis=-1) > 0.0, best, -1)
        return Parts(scores, predicted if given is None else given, explained, best, logits.shape[-1], has_none)

    def _known(self, logits: tf.Tensor) -> int:
        if isinstance(self.index, str):
            raise ValueError(
                f"Expected a class index, received the name '{self.index}': no names are known here. Pass "
                "class_names=[...], or an index."
            )
        count = logits.shape[-1]
        if count is not None and self.index >= count:
            which = "index 0, as it has a single class" if count == 1 else f"an index below {count}, its classes"
            raise ValueError(f"Expected {which}, of the segmentation {shown(logits.shape)}, received {self.index}.")
        return self.index  # type: ignore[return-value]

    def _inside(self, place: Any, count: tf.Tensor, static: tf.TensorShape, sides: tf.Tensor) -> tf.Tensor | None:
        """Return the given cells (B, H, W) bool; None for those where the class is predicted."""
        kind = "" if self.known is None else self.known.place
        shape = tf.concat([[count], sides], axis=0)
        if self.mask == "all":
            return tf.ones(shape, tf.bool)
        if kind == "point" or self.point is not None:
            points = np.reshape(np.asarray(self.point), (-1, 2)) if place is None else place
            return _at_points(tf.convert_to_tensor(points, tf.float32), shape, self)
        if kind == "mask":
            return _nearest(tf.convert_to_tensor(place), sides)
        if self.mask is None:
            return None
        mask = np.asarray(self.mask)
        mask = mask if mask.ndim > static.rank else mask[None]
        if not static.is_compatible_with(mask.shape[1:]):
            raise ValueError(
                f"Expected a mask of shape {tuple(static)}, the outputs' own, received {np.asarray(self.mask).shape}."
            )
        return tf.broadcast_to(tf.constant(mask), shape)

    @property
    def _has_points(self) -> bool:
        """Whether there is a point for each image."""
        return isinstance(self.point, FrozenArray)

    @property
    def place_kind(self) -> str:
        """The kind of place that has to come with the images: "mask", "point", or ""."""
        return "point" if self.point is not None else "mask" if isinstance(self.mask, FrozenArray) else ""

    def place_for(self, count: int, sides: Sequence[int]) -> NDArray[Any] | None:
        """Return the mask (B, H, W) bool or the points (B, 2) float32 of `count` images, None without.

        Args:
            count: B.
            sides: (H0, W0) of the picture; only their number counts here.
        """
        if not self.place_kind:
            return None
        array = np.asarray(self.mask) if self.point is None else np.asarray(self.point, np.float32)
        is_one = array.ndim == (len(sides) if self.point is None else 1)
        if not is_one and len(array) != count:
            raise ValueError(
                f"Expected one {self.place_kind} for all images or one for each of {count}, received {len(array)}."
            )
        return np.repeat(array[None], count, axis=0) if is_one else array

    def for_photos(self, rows: slice, photo_sizes: Sequence[tuple[int, int]], size: tuple[int, int]) -> Region:
        """Return this target for some of the images, whose photos are brought to the model's size.

        Args:
            rows: of these images among all.
            photo_sizes: (height, width) of each photo.
            size: (height, width) of the model's images.
        """
        if self._has_points:
            return dataclasses.replace(self, point=np.asarray(self.point)[rows])
        if not self.place_kind or self.point is not None:
            return self
        masks = np.asarray(self.mask)
        masks = masks[rows] if masks.ndim == 3 else np.repeat(masks[None], len(photo_sizes), axis=0)
        are_of_photos = all(mask.shape == tuple(own) for mask, own in zip(masks, photo_sizes, strict=True))
        return (
            dataclasses.replace(self, mask=np.stack([nearest(mask, size) for mask in masks]))
            if are_of_photos
            else (dataclasses.replace(self, mask=masks))
        )

    def mirrored(self) -> Region:
        """Return this target for images that are mirrored from left to right."""
        if self.point is not None:
            points = np.asarray(self.point, np.float64)
            x = np.maximum(1 - points[..., :1] - 1e-6, 0)  # less: the left edge of a cell becomes its right edge
            return dataclasses.replace(self, point=np.concatenate([x, points[..., 1:]], axis=-1))
        if isinstance(self.mask, FrozenArray):
            return dataclasses.replace(self, mask=np.asarray(self.mask)[..., ::-1])
        return self

    def label(self, names: ClassNames, unit_count: int | None = None) -> str:
        return self.label_of(names, None if self._has_points else self.point)

    def label_of(self, names: ClassNames, point: Any = None) -> str:
        """Return the label of the explained class and its place."""
        own = "the largest class" if self.index is None else label_of(self.index, names)
        if self.point is not None:
            return f"{own} at a point" if point is None else f"{own} at {point[0]:.0%}, {point[1]:.0%}"
        if self.mask is None:
            return f"region of {own}"
        return f"{own} everywhere" if self.mask == "all" else f"{own} in the mask"

    def labels_of(self, explained: NDArray[Any], names: ClassNames) -> list[str]:
        """Return the label for each image, whose explained classes are (B,)."""
        points: Any = np.asarray(self.point) if self._has_points else [self.point] * len(explained)
        return [
            dataclasses.replace(self, index=int(index)).label_of(names, point)
            for index, point in zip(explained, points, strict=True)
        ]


def as_region(target: Any, output: str | int | None = None) -> Any:
    """Return a class (None: each image's largest one) as its predicted region, another callable unchanged.

    Args:
        output: name or position of the output to read, of a model of several.
    """
    if callable(target) and not isinstance(target, Region):
        return target
    is_one = target is None or isinstance(target, (str, Region)) or is_integer(target)
    if not is_one:
        raise ValueError(
            "Expected one class for all images of a segmentation model, a name or an index, received "
            f"{type(target).__name__}. Explain images of different classes in several calls."
        )
    region = target if isinstance(target, Region) else Region(target)
    return region if output is None else OutputOf(output, region)


def region_in(target: Any) -> Region | None:
    """Return the region that a target is, alone or of one of several outputs."""
    if isinstance(target, OutputOf):
        target = target.target
    return target if isinstance(target, Region) else None


def mirrored(target: Any) -> Any:
    """Return a target for mirrored images: with its mask or points mirrored, if it has any."""
    if isinstance(target, OutputOf):
        return dataclasses.replace(target, target=mirrored(target.target))
    return target.mirrored() if isinstance(target, Region) else target


def bound(target: Any, sides: Sequence[int | None], names: ClassNames) -> Any:
    """Return a target whose region reads its mask or points beside the images: equal for all masks.

    Args:
        sides: (H0, W0) of the picture, None for a free side.
        names: of the classes.
    """
    if isinstance(target, OutputOf):
        return dataclasses.replace(target, target=bound(target.target, sides, names))
    if not isinstance(target, Region):
        return target
    known = Known(target.place_kind, tuple(sides), names.are_two, _background(names))
    own = {} if not known.place else {"mask": None, "point": None}
    return dataclasses.replace(target, known=known, **own)


def _background(names: ClassNames) -> int | None:
    """Return the class of the background, by its name."""
    is_background = (index for index, name in names.by_index.items() if name.strip(" _").lower() in _BACKGROUND)
    return next(is_background, None)


def place_spec(target: Any) -> tf.TensorSpec | None:
    """Return the spec of the mask or points that a bound target reads beside the images, None without."""
    region = region_in(target)
    known = None if region is None else region.known
    if known is None or not known.place:
        return None
    if known.place == "point":
        return tf.TensorSpec((None, 2), tf.float32)
    return tf.TensorSpec([None] * (1 + len(known.sides)), tf.bool)


def check_mask(place: NDArray[Any], cells: Sequence[int], sides: Sequence[int]) -> None:
    """Check the size of masks (B, H, W) against the output's cells and the picture's sides."""
    if place.shape[1:] not in (tuple(cells), tuple(sides)):
        picture, output = (" x ".join(map(str, each)) for each in (sides, cells))
        raise ValueError(
            f"Expected a mask of the pictures' size {picture} (height x width) or of the output's, {output}, received "
            f"{' x '.join(map(str, place.shape[1:]))}. Make it from a picture of that size."
        )


def as_mask(mask: object) -> np.ndarray:
    """Return a mask of pixels as bool, checked."""
    array = np.asarray(mask)
    if array.dtype != bool and not np.isin(array, (0, 1)).all():
        raise ValueError(f"Expected a mask of True and False, received other values of dtype {array.dtype}.")
    if not array.any():
        raise ValueError("Expected a mask with at least one pixel, received an empty one.")
    return array.astype(bool)


def _as_points(point: Any) -> Any:
    """Return a point as a pair, points (B, 2) as a frozen array; checked."""
    try:
        array = np.asarray(point, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim not in (1, 2) or array.shape[-1] != 2 or not ((array >= 0) & (array < 1)).all() or not array.size:
        raise ValueError(
            f"Expected a point (x, y) as shares of the width and the height from 0 to below 1, received {point!r}. A "
            "pixel (column, row) of a picture W x H is ((column + 0.5) / W, (row + 0.5) / H)."
        )
    return FrozenArray.of(array) if array.ndim == 2 else (float(array[0]), float(array[1]))


def _as_cells(logits: tf.Tensor, known: Known | None, target: Region) -> tf.Tensor:
    """Return logits as (B, H, W, K).

    A model may flatten its picture, (B, H * W, K), or leave out the axis of a single class, (B, H, W).
    """
    shape, rank = logits.shape, logits.shape.rank
    if rank == 3 and known is not None and len(known.sides) == 2 and None not in (*known.sides, *shape[1:]):
        high, wide = known.sides
        if shape[1] * wide == shape[2] * high:
            return logits[..., None]
        for side in range(1, high + 1):  # type: ignore[operator]
            if side * side * wide == shape[1] * high:  # type: ignore[operator]
                return tf.reshape(logits, [-1, side, shape[1] // side, shape[2]])
    if rank is None or rank < 3:
        raise ValueError(f"Expected segmentation outputs (B, H, W, K) for {target!r}, received {shown(shape)}.")
    return logits


def _at_points(points: tf.Tensor, shape: tf.Tensor, target: Region) -> tf.Tensor:
    """Return the cells (B, H, W) bool at one point each, shares (B or 1, 2) of width and height."""
    if shape.shape[0] != 3:
        raise ValueError(f"Expected a segmentation of pictures (B, H, W, K) for {target!r}.")
    sides = tf.cast(shape[1:], tf.float32)
    rows, columns = (tf.cast(sides[axis] * points[:, 1 - axis], tf.int32) for axis in (0, 1))
    is_row = tf.range(shape[1]) == rows[:, None]
    is_column = tf.range(shape[2]) == columns[:, None]
    return tf.broadcast_to(is_row[:, :, None] & is_column[:, None, :], shape)


def _nearest(mask: tf.Tensor, sides: tf.Tensor) -> tf.Tensor:
    """Return masks (B, ...) at the centres of cells of another number."""
    for axis in range(mask.shape.rank - 1):
        places = (2 * tf.range(sides[axis]) + 1) * tf.shape(mask)[1 + axis] // (2 * sides[axis])
        mask = tf.gather(mask, places, axis=1 + axis)
    return mask
