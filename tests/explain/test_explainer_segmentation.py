"""Explanations of segmentations: where a class is predicted, in a mask, at a point; on small untrained models."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image

from tests.zoo.styles import randomise
from tf_gradcam import Explainer, Explanation, augment, fuse, list_layers, smooth
from tf_gradcam import explain as explain_files
from tf_gradcam._errors import for_command_line
from tf_gradcam.image.masks import class_colors
from tf_gradcam.targets import OutputOf, Region

SIZE, CELLS = (12, 20), (6, 10)
IMAGES = np.random.default_rng(0).random((3, *SIZE, 3), np.float32)
MASKS = np.random.default_rng(1).random((3, *CELLS)) < 0.3
NAMES = ["sky", "road", "car"]


def model_of(units: int = 3, activation: str | None = "softmax", size: Any = SIZE, seed: int = 0) -> keras.Model:
    """An output of half of the size, from a coarse layer and a skip."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((*size, 3))
    skip = layers.Conv2D(4, 3, 2, padding="same", activation="relu", name="skip")(image)
    deep = layers.Conv2D(6, 3, 2, padding="same", activation="relu", name="deep")(skip)
    joined = layers.Concatenate()([layers.UpSampling2D()(deep), skip])
    fine = layers.Conv2D(5, 3, padding="same", activation="relu", name="fine")(joined)
    return randomise(keras.Model(image, layers.Conv2D(units, 1, activation=activation, name="pixels")(fine)))


MODEL = model_of()
NAMED = True


@cache
def at(layer: str, is_named: bool = False) -> Explainer:
    """An explainer of MODEL that the tests share, as building one compiles it."""
    return Explainer(MODEL, layer, class_names=NAMES if is_named else None)


def in_mask(mask: np.ndarray, index: int) -> Callable[[Any], Any]:
    """The twin: the same target as a function with the mask as a constant."""
    return lambda logits: tf.reduce_sum(tf.where(tf.constant(mask), logits[..., index], 0.0), axis=(1, 2))


# Numbers by hand.


def test_map_of_a_linear_network_by_hand() -> None:
    """A_1 = x and A_2 = 2 x; the logits of class 0 are 3 A_1 - A_2 = x, those of class 1 are A_2 - A_1 = x.

    Summed over m of the 60 pixels, the score of class 1 has the gradients -1 and 1 at each of the m pixels, so
    Grad-CAM's weights are -m / 60 and m / 60, and the map is m / 60 (2 x - x) = m x / 60 everywhere. HiResCAM weights
    each pixel by itself: x inside of the mask, 0 outside.
    """
    image = keras.Input((6, 10, 1))
    hidden = layers.Conv2D(2, 1, use_bias=False, name="hidden")(image)
    model = keras.Model(image, layers.Conv2D(2, 1, use_bias=False, name="pixels")(hidden))
    model.get_layer("hidden").kernel.assign(np.float32([1, 2]).reshape(1, 1, 1, 2))
    model.get_layer("pixels").kernel.assign(np.float32([[3, -1], [-1, 1]]).reshape(1, 1, 2, 2))
    x = np.arange(1, 61, dtype=np.float32).reshape(1, 6, 10, 1)
    mask = np.zeros((6, 10), bool)
    mask[2:4, 3:7] = True
    explanation = Explainer(model, "hidden")(x, Region(1, mask))
    np.testing.assert_allclose(explanation.scores, x[0, mask].sum(), rtol=1e-6)
    np.testing.assert_allclose(explanation.raw[0], 8 / 60 * x[0, ..., 0], rtol=1e-5)
    hires = Explainer(model, "hidden", "hirescam")(x, Region(1, mask))
    np.testing.assert_allclose(hires.raw[0], x[0, ..., 0] * mask, rtol=1e-6)
    # A pixel of row 5 and column 9, the last one.
    at_point = Explainer(model, "hidden", "hirescam")(x, Region(1, point=(0.99, 0.99)))
    assert np.argwhere(at_point.raw[0]).tolist() == [[5, 9]]
    np.testing.assert_allclose(at_point.raw[0, 5, 9], 60, rtol=1e-6)


# Masks and points.


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("layercam", "gradcam_pp", "ablationcam", "fullgrad")]


