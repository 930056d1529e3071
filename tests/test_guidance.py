"""Guidance: losses and gradients against a network in NumPy, training, saving, errors.

The network of the twin: images (4, 6, 3), a 1x1 convolution to 2 channels with relu (`cells`), Flatten, Dense(3, tanh),
Dense(2, softmax). Its cells are the pixels. The gradient of logit y by the activations is U (1 - h^2) V[:, y].
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.zoo.styles import photos, small_net
from tf_gradcam import Explainer, guidance
from tf_gradcam.callbacks import GradCAMCallback
from tf_gradcam.metrics import energy_in_region

HEIGHT, WIDTH, CHANNELS, UNITS, CLASSES = 4, 6, 2, 3, 2
NAMES = ["energy_outside", "hirescam_mask", "right_reasons", "attention_mining"]


def network(**options: Any) -> keras.Model:
    steps = [
        keras.Input((HEIGHT, WIDTH, 3)),
        layers.Conv2D(CHANNELS, 1, activation="relu", name="cells"),
        layers.Flatten(name="flat"),
        layers.Dense(UNITS, activation="tanh", name="hidden"),
        layers.Dense(CLASSES, activation="softmax", dtype="float32", name="classes"),
    ]
    model = keras.Sequential(steps, **options)
    generator = np.random.default_rng(183)  # no map of `batch` is blank, and no relu stands near its kink
    weights = [generator.normal(scale=0.5, size=weight.shape) for weight in model.get_weights()]
    weights[1] += 0.3
    model.set_weights(weights)
    return model


def batch(count: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels and masks of the left third, the last image not guided."""
    generator = np.random.default_rng(5)
    images = generator.uniform(size=(count, HEIGHT, WIDTH, 3)).astype(np.float32)
    masks = np.zeros((count, HEIGHT, WIDTH), np.float32)
    masks[..., :2], masks[..., 2] = 1, 0.25
    masks[-1] = np.nan
    return images, np.arange(count) % CLASSES, masks


def dataset(*parts: Any, size: int = 3) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(parts).batch(size)


def fit(model: keras.Model, data: tf.data.Dataset, **options: Any) -> dict[str, list[float]]:
    """Fit without Keras' warning that a dataset is not shuffled; return the history."""
    return model.fit(data, shuffle=False, verbose=0, **options).history


def guided(losses: dict[str, float], model: keras.Model | None = None, **options: Any) -> guidance.GuidedModel:
    result = guidance.GuidedModel(model or network(), losses)
    options = {"optimizer": keras.optimizers.SGD(1.0), "loss": "sparse_categorical_crossentropy", **options}
    result.compile(**options)
    return result


