"""What a request to the web page must keep to: it comes from the page, is small, and speaks of files that were sent.

Gradio 6 that is mounted below other routes looks at none of this: it takes a file from any page that a browser shows,
and the path of any picture, model or text on this machine for that of an uploaded one.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tf_gradcam._app.uploads import MAX_WAITING_BYTES

UPLOAD = "/gradio_api/upload"
MAX_BODY_BYTES = 4 * 2**20  # of what is no upload: the choices of a page, the names of 200 files
_HARMLESS = ("GET", "HEAD", "OPTIONS")
_OWN = ("same-origin", "none")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class RequestGuard:
    """Answers requests that change something and should not, in words; the others go on.

    Args:
        app: the application behind it.
        uploads: the folder of what was uploaded, and the only one whose files a request may name.
    """

    def __init__(self, app: Any, uploads: Path):
        self._app = app
        self._uploads = uploads.resolve()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _HARMLESS:
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not is_from_page(headers):
            await _answer(send, 403, "Another page asked for this. Open this page itself.")
        elif scope["path"] == UPLOAD:
            await self._upload(headers, scope, receive, send)
        else:
            await self._ask(scope, receive, send)

    async def _upload(self, headers: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
        length = headers.get("content-length", "")
        if not length.isdecimal():
            await _answer(send, 411, "An upload says how many bytes it has.")
        elif int(length) + bytes_in(self._uploads) > MAX_WAITING_BYTES:
            await _answer(send, 507, "Too many files wait to be used. Try again later.")
        else:
            await self._app(scope, receive, send)

    async def _ask(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        if body is None:
            await _answer(send, 413, f"Expected at most {MAX_BODY_BYTES} bytes.")
            return
        try:
            paths = [*named_files(json.loads(body))] if body else []
        except (ValueError, RecursionError):
            await _answer(send, 400, "Expected JSON.")
            return
        if not all(self._is_upload(path) for path in paths):
            await _answer(send, 403, "Only files that were uploaded here can be used.")
            return
        left = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Any:
            return left.pop() if left else await receive()

        await self._app(scope, again, send)

    def _is_upload(self, path: Any) -> bool:
        """An address, or a path that a link leads elsewhere, is none."""
        try:
            return isinstance(path, str) and Path(path).resolve().is_relative_to(self._uploads)
        except (ValueError, OSError, RuntimeError):  # a zero byte, a loop of links, a name too long
            return False


def is_from_page(headers: dict[str, str]) -> bool:
    """Whether a browser says that the page itself asks, or it is no browser that asks.

    Args:
        headers: names in lower case.
    """
    site = headers.get("sec-fetch-site")  # browsers leave it out where the address is neither https nor this machine
    if site is not None:
        return site in _OWN
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def named_files(value: Any) -> Iterator[Any]:
    """The paths in a request: what Gradio takes for a file is an object with a "path"."""
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
    """What the files of a folder take; others may remove some meanwhile."""
    count = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            count += path.stat().st_size if path.is_file() else 0
    return count


async def _body(receive: Receive) -> bytes | None:
    """The body of a request, None where it is too long or its sender has gone."""
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
