"""Callbacks of `model.fit`: pictures of the evidence during training.

Axis legend: B images, K classes, H0 x W0 pixels.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_gradcam._errors import require, unknown_name
from tf_gradcam._explain.class_maps import ONE_PASS, Thresholds, threshold_of_each
from tf_gradcam._explain.detections import NothingFoundWarning
from tf_gradcam._explain.explainer import Explainer
from tf_gradcam._figures.detections import detection_overlay
from tf_gradcam._figures.epochs import PhotoCard, epoch_figure, overlay_card
from tf_gradcam._figures.sheet import GREY, RED, Line, Sides, sides_of, value_of
from tf_gradcam._figures.truth import taken_truth
from tf_gradcam._files.atomic import checked_path, write_bytes
from tf_gradcam._files.class_names import (
    ClassNames,
    ClassNamesLike,
    Labels,
    class_indices,
    label_indices,
)
from tf_gradcam._models.description import TASKS
from tf_gradcam._models.detectors import DecodeLike
from tf_gradcam._models.layers import LayerLike
from tf_gradcam._models.losses import losses_of
from tf_gradcam._models.reader import Images, ModelReader, reader_of
from tf_gradcam._models.task import Task
from tf_gradcam._results.class_maps import ClassMaps
from tf_gradcam._results.detections import Detections
from tf_gradcam._results.explanation import Explanation
from tf_gradcam._rules.contract import Rule
from tf_gradcam._rules.table import MethodName, find_method, needs_of
from tf_gradcam.image.io import Photos
from tf_gradcam.image.overlay import Look, check_look, to_photo
from tf_gradcam.image.thumbnails import shown_photo
from tf_gradcam.targets.base import TargetLike
from tf_gradcam.targets.outputs import Distance, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_IMAGES = 64  # more make a picture that no screen holds; they are explained in one batch during training
_CHOOSE = "Choose some, as images[:16]."


class FixedImages:
    """A few images with their photos and labels.

    Labels are classes, values, or rows of 0 and 1 for the labels of a multi-label model; which of these they have to be
    is known when the task is, see `truth_of`.

    Attributes, from arguments as of `GradCAMCallback`:
        images: a copy, in the same structure.
        photos: B photos uint8 RGB, no larger than a panel of a figure can show.
        labels: (B,) int32 classes; None where there are none, or they are not classes.
        truth: true boxes and mask of each image, None without any.
        names: of the classes.

    Raises:
        TypeError: images that are not numbers, such as paths or a dataset.
        ValueError: no or more than 64 images, another number of photos, labels, boxes or masks, no photos for images
            that are not photos, an unknown label.
    """

    def __init__(
        self,
        images: Images,
        photos: Photos | None,
        labels: Labels | None,
        class_names: ClassNamesLike | None,
        task: str | None = None,
        boxes: Sequence[Any] | None = None,
        masks: Sequence[Any] | None = None,
    ):
        self.names = ClassNames(class_names)
        self.images = _copied(images)
        self.photos = _photos(self.images, photos)
        sizes = [np.shape(photo)[:2] for photo in (self.images if photos is None else photos)]
        self.truth = taken_truth(boxes, masks, sizes)
        self.labels: NDArray[np.int32] | None = None
        labels = _named_rows(labels, self.names)
        self._given, self._numbers = labels, None if labels is None else _numbers(labels, len(self.photos))
        if task is not None or not self._may_be_other:
            self.truth_of(task or "classification")

    def __len__(self) -> int:
        return len(self.photos)

    @property
    def _has_rows(self) -> bool:
        """Whether the labels are rows of 0 and 1."""
        numbers = self._numbers
        return numbers is not None and numbers.ndim == 2 and bool(np.isin(numbers, (0, 1)).all())

    @property
    def _may_be_other(self) -> bool:
        """Whether the labels cannot be classes, but values or rows."""
        numbers = self._numbers
        return numbers is not None and (
            numbers.ndim == 2 or bool(((numbers != np.rint(numbers)) | (numbers < 0)).any())
        )

    def truth_of(self, task: str) -> NDArray[Any] | None:
        """Return what the labels say for a task: (B,) classes, (B, K) bool labels or (B, K) values; None without any.

        Raises:
            TypeError, ValueError: labels of another kind.
        """
        if self._given is None:
            return None
        if task in ("segmentation", "detection"):
            raise ValueError(
                f"Expected no labels for the task {task}, whose pictures show what is predicted. Leave labels out; "
                "target= names a class."
            )
        if task == "regression":
            if self._numbers is None:
                raise TypeError(
                    f"Expected labels as {len(self)} true values of a regression, numbers (B,) or (B, K), received "
                    f"{self._given!r:.80}."
                )
            return self._numbers.reshape(len(self), -1)
        if task == "multilabel" and self._has_rows:
            return np.asarray(self._numbers, bool)
        if self.labels is None:
            self.labels = label_indices(self._given, len(self), self.names)
        return self.labels


def _named_rows(labels: Any, names: ClassNames) -> Any:
    """Return lists of names, one for each image, as rows of 0 and 1; other labels unchanged."""
    is_list = isinstance(labels, (list, tuple)) and all(isinstance(some, (list, tuple, set)) for some in labels)
    if not is_list or not any(isinstance(name, str) for some in labels for name in some):
        return labels
    if all(len(some) == 1 for some in labels):  # a column, as in data sets
        return labels
    rows = np.zeros((len(labels), max(names.by_index, default=0) + 1))
    for row, some in zip(rows, labels, strict=True):
        row[[names.index(name) for name in some]] = 1
    return rows


def _numbers(labels: Any, count: int) -> NDArray[np.float64] | None:
    """Return labels as numbers, (B,) or (B, K), None where they are names or another number of labels."""
    try:
        numbers = np.asarray(labels, np.float64)
    except (TypeError, ValueError):
        return None
    if numbers.ndim == 2 and numbers.shape[1] == 1:
        numbers = numbers[:, 0]
    return numbers if numbers.ndim in (1, 2) and len(numbers) == count and np.isfinite(numbers).all() else None


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
_LARGE_DPI = 200  # of the figure of one image: 440 pixels for the side of a square photo


class GradCAMCallback(keras.callbacks.Callback):
    """Callback that writes overlays of the same few images before the first epoch and after each.

    The pictures are those of the task: the true or predicted class; each true label of a multi-label model, or each
    label above its threshold; a value and its unit; the predicted region of a class; the best box of a detector.

    `directory/epoch_0003.png` shows the evidence after the third epoch, `epoch_0000.png` before training. The training
    is the same, bit for bit, as without it. Wrong arguments raise an error before its first step; a picture that fails
    later (a full disk), or of boxes that an untrained detector does not have, raises one warning, and the training goes
    on. A second fit counts its epochs from
    `initial_epoch`, as Keras does. Of several workers, only the chief needs it.

    Args:
        images: (B, H0, W0, 3) validation images as the model expects them, B at most 64; a list or dict for a model of
            several inputs. They are copied, and explained as one batch.
        directory: folder of the pictures, created if it does not exist. Pictures of the same epochs are replaced.
        labels: true class of each image, indices or names; of a multi-label model rows (B, K) of 0 and 1, or a list of
            names for each image; of a regression the true values (B,) or (B, K). None where unknown, and for
            segmentation and detection.
        photos: B photos (H0, W0, 3) uint8 RGB to paint on, of any sizes; None where the images are RGB in 0..255.
        boxes, masks: true boxes and masks, drawn over the photos, as `Explanation.plot` takes them.
        class_names: names in class order, or {index: name}.
        model: the classifier to explain, if it is inside the trained model: a model that shares its weights, or the
            name of a layer that is a model. Defaults to the trained model.
        layer, method, classifier_layers, token_grid: as `Explainer`.
        target: as an explainer's call, of a detector as `Explainer.detections`. Defaults to the true class or labels if
            `labels` are given, so that the pictures of all epochs explain the same, else to each image's top class, or
            labels above their thresholds, or best box; `[None] * B` always means the top class.
        task, unit, output, decode: as `Explainer`.
        threshold: of the probabilities of a multi-label model, as `Explainer.class_maps` takes it, or of a detector's
            scores. Defaults to 0.5 and 0.3.
        colormap: as `Explanation.overlay`.
        map_threshold: `threshold` of `Explanation.overlay`: value relative to the map's maximum below which the photo
            is untouched. Defaults to 0, none.
        every: epochs between pictures, at least 1. Defaults to 1.
        log_dir: folder for TensorBoard: `log_dir/gradcam` gets the same picture under the tag "gradcam", each image
            large under its own tag, such as "gradcam/image_03", and as scalars the mean probability of what is
            explained (of values the mean absolute error, of boxes the heat inside) and the number of blank maps; step 0
            before training and step n after epoch n. Only looking at them needs the `tensorboard` package.
        log_to: "wandb" or "mlflow", to log the same to the active run of Weights & Biases or MLflow, which stays yours
            to start and to finish. None for neither.

    Attributes:
        explanation: of the last picture, None before the first: an `Explanation`; `ClassMaps` of the labels of a
            multi-label model; a list of one `Detections` for each image of a detector.
        task: the `Task` of the model, None before training; its `statement` says why.
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
        boxes: Sequence[Any] | None = None,
        masks: Sequence[Any] | None = None,
        class_names: ClassNamesLike | None = None,
        model: keras.Model | str | None = None,
        layer: LayerLike | Sequence[LayerLike] | None = None,
        method: MethodName | Rule = "gradcam",
        target: TargetLike = None,
        classifier_layers: Sequence[LayerLike] | None = None,
        token_grid: Sequence[int] | None = None,
        task: str | None = None,
        unit: str | None = None,
        output: str | int | None = None,
        decode: DecodeLike = None,
        threshold: Thresholds | None = None,
        colormap: str | None = None,
        map_threshold: float = 0.0,
        every: int = 1,
        log_dir: str | os.PathLike[str] | None = None,
        log_to: Literal["wandb", "mlflow"] | None = None,
    ):
        super().__init__()
        find_method(method)
        if task is not None and task not in TASKS:
            raise ValueError(unknown_name("task", str(task), TASKS))
        self._shown = FixedImages(images, photos, labels, class_names, task, boxes, masks)
        self._target, self._is_asked = target, target is not None
        may_be_boxes = task == "detection" or decode is not None or (isinstance(target, str) and target == "all")
        if not callable(target) and not may_be_boxes:
            class_indices(target, len(self._shown), self._shown.names)
        self._threshold = threshold
        self._look = Look(threshold=map_threshold, colormap=colormap)
        check_look(self._look)
        self._inner = model
        self._options: dict[str, Any] = {
            "layer": layer,
            "method": method,
            "classifier_layers": classifier_layers,
            "token_grid": token_grid,
            "class_names": class_names,
            "task": task,
            "unit": unit,
            "output": output,
            "decode": decode,
        }
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"Expected every, the epochs between pictures, as 1 or more, received {every!r}.")
        self._every = every
        self.directory = _writable_folder("directory", directory)
        self._log_folder = None if log_dir is None else _writable_folder("log_dir", log_dir, _TAG)
        if log_to is not None and log_to not in _CLIENTS:
            raise ValueError(unknown_name("client to log to", str(log_to), _CLIENTS))
        self._client = None if log_to is None else _CLIENTS[log_to](require(log_to, extra=log_to))
        self.explanation: Explanation | ClassMaps | list[Detections] | None = None
        self.task: Task | None = None
        self._truth: NDArray[Any] | None = None
        self.missing: list[int] = []
        self._explainer: Explainer | None = None
        self._logs: list[_Events | _WandbRun | _MlflowRun] = []
        self._has_begun = False

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Build the explainer and check the images against the model's input."""
        self.missing, self._has_begun = [], False
        model = self._classifier()
        if self._explainer is None or not self._explainer.fits(model):
            self._explainer = Explainer(self._reader_of(model), **self._options)
        self._explainer.split.inputs.flatten(self._shown.images)
        self.task = self._explainer.task
        self._shown.names.noun = "value" if self.task.name == "regression" else "class"
        self._truth = self._shown.truth_of(self.task.name)
        if not self._is_asked and self.task.name in ("multilabel", "detection"):
            _check_one_pass(self.task, self._options["method"], self._options["layer"])
        if self._threshold is not None and self.task.name not in ("multilabel", "detection"):
            raise ValueError(
                f"Expected no threshold for the task {self.task}, received {self._threshold!r}. Leave it out: it is "
                "for multi-label models and detectors."
            )
        self._logs = [] if self._log_folder is None else [_Events(self._log_folder)]
        if self._client is not None:
            self._client.begin()
            self._logs.append(self._client)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Write the picture before training; here, since `on_train_begin` may run before a resumed model is loaded."""
        if not self._has_begun:
            is_detector = self.task is not None and self.task.name == "detection"
            (self._try_to_draw if is_detector else self._draw)(epoch)  # untrained boxes may be none at all
            self._has_begun = True

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Write this epoch's picture; turn a failure into a warning."""
        number = epoch + 1
        if number % self._every == 0:
            self._try_to_draw(number)

    def _try_to_draw(self, number: int) -> None:
        try:
            self._draw(number)
        except Exception as error:  # of any kind: hours of training weigh more than a picture
            self.missing.append(number)
            if len(self.missing) == 1:
                when = f"of epoch {number}" if number else "before training"
                warnings.warn(
                    f"GradCAMCallback has no picture {when}, and training goes on. {type(error).__name__}: "
                    f"{str(error).rstrip('.')}. Later failures are noted in its `missing` only.",
                    stacklevel=3,
                )

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Close the file for TensorBoard; a run of another client is its owner's to finish."""
        for log in self._logs:
            log.close()
        self._logs = []

    def _reader_of(self, model: keras.Model) -> ModelReader:
        """Return the reader of a model; one inside the trained model has the loss of that one, if their outputs fit."""
        reader = reader_of(model)
        with contextlib.suppress(AttributeError, ValueError):  # a trainer without a graph has no output
            if reader.losses is None and model.output_shape == self.model.output_shape:
                reader.losses = losses_of(self.model)
        return reader

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
        assert self.task is not None
        if self.task.name == "detection" and not callable(self._target):
            what, cards, sides = self._of_boxes(self._explainer)
        elif self.task.name == "multilabel" and not self._is_asked:
            what, cards, sides = self._of_labels(self._explainer)
        else:
            what, cards, sides = self._of_target(self._explainer)
        is_detector = self.task.name == "detection"
        layer = self._explainer.detection_layers if is_detector else self._explainer.layer_name
        title = (self._when(number), f"{self._explainer.method} at {layer}, for {what}")
        if self._shown.truth is not None:  # a card shows one of these photos itself
            truth = dict(zip(map(id, self._shown.photos), self._shown.truth, strict=True))
            cards = [card._replace(truth=truth[id(card.photo)]) for card in cards]
        name = max(self._shown.names.by_index.values(), key=len, default="")
        longest = f"Predicted: {name}, 100.0%"
        grid = _png(epoch_figure(title, cards, sides, self._look, longest))
        try:
            write_bytes(self.directory / f"epoch_{number:04d}.png", grid)
        finally:
            if self._logs:
                pictures = {_TAG: grid}
                for index, photo in enumerate(self._shown.photos):
                    own = [card for card in cards if card.photo is photo]
                    figure = epoch_figure(title, own, sides, self._look, longest)
                    pictures[f"{_TAG}/image_{index:02d}"] = _png(figure, _LARGE_DPI)
                numbers = {f"{_TAG}/{key}": value for key, value in self._numbers().items() if np.isfinite(value)}
                for log in self._logs:
                    log.write(pictures, numbers, number)

    def _numbers(self) -> dict[str, float]:
        """Return what was measured on the images, by name."""
        found, truth = self.explanation, self._truth
        if isinstance(found, list):
            energy = np.concatenate([each.energy for each in found])
            return {"heat_in_box": float(np.nanmean(energy))} if np.isfinite(energy).any() else {}
        if isinstance(found, ClassMaps):
            first = found.of_each_class()[0]
            assert first.probabilities is not None
            asked = found.asked if truth is None else _label_rows(truth, first.probabilities.shape[1])
            places = (
                first.probabilities
                if truth is not None
                else np.take_along_axis(first.probabilities, found.class_indices, axis=1)
            )
            return {"probability": float(places[asked].mean()) if asked.any() else np.nan}
        assert found is not None
        numbers = {"blank_maps": float(sum(text is not None for text in found.diagnosis))}
        indices, probabilities = found.class_indices, found.probabilities
        if probabilities is not None and probabilities.ndim == 2 and (indices >= 0).all():
            numbers["probability"] = float(np.take_along_axis(probabilities, indices[:, None], axis=1).mean())
        if self.task is not None and self.task.name == "regression" and truth is not None:
            numbers["error"] = float(np.abs(found.outputs.reshape(truth.shape) - truth).mean())
        return numbers

    def _when(self, number: int) -> str:
        return f"After epoch {number} of {self.params['epochs']}" if number else "Before training"

    # What is explained: one target, the labels of a multi-label model, or the boxes of a detector.

    def _of_target(self, explainer: Explainer) -> _Pictures:
        """Explain one target of each image."""
        assert self.task is not None
        target, is_of_class = self._target, self.task.name == "classification"
        if is_of_class and target is None and self._truth is not None:
            target = self._truth.tolist()
        self.explanation = explanation = explainer(self._shown.images, target)
        cards = []
        for index, photo in enumerate(self._shown.photos):
            if self.task.name == "segmentation":
                cards.append(self._region_card(explanation, index, photo))
                continue
            is_value = self.task.name == "regression"
            lines = self._value_lines(explanation, index) if is_value else self._class_lines(explanation, index)
            cards.append(overlay_card(explanation, index, photo, lines, self._look))
        return self._what(explanation), cards, sides_of(explanation)

    def _of_labels(self, explainer: Explainer) -> _Pictures:
        """Explain the true labels of each image, or those above their thresholds."""
        above = 0.5 if self._threshold is None else self._threshold
        classes = None if self._truth is None else _labels_in(self._truth)
        if classes == []:
            maps = explainer.class_maps(self._shown.images, top=1)  # for the probabilities
        else:
            maps = explainer.class_maps(self._shown.images, classes, above=above if classes is None else None)
        self.explanation = maps
        of_each = maps.of_each_class()
        probabilities = of_each[0].probabilities
        assert probabilities is not None
        true = None if self._truth is None else _label_rows(self._truth, probabilities.shape[1])
        predicted = self._are_above(probabilities)
        cards = []
        for index, photo in enumerate(self._shown.photos):
            said = self._predicted_labels(predicted[index])
            places = np.flatnonzero(maps.asked[index] if true is None else true[index, maps.class_indices[index]])
            if true is not None and not true[index].any():
                cards.append(PhotoCard(photo, "No overlay: no label is true here.", [("True: none", "black"), said]))
                continue
            for place in places:
                label, value = maps.labels[index][place], probabilities[index, maps.class_indices[index, place]]
                is_above = predicted[index, maps.class_indices[index, place]]
                head = "True" if true is not None else "Predicted" if is_above else "None above; most probable"
                is_missed = true is not None and not is_above
                lines = [(f"{head}: {label}, {value:.1%}", RED if is_missed else "black"), said]
                cards.append(overlay_card(of_each[place], index, photo, lines[: 1 if true is None else 2], self._look))
        return "each label above its threshold" if true is None else "each true label", cards, sides_of(of_each[0])

    def _of_boxes(self, explainer: Explainer) -> _Pictures:
        """Explain the best box of each image, or those that the target names."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NothingFoundWarning)  # the picture says it
            found = explainer.detections(
                self._shown.images,
                self._target if self._is_asked else 0,  # type: ignore[arg-type]
                threshold=0.3 if self._threshold is None else self._threshold,  # type: ignore[arg-type]
            )
        self.explanation = found
        cards = []
        for each, photo in zip(found, self._shown.photos, strict=True):
            if each.maps is None:
                cards.append(PhotoCard(photo, f"No overlay: {each.diagnosis}", [("No box", RED), ("", GREY)]))
            for place, item in enumerate(each):
                own = each.energy[place]
                heat = "blank map" if np.isnan(own) else f"{own:.0%} of the heat in its box"
                head = f"Box {each.chosen[place]}" if each.chosen[place] else "Best box"
                lines = [(f"{head}: {item.label}, {item.score:.2f}", "black"), (heat, GREY)]
                cards.append(PhotoCard(photo, detection_overlay(each, place, photo, self._look), lines))
        return "the boxes asked for" if self._is_asked else "the best box", cards, None

    def _what(self, explanation: Explanation) -> str:
        assert self.task is not None
        if not self._is_asked and self.task.name == "classification":
            return "the predicted class" if self._truth is None else "the true class"
        if not self._is_asked and self.task.name == "segmentation":
            return "the predicted region of the largest class"
        labels = set(explanation.labels)
        return labels.pop() if len(labels) == 1 else "the given classes"

    def _class_lines(self, explanation: Explanation, index: int) -> list[Line]:
        """Return the lines on the predicted, the true and, if asked for, the explained class."""
        assert self.task is not None
        probabilities, truth = explanation.probabilities, self._truth
        values = probabilities[index] if probabilities is not None and probabilities.ndim == 2 else None
        if self.task.name == "multilabel" and values is not None:
            lines = [self._predicted_labels(self._are_above(values))]
            if truth is not None:
                true = _label_rows(truth, len(values))[index]
                lines.append((f"True: {self._listed(true)}", GREY))
        else:
            if values is not None:
                best = int(values.argmax())
                is_wrong = truth is not None and best != truth[index]
                lines = [(f"Predicted: {self._named(best, values)}", RED if is_wrong else "black")]
            else:
                output = explanation.outputs[index].ravel()
                lines = [(f"Output: {output[0]:.4g}" if output.size == 1 else "Outputs that are not classes", "black")]
            if truth is not None:
                lines.append((f"True: {self._named(int(truth[index]), values)}", GREY))
        if self._is_asked:
            lines.append((f"Explained: {explanation.labels[index]}, score {explanation.scores[index]:.4g}", GREY))
        return lines

    def _value_lines(self, explanation: Explanation, index: int) -> list[Line]:
        """Return the lines on the predicted and the true value."""
        label, count = explanation.labels[index], explanation.outputs.shape[-1]
        if explanation.values is None:
            return [(f"Explained: {label}, score {explanation.scores[index]:.4g}", "black")]
        own = self._target.index if isinstance(self._target, (Value, Distance)) else 0
        position = max(int(explanation.class_indices[index]), own)
        name, value, unit = self._shown.names.value_label(position, count), explanation.values[index], explanation.unit
        lines = [(f"Predicted{'' if name == 'value' else f' {name}'}: {value_of(explanation, index)}", "black")]
        if self._truth is not None:
            if self._truth.shape[1] != count:
                raise ValueError(
                    f"Expected {count} true values for each image, as many as the model has, received "
                    f"{self._truth.shape[1]}: labels are (B, {count})."
                )
            true = self._truth[index, position]
            lines.append((f"True: {f'{true:.4g} {unit}'.rstrip()}, off by {value - true:+.3g}", GREY))
        if callable(self._target):
            lines.append((f"Explained: {label}, score {explanation.scores[index]:.4g}", GREY))
        return lines

    def _region_card(self, explanation: Explanation, index: int, photo: NDArray[np.uint8]) -> PhotoCard:
        """Return the card of the predicted region of a class, or of another part of a segmentation."""
        masks, label = explanation.segmentation, explanation.labels[index]
        if masks is None or masks.is_given:
            line: Line = (f"Explained: {label}, score {explanation.scores[index]:.4g}", "black")
            return overlay_card(explanation, index, photo, [line], self._look)
        inside = masks.inside[index]
        line = (f"Predicted {label}: {inside.mean():.1%} of the picture", "black" if inside.any() else RED)
        if not inside.any():
            return PhotoCard(photo, "No overlay: no pixel is predicted as this class.", [line])
        return overlay_card(explanation, index, photo, [line], self._look)

    def _are_above(self, probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
        above = 0.5 if self._threshold is None else self._threshold
        return probabilities > threshold_of_each(above, probabilities.shape[-1], self._shown.names)

    def _predicted_labels(self, are_above: NDArray[np.bool_]) -> Line:
        return f"Predicted: {self._listed(are_above)}", GREY

    def _listed(self, chosen: NDArray[np.bool_]) -> str:
        return ", ".join(self._shown.names.labels(np.flatnonzero(chosen))) or "none"

    def _named(self, label: int, probabilities: np.ndarray | None) -> str:
        name = self._shown.names.label(label)
        if probabilities is None:
            return name
        if label >= len(probabilities):
            raise ValueError(
                f"Expected labels below {len(probabilities)}, the number of classes of the model, received {label}."
            )
        return f"{name}, {probabilities[label]:.1%}"


_Pictures: TypeAlias = tuple[str, list[PhotoCard], Sides]  # what is explained; the cards; the sides of the maps


def _labels_in(truth: NDArray[Any]) -> list[int]:
    """Return the labels that any image has."""
    return [int(label) for label in (np.flatnonzero(truth.any(axis=0)) if truth.ndim == 2 else np.unique(truth))]


def _label_rows(truth: NDArray[Any], count: int) -> NDArray[np.bool_]:
    """Return the true labels (B, K) of rows, or of one label for each image."""
    if truth.ndim == 1:
        return np.eye(count, dtype=bool)[truth]
    if truth.shape[1] != count:
        raise ValueError(
            f"Expected labels (B, {count}), one column for each label of the model, received {truth.shape}."
        )
    return truth.astype(bool)


def _check_one_pass(task: Task, method: Any, layer: Any) -> None:
    """Check that the maps of many labels or boxes can be made from one forward pass."""
    _, rule = find_method(method)
    is_list = isinstance(layer, (list, tuple)) and task.name == "multilabel"  # boxes fuse the maps of several
    if needs_of(rule) in ONE_PASS and not is_list:
        return
    received = f"the list of layers {list(layer)}" if is_list else f"'{method}'"
    raise ValueError(
        f"Expected one layer and a method of one forward pass for the task {task}, received {received}. Choose such a "
        "method and layer, or name one label by target=."
    )


class _Events:
    """Writer of pictures and numbers in TensorBoard's file format, by TensorFlow alone."""

    def __init__(self, folder: Path):
        self._writer = tf.summary.create_file_writer(str(folder))
        # By hand, because `tf.summary.image` and `tf.summary.scalar` need the package `tensorboard`.
        self._image, self._scalar = (
            tf.compat.v1.SummaryMetadata(plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name=name))
            for name in ("images", "scalars")
        )

    def write(self, pictures: Mapping[str, bytes], numbers: Mapping[str, float], step: int) -> None:
        """Write pictures and numbers by tag; they are on the disk when this returns."""
        # `record_if`: keras.callbacks.TensorBoard may have set another one, which counts batches.
        with self._writer.as_default(), tf.summary.record_if(True):
            for tag, png in pictures.items():
                sides = [str(int.from_bytes(png[start : start + 4], "big")).encode() for start in (16, 20)]  # of a PNG
                tf.summary.write(tag, tf.constant([*sides, png]), step, self._image)
            for tag, value in numbers.items():
                tf.summary.write(tag, tf.constant(value, tf.float32), step, self._scalar)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _WandbRun:
    """Writer to the active run of Weights & Biases, on an axis of its own, so that the run's steps stay as they are."""

    def __init__(self, client: Any):
        self._client = client
        self._run: Any = None

    def begin(self) -> None:
        self._run = self._client.run
        if self._run is None:
            raise ValueError(_NO_RUN.format("wandb", "wandb.init(project=...)"))
        self._run.define_metric(f"{_TAG}/epoch", hidden=True)
        self._run.define_metric(f"{_TAG}*", step_metric=f"{_TAG}/epoch")

    def write(self, pictures: Mapping[str, bytes], numbers: Mapping[str, float], step: int) -> None:
        images = {tag: self._client.Image(_pixels(png)) for tag, png in pictures.items()}
        self._run.log({**images, **numbers, f"{_TAG}/epoch": step})

    def close(self) -> None:
        self._run = None


