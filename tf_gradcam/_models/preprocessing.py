"""Input scaling: its detection in a model, the conversion of photos, and the families of keras.applications."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tf_gradcam._errors import Message, ModelWarning, unknown_name

if TYPE_CHECKING:
    from tf_gradcam._models.graph import Graph, Step


ANY = None  # any number of filters


@dataclass(frozen=True)
class Family:
    """A module of keras.applications and the layers that identify it.

    Attributes:
        name, title: the module ("vgg16", "resnet_v2", ...), and the name for people.
        mode: the scaling that the first convolution was trained on, also if it is a layer of the model.
        kernel, stride: of the first convolution, pixels.
        layers: pattern of a layer's name -> number of filters; the first entry is the first convolution.
    """

    name: str
    title: str
    mode: str
    kernel: int
    stride: int
    layers: dict[str, int | None]


# The first match counts. EfficientNetV2-S, -M and -L divide by 128, the mode "tf" by 127.5: at most 0.008 apart.
_V2 = ("efficientnet_v2", "EfficientNetV2")
FAMILIES = (
    Family("vgg19", "VGG19", "caffe", 3, 1, {"block1_conv1": 64, "block1_conv2": 64, "block3_conv4": 256}),
    Family("vgg16", "VGG16", "caffe", 3, 1, {"block1_conv1": 64, "block1_conv2": 64, "block2_conv1": 128}),
    Family("xception", "Xception", "tf", 3, 2, {"block1_conv1": 32, "block1_conv2": 64, "block2_sepconv1": 128}),
    Family("resnet_v2", "ResNetV2", "tf", 7, 2, {"conv1_conv": 64, "conv2_block1_preact_bn": ANY}),
    Family("resnet", "ResNet", "caffe", 7, 2, {"conv1_conv": 64, "conv1_bn": ANY, "conv2_block1_1_conv": 64}),
    Family("densenet", "DenseNet", "torch", 7, 2, {"conv1_conv": 64, "conv1_bn": ANY, "conv2_block1_1_conv": 128}),
    Family("inception_v3", "InceptionV3", "tf", 3, 2, {r"conv2d(_\d+)?": 32, "mixed0": ANY, "mixed1": ANY}),
    Family("inception_resnet_v2", "InceptionResNetV2", "tf", 3, 2, {r"conv2d(_\d+)?": 32, "mixed_5b": ANY}),
    Family("mobilenet", "MobileNet", "tf", 3, 2, {"conv1": ANY, "conv_dw_1": ANY, "conv_pw_1": ANY}),
    Family("mobilenet_v2", "MobileNetV2", "tf", 3, 2, {"Conv1": ANY, "expanded_conv_depthwise": ANY}),
    Family("mobilenet_v3", "MobileNetV3", "tf", 3, 2, {"conv": 16, "expanded_conv_depthwise": ANY}),
    Family("efficientnet", "EfficientNet", "torch", 3, 2, {"stem_conv": ANY, "block1a_dwconv": ANY}),
    Family(*_V2, "tf", 3, 2, {"stem_conv": 24, "block1b_project_conv": 24}),
    Family(*_V2, "tf", 3, 2, {"stem_conv": 32, "block1d_project_conv": 32}),
    Family(*_V2, "torch", 3, 2, {"stem_conv": ANY, "block1a_project_conv": ANY}),
    Family("nasnet", "NASNet", "tf", 3, 2, {"stem_conv1": ANY, "reduction_conv_1_stem_1": ANY}),
    Family("convnext", "ConvNeXt", "torch", 4, 4, {r".+_stem_conv": ANY, r".+_stem_layernorm": ANY}),
)

# Their `preprocess_input` returns its argument: the scaling is a layer of the model, or was left out of it.
PASS_THROUGH = {"mobilenet_v3", "efficientnet", "efficientnet_v2", "convnext"}


def find_family(first: Any, layers: Mapping[str, Any]) -> Family | None:
    """Return the family with this first convolution, or None.

    Args:
        first: the first layer with a kernel.
        layers: name -> layer of the model that holds `first`, itself included.
    """
    sides = (tuple(getattr(first, "kernel_size", ())), tuple(getattr(first, "strides", ())))
    for family in FAMILIES:
        entry, *others = family.layers.items()
        if (
            sides == ((family.kernel,) * 2, (family.stride,) * 2)
            and _is_layer(first, *entry)
            and all(any(_is_layer(layer, *other) for layer in layers.values()) for other in others)
        ):
            return family
    return None


def _is_layer(layer: Any, pattern: str, filters: int | None) -> bool:
    same_name = re.fullmatch(pattern, layer.name) is not None
    return same_name and filters in (ANY, getattr(layer, "filters", None))


class ImageRangeWarning(ModelWarning):
    """Warning that the values of the images do not match the model's input scaling."""


