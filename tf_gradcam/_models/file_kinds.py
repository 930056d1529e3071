"""What a model file is, by its bytes, and the same model as a file that Keras reads: people rename files.

Keras goes by the end of a name: .keras is a zip archive, .h5 is HDF5, .weights.h5 holds weights of Keras 3.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from tf_gradcam._errors import Message, nearest_files
from tf_gradcam._files.opening import check_file
from tf_gradcam._models.saved_model import copy_weights, is_checkpoint, write_hdf5

KERAS, HDF5, SAVED_MODEL, CHECKPOINT, FOLDER, ZIP, JSON = (
    "a .keras file",
    "an HDF5 file",
    "a SavedModel",
    "a TensorFlow checkpoint",
    "an unpacked .keras file",
    "a zip archive of a model",
    "the layers of a model as JSON, without weights",
)
MODEL_SUFFIXES = (".keras", ".h5", ".hdf5")
_MAX_UNPACKED = 4 * 2**30  # bytes of an archive; the largest networks take 2 GiB
_MAX_JSON = 64 * 2**20  # bytes, as of the layers in a .keras file
AGAIN = "Copy or download it again."
_ORIGINAL = "Give the Keras model that it was made from, saved by model.save('name.keras')."
_UNPACK = "Unpack it with another program and give the model inside."
_PICKLE = "A Keras model in it: load it in Python, and save it by model.save('name.keras')."
_PYTORCH = "This program explains Keras models; for PyTorch there is pytorch-grad-cam."
_SET_WEIGHTS = "Build the network, call its set_weights, and pass the model."
_LOAD_WEIGHTS = "Build the network in Python, call its load_weights(file), and pass the model."
_PICTURE = "Give the model by --model, and pictures without an option."

# Foreign files: (position, bytes, what it is, remedy). The first that fits.
_FOREIGN = (
    (4, b"TFL3", "a TensorFlow Lite model, whose layers were fused", _ORIGINAL),
    (0, b"\x1f\x8b", "an archive packed by gzip", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (0, b"\x80", "a pickle, which PyTorch and joblib write and which runs code", _PICKLE),
    (8, b'{"', "a safetensors file: weights without a network", "Build the network in Keras and load them into it."),
    (0, b"\x93NUMPY", "a NumPy array", _SET_WEIGHTS),
    (0, b"\x89PNG", "a PNG picture", _PICTURE),
    (0, b"\xff\xd8\xff", "a JPEG picture", _PICTURE),
    (0, b"<", "a web page or XML text, perhaps the page of a download", AGAIN),
)


def _foreign(path: Path, what: str, remedy: str, expected: str = "a model file") -> ValueError:
    return ValueError(f"Expected {expected} of Keras, but '{path}' is {what}. {remedy}")


def kind_of(path: Path, expected: str = "a model file") -> str:
    """Return what a model file or folder is, by its content; `expected` is for messages.

    Raises:
        FileNotFoundError: it does not exist, and is not the prefix of a checkpoint.
        OSError: it is a pipe or a device, or cannot be read.
        ValueError: it is none of the kinds that are read; the message says what it is.
    """
    check_file(path, expected)
    if path.is_dir():
        return _kind_of_folder(path)
    if not path.exists():
        if is_checkpoint(path):
            return CHECKPOINT
        raise FileNotFoundError(missing(path))
    with open(path, "rb") as file:  # a lack of permission raises its own error
        start = file.read(512)
    if not start:
        raise ValueError(f"'{path}' is empty (0 bytes). {AGAIN}")
    if start.startswith(b"PK"):
        return _kind_of_zip(path)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return HDF5
    if is_checkpoint(path):
        return CHECKPOINT
    if start.lstrip().startswith(b"{"):
        return _kind_of_json(path)
    if path.name == "saved_model.pb":
        return SAVED_MODEL
    for position, sign, what, remedy in _FOREIGN:
        if start[position:].startswith(sign):
            raise _foreign(path, what, remedy, expected)
    if (start[0] == 8 and b"\x12" in start[2:8]) or path.suffix.lower() == ".onnx":
        raise _foreign(path, "an ONNX model", _ORIGINAL, expected)
    if start[0] == 10 and path.suffix.lower() == ".pb":
        raise _foreign(path, "a frozen graph, without layers", _ORIGINAL, expected)
    raise ValueError(
        f"Expected {expected} of Keras (.keras, .h5), but the first bytes of '{path}' are of neither: it is of another "
        f"kind, or damaged. {AGAIN} A model is saved by model.save('name.keras')."
    )


def _kind_of_folder(path: Path) -> str:
    if (path / "saved_model.pb").exists() or (path / "saved_model.pbtxt").exists():
        return SAVED_MODEL
    if (path / "config.json").exists() and (path / "model.weights.h5").exists():
        return FOLDER
    inside = _models_inside(path)
    if (path / "checkpoint").exists() and not inside:
        inside = sorted(name.with_suffix("") for name in path.glob("*.index"))
        if len(inside) == 1:
            return CHECKPOINT
    names = ", ".join(f"'{model}'" for model in inside[:5])
    remedy = f"Give the model inside: {names}." if inside else "Save the model by model.save('name.keras')."
    raise _foreign(path, "a folder", remedy)


def _models_inside(folder: Path) -> list[Path]:
    """Return the model files and SavedModels in a folder and in the folders inside it."""
    found = [path for pattern in ("*", "*/*") for path in folder.glob(pattern)]
    files = [path for path in found if path.suffix.lower() in MODEL_SUFFIXES and path.name[0] != "."]
    return sorted([*files, *(path.parent for path in found if path.name == "saved_model.pb")])


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise ValueError(f"'{path}' is not a .keras file, or is damaged: {error}. Copy or save it again.") from error
    if "config.json" in names:
        return KERAS
    if any(name.endswith("/data.pkl") for name in names):
        raise _foreign(path, "a PyTorch file", _PYTORCH)
    if names and all(name.endswith(".npy") for name in names):
        raise _foreign(path, "an archive of NumPy arrays (.npz)", _SET_WEIGHTS)
    return ZIP


def _kind_of_json(path: Path) -> str:
    if path.stat().st_size > _MAX_JSON:
        raise ValueError(f"Expected layers in at most {_MAX_JSON} bytes, but '{path}' has more. {AGAIN}")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"'{path}' begins like JSON, but is damaged: {error}. {AGAIN}") from error
    if "modelTopology" in content or "weightsManifest" in content:
        raise _foreign(path, "a TensorFlow.js model", _ORIGINAL)
    if "weight_map" in content:
        raise _foreign(path, "the list of weights in several files", _LOAD_WEIGHTS)
    if "class_name" not in content:
        raise _foreign(path, "JSON without layers", AGAIN)
    return JSON


def has_layers_only(path: Path) -> bool:
    """Return whether a file holds a model's layers as JSON, so that its weights must be given too."""
    return path.exists() and kind_of(path) == JSON


