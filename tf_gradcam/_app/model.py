"""The model behind the web page, and the choices it offers.

Axis legend: H0 x W0 pixels, K classes.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from tf_gradcam._app.html import Look
from tf_gradcam._app.uploads import MAX_PICTURE_PIXELS
from tf_gradcam._app.worker import Job, Worker
from tf_gradcam._explain.explainer import Explainer
from tf_gradcam._models.images import ModelImages
from tf_gradcam._models.layer_list import list_layers, through_the_depth
from tf_gradcam._models.layers import LayerRow
from tf_gradcam._models.open_model import open_model, usual_weights
from tf_gradcam._models.preprocessing import Preprocessing, range_warning
from tf_gradcam._models.reader import reader_of
from tf_gradcam._results.explanation import Explanation
from tf_gradcam._rules.table import METHODS, MethodName, describe, find_method, needs_of
from tf_gradcam.demo import CLASS_NAMES, load_demo_model
from tf_gradcam.image.io import load_image
from tf_gradcam.targets.classes import Contrast

_KEPT = 24  # explainers: each holds what was compiled for it, not the weights


@dataclass(frozen=True)
class Origin:
    """Where a model came from, for whoever loads it again.

    model: a name of keras.applications or a file; None for the bundled model.
    weights, arguments: as the command line takes them.
    """

    model: str | None = None
    weights: str | None = None
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """What is asked about a picture.

    layer: path of a layer.
    method: key of `METHODS`.
    target: class index, None for the top class.
    against: the class that it is held against, None for none.
    mode: key of `MODES`: what is done to the values of the photo.
    """

    layer: str
    method: MethodName
    target: int | None
    against: int | None
    mode: str


class AppModel:
    """A model that several users ask.

    Args:
        network: a built Keras model of one image input, or its reader.
        class_names: in class order, or None.
        origin: where it came from.
        worker: the thread that runs it already, under other names of its classes; None for a new one.

    Attributes:
        title: what the page calls it.
        labels: K names of its classes, "class 243" where a class does not have one.
        layers: rows of `list_layers` that can be explained.
        default_layer: path of the one that is chosen without being asked.
        size: (H0, W0) of its images.
        channels: 1 or 3.
        mode: key of `MODES` that was found, "unknown" where the model says nothing.
        worker: the one thread that runs it.

    Raises:
        TypeError, ValueError: a model that is not explained on this page; names of another number of classes.
    """

    def __init__(
        self,
        network: Any,
        class_names: Sequence[str] | None = None,
        origin: Origin | None = None,
        worker: Worker | None = None,
    ):
        self._reader = reader_of(network)
        self._explainers: OrderedDict[tuple[str | None, str], Explainer] = OrderedDict()
        self.class_names = None if class_names is None else list(class_names)
        self.origin = origin or Origin()
        self.title = "bundled model" if self.origin.model is None else Path(self.origin.model).name
        self.layers: list[LayerRow] = [row for row in list_layers(self._reader) if row.explainable]
        self._found = self._reader.preprocessing
        self.mode = self._found.mode
        first = Explainer(self._reader, None, "gradcam", class_names=self.class_names)
        self.default_layer = first.layer_name
        self._explainers[first.layer_name, "gradcam"] = first
        usual = ModelImages(self._reader.inputs, self.preprocessing(self.usual_mode))
        self.size, self.channels = usual.size, usual.channels
        if self.size[0] * self.size[1] > MAX_PICTURE_PIXELS:
            raise ValueError(
                f"Expected a model of images of at most {MAX_PICTURE_PIXELS / 1e6:.0f} million pixels, but it takes "
                f"{self.size[0]} x {self.size[1]}. Use the command line: `tf-gradcam explain`."
            )
        self.labels = self._try_out(first)
        self.worker = worker or Worker(f"tf-gradcam {self.title}")

    def renamed(self, class_names: Sequence[str]) -> AppModel:
        """The same model with other names of its classes, run by the same thread.

        Raises:
            ValueError: another number of names.
        """
        return AppModel(self._reader, class_names, self.origin, self.worker)

    def _try_out(self, explainer: Explainer) -> list[str]:
        """Explain a grey picture: what concerns every picture is refused now, and the first map comes compiled."""
        grey = np.full((1, *self.size, self.channels), 128, np.float32)
        explanation = explainer(self.preprocessing(self.usual_mode)(grey))
        values = explanation.outputs if explanation.probabilities is None else explanation.probabilities
        return [explanation.class_name(index) for index in range(values.shape[1])]

    @property
    def usual_mode(self) -> str:
        """The mode that was found, RGB in 0..255 where none was."""
        return "raw" if self.mode == "unknown" else self.mode

    @property
    def usual_question(self) -> Question:
        """Grad-CAM of the top class at the default layer."""
        return Question(self.default_layer, "gradcam", None, None, self.usual_mode)

    def preprocessing(self, mode: str) -> Preprocessing:
        """What a mode does to the values of a photo."""
        return self._found if mode == self.mode else Preprocessing(self._found.architecture, mode)

    def explain(self, picture: Path, question: Question, job: Job) -> Explanation:
        """The map of one picture; runs in the thread of `worker`.

        Raises:
            Stopped: the job was asked to stop.
            OSError, TypeError, ValueError: as `Explainer`, in words.
        """
        job.tell(0.0, f"preparing {question.method}")
        explainer = self.explainer(question.layer, question.method)
        image = self.image(picture, question.mode)
        job.tell(0.0, question.method)
        explanation = explainer(image[None], target_of(question), progress=lambda done, total: job.tell(done / total))
        explanation.labels = [label_of(explanation, question, self.labels)]
        return explanation

    def image(self, picture: Path, mode: str) -> np.ndarray:
        """(H0, W0, C) float32, the picture in a file as the model takes it."""
        images = ModelImages(self._reader.inputs, self.preprocessing(mode), self.size)
        return images.of_photo(load_image(picture))

    def explainer(self, layer: str, method: MethodName) -> Explainer:
        """The explainer of a layer and a method, built when it is first asked for; only `worker` may call it."""
        rule = find_method(method)[1]
        key = (None if needs_of(rule) == "network" else layer, method)
        if key not in self._explainers:
            self._explainers[key] = Explainer(self._reader, key[0], method, class_names=self.class_names)
            if len(self._explainers) > _KEPT:
                self._explainers.popitem(last=False)
        self._explainers.move_to_end(key)
        return self._explainers[key]

    def range_note(self, picture: Path, mode: str) -> str | None:
        """Why the values that a mode gives cannot be what the model wants, or None."""
        if mode == self.mode:
            return None
        return range_warning(self.image(picture, mode)[None], self._found)

    def stages(self) -> list[str]:
        """Layers through the depth of the network, those of `plot_layers`."""
        return through_the_depth(self._reader)

    def close(self) -> None:
        """Stop what runs and end the thread."""
        self.worker.close()


def target_of(question: Question) -> int | Contrast | None:
    """What an `Explainer` is asked for."""
    if question.against is None:
        return question.target
    return Contrast(question.target, question.against)


def label_of(explanation: Explanation, question: Question, labels: Sequence[str]) -> str:
    """What was explained, by name."""
    if question.against is None:
        return explanation.labels[0]
    chosen = explanation.top(1)[0][0][0] if question.target is None else labels[question.target]
    return f"{chosen} against {labels[question.against]}"


@dataclass(frozen=True)
class MethodChoice:
    """A method as the page offers it.

    name: key of `METHODS`.
    label: the name; of one that runs the model again and again, with a word on that.
    summary, cost, source: as `describe`.
    """

    name: MethodName
    label: str
    is_slow: bool
    summary: str = field(repr=False)
    cost: str = field(repr=False)
    source: str = field(repr=False)


def method_choices() -> list[MethodChoice]:
    """All of `METHODS`, in its order."""
    choices = []
    for name, rule in METHODS.items():
        is_slow = needs_of(rule) == "probing"
        info = describe(name)
        label = f"{name} (slow)" if is_slow else name
        choices.append(MethodChoice(name, label, is_slow, info.summary, info.cost, info.source))
    return choices


def load_app_model(
    model: str | None = None,
    weights: str | None = None,
    class_names: str | os.PathLike[str] | None = None,
    arguments: Sequence[str] = (),
) -> AppModel:
    """The model that the page shows.

    Args:
        model: a name of keras.applications or a .keras or .h5 file; None for the bundled model of phantom slices.
        weights: a file, "imagenet" or "none"; None for ImageNet's of a name, and a file's own.
        class_names: a file of names.
        arguments: of the constructor of a named network, as KEY=VALUE.

    Raises:
        OSError, TypeError, ValueError: as `open_model` and `AppModel`.
    """
    if model is None:
        if weights is not None or arguments:
            raise ValueError("Expected a model for weights and arguments: name one by --model.")
        opened = open_model(load_demo_model(), class_names=class_names or CLASS_NAMES, preprocess=None)
        return AppModel(opened.reader, opened.class_names)
    opened = open_model(model, weights=weights, arguments=arguments, class_names=class_names, preprocess=None)
    origin = Origin(model, weights or usual_weights(model), tuple(arguments))
    return AppModel(opened.reader, opened.class_names, origin)


TOP, NOTHING = -1, -1  # in the lists of classes


def question_of(layer: str, method: MethodName, target: int | None, against: int | None, mode: str) -> Question:
    """What the controls ask; a list that was emptied is as its first entry."""
    chosen = None if target in (None, TOP) else int(target)
    other = None if against in (None, NOTHING) else int(against)
    return Question(layer, method, chosen, other, mode)


def look_of(alpha: float, threshold: float, colormap: str | None) -> Look:
    return Look(min(max(float(alpha), 0.0), 1.0), min(max(float(threshold), 0.0), 1.0), colormap or None)


def class_choices(model: AppModel, first: str) -> list[tuple[str, int]]:
    """Entries of a list of classes; names that several classes have are told apart by their numbers."""
    labels = model.labels
    several = {label for label in labels if labels.count(label) > 1} if len(set(labels)) < len(labels) else set()
    named = [f"{label} ({index})" if label in several else label for index, label in enumerate(labels)]
    return [(first, TOP), *((label, index) for index, label in enumerate(named))]


def layer_choices(model: AppModel) -> list[tuple[str, str]]:
    """Entries of the list of layers, the default marked."""
    return [(_layer_label(row, model), row.path) for row in model.layers]


def _layer_label(row: LayerRow, model: AppModel) -> str:
    cells = " x ".join("any" if side is None else str(side) for side in row.output_shape[1:-1])
    return f"{row.path}  ({cells}){'  default' if row.path == model.default_layer else ''}"


def headline(model: AppModel) -> str:
    """Which model is asked."""
    height, width = model.size
    known = "" if model.mode != "unknown" else "; what values it wants cannot be read from it, so choose them"
    text = f"Model: {model.title}, {len(model.labels)} classes, images of {height} x {width}{known}."
    return f'<p class="tg-model">{escape(text)}</p>'
