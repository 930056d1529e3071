"""The result of an Explainer: heatmaps, what they explain, and their pictures.

Axis legend: B images, H x W cells of the layer (any number of spatial axes), K classes, H0 x W0 pixels.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tf_gradcam._errors import Message
from tf_gradcam._files.atomic import encoded_array, made_folder, write_files
from tf_gradcam._files.class_names import ClassNames, Labels, check_classes, label_indices
from tf_gradcam._results.diagnosis import EMPTY_MASK, EMPTY_REGION, diagnose
from tf_gradcam._results.segmentation import Segmentation
from tf_gradcam._results.verdict import Verdict
from tf_gradcam.image.io import Photo, Photos, encoded_image
from tf_gradcam.image.masks import encoded_mask, outlined
from tf_gradcam.image.overlay import Look, paint, to_photo
from tf_gradcam.image.regions import Box, Threshold, boxes_of, contours_of, hot_pixels, largest_of
from tf_gradcam.image.resize import Placement, Unplaced, place_maps, positive_share, signed_share
from tf_gradcam.image.thumbnails import photos_of_slices

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_MAX_IN_NOTEBOOK = 24
_PER_IMAGE = {
    *("heatmaps", "raw", "signed_heatmaps", "outputs", "probabilities", "scores", "class_indices", "labels", "values"),
    *("_gradient_peaks", "_finite_images", "_activation_peaks", "_roundings", "diagnosis", "photos", "truth", "series"),
    *("segmentation", "sides", "spread"),
}


class MapArrays(NamedTuple):
    """The arrays behind an `Explanation`, whose attributes of the same names describe them.

    For maps of several classes, K follows B in `raw`, `heatmaps`, `scores`, `class_indices` and `gradient_peaks`.

    Attributes:
        gradient_peaks: (B,), the largest absolute gradient, or value that a rule without gradients reads instead.
        finite_images: (B,), whether all pixels are finite.
        activation_peaks: (B,), the largest absolute activation; None for rules that read several layers.
        roundings: (B,), the error of a cell's sum in the precision of the layer; None where it is not a sum.
    """

    raw: NDArray[np.float32]
    heatmaps: NDArray[np.float32]
    outputs: NDArray[np.float32]
    probabilities: NDArray[np.float32] | None
    scores: NDArray[np.float32]
    class_indices: NDArray[np.int32]
    gradient_peaks: NDArray[np.float32]
    finite_images: NDArray[np.bool_]
    activation_peaks: NDArray[np.float32] | None = None
    roundings: NDArray[np.float32] | None = None


class Judge(Protocol):
    """An explainer that judges its maps."""

    def judge(self, explanation: Explanation, images: Any, target: Any = None, *, seed: int = 0) -> list[Verdict]: ...


class Explanation:
    """Heatmaps of a batch and what they explain.

    Attributes:
        heatmaps: (B, H, W) float32 in [0, 1]: after relu, each divided by its maximum; a zero map stays zero.
        raw: (B, H, W) float32 before relu and normalising.
        outputs: (B, K) float32, the scores before a final softmax or sigmoid (of a model's first output).
        probabilities: (B, K) float32, (B, 2) for one sigmoid unit; None where the outputs are values.
        scores: (B,) float32, what was explained.
        class_indices: (B,) int32, the explained classes; -1 for a callable target.
        labels: B names of what was explained.
        layer_name: path of the layer.
        method: name of the rule.
        image_size: (H0, W0) of the model's input that the layer belongs to; (T0,) for signals, (D0, H0, W0) for
            volumes.
        placement: where the cells lie in that input, or the reason why it is not known.
        offset: (down, right) pixels from the middle of the input to the middle of the maps, by axis of the maps.
        signed: whether the target is a balance of two sides: pictures then show `signed_heatmaps`.
        sides: B pairs of what the lowest and the highest value of a signed map speak for, None where it is not known.
        is_behind_pooling: whether the layer's cells meet the outputs by their mean and one linear layer alone.
        class_names: {index: name} of the classes, empty where none are known.
        output_name: the explained one of several outputs; None for one output, or a callable target that may read any.
        unit: of `values`, "" for numbers without one; None where what is explained is not a value.
        values: (B,) float32, the values of a regression that are explained; None of other tasks.
        photos: as given to `with_photos`, else None.
        truth: (B,) int32, the true classes given to `with_photos`, else None.
        series: (B, T0) signals or token numbers, of a model whose input has no other axes, else None.
        spread: (B, H, W) float32, the standard deviation of the maps of the copies over which `augment` or `smooth`
            took the mean, each as `shown`, relative to its own maximum; None of other explanations.
        segmentation: predicted masks and explained regions, `.predicted` and `.inside` (B, H1, W1) at the cells of the
            output; None where something else was explained.
    """

    photos: Photos | None = None
    truth: NDArray[np.int32] | None = None
    spread: NDArray[np.float32] | None = None

    def __init__(
        self,
        arrays: MapArrays,
        *,
        labels: Sequence[str],
        layer_name: str,
        method: str,
        placement: Placement | Unplaced,
        has_open_head: bool,
        class_names: Mapping[int, str] | None = None,
        signed: bool = False,
        sides: Sequence[tuple[str, str]] | None = None,
        is_behind_pooling: bool = False,
        needs: str = "gradients",
        output_name: str | int | None = None,
        earlier_layer: str | None = None,
        input_names: Sequence[str] = (),
        series: NDArray[Any] | None = None,
        unit: str | None = None,
        values: NDArray[np.float32] | None = None,
        segmentation: Segmentation | None = None,
        detail_layer: str | None = None,
    ):
        self.segmentation = segmentation
        self._detail_layer = detail_layer
        self.heatmaps = arrays.heatmaps
        self.raw = arrays.raw
        self.outputs = arrays.outputs
        self.probabilities = arrays.probabilities
        self.scores = arrays.scores
        self.class_indices = arrays.class_indices
        self.labels = list(labels)
        self.layer_name = layer_name
        self.method = method
        self.placement = placement
        self.series = series
        self.unit = unit
        self.values = None if unit is None else arrays.scores if values is None else values
        self.signed = signed
        self.sides = None if sides is None else list(sides)
        self.is_behind_pooling = is_behind_pooling
        self._gradient_peaks = arrays.gradient_peaks
        self._finite_images = arrays.finite_images
        self._has_open_head = has_open_head
        self._names = ClassNames(class_names or None)
        self.class_names = self._names.by_index
        self._needs = needs
        self.output_name = None if output_name is None else str(output_name)
        self._activation_peaks = arrays.activation_peaks
        self._roundings = arrays.roundings
        self._earlier_layer = earlier_layer
        self._input_names = list(input_names)

    @property
    def image_size(self) -> tuple[int, ...]:
        return self.placement.image_size

    @property
    def offset(self) -> tuple[float, ...]:
        cells = self.heatmaps.shape[1:]
        return (0.0,) * len(cells) if isinstance(self.placement, Unplaced) else self.placement.offset_of(cells)

    @property
    def unplaced(self) -> str:
        """The reason why the maps cannot be drawn over the input, "" where they can."""
        if isinstance(self.placement, Unplaced):
            return self.placement.reason
        sides = zip(self.placement.axes, self.heatmaps.shape[1:], strict=True)
        has_other = any(axis < 0 and count > 1 for axis, count in sides)
        return "one of its axes is not a place in the input" if has_other else ""

    @cached_property
    def diagnosis(self) -> list[str | None]:
        """Per image None, or the cause and the remedy of a map that shows nothing (blank, or the same everywhere)."""
        return [
            self._empty_region(index)
            or diagnose(
                self.raw[index],
                gradient_peak=float(self._gradient_peaks[index]),
                finite_image=bool(self._finite_images[index]),
                saturated_probability=self._saturated_probability(index),
                layer=self.layer_name,
                label=self.labels[index],
                score=float(self.scores[index]),
                signed=self.signed,
                needs=self._needs,
                activation_peak=np.inf if self._activation_peaks is None else float(self._activation_peaks[index]),
                rounding=0.0 if self._roundings is None else float(self._roundings[index]),
                is_predicted=self._is_predicted(index),
                earlier_layer=self._earlier_layer,
                detail_layer=self._detail_layer,
            )
            for index in range(len(self))
        ]

    def _empty_region(self, index: int) -> str | None:
        """Return the diagnosis of an image in which nothing is inside of the explained region."""
        own = self.segmentation
        if own is None or own.inside[index].any() or not self._finite_images[index]:
            return None
        if own.is_given:
            return EMPTY_MASK.format(cells=" x ".join(map(str, own.inside.shape[1:])))
        label, number = self.class_name(int(own.explained[index])), str(own.explained[index])
        name, text = (repr(label), label) if self._names.is_given else (number, number)
        return EMPTY_REGION.format(label=label, name=name, text=text)

    def _is_predicted(self, index: int) -> bool:
        """Return whether the explained class is the most probable one, of a segmentation in the explained cells."""
        values, masks = self.probabilities, self.segmentation
        if masks is not None:
            return bool((masks.predicted[index][masks.inside[index]] == masks.explained[index]).all())
        if values is None or values.ndim != 2:
            return False
        return int(self.class_indices[index]) == int(np.argmax(values[index]))

    def probability(self, index: int) -> float | None:
        """Return the probability of the explained class, None where a value was explained."""
        values, chosen = self.probabilities, int(self.class_indices[index])
        return None if values is None or values.ndim != 2 or chosen < 0 else float(values[index, chosen])

    def _saturated_probability(self, index: int) -> float | None:
        """Return the explained value if it is itself a probability, 0 or 1 to seven digits."""
        score, outputs = float(self.scores[index]), self.outputs[index]
        if outputs.ndim != 1 or outputs.min() < 0 or abs(outputs.sum() - 1) > 1e-3:
            return None
        return score if not self._has_open_head and min(abs(score), abs(1 - score)) < 1e-7 else None

    def with_raw(
        self,
        raw: np.ndarray,
        *,
        layer_name: str,
        method: str,
        placement: Placement | Unplaced,
        diagnosis: Sequence[str | None],
        spread: NDArray[np.float32] | None = None,
    ) -> Explanation:
        """Return this explanation with other maps, for functions that combine or filter maps.

        Args:
            raw: (B, H, W) float32 before relu and normalising, of any size.
            layer_name, method: names of what the maps come from.
            placement: of the cells.
            diagnosis: per image None, or the reason why its map shows nothing.
            spread: (B, H, W) of the maps that were combined; None where they are not copies of one map.

        Returns:
            A new `Explanation`; this one does not change.
        """
        other = copy.copy(self)
        vars(other).pop("signed_heatmaps", None)
        other.spread = spread
        other.raw, other.heatmaps = raw, self._of_finite_images(positive_share(raw))
        other.layer_name, other.method, other.placement = layer_name, method, placement
        vars(other)["diagnosis"] = list(diagnosis)
        return other

    @cached_property
    def signed_heatmaps(self) -> NDArray[np.float32]:
        """(B, H, W) float32 in [-1, 1]: `raw`, each map divided by its largest absolute value; zero stays zero."""
        return self._of_finite_images(signed_share(self.raw))

    def _of_finite_images(self, maps: np.ndarray) -> np.ndarray:
        """Blank the maps of images that are not finite: a unit may turn NaN into a number."""
        return np.where(np.reshape(self._finite_images, (-1, *[1] * (maps.ndim - 1))), maps, np.float32(0))

    def __len__(self) -> int:
        return len(self.heatmaps)

    @property
    def shown(self) -> NDArray[np.float32]:
        """(B, H, W) float32, the maps in pictures: `signed_heatmaps` of a signed target, else `heatmaps`."""
        return self.signed_heatmaps if self.signed else self.heatmaps

    def resized(self, size: Sequence[int] | None = None) -> NDArray[np.float32]:
        """Resize the heatmaps to the input: bilinear, each cell at its place, edge cells extended to the border.

        Where the model cuts a part out of its input, the maps are zero outside of that part.

        Args:
            size: (height, width) pixels, (length,) for signals, (depth, height, width) for volumes; None: the input's.

        Returns:
            (B, H0, W0) float32 in [0, 1], shifted by the measured offset if the explainer has `align="measured"`.

        Raises:
            ValueError: `size` is not one positive number per axis, or the cells' places in the input are not known.
        """
        return place_maps(self.heatmaps, self._places(), size)

    def _places(self) -> Placement:
        if isinstance(self.placement, Unplaced) or self.unplaced:
            is_picture = self.heatmaps.ndim == 3
            paint = ", or overlay_heatmap(photo, heatmap) for a photo that a map covers whole" if is_picture else ""
            fact = (
                f"Expected maps whose cells are places in the input {self.image_size}, received maps "
                f"{self.heatmaps.shape}: layer '{self.layer_name}' is not a picture of it, because {self.unplaced}."
            )
            python = f"Use .heatmaps or plot(), which show the cells as they are{paint}."
            raise ValueError(Message(fact, python, "Choose another layer by --layer, see `tf-gradcam layers MODEL`."))
        return self.placement

    def shown_at(
        self, index: int, size: Sequence[int] | None = None, only: NDArray[np.intp] | None = None
    ) -> NDArray[np.float32]:
        """Return map `index` of `shown` at another size (None: the input's), (H0, W0) float32; errors as `resized`.

        Of volumes, `only` chooses slices.
        """
        return place_maps(self.shown[index][None], self._places(), size, only)[0]

    def heat_at(self, index: int, size: Sequence[int]) -> NDArray[np.float32]:
        """Return heatmap `index` of a picture at another size (H0, W0); errors as `boxes`."""
        self.check_pictures()
        return place_maps(self.heatmaps[index][None], self._places(), size)[0]

    def at_cells(self) -> Explanation:
        """Return this explanation with the map's own cells as its picture."""
        other = copy.copy(self)
        cells = self.heatmaps.shape[1:]
        other.placement = Placement.tiles(cells, cells, self.placement.input_index)
        return other

    def overlay(self, photos: Photos, alpha: float = 0.4, colormap: str | None = None, threshold: float = 0.0) -> Photo:
        """Paint heatmaps on photos; a signed target has one colour for and another against.

        Of a segmentation, the region that is explained is outlined.

        Args:
            photos: (B, H0, W0, 3) uint8 RGB, of any one size.
            alpha: weight of the heatmap in [0, 1]; 0 returns the photos byte for byte. Defaults to 0.4.
            colormap: "heat", the default, leaves cold regions as they are: its weight is `min(1, 2 * alpha * heat)`,
                its colours run from violet over green to yellow. A name of OpenCV or Matplotlib, such as "jet", has
                the weight `alpha` everywhere. Signed maps have `alpha * abs(value)`, and the two end colours of the
                map, for "heat" those of "bwr": red for, blue against.
            threshold: value relative to the map's maximum, from 0 to 1, below which the photo is untouched. Defaults to
                0, none.

        Returns:
            (B, H0, W0, 3) uint8 RGB.

        Raises:
            TypeError: paths instead of photos.
            ValueError: the number of photos is not the number of maps, photos of several sizes, maps that are not
                pictures, or as `overlay_heatmap`.
        """
        photos = self.taken_photos(photos)
        sizes = {np.shape(photo)[:2] for photo in photos}
        if len(sizes) > 1:
            raise ValueError(
                f"Expected photos of one size, received {sorted(sizes)}: use overlay_of(index, photo) for each."
            )
        painted = [self.overlay_of(index, photo, alpha, colormap, threshold) for index, photo in enumerate(photos)]
        return np.stack(painted)

    def overlay_of(
        self,
        index: int,
        photo: NDArray[Any],
        alpha: float = 0.4,
        colormap: str | None = None,
        threshold: float = 0.0,
    ) -> Photo:
        """Paint map `index` on a photo (H0, W0, 3) uint8 of any size; else as `overlay`."""
        self.check_pictures()
        _check_no_path(photo)
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)) or not -len(self) <= index < len(self):
            raise IndexError(f"Expected index, the number of a map, from 0 to {len(self) - 1}, received {index!r}.")
        look = Look(alpha, threshold, colormap)
        painted = paint(photo, self.shown_at(index, np.shape(photo)[:2]), self.signed, look)
        return painted if self.segmentation is None or not alpha else outlined(painted, self.segmentation.inside[index])

    def taken_photos(self, photos: Any) -> Any:
        """Return one photo per map: of the layer's input in a list or dict for several inputs, of its frame in clips.

        Raises an error that says what to pass where `photos` are something else.
        """
        photos = self._of_layer(photos)
        _check_no_path(photos)
        if not hasattr(photos, "__len__"):
            remedy = " Pass np.asarray(picture)[None]." if type(photos).__module__.startswith("PIL.") else ""
            raise TypeError(
                f"Expected {len(self)} photos in an array or a list, received {type(photos).__name__}.{remedy}"
            )
        if len(photos) != len(self):
            is_one = np.ndim(photos) == 3 and np.shape(photos)[-1] == 3
            remedy = " A single photo needs a batch axis: photo[None]." if is_one else ""
            raise ValueError(f"Expected {len(self)} photos, one per map, received {len(photos)}.{remedy}")
        for photo in photos:
            _check_no_path(photo)
        frame = getattr(self.placement, "frame", None)
        if frame is not None and all(np.ndim(photo) == 4 and len(photo) > frame for photo in photos):
            return [photos_of_slices(np.asarray(photo), [frame])[0] for photo in photos]
        return photos

    def _of_layer(self, photos: Any) -> Any:
        """Return the photos of the layer's input where there are photos of every input, in a list or dict."""
        names, index = self._input_names, self.placement.input_index
        if isinstance(photos, Mapping):
            if len(names) <= index or names[index] not in photos:
                wanted = f"'{names[index]}', the input of layer '{self.layer_name}'" if names else "an array or a list"
                raise ValueError(f"Expected photos of {wanted}, received a dict of {list(photos)}.")
            return photos[names[index]]
        is_of_inputs = isinstance(photos, (list, tuple)) and len(photos) == len(names) > 1
        return photos[index] if is_of_inputs and np.ndim(photos[index]) > len(self.image_size) + 1 else photos

    def check_pictures(self) -> None:
        """Raise a ValueError unless the maps are of pictures, at known places."""
        if not self.unplaced and len(self.image_size) != 2:
            raise ValueError(
                f"Expected maps of pictures (B, H, W), received {self.heatmaps.shape}. Use plot(photos) for signals, "
                "volumes and frames, or resized() and then overlay_heatmap for one slice of them."
            )
        self._places()

    def _read(self, read: Callable[[np.ndarray, Threshold], Any], threshold: Threshold) -> list[Any]:
        self.check_pictures()
        return [read(heatmap, threshold) for heatmap in self.resized()]

    def verdict(self, explainer: Judge, images: Any, target: Any = None, *, seed: int = 0) -> list[Verdict]:
        """Judge each map: does the model need what is hot, and is the map stable and confirmed by another rule?

            explanation.verdict(explainer, images)[0].words

        Args:
            explainer: the `Explainer` of these maps.
            images: as they were explained.
            target: the callable that was explained; None for classes and values.
            seed: of the random regions and the noise, the same for every image.

        Returns, Raises: as `Explainer.judge`, which this calls; TypeError for another explainer.
        """
        if not hasattr(explainer, "judge"):
            raise TypeError(
                "Expected the Explainer of these maps, such as Explainer(model), to run the model again, received "
                f"{type(explainer).__name__}."
            )
        return explainer.judge(self, images, target, seed=seed)

    def binary(self, threshold: Threshold = 0.15) -> NDArray[np.bool_]:
        """Return the hot pixels of each heatmap, at the size of the model's input.

        Args:
            threshold: a number relative to the map's maximum, above 0 and at most 1; "otsu" for the level that splits
                its values best in two; "p95" for its 95th percentile, p0 to p100. Defaults to the paper's 0.15.

        Returns:
            (B, H0, W0) bool; all False for a blank map.

        Raises:
            TypeError, ValueError: another threshold; maps that are not pictures.

        Source: Selvaraju et al. 2017, section 4.1, https://arxiv.org/abs/1610.02391.
        """
        return np.stack(self._read(hot_pixels, threshold))

    def largest_component(self, threshold: Threshold = 0.15) -> NDArray[np.bool_]:
        """Return the largest connected region of `binary(threshold)`, (B, H0, W0) bool; empty for a blank map."""
        return np.stack(self._read(largest_of, threshold))

    def boxes(self, threshold: Threshold = 0.15) -> list[list[Box]]:
        """Return per image the bounding boxes of the connected regions of `binary(threshold)`, the largest first.

        Each is a `Box(xmin, ymin, xmax, ymax)` in pixels of the model's input; the list of a blank map is empty.
        """
        return self._read(boxes_of, threshold)

    def contours(self, threshold: Threshold = 0.15) -> list[list[NDArray[np.int32]]]:
        """Return per image the outlines of the regions of `boxes` in their order, each (P, 2) int32 pixels (x, y)."""
        return self._read(contours_of, threshold)

    def top(self, count: int = 5) -> list[list[tuple[str, float]]]:
        """Return the most probable classes of each image: (label, probability), best first.

        Args:
            count: number of classes, at least 1; a model with fewer returns them all. Defaults to 5.

        Raises:
            ValueError: `count` below 1, or outputs that are not classes.
        """
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
            raise ValueError(f"Expected count of at least 1, received {count!r}: a whole number of classes.")
        if self.probabilities is None or self.probabilities.ndim != 2:
            raise ValueError(f"Expected outputs that are classes, received values of shape {self.outputs.shape}.")
        best = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :count]
        return [
            [(self.class_name(k), float(row[k])) for k in order]
            for row, order in zip(self.probabilities, best, strict=True)
        ]

    def class_name(self, index: int) -> str:
        """Return the name of a class, "class 243" where it does not have one."""
        return self._names.label(index)

    def with_photos(self, photos: Photos | None = None, labels: Labels | None = None) -> Explanation:
        """Return this explanation with the photos and true classes that notebooks and `plot` show beside its maps.

            Explainer(model, class_names=names)(images).with_photos(photos, labels)    # last in a cell: the picture

        Args:
            photos: as `plot`; None for those it has.
            labels: the true class of each image, B indices or names; None for those it has.

        Returns:
            A new `Explanation`; this one does not change. Photos are kept, not copied.

        Raises:
            TypeError: paths instead of photos, labels that are neither indices nor names.
            ValueError: the number of photos or labels is not the number of maps; an unknown class.
        """
        other = copy.copy(self)
        if photos is not None:
            other.photos = self.taken_photos(photos)
        if labels is not None:
            values = self.probabilities
            other.truth = label_indices(labels, len(self), self._names)
            check_classes(other.truth, None if values is None or values.ndim != 2 else values.shape[1], self._names)
        return other

    def plot(
        self,
        photos: Photos | None = None,
        colormap: str | None = None,
        *,
        labels: Labels | None = None,
        threshold: float = 0.0,
        cells: bool = False,
        boxes: Sequence[Any] | None = None,
        masks: Sequence[Any] | None = None,
    ) -> Figure:
        """Draw all maps under what they explain and its probability, with predicted and true classes and a colour bar.

            explanation.plot(photos, labels=labels)
            explanation.plot(photos, cells=True)    # the map's own cells as squares, such as 14 x 14
            explanation.plot(photos, boxes=[[(40, 60, 180, 200)], []])    # of the first photo, none of the second

        Args:
            photos: pictures beside the maps; None for the photos of `with_photos`, else the maps alone. B photos
                (H0, W0, 3) uint8 RGB, of any sizes; signals (T0,) or (T0, C); volumes (D0, H0, W0) or frames
                (D0, H0, W0, 3).
            colormap: as `overlay`.
            labels: the true class of each image, B indices or names; a wrong prediction is written in red.
            threshold: as `overlay`; the colour bar is cut there.
            cells: draw the values of the map's own cells beside the photo, in place of the map resized to the photo.
                Defaults to False.
            boxes: true boxes, drawn over photos: B lists of (xmin, ymin, xmax, ymax) in pixels of the photo.
            masks: true masks, outlined likewise: B masks (H0, W0) of the photos' size, bool or 0 and 1; None for a
                photo without one.

        Returns:
            Matplotlib Figure, which a notebook shows. `figure.savefig(path)` writes it, .pdf and .svg with text as text
            and photos at 300 dpi.

        Raises:
            TypeError: paths instead of photos, labels that are neither indices nor names, boxes that are not numbers.
            ValueError: the number of photos, labels, boxes or masks is not the number of maps; an unknown class; maps
                of more than three axes, or with other axes than the input; `cells` of text, whose cells are its
                tokens; a box outside its photo, a mask of another size, or either without photos.
        """
        from tf_gradcam._figures.photos import explanation_figure
        from tf_gradcam._figures.truth import taken_truth

        shown, truth = self.with_photos(photos, labels), None
        if boxes is not None or masks is not None:
            if shown.photos is None or len(self.image_size) != 2:
                received = "none" if shown.photos is None else f"the input {self.image_size}"
                raise ValueError(
                    f"Expected photos (H0, W0, 3) beside boxes and masks, which are drawn on them, received {received}."
                )
            truth = taken_truth(boxes, masks, [np.shape(photo)[:2] for photo in shown.photos])
        look = Look(threshold=threshold, colormap=colormap)
        return explanation_figure(shown, shown.series if shown.photos is None else shown.photos, look, cells, truth)

    def _repr_html_(self) -> str | None:
        """Return the figure of the first maps for a notebook, None where nothing can be drawn."""
        if not len(self) or self.heatmaps.ndim > 4:
            return None
        shown = self.part(slice(_MAX_IN_NOTEBOOK))
        more = f"<p>The first {len(shown)} of {len(self)} images.</p>" if len(shown) < len(self) else ""
        return f"{shown.plot()._repr_html_()}{more}"

    def part(self, images: slice) -> Explanation:
        """Return the explanation of some of the images, such as `slice(2, 3)`."""
        other = copy.copy(self)
        for name in _PER_IMAGE & vars(self).keys():
            if vars(self)[name] is not None:
                vars(other)[name] = vars(self)[name][images]
        return other

    def picture_of(
        self,
        index: int,
        photo: NDArray[Any],
        alpha: float = 0.4,
        colormap: str | None = None,
        threshold: float = 0.0,
    ) -> NDArray[np.uint8]:
        """Return `overlay_of`; of a regression with the value and its unit in the upper left corner, as in files."""
        painted = np.asarray(self.overlay_of(index, photo, alpha, colormap, threshold))
        if self.values is None:
            return painted
        from tf_gradcam._figures.labels import with_text
        from tf_gradcam._figures.sheet import value_of

        return with_text(painted, value_of(self, index))

    def save(self, directory: str | os.PathLike[str], photos: Photos | None = None) -> list[Path]:
        """Write the maps as arrays and, on photos, as overlays; those of a regression show the value and its unit.

        Args:
            directory: folder, created if it does not exist.
            photos: B photos (H0, W0, 3) uint8 RGB, of any sizes, or None.

        Returns:
            Paths of the files: `<number>.heatmap.npy` (H, W) float32 and, with photos, `<number>.overlay.png`; of a
            segmentation also `<number>.mask.png`, an indexed PNG of the predicted classes at the photo's size; where
            there is a spread, `<number>.spread.npy` (H, W) float32.

        Raises:
            TypeError: paths instead of photos.
            ValueError: the number of photos is not the number of maps, photos for maps that are not pictures, or an
                array that is not a photo; nothing is written then.
            OSError: `directory` is a file, or cannot be written.
        """
        return self.save_as([f"{index:04d}" for index in range(len(self))], directory, photos)

    def save_as(
        self, stems: Sequence[str | None], directory: str | os.PathLike[str], photos: Photos | None = None
    ) -> list[Path]:
        """Write the files of each of B stems, such as `<stem>.heatmap.npy`, nothing for None; else as `save`."""
        if photos is not None:
            photos = self.taken_photos(photos)
            self.check_pictures()
            for photo in photos:
                to_photo(photo)
        folder = made_folder(directory, "directory")
        written = []
        for index, stem in enumerate(stems):
            if stem is None:
                continue
            files = [(folder / f"{stem}.heatmap.npy", encoded_array(self.heatmaps[index]))]
            if self.spread is not None:
                files.append((folder / f"{stem}.spread.npy", encoded_array(self.spread[index])))
            if photos is not None:
                path = folder / f"{stem}.overlay.png"
                files.append((path, encoded_image(path, self.picture_of(index, photos[index]))))
            if self.segmentation is not None and len(self.image_size) == 2:
                size = self.image_size if photos is None else np.shape(photos[index])[:2]
                files.append((folder / f"{stem}.mask.png", encoded_mask(self.segmentation.values(index, size))))
            write_files(files)
            written += [path for path, _ in files]
        return written

    def __repr__(self) -> str:
        return (
            f"Explanation(images={len(self)}, heatmaps={self.heatmaps.shape}, layer={self.layer_name!r}, "
            f"method={self.method!r}{'' if self.output_name is None else f', output={self.output_name!r}'})"
        )


def joined(parts: Sequence[Explanation]) -> Explanation:
    """Return the explanation of the images of several batches, of one explainer, in their order."""
    other = copy.copy(parts[0])
    for name in _PER_IMAGE & vars(other).keys():
        values: list[Any] = [vars(part).get(name) for part in parts]
        if isinstance(values[0], np.ndarray):
            vars(other)[name] = np.concatenate(values)
        elif isinstance(values[0], Segmentation):
            vars(other)[name] = Segmentation.joined(values)
        elif values[0] is not None:
            vars(other)[name] = [value for some in values for value in some]
    return other


def _check_no_path(photo: object) -> None:
    if isinstance(photo, (str, bytes, os.PathLike)):
        name = os.fsdecode(photo)
        raise TypeError(
            f"Expected photos as arrays (H0, W0, 3) uint8, received the path '{name}'. Read it with "
            f"tf_gradcam.image.load_image('{name}')."
        )
