"""Downloads: with progress, resumed after a broken connection, checked against the promised size."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

_TIMEOUT = 30.0  # seconds without a byte
_TRIES = 4  # in a row in which nothing arrived
_PAUSE = 1.0  # seconds before the next try
_CHUNK = 2**20  # bytes


class _ChangedError(Exception):
    """The error of a download that cannot be continued."""


def download(url: str, path: Path) -> None:
    """Fetch a file, whole or not at all: to `path` + ".part", then renamed.

    A broken connection is tried again. What has arrived is continued by a Range request, also by a later call, where
    the server allows that and its file is still the same (If-Range); else it starts anew.

    Args:
        url: http or https.
        path: the file, replaced if it exists; its folder exists.

    Raises:
        ConnectionError: no connection, an error of the server, or a file that stays shorter than promised. What has
            arrived is kept for the next call.
        OSError: a full disk.
    """
    part, failures = path.with_name(path.name + ".part"), 0
    while True:
        before = _size(part)
        reason = _attempt(url, part)
        if reason is None:
            break
        failures = 0 if _size(part) > before else failures + 1
        if failures >= _TRIES:
            raise ConnectionError(
                f"Cannot download {shown(url)}: {reason}; {_size(part):,} bytes have arrived. Run the same again to "
                "continue, or download it with another program and pass the path of the file."
            )
        time.sleep(_PAUSE)
    part.replace(path)
    _validator_file(part).unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def shown(url: str) -> str:
    """Return an address without its query, which may hold a key; a path of this machine as it is."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _attempt(url: str, part: Path) -> str | None:
    """Try once; return None if `part` is complete now, else the reason."""
    name = shown(url)
    try:
        _continue(url, part, name)
    except _ChangedError:
        part.unlink(missing_ok=True)
        return "the server does not continue it"
    except urllib.error.HTTPError as error:
        error.close()
        if error.code < 500 and error.code not in (408, 429):  # too slow, too many: worth another try
            raise ConnectionError(f"Cannot download {name}: {error.code} {error.reason}. Check the address.") from None
        return f"{error.code} {error.reason}"
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__
    return None


def _continue(url: str, part: Path, name: str) -> None:
    """Fetch the missing end of `part`, or the whole file if the server sends it."""
    have = _size(part)
    with _opened(url, part, have) as response:
        if response.status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise _ChangedError
        start = have if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        _check_space(part, total, start, name)
        if not start:
            part.unlink(missing_ok=True)
            validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
            _validator_file(part).write_text("" if validator.startswith("W/") else validator, encoding="utf-8")
        with open(part, "ab") as file:
            _copy(response, file, start, total, name)
    if total is not None and _size(part) != total:
        raise ConnectionError(f"the connection broke off after {_size(part):,} of {total:,} bytes")


def _opened(url: str, part: Path, have: int) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "tf-gradcam", "Accept-Encoding": "identity"})
    validator = _validator_file(part)
    if have and validator.exists():
        request.add_header("Range", f"bytes={have}-")
        if stored := validator.read_text(encoding="utf-8"):
            request.add_header("If-Range", stored)
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # there is nothing after what we have: it is of another file, or whole but not renamed
            error.close()
            raise _ChangedError from None
        raise


def _copy(response: IO[bytes], file: IO[bytes], start: int, total: int | None, name: str) -> None:
    done, told = start, time.monotonic()
    of_total = f" of {total / 1e6:,.1f}" if total else ""
    if start:
        print(f"Continuing {name} at {start / 1e6:,.1f}{of_total} MB", file=sys.stderr, flush=True)
    while chunk := response.read(_CHUNK):
        file.write(chunk)
        done += len(chunk)
        if time.monotonic() > told + 5:
            told = time.monotonic()
            print(f"Downloaded {done / 1e6:,.1f}{of_total} MB of {name}", file=sys.stderr, flush=True)
    print(f"Downloaded {done / 1e6:,.1f}{of_total} MB of {name}", file=sys.stderr, flush=True)


def _check_space(part: Path, total: int | None, start: int, name: str) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - start > free:
        raise OSError(
            f"Expected room for {(total - start) / 1e6:,.0f} MB of {name} in {str(part.parent)!r}, where "
            f"{free / 1e6:,.0f} MB are free. Make room, or choose another folder."
        )


def _validator_file(part: Path) -> Path:
    """Return the path of the file that records the version of `part`."""
    return part.with_name(part.name + ".version")


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
