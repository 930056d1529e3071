"""Every figure of a regression shows the value and its unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from matplotlib.text import Text

from tests.helpers.redblue_tasks import BLUENESS, IMAGES, REDNESS, of_value, with_head
from tests.helpers.slow import every
from tf_gradcam import Explainer, compare, plot_layers
from tf_gradcam.targets import Counterfactual, Distance, Value

PHOTOS = IMAGES[:1].astype("uint8")
VALUE = f"{10 * (REDNESS[0] - BLUENESS[0]):.4g} years"


def explained(target: Any = None) -> Any:
    return Explainer(of_value(), unit="years")(IMAGES[:1], target)


FIGURES: dict[str, Callable[[], Any]] = {
    "maps": lambda: explained().plot(),
    "photos and maps": lambda: explained().plot(PHOTOS),
    "named value": lambda: explained(Value()).plot(),
    "distance": lambda: explained(Distance(9.0)).plot(),
    "what speaks against it": lambda: explained(Counterfactual(Value())).plot(),
    "function": lambda: explained(lambda outputs: outputs[:, 0] ** 2).plot(),
    "all values": lambda: Explainer(of_value(), unit="years").class_maps(IMAGES[:1]).plot(PHOTOS),
    "methods": lambda: compare(of_value(), IMAGES[:1], ["gradcam", "layercam"], unit="years").figure,
    "layers": lambda: plot_layers(of_value(), IMAGES[:1], ["hue"], unit="years"),
}


@pytest.mark.parametrize("name", every(3, FIGURES))
def test_figure_of_a_regression_has_the_value_and_its_unit(name: str) -> None:
    texts = [text.get_text() for text in FIGURES[name]().findobj(Text)]
    assert any(VALUE in text for text in texts), texts


def test_values_of_several_outputs_are_not_taken_for_that_of_a_function() -> None:
    """A function of two values is about neither."""
    explainer = Explainer(with_head(2, None, [[1, 0], [0, 1]], [0, 0]), task="regression", unit="years")
    explanation = explainer(IMAGES[:1], lambda outputs: outputs[:, 0] - outputs[:, 1])
    assert (explanation.values, explanation.unit) == (None, None)
    assert explainer(IMAGES[:1], Distance(1.0, 1)).values == pytest.approx(BLUENESS[:1])
    assert explainer(IMAGES[:1], 1).values == pytest.approx(BLUENESS[:1])


@pytest.mark.parametrize(
    ("target", "sides"),
    [(None, ("lowers", "raises")), (Value(), ("lowers", "raises")), (Distance(9.0), ("against", "for"))],
)
def test_colour_bar_of_a_value_says_what_its_ends_do(target: Any, sides: tuple[str, str]) -> None:
    """Near a reference, red is what brings the value there, not what raises it."""
    texts = [text.get_text() for text in explained(target).plot().findobj(Text)]
    assert set(sides) <= set(texts)
