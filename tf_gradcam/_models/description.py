"""The description inside a model's file: scaling, class names and task, which Keras does not store.

In a .keras file, a zip archive, it is the member `tf_gradcam.json`; in an HDF5 file the data set `tf_gradcam.json`.
Keras ignores both.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_gradcam._errors import unknown_name
from tf_gradcam._files.atomic import whole_file
from tf_gradcam._files.class_names import ClassNames, ClassNamesLike, load_class_names, names_from_json
from tf_gradcam._files.opening import check_regular, zip_member
from tf_gradcam._models.file_kinds import HDF5, KERAS, keras_file, kind_of
from tf_gradcam._models.preprocessing import MODES
from tf_gradcam._models.safety import config_of

MEMBER = "tf_gradcam.json"
NAMES_MEMBER = "class_names.json"  # class names alone, written by earlier versions and by hand
TASKS = ("classification", "multilabel", "regression", "segmentation", "detection")
_MAX_BYTES = 2**22  # unpacked; ImageNet's 21 841 classes take a quarter of that


@dataclass(frozen=True)
class Description:
    """The description of a model; None for what it leaves open.

    Attributes:
        preprocess: the scaling of the training: "raw" (0..255), "unit" ([0, 1]), "tf" ([-1, 1]), "torch" or "caffe".
        class_names: names in class order.
        task: "classification" (one class of an image), "multilabel" (any number), "regression" (values),
            "segmentation" or "detection".
    """

    preprocess: str | None = None
    class_names: list[str] | None = None
    task: str | None = None

    def __str__(self) -> str:
        names = None if self.class_names is None else f"{', '.join(self.class_names)} ({len(self.class_names)})"
        rows = [("scaling", self.preprocess), ("class names", names), ("task", self.task)]
        return "\n".join(f"{head}: {text or 'not said'}" for head, text in rows)


def describe(
    path: str | os.PathLike[str],
    *,
    preprocess: str | None = None,
    class_names: ClassNamesLike | str | os.PathLike[str] | None = None,
    task: str | None = None,
) -> Description:
    """Write scaling, class names and task into a model's file, where every command and `explain` find them.

        describe("best.keras", preprocess="unit", class_names=["cat", "dog"])

    Keras loads the file as before. It is written anew, whole or not at all.

    Args:
        path: a .keras or .h5 file of a model.
        preprocess: the scaling of the training: "raw" or "none" (0..255), "unit" (pictures / 255), "tf" ([-1, 1]),
            "torch" or "caffe" (the `preprocess_input` of VGG and ResNet).
        class_names: names in class order, {index: name} of all classes, or a file of them, one a line or JSON.
        task: "classification" (one class of an image), "multilabel" (any number), "regression" (values),
            "segmentation" or "detection".

    Returns:
        `Description` of the file, with what was in it before; its text is one line for each of the three.

    Raises:
        OSError: the file cannot be read or written.
        TypeError: class names of another kind.
        ValueError: not a model's file, or damaged; an unknown mode or task; a number of names that differs from the
            number of classes.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind not in (KERAS, HDF5):
        raise ValueError(
            f"Expected a .keras or HDF5 file to describe, but '{path}' is {kind}. Load the model and save it by "
            "model.save('name.keras')."
        )
    now = description_inside(path)
    with keras_file(path) as file:
        config = config_of(file, path)
    if config is None:
        raise ValueError(f"'{path}' holds weights, not a model: describe the file of the whole model.")
    if preprocess is not None:
        preprocess = _one_of("raw" if preprocess == "none" else preprocess, MODES, "preprocessing mode")
    _one_of(task, TASKS, "task")
    names = None if class_names is None else _all_names(class_names, config, path)
    new = Description(preprocess or now.preprocess, names or now.class_names, task or now.task)
    if new != now:
        _write(path, new)
    return new


def _all_names(names: ClassNamesLike | str | os.PathLike[str], config: Any, path: Path) -> list[str]:
    """Return the names in class order, checked against the units of the model's last layer where that shows them."""
    if isinstance(names, (str, os.PathLike)):
        names = load_class_names(names)
    by_index = ClassNames(names).by_index
    if not by_index or sorted(by_index) != list(range(len(by_index))):
        raise ValueError(f"Expected a name for each class from 0 on, received names for {sorted(by_index)}.")
    units = _last_units(config)
    if units is not None and len(by_index) not in ((1, 2) if units == 1 else (units,)):
        raise ValueError(
            f"Expected {units} class names for '{path}', one per unit of its last layer, received {len(by_index)}: are "
            "they those of another model?"
        )
    return [by_index[index] for index in range(len(by_index))]