class Mode(NamedTuple):
    """A convention of scaling photos: its range of values, its description, and how to get there from 0..255."""

    value_range: tuple[float, float]
    meaning: str
    remedy: str = "Pass RGB images in 0..255 through `keras.applications.imagenet_utils.preprocess_input(images, {})`"


_UNCHANGED = "Pass RGB images in 0..255 unchanged, the model scales them itself"
MODES = {
    "raw": Mode((0.0, 255.0), "RGB in 0..255", _UNCHANGED),
    "unit": Mode((0.0, 1.0), "RGB in [0, 1]", "Divide RGB images in 0..255 by 255"),
    "tf": Mode((-1.0, 1.0), "RGB in [-1, 1]"),
    "torch": Mode((-2.118, 2.64), "RGB in [0, 1] normalised by ImageNet's mean and deviation"),
    "caffe": Mode((-123.68, 151.061), "BGR in 0..255 less ImageNet's mean colour"),
    "raw16": Mode(
        (0.0, 65535.0),
        "RGB in 0..65535, the values of files of 16 bits",
        "Multiply RGB images in 0..255 by 257, or read files of 16 bits without scaling",
    ),
    "standard": Mode(
        (-3.0, 3.0),
        "RGB less each picture's mean and divided by its deviation, about -3 to 3",
        "Pass RGB images in 0..255 through `tf.image.per_image_standardization`",
    ),
}

PREPROCESSOR = "preprocessor"  # the mode of a task whose preprocessor scales by numbers of its own
_BY_PREPROCESSOR = "Pass RGB images in 0..255 through the task's own preprocessor, `task.preprocessor(images)`"

Source: TypeAlias = Literal["own", "assumed", "file", "given", "detected", "unknown"]


