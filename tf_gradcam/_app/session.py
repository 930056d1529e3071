"""Sessions of the web page: one a window, and the table of them all.

Axis legend: H0 x W0 pixels.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tf_gradcam._app.batch import BatchReport
from tf_gradcam._app.html import Look
from tf_gradcam._app.model import AppModel, Origin, Question, load_app_model
from tf_gradcam._app.uploads import (
    AppFolder,
    Sample,
    check_model_file,
    check_names_file,
    check_picture,
    take_upload,
    without_folder,
)
from tf_gradcam._app.worker import Job
from tf_gradcam._files.class_names import load_class_names
from tf_gradcam._results.explanation import Explanation
from tf_gradcam.image.io import Photo, load_image
from tf_gradcam.image.thumbnails import shown_photo

_SHOWN = 512  # longest side of a picture on the page, pixels


@dataclass(frozen=True)
class PagePicture:
    """A picture on the page.

    path: of its file, read again where every pixel counts.
    shown: (H0, W0, 3) uint8 RGB, shrunk for the page.
    size: (height, width) of the file.
    sample: what is known of it, where it is one of the sample slices.
    """

    path: Path
    shown: Photo
    size: tuple[int, int]
    sample: Sample | None = None

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True)
class Answer:
    """Maps of one picture, kept so that they can be painted again.

    explanations: name of the method or layer -> its map; one of them in *Explore*.
    refused: name -> why there is none.
    """

    question: Question
    picture: PagePicture
    model: AppModel
    explanations: dict[str, Explanation] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    note: str | None = None

    @property
    def first(self) -> Explanation:
        return next(iter(self.explanations.values()))


class Snapshot(NamedTuple):
    """What the open tab shows, at one moment: handlers of one window run side by side.

    tab, look, question, picture, batch: as in `Session`.
    answer: that of the tab, or None.
    """

    token: str
    tab: str
    look: Look
    question: Question
    picture: PagePicture | None
    answer: Answer | None
    batch: BatchReport | None


class Session:
    """One browser window.

    Args:
        model: the model that it begins with, shared with others.
        folder: for its files; removed when it is closed.
        samples: what can be looked at without a file.

    Attributes:
        token: names it in addresses; not to be guessed.
        tab: the one that is open: "explore", "compare", "layers" or "batch".
        look: how maps are painted.
        question: what was asked last.
        answers: "explore", "compare", "layers" -> what was found last.
        batch: what *Batch* made, or None.
        shown: what was last made of all this, and of what; see `view_of`.
        error: what went wrong in a step whose next one tells it, or "".
    """

    def __init__(self, model: AppModel, folder: Path, samples: Sequence[Sample]):
        self.token = secrets.token_urlsafe(16)
        self.model = model
        self.samples = samples
        self.folder = folder
        self.picture: PagePicture | None = None
        self.tab = "explore"
        self.look = Look()
        self.question = model.usual_question
        self.answers: dict[str, Answer] = {}
        self.batch: BatchReport | None = None
        self.shown: tuple[Snapshot, Any] | None = None
        self.error = ""
        self._shared = model
        self._job: Job | None = None
        self._job_key: tuple[Any, ...] | None = None

    def snapshot(self) -> Snapshot:
        """What is to be shown now."""
        tab = self.tab
        return Snapshot(self.token, tab, self.look, self.question, self.picture, self.answers.get(tab), self.batch)

    def begin(self, work: Callable[[Job], Any], what: Any = None) -> Job:
        """Start a piece of work with the model; the one before, if it still runs, is stopped.

        Args:
            work: the work.
            what: compares equal for the same work: what runs already is not begun again. Gradio's lists tell of one
                choice twice.
        """
        key = None if what is None else (what, self.picture, self.model)
        if self._job is not None and key is not None and self._is_of(key) and self._job.is_going_on:
            return self._job
        self.stop()
        self._job_key = key
        self._job = self.model.worker.start(work)
        return self._job

    def _is_of(self, key: tuple[Any, ...]) -> bool:
        """Whether the job is of that picture and model themselves, and of equal work."""
        before = self._job_key
        return before is not None and before[0] == key[0] and before[1] is key[1] and before[2] is key[2]

    def is_current(self, job: Job) -> bool:
        """Whether no other work was begun since."""
        return job is self._job

    def stop(self) -> None:
        if self._job is not None:
            self._job.stop()

    def show_upload(self, upload: str | os.PathLike[str]) -> PagePicture:
        """Take an uploaded picture in place of the one before.

        Raises:
            ValueError: too large, or no picture; the one before stays.
        """
        path = take_upload(upload, self.folder / secrets.token_hex(4))
        try:
            check_picture(path)
            photo = load_image(path)
        except (OSError, ValueError, MemoryError) as error:
            shutil.rmtree(path.parent, ignore_errors=True)
            raise ValueError(without_folder(str(error), [path])) from error
        return self._show(PagePicture(path, shown_photo(photo, _SHOWN), (photo.shape[0], photo.shape[1])))

    def show_sample(self, number: int) -> PagePicture:
        sample = self.samples[number]
        photo = load_image(sample.path)
        return self._show(PagePicture(sample.path, photo, (photo.shape[0], photo.shape[1]), sample))

    def _show(self, picture: PagePicture) -> PagePicture:
        before, self.picture = self.picture, picture
        self.stop()
        self.answers = {}
        if before is not None and before.sample is None:
            shutil.rmtree(before.path.parent, ignore_errors=True)
        return picture

    def use(self, model: AppModel) -> None:
        """Ask another model from now on, this session's own."""
        self.stop()
        before, self.model = self.model, model
        self.answers = {}
        if before.worker not in (model.worker, self._shared.worker):
            before.close()

    @property
    def has_own_model(self) -> bool:
        return self.model.worker is not self._shared.worker

    def load_model(self, upload: str | os.PathLike[str]) -> AppModel:
        """The model in an uploaded file, which is removed once it is read.

        Raises:
            OSError, TypeError, ValueError: as `load_app_model`, or too large.
        """
        path = take_upload(upload, self.folder / secrets.token_hex(4))
        try:
            check_model_file(path)
            model = load_app_model(str(path))
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(without_folder(str(error), [path])) from error
        finally:
            shutil.rmtree(path.parent, ignore_errors=True)
        model.origin = Origin(path.name)
        return model

    def name_classes(self, upload: str | os.PathLike[str]) -> AppModel:
        """The same model with the class names of an uploaded file.

        Raises:
            OSError, ValueError: as `load_class_names`; another number of names than of classes.
        """
        path = take_upload(upload, self.folder / secrets.token_hex(4))
        try:
            check_names_file(path)
            return self.model.renamed(load_class_names(path))
        except (OSError, ValueError) as error:
            raise ValueError(without_folder(str(error), [path])) from error
        finally:
            shutil.rmtree(path.parent, ignore_errors=True)

    def explain(self, question: Question, job: Job) -> Answer:
        """The map of the picture for *Explore*."""
        answer = self._ask(question)
        explanation = answer.model.explain(answer.picture.path, question, job)
        note = answer.model.range_note(answer.picture.path, question.mode)
        answer = dataclasses.replace(answer, explanations={question.method: explanation}, note=note)
        self._keep("explore", answer, job)
        return answer

    def explain_each(self, tab: str, questions: dict[str, Question], job: Job) -> Answer:
        """Several maps of the picture, those that are refused with the reason; kept as each one is done."""
        answer = self._ask(next(iter(questions.values())))
        explanations: dict[str, Explanation] = {}
        refused: dict[str, str] = {}
        for number, (name, question) in enumerate(questions.items()):
            part = _Part(job, number, len(questions), name)
            try:
                explanations[name] = answer.model.explain(answer.picture.path, question, part)
            except (TypeError, ValueError) as error:
                refused[name] = str(error)
            # Copies: what is kept is read by other threads while this one goes on.
            answer = dataclasses.replace(answer, explanations=dict(explanations), refused=dict(refused))
            self._keep(tab, answer, job)
        return answer

    def _ask(self, question: Question) -> Answer:
        if self.picture is None:
            raise ValueError("Expected a picture: drop one.")
        return Answer(question, self.picture, self.model)

    def _keep(self, tab: str, answer: Answer, job: Job) -> None:
        job.check()
        if answer.picture is self.picture and answer.model is self.model:
            self.answers[tab] = answer

    def close(self) -> None:
        """Stop what runs, remove the files, let go of an uploaded model."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.has_own_model:
            self.model.close()


class _Part(Job):
    """One of several pieces of a job, whose part of the whole it tells."""

    def __init__(self, whole: Job, number: int, count: int, name: str):
        super().__init__(lambda job: None)
        self._whole, self._number, self._count, self._name = whole, number, count, name

    def tell(self, part: float, what: str = "") -> None:
        self._whole.tell((self._number + part) / self._count, f"{self._name} ({self._number + 1} of {self._count})")

    def check(self) -> None:
        self._whole.check()


_MOST_SESSIONS = 64
_MOST_MODELS = 4  # uploaded by the windows that are open


class Sessions:
    """The windows that are open, the least recently used closed where they are too many.

    Args:
        model: what each begins with.
        folder: for their files.
        samples: what can be looked at without a file.

    Attributes:
        start: what every window shows at first, before it has a session of its own; nobody changes it.
    """

    def __init__(self, model: AppModel, folder: AppFolder, samples: Sequence[Sample]):
        self.model = model
        self.folder = folder
        self.samples = samples
        self.start = Session(model, folder.new(), samples)
        self._open: OrderedDict[str, Session] = OrderedDict()
        self._windows: dict[str, str] = {}
        self._lock = threading.RLock()

    def prepare(self) -> None:
        """Explain the first sample, so that windows show its map at once, without asking the model.

        Raises:
            OSError, TypeError, ValueError: as `AppModel.explain`.
        """
        start, question = self.start, self.model.usual_question
        start.show_sample(0)
        job = start.begin(lambda job: start.explain(question, job))
        for _ in job.follow():
            pass
        job.result()

    def token_of(self, window: str) -> str:
        """The token of the session of a window, which gets one when something is done in it for the first time.

        A window whose session was closed since it is too old keeps its token, which `find` refuses.
        """
        with self._lock:
            return self._windows.get(window) or self.new(window).token

    def new(self, window: str = "") -> Session:
        """A new session, of a window that has a name of its own; it begins with what windows show at first."""
        session = Session(self.model, self.folder.new(), self.samples)
        session.picture, session.answers = self.start.picture, dict(self.start.answers)
        with self._lock:
            self._open[session.token] = session
            if window:
                self._windows[window] = session.token
            surplus = [self._open.popitem(last=False)[1] for _ in range(len(self._open) - _MOST_SESSIONS)]
        for old in surplus:
            old.close()
        return session

    def find(self, token: str) -> Session:
        """The session of that token, or what windows show at first.

        Raises:
            ValueError: there is none, or no longer.
        """
        if token == self.start.token:
            return self.start
        with self._lock:
            if token not in self._open:
                raise ValueError("This window was closed or is too old, and its picture is no longer kept. Reload it.")
            self._open.move_to_end(token)
            return self._open[token]

    def check_model_count(self) -> None:
        """Refuse one more uploaded model where the windows hold as many as there is room for."""
        with self._lock:
            count = sum(session.has_own_model for session in self._open.values())
        if count >= _MOST_MODELS:
            raise ValueError(f"Other windows hold {count} uploaded models. Close one of these windows, then try again.")

    def close_window(self, window: str) -> None:
        """End the session of a window that was closed."""
        with self._lock:
            session = self._open.pop(self._windows.pop(window, ""), None)
        if session is not None:
            session.close()

    def close(self) -> None:
        """End all sessions, the model's thread, and remove every file."""
        with self._lock:
            sessions = [self.start, *self._open.values()]
            self._open.clear()
            self._windows.clear()
        for session in sessions:
            session.close()
        self.model.close()
        self.folder.remove()

    def __len__(self) -> int:
        return len(self._open)
