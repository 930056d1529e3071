"""Grad-CAM of a trained classifier: the maps, their layers, the heat in the true boxes."""

from __future__ import annotations

import re
from dataclasses import replace

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.helpers.colours import (
    NAMES,
    SIZE,
    check_layout,
    color_model,
    outputs_of,
    photo_of,
    pictures,
    texts,
)
from tf_gradcam import Explainer, list_layers, overlay_heatmap
from tf_gradcam.metrics import energy_in_box, pointing_hit
from training.data.folder import Samples
from training.model.classifier import build_classifier
from training.report.evaluate import Predictions, predictions_of
from training.report.maps import (
    box_area,
    explained,
    finer_layer,
    gradcam_figure,
    localise,
    map_figures,
    maps_of,
    methods_figure,
    shown_samples,
)


def spot_of(number: int) -> np.ndarray:
    """The box of a photo's bright spot, in parts of the picture."""
    row, column = number % 3 * 4, number % 5 * 4
    return np.array([[column / SIZE[1], row / SIZE[0], (column + 4) / SIZE[1], (row + 4) / SIZE[0]]])


def boxed(samples: Samples, *without: int) -> Samples:
    """The samples with a box around each spot, but for some."""
    boxes = [np.zeros((0, 4)) if index in without else spot_of(index) for index in range(len(samples))]
    return replace(samples, boxes=tuple(boxes))


def flat_model() -> keras.Model:
    """It sees green and red, and believes the left half of the photo more."""
    inputs = keras.Input((*SIZE, 3))
    hidden = keras.layers.Conv2D(2, 1, use_bias=False, name="cells")(inputs)
    hidden = keras.layers.Flatten(name="flatten")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="dense")(hidden))
    model.get_layer("cells").set_weights([np.array([[[[0, 1], [1, 0], [0, 0]]]], np.float32)])
    belief = np.linspace(2, 0.1, SIZE[1], dtype=np.float32)[None, :, None, None] * np.eye(2, dtype=np.float32)
    kernel = np.broadcast_to(belief, (*SIZE, 2, 2)).reshape(-1, 2) / 1000
    model.get_layer("dense").set_weights([kernel, np.zeros(2, np.float32)])
    return model


def drawn_for(model: keras.Model, shown: Predictions, chosen: list[int], method: str = "gradcam") -> Figure:
    explainer = Explainer(model, "cells", method, class_names=NAMES)
    return gradcam_figure(explained(explainer, shown, np.array(chosen), SIZE), shown, np.array(chosen))


def notes_of(figure: Figure) -> list[str]:
    """Texts that are written into the panels."""
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_maps_show_the_evidence_for_the_prediction(samples: Samples) -> None:
    """The map of a photo called green is its green, divided by the largest; a wrong one is explained as called."""
    shown = predictions_of(samples, outputs_of(samples, {7: 0.8}))
    figure = drawn_for(color_model(), shown, [0, 1, 7])
    photos = [photo_of(0, 1), photo_of(1, 1), photo_of(7, 0)]
    drawn = pictures(figure)
    for index, photo in enumerate(photos):
        green = photo[..., 1] / photo[..., 1].max()
        np.testing.assert_array_equal(drawn[3 * index], photo)
        np.testing.assert_allclose(drawn[3 * index + 1], green, atol=1e-6)
        overlay = overlay_heatmap(photo, green, colormap="heat").astype(int)
        np.testing.assert_allclose(drawn[3 * index + 2].astype(int), overlay, atol=1)  # float32 rounds a level off


def test_maps_stand_under_what_is_true(samples: Samples) -> None:
    """The model sees more green in a green photo; a red one that was called green is explained as green."""
    shown = predictions_of(samples, outputs_of(samples, {7: 0.8}))
    text = " ".join(texts(drawn_for(color_model(), shown, [0, 7])))
    assert "gradcam at cells" in text
    assert "True and predicted: red, 100.0%" in text


