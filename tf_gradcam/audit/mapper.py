"""The mapper that explains every image of an audit, and the model under audit for later predictions.

Axis legend: B images, K classes, H x W cells of the layer, H0 x W0 pixels, C channels.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from multiprocessing.pool import ThreadPool  # its threads do not keep an interrupted program alive
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam._errors import collected_warnings
from tf_gradcam._explain.class_maps import Thresholds
from tf_gradcam._explain.explainer import Explainer
from tf_gradcam._files.manifest import DONE, FAILED
from tf_gradcam._models.given_inputs import GivenInputs
from tf_gradcam._models.images import ImageBatch, Reading, model_failure, photos_of
from tf_gradcam._models.layers import LayerLike
from tf_gradcam._models.loading import is_model_file
from tf_gradcam._models.open_model import check_scaling, open_model, usual_weights
from tf_gradcam._models.own_code import import_code
from tf_gradcam._models.preprocessing import Preprocessing
from tf_gradcam._results.diagnosis import NON_FINITE_MAP
from tf_gradcam._results.explanation import Explanation
from tf_gradcam._rules.table import MethodName
from tf_gradcam.audit.rows import Rows, nothing_mapped
from tf_gradcam.audit.sources import Samples
from tf_gradcam.audit.tasks import Explained, audit_task
from tf_gradcam.image.io import read_picture
from tf_gradcam.image.resize import Placement
from tf_gradcam.image.thumbnails import thumbnail

# Threads that read pictures: OpenCV works outside Python's lock; more threads only hold more photos in memory.
THREADS = min(8, os.cpu_count() or 1)
_PREDICTION_BATCH = 32  # images per call of the model
_LARGER = 384  # longer side of pictures that a report opens, pixels


class AuditMapper:
    """A model that predicts and explains batches of images: each for its top class, its labels or its value.

    Creating one loads the model; a call has the form that Ray Data's actors need.

    Args:
        model: a .keras or .h5 file, the name of a network of keras.applications, or a built Keras model of images,
            whose outputs are classes, labels or values.
        layer: as `Explainer` takes it.
        method: a key of `METHODS`.
        class_names: in class order; None for those that the model's file carries, ImageNet's for a network with its
            weights, else numbers.
        preprocess: "auto" for what the file or the model says, "detect" for what the pictures show (see
            `check_scaling`), "none", or a key of `MODES`.
        size: (height, width) of the images in pixels, for a model with a free input size.
        weights: a file of weights, "imagenet" or "none"; of a model by name "imagenet" unless said otherwise.
        model_args: for the constructor of a named network, as KEY=VALUE.
        imports: Python files or modules of your own whose classes and functions the model's file needs; their code is
            run, in each process.
        inputs: NAME=VALUE for each input of the model besides its picture, as `GivenInputs` takes them: a number, a
            list, a .npy file, a picture, or a CSV file with a row for each image.
        files: the images that tables of inputs name; None before `prepare`.
        freeze: as `Explainer` takes it: faster over a data set.
        thumbnail: longer side of the thumbnails, in pixels.
        digest: of the files of the model as another process read them; others are refused.
        task: as `Explainer` takes it: "classification", "multilabel" or "regression"; None for what the file says, or
            the output shows.
        threshold: of the probabilities of a multi-label model: one number, or {label: number}; 0.5 by default.
        unit: of the values of a regression, such as "years".
        target: the audited one of several values, by name or number; the first by default.

    Attributes:
        model: the Keras model; borrowed.
        explainer: of the model.
        task: the `AuditTask` of the model.
        images: converts photos and files to the model's input of pictures.
        inputs: the `GivenInputs` of the model.
        preprocessing: the model's preprocessing.
        size: (H0, W0) of the model input.
        map_size: (H, W) of the rows' maps, whose cells tile the image.
        class_names: K names, "class 243" for a class without a name; of a regression, the name of the audited value.
        has_names: True if the names are known.
        notes: what was assumed or repaired when the model was loaded.
        layer_name: path of the layer.
        arguments: keyword arguments that create the same mapper in another process.

    Raises:
        OSError, ValueError, TypeError: as `load_network`, `Explainer`, `GivenInputs` and `AuditTask`; another number of
            names than of classes; the heatmaps do not have two axes, or are of another input than the images.
    """

    def __init__(
        self,
        model: keras.Model | str | os.PathLike[str],
        *,
        layer: LayerLike | None = None,
        method: MethodName = "gradcam",
        class_names: Sequence[str] | None = None,
        preprocess: str = "auto",
        size: tuple[int, int] | None = None,
        weights: str | None = None,
        model_args: Sequence[str] = (),
        imports: Sequence[str] = (),
        inputs: Sequence[str] = (),
        files: Sequence[str] | None = None,
        freeze: bool = True,
        thumbnail: int = 96,
        digest: str | None = None,
        task: str | None = None,
        threshold: Thresholds | None = None,
        unit: str | None = None,
        target: str | None = None,
    ):
        if isinstance(model, (str, os.PathLike)):
            model = os.fspath(model)
            weights = weights or usual_weights(model)
        self._given, self._weights = model, weights
        self._digest = self._digest_of_files()  # of the very files that are read: they may be replaced during the audit
        names = None if class_names is None else list(class_names)
        with collected_warnings() as self.notes:
            self._own_code = import_code(imports)
            opened = self._opened = open_model(
                model,
                weights=weights,
                arguments=model_args,
                class_names=names,
                preprocess=preprocess,
                own_code=self._own_code,
            )
        if self._digest != self._digest_of_files() or digest not in (None, self._digest):
            raise ValueError(
                f"The model '{model}' was replaced by another while it was read. Wait until it is written, or give "
                "a copy of it."
            )
        self.model, names = opened.model, opened.class_names
        self.explainer = Explainer(opened.reader, layer, method, class_names=names, freeze=freeze, task=task, unit=unit)
        self.task = audit_task(self.explainer, names, threshold, target)
        self.preprocessing: Preprocessing = opened.preprocessing
        if self.preprocessing.mode == "unknown":
            self.preprocessing = replace(self.preprocessing, mode="raw")  # until `check_scaling`
        self._further = list(inputs)
        self.inputs = self._given_inputs(files, size, thumbnail)
        self.images, self.size = self.inputs.images, self.inputs.images.size
        self.layer_name = self.explainer.layer_name
        self.has_names = names is not None
        self.map_size = _grid(self._explain_black())
        self.class_names = self.task.names
        self._batch_limit: int | None = None  # images per call, once a larger batch did not fit into memory
        self.arguments: dict[str, Any] = {
            "model": self._given,
            "layer": layer,
            "method": method,
            "class_names": names,
            "preprocess": self.preprocessing.request,
            "size": self.size,
            "weights": weights,
            "model_args": list(model_args),
            "imports": list(imports),
            "inputs": self._further,
            "files": files,
            "freeze": freeze,
            "thumbnail": thumbnail,
            "digest": self._digest,
            "task": task,
            "threshold": threshold,
            "unit": unit,
            "target": target,
        }

    @property
    def explained_as(self) -> dict[str, Any]:
        """Arguments of another `Explainer` of the same layer and task."""
        return {
            "layer": self.arguments["layer"],
            "class_names": self.arguments["class_names"],
            "task": self.explainer.task.name,
        }

    def _given_inputs(self, files: Sequence[str] | None, size: tuple[int, int] | None, thumbnail: int) -> GivenInputs:
        return GivenInputs(self._opened.reader.inputs, self._further, files, self.preprocessing, size, thumbnail)

    def prepare(self, samples: Samples) -> None:
        """Settle the scaling with some pictures, see `check_scaling`, and find the further inputs of each image.

        Raises:
            OSError, ValueError: as `check_scaling` and `GivenInputs`.
        """
        opened = check_scaling(self._opened, samples.files, samples.labels, self.size)
        self.preprocessing = opened.preprocessing
        own = self.arguments
        own["preprocess"] = opened.preprocessing.request
        own["files"] = samples.files if self.inputs.tables else None
        self.inputs = self._given_inputs(samples.files, self.size, own["thumbnail"])
        self.images = self.inputs.images

    def _explain_black(self) -> Explanation:
        """Explain a black image, so that errors of the model come before any file is read. It also compiles it."""
        try:
            explanation = self.task.explain(self.inputs.stacked([self.inputs.example()]))
        except tf.errors.InvalidArgumentError as error:
            if not self._further:
                raise
            raise ValueError(f"{model_failure(error)}. Is each further input in its range?") from error
        self.inputs.check_layer(
            explanation.placement.input_index, self.explainer.split.pictures, self.explainer.layer_name
        )
        if explanation.heatmaps.ndim != 3:
            raise ValueError(f"Expected a layer with maps (B, H, W), received {explanation.heatmaps.shape}.")
        explanation.resized()  # raises the error of cells that are not places in the image
        return explanation

    def __call__(self, batch: Mapping[str, np.ndarray]) -> Rows:
        """Explain a batch.

        Args:
            batch: columns of B rows: index (position in the data set), file, label (-1 unknown), and truth of labels
                or values. With a column `image`, (B, H0, W0, C) as the model takes them, no file is read.

        Returns:
            B rows. An image that cannot be read, is not finite, or makes the model fail, fails alone.
        """
        with ThreadPool(THREADS) as pool:
            return self.explain(batch, self.reading(batch, pool).get())

    def reading(self, batch: Mapping[str, np.ndarray], pool: ThreadPool) -> Reading:
        """Start to read the files of a batch, or to check its images, by threads; `explain` takes the result."""
        if "image" in batch:
            return self.images.given(batch["image"], pool)
        return self.images.reading([str(path) for path in batch["file"]], pool)

    def explain(self, batch: Mapping[str, np.ndarray], pictures: ImageBatch) -> Rows:
        """Explain a batch whose pictures were read before."""
        count = len(pictures)
        masks = self._for_each(batch.get("mask", []), pictures, self.task.true_classes)
        others = self._for_each(batch["file"], pictures, lambda file, _: self.inputs.others(file))
        rows = self._failed(batch, pictures)
        good = [number for number in range(count) if not pictures.errors[number]]
        for positions, result in self._explanations(pictures.images, others, good, masks):
            if isinstance(result, str):
                rows.error[positions] = result
            else:
                _fill(rows, np.array(positions), result)
        return rows

    @staticmethod
    def _for_each(files: Iterable[Any], pictures: ImageBatch, read: Callable[[str, tuple[int, int]], Any]) -> list[Any]:
        """Return what is read for each image from a file of its size; an image for which this fails, fails alone."""
        found: list[Any] = [None] * len(pictures)
        for number, file in enumerate(files):
            try:
                found[number] = read(str(file), pictures.sizes[number])
            except (OSError, ValueError) as error:
                pictures.errors[number] = pictures.errors[number] or " ".join(str(error).split())
        return found

    def _failed(self, batch: Mapping[str, np.ndarray], pictures: ImageBatch) -> Rows:
        """Return the rows of a batch before any of it is explained."""
        count = len(pictures)
        return Rows(
            index=batch["index"],
            file=batch["file"],
            label=batch["label"],
            truth=batch.get("truth", np.full((count, self.task.truth_width), np.nan)),
            status=np.full(count, FAILED, object),
            error=np.array(pictures.errors, object),
            predicted=np.full(count, -1),
            probability=np.full(count, np.nan),
            probabilities=np.full((count, self.task.width), np.nan),
            score=np.full(count, np.nan),
            heatmap=np.zeros((count, *self.map_size)),
            **nothing_mapped(count, self.map_size),
            diagnosis=np.full(count, "", object),
            thumbnail=np.array(pictures.thumbnails, object),
            note=np.array(pictures.notes, object),
            digest=np.array(pictures.digests, object),
        )

    def _explanations(
        self,
        images: np.ndarray,
        others: Sequence[list[np.ndarray]],
        rows: list[int],
        masks: Sequence[np.ndarray | None],
    ) -> Iterable[tuple[list[int], Explained | str]]:
        """Explain the images of these rows at once; in halves where that fails, down to the image at fault."""
        limit = self._batch_limit or max(1, len(rows))
        waiting = [rows[start : start + limit] for start in range(0, len(rows), limit)]
        while waiting:
            some = waiting.pop(0)
            try:
                chosen = images if len(some) == len(images) else images[some]
                inputs = self.inputs.joined(chosen, [others[row] for row in some])
                yield some, self.task.explained(inputs, self.map_size, [masks[row] for row in some])
            except Exception as error:  # such as TensorFlow running out of memory
                if len(some) == 1:
                    yield some, model_failure(error)
                    continue
                half = len(some) // 2
                if isinstance(error, tf.errors.ResourceExhaustedError):
                    self._batch_limit = half
                waiting[:0] = [some[:half], some[half:]]

    def about(self) -> dict[str, str]:
        """Return the conditions of the rows by name, for the foot of a report."""
        from tf_gradcam._version import __version__

        named = self._given if isinstance(self._given, str) else self.model.name
        given = {"further inputs": "; ".join(self._further)} if self._further else {}
        return {
            "model": str(named),
            **given,
            "layer": self.layer_name,
            "method": self.explainer.method,
            "size": f"{self.size[0]} x {self.size[1]}",
            "preprocessing": self.preprocessing.mode,
            "tf_gradcam": __version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
        }

    def fingerprint(self, data_digest: str) -> dict[str, str]:
        """Return the texts that identify the rows of this mapper and these data, for `PartFolder`."""
        about = self.about()
        del about["model"]  # a file may be moved; only its content counts
        about.pop("further inputs", None)
        code = {"code": self._own_code.digest} if self._own_code.named else {}
        given = {"inputs": self.inputs.digest()} if self._further else {}
        thumbnail = str(self.arguments["thumbnail"])
        task = {"task": self.task.name, **self.task.fingerprint()}
        return {**about, "weights": self.digest(), **code, **given, "thumbnail": thumbnail, **task, "data": data_digest}

    def digest(self) -> str:
        """Hexadecimal, of the bytes of the model's file and of its weights' file, else of the weights in memory."""
        if self._digest is not None:
            return self._digest
        found = hashlib.sha256()
        for variable in self.model.weights:
            found.update(f"{variable.path}\0{variable.shape}\0{variable.dtype}\0".encode())
            found.update(np.ascontiguousarray(variable.numpy()).tobytes())
        return found.hexdigest()

    def _digest_of_files(self) -> str | None:
        """Return the digest of the model's files; None for a network by name or a model in memory."""
        if not (isinstance(self._given, str) and is_model_file(self._given)):
            return None
        found = hashlib.sha256()
        given = [Path(name) for name in (self._given, self._weights) if isinstance(name, str)]
        folders = [name.parent if name.name == "saved_model.pb" else name for name in given]
        inside = [path for folder in folders if folder.is_dir() for path in sorted(folder.rglob("*"))]
        for path in (*given, *inside):
            if path.is_file():
                with open(path, "rb") as file:
                    while block := file.read(2**20):
                        found.update(block)
        return found.hexdigest()