@dataclass(frozen=True)
class Preprocessing:
    """The input scaling of a model; called on photos, it returns images for the model.

    Attributes:
        architecture: the module of keras.applications that the network comes from ("vgg16", "resnet_v2", ...) or None.
        mode: "raw" (RGB in 0..255, also for a model that scales its input itself), "unit" ([0, 1]), "tf" ([-1, 1]),
            "torch" (ImageNet's mean and deviation), "caffe" (BGR less ImageNet's mean), "preprocessor" (as the
            preprocessor of a keras_hub task scales them, see `linear`), or "unknown".
        source: how the mode is known: "own" (measured in the model's first layers), "assumed" (from its architecture),
            "file" (described in its file), "given" (by the user), "detected" (from pictures), or "unknown".
        evidence: the layer, architecture or pictures that show it, as a part of a sentence.
        linear: of the mode "preprocessor": what each channel of a photo is multiplied by, and what is added to it.

    Raises:
        ValueError: another mode, or the mode "preprocessor" without its numbers.
    """

    architecture: str | None
    mode: str
    source: Source = field(default="unknown", compare=False)
    evidence: str = field(default="", compare=False)
    linear: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def __post_init__(self) -> None:
        if self.mode == PREPROCESSOR and self.linear is None:
            raise ValueError(
                "Expected a model whose own preprocessor scales pictures for 'preprocessor', a task of keras_hub, "
                f"received one without. Choose the mode of its training: {', '.join(MODES)}."
            )
        if self.mode not in (*MODES, PREPROCESSOR, "unknown"):
            raise ValueError(unknown_name("preprocessing mode", self.mode, [*MODES, "unknown"]))

    @property
    def value_range(self) -> tuple[float, float] | None:
        """(lowest, highest) value that an image can have, None if unknown."""
        if self.mode == PREPROCESSOR and self.linear is not None:
            ends = [value for gain, start in zip(*self.linear, strict=True) for value in (start, start + 255 * gain)]
            return min(ends), max(ends)
        return MODES[self.mode].value_range if self.mode in MODES else None

    @property
    def meaning(self) -> str:
        """Description of the images."""
        if self.mode == PREPROCESSOR and self.value_range is not None:
            low, high = self.value_range
            return f"RGB in 0..255, brought to {low:.4g} to {high:.4g}"
        return MODES[self.mode].meaning if self.mode in MODES else "unknown values"

    def __call__(self, photos: Any) -> NDArray[np.float32]:
        """Convert photos to images of this mode.

        Args:
            photos: (..., H0, W0, 3) RGB 0..255, any real dtype; left unchanged.

        Returns:
            The same shape, float32, in `value_range`; BGR for "caffe".

        Raises:
            ValueError: the mode is "unknown", or subtracts a mean colour and the photos are grey.
        """
        if self.mode == "unknown":
            raise ValueError(
                f"The input scaling of this model is unknown. Choose the mode of its training: {', '.join(MODES)}."
            )
        images = np.array(photos, dtype=np.float32)  # a copy: keras' functions write into their argument
        if self.mode == PREPROCESSOR:
            gain, start = np.array(self.linear, np.float32)
            return images * gain + start
        if self.mode == "raw":
            return images
        if self.mode == "unit":
            return images / np.float32(255)
        if self.mode == "raw16":
            return images * np.float32(257)
        if self.mode == "standard":
            axes = (-3, -2, -1)
            least = np.float32(np.prod(images.shape[-3:])) ** -0.5  # of a constant picture, as TensorFlow has it
            deviation = np.maximum(images.std(axes, keepdims=True), least)
            return (images - images.mean(axes, keepdims=True)) / deviation
        if self.mode in ("torch", "caffe") and images.shape[-1] != 3:
            raise ValueError(
                f"Mode '{self.mode}' needs 3 colour channels, received {images.shape[-1]}. For grey images choose raw, "
                "unit, tf or standard."
            )
        import keras

        scale = keras.applications.imagenet_utils.preprocess_input
        return scale(images, data_format="channels_last", mode=self.mode)

    @property
    def request(self) -> str:
        """The value of `preprocess` that gives this scaling again, for a model that shows what it expects."""
        return "auto" if self.mode == PREPROCESSOR else self.mode

    @property
    def summary(self) -> str:
        """The mode and how it is known, for a table."""
        known = {"given": "as you chose", "file": "as the model's file says"}
        how = f"assumed, because {self.evidence}" if self.source == "assumed" else self.evidence or "unknown"
        return f"{self.mode}, {known.get(self.source, how)}"

    @property
    def statement(self) -> Message:
        """Which scaling this is and how it is known, as one sentence."""
        fact = self.summary.replace(self.mode, f"{self.mode} ({self.meaning})", 1)
        if self.source != "assumed":
            return Message(f"{fact}.", "", "")
        fact = f"{fact}; if you trained on pictures / 255"
        return Message(fact, "use preprocess='unit'.", "use --preprocess unit.")

    @property
    def remedy(self) -> str:
        """Instruction that turns RGB images in 0..255 into images for the model."""
        if self.evidence == _FROM_PREPROCESSOR and self.mode != "raw":
            return _BY_PREPROCESSOR
        if self.mode in ("tf", "torch", "caffe") and self.architecture and self.architecture not in PASS_THROUGH:
            return f"Pass RGB images in 0..255 through `keras.applications.{self.architecture}.preprocess_input`"
        return MODES[self.mode].remedy.format(f"mode='{self.mode}'") if self.mode in MODES else _UNCHANGED


