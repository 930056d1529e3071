"""Backbones and classifiers of keras_hub, tiny, each with its Grad-CAM map composed by hand from the same layers.

Built from configurations: nothing is downloaded. Who imports this is skipped where keras_hub is not installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.zoo.styles import chain, dense, randomise, reference_of

keras_hub = pytest.importorskip("keras_hub", reason="keras_hub is not installed: pip install keras-hub")

SHAPE, SQUARE = (32, 48, 3), (32, 32, 3)
CLASSES, TARGET = 4, 2
NONE = r"Expected a model with keras\.layers\.MultiHeadAttention.* Use Explainer"

Expected = Callable[[np.ndarray], np.ndarray]  # images (B, H0, W0, 3) to the raw map (B, H, W)
Built = tuple[keras.Model, Expected]


@dataclass(frozen=True)
class Case:
    """A classifier: its default layer, the grid there, and why AttentionExplainer refuses it, "" if it does not."""

    build: Callable[[], Built]
    layer: str
    grid: tuple[int, int]
    attention: str = NONE
    shape: tuple[int, int, int] = SHAPE

    def images(self) -> np.ndarray:
        return np.random.default_rng(1).random((2, *self.shape), dtype=np.float32)


CASES: dict[str, Case] = {}


def case(layer: str, grid: tuple[int, int], *rest: Any) -> Callable[[Callable[[], Built]], Callable[[], Built]]:
    """Enter a builder in the table under its own name; it builds once."""

    def enter(build: Callable[[], Built]) -> Callable[[], Built]:
        built = cache(build)
        CASES[build.__name__] = Case(built, layer, grid, *rest)
        return built

    return enter


def grad_cam(front: Callable[[Any], Any], back: Callable[[Any, Any], Any], grid: tuple[int, int]) -> Expected:
    """The map of a hand-written split; of tokens, the last H x W are the patches."""
    reference = reference_of(front, back)

    def expected(images: np.ndarray) -> np.ndarray:
        activations, gradients, _ = reference(images, TARGET)
        batch, channels = len(activations), activations.shape[-1]
        cells = grid[0] * grid[1]
        A, G = (t.reshape(batch, -1, channels)[:, -cells:].astype(np.float64) for t in (activations, gradients))
        return (A * G.mean(axis=1, keepdims=True)).sum(axis=-1).reshape(batch, *grid)

    return expected


def pooled(classifier: keras.Model, grid: tuple[int, int]) -> Built:
    """Explained at the backbone's very output, behind which the mean and one Dense layer come."""
    randomise(classifier)
    return classifier, grad_cam(
        classifier.backbone, lambda A, _: dense(classifier.output_dense, classifier.pooler(A)), grid
    )


def classifier_with_preprocessor(image_shape: Any = SHAPE, **scaling: Any) -> keras.Model:
    """A VGG with its preprocessor; names and widths of its layers are those of keras.applications."""
    backbone = keras_hub.models.VGGBackbone([2, 2], [64, 128], image_shape=image_shape)
    converter = keras_hub.layers.VGGImageConverter(image_size=SHAPE[:2], **scaling)
    preprocessor = keras_hub.models.VGGImageClassifierPreprocessor(converter)
    pooling = {"pooling": "avg"} if None in image_shape else {"pooling": "flatten", "pooling_hidden_dim": 8}
    return randomise(
        keras_hub.models.VGGImageClassifier(backbone, CLASSES, preprocessor, activation="softmax", **pooling)
    )


# Convolutions.


def resnet(block_type: str, is_v2: bool) -> Built:
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 8],
        stackwise_num_blocks=[1, 2],
        stackwise_num_strides=[1, 2],
        block_type=block_type,
        use_pre_activation=is_v2,
        image_shape=SHAPE,
        name="backbone",
    )
    return pooled(keras_hub.models.ResNetImageClassifier(backbone, CLASSES, activation="softmax"), (4, 6))


