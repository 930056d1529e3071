"""The web page without a browser: jobs, limits, pictures, sessions, handlers, the lines of Python, the server.

Also tests _app/batch.py, _app/events.py, _app/guard.py, _app/html.py, _app/model.py, _app/page.py, _app/script.py,
_app/session.py, _app/style.py, _app/uploads.py, _app/view.py, _app/worker.py.
"""

from __future__ import annotations

import asyncio
import http.client
import inspect
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import pytest
from PIL import Image

from tests.helpers.app_server import needs_gradio, served
from tests.helpers.app_sessions import (
    NAMES,
    QUESTION,
    app_model,
    files_in,
    hidden_head,
    new_events,
    new_sessions,
    upload,
)
from tests.helpers.keras2_values import kept, write_h5
from tests.helpers.own_code import write_own_model
from tests.helpers.pictures import encoded, random_photo
from tests.helpers.redblue import RED_PROBABILITY, red_blue_heatmap, red_blue_model, red_blue_photo, write_photo
from tf_gradcam._app import html as apphtml
from tf_gradcam._app import uploads as appfiles
from tf_gradcam._app.controls import method_choices
from tf_gradcam._app.html import css_gradient, map_picture, overlay_picture, png_bytes
from tf_gradcam._app.model import AppModel, headline, load_app_model
from tf_gradcam._app.page import Page
from tf_gradcam._app.question import Question
from tf_gradcam._app.server import create_app, listening, without_addresses
from tf_gradcam._app.session import Session
from tf_gradcam._app.uploads import AppFolder, check_model_file, check_picture, take_upload, write_samples
from tf_gradcam._app.view import download, view_of
from tf_gradcam._app.worker import Stopped, Worker
from tf_gradcam._errors import ModelWarning, for_page
from tf_gradcam._explain.explainer import Explainer
from tf_gradcam._models.own_code import import_code
from tf_gradcam._rules.table import METHODS
from tf_gradcam.image.overlay import Look, colormap_colors
from tf_gradcam.targets.classes import Contrast

L = keras.layers


@pytest.fixture
def worker():
    one = Worker("test")
    yield one
    one.close()


def ended(job):
    """Wait for the job and return its result."""
    for _ in job.follow():
        pass
    return job.result()


def last(values):
    *_, final = values
    return final


# Jobs.


def test_job_hands_over_its_result_and_its_progress(worker):
    def work(job):
        job.report(0.5, "half")
        return 7

    job = worker.start(work)
    assert ended(job) == 7
    assert (job.progress.part, job.progress.label) == (0.5, "half")


def test_job_hands_over_its_error(worker):
    def work(job):
        raise ValueError("no such layer")

    with pytest.raises(ValueError, match="no such layer"):
        ended(worker.start(work))


def test_jobs_are_done_one_at_a_time_in_their_order(worker):
    go_on, order, together = threading.Event(), [], []

    def work(number):
        def run(job):
            together.append(number)
            go_on.wait(5)
            assert together == [number]
            order.append(together.pop())

        return run

    jobs = [worker.start(work(number)) for number in range(3)]
    assert worker.count_before(jobs[2]) == 2
    go_on.set()
    for job in jobs:
        ended(job)
    assert order == [0, 1, 2]
    assert worker.count_before(jobs[2]) == 0


def test_stopped_job_ends_at_its_next_report(worker):
    begun = threading.Event()

    def work(job):
        while True:
            begun.set()
            job.report(0.1)

    job = worker.start(work)
    assert begun.wait(5)
    job.stop()
    with pytest.raises(Stopped):
        ended(job)
    assert ended(worker.start(lambda job: "next")) == "next"


def test_job_that_is_stopped_while_it_waits_is_not_begun(worker):
    go_on, ran = threading.Event(), []
    first = worker.start(lambda job: go_on.wait(5))
    second = worker.start(ran.append)
    second.stop()
    go_on.set()
    ended(first)
    assert ended(worker.start(lambda job: len(ran))) == 0


def test_closed_worker_stops_what_it_does_and_what_comes():
    worker, begun = Worker("test"), threading.Event()

    def work(job):
        while True:
            begun.set()
            job.report(0.1)

    job = worker.start(work)
    assert begun.wait(5)
    worker.close()
    for one in (job, worker.start(lambda job: "late")):
        with pytest.raises(Stopped):
            ended(one)


# Files within limits.