class ModelUnderAudit:
    """The model and its data set, for further predictions: reads images again, and predicts changed ones.

    Args:
        mapper: the mapper that explained the data set.
        source: `Samples`, or a `DatasetSource`. The images of the latter are in the model's range; they are scaled to
            0..255 by the extremes of the first images that are read.
        digests: (N,) of the files as they were explained; None if unknown.

    Attributes:
        changed: files that have been replaced since they were explained.
    """

    def __init__(self, mapper: AuditMapper, source: Any, digests: np.ndarray | None = None):
        self._mapper = mapper
        self._source = source
        self._digests = digests
        self.changed: set[str] = set()
        self._range: tuple[float, float] | None = None
        is_cheap = mapper.explainer.method == "gradcam"
        # Only predictions are needed: Grad-CAM's pass gives them at the lowest cost.
        self._explainer = mapper.explainer if is_cheap else Explainer(mapper.model, **mapper.explained_as)

    def images(self, rows: Sequence[int]) -> np.ndarray:
        """Return the images of some rows, (n, H0, W0, C) float32 as the model takes them."""
        if isinstance(self._source, Samples):
            return self._mapper.images.of_photos(self._files(rows))
        return np.asarray(self._source.images(rows), np.float32)

    def _files(self, rows: Sequence[int]) -> np.ndarray:
        """Read the photos of some rows, (n, H0, W0, 3) uint8 RGB at the model's input size."""
        digests: list[str] = []
        photos = self._mapper.images.load_photos([self._source.files[row] for row in rows], digests)
        if self._digests is not None:
            pairs = zip(rows, digests, strict=True)
            self.changed |= {self._source.files[row] for row, digest in pairs if digest != self._digests[row]}
        return photos

    def photos(self, rows: Sequence[int]) -> np.ndarray:
        """Return the photos of some rows, (n, H0, W0, 3) float32 in 0..255."""
        if isinstance(self._source, Samples):
            return self._files(rows).astype(np.float32)
        images = self.images(rows)
        if self._range is None:
            low, high = float(images.min()), float(images.max())
            is_raw = low >= 0 and 1.5 < high <= 255
            self._range = (0.0, 255.0) if is_raw else (low, max(high, low + 1e-6))
        low, high = self._range
        scaled = (images - low) * (255 / (high - low))
        return np.broadcast_to(scaled, (*scaled.shape[:3], 3)).astype(np.float32)

    def inputs(self, images: np.ndarray, rows: Sequence[int] | np.ndarray) -> Any:
        """Return all inputs of the model: images (n, H0, W0, C), and the further inputs of the rows they belong to."""
        given, files = self._mapper.inputs, getattr(self._source, "files", None)  # tables are of files only
        return given.joined(images, [given.others("" if files is None else files[row]) for row in rows])

    def larger(self, rows: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Yield (row, JPEG) of some rows, larger than their thumbnails; b"" of a file that was replaced or is gone."""
        if not isinstance(self._source, Samples):
            for row, image in self._source.some_images(rows):
                (photo,) = photos_of(image[None], self._mapper.images.preprocessing.mode)
                yield row, thumbnail(photo, _LARGER)
            return

        def read(row: int) -> tuple[int, bytes]:
            try:
                picture = read_picture(self._source.files[row], (_LARGER, _LARGER))
            except (OSError, ValueError, MemoryError):
                return row, b""
            is_other = self._digests is not None and picture.digest != self._digests[row]
            return row, b"" if is_other else thumbnail(picture.photo, _LARGER)

        with ThreadPool(THREADS) as pool:
            yield from pool.imap(read, rows)

    def predict(self, photos: np.ndarray, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return (n, K) probabilities or values of changed photos (n, H0, W0, 3) in 0..255 of these rows."""
        if isinstance(self._source, Samples):
            images = self._mapper.images.of_photos(photos)
        else:
            assert self._range is not None
            low, high = self._range
            images = photos[..., : self._mapper.images.channels] * ((high - low) / 255) + low
        parts = [slice(start, start + _PREDICTION_BATCH) for start in range(0, len(images), _PREDICTION_BATCH)]
        return np.concatenate([self.predict_inputs(self.inputs(images[part], rows[part])) for part in parts])

    def predict_inputs(self, inputs: Any) -> np.ndarray:
        """Return (n, K) probabilities or values of inputs as the model takes them."""
        return self._mapper.task.predictions(self._explainer, inputs)


def _fill(rows: Rows, positions: np.ndarray, explained: Explained) -> None:
    """Write the columns of explained images into the rows at these positions."""
    fine = explained.is_finite
    rows.error[positions[~fine]] = NON_FINITE_MAP
    rows.status[positions[fine]] = DONE
    for name, column in explained.columns.items():
        rows[name][positions[fine]] = column[fine]


def _grid(explanation: Explanation) -> tuple[int, int]:
    """Return the number of cells along the height and the width of the image."""
    assert isinstance(explanation.placement, Placement)
    height, width = (explanation.heatmaps.shape[1 + axis] for axis in np.argsort(explanation.placement.axes))
    return height, width