def test_blank_map_says_why(samples: Samples) -> None:
    """Red speaks against red here, and nothing for it: there is no evidence to show."""
    shown = predictions_of(samples, outputs_of(samples))
    figure = drawn_for(color_model(red=-1.0), shown, [8])
    assert not pictures(figure)[1].any()
    assert "every cell speaks against" in " ".join(texts(figure))


def test_two_methods_stand_beside_each_photo(samples: Samples) -> None:
    shown = predictions_of(samples, outputs_of(samples, {7: 0.8}))
    model = color_model()
    explainers = [Explainer(model, "cells", method, class_names=NAMES) for method in ("gradcam", "hirescam")]
    chosen = np.array([0, 1, 2, 7])
    figure = methods_figure([explained(explainer, shown, chosen, SIZE) for explainer in explainers], shown, chosen)
    assert texts(figure)[0] == "Grad-CAM and HiResCAM at cells"
    assert [line for line in texts(figure) if line in ("Grad-CAM", "HiResCAM")] == 4 * ["Grad-CAM", "HiResCAM"]
    drawn = pictures(figure)
    assert len(drawn) == 12
    np.testing.assert_array_equal(drawn[9], photo_of(7, 0))
    check_layout(figure)


def test_pooled_head_needs_one_picture_and_says_why(samples: Samples) -> None:
    """The mean over cells has the same gradient everywhere, so HiResCAM's product is Grad-CAM's sum."""
    maps = maps_of(color_model(), NAMES, ("cells", "doubled"))
    figures = map_figures(maps, predictions_of(samples, outputs_of(samples)), SIZE)
    assert sorted(figures) == ["gradcam_intermediate", "gradcam_last"]
    figure = figures["gradcam_last"]()
    (note,) = [line for line in texts(figure) if line.startswith("HiResCAM gives the same maps")]
    assert "averages the cells" in note


def test_equal_maps_of_a_layer_that_is_not_averaged_have_another_reason(samples: Samples) -> None:
    """All maps are blank: red and green speak against themselves. A ReLU stands between the layer and the pooling."""
    inputs = keras.Input((*SIZE, 3))
    hidden = keras.layers.Conv2D(2, 1, use_bias=False, name="cells")(inputs)
    hidden = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU(name="relu")(hidden))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="dense")(hidden))
    model.get_layer("cells").set_weights([np.array([[[[0, 1], [1, 0], [0, 0]]]], np.float32)])
    model.get_layer("dense").set_weights([-np.eye(2, dtype=np.float32), np.zeros(2, np.float32)])
    assert maps_of(model, NAMES, ("relu", "cells")).is_pooled
    maps = maps_of(model, NAMES, ("cells", "cells"))
    assert not maps.is_pooled
    figure = map_figures(maps, predictions_of(samples, outputs_of(samples)), SIZE)["gradcam_last"]()
    assert "HiResCAM's maps differ from these by less than 1%." in texts(figure)


def test_methods_that_differ_have_a_picture_of_both(samples: Samples) -> None:
    maps = maps_of(flat_model(), NAMES, ("cells", "cells"))
    figures = map_figures(maps, predictions_of(samples, outputs_of(samples)), SIZE)
    assert sorted(figures) == ["gradcam_hirescam", "gradcam_intermediate", "gradcam_last"]
    assert "HiResCAM gives" not in " ".join(texts(figures["gradcam_last"]()))


def test_layers_are_two(samples: Samples) -> None:
    with pytest.raises(ValueError, match="Expected two layers"):
        maps_of(color_model(), NAMES, ("cells",))


# Which samples are explained.


def test_no_two_explained_samples_are_twins(samples: Samples) -> None:
    """Samples 0 to 3 are one picture, and the wrong 8 is a twin of the right 9."""
    groups = np.array([0, 0, 0, 0, 1, 2, 3, 4, 5, 5, 6, 7])
    shown = predictions_of(replace(samples, groups=groups), outputs_of(samples, {8: 0.7, 2: 0.9}))
    chosen = shown_samples(shown)
    assert len(set(groups[chosen])) == len(chosen)
    assert chosen[-2:].tolist() == [2, 8]
    assert not {0, 1, 3, 9} & set(chosen.tolist())


