"""The sessions of the web page, one per browser window.

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

import numpy as np

from tf_gradcam._app import uploads
from tf_gradcam._app.address import AddressState, query_of
from tf_gradcam._app.batch import BatchReport, explain_batch
from tf_gradcam._app.html import overlay_picture
from tf_gradcam._app.model import AppModel, Origin, load_app_model
from tf_gradcam._app.question import Question
from tf_gradcam._app.uploads import AppFolder, Sample
from tf_gradcam._app.worker import Job
from tf_gradcam._errors import for_page
from tf_gradcam._files.class_names import load_class_names
from tf_gradcam._models.loading import model_names
from tf_gradcam._results.class_maps import ClassMaps
from tf_gradcam._results.detections import Detections
from tf_gradcam._results.explanation import Explanation
from tf_gradcam._results.verdict import Verdict
from tf_gradcam.image.io import Photo, read_picture
from tf_gradcam.image.overlay import Look
from tf_gradcam.image.thumbnails import shown_photo, shrunk
from tf_gradcam.targets.text import Asked

_SHOWN = 512  # longest side of a picture on the page, pixels
_THUMBNAIL = 96  # of one in the history
_MAX_HISTORY = 20  # explanations
_MAX_HISTORY_BYTES = 64 * 2**20  # of the maps and files of a session's history, besides its newest explanation


@dataclass(frozen=True)
class PagePicture:
    """A picture on the page.

    Attributes:
        path: its file, which is read again for downloads.
        shown: (H0, W0, 3) uint8 RGB, shrunk for the page.
        size: (height, width) of the file.
        sample: the sample slice that it is, or None.
        note: what was chosen or changed to read it, "" for nothing.
        origin: folder of the batch that it is of, and its number there; None for another picture.
    """

    path: Path
    shown: Photo
    size: tuple[int, int]
    sample: Sample | None = None
    note: str = ""
    origin: tuple[Path, int] | None = None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def key(self) -> str | None:
        """Its name in the addresses of its session, None for a sample."""
        return self.path.parent.name if self.sample is None else None


@dataclass(frozen=True)
class AskedPlace:
    """A clicked place of the picture, and the maps that say which classes it speaks for.

    Attributes:
        point: (x, y) as shares of the width and the height.
        maps: of many classes; None where there are none.
        reason: why there are none, else "".
    """

    point: tuple[float, float]
    maps: ClassMaps | None = None
    reason: str = ""


@dataclass(frozen=True)
class Answer:
    """The maps of one picture, kept so that they can be painted again.

    Attributes:
        explanations: name of the class, method or layer -> its map.
        asked: what the maps explain.
        found: of a detector, the boxes of the picture; else None.
        refused: name of a method or layer without a map -> the reason.
        note: a warning about the picture, or None.
        place: the clicked place, or None.
        verdict: on the first map, or None.
    """

    question: Question
    picture: PagePicture
    model: AppModel
    explanations: dict[str, Explanation] = field(default_factory=dict)
    asked: Asked = field(default_factory=Asked)
    found: Detections | None = None
    refused: dict[str, str] = field(default_factory=dict)
    note: str | None = None
    place: AskedPlace | None = None
    verdict: Verdict | None = None

    @property
    def first(self) -> Explanation:
        return next(iter(self.explanations.values()))


class HistoryEntry(NamedTuple):
    """An explanation in the history of a session.

    Attributes:
        answer: of *Explore*.
        thumbnail: (h0, w0, 3) uint8 RGB, its overlay at the size of a stamp.
        size: of what it keeps, in bytes.
    """

    answer: Answer
    thumbnail: Photo
    size: int


class Snapshot(NamedTuple):
    """A copy of what the open tab shows, because handlers of one window run at the same time.

    Attributes:
        tab, look, question, picture, batch: as in `Session`.
        answer: the answer of the tab, or None.
    """

    token: str
    tab: str
    look: Look
    question: Question
    picture: PagePicture | None
    answer: Answer | None
    batch: BatchReport | None

    @property
    def place(self) -> int | None:
        """Number of the picture in the batch; None for another picture."""
        origin = None if self.picture is None else self.picture.origin
        return origin[1] if origin and self.batch and origin[0] == self.batch.folder else None


class Session:
    """The state of one browser window.

    Args:
        model: the first model, shared with other windows.
        folder: for its files; removed when the session is closed.
        samples: pictures that need no file of the user.

    Attributes:
        token: a random name in addresses, which nobody can guess.
        tab: the open tab: "explore", "compare", "layers" or "batch".
        look: the colours of maps.
        question: the settings of the last explanation.
        answers: "explore", "compare", "layers" -> the last answer.
        batch: the result of *Batch*, or None.
        history: the last twenty explanations of *Explore*, the newest last: its address without a look -> the entry.
            It is replaced, never changed, because other threads read it.
        wanted: number of the last address that the window asked for, and its tab. `asked` is the number once it is
            shown: before, a new page's own first tab may have been opened.
        shown: the last view and the snapshot that it shows; see `view_of`.
        error: an error that the next event shows, or "".
    """

    def __init__(self, model: AppModel, folder: Path, samples: Sequence[Sample]):
        self.token = secrets.token_urlsafe(16)
        self.model = model
        self.samples = samples
        self.folder = folder
        self.picture: PagePicture | None = None
        self.tab = "explore"
        self.look = Look()
        self.question = model.default_question
        self.answers: dict[str, Answer] = {}
        self.batch: BatchReport | None = None
        self.history: dict[str, HistoryEntry] = {}
        self.asked, self.wanted = 0, (0, "explore")
        self.shown: tuple[Snapshot, Any] | None = None
        self.error = ""
        self._shared = model
        self._job: Job | None = None
        self._job_key: tuple[Any, ...] | None = None

    def snapshot(self) -> Snapshot:
        """Return a copy of what the open tab shows now."""
        tab = self.tab
        return Snapshot(self.token, tab, self.look, self.question, self.picture, self.answers.get(tab), self.batch)

    def query(self, picture: PagePicture | None, question: Question, look: Look | None = None, tab: str = "") -> str:
        """Return the address of a picture and a question, of the usual look on *Explore* by default."""
        sample = None if picture is None else picture.sample
        number = next((number for number, each in enumerate(self.samples, start=1) if each is sample), 1)
        return query_of(self.model, question, number, None if picture is None else picture.key, look, tab)

    def kept(self, question: Question) -> Answer | None:
        """Return the explanation of the picture in the history, None for another question."""
        entry = self.history.get(self.query(self.picture, question))
        return None if entry is None else self._with_place(entry.answer)

    def go(self, place: AddressState) -> None:
        """Show what an address asks for; what cannot be shown is said by `error`."""
        self.error = place.problem
        if place.picture is not None:
            known = [self.picture, *(entry.answer.picture for entry in self.history.values())]
            picture = next((each for each in known if each is not None and each.key == place.picture), None)
            if picture is not None:
                self._show(picture)
            else:
                gone = (
                    "The picture of this address was uploaded in another window, or is no longer kept. Drop it again."
                )
                self.error = f"{gone} {self.error}".rstrip()
        elif place.sample is None:
            self._show(None)
        elif self.picture is None or self.picture.sample is not self.samples[place.sample - 1]:
            self.show_sample(place.sample - 1)
        self.question, self.look, self.tab = place.question, place.look, place.tab

    def begin(self, work: Callable[[Job], Any], task: Any = None) -> Job:
        """Start a job with the model, and cancel the job before.

        Args:
            work: the work.
            task: equal for equal work. A job of the same task, picture and model that still runs is returned instead,
                because Gradio's lists report one choice twice.
        """
        key = None if task is None else (task, id(self.picture), id(self.model))
        if self._job is not None and key is not None and self._job_key == key and self._job.is_active:
            return self._job
        self.stop()
        self._job_key = key
        self._job = self.model.worker.start(work)
        return self._job

    def is_current(self, job: Job) -> bool:
        """Return whether no other job was started since."""
        return job is self._job

    @property
    def is_busy(self) -> bool:
        return self._job is not None and self._job.is_active

    def stop(self) -> None:
        if self._job is not None:
            self._job.stop()

    def show_upload(self, upload: str | os.PathLike[str]) -> PagePicture:
        """Show an uploaded picture in place of the one before.

        Raises:
            ValueError: the file is too large or not a picture; the one before stays.
        """
        return self._show_file(uploads.take_upload(upload, self.folder / secrets.token_hex(4)))

    def show_kept(self, number: int) -> PagePicture:
        """Show a picture of the last batch, as a copy, because the next batch removes its file.

        Raises:
            ValueError: there is none of this number, or it has no map.
        """
        batch = self.batch
        kept = batch.pictures[number] if batch is not None and number < len(batch.pictures) else None
        if batch is None or kept is None:
            raise ValueError(f"Expected a picture of the last batch, received number {number}. Choose one in Batch.")
        path = self.folder / secrets.token_hex(4) / kept.name
        path.parent.mkdir()
        shutil.copyfile(kept, path)
        return self._show_file(path, (batch.folder, number))

    def _show_file(self, path: Path, origin: tuple[Path, int] | None = None) -> PagePicture:
        """Show a file that has its folder for itself; remove it where it is not a picture."""
        try:
            uploads.check_picture(path)
            read = read_picture(path, (_SHOWN, _SHOWN))
        except (OSError, ValueError, MemoryError) as error:
            shutil.rmtree(path.parent, ignore_errors=True)
            raise ValueError(uploads.without_folder(str(error), [path])) from error
        photo = read.photo
        shown, size = shown_photo(photo, _SHOWN), (photo.shape[0], photo.shape[1])
        return self._show(PagePicture(path, shown, size, note=read.note, origin=origin))

    def show_sample(self, number: int) -> PagePicture:
        sample = self.samples[number]
        photo = read_picture(sample.path).photo
        return self._show(PagePicture(sample.path, photo, (photo.shape[0], photo.shape[1]), sample))

    def _show(self, picture: PagePicture | None) -> Any:
        before, self.picture = self.picture, picture
        if picture is not before:
            self.stop()
            self.answers = {}
            self._remove_file(before)
        return picture

    def _remove_file(self, picture: PagePicture | None) -> None:
        """Remove the file of a picture that is neither shown nor in the history."""
        known = [self.picture, *(entry.answer.picture for entry in self.history.values())]
        if picture is not None and picture.sample is None and all(picture is not each for each in known):
            shutil.rmtree(picture.path.parent, ignore_errors=True)

    def _remember(self, answer: Answer) -> None:
        """Add an explanation to the history; the oldest ones go where there are too many, or too large ones."""
        size = _bytes_in([answer.picture.shown, *answer.explanations.values(), answer.found])
        size += answer.picture.path.stat().st_size if answer.picture.sample is None else 0
        stamp = overlay_picture(answer.first, shrunk(answer.picture.shown, _THUMBNAIL), self.look)
        query = self.query(answer.picture, answer.question)
        entries = {**self.history, query: HistoryEntry(answer, stamp, size)}
        dropped = []
        while len(entries) > _MAX_HISTORY or (
            len(entries) > 1 and sum(entry.size for entry in entries.values()) > _MAX_HISTORY_BYTES
        ):
            dropped.append(entries.pop(next(iter(entries))))
        self.history = entries
        for entry in dropped:
            self._remove_file(entry.answer.picture)

    def use(self, model: AppModel) -> None:
        """Use another model from now on, this session's own."""
        self.stop()
        before, self.model = self.model, model
        self.answers, forgotten, self.history = {}, self.history, {}
        for entry in forgotten.values():
            self._remove_file(entry.answer.picture)
        if self.batch is not None:
            self.batch = dataclasses.replace(self.batch, question=None)
        if before.worker not in (model.worker, self._shared.worker):
            before.close()

    @property
    def has_own_model(self) -> bool:
        return self.model.worker is not self._shared.worker

    def load_model(self, upload: str | os.PathLike[str]) -> AppModel:
        """Load a model from an uploaded file, which is then removed.

        Raises:
            ValueError: as `load_app_model`; the file is too large.
        """
        path = uploads.take_upload(upload, self.folder / secrets.token_hex(4))
        try:
            uploads.check_model_file(path)
            own_code = self._shared.origin.own_code
            model = load_app_model(str(path), own_code=own_code)
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(uploads.without_folder(str(error), [path])) from error
        finally:
            shutil.rmtree(path.parent, ignore_errors=True)
        model.origin = Origin(path.name, own_code=own_code)
        model.notes = [uploads.without_folder(note, [path]) for note in model.notes]
        return model

    def load_network(self, name: str, weights: str) -> AppModel:
        """Build a network of keras.applications with the weights "imagenet" or "none".

        Raises:
            ValueError: another name, which could be a file of this machine; the weights cannot be downloaded.
        """
        if name not in model_names() or weights not in ("imagenet", "none"):
            raise ValueError(f"Expected a network and its weights from the lists, received {name!r} and {weights!r}.")
        try:
            return load_app_model(name, weights)
        except ConnectionError as error:
            fact = for_page(error.args[0]).removesuffix(" Without a network,")
            raise ValueError(f"{fact} Choose the weights 'none', or upload a model file.") from error

    def name_classes(self, upload: str | os.PathLike[str]) -> AppModel:
        """Return the model with the class names of an uploaded file.

        Raises:
            ValueError: as `load_class_names`; there are more or fewer names than classes.
        """
        path = uploads.take_upload(upload, self.folder / secrets.token_hex(4))
        try:
            uploads.check_names_file(path)
            return self.model.changed(load_class_names(path))
        except (OSError, ValueError) as error:
            raise ValueError(uploads.without_folder(str(error), [path])) from error
        finally:
            shutil.rmtree(path.parent, ignore_errors=True)

    def explain(self, question: Question, job: Job) -> Answer:
        """Explain the picture for *Explore*."""
        answer = self._ask(question)
        maps = answer.model.explain(answer.picture.path, question, job)
        notes = [answer.picture.note, answer.model.note, maps.note]
        answer = dataclasses.replace(
            answer,
            explanations=maps.explanations,
            asked=maps.asked,
            found=maps.found,
            note="; ".join(filter(None, notes)) or None,
        )
        placed = self._with_place(answer)
        self._keep("explore", placed, job)
        if answer.explanations and self.answers.get("explore") is placed:
            self._remember(answer)
        return placed

    def _with_place(self, answer: Answer) -> Answer:
        """Return an answer with the clicked place of the one before, where its maps are the same."""
        before = self.answers.get("explore")
        if before is None or before.place is None or not _is_of_same_maps(before, answer):
            return answer
        return dataclasses.replace(answer, place=before.place)

    def ask_place(self, point: tuple[float, float], job: Job) -> None:
        """Choose a place of the explained picture; the maps of its classes are made for the first one, and kept.

        Raises:
            ValueError: nothing is explained.
        """
        answer = self.answers.get("explore")
        if answer is None or not answer.explanations:
            raise ValueError("Expected a place of an explained picture, but none is explained. Choose a picture.")
        if answer.place is not None:
            place = dataclasses.replace(answer.place, point=point)
        else:
            try:
                place = AskedPlace(point, answer.model.class_maps(answer.picture.path, answer.question, job))
            except (TypeError, ValueError) as error:
                place = AskedPlace(point, reason=for_page(error.args[0]))
        self._keep("explore", dataclasses.replace(answer, place=place), job)

    def judge(self, job: Job) -> None:
        """Judge the first map of the explained picture.

        Raises:
            ValueError: nothing is explained; a task whose maps cannot be judged.
        """
        answer = self.answers.get("explore")
        if answer is None or not answer.explanations:
            raise ValueError("Expected an explained picture to judge its map, but none is explained. Choose a picture.")
        try:
            verdict = answer.model.judge(answer.picture.path, answer.question, answer.first, job)
        except ValueError as error:
            raise ValueError(for_page(error.args[0])) from error
        self._keep("explore", dataclasses.replace(answer, verdict=verdict), job)

    def explain_each(self, tab: str, questions: dict[str, Question], job: Job) -> Answer:
        """Explain the picture for each question, or note the reason of a failure; the answer grows map by map."""
        answer = self._ask(next(iter(questions.values())))
        explanations: dict[str, Explanation] = {}
        refused: dict[str, str] = {}
        for number, (name, question) in enumerate(questions.items()):
            part = _Part(job, number, len(questions), name)
            try:
                maps = answer.model.explain(answer.picture.path, question, part)
                answer = dataclasses.replace(answer, asked=maps.asked, found=maps.found)
                if maps.explanations:
                    explanations[name] = next(iter(maps.explanations.values()))
                else:
                    refused[name] = maps.note
            except (TypeError, ValueError) as error:
                refused[name] = str(error)
            # Copies, because other threads read the answer while this one goes on.
            answer = dataclasses.replace(answer, explanations=dict(explanations), refused=dict(refused))
            self._keep(tab, answer, job)
        return answer

    def explain_batch(self, paths: Sequence[Path], question: Question, job: Job) -> BatchReport:
        """Explain uploaded pictures for *Batch*; the files of the batch before are removed."""
        before, self.batch = self.batch, explain_batch(self.model, paths, question, self.look, self.folder, job)
        if before is not None:
            shutil.rmtree(before.folder, ignore_errors=True)
        return self.batch

    def _ask(self, question: Question) -> Answer:
        if self.picture is None:
            raise ValueError("Expected a picture, received none. Drop one.")
        return Answer(question, self.picture, self.model)

    def _keep(self, tab: str, answer: Answer, job: Job) -> None:
        job.check()
        if answer.picture is self.picture and answer.model is self.model:
            self.answers[tab] = answer

    def close(self) -> None:
        """Cancel the job, remove the files, and close an uploaded model."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.has_own_model:
            self.model.close()


def _is_of_same_maps(one: Answer, other: Answer) -> bool:
    """Return whether two answers have the same maps of classes: they may explain different ones."""
    asked = [(each.picture, each.model, each.question.layer, each.question.method) for each in (one, other)]
    is_same = all(left is right or left == right for left, right in zip(*asked, strict=True))
    return is_same and one.question.mode == other.question.mode


def _bytes_in(value: Any) -> int:
    """Return the size of the arrays in a value and in what it is made of."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, (list, tuple)):
        return sum(map(_bytes_in, value))
    return sum(map(_bytes_in, vars(value).values())) if type(value).__module__.startswith("tf_gradcam._results") else 0


