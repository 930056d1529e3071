"""Hostile files and requests are refused. SECURITY.md names these tests, and others elsewhere.

Also tests _models/safety.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import functools
import http.client
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from click.testing import CliRunner

from tests.helpers.app_server import Server, needs_gradio, served
from tests.helpers.app_sessions import new_events, new_sessions, upload
from tests.helpers.pictures import encoded
from tests.helpers.redblue import red_blue_model, red_blue_photo
from tf_gradcam._app import guard as appguard
from tf_gradcam._app import worker as appjob
from tf_gradcam._app.controls import look_of, names_of
from tf_gradcam._app.guard import UPLOAD, RequestGuard
from tf_gradcam._app.model import AppModel
from tf_gradcam._app.server import is_local
from tf_gradcam._app.worker import Worker
from tf_gradcam._cli.main import main
from tf_gradcam._models.loading import load_model, load_weights_file
from training.data.folder import Samples
from training.data.split import Parts, validation_table, without

SUFFIXES = [".keras", ".h5"]
L = keras.layers


# Model files.


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@functools.cache
def saved(name: str) -> bytes:
    """A Functional model as it is saved under such a name: its layers can be called on anything."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        layered_model().save_weights(path) if "weights" in name else layered_model().save(path)
        return path.read_bytes()


def layered_model() -> keras.Model:
    images = keras.Input((6, 10, 3))
    means = L.GlobalAveragePooling2D()(L.Conv2D(2, 1, name="hue")(images))
    return keras.Model(images, L.Dense(2, name="classes")(means))


def edited(path: Path, edit: Callable[[dict], None]) -> Path:
    """A model file whose layers `edit` has changed in place."""
    path.write_bytes(saved(f"model{path.suffix}"))
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            edit(config)
            file.attrs["model_config"] = json.dumps(config)
        return path
    members = members_of(path)
    config = json.loads(members["config.json"])
    edit(config)
    return write_members(path, {**members, "config.json": json.dumps(config).encode()})


def calling(function: dict, argument: Any) -> Callable[[dict], None]:
    """An edit that adds a layer which calls a function of the Keras library."""
    layer = {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {"name": "evil", "function": function, "arguments": {}},
        "name": "evil",
        "inbound_nodes": [{"args": [], "kwargs": {"inputs": argument}}],
    }
    return lambda config: config["config"]["layers"].append(layer)


def function(module: str, name: str) -> dict:
    return {"module": module, "class_name": "function", "config": name, "registered_name": "function"}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("called", "argument"),
    [
        (function("keras.config", "set_floatx"), "float64"),
        (function("keras", "config.set_floatx"), "float64"),
        ({"module": "keras.config", "class_name": "set_floatx", "config": {}}, "float64"),
        (function("keras.config", "enable_unsafe_deserialization"), []),
        (function("keras.utils", "get_file"), "evil"),
        (function("keras.models", "load_model"), "evil.keras"),
        (function("keras.datasets.mnist", "load_data"), "evil"),
        (function("keras.layers", "TFSMLayer"), "evil"),
        (function("keras.layers", "deserialize"), {}),
        (function("keras.applications", "VGG16"), True),
        ({"module": "keras.applications", "class_name": "VGG16", "config": {}}, True),
    ],
)
def test_function_that_no_layer_is_made_of_is_refused(tmp_path: Path, suffix: str, called: dict, argument: Any) -> None:
    """`safe_mode` lets most of these pass: Keras 3.15 sets the float type of the whole process, or downloads."""
    path = edited(tmp_path / f"model{suffix}", calling(called, argument))
    with pytest.raises(ValueError, match=r"it calls 'keras\..*' of Keras, which is not part of a layer"):
        load_model(path)
    assert keras.config.floatx() == "float32"


