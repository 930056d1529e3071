"""The model behind the web page, and the choices it offers.

Axis legend: H0 x W0 pixels, K classes.
"""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from tf_gradcam._app.html import Look, notice_html
from tf_gradcam._app.uploads import MAX_PICTURE_PIXELS
from tf_gradcam._app.worker import Job, Worker
from tf_gradcam._errors import collected_warnings, for_page
from tf_gradcam._explain.explainer import Explainer
from tf_gradcam._models.images import ModelImages
from tf_gradcam._models.layer_list import list_layers, through_the_depth
from tf_gradcam._models.layers import LayerRow
from tf_gradcam._models.open_model import OpenModel, open_model, settle_scaling, usual_weights
from tf_gradcam._models.own_code import OwnCode
from tf_gradcam._models.preprocessing import Preprocessing, Source
from tf_gradcam._models.reader import reader_of
from tf_gradcam._results.explanation import Explanation
from tf_gradcam._rules.table import METHODS, MethodName, describe, find_method, needs_of
from tf_gradcam.demo import CLASS_NAMES, load_demo_model
from tf_gradcam.image.io import read_picture
from tf_gradcam.targets.classes import Contrast

DETECT = "detect"  # a choice of pixel values beside the keys of `MODES`
_MAX_EXPLAINERS = 24  # kept compiled; they share the model's weights


@dataclass(frozen=True)
class Origin:
    """The origin of a model, so that it can be loaded again.

    Attributes:
        model: a name of keras.applications or a file; None for the bundled model.
        weights, arguments: as the command line takes them.
        own_code: classes and functions of the user who started the page, for uploaded files too.
    """

    model: str | None = None
    weights: str | None = None
    arguments: tuple[str, ...] = ()
    own_code: OwnCode = field(default_factory=OwnCode)


@dataclass(frozen=True)
class Question:
    """The settings of an explanation.

    Attributes:
        layer: path of a layer.
        method: key of `METHODS`.
        target: class index, None for the top class.
        against: index of the class that the target is compared with, or None.
        mode: key of `MODES`: the pixel values that the model gets.
    """

    layer: str
    method: MethodName
    target: int | None
    against: int | None
    mode: str


