"""Which layer is meant: by name, path, index, object or by rule; and what is said where none can be."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.helpers.slow import first
from tests.zoo.styles import (
    backbone_model,
    chain,
    conv,
    head_layers,
    image_input,
    nested_twice,
    photos,
    plain_model,
    plain_nested,
    plain_sequential,
    randomise,
    residual_branch,
    shared_layer,
    two_backbones,
    two_outputs_list,
)
from tf_gradcam import Explainer, list_layers, split_model

pytestmark = pytest.mark.core
PLAIN = plain_model()  # conv1, conv2, conv3, pool, head


def name_of(model: keras.Model, layer: Any = None) -> str:
    return split_model(model, layer).layer_name


# Found.


def test_layer_by_name() -> None:
    assert name_of(PLAIN, "conv2") == "conv2"


@pytest.mark.parametrize("layer", [2, -4, np.int64(2), np.uint8(2)])
def test_layer_by_index(layer: Any) -> None:
    assert PLAIN.layers[2].name == "conv2"
    assert name_of(PLAIN, layer) == "conv2"


def test_layer_by_object() -> None:
    assert name_of(PLAIN, PLAIN.layers[2]) == "conv2"


def test_layer_by_rule() -> None:
    assert name_of(PLAIN) == "conv3"


def test_layer_by_path_and_by_inner_name() -> None:
    model, path, _ = nested_twice()
    assert path == "middle/inner/conv2"
    assert name_of(model, path) == path
    assert name_of(model, "inner/conv2") == path
    assert name_of(model, "conv2") == path


def test_layer_by_object_of_a_nested_model() -> None:
    model = plain_nested()
    assert name_of(model, model.get_layer("backbone").get_layer("conv2")) == "backbone/conv2"


def test_nested_model_that_is_called_with_a_dict_is_looked_into() -> None:
    """Keras hands it a dict of masks too, all of them None."""
    images = image_input(name="photo")
    inner = keras.Model({"photo": images}, conv("inside")(images), name="inner")
    images = image_input()
    model = randomise(keras.Model(images, chain(*head_layers())(inner({"photo": images}))))
    assert name_of(model) == "inner/inside"
    given = photos(1)
    expected = inner.get_layer("inside")(given)
    np.testing.assert_allclose(split_model(model).extractor(given), expected, rtol=1e-5, atol=1e-6)


def test_outer_name_comes_before_inner_names() -> None:
    """`conv2` is a layer of the model and one of its backbone: the model's own is meant."""
    images = image_input()
    model = keras.Model(images, chain(backbone_model(), conv("conv2"), *head_layers())(images))
    assert name_of(model, "conv2") == "conv2"
    assert name_of(model, "backbone/conv2") == "backbone/conv2"


def test_nested_model_itself_is_its_output() -> None:
    split = split_model(plain_nested(), "backbone")
    assert split.layer_name == "backbone"
    assert split.activation_shape == (None, 6, 10, 5)


def test_layer_called_twice_by_number() -> None:
    """`shared` is called twice in a row: its first result goes through it once more, the last is the default."""
    model, _, _ = shared_layer()
    shared = model.get_layer("shared")
    images = photos(1)
    first = shared(model.get_layer("conv1")(images))
    np.testing.assert_allclose(split_model(model, "shared[0]").extractor(images), first, rtol=1e-5, atol=1e-6)
    second = shared(first)
    for layer in ("shared[1]", "shared", shared):
        np.testing.assert_allclose(split_model(model, layer).extractor(images), second, rtol=1e-5, atol=1e-6)


def test_calls_are_numbered_in_list_layers_and_found_by_that() -> None:
    model, _, _ = shared_layer()
    paths = [row.path for row in list_layers(model)]
    assert paths[:4] == ["conv1", "shared[0]", "shared[1]", "last"]
    for row in list_layers(model):
        if row.explainable:
            split_model(model, row.path)


def test_call_on_the_way_to_the_output_is_taken_first() -> None:
    """The first call of `shared` alone reaches the output, though the second is the later one."""
    images = image_input()
    shared = conv("shared")
    first = shared(conv("stem")(images))
    inner = keras.Model(images, [first, shared(first)], name="inner")
    images = image_input()
    outer = randomise(keras.Model(images, chain(*head_layers())(inner(images)[0])))
    split = split_model(outer, "inner/shared")
    given = photos(1)
    expected = shared(inner.get_layer("stem")(given))
    np.testing.assert_allclose(split.extractor(given), expected, rtol=1e-5, atol=1e-6)


# Not found.


def test_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"Unknown layer 'conv4'\. Did you mean '.*'conv2'.*list_layers\(model\)"):
        name_of(PLAIN, "conv4")