def png_of(width, height):
    """A whole PNG by its header and end, of a picture that nobody can hold."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_picture_of_too_many_pixels_is_refused_by_its_header(tmp_path):
    path = tmp_path / "huge.png"
    path.write_bytes(png_of(8001, 5000))
    with pytest.raises(ValueError, match=r"at most 40 million pixels, but 'huge.png' has 8001 x 5000 by its header"):
        check_picture(path)
    path.write_bytes(png_of(8000, 5000))
    check_picture(path)


def test_picture_of_too_many_bytes_is_refused_unread(tmp_path):
    path = tmp_path / "big.png"
    with open(path, "wb") as file:
        file.truncate(appfiles.MAX_PICTURE_BYTES + 1)
    with pytest.raises(ValueError, match=r"a picture of at most 32 MiB, but 'big.png' has 32.0 MiB"):
        check_picture(path)


def test_file_that_is_no_picture_is_refused_by_name(tmp_path):
    path = tmp_path / "text.png"
    path.write_text("no picture")
    with pytest.raises(ValueError, match=r"Expected a JPEG, .* but 'text.png' is not one") as caught:
        check_picture(path)
    assert str(tmp_path) not in str(caught.value)


def test_model_that_unpacks_to_too_much_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(appfiles, "_MAX_UNPACKED", 2**20)
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", bytes(2**20 + 1))
    with pytest.raises(ValueError, match=r"at most 1 MiB unpacked, but 'bomb.keras' unpacks to 1 MiB"):
        check_model_file(path)


def test_model_file_has_a_models_size(tmp_path, monkeypatch):
    path = tmp_path / "model.zip"
    path.write_bytes(b"1")
    check_model_file(path)  # its bytes are looked at when it is loaded
    monkeypatch.setattr(appfiles, "MAX_MODEL_BYTES", 0)
    with pytest.raises(ValueError, match="a model of at most 0 MiB"):
        check_model_file(path.rename(tmp_path / "model.keras"))


def test_upload_is_moved_and_the_folder_leaves_nothing(tmp_path):
    folder = AppFolder().make()
    (folder.uploads / "photo.png").write_bytes(b"1")
    assert take_upload(folder.uploads / "photo.png", folder.new()).read_bytes() == b"1"
    assert not list(folder.uploads.iterdir())
    folder.remove()
    assert not folder.root.exists()


def test_upload_that_is_gone_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"'photo\.png' was uploaded too long ago and is gone"):
        take_upload(tmp_path / "photo.png", tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


# Pictures of a kept map.


@pytest.fixture(scope="module")
def explanation():
    return Explainer(red_blue_model(), class_names=NAMES)(red_blue_photo()[None].astype(np.float32), target=0)


@pytest.fixture(scope="module")
def contrast():
    return Explainer(red_blue_model())(red_blue_photo()[None].astype(np.float32), target=Contrast(0, 1))


def test_overlay_is_that_of_the_explanation(explanation):
    photo = random_photo(12, 20)
    expected = explanation.overlay_of(0, photo, 0.7, "turbo")
    np.testing.assert_array_equal(overlay_picture(explanation, photo, Look(0.7, 0.0, "turbo")), expected)


def test_photo_is_left_as_it_is_below_the_threshold(explanation):
    """The map is 1 in the four columns on the left and 0 elsewhere."""
    photo = random_photo()
    overlay = overlay_picture(explanation, photo, Look(1.0, 0.5))
    np.testing.assert_array_equal(overlay[:, 4:], photo[:, 4:])
    np.testing.assert_array_equal(overlay[:, :4], np.broadcast_to(colormap_colors("viridis")[255], (6, 4, 3)))


def test_threshold_counts_both_sides_of_a_signed_map(contrast):
    """200 for red in 4 columns, 100 for blue in 6, half of the largest value: 0.6 hides blue and 0.4 nothing."""
    photo = random_photo()
    high = overlay_picture(contrast, photo, Look(1.0, 0.6))
    np.testing.assert_array_equal(high[:, 4:], photo[:, 4:])
    np.testing.assert_array_equal(high[:, :4], np.broadcast_to((255, 0, 0), (6, 4, 3)))
    low = overlay_picture(contrast, photo, Look(1.0, 0.4))
    np.testing.assert_array_equal(low, overlay_picture(contrast, photo, Look(1.0)))


def test_opacity_zero_is_the_photo(explanation):
    np.testing.assert_array_equal(overlay_picture(explanation, random_photo(), Look(0.0)), random_photo())


def test_map_alone_is_white_below_the_threshold(explanation):
    colors = map_picture(explanation, (6, 10), Look(0.2, 0.5, "viridis"))
    np.testing.assert_array_equal(colors[:, 4:], np.full((6, 6, 3), 255))
    np.testing.assert_array_equal(colors[:, :4], np.broadcast_to(colormap_colors("viridis")[255], (6, 4, 3)))


@pytest.mark.parametrize("level", [None, 1])
def test_png_keeps_every_pixel(level):
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png_bytes(random_photo(), level)))), random_photo())


def test_colour_bar_ends_with_the_colours_of_the_map():
    first, final = (tuple(map(int, colormap_colors("viridis")[index])) for index in (0, 255))
    gradient = css_gradient(False, "viridis")
    assert gradient.startswith(f"linear-gradient(to right, rgb{first}")
    assert gradient.endswith(f"rgb{final})")


# The model.


def test_question_is_answered_as_an_explainer_would(session):
    answer = ended(session.begin(lambda job: session.explain(session.model.default_question, job)))
    np.testing.assert_allclose(answer.first.heatmaps[0], red_blue_heatmap(), atol=1e-6)
    assert answer.first.labels == ["red"]


def test_explainers_are_kept_and_methods_of_all_layers_have_one():
    model = app_model()
    assert model.explainer("hue", "gradcam") is model.explainer("hue", "gradcam")
    assert model.explainer("hue", "fullgrad") is model.explainer("scale", "fullgrad")
    assert model.explainer("scale", "gradcam") is not model.explainer("hue", "gradcam")
    model.close()


def test_model_without_names_numbers_its_classes():
    model = AppModel(red_blue_model())
    assert (model.labels, model.class_names, model.default_layer) == (["class 0", "class 1"], None, "hue")
    model.close()


def test_names_of_another_number_of_classes_are_refused():
    model = app_model()
    with pytest.raises(ValueError, match="Expected names of 2 classes, received 3"):
        model.changed(["a", "b", "c"])
    renamed = model.changed(["warm", "cold"])
    assert renamed.labels == ["warm", "cold"]
    assert renamed.worker is model.worker
    model.close()


def test_scaling_and_how_it_is_known_are_in_the_headline(session):
    assert "Scaling: raw (RGB in 0..255), from the model&#x27;s own Rescaling layer." in headline(session.model)
    silent = AppModel(keras.Sequential([keras.Input((6, 10, 3)), L.Conv2D(2, 1), L.GlobalAveragePooling2D()]))
    assert "Scaling: raw (RGB in 0..255), because the model does not show its own. If you" in headline(silent)
    silent.close()


def scaled_model() -> keras.Model:
    """A network without a scaling of its own, whose batch normalisation saw pictures / 255."""
    inputs, norm = keras.Input((6, 10, 3)), L.BatchNormalization()
    seen = L.Conv2D(8, 1)(inputs)
    outputs = L.Dense(2)(L.GlobalAveragePooling2D()(L.ReLU()(norm(seen))))
    unit = np.random.default_rng(0).uniform(0, 1, (64, 6, 10, 3)).astype("float32")
    values = np.asarray(keras.Model(inputs, seen)(unit)).reshape(-1, 8)
    norm.set_weights([np.ones(8), np.zeros(8), values.mean(0), values.var(0)])
    return keras.Model(inputs, outputs)


def test_scaling_that_the_pictures_contradict_is_noted_and_detected(tmp_path):
    model = AppModel(scaled_model())
    noise = np.random.default_rng(1).integers(0, 256, (6, 10, 3)).astype(np.uint8)
    picture = Path(write_photo(tmp_path, photo=noise))
    note = model.doubt([picture], "raw")
    assert note.startswith("1 picture fits the scaling unit clearly better than raw")
    assert note.endswith("choose unit in Pixel values, under Change model.")
    assert model.doubt([picture], "tf") is None  # chosen
    assert model.doubt([picture], "detect").startswith("Scaling: unit (RGB in [0, 1]), detected from 1 picture")
    assert model.preprocessing("detect").mode == "unit"
    model.close()


def test_grey_photo_of_a_model_of_one_channel_is_weighed():
    """Rec. 601: red counts 0.299, blue 0.114."""
    grey = keras.Sequential([keras.Input((6, 10, 1)), L.Conv2D(2, 1), L.GlobalAveragePooling2D(), L.Dense(2)])
    model, sessions = AppModel(grey), new_sessions()
    session = sessions.new()
    path = session.show_upload(upload(sessions)).path
    image = model.image(path, "raw")
    assert image.shape == (6, 10, 1)
    np.testing.assert_allclose(image[0, [0, 9], 0], [0.299 * 200, 0.114 * 100], rtol=1e-6)
    model.close()
    sessions.close()


def test_model_of_several_inputs_is_refused_in_words():
    first, second = keras.Input((6, 10, 3), name="photo"), keras.Input((4,), name="age")
    features = L.GlobalAveragePooling2D()(L.Conv2D(4, 1)(first))
    with pytest.raises(ValueError, match=r"Expected a model of one input, received 2 inputs \(photo, age\)"):
        AppModel(keras.Model([first, second], L.Dense(2)(L.Add()([features, second]))))


def test_slow_methods_say_so():
    labels = {choice.name: choice.label for choice in method_choices()}
    assert list(labels) == list(METHODS)
    assert (labels["scorecam"], labels["gradcam"]) == ("scorecam (slow)", "gradcam")


def test_stages_are_the_last_layers_of_each_size_that_learn():
    model = load_app_model()
    assert model.stages() == [f"block{n}_conv{2 if n < 3 else 3}" for n in (1, 2, 3, 4, 5)]
    assert model.title == "bundled model"
    model.close()


def test_weights_without_a_model_are_refused():
    with pytest.raises(ValueError, match="Expected a model for the weights or arguments, received none"):
        load_app_model(weights="imagenet")


# Sessions.


def test_bad_upload_leaves_the_picture_before(sessions, session):
    before = session.picture
    with pytest.raises(ValueError, match=r"'text\.png' is not one"):
        session.show_upload(upload(sessions, b"no picture", "text.png"))
    assert session.picture is before
    assert files_in(sessions.folder.root) == ["photo.png"]


def test_new_picture_takes_the_place_of_the_one_before(sessions, session):
    session.show_upload(upload(sessions, name="next.png"))
    assert files_in(sessions.folder.root) == ["next.png"]
    assert session.answers == {}


def test_two_windows_see_their_own(sessions, session):
    other = sessions.new()
    other.show_upload(upload(sessions, encoded(red_blue_photo(columns=0), "PNG"), "blue.png"))
    asked = session.model.default_question
    for one in (session, other):
        ended(one.begin(lambda job, one=one: one.explain(asked, job)))
    assert [one.answers["explore"].first.labels for one in (session, other)] == [["red"], ["blue"]]
    assert sessions.find(session.token) is session
    other.close()
    assert files_in(sessions.folder.root) == ["photo.png"]


def test_closed_window_is_known_no_longer_and_leaves_no_file(sessions, monkeypatch):
    monkeypatch.setattr("tf_gradcam._app.session._KEPT_SECONDS", 0.0)
    session = sessions.new("window")
    session.show_upload(upload(sessions))
    sessions.close_window("window")
    end = time.monotonic() + 10
    while files_in(sessions.folder.root) and time.monotonic() < end:
        time.sleep(0.01)
    assert files_in(sessions.folder.root) == []
    with pytest.raises(ValueError, match=r"was removed\. Reload the page"):
        sessions.find(session.token)


def test_oldest_window_is_closed_where_there_are_too_many(sessions, monkeypatch):
    monkeypatch.setattr("tf_gradcam._app.session.MAX_SESSIONS", 2)
    first, second = sessions.new(), sessions.new()
    sessions.find(first.token)  # used again: now the second is the oldest
    sessions.new()
    assert sessions.find(first.token) is first
    with pytest.raises(ValueError, match="Reload"):
        sessions.find(second.token)


def test_names_of_windows_are_not_kept_for_ever(sessions, monkeypatch):
    monkeypatch.setattr("tf_gradcam._app.session._MAX_WINDOWS", 2)
    first = sessions.token_of("a")
    assert sessions.token_of("a") == first
    for window in "bc":
        sessions.token_of(window)
    assert sessions.token_of("a") != first


def test_methods_that_do_not_hold_are_told_and_the_others_done():
    sessions = new_sessions(app_model(*hidden_head()))
    session = sessions.new()
    session.show_upload(upload(sessions))
    asked = {name: Question("hue", name, 0, None, "raw") for name in ("gradcam", "cam", "hirescam")}
    answer = ended(session.begin(lambda job: session.explain_each("compare", asked, job)))
    assert list(answer.explanations) == ["gradcam", "hirescam"]
    assert "global average pooling" in answer.refused["cam"]
    sessions.close()


def test_uploaded_model_is_the_windows_own(sessions, session, tmp_path):
    path = tmp_path / "other.keras"
    red_blue_model().save(path)
    other = sessions.new()
    session.use(session.load_model(upload(sessions, path.read_bytes(), "other.keras")))
    assert (session.model.title, other.model.title) == ("other.keras", "red_blue.keras")
    assert (session.has_own_model, other.has_own_model) == (True, False)
    assert files_in(sessions.folder.root) == ["photo.png"]


def test_model_with_code_of_its_own_is_refused(sessions, session, tmp_path):
    path = tmp_path / "code.keras"
    red_blue_model(L.Lambda(lambda means: means * 2)).save(path)
    before = session.model
    with pytest.raises(ValueError, match=r"Cannot load 'code.keras': .*Lambda layer"):
        session.load_model(upload(sessions, path.read_bytes(), "code.keras"))
    assert session.model is before


@pytest.mark.filterwarnings("ignore:The code in:tf_gradcam._errors.ModelWarning")
def test_classes_that_the_server_was_started_with_are_found_in_its_model_and_in_uploads(tmp_path):
    path, code = write_own_model(tmp_path)
    sessions = new_sessions()
    with pytest.raises(ValueError, match=r"it needs 'RedBlueNet', .*: --import FILE\."):
        sessions.new().load_model(upload(sessions, path.read_bytes(), "own.keras"))
    sessions.close()
    own_code = import_code([str(code)])
    assert load_app_model(str(path), own_code=own_code).default_layer == "hue"
    sessions = new_sessions(load_app_model(own_code=own_code))
    session = sessions.new()
    session.use(session.load_model(upload(sessions, path.read_bytes(), "own.keras")))
    assert session.model.default_layer == "hue"
    sessions.close()


def test_too_many_uploaded_models_are_refused(sessions, session, monkeypatch):
    session.use(app_model())
    sessions.check_model_count()
    monkeypatch.setattr("tf_gradcam._app.session._MAX_MODELS", 1)
    with pytest.raises(ValueError, match="at most 1 uploaded models, but other windows have 1"):
        sessions.check_model_count()


def test_names_of_classes_are_read_from_a_file(sessions, session):
    session.use(session.name_classes(upload(sessions, b"warm\ncold\n", "names.txt")))
    assert session.model.labels == ["warm", "cold"]
    with pytest.raises(ValueError, match=r"'names\.txt' is empty"):
        session.name_classes(upload(sessions, b"", "names.txt"))


# Handlers, as the page calls them.


def test_explain_ends_with_map_classes_and_downloads(sessions, session):
    status, html, lines = last(new_events(sessions).explain(session.token, *QUESTION))
    assert "Ready" in status
    for text in ("photo.png, 10 x 6", "gradcam at hue, 6 x 10 cells", f"red, {RED_PROBABILITY:.1%}", "Most probable"):
        assert text in html
    assert f'href="download/{session.token}/overlay.png?alpha=0.4' in html
    assert "explain('photo.png', model, target=None, layer='hue', method='gradcam'" in lines


def test_look_changes_without_the_model(sessions, session):
    """The thread of the model has ended, so that whoever asked it would wait for ever."""
    events = new_events(sessions)
    before = last(events.explain(session.token, *QUESTION))[1]
    session.model.close()
    after, lines = events.paint(session.token, 0.9, 0.5, "turbo")
    assert after != before
    assert "relative to the map's maximum; below 50% only the photo is shown" in after
    assert "alpha=0.9, colormap='turbo', threshold=0.5)" in lines


def test_what_the_model_refuses_is_told_and_the_old_map_goes(sessions, session):
    events = new_events(sessions)
    last(events.explain(session.token, *QUESTION))
    status, html, _ = last(events.explain(session.token, "hue", "gradcam", 0, 0, "raw"))
    assert "two different classes" in status
    assert "tg-error" in status
    assert "Overlay" not in html


def test_blank_map_shows_its_diagnosis(sessions):
    session = sessions.new()
    session.show_upload(upload(sessions, encoded(red_blue_photo(columns=0), "PNG")))
    _, html, _ = last(new_events(sessions).explain(session.token, "hue", "gradcam", 0, -1, "raw"))
    diagnosis = session.answers["explore"].first.diagnosis[0]
    assert diagnosis is not None
    assert apphtml.escape(for_page(diagnosis)) in html
    assert "explain the predicted class; choose an earlier layer" in for_page(diagnosis)
    assert "list_layers" not in html  # Python's remedy cannot be followed here


def test_picture_that_was_changed_to_be_read_says_so(sessions):
    """12 bits in 16: shown and explained at full brightness, with a note."""
    session = sessions.new()
    grey = (red_blue_photo()[..., 0].astype(np.uint16) * 4095) // 255
    shown = session.show_upload(upload(sessions, encoded(np.where(grey > 0, 4095, 7).astype(np.uint16), "PNG")))
    assert shown.shown.max() == 255
    _, html, _ = last(new_events(sessions).explain(session.token, *QUESTION))
    assert "its 16-bit values end at 4095, so 4095 becomes white" in html


def test_contrast_is_told_by_name(sessions, session):
    _, html, _ = last(new_events(sessions).explain(session.token, "hue", "gradcam", -1, 1, "raw"))
    assert "red against blue, score" in html
    assert ">against</span>" in html


def test_two_calls_for_one_choice_are_one_piece_of_work(sessions, session):
    hold = threading.Event()
    session.model.worker.start(lambda job: hold.wait(5))
    events = new_events(sessions)
    first, second = (events.explain(session.token, *QUESTION) for _ in range(2))
    assert "waiting for the model, 1 ahead of this" in next(first)[0]
    next(second)
    hold.set()
    assert "Ready" in last(first)[0]
    assert "Ready" in last(second)[0]


def test_new_question_takes_the_place_of_the_one_before(sessions, session):
    hold = threading.Event()
    session.model.worker.start(lambda job: hold.wait(5))
    events = new_events(sessions)
    first = events.explain(session.token, *QUESTION)
    next(first)
    second = events.explain(session.token, "hue", "hirescam", 1, -1, "raw")
    next(second)
    hold.set()
    assert list(first) == []
    assert "hirescam at hue" in last(second)[1]


def test_stop_ends_the_work_and_keeps_what_was_shown(sessions, session):
    events = new_events(sessions)
    last(events.explain(session.token, *QUESTION))
    hold = threading.Event()
    session.model.worker.start(lambda job: hold.wait(5))
    working = events.explain(session.token, "hue", "scorecam", 1, -1, "raw")
    next(working)
    events.stop(session.token)
    status, html, _ = last(working)
    hold.set()
    assert "Stopped" in status
    assert "gradcam at hue" in html


def test_compare_shows_all_on_one_scale_and_notes_when_the_controls_change(sessions, session):
    events = new_events(sessions)
    events.select("compare", session.token)
    _, html, lines = last(events.compare(session.token, ["hirescam", "gradcam"], *QUESTION))
    assert re.findall("<h3>(.*?)</h3>", html) == ["Photo", "gradcam", "hirescam"]
    assert html.count("tg-bar") == 1
    assert "compare(model, images, methods" in lines
    assert "have changed" not in html
    _, html, _ = last(events.explain(session.token, "hue", "gradcam", 1, -1, "raw"))
    assert "The controls have changed. Press" in html


class Restless(Session):
    """A window whose tabs are opened by somebody else: another one each time that is asked for."""

    reads = 0

    @property
    def tab(self):
        self.reads += 1
        return "explore" if self.reads % 2 else "layers"

    @tab.setter
    def tab(self, name):
        pass


def test_view_is_of_one_moment_while_tabs_are_opened(sessions):
    session = Restless(sessions.model, sessions.folder.new(), ())
    session.show_upload(upload(sessions))
    ended(session.begin(lambda job: session.explain(session.model.default_question, job)))
    first, second = view_of(session), view_of(session)
    assert "Overlay" in first.html
    assert "explain(" in first.lines
    assert "Explain these layers" in second.html
    assert second.lines == ""
    session.close()


def test_layers_come_in_the_order_of_the_network(sessions, session):
    events = new_events(sessions)
    events.select("layers", session.token)
    _, html, _ = last(events.layers(session.token, ["hue", "scale"], *QUESTION))
    assert re.findall("<h3>(.*?)</h3>", html) == ["Photo", "scale", "hue"]


def test_nothing_chosen_is_told(sessions, session):
    events = new_events(sessions)
    assert "at least one method" in last(events.compare(session.token, [], *QUESTION))[0]
    assert "at least one layer" in last(events.layers(session.token, [], *QUESTION))[0]
    assert "Choose between 1 and 200 pictures." in last(events.batch(session.token, None, *QUESTION))[1]


def test_batch_makes_an_archive_and_tells_of_each_picture(sessions, session):
    events = new_events(sessions)
    events.select("batch", session.token)
    files = [upload(sessions, name="a.png"), upload(sessions, b"no picture", "b.png"), upload(sessions, name="a.png")]
    emptied, status, html, _ = last(events.batch(session.token, files, *QUESTION))
    assert emptied is None
    assert "Ready" in status
    assert "2 of 3 pictures explained" in html
    with zipfile.ZipFile(io.BytesIO(download(session, "heatmaps.zip", Look()))) as archive:
        names = ["a-2.heatmap.npy", "a-2.overlay.png", "a.heatmap.npy", "a.overlay.png", "manifest.csv"]
        assert archive.namelist() == names
        heatmap = np.load(io.BytesIO(archive.read("a.heatmap.npy")))
        manifest = archive.read("manifest.csv").decode()
    np.testing.assert_allclose(heatmap, red_blue_heatmap(), atol=1e-6)
    assert "b.png,failed" in manifest
    assert str(sessions.folder.root) not in manifest + html
    assert files_in(sessions.folder.root) == ["a.png", "a.png", "heatmaps.zip", "photo.png"]


def test_stopped_batch_leaves_no_archive(sessions, session):
    hold = threading.Event()
    session.model.worker.start(lambda job: hold.wait(5))
    events = new_events(sessions)
    working = events.batch(session.token, [upload(sessions, name="a.png")], *QUESTION)
    next(working)
    events.stop(session.token)
    assert "Stopped" in last(working)[1]
    hold.set()
    assert session.batch is None


def test_new_model_brings_its_layers_and_classes(sessions, session, tmp_path):
    path = tmp_path / "other.keras"
    red_blue_model(L.Dense(3, activation="softmax", name="three")).save(path)
    events = new_events(sessions)
    emptied, headline, layer, target, against, mode, layers, *_ = events.load_model(
        session.token, upload(sessions, path.read_bytes(), "other.keras")
    )
    assert emptied is None
    assert "other.keras, 3 classes, images of 6 x 10" in headline
    assert layer["value"] == "hue"
    assert target["choices"] == [("top class", -1), ("class 0", 0), ("class 1", 1), ("class 2", 2)]
    assert against["value"] == -1
    assert mode["value"] == "raw"
    assert layers["value"] == ["hue"]
    assert "Ready" in last(events.again(session.token, "hue", "gradcam", -1, -1, "raw"))[0]


def test_repair_of_an_old_file_is_noted_beside_the_model_and_stays_with_new_names(sessions, session, tmp_path):
    path = write_h5(tmp_path / "old.h5", kept("operators"))
    events = new_events(sessions)
    with pytest.warns(ModelWarning, match="repaired"):
        headline = events.load_model(session.token, upload(sessions, path.read_bytes(), "old.h5"))[1]
    note = "</strong> 'old.h5' was written by Keras 2.15.0 and repaired: tf.math.truediv became keras.ops"
    assert note in unescape(headline)
    assert note in unescape(events.name_classes(session.token, upload(sessions, b"a\nb\nc\n", "names.txt"))[1])


def test_model_that_cannot_be_loaded_is_told_and_the_one_before_stays(sessions, session):
    events = new_events(sessions)
    headline = events.load_model(session.token, upload(sessions, b"no model", "bad.keras"))[1]
    assert "red_blue.keras" in headline
    status, html, _ = last(events.again(session.token, *QUESTION))
    assert "but the first bytes of 'bad.keras' are of neither" in unescape(status)
    assert "photo.png" in html


def test_window_keeps_its_session_from_its_first_event_on(sessions):
    """The first thing done on a page is done in its session, however soon after it was loaded."""
    events = new_events(sessions)
    html = events.select("layers", sessions.token_of("one"))[0]
    assert sessions.find(sessions.token_of("one")).tab == "layers"
    assert sessions.token_of("one") != sessions.token_of("other")
    assert "Drop a picture" in html
    sessions.close_window("one")
    assert sessions.find(sessions.token_of("one")).tab == "explore"


def test_what_is_shown_at_first_can_be_downloaded_and_is_nobodys(tmp_path):
    sessions = new_sessions(load_app_model(), write_samples(tmp_path / "samples"))
    sessions.prepare()
    (token,) = set(re.findall("download/(.*?)/", view_of(sessions.start).html))
    assert np.load(io.BytesIO(download(sessions.find(token), "heatmap.npy", Look()))).shape == (14, 14)
    assert token != sessions.token_of("window")
    sessions.find(sessions.token_of("window")).show_sample(2)
    assert sessions.start.picture.name == "slice-1-glioma.png"
    sessions.close()


def test_window_that_is_gone_is_told_everywhere(sessions):
    events = new_events(sessions)
    assert "Reload" in last(events.explain("gone", *QUESTION))[0]
    assert "Reload" in last(events.compare("gone", ["gradcam"], *QUESTION))[0]
    assert "Reload" in last(events.layers("gone", ["hue"], *QUESTION))[0]
    assert "Reload" in last(events.again("gone", *QUESTION))[0]
    assert "Reload" in events.paint("gone", 0.4, 0, "")[0]
    events.stop("gone")


def test_new_window_shows_the_first_slice_without_the_model(tmp_path):
    sessions = new_sessions(load_app_model(), write_samples(tmp_path / "samples"))
    sessions.prepare()
    sessions.model.close()
    token = sessions.token_of("window")
    assert sessions.find(token).picture.name == "slice-1-glioma.png"
    html, lines = view_of(sessions.find(token))
    again, same_lines = new_events(sessions).select("explore", token)
    (number, html), (later, same_html) = (
        re.fullmatch("<!--(.*?)-->(.*)", one, re.DOTALL).groups() for one in (html, again)
    )
    assert int(number) < int(later)  # by which the page keeps the newest of its answers
    assert (html, lines) == (same_html, same_lines)
    assert "true class: glioma" in html
    assert "of the heat is on the true tumour" in html
    assert "phantom_slices(8, seed=2026).images[0]" in lines
    sessions.close()


class Tags(HTMLParser):
    """The tags of a page, and whether each one is closed."""

    def __init__(self):
        super().__init__()
        self.found, self.open = [], []

    def handle_starttag(self, tag, attributes):
        self.found.append(tag)
        if tag not in ("img", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_names_of_files_and_classes_are_no_html():
    evil = "<script>alert(1)</script>"
    sessions = new_sessions(AppModel(red_blue_model(), [evil, "blue"]))
    session = sessions.new()
    session.show_upload(upload(sessions, name="<img src=x>.png"))
    events, html = new_events(sessions), ""
    html += "".join(last(events.explain(session.token, *QUESTION))[:2])
    events.select("compare", session.token)
    html += last(events.compare(session.token, ["gradcam"], *QUESTION))[1]
    events.select("batch", session.token)
    html += last(events.batch(session.token, [upload(sessions, name="<b>.png")], *QUESTION))[2]
    tags = Tags()
    tags.feed(html)
    assert not {"script", "b"} & set(tags.found)
    assert tags.found.count("img") == html.count('src="data:image/png') + html.count('src="download/')
    assert tags.open == []
    sessions.close()


# The lines of Python make what is downloaded.


def ran(lines, folder, monkeypatch):
    """Run a script next to its files."""
    monkeypatch.chdir(folder)
    exec(compile(lines, "lines.py", "exec"), {})


def png(data):
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "look"),
    [
        (("hue", "gradcam", -1, -1, "raw"), (0.4, 0.0, "")),
        (("hue", "layercam", 1, -1, "raw"), (0.85, 0.35, "turbo")),
        (("hue", "gradcam", -1, 1, "raw"), (0.6, 0.3, "")),
        (("hue", "fullgrad", 0, -1, "raw"), (1.0, 0.0, "viridis")),
    ],
)
def test_lines_make_the_downloaded_files(sessions, session, tmp_path, monkeypatch, asked, look):
    """The photo is larger than the model's images, so that sizes count."""
    session.show_upload(upload(sessions, encoded(red_blue_photo(scale=3), "PNG"), "my photo.png"))
    red_blue_model().save(tmp_path / "red_blue.keras")
    (tmp_path / "my photo.png").write_bytes(encoded(red_blue_photo(scale=3), "PNG"))
    events = new_events(sessions)
    last(events.explain(session.token, *asked))
    _, lines = events.paint(session.token, *look)
    ran(lines, tmp_path, monkeypatch)
    overlay = download(session, "overlay.png", session.look)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "my photo.overlay.png")), png(overlay))
    assert png(overlay).shape == (18, 30, 3)
    heatmap = np.load(io.BytesIO(download(session, "heatmap.npy", session.look)))
    np.testing.assert_array_equal(np.load(tmp_path / "my photo.heatmap.npy"), heatmap)
    assert download(session, "explain.py", session.look).decode() == lines


