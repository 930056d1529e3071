"""Similarity of the evidence of two models, and the similarities that chance alone gives.

Axis legend: N images, J null maps of an image, H x W cells, H0 x W0 pixels, C channels.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_gradcam._explain.explainer import Explainer
from tf_gradcam._explain.fusion import ExplainerLike, check_explainer
from tf_gradcam._models.open_model import open_model
from tf_gradcam.image.resize import sample_maps
from tf_gradcam.metrics.similarity import rank_correlations

if TYPE_CHECKING:
    import keras

    from tf_gradcam._models.reader import Images
    from tf_gradcam._results.explanation import Explanation

LEVEL = 0.05  # of the test of one image
_DIGITS = 3  # of a map in [0, 1]: cells that differ by rounding alone have one rank
_SHIFT = 0.04  # of a side, the farthest that a changed copy is shifted
_NOISE = 0.02  # standard deviation, relative to the image's range of values
_NAMED = 5  # images in a message


def similarities(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the rank correlation (N,) of maps (N, H, W) in [0, 1]; NaN where one of them is blank, or even.

    Ranks, as in the audit's sanity checks: unrelated maps have 0 whatever their scale, while the structural similarity
    stays high where both maps are cold.
    """
    return rank_correlations(np.round(first, _DIGITS), np.round(second, _DIGITS))


def are_even(maps: np.ndarray) -> np.ndarray:
    """Return (N,) bool: the map (N, H, W) shows no place before another, and so has no similarity."""
    return np.ptp(np.round(maps, _DIGITS), axis=(1, 2)) == 0


