"""Samples: images in folders, a folder for each class.

Axis legend: N samples, K classes.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from training.data.photos import SUFFIXES, decode, in_threads

_SKIPPED = "__MACOSX"  # what a zip made by macOS holds beside its folders


@dataclass(frozen=True, eq=False)
class Samples:
    """N images and the class of each, sorted by class and name.

    root: the folder that holds the class folders, absolute.
    files: N absolute paths.
    labels: (N,) int32, indices of `class_names`.
    class_names: K names of folders, sorted.
    broken: files that could not be decoded, with the reason; they are not among `files`.
    """

    root: Path
    files: tuple[Path, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    broken: tuple[tuple[Path, str], ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def take(self, indices: Iterable[int] | np.ndarray) -> Samples:
        """The samples of these indices in their order; the classes stay all of them."""
        chosen = np.asarray(list(indices), np.int64)
        return replace(self, files=tuple(self.files[index] for index in chosen), labels=self.labels[chosen])

    def name(self, index: int) -> str:
        """The file of a sample relative to `root`, "class/file.jpg" on every system."""
        return self.files[index].relative_to(self.root).as_posix()


def read_folder(root: str | os.PathLike[str], limit: int | None = None, seed: int = 42) -> Samples:
    """The images below a folder, each decoded once, so that broken ones are known before the training starts.

        read_folder("brain_mri")                # brain_mri/glioma/a.jpg, brain_mri/pituitary/b.jpg, ...
        read_folder("brain_mri", limit=400)     # a trial: 100 of each of four classes

    Hidden files and folders, and files of other suffixes than those of images, are left out. What is converted
    to RGB, and how much of it, is said on stderr.

    Args:
        root: the folder that holds a folder for each class.
        limit: at most so many samples in all, drawn evenly over the classes; None for all.
        seed: which ones are drawn. The names decide, not the order in which a system lists them.

    Returns:
        Samples.

    Raises:
        FileNotFoundError: no such folder.
        NotADirectoryError: a file in its place.
        ValueError: fewer than two class folders, no image at all, a class without an image or without a readable
            one, a `limit` below the number of classes.
    """
    root = Path(root).absolute()
    names = _class_names(root)
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
    """By which names are drawn: sorted by it they are in random order, the same one on every machine."""
    return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()


def _class_names(root: Path) -> list[str]:
    if not root.exists():
        raise FileNotFoundError(f"No folder {str(root)!r}. Check the path: it holds a folder for each class.")
    if not root.is_dir():
        raise NotADirectoryError(f"Expected a folder that holds a folder for each class, received {str(root)!r}.")
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not _is_hidden(entry.name))


def _images(root: Path, class_name: str) -> list[Path]:
    """Image files of a class, sorted by name."""
    entries = (root / class_name).iterdir()
    return sorted((entry for entry in entries if _is_image(entry.name)), key=lambda file: file.name)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == _SKIPPED


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
    """Where the images may be instead: a level above or below, as in data sets that come in two parts."""
    if loose := sum(_is_image(entry.name) for entry in root.iterdir()):
        return f" {loose} images lie in {str(root)!r} itself."
    deeper = [root / name for name in class_names if any(entry.is_dir() for entry in (root / name).iterdir())]
    return f" Try one of the folders in it: {_listed([str(folder) for folder in deeper])}." if deeper else ""


def _drawn(root: Path, files: dict[str, list[Path]], limit: int, seed: int) -> dict[str, list[Path]]:
    """One of each class in turn, until there are `limit`."""
    if limit < len(files):
        raise ValueError(f"Expected a limit of at least {len(files)}, one sample of each class, received {limit}.")
    turns = []
    for name, of_class in files.items():
        order = sorted(of_class, key=lambda file: draw_key(seed, file.relative_to(root).as_posix()))
        turns += [(turn, name, file) for turn, file in enumerate(order)]
    chosen = {file for _, _, file in sorted(turns, key=lambda each: each[:2])[:limit]}
    return {name: [file for file in of_class if file in chosen] for name, of_class in files.items()}


def _without_broken(samples: Samples) -> Samples:
    stored = list(in_threads(_stored, samples.files, "Checked"))
    broken = tuple((file, text) for file, (ok, text) in zip(samples.files, stored, strict=True) if not ok)
    kept = samples.take([index for index, (ok, _) in enumerate(stored) if ok])
    lost = [name for label, name in enumerate(samples.class_names) if label not in kept.labels]
    if lost:
        file, reason = next(each for each in broken if samples.root / lost[0] in each[0].parents)
        raise ValueError(
            f"Expected readable images of every class, received broken ones alone in {_listed(lost)}; "
            f"{str(file)!r}: {reason}. Copy or download them again."
        )
    kinds = Counter(text for ok, text in stored if ok and text != "RGB")
    if kinds:
        told = ", ".join(f"{count:,} {_CONVERTED[kind]}" for kind, count in sorted(kinds.items()))
        print(f"Converted to 8-bit RGB as they are read: {told}, of {len(kept):,} images.", file=sys.stderr)
    return replace(kept, broken=broken)


_CONVERTED = {"16-bit": "of 16 bits", "alpha": "with alpha (dropped)", "grey": "grey"}


def _stored(file: Path) -> tuple[bool, str]:
    """(True, how the pixels are stored) or (False, why there are none)."""
    try:
        return True, decode(file.read_bytes()).stored
    except (ValueError, OSError) as error:
        return False, str(error)


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:8]) + (", ..." if len(names) > 8 else "")
