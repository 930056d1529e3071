"""A network of keras.applications as the first part of a classifier: its scaling, its weights, its blocks.

A block is a part that the authors of the network number: `block6` of EfficientNetV2, `block5` of VGG16, `conv5` of
ResNet50, `stage_3` of ConvNeXt, each depthwise pair of MobileNet. Before the blocks comes the `stem`, after them the
`top`, and last the new `head`. Blocks are read from the names of layers, and frozen or trained as a whole.
"""

from __future__ import annotations

import inspect
import itertools
import math
import re
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_gradcam.demo import load_demo_model

from ..reading import check_regular

_REMEDY = "Give a file by --weights FILE (weights of keras.applications: https://keras.io/api/applications/), or none."
_OURS = ("include_top", "weights", "input_tensor", "input_shape", "pooling", "classes", "classifier_activation", "name")
_OTHER = "Give --backbone (and --backbone-arguments) of the file, or other weights."

DEMO = "demo"  # the bundled model of tf_gradcam.demo: VGG16's layers at an eighth of their width

STEM, TOP, HEAD = "stem", "top", "head"
HEAD_LAYERS = ("pool", "flatten", "fc1", "fc2", "dense")

_NUMBERED = (
    r"stage_?\d+",  # ConvNeXt; its layers have a block's number too
    r"downsampling_block_\d+",
    r"block_?\d+",  # EfficientNet, VGG, MobileNetV2, Xception
    r"conv_(?:dw|pw|pad)_\d+",  # MobileNet
    r"conv\d+_block",  # ResNet, DenseNet
    r"(?:conv|pool)\d(?=_|$)",  # layers before the first block of a stage
    r"expanded_conv(?:_\d+)?",  # MobileNetV2 and V3
    r"mixed_?\d+",  # Inception
    r"(?:normal|reduction)_conv_\d+",  # NASNet
)
_BLOCK = re.compile("|".join(f"({pattern})" for pattern in _NUMBERED))
_MOBILENET_STEM = re.compile("conv1(_bn|_relu)?")  # conv1_conv and conv1_pad belong to ResNet and DenseNet
# A repeated part of a block, such as a residual unit; where a block does not have parts, the block itself.
_PART = re.compile(
    r"stage_?\d+_block_?\d+|downsampling_block_\d+"  # ConvNeXt
    r"|(?:normal|reduction|adjust|separable_conv)_(?:.*_)?(?P<cell>(?:reduce_|stem_)?\d+)$"  # NASNet
    r"|conv_(?:dw|pw|pad)_\d+"  # MobileNet
    r"|conv\d+_block\d+|(?:conv|pool)\d(?=_|$)"  # ResNet, DenseNet
    r"|expanded_conv(?:_\d+)?|mixed_?\d+[a-z]?|block_?\d+(?:[a-z](?![a-z])|_\d+)?"
)
_TOP = re.compile(r"top_|post_|Conv_1|out_relu|conv_7b|head_")

# The statistics of a batch normalisation follow the data within 10 batches instead of 100. Fine-tuning has few batches,
# and ImageNet's statistics would still be mixed in when the first epochs are validated.
MOMENTUM = 0.9


_DEVIATIONS = (0.229, 0.224, 0.225)  # of ImageNet's red, green and blue in 0..1


def find_backbone(name: str) -> str:
    """Return the name as keras.applications spells it, or "demo" for the bundled network.

    Raises:
        ValueError: the name is unknown; the known ones are listed.
    """
    known = [key for key, value in vars(keras.applications).items() if inspect.isfunction(value) and key[0].isupper()]
    known.append(DEMO)
    found = [key for key in known if key.lower() == name.lower()]
    if not found:
        raise ValueError(
            f"Expected a network of keras.applications or the bundled {DEMO} as backbone, received '{name}'. There are "
            f"{known}."
        )
    return found[0]


