"""Tiny Keras 3 models in every style that owners build them, each with a reference written the dull way.

`STYLES` maps a name to a `Style`. `style.build()` returns `(model, layer, reference)`:

    model      a keras.Model under 2000 parameters with random biases and statistics, the same at every call
    layer      what to hand to `Explainer(model, layer)`: a path, an index, a layer object or None
    reference  (images, target) -> (A, G, logits): activations (B, H, W, C) float32, gradients of the score
               before softmax or sigmoid with respect to A, and the outputs without that activation. It calls
               the very same layer objects by hand, multiplies the last kernel itself, and imports nothing of
               tf_gradcam.

`style.images(batch)` makes the input that the model wants: 12 x 20 pixels, so that a swap of axes fails.
Select by tag: `[s for s in STYLES.values() if "nested" in s.tags]`.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

Reference = Callable[[Any, Any], tuple[np.ndarray, np.ndarray, Any]]
Built = tuple[keras.Model, Any, Reference]

HEIGHT, WIDTH = 12, 20
CLASSES = 4

# Relative to the largest value of the map. A float16 number carries 11 significant bits, a bfloat16 number 8:
# one rounding is 2**-11 and 2**-8. A map is a sum of products of numbers rounded some ten times on the way,
# and a fused kernel may keep more bits in between, so ten roundings are allowed. Float32 (2**-24) needs none.
FLOAT16_TOLERANCE = 10 * 2.0**-11
BFLOAT16_TOLERANCE = 10 * 2.0**-8


def photos(batch: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Images (batch, 12, 20, 3) float32, uniform in [0, scale)."""
    return scale * np.random.default_rng(seed).random((batch, HEIGHT, WIDTH, 3), dtype=np.float32)


def bytes_as_floats(batch: int) -> np.ndarray:
    return photos(batch, scale=255.0)


def bytes_as_such(batch: int) -> np.ndarray:
    return bytes_as_floats(batch).astype("uint8")


def photo_and_vector(batch: int) -> list[np.ndarray]:
    return [photos(batch), np.random.default_rng(5).normal(size=(batch, 3)).astype("float32")]


def photo_and_vector_named(batch: int) -> dict[str, np.ndarray]:
    photo, vector = photo_and_vector(batch)
    return {"photo": photo, "vector": vector}


def photo_pairs(batch: int) -> list[np.ndarray]:
    return [photos(batch, seed=0), photos(batch, seed=1)]


def photo_and_words(batch: int) -> list[np.ndarray]:
    """Five words an image; the last two of them are padding (0)."""
    words = np.random.default_rng(6).integers(1, 10, size=(batch, 5)).astype("int32")
    words[:, 3:] = 0
    return [photos(batch), words]


@dataclass(frozen=True)
class Style:
    """One way to build a model.

    `target` is a class index or a callable outputs -> (B,). `activation` makes the model's outputs from those
    without it: "softmax", "sigmoid" or None. `tolerance` is relative to the largest value.
    """

    name: str
    build: Callable[[], Built]
    tags: frozenset[str]
    images: Callable[[int], Any] = photos
    target: Any = 1
    activation: str | None = "softmax"
    tolerance: float = 1e-5
    classifier_layers: tuple[str, ...] | None = None


STYLES: dict[str, Style] = {}


def style(*tags: str, **options: Any) -> Callable[[Callable[[], Built]], Callable[[], Built]]:
    """Enter a builder in the table under its own name."""

    def enter(build: Callable[[], Built]) -> Callable[[], Built]:
        STYLES[build.__name__] = Style(build.__name__, build, frozenset(tags), **options)
        return build

    return enter


# The parts of references: all of it eager TensorFlow.


def class_score(outputs: Any, target: Any) -> tf.Tensor:
    return target(outputs) if callable(target) else outputs[:, target]


def reference_of(
    front: Callable[[Any], tf.Tensor],
    back: Callable[[tf.Tensor, Any], Any],
    score: Callable[[Any, Any], tf.Tensor] = class_score,
) -> Reference:
    """`front(images)` gives the activations, `back(activations, images)` the outputs before the softmax.

    What `back` computes from the images alone does not pass the watched tensor and is constant to the tape:
    exactly the partial derivative. Rows of a batch are independent, so one gradient of the sum serves all.
    """

    def reference(images: Any, target: Any) -> tuple[np.ndarray, np.ndarray, Any]:
        images = keras.tree.map_structure(tf.convert_to_tensor, images)
        activations = front(images)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(activations)
            outputs = back(activations, images)
            total = tf.reduce_sum(score(outputs, target))
        gradients = tape.gradient(total, activations)
        return _float32(activations), _float32(gradients), keras.tree.map_structure(_float32, outputs)

    return reference


def _float32(tensor: tf.Tensor) -> np.ndarray:
    return tf.cast(tensor, "float32").numpy()


def dense(layer: layers.Dense, features: tf.Tensor) -> tf.Tensor:
    """A Dense layer without its activation."""
    product = tf.matmul(features, tf.cast(layer.kernel.value, features.dtype))
    return product + tf.cast(layer.bias.value, features.dtype) if layer.use_bias else product


