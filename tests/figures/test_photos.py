"""The figure of an explanation: how many panels, what they show, what is written over them, and that it is saved.

Also tests _figures/captions.py, _figures/canvas.py.
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from tests.helpers.drawing import drawing_model, drawn, photos_of
from tests.helpers.explanations import explained
from tests.zoo.styles import photos, plain_model
from tf_gradcam import Explainer, Explanation
from tf_gradcam._figures.sheet import Sheet

DRAWN = drawn(np.random.default_rng(0).random((3, 6, 10)), class_names=["sun", "moon"])


def panels(figure: Figure) -> list[Any]:
    """The axes that show a picture; the colour bar is none."""
    return [axes for axes in figure.axes if axes.images]


def written(figure: Figure) -> str:
    """All that is written in a figure, in its order."""
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def rendered(figure: Figure) -> np.ndarray:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return np.asarray(Image.open(stream).convert("RGB"))


def test_plot_without_photos_has_a_panel_per_map() -> None:
    figure = DRAWN.plot()
    assert isinstance(figure, Figure)
    assert len(panels(figure)) == 3
    for axes, heatmap in zip(panels(figure), DRAWN.resized(), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), heatmap)


def test_plot_with_photos_has_photo_map_and_overlay() -> None:
    given = photos_of(DRAWN)
    figure = DRAWN.plot(given)
    assert len(panels(figure)) == 9
    for index in range(3):
        photo, heatmap, overlay = (axes.images[0].get_array() for axes in panels(figure)[3 * index : 3 * index + 3])
        np.testing.assert_array_equal(photo, given[index])
        np.testing.assert_array_equal(heatmap, DRAWN.resized()[index])
        assert overlay.shape == (6, 10, 3)


def test_plot_takes_photos_of_any_size() -> None:
    given = [photos_of(DRAWN, 6 + index, 20)[index] for index in range(3)]
    shapes = [axes.images[0].get_array().shape for axes in panels(DRAWN.plot(given))[::3]]
    assert shapes == [(6, 20, 3), (7, 20, 3), (8, 20, 3)]


def test_all_maps_share_the_scale_of_the_colour_bar() -> None:
    figure = drawn([np.full((6, 10), 1.0), np.zeros((6, 10))]).plot()
    limits = {axes.images[0].get_clim() for axes in panels(figure)}
    bars = [axes for axes in figure.axes if not axes.images]
    assert limits == {(0.0, 1.0)}
    assert len(bars) == 1
    assert bars[0].get_ylim() == (0.0, 1.0)


def test_caption_is_the_class_and_its_probability() -> None:
    explanation = Explainer(plain_model(), class_names=["ant", "bee", "cat", "dog"])(photos(2), ["bee", "dog"])
    text = written(explanation.plot())
    for index, name in enumerate(["bee", "dog"]):
        probability = explanation.probabilities[index, ["ant", "bee", "cat", "dog"].index(name)]
        assert re.search(rf"{name}\W+{probability:.1%}", text)
        best = int(explanation.probabilities[index].argmax())
        assert f"Predicted: {['ant', 'bee', 'cat', 'dog'][best]}" in text
    assert "ant" not in text


def test_caption_tells_that_a_map_is_blank() -> None:
    white, black = np.ones((1, 6, 10)), np.zeros((1, 6, 10))
    assert "blank" not in written(drawn(white).plot())
    assert "blank" in written(drawn(black).plot())


def test_caption_of_a_callable_target_is_its_name() -> None:
    def brightness(outputs: Any) -> Any:
        return outputs[:, 0]

    text = written(Explainer(drawing_model(6, 10))(np.ones((1, 6, 10, 1)), brightness).plot())
    assert "brightness" in text
    assert "%" not in text


def test_figure_names_method_and_layer() -> None:
    assert "gradcam" in written(DRAWN.plot())
    assert "cells" in written(DRAWN.plot())


@pytest.mark.parametrize("name", ["$\\foo$", "a_b^c", "100 $ and 5 $", "two\nlines", "x" * 200, "", "50 %", "{braces}"])
def test_any_class_name_can_be_written(name: str) -> None:
    """Matplotlib reads what stands between two dollars as a formula."""
    pixels = rendered(drawn(np.ones((1, 6, 10)), class_names=[name, "other"]).plot())
    assert pixels.std() > 0


def test_saved_figure_opens(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    DRAWN.plot(photos_of(DRAWN)).savefig(path)
    with Image.open(path) as picture:
        assert picture.width > picture.height / 3
        assert np.asarray(picture.convert("RGB")).std() > 0


def test_saved_figure_shows_the_photo() -> None:
    """A photo of one blue that occurs nowhere else."""
    blue = np.broadcast_to(np.array([12, 34, 210], np.uint8), (1, 6, 10, 3))
    pixels = rendered(drawn(np.ones((1, 6, 10))).plot(blue))
    assert np.all(pixels == [12, 34, 210], axis=-1).mean() > 0.03


def test_plot_refuses_another_number_of_photos() -> None:
    with pytest.raises(ValueError, match="Expected 3 photos, one per map, received 2"):
        DRAWN.plot(photos_of(DRAWN)[:2])


def test_plot_leaves_matplotlibs_state_alone() -> None:
    """No figure that pyplot keeps in memory or a notebook shows twice, and no setting of the user's changed."""
    before = dict(matplotlib.rcParams)
    rendered(DRAWN.plot())
    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


