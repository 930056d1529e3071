"""Callbacks of `model.fit`: pictures of the evidence during training.

Axis legend: B images, K classes, H0 x W0 pixels.
"""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam._errors import unknown_name
from tf_gradcam._explain.explainer import Explainer
from tf_gradcam._figures.captions import Line
from tf_gradcam._figures.epochs import epoch_figure
from tf_gradcam._figures.sheet import GREY, RED
from tf_gradcam._files.atomic import checked_path, write_bytes
from tf_gradcam._files.class_names import ClassNames, ClassNamesLike, Labels, class_indices, label_indices
from tf_gradcam._models.layers import LayerLike
from tf_gradcam._models.reader import Images
from tf_gradcam._results.explanation import Explanation
from tf_gradcam._rules.contract import Rule
from tf_gradcam._rules.table import MethodName, find_method
from tf_gradcam.image.io import Photos
from tf_gradcam.image.overlay import to_photo
from tf_gradcam.image.thumbnails import shown_photo
from tf_gradcam.targets.base import TargetLike

_MAX_IMAGES = 64  # more make a picture that no screen holds; they are explained in one batch during training
_CHOOSE = "Choose some, as images[:16]."


class FixedImages:
    """A few images with their photos and labels.

    Attributes, from arguments as of `GradCAMCallback`:
        images: a copy, in the same structure.
        photos: B photos uint8 RGB, no larger than a panel of a figure can show.
        labels: (B,) int32, or None.
        names: of the classes.

    Raises:
        TypeError: images that are not numbers, such as paths or a dataset.
        ValueError: no or more than 64 images, another number of photos or labels, no photos for images that are not
            photos, an unknown label.
    """

    def __init__(
        self, images: Images, photos: Photos | None, labels: Labels | None, class_names: ClassNamesLike | None
    ):
        self.names = ClassNames(class_names)
        self.images = _copied(images)
        self.photos = _photos(self.images, photos)
        self.labels = None if labels is None else label_indices(labels, len(self), self.names)

    def __len__(self) -> int:
        return len(self.photos)


def _copied(images: Images) -> Any:
    """Copy the user's images, which may change later."""
    if isinstance(images, tf.data.Dataset):
        raise TypeError("Expected images as an array, received a tf.data.Dataset: take next(iter(dataset))[0][:16].")
    is_batch = isinstance(images, (list, tuple)) and all(np.ndim(image) == 3 for image in images)
    if is_batch and len({np.shape(image) for image in images}) > 1:
        raise ValueError("Expected images of one shape, received several: resize them to the model's input.")
    parts = np.array(images) if is_batch else keras.tree.map_structure(np.array, images)
    for part in keras.tree.flatten(parts):
        if part.ndim == 0 or part.dtype.kind not in "biuf":
            raise TypeError(
                f"Expected images as arrays of numbers, received {part.tolist()!r:.80}. Read files with "
                "get_img_array(path, size=(height, width)), and scale them as the model was trained."
            )
        if not 1 <= len(part) <= _MAX_IMAGES:
            raise ValueError(f"Expected 1 to {_MAX_IMAGES} images, received {len(part)}. {_CHOOSE}")
    return parts


def _photos(images: Any, photos: Any) -> list[np.ndarray]:
    """Return the photos to paint on, or the images themselves where they are photos."""
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
            f"Expected photos=, uint8 RGB, beside images that are not photos themselves, received None. {error}"
        ) from error


__all__ = ["GradCAMCallback"]

_TAG = "gradcam"