@pytest.mark.parametrize("method", ["gradcam", "scorecam", *SLOW])
def test_mask_beside_the_images_gives_the_map_of_a_constant_mask(method: Any) -> None:
    layer = None if method == "fullgrad" else "deep"
    explainer = Explainer(MODEL, layer, method)
    own = explainer(IMAGES, Region(1, MASKS))
    twin = explainer(IMAGES, in_mask(MASKS, 1)) if method not in ("scorecam", "ablationcam") else None
    for number in range(3):
        alone = explainer(IMAGES[number : number + 1], in_mask(MASKS[number : number + 1], 1))
        np.testing.assert_allclose(own.raw[number], alone.raw[0], rtol=2e-3, atol=1e-5)
    if twin is not None:
        np.testing.assert_allclose(own.raw, twin.raw, rtol=1e-4, atol=1e-6)
    assert np.abs(own.raw).max() > 0


def test_masks_and_points_share_one_compiled_pass() -> None:
    explainer = Explainer(MODEL, layer="deep")
    explainer(IMAGES, Region(1, MASKS[0]))
    before = explainer.trace_count
    explainer(IMAGES, Region(1, MASKS))
    explainer(IMAGES, Region(1, ~MASKS[1]))
    assert explainer.trace_count == before
    explainer(IMAGES, Region(1, point=(0.1, 0.1)))
    explainer(IMAGES[:2], Region(1, point=[(0.1, 0.1), (0.7, 0.5)]))
    assert explainer.trace_count == before + 1


def test_mask_of_the_picture_is_read_at_the_cells() -> None:
    mask = np.random.default_rng(3).random(SIZE) < 0.4
    explainer = at("deep")
    np.testing.assert_array_equal(
        explainer(IMAGES, Region(1, mask)).raw, explainer(IMAGES, Region(1, mask[1::2, 1::2])).raw
    )


def test_point_is_the_mask_of_its_cell() -> None:
    mask = np.zeros(CELLS, bool)
    mask[4, 7] = True
    explainer = at("fine")
    at_point = explainer(IMAGES, Region(1, point=(0.75, 0.7)))
    np.testing.assert_array_equal(at_point.raw, explainer(IMAGES, Region(1, mask)).raw)
    np.testing.assert_array_equal(at_point.segmentation.inside, [mask] * 3)


@pytest.mark.slow
def test_batch_of_masks_gives_the_maps_of_single_images_also_in_a_model_of_a_fixed_batch() -> None:
    explainer = at("deep")
    together = explainer(IMAGES, Region(2, MASKS)).raw
    alone = [explainer(IMAGES[n : n + 1], Region(2, MASKS[n])).raw[0] for n in range(3)]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-7)
    image = keras.Input(batch_shape=(2, *SIZE, 3))
    fixed = keras.Model(image, MODEL(image))
    again = Explainer(fixed, "functional/deep" if False else next(iter(_paths(fixed, "deep"))))(
        IMAGES, Region(2, MASKS)
    )
    np.testing.assert_allclose(again.raw, together, rtol=1e-4, atol=1e-7)


def _paths(model: keras.Model, name: str) -> list[str]:
    return [row.path for row in list_layers(model) if row.path.endswith(name)]


@pytest.mark.slow
def test_free_size_takes_masks_of_any_picture() -> None:
    model = model_of(size=(None, None))
    model.set_weights(MODEL.get_weights())
    explainer = Explainer(model, "deep")
    np.testing.assert_allclose(
        explainer(IMAGES, Region(1, MASKS)).raw, at("deep")(IMAGES, Region(1, MASKS)).raw, rtol=1e-4
    )
    small = explainer(IMAGES[:, :8, :12], Region(1, MASKS[:, :4, :6]))
    assert small.segmentation.inside.shape == (3, 4, 6)


def test_class_at_a_point_is_the_predicted_one_there() -> None:
    explanation = at("deep", NAMED)(IMAGES, Region(point=(0.3, 0.3)))
    best = MODEL.predict(IMAGES, verbose=0).argmax(-1)[:, 1, 3]
    np.testing.assert_array_equal(explanation.segmentation.explained, best)
    assert explanation.labels == [f"{NAMES[index]} at 30%, 30%" for index in best]


