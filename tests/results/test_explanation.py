"""The result: maps at other sizes, overlays, boxes and files. Maps are drawn by a network that hands its picture on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
from matplotlib.collections import QuadMesh

from tests.helpers.drawing import drawing_model, drawn, photos_of
from tests.helpers.explanations import explained
from tests.zoo.styles import chain, conv, head_layers, photos, plain_model, randomise, regression
from tf_gradcam import Explainer
from tf_gradcam.image.overlay import colormap_colors

pytestmark = pytest.mark.core
PICTURES = np.random.default_rng(0).random((3, 3, 5)).astype(np.float32)
HEATMAPS = PICTURES / PICTURES.max(axis=(1, 2), keepdims=True)
DRAWN = drawn(PICTURES, cell=2)  # 3 x 5 cells of 2 x 2 pixels


def test_drawing_network_draws() -> None:
    np.testing.assert_allclose(DRAWN.heatmaps, HEATMAPS, rtol=1e-5)
    assert DRAWN.image_size == (6, 10)
    assert len(DRAWN) == 3


# Other sizes.


def test_resized_is_half_pixel_bilinear() -> None:
    """As OpenCV resizes, to the pixels of the input and to any others."""
    for size in [(6, 10), (7, 4), (3, 5), (31, 17)]:
        expected = [cv2.resize(heatmap, size[::-1], interpolation=cv2.INTER_LINEAR) for heatmap in DRAWN.heatmaps]
        np.testing.assert_allclose(DRAWN.resized(size), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(DRAWN.resized(), DRAWN.resized((6, 10)))


def test_resized_by_hand() -> None:
    """Two cells [0, 1] over four pixels, whose centres lie at -1/4, 1/4, 3/4 and 5/4 of the cells."""
    explanation = drawn([[[0, 1]]], cell=2)
    np.testing.assert_allclose(explanation.resized()[0], [[0, 0.25, 0.75, 1]] * 2, rtol=1e-6)


def test_mirrored_picture_of_a_mirrored_network_is_the_mirrored_map() -> None:
    """Kernels turned about the vertical axis, 'same' padding of odd kernels: nothing tells left from right.

    Without strides, because TensorFlow pads those on the right alone.
    """
    model = unstrided()
    mirrored = unstrided()
    for own, other in zip(model.layers, mirrored.layers, strict=True):
        other.set_weights([w[:, ::-1] if w.ndim == 4 else w for w in own.get_weights()])
    images = photos(2)[:, :6, :10]
    there, back = Explainer(model, "conv2")(images, 1), Explainer(mirrored, "conv2")(images[:, :, ::-1], 1)
    assert there.heatmaps.max() == 1.0
    np.testing.assert_allclose(back.raw, there.raw[:, :, ::-1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(back.resized((17, 23)), there.resized((17, 23))[:, :, ::-1], atol=1e-5)


def unstrided() -> keras.Model:
    images = keras.Input((6, 10, 3))
    return randomise(keras.Model(images, chain(conv("conv1"), conv("conv2"), conv("conv3"), *head_layers())(images)))


@pytest.mark.parametrize("size", [(0, 3), (3,), 5, (6.5, 10), (6, 10, 3), "ab"])
def test_resized_refuses_size(size: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected size \(height, width\).* two positive integers"):
        DRAWN.resized(size)


# Overlays.


def test_overlay_with_alpha_0_is_the_photo_byte_for_byte() -> None:
    given = photos_of(DRAWN)
    overlay = DRAWN.overlay(given, alpha=0)
    np.testing.assert_array_equal(overlay, given)
    assert overlay.dtype == np.uint8
    assert overlay is not given


def test_overlay_with_alpha_1_is_the_colours_of_the_resized_map() -> None:
    levels = np.rint(255 * DRAWN.resized()).astype(int)
    overlay = DRAWN.overlay(photos_of(DRAWN), alpha=1, colormap="viridis")
    np.testing.assert_array_equal(overlay, colormap_colors("viridis")[levels])


def test_overlay_defaults_are_four_tenths_of_heat() -> None:
    """The weight is 0.4 where the heat is one half, and 0.8 where it is 1."""
    given = photos_of(DRAWN)
    np.testing.assert_array_equal(DRAWN.overlay(given), DRAWN.overlay(given, 0.4, "heat", 0.0))
    levels = np.rint(255 * DRAWN.resized()).astype(int)
    weights = 0.8 * levels[..., None] / 255
    blend = (1 - weights) * given + weights * colormap_colors("viridis")[levels]
    np.testing.assert_allclose(DRAWN.overlay(given), blend, atol=0.5 + 1e-6)


@pytest.mark.parametrize("signed", [False, True])
def test_overlay_and_plot_leave_the_photo_below_the_threshold(signed: bool) -> None:
    """Also with "jet", which has no clear colour of its own; the bar keeps only the colours from the threshold on."""
    raw = np.linspace(-1, 1, 60).reshape(1, 6, 10)
    explanation = explained(raw, signed=signed)
    given = photos_of(explanation)
    overlay = explanation.overlay(given, 0.4, "jet", threshold=0.5)
    values = explanation.shown_at(0, (6, 10))
    untouched = (overlay == given)[0].all(axis=-1)
    np.testing.assert_array_equal(untouched[np.abs(values) < 0.5], True)
    assert not untouched[np.abs(values) > 0.51].any()
    np.testing.assert_array_equal(overlay[0][~untouched], explanation.overlay(given, 0.4, "jet")[0][~untouched])

    figure = explanation.plot(given, "jet", threshold=0.5)
    drawn_overlay = [axes.images[0].get_array() for axes in figure.axes if axes.images][2]
    np.testing.assert_array_equal((drawn_overlay == given[0])[np.abs(values) < 0.5], True)
    bar = figure.axes[-1]
    assert 0.5 in bar.get_yticks()
    (shades,) = bar.findobj(QuadMesh)
    colors = shades.cmap(np.arange(shades.cmap.N))[:, :3]
    cold = np.abs(np.linspace(-1 if signed else 0, 1, len(colors))) < 0.5
    np.testing.assert_array_equal((colors == 1).all(axis=1), cold)


def test_overlay_fits_the_photo_of_any_size() -> None:
    assert DRAWN.overlay(photos_of(DRAWN, 13, 29)).shape == (3, 13, 29, 3)
    assert DRAWN.overlay_of(1, photos_of(DRAWN, 4, 3)[0]).shape == (4, 3, 3)


def test_overlay_of_one_is_that_of_the_batch() -> None:
    given = photos_of(DRAWN, 13, 29)
    for index in range(3):
        np.testing.assert_array_equal(DRAWN.overlay_of(index, given[index]), DRAWN.overlay(given)[index])


def test_overlay_of_a_blank_map_is_the_photo_and_by_name_the_coldest_colour() -> None:
    blank = drawn(np.zeros((1, 6, 10)))
    np.testing.assert_array_equal(blank.overlay(photos_of(blank), alpha=1), photos_of(blank))
    overlay = blank.overlay(photos_of(blank), 1, "jet")
    np.testing.assert_array_equal(overlay, np.broadcast_to(colormap_colors("jet")[0], (1, 6, 10, 3)))


@pytest.mark.parametrize("count", [0, 2, 4])
def test_overlay_refuses_another_number_of_photos(count: int) -> None:
    with pytest.raises(ValueError, match=f"Expected 3 photos, one per map, received {count}"):
        DRAWN.overlay([np.zeros((6, 10, 3), np.uint8)] * count)


@pytest.mark.parametrize("photos", ["cat.png", Path("cat.png"), ["cat.png"] * 3, [Path("cat.png")] * 3])
def test_paths_in_place_of_photos_are_told_the_way_to_photos(photos: Any, tmp_path: Path) -> None:
    uses = [DRAWN.overlay, DRAWN.plot, lambda given: DRAWN.save(tmp_path / "maps", given)]
    for use in [*uses, *([] if isinstance(photos, list) else [lambda given: DRAWN.overlay_of(0, given)])]:
        with pytest.raises(TypeError, match=r"received the path 'cat\.png'\. Read it with .*load_image\('cat\.png'\)"):
            use(photos)
    assert not (tmp_path / "maps").exists()


def test_what_is_no_series_of_photos_is_refused() -> None:
    with pytest.raises(TypeError, match="Expected 3 photos in an array or a list, received NoneType"):
        DRAWN.overlay(None)
    with pytest.raises(ValueError, match=r"Expected 3 photos, .* received 6\. A single photo needs a batch axis"):
        DRAWN.overlay(photos_of(DRAWN)[0])


def test_overlay_refuses_photos_of_several_sizes() -> None:
    several = [np.zeros((height, 10, 3), np.uint8) for height in (6, 7, 6)]
    with pytest.raises(ValueError, match=r"one size, received \[\(6, 10\), \(7, 10\)\]: use overlay_of"):
        DRAWN.overlay(several)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 1.5}, r"alpha, .* in \[0, 1\], received 1\.5"),
        ({"colormap": "jett"}, r"Unknown colour map 'jett'\. Did you mean 'jet'"),
    ],
)
def test_overlay_refuses_what_overlay_heatmap_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DRAWN.overlay(photos_of(DRAWN), **options)


# Boxes.

FOUR = [
    [0.0, 0.9, 1.0, 0.0],
    [0.0, 0.5, 0.2, 0.0],
    [0.0, 0.0, 0.0, 0.2],
    [0.4, 0.0, 0.0, 0.2],
]


def test_boxes_by_hand() -> None:
    """At 0.15 the four hot cells above touch the two on the right at a corner; the one below on the left is alone.

    At 0.3 those of 0.2 are gone. Rows count from above, and the right and lower edges are outside.
    """
    explanation = drawn([FOUR])
    assert explanation.boxes() == [[(1, 0, 4, 4), (0, 3, 1, 4)]] == explanation.boxes(0.15)
    assert explanation.boxes(0.3) == [[(1, 0, 3, 2), (0, 3, 1, 4)]]
    assert explanation.boxes(0.95) == [[(2, 0, 3, 1)]]
    assert explanation.boxes(1.0) == [[(2, 0, 3, 1)]]
    assert explanation.boxes(0.3)[0][0]._asdict() == {"xmin": 1, "ymin": 0, "xmax": 3, "ymax": 2}


def test_boxes_are_in_pixels_of_the_input() -> None:
    """One hot cell of 2 x 2 pixels: each lies a quarter of a cell off its centre both ways, and is 9/16 hot."""
    picture = np.zeros((1, 3, 5))
    picture[0, 1, 3] = 1
    assert drawn(picture, cell=2).boxes(0.5) == [[(6, 2, 8, 4)]]


def test_boxes_of_a_blank_map_are_none() -> None:
    assert drawn(np.zeros((2, 6, 10))).boxes() == [[], []]


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01, float("nan")])
def test_boxes_refuse_threshold(threshold: float) -> None:
    with pytest.raises(ValueError, match=rf"relative to the maximum, above 0 and at most 1, received {threshold}"):
        DRAWN.boxes(threshold)


# The most probable classes.


def test_top_is_sorted_and_named() -> None:
    model = plain_model()
    explanation = Explainer(model, class_names=["a", "b", "c", "d"])(photos(2))
    for row, probabilities in zip(explanation.top(), model(photos(2)).numpy(), strict=True):
        assert [label for label, _ in row] == ["abcd"[index] for index in np.argsort(-probabilities)]
        np.testing.assert_allclose([value for _, value in row], np.sort(probabilities)[::-1], rtol=1e-5)


@pytest.mark.parametrize(("count", "length"), [(1, 1), (2, 2), (9, 2)])
def test_top_gives_as_many_as_there_are(count: int, length: int) -> None:
    assert [len(row) for row in DRAWN.top(count)] == [length] * 3


def test_top_without_names_gives_numbers() -> None:
    assert DRAWN.top(1)[0][0][0] == "class 0"


def test_top_refuses_count() -> None:
    with pytest.raises(ValueError, match="count of at least 1, received 0"):
        DRAWN.top(0)


def test_top_of_values_is_refused() -> None:
    model, layer, _ = regression()
    with pytest.raises(ValueError, match=r"outputs that are classes, received values of shape \(2, 1\)"):
        Explainer(model, layer)(photos(2)).top()


# Files.


def test_save_writes_maps(tmp_path: Path) -> None:
    written = DRAWN.save(tmp_path / "new" / "folder")
    assert [path.name for path in written] == [f"{index:04d}.heatmap.npy" for index in range(3)]
    assert sorted(written) == sorted((tmp_path / "new" / "folder").iterdir())
    for path, heatmap in zip(written, DRAWN.heatmaps, strict=True):
        np.testing.assert_array_equal(np.load(path, allow_pickle=False), heatmap)


def test_save_writes_the_spread_where_there_is_one(tmp_path: Path) -> None:
    spread = np.full_like(DRAWN.raw, 0.25)
    places = {"layer_name": "cells", "method": "by_hand", "placement": DRAWN.placement, "diagnosis": DRAWN.diagnosis}
    DRAWN.with_raw(DRAWN.raw, **places, spread=spread).save(tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "0001.spread.npy"), spread[1])


def test_save_writes_overlays_of_photos_of_any_size(tmp_path: Path) -> None:
    given = [photos_of(DRAWN, 6 + index, 10)[index] for index in range(3)]
    written = DRAWN.save(tmp_path, given)
    assert sorted(path.name for path in written) == sorted(path.name for path in tmp_path.iterdir())
    assert len(written) == 6
    for index, photo in enumerate(given):
        overlay = cv2.imread(str(tmp_path / f"{index:04d}.overlay.png"))[..., ::-1]
        np.testing.assert_array_equal(overlay, DRAWN.overlay_of(index, photo))


def test_save_refuses_another_number_of_photos_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected 3 photos, one per map, received 2"):
        DRAWN.save(tmp_path / "maps", photos_of(DRAWN)[:2])
    assert not (tmp_path / "maps").exists()


@pytest.mark.parametrize("below", ["", "sub"])
def test_save_into_a_file_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "maps").write_text("mine")
    with pytest.raises(OSError, match=r"Expected a folder, received '.*maps.*': it is a file, or inside one"):
        DRAWN.save(tmp_path / "maps" / below)
    assert (tmp_path / "maps").read_text() == "mine"


def test_save_of_a_bad_photo_writes_nothing(tmp_path: Path) -> None:
    bad = [*photos_of(DRAWN)[:2], np.zeros((6, 10, 4), np.uint8)]
    with pytest.raises(ValueError, match=r"image\[\.\.\., :3\]"):
        DRAWN.save(tmp_path / "maps", bad)
    assert not list(tmp_path.glob("maps/*"))


def test_explanation_says_what_it_is() -> None:
    assert "images=3" in repr(DRAWN)
    assert "layer='cells'" in repr(DRAWN)


def test_explaining_a_photo_again_changes_nothing_of_the_first() -> None:
    """Results are arrays of their own: a second call does not write into the first."""
    explainer = Explainer(drawing_model(6, 10))
    first = explainer(np.ones((1, 6, 10, 1)), 0)
    kept = first.raw.copy()
    explainer(np.full((1, 6, 10, 1), 7.0), 0)
    np.testing.assert_array_equal(first.raw, kept)