@pytest.mark.parametrize(
    "layer",
    [
        L.Lambda(keras.activations.relu),
        L.Activation(keras.ops.silu),
        L.Conv2D(3, 1, kernel_regularizer="l2", kernel_initializer=keras.initializers.HeNormal(), dtype="float64"),
    ],
)
def test_functions_that_layers_are_made_of_are_no_danger(tmp_path: Path, layer: keras.layers.Layer) -> None:
    images = keras.Input((6, 10, 3))
    model = keras.Model(images, L.GlobalAveragePooling2D()(keras.ops.abs(layer(images))))
    model.save(tmp_path / "model.keras")
    photo = red_blue_photo()[None].astype("float32")
    np.testing.assert_allclose(load_model(tmp_path / "model.keras")(photo), model(photo), rtol=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("builtins", "exec"), ("subprocess", "call"), ("numpy", "save")]
)
def test_function_of_python_is_not_called(tmp_path: Path, suffix: str, module: str, name: str) -> None:
    """CVE-2025-1550. The argument would make a file under each of these functions that takes one text."""
    trace = tmp_path / "trace"
    argument = f"open({str(trace)!r}, 'w')" if name == "exec" else f"touch {trace}"
    path = edited(tmp_path / f"model{suffix}", calling(function(module, name), argument))
    with pytest.raises(ValueError, match="Cannot load"):
        load_model(path)
    assert not trace.exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_vocabulary_is_not_read_from_another_file(tmp_path: Path, suffix: str) -> None:
    """CVE-2025-12058."""
    secret = tmp_path / "secret.txt"
    secret.write_text("password\n")
    layer = {"module": "keras.layers", "class_name": "TextVectorization", "name": "evil", "inbound_nodes": []}
    layer["config"] = {"name": "evil", "vocabulary": str(secret), "dtype": "string"}
    path = edited(tmp_path / f"m{suffix}", lambda config: config["config"]["layers"].append(layer))
    with pytest.raises(ValueError, match="Cannot load"):
        load_model(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_layer_larger_than_its_file_is_not_built(tmp_path: Path, suffix: str) -> None:
    """8 x 10^9 weights are 32 GB; the file has 20 kB."""

    def widen(config: dict) -> None:
        config["config"]["layers"][-1]["config"]["units"] = 4 * 10**9

    path = edited(tmp_path / f"model{suffix}", widen)
    with pytest.raises(ValueError, match="its layers, at 'classes', need more weights than it can hold"):
        load_model(path)
    assert load_model(edited(tmp_path / f"usual{suffix}", lambda config: None)).count_params() > 0


def test_layers_that_unpack_to_gigabytes_are_not_unpacked(tmp_path: Path) -> None:
    path = edited(tmp_path / "model.keras", lambda config: None)
    write_members(path, {**members_of(path), "config.json": b"[" + bytes(65 * 2**20)})
    assert path.stat().st_size < 2**20
    with pytest.raises(ValueError, match="Expected layers in at most 67108864 bytes"):
        load_model(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("text", ["{nonsense", "[" * 60_000])
def test_layers_that_are_no_json_are_told(tmp_path: Path, suffix: str, text: str) -> None:
    path = edited(tmp_path / f"model{suffix}", lambda config: None)
    if suffix == ".h5":
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = text
    else:
        write_members(path, {**members_of(path), "config.json": text.encode()})
    with pytest.raises(ValueError, match="is damaged: its layers are not JSON"):
        load_model(path)


def leading_elsewhere(file: h5py.File, kind: str, folder: Path) -> None:
    """In place of the kernel (1, 1, 3, 2) something that leads to another file."""
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if getattr(item, "shape", None) == (1, 1, 3, 2) else None)
    (name,) = found
    del file[name]
    if kind == "raw bytes":
        file.create_dataset(name, (1, 1, 3, 2), "float32", external=[(str(folder / "secret"), 0, 24)])
    elif kind == "link":
        file[name] = h5py.ExternalLink(str(folder / "other.h5"), "kernel")
    else:
        layout = h5py.VirtualLayout((1, 1, 3, 2), "float32")
        layout[...] = h5py.VirtualSource(str(folder / "other.h5"), "kernel", (1, 1, 3, 2))
        file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.weights.h5"])
@pytest.mark.parametrize("kind", ["raw bytes", "link", "view"])
def test_weights_are_not_read_from_another_file(tmp_path: Path, name: str, kind: str) -> None:
    """CVE-2026-1669 and its kin: a map would show what the other file holds."""
    secret = np.arange(6, dtype=np.float32).reshape(1, 1, 3, 2)
    (tmp_path / "secret").write_bytes(secret.tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["kernel"] = secret
    path = tmp_path / name
    path.write_bytes(saved(name))
    if path.suffix == ".keras":
        members, inner = members_of(path), "model.weights.h5"
        stream = io.BytesIO(members[inner])
        with h5py.File(stream, "r+") as file:
            leading_elsewhere(file, kind, tmp_path)
        write_members(path, {**members, inner: stream.getvalue()})
    else:
        with h5py.File(path, "r+") as file:
            leading_elsewhere(file, kind, tmp_path)
    with pytest.raises(ValueError, match=r"Cannot load|do not fit"):
        load_weights_file(layered_model(), path) if "weights" in name else load_model(path)


@pytest.mark.parametrize("member", ["../evil", "assets/../../evil", "/tmp/tf_gradcam_evil"])
def test_member_of_a_model_file_is_not_written_elsewhere(tmp_path: Path, member: str) -> None:
    (tmp_path / "inner").mkdir()
    path = edited(tmp_path / "inner" / "model.keras", lambda config: None)
    write_members(path, {**members_of(path), member: b"evil"})
    with contextlib.suppress(ValueError):  # from Keras 3.12.4 on
        load_model(path)
    assert [path.name for path in tmp_path.rglob("*")] == ["inner", "model.keras"]
    assert not Path("/tmp/tf_gradcam_evil").exists()


# Names.


def test_names_that_are_formulas_are_text_in_the_table_of_a_training(tmp_path: Path) -> None:
    names = ("+1", "=HYPERLINK(0)", "glioma")
    files = tuple(tmp_path / name / "a.png" for name in names)
    samples = Samples(tmp_path, files, np.arange(3, dtype=np.int32), names)
    table = tmp_path / "samples.csv"
    table.write_bytes(validation_table(samples, Parts(np.array([2]), np.array([0, 1]), 0, 3, 0)))
    with open(table, newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1:] == [["./+1/a.png", "'+1"], ["./=HYPERLINK(0)/a.png", "'=HYPERLINK(0)"]]
    assert without(samples, table).files == files[2:]


def test_names_give_a_terminal_no_orders(tmp_path: Path) -> None:
    """Layers, classes and files may be called anything; ESC ] 0 would name the window, ESC [ 2 J clear it."""
    red_blue_model().save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras", "a") as archive:
        archive.writestr("class_names.json", json.dumps(["r\x1b]0;evil\x07ed", "b\x1b[2Jlue"]))
    red_blue_model(L.Dense(2, name="cl\x9b2Jasses")).save(tmp_path / "layers.keras")
    photo = tmp_path / "pho\x1b[31mto.png"
    photo.write_bytes(encoded(red_blue_photo(), "PNG"))
    explain = ["explain", str(photo), "--model", str(tmp_path / "model.keras"), "--out", str(tmp_path / "out")]
    told = ""
    for arguments in (explain, ["layers", str(tmp_path / "layers.keras")]):
        result = CliRunner().invoke(main, arguments, color=True)
        assert result.exit_code == 0, result.output
        told += result.output
    assert r"pho\x1b[31mto.png" in told
    assert r"cl\x9b2Jasses" in told
    assert re.search(r"r\\x1b\]0;evil\\x07ed|b\\x1b\[2Jlue", told)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", told)


# Requests to the web page.


class Asked:
    """An application that keeps the bodies which reach it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def ask(uploads: Path, body: bytes = b"", path: str = "/gradio_api/queue/join", **headers: str) -> tuple[int, int]:
    """Status, and how often the application behind the guard was asked."""
    app, sent = Asked(), []
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": path, "headers": pairs}
    pieces = [body[start : start + 2**16] for start in range(0, max(len(body), 1), 2**16)]
    messages = [
        {"type": "http.request", "body": piece, "more_body": number + 1 < len(pieces)}
        for number, piece in enumerate(pieces)
    ]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(RequestGuard(app, uploads)(scope, receive, send))
    assert all(received == body for received in app.bodies)
    return sent[0]["status"], len(app.bodies)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # no browser
        ({"origin": "http://127.0.0.1:7860"}, 200),
        ({"origin": "http://127.0.0.1:7860", "sec_fetch_site": "same-origin"}, 200),
        ({"origin": "https://maps.example", "sec_fetch_site": "same-origin"}, 200),  # behind a server of other name
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:8888"}, 403),  # a page of another program on this machine
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"origin": "http://127.0.0.1:7860", "sec_fetch_site": "same-site"}, 403),
    ],
)
def test_request_of_another_page_is_refused(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    for path, more in (("/gradio_api/queue/join", {}), (UPLOAD, {"content_length": "2"})):
        assert ask(tmp_path, b"{}", path, host="127.0.0.1:7860", **headers, **more) == (status, int(status == 200))


def naming(path: Any) -> bytes:
    return json.dumps({"data": [None, [{"path": path, "meta": {"_type": "gradio.FileData"}}]]}).encode()


def test_request_names_uploaded_files_alone(tmp_path: Path) -> None:
    uploads, outside = tmp_path / "uploads", tmp_path / "private.png"
    (uploads / "1").mkdir(parents=True)
    (uploads / "1" / "photo.png").touch()
    outside.touch()
    (uploads / "1" / "link.png").symlink_to(outside)
    assert ask(uploads, naming(str(uploads / "1" / "photo.png"))) == (200, 1)
    for path in (
        str(outside),
        f"{uploads}/1/../../private.png",
        str(uploads / "1" / "link.png"),
        f"{uploads}-other/photo.png",
        "photo.png",
        "file:///etc/passwd",
        "http://192.168.0.1/photo.png",
        f"{uploads}/1/photo.png\0.png",
        7,
        [str(outside)],
    ):
        assert ask(uploads, naming(path)) == (403, 0), path


def test_request_is_small_json(tmp_path: Path) -> None:
    large = json.dumps({"data": ["a" * appguard.MAX_BODY_BYTES]}).encode()
    assert ask(tmp_path, large) == (413, 0)
    assert ask(tmp_path, large[: appguard.MAX_BODY_BYTES - 2] + b'"]') == (400, 0)
    assert ask(tmp_path, b"[" * 100_000) == (400, 0)
    assert ask(tmp_path, b"a=b") == (400, 0)
    assert ask(tmp_path) == (200, 1)
    assert ask(tmp_path, json.dumps({"a": "a" * (appguard.MAX_BODY_BYTES - 9)}).encode()) == (200, 1)


def test_request_names_its_window_in_a_few_letters_of_whole_characters(tmp_path: Path) -> None:
    """Gradio keeps a window's name for as long as it runs."""
    for window, status in (
        ("a1b2c3", 200),
        (None, 200),
        ("a" * 64, 200),
        ("a" * 65, 400),
        ("", 400),
        ("a b", 400),
        (7, 400),
    ):
        assert ask(tmp_path, json.dumps({"session_hash": window}).encode())[0] == status, window
    assert ask(tmp_path, b'{"data": ["\\ud800"]}') == (400, 0)
    assert ask(tmp_path, b'{"data": ["\\ud83d\\ude00"]}') == (200, 1)
    assert ask(tmp_path, b"[]") == (400, 0)


def test_uploads_that_nobody_takes_do_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appguard, "MAX_WAITING_BYTES", 100)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "photo.png").write_bytes(bytes(60))
    assert ask(tmp_path, b"a" * 40, UPLOAD, content_length="40") == (200, 1)
    assert ask(tmp_path, b"a" * 41, UPLOAD, content_length="41") == (507, 0)
    assert ask(tmp_path, b"a" * 41, UPLOAD) == (411, 0)
    assert ask(tmp_path, b"a" * 41, UPLOAD, content_length="1", transfer_encoding="chunked") == (411, 0)


