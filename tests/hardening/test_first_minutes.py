"""What is typed wrong in the first minutes is answered with the way on."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from tf_gradcam import Explainer, compare, get_img_array, plot_layers
from tf_gradcam._cli.main import main
from tf_gradcam._errors import for_command_line
from tf_gradcam._files.class_names import load_class_names
from tf_gradcam._models.loading import load_network
from tf_gradcam._models.preprocessing import Preprocessing, range_warning
from tf_gradcam.audit.run import names_of_outputs

IMAGES = np.linspace(0, 1, 180, dtype=np.float32).reshape(1, 6, 10, 3)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6, 10, 3)),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )


@pytest.fixture(scope="module")
def explainer(model: keras.Model) -> Explainer:
    return Explainer(model)


class Picture:
    """As Pillow's images: an array by `__array__`, of a module called PIL.something."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return (IMAGES[0] * 255).astype(np.uint8)


Picture.__module__ = "PIL.Image"


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (["a.jpg", "b.jpg"], TypeError, r"'a\.jpg' and 1 more: read them with np\.concatenate\("),
        (Picture(), TypeError, r"the picture Picture: np\.asarray\(.*\)\[None\] is a batch of one"),
        (
            IMAGES[0, ..., 0],
            ValueError,
            r"received \(6, 10\): .* np\.repeat\(images\[None, \.\.\., None\], 3, axis=-1\)",
        ),
        (IMAGES[..., 0], ValueError, r"received \(1, 6, 10\): .* np\.repeat\(images\[\.\.\., None\], 3, axis=-1\)"),
        ((IMAGES, np.array([1])), ValueError, r"of \(images, labels\) pass the images alone, batch\[0\]"),
        (
            (image for image in IMAGES),
            TypeError,
            r"received the iterator generator: explain a batch of it at a time, for example next\(batches\)",
        ),
    ],
    ids=["paths", "picture", "grey", "grey batch", "labelled batch", "generator"],
)
def test_images_are_told_the_way_to_an_array(
    explainer: Explainer, images: object, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        explainer(images)


def test_remedy_for_grey_pictures_works(explainer: Explainer) -> None:
    assert len(explainer(np.repeat(IMAGES[0, ..., 0][None, ..., None], 3, axis=-1))) == 1


@pytest.mark.parametrize("draw", [compare, plot_layers])
def test_figures_of_a_path_say_how_to_read_it(draw: object, model: keras.Model) -> None:
    with pytest.raises(TypeError, match=r"Expected the image as an array.* get_img_array\('dog\.jpg'"):
        draw(model, "dog.jpg")  # type: ignore[operator]


def test_photo_of_pillow_is_told_the_way_to_an_array(explainer: Explainer) -> None:
    with pytest.raises(TypeError, match=r"received Picture\. Pass np\.asarray\(picture\)\[None\]"):
        explainer(IMAGES).plot(Picture())


@pytest.mark.parametrize("target", [np.eye(3)[1], np.full((1, 3), 1 / 3)], ids=["one-hot", "predictions"])
def test_scores_as_target_are_told_their_classes(explainer: Explainer, target: np.ndarray) -> None:
    with pytest.raises(TypeError, match=r"target\.argmax\(-1\) are their classes, None is each image's top class"):
        explainer(IMAGES, target)


def test_tensor_as_layer_is_told_its_layer(model: keras.Model) -> None:
    with pytest.raises(TypeError, match=r"received KerasTensor\. Pass the layer of a tensor: model\.get_layer"):
        Explainer(model, model.get_layer("conv").output)


def test_method_as_layer_is_told_its_argument(model: keras.Model) -> None:
    with pytest.raises(ValueError, match=r"Unknown layer 'layercam'\. It is a method: pass method='layercam'"):
        Explainer(model, "layercam")


def test_class_names_turned_around_are_told_so(model: keras.Model) -> None:
    with pytest.raises(TypeError, match=r"Turn it around: \{index: name for name, index in class_names\.items\(\)\}"):
        Explainer(model, class_names={"cat": 0, "dog": 1, "fox": 2})  # type: ignore[dict-item]


def test_file_of_class_names_is_told_how_to_read_it(model: keras.Model) -> None:
    with pytest.raises(TypeError, match=r"received str\. From a file: open\(path\)\.read\(\)\.splitlines\(\)"):
        Explainer(model, class_names="names.txt")


def test_interpreter_of_tensorflow_lite_is_told_why(model: keras.Model) -> None:
    interpreter = type("Interpreter", (), {})()
    with pytest.raises(TypeError, match=r"TensorFlow Lite holds operations, not layers.* load the \.keras"):
        Explainer(interpreter)


def test_comparison_shows_itself_in_a_notebook(model: keras.Model) -> None:
    comparison = compare(model, IMAGES, ["gradcam", "layercam"])
    assert comparison._repr_html_().startswith("<img alt=")
    assert repr(comparison) == "Comparison(['gradcam', 'layercam'])"


@pytest.mark.parametrize(
    ("mode", "scale"),
    [("tf", lambda pixels: pixels / 127.5 - 1), ("unit", lambda pixels: pixels / 255)],
    ids=["tf", "unit"],
)
def test_images_scaled_twice_are_told_of(mode: str, scale: object) -> None:
    pixels = np.linspace(0, 255, 180).reshape(1, 6, 10, 3)
    wanted = Preprocessing(None, mode)
    once = scale(pixels)  # type: ignore[operator]
    assert range_warning(once, wanted) is None
    assert "once: were they scaled twice?" in (range_warning(scale(once), wanted) or "")  # type: ignore[operator]


def test_missing_picture_is_told_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "beagle.jpg").touch()
    with pytest.raises(FileNotFoundError, match=r"Did you mean '.*beagle\.jpg'\?"):
        get_img_array(tmp_path / "begle.jpg", (6, 10))
    with pytest.raises(FileNotFoundError, match=r"Did you mean '.*beagle\.jpg'\?"):
        get_img_array(tmp_path / "beagle", (6, 10))