class GradCAMCallback(keras.callbacks.Callback):
    """Callback that writes overlays of the same few images before the first epoch and after each.

    `directory/epoch_0003.png` shows the evidence after the third epoch, `epoch_0000.png` before training. The training
    is the same, bit for bit, as without it. Wrong arguments raise an error before its first step; a picture that fails
    later (a full disk) raises one warning, and the training goes on. A second fit counts its epochs from
    `initial_epoch`, as Keras does. Of several workers, only the chief needs it.

    Args:
        images: (B, H0, W0, 3) validation images as the model expects them, B at most 64; a list or dict for a model of
            several inputs. They are copied, and explained as one batch.
        directory: folder of the pictures, created if it does not exist. Pictures of the same epochs are replaced.
        labels: true class of each image, indices or names; None where unknown.
        photos: B photos (H0, W0, 3) uint8 RGB to paint on, of any sizes; None where the images are RGB in 0..255.
        class_names: names in class order, or {index: name}.
        model: the classifier to explain, if it is inside the trained model: a model that shares its weights, or the
            name of a layer that is a model. Defaults to the trained model.
        layer, method, classifier_layers, token_grid: as `Explainer`.
        target: as an explainer's call. Defaults to the true class if `labels` are given, so that the pictures of all
            epochs explain the same, else to each image's top class; `[None] * B` always means the top class.
        every: epochs between pictures, at least 1. Defaults to 1.
        log_dir: folder for TensorBoard, which gets the same pictures in `log_dir/gradcam`, step 0 before training and
            step n after epoch n. Only looking at them needs the `tensorboard` package.

    Attributes:
        explanation: of the last picture, None before the first.
        missing: the epochs whose picture failed in the last training.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: no images or too many, another number of photos or labels, an unknown name; when training begins:
            images of another shape than the model's, or as `Explainer`.
        OSError: a folder that cannot be written.

    Example:
        >>> model.fit(training, epochs=25, callbacks=[GradCAMCallback(images, "pictures", labels, class_names=names)])
    """

    def __init__(
        self,
        images: Images,
        directory: str | os.PathLike[str],
        labels: Labels | None = None,
        *,
        photos: Photos | None = None,
        class_names: ClassNamesLike | None = None,
        model: keras.Model | str | None = None,
        layer: LayerLike | Sequence[LayerLike] | None = None,
        method: MethodName | Rule = "gradcam",
        target: TargetLike = None,
        classifier_layers: Sequence[LayerLike] | None = None,
        token_grid: Sequence[int] | None = None,
        every: int = 1,
        log_dir: str | os.PathLike[str] | None = None,
    ):
        super().__init__()
        find_method(method)
        self._shown = FixedImages(images, photos, labels, class_names)
        labels_known = self._shown.labels
        self._target = target if target is not None or labels_known is None else labels_known.tolist()
        self._is_asked = target is not None
        if not callable(target):
            class_indices(target, len(self._shown), self._shown.names)
        self._inner = model
        self._options: dict[str, Any] = {
            "layer": layer,
            "method": method,
            "classifier_layers": classifier_layers,
            "token_grid": token_grid,
            "class_names": class_names,
        }
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"Expected every, the epochs between pictures, as 1 or more, received {every!r}.")
        self._every = every
        self.directory = _writable_folder("directory", directory)
        self._log_folder = None if log_dir is None else _writable_folder("log_dir", log_dir, _TAG)
        self.explanation: Explanation | None = None
        self.missing: list[int] = []
        self._explainer: Explainer | None = None
        self._events: _Events | None = None
        self._has_begun = False

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Build the explainer and check the images against the model's input."""
        self.missing, self._has_begun = [], False
        model = self._classifier()
        if self._explainer is None or not self._explainer.fits(model):
            self._explainer = Explainer(model, **self._options)
        self._explainer.split.inputs.flatten(self._shown.images)
        if self._log_folder is not None:
            self._events = _Events(self._log_folder)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Write the picture before training; here, since `on_train_begin` may run before a resumed model is loaded."""
        if not self._has_begun:
            self._draw(epoch)
            self._has_begun = True

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Write this epoch's picture; turn a failure into a warning."""
        number = epoch + 1
        if number % self._every:
            return
        try:
            self._draw(number)
        except Exception as error:  # of any kind: hours of training weigh more than a picture
            self.missing.append(number)
            if len(self.missing) == 1:
                warnings.warn(
                    f"GradCAMCallback has no picture of epoch {number}, and training goes on. {type(error).__name__}: "
                    f"{str(error).rstrip('.')}. Later failures are noted in its `missing` only.",
                    stacklevel=2,
                )

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Close the file for TensorBoard."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def _classifier(self) -> keras.Model:
        inner = self._inner
        if isinstance(inner, str):
            named = {layer.name: layer for layer in self.model.layers}
            if inner not in named:
                raise ValueError(unknown_name("model", inner, named))
            return named[inner]
        if inner is None:
            return self.model
        if isinstance(inner, keras.Model) and inner is not self.model:
            trained = {id(variable) for variable in self.model.variables}
            if inner.variables and trained.isdisjoint(map(id, inner.variables)):
                raise ValueError(
                    f"Expected model= to be a part of the trained model, received '{inner.name}', which does not share "
                    f"a weight with '{self.model.name}': its pictures would not follow the training. Pass the object "
                    "inside the model, not a copy."
                )
        return inner

    def _draw(self, number: int) -> None:
        """Write the picture of the model after `number` epochs."""
        assert self._explainer is not None
        self.explanation = explanation = self._explainer(self._shown.images, self._target)
        title = (self._when(number), f"{explanation.method} at {explanation.layer_name}, for {self._what(explanation)}")
        captions = [self._caption(explanation, index) for index in range(len(explanation))]
        figure = epoch_figure(title, explanation, self._shown.photos, captions)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi="figure")
        figure.clear()  # frees its pixels now: its parts refer to each other, and wait for the garbage collector
        try:
            write_bytes(self.directory / f"epoch_{number:04d}.png", stream.getvalue())
        finally:
            if self._events is not None:
                self._events.write(stream.getvalue(), number)

    def _when(self, number: int) -> str:
        return f"After epoch {number} of {self.params['epochs']}" if number else "Before training"

    def _what(self, explanation: Explanation) -> str:
        if not self._is_asked:
            return "the predicted class" if self._shown.labels is None else "the true class"
        labels = set(explanation.labels)
        return labels.pop() if len(labels) == 1 else "the given classes"

    def _caption(self, explanation: Explanation, index: int) -> list[Line]:
        """Return the lines on the predicted, the true and, if asked for, the explained class."""
        probabilities, labels = explanation.probabilities, self._shown.labels
        values = probabilities[index] if probabilities is not None and probabilities.ndim == 2 else None
        if values is not None:
            best = int(values.argmax())
            is_wrong = labels is not None and best != labels[index]
            lines = [(f"Predicted: {self._named(best, values)}", RED if is_wrong else "black")]
        else:
            output = explanation.outputs[index].ravel()
            lines = [(f"Output: {output[0]:.4g}" if output.size == 1 else "Outputs that are not classes", "black")]
        if labels is not None:
            lines.append((f"True: {self._named(int(labels[index]), values)}", GREY))
        if self._is_asked:
            lines.append((f"Explained: {explanation.labels[index]}, score {explanation.scores[index]:.4g}", GREY))
        return lines

    def _named(self, label: int, probabilities: np.ndarray | None) -> str:
        name = self._shown.names.label(label)
        if probabilities is None:
            return name
        if label >= len(probabilities):
            raise ValueError(
                f"Expected labels below {len(probabilities)}, the number of classes of the model, received {label}."
            )
        return f"{name}, {probabilities[label]:.1%}"


class _Events:
    """Writer of pictures in TensorBoard's file format, by TensorFlow alone."""

    def __init__(self, folder: Path):
        self._writer = tf.summary.create_file_writer(str(folder))
        self._metadata = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="images")
        )

    def write(self, png: bytes, step: int) -> None:
        """Write one picture; it is on the disk when this returns."""
        sides = [str(int.from_bytes(png[start : start + 4], "big")).encode() for start in (16, 20)]  # width, height
        # `record_if`: keras.callbacks.TensorBoard may have set another one, which counts batches.
        with self._writer.as_default(), tf.summary.record_if(True):
            tf.summary.write(_TAG, tf.constant([*sides, png]), step, self._metadata)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _writable_folder(name: str, folder: str | os.PathLike[str], *inside: str) -> Path:
    """Create a folder and try to write into it, since its rights alone are not enough to know."""
    if not isinstance(folder, (str, os.PathLike)):
        raise TypeError(f"Expected {name} as the path of a folder, received {type(folder).__name__}.")
    path = Path(checked_path(folder, name), *inside)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise type(error)(
            f"Expected {name} as a folder that can be written, received '{path}': {error.strerror}. Choose another."
        ) from error
    return path
