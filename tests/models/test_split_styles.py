"""Every style of model, explained through the split, against gradients that were derived by hand.

Each style is built, looked at, explained and looked at again once; the tests then ask for one property each.

Also tests _models/graph.py, _models/keras_internals.py.
"""

from __future__ import annotations

import gc
import itertools
import re
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.slow import every
from tests.zoo.styles import STYLES, Style, chain, conv_stack, head_layers, photos
from tf_gradcam import Explainer, list_layers, split_model
from tf_gradcam._models.graph import first_output

pytestmark = pytest.mark.core
BATCH = 3
ACTIVATIONS = {"softmax": tf.nn.softmax, "sigmoid": tf.sigmoid, None: tf.identity}


def rows(images: Any, start: int, stop: int) -> Any:
    return keras.tree.map_structure(lambda array: array[start:stop], images)


def floats(structure: Any) -> list[np.ndarray]:
    """The arrays of a structure in order, as float32."""
    return [np.asarray(tf.cast(array, "float32")) for array in keras.tree.flatten(structure)]


def assert_close(actual: Any, expected: np.ndarray, tolerance: float, of: np.ndarray | None = None) -> None:
    """Equal to within `tolerance` of the largest expected value, or of that in `of`, which must not be zero."""
    scale = np.abs(expected if of is None else of).max()
    assert scale > 0.0
    np.testing.assert_allclose(actual, expected, rtol=0.0, atol=tolerance * scale)


def layers_inside(model: keras.Model) -> list[keras.layers.Layer]:
    return list(model._flatten_layers(include_self=True, recursive=True))


class Snapshot:
    """What an owner can see of a model, and the traces that a careless tool leaves on it."""

    def __init__(self, model: keras.Model, images: Any):
        inside = layers_inside(model)
        optimizer = getattr(model, "optimizer", None)
        metrics = [value for metric in model.metrics for value in metric.variables]
        self.predicted = floats(model.predict(images, verbose=0))
        self.outputs = floats(model(images, training=False))
        self.variables = [np.asarray(v).tobytes() for v in model.variables]
        self.optimizer = [np.asarray(v).tobytes() for v in (optimizer.variables if optimizer else [])]
        self.metrics = [np.asarray(v).tobytes() for v in metrics]
        self.trainable = [layer.trainable for layer in inside] + [v.trainable for v in model.variables]
        self.activations = [getattr(layer, "activation", None) for layer in inside]
        self.nodes = [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in inside]
        self.attributes = [sorted(vars(layer)) for layer in inside]
        self.calls = [layer.call for layer in inside]
        self.losses = len(model.losses)
        self.functions = [getattr(model, name, None) for name in ("predict_function", "train_function")]
        self.policy = keras.config.dtype_policy().name
        try:
            self.config = model.get_config()
        except NotImplementedError:
            self.config = None  # a subclassed model that does not define it


@dataclass
class Case:
    """A style's model with its explanations, each made when first asked for."""

    style: Style
    model: keras.Model
    layer: Any
    reference: Callable[[Any, Any], tuple[np.ndarray, np.ndarray, Any]]
    images: Any
    before: Snapshot

    def explainer(self, method: str) -> Explainer:
        names = self.style.classifier_layers
        return Explainer(self.model, self.layer, method, classifier_layers=names and list(names))

    @cached_property
    def hirescam(self) -> Explainer:
        return self.explainer("hirescam")

    @cached_property
    def explanation(self) -> Any:
        return self.hirescam(self.images, target=self.style.target)

    @cached_property
    def gradcam(self) -> Explainer:
        return self.explainer("gradcam")

    @cached_property
    def split(self) -> Any:
        names = self.style.classifier_layers
        return split_model(self.model, self.layer, classifier_layers=names and list(names))

    @cached_property
    def expected(self) -> tuple[np.ndarray, np.ndarray, Any]:
        return self.reference(self.images, self.style.target)


