"""Inputs without channels, several inputs, crops, turns and frames: the picture that a map belongs to.

Also tests _figures/cells.py.
"""

from __future__ import annotations

import copy
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from tf_gradcam import Explainer, augment, compare, fuse, list_layers, plot_layers
from tf_gradcam._errors import ModelWarning
from tf_gradcam.audit.mapper import AuditMapper
from tf_gradcam.image import resize_heatmaps

GENERATOR = np.random.default_rng(0)


def ends(inputs: Any, *features: Any) -> keras.Model:
    """A model of three classes that averages its features."""
    means = [layers.GlobalAveragePooling1D()(layers.Reshape((-1, part.shape[-1]))(part)) for part in features]
    joint = layers.Concatenate()(means) if len(means) > 1 else means[0]
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(joint))


def one_hot(shape: tuple[int, ...], *place: int) -> np.ndarray:
    array = np.zeros(shape, np.float32)
    array[place] = 1
    return array


def identity(rank: int, name: str = "cells") -> Any:
    """A convolution of one cell that returns its one channel; the map of class 0 is where the input is."""
    kind = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}[rank]
    return kind(1, 1, kernel_initializer="ones", name=name)


def positive(model: keras.Model) -> keras.Model:
    """Give class 0 positive weights."""
    model.layers[-1].set_weights([np.array([[1.0, -1.0, -1.0]] * model.layers[-1].kernel.shape[0]), np.zeros(3)])
    return model


def is_whole(figure: Any) -> bool:
    """Return whether all axes lie in the figure, with their labels."""
    figure.canvas.draw()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    width, height = figure.bbox.size
    return all(box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1 for box in boxes if box)


# Inputs without an axis of channels.


def test_grey_pictures_without_channels_are_pictures() -> None:
    inputs = keras.Input((6, 10))
    model = positive(ends(inputs, identity(2)(layers.Reshape((6, 10, 1))(inputs))))
    picture = one_hot((1, 6, 10), 0, 1, 7)
    explanation = Explainer(model)(picture, 0)
    assert explanation.image_size == (6, 10)
    np.testing.assert_allclose(explanation.resized(), picture, atol=1e-6)
    assert explanation.boxes(0.5)[0][0] == (7, 1, 8, 2)
    assert explanation.overlay((255 * picture).astype(np.uint8)).shape == (1, 6, 10, 3)
    assert explanation._repr_html_()
    np.testing.assert_allclose(augment(Explainer(model))(picture, 0).heatmaps, picture, atol=1e-6)


@pytest.mark.parametrize("length", [60, 7])
def test_series_without_channels_are_signals(length: int) -> None:
    inputs = keras.Input((length,))
    model = positive(ends(inputs, identity(1)(layers.Reshape((length, 1))(inputs))))
    signal = one_hot((1, length), 0, 4)
    explanation = Explainer(model)(signal, 0)
    np.testing.assert_allclose(explanation.resized(), signal, atol=1e-6)
    np.testing.assert_array_equal(explanation.series, signal)
    line = explanation.plot().axes[0].collections[0]
    np.testing.assert_allclose(np.array(line.get_segments())[:, 0, 1], signal[0, :-1])


def test_signal_whose_layer_has_an_axis_of_one_cell_is_a_signal() -> None:
    inputs = keras.Input((30,))
    model = positive(ends(inputs, identity(2)(layers.Reshape((30, 1, 1))(inputs))))
    signal = one_hot((1, 30), 0, 4)
    explanation = Explainer(model)(signal, 0)
    np.testing.assert_allclose(explanation.resized(), signal, atol=1e-6)
    assert explanation.plot()


@pytest.mark.parametrize("shape", [(120,), (120, 1)])
def test_map_of_a_spectrogram_lies_under_the_time_of_its_signal(shape: tuple[int, ...]) -> None:
    """A burst at samples 70 to 80, in frames of 16 samples, 4 apart: the map's centroid is there, below the line."""
    inputs = keras.Input(shape)
    bank = layers.STFTSpectrogram(mode="magnitude", frame_length=16, frame_step=4, fft_length=16, expand_dims=True)
    model = positive(ends(inputs, identity(2)(bank(layers.Reshape((120, 1))(inputs)))))
    signal = np.zeros((1, 120), np.float32)
    signal[0, 70:80] = np.sin(np.arange(10) * 1.2)
    explanation = Explainer(model)(signal.reshape(1, *shape), 0)
    assert (explanation.layer_name, explanation.placement.axes) == ("cells", (0, -1))
    times, _ = explanation.placement.centres(explanation.heatmaps.shape[1:])
    energy = explanation.heatmaps[0].sum(axis=1)
    assert abs((energy * times).sum() / energy.sum() - 75) < 2
    figure = explanation.plot(signal.reshape(1, *shape))
    assert is_whole(figure)
    line, below = figure.axes[:2]
    assert line.get_xlim() == below.get_xlim()
    assert below.images[0].get_extent() == [times[0] - 2, times[-1] + 2, 0, 1]
    with pytest.raises(ValueError, match="one of its axes is not a place in the input"):
        explanation.resized()


