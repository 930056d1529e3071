"""Data from the web: a server on this machine breaks connections, changes its files and sends what is no zip."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.zips import FILES, HARMFUL, contents, zipped
from training.data import download
from training.data.archive import fetch


class Server:
    """Serves `data` under every path; writes down the Range of each request."""

    def __init__(self) -> None:
        noise = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()
        self.data = zipped({"archive/" + name: each for name, each in FILES.items()} | {"archive/red/4.png": noise})
        self.etag: str | None = '"first"'
        self.ranges: list[str | None] = []
        self.allows_range = True
        self.cuts: list[int] = []  # after how many bytes the next connections break
        self.status: int | None = None
        self.address = ""

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.ranges.append(self.headers.get("Range"))
            if server.status:
                self.send_error(server.status)
                return
            same = self.headers.get("If-Range") in (None, server.etag)
            start = 0
            if server.ranges[-1] and server.allows_range and same:
                start = int(server.ranges[-1].removeprefix("bytes=").removesuffix("-"))
                if start >= len(server.data):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(server.data) - 1}/{len(server.data)}")
            else:
                self.send_response(200)
            if server.etag:
                self.send_header("ETag", server.etag)
            self.send_header("Content-Length", str(len(server.data) - start))
            self.end_headers()
            cut = server.cuts.pop(0) if server.cuts else len(server.data)
            self.wfile.write(server.data[start : start + cut])

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "_PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(served)) as running:
        served.address = f"http://127.0.0.1:{running.server_address[1]}/sets/my%20data.zip?key=secret"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        running.shutdown()
        thread.join()


def test_a_zip_is_downloaded_and_unpacked_once(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = fetch(server.address, tmp_path / "downloads", server.digest)
    assert {name: each for name, each in contents(root).items() if name in FILES} == FILES
    assert len(contents(root)) == 4
    told = capsys.readouterr().err
    assert "Downloaded 0.3 of 0.3 MB of http://127.0.0.1:" in told
    assert "Unpacked 4 of 4 files" in told
    assert "secret" not in told
    (unpacked,) = (tmp_path / "downloads").iterdir()  # neither the zip nor a beginning of it
    assert unpacked.name.startswith("my_data-")
    assert fetch(server.address, tmp_path / "downloads", server.digest) == root
    assert server.ranges == [None]


def test_addresses_of_the_same_file_name_are_kept_apart(server: Server, tmp_path: Path) -> None:
    first = fetch(server.address, tmp_path)
    server.data = zipped(FILES)
    assert contents(fetch(server.address.replace("sets", "other"), tmp_path)) == FILES
    assert len(contents(first)) == 4


def test_a_broken_connection_is_continued(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.cuts = [100_000, 50_000]
    root = fetch(server.address, tmp_path, server.digest)
    assert len(contents(root)) == 4
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert "at 0.1 of 0.3 MB" in capsys.readouterr().err


def test_a_later_call_continues_what_an_earlier_one_began(server: Server, tmp_path: Path) -> None:
    """Nothing arrives four times in a row after the beginning: given up, but kept."""
    server.cuts = [100_000, 0, 0, 0, 0]
    with pytest.raises(ConnectionError, match=r"Cannot download .* 100,000 bytes have arrived\. Run the same"):
        fetch(server.address, tmp_path, server.digest)
    server.ranges.clear()
    assert len(contents(fetch(server.address, tmp_path, server.digest))) == 4
    assert server.ranges == ["bytes=100000-"]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_server_without_range_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.allows_range = False
    server.cuts = [100_000]
    assert len(contents(fetch(server.address, tmp_path, server.digest))) == 4
    assert server.ranges == [None, "bytes=100000-"]


def test_a_file_that_changed_meanwhile_is_not_continued(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000, 0, 0, 0, 0]
    with pytest.raises(ConnectionError):
        fetch(server.address, tmp_path)
    server.data, server.etag = zipped(FILES | {"red/5.png": bytes(200_000)}), '"second"'
    assert contents(fetch(server.address, tmp_path)) == FILES | {"red/5.png": bytes(200_000)}


def test_a_file_that_became_shorter_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    """Without an ETag the server answers 416: there is nothing after byte 100 000."""
    server.etag = None
    server.cuts = [100_000, 0, 0, 0, 0]
    with pytest.raises(ConnectionError):
        fetch(server.address, tmp_path)
    server.data = zipped(FILES)
    assert contents(fetch(server.address, tmp_path)) == FILES


def test_a_server_in_trouble_is_tried_four_times(server: Server, tmp_path: Path) -> None:
    server.status = 503
    with pytest.raises(ConnectionError, match="503 Service Unavailable; 0 bytes have arrived"):
        fetch(server.address, tmp_path)
    assert len(server.ranges) == 4


def test_a_wrong_address_is_named_at_once_and_without_its_key(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(ConnectionError, match=r"Cannot download http://127.*/my%20data\.zip: 404 Not Found") as caught:
        fetch(server.address, tmp_path)
    assert "secret" not in str(caught.value)
    assert len(server.ranges) == 1
    assert list(tmp_path.iterdir()) == []


def test_no_server_is_a_connection_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Port 9 of this machine, where nobody listens."""
    monkeypatch.setattr(download, "_PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(ConnectionError, match=r"Cannot download http://127\.0\.0\.1:9/a\.zip: .*refused"):
        fetch("http://127.0.0.1:9/a.zip", tmp_path)


@pytest.mark.parametrize("kind", ["parent", "flipped bit", "web page", "bomb"])
def test_a_harmful_download_is_removed_and_named(server: Server, tmp_path: Path, kind: str) -> None:
    server.data, message = HARMFUL[kind]
    with pytest.raises(ValueError, match=rf"zip http://127\.0\.0\.1.*{message}|http://127\.0\.0\.1.*{message}"):
        fetch(server.address, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_of_another_checksum_is_removed_and_named(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"SHA-256 {'1' * 64} of http://127.*received {server.digest}"):
        fetch(server.address, tmp_path, "1" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_checksum_is_checked_of_what_was_unpacked_before(server: Server, tmp_path: Path) -> None:
    fetch(server.address, tmp_path)
    with pytest.raises(ValueError, match=f"received {server.digest}"):
        fetch(server.address, tmp_path, "1" * 64)
    assert len(server.ranges) == 1
