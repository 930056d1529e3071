"""Tokens of transformers: their grid, the default layer, and maps against a gradient laid out by hand."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.helpers.slow import first
from tests.zoo.transformers import (
    CLASSES,
    WIDTH,
    SubclassedBlocks,
    one_layer_block,
    one_layer_encoder,
    pictures,
    seeded,
    subclassed_vit,
    vit,
    windowed,
)
from tf_gradcam import Explainer, list_layers
from tf_gradcam._models.transformers import TokenLayout, find_layout

PICTURE = (None, 8, 12, 3)


@pytest.mark.parametrize(
    ("count", "image", "expected"),
    [
        (6, PICTURE, TokenLayout(0, (2, 3))),  # patches of 4
        (7, PICTURE, TokenLayout(1, (2, 3))),
        (24, PICTURE, TokenLayout(0, (4, 6))),  # patches of 2
        (27, PICTURE, TokenLayout(3, (4, 6))),
        (96, PICTURE, TokenLayout(0, (8, 12))),  # each pixel
        (197, (None, 224, 224, 3), TokenLayout(1, (14, 14))),
        (201, (None, 224, 224, 3), TokenLayout(5, (14, 14))),  # class token and four registers
        (10, (None, 12, 12, 3), TokenLayout(1, (3, 3))),  # not 6 and 2 x 2: the smallest prefix
    ],
)
def test_layout_is_the_grid_of_square_patches_behind_the_smallest_prefix(
    count: int, image: tuple[int | None, ...], expected: TokenLayout
) -> None:
    assert find_layout(count, image) == expected


@pytest.mark.parametrize("count", [15, 33, 1, 5])  # 9 before 6, 9 before 24, one patch, fewer than a grid
def test_layout_names_the_remedy_where_no_grid_fits(count: int) -> None:
    with pytest.raises(ValueError, match=r"received \d+ tokens, which fit no such grid.*token_grid=\(rows, columns\)"):
        find_layout(count, PICTURE)


def test_layout_takes_the_given_grid_and_drops_all_before_it() -> None:
    assert find_layout(27, (None, None, None, 3), (4, 6)) == TokenLayout(3, (4, 6))
    assert find_layout(24, PICTURE, (3, 8)) == TokenLayout(0, (3, 8))


@pytest.mark.parametrize(
    ("count", "image", "grid", "error", "message"),
    [
        (24, PICTURE, (5, 5), ValueError, "at most 24 patches.*5 x 5 = 25"),
        (24, PICTURE, (0, 5), ValueError, "two positive numbers"),
        (24, PICTURE, (24,), ValueError, "two positive numbers"),
        (24, PICTURE, (2.5, 2), TypeError, "two whole numbers"),
        (24, (None, None, None, 3), None, ValueError, r"known size.*token_grid"),
        (None, PICTURE, (4, 6), ValueError, "fixed number of tokens.*images of one size"),
    ],
)
def test_layout_refuses_in_words(count: Any, image: Any, grid: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        find_layout(count, image, grid)


def by_hand(model: keras.Model, images: np.ndarray, layer: str, prefix: int, grid: tuple[int, int]) -> Any:
    """Patches and gradients (B, H, W, C) of the top class's logit at a layer of the last block or before it.

    Of a Keras model of its own that starts at the layer; the branch round it enters as a constant.
    """
    names = dict.fromkeys([layer, "block0"])
    cut = [model.get_layer(name).output for name in names]
    tokens, *others = keras.tree.flatten(keras.Model(model.input, cut)(images))
    head = model.get_layer("head")
    rest = keras.Model(cut if others else cut[0], head.input)
    with tf.GradientTape() as tape:
        tape.watch(tokens)
        logits = tf.matmul(rest([tokens, *others] if others else tokens), head.kernel) + head.bias
        score = tf.reduce_sum(tf.reduce_max(logits, axis=1))
    gradients = tape.gradient(score, tokens)
    cells = []
    for values in (tokens.numpy(), gradients.numpy()):
        laid = np.empty((len(images), *grid, WIDTH), np.float64)
        for row in range(grid[0]):
            for column in range(grid[1]):
                laid[:, row, column] = values[:, prefix + row * grid[1] + column]
        cells.append(laid)
    return cells


VARIANTS = [(4, 1, (2, 3)), (2, 3, (4, 6)), (4, 0, (2, 3))]  # class token; with two registers; mean of the tokens


@pytest.mark.parametrize(("patch", "prefix", "grid"), first(1, VARIANTS))
def test_maps_equal_a_gradient_laid_out_by_hand(patch: int, prefix: int, grid: tuple[int, int]) -> None:
    model, images = vit(patch, prefix), pictures()
    patches, gradients = by_hand(model, images, "block1_norm", prefix, grid)
    expected = {
        "gradcam": (gradients.mean(axis=(1, 2), keepdims=True) * patches).sum(axis=-1),
        "hirescam": (gradients * patches).sum(axis=-1),
    }
    for method, raw in expected.items():
        explanation = Explainer(model, method=method)(images)
        assert explanation.layer_name == "block1_norm"
        assert explanation.image_size == (8, 12)
        assert np.abs(raw).max() > 1e-3
        np.testing.assert_allclose(explanation.raw, raw, rtol=1e-3, atol=1e-5)


def test_gradcam_of_a_cut_point_equals_a_gradient_laid_out_by_hand() -> None:
    model, images = vit(4, 0), pictures()
    patches, gradients = by_hand(model, images, "block0", 0, (2, 3))
    raw = (gradients.mean(axis=(1, 2), keepdims=True) * patches).sum(axis=-1)
    np.testing.assert_allclose(Explainer(model, "block0")(images).raw, raw, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_gradient_times_patch_cancels_before_a_normalisation() -> None:
    """Why the default is behind it: LayerNormalization(a x) = LayerNormalization(x), so g . x = 0 by Euler."""
    model, images = vit(4, 1), pictures()
    patches, gradients = by_hand(model, images, "block0", 1, (2, 3))
    terms = np.abs(gradients * patches).sum(axis=-1).max()
    assert np.abs(Explainer(model, "block0", "hirescam")(images).raw).max() < 0.05 * terms  # the norm's epsilon
    patches, gradients = by_hand(model, images, "block1_norm", 1, (2, 3))
    terms = np.abs(gradients * patches).sum(axis=-1).max()
    assert np.abs(Explainer(model, "block1_norm", "hirescam")(images).raw).max() > 0.05 * terms


def test_ablation_changes_the_patches_and_leaves_the_class_token() -> None:
    model, images = vit(4, 1), pictures(1)
    tokens = keras.Model(model.input, model.get_layer("block0").output)(images).numpy()
    head = model.get_layer("head")
    rest = keras.Model(model.get_layer("block0").output, head.input)

    def logits(changed: np.ndarray) -> np.ndarray:
        return rest(changed).numpy() @ head.kernel.numpy() + head.bias.numpy()

    top = int(logits(tokens)[0].argmax())
    score, expected = logits(tokens)[0, top], np.zeros((1, 2, 3))
    for channel in range(WIDTH):
        changed = tokens.copy()
        changed[:, 1:, channel] = 0.0
        expected += (score - logits(changed)[0, top]) / abs(score) * tokens[:, 1:, channel].reshape(1, 2, 3)
    np.testing.assert_allclose(Explainer(model, "block0", "ablationcam")(images).raw, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", first(2, ["scorecam", "eigencam", "shapleycam", "fem"]))
def test_other_methods_draw_the_grid(method: str) -> None:
    heatmaps = Explainer(vit(4, 1), method=method)(pictures()).heatmaps
    assert heatmaps.shape == (2, 2, 3)
    assert np.isfinite(heatmaps).all()


@pytest.mark.slow
@pytest.mark.parametrize("prefix", [0, 1])
def test_class_maps_equal_one_call_per_class(prefix: int) -> None:
    """At the last tokens, pooled: linear in the patches alone where there is no prefix."""
    images = pictures()
    inputs = keras.Input((8, 12, 3))
    full = vit(4, prefix)
    tokens = keras.Model(full.input, full.get_layer("norm").output)(inputs)
    pooled = layers.GlobalAveragePooling1D()(tokens)
    model = seeded(keras.Model(inputs, layers.Dense(CLASSES, name="head")(pooled)))
    layer = f"{model.layers[1].name}/norm"
    explainer = Explainer(model, layer)
    maps = explainer.class_maps(images)
    assert maps.heatmaps.shape == (2, CLASSES, 2, 3)
    for number in range(CLASSES):
        one = explainer(images, target=number)
        np.testing.assert_allclose(maps.heatmaps[:, number], one.heatmaps, rtol=1e-4, atol=1e-5)
    if prefix:
        with pytest.raises(ValueError, match="global average pooling"):
            Explainer(model, layer, "cam")
    else:
        np.testing.assert_allclose(
            Explainer(model, layer, "cam")(images).heatmaps, explainer(images).heatmaps, atol=1e-5
        )


def test_default_layer_lies_before_the_last_attention() -> None:
    assert [row.path for row in list_layers(vit(4, 1, depth=3)) if row.default] == ["block2_norm"]
    assert Explainer(vit(4, 1, depth=1)).layer_name == "block0_norm"
    assert Explainer(windowed()).layer_name == "stage1"  # cells all the way, none of them read by one token alone
    assert Explainer(subclassed_vit()).layer_name == "norm1"


def test_default_layer_lies_inside_a_layer_that_is_the_whole_encoder() -> None:
    """Between the two attentions, where the graph of the model has no tensor."""
    model, images = vit(4, 1, depth=1, build=one_layer_encoder), pictures()
    explainer = Explainer(model, method="hirescam")
    assert explainer.layer_name == "block0/inner1/norm"
    assert [row.path for row in list_layers(model) if row.default] == ["block0/inner1/norm"]
    first, last = model.get_layer("block0").blocks
    tokens = first(keras.Model(model.input, model.get_layer("positions").output)(images))
    head, normed = model.get_layer("head"), last.norm(tokens)
    with tf.GradientTape() as tape:
        tape.watch(normed)
        read = model.get_layer("norm")(tokens + last.attention(normed, normed))[:, 0]
        score = tf.reduce_sum((tf.matmul(read, head.kernel) + head.bias)[:, 1])
    terms = (normed * tape.gradient(score, normed)).numpy()
    expected = terms[:, 1:].sum(axis=-1).reshape(2, 2, 3)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(explainer(images, 1).raw, expected, rtol=1e-3, atol=1e-5)


def test_default_layer_stays_in_the_graph_where_each_block_is_a_layer() -> None:
    model = vit(4, 1, depth=3, build=one_layer_block)
    assert Explainer(model).layer_name == "block1"
    assert Explainer(model, "block2/norm")(pictures()).raw.shape == (2, 2, 3)


def test_default_layer_of_a_subclassed_model_lies_before_the_last_attention_of_its_blocks() -> None:
    """A block ends behind its parts, but does not come after them."""
    model = subclassed_vit(SubclassedBlocks)
    explainer = Explainer(model, method="hirescam")
    assert explainer.layer_name == "encoder/inner1/norm"
    assert np.abs(explainer(pictures()).raw).max() > 0


def test_default_layer_of_a_convolutional_model_with_an_attention_head_stays_a_picture() -> None:
    images = keras.Input((8, 12, 3))
    cells = layers.Conv2D(WIDTH, 3, padding="same", name="conv")(images)
    tokens = layers.Reshape((-1, WIDTH))(cells)
    mixed = layers.MultiHeadAttention(2, 3)(tokens, tokens)
    model = keras.Model(images, layers.Dense(2)(layers.GlobalAveragePooling1D()(mixed)))
    assert Explainer(model).layer_name == "conv"


def test_windows_on_a_grid_need_no_layout() -> None:
    explanation = Explainer(windowed(), method="hirescam")(pictures())
    assert explanation.raw.shape == (2, 4, 6)
    with pytest.raises(ValueError, match="Leave it out"):
        Explainer(windowed(), token_grid=(4, 6))


def test_subclassed_transformer_is_explained_on_its_grid() -> None:
    explanation = Explainer(subclassed_vit(), method="hirescam")(pictures())
    assert explanation.raw.shape == (2, 2, 3)
    assert np.abs(explanation.raw).max() > 0


def test_blank_map_behind_the_last_attention_says_why() -> None:
    explanation = Explainer(vit(4, 1), "block1")(pictures())
    assert not explanation.heatmaps.any()
    assert all("before the last attention" in str(sentence) for sentence in explanation.diagnosis)


def test_split_with_prefix_tokens_is_still_the_model() -> None:
    model, images = vit(2, 3), pictures()
    split = Explainer(model, "block0").split
    cut = split.extractor(images)
    assert split.activation_shape == (None, 4, 6, WIDTH)
    assert [tuple(tensor.shape) for tensor in cut] == [(2, 4, 6, WIDTH), (2, 3, WIDTH)]
    np.testing.assert_allclose(split.tail(cut), model(images), rtol=1e-5, atol=1e-6)


def test_given_grid_replaces_the_found_one() -> None:
    model, images = vit(2, 0), pictures()
    found = Explainer(model)(images).raw
    given = Explainer(model, token_grid=(3, 8))(images).raw
    np.testing.assert_allclose(given, found.reshape(2, 3, 8), rtol=1e-5, atol=1e-6)


def test_more_prefix_tokens_than_any_rule_allows_are_found_by_following_the_picture() -> None:
    """Patches of 4 of 8 x 12 pixels: 2 x 3 of 15 tokens."""
    model, images = vit(4, 9), pictures()
    with pytest.raises(ValueError, match=r"15 tokens.*token_grid=\(rows, columns\)"):
        find_layout(15, (None, 8, 12, 3))
    followed, given = Explainer(model)(images), Explainer(model, token_grid=(2, 3))(images)
    np.testing.assert_allclose(followed.raw, given.raw, rtol=1e-5, atol=1e-6)
    assert followed.placement == given.placement


class Patches(layers.Layer):
    """Patches as keras.io's vision transformer makes them, behind resizing."""

    def call(self, images: Any) -> Any:
        patches = keras.ops.image.extract_patches(images, 6)
        return keras.ops.reshape(patches, (-1, 12 * 12, 6 * 6 * 3))