# What is predicted, what is true.


def explained_as(classes: list[int], **options: Any) -> Explanation:
    """Images that are 75 % "sun" and 25 % "moon", explained for the classes."""
    ramps = np.tile(np.arange(60.0).reshape(1, 6, 10), (len(classes), 1, 1))
    return explained(ramps, classes=classes, **options)


def verdicts_of(figure: Figure) -> list[str]:
    """The third lines of the captions, with a mark before those in red."""
    said = [text for text in figure.texts if text.get_text().startswith(("Predicted", "True"))]
    return [("! " if text.get_color() == "#b00020" else "") + text.get_text() for text in said]


def test_prediction_is_told_where_another_class_is_explained() -> None:
    assert verdicts_of(explained_as([0, 0]).plot()) == []
    assert verdicts_of(explained_as([0, 1]).plot()) == ["Predicted: sun, 75.0%"]
    assert verdicts_of(explained_as([-1]).plot()) == []  # a callable may explain no class at all


@pytest.mark.parametrize(
    ("explained_class", "truth", "verdict"),
    [
        (0, 0, "True and predicted"),
        (0, 1, "! True: moon, 25.0%. Predicted: sun, 75.0%"),
        (1, 0, "True and predicted: sun, 75.0%"),
        (1, 1, "! True: moon, 25.0%. Predicted: sun, 75.0%"),
        (-1, 0, "True and predicted: sun, 75.0%"),
        (-1, 1, "! True: moon, 25.0%. Predicted: sun, 75.0%"),
    ],
)
def test_true_class_is_told_and_in_red_where_the_prediction_is_wrong(
    explained_class: int, truth: int, verdict: str
) -> None:
    assert verdicts_of(explained_as([explained_class]).plot(labels=[truth])) == [verdict]


def test_labels_are_indices_or_names() -> None:
    explanation = explained_as([0, 0])
    expected = ["True and predicted", "! True: moon, 25.0%. Predicted: sun, 75.0%"]
    for labels in ([0, 1], np.array([0, 1]), np.array([[0], [1]]), ["sun", "moon"], ["Sun", " moon"]):
        assert verdicts_of(explanation.plot(labels=labels)) == expected


