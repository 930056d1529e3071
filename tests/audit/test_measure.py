"""The table of metrics, on a model that looks at one square and explainers that do or do not know it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from tf_gradcam import Explainer
from tf_gradcam.audit.measure import measure
from tf_gradcam.audit.result import Metric
from tf_gradcam.image.resize import resize_heatmaps
from tf_gradcam.metrics.faithfulness import deletion_auc, drop_percent, highlight, insertion_auc, road_score

pytest.importorskip("scipy")

SIZE = (12, 20)  # pixels; maps have 6 x 10 cells
CELLS = (6, 10)
SHARES = (0.2, 0.5, 0.8)


def square(image: np.ndarray) -> tuple[int, int]:
    """Top and left of the bright square of 4 x 4 pixels: where the image says it is, in its last pixel."""
    return int(image[-1, -1, 0] * 100), int(image[-1, -1, 1] * 100)


def pictures(count: int) -> np.ndarray:
    """Noise with a bright square at a random even place."""
    generator = np.random.default_rng(7)
    images = 0.2 * generator.random((count, *SIZE, 3), np.float32)
    for image in images:
        top, left = 2 * generator.integers(0, 4), 2 * generator.integers(0, 8)
        image[top : top + 4, left : left + 4] = 1.0
        image[-1, -1, :2] = top / 100 + 1e-3, left / 100 + 1e-3
    return images


def predict(images: np.ndarray) -> np.ndarray:
    """(B, 2): class 1 is the mean of the brightest 16 pixels, which is the square as long as it is whole."""
    bright = np.sort(images[..., 0].reshape(len(images), -1), axis=1)[:, -16:].mean(axis=1)
    return np.stack([1 - bright, bright], axis=1)


class FakeExplainer:
    """Answers as `Explainer` does, with maps that `draw` makes of each image."""

    def __init__(self, draw: Any):
        self._draw = draw
        self.batches: list[int] = []

    def __call__(self, images: np.ndarray, target: list[int]) -> Any:
        self.batches.append(len(images))
        heatmaps = np.stack([self._draw(image, index) for image, index in zip(images, target, strict=True)])
        return SimpleNamespace(heatmaps=heatmaps, resized=lambda size: resize_heatmaps(heatmaps, size))


def right(image: np.ndarray, index: int) -> np.ndarray:
    heatmap = np.zeros(CELLS, np.float32)
    top, left = square(image)
    heatmap[top // 2 : top // 2 + 2, left // 2 : left // 2 + 2] = 1.0
    return heatmap


def wrong(image: np.ndarray, index: int) -> np.ndarray:
    return 1 - right(image, index)


def regions_of(images: np.ndarray) -> list[np.ndarray | None]:
    found: list[np.ndarray | None] = []
    for image in images:
        region = np.zeros(SIZE)
        top, left = square(image)
        region[top : top + 4, left : left + 4] = 1
        found.append(region)
    return found


def table(metrics: list[Metric]) -> dict[tuple[str, str], Metric]:
    return {(one.name, one.method): one for one in metrics}


IMAGES = pictures(6)
ONES = np.ones(6, int)


def test_values_are_those_of_the_single_functions() -> None:
    """Batched over all images and metrics, the means are those of one image after the other."""
    found = table(measure(FakeExplainer(right), predict, IMAGES, ONES, method="right", seed=3, batch_size=7))
    maps = resize_heatmaps(np.stack([right(image, 1) for image in IMAGES]), SIZE)
    of_class = lambda images: predict(images)[:, 1]  # noqa: E731
    pairs = list(enumerate(zip(IMAGES, maps, strict=True)))
    after = np.concatenate([of_class(highlight(image, heatmap)[None]) for _, (image, heatmap) in pairs])
    expected = {
        "deletion AUC": np.mean([deletion_auc(of_class, image, heatmap, 10) for _, (image, heatmap) in pairs]),
        "insertion AUC": np.mean([insertion_auc(of_class, image, heatmap, 10) for _, (image, heatmap) in pairs]),
        "ROAD": np.mean([road_score(of_class, *one, SHARES, seed=3 + number) for number, one in pairs]),
        "average drop %": drop_percent(of_class(IMAGES), after).mean(),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name, "right"].interval.value, value, rtol=1e-6)


def test_map_of_what_the_model_looks_at_beats_chance_and_its_opposite() -> None:
    good = table(measure(FakeExplainer(right), predict, IMAGES, ONES, method="m"))
    bad = table(measure(FakeExplainer(wrong), predict, IMAGES, ONES, method="m"))
    for name in {name for name, _ in good} - {"increase in confidence %", "average drop %"}:
        sign = 1 if good[name, "m"].better == "higher" else -1
        values = [sign * one.interval.value for one in (good[name, "m"], good[name, "random"], bad[name, "m"])]
        assert values == sorted(values, reverse=True), name
        assert values[0] > values[2], name


def test_localisation_of_the_square_itself() -> None:
    """The map is the square but for its soft edge: the hottest pixels are inside, and most of the heat."""
    images = IMAGES
    found = table(measure(FakeExplainer(right), predict, images, ONES, method="m", boxes=regions_of(images)))
    assert found["pointing game in box", "m"].interval.value == 1.0
    assert found["energy in box", "m"].interval.value > 0.6
    # The square is 16 of 240 pixels: chance has that share of the heat, and a sixteenth of hits.
    np.testing.assert_allclose(found["energy in box", "random"].interval.value, 16 / 240, atol=0.03)
    assert found["IoU with box at 0.15", "m"].interval.value > found["IoU with box at 0.15", "random"].interval.value


def test_masks_and_boxes_are_told_apart_and_gaps_left_out() -> None:
    regions = regions_of(IMAGES)
    some = [None, np.zeros(SIZE), *regions[2:]]  # no mask, and an empty one
    found = table(measure(FakeExplainer(right), predict, IMAGES, ONES, method="m", boxes=regions, masks=some))
    assert found["energy in box", "m"].count == 6
    assert found["energy in mask", "m"].count == 4
    assert found["sparsity", "m"].count == 6


def test_images_of_blank_maps_are_left_out_of_the_baselines_too() -> None:
    def draw(image: np.ndarray, index: int) -> np.ndarray:
        return right(image, index) * (index == 1)

    metrics = measure(FakeExplainer(draw), predict, IMAGES, [1, 1, 0, 1, 1, 0], method="m")
    assert {one.count for one in metrics} == {4}
    assert measure(FakeExplainer(draw), predict, IMAGES, [0] * 6) == []


def test_each_metric_says_which_direction_is_better() -> None:
    metrics = measure(FakeExplainer(right), predict, IMAGES, ONES, boxes=regions_of(IMAGES), masks=regions_of(IMAGES))
    lower = {one.name for one in metrics if one.better == "lower"}
    assert lower == {"deletion AUC", "average drop %", "ROAD, hottest first"}
    assert {one.better for one in metrics} == {"lower", "higher"}
    assert list(dict.fromkeys(one.method for one in metrics)) == ["gradcam", "random", "centre"]
    assert all(one.interval.low <= one.interval.value <= one.interval.high for one in metrics)


def test_both_orders_make_the_combined_score() -> None:
    found = table(measure(FakeExplainer(right), predict, IMAGES, ONES, method="m"))
    for method in ("m", "random", "centre"):
        hot, cold = (found[f"ROAD, {order} first", method].interval.value for order in ("hottest", "coldest"))
        np.testing.assert_allclose(found["ROAD", method].interval.value, (cold - hot) / 2, rtol=1e-9)


def test_sample_and_numbers_follow_the_seed() -> None:
    seen: list[list[float]] = []

    def draw(image: np.ndarray, index: int) -> np.ndarray:
        seen[-1].append(float(image.sum()))
        return right(image, index)

    results = []
    for seed in (0, 0, 1):
        seen.append([])
        results.append(measure(FakeExplainer(draw), predict, IMAGES, ONES, seed=seed, num_images=3))
    assert results[0] == results[1] != results[2]
    assert seen[0] == seen[1] != seen[2]
    assert len(set(seen[0])) == 3
    assert {one.count for one in results[0]} == {3}


def test_calls_are_batches_of_bounded_size() -> None:
    sizes: list[int] = []

    def counting(images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        return predict(images)

    explainer = FakeExplainer(right)
    measure(explainer, counting, IMAGES, ONES, batch_size=4)
    assert explainer.batches == [4, 2]
    # Once as they are: 4 + 2. Three methods of 6 images in 11 + 11 + 1 + 3 + 3 versions each: 174 = 43 * 4 + 2.
    assert sizes == [4, 2, *([4] * 43 + [2]) * 3]


def test_batch_size_changes_nothing() -> None:
    one, other = (measure(FakeExplainer(right), predict, IMAGES, ONES, batch_size=size) for size in (1, 64))
    for first, second in zip(one, other, strict=True):
        np.testing.assert_allclose(first.interval.value, second.interval.value, rtol=1e-6)


def test_explainer_of_one_sigmoid_unit() -> None:
    """Two classes of one unit: each image is explained for its own."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.layers.Input((*SIZE, 3)),
            keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="conv"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )

    def both(images: np.ndarray) -> np.ndarray:
        unit = np.array(model(images))
        return np.concatenate([1 - unit, unit], axis=1)

    metrics = measure(Explainer(model, "conv"), both, IMAGES, [0, 1] * 3)
    assert len(metrics) == 3 * 8
    assert all(np.isfinite(one.interval.value) for one in metrics)