class _Part(Job):
    """One of several parts of a job; it reports the progress of the whole."""

    def __init__(self, whole: Job, number: int, count: int, name: str):
        super().__init__(lambda job: None)
        self._whole, self._number, self._count, self._name = whole, number, count, name

    def report(self, part: float, label: str = "") -> None:
        self._whole.report((self._number + part) / self._count, f"{self._name} ({self._number + 1} of {self._count})")

    def check(self) -> None:
        self._whole.check()


MAX_SESSIONS = 64
_KEPT_SECONDS = 15  # after a window was closed, because it may only be loaded again
_MAX_WINDOWS = 1024  # whose names are remembered after their sessions were closed
_MAX_MODELS = 4  # uploaded in all open windows


class Sessions:
    """The sessions of all open windows; above 64, the least recently used one is closed.

    Args:
        model: the first model of each window.
        folder: for their files.
        samples: pictures that need no file of the user.

    Attributes:
        start: the session that every window shows until it has its own; it never changes.
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
        """Explain the first sample, so that new windows show its map at once.

        Raises:
            OSError, TypeError, ValueError: as `AppModel.explain`.
        """
        start, question = self.start, self.model.default_question
        start.show_sample(0)
        job = start.begin(lambda job: start.explain(question, job))
        for _ in job.follow():
            pass
        job.result()

    def token_of(self, window: str) -> str:
        """Return the token of a window's session; the first event of a window creates its session.

        A window whose session was closed keeps its token, which `find` refuses, until 1,024 others came after it.
        """
        with self._lock:
            return self._windows.get(window) or self.new(window).token

    def new(self, window: str = "") -> Session:
        """Create the session of a window, which begins with the view of `start`."""
        session = Session(self.model, self.folder.new(), self.samples)
        session.picture, session.answers = self.start.picture, dict(self.start.answers)
        session.history = self.start.history
        with self._lock:
            self._open[session.token] = session
            if window:
                self._windows[window] = session.token
                if len(self._windows) > _MAX_WINDOWS:
                    del self._windows[next(iter(self._windows))]
            surplus = [self._open.popitem(last=False)[1] for _ in range(len(self._open) - MAX_SESSIONS)]
        for old in surplus:
            old.close()
        return session

    def find(self, token: str) -> Session:
        """Return the session of a token.

        Raises:
            ValueError: the token is unknown, or its session was closed.
        """
        if token == self.start.token:
            return self.start
        with self._lock:
            if token not in self._open:
                raise ValueError("This window was closed or is too old, and its picture was removed. Reload the page.")
            self._open.move_to_end(token)
            return self._open[token]

    def check_model_count(self) -> None:
        """Refuse another uploaded model if all windows together have the most already."""
        with self._lock:
            count = sum(session.has_own_model for session in self._open.values())
        if count >= _MAX_MODELS:
            raise ValueError(
                f"Expected at most {_MAX_MODELS} uploaded models, but other windows have {count}. Close one of these "
                "windows, then upload again."
            )

    def adopt(self, token: str, before: str) -> str:
        """Give a window the session of the page that it shows again, and return its token.

        Args:
            token: of the window's own session, which is closed.
            before: token of the session to take, which only its own page knows; an unknown one changes nothing.
        """
        with self._lock:
            if before not in self._open or before == token:
                return token
            windows = {window: held for window, held in self._windows.items() if held != before}
            self._windows = {window: before if held == token else held for window, held in windows.items()}
            new = self._open.pop(token, None)
        if new is not None:
            new.close()
        return before

    def close_window(self, window: str) -> None:
        """Stop the job of a closed window, and close its session soon, unless the window was only loaded again."""
        with self._lock:
            session = self._open.get(token := self._windows.pop(window, ""))
        if session is not None:
            session.stop()
            timer = threading.Timer(_KEPT_SECONDS, self._close_left, [token])
            timer.daemon = True
            timer.start()

    def _close_left(self, token: str) -> None:
        with self._lock:
            session = None if token in self._windows.values() else self._open.pop(token, None)
        if session is not None:
            session.close()

    def close(self) -> None:
        """Close all sessions, end the model's thread, and remove every file."""
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
