"""Functions of TensorFlow made of `keras.ops`, each compared with TensorFlow's own."""

from __future__ import annotations

import operator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_gradcam._models.keras2_ops import FUNCTIONS, apply

IMAGES = np.random.default_rng(0).uniform(0.1, 0.9, (2, 4, 6, 3)).astype("float32")
KERNEL = np.random.default_rng(1).normal(size=(2, 2, 3, 4)).astype("float32")
COLOUR = np.array([0.2, -0.3, 0.5], "float32")
OF_TRUTHS = ("where", "logical_and", "logical_or", "logical_not", "reduce_any", "reduce_all")
ONE_ARGUMENT = """
abs math.exp math.expm1 math.log math.log1p sqrt math.rsqrt square sin cos tan sinh cosh tanh asin acos atan math.erf
math.floor math.ceil round sign negative sigmoid nn.softplus nn.softsign nn.relu nn.relu6 nn.elu nn.selu nn.softmax
nn.log_softmax zeros_like ones_like stop_gradient identity nn.silu nn.gelu nn.leaky_relu transpose cumsum
math.cumprod argmax math.l2_normalize image.rgb_to_grayscale image.flip_left_right image.flip_up_down
image.per_image_standardization reduce_mean reduce_sum reduce_max reduce_min reduce_prod math.reduce_std
math.reduce_variance reduce_logsumexp
"""
WITH_NUMBER = """
add subtract multiply maximum minimum truediv divide realdiv compat.v1.div compat.v1.floordiv math.floormod
math.mod pow equal not_equal greater greater_equal less less_equal math.squared_difference math.divide_no_nan
"""
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ONE_ARGUMENT.split()),
    *((name, {"y": 0.4}) for name in WITH_NUMBER.split()),
    ("subtract", {"y": COLOUR}),
    ("nn.softmax", {"axis": 1}),
    ("nn.leaky_relu", {"alpha": 0.3}),
    ("nn.gelu", {"approximate": True}),
    ("cumsum", {"axis": 2}),
    ("reduce_mean", {"axis": [1, 2], "keepdims": True}),
    ("math.reduce_std", {"axis": -1}),
    ("argmax", {"axis": -1, "output_type": tf.int32}),
    ("expand_dims", {"axis": 1}),
    ("repeat", {"axis": 1, "repeats": 2}),
    ("tile", {"multiples": [1, 2, 1, 1]}),
    ("stack", {"axis": -1}),
    ("unstack", {"axis": 1}),
    ("split", {"num_or_size_splits": 2, "axis": 2}),
    ("split", {"num_or_size_splits": [1, 3, 2], "axis": 2}),
    ("concat", {"axis": 2}),
    ("cast", {"dtype": tf.int32}),
    ("clip_by_value", {"clip_value_min": 0.3, "clip_value_max": 0.6}),
    ("compat.v1.transpose", {"perm": [0, 2, 1, 3], "conjugate": False}),
    ("reshape", {"shape": [-1, 6, 3]}),
    ("squeeze", {}),
    ("ensure_shape", {"shape": [None, 4, 6, 3]}),
    ("gather", {"indices": [2, 0], "axis": 3}),
    ("pad", {"paddings": [[0, 0], [1, 2], [0, 1], [0, 0]], "constant_values": 3.0}),
    ("pad", {"paddings": [[0, 0], [1, 1], [2, 1], [0, 0]], "mode": "SYMMETRIC"}),
    ("math.l2_normalize", {"axis": [1, 2]}),
    ("matmul", {"b": IMAGES[0], "transpose_b": True}),
    ("one_hot", {"depth": 3}),
    ("nn.bias_add", {"bias": COLOUR}),
    ("nn.conv2d", {"filters": KERNEL, "strides": [1, 2, 2, 1], "padding": "SAME"}),
    ("nn.dropout", {"rate": 0.0}),
    ("nn.max_pool2d", {"ksize": 2, "strides": 2, "padding": "SAME"}),
    ("nn.max_pool", {"ksize": [1, 2, 3, 1], "strides": [1, 1, 2, 1], "padding": "VALID"}),
    ("nn.avg_pool", {"ksize": 2, "strides": 2, "padding": "VALID"}),
    ("nn.avg_pool2d", {"ksize": [2, 3], "strides": 1, "padding": "SAME"}),
    ("nn.depth_to_space", {"block_size": 2}),
    ("nn.batch_normalization", {"mean": COLOUR, "variance": COLOUR**2, "offset": None, "scale": COLOUR}),
    ("where", {"x": 1.0, "y": 2.0}),
    ("logical_and", {"y": True}),
    ("logical_or", {"y": False}),
    ("logical_not", {}),
    ("reduce_any", {"axis": 1}),
    ("reduce_all", {"axis": [1, 2]}),
    ("image.resize", {"size": [3, 9]}),
    ("image.resize", {"size": [8, 5], "method": "nearest"}),
    ("image.resize", {"size": [3, 4], "method": "bilinear", "antialias": True}),
    ("image.convert_image_dtype", {"dtype": tf.float32}),
    ("image.crop_to_bounding_box", {"offset_height": 1, "offset_width": 2, "target_height": 2, "target_width": 3}),
]
OTHER = {"shape", "getitem"}  # in the networks of test_keras2.py


