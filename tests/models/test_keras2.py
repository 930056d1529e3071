"""Files of Keras 1 and 2: repaired, with the predictions of the original, or refused with the cause and a remedy.

tests/models/data holds configurations that TensorFlow 2.15 wrote, with its predictions (`tests.helpers.keras2_files`).
"""

import json
import os
import re
import warnings

import h5py
import keras
import numpy as np
import pytest

from tests.helpers.keras2_values import DATA, image_values, kept, stored, weight_values, write_h5, write_keras
from tests.helpers.slow import every
from tf_gradcam._errors import ModelWarning
from tf_gradcam._models.loading import load_model

L = keras.layers
WRITERS = {".h5": write_h5, ".keras": write_keras}
KEPT = [
    (path.stem, suffix)
    for path in sorted(DATA.glob("*.json"))
    for suffix in WRITERS
    if suffix == ".h5" or '"places":' in path.read_text()
]


def loaded(path, **options):
    """Return a model and the note on its repair, or None."""
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        model = load_model(path, **options)
    notes = [str(note.message) for note in notes if issubclass(note.category, ModelWarning)]
    return model, "".join(notes) or None


def predictions(model, about):
    images = [
        image_values(number, shape, about["scale"]).astype(dtype)
        for number, (shape, dtype) in enumerate(zip(about["shapes"], about["dtypes"], strict=True))
    ]
    if isinstance(getattr(model, "_inputs_struct", None), dict):
        images = [{tensor.name: image for tensor, image in zip(model.inputs, images, strict=True)}]
    outputs = model(images if len(images) > 1 else images[0], training=False)
    return [outputs[key] for key in sorted(outputs)] if isinstance(outputs, dict) else keras.tree.flatten(outputs)


