"""The figures of the case study: its tables agree with themselves, and with the model where it is at hand."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.contracts.pages import TEXTS
from tests.helpers.data import ROOT, needs
from tf_gradcam import Preprocessing, load_model, rank_scalings
from tf_gradcam.image import load_image
from tf_gradcam.metrics import wilson_interval

PAGE = TEXTS["docs/case-study.md"]
NAMES = ["glioma", "meningioma", "notumor", "pituitary"]


def test_shares_and_intervals_of_the_tables_follow_from_their_counts() -> None:
    stated = re.findall(r"\| (\d+) of (\d+) \| (\d\.\d{3} \(\d\.\d{3} to \d\.\d{3}\))", PAGE)
    stated += [(hits, "1311", share) for hits, share in re.findall(r"^\| `\w+`.* \| (\d+) \| (\d.*?\)) ", PAGE, re.M)]
    assert len(stated) == 18
    for hits, count, share in stated:
        assert str(wilson_interval(int(hits), int(count))) == share


def test_rows_of_the_confusion_matrix_add_up() -> None:
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) of (\d+) ", PAGE, re.M)
    assert [row[0] for row in rows] == NAMES
    for place, (_, *numbers) in enumerate(rows):
        *called, right, count = map(int, numbers)
        assert (called[place], sum(called)) == (right, count)


@pytest.mark.soak
@needs("brain_mri", "vgg16_brain_mri")
def test_the_model_behaves_as_the_page_says() -> None:
    """Each twentieth slice. The page: / 255 is right, `caffe` calls nearly all notumor, errors are meningioma."""
    model = load_model(ROOT / "vgg16_brain_mri" / "vgg16_brain_mri.keras")
    files = [path for name in NAMES for path in sorted((ROOT / "brain_mri" / name).glob("*.jpg"))[::20]]
    labels = np.array([NAMES.index(path.parent.name) for path in files])
    photos = np.stack([load_image(path, (240, 240)) for path in files])
    called = model.predict(Preprocessing(None, "unit")(photos), verbose=0).argmax(1)
    assert abs(np.sum(called == labels) - 65) <= 1  # of 67; one may be near a decision
    assert set(called[called != labels]) == {NAMES.index("meningioma")}
    assumed = model.predict(Preprocessing(None, "caffe")(photos), verbose=0).argmax(1)
    assert np.mean(assumed == NAMES.index("notumor")) > 0.75
    assert np.mean(assumed == labels) < 0.5
    ranking = rank_scalings(model, photos[::2], labels=labels[::2], modes=["unit", "tf", "caffe"])
    assert ranking.best == "unit"
    assert ranking.is_clear("caffe")
