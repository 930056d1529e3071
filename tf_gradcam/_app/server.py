"""The web page of `tf-gradcam app`: a server on this machine, its downloads, its limits.

The page loads nothing from other servers and sends nothing to them: every response has a policy that forbids it.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tf_gradcam._app.controls import look_of
from tf_gradcam._app.guard import UPLOAD, AccessGuard, Receive, RequestGuard, Scope, Send, check_login
from tf_gradcam._app.model import Said, load_app_model
from tf_gradcam._app.page import Page
from tf_gradcam._app.session import Sessions
from tf_gradcam._app.style import CSS, SCRIPT, theme
from tf_gradcam._app.uploads import MAX_MODEL_BYTES, AppFolder, write_samples
from tf_gradcam._app.view import MEDIA, download
from tf_gradcam._errors import require
from tf_gradcam._models.own_code import import_code

PORT = 7860
_ENVIRONMENT = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_RUN_HISTORY": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
# Scripts, styles, fonts and connections of the page's own address only.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'"
)
_HEADERS = {"content-security-policy": _POLICY, "referrer-policy": "no-referrer", "x-content-type-options": "nosniff"}


def create_app(
    model: str | None = None,
    weights: str | None = None,
    class_names: str | os.PathLike[str] | None = None,
    *,
    arguments: Sequence[str] = (),
    imports: Sequence[str] = (),
    said: Said | None = None,
    host: str = "127.0.0.1",
    auth: str | None = None,
) -> Any:
    """Create the page as an ASGI application, with the model loaded and its first map compiled.

    Args:
        model, weights, class_names, arguments, said: as `load_app_model`.
        imports: Python code of your own that model files need, as `import_code` takes it.
        host: the address to listen on; at a local address only requests to local names get a response.
        auth: "user:password" that every request needs. None asks for a token where the host is not local, and for
            nothing where it is.

    Returns:
        An ASGI application. Its files are removed when it is shut down, or by `app.state.sessions.close()`.
        `app.state.token` is the token that its address needs, or None.

    Raises:
        ImportError: Gradio is not installed.
        OSError, TypeError, ValueError: the model cannot be loaded or explained; `auth` is not a user and a password.
    """
    if auth is not None:
        check_login(auth)
    folder = AppFolder()
    sessions = None
    try:
        folder.make()
        os.environ.update(_ENVIRONMENT, GRADIO_TEMP_DIR=str(folder.uploads))  # Gradio has no arguments for these
        gradio = require("gradio", "app")
        samples = write_samples(folder.root / "samples") if model is None else []  # slices of the bundled model only
        sessions = Sessions(
            load_app_model(model, weights, class_names, arguments, import_code(imports), said), folder, samples
        )
        if model is None:
            sessions.prepare()
        return _served(gradio, sessions, host, auth)
    except BaseException:
        folder.remove()
        if sessions is not None:
            sessions.close()
        raise


def _served(gradio: Any, sessions: Sessions, host: str, auth: str | None) -> Any:
    """Return an application with the route of downloads, and the page below it, behind its guards."""
    fastapi = require("fastapi", "app")
    trusted = require("starlette.middleware.trustedhost", "app")

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        sessions.close()

    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.sessions = sessions

    def file(token: str, name: str, alpha: float = 0.4, threshold: float = 0.0, colormap: str = "") -> Any:
        try:
            data = download(sessions.find(token), name, look_of(alpha, threshold, colormap))
        except (ValueError, OSError) as error:
            return fastapi.responses.PlainTextResponse(str(error), 404)
        media = MEDIA[name[name.rfind(".") :]]
        # Thumbnails are shown again and again, and have an address of their own in each batch.
        cache = "private, max-age=3600" if media == MEDIA[".jpg"] else "no-store"
        return fastapi.Response(data, media_type=media, headers={"cache-control": cache})

    page = Page(gradio, sessions).blocks
    app.add_api_route("/download/{token}/{name}", file, response_model=None)
    app.add_route(UPLOAD, _uploading(page, sessions.folder.uploads), methods=["POST"])  # in place of Gradio's
    gradio.mount_gradio_app(
        app,
        page,
        "/",
        server_name=host,
        footer_links=[],
        max_file_size=MAX_MODEL_BYTES,
        ssr_mode=False,
        theme=theme(gradio),
        css=CSS,
        js=SCRIPT,
    )
    app.add_middleware(RequestGuard, uploads=sessions.folder.uploads)
    is_shared = not is_local(host)
    app.state.token = secrets.token_urlsafe(24) if is_shared and auth is None else None
    if is_shared or auth is not None:
        app.add_middleware(AccessGuard, login=auth, token=app.state.token)
    app.add_middleware(_OwnAddressOnly)
    if not is_shared:  # refuse other names, which somebody else may point at this machine
        own = f"[{host}]" if ":" in host else host
        app.add_middleware(trusted.TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]", own])
    return app


def is_local(host: str) -> bool:
    """Return whether a host, however it is written ("127.1", "LOCALHOST"), is an address of this machine alone."""
    try:
        addresses = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:  # `listening` reports it
        return False
    return bool(addresses) and all(ipaddress.ip_address(address).is_loopback for address in addresses)


def _uploading(page: Any, uploads: Path) -> Callable[[Any], Any]:
    """Return the route of uploads: each request has a folder of its own.

    Gradio stores equal files of two windows at one place, from which the first window takes it away.
    """
    routes, utils = require("gradio.routes", "app"), require("gradio.route_utils", "app")
    responses = require("starlette.responses", "app")

    async def upload(request: Any) -> Any:
        folder = uploads / secrets.token_hex(8)
        number, progress = request.query_params.get("upload_id"), routes.file_upload_statuses
        try:
            paths, *_ = await utils.upload_fn(
                request, folder, MAX_MODEL_BYTES, number, upload_progress=progress if number else None
            )
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, utils.MultiPartException):
                return responses.PlainTextResponse(error.message, 413 if "maximum" in error.message else 400)
            if isinstance(error, (ValueError, TypeError)):  # names that are not text, a part that is not a file
                return responses.PlainTextResponse("Expected files with names of complete characters.", 400)
            raise
        page.upload_file_set.update(paths)
        return responses.JSONResponse(paths)

    return upload


class _OwnAddressOnly:
    """A layer that adds the policy to every response, and removes foreign addresses of Gradio's template."""

    def __init__(self, app: Any):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start: Any = None
        page = bytearray()

        async def answer(message: Any) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                headers = [(name, value) for name, value in message["headers"] if name.decode() not in _HEADERS]
                headers += [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": headers}
                if any(name == b"content-type" and value.startswith(b"text/html") for name, value in headers):
                    start = message
                    return
            elif start is not None:
                page.extend(message.get("body", b""))
                if message.get("more_body"):
                    return
                body = without_addresses(page.decode("utf-8")).encode("utf-8")
                others = [pair for pair in start["headers"] if pair[0] != b"content-length"]
                length = (b"content-length", str(len(body)).encode())
                await send({**start, "headers": [*others, length]})
                message = {"type": "http.response.body", "body": body}
            await send(message)

        await self._app(scope, receive, answer)


def without_addresses(page: str) -> str:
    """Remove the tags of Gradio's template that name other servers: pictures for social networks, fonts."""
    return re.sub(r"<(?:meta|link)\b[^>]*https?://[^>]*>|<script\b[^>]*src=\"https?://[^>]*></script>", "", page)


def run_app(
    model: str | None = None,
    weights: str | None = None,
    class_names: str | os.PathLike[str] | None = None,
    port: int | None = None,
    host: str = "127.0.0.1",
    *,
    auth: str | None = None,
    arguments: Sequence[str] = (),
    imports: Sequence[str] = (),
    said: Said | None = None,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve the page until it is interrupted.

    Args:
        model, weights, class_names, auth, arguments, imports, said: as `create_app`.
        port: 0 for any free port; None for 7860, or any free port if that one is taken.
        host: an address of this machine; "0.0.0.0" lets others in.
        announce: called with the address, and the token that it needs, once the page is served.

    Raises:
        ImportError, TypeError, ValueError: as `create_app`.
        OSError: as `listening` and `create_app`.
    """
    uvicorn = require("uvicorn", "app")
    with listening(host, port) as listener, _ended_by_signals():
        app = create_app(
            model, weights, class_names, arguments=arguments, imports=imports, said=said, host=host, auth=auth
        )
        try:
            config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1, access_log=False)
            name = f"[{host}]" if ":" in host else host
            token = f"/?token={app.state.token}" if app.state.token else ""
            announce(f"http://{name}:{listener.getsockname()[1]}{token}")
            with contextlib.suppress(KeyboardInterrupt):
                _quiet_server(uvicorn)(config).run(sockets=[listener])
        finally:
            app.state.sessions.close()


def _quiet_server(uvicorn: Any) -> Any:
    """Return a server class that cuts off open windows at its end, without a traceback for each."""

    class Server(uvicorn.Server):
        async def shutdown(self, *arguments: Any, **options: Any) -> None:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            await super().shutdown(*arguments, **options)

    return Server


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End the program by SIGTERM, and with its terminal by SIGHUP, as an exception does, so that files are removed.

    While the server runs, it has its own handler of SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: Any) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    handlers: dict[int, Any] = {signal.SIGTERM: end}
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = lambda *_: signal.raise_signal(signal.SIGTERM)
    heard = [number for number in handlers if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores SIGHUP
    before = {number: signal.signal(number, handlers[number]) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listening(host: str, port: int | None) -> socket.socket:
    """Open the socket of the server, so that errors of the port come before a model is loaded.

    Raises:
        OSError: the port is taken, or the host is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, PORT if port is None else port), family=family)
    except OSError as error:
        if port is None and error.errno == errno.EADDRINUSE:
            return socket.create_server((host, 0), family=family)
        raise OSError(
            f"Cannot listen on {host}, port {PORT if port is None else port}: {error.strerror}. Choose another "
            "with --port, or --port 0 for any free one."
        ) from error
