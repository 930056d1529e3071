"""Work of the web page: one thread a model, one piece of work at a time, told how far it is, stopped when asked to."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

MAX_SECONDS = 1800.0  # of one piece of work: others wait for the same model
_LOOK_AGAIN = 0.1  # seconds between two looks at how far the work is
_PATIENCE = 3.0  # seconds that a closing worker waits for the piece under way


class Stopped(Exception):  # noqa: N818 - no error: somebody asked for it
    """The work was stopped before it was done."""


@dataclass(frozen=True)
class JobProgress:
    """How far a piece of work is.

    part: what is done, in [0, 1]; None before it begins.
    what: the same in words.
    """

    part: float | None
    what: str


class Job:
    """A piece of work that waits, runs or has ended. `work` is called with the job, to say how far it is.

    Args:
        work: the work; it calls `tell` as it goes on.
    """

    def __init__(self, work: Callable[[Job], Any]):
        self._work = work
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None
        self._end = math.inf
        self.progress = JobProgress(None, "waiting for the model")

    def tell(self, part: float, what: str = "") -> None:
        """Say how far the work is.

        Raises:
            Stopped: somebody asked for that; let it pass, it ends the work.
            TimeoutError: it has gone on for `MAX_SECONDS`; the same.
        """
        self.check()
        self.progress = JobProgress(min(max(part, 0.0), 1.0), what or self.progress.what)

    def check(self) -> None:
        """As `tell` with nothing new to say."""
        if self._stop.is_set():
            raise Stopped
        if time.monotonic() > self._end:
            raise TimeoutError(
                f"This took longer than {MAX_SECONDS / 60:.0f} minutes and was ended, since others wait for the model. "
                "Ask for less, or use the command line: `tf-gradcam explain`."
            )

    def stop(self) -> None:
        """Ask the work to end; it does when it next says how far it is, at once where it has not begun."""
        self._stop.set()

    @property
    def is_stopped(self) -> bool:
        return self._stop.is_set()

    @property
    def is_going_on(self) -> bool:
        """Whether it waits or runs, and nobody asked it to stop."""
        return not (self._ended.is_set() or self.is_stopped)

    def run(self) -> None:
        """Do the work, in the thread of the worker."""
        self._end = time.monotonic() + MAX_SECONDS
        try:
            self.check()
            self._result = self._work(self)
        except BaseException as error:  # handed to whoever asks for the result
            self._error = error
        finally:
            self._ended.set()

    def follow(self) -> Iterator[JobProgress]:
        """How far the work is, again and again until it has ended or was asked to."""
        while not self._ended.wait(_LOOK_AGAIN):
            if self._stop.is_set():
                return
            yield self.progress

    def result(self) -> Any:
        """What the work returned, once it has ended.

        Raises:
            Stopped: it was stopped.
            Exception: what it raised.
        """
        if not self._ended.is_set() or isinstance(self._error, Stopped):
            raise Stopped
        if self._error is not None:
            raise self._error
        return self._result


class Worker:
    """One thread that does jobs in the order in which they came.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str):
        self._jobs: deque[Job] = deque()
        self._running: Job | None = None
        self._changed = threading.Condition()
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def start(self, work: Callable[[Job], Any]) -> Job:
        """Add a piece of work; a closed worker stops it at once."""
        job = Job(work)
        with self._changed:
            if not self._is_open:
                job.stop()
            self._jobs.append(job)
            self._changed.notify()
        if not self._is_open:
            job.run()
        return job

    def count_before(self, job: Job) -> int:
        """How many jobs will be done before this one, the one under way included."""
        with self._changed:
            waiting = [one for one in self._jobs if not one.is_stopped]
            if job not in waiting:
                return 0
            return waiting.index(job) + (self._running is not None)

    def close(self) -> None:
        """Stop all work and end the thread, if that was not done before."""
        with self._changed:
            if not self._is_open:
                return
            self._is_open = False
            for job in [*self._jobs, *([self._running] if self._running else [])]:
                job.stop()
            self._changed.notify()
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._running = None
                while not self._jobs and self._is_open:
                    self._changed.wait()
                if not self._jobs:
                    return
                job = self._running = self._jobs.popleft()
            job.run()
            del job  # what it holds, such as a photo, need not outlive it
