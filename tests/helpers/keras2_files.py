"""Model files that Keras 2 writes, each with its predictions: python -m tests.helpers.keras2_files FOLDER [NAME...].

Runs in an environment with TensorFlow 2.12 to 2.15, or a later one with tf_keras. FOLDER/data is copied to
tests/models/data: configurations, names of weights and predictions of small networks.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import sys
import warnings
import zipfile

import h5py
import numpy as np
import tensorflow as tf

from tests.helpers.keras2_values import image_values, named_arrays, names_in, weight_values

try:
    import tf_keras as keras
except ImportError:
    from tensorflow import keras

L = keras.layers
apps = keras.applications
KINDS = {}


def kind(build):
    KINDS[build.__name__] = build
    return build


def sequential(*layers, shape=(32, 32, 3)):
    return keras.Sequential([L.InputLayer(input_shape=shape), *layers])


def classifier(features):
    """Add a head to a tensor of features."""
    return L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(features))


def on_backbone(backbone, preprocess=None):
    """Return the fine-tune of the Keras guide: a frozen backbone as one layer, and a head."""
    backbone.trainable = False
    images = keras.Input(backbone.input_shape[1:])
    features = backbone(preprocess(images) if preprocess else images, training=False)
    return keras.Model(images, classifier(features))


@kind
def teachable_machine():
    """Return the layout of a Teachable Machine export: three Sequential models and a truncated MobileNetV2."""
    backbone = apps.MobileNetV2(input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None)
    backbone = keras.Model(backbone.input, backbone.get_layer("out_relu").output, name="model1")
    features = keras.Sequential([backbone, L.GlobalAveragePooling2D(name="pool")], name="sequential_1")
    head = keras.Sequential(
        [
            L.Dense(10, input_shape=(1280,), activation="relu", name="dense_Dense1"),
            L.Dense(3, activation="softmax", use_bias=False, name="dense_Dense2"),
        ],
        name="sequential_3",
    )
    return keras.Sequential([features, head], name="sequential_4")


@kind
def vgg16_in_sequential():
    backbone = apps.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    for layer in backbone.layers[:15]:
        layer.trainable = False
    return keras.Sequential([backbone, L.Flatten(), L.Dense(8, activation="relu"), L.Dropout(0.5), L.Dense(3)])


@kind
def vgg16_extended():
    """Return a backbone that was extended by its output, not called."""
    backbone = apps.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    return keras.Model(backbone.input, classifier(backbone.output))


@kind
def sequential_without_input_layer():
    return keras.Sequential(
        [L.Conv2D(4, 3, activation="relu", input_shape=(20, 30, 3)), L.MaxPooling2D(), L.Flatten(), L.Dense(3)]
    )


@kind
def sequential_built_late():
    model = keras.Sequential([L.Rescaling(1 / 255), L.Conv2D(4, 3, activation="relu"), L.Flatten(), L.Dense(2)])
    model.build((None, 20, 30, 3))
    return model


def _family(name, side=32, **options):
    def build():
        return on_backbone(getattr(apps, name)(include_top=False, weights=None, input_shape=(side, side, 3), **options))

    build.__name__ = name.lower()
    return kind(build)


_family("MobileNet", alpha=0.25)
_family("MobileNetV3Small", alpha=0.75, minimalistic=False)
_family("MobileNetV3Large", alpha=0.75, minimalistic=True)
_family("EfficientNetB0")
_family("EfficientNetV2B0")
_family("EfficientNetV2S")
_family("NASNetMobile")
_family("Xception", 71)
_family("DenseNet121")
_family("ConvNeXtTiny")
_family("ResNet50")
_family("ResNet50V2")
_family("InceptionV3", 75)
_family("InceptionResNetV2", 75)
_family("RegNetX002")
_family("RegNetY002")
_family("ResNetRS50")


@kind
def efficientnet_with_statistics():
    """Return an EfficientNet with its top and a normalisation that was adapted."""
    model = apps.EfficientNetB0(weights=None, input_shape=(32, 32, 3), classes=4)
    next(layer for layer in model.layers if "ormalization" in type(layer).__name__).adapt(
        np.random.default_rng(1).random((4, 32, 32, 3)).astype("float32")
    )
    return model


def _preprocessed(module):
    def build():
        backbone = apps.MobileNetV2(input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None)
        return on_backbone(backbone, getattr(apps, module).preprocess_input)

    build.__name__ = f"preprocess_{module}"
    return kind(build)


for _module in ("mobilenet_v2", "vgg16", "densenet", "resnet_v2", "resnet50", "efficientnet"):
    _preprocessed(_module)


@kind
def preprocess_mode_torch():
    images = keras.Input((20, 30, 3))
    scaled = apps.imagenet_utils.preprocess_input(images, mode="torch", data_format="channels_last")
    return keras.Model(images, classifier(L.Conv2D(4, 3)(scaled)))


@kind
def operators():
    images = keras.Input((20, 30, 3))
    x = (images / 127.5 - 1.0) * 2 + 0.5
    x = 1.0 - x
    x = -x
    x = x**2 + x
    x = 2.0 / (abs(x) + 1)
    y = L.Conv2D(3, 3, padding="same")(x)
    x = x + y * x - y / (y * y + 1.0)
    return keras.Model(images, classifier(x))


@kind
def slices():
    images = keras.Input((20, 30, 4))
    rgb = images[..., :3]
    bgr = rgb[..., ::-1]
    cropped = bgr[:, 2:-2, 1:29:2, :]
    row = images[:, 0]
    grey = images[..., 0:1]
    one = images[:, :, :, 1]
    x = L.Conv2D(4, 3)(cropped)
    added = L.GlobalAveragePooling1D()(row)
    more = L.Flatten()(one[:, :3, :3, tf.newaxis])
    joined = L.Concatenate()([L.GlobalAveragePooling2D()(x), added, L.GlobalAveragePooling2D()(grey), more])
    return keras.Model(images, L.Dense(3)(joined))


@kind
def tf_math():
    images = keras.Input((20, 30, 3))
    x = tf.cast(images, tf.float32)
    x = tf.math.divide(x, 255.0)
    x = tf.subtract(x, [0.4, 0.5, 0.6])
    x = tf.divide(x, tf.constant([0.2, 0.3, 0.4]))
    x = tf.clip_by_value(x, -2.0, 2.0)
    x = tf.math.multiply(x, 2.0)
    x = tf.add(x, 0.1)
    x = tf.maximum(x, -1.0)
    x = tf.minimum(x, 3.0)
    x = tf.square(x) + tf.sqrt(tf.abs(x) + 1e-3)
    x = tf.math.exp(-x) + tf.math.log(x + 5.0) + tf.tanh(x) + tf.sigmoid(x) + tf.math.rsqrt(tf.square(x) + 1.0)
    x = tf.pow(x, 2.0)
    mean = tf.reduce_mean(x, axis=[1, 2], keepdims=True)
    spread = tf.math.reduce_std(x, axis=[1, 2], keepdims=True)
    x = (x - mean) / (spread + 1e-3)
    x = tf.where(x > 0.0, x, 0.1 * x)
    peak = tf.reduce_max(x, axis=-1, keepdims=True)
    low = tf.reduce_min(x, axis=-1, keepdims=True)
    total = tf.reduce_sum(x, axis=-1, keepdims=True)
    x = tf.concat([x, peak, low, total], axis=-1)
    return keras.Model(images, classifier(L.Conv2D(4, 3)(x)))


@kind
def tf_image():
    images = keras.Input((20, 30, 3))
    x = tf.image.resize(images, (16, 24))
    x = tf.image.resize(x, [15, 21], method="nearest")
    x = tf.image.rgb_to_grayscale(x) + x
    x = tf.image.flip_left_right(x)
    x = tf.pad(x, [[0, 0], [1, 1], [2, 2], [0, 0]])
    x = tf.pad(x, [[0, 0], [1, 1], [2, 2], [0, 0]], mode="REFLECT")
    x = tf.image.per_image_standardization(x)
    x = tf.image.resize(x, size=(12, 12), method="bicubic")
    x = tf.image.convert_image_dtype(x, tf.float32)
    return keras.Model(images, classifier(L.Conv2D(4, 3)(x)))


@kind
def tf_shapes():
    images = keras.Input((20, 30, 3))
    x = L.Conv2D(4, 5, strides=5)(images)
    size = tf.shape(x)[1]
    count = tf.shape(x)[0]
    a = tf.reshape(x, (-1, 24, 4))
    a = tf.transpose(a, perm=[0, 2, 1])
    a = tf.expand_dims(a, axis=-1)
    a = tf.squeeze(a, axis=-1)
    b = tf.reshape(x, [count, size * 6, 4])
    b = tf.transpose(b, (0, 2, 1))
    c = tf.stack([a, b], axis=-1)
    first, second = tf.split(c, 2, axis=-1)
    d = tf.tile(first, [1, 1, 1, 2]) + tf.repeat(second, 2, axis=-1)
    e, f = tf.unstack(d, axis=-1)
    x = tf.matmul(e, f, transpose_b=True)
    x = tf.nn.softmax(x, axis=-1)
    x = tf.math.l2_normalize(x, axis=-1)
    x = tf.concat([x, tf.zeros_like(x), tf.ones_like(x)], -1)
    x = tf.math.reduce_mean(x, 1)
    return keras.Model(images, L.Dense(3)(x))


@kind
def tf_nn():
    images = keras.Input((20, 30, 3))
    x = L.Conv2D(4, 3)(images)
    x = tf.nn.bias_add(x, [0.1, 0.2, -0.3, 0.4])
    x = tf.nn.relu(x) + tf.nn.relu6(x) + tf.nn.leaky_relu(x, alpha=0.3) + tf.nn.elu(x) + tf.nn.swish(x)
    x = tf.nn.gelu(x) + tf.nn.softplus(x) + tf.nn.tanh(x) + tf.nn.sigmoid(x) + tf.nn.selu(x)
    x = tf.nn.max_pool2d(x, 2, 2, "VALID") + tf.nn.avg_pool2d(x, ksize=2, strides=2, padding="SAME")
    x = tf.nn.max_pool(x, [1, 2, 2, 1], [1, 2, 2, 1], padding="SAME")
    x = tf.nn.depth_to_space(x, 2)
    x = tf.nn.conv2d(x, tf.ones((2, 2, 1, 3)), strides=1, padding="SAME")
    x = tf.nn.dropout(x, 0.0)
    x = tf.reduce_mean(x, [1, 2])
    x = tf.argmax(x, axis=-1, output_type=tf.int32)[:, None] + 1
    return keras.Model(images, tf.cast(x, "float32"))


@kind
def backend_functions():
    k = keras.backend
    images = keras.Input((20, 30, 3))
    x = L.Conv2D(4, 3)(images)
    x = k.relu(x) + k.sigmoid(x) + k.clip(x, -1, 1) + k.square(x) + k.exp(-k.abs(x))
    x = k.concatenate([x, x], axis=-1)
    x = k.mean(x, axis=[1, 2]) + k.max(x, axis=[1, 2]) + k.sum(x, axis=(1, 2))
    x = k.expand_dims(x, 1)
    x = k.squeeze(x, 1)
    x = k.l2_normalize(x, axis=-1)
    return keras.Model(images, k.softmax(L.Dense(3)(x)))


@kind
def activations():
    images = keras.Input((20, 30, 3))
    x = images
    for name in ("relu", "swish", "gelu", "elu", "hard_sigmoid", "softplus", "selu", "tanh", "mish", "softsign"):
        x = L.Conv2D(3, 1, activation=name)(x)
    x = L.Conv2D(3, 1, activation=tf.nn.relu)(x)
    x = L.Conv2D(3, 1, activation=tf.nn.leaky_relu)(x)
    x = L.Conv2D(3, 1, activation=tf.nn.silu)(x)
    x = L.LeakyReLU(0.2)(L.LeakyReLU(alpha=0.1)(x))
    x = L.PReLU(shared_axes=[1, 2])(L.ReLU(6.0)(L.ThresholdedReLU(0.01)(L.ELU(0.5)(x))))
    x = L.Softmax()(L.Activation("relu")(x))
    return keras.Model(images, L.Dense(3, activation=tf.nn.softmax)(L.Flatten()(x)))


@kind
def unet():
    images = keras.Input((16, 24, 3))
    down = L.Conv2D(4, 3, padding="same", activation="relu")(images)
    low = L.BatchNormalization()(L.Conv2D(8, 3, padding="same")(L.MaxPooling2D()(down)))
    up = L.Conv2DTranspose(4, 2, strides=2, padding="same", output_padding=None)(low)
    x = L.Concatenate(axis=3)([up, down])
    x = L.UpSampling2D(interpolation="bilinear")(L.AveragePooling2D()(x))
    return keras.Model(images, L.Conv2D(2, 1, activation="softmax")(x))


@kind
def cnn_lstm():
    frames = keras.Input((4, 12, 16, 3))
    cnn = keras.Sequential([L.Conv2D(4, 3, activation="relu", input_shape=(12, 16, 3)), L.GlobalAveragePooling2D()])
    x = L.TimeDistributed(cnn)(frames)
    return keras.Model(frames, L.Dense(3)(L.LSTM(5)(x)))


@kind
def bilstm_gru():
    images = keras.Input((20, 30, 1))
    x = L.Conv2D(4, 3, activation="relu")(images)
    x = L.Reshape((18, -1))(x)
    x = L.Bidirectional(L.LSTM(4, return_sequences=True))(x)
    x = L.Bidirectional(L.GRU(4, return_sequences=True), merge_mode="sum")(x)
    x = L.GRU(5, reset_after=False, return_sequences=True)(x)
    x = L.SimpleRNN(4, return_sequences=True)(x)
    x = L.RNN(L.LSTMCell(3), return_sequences=True)(x)
    x = L.RNN([L.GRUCell(3), L.GRUCell(4)])(x)
    return keras.Model(images, L.Dense(3)(x))


@kind
def convlstm():
    frames = keras.Input((3, 8, 10, 2))
    x = L.ConvLSTM2D(4, 3, padding="same")(frames)
    return keras.Model(frames, L.Dense(3)(L.GlobalMaxPooling2D()(x)))


@kind
def mixed_float16():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        images = keras.Input((20, 30, 3))
        x = L.BatchNormalization()(L.Conv2D(4, 3, activation="relu")(images))
        x = L.Dense(3)(L.GlobalAveragePooling2D()(x))
        return keras.Model(images, L.Activation("softmax", dtype="float32")(x))
    finally:
        keras.mixed_precision.set_global_policy("float32")


@kind
def augmentation():
    augment = keras.Sequential(
        [
            L.RandomFlip("horizontal", input_shape=(20, 30, 3)),
            L.RandomRotation(0.1),
            L.RandomZoom(0.1),
            L.RandomContrast(0.1),
            L.RandomTranslation(0.1, 0.1),
            L.RandomBrightness(0.1),
            L.RandomCrop(18, 28),
        ],
        name="augment",
    )
    images = keras.Input((20, 30, 3))
    x = L.Resizing(16, 24)(L.CenterCrop(18, 26)(L.Rescaling(1 / 127.5, offset=-1)(augment(images))))
    return keras.Model(images, classifier(L.Conv2D(4, 3)(L.GaussianNoise(0.1)(x))))


@kind
def random_sizes():
    return sequential(
        L.RandomHeight(0.1),
        L.RandomWidth(0.1),
        L.Conv2D(4, 3),
        L.GlobalAveragePooling2D(),
        L.Dense(3),
        shape=(20, 30, 3),
    )


@kind
def normalised():
    normalise = L.Normalization(axis=-1)
    normalise.adapt(np.random.default_rng(1).random((4, 20, 30, 3)).astype("float32"))
    fixed = L.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.2, 0.3, 0.4])
    return sequential(normalise, fixed, L.Conv2D(4, 3), L.GlobalAveragePooling2D(), L.Dense(2), shape=(20, 30, 3))


@kind
def many_layers():
    images = keras.Input((20, 30, 3))
    x = L.ZeroPadding2D(((1, 0), (0, 1)))(images)
    x = L.SeparableConv2D(4, 3, padding="same", depth_multiplier=2, kernel_regularizer=None)(x)
    x = L.DepthwiseConv2D(3, depthwise_initializer="he_normal", depthwise_regularizer=keras.regularizers.l2(1e-4))(x)
    x = L.LayerNormalization()(L.BatchNormalization(axis=[3], momentum=0.9)(x))
    x = L.Conv2D(4, 3, groups=2, dilation_rate=2, kernel_regularizer="l1_l2", kernel_constraint="max_norm")(x)
    x = L.SpatialDropout2D(0.2)(L.Cropping2D(1)(x))
    x = L.UnitNormalization()(L.GroupNormalization(2)(x))
    x = L.Multiply()([x, x])
    x = L.Add()([x, L.Average()([x, x]), L.Maximum()([x, x]), L.Subtract()([x, L.Minimum()([x, x])])])
    pooled = L.GlobalMaxPooling2D(keepdims=True)(x)
    x = L.Dot(axes=-1)([L.Flatten()(pooled), L.GlobalAveragePooling2D()(x)])
    return keras.Model(images, L.Dense(3, kernel_initializer="glorot_uniform")(L.RepeatVector(2)(x)))


@kind
def small_transformer():
    images = keras.Input((16, 24, 3))
    x = L.Reshape((6, 8))(L.Conv2D(8, 8, strides=8)(images))
    positions = L.Embedding(6, 8)(tf.range(6))
    x = x + positions
    y = L.LayerNormalization(epsilon=1e-6)(x)
    y = L.MultiHeadAttention(2, 4, dropout=0.1)(y, y)
    x = L.Add()([x, y])
    y, scores = L.MultiHeadAttention(2, 4)(x, value=x, key=x, return_attention_scores=True)
    x = L.Attention(use_scale=True)([y, x]) + L.AdditiveAttention()([y, x])
    x = L.Dense(8, activation=tf.nn.gelu)(x)
    scores = L.GlobalAveragePooling2D(data_format="channels_first")(scores)
    return keras.Model(images, L.Dense(3)(L.Concatenate()([L.Flatten()(x), scores])))


@kind
def shared_and_several():
    """Return a network of two inputs and two outputs whose encoder is called twice."""
    encoder = keras.Sequential([L.Conv2D(4, 3, input_shape=(20, 30, 3)), L.GlobalAveragePooling2D()], name="encoder")
    left, right = keras.Input((20, 30, 3), name="left"), keras.Input((20, 30, 3), name="right")
    dense = L.Dense(4)
    a, b = encoder(left), encoder(right)
    x = L.Concatenate()([dense(a), dense(b)])
    return keras.Model([left, right], [L.Dense(3, name="kinds")(x), L.Dense(1, name="distance")(abs(a - b))])


@kind
def dict_inputs():
    inputs = {"image": keras.Input((20, 30, 3), name="image"), "age": keras.Input((2,), name="age")}
    x = L.Concatenate()([L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(inputs["image"])), inputs["age"]])
    return keras.Model(inputs, {"score": L.Dense(1, name="score")(x), "kind": L.Dense(3, name="kind")(x)})


@kind
def three_dimensions():
    volume = keras.Input((6, 8, 10, 1))
    x = L.MaxPooling3D()(L.Conv3D(3, 3, padding="same")(volume))
    x = L.Conv3DTranspose(2, 2, strides=2)(x)
    return keras.Model(volume, L.Dense(2)(L.GlobalAveragePooling3D()(x)))


@kind
def one_dimension():
    signal = keras.Input((40, 2))
    x = L.SeparableConv1D(4, 3)(L.MaxPooling1D()(L.Conv1D(4, 5, padding="causal")(signal)))
    x = L.Conv1DTranspose(3, 3)(L.DepthwiseConv1D(3)(x))
    x = L.Permute((2, 1))(L.ZeroPadding1D(1)(x))
    return keras.Model(signal, L.Dense(2)(L.Flatten()(x)))


@kind
def with_optimizer():
    """Return a compiled and trained network: state of an optimizer, a custom loss and metrics."""
    model = sequential(
        L.Conv2D(4, 3), L.BatchNormalization(), L.GlobalAveragePooling2D(), L.Dense(1), shape=(20, 30, 3)
    )

    def own_loss(true, predicted):
        return tf.reduce_mean(tf.square(true - predicted))

    legacy = getattr(keras.optimizers, "legacy", keras.optimizers)
    model.compile(legacy.Adam(1e-3), loss=own_loss, metrics=["mae"])
    model.fit(np.random.rand(8, 20, 30, 3), np.random.rand(8), verbose=0)
    return model


@kind
def spectral():
    return sequential(L.SpectralNormalization(L.Conv2D(4, 3)), L.Flatten(), L.Dense(2), shape=(10, 14, 3))


@kind
def two_levels_deep():
    inner = keras.Sequential([L.Conv2D(4, 3, input_shape=(20, 30, 3)), L.BatchNormalization()])
    images = keras.Input((20, 30, 3))
    middle = keras.Model(images, L.ReLU()(inner(images)), name="middle")
    middle.layers[1].trainable = False
    return keras.Sequential([middle, L.GlobalAveragePooling2D(), L.Dense(3)])


@kind
def fixed_batch():
    images = keras.Input((20, 30, 3), batch_size=2)
    return keras.Model(images, classifier(L.Conv2D(4, 3)(images)))


@kind
def integers():
    images = keras.Input((20, 30, 3), dtype="uint8")
    x = tf.cast(images, tf.float32) / 255.0
    return keras.Model(images, classifier(L.Conv2D(4, 3)(x)))


@kind
def constraint_names():
    """Return layers with every object that Keras 2 serialises beside a layer."""
    return sequential(
        L.Conv2D(
            4,
            3,
            kernel_initializer=keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="truncated_normal"),
            bias_initializer=keras.initializers.Constant(0.1),
            kernel_regularizer=keras.regularizers.L1L2(l1=1e-4, l2=1e-4),
            activity_regularizer=keras.regularizers.l2(1e-5),
            kernel_constraint=keras.constraints.UnitNorm(axis=[0, 1, 2]),
            bias_constraint=keras.constraints.NonNeg(),
        ),
        L.BatchNormalization(beta_initializer=keras.initializers.RandomNormal(stddev=0.1), renorm=False),
        L.GlobalAveragePooling2D(),
        L.Dense(3, kernel_initializer=keras.initializers.Orthogonal(), activation=keras.activations.softmax),
    )


@kind
def application_layers():
    """Return layers that keras.applications defines for itself."""
    inside = importlib.import_module(L.Dense.__module__.partition(".layers")[0] + ".applications.convnext")
    images = keras.Input((6, 10, 3))
    x = L.Conv2D(4, 3, padding="same")(images)
    y = inside.StochasticDepth(0.2)(inside.LayerScale(1e-6, 4)(L.DepthwiseConv2D(3, padding="same")(x)))
    return keras.Model(images, classifier(x + y))


# Small networks whose configurations are kept as data; those with True as .keras files too.
DATA = {
    "activations": False,
    "application_layers": True,
    "augmentation": False,
    "bilstm_gru": True,
    "cnn_lstm": True,
    "constraint_names": False,
    "dict_inputs": False,
    "many_layers": False,
    "mixed_float16": True,
    "normalised": True,
    "operators": True,
    "random_sizes": False,
    "sequential_built_late": True,
    "shared_and_several": True,
    "slices": False,
    "small_transformer": True,
    "spectral": True,
    "tf_image": False,
    "tf_math": False,
    "tf_nn": False,
    "tf_shapes": False,
    "two_levels_deep": True,
    "unet": True,
}


MAX_TRACED = 250  # layers of a SavedModel: each takes about a tenth of a second


def fill(model, path):
    """Give a model the weights of the formula, by way of its file."""
    with h5py.File(path, "r+") as file:
        for number, (name, array) in enumerate(named_arrays(file["model_weights"])):
            if "float" in str(array.dtype):
                array[...] = weight_values(number, name, array.shape)
    model.load_weights(path)


def write(name, folder):
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = KINDS[name]()
    model.save(folder / f"{name}.h5")
    fill(model, folder / f"{name}.h5")
    scale = 1 if name.startswith("mixed") else 255
    dtypes = [getattr(tensor.dtype, "name", tensor.dtype) for tensor in model.inputs]
    shapes = [[tensor.shape[0] or 2, *tensor.shape[1:]] for tensor in model.inputs]
    images = [image_values(n, shape, scale).astype(d) for n, (shape, d) in enumerate(zip(shapes, dtypes))]  # noqa: B905
    named = dict(zip(model.input_names, images)) if isinstance(model.input, dict) else images  # noqa: B905
    outputs = model(named if len(images) > 1 else images[0], training=False)
    if isinstance(outputs, dict):
        outputs = [outputs[key] for key in sorted(outputs)]
    outputs = [np.asarray(output) for output in tf.nest.flatten(outputs)]
    arrays = {f"input{i}": a for i, a in enumerate(images)} | {f"output{i}": a for i, a in enumerate(outputs)}
    np.savez(folder / f"{name}.npz", **arrays)
    formats = {f"{name}.keras": "keras_v3" if "2.12" in tf.__version__ else "keras"}
    if len(model.submodules) < MAX_TRACED:
        formats[name] = "tf"
    for file, save_format in formats.items():
        try:
            model.save(folder / file, save_format=save_format)
        except Exception as error:
            print(f"{file}: Keras 2 cannot save it as {save_format}: {type(error).__name__} {str(error)[:150]}")
            if (folder / file).is_file():
                (folder / file).unlink()
    if name in DATA:
        about = {"shapes": shapes, "dtypes": dtypes, "scale": scale, "outputs": [rounded(output) for output in outputs]}
        write_data(name, folder, about)


def rounded(output):
    return np.vectorize(lambda value: float(f"{value:.8g}"))(output.astype("float64")).tolist()


def write_data(name, folder, about):
    """Write what a test needs to make the file again."""
    with h5py.File(folder / f"{name}.h5", "r") as file:
        about |= {"keras_version": file.attrs["keras_version"], "h5": json.loads(file.attrs["model_config"])}
        arrays = [(key, np.asarray(array)) for key, array in named_arrays(file["model_weights"])]
        groups = names_in(file["model_weights"], "layer_names")
        about["groups"] = {key: names_in(file["model_weights"][key], "weight_names") for key in groups}
    about["weights"] = [[key, list(array.shape), str(array.dtype)] for key, array in arrays]
    if DATA[name]:
        with zipfile.ZipFile(folder / f"{name}.keras") as archive:
            about["keras"] = json.loads(archive.read("config.json"))
            with h5py.File(archive.open("model.weights.h5"), "r") as file:
                places = {}
                file.visititems(lambda key, item: places.update({key: item}) if hasattr(item, "shape") else None)
                about["places"] = {
                    path: next(n for n, (_, array) in enumerate(arrays) if np.array_equal(array, place))
                    for path, place in places.items()
                    if not path.startswith("optimizer")
                }
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / f"{name}.json").write_text(json.dumps(about, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    target = pathlib.Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or KINDS:
        try:
            write(name, target)
        except Exception as error:
            print(f"{name}: not written by this Keras: {type(error).__name__} {str(error)[:200]}")
    print(f"TensorFlow {tf.__version__} wrote {len(list(target.glob('*.h5')))} .h5 and", end=" ")
    print(f"{len(list(target.glob('*.keras')))} .keras files")
