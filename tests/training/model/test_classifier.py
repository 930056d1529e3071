"""The classifier of a training: pixels in, published sizes, weights from elsewhere, what is frozen."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np
import pytest

from tf_gradcam import make_gradcam_heatmap
from training.brain_mri import TRAINING
from training.model.backbone import HEAD, block_of, blocks_of, copy_trunk, parameters, scaled, unfreeze
from training.model.classifier import build_classifier, with_dropout

SIZE = (32, 48)
TINY = {"alpha": 0.25}


def tiny(class_count: int = 3, **options) -> keras.Model:
    return build_classifier("MobileNet", class_count, SIZE, **{"weights": "none", "arguments": TINY, **options})


def network(**options) -> keras.Model:
    return keras.applications.MobileNet(weights=None, **{**TINY, **options})


def photos(count: int = 2, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3)).astype(np.float32)


def features(model: keras.Model, layer: str, images: np.ndarray) -> np.ndarray:
    return np.asarray(keras.Model(model.input, model.get_layer(layer).output)(images, training=False))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[keras.Model, Path]:
    """A network of 1000 classes, and the file of its weights."""
    keras.utils.set_random_seed(1)
    model = network(input_shape=(*SIZE, 3))
    file = tmp_path_factory.mktemp("weights") / "whole.weights.h5"
    model.save_weights(file)
    return model, file


@pytest.fixture(scope="module")
def vgg() -> keras.Model:
    return build_classifier("VGG16", 5, (32, 32), "none")


# What the published notebook's summary lists.


@pytest.mark.slow
def test_efficientnet_v2_s_has_the_published_parameters():
    model = build_classifier("efficientnetv2s", 4, (64, 64), "none")
    stage = [layer.name for layer in model.layers if re.fullmatch("block6[a-z]_(add|project_bn)", layer.name)]
    ends = list({name[:7]: name for name in stage}.values())  # the sum, or without one the last normalisation
    assert (len(ends), ends[5]) == (15, TRAINING.layers[1])
    assert model.get_layer(TRAINING.layers[0])
    counts = parameters(model)
    assert counts == {
        "stem": 696,
        "block1": 10_464,
        "block2": 303_552,
        "block3": 589_184,
        "block4": 917_680,
        "block5": 3_463_840,
        "block6": 14_561_832,
        "top": 330_240,
        "head": 5_124,
    }
    assert sum(counts.values()) == 20_182_612
    assert unfreeze(model, 2) == ["block6", "top", "head"]
    assert sum(parameters(model).values()) == 14_897_196


def test_vgg_answers_the_published_call(vgg):
    tail = ["block5_pool", "flatten", "fc1", "fc2", "dense"]
    heatmap = make_gradcam_heatmap(photos(1, (32, 32)), vgg, "block5_conv3", tail)
    assert heatmap.shape == (2, 2)
    assert vgg.layers[-1].name == "dense"
    assert vgg.output_shape == (None, 5)
    assert [layer.name for layer in vgg.layers][-5:] == tail


# Pixels.


@pytest.mark.parametrize("backbone", ["VGG16", "DenseNet121", "MobileNet", "Xception", "EfficientNetV2S"])
def test_scaling_is_that_of_the_family(backbone):
    images = keras.Input((*SIZE, 3))
    result = scaled(images, backbone)
    module = {
        "VGG16": keras.applications.vgg16,
        "DenseNet121": keras.applications.densenet,
        "MobileNet": keras.applications.mobilenet,
        "Xception": keras.applications.xception,
        "EfficientNetV2S": keras.applications.efficientnet_v2,
    }[backbone]
    actual = photos() if result is images else np.asarray(keras.Model(images, result)(photos()))
    # 0.4 levels of 255: a rounding of float32 in numbers around 128
    np.testing.assert_allclose(actual, module.preprocess_input(photos()), rtol=1e-6, atol=2e-5)


def test_a_saved_model_is_loaded_without_code_of_ours(vgg, tmp_path):
    vgg.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(loaded(photos(1, (32, 32))), vgg(photos(1, (32, 32))), rtol=1e-5, atol=1e-7)
    names = {type(layer).__module__.split(".")[0] for layer in loaded.layers}
    assert names == {"keras"}


def test_outputs_are_probabilities():
    outputs = np.asarray(tiny()(photos()))
    np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_precision_is_that_of_the_layers_alone(precision):
    model = tiny(precision=precision)
    assert model.get_layer("conv_pw_13").compute_dtype == precision.removeprefix("mixed_")
    assert model.get_layer("dense").compute_dtype == "float32"
    assert model.get_layer("dense").variable_dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


def test_precision_is_put_back_after_an_error():
    with pytest.raises(ValueError, match="cannot be built"):
        build_classifier("MobileNet", 3, (8, 8), "none", arguments={"depth_multiplier": -1}, precision="mixed_float16")
    assert keras.config.dtype_policy().name == "float32"


# Weights.


def test_weights_of_a_whole_network_give_its_trunk(whole):
    source, file = whole
    model = tiny(weights=str(file))
    scaling = keras.applications.mobilenet.preprocess_input
    np.testing.assert_allclose(
        features(model, "conv_pw_13_relu", photos()),
        features(source, "conv_pw_13_relu", scaling(photos())),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.slow
def test_weights_without_a_classifier_give_the_same_trunk(whole, tmp_path):
    source, file = whole
    bare = network(include_top=False, input_shape=(*SIZE, 3))
    for layer in (layer for layer in bare.layers if layer.weights):
        layer.set_weights(source.get_layer(layer.name).get_weights())
    bare.save_weights(tmp_path / "bare.weights.h5")
    first, second = tiny(weights=str(file)), tiny(weights=str(tmp_path / "bare.weights.h5"))
    np.testing.assert_array_equal(
        features(first, "conv_pw_13_relu", photos()), features(second, "conv_pw_13_relu", photos())
    )


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_weights_of_another_run_give_its_trunk_under_a_new_head(suffix, tmp_path):
    before = tiny(class_count=7)
    before.save(tmp_path / f"best{suffix}")
    model = tiny(class_count=3, weights=str(tmp_path / f"best{suffix}"))
    assert model.output_shape == (None, 3)
    np.testing.assert_array_equal(features(model, "pool", photos()), features(before, "pool", photos()))


def test_weights_of_a_model_that_holds_the_backbone_as_a_layer_give_its_trunk(tmp_path):
    inner = network(include_top=False, input_shape=(*SIZE, 3))
    images = keras.Input((*SIZE, 3))
    outer = keras.Model(images, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(inner(images))))
    outer.save(tmp_path / "outer.keras")
    model = tiny(weights=str(tmp_path / "outer.keras"))
    np.testing.assert_array_equal(
        model.get_layer("conv_pw_13").get_weights()[0], inner.get_layer("conv_pw_13").get_weights()[0]
    )


@pytest.mark.slow
def test_weights_of_layers_without_names_of_their_own_are_paired_by_order(tmp_path):
    """Keras counts on: the second Xception of a process has conv2d_4 where the file has conv2d."""
    source = keras.applications.Xception(weights=None)
    source.save_weights(tmp_path / "xception.weights.h5")
    model = build_classifier("Xception", 2, (71, 71), str(tmp_path / "xception.weights.h5"))
    kinds = [
        [layer.get_weights()[0] for layer in each.layers if type(layer) is keras.layers.Conv2D]
        for each in (source, model)
    ]
    for expected, actual in zip(*kinds, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_vgg_takes_the_classifier_of_other_weights_where_it_fits(vgg, capsys):
    """At twice the height `fc1` reads twice as many cells; `fc2` is the same."""
    larger = build_classifier("VGG16", 2, (64, 32), "none")
    copy_trunk(larger, vgg, "VGG16", also=("fc1", "fc2"))
    for name in ("block5_conv3", "fc2"):
        np.testing.assert_array_equal(larger.get_layer(name).get_weights()[0], vgg.get_layer(name).get_weights()[0])
    told = capsys.readouterr().err
    assert "'fc1' starts at random" in told
    assert "fc2" not in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variance", "deviation"), [([0.229, 0.224, 0.225], [0.229, 0.224, 0.225]), ([4, 9, 16], [2, 3, 4])]
)
def test_statistics_of_weights_are_in_effect_while_the_model_is_trained(tmp_path, variance, deviation):
    """ImageNet's weights of EfficientNetB hold deviations as variances, and mean (x - mean) / deviation by them."""
    source = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(*SIZE, 3))
    layer = next(layer for layer in source.layers if isinstance(layer, keras.layers.Normalization))
    mean = np.array([0.485, 0.456, 0.406])
    layer.set_weights([mean, np.array(variance), np.array(0)])
    source.save_weights(tmp_path / "source.weights.h5")
    model = build_classifier("EfficientNetB0", 2, SIZE, str(tmp_path / "source.weights.h5"))
    layer = next(layer for layer in model.layers if isinstance(layer, keras.layers.Normalization))
    expected = (photos() / 255 - mean) / deviation
    np.testing.assert_allclose(features(model, layer.name, photos()), expected, rtol=1e-3, atol=1e-3)
    model.save(tmp_path / "best.keras")
    loaded = keras.saving.load_model(tmp_path / "best.keras")
    np.testing.assert_allclose(features(loaded, layer.name, photos()), expected, rtol=1e-3, atol=1e-3)


