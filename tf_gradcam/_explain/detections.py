"""Maps of a detector's detections from one forward pass of the extractor.

Axis legend: B images, D detections of an image, N raw rows, K classes, H x W cells of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam._errors import Message, ModelWarning, warn
from tf_gradcam._explain.class_maps import check_rule
from tf_gradcam._explain.fusion import combined
from tf_gradcam._explain.passes import (
    NOT_FINITE,
    Pass,
    Peaks,
    all_finite,
    combine,
    peaks_of,
    scaled_gradients,
)
from tf_gradcam._files.class_names import ClassNames
from tf_gradcam._models.detectors import (
    DecodeLike,
    Detector,
    Kept,
    RawRows,
    Size,
    check_rows,
    detector_of,
    suppress,
)
from tf_gradcam._models.reader import ModelInputs
from tf_gradcam._models.split import SplitModel
from tf_gradcam._results.detections import Detection, Detections
from tf_gradcam._results.diagnosis import NON_FINITE_IMAGE
from tf_gradcam._results.explanation import Explanation, MapArrays
from tf_gradcam._rules.contract import Rule
from tf_gradcam._rules.table import needs_of
from tf_gradcam.image.resize import positive_share
from tf_gradcam.targets.boxes import Box

MAX_DETECTIONS = 100  # of an image
BOX_SCORE = 0.05  # lowest score of the detections that a `targets.Box` must overlap
_NAMED = 3  # detections in a message


class DetectionPass(Pass):
    """Pass that runs the extractor once, reads the detections, then maps any of them at every layer.

    The raw rows stay on their side: a map is asked for by (row, class), whose logit is picked inside the graph. Each
    costs a forward and backward pass of the tail, one after the other: memory as for one map.

    Args:
        splits: of the layers whose maps are fused.
        rule: a rule that needs a single forward pass.
        inputs: of the model.
        read: (outputs, size) -> `Detector`.
        options: as `Pass`.
    """

    def __init__(
        self,
        splits: Sequence[SplitModel],
        rule: Rule,
        inputs: ModelInputs,
        read: Callable[[Any, Size], Detector],
        *options: Any,
    ):
        super().__init__(inputs, None, *options)
        self.rule, self.needs, self.splits = rule, needs_of(rule), list(splits)
        self._read = read
        self._start, self._end, self._root_count = _halves(self.splits)
        self._extract = self.compile(self._cut, inputs.specs)
        self.detector: Detector | None = None
        self._maps: dict[Size, Any] = {}

    def rows(self, arrays: Sequence[Any]) -> tuple[list[Any], RawRows, np.ndarray]:
        """Return the cut tensors, the rows of the detector and whether each image is finite, (B,) bool."""
        cut, outputs, finite = self._extract(*arrays)
        size = self.size_of(arrays)
        if self.detector is None:
            known = tf.boolean_mask(tf.range(len(finite)), finite)
            if not len(known):
                raise ValueError(NOT_FINITE)
            self.detector = self._read(keras.tree.map_structure(lambda part: tf.gather(part, known), outputs), size)
        return cut, self.detector.rows_of(outputs, size), finite.numpy()

    def size_of(self, arrays: Sequence[Any]) -> Size:
        """Return (H0, W0) of the images."""
        height, width = arrays[self.inputs.image_index].shape[1:3]
        return int(height), int(width)

    def maps(self, cut: list[Any], size: Size, rows: np.ndarray, classes: np.ndarray) -> list[tuple[Any, ...]]:
        """Return per layer the map (B, H, W) before relu, its peaks and the scores (B,), of rows and classes (B,)."""
        if size not in self._maps:
            specs = [tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype) for tensor in cut]
            one = tf.TensorSpec((None,), tf.int32)
            self._maps[size] = self.compile(lambda *tensors: self._one(size, *tensors), [*specs, one, one])
        made: list[tuple[Any, ...]] = self._maps[size](
            *cut, tf.constant(rows, tf.int32), tf.constant(classes, tf.int32)
        )
        return made

    def _cut(self, *inputs: Any) -> tuple[list[Any], Any, Any]:
        cut = self._start(inputs)
        return cut, _as_floats(self._end(cut)[0]), all_finite(inputs[self.inputs.image_index])

    def _one(self, size: Size, *tensors: Any) -> list[tuple[Any, ...]]:
        assert self.detector is not None
        *cut, rows, classes = tensors
        is_half = any(tensor.dtype == tf.float16 for tensor in cut[: self._root_count])
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as second:
            if self.needs == "curvature":
                second.watch(cut[: self._root_count])
            with tf.GradientTape(watch_accessed_variables=False, persistent=is_half) as first:
                first.watch(cut[: self._root_count])
                outputs, activations = self._end(cut)
                logits = self.detector.rows_of(_as_floats(outputs), size).logits
                scores = tf.gather(tf.gather(logits, rows, axis=1, batch_dims=1), classes, axis=1, batch_dims=1)
            gradients = scaled_gradients(first, scores, activations)
            if all(gradient is None for gradient in gradients):
                names = " and ".join(f"'{split.layer_name}'" for split in self.splits)
                fact = (
                    f"The score of a detection does not depend on layer {names}: no gradient leads there. A decode "
                    "function must compute the scores by TensorFlow or keras.ops operations; else choose a layer on "
                    "the way to the scores, see"
                )
                raise ValueError(Message(fact, "list_layers(model).", "`tf-gradcam layers MODEL`."))
            gradients = [
                tf.zeros(tf.shape(each), tf.float32) if gradient is None else gradient
                for gradient, each in zip(gradients, activations, strict=True)
            ]
            slopes = [
                tf.reduce_sum(gradient * tf.stop_gradient(tf.cast(each, tf.float32)))
                for gradient, each in zip(gradients, activations, strict=True)
            ]
        made = []
        for split, each, gradient, slope in zip(self.splits, activations, gradients, slopes, strict=True):
            arguments = [tf.cast(each, tf.float32), gradient]
            if self.needs == "curvature":
                curved = second.gradient(slope, each, unconnected_gradients=tf.UnconnectedGradients.ZERO)
                arguments.append(tf.cast(curved, tf.float32))
            if split.activation_shape != split.found.shape:  # channels first
                arguments = [tf.transpose(item, [0, 2, 3, 1]) for item in arguments]
            weights = self.rule(*arguments)
            raw = combine(weights, arguments[0])
            seen = tf.reduce_any(gradient != 0.0, axis=list(range(1, gradient.shape.rank)))
            raw = tf.where(tf.reshape(seen, [-1, *[1] * (raw.shape.rank - 1)]), raw, 0.0)  # not on the way of this row
            made.append(
                (raw, peaks_of(arguments[self.needs != "activations"], weights, arguments[0], each.dtype), scores)
            )
        return made


def _as_floats(outputs: Any) -> Any:
    return keras.tree.map_structure(lambda part: tf.cast(part, tf.float32) if part.dtype.is_floating else part, outputs)


def _halves(splits: Sequence[SplitModel]) -> tuple[Any, Any, int]:
    """Return both halves of a model cut at all layers together, and the number of the tensors to watch."""
    if len(splits) == 1:
        (split,) = splits
        return split.extract, lambda tensors: (split.finish(list(tensors)), [tensors[0]]), 1
    view = splits[0].found.view
    unlike = [split.layer_name for split in splits if split.found.view is not view or len(split.found.shape) != 4]
    if unlike:
        raise ValueError(
            f"Expected layers (B, H, W, C) of one view of the model to map detections together, received {unlike} "
            f"among {[split.layer_name for split in splits]}. Pass one layer."
        )
    return view.joint_halves([split.found.call for split in splits])


def find_detections(
    rows: RawRows, finite: np.ndarray, names: ClassNames, threshold: float, overlap: float
) -> list[tuple[list[Detection], list[Detection]]]:
    """Return per image its detections, and the best rows of any score, for messages."""
    boxes, scores = rows.boxes.numpy(), rows.scores.numpy()
    found: list[tuple[list[Detection], list[Detection]]] = []
    for index in range(len(boxes)):
        good = np.isfinite(boxes[index]).all(-1) & np.isfinite(scores[index]).all(-1)
        if not finite[index] or not good.any():
            found.append(([], []))
            continue
        kept = suppress(boxes[index], np.where(good[:, None], scores[index], 0.0), threshold, overlap, MAX_DETECTIONS)
        nearest: list[Detection] = []
        if not len(kept.rows):
            low = suppress(boxes[index], np.where(good[:, None], scores[index], 0.0), 0.0, overlap, _NAMED)
            nearest = [item for item in as_detections(low, names) if good[item.row]]
        found.append((as_detections(kept, names), nearest))
    return found


def as_detections(kept: Kept, names: ClassNames) -> list[Detection]:
    return [
        Detection(tuple(map(float, box)), int(index), names.label(int(index)), float(score), int(row))  # type: ignore[arg-type]
        for row, index, score, box in zip(*kept, strict=True)
    ]


def chosen_of(target: Any, found: Sequence[Detection], names: ClassNames) -> tuple[list[int], str]:
    """Return the positions of the detections that a target means, and what it lacks, "" for nothing."""
    if target is None or (isinstance(target, str) and target == "all" and not names.find("all")):
        return list(range(len(found))), ""
    if isinstance(target, str):
        index = names.index(target)
        best = next((n for n, item in enumerate(found) if item.class_index == index), None)
        return ([best], "") if best is not None else ([], f"no detection of '{names.label(index)}'")
    if isinstance(target, (int, np.integer)) and not isinstance(target, bool):
        if target < 0:
            raise ValueError(f"Expected the number of a detection, 0 for the best, received {target}.")
        return ([int(target)], "") if target < len(found) else ([], f"no detection {target}")
    if isinstance(target, (list, tuple, np.ndarray)) and len(target):
        parts = [chosen_of(item, found, names) for item in target]
        positions = list(dict.fromkeys(n for part, _ in parts for n in part))
        return positions, "" if positions else "; ".join(text for _, text in parts)
    raise TypeError(
        "Expected target as 'all', the number of a detection (0 for the best), the name of a class for its best, or a "
        f"list of these, received {target!r}."
    )


def check_box(box: Box, rows: RawRows, finite: np.ndarray, names: ClassNames, overlap: float = 0.5) -> None:
    """Raise a ValueError that names the nearest detections if a box overlaps no detection of an image."""
    for number, (found, nearest) in enumerate(find_detections(rows, finite, names, BOX_SCORE, overlap)):
        if not finite[number] or any(_overlap(box.box, item.box) for item in found):
            continue
        near = sorted(found, key=lambda item: _distance(box.box, item.box))[:_NAMED]
        at = ", ".join(f"{side:g}" for side in box.box)
        where = f" of image {number}" if len(finite) > 1 else ""
        if near:
            said, example = f"the nearest are {'; '.join(map(str, near))}", near[0]
        else:
            best = "; ".join(map(str, nearest)) or "none"
            said, example = f"none has a score of {BOX_SCORE} or more, the best rows are {best}", None
        remedy = "Pass the box of a detection, in pixels of the model's input"
        if example is not None:
            sides = ", ".join(f"{side:.0f}" for side in example.box)
            remedy += f": Box({example.class_index}, ({sides}))"
        raise ValueError(f"Expected a box that overlaps a detection{where}, received ({at}): {said}. {remedy}.")


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    return min(one[2], other[2]) > max(one[0], other[0]) and min(one[3], other[3]) > max(one[1], other[1])


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    return float(np.hypot(one[0] + one[2] - other[0] - other[2], one[1] + one[3] - other[1] - other[3]))


def reader_of_outputs(decode: DecodeLike, own: Any, names: ClassNames) -> Callable[[Any, Size], Detector]:
    """Return the function that reads raw outputs; a reading that values decide is said once."""

    def read(outputs: Any, size: Size) -> Detector:
        count = max(names.by_index, default=-1) + 1 if names.is_given else None
        detector = detector_of(outputs, size, decode=decode, own=own, name_count=count)
        if detector.is_guessed:
            warn(detector.sentence)
        return detector

    return read


class NothingFoundWarning(ModelWarning):
    """Warning that a detector found nothing in an image, or not what was asked for."""


def explain_detections(
    compiled: DetectionPass,
    arrays: Sequence[Any],
    target: Any,
    threshold: float,
    overlap: float,
    *,
    names: ClassNames,
    method: str,
    decode_name: str | None,
    places: Sequence[Callable[[Sequence[int], Sequence[Any]], Any]],
    how: str = "mean",
) -> list[Detections]:
    """Explain the detections of a batch; arguments and errors as `Explainer.detections`."""
    check_rule(compiled.rule)
    _check_share("threshold", threshold)
    _check_share("overlap", overlap)
    size = compiled.inputs.batch_size

    def run(batch: list[Any]) -> list[Detections]:
        return _batch(compiled, batch, target, threshold, overlap, names, method, decode_name, places, how)

    if size is None:
        results = run(list(arrays))
    else:
        results = []
        for start in range(0, len(arrays[0]), size):
            part = [np.asarray(array)[start : start + size] for array in arrays]
            kept = len(part[0])
            filled = [np.concatenate([rows, np.repeat(rows[-1:], size - kept, axis=0)]) for rows in part]
            results += run(filled)[:kept]
    for number, result in enumerate(results):
        if result.diagnosis is not None:
            where = f"Image {number}: " if len(results) > 1 else ""
            text = result.diagnosis
            sentence = Message(f"{where}{text}") if not isinstance(text, Message) else _prefixed(where, text)
            warn(sentence, NothingFoundWarning)
    return results


def _prefixed(where: str, message: Message) -> Message:
    prefixed = Message(f"{where}{message}")
    prefixed.option, prefixed.fact = f"{where}{message.option}", f"{where}{message.fact}"
    return prefixed


def _check_share(name: str, value: Any) -> None:
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not is_number or not 0.0 <= value <= 1.0:
        raise ValueError(f"Expected {name} as a number from 0 to 1, received {value!r}.")


def _batch(
    compiled: DetectionPass,
    arrays: list[Any],
    target: Any,
    threshold: float,
    overlap: float,
    names: ClassNames,
    method: str,
    decode_name: str | None,
    places: Sequence[Any],
    how: str,
) -> list[Detections]:
    cut, rows, finite = compiled.rows(arrays)
    if decode_name is not None:
        check_rows(rows, decode_name, finite)
    found = find_detections(rows, finite, names, threshold, overlap)
    wanted, lacks = [], []
    for detections, _ in found:
        positions, lack = chosen_of(target, detections, names)
        wanted.append(positions)
        lacks.append(lack)
    most = max(map(len, wanted))
    columns: list[list[tuple[Any, ...]]] = []
    for column in range(most):
        picked = [
            items[positions[min(column, len(positions) - 1)]] if positions else None
            for (items, _), positions in zip(found, wanted, strict=True)
        ]
        own_rows = np.array([0 if item is None else item.row for item in picked], np.int32)
        classes = np.array([0 if item is None else item.class_index for item in picked], np.int32)
        made = compiled.maps(cut, compiled.size_of(arrays), own_rows, classes)
        columns.append(
            [tf.nest.map_structure(lambda part: None if part is None else part.numpy(), level) for level in made]
        )
    results = []
    for number, (items, nearest) in enumerate(found):
        maps = None
        if wanted[number]:
            chosen = [items[position] for position in wanted[number]]
            maps = _fused(compiled, columns, number, chosen, rows, arrays, names, method, places, how)
        reason = None if wanted[number] else _why_none(finite[number], items, nearest, lacks[number], threshold)
        results.append(Detections(items, wanted[number], maps, compiled.size_of(arrays), reason))
    return results


def _why_none(
    is_finite: bool, found: Sequence[Detection], nearest: Sequence[Detection], lack: str, threshold: float
) -> str:
    """Return the reason why an image has no detection to explain."""
    if not is_finite:
        return NON_FINITE_IMAGE
    lower = "Lower {}, or look at the picture."
    if not found:
        best = "; ".join(map(str, nearest)) or "none"
        fact = f"no detection with a score of {threshold:g} or more: the best are {best}."
        return Message(fact, lower.format("threshold="), lower.format("--threshold"))
    all_of = "; ".join(map(str, found[:_NAMED]))
    fact = (
        f"{lack}: the image has {len(found)}, 0 to {len(found) - 1}: {all_of}{'; ...' if len(found) > _NAMED else ''}."
    )
    return Message(fact, "Lower threshold=, or choose one of these.", "Lower --threshold, or choose one of these.")


def _fused(
    compiled: DetectionPass,
    columns: list[list[tuple[Any, ...]]],
    number: int,
    chosen: Sequence[Detection],
    rows: RawRows,
    arrays: list[Any],
    names: ClassNames,
    method: str,
    places: Sequence[Any],
    how: str,
) -> Explanation:
    """Return the maps of the chosen detections of one image, the maps of its layers fused."""
    count = len(chosen)
    at = [item.row for item in chosen]
    scores = rows.scores.numpy()[number, at]
    levels = []
    for level, split in enumerate(compiled.splits):
        raw = np.stack([columns[column][level][0][number] for column in range(count)])
        peaks = [columns[column][level][1] for column in range(count)]
        of_map: dict[str, Any] = {
            name: None if getattr(peaks[0], name) is None else np.array([getattr(item, name)[number] for item in peaks])
            for name in Peaks._fields
        }
        explained = np.array([columns[column][level][2][number] for column in range(count)], np.float32)
        classes = np.array([item.class_index for item in chosen], np.int32)
        arrays_of_maps = MapArrays(
            raw, positive_share(raw), scores, scores, explained, classes, finite_images=np.ones(count, bool), **of_map
        )
        levels.append(
            Explanation(
                arrays_of_maps,
                labels=[item.label for item in chosen],
                layer_name=split.layer_name,
                method=method,
                placement=places[level](raw.shape[1:], arrays),
                input_names=split.inputs.names,
                has_open_head=True,
                class_names=names.by_index,
                needs=compiled.needs,
            )
        )
    return levels[0] if len(levels) == 1 else combined(levels, how)
