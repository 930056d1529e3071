"""Python code that makes the same picture again, pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tf_gradcam._app.html import Look
from tf_gradcam._app.model import AppModel
from tf_gradcam._app.session import Answer
from tf_gradcam._models.hub import is_preset
from tf_gradcam._models.loading import find_model_name, is_model_file, parse_arguments
from tf_gradcam._models.preprocessing import PREPROCESSOR
from tf_gradcam._rules.table import METHODS, needs_of

_MAX_NAMES_LENGTH = 1000  # characters of all class names; longer lists are left out


def python_lines(answer: Answer, look: Look) -> str:
    """Return a script that writes `<stem>.overlay.png` and `<stem>.heatmap.npy` as the page offers them.

    The script runs in the folder of the picture and the model.

    Args:
        answer: of *Explore*.
        look: the colours of the map.
    """
    script, name = _Script(answer), answer.picture.name
    script.add(f"explanation = explain({name!r}, model, {', '.join(_options(script))})", "tf_gradcam", "explain")
    script.add("photo = explanation.photos[0]")
    colormap = f", colormap={look.colormap!r}" if look.colormap else ""
    script.add(f"overlay = explanation.overlay_of(0, photo, alpha={look.alpha:g}{colormap})")
    if look.threshold > 0:
        values = "explanation.shown_at(0, photo.shape[:2])"
        values = f"np.abs({values})" if answer.first.signed else values
        script.add(f"hot = hot_pixels({values}, {look.threshold:g})", "tf_gradcam.image", "hot_pixels")
        script.add("overlay = np.where(hot[..., None], overlay, photo)")
    stem = Path(name).stem
    script.add(f"save_image({stem + '.overlay.png'!r}, overlay)", "tf_gradcam.image", "save_image")
    script.add(f"np.save({stem + '.heatmap.npy'!r}, explanation.shown[0])")
    return script.text()


def figure_lines(answer: Answer, tab: str) -> str:
    """Return a script that writes the figure of a tab, "compare" or "layers", as PNG and PDF."""
    question, script = answer.question, _Script(answer)
    script.add_images()
    common = f"target={script.target()}, photo=photo"
    if tab == "compare":
        script.add(f"methods = {list(answer.explanations)}")
        asked = f"layer={question.layer!r}, class_names=class_names, {common}"
        script.add(f"comparison = compare(model, images, methods, {asked})", "tf_gradcam", "compare")
    else:
        script.add(f"layers = {list(answer.explanations)}")
        explainer = f"Explainer(model, layer, {question.method!r}, class_names=class_names)"
        script.add(f"explainers = {{layer: {explainer} for layer in layers}}", "tf_gradcam", "Explainer")
        script.add(f"comparison = compare(explainers, images, {common})", "tf_gradcam", "compare")
    script.add(f"comparison.figure.savefig('{tab}.png', dpi=200)")
    script.add(f"comparison.figure.savefig('{tab}.pdf')")
    return script.text()


def _options(script: _Script) -> list[str]:
    """Return the arguments of `explain` after the picture and the model, without its defaults."""
    question, model = script.answer.question, script.answer.model
    options = [f"target={script.target()}"]
    if needs_of(METHODS[question.method]) != "network":
        options.append(f"layer={question.layer!r}")
    options += [f"method={question.method!r}", "class_names=class_names"]
    known = model.preprocessing(question.mode)
    if known.source not in ("own", "assumed"):  # a loaded model does not show what its file says
        options.append(f"preprocess={known.mode!r}")
    return options


class _Script:
    """A script that loads the model, and draws the picture of a sample; further lines are added."""

    def __init__(self, answer: Answer):
        self.answer = answer
        self._imports: dict[str, set[str]] = {}  # module -> names; an empty set for the module itself
        self._body: list[str] = []
        self._load_model(answer.model)
        sample = answer.picture.sample
        if sample is not None:
            self.add(f"save_image({answer.picture.name!r}, {sample.expression})", "tf_gradcam.image", "save_image")
            self._imports.setdefault("tf_gradcam.demo", set()).add("phantom_slices")

    def add(self, line: str, module: str = "", *names: str) -> None:
        """Add a line and its import: names of a module, or a module."""
        self._body.append(line)
        if module:
            self._imports.setdefault(module, set()).update(names)

    def _own_code(self, named: Sequence[str]) -> str:
        """Import the user's modules, which lie beside the script; return the argument that gives their classes."""
        modules = [Path(name).stem if name.endswith(".py") else name.replace("/", ".").strip(".") for name in named]
        for module in modules:
            self._imports.setdefault(module, set())
        return f", custom_objects={' | '.join(f'vars({module})' for module in modules)}" if modules else ""

    def target(self) -> str:
        question = self.answer.question
        if question.against is None:
            return repr(question.target)
        self._imports.setdefault("tf_gradcam.targets", set()).add("Contrast")
        return f"Contrast({question.target!r}, {question.against!r})"

    def text(self) -> str:
        lines = [
            f"from {module} import {', '.join(sorted(names, key=str.lower))}" if names else f"import {module}"
            for module, names in sorted(self._imports.items())
        ]
        outside = [line for line in lines if "tf_gradcam" not in line]
        if any("np." in line for line in self._body):
            outside.append("import numpy as np")
        own = [line for line in lines if "tf_gradcam" in line]
        return "\n".join([*outside, "", *own, "", *self._body, ""]).lstrip()

    def add_images(self) -> None:
        """Add the photo, and the images that the model takes."""
        name, model, mode = self.answer.picture.name, self.answer.model, self.answer.question.mode
        known = model.preprocessing(mode)
        mode = known.mode
        self.add(f"photo = load_image({name!r})", "tf_gradcam.image", "load_image")
        call = f"get_img_array({name!r}, {model.size}, interpolation='area')"
        self.add(f"images = {call}", "tf_gradcam", "get_img_array")
        if model.channels == 1:
            self.add("images = (images @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]")
        if mode == "unit":
            self.add("images /= 255")
        elif mode == "raw16":
            self.add("images *= 257")
        elif mode == "standard":
            self.add("images = tensorflow.image.per_image_standardization(images).numpy()", "tensorflow")
        elif mode == PREPROCESSOR and known.linear is not None:
            gain, start = known.linear
            self.add(f"images = images * np.array({list(gain)}, np.float32) + np.array({list(start)}, np.float32)")
        elif mode != "raw":
            scale = "keras.applications.imagenet_utils.preprocess_input"
            self.add(f"images = {scale}(images, data_format='channels_last', mode={mode!r})", "keras")

    def _load_model(self, model: AppModel) -> None:
        origin = model.origin
        if origin.model is None:
            self.add("model = load_demo_model()", "tf_gradcam.demo", "load_demo_model")
        elif is_model_file(origin.model) or is_preset(origin.model):
            custom_objects = self._own_code(origin.own_code.named)
            self.add(f"model = load_model({origin.model!r}{custom_objects})", "tf_gradcam", "load_model")
        else:
            weights = "imagenet" if origin.weights == "imagenet" else None
            arguments = "".join(f", {key}={value!r}" for key, value in parse_arguments(origin.arguments).items())
            name = find_model_name(origin.model)
            self.add(f"model = keras.applications.{name}(weights={weights!r}{arguments})", "keras")
        if origin.weights not in (None, "imagenet", "none"):
            self.add(f"model.load_weights({origin.weights!r})")
        names = repr(model.class_names)
        self.add(
            f"class_names = {names if len(names) <= _MAX_NAMES_LENGTH else 'None  # labels are then class numbers'}"
        )