def test_patches_of_a_resized_picture_are_found_at_their_places() -> None:
    """72 x 72 pixels of 32 x 32: a patch of 6 is 6 * 32 / 72 = 2.67 pixels; no square patches of 32 make 144 tokens."""
    images = keras.Input((32, 32, 3))
    tokens = layers.Dense(WIDTH)(Patches()(layers.Resizing(72, 72)(images)))
    mixed = tokens + layers.MultiHeadAttention(2, 3)(tokens, tokens)
    model = seeded(keras.Model(images, layers.Dense(2)(layers.GlobalAveragePooling1D()(mixed))))
    explanation = Explainer(model)(np.random.default_rng(0).random((1, 32, 32, 3), np.float32))
    assert explanation.raw.shape == (1, 12, 12)
    np.testing.assert_allclose(explanation.placement.scale, (32 / 12, 32 / 12))


def test_time_steps_of_a_spectrogram_are_not_folded_into_a_square() -> None:
    """16 steps of 4 frequencies: today's rule would see 4 x 4 patches; the map repeats over the frequencies instead."""
    images = keras.Input((16, 16, 1))
    cells = layers.Conv2D(4, 3, strides=(4, 1), padding="same")(images)
    steps = layers.Reshape((16, 16), name="steps")(layers.Permute((2, 1, 3))(cells))
    model = seeded(keras.Model(images, layers.Dense(2)(layers.LSTM(3)(layers.Dense(5, name="dense")(steps)))))
    explanation = Explainer(model, "dense")(np.random.default_rng(0).random((1, 16, 16, 1), np.float32))
    assert explanation.raw.shape == (1, 16)
    assert explanation.placement.axes == (1,)
    assert explanation.image_size == (16, 16)