MODES_TO_ASK = ("unit", "tf", "torch", "caffe")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::tf_gradcam._models.preprocessing.ImageRangeWarning")
@pytest.mark.parametrize("tab", ["explore", "compare"])
@pytest.mark.parametrize("mode", MODES_TO_ASK)
def test_lines_scale_as_was_asked(sessions, session, tmp_path, monkeypatch, mode, tab):
    red_blue_model().save(tmp_path / "red_blue.keras")
    photo = encoded(red_blue_photo(scale=3), "PNG")
    (tmp_path / "photo.png").write_bytes(photo)
    session.show_upload(upload(sessions, photo))
    events = new_events(sessions)
    asked = ("hue", "gradcam", 0, -1, mode)
    if tab == "explore":
        lines = last(events.explain(session.token, *asked))[2]
        heatmap = np.load(io.BytesIO(download(session, "heatmap.npy", session.look)))
        ran(lines, tmp_path, monkeypatch)
        np.testing.assert_array_equal(np.load(tmp_path / "photo.heatmap.npy"), heatmap)
    else:
        events.select(tab, session.token)
        lines = last(events.compare(session.token, ["gradcam", "layercam"], *asked))[2]
        figure = png(download(session, "compare.png", Look()))
        ran(lines, tmp_path, monkeypatch)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "compare.png")), figure)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The code in:tf_gradcam._errors.ModelWarning")