class AppModel:
    """A model that several users share.

    Args:
        network: a built Keras model of one image input, or its reader.
        class_names: in class order, or None.
        origin: its origin.
        worker: the thread that runs the model already, with other class names; None for a new one.
        opened: how its scaling is known; None for what `network` shows.

    Attributes:
        title: its name on the page.
        labels: K class names, "class 243" for a class without a name.
        layers: rows of `list_layers` that can be explained.
        default_layer: path of the default layer.
        size: (H0, W0) of its images.
        channels: 1 or 3.
        mode: key of `MODES` that the model expects, "unknown" if the model does not show it.
        worker: the one thread that runs it.
        note: a doubt about the scaling of the last explained picture, or None.
        notes: what was assumed or repaired when the model was loaded.

    Raises:
        TypeError, ValueError: the page cannot explain the model; there are more or fewer names than classes.
    """

    def __init__(
        self,
        network: Any,
        class_names: Sequence[str] | None = None,
        origin: Origin | None = None,
        worker: Worker | None = None,
        opened: OpenModel | None = None,
    ):
        self._reader = reader_of(network)
        shown = self._reader.preprocessing
        self._opened = opened or OpenModel(None, self._reader, class_names, shown, shown)
        self._detected: Preprocessing | None = None
        self.note: str | None = None
        self.notes: list[str] = []
        self._asked: tuple[Path, str] | None = None
        self._explainers: OrderedDict[tuple[str | None, str], Explainer] = OrderedDict()
        self.class_names = None if class_names is None else list(class_names)
        self.origin = origin or Origin()
        self.title = "bundled model" if self.origin.model is None else Path(self.origin.model).name
        self.layers: list[LayerRow] = [row for row in list_layers(self._reader) if row.explainable]
        self._preprocessing = self._opened.preprocessing
        self._reader.preprocessing = replace(
            self._preprocessing, mode="unknown"
        )  # `doubt` warns in place of explainers
        self.mode = self._preprocessing.mode
        first = Explainer(self._reader, None, "gradcam", class_names=self.class_names)
        self.default_layer = first.layer_name
        self._explainers[first.layer_name, "gradcam"] = first
        images = ModelImages(self._reader.inputs, self.preprocessing(self.default_mode))
        self.size, self.channels = images.size, images.channels
        if self.size[0] * self.size[1] > MAX_PICTURE_PIXELS:
            raise ValueError(
                f"Expected a model of images of at most {MAX_PICTURE_PIXELS / 1e6:.0f} million pixels, received one "
                f"of {self.size[0]} x {self.size[1]}. Use the command line: `tf-gradcam explain`."
            )
        self.labels = self._try_out(first)
        self.worker = worker or Worker(f"tf-gradcam {self.title}")

    def renamed(self, class_names: Sequence[str]) -> AppModel:
        """Return the same model with other class names, run by the same thread.

        Raises:
            ValueError: there are more or fewer names than classes.
        """
        model = AppModel(self._reader, class_names, self.origin, self.worker, self._opened)
        model.notes = self.notes
        return model

    def _try_out(self, explainer: Explainer) -> list[str]:
        """Explain a grey picture, so that errors of the model show now and the first map comes compiled."""
        grey = np.full((1, *self.size, self.channels), 128, np.float32)
        explanation = explainer(self.preprocessing(self.default_mode)(grey))
        values = explanation.outputs if explanation.probabilities is None else explanation.probabilities
        is_value = values.shape[1] == 1 and explanation.class_indices[0] < 0
        return explanation.labels if is_value else [explanation.class_name(index) for index in range(values.shape[1])]

    @property
    def default_mode(self) -> str:
        """The mode that the model expects; RGB in 0..255 if unknown."""
        return "raw" if self.mode == "unknown" else self.mode

    @property
    def default_question(self) -> Question:
        """Grad-CAM of the top class at the default layer."""
        return Question(self.default_layer, "gradcam", None, None, self.default_mode)

    def preprocessing(self, mode: str) -> Preprocessing:
        """Return the preprocessing of a mode; of "detect" the one found by `doubt`."""
        if mode == DETECT:
            return self._detected or self.preprocessing(self.default_mode)
        if mode == self.mode:
            return self._preprocessing
        source: Source = "unknown" if self.mode == "unknown" and mode == self.default_mode else "given"
        return Preprocessing(self._preprocessing.architecture, mode, source, "because the model does not show its own")

    def explain(self, picture: Path, question: Question, job: Job) -> Explanation:
        """Explain one picture; runs in the thread of `worker`.

        Raises:
            Stopped: the job was cancelled.
            OSError, TypeError, ValueError: as `load_image` and `Explainer`.
        """
        job.report(0.0, f"preparing {question.method}")
        if self._asked != (picture, question.mode):  # once for all layers and methods
            self.note = self.doubt([picture], question.mode)
            self._asked = (picture, question.mode)
        explainer = self.explainer(question.layer, question.method)
        image = self.image(picture, question.mode)
        job.report(0.0, question.method)
        explanation = explainer(image[None], target_of(question), progress=lambda done, total: job.report(done / total))
        explanation.labels = [label_of(explanation, question, self.labels)]
        return explanation

    def image(self, picture: Path, mode: str) -> np.ndarray:
        """Read a picture as the model takes it, (H0, W0, C) float32."""
        images = ModelImages(self._reader.inputs, self.preprocessing(mode), self.size)
        return images.of_photo(read_picture(picture, images.size).photo)

    def explainer(self, layer: str, method: MethodName) -> Explainer:
        """Return the explainer of a layer and a method, built at its first use; only `worker` may call this."""
        rule = find_method(method)[1]
        key = (None if needs_of(rule) == "network" else layer, method)
        if key not in self._explainers:
            self._explainers[key] = Explainer(self._reader, key[0], method, class_names=self.class_names)
            if len(self._explainers) > _MAX_EXPLAINERS:
                self._explainers.popitem(last=False)
        self._explainers.move_to_end(key)
        return self._explainers[key]

    def doubt(self, pictures: Sequence[Path], mode: str) -> str | None:
        """Compare scalings with pictures: find the one to detect, or return a note if another is clearly better.

        Only `worker` may call this. What the user chose is not questioned.
        """
        if mode not in (DETECT, self.default_mode):
            return None
        now = self.preprocessing(self.default_mode) if mode != DETECT else self._preprocessing
        now = replace(now, source="assumed") if now.source == "unknown" else now
        opened = self._opened._replace(preprocessing=now, request=mode)
        try:
            settled, doubt, better = settle_scaling(opened, pictures, [-1] * len(pictures), self.size)
        except ValueError as error:  # nothing shows it
            self._detected = None
            return str(error)
        if mode == DETECT:
            self._detected = settled.preprocessing
            return f"Scaling: {settled.preprocessing.statement}"
        return f"{doubt} choose {better} in Pixel values, under Another model." if better else None

    def stages(self) -> list[str]:
        """Return the layers through the depth of the network, as `plot_layers` does."""
        return through_the_depth(self._reader)

    def close(self) -> None:
        """Cancel all jobs and end the thread."""
        self.worker.close()


def target_of(question: Question) -> int | Contrast | None:
    """Return the target of an `Explainer`."""
    return question.target if question.against is None else Contrast(question.target, question.against)


def label_of(explanation: Explanation, question: Question, labels: Sequence[str]) -> str:
    """Name the explained class, or both classes of a contrast."""
    if question.against is None:
        return explanation.labels[0]
    chosen = explanation.top(1)[0][0][0] if question.target is None else labels[question.target]
    return f"{chosen} against {labels[question.against]}"


@dataclass(frozen=True)
class MethodChoice:
    """An entry of the list of methods.

    Attributes:
        name: key of `METHODS`.
        label: the name, with "(slow)" if the method runs the model many times.
        about: its summary, cost and source.
    """

    name: MethodName
    label: str
    about: str


