"""The web page for every task, through its handlers: labels, two sides, values, pixels and boxes.

Also tests _app/controls.py, _app/question.py.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from tests.helpers.app_sessions import new_events, new_sessions, upload
from tests.helpers.app_tasks import (
    BOXES,
    LABELS,
    PAIR_LOGIT,
    PROBABILITIES,
    UNIT,
    VALUES,
    binary_model,
    detection_model,
    multilabel_model,
    regression_model,
    segmentation_model,
)
from tests.helpers.pictures import encoded
from tests.helpers.redblue import red_blue_heatmap, red_blue_photo
from tests.helpers.slow import first
from tf_gradcam._app.controls import question_of, settings
from tf_gradcam._app.model import AppModel, Origin, Said, headline
from tf_gradcam._app.session import Session, Sessions
from tf_gradcam._app.view import download
from tf_gradcam.image.overlay import overlay_heatmap

RED = red_blue_heatmap()
BLUE = 1 - RED
# name -> network, names, what is said of it, the default layer
TASKS: dict[str, tuple[Callable[[], keras.Model], list[str] | None, Said, str]] = {
    "multilabel": (multilabel_model, LABELS, Said(), "hue"),
    "binary": (binary_model, ["blue", "red"], Said(), "hue"),
    "regression": (regression_model, ["heat", "cold"], Said("regression", UNIT), "hue"),
    "segmentation": (segmentation_model, ["red", "blue"], Said(), "bottleneck"),
    "detection": (detection_model, ["red", "blue"], Said(decode="xyxy"), "hue"),
}
NOTHING = -1
PAIR = float(1 / (1 + np.exp(-PAIR_LOGIT)))  # of red


class Window:
    """A window of a page with a network of one task, which looks at the red and blue photo."""

    def __init__(self, task: str, name: str = "photo.png", scale: int = 3):
        build, names, said, self.layer = TASKS[task]
        model = AppModel(build(), names, Origin(f"{task}.keras"), said=said)
        self.sessions: Sessions = new_sessions(model)
        self.session: Session = self.sessions.new()
        self.photo = red_blue_photo(scale=scale)
        self.session.show_upload(upload(self.sessions, encoded(self.photo, "PNG"), name))
        self.events = new_events(self.sessions)

    def question(self, target: Any = -1, method: str = "gradcam", layer: str = "", **answers: Any) -> tuple[Any, ...]:
        """The values of the controls."""
        model = self.session.model
        values = {"above": model.threshold, "near": "", "where": "region", "across": 50, "down": 50, **answers}
        return (layer or model.default_layer, method, target, NOTHING, "raw", *values.values())

    def explain(self, target: Any = -1, **changes: Any) -> str:
        """Return the page's HTML after *Explore*."""
        *_, (status, html, self.lines) = self.events.explain(self.session.token, *self.question(target, **changes))
        self.status = unescape(re.sub("<[^>]*>", "", status))
        self.html = html
        return unescape(html)

    @property
    def maps(self) -> dict[str, np.ndarray]:
        return {name: each.shown[0] for name, each in self.session.answers["explore"].explanations.items()}


@pytest.fixture
def window(request: pytest.FixtureRequest) -> Iterator[Callable[..., Window]]:
    opened: list[Window] = []

    def open_window(task: str, **options: Any) -> Window:
        opened.append(Window(task, **options))
        return opened[-1]

    yield open_window
    for each in opened:
        each.sessions.close()


def rows(html: str) -> dict[str, str]:
    """Name -> number of the rows of the table."""
    found = re.findall(r'<tr[^>]*><th scope="row">(.*?)</th>.*?<td class="tg-number">(.*?)</td>', html)
    return {re.sub("<span.*?</span>|<[^>]*>", "", name).strip(): text for name, text in found}


def titles(html: str) -> list[str]:
    return re.findall("<h3>(.*?)</h3>", html)


