"""The view of *Explore* without a browser: rows of classes, the colour bar, what pointer and clicked place read."""

from __future__ import annotations

import re
from html import unescape

import keras
import numpy as np
import pytest

from tests.helpers.app_sessions import QUESTION, new_events, new_sessions, upload
from tests.helpers.redblue import red_blue_model
from tf_gradcam._app.html import scale_html
from tf_gradcam._app.model import AppModel

NAMES7 = ["red", "blue", "third", "fourth", "fifth", "sixth", "seventh"]


def seven_classes() -> AppModel:
    """Class k scores 1 - k, whatever is in the picture."""
    head = keras.layers.Dense(7, "softmax", name="seven")
    model = red_blue_model(head)
    head.set_weights([np.zeros((2, 7)), 1.0 - np.arange(7)])
    return AppModel(model, NAMES7)


def test_row_of_a_class_is_a_choice_and_one_outside_the_best_five_has_its_rank():
    sessions = new_sessions(seven_classes())
    session = sessions.new()
    session.show_upload(upload(sessions))

    def rows(target: int) -> dict[str, str]:
        *_, (_, html, _) = new_events(sessions).explain(session.token, *QUESTION[:2], target, *QUESTION[3:])
        found = re.findall(r'<tr[^>]* data-pick="(class \d)">(.*?)</tr>', html)
        return {pick: re.sub("<[^>]*>", " ", unescape(text)) for pick, text in found}

    assert list(rows(-1)) == [f"class {index}" for index in range(5)]
    chosen = rows(5)
    assert list(chosen) == [f"class {index}" for index in range(6)]
    assert "rank 6 of 7" in chosen["class 5"]
    assert "explained" in chosen["class 5"]
    assert "rank" not in chosen["class 4"]
    sessions.close()


@pytest.mark.parametrize(
    ("signed", "threshold", "left", "width"),
    [(False, 0.3, 0, 30), (True, 0.4, 30, 40), (False, 0.0, None, None), (True, 0.0, None, None)],
)
def test_colour_bar_is_cut_where_only_the_photo_is_shown(signed, threshold, left, width):
    """A signed map is cut from -threshold to threshold, around the middle of its bar from -1 to 1."""
    html = scale_html(signed, None, threshold)
    cut = re.findall(r'class="tg-cut" style="left:([\d.]+)%;width:([\d.]+)%"', html)
    assert [tuple(map(float, each)) for each in cut] == ([] if left is None else [(left, width)])
    assert (f"cut below {threshold:.0%}" in html) == bool(cut)
