"""The model behind the web page, and the choices it offers.

Axis legend: H0 x W0 pixels, K classes.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tf_gradcam._app.html import notice_html
from tf_gradcam._app.question import Question, asked_of, label_of
from tf_gradcam._app.uploads import MAX_PICTURE_PIXELS
from tf_gradcam._app.worker import Job, Worker
from tf_gradcam._errors import ModelWarning, collected_warnings, for_page
from tf_gradcam._explain.batch import ImageMap, maps_of
from tf_gradcam._explain.explainer import Explainer
from tf_gradcam._files.class_names import ClassNames
from tf_gradcam._models.detectors import pyramid_layers
from tf_gradcam._models.graph import first_output
from tf_gradcam._models.images import ModelImages
from tf_gradcam._models.layer_list import list_layers, through_the_depth
from tf_gradcam._models.layers import LayerRow
from tf_gradcam._models.open_model import OpenModel, open_model, settle_scaling, usual_weights
from tf_gradcam._models.own_code import OwnCode
from tf_gradcam._models.preprocessing import MODES, PREPROCESSOR, Preprocessing, Source
from tf_gradcam._models.reader import ModelReader, reader_of
from tf_gradcam._models.segmentation import segmentation_layers
from tf_gradcam._models.split import linear_tail
from tf_gradcam._results.class_maps import ClassMaps
from tf_gradcam._results.detections import Detections
from tf_gradcam._results.explanation import Explanation
from tf_gradcam._results.verdict import Verdict
from tf_gradcam._rules.table import METHODS, MethodName, find_method, needs_of
from tf_gradcam.demo import CLASS_NAMES, load_demo_model
from tf_gradcam.image.io import read_picture
from tf_gradcam.targets.boxes import Box
from tf_gradcam.targets.text import Asked

DETECT = "detect"  # a choice of pixel values beside the keys of `MODES`
_FEW_CLASSES = 20  # that are mapped one after the other in a moment
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
class Said:
    """Facts of a model that a user says; the others are read from the model.

    Attributes:
        task: as `Explainer` takes it, or None.
        unit: of the values of a regression, "" for none.
        decode: how a detector writes its boxes, or None.
        threshold: of the probabilities of labels, or of the scores of boxes; None for 0.5 and 0.3.
    """

    task: str | None = None
    unit: str = ""
    decode: str | None = None
    threshold: float | None = None


class PictureMaps(NamedTuple):
    """The maps of one picture.

    Attributes:
        explanations: name on the page -> its map, of one image; empty where there is nothing to explain.
        asked: what was explained, with the class at a point.
        found: of a detector, the boxes of the picture; else None.
        note: what is to be noted, "" for nothing.
    """

    explanations: dict[str, Explanation]
    asked: Asked
    found: Detections | None = None
    note: str = ""


class AppModel:
    """A model that several users share.

    Args:
        network: a built Keras model of one image input, or its reader.
        class_names: in class order, or None.
        origin: its origin.
        worker: the thread that runs the model already, with other class names; None for a new one.
        opened: how its scaling is known; None for what `network` shows.
        said: what the user says of it.

    Attributes:
        task: its `Task`.
        is_pair: whether its one output has two sides.
        has_places: whether its outputs belong to pixels, of a segmentation, or of values such as depths.
        roles: path of a layer -> what it is good for, of a segmentation.
        title: its name on the page.
        labels: K names of classes or values, "class 243" for a class without a name; none of a detector without names.
        all_layers, layers: the rows of `list_layers`, and those that can be explained.
        default_layer: path of the default layer, or of those of a detector's pyramid.
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
        said: Said | None = None,
    ):
        self._reader = reader_of(network)
        self.said = said or Said()
        shown = self._reader.preprocessing
        self._opened = opened or OpenModel(None, self._reader, class_names, shown, shown)
        self._detected: Preprocessing | None = None
        self.note: str | None = None
        self.notes: list[str] = []
        self._asked: tuple[Path, str] | None = None
        self._explainers: OrderedDict[tuple[str | None, str], Explainer] = OrderedDict()
        self._readings: dict[Explainer, str] = {}  # how raw boxes are read, where it is guessed
        self.class_names = None if class_names is None else list(class_names)
        self.origin = origin or Origin()
        self.title = "bundled model" if self.origin.model is None else Path(self.origin.model).name
        self.all_layers: list[LayerRow] = list_layers(self._reader)
        self.layers = [row for row in self.all_layers if row.explainable]
        self._preprocessing = self._opened.preprocessing
        self._reader.preprocessing = replace(
            self._preprocessing, mode="unknown"
        )  # `doubt` warns in place of explainers
        self.mode = self._preprocessing.mode
        with warnings.catch_warnings():  # the page says which layer is shown
            warnings.filterwarnings("ignore", "Layer .* is explained, the coarsest one", ModelWarning)
            first = self._new_explainer(None, "gradcam")
        self.task = first.task
        if self.said.decode is not None and self.task.name != "detection":
            fact = f"Expected --decode for a model that finds boxes, received it for a {self.task} model."
            raise ValueError(f"{fact} Leave it out, or say --task detection.")
        self.is_pair = self.has_places = False
        is_detector, is_segmentation = self.task.name == "detection", self.task.name == "segmentation"
        self.default_layer = first.detection_layers if is_detector else first.layer_name
        self.roles = _roles(self._reader, self.layers) if is_segmentation else {}
        self._explainers[self.default_layer, "gradcam"] = first
        images = ModelImages(self._reader.inputs, self.preprocessing(self.default_mode))
        self.size, self.channels = images.size, images.channels
        if self.size[0] * self.size[1] > MAX_PICTURE_PIXELS:
            raise ValueError(
                f"Expected a model of images of at most {MAX_PICTURE_PIXELS / 1e6:.0f} million pixels, received one "
                f"of {self.size[0]} x {self.size[1]}. Use the command line: `tf-gradcam explain`."
            )
        self.labels = self._try_out(first)
        self.worker = worker or Worker(f"tf-gradcam {self.title}")

    def changed(self, class_names: Sequence[str] | None = None, said: Said | None = None) -> AppModel:
        """Return the same model with other class names or another task, run by the same thread.

        Raises:
            ValueError: there are more or fewer names than classes; a task that the output cannot have.
        """
        names = self.class_names if class_names is None else class_names
        model = AppModel(self._reader, names, self.origin, self.worker, self._opened, said or self.said)
        model.notes = self.notes
        return model

    def _try_out(self, explainer: Explainer) -> list[str]:
        """Explain a grey picture, so that errors of the model show now and the first map comes compiled.

        Returns:
            The names of the classes or values.
        """
        scale, images = self.preprocessing(self.default_mode), np.zeros((1, *self.size, self.channels), np.float32)
        if self.task.name == "detection":  # of black: another scaling of grey may leave the range of its boxes
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ModelWarning)
                explainer.detections(scale(images), [0])
            self._explainers.clear()  # where the form of raw boxes is guessed, the first picture shows more than grey
            return list(self.class_names or [])
        explanation = explainer(scale(images + 128))
        values = explanation.outputs if explanation.probabilities is None else explanation.probabilities
        rank = first_output(self._reader.traced_ends()).shape.rank
        self.has_places = self.task.name == "segmentation" or (self.task.name == "regression" and (rank or 0) > 2)
        self.is_pair = values.ndim == 2 and values.shape[-1] == 2 and explanation.outputs.shape[-1] == 1
        names = ClassNames(self.class_names)
        if self.task.name == "regression":
            names.noun = "value"
            return names.labels(range(values.shape[-1]) if values.ndim == 2 and values.shape[-1] > 1 else [-1])
        if self.task.name == "segmentation" and values.ndim < len(self._reader.inputs.image_shape):
            values = values[..., None]  # without the axis of a single class
        if self.task.name == "segmentation" and values.shape[-1] == 1 and names.are_two:
            return names.labels(range(2))
        return names.labels(range(values.shape[-1]))

    @property
    def threshold(self) -> float:
        """The threshold of the probabilities of labels, or of the scores of boxes, until it is changed."""
        usual = 0.3 if self.task.name == "detection" else 0.5
        return usual if self.said.threshold is None else self.said.threshold

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

    def check(self, question: Question) -> None:
        """Refuse what the lists of the page do not offer for this model; boxes are checked when they are found.

        Raises:
            ValueError: an unknown layer, method, class or way to make pixel values.
        """
        find_method(question.method)
        offered: Sequence[tuple[str, Any, Container[Any]]] = (
            ("a layer", question.layer, {self.default_layer, *(row.path for row in self.layers)}),
            ("pixel values", question.mode, {*MODES, PREPROCESSOR, DETECT}),
            ("a class", question.target, range(len(self.labels))),
            ("a class", question.against, range(len(self.labels))),
        )
        for noun, value, known in offered:
            is_several = noun == "a class" and isinstance(value, str)  # such as all labels, or a box
            if value is not None and not is_several and value not in known:
                raise ValueError(f"Expected {noun} from the list, received {value!r}. Choose it again.")

    def explain(self, picture: Path, question: Question, job: Job) -> PictureMaps:
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
        image = self.image(picture, question.mode)[None]
        job.report(0.0, question.method)
        if self.task.name == "detection":
            return self._explain_boxes(explainer, image, question, job)
        asked = self.asked(question)
        maps = self._maps(explainer, image, asked, question, job)
        explanations: dict[str, Explanation] = {}
        for one in maps:
            explanation = one.explanation.part(slice(one.place, one.place + 1))
            top = explanation.top(1)[0][0][0] if question.against is not None else ""
            explanation.labels = [label_of(asked, explanation.labels[0], top, self.labels)]
            explanations[unused_name(explanation.labels[0], explanations)] = explanation
        return PictureMaps(explanations, asked, note=maps[0].note or "")

    def asked(self, question: Question) -> Asked:
        """Return what a question asks of this model."""
        return asked_of(question, self.task.name, self.labels, self.is_pair)

    def _maps(
        self, explainer: Explainer, image: np.ndarray, asked: Asked, question: Question, job: Job
    ) -> list[ImageMap]:
        """Return the maps of one image; of a method without `class_maps` one after the other."""
        if asked.is_one or self.is_of_one_pass(question.method):
            threshold = self._threshold_of(question) if asked.is_above else None
            (maps,) = maps_of(explainer, image, asked, threshold, _progress(job, 0, 1))
            assert not isinstance(maps, str)  # only of a detector
            return maps
        first = explainer(image, None, progress=_progress(job, 0, 2))
        values = first.outputs[0] if first.probabilities is None else first.probabilities[0]
        order = np.argsort(-values, kind="stable")
        if asked.is_above:
            order = order[: max(1, int((values > self._threshold_of(question)).sum()))]
        chosen = range(len(values)) if asked.is_all else order[: asked.top]
        count = len(chosen) + 1
        return [
            ImageMap(explainer(image, int(index), progress=_progress(job, number, count)), 0, f"class-{index}")
            for number, index in enumerate(chosen, start=1)
        ]

    def class_maps(self, picture: Path, question: Question, job: Job) -> ClassMaps:
        """Return the maps of many classes of a picture, on one scale; runs in the thread of `worker`.

        They are of all classes where these are few or cost one matrix product, else of the most probable ones.

        Raises:
            ValueError: a method whose maps do not tell classes apart, or that runs the model again for each.
        """
        job.report(0.0, "maps of the classes")
        method = question.method
        if needs_of(METHODS[method]) == "activations":
            raise ValueError(
                f"Expected a method whose map depends on the class, received '{method}': its map is the same for "
                "every class. Choose another one."
            )
        explainer = self.explainer(question.layer, method)
        is_cheap = len(self.labels) <= _FEW_CLASSES or linear_tail(explainer.split) is not None
        image = self.image(picture, question.mode)[None]
        return explainer.class_maps(image, top=None if is_cheap else _FEW_CLASSES)

    def judge(self, picture: Path, question: Question, explanation: Explanation, job: Job) -> Verdict:
        """Return the verdict on the map of a picture; runs in the thread of `worker`.

        Raises:
            ValueError: as `Explainer.judge`.
        """
        job.report(0.0, "judging the map")
        target: Any = self.asked(question).target
        explainer, image = self.explainer(question.layer, question.method), self.image(picture, question.mode)[None]
        own = target if callable(target) else None
        return explainer.judge(explanation, image, own, progress=_progress(job, 0, 1))[0]

    def _explain_boxes(self, explainer: Explainer, image: np.ndarray, question: Question, job: Job) -> PictureMaps:
        """Find the boxes of an image, and explain those that are asked for.

        One box beside other methods or layers, or by a method that runs the model again, is explained as `targets.Box`.
        """
        threshold, asked = self._threshold_of(question), self.asked(question)
        is_of_one_pass = self.is_of_one_pass(question.method)
        if not is_of_one_pass and not question.is_one and asked.target is None:
            raise ValueError(
                f"Expected one box for the method '{question.method}', which runs the model again for each, received "
                "every box. Choose a box, or another method."
            )
        is_box = question.is_one or not is_of_one_pass
        finder = self.explainer(self.default_layer, "gradcam") if is_box else explainer
        with collected_warnings() as notes, warnings.catch_warnings():
            warnings.simplefilter("ignore", ModelWarning)  # shown on the page
            target: Any = asked.target
            (found,) = finder.detections(image, target, threshold=threshold)
        if found.diagnosis is None and notes:
            self._readings.setdefault(finder, for_page(" ".join(notes)))
        note = self._readings.get(finder, "")
        if found.maps is None:
            reason = for_page(found.diagnosis or "")
            lower = "" if found.found else " Lower the score from which a box counts."
            return PictureMaps({}, asked, found, f"{reason[:1].upper()}{reason[1:]}{lower}")
        if not is_box:
            of_each = [found.maps.part(slice(place, place + 1)) for place in range(len(found))]
            named = {
                f"{number}: {found.found[number].label}": each
                for number, each in zip(found.chosen, of_each, strict=True)
            }
            return PictureMaps(named, asked, found, note)
        box = Box(found[0].class_index, tuple(round(side, 2) for side in found[0].box))  # type: ignore[arg-type]
        explanation = explainer(image, box, progress=_progress(job, 0, 1))
        return PictureMaps({f"{found.chosen[0]}: {found[0].label}": explanation}, Asked(box), found, note)

    def _threshold_of(self, question: Question) -> float:
        return self.threshold if question.above is None else question.above

    @staticmethod
    def is_of_one_pass(method: MethodName) -> bool:
        """Return whether a method maps many classes from one forward pass."""
        return needs_of(METHODS[method]) in ("activations", "gradients", "curvature")

    def image(self, picture: Path, mode: str) -> np.ndarray:
        """Read a picture as the model takes it, (H0, W0, C) float32."""
        images = ModelImages(self._reader.inputs, self.preprocessing(mode), self.size)
        return images.of_photo(read_picture(picture, images.size).photo)

    def explainer(self, layer: str, method: MethodName) -> Explainer:
        """Return the explainer of a layer and a method, built at its first use; only `worker` may call this."""
        rule = find_method(method)[1]
        key = (None if needs_of(rule) == "network" else layer, method)
        if key not in self._explainers:
            is_default = self.task.name == "detection" and key[0] == self.default_layer
            self._explainers[key] = self._new_explainer(None if is_default else key[0], method)
            if len(self._explainers) > _MAX_EXPLAINERS:
                self._readings.pop(self._explainers.popitem(last=False)[1], None)
        self._explainers.move_to_end(key)
        return self._explainers[key]

    def _new_explainer(self, layer: str | None, method: MethodName) -> Explainer:
        said = self.said
        options: Any = {"class_names": self.class_names, "task": said.task, "unit": said.unit or None}
        return Explainer(self._reader, layer, method, **options, decode=said.decode)

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
        return f"{doubt} choose {better} in Pixel values, under Change model." if better else None

    def stages(self) -> list[str]:
        """Return the layers through the depth of the network, as `plot_layers` does, and those of the task."""
        levels = pyramid_layers(self._reader) if self.task.name == "detection" else []
        chosen = {*through_the_depth(self._reader), *self.roles, *levels}
        return [row.path for row in self.layers if row.path in chosen]

    def close(self) -> None:
        """Cancel all jobs and end the thread."""
        self.worker.close()