def test_true_class_is_told_of_outputs_that_are_no_probabilities() -> None:
    explanation = explained_as([0])
    explanation.probabilities = None
    assert verdicts_of(explanation.plot(labels=["moon"])) == ["True: moon"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0], "Expected 2 labels, one per image"),
        ([[1, 0], [0, 1]], r"One-hot rows become indices by np.argmax"),
        ([0, 2], "Expected a class index below 2, .* received 2"),
        ([0, -1], "Expected a class index of 0 or more, .* received -1"),
        (["sun", "mooon"], "Unknown class 'mooon'. Did you mean 'moon'"),
    ],
)
def test_plot_refuses_labels(labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explained_as([0, 0]).plot(labels=labels)


def test_plot_refuses_names_where_none_are_known_and_labels_of_no_kind() -> None:
    with pytest.raises(ValueError, match=r"received the name 'sun'.*Pass class_names"):
        explained_as([0], class_names=None).plot(labels=["sun"])
    with pytest.raises(TypeError, match=r"Expected a class index or name per image, received 0\.5"):
        explained_as([0]).plot(labels=[0.5])
    with pytest.raises(ValueError, match=r"not unique: pass one of the indices \[0, 1\]"):
        explained_as([0], class_names={0: "crane", 1: "crane"}).plot(labels=["crane"])


@pytest.mark.parametrize(
    ("maps", "photos"), [(np.ones((2, 30)), None), (np.ones((2, 4, 6, 10)), np.zeros((2, 4, 6, 10), np.uint8))]
)
def test_signals_and_volumes_tell_the_true_class_too(maps: np.ndarray, photos: Any) -> None:
    figure = explained(maps).plot(photos, labels=[0, 1])
    assert verdicts_of(figure) == ["True and predicted", "! True: moon, 25.0%. Predicted: sun, 75.0%"]


def test_plot_leaves_the_explanation_as_it_is() -> None:
    explanation = explained_as([0, 0])
    explanation.plot(photos_of(explanation), labels=[0, 1])
    assert explanation.photos is None
    assert explanation.truth is None


# In a notebook, and on paper.


def picture_in(page: str) -> Image.Image:
    found = re.search(r'src="data:image/png;base64,([^"]+)"', page)
    assert found is not None
    return Image.open(io.BytesIO(base64.b64decode(found[1])))


def test_notebook_shows_photos_labels_and_the_colour_bar() -> None:
    blue = np.broadcast_to(np.array([12, 34, 210], np.uint8), (2, 6, 10, 3))
    explanation = explained_as([0, 0])
    page = explanation.with_photos(blue, ["sun", "moon"])._repr_html_()
    assert page is not None
    pixels = np.asarray(picture_in(page).convert("RGB"))
    assert np.all(pixels == [12, 34, 210], axis=-1).mean() > 0.03
    for told in ("sun", "True: moon, 25.0%. Predicted: sun, 75.0%", "by_hand at cells"):
        assert told in page.split("src=")[0]
    assert explanation.photos is None


def test_notebook_shows_maps_alone_where_no_photos_are_known() -> None:
    alone, with_photos = explained_as([0]), explained_as([0]).with_photos(np.zeros((1, 6, 10, 3), np.uint8))
    pages = [alone._repr_html_(), with_photos._repr_html_()]
    assert ["overlay" in str(page) for page in pages] == [False, True]


def test_notebook_shows_the_first_of_many_images_and_says_so() -> None:
    many = explained_as([0] * 30).with_photos(np.zeros((30, 6, 10, 3), np.uint8), [0] * 23 + [1] * 7)
    assert many.diagnosis == [None] * 30  # cached: it is cut as well
    page = many._repr_html_()
    assert page is not None
    assert page.endswith("<p>The first 24 of 30 images.</p>")
    assert len(many) == 30
    assert picture_in(page).height < picture_in(str(many.plot(labels=[0] * 30)._repr_html_())).height


def test_notebook_shows_text_where_nothing_can_be_drawn() -> None:
    assert explained(np.ones((1, 2, 3, 4, 5)))._repr_html_() is None


def test_names_of_classes_are_no_html() -> None:
    page = explained_as([0], labels=['<b>"bold"</b>'])._repr_html_()
    assert page is not None
    assert "<b>" not in page
    assert "&lt;b&gt;&quot;bold&quot;" in page


def test_photos_are_kept_when_maps_are_combined() -> None:
    given = explained_as([0]).with_photos(np.zeros((1, 6, 10, 3), np.uint8), [1])
    other = given.with_raw(np.ones((1, 6, 10)), layer_name="l", method="m", placement=given.placement, diagnosis=[None])
    assert other.photos is given.photos
    np.testing.assert_array_equal(other.truth, [1])


def test_with_photos_refuses_what_plot_refuses() -> None:
    with pytest.raises(ValueError, match="Expected 1 photos, one per map, received 2"):
        explained_as([0]).with_photos(np.zeros((2, 6, 10, 3), np.uint8))
    with pytest.raises(TypeError, match=r"received the path 'dog.jpg'"):
        explained_as([0]).with_photos("dog.jpg")


def test_text_is_text_in_vector_files_and_settings_are_restored() -> None:
    before = dict(matplotlib.rcParams)
    svg, pdf = io.StringIO(), io.BytesIO()
    figure = DRAWN.plot()
    figure.savefig(svg, format="svg")
    figure.savefig(pdf, format="pdf")
    assert ">gradcam at cells</text>" in svg.getvalue()
    assert b"/FontFile2" in pdf.getvalue()  # TrueType, no drawn letters
    assert b"/Type3" not in pdf.getvalue()
    assert dict(matplotlib.rcParams) == before


def test_photos_in_vector_files_have_300_dots_an_inch(tmp_path: Path) -> None:
    """A panel 2.6 inches high, in which Matplotlib draws a picture as so many dots."""
    figure = DRAWN.plot(photos_of(DRAWN, 600, 1000))
    for name, options, dpi in (("a.svg", {}, 300), ("b.svg", {"dpi": 100}, 100)):
        figure.savefig(tmp_path / name, **options)
        widths = re.findall(r'<image .*?width="([\d.]+)"', (tmp_path / name).read_text(encoding="utf-8"), flags=re.S)
        panel = panels(figure)[0].get_position().width * figure.get_size_inches()[0]
        pictures = re.findall(r"base64,\s*([^\"]+)\"", (tmp_path / name).read_text(encoding="utf-8"))
        assert widths
        assert Image.open(io.BytesIO(base64.b64decode(pictures[0]))).width == pytest.approx(panel * dpi, rel=0.03)


def test_figure_can_be_cut_tight(tmp_path: Path) -> None:
    figure = DRAWN.plot(photos_of(DRAWN))
    figure.savefig(tmp_path / "tight.png", bbox_inches="tight", pad_inches=0, dpi=100)
    with Image.open(tmp_path / "tight.png") as picture:
        width, height = figure.get_size_inches() * 100
        assert picture.width <= width
        assert picture.height <= height


@pytest.mark.slow
def test_as_many_images_as_one_likes_are_drawn() -> None:
    """700 would be taller than renderers draw at 150 dpi."""
    figure = explained(np.ones((700, 2, 2)), image_size=(2, 2)).plot()
    assert max(figure.get_size_inches()) * figure.dpi < 65_536
    sheet = Sheet(10.0, 1000.0)
    assert sheet.figure.dpi == pytest.approx(60)
