"""Figures of many images: nothing overlaps, names are wrapped where their card ends, pictures are those of overlays."""

from __future__ import annotations

import io
import pickle
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.helpers.explanations import explained
from tf_gradcam._figures.sheet import MARGIN, SCALE, grid, width_of, wrapped
from tf_gradcam._results.explanation import Explanation

DRAWN = explained(np.random.default_rng(0).random((3, 6, 10)))


def photos_of(explanation: Explanation, height: int = 6, width: int = 10) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (len(explanation), height, width, 3), np.uint8)


def panels(figure: Figure) -> list[Any]:
    """The axes that show a picture; the colour bar is none."""
    return [axes for axes in figure.axes if axes.images]


def texts(figure: Figure) -> list[str]:
    """All that is written in the figure but the line over everything."""
    return [text.get_text() for text in figure.texts if text.get_text() != figure.get_suptitle()]


LONG = "American Staffordshire terrier, Staffordshire terrier, American pit bull terrier, pit bull terrier"


@pytest.mark.parametrize("count", [1, 2, 4, 8, 32])
@pytest.mark.parametrize("has_photos", [True, False])
def test_nothing_in_a_figure_overlaps_however_long_the_names(count: int, has_photos: bool) -> None:
    """Panels stand apart, inside the figure, which stays as wide as a page; captions end before the next one begins."""
    explanation = explained(np.random.default_rng(0).random((count, 6, 10)), labels=[LONG] * count)
    figure = explanation.plot(photos_of(explanation, 60, 80) if has_photos else None)
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    assert not any(box.overlaps(other) for index, box in enumerate(boxes) for other in boxes[:index])
    assert 3 < figure.get_size_inches()[0] < 11
    renderer = FigureCanvasAgg(figure).get_renderer()
    written = [text.get_window_extent(renderer) for text in figure.texts]
    assert not any(box.overlaps(other) for index, box in enumerate(written) for other in written[:index])
    drawn_on = [axes.get_window_extent(renderer) for axes in figure.axes]
    assert not any(box.overlaps(other) for box in written for other in drawn_on)


@pytest.mark.parametrize("size", [(8, 200), (3, 4, 90)])
def test_colour_bar_of_a_flat_figure_is_whole(size: tuple[int, ...]) -> None:
    figure = explained(np.ones((1, *size))).plot()
    figure.canvas.draw()
    box = figure.axes[-1].get_tightbbox()
    assert box.y0 >= 0
    assert box.y1 <= figure.bbox.height


@pytest.mark.parametrize("count", [1, 3, 12])
def test_long_name_is_wrapped_between_words_and_nothing_is_left_out(count: int) -> None:
    figure = explained(np.ones((count, 6, 10)), labels=[LONG] * count).plot()
    names = [text.get_text().splitlines() for text in figure.texts if text.get_text().startswith("American")]
    joined = [" ".join(lines) for lines in names]
    assert joined.count(f"{LONG}, 75.0%") == count
    assert len(joined) == (1 if count == 1 else count + 1)  # the title too
    assert max(map(len, names)) > 1


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two  three", ["one two", "three"]),
        ("n0209_golden_retriever", ["n0209_", "golden_", "retriever"]),
        ("block/expand/relu", ["block/", "expand/", "relu"]),
        ("score -0.0123", ["score", "-0.0123"]),
        ("a - b", ["a - b"]),
        ("", [""]),
    ],
)
def test_text_is_wrapped_behind_spaces_and_joints(text: str, lines: list[str]) -> None:
    assert wrapped(text, width_of("retriever", 7) + 1e-6, 7).splitlines() == [line for line in lines if line]


def test_word_longer_than_a_line_goes_on_in_the_next() -> None:
    """Letters of one width: three fit into a little over three."""
    assert wrapped("before xxxxxxxx", 3.2 * width_of("x", 7), 7).replace("\n", "") == "beforexxxxxxxx"
    assert wrapped("xxxxxxxx", 3.2 * width_of("x", 7), 7) == "xxx\nxxx\nxx"


# Titles, and the ends of the colour bar.


