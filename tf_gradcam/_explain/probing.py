"""Probing: a rule's view of the model, and the compiled functions that run the model again.

Axis legend: B images, N changed copies of them (probes), n of these at a time, H x W cells of the layer (any number of
spatial axes), C channels, H0 x W0 pixels. The *owner* of a probe is the image that it was copied from: its class,
frontier tensors and further inputs belong to the probe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_gradcam._explain.fusion import Progress
from tf_gradcam._explain.passes import Scored, SplitPass, all_finite, combine, in_batches, peaks_of, to_arrays
from tf_gradcam._models.keras_internals import mask_of, set_mask
from tf_gradcam._models.split import SplitModel
from tf_gradcam._results.explanation import MapArrays
from tf_gradcam._rules.contract import Probe
from tf_gradcam.image.resize import Placement, Unplaced
from tf_gradcam.targets.base import Target

# As many probes run at a time as fit in here, each counted by its rows of the largest tensor of the run (VGG16 at 224
# pixels: 12.8 MB, so 20 at a time). A run holds a few tensors of that size at once, on the host as on the device.
CHUNK_BYTES = 256 * 2**20
# If the model leaves its size free, its largest tensor is not known before it runs: in VGG16 it is 21 images large.
_LARGEST_OF_FREE_SIZE = 24

_ROWS = tf.TensorSpec((None,), tf.int32)


class _Looked(NamedTuple):
    """Results of the first run of the model: tensors.

    Attributes:
        scored: scores of its outputs.
        activations: (B, H, W, C) float32 of the layer.
        kept: further inputs of the tail: the frontier, then masks.
        finite_images: (B,) bool.
    """

    scored: Scored
    activations: Any
    kept: list[Any]
    finite_images: Any


class ModelProbe:
    """The `Probe` of a split model: `ask` runs the compiled functions, `chunk_length` limits the probes at a time."""

    def __init__(
        self,
        images: np.ndarray,
        activations: np.ndarray,
        placement: Placement | Unplaced,
        scored: Scored,
        ask: Callable[[str, np.ndarray, np.ndarray], np.ndarray],
        chunk_length: Callable[[str, tuple[int, ...]], int],
        progress: Progress | None = None,
    ):
        self.images = images
        self.activations = activations
        self.placement = placement
        self.scores: np.ndarray = scored.scores
        self.confidences: np.ndarray = scored.confidences
        self._ask = ask
        self._chunk_length = chunk_length
        self._progress = progress
        self._done = self._total = 0

    def score_images(self, owners: np.ndarray, images_of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return the whole model's confidences in changed images, each for the explained class of its owner.

        Args:
            owners: (N,) int, the image of the batch that each probe was copied from.
            images_of: called with (n,) int, positions in `owners`; returns their probes, (n, H0, W0, 3) float32, as
                many at a time as `CHUNK_BYTES` holds. A model that takes whole numbers gets them rounded.

        Returns:
            (N,) float32.

        Raises:
            ValueError: an owner that is not in the batch; probes of another number or shape.
        """
        return self._score("images", owners, images_of, self.images.shape[1:])

    def score_activations(self, owners: np.ndarray, activations_of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return the tail's scores (N,), before the softmax, for activations (n, H, W, C); else as `score_images`."""
        return self._score("activations", owners, activations_of, self.activations.shape[1:])

    def _score(
        self, what: str, owners: np.ndarray, rows_of: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]
    ) -> np.ndarray:
        owners = np.asarray(owners, np.int32)
        if owners.ndim != 1 or np.any((owners < 0) | (owners >= len(self.images))):
            raise ValueError(f"Expected owners (N,) of 0 to {len(self.images) - 1}, received {owners}.")
        scores = np.zeros(len(owners), np.float32)
        length = self._chunk_length(what, shape)
        self._total += len(owners)
        for start in range(0, len(owners), length):
            rows = np.arange(start, min(start + length, len(owners)))
            chunk = np.asarray(rows_of(rows), np.float32)
            if chunk.shape != (len(rows), *shape):
                raise ValueError(f"Expected {what} of shape {(len(rows), *shape)}, received {chunk.shape}.")
            scores[rows] = self._ask(what, chunk, owners[rows])
            self._done += len(rows)
            if self._progress is not None:
                self._progress(self._done, self._total)
        return scores


