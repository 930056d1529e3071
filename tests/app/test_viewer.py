"""The view of *Explore* without a browser: rows of classes, the colour bar, what pointer and clicked place read."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from html import unescape

import keras
import numpy as np
import pytest
from PIL import Image

from tests.helpers.app_sessions import QUESTION, app_model, new_events, new_sessions, upload
from tests.helpers.explanations import explained
from tests.helpers.pictures import encoded, random_photo
from tests.helpers.redblue import red_blue_model
from tf_gradcam._app.html import overlay_picture, scale_html
from tf_gradcam._app.model import AppModel
from tf_gradcam._app.view import download
from tf_gradcam._app.viewer import cell_axes, map_data
from tf_gradcam.image.overlay import Look
from tf_gradcam.image.resize import Placement

NAMES7 = ["red", "blue", "third", "fourth", "fifth", "sixth", "seventh"]


def seven_classes() -> AppModel:
    """Class k scores 1 - k, whatever is in the picture."""
    head = keras.layers.Dense(7, "softmax", name="seven")
    model = red_blue_model(head)
    head.set_weights([np.zeros((2, 7)), 1.0 - np.arange(7)])
    return AppModel(model, NAMES7)


def test_row_of_a_class_is_a_choice_and_one_outside_the_best_five_has_its_rank():
    sessions = new_sessions(seven_classes())
    session = sessions.new()
    session.show_upload(upload(sessions))

    def rows(target: int) -> dict[str, str]:
        *_, (_, html, _) = new_events(sessions).explain(session.token, *QUESTION[:2], target, *QUESTION[3:])
        found = re.findall(r'<tr[^>]* data-pick="(class \d)">(.*?)</tr>', html)
        return {pick: re.sub("<[^>]*>", " ", unescape(text)) for pick, text in found}

    assert list(rows(-1)) == [f"class {index}" for index in range(5)]
    chosen = rows(5)
    assert list(chosen) == [f"class {index}" for index in range(6)]
    assert "rank 6 of 7" in chosen["class 5"]
    assert "explained" in chosen["class 5"]
    assert "rank" not in chosen["class 4"]
    sessions.close()


@pytest.mark.parametrize(
    ("signed", "threshold", "left", "width"),
    [(False, 0.3, 0, 30), (True, 0.4, 30, 40), (False, 0.0, None, None), (True, 0.0, None, None)],
)
def test_colour_bar_is_cut_where_only_the_photo_is_shown(signed, threshold, left, width):
    """A signed map is cut from -threshold to threshold, around the middle of its bar from -1 to 1."""
    html = scale_html(signed, None, threshold)
    cut = re.findall(r'class="tg-cut" style="left:([\d.]+)%;width:([\d.]+)%"', html)
    assert [tuple(map(float, each)) for each in cut] == ([] if left is None else [(left, width)])
    assert (f"cut below {threshold:.0%}" in html) == bool(cut)


def value_at(data: dict, x: float, y: float) -> float:
    """Read a map as the page's script does, at a place in shares of the width and the height; in a dull style."""
    rows, columns = data["axes"]
    cells = np.frombuffer(base64.b64decode(data["values"]), "<i2").reshape(rows["cells"], columns["cells"]) / 32767
    places = []
    for axis, share in ((rows, y), (columns, x)):
        pixel = share * axis["side"]
        if not axis["first"] <= pixel <= axis["last"]:
            return 0.0
        places.append(min(max((pixel - axis["start"]) / axis["scale"], 0.0), axis["cells"] - 1.0))
    by_row = [np.interp(places[1], np.arange(columns["cells"]), line) for line in cells]
    return float(np.interp(places[0], np.arange(rows["cells"]), by_row))


TILES = Placement.tiles((4, 5), (24, 40))
PLACES = {
    "tiles": TILES,
    "shifted": dataclasses.replace(TILES, start=(5.0, 2.5), known_by="measured"),
    "cropped": dataclasses.replace(TILES, scale=(3.0, 4.0), start=(7.5, 10.0), reach=((6.0, 18.0), (8.0, 28.0))),
    "turned": Placement(0, (40, 24), (1, 0), TILES.scale, TILES.start, "probes"),
    "one axis": Placement(0, (24, 40), (0, -1), (6.0, 1.0), (3.0, 0.5), "probes"),
}


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", PLACES)
def test_map_of_the_page_has_the_values_of_the_resized_map_at_every_pixel(name, signed):
    cells = np.random.default_rng(3).normal(size=(4, 1) if name == "one axis" else (4, 5)).astype(np.float32)
    explanation = explained(cells[None], placement=PLACES[name], signed=signed)
    data, (height, width) = json.loads(map_data(explanation)), (31, 53)
    read = [[value_at(data, (x + 0.5) / width, (y + 0.5) / height) for x in range(width)] for y in range(height)]
    np.testing.assert_allclose(read, explanation.shown_at(0, (height, width)), atol=1e-4)
    if not signed:
        np.testing.assert_allclose(read, explanation.resized((height, width))[0], atol=1e-4)


def test_cell_of_a_place_is_the_one_whose_centre_is_nearest():
    rows, columns = cell_axes(PLACES["cropped"], (4, 5))
    assert [rows.nearest(pixel / 24) for pixel in (0, 8.9, 9.1, 11.9, 12.1, 24)] == [0, 0, 1, 1, 2, 3]
    assert columns.nearest(14.5 / 40) == 1
    assert [axis.cells for axis in cell_axes(PLACES["turned"], (4, 5))] == [5, 4]


