"""ROAD: imputation against a dense system written the dull way, scores in worlds whose answer is plain."""

from __future__ import annotations

import numpy as np
import pytest

from tf_gradcam.metrics.faithfulness import SHARES, impute, road_paths, road_score

pytest.importorskip("scipy")


def twin(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Each removed pixel is the weighted mean of the neighbours that the image has: pixel by pixel, solved densely."""
    height, width, channels = image.shape
    A, b = np.eye(height * width), image.reshape(-1, channels).astype(np.float64).copy()
    for y, x in np.argwhere(removed):
        row = y * width + x
        b[row] = 0
        around = {}
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                if (dy, dx) != (0, 0) and 0 <= y + dy < height and 0 <= x + dx < width:
                    around[(y + dy) * width + x + dx] = 1 / 6 if dy == 0 or dx == 0 else 1 / 12
        for place, weight in around.items():
            A[row, place] = -weight / sum(around.values())
    return np.linalg.solve(A, b).reshape(image.shape)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_imputation_agrees_with_its_twin(share: float) -> None:
    generator = np.random.default_rng(0)
    image = generator.normal(size=(6, 10, 3)).astype(np.float32)
    for _ in range(5):
        removed = generator.random((6, 10)) < share
        removed[3, 4] = False
        np.testing.assert_allclose(impute(image, removed), twin(image, removed), atol=1e-5)


def test_one_pixel_is_the_weighted_mean_of_its_neighbours() -> None:
    """In the middle of 3 x 3: four direct neighbours by 1/6, four diagonal ones by 1/12."""
    image = np.arange(9, dtype=np.float32).reshape(3, 3, 1) ** 2
    removed = np.zeros((3, 3), bool)
    removed[1, 1] = True
    expected = (1 + 9 + 25 + 49) / 6 + (0 + 4 + 36 + 64) / 12
    np.testing.assert_allclose(impute(image, removed)[1, 1, 0], expected, rtol=1e-6)


def test_corner_has_three_neighbours() -> None:
    """2 x 2, a corner removed: (1 + 2) / 6 + 5 / 12 of a weight of 5 / 12."""
    image = np.array([[9.0, 1.0], [2.0, 5.0]], np.float32)[..., None]
    removed = np.array([[True, False], [False, False]])
    np.testing.assert_allclose(impute(image, removed)[0, 0, 0], (3 / 6 + 5 / 12) / (5 / 12), rtol=1e-6)


def test_slope_is_filled_in_where_it_is_steep_all_around() -> None:
    """A plane is its own mean of neighbours wherever they are all there: inside, nothing changes."""
    image = np.add.outer(2.0 * np.arange(6), 3.0 * np.arange(10)).astype(np.float32)[..., None]
    removed = np.zeros((6, 10), bool)
    removed[1:5, 1:9] = True
    np.testing.assert_allclose(impute(image, removed), image, rtol=1e-5)


def test_filled_pixels_lie_between_those_that_are_left() -> None:
    generator = np.random.default_rng(1)
    image, removed = generator.random((6, 10, 3), np.float32), generator.random((6, 10)) < 0.7
    filled, left = impute(image, removed), image[~removed]
    np.testing.assert_array_equal(filled[~removed], left)
    assert (filled >= left.min(axis=0) - 1e-6).all()
    assert (filled <= left.max(axis=0) + 1e-6).all()


def test_one_pixel_that_is_left_fills_all() -> None:
    removed = np.ones((6, 10), bool)
    removed[5, 0] = False
    image = np.random.default_rng(2).random((6, 10, 3), np.float32)
    np.testing.assert_allclose(impute(image, removed), np.broadcast_to(image[5, 0], image.shape), rtol=1e-4)


def test_nothing_removed_is_the_image() -> None:
    image = np.random.default_rng(2).random((6, 10, 3), np.float32)
    np.testing.assert_array_equal(impute(image, np.zeros((6, 10), bool), np.random.default_rng(0)), image)


def test_noise_is_a_hundredth_of_the_spread_of_the_image() -> None:
    """In any range: 0..255 has 255 times the noise of 0..1. 1500 values know it to 2 %."""
    image, removed = np.random.default_rng(3).random((30, 50, 1), np.float32), np.ones((30, 50), bool)
    removed[0] = False
    noises = []
    for factor in (1.0, 255.0):
        noisy = impute(factor * image, removed, np.random.default_rng(4)) - impute(factor * image, removed)
        np.testing.assert_array_equal(noisy[~removed], 0)
        noises.append(noisy[removed].std())
    np.testing.assert_allclose(noises[0], 0.01 * image.std(), rtol=0.08)
    np.testing.assert_allclose(noises[1], 255 * noises[0], rtol=1e-3)


def test_paths_remove_hot_and_cold_pixels() -> None:
    """Ten pixels of falling heat and a share of 0.3: the first three go, or the last three."""
    image = np.random.default_rng(5).normal(size=(2, 5, 3)).astype(np.float32)
    heatmap = np.arange(10, 0, -1.0).reshape(2, 5)
    hot, cold = road_paths(image, heatmap, (0.3,))
    np.testing.assert_array_equal((hot[0] != image).any(axis=-1), [[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]])
    np.testing.assert_array_equal((cold[0] != image).any(axis=-1), [[0, 0, 0, 0, 0], [0, 0, 1, 1, 1]])


def test_orders_of_a_map_are_those_of_its_opposite_exchanged() -> None:
    generator = np.random.default_rng(6)
    image, heatmap = generator.random((6, 10, 3), np.float32), generator.permutation(60).reshape(6, 10)
    hot, cold = road_paths(image, heatmap)
    assert hot.shape == cold.shape == (len(SHARES), 6, 10, 3)
    opposite_hot, opposite_cold = road_paths(image, -heatmap)
    np.testing.assert_allclose(opposite_hot, cold, atol=0.1)  # the noise is another
    np.testing.assert_allclose(opposite_cold, hot, atol=0.1)


def test_score_of_a_model_that_counts_one_bright_pixel() -> None:
    """One pixel 1, all others 0. A map that has it hottest removes it at once: all imputed images are black but for
    noise; removed last, it is there at every share. (1 - 0) / 2, and the opposite for the opposite map."""
    image = np.zeros((6, 10, 1), np.float32)
    image[2, 7] = 1.0
    predict = lambda images: images[:, 2, 7, 0]  # noqa: E731
    np.testing.assert_allclose(road_score(predict, image, image[..., 0]), 0.5, atol=0.005)
    np.testing.assert_allclose(road_score(predict, image, -image[..., 0]), -0.5, atol=0.005)


def test_score_depends_on_the_order_of_the_heatmap_and_on_the_seed_alone() -> None:
    generator = np.random.default_rng(0)
    image, heatmap = generator.random((6, 10, 3), np.float32), generator.random((6, 10))
    predict = lambda images: images[:, :3].mean(axis=(1, 2, 3))  # noqa: E731
    assert road_score(predict, image, heatmap) == road_score(predict, image, heatmap**3 * 10)
    assert road_score(predict, image, heatmap, seed=1) != road_score(predict, image, heatmap, seed=2)


def test_bad_arguments_are_refused() -> None:
    image = np.ones((6, 10, 3), np.float32)
    with pytest.raises(ValueError, match="one height and width"):
        road_paths(image, np.ones((10, 6)))
    for shares in ((), (0.0,), (0.5, 1.0)):
        with pytest.raises(ValueError, match="shares between 0 and 1"):
            road_paths(image, np.ones((6, 10)), shares)
    with pytest.raises(ValueError, match="at least one pixel that is left"):
        impute(image, np.ones((6, 10), bool))
    with pytest.raises(ValueError, match="as the image"):
        impute(image, np.ones((10, 6), bool))
