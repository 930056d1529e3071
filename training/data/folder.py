"""Images in folders, a folder for each class, and the class of each image.

Axis legend: N samples, K classes.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tf_gradcam.image import load_image

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

_MACOS_FOLDER = "__MACOSX"  # in a zip made by macOS, beside its folders
_PROGRESS_FROM = 1000  # files; fewer take a few seconds
_Result = TypeVar("_Result")


@dataclass(frozen=True, eq=False)
class Samples:
    """N images and the class of each, sorted by class and name.

    root: the folder that holds the class folders, absolute.
    files: N absolute paths.
    labels: (N,) int32, indices of `class_names`.
    class_names: K names of folders, sorted.
    broken: one message for each file that could not be decoded; these files are not in `files`.
    groups: (N,) integers, equal for images that look alike, of which figures show one; None where they were not
        compared.
    boxes: N arrays (n, 4) float64 in [0, 1], the objects' (xmin, ymin, xmax, ymax) in parts of the picture, of an image
        without a box (0, 4); None where no boxes are known.
    """

    root: Path
    files: tuple[Path, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    broken: tuple[str, ...] = ()
    groups: np.ndarray | None = None
    boxes: tuple[np.ndarray, ...] | None = None

    def __len__(self) -> int:
        return len(self.files)

    def take(self, indices: Iterable[int] | np.ndarray) -> Samples:
        """Return the samples at these indices, in their order; all classes stay."""
        chosen = np.asarray(list(indices), np.int64)
        return replace(
            self,
            files=tuple(self.files[index] for index in chosen),
            labels=self.labels[chosen],
            groups=None if self.groups is None else self.groups[chosen],
            boxes=None if self.boxes is None else tuple(self.boxes[index] for index in chosen),
        )

    def name(self, index: int) -> str:
        """Return the file of a sample relative to `root`, "class/file.jpg" on every system."""
        return self.files[index].relative_to(self.root).as_posix()

    def has_file(self, name: str) -> bool:
        """Return True if a name relative to `root` is a file, among the samples or not."""
        return not (os.path.isabs(name) or name.startswith("..")) and os.path.isfile(self.root / name)


def read_folder(
    root: str | os.PathLike[str], limit: int | None = None, seed: int = 42, classes: int | None = None
) -> Samples:
    """Return the images below a folder. Each is decoded once, so broken files are known before the training starts.

        read_folder("brain_mri")                # brain_mri/glioma/a.jpg, brain_mri/pituitary/b.jpg, ...
        read_folder("brain_mri", limit=400)     # a trial: 100 of each of four classes

    Hidden files and folders, and files without an image suffix, are left out. The number of images that are converted
    to 8-bit RGB is printed on stderr.

    Args:
        root: the folder that holds a folder for each class.
        limit: the largest number of samples, drawn evenly over the classes; None for all.
        seed: of the draw. It depends on the file names, not on the order in which a system lists them.
        classes: number of classes to use, the first ones by name; None for all. The others are not read.

    Returns:
        Samples.

    Raises:
        FileNotFoundError: the folder does not exist.
        NotADirectoryError: `root` is a file.
        ValueError: there are fewer than two class folders or no images; a class has no image or no readable one, or its
            name is not UTF-8; `limit` is below the number of classes; `classes` is below 2, or above their number.
    """
    root = Path(root).absolute()
    names = _class_names(root)
    if classes is not None:
        if not 2 <= classes <= len(names):
            raise ValueError(f"Expected 2 to {len(names)} classes, received {classes}. Change --classes.")
        names = names[:classes]
    files = {name: _images(root, name) for name in names}
    _check_classes(root, files)
    if limit is not None:
        files = _drawn(root, files, limit, seed)
    samples = Samples(
        root,
        tuple(file for name in names for file in files[name]),
        np.repeat(np.arange(len(names), dtype=np.int32), [len(files[name]) for name in names]),
        tuple(names),
    )
    return _without_broken(samples)


def draw_key(seed: int, name: str) -> bytes:
    """Return a sort key that puts names in a random order, the same on every machine."""
    return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()


def _class_names(root: Path) -> list[str]:
    if not root.exists():
        raise FileNotFoundError(f"The folder {str(root)!r} does not exist. Name a folder with a folder for each class.")
    if not root.is_dir():
        raise NotADirectoryError(f"Expected a folder that holds a folder for each class, received {str(root)!r}.")
    names = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not _is_hidden(entry.name))
    for name in names:  # they are written into JSON and into the model
        if name.encode("utf-8", "replace").decode() != name:
            raise ValueError(f"Expected class folders with names in UTF-8, received {name!r}. Rename the folder.")
    return names


def _images(root: Path, class_name: str) -> list[Path]:
    """Return the image files of a class, sorted by name."""
    entries = (root / class_name).iterdir()
    return sorted((entry for entry in entries if _is_image(entry.name)), key=lambda file: file.name)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == _MACOS_FOLDER


def _is_image(name: str) -> bool:
    return not _is_hidden(name) and name.lower().endswith(SUFFIXES)


def _check_classes(root: Path, files: dict[str, list[Path]]) -> None:
    where, kinds = repr(str(root)), ", ".join(SUFFIXES)
    if not any(files.values()):
        raise ValueError(
            f"Expected images ({kinds}) in a folder for each class in {where}, received none.{_elsewhere(root, files)}"
        )
    if len(files) < 2:
        raise ValueError(
            f"Expected at least two classes, received the one folder {next(iter(files))!r} in {where}. "
            "Name the folder that holds a folder for each class."
        )
    empty = [name for name, of_class in files.items() if not of_class]
    if empty:
        raise ValueError(
            f"Expected images ({kinds}) of every class, received none in {_listed(empty)} in {where}. "
            "Remove the folder, or fill it."
        )


def _elsewhere(root: Path, class_names: Iterable[str]) -> str:
    """Suggest a place where the images may be: one level up or down, as in data sets of two parts."""
    if loose := sum(_is_image(entry.name) for entry in root.iterdir()):
        return f" {loose} images are in {str(root)!r} itself."
    deeper = [root / name for name in class_names if any(entry.is_dir() for entry in (root / name).iterdir())]
    return f" Try one of the folders in it: {_listed([str(folder) for folder in deeper])}." if deeper else ""


def _drawn(root: Path, files: dict[str, list[Path]], limit: int, seed: int) -> dict[str, list[Path]]:
    """Draw one file of each class in turn, until there are `limit`."""
    if limit < len(files):
        raise ValueError(
            f"Expected a limit of at least {len(files)}, one sample of a class, received {limit}. Raise it."
        )
    turns = []
    for name, of_class in files.items():
        order = sorted(of_class, key=lambda file: draw_key(seed, file.relative_to(root).as_posix()))
        turns += [(turn, name, file) for turn, file in enumerate(order)]
    chosen = {file for _, _, file in sorted(turns, key=lambda each: each[:2])[:limit]}
    return {name: [file for file in of_class if file in chosen] for name, of_class in files.items()}


def _without_broken(samples: Samples) -> Samples:
    checked = list(in_threads(_storage, samples.files, "Checked"))
    kept = samples.take([index for index, storage in enumerate(checked) if isinstance(storage, str)])
    broken = [(file, error) for file, error in zip(samples.files, checked, strict=True) if isinstance(error, Exception)]
    lost = [name for label, name in enumerate(samples.class_names) if label not in kept.labels]
    if lost:
        error = next(error for file, error in broken if samples.root / lost[0] in file.parents)
        raise ValueError(
            f"Expected readable images of every class, received only broken ones in {_listed(lost)}: {error}"
        )
    kinds = Counter(storage for storage in checked if isinstance(storage, str) and storage)
    if kinds:
        numbers = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
        print(f"Converted to 8-bit RGB when read: {numbers}; {len(kept):,} images in all.", file=sys.stderr)
    return replace(kept, broken=tuple(str(error) for _, error in broken))


def _storage(file: Path) -> str | Exception:
    """Return how the pixels differ from 8-bit RGB ("" if they do not), or the error of a file that cannot be read."""
    import cv2

    try:
        load_image(file)
    except (ValueError, OSError) as error:
        return error
    pixels: Any = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels.dtype != np.uint8:
        return "with 16 bits"
    return "grey" if pixels.ndim == 2 else "with alpha (dropped)" if pixels.shape[2] == 4 else ""


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:8]) + (", ..." if len(names) > 8 else "")


def in_threads(
    function: Callable[[Path], _Result], files: Sequence[Path], verb: str | None = None
) -> Iterator[_Result]:
    """Yield `function(file)` of every file, in order. Threads help: reading and decoding release Python's lock.

    Args:
        function: called in several threads at once.
        files: its arguments.
        verb: the work in one word ("Checked"), for a progress line on stderr when there are many files; None for none.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(cores) as pool:
        reported = time.monotonic()
        for count, result in enumerate(pool.map(function, files), start=1):
            yield result
            if verb and len(files) >= _PROGRESS_FROM and (time.monotonic() > reported + 5 or count == len(files)):
                reported = time.monotonic()
                print(f"{verb} {count:,} of {len(files):,} images", file=sys.stderr, flush=True)
