"""The model styles that this package and the peers can explain, at the default layer and at an inner layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from benchmarks.peers import CLASS, is_installed
from benchmarks.report import Table
from benchmarks.settings import Settings
from tf_gradcam import Explainer

_SIZE = 64
_CLASSES = 4


class Own(keras.Model):
    """A subclassed model as in tutorials."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = keras.layers.Conv2D(8, 3, activation="relu", name="inside")
        self.pool = keras.layers.GlobalAveragePooling2D()
        self.head = keras.layers.Dense(_CLASSES)

    def call(self, images: Any) -> Any:
        return self.head(self.pool(self.convolution(images)))


def _backbone(name: str) -> keras.Model:
    images = keras.Input((_SIZE, _SIZE, 3))
    hidden = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="first")(images)
    return keras.Model(images, keras.layers.Conv2D(8, 3, activation="relu", name="inside")(hidden), name=name)


def _flat() -> keras.Model:
    backbone = _backbone("flat")
    hidden = keras.layers.GlobalAveragePooling2D()(backbone.outputs[0])
    return keras.Model(backbone.inputs, keras.layers.Dense(_CLASSES, activation="softmax")(hidden))


def _nested() -> keras.Model:
    images = keras.Input((_SIZE, _SIZE, 3))
    hidden = keras.layers.GlobalAveragePooling2D()(_backbone("backbone")(images))
    return keras.Model(images, keras.layers.Dense(_CLASSES, activation="softmax")(hidden))


def _sequential() -> keras.Model:
    layers = [keras.Input((_SIZE, _SIZE, 3)), _backbone("backbone"), keras.layers.GlobalAveragePooling2D()]
    return keras.Sequential([*layers, keras.layers.Dense(_CLASSES, activation="softmax")])


def _subclassed() -> keras.Model:
    model = Own()
    model(np.zeros((1, _SIZE, _SIZE, 3), np.float32))
    return model


STYLES: dict[str, Callable[[], keras.Model]] = {
    "functional": _flat,
    "fine-tuned: a backbone inside a functional model": _nested,
    "fine-tuned: a backbone inside Sequential": _sequential,
    "subclassed": _subclassed,
}


def _ours(model: keras.Model, images: np.ndarray, layer: str | None) -> Any:
    return Explainer(model, layer)(images, CLASS).heatmaps


def _tf_keras_vis(model: keras.Model, images: np.ndarray, layer: str | None) -> Any:
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.scores import CategoricalScore

    return Gradcam(model, clone=False)(CategoricalScore([CLASS] * len(images)), images, penultimate_layer=layer)


def _xplique(model: keras.Model, images: np.ndarray, layer: str | None) -> Any:
    from xplique.attributions import GradCAM

    targets = np.eye(_CLASSES, dtype=np.float32)[[CLASS] * len(images)]
    return GradCAM(model, conv_layer=layer).explain(images, targets)


_EXPLAINERS = {
    "tf-gradcam": ("tf_gradcam", _ours),
    "tf-keras-vis": ("tf_keras_vis", _tf_keras_vis),
    "xplique": ("xplique", _xplique),
}


def run(settings: Settings) -> Iterator[Table]:
    """Yield a table with a row for each style and layer: yes, or the first words of the error."""
    present = {name: explain for name, (module, explain) in _EXPLAINERS.items() if is_installed(module)}
    images = np.random.default_rng(0).random((2, _SIZE, _SIZE, 3)).astype(np.float32)
    rows = []
    for style, build in STYLES.items():
        model = build()
        for layer in (None, "inside"):
            answers = (_answer(explain, model, images, layer) for explain in present.values())
            rows.append((f"{style}, {'default layer' if layer is None else 'a layer by name'}", *answers))
    yield Table("Models that are explained as they are", ("", *present), rows)


def _answer(explain: Callable[..., Any], model: keras.Model, images: np.ndarray, layer: str | None) -> str:
    try:
        heatmaps = np.asarray(explain(model, images, layer))
    except Exception as error:  # whatever a library raises is what its user meets
        return f"{type(error).__name__}: {str(error).splitlines()[0][:60] if str(error) else ''}".rstrip(": ")
    return "yes" if len(heatmaps) == len(images) else f"{heatmaps.shape}"