def test_unknown_inner_name_gives_the_path() -> None:
    with pytest.raises(ValueError, match=r"Did you mean 'backbone/conv2'"):
        name_of(plain_nested(), "cnov2")


def test_ambiguous_inner_name_lists_the_paths() -> None:
    model, _, _ = two_backbones()
    with pytest.raises(ValueError, match=r"'conv2' is not unique: pass one of \['left/conv2', 'right/conv2'\]"):
        name_of(model, "conv2")


def test_ambiguous_inner_name_is_no_clearer_by_number() -> None:
    """A number tells calls of one layer apart, not layers of one name."""
    model, _, _ = two_backbones()
    with pytest.raises(ValueError, match=r"'conv2\[1\]' is not unique: pass one of \['left/conv2', 'right/conv2'\]"):
        name_of(model, "conv2[1]")
    assert name_of(model, "right/conv2[0]") == "right/conv2"


@pytest.mark.parametrize("layer", ["conv2[1]", "conv2[x]", "", "/conv2", "conv2/"])
def test_malformed_name_is_unknown(layer: str) -> None:
    with pytest.raises(ValueError, match="Unknown layer"):
        name_of(PLAIN, layer)


@pytest.mark.parametrize("layer", [6, 99, -7])
def test_index_out_of_range_names_both_ends(layer: int) -> None:
    assert len(PLAIN.layers) == 6
    with pytest.raises(ValueError, match=f"layer index from -6 to 5 for 'plain', received {layer}"):
        name_of(PLAIN, layer)


def test_layer_object_of_another_model_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"Layer object 'conv2' is not called by model 'plain'.*Pass a layer of this model"
    ):
        name_of(PLAIN, plain_model().get_layer("conv2"))


def test_model_itself_is_no_layer_of_its_own() -> None:
    with pytest.raises(ValueError, match=r"Layer object 'plain' is not called by model 'plain'"):
        name_of(PLAIN, PLAIN)


@pytest.mark.parametrize("layer", [0, PLAIN.layers[0]])
def test_input_layer_holds_the_picture_itself(layer: Any) -> None:
    with pytest.raises(ValueError, match=r"is an input, which holds the image itself\. Pass a layer after it"):
        name_of(PLAIN, layer)


@pytest.mark.parametrize("layer", [True, 1.0, ["conv2"], ("conv2",), {}, b"conv2", keras.layers.Dense])
def test_other_kinds_of_layer_are_refused(layer: Any) -> None:
    kind = type(layer).__name__
    with pytest.raises(TypeError, match=f"`layer` as a name, path, index, layer object or None, received {kind}"):
        name_of(PLAIN, layer)


# Found, but not to be explained.


@pytest.mark.parametrize(("layer", "width"), [("head", 4), ("pool", 5), (-1, 4)])
def test_layer_without_spatial_extent_is_refused(layer: Any, width: int) -> None:
    remedy = r"Pass layer=, for example one of \['conv1', 'conv2', 'conv3'\]"
    with pytest.raises(ValueError, match=rf"its output \(B, {width}\) has no spatial extent\. {remedy}"):
        name_of(PLAIN, layer)


def test_layer_beside_the_way_to_the_output_is_refused() -> None:
    """The backbone has an auxiliary output that the outer model drops; its layers are in the backbone all the same."""
    images = image_input()
    trunk = conv("trunk")(images)
    backbone = keras.Model(images, [conv("main")(trunk), conv("auxiliary")(trunk)], name="backbone")
    images = image_input()
    model = keras.Model(images, chain(*head_layers())(backbone(images)[0]))
    for layer in ("auxiliary", "backbone/auxiliary", backbone.get_layer("auxiliary")):
        with pytest.raises(ValueError, match=r"'backbone/auxiliary' .* not on the way to the output\. Pass layer="):
            name_of(model, layer)
    rows = {row.path: row for row in list_layers(model)}
    assert not rows["backbone/auxiliary"].explainable
    assert rows["backbone/auxiliary"].reason == "it is not on the way to the output"
    assert rows["backbone/main"].default


def test_branch_of_another_output_cannot_explain_the_first() -> None:
    """Asked for a class, a model of several outputs is explained at its first: `box_conv` only leads to the second."""
    images = image_input()
    trunk = conv("trunk")(images)
    label = chain(conv("label_conv"), *head_layers(None))(trunk)
    box = layers.Dense(2, name="box")(layers.GlobalAveragePooling2D()(conv("box_conv")(trunk)))
    explainer = Explainer(keras.Model(images, [label, box]), "box_conv")
    with pytest.raises(ValueError, match=r"does not depend on layer 'box_conv': no gradient .* explained output"):
        explainer(photos(1))
    assert explainer(photos(1), lambda outputs: outputs[1][:, 0]).raw.shape == (1, 12, 20)