UNKNOWN = Preprocessing(None, "unknown", evidence="because the model does not show its own")


def check_mode(mode: str) -> None:
    """Check that a mode is "auto", "detect", "none" or a key of `MODES`.

    Raises:
        ValueError: an unknown mode; the message lists the nearest ones.
    """
    if mode not in (known := ["auto", "detect", "none", *MODES]):
        raise ValueError(unknown_name("preprocessing mode", str(mode), known))


def measure_preprocessing(graph: Graph | None, converter: Any = None, channels: int = 3) -> Preprocessing:
    """Find the input scaling that a model expects, measured between its image input and the first kernel.

    Constant images of some levels pass the layers between them, whatever these are (Rescaling, Normalization, Lambda,
    `preprocess_input`, augmentation, padding). If they arrive unchanged, the caller preprocesses: as the family of
    keras.applications demands, "unknown" for other networks. If they arrive changed, the model scales its input itself,
    and expects the range, of 0..255, [0, 1] and [-1, 1], that arrives near to the values of a convention. Any other
    change (a clip, 1 - x, the values of 16 bits or of CT) is "unknown".

    Args:
        graph: of the model; None for a subclassed one.
        converter: the preprocessor of a keras_hub task, or the `keras_hub.layers.ImageConverter` in it, which decides:
            it scales photos for `predict` and `fit`, not for a call. Defaults to None.
        channels: of the model's images. Defaults to 3.

    Returns:
        `Preprocessing`. Its mode is "unknown" for networks outside the families that do not scale, for subclassed
        models, and for several image inputs or branches that expect different scaling.
    """
    import keras

    if converter is not None:
        return _converted(converter, channels)
    if graph is None:
        return UNKNOWN
    # Integers of 16 bits are X-rays or CT, not photos.
    tensors = keras.tree.flatten(graph.input_tensors)
    takes_bytes = any("int" in t.dtype and "16" not in t.dtype for t in tensors if _is_image(t.shape))
    judged = {_judge(graph, step, slot, takes_bytes) for step, slot in _first_kernels(graph)}
    return judged.pop() if len(judged) == 1 else UNKNOWN


def _own(architecture: str | None, mode: str, layer: str) -> Preprocessing:
    return Preprocessing(architecture, mode, "own", f"from the model's own {layer}")


_FROM_PREPROCESSOR = _own(None, "raw", "preprocessor").evidence
_COLOURS = ((0, 0, 0), (255, 255, 255), (51, 102, 204))  # the last one shows an order of channels, and a curve


