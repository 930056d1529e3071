"""What goes in: every array that a model can be given, and what is said of those that it cannot."""

from __future__ import annotations

import gc
import warnings
import weakref
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.zoo.styles import plain_model, randomise, two_inputs_dict, two_inputs_list
from tf_gradcam import Explainer, split_model
from tf_gradcam._models.preprocessing import ImageRangeWarning
from tf_gradcam._models.reader import ModelInputs, inputs_of_shapes

pytestmark = pytest.mark.core
IMAGES = np.random.default_rng(0).random((3, 6, 10, 3), np.float32)
PHOTO = ModelInputs(["photo"], [tf.TensorSpec((None, 6, 10, 3), "float32")], "photo")
PAIR = ModelInputs(
    ["photo", "vector"],
    [tf.TensorSpec((None, 6, 10, 3), "float32"), tf.TensorSpec((None, 2), "float32")],
    ["photo", "vector"],
)
VECTOR = np.arange(6, dtype=np.float32).reshape(3, 2)


# One input.


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float64", "bool"])
def test_images_of_any_numbers_become_those_of_the_model(dtype: str) -> None:
    given = (IMAGES * 3).astype(dtype)
    (array,) = PHOTO.flatten(given)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, given.astype(np.float32))


@pytest.mark.parametrize("wrap", [tf.constant, tf.Variable, np.ndarray.tolist, lambda images: [images], list])
def test_images_in_any_container(wrap: Any) -> None:
    (array,) = PHOTO.flatten(wrap(IMAGES))
    np.testing.assert_array_equal(np.asarray(array), IMAGES)


def test_tensor_stays_a_tensor() -> None:
    (tensor,) = PHOTO.flatten(tf.constant(IMAGES, tf.float64))
    assert tf.is_tensor(tensor)
    assert tensor.dtype == tf.float32


def test_images_by_the_name_of_the_input() -> None:
    np.testing.assert_array_equal(PHOTO.flatten({"photo": IMAGES})[0], IMAGES)


def test_image_without_batch_axis_is_told_to_get_one() -> None:
    with pytest.raises(ValueError, match=r"'photo' of shape \(B, 6, 10, 3\), received \(6, 10, 3\).*images\[None\]"):
        PHOTO.flatten(IMAGES[0])


@pytest.mark.parametrize("images", [IMAGES[None], IMAGES[0, 0], np.float32(1.0)])
def test_images_of_another_rank_are_refused(images: Any) -> None:
    with pytest.raises(ValueError, match=r"of shape \(B, 6, 10, 3\), received \(.*\): reshape it"):
        PHOTO.flatten(images)


def test_images_of_another_size_are_told_to_be_resized() -> None:
    with pytest.raises(ValueError, match=r"received \(3, 10, 6, 3\): resize to 6x10 \(get_img_array\(path, size=\(6, "):
        PHOTO.flatten(IMAGES.swapaxes(1, 2))


@pytest.mark.parametrize(
    ("images", "remedy"),
    [
        (np.moveaxis(IMAGES, -1, 1), r"np\.moveaxis\(images, 1, -1\)"),
        (IMAGES[..., :1], r"np\.repeat\(images, 3, axis=-1\)"),
        (np.concatenate([IMAGES, IMAGES[..., :1]], axis=-1), r"images\[\.\.\., :3\]"),
        (IMAGES[..., :2], r"the model expects 3 channels"),
    ],
    ids=["channels_first", "grey", "alpha", "two"],
)
def test_images_of_other_channels_are_told_what_to_do(images: np.ndarray, remedy: str) -> None:
    with pytest.raises(ValueError, match=rf"'photo' of shape \(B, 6, 10, 3\), received .*: {remedy}"):
        PHOTO.flatten(images)


@pytest.mark.parametrize(
    "images",
    [IMAGES[0], np.moveaxis(IMAGES, -1, 1), IMAGES[..., :1], np.concatenate([IMAGES, IMAGES[..., :1]], axis=-1)],
    ids=["single", "channels_first", "grey", "alpha"],
)
def test_remedy_works_as_it_is_printed(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"images") as caught:
        PHOTO.flatten(images)
    remedy = str(caught.value).rpartition(": ")[2].removesuffix(".")
    PHOTO.flatten(eval(remedy, {"np": np, "images": images}))


