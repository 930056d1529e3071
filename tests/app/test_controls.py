"""What the controls of the web page offer, and what is refused that they do not offer."""

from __future__ import annotations

from html import unescape

import pytest

from tests.helpers.app_sessions import new_events
from tf_gradcam._app.controls import look_of


def last(values):
    *_, final = values
    return final


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (("gone", "gradcam", -1, -1, "raw"), "Expected a layer from the list, received 'gone'. Choose it again."),
        (("hue", "gradkam", -1, -1, "raw"), "Did you mean 'gradcam'"),
        (("hue", "gradcam", 2, -1, "raw"), "Expected a class from the list, received 2. Choose it again."),
        (("hue", "gradcam", -1, 2, "raw"), "Expected a class from the list, received 2. Choose it again."),
        (("hue", "gradcam", -1, -1, "cooked"), "Expected pixel values from the list, received 'cooked'."),
    ],
)
def test_choice_that_the_lists_do_not_offer_is_refused(sessions, session, question, message):
    events = new_events(sessions)
    assert message in unescape(last(events.explain(session.token, *question))[0])
    assert "Ready" in last(events.explain(session.token, "hue", "gradcam", 1, 0, "raw"))[0]


def test_unknown_method_and_colours_are_refused(sessions, session):
    with pytest.raises(ValueError, match="gradcam"):
        new_events(sessions).describe(session.token, "gradkam")
    with pytest.raises(ValueError, match="viridis"):
        look_of(0.4, 0, "viridiss")