# The twin, in float64.


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def forward(weights: list[np.ndarray], images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kernel, bias, first, first_bias, second, second_bias = weights
    cells = np.maximum(images @ kernel[0, 0] + bias, 0)
    hidden = np.tanh(cells.reshape(len(images), -1) @ first + first_bias)
    return cells, hidden, hidden @ second + second_bias


def by_cells(weights: list[np.ndarray], hidden: np.ndarray, by_logits: np.ndarray) -> np.ndarray:
    """The gradient by the activations, from the gradient by the logits."""
    flat = ((by_logits @ weights[4].T) * (1 - hidden**2)) @ weights[2].T
    return flat.reshape(len(hidden), HEIGHT, WIDTH, CHANNELS)


def twin(name: str, method: str, weights: list[np.ndarray], images: Any, labels: Any, masks: Any) -> np.ndarray:
    """The loss of each image."""
    cells, hidden, logits = forward(weights, images)
    gradients = by_cells(weights, hidden, np.eye(CLASSES)[labels])
    full = (gradients * cells).sum(-1)
    pooled = (gradients.mean(axis=(1, 2), keepdims=True) * cells).sum(-1)
    if name == "energy_outside":
        heat = np.maximum(full if method == "hirescam" else pooled, 0)
        return (heat * (1 - masks)).sum((1, 2)) / heat.sum((1, 2))
    if name == "hirescam_mask":
        return ((1 - masks) * np.log1p(np.exp(full))).sum((1, 2)) / (1 - masks).sum((1, 2))
    if name == "right_reasons":
        # d/dlogits of sum_k log p_k is 1 - K p.
        by_image = (by_cells(weights, hidden, 1 - CLASSES * softmax(logits)) * (cells > 0)) @ weights[0][0, 0].T
        return (((1 - masks)[..., None] * by_image) ** 2).sum((1, 2, 3))
    heat = np.maximum(pooled, 0)
    share = heat / heat.max(axis=(1, 2), keepdims=True)
    erased = images * (1 - 1 / (1 + np.exp(-10 * (share - 0.5))))[..., None]
    return softmax(forward(weights, erased)[2])[np.arange(len(labels)), labels]


def derivative(function: Callable[[list[np.ndarray]], float], weights: list[np.ndarray]) -> list[np.ndarray]:
    """Central finite differences by each weight."""
    slopes = []
    for number, weight in enumerate(weights):
        slope = np.empty(weight.shape)
        for index in np.ndindex(weight.shape):
            values = []
            for step in (1e-5, -1e-5):
                moved = [each.copy() for each in weights]
                moved[number][index] += step
                values.append(function(moved))
            slope[index] = (values[0] - values[1]) / 2e-5
        slopes.append(slope)
    return slopes


CASES = [*((name, "gradcam") for name in NAMES), ("energy_outside", "hirescam")]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_value_and_gradients_are_those_of_the_twin(name: str, method: str) -> None:
    """One step of SGD at rate 1 moves the weights by minus the gradient: of the task and 2 times the guidance."""
    images, labels, masks = batch()
    plain = network()
    plain.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy", jit_compile=False)
    fit(plain, dataset(images, labels))
    model = guidance.GuidedModel(network(), {name: 2.0}, method=method)
    model.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    history = fit(model, dataset(images, labels, masks))
    weights = [weight.astype(np.float64) for weight in network().get_weights()]

    def loss(weights: list[np.ndarray]) -> float:
        return float(twin(name, method, weights, images[:2].astype(np.float64), labels[:2], masks[:2]).mean())

    np.testing.assert_allclose(history[name], [loss(weights)], rtol=1e-5)
    np.testing.assert_allclose(history["guided"], [2 / 3], rtol=1e-6)
    expected = derivative(loss, weights)
    assert max(np.abs(slope).max() for slope in expected) > 1e-3
    for moved, alone, slope in zip(model.model.get_weights(), plain.get_weights(), expected, strict=True):
        np.testing.assert_allclose((alone - moved) / 2.0, slope, rtol=1e-3, atol=1e-6)


def test_maps_are_those_of_the_explainer() -> None:
    images, labels, _ = batch()
    for method in ("gradcam", "hirescam"):
        expected = np.maximum(Explainer(network(), method=method)(images, labels).raw, 0)
        maps = guidance.DifferentiableMaps(network(), method=method)(images, labels)
        np.testing.assert_allclose(maps, expected, rtol=1e-6, atol=1e-7)


def strided() -> keras.Model:
    """Cells of 2 x 2 pixels behind a crop of one row above: they lie beside the plain tiles."""
    keras.utils.set_random_seed(2)
    image = keras.Input((9, 12, 3))
    cells = layers.Conv2D(4, 2, strides=2, activation="relu")(layers.Cropping2D(((1, 0), (0, 0)))(image))
    return keras.Model(image, layers.Dense(3, activation="softmax")(layers.GlobalMaxPooling2D()(cells)))


def test_energy_is_the_complement_of_the_metric_on_the_drawn_map() -> None:
    images = np.random.default_rng(0).uniform(size=(4, 9, 12, 3)).astype(np.float32)
    labels, masks = np.array([0, 1, 2, 0]), np.zeros((4, 9, 12), np.float32)
    masks[:, 2:7, :5] = 1
    resized = Explainer(strided())(images, labels).resized()
    expected = [1 - energy_in_region(heatmap, mask) for heatmap, mask in zip(resized, masks, strict=True)]
    model = guided({"energy_outside": 0.0}, strided())
    result = model.evaluate(dataset(images, labels, masks[..., None]), verbose=0, return_dict=True)
    np.testing.assert_allclose(result["energy_outside"], np.nan_to_num(expected).mean(), rtol=1e-5)
    np.testing.assert_allclose(result["blank_maps"], np.isnan(expected).mean())
    assert 0 < np.isnan(expected).mean() < 1


def test_weights_of_zero_train_as_without_guidance() -> None:
    """Batch statistics, dropout, regularisation, metrics and weights of the images: equal in every bit."""
    images, labels, masks = batch(8)

    def build() -> keras.Model:
        keras.utils.set_random_seed(1)
        image = keras.Input((HEIGHT, WIDTH, 3))
        cells = layers.Conv2D(4, 3, kernel_regularizer="l2")(image)
        cells = layers.ReLU()(layers.BatchNormalization()(cells))
        pooled = layers.Dropout(0.5, seed=7)(layers.GlobalAveragePooling2D()(cells))
        return keras.Model(image, layers.Dense(2, activation="softmax")(pooled))

    options = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], "weighted_metrics": ["accuracy"]}
    rates = np.linspace(0.5, 2, 8)
    plain = build()
    plain.compile("adam", jit_compile=False, **options)
    alone = fit(plain, dataset(images, labels, rates), epochs=2)
    model = guidance.GuidedModel(build(), dict.fromkeys(NAMES, 0.0))
    model.compile("adam", **options)
    history = fit(model, dataset(images, labels, masks, rates), epochs=2)
    for expected, received in zip(plain.get_weights(), model.model.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)
    assert {name: history[name] for name in alone} == alone
    assert np.isfinite([history[name] for name in NAMES]).all()