def test_images_of_free_size_may_have_any() -> None:
    inputs = ModelInputs(["photo"], [tf.TensorSpec((None, None, None, 3), "float32")], "photo")
    assert inputs.flatten(IMAGES[:, :4])[0].shape == (3, 4, 10, 3)
    with pytest.raises(ValueError, match=r"of shape \(B, None, None, 3\), received \(3, 6, 10, 1\)"):
        inputs.flatten(IMAGES[..., :1])


def test_images_of_several_sizes_are_told_to_be_resized() -> None:
    with pytest.raises(ValueError, match=r"'photo' as one array, received arrays of different shapes: resize"):
        PHOTO.flatten([IMAGES[0], IMAGES[1, :5]])


def test_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one image, received an empty batch"):
        PHOTO.flatten(IMAGES[:0])


@pytest.mark.parametrize(
    ("images", "received"),
    [
        (IMAGES.astype(str), "str"),
        (IMAGES.astype("complex64"), "complex64"),
        (IMAGES.astype(object), "object"),
        (tf.constant("cat.jpg"), "string"),
        (tf.complex(IMAGES, IMAGES), "complex64"),
    ],
    ids=["strings", "complex", "objects", "string_tensor", "complex_tensor"],
)
def test_images_that_are_no_numbers_are_refused(images: Any, received: str) -> None:
    with pytest.raises(TypeError, match=rf"Expected numbers for input 'photo', received dtype {received}"):
        PHOTO.flatten(images)


@pytest.mark.parametrize(
    ("images", "received"),
    [
        ("cat.jpg", r"the path 'cat\.jpg': read it with get_img_array\('cat\.jpg', size="),
        (Path("cat.jpg"), r"the path 'cat\.jpg'"),
        (b"cat.jpg", r"the path 'cat\.jpg'"),
        (["cat.jpg", "dog.jpg"], r"the path 'cat\.jpg'"),
        ([Path("cat.jpg")], r"the path 'cat\.jpg'"),
        (None, "None"),
        (tf.data.Dataset.from_tensor_slices(IMAGES), r"a tf\.data\.Dataset: explain a batch of it at a time"),
    ],
    ids=["str", "path", "bytes", "list", "paths", "none", "dataset"],
)
def test_what_is_no_array_is_told_the_way_to_one(images: Any, received: str) -> None:
    with pytest.raises(TypeError, match=rf"Expected input 'photo' as an array of numbers, received {received}"):
        PHOTO.flatten(images)


@pytest.mark.parametrize("name", ["keras_tensor_515", "keras_tensor", "input_layer_2", "images"])
def test_input_without_a_name_of_its_owner_is_called_the_images(name: str) -> None:
    inputs = ModelInputs([name], PHOTO.specs, name)
    for images, message in {
        "single": (IMAGES[0], r"^Expected the images of shape \(B, 6, 10, 3\), received \(6, 10, 3\): a single"),
        "small": (IMAGES[:, :5], r"^Expected the images of shape \(B, 6, 10, 3\), received \(3, 5, 10, 3\): resize"),
        "sparse": (tf.sparse.from_dense(IMAGES), "^Expected a dense array for the images, received"),
        "text": (IMAGES.astype(str), "^Expected numbers for the images, received dtype str"),
        "ragged": ([IMAGES[0], IMAGES[1, :5]], "^Expected the images as one array, received arrays of different"),
    }.values():
        with pytest.raises((TypeError, ValueError), match=message):
            inputs.flatten(images)


def test_input_of_several_is_called_by_its_name() -> None:
    names = ["keras_tensor_1", "keras_tensor_2"]
    with pytest.raises(ValueError, match=r"Expected input 'keras_tensor_1' of shape .* in this order, \['keras_"):
        ModelInputs(names, PAIR.specs, names).flatten([VECTOR, IMAGES])


@pytest.mark.parametrize(
    "images",
    [tf.sparse.from_dense(IMAGES), tf.ragged.constant([[1.0], [1.0, 2.0]]), keras.KerasTensor((3, 6, 10, 3))],
    ids=["sparse", "ragged", "symbolic"],
)
def test_tensors_without_a_dense_value_are_refused(images: Any) -> None:
    with pytest.raises(TypeError, match=rf"dense array for input 'photo', received {type(images).__name__}"):
        PHOTO.flatten(images)


