"""One unit of two sides: both by name, in Python and at the command line; the map of one is what lowers the other."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from tests.helpers.redblue import red_blue_photo, write_photo
from tests.helpers.redblue_tasks import BLUENESS, IMAGES, REDNESS, of_logit, of_pair, sigmoid
from tests.zoo import tasks
from tf_gradcam import Explainer
from tf_gradcam._cli.main import main
from tf_gradcam._rules.table import MethodName

SIDES = ["blue", "red"]


@pytest.mark.parametrize("build", [of_pair, of_logit])
def test_map_of_one_side_is_what_lowers_the_other(build: Callable[[], keras.Model]) -> None:
    explainer = Explainer(build(), class_names=SIDES)
    red, blue = explainer(IMAGES, "red"), explainer(IMAGES, "blue")
    assert (red.labels, blue.labels) == (["red"] * 3, ["blue"] * 3)
    np.testing.assert_array_equal(red.raw, -blue.raw)
    # By hand: the redness counts for red and the blueness against it, each in its own columns.
    assert (red.heatmaps[0, :, :4].min(), red.heatmaps[0, :, 4:].max()) == (1, 0)
    assert (blue.heatmaps[0, :, :4].max(), blue.heatmaps[0, :, 4:].min()) == (0, 1)
    chances = [sigmoid(10 * (one - other)) for one, other in zip(REDNESS, BLUENESS, strict=True)]
    np.testing.assert_allclose([red.probability(n) for n in range(3)], chances, rtol=1e-5)
    np.testing.assert_allclose([blue.probability(n) for n in range(3)], 1 - np.array(chances), rtol=1e-4)
    assert explainer(IMAGES).labels == ["red", "red", "blue"]
    both = explainer.class_maps(IMAGES)
    assert both.labels[0] == SIDES
    np.testing.assert_allclose(both.of_class(0).heatmaps, blue.heatmaps, atol=1e-6)


@pytest.mark.parametrize("method", ["gradcam", "xgradcam", "hirescam", "shapleycam", "cam", "ablationcam"])
def test_maps_of_the_two_sides_mirror_each_other(method: MethodName) -> None:
    explainer = Explainer(of_pair(), method=method, class_names=SIDES)
    red = explainer(IMAGES, "red").raw
    assert np.abs(red).max() > 0
    np.testing.assert_allclose(red, -explainer(IMAGES, "blue").raw, rtol=1e-6)


@pytest.mark.parametrize("method", ["eigencam", "eigengradcam", "fullgrad"])
def test_methods_without_a_sign_draw_both_sides_the_same(method: MethodName) -> None:
    explainer = Explainer(of_pair(), method=method, class_names=SIDES)
    red = explainer(IMAGES, "red").raw
    assert np.abs(red).max() > 0
    np.testing.assert_allclose(red, explainer(IMAGES, "blue").raw, rtol=1e-5)


def test_command_line_explains_either_side_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    of_logit().save("pair.keras")
    Path("names.txt").write_text("blue\nred\n")
    write_photo(tmp_path, "photo.png", red_blue_photo())
    chance = sigmoid(10 * (REDNESS[0] - BLUENESS[0]))
    for name, probability in (("red", chance), ("blue", 1 - chance)):
        words = ["explain", "photo.png", "--model", "pair.keras", "--class-names", "names.txt", "--target", name]
        done = CliRunner().invoke(main, [*words, "--out", name])
        assert done.exit_code == 0, done.output
        assert "with two sides" in done.stderr
        with open(f"{name}/manifest.csv", encoding="utf-8", newline="") as file:
            (row,) = csv.DictReader(file)
        assert (row["label"], row["task"]) == (name, "classification")
        assert float(row["probability"]) == pytest.approx(probability, rel=1e-4)
    hot = {name: np.load(f"{name}/photo.heatmap.npy") > 0.5 for name in SIDES}
    np.testing.assert_array_equal(hot["red"], ~hot["blue"])


@pytest.mark.slow
def test_trained_unit_finds_its_square_and_the_other_side_does_not() -> None:
    """The unit says whether a red square is there: hot on the square for yes, nowhere on it for no."""
    data = tasks.shapes(16, seed=4, there=(0, 1, 2))
    explainer = Explainer(tasks.binary(), class_names=["no square", "square"])
    images = data.images.astype(np.float32)
    yes, no = explainer(images, "square").resized(), explainer(images, "no square").resized()
    inside = data.masks == 1
    share = inside.mean()
    assert yes[inside].sum() / yes.sum() > 8 * share
    assert no[inside].sum() < 0.02 * max(no.sum(), 1)
