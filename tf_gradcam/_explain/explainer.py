"""The Explainer: extractor, tape over the tail, rule, combination, relu, normalisation.

Axis legend: B batch, H x W cells of the layer, C channels, K classes, H0 x W0 pixels.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_gradcam._errors import Message, warn
from tf_gradcam._explain.class_maps import ClassPass, Thresholds, class_maps
from tf_gradcam._explain.detections import DetectionPass, check_box, explain_detections, reader_of_outputs
from tf_gradcam._explain.fullgrad import FullGradPass
from tf_gradcam._explain.fusion import Progress, fuse
from tf_gradcam._explain.passes import NOT_FINITE, GradientPass, Pass
from tf_gradcam._explain.probing import ProbingPass
from tf_gradcam._explain.verdict import judge
from tf_gradcam._files.class_names import ClassNames, ClassNamesLike, check_classes, class_indices
from tf_gradcam._models.alignment import measure_places
from tf_gradcam._models.detectors import DecodeLike, own_detector, pyramid_layers
from tf_gradcam._models.layers import LayerLike, layer_rows
from tf_gradcam._models.preprocessing import Preprocessing
from tf_gradcam._models.reader import (
    Images,
    ModelInputs,
    ModelReader,
    built_again,
    check_eager,
    parts_of,
    reader_of,
    shown,
)
from tf_gradcam._models.segmentation import segmentation_layers
from tf_gradcam._models.split import PlacedSplit, SplitModel, linear_tail, split_model
from tf_gradcam._models.task import task_of
from tf_gradcam._models.transformers import on_grid
from tf_gradcam._results.class_maps import ClassMaps
from tf_gradcam._results.detections import Detections
from tf_gradcam._results.diagnosis import may_be_blank
from tf_gradcam._results.explanation import Explanation, MapArrays
from tf_gradcam._results.segmentation import Segmentation
from tf_gradcam._results.verdict import Verdict
from tf_gradcam._rules.contract import Rule
from tf_gradcam._rules.table import METHODS, MethodName, find_method, needs_of, required_tail
from tf_gradcam.image.resize import Placement, Unplaced, plain_placement
from tf_gradcam.targets.base import TargetLike, labels_of, sides_of, with_indices
from tf_gradcam.targets.boxes import bound, boxes_in
from tf_gradcam.targets.outputs import Distance, Value
from tf_gradcam.targets.regions import Region, as_region, check_mask, place_spec, region_in
from tf_gradcam.targets.regions import bound as bound_region

Align: TypeAlias = Literal[False, "measured"]

_KEPT_TARGETS = 8  # compiled passes of callable targets, the oldest dropped first


class Explainer:
    """Explainer of one model at one layer, compiled once: images to heatmaps.

    Args:
        model: any built Keras 3 model; its weights, flags, graph and outputs do not change.
        layer: name, "outer/inner" path, index into `model.layers`, or layer object; None for the last spatial layer
            that every path to the output passes, or of a segmentation the last of its coarsest layers (the bottleneck),
            where a warning names the one for detail; a list of these fuses their maps by mean (other ways: `fuse`).
        method: a key of `METHODS`, or a callable (activations, gradients) -> weights of the same contract.
        classifier_layers: names of the layers behind `layer`, in call order; None cuts the tail out of the graph.
        class_names: names in class order, or {index: name}; targets may then be names, and results carry them.
        align: False for the cells' places by arithmetic, or "measured" to shift the map to their measured receptive
            fields, and to stretch it where arithmetic does not know the layers.
        token_grid: (rows, columns) of the patches where `layer` is (B, T, C) of a transformer; None to find them from
            T and the size of the images, after at most 8 prefix tokens.
        freeze: make the weights constants of the compiled graph, so that TensorFlow folds them (a batch normalisation
            into its convolution): faster, but a copy of the weights is kept (`frozen_bytes`), and the next call after
            a change of weights raises an error. Defaults to False: weights are read at every call.
        output: name or position of the explained one of several outputs; None for the first, and targets such as
            `targets.OutputOf` then choose at each call. A dict does not have an order that means anything: a warning
            names the output.
        scaling: of the images that the model was trained on: "raw" (0..255), "unit" ([0, 1]), "tf" ([-1, 1]), "torch",
            "caffe", or "unknown" for any other. Images are compared with it, to warn of wrong ones, and never changed.
            None to find it in the model.
        task: "classification" (one class of an image), "multilabel" (any number of them), "regression" (values),
            "segmentation" or "detection"; None to read it from the loss that the model was trained with and from its
            output. `explainer.task.statement` says it, and why.
        unit: of the values of a regression, such as "years"; pictures show it behind the value.
        decode: of a detector, how its raw outputs are read. A function outputs -> (boxes, scores) of TensorFlow or
            keras.ops operations, a row for each raw anchor: boxes (B, N, 4) as (x1, y1, x2, y2) in pixels of the
            input, scores (B, N, K) in [0, 1]. Or how raw boxes are written: "xyxy", "yxyx", "xywh" or "center_xywh",
            after "rel_" where they are parts of the picture, with "+objectness" where a fifth column or a third output
            says whether there is any object, "+background" or "+background_last" where the first or last class is the
            background. None to find it: object detectors of keras_hub are known, other outputs are read by their
            shapes and first values, and a warning says how.

    A copy, or a pickle in another process, builds the explainer again from the saved model.

    Attributes:
        output_name: name of the explained one of several outputs, else None.
        task: the `Task` of the model.
        class_names: {index: name} of the classes, empty where none are known.

    Raises:
        RuntimeError: it is built inside a tf.function.
        TypeError: `model` is not a Keras 3 model, or an argument of the wrong kind.
        ValueError: unknown layer, method, scaling, task or `align`; a layer that cannot be explained; classifier layers
            that do not compute what the model computes; a task that the output cannot have.

    Example:
        >>> Explainer(model)(images).heatmaps                       # each image's top class
        >>> Explainer(model, "block5_conv3", class_names=names)(images, target="beagle").overlay(photos)
    """

    def __init__(
        self,
        model: keras.Model | ModelReader,
        layer: LayerLike | Sequence[LayerLike] | None = None,
        method: MethodName | Rule = "gradcam",
        *,
        classifier_layers: Sequence[LayerLike] | None = None,
        class_names: ClassNamesLike | None = None,
        align: Align = False,
        token_grid: Sequence[int] | None = None,
        freeze: bool = False,
        output: str | int | None = None,
        scaling: str | None = None,
        task: str | None = None,
        unit: str | None = None,
        decode: DecodeLike = None,
    ):
        check_eager()
        self.method, self._rule = find_method(method)
        if align not in (False, "measured"):
            raise ValueError(f"Expected align=False or align='measured', received {align!r}.")
        if not isinstance(freeze, (bool, np.bool_)):
            raise TypeError(f"Expected freeze=True or freeze=False, received {freeze!r}.")
        is_whole = needs_of(self._rule) == "network"
        if is_whole:
            _check_whole(self.method, layer, classifier_layers, align, token_grid)
        self._class_names = ClassNames(class_names)
        self.class_names = self._class_names.by_index
        self._reader = reader_of(model).with_output(output)
        self.output_name = self._reader.output_name
        self.task = task_of(self._reader, task, self._class_names)
        if self.task.name == "regression":
            self._class_names.noun, self._class_names.unit = "value", unit or ""
        elif unit is not None:
            fact = f"Expected a unit for values only, received unit={unit!r} for the task {self.task}."
            raise ValueError(Message(fact, "Leave it out, or pass task='regression'.", "Use --task regression."))
        self._unit = unit or ""
        self._own_detector = own_detector(self._reader.model) if self.task.name == "detection" else None
        self._decode = decode
        is_said = self.task.name == "detection" and self.task.is_given
        is_known = is_said or decode is not None or self._own_detector is not None
        self._may_move = layer is None and classifier_layers is None and not is_whole  # to the layers of a pyramid
        if self._may_move and is_known:
            layer, self._may_move = _pyramid(self._reader), False
        if self.task.name == "segmentation" and layer is None and classifier_layers is None and not is_whole:
            layer = _of_segmentation(self._reader)
        options = {"class_names": class_names, "align": align, "token_grid": token_grid, "freeze": freeze}
        options |= {"task": self.task.name if self.task.is_given else None, "unit": unit}
        members = _members(self._reader, layer, method, classifier_layers, options)
        self._members = members
        self._options = (bool(freeze), self.task.name)  # of each `Pass`
        self.split: SplitModel = members[0].split if members else _split(self._reader, layer, classifier_layers)
        is_of_tokens = len(self.split.activation_shape) == 3  # (B, T, C)
        if not members and not is_whole and (is_of_tokens or token_grid is not None):
            self.split = on_grid(self.split, token_grid)
        if scaling is not None:
            self._reader.preprocessing = Preprocessing(self._reader.preprocessing.architecture, scaling, "given")
        value_range = self._reader.preprocessing.value_range or (0.0, 1.0)
        self.layer_name: str = " + ".join(member.layer_name for member in self._members) or self.split.layer_name
        self._is_whole = is_whole
        if is_whole:
            self.layer_name = "all layers"
        if required_tail(self._rule) and linear_tail(self.split) is None:
            fact = (
                f"Method '{self.method}' needs a {required_tail(self._rule)}: global average pooling and "
                f"one Dense layer behind '{self.layer_name}', which this model does not have. It is a special case of "
                "Grad-CAM."
            )
            raise ValueError(Message(fact, "Use method='gradcam'.", "Use --method gradcam."))
        _check_frames(self._reader)
        if align and not self._members:
            self.split.offset, self.split.stretch = measure_places(self.split, value_range)
        self._lock = threading.RLock()
        # By target (None for class targets, `ClassPass` for maps of many classes) and the dtypes of the inputs.
        self._passes: OrderedDict[tuple[Any, tuple[Any, ...]], Pass] = OrderedDict()
        names = None if classifier_layers is None else [getattr(item, "name", item) for item in classifier_layers]
        self._arguments = {"method": method, "classifier_layers": names, "output": output, **options}
        known = self._reader.preprocessing  # said by the user or by the file, which a copy does not see
        self._arguments["scaling"] = None if known.source in ("own", "assumed", "unknown") else known.mode
        self._arguments["decode"] = decode
        path = layer if layer is None or isinstance(layer, str) else self.split.found.name
        self._arguments["layer"] = [member._arguments["layer"] for member in members] or path

    def __reduce__(self) -> tuple[Any, ...]:
        return built_again, (Explainer, self._reader.saved(), self._arguments, self._reader.losses)

    def __call__(self, images: Images, target: TargetLike = None, *, progress: Progress | None = None) -> Explanation:
        """Explain a batch.

        Args:
            images: (B, H0, W0, 3) as the model expects them; a list or dict for a model of several inputs.
            target: None for each image's top class, a class index or name, one of either per image, or a callable
                outputs -> (B,) on the scores before the softmax, such as in `tf_gradcam.targets`. Of values, None is
                the first one; of a segmentation, None is the region of each image's largest class, and a class is its
                predicted region.
            progress: called with (done, total) during the work; useful for methods that run the model many times.

        Returns:
            `Explanation` of the B images.

        Raises:
            RuntimeError: a call inside a tf.function.
            TypeError: images that are not numbers, a target of another kind.
            ValueError: wrong rank, size or channels; no finite image at all; an unknown class; weights that changed
                since they were frozen.
        """
        check_eager()
        if self.task.name == "segmentation":
            target = as_region(target, self._reader.first_key)
        is_callable = callable(target)
        if self._reader.is_output_guessed and not is_callable:
            fact = f"Of the outputs {list(self._reader.outputs)}, '{self.output_name}' is explained. Choose another by"
            warn(Message(fact, "output=.", "--output."))
        if is_callable and boxes_in(target):
            if self._may_move:
                return self._of_detector(images, target, progress=progress)
            target = self._with_boxes(images, target)
        if self._members:
            return fuse(self._members)(images, target, progress=progress)
        region, index = region_in(target), self._reader.inputs.image_index
        own = with_indices(target, self._class_names.index) if is_callable else None
        own = own if region is None else bound_region(own, self._reader.inputs.image_shape[1:-1], self._class_names)
        arrays, compiled = self._prepared(images, own)
        self._reader.warn_of_range(arrays[index])
        count = int(arrays[0].shape[0])
        indices = class_indices(None if is_callable else target, count, self._class_names)
        check_classes(indices, compiled.class_count, self._class_names)
        compiled.check_weights()
        sides = tuple(arrays[index].shape[1:-1])
        place = None if region is None else region.place_for(count, sides)
        results = compiled(arrays if place is None else [*arrays, place], indices, progress)
        if len(results.scores) != count:
            raise ValueError(
                f"Expected target to return one score per image, {count} in all, received {len(results.scores)}."
            )
        if not results.finite_images.any():
            raise ValueError(NOT_FINITE)
        names = self._class_names
        labels = labels_of(target, results.outputs, names) if is_callable else names.labels(results.class_indices)
        segmentation = None
        is_first = getattr(target, "output", None) == self._reader.first_key
        if region is not None and is_first and compiled.head_kind != "value":
            has_labels = compiled.head_kind == "sigmoid"
            segmentation = _segmentation(names, region_in(own), results.outputs, place, sides, has_labels)
            labels = region.labels_of(segmentation.explained, names)
        is_looked_at = may_be_blank(results.raw, count)
        return Explanation(
            results,
            labels=labels,
            layer_name=self.layer_name,
            method=self.method,
            placement=self._placement(results.heatmaps.shape[1:], arrays),
            input_names=self.split.inputs.names,
            series=self.split.inputs.series(arrays),
            has_open_head=compiled.has_open_head,
            class_names=self._class_names.by_index,
            signed=self._is_signed(target),
            sides=sides_of(target, results.outputs, names) if is_callable else None,
            is_behind_pooling=self._is_behind_pooling,
            unit=self._unit_of(target, results),
            values=self._values_of(target, results),
            needs=needs_of(self._rule),
            output_name=getattr(target, "output", None) if is_callable else self.output_name,
            earlier_layer=self._earlier_layer if is_looked_at else None,
            segmentation=segmentation,
            detail_layer=self._detail_layer if is_looked_at and segmentation is not None else None,
        )

    def _is_signed(self, target: Any) -> bool:
        """Return whether negative values of the map have a meaning: what lowers a value, or speaks against a target."""
        is_value = self.task.name == "regression" and (not callable(target) or isinstance(target, Region))
        return is_value or getattr(target, "signed", False)

    @cached_property
    def _is_behind_pooling(self) -> bool:
        """True if the layer's cells meet the outputs by their mean and one linear layer alone."""
        return not self._is_whole and linear_tail(self.split) is not None

    def _unit_of(self, target: Any, results: MapArrays | None = None) -> str | None:
        """Return the unit of the values that a target is about; None where it is not about one value of the model."""
        is_value = not callable(target) or self._values_of(target, results) is not None
        return self._unit if self.task.name == "regression" and is_value else None

    def _values_of(self, target: Any, results: MapArrays | None) -> np.ndarray | None:
        """Return the values (B,) that a callable is about; None where its scores are the values, or are of several."""
        is_of_one = callable(target) and self._reader.first_key is None
        if self.task.name != "regression" or not is_of_one or results is None:
            return None
        if isinstance(target, Region):  # a sum over several places is not a value
            return None if target.point is None else results.scores
        if isinstance(target, (Value, Distance)):
            return results.outputs[:, target.index]
        return results.outputs[:, 0] if results.outputs.shape[1:] == (1,) else None

    @cached_property
    def _earlier_layer(self) -> str | None:
        """Path of the nearest earlier layer of several cells, for the diagnosis of a map; None if there is none."""
        rows = [] if self._is_whole else layer_rows(self._reader)
        places = [number for number, row in enumerate(rows) if row.path == self.layer_name]
        sides = [(row.path, row.output_shape[1:-1]) for row in rows[: places[-1] if places else 0] if row.explainable]
        return next((path for path, cells in reversed(sides) if any(side != 1 for side in cells)), None)

    @cached_property
    def _detail_layer(self) -> str | None:
        """Path of a segmentation's layer for detail, where this explainer is not at it."""
        try:
            detail = None if self._is_whole else segmentation_layers(self._reader).detail
        except ValueError:  # no layer that every path passes, as in an ensemble
            return None
        return None if detail == self.layer_name else detail

    def class_maps(
        self,
        images: Images,
        classes: Sequence[int | str] | None = None,
        top: int | None = None,
        above: Thresholds | None = None,
    ) -> ClassMaps:
        """Explain many classes of each image from one forward pass.

        Args:
            images: (B, H0, W0, 3) as the model expects them.
            classes: indices or names, the same for every image; None for all.
            top: each image's `top` best classes instead, all if the model has fewer.
            above: the classes of each image whose probability is above this threshold instead, best first; {class:
                threshold} for others than 0.5. The axis K is as long as the image of most needs, at least 1;
                `ClassMaps.above` says which of them are above.

        Returns:
            `ClassMaps` with heatmaps (B, K, H, W). Behind global average pooling and one Dense layer they are one
            matrix product; behind any other tail each class costs a pass of the tail alone.

        Raises:
            TypeError, ValueError: as a call; two of `classes`, `top` and `above`; a threshold outside 0 to 1; a
                method that runs the model again; several fused layers.
        """
        if self._members:
            raise ValueError(
                "Expected one layer for the maps of many classes, received several: call an explainer of each layer."
            )
        check_eager()
        _, compiled = self._prepared(images, ClassPass)
        compiled.check_weights()
        return class_maps(
            compiled,
            images,
            classes,
            top,
            above,
            names=self._class_names,
            method=self.method,
            place=self._placement,
            output_name=self.output_name,
            earlier_layer=lambda: self._earlier_layer,
            signed=self._is_signed(None),
            unit=self._unit_of(None),
        )

    def detections(
        self,
        images: Images,
        target: int | str | Sequence[int | str] | None = None,
        *,
        threshold: float = 0.3,
        overlap: float = 0.5,
    ) -> list[Detections]:
        """Find the detections of each image and explain them, from one forward pass of the layers before the map.

        Rows of raw outputs become detections by their best class, the threshold, and non-maximum suppression within
        each class. What is explained is the logit of that class in the raw row that made the box. The maps of several
        layers, by default one for each level of a pyramid, are fused by mean where the row depends on them.

        Args:
            images: (B, H0, W0, 3) as the model expects them.
            target: "all" or None; the number of a detection of each image, 0 for the best; a class name for its best
                detection; or a list of numbers and names.
            threshold: lowest score of a detection, from 0 to 1. Defaults to 0.3.
            overlap: intersection over union above which the lower score of a class is dropped. Defaults to 0.5.

        Returns:
            One `Detections` for each image. An image in which nothing was found has none, its `diagnosis` says so, and
            so does a warning.

        Raises:
            TypeError: `decode` or `target` of another kind.
            ValueError: outputs that are not a detector's, a `decode` that returns nonsense, a method that runs the
                model again, an unknown class; as a call.
        """
        if self._may_move:
            return self._of_detector.detections(images, target, threshold=threshold, overlap=overlap)
        check_eager()
        arrays, compiled = self._prepared(images, DetectionPass)
        compiled.check_weights()
        self._reader.warn_of_range(arrays[self._reader.inputs.image_index])
        decode = self._decode
        return explain_detections(
            compiled,
            arrays,
            target,
            threshold,
            overlap,
            names=self._class_names,
            method=self.method,
            decode_name=getattr(decode, "__name__", type(decode).__name__) if callable(decode) else None,
            places=[member._placement for member in self._members or [self]],
        )

    def judge(
        self,
        explanation: Explanation,
        images: Images,
        target: TargetLike = None,
        *,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> list[Verdict]:
        """Judge each map: does the model need what is hot, and is the map stable and confirmed by another rule?

        Args:
            explanation: of these images, by this explainer or by `augment` or `smooth` of it.
            images: as they were explained.
            target: the callable that was explained; None for classes and values, which the explanation knows.
            seed: of the random regions and the noise, the same for every image.
            progress: called with (done, total) during the work.

        Returns:
            B `Verdict`: `.holds`, `.words` and its numbers.

        Raises:
            TypeError: not an explanation.
            ValueError: a task other than classification, multilabel and regression; maps that are not pictures, are of
                another layer or of other images; no target where a callable was explained.

        Cost: for each image 28 runs of the model, four more maps by its method, and one by AblationCAM, which runs what
        lies behind the layer once for each channel; or by Grad-CAM, where the method itself does not use gradients.
        """
        return judge(self, explanation, images, target, seed=seed, progress=progress)

    @cached_property
    def other_family(self) -> Explainer:
        """An explainer of the same layer by a rule of another family, which `judge` compares with."""
        is_of_gradients = needs_of(self._rule) in ("gradients", "curvature")
        arguments: dict[str, Any] = {**self._arguments, "method": "ablationcam" if is_of_gradients else "gradcam"}
        other = Explainer(self._reader, **arguments)
        other._reader.preprocessing = self._reader.preprocessing
        return other

    @property
    def runs_once(self) -> bool:
        """True if a map costs one run of the model."""
        return needs_of(self._rule) != "probing"

    @property
    def detection_layers(self) -> str:
        """Paths of the layers of the maps of `detections`: by default the levels of the detector's pyramid."""
        return self._of_detector.layer_name if self._may_move else self.layer_name

    @cached_property
    def _of_detector(self) -> Explainer:
        """This explainer at the layers of the pyramid, where no layer was chosen and the model is a detector."""
        arguments: dict[str, Any] = {**self._arguments, "layer": _pyramid(self._reader)}
        other = Explainer(self._reader, **arguments)
        other._reader.preprocessing = self._reader.preprocessing
        return other

    def _with_boxes(self, images: Images, target: Any) -> Any:
        """Return a target whose boxes can be read in the raw outputs, each checked against the detections."""
        boxes = [box for box in boxes_in(target) if box.detector is None]
        if not boxes:
            return target
        arrays, compiled = self._prepared(images, DetectionPass)
        _, rows, finite = compiled.rows(arrays)
        for box in boxes:
            check_box(box, rows, finite, self._class_names)
        target = bound(target, compiled.detector, compiled.size_of(arrays), rows.boxes)
        if needs_of(self._rule) == "probing" and any(box.row is None for box in boxes_in(target)):
            raise ValueError(
                f"Expected one image for a box by the method '{self.method}', which runs the model again, received "
                f"{len(finite)} whose boxes come from different rows. Explain one image at a time."
            )
        return target

    def _placement(self, cells: Sequence[int], arrays: Sequence[Any]) -> Placement | Unplaced:
        if self._is_whole:
            index = self._reader.inputs.image_index
            return plain_placement(cells, arrays[index].shape[1:], index)
        placement = self.split.placement(cells, arrays)
        if len(self.split.pictures) > 1:
            _warn_of_several(self.split, placement.input_index)
        return placement

    @property
    def offset(self) -> tuple[float, ...]:
        """(down, right) pixels by which `align="measured"` shifts the middle of the maps."""
        return (0.0, 0.0) if self._members else self.split.offset

    def fits(self, model: keras.Model) -> bool:
        """Return whether `model` still has the layers and variables of this explainer; its weights may change."""
        return parts_of(model) == self._reader.parts

    def release_model(self) -> None:
        """Drop the reference to the model: a cache that is keyed by the model must not keep it alive."""
        self.split.release_model()
        self._reader.release()
        for member in self._members:
            member.release_model()

    def _prepared(self, images: Images, target: Any) -> tuple[list[Any], Any]:
        """Return the images as flat arrays, and the compiled pass of a target."""
        own = self.split.inputs
        given = own.as_given(images)
        arrays = given.flatten(images)
        try:
            return arrays, self._pass(target, given)
        except (TypeError, ValueError, tf.errors.InvalidArgumentError):
            if given is own:
                raise
        return own.flatten(images), self._pass(target, own)  # the model itself does not take whole numbers

    def _pass(self, target: Any, inputs: ModelInputs) -> Pass:
        """Return the compiled pass for class targets (None), for one callable or for many classes (`ClassPass`)."""
        key = target, tuple(spec.dtype for spec in inputs.specs)
        with self._lock:  # concurrent threads share one pass, and keep it when it is dropped here
            compiled = self._passes.get(key)
            if compiled is None:
                split = copy.copy(self.split)
                split.inputs = inputs
                compiled = self._passes[key] = self._new_pass(target, split)
                if len(self._passes) > _KEPT_TARGETS:
                    kept = (None, ClassPass, DetectionPass)
                    del self._passes[next(key for key in self._passes if key[0] not in kept)]
            return compiled

    def _new_pass(self, target: Any, split: SplitModel) -> Pass:
        if target is ClassPass:
            return ClassPass(split, self._rule, *self._options)
        if target is DetectionPass:
            read = reader_of_outputs(self._decode, self._own_detector, self._class_names)
            splits = [member.split for member in self._members] or [split]
            return DetectionPass(splits, self._rule, split.inputs, read, *self._options)
        place = place_spec(target)
        if self._is_whole:
            return FullGradPass(self._reader, target, self._rule, *self._options, place=place)
        if place is not None:
            split = PlacedSplit(split, place)
        if needs_of(self._rule) == "probing":
            return ProbingPass(split, target, self._rule, *self._options)
        return GradientPass(split, target, self._rule, *self._options)

    @property
    def trace_count(self) -> int:
        """Number of compilations of a pass; new images and class targets do not add to it."""
        own = sum(compiled.trace_count for compiled in self._passes.values())
        return own + sum(member.trace_count for member in self._members)

    @property
    def frozen_bytes(self) -> int:
        """Bytes of the weights that `freeze` copied, without folded copies; 0 without `freeze`."""
        own = sum(compiled.frozen_bytes for compiled in self._passes.values())
        return own + sum(member.frozen_bytes for member in self._members)


def _check_frames(reader: ModelReader) -> None:
    """Refuse clips of any number of frames: in a graph, Keras' `TimeDistributed` counts the batch as frames."""
    shape = reader.inputs.image_shape
    if len(shape) > 1 and shape[1] is None and reader.has_frames:
        inner = ", ".join("frames" if side is None else str(side) for side in shape[1:])
        raise ValueError(
            "Expected clips of a fixed number of frames for a model with TimeDistributed layers, received "
            f"{shown(shape)}: where the number is free, Keras runs as many frames as there are clips. Fix it: clips = "
            f"keras.Input(({inner})), then explain keras.Model(clips, model(clips))."
        )


def _warn_of_several(split: SplitModel, drawn: int) -> None:
    """Say which input the maps are drawn over where several of different sizes reach the layer."""
    names, specs = split.inputs.names, split.inputs.specs
    if len({tuple(specs[number].shape[1:-1]) for number in split.pictures}) > 1:
        reaching = " and ".join(f"'{names[number]}' {shown(specs[number].shape)}" for number in split.pictures)
        warn(
            f"Layer '{split.layer_name}' sees the inputs {reaching}: its maps are drawn over "
            f"'{names[drawn]}'. Pass photos of another input to overlay(photos), in an array, to "
            "draw over it."
        )


def _split(model: ModelReader, layer: LayerLike | None, classifier_layers: Sequence[LayerLike] | None) -> SplitModel:
    try:
        return split_model(model, layer, classifier_layers)
    except ValueError as error:  # only here are both layers and methods known
        if isinstance(layer, str) and layer in METHODS and str(error).startswith(f"Unknown layer '{layer}'"):
            fact = f"Unknown layer '{layer}'. It is a method:"
            raise ValueError(Message(fact, f"pass method='{layer}'.", f"pass --method {layer}.")) from error
        raise


def _members(
    model: ModelReader,
    layer: LayerLike | Sequence[LayerLike] | None,
    method: MethodName | Rule,
    classifier_layers: Sequence[LayerLike] | None,
    options: Mapping[str, Any],
) -> list[Explainer]:
    """Return one explainer for each layer of a list, an empty list for a single layer."""
    if not isinstance(layer, (list, tuple)):
        return []
    if classifier_layers is not None or not layer:
        raise ValueError(
            f"Expected a list of at least one layer, and no classifier_layers with it, received {len(layer)} layers "
            f"and classifier_layers={classifier_layers!r}."
        )
    return [Explainer(model, member, method, **options) for member in layer]


def _pyramid(reader: ModelReader) -> str | list[str]:
    layers = pyramid_layers(reader)
    return layers if len(layers) > 1 else layers[0]


def _segmentation(
    names: ClassNames,
    region: Any,
    outputs: NDArray[Any],
    place: NDArray[Any] | None,
    sides: Sequence[int],
    has_labels: bool,
) -> Segmentation:
    """Read the predicted mask and the explained cells of logits (B, H, W, K), as the compiled target does."""
    parts = region.parts(tf.convert_to_tensor(outputs), place, has_labels)
    predicted, inside, explained = (part.numpy() for part in (parts.predicted, parts.inside, parts.explained))
    if names.is_given:
        names.check_count(parts.class_count)
    if place is not None and region.known.place == "mask":
        check_mask(place, inside.shape[1:], sides)
    return Segmentation(predicted, inside, explained, bool(region.known.place), parts.class_count, parts.has_none)


def _of_segmentation(reader: ModelReader) -> str:
    """Return the layer for context, and say how to choose the one for detail where that is another."""
    layers = segmentation_layers(reader)
    if layers.context != layers.detail:
        fact = f"Layer '{layers.context}' is explained, the coarsest one, for context. For detail choose"
        warn(Message(fact, f"layer='{layers.detail}'.", f"--layer {layers.detail}."))
    return layers.context


def _check_whole(method: str, *arguments: object) -> None:
    if any(argument is not None and argument is not False for argument in arguments):
        fact = f"Method '{method}' reads all layers at the size of the input:"
        left_out = "leave layer, classifier_layers, align and token_grid out."
        raise ValueError(Message(fact, left_out, "leave --layer and --align out."))