def test_unknown_input_name_is_refused() -> None:
    with pytest.raises(TypeError, match=r"inputs named \['photo'\], received \['image'\]: \['photo'\] missing"):
        PHOTO.flatten({"image": IMAGES})


def test_the_callers_array_is_not_changed() -> None:
    images = IMAGES.copy()
    images.flags.writeable = False
    Explainer(small_model())(images)
    np.testing.assert_array_equal(images, IMAGES)


# Several inputs.


@pytest.mark.parametrize(
    "images",
    [[IMAGES, VECTOR], (IMAGES, VECTOR), {"photo": IMAGES, "vector": VECTOR}, {"vector": VECTOR, "photo": IMAGES}],
    ids=["list", "tuple", "dict", "dict_backwards"],
)
def test_several_inputs_come_in_the_models_order(images: Any) -> None:
    photo, vector = PAIR.flatten(images)
    np.testing.assert_array_equal(photo, IMAGES)
    np.testing.assert_array_equal(vector, VECTOR)


@pytest.mark.parametrize(
    ("images", "received"),
    [
        (IMAGES, r"ndarray of shape \(3, 6, 10, 3\)"),
        ([IMAGES], "a list of 1"),
        ([IMAGES, VECTOR, VECTOR], "a list of 3"),
        (None, "NoneType"),
    ],
)
def test_another_number_of_inputs_is_refused(images: Any, received: str) -> None:
    wanted = r"Expected 2 inputs \['photo', 'vector'\] as a list in this order or as a dict, received "
    with pytest.raises(TypeError, match=wanted + received):
        PAIR.flatten(images)


def test_inputs_in_another_order_are_told_the_order() -> None:
    with pytest.raises(ValueError, match=r"'photo' .* received \(3, 2\): .*in this order, \['photo', 'vector'\]"):
        PAIR.flatten([VECTOR, IMAGES])


def test_missing_input_is_named() -> None:
    with pytest.raises(TypeError, match=r"received \['photo'\]: \['vector'\] missing"):
        PAIR.flatten({"photo": IMAGES})


def test_inputs_of_several_batch_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one batch size, received {'photo': 3, 'vector': 2}"):
        PAIR.flatten([IMAGES, VECTOR[:2]])


def test_images_are_the_first_input_of_four_axes() -> None:
    specs = {
        "vector": tf.TensorSpec((None, 2), "float32"),
        "photo": tf.TensorSpec((None, 6, 10, 3), "float32"),
        "video": tf.TensorSpec((None, 4, 6, 10, 3), "float32"),
    }
    inputs = ModelInputs(list(specs), list(specs.values()), list(specs))
    assert inputs.image_index == 1
    assert inputs.image_shape == (None, 6, 10, 3)


@pytest.mark.parametrize("build", [two_inputs_list, two_inputs_dict])
def test_split_of_several_inputs_takes_lists_and_dicts(build: Any) -> None:
    model, layer, _ = build()
    images = np.random.default_rng(0).random((2, 12, 20, 3), np.float32)
    vector = np.random.default_rng(1).random((2, 3), np.float32)
    extractor = split_model(model, layer).extractor
    by_list, *_ = extractor([images, vector])
    by_name, *_ = extractor({"vector": vector, "photo": images})
    np.testing.assert_array_equal(by_list, by_name)


def test_inputs_nested_in_one_another() -> None:
    """A list in a dict, as Keras allows; the flat list of them is not what the model was built with."""
    photo, first, second = keras.Input((6, 10, 3), name="photo"), keras.Input((2,)), keras.Input((2,))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3, name="conv")(photo))
    outputs = layers.Dense(2)(layers.Concatenate()([pooled, first, second]))
    model = randomise(keras.Model({"photo": photo, "table": [first, second]}, outputs))
    images = {"photo": IMAGES, "table": [VECTOR, VECTOR + 1]}
    explanation = Explainer(model)(images, 1)
    np.testing.assert_allclose(explanation.outputs, model(images), rtol=1e-5)
    swapped = Explainer(model)({"photo": IMAGES, "table": [VECTOR + 1, VECTOR]}, 1)
    assert np.abs(swapped.outputs - explanation.outputs).max() > 1e-3
    with pytest.raises(TypeError, match=r"inputs like {'photo': .*'table': \[.*\]}, received a list of 3"):
        Explainer(model)([IMAGES, VECTOR, VECTOR])