def test_steps_run_eagerly_are_the_same() -> None:
    images, labels, masks = batch()
    histories = []
    for is_eager in (False, True):
        model = guided(dict.fromkeys(NAMES, 1.0), run_eagerly=is_eager)
        histories.append(fit(model, dataset(images, labels, masks), epochs=2))
    for name in histories[0]:
        np.testing.assert_allclose(histories[0][name], histories[1][name], rtol=1e-3)


def test_half_precision_has_maps_of_float32() -> None:
    images, labels, masks = batch()
    expected = guidance.DifferentiableMaps(network())(images, labels)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = network()
    finally:
        keras.config.set_dtype_policy("float32")
    maps = guidance.DifferentiableMaps(half)(images, labels)
    assert maps.dtype == tf.float32
    np.testing.assert_allclose(maps, expected, atol=5e-3 * np.max(expected))
    model, whole = guided(dict.fromkeys(NAMES, 1.0), half), guided(dict.fromkeys(NAMES, 1.0))
    assert "LossScale" in type(model.optimizer).__name__
    received = fit(model, dataset(images, labels, masks), epochs=2)
    alone = fit(whole, dataset(images, labels, masks), epochs=2)
    for name in NAMES:
        np.testing.assert_allclose(received[name][0], alone[name][0], rtol=0.03)
        assert np.isfinite(received[name][1])


def nested() -> keras.Model:
    image = keras.Input((HEIGHT, WIDTH, 3))
    backbone = keras.Model(image, layers.Conv2D(4, 3, activation="relu", name="inner")(image), name="backbone")
    outer = keras.Input((HEIGHT, WIDTH, 3))
    pooled = layers.GlobalAveragePooling2D()(backbone(layers.Rescaling(2.0)(outer)))
    return keras.Model(outer, layers.Dense(2, name="logits")(pooled))


def two_inputs() -> keras.Model:
    image, age = keras.Input((HEIGHT, WIDTH, 3), name="image"), keras.Input((1,), name="age")
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu", name="inner")(image))
    together = layers.Concatenate()([pooled, age])
    return keras.Model({"image": image, "age": age}, layers.Dense(3, activation="sigmoid")(together))