def _last_units(config: Any) -> int | None:
    """Return the units of a model's only last layer, None where the configuration does not show them."""
    try:
        layers = config["config"]["layers"]
        named = config["config"].get("output_layers")
        if named is not None:
            (name, *_) = named if isinstance(named[0], str) else named[0] if len(named) == 1 else [None]
            layers = [layer for layer in layers if layer["config"]["name"] == name]
        last = layers[-1]
        return _last_units(last) if "layers" in last["config"] else last["config"].get("units")
    except (KeyError, TypeError, IndexError, AttributeError):
        return None


def description_inside(path: str | os.PathLike[str]) -> Description:
    """Read the description in a model's file, without running code from it.

    Returns:
        `Description`; an empty one for a file without it.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, larger than 4 MiB, not UTF-8, not JSON, or of another form.
    """
    path = Path(path)
    content: Any = {}
    text = _text_inside(path, MEMBER)
    source = f"'{MEMBER}' in '{path}'"
    if text is not None:
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"Expected {source} to be JSON, but it is not: {error}. Write it again.") from error
        if not isinstance(content, dict):
            raise ValueError(f"Expected {source} to be a JSON object, received {text[:60]}. Write it again.")
    preprocess = _one_of(content.get("preprocess"), MODES, f"preprocessing mode of {source}")
    task = _one_of(content.get("task"), TASKS, f"task of {source}")
    text = json.dumps(content.get("class_names"))
    if text == "null":
        text, source = _text_inside(path, NAMES_MEMBER), f"'{NAMES_MEMBER}' in '{path}'"
    return Description(preprocess, None if text is None else names_from_json(text, source), task)


def _one_of(value: Any, known: Collection[str], kind: str) -> str | None:
    if value is None or (isinstance(value, str) and value in known):
        return value
    raise ValueError(unknown_name(kind, str(value), known))


def _text_inside(path: Path, member: str) -> str | None:
    """Return the text of a member, None without it or for a file of another kind."""
    source = f"'{member}' in '{path}'"
    check_regular(path, "a model file")
    try:
        if path.is_dir():  # an unpacked .keras file, or a SavedModel
            file = path / member
            data = file.read_bytes() if file.is_file() and file.stat().st_size <= _MAX_BYTES else None
        else:
            is_zip = zipfile.is_zipfile(path)
            data = zip_member(path, member, _MAX_BYTES) if is_zip else _hdf5_bytes(path, member)
    except OSError as error:
        raise type(error)(f"Cannot read the model file '{path}': {error.strerror or error}.") from error
    except (zipfile.BadZipFile, RuntimeError, KeyError) as error:  # the last two of HDF5
        raise ValueError(f"{source} cannot be unpacked: {error}. Write it again.") from error
    if data is None:
        return None
    if len(data) > _MAX_BYTES:
        raise ValueError(f"Expected at most {_MAX_BYTES} bytes, but {source} has more.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected UTF-8, but {source} is not. Write it again.") from error


def _hdf5_bytes(path: Path, name: str) -> bytes | None:
    with open(path, "rb") as file:
        if file.read(8) != b"\x89HDF\r\n\x1a\n":
            return None
    import h5py

    with h5py.File(path, "r") as hdf5:
        data = hdf5.get(name)
        if not isinstance(data, h5py.Dataset) or data.ndim != 1 or data.dtype != np.uint8:
            return None
        return bytes(data[: _MAX_BYTES + 1])


def _write(path: Path, description: Description) -> None:
    """Write the description into a .keras or HDF5 file: the whole file anew, or nothing; its other parts are kept."""
    path = path.resolve()  # a link stays one
    content = {key: value for key, value in asdict(description).items() if value is not None}
    data = json.dumps(content, ensure_ascii=False).encode()
    try:
        with whole_file(path) as temporary:
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as old, zipfile.ZipFile(temporary, "w") as new:
                    for member in old.infolist():
                        if member.filename not in (MEMBER, NAMES_MEMBER):
                            with old.open(member) as read, new.open(copy.copy(member), "w") as written:
                                shutil.copyfileobj(read, written, 2**20)
                    new.writestr(MEMBER, data)
            else:
                import h5py

                shutil.copyfile(path, temporary)
                with h5py.File(temporary, "r+") as hdf5:
                    if MEMBER in hdf5:
                        del hdf5[MEMBER]
                    hdf5[MEMBER] = np.frombuffer(data, np.uint8)
            shutil.copymode(path, temporary)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, KeyError) as error:
        raise ValueError(f"'{path}' is damaged: {error}. Copy or save it again.") from error
