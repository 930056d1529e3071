"""Maps of many classes from one forward pass.

Axis legend: B images, K classes asked for, H x W cells of the layer (any number of spatial axes).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tf_gradcam._explain.passes import SplitPass
from tf_gradcam._files.class_names import ClassNames, check_classes, class_indices
from tf_gradcam._models.head import linear_tail
from tf_gradcam._models.inputs import Images
from tf_gradcam._models.split import SplitModel
from tf_gradcam._results.explanation import Explanation
from tf_gradcam._rules.contract import Rule, all_finite, needs_of, normalise
from tf_gradcam._rules.gradients import cam, gradcam, hirescam, layercam, shapleycam, xgradcam
from tf_gradcam.image.io import Photos
from tf_gradcam.targets.base import of_all_classes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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

_FINITE = tf.TensorSpec((None,), tf.bool)


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
        if self.is_closed_form:
            self._maps = self.compile(self._product, [cut[0], tf.TensorSpec((None, None), tf.int32), _FINITE])
            # Classes that are the same for all images need no score before their maps: all is one graph.
            self._whole = self.compile(self._at_once, [*split.inputs.specs, tf.TensorSpec((None,), tf.int32)])
            self._every: Any = None  # the same for all classes, compiled when they are first asked for
        else:
            self._maps = self.compile(self._one_class, [*cut, tf.TensorSpec((None,), tf.int32)])

    def of_classes(self, arrays: Sequence[Any], classes: np.ndarray | None, top: int | None) -> dict[str, np.ndarray]:
        """Maps and scores of the classes (K,) of every image, of the `top` best of each, or of all."""
        if classes is not None and np.array_equal(classes, np.arange(self.class_count or 0)):
            classes = None
        if self.is_closed_form and top is None:
            made = (
                self._all_classes(arrays) if classes is None else self._whole(*arrays, tf.constant(classes, tf.int32))
            )
            wanted = np.arange(self.class_count or 0) if classes is None else np.asarray(classes)
            return self._with_scores({name: value.numpy() for name, value in made.items()}, wanted[None])
        if top is None and classes is None:
            classes = np.arange(self.class_count or 0)
        entered = self._extract(*arrays)
        results = {name: value.numpy() for name, value in self._finish(*entered["cut"]).items()}
        results["finite_images"] = entered["finite_images"].numpy()
        wanted = _best(self._scores(results["outputs"]), top) if top else np.asarray(classes)[None]
        make = self._multiplied if self.is_closed_form else self._looped
        return self._with_scores(results | make(entered, wanted.astype(np.int32)), wanted)

    def _all_classes(self, arrays: Sequence[Any]) -> dict[str, Any]:
        if self._every is None:
            self._every = self.compile(lambda *images: self._at_once(*images, None), self.split.inputs.specs)
        return self._every(*arrays)

    def _scores(self, outputs: np.ndarray) -> np.ndarray:
        return np.asarray(of_all_classes(outputs, self.class_count))

    def _with_scores(self, results: dict[str, np.ndarray], wanted: np.ndarray) -> dict[str, np.ndarray]:
        scores = self._scores(results["outputs"])
        chosen = np.broadcast_to(wanted, (len(scores), wanted.shape[1])).astype(np.int32)
        peaks = np.broadcast_to(results["gradient_peaks"], chosen.shape)
        found = {"gradient_peaks": peaks, "scores": np.take_along_axis(scores, chosen, axis=1)}
        return results | found | {"class_indices": chosen}

    def _cut(self, *inputs: Any) -> dict[str, Any]:
        return {
            "cut": self.split.extract(inputs),
            "finite_images": all_finite(inputs[self.split.inputs.image_index]),
        }

    def _outputs(self, *cut: Any) -> dict[str, Any]:
        seen = self.explained(self.split.finish(list(cut)), tf.zeros(tf.shape(cut[0])[:1], tf.int32))
        return {name: seen[name] for name in ("outputs", "probabilities") if seen[name] is not None}

    def _at_once(self, *tensors: Any) -> dict[str, Any]:
        """All of it, for images and the classes (K,), None for every one."""
        entered = self._cut(*tensors[:-1])
        wanted = None if tensors[-1] is None else tensors[-1][None]
        made = self._product(entered["cut"][0], wanted, entered["finite_images"])
        return {**self._outputs(*entered["cut"]), **made, "finite_images": entered["finite_images"]}

    def _multiplied(self, entered: dict[str, Any], wanted: np.ndarray) -> dict[str, np.ndarray]:
        made = self._maps(entered["cut"][0], tf.constant(wanted), entered["finite_images"])
        return {name: tensor.numpy() for name, tensor in made.items()}

    def _product(self, activations: Any, wanted: Any, finite_images: Any) -> dict[str, Any]:
        """Maps (B, K, H, W) and gradient peaks of the classes (B, K), (1, K) for all images, None for every class."""
        assert self._linear is not None
        assert self._form is not None
        activations = tf.cast(activations, tf.float32)
        shape = tf.shape(activations)
        flat = tf.reshape(activations, [shape[0], -1, shape[-1]])
        kernel = of_all_classes(self._linear.kernel(), self.class_count)
        cell_count = tf.cast(tf.shape(flat)[1], tf.float32)
        weights = self._form(kernel, cell_count)
        peaks = tf.reduce_max(tf.abs(kernel), axis=0) / cell_count
        if wanted is None:  # gathering a thousand columns takes as long as multiplying them
            peaks = peaks[None]
        else:
            # Columns, (C, B or 1, K), to (B or 1, C, K): a kernel of a thousand classes is not turned around for that.
            weights = tf.transpose(tf.gather(weights, wanted, axis=1), [1, 0, 2])
            peaks = tf.gather(peaks, wanted)
        raw = tf.transpose(tf.linalg.matmul(flat, weights), [0, 2, 1])
        maps = tf.reshape(raw, tf.concat([[-1], shape[1:-1]], axis=0))
        heatmaps = normalise(maps, tf.repeat(finite_images, tf.shape(raw)[1]))
        size = tf.concat([tf.shape(raw)[:2], shape[1:-1]], axis=0)
        return {
            "raw": tf.reshape(raw, size),
            "heatmaps": tf.reshape(heatmaps, size),
            "gradient_peaks": peaks,
        }

    def _looped(self, entered: dict[str, Any], wanted: np.ndarray) -> dict[str, np.ndarray]:
        finite = entered["finite_images"].numpy()
        columns = np.broadcast_to(wanted, (len(finite), wanted.shape[1])).T
        once = self.needs == "activations"  # such a map is the same for every class
        made = [
            [tensor.numpy() for tensor in self._maps(*entered["cut"], column)]
            for column in columns[: 1 if once else None]
        ]
        raw, peaks = (np.stack(arrays, axis=1) for arrays in zip(*made, strict=True))
        repeats = len(columns) if once else 1
        raw, peaks = raw.repeat(repeats, axis=1), peaks.repeat(repeats, axis=1)
        one_map_each = raw.reshape(-1, *raw.shape[2:])
        heatmaps = normalise(tf.constant(one_map_each), np.repeat(finite, raw.shape[1])).numpy().reshape(raw.shape)
        return {"raw": raw, "heatmaps": heatmaps, "gradient_peaks": peaks}

    def _one_class(self, *tensors: Any) -> tuple[Any, Any]:
        """Map (B, H, W) of one class of each image, and the gradients' peak."""
        results = self.mapped(list(tensors[:-1]), tensors[-1])
        return results["raw"], results["gradient_peaks"]


