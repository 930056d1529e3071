"""The guards of the web page: who may use it, and which requests it takes.

Requests must come from the page, be small and well formed, and name uploaded files only.

Gradio 6 below other routes checks nothing of this: it accepts a file from any page that a browser shows, the path of
any picture, model or text on this machine as an upload, and a window's name of any length, which it keeps.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tf_gradcam._app.uploads import MAX_WAITING_BYTES

UPLOAD = "/gradio_api/upload"
MAX_BODY_BYTES = 4 * 2**20  # of a request without an upload: the settings of a page, the names of 200 files
_HARMLESS = ("GET", "HEAD", "OPTIONS")
_OWN = ("same-origin", "none")
_WINDOW = re.compile(r"[\w-]{1,64}", re.ASCII)  # Gradio names windows with about eleven letters and digits

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class AccessGuard:
    """A layer that answers nobody without the user and password, or the token in the address of the page.

    Whoever opened the page with the token has a cookie from then on, which pictures, uploads and downloads come with.

    Args:
        app: the application behind it.
        login: "user:password", or None.
        token: of the address, or None.
    """

    def __init__(self, app: Any, login: str | None, token: str | None):
        self._app = app
        self._login, self._token = login, token
        # Cookies are of a machine, not of a port: two servers on it need two names.
        self._name, self._cookie = f"tf-gradcam-{secrets.token_hex(4)}", secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._may_enter(scope):
            await self._app(scope, receive, send)
        elif self._is_token(scope):
            await self._app(scope, receive, self._with_cookie(send))
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif self._login is not None:
            asked = (b"www-authenticate", b'Basic realm="tf-gradcam", charset="UTF-8"')
            await _answer(send, 401, "Expected the user and password of `tf-gradcam app --auth`.", [asked])
        else:
            await _answer(
                send,
                401,
                "Expected the token of this page, received none or a wrong one. Open the whole address that "
                "`tf-gradcam app` printed.",
            )

    def _may_enter(self, scope: Scope) -> bool:
        """Return whether a request comes with the login or the cookie."""
        headers = _headers(scope)
        if self._login is not None:
            kind, _, value = headers.get("authorization", "").partition(" ")
            try:
                login = base64.b64decode(value, validate=True) if kind.lower() == "basic" else b""
            except (binascii.Error, ValueError):
                login = b""
            return hmac.compare_digest(login, self._login.encode())
        try:
            held = SimpleCookie(headers.get("cookie", "")).get(self._name)
        except CookieError:  # of another server on this machine
            held = None
        return held is not None and _is_equal(held.value, self._cookie)

    def _is_token(self, scope: Scope) -> bool:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        return self._token is not None and _is_equal(query.get("token", [""])[0], self._token)

    def _with_cookie(self, send: Send) -> Send:
        cookie = f"{self._name}={self._cookie}; HttpOnly; SameSite=Strict; Path=/".encode()

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"set-cookie", cookie)]}
            await send(message)

        return answer


def check_login(login: str) -> None:
    """Refuse a login without a user or a password; the message does not repeat it.

    Raises:
        ValueError: it is not "user:password".
    """
    user, colon, password = login.partition(":")
    if not (user and password):
        missing = "no colon" if not colon else "no user" if not user else "no password"
        raise ValueError(f"Expected --auth USER:PASSWORD, received {missing}. Give both, with a colon between them.")


def _is_equal(given: str, secret: str) -> bool:
    """Compare in a time that does not depend on the place of the first difference."""
    return hmac.compare_digest(given.encode(errors="surrogateescape"), secret.encode())


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


class RequestGuard:
    """A layer that refuses forbidden requests with a message, and passes on the others.

    Args:
        app: the application behind it.
        uploads: the folder of uploads; requests may only name files in it.
    """

    def __init__(self, app: Any, uploads: Path):
        self._app = app
        self._uploads = uploads.resolve()
        self._arriving = 0  # bytes that the running uploads stated

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _HARMLESS:
            await self._app(scope, receive, send)
            return
        headers = _headers(scope)
        if not is_from_page(headers):
            await _answer(
                send, 403, "Expected a request from this page, received one from another site. Open this page itself."
            )
        elif scope["path"] == UPLOAD:
            await self._upload(headers, scope, receive, send)
        else:
            await self._ask(scope, receive, send)

    async def _upload(self, headers: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
        length = headers.get("content-length", "")
        if not length.isdecimal() or "transfer-encoding" in headers:
            await _answer(send, 411, "Expected an upload with a Content-Length and not in chunks. Send its length.")
            return
        size = int(length)
        if size + self._arriving + bytes_in(self._uploads) > MAX_WAITING_BYTES:
            await _answer(send, 507, "Too many uploaded files wait to be used. Try again later.")
            return
        self._arriving += size
        try:
            await self._app(scope, receive, send)
        finally:
            self._arriving -= size

    async def _ask(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        if body is None:
            await _answer(send, 413, f"Expected a request of at most {MAX_BODY_BYTES} bytes, received more.")
            return
        try:
            asked = json.loads(body) if body else {}
            json.dumps(asked, ensure_ascii=False).encode()  # half a surrogate pair fails here, not in the response
        except (ValueError, RecursionError):
            await _answer(send, 400, "Expected JSON of complete characters, received other text.")
            return
        window = asked.get("session_hash") if isinstance(asked, dict) else ""
        if window is not None and not (isinstance(window, str) and _WINDOW.fullmatch(window)):
            await _answer(send, 400, "Expected a window's name of at most 64 letters and digits. Reload the page.")
            return
        if not all(self._is_upload(path) for path in named_files(asked)):
            await _answer(send, 403, "Expected files that were uploaded here, received another path.")
            return
        left = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Any:
            return left.pop() if left else await receive()

        await self._app(scope, again, send)

    def _is_upload(self, path: Any) -> bool:
        """Return whether a path is inside the folder of uploads, once its links are followed."""
        try:
            return isinstance(path, str) and Path(path).resolve().is_relative_to(self._uploads)
        except (ValueError, OSError, RuntimeError):  # a zero byte, a loop of links, a name too long
            return False


def is_from_page(headers: dict[str, str]) -> bool:
    """Return whether the headers (names in lower case) are of a request by the page itself, or not of a browser."""
    site = headers.get("sec-fetch-site")  # browsers leave it out if the address is neither https nor this machine
    if site is not None:
        return site in _OWN
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def named_files(value: Any) -> Iterator[Any]:
    """Yield the paths in a request: Gradio's files are objects with a "path"."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            if item.get("path") is not None:
                yield item["path"]
            left += item.values()
        elif isinstance(item, list):
            left += item


def bytes_in(folder: Path) -> int:
    """Return the size of all files in a folder, some of which may be removed meanwhile."""
    count = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            count += path.stat().st_size if path.is_file() else 0
    return count


async def _body(receive: Receive) -> bytes | None:
    """Return the body of a request; None if it is too long or the connection was closed."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body"):
            return bytes(body)


async def _answer(send: Send, status: int, text: str, more: Sequence[tuple[bytes, bytes]] = ()) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *more]})
    await send({"type": "http.response.body", "body": body})
