"""Image files as a model takes them: its channels, size and range; many files at a time, by threads.

Axis legend: B images, H0 x W0 pixels, C channels (1 or 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING

import numpy as np

from tf_gradcam._errors import Message
from tf_gradcam._models.preprocessing import Preprocessing
from tf_gradcam.image.io import read_picture, resize_by_area
from tf_gradcam.image.thumbnails import shrunk, thumbnail

if TYPE_CHECKING:
    from tf_gradcam._models.reader import ModelInputs

_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601, as JPEG and OpenCV weigh
# Where the model leaves the size free: the side that the family was trained at, 224 for others.
_SIDES = {"inception_v3": 299, "inception_resnet_v2": 299, "xception": 299}


@dataclass
class ImageBatch:
    """A batch of images, read or being read.

    Attributes:
        images: (B, H0, W0, C), as the model takes them; undefined for a failed image.
        errors: per image "", or why it failed.
        thumbnails: per image a JPEG, b"" for a failed image.
        notes: per image "", or what was chosen or changed to read it.
        digests: per image a digest of its file, "" without one.
        sizes: per image (height, width) of the picture in its file; (0, 0) without one.
    """

    images: np.ndarray
    errors: list[str]
    thumbnails: list[bytes]
    notes: list[str]
    digests: list[str]
    sizes: list[tuple[int, int]]

    @classmethod
    def of(cls, images: np.ndarray) -> ImageBatch:
        """Return a batch of which nothing but the images is known."""
        count = len(images)
        return cls(images, [""] * count, [b""] * count, [""] * count, [""] * count, [(0, 0)] * count)

    def __len__(self) -> int:
        return len(self.images)


class ModelImages:
    """A converter of photos and files into the images of one model.

    Args:
        inputs: the model's; a single input of images.
        preprocessing: of the model, with a known mode.
        size: (height, width) in pixels for a model with a free size; None for the model's own size, the size that its
            preprocessor makes, or the training size of its family.
        side: longer side of thumbnails, pixels.

    Attributes:
        size: (H0, W0).
        channels: C.

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
        """Convert photos to images of the model.

        Args:
            photos: (..., H0, W0, 3) RGB 0..255, of the model's size.

        Returns:
            (..., H0, W0, C) float32.
        """
        if self.channels == 1:
            photos = (np.asarray(photos, np.float32) @ _GREY)[..., None]
        return self.preprocessing(photos)

    def of_photo(self, photo: np.ndarray) -> np.ndarray:
        """Convert a photo (H, W, 3) uint8 RGB of any size to an image (H0, W0, C) float32 of the model."""
        return self.of_photos(resize_by_area(photo, self.size))

    def load_photos(self, files: Sequence[str], digests: list[str] | None = None) -> np.ndarray:
        """Read photos (B, H0, W0, 3) uint8 RGB; the digests of their files are appended; errors as `load_image`."""
        photos = []
        for path in files:
            picture = read_picture(path, self.size)
            photos.append(resize_by_area(picture.photo, self.size))
            if digests is not None:
                digests.append(picture.digest)
        return np.stack(photos)

    def reading(self, files: Sequence[str], pool: ThreadPool) -> Reading:
        """Start reading files in threads; `get` of the result waits for them."""
        pictures = ImageBatch.of(np.empty((len(files), *self.shape), np.float32))
        return Reading(pictures, [pool.apply_async(self._read, (path, pictures, n)) for n, path in enumerate(files)])

    def _read(self, path: str, into: ImageBatch, number: int) -> None:
        """Decode a file once, for the model and the thumbnail."""
        try:
            picture = read_picture(path, self.size)
            into.images[number] = self.of_photo(picture.photo)
            into.thumbnails[number] = thumbnail(picture.photo, self._side)
            into.notes[number], into.digests[number] = "; ".join(picture.notes), picture.digest
            into.sizes[number] = picture.size
        except (OSError, ValueError, MemoryError) as error:
            into.errors[number] = " ".join(str(error).split()) or type(error).__name__

    def given(self, images: np.ndarray, pool: ThreadPool) -> Reading:
        """Start checking a batch of the model's images; an image that is not finite counts as failed.

        Raises:
            ValueError: the shape of the images is not the model's.
        """
        if images.ndim != 4 or images.shape[1:] != self.shape:
            raise ValueError(
                f"Expected images of shape {self.shape} as the model takes them, received {images.shape[1:]}. Resize "
                "them in the data set, or pass size=(height, width)."
            )
        pictures = ImageBatch.of(images)
        return Reading(pictures, [pool.apply_async(self._look, (pictures, n)) for n in range(len(images))])

    def _look(self, pictures: ImageBatch, number: int) -> None:
        """Check an image and make its thumbnail, shrunk before its colours are restored: a tenth of the time."""
        image = np.asarray(pictures.images[number], np.float32)
        if np.isfinite(image).all():
            (photo,) = photos_of(shrunk(image, self._side)[None], self.preprocessing.mode)
            pictures.thumbnails[number] = thumbnail(photo, self._side)
        else:
            pictures.errors[number] = "The image holds NaN or infinite values: check the data set."


class Reading:
    """A batch that threads are reading."""

    def __init__(self, pictures: ImageBatch, tasks: list):
        self._pictures = pictures
        self._tasks = tasks

    def get(self) -> ImageBatch:
        """Wait for the batch and return it."""
        for task in self._tasks:
            task.get()
        return self._pictures


def model_failure(error: Exception) -> str:
    """Return the message of an error raised by the model, without TensorFlow's trace and list of nodes."""
    if type(error).__name__ == "ResourceExhaustedError":
        return "The memory is too small for a batch of this size. Use smaller batches, or a smaller model."
    lines = [line for line in str(error).splitlines() if line.strip() and not line.lstrip().startswith("[[")]
    return f"The model fails: {type(error).__name__}: {lines[-1][:300] if lines else ''}"


def _channels(inputs: ModelInputs) -> int:
    if len(inputs.names) != 1:
        fact = f"Expected a model of one input, received {len(inputs.names)} inputs ({', '.join(inputs.names)})."
        call = "Explain it by Explainer(model)([images, ...]), or by `tf-gradcam explain --input NAME=VALUE`."
        raise ValueError(Message(fact, call, "Explain it by `tf-gradcam explain --input NAME=VALUE`."))
    shape = inputs.image_shape
    if len(shape) != 4 or shape[-1] not in (1, 3, None):
        raise ValueError(
            f"Expected a model of images (B, height, width, 1 or 3), received an input of shape {shape}. Explain it in "
            "Python: Explainer(model)(images)."
        )
    return shape[-1] or 3


def _size(inputs: ModelInputs, preprocessing: Preprocessing, size: tuple[int, int] | None) -> tuple[int, int]:
    """Return (height, width): the model's own, the requested, that of its preprocessor, or its family's in training."""
    height, width = inputs.image_shape[1:3]
    side = _SIDES.get(preprocessing.architecture or "", 224)
    usual = inputs.usual_size or (side, side)
    wanted = size or (height or usual[0], width or usual[1])
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
    """Restore photos from preprocessed images, rounded.

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
    elif mode == "raw16":
        values = values / np.float32(257)
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
