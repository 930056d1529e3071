"""What models want as input: every family of keras.applications, bare, inside other models, and its look-alikes."""

from __future__ import annotations

import functools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_gradcam._errors import for_command_line
from tf_gradcam._models.preprocessing import MODES, UNKNOWN, Preprocessing, range_warning
from tf_gradcam._models.reader import ModelReader

L = keras.layers

# Smallest member: module of keras.applications, least side, mode, the mode with include_preprocessing=False.
FAMILIES = {
    "VGG16": ("vgg16", 32, "caffe", None),
    "VGG19": ("vgg19", 32, "caffe", None),
    "ResNet50": ("resnet", 32, "caffe", None),
    "ResNet50V2": ("resnet_v2", 32, "tf", None),
    "DenseNet121": ("densenet", 32, "torch", None),
    "InceptionV3": ("inception_v3", 75, "tf", None),
    "InceptionResNetV2": ("inception_resnet_v2", 75, "tf", None),
    "Xception": ("xception", 71, "tf", None),
    "MobileNet": ("mobilenet", 32, "tf", None),
    "MobileNetV2": ("mobilenet_v2", 32, "tf", None),
    "MobileNetV3Small": ("mobilenet_v3", 32, "raw", "tf"),
    "EfficientNetB0": ("efficientnet", 32, "raw", None),
    "EfficientNetV2B0": ("efficientnet_v2", 32, "raw", "torch"),
    "EfficientNetV2S": ("efficientnet_v2", 32, "raw", "tf"),
    "NASNetMobile": ("nasnet", 32, "tf", None),
    "ConvNeXtTiny": ("convnext", 32, "raw", "torch"),
}
# Hundreds of layers: seconds to build.
DEEP = {
    *(
        "ConvNeXtTiny",
        "DenseNet121",
        "EfficientNetB0",
        "EfficientNetV2B0",
        "EfficientNetV2S",
        "InceptionResNetV2",
        "InceptionV3",
        "MobileNetV3Large",
    ),
    *("NASNetMobile", "ResNet50", "ResNet50V2", "VGG19", "Xception"),
}


def preprocessing_of(model):
    return ModelReader(model).preprocessing


def names(chosen) -> list:
    return [pytest.param(name, marks=pytest.mark.slow) if name in DEEP else name for name in chosen]


@functools.cache  # building it is most of the time of these tests, and reading leaves it unchanged
def backbone(name: str, **options) -> keras.Model:
    side = FAMILIES[name][1]
    build = getattr(keras.applications, name)
    return build(weights=None, include_top=False, input_shape=(side, side, 3), **options)


def classifier(features) -> keras.KerasTensor:
    return L.Dense(2)(L.GlobalAveragePooling2D()(features))


def behind(base: keras.Model, *layers) -> keras.Model:
    """`layers`, then the backbone as one layer, then a head: the fine-tuning recipe."""
    inputs = tensor = keras.Input(base.input_shape[1:])
    for layer in layers:
        tensor = layer(tensor)
    return keras.Model(inputs, classifier(base(tensor)))


def own_network(*first, filters: int = 4) -> keras.Model:
    return keras.Sequential([keras.Input((6, 10, 3)), *first, L.Conv2D(filters, 3), L.Flatten(), L.Dense(2)])


# EfficientNetV2S is slow to build, and tested below without its own preprocessing.
@pytest.mark.parametrize("name", names(name for name in FAMILIES if name != "EfficientNetV2S"))
def test_family_is_found_bare_nested_and_unfolded(name):
    architecture, _, mode, _ = FAMILIES[name]
    base = backbone(name)
    expected = Preprocessing(architecture, mode)
    assert preprocessing_of(base) == expected
    assert preprocessing_of(behind(base, L.RandomFlip(), L.RandomRotation(0.1))) == expected
    assert preprocessing_of(keras.Model(base.input, classifier(base.output), name="mine")) == expected


@pytest.mark.parametrize("name", names(name for name, row in FAMILIES.items() if row[3]))
def test_family_without_its_own_preprocessing_wants_the_arithmetic_done(name):
    architecture, _, _, mode = FAMILIES[name]
    assert preprocessing_of(backbone(name, include_preprocessing=False)) == Preprocessing(architecture, mode)