def test_lines_of_a_model_of_own_classes_import_them(tmp_path, monkeypatch):
    path, code = write_own_model(tmp_path)
    sessions = new_sessions(load_app_model(str(path), own_code=import_code([str(code)])))
    session = sessions.new()
    (tmp_path / "photo.png").write_bytes(encoded(red_blue_photo(scale=3), "PNG"))
    session.show_upload(upload(sessions, (tmp_path / "photo.png").read_bytes(), "photo.png"))
    lines = last(new_events(sessions).explain(session.token, "hue", "gradcam", 0, -1, "raw"))[2]
    assert f"model = load_model({str(path)!r}, custom_objects=vars(my_layers))" in lines
    monkeypatch.syspath_prepend(tmp_path)
    ran(lines, tmp_path, monkeypatch)
    heatmap = np.load(io.BytesIO(download(session, "heatmap.npy", session.look)))
    np.testing.assert_array_equal(np.load(tmp_path / "photo.heatmap.npy"), heatmap)
    sessions.close()


def test_lines_name_the_classes_of_the_picture_where_there_are_too_many_names():
    names = [f"class of number {number}" for number in range(60)]
    sessions = new_sessions(AppModel(red_blue_model(L.Dense(60, "softmax")), names))
    session = sessions.new()
    session.show_upload(upload(sessions))
    lines = last(new_events(sessions).explain(session.token, "hue", "gradcam", 7, 50, "raw"))[2]
    (line,) = (line for line in lines.splitlines() if line.startswith("class_names = "))
    probable = [name for name, _ in session.answers["explore"].first.top(5)[0]]
    assert line.endswith("  # of 60, those of this picture")
    assert eval(line.removeprefix("class_names = ")) == {
        index: name for index, name in enumerate(names) if index in (7, 50) or name in probable
    }
    sessions.close()