def method_choices() -> list[MethodChoice]:
    """Return the entries of the list of methods, in the order of `METHODS`."""
    choices = []
    for name, rule in METHODS.items():
        info = describe(name)
        notes = [f"{head}: {text}." for head, text in (("Cost", info.cost), ("Source", info.source)) if text]
        label = f"{name} (slow)" if needs_of(rule) == "probing" else name
        choices.append(MethodChoice(name, label, " ".join([info.summary, *notes])))
    return choices


def load_app_model(
    model: str | None = None,
    weights: str | None = None,
    class_names: str | os.PathLike[str] | None = None,
    arguments: Sequence[str] = (),
    own_code: OwnCode | None = None,
) -> AppModel:
    """Load the model of the page.

    Args:
        model: a name of keras.applications or a .keras or .h5 file; None for the bundled model of phantom slices.
        weights: a file, "imagenet" or "none"; None for the ImageNet weights of a name, and a file's own weights.
        class_names: a file of names in class order.
        arguments: of the constructor of a named network, as KEY=VALUE.
        own_code: classes and functions for the model's file and for uploaded ones, see `import_code`.

    Raises:
        OSError, TypeError, ValueError: as `open_model` and `AppModel`.
    """
    if model is None:
        if weights is not None or arguments:
            raise ValueError("Expected a model for the weights or arguments, received none. Name one with --model.")
        opened = open_model(load_demo_model(), class_names=class_names or CLASS_NAMES, preprocess=None)
        origin = Origin(own_code=own_code or OwnCode())
        return AppModel(opened.reader, opened.class_names, origin, opened=opened)
    with collected_warnings() as notes:
        opened = open_model(
            model,
            weights=weights,
            arguments=arguments,
            class_names=class_names,
            preprocess=None,
            own_code=own_code,
        )
    origin = Origin(model, weights or usual_weights(model), tuple(arguments), own_code or OwnCode())
    loaded = AppModel(opened.reader, opened.class_names, origin, opened=opened)
    loaded.notes = [for_page(note) for note in notes]
    return loaded


TOP, NOTHING = -1, -1  # the first entries of the lists of classes


def question_of(layer: str, method: MethodName, target: int | None, against: int | None, mode: str) -> Question:
    """Return the settings of the controls; an emptied list of classes counts as its first entry.

    Raises:
        ValueError: a value of another kind, which only a request that is not the page's own can have.
    """
    if not all(isinstance(value, str) for value in (layer, method, mode)):
        raise ValueError(
            f"Expected a layer, a method and pixel values, received {layer}, {method}, {mode}. Choose each."
        )
    if not all(value is None or type(value) is int for value in (target, against)):
        raise ValueError(f"Expected classes as numbers, received {target}, {against}. Choose them from the lists.")
    chosen = None if target in (None, TOP) else target
    other = None if against in (None, NOTHING) else against
    return Question(layer, method, chosen, other, mode)


def names_of(chosen: Any) -> list[str]:
    """Return the chosen entries of a list of methods or layers; raise ValueError for anything else."""
    if not isinstance(chosen, list) or not all(isinstance(name, str) for name in chosen):
        raise ValueError(f"Expected a list of names, received {chosen}. Choose them on the page.")
    return chosen


def look_of(alpha: float, threshold: float, colormap: str | None) -> Look:
    """Return the look of maps; raise ValueError for values that are not numbers."""
    if not all(type(value) in (int, float) and value == value for value in (alpha, threshold)):
        raise ValueError(f"Expected an opacity and a threshold in [0, 1], received {alpha} and {threshold}.")
    return Look(min(max(float(alpha), 0.0), 1.0), min(max(float(threshold), 0.0), 1.0), colormap or None)


def class_choices(model: AppModel, first: str) -> list[tuple[str, int]]:
    """Return the entries of a list of classes; a name that several classes have gets the class index."""
    counts = Counter(model.labels)
    named = [f"{label} ({index})" if counts[label] > 1 else label for index, label in enumerate(model.labels)]
    return [(first, TOP), *((label, index) for index, label in enumerate(named))]


def layer_choices(model: AppModel) -> list[tuple[str, str]]:
    """Return the entries of the list of layers, the default marked."""
    choices = []
    for row in model.layers:
        cells = " x ".join("any" if side is None else str(side) for side in row.output_shape[1:-1])
        choices.append((f"{row.path}  ({cells}){'  default' if row.path == model.default_layer else ''}", row.path))
    return choices


def headline(model: AppModel) -> str:
    """Describe the model in one line of HTML, and what was assumed or repaired to load it in another."""
    height, width = model.size
    known = model.preprocessing(model.default_mode)
    how = f"{known.mode} ({known.meaning}), assumed, because {known.evidence}."
    statement = how if known.source == "assumed" else known.statement
    text = f"Model: {model.title}, {len(model.labels)} classes, images of {height} x {width}. Scaling: {statement}"
    if known.source in ("assumed", "unknown"):
        text += " If you trained on other values, such as pictures / 255, choose them under Another model."
    return f'<p class="tg-model">{escape(text)}</p>' + notice_html(" ".join(model.notes))
