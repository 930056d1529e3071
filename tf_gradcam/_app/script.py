"""Python code that makes the same picture again, pixel by pixel."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_gradcam._app.model import AppModel
from tf_gradcam._app.session import Answer
from tf_gradcam._models.hub import is_preset
from tf_gradcam._models.loading import find_model_name, is_model_file, parse_arguments
from tf_gradcam._models.preprocessing import PREPROCESSOR
from tf_gradcam._rules.table import METHODS, needs_of
from tf_gradcam.image.overlay import HEAT, Look
from tf_gradcam.targets.base import NamedTarget
from tf_gradcam.targets.boxes import Box

_MAX_NAMES_LENGTH = 1000  # characters of all class names; of longer lists only those of the picture are written


def python_lines(answer: Answer, look: Look) -> str:
    """Return a script that writes the overlays and maps as the page offers them, "" where there are none.

    Of one map, it writes `<stem>.overlay.png` and `<stem>.heatmap.npy`; of several, the files in the page's archive.
    The script runs in the folder of the picture and the model.

    Args:
        answer: of *Explore*.
        look: the colours of the map.
    """
    if not answer.explanations:
        return ""
    script, name = _Script(answer), answer.picture.name
    stem, is_box = Path(name).stem, isinstance(answer.asked.target, Box)
    if answer.found is not None and not is_box:
        _add_boxes(script, look)
    elif len(answer.explanations) > 1:
        _add_several(script, look)
    elif is_box or answer.model.said.decode is not None:
        script.add_images()
        script.add_explainer()
        script.add(f"explanation = explainer(images, {script.target()})")
        _add_overlay(script, look, "explanation", "0")
        if is_box:
            finder = script.explainer(script.layer("gradcam"), "'gradcam'")
            script.add(f"found = {finder}.detections(images, {_wanted(answer)}, {_threshold(answer)})[0]")
            script.add("overlay = found.with_boxes(0, overlay)")
        _add_files(script, repr(f"{stem}.overlay.png"), repr(f"{stem}.heatmap.npy"), "explanation.shown[0]")
    else:
        script.add(f"explanation = explain({name!r}, model, {', '.join(_options(script))})", "tf_gradcam", "explain")
        script.add("photo = explanation.photos[0]")
        _add_overlay(script, look, "explanation", "0")
        _add_files(script, repr(f"{stem}.overlay.png"), repr(f"{stem}.heatmap.npy"), "explanation.shown[0]")
    return script.text()


def suffix_of(answer: Answer, name: str) -> str:
    """Return what the names of a map's files have behind the picture's stem, where there are several maps."""
    if answer.found is not None:
        return f"box-{answer.found.chosen[list(answer.explanations).index(name)]}"
    noun = "value" if answer.model.task.name == "regression" else "class"
    return f"{noun}-{answer.explanations[name].class_indices[0]}"


def _add_overlay(script: _Script, look: Look, explanation: str, index: str, indent: str = "") -> None:
    """Add the lines that paint a map on `photo` as the page does."""
    said = f", colormap={look.colormap!r}" if look.colormap not in (None, HEAT) else ""
    said += f", threshold={look.threshold:g}" if look.threshold else ""
    script.add(f"{indent}overlay = {explanation}.overlay_of({index}, photo, alpha={look.alpha:g}{said})")
    if script.answer.first.values is not None:
        script.add(f"{indent}overlay = {explanation}.picture_of({index}, overlay, alpha=0)  # with the value")


def _add_files(script: _Script, picture: str, array: str, values: str, indent: str = "") -> None:
    script.add(f"{indent}save_image({picture}, overlay)", "tf_gradcam.image", "save_image")
    script.add(f"{indent}np.save({array}, {values})")


def _add_several(script: _Script, look: Look) -> None:
    """Add the lines that explain several classes or values."""
    answer, stem = script.answer, Path(script.answer.picture.name).stem
    asked, indices = answer.asked, [int(each.class_indices[0]) for each in answer.explanations.values()]
    script.add_images()
    script.add_explainer()
    indent = "    "
    if not answer.model.is_of_one_pass(answer.question.method):
        script.add(f"for explanation in [explainer(images, index) for index in {indices}]:")
    else:
        above = answer.model.threshold if answer.question.above is None else answer.question.above
        which = f", above={above!r}" if asked.is_above else f", top={asked.top}" if asked.top else ""
        script.add(f"maps = explainer.class_maps(images{which})")
        if asked.is_above:
            script.add("asked = [each for each, is_asked in zip(maps.of_each_class(), maps.asked[0]) if is_asked]")
        script.add(f"for explanation in {'asked' if asked.is_above else 'maps.of_each_class()'}:")
    _add_overlay(script, look, "explanation", "0", indent)
    noun = "value" if answer.model.task.name == "regression" else "class"
    script.add(f'{indent}stem = f"{_braced(stem)}.{noun}-{{explanation.class_indices[0]}}"')
    _add_files(script, 'f"{stem}.overlay.png"', 'f"{stem}.heatmap.npy"', "explanation.shown[0]", indent)


def _add_boxes(script: _Script, look: Look) -> None:
    """Add the lines that explain the boxes of a detector."""
    answer, stem, indent = script.answer, Path(script.answer.picture.name).stem, "    "
    script.add_images()
    script.add_explainer()
    wanted = f"{_wanted(answer)}, " if answer.asked.target is not None else ""
    script.add(f"found = explainer.detections(images, {wanted}{_threshold(answer)})[0]")
    if len(answer.explanations) == 1:
        _add_overlay(script, look, "found.maps", "0")
        script.add("overlay = found.with_boxes(0, overlay)")
        _add_files(script, repr(f"{stem}.overlay.png"), repr(f"{stem}.heatmap.npy"), "found.maps.shown[0]")
        return
    script.add("for place, number in enumerate(found.chosen):")
    _add_overlay(script, look, "found.maps", "place", indent)
    script.add(f"{indent}overlay = found.with_boxes(place, overlay)")
    script.add(f'{indent}stem = f"{_braced(stem)}.box-{{number}}"')
    _add_files(script, 'f"{stem}.overlay.png"', 'f"{stem}.heatmap.npy"', "found.maps.shown[place]", indent)


def _braced(text: str) -> str:
    """Return a text as it stands inside an f-string in double quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("{", "{{").replace("}", "}}")


