"""What holds whatever is given: shapes, dtypes, batch sizes, targets, names and tables made up by Hypothesis."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="the extra test is not installed")

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tf_gradcam as tg
from tests.helpers.redblue import HEIGHT, WIDTH, red_blue_model
from tf_gradcam._files.class_names import ClassNames, class_indices, load_class_names
from tf_gradcam._files.find import output_stems
from tf_gradcam._files.manifest import COLUMNS, Manifest, Row
from tf_gradcam._models.preprocessing import ImageRangeWarning
from tf_gradcam.audit.sources import find_samples
from tf_gradcam.image.io import load_image, save_image
from tf_gradcam.image.overlay import colormap_colors, overlay_heatmap
from tf_gradcam.image.regions import boxes_of, hot_pixels
from tf_gradcam.image.resize import positive_share, resize_heatmaps, signed_share
from tf_gradcam.metrics.localisation import energy_in_box, sparsity

# The same examples at every run, and no deadline: the machine may be busy.
FAST = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SLOW = settings(FAST, max_examples=25)

NAMES = ["red", "blue"]
DTYPES = ("uint8", "int32", "int64", "float16", "float32", "float64", "bool")
SIDES = st.integers(1, 24)
UNIT = st.floats(0, 1, width=32, allow_subnormal=False)

pytestmark = pytest.mark.filterwarnings(f"ignore::{ImageRangeWarning.__module__}.{ImageRangeWarning.__qualname__}")


@pytest.fixture(scope="module")
def explainer() -> tg.Explainer:
    return tg.Explainer(red_blue_model(), class_names=NAMES)


@pytest.fixture(scope="module")
def free() -> tg.Explainer:
    """Of a model that leaves the size of its images free."""
    return tg.Explainer(red_blue_model(size=(None, None)), class_names=NAMES)


def images_of(batch: int, seed: int, dtype: str = "float32", size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 256, (batch, *size, 3))
    return values.astype(dtype)


def check_explanation(explanation: tg.Explanation, images: np.ndarray) -> None:
    """What every explanation holds to."""
    count, maps = len(images), explanation.heatmaps
    assert len(explanation) == count
    assert maps.shape == (count, *images.shape[1:3])
    assert maps.dtype == np.float32
    assert ((maps >= 0) & (maps <= 1)).all()
    for heatmap, diagnosis in zip(maps, explanation.diagnosis, strict=True):
        assert heatmap.max() == 1 or (not heatmap.any() and diagnosis)
    assert explanation.outputs.shape == (count, 2)
    np.testing.assert_allclose(explanation.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert explanation.labels == [NAMES[index] for index in explanation.class_indices]
    chosen = np.take_along_axis(explanation.outputs, explanation.class_indices[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(explanation.scores, chosen, rtol=1e-6)


CLASS = st.sampled_from([None, 0, 1, "red", "Blue", np.int64(1)])


@FAST
@given(st.integers(1, 7), st.integers(0, 999), st.sampled_from(DTYPES), st.data())
def test_explanation_of_any_batch(
    explainer: tg.Explainer, batch: int, seed: int, dtype: str, data: st.DataObject
) -> None:
    images = images_of(batch, seed, dtype)
    target = data.draw(st.one_of(CLASS, st.lists(CLASS, min_size=batch, max_size=batch)))
    explanation = explainer(images, target)
    check_explanation(explanation, images)
    wanted = class_indices(target, batch, ClassNames(NAMES))
    top = explanation.outputs.argmax(axis=1)
    np.testing.assert_array_equal(explanation.class_indices, np.where(wanted < 0, top, wanted))


@FAST
@given(st.integers(2, 7), st.integers(0, 999), st.data())
def test_image_does_not_know_its_neighbours(
    explainer: tg.Explainer, batch: int, seed: int, data: st.DataObject
) -> None:
    """Shuffled, taken apart and repeated, each image has its own map."""
    images = images_of(batch, seed)
    order = data.draw(st.lists(st.integers(0, batch - 1), min_size=1, max_size=8))
    together, picked = explainer(images), explainer(images[order])
    np.testing.assert_allclose(picked.heatmaps, together.heatmaps[order], atol=1e-6)
    np.testing.assert_array_equal(picked.class_indices, together.class_indices[order])


@SLOW
@given(SIDES, SIDES, st.integers(1, 3), st.integers(0, 999))
def test_images_of_any_size(free: tg.Explainer, height: int, width: int, batch: int, seed: int) -> None:
    images = images_of(batch, seed, size=(height, width))
    explanation = free(images)
    check_explanation(explanation, images)
    assert explanation.image_size == (height, width)
    assert explanation.resized().shape == (batch, height, width)
    assert free.trace_count == 1


@FAST
@given(st.integers(0, 999), st.floats(1e-4, 1.0))
def test_brightness_and_dtype_change_no_map(explainer: tg.Explainer, seed: int, factor: float) -> None:
    """The model is linear behind its relu, and has no bias."""
    images = images_of(2, seed)
    bright = explainer(images, 0)
    np.testing.assert_allclose(explainer(images * np.float32(factor), 0).heatmaps, bright.heatmaps, atol=1e-4)
    np.testing.assert_array_equal(explainer(images.astype("uint8"), 0).heatmaps, bright.heatmaps)


# Maps of numbers of every kind, also those that are no numbers.
ANY_MAPS = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 3), SIDES, SIDES), elements=st.floats(width=32, allow_subnormal=True)
)
HEATMAPS = hnp.arrays(np.float32, st.tuples(SIDES, SIDES), elements=UNIT)


@FAST
@given(ANY_MAPS)
def test_shares_of_any_numbers_are_shares(raw: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        positive, signed = positive_share(raw), signed_share(raw)
    assert ((positive >= 0) & (positive <= 1)).all()
    assert (np.abs(signed) <= 1).all()
    for shares in (positive, np.abs(signed)):
        assert np.isin(shares.max(axis=(1, 2)), (0, 1)).all()
    spoilt = ~np.isfinite(raw).all(axis=(1, 2))
    assert not positive[spoilt].any()
    assert not signed[spoilt].any()


@FAST
@given(HEATMAPS, SIDES, SIDES)
def test_resized_map_stays_in_range_and_mirrors(heatmap: np.ndarray, height: int, width: int) -> None:
    maps = heatmap[None]
    resized = resize_heatmaps(maps, (height, width))
    assert resized.shape == (1, height, width)
    assert heatmap.min() <= resized.min() <= resized.max() <= heatmap.max()
    np.testing.assert_array_equal(resize_heatmaps(maps[:, ::-1, ::-1], (height, width)), resized[:, ::-1, ::-1])
    np.testing.assert_array_equal(resize_heatmaps(maps, heatmap.shape), maps)


@FAST
@given(HEATMAPS, st.integers(0, 999), SIDES, SIDES, UNIT, st.sampled_from(["jet", "viridis", "Reds"]))
def test_overlay_lies_between_the_photo_and_the_colours(
    heatmap: np.ndarray, seed: int, height: int, width: int, alpha: float, colormap: str
) -> None:
    photo = images_of(1, seed, "uint8", (height, width))[0]
    overlay = overlay_heatmap(photo, heatmap, alpha, colormap)
    heat = resize_heatmaps(heatmap[None], (height, width))[0]
    colours = colormap_colors(colormap)[np.rint(heat * 255).astype(int)]
    low, high = np.minimum(photo, colours), np.maximum(photo, colours)
    assert overlay.dtype == np.uint8
    assert ((overlay >= low) & (overlay <= high)).all()
    np.testing.assert_array_equal(overlay_heatmap(photo, heatmap, 0, colormap), photo)
    np.testing.assert_array_equal(overlay_heatmap(photo, heatmap, 1, colormap), colours)


@FAST
@given(HEATMAPS, st.one_of(st.floats(0.01, 1), st.just("otsu"), st.integers(0, 100).map("p{}".format)))
def test_boxes_hold_every_hot_pixel(heatmap: np.ndarray, threshold: Any) -> None:
    hot = hot_pixels(heatmap, threshold)
    assert not (hot & (heatmap == 0)).any()
    covered = np.zeros_like(hot)
    for box in boxes_of(heatmap, threshold):
        assert 0 <= box.xmin < box.xmax <= heatmap.shape[1]
        assert 0 <= box.ymin < box.ymax <= heatmap.shape[0]
        covered[box.ymin : box.ymax, box.xmin : box.xmax] = True
    assert not (hot & ~covered).any()


@FAST
@given(HEATMAPS)
def test_metrics_are_in_range(heatmap: np.ndarray) -> None:
    height, width = heatmap.shape
    energy, gini = energy_in_box(heatmap, (0, 0, width, height)), sparsity(heatmap)
    if heatmap.any():
        assert energy == pytest.approx(1)
        assert -1e-9 <= gini < 1
    else:
        assert np.isnan(energy)
        assert np.isnan(gini)


@SLOW
@given(st.integers(0, 999), SIDES, SIDES, st.sampled_from([".png", ".webp", ".bmp", ".tif"]))
def test_picture_comes_back_from_its_file(seed: int, height: int, width: int, suffix: str) -> None:
    photo = images_of(1, seed, "uint8", (height, width))[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"photo{suffix}")
        save_image(path, photo)
        np.testing.assert_array_equal(load_image(path), photo)
        assert load_image(path, (7, 5)).shape == (7, 5, 3)


# Text as it occurs in names: any script, control characters, half surrogates, and what spreadsheets run.
TEXT = st.text(st.characters(), max_size=12)
UNICODE = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
FILES = st.text("ab,\"' \n.é", min_size=1, max_size=6)
ARMED = st.builds(str.__add__, st.sampled_from(["=", "+", "-", "@", "\t", "\r", ""]), TEXT)


@FAST
@given(st.lists(st.builds(Row, ARMED, st.sampled_from(["done", "failed"]), ARMED, ARMED, ARMED, ARMED), max_size=5))
def test_manifest_keeps_every_row_and_runs_none(rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "manifest.csv")
        with Manifest(path) as manifest:
            for row in rows:
                manifest.add(row)
        text = path.read_bytes().decode()
    found = list(csv.reader(io.StringIO(text, newline="")))[1:]
    assert len(found) == len(rows)
    for cells in found:
        assert len(cells) == len(COLUMNS)
        for cell in cells:
            if cell.startswith(("=", "+", "-", "@", "\t", "\r")):
                float(cell)  # a number is no formula


@FAST
@given(st.lists(st.builds(Path, st.text("aAbB-2._", min_size=1, max_size=4).filter(lambda s: s.strip(".")))))
def test_stems_are_all_different(paths: list[Path]) -> None:
    stems = output_stems(paths)
    assert len({stem.casefold() for stem in stems}) == len(paths)
    for path, stem in zip(paths, stems, strict=True):
        assert stem.startswith(path.stem)


@FAST
@given(st.lists(UNICODE.filter(str.strip), min_size=1, max_size=6))
def test_class_names_come_back_from_json(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "names.json")
        for content in (names, {str(index): name for index, name in enumerate(names)}):
            path.write_text(json.dumps(content), encoding="utf-8")
            assert load_class_names(path) == [name.strip() for name in names]


@FAST
@given(st.lists(st.tuples(FILES, st.sampled_from(["x", "Y", "z 1", ""])), min_size=1, unique_by=lambda row: row[0]))
def test_table_gives_each_file_its_label(rows: list[tuple[str, str]]) -> None:
    assume(any(label for _, label in rows))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data.csv")
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("file", "label"), *rows])
        samples = find_samples(path)
    assert samples.files == [str(Path(folder) / file) for file, _ in rows]
    assert samples.class_names == sorted({label for _, label in rows if label})
    told = ["" if label < 0 else samples.class_names[label] for label in samples.labels]
    assert told == [label for _, label in rows]
