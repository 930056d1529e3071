"""The drop-in functions: both published call styles, the published numbers, and what is kept between calls."""

from __future__ import annotations

import gc
import sys
import types
import weakref
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image

from tests.helpers.slow import first
from tests.zoo.styles import CLASSES, conv, named_tail, photos, plain_model, plain_sequential, randomise, small_net
from tf_gradcam import Explainer, get_img_array, make_gradcam_heatmap, overlay_heatmap, save_and_display_gradcam
from tf_gradcam._explain import drop_in as gradcam_module

pytestmark = pytest.mark.core
IMAGE = photos(1)


def keras_io_heatmap(
    img_array: np.ndarray, model: keras.Model, last_conv_layer_name: str, pred_index: int | None = None
) -> np.ndarray:
    """The recipe of keras.io/examples/vision/grad_cam, on a clone whose last activation is removed.

    The model is the caller's own there, and is left without its softmax.
    """
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    clone.layers[-1].activation = None
    outputs = [clone.get_layer(last_conv_layer_name).output, clone.layers[-1].output]
    grad_model = keras.models.Model(clone.inputs[0], outputs)
    with tf.GradientTape() as tape:
        last_conv_layer_output, preds = grad_model(img_array)
        if pred_index is None:
            pred_index = tf.argmax(preds[0])
        class_channel = preds[:, pred_index]
    grads = tape.gradient(class_channel, last_conv_layer_output)
    pooled_grads = tf.reduce_mean(grads, axis=(0, 1, 2))
    heatmap = tf.squeeze(last_conv_layer_output[0] @ pooled_grads[..., tf.newaxis])
    return (tf.maximum(heatmap, 0) / tf.math.reduce_max(heatmap)).numpy()


def parity_model() -> keras.Model:
    """Every class has a map that is not blank: where it is, the recipe divides zero by a negative maximum."""
    model = plain_model()
    head = model.get_layer("head")
    kernel, bias = head.get_weights()
    head.set_weights([np.abs(kernel), bias])
    return model


@pytest.mark.parametrize("layer", first(1, ["conv3", "conv1", "conv2"]))
@pytest.mark.parametrize("pred_index", [None, *range(CLASSES)])
def test_parity_with_the_keras_io_recipe(layer: str, pred_index: int | None) -> None:
    model = parity_model()
    expected = keras_io_heatmap(IMAGE, model, layer, pred_index)
    received = make_gradcam_heatmap(IMAGE, model, layer, pred_index=pred_index)
    assert np.isfinite(expected).all()
    assert received.dtype == np.float32
    np.testing.assert_allclose(received, np.maximum(expected, 0), rtol=1e-4, atol=1e-5)


def test_named_tail_call_style() -> None:
    """As the first published recipe is called, all by position."""
    model, layer, _ = named_tail()
    names = ["pool5", "flatten", "fc1", "predictions"]
    heatmap = make_gradcam_heatmap(IMAGE, model, layer, names)
    np.testing.assert_allclose(heatmap, make_gradcam_heatmap(IMAGE, model, layer), rtol=1e-4, atol=1e-6)
    assert heatmap.shape == (6, 10)


def test_layer_is_chosen_where_none_is_named() -> None:
    model = parity_model()
    np.testing.assert_array_equal(make_gradcam_heatmap(IMAGE, model), make_gradcam_heatmap(IMAGE, model, "conv3"))


def test_method_by_name_and_by_function() -> None:
    model = parity_model()
    hirescam = make_gradcam_heatmap(IMAGE, model, "conv2", method="hirescam")
    own = make_gradcam_heatmap(IMAGE, model, "conv2", method=lambda activations, gradients: gradients)
    np.testing.assert_allclose(own, hirescam, rtol=1e-5)
    assert np.abs(hirescam - make_gradcam_heatmap(IMAGE, model, "conv2")).max() > 1e-3


@pytest.mark.parametrize(
    "pred_index",
    [2, np.int64(2), np.array(2), np.array([2]), tf.constant(2), tf.constant([2], tf.int64), [2], lambda y: y[:, 2]],
    ids=["int", "numpy", "array", "array_1", "tensor", "tensor_1", "list", "callable"],
)
def test_pred_index_of_any_kind(pred_index: Any) -> None:
    model = parity_model()
    expected = make_gradcam_heatmap(IMAGE, model, pred_index=2)
    np.testing.assert_allclose(make_gradcam_heatmap(IMAGE, model, pred_index=pred_index), expected, rtol=1e-5)