@pytest.mark.core
@pytest.mark.parametrize(("name", "suffix"), every(3, KEPT))
def test_repaired_file_predicts_what_keras2_did(tmp_path, name, suffix):
    about = kept(name)
    model, _ = loaded(WRITERS[suffix](tmp_path / f"{name}{suffix}", about))
    rtol = 1e-2 if name == "mixed_float16" else 1e-5  # half precision has three digits
    for actual, expected in zip(predictions(model, about), about["outputs"], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize("name", ["unet", "two_levels_deep"])
def test_keras_file_of_213_counts_layers_with_weights_twice(tmp_path, name):
    about = kept(name)
    about["places"] = {
        re.sub(r"_(\d+)(?=/)", lambda number: f"_{2 * int(number[1])}", place).replace(
            "layers/", "_layer_checkpoint_dependencies/"
        ): number
        for place, number in about["places"].items()
    }
    model, _ = loaded(write_keras(tmp_path / "m.keras", about))
    for actual, expected in zip(predictions(model, about), about["outputs"], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["operators", "slices", "tf_image", "tf_math", "tf_shapes", "small_transformer"])
def test_repaired_model_can_be_saved_and_loaded(tmp_path, name):
    """Without this package: what TensorFlow computed is an operation of Keras."""
    about = kept(name)
    model, _ = loaded(write_h5(tmp_path / "old.h5", about))
    model.save(tmp_path / "new.keras")
    again = keras.saving.load_model(tmp_path / "new.keras")
    for actual, expected in zip(predictions(again, about), predictions(model, about), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


# Files of a configuration and weights that a test makes up.


def item(kind, **config):
    return {"class_name": kind, "config": {"name": kind.lower(), "trainable": True, "dtype": "float32", **config}}


def first(kind, **config):
    return item(kind, batch_input_shape=[None, 6, 10, 3], **config)


def sequential_file(path, layers, weights, version="2.15.0", **attributes):
    """Write an .h5 file; `weights` maps the name of a layer to its arrays by name."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": layers})
        if version:
            file.attrs["keras_version"] = version
        group = file.create_group("model_weights")
        group.attrs.update(attributes)
        group.attrs["layer_names"] = [name.encode() for name in weights]
        for name, arrays in weights.items():
            inner = group.create_group(name.replace("/", "_") if "/" in name else name)
            inner = group[name] if name in group else group.create_group(name)
            inner.attrs["weight_names"] = [key.encode() for key in arrays]
            for key, value in arrays.items():
                inner[key] = value
    return path


def random(number, name, *shape):
    return weight_values(number, name, shape).astype("float32")


KERNEL, BIAS = random(1, "kernel", 3, 3, 3, 4), random(2, "bias", 4)
CONV = {"conv2d": {"conv2d/kernel:0": KERNEL, "conv2d/bias:0": BIAS}}
PHOTO = image_values(0, (1, 6, 10, 3), 1).astype("float32")


def conv(**config):
    return first("Conv2D", **{"filters": 4, "kernel_size": [3, 3], **config})


def by_hand(x, kernel=KERNEL, bias=BIAS):
    """Return a valid convolution with stride 1, from its definition."""
    rows, columns = x.shape[1] - 2, x.shape[2] - 2
    patches = [[x[:, r : r + 3, c : c + 3].reshape(len(x), -1) for c in range(columns)] for r in range(rows)]
    return np.moveaxis(np.array(patches) @ kernel.reshape(-1, kernel.shape[-1]), 2, 0) + bias


class TestSilentDifferences:
    """Keras 3 reads these arguments without a message, with another meaning."""

    def test_hard_sigmoid_has_the_slope_of_keras2(self, tmp_path):
        layers = [conv(), item("Activation", activation="hard_sigmoid")]
        model, note = loaded(sequential_file(tmp_path / "m.h5", layers, CONV))
        expected = np.clip(0.2 * by_hand(PHOTO) + 0.5, 0, 1)
        np.testing.assert_allclose(model(PHOTO), expected, rtol=1e-5, atol=1e-6)
        assert "hard_sigmoid is that of Keras 2" in note

    def test_random_crop_resizes_outside_training(self, tmp_path):
        layers = [first("RandomCrop", height=3, width=5, seed=None)]
        model, _ = loaded(sequential_file(tmp_path / "m.h5", layers, {}))
        expected = keras.ops.image.resize(PHOTO, (3, 5))  # the aspect ratio is kept, so nothing is cut off
        np.testing.assert_allclose(model(PHOTO), expected, rtol=1e-5)

    def test_gru_without_the_argument_resets_before(self, tmp_path):
        layers = [item("GRU", units=2, batch_input_shape=[None, 3, 4])]
        weights = {"kernel": random(1, "k", 4, 6), "recurrent_kernel": random(2, "r", 2, 6), "bias": random(3, "b", 6)}
        model, _ = loaded(sequential_file(tmp_path / "m.h5", layers, {"gru": weights}, "2.1.6"))
        assert model.layers[0].reset_after is False

    def test_plain_file_of_keras2_needs_no_note(self, tmp_path):
        model, note = loaded(sequential_file(tmp_path / "m.h5", [conv()], CONV))
        np.testing.assert_allclose(model(PHOTO), by_hand(PHOTO), rtol=1e-4, atol=1e-5)
        assert note is None


class TestKeras1:
    """Arguments and names of Keras 1 and of the first versions of Keras 2."""

    def test_old_names_of_classes_and_arguments(self, tmp_path):
        old = {"name": "conv", "nb_filter": 4, "nb_row": 3, "nb_col": 3, "border_mode": "valid", "subsample": [1, 1]}
        old |= {
            "init": "glorot_uniform",
            "dim_ordering": "tf",
            "W_regularizer": {"name": "WeightRegularizer", "l2": 0.1},
        }
        old |= {"batch_input_shape": [None, 6, 10, 3], "activation": "relu", "bias": True, "W_constraint": None}
        layers = [
            {"class_name": "Convolution2D", "config": old},
            {"class_name": "Dropout", "config": {"name": "drop", "p": 0.5}},
            {"class_name": "MaxPooling2D", "config": {"name": "pool", "pool_size": [2, 2], "dim_ordering": "tf"}},
            {"class_name": "Flatten", "config": {"name": "flat"}},
            {"class_name": "Dense", "config": {"name": "dense", "output_dim": 2, "init": "normal", "input_dim": None}},
        ]
        kernel, bias = random(3, "W", 32, 2), random(4, "b", 2)
        weights = {"conv": {"conv_W:0": KERNEL, "conv_b:0": BIAS}, "dense": {"dense_W:0": kernel, "dense_b:0": bias}}
        model, note = loaded(sequential_file(tmp_path / "m.h5", layers, weights, version=None))
        maps = np.maximum(by_hand(PHOTO), 0).reshape(1, 2, 2, 4, 2, 4).max(axis=(2, 4))
        np.testing.assert_allclose(model(PHOTO), maps.reshape(1, -1) @ kernel + bias, rtol=1e-5)
        assert "Keras 1 and repaired: nb_filter of Conv2D became filters" in note or "Convolution2D became" in note

    def test_kernels_of_theano_are_turned(self, tmp_path):
        path = sequential_file(tmp_path / "m.h5", [conv()], CONV, "1.2.2", backend="theano")
        model, _ = loaded(path)
        np.testing.assert_allclose(model(PHOTO), by_hand(PHOTO, KERNEL[::-1, ::-1]), rtol=1e-4, atol=1e-5)

    def test_merge_becomes_the_layer_of_its_mode(self, tmp_path):
        entrance = {"class_name": "InputLayer", "config": {"name": "i", "batch_input_shape": [None, 6, 10, 3]}}
        nodes = {"inbound_nodes": [[["i", 0, 0], ["i", 0, 0]]]}
        layers = [
            {**entrance, "name": "i", "inbound_nodes": []},
            {"class_name": "Merge", "config": {"name": "m", "mode": "concat", "concat_axis": 3}, "name": "m", **nodes},
            {"class_name": "Merge", "config": {"name": "s", "mode": "sum"}, "name": "s", **nodes},
        ]
        config = {"name": "n", "layers": layers, "input_layers": [["i", 0, 0]]}
        config["output_layers"] = [["m", 0, 0], ["s", 0, 0]]
        path = sequential_file(tmp_path / "m.h5", [], {}, "1.2.2")
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = json.dumps({"class_name": "Model", "config": config})
        joined, added = loaded(path)[0](PHOTO)
        np.testing.assert_allclose(joined, np.concatenate([PHOTO, PHOTO], -1))
        np.testing.assert_allclose(added, 2 * PHOTO)


@pytest.mark.parametrize(
    ("layer", "repair"),
    [
        (conv(kernel_initializer={"class_name": "GlorotUniformV2", "config": {"dtype": "float32"}}), None),
        (conv(kernel_initializer={"class_name": "Mine", "config": {}}), "initializers that Keras 3 does not know"),
        (conv(kernel_regularizer={"class_name": "Mine", "config": {}}), "regularizers that Keras 3 does not know"),
        (conv(activation="linear_v1"), "activation linear_v1 became linear"),
        (conv(dtype={"class_name": "Policy", "config": {"name": "float32", "loss_scale": None}}), None),
        (conv(dtype="_infer"), None),
        (conv(kernel_initializer={"class_name": "VarianceScaling", "config": {"distribution": "normal"}}), None),
        (conv(dynamic=False), r"dynamic of Conv2D \(False\) left out"),
        (conv(unheard_of=None, its_constraint={"class_name": "Mine", "config": {}}), None),
    ],
)
def test_argument_that_changes_no_prediction_is_left_out(tmp_path, layer, repair):
    model, note = loaded(sequential_file(tmp_path / "m.h5", [layer], CONV))
    np.testing.assert_allclose(model(PHOTO), by_hand(PHOTO), rtol=1e-4, atol=1e-5)
    if repair is None:
        assert note is None
    else:
        with pytest.warns(ModelWarning, match=repair):
            load_model(tmp_path / "m.h5")


def test_slash_in_a_name_is_replaced(tmp_path):
    """DenseNet121 of Keras 2.2 named its layers `conv1/conv`."""
    layer = {"class_name": "Conv2D", "config": {**conv()["config"], "name": "conv1/conv"}}
    weights = {"conv1/conv": {"conv1/conv/kernel:0": KERNEL, "conv1/conv/bias:0": BIAS}}
    model, note = loaded(sequential_file(tmp_path / "m.h5", [layer], weights))
    assert model.layers[0].name == "conv1_conv"
    assert "'/' in a name became '_'" in note
    np.testing.assert_allclose(model(PHOTO), by_hand(PHOTO), rtol=1e-4, atol=1e-5)


def test_classes_of_the_users_own_are_taken_by_name(tmp_path):
    class Doubled(L.Layer):
        def call(self, images):
            return 2 * images

    path = sequential_file(tmp_path / "m.h5", [conv(), item("Doubled")], CONV)
    with pytest.raises(ValueError, match=r"it needs 'Doubled', a class of your own\. .*custom_objects=\{'Doubled': "):
        load_model(path)
    model, _ = loaded(path, custom_objects={"Doubled": Doubled})
    np.testing.assert_allclose(model(PHOTO), 2 * by_hand(PHOTO), rtol=1e-4, atol=1e-5)


def test_class_of_another_package_is_not_taken_for_the_one_of_keras(tmp_path):
    class Softmax(L.Layer):
        def call(self, images):
            return 3 * images

    path = sequential_file(tmp_path / "m.h5", [conv(), item("Other>Softmax")], CONV)
    with pytest.raises(ValueError, match=r"it needs 'Softmax', a class of your own\. "):
        load_model(path)
    model, _ = loaded(path, custom_objects={"Softmax": Softmax})
    np.testing.assert_allclose(model(PHOTO), 3 * by_hand(PHOTO), rtol=1e-4, atol=1e-5)


def test_network_of_tensorflow_hub_has_no_layers(tmp_path):
    layers = [first("KerasLayer", handle="https://tfhub.dev/google/imagenet/mobilenet_v2/feature_vector/5")]
    with pytest.raises(ValueError, match=r"TensorFlow Hub as one operation .* Train a network of keras\.applications"):
        load_model(sequential_file(tmp_path / "m.h5", layers, {}))


class TestRefusals:
    @pytest.mark.parametrize(
        ("layers", "weights", "cause"),
        [
            (
                [conv(), item("LocallyConnected2D", filters=2)],
                CONV,
                "a LocallyConnected2D, which Keras 3 does not have",
            ),
            (
                [conv(), item("BatchNormalization", virtual_batch_size=2)],
                CONV,
                "has virtual_batch_size=2, which Keras 3 does not have",
            ),
            ([conv(), item("LSTM", units=2, time_major=True)], CONV, "has time_major=True, which Keras 3 does not"),
            ([conv(), item("GRU", units=2, zero_output_for_mask=True)], CONV, "has zero_output_for_mask=True, which"),
            ([conv(unheard_of=2)], CONV, "layer 'conv2d', a Conv2D, has unheard_of=2, which Keras 3 does not have"),
            (
                [conv(), item("TFOpLambda", function="math.add")],
                CONV,
                "a TFOpLambda, which Keras 3 does not have",
            ),
            ([conv(filters=5)], CONV, r"has the shape \(3, 3, 3, 5\), the file .* of the shape \(3, 3, 3, 4\)"),
            ([conv(), item("Dense", units=2)], CONV, "the file has no values for 2 weights"),
            ([conv(use_bias=False)], CONV, "'conv2d' has 1 weights, the file holds 2 for it"),
            ([conv()], {**CONV, "dense": CONV["conv2d"]}, "weights of 'dense', which is not a layer of it"),
            ([conv(padding="nowhere")], CONV, "layer 'conv2d', a Conv2D: .*padding"),
            ([item("Conv2D", filters=4, kernel_size=3)], CONV, "does not say which shape the images have"),
            (
                [conv()],
                {"conv2d": {"conv2d/bias:0": KERNEL, "conv2d/kernel:0": KERNEL[0, 0, 0]}},
                r"conv2d/bias' has the shape \(4,\), the file 'conv2d/bias:0' of the shape",
            ),
        ],
    )
    def test_refusal_names_the_cause_and_the_remedy(self, tmp_path, layers, weights, cause):
        path = sequential_file(tmp_path / "m.h5", layers, weights)
        with pytest.raises(ValueError, match=rf"m\.h5', which Keras 2\.15\.0 wrote .*{cause}.*load_weights"):
            load_model(path)

    def test_remedy_works(self, tmp_path):
        """Followed to the letter, for a file that is not repaired."""
        layers = [conv(), item("LocallyConnected2D", filters=2)]
        path = sequential_file(tmp_path / "m.h5", layers, CONV)
        with pytest.raises(ValueError, match=r"Build the network in Python, call its load_weights\('"):
            load_model(path)
        model = keras.Sequential([keras.Input((6, 10, 3)), L.Conv2D(4, 3)])
        model.load_weights(path)
        np.testing.assert_allclose(model(PHOTO), by_hand(PHOTO), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(
        ("function", "arguments", "cause"),
        [
            ("io.write_file", {"contents": "x"}, "the function tf.io.write_file is not rebuilt"),
            ("random.normal", {}, "the function tf.random.normal is not rebuilt"),
            ("compat.v1.image.resize_bilinear", {"size": [2, 2]}, "tf.compat.v1.image.resize_bilinear is not rebuilt"),
            ("strings.split", {}, "the function tf.strings.split is not rebuilt"),
            ("nn.dropout", {"rate": 0.5}, "layer 'tf.op', a TFOpLambda, does not take its input: the arguments .*rate"),
            ("math.add", {"z": [1, 2]}, "layer 'tf.op', a TFOpLambda, does not take its input"),
        ],
    )
    def test_function_outside_the_table_is_refused_by_name(self, tmp_path, function, arguments, cause):
        about = kept("operators")
        about["h5"]["config"]["layers"][1]["config"].update(name="tf.op", function=function)
        about["h5"]["config"]["layers"][1].update(name="tf.op", inbound_nodes=[["input_1", 0, 0, arguments]])
        with pytest.raises(ValueError, match=cause):
            load_model(write_h5(tmp_path / "m.h5", about))

    def test_no_layer_of_a_model_of_keras2_is_called_the_users_own(self, tmp_path):
        for kind in ("LocallyConnected1D", "CuDNNLSTM", "DenseFeatures", "TFOpLambda", "TensorFlowOpLayer"):
            path = sequential_file(tmp_path / "m.h5", [conv(), item(kind)], CONV)
            with pytest.raises(ValueError, match=rf"(?s)^(?!.*your own).*{kind}"):
                load_model(path)

    def test_vocabulary_in_another_file_is_refused(self, tmp_path):
        (tmp_path / "secret.txt").write_text("word")
        layers = [item("StringLookup", vocabulary=os.fspath(tmp_path / "secret.txt"), batch_input_shape=[None, 1])]
        with pytest.raises(ValueError, match="reads its vocabulary from another file"):
            load_model(sequential_file(tmp_path / "m.h5", layers, {}))


def test_note_counts_the_weights_of_the_file(tmp_path):
    about = kept("unet")
    path = write_h5(tmp_path / "m.h5", about)
    with pytest.warns(
        ModelWarning, match=rf"written by Keras 2\.15\.0 and repaired: .*All {len(stored(about))} weights"
    ):
        load_model(path)