def test_work_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appjob, "MAX_SECONDS", -1.0)
    worker = Worker("test")
    job = worker.start(lambda job: job.tell(0.5))
    for _ in job.follow():
        pass
    worker.close()
    with pytest.raises(TimeoutError, match="others wait for the model"):
        job.result()


def test_model_of_huge_images_is_refused() -> None:
    """50 000 x 50 000 pixels are 30 GB as float32."""
    images = keras.Input((50_000, 50_000, 3))
    model = keras.Model(images, L.GlobalAveragePooling2D()(L.Conv2D(2, 1)(images)))
    with pytest.raises(ValueError, match="at most 40 million pixels, received one of 50000 x 50000"):
        AppModel(model)


def test_models_uploaded_at_once_are_counted_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tf_gradcam._app.session._MAX_MODELS", 1)
    sessions = new_sessions()
    events, windows = new_events(sessions), [sessions.new() for _ in range(3)]
    files = [upload(sessions, saved("model.keras"), f"model{number}.keras") for number in range(3)]
    with ThreadPool(3) as pool:
        pool.starmap(events.load_model, [(window.token, file) for window, file in zip(windows, files, strict=True)])
    assert sum(window.has_own_model for window in windows) == 1
    assert sum("but other windows have 1" in window.error for window in windows) == 2
    sessions.close()


