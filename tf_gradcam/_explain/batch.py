"""Batches of image files: explained as one `Explanation`, or into files.

Axis legend: B images, H0 x W0 pixels, C channels.
"""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from multiprocessing.pool import ThreadPool  # its threads do not keep an interrupted program alive
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam._errors import Message, for_command_line, warn
from tf_gradcam._explain.class_maps import Thresholds
from tf_gradcam._explain.detections import NothingFoundWarning
from tf_gradcam._explain.explainer import Align, Explainer
from tf_gradcam._explain.fusion import Progress
from tf_gradcam._explain.verdict import check_task, row_of
from tf_gradcam._figures.detections import detection_figure, detection_overlay
from tf_gradcam._files.atomic import encoded_array, write_files
from tf_gradcam._files.class_names import ClassNames, ClassNamesLike
from tf_gradcam._files.find import DEFAULT_SAVED, MASK_SUFFIX, SAVED, find_images
from tf_gradcam._files.manifest import DONE, FAILED, Row, files_of
from tf_gradcam._models.given_inputs import GivenInputs
from tf_gradcam._models.images import ModelImages, model_failure
from tf_gradcam._models.layers import LayerLike
from tf_gradcam._models.open_model import check_scaling, open_model
from tf_gradcam._models.preprocessing import Preprocessing
from tf_gradcam._results.annotations import Annotations, FoundRegion
from tf_gradcam._results.class_maps import ClassMaps
from tf_gradcam._results.detections import Detections
from tf_gradcam._results.diagnosis import EMPTY_MASK
from tf_gradcam._results.explanation import Explanation, joined
from tf_gradcam._rules.contract import Rule
from tf_gradcam._rules.table import MethodName, find_method
from tf_gradcam.image.io import Photo, encoded_image, read_picture
from tf_gradcam.image.masks import RegionFiles, encoded_mask, encoded_region, nearest
from tf_gradcam.image.overlay import DEFAULT_LOOK, Look, paint
from tf_gradcam.image.regions import hot_pixels, regions_of
from tf_gradcam.image.resize import check_size
from tf_gradcam.image.thumbnails import thumbnail
from tf_gradcam.targets.base import TargetLike
from tf_gradcam.targets.outputs import Distance, Value
from tf_gradcam.targets.regions import Region
from tf_gradcam.targets.text import Asked, NearPicture

# Reading and writing pictures, which OpenCV does outside Python's lock; further threads only hold more photos.
_THREADS = min(8, os.cpu_count() or 1)

_LEAST_SHARE = 0.01  # of the cells, from which on a predicted class is one that an image has

_HOT = 0.15  # relative to the map's maximum, as `Explanation.boxes`

_TOO_LARGE = "The memory is too small for this image. Scale it down with another program."  # MemoryError says nothing


