"""Sessions of the web page with the network that one can do in one's head, without a browser."""

from __future__ import annotations

import os
from pathlib import Path

import keras

from tests.helpers.pictures import encoded
from tests.helpers.redblue import red_blue_model, red_blue_photo
from tf_gradcam._app.events import Events
from tf_gradcam._app.model import AppModel, Origin
from tf_gradcam._app.session import Sessions
from tf_gradcam._app.uploads import AppFolder, Sample

L = keras.layers
NAMES = ["red", "blue"]
QUESTION = ("hue", "gradcam", -1, -1, "raw")  # layer, method, top class, against nothing, pixel values


def hidden_head():
    """Another layer before the classes: plain CAM does not hold then."""
    return L.Dense(4, "relu", kernel_initializer="ones"), L.Dense(2, activation="softmax", name="classes")


def app_model(*head, **options):
    return AppModel(red_blue_model(*head), NAMES, Origin("red_blue.keras"), **options)


def upload(sessions: Sessions, data: bytes | None = None, name: str = "photo.png") -> str:
    """A file as Gradio leaves it: in a folder of its own, below that of the uploads."""
    number = len(list(sessions.folder.uploads.iterdir()))
    path = sessions.folder.uploads / str(number) / name
    path.parent.mkdir()
    path.write_bytes(encoded(red_blue_photo(), "PNG") if data is None else data)
    return str(path)


def new_sessions(model: AppModel | None = None, samples: tuple[Sample, ...] = ()) -> Sessions:
    return Sessions(model or app_model(), AppFolder().make(), samples)


def update(**changes):
    """As `gradio.update`."""
    return {"__type__": "update", **changes}


def new_events(sessions: Sessions) -> Events:
    return Events(sessions, update)


def files_in(folder: Path) -> list[str]:
    """Names of the files below a folder; what is removed meanwhile, by a page that is served, does not count."""
    return sorted(name for _, _, names in os.walk(folder) for name in names)
