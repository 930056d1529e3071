"""Several layers as one map, on maps written by hand."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.helpers.explanations import explained, seeing
from tests.zoo.styles import photos, plain_model
from tf_gradcam import Explainer
from tf_gradcam._explain.fusion import fuse
from tf_gradcam.image.resize import Placement, Unplaced

L = keras.layers
IMAGES = np.zeros((1, 2, 4, 3))
COARSE = [[[0.0, 2.0]]]  # 1 x 2 cells, over its maximum [0, 1]; as 2 x 4 cells each row is [0, 1/4, 3/4, 1]
COARSE_ON_FINE = np.array([[0.0, 0.25, 0.75, 1.0]] * 2)
FINE = [[[4.0, 0.0, 1.0, 2.0], [0.0, 0.0, 2.0, -8.0]]]
FINE_SHARES = np.array([[1.0, 0.0, 0.25, 0.5], [0.0, 0.0, 0.5, 0.0]])


def layer(raw: Any, name: str = "cells", **options: Any) -> Any:
    return seeing(lambda _: raw, image_size=(2, 4), layer_name=name, **options)


def fused(*raws: Any, how: str = "mean", **options: Any) -> Any:
    return fuse([layer(raw, **options) for raw in raws], how)(IMAGES)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("mean", (COARSE_ON_FINE + FINE_SHARES) / 2),
        ("max", np.maximum(COARSE_ON_FINE, np.tanh(2 * FINE_SHARES))),
        ("product", COARSE_ON_FINE * FINE_SHARES),
    ],
)
def test_fused_by_hand(how: str, expected: np.ndarray) -> None:
    """Negative values are cut before they are fused; the order of the layers does not count."""
    for raws in [(COARSE, FINE), (FINE, COARSE)]:
        explanation = fused(*raws, how=how)
        np.testing.assert_allclose(explanation.raw[0], expected, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(explanation.heatmaps[0], expected / expected.max(), rtol=1e-6, atol=1e-7)


def test_max_of_layers_of_one_size_lifts_none() -> None:
    other = [[[0.0, 1.0, 0.0, 0.5], [0.0] * 4]]
    np.testing.assert_array_equal(fused(FINE, other, how="max").raw[0], np.maximum(FINE_SHARES, other[0]))


@pytest.mark.parametrize("how", ["mean", "max", "product"])
def test_one_layer_alone_is_its_own_map(how: str) -> None:
    np.testing.assert_array_equal(fused(FINE, how=how).heatmaps, explained(FINE).heatmaps)


def test_mean_is_the_default() -> None:
    np.testing.assert_array_equal(fuse([layer(COARSE), layer(FINE)])(IMAGES).raw, fused(COARSE, FINE, how="mean").raw)


def test_scale_of_a_layer_does_not_count() -> None:
    np.testing.assert_allclose(fused(COARSE, 1e-6 * np.array(FINE)).raw, fused(COARSE, FINE).raw, rtol=1e-5)


def test_grid_is_the_finest_of_each_axis() -> None:
    assert fused(np.ones((1, 1, 4)), np.ones((1, 2, 2))).raw.shape == (1, 2, 4)


def test_measured_offset_moves_a_layer_to_where_it_looks() -> None:
    """The coarse map [1, 0] moved right by half the picture: pixels 0 to 2 lie before the centre of the first cell."""
    coarse = layer([[[1.0, 0.0]]], offset=(0.0, 2.0))
    explanation = fuse([coarse, layer(np.zeros((1, 2, 4)))])(IMAGES)
    np.testing.assert_allclose(explanation.raw[0], 0.5 * np.array([[1.0, 1.0, 1.0, 0.75]] * 2))
    assert explanation.offset == (0.0, 0.0)


def test_offset_that_all_layers_share_stays_an_offset() -> None:
    explanation = fuse([layer(FINE, offset=(1.0, 2.0))] * 2)(IMAGES)
    assert explanation.offset == (1.0, 2.0)
    np.testing.assert_array_equal(explanation.raw[0], FINE_SHARES)


def test_signals_and_volumes_are_fused_too() -> None:
    signals = [seeing(lambda _, n=n: np.ones((1, n)), image_size=(8,)) for n in (2, 4)]
    assert fuse(signals)(np.zeros((1, 8, 1))).raw.shape == (1, 4)
    volumes = [seeing(lambda _, n=n: np.ones((1, n, 2, n)), image_size=(8, 8, 8)) for n in (2, 4)]
    assert fuse(volumes)(np.zeros((1, 8, 8, 8, 1))).raw.shape == (1, 4, 2, 4)


# What is known besides the map.


def test_fused_explanation_tells_its_parts() -> None:
    parts = [layer(COARSE, "deep", method="gradcam"), layer(FINE, "shallow", method="layercam")]
    explanation = fuse(parts, "max")(IMAGES)
    assert explanation.layer_name == "deep + shallow"
    assert explanation.method == "gradcam and layercam, fused by max"
    assert explanation.labels == ["sun"]
    np.testing.assert_array_equal(explanation.scores, [3.0])
    np.testing.assert_array_equal(explanation.probabilities, [[0.75, 0.25]])


def test_top_class_of_the_first_is_explained_by_all() -> None:
    first, second = layer(COARSE, classes=[1]), layer(FINE)
    fuse([first, second])(IMAGES)
    assert first.calls[0][1] is None
    np.testing.assert_array_equal(second.calls[0][1], [1])


def test_callable_target_is_handed_on() -> None:
    def brightness(outputs: Any) -> Any:
        return outputs[:, 0]

    second = layer(FINE, classes=[-1])
    fuse([layer(COARSE, classes=[-1]), second])(IMAGES, brightness)
    assert second.calls[0][1] is brightness


def test_map_with_one_blank_layer_can_be_read() -> None:
    assert fused(COARSE, -np.ones((1, 2, 4))).diagnosis == [None]


def test_blank_layers_give_the_reason_of_each() -> None:
    explanation = fuse([layer(-np.ones((1, 1, 2)), "deep"), layer(np.zeros((1, 2, 4)), "shallow")])(IMAGES)
    (reason,) = explanation.diagnosis
    assert "every cell speaks against 'sun'" in reason
    assert "gradient is zero everywhere: the score does not change with layer 'shallow'" in reason


def test_product_of_maps_that_never_meet_says_so() -> None:
    explanation = fused([[[1.0, 0.0, 0.0, 0.0]] * 2], [[[0.0, 0.0, 0.0, 1.0]] * 2], how="product")
    assert not explanation.heatmaps.any()
    assert "no cell is hot in all of them" in explanation.diagnosis[0]


def test_signed_maps_are_fused_with_their_sign() -> None:
    """The coarse one over its largest value is [0, -1], the fine one over 8 has -1 in its last cell."""
    negative = -np.array(COARSE)
    mean = fused(negative, FINE, signed=True)
    np.testing.assert_allclose(mean.raw[0], (-COARSE_ON_FINE + np.array(FINE[0]) / 8) / 2, rtol=1e-6)
    assert mean.signed
    largest = fused(negative, FINE, how="max", signed=True).raw[0]
    np.testing.assert_allclose(largest[0, 0], np.tanh(2 * 4 / 8), rtol=1e-6)  # beside 0 of the coarse one
    np.testing.assert_allclose(largest[1, 3], -1.0, rtol=1e-6)  # beside tanh(-2)


# Real explainers.


def test_batch_is_its_single_images() -> None:
    model = plain_model()
    explainer = fuse([Explainer(model, name) for name in ("conv1", "conv2", "conv3")], "max")
    whole = explainer(photos(3))
    singles = [explainer(image[None]) for image in photos(3)]
    np.testing.assert_allclose(whole.raw, np.concatenate([single.raw for single in singles]), rtol=1e-4, atol=1e-5)
    assert whole.labels == [single.labels[0] for single in singles]


# What is refused.


def test_unknown_way_to_fuse_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Unknown way to fuse 'maximum'. Did you mean .*'max'"):
        fuse([layer(FINE)], "maximum")


def test_nothing_to_fuse_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one explainer"):
        fuse([])


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Expected an explainer, a callable .* received str"):
        fuse(["conv1"])  # type: ignore[list-item]


def test_layers_with_other_axes_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected layers with the same axes to fuse"):
        fused(FINE, np.ones((1, 4)))


def test_product_of_signed_maps_is_refused() -> None:
    with pytest.raises(ValueError, match="how='mean' or 'max' for a signed target"):
        fused(COARSE, FINE, how="product", signed=True)


def test_one_explainer_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(TypeError, match=r"list of explainers to fuse, received one Explainer\. .*layer=\[\.\.\.\]"):
        fuse(Explainer(plain_model()))  # type: ignore[arg-type]


def test_explanations_in_place_of_explainers_are_refused() -> None:
    with pytest.raises(TypeError, match=r"received Explanation\. Pass what made it, and call the result on the images"):
        fuse([explained(FINE)])  # type: ignore[list-item]


def test_models_of_other_classes_are_refused_for_a_class() -> None:
    """Class 1 of three and class 1 of four are two things; a callable says by itself what it reads."""
    start = [keras.Input((12, 20, 3)), L.Conv2D(2, 3), L.GlobalAveragePooling2D()]
    three, four = (Explainer(keras.Sequential([*start, L.Dense(count)])) for count in (3, 4))
    for target in (None, 1):
        with pytest.raises(ValueError, match=r"the same classes to fuse, received models of \[3, 4\] classes"):
            fuse([three, four])(photos(1), target)
    assert fuse([three, four])(photos(1), lambda outputs: outputs[:, 0]).raw.shape == (1, 10, 18)


# Maps that are the same everywhere, or speak against alone.


def test_maps_that_even_each_other_out_say_so() -> None:
    explanation = fused([[[1.0, 0.0, 1.0, 0.0]] * 2], [[[0.0, 1.0, 0.0, 1.0]] * 2])
    assert "the map is the same everywhere: combined" in explanation.diagnosis[0]


def test_flat_maps_give_their_reason() -> None:
    (reason,) = fused(np.ones((1, 2, 4)), np.ones((1, 1, 2))).diagnosis
    assert reason.count("all cells of layer 'cells' count alike for 'sun'") == 1


def test_flat_map_beside_another_can_be_read() -> None:
    assert fused(FINE, np.ones((1, 1, 2))).diagnosis == [None]


def test_signed_maps_that_only_speak_against_point_to_the_signed_picture() -> None:
    (reason,) = fused([[[-1.0, -2.0]]], [[[-3.0, -1.0]]], signed=True).diagnosis
    assert "none for it, so the heatmap is blank; the signed picture shows" in reason


# Progress.


def stepping(steps: int) -> Any:
    """An explainer that takes `steps` steps, and tells so."""

    def explainer(images: Any, target: Any = None, *, progress: Any = None) -> Any:
        for step in range(steps):
            if progress is not None:
                progress(step + 1, steps)
        return explained(FINE, image_size=(2, 4))

    return explainer


def told(explainer: Any, images: Any = IMAGES) -> list[tuple[int, int]]:
    heard: list[tuple[int, int]] = []
    explainer(images, progress=lambda done, total: heard.append((done, total)))
    return heard


def test_progress_is_told_over_all_runs() -> None:
    """Of three runs the first takes four steps, the second one; the third does not tell, and counts when it ends."""
    parts = [stepping(4), stepping(1), layer(FINE)]
    assert told(fuse(parts)) == [(25, 300), (50, 300), (75, 300), (100, 300), (200, 300), (300, 300)]


def test_progress_never_falls() -> None:
    """A rule that asks for more half way: 2 of 2 are 2 of 4 then."""

    def growing(images: Any, target: Any = None, *, progress: Any = None) -> Any:
        for done, total in [(1, 2), (2, 2), (2, 4), (3, 4), (4, 4)]:
            if progress is not None:
                progress(done, total)
        return explained(FINE, image_size=(2, 4))

    assert told(fuse([growing, growing])) == [(50, 200), (100, 200), (150, 200), (200, 200)]


def test_progress_of_wrapped_wrappers_ends_at_its_total() -> None:
    heard = told(fuse([fuse([stepping(3), stepping(2)]), stepping(1)]))
    assert heard == sorted(set(heard))
    assert heard[-1] == (200, 200)


def test_fused_explainers_work_without_anyone_to_tell() -> None:
    assert fuse([stepping(2), layer(FINE)])(IMAGES).raw.shape == (1, 2, 4)


def test_layers_of_an_explainer_are_one_progress() -> None:
    explainer = Explainer(plain_model(), ["conv2", "conv3"], "ablationcam")
    heard = told(explainer, photos(1))
    assert heard == sorted(set(heard))
    assert len(heard) >= 2
    assert heard[-1] == (200, 200)


# Cells at other places than tiles.

CROP = Placement(0, (2, 8), (0, 1), (1.0, 1.0), (0.5, 2.5), "arithmetic", reach=((0, 2), (2, 6)))


def test_layers_are_fused_where_their_cells_lie() -> None:
    """One layer sees columns 2 to 5 of 8, another all of them, halved: cells at 2.5 .. 5.5 lie between 1, 3, 5, 7."""
    cropped = seeing(lambda _: np.zeros((1, 2, 4)), placement=CROP)
    whole = seeing(lambda _: np.array([[[0.0, 1.0, 2.0, 4.0]] * 2]), image_size=(2, 8))
    explanation = fuse([cropped, whole])(IMAGES)
    assert explanation.placement == CROP
    np.testing.assert_allclose(explanation.raw[0, 0], 0.5 * np.array([0.75, 1.25, 1.75, 2.5]) / 4)


def test_layers_without_known_places_are_fused_cell_by_cell_only() -> None:
    unknown = Unplaced(0, (60,), "they differ")
    alike = [seeing(lambda _, n=n: np.full((1, 2, 3), n), placement=unknown) for n in (1.0, 2.0)]
    assert fuse(alike)(IMAGES).placement == unknown
    with pytest.raises(ValueError, match=r"Expected layers whose cells are places in one input to fuse.*they differ"):
        fuse([alike[0], seeing(lambda _: np.ones((1, 4, 6)), placement=unknown)])(IMAGES)