def explain(
    images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    model: keras.Model | str | os.PathLike[str],
    *,
    target: TargetLike = None,
    layer: LayerLike | Sequence[LayerLike] | None = None,
    method: MethodName | Rule = "gradcam",
    class_names: ClassNamesLike | str | os.PathLike[str] | None = None,
    preprocess: str = "auto",
    size: tuple[int, int] | None = None,
    align: Align = False,
    batch_size: int = 8,
    output: str | int | None = None,
    task: str | None = None,
    unit: str | None = None,
) -> Explanation:
    """Explain image files, as the command line and the web page do: the same pixels, the same numbers.

        explain("dog.jpg", "my_model.keras").plot()
        explain("photos/*.jpg", model, target="beagle", class_names=names, method="layercam").save("maps")

    Args:
        images: a file, a folder (searched to any depth), a pattern such as "photos/*.jpg", or a list of these; each
            file counts once, in this order.
        model: a built Keras model of one input of images, a .keras or .h5 file, or the name of a network of
            `keras.applications`, whose ImageNet weights Keras downloads once. Import the code of your own registered
            classes first; for others give the model of `load_model(path, custom_objects=...)`.
        target: None for each image's top class (a value, the largest region of a segmentation), a class index or name,
            one of either per image, or a callable. The mask of a `targets.Region` may have the size of the photos.
        layer: as `Explainer` takes it; None for the last spatial layer.
        method: a key of `METHODS`, or a callable of the same contract. Defaults to "gradcam".
        class_names: names in class order, {index: name}, or a file of them, one a line or JSON; None for the names that
            a .keras file carries, and ImageNet's for a network by name.
        preprocess: the scaling that the model expects: "raw" or "none" (0..255), "unit" ([0, 1]), "tf" ([-1, 1]),
            "torch", "caffe"; "detect" finds it from the pictures; "auto" takes it from the file's description or the
            model, and warns where pictures clearly fit another. Defaults to "auto".
        size: (height, width) of the images in pixels, for a model that leaves its size free.
        align: False, or "measured" to shift maps to where the trained cells look.
        batch_size: images at a time. Defaults to 8.
        output: as `Explainer` takes it, for a model of several outputs.
        task: as `Explainer` takes it; None for what the file says, or the output shows.
        unit: as `Explainer` takes it.

    Returns:
        `Explanation` of the B images, with the photographs (H0, W0, 3) uint8 RGB at full size in `.photos`: `.plot()`
        needs nothing more. They stay in memory; for thousands of files use `tf-gradcam explain`.

    Raises:
        OSError, ValueError: a file (named) that is missing or not a picture; a folder or pattern without images; a
            model file that cannot be loaded; else as `Explainer`.
        TypeError: images that are not paths; as `Explainer`.
    """
    paths = _paths(images)
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ValueError(f"Expected batch_size of at least 1, received {batch_size!r}.")
    each: Any = None if callable(target) or np.ndim(target) != 1 else target  # type: ignore[arg-type]
    if each is not None and len(each) != len(paths):
        raise ValueError(f"Expected one target per image, {len(paths)} in all, received {len(each)}.")
    find_method(method)  # before a large model is loaded
    sides = None if size is None else check_size(size)
    opened = check_scaling(open_model(model, class_names=class_names, preprocess=preprocess), paths, size=sides)
    explainer = Explainer(
        opened.reader,
        layer,
        method,
        class_names=opened.class_names,
        align=align,
        output=output,
        task=task,
        unit=unit,
    )
    taken = ModelImages(opened.reader.inputs, opened.preprocessing, sides)
    photos: list[Photo] = []
    parts: list[Explanation] = []
    with ThreadPool(_THREADS) as pool:
        # The next photos are read while the model runs.
        reading = pool.imap(lambda path: _photo(path, taken.size), paths)
        while some := list(islice(reading, batch_size)):
            rows = slice(len(photos), len(photos) + len(some))
            wanted = target if each is None else each[rows]
            if isinstance(target, Region):
                wanted = target.for_photos(rows, [photo.shape[:2] for photo in some], taken.size)
            parts.append(explainer(np.stack([taken.of_photo(photo) for photo in some]), wanted))
            photos += some
    return joined(parts).with_photos(photos)


def _paths(images: Any) -> list[Path]:
    """Return the files that `images` names, at least one."""
    named: list[Any] = [images] if isinstance(images, (str, os.PathLike)) or not np.iterable(images) else list(images)
    if not all(isinstance(item, (str, os.PathLike)) for item in named):
        raise TypeError(
            f"Expected images as a file, a folder, a pattern or a list of these, received {type(images).__name__}. "
            "Arrays are explained by Explainer(model)(images)."
        )
    if not named:
        raise ValueError("Expected at least one image file, received an empty list.")
    return find_images(map(os.fspath, named))


def _photo(path: Path, least: tuple[int, int]) -> Photo:
    try:
        picture = read_picture(path, least)
        if picture.note:
            warn(f"'{path}': {picture.note}.")
        return picture.photo
    except MemoryError as error:
        raise MemoryError(f"'{path}': {_TOO_LARGE}") from error