@case("backbone/stack1_block1_out", (4, 6))
def resnet_v1() -> Built:
    return resnet("basic_block", False)


@case("backbone/post_relu", (4, 6))
def resnet_v2() -> Built:
    return resnet("bottleneck_block", True)


@case("backbone/stack1_block1_out", (4, 6))
def resnet_vd() -> Built:
    return resnet("bottleneck_block_vd", False)


def efficientnet(*block_types: str) -> Built:
    backbone = keras_hub.models.EfficientNetBackbone(
        stackwise_kernel_sizes=[3, 3],
        stackwise_num_repeats=[1, 2],
        stackwise_input_filters=[8, 8],
        stackwise_output_filters=[8, 16],
        stackwise_expansion_ratios=[1, 4],
        stackwise_squeeze_and_excite_ratios=[0.0, 0.25],
        stackwise_strides=[1, 2],
        stackwise_block_types=block_types,
        width_coefficient=1.0,
        depth_coefficient=1.0,
        num_features=24,
        input_shape=SHAPE,
        name="backbone",
    )
    return pooled(keras_hub.models.EfficientNetImageClassifier(backbone, CLASSES), (8, 12))


@case("backbone/top_activation", (8, 12))
def efficientnet_v1() -> Built:
    return efficientnet("v1", "v1")


@case("backbone/top_activation", (8, 12))
def efficientnet_v2() -> Built:
    return efficientnet("fused", "unfused")


@case("backbone/relu", (4, 6))
def densenet() -> Built:
    backbone = keras_hub.models.DenseNetBackbone([2, 2], growth_rate=8, image_shape=SHAPE, name="backbone")
    return pooled(keras_hub.models.DenseNetImageClassifier(backbone, CLASSES), (4, 6))


@case("backbone/block3_sepconv2_act", (4, 6))
def xception() -> Built:
    filters, pooling = [[8, 12], [12, 16], [16, 20]], [True, True, False]
    backbone = keras_hub.models.XceptionBackbone(filters, pooling, image_shape=SHAPE, name="backbone")
    return pooled(keras_hub.models.XceptionImageClassifier(backbone, CLASSES), (4, 6))


@case("backbone/stage_1_csp_transition_activation", (4, 6))
def cspnet() -> Built:
    """Branches that are joined again."""
    backbone = keras_hub.models.CSPNetBackbone(
        stem_filters=8,
        stem_kernel_size=3,
        stem_strides=2,
        stackwise_depth=[1, 2],
        stackwise_strides=[2, 2],
        stackwise_num_filters=[16, 32],
        stage_type="csp",
        block_type="dark_block",
        block_ratio=[0.5],
        image_shape=SHAPE,
        name="backbone",
    )
    return pooled(keras_hub.models.CSPNetImageClassifier(backbone, CLASSES), (4, 6))


@case("backbone/block2_conv1", (16, 24))
def vgg() -> Built:
    """Its head is a Sequential of its own, and the last pooling belongs to the backbone."""
    backbone = keras_hub.models.VGGBackbone([1, 1], [4, 6], image_shape=SHAPE, name="backbone")
    classifier = keras_hub.models.VGGImageClassifier(backbone, CLASSES, pooling="flatten", pooling_hidden_dim=8)
    randomise(classifier)
    conv1, pool1, conv2, pool2 = backbone.layers[1:]
    flatten, fc1, _, fc2, predictions = classifier.head.layers
    front = chain(conv1, pool1, conv2)
    return classifier, grad_cam(front, lambda A, _: dense(predictions, chain(pool2, flatten, fc1, fc2)(A)), (16, 24))


