"""Segmentations of image files, by a trained U-Net on shapes whose places are known: Python and the command line."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tests.zoo.tasks import REGIONS, SIZE, Shapes, segmentation, shapes
from tf_gradcam import Explainer, Explanation
from tf_gradcam._cli.main import main
from tf_gradcam._errors import for_command_line
from tf_gradcam.metrics import energy_in_region, pointing_hit_in_region
from tf_gradcam.targets import Region

SCENES = 12
HEIGHT, WIDTH = 2 * SIZE[0], 2 * SIZE[1]  # of the photos


@cache
def scenes() -> Shapes:
    return shapes(SCENES, seed=7, there=(0, 1, 2))


def images() -> np.ndarray:
    return scenes().images.astype(np.float32)


def mean_energy(explanation: Explanation, region: np.ndarray) -> float:
    """Return the mean share of heat in a region of each image."""
    pairs = zip(explanation.resized(), region, strict=True)
    return float(np.mean([energy_in_region(heat, inside.astype(np.float64)) for heat, inside in pairs]))


# Localisation.


def test_the_model_segments_its_scenes() -> None:
    predicted = segmentation().predict(images(), verbose=0).argmax(-1)
    assert (predicted == scenes().masks).mean() > 0.97


@pytest.mark.parametrize("kind", [1, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (2, 3))])
def test_detail_at_a_pixel_of_a_shape_lies_in_the_shape(kind: int) -> None:
    """A pixel in the middle of a shape is explained by pixels of this shape, of about 3 % of the picture."""
    inside = scenes().masks == kind
    centres = [np.argwhere(each).mean(0) + 0.5 for each in inside]
    points = [(x / SIZE[1], y / SIZE[0]) for y, x in centres]
    explanation = Explainer(segmentation(), "decoder", "hirescam")(images(), Region(kind, point=points))
    heat = explanation.resized()
    assert (
        np.mean([pointing_hit_in_region(one, each.astype(float)) for one, each in zip(heat, inside, strict=True)]) == 1
    )
    assert mean_energy(explanation, inside) > 0.95


def test_context_covers_the_shape_and_detail_lies_in_it() -> None:
    """Of blue discs; this model tells red and green by its skip alone, see below."""
    inside = scenes().masks == 2
    context = Explainer(segmentation(), "bottleneck", "hirescam")(images(), 2)
    detail = Explainer(segmentation(), "decoder", "hirescam")(images(), 2)
    assert mean_energy(detail, inside) > 0.9
    assert mean_energy(context, inside) > 0.5  # on 4 % of the picture
    covered = [heat[each].mean() / heat.mean() for heat, each in zip(context.resized(), inside, strict=True)]
    assert min(covered) > 5


def test_blank_map_of_the_bottleneck_names_the_layer_for_detail() -> None:
    """The skip alone finds red squares, and the bottleneck speaks against them: the diagnosis says where to look."""
    blank = Explainer(segmentation(), "bottleneck")(images(), 1)
    assert not blank.heatmaps.any()
    text = blank.diagnosis[0]
    assert "every cell speaks against 'region of class 1'" in str(text)
    assert "choose the layer for detail (layer='decoder')" in str(text)
    assert "choose the layer for detail (--layer decoder)" in for_command_line(text)
    assert Explainer(segmentation(), "decoder")(images(), 1).heatmaps.any(axis=(1, 2)).all()


@pytest.mark.slow
def test_maps_of_the_softmax_are_those_of_its_logits() -> None:
    model = segmentation()
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    twin.get_layer("mask").activation = keras.activations.linear
    twin = keras.Model(twin.inputs, twin.get_layer("mask")(twin.get_layer("decoder").output))
    for layer in ("bottleneck", "decoder"):
        for target in (1, Region(2, "all"), Region(3, point=(0.4, 0.6))):
            maps = [Explainer(each, layer)(images(), target).raw for each in (model, twin)]
            np.testing.assert_allclose(maps[0], maps[1], rtol=1e-3, atol=1e-5)


# The command line.


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "unet.keras"
    segmentation().save(path)
    (path.parent / "names.txt").write_text("\n".join(REGIONS))
    return str(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with three photos of twice the size of the model's images, the last one larger still."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(3):
        times = 3 if number == 2 else 2
        photo = scenes().images[number].repeat(times, 0).repeat(times, 1)
        Image.fromarray(photo).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path


def run(model: str, *arguments: str) -> Any:
    names = str(Path(model).parent / "names.txt")
    line = ["explain", "photos", "--model", model, "--class-names", names, "--out", "maps", *arguments]
    return CliRunner().invoke(main, line)


def rows() -> list[dict[str, str]]:
    with open("maps/manifest.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_command_line_writes_the_mask_and_names_both_layers(folder: Path, model_file: str) -> None:
    result = run(model_file, "--target", "red square")
    assert result.exit_code == 0, result.output
    assert (
        "note: Layer 'bottleneck' is explained, the coarsest one, for context. For detail choose --layer decoder."
        in (result.stderr)
    )
    predicted = segmentation().predict(images()[:3], verbose=0).argmax(-1)
    for number, row in enumerate(rows()):
        times = 3 if number == 2 else 2
        assert (row["mask"], row["class"], row["label"]) == (f"{number}.mask.png", "1", "region of red square")
        assert (row["task"], row["layer"]) == ("segmentation", "bottleneck")
        mask = np.asarray(Image.open(f"maps/{number}.mask.png"))
        np.testing.assert_array_equal(mask, predicted[number].repeat(times, 0).repeat(times, 1))
        overlay = np.asarray(Image.open(f"maps/{number}.overlay.png"))
        assert overlay.shape == (*mask.shape, 3)
        edge = (mask == 1) & ~np.roll(mask == 1, 1, axis=0)
        assert (overlay[edge] == 255).all()
    share = (predicted[0] == 0).mean()
    assert f"  {share:.4f}  background" in result.stdout.splitlines()
    assert run(model_file, "--layer", "decoder", "--overwrite").exit_code == 0
    assert rows()[0]["layer"] == "decoder"


def test_pixel_of_the_photo_is_mapped_to_the_output(folder: Path, model_file: str) -> None:
    """The middle of the red square of the first photo, in its own pixels; in the third it is another cell."""
    y, x = (np.argwhere(scenes().masks[0] == 1).mean(0) * 2 + 1).astype(int)
    result = run(model_file, "--target", f"red square@{x},{y}", "--layer", "decoder", "--method", "hirescam")
    assert result.exit_code == 0, result.output
    assert [row["label"] for row in rows()] == [f"red square at {x}, {y}"] * 3
    explainer = Explainer(segmentation(), "decoder", "hirescam")
    for number, times in enumerate((2, 2, 3)):
        point = ((x + 0.5) / (SIZE[1] * times), (y + 0.5) / (SIZE[0] * times))
        expected = explainer(images()[number : number + 1], Region(1, point=point))
        written = np.load(f"maps/{number}.heatmap.npy")
        np.testing.assert_allclose(written, expected.heatmaps[0], atol=1e-4)
    heat = np.load("maps/0.heatmap.npy")
    assert energy_in_region(heat, (scenes().masks[0] == 1).astype(np.float64)) > 0.95


def test_pixel_without_a_class_is_the_class_there(folder: Path, model_file: str) -> None:
    y, x = (np.argwhere(scenes().masks[0] == 2).mean(0) * 2 + 1).astype(int)
    assert run(model_file, "--target", f"@{x},{y}").exit_code == 0
    predicted = segmentation().predict(images()[:3], verbose=0).argmax(-1)
    at = [predicted[number][y // times, x // times] for number, times in enumerate((2, 2, 3))]
    assert at[0] == 2
    assert [row["class"] for row in rows()] == [str(index) for index in at]


def test_pixel_outside_of_some_pictures_fails_these_and_a_share_does_not(folder: Path, model_file: str) -> None:
    result = run(model_file, "--target", f"red square@{WIDTH + 5},20")
    assert result.exit_code == 1
    message = (
        f"inside of the picture, which is {WIDTH} wide and {HEIGHT} high, received {WIDTH + 5},20. Choose x from 0 to "
        f"{WIDTH - 1} and y from 0 to {HEIGHT - 1}, or a point such as '30%,55%'."
    )
    assert [row["status"] for row in rows()] == ["failed", "failed", "done"]
    assert message in rows()[0]["error"]
    assert message in result.stderr
    assert run(model_file, "--target", "red square@30%,55%", "--overwrite").exit_code == 0  # as it says


def write_mask(path: Path, inside: np.ndarray, times: int = 2) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray((inside * 255).astype(np.uint8).repeat(times, 0).repeat(times, 1)).save(path)


def test_mask_file_counts_for_all_pictures_of_its_size(folder: Path, model_file: str) -> None:
    inside = np.zeros(SIZE, bool)
    inside[10:30, 20:50] = True
    write_mask(folder / "mask.png", inside)
    result = run(model_file, "--target", "blue disc@mask.png", "--layer", "decoder")
    assert result.exit_code == 1
    assert [row["status"] for row in rows()] == ["done", "done", "failed"]
    assert f"the picture's size, {3 * SIZE[1]} wide and {3 * SIZE[0]} high" in rows()[2]["error"]
    assert "Paint it on this picture, or give a folder of masks." in rows()[2]["error"]
    assert rows()[0]["label"] == "blue disc in mask.png"
    expected = Explainer(segmentation(), "decoder")(images()[:2], Region(2, inside)).heatmaps
    for number in range(2):
        np.testing.assert_allclose(np.load(f"maps/{number}.heatmap.npy"), expected[number], atol=1e-4)


def test_folder_of_masks_has_one_for_each_picture(folder: Path, model_file: str) -> None:
    for number in range(3):
        write_mask(folder / "masks" / f"{number}.png", scenes().masks[number] == 3, 3 if number == 2 else 2)
    result = run(model_file, "--target", "green bar@masks/", "--layer", "decoder", "--method", "hirescam")
    assert result.exit_code == 0, result.output
    for number in range(3):
        heat = np.load(f"maps/{number}.heatmap.npy")
        assert energy_in_region(heat, (scenes().masks[number] == 3).astype(np.float64)) > 0.95
    (folder / "masks" / "1.png").unlink()
    assert run(model_file, "--target", "green bar@masks", "--overwrite").exit_code == 1
    assert "has no mask '1.png' of this image" in rows()[1]["error"]
    assert [row["status"] for row in rows()] == ["done", "failed", "done"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("tree", "Unknown class 'tree'. Did you mean 'red square'"),
        ("9", "Expected an index below 4, its classes, of the segmentation (B, 48, 64, 4), received 9."),
        ("red square@nowhere.png", "No image file 'nowhere.png'"),
        ("red square@somewhere", "Expected 'everywhere', a pixel such as '120,80'"),
    ],
)
def test_target_that_cannot_be_is_refused_before_the_first_picture(
    folder: Path, model_file: str, target: str, message: str
) -> None:
    result = run(model_file, "--target", target)
    assert result.exit_code == 2
    assert message.split(" Did you")[0] in result.stderr
    assert not Path("maps").exists()


def test_class_that_is_not_in_a_picture_is_said_for_it_and_others_go_on(folder: Path, model_file: str) -> None:
    alone = shapes(1, seed=3, there=(2,))
    Image.fromarray(alone.images[0]).save(folder / "photos" / "3.png")
    result = run(model_file, "--target", "red square")
    assert result.exit_code == 0, result.output
    assert "--target 'red square@everywhere'" in result.stdout
    is_empty = ["its region is empty" in row["diagnosis"] for row in rows()]
    assert is_empty == [False, False, False, True]
    assert run(model_file, "--target", "red square@everywhere", "--overwrite").exit_code == 0


def test_several_classes_of_a_picture_have_a_map_each(folder: Path, model_file: str) -> None:
    """A list is explained in every picture; all are those of each picture, as scenes 0 to 2 have them."""
    (folder / "photos" / "0.png").unlink()
    Image.fromarray(shapes(1, seed=3, there=(2,)).images[0]).save(folder / "photos" / "0.png")
    assert run(model_file, "--target", "all", "--layer", "decoder").exit_code == 0
    of_picture = [[row["label"] for row in rows() if row["stem"] == stem] for stem in "012"]
    assert of_picture == [
        ["region of background", "region of green bar"],
        *[[f"region of {name}" for name in REGIONS]] * 2,
    ]
    assert {row["mask"] for row in rows()} == {"0.mask.png", "1.mask.png", "2.mask.png"}
    detail = Explainer(segmentation(), "decoder")
    for kind in range(4):
        written = np.load(f"maps/1.class-{kind}.heatmap.npy")
        np.testing.assert_allclose(written, detail(images()[1:2], kind).heatmaps[0], atol=1e-4)
    listed = run(model_file, "--target", "red square,green bar", "--layer", "decoder", "--overwrite")
    assert listed.exit_code == 0, listed.output
    assert [row["map"] for row in rows()] == ["class-1", "class-3"] * 3
    assert not Path("maps/1.class-2.heatmap.npy").exists()


def test_masks_of_others_are_not_overwritten(folder: Path, model_file: str) -> None:
    (folder / "maps").mkdir()
    (folder / "maps" / "1.mask.png").write_bytes(b"mine")
    result = run(model_file)
    assert result.exit_code == 2
    assert "'maps' holds '1.mask.png', which this run would replace" in result.stderr
    assert run(model_file, "--overwrite").exit_code == 0
    resumed = run(model_file, "--resume")
    assert "3 of 3 images are done already" in resumed.stdout
    (folder / "maps" / "1.mask.png").unlink()
    assert "2 of 3 images are done already" in run(model_file, "--resume").stdout
    Image.fromarray(scenes().images[0]).save(folder / "photos" / "0.mask.png")
    clash = CliRunner().invoke(main, ["explain", "photos", "--model", model_file, "--out", "photos"])
    assert clash.exit_code == 2
    assert "The mask of another image would overwrite the input" in clash.stderr


def test_written_masks_are_not_images_of_the_folder(folder: Path, model_file: str) -> None:
    line = ["explain", "photos", "--model", model_file, "--out", "photos"]
    assert CliRunner().invoke(main, line).exit_code == 0
    again = CliRunner().invoke(main, [*line, "--overwrite"])
    assert "3 of 3 images explained" in again.stdout