# The page as it is served.


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("server")
    red_blue_model().save(folder / "red_blue.keras")
    with served(folder / "temporary", str(folder / "red_blue.keras")) as one:
        yield one


def post(server: Server, path: str, body: bytes, content_type: str, **headers: str) -> tuple[int, bytes]:
    host, port = server.address.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.request("POST", path, body, {"content-type": content_type, **headers})
    answer = connection.getresponse()
    status, content = answer.status, answer.read()
    connection.close()
    return status, content


def send_photo(server: Server, name: str = "photo.png", **headers: str) -> tuple[int, bytes]:
    head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
    body = head + encoded(red_blue_photo(), "PNG") + b"\r\n--b--\r\n"
    return post(server, UPLOAD, body, "multipart/form-data; boundary=b", **headers)


@pytest.mark.slow
@needs_gradio
def test_upload_lies_in_the_servers_own_folder_and_is_handed_out_as_a_file(server: Server) -> None:
    for name in ("photo.png", "../../../photo.png", "/etc/photo.png", "<img src=x onerror=alert(1)>.html"):
        status, content = send_photo(server, name)
        (path,) = json.loads(content)
        assert status == 200
        assert Path(path).resolve().is_relative_to(server.folder.resolve())
        _, headers, _ = server.get(f"/gradio_api/file={path.replace(' ', '%20')}")
        assert "html" not in headers["content-type"]