@pytest.fixture(scope="module", params=every(3, STYLES), ids=list(STYLES))
def case(request: pytest.FixtureRequest) -> Case:
    style = STYLES[request.param]
    model, layer, reference = style.build()
    images = style.images(BATCH)
    return Case(style, model, layer, reference, images, Snapshot(model, images))


def test_style_is_tiny(case: Case) -> None:
    assert case.model.count_params() < 2000


def test_reference_reproduces_the_model(case: Case) -> None:
    activation = ACTIVATIONS[case.style.activation]
    outputs = case.model(case.images, training=False)
    logits = case.expected[2]
    keras.tree.assert_same_structure(outputs, logits)
    for actual, expected in zip(floats(outputs), keras.tree.flatten(logits), strict=True):
        assert_close(activation(expected), actual, case.style.tolerance)


def test_split_reproduces_the_model(case: Case) -> None:
    outputs = case.model(case.images, training=False)
    received = case.split.tail(case.split.extractor(case.images))
    keras.tree.assert_same_structure(received, outputs)
    for actual, expected in zip(floats(received), floats(outputs), strict=True):
        assert_close(actual, expected, case.style.tolerance)


def test_split_extracts_the_activations(case: Case) -> None:
    received = case.split.extractor(case.images)
    activations = received[0] if isinstance(received, list) else received
    assert_close(floats(activations)[0], case.expected[0], case.style.tolerance)


def test_split_names_the_layer(case: Case) -> None:
    wanted = case.layer if isinstance(case.layer, str) else {None: "conv3"}.get(case.layer, "conv2")
    name = re.sub(r"\[\d+\]$", "", case.split.layer_name)  # of one call of several
    assert name == wanted or name.endswith(f"/{wanted}")


def test_hirescam_equals_joint_gradient(case: Case) -> None:
    activations, gradients, _ = case.expected
    assert case.explanation.raw.dtype == np.float32
    assert_close(case.explanation.raw, (activations * gradients).sum(axis=-1), case.style.tolerance)


def test_gradcam_equals_joint_gradient(case: Case) -> None:
    activations, gradients, _ = case.expected
    weights = gradients.mean(axis=(1, 2), keepdims=True)
    explanation = case.gradcam(case.images, target=case.style.target)
    assert_close(explanation.raw, (activations * weights).sum(axis=-1), case.style.tolerance)


def test_explanation_outputs_are_the_logits(case: Case) -> None:
    """Of several outputs those of the first, in the order of the model's author."""
    assert_close(case.explanation.outputs, first_output(case.expected[2]), case.style.tolerance)


def class_scores(case: Case, indices: np.ndarray) -> Callable[[Any], tf.Tensor]:
    """outputs -> score of one class per image, also where one sigmoid unit stands for two classes."""
    if "binary" in case.style.tags:
        return lambda outputs: outputs[:, 0] * np.where(indices == 1, 1.0, -1.0)
    return lambda outputs: tf.gather(outputs, indices, axis=1, batch_dims=1)


def test_explanation_scores_are_those_of_the_target(case: Case) -> None:
    target = case.style.target
    chosen = target if callable(target) else class_scores(case, np.full(BATCH, target))
    outputs = case.expected[2]
    logits = np.concatenate([np.ravel(output) for output in keras.tree.flatten(outputs)])
    expected = floats(chosen(outputs))[0]
    assert_close(case.explanation.scores, expected, case.style.tolerance, of=logits)
    assert case.explanation.class_indices.tolist() == [-1 if callable(target) else target] * BATCH


def test_explanation_probabilities_are_the_models_outputs(case: Case) -> None:
    """One sigmoid unit is two classes, a regression has none, and logits are passed through a softmax."""
    outputs = np.asarray(first_output(case.model(case.images, training=False)), np.float64)
    if outputs.ndim != 2 or "regression" in case.style.tags:
        assert case.explanation.probabilities is None
        return
    if "binary" in case.style.tags:
        outputs = np.concatenate([1.0 - outputs, outputs], axis=-1)
    elif not np.allclose(outputs.sum(axis=-1), 1.0) and case.style.activation is None:
        outputs = tf.nn.softmax(outputs).numpy()
    assert_close(case.explanation.probabilities, outputs, case.style.tolerance)


