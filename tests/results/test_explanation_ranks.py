"""Maps of signals, volumes and frames: other sizes, figures, and what only pictures can do.

Also tests _figures/signals.py, _figures/volumes.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.helpers.explanations import explained
from tf_gradcam._figures.volumes import chosen_slices
from tf_gradcam.image.resize import Placement, Unplaced, interpolation_matrix, place_maps, positive_share, signed_share

GENERATOR = np.random.default_rng(0)
SIGNALS = explained(GENERATOR.random((2, 5)), image_size=(50,))
VOLUMES = explained(GENERATOR.random((2, 3, 4, 5)), image_size=(9, 12, 20))


def resize_maps(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    return place_maps(maps, Placement.tiles(maps.shape[1:], size))


def along_each_axis(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """One matrix product an axis, in float64."""
    for axis, side in enumerate(size, start=1):
        matrix = interpolation_matrix(maps.shape[axis], side)
        maps = np.moveaxis(np.tensordot(matrix, maps.astype(np.float64), axes=(1, axis)), 0, axis)
    return maps


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((2, 5), (50,)),
        ((2, 5), (3,)),
        ((2, 3, 4, 5), (9, 12, 20)),
        ((1, 3, 4, 5), (3, 2, 9)),
        ((1, 2, 3, 2, 3), (3, 4, 5, 6)),
    ],
)
def test_every_axis_is_resized_linearly(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    maps = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    resized = resize_maps(maps, size)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, along_each_axis(maps, size), rtol=1e-5, atol=1e-6)


def test_signal_by_hand() -> None:
    """Two cells [0, 1] over four samples, whose centres lie at -1/4, 1/4, 3/4 and 5/4 of the cells."""
    np.testing.assert_array_equal(explained([[0.0, 2.0]], image_size=(4,)).resized(), [[0.0, 0.25, 0.75, 1.0]])


def test_input_size_is_the_default() -> None:
    assert SIGNALS.resized().shape == (2, 50)
    assert VOLUMES.resized().shape == (2, 9, 12, 20)
    np.testing.assert_array_equal(VOLUMES.resized((3, 4, 5)), VOLUMES.heatmaps)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_mirrored_volume_gives_the_mirrored_result_bit_for_bit(axis: int) -> None:
    there = resize_maps(VOLUMES.heatmaps, (7, 9, 13))
    back = resize_maps(np.flip(VOLUMES.heatmaps, axis), (7, 9, 13))
    np.testing.assert_array_equal(back, np.flip(there, axis))


def test_values_stay_in_range() -> None:
    resized = VOLUMES.resized((31, 17, 23))
    assert resized.min() >= VOLUMES.heatmaps.min()
    assert resized.max() <= 1.0


def test_frames_keep_their_number() -> None:
    """A layer that is applied to each of 7 frames: time stays, the pictures grow."""
    frames = explained(GENERATOR.random((1, 7, 2, 3)), image_size=(7, 4, 6))
    resized = frames.resized()
    assert resized.shape == (1, 7, 4, 6)
    for frame in range(7):
        np.testing.assert_array_equal(resized[:, frame], resize_maps(frames.heatmaps[:, frame], (4, 6)))


@pytest.mark.parametrize("shape", [(3, 5), (3, 2, 5), (3, 2, 2, 5)])
def test_shares_of_any_rank(shape: tuple[int, ...]) -> None:
    raw = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    raw[1] = -np.abs(raw[1])
    raw[2].flat[3] = np.nan
    flat = raw.reshape(3, -1)
    np.testing.assert_array_equal(positive_share(raw).reshape(3, -1)[0], np.maximum(flat[0], 0) / flat[0].max())
    np.testing.assert_array_equal(signed_share(raw).reshape(3, -1)[1], flat[1] / np.abs(flat[1]).max())
    assert not positive_share(raw)[1:].any()
    assert not signed_share(raw)[2].any()


# Figures.


def lines_of(figure: Any) -> list[Any]:
    """The coloured lines; the axes of the colour bar hold no plain line."""
    return [collection for axes in figure.axes if axes.lines for collection in axes.collections]


def pictures_of(figure: Any) -> list[np.ndarray]:
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


def test_signal_is_a_line_coloured_by_relevance() -> None:
    """Each piece joins two samples and has the mean of their relevance."""
    signals = GENERATOR.normal(size=(2, 50))
    lines = lines_of(SIGNALS.plot(signals))
    assert len(lines) == 2
    for line, signal, relevance in zip(lines, signals, SIGNALS.resized(), strict=True):
        points = np.array(line.get_segments())
        np.testing.assert_allclose(points[:, 0], np.column_stack([np.arange(49), signal[:-1]]))
        np.testing.assert_allclose(line.get_array(), (relevance[1:] + relevance[:-1]) / 2, rtol=1e-6)
        assert line.get_clim() == (0.0, 1.0)


def test_signal_without_samples_shows_its_relevance() -> None:
    line = lines_of(SIGNALS.plot())[1]
    np.testing.assert_allclose(np.array(line.get_segments())[:, 0, 1], SIGNALS.resized()[1, :-1], rtol=1e-6)


def test_channels_of_a_signal_are_lines_of_their_own() -> None:
    assert len(lines_of(SIGNALS.plot(GENERATOR.normal(size=(2, 30, 3))))) == 6
    assert len(lines_of(SIGNALS.plot(GENERATOR.normal(size=(2, 30, 40))))) == 16


def test_long_signal_keeps_its_peaks() -> None:
    signal = np.zeros(100_003)
    signal[[7, 50_001]] = 1.0, -1.0
    (line,) = lines_of(explained(np.ones((1, 5)), image_size=(100_003,)).plot([signal]))
    points = np.array(line.get_segments())
    assert len(points) < 5000
    assert {(7.0, 1.0), (50_001.0, -1.0)} <= {tuple(point) for point in points[:, 0]}


def test_montage_shows_slices_of_volume_and_map() -> None:
    """All nine slices of one volume; of a blank map every overlay in "jet" is the slice with the coldest colour."""
    volume = np.arange(9.0)[:, None, None] * np.ones((9, 12, 20))
    blank = explained(np.zeros((1, 3, 4, 5)), image_size=(9, 12, 20))
    pictures = pictures_of(blank.plot([volume], "jet"))
    assert len(pictures) == 9
    coldest = blank.plot(colormap="jet").axes[0].images[0].get_array()[0, 0]
    for number, picture in enumerate(pictures):
        grey = np.rint(255 * number / 8)
        np.testing.assert_allclose(picture[3, 5], 0.6 * grey + 0.4 * coldest, atol=0.5 + 1e-6)


def test_montage_slices_are_those_of_the_resized_map() -> None:
    """Fully opaque without a volume: the red of a map that is 1 in one slice only, wherever that is drawn."""
    explanation = explained(VOLUMES.raw[:1], image_size=(9, 12, 20), signed=True)
    for number, picture in enumerate(pictures_of(explanation.plot())):
        expected = explanation.resized()[0, number]  # all positive, so blue and green fall as it grows
        np.testing.assert_allclose(picture[..., 1], 255 * (1 - expected), atol=255 * 0.5 / 127 + 0.5)


def test_montage_of_frames_keeps_their_colours() -> None:
    frames = GENERATOR.integers(0, 256, (1, 9, 12, 20, 3), np.uint8)
    explanation = explained(np.zeros((1, 9, 3, 5)), image_size=(9, 12, 20), signed=True)
    for picture, frame in zip(pictures_of(explanation.plot(frames)), frames[0], strict=True):
        np.testing.assert_array_equal(picture, frame)


def test_slices_are_spread_evenly() -> None:
    np.testing.assert_array_equal(chosen_slices(9, 1), np.arange(9))
    np.testing.assert_array_equal(chosen_slices(24, 1), np.arange(12) * 2 + 1)
    np.testing.assert_array_equal(chosen_slices(60, 5), [5, 15, 25, 35, 45, 55])


def test_montage_of_a_large_volume_is_bounded() -> None:
    """400 slices of 1000 x 1000 pixels, 1.6 GB as floats: twelve are drawn, none larger than 256 pixels."""
    pictures = pictures_of(explained(GENERATOR.random((1, 8, 16, 16)), image_size=(400, 1000, 1000)).plot())
    assert [picture.shape for picture in pictures] == [(256, 256, 3)] * 12


@pytest.mark.parametrize("explanation", [SIGNALS, VOLUMES])
def test_figure_tells_what_was_explained(explanation: Any) -> None:
    figure = explanation.plot()
    texts = [text.get_text() for text in figure.texts]
    assert texts.count("sun, 75.0%") == 2
    assert "by_hand at cells" in texts
    assert figure.get_suptitle() == "sun, 2 images"


def test_spectrogram_lies_below_its_signal_time_under_time() -> None:
    """Cells of ten samples, from sample 5 to 35 of 50; frequencies rise."""
    placement = Placement(0, (50,), (0, -1), (10.0, 1.0), (10.0, 0.5), "probes")
    explanation = explained(GENERATOR.random((2, 3, 4)), placement=placement, series=GENERATOR.normal(size=(2, 50)))
    line, spectrogram = explanation.plot().axes[:2]
    np.testing.assert_array_equal(line.lines[0].get_ydata(), explanation.series[0])
    assert line.get_xlim() == spectrogram.get_xlim()
    assert spectrogram.images[0].get_extent() == [5.0, 35.0, 0, 1]
    np.testing.assert_array_equal(spectrogram.images[0].get_array(), explanation.heatmaps[0].T[::-1])


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 4), (2, 3, 4, 5)])
@pytest.mark.parametrize("photos", [None, (2, 6, 10), (2, 6, 10, 3), (2, 7, 6, 10, 3), (2, 50)])
def test_cells_without_places_are_drawn_beside_whatever_is_given(shape: Any, photos: Any) -> None:
    explanation = explained(GENERATOR.random(shape), placement=Unplaced(0, (6, 10), "they are latent"))
    figure = explanation.plot(None if photos is None else np.zeros(photos, np.uint8))
    assert sum("cells: they are latent" in text.get_text() for text in figure.texts) == 2
    assert explanation._repr_html_()


# What is refused.


@pytest.mark.parametrize("explanation", [SIGNALS, VOLUMES])
def test_what_only_pictures_can_do_is_refused(explanation: Any, tmp_path: Any) -> None:
    photos = np.zeros((2, 6, 10, 3), np.uint8)
    for call in (
        lambda: explanation.overlay(photos),
        lambda: explanation.overlay_of(0, photos[0]),
        lambda: explanation.boxes(),
        lambda: explanation.contours(),
        lambda: explanation.binary(),
        lambda: explanation.save(tmp_path / "maps", photos),
    ):
        with pytest.raises(ValueError, match=r"Expected maps of pictures .*Use plot\(photos\)"):
            call()
    assert not (tmp_path / "maps").exists()
    assert len(explanation.save(tmp_path / "maps")) == 2


@pytest.mark.parametrize("size", [(0,), (3, 4), 5, (2.5,), "a"])
def test_signal_refuses_size(size: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected size as positive integers \(length,\)"):
        SIGNALS.resized(size)


def test_map_of_other_axes_than_the_input_is_refused() -> None:
    tokens = explained(np.ones((1, 5)), image_size=(6, 10))
    for call in (tokens.resized, tokens.boxes, lambda: tokens.overlay(np.zeros((1, 6, 10, 3), np.uint8))):
        with pytest.raises(ValueError, match="layer 'cells' is not a picture of it"):
            call()


def test_plot_refuses_four_axes() -> None:
    with pytest.raises(ValueError, match="maps of one to three axes to plot"):
        explained(np.ones((1, 2, 2, 2, 2))).plot()


def test_plot_refuses_signals_and_volumes_of_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"Expected signals of shape \(T0,\) or \(T0, C\), received \(2, 3, 4\)"):
        SIGNALS.plot(np.zeros((2, 2, 3, 4)))
    with pytest.raises(ValueError, match=r"Expected volumes of shape .* received \(9, 12, 20, 5\)"):
        VOLUMES.plot(np.zeros((2, 9, 12, 20, 5)))