@case("backbone/block_3_0", (4, 6))
def mobilenet() -> Built:
    """Blocks are layers that hold layers; the head is a convolution of one cell."""
    backbone = keras_hub.models.MobileNetBackbone(
        stackwise_expansion=[[16], [24, 24]],
        stackwise_num_blocks=[1, 2],
        stackwise_num_filters=[[8], [16, 16]],
        stackwise_kernel_size=[[3], [5, 5]],
        stackwise_num_strides=[[2], [2, 1]],
        stackwise_se_ratio=[[None], [0.25, 0.25]],
        stackwise_activation=[["relu"], ["hard_swish", "hard_swish"]],
        stackwise_padding=[[1], [2, 2]],
        output_num_filters=16,
        depthwise_filters=8,
        depthwise_stride=1,
        depthwise_residual=False,
        last_layer_filter=24,
        squeeze_and_excite=0.5,
        input_num_filters=8,
        image_shape=SHAPE,
        name="backbone",
    )
    classifier = keras_hub.models.MobileNetImageClassifier(backbone, CLASSES, num_features=12)
    randomise(classifier)
    head = chain(classifier.pooler, classifier.output_conv, classifier.flatten)
    return classifier, grad_cam(backbone, lambda A, _: dense(classifier.output_dense, head(A)), (4, 6))


@case("head_last", (4, 6))
def hgnetv2() -> Built:
    """The backbone returns a dict of feature maps, of which one is read."""
    backbone = keras_hub.models.HGNetV2Backbone(
        depths=[1, 2],
        embedding_size=8,
        hidden_sizes=[16, 24],
        stem_channels=[3, 8, 8],
        hidden_act="relu",
        use_learnable_affine_block=False,
        stackwise_stage_filters=[(8, 8, 16, 1, 1, 3), (16, 8, 24, 2, 1, 3)],
        apply_downsample=[False, True],
        use_lightweight_conv_block=[False, False],
        image_shape=SHAPE,
    )
    classifier = keras_hub.models.HGNetV2ImageClassifier(backbone, None, CLASSES, head_filters=12)
    randomise(classifier)
    return classifier, grad_cam(
        lambda images: classifier.last_conv(backbone(images)["stage2"]),
        lambda A, _: dense(classifier.output_dense, classifier.pooler(A)),
        (4, 6),
    )


# Transformers: the encoder is one layer, and the tokens that its last attention reads are inside.


def vit(pooling: str, use_class_token: bool) -> Built:
    backbone = keras_hub.models.ViTBackbone(
        image_shape=SHAPE,
        patch_size=(8, 8),
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=16,
        use_class_token=use_class_token,
        name="backbone",
    )
    classifier = keras_hub.models.ViTImageClassifier(backbone, CLASSES, pooling=pooling, activation="softmax")
    randomise(classifier)
    embed, encoder = backbone.layers[1:]
    first, last = encoder.encoder_layers
    before = chain(embed, first)

    def back(normed: Any, images: Any) -> Any:
        tokens = before(images) + last.mha(normed, normed)
        tokens = encoder.layer_norm(tokens + last.mlp(last.layer_norm_2(tokens)))
        return dense(classifier.output_dense, tokens[:, 0] if pooling == "token" else tf.reduce_mean(tokens, axis=1))

    return classifier, grad_cam(chain(before, last.layer_norm_1), back, (4, 6))


@case("backbone/vit_encoder/transformer_block_2/ln_1", (4, 6), "")
def vit_class_token() -> Built:
    return vit("token", True)


@case("backbone/vit_encoder/transformer_block_2/ln_1", (4, 6), "")
def vit_mean() -> Built:
    return vit("gap", False)


@case("backbone/deit_encoder/transformer_block_2/ln_1", (4, 6), "")
def deit() -> Built:
    """A class and a distillation token; blocks return a pair, and the encoder three things."""
    backbone = keras_hub.models.DeiTBackbone(
        image_shape=SHAPE,
        patch_size=8,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        name="backbone",
    )
    classifier = keras_hub.models.DeiTImageClassifier(backbone, CLASSES)
    randomise(classifier)
    embed, encoder = backbone.layers[1:]
    first, last = encoder.encoder_layers

    def before(images: Any) -> Any:
        return first(embed(images))[0]

    def back(normed: Any, images: Any) -> Any:
        tokens = before(images) + last.mha(normed, normed)
        tokens = last.output_layer(last.mlp(last.layer_norm_2(tokens)), tokens)
        return dense(classifier.output_dense, encoder.layer_norm(tokens)[:, 0])

    return classifier, grad_cam(chain(before, last.layer_norm_1), back, (4, 6))