def test_lines_import_public_names_only(sessions, session):
    events = new_events(sessions)
    explored = last(events.explain(session.token, *QUESTION))[2]
    events.select("layers", session.token)
    layers = last(events.layers(session.token, ["hue", "scale"], *QUESTION))[2]
    for lines in (explored, layers):
        assert "tf_gradcam" in lines
        assert "._" not in lines


@pytest.mark.slow
def test_lines_of_a_slice_make_it_first(tmp_path, monkeypatch):
    sessions = new_sessions(load_app_model(), write_samples(tmp_path / "samples"))
    session = sessions.new()
    session.show_sample(3)
    ended(session.begin(lambda job: session.explain(session.model.default_question, job)))
    ran(view_of(session).lines, tmp_path, monkeypatch)
    overlay = np.asarray(Image.open(tmp_path / "slice-4-pituitary.overlay.png"))
    np.testing.assert_array_equal(overlay, png(download(session, "overlay.png", Look())))
    sessions.close()


@pytest.mark.slow
@pytest.mark.parametrize("tab", ["compare", "layers"])
def test_lines_of_a_figure_make_it(sessions, session, tmp_path, monkeypatch, tab):
    red_blue_model().save(tmp_path / "red_blue.keras")
    (tmp_path / "photo.png").write_bytes(encoded(red_blue_photo(), "PNG"))
    events = new_events(sessions)
    events.select(tab, session.token)
    chosen = ["gradcam", "fullgrad"] if tab == "compare" else ["hue", "scale"]
    handler = events.compare if tab == "compare" else events.layers
    lines = last(handler(session.token, chosen, *QUESTION))[2]
    ran(lines, tmp_path, monkeypatch)
    figure = png(download(session, f"{tab}.png", Look()))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"{tab}.png")), figure)
    assert (tmp_path / f"{tab}.pdf").read_bytes()[:4] == download(session, f"{tab}.pdf", Look())[:4] == b"%PDF"


