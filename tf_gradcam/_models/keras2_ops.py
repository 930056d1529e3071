"""TensorFlow functions that Keras 2 stored as nodes of a graph, made of `keras.ops`.

Nothing outside the table is called.
"""

from __future__ import annotations

import inspect
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

# The name in TensorFlow, and in `keras.ops` where it differs; the arguments have the same order.
_SAME = """
add subtract multiply maximum minimum truediv=divide divide realdiv=divide div=divide floordiv=floor_divide floormod=mod
mod pow=power abs=absolute exp expm1 log log1p sqrt rsqrt square sin cos tan sinh cosh tanh asin=arcsin acos=arccos
atan=arctan erf floor ceil round sign negative sigmoid softplus softsign relu relu6 elu selu softmax log_softmax
equal not_equal greater greater_equal less less_equal logical_and logical_or logical_not zeros_like ones_like
stop_gradient expand_dims tile stack unstack repeat cast concat=concatenate leaky_relu one_hot
rgb_to_grayscale=image.rgb_to_grayscale
"""


def _reduce(name: str) -> Callable[..., Any]:
    def call(input_tensor: Any, axis: Any = None, keepdims: bool = False, keep_dims: bool = False) -> Any:
        return getattr(ops, name)(input_tensor, axis=_axes(axis), keepdims=bool(keepdims or keep_dims))

    return call


def _axes(axis: Any) -> Any:
    return tuple(axis) or None if isinstance(axis, (list, tuple)) else axis


def _pool(name: str) -> Callable[..., Any]:
    def call(input: Any, ksize: Any, strides: Any, padding: str, data_format: str = "NHWC") -> Any:
        return getattr(ops, name)(input, _sides(ksize), _sides(strides), padding.lower(), _format(data_format))

    return call


def _sides(value: Any) -> Any:
    """Return (height, width) of TensorFlow's size or stride, which may have four numbers."""
    if not isinstance(value, (list, tuple)):
        return value
    return tuple(value[1:3] if len(value) == 4 else value) if len(value) > 1 else value[0]


def _format(data_format: str | None) -> str:
    return "channels_first" if str(data_format).startswith("NC") else "channels_last"


def _conv(input: Any, filter: Any = None, strides: Any = 1, padding: str = "VALID", **options: Any) -> Any:
    kernel = options.pop("filters", filter)
    options.pop("use_cudnn_on_gpu", None)
    layout, dilation = _format(options.pop("data_format", None)), options.pop("dilations", None) or 1
    _refuse(**options)
    return ops.conv(input, kernel, _sides(strides), padding.lower(), layout, _sides(dilation))


def _refuse(**options: Any) -> None:
    """Refuse arguments that have a value."""
    if any(options.values()):
        raise ValueError(f"the arguments {options} are not rebuilt")


def _resize(images: Any, size: Any, method: str = "bilinear", antialias: bool = False, **options: Any) -> Any:
    _refuse(**options)
    return ops.image.resize(images, tuple(size), interpolation=method, antialias=antialias)


def _reshape(tensor: Any, shape: Any) -> Any:
    return ops.reshape(tensor, tuple(-1 if side is None else int(side) for side in shape))


def _getitem(tensor: Any, slice_spec: Any) -> Any:
    key = tuple(slice_spec) if isinstance(slice_spec, list) else slice_spec
    return tensor[key[0] if isinstance(tensor, list) and isinstance(key, tuple) else key]


def _split(value: Any, num_or_size_splits: Any, axis: int = 0) -> Any:
    sizes = num_or_size_splits
    return ops.split(value, np.cumsum(sizes)[:-1].tolist() if isinstance(sizes, list) else sizes, axis)


def _matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False, **options: Any) -> Any:
    _refuse(**options)
    return ops.matmul(ops.swapaxes(a, -1, -2) if transpose_a else a, ops.swapaxes(b, -1, -2) if transpose_b else b)


def _l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12, dim: Any = None) -> Any:
    axis = _axes(dim if axis is None else axis)
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=axis, keepdims=True), epsilon))


def _standardised(image: Any) -> Any:
    axes, image = (-3, -2, -1), ops.cast(image, "float32")
    least = 1 / math.sqrt(math.prod(image.shape[-3:]))
    return (image - ops.mean(image, axes, keepdims=True)) / ops.maximum(ops.std(image, axes, keepdims=True), least)


def _as_dtype(image: Any, dtype: str, saturate: bool = False) -> Any:
    if "int" in dtype:
        raise ValueError(f"a conversion to {dtype} is not rebuilt")
    scale = np.iinfo(image.dtype).max if "int" in image.dtype else 1
    return ops.cast(image, dtype) / scale if scale > 1 else ops.cast(image, dtype)


def _gather(params: Any, indices: Any, axis: int = 0, batch_dims: int = 0) -> Any:
    _refuse(batch_dims=batch_dims)
    return ops.take(params, indices, axis=axis)


def _cropped(image: Any, offset_height: int, offset_width: int, target_height: int, target_width: int) -> Any:
    image = image[..., offset_height : offset_height + target_height, :, :]
    return image[..., offset_width : offset_width + target_width, :]


def _batch_normalised(
    x: Any, mean: Any, variance: Any, offset: Any = None, scale: Any = None, variance_epsilon: float = 0.0
) -> Any:
    factor = ops.rsqrt(ops.add(variance, variance_epsilon)) * (1.0 if scale is None else scale)
    return ops.add((x - mean) * factor, 0.0 if offset is None else offset)


def _bias_add(value: Any, bias: Any, data_format: str | None = None) -> Any:
    _refuse(channels_first=_format(data_format) == "channels_first")
    return ops.add(value, bias)