def scaled(images: Any, backbone: str) -> Any:
    """Scale pixels for the backbone, with layers of Keras that any version loads.

    `preprocess_input` of its family is affine in each channel, so black and the primary colours determine it.

    Args:
        images: (B, H0, W0, 3) RGB 0..255, a Keras tensor.
        backbone: as `find_backbone` spells it.
    """
    if backbone == DEMO:
        return keras.layers.Rescaling(1 / 255, name="scaling")(images)
    preprocess = sys.modules[getattr(keras.applications, backbone).__module__].preprocess_input
    probes = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)]).astype(np.float32).reshape(4, 1, 1, 3)
    black, *primaries = np.asarray(preprocess(probes.copy())).reshape(4, 3)
    slopes = (np.stack(primaries) - black) / 255  # row: channel in, column: channel out
    if slopes[0, 0] == 0:  # BGR
        images, slopes = images[..., ::-1], slopes[::-1]
    scale, offset = np.diag(slopes).astype(float), black.astype(float)
    if np.allclose(scale, 1) and np.allclose(offset, 0):
        return images
    return keras.layers.Rescaling(scale.tolist(), offset.tolist(), name="scaling")(images)


def build_backbone(
    backbone: str, inputs: Any, weights: str | None, arguments: Mapping[str, Any] | None = None
) -> keras.Model:
    """Return the network without its classifier, in one graph with the layers before `inputs`.

    Args:
        backbone: as `find_backbone` spells it.
        inputs: (B, H0, W0, 3) Keras tensor, scaled.
        weights: "imagenet", which Keras downloads once and keeps, or None for random weights.
        arguments: further arguments of its constructor, such as {"alpha": 0.75}.

    Raises:
        ConnectionError: the download failed.
        ValueError: the constructor does not have or refuses an argument, or the image size is too small.
    """
    known = [name for name in inspect.signature(_constructor(backbone)).parameters if name not in _OURS]
    for name in arguments or {}:
        if name not in known:
            raise ValueError(f"Expected an argument of {backbone} of {known}, received '{name}'.")
    shape = {"input_tensor": inputs, "input_shape": inputs.shape[1:]}
    return _construct(backbone, include_top=False, weights=weights, **shape, **(arguments or {}))


def download(backbone: str) -> keras.Model:
    """Return the whole network with its classifier and ImageNet weights.

    Raises:
        ConnectionError: the download failed.
    """
    return _construct(backbone, weights="imagenet")


def _construct(backbone: str, **arguments: Any) -> keras.Model:
    try:
        with warnings.catch_warnings():  # of another image size than that of the weights, which a trunk may have
            warnings.filterwarnings("ignore", "`input_shape` is undefined or non-square")
            return _constructor(backbone)(**arguments)
    except (TypeError, ValueError) as error:
        size = f" for images of {arguments['input_shape'][:2]}" if "input_shape" in arguments else ""
        raise ValueError(f"{backbone} cannot be built{size}: {error}") from error
    except Exception as error:  # Keras raises a plain Exception where a download fails
        raise ConnectionError(f"The weights of {backbone} could not be downloaded: {error}. {_REMEDY}") from error


def _constructor(backbone: str) -> Callable[..., keras.Model]:
    return _demo_network if backbone == DEMO else getattr(keras.applications, backbone)


def _demo_network(
    include_top: bool = True, weights: str | None = None, input_tensor: Any = None, input_shape: Any = None
) -> keras.Model:
    """Return the bundled network with random weights, as the constructors of keras.applications do."""
    if weights is not None:
        raise ValueError(f"it has no weights of {weights}. Give --weights {DEMO}, none, or a file")
    inputs = keras.Input(input_shape or (224, 224, 3)) if input_tensor is None else input_tensor
    hidden = inputs
    for layer in load_demo_model().layers[2:]:  # after the images and their scaling
        if not include_top and layer.name == "flatten":
            break
        config = {key: value for key, value in layer.get_config().items() if key != "dtype"}  # of the current policy
        hidden = type(layer).from_config(config)(hidden)
    return keras.Model(keras.utils.get_source_inputs(inputs), hidden)


def load_demo_trunk(model: keras.Model, backbone: str) -> None:
    """Copy the bundled model's trained convolutions into a classifier with the backbone "demo".

    Raises:
        ValueError: the backbone is another one.
    """
    if backbone != DEMO:
        raise ValueError(
            f"Expected weights of {backbone}, received those of the bundled network. Give --backbone {DEMO}."
        )
    for layer in load_demo_model().layers:
        if layer.name.startswith("block") and layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())