def test_learned_tokens_are_refused() -> None:
    images = keras.Input((8, 8, 3))
    cells = layers.Reshape((64, WIDTH))(layers.Conv2D(WIDTH, 3, padding="same")(images))
    weights = layers.Softmax(axis=1)(layers.Dense(16)(cells))
    latents = layers.Dot(1, name="latents")([weights, cells])
    model = seeded(keras.Model(images, layers.Dense(2)(layers.GlobalAveragePooling1D()(latents))))
    with pytest.raises(
        ValueError, match=r"'latents' cannot be explained: the cells of its axis 1 do not follow places"
    ):
        Explainer(model, "latents")
    assert Explainer(model, "latents", token_grid=(4, 4)).split.activation_shape == (None, 4, 4, WIDTH)


@pytest.mark.slow
def test_several_layers_share_the_grid() -> None:
    fused = Explainer(vit(4, 1), ["positions", "block0"], token_grid=(2, 3))(pictures())
    assert fused.heatmaps.shape[0] == 2
    assert fused.heatmaps.ndim == 3


def test_signals_stay_signals() -> None:
    inputs = keras.Input((12, 3))
    steps = layers.Conv1D(WIDTH, 3, name="conv")(inputs)
    model = seeded(keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(steps))))
    assert Explainer(model)(np.ones((2, 12, 3), np.float32)).raw.shape == (2, 10)
    with pytest.raises(ValueError, match="Leave it out"):
        Explainer(model, token_grid=(2, 5))