def _dropout(x: Any, rate: float = 0.0, **options: Any) -> Any:
    _refuse(rate=rate)
    return x


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{tf: operator.attrgetter(name or tf)(ops) for tf, _, name in (pair.partition("=") for pair in _SAME.split())},
    **{f"reduce_{name}": _reduce(name) for name in ("mean", "sum", "max", "min", "prod", "std", "logsumexp")},
    **{"reduce_variance": _reduce("var"), "reduce_any": _reduce("any"), "reduce_all": _reduce("all")},
    **{name: _pool("max_pool") for name in ("max_pool", "max_pool2d")},
    **{name: _pool("average_pool") for name in ("avg_pool", "avg_pool2d")},
    "argmax": lambda input, axis=0, output_type="int64": ops.cast(ops.argmax(input, axis), output_type),
    "batch_normalization": _batch_normalised,
    "bias_add": _bias_add,
    "clip_by_value": lambda t, clip_value_min, clip_value_max: ops.clip(t, clip_value_min, clip_value_max),
    "conv2d": _conv,
    "convert_image_dtype": _as_dtype,
    "crop_to_bounding_box": _cropped,
    "cumprod": lambda x, axis=0: ops.cumprod(x, axis),
    "cumsum": lambda x, axis=0: ops.cumsum(x, axis),
    "depth_to_space": lambda input, block_size, data_format="NHWC": ops.depth_to_space(
        input, block_size, _format(data_format)
    ),
    "divide_no_nan": lambda x, y: ops.where(ops.equal(y, 0), 0.0, x / ops.where(ops.equal(y, 0), 1.0, y)),
    "dropout": _dropout,
    "ensure_shape": lambda x, shape: x,
    "flip_left_right": lambda image: ops.flip(image, -2),
    "flip_up_down": lambda image: ops.flip(image, -3),
    "gather": _gather,
    "gelu": lambda features, approximate=False: ops.gelu(features, approximate=approximate),
    "getitem": _getitem,
    "identity": lambda input: input,
    "l2_normalize": _l2_normalize,
    "matmul": _matmul,
    "pad": lambda tensor, paddings, mode="CONSTANT", constant_values=0: ops.pad(
        tensor, paddings, mode.lower(), **({"constant_values": constant_values} if mode == "CONSTANT" else {})
    ),
    "per_image_standardization": _standardised,
    "reshape": _reshape,
    "resize": _resize,
    "shape": lambda input, out_type="int32": list(input.shape),
    "silu": lambda features, beta=1.0: features * ops.sigmoid(features * beta),
    "split": _split,
    "squared_difference": lambda x, y: ops.square(x - y),
    "squeeze": lambda input, axis=None, squeeze_dims=None: ops.squeeze(
        input, _axes(squeeze_dims if axis is None else axis)
    ),
    "transpose": lambda a, perm=None, conjugate=False: ops.transpose(a, perm),
    "where": lambda condition, x=None, y=None: ops.where(condition, x, y),
}

# The same on sizes, which are numbers here and None where the size is free.
_ON_NUMBERS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "floordiv": operator.floordiv,
    "truediv": operator.truediv,
    "cast": lambda x, dtype: x,
    "stack": lambda values, axis=0: list(values),
    "concat": lambda values, axis=0: [side for sides in values for side in sides],
    "reduce_prod": lambda x, axis=None: math.prod(x),
    "getitem": _getitem,
}


def apply(function: str, first: Any, arguments: Mapping[str, Any]) -> Any:
    """Call a function of TensorFlow on symbolic tensors, by `keras.ops`.

    Args:
        function: as Keras 2 wrote it: "math.truediv", "__operators__.getitem", "compat.v1.transpose".
        first: its first argument; tensors, numbers and lists of them.
        arguments: the others by TensorFlow's names.

    Raises:
        ValueError: an unknown function.
        TypeError, ValueError: arguments that are not rebuilt.
    """
    parts = re.fullmatch(r"(?:compat\.v[12]\.)?(?:(?:math|nn|linalg|__operators__)\.|(?<!\.)image\.)?(\w+)", function)
    name = parts[1] if parts else ""
    given = {key: value for key, value in arguments.items() if key != "name" and value is not None}
    tensors = [leaf for leaf in keras.tree.flatten([first, given]) if isinstance(leaf, keras.KerasTensor)]
    if not tensors and name in _ON_NUMBERS:
        numbers = [first, *given.values()]
        return None if name != "stack" and None in numbers else _ON_NUMBERS[name](*numbers)
    if name not in FUNCTIONS:
        raise ValueError(f"the function tf.{function} is not rebuilt")
    if not tensors:
        raise ValueError(f"the file does not say on what tf.{function} was called")
    like = tensors[0].dtype
    first, given = _as_constant(first, like), {key: _as_constant(value, like, key) for key, value in given.items()}
    known = inspect.signature(FUNCTIONS[name]).parameters if name in _BY_POSITION else given
    by_position = [value for key, value in given.items() if key not in known]
    return FUNCTIONS[name](first, *by_position, **{key: value for key, value in given.items() if key in known})


_BY_POSITION = {pair.partition("=")[0] for pair in _SAME.split()}
_TENSORS = {None, "x", "y", "b", "bias", "filter", "filters", "mean", "variance", "offset", "scale"}


def _as_constant(value: Any, dtype: str, argument: str | None = None) -> Any:
    """Return a list of numbers that stands for a tensor as an array, which knows its shape."""
    if argument in _TENSORS and isinstance(value, list):
        leaves = keras.tree.flatten(value)
        if leaves and all(isinstance(leaf, (bool, int, float)) for leaf in leaves):
            return np.asarray(value, dtype)
    return value