def one_unit() -> keras.Model:
    image = keras.Input((HEIGHT, WIDTH, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu", name="inner")(image))
    return keras.Model(image, layers.Dense(1)(pooled))


LOGITS = {"from_logits": True}
TASKS: dict[str, tuple[Callable[[], keras.Model], str, Any, Any]] = {
    "nested": (
        nested,
        "backbone/inner",
        keras.losses.CategoricalCrossentropy(**LOGITS),
        np.eye(2, dtype=np.float32)[[0, 1, 0]],
    ),
    "two inputs, labels": (two_inputs, "inner", "binary_crossentropy", np.array([[0, 1, 1], [1, 0, 0], [0, 0, 1]])),
    "one logit": (one_unit, "inner", keras.losses.BinaryCrossentropy(**LOGITS), np.array([[0], [1], [1]])),
}


@pytest.mark.parametrize("case", TASKS)
def test_tasks_train_and_save_a_plain_model(case: str, tmp_path: Path) -> None:
    build, layer, loss, labels = TASKS[case]
    images, _, masks = batch()
    model, inputs = (
        build(),
        {"image": images, "age": np.ones((3, 1), np.float32)} if case == "two inputs, labels" else images,
    )
    wrapped = guidance.GuidedModel(model, dict.fromkeys(NAMES, 1.0), layer)
    wrapped.compile("adam", loss)
    best = keras.callbacks.ModelCheckpoint(tmp_path / "epoch.keras", verbose=0)
    history = fit(wrapped, dataset(inputs, labels, masks), callbacks=[best])
    assert np.isfinite([history[name] for name in NAMES]).all()
    if build is not nested:  # the map of several labels, and of the second of two sides, is the explainer's
        rows = {0: [[1, 2], [0], [2]]} if build is two_inputs else {0: [[0], [1], [1]]}
        scores = lambda outputs: tf.stack([sum(outputs[i, k] for k in some) for i, some in enumerate(rows[0])])  # noqa: E731
        expected = Explainer(model, layer, class_names=["a", "b", "c"][: 3 if build is two_inputs else 2])(
            inputs, scores if build is two_inputs else np.array([0, 1, 1])
        )
        task = None if build is two_inputs else "classification"
        maps = guidance.DifferentiableMaps(model, layer, task=task)(inputs, labels)
        np.testing.assert_allclose(maps, np.maximum(expected.raw, 0), rtol=1e-5, atol=1e-7)
    wrapped.save(tmp_path / "model.keras")
    wrapped.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    np.testing.assert_array_equal(loaded.predict(inputs, verbose=0), wrapped.predict(inputs, verbose=0))
    np.testing.assert_array_equal(loaded.predict(inputs, verbose=0), model.predict(inputs, verbose=0))
    again = build()
    again.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])
    assert type(keras.models.load_model(tmp_path / "epoch.keras")) is type(model)


def test_subclassed_models_are_guided_too() -> None:
    model, layer, _ = small_net("softmax")
    images, labels = photos(2), np.array([0, 1])
    masks = np.zeros(images.shape[:3], np.float32)
    masks[:, :2] = 1
    wrapped = guidance.GuidedModel(model, {"energy_outside": 1.0, "right_reasons": 1e-3}, layer)
    wrapped.compile("sgd", "sparse_categorical_crossentropy")
    before = model.get_weights()[0]
    assert np.isfinite(fit(wrapped, dataset(images, labels, masks))["loss"]).all()
    assert not np.array_equal(model.get_weights()[0], before)


