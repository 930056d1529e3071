"""One class through the depth of the network: which layers are chosen, what their panels show."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from tests.zoo.styles import conv, head_layers, photos, plain_model, randomise
from tests.zoo.transformers import pictures, vit
from tf_gradcam import Explainer, list_layers
from tf_gradcam._explain.compare import plot_layers
from tf_gradcam._models.layer_list import through_the_depth

IMAGE = photos(1)[0]  # 12 x 20 pixels
PHOTO = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
NAMES = ["ant", "bee", "cat", "dog"]


def panels(figure: Any) -> list[np.ndarray]:
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.texts]


def vgg_like() -> keras.Model:
    """Three blocks of 12 x 20, 6 x 10 and 3 x 5 cells, each with a padding or a pooling that has a grid of its own."""
    model = keras.Sequential(
        [
            keras.Input((12, 20, 3)),
            layers.Rescaling(2.0, name="scaling"),
            conv("block1_conv1"),
            conv("block1_conv2"),
            layers.MaxPooling2D(2, name="block1_pool"),
            layers.ZeroPadding2D(1, name="padding"),
            layers.Conv2D(4, 3, name="block2_conv"),
            layers.ReLU(name="block2_relu"),
            layers.MaxPooling2D(2, name="block2_pool"),
            conv("block3_conv"),
            layers.MaxPooling2D(2, padding="same", name="block3_pool"),
            *head_layers(),
        ]
    )
    return randomise(model)


def test_last_learned_layer_of_each_grid_is_chosen() -> None:
    assert through_the_depth(vgg_like()) == ["block1_conv2", "block2_relu", "block3_conv"]


def test_layers_of_a_nested_model_are_chosen_by_their_path() -> None:
    inner = vgg_like()
    backbone = keras.Model(inner.inputs[0], inner.get_layer("block3_conv").output, name="backbone")
    images = keras.Input((12, 20, 3))
    outer = keras.Model(images, layers.Dense(4)(layers.GlobalAveragePooling2D()(backbone(images))))
    assert through_the_depth(outer) == [f"backbone/{name}" for name in ("block1_conv2", "block2_relu", "block3_conv")]


def test_branches_are_not_chosen() -> None:
    """Only what every path passes: the sum, none of its parts."""
    images = keras.Input((12, 20, 3))
    stem = conv("stem")(images)
    total = layers.Add(name="sum")([stem, conv("branch")(stem)])
    half = conv("half", strides=2)(total)
    small = conv("small", strides=2)(half)
    model = keras.Model(images, layers.Dense(2)(layers.GlobalAveragePooling2D()(small)))
    assert through_the_depth(model) == ["sum", "half", "small"]


def test_layers_of_one_grid_are_spread_evenly() -> None:
    """Of eleven alike, the first and the last among six."""
    convs = [conv(f"conv{number}") for number in range(11)]
    model = keras.Sequential([keras.Input((6, 10, 3)), *convs, layers.GlobalAveragePooling2D(), layers.Dense(2)])
    assert through_the_depth(model) == [f"conv{number}" for number in (0, 2, 4, 6, 8, 10)]


def test_a_model_of_one_layer_has_one_panel() -> None:
    model = keras.Sequential([keras.Input((6, 10, 3)), conv("only"), layers.GlobalAveragePooling2D(), layers.Dense(2)])
    assert through_the_depth(model) == ["only"]
    assert len(panels(plot_layers(model, photos(1)[:, :6, :10]))) == 1


def test_subclassed_models_have_their_layers() -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.stack = [conv("one", strides=2), conv("two", strides=2), conv("three", strides=2), *head_layers()]

        def call(self, images: Any) -> Any:
            for layer in self.stack:
                images = layer(images)
            return images

    model = Own()
    model(photos(1))
    assert [path.rpartition("/")[2] for path in through_the_depth(model)] == ["one", "two", "three"]


def test_each_panel_is_the_overlay_of_its_layer() -> None:
    model = plain_model()
    figure = plot_layers(model, IMAGE, ["conv1", "conv3"], target="cat", photo=PHOTO, class_names=NAMES)
    photo, *drawn = panels(figure)
    np.testing.assert_array_equal(photo, PHOTO)
    for layer, picture in zip(["conv1", "conv3"], drawn, strict=True):
        explanation = Explainer(model, layer)(IMAGE[None], 2)
        np.testing.assert_array_equal(picture, explanation.overlay(PHOTO[None], alpha=0.5)[0])
    assert figure.get_suptitle().startswith("cat, ")
    for told in ("photo", "conv1", "conv3", "6 x 10 cells", "gradcam, from layer to layer"):
        assert told in texts(figure)


def test_all_panels_explain_the_top_class_by_the_method() -> None:
    model = plain_model()
    top = int(Explainer(model)(IMAGE[None]).class_indices[0])
    figure = plot_layers(model, IMAGE[None], ["conv1", "conv2"], method="layercam")
    for layer, picture in zip(["conv1", "conv2"], panels(figure), strict=True):
        alone = Explainer(model, layer, "layercam")(IMAGE[None], top).overlay(np.zeros((1, 12, 20, 3)), 1, "viridis")
        expected = alone[0]  # the colours of "heat", which do not fade here
        np.testing.assert_array_equal(picture, expected)
    assert figure.get_suptitle().startswith(f"class {top}, ")


def test_blank_map_is_told() -> None:
    def against(outputs: Any) -> Any:
        return -1e-3 * outputs[:, 0] ** 2

    model = keras.Sequential(
        [keras.Input((6, 10, 3)), conv("cells"), layers.GlobalAveragePooling2D(), layers.Dense(1, name="head")]
    )
    model.get_layer("cells").set_weights([np.ones((3, 3, 3, 4), np.float32), np.zeros(4)])
    model.get_layer("head").set_weights([np.ones((4, 1), np.float32), np.zeros(1)])
    said = texts(plot_layers(model, photos(1)[:, :6, :10], ["cells"], target=against))
    assert any(line.startswith("blank: every cell") for line in said)


@pytest.mark.slow
def test_many_layers_go_on_in_the_next_row() -> None:
    figure = plot_layers(plain_model(), IMAGE, ["conv1", "conv2", "conv3"] * 5, photo=PHOTO)
    boxes = [axes.get_position() for axes in figure.axes]
    assert len(panels(figure)) == 16
    assert figure.get_size_inches()[0] < 11
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    assert not any(box.overlaps(other) for index, box in enumerate(boxes) for other in boxes[:index])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": "conv1"}, "Expected layers as a list of at least one, received 'conv1'"),
        ({"layers": []}, "Expected layers as a list of at least one"),
        ({"method": "fullgrad"}, "received 'fullgrad', which reads all layers at once"),
        ({"layers": ["conv9"]}, "Unknown layer 'conv9'"),
        ({"image": photos(2)}, r"Expected one image, .*received \(2, 12, 20, 3\)"),
        ({"target": "cat"}, "no names are known"),
    ],
)
def test_plot_layers_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot_layers(plain_model(), **{"image": IMAGE, **arguments})


def test_model_is_left_as_it_is() -> None:
    model = vgg_like()
    before = [np.array(weight) for weight in model.get_weights()]
    count = len(model.layers)
    plot_layers(model, 2 * IMAGE - 1)
    assert len(model.layers) == count
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_residual_network_shows_the_end_of_each_stage() -> None:
    """The sums have no weights of their own, but their grids are those of convolutions."""
    images = keras.Input((12, 20, 3))
    hidden = images
    for stage in range(3):
        hidden = conv(f"stage{stage}_stem", strides=1 if stage == 0 else 2)(hidden)
        for number in range(2):
            inside = conv(f"stage{stage}_branch{number}")(hidden)
            hidden = layers.Add(name=f"stage{stage}_sum{number}")([hidden, inside])
    model = keras.Model(images, layers.Dense(2)(layers.GlobalAveragePooling2D()(hidden)))
    assert through_the_depth(model) == ["stage0_sum1", "stage1_sum1", "stage2_sum1"]


@pytest.mark.slow
def test_blocks_of_a_transformer_are_spread_evenly() -> None:
    paths = through_the_depth(vit(depth=8))
    assert len(paths) == 6
    assert paths[-1] == next(row.path for row in list_layers(vit(depth=8)) if row.default)
    assert len(panels(plot_layers(vit(depth=2), pictures(1)))) >= 2
