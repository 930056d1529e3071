"""Files that other versions of Keras 2 have just written: `.ci/versions` makes them and sets KERAS2_FILES.

Also tests _models/keras2.py.
"""

import os
from pathlib import Path

import keras
import numpy as np
import pytest

from tf_gradcam import load_model

FOLDER = os.environ.get("KERAS2_FILES", "")
FILES = [
    path
    for path in (sorted(Path(FOLDER).glob("*/*")) if FOLDER else ())
    if path.suffix in (".h5", ".keras") or (path / "saved_model.pb").exists()
]


@pytest.mark.slow
@pytest.mark.skipif(not FILES, reason="KERAS2_FILES names no folder of files: see .ci/versions")
@pytest.mark.filterwarnings("ignore::tf_gradcam._errors.ModelWarning")
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_repaired_file_predicts_what_its_writer_did(path: Path) -> None:
    arrays = np.load(path.with_suffix(".npz"))
    images = [arrays[key] for key in arrays.files if key.startswith("input")]
    expected = [arrays[key] for key in arrays.files if key.startswith("output")]
    model = load_model(path)
    if path.stem == "dict_inputs":
        images = [{tensor.name: image for tensor, image in zip(model.inputs, images, strict=True)}]
    outputs = model(images if len(images) > 1 else images[0], training=False)
    outputs = [outputs[key] for key in sorted(outputs)] if isinstance(outputs, dict) else keras.tree.flatten(outputs)
    rtol = 1e-2 if path.stem == "mixed_float16" else 1e-5
    for actual, wanted in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=rtol * np.abs(wanted).max())