def load_trunk(
    model: keras.Model, file: Path, backbone: str, arguments: Mapping[str, Any] | None, also: Sequence[str] = ()
) -> None:
    """Copy the weights of a file into the layers of the backbone.

    Layers are paired by their order, not by name: some names go on counting from the networks built before
    (`conv2d_17`).

    Args:
        model: of `build_classifier`.
        file: .keras or .h5 of a whole model that begins with this backbone, or .weights.h5 or .h5 of the network of
            keras.applications, with or without its classifier for 1000 classes.
        backbone, arguments: name and constructor arguments of the network.
        also: layers after the backbone that are copied too if the file has them in the same shape; a line on stderr
            names those that are not.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged or of another architecture; the difference is named.
    """
    check_regular(file, "a file of weights")
    if not file.is_file():
        raise FileNotFoundError(f"The file of weights '{file}' does not exist. {_REMEDY}")
    copy_trunk(model, _network_in(file, backbone, arguments), f"{backbone} in '{file}'", also)


def copy_trunk(model: keras.Model, source: keras.Model, origin: str, also: Sequence[str] = ()) -> None:
    """Copy the weights of another model that begins with the same backbone, as `load_trunk` does.

    Args:
        model, also: as `load_trunk`.
        source: the other model.
        origin: its name in errors.
    """
    trunk = [layer for layer in _weighted(model) if layer.name not in (*also, "dense")]
    given = _weighted(source)
    for layer, values in itertools.zip_longest(trunk, given[: len(trunk)]):
        received = "none" if values is None else _shapes(values)
        if received != _shapes(layer):
            raise ValueError(
                f"Expected weights of {origin}: the layer '{layer.name}' has shapes {_shapes(layer)}, the file "
                f"{received}{'' if values is None else f' in {values.name!r}'}. {_OTHER}"
            )
    for layer, values in zip(trunk, given, strict=False):
        layer.set_weights(values.get_weights())
        if isinstance(layer, keras.layers.Normalization):
            _take_statistics(layer)
    behind = {layer.name: layer for layer in given[len(trunk) :]}
    for name in also:
        layer = model.get_layer(name)
        if name in behind and _shapes(behind[name]) == _shapes(layer):
            layer.set_weights(behind[name].get_weights())
        else:
            print(
                f"'{name}' starts at random: no weights have the shapes {_shapes(layer)}.",
                file=sys.stderr,
            )


def _take_statistics(layer: keras.layers.Normalization) -> None:
    """Make a normalisation compute with its copied statistics, which Keras does only for a loaded layer.

    ImageNet's weights of EfficientNetB hold the deviations as variances. Keras divides by the root of the deviations
    once more, in a layer that it builds for downloaded weights alone; here the variances become what they stand for.
    """
    if np.allclose(layer.adapt_variance, _DEVIATIONS, rtol=1e-3):
        layer.adapt_variance.assign(np.square(_DEVIATIONS))
    layer.finalize_state()