def changed_copies(images: np.ndarray, number: int, seed: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Return images (N, H0, W0, C) that are shifted a little, with noise, and the shift (down, right) in pixels.

    Not mirrored: of letters, or of organs, a mirrored picture is another one. The copy of an image does not depend on
    the others of its batch.
    """
    draw = np.random.default_rng([seed, number])
    sides = images.shape[1:3]
    down, right = (int(draw.integers(-reach, reach + 1)) for reach in (max(1, round(_SHIFT * side)) for side in sides))
    rows, columns = (np.clip(np.arange(side) - by, 0, side - 1) for side, by in zip(sides, (down, right), strict=True))
    values = images[:, rows][:, :, columns].astype(np.float32)
    low, high = (function(values, axis=(1, 2, 3), keepdims=True) for function in (np.min, np.max))
    noisy = values + _NOISE * (high - low) * draw.standard_normal(images.shape[1:], np.float32)
    noisy = np.clip(noisy, low, high)
    return (np.rint(noisy) if images.dtype.kind in "iu" else noisy).astype(images.dtype), (down, right)


def shifted_back(maps: np.ndarray, shift: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Return maps (N, H, W) of shifted images at the places of the images, of `size` (H0, W0)."""
    positions = [
        np.arange(cells) + by * cells / side for cells, by, side in zip(maps.shape[1:], shift, size, strict=True)
    ]
    return sample_maps(maps, positions)


def p_values(similarity: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Return the share of null similarities that are as low, each image's own counted among them.

    Of 19 or more null maps an image is compared with its own, else with the null maps of all images together: fewer
    cannot be below 5 %.

    Args:
        similarity: (N,), NaN where unknown.
        null: (N, J); NaN, of a blank copy, counts as the lowest.

    Returns:
        (N,) in (0, 1], NaN where unknown.

    Source: Phipson & Smyth 2010, https://doi.org/10.2202/1544-6115.1585, (b + 1) / (m + 1). Deviation: none.
    """
    known = ~np.isnan(similarity)
    drawn = np.nan_to_num(null, nan=-1.0) - 1e-6  # equal but for rounding is equal
    if (1 + null.shape[1]) * LEVEL >= 1:
        found = (1 + (drawn <= similarity[:, None]).sum(axis=1)) / (1 + null.shape[1])
    else:
        pooled = np.sort(drawn[known], axis=None)
        found = (1 + np.searchsorted(pooled, np.nan_to_num(similarity), side="right")) / (1 + len(pooled))
    return np.where(known, found, np.nan)


def assert_same_evidence(
    old: keras.Model | str | os.PathLike[str] | ExplainerLike,
    new: keras.Model | str | os.PathLike[str] | ExplainerLike,
    images: Images,
    at_least: float = 0.8,
) -> None:
    """Assert that two models look at the same places of each image, as a test of a new checkpoint.

        def test_new_checkpoint_looks_where_the_old_one_looked():
            assert_same_evidence("old.keras", "new.keras", images)

    The maps of both models are of the class that the old one predicts, and are compared by their rank correlation: 1
    is the same order of cells, 0 no relation. Images whose maps are blank in both models are left out.

    Args:
        old: a model, its file, or an explainer, which chooses layer and method: `Explainer(model, layer, method)`.
        new: another.
        images: as both models take them, (B, H0, W0, C); a list or dict for models of several inputs.
        at_least: lowest rank correlation of an image, from -1 to 1. Defaults to 0.8.

    Returns:
        None.

    Raises:
        AssertionError: an image is below `at_least`, or its map is blank in one of the models; the message names the
            worst images with their numbers.
        TypeError, ValueError: as `Explainer`; `at_least` outside [-1, 1]; models with different numbers of outputs;
            every map is blank in both models.
    """
    if not -1 <= at_least <= 1:
        raise ValueError(f"Expected at_least as a rank correlation from -1 to 1, received {at_least!r}.")
    before = _explainer(old)(images)
    indices = before.class_indices
    after = _explainer(new)(images, indices if (indices >= 0).all() else None)
    if before.outputs.shape != after.outputs.shape:
        raise ValueError(
            f"Expected models with the same outputs, received {before.outputs.shape} and {after.outputs.shape}. "
            "Compare models of the same classes."
        )
    size = tuple(map(max, before.heatmaps.shape[1:], after.heatmaps.shape[1:]))
    first, second = (_maps(explanation, size) for explanation in (before, after))
    found = similarities(first, second)
    blank_old, blank_new = are_even(first), are_even(second)
    if (blank_old & blank_new).all():
        raise ValueError(
            "Expected maps that show something, received blank ones of every image in both models. Choose another "
            "layer or method: assert_same_evidence(Explainer(old, layer), Explainer(new, layer), images)."
        )
    failing = np.flatnonzero((blank_old ^ blank_new) | (found < at_least))
    if len(failing):
        worst = sorted(failing.tolist(), key=lambda row: np.nan_to_num(found[row], nan=-2.0))[:_NAMED]
        lines = [f"image {row} ({before.labels[row]}): {_in_words(found[row], blank_old[row])}" for row in worst]
        more = f", the worst {_NAMED} of which are" if len(failing) > _NAMED else ""
        raise AssertionError(
            f"Expected maps with a rank correlation of at least {at_least:g}, received less for {len(failing)} of "
            f"{len(found)} images{more}: {'; '.join(lines)}."
        )


def _in_words(similarity: float, is_blank_before: bool) -> str:
    blank = f"the map of the {'old' if is_blank_before else 'new'} model is blank"
    return blank if np.isnan(similarity) else f"{similarity:.3f}"


def _explainer(model: Any) -> ExplainerLike:
    import keras

    if isinstance(model, (str, os.PathLike)):
        opened = open_model(model)
        return Explainer(opened.reader, class_names=opened.class_names)
    if isinstance(model, keras.Model):
        return Explainer(model)
    check_explainer(model)
    return model


def _maps(explanation: Explanation, size: tuple[int, ...]) -> np.ndarray:
    """Return maps (N, H, W) at a common size."""
    if explanation.heatmaps.ndim != 3:
        raise ValueError(f"Expected maps (B, H, W) of pictures, received {explanation.heatmaps.shape}.")
    return explanation.resized(size)
