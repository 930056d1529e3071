"""The map in the loss: a training that is told where the evidence may lie.

`GuidedModel` wraps a model for `compile` and `fit`, and adds losses of its maps or input gradients to the task's loss.

Axis legend: B batch, H x W cells of the layer, C channels, K classes, H0 x W0 pixels. A mask m (B, H0, W0) is 1 where
the evidence may lie and 0 where it must not; values between count in part. A map is brought to the pixels as
`Explanation.resized` does it, each cell at its place; a mask is never resized. Losses are float32, one for each image.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_gradcam._errors import unknown_name
from tf_gradcam._explain.passes import combine, scaled_gradients
from tf_gradcam._models.graph import first_output
from tf_gradcam._models.layers import LayerLike
from tf_gradcam._models.losses import loss_of_output, losses_of
from tf_gradcam._models.reader import reader_of, shown
from tf_gradcam._models.split import Head, SplitModel, of_all_classes, open_head, probabilities, split_model
from tf_gradcam._rules.gradients import gradcam, hirescam
from tf_gradcam.image.resize import Placement, placement_matrices
from tf_gradcam.metrics.localisation import box_region

__all__ = [
    "DifferentiableMaps",
    "GuidedModel",
    "attention_mining",
    "box_masks",
    "energy_outside",
    "hirescam_mask",
    "right_reasons",
]

LossName: TypeAlias = Literal["energy_outside", "hirescam_mask", "right_reasons", "attention_mining"]

_RULES = {"gradcam": gradcam, "hirescam": hirescam}
_HALF_PRECISION_SCALE = 256.0  # input gradients of float16 underflow at 6e-8
_EVERYWHERE = object()  # in place of masks, where no loss needs them
_NO_MASKS = (
    "Expected batches of (images, labels, masks), received {}. Add the masks, an array (N, H0, W0): "
    "tf.data.Dataset.from_tensor_slices((images, labels, masks)).batch(32); an image without a mask gets NaN."
)
_BAD_VALUES = (
    "Expected masks with values from 0 to 1, or NaN in the whole mask of an image that is not guided, received others. "
    "Divide masks of 0 and 255 by 255."
)
_EMPTY = (
    "Expected masks that allow some evidence, received a mask of zeros. Fill the mask of an image that is not guided "
    "with NaN, and of one whose evidence may lie anywhere with ones."
)


def energy_outside(heatmaps: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Return the share of each map's heat outside its mask: sum M (1 - m) / sum M.

    A blank map has no heat outside: 0, without a gradient. `GuidedModel` logs the share of blank maps.

    Args:
        heatmaps: M (B, H0, W0) of 0 or more.
        masks: m (B, H0, W0).

    Returns:
        (B,) in [0, 1].

    Source: the complement of the energy-based pointing game, Wang et al. 2020 (Score-CAM), section 4.3,
    https://arxiv.org/abs/1910.01279. Deviation: as a loss, and of masks in place of boxes.
    """
    return tf.math.divide_no_nan(_sums(heatmaps * (1.0 - masks)), _sums(heatmaps))


