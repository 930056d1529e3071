"""The web page as a process of its own, as a user starts it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

needs_gradio = pytest.mark.skipif(find_spec("gradio") is None, reason='the web page needs Gradio: pip install ".[app]"')
_PROGRAM = """
import json
import sys
from tf_gradcam._terminal import start_tensorflow
start_tensorflow()
from tf_gradcam._app.model import Said
from tf_gradcam._app.server import run_app
model, names = (argument or None for argument in sys.argv[1:3])
said, options = json.loads(sys.argv[3])
announce = lambda address: print(address, flush=True)
run_app(model, None, names, port=0, said=Said(**said), announce=announce, **options)
"""


class Server(NamedTuple):
    """A page that is served.

    address: "http://127.0.0.1:PORT".
    process: of the server.
    folder: for its temporary files, empty before it began.
    errors: file of what it says on stderr.
    token: what the printed address has behind "/?token=", or "".
    """

    address: str
    process: subprocess.Popen
    folder: Path
    errors: Path
    token: str = ""

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers, content."""
        host, port = self.address.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def end(self, number: int = signal.SIGINT) -> int:
        """Interrupt it, as Ctrl-C does; returns its exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextlib.contextmanager
def served(
    folder: Path, model: str = "", names: str = "", said: Mapping[str, Any] | None = None, **options: Any
) -> Iterator[Server]:
    """The page, until the end of the block; `said` are the arguments of `Said`, `options` those of `run_app`."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", _PROGRAM, model, names, json.dumps([dict(said or {}), options])]
    with (
        open(folder.parent / "server.err", "w+", encoding="utf-8") as errors,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            line = process.stdout.readline().strip()
            errors.seek(0)
            found = re.fullmatch(r"(http://[\d.]+:\d+)(?:/\?token=(.+))?", line)
            assert found, f"no address but {line!r}: {errors.read()}"
            yield Server(found[1], process, folder, Path(errors.name), found[2] or "")
        finally:
            process.kill()