def weights_kind_of(path: Path) -> str:
    """Return what a file of weights is: `CHECKPOINT`, `SAVED_MODEL`, or the end of the name by which Keras reads it.

    Raises:
        OSError, ValueError: as `kind_of`; or it is of a kind without weights.
    """
    if not path.exists() and not is_checkpoint(path):
        raise FileNotFoundError(f"There is no file of weights '{path}'. {nearest_files(path)}")
    kind = kind_of(path, "a file of weights")
    if kind in (KERAS, CHECKPOINT, SAVED_MODEL):
        return ".keras" if kind == KERAS else kind
    if kind != HDF5:
        fact = f"Expected a file of weights (HDF5, .keras, a checkpoint), but '{path}' is {kind}."
        raise ValueError(f"{fact} Give another.")
    try:
        with h5py.File(path, "r") as file:
            return ".weights.h5" if is_keras3(file) else ".h5"
    except OSError as error:
        raise ValueError(f"'{path}' is not an HDF5 file, or is damaged: {error}. Copy or save it again.") from error


def missing(path: Path) -> str:
    """Return the message for a model file that does not exist, with the nearest model files in its folder."""
    return f"There is no model file '{path}'. {nearest_files(path, MODEL_SUFFIXES)}"


def load_weights_call(path: Path) -> str:
    """Return what to do, in Python, with the weights in a file under any name: Keras goes by the end of the name."""
    try:
        suffix = weights_kind_of(path)
    except (OSError, ValueError):
        suffix = path.suffix
    if _ends_in(path, suffix):
        return f"call its load_weights('{path}')"
    name = path.with_name(path.name.partition(".")[0] + suffix)
    return f"copy the file as '{name}', call load_weights('{name}')"


def by_hand(path: Path) -> str:
    """Return what works for a model of any version: its network is built in Python, and filled from the same file."""
    kind = kind_of(path)
    if kind == SAVED_MODEL:
        return copy_weights(_folder_of(path))
    if kind == ZIP:
        return "unpack it, build the network in Python, load the weights of the model inside,"
    call = "load its weights" if kind == JSON else load_weights_call(path / _MEMBERS[2] if kind == FOLDER else path)
    return f"build the network in Python, {call},"


def _folder_of(path: Path) -> Path:
    """Return the folder of a SavedModel, which may be given by its file saved_model.pb."""
    return path if path.is_dir() else path.parent


def _ends_in(path: Path, suffix: str) -> bool:
    return path.name.endswith(suffix) and not (suffix == ".h5" and path.name.endswith(".weights.h5"))


