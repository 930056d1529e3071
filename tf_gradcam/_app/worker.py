"""Jobs of the web page: one thread per model runs one job at a time; each reports progress and can be cancelled."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

MAX_SECONDS = 1800.0  # of one job: others wait for the same model
_POLL_SECONDS = 0.1  # between two reads of a job's progress
_CLOSE_SECONDS = 3.0  # that a closing worker waits for its running job


class Stopped(Exception):  # noqa: N818 - not an error: a user asked for it
    """The end of a job that was cancelled."""


@dataclass(frozen=True)
class JobProgress:
    """The progress of a job: the part that is done, in [0, 1], None before it begins; and a label."""

    part: float | None
    label: str


class Job:
    """A piece of work that waits, runs or has ended.

    Args:
        work: called with the job, whose `report` it calls as it goes on.
    """

    def __init__(self, work: Callable[[Job], Any]):
        self._work = work
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None
        self._end = math.inf
        self.progress = JobProgress(None, "waiting for the model")

    def report(self, part: float, label: str = "") -> None:
        """Report the part that is done, in [0, 1], and the label of the current step if it is new.

        Raises:
            Stopped: the job was cancelled; do not catch it, it ends the work.
            TimeoutError: the job has run for `MAX_SECONDS`; do not catch it either.
        """
        self.check()
        self.progress = JobProgress(min(max(part, 0.0), 1.0), label or self.progress.label)

    def check(self) -> None:
        """Raise as `report` does."""
        if self._stop.is_set():
            raise Stopped
        if time.monotonic() > self._end:
            raise TimeoutError(
                f"This took longer than {MAX_SECONDS / 60:.0f} minutes and was stopped, because others wait for the "
                "model. Choose a faster method or fewer pictures, or use the command line: `tf-gradcam explain`."
            )

    def stop(self) -> None:
        """Cancel the job: at once if it has not begun, else at its next report."""
        self._stop.set()

    @property
    def is_stopped(self) -> bool:
        return self._stop.is_set()

    @property
    def is_active(self) -> bool:
        """True while the job waits or runs and was not cancelled."""
        return not (self._ended.is_set() or self.is_stopped)

    def run(self) -> None:
        """Do the work, in the worker's thread."""
        self._end = time.monotonic() + MAX_SECONDS
        try:
            self.check()
            self._result = self._work(self)
        except BaseException as error:  # `result` raises it
            self._error = error
        finally:
            self._ended.set()

    def follow(self) -> Iterator[JobProgress]:
        """Yield the progress until the job has ended or is cancelled."""
        while not self._ended.wait(_POLL_SECONDS):
            if self._stop.is_set():
                return
            yield self.progress

    def result(self) -> Any:
        """Return the result of the work.

        Raises:
            Stopped: the job was cancelled, or has not ended.
            Exception: as the work.
        """
        if not self._ended.is_set() or isinstance(self._error, Stopped):
            raise Stopped
        if self._error is not None:
            raise self._error
        return self._result


class Worker:
    """A thread that runs jobs in the order in which they were started."""

    def __init__(self, name: str):
        self._jobs: deque[Job] = deque()
        self._running: Job | None = None
        self._changed = threading.Condition()
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def start(self, work: Callable[[Job], Any]) -> Job:
        """Queue the work as a job; a closed worker cancels it at once."""
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
        """Return the number of jobs that end before this one begins, the running one included."""
        with self._changed:
            waiting = [queued for queued in self._jobs if not queued.is_stopped]
            if job not in waiting:
                return 0
            return waiting.index(job) + (self._running is not None)

    def close(self) -> None:
        """Cancel all jobs and end the thread; a second call does nothing."""
        with self._changed:
            if not self._is_open:
                return
            self._is_open = False
            for job in [*self._jobs, *([self._running] if self._running else [])]:
                job.stop()
            self._changed.notify()
        self._thread.join(_CLOSE_SECONDS)

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
            del job  # and the photo that it holds
