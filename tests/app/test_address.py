"""The state of a window in its address, its history, and windows that are loaded again.

Also tests _app/address.py, _app/trail.py, _app/session.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import numpy as np
import pytest

from tests.helpers.app_sessions import QUESTION, app_model, files_in, new_events, new_sessions, upload
from tests.helpers.app_tasks import detection_model, multilabel_model, regression_model, segmentation_model
from tests.helpers.pictures import encoded
from tests.helpers.redblue import red_blue_photo
from tf_gradcam._app.address import AddressState, query_of, read_query
from tf_gradcam._app.controls import settings
from tf_gradcam._app.events import READY, Events
from tf_gradcam._app.html import name_html
from tf_gradcam._app.model import AppModel, Said
from tf_gradcam._app.question import Question
from tf_gradcam._app.session import Session, Sessions
from tf_gradcam._app.trail import trail_html
from tf_gradcam._app.uploads import Sample
from tf_gradcam._app.view import download
from tf_gradcam.image.overlay import Look


@pytest.fixture
def sessions(tmp_path: Any) -> Iterator[Sessions]:
    """Two samples, of the red and blue photo and of its mirror image."""
    samples = []
    for number, photo in enumerate((red_blue_photo(), red_blue_photo()[:, ::-1]), start=1):
        path = tmp_path / f"sample-{number}.png"
        path.write_bytes(encoded(np.ascontiguousarray(photo), "PNG"))
        samples.append(Sample(path, f"sample {number}", np.ones(photo.shape[:2], bool), ""))
    new = new_sessions(app_model(), tuple(samples))
    yield new
    new.close()


@pytest.fixture
def session(sessions: Sessions) -> Session:
    one = sessions.new("window")
    one.show_sample(0)
    return one


def last(values: Iterator[Any]) -> Any:
    *_, final = values
    return final


def went(events: Events, session: Session, query: str, before: str = "") -> str:
    """Open an address in a window; return the words of the status."""
    events.go(session.token, {"query": query, "session": before, "number": 1})
    return unescape(re.sub("<[^>]*>", "", last(events.resume(session.token))[0]))


# The query.


def test_address_of_the_beginning_is_empty_and_says_only_what_differs(session: Session) -> None:
    model = session.model
    assert query_of(model, model.default_question, 1, None) == ""
    question = Question("scale", "layercam", 1, 0, "unit", 0.7, None, (0.25, 0.5))
    query = query_of(model, question, 2, None, Look(0.7, 0.25, "viridis"), "compare")
    assert query == (
        "sample=2&layer=scale&method=layercam&target=1&against=0&pixels=unit&above=0.7&where=25,50"
        "&opacity=0.7&threshold=0.25&colours=viridis&tab=compare"
    )


TASKS = {
    "classification": (app_model, Question("scale", "layercam", 1, 0, "unit")),
    "multilabel": (lambda: AppModel(multilabel_model()), Question("hue", "gradcam", "top3", None, "raw", 0.25)),
    "regression": (
        lambda: AppModel(regression_model(), said=Said("regression")),
        Question("hue", "gradcam", 1, None, "raw", near=30.5),
    ),
    "segmentation": (
        lambda: AppModel(segmentation_model()),
        Question("bottleneck", "gradcam", 1, None, "raw", where=(0.125, 0.5)),
    ),
    "detection": (
        lambda: AppModel(detection_model(), said=Said(decode="xyxy")),
        Question("hue", "gradcam", "box 2", None, "raw", 0.4),
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_address_leads_back_to_its_state_and_the_controls_show_it(task: str) -> None:
    build, question = TASKS[task]
    model, look = build(), Look(0.65, 0.3, "turbo")
    query = query_of(model, question, 3, None, look, "layers")
    place = read_query(f"?{query}", model, 3)
    assert place._replace(question=place.question) == AddressState(3, None, place.question, look, "layers", "")
    assert query_of(model, place.question, 3, None, look, "layers") == query
    shown = {name: each["value"] for name, each in settings(model, place.question).items()}
    assert shown["target"] == question.target
    assert shown["layer"] == question.layer
    assert shown["against"] == (-1 if question.against is None else question.against)
    assert shown["near"] == ("" if question.near is None else "30.5")
    assert (shown["where"], shown["across"]) == (("region", 50) if task != "segmentation" else ("point", 12.5))
    model.close()


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("layer=nowhere", "layer 'nowhere'"),
        ("method=gradcam2", "method 'gradcam2'"),
        ("target=2", "target '2'"),
        ("target=-1", "target '-1'"),
        ("target=box+1", "target 'box 1'"),
        ("against=x", "against 'x'"),
        ("pixels=16", "pixels '16'"),
        ("above=1.5", "above '1.5'"),
        ("near=old", "near 'old'"),
        ("where=100,5", "where '100,5'"),
        ("where=a,b", "where 'a,b'"),
        ("where=there", "where 'there'"),
        ("sample=3", "sample '3'"),
        ("opacity=nan", "opacity 'nan'"),
        ("threshold=-0.1", "threshold '-0.1'"),
        ("colours=x", "colours 'x'"),
        ("tab=files", "tab 'files'"),
        ("color=red", "color 'red'"),
        ("layer=" + "a" * 50, "layer '" + "a" * 37 + "...'"),
        ("layer=x&method=y", "layer 'x', method 'y'"),
    ],
)
def test_what_an_address_cannot_have_is_said_and_the_usual_is_shown(
    sessions: Sessions, session: Session, query: str, named: str
) -> None:
    events = new_events(sessions)
    status = went(events, session, query)
    assert f"what this model and page do not have: {named}. The usual is shown instead." in status
    assert session.query(session.picture, session.question, session.look, session.tab) == ""
    assert "explore" in session.answers


def test_gradios_own_settings_are_left_alone(session: Session) -> None:
    place = read_query("?__theme=dark&layer=scale", session.model, 2)
    assert (place.question.layer, place.problem) == ("scale", "")


def test_too_long_and_malformed_requests_are_refused(sessions: Sessions, session: Session) -> None:
    events = new_events(sessions)
    for query in ("a" * 2001, None, 3):
        with pytest.raises(ValueError, match="Expected an address of at most 2000 characters"):
            events.go(session.token, {"query": query, "session": "", "number": 1})
    assert "Expected" not in went(events, session, "&".join(f"{number}=1" for number in range(100)))


# The history.


def test_explanation_of_before_is_shown_again_without_the_model(sessions: Sessions, session: Session) -> None:
    events = new_events(sessions)
    last(events.explain(session.token, *QUESTION))
    first = session.answers["explore"]
    last(events.explain(session.token, "scale", "layercam", 1, -1, "raw"))
    session.model.worker.close()  # which ends every further job
    assert went(events, session, "") == "Ready."
    assert session.answers["explore"] is first
    assert last(events.explain(session.token, "scale", "layercam", 1, -1, "raw"))[0] == READY
    assert session.question.layer == "scale"
    assert "Stopped" in last(events.explain(session.token, "scale", "gradcam", 1, -1, "raw"))[0]


def test_history_links_to_what_it_shows_and_marks_the_present(sessions: Sessions, session: Session) -> None:
    events = new_events(sessions)
    last(events.explain(session.token, *QUESTION))
    assert " hidden>" in trail_html(session)  # one explanation is what is shown
    last(events.sample(1, session.token, "scale", "layercam", 1, -1, "raw"))
    events.paint(session.token, 0.7, 0.0, "")
    html = trail_html(session)
    links = re.findall(r'<a href="([^"]*)" title="([^"]*)"( aria-current="true")?>', html)
    assert [(unescape(link), title, bool(current)) for link, title, current in links] == [
        ("?sample=2&layer=scale&method=layercam&target=1&opacity=0.7", "sample-2.png: blue, layercam at scale", True),
        ("?opacity=0.7", "sample-1.png: red, gradcam at hue", False),
    ]
    assert 'data-query="sample=2&amp;layer=scale' in html
    assert html.count('src="data:image/jpeg') == 2


def test_long_name_breaks_behind_underscores() -> None:
    assert name_html("block5_conv3<") == "block5_<wbr>conv3&lt;"


def test_history_keeps_twenty_and_no_more_than_its_bytes(
    sessions: Sessions, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = new_events(sessions)
    for number in range(22):
        last(events.explain(session.token, "hue", "gradcam", -1, -1, "raw", number / 100))
    queries = list(session.history)
    assert len(queries) == 20
    assert (queries[0], queries[-1]) == ("above=0.02", "above=0.21")
    size = next(iter(session.history.values())).size
    assert size >= red_blue_photo().nbytes
    monkeypatch.setattr("tf_gradcam._app.session._MAX_HISTORY_BYTES", 3 * size)
    last(events.explain(session.token, "hue", "gradcam", -1, -1, "raw", 0.9))
    assert list(session.history) == ["above=0.2", "above=0.21", "above=0.9"]


def test_uploaded_picture_is_kept_as_long_as_the_history_shows_it(
    sessions: Sessions, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tf_gradcam._app.session._MAX_HISTORY", 2)
    events = new_events(sessions)
    last(events.upload(session.token, upload(sessions, name="one.png"), *QUESTION))
    query = session.query(session.picture, session.question)
    assert re.fullmatch(r"picture=[0-9a-f]{8}", query)
    last(events.sample(0, session.token, *QUESTION))
    assert files_in(session.folder) == ["one.png"]
    assert went(events, session, query) == "Ready."
    assert session.picture.name == "one.png"
    assert np.asarray(download(session, "overlay.png", Look())).size
    for number in (0, 1):
        last(events.sample(number, session.token, *QUESTION))
    last(events.sample(1, session.token, "scale", *QUESTION[1:]))
    assert files_in(session.folder) == []
    assert "uploaded in another window, or is no longer kept. Drop it again." in went(events, session, query)
    assert session.picture.sample is sessions.samples[1]


def test_picture_of_another_window_is_not_shown(sessions: Sessions, session: Session) -> None:
    events, other = new_events(sessions), sessions.new("other")
    last(events.upload(other.token, upload(sessions, name="private.png"), *QUESTION))
    status = went(events, session, other.query(other.picture, other.question))
    assert "uploaded in another window" in status
    assert session.picture.sample is sessions.samples[0]


def test_new_model_forgets_the_history_and_its_pictures(sessions: Sessions, session: Session) -> None:
    events = new_events(sessions)
    last(events.upload(session.token, upload(sessions, name="one.png"), *QUESTION))
    last(events.sample(0, session.token, *QUESTION))
    assert len(session.history) == 2
    session.use(app_model())
    assert session.history == {}
    assert files_in(session.folder) == []


# Windows that are loaded again.


def test_window_that_is_loaded_again_has_its_session(sessions: Sessions, session: Session) -> None:
    events = new_events(sessions)
    last(events.upload(session.token, upload(sessions, name="own.png"), *QUESTION))
    query = session.query(session.picture, session.question)
    sessions.close_window("window")
    new = sessions.new("again")
    events.go(new.token, {"query": query, "session": session.token, "number": 1})
    assert sessions.token_of("again") == session.token
    assert last(events.resume(session.token))[0] == READY
    assert session.picture.name == "own.png"
    sessions._close_left(session.token)  # as the timer does
    assert sessions.find(session.token) is session
    with pytest.raises(ValueError, match="closed or is too old"):
        sessions.find(new.token)


def test_session_is_given_to_nobody_who_does_not_know_it(sessions: Sessions, session: Session) -> None:
    new = sessions.new("other")
    for guessed in ("", "guessed", sessions.start.token, new.token):
        assert sessions.adopt(new.token, guessed) == new.token
    assert sessions.token_of("window") == session.token