def test_tokens_are_shown_with_their_numbers_or_words() -> None:
    inputs = keras.Input((5,), dtype="int32")
    model = ends(inputs, layers.Conv1D(4, 1, activation="relu")(layers.Embedding(50, 4)(inputs)))
    numbers = np.array([[3, 14, 15, 9, 2]])
    explanation = Explainer(model)(numbers)
    figure = explanation.plot()
    assert is_whole(figure)
    boxes = [axes.texts[0].get_text() for axes in figure.axes if axes.texts]
    assert boxes == ["3", "14", "15", "9", "2"]
    words = [["a", "$b$", "c", "d", "e"]]
    assert [axes.texts[0].get_text() for axes in explanation.plot(words).axes if axes.texts] == words[0]
    assert explanation._repr_html_()


def test_flat_pictures_are_shown_at_the_cells_of_the_layer() -> None:
    inputs = keras.Input((60,))
    model = positive(ends(inputs, identity(2)(layers.Reshape((6, 10, 1))(inputs))))
    picture = one_hot((1, 6, 10), 0, 1, 7)
    explanation = Explainer(model)(picture.reshape(1, 60), 0)
    assert explanation._repr_html_()
    for photos in (None, 255 * picture):
        figure = explanation.plot(photos)
        assert is_whole(figure)
        np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), explanation.heatmaps[0])
        assert any("6 x 10 cells: " in text.get_text() for text in figure.texts)
    with pytest.raises(ValueError, match=r"'cells' is not a picture of it, .*overlay_heatmap"):
        explanation.overlay((255 * picture).astype(np.uint8))


def test_grey_picture_without_channels_is_compared_like_any_other() -> None:
    inputs = keras.Input((6, 10))
    model = ends(inputs, layers.Conv2D(2, 3, activation="relu")(layers.Reshape((6, 10, 1))(inputs)))
    picture = GENERATOR.random((6, 10)).astype(np.float32)
    assert plot_layers(model, picture)
    assert compare(model, picture[None], ["gradcam"]).figure
    with pytest.raises(ValueError, match=r"Expected one image, \(H0, W0\) or \(1, H0, W0\), received \(2, 6, 10\)"):
        compare(model, np.stack([picture, picture]), ["gradcam"])


# Several inputs.


def optical_and_radar(joined: bool = False) -> tuple[keras.Model, list[np.ndarray]]:
    inputs = [keras.Input((6, 10, 3), name="optical"), keras.Input((4, 32, 1), name="radar")]
    inputs.append(keras.Input((3, 4, 5, 1), name="volume"))
    optical = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv_a")(inputs[0])
    radar = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv_b")(inputs[1])
    volume = layers.Conv3D(4, 1, activation="relu", name="conv_c")(inputs[2])
    images = [GENERATOR.random((2, *part.shape[1:])).astype(np.float32) for part in inputs]
    if joined:
        small = layers.Resizing(2, 16)(optical)
        return ends(inputs, layers.Conv2D(4, 1, name="joint")(layers.Add()([small, radar])), volume), images
    return ends(inputs, optical, radar, volume), images


@pytest.mark.parametrize(
    ("layer", "size", "stride"), [("conv_a", (6, 10), 1.0), ("conv_b", (4, 32), 2.0), ("conv_c", (3, 4, 5), 1.0)]
)
def test_layer_belongs_to_the_input_that_reaches_it(layer: str, size: tuple[int, ...], stride: float) -> None:
    model, images = optical_and_radar()
    explanation = Explainer(model, layer)(images)
    assert explanation.image_size == explanation.resized().shape[1:] == size
    assert explanation._repr_html_()
    rows = {row.path: row.stride for row in list_layers(model)}
    assert rows[layer] == (stride,) * len(size)