@pytest.mark.parametrize("name", names(["VGG16", "DenseNet121", "MobileNetV2"]))
def test_preprocess_input_inside_the_graph_means_raw(name):
    architecture = FAMILIES[name][0]
    model = behind(backbone(name), getattr(keras.applications, architecture).preprocess_input)
    assert preprocessing_of(model) == Preprocessing(architecture, "raw")


@pytest.mark.parametrize(
    ("layers", "mode"),
    [
        ([L.Rescaling(1 / 127.5, offset=-1)], "raw"),
        ([L.Rescaling(1 / 255)], "raw"),
        ([L.Rescaling(2, offset=-1)], "unit"),
        ([L.Lambda(lambda images: images / 127.5 - 1)], "raw"),
        ([L.Normalization(mean=127.5, variance=127.5**2)], "raw"),
        ([L.Normalization(mean=0.5, variance=0.25)], "unit"),
        ([L.RandomContrast(0.2), L.ZeroPadding2D(2), L.CenterCrop(32, 32), L.Dropout(0.5)], "tf"),
        ([keras.Sequential([L.RandomFlip(), L.Rescaling(1 / 127.5, offset=-1)])], "raw"),
    ],
)
def test_layers_before_a_backbone_decide_its_range(layers, mode):
    assert preprocessing_of(behind(backbone("MobileNet"), *layers)) == Preprocessing("mobilenet", mode)


def test_rescaling_that_undoes_the_backbones_own_is_seen_through():
    """MobileNetV3 brings 0..255 to [-1, 1] itself; 255 x before it takes [0, 1], and 127.5 (x + 1) takes [-1, 1]."""
    base = backbone("MobileNetV3Small")
    assert preprocessing_of(behind(base, L.Rescaling(255))).mode == "unit"
    assert preprocessing_of(behind(base, L.Rescaling(127.5, offset=127.5))).mode == "tf"


def test_width_multiplier_changes_nothing():
    assert preprocessing_of(backbone("MobileNet", alpha=0.25)) == Preprocessing("mobilenet", "tf")


def test_truncated_backbone_is_still_its_family():
    base = backbone("VGG16")
    assert preprocessing_of(keras.Model(base.input, base.get_layer("block3_pool").output)).mode == "caffe"


def test_two_levels_of_nesting_are_seen_through():
    inner = behind(backbone("MobileNetV2"), L.Rescaling(1 / 127.5, offset=-1))
    outer = keras.Sequential([keras.Input((32, 32, 3)), L.RandomFlip(), inner, L.Dense(3)])
    assert preprocessing_of(outer) == Preprocessing("mobilenet_v2", "raw")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_reloaded_model_is_read_alike(tmp_path, suffix):
    model = keras.Sequential([keras.Input((32, 32, 3)), backbone("MobileNet", alpha=0.25), L.Flatten(), L.Dense(2)])
    model.save(tmp_path / f"model{suffix}")
    assert preprocessing_of(keras.models.load_model(tmp_path / f"model{suffix}")) == preprocessing_of(model)


def look_alike(*first, widths=(8, 8, 16)) -> keras.Model:
    """The layer names of VGG16 in other widths."""
    names = ("block1_conv1", "block1_conv2", "block2_conv1")
    convolutions = [L.Conv2D(width, 3, name=name) for name, width in zip(names, widths, strict=True)]
    return keras.Sequential([keras.Input((12, 10, 3)), *first, *convolutions, L.GlobalAveragePooling2D(), L.Dense(2)])


def test_look_alike_of_vgg16_is_not_mistaken_for_it():
    assert preprocessing_of(look_alike()) == UNKNOWN
    assert preprocessing_of(look_alike(L.Rescaling(1 / 255))) == Preprocessing(None, "raw")
    assert preprocessing_of(look_alike(widths=(64, 64, 128))) == Preprocessing("vgg16", "caffe")


