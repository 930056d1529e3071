"""Several methods on one picture.

Also tests _figures/side_by_side.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.helpers.drawing import drawing_model
from tests.helpers.explanations import explained, first_channel, seeing
from tests.zoo.styles import photos, plain_model
from tf_gradcam import METHODS, Explainer
from tf_gradcam._explain.compare import compare

IMAGE = photos(1)[0]
PHOTO = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
PICTURE = np.random.default_rng(1).random((6, 10, 1))
NAMES = ["ant", "bee", "cat", "dog"]


def panels(figure: Any) -> list[Any]:
    return [axes for axes in figure.axes if axes.images]


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_each_method_is_its_own_explainer() -> None:
    model = plain_model()
    comparison = compare(model, IMAGE, ["gradcam", "layercam"], layer="conv2", class_names=NAMES)
    assert list(comparison.explanations) == ["gradcam", "layercam"]
    for name, explanation in comparison.explanations.items():
        np.testing.assert_array_equal(explanation.raw, Explainer(model, "conv2", name)(IMAGE[None]).raw)
        assert explanation.method == name
        assert explanation.labels[0] in NAMES


def test_figure_has_a_panel_per_method_and_one_colour_bar() -> None:
    figure = compare(plain_model(), IMAGE, ["gradcam", "layercam", "eigencam"], layer="conv2", photo=PHOTO).figure
    assert len(panels(figure)) == 4
    assert len(figure.axes) == 5
    np.testing.assert_array_equal(panels(figure)[0].images[0].get_array(), PHOTO)
    assert texts(figure)[-4:] == ["photo", "gradcam", "layercam", "eigencam"]
    assert "at conv2" in texts(figure)


def test_without_a_photo_the_maps_stand_alone() -> None:
    maps = {"one": seeing(first_channel), "two": seeing(lambda images: images[..., 1])}
    figure = compare(maps, IMAGE).figure
    assert len(panels(figure)) == 2
    painted = explained(IMAGE[None, ..., 0]).overlay(np.zeros((1, *IMAGE.shape), np.uint8), 1, "viridis")
    np.testing.assert_array_equal(panels(figure)[0].images[0].get_array(), painted[0])


def test_title_is_the_prediction_with_its_probability() -> None:
    maps = {"map": seeing(first_channel)}
    assert compare(maps, IMAGE).figure.get_suptitle() == "sun, 75.0%"
    other = {"map": seeing(first_channel, classes=[1])}
    assert compare(other, IMAGE).figure.get_suptitle() == "moon, 25.0%; predicted: sun, 75.0%"


def test_all_explain_what_the_first_explains() -> None:
    explainers = {"one": seeing(first_channel, classes=[1]), "two": seeing(first_channel)}
    compare(explainers, IMAGE)
    np.testing.assert_array_equal(explainers["two"].calls[0][1], [1])


def test_blank_map_is_named_blank() -> None:
    figure = compare({"cold": seeing(lambda images: -images[..., 0]), "warm": seeing(first_channel)}, IMAGE).figure
    assert "cold: blank" in texts(figure)
    assert "warm" in texts(figure)


def test_signed_target_has_a_symmetric_scale() -> None:
    figure = compare({"map": seeing(first_channel, signed=True)}, IMAGE).figure
    (bar,) = (axes for axes in figure.axes if not axes.images)
    assert bar.get_ylim() == (-1.0, 1.0)


@pytest.mark.parametrize("count", [1, 2, 5, 12, 20])
def test_panels_do_not_overlap_and_stay_in_the_figure(count: int) -> None:
    explanations = {
        f"a method with a long name, number {n}": seeing(lambda images, n=n: images[..., 0] ** (n + 1))
        for n in range(count)
    }
    figure = compare(explanations, IMAGE, photo=PHOTO).figure
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:index])
    assert figure.get_size_inches().max() <= 11


def test_method_that_does_not_hold_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(activations: Any, gradients: Any) -> Any:
        raise ValueError("this tail is none of mine")

    monkeypatch.setattr("tf_gradcam._explain.compare.METHODS", {"gradcam": METHODS["gradcam"], "never": never})
    monkeypatch.setitem(METHODS, "never", never)
    comparison = compare(plain_model(), IMAGE, layer="conv2")
    assert list(comparison.explanations) == ["gradcam"]
    assert comparison.refused == {"never": "this tail is none of mine"}
    assert "without never: this tail is none of mine" in texts(comparison.figure)
    with pytest.raises(ValueError, match="none of mine"):
        compare(plain_model(), IMAGE, ["gradcam", "never"], layer="conv2")


def test_methods_that_run_the_model_again_must_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def asking(probe: Any) -> Any:
        raise ValueError("this model is none of mine")

    asking.needs = "probing"  # type: ignore[attr-defined]
    monkeypatch.setattr("tf_gradcam._explain.compare.METHODS", {"gradcam": METHODS["gradcam"], "asking": asking})
    monkeypatch.setitem(METHODS, "asking", asking)
    assert compare(plain_model(), IMAGE).refused == {}
    assert list(compare(plain_model(), IMAGE, "all").refused) == ["asking"]


def test_bad_image_is_refused_and_not_blamed_on_the_methods() -> None:
    with pytest.raises(ValueError, match="Expected the images of shape"):
        compare(plain_model(), np.zeros((5, 5, 3)))


# What is refused.


@pytest.mark.parametrize("image", [np.zeros((2, 12, 20, 3)), np.zeros((12, 20)), np.zeros((1, 2, 12, 20, 3))])
def test_compare_refuses_several_images(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="Expected one image"):
        compare({"map": seeing(first_channel)}, image)


@pytest.mark.parametrize("options", [{"methods": ["gradcam"]}, {"layer": "conv2"}, {"class_names": NAMES}])
def test_explainers_take_no_further_choice(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="beside explainers, which have their own"):
        compare({"map": seeing(first_channel)}, IMAGE, **options)


def test_compare_refuses_no_explainer() -> None:
    with pytest.raises(ValueError, match="at least one explainer"):
        compare({}, IMAGE)
    with pytest.raises(TypeError, match="Expected an explainer"):
        compare({"map": "gradcam"}, IMAGE)


@pytest.mark.parametrize("methods", [[], "gradcam"])
def test_compare_refuses_methods(methods: Any) -> None:
    with pytest.raises(ValueError, match="Expected methods as a list of at least one"):
        compare(plain_model(), IMAGE, methods)


def test_compare_refuses_two_of_one_name() -> None:
    with pytest.raises(ValueError, match="Expected methods of different names"):
        compare(plain_model(), IMAGE, ["gradcam", "gradcam"])


def test_compare_refuses_what_is_no_model() -> None:
    with pytest.raises(TypeError, match="Expected a Keras 3 model"):
        compare(3, IMAGE)


def test_compare_refuses_signals() -> None:
    with pytest.raises(ValueError, match="of a picture at 'cells'"):
        compare({"map": seeing(lambda images: np.ones((1, 5)), image_size=(5,))}, IMAGE)


# Methods of one map.

ONE = "one map: behind global average pooling and a linear layer the gradient is the same in every cell"
METHODS_OF_ONE = ["gradcam", "hirescam", "xgradcam", "shapleycam", "cam"]


def captions(figure: Any) -> list[str]:
    return [" ".join(text.split()) for text in texts(figure)]


def test_equal_maps_behind_pooling_are_drawn_once_with_the_reason() -> None:
    def other(activations: Any, gradients: Any) -> Any:
        return activations

    comparison = compare(drawing_model(6, 10), PICTURE, [*METHODS_OF_ONE, other], layer="cells", photo=PHOTO)
    assert len(comparison.explanations) == 6
    assert len(panels(comparison.figure)) == 3
    assert captions(comparison.figure)[-4:] == ["photo", ", ".join(METHODS_OF_ONE), ONE, "other"]


def test_equal_maps_of_another_head_are_drawn_once_without_that_reason() -> None:
    maps = {"one": seeing(first_channel), "two": seeing(first_channel), "other": seeing(lambda images: images[..., 1])}
    figure = compare(maps, IMAGE).figure
    assert captions(figure)[-3:] == ["one, two", "one map, equal up to rounding", "other"]
    assert len(panels(figure)) == 2


@pytest.mark.parametrize(("step", "count"), [(1e-3, 2), (1e-5, 1)])
def test_maps_are_one_up_to_rounding_only(step: float, count: int) -> None:
    near = {"one": seeing(lambda images: ramp()), "two": seeing(lambda images: ramp(step))}
    assert len(panels(compare(near, IMAGE).figure)) == count


def ramp(step: float = 0.0) -> np.ndarray:
    cells = np.arange(60.0).reshape(1, 6, 10) / 59
    cells[0, 3, 3] += step
    return cells


def test_blank_maps_are_not_one() -> None:
    blank = {name: seeing(lambda images: -images[..., 0]) for name in ("one", "two")}
    assert len(panels(compare(blank, IMAGE).figure)) == 2


@pytest.mark.parametrize(("is_linear", "reason"), [(True, ONE), (False, "one map, equal up to rounding")])
def test_reason_is_given_only_where_the_head_is_proven_to_be_linear(is_linear: bool, reason: str) -> None:
    maps = {name: seeing(first_channel, method=name, is_behind_pooling=is_linear) for name in ("gradcam", "hirescam")}
    assert captions(compare(maps, IMAGE).figure)[-2:] == ["gradcam, hirescam", reason]