# Boxes.


def test_box_lies_on_the_pixels_of_its_picture(samples: Samples) -> None:
    """Pixel k is drawn from k - 0.5 to k + 0.5; the spot of photo 7 begins at row 4, column 8."""
    shown = predictions_of(boxed(samples), outputs_of(samples))
    figure = drawn_for(color_model(), shown, [7])
    for axes in figure.axes[:3]:
        (outline,) = axes.patches
        assert (outline.get_xy(), outline.get_width(), outline.get_height()) == ((7.5, 3.5), 4, 4)
        photo = photo_of(7, 0)
        assert (photo[4:8, 8:12, 0] == 255).all()


def test_notes_say_the_size_of_the_box_and_the_heat_inside(samples: Samples) -> None:
    """A spot is 16 of 240 pixels; the map of a green photo is its green channel."""
    shown = predictions_of(boxed(samples, 1), outputs_of(samples))
    green = photo_of(0, 1)[..., 1].astype(float)
    energy = green[:4, :4].sum() / green.sum()
    figure = drawn_for(color_model(), shown, [0, 1])
    assert notes_of(figure) == ["box: 6.7% of the picture", f"{energy:.1%} of the heat inside"]
    check_layout(figure)


def test_blank_map_has_its_box_and_no_share(samples: Samples) -> None:
    shown = predictions_of(boxed(samples), outputs_of(samples))
    figure = drawn_for(color_model(red=-1.0), shown, [8, 0])
    assert [len(axes.patches) for axes in figure.axes[:5]] == [1] * 5
    assert len(notes_of(figure)) == 3


def test_methods_have_the_box_in_each_panel(samples: Samples) -> None:
    shown = predictions_of(boxed(samples, 1), outputs_of(samples))
    chosen = np.array([0, 1])
    explainers = [Explainer(flat_model(), "cells", method, class_names=NAMES) for method in ("gradcam", "hirescam")]
    figure = methods_figure([explained(explainer, shown, chosen, SIZE) for explainer in explainers], shown, chosen)
    assert [len(axes.patches) for axes in figure.axes] == [1, 1, 1, 0, 0, 0]
    assert len(notes_of(figure)) == 3
    check_layout(figure)


def test_two_boxes_count_as_one_region() -> None:
    """Two halves that overlap by a quarter of the picture cover three quarters."""
    area = box_area(np.array([[0, 0, 0.5, 1], [0.25, 0, 0.75, 1]]), (6, 8))
    np.testing.assert_array_equal(area, np.repeat([[1, 1, 1, 1, 1, 1, 0, 0]], 6, axis=0))