def test_address_of_a_picture_is_told_to_be_downloaded() -> None:
    with pytest.raises(FileNotFoundError, match=r"received the address .*\. Download it first"):
        get_img_array("https://example.org/dog.jpg", (6, 10))


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"GIF89a", "looks like a GIF, convert it to PNG"), (b"\0\0\0\x18ftypheic", "HEIC .*, convert it to JPEG or PNG")],
)
def test_picture_of_another_format_is_told_to_be_converted(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "phone.jpg"
    path.write_bytes(data + bytes(100))
    with pytest.raises(ValueError, match=words):
        get_img_array(path, (6, 10))


def test_missing_class_names_are_told_their_form_and_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "names.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"one name a line\. Did you mean '.*names\.txt'\?"):
        load_class_names(tmp_path / "name.txt")


def test_model_file_without_its_suffix_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "best.keras").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no model file 'best'\. Did you mean 'best\.keras'\?"):
        load_network("best")


def test_model_file_of_another_kind_is_told_what_to_do(tmp_path: Path) -> None:
    lite, renamed = tmp_path / "model.tflite", tmp_path / "best.model"
    lite.write_bytes(b"\x1c\0\0\0TFL3" + bytes(20))
    with zipfile.ZipFile(renamed, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ValueError, match=r"TensorFlow Lite .* saved by model\.save\('name\.keras'\)"):
        load_network(str(lite))
    with pytest.raises(ValueError, match=r"copy or save it again; else build the network"):
        load_network(str(renamed))


@pytest.mark.parametrize("command", [["app", "best.keras"], ["explain", "dog.jpg", "best.keras", "--out", "maps"]])
def test_model_without_its_option_is_told_the_option(command: list[str]) -> None:
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "Give a model with --model best.keras. See `" in result.stderr


def test_suggestion_of_an_option_ends_in_one_mark() -> None:
    result = CliRunner().invoke(main, ["explain", "dog.jpg", "--outfile", "maps"])
    assert "Did you mean '--out'? See `" in result.stderr


@pytest.mark.parametrize(
    ("options", "python", "command"),
    [
        ({"layer": "layercam"}, "pass method='layercam'.", "pass --method layercam."),
        ({"layer": "cnv"}, "list_layers(model) shows all.", "`tf-gradcam layers MODEL` shows all."),
        ({"layer": "conv", "method": "fullgrad"}, "align and token_grid out.", "leave --layer and --align out."),
    ],
)
def test_remedy_is_spelled_for_python_and_for_the_command_line(
    model: keras.Model, options: dict[str, str], python: str, command: str
) -> None:
    with pytest.raises(ValueError) as caught:
        Explainer(model, **options)
    assert str(caught.value).endswith(python)
    assert for_command_line(caught.value).endswith(command)


def test_audit_of_fewer_folders_than_classes_names_the_option() -> None:
    mapper = SimpleNamespace(has_names=False, class_names=["0", "1", "2"])
    with pytest.raises(ValueError, match=r"Give names in class order by class_names\.$") as caught:
        names_of_outputs(mapper, SimpleNamespace(class_names=["cat", "dog"]))  # type: ignore[arg-type]
    assert for_command_line(caught.value).endswith("by --class-names.")
