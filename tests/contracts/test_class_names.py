"""One rule for the names of classes: every door of the package finds the same class under the same spelling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.helpers.explanations import explained
from tf_gradcam import Explainer
from tf_gradcam._files.class_names import ClassNames
from tf_gradcam.audit.sources import DatasetSource, find_samples
from tf_gradcam.callbacks import FixedImages
from tf_gradcam.targets import ClassScore

pytestmark = pytest.mark.core

NAMES = ["tench, Tinca tinca", "Afghan hound, Afghan", "Shih-Tzu", "n02088364-beagle", "crane", "crane", "Crane"]
IMAGES = np.random.default_rng(0).random((1, 6, 10, 3), np.float32)


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    convolution = layers.Conv2D(4, 3, name="conv")
    head = [layers.GlobalAveragePooling2D(), layers.Dense(len(NAMES), "softmax")]
    return Explainer(keras.Sequential([keras.Input((6, 10, 3)), convolution, *head]), class_names=NAMES)


def by_target(name: str, folder: Path, explainer: Explainer) -> int:
    return int(explainer(IMAGES, name).class_indices[0])


def by_target_object(name: str, folder: Path, explainer: Explainer) -> int:
    return NAMES.index(explainer(IMAGES, ClassScore(name)).labels[0])


def by_plot(name: str, folder: Path, explainer: Explainer) -> int:
    explanation = explained(np.ones((1, 2, 3)), class_names=dict(enumerate(NAMES)))
    explanation.probabilities = None  # those of a model of two classes
    truth = explanation.with_photos(labels=[name]).truth
    assert truth is not None
    return int(truth[0])


def by_callback(name: str, folder: Path, explainer: Explainer) -> int:
    labels = FixedImages(IMAGES, np.zeros((1, 6, 10, 3), np.uint8), [[name]], NAMES).labels
    assert labels is not None
    return int(labels[0])


def by_folder(name: str, folder: Path, explainer: Explainer) -> int:
    (folder / name).mkdir()
    (folder / name / "1.png").touch()
    return int(find_samples(folder, NAMES).labels[0])


def by_table(name: str, folder: Path, explainer: Explainer) -> int:
    (folder / "labels.csv").write_text(f'file,label\n1.png,"{name}"\n')
    return int(find_samples(folder / "labels.csv", NAMES).labels[0])


def by_data_set(name: str, folder: Path, explainer: Explainer) -> int:
    source = DatasetSource(tf.data.Dataset.from_tensor_slices((IMAGES, [name])), NAMES)
    return int(next(source.batches({}, 4, 4))["label"][0])


def by_option(name: str, folder: Path, explainer: Explainer) -> int:
    index = ClassNames(NAMES).index_in(name)
    assert index is not None
    return index


Door = Callable[[str, Path, Explainer], int]
DOORS = [by_target, by_target_object, by_plot, by_callback, by_folder, by_table, by_data_set, by_option]
EACH_DOOR = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)


@EACH_DOOR
@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("Afghan hound, Afghan", 1),  # as it is in the list
        ("Afghan", 1),
        ("afghan_hound", 1),
        ("n02088094_Afghan_hound", 1),
        ("n02088094-Afghan", 1),
        ("Tinca-tinca", 0),
        ("SHIH TZU", 2),
        ("n02086240-Shih-Tzu", 2),
        ("Beagle", 3),  # the list has the number, the name does not
        ("n02088364_beagle", 3),
        ("Crane", 6),  # letter for letter before any other rule
    ],
)
def test_every_door_finds_the_class(door: Door, name: str, index: int, tmp_path: Path, explainer: Explainer) -> None:
    assert door(name, tmp_path, explainer) == index


@EACH_DOOR
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Afgan hound", "Unknown class 'Afgan hound'. Did you mean 'Afghan hound, Afghan'"),
        ("hound", "Unknown class 'hound'"),  # a word of a name is not the name
        ("n99999999-beagle", "Unknown class 'n99999999-beagle'"),  # another number is another class
        ("crane", r"Class name 'crane' is not unique: pass one of the indices \[4, 5\]"),
        ("CRANE", r"Class name 'CRANE' is not unique: pass one of the indices \[4, 5, 6\]"),
    ],
)
def test_every_door_refuses_the_name(door: Door, name: str, message: str, tmp_path: Path, explainer: Explainer) -> None:
    with pytest.raises(ValueError, match=message):
        door(name, tmp_path, explainer)