@contextlib.contextmanager
def named(path: Path, suffix: str) -> Iterator[Path]:
    """Give a file under a name that ends in `suffix`, until the end of the block."""
    if _ends_in(path, suffix):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="tf-gradcam-") as folder:
        other = Path(folder, f"model{suffix}")
        try:
            other.symlink_to(path.resolve())
        except OSError:  # Windows does not let everyone link
            shutil.copyfile(path, other)
        yield other


@contextlib.contextmanager
def keras_file(path: Path, weights: Path | None = None) -> Iterator[Path]:
    """Give the model as a file that Keras reads, .keras or .h5, until the end of the block.

    Args:
        path: of any kind that `kind_of` returns, except a checkpoint.
        weights: a file of weights for a model that is JSON.

    Raises:
        OSError, ValueError: as `kind_of`; the model cannot be turned into such a file.
    """
    kind = kind_of(path)
    if kind in (KERAS, HDF5):
        with named(path, ".keras" if kind == KERAS else ".h5") as file:
            yield file
        return
    with tempfile.TemporaryDirectory(prefix="tf-gradcam-") as name:
        folder = Path(name)
        if kind == ZIP:
            with keras_file(_unpacked(path, folder)) as file:
                yield file
        elif kind == SAVED_MODEL:
            write_hdf5(_folder_of(path), folder / "model.h5")
            yield folder / "model.h5"
        elif kind == FOLDER:
            yield _packed(folder / "model.keras", {member: path / member for member in _MEMBERS})
        elif kind == JSON and weights is not None:
            yield _joined(path, weights, folder)
        elif kind == JSON:
            fact = f"'{path}' holds {kind}."
            build = f"Give a file of them too: tf_gradcam.load_model('{path}', weights=file)."
            raise ValueError(Message(fact, build, "Give a file of them too: --weights FILE."))
        else:
            fact = f"'{path}' is {kind}, which holds weights without layers. For a network of keras.applications"
            own = "For another, save the whole model by model.save('name.h5') with the TensorFlow that wrote it."
            build = f"pass its name as the model, and this as weights=. {own}"
            raise ValueError(Message(fact, build, f"type --model NAME --weights {path}. {own}"))


_MEMBERS = ("metadata.json", "config.json", "model.weights.h5")


def _packed(target: Path, members: dict[str, Path]) -> Path:
    """Write a .keras file."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, file in members.items():
            archive.write(file, name)
    return target


def _unpacked(path: Path, folder: Path) -> Path:
    """Unpack the one model in a zip archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.filename.startswith("__MACOSX/")]
            if sum(member.file_size for member in members) > _MAX_UNPACKED or len(members) > 10_000:
                raise ValueError(f"'{path}' unpacks to more than any model takes. {_UNPACK}")
            archive.extractall(folder, members)
    except ValueError:
        raise
    except Exception as error:  # zipfile, zlib, bz2 and lzma each have their own
        raise ValueError(f"'{path}' is damaged: {error}. Copy or save it again.") from error
    inside = _models_inside(folder)
    if len(inside) != 1:
        names = ", ".join(str(model.relative_to(folder)) for model in inside) or "none"
        raise ValueError(f"Expected one Keras model in the zip archive '{path}', received {names}. {_UNPACK}")
    return inside[0]


def _joined(path: Path, weights: Path, folder: Path) -> Path:
    """Write layers from JSON and weights from HDF5 into one file."""
    if weights_kind_of(weights) not in (".h5", ".weights.h5"):
        own = "Save them by model.save_weights('name.weights.h5') with the program that wrote them."
        raise ValueError(f"Expected weights in HDF5 for the layers in '{path}', received '{weights}'. {own}")
    layers = path.read_text(encoding="utf-8")
    content = json.loads(layers)
    version = str(content.get("keras_version", "1"))
    with h5py.File(weights) as source:
        if is_keras3(source):
            if "registered_name" in content:  # as Keras 3 writes layers, without its version
                version = "3"
            (folder / _MEMBERS[0]).write_text(json.dumps({"keras_version": version}))
            files = (folder / _MEMBERS[0], path, weights)
            return _packed(folder / "model.keras", dict(zip(_MEMBERS, files, strict=True)))
        with h5py.File(folder / "model.h5", "w") as target:
            source.copy(source.get("model_weights", source["/"]), target, "model_weights")
            target.attrs["model_config"], target.attrs["keras_version"] = layers, version
    return folder / "model.h5"


def is_keras3(file: Any) -> bool:
    """Return whether an open HDF5 file holds weights as Keras 3 writes them (.weights.h5)."""
    return not any(key in file.attrs for key in ("layer_names", "layer_names0", "model_config"))