def test_own_network_is_unknown_unless_it_scales():
    assert preprocessing_of(own_network()) == UNKNOWN
    assert preprocessing_of(own_network(L.RandomFlip())) == UNKNOWN
    assert preprocessing_of(own_network(L.Rescaling(1 / 255))) == Preprocessing(None, "raw")


def test_adapted_normalization_tells_what_it_was_adapted_to():
    rng = np.random.default_rng(0)
    for scale, mode in ((255, "raw"), (1, "unit")):
        layer = L.Normalization()
        layer.adapt((rng.random((8, 6, 10, 3)) * scale).astype("float32"))
        assert preprocessing_of(own_network(layer)).mode == mode


class WithCoordinates(keras.layers.Layer):
    """Two more channels: the row and the column, from -1 to 1."""

    def call(self, images):
        rows = keras.ops.linspace(-1.0, 1.0, 6)[None, :, None, None] * keras.ops.ones_like(images[..., :1])
        columns = keras.ops.linspace(-1.0, 1.0, 10)[None, None, :, None] * keras.ops.ones_like(images[..., :1])
        return keras.ops.concatenate([images, rows, columns], -1)


def spectral():
    return L.SpectralNormalization(L.Conv2D(2, 3))


@pytest.mark.parametrize(
    "first",
    [
        lambda: [spectral()],
        lambda: [WithCoordinates()],
        lambda: [L.Lambda(lambda images: keras.ops.clip(images, 0, 1))],
        lambda: [L.Lambda(lambda images: 1 - images)],
        lambda: [L.Lambda(lambda images: keras.ops.sqrt(keras.ops.abs(images) / 255))],
        lambda: [L.Rescaling(1 / 65535)],
        lambda: [L.Rescaling(1 / 4095)],
        lambda: [L.Rescaling(1 / 4000, 0.25)],
        lambda: [L.Rescaling(1 / 400, 0.4)],  # soft tissue, -160 to 240 Hounsfield units
        lambda: [L.Lambda(lambda images: keras.ops.clip((images + 160) / 400, 0, 1))],
        lambda: [L.Normalization(mean=-500.0, variance=450.0**2)],
        lambda: [L.Rescaling(0.5)],
    ],
)
def test_change_that_is_not_a_convention_is_unknown(first):
    assert preprocessing_of(own_network(*first())).mode == "unknown"


@pytest.mark.parametrize(
    ("first", "mode"),
    [
        (lambda: [L.Rescaling(1 / 255), spectral()], "raw"),
        (lambda: [L.Rescaling(1 / 255), WithCoordinates()], "raw"),
        (lambda: [L.Lambda(lambda images: keras.ops.clip(images / 255, 0, 1))], "raw"),
        (lambda: [L.Rescaling(1 / 255, -0.5)], "raw"),
        (lambda: [L.Rescaling(1 / 128, -1)], "raw"),
        (lambda: [L.Normalization(mean=33.3, variance=78.6**2)], "raw"),  # MNIST, dark
        (lambda: [L.Normalization(mean=0.1307, variance=0.3081**2)], "unit"),
        (lambda: [L.Lambda(lambda images: images[..., ::-1] - [103.9, 116.8, 123.7])], "raw"),
        (lambda: [L.Rescaling(2, -1)], "unit"),
        (lambda: [L.Rescaling(255)], "unit"),
    ],
)
def test_change_to_a_convention_tells_what_the_model_takes(first, mode):
    found = preprocessing_of(own_network(*first()))
    assert (found.mode, found.source) == (mode, "own")


# Where 0..255 arrives with a constant that is written with two digits, or one: 1 / 255 as 0.0039, 1 / 250 or 1 / 256.
NEAR = [
    *(lambda scale=scale: [L.Rescaling(scale)] for scale in (0.0039, 0.00392, 0.004, 1 / 250, 1 / 254, 1 / 256)),
    *(lambda scale=scale: [L.Rescaling(scale, -1)] for scale in (1 / 128, 1 / 127, 0.0078, 0.00784, 0.008)),
    lambda: [L.Rescaling(1 / 128, -127 / 128)],
    lambda: [L.Lambda(lambda images: (images - [103.94, 116.78, 123.68]) * 0.017)],
    lambda: [L.Lambda(lambda images: (images / 255 - [0.4914, 0.4822, 0.4465]) / [0.247, 0.2435, 0.2616])],  # CIFAR
    lambda: [L.Rescaling(1, -128)],
    lambda: [L.Lambda(lambda images: images - [93.6, 104.8, 129.2])],  # faces
    lambda: [L.Rescaling(1 / 255, -0.45)],
]