def has_classes(case: Case) -> bool:
    return not callable(case.style.target)


def test_top_class_is_each_images_own(case: Case) -> None:
    if not has_classes(case):
        pytest.skip("the target is a callable")
    logits = case.expected[2]
    top = (logits[:, 0] > 0).astype(int) if "binary" in case.style.tags else logits.argmax(axis=-1)
    explanation = case.hirescam(case.images)
    np.testing.assert_array_equal(explanation.class_indices, top)
    activations, gradients, _ = case.reference(case.images, class_scores(case, top))
    assert_close(explanation.raw, (activations * gradients).sum(axis=-1), case.style.tolerance)


def test_batch_equals_single_images(case: Case) -> None:
    """Also with another class for every image."""
    targets = [case.style.target] * BATCH
    if has_classes(case) and "regression" not in case.style.tags:
        targets = [1, 0, 1]
    together = targets if has_classes(case) else targets[0]
    batch = case.hirescam(case.images, target=together)
    for index, target in enumerate(targets):
        single = case.hirescam(rows(case.images, index, index + 1), target=target)
        assert_close(batch.raw[index], single.raw[0], case.style.tolerance)
        heatmap = single.heatmaps[0]  # in [0, 1], or nothing where no cell speaks for the class
        np.testing.assert_allclose(batch.heatmaps[index], heatmap, rtol=0.0, atol=4 * case.style.tolerance)
        assert_close(batch.outputs[index], single.outputs[0], case.style.tolerance)


def test_model_is_unchanged(case: Case) -> None:
    """Split, explained by both methods and in batches of two sizes."""
    case.split.tail(case.split.extractor(case.images))
    for explainer in (case.hirescam, case.gradcam):
        explainer(case.images, target=case.style.target)
        explainer(rows(case.images, 0, 1), target=case.style.target)
    assert [sorted(vars(layer)) for layer in layers_inside(case.model)] == case.before.attributes
    after = Snapshot(case.model, case.images)
    for name, old in vars(case.before).items():
        new = getattr(after, name)
        if name in ("predicted", "outputs"):
            for one, other in zip(old, new, strict=True):
                np.testing.assert_array_equal(one, other)
        else:
            assert old == new, name


# Compiled once: a layer that counts how often Python runs it sees every trace.


class Counting(keras.layers.Layer):
    """Passes its input on."""

    def __init__(self) -> None:
        super().__init__(name="counting")
        self.python_calls = [0]

    def call(self, features: tf.Tensor) -> tf.Tensor:
        self.python_calls[0] += 1
        return features


def counting_model(size: tuple[int | None, int | None] = (12, 20)) -> tuple[keras.Model, list[int]]:
    images, counting = keras.Input((*size, 3)), Counting()
    backbone = keras.Model(images, chain(*conv_stack())(images), name="backbone")
    images = keras.Input((*size, 3))
    model = keras.Model(images, chain(backbone, counting, *head_layers())(images))
    return model, counting.python_calls


def first_logit(outputs: tf.Tensor) -> tf.Tensor:
    return outputs[:, 0]


def targets_of(batch: int) -> list[Any]:
    """One of each kind that the compiled function may tell apart."""
    return [None, 2, [index % 4 for index in range(batch)], first_logit]


def test_explainer_traces_once_per_kind_of_target() -> None:
    """Fifty calls of one to five images: class targets are data and share a trace, a callable has its own."""
    model, python_calls = counting_model()
    explainer = Explainer(model, "backbone/conv2")
    python_calls[0] = 0
    for number, kind in zip(range(50), itertools.cycle(range(4)), strict=False):
        batch = 1 + number % 5
        explainer(photos(batch, seed=number), target=targets_of(batch)[kind])
    assert explainer.trace_count == 2
    assert python_calls[0] == 2