def test_title_of_one_image_is_what_is_explained_and_the_method_stands_below() -> None:
    figure = explained(np.ones((1, 6, 10))).plot()
    assert figure.get_suptitle() == "sun, 75.0%"
    assert texts(figure)[0] == "by_hand at cells"
    assert figure.texts[1].get_fontsize() < figure._suptitle.get_fontsize()
    assert figure.texts[1].get_position()[1] < figure._suptitle.get_position()[1]
    assert "sun, 75.0%" not in texts(figure)  # once


def test_title_of_several_images_is_what_they_have_in_common() -> None:
    assert explained(np.ones((2, 6, 10))).plot().get_suptitle() == "sun, 2 images"
    figure = explained(np.ones((2, 6, 10)), classes=[0, 1]).plot()
    assert figure.get_suptitle() == "2 images"
    assert [text for text in texts(figure) if text in ("sun, 75.0%", "moon, 25.0%")] == ["sun, 75.0%", "moon, 25.0%"]


def bar_texts(figure: Figure) -> list[str]:
    """Return the texts beside the colour bar, from its lower end to its upper one."""
    found = [text for text in figure.texts if text.get_rotation() == 90]
    return [text.get_text().replace("\n", " ") for text in sorted(found, key=lambda text: text.get_position()[1])]


def test_colour_bar_of_a_contrast_names_both_classes() -> None:
    sides = ("for Walker hound", "for beagle")
    assert bar_texts(explained(np.ones((2, 6, 10)), signed=True, sides=[sides] * 2).plot()) == [*sides]
    others = [sides, ("for wolf", "for beagle")]
    assert bar_texts(explained(np.ones((2, 6, 10)), signed=True, sides=others).plot()) == ["against", "for"]


@pytest.mark.parametrize("size", [(6, 60), (60, 10), (6, 10)])
def test_no_word_is_cut_at_the_colour_bar(size: tuple[int, int]) -> None:
    sides = (f"for {LONG}", "for beagle")
    figure = explained(np.ones((1, *size)), signed=True, sides=[sides]).plot()
    assert bar_texts(figure) == [*sides]
    boxes = [text.get_window_extent(FigureCanvasAgg(figure).get_renderer()) for text in figure.texts]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0 for box in boxes)
    assert not any(box.overlaps(other) for index, box in enumerate(boxes) for other in boxes[:index])


def test_map_in_a_photo_of_another_size_is_resized_to_it() -> None:
    """Two cells [0, 1] on a photo of 1 x 4 pixels."""
    explanation = explained([[[0.0, 1.0]]], image_size=(2, 2))
    heatmap = panels(explanation.plot(np.zeros((1, 1, 4, 3), np.uint8)))[1].images[0].get_array()
    np.testing.assert_array_equal(heatmap, [[0.0, 0.25, 0.75, 1.0]])


def test_overlay_in_the_figure_is_the_overlay() -> None:
    given = photos_of(DRAWN)
    overlays = [axes.images[0].get_array() for axes in panels(DRAWN.plot(given, colormap="viridis"))[2::3]]
    np.testing.assert_array_equal(overlays, DRAWN.overlay(given, colormap="viridis"))


def test_large_photo_is_shrunk_to_what_a_panel_can_show() -> None:
    photo = np.zeros((1500, 2000, 3), np.uint8)
    shapes = {axes.images[0].get_array().shape[:2] for axes in panels(explained(np.ones((1, 6, 10))).plot([photo]))}
    assert shapes == {(480, 640)}


def test_plot_refuses_preprocessed_images() -> None:
    with pytest.raises(ValueError, match=r"Expected pixels in 0\.\.255, received -1\.\.0\. Pass the photo"):
        explained(np.ones((1, 6, 10))).plot(np.linspace(-1, 0, 180).reshape(1, 6, 10, 3))


def test_diagnosis_of_a_blank_map_is_written_in_full_in_place_of_it() -> None:
    blank = explained(-np.ones((1, 6, 10)))
    _, detail, *reason = texts(blank.plot())
    assert detail == "blank map"
    assert " ".join(reason) == f"Blank map: {blank.diagnosis[0]}"
    figure = blank.plot(photos_of(blank))
    assert len(panels(figure)) == 2  # photo and map
    assert f"No overlay: {blank.diagnosis[0]}" in " ".join(text.get_text() for text in figure.texts)