@pytest.mark.parametrize("first", NEAR)
def test_constant_that_is_rounded_is_still_the_convention(first):
    assert preprocessing_of(own_network(*first())).mode == "raw"


@pytest.mark.parametrize(
    ("scale", "offset"),
    [
        (2.0, 0.0),  # [-1, 1] would arrive as [-2, 2]
        (1 / 127.5, 0.0),  # [0, 2]: an offset is missing, or meant so
        (1 / 128, 0.0),
        (1 / 63.75, -2.0),
        (1 / 240, 0.0),  # 6 % from 1 / 255
        (1 / 127.5, -0.9),
        (1.0, -1024.0),
        (0.5, -0.25),
    ],
)
def test_constant_farther_than_rounding_is_unknown(scale, offset):
    assert preprocessing_of(own_network(L.Rescaling(scale, offset))).mode == "unknown"


def test_integers_of_sixteen_bits_are_not_photos():
    inputs = keras.Input((6, 10, 1), dtype="uint16")
    model = keras.Model(inputs, classifier(L.Conv2D(2, 3)(keras.ops.cast(inputs, "float32"))))
    assert preprocessing_of(model).mode == "unknown"


def test_hounsfield_units_are_not_warned_of_where_the_scaling_is_unknown():
    found = preprocessing_of(own_network(L.Rescaling(1 / 4000, 0.25)))
    assert range_warning(ramp(-1024, 3000), found) is None


@pytest.mark.parametrize(
    ("first", "statement"),
    [
        ([], r"^unknown \(unknown values\), because the model does not show its own\.$"),
        ([L.Rescaling(1 / 255)], r"^raw \(RGB in 0\.\.255\), from the model's own Rescaling layer\.$"),
        (
            [L.Normalization(mean=0.45, variance=0.06)],
            r"^unit \(RGB in \[0, 1\]\), from the model's own Normalization l",
        ),
    ],
)
def test_statement_names_the_scaling_and_how_it_is_known(first, statement):
    assert re.search(statement, preprocessing_of(own_network(*first)).statement)


def test_statement_of_an_assumption_has_a_remedy_for_both_doors():
    statement = preprocessing_of(look_alike(widths=(64, 64, 128))).statement
    assert statement == (
        "caffe (BGR in 0..255 less ImageNet's mean colour), assumed, because the backbone is VGG16; if you trained on "
        "pictures / 255 use preprocess='unit'."
    )
    assert for_command_line(statement).endswith("if you trained on pictures / 255 use --preprocess unit.")


def test_layer_that_refuses_the_probe_leaves_the_model_unknown():
    """A probe is 4 images; this layer takes 2 at most once it is given real ones."""

    def two_at_most(images):
        if images.shape[0] is not None and images.shape[0] > 2:
            raise RuntimeError("too many")
        return images

    model = own_network(L.Lambda(two_at_most, output_shape=(6, 10, 3)))
    assert model(np.zeros((2, 6, 10, 3))).shape == (2, 2)
    assert preprocessing_of(model) == UNKNOWN


def test_integer_input_is_raw():
    inputs = keras.Input((6, 10, 3), dtype="uint8")
    model = keras.Model(inputs, classifier(L.Conv2D(2, 3)(keras.ops.cast(inputs, "float32"))))
    assert preprocessing_of(model) == Preprocessing(None, "raw")


def test_branches_that_disagree_are_unknown():
    image = keras.Input((32, 32, 3))
    scaled = L.GlobalAveragePooling2D()(backbone("MobileNet")(image))
    plain = L.GlobalAveragePooling2D()(backbone("VGG16")(image))
    assert preprocessing_of(keras.Model(image, L.Concatenate()([scaled, plain]))) == UNKNOWN