@case("backbone/encoder/layers_1/norm1", (4, 4), "", SQUARE)
def dinov2() -> Built:
    """A class token and four registers; no classifier in keras_hub, and its input is a dict. Square images alone."""
    backbone = keras_hub.models.DINOV2Backbone(
        patch_size=8,
        num_layers=2,
        hidden_dim=8,
        num_heads=2,
        intermediate_dim=16,
        num_register_tokens=4,
        image_shape=SQUARE,
        position_embedding_shape=SQUARE,
    )
    images = keras.Input(SQUARE)
    inner = keras.Model(backbone.inputs, backbone.outputs[0], name="backbone")
    head = keras.layers.Dense(CLASSES, name="head")
    model = randomise(keras.Model(images, head(inner({"images": images})[:, 0])))
    first, last = backbone.encoder.layers
    before = chain(backbone.embeddings, first)

    def back(normed: Any, images: Any) -> Any:
        tokens = before(images) + last.layer_scale1(last.attention(normed))
        tokens = tokens + last.layer_scale2(last.mlp(last.norm2(tokens)))
        return dense(head, backbone.layernorm(tokens)[:, 0])

    return model, grad_cam(chain(before, last.norm1), back, (4, 4))


@case("backbone/hierarchical_encoder_1_0", (4, 4), NONE, SQUARE)
def mit() -> Built:
    """A layer a block: the tokens before the last lie in the graph. Its attention takes square images alone."""
    backbone = keras_hub.models.MiTBackbone(
        layerwise_depths=[1, 2],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        image_shape=SQUARE,
        hidden_dims=[8, 16],
        name="backbone",
    )
    classifier = keras_hub.models.MiTImageClassifier(backbone, CLASSES)
    randomise(classifier)
    *before, last, norm, _ = backbone.layers[1:]  # the last puts the tokens on a grid
    return classifier, grad_cam(
        chain(*before),
        lambda A, _: dense(classifier.output_dense, tf.reduce_mean(norm(last(A)), axis=1)),
        (4, 4),
    )


def swin(*depths: int) -> tuple[keras.Model, list[Any]]:
    backbone = keras_hub.models.SwinTransformerBackbone(
        image_shape=SHAPE, embed_dim=4, depths=depths, num_heads=(1, 2), window_size=2, name="backbone"
    )
    classifier = keras_hub.models.SwinTransformerImageClassifier(backbone, CLASSES)
    return randomise(classifier), backbone.layers[1:]


@case("backbone/stage_0", (4, 6))
def swin_of_single_blocks() -> Built:
    classifier, (embed, drop, stage0, stage1, norm) = swin(1, 1)
    return classifier, grad_cam(
        chain(embed, drop, stage0),
        lambda A, _: dense(classifier.output_dense, tf.reduce_mean(norm(stage1(A)), axis=1)),
        (4, 6),
    )


@case("backbone/stage_1/blocks_1/norm1", (4, 6))
def swin_of_shifted_windows() -> Built:
    """The slope with respect to the offset of the normalisation sums the gradients of its cells: N alphas."""
    classifier, (embed, drop, stage0, stage1, _) = swin(2, 2)
    norm1 = stage1.blocks[1].norm1
    front = chain(embed, drop, stage0, stage1.blocks[0], norm1)

    def expected(images: np.ndarray) -> np.ndarray:
        maps = []
        for image in images[:, None]:
            with tf.GradientTape() as tape:
                score = classifier(image)[0, TARGET]
            slope = tape.gradient(score, norm1.beta.value).numpy()
            maps.append(front(image).numpy() @ slope / 24)
        return np.concatenate(maps).reshape(-1, 4, 6)

    return classifier, expected