def _progress(job: Job, number: int, count: int) -> Callable[[int, int], None]:
    """Return a function that reports the progress of one of several parts of a job."""
    return lambda done, total: job.report((number + done / total) / count)


def unused_name(name: str, used: Container[str]) -> str:
    """Return a name, or with the first number that makes it another one."""
    numbered = (f"{name} ({number})" for number in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in used)


def _roles(reader: ModelReader, rows: Sequence[LayerRow]) -> dict[str, str]:
    """Return the layers of a segmentation that show its context and its details, where they are two."""
    try:
        layers = segmentation_layers(reader)
    except ValueError:  # no layer that every path passes
        return {}
    known = {row.path for row in rows} if layers.context != layers.detail else set()
    return {path: role for path, role in ((layers.context, "context"), (layers.detail, "detail")) if path in known}


def load_app_model(
    model: str | None = None,
    weights: str | None = None,
    class_names: str | os.PathLike[str] | None = None,
    arguments: Sequence[str] = (),
    own_code: OwnCode | None = None,
    said: Said | None = None,
) -> AppModel:
    """Load the model of the page.

    Args:
        model: a name of keras.applications or a .keras or .h5 file; None for the bundled model of phantom slices.
        weights: a file, "imagenet" or "none"; None for the ImageNet weights of a name, and a file's own weights.
        class_names: a file of names in class order.
        arguments: of the constructor of a named network, as KEY=VALUE.
        own_code: classes and functions for the model's file and for uploaded ones, see `import_code`.
        said: what the user says of the model.

    Raises:
        OSError, TypeError, ValueError: as `open_model` and `AppModel`.
    """
    if model is None:
        if weights is not None or arguments:
            raise ValueError("Expected a model for the weights or arguments, received none. Name one with --model.")
        opened = open_model(load_demo_model(), class_names=class_names or CLASS_NAMES, preprocess=None)
        origin = Origin(own_code=own_code or OwnCode())
        return AppModel(opened.reader, opened.class_names, origin, opened=opened, said=said)
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
    loaded = AppModel(opened.reader, opened.class_names, origin, opened=opened, said=said)
    loaded.notes = [for_page(note) for note in notes]
    return loaded


def headline(model: AppModel) -> str:
    """Describe the model and its task in a line of HTML each, and what was assumed or repaired to load it."""
    height, width = model.size
    known = model.preprocessing(model.default_mode)
    how = f"{known.mode} ({known.meaning}), assumed, because {known.evidence}."
    statement = how if known.source == "assumed" else known.statement
    text = f"Model: {model.title}{_count_of(model)}, images of {height} x {width}. Scaling: {statement}"
    if known.source in ("assumed", "unknown"):
        text += " If you trained on other values, such as pictures / 255, choose them under Change model."
    task = f"Task: {for_page(model.task.statement)}"
    if not model.task.is_given:
        task += " Say another by Task, under Change model."
    lines = "".join(f'<p class="tg-model">{escape(line)}</p>' for line in (text, task))
    return lines + notice_html(" ".join(model.notes))


def _count_of(model: AppModel) -> str:
    """Return the number of classes, labels or values as part of a sentence; "" where it is not known."""
    number = len(model.labels)
    noun = {"multilabel": "label", "regression": "value"}.get(model.task.name, "class")
    plural = f"{noun}es" if noun == "class" else f"{noun}s"
    return f", {number} {noun if number == 1 else plural}" if number else ""
