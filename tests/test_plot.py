"""The figure of an explanation: how many panels, what they show, what is written over them, and that it is saved."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from drawing import drawing_model, drawn, photos_of
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.text import Text
from models import photos, plain_model
from PIL import Image

from tf_gradcam import Explainer

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
    assert "cat" not in text


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
