"""A language server as an editor drives it: over its standard input and output, in the Language Server Protocol."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class LanguageServer:
    """A running server that sees one folder; leave the `with` block to end it.

    Args:
        command: program and arguments.
        folder: the folder that is open in the editor.
    """

    def __init__(self, command: Sequence[str], folder: Path):
        self._folder = folder
        self._count = 0
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> LanguageServer:
        uri = self._folder.as_uri()
        folders = [{"uri": uri, "name": self._folder.name}]
        self._ask("initialize", {"processId": None, "rootUri": uri, "workspaceFolders": folders, "capabilities": {}})
        self._send(method="initialized", params={})
        return self

    def __exit__(self, *_: object) -> None:
        self._send(method="exit")
        self._process.communicate(timeout=20)

    def complete(self, text: str) -> dict[str, str]:
        """Return what is offered at the end of a script: {label: the string that orders the list}."""
        document = {"uri": (self._folder / f"script{self._count}.py").as_uri()}
        self._send(
            method="textDocument/didOpen",
            params={"textDocument": {**document, "languageId": "python", "version": 1, "text": text}},
        )
        position = {"line": text.count("\n"), "character": len(text) - text.rfind("\n") - 1}
        answer = self._ask("textDocument/completion", {"textDocument": document, "position": position})
        items = answer["items"] if isinstance(answer, dict) else answer
        return {item["label"]: item["sortText"] for item in items}

    def _ask(self, method: str, params: dict[str, Any]) -> Any:
        self._count += 1
        self._send(id=self._count, method=method, params=params)
        while True:
            message = self._receive()
            if "method" not in message and message["id"] == self._count:
                assert "error" not in message, message
                return message["result"]
            if "method" in message and "id" in message:  # the server asks the editor, which knows of no settings
                asked = message["params"].get("items") if message["method"] == "workspace/configuration" else None
                self._send(id=message["id"], result=asked and [None] * len(asked))

    def _send(self, **message: Any) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline().strip():
            name, _, value = line.partition(b": ")
            length = int(value) if name == b"Content-Length" else length
        assert length, "the language server has ended"
        return json.loads(self._process.stdout.read(length))
