"""All classes from one forward pass: a map of every class that is asked for.

Axis legend: B images, K classes asked for, H x W cells of the layer (any number of spatial axes).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_gradcam._explain.classpass import ClassPass
from tf_gradcam._results.explanation import Explanation
from tf_gradcam.targets.classes_scores import ClassNames, check_classes, class_indices

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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

    def plot(self, photos: Any = None, colormap: str | None = None) -> Figure:
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

    def save(self, directory: str | os.PathLike[str], photos: Any = None) -> list[Path]:
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
    images: Any,
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


def _checked(classes: Any, class_count: int, names: ClassNames) -> np.ndarray:
    """Class indices (K,) of a list of indices and names."""
    if isinstance(classes, (str, bytes)) or not hasattr(classes, "__len__") or np.ndim(classes) != 1:
        raise TypeError(f"Expected classes as a list of indices or names, or None for all, received {classes!r}.")
    items = list(classes)
    if not items or any(item is None for item in items):
        raise ValueError(f"Expected at least one class, each an index or a name, received {classes!r}.")
    indices = class_indices(items, len(items), names)
    check_classes(indices, class_count, names)
    return indices