def test_normalised_table_beside_the_images_is_no_matter():
    image, table = keras.Input((32, 32, 3)), keras.Input((4,))
    features = L.GlobalAveragePooling2D()(backbone("VGG16")(image))
    numbers = L.Dense(4)(L.Normalization(mean=5.0, variance=9.0)(table))
    model = keras.Model([image, table], L.Dense(2)(L.Concatenate()([features, numbers])))
    assert preprocessing_of(model) == Preprocessing("vgg16", "caffe")


def test_subclassed_model_is_unknown():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = L.Conv2D(2, 3)

        def call(self, images):
            return self.first(images / 255)

    model = Subclassed()
    model(np.zeros((1, 6, 10, 3), "float32"))
    assert preprocessing_of(model) == UNKNOWN


class WithConverter(keras.layers.Layer):
    """A preprocessor as keras_hub builds them: its converter resizes and scales."""

    def __init__(self, scale, offset):
        super().__init__()
        self.image_converter = keras.Sequential([keras.layers.Resizing(8, 8), keras.layers.Rescaling(scale, offset)])


@pytest.mark.parametrize(
    ("scale", "offset", "mode"),
    [(1.0, 0.0, "raw"), (1 / 255, 0.0, "unit"), (2 / 255, -1.0, "tf"), (-1.0, 255.0, "unknown")],
)
def test_preprocessor_of_a_task_decides(scale, offset, mode):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()])
    object.__setattr__(model, "preprocessor", WithConverter(scale, offset))  # around the lock of a built model
    assert preprocessing_of(model) == Preprocessing(None, mode)


def with_preprocessor(preprocessor):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()])
    object.__setattr__(model, "preprocessor", preprocessor)  # around the lock of a built model
    return model


def test_numbers_of_a_preprocessor_that_fit_no_mode_are_used():
    known = preprocessing_of(with_preprocessor(WithConverter(0.5, -7.0)))
    assert (known.mode, known.request) == ("preprocessor", "auto")
    np.testing.assert_allclose(known([[[[0, 100, 250]]]]), [[[[-7, 43, 118]]]])
    assert known.value_range == (-7, 120.5)
    assert known.meaning == "RGB in 0..255, brought to -7 to 120.5"


def test_preprocessor_without_a_converter_is_called_itself():
    assert preprocessing_of(with_preprocessor(keras.layers.Rescaling(1 / 255))).mode == "unit"
    assert preprocessing_of(with_preprocessor(lambda photos: photos[..., ::-1] / 255)) == UNKNOWN  # BGR
    assert preprocessing_of(with_preprocessor(lambda points: points["images"])) == UNKNOWN


def test_images_beside_the_numbers_of_a_preprocessor_are_reported():
    known = preprocessing_of(with_preprocessor(WithConverter(1 / 200, 0.0)))
    photos = np.random.default_rng(0).integers(0, 256, (1, 6, 10, 3)).astype(np.float32)
    sentence = range_warning(photos, known)
    assert "this model's preprocessor makes 0 to 1.275 of pictures" in sentence
    assert "`task.preprocessor(images)`" in sentence
    assert range_warning(photos / 200, known) is None
    assert range_warning(photos / 255 / 200, known) is not None  # scaled twice


def test_mode_preprocessor_needs_its_numbers():
    with pytest.raises(ValueError, match="Expected a model whose own preprocessor scales pictures"):
        Preprocessing(None, "preprocessor")