@needs_gradio
def test_page_takes_uploads_of_its_own_alone(server: Server) -> None:
    before = sorted(server.folder.rglob("*"))
    assert send_photo(server, "evil.png", origin="http://evil.example")[0] == 403
    assert send_photo(server, "evil.png", **{"sec-fetch-site": "cross-site"})[0] == 403
    assert sorted(server.folder.rglob("*")) == before
    assert send_photo(server, "good.png", origin=server.address)[0] == 200


@needs_gradio
def test_page_is_shown_in_no_other(server: Server) -> None:
    for path in ("/", "/config", "/download/none/overlay.png"):
        _, headers, _ = server.get(path)
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in server.get("/config", origin="http://evil.example")[1]


@needs_gradio
def test_page_explains_uploaded_pictures_alone(server: Server, tmp_path: Path) -> None:
    """Without a guard Gradio copies any picture of this machine to where the page reads it."""
    (tmp_path / "private.png").write_bytes(encoded(red_blue_photo(), "PNG"))
    number, data = photo_event(server)
    own = json.loads(send_photo(server)[1])[0]
    for path, status in ((str(tmp_path / "private.png"), 403), ("http://localhost/a.png", 403), (own, 200)):
        body = json.dumps({"fn_index": number, "data": data(path), "session_hash": "window"}).encode()
        answer = post(server, "/gradio_api/queue/join", body, "application/json")
        assert answer[0] == status, answer
        assert (b"Expected files that were uploaded here" in answer[1]) == (status == 403)


