"""A data set from a folder, a zip, or the address of a zip; every member is checked before it is unpacked."""

from __future__ import annotations

import hashlib
import lzma
import re
import secrets
import shutil
import stat
import sys
import time
import zipfile
import zlib
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..reading import check_regular
from .download import download, sha256_of, shown

MAX_MEMBERS = 1_000_000
MAX_BYTES = 500 * 10**9  # unpacked
MAX_RATIO = 100  # of unpacked to packed bytes; images hardly shrink in a zip, a bomb does so a thousand times
_RATIO_FROM = 10 * 2**20  # bytes unpacked; less does no harm

_CHECKSUM_FILE = ".sha256"  # in the unpacked folder: of the zip that it comes from


def fetch(source: str, folder: Path, sha256: str | None = None) -> Path:
    """Return the folder that holds the class folders; download and unpack it if it does not exist yet.

        fetch("data/brain_mri", Path("downloads"))                                  # a folder: as it is
        fetch("brain_mri.zip", Path("downloads"))                                   # unpacked once
        fetch("https://example.org/brain_mri.zip", Path("downloads"), sha256="...")

    A zip is unpacked whole or not at all, to a folder named after it and its content (or address), and taken from
    there the next time. A downloaded zip is removed after that, also if it is broken; a zip of your own stays.

    Args:
        source: a folder, a .zip file, or the http or https address of a zip.
        folder: for downloads and unpacked zips; made if it does not exist.
        sha256: of the zip, 64 hexadecimal digits, checked before anything is unpacked; None for no check.

    Returns:
        Path of the folder; of an unpacked zip the one below folders that hold nothing but one other folder.

    Raises:
        FileNotFoundError: no such folder or file.
        ConnectionError: a download that failed; running it again continues it.
        ValueError: the source or the checksum is malformed; the checksum differs; the zip is broken or encrypted, or
            it holds members that leave its folder, are links, or unpack to far more than their size.
        OSError: a full disk.
    """
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"Expected a SHA-256 as 64 hexadecimal digits, received {sha256!r}.")
    scheme = source.partition("://")[0].lower() if "://" in source else ""
    if scheme in ("http", "https"):
        return _class_root(_fetched(source, folder, sha256))
    if scheme:
        raise ValueError(f"Expected a folder, a .zip file or an http(s) address, received {source!r}.")
    path = Path(source)
    if path.is_dir() and sha256 is None:
        return path
    if path.is_dir():
        raise ValueError(f"Expected a zip for a checksum, received the folder {source!r}. Leave the checksum out.")
    if not path.exists():
        raise FileNotFoundError(f"The folder or zip file {source!r} does not exist. Check the path.")
    check_regular(path, "a folder or a zip")
    return _class_root(_unpacked(path, folder, sha256))


def _unpacked(path: Path, folder: Path, sha256: str | None) -> Path:
    """Unpack a zip of this machine into a folder that is named after its content, so that versions do not mix."""
    digest, name = sha256_of(path), repr(str(path))
    _check_digest(digest, sha256, name)
    target = folder / f"{path.stem}-{digest[:12]}"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _unpack(path, target, digest, name)
    return target


def _fetched(url: str, folder: Path, sha256: str | None) -> Path:
    """Unpack the zip of an address into a folder that is named after the whole address: many zips are data.zip."""
    stem = re.sub(r"[^\w.-]", "_", Path(unquote(urlsplit(url).path)).stem) or "data"
    target = folder / f"{stem}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
    if target.exists():
        _check_digest((target / _CHECKSUM_FILE).read_text(encoding="ascii").strip(), sha256, repr(str(target)))
        return target
    folder.mkdir(parents=True, exist_ok=True)
    path = target.with_name(target.name + ".zip")
    download(url, path)
    try:
        digest = sha256_of(path)
        _check_digest(digest, sha256, shown(url))
        _unpack(path, target, digest, shown(url))
    finally:
        path.unlink(missing_ok=True)
    return target


