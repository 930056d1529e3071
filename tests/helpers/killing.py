"""Processes that die at a point of a training: at a write of a file, or at a step."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_watch: list[Callable[[str, tuple[Any, ...]], None]] = []


class Killed(BaseException):
    """The end of a process, from inside."""


def _audit(event: str, args: tuple[Any, ...]) -> None:
    for watch in list(_watch):
        watch(event, args)


@contextmanager
def watched(folder: Path, before: Callable[[int], None] = lambda number: None) -> Iterator[list[str]]:
    """Call `before` with the number of each write, from 1: of opening a file under `folder` to write, or renaming one.

    Yields the writes so far. Python reports them to a hook that stays for the life of the process.
    """
    writes: list[str] = []

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event == "os.rename":
            paths, word = args[:2], "rename"
        elif event == "open" and (set(str(args[1] or "")) & set("wax+") or (args[2] or 0) & (os.O_WRONLY | os.O_RDWR)):
            paths, word = args[:1], "open"
        else:
            return
        path = Path(str(paths[-1]))
        if not isinstance(paths[-1], int) and folder in path.parents and "tensorboard" not in path.parts:
            writes.append(f"{word} {path.relative_to(folder)}")
            before(len(writes))

    if not hasattr(sys, "_tests_watch_writes"):
        sys.addaudithook(_audit)
        sys._tests_watch_writes = True  # type: ignore[attr-defined]
    _watch.append(watch)
    try:
        yield writes
    finally:
        _watch.remove(watch)


@contextmanager
def killed_at(folder: Path, number: int, kill: Callable[[], None]) -> Iterator[list[str]]:
    """Call `kill` in place of a write under `folder`, by its number from 1."""
    with watched(folder, lambda now: kill() if now == number else None) as writes:
        yield writes


def sigkill() -> None:
    """End this process as the kernel does when memory is short: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)
