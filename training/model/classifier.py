"""The classifier: scaling, backbone and head in one graph whose layers keep their names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from .backbone import (
    DEMO,
    build_backbone,
    copy_trunk,
    download,
    find_backbone,
    load_demo_trunk,
    load_trunk,
    scaled,
)

# Their classifier is kept, for the published call of Grad-CAM: units of fc1 and fc2.
_WITH_FC = {"VGG16": 4096, "VGG19": 4096, DEMO: 64}
_FC = ("fc1", "fc2")
_FC1_SCALE = 1 / 50**2  # of the variance
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")


def build_classifier(
    backbone: str,
    class_count: int,
    image_size: tuple[int, int],
    weights: str = "imagenet",
    *,
    arguments: Mapping[str, Any] | None = None,
    fc_units: int | None = None,
    precision: str = "float32",
) -> keras.Model:
    """Return a classifier of RGB 0..255 images; it holds only layers of Keras, so any Keras 3 loads it.

    Args:
        backbone: a network of keras.applications, in any case, or "demo". VGG16, VGG19 and "demo" keep their `flatten`,
            `fc1` and `fc2`; the others get global average pooling (`pool`). The last layer is a new `dense`.
        class_count: K, at least 2.
        image_size: (H0, W0).
        weights: "imagenet", downloaded once and kept by Keras; "demo" for the bundled model's convolutions, with the
            backbone "demo"; "none" for random ones; or a file, see `load_trunk`.
        arguments: of the constructor of the backbone, such as {"alpha": 0.75}.
        fc_units: of `fc1` and `fc2`; None for those of the network, 4096 of VGG, whose ImageNet weights then fit.
        precision: dtype policy of the layers; the last one computes in float32.

    Returns:
        A functional model (B, H0, W0, 3) -> (B, K) float32.

    Raises:
        ValueError: the backbone is unknown, there are too few classes, or the weights are of another architecture.
        ConnectionError: the download failed. FileNotFoundError: the file of weights does not exist.
    """
    name = find_backbone(backbone)
    if class_count < 2:
        raise ValueError(f"Expected at least 2 classes, received {class_count}.")
    if fc_units is not None and name not in _WITH_FC:
        raise ValueError(f"Expected fc units for one of {list(_WITH_FC)}, received them for {name}. Leave them out.")
    if precision not in PRECISIONS:
        raise ValueError(f"Expected a precision of {PRECISIONS}, received '{precision}'.")
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        images = keras.Input((*image_size, 3), name="images", dtype="float32")
        # EfficientNet has one more layer with ImageNet weights, so the network must be built with them.
        downloaded = "imagenet" if weights == "imagenet" and name not in _WITH_FC else None
        trunk = build_backbone(name, scaled(images, name), downloaded, arguments)
        if name in _WITH_FC:
            hidden = _with_fc(trunk.output, fc_units or _WITH_FC[name])
        else:
            hidden = keras.layers.GlobalAveragePooling2D(name="pool")(trunk.output)
        outputs = keras.layers.Dense(class_count, activation="softmax", dtype="float32", name="dense")(hidden)
        model = keras.Model(images, outputs, name="classifier")
    finally:
        keras.config.set_dtype_policy(policy)
    also = _FC if name in _WITH_FC else ()
    if weights == "imagenet" and also:
        copy_trunk(model, download(name), name, also)
    elif weights == DEMO:
        load_demo_trunk(model, name)
    elif weights not in ("imagenet", "none"):
        load_trunk(model, Path(weights), name, arguments, also)
    return model


def _with_fc(features: Any, units: int) -> Any:
    hidden = keras.layers.Flatten(name="flatten")(features)
    for name in _FC:
        # Weights for inputs of variance 1 would make the first steps huge: VGG's features are large.
        start = (
            "glorot_uniform" if name == "fc2" else keras.initializers.VarianceScaling(_FC1_SCALE, "fan_avg", "uniform")
        )
        hidden = keras.layers.Dense(units, activation="relu", kernel_initializer=start, name=name)(hidden)
    return hidden


def with_dropout(model: keras.Model, rate: float, seed: int) -> keras.Model:
    """Return a model of the same layers that drops a part of the inputs of `fc1`, `fc2` and `dense` in training.

    Dropout belongs to the training: a classifier that is handed on has only the layers that it computes with.

    Args:
        model: of `build_classifier`, or its last part.
        rate: in [0, 1).
        seed: of the draws.
    """
    if not rate:
        return model

    def call(layer: Any, hidden: Any, *others: Any, **named: Any) -> Any:
        if layer.name in (*_FC, "dense"):
            seeds.append(seed + len(seeds))
            hidden = keras.layers.Dropout(
                rate, seed=seeds[-1], dtype=layer.dtype_policy, name=f"dropout_before_{layer.name}"
            )(hidden)
        return layer(hidden, *others, **named)

    seeds: list[int] = []
    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