# Segmenters and detectors with their preprocessor, which divides by 200.


@dataclass(frozen=True)
class Task:
    """A task that is not a classifier: its default layer, the grid of its map there, a target on its outputs, and the
    end of a segmenter's layer for detail."""

    build: Callable[[], keras.Model]
    layer: str
    grid: tuple[int, int]
    target: Callable[[Any], Any]
    detail: str = ""


def encoder(shape: tuple[int, int, int]) -> keras.Model:
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 8, 8, 8],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=shape,
    )


def deeplab_v3() -> keras.Model:
    """Its backbone leaves the size free; its preprocessor does not."""
    backbone = keras_hub.models.DeepLabV3Backbone(
        image_encoder=encoder((64, 96, 3)),
        spatial_pyramid_pooling_key="P4",
        upsampling_size=4,
        dilation_rates=[2, 4, 6],
        low_level_feature_key="P2",
        projection_filters=8,
        name="backbone",
    )
    converter = keras_hub.layers.DeepLabV3ImageConverter(image_size=(64, 96), scale=1 / 200)
    preprocessor = keras_hub.models.DeepLabV3ImageSegmenterPreprocessor(converter)
    return randomise(keras_hub.models.DeepLabV3ImageSegmenter(backbone, CLASSES, None, preprocessor))


def segformer() -> keras.Model:
    image_encoder = keras_hub.models.MiTBackbone(
        layerwise_depths=[1, 1],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        image_shape=(64, 64, 3),
        hidden_dims=[8, 16],
    )
    backbone = keras_hub.models.SegFormerBackbone(image_encoder=image_encoder, projection_filters=8)
    converter = keras_hub.layers.SegFormerImageConverter(image_size=(64, 64), scale=1 / 200)
    preprocessor = keras_hub.models.SegFormerImageSegmenterPreprocessor(converter)
    return randomise(keras_hub.models.SegFormerImageSegmenter(backbone, CLASSES, preprocessor))


def retinanet() -> keras.Model:
    backbone = keras_hub.models.RetinaNetBackbone(
        encoder((128, 128, 3)), min_level=3, max_level=5, use_p5=False, image_shape=(128, 128, 3), name="backbone"
    )
    converter = keras_hub.layers.RetinaNetImageConverter(image_size=(128, 128), scale=1 / 200)
    preprocessor = keras_hub.models.RetinaNetObjectDetectorPreprocessor(converter)
    return randomise(
        keras_hub.models.RetinaNetObjectDetector(
            backbone, CLASSES, pre_logits_num_conv_layers=1, preprocessor=preprocessor
        )
    )


TASKS = {
    "deeplab_v3": Task(
        deeplab_v3,
        "backbone/functional/stack2_block0_out",
        (4, 6),
        lambda outputs: outputs[:, 5, 5, 1],
        "/segmentation_head_relu",
    ),
    "segformer": Task(
        segformer, "seg_former_backbone/linear_16", (8, 8), lambda outputs: outputs[:, 5, 5, 1], "/activation"
    ),
    "retinanet": Task(
        retinanet,
        "backbone/fpn[0] + backbone/fpn[1] + backbone/fpn[2]",
        (16, 16),
        lambda outputs: outputs["cls_logits"][:, 7, 1],
    ),
}


def table() -> str:
    """The table of the manual: what the tests on these models hold to."""
    rows = ["| model | class in `keras_hub.models` | default layer | attention maps |", "| --- | --- | --- | --- |"]
    built = {name: (case.build()[0], case.layer, "" if case.attention else "yes") for name, case in CASES.items()}
    built |= {name: (task.build(), task.layer, "") for name, task in TASKS.items()}
    for name, (model, layer, attention) in built.items():
        is_task = isinstance(model, keras_hub.models.Task)
        kind = type(model).__name__ if is_task else "DINOV2Backbone"  # with a head of its own
        rows.append(f"| {name.replace('_', ' ')} | `{kind}` | `{layer}` | {attention or 'no'} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(table())