def test_weights_of_another_width_are_refused_by_what_differs(whole):
    with pytest.raises(ValueError, match=r"conv1/kernel has shape \(3, 3, 3, 16\), in the file \(3, 3, 3, 8\)"):
        tiny(weights=str(whole[1]), arguments={"alpha": 0.5})


def test_weights_of_another_architecture_are_refused_by_what_differs(whole, tmp_path):
    whole[0].save(tmp_path / "whole.keras")
    with pytest.raises(ValueError, match=r"the layer 'block1_conv1' has shapes .*\(3, 3, 3, 64\).*the file .*8.*conv1"):
        build_classifier("VGG16", 2, (32, 32), str(tmp_path / "whole.keras"))


@pytest.mark.parametrize("name", ["broken.keras", "broken.weights.h5"])
def test_a_damaged_file_of_weights_is_named(name, tmp_path):
    (tmp_path / name).write_text("nothing")
    with pytest.raises(ValueError, match=f"{name}' (is not a zip archive|cannot be read)"):
        tiny(weights=str(tmp_path / name))


def test_a_missing_file_of_weights_is_named():
    with pytest.raises(FileNotFoundError, match=r"file of weights 'absent\.keras' does not exist"):
        tiny(weights="absent.keras")


def test_a_failed_download_names_the_remedy(monkeypatch, tmp_path):
    def unreachable(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", unreachable)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    with pytest.raises(ConnectionError, match=r"MobileNet could not be downloaded.*--weights FILE.*https://keras.io"):
        tiny(weights="imagenet")


# Blocks.


def test_every_layer_of_a_network_is_in_one_block():
    model = tiny()
    blocks = blocks_of(model)
    assert list(blocks) == ["stem", *(f"conv{number}" for number in range(1, 14)), HEAD]
    assert [layer.name for layers in blocks.values() for layer in layers] == [layer.name for layer in model.layers]


@pytest.mark.parametrize(
    ("name", "before", "block"),
    [
        ("block6a_expand_conv", "block5", "block6"),  # EfficientNet
        ("top_conv", "block6", "top"),
        ("block_16_project_BN", "block15", "block16"),  # MobileNetV2
        ("Conv_1", "block16", "top"),
        ("conv1_bn", "stem", "stem"),  # MobileNet
        ("conv1_bn", "conv1", "conv1"),  # ResNet
        ("conv5_block3_out", "conv5", "conv5"),
        ("post_relu", "conv5", "top"),
        ("pool4_conv", "conv4", "pool4"),  # DenseNet
        ("convnext_tiny_stage_3_block_2_depthwise_conv", "stage2", "stage3"),
        ("batch_normalization_7", "block3", "block3"),  # Xception
        ("mixed10", "mixed9", "mixed10"),
        ("dense", "top", "head"),
    ],
)
def test_block_is_read_from_the_name(name, before, block):
    assert block_of(name, before) == block


def test_frozen_blocks_infer_while_the_head_trains():
    model = tiny()
    assert unfreeze(model, 0) == ["head"]
    inferred, trained = (np.asarray(model(photos(), training=training)) for training in (False, True))
    np.testing.assert_array_equal(trained, inferred)  # batch statistics of two images would differ
    assert [weight.path for weight in model.trainable_weights] == ["dense/kernel", "dense/bias"]


def test_dropout_is_before_each_layer_of_the_head_in_training_alone(vgg):
    features = keras.Model(vgg.get_layer("flatten").output, vgg.output)
    dropped = with_dropout(features, 0.5, seed=0)
    assert [layer.name.split("_")[0] for layer in dropped.layers[1:]] == [
        "dropout",
        "fc1",
        "dropout",
        "fc2",
        "dropout",
        "dense",
    ]
    assert [id(weight) for weight in dropped.weights] == [id(weight) for weight in features.weights]
    given = np.random.default_rng(0).uniform(0, 50, (4, *features.input_shape[1:])).astype(np.float32)
    np.testing.assert_array_equal(dropped(given), features(given))
    assert not np.array_equal(dropped(given, training=True), features(given, training=True))


def test_dropout_of_a_pooled_head_is_before_its_only_layer():
    """Of a part p, an output of a linear layer without bias has the mean that it has without dropout."""
    model = tiny(2)
    head = keras.Model(model.get_layer("pool").output, model.get_layer("dense").output)
    assert [type(layer).__name__ for layer in with_dropout(head, 0.5, 0).layers] == ["InputLayer", "Dropout", "Dense"]
    assert with_dropout(head, 0.0, 0) is head


def test_fc_units_are_those_asked_for_and_start_small_enough_for_the_features():
    """VGG's features are some 50 times as large as weights are made for, so those of fc1 are as much smaller."""
    model = build_classifier("VGG16", 5, (32, 32), "none", fc_units=300)
    assert [model.get_layer(name).units for name in ("fc1", "fc2")] == [300, 300]
    stds = [float(np.std(model.get_layer(name).kernel)) for name in ("fc1", "fc2")]
    np.testing.assert_allclose(stds, [(2 / (512 + 300)) ** 0.5 / 50, (2 / 600) ** 0.5], rtol=0.05)


def test_unfreeze_all_trains_everything():
    model = tiny()
    unfreeze(model, 0)
    unfreeze(model, None)
    assert all(layer.trainable for layer in model.layers)


def test_too_many_blocks_are_refused():
    with pytest.raises(ValueError, match=r"Expected 0 to 14 blocks to unfreeze, or all, received 15: .*stem.*conv13"):
        unfreeze(tiny(), 15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "MobilNet"}, "received 'MobilNet'.*MobileNet"),
        ({"fc_units": 8}, "fc units for one of .*VGG16.*received them for MobileNet. Leave them out"),
        ({"class_count": 1}, "at least 2 classes, received 1"),
        ({"precision": "float16"}, "precision of .*mixed_float16.*received 'float16'"),
        ({"arguments": {"alhpa": 1}}, "argument of MobileNet of .*'alpha'.*received 'alhpa'"),
        ({"arguments": {"alpha": -1}}, "MobileNet cannot be built"),
    ],
)
def test_what_makes_no_classifier_is_refused(options, message):
    told = {"backbone": "MobileNet", "class_count": 2, "image_size": SIZE, "weights": "none", **options}
    with pytest.raises(ValueError, match=message):
        build_classifier(**told)