def test_pictures_in_more_pixels_are_offered_only_where_the_page_shows_fewer():
    """A photo of 20 x 3000 is shown at 512, and fetched with all its pixels; one of 60 x 100 is shown as it is."""
    sessions = new_sessions()
    session = sessions.new()
    session.show_upload(upload(sessions))
    *_, (_, html, _) = new_events(sessions).explain(session.token, *QUESTION)
    assert "data-more" not in html
    photo = random_photo(20, 3000)
    session.show_upload(upload(sessions, encoded(photo, "PNG")))
    *_, (_, html, _) = new_events(sessions).explain(session.token, *QUESTION)
    addresses = re.findall(r'data-more="download/[\w-]+/([\w.]+)\?', html)
    assert addresses == ["photo.closely", "0.closely"]
    look = Look(0.7)
    pictures = [np.asarray(Image.open(io.BytesIO(download(session, name, look)))) for name in addresses]
    np.testing.assert_array_equal(pictures[0], photo)
    np.testing.assert_array_equal(pictures[1], overlay_picture(session.answers["explore"].first, photo, look))
    for name in ("1.closely", "-1.closely", "x.closely"):
        with pytest.raises(ValueError, match="one of 1 overlays"):
            download(session, name, look)
    sessions.close()


def test_picture_that_is_looked_at_closely_has_at_most_4096_pixels_a_side():
    sessions = new_sessions()
    session = sessions.new()
    session.show_upload(upload(sessions, encoded(np.zeros((8, 5000, 3), np.uint8), "PNG")))
    _ = list(new_events(sessions).explain(session.token, *QUESTION))
    assert Image.open(io.BytesIO(download(session, "photo.closely", Look()))).size == (4096, 7)
    sessions.close()


class Clicks:
    """A window that looks at the red and blue photo, and the places that are clicked in it."""

    def __init__(self, model: AppModel):
        self.sessions = new_sessions(model)
        self.session = self.sessions.new()
        self.session.show_upload(upload(self.sessions))
        self.events = new_events(self.sessions)

    def explain(self, target: int = -1, method: str = "gradcam") -> str:
        *_, (_, html, _) = self.events.explain(self.session.token, "hue", method, target, -1, "raw")
        return html

    def click(self, x: float, y: float) -> str:
        *_, (self.status, html, _) = self.events.place(self.session.token, {"pick": "place", "x": x, "y": y})
        return unescape(html)


def spoken(html: str) -> tuple[str, dict[str, str]]:
    """The cell of the clicked place, and the classes it speaks for with their values."""
    cell = re.search(r"This place, cell \((.*?)\), speaks most for \(of all (\d) classes\)", html)
    assert cell, html
    rows = re.findall(r'data-pick="class \d">([^<]*)</button>.*?tg-number">([^<]*)<', html[cell.start() :])
    return cell[1], dict(rows)


def test_clicked_place_speaks_for_the_class_that_its_cell_scores():
    """A red pixel adds 200/255 and a blue one 100/255 to its class's mean over 60 cells, and nothing to the other."""
    clicks = Clicks(app_model())
    assert "the first click runs the model once more" in clicks.explain()
    cell, classes = spoken(clicks.click(0.35, 0.9))  # the fourth column and the last row, still red
    assert cell == "row 5, column 3"
    assert classes == {"red": f"{200 / 255 / 60:.3g}"}
    assert "runs the model once more" not in clicks.click(0.35, 0.9)
    first = clicks.session.answers["explore"].place
    clicks.explain(1)  # another class at the same layer: place and maps stay
    assert clicks.session.answers["explore"].place is first
    clicks.session.model.class_maps = None  # a second click does not need the model
    cell, classes = spoken(clicks.click(0.45, 0.1))
    assert cell == "row 0, column 4"
    assert classes == {"blue": f"{100 / 255 / 60:.3g}"}
    clicks.sessions.close()


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("eigencam", "received 'eigencam': its map is the same for every class"),
        ("ablationcam", "received 'ablationcam', which runs the network again for each class"),
    ],
)
def test_place_says_why_a_method_cannot_tell(method, reason):
    clicks = Clicks(app_model())
    before = clicks.explain(method=method)
    html = clicks.click(0.5, 0.5)
    assert reason in html
    assert "tg-lens" in html
    assert before != html
    assert "Ready" in clicks.status
    clicks.sessions.close()


def test_place_that_speaks_for_no_class_says_so():
    sessions = Clicks(seven_classes())  # its kernel is zero
    sessions.explain()
    assert "speaks for none of all 7 classes" in sessions.click(0.5, 0.5)
    sessions.sessions.close()


def test_place_before_an_explanation_and_malformed_clicks_are_refused():
    clicks = Clicks(app_model())
    clicks.click(0.5, 0.5)
    assert "none is explained" in clicks.status
    for x in (None, "1", 1.5, True):
        with pytest.raises(ValueError, match="Expected a click on a picture"):
            clicks.click(x, 0.5)
    clicks.sessions.close()


def test_place_is_said_of_the_most_probable_of_many_classes_behind_a_deep_head():
    """Class k scores 25 - k, and red adds most to the first: each of the classes costs a pass of the head."""
    hidden, head = keras.layers.Dense(2, "relu", name="hidden"), keras.layers.Dense(25, "softmax", name="many")
    model = red_blue_model(hidden, head)
    hidden.set_weights([np.eye(2), np.zeros(2)])
    head.set_weights([np.stack([25.0 - np.arange(25), np.zeros(25)]), 25.0 - np.arange(25)])
    clicks = Clicks(AppModel(model, [f"name {index}" for index in range(25)]))
    clicks.explain()
    html = clicks.click(0.1, 0.5)
    assert "speaks most for (of the 20 most probable of 25 classes)" in html
    assert re.findall(r'data-pick="(class \d+)">', html[html.index("speaks most") :])[0::2] == [
        f"class {index}" for index in range(5)
    ]
    clicks.sessions.close()