def test_images_stay_as_they_are() -> None:
    before = IMAGES.copy()
    measure(FakeExplainer(right), predict, IMAGES, ONES)
    np.testing.assert_array_equal(IMAGES, before)


def test_bad_arguments_are_refused() -> None:
    explainer = FakeExplainer(right)
    with pytest.raises(ValueError, match="a class index for each"):
        measure(explainer, predict, IMAGES, [1])
    with pytest.raises(ValueError, match="a box or None for each of 6 images, received 1"):
        measure(explainer, predict, IMAGES, ONES, boxes=[None])
    with pytest.raises(ValueError, match=r"regions of \(12, 20\) pixels"):
        measure(explainer, predict, IMAGES, ONES, masks=[np.ones((20, 12))] * 6)
    with pytest.raises(ValueError, match="num_images and batch_size of at least 1"):
        measure(explainer, predict, IMAGES, ONES, num_images=0)
    with pytest.raises(ValueError, match="probabilities of 6 images and at least 2 classes, received shape \\(6,\\)"):
        measure(explainer, lambda images: predict(images)[:, 1], IMAGES, ONES)


def test_metrics_of_a_value_count_its_change() -> None:
    """The value is 50 times the brightness of the square, which only the right map erases first and inserts first."""
    images = pictures(6)

    def values(given: np.ndarray) -> np.ndarray:
        return 50 * predict(given)[:, 1:]

    def of(draw: Any) -> dict[str, Metric]:
        found = measure(FakeExplainer(draw), values, images, [0] * 6, unit="kg", num_images=6)
        return {metric.name: metric for metric in found if metric.method == "gradcam"}

    good, bad = of(right), of(wrong)
    assert list(good) == [
        *("insertion, change in kg left", "deletion, change in kg", "ROAD, change in kg"),
        *("ROAD, hottest first, change in kg", "ROAD, coldest first, change in kg", "sparsity"),
    ]
    for name, metric in good.items():
        if name != "sparsity":
            sign = 1 if metric.better == "higher" else -1
            assert sign * metric.interval.value > sign * bad[name].interval.value, name
            assert 0 <= metric.interval.value <= 50 or name == "ROAD, change in kg"
    plain = measure(FakeExplainer(right), values, images, [0] * 6, unit="", num_images=6)
    assert plain[1].name == "deletion, change of the value"
