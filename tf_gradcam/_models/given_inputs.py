"""The inputs of a model besides its picture: numbers, arrays, pictures and tables that the user gives by name.

Axis legend: B images, H0 x W0 pixels, C channels.
"""

from __future__ import annotations

import ast
import hashlib
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_gradcam._errors import nearest_files, unknown_name
from tf_gradcam._files.find import SUFFIXES
from tf_gradcam._files.opening import check_file
from tf_gradcam._files.tables import PathEnds, ending, read_rows
from tf_gradcam._models.images import ModelImages
from tf_gradcam._models.preprocessing import Preprocessing
from tf_gradcam.image.io import Photo, read_picture

if TYPE_CHECKING:
    from tf_gradcam._models.reader import ModelInputs

_MAX_ARRAY_BYTES = 2**30
_USE = "Give each by --input NAME=VALUE, with a number, a list such as 1,2,3, a .npy file, a CSV file or a picture"


class GivenInputs:
    """A converter of photos into all inputs of a model: the picture, and those that the user gives by name.

    Args:
        inputs: the model's.
        given: NAME=VALUE for each input besides the picture. A number or a list of numbers, a .npy file (in the model's
            range) and a picture (scaled as the images are) count for every image. A CSV file has a column `file` and a
            row for each image: the column of the input's name, or all other columns in their order; for an input of
            pictures, the path of one, from the folder of the CSV file.
        files: the images, which the rows of a CSV file name by the ends of their paths; None while they are not known:
            only `example` and `digest` can be asked then.
        preprocessing, size, side: as `ModelImages` takes them.

    Attributes:
        images: `ModelImages` of the picture's input.
        picture: position of that input.

    Raises:
        FileNotFoundError: a file does not exist.
        OSError: it is a pipe or a device.
        ValueError: an input that does not exist, is missing or given twice; no single input of pictures is left; a
            value that does not fit; a CSV file without rows for any image, or with two for one.
    """

    def __init__(
        self,
        inputs: ModelInputs,
        given: Iterable[str],
        files: Sequence[str | os.PathLike[str]] | None,
        preprocessing: Preprocessing,
        size: tuple[int, int] | None = None,
        side: int = 96,
    ):
        texts = _texts(given, inputs.names)
        self._all = inputs
        self.picture = _picture(inputs, texts)
        self.images = ModelImages(_only(inputs, self.picture), preprocessing, size, side)
        paths = None if files is None else [os.fspath(file) for file in files]
        self._places = {_key(path): number for number, path in enumerate(paths or [])}
        self._others: list[_ForAll | _PerImage | None] = []
        for position, name in enumerate(inputs.names):
            other = None
            if position != self.picture:
                other = _other(_Input(inputs, position, preprocessing, size), texts[name], paths)
            self._others.append(other)

    def of_photo(self, photo: Photo, path: str | os.PathLike[str]) -> list[NDArray[Any]]:
        """Return the inputs of one image in the model's order, without the batch axis.

        Raises:
            OSError, ValueError: a CSV file has no row for it, or names a picture that cannot be read.
        """
        values = self.others(path)
        values.insert(self.picture, self.images.of_photo(photo))
        return values

    def others(self, path: str | os.PathLike[str]) -> list[NDArray[Any]]:
        """Return the inputs of an image besides its picture, in the model's order, without the batch axis.

        Raises:
            OSError, ValueError: as `of_photo`.
        """
        place = self._places.get(_key(path), -1)
        return [other.value(place) for other in self._others if other is not None]

    def joined(self, images: NDArray[Any], others: Sequence[Sequence[NDArray[Any]]]) -> Any:
        """Return a batch in the structure that the model takes, of images (B, H0, W0, C) and the `others` of each."""
        arrays = [np.stack(column) for column in zip(*others, strict=True)]
        arrays.insert(self.picture, images)
        return self._packed(arrays)

    def example(self) -> list[NDArray[Any]]:
        """Return the inputs of a black image, with values that some image has."""
        black = self.images.of_photos(np.zeros((*self.images.size, 3), np.uint8))
        return [black if other is None else other.example() for other in self._others]

    def stacked(self, rows: Sequence[Sequence[NDArray[Any]]]) -> Any:
        """Return a batch in the structure that the model takes, of the inputs of each image."""
        return self._packed([np.stack(column) for column in zip(*rows, strict=True)])

    def _packed(self, arrays: list[NDArray[Any]]) -> Any:
        return arrays[0] if len(arrays) == 1 else keras.tree.pack_sequence_as(self._all.structure, arrays)

    @property
    def tables(self) -> dict[str, str]:
        """The CSV file of each input that has one."""
        named = zip(self._all.names, self._others, strict=True)
        return {name: other.path for name, other in named if isinstance(other, _PerImage)}

    def digest(self) -> str:
        """Return a hexadecimal digest of what was given; of pictures that a table names, their paths count."""
        found = hashlib.sha256()
        for name, other in zip(self._all.names, self._others, strict=True):
            if other is not None:
                found.update(f"{name}\0".encode() + other.content())
        return found.hexdigest()

    def check_layer(self, drawn: int, seen: Sequence[int], layer_name: str) -> None:
        """Check that the maps of a layer are of the images.

        Args:
            drawn: position of the input that the maps are drawn over.
            seen: positions of all inputs that reach the layer.
            layer_name: of the layer, for the message.

        Raises:
            ValueError: they are of another input; of two that are seen, of one of another size.
        """
        is_alike = self._all.specs[drawn].shape == self._all.specs[self.picture].shape
        if drawn != self.picture and not (self.picture in seen and is_alike):
            own, other = self._all.names[self.picture], self._all.names[drawn]
            raise ValueError(
                f"Layer '{layer_name}' sees the input '{other}', but the images are given to '{own}'. Choose a layer "
                f"of '{own}' by --layer, or give '{own}' by --input, so that the images go to '{other}'."
            )

    def text(self, path: str | os.PathLike[str]) -> str:
        """Return what was given with an image, such as "age=62; sex=0", for its row in a table."""
        place = self._places.get(_key(path), -1)
        named = zip(self._all.names, self._others, strict=True)
        return "; ".join(f"{name}={other.text(place)}" for name, other in named if other is not None)


