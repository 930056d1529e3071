"""Image files as a model takes them: its channels, its size, its range; many at a time, by threads.

Axis legend: B images, H0 x W0 pixels, C channels (1 or 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING

import numpy as np

from tf_gradcam._models.preprocessing import Preprocessing
from tf_gradcam.image.io import load_image, resize_by_area
from tf_gradcam.image.thumbnails import shrunk, thumbnail

if TYPE_CHECKING:
    from tf_gradcam._models.reader import ModelInputs

_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601, as JPEG and OpenCV weigh
# Where the model leaves the size free: the side that the family was trained at, 224 for others.
_SIDES = {"inception_v3": 299, "inception_resnet_v2": 299, "xception": 299}


@dataclass
class ImageBatch:
    """A batch that was read, or is being read.

    Attributes:
        images: (B, H0, W0, C), as the model takes them; what failed holds anything.
        errors: per image "", or why there is none.
        thumbnails: per image a JPEG, b"" where it failed.
    """

    images: np.ndarray
    errors: list[str]
    thumbnails: list[bytes]

    def __len__(self) -> int:
        return len(self.images)


class ModelImages:
    """Turns photos and files into images of one model.

    Args:
        inputs: of the model: one, of images.
        preprocessing: what it wants, of a known mode.
        size: (height, width) in pixels for a model that leaves its size free; None for the model's own, or for the side
            that its family was trained at.
        side: longer side of thumbnails, pixels.

    Attributes:
        size: (H0, W0).
        channels: C.
        preprocessing: as given.

    Raises:
        ValueError: a model of several inputs or of other channels, or a `size` that it does not take.
    """

    def __init__(
        self, inputs: ModelInputs, preprocessing: Preprocessing, size: tuple[int, int] | None = None, side: int = 96
    ):
        self.channels = _channels(inputs)
        self.size = _size(inputs, preprocessing, size)
        self.preprocessing = preprocessing
        self._side = side

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H0, W0, C) of an image."""
        return (*self.size, self.channels)

    def of_photos(self, photos: np.ndarray) -> np.ndarray:
        """What the model takes in place of photos.

        Args:
            photos: (..., H0, W0, 3) RGB 0..255, of the model's size.

        Returns:
            (..., H0, W0, C) float32.
        """
        if self.channels == 1:
            photos = (np.asarray(photos, np.float32) @ _GREY)[..., None]
        return self.preprocessing(photos)

    def of_photo(self, photo: np.ndarray) -> np.ndarray:
        """(H0, W0, C) float32, what the model takes in place of a photo (H, W, 3) uint8 RGB of any size."""
        return self.of_photos(resize_by_area(photo, self.size))

    def load_photos(self, files: Sequence[str]) -> np.ndarray:
        """(B, H0, W0, 3) uint8 RGB; raises what `load_image` raises."""
        return np.stack([load_image(path, self.size) for path in files])

    def reading(self, files: Sequence[str], pool: ThreadPool) -> Reading:
        """Have files read by threads; `get` of what is returned waits for them."""
        pictures = ImageBatch(np.empty((len(files), *self.shape), np.float32), [""] * len(files), [b""] * len(files))
        return Reading(pictures, [pool.apply_async(self._read, (path, pictures, n)) for n, path in enumerate(files)])

    def _read(self, path: str, into: ImageBatch, number: int) -> None:
        """Decoded once: for the model and for the thumbnail."""
        try:
            photo = load_image(path)
            into.images[number] = self.of_photo(photo)
            into.thumbnails[number] = thumbnail(photo, self._side)
        except (OSError, ValueError, MemoryError) as error:
            into.errors[number] = " ".join(str(error).split()) or type(error).__name__

    def given(self, images: np.ndarray, pool: ThreadPool) -> Reading:
        """Look through a batch that comes as images of the model: what is not finite counts as failed.

        Raises:
            ValueError: images of another shape than the model takes.
        """
        if images.ndim != 4 or images.shape[1:] != self.shape:
            raise ValueError(
                f"Expected images of shape {self.shape} as the model takes them, received {images.shape[1:]}. Resize "
                "them in the data set, or pass size=(height, width)."
            )
        pictures = ImageBatch(images, [""] * len(images), [b""] * len(images))
        return Reading(pictures, [pool.apply_async(self._look, (pictures, n)) for n in range(len(images))])

    def _look(self, pictures: ImageBatch, number: int) -> None:
        """Shrunk before its colours are found, which takes a tenth of the time."""
        image = np.asarray(pictures.images[number], np.float32)
        if np.isfinite(image).all():
            (photo,) = photos_of(shrunk(image, self._side)[None], self.preprocessing.mode)
            pictures.thumbnails[number] = thumbnail(photo, self._side)
        else:
            pictures.errors[number] = "The image holds NaN or infinite values: check the data set."


