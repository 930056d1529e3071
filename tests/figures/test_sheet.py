"""Figures of many images: nothing overlaps, names are cut where their card ends, pictures are those of overlays."""

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
from tf_gradcam._figures.sheet import MARGIN, SCALE, grid
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


def test_long_name_is_cut_where_its_card_ends() -> None:
    (label,) = (text for text in texts(explained(np.ones((1, 6, 10)), labels=[LONG]).plot()) if text.startswith("Amer"))
    assert label.endswith("…")
    assert len(label) > 30


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
    label, detail, *reason = texts(blank.plot())
    assert (label, detail) == ("sun", "75.0%, blank map")
    assert " ".join(reason) == f"Blank map: {blank.diagnosis[0]}"
    figure = blank.plot(photos_of(blank))
    assert len(panels(figure)) == 2  # photo and map
    assert f"No overlay: {blank.diagnosis[0]}" in " ".join(text.get_text() for text in figure.texts)


def test_headings_of_a_single_explanation_touch_its_panels() -> None:
    """Headings stand below the caption of a single image; in a table of several, over their column."""

    def heights(count: int) -> dict[str, float]:
        explanation = explained(np.ones((count, 6, 10)) * np.arange(1, 11))
        figure = explanation.plot(photos_of(explanation))
        return {text.get_text(): text.get_position()[1] for text in figure.texts}

    assert heights(1)["photo"] < heights(1)["75.0%"]
    assert heights(2)["photo"] > heights(2)["75.0%"]


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
    cards = grid(5, 2.0, 1.0, caption=0.5, panels=2, gap=0.1, card_gap=0.2, row_gap=0.3, top=1.0, columns=2)
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