def _check_digest(digest: str, expected: str | None, name: str) -> None:
    if expected is not None and digest != expected.lower():
        raise ValueError(
            f"Expected the SHA-256 {expected.lower()} of {name}, received {digest}: it is broken or another version. "
            "Remove it and fetch it again, or correct the checksum."
        )


def _unpack(path: Path, target: Path, digest: str, name: str) -> None:
    """Check all members, unpack them under a temporary name, then rename."""
    temporary = target.with_name(f".{target.name}-{secrets.token_hex(4)}.tmp")
    try:
        with zipfile.ZipFile(path) as archive:
            members = _checked(archive, path.stat().st_size, name)
            _check_space(target.parent, sum(info.file_size for info in members), name)
            temporary.mkdir()
            _write(archive, members, temporary, name)
        (temporary / _CHECKSUM_FILE).write_text(digest + "\n", encoding="ascii")
        if not target.exists():  # another process of the same training may have been faster
            temporary.rename(target)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f"The zip {name} is refused: it holds {error.filename!r} twice.") from error
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError) as error:
        with open(path, "rb") as file:
            page = " It is a web page: does it ask for a login?" if file.read(256).lstrip().startswith(b"<") else ""
        raise ValueError(f"Expected a zip that can be unpacked, but {name} is broken: {error}.{page}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _checked(archive: zipfile.ZipFile, packed: int, name: str) -> list[zipfile.ZipInfo]:
    """Return the files of the archive; raise at the first member that is not harmless."""
    members: list[zipfile.ZipInfo] = []
    for info in archive.infolist():
        inner = info.filename.replace("\\", "/")  # as some programs write on Windows
        if inner.startswith("/") or ".." in inner.split("/") or re.match("[A-Za-z]:", inner):
            raise ValueError(f"The zip {name} is refused: its member {info.filename!r} leaves the folder.")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"The zip {name} is refused: its member {info.filename!r} is a link or a device.")
        if info.flag_bits & 1:
            raise ValueError(
                f"The zip {name} is refused: it is encrypted. Unpack it with another program and pass the folder."
            )
        if not inner.endswith("/") and not inner.startswith("__MACOSX/"):
            members.append(info)
    total = sum(info.file_size for info in members)
    if len(members) > MAX_MEMBERS or total > MAX_BYTES or total > max(_RATIO_FROM, MAX_RATIO * packed):
        raise ValueError(
            f"The zip {name} is refused: its {packed:,} bytes claim to unpack to {len(members):,} files of {total:,} "
            "bytes. If that is true, unpack it with another program and pass the folder."
        )
    return members


def _write(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path, name: str) -> None:
    told = time.monotonic()
    for count, info in enumerate(members, start=1):
        path = folder / info.filename.replace("\\", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        # "x": no member over another one. What comes out is never more than the size that was checked.
        with archive.open(info) as packed, open(path, "xb") as file:
            try:
                shutil.copyfileobj(packed, file, 2**20)
            except OSError as error:
                if error.errno is None:  # bz2's own word for damage
                    raise zipfile.BadZipFile(str(error)) from error
                raise
        if count == len(members) or time.monotonic() > told + 5:
            told = time.monotonic()
            print(f"Unpacked {count:,} of {len(members):,} files of {name}", file=sys.stderr, flush=True)


def _check_space(folder: Path, needed: int, name: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"Expected room for {needed / 1e6:,.0f} MB out of {name} in {str(folder)!r}, where {free / 1e6:,.0f} MB "
            "are free. Make room, or choose another folder."
        )


def _class_root(folder: Path) -> Path:
    """Return the first folder on the way down that holds more than one folder with folders in it."""
    while True:
        inner = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
        if len(inner) != 1 or not any(entry.is_dir() for entry in inner[0].iterdir()):
            return folder
        folder = inner[0]