def cues(labels: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Images (N, 6, 10, 4): the left cue of class c is a square in channel c, the right one in channel 2 + c."""
    images = np.zeros((len(labels), 6, 10, 4), np.float32)
    rows = np.arange(len(labels))
    images[rows, 2:4, 1:3, labels] = 1
    images[rows, 2:4, 7:9, 2 + right] = 1
    return images


@pytest.mark.parametrize("side", [0, 1])
def test_guidance_decides_which_of_two_equal_cues_is_used(side: int) -> None:
    """Both cues show the class of every training image. Where they contradict each other, the allowed one decides."""
    labels = np.arange(32) % 2
    masks = np.zeros((32, 6, 10), np.float32)
    masks[:, :, 5 * side : 5 * side + 5] = 1
    for weight, low, high in ((0, 0.3, 1), (5, 0, 0.05)):
        keras.utils.set_random_seed(0)
        image = keras.Input((6, 10, 4))
        cells = layers.Conv2D(8, 1, activation="relu")(image)
        model = keras.Model(image, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(cells)))
        wrapped = guided({"energy_outside": weight}, model, optimizer=keras.optimizers.Adam(0.05))
        history = fit(wrapped, dataset(cues(labels, labels), labels, masks, size=32), epochs=60)
        assert low <= history["energy_outside"][-1] <= high
        assert history["blank_maps"][-1] == 0
    chosen = model.predict(cues(labels, 1 - labels), verbose=0).argmax(axis=-1)
    np.testing.assert_array_equal(chosen, 1 - labels if side else labels)


def test_attention_mining_needs_no_masks_and_takes_weights_of_images() -> None:
    images, labels, _ = batch()
    history = fit(guided({"attention_mining": 1.0}), dataset(images, labels, np.ones(3)))
    weights = [weight.astype(np.float64) for weight in network().get_weights()]
    expected = twin("attention_mining", "gradcam", weights, images, labels, None).mean()
    np.testing.assert_allclose(history["attention_mining"], [expected], rtol=1e-5)
    assert history["guided"] == [1.0]


def test_data_without_masks_is_evaluated_without_guidance() -> None:
    images, labels, _ = batch()
    plain = network()
    plain.compile("sgd", "sparse_categorical_crossentropy")
    result = guided({"energy_outside": 1.0}).evaluate(images, labels, verbose=0, return_dict=True)
    np.testing.assert_allclose(result["loss"], plain.evaluate(images, labels, verbose=0), rtol=1e-6)
    assert np.isnan(result["energy_outside"])


def test_boxes_become_masks() -> None:
    boxes = [[(1, 0, 3, 2), (2, 1, 4.5, 3)], None, []]
    masks = guidance.box_masks(boxes, (4, 6))
    expected = [[0, 1, 1, 0, 0, 0], [0, 1, 1, 1, 0.5, 0], [0, 0, 1, 1, 0.5, 0], [0] * 6]
    np.testing.assert_allclose(masks[0], expected)
    assert np.isnan(masks[1:]).all()
    assert masks.dtype == np.float32


# Errors.

WHOLE = np.ones((3, HEIGHT, WIDTH), np.float32)


def test_batches_without_masks_are_refused() -> None:
    images, labels, _ = batch()
    with pytest.raises(
        ValueError, match=r"Expected batches of \(images, labels, masks\), received \(images, .*from_tensor"
    ):
        fit(guided({"energy_outside": 1.0}), dataset(images, labels))
    with pytest.raises(ValueError, match=r"received \(images, .*NaN"):
        fit(guided({"energy_outside": 1.0}), dataset(images, labels, np.ones(3)))


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (
            WHOLE[:, :2, :3],
            r"Expected masks \(B, 4, 6\), the size of the images, received \(None, 2, 3\).*image.resize",
        ),
        (WHOLE * 255, "values from 0 to 1.*Divide"),
        (np.where(np.arange(WIDTH) < 2, np.nan, WHOLE), "values from 0 to 1, or NaN in the whole mask"),
        (WHOLE * 0, "received a mask of zeros.*NaN"),
    ],
)
def test_masks_of_another_size_or_with_other_values_are_refused(masks: np.ndarray, message: str) -> None:
    images, labels, _ = batch()
    with pytest.raises(ValueError, match=message):
        fit(guided({"energy_outside": 1.0}), dataset(images, labels, masks))


def test_remedies_for_sizes_work() -> None:
    """Masks of another size, and images of unknown size for a model that takes any."""
    image = keras.Input((None, None, 3))
    cells = layers.Conv2D(4, 3, activation="relu")(image)
    model = keras.Model(image, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(cells)))
    images, labels, _ = batch()
    masks = np.ones((3, 8, 12, 1), np.float32)
    signature = [tf.TensorSpec(shape, tf.float32) for shape in ((None, None, None, 3), (None,), (None, None, None, 1))]
    unknown = tf.data.Dataset.from_generator(lambda: [(images, labels, masks)], output_signature=tuple(signature))
    with pytest.raises(ValueError, match=r"Expected images of one known size.*tf\.image\.resize\(images"):
        fit(guided({"energy_outside": 1.0}, model), unknown.map(lambda x, y, m: (x, y, x[..., 0])))
    known = unknown.map(lambda x, y, m: (tf.image.resize(x, (4, 6)), y, tf.image.resize(m, (4, 6), "area")))
    history = fit(guided({"energy_outside": 1.0}, model), known, steps_per_epoch=1)
    assert history["energy_outside"] == [0.0]
    assert history["guided"] == [1.0]


def test_pictures_of_each_epoch_are_those_of_the_plain_model(tmp_path: Path) -> None:
    images, labels, masks = batch()
    photos = np.uint8(images * 255)
    wrapped = guided({"energy_outside": 1.0})
    pictures = GradCAMCallback(images, tmp_path, labels, photos=photos, model=wrapped.model)
    fit(wrapped, dataset(images, labels, masks), callbacks=[pictures])
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["epoch_0000.png", "epoch_0001.png"]


def test_models_and_layers_without_a_map_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Unknown layer 'cels'. Did you mean 'cells'"):
        guidance.GuidedModel(network(), {"energy_outside": 1.0}, "cels")
    with pytest.raises(ValueError, match=r"Layer 'hidden' cannot be explained.*Pass layer=.*cells"):
        guidance.GuidedModel(network(), {"energy_outside": 1.0}, "hidden")
    vectors = keras.Sequential([keras.Input((8,)), layers.Dense(4), layers.Dense(2, activation="softmax")])
    with pytest.raises(ValueError, match="no layer with a spatial extent"):
        guidance.GuidedModel(vectors, {"energy_outside": 1.0})
    image = keras.Input((HEIGHT, WIDTH, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 1)(image))
    with pytest.raises(ValueError, match=r"one output, received several: guide keras.Model\(model.inputs"):
        guidance.GuidedModel(
            keras.Model(image, [layers.Dense(2)(pooled), layers.Dense(3)(pooled)]), {"energy_outside": 1}
        )


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match=r"Unknown guidance loss 'energy'. Did you mean 'energy_outside'"):
        guidance.GuidedModel(network(), {"energy": 1.0})
    with pytest.raises(ValueError, match="at least one of"):
        guidance.GuidedModel(network(), {})
    with pytest.raises(ValueError, match="weight of energy_outside as a number of 0 or more, received -1"):
        guidance.GuidedModel(network(), {"energy_outside": -1})
    with pytest.raises(ValueError, match="Unknown method 'layercam'"):
        guidance.GuidedModel(network(), {"energy_outside": 1.0}, method="layercam")
    with pytest.raises(ValueError, match=r"Expected jit_compile=False, received True.*Leave jit_compile out"):
        guided({"energy_outside": 1.0}, jit_compile=True)
    with pytest.raises(ValueError, match=r"Expected a loss of classes or labels.*mean_squared_error"):
        guided({"energy_outside": 1.0}, loss="mse")
    images, labels, masks = batch()
    with pytest.raises(ValueError, match=r"Expected no class_weight.*fourth element"):
        fit(guided({"energy_outside": 1.0}), dataset(images, labels, masks), class_weight={0: 1.0, 1: 2.0})
    with pytest.raises(ValueError, match=r"Expected labels \(B,\) class indices or \(B, 2\)"):
        guidance.DifferentiableMaps(network())(images, np.ones((3, 3)))
    bytes_in = keras.Sequential([keras.Input((4, 6, 3), dtype="uint8"), layers.Rescaling(1 / 255), *network().layers])
    with pytest.raises(ValueError, match=r"float images for right_reasons.*uint8"):
        guidance.GuidedModel(bytes_in, {"right_reasons": 1.0})
    linear = keras.Sequential([*network().layers[:-1], layers.Dense(1)])
    linear.build((None, HEIGHT, WIDTH, 3))
    with pytest.raises(ValueError, match="Expected a model of classes or labels"):
        guidance.DifferentiableMaps(linear)(images, labels)