def _weighted(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers with weights in the order of the network, including those of nested models."""
    found = []
    for layer in model.layers:
        found += _weighted(layer) if hasattr(layer, "layers") else [layer] if layer.weights else []
    return found


def _shapes(layer: keras.layers.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]


def _network_in(file: Path, backbone: str, arguments: Mapping[str, Any] | None) -> keras.Model:
    if _is_model(file):
        if file.suffix == ".keras" and not zipfile.is_zipfile(file):
            raise ValueError(f"Expected a .keras file, but '{file}' is not a zip archive. Copy or save it again.")
        try:
            return keras.saving.load_model(file, compile=False, safe_mode=True)
        except Exception as error:  # of zip, HDF5, JSON, or whatever a layer's constructor raises
            raise ValueError(f"Cannot load '{file}': {_reason(error)}. Copy or save it again.") from error
    failures = []
    for has_classifier in (True, False):
        network = _construct(backbone, include_top=has_classifier, weights=None, **(arguments or {}))
        try:
            with warnings.catch_warnings():  # Keras 3.15 warns of each list that files of older versions do not repeat
                warnings.filterwarnings("ignore", "Skipping nested container")
                network.load_weights(file)
            return network
        except Exception as error:  # HDF5, Keras and NumPy each have their own for a layer that does not fit
            failures.append(_reason(error))
    told = "; without its classifier: ".join(dict.fromkeys(failures))
    built = f"{backbone}{dict(arguments or {}) or ''}"
    raise ValueError(f"Expected weights of {built} in '{file}', but they do not fit: {told}. {_OTHER}")


def _is_model(file: Path) -> bool:
    """Return True if the file holds a whole model, not only weights."""
    if file.suffix == ".keras":
        return True
    import h5py

    try:
        with h5py.File(file) as content:
            return "model_config" in content.attrs
    except OSError as error:
        raise ValueError(f"Expected a file of weights, but '{file}' cannot be read: {error}. {_REMEDY}") from error


def _reason(error: Exception) -> str:
    """Return Keras's message about weights that do not fit, without the weights themselves."""
    text = " ".join(str(error).split())
    found = re.search(
        r"variable\.shape=(\(.*?\)), Received: value\.shape=(\(.*?\))\. .*?<\w*Variable path=([^,>]+)", text
    )
    if found:
        return f"{found[3]} has shape {found[1]}, in the file {found[2]}"
    text = text.partition("Example error message for object ")[2] or text
    return text.partition(" List of objects")[0][:300].rstrip(".")


def block_of(name: str, before: str) -> str:
    """Return the block that a layer belongs to.

    Args:
        name: of the layer.
        before: the block of the layer before it; a layer without a number belongs to the same block.
    """
    if name in HEAD_LAYERS:
        return HEAD
    if _TOP.match(name):
        return TOP
    found = _BLOCK.search(name)
    if found is None or (before == STEM and _MOBILENET_STEM.fullmatch(name)):
        return before
    numbers = re.findall(r"\d+", found.group())
    kind = re.split(r"_(?:dw|pw|pad)|\d|_block", found.group())[0].rstrip("_")
    return f"{kind}{numbers[0]}" if numbers else kind


def blocks_of(model: keras.Model) -> dict[str, list[keras.layers.Layer]]:
    """Return the layers of each block, in the order of the network."""
    found: dict[str, list[keras.layers.Layer]] = {}
    block = STEM
    for layer in model.layers:
        block = block_of(layer.name, block)
        found.setdefault(block, []).append(layer)
    return found


def part_of(name: str) -> str | None:
    """Return the part of a block that a layer's name gives, such as `block6f` or `conv4_block6`; None without one."""
    found = _PART.search(name)
    if found is None or _TOP.match(name):
        return None
    return f"cell_{found['cell']}" if found["cell"] else re.sub("^conv_(?:dw|pw|pad)_", "conv_", found.group())


def unfreeze(model: keras.Model, count: int | None) -> list[str]:
    """Freeze all but the last `count` blocks and the head; a frozen batch normalisation stays in inference mode.

    Args:
        model: of `build_classifier`.
        count: number of blocks to train, including the top; 0 for the head only, None for all.

    Returns:
        Names of the blocks that are trained.

    Raises:
        ValueError: `count` is negative or above the number of blocks.
    """
    blocks = blocks_of(model)
    names = [name for name in blocks if name != HEAD and any(layer.weights for layer in blocks[name])]
    if count is not None and not 0 <= count <= len(names):
        raise ValueError(
            f"Expected 0 to {len(names)} blocks to unfreeze, or all, received {count}: the network has {names}."
        )
    trained = [*(names if count is None else names[len(names) - count :]), HEAD]
    for name, layers in blocks.items():
        for layer in layers:
            layer.trainable = name in trained
            if layer.trainable and isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = min(layer.momentum, MOMENTUM)
    return trained


def parameters(model: keras.Model) -> dict[str, int]:
    """Count the trainable parameters of each block that has any, in the current state of the model."""
    counts = {name: _count(layers) for name, layers in blocks_of(model).items()}
    return {name: count for name, count in counts.items() if count}


def _count(layers: Iterable[keras.layers.Layer]) -> int:
    sizes = [variable.shape for layer in layers for variable in layer.trainable_weights]
    return sum(math.prod(shape) for shape in sizes)