def test_looking_leaves_the_model_alone():
    model = behind(backbone("MobileNet", alpha=0.25), L.Rescaling(1 / 255))
    images = np.random.default_rng(1).random((1, 32, 32, 3)).astype("float32")
    before, config = model(images, training=False), model.to_json()
    preprocessing_of(model)
    np.testing.assert_array_equal(model(images, training=False), before)
    assert model.to_json() == config


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("raw", [255, 0, 51]),
        ("unit", [1, 0, 0.2]),
        ("tf", [1, -1, -0.6]),
        ("torch", [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]),
        ("caffe", [51 - 103.939, 0 - 116.779, 255 - 123.68]),
    ],
)
def test_mode_does_its_arithmetic_and_leaves_the_photo(mode, expected):
    photos = np.full((1, 6, 10, 3), [255, 0, 51], np.float32)
    images = Preprocessing(None, mode)(photos)
    np.testing.assert_allclose(images, np.full((1, 6, 10, 3), expected), rtol=1e-5, atol=1e-6)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(photos, np.full((1, 6, 10, 3), [255, 0, 51]))
    np.testing.assert_array_equal(Preprocessing(None, mode)(photos.astype(np.uint8)), images)


def test_standard_is_what_tensorflow_makes_of_each_picture():
    photos = np.random.default_rng(0).integers(0, 99, (3, 6, 10, 3)).astype(np.uint8)
    photos[2] = 7  # constant: TensorFlow divides by 1 / sqrt(180)
    expected = tf.image.per_image_standardization(photos)
    np.testing.assert_allclose(Preprocessing(None, "standard")(photos), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(Preprocessing(None, "standard")(photos[0]), expected[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "standard"])
def test_range_of_a_mode_is_what_black_and_white_become(mode):
    ends = Preprocessing(None, mode)(np.stack([np.zeros((2, 3)), np.full((2, 3), 255)]))
    np.testing.assert_allclose([ends.min(), ends.max()], MODES[mode].value_range, rtol=1e-3, atol=1e-6)


def test_unknown_mode_refuses_to_guess():
    with pytest.raises(ValueError, match=r"input scaling of this model is unknown.*raw, unit, tf, torch, caffe"):
        UNKNOWN(np.zeros((1, 6, 10, 3)))


def test_mode_that_does_not_exist_names_the_nearest():
    with pytest.raises(ValueError, match=r"'cafe'. Did you mean 'caffe'"):
        Preprocessing(None, "cafe")


@pytest.mark.parametrize("mode", ["torch", "caffe"])
def test_mean_colour_needs_three_channels(mode):
    with pytest.raises(ValueError, match="needs 3 colour channels, received 1"):
        Preprocessing(None, mode)(np.zeros((1, 6, 10, 1)))


def ramp(low: float, high: float) -> np.ndarray:
    """(1, 6, 10, 3) from `low` to `high`."""
    return np.linspace(low, high, 180, dtype=np.float32).reshape(1, 6, 10, 3)


@pytest.mark.parametrize("mode", MODES)
def test_range_warning_is_silent_on_what_is_wanted(mode):
    photos = ramp(0, 255)
    for images in (photos, photos[:, :, ::-1] * 0.3, np.zeros_like(photos)):
        assert range_warning(Preprocessing(None, mode)(images), Preprocessing("vgg16", mode)) is None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("raw", "tf"),
        ("raw", "unit"),
        ("raw", "torch"),
        ("raw", "caffe"),
        ("unit", "raw"),
        ("tf", "raw"),
        ("torch", "raw"),
        ("caffe", "raw"),
        ("unit", "caffe"),
        ("tf", "caffe"),
        ("torch", "caffe"),
        ("caffe", "tf"),
        ("caffe", "unit"),
        ("caffe", "torch"),
        ("tf", "unit"),
        ("torch", "unit"),
        ("raw", "standard"),
        ("unit", "standard"),
        ("caffe", "standard"),
        ("standard", "raw"),
        ("standard", "unit"),
        ("standard", "caffe"),
    ],
)
def test_range_warning_speaks_where_another_mode_is_given(given, wanted):
    images = Preprocessing(None, given)(ramp(0, 255))
    assert range_warning(images, Preprocessing(None, wanted)) is not None


def noisy_photos(low, high):
    """(2, 6, 10, 3) uint8 levels from `low` to `high`, both of them there."""
    photos = np.random.default_rng(0).integers(low, high + 1, (2, 6, 10, 3))
    photos[0, 0, 0] = low, high, low
    return photos.astype(np.uint8)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 40), (30, 200), (130, 255)])
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_range_warning_speaks_of_unit_images_where_tf_is_wanted(low, high, kind):
    images = (noisy_photos(low, high) / 255).astype(kind)
    assert "expects RGB in [-1, 1]" in (range_warning(images, Preprocessing(None, "tf")) or "")