def test_blank_map_is_zero_and_not_nan() -> None:
    model = parity_model()
    head = model.get_layer("head")
    kernel, bias = head.get_weights()
    head.set_weights([-kernel, bias])
    np.testing.assert_array_equal(make_gradcam_heatmap(IMAGE, model, pred_index=0), np.zeros((6, 10)))


def test_model_keeps_its_softmax() -> None:
    model = parity_model()
    before = model.predict(IMAGE, verbose=0)
    make_gradcam_heatmap(IMAGE, model)
    np.testing.assert_array_equal(model.predict(IMAGE, verbose=0), before)
    assert model.layers[-1].activation is keras.activations.softmax


# What is refused.


def test_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one image, \(1, H0, W0, 3\), received 2: use Explainer\(model\)\(images\)"):
        make_gradcam_heatmap(photos(2), parity_model())


def test_image_without_batch_axis_is_refused() -> None:
    with pytest.raises(ValueError, match=r"images\[None\]"):
        make_gradcam_heatmap(IMAGE[0], parity_model())


def test_class_in_place_of_the_tail_is_told_its_name() -> None:
    """keras.io's function has `pred_index` in the fourth place."""
    with pytest.raises(TypeError, match=r"a list of layer names, received 260\. For the class, pass pred_index=260"):
        make_gradcam_heatmap(IMAGE, parity_model(), "conv3", 260)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("conv4",), ValueError, "Unknown layer 'conv4'. Did you mean"),
        (({"conv3"},), TypeError, "`layer` as a name, path, index, layer object or None, received set"),
        (("conv3", "head"), ValueError, "classifier_layers as a list of layer names, received 'head'"),
        (("conv3", ["head"]), ValueError, "Missing from the list"),
        ((None, None, 4), ValueError, "class index below 4"),
        ((None, None, "cat"), ValueError, "no names are known"),
        ((None, None, np.array([1, 2])), ValueError, "one target per image, 1 in all, received 2"),
        ((None, None, True), TypeError, "Expected target as None, a class index"),
    ],
    ids=["layer", "layer_list", "tail_name", "tail_short", "class", "class_name", "classes", "bool"],
)
def test_explainers_words_are_passed_on(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        make_gradcam_heatmap(IMAGE, parity_model(), *arguments)
    assert message in str(caught.value)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Expected a Keras 3 model, received builtins\.str\. Load it first"):
        make_gradcam_heatmap(IMAGE, "model.keras")


def test_index_and_bool_are_told_apart_after_one_of_them_was_given() -> None:
    """1 == True, also to a dictionary."""
    model = parity_model()
    make_gradcam_heatmap(IMAGE, model, 1)
    with pytest.raises(TypeError, match="received bool"):
        make_gradcam_heatmap(IMAGE, model, True)


def test_range_warning_points_at_the_callers_line() -> None:
    model = keras.Sequential(
        [
            keras.Input((6, 10, 3)),
            layers.Rescaling(1 / 127.5, -1.0),
            conv("conv"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    with pytest.warns(UserWarning, match=r"expects RGB in 0\.\.255") as caught:
        make_gradcam_heatmap(IMAGE[:, :6, :10], model)
    assert [warning.filename for warning in caught] == [__file__]


# What is kept between calls.


def count_explainers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Explainers that the drop-in function makes from now on."""
    made: list[Any] = []

    class Counted(Explainer):
        def __init__(self, *arguments: Any, **options: Any):
            super().__init__(*arguments, **options)
            made.append(weakref.ref(self))

    monkeypatch.setattr(gradcam_module, "Explainer", Counted)
    return made


@pytest.mark.slow
def test_thousand_calls_share_one_explainer_and_one_trace_and_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects are counted after the tenth and after the last call: what a call leaves would be there 990 times."""
    made = count_explainers(monkeypatch)
    model = parity_model()
    counts = []
    for number in range(1000):
        index = (None, number % CLASSES, np.int64(number % CLASSES), tf.constant(number % CLASSES))[number % 4]
        make_gradcam_heatmap(photos(1, seed=number % 7), model, "conv3", pred_index=index)
        if number in (9, 999):
            del index
            gc.collect()
            counts.append(len(gc.get_objects()))
    assert len(made) == 1
    assert made[0]().trace_count == 1
    assert counts[1] - counts[0] < 100


def test_other_arguments_have_an_explainer_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made = count_explainers(monkeypatch)
    model = parity_model()
    calls = [("conv3",), ("conv2",), ("conv2", ["conv3", "pool", "head"]), (model.get_layer("conv2"),), (1,)]
    for _ in range(2):
        for arguments in calls:
            make_gradcam_heatmap(IMAGE, model, *arguments)
        make_gradcam_heatmap(IMAGE, model, "conv3", method="hirescam")
    assert len(made) == len(calls) + 1


def test_new_functions_as_methods_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradcam_module, "_KEPT_EXPLAINERS", 3)
    made = count_explainers(monkeypatch)
    model = parity_model()
    for _ in range(6):
        make_gradcam_heatmap(IMAGE, model, method=lambda activations, gradients: gradients)
    gc.collect()
    assert len(made) == 6
    assert sum(reference() is not None for reference in made) <= 3


def test_changed_weights_are_followed() -> None:
    model = parity_model()
    before = make_gradcam_heatmap(IMAGE, model, "conv2")
    model.set_weights([weight[..., ::-1] for weight in model.get_weights()])
    after = make_gradcam_heatmap(IMAGE, model, "conv2")
    assert np.abs(after - before).max() > 1e-2
    np.testing.assert_array_equal(after, Explainer(model, "conv2")(IMAGE).heatmaps[0])


def grown(model: keras.Sequential) -> None:
    model.pop()
    model.add(layers.Dense(CLASSES, name="new_head"))
    randomise(model, seed=3)


def popped(model: keras.Sequential) -> None:
    for _ in range(2):
        model.pop()
    model.add(layers.GlobalMaxPooling2D())
    model.add(layers.Dense(CLASSES))
    randomise(model, seed=3)


def adapted(model: keras.Sequential) -> None:
    head = model.get_layer("head")
    head.enable_lora(1)
    head.lora_kernel_b.assign(np.full((1, CLASSES), 3.0))


@pytest.mark.parametrize("change", [grown, popped, adapted])
def test_changed_model_has_a_new_explainer(change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = plain_sequential()
    made = count_explainers(monkeypatch)
    before = make_gradcam_heatmap(IMAGE, model, "conv2", method="hirescam", pred_index=1)
    change(model)
    after = make_gradcam_heatmap(IMAGE, model, "conv2", method="hirescam", pred_index=1)
    assert len(made) == 2
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_array_equal(after, Explainer(model, "conv2", "hirescam")(IMAGE, 1).heatmaps[0])


def test_model_without_a_graph_has_one_explainer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_net()[0]
    made = count_explainers(monkeypatch)
    first = make_gradcam_heatmap(IMAGE, model, pred_index=1)
    for _ in range(10):
        np.testing.assert_array_equal(make_gradcam_heatmap(IMAGE, model, pred_index=1), first)
    of_target = make_gradcam_heatmap(IMAGE, model, pred_index=lambda outputs: outputs[:, 1])  # traced later
    np.testing.assert_allclose(of_target, first, rtol=1e-5, atol=1e-6)
    assert len(made) == 1
    assert made[0]().trace_count == 2


LETTING_GO = {
    "graph": (parity_model, None, "gradcam"),
    "sequential": (plain_sequential, None, "gradcam"),
    "subclassed": (lambda: small_net()[0], None, "gradcam"),
    "subclassed probed": (lambda: small_net()[0], None, "ablationcam"),
    "network": (plain_model, None, "fullgrad"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LETTING_GO)
def test_model_is_let_go(name: str) -> None:
    build, layer, method = LETTING_GO[name]
    model = build()
    make_gradcam_heatmap(IMAGE, model, layer, method=method)
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


# Pictures.


def picture(folder: Path, name: str = "picture.png", size: tuple[int, int] = (37, 53)) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(folder / name)
    return folder / name


@pytest.mark.parametrize("size", [(37, 53), (6, 10), (224, 224), (18, 107), (36, 52)])
def test_img_array_is_that_of_keras(tmp_path: Path, size: tuple[int, int]) -> None:
    path = picture(tmp_path)
    loaded = keras.utils.img_to_array(keras.utils.load_img(path, target_size=size))
    array = get_img_array(path, size)
    assert array.shape == (1, *size, 3)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array[0], loaded)
    np.testing.assert_array_equal(get_img_array(str(path), size), array)


def test_img_array_refuses_what_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        get_img_array(tmp_path / "missing.png", (6, 10))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises((OSError, ValueError), match=r"text\.png"):
        get_img_array(tmp_path / "text.png", (6, 10))


@pytest.mark.parametrize("size", [(0, 10), (6,), 6, (6.5, 10)])
def test_img_array_refuses_size(tmp_path: Path, size: Any) -> None:
    with pytest.raises(ValueError, match="two positive integers"):
        get_img_array(picture(tmp_path), size)


HEATMAP = np.linspace(0, 1, 15, dtype=np.float32).reshape(3, 5)


def test_save_writes_what_it_returns(tmp_path: Path) -> None:
    path = picture(tmp_path)
    photo = np.asarray(Image.open(path))
    overlay = save_and_display_gradcam(path, HEATMAP, tmp_path / "cam.png", alpha=0.7)
    assert overlay.shape == (37, 53, 3)
    np.testing.assert_array_equal(overlay, overlay_heatmap(photo, HEATMAP, 0.7))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "cam.png")), overlay)


def test_save_defaults_to_cam_jpg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    overlay = save_and_display_gradcam(picture(tmp_path), HEATMAP)
    written = np.asarray(Image.open(tmp_path / "cam.jpg"))
    assert written.shape == overlay.shape
    np.testing.assert_array_equal(overlay, save_and_display_gradcam(picture(tmp_path), HEATMAP, alpha=0.4))


@pytest.mark.parametrize(
    ("heatmap", "alpha", "message"),
    [(2 * HEATMAP, 0.4, r"heatmap in \[0, 1\], received"), (HEATMAP, 1.5, r"alpha, .* in \[0, 1\]")],
)
def test_save_refuses_heat_and_alpha(tmp_path: Path, heatmap: np.ndarray, alpha: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        save_and_display_gradcam(picture(tmp_path), heatmap, tmp_path / "cam.png", alpha)
    assert not (tmp_path / "cam.png").exists()


def test_save_into_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        save_and_display_gradcam(picture(tmp_path), HEATMAP, tmp_path / "new" / "cam.png")


def notebook(monkeypatch: pytest.MonkeyPatch, running: bool) -> list[Any]:
    """IPython as far as it is used; what it is asked to show."""
    shown: list[Any] = []
    ipython, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    vars(ipython).update(get_ipython=lambda: object() if running else None, display=display)
    vars(display).update(Image=lambda filename: filename, display=shown.append)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


@pytest.mark.parametrize("running", [True, False])
def test_overlay_is_shown_where_a_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: bool) -> None:
    shown = notebook(monkeypatch, running)
    save_and_display_gradcam(picture(tmp_path), HEATMAP, tmp_path / "cam.png")
    assert shown == ([str(tmp_path / "cam.png")] if running else [])


def test_ipython_is_not_imported_where_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    save_and_display_gradcam(picture(tmp_path), HEATMAP, tmp_path / "cam.png")
    assert "IPython" not in sys.modules


def test_from_file_to_overlay_as_the_published_code_goes(tmp_path: Path) -> None:
    """The six lines of a user, after changing the import alone."""
    path = picture(tmp_path)
    model = randomise(keras.Sequential([keras.Input((12, 20, 3)), conv("conv"), layers.Flatten(), layers.Dense(2)]))
    img_array = get_img_array(path, size=(12, 20)) / 255
    heatmap = make_gradcam_heatmap(img_array, model, "conv")
    overlay = save_and_display_gradcam(path, heatmap, cam_path=tmp_path / "cam.jpg")
    assert heatmap.shape == (12, 20)
    assert overlay.shape == (37, 53, 3)
    assert (tmp_path / "cam.jpg").stat().st_size > 0