@dataclass(frozen=True)
class Result:
    """Result of one image.

    Attributes:
        rows: for the manifest, one for each map; one with the error of an image that failed.
        top: the five most probable classes, (label, probability), best first; of a segmentation the five of most
            pixels, with their share; empty where unknown.
        numbers: of each map, its value and unit, the score of its detection, or the score that is explained.
        notes: on its picture and its maps, such as why one shows nothing, or that no class is above its threshold.
        thumbnail: the first overlay as a small JPEG, b"" where none was asked for.
        size: (height, width) of the picture in its file.
        regions: the hot regions of its maps, where boxes or contours are saved.
    """

    rows: list[Row]
    top: list[tuple[str, float]]
    notes: list[str]
    numbers: list[str] = field(default_factory=list)
    thumbnail: bytes = b""
    size: tuple[int, int] = (0, 0)
    regions: list[FoundRegion] = field(default_factory=list)

    @property
    def row(self) -> Row:
        """The first row."""
        return self.rows[0]


class ImageMap(NamedTuple):
    """One map of an image.

    Attributes:
        explanation, place: the map is at this place of the explanation.
        name: what the names of its files have behind the image's stem, "" for the only map.
        note: what is to be noted, or None.
        found: of a detector, whose boxes are drawn; else None.
        verdict: the words of its verdict, "" where none was asked for.
    """

    explanation: Explanation
    place: int
    name: str = ""
    note: str | None = None
    found: Detections | None = None
    verdict: str = ""


def maps_of(
    explainer: Explainer,
    images: Any,
    asked: Asked,
    threshold: Thresholds | None = None,
    progress: Progress | None = None,
) -> list[list[ImageMap] | str]:
    """Return the maps of each image that were asked for, or the reason why an image has none.

    Args:
        explainer: of the model.
        images: as it takes them.
        asked: what is explained of each image.
        threshold: of the probabilities of a multi-label model, or of a detector's scores; None for 0.5 and 0.3.
        progress: as `Explainer` takes it, for one map of each image.

    Raises:
        TypeError, ValueError: as `Explainer`, its `class_maps` and its `detections`.
    """
    if explainer.task.name == "detection":
        return _of_boxes(explainer, images, asked, 0.3 if threshold is None else threshold)
    if asked.is_one:
        explanation = explainer(images, asked.target, progress=progress)  # type: ignore[arg-type]
        return [[ImageMap(explanation, index)] for index in range(len(explanation))]
    if explainer.task.name == "segmentation":
        return _of_regions(explainer, images, asked)
    above = (0.5 if threshold is None else threshold) if asked.is_above else None
    maps = explainer.class_maps(images, asked.classes, asked.top, above)
    of_each = maps.of_each_class()
    noun = "value" if explainer.task.name == "regression" else "class"
    return [
        [
            ImageMap(of_each[place], index, f"{noun}-{maps.class_indices[index, place]}", _note_of_none(maps, index))
            for place in np.flatnonzero(maps.asked[index])
        ]
        for index in range(len(maps))
    ]


def _of_regions(explainer: Explainer, images: Any, asked: Asked) -> list[list[ImageMap] | str]:
    """Return the map of the predicted region of each class that was asked for, or of each that an image has."""
    if asked.classes is not None:
        each = {label: explainer(images, label) for label in asked.classes}
        count = len(next(iter(each.values())))
        return [
            [ImageMap(explanation, index, f"class-{label}") for label, explanation in each.items()]
            for index in range(count)
        ]
    main = explainer(images)
    masks = main.segmentation
    assert masks is not None
    found: list[list[ImageMap]] = [[] for _ in range(len(main))]
    for label in range(masks.class_count):
        inside = masks.predicted == label
        rows = np.flatnonzero(inside.mean(axis=tuple(range(1, inside.ndim))) >= _LEAST_SHARE)
        if len(rows):  # one compiled pass serves all classes: each region is its mask
            some = keras.tree.map_structure(lambda array, rows=rows: np.asarray(array)[rows], images)
            explanation = explainer(some, Region(None, inside[rows]))
            explanation.labels = [f"region of {explanation.class_name(label)}"] * len(rows)
            for place, row in enumerate(rows):
                found[row].append(ImageMap(explanation, place, f"class-{label}"))
    return [maps or [ImageMap(main, row)] for row, maps in enumerate(found)]


