"""Who may use a page that is not of this machine alone: the token of its address, the login, and their guard.

Also tests _app/guard.py, _app/server.py, _cli/app.py.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import re
from contextlib import closing
from typing import Any

import pytest
from click.testing import CliRunner

from tests.helpers.app_server import Server, needs_gradio, served
from tests.helpers.redblue import red_blue_model
from tf_gradcam._app.guard import AccessGuard, check_login
from tf_gradcam._cli.main import main

LOGIN = "anna:b:ö"
PATHS = [
    *("/", "/config", "/theme.css", "/gradio_api/info", "/gradio_api/queue/data?session_hash=a"),
    *(
        "/gradio_api/heartbeat/a",
        "/gradio_api/file=a.png",
        "/download/a/overlay.png",
        "/nowhere",
        "/static/img/logo.svg",
    ),
]
POSTS = ["/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/reset"]


def basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "red_blue.keras"
    red_blue_model().save(path)
    return str(path)


@pytest.fixture(scope="module")
def by_token(model: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with served(tmp_path_factory.mktemp("token") / "temporary", model, host="0.0.0.0") as one:
        yield one


@pytest.fixture(scope="module")
def by_login(model: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with served(tmp_path_factory.mktemp("login") / "temporary", model, auth=LOGIN) as one:
        yield one


def status_of(server: Server, method: str, path: str, **headers: str) -> int:
    host, port = server.address.removeprefix("http://").split(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=60)) as connection:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status


@needs_gradio
@pytest.mark.parametrize("kind", ["token", "login"])
def test_every_route_of_a_shared_page_is_refused_to_strangers(kind: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(f"by_{kind}")
    asked = [
        *(("GET", path) for path in PATHS),
        *(("HEAD", path) for path in PATHS),
        *(("POST", path) for path in POSTS),
    ]
    assert {one: status_of(server, *one) for one in asked} == dict.fromkeys(asked, 401)


@needs_gradio
def test_page_for_others_has_a_token_that_nobody_guesses_and_goes_on_by_its_cookie(by_token: Server) -> None:
    assert re.fullmatch(r"[\w-]{32}", by_token.token)
    status, headers, page = by_token.get(f"/?token={by_token.token}")
    assert status == 200
    assert b"red_blue.keras, 2 classes" in page
    cookie, *flags = headers["set-cookie"].split("; ")
    assert flags == ["HttpOnly", "SameSite=Strict", "Path=/"]
    assert by_token.token not in cookie
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    for path in ("/", "/config", "/theme.css"):
        assert by_token.get(path, cookie=f"other=1; {cookie}")[0] == 200
    assert b"Reload" in by_token.get("/download/guessed/overlay.png", cookie=cookie)[2]
    name, value = cookie.split("=", 1)
    for wrong in (f"{name}={value}x", f"{name}=", f"{name}={by_token.token}", f"x={value}"):
        assert by_token.get("/", cookie=wrong)[0] == 401


@needs_gradio
@pytest.mark.parametrize("query", ["", "?token=", "?token=guessed", "?token=%C3%B6", "?token=%FF", "?other={}"])
def test_wrong_token_is_refused_in_words(by_token: Server, query: str) -> None:
    status, headers, text = by_token.get("/" + query.format(by_token.token))
    assert (status, headers["content-type"]) == (401, "text/plain; charset=utf-8")
    assert b"Open the whole address that `tf-gradcam app` printed." in text
    assert "set-cookie" not in headers


@needs_gradio
def test_page_with_a_login_asks_for_it_on_this_machine_too(by_login: Server) -> None:
    assert by_login.token == ""
    status, headers, text = by_login.get("/")
    assert (status, text) == (401, b"Expected the user and password of `tf-gradcam app --auth`.")
    assert headers["www-authenticate"] == 'Basic realm="tf-gradcam", charset="UTF-8"'
    assert by_login.get("/", authorization=basic(LOGIN))[0] == 200
    wrong = [basic("anna:b"), basic("anna:b:o"), basic(""), "Basic ö", "Basic", f"Bearer {basic(LOGIN)[6:]}"]
    assert [by_login.get("/", authorization=each)[0] for each in wrong] == [401] * len(wrong)


@needs_gradio
def test_same_guards_stand_behind_the_login(by_login: Server) -> None:
    known = {"authorization": basic(LOGIN)}
    assert status_of(by_login, "POST", "/gradio_api/queue/join", origin="http://evil.example", **known) == 403
    assert by_login.get("/", Host="evil.example", **known)[0] == 400


def test_connection_of_another_kind_is_closed_for_strangers() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def never(*_: Any) -> Any:
        raise AssertionError("a stranger came through")

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}
    asyncio.run(AccessGuard(never, LOGIN, None)(scope, never, send))
    asyncio.run(AccessGuard(never, None, "token")(scope, never, send))
    assert sent == ["websocket.close", "websocket.close"]


@pytest.mark.parametrize(
    ("login", "missing"), [("secret", "no colon"), (":secret", "no user"), ("secret:", "no password"), ("", "no colon")]
)
def test_login_without_user_or_password_is_refused_unrepeated(login: str, missing: str) -> None:
    with pytest.raises(ValueError, match=f"Expected --auth USER:PASSWORD, received {missing}"):
        check_login(login)
    result = CliRunner().invoke(main, ["app", "--auth", login])
    assert result.exit_code == 2
    assert missing in result.stderr
    assert "secret" not in result.stderr