def test_model_cut_down_to_one_output_does_not_know_the_other_branch() -> None:
    model, _, _ = two_outputs_list()
    single = keras.Model(model.inputs, model.outputs[1])
    with pytest.raises(ValueError, match=r"Unknown layer 'conv2'.*'conv1'"):
        name_of(single, "conv2")
    assert name_of(single) == "conv1"


def test_output_itself_is_refused() -> None:
    images = image_input()
    model = keras.Model(images, layers.Conv2D(2, 1, name="pixels")(conv("conv1")(images)))
    with pytest.raises(ValueError, match=r"'pixels' .* it is the output itself: nothing comes after it.*\['conv1'\]"):
        name_of(model, "pixels")


@pytest.mark.parametrize("layer", [None, "conv", "normalised"])
@pytest.mark.parametrize("method", first(1, ["gradcam", "hirescam", "scorecam"]))
def test_channels_first_gives_the_map_of_channels_last(layer: str | None, method: Any) -> None:
    """The same kernels with the axes moved; BatchNormalization and ReLU do not say where their channels are."""

    def build(order: str, moved: Any) -> keras.Model:
        axis = 1 if order == "channels_first" else -1
        images = keras.Input((3, 6, 10))
        cells = layers.Conv2D(4, 3, data_format=order, name="conv")(moved(images))
        cells = layers.ReLU(name="normalised")(layers.BatchNormalization(axis=axis)(cells))
        pooled = layers.GlobalAveragePooling2D(data_format=order)(cells)
        return randomise(keras.Model(images, layers.Dense(2, name="head")(pooled)))

    first, last = build("channels_first", lambda images: images), build("channels_last", layers.Permute((2, 3, 1)))
    last.set_weights(first.get_weights())
    images = np.random.default_rng(0).random((2, 3, 6, 10), np.float32)
    expected, actual = (Explainer(model, layer, method)(images, 1) for model in (last, first))
    assert actual.layer_name == (layer or "normalised")
    np.testing.assert_allclose(actual.raw, expected.raw, rtol=1e-4, atol=1e-6)
    assert actual.image_size == (6, 10)