@pytest.mark.parametrize("kind", ["list", "dict", "array"])
def test_photos_are_taken_of_the_input_of_the_layer(kind: str) -> None:
    model, images = optical_and_radar()
    explanation = Explainer(model, "conv_b")(images)
    photos = [GENERATOR.integers(0, 256, part.shape, np.uint8) for part in images]
    given = {"list": photos, "dict": dict(zip(("optical", "radar", "volume"), photos, strict=True)), "array": photos[1]}
    expected = explanation.overlay(photos[1])
    assert expected.shape == (2, 4, 32, 3)
    np.testing.assert_array_equal(explanation.overlay(given[kind]), expected)
    assert explanation.with_photos(given[kind])._repr_html_()


def test_dict_without_the_photos_of_the_layer_is_refused() -> None:
    model, images = optical_and_radar()
    with pytest.raises(ValueError, match=r"Expected photos of 'radar', the input of layer 'conv_b'"):
        Explainer(model, "conv_b")(images).overlay({"optical": images[0]})


def test_layer_of_two_pictures_says_which_it_is_drawn_over() -> None:
    model, images = optical_and_radar(joined=True)
    with pytest.warns(ModelWarning, match=r"sees the inputs 'radar' .* and 'optical' .*drawn over 'optical'"):
        explanation = Explainer(model, "joint")(images)
    assert explanation.image_size == (6, 10)


def test_layer_with_several_calls_says_which_call_is_explained() -> None:
    inputs, shared = [keras.Input((6, 10, 3)), keras.Input((4, 8, 3))], layers.Conv2D(2, 3, name="shared")
    model = ends(inputs, *(shared(part) for part in inputs))
    images = [GENERATOR.random((1, *part.shape[1:])).astype(np.float32) for part in inputs]
    for layer, name, size in (("shared", "shared[1]", (4, 8)), ("shared[0]", "shared[0]", (6, 10))):
        explanation = Explainer(model, layer)(images)
        assert (explanation.layer_name, explanation.image_size) == (name, size)


# Frames of clips.


def clip_model() -> keras.Model:
    frame = keras.Sequential(
        [keras.Input((6, 10, 1)), layers.Conv2D(2, 3, activation="relu", name="c2"), layers.GlobalAveragePooling2D()]
    )
    inputs = keras.Input((3, 6, 10, 1))
    steps = layers.TimeDistributed(frame, name="frames")(inputs)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(steps)))


CLIPS = GENERATOR.random((2, 3, 6, 10, 1)).astype(np.float32)


@pytest.mark.parametrize("method", ["gradcam", "shapleycam"])
def test_layer_of_each_frame_has_one_map_per_frame(method: Any) -> None:
    model = clip_model()
    explanation = Explainer(model, "c2", method)(CLIPS, 1)
    assert explanation.heatmaps.shape == (2, 3, 4, 8)
    assert explanation.resized().shape == CLIPS.shape[:-1]
    of_one = Explainer(model, "c2[1]", method)(CLIPS, 1)
    np.testing.assert_allclose(explanation.raw[:, 1], of_one.raw, rtol=1e-4, atol=1e-7)


def test_copy_of_an_explainer_of_all_frames_has_all_frames() -> None:
    model = clip_model()
    explainer = Explainer(model, model.get_layer("frames").layer.get_layer("c2"))
    np.testing.assert_allclose(copy.deepcopy(explainer)(CLIPS).raw, explainer(CLIPS).raw, rtol=1e-4, atol=1e-7)


def test_map_of_one_frame_is_labelled_and_drawn_over_that_frame() -> None:
    explanation = Explainer(clip_model(), "c2[1]")(CLIPS)
    assert explanation.image_size == (6, 10)
    assert explanation.placement.frame == 1
    bytes_of_clips = (255 * CLIPS).astype(np.uint8)
    np.testing.assert_array_equal(explanation.overlay(bytes_of_clips), explanation.overlay(bytes_of_clips[:, 1]))
    for clips in (CLIPS, bytes_of_clips, bytes_of_clips[:, 1]):
        assert any(text.get_text().endswith("c2[1], frame 1") for text in explanation.plot(clips).texts)
    assert explanation._repr_html_()


def test_frames_are_drawn_as_a_strip_and_photos_are_not_volumes() -> None:
    explanation = Explainer(clip_model(), "c2")(CLIPS)
    for clips in (None, CLIPS):
        pictures = [axes for axes in explanation.plot(clips).axes if axes.images]
        assert len(pictures) == 6
    with pytest.raises(ValueError, match="Expected volumes of shape"):
        explanation.plot(np.zeros((2, 6, 10, 3), np.uint8))


