"""The audit's pass from rows to rows, and the model under audit that is asked again.

Axis legend: B images, K classes, H x W cells of the layer, H0 x W0 pixels, C channels.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing.pool import ThreadPool  # its threads do not keep an interrupted program alive
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradcam._explain.explainer import Explainer
from tf_gradcam._files.manifest import DONE, FAILED
from tf_gradcam._models.images import ModelImages, Pictures, Reading, model_failure
from tf_gradcam._models.loading import is_model_file
from tf_gradcam._models.open_model import open_model, usual_weights
from tf_gradcam._models.preprocessing import Preprocessing
from tf_gradcam._results.diagnosis import NON_FINITE_MAP
from tf_gradcam._results.explanation import Explanation
from tf_gradcam.audit.sources import Columns, Samples
from tf_gradcam.targets.classes import ClassNames

# Reading pictures, which OpenCV does outside Python's lock; further threads only hold more photos.
THREADS = min(8, os.cpu_count() or 1)


class AuditMapper:
    """Predicts and explains batches of rows with one model, each image for its top class.

    An object costs the loading of the model; a call has the form of an actor of Ray Data, columns in and columns out.

    Args:
        model: a .keras or .h5 file, the name of a network of keras.applications, or a built Keras model of one image
            input, whose outputs are classes.
        layer: as `Explainer` takes it.
        method: a key of `METHODS`.
        class_names: in class order; None for those that the model's file carries, ImageNet's for a network with its
            weights, else numbers.
        preprocess: "auto" for what the model says that it wants, "none", or a key of `MODES`.
        size: (height, width) in pixels of the images, for a model that leaves its size free.
        weights: a file of weights, "imagenet" or "none"; of a model by name "imagenet" unless said otherwise.
        freeze: as `Explainer` takes it: faster over a data set.
        thumbnail: the longer side of thumbnails, pixels.
        digest: of the files of the model as another process read them; others are refused.

    Attributes:
        model: the Keras model; borrowed.
        explainer: of the model.
        images: turns photos and files into images of the model.
        preprocessing: what the model wants.
        size: (H0, W0) of its images; `photo_size` is the same.
        map_size: (H, W).
        class_names: K names, numbers where none are known; `has_names` tells.
        layer_name: path of the layer.
        arguments: keyword arguments that make the same mapper elsewhere.

    Raises:
        OSError, ValueError, TypeError: as `load_network`, `Explainer` and `ModelImages`; another number of names than
            of classes; outputs that are no classes; maps that are not of two axes.
    """

    def __init__(
        self,
        model: Any,
        *,
        layer: Any = None,
        method: str = "gradcam",
        class_names: Sequence[str] | None = None,
        preprocess: str = "auto",
        size: tuple[int, int] | None = None,
        weights: str | None = None,
        freeze: bool = True,
        thumbnail: int = 96,
        digest: str | None = None,
    ):
        if isinstance(model, (str, os.PathLike)):
            model = os.fspath(model)
            weights = weights or usual_weights(model)
        self._given, self._weights = model, weights
        self._digest = self._digest_of_files()  # of the very files that are read: they may be replaced during the audit
        names = None if class_names is None else list(class_names)
        opened = open_model(model, weights=weights, class_names=names, preprocess=preprocess)
        if self._digest != self._digest_of_files() or digest not in (None, self._digest):
            raise ValueError(
                f"The model '{model}' was replaced by another while it was read. Wait until it is written, or give "
                "a copy of it."
            )
        self.model, names = opened.model, opened.class_names
        self.explainer = Explainer(opened.reader, layer, method, class_names=names, freeze=freeze)
        self.preprocessing: Preprocessing = opened.preprocessing
        self.images = ModelImages(opened.reader.inputs, self.preprocessing, size, thumbnail)
        self.size = self.photo_size = self.images.size
        self.layer_name = self.explainer.layer_name
        self.has_names = names is not None
        black = self._explain_black()
        self.map_size: tuple[int, int] = black.heatmaps.shape[1:]
        assert black.probabilities is not None
        given = ClassNames(names)
        self.class_names = [given.label(index) for index in range(black.probabilities.shape[1])]
        self._most: int | None = None  # images at a time, once more of them were too many
        self.arguments: dict[str, Any] = {
            "model": self._given,
            "layer": layer,
            "method": method,
            "class_names": names,
            "preprocess": self.preprocessing.mode,
            "size": self.size,
            "weights": weights,
            "freeze": freeze,
            "thumbnail": thumbnail,
            "digest": self._digest,
        }

    def _explain_black(self) -> Explanation:
        """Meet the errors that concern every image before one is read; this also compiles the model."""
        black = self.images.of_photos(np.zeros((1, *self.size, 3), np.uint8))
        explanation = self.explainer(black)
        if explanation.probabilities is None or explanation.probabilities.ndim != 2:
            raise ValueError(
                f"Expected a model whose outputs are classes, (B, K), received values of shape "
                f"{explanation.outputs.shape}. An audit compares classes; explain this model by `Explainer(model)`."
            )
        if explanation.heatmaps.ndim != 3:
            raise ValueError(f"Expected a layer with maps (B, H, W), received {explanation.heatmaps.shape}.")
        return explanation

    def __call__(self, batch: Mapping[str, np.ndarray]) -> Columns:
        """Explain a batch.

        Args:
            batch: columns of B rows: index (position in the data set), file, label (-1 unknown). With a column `image`,
                (B, H0, W0, C) as the model takes them, no file is read.

        Returns:
            Columns of B rows: index, file, label; status ("done" or "failed"), error; predicted (top class, -1 if
            failed), probability (of it, NaN if failed), probabilities (B, K), score (what was explained), heatmap
            (B, H, W) float16 (zeros if failed), diagnosis ("" if none), thumbnail (a JPEG). An image that cannot be
            read, is not finite, or makes the model fail, fails alone.
        """
        with ThreadPool(THREADS) as pool:
            return self.explain(batch, self.reading(batch, pool).get())

    def reading(self, batch: Mapping[str, np.ndarray], pool: ThreadPool) -> Reading:
        """Have the files of a batch read, or its images looked through, by threads, for `explain` later on."""
        if "image" in batch:
            return self.images.given(batch["image"], pool)
        return self.images.reading([str(path) for path in batch["file"]], pool)

    def explain(self, batch: Mapping[str, np.ndarray], pictures: Pictures) -> Columns:
        """As a call, with pictures that were read before."""
        count = len(pictures)
        columns = self._failed(batch, pictures)
        good = [number for number in range(count) if not pictures.errors[number]]
        for rows, result in self._explanations(pictures.images, good):
            if isinstance(result, str):
                columns["error"][rows] = result
            else:
                self._fill(columns, np.array(rows), result)
        return columns

    def _failed(self, batch: Mapping[str, np.ndarray], pictures: Pictures) -> Columns:
        """The columns of a batch of which nothing is explained yet."""
        count = len(pictures)
        return {
            "index": np.asarray(batch["index"], np.int64),
            "file": np.asarray(batch["file"], object),
            "label": np.asarray(batch["label"], np.int32),
            "status": np.full(count, FAILED, object),
            "error": np.array(pictures.errors, object),
            "predicted": np.full(count, -1, np.int32),
            "probability": np.full(count, np.nan, np.float32),
            "probabilities": np.full((count, len(self.class_names)), np.nan, np.float32),
            "score": np.full(count, np.nan, np.float32),
            "heatmap": np.zeros((count, *self.map_size), np.float16),
            "diagnosis": np.full(count, "", object),
            "thumbnail": np.array(pictures.thumbnails, object),
        }

    def _explanations(self, images: np.ndarray, rows: list[int]) -> Iterable[tuple[list[int], Explanation | str]]:
        """Explain the images of these rows: all at once, or in halves where that fails, down to the image at fault."""
        most = self._most or max(1, len(rows))
        waiting = [rows[start : start + most] for start in range(0, len(rows), most)]
        while waiting:
            some = waiting.pop(0)
            try:
                yield some, self.explainer(images if len(some) == len(images) else images[some])
            except Exception as error:  # of TensorFlow, such as memory running out
                if len(some) == 1:
                    yield some, model_failure(error)
                    continue
                half = len(some) // 2
                if isinstance(error, tf.errors.ResourceExhaustedError):
                    self._most = half
                waiting[:0] = [some[:half], some[half:]]

    def _fill(self, columns: Columns, rows: np.ndarray, explanation: Explanation) -> None:
        probabilities = explanation.probabilities
        assert probabilities is not None
        fine = np.isfinite(probabilities).all(axis=1)
        columns["error"][rows[~fine]] = NON_FINITE_MAP
        columns["status"][rows[fine]] = DONE
        predicted = explanation.class_indices[fine]
        rows, some = rows[fine], np.flatnonzero(fine)
        columns["predicted"][rows] = predicted
        columns["probability"][rows] = probabilities[some, predicted]
        columns["probabilities"][rows] = probabilities[some]
        columns["score"][rows] = explanation.scores[some]
        columns["heatmap"][rows] = explanation.heatmaps[some]
        columns["diagnosis"][rows] = [explanation.diagnosis[number] or "" for number in some]

    def load_photos(self, files: Sequence[str]) -> np.ndarray:
        """(B, H0, W0, 3) uint8 RGB of the model's size; raises what `load_image` raises."""
        return self.images.load_photos(files)

    def load_images(self, files: Sequence[str]) -> np.ndarray:
        """(B, H0, W0, C) float32 as the model takes them; raises what `load_image` raises."""
        return self.images.of_photos(self.load_photos(files))

    def about(self) -> dict[str, str]:
        """What the rows follow from, in words, for the foot of a report."""
        from tf_gradcam import __version__

        named = self._given if isinstance(self._given, str) else self.model.name
        return {
            "model": str(named),
            "layer": self.layer_name,
            "method": self.explainer.method,
            "size": f"{self.size[0]} x {self.size[1]}",
            "preprocessing": self.preprocessing.mode,
            "tf_gradcam": __version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
        }

    def fingerprint(self, data_digest: str) -> dict[str, str]:
        """What tells the rows of this mapper and these data from all others, for `PartFolder`."""
        about = self.about()
        del about["model"]  # a file may be moved: its content counts
        return {**about, "weights": self.digest(), "thumbnail": str(self.arguments["thumbnail"]), "data": data_digest}

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
        """None for a network by name, and for a model in memory."""
        if not (isinstance(self._given, str) and is_model_file(self._given)):
            return None
        found = hashlib.sha256()
        for name in (self._given, self._weights):
            if isinstance(name, str) and Path(name).is_file():
                with open(name, "rb") as file:
                    while block := file.read(2**20):
                        found.update(block)
        return found.hexdigest()