def _best(scores: np.ndarray, top: int) -> np.ndarray:
    """(B, top) each image's best classes, best first."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :top]


def _check_rule(rule: Rule) -> None:
    if needs_of(rule) not in ("activations", "gradients", "curvature"):
        name = getattr(rule, "__name__", type(rule).__name__)
        raise ValueError(
            f"Expected a method of one forward pass, received '{name}', which runs the network again for each class: "
            "call explainer(images, target) for the classes you want."
        )


class ClassMaps:
    """Heatmaps of several classes of each image.

    Attributes:
        heatmaps: (B, K, H, W) float32 in [0, 1]: after relu, each divided by its own maximum; a zero map stays zero.
        raw: (B, K, H, W) float32 before relu and normalising; on one scale for all classes of an image.
        scores: (B, K) float32, the classes' scores before the softmax.
        probabilities: (B, K) float32, theirs; None where the outputs are values.
        class_indices: (B, K) int32.
        labels: B lists of K names.
        layer_name: path of the layer.
        method: name of the rule.
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        names: ClassNames,
        *,
        layer_name: str,
        method: str,
        image_size: tuple[int, ...],
        has_open_head: bool,
        offset: tuple[float, ...] = (0.0, 0.0),
        needs: str = "gradients",
    ):
        self.heatmaps = arrays["heatmaps"]
        self.raw = arrays["raw"]
        self.scores = arrays["scores"]
        self.class_indices = arrays["class_indices"]
        self.labels = [[names.label(index) for index in row] for row in self.class_indices]
        self.layer_name = layer_name
        self.method = method
        everything = arrays.get("probabilities")
        self.probabilities = None if everything is None else np.take_along_axis(everything, self.class_indices, axis=1)
        self._arrays = arrays
        self._options: dict[str, Any] = {
            "layer_name": layer_name,
            "method": method,
            "image_size": image_size,
            "has_open_head": has_open_head,
            "offset": offset,
            "class_names": names.by_index,
            "needs": needs,
        }

    def __len__(self) -> int:
        return len(self.heatmaps)

    def of_class(self, position: int) -> Explanation:
        """The B maps at one position of the axis K, with all that an explanation can do: overlay, plot, boxes, save.

        Args:
            position: 0 to K - 1; with `top=`, 0 is each image's best class.

        Raises:
            ValueError: no such position.
        """
        count = self.heatmaps.shape[1]
        if not 0 <= position < count:
            raise ValueError(f"Expected a position below {count}, the number of maps of an image, received {position}.")
        arrays = dict(self._arrays)
        for name in ("heatmaps", "raw", "scores", "class_indices", "gradient_peaks"):
            arrays[name] = self._arrays[name][:, position]
        return Explanation(arrays, labels=[row[position] for row in self.labels], **self._options)

    def of_each_class(self) -> list[Explanation]:
        """`of_class` of all K positions."""
        return [self.of_class(position) for position in range(self.heatmaps.shape[1])]

    def plot(self, photos: Photos | None = None, colormap: str | None = None) -> Figure:
        """A figure with a row for each image: its maps, one a class, over them the class and its probability.

        Args:
            photos: B photos (H0, W0, 3) uint8 RGB, of any sizes, to paint the maps on and to show before them; None for
                the maps alone.
            colormap: name of a colour map of OpenCV or Matplotlib. Defaults to "jet".

        Returns:
            Matplotlib Figure; `figure.savefig(path)` writes it.

        Raises:
            TypeError: paths instead of photos.
            ValueError: another number of photos than of images; maps that are no pictures; more than 50 classes.
        """
        from tf_gradcam._figures.classes import class_figure

        return class_figure(self.of_each_class(), photos, colormap)

    def save(self, directory: str | os.PathLike[str], photos: Photos | None = None) -> list[Path]:
        """Write the maps as arrays and, on photos, as overlays.

        Args:
            directory: folder, made where it does not exist.
            photos: B photos (H0, W0, 3) uint8 RGB, of any sizes, or None.

        Returns:
            Paths of the files: `<number>.class-<index>.heatmap.npy` (H, W) float32 and, with photos,
            `<number>.class-<index>.overlay.png`, class by class; a class that was asked for twice has one.

        Raises:
            TypeError, ValueError, OSError: as `Explanation.save`; nothing is written then.
        """
        written: dict[Path, None] = {}
        for explanation in self.of_each_class():
            stems = [f"{number:04d}.class-{index}" for number, index in enumerate(explanation.class_indices)]
            written |= dict.fromkeys(explanation.save_as(stems, directory, photos))
        return list(written)

    def __repr__(self) -> str:
        return (
            f"ClassMaps(images={len(self)}, heatmaps={self.heatmaps.shape}, layer={self.layer_name!r}, "
            f"method={self.method!r})"
        )