def test_steps_of_time_are_the_same_everywhere_in_a_frame() -> None:
    explanation = Explainer(clip_model(), "frames")(CLIPS)
    assert explanation.heatmaps.shape == (2, 3)
    expected = np.broadcast_to(explanation.heatmaps[:, :, None, None], (2, 3, 6, 10))
    np.testing.assert_array_equal(explanation.resized(), expected)
    assert explanation.plot(CLIPS)


def test_free_number_of_frames_is_refused_and_the_remedy_works() -> None:
    """With three frames and two clips, Keras would run two frames of each."""
    inputs = keras.Input((None, 6, 10, 1))
    steps = layers.TimeDistributed(layers.Conv2D(2, 3, name="c2"), name="frames")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling3D()(steps)))
    with pytest.raises(ValueError, match=r"fixed number of frames .*keras.Input\(\(frames, 6, 10, 1\)\)"):
        Explainer(model)
    clips = keras.Input((3, 6, 10, 1))
    explanation = Explainer(keras.Model(clips, model(clips)), "frames")(CLIPS)
    np.testing.assert_allclose(explanation.outputs, model(CLIPS), rtol=1e-5)
    assert explanation.heatmaps.shape == (2, 3, 4, 8)


# Layers of one model together.


def test_layers_of_different_inputs_are_not_fused() -> None:
    model, images = optical_and_radar()
    with pytest.raises(ValueError, match=r"Expected layers whose cells are places in one input to fuse"):
        fuse([Explainer(model, "conv_a"), Explainer(model, "conv_b")])(images)


def test_measured_offset_stays_with_tiles() -> None:
    inputs = keras.Input((8, 12, 1))
    model = ends(inputs, layers.Conv2D(2, 3, strides=2, padding="same", activation="relu", name="cells")(inputs))
    images = GENERATOR.random((2, 8, 12, 1)).astype(np.float32)
    explainer = Explainer(model, "cells", align="measured")
    explanation = explainer(images)
    np.testing.assert_allclose(explanation.offset, explainer.offset, rtol=1e-9)
    np.testing.assert_allclose(
        explanation.resized(), resize_heatmaps(explanation.heatmaps, (8, 12), explainer.offset), rtol=1e-6, atol=1e-6
    )


# What the model does to its input before the layer.


@pytest.mark.parametrize(
    ("change", "reach"),
    [
        (layers.CenterCrop(4, 6), (slice(1, 5), slice(2, 8))),
        (layers.Cropping2D(((2, 0), (0, 3))), (slice(2, 6), slice(0, 7))),
        (layers.ZeroPadding2D(((3, 0), (0, 2))), (slice(0, 6), slice(0, 10))),
        (layers.Permute((2, 1, 3)), (slice(0, 6), slice(0, 10))),
        (lambda tensor: tensor[:, 1:, :8], (slice(1, 6), slice(0, 8))),
    ],
    ids=["centre crop", "crop", "padding", "turn", "slice"],
)
def test_map_lies_where_the_model_looks(change: Any, reach: tuple[slice, slice]) -> None:
    """A dot inside of what the model sees is where the map is 1; outside of that the map is zero."""
    inputs = keras.Input((6, 10, 1))
    model = positive(ends(inputs, identity(2)(change(inputs))))
    picture = one_hot((1, 6, 10, 1), 0, 3, 4)
    explainer = Explainer(model, "cells")
    for explanation in (explainer(picture, 0), explainer.class_maps(picture, [0]).of_class(0)):
        np.testing.assert_allclose(explanation.resized()[0], picture[0, ..., 0], atol=1e-6)
        assert explanation.boxes(0.5)[0] == [(4, 3, 5, 4)]
    shown = explainer(np.ones((1, 6, 10, 1), np.float32), 0).resized()[0]
    seen = np.zeros((6, 10), bool)
    seen[reach] = True
    np.testing.assert_array_equal(shown > 0, seen)
    np.testing.assert_allclose(augment(explainer)(picture, 0).resized()[0], picture[0, ..., 0], atol=1e-6)


def test_audit_maps_tile_the_picture_behind_a_crop() -> None:
    inputs = keras.Input((6, 10, 1))
    model = positive(ends(inputs, identity(2)(layers.Cropping2D(((0, 3), (0, 5)))(inputs))))
    mapper = AuditMapper(model, layer="cells", preprocess="unit")
    image = one_hot((1, 6, 10, 1), 0, 1, 3)
    batch = {"index": np.array([0]), "file": np.array([""]), "label": np.array([-1]), "image": image}
    heatmap = mapper(batch).heatmap[0]
    assert heatmap.shape == (3, 5)
    assert (
        heatmap.argmax() == 1
    )  # the dot is in the first of three rows, the second of five columns of the whole picture