def test_region_of_one_of_several_outputs() -> None:
    image = keras.Input((*SIZE, 3))
    mask = MODEL(image)
    both = keras.Model(image, {"mask": mask, "label": layers.GlobalAveragePooling2D()(mask)})
    path = _paths(both, "deep")[0]
    expected = at("deep")(IMAGES, Region(1, MASKS)).raw
    explainer = Explainer(both, path, output="mask")
    np.testing.assert_allclose(explainer(IMAGES, Region(1, MASKS)).raw, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(
        Explainer(both, path)(IMAGES, OutputOf("mask", Region(1, MASKS))).raw, expected, rtol=1e-4, atol=1e-7
    )
    first = keras.Model(image, [mask, layers.GlobalAveragePooling2D()(mask)])
    np.testing.assert_allclose(Explainer(first, path)(IMAGES, Region(1, MASKS)).raw, expected, rtol=1e-4, atol=1e-7)


# Heads.


@pytest.mark.parametrize(("units", "activation"), [(3, "softmax"), (1, "sigmoid")])
def test_maps_of_probabilities_are_those_of_logits(units: int, activation: str) -> None:
    model, twin = model_of(units, activation), model_of(units, None)
    twin.set_weights(model.get_weights())
    explainers = [Explainer(each, "deep") for each in (model, twin)]
    for target in (None, Region(0, MASKS)):
        maps = [each(IMAGES, target) for each in explainers]
        np.testing.assert_allclose(maps[0].raw, maps[1].raw, rtol=1e-4, atol=1e-7)
        np.testing.assert_array_equal(maps[0].segmentation.predicted, maps[1].segmentation.predicted)


def test_labels_of_sigmoids_overlap() -> None:
    model = model_of(3, "sigmoid")
    probabilities = model.predict(IMAGES, verbose=0)
    explanation = Explainer(model, "deep")(IMAGES, 1)
    np.testing.assert_array_equal(explanation.segmentation.inside, probabilities[..., 1] > 0.5)
    none = (probabilities < 0.5).all(-1)
    np.testing.assert_array_equal(explanation.segmentation.predicted, np.where(none, -1, probabilities.argmax(-1)))


@pytest.mark.slow
def test_unit_that_is_a_probability_behind_other_layers_is_predicted_above_a_half() -> None:
    image = keras.Input((*SIZE, 3))
    twice = [model_of(1, "sigmoid", seed=seed) for seed in (0, 1)]
    model = keras.Model(image, layers.Average()([each(image) for each in twice]))
    path = _paths(model, "deep")[0]
    inside = Explainer(model, path)(IMAGES).segmentation.inside
    np.testing.assert_array_equal(inside, model.predict(IMAGES, verbose=0)[..., 0] > 0.5)


def test_two_names_of_one_unit_are_its_sides() -> None:
    model = model_of(1, "sigmoid")
    found = model.predict(IMAGES, verbose=0)[..., 0] > 0.5
    explainer = Explainer(model, "deep", class_names=["ground", "building"])
    inside, outside = explainer(IMAGES, "building"), explainer(IMAGES, "ground")
    np.testing.assert_array_equal(inside.segmentation.inside, found)
    np.testing.assert_array_equal(outside.segmentation.inside, ~found)
    assert explainer(IMAGES).labels == ["region of building"] * 3
    np.testing.assert_array_equal(inside.raw, Explainer(model, "deep")(IMAGES, 0).raw)


@pytest.mark.slow
def test_flattened_output_is_a_picture() -> None:
    image = keras.Input((*SIZE, 3))
    flat = keras.Model(image, layers.Reshape((60, 3))(MODEL(image)))
    explainer = Explainer(flat, _paths(flat, "deep")[0], task="segmentation")
    np.testing.assert_allclose(
        explainer(IMAGES, Region(1, MASKS)).raw,
        at("deep")(IMAGES, Region(1, MASKS)).raw,
        rtol=1e-4,
        atol=1e-7,
    )


# What is refused, and what is empty.


def test_mask_of_another_size_is_refused_with_all_sizes_and_one_of_the_picture_is_taken() -> None:
    explainer = at("deep")
    message = r"size 12 x 20 \(height x width\) or of the output's, 6 x 10, received 20 x 12\. Make it"
    with pytest.raises(ValueError, match=message):
        explainer(IMAGES, Region(1, np.ones((20, 12), bool)))
    explainer(IMAGES, Region(1, np.ones((12, 20), bool)))
    with pytest.raises(ValueError, match="one mask for all images or one for each of 3, received 2"):
        explainer(IMAGES, Region(1, MASKS[:2]))


def test_class_that_the_model_lacks_is_refused() -> None:
    explainer = at("deep", NAMED)
    with pytest.raises(ValueError, match=r"an index below 3, its classes, of the segmentation .* received 7"):
        explainer(IMAGES, 7)
    with pytest.raises(ValueError, match=r"Unknown class 'cab'. Did you mean 'car'"):
        explainer(IMAGES, Region("cab"))
    with pytest.raises(ValueError, match="Expected names of 3 classes, received 2"):
        Explainer(MODEL, "deep", class_names=NAMES[:2])(IMAGES)


def never_predicted() -> keras.Model:
    """Class 2 is nowhere the highest."""
    model = model_of()
    head = model.get_layer("pixels")
    head.bias.assign(np.float32([0, 0, -100]))
    return model


def test_class_that_is_predicted_nowhere_is_said_and_can_be_explained_everywhere() -> None:
    explainer = Explainer(never_predicted(), "deep", class_names=NAMES)
    explanation = explainer(IMAGES, "car")
    assert not explanation.heatmaps.any()
    (text,) = set(explanation.diagnosis)
    assert text is not None
    assert text.startswith("no pixel of this image is predicted as 'car', so its region is empty")
    assert "target=Region('car', 'all')" in text
    assert "--target 'car@everywhere'" in for_command_line(text)
    assert explainer(IMAGES, Region("car", "all")).heatmaps.any()  # as it says
    assert explainer(IMAGES, Region("car", point=(0.5, 0.5))).segmentation.inside.any()
    nameless = Explainer(never_predicted(), "deep")(IMAGES, 2).diagnosis[0]
    assert "Region(2, 'all')" in str(nameless)
    assert "'2@everywhere'" in for_command_line(nameless)


def test_blank_map_at_a_pixel_advises_the_predicted_class_only_where_another_is_explained() -> None:
    """The logits are 5 - a and -100 - 2 a of an activation a: all contributions are negative."""
    image = keras.Input((4, 6, 1))
    seen = layers.Conv2D(1, 1, activation="relu", kernel_initializer="ones", name="seen")(image)
    model = keras.Model(image, layers.Conv2D(2, 1, name="pixels")(seen))
    model.get_layer("pixels").set_weights([np.float32([[[[-1, -2]]]]), np.float32([5, -100])])
    explainer, ones = Explainer(model, "seen"), np.ones((1, 4, 6, 1), np.float32)
    for target in (Region(0), Region(0, point=(0.5, 0.5)), Region(None, point=(0.5, 0.5)), Region(0, "all")):
        assert "choose another method" in str(explainer(ones, target).diagnosis[0])
    assert "explain the predicted class" in str(explainer(ones, Region(1, point=(0.5, 0.5))).diagnosis[0])


def test_mask_between_the_cells_is_said() -> None:
    mask = np.zeros(SIZE, bool)
    mask[0, 0] = True  # the cells read odd rows and columns
    (text, *_) = at("deep")(IMAGES, Region(1, mask)).diagnosis
    assert text is not None
    assert "no pixel at the centre of any of the 6 x 10 cells" in text


def test_image_that_is_not_finite_has_a_diagnosis_of_its_own() -> None:
    images = IMAGES.copy()
    images[1, 0, 0] = np.nan
    explanation = at("deep")(images, Region(1, MASKS))
    assert "NaN" in str(explanation.diagnosis[1])
    np.testing.assert_allclose(explanation.raw[0], at("deep")(IMAGES, Region(1, MASKS)).raw[0], rtol=1e-4)


# The predicted mask.


def explained(target: Any = None) -> Explanation:
    return at("deep", NAMED)(IMAGES, target)


def test_predicted_mask_and_its_shares_are_those_of_the_model() -> None:
    best = MODEL.predict(IMAGES, verbose=0).argmax(-1)
    masks = explained().segmentation
    np.testing.assert_array_equal(masks.predicted, best)
    counts = np.bincount(best[0].ravel(), minlength=3)
    assert dict(masks.shares(0)) == {k: count / 60 for k, count in enumerate(counts) if count}
    largest = [np.bincount(each.ravel()).argmax() for each in best]
    np.testing.assert_array_equal(masks.inside, best == np.reshape(largest, (3, 1, 1)))


def test_overlay_outlines_the_region_and_alpha_zero_is_the_photo() -> None:
    photos = np.full((3, 60, 100, 3), 120, np.uint8)
    explanation = explained(Region(1, MASKS))
    plain = at("deep")(IMAGES, in_mask(MASKS, 1))
    changed = (explanation.overlay(photos) != plain.overlay(photos)).any(-1)
    assert changed.any(axis=(1, 2)).all()
    enlarged = MASKS.repeat(10, 1).repeat(10, 2)
    assert (explanation.overlay(photos)[changed & enlarged] == 255).all()
    assert (explanation.overlay(photos)[changed & ~enlarged] == 0).all()
    np.testing.assert_array_equal(explanation.overlay(photos, alpha=0), photos)


def test_saved_mask_is_the_predicted_one_at_the_size_of_the_photo(tmp_path: Path) -> None:
    photos = np.full((3, 60, 100, 3), 120, np.uint8)
    explanation = explained()
    names = [path.name for path in explanation.save(tmp_path / "a", photos)]
    assert names[:3] == ["0000.heatmap.npy", "0000.overlay.png", "0000.mask.png"]
    mask = np.asarray(Image.open(tmp_path / "a" / "0001.mask.png"))
    np.testing.assert_array_equal(mask, explanation.segmentation.predicted[1].repeat(10, 0).repeat(10, 1))
    explanation.save(tmp_path / "b")
    assert np.asarray(Image.open(tmp_path / "b" / "0001.mask.png")).shape == SIZE


@pytest.mark.parametrize("has_photos", [True, False])
def test_figure_shows_the_mask_with_names_and_shares(has_photos: bool) -> None:
    explanation = explained()
    figure = explanation.plot(np.full((3, 60, 100, 3), 120, np.uint8) if has_photos else None)
    texts = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    for index in range(3):
        for label, share in explanation.segmentation.shares(index):
            assert f"{NAMES[label]} {share:.1%}" in texts
    assert ("predicted mask" in texts) is has_photos
    drawn = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    size = (60, 100) if has_photos else SIZE
    expected = class_colors()[explanation.segmentation.values(0, size)]
    assert any(np.shape(picture) == np.shape(expected) and np.array_equal(picture, expected) for picture in drawn)


@pytest.mark.slow
def test_notebook_and_other_figures_take_a_segmentation() -> None:
    explanation = explained()
    assert explanation._repr_html_()
    assert len(explanation.part(slice(2)).segmentation) == 2


def test_fused_and_smoothed_maps_keep_the_mask() -> None:
    parts = [at(layer, NAMED) for layer in ("deep", "fine")]
    fused = fuse(parts)(IMAGES, Region(1, MASKS))
    assert fused.segmentation is not None
    np.testing.assert_array_equal(fused.segmentation.inside, MASKS)
    listed = Explainer(MODEL, ["deep", "fine"], class_names=NAMES)(IMAGES)
    assert listed.segmentation is not None
    assert smooth(parts[0], copies=1)(IMAGES).segmentation is not None


def test_mirrored_copies_are_explained_in_the_mirrored_mask() -> None:
    """The mean over an image and its mirror is the mean of the map and of the mirrored image's mirrored map."""
    averaged = augment(at("fine"), flips=True, scales=[1])
    mirrored = IMAGES[:, :, ::-1]
    for own, other in (
        (Region(1, MASKS), Region(1, MASKS[:, :, ::-1])),
        (Region(1, point=(0.25, 0.4)), Region(1, point=(0.75, 0.4))),
        (Region(1, point=(0.0, 0.4)), Region(1, point=(0.99, 0.4))),
    ):
        expected = (at("fine")(IMAGES, own).raw + at("fine")(mirrored, other).raw[:, :, ::-1]) / 2
        np.testing.assert_allclose(averaged(IMAGES, own).raw, expected, rtol=1e-3, atol=1e-6)


def test_zoomed_copies_have_no_mask_and_a_class_is_taken() -> None:
    averaged = augment(at("fine"), flips=False, scales=[1, 1.2])
    with pytest.raises(ValueError, match=r"Expected no zoomed copies for a mask .*, received the scales 1, 1\.2"):
        averaged(IMAGES, Region(1, MASKS))
    averaged(IMAGES, Region(1, "all"))
    augment(at("fine"), flips=True, scales=[1])(IMAGES, Region(1, MASKS))


# Files.


def write_photos(folder: Path, sizes: list[tuple[int, int]]) -> list[Path]:
    generator = np.random.default_rng(5)
    paths = [folder / f"{number}.png" for number in range(len(sizes))]
    for path, (height, width) in zip(paths, sizes, strict=True):
        Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    return paths


def test_mask_of_the_photos_is_taken_by_explain(tmp_path: Path) -> None:
    paths = write_photos(tmp_path, [(24, 40)] * 3)
    mask = np.random.default_rng(3).random((24, 40)) < 0.4
    options: dict[str, Any] = {"layer": "deep", "preprocess": "unit", "batch_size": 2}
    explanation = explain_files(paths, MODEL, target=Region(1, mask), **options)
    # Of 24 x 40 pixels, the picture of 12 x 20 has the odd ones, and of these the output of 6 x 10 again.
    np.testing.assert_array_equal(explanation.segmentation.inside, [mask[1::2, 1::2][1::2, 1::2]] * 3)
    each = explain_files(paths, MODEL, target=Region(1, MASKS), **options)
    np.testing.assert_array_equal(each.segmentation.inside, MASKS)
    assert len(each.segmentation) == 3
