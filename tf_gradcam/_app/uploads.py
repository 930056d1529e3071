"""Uploaded files with their limits, and the sample pictures of the page."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tf_gradcam.demo.phantom import CLASS_NAMES, phantom_slices
from tf_gradcam.image.headers import read_header
from tf_gradcam.image.io import save_image

if TYPE_CHECKING:
    from tf_gradcam._results.explanation import Explanation


_COUNT, _SEED = 8, 2026  # two slices of each class; the bundled model was not trained on them


@dataclass(frozen=True)
class Sample:
    """A generated slice.

    Attributes:
        path: its file.
        label: its true class.
        mask: (S, S) bool, the true tumour; all False without one.
        expression: Python code of its array.
    """

    path: Path
    label: str
    mask: np.ndarray
    expression: str

    def heat_share(self, explanation: Explanation) -> tuple[float, float] | None:
        """Return the tumour's share of the heat and its share of the picture; None without tumour or heat."""
        heat = explanation.resized(self.mask.shape)[0]
        total = float(heat.sum(dtype=np.float64))
        if not self.mask.any() or total <= 0:
            return None
        return float(heat[self.mask].sum(dtype=np.float64)) / total, float(self.mask.mean())


def write_samples(folder: Path) -> Sequence[Sample]:
    """Draw the slices and write them into a new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    phantom = phantom_slices(_COUNT, _SEED)
    samples = []
    for index, (image, label, mask) in enumerate(zip(phantom.images, phantom.labels, phantom.masks, strict=True)):
        name = CLASS_NAMES[label]
        path = folder / f"slice-{index + 1}-{name}.png"
        save_image(path, image.astype(np.uint8))
        expression = f'phantom_slices({_COUNT}, seed={_SEED}).images[{index}].astype("uint8")'
        samples.append(Sample(path, name, mask, expression))
    return samples


MAX_PICTURE_BYTES = 32 * 2**20  # a camera's largest JPEG has half of that
MAX_PICTURE_PIXELS = 40_000_000  # 120 MB of RGB; less than the command line takes, because several users share it
MAX_MODEL_BYTES = 1024 * 2**20  # VGG16 has 528 MiB
MAX_NAMES_BYTES = 4 * 2**20
MAX_BATCH = 200  # pictures
MAX_WAITING_BYTES = 8 * 2**30  # of all uploads that wait to be used; a batch of the largest pictures has 6 GiB
_MAX_UNPACKED = 4 * MAX_MODEL_BYTES  # of a .keras file, which is an archive


class AppFolder:
    """A new folder for all files of the page, from `make` until `remove`.

    It has its name before it is there: a signal between the two would leave a folder that nobody knows.

    Attributes:
        uploads: where the server stores the files that browsers send, until they are used.
    """

    def __init__(self) -> None:
        self.root = Path(tempfile.gettempdir(), f"tf-gradcam-app-{secrets.token_hex(8)}")
        self.uploads = self.root / "uploads"

    def make(self) -> AppFolder:
        """Create the folder, for this user alone, and return it."""
        self.root.mkdir(mode=0o700)
        self.uploads.mkdir()
        return self

    def new(self) -> Path:
        """Create an empty folder for one session."""
        folder = self.root / secrets.token_hex(8)
        folder.mkdir()
        return folder

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def take_upload(path: str | os.PathLike[str], folder: Path) -> Path:
    """Move an uploaded file into a new folder, under its own name.

    Raises:
        ValueError: the file does not exist any more.
    """
    path = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / path.name
    try:
        shutil.move(path, target)
    except FileNotFoundError as error:  # Gradio removes uploads that were not used for an hour
        folder.rmdir()
        raise ValueError(f"{path.name!r} was uploaded too long ago and is gone. Upload it again.") from error
    return target


def check_picture(path: Path) -> None:
    """Refuse a picture that is too large, before it is decoded.

    Raises:
        ValueError: the file has more than `MAX_PICTURE_BYTES`, its header states more than `MAX_PICTURE_PIXELS`, or it
            is not a picture. The message contains the name of the file, not its path.
    """
    name = repr(path.name)
    _check_bytes(path, MAX_PICTURE_BYTES, "a picture")
    try:
        header = read_header(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"Expected a JPEG, PNG, WebP, BMP or TIFF picture, but {name} is not one: {error}.") from None
    if header is not None and header.width * header.height > MAX_PICTURE_PIXELS:
        raise ValueError(
            f"Expected a picture of at most {MAX_PICTURE_PIXELS / 1e6:.0f} million pixels, but {name} has "
            f"{header.width} x {header.height} by its header. Scale it down, or use `tf-gradcam explain`."
        )


def check_model_file(path: Path) -> None:
    """Refuse a file that is not a model, or is too large for one, before Keras reads it.

    Raises:
        ValueError: too many bytes, packed or unpacked.
    """
    name = repr(path.name)
    _check_bytes(path, MAX_MODEL_BYTES, "a model")
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
        except zipfile.BadZipFile as error:
            raise ValueError(f"{name} is damaged: {error}. Copy or save it again.") from error
        if unpacked > _MAX_UNPACKED:
            raise ValueError(
                f"Expected a model of at most {_MAX_UNPACKED // 2**20} MiB unpacked, but {name} unpacks to "
                f"{unpacked // 2**20} MiB. Choose a smaller model."
            )


def check_names_file(path: Path) -> None:
    """Refuse a file that is too large for class names."""
    _check_bytes(path, MAX_NAMES_BYTES, "a file of class names")


def _check_bytes(path: Path, limit: int, kind: str) -> None:
    count = path.stat().st_size
    if count > limit:
        raise ValueError(
            f"Expected {kind} of at most {limit // 2**20} MiB, but {path.name!r} has {count / 2**20:.1f} MiB. Choose a "
            "smaller one, or use the command line."
        )


def without_folder(text: str, paths: Iterable[Path]) -> str:
    """Replace the paths in a message by the names of the files, which the user knows."""
    for path in paths:
        text = text.replace(str(path), path.name)
    return text


def zip_folder(folder: Path, path: Path) -> None:
    """Write all files of a folder into one archive, without compression, because pictures have their own."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
