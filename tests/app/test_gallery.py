"""Several pictures on the web page: the cards of a batch, the strip, and a picture that is opened from them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.app_sessions import QUESTION, app_model, files_in, new_events, new_sessions, upload
from tests.helpers.app_tasks import regression_model, segmentation_model
from tests.helpers.pictures import encoded
from tests.helpers.redblue import RED_PROBABILITY, red_blue_photo
from tf_gradcam._app import gallery
from tf_gradcam._app.controls import QUESTION as CONTROLS
from tf_gradcam._app.controls import question_of, settings
from tf_gradcam._app.html import Look
from tf_gradcam._app.model import AppModel, Said
from tf_gradcam._app.session import Sessions
from tf_gradcam._app.view import download, view_of
from tf_gradcam._explain.batch import Result
from tf_gradcam._files.manifest import DONE, FAILED, Row


class Window:
    """A window with a batch: "a.png", a broken file, and "blue.png" without red."""

    def __init__(self, sessions: Sessions, question: tuple[Any, ...] = QUESTION):
        self.session = sessions.new()
        self.events = new_events(sessions)
        self.files = [
            upload(sessions, name="a.png"),
            upload(sessions, b"no picture", "b.png"),
            upload(sessions, encoded(red_blue_photo(columns=0), "PNG"), "blue.png"),
        ]
        self.events.select("batch", self.session.token)
        self.run(*question)

    def run(self, *question: Any) -> None:
        *_, (_, self.status, self.html, _) = self.events.batch(self.session.token, self.files, *question)

    def open(self, number: Any) -> tuple[dict[str, Any], str, str]:
        """Return what a click changes of the controls, the status and the HTML."""
        *changes, tab = self.events.open(self.session.token, {"open": number})
        assert tab["selected"] == self.session.tab
        named = {name: change for name, change in zip(CONTROLS, changes, strict=True) if "value" in change}
        values = zip(CONTROLS[: len(QUESTION)], QUESTION, strict=True)
        asked = [named[name]["value"] if name in named else value for name, value in values]
        *_, (status, html, _) = self.events.again(self.session.token, *asked)
        return named, status, html


@pytest.fixture
def sessions() -> Iterator[Sessions]:
    one = new_sessions()
    yield one
    one.close()


def cards(html: str) -> list[dict[str, Any]]:
    """Return the data of the cards, with their text and whether each can be opened."""
    found = []
    for item, content in re.findall(r"<li (.*?)>(.*?)</li>", html):
        data: dict[str, Any] = {key: unescape(text) for key, text in re.findall(r'data-(\w+)="(.*?)"', item)}
        data["classes"] = json.loads(data["classes"])
        data["lines"] = [unescape(line) for line in re.findall(r"<span>(.*?)</span>", content)]
        data["opens"] = re.findall(r'<button type="button" class="tg-card" data-open="(\d+)"', content)
        found.append(data)
    return found


def current(html: str) -> list[str]:
    return re.findall(r'data-open="(\d+)"[^>]*aria-current="true"', html)


def test_cards_say_class_probability_and_failure(sessions):
    red, broken, blue = cards(Window(sessions).html)
    assert (red["name"], red["classes"], red["state"], red["opens"]) == ("a.png", ["red"], "plain", ["0"])
    assert red["lines"] == [f"red, {RED_PROBABILITY:.1%}"]
    assert float(red["number"]) == pytest.approx(RED_PROBABILITY, rel=1e-4)
    assert (broken["name"], broken["number"], broken["state"], broken["opens"]) == ("b.png", "", "failed", [])
    assert (blue["classes"], blue["opens"]) == (["blue"], ["2"])


def test_card_of_a_chosen_class_names_the_most_probable_one_and_a_blank_map(sessions):
    red, _, blue = cards(Window(sessions, ("hue", "gradcam", 0, -1, "raw")).html)
    assert red["lines"] == [f"red, {RED_PROBABILITY:.1%}"]
    assert [line.split(", ")[0] for line in blue["lines"]] == ["red", "most probable: blue"]
    assert (blue["classes"], blue["state"]) == (["blue"], "blank")


def test_lists_offer_what_is_there():
    rows = [Row("a.png", DONE, label="cat", probability="0.5"), Row("b.png", DONE, label="dog", probability="0.5")]
    cases: dict[str, tuple[list[Row], list[str]]] = {
        "one picture": (rows[:1], []),
        "one class": ([rows[0], rows[0]], ["Sort by"]),
        "two classes": (rows, ["Sort by", "Class"]),
        "and a failure": ([*rows, Row("c.png", FAILED, error="no")], ["Sort by", "Class", "Show"]),
    }
    for each, lists in cases.values():
        results = [Result([row], [], [], ["0.5"] if row.status == DONE else []) for row in each]
        html = gallery.gallery_html(report_of(results), "token", None)
        assert re.findall("<label>(.*?) <select", html) == lists


def report_of(results: list[Result]) -> Any:
    nothing = [None] * len(results)
    return gallery.BatchReport(
        Path("batch-1"), Path("a.zip"), results, nothing, app_model().default_question, "Look twice."
    )


def test_doubt_about_the_scaling_stands_above_the_cards():
    html = gallery.gallery_html(report_of([Result([Row("c.png", FAILED, error="no")], [], [])]), "token", None)
    assert html.index("Look twice.") < html.index("tg-cards")


def test_many_boxes_are_counted_on_a_card():
    rows = [Row("a.png", DONE, label=f"cat {number}", task="detection") for number in range(6)]
    lines = gallery.card_of(Result(rows, [], [], ["0.50"] * 6)).lines
    assert lines == ["cat 0, 0.50", "cat 1, 0.50", "cat 2, 0.50", "cat 3, 0.50", "and 2 more"]


def test_thumbnail_is_a_small_overlay(sessions):
    photo = np.repeat(np.repeat(red_blue_photo(), 100, 0), 100, 1)  # 600 x 1000
    one = Window(sessions)
    one.files = [upload(sessions, encoded(photo, "PNG"), "a.png"), upload(sessions, b"no picture", "b.png")]
    one.run(*QUESTION)
    source = re.findall(r'<img loading="lazy" src="download/(.*?)/(.*?)\?(.*?)"', one.html)
    assert source == [(one.session.token, "thumbnail-0.jpg", one.session.batch.folder.name)]
    found = Image.open(io.BytesIO(download(one.session, "thumbnail-0.jpg", Look())))
    assert found.size == (256, 154)
    # Red is hot on the left; there is no heat on the right, which jet paints blue.
    (left, _, left_blue), (right, _, right_blue) = (found.getpixel((x, 77)) for x in (20, 235))
    assert left > left_blue
    assert right_blue > right
    for name in ("thumbnail-1.jpg", "thumbnail-2.jpg", "thumbnail-x.jpg", "other.jpg"):
        with pytest.raises(ValueError, match="There is no"):
            download(one.session, name, Look())


def test_card_opens_in_explore_as_the_batch_was_asked(sessions):
    one = Window(sessions, ("hue", "layercam", 1, 0, "raw"))
    named, status, html = one.open(2)
    assert [named[name]["value"] for name in CONTROLS[:5]] == ["hue", "layercam", 1, 0, "raw"]
    assert "Ready" in status
    assert one.session.tab == "explore"
    assert "blue.png, 10 x 6" in html
    assert "blue against red" in html
    assert current(html) == ["2"]
    assert re.findall('class="tg-thumb".*? title="(.*?)"', html) == ["a.png", "blue.png"]
    assert current(view_of_tab(one, "batch")) == ["2"]


def view_of_tab(one: Window, tab: str) -> str:
    return str(one.events.select(tab, one.session.token)[0])


def test_strip_opens_with_the_settings_of_the_controls(sessions):
    one = Window(sessions, ("hue", "layercam", 1, 0, "raw"))
    one.open(2)
    named, _, html = one.open(0)
    assert named == {}
    assert "a.png, 10 x 6" in html
    assert "gradcam at hue" in html
    assert current(html) == ["0"]
    one.session.show_upload(upload(sessions, name="other.png"))
    html = view_of(one.session).html
    assert current(html) == []
    assert html.count("tg-thumb") == 2


def test_changed_model_is_asked_by_its_own_controls(sessions):
    one = Window(sessions, ("hue", "layercam", 1, 0, "raw"))
    assert "The model was changed" not in one.html
    one.session.use(app_model())
    assert "The model was changed since" in view_of(one.session).html
    named, status, html = one.open(0)
    assert named == {}
    assert "Ready" in status
    assert "gradcam at hue" in html


def test_file_that_was_chosen_twice_has_two_cards(sessions):
    one = Window(sessions)
    one.files = [upload(sessions, name="c.png")] * 2  # Gradio stores equal files of one choice once
    one.run(*QUESTION)
    assert [card["opens"] for card in cards(one.html)] == [["0"], ["1"]]
    assert current(one.open(1)[2]) == ["1"]


@pytest.mark.parametrize("number", [1, 3])
def test_picture_without_a_map_cannot_be_opened(sessions, number):
    one = Window(sessions)
    _, status, html = one.open(number)
    assert f"received number {number}" in status
    assert "tg-cards" in html  # the gallery stays


@pytest.mark.parametrize("number", [-1, True, "0", None, 0.5])
def test_only_numbers_open_a_picture(sessions, number):
    one = Window(sessions)
    with pytest.raises(ValueError, match="Expected the number of a picture"):
        one.events.open(one.session.token, {"open": number})


def test_next_batch_replaces_the_files_and_keeps_the_open_picture(sessions):
    one = Window(sessions)
    one.open(2)
    one.files = [upload(sessions, name="c.png")]
    one.run(*QUESTION)
    assert files_in(sessions.folder.root) == ["blue.png", "c.png", "heatmaps.zip"]
    assert download(one.session, "overlay.png", Look()).startswith(b"\x89PNG")
    assert current(view_of(one.session).html) == []
    one.session.show_upload(upload(sessions, name="d.png"))
    assert files_in(sessions.folder.root) == [
        "blue.png",
        "c.png",
        "d.png",
        "heatmaps.zip",
    ]  # the history shows blue.png


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (lambda: app_model(), {"target": 1, "against": 0, "method": "layercam"}),
        (lambda: AppModel(regression_model(), ["heat", "cold"], said=Said("regression")), {"near": "2.5", "target": 1}),
        (lambda: AppModel(regression_model(), ["heat", "cold"], said=Said("regression")), {"target": "all"}),
        (lambda: AppModel(segmentation_model()), {"where": "all", "target": 1}),
        (lambda: AppModel(segmentation_model()), {"where": "point", "across": 25, "down": 80.5}),
    ],
)
def test_controls_show_a_question_as_it_was_asked(model: Any, changes: Mapping[str, Any]) -> None:
    one = model()
    shown = {name: values["value"] for name, values in settings(one, one.default_question).items()}
    asked = question_of(*({"method": "gradcam", **shown, **changes}[name] for name in CONTROLS))
    again = {name: values["value"] for name, values in settings(one, asked).items()}
    assert question_of(*({"method": asked.method, **again}[name] for name in CONTROLS)) == asked
    one.close()
