"""True boxes and masks over photos and their maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tests.helpers.explanations import explained

PHOTOS = np.zeros((2, 60, 100, 3), np.uint8)
MAPS = explained(np.random.default_rng(0).random((2, 6, 10)), image_size=(12, 20))
MASK = np.zeros((60, 100), bool)
MASK[10:30, 40:90] = True


def panels(figure: Figure) -> list[Any]:
    return [axes for axes in figure.axes if axes.images]


def boxes_on(axes: Any) -> list[tuple[float, ...]]:
    """The rectangles of a panel, (left, top, width, height), each once."""
    found = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return list(dict.fromkeys((*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in found))


def test_boxes_are_drawn_at_their_pixels_on_photo_map_and_overlay() -> None:
    """Pixel 0 of a picture reaches from -0.5 to 0.5."""
    figure = MAPS.plot(PHOTOS, boxes=[[(40, 10, 90, 30), (0, 0, 100, 60)], []])
    for axes in panels(figure)[:3]:
        assert boxes_on(axes) == [(39.5, 9.5, 50, 20), (-0.5, -0.5, 100, 60)]
        assert axes.get_xlim() == (-0.5, 99.5)
    assert not any(axes.patches for axes in panels(figure)[3:])
    assert any("true boxes and masks in green" in text.get_text() for text in figure.texts)


def test_boxes_of_a_large_photo_shrink_with_it() -> None:
    """1280 x 960 pixels are drawn as 640 x 480."""
    figure = MAPS.plot([np.zeros((960, 1280, 3), np.uint8)] * 2, boxes=[[(100, 200, 300, 600)], None])
    assert boxes_on(panels(figure)[0]) == [(49.5, 99.5, 100, 200)]


def test_mask_is_outlined_along_the_edges_of_its_pixels() -> None:
    figure = MAPS.plot(PHOTOS, masks=[MASK, None])
    for axes in panels(figure)[:3]:
        (outline,) = axes.collections[-1].get_paths()
        assert (outline.vertices.min(0).tolist(), outline.vertices.max(0).tolist()) == ([39.5, 9.5], [89.5, 29.5])
    assert not any(axes.collections for axes in panels(figure)[3:])


def test_mask_that_fills_the_photo_or_nothing_of_it_is_drawn_without_a_warning() -> None:
    figure = MAPS.plot(PHOTOS, masks=[np.ones((60, 100)), np.zeros((60, 100), int)])
    (outline,) = panels(figure)[0].collections[-1].get_paths()
    assert (outline.vertices.min(0).tolist(), outline.vertices.max(0).tolist()) == ([-0.5, -0.5], [99.5, 59.5])
    assert not panels(figure)[3].collections


def test_truth_is_drawn_on_the_photo_beside_cells() -> None:
    figure = MAPS.plot(PHOTOS, cells=True, boxes=[[(40, 10, 90, 30)], []])
    assert boxes_on(panels(figure)[0]) == [(39.5, 9.5, 50, 20)]
    assert not panels(figure)[1].patches


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"boxes": [[]]}, "Expected boxes of 2 photos, received 1"),
        ({"masks": [MASK]}, "Expected masks of 2 photos, received 1"),
        ({"boxes": [(1, 2, 3, 4), []]}, r"photo 0 as a list of .* A single box needs a list: \[box\]"),
        ({"boxes": [[], [(10, 10, 101, 20)]]}, "inside of photo 1, 100 wide and 60 high.*received .10, 10, 101, 20."),
        ({"boxes": [[(10, 10, 10, 20)], []]}, "with xmin < xmax"),
        ({"boxes": [[(10, np.nan, 20, 20)], []]}, "inside of photo 0"),
        ({"masks": [MASK.T, None]}, r"of the size of photo 0, \(60, 100\), received \(100, 60\)"),
        ({"masks": [None, 255 * MASK]}, "mask of photo 1 as bool or 0 and 1, received int64 values"),
    ],
)
def test_plot_refuses_truth_that_does_not_fit_its_photo(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MAPS.plot(PHOTOS, **given)


def test_plot_refuses_truth_of_another_kind_or_without_photos() -> None:
    with pytest.raises(TypeError, match="Expected boxes as a list with an item for each photo, received str"):
        MAPS.plot(PHOTOS, boxes="boxes.csv")
    with pytest.raises(TypeError, match="Expected boxes of photo 0"):
        MAPS.plot(PHOTOS, boxes=[[("a", 1, 2, 3)], []])
    with pytest.raises(ValueError, match="beside boxes and masks, which are drawn on them, received none"):
        MAPS.plot(boxes=[[], []])
    with pytest.raises(ValueError, match=r"received the input \(30,\)"):
        explained(np.ones((1, 30))).plot(np.ones((1, 30)), boxes=[[]])