def test_headings_of_a_single_explanation_touch_its_panels() -> None:
    """Headings stand below the caption of a single image; in a table of several, over their column."""

    def heights(count: int) -> dict[str, float]:
        explanation = explained(np.ones((count, 6, 10)) * np.arange(1, 11))
        figure = explanation.plot(photos_of(explanation), labels=[0] * count)
        return {text.get_text(): text.get_position()[1] for text in figure.texts}

    assert heights(1)["photo"] < heights(1)["True and predicted"]
    assert heights(2)["photo"] > heights(2)["True and predicted"]


def test_figure_can_be_pickled() -> None:
    assert isinstance(pickle.loads(pickle.dumps(DRAWN.plot())), Figure)


def test_text_stays_text_in_vector_files() -> None:
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        DRAWN.plot().savefig(stream, format="svg")
    assert ">by_hand at cells</text>" in stream.getvalue()


# The grid.


def test_grid_places_cards_row_by_row() -> None:
    """Cards of two panels 2 wide and 1 high, 0.1 apart: a card is 4.1 wide, the next begins 0.2 behind it."""
    cards = grid(5, 2.0, 1.0, caption=0.5, panels=2, gap=0.1, card_gap=0.2, row_gap=0.3, columns=2)
    cards = cards._replace(top=1.0)
    assert cards.card == pytest.approx(4.1)
    assert cards.corner(0) == pytest.approx((MARGIN, 1.0))
    assert cards.corner(3) == pytest.approx((MARGIN + 4.3, 1.0 + 1.8))
    assert cards.place(3, 1) == pytest.approx((MARGIN + 4.3 + 2.1, 1.0 + 1.8 + 0.5, 2.0, 1.0))
    assert (cards.across, cards.down) == pytest.approx((2 * 4.3, 3 * 1.8))


@pytest.mark.parametrize("columns", [None, 7])
def test_grid_is_no_wider_than_asked(columns: int | None) -> None:
    """Four cards of 1.2 between margin and colour bar take 0.12 + 4.8 + 0.75 = 5.67."""
    cards = grid(30, 1.0, 1.0, caption=0.0, card_gap=0.2, columns=columns, widest=5.6)
    assert cards.columns == 3
    assert MARGIN + cards.across + SCALE <= 5.6


def test_grid_left_to_itself_is_nearly_as_wide_as_high() -> None:
    """Of twelve squares 4 x 3, wider than high, has no empty place and the proportions nearest to 1.4."""
    assert grid(12, 1.0, 1.0, caption=0.2, card_gap=0.2, row_gap=0.0).columns == 4


# The map at its own cells.


@pytest.mark.parametrize("has_photos", [True, False])
def test_cells_are_drawn_as_squares_of_their_values(has_photos: bool) -> None:
    """3 x 5 cells of a picture of 60 x 100 pixels."""
    explanation = explained(np.random.default_rng(0).random((2, 3, 5)), image_size=(60, 100))
    figure = explanation.plot(photos_of(explanation, 30, 50) if has_photos else None, cells=True)
    maps = panels(figure)[1::2] if has_photos else panels(figure)
    assert len(maps) == 2
    for axes, heatmap in zip(maps, explanation.heatmaps, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), heatmap)
        assert axes.images[0].get_interpolation() == "nearest"
    assert texts(figure).count("3 x 5 cells") == 2


def test_cells_of_a_signal_and_of_a_volume_are_drawn_too() -> None:
    for shape, size in (((1, 5), (50,)), ((1, 2, 3, 4), (8, 9, 12))):
        explanation = explained(np.random.default_rng(0).random(shape), image_size=size)
        assert any(text.endswith(" cells") for text in texts(explanation.plot(cells=True)))


def test_cells_of_text_are_refused() -> None:
    explanation = explained(np.ones((1, 3)), series=np.array([[4, 5, 6]]))
    with pytest.raises(ValueError, match=r"Expected no cells=True for text.*Leave it out"):
        explanation.plot(cells=True)