def test_download_of_what_is_not_there_is_refused(session):
    for name in ("overlay.png", "compare.png", "heatmaps.zip", "secret.txt"):
        with pytest.raises(ValueError, match=f"There is no '{name}' yet"):
            download(session, name, Look())
    ended(session.begin(lambda job: session.explain(session.model.default_question, job)))
    with pytest.raises(ValueError, match=r"There is no file 'secret.txt'"):
        download(session, "secret.txt", Look())


# The server.


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    red_blue_model().save(folder / "red_blue.keras")
    with served(folder / "temporary", str(folder / "red_blue.keras")) as one:
        yield one


@pytest.mark.slow
@needs_gradio
def test_page_names_no_other_server(server):
    status, _, page = server.get("/")
    assert status == 200
    tags = re.findall(r"<(?:script|link|img|iframe|meta)\b[^>]*https?://(?!127\.0\.0\.1)[^>]*>", page.decode())
    assert tags == []
    assert b"googleapis" not in page
    assert b"red_blue.keras, 2 classes" in page


@needs_gradio
def test_every_answer_forbids_other_servers(server):
    for path in ("/", "/theme.css", "/download/none/overlay.png"):
        policy = server.get(path)[1]["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "connect-src 'self' data: blob:;" in policy
        assert "http" not in policy


@needs_gradio
def test_fonts_are_those_of_the_system(server):
    theme = server.get("/theme.css")[2]
    assert b"@import" not in theme
    assert b"@font-face" not in theme
    assert b"system-ui" in theme


@needs_gradio
def test_request_for_another_host_is_refused(server):
    assert server.get("/", Host="evil.example")[0] == 400
    assert server.get("/", Host="localhost:7860")[0] == 200


@needs_gradio
def test_download_needs_the_token_of_a_window(server):
    status, headers, content = server.get("/download/guessed/overlay.png")
    assert (status, headers["content-type"]) == (404, "text/plain; charset=utf-8")
    assert b"Reload" in content
    assert server.get("/download/guessed/overlay.png?alpha=much")[0] == 422


@needs_gradio
def test_files_elsewhere_are_not_served(server):
    for path in ("/etc/passwd", str(Path(__file__).resolve())):
        assert server.get(f"/gradio_api/file={path}")[0] in (403, 404)


@needs_gradio
def test_events_of_the_model_begin_in_their_order(sessions):
    import gradio
    from gradio.queueing import Event

    async def built():  # within a loop: else Gradio opens several and leaves them open
        return Page(gradio, sessions).blocks

    blocks = asyncio.run(built())
    handlers = [one for one in blocks.fns.values() if one.queue and inspect.isgeneratorfunction(one.fn)]
    sent = [Event("window", handler, None, None) for handler in handlers] * 2
    assert len(sent) > 30
    for event in sent:
        blocks._queue.create_event_queue_for_fn(event.fn)
        blocks._queue.event_queue_per_concurrency_id[event.concurrency_id].queue.append(event)
    begun = [event for _ in sent for event in blocks._queue.get_events()[0]]
    assert [id(event) for event in begun] == [id(event) for event in sent]


@needs_gradio
def test_nothing_is_counted_or_recorded(server):
    config = json.loads(server.get("/config")[2])
    assert config["analytics_enabled"] is False
    assert config.get("run_history", False) is False


HANGUP = pytest.param(
    signal.SIGHUP,
    marks=pytest.mark.skipif(
        signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="SIGHUP is ignored here, as nohup does"
    ),
)


@needs_gradio
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, HANGUP])
def test_server_that_is_ended_leaves_no_file(tmp_path, number):
    red_blue_model().save(tmp_path / "red_blue.keras")
    with served(tmp_path / "temporary", str(tmp_path / "red_blue.keras")) as server:
        assert server.get("/")[0] == 200
        assert list(server.folder.glob("tf-gradcam-app-*"))
        window = http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=60)
        window.request("GET", "/gradio_api/heartbeat/window")
        assert window.getresponse().status == 200  # and never ends, as long as the window is open
        assert server.end(number) == (0 if number == signal.SIGINT else 128 + signal.SIGTERM)
        assert list(server.folder.glob("tf-gradcam-app-*")) == []
        assert "Traceback" not in server.errors.read_text(encoding="utf-8")
        window.close()