def photo_event(server: Server) -> tuple[int, Callable[[str], list[Any]]]:
    """The number of the event of a dropped picture, and its values for the path of an upload."""
    config = json.loads(server.get("/config")[2])
    values = {one["id"]: one["props"].get("value") for one in config["components"]}
    (file,) = (one["id"] for one in config["components"] if one["props"].get("elem_id") == "tg-file")
    (event,) = (one for one in config["dependencies"] if [file, "upload"] in one["targets"])

    def data(path: str) -> list[Any]:
        picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
        return [picture if number == file else values[number] for number in event["inputs"]]

    return event["id"], data


def answer_of(server: Server, window: str, number: int, data: list[Any]) -> str:
    """Return the messages that the page gets for an event of a window, up to its end."""
    body = json.dumps({"fn_index": number, "data": data, "session_hash": window}).encode()
    assert post(server, "/gradio_api/queue/join", body, "application/json")[0] == 200
    host, port = server.address.removeprefix("http://").split(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=60)) as connection:
        connection.request("GET", f"/gradio_api/queue/data?session_hash={window}")
        lines = []
        for line in connection.getresponse():
            lines.append(line.decode())
            if "process_completed" in lines[-1]:
                break
    return "".join(lines)


@needs_gradio
def test_equal_uploads_of_many_windows_do_not_take_each_others_place(server: Server) -> None:
    number, data = photo_event(server)
    with ThreadPool(8) as pool:
        paths = [json.loads(content)[0] for _, content in pool.map(lambda _: send_photo(server), range(8))]
        asked = [(server, f"equal{index}", number, data(path)) for index, path in enumerate(paths)]
        answers = pool.starmap(answer_of, asked)
    assert len(set(paths)) == 8
    assert all("tg-ready" in answer for answer in answers)


@needs_gradio
@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (1, None, "Expected a layer"),
        (2, [], "Expected a layer"),
        (3, [], "Expected classes"),
        (4, True, "Expected classes"),
    ],
)
def test_request_with_a_missing_setting_is_refused_by_name(server: Server, place: int, value: Any, reason: str) -> None:
    number, data = photo_event(server)
    values = data(json.loads(send_photo(server)[1])[0])
    values[place] = value
    assert reason in answer_of(server, "missing", number, values)


@pytest.mark.parametrize(
    ("values", "reason"),
    [((None, 0.5, ""), "received None and 0.5"), ((0.4, float("nan"), ""), "0.4 and nan"), ((True, 0, ""), "True")],
)
def test_look_that_is_not_made_of_numbers_is_refused(values: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        look_of(*values)


def test_list_of_methods_that_is_not_one_is_refused() -> None:
    for chosen in (None, "gradcam", ["gradcam", 7], {"gradcam": 1}):
        with pytest.raises(ValueError, match="Expected a list of names"):
            names_of(chosen)


def test_address_of_this_machine_is_known_however_it_is_written() -> None:
    assert all(map(is_local, ("127.0.0.1", "127.0.0.2", "LOCALHOST", "127.1", "::1", "0:0:0:0:0:0:0:1")))
    assert not any(map(is_local, ("0.0.0.0", "::", "192.0.2.1", "no such host")))
