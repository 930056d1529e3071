"""One network built in five ways, one heatmap: flat, nested, with custom layers, subclassed, saved and loaded.

python examples/any_model.py

The network is the bundled classifier of generated brain slices. Each wrapping holds the very same trained layers and
predicts the same, so each must be explained by the same map; the script prints by how much they differ, and fails where
they do. Most recipes for Grad-CAM take the first of these models and none of the others.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_gradcam import Explainer, list_layers
from tf_gradcam.demo import CLASS_NAMES, CLASSIFIER_LAYERS, LAYER_NAME, load_demo_model, phantom_slices


def backbone_of(model: keras.Model) -> keras.Model:
    """Return the convolutions only, as `include_top=False` does."""
    return keras.Model(model.input, model.get_layer(LAYER_NAME).output, name="backbone")


def nested(model: keras.Model) -> keras.Model:
    """Return a model whose backbone is one layer: the usual result of fine-tuning."""
    images = keras.Input(model.input_shape[1:])
    hidden = backbone_of(model)(images)
    for name in CLASSIFIER_LAYERS:
        hidden = model.get_layer(name)(hidden)
    return keras.Model(images, hidden, name="nested")


@keras.saving.register_keras_serializable("examples")
class Head(keras.layers.Layer):
    """A custom layer that calls layers of Keras."""

    def __init__(self, parts: list[Any], **options: Any):
        super().__init__(**options)
        self.parts = parts

    def call(self, activations: Any) -> Any:
        for part in self.parts:
            activations = part(activations)
        return activations


def with_own_layer(model: keras.Model) -> keras.Model:
    """Return a functional model whose whole classifier is one custom layer."""
    images = keras.Input(model.input_shape[1:])
    head = Head([model.get_layer(name) for name in CLASSIFIER_LAYERS], name="head")
    return keras.Model(images, head(backbone_of(model)(images)), name="own_layer")


class Classifier(keras.Model):
    """A subclassed model: it has no graph, only a `call`."""

    def __init__(self, model: keras.Model):
        super().__init__(name="subclassed")
        self.stack = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]

    def call(self, images: Any) -> Any:
        for layer in self.stack:
            images = layer(images)
        return images


def saved_and_loaded(model: keras.Model) -> keras.Model:
    """Return the nested model, saved and loaded."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return keras.models.load_model(path)


def main() -> None:
    """Explain the same slice with all of them."""
    flat = load_demo_model()
    phantom = phantom_slices(4, seed=11)
    image = phantom.images[:1]  # (1, 224, 224, 3), RGB 0..255: the model scales by itself
    subclassed = Classifier(flat)
    subclassed(image)  # a subclassed model is built by its first call
    models = [flat, nested(flat), with_own_layer(flat), subclassed, saved_and_loaded(nested(flat))]
    expected = Explainer(flat, LAYER_NAME)(image).heatmaps[0]
    for model in models:
        explanation = Explainer(model, class_names=CLASS_NAMES)(image)  # the layer is found in each
        difference = float(np.abs(explanation.heatmaps[0] - expected).max())
        count = sum(row.explainable for row in list_layers(model))
        print(
            f"{model.name:<11} {explanation.labels[0]} {explanation.probabilities[0].max():.1%} at "
            f"{explanation.layer_name} (one of {count} layers); maps differ by {difference:.0e}"
        )
        if difference > 1e-4:
            raise SystemExit(f"The map of {model.name} is another one.")


if __name__ == "__main__":
    main()