_BATCH = 32


class Subject:
    """Reads images of the data set again, and asks the model about changed ones.

    Args:
        mapper: that explained the data set.
        source: `Samples`, or a `DatasetSource`, whose images are in the model's own range and are scaled to 0..255 by
            the extremes of those that are read first.
    """

    def __init__(self, mapper: AuditMapper, source: Any):
        self._mapper = mapper
        self._source = source
        self._range: tuple[float, float] | None = None
        is_cheap = mapper.explainer.method == "gradcam"
        # A prediction alone is wanted: by Grad-CAM's pass, whatever the audited method costs.
        self._explainer = mapper.explainer if is_cheap else Explainer(mapper.model, mapper.arguments["layer"])

    def images(self, rows: Sequence[int]) -> np.ndarray:
        """(n, H0, W0, C) float32 as the model takes them."""
        if isinstance(self._source, Samples):
            return self._mapper.load_images([self._source.files[row] for row in rows])
        return np.asarray(self._source.images(rows), np.float32)

    def photos(self, rows: Sequence[int]) -> np.ndarray:
        """(n, H0, W0, 3) float32 in 0..255."""
        if isinstance(self._source, Samples):
            return self._mapper.load_photos([self._source.files[row] for row in rows]).astype(np.float32)
        images = self.images(rows)
        if self._range is None:
            least, most = float(images.min()), float(images.max())
            is_raw = least >= 0 and 1.5 < most <= 255
            self._range = (0.0, 255.0) if is_raw else (least, max(most, least + 1e-6))
        least, most = self._range
        scaled = (images - least) * (255 / (most - least))
        return np.broadcast_to(scaled, (*scaled.shape[:3], 3)).astype(np.float32)

    def predict(self, photos: np.ndarray) -> np.ndarray:
        """(n, K) probabilities of photos (n, H0, W0, 3), 0..255."""
        if isinstance(self._source, Samples):
            return self.predict_images(self._mapper.images.of_photos(photos))
        assert self._range is not None
        least, most = self._range
        channels = self._mapper.images.channels
        return self.predict_images(photos[..., :channels] * ((most - least) / 255) + least)

    def predict_images(self, images: np.ndarray) -> np.ndarray:
        """(n, K) probabilities of images as the model takes them."""
        found = []
        for start in range(0, len(images), _BATCH):
            probabilities = self._explainer(images[start : start + _BATCH]).probabilities
            assert probabilities is not None
            found.append(probabilities)
        return np.concatenate(found)
