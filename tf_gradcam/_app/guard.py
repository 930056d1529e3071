"""The guard of the web page: requests must come from the page, be small and well formed, and name uploaded files only.

Gradio 6 below other routes checks nothing of this: it accepts a file from any page that a browser shows, the path of
any picture, model or text on this machine as an upload, and a window's name of any length, which it keeps.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tf_gradcam._app.uploads import MAX_WAITING_BYTES

UPLOAD = "/gradio_api/upload"
MAX_BODY_BYTES = 4 * 2**20  # of a request without an upload: the settings of a page, the names of 200 files
_HARMLESS = ("GET", "HEAD", "OPTIONS")
_OWN = ("same-origin", "none")
_WINDOW = re.compile(r"[\w-]{1,64}", re.ASCII)  # Gradio names windows with about eleven letters and digits

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


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
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
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


async def _answer(send: Send, status: int, text: str) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
