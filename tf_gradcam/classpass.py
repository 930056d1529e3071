"""The maps of many classes, compiled: one matrix product where the tail allows it, else a loop over the tail.

Axis legend: B images, K classes asked for, H x W cells of the layer (any number of spatial axes), C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_gradcam.lineartail import linear_tail
from tf_gradcam.maps import all_finite, normalise
from tf_gradcam.passes import SplitPass
from tf_gradcam.rule import Rule, needs_of
from tf_gradcam.rules import cam, gradcam, hirescam, layercam, shapleycam, xgradcam
from tf_gradcam.split import SplitModel

# What a rule makes of the gradient behind global pooling and one linear layer, kernel / number of cells in every cell:
# the weights, equal in every cell. XGrad-CAM weights equal gradients; Shapley-CAM's curvature is zero on a linear tail.
_CLOSED_FORMS: dict[Rule, Callable[[Any, Any], Any]] = {
    gradcam: lambda kernel, cells: kernel / cells,
    hirescam: lambda kernel, cells: kernel / cells,
    xgradcam: lambda kernel, cells: kernel / cells,
    shapleycam: lambda kernel, cells: kernel / cells,
    layercam: lambda kernel, cells: tf.nn.relu(kernel) / cells,
    cam: lambda kernel, cells: kernel,
}


class ClassPass(SplitPass):
    """One run of the extractor, then the maps of any classes.

    Behind global average pooling and one linear layer they are one matrix product, in float32 also where the model
    computes in halves. Behind any other tail, and for the rules without a closed form, each class costs a forward and
    backward pass of the tail alone, one after the other: memory as for one map.

    Args:
        split: the model, cut at a layer.
        rule: one that needs a single forward pass.
        closed_form: whether the matrix product may be used; the loop gives the same maps. Defaults to True.
        freeze: as `Pass`.

    Raises:
        ValueError: a rule that runs the model again or looks at other layers, outputs that are no classes.

    Attributes:
        is_closed_form: whether it is the matrix product.
    """

    def __init__(self, split: SplitModel, rule: Rule, closed_form: bool = True, freeze: bool = False):
        super().__init__(split, None, rule, freeze)
        _check_rule(rule)
        self._form = next((form for known, form in _CLOSED_FORMS.items() if known is rule), None)
        self._linear = linear_tail(split) if closed_form and self._form else None
        self.is_closed_form = self._linear is not None
        self._extract = self.compile(self._cut, split.inputs.specs)
        cut = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in self._extract.structured_outputs["cut"]]
        self._finish = self.compile(self._outputs, cut)
        indices = tf.TensorSpec((None, None) if self.is_closed_form else (None,), tf.int32)
        function, inputs = (self._product, cut[:1]) if self.is_closed_form else (self._one_class, cut)
        self._maps = self.compile(function, [*inputs, indices])

    def of_classes(self, arrays: Sequence[Any], classes: np.ndarray | None, top: int | None) -> dict[str, np.ndarray]:
        """Maps and scores of the classes (K,) of every image, of the `top` best of each, or of all."""
        entered = self._extract(*arrays)
        results = {name: value.numpy() for name, value in self._finish(*entered["cut"]).items()}
        outputs = results["outputs"]
        is_one_unit = self.class_count == 2 and outputs.shape[1] == 1
        scores = np.concatenate([-outputs, outputs], axis=1) if is_one_unit else outputs
        if top is None:
            wanted = (np.arange(scores.shape[1]) if classes is None else classes)[None]
        else:
            wanted = np.argsort(-scores, axis=1, kind="stable")[:, :top]
        chosen = np.broadcast_to(wanted, (len(scores), wanted.shape[1])).astype(np.int32)
        make = self._multiplied if self.is_closed_form else self._looped
        raw, gradient_peaks = make(entered["cut"], chosen if top else wanted.astype(np.int32), len(scores))
        one_map_each = tf.reshape(raw, [-1, *raw.shape[2:]])
        readable = np.repeat(entered["finite_images"].numpy(), raw.shape[1])
        return results | {
            "raw": raw,
            "heatmaps": normalise(one_map_each, readable).numpy().reshape(raw.shape),
            "gradient_peaks": gradient_peaks,
            "scores": np.take_along_axis(scores, chosen, axis=1),
            "class_indices": chosen,
            "finite_images": entered["finite_images"].numpy(),
        }

    def _cut(self, *inputs: Any) -> dict[str, Any]:
        return {
            "cut": self.split.extract(inputs),
            "finite_images": all_finite(inputs[self.split.inputs.image_index]),
        }

    def _outputs(self, *cut: Any) -> dict[str, Any]:
        seen = self.explained(self.split.finish(list(cut)), tf.zeros(tf.shape(cut[0])[:1], tf.int32))
        return {name: seen[name] for name in ("outputs", "probabilities") if seen[name] is not None}

    def _multiplied(self, cut: list[Any], wanted: np.ndarray, image_count: int) -> tuple[np.ndarray, np.ndarray]:
        raw, gradient_peaks = (tensor.numpy() for tensor in self._maps(cut[0], wanted))
        return raw, np.broadcast_to(gradient_peaks, (image_count, wanted.shape[1]))

    def _product(self, activations: Any, wanted: Any) -> tuple[Any, Any]:
        """Maps (B, K, H, W) of the classes (B, K), or (1, K) for all images, and the gradients' peaks."""
        assert self._linear is not None
        assert self._form is not None
        activations = tf.cast(activations, tf.float32)
        shape = tf.shape(activations)
        flat = tf.reshape(activations, [shape[0], -1, shape[-1]])
        kernel = tf.transpose(self._linear.kernel())
        if kernel.shape[0] == 1 and self.class_count == 2:
            kernel = tf.concat([-kernel, kernel], axis=0)
        cell_count = tf.cast(tf.shape(flat)[1], tf.float32)
        weights = tf.gather(self._form(kernel, cell_count), wanted)
        raw = tf.linalg.matmul(weights, flat, transpose_b=True)
        peaks_of_classes = tf.reduce_max(tf.abs(kernel), axis=1) / cell_count
        return tf.reshape(raw, tf.concat([tf.shape(raw)[:2], shape[1:-1]], axis=0)), tf.gather(peaks_of_classes, wanted)

    def _looped(self, cut: list[Any], wanted: np.ndarray, image_count: int) -> tuple[np.ndarray, np.ndarray]:
        columns = np.broadcast_to(wanted, (image_count, wanted.shape[1])).T
        once = self.needs == "activations"  # such a map is the same for every class
        made = [[tensor.numpy() for tensor in self._maps(*cut, column)] for column in columns[: 1 if once else None]]
        raw, gradient_peaks = (np.stack(arrays, axis=1) for arrays in zip(*made, strict=True))
        repeats = len(columns) if once else 1
        return raw.repeat(repeats, axis=1), gradient_peaks.repeat(repeats, axis=1)

    def _one_class(self, *tensors: Any) -> tuple[Any, Any]:
        """Map (B, H, W) of one class of each image, and the gradients' peak."""
        results = self.mapped(list(tensors[:-1]), tensors[-1])
        return results["raw"], results["gradient_peaks"]


def _check_rule(rule: Rule) -> None:
    if needs_of(rule) not in ("activations", "gradients", "curvature"):
        name = getattr(rule, "__name__", type(rule).__name__)
        raise ValueError(
            f"Expected a method of one forward pass, received '{name}', which runs the network again for each class: "
            "call explainer(images, target) for the classes you want."
        )