def hirescam_mask(maps: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Return the mean of log(1 + exp M) over the pixels outside the mask: sum (1 - m) log(1 + exp M) / sum (1 - m).

    It is the cross-entropy between sigmoid(M) and 0: evidence for the label is penalised outside, evidence against it
    is not. A map of zeros has log 2. An image whose mask is all ones has nothing outside: 0.

    Args:
        maps: M (B, H0, W0), HiResCAM before its relu.
        masks: m (B, H0, W0).

    Returns:
        (B,) of 0 or more.

    Source: Draelos & Carin 2020, https://arxiv.org/abs/2011.08891, and 2021, https://arxiv.org/abs/2111.12215; the
    formula is that of their program, https://github.com/rachellea/explainable-ct-ai. Deviation: the map of the image's
    label, not one for each of the classes; pixels of the interpolated map, not cells.
    """
    outside = 1.0 - masks
    return tf.math.divide_no_nan(_sums(outside * tf.math.softplus(maps)), _sums(outside * tf.ones_like(maps)))


def right_reasons(gradients: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Return the squared input gradients outside the mask: sum ((1 - m) d/dx sum_k log p_k)^2 over pixels, channels.

    Args:
        gradients: (B, H0, W0, 3) of the summed log-probabilities of all classes by the image; of a sigmoid unit both
            log p and log(1 - p).
        masks: m (B, H0, W0).

    Returns:
        (B,) of 0 or more.

    Source: Ross et al. 2017, eq. 1, https://arxiv.org/abs/1703.03717. Deviation: a mean over the images in place of
    their sum. It grows with the square of the pixels' unit: images in 0..255 have values 65,025 times smaller than the
    same images in 0..1.
    """
    return _sums(tf.square((1.0 - masks)[..., None] * gradients))


def attention_mining(
    images: tf.Tensor,
    heatmaps: tf.Tensor,
    probability: Callable[[tf.Tensor], tf.Tensor],
    omega: float = 10.0,
    sigma: float = 0.5,
) -> tf.Tensor:
    """Return the label's probability once the hot region is erased: p(I - T I), T = 1 / (1 + exp(-omega (A - sigma))).

    The model then finds the label's whole object, since what is left should not show it. It needs no masks.

    Args:
        images: I (B, H0, W0, 3), as the model takes them: an erased pixel is 0.
        heatmaps: (B, H0, W0) of 0 or more; A is each divided by its maximum.
        probability: returns the label's (B,) for images.
        omega: steepness of the soft mask.
        sigma: value of A that is half erased.

    Returns:
        (B,) in [0, 1]; the mean over the true labels where an image has several.

    Source: Li et al. 2018 (GAIN), eq. 3 to 6, https://arxiv.org/abs/1802.10171: S = S_cl + alpha S_am, where alpha is
    the weight of this loss. Deviation: A is divided by its maximum, so that one sigma fits all images; the score is the
    probability, since a logit could fall without end.
    """
    shares = tf.math.divide_no_nan(heatmaps, tf.reduce_max(heatmaps, axis=[1, 2], keepdims=True))
    soft = tf.cast(tf.sigmoid(omega * (shares - sigma))[..., None], images.dtype)
    return probability(images - soft * images)


def _sums(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(values, axis=list(range(1, values.shape.rank)))


def box_masks(boxes: Sequence[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return masks that allow evidence inside the boxes of each image.

    Args:
        boxes: for each image its boxes (xmin, ymin, xmax, ymax) in pixels; empty or None for an image that is not
            guided.
        size: (height, width) of the images in pixels.

    Returns:
        (B, H0, W0) float32: 1 inside a box, a share for a pixel on its edge, else 0; NaN for an image without boxes.
        `1 - box_masks(...)` forbids the boxes instead.

    Raises:
        ValueError: a box is outside the image or has no area.
    """
    masks = np.full((len(boxes), *size), np.nan, np.float32)
    for mask, of_image in zip(masks, boxes, strict=True):
        if of_image is not None and len(of_image):
            mask[:] = np.max([box_region(size, box) for box in of_image], axis=0)
    return masks


class DifferentiableMaps:
    """Maps of the labels at a layer, inside any `tf.GradientTape`: their gradients lead to the weights.

    They are those of inference (dropout off, stored batch statistics): the maps of `Explainer(model, layer, method)`
    before the division by their maximum.

    Args:
        model: any built Keras 3 model with one output of classes or labels; its own variables are read.
        layer: as of `Explainer`, with rows and columns; None for the default.
        method: "gradcam" or "hirescam".
        task: "classification" or "multilabel" for outputs without an activation that a loss would explain; None for
            what the output shows.

    Raises:
        TypeError, ValueError: not a Keras 3 model on TensorFlow, an unknown layer, a layer without rows and columns, an
            unknown method, several outputs.
    """

    def __init__(
        self,
        model: keras.Model,
        layer: LayerLike | None = None,
        method: Literal["gradcam", "hirescam"] = "gradcam",
        task: Literal["classification", "multilabel"] | None = None,
    ):
        if method not in _RULES:
            raise ValueError(unknown_name("method", str(method), _RULES))
        reader = reader_of(model)
        self.split = split_model(reader, layer)
        self._method = method
        self.task: str | None = task
        if len(self.split.activation_shape) != 4 or len(reader.inputs.image_shape) != 4:
            image, cells = shown(reader.inputs.image_shape), shown(self.split.activation_shape)
            raise ValueError(
                f"Expected images and a layer (B, H, W, C) of rows and columns, received {image} and "
                f"'{self.split.layer_name}' of {cells}. list_layers(model) shows all; pass layer=."
            )
        if reader.first_key is not None:
            raise ValueError(
                "Expected a model of one output, received several: guide keras.Model(model.inputs, model.outputs[0]), "
                "which shares the layers."
            )
        self._compiled = tf.function(self._maps, autograph=False)

    def __call__(self, images: Any, labels: Any) -> tf.Tensor:
        """Return the maps (B, H, W) float32 of 0 or more.

        Args:
            images: (B, H0, W0, 3) as the model takes them.
            labels: (B,) class indices, (B, K) of 0 and 1, or 0 and 1 for one unit of two classes.

        Raises:
            ValueError: labels of another shape, or an output that is not of classes.
        """
        return _traced_call(self._compiled, [*self.flat(images), tf.convert_to_tensor(labels)])

    def flat(self, images: Any) -> list[tf.Tensor]:
        """Return the inputs in the model's order, with its dtypes."""
        inputs = self.split.inputs
        return [tf.cast(image, spec.dtype) for image, spec in zip(inputs.ordered(images), inputs.specs, strict=True)]

    def _maps(self, *tensors: tf.Tensor) -> tf.Tensor:
        evidence = _Evidence(self.split, self.task, tensors[:-1], tensors[-1])
        return tf.nn.relu(evidence.raw(self._method))


def _traced_call(function: Any, tensors: Sequence[tf.Tensor]) -> Any:
    """Call a tf.function as a graph, also where functions run eagerly: heads are opened in a graph alone."""
    specs = [tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype) for tensor in tensors]
    return function.get_concrete_function(*specs)(*tensors)


class _Evidence:
    """Activations and gradients of the labels' scores for a batch, inside the graph being traced.

    Args:
        split: the model, cut at a layer.
        task: of its output, see `open_head`.
        inputs: of the model, in flat order.
        labels: of the batch.
        by_input: whether the input gradients of `right_reasons` are needed.
    """

    def __init__(
        self,
        split: SplitModel,
        task: str | None,
        inputs: Sequence[tf.Tensor],
        labels: tf.Tensor,
        by_input: bool = False,
    ):
        self._split, self._task, self._inputs = split, task, list(inputs)
        self.image = self._inputs[split.inputs.image_index]
        with tf.GradientTape(watch_accessed_variables=False) as by_image:
            if by_input:
                by_image.watch(self.image)
            cut = split.extract(self._inputs)
            is_half = cut[0].dtype == tf.float16
            with tf.GradientTape(watch_accessed_variables=False, persistent=is_half) as by_activations:
                by_activations.watch(cut[0])
                head = open_head(first_output(split.finish(cut)), task)
                self._targets = _targets(head, labels)
                scores = tf.reduce_sum(self._targets * of_all_classes(head.logits, head.class_count), axis=-1)
            (gradients,) = scaled_gradients(by_activations, scores, cut[:1])
            scale = _HALF_PRECISION_SCALE if is_half else 1.0
            log_probabilities = scale * _log_probabilities(head) if by_input else None
        if gradients is None:
            raise ValueError(
                f"The label's score does not depend on layer '{split.layer_name}': no gradient leads there. "
                "list_layers(model) shows the layers that can be explained; pass layer=."
            )
        self._activations, self._gradients = tf.cast(cut[0], tf.float32), gradients
        self.input_gradients = by_image.gradient(log_probabilities, self.image) / scale if by_input else None

    def raw(self, method: str) -> tf.Tensor:
        """Return the maps (B, H, W) before their relu."""
        return combine(_RULES[method](self._activations, self._gradients), self._activations)

    def at_pixels(self, maps: tf.Tensor) -> tf.Tensor:
        """Return maps (B, H, W) at the size of the images, (B, H0, W0), each cell at its place."""
        rows, columns, is_turned = _matrices(self._split, self._inputs, maps.shape[1:])
        return tf.einsum("ph,bhw,qw->bqp" if is_turned else "ph,bhw,qw->bpq", rows, maps, columns)

    def loss(self, name: str, masks: tf.Tensor, method: str) -> tf.Tensor:
        """Return the values (B,) of a guidance loss; `method` draws the map of energy_outside."""
        if name == "right_reasons":
            return right_reasons(tf.cast(self.input_gradients, tf.float32), masks)
        if name == "hirescam_mask":
            return hirescam_mask(self.at_pixels(self.raw("hirescam")), masks)
        if name == "energy_outside":
            return energy_outside(self.at_pixels(tf.nn.relu(self.raw(method))), masks)
        return attention_mining(self.image, self.at_pixels(tf.nn.relu(self.raw("gradcam"))), self.probability)

    def probability(self, images: tf.Tensor) -> tf.Tensor:
        """Return the labels' probabilities (B,) for changed images."""
        inputs = [images if tensor is self.image else tensor for tensor in self._inputs]
        head = open_head(first_output(self._split.finish(self._split.extract(inputs))), self._task)
        values = probabilities(head)
        if values is None:
            raise ValueError("Expected an output of probabilities or logits of classes for attention_mining.")
        return tf.math.divide_no_nan(_sums(self._targets * values), _sums(self._targets))


def _targets(head: Head, labels: tf.Tensor) -> tf.Tensor:
    """Return the explained classes as (B, K) of 0 and 1: the label, or each true label of a multi-label model."""
    count = head.class_count
    if count is None or count == 1 or head.kind == "value":
        raise ValueError(
            f"Expected a model of classes or labels, received an output {tuple(head.logits.shape)} that does not show "
            "classes. Compile with a loss of classes (crossentropy), or end the model in a softmax or sigmoid."
        )
    if labels.shape.rank == 2 and labels.shape[-1] == 1:
        labels = labels[:, 0]
    if labels.shape.rank == 1 and head.is_pair:
        labels = tf.cast(labels > 0, tf.int32) if labels.dtype.is_integer else tf.cast(labels > 0.5, tf.int32)
    if labels.shape.rank == 1:
        return tf.one_hot(tf.cast(labels, tf.int32), count)
    if labels.shape.rank != 2 or labels.shape[-1] != count or head.is_pair:
        wanted = "(B,) or (B, 1) of 0 and 1" if head.is_pair else f"(B,) class indices or (B, {count})"
        raise ValueError(f"Expected labels {wanted}, as the output has them, received {tuple(labels.shape)}.")
    if head.kind in ("sigmoid", "labels"):
        return tf.cast(tf.cast(labels, tf.float32) > 0.5, tf.float32)
    return tf.one_hot(tf.argmax(labels, axis=-1), count)


def _log_probabilities(head: Head) -> tf.Tensor:
    """Return the summed log-probabilities (B,) of all classes; of sigmoid units those of both sides."""
    if head.kind in ("sigmoid", "labels") or (head.is_pair and head.kind == "linear"):
        return _sums(tf.math.log_sigmoid(head.logits) + tf.math.log_sigmoid(-head.logits))
    if head.kind not in ("softmax", "log_softmax", "linear"):
        raise ValueError(
            "Expected a model that ends in a softmax, a sigmoid or logits for right_reasons, whose log-probabilities "
            "are differentiated. Use energy_outside, which needs scores alone."
        )
    return _sums(tf.nn.log_softmax(head.logits))


def _matrices(split: SplitModel, inputs: Sequence[tf.Tensor], cells: Sequence[int]) -> tuple[Any, Any, bool]:
    """Return the matrices that bring rows and columns of a map to the pixels, and whether these axes are turned."""
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in inputs]
    shapes = [shape[1:] for shape in (*(spec.shape for spec in specs), [None, *cells])]
    if any(side is None for shape in shapes for side in shape):
        raise ValueError(
            f"Expected images of one known size, received {tuple(inputs[split.inputs.image_index].shape)}. Resize them "
            "in the dataset: images = tf.image.resize(images, (height, width))."
        )
    with tf.init_scope():  # where the cells lie is known before the first step
        placement = split.placement(cells, specs)
    if not isinstance(placement, Placement) or sorted(placement.axes) != [0, 1]:
        reason = getattr(placement, "reason", "its cells are not rows and columns of the picture")
        raise ValueError(
            f"Expected a layer whose cells lie at known places, received '{split.layer_name}': {reason}. Pass another "
            "layer=; list_layers(model) shows them."
        )
    rows, columns = (tf.constant(matrix, tf.float32) for matrix in placement_matrices(cells, placement))
    return rows, columns, placement.axes == (1, 0)


class _GuidedMean(keras.metrics.Mean):
    """A mean over the guided images; NaN where there were none."""

    def result(self) -> Any:
        return self.total / keras.ops.cast(self.count, self.dtype)


def _with_plain_errors(method: Any) -> Any:
    """Raise faults that Keras reports at length, or for another reason, as a ValueError of one sentence."""

    @functools.wraps(method)
    def run(self: GuidedModel, *args: Any, **kwargs: Any) -> Any:
        if self._needs_masks and kwargs.get("class_weight") is not None:
            raise ValueError(
                "Expected no class_weight, which Keras does not take beside masks. Pass the weight of each image as "
                "the fourth element of a batch: (images, labels, masks, sample_weight)."
            )
        try:
            return method(self, *args, **kwargs)
        except tf.errors.InvalidArgumentError as error:  # of mask values, found while the step runs
            for message in (_BAD_VALUES, _EMPTY):
                if message in str(error):
                    raise ValueError(message) from None
            raise

    return run


class GuidedModel(keras.Model):
    """A model whose training minimises task loss + sum of weight * guidance loss.

    It trains `model` itself, which stays a plain model: `save` writes it, and `keras.models.load_model` needs nothing
    of this package. The guidance reads the maps of inference, in float32 also under mixed precision; it costs further
    passes, see the manual. A batch is (images, labels, masks) or (images, labels, masks, sample_weight);
    attention_mining alone needs no masks.

    - masks: (B, H0, W0) or (B, H0, W0, 1) of the images' size, 1 where evidence may lie. NaN everywhere: this image
      is not guided.
    - sample_weight weighs the task's loss alone. A guidance loss is the mean over the guided images of a batch.
    - The history has `loss` (all together), each guidance loss without its weight under its name, NaN where no image
      was guided, `guided`, the share of guided images, and `blank_maps`, the share of these whose map has no heat.
      Validation data may have masks or not.

    Args:
        model: any built Keras 3 model with one output of classes or labels.
        losses: {name: weight}, names of this module's losses: "energy_outside", "hirescam_mask", "right_reasons",
            "attention_mining". A loss of weight 0 is measured but not trained.
        layer: as of `Explainer`, for the maps; None for the default.
        method: "gradcam" or "hirescam", the map of energy_outside.

    Raises:
        TypeError, ValueError: as `DifferentiableMaps`; no losses, an unknown name, a negative weight.
    """

    def __init__(
        self,
        model: keras.Model,
        losses: Mapping[LossName, float],
        layer: LayerLike | None = None,
        method: Literal["gradcam", "hirescam"] = "gradcam",
    ):
        guide = _checked(losses)
        maps = DifferentiableMaps(model, layer, method)
        spec = maps.split.inputs.specs[maps.split.inputs.image_index]
        if not spec.dtype.is_floating and {"right_reasons", "attention_mining"} & set(guide):
            raise ValueError(
                f"Expected a model of float images for right_reasons and attention_mining, received an input of "
                f"{spec.dtype.name}. Use energy_outside or hirescam_mask, or build the model with "
                "keras.Input(shape, dtype='float32')."
            )
        # Inputs reach the model as they are: it casts them itself.
        super().__init__(dtype=model.dtype_policy, autocast=False)
        self.model = model
        self.guide = guide
        self.layer_name = maps.split.layer_name
        self._maps, self._method = maps, method
        self._needs_masks = set(self.guide) != {"attention_mining"}
        self._means = {name: _GuidedMean(name=name) for name in [*self.guide, "blank_maps", "guided"]}
        self._masks: Any = None  # of the step being traced
        self._measured = tf.function(self._measure, autograph=False)
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.model(inputs, training=training)

    def compile(self, *args: Any, jit_compile: bool | str = False, **kwargs: Any) -> None:
        """Configure the training as `keras.Model.compile` does, without XLA, also for `jit_compile="auto"`.

        Raises:
            ValueError: `jit_compile=True`, or a loss of values.
        """
        if jit_compile is True:
            raise ValueError(
                "Expected jit_compile=False, received True: XLA leaves out the checks of the masks' values. Leave "
                "jit_compile out."
            )
        super().compile(*args, jit_compile=False, **kwargs)
        loss = loss_of_output(losses_of(self), {}, None)
        kind = loss.kind if loss else ""
        if kind == "values":
            raise ValueError(
                f"Expected a loss of classes or labels, such as sparse_categorical_crossentropy, received {loss}: "
                "values do not have a class to explain."
            )
        self._is_of_labels, self._maps.task = kind in ("labels", "sides"), None
        self._measured = tf.function(self._measure, autograph=False)

    fit = _with_plain_errors(keras.Model.fit)
    evaluate = _with_plain_errors(keras.Model.evaluate)

    def train_step(self, data: Any) -> Any:
        with self._unpacked(data, True) as plain:
            return super().train_step(plain)

    def test_step(self, data: Any) -> Any:
        with self._unpacked(data, False) as plain:
            return super().test_step(plain)

    @contextlib.contextmanager
    def _unpacked(self, data: Any, is_training: bool) -> Iterator[Any]:
        """Yield a batch as Keras takes it, while its masks are kept for `compute_loss`."""
        inputs, *rest = data if isinstance(data, (tuple, list)) else [data]
        has_masks = len(rest) > 1 and len(getattr(rest[1], "shape", ())) > 2
        if has_masks:
            self._masks = rest.pop(1)
        elif not self._needs_masks:
            self._masks = _EVERYWHERE
        elif is_training:
            received = ["images", *(tuple(getattr(part, "shape", ())) for part in rest)]
            raise ValueError(_NO_MASKS.format(f"({', '.join(map(str, received))})"))
        try:
            yield (inputs, *rest)
        finally:
            self._masks = None

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        total = super().compute_loss(x, y, y_pred, sample_weight, training)
        if self._masks is None:
            return total
        if self._is_of_labels:  # also where the outputs are logits
            self._maps.task = "classification" if y_pred.shape[-1] == 1 else "multilabel"
        labels = tf.convert_to_tensor(keras.tree.flatten(y)[0])
        inputs = self._maps.flat(x)
        image = inputs[self._maps.split.inputs.image_index]
        is_everywhere = self._masks is _EVERYWHERE
        masks = tf.ones_like(image[..., 0], tf.float32) if is_everywhere else _checked_masks(self._masks, image)
        means, guided = _traced_call(self._measured, [*inputs, labels, masks])
        count = tf.reduce_sum(guided)
        self._means["guided"].update_state(guided)
        for name, mean in means.items():
            self._means[name].update_state(mean, sample_weight=count)
            if weight := self.guide.get(name):
                total += tf.cast(weight * mean, total.dtype)
        return total

    def _measure(self, *tensors: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Return the mean of each loss over the guided images, the share of blank maps, and which are guided (B,)."""
        *inputs, labels, masks = tensors
        is_guided = tf.reduce_any(tf.math.is_finite(masks), axis=[1, 2])
        evidence = _Evidence(self._maps.split, self._maps.task, inputs, labels, "right_reasons" in self.guide)
        guided = tf.cast(is_guided, tf.float32)
        with tf.control_dependencies(_mask_checks(masks, is_guided)):
            masks = tf.where(is_guided[:, None, None], masks, 1.0)
        values = {name: evidence.loss(name, masks, self._method) for name in self.guide}
        heat = tf.reduce_max(evidence.raw(self._method), axis=[1, 2])
        values["blank_maps"] = tf.cast(heat <= 0, tf.float32)
        count = tf.maximum(tf.reduce_sum(guided), 1.0)
        return {name: tf.reduce_sum(tf.where(is_guided, each, 0.0)) / count for name, each in values.items()}, guided

    def save(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """Write the plain model."""
        self.model.save(filepath, overwrite=overwrite, **kwargs)

    def save_weights(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """Write the weights of the plain model."""
        self.model.save_weights(filepath, overwrite=overwrite, **kwargs)

    def load_weights(self, filepath: Any, **kwargs: Any) -> None:
        """Read weights into the plain model."""
        self.model.load_weights(filepath, **kwargs)


def _checked(losses: Any) -> dict[str, float]:
    if not isinstance(losses, Mapping) or not losses:
        raise ValueError(
            f"Expected losses as {{name: weight}} with at least one of {list(get_args(LossName))}, received {losses!r}."
        )
    for name, weight in losses.items():
        if name not in get_args(LossName):
            raise ValueError(unknown_name("guidance loss", str(name), get_args(LossName)))
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
            raise ValueError(f"Expected the weight of {name} as a number of 0 or more, received {weight!r}.")
    return {name: float(weight) for name, weight in losses.items()}


def _checked_masks(masks: Any, image: tf.Tensor) -> tf.Tensor:
    """Return masks as (B, H0, W0) float32, with the images' size."""
    masks = tf.cast(masks, tf.float32)
    if masks.shape.rank == 4 and masks.shape[-1] == 1:
        masks = masks[..., 0]
    size = tuple(image.shape[1:3])
    if masks.shape.rank != 3 or not masks.shape[1:].is_compatible_with(size):
        raise ValueError(
            f"Expected masks (B, {size[0]}, {size[1]}), the size of the images, received {tuple(masks.shape)}. Resize "
            f'them in the dataset: tf.image.resize(masks[..., None], {size}, "area"). A weight of each image is the '
            "fourth element, behind the masks."
        )
    return masks


def _mask_checks(masks: tf.Tensor, is_guided: tf.Tensor) -> list[tf.Operation]:
    good = tf.reduce_all((masks >= 0) & (masks <= 1), axis=[1, 2]) | tf.reduce_all(tf.math.is_nan(masks), axis=[1, 2])
    has_place = tf.reduce_any(masks > 0, axis=[1, 2]) | ~is_guided
    return [
        tf.debugging.Assert(tf.reduce_all(good), [_BAD_VALUES]),
        tf.debugging.Assert(tf.reduce_all(has_place), [_EMPTY]),
    ]
