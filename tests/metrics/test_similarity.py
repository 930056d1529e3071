"""Similarity of heatmaps, against the definitions written the dull way."""

from __future__ import annotations

import numpy as np
import pytest

from tf_gradcam.metrics.similarity import rank_correlations, structural_similarities


def test_rank_correlation_by_hand() -> None:
    """Ranks 0 1 2 3 and 0 2 1 3: 1 - 6 * (1 + 1) / (4 * 15) = 0.8."""
    first, second = np.array([[[1.0, 2.0], [3.0, 4.0]]]), np.array([[[0.1, 5.0], [0.2, 9.0]]])
    np.testing.assert_allclose(rank_correlations(first, second), [0.8], rtol=1e-12)


def test_rank_correlation_of_ties_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 5, (2, 4, 6, 10)).astype(float)
    expected = [stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(rank_correlations(first, second), expected, rtol=1e-10)


def test_rank_correlation_sees_the_order_alone() -> None:
    maps = np.random.default_rng(1).random((3, 6, 10))
    np.testing.assert_allclose(rank_correlations(maps, np.exp(5 * maps)), 1.0, rtol=1e-12)
    np.testing.assert_allclose(rank_correlations(maps, -maps), -1.0, rtol=1e-12)


def test_even_map_has_no_order() -> None:
    maps = np.random.default_rng(1).random((2, 6, 10))
    maps[0] = 0.5
    assert np.isnan(rank_correlations(maps, maps)).tolist() == [True, False]


def structure_twin(a: np.ndarray, b: np.ndarray) -> float:
    """Window by window, over a map that is mirrored at its edges."""
    offsets = np.arange(-5, 6)
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    padded = [np.pad(one, 5, mode="symmetric") for one in (a, b)]
    values = []
    for y, x in np.ndindex(a.shape):
        p, q = (one[y : y + 11, x : x + 11] for one in padded)
        mean_p, mean_q = (window * p).sum(), (window * q).sum()
        variances = (window * (p - mean_p) ** 2).sum() + (window * (q - mean_q) ** 2).sum()
        covariance = (window * (p - mean_p) * (q - mean_q)).sum()
        light = (2 * mean_p * mean_q + 1e-4) / (mean_p**2 + mean_q**2 + 1e-4)
        values.append(light * (2 * covariance + 9e-4) / (variances + 9e-4))
    return float(np.mean(values))


def test_structural_similarity_agrees_with_its_twin() -> None:
    first, second = np.random.default_rng(2).random((2, 3, 12, 20))
    expected = [structure_twin(a, b) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(structural_similarities(first, second), expected, rtol=1e-9)


def test_structural_similarity_of_a_map_with_itself_is_one() -> None:
    maps = np.random.default_rng(3).random((2, 6, 10))  # smaller than the window
    np.testing.assert_allclose(structural_similarities(maps, maps), 1.0, rtol=1e-12)
    assert (structural_similarities(maps, 1 - maps) < 0).all()


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="two \\(N, H, W\\) arrays"):
        rank_correlations(np.ones((2, 6, 10)), np.ones((2, 10, 6)))
    with pytest.raises(ValueError, match="two \\(N, H, W\\) arrays"):
        structural_similarities(np.ones((6, 10)), np.ones((6, 10)))
