"""Texts of targets: every form, and names that look like one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tf_gradcam._files.class_names import ClassNames
from tf_gradcam.targets import Contrast, Counterfactual, Distance, Finer, Region
from tf_gradcam.targets.text import Asked, NearPicture, asked_by

NAMES = ClassNames(["beagle", "Walker hound, Walker foxhound", "not a dog", "cats vs dogs", "all"])
PLAIN = ClassNames(["road", "sky", "car"])


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (None, Asked()),
        ("beagle", Asked(0)),
        ("2", Asked(2)),
        ("Walker hound", Asked(1)),
        ("Walker hound, Walker foxhound", Asked(1)),
        ("top3", Asked(top=3)),
        ("top 2", Asked(top=2)),
        ("beagle,3", Asked(classes=(0, 3))),
        ("beagle, Walker hound, Walker foxhound, 3", Asked(classes=(0, 1, 3))),
        ("beagle vs Walker hound", Asked(Contrast(0, 1))),
        ("beagle vs. 1", Asked(Contrast(0, 1))),
        ("beagle vs similar", Asked(Finer(0))),
        ("not beagle", Asked(Counterfactual(0))),
    ],
)
def test_text_of_a_classifier(text: str | None, asked: Asked) -> None:
    assert asked_by(text, "classification", NAMES) == asked


@pytest.mark.parametrize(("text", "index"), [("not a dog", 2), ("cats vs dogs", 3), ("all", 4)])
def test_name_of_a_class_means_the_class_whatever_else_it_could_mean(text: str, index: int) -> None:
    for task in ("classification", "multilabel"):
        assert asked_by(text, task, NAMES) == Asked(index)


def test_all_of_a_multi_label_model_are_those_above_their_thresholds() -> None:
    assert asked_by(None, "multilabel", PLAIN) == asked_by("all", "multilabel", PLAIN) == Asked(is_above=True)
    assert asked_by("all", "classification", PLAIN) == Asked(is_all=True)


def test_text_of_values() -> None:
    nameless = ClassNames(None)
    assert asked_by(None, "regression", nameless) == Asked()
    assert asked_by("all", "regression", nameless) == Asked(is_all=True)
    assert asked_by("near 30", "regression", nameless) == Asked(Distance(30.0))
    assert asked_by("1 near -2.5", "regression", nameless) == Asked(Distance(-2.5, 1))
    assert asked_by("sky near 3", "regression", PLAIN) == Asked(Distance(3.0, 1))
    assert asked_by("@30%,55%", "regression", nameless) == Asked(Region(0, point=(0.3, 0.55)))
    assert asked_by("1@30%, 55%", "regression", nameless) == Asked(Region(1, point=(0.3, 0.55)))


@pytest.mark.parametrize(("text", "index"), [("near my near photo.jpg", 0), ("1 near my near photo.jpg", 1)])
def test_value_of_a_picture_is_a_reference_at_the_command_line_alone(
    text: str, index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my near photo.jpg").touch()
    nameless = ClassNames(None)
    asked = asked_by(text, "regression", nameless, reads_files=True)
    assert asked == Asked(NearPicture(Path("my near photo.jpg"), index))
    assert asked.is_one
    with pytest.raises(ValueError, match=r"Expected a number behind 'near', received 'my near photo.jpg'\.$"):
        asked_by(text, "regression", nameless)
    with pytest.raises(
        ValueError, match=r"a number or a picture behind 'near', .* no such file\. Did you mean 'my near"
    ):
        asked_by(text.replace("photo", "phot"), "regression", nameless, reads_files=True)


def test_text_of_a_detector() -> None:
    """A number is that of a detection, unless a class has this name."""
    assert asked_by(None, "detection", PLAIN) == asked_by("all", "detection", PLAIN) == Asked()
    assert asked_by("0", "detection", PLAIN) == Asked([0])
    assert asked_by("Car, 1", "detection", PLAIN) == Asked(["car", 1])


def test_text_of_a_segmentation() -> None:
    assert asked_by("road", "segmentation", PLAIN) == Asked(0)
    assert asked_by("car@everywhere", "segmentation", PLAIN) == Asked(Region(2, "all"))
    assert asked_by("car@30%, 55.5%", "segmentation", PLAIN) == Asked(Region(2, point=(0.3, 0.555)))
    assert asked_by("car@120,80", "segmentation", PLAIN) == Asked(Region(2), pixel=(120, 80))
    assert asked_by("car @ 120, 80", "segmentation", PLAIN) == Asked(Region(2), pixel=(120, 80))
    assert asked_by("car@mask.png", "segmentation", PLAIN) == Asked(Region(2), masks=Path("mask.png"))
    assert asked_by("2@some/masks/", "segmentation", PLAIN) == Asked(Region(2), masks=Path("some/masks"))


def test_several_classes_of_a_segmentation() -> None:
    assert asked_by("all", "segmentation", PLAIN) == Asked(is_all=True)
    assert asked_by("car, road", "segmentation", PLAIN) == Asked(classes=(2, 0))


def test_segmentation_without_a_class_means_the_largest_there() -> None:
    assert asked_by("@everywhere", "segmentation", PLAIN) == Asked(Region(None, "all"))
    assert asked_by("@30%,55%", "segmentation", PLAIN) == Asked(Region(None, point=(0.3, 0.55)))
    assert asked_by("@120,80", "segmentation", PLAIN) == Asked(Region(), pixel=(120, 80))


def test_folder_of_masks_is_known_without_a_slash(tmp_path: Path) -> None:
    assert asked_by(f"car@{tmp_path}", "segmentation", PLAIN) == Asked(Region(2), masks=tmp_path)


def test_names_and_paths_may_hold_the_sign_that_parts_them() -> None:
    names = ClassNames(["me@home", "me"])
    assert asked_by("me@home", "segmentation", names) == Asked(0)
    assert asked_by("me@home@1,2", "segmentation", names) == Asked(Region(0), pixel=(1, 2))
    assert asked_by("me@x@2.png", "segmentation", names) == Asked(Region(1), masks=Path("x@2.png"))


@pytest.mark.parametrize(
    ("text", "task", "message"),
    [
        ("rode", "classification", "Unknown class 'rode'. Did you mean 'road'"),
        ("road vs rode", "classification", "Unknown class 'rode'"),
        ("near soon", "regression", "Expected a number behind 'near', received 'soon'"),
        ("car@somewhere", "segmentation", "Expected 'everywhere', a pixel such as .* received 'somewhere'"),
        ("car@30%,100%", "segmentation", "a point .* from 0 to below 1"),
        ("cat@everywhere", "segmentation", "Unknown class 'cat'. Did you mean 'car'"),
        ("road vs road", "classification", "Expected two different classes"),
    ],
)
def test_what_is_not_understood_is_told(text: str, task: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        asked_by(text, task, PLAIN)
