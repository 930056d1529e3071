"""Subclassed models as their owners have them: dtypes, layers that are not built, calls of several kinds."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from tests.zoo.styles import photos
from tf_gradcam import Explainer, list_layers

IMAGES = photos(2)[:, :6, :10]
BYTES = np.rint(IMAGES * 255).astype(np.uint8)


class Net(keras.Model):
    """A convolution, pooled, and three classes; `prepared` comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = layers.Conv2D(3, 3, activation="relu", name="cells")
        self.pool, self.head = layers.GlobalAveragePooling2D(), layers.Dense(3, name="head")

    def prepared(self, images: Any) -> Any:
        return images

    def joined(self, cells: Any) -> Any:
        return cells

    def call(self, images: Any) -> Any:
        return self.head(self.pool(self.joined(self.cells(self.prepared(images)))))


class ByDtype(Net):
    def prepared(self, images: Any) -> Any:
        """Scale whole numbers alone, as `tf.image.convert_image_dtype` does."""
        return tf.image.convert_image_dtype(images, tf.float32)


@pytest.mark.parametrize(
    "dtype", [np.uint8, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (np.int32, np.int64, np.float64))]
)
def test_whole_numbers_reach_the_model_as_they_are(dtype: Any) -> None:
    model, images = ByDtype(), BYTES.astype(dtype)
    model(images)
    explainer = Explainer(model)
    explanation = explainer(images, 1)
    np.testing.assert_allclose(explanation.outputs, model(images), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(explainer(tf.constant(images), 1).raw, explanation.raw, rtol=1e-5)
    assert explainer.class_maps(images).scores[0, 1] == pytest.approx(float(model(images)[0, 1]), rel=1e-4)
    scorecam = Explainer(model, method="scorecam")(images, 1)
    np.testing.assert_allclose(scorecam.outputs, model(images), rtol=1e-4, atol=1e-6)


def test_each_dtype_has_a_pass_of_its_own() -> None:
    model = ByDtype()
    model(BYTES)
    explainer = Explainer(model)
    for images in (BYTES, IMAGES, BYTES, IMAGES):
        np.testing.assert_allclose(explainer(images).outputs, model(images), rtol=1e-4, atol=1e-6)
    assert explainer.trace_count == 2


def test_whole_numbers_that_the_model_does_not_take_become_floats() -> None:
    model = Net()
    model(IMAGES)
    np.testing.assert_allclose(Explainer(model)(BYTES).raw, Explainer(model)(BYTES.astype(np.float32)).raw, rtol=1e-5)


def test_lookup_of_tokens_takes_whole_numbers() -> None:
    class Text(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.pool, self.head = layers.Conv1D(4, 3), layers.GlobalAveragePooling1D(), layers.Dense(2)

        def call(self, tokens: Any) -> Any:
            return self.head(self.pool(self.mix(tf.one_hot(tokens, 7))))

    model, tokens = Text(), np.arange(10, dtype=np.int32)[None] % 7
    model(tokens)
    np.testing.assert_allclose(Explainer(model)(tokens).outputs, model(tokens), rtol=1e-4, atol=1e-6)


class Channel(layers.Layer):
    def build(self, shape: Any) -> None:
        self.gate = layers.Dense(shape[-1], activation="sigmoid")

    def call(self, cells: Any) -> Any:
        return cells * self.gate(ops.mean(cells, (1, 2)))[:, None, None]

    def compute_output_shape(self, shape: Any) -> Any:
        return shape


class Attended(layers.Layer):
    """Makes its layers in `build` and says its shape, so Keras does not run them when the graph is made."""

    def build(self, shape: Any) -> None:
        self.channel = Channel(name="channel")

    def call(self, cells: Any) -> Any:
        return self.channel(cells)

    def compute_output_shape(self, shape: Any) -> Any:
        return shape


def attended() -> keras.Model:
    images = keras.Input((6, 10, 3))
    cells = Attended(name="attended")(layers.Conv2D(4, 3, name="cells")(images))
    return keras.Model(images, layers.Dense(3)(layers.GlobalAveragePooling2D()(cells)))


def built() -> keras.Model:
    model = Net()
    with pytest.warns(UserWarning, match="unbuilt state"):  # Keras' own word on what comes
        model.build((None, 6, 10, 3))
    return model


@pytest.mark.parametrize("make", [built, attended])
@pytest.mark.parametrize("options", [{}, {"freeze": True}, {"method": "hirescam"}])
def test_layers_that_are_not_built_are_built_once(make: Any, options: Any) -> None:
    model = make()
    explainer = Explainer(model, **options)
    first = explainer(IMAGES)
    np.testing.assert_allclose(first.outputs, model(IMAGES), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(Explainer(model, **options)(IMAGES).raw, first.raw, rtol=1e-5)
    assert explainer.fits(model)
    assert explainer.trace_count == 1


class Loop(Net):
    def joined(self, cells: Any) -> Any:
        total = 0.0
        for part in tf.transpose(cells, (3, 0, 1, 2)):
            total = total + part[..., None]
        return total


class AsArray(Net):
    def joined(self, cells: Any) -> Any:
        return cells * float(cells.numpy().mean())


class Unstacked(Net):
    """The remedy of the message, followed."""

    def joined(self, cells: Any) -> Any:
        return sum(ops.unstack(cells, axis=-1))[..., None]


def test_call_that_cannot_be_traced_says_so_and_never_asks_for_a_call() -> None:
    model = Loop()
    model(IMAGES)
    with pytest.raises(ValueError, match=r"has been called, .* could not trace the call.* iterates .*ops\.unstack"):
        Explainer(model)
    model = Loop()
    with pytest.warns(UserWarning, match="unbuilt state"):
        model.build((None, 6, 10, 3))
    with pytest.raises(ValueError, match=r"TensorFlow can trace, received .* iterates over a tensor.*ops\.unstack"):
        Explainer(model)
    model = AsArray()
    model(IMAGES)
    with pytest.raises(ValueError, match=r"converts it to NumPy.*keras\.ops"):
        Explainer(model)
    unstacked = Unstacked()
    unstacked(IMAGES)
    np.testing.assert_allclose(Explainer(unstacked)(IMAGES).outputs, unstacked(IMAGES), rtol=1e-4, atol=1e-6)


class Two(keras.Model):
    def __init__(self) -> None:
        super().__init__(name="two")
        self.cells, self.pool = layers.Conv2D(4, 3, name="cells"), layers.GlobalAveragePooling2D()
        self.facts, self.head = layers.Dense(4), layers.Dense(3)

    def call(self, image: Any, meta: Any, training: bool = False) -> Any:
        return self.head(ops.concatenate([self.pool(self.cells(image)), self.facts(meta)], -1))


def test_call_of_several_arguments_is_refused_with_a_wrapper_that_works() -> None:
    images, facts, model = IMAGES, np.ones((2, 5), np.float32), Two()
    model(images, facts)
    with pytest.raises(
        ValueError, match=r"takes one argument.*'two' with call\(image, meta\)\. Wrap it: image, meta = "
    ):
        Explainer(model)
    image, meta = keras.Input((6, 10, 3)), keras.Input((5,))
    wrapped = keras.Model([image, meta], model(image, meta))
    explanation = Explainer(wrapped, "two/cells")([images, facts])
    np.testing.assert_allclose(explanation.outputs, model(images, facts), rtol=1e-5)


class Features(layers.Layer):
    """Returns its features and the scores of its attention, in a list."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.mix = layers.Conv2D(4, 3, padding="same", activation="relu")

    def call(self, images: Any) -> list[Any]:
        cells = self.mix(images)
        return [cells, ops.mean(cells, -1, keepdims=True)]


class Paired(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.att, self.pool, self.head = Features(name="att"), layers.GlobalAveragePooling2D(), layers.Dense(3)

    def call(self, images: Any) -> Any:
        features, scores = self.att(images)
        return self.head(self.pool(features * scores))


def test_each_tensor_of_a_layer_that_returns_several_is_explained() -> None:
    model = Paired()
    model(IMAGES)
    assert [row.path for row in list_layers(model)][1:3] == ["att[0]", "att[1]"]
    features, scores = (tf.constant(tensor) for tensor in model.att(IMAGES))
    for layer, own, gives in (
        ("att[0]", features, lambda own: own * scores),
        ("att[1]", scores, lambda own: features * own),
    ):
        with tf.GradientTape() as tape:
            tape.watch(own)
            score = tf.reduce_sum(model.head(model.pool(gives(own)))[:, 1])
        expected = tf.reduce_sum(own * tape.gradient(score, own), axis=-1)
        actual = Explainer(model, layer, "hirescam")(IMAGES, 1).raw
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


class Batches(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, number: int) -> Any:
        return IMAGES, np.zeros(2)


@pytest.mark.parametrize(
    ("data", "message", "batch"),
    [
        (Batches(), r"the keras\.utils\.PyDataset Batches: .* dataset\[0\]\[0\]", lambda data: data[0][0]),
        ((batch for batch in [IMAGES]), r"the iterator generator: .* next\(batches\)", next),
        (iter([(IMAGES, None)]), r"the iterator list_iterator: .* next\(batches\)\[0\]", lambda data: next(data)[0]),
        ({1, 2}, r"set, which is iterated over: explain a batch of it", lambda data: IMAGES),
        (
            tf.data.Dataset.from_tensors((IMAGES, [0, 1])).as_numpy_iterator(),
            r"the iterator \w+: .* next\(batches\)\[0\]",
            lambda data: next(data)[0],
        ),
    ],
)
def test_source_of_batches_is_told_how_to_take_one(data: Any, message: str, batch: Any) -> None:
    model = Net()
    model(IMAGES)
    with pytest.raises(TypeError, match=message):
        Explainer(model)(data)
    assert len(Explainer(model)(batch(data))) == 2