ProbingRule = Callable[[Probe], np.ndarray]


class ProbingPass(SplitPass):
    """Pass from images to maps by a rule that runs the model, or its tail, again: three functions, each compiled once.

    The model with its activations and frontier is compiled here, the tail and the whole model when first needed. A rule
    maps a `Probe` to weights (B, 1, 1, C) or (B, H, W, C), or to the map itself, (B, H, W); float32.
    """

    def __init__(self, split: SplitModel, target: Target | None, rule: ProbingRule, *options: Any):
        super().__init__(split, target, rule, *options)
        self._kept_specs: list[tf.TensorSpec] = []  # frontier, then masks
        self._mask_places: list[int] = []  # in the cut
        self._again: dict[str, Any] = {}
        self._first = self.compile(self._look, [*split.inputs.specs, _ROWS])

    def explain_batch(self, arrays: Sequence[Any], indices: np.ndarray, progress: Progress) -> MapArrays:
        """Explain a batch; a gradient peak is the largest absolute weight of an image.

        After each chunk, `progress` gets the number of probes that have run and that the rule has requested so far.

        Raises:
            ValueError: a layer that does not suit the rule; weights of an unknown shape.
        """
        inputs = [tf.convert_to_tensor(array) for array in arrays]
        first = self._first(*inputs, tf.constant(indices, tf.int32))
        images = tf.cast(inputs[self.split.inputs.image_index], tf.float32).numpy()
        kept = {"images": inputs, "activations": first.kept}
        self._check_rows([first.activations, *first.kept], len(images))

        def ask(what: str, chunk: np.ndarray, owners: np.ndarray) -> np.ndarray:
            classes = first.scored.class_indices
            run = self._compiled_for(what)
            scores: np.ndarray = in_batches(
                self.inputs.batch_size,
                [chunk, owners],
                lambda rows: run(*map(tf.constant, rows), classes, *kept[what]).numpy(),
            )
            return scores

        activations, scored = to_arrays((first.activations, first.scored))
        placement = self.split.placement(activations.shape[1:-1], arrays)
        probe = ModelProbe(images, activations, placement, scored, ask, self._chunk_length, progress)
        with np.errstate(all="ignore"):  # values that are not finite get a diagnosis, not a warning
            weights = tf.constant(np.asarray(self.rule(probe), np.float32))
        _check_weights(weights.shape, first.activations.shape)
        raw = combine(weights, first.activations)
        of_map = peaks_of(weights, weights, first.activations, self._cut_spec.dtype)
        results: MapArrays = to_arrays(first.scored.with_maps(raw, of_map, first.finite_images))
        return results

    def _look(self, *tensors: Any) -> _Looked:
        """Run the whole model and keep the inputs of the tail."""
        inputs, indices = tensors[:-1], tensors[-1]
        cut = self.split.extract(inputs)
        masks = [mask_of(tensor) for tensor in cut]
        self._mask_places = [place for place, mask in enumerate(masks) if mask is not None]
        kept = [*cut[1:], *(masks[place] for place in self._mask_places)]
        self._kept_specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in kept]
        self._cut_spec = tf.TensorSpec(cut[0].shape, cut[0].dtype)
        scored = self.explained(self.split.finish(cut), indices)
        return _Looked(scored, tf.cast(cut[0], tf.float32), kept, all_finite(inputs[self.split.inputs.image_index]))

    def _finish(self, chunk: Any, owners: Any, classes: Any, *kept: Any) -> Any:
        """Return the tail's scores (n,) on changed activations."""
        rows = [self._rows_of(tensor, owners) for tensor in kept]
        frontier, masks = rows[: len(rows) - len(self._mask_places)], rows[len(rows) - len(self._mask_places) :]
        cut = [tf.cast(chunk, self._cut_spec.dtype), *frontier]
        for place, mask in zip(self._mask_places, masks, strict=True):
            set_mask(cut[place], mask)  # Keras passes a mask on with its tensor; a graph drops it
        return self.explained(self.split.finish(cut), tf.gather(classes, owners)).scores

    def _run(self, chunk: Any, owners: Any, classes: Any, *inputs: Any) -> Any:
        """Return the whole model's confidences (n,) in changed images."""
        rows = [self._rows_of(tensor, owners) for tensor in inputs]
        index = self.split.inputs.image_index
        dtype = rows[index].dtype
        rows[index] = tf.saturate_cast(tf.round(chunk), dtype) if dtype.is_integer else tf.cast(chunk, dtype)
        outputs = self.split.finish(self.split.extract(rows))
        return self.explained(outputs, tf.gather(classes, owners)).confidences

    def _compiled_for(self, what: str) -> Any:
        """Return `_run` or `_finish` as a graph, compiled at its first use."""
        if what not in self._again:
            specs = self.split.inputs.specs
            chunk = specs[self.split.inputs.image_index] if what == "images" else self._cut_spec
            function, kept = (self._run, specs) if what == "images" else (self._finish, self._kept_specs)
            signature = [tf.TensorSpec(chunk.shape, tf.float32), _ROWS, _ROWS, *kept]
            self._again[what] = self.compile(function, signature)
        return self._again[what]

    def _chunk_length(self, what: str, shape: tuple[int, ...]) -> int:
        """Return the number of probes of `shape` that run at a time."""
        graph = self._compiled_for(what)
        own = 4 * int(np.prod(shape))
        if None in graph.inputs[0].shape[1:]:
            largest = _LARGEST_OF_FREE_SIZE * own
        else:
            tensors = [tensor for step in graph.graph.get_operations() for tensor in step.outputs]
            largest = max([own, *map(_bytes_per_row, tensors)])
        return max(1, CHUNK_BYTES // largest)

    def _check_rows(self, tensors: Sequence[Any], count: int) -> None:
        specs = [self._cut_spec, *self._kept_specs]
        shapes = [tuple(tensor.shape) for tensor, spec in zip(tensors, specs, strict=True) if self._has_rows(spec)]
        if any(shape[:1] != (count,) for shape in shapes):
            raise ValueError(
                f"Expected the tensors at layer '{self.split.layer_name}' to have one row per image, {count} in all, "
                f"received {shapes}: the batch axis is merged with another there. Choose another layer."
            )

    def _has_rows(self, tensor: Any) -> bool:
        """Return whether the first axis is the batch, which is free or fixed; the axis of a constant is another one."""
        return tensor.shape.rank is None or (
            tensor.shape.rank > 0 and tensor.shape[0] in {None, self.inputs.batch_size}
        )

    def _rows_of(self, tensor: Any, owners: Any) -> Any:
        return tf.gather(tensor, owners) if self._has_rows(tensor) else tensor


def _bytes_per_row(tensor: Any) -> int:
    sides = tensor.shape.as_list() if tensor.shape.rank else [0]
    is_known = sides[0] is None and None not in sides[1:]
    return int(np.prod(sides[1:])) * tensor.dtype.size if is_known else 0


def _check_weights(received: Sequence[int], expected: Sequence[int]) -> None:
    shape = tuple(expected)
    one_each = (shape[0], *[1] * (len(shape) - 2), shape[-1])
    if tuple(received) not in (one_each, shape, shape[:-1]):
        raise ValueError(
            f"Expected weights of shape {one_each} or {shape}, or maps {shape[:-1]}, from the rule, received "
            f"{tuple(received)}."
        )