def resident_bytes() -> int:
    """What the process holds now; where the system does not tell, the most it ever held."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def test_explainer_memory_does_not_grow() -> None:
    """Two hundred calls on 8 photos of 96 x 160 may cost a quarter of what keeping the photos would.

    The photos of one call are 8 * 96 * 160 * 3 * 4 bytes = 1.5 MB, the activations 8 * 48 * 80 * 6 * 4 bytes =
    0.7 MB: a tool that holds on to one of them grows by 147 MB or more in 200 calls, and one that traces or
    builds a model at each call by a megabyte each. The bound is 74 MB. The allocator keeps what it was once
    given, hence the warm-up; what it then moves to and fro is a few MB.
    """
    model, _ = counting_model((None, None))
    explainer = Explainer(model, "backbone/conv2")
    images = np.tile(photos(8), (1, 8, 8, 1))
    for _ in range(20):
        explainer(images + 0.0, target=1)
    gc.collect()
    before = resident_bytes()
    for number in range(200):
        explainer(images + 0.0, target=number % 4)
    gc.collect()
    assert resident_bytes() - before < 200 * images.nbytes / 4


class CountsItsCalls(keras.layers.Layer):
    """Counts its calls in a variable, as streaming and quantisation layers keep state."""

    def build(self, shape: Any) -> None:
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, features: Any) -> Any:
        self.calls.assign(self.calls + 1)
        return features * 1.5


@pytest.mark.parametrize("freeze", [False, True])
def test_layers_that_keep_state_keep_it(freeze: bool) -> None:
    """The map is that of the model, and the count is its owner's."""
    images = keras.Input((12, 20, 3))
    counting, conv = CountsItsCalls(), keras.layers.Conv2D(4, 3, activation="relu", name="conv")
    hidden = keras.layers.GlobalAveragePooling2D()(counting(conv(images)))
    model = keras.Model(images, keras.layers.Dense(3)(hidden))
    batch = photos(2)
    expected = model(batch, training=False).numpy()
    before = float(counting.calls.value)
    explainer = Explainer(model, "conv", freeze=freeze)
    for _ in range(3):
        np.testing.assert_allclose(explainer(batch).outputs, expected, rtol=1e-5)
    assert float(counting.calls.value) == before


def test_name_that_the_models_own_code_opens_is_not_blamed_on_a_layer() -> None:
    def named(features: Any) -> Any:
        with tf.name_scope("my scope"):
            return features + 1.0

    images = keras.Input((6, 10, 3))
    hidden = keras.layers.Lambda(named, output_shape=(4, 8, 4))(keras.layers.Conv2D(4, 3, name="conv")(images))
    model = keras.Model(images, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(hidden)))
    with pytest.raises(ValueError, match="'my scope' is not a valid scope name"):
        Explainer(model, "conv")(photos(2)[:, :6, :10])


@pytest.mark.parametrize("name", ["_hidden", "my dense", "k\u00e4se", "cl\x9b2J"])
def test_layer_of_any_name_is_explained_or_refused_and_leaves_no_name_open(name: str) -> None:
    images = keras.Input((6, 10, 3))
    hidden = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, name="conv")(images))
    model = keras.Model(images, keras.layers.Dense(3, name=name)(hidden))
    batch = photos(2)[:, :6, :10]
    if name != "_hidden":
        with pytest.raises(ValueError, match=r"Expected layer names of letters.*layer.name = '\w+'") as refused:
            Explainer(model, "conv")(batch)
        model.layers[-1].name = re.search(r"layer.name = '(.+?)'", str(refused.value))[1]
    assert list_layers(model)
    np.testing.assert_allclose(Explainer(model, "conv")(batch).outputs, model(batch), rtol=1e-5)
    dense = keras.layers.Dense(1, name="dense")
    dense.build((None, 2))
    assert dense.kernel.path == "dense/kernel"