def _wanted(answer: Answer) -> str:
    return repr(answer.found.chosen) if answer.found is not None else "None"


def _threshold(answer: Answer) -> str:
    above = answer.question.above
    return f"threshold={answer.model.threshold if above is None else above!r}"


def _names_of(answer: Answer) -> dict[int, str]:
    """Return the names of the classes that were asked for, explained, or are the most probable."""
    question = answer.question
    indices = {index for index in (question.target, question.against) if isinstance(index, int)}
    for explanation in answer.explanations.values():
        indices |= {int(index) for index in explanation.class_indices if index >= 0}
        if explanation.probabilities is not None and explanation.probabilities.ndim == 2:
            indices |= {int(index) for index in np.argsort(-explanation.probabilities[0], kind="stable")[:5]}
    if answer.found is not None:
        indices |= {item.class_index for item in answer.found.found}
    return {index: str(answer.model.labels[index]) for index in sorted(indices)}


def figure_lines(answer: Answer, tab: str) -> str:
    """Return a script that writes the figure of a tab, "compare" or "layers", as PNG and PDF."""
    if not answer.explanations:
        return ""
    question, script, names = answer.question, _Script(answer), list(answer.explanations)
    script.add_images()
    common = f"target={script.target()}, photo=photo"
    if tab == "compare" and answer.found is None:
        script.add(f"methods = {names}")
        asked = ", ".join([f"layer={question.layer!r}", "class_names=class_names", *script.said(), common])
        script.add(f"comparison = compare(model, images, methods, {asked})", "tf_gradcam", "compare")
    else:
        if tab == "compare":
            each = [f"    {name!r}: {script.explainer(script.layer(name), repr(name))}," for name in names]
            script.add("\n".join(["explainers = {", *each, "}"]), "tf_gradcam", "Explainer")
        else:
            script.add(f"layers = {names}")
            explainer = script.explainer("layer", repr(question.method))
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
    options += [f"method={question.method!r}", "class_names=class_names", *script.said()]
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
        target: Any = self.answer.asked.target
        if not isinstance(target, NamedTarget):
            return repr(target)
        self._imports.setdefault("tf_gradcam.targets", set()).add(str(type(target).__name__))
        fields = [item for item in dataclasses.fields(target) if item.repr]  # type: ignore[arg-type]
        while fields and getattr(target, fields[-1].name) == fields[-1].default:
            fields.pop()
        shown = {item.name: getattr(target, item.name) for item in fields}
        parts = [f"{name}={value!r}" if number else repr(value) for number, (name, value) in enumerate(shown.items())]
        return f"{type(target).__name__}({', '.join(parts)})"

    def said(self) -> list[str]:
        """Return the arguments that say the task, the unit, and how boxes are read."""
        model = self.answer.model
        arguments = [f"task={model.task.name!r}"] if model.task.is_given or model.task.name == "detection" else []
        arguments += [f"unit={model.said.unit!r}"] if model.said.unit else []
        return arguments + ([f"decode={model.said.decode!r}"] if model.said.decode else [])

    def layer(self, method: str) -> str:
        """Return the layer of a method, None for those of a detector and for all layers."""
        question, model = self.answer.question, self.answer.model
        is_pyramid = model.task.name == "detection" and question.layer == model.default_layer
        is_whole = needs_of(METHODS[method]) == "network"  # type: ignore[index]
        return repr(None if is_pyramid or is_whole else question.layer)

    def explainer(self, layer: str, method: str) -> str:
        return f"Explainer(model, {', '.join([layer, method, 'class_names=class_names', *self.said()])})"

    def add_explainer(self) -> None:
        method = self.answer.question.method
        explainer = self.explainer(self.layer(method), repr(method))
        self.add(f"explainer = {explainer}", "tf_gradcam", "Explainer")

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
        if len(names) > _MAX_NAMES_LENGTH:
            names = f"{_names_of(self.answer)}  # of {len(model.class_names or [])}, those of this picture"
        self.add(f"class_names = {names}")
