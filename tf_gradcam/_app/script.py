"""The lines of Python that make the same picture again, pixel by pixel."""

from __future__ import annotations

from pathlib import Path

from tf_gradcam._app.html import Look
from tf_gradcam._app.model import AppModel, Question
from tf_gradcam._app.session import Answer
from tf_gradcam._models.loading import find_model_name, is_model_file, parse_arguments
from tf_gradcam._rules.table import METHODS, needs_of

_LONGEST = 1000  # letters of the class names; more of them are no line


def python_lines(answer: Answer, look: Look) -> str:
    """A script that writes `<stem>.overlay.png` and `<stem>.heatmap.npy`, those that the page hands out.

    Args:
        answer: of *Explore*.
        look: how the map is painted.

    Returns:
        Lines that run as they stand, next to the picture and the model.
    """
    question, script = answer.question, _Script(answer)
    script.add(f"explainer = Explainer(model, {_layer(question)!r}, {question.method!r}, class_names=class_names)")
    script.add(f"explanation = explainer(images, target={script.target()})", "from tf_gradcam import Explainer")
    colormap = f", colormap={look.colormap!r}" if look.colormap else ""
    script.add(f"overlay = explanation.overlay_of(0, photo, alpha={look.alpha:g}{colormap})")
    if look.threshold > 0:
        values = "explanation.shown_at(0, photo.shape[:2])"
        values = f"np.abs({values})" if answer.first.signed else values
        script.add(f"hot = hot_pixels({values}, {look.threshold:g})", "from tf_gradcam.image import hot_pixels")
        script.add("overlay = np.where(hot[..., None], overlay, photo)")
    stem = Path(answer.picture.name).stem
    script.add(f"save_image({stem + '.overlay.png'!r}, overlay)", "from tf_gradcam.image import load_image, save_image")
    script.add(f"np.save({stem + '.heatmap.npy'!r}, explanation.shown[0])", "import numpy as np")
    return script.text()


def figure_lines(answer: Answer, tab: str) -> str:
    """A script that writes the figure of *Compare* or *Layers* as PNG and PDF.

    Args:
        answer: of that tab.
        tab: "compare" or "layers".
    """
    question, script = answer.question, _Script(answer)
    common = f"target={script.target()}, photo=photo"
    if tab == "compare":
        script.add(f"methods = {list(answer.explanations)}", "from tf_gradcam import compare")
        asked = f"layer={question.layer!r}, class_names=class_names, {common}"
        script.add(f"comparison = compare(model, images, methods, {asked})")
    else:
        script.add(f"layers = {list(answer.explanations)}", "from tf_gradcam import Explainer, compare")
        explainer = f"Explainer(model, layer, {question.method!r}, class_names=class_names)"
        script.add(f"explainers = {{layer: {explainer} for layer in layers}}")
        script.add(f"comparison = compare(explainers, images, {common})")
    script.add(f"comparison.figure.savefig('{tab}.png', dpi=200)")
    script.add(f"comparison.figure.savefig('{tab}.pdf')")
    return script.text()


def _layer(question: Question) -> str | None:
    """A method of the whole network has none."""
    return None if needs_of(METHODS[question.method]) == "network" else question.layer


class _Script:
    """Imports, model, picture and image; what is done with them is added."""

    def __init__(self, answer: Answer):
        self._answer = answer
        self._imports = {"from tf_gradcam.image import load_image"}
        self._body: list[str] = []
        self._load_model(answer.model)
        self._load_picture(answer.model.size, answer.model.channels, answer.question.mode)

    def add(self, line: str, *imports: str) -> None:
        self._body.append(line)
        self._imports.update(imports)

    def target(self) -> str:
        question = self._answer.question
        if question.against is None:
            return repr(question.target)
        self._imports.add("from tf_gradcam.targets import Contrast")
        return f"Contrast({question.target!r}, {question.against!r})"

    def text(self) -> str:
        if "from tf_gradcam.image import load_image, save_image" in self._imports:
            self._imports.discard("from tf_gradcam.image import load_image")
        if any("np." in line for line in self._body):
            self._imports.add("import numpy as np")
        outside = sorted(line for line in self._imports if "tf_gradcam" not in line)
        own = sorted(line for line in self._imports if "tf_gradcam" in line)
        return "\n".join([*outside, "", *own, "", *self._body, ""]).lstrip()

    def _load_model(self, model: AppModel) -> None:
        origin = model.origin
        if origin.model is None:
            self.add("model = load_demo_model()", "from tf_gradcam.demo import load_demo_model")
        elif is_model_file(origin.model):
            self.add(f"model = keras.saving.load_model({origin.model!r}, compile=False)", "import keras")
        else:
            weights = "imagenet" if origin.weights == "imagenet" else None
            arguments = "".join(f", {key}={value!r}" for key, value in parse_arguments(origin.arguments).items())
            name = find_model_name(origin.model)
            self.add(f"model = keras.applications.{name}(weights={weights!r}{arguments})", "import keras")
        if origin.weights not in (None, "imagenet", "none"):
            self.add(f"model.load_weights({origin.weights!r})")
        names = repr(model.class_names)
        self.add(f"class_names = {names if len(names) <= _LONGEST else 'None  # labels are numbers then'}")

    def _load_picture(self, size: tuple[int, int], channels: int, mode: str) -> None:
        picture = self._answer.picture
        if picture.sample is not None:
            self.add(f"save_image({picture.name!r}, {picture.sample.expression})")
            self._imports |= {
                "from tf_gradcam.demo import phantom_slices",
                "from tf_gradcam.image import load_image, save_image",
            }
        self.add(f"photo = load_image({picture.name!r})")
        image = f"load_image({picture.name!r}, {size})"
        if channels == 1:
            self.add(f"grey = ({image}.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]")
            image = "grey"
        self.add(
            f"images = Preprocessing(None, {mode!r})({image})[None]",
            "from tf_gradcam._models.preprocessing import Preprocessing",
        )
