"""Images for the model: as batches of tf.data, or as arrays for Keras's other backends. The same pixels in both.

Axis legend: N samples, B samples of a batch, H0 x W0 pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.folder import Samples
from training.data.photos import in_threads, read_photo

if TYPE_CHECKING:
    import tensorflow as tf

CACHE_SHARE = 0.25  # of the memory that is free: the model, its gradients and a second pipeline need the rest
_UNKNOWN_MEMORY = 4 * 2**30  # bytes taken as free where the system does not say


def batches(
    samples: Samples,
    image_size: tuple[int, int],
    batch_size: int,
    *,
    shuffle: bool,
    seed: int = 42,
    cache: bool | None = None,
) -> tf.data.Dataset:
    """Batches of all samples: decoded in parallel, kept in memory where they fit, prepared ahead of the model.

    Args:
        samples: N samples.
        image_size: (H0, W0) to which each photo is resized, proportions not kept.
        batch_size: B, at least 1; the last batch holds what is left.
        shuffle: in a new order in each epoch, for training; False keeps the order of `samples`.
        seed: of the orders; the same seed gives the same sequence of them.
        cache: keep the resized photos in memory, as uint8; None does so where all of them take at most
            `CACHE_SHARE` of the memory that is free.

    Returns:
        Dataset of (images (B, H0, W0, 3) float32 RGB 0..255, labels (B,) int32), of known length.

    Raises:
        ValueError: no sample, a size or a batch size that is not positive.
    """
    import tensorflow as tf

    _check(samples, image_size)
    if batch_size < 1:
        raise ValueError(f"Expected a batch size of at least 1, received {batch_size}.")
    if cache is None:
        cache = len(samples) * image_size[0] * image_size[1] * 3 <= CACHE_SHARE * free_memory()

    dataset = _photos(samples, image_size, seed if shuffle else None, cache).batch(batch_size)
    dataset = dataset.map(lambda photos, labels: (tf.cast(photos, tf.float32), labels))
    return dataset.prefetch(tf.data.AUTOTUNE)


def arrays(samples: Samples, image_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """All samples in memory, without TensorFlow; pixel for pixel those of `batches`.

    Args:
        samples: N samples.
        image_size: (H0, W0) to which each photo is resized, proportions not kept.

    Returns:
        photos (N, H0, W0, 3) uint8 RGB, labels (N,) int32.

    Raises:
        ValueError: a size that is not positive, a file that is no picture any more.
        OSError: a file that cannot be read any more.
    """
    _check(samples, image_size, at_least=0)
    photos = np.empty((len(samples), *image_size, 3), np.uint8)
    for index, photo in enumerate(in_threads(lambda file: _photo(file, image_size), samples.files, "Read")):
        photos[index] = photo
    return photos, samples.labels.astype(np.int32)


def free_memory() -> int:
    """Bytes that this process may still take: free ones of the machine, or of its container where that has fewer."""
    free = _UNKNOWN_MEMORY
    try:
        words = Path("/proc/meminfo").read_text(encoding="ascii").partition("MemAvailable:")[2].split()
        free = int(words[0]) * 1024
    except (OSError, IndexError):  # no Linux
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit, used = (Path("/sys/fs/cgroup", name).read_text() for name in ("memory.max", "memory.current"))
        return min(free, max(int(limit) - int(used), 0))
    except (OSError, ValueError):  # no container, or "max": no limit
        return free


def _photos(samples: Samples, image_size: tuple[int, int], seed: int | None, cache: bool) -> tf.data.Dataset:
    """One uint8 photo and its label after the other, in the order of `samples` where there is no seed."""
    import tensorflow as tf

    pairs = (np.arange(len(samples), dtype=np.int64), samples.labels.astype(np.int32))
    dataset = tf.data.Dataset.from_tensor_slices(pairs)
    # What is cached keeps its order for good: shuffle after the cache, and before the files are read without one.
    if seed is not None and not cache:
        dataset = dataset.shuffle(len(samples), seed=seed)
    dataset = dataset.map(_loader(samples.files, image_size), num_parallel_calls=tf.data.AUTOTUNE)
    if cache:
        dataset = dataset.cache()
    if seed is not None and cache:
        dataset = dataset.shuffle(len(samples), seed=seed)
    return dataset


def _loader(files: Sequence[Path], image_size: tuple[int, int]) -> Callable[[Any, Any], tuple[Any, Any]]:
    """From the index of a file to its photo; OpenCV decodes, so that arrays and batches agree in every pixel."""
    import tensorflow as tf

    def photo_at(index: np.ndarray) -> np.ndarray:
        return _photo(files[int(index)], image_size)

    def load(index: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        photo = tf.numpy_function(photo_at, [index], tf.uint8, stateful=False)
        return tf.ensure_shape(photo, (*image_size, 3)), label

    return load


def _photo(file: Path, image_size: tuple[int, int]) -> np.ndarray:
    try:
        return read_photo(file, image_size)
    except ValueError as error:
        raise ValueError(f"Cannot read {str(file)!r}: {error}. It was whole when the training began.") from error


def _check(samples: Samples, image_size: Any, at_least: int = 1) -> None:
    if len(image_size) != 2 or min(image_size) < 1:
        raise ValueError(f"Expected an image size (height, width) of positive numbers, received {image_size}.")
    if len(samples) < at_least:
        raise ValueError("Expected at least one sample, received none.")