# Models that know their inputs only by the shapes they were built with.


def test_inputs_of_one_shape() -> None:
    inputs = inputs_of_shapes((8, 6, 10, 3))
    assert inputs.specs == [tf.TensorSpec((None, 6, 10, 3), "float32")]
    assert inputs.structure == "images"


def test_inputs_of_a_list_of_shapes() -> None:
    inputs = inputs_of_shapes([(8, 6, 10, 3), (8, 2)])
    assert [tuple(spec.shape) for spec in inputs.specs] == [(None, 6, 10, 3), (None, 2)]
    assert inputs.structure == ["input_0", "input_1"]


def test_inputs_of_a_dict_of_shapes() -> None:
    inputs = inputs_of_shapes({"vector": (8, 2), "photo": (8, 6, 10, 3)})
    assert {name: tuple(spec.shape) for name, spec in zip(inputs.names, inputs.specs, strict=True)} == {
        "photo": (None, 6, 10, 3),
        "vector": (None, 2),
    }


# NaN, and values in another range than the model wants.


def small_model(activation: str = "relu") -> keras.Model:
    """All weights are positive, and so is every map."""
    convs = [layers.Conv2D(2, 3, padding="same", activation=activation, name=name) for name in ("conv1", "conv2")]
    head = [layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")]
    model = keras.Sequential([keras.Input((6, 10, 3)), *convs, *head])
    generator = np.random.default_rng(0)
    model.set_weights([generator.uniform(0.01, 0.1, weight.shape) for weight in model.get_weights()])
    return model


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_one_bad_image_leaves_the_others_as_they_are(bad: float, activation: str) -> None:
    explainer = Explainer(small_model(activation))
    images = IMAGES.copy()
    images[1, 2, 3, 0] = bad
    clean, explanation = explainer(IMAGES, 1), explainer(images, 1)
    np.testing.assert_allclose(explanation.raw[[0, 2]], clean.raw[[0, 2]], rtol=1e-6)
    assert np.isfinite(explanation.heatmaps).all()
    assert [sentence is None for sentence in explanation.diagnosis] == [True, False, True]
    assert "NaN or infinite" in explanation.diagnosis[1]


def test_map_of_a_bad_image_is_blank() -> None:
    """Nothing can be hot in a picture that shows nothing."""
    images = IMAGES.copy()
    images[1] = np.nan
    assert Explainer(small_model())(images, 1).heatmaps[1].max() == 0.0


def test_bad_images_alone_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images of finite numbers, received NaN or infinite values in every image"):
        Explainer(plain_model())(np.full((2, 12, 20, 3), np.nan))


def mobilenet_like() -> keras.Model:
    """Three layers that are known for MobileNet's by their names: it wants RGB in [-1, 1]."""
    return keras.Sequential(
        [
            keras.Input((6, 10, 3)),
            layers.Conv2D(2, 3, strides=2, name="conv1"),
            layers.DepthwiseConv2D(1, name="conv_dw_1"),
            layers.Conv2D(2, 1, name="conv_pw_1"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )


def test_range_warning_of_an_assumed_scaling_names_range_and_remedy_once_per_model() -> None:
    explainer = Explainer(mobilenet_like())
    photos = np.linspace(0, 255, 180, dtype=np.float32).reshape(1, 6, 10, 3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(5):
            explainer(photos)
        explainer(photos)
    assert [warning.category for warning in caught] == [ImageRangeWarning]
    assert {warning.filename for warning in caught} == {__file__}
    assert "range from 0 to 255" in str(caught[0].message)
    assert "keras.applications.mobilenet.preprocess_input" in str(caught[0].message)


def test_range_warning_is_not_said_again_when_the_model_itself_is_gone() -> None:
    model = mobilenet_like()
    explainer, alive = Explainer(model), weakref.ref(model)
    photos = np.linspace(0, 255, 180, dtype=np.float32).reshape(1, 6, 10, 3)
    del model
    gc.collect()
    assert alive() is None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        explainer(photos)
        explainer(photos)
    assert len(caught) == 1


def test_range_warning_is_silent_where_the_range_fits() -> None:
    Explainer(mobilenet_like())(2 * IMAGES - 1)  # warnings are errors here
