"""Images for the model: batches of tf.data, or arrays for the other backends of Keras. The pixels are the same in both.

Axis legend: N samples, B samples of a batch, H0 x W0 pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_gradcam.image import load_image

from .folder import Samples, in_threads

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

STRENGTHS = ("light", "strong")  # of the augmentation
DEGREES = 10  # of the light one
FACTOR = 0.1  # of the strong one: 36 degrees, a tenth of the width; at Keras's 0.5 an image may stand on its head
CACHE_SHARE = 0.25  # of the free memory; the model, its gradients and a second pipeline need the rest
_UNKNOWN_MEMORY = 4 * 2**30  # free bytes to assume if the system does not report them


class Order:
    """The order of N samples in each epoch.

    It depends on the seed and the epoch alone, so a resumed training has the order that it would have had.

    Args:
        count: N.
        seed: of the orders; None for one order, that of the samples.
    """

    def __init__(self, count: int, seed: int | None):
        self._count, self._seed = count, seed
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Take the order of an epoch, from 0."""
        self.rows = np.arange(self._count)
        if self._seed is not None:
            self.rows = np.random.default_rng([self._seed, epoch]).permutation(self._count)


def batches(
    samples: Samples,
    image_size: tuple[int, int],
    batch_size: int,
    order: Order | None = None,
    *,
    cache: bool | None = None,
) -> tf.data.Dataset:
    """Return batches of all samples, decoded in parallel, kept in memory if they fit, and prepared ahead of the model.

    Args:
        samples: N samples.
        image_size: (H0, W0) to which each photo is resized, proportions not kept.
        batch_size: B, at least 1; the last batch may be smaller.
        order: of the samples, as it is when an iteration begins; None for that of `samples`.
        cache: keep the resized photos in memory, as uint8; None does so if they take at most `CACHE_SHARE` of the free
            memory.

    Returns:
        Dataset of (images (B, H0, W0, 3) float32 RGB 0..255, labels (B,) int32), of known length.

    Raises:
        ValueError: there are no samples; the size or the batch size is not positive.
    """
    import tensorflow as tf

    _check(samples, image_size)
    if batch_size < 1:
        raise ValueError(f"Expected a batch size of at least 1, received {batch_size}. Raise it.")
    if cache is None:
        cache = len(samples) * image_size[0] * image_size[1] * 3 <= CACHE_SHARE * free_memory()
    order = order or Order(len(samples), None)

    def rows(_: Any) -> tf.data.Dataset:
        now = tf.numpy_function(lambda: order.rows, [], tf.int64)
        return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(now, (len(samples),)))

    dataset = tf.data.Dataset.from_tensors(0).flat_map(rows)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(samples)))
    dataset = dataset.map(_loader(samples, image_size, cache), num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)
    dataset = dataset.map(lambda photos, labels: (tf.cast(photos, tf.float32), labels))
    return dataset.prefetch(tf.data.AUTOTUNE)


def arrays(samples: Samples, image_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return all samples as arrays, without TensorFlow; the pixels are equal to those of `batches`.

    Args:
        samples: N samples.
        image_size: (H0, W0) to which each photo is resized, proportions not kept.

    Returns:
        photos (N, H0, W0, 3) uint8 RGB, labels (N,) int32.

    Raises:
        ValueError: the size is not positive; a file is not an image any more.
        OSError: a file cannot be read any more.
    """
    _check(samples, image_size, at_least=0)
    photos = np.empty((len(samples), *image_size, 3), np.uint8)
    for index, photo in enumerate(in_threads(lambda file: load_image(file, image_size), samples.files, "Read")):
        photos[index] = photo
    return photos, samples.labels.astype(np.int32)


def augmentation(seed: int, strength: str = "light", degrees: float = DEGREES) -> keras.Sequential:
    """Return layers that vary images in training; they are layers of Keras, so they run on every backend.

    Args:
        seed: of the draws.
        strength: "light" mirrors half of the images left to right and turns all of them, the margins become black;
            "strong" mirrors and then applies RandAugment: two changes of position, colour or contrast, drawn for each
            batch. Source: Cubuk et al. 2020, https://arxiv.org/abs/1909.13719.
        degrees: of "light", the largest angle, in either direction.

    Raises:
        ValueError: the strength is unknown.
    """
    import keras

    if strength not in STRENGTHS:
        raise ValueError(f"Expected an augmentation of {STRENGTHS}, received '{strength}'.")
    flip = keras.layers.RandomFlip("horizontal", seed=seed, dtype="float32")
    change = keras.layers.RandomRotation(degrees / 360, fill_mode="constant", seed=seed + 1, dtype="float32")
    if strength == "strong":
        change = keras.layers.RandAugment((0, 255), factor=FACTOR, seed=seed + 1, dtype="float32")
    return keras.Sequential([flip, change], name="augmentation")


def free_memory() -> int:
    """Return the free memory in bytes: of the machine, or of its container if that has less."""
    free = _UNKNOWN_MEMORY
    try:
        words = Path("/proc/meminfo").read_text(encoding="ascii").partition("MemAvailable:")[2].split()
        free = int(words[0]) * 1024
    except (OSError, IndexError):  # not Linux
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit, used = (Path("/sys/fs/cgroup", name).read_text() for name in ("memory.max", "memory.current"))
        return min(free, max(int(limit) - int(used), 0))
    except (OSError, ValueError):  # not in a container, or "max": no limit
        return free


def _loader(samples: Samples, image_size: tuple[int, int], cache: bool) -> Callable[[Any], tuple[Any, Any]]:
    """Return a function from a row to its photo and label. It reads as `arrays` does, so every pixel is equal."""
    import tensorflow as tf

    kept: dict[int, np.ndarray] = {}
    labels = samples.labels.astype(np.int32)

    def photo_at(row: np.ndarray) -> np.ndarray:
        number = int(row)
        if number in kept:
            return kept[number]
        photo = load_image(samples.files[number], image_size)
        if cache:
            kept[number] = photo
        return photo

    def load(row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        photo = tf.numpy_function(photo_at, [row], tf.uint8, stateful=False)
        return tf.ensure_shape(photo, (*image_size, 3)), tf.gather(labels, row)

    return load


def _check(samples: Samples, image_size: Any, at_least: int = 1) -> None:
    if len(image_size) != 2 or min(image_size) < 1:
        raise ValueError(f"Expected an image size (height, width) of positive numbers, received {image_size}.")
    if len(samples) < at_least:
        raise ValueError("Expected at least one sample, received none. Add images.")