class Reading:
    """A batch on its way."""

    def __init__(self, pictures: ImageBatch, tasks: list):
        self._pictures = pictures
        self._tasks = tasks

    def get(self) -> ImageBatch:
        """The batch, when it is read."""
        for task in self._tasks:
            task.get()
        return self._pictures


def model_failure(error: Exception) -> str:
    """What an error of the model says, without the trace and the list of nodes that TensorFlow puts around it."""
    if type(error).__name__ == "ResourceExhaustedError":
        return "The memory is too small for a batch of this size. Use smaller batches, or a smaller model."
    lines = [line for line in str(error).splitlines() if line.strip() and not line.lstrip().startswith("[[")]
    return f"The model fails: {type(error).__name__}: {lines[-1][:300] if lines else ''}"


def _channels(inputs: ModelInputs) -> int:
    """The number of channels that the model takes."""
    if len(inputs.names) != 1:
        raise ValueError(
            f"Expected a model of one input, received one of {len(inputs.names)} ({', '.join(inputs.names)}). Explain "
            "it in Python: Explainer(model)([images, ...])."
        )
    shape = inputs.image_shape
    if len(shape) != 4 or shape[-1] not in (1, 3, None):
        raise ValueError(
            f"Expected a model of images (B, height, width, 1 or 3), received one that takes {shape}. Explain it in "
            "Python: Explainer(model)(images)."
        )
    return shape[-1] or 3


def _size(inputs: ModelInputs, preprocessing: Preprocessing, size: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) of the images: what the model fixes, else what was asked for, else what suits its family."""
    height, width = inputs.image_shape[1:3]
    side = _SIDES.get(preprocessing.architecture or "", 224)
    wanted = size or (height or side, width or side)
    if height not in (None, wanted[0]) or width not in (None, wanted[1]):
        raise ValueError(
            f"Expected images of the model's own size {height} x {width}, received {wanted[0]} x {wanted[1]}. "
            "Leave the size out."
        )
    return wanted


_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
_CAFFE_MEAN = np.array([103.939, 116.779, 123.68], np.float32)  # BGR


def photos_of(images: np.ndarray, mode: str) -> np.ndarray:
    """Photos that preprocessing turned into these images, rounded.

    Args:
        images: (B, H0, W0, 1 or 3), as the model takes them; finite.
        mode: of their preprocessing, a key of `MODES`; with any other, each image's lowest value becomes black and its
            highest white.

    Returns:
        (B, H0, W0, 3) uint8 RGB.
    """
    values = np.asarray(images, np.float32)
    if mode == "unit":
        values = values * 255
    elif mode == "tf":
        values = (values + 1) * 127.5
    elif mode == "torch":
        values = (values * _IMAGENET_DEVIATION + _IMAGENET_MEAN) * 255
    elif mode == "caffe":
        values = (values + _CAFFE_MEAN)[..., ::-1]
    elif mode != "raw":
        low, high = (function(values, axis=(1, 2, 3), keepdims=True) for function in (np.min, np.max))
        values = (values - low) * (255 / np.maximum(high - low, np.float32(1e-12)))
    photos = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return np.array(np.broadcast_to(photos, (*photos.shape[:-1], 3)))