def test_range_warning_speaks_of_unit_images_that_were_resized():
    """Averages of two neighbours lie between the levels of 8 bits."""
    images = noisy_photos(0, 255) / np.float32(255)
    images = (images[:, ::2] + images[:, 1::2]) / 2
    assert range_warning(images, Preprocessing(None, "tf")) is not None


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_range_warning_is_silent_on_bright_photos_in_tf(kind):
    """No pixel is darker than the middle, 127.5, so all values are in [0, 1]: k / 127.5 - 1 = (2 k - 255) / 255."""
    images = Preprocessing(None, "tf")(noisy_photos(128, 255)).astype(kind)
    assert images.min() >= 0
    assert range_warning(images, Preprocessing(None, "tf")) is None


def test_range_warning_is_silent_on_drawings_of_few_levels_in_tf():
    levels = np.array([0, 0.25, 0.5, 0.75, 1], np.float32)
    assert range_warning(np.resize(levels, (1, 6, 10, 3)), Preprocessing(None, "tf")) is None
    assert range_warning(np.resize(levels[[0, 4]], (1, 6, 10, 3)), Preprocessing(None, "raw")) is None


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_range_warning_is_silent_on_dark_photos_in_raw(kind):
    """Levels 0 and 1 of 255: nearly black, and whole numbers."""
    assert range_warning(noisy_photos(0, 1).astype(kind), Preprocessing(None, "raw")) is None


def test_range_warning_names_range_and_remedy():
    warning = range_warning(ramp(0, 255), Preprocessing("mobilenet", "tf"))
    assert warning == (
        "The images range from 0 to 255, but this model (keras.applications.mobilenet) expects RGB in [-1, 1], -1 to "
        "1. Pass RGB images in 0..255 through `keras.applications.mobilenet.preprocess_input`."
    )


def test_range_warning_for_a_model_that_scales_itself():
    warning = range_warning(ramp(0, 1), Preprocessing(None, "raw"))
    assert "range from 0 to 1" in warning
    assert "Pass RGB images in 0..255 unchanged, the model scales them itself." in warning


def test_range_warning_catches_dark_photos_given_unshifted():
    assert range_warning(ramp(0, 120), Preprocessing("vgg16", "caffe")) is not None


@pytest.mark.parametrize("mode", MODES)
def test_range_warning_never_speaks_of_black_images(mode):
    assert range_warning(np.zeros((1, 6, 10, 3), np.float32), Preprocessing("vgg16", mode)) is None


def test_range_warning_is_silent_on_unknown_models_and_nan():
    assert range_warning(ramp(0, 255), UNKNOWN) is None
    assert range_warning(np.full((1, 6, 10, 3), np.nan), Preprocessing("vgg16", "caffe")) is None


@pytest.mark.parametrize("name", FAMILIES)
def test_remedy_names_a_function_that_does_the_same(name):
    """The functions of the families that hold their arithmetic in a layer do nothing, so theirs is not named."""
    architecture, _, mode, without = FAMILIES[name]
    preprocessing = Preprocessing(architecture, without or mode)
    preprocess_input = getattr(keras.applications, architecture).preprocess_input
    does_something = preprocess_input(ramp(0, 255)).min() < 0
    assert does_something == (f"`keras.applications.{architecture}.preprocess_input`" in preprocessing.remedy)
    if does_something:
        np.testing.assert_array_equal(preprocessing(ramp(0, 255)), preprocess_input(ramp(0, 255)))


def test_remedy_without_a_family_is_the_function_of_the_mode():
    remedy = Preprocessing("mobilenet_v3", "tf").remedy
    assert "keras.applications.imagenet_utils.preprocess_input(images, mode='tf')" in remedy
    assert Preprocessing(None, "tf").remedy == remedy
    assert Preprocessing(None, "unit").remedy == "Divide RGB images in 0..255 by 255"