def png(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


# What was understood.


@pytest.mark.parametrize(
    ("task", "sentence", "controls"),
    [
        (
            "multilabel",
            "multilabel, as its output is 3 sigmoid units. Say another by Task, under Change model.",
            {"target", "against", "above"},
        ),
        ("binary", "classification, as its output is one sigmoid unit, with two sides. Say another", {"target"}),
        ("regression", "regression, as you say.", {"target", "near", "unit"}),
        (
            "segmentation",
            "segmentation, as its output (B, 6, 10, 2) has a value for each class and place.",
            {"target", "where", "across", "down"},
        ),
        ("detection", "detection, as its output (B, 2, 6) has a row for each box.", {"target", "above", "decode"}),
    ],
)
def test_headline_says_the_task_and_why_and_controls_of_others_are_hidden(
    window: Any, task: str, sentence: str, controls: set[str]
) -> None:
    model = window(task).session.model
    assert f"Task: {sentence}" in unescape(headline(model))
    changed = settings(model, model.default_question)
    assert {name for name, properties in changed.items() if properties.get("visible")} == controls


# Labels.


def test_all_labels_above_the_threshold_have_a_map_in_one_view(window: Any) -> None:
    one = window("multilabel")
    html = one.explain()
    assert titles(html) == ["red", "Photo", "red", "blue"]
    np.testing.assert_allclose(one.maps["red"], RED, atol=1e-6)
    np.testing.assert_allclose(one.maps["blue"], BLUE, atol=1e-6)
    shares = [f"{share:.1%}" for share in PROBABILITIES]
    assert rows(html) == dict(zip(LABELS, shares, strict=True))
    assert html.count("above 0.5") == 2
    assert html.count(">explained<") == 2


def test_threshold_of_labels_decides_which_are_explained(window: Any) -> None:
    one = window("multilabel")
    assert titles(one.explain(above=0.85)) == ["Overlay", "Photo", "Map"]  # red alone, at 0.89
    assert titles(one.explain(above=0.1)) == ["red", "Photo", "red", "blue", "green"]
    html = one.explain(above=0.95)
    assert "No class is above its threshold; the most probable one is explained." in html
    assert list(one.maps) == ["red"]


@pytest.mark.slow
def test_one_label_the_best_three_and_all_are_chosen(window: Any) -> None:
    one = window("multilabel")
    one.explain(1)
    assert list(one.maps) == ["blue"]
    one.explain("top3")
    assert list(one.maps) == LABELS
    one.explain("all")
    assert list(one.maps) == LABELS


def test_slow_method_explains_the_labels_one_after_the_other(window: Any) -> None:
    one = window("multilabel")
    one.explain(method="ablationcam")
    assert list(one.maps) == ["red", "blue"]
    one.explain("top3", method="fullgrad")
    assert list(one.maps) == LABELS


# Two sides.


def test_both_sides_of_one_unit_are_shown_with_both_probabilities(window: Any) -> None:
    one = window("binary")
    html = one.explain()
    assert titles(html) == ["blue", "Photo", "blue", "red"]
    np.testing.assert_allclose(one.maps["red"], RED, atol=1e-6)
    np.testing.assert_allclose(one.maps["blue"], BLUE, atol=1e-6)
    assert rows(html) == {"red": f"{PAIR:.1%}", "blue": f"{1 - PAIR:.1%}"}
    one.explain(0)
    assert list(one.maps) == ["blue"]


# Values.


def test_value_has_its_unit_and_a_signed_map_with_a_legend(window: Any) -> None:
    one = window("regression")
    html = one.explain(0)
    assert rows(html) == {"heat": f"{VALUES[0]:.4g} {UNIT}", "cold": f"{VALUES[1]:.4g} {UNIT}"}
    assert f"heat, {VALUES[0]:.4g} {UNIT}" in html
    np.testing.assert_allclose(one.maps["heat"], RED - 0.5 * BLUE, atol=1e-5)  # 200 raises, 100 lowers
    assert "blue lowers the value</span>" in html
    assert "<span>red raises the value" in html


def test_value_is_compared_with_a_reference(window: Any) -> None:
    """The value is below 100, so that what raises it brings it there; above 0, so that it takes it away."""
    one = window("regression")
    html = one.explain(0, near="100")
    assert f"{VALUES[0]:.4g} {UNIT}, {100 - VALUES[0]:.4g} away" in html
    assert f"red brings it to 100 {UNIT}" in html
    np.testing.assert_allclose(one.maps[f"heat near 100 {UNIT}"], RED - 0.5 * BLUE, atol=1e-5)
    one.explain(0, near=" 0 ")
    np.testing.assert_allclose(one.maps[f"heat near 0 {UNIT}"], 0.5 * BLUE - RED, atol=1e-5)


def test_reference_that_is_not_a_number_is_refused_in_words() -> None:
    for text in ("thirty", "nan", "1e999"):
        with pytest.raises(ValueError, match=rf"Expected a number to compare a value with, received '{text}'\. Type"):
            question_of("hue", "gradcam", -1, -1, "raw", near=text)


@pytest.mark.slow
def test_several_values_are_chosen_by_name_or_all(window: Any) -> None:
    one = window("regression")
    one.explain(1)
    np.testing.assert_allclose(one.maps["cold"], BLUE, atol=1e-5)
    assert titles(one.explain("all")) == ["heat", "Photo", "heat", "cold"]
    assert "Expected one value near a reference, received all values." in one.explain("all", near="3") + one.status


@pytest.mark.slow
def test_value_with_places_is_explained_at_the_clicked_pixel(window: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pixel's value is 10 times its red; red is left of 40 %."""

    def depths() -> keras.Model:
        one = segmentation_model()
        head = keras.layers.Conv2D(1, 1, name="depth")
        model = keras.Model(one.inputs, head(one.get_layer("decoder").output))
        head.set_weights([np.array([[[[10.0], [0.0]]]]), np.zeros(1)])
        return model

    monkeypatch.setitem(TASKS, "depths", (depths, None, Said("regression", UNIT), "decoder"))
    one = window("depths")
    model = one.session.model
    shown = settings(model, model.default_question)["where"]
    assert (shown["choices"], shown["visible"]) == ([("the mean", "region"), ("at the point", "point")], True)
    assert "click a point to explain the value there" in one.explain()
    (mean,) = rows(one.html).values()
    html = one.explain(where="point", across=25)
    assert 'class="tg-point" style="left:25.00%' in html
    (at_pixel,) = rows(html).values()
    assert float(at_pixel.split()[0]) == pytest.approx(float(mean.split()[0]) / 0.4, rel=1e-3)


# Pixels.


def test_region_of_the_largest_class_is_explained_beside_the_predicted_classes(window: Any) -> None:
    one = window("segmentation")
    html = one.explain(layer="decoder")
    assert titles(html) == ["Overlay", "Photo", "Predicted classes", "Map"]
    assert "region of blue" in html
    np.testing.assert_allclose(next(iter(one.maps.values())), BLUE, atol=1e-6)
    assert rows(html) == {"blue": "60.0%", "red": "40.0%"}
    assert "decoder, 6 x 10 cells (detail)" in html
    assert "bottleneck, 3 x 5 cells (context)" in one.explain(0)


def test_layers_of_a_segmentation_are_offered_by_what_they_show(window: Any) -> None:
    model = window("segmentation").session.model
    named = [choice[0] for choice in settings(model, model.default_question)["layer"]["choices"]]
    assert named[:2] == ["bottleneck (context, default)", "decoder (detail)"]
    assert {"bottleneck", "decoder"} <= set(model.stages())


def test_clicked_pixel_explains_the_class_there_and_is_drawn(window: Any) -> None:
    """Red is left of 40 %; a chosen class is explained at the same pixel."""
    one = window("segmentation")
    clicked = one.events.pick(one.session.token, {"pick": "point", "x": 0.25, "y": 0.5}, -1)
    place = dict(zip(("target", "where", "across", "down"), (each.get("value") for each in clicked[:4]), strict=True))
    assert place == {"target": None, "where": "point", "across": 25.0, "down": 50.0}
    html = one.explain(where="point", across=25, down=50)
    assert 'class="tg-point" style="left:25.00%;top:50.00%"' in html
    assert "red at 25%, 50%" in html
    one.explain(where="point", across=75, down=50)
    assert list(one.maps) == ["blue at 75%, 50%"]
    one.explain(0, where="point", across=75, down=50)
    assert list(one.maps) == ["red at 75%, 50%"]


@pytest.mark.slow
def test_place_is_of_the_first_of_several_outputs(window: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_two() -> keras.Model:
        one = segmentation_model()
        count = keras.layers.GlobalAveragePooling2D()(one.get_layer("decoder").output)
        return keras.Model(one.inputs, {"mask": one.outputs[0], "count": count})

    monkeypatch.setitem(TASKS, "two", (of_two, ["red", "blue"], Said(), "bottleneck"))
    alone, two = window("segmentation"), window("two")
    for answers in ({"where": "point", "across": 25}, {"where": "all", "target": 1}):
        assert "Overlay" in alone.explain(**answers)
        assert "Overlay" in two.explain(**answers)
        (expected,), (actual,) = alone.maps.items(), two.maps.items()
        assert actual[0] == expected[0]
        np.testing.assert_allclose(actual[1], expected[1], atol=1e-6)


@pytest.mark.slow
def test_class_is_explained_in_the_whole_picture(window: Any) -> None:
    one = window("segmentation")
    assert "red everywhere" in one.explain(0, where="all")


def test_predicted_classes_are_downloaded_as_indices(window: Any) -> None:
    """4 of 10 columns are red, class 0."""
    one = window("segmentation")
    one.explain()
    mask = png(download(one.session, "mask.png", one.session.look))
    np.testing.assert_array_equal(mask, np.broadcast_to(np.arange(30) >= 12, (18, 30)))


def test_point_outside_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"each from 0 to below 100, received 120 and 5. Click the picture, or type"):
        question_of("hue", "gradcam", -1, -1, "raw", where="point", across=120, down=5)


# Boxes.


def test_boxes_are_buttons_on_the_photo_and_the_best_is_explained(window: Any) -> None:
    one = window("detection")
    html = one.explain()
    names = [f"0: red {PROBABILITIES[0]:.2f}", f"1: blue {PROBABILITIES[1]:.2f}"]
    for name, box in zip(names, BOXES, strict=True):
        sides = f"left:{box[0] / 10:.2%};top:{box[1] / 6:.2%};width:{(box[2] - box[0]) / 10:.2%};height:100.00%"
        assert f'style="{sides}" data-pick="box {name[0]}" aria-label="explain {name}"' in html
    np.testing.assert_allclose(one.maps["0: red"], RED, atol=1e-6)
    assert "100% of the heat in its box (40% of the picture), 0% in other boxes" in html
    assert list(rows(html)) == ["0: red", "1: blue"]


def test_clicked_box_is_explained(window: Any) -> None:
    one = window("detection")
    one.explain()
    target = one.events.pick(one.session.token, {"pick": "box 1"}, -1)[0]
    assert target["value"] == "box 1"
    assert (f"box 1: blue {PROBABILITIES[1]:.2f}", "box 1") in target["choices"]
    one.explain("box 1")
    np.testing.assert_allclose(one.maps["1: blue"], BLUE, atol=1e-6)


@pytest.mark.slow
def test_every_box_and_the_best_of_a_class_are_chosen(window: Any) -> None:
    one = window("detection")
    assert titles(one.explain("all")) == ["0: red", "Photo", "0: red", "1: blue"]
    one.explain(1)  # the best blue one
    assert list(one.maps) == ["1: blue"]


def test_picture_without_a_box_says_the_best_scores(window: Any) -> None:
    one = window("detection")
    html = one.explain(above=0.95)
    assert "No detection with a score of 0.95 or more: the best are red 0.89 at (0, 0, 4, 6); blue 0.79" in html
    assert "Lower the score from which a box counts." in html
    assert titles(html) == ["Photo"]
    html = one.explain("box 5")
    assert "the image has 2, 0 to 1" in html


@pytest.mark.slow
def test_slow_method_explains_one_box(window: Any) -> None:
    one = window("detection")
    one.explain("box 1", method="ablationcam")
    assert list(one.maps) == ["1: blue"]
    one.explain("all", method="ablationcam")
    assert "Expected one box for the method 'ablationcam'" in one.status


# Another task, unit or form of boxes.


def say(one: Window, task: str = "", unit: str = "", decode: str = "") -> str:
    """Say something of the model; returns the status."""
    one.events.say(one.session.token, task, unit, decode)
    *_, (status, _, _) = one.events.again(one.session.token, *one.question())
    return unescape(status)


def test_task_that_the_output_cannot_have_is_refused_in_words(window: Any) -> None:
    one = window("multilabel")
    before = one.session.model
    status = say(one, "segmentation")
    assert "for the task segmentation, received an output (B, 3). Choose another Task" in status
    assert one.session.model is before


@pytest.mark.slow
def test_another_task_is_said_and_taken_back(window: Any) -> None:
    one = window("multilabel")
    assert "Ready" in say(one, "classification")
    assert (one.session.model.task.name, one.session.has_own_model) == ("classification", False)
    assert "Ready" in say(one, "")
    assert one.session.model.task.name == "multilabel"


@pytest.mark.slow
def test_unit_is_said(window: Any) -> None:
    one = window("regression")
    say(one, "regression", "kelvin")
    assert "kelvin" in one.explain(0)


@pytest.mark.slow
def test_boxes_of_words_that_are_not_known_are_refused(window: Any) -> None:
    one = window("detection")
    status = say(one, decode="corners")
    assert "corners" in status
    assert "center_xywh" in status
    assert one.session.model.said.decode == "xyxy"


def test_decode_for_a_model_without_boxes_is_refused() -> None:
    with pytest.raises(
        ValueError, match="Expected --decode for a model that finds boxes, received it for a multilabel"
    ):
        AppModel(multilabel_model(), said=Said(decode="xyxy"))


def test_click_that_the_page_does_not_make_is_refused(window: Any) -> None:
    one = window("segmentation")
    for click in (None, {"pick": "point", "x": 7, "y": 0}, {"pick": "point", "x": True, "y": 0}, {"pick": "file"}):
        with pytest.raises(ValueError, match="Expected a click on a picture, a box or a name"):
            one.events.pick(one.session.token, click, -1)


# The other tabs.


@pytest.mark.parametrize(
    ("task", "hint"),
    first(
        1,
        [
            ("multilabel", "Compare shows the most probable label unless one is chosen."),
            ("binary", "Compare shows the predicted side unless one is chosen."),
            ("regression", ""),
            ("segmentation", ""),
            ("detection", ""),
        ],
    ),
)
def test_methods_are_compared_on_one_map(window: Any, task: str, hint: str) -> None:
    one = window(task)
    one.events.select("compare", one.session.token)
    methods = ["gradcam", "hirescam", "ablationcam"]
    *_, (status, html, lines) = one.events.compare(one.session.token, methods, *one.question())
    assert "Ready" in status
    assert titles(html) == ["Photo", *methods]
    assert hint in html
    assert ("tg-hint" in html) == bool(hint)
    assert "compare(" in lines
    assert png(download(one.session, "compare.png", one.session.look)).ndim == 3


@pytest.mark.parametrize("task", first(1, TASKS))
def test_layers_are_compared(window: Any, task: str) -> None:
    one = window(task)
    one.events.select("layers", one.session.token)
    *_, (status, html, _) = one.events.layers(one.session.token, one.session.model.stages(), *one.question())
    assert "Ready" in status
    assert one.layer in titles(html)


@pytest.mark.parametrize(
    ("task", "lines", "files"),
    first(
        1,
        [
            ("multilabel", [f"red, {PROBABILITIES[0]:.1%}", f"blue, {PROBABILITIES[1]:.1%}"], ["class-0", "class-1"]),
            ("binary", [f"blue, {1 - PAIR:.1%}", f"red, {PAIR:.1%}"], ["class-0", "class-1"]),
            ("regression", [f"heat, {VALUES[0]:.6g} {UNIT}"], [""]),
            ("segmentation", ["region of blue, score ", f"largest class: blue, {0.6:.1%}"], [""]),
            ("detection", [f"red, {PROBABILITIES[0]:.2f}"], ["box-0"]),
        ],
    ),
)
def test_batch_explains_what_the_page_explains(window: Any, task: str, lines: list[str], files: list[str]) -> None:
    one = window(task)
    one.events.select("batch", one.session.token)
    path = upload(one.sessions, encoded(one.photo, "PNG"), "a.png")
    *_, (_, status, html, _) = one.events.batch(one.session.token, [path], *one.question())
    assert "Ready" in status
    for found, line in zip(re.findall("<span>(.*?)</span>", html), lines, strict=True):
        assert found.startswith(line)
    with zipfile.ZipFile(io.BytesIO(download(one.session, "heatmaps.zip", one.session.look))) as archive:
        names = [f"a{f'.{name}' if name else ''}.{kind}" for name in files for kind in ("heatmap.npy", "overlay.png")]
        masks = ["a.mask.png"] if task == "segmentation" else []
        assert archive.namelist() == sorted([*names, *masks, "manifest.csv"])


@pytest.mark.slow
def test_point_without_a_class_is_explained_in_each_picture_of_a_batch(window: Any) -> None:
    one = window("segmentation")
    one.events.select("batch", one.session.token)
    photos = {"a.png": one.photo, "b.png": red_blue_photo(columns=0)}
    paths = [upload(one.sessions, encoded(photo, "PNG"), name) for name, photo in photos.items()]
    *_, (_, _, html, _) = one.events.batch(one.session.token, paths, *one.question(where="point", across=25))
    assert re.findall(r"<span>(\w+ at 25%, 50%)", html) == ["red at 25%, 50%", "blue at 25%, 50%"]


# Downloads, and the lines that make them.


@pytest.mark.slow
def test_downloaded_overlay_of_a_box_is_the_photo_with_map_and_boxes(window: Any) -> None:
    one = window("detection", scale=2)
    one.explain()
    overlay = png(download(one.session, "overlay.png", one.session.look))
    heat = next(iter(one.session.answers["explore"].explanations.values())).resized((12, 20))[0]
    plain = overlay_heatmap(one.photo, heat, colormap="heat")
    np.testing.assert_array_equal(overlay[2:10, 2:6], plain[2:10, 2:6])  # inside the red box
    np.testing.assert_array_equal(overlay[0, :8], np.full((8, 3), 255))  # its own side


MANY = [
    ("multilabel", {}, ["class-0", "class-1"]),
    ("multilabel", {"target": "top3"}, ["class-0", "class-1", "class-2"]),
    ("multilabel", {"method": "ablationcam"}, ["class-0", "class-1"]),
    ("binary", {}, ["class-0", "class-1"]),
    ("regression", {"target": "all"}, ["value-0", "value-1"]),
    ("detection", {"target": "all"}, ["box-0", "box-1"]),
]
ONE = [
    ("multilabel", {"target": 1}),
    ("binary", {"target": 0}),
    ("regression", {"target": 0}),
    ("regression", {"target": 1, "near": "3"}),
    ("segmentation", {}),
    ("segmentation", {"target": 0, "where": "all", "layer": "decoder"}),
    ("segmentation", {"where": "point", "across": 25.5, "down": 40}),
    ("detection", {}),
    ("detection", {"target": "box 1"}),
    ("detection", {"target": 1, "method": "ablationcam"}),
]


def ran(one: Window, task: str, folder: Path, monkeypatch: pytest.MonkeyPatch, lines: str) -> None:
    """Run a script next to the model and the photo."""
    TASKS[task][0]().save(folder / f"{task}.keras")
    (folder / "photo.png").write_bytes(encoded(one.photo, "PNG"))
    monkeypatch.chdir(folder)
    exec(compile(lines, "lines.py", "exec"), {})


@pytest.mark.slow
@pytest.mark.parametrize("look", [(0.4, 0.0, ""), (0.7, 0.3, "viridis")])
@pytest.mark.parametrize(("task", "changes"), ONE)
def test_lines_make_the_downloaded_map(
    window: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, changes: dict[str, Any], look: Any
) -> None:
    one = window(task)
    one.explain(**changes)
    _, lines = one.events.paint(one.session.token, *look)
    ran(one, task, tmp_path, monkeypatch, lines)
    overlay = png(download(one.session, "overlay.png", one.session.look))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "photo.overlay.png")), overlay)
    heatmap = np.load(io.BytesIO(download(one.session, "heatmap.npy", one.session.look)))
    np.testing.assert_array_equal(np.load(tmp_path / "photo.heatmap.npy"), heatmap)
    assert "._" not in lines