def of_tensorflow(function: str, arguments: dict[str, Any], images: Any) -> Any:
    return operator.attrgetter(function)(tf)(images, **arguments)


def of_keras(function: str, arguments: dict[str, Any], images: Any) -> Any:
    """Return the outputs of a network that holds the function, with arguments as a file of Keras 2 has them."""
    plain = {key: value.name if isinstance(value, tf.DType) else value for key, value in arguments.items()}
    plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in plain.items()}
    several = images if isinstance(images, list) else [images]
    inputs = [keras.Input(batch_shape=(None, *image.shape[1:]), dtype=image.dtype) for image in several]
    outputs = apply(function, inputs if isinstance(images, list) else inputs[0], plain)
    return keras.Model(inputs, outputs)(several)


@pytest.mark.core
@pytest.mark.parametrize(("function", "arguments"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_function_gives_what_tensorflow_does(function: str, arguments: dict[str, Any]) -> None:
    images: Any = IMAGES
    if function in ("stack", "concat"):
        images = [IMAGES, 2 * IMAGES]
    elif function in OF_TRUTHS:
        images = IMAGES > 0.5
    elif function == "squeeze":
        images = IMAGES[:, :1]
    elif function == "one_hot":
        images = (3 * IMAGES[..., 0]).astype("int32")
    elif function == "nn.depth_to_space":
        images = np.tile(IMAGES, 4)
    elif function == "nn.batch_normalization":
        arguments = {**arguments, "variance_epsilon": 1e-3}
    expected = keras.tree.flatten(of_tensorflow(function, arguments, images))
    for actual, wanted in zip(keras.tree.flatten(of_keras(function, arguments, images)), expected, strict=True):
        assert actual.shape == wanted.shape
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-6)


def test_every_function_of_the_table_is_compared() -> None:
    assert {function.rpartition(".")[2] for function, _ in CASES} | OTHER == FUNCTIONS.keys()


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("cumsum", {"exclusive": True}),
        ("nn.bias_add", {"bias": [1.0, 2.0, 3.0, 4.0], "data_format": "NCHW"}),
        ("gather", {"indices": [[0], [1]], "batch_dims": 1}),
        ("image.resize", {"size": [3, 3], "preserve_aspect_ratio": True}),
        ("matmul", {"b": COLOUR, "adjoint_a": True}),
        ("nn.dropout", {"rate": 0.5}),
        ("einsum", {}),
    ],
)
def test_argument_with_another_meaning_is_refused(function: str, arguments: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        of_keras(function, arguments, IMAGES)
