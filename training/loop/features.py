"""The outputs of the frozen layers, computed once and kept on disk, so that an epoch runs only the layers that train.

Axis legend: N samples, B samples of a batch, C copies of a picture: the first as it is, the others augmented.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_gradcam.image import load_image

from ..data.folder import Samples, in_threads
from ..data.pipeline import augmentation
from ..model.backbone import blocks_of
from ..reading import read_text
from .run_folder import whole


@dataclass(frozen=True, eq=False)
class Cut:
    """A model in two parts: `frozen`, images -> features, and `rest`, features -> outputs. They share its layers."""

    frozen: keras.Model
    rest: keras.Model
    random: tuple[str, ...]  # frozen layers that are random in a training; here they act as in inference


def cut(model: keras.Model, trained: Sequence[str]) -> Cut:
    """Cut a model at the last tensor that no trained layer has a part in.

    Args:
        model: of `build_classifier`, after `unfreeze`.
        trained: names of the trained blocks, of `unfreeze`. Their random layers, such as dropout, stay random.

    Raises:
        ValueError: a trained layer stands before the first frozen one, or more than one tensor leads from the frozen
            layers to the trained ones; the reason is a part of a sentence.
    """
    inside = {layer.name for block, layers in blocks_of(model).items() if block in trained for layer in layers}
    moving: set[str] = set()
    made = {id(tensor): operation for operation in model.operations for tensor in _tensors(operation.output)}
    crossing: dict[int, Any] = {}
    random = []
    for operation in model.operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        given = _tensors(operation.input)
        drawn = _is_random(operation)
        if (
            (getattr(operation, "trainable_weights", None))
            or (drawn and operation.name in inside)
            or any(made[id(tensor)].name in moving for tensor in given)
        ):
            moving.add(operation.name)
            crossing |= {id(tensor): tensor for tensor in given if made[id(tensor)].name not in moving}
        elif drawn:
            random.append(operation.name)
    tensors = list(crossing.values())
    if len(tensors) != 1:
        raise ValueError(f"{len(tensors)} tensors lead from the frozen layers to '{sorted(moving)[0]}' and others")
    frozen = keras.Model(model.inputs[0], tensors[0])
    if not frozen.weights:
        raise ValueError("no layer with weights is frozen below the trained ones")
    return Cut(frozen, keras.Model(tensors[0], model.outputs[0]), tuple(random))


class Features:
    """Features of some samples in a file, B samples after B samples; an interrupted computation goes on where it was.

    NAME.bin    float32 values, copy after copy, in the order of the samples
    NAME.txt    a line with the fingerprint, then the checksum of each batch that is in NAME.bin

    float32 is what the layers compute (float16 and bfloat16 fit in it), so the training is the one without this file;
    float16 would overflow above 65504. The file is read and written batch by batch, never mapped or held as a whole.

    Args:
        folder: made if it does not exist.
        name: of the files.
        frozen: images -> features.
        samples: N samples.
        image_size: (H0, W0).
        copies: C, at least 1.
        batch_size: B of the computation; another one computes the same, in other batches.
        seed, strength: of the augmentation.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        frozen: keras.Model,
        samples: Samples,
        image_size: tuple[int, int],
        *,
        copies: int = 1,
        batch_size: int = 32,
        seed: int = 0,
        strength: str = "light",
    ):
        self._values, self._sums = folder / f"{name}.bin", folder / f"{name}.txt"
        self._frozen, self._samples, self._image_size = frozen, samples, image_size
        self._copies, self._batch_size, self._seed, self._strength = copies, batch_size, seed, strength
        self.shape = tuple(frozen.output_shape[1:])
        self.copies, self.labels = copies, samples.labels.astype(np.int32)
        self._row = 4 * math.prod(self.shape)  # bytes

    @property
    def size(self) -> int:
        """Bytes of all features."""
        return self._row * self._copies * len(self._samples)

    def missing(self) -> int:
        """Return the bytes that are still to be written, at most."""
        return max(0, self.size - (self._values.stat().st_size if self._values.exists() else 0))

    def fingerprint(self) -> dict[str, str]:
        """Return what the features depend on, a checksum for each part."""
        weights, images = hashlib.sha256(), hashlib.sha256()
        for layer in self._frozen.layers:  # names go on counting from the networks built before
            config = {key: value for key, value in layer.get_config().items() if key != "name"}
            weights.update(json.dumps(config, default=str, sort_keys=True).encode())
        for value in self._frozen.get_weights():
            weights.update(np.ascontiguousarray(value).tobytes())
        for content in in_threads(lambda file: hashlib.sha256(file.read_bytes()).digest(), self._samples.files):
            images.update(content)
        settings = [self._image_size, self._copies, self._batch_size, self._seed, self._strength, self.shape]
        settings.append(keras.backend.backend())
        found = {"weights": weights, "images": images, "settings": hashlib.sha256(json.dumps(settings).encode())}
        return {name: value.hexdigest()[:32] for name, value in found.items()}

    def compute(self, begun: bool = False) -> int:
        """Compute what is missing; print a line if files are stale or damaged.

        Args:
            begun: a training on these features has begun, so that it cannot go on with other frozen weights.

        Returns:
            The number of batches that were computed.

        Raises:
            ValueError: a training has begun, and the files are of other weights.
        """
        wanted = self.fingerprint()
        kept, reason = self._kept(wanted)
        if begun and "weights" in reason:
            raise ValueError(
                f"Expected the frozen weights with which the run began, but '{self._values}' {reason}. Give the "
                "file of --weights as it was, or begin a new run in another folder."
            )
        if reason:
            print(f"'{self._values}' {reason}: computed again", flush=True)
        lines = [json.dumps(wanted), *(f"{value:08x}" for value in kept)]
        self._sums.parent.mkdir(parents=True, exist_ok=True)
        total = self._copies * math.ceil(len(self._samples) / self._batch_size)
        if len(kept) == total and not reason:
            return 0
        started = told = time.monotonic()
        with whole(self._sums) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="ascii")
        with open(self._values, "r+b" if kept else "wb") as values, open(self._sums, "a", encoding="ascii") as sums:
            values.truncate(sum(rows for _, _, rows in list(self._spans())[: len(kept)]) * self._row)
            values.seek(0, 2)
            for number, (copy, first, rows) in enumerate(self._spans()):
                if number < len(kept):
                    continue
                content = self._batch(copy, first, rows).tobytes()
                values.write(content)
                values.flush()
                sums.write(f"{zlib.crc32(content):08x}\n")
                sums.flush()
                if time.monotonic() > told + 10:
                    told = time.monotonic()
                    left = (told - started) / (number + 1 - len(kept)) * (total - number - 1)
                    print(f"features: {number + 1} of {total} batches, {left / 60:.1f} minutes left", flush=True)
        return total - len(kept)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return the features of rows: copy c of sample n is row c * N + n."""
        found = np.empty((len(rows), *self.shape), np.float32)
        with open(self._values, "rb", buffering=0) as file:
            for place, row in zip(found, rows, strict=True):
                file.seek(int(row) * self._row)
                content = file.read(self._row)
                if len(content) < self._row:
                    raise OSError(f"'{self._values}' became shorter. Continue with the same command and --resume.")
                place[...] = np.frombuffer(content, np.float32).reshape(self.shape)
        return found

    def _spans(self) -> Iterator[tuple[int, int, int]]:
        """Yield the copy, the first sample and the number of samples of each batch."""
        for copy in range(self._copies):
            for first in range(0, len(self._samples), self._batch_size):
                yield copy, first, min(self._batch_size, len(self._samples) - first)

    def _batch(self, copy: int, first: int, rows: int) -> np.ndarray:
        files = self._samples.files[first : first + rows]
        photos: Any = np.stack([load_image(file, self._image_size) for file in files]).astype(np.float32)
        if copy:  # of draws of its own, so that a computation that goes on draws what it would have drawn
            draws = np.random.SeedSequence([self._seed, copy, first]).generate_state(1)[0] >> 2
            photos = augmentation(int(draws), self._strength)(photos, training=True)
        features = self._frozen.predict_on_batch(photos)
        return np.ascontiguousarray(np.asarray(features), np.float32)

    def _kept(self, wanted: dict[str, str]) -> tuple[list[int], str]:
        """Return the checksums of the batches that can stay, and why others cannot."""
        if not self._values.exists() or not self._sums.exists():
            return [], ""
        try:
            first, *lines = read_text(self._sums, "checksums").splitlines()
            before = json.loads(first)
            changed = [name for name, value in wanted.items() if before[name] != value]
            if changed:
                return [], f"is of other {' and '.join(changed)}"
            told = [int(line, 16) for line in lines if len(line) == 8]  # the last one may be cut off
        except (ValueError, KeyError, TypeError):
            return [], "is damaged"
        kept: list[int] = []
        with open(self._values, "rb") as file:
            for checksum, (_, _, rows) in zip(told, self._spans(), strict=False):
                if zlib.crc32(file.read(rows * self._row)) != checksum:
                    return kept, f"is damaged after {len(kept)} batches"
                kept.append(checksum)
        return kept, ""


class FeatureBatches(keras.utils.PyDataset):
    """Batches of features for `fit`, on every backend.

    Args:
        features: computed.
        batch_size: B.
        seed: of the order and of the copy of each sample, both drawn anew for each epoch; None for the order of the
            samples, as they are.
    """

    def __init__(self, features: Features, batch_size: int, seed: int | None):
        super().__init__()
        self._features, self._batch_size, self._seed = features, batch_size, seed
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Take the order of an epoch; a resumed training has the one that it would have had."""
        count = len(self._features.labels)
        self._rows = np.arange(count)
        if self._seed is not None:
            generator = np.random.default_rng([self._seed, epoch])
            self._rows = generator.permutation(count) + count * generator.integers(0, self._features.copies, count)

    def __len__(self) -> int:
        return math.ceil(len(self._features.labels) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._rows[index * self._batch_size :][: self._batch_size]
        return self._features.read(rows), self._features.labels[rows % len(self._features.labels)]


def megabytes(size: int) -> str:
    """Return a number of bytes for people."""
    return f"{size / 1e6:,.0f} MB"


def _tensors(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _is_random(operation: Any) -> bool:
    return any(isinstance(value, keras.random.SeedGenerator) for value in vars(operation).values())
