"""The image files that a command names, and the names of their outputs."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import stat
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import NoReturn

from tf_gradcam._errors import warn

SUFFIXES = (".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_UNREAD = {
    *(".arw", ".avif", ".cr2", ".cr3", ".dcm", ".dicom", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif", ".ico"),
    *(".ima", ".j2k", ".jp2", ".jpx", ".jxl", ".mha", ".nef", ".nii", ".nrrd", ".pbm", ".pgm", ".pnm", ".ppm", ".psd"),
    *(".raw", ".svg", ".svs", ".tga"),
}
OVERLAY_SUFFIX = ".overlay.png"
HEATMAP_SUFFIX = ".heatmap.npy"
MASK_SUFFIX = ".mask.png"  # of a segmentation
FIGURE_SUFFIX, REGION_SUFFIX = ".figure.png", ".region.png"

# What can be written of each map, with its file; the outlines of "contours" are in one file for all images.
SAVED = {
    "overlay": OVERLAY_SUFFIX,
    "heatmap": HEATMAP_SUFFIX,
    "figure": FIGURE_SUFFIX,
    "boxes": ".txt",
    "masks": REGION_SUFFIX,
    "contours": "",
}
DEFAULT_SAVED = ("overlay", "heatmap")


def find_images(arguments: Iterable[str], passed_over: Counter[str] | None = None) -> list[Path]:
    """Find the image files that files, folders and glob patterns name.

    A warning (`ModelWarning`) counts the pictures in folders that are of kinds that are not read.

    Args:
        arguments: names of files, which are kept even if they do not exist or have another suffix, so that each one is
            reported; folders, searched to any depth; patterns of `glob` ("**" crosses folders), for shells that do not
            expand them.
        passed_over: gets these counts by suffix, in place of the warning.

    Returns:
        Paths in the order of the arguments, each file once; the files of a folder or pattern are sorted. A folder gives
        its files with the suffix of an image, without hidden files, overlays (`*.overlay.png`) and the masks
        beside them (`<stem>.mask.png` with `<stem>.overlay.png`), and without figures and regions (`*.figure.png`,
        `*.region.png`) beside a manifest.

    Raises:
        ValueError: a folder or pattern has no image, or an argument is empty.
        OSError: a folder cannot be read.
    """
    images: dict[str, Path] = {}
    unread: Counter[str] = Counter() if passed_over is None else passed_over
    for argument in arguments:
        for path in _expand(argument, unread):
            images.setdefault(os.path.abspath(path), path)
    if passed_over is None:
        warn_of_passed_over(unread)
    return list(images.values())


def warn_of_passed_over(unread: Counter[str]) -> None:
    """Warn of pictures of kinds that are not read."""
    if unread:
        warn(f"{unread.total()} pictures were passed over: {_kinds(unread)}.")


def _kinds(unread: Counter[str]) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in unread.most_common())
    verb = "are" if unread.total() > 1 else "is"
    return f"{kinds} {verb} not read (JPEG, PNG, WebP, BMP and TIFF are). Convert them to PNG"


def _expand(argument: str, unread: Counter[str]) -> list[Path]:
    if not argument:
        raise ValueError("Expected an image file, folder or pattern, received an empty name. Name one.")
    path = Path(argument)
    if path.is_dir():
        inside: Counter[str] = Counter()
        images = _search(path, inside)
        unread.update(inside)
        if not images:
            remedy = f"Of the pictures there, {_kinds(inside)}." if inside else "Check the path."
            raise ValueError(f"The folder '{argument}' holds no images ({', '.join(SUFFIXES)}). {remedy}")
        return images
    if os.path.lexists(path) or not glob.has_magic(argument):
        return [path]
    matches = sorted(glob.glob(argument, recursive=True))
    if not matches:
        raise ValueError(f"No file matches the pattern '{argument}'. Check the path.")
    found = (_search(Path(match), unread) if os.path.isdir(match) else [Path(match)] for match in matches)
    return [image for images in found for image in images]


def _search(folder: Path, unread: Counter[str]) -> list[Path]:
    images = []
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]  # os.walk enters these next
        lower = {name.lower() for name in names}
        images += [Path(parent, name) for name in names if _is_image(name.lower(), lower)]
        unread.update(filter(None, (_unread_kind(Path(parent, name)) for name in names)))
    return sorted(images)


def _unread_kind(path: Path) -> str | None:
    """Return the suffix of a picture that is not read, None for other files. DICOM files often have no suffix."""
    suffix = path.suffix.lower()
    if path.name.startswith("."):
        return None
    if not suffix.strip(".0123456789"):
        with contextlib.suppress(OSError):
            if stat.S_ISREG(path.stat().st_mode):
                with open(path, "rb") as file:
                    return ".dcm" if file.read(132)[128:] == b"DICM" else None
    return suffix if suffix in _UNREAD else None


def _is_image(name: str, others: Set[str]) -> bool:
    """Return whether a name in lower case is an image's, and not an output's, among the other names of its folder."""
    is_output = name.endswith(OVERLAY_SUFFIX)
    is_output |= name.endswith(MASK_SUFFIX) and name.removesuffix(MASK_SUFFIX) + OVERLAY_SUFFIX in others
    is_output |= name.endswith((FIGURE_SUFFIX, REGION_SUFFIX)) and "manifest.csv" in others
    return name.endswith(SUFFIXES) and not name.startswith(".") and not is_output


def _refuse(error: OSError) -> NoReturn:
    raise error


def output_stems(paths: Sequence[Path], taken: Iterable[str] = (), most_bytes: int = 255) -> list[str]:
    """Return a different stem for the outputs of each image.

    The outputs have the stem of their image: `a/dog.jpg` gives `dog.overlay.png`. If several images have the same stem
    (or stems that differ only in case or in the form of accents, which some file systems ignore), the first keeps it
    and the others are numbered in order, `dog-2`, `dog-3`, without the stems of other images. A stem whose outputs
    would have too long a name ends in a digest of the whole stem, `aaaa~0f3c91de`.

    Args:
        paths: the images.
        taken: stems that other outputs in the folder have.
        most_bytes: of a name in the folder's file system.
    """
    longest = most_bytes - len(OVERLAY_SUFFIX) - len("-9999")
    used = {_folded(stem) for stem in taken}
    own = {_folded(path.stem) for path in paths}
    stems = []
    for path in paths:
        first = stem = _shortened(path.stem, longest)
        number = 1
        while _folded(stem) in used or (number > 1 and _folded(stem) in own):
            number += 1
            stem = f"{first}-{number}"
        used.add(_folded(stem))
        stems.append(stem)
    return stems


def _folded(stem: str) -> str:
    return unicodedata.normalize("NFC", stem.casefold())


def _shortened(stem: str, most_bytes: int) -> str:
    data = os.fsencode(stem)
    if len(data) <= most_bytes:
        return stem
    start = data[: most_bytes - 9].decode("utf-8", "ignore")  # a character is not cut
    return f"{start}~{hashlib.sha256(data).hexdigest()[:8]}"


def longest_name(folder: Path) -> int:
    """Return the number of bytes that a file's name may have in a folder."""
    try:
        return min(255, os.pathconf(folder, "PC_NAME_MAX"))
    except (AttributeError, OSError, ValueError):  # Windows
        return 255


def check_outputs(paths: Iterable[Path], stems: Iterable[str], directory: Path, suffix: str = OVERLAY_SUFFIX) -> None:
    """Raise ValueError if the overlay (or another output, by its suffix) of one image would overwrite another image."""
    outputs = {os.path.realpath(directory / (stem + suffix)) for stem in stems}
    for path in paths:
        if os.path.realpath(path) in outputs:
            what = suffix.split(".")[1]
            raise ValueError(
                f"The {what} of another image would overwrite the input '{path}'. Choose another output folder."
            )


@contextlib.contextmanager
def prepared_folder(folder: Path) -> Iterator[None]:
    """Create the folder and check that it can be written, before the work begins.

    If the work ends in an error, the created folders are removed again as far as they are empty.

    Raises:
        OSError: the folder cannot be created or written, or is a file.
    """
    created: list[Path] = []
    try:
        created = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        _remove_empty(created)
        is_file = isinstance(error, (FileExistsError, NotADirectoryError))
        reason = "it is a file, or inside one" if is_file else str(error.strerror).lower()
        raise OSError(f"Cannot write to the folder '{folder}': {reason}. Choose another.") from error
    try:
        yield
    except BaseException:
        _remove_empty(created)
        raise


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
