"""Many image files explained, a batch at a time: files written, one result an image, whatever happens to the others.

Axis legend: B images, H0 x W0 pixels, C channels.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool  # its threads do not keep an interrupted program alive
from pathlib import Path
from typing import Any

import numpy as np

from tf_gradcam.atomic import write_array
from tf_gradcam.explainer import Explainer
from tf_gradcam.explanation import Explanation
from tf_gradcam.filelist import HEATMAP_SUFFIX, OVERLAY_SUFFIX
from tf_gradcam.image import load_image, overlay_heatmap, save_image
from tf_gradcam.manifest import DONE, FAILED, Row
from tf_gradcam.preprocessing import Preprocessing

# Reading and writing pictures, which OpenCV does outside Python's lock; further threads only hold more photos.
_THREADS = min(8, os.cpu_count() or 1)
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601, as JPEG and OpenCV weigh
# Where the model leaves the size free: the side that the family was trained at, 224 for others.
_SIDES = {"inception_v3": 299, "inception_resnet_v2": 299, "xception": 299}


@dataclass(frozen=True)
class Result:
    """What became of one image.

    Attributes:
        row: for the manifest.
        top: the five most probable classes, (label, probability), best first; empty for a failed image and where
            the outputs are no classes.
        note: why its map is blank, or None.
    """

    row: Row
    top: list[tuple[str, float]]
    note: str | None


class BatchExplainer:
    """Explains image files with one explainer.

    Args:
        explainer: of a model with one image input, of one or three channels.
        preprocessing: turns photos into what the model wants.
        size: (height, width) in pixels, for a model that leaves its size free; None for the model's own, or for the
            side that its family was trained at.
        target: as `Explainer` takes it.
        alpha: weight of the heatmap in overlays, in [0, 1].
        colormap: of the overlays.
        batch_size: images at a time, at least 1.

    Attributes:
        size: (height, width) of the images that the model is given.
        class_count: how many classes its outputs tell apart, None where they are values.

    Raises:
        ValueError: for a model of several inputs or of other channels, a `size` that the model does not take, an
            unknown class or colour map.
    """

    def __init__(
        self,
        explainer: Explainer,
        preprocessing: Preprocessing,
        size: tuple[int, int] | None = None,
        *,
        target: Any = None,
        alpha: float = 0.4,
        colormap: str = "jet",
        batch_size: int = 8,
    ):
        self._explainer = explainer
        self._preprocessing = preprocessing
        self._target = target
        self._alpha = alpha
        self._colormap = colormap
        self._batch_size = batch_size
        self._channels = _check_inputs(explainer)
        self.size = _image_size(explainer, preprocessing, size)
        self.class_count = self._try_out()

    def _try_out(self) -> int | None:
        """Meet the errors that concern every image before one is written; this also compiles the model.

        Returns:
            the number of classes, None where the outputs are no classes.
        """
        black = np.zeros((*self.size, 3), np.uint8)
        overlay_heatmap(black[:1, :1], np.zeros((1, 1)), self._alpha, self._colormap)
        probabilities = self._explain([self._image(black)]).probabilities
        return None if probabilities is None or probabilities.ndim != 2 else probabilities.shape[1]

    def run(self, paths: Sequence[Path], stems: Sequence[str], directory: Path) -> Iterator[Result]:
        """Write `<stem>.overlay.png` and `<stem>.heatmap.npy` for each image into `directory`.

        Args:
            paths: the images.
            stems: what their outputs are called.
            directory: where they go; it exists.

        Yields:
            One `Result` per path, in their order, when its files are written. An image that cannot be read, explained
            or written fails alone, and nothing of it is written in half.
        """
        batches = [slice(start, start + self._batch_size) for start in range(0, len(paths), self._batch_size)]
        with ThreadPool(_THREADS) as pool:
            # The next batch is read, and the one before is written, while the model runs.
            reading = [[pool.apply_async(self._load, [path]) for path in paths[batch]] for batch in batches[:1]]
            writing: deque[Any] = deque()
            for number, batch in enumerate(batches):
                reading += [
                    [pool.apply_async(self._load, [path]) for path in paths[b]] for b in batches[number + 1 :][:1]
                ]
                current = reading.pop(0)
                while writing and not all(image.ready() for image in current):
                    yield writing.popleft().get()
                images = [image.get() for image in current]
                writing += self._explained(pool, paths[batch], [directory / stem for stem in stems[batch]], images)
                while len(writing) > self._batch_size:
                    yield writing.popleft().get()
            yield from (result.get() for result in writing)

    def _load(self, path: Path) -> np.ndarray | str:
        """The image as the model wants it, or why there is none."""
        try:
            return self._image(load_image(path, self.size))
        except (OSError, ValueError, MemoryError) as error:
            return str(error)

    def _explained(
        self, pool: ThreadPool, paths: Sequence[Path], outputs: Sequence[Path], loaded: list[np.ndarray | str]
    ) -> list[Any]:
        """Run the model over a batch and have its results written: a promise of a `Result` for each image."""
        images = [image for image in loaded if not isinstance(image, str)]
        explanation, reason = None, ""
        if images:
            try:
                explanation = self._explain(images)
            except Exception as error:  # of TensorFlow, such as memory running out; the next batch may be smaller
                reason = _reason(error)
        places = iter(range(len(images)))
        promised = []
        for path, output, image in zip(paths, outputs, loaded, strict=True):
            if isinstance(image, str) or explanation is None:
                promised.append(pool.apply_async(_failure, [path, image if isinstance(image, str) else reason]))
            else:
                promised.append(pool.apply_async(self._finish, [path, output, explanation, next(places)]))
        return promised

    def _image(self, photo: np.ndarray) -> np.ndarray:
        """(H0, W0, C) float32 as the model wants it, from a photo of its size."""
        if self._channels == 1:
            photo = (photo.astype(np.float32) @ _GREY)[..., None]
        return self._preprocessing(photo)

    def _explain(self, images: Sequence[np.ndarray]) -> Explanation:
        return self._explainer(np.stack(images), self._target)

    def _finish(self, path: Path, output: Path, explanation: Explanation, index: int) -> Result:
        """Write the files of one image; the photo is read again, so that no batch of large photos is held."""
        try:
            overlay = explanation.overlay_of(index, load_image(path), self._alpha, self._colormap)
            save_image(Path(f"{output}{OVERLAY_SUFFIX}"), overlay)
            write_array(f"{output}{HEATMAP_SUFFIX}", explanation.heatmaps[index])
        except (OSError, ValueError, MemoryError) as error:
            return _failure(path, str(error))
        class_index = int(explanation.class_indices[index])
        row = Row(
            str(path),
            DONE,
            str(class_index) if class_index >= 0 else "",
            explanation.labels[index],
            f"{explanation.scores[index]:.6g}",
            explanation.layer_name,
            explanation.method,
        )
        top = [] if self.class_count is None else explanation.top(5)[index]
        return Result(row, top, explanation.diagnosis[index])


def _failure(path: Path, error: str) -> Result:
    return Result(Row(str(path), FAILED, error=" ".join(error.split())), [], None)


def _reason(error: Exception) -> str:
    """What an error of the model says, without the trace and the list of nodes that TensorFlow puts around it."""
    if type(error).__name__ == "ResourceExhaustedError":
        return "The memory is too small for a batch of this size. Lower --batch-size, or use a smaller model."
    lines = [line for line in str(error).splitlines() if line.strip() and not line.lstrip().startswith("[[")]
    return f"The model fails: {type(error).__name__}: {lines[-1][:300] if lines else ''}"


def _check_inputs(explainer: Explainer) -> int:
    """The number of channels that the model takes."""
    inputs = explainer.split.inputs
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


def _image_size(explainer: Explainer, preprocessing: Preprocessing, size: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) of the images: what the model fixes, else what was asked for, else what suits its family."""
    height, width = explainer.split.inputs.image_shape[1:3]
    side = _SIDES.get(preprocessing.architecture or "", 224)
    wanted = size or (height or side, width or side)
    if height not in (None, wanted[0]) or width not in (None, wanted[1]):
        raise ValueError(
            f"Expected images of the model's own size {height} x {width}, received {wanted[0]} x {wanted[1]}. "
            "Leave the size out."
        )
    return wanted