class _MlflowRun:
    """Writer to the active run of MLflow."""

    def __init__(self, client: Any):
        self._client, self._run = client, ""

    def begin(self) -> None:
        run = self._client.active_run()
        if run is None:
            raise ValueError(_NO_RUN.format("mlflow", "mlflow.start_run()"))
        self._run = run.info.run_id  # named, since MLflow would start another run if this one has ended

    def write(self, pictures: Mapping[str, bytes], numbers: Mapping[str, float], step: int) -> None:
        client = self._client.MlflowClient()
        for tag, png in pictures.items():
            client.log_image(self._run, _pixels(png), key=tag, step=step, synchronous=True)  # so that failures are seen
        for key, value in numbers.items():
            client.log_metric(self._run, key, value, step=step)

    def close(self) -> None:
        self._run = ""


_CLIENTS: dict[str, type[_WandbRun] | type[_MlflowRun]] = {"wandb": _WandbRun, "mlflow": _MlflowRun}
_NO_RUN = "Expected an active run for log_to='{}', found none. Start it before the training: {}."


def _png(figure: Figure, dpi: float | Literal["figure"] = "figure") -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi)
    figure.clear()  # frees its pixels now: its parts refer to each other, and wait for the garbage collector
    return stream.getvalue()


def _pixels(png: bytes) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = tf.io.decode_png(png, channels=3).numpy()
    return pixels


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