def _of_boxes(explainer: Explainer, images: Any, asked: Asked, threshold: Any) -> list[list[ImageMap] | str]:
    target: Any = asked.target
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingFoundWarning)  # told of each image
        found = explainer.detections(images, target, threshold=threshold)
    return [
        each.diagnosis or ""
        if each.maps is None
        else [
            ImageMap(each.maps, place, f"box-{number}", energy_note(each, place), each)
            for place, number in enumerate(each.chosen)
        ]
        for each in found
    ]


def _note_of_none(maps: ClassMaps, index: int) -> str | None:
    is_none = maps.above is not None and not maps.above[index].any()
    return "No class is above its threshold; the most probable one is explained." if is_none else None


def energy_note(found: Detections, place: int) -> str | None:
    """Return where the heat of a detection's map lies; None for a blank map."""
    own, others, share = found.energy[place], found.energy_of_others[place], found.box_shares[place]
    if not np.isfinite(own):
        return None
    box = ", ".join(f"{side:.0f}" for side in found[place].box)
    return (
        f"{found[place].label} in the box ({box}) of the input: {own:.0%} of the heat in it ({share:.0%} of the "
        f"picture), {others:.0%} in other boxes."
    )


class _Loaded(NamedTuple):
    """An image as the model takes it, and of a segmentation the mask or the point at which it is explained."""

    inputs: list[np.ndarray]
    place: np.ndarray | None


