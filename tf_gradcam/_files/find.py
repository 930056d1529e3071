"""Which images are explained, and what the files made of them are called."""

from __future__ import annotations

import contextlib
import glob
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

SUFFIXES = (".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
OVERLAY_SUFFIX = ".overlay.png"
HEATMAP_SUFFIX = ".heatmap.npy"


def find_images(arguments: Iterable[str]) -> list[Path]:
    """The image files that files, folders and glob patterns stand for.

    Args:
        arguments: file names, kept whatever their suffix and whether or not they exist, so that each one gets its own
            verdict; folders, searched to any depth; patterns of `glob` ("**" crosses folders), for shells that do not
            expand them.

    Returns:
        Paths in the order of the arguments, those of a folder or pattern sorted, each file once. Of a folder come the
        files with an image's suffix, without hidden ones and without overlays (`*.overlay.png`).

    Raises:
        ValueError: for a folder or pattern without an image, or an empty argument.
        OSError: for a folder that cannot be read.
    """
    found: dict[str, Path] = {}
    for argument in arguments:
        for path in _expand(argument):
            found.setdefault(os.path.abspath(path), path)
    return list(found.values())


def _expand(argument: str) -> list[Path]:
    if not argument:
        raise ValueError("Expected an image file, folder or pattern, received an empty name.")
    path = Path(argument)
    if path.is_dir():
        images = _search(path)
        if not images:
            raise ValueError(f"The folder '{argument}' holds no images ({', '.join(SUFFIXES)}).")
        return images
    if os.path.lexists(path) or not glob.has_magic(argument):
        return [path]
    matches = sorted(glob.glob(argument, recursive=True))
    if not matches:
        raise ValueError(f"No file matches the pattern '{argument}'.")
    return [image for match in matches for image in (_search(Path(match)) if os.path.isdir(match) else [Path(match)])]


def _search(folder: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]  # what os.walk enters next
        found += [Path(place, name) for name in names if _is_image(name.lower())]
    return sorted(found)


def _is_image(name: str) -> bool:
    return name.endswith(SUFFIXES) and not name.startswith(".") and not name.endswith(OVERLAY_SUFFIX)


def _refuse(error: OSError) -> NoReturn:
    raise error


def output_stems(paths: Sequence[Path]) -> list[str]:
    """What the outputs of each image are called, without two of the same name.

    An image's outputs carry its own stem: `a/dog.jpg` gives `dog.overlay.png`. Where several images have one stem (also
    when they differ in case alone, which some file systems ignore), the first in the list has it plain and the others
    are numbered in order, `dog-2`, `dog-3`, past numbers that are themselves the stem of an image.

    Args:
        paths: the images, in order.

    Returns:
        One stem per path, all different.
    """
    taken: set[str] = set()
    own = {path.stem.casefold() for path in paths}
    stems = []
    for path in paths:
        stem, number = path.stem, 1
        while stem.casefold() in taken or (number > 1 and stem.casefold() in own):
            number += 1
            stem = f"{path.stem}-{number}"
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def check_outputs(paths: Iterable[Path], stems: Iterable[str], directory: Path) -> None:
    """Refuse to write over what is to be read.

    Raises:
        ValueError: if the overlay of one image has the path of another image.
    """
    outputs = {os.path.realpath(directory / (stem + OVERLAY_SUFFIX)) for stem in stems}
    for path in paths:
        if os.path.realpath(path) in outputs:
            raise ValueError(
                f"'{path}' is to be explained and would be overwritten by the overlay of another image. "
                "Choose another output folder."
            )


@contextlib.contextmanager
def prepared_folder(folder: Path) -> Iterator[None]:
    """Make the folder, and find out that it can be written, before the work begins.

    Where the work ends in an error that leaves the folder empty, what was made is removed again.

    Raises:
        OSError: if it cannot be made or written, or is a file.
    """
    made: list[Path] = []
    try:
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        _remove_empty(made)
        is_file = isinstance(error, (FileExistsError, NotADirectoryError))
        reason = "it is a file, or inside one" if is_file else str(error.strerror).lower()
        raise OSError(f"Cannot write to the folder '{folder}': {reason}. Choose another.") from error
    try:
        yield
    except BaseException:
        _remove_empty(made)
        raise


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