def test_localisation_is_the_mean_over_the_images_with_a_box(samples: Samples) -> None:
    """By the metrics of single boxes, on maps of the true class though photo 7 is called green."""
    shown = predictions_of(boxed(samples, 1, 2), outputs_of(samples, {7: 0.8}))
    maps = maps_of(color_model(), NAMES, ("cells", "doubled"))
    found = localise(maps, shown, SIZE)
    known = [index for index in range(12) if index not in (1, 2)]
    energies, hits = [], []
    for index in known:
        heatmap = photo_of(index, 1 - index // 6)[..., 1 - index // 6] / 255
        box = (spot_of(index) * [SIZE[1], SIZE[0], SIZE[1], SIZE[0]])[0]
        energies.append(energy_in_box(heatmap, box))
        hits.append(pointing_hit(heatmap, box))
    assert found["images"] == 10
    for row in (found["layers"]["cells"], found["layers"]["doubled"]):
        np.testing.assert_allclose(row["energy_in_box"], np.mean(energies), rtol=1e-5)
        np.testing.assert_allclose(row["pointing_game"], np.mean(hits), rtol=1e-5)
        low, high = row["energy_in_box_interval"]
        assert low < row["energy_in_box"] < high
        assert row["blank_maps"] == 0
    np.testing.assert_allclose(found["share_of_picture"], 16 / 240)


def test_blank_maps_count_as_nothing_and_are_counted(samples: Samples) -> None:
    shown = predictions_of(boxed(samples), outputs_of(samples))
    row = localise(maps_of(color_model(red=-1.0), NAMES, ("cells", "cells")), shown, SIZE)["layers"]["cells"]
    assert row["blank_maps"] == 6
    assert row["pointing_game"] == 0.5


def test_one_image_has_no_interval_and_none_no_localisation(samples: Samples) -> None:
    maps = maps_of(color_model(), NAMES, ("cells", "cells"))
    one = predictions_of(boxed(samples, *range(1, 12)), outputs_of(samples))
    assert localise(maps, one, SIZE)["layers"]["cells"]["energy_in_box_interval"] == [None, None]
    assert localise(maps, predictions_of(samples, outputs_of(samples)), SIZE) is None
    assert localise(maps, predictions_of(boxed(samples, *range(12)), outputs_of(samples)), SIZE) is None


# Layers.


def test_finer_layer_is_the_output_of_the_last_part_of_more_cells() -> None:
    """8 x 8, padded to 10 x 10, then 4 x 4 twice: the padding belongs to the part that ends on 4 x 4."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(2, 3, padding="same", name="block1_conv"),
            layers.ReLU(name="block1_relu"),
            layers.Dropout(0.1, name="block1_drop"),
            layers.ZeroPadding2D(1, name="block2_pad"),
            layers.Conv2D(2, 3, strides=2, name="block2_conv"),
            layers.ReLU(name="end"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    assert finer_layer(model, "end") == "block1_relu"
    assert finer_layer(model, "block1_relu") == "block1_relu"


_FINER = {  # family: the last output of a part of more cells than the default layer, and its type
    "MobileNet": ("conv_pw_11_relu", "ReLU"),
    "MobileNetV2": ("block_12_add", "Add"),
    "MobileNetV3Small": ("expanded_conv_7_add", "Add"),
    "VGG16": ("block4_conv3", "Conv2D"),
    "ResNet50": ("conv4_block6_out", "Activation"),
    "ResNet50V2": ("conv4_block5_out", "Add"),
    "ConvNeXtTiny": (r"add_?\d*", "Add"),
    "DenseNet121": ("pool4_conv", "Conv2D"),
    "EfficientNetB0": ("block5c_add", "Add"),
    "EfficientNetV2B0": ("block5e_add", "Add"),
    "EfficientNetV2S": ("block5i_add", "Add"),
    "Xception": (r"add_?\d*", "Add"),
    "InceptionV3": ("mixed7", "Concatenate"),
    "InceptionResNetV2": ("block17_20_ac", "Activation"),
    "NASNetMobile": ("normal_concat_7", "Concatenate"),
}
_QUICK = ("MobileNet", "MobileNetV2", "VGG16")
_DEEP = ("EfficientNetV2S", "InceptionResNetV2", "NASNetMobile")


def _mark_of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.soak if name in _DEEP else pytest.mark.slow


@pytest.mark.parametrize(
    "backbone", [name if name in _QUICK else pytest.param(name, marks=_mark_of(name)) for name in _FINER]
)
def test_intermediate_layer_of_a_family_is_the_output_of_a_learned_part(backbone) -> None:
    model = build_classifier(backbone, 2, (128, 128), "none")
    rows = {row.path: row for row in list_layers(model)}
    (last,) = (row for row in rows.values() if row.default)
    found = rows[finer_layer(model, last.path)]
    name, kind = _FINER[backbone]
    assert re.fullmatch(name, found.path), found.path
    assert found.type == kind
    assert found.output_shape[1] > last.output_shape[1]