def pool(activations: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(activations, axis=(1, 2))


def signed_logit(outputs: tf.Tensor, target: Any) -> tf.Tensor:
    """One sigmoid unit is two classes: its logit is the score of class 1, minus the logit that of class 0."""
    if callable(target):
        return target(outputs)
    return outputs[:, 0] if target == 1 else -outputs[:, 0]


def chain(*steps: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The steps one after the other."""

    def run(value: Any) -> Any:
        for step in steps:
            value = step(value)
        return value

    return run


# The parts of models.


def image_input(**options: Any) -> keras.KerasTensor:
    return keras.Input((HEIGHT, WIDTH, 3), **options)


def conv(name: str, filters: int = 4, **options: Any) -> layers.Conv2D:
    return layers.Conv2D(filters, 3, **{"padding": "same", "activation": "relu", **options}, name=name)


def conv_stack(activation: str = "relu") -> list[layers.Layer]:
    """To 6 x 10 cells. `conv2` is explained: with `conv3` behind it, its gradients vary in space."""
    return [conv("conv1", strides=2), conv("conv2", 6), conv("conv3", 5, activation=activation)]


def pooling() -> layers.Layer:
    return layers.GlobalAveragePooling2D(name="pool")


def head_layers(activation: str | None = "softmax") -> list[layers.Layer]:
    return [pooling(), layers.Dense(CLASSES, activation=activation, name="head")]


def backbone_model(name: str = "backbone") -> keras.Model:
    images = image_input()
    return keras.Model(images, chain(*conv_stack())(images), name=name)


def randomise(model: keras.Model, seed: int = 11) -> keras.Model:
    """Every parameter and statistic random, none of them its default; signals stay of order one.

    With this seed no model has a tie for its top class, which half precision would decide by its rounding.
    """
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if not variable.dtype.startswith(("float", "bfloat")):
            continue  # the state of a random number generator
        shape = tuple(variable.shape)
        if variable.name in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 2.0, shape)
        elif len(shape) < 2:
            value = rng.normal(0.0, 0.3, shape)
        else:
            value = rng.normal(0.0, np.prod(shape[:-1]) ** -0.5, shape)
        variable.assign(value)
    return model


def reload(model: keras.Model, suffix: str) -> keras.Model:
    """The model saved to a file and loaded again."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / f"model{suffix}")
        model.save(path)
        return keras.models.load_model(path, compile=False)


def convs_of(model: keras.Model) -> list[layers.Layer]:
    return [model.get_layer(name) for name in ("conv1", "conv2", "conv3")]


def plain_reference(model: keras.Model, backbone: keras.Model | None = None) -> Reference:
    """Of `conv2` in the models made of `conv_stack` and `head_layers`, however they are wrapped."""
    conv1, conv2, conv3 = convs_of(backbone or model)
    head = model.get_layer("head")
    return reference_of(chain(conv1, conv2), lambda A, _: dense(head, pool(conv3(A))))


def default_reference(model: keras.Model, backbone: keras.Model | None = None) -> Reference:
    """Of `conv3`, the last layer with an extent before the pooling."""
    head = model.get_layer("head")
    return reference_of(chain(*convs_of(backbone or model)), lambda A, _: dense(head, pool(A)))


def plain_model() -> keras.Model:
    images = image_input()
    return randomise(keras.Model(images, chain(*conv_stack(), *head_layers())(images), name="plain"))


# Functional and Sequential.


@style("functional", "dense_softmax")
def functional() -> Built:
    model = plain_model()
    return model, "conv2", plain_reference(model)


@style("functional", "default_layer")
def functional_default_layer() -> Built:
    model = plain_model()
    return model, None, default_reference(model)


@style("functional", "reloaded", "keras_file")
def functional_reloaded_keras() -> Built:
    model = reload(plain_model(), ".keras")
    return model, "conv2", plain_reference(model)


@style("functional", "reloaded", "h5_file")
def functional_reloaded_h5() -> Built:
    model = reload(plain_model(), ".h5")
    return model, "conv2", plain_reference(model)


@style("functional", "compiled")
def functional_trained() -> Built:
    """Compiled and fitted for a step, so it carries an optimizer, metrics and compiled functions."""
    model = plain_model()
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(photos(4), np.array([0, 1, 2, 3]), batch_size=4, shuffle=False, verbose=0)
    return model, "conv2", plain_reference(model)


def sequential_of(*parts: layers.Layer | keras.KerasTensor) -> keras.Sequential:
    return randomise(keras.Sequential([*parts], name="sequential_of"))


def plain_sequential() -> keras.Sequential:
    return sequential_of(layers.Input((HEIGHT, WIDTH, 3)), *conv_stack(), *head_layers())


@style("sequential", "index")
def sequential_list() -> Built:
    model = plain_sequential()
    return model, 1, plain_reference(model)


@style("sequential", "object")
def sequential_add() -> Built:
    model = keras.Sequential(name="added")
    model.add(layers.Input((HEIGHT, WIDTH, 3)))
    for layer in [*conv_stack(), *head_layers()]:
        model.add(layer)
    randomise(model)
    return model, model.get_layer("conv2"), plain_reference(model)


@style("sequential", "deferred")
def sequential_built_by_build() -> Built:
    model = keras.Sequential([*conv_stack(), *head_layers()], name="by_build")
    model.build((None, HEIGHT, WIDTH, 3))
    randomise(model)
    return model, "conv2", plain_reference(model)


@style("sequential", "deferred")
def sequential_built_by_call() -> Built:
    model = keras.Sequential([*conv_stack(), *head_layers()], name="by_call")
    model(photos(2))
    randomise(model)
    return model, "conv2", plain_reference(model)


@style("sequential", "reloaded", "keras_file")
def sequential_reloaded_keras() -> Built:
    model = reload(plain_sequential(), ".keras")
    return model, "conv2", plain_reference(model)


@style("sequential", "reloaded", "h5_file")
def sequential_reloaded_h5() -> Built:
    model = reload(plain_sequential(), ".h5")
    return model, "conv2", plain_reference(model)


@style("sequential", "named_tail", classifier_layers=("pool5", "flatten", "fc1", "predictions"))
def named_tail() -> Built:
    """The layout of VGG16, explained through the names of its classifier layers."""
    model = sequential_of(
        layers.Input((HEIGHT, WIDTH, 3)),
        conv("conv5", strides=2),
        layers.MaxPooling2D(2, name="pool5"),
        layers.Flatten(name="flatten"),
        layers.Dense(8, activation="relu", name="fc1"),
        layers.Dense(CLASSES, activation="softmax", name="predictions"),
    )
    conv5, pool5, flatten, fc1, predictions = model.layers
    return model, "conv5", reference_of(conv5, lambda A, _: dense(predictions, chain(pool5, flatten, fc1)(A)))


# Nested.


def plain_nested() -> keras.Model:
    images = image_input()
    features = backbone_model()(images, training=False)  # the published recipe of fine-tuning
    return randomise(keras.Model(images, chain(*head_layers())(features), name="outer"))


@style("functional", "nested")
def nested_functional() -> Built:
    model = plain_nested()
    return model, "backbone/conv2", plain_reference(model, model.get_layer("backbone"))


@style("functional", "nested", "default_layer")
def nested_default_layer() -> Built:
    model = plain_nested()
    return model, None, default_reference(model, model.get_layer("backbone"))


@style("functional", "nested", "reloaded", "keras_file")
def nested_reloaded_keras() -> Built:
    model = reload(plain_nested(), ".keras")
    return model, "backbone/conv2", plain_reference(model, model.get_layer("backbone"))


@style("functional", "nested", "reloaded", "h5_file")
def nested_reloaded_h5() -> Built:
    model = reload(plain_nested(), ".h5")
    return model, "conv2", plain_reference(model, model.get_layer("backbone"))


@style("sequential", "nested")
def nested_sequential() -> Built:
    """Two Sequential models in a third, none of them with an Input."""
    features = keras.Sequential(conv_stack(), name="features")
    classifier = keras.Sequential(head_layers(), name="classifier")
    model = keras.Sequential([features, classifier], name="outer")
    model.build((None, HEIGHT, WIDTH, 3))
    randomise(model)
    conv1, conv2, conv3 = features.layers
    head = classifier.get_layer("head")
    reference = reference_of(chain(conv1, conv2), lambda A, _: dense(head, pool(conv3(A))))
    return model, "features/conv2", reference


@style("sequential", "nested", "reloaded", "keras_file")
def nested_sequential_reloaded() -> Built:
    original, layer, _ = nested_sequential()
    model = reload(original, ".keras")
    conv1, conv2, conv3 = model.get_layer("features").layers
    head = model.get_layer("classifier").get_layer("head")
    return model, layer, reference_of(chain(conv1, conv2), lambda A, _: dense(head, pool(conv3(A))))


@style("sequential", "nested", "augmentation", images=bytes_as_floats)
def augmented_backbone() -> Built:
    """Augmentation, which inference skips, then rescaling, then a backbone."""
    augmentation = keras.Sequential(
        [layers.RandomFlip("horizontal", seed=1), layers.RandomRotation(0.1, seed=2)], name="augmentation"
    )
    rescaling = layers.Rescaling(1 / 127.5, offset=-1.0)
    model = sequential_of(layers.Input((HEIGHT, WIDTH, 3)), augmentation, rescaling, backbone_model(), *head_layers())
    conv1, conv2, conv3 = convs_of(model.get_layer("backbone"))
    head = model.get_layer("head")
    front = chain(lambda images: images / 127.5 - 1.0, conv1, conv2)
    return model, "backbone/conv2", reference_of(front, lambda A, _: dense(head, pool(conv3(A))))


@style("functional", "uint8", images=bytes_as_such)
def uint8_input() -> Built:
    """As models are deployed: bytes in, the rescaling inside."""
    images = image_input(dtype="uint8")
    rescaling = layers.Rescaling(1 / 127.5, offset=-1.0)
    model = randomise(keras.Model(images, chain(rescaling, *conv_stack(), *head_layers())(images)))
    conv1, conv2, conv3 = convs_of(model)
    front = chain(lambda images: tf.cast(images, "float32") / 127.5 - 1.0, conv1, conv2)
    head = model.get_layer("head")
    return model, "conv2", reference_of(front, lambda A, _: dense(head, pool(conv3(A))))


@style("functional", "nested", "default_layer")
def pooled_backbone() -> Built:
    """`include_top=False, pooling="avg"`: the outer model sees no map at all."""
    images = image_input()
    backbone = keras.Model(images, chain(*conv_stack(), pooling())(images), name="backbone")
    images = image_input()
    head = layers.Dense(CLASSES, activation="softmax", name="head")
    model = randomise(keras.Model(images, head(backbone(images))))
    return model, None, default_reference(model, backbone)


@style("functional", "nested", "deep")
def nested_twice() -> Built:
    images = image_input()
    conv4 = conv("conv4")
    middle = keras.Model(images, conv4(backbone_model("inner")(images)), name="middle")
    images = image_input()
    model = randomise(keras.Model(images, chain(*head_layers())(middle(images)), name="outer"))
    conv1, conv2, conv3 = convs_of(middle.get_layer("inner"))
    head = model.get_layer("head")
    reference = reference_of(chain(conv1, conv2), lambda A, _: dense(head, pool(conv4(conv3(A)))))
    return model, "middle/inner/conv2", reference


@style("functional", "nested", "frontier", "same_names")
def two_backbones() -> Built:
    """Both backbones have a layer `conv2`; the left one is frontier when the right one is explained."""
    images = image_input()
    left, right = backbone_model("left"), backbone_model("right")
    merged = layers.Concatenate()([left(images), right(images)])
    model = randomise(keras.Model(images, chain(*head_layers())(merged)))
    head = model.get_layer("head")

    conv1, conv2, conv3 = convs_of(right)

    def back(A: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        return dense(head, pool(tf.concat([chain(*convs_of(left))(images), conv3(A)], axis=-1)))

    return model, "right/conv2", reference_of(chain(conv1, conv2), back)


@style("functional", "nested", "frontier", "inner_outputs")
def nested_pyramid() -> Built:
    """A backbone with two outputs, both used."""
    images = image_input()
    conv1, conv2, conv3 = conv_stack()
    fine = conv1(images)
    backbone = keras.Model(images, [fine, conv3(conv2(fine))], name="backbone")
    images = image_input()
    fine, coarse = backbone(images)
    model = randomise(keras.Model(images, chain(*head_layers())(layers.Concatenate()([coarse, fine]))))
    head = model.get_layer("head")
    reference = reference_of(
        chain(conv1, conv2),
        lambda A, images: dense(head, pool(tf.concat([conv3(A), conv1(images)], axis=-1))),
    )
    return model, "backbone/conv2", reference


@style("functional", "nested", "dotted_name")
def dotted_name() -> Built:
    """Keras puts dots in names (`mobilenetv2_1.00_224`) and forbids slashes."""
    images = image_input()
    backbone = backbone_model("mobilenetv2_1.00_224")
    model = randomise(keras.Model(images, chain(*head_layers())(backbone(images))))
    return model, "mobilenetv2_1.00_224/conv2", plain_reference(model, backbone)


# Branches, several inputs, several outputs, shared layers.


@style("functional", "frontier", "branch")
def residual_branch() -> Built:
    """The explained layer is on one branch of a residual block, so the skip is frontier."""
    images = image_input()
    conv1, branch1, branch2 = conv("conv1", strides=2), conv("branch1"), conv("branch2", activation=None)
    trunk = conv1(images)
    added = layers.Activation("relu", name="out")(layers.Add(name="add")([trunk, branch2(branch1(trunk))]))
    model = randomise(keras.Model(images, chain(*head_layers())(added)))
    head = model.get_layer("head")
    reference = reference_of(
        chain(conv1, branch1),
        lambda A, images: dense(head, pool(tf.nn.relu(conv1(images) + branch2(A)))),
    )
    return model, "branch1", reference


@style("functional", "frontier", "branch")
def dense_block() -> Built:
    images = image_input()
    conv1, conv2, conv3 = conv("conv1", strides=2), conv("conv2", 3), conv("conv3", 3)
    first = conv1(images)
    second = layers.Concatenate()([first, conv2(first)])
    third = layers.Concatenate()([second, conv3(second)])
    model = randomise(keras.Model(images, chain(*head_layers())(third)))
    head = model.get_layer("head")

    def back(A: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        second = tf.concat([conv1(images), A], axis=-1)
        return dense(head, pool(tf.concat([second, conv3(second)], axis=-1)))

    return model, "conv2", reference_of(chain(conv1, conv2), back)


@style("functional", "gate")
def squeeze_excitation() -> Built:
    """The explained tensor is used twice: gated, and in its own gate."""
    images = image_input()
    conv1, conv2, _ = conv_stack()
    gate = layers.Dense(6, activation="sigmoid", name="gate")
    features = conv2(conv1(images))
    weight = layers.Reshape((1, 1, 6))(gate(layers.GlobalAveragePooling2D()(features)))
    gated = layers.Multiply()([features, weight])
    model = randomise(keras.Model(images, chain(*head_layers())(gated)))
    head = model.get_layer("head")
    reference = reference_of(
        chain(conv1, conv2), lambda A, _: dense(head, pool(A * tf.reshape(gate(pool(A)), (-1, 1, 1, 6))))
    )
    return model, "conv2", reference


def photo_vector_parts() -> tuple[Any, Any, Any]:
    photo, vector = image_input(name="photo"), keras.Input((3,), name="vector")
    merged = layers.Concatenate()([layers.GlobalAveragePooling2D()(chain(*conv_stack())(photo)), vector])
    return photo, vector, layers.Dense(CLASSES, activation="softmax", name="head")(merged)


@style("functional", "frontier", "inputs", images=photo_and_vector)
def two_inputs_list() -> Built:
    photo, vector, outputs = photo_vector_parts()
    model = randomise(keras.Model([photo, vector], outputs))
    (conv1, conv2, conv3), head = convs_of(model), model.get_layer("head")
    reference = reference_of(
        lambda images: conv2(conv1(images[0])),
        lambda A, images: dense(head, tf.concat([pool(conv3(A)), images[1]], axis=-1)),
    )
    return model, "conv2", reference


@style("functional", "frontier", "inputs", "dict", images=photo_and_vector_named)
def two_inputs_dict() -> Built:
    photo, vector, outputs = photo_vector_parts()
    model = randomise(keras.Model({"photo": photo, "vector": vector}, outputs))
    (conv1, conv2, conv3), head = convs_of(model), model.get_layer("head")
    reference = reference_of(
        lambda images: conv2(conv1(images["photo"])),
        lambda A, images: dense(head, tf.concat([pool(conv3(A)), images["vector"]], axis=-1)),
    )
    return model, "conv2", reference


@style("functional", "frontier", "inputs", "masking", images=photo_and_words)
def photo_and_masked_words() -> Built:
    """Cells attend to words; padding (word 0) is masked, and the mask travels with the frontier tensor."""
    photo, words = image_input(), keras.Input((5,), dtype="int32")
    conv1, conv2, _ = conv_stack()
    cells = layers.Reshape((60, 6))(conv2(conv1(photo)))
    embedding = layers.Embedding(10, 6, mask_zero=True, name="embedding")
    attended = layers.Attention(name="attention")([cells, embedding(words)])
    summed = layers.Add()([cells, attended])
    pooled = layers.Lambda(lambda tokens: ops.mean(tokens, axis=1), output_shape=(6,))(summed)
    model = randomise(keras.Model([photo, words], layers.Dense(CLASSES, "softmax", name="head")(pooled)))
    head = model.get_layer("head")

    def back(A: tf.Tensor, images: list[tf.Tensor]) -> tf.Tensor:
        cells, values = tf.reshape(A, (-1, 60, 6)), tf.gather(embedding.embeddings.value, images[1])
        similarity = tf.matmul(cells, values, transpose_b=True)
        similarity -= 1e9 * tf.cast(images[1] == 0, "float32")[:, tf.newaxis]
        cells = cells + tf.matmul(tf.nn.softmax(similarity), values)
        return dense(head, tf.reduce_mean(cells, axis=1))

    return model, "conv2", reference_of(lambda images: conv2(conv1(images[0])), back)


@style("functional", "frontier", "inputs", "shared", "nested", images=photo_pairs)
def siamese() -> Built:
    """Two photos through one backbone; its last call, that on the right photo, is explained."""
    left, right, backbone = image_input(), image_input(), backbone_model()
    towers = [layers.GlobalAveragePooling2D()(backbone(side)) for side in (left, right)]
    outputs = layers.Dense(CLASSES, activation="softmax", name="head")(layers.Concatenate()(towers))
    model = randomise(keras.Model([left, right], outputs))
    (conv1, conv2, conv3), head = convs_of(backbone), model.get_layer("head")

    def back(A: tf.Tensor, images: list[tf.Tensor]) -> tf.Tensor:
        left = conv3(conv2(conv1(images[0])))
        return dense(head, tf.concat([pool(left), pool(conv3(A))], axis=-1))

    reference = reference_of(lambda images: conv2(conv1(images[1])), back)
    return model, "backbone/conv2", reference


@style("functional", "shared")
def shared_layer() -> Built:
    """One convolution called twice in a row; its last call is explained."""
    images = image_input()
    conv1, shared, last = conv("conv1", strides=2), conv("shared"), conv("last")
    model = randomise(keras.Model(images, chain(conv1, shared, shared, last, *head_layers())(images)))
    head = model.get_layer("head")
    front = chain(conv1, shared, shared)
    return model, "shared", reference_of(front, lambda A, _: dense(head, pool(last(A))))


@style("functional", "frontier", "outputs", target=lambda outputs: outputs[0][:, 1], activation=None)
def two_outputs_list() -> Built:
    """The second output does not depend on the explained layer, so it is frontier itself."""
    images = image_input()
    conv1, conv2, conv3 = conv_stack()
    early = conv1(images)
    label, box = layers.Dense(CLASSES, name="label"), layers.Dense(2, name="box")
    outputs = [chain(conv2, conv3, pooling(), label)(early), box(layers.GlobalAveragePooling2D()(early))]
    model = randomise(keras.Model(images, outputs))
    reference = reference_of(
        chain(conv1, conv2), lambda A, images: [dense(label, pool(conv3(A))), dense(box, pool(conv1(images)))]
    )
    return model, "conv2", reference


@style("functional", "outputs", "dict", target=lambda outputs: outputs["label"][:, 1], activation=None)
def two_outputs_dict() -> Built:
    images = image_input()
    features = chain(*conv_stack())(images)
    pooled = layers.GlobalAveragePooling2D()(features)
    label, box = layers.Dense(CLASSES, name="label"), layers.Dense(2, name="box")
    model = randomise(keras.Model(images, {"label": label(pooled), "box": box(pooled)}))
    conv1, conv2, conv3 = convs_of(model)
    reference = reference_of(
        chain(conv1, conv2),
        lambda A, _: {"label": dense(label, pool(conv3(A))), "box": dense(box, pool(conv3(A)))},
    )
    return model, "conv2", reference


@style("functional", "outputs", "dict", target=lambda outputs: outputs["label"][:, 1], activation=None)
def output_is_layer() -> Built:
    """The explained activations are themselves one of the outputs."""
    images = image_input()
    conv1, conv2, conv3 = conv_stack()
    features = conv2(conv1(images))
    label = layers.Dense(CLASSES, name="label")
    model = keras.Model(images, {"features": features, "label": chain(conv3, pooling(), label)(features)})
    randomise(model)
    reference = reference_of(chain(conv1, conv2), lambda A, _: {"features": A, "label": dense(label, pool(conv3(A)))})
    return model, "conv2", reference


@style(
    "functional", "frontier", "dense_outputs", activation=None,
    target=lambda outputs: tf.reduce_mean(outputs[..., 1], axis=(1, 2)),
)  # fmt: skip
def u_net() -> Built:
    """Segmentation (B, 12, 20, K): the score is the mean over all pixels; the skip is frontier."""
    images = image_input()
    conv1, down, up = conv("conv1"), conv("down", 6, strides=2), layers.UpSampling2D(2, name="up")
    pixels = layers.Conv2D(3, 1, name="pixels")
    skip = conv1(images)
    model = keras.Model(images, pixels(layers.Concatenate()([up(down(skip)), skip])))
    randomise(model)

    def back(A: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        merged = tf.concat([tf.repeat(tf.repeat(A, 2, axis=1), 2, axis=2), conv1(images)], axis=-1)
        return tf.einsum("bhwc,ck->bhwk", merged, pixels.kernel.value[0, 0]) + pixels.bias.value

    return model, "down", reference_of(chain(conv1, down), back)


# Heads.


def head_style(*tail: Callable[[Any], Any], activation: str = "relu") -> tuple[keras.Model, Callable[..., Reference]]:
    """A model of `conv_stack` and the given tail, and what makes the reference of `conv2` from a function.

    That function takes F, what `conv3` makes of the explained activations, to the outputs before the softmax.
    """
    images = image_input()
    conv1, conv2, conv3 = conv_stack(activation)
    model = randomise(keras.Model(images, chain(conv1, conv2, conv3, *tail)(images)))

    def reference(rest: Callable[[tf.Tensor], tf.Tensor], score: Any = class_score) -> Reference:
        return reference_of(chain(conv1, conv2), lambda A, _: rest(conv3(A)), score)

    return model, reference


@style("functional", "head")
def softmax_activation_layer() -> Built:
    head = layers.Dense(CLASSES, name="head")
    model, reference = head_style(pooling(), head, layers.Activation("softmax"))
    return model, "conv2", reference(lambda F: dense(head, pool(F)))


@style("functional", "head")
def softmax_layer() -> Built:
    head = layers.Dense(CLASSES, name="head")
    model, reference = head_style(pooling(), head, layers.Softmax())
    return model, "conv2", reference(lambda F: dense(head, pool(F)))


@style("functional", "head", "ops")
def softmax_operation() -> Built:
    """A temperature of 2, then the bare operation: no layer at all."""
    head = layers.Dense(CLASSES, name="head")
    model, reference = head_style(pooling(), head, lambda logits: ops.softmax(logits / 2.0, axis=-1))
    return model, "conv2", reference(lambda F: dense(head, pool(F)) / 2.0)


@style("functional", "head", "ops")
def softmax_function() -> Built:
    head = layers.Dense(CLASSES, name="head")
    model, reference = head_style(pooling(), head, keras.activations.softmax)
    return model, "conv2", reference(lambda F: dense(head, pool(F)))


@style("functional", "head", activation=None)
def no_activation() -> Built:
    head = layers.Dense(CLASSES, name="head")
    model, reference = head_style(pooling(), head)
    return model, "conv2", reference(lambda F: dense(head, pool(F)))


@style("functional", "head", "binary", activation="sigmoid", target=1)
def sigmoid_unit_class_1() -> Built:
    head = layers.Dense(1, activation="sigmoid", name="head")
    model, reference = head_style(pooling(), head)
    return model, "conv2", reference(lambda F: dense(head, pool(F)), signed_logit)


@style("functional", "head", "binary", activation="sigmoid", target=0)
def sigmoid_unit_class_0() -> Built:
    head = layers.Dense(1, name="head")
    model, reference = head_style(pooling(), head, layers.Activation("sigmoid"))
    return model, "conv2", reference(lambda F: dense(head, pool(F)), signed_logit)


@style("functional", "head", "multi_label", activation="sigmoid")
def multi_label() -> Built:
    head = layers.Dense(CLASSES, activation="sigmoid", use_bias=False, name="head")
    model, reference = head_style(pooling(), head)
    return model, "conv2", reference(lambda F: dense(head, pool(F)))


@style("functional", "head", "regression", activation=None, target=lambda outputs: outputs[:, 0])
def regression() -> Built:
    head = layers.Dense(1, name="head")
    model, reference = head_style(pooling(), head)
    return model, "conv2", reference(lambda F: dense(head, pool(F)))


@style("functional", "head", "default_layer")
def convolution_head() -> Built:
    """MobileNet: a 1x1 convolution on the pooled cell, a reshape, then softmax."""
    head = layers.Conv2D(CLASSES, 1, padding="same", name="conv_preds")
    model, _ = head_style(
        layers.GlobalAveragePooling2D(keepdims=True, name="pool"),
        layers.Dropout(0.3, seed=1),
        head,
        layers.Reshape((CLASSES,)),
        layers.Activation("softmax", name="predictions"),
    )
    front = chain(*convs_of(model))
    kernel, bias = head.kernel.value[0, 0], head.bias.value
    return model, None, reference_of(front, lambda A, _: tf.matmul(pool(A), kernel) + bias)


@style("functional", "head")
def softmax_then_reshape() -> Built:
    """The softmax is not the last layer, but what follows moves no value."""
    head = layers.Dense(CLASSES, activation="softmax", name="head")
    model, reference = head_style(pooling(), head, layers.Reshape((CLASSES,)), layers.Identity())
    return model, "conv2", reference(lambda F: dense(head, pool(F)))


@style("functional", "head")
def global_max_pooling() -> Built:
    head = layers.Dense(CLASSES, activation="softmax", name="head")
    model, reference = head_style(layers.GlobalMaxPooling2D(), head)
    return model, "conv2", reference(lambda F: dense(head, tf.reduce_max(F, axis=(1, 2))))


@style("functional", "head", "batch_normalisation")
def batchnorm_dropout_head() -> Built:
    norm = layers.BatchNormalization(name="norm")
    head = layers.Dense(CLASSES, activation="softmax", name="head")
    model, reference = head_style(pooling(), norm, layers.Dropout(0.5, seed=1), head)

    def rest(F: tf.Tensor) -> tf.Tensor:
        deviation = tf.sqrt(norm.moving_variance.value + norm.epsilon)
        normed = (pool(F) - norm.moving_mean.value) / deviation * norm.gamma.value + norm.beta.value
        return dense(head, normed)

    return model, "conv2", reference(rest)


@style("functional", "head", "dense_outputs", activation=None)
def mean_of_cell_probabilities() -> Built:
    """A softmax in the middle of the tail belongs to the model; the outputs are scores as they are."""
    cells = layers.Dense(CLASSES, activation="softmax", name="cells")
    model, reference = head_style(cells, pooling())
    return model, "conv2", reference(lambda F: pool(tf.nn.softmax(dense(cells, F))))


@style("functional", "head", "nested", activation=None)
def ensemble() -> Built:
    """The mean of two softmax heads is no softmax; the outputs are scores as they are."""
    images = image_input()
    features = backbone_model()(images)
    heads = [layers.Dense(CLASSES, activation="softmax", name=name) for name in ("head1", "head2")]
    members = [head(layers.GlobalAveragePooling2D()(features)) for head in heads]
    model = randomise(keras.Model(images, layers.Average()(members)))
    conv1, conv2, conv3 = convs_of(model.get_layer("backbone"))

    def back(A: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        members = [tf.nn.softmax(dense(head, pool(conv3(A)))) for head in heads]
        return (members[0] + members[1]) / 2.0

    reference = reference_of(chain(conv1, conv2), back)
    return model, "backbone/conv2", reference


@style("functional", "head", "attention")
def attention_pooling() -> Built:
    """A Softmax layer in the tail that is no output: the weights with which the cells are summed."""
    score, head = layers.Dense(1, name="score"), layers.Dense(CLASSES, activation="softmax", name="head")

    def weighted_sum(cells: keras.KerasTensor) -> keras.KerasTensor:
        return layers.Dot(axes=1)([layers.Softmax(axis=1)(score(cells)), cells])

    model, reference = head_style(layers.Reshape((60, 5)), weighted_sum, layers.Flatten(), head)

    def rest(F: tf.Tensor) -> tf.Tensor:
        cells = tf.reshape(F, (-1, 60, 5))
        return dense(head, tf.reduce_sum(tf.nn.softmax(dense(score, cells), axis=1) * cells, axis=1))

    return model, "conv2", reference(rest)


@style("functional", "head", "attention")
def self_attention() -> Built:
    attention = layers.MultiHeadAttention(num_heads=2, key_dim=3, name="attention")
    head = layers.Dense(CLASSES, activation="softmax", name="head")
    model, reference = head_style(
        layers.Reshape((60, 5)),
        lambda cells: attention(cells, cells),
        layers.GlobalAveragePooling1D(),
        head,
    )

    def rest(F: tf.Tensor) -> tf.Tensor:
        cells = tf.reshape(F, (-1, 60, 5))
        return dense(head, tf.reduce_mean(attention(cells, cells), axis=1))

    return model, "conv2", reference(rest)


@style("functional", "head", "recurrent")
def recurrent_tail() -> Built:
    lstm, head = layers.LSTM(3, name="lstm"), layers.Dense(CLASSES, activation="softmax", name="head")
    model, reference = head_style(layers.Reshape((6, 50)), lstm, head)
    return model, "conv2", reference(lambda F: dense(head, lstm(tf.reshape(F, (-1, 6, 50)))))


@style("functional", "head", "recurrent")
def time_distributed() -> Built:
    row = layers.Dense(3, activation="tanh", name="row")
    head = layers.Dense(CLASSES, activation="softmax", name="head")
    model, reference = head_style(
        layers.Reshape((6, 50)), layers.TimeDistributed(row), layers.GlobalAveragePooling1D(), head
    )

    def rest(F: tf.Tensor) -> tf.Tensor:
        rows = tf.tanh(dense(row, tf.reshape(F, (-1, 6, 50))))
        return dense(head, tf.reduce_mean(rows, axis=1))

    return model, "conv2", reference(rest)


@style("functional", "head", "lora")
def lora_head() -> Built:
    """A low-rank update beside the kernel: re-applying the raw kernel would be wrong."""
    head = layers.Dense(CLASSES, activation="softmax", name="head")
    model, reference = head_style(pooling(), head)
    head.enable_lora(2)
    randomise(model, seed=111)
    parts = {variable.name: variable.value for variable in head.variables}

    def rest(F: tf.Tensor) -> tf.Tensor:
        update = tf.matmul(parts["lora_kernel_a"], parts["lora_kernel_b"])  # alpha / rank is 1 by default
        return tf.matmul(pool(F), parts["kernel"] + update) + parts["bias"]

    return model, "conv2", reference(rest)


@style("functional", "head", "quantised")
def quantised_head() -> Built:
    """An int8 head: its twin without activation, with the same quantised parameters, gives the logits."""
    head = layers.Dense(CLASSES, activation="softmax", name="head")
    model, reference = head_style(pooling(), head)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Layer .* does not have a `quantize` method", UserWarning)
        model.quantize("int8")
    twin = layers.Dense(CLASSES, name="twin")
    twin.build((None, 5))
    twin.quantize("int8")
    for mine, theirs in zip(twin.variables, head.variables, strict=True):
        mine.assign(theirs)
    return model, "conv2", reference(lambda F: twin(pool(F)))


# Operations, own layers, own models.


@style("functional", "ops")
def operations() -> Built:
    images = image_input()
    conv1, conv2 = conv("conv1", strides=2), conv("conv2", 6, activation=None)
    head = layers.Dense(CLASSES, activation="softmax", name="head")
    features = ops.relu(conv2(conv1(images) * 2.0 + 1.0))
    features = features / (1.0 + ops.mean(features, axis=-1, keepdims=True))
    model = randomise(keras.Model(images, head(ops.mean(features, axis=(1, 2)))))

    def back(A: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        features = tf.nn.relu(A)
        return dense(head, pool(features / (1.0 + tf.reduce_mean(features, axis=-1, keepdims=True))))

    reference = reference_of(lambda images: conv2(conv1(images) * 2.0 + 1.0), back)
    return model, "conv2", reference


@style("functional", "lambda")
def lambda_layer() -> Built:
    head = layers.Dense(CLASSES, activation="softmax", name="head")
    squared = layers.Lambda(lambda features: features * features - 0.5, name="squared")
    model, reference = head_style(squared, pooling(), head)
    return model, "conv2", reference(lambda F: dense(head, pool(F * F - 0.5)))


@keras.saving.register_keras_serializable(package="tf_gradcam_tests")
class ChannelScale(layers.Layer):
    """tanh(scale * features), one scale a channel."""

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight(name="scale", shape=(input_shape[-1],), initializer="ones")

    def call(self, features: tf.Tensor) -> tf.Tensor:
        return ops.tanh(self.scale * features)


@style("functional", "custom_layer", "reloaded")
def custom_layer() -> Built:
    head = layers.Dense(CLASSES, activation="softmax", name="head")
    original, _ = head_style(ChannelScale(name="scaled"), pooling(), head)
    model = reload(original, ".keras")
    head, scaled = model.get_layer("head"), model.get_layer("scaled")
    conv1, conv2, conv3 = convs_of(model)
    reference = reference_of(
        chain(conv1, conv2), lambda A, _: dense(head, pool(tf.tanh(scaled.scale.value * conv3(A))))
    )
    return model, "conv2", reference


class SmallNet(keras.Model):
    """Subclassed: only its Python code knows how the layers are connected."""

    def __init__(self, activation: str | None = None):
        super().__init__(name="small_net")
        self.conv1, self.conv2, self.conv3 = conv_stack()
        self.pool, self.head = head_layers(activation)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.head(self.pool(self.conv3(self.conv2(self.conv1(images)))))


def small_net(activation: str | None = None) -> Built:
    model = SmallNet(activation)
    model(photos(1))
    randomise(model)
    front = chain(model.conv1, model.conv2)
    return model, "conv2", reference_of(front, lambda A, _: dense(model.head, pool(model.conv3(A))))


@style("subclassed", activation=None)
def subclassed() -> Built:
    return small_net()


@style("subclassed", "head")
def subclassed_softmax() -> Built:
    return small_net("softmax")


class BackboneNet(keras.Model):
    """Subclassed around a functional backbone."""

    def __init__(self) -> None:
        super().__init__(name="backbone_net")
        self.backbone = backbone_model()
        self.pool, self.head = head_layers(None)

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.head(self.pool(self.backbone(images * 2.0 - 1.0, training=training)))


@style("subclassed", "nested", activation=None)
def subclassed_functional_backbone() -> Built:
    model = BackboneNet()
    model(photos(1))
    randomise(model)
    conv1, conv2, conv3 = convs_of(model.backbone)
    front = chain(lambda images: images * 2.0 - 1.0, conv1, conv2)
    return model, "backbone/conv2", reference_of(front, lambda A, _: dense(model.head, pool(conv3(A))))


class Centred(keras.Model):
    """Built from inputs and outputs, but its `call` does more than the graph says."""

    def call(self, images: tf.Tensor, training: bool | None = None, mask: Any = None) -> tf.Tensor:
        return super().call(images * 2.0 - 1.0, training=training, mask=mask)


@style("subclassed", "functional", "overridden_call", activation=None)
def functional_override_call() -> Built:
    images = image_input()
    model = randomise(Centred(images, chain(*conv_stack(), *head_layers(None))(images), name="centred"))
    conv1, conv2, conv3 = convs_of(model)
    front = chain(lambda images: images * 2.0 - 1.0, conv1, conv2)
    return model, "conv2", reference_of(front, lambda A, _: dense(model.get_layer("head"), pool(conv3(A))))


class Stem(keras.Model):
    """A subclassed backbone."""

    def __init__(self) -> None:
        super().__init__(name="stem")
        self.conv1, self.conv2, _ = conv_stack()

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.conv2(self.conv1(images))


@style("functional", "nested", "subclassed_inside")
def functional_subclassed_backbone() -> Built:
    """A graph around a subclassed backbone; the backbone as a whole is explained."""
    images, stem = image_input(), Stem()
    conv3 = conv("conv3")
    model = randomise(keras.Model(images, chain(stem, conv3, *head_layers())(images)))
    front = chain(stem.conv1, stem.conv2)
    return model, "stem", reference_of(front, lambda A, _: dense(model.get_layer("head"), pool(conv3(A))))


@style("functional", "nested", "subclassed_inside", "inside_a_layer")
def layer_inside_a_layer() -> Built:
    """The same, explained at a layer that the graph does not show."""
    model, _, _ = functional_subclassed_backbone()
    stem, conv3, _, head = model.layers[1:]
    reference = reference_of(stem.conv1, lambda A, _: dense(head, pool(conv3(stem.conv2(A)))))
    return model, "stem/conv1", reference


# Precision, size, training flags, regularisers, kinds of convolution.


def mixed(policy: str) -> Built:
    """The published recipe: everything in this precision, the softmax in float32.

    `conv3` is smooth: a rounding that takes a relu across zero changes its gradient by all of it.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        head = layers.Dense(CLASSES, name="head")
        model, reference = head_style(pooling(), head, layers.Activation("softmax", dtype="float32"), activation="tanh")
    finally:
        keras.config.set_dtype_policy(before)
    return model, "conv2", reference(lambda F: dense(head, pool(F)))


@style("functional", "mixed_precision", tolerance=FLOAT16_TOLERANCE)
def mixed_float16() -> Built:
    return mixed("mixed_float16")


@style("functional", "mixed_precision", tolerance=BFLOAT16_TOLERANCE)
def mixed_bfloat16() -> Built:
    return mixed("mixed_bfloat16")


@style("functional", "float64")
def float64() -> Built:
    return mixed("float64")


@style("functional", "unknown_size")
def unknown_image_size() -> Built:
    images = keras.Input((None, None, 3))
    model = randomise(keras.Model(images, chain(*conv_stack(), *head_layers())(images)))
    return model, "conv2", plain_reference(model)


@style("functional", "frozen")
def frozen() -> Built:
    model = plain_model()
    model.trainable = False
    return model, "conv2", plain_reference(model)


@style("functional", "nested", "frozen")
def partly_frozen() -> Built:
    model = plain_nested()
    model.get_layer("backbone").get_layer("conv1").trainable = False
    return model, "backbone/conv2", plain_reference(model, model.get_layer("backbone"))


@style("sequential", "batch_normalisation")
def separable() -> Built:
    """Depthwise and separable convolutions with batch normalisation between them."""
    depthwise = layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2, name="depthwise")
    norm1, norm2 = layers.BatchNormalization(name="norm1"), layers.BatchNormalization(name="norm2")
    separated = layers.SeparableConv2D(6, 3, padding="same", name="separated")
    model = sequential_of(
        layers.Input((HEIGHT, WIDTH, 3)),
        *(depthwise, norm1, layers.ReLU(6.0), separated, norm2, layers.Activation("swish", name="out")),
        *head_layers(),
    )
    head = model.get_layer("head")
    front = chain(depthwise, norm1, tf.nn.relu6, separated)
    return model, "separated", reference_of(front, lambda A, _: dense(head, pool(tf.nn.silu(norm2(A)))))


@style("sequential", "losses")
def regularised() -> Built:
    """Layers that add losses on every call."""
    model = sequential_of(
        layers.Input((HEIGHT, WIDTH, 3)),
        conv("conv1", strides=2, kernel_regularizer="l2"),
        conv("conv2", 6, activity_regularizer=keras.regularizers.L2(1e-3)),
        conv("conv3", 5),
        layers.ActivityRegularization(l1=1e-3),
        *head_layers(),
    )
    return model, "conv2", plain_reference(model)
