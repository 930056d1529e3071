"""What happens when something on the web page is clicked, moved or dropped. Each answer is one value per output.

Work that takes longer answers several times, with how far it is. Every answer holds every value in full: in Gradio 6 an
HTML output that is skipped loses its content. What is shown and how is known to the session, so that an answer never
brings back a look or a tab that was left meanwhile.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tf_gradcam._app.batch import explain_batch
from tf_gradcam._app.html import notice_html, progress_html
from tf_gradcam._app.model import (
    NOTHING,
    TOP,
    AppModel,
    Question,
    class_choices,
    headline,
    layer_choices,
    look_of,
    method_choices,
    question_of,
)
from tf_gradcam._app.session import Session, Sessions
from tf_gradcam._app.uploads import MAX_BATCH
from tf_gradcam._app.view import view_of
from tf_gradcam._app.worker import Job, JobProgress, Stopped
from tf_gradcam._models.images import model_failure
from tf_gradcam._rules.table import MethodName
from tf_gradcam._terminal import tell

READY = '<p class="tg-ready">Ready.</p>'
Values = tuple[Any, ...]
Work = Callable[[Session, Job], Any]


def told(error: Exception) -> str:
    """An error in words; what TensorFlow puts around its own is left out."""
    if isinstance(error, (ValueError, TypeError, OSError)):
        return str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "The memory is too small for this picture or model."
    message = model_failure(error)
    tell(message)
    return message


class Events:
    """The handlers of one page. "Result" stands for three outputs: status, what the open tab shows, Python lines.

    Args:
        sessions: the windows that are open.
        update: makes a change of a control, `gradio.update`.
    """

    def __init__(self, sessions: Sessions, update: Callable[..., Any]):
        self._sessions = sessions
        self._update = update
        self._loading = threading.Lock()
        self._methods = {choice.name: choice for choice in method_choices()}

    def upload(self, token: str, file: str | None, *question: Any) -> Iterator[Values]:
        """A picture was dropped. Outputs: the file, emptied; result."""
        if file is not None:
            for values in self._new_picture(token, lambda session: session.show_upload(file), question):
                yield (None, *values)

    def sample(self, number: int, token: str, *question: Any) -> Iterator[Values]:
        """A sample slice was chosen. Outputs: result."""
        yield from self._new_picture(token, lambda session: session.show_sample(number), question)

    def _new_picture(self, token: str, show: Callable[[Session], Any], question: Values) -> Iterator[Values]:
        try:
            show(self._sessions.find(token))
        except ValueError as error:
            yield self._failed(token, error)
            return
        yield from self.explain(token, *question)

    def explain(self, token: str, *question: Any) -> Iterator[Values]:
        """The question or the picture has changed. Outputs: result."""
        asked = question_of(*question)
        yield from self._work(token, "explore", asked, lambda session, job: session.explain(asked, job))

    def compare(self, token: str, methods: Sequence[str], *question: Any) -> Iterator[Values]:
        """The methods that were chosen, side by side; each is shown when it is done. Outputs: result."""
        asked = question_of(*question)
        names = [name for name in self._methods if name in methods]
        questions: dict[str, Question] = {name: dataclasses.replace(asked, method=name) for name in names}
        yield from self._each(token, "compare", asked, questions, "Choose at least one method.")

    def layers(self, token: str, layers: Sequence[str], *question: Any) -> Iterator[Values]:
        """The layers that were chosen, in the order of the network. Outputs: result."""
        asked = question_of(*question)
        try:
            rows = self._sessions.find(token).model.layers
        except ValueError as error:
            yield self._failed(token, error)
            return
        questions = {row.path: dataclasses.replace(asked, layer=row.path) for row in rows if row.path in layers}
        yield from self._each(token, "layers", asked, questions, "Choose at least one layer.")

    def _each(
        self, token: str, tab: str, asked: Question, questions: dict[str, Question], empty: str
    ) -> Iterator[Values]:
        if not questions:
            yield self._failed(token, ValueError(empty))
            return
        yield from self._work(token, tab, asked, lambda session, job: session.explain_each(tab, questions, job))

    def batch(self, token: str, files: Sequence[str] | None, *question: Any) -> Iterator[Values]:
        """Several pictures into one archive. Outputs: the files, emptied; result."""
        asked = question_of(*question)
        paths = [Path(file) for file in files or []]
        if not 0 < len(paths) <= MAX_BATCH:
            yield (None, *self._failed(token, ValueError(f"Choose 1 to {MAX_BATCH} pictures.")))
            return

        def work(session: Session, job: Job) -> None:
            session.batch = explain_batch(session.model, paths, asked, session.look, session.folder, job)

        for values in self._work(token, "batch", asked, work):
            yield (None, *values)

    def _work(self, token: str, tab: str, asked: Question, work: Work) -> Iterator[Values]:
        """Results while the work goes on, and when it has ended; none any more when other work was begun since."""
        try:
            session = self._sessions.find(token)
        except ValueError as error:
            yield self._failed(token, error)
            return
        session.question = asked
        job = session.begin(lambda job: work(session, job), (tab, asked) if tab == "explore" else None)
        for progress in job.follow():
            if not session.is_current(job):
                return
            yield (self._progress(session, job, progress), *view_of(session))
        if not session.is_current(job):
            return
        status = READY
        try:
            job.result()
        except Stopped:
            status = notice_html("Stopped. What is shown below was done before.")
        except Exception as error:
            session.answers.pop(tab, None)
            status = notice_html(told(error), "error")
        yield (status, *view_of(session))

    def _progress(self, session: Session, job: Job, progress: JobProgress) -> str:
        before = session.model.worker.count_before(job)
        if before:
            return progress_html(None, f"waiting for the model, {before} before this")
        return progress_html(progress.part, progress.what)

    def _failed(self, token: str, error: Exception) -> Values:
        """What went wrong, above what was shown before."""
        try:
            view = tuple(view_of(self._sessions.find(token)))
        except ValueError:
            view = ("", "")
        return (notice_html(told(error), "error"), *view)

    def stop(self, token: str) -> None:
        """The stop button; what runs says itself that it ended."""
        try:
            self._sessions.find(token).stop()
        except ValueError:
            return

    def paint(self, token: str, *look: Any) -> Values:
        """Opacity, threshold or colours were moved; no model is asked. Outputs: what the open tab shows, lines."""
        return self._shown(token, look=look_of(*look))

    def select(self, tab: str, token: str) -> Values:
        """A tab was opened. Outputs: as `paint`."""
        return self._shown(token, tab=tab)

    def _shown(self, token: str, **changes: Any) -> Values:
        try:
            session = self._sessions.find(token)
        except ValueError as error:
            return (notice_html(str(error), "error"), "")
        vars(session).update(changes)
        return tuple(view_of(session))

    def describe(self, method: MethodName) -> Any:
        """A method was chosen. Outputs: what stands by its name."""
        return self._update(info=self.about(method))

    def about(self, method: MethodName) -> str:
        """What a method does, what it costs and where it comes from."""
        choice = self._methods[method]
        told = [choice.summary]
        told += [f"{words}: {text}." for words, text in (("Cost", choice.cost), ("Source", choice.source)) if text]
        return " ".join(told)

    def load_model(self, token: str, file: str | None) -> Values:
        """A model was dropped. Outputs: the file, emptied; `controls_of`. Then `again` is called."""

        def load(session: Session) -> None:
            with self._loading:  # one at a time, or several would be counted before any of them is there
                if not session.has_own_model:
                    self._sessions.check_model_count()
                session.use(session.load_model(str(file)))

        return self._changed(token, file, load)

    def name_classes(self, token: str, file: str | None) -> Values:
        """Names of classes were dropped. Outputs: as `load_model`."""
        return self._changed(token, file, lambda session: session.use(session.name_classes(str(file))))

    def _changed(self, token: str, file: str | None, change: Callable[[Session], None]) -> Values:
        try:
            session = self._sessions.find(token)
        except ValueError:  # `again` says it
            return (None, *self.controls_of(self._sessions.model, self._sessions.model.usual_question))
        before = session.model
        try:
            if file is not None:
                change(session)
        except Exception as error:
            session.error = told(error)
        asked, model = session.question, session.model
        if model.origin != before.origin:
            asked = dataclasses.replace(model.usual_question, method=asked.method)
        return (None, *self.controls_of(model, dataclasses.replace(asked, target=None, against=None)))

    def again(self, token: str, *question: Any) -> Iterator[Values]:
        """After the model was changed. Outputs: result."""
        try:
            session = self._sessions.find(token)
            error, session.error = session.error, ""
            if error:
                raise ValueError(error)
        except ValueError as reason:
            yield self._failed(token, reason)
            return
        if session.picture is None:
            yield (READY, *view_of(session))
            return
        yield from self.explain(token, *question)

    def controls_of(self, model: AppModel, asked: Question) -> Values:
        """Headline, layer, class, against, pixel values, layers of *Layers*, as they are for a model."""
        return (
            headline(model),
            self._update(choices=layer_choices(model), value=asked.layer),
            self._update(choices=class_choices(model, "top class"), value=TOP),
            self._update(choices=class_choices(model, "nothing"), value=NOTHING),
            self._update(value=asked.mode),
            self._update(choices=layer_choices(model), value=model.stages()),
        )