@needs_gradio
@pytest.mark.slow
@pytest.mark.parametrize("delay", [0, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, HANGUP])
def test_server_that_is_ended_while_it_starts_leaves_no_file(tmp_path, number, delay):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-m", "tf_gradcam", "app", "--port", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("tf-gradcam-app-*")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(number)
        try:
            errors = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in errors


def test_port_that_is_taken_is_told_before_a_model_is_loaded():
    with listening("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match=rf"Cannot listen on 127.0.0.1, port {port}: .* Choose another with --port"):
            listening("127.0.0.1", port)


def test_end_right_after_the_folder_is_made_leaves_no_folder(tmp_path, monkeypatch):
    """As a signal does between two lines: the first of all lines after the folder is there ends the program."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = Path.mkdir

    def end(path, *arguments, **options):
        made(path, *arguments, **options)
        raise SystemExit(143)

    monkeypatch.setattr(Path, "mkdir", end)
    with pytest.raises(SystemExit):
        create_app()
    assert list(tmp_path.iterdir()) == []


def test_model_that_does_not_exist_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setitem(sys.modules, "gradio", ModuleType("gradio"))
    with pytest.raises(FileNotFoundError, match="There is no model file"):
        create_app(str(tmp_path / "none.keras"))
    assert list(tmp_path.iterdir()) == []


def test_missing_gradio_is_told_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError, match=r'pip install "\.\[app\]"'):
        create_app()
    assert list(tmp_path.iterdir()) == []


def test_addresses_of_the_template_are_taken_out():
    page = """<head><meta property="og:url" content="https://elsewhere.example/"><title>a</title>
    <link rel="preconnect" href="https://fonts.example"><script src="https://cdn.example/a.js"></script>
    <link rel="icon" href="./a.png"><script src="./b.js"></script></head>"""
    left = without_addresses(page)
    assert "https" not in left
    assert '<link rel="icon" href="./a.png"><script src="./b.js"></script></head>' in left