def _converted(converter: Any, channels: int) -> Preprocessing:
    """Return the preprocessing of a task's preprocessor, found from photos of one colour.

    It is a mode of `MODES` where it fits one, else each channel's factor and offset; unknown if it is neither.
    """
    colours = np.array(_COLOURS, np.float32)[:, :channels]
    photos = np.broadcast_to(colours[:, None, None, :], (len(colours), 32, 32, channels))
    try:
        images = np.asarray(converter(photos), np.float32)
        middle = images[:, images.shape[1] // 2, images.shape[2] // 2]  # away from padding
    except Exception:  # a preprocessor of the user's own, or one that takes points and boxes beside a picture
        return UNKNOWN
    if middle.shape != colours.shape or not np.isfinite(middle).all():
        return UNKNOWN
    for mode in MODES:
        is_coloured = mode in ("torch", "caffe") and channels != 3
        if mode != "standard" and not is_coloured:
            expected = Preprocessing(None, mode)(photos)[:, 0, 0]
            if np.allclose(middle, expected, atol=1e-2):
                return _own(None, mode, "preprocessor")
    gain = (middle[1] - middle[0]) / 255
    if not (gain > 0).all() or not np.allclose(middle[0] + colours * gain, middle, rtol=1e-3, atol=1e-3):
        return UNKNOWN
    linear = (tuple(gain.tolist()), tuple(middle[0].tolist()))
    return Preprocessing(None, PREPROCESSOR, "own", _FROM_PREPROCESSOR, linear)


def _is_image(shape: tuple[int | None, ...]) -> bool:
    return len(shape) == 4 and shape[-1] in (None, 1, 3, 4)


def _first_kernels(graph: Graph) -> list[tuple[Step, int]]:
    """Return the first steps with a kernel behind an image input, each with the slot that it reads."""
    reached = {slot for slot in graph.inputs if _is_image(graph.shapes[slot])}
    kernels = []
    for step in graph.steps:
        read = reached.intersection(step.sources.values())
        if read and _has_kernel(step):
            kernels.append((step, min(read)))
        elif read:
            reached.update(step.outputs)
    return kernels


def _has_kernel(step: Step) -> bool:
    """Return whether a step has weights of several axes; statistics and entrances of nested models do not count."""
    if step.function is not None or _is_statistics(step.operation):
        return False
    return any(len(variable.shape) > 1 for variable in getattr(step.operation, "weights", ()))


def _is_statistics(layer: Any) -> bool:
    """Return whether a layer normalises by statistics; SpectralNormalization wraps a layer with a kernel."""
    return "Normalization" in type(layer).__name__ and not hasattr(layer, "layer")


def _judge(graph: Graph, step: Step, slot: int, takes_bytes: bool) -> Preprocessing:
    """Return the preprocessing that the steps up to `slot`, which `step` reads, suggest."""
    folder = step.path.rpartition("/")[0]
    siblings = [other for other in graph.steps if other.path.rpartition("/")[0] == folder]
    kind = next((type(call.operation) for call in graph.calls if call.is_model and call.path == folder), graph.kind)
    # keras_hub has the layer names of keras.applications but other weights: its VGG16 was trained on "torch".
    family = None
    if all(base.__module__.partition(".")[0] != "keras_hub" for base in kind.__mro__):
        family = find_family(step.operation, {other.operation.name: other.operation for other in siblings})
    name = family.name if family else None
    if takes_bytes:
        return _own(name, "raw", "input of integers")
    before = graph.ancestors([slot])
    arrived = _send(graph, before, slot)
    unknown = Preprocessing(name, "unknown", evidence=UNKNOWN.evidence)
    if arrived is None:
        return unknown
    if _is_unchanged(arrived, _LEVELS):
        if family is None:
            return UNKNOWN
        return Preprocessing(name, family.mode, "assumed", f"the backbone is {family.title}")
    mode = _clear_mode(arrived, any(_is_statistics(other.operation) for other in before))
    kinds = [type(other.operation).__name__ for other in before if other.function is None]
    said = [f"{kind} layer" for kind in kinds if kind in ("Rescaling", "Lambda") or kind.endswith("Normalization")]
    return unknown if mode is None else _own(name, mode, (said or ["first layers"])[0])


_LEVELS = (-1.0, 0.0, 0.5, 1.0, 127.5, 255.0)  # start, middle and end of raw, unit and tf


def _send(graph: Graph, steps: Sequence[Step], slot: int) -> np.ndarray | None:
    """Return the values (levels, C) of constant images in the middle of `slot`, away from padding.

    C are the channels there that depend on the level, at least one; coordinates and masks do not. None if there are
    none, if a value is not finite, or if a layer fails.
    """
    levels = np.array(_LEVELS, np.float32)
    values = {}
    for source in graph.inputs:
        sides = [32 if side is None else side for side in graph.shapes[source][1:]]
        column = levels if _is_image(graph.shapes[source]) else 0 * levels
        values[source] = np.broadcast_to(column.reshape(-1, *[1] * len(sides)), (len(levels), *sides))
    try:
        result = np.asarray(graph.run(steps, values)[slot], np.float32)
    except Exception:  # a layer of the user's own may raise anything on a constant image
        return None
    if result.ndim == 4:
        result = result[:, result.shape[1] // 2, result.shape[2] // 2]
    result = result.reshape(len(levels), -1)
    result = result[:, np.ptp(result, axis=0) > 1e-6]
    return result if result.size and np.isfinite(result).all() else None


def _is_unchanged(arrived: np.ndarray, levels: Sequence[float]) -> bool:
    return np.allclose(arrived, np.array(levels)[:, None], rtol=1e-2, atol=1e-6)


# Black and white of a convention, averaged over the channels.
_CONVENTIONS = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0), (-1.986, 2.440))  # the last one is "torch"
# Constants that are written with two digits are up to this wrong, relative to the range: 0.017 for 1 / (255 * 0.225) by
# 0.025, 0.004 for 1 / 255 by 0.02, 1 / 128 and 1 / 256 by 0.004.
_ROUNDED = 0.03
# Statistics of a data set bring it to mean 0 and deviation 1, or to mean 0 alone. Black and white are then farther away
# for a dark or plain one (MNIST: -0.4 and 2.8), but a deviation is a sixteenth to four tenths of the whole range.
_DEVIATIONS = (2.5, 16.0)
_MEANS = (0.1, 0.9)  # of the whole range