class BatchExplainer:
    """Writer of the overlays and maps of image files, by one explainer.

    Args:
        explainer: of a model of images of one or three channels.
        preprocessing: scaling of photos for the model.
        size: (height, width) in pixels, for a model that leaves its size free; None for the model's own size, or the
            size that its family was trained at.
        asked: what is explained of each image.
        threshold: of the probabilities of a multi-label model, as `Explainer.class_maps` takes it, or of a detector's
            scores; None for 0.5 and 0.3.
        unit: of the values of a regression, such as "years"; shown behind them.
        look: the colours of the overlays.
        batch_size: images at a time, at least 1.
        given: NAME=VALUE for each further input of the model, as `GivenInputs` takes them.
        files: all images, which a table of values names.
        thumbnail_side: longest side of the thumbnails of results, in pixels; 0 for none.
        saved: what is written of each map, of `SAVED`.
        is_judged: whether each map gets a verdict.

    Attributes:
        annotations: of the boxes and contours that are saved, set before `run`; None where neither is.
        task: of the model.
        saved: as given.
        layer_name: of the maps.
        preprocessing, size: of the model's images; (height, width) in pixels.
        class_count: number of classes of its outputs, None where they are values.

    Raises:
        OSError, ValueError: as `GivenInputs`; other channels, a `size` that the model does not take, an unknown class
            or colour map; a layer that sees another input than the images; a task whose maps cannot be judged.
    """

    def __init__(
        self,
        explainer: Explainer,
        preprocessing: Preprocessing,
        size: tuple[int, int] | None = None,
        *,
        asked: Asked | None = None,
        threshold: Thresholds | None = None,
        unit: str = "",
        look: Look = DEFAULT_LOOK,
        batch_size: int = 8,
        given: Sequence[str] = (),
        files: Sequence[Path] = (),
        thumbnail_side: int = 0,
        saved: Sequence[str] = DEFAULT_SAVED,
        is_judged: bool = False,
    ):
        self._explainer = explainer
        if is_judged:
            check_task(explainer.task.name)
        self._is_judged = False  # while the model is tried out
        self.saved = saved
        self._drawing = threading.Lock()  # Matplotlib's settings are those of the process
        self.annotations: Annotations | None = None
        self._asked = asked or Asked()
        self._thumbnail_side = thumbnail_side
        is_detector = explainer.task.name == "detection"
        if is_detector and isinstance(threshold, Mapping):
            raise ValueError(f"Expected one threshold for all detections, received {dict(threshold)}.")
        if threshold is not None and not (is_detector or self._asked.is_above):
            fact = f"Expected no threshold where one class is explained or classes are named, received {threshold!r}."
            python = "Leave threshold out, or ask for all labels of a multi-label model."
            line = "Leave --threshold out. It is for multi-label models without --target, and for detectors."
            raise ValueError(Message(fact, python, line))
        self.layer_name = explainer.detection_layers if is_detector else explainer.layer_name
        self._threshold = threshold
        self._unit = unit
        self._look = look
        self._batch_size = batch_size
        self.task = explainer.task
        self._inputs = GivenInputs(explainer.split.inputs, given, files, preprocessing, size)
        self.preprocessing, self.size = preprocessing, self._inputs.images.size
        self._masks = None if self._asked.masks is None else RegionFiles(self._asked.masks, files)
        self._cells = self.size  # of the output
        if isinstance(self._asked.target, NearPicture):
            self._asked = Asked(self._distance_from(self._asked.target))
        self.class_count = self._try_out()
        self._is_judged = is_judged

    @cached_property
    def class_names(self) -> list[str]:
        """The names of all classes in their order, of which no two are alike; none where the outputs are values."""
        known = ClassNames(self._explainer.class_names or None)
        count = max(self.class_count or 0, 1 + max(known.by_index, default=-1))
        names = known.labels(range(0 if self.task.name == "regression" else count))
        return [name if names.count(name) == 1 else f"{name} ({index})" for index, name in enumerate(names)]

    def _distance_from(self, near: NearPicture) -> Distance:
        """Return the distance from the value of a picture, which the model says now."""
        loaded = self._load(near.file)
        if isinstance(loaded, str):
            raise ValueError(f"Cannot take the value of '{near.file}': {loaded}")
        try:
            found = self._explainer(self._inputs.stacked([loaded.inputs]), Value(near.position))
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(f"Cannot take the value of '{near.file}': {model_failure(error)}") from error
        return Distance(found.scores[0], near.position, near.file.name)

    def _try_out(self) -> int | None:
        """Compile, raise the errors that concern every image before one is written, and return the class count."""
        black = np.zeros((*self.size, 3), np.uint8)
        paint(black[:1, :1], np.zeros((1, 1)), False, self._look)
        try:
            (maps,) = self._explain([_Loaded(self._inputs.example(), self._example_place())])
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(f"{model_failure(error)}. Is each --input in its range?") from error
        if isinstance(maps, str):  # a detector finds nothing in it
            return None
        first = maps[0]
        drawn = first.explanation.placement.input_index
        self._inputs.check_layer(drawn, self._explainer.split.pictures, self._explainer.layer_name)
        if first.explanation.segmentation is not None:
            self._cells = first.explanation.segmentation.inside.shape[1:]
        probabilities = first.explanation.probabilities
        return None if probabilities is None or probabilities.ndim != 2 else probabilities.shape[1]

    def run(self, paths: Sequence[Path], stems: Sequence[str], directory: Path) -> Iterator[Result]:
        """Write `<stem>.overlay.png` and `<stem>.heatmap.npy` for each image into `directory`.

        Several maps of an image are `<stem>.class-<index>.overlay.png`, and so on. Of a segmentation there is
        `<stem>.mask.png` too, the predicted mask at the picture's size, see `encoded_mask`.

        Args:
            paths: the images.
            stems: names of their outputs.
            directory: an existing folder.

        Yields:
            One `Result` per path, in their order, when its files are written. An image that cannot be read, explained
            or written fails alone, and nothing of it is written in half.
        """
        batches = [slice(start, start + self._batch_size) for start in range(0, len(paths), self._batch_size)]
        with ThreadPool(_THREADS) as pool:
            # The next batch is read, and the one before is written, while the model runs.
            reading = [[pool.apply_async(self._load, [path]) for path in paths[batch]] for batch in batches[:1]]
            writing: deque[Any] = deque()
            for number, batch in enumerate(batches):
                reading += [
                    [pool.apply_async(self._load, [path]) for path in paths[b]] for b in batches[number + 1 :][:1]
                ]
                current = reading.pop(0)
                while writing and not all(image.ready() for image in current):
                    yield writing.popleft().get()
                images = [image.get() for image in current]
                writing += self._explained(pool, paths[batch], [directory / stem for stem in stems[batch]], images)
                while len(writing) > self._batch_size:
                    yield writing.popleft().get()
            yield from (result.get() for result in writing)

    def _example_place(self) -> np.ndarray | None:
        if self._asked.pixel is not None:
            return np.zeros(2, np.float32)
        return None if self._masks is None else np.ones(self.size, bool)

    def _place(self, path: Path, size: tuple[int, int]) -> np.ndarray | None:
        """Return the mask at the output's cells, or the point, at which a picture of (height, width) is explained."""
        if self._masks is not None:
            mask = nearest(self._masks.of_image(path, size), self._cells)
            if not mask.any():
                raise ValueError(EMPTY_MASK.format(cells=" x ".join(map(str, self._cells))))
            return mask
        if self._asked.pixel is None:
            return None
        (x, y), (height, width) = self._asked.pixel, size
        if x >= width or y >= height:
            raise ValueError(
                f"Expected a pixel (x, y) inside of the picture, which is {width} wide and {height} high, received "
                f"{x},{y}. Choose x from 0 to {width - 1} and y from 0 to {height - 1}, or a point such as '30%,55%'."
            )
        return np.array([(x + 0.5) / width, (y + 0.5) / height], np.float32)

    def _load(self, path: Path) -> _Loaded | str:
        """Return the inputs of the model for an image, or the reason of a failure."""
        try:
            read = read_picture(path, self.size)
            return _Loaded(self._inputs.of_photo(read.photo, path), self._place(path, read.size))
        except (OSError, ValueError, MemoryError) as error:
            return str(error) or _TOO_LARGE

    def _explained(
        self, pool: ThreadPool, paths: Sequence[Path], outputs: Sequence[Path], loaded: list[_Loaded | str]
    ) -> list[Any]:
        """Run the model on a batch and start writing its results; return a promise of a `Result` per image."""
        images = [image for image in loaded if not isinstance(image, str)]
        explained = iter(self._maps_or_reasons(images))
        promised = []
        for path, output, image in zip(paths, outputs, loaded, strict=True):
            maps = image if isinstance(image, str) else next(explained)
            if isinstance(maps, str):
                promised.append(pool.apply_async(_failure, [path, maps]))
            else:
                promised.append(pool.apply_async(self._finish, [path, output, maps]))
        return promised

    def _maps_or_reasons(self, images: list[_Loaded]) -> list[list[ImageMap] | str]:
        """Return the maps of each image, or why the model refuses it: one that it refuses fails alone."""
        try:
            return self._explain(images) if images else []
        except Exception as error:  # of TensorFlow, such as memory running out; the next batch may be smaller
            if len(images) > 1 and isinstance(error, tf.errors.InvalidArgumentError):
                return [result for image in images for result in self._maps_or_reasons([image])]
            return [model_failure(error)] * len(images)

    def _explain(self, images: Sequence[_Loaded]) -> list[list[ImageMap] | str]:
        """Return the maps of each image, or why it has none."""
        batch, asked = self._inputs.stacked([image.inputs for image in images]), self._asked
        asked = replace(asked, target=self._target([image.place for image in images]))
        maps = maps_of(self._explainer, batch, asked, self._threshold)
        found = [for_command_line(each) if isinstance(each, str) else each for each in maps]
        if not self._is_judged:
            return found
        return [self._judged(row, each, batch, asked.target) for row, each in enumerate(found)]

    def _judged(self, row: int, maps: list[ImageMap] | str, batch: Any, target: Any) -> list[ImageMap] | str:
        """Return the maps of an image of the batch with the words of their verdicts."""
        if isinstance(maps, str):
            return maps
        image, own = row_of(batch, row), target if callable(target) else None
        alone = [one.explanation.part(slice(one.place, one.place + 1)) for one in maps]
        words = [for_command_line(self._explainer.judge(each, image, own)[0].words) for each in alone]
        return [one._replace(verdict=each) for one, each in zip(maps, words, strict=True)]

    def _target(self, places: Sequence[Any]) -> Any:
        """Return the target of a batch, with the mask or the point of each image."""
        target, asked = self._asked.target, self._asked
        if not isinstance(target, Region) or (asked.masks is None and asked.pixel is None):
            return target
        each = np.stack(places)
        return Region(target.index, each) if asked.pixel is None else Region(target.index, point=each)

    def _finish(self, path: Path, output: Path, maps: list[ImageMap]) -> Result:
        """Write the files of one image; the photo is read again, so that no batch of large photos fills the memory."""
        files: list[tuple[Path, bytes]] = []
        small = b""
        try:
            read = read_picture(path, self.size)
            regions: list[FoundRegion] = []
            for one in maps:
                overlay = self._overlay(one, read.photo)
                if self._thumbnail_side and one is maps[0]:
                    small = thumbnail(overlay, self._thumbnail_side)
                files += self._files(output, one, read.photo, overlay)
                if self.annotations is not None:
                    regions += self._regions(one, read.photo, read.size)
            if self.annotations is not None and "boxes" in self.saved:
                text = self.annotations.yolo(read.size, regions)
                files.append((output.parent / (output.name + SAVED["boxes"]), text))
            masks, mask = maps[0].explanation.segmentation, ""
            if masks is not None:
                mask = output.name + MASK_SUFFIX
                values = masks.values(maps[0].place, read.photo.shape[:2])
                files += [(output.parent / mask, encoded_mask(values))]
            write_files(files)
        except (OSError, ValueError, MemoryError) as error:
            return _failure(path, str(error) or _TOO_LARGE)
        rows = [self._row(path, output.name, each, read.note, mask) for each in maps]
        notes = [read.note] if read.note else []
        notes += [note for each in maps for note in (each.note, each.explanation.diagnosis[each.place]) if note]
        numbers = [self._number(each) for each in maps]
        return Result(rows, self._largest(maps[0]), notes, numbers, small, read.size, regions)

    def _files(self, output: Path, one: ImageMap, photo: Photo, overlay: np.ndarray) -> list[tuple[Path, bytes]]:
        """Return the files of one map, but for its boxes and contours."""
        made: dict[str, Callable[[Path], bytes]] = {
            "overlay": lambda path: encoded_image(path, overlay),
            "heatmap": lambda _: encoded_array(one.explanation.heatmaps[one.place]),
            "figure": lambda _: self._figure(one, photo),
            "masks": lambda _: encoded_region(hot_pixels(one.explanation.heat_at(one.place, photo.shape[:2]), _HOT)),
        }
        saved = [what for what in self.saved if what in made]
        paths = [output.parent / name for name in files_of(output.name, one.name, saved)]
        return [(path, made[what](path)) for what, path in zip(saved, paths, strict=True)]

    def _figure(self, one: ImageMap, photo: Photo) -> bytes:
        """Return the figure of one map, as PNG."""
        part, look, stream = one.explanation.part(slice(one.place, one.place + 1)), self._look, io.BytesIO()
        with self._drawing:
            if one.found is None:
                figure = part.plot([photo], look.colormap, threshold=look.threshold)
            else:
                found = one.found
                own = Detections(found.found, [found.chosen[one.place]], part, found.image_size)
                figure = detection_figure(own, photo, look)
            figure.savefig(stream, format="png")
            figure.clear()
        return stream.getvalue()

    def _regions(self, one: ImageMap, photo: Photo, size: tuple[int, int]) -> list[FoundRegion]:
        """Return the hot regions of one map in pixels of a file of `size`, which may be larger than the photo read."""
        explanation, place, masks = one.explanation, one.place, one.explanation.segmentation
        label = int(explanation.class_indices[place] if masks is None else masks.explained[place])
        if label < 0 or self.task.name == "regression":
            label, category = -1, explanation.labels[place]
        else:
            category = dict(enumerate(self.class_names)).get(label) or explanation.class_name(label)
        probability = explanation.probability(place)
        score = float(explanation.scores[place]) if probability is None else probability
        if one.found is not None:
            score = float(one.found[place].score)
        height, width = photo.shape[:2]
        scale = size[0] / height, size[1] / width
        found = regions_of(explanation.heat_at(place, (height, width)), _HOT)
        return [FoundRegion.of(region, category, score, scale, label) for region in found]

    def _number(self, one: ImageMap) -> str:
        if one.found is not None:
            return f"{one.found[one.place].score:.2f}"
        values = one.explanation.values
        number = one.explanation.scores[one.place] if values is None else values[one.place]
        return f"{number:.6g} {'' if values is None else self._unit}".rstrip()

    def _largest(self, first: ImageMap) -> list[tuple[str, float]]:
        """Return the five most probable classes of an image, or the five of most pixels in a predicted mask."""
        explanation = first.explanation
        if explanation.segmentation is None:
            return [] if self.class_count is None else explanation.top(5)[first.place]
        shares = explanation.segmentation.shares(first.place)[:5]
        return [("none" if index < 0 else explanation.class_name(index), share) for index, share in shares]

    def _overlay(self, one: ImageMap, photo: Photo) -> np.ndarray:
        if one.found is not None:
            return detection_overlay(one.found, one.place, photo, self._look)
        look = self._look
        return one.explanation.picture_of(one.place, photo, look.alpha, look.colormap, look.threshold)

    def _label(self, one: ImageMap, class_index: int) -> str:
        """Return what was explained, with the pixel or the mask as the user named it."""
        asked, label = self._asked, one.explanation.class_name(class_index)
        if asked.pixel is not None:
            return f"{label} at {asked.pixel[0]}, {asked.pixel[1]}"
        return one.explanation.labels[one.place] if asked.masks is None else f"{label} in {asked.masks}"

    def _row(self, path: Path, stem: str, one: ImageMap, note: str | None, mask: str) -> Row:
        explanation, index = one.explanation, one.place
        class_index, probability = int(explanation.class_indices[index]), explanation.probability(index)
        if explanation.segmentation is not None:
            class_index = int(explanation.segmentation.explained[index])
        return Row(
            str(path),
            DONE,
            str(class_index) if class_index >= 0 else "",
            self._label(one, class_index),
            f"{explanation.scores[index]:.6g}",
            explanation.layer_name,
            explanation.method,
            probability="" if probability is None else f"{probability:.6g}",
            output=explanation.output_name or "",
            scaling=self.preprocessing.summary,
            diagnosis=for_command_line(explanation.diagnosis[index] or ""),
            note=" ".join(filter(None, (note, one.note))),
            stem=stem,
            map_name=one.name,
            task=self.task.name,
            unit=self._unit,
            inputs=self._inputs.text(path),
            mask=mask,
            saved=" ".join(self.saved),
            verdict=one.verdict,
        )


def _failure(path: Path, error: str) -> Result:
    return Result([Row(str(path), FAILED, error=" ".join(error.split()))], [], [])