@pytest.mark.slow
@pytest.mark.parametrize(("task", "changes", "names"), MANY)
def test_lines_make_the_downloaded_maps(
    window: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, changes: Any, names: list[str]
) -> None:
    one = window(task)
    one.explain(**changes)
    _, lines = one.events.paint(one.session.token, 0.6, 0.2, "")
    ran(one, task, tmp_path, monkeypatch, lines)
    with zipfile.ZipFile(io.BytesIO(download(one.session, "maps.zip", one.session.look))) as archive:
        expected = [f"photo.{name}.{kind}" for name in names for kind in ("overlay.png", "heatmap.npy")]
        assert archive.namelist() == expected
        for name in expected:
            assert (tmp_path / name).exists()
            if name.endswith(".png"):
                np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / name)), png(archive.read(name)))
            else:
                array = np.load(io.BytesIO(archive.read(name)))
                np.testing.assert_array_equal(np.load(tmp_path / name), array)


@pytest.mark.slow
@pytest.mark.parametrize("tab", ["compare", "layers"])
@pytest.mark.parametrize("task", TASKS)
def test_lines_make_the_downloaded_figure(
    window: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, tab: str
) -> None:
    one = window(task)
    one.events.select(tab, one.session.token)
    chosen = ["gradcam", "layercam"] if tab == "compare" else one.session.model.stages()
    handler = one.events.compare if tab == "compare" else one.events.layers
    *_, (_, _, lines) = handler(one.session.token, chosen, *one.question(0 if task == "regression" else -1))
    figure = png(download(one.session, f"{tab}.png", one.session.look))
    ran(one, task, tmp_path, monkeypatch, lines)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"{tab}.png")), figure)


def test_task_that_is_said_is_in_the_lines(window: Any) -> None:
    one = window("multilabel")
    say(one, "regression", UNIT)
    one.explain(0)
    assert "task='regression'" in one.lines