def _clear_mode(arrived: np.ndarray, has_statistics: bool) -> str | None:
    """Return the mode whose range arrives as a convention, by a straight line that rises; None without one.

    Conventions are a range of `_CONVENTIONS`, any mean subtracted from 0..255 or [0, 1], and statistics of a data set,
    where a layer keeps them or the channels differ. [-1, 1] times 2 and 0..255 divided by 128 are none of them.
    """
    at = dict(zip(_LEVELS, arrived, strict=True))
    standardised = None
    for mode in ("raw", "unit", "tf"):
        start, end = MODES[mode].value_range
        low, high = at[start], at[end]
        bent = np.abs(at[(start + end) / 2] - (low + high) / 2) > 0.01 * np.abs(high - low)
        if bent.any() or (high <= low).any() or _is_unchanged(np.stack([low, high]), (start, end)):
            continue
        ends = np.array([low.mean(), high.mean()])
        width = ends[1] - ends[0]
        mean = -ends[0] / width  # where 0 lies in the range
        is_centred = _MEANS[0] <= mean <= _MEANS[1] and mode != "tf"
        known = [*_CONVENTIONS, *((-mean * side, (1 - mean) * side) for side in (255, 1) if is_centred)]
        if any(np.allclose(ends, wanted, rtol=0, atol=_ROUNDED * width) for wanted in known):
            return mode
        differ = bool(np.ptp(low) > _ROUNDED * width)
        if (has_statistics or differ) and 0 < mean < 1 and _DEVIATIONS[0] <= width <= _DEVIATIONS[1]:
            standardised = standardised or mode
    return standardised