@dataclass(frozen=True)
class _Input:
    """One input of a model that the user gives."""

    inputs: ModelInputs
    position: int
    preprocessing: Preprocessing
    size: tuple[int, int] | None

    @property
    def name(self) -> str:
        return self.inputs.names[self.position]

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Without the batch axis."""
        return tuple(self.inputs.specs[self.position].shape)[1:]

    @property
    def is_picture(self) -> bool:
        return _is_picture(self.inputs, self.position)

    def images(self) -> ModelImages:
        return ModelImages(_only(self.inputs, self.position), self.preprocessing, self.size)

    def fitted(self, array: Any, where: str) -> NDArray[Any]:
        """Return an array in the shape of the input without the batch axis."""
        values = np.asarray(array)
        if values.dtype.kind not in "biuf":
            raise ValueError(f"Expected numbers for the input '{self.name}', received {values.dtype} in {where}.")
        wanted = self.shape
        if values.ndim == len(wanted) + 1 and values.shape[0] == 1:
            values = values[0]
        if values.size == 1 and all(side in (1, None) for side in wanted):
            values = values.reshape((1,) * len(wanted))
        fits = zip(wanted, values.shape, strict=False)
        if values.ndim != len(wanted) or any(side not in (None, have) for side, have in fits):
            shown = ", ".join("any" if side is None else str(side) for side in wanted)
            one = f"({shown}{',' * (len(wanted) == 1)}) or (1, {shown})" if wanted else "()"
            raise ValueError(
                f"Expected the input '{self.name}' of shape {one}, received {np.shape(array)} in {where}. Give one "
                "value for all images, or a CSV file with a row for each image."
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(
                f"Expected finite numbers for the input '{self.name}', received NaN or infinity in {where}."
            )
        dtype = self.inputs.specs[self.position].dtype
        if dtype.is_integer and values.dtype.kind == "f" and (values != np.rint(values)).any():
            raise ValueError(
                f"Expected whole numbers for the input '{self.name}', received others in {where}. Round them."
            )
        if dtype.is_bool:
            return values.astype(bool)
        return values if dtype.is_integer else values.astype(np.float32)


class _ForAll:
    """One value for all images."""

    def __init__(self, value: NDArray[Any], text: str):
        self._array = value
        self._text = text

    def value(self, place: int) -> NDArray[Any]:
        return self._array

    def example(self) -> NDArray[Any]:
        return self._array

    def text(self, place: int) -> str:
        return self._text

    def content(self) -> bytes:
        return self._array.tobytes()


class _PerImage:
    """A value for each image, of the rows of a CSV file; pictures are read when they are needed.

    Attributes:
        path: of the CSV file.
        rows: position of the image -> its value, or the path of its picture; and the cells of the row as text. Where
            the images are not known, the position of the row.
    """

    def __init__(self, path: str, one: _Input, files: Sequence[str] | None):
        self.path, self._name = path, one.name
        self._images = one.images() if one.is_picture else None
        columns, rows = read_rows(Path(path), "inputs")
        chosen = [one.name] if one.name in columns else columns
        if not chosen:
            raise ValueError(f"Expected a column '{one.name}' beside the column of files in '{path}', received none.")
        if self._images is not None and len(chosen) > 1:
            raise ValueError(
                f"Expected one column of pictures for the input '{one.name}' in '{path}', received "
                f"{', '.join(chosen)}. Call it '{one.name}'."
            )
        self._rows: dict[int, tuple[Any, str]] = {}
        self._cells: list[str] = []
        lines: dict[int, int] = {}
        places = None if files is None else PathEnds(files)
        for number, (line, row) in enumerate(rows):
            where = f"line {line} of '{path}'"
            place = number if places is None else places.find(row["file"], where)
            self._cells += [row["file"], *(row.get(column, "") for column in chosen)]
            if place is None:
                continue
            if files is not None and place in lines:
                raise ValueError(
                    f"Expected one row for '{files[place]}' in '{path}', received lines {lines[place]} and {line}."
                )
            lines[place] = line
            cells = [row.get(column, "") for column in chosen]
            if not any(cells):
                continue  # as if there were no row
            value: Any = Path(path).parent / cells[0] if self._images is not None else _numbers(cells, one, where)
            self._rows[place] = value, ",".join(cells)
        if not self._rows and files is None:
            raise ValueError(f"Expected a row for each image in '{path}', received none with a value. Add them.")
        if not self._rows:
            raise ValueError(
                f"Expected '{path}' to name some of the {len(files or [])} images, but no line fits any. Write the "
                f"ends of their paths into the column of files, such as '{ending(files or [])}'."
            )

    def value(self, place: int) -> NDArray[Any]:
        if place not in self._rows:
            raise ValueError(f"'{self.path}' has no row for it, and the model needs the input '{self._name}'. Add one.")
        value, _ = self._rows[place]
        return value if self._images is None else self._images.of_photo(read_picture(value, self._images.size).photo)

    def example(self) -> NDArray[Any]:
        if self._images is not None:
            return self._images.of_photos(np.zeros((*self._images.size, 3), np.uint8))
        return next(iter(self._rows.values()))[0]

    def text(self, place: int) -> str:
        return self._rows[place][1] if place in self._rows else ""

    def content(self) -> bytes:
        return "\0".join(self._cells).encode("utf-8", "surrogateescape")


def _numbers(cells: list[str], one: _Input, where: str) -> NDArray[Any]:
    try:
        values = np.array([float(cell) for cell in cells])
    except ValueError as error:
        raise ValueError(
            f"Expected numbers for the input '{one.name}', received {', '.join(cells)} in {where}. Correct the line, "
            f"or call the column that holds them '{one.name}'."
        ) from error
    if None not in one.shape and math.prod(side or 1 for side in one.shape) == len(values):
        values = values.reshape([side or 1 for side in one.shape])
    return one.fitted(values, where)


def _texts(given: Iterable[str], names: Sequence[str]) -> dict[str, str]:
    """Return the value of each named input as text."""
    found: dict[str, str] = {}
    given = list(given)
    if len(names) == 1 and given:
        raise ValueError(
            f"Expected no --input for a model of one input, '{names[0]}', which takes the images; received {given[0]}. "
            "Leave it out."
        )
    for pair in given:
        name, equals, value = pair.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name or not value:
            raise ValueError(f"Expected an input as NAME=VALUE, such as age=62 or age=ages.csv, received '{pair}'.")
        if name not in names:
            raise ValueError(unknown_name("input", name, names))
        if name in found:
            raise ValueError(f"Expected one value for the input '{name}', received {found[name]} and {value}.")
        found[name] = value
    return found


def _picture(inputs: ModelInputs, texts: dict[str, str]) -> int:
    """Return the position of the input that takes the images: the one that is left, or the one picture among them."""
    left = [position for position, name in enumerate(inputs.names) if name not in texts]
    pictures = [position for position in left if _is_picture(inputs, position)]
    if len(left) == 1:
        return left[0]
    if not left or not pictures:
        names = ", ".join(_shown(inputs, position) for position in range(len(inputs.names)))
        raise ValueError(
            f"Expected an input of pictures for the images among those not given by --input. The inputs are {names}; "
            f"given are {', '.join(texts) or 'none'}. Leave the one of pictures out."
        )
    if len(pictures) > 1:
        names = " and ".join(_shown(inputs, position) for position in pictures)
        first = inputs.names[pictures[-1]]
        raise ValueError(
            f"Expected one input of pictures for the images, received {names}. Give the others by --input, such as "
            f"--input {first}=FILE, with a picture or a CSV file of pictures."
        )
    missing = [_shown(inputs, position) for position in left if position != pictures[0]]
    raise ValueError(
        f"Expected a value for each input besides '{inputs.names[pictures[0]]}', which takes the images; missing "
        f"{'is' if len(missing) == 1 else 'are'} {' and '.join(missing)}. {_USE}."
    )


def _shown(inputs: ModelInputs, position: int) -> str:
    sides = ["B", *("any" if side is None else str(side) for side in tuple(inputs.specs[position].shape)[1:])]
    return f"'{inputs.names[position]}' ({', '.join(sides)})"


def _is_picture(inputs: ModelInputs, position: int) -> bool:
    shape = tuple(inputs.specs[position].shape)
    return len(shape) == 4 and shape[-1] in (1, 3, None)


def _only(inputs: ModelInputs, position: int) -> ModelInputs:
    """Return one of several inputs, as the inputs of a model of one."""
    name = inputs.names[position]
    return replace(inputs, names=[name], specs=[inputs.specs[position]], structure=name, picture=None)


def _other(one: _Input, text: str, files: Sequence[str] | None) -> _ForAll | _PerImage:
    """Return what a text gives: numbers, else the file of its suffix."""
    if one.inputs.specs[one.position].dtype == "string":
        raise ValueError(
            f"Expected inputs of numbers, but the input '{one.name}' takes text, which is not explained. Let a model "
            "take the numbers that its layer makes of the text."
        )
    try:
        numbers = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        numbers = None
    if isinstance(numbers, (int, float, list, tuple)):
        try:
            values = np.asarray(numbers)
        except ValueError as error:
            raise ValueError(f"Expected lists of equal length for the input '{one.name}', received {text}.") from error
        return _ForAll(one.fitted(values, f"'{text}'"), text)
    suffix = Path(text).suffix.lower()
    if not os.path.isfile(text):
        near = nearest_files(Path(text), (".npy", ".csv", *SUFFIXES))
        raise FileNotFoundError(
            f"Expected a number, a list of numbers or a file for the input '{one.name}', received '{text}', which is "
            f"not a number, and there is no such file. {near}"
        )
    if suffix == ".csv":
        return _PerImage(text, one, files)
    if suffix == ".npy":
        check_file(text, "an array", _MAX_ARRAY_BYTES)
        try:
            array = np.load(text, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(
                f"'{text}' is not an array of NumPy, or is damaged: {error}. Save it by np.save."
            ) from error
        return _ForAll(one.fitted(array, f"'{text}'"), text)
    if not one.is_picture:
        raise ValueError(
            f"Expected numbers for the input {_shown(one.inputs, one.position)}, received '{text}', neither .npy nor "
            f".csv. {_USE}."
        )
    images = one.images()
    return _ForAll(images.of_photo(read_picture(text, images.size).photo), text)


def _key(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(path)
