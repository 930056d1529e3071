"""A `tf.data.Dataset` as the data set of an audit: images as the model takes them, in an order that repeats.

Axis legend: B images, H0 x W0 pixels, C channels, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_gradcam.audit.sources import UNKNOWN, Columns


class DatasetSource:
    """Reads images, and labels where there are any, out of a `tf.data.Dataset`.

    A run that goes on after it was interrupted finds its place by counting, so the data set must come in the same order
    every time: without shuffling (`shuffle=False`, or `reshuffle_each_iteration=False` with a fixed seed), and without
    random augmentation. The labels of finished parts are compared.

    Args:
        dataset: of images, (images,) or (images, labels), one at a time or in batches, as the model takes them; labels
            are class indices, 0 or 1 of one unit, or one-hot rows. Further components, such as weights, are ignored.
        class_names: in class order; None for what the data set says, as those of `image_dataset_from_directory` do.

    Attributes:
        row_count: N, None until it is known: where the data set does not say it, when it was read to its end.
        size: (H0, W0) of the images, None where it is not fixed.
        class_names: empty where none are known.

    Raises:
        TypeError: no `tf.data.Dataset`, or elements of another structure.
        ValueError: images of another rank, or a data set without end.
    """

    def __init__(self, dataset: Any, class_names: Sequence[str] | None = None):
        if not isinstance(dataset, tf.data.Dataset):
            raise TypeError(f"Expected a tf.data.Dataset, received {type(dataset).__name__}.")
        self.class_names = list(class_names if class_names is not None else getattr(dataset, "class_names", None) or [])
        spec = dataset.element_spec
        self._is_tuple = isinstance(spec, tuple)
        image = spec[0] if self._is_tuple and spec else spec
        if not isinstance(image, tf.TensorSpec):
            raise TypeError(
                f"Expected a data set of images, (images,) or (images, labels), received elements {spec}. Map it to "
                "that."
            )
        if image.shape.rank not in (3, 4):
            raise ValueError(
                f"Expected images (height, width, channels), or batches of them, received the shape {image.shape}."
            )
        self._spec = spec
        self._is_batched = image.shape.rank == 4
        self._dataset = dataset
        sides = tuple(image.shape[-3:-1])
        self.size: tuple[int, int] | None = None if None in sides else sides
        self.row_count = _row_count(dataset.unbatch() if self._is_batched else dataset)

    def digest(self) -> str:
        """Hexadecimal, of what the elements are; the images themselves are not read."""
        return hashlib.sha256(repr((self._spec, self.row_count)).encode()).hexdigest()

    def batches(self, finished: Mapping[int, np.ndarray], part_rows: int, batch_size: int) -> Iterator[Columns]:
        """The rows that no finished part holds, read ahead; those of finished parts are read and passed over.

        Args:
            finished: by number, the labels of the parts that are done; part n holds the rows from n * part_rows on.
            part_rows: rows of a part, beyond whose end no batch reaches.
            batch_size: rows of a batch, at most.

        Raises:
            ValueError: the data set fails, ends before a finished part does, or has other labels in it than before.
        """
        start = 0
        for images, labels in self._read(batch_size):
            for begin, end in _pieces(start, len(images), part_rows):
                rows = slice(begin - start, end - start)
                number = begin // part_rows
                if number not in finished:
                    yield _columns(begin, images[rows], labels[rows])
                elif not np.array_equal(finished[number][begin - number * part_rows :][: end - begin], labels[rows]):
                    raise ValueError(_OTHER_ORDER.format(f"other labels in the rows {begin} to {end - 1}"))
            start += len(images)
        if finished and start < max(number * part_rows + len(labels) for number, labels in finished.items()):
            raise ValueError(_OTHER_ORDER.format(f"only {start} rows"))
        self.row_count = start

    def _read(self, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images (B, H0, W0, C) and labels (B,) int32, in batches of one size."""
        batched = self._dataset.rebatch(batch_size) if self._is_batched else self._dataset.batch(batch_size)
        elements = batched.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()
        count = 0
        while True:
            try:
                element = next(elements)
            except StopIteration:
                return
            except tf.errors.OpError as error:
                raise ValueError(
                    f"The data set fails after row {count}: {str(error).splitlines()[0][:300]} Leave broken elements "
                    "out by dataset.ignore_errors(), or give the files as a folder or CSV: a broken one is then a row."
                ) from error
            images = element[0] if self._is_tuple else element
            labels = element[1] if self._is_tuple and len(element) > 1 else None
            yield images, _indices(labels, len(images))
            count += len(images)

    def images(self, rows: Sequence[int]) -> np.ndarray:
        """Images of some rows, (B, H0, W0, C) as the data set has them; it is read from the beginning to the last.

        Args:
            rows: positions, each below N.

        Raises:
            IndexError: a row beyond the end.
            ValueError: the data set fails.
        """
        wanted, found, start = set(map(int, rows)), {}, 0
        for images, _ in self._read(64):
            found.update({start + n: images[n] for n in range(len(images)) if start + n in wanted})
            start += len(images)
            if len(found) == len(wanted):
                return np.stack([found[int(row)] for row in rows])
        raise IndexError(f"Expected rows below {start}, the length of the data set, received {max(wanted)}.")


_OTHER_ORDER = (
    "The data set is not what it was when this run began: it has {}. Give it in the same order every time, without "
    "shuffling, or choose another folder by --out."
)


def _row_count(dataset: Any) -> int | None:
    count = int(dataset.cardinality())
    if count == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "Expected a data set that ends, received one that repeats for ever: drop .repeat(), or .take(n)."
        )
    return None if count < 0 else count


def _pieces(start: int, count: int, part_rows: int) -> Iterator[tuple[int, int]]:
    """Rows from `start` on, cut where parts end."""
    end = start + count
    while start < end:
        stop = min(end, (start // part_rows + 1) * part_rows)
        yield start, stop
        start = stop


def _columns(start: int, images: np.ndarray, labels: np.ndarray) -> Columns:
    index = np.arange(start, start + len(images), dtype=np.int64)
    names = np.array([f"image {number}" for number in index.tolist()], object)
    return {"index": index, "file": names, "label": labels, "image": images}


def _indices(labels: Any, count: int) -> np.ndarray:
    """(B,) int32 out of class indices, (B, 1) of them, or one-hot rows (B, K)."""
    if labels is None:
        return np.full(count, UNKNOWN, np.int32)
    labels = np.asarray(labels)
    if labels.ndim == 2:
        labels = labels.argmax(axis=1) if labels.shape[1] > 1 else labels[:, 0]
    if labels.shape != (count,) or labels.dtype.kind not in "biuf":
        raise ValueError(
            f"Expected labels as class indices or one-hot rows, received {labels.dtype} of shape {labels.shape}."
        )
    return labels.astype(np.int32)