def range_warning(images: Any, preprocessing: Preprocessing) -> str | None:
    """Return a warning if the values of the images do not match the model's input scaling, else None.

    It separates small numbers ([0, 1], [-1, 1], normalised), 0..255 and mean-subtracted images, and reports negative
    values in place of [0, 1], and [0, 1] in place of [-1, 1]. A dark photo in 0..255 passes: its few levels are whole
    numbers. So does a bright one in [-1, 1]: its levels are odd multiples of 1/255, every second level of the same
    photo in [0, 1]. Values that hardly differ, as if scaled twice, are reported. Constant images pass (a black one is
    constant in every convention), and so do all images of unknown models.

    Args:
        images: (B, H0, W0, C) float, as they go into the model.
        preprocessing: of the model, from `measure_preprocessing`.
    """
    low, high = float(np.min(images)), float(np.max(images))
    if preprocessing.mode == PREPROCESSOR and preprocessing.value_range is not None:
        start, end = preprocessing.value_range
        spare = (end - start) / 4
        if low >= high or (start - spare <= low and high <= end + spare and high - low > (end - start) / 50):
            return None
        fact = f"The images range from {low:.4g} to {high:.4g}, but this model's preprocessor makes {start:.4g} to"
        return f"{fact} {end:.4g} of pictures. {preprocessing.remedy}."
    if preprocessing.mode not in MODES:
        return None
    mode = MODES[preprocessing.mode]
    start, end = mode.value_range
    is_flat = preprocessing.mode in ("unit", "tf", "torch") and 0 < high - low < (end - start) / 50
    if not is_flat and not _cannot_be(preprocessing.mode, np.asarray(images), low, high):
        return None
    owner = f" (keras.applications.{preprocessing.architecture})" if preprocessing.architecture else ""
    if preprocessing.source == "assumed":
        guess = next(
            (key for key in ("unit", "tf", "raw") if not _cannot_be(key, np.asarray(images), low, high)), "unknown"
        )
        such = "pictures / 255" if guess == "unit" else "such images"
        return (
            f"The images range from {low:.4g} to {high:.4g}, but the backbone of this model{owner} was trained on "
            f"{mode.meaning}, {start:.4g} to {end:.4g}. If you trained on {such}, pass Explainer(scaling='{guess}'); "
            f"otherwise: {preprocessing.remedy}. This is said once for each model."
        )
    return (
        f"The images range from {low:.4g} to {high:.4g}, but this model{owner} expects {mode.meaning}, "
        f"{start:.4g} to {end:.4g}. {preprocessing.remedy}{', once: were they scaled twice?' if is_flat else '.'}"
    )


def _cannot_be(mode: str, images: np.ndarray, low: float, high: float) -> bool:
    """Return whether images of a mode never have these values, from `low` to `high`."""
    is_small = low < high and low >= -3 and high <= (1 if low >= 0 else 3)  # unit, tf or torch
    if mode == "raw":
        return (is_small and (low < 0 or _fraction_count(images) > 0)) or low < -_MAX_OVERSHOOT
    if mode == "caffe":
        # The mean's fractions (103.939, 116.779, 123.68) allow no exact zero: it is an unshifted black pixel.
        return is_small or high > 160 or (low == 0 and high > 1)
    if mode == "raw16":
        return low < high <= 255 or low < -_MAX_OVERSHOOT * 257
    if mode == "standard":  # a bright spot in a dark picture may be many deviations high
        return low < high and (abs(images.mean()) > 0.5 or not 0.5 < images.std() < 2)
    if mode == "tf" and low >= 0 and high <= 1:
        return _fraction_count(images) > _MAX_DRAWING_LEVELS and not _is_bright(images)
    return max(-low, high) > 8 or (mode == "unit" and low < -0.1)


_MAX_OVERSHOOT = 30  # of 255; a sharp resize overshoots by less
_MAX_DRAWING_LEVELS = 4  # of a drawing in a few colours


def _fraction_count(images: np.ndarray) -> int:
    """Return the number of different values that are not whole numbers."""
    values = _sample(images)
    return len(np.unique(values[values % 1 != 0]))


def _is_bright(images: np.ndarray) -> bool:
    """Return whether all values are (2 k - 255) / 255, as of 8-bit photos scaled to [-1, 1], up to half precision."""
    return bool((np.abs(_sample(images) * 255 % 2 - 1) < 0.25).all())


def _sample(images: np.ndarray) -> np.ndarray:
    """Return at most about ten thousand values, spread over all images."""
    values = np.ravel(images)
    return values[:: len(values) // 10_000 + 1].astype(np.float64)
