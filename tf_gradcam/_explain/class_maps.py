"""Maps of many classes from one forward pass.

Axis legend: B images, K classes asked for, H x W cells of the layer (any number of spatial axes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from tf_gradcam._errors import Message
from tf_gradcam._explain.passes import (
    NOT_FINITE,
    Peaks,
    SplitPass,
    all_finite,
    in_batches,
    normalise,
    peaks,
    rounding_of,
    to_arrays,
)
from tf_gradcam._files.class_names import TOP_CLASS, ClassNames, check_classes, class_indices
from tf_gradcam._models.reader import Images
from tf_gradcam._models.split import SplitModel, linear_tail, of_all_classes
from tf_gradcam._results.class_maps import ClassMaps
from tf_gradcam._results.diagnosis import may_be_blank
from tf_gradcam._results.explanation import MapArrays
from tf_gradcam._rules.contract import Rule
from tf_gradcam._rules.gradients import cam, gradcam, hirescam, layercam, shapleycam, xgradcam
from tf_gradcam._rules.table import needs_of
from tf_gradcam.image.resize import Placement, Unplaced

# Weights of a rule behind global pooling and one linear layer, where the gradient is kernel / number of cells in every
# cell. XGrad-CAM weights equal gradients; Shapley-CAM's curvature is zero on a linear tail.
_CLOSED_FORMS: dict[Rule, Callable[[Any, Any], Any]] = {
    gradcam: lambda kernel, cells: kernel / cells,
    hirescam: lambda kernel, cells: kernel / cells,
    xgradcam: lambda kernel, cells: kernel / cells,
    shapleycam: lambda kernel, cells: kernel / cells,
    layercam: lambda kernel, cells: tf.nn.relu(kernel) / cells,
    cam: lambda kernel, cells: kernel,
}

# One threshold for the probabilities of all classes, or {class: threshold}.
Thresholds: TypeAlias = float | Mapping[int | str, float]

ONE_PASS = ("activations", "gradients", "curvature")  # needs of the rules that run the model once

_FINITE = tf.TensorSpec((None,), tf.bool)


class _Maps(NamedTuple):
    """Maps (B, K, H, W) of the requested classes, and their peaks, each (B or 1, K or 1); tensors."""

    raw: Any
    heatmaps: Any
    peaks: Peaks


class ClassPass(SplitPass):
    """Pass that runs the extractor once, then maps any classes.

    Behind global average pooling and one linear layer they are one matrix product, in float32 also where the model
    computes in halves. Behind any other tail, and for the rules without a closed form, each class costs a forward and
    backward pass of the tail alone, one after the other: memory as for one map.

    Args:
        split, options: as `SplitPass`.
        rule: a rule that needs a single forward pass.
        closed_form: whether the matrix product may be used; the loop gives the same maps.

    Raises:
        ValueError: a rule that runs the model again or reads other layers, outputs that are not classes.
    """

    def __init__(self, split: SplitModel, rule: Rule, *options: Any, closed_form: bool = True):
        super().__init__(split, None, rule, *options)
        check_rule(rule)
        self._form = next((form for known, form in _CLOSED_FORMS.items() if known is rule), None)
        self._linear = linear_tail(split) if closed_form and self._form else None
        self.is_closed_form = self._linear is not None
        self.has_probabilities = False
        self._extract = self.compile(self._cut, split.inputs.specs)
        cut = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in self._extract.structured_outputs[0]]
        self._finish = self.compile(self._outputs, cut)
        if self.is_closed_form:
            self._maps = self.compile(self._product, [cut[0], tf.TensorSpec((None, None), tf.int32), _FINITE])
            # Classes that are the same for all images need no score before their maps: all is one graph.
            self._whole = self.compile(self._at_once, [*split.inputs.specs, tf.TensorSpec((None,), tf.int32)])
            self._every: Any = None  # the same for all classes, compiled when they are first asked for
        else:
            self._maps = self.compile(self._one_class, [*cut, tf.TensorSpec((None,), tf.int32)])

    def of_classes(
        self, arrays: Sequence[Any], classes: np.ndarray | None, top: int | None, above: np.ndarray | None = None
    ) -> MapArrays:
        """Return maps and scores of the classes (K,) of every image, of the `top` best of each, or of all.

        With the thresholds `above` (K,), those of each image whose probability is above its threshold, best first; an
        image of fewer of them is filled up with its next ones, as many as the others have, at least one.
        """
        every = np.arange(self.class_count or 0)
        wanted = (every if classes is None else np.asarray(classes, np.int32))[None]
        if self.is_closed_form and top is None and above is None:
            if np.array_equal(wanted[0], every):
                outputs, maps, finite_images = self._all_classes(arrays)
            else:
                outputs, maps, finite_images = self._whole(*arrays, tf.constant(wanted[0], tf.int32))
            return self._arrays(outputs, maps, finite_images, wanted)
        cut, finite_images = self._extract(*arrays)
        outputs = self._finish(*cut)
        if top:
            wanted = np.argsort(-self._scores(outputs[0].numpy()), axis=1, kind="stable")[:, :top]  # best first
        elif above is not None:
            wanted = _above(outputs[1].numpy(), above, self.inputs.batch_size is not None)
        if self.is_closed_form:
            maps = self._maps(cut[0], tf.constant(wanted, tf.int32), finite_images)
        else:
            maps = self._looped(cut, finite_images, wanted.astype(np.int32))
        return self._arrays(outputs, maps, finite_images, wanted)

    def _all_classes(self, arrays: Sequence[Any]) -> tuple[tuple[Any, Any], _Maps, Any]:
        if self._every is None:
            self._every = self.compile(lambda *images: self._at_once(*images, None), self.split.inputs.specs)
        return self._every(*arrays)

    def _scores(self, outputs: np.ndarray) -> np.ndarray:
        return np.asarray(of_all_classes(outputs, self.class_count))

    def _arrays(self, outputs: tuple[Any, Any], maps: _Maps, finite_images: Any, wanted: np.ndarray) -> MapArrays:
        """Return the results for the classes `wanted`, (B or 1, K)."""
        (values, probabilities), (raw, heatmaps, of_maps), finite = to_arrays((outputs, maps, finite_images))
        scores = self._scores(values)
        chosen = np.broadcast_to(wanted, (len(scores), wanted.shape[1])).astype(np.int32)
        own = np.take_along_axis(scores, chosen, axis=1)
        spread = {name: np.broadcast_to(peaks, chosen.shape) for name, peaks in of_maps._asdict().items()}
        return MapArrays(raw, heatmaps, values, probabilities, own, chosen, finite_images=finite, **spread)

    def _cut(self, *inputs: Any) -> tuple[list[Any], Any]:
        """Return [activations, *frontier], and whether each image is finite, (B,) bool."""
        return self.split.extract(inputs), all_finite(inputs[self.split.inputs.image_index])

    def _outputs(self, *cut: Any) -> tuple[Any, Any]:
        """Return the outputs (B, K), and the probabilities, None where the outputs are values."""
        scored = self.explained(self.split.finish(list(cut)), tf.zeros(tf.shape(cut[0])[:1], tf.int32))
        self.has_probabilities = scored.probabilities is not None
        return scored.outputs, scored.probabilities

    def _at_once(self, *tensors: Any) -> tuple[tuple[Any, Any], _Maps, Any]:
        """Return outputs and maps of images and the classes (K,), None for all classes."""
        cut, finite_images = self._cut(*tensors[:-1])
        wanted = None if tensors[-1] is None else tensors[-1][None]
        return self._outputs(*cut), self._product(cut[0], wanted, finite_images), finite_images

    def _product(self, activations: Any, wanted: Any, finite_images: Any) -> _Maps:
        """Return maps (B, K, H, W) of the classes (B, K), (1, K) for all images, or None for all classes."""
        assert self._linear is not None
        assert self._form is not None
        computed_in, activations = activations.dtype, tf.cast(activations, tf.float32)
        shape = tf.shape(activations)
        flat = tf.reshape(activations, [shape[0], -1, shape[-1]])
        kernel = of_all_classes(self._linear.kernel(), self.class_count)
        cell_count = tf.cast(tf.shape(flat)[1], tf.float32)
        weights = self._form(kernel, cell_count)
        gradient_peaks = tf.reduce_max(tf.abs(kernel), axis=0) / cell_count
        if wanted is None:  # gathering a thousand columns takes as long as multiplying them
            gradient_peaks = gradient_peaks[None]
        else:
            # Columns, (C, B or 1, K), to (B or 1, C, K): a kernel of a thousand classes is not turned around for that.
            weights = tf.transpose(tf.gather(weights, wanted, axis=1), [1, 0, 2])
            gradient_peaks = tf.gather(gradient_peaks, wanted)
        raw = tf.transpose(tf.linalg.matmul(flat, weights), [0, 2, 1])
        maps = tf.reshape(raw, tf.concat([[-1], shape[1:-1]], axis=0))
        heatmaps = normalise(maps, tf.repeat(finite_images, tf.shape(raw)[1]))
        size = tf.concat([tf.shape(raw)[:2], shape[1:-1]], axis=0)
        largest = peaks(flat)[:, None]
        roundings = rounding_of(computed_in) * tf.reduce_max(tf.abs(weights), axis=-2) * largest
        of_maps = Peaks(gradient_peaks, largest, roundings)
        return _Maps(tf.reshape(raw, size), tf.reshape(heatmaps, size), of_maps)

    def _looped(self, cut: list[Any], finite_images: Any, wanted: np.ndarray) -> _Maps:
        columns = np.broadcast_to(wanted, (len(finite_images), wanted.shape[1])).T
        once = self.needs == "activations"  # such a map is the same for every class
        made = [self._maps(*cut, column) for column in columns[: 1 if once else None]]
        repeats = len(columns) if once else 1
        raw, of_maps = tf.nest.map_structure(lambda *each: tf.repeat(tf.stack(each, axis=1), repeats, axis=1), *made)
        one_map_each = tf.reshape(raw, [-1, *raw.shape[2:]])
        heatmaps = normalise(one_map_each, tf.repeat(finite_images, raw.shape[1]))
        return _Maps(raw, tf.reshape(heatmaps, raw.shape), of_maps)

    def _one_class(self, *tensors: Any) -> tuple[Any, Peaks]:
        """Return the map (B, H, W) of one class of each image, and its peaks."""
        _, raw, of_map = self.mapped(list(tensors[:-1]), tensors[-1])
        return raw, of_map


def check_rule(rule: Rule) -> None:
    if needs_of(rule) not in ONE_PASS:
        name = getattr(rule, "__name__", type(rule).__name__)
        fact = f"Expected a method of one forward pass, received '{name}', which runs the network again for each class:"
        python = "call explainer(images, target) for the classes you want."
        raise ValueError(Message(fact, python, "name one class by --target."))


def _above(probabilities: np.ndarray, thresholds: np.ndarray, is_part: bool) -> np.ndarray:
    """Return the classes (B, K) above their thresholds, best first, filled up with the others.

    Args:
        is_part: whether other parts of the batch follow, which must have as many: then it is all classes.
    """
    are_above = probabilities > thresholds
    order = np.lexsort((-probabilities, ~are_above), axis=1)
    return order[:, : None if is_part else max(1, int(are_above.sum(axis=1).max()))]


def class_maps(
    compiled: ClassPass,
    images: Images,
    classes: Sequence[int | str] | None = None,
    top: int | None = None,
    above: Thresholds | None = None,
    *,
    names: ClassNames,
    method: str,
    output_name: str | None = None,
    earlier_layer: Callable[[], str | None] = lambda: None,
    place: Callable[[Sequence[int], Sequence[Any]], Placement | Unplaced] | None = None,
    **options: Any,
) -> ClassMaps:
    """Explain many classes of a batch by a compiled pass; arguments and errors as `Explainer.class_maps`.

    `place(cells, arrays)` returns the places of the cells in the model's inputs; None for those of the split model.
    `options` are those of `Explanation`.
    """
    if sum(each is not None for each in (classes, top, above)) > 1:
        raise ValueError("Expected one of classes, top and above, received several.")
    arrays = compiled.split.inputs.flatten(images)
    count = compiled.class_count
    assert count is not None  # or the pass would have refused the outputs
    names.check_count(count)
    indices = None if classes is None else _checked(classes, count, names)
    is_number = isinstance(top, (int, np.integer)) and not isinstance(top, bool)
    if top is not None and not (is_number and top >= 1):
        raise ValueError(f"Expected top as a number of classes of at least 1, received {top!r}.")
    first = None if top is None else min(int(top), count)
    thresholds = None if above is None else threshold_of_each(above, count, names)
    if thresholds is not None and not compiled.has_probabilities:
        raise ValueError("Expected classes with probabilities for above=, but the outputs are values. Pass classes=.")

    def run(rows: list[Any]) -> MapArrays:
        size = compiled.inputs.batch_size
        batched: MapArrays = in_batches(
            size, rows, lambda batch: compiled.of_classes(batch, indices, first, thresholds)
        )
        return batched

    results = compiled.around_bad_images(arrays, run)
    if not results.finite_images.any():
        raise ValueError(NOT_FINITE)
    return ClassMaps(
        results,
        labels=[names.labels(row if count > 1 else [TOP_CLASS]) for row in results.class_indices],
        method=method,
        layer_name=compiled.split.layer_name,
        placement=(place or compiled.split.placement)(results.heatmaps.shape[2:], arrays),
        input_names=compiled.split.inputs.names,
        series=compiled.split.inputs.series(arrays),
        has_open_head=compiled.has_open_head,
        class_names=names.by_index,
        needs=compiled.needs,
        output_name=output_name,
        earlier_layer=earlier_layer() if may_be_blank(results.raw, results.scores.size) else None,
        thresholds=thresholds,
        **options,
    )


def threshold_of_each(above: Thresholds, class_count: int, names: ClassNames) -> np.ndarray:
    """Return the threshold (K,) of each class: one number for all, or {class: number}, 0.5 for the others.

    Raises:
        TypeError, ValueError: not a number from 0 to 1; an unknown class.
    """
    by_class = above if isinstance(above, Mapping) else dict.fromkeys(range(class_count), above)
    thresholds = np.full(class_count, 0.5)
    for name, number in by_class.items():
        if isinstance(number, bool) or not isinstance(number, (int, float, np.integer, np.floating)):
            raise TypeError(f"Expected a threshold as a number, received {number!r}.")
        if not 0 <= number <= 1:
            raise ValueError(f"Expected a threshold from 0 to 1, received {number!r}.")
        indices = class_indices(name, 1, names)
        check_classes(indices, class_count, names)
        thresholds[indices[0]] = number
    return thresholds


def _checked(classes: Sequence[int | str], class_count: int, names: ClassNames) -> np.ndarray:
    """Return the class indices (K,) of a list of indices and names."""
    if isinstance(classes, (str, bytes)) or not hasattr(classes, "__len__") or np.ndim(classes) != 1:
        raise TypeError(f"Expected classes as a list of indices or names, or None for all, received {classes!r}.")
    items = list(classes)
    if not items or any(item is None for item in items):
        raise ValueError(f"Expected at least one class, each an index or a name, received {classes!r}.")
    indices = class_indices(items, len(items), names)
    check_classes(indices, class_count, names)
    return indices