def attended(scores: bool) -> keras.Model:
    """A subclassed transformer whose attention may also return its scores."""

    class Attended(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.flat = layers.Conv2D(8, 4, 4, name="patches"), layers.Reshape((16, 8))
            self.mix, self.norm = layers.MultiHeadAttention(2, 4, name="mix"), layers.LayerNormalization(name="norm")
            self.pool, self.head = layers.GlobalAveragePooling1D(), layers.Dense(3)

        def call(self, images: Any) -> Any:
            tokens = self.norm(self.flat(self.patches(images)))
            mixed = self.mix(tokens, tokens, return_attention_scores=scores)
            return self.head(self.pool(tokens + (mixed[0] if scores else mixed)))

    model = Attended()
    model(np.zeros((1, 16, 16, 3), np.float32))
    return model


@pytest.mark.parametrize("scores", [False, True])
def test_default_is_never_inside_an_attention(scores: bool) -> None:
    explanation = Explainer(attended(scores))(np.random.default_rng(0).random((1, 16, 16, 3), np.float32))
    assert explanation.layer_name == "norm"
    assert explanation.raw.shape == (1, 4, 4)


def test_attention_scores_are_refused_by_name() -> None:
    model = attended(True)
    (scores,) = [row for row in list_layers(model) if row.type == "Softmax"]
    assert scores.output_shape == (None, 2, 16, 16)
    reason = "the cells of its axis 1 do not follow places in the picture"
    assert (scores.explainable, scores.reason) == (False, reason)
    with pytest.raises(ValueError, match=f"'{scores.path}' cannot be explained: {reason}"):
        name_of(model, scores.path)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_default_of_a_recurrent_head_is_the_last_convolution(bidirectional: bool) -> None:
    recurrent = layers.LSTM(3, return_sequences=True)
    if bidirectional:
        recurrent = layers.Bidirectional(recurrent)
    convolutions = [layers.Conv1D(4, 3, name="conv1"), layers.Conv1D(4, 3, name="conv2"), layers.MaxPooling1D(2)]
    model = keras.Sequential([keras.Input((40, 2)), *convolutions, recurrent, layers.LSTM(3), layers.Dense(2)])
    assert name_of(model) == "conv2"


def test_default_of_a_recurrent_network_is_its_last_sequence() -> None:
    stack = [layers.LSTM(3, return_sequences=True, name="sequence"), layers.LSTM(3), layers.Dense(2)]
    assert name_of(keras.Sequential([keras.Input((9, 2)), *stack])) == "sequence"


# The default.


def test_model_without_spatial_layers_has_no_default() -> None:
    model = keras.Sequential([keras.Input((5,)), layers.Dense(3, activation="relu"), layers.Dense(2)], name="mlp")
    with pytest.raises(ValueError, match=r"Model 'mlp' has no layer with a spatial extent.*No layer of this model can"):
        name_of(model)
    assert not any(row.explainable or row.default for row in list_layers(model))


def test_model_without_cut_point_names_layers_to_choose_from() -> None:
    images = image_input()
    pooled = [layers.GlobalAveragePooling2D()(conv(name)(images)) for name in ("left", "right")]
    model = keras.Model(images, layers.Dense(2)(layers.Add()(pooled)), name="split_brain")
    with pytest.raises(ValueError, match=r"'split_brain' .* every path to the output passes\. Pass layer=.*'left'"):
        name_of(model)
    assert name_of(model, "left") == "left"


def test_default_behind_a_residual_block_is_where_the_branches_meet() -> None:
    model, _, _ = residual_branch()
    assert name_of(model) == "out"


@pytest.mark.parametrize(
    "passive",
    [
        layers.MaxPooling2D(2),
        layers.Dropout(0.5),
        layers.SpatialDropout2D(0.5),
        layers.ZeroPadding2D(1),
        layers.Identity(),
        layers.Reshape((20, 12, 5)),
        layers.Permute((2, 1, 3)),
        layers.Cropping2D(1),
        layers.UpSampling2D(2),
        layers.Resizing(3, 5),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_default_is_no_layer_that_only_moves_values(passive: keras.layers.Layer) -> None:
    images = image_input()
    model = keras.Model(images, chain(conv("conv1"), conv("conv2", 5), passive, *head_layers())(images))
    assert name_of(model) == "conv2"


def test_default_is_no_map_of_one_cell() -> None:
    """A head of 1x1 convolutions, as MobileNet's: a 4-D layer, but of one cell."""
    images = image_input()
    one_cell = [layers.GlobalAveragePooling2D(keepdims=True), layers.Conv2D(4, 1, name="logits"), layers.Flatten()]
    model = keras.Model(images, chain(conv("conv1"), *one_cell, layers.Activation("softmax"))(images))
    assert name_of(model) == "conv1"


def test_default_has_learned_something() -> None:
    """Rescaling comes before any kernel: its output is the picture, even where only a Dense layer follows."""
    model = keras.Sequential(
        [keras.Input((6, 10, 3)), layers.Rescaling(2.0, name="scale"), layers.Flatten(), layers.Dense(2)]
    )
    with pytest.raises(ValueError, match="no layer with a spatial extent"):
        name_of(model)


# The table.


def test_list_layers_rows_by_hand() -> None:
    """12 x 20 pixels, halved by conv1: a cell is 2 x 2 pixels."""
    rows = {row.path: row for row in list_layers(PLAIN)}
    assert list(rows) == ["conv1", "conv2", "conv3", "pool", "head"]
    conv2 = rows["conv2"]
    assert (conv2.type, conv2.output_shape, conv2.stride) == ("Conv2D", (None, 6, 10, 6), (2.0, 2.0))
    assert (conv2.explainable, conv2.reason, conv2.default) == (True, "", False)
    head = rows["head"]
    assert (head.type, head.output_shape, head.stride) == ("Dense", (None, 4), None)
    assert (head.explainable, head.reason) == (False, "its output (B, 4) has no spatial extent")
    assert [row.path for row in rows.values() if row.default] == ["conv3"]


def test_list_layers_stride_is_vertical_then_horizontal() -> None:
    model = keras.Sequential([keras.Input((6, 10, 3)), conv("conv", strides=(3, 2)), *head_layers()])
    assert list_layers(model)[0].stride == (3.0, 2.0)


def test_list_layers_of_free_size_has_no_stride() -> None:
    model = keras.Sequential([keras.Input((None, None, 3)), conv("conv", strides=2), *head_layers()])
    (row, *_) = list_layers(model)
    assert (row.output_shape, row.stride, row.explainable) == ((None, None, None, 4), None, True)


def test_list_layers_agrees_with_what_can_be_split() -> None:
    for row in list_layers(plain_nested()):
        if row.explainable:
            assert name_of(plain_nested(), row.path) == row.path
        else:
            with pytest.raises(ValueError, match=row.reason.replace("(", r"\(").replace(")", r"\)")):
                name_of(plain_nested(), row.path)


# Models that are none.


class Later(keras.Model):
    """Subclassed; unbuilt before its first call."""

    def __init__(self) -> None:
        super().__init__(name="later")
        self.conv, self.head = conv("conv"), layers.Dense(2, name="head")

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.head(tf.reduce_mean(self.conv(images), axis=(1, 2)))


def of_built_layers() -> keras.Model:
    """A new model on layers of another one, which have weights already."""
    trained = keras.Sequential([keras.Input((8, 12, 3)), conv("conv")])
    return keras.Sequential([*trained.layers, *head_layers()], name="later")


@pytest.mark.parametrize(
    "model",
    [keras.Sequential([conv("conv"), *head_layers()], name="later"), Later(), of_built_layers()],
    ids=["sequential", "subclassed", "of built layers"],
)
def test_unbuilt_model_is_told_to_be_called(model: keras.Model) -> None:
    with pytest.raises(ValueError, match=r"'later' has no input shape yet\. Call it once .*model\.build\("):
        split_model(model)
    model(photos(1))
    assert name_of(model) == "conv"


def test_path_of_a_model_is_told_to_be_loaded(tmp_path: Any) -> None:
    with pytest.raises(TypeError, match=r"received builtins\.str\. .*tf_gradcam\.load_model\('dog\.keras'\)"):
        split_model("dog.keras")
    with pytest.raises(TypeError, match=r"Load it first: tf_gradcam\.load_model"):
        split_model(tmp_path / "dog.keras")


@pytest.mark.parametrize("model", [None, 3, [PLAIN], layers.Dense(2), plain_model, keras.Model])
def test_what_is_no_model_is_refused(model: Any) -> None:
    with pytest.raises(TypeError, match=r"Expected a Keras 3 model, received .*\. Pass the keras\.Model itself"):
        split_model(model)


def test_keras_2_model_is_told_to_be_converted() -> None:
    class Functional:
        __module__ = "tf_keras.src.engine.functional"

    with pytest.raises(
        TypeError, match=r"received tf_keras\.src.*This is Keras 2: save it by .*tf_gradcam\.load_model"
    ):
        split_model(Functional())


def test_saved_model_is_refused(tmp_path: Any) -> None:
    small = keras.Sequential([keras.Input((6, 10, 3)), conv("conv"), *head_layers()])
    small.export(tmp_path, verbose=0)
    with pytest.raises(TypeError, match=r"A SavedModel holds operations, not layers: load the \.keras"):
        split_model(tf.saved_model.load(tmp_path))
    layer = layers.TFSMLayer(tmp_path, call_endpoint="serve")
    for model in (layer, keras.Sequential([keras.Input((6, 10, 3)), layer])):
        with pytest.raises(TypeError, match=r"received a TFSMLayer: .* Load the \.keras or \.h5 file"):
            split_model(model)


def test_sequential_by_index_counts_as_its_owner_does() -> None:
    """`Sequential.layers` leaves the InputLayer out."""
    model = plain_sequential()
    assert [layer.name for layer in model.layers][:2] == ["conv1", "conv2"]
    assert name_of(model, 1) == "conv2"


class FixedFilters(layers.Layer):
    """A filter bank that training does not change."""

    def build(self, input_shape: Any) -> None:
        self.filters = self.add_weight(shape=(4, 1, 5), initializer="random_normal", trainable=False)

    def call(self, signals: Any) -> Any:
        return keras.ops.conv(signals, self.filters, 2)


@pytest.mark.parametrize(
    "spectrogram", [FixedFilters(), layers.STFTSpectrogram(frame_length=8, frame_step=4, fft_length=8)]
)
def test_filter_bank_is_not_the_default(spectrogram: Any) -> None:
    """Its cells follow time, those of the recurrence do not, but it is the signal itself in another form."""
    signals = keras.Input((40, 1))
    lstm = layers.LSTM(3, return_sequences=True, name="lstm")
    model = keras.Model(signals, layers.Dense(2)(layers.GlobalAveragePooling1D()(lstm(spectrogram(signals)))))
    assert name_of(model) == "lstm"
    assert name_of(model, spectrogram.name) == spectrogram.name


@pytest.mark.parametrize("way", ["before it is built", "behind"])
def test_frozen_convolution_stays_the_default(way: str) -> None:
    images = image_input()
    frozen = layers.Conv2D(2, 3, name="frozen", trainable=way == "behind")
    model = keras.Model(images, layers.Dense(2)(layers.GlobalAveragePooling2D()(frozen(images))))
    frozen.trainable = False
    assert name_of(model) == "frozen"