def class_maps(
    compiled: ClassPass,
    images: Images,
    classes: Sequence[int | str] | None = None,
    top: int | None = None,
    *,
    names: ClassNames,
    method: str,
    offset: tuple[float, ...] = (0.0, 0.0),
) -> ClassMaps:
    """Maps of many classes of a batch; what `Explainer.class_maps` does.

    Args:
        compiled: of one model, layer and rule.
        images: (B, H0, W0, 3) as the model expects them; a list or dict for a model of several inputs.
        classes: K indices or names, the same for all images, in the order of the result; None for all classes.
        top: instead, how many of each image's own best classes, best first; all where there are fewer.
        names: of the classes.
        method: name of the rule.
        offset: (down, right) pixels by which the maps are shifted when they are resized.

    Raises:
        TypeError: `classes` that is no list, a class that is neither index nor name; images that are no numbers.
        ValueError: both `classes` and `top`, none or an unknown class, `top` below 1; images of another shape; no
            finite image at all.
    """
    if classes is not None and top is not None:
        raise ValueError("Expected either classes or top, received both.")
    arrays = compiled.split.inputs.flatten(images)
    count = compiled.class_count
    assert count is not None  # or the pass would have refused the outputs
    names.check_count(count)
    indices = None if classes is None else _checked(classes, count, names)
    is_number = isinstance(top, (int, np.integer)) and not isinstance(top, bool)
    if top is not None and not (is_number and top >= 1):
        raise ValueError(f"Expected top as a number of classes of at least 1, received {top!r}.")
    results = compiled.of_classes(arrays, indices, None if top is None else min(int(top), count))
    if not results["finite_images"].any():
        raise ValueError("Expected images of finite numbers, received NaN or infinite values in every image.")
    return ClassMaps(
        results,
        names,
        method=method,
        layer_name=compiled.split.layer_name,
        image_size=tuple(arrays[compiled.split.inputs.image_index].shape[1:-1]),
        has_open_head=compiled.head_kind != "linear",
        offset=offset,
        needs=compiled.needs,
    )


def _checked(classes: Sequence[int | str], class_count: int, names: ClassNames) -> np.ndarray:
    """Class indices (K,) of a list of indices and names."""
    if isinstance(classes, (str, bytes)) or not hasattr(classes, "__len__") or np.ndim(classes) != 1:
        raise TypeError(f"Expected classes as a list of indices or names, or None for all, received {classes!r}.")
    items = list(classes)
    if not items or any(item is None for item in items):
        raise ValueError(f"Expected at least one class, each an index or a name, received {classes!r}.")
    indices = class_indices(items, len(items), names)
    check_classes(indices, class_count, names)
    return indices
