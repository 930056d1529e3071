"""The event handlers of the web page. Each returns one value per output.

Long jobs yield several times, with their progress. All values are always complete: in Gradio 6 an HTML output that is
skipped loses its content. The session knows the tab and the look, so that a handler never shows an old one again.
"""

from __future__ import annotations

import contextlib
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
    names_of,
    question_of,
)
from tf_gradcam._app.session import Session, Sessions
from tf_gradcam._app.uploads import MAX_BATCH
from tf_gradcam._app.view import view_of
from tf_gradcam._app.worker import Job, JobProgress, Stopped
from tf_gradcam._models.images import model_failure
from tf_gradcam._rules.table import MethodName
from tf_gradcam._terminal import print_message

READY = '<p class="tg-ready">Ready.</p>'
Values = tuple[Any, ...]
Work = Callable[[Session, Job], Any]


def error_text(error: Exception) -> str:
    """Return the message of an error, without the trace that TensorFlow adds."""
    if isinstance(error, (ValueError, TypeError, OSError)):
        return str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "Out of memory: this picture or model is too large. Choose a smaller one."
    message = model_failure(error)
    print_message(message)
    return message


class Events:
    """The handlers of one page. "Result" stands for three outputs: status, open tab, Python code.

    Args:
        sessions: the sessions of all windows.
        update: `gradio.update`, which changes a control.
    """

    def __init__(self, sessions: Sessions, update: Callable[..., Any]):
        self._sessions = sessions
        self._update = update
        self._loading = threading.Lock()
        self._methods = {choice.name: choice for choice in method_choices()}

    def upload(self, token: str, file: str | None, *question: Any) -> Iterator[Values]:
        """Show a dropped picture and explain it. Outputs: the emptied file; result."""
        if file is not None:
            for values in self._new_picture(token, lambda session: session.show_upload(file), question):
                yield (None, *values)

    def sample(self, number: int, token: str, *question: Any) -> Iterator[Values]:
        """Show a sample slice and explain it. Outputs: result."""
        yield from self._new_picture(token, lambda session: session.show_sample(number), question)

    def _new_picture(self, token: str, show: Callable[[Session], Any], question: Values) -> Iterator[Values]:
        try:
            show(self._sessions.find(token))
        except ValueError as error:
            yield self._failed(token, error)
            return
        yield from self.explain(token, *question)

    def explain(self, token: str, *question: Any) -> Iterator[Values]:
        """Explain the picture with the current settings. Outputs: result."""
        asked = question_of(*question)
        yield from self._work(token, "explore", asked, lambda session, job: session.explain(asked, job))

    def compare(self, token: str, methods: Sequence[str], *question: Any) -> Iterator[Values]:
        """Compare the chosen methods; each map is shown when it is ready. Outputs: result."""
        asked = question_of(*question)
        chosen = names_of(methods)
        names = [name for name in self._methods if name in chosen]
        questions: dict[str, Question] = {name: dataclasses.replace(asked, method=name) for name in names}
        yield from self._each(token, "compare", asked, questions, "Choose at least one method.")

    def layers(self, token: str, layers: Sequence[str], *question: Any) -> Iterator[Values]:
        """Explain the chosen layers, in the order of the network. Outputs: result."""
        asked, chosen = question_of(*question), names_of(layers)
        try:
            rows = self._sessions.find(token).model.layers
        except ValueError as error:
            yield self._failed(token, error)
            return
        questions = {row.path: dataclasses.replace(asked, layer=row.path) for row in rows if row.path in chosen}
        yield from self._each(token, "layers", asked, questions, "Choose at least one layer.")

    def _each(
        self, token: str, tab: str, asked: Question, questions: dict[str, Question], empty: str
    ) -> Iterator[Values]:
        if not questions:
            yield self._failed(token, ValueError(empty))
            return
        yield from self._work(token, tab, asked, lambda session, job: session.explain_each(tab, questions, job))

    def batch(self, token: str, files: Sequence[str] | None, *question: Any) -> Iterator[Values]:
        """Explain several pictures into one archive. Outputs: the emptied files; result."""
        asked = question_of(*question)
        paths = [Path(file) for file in files or []]
        if not 0 < len(paths) <= MAX_BATCH:
            yield (None, *self._failed(token, ValueError(f"Choose between 1 and {MAX_BATCH} pictures.")))
            return

        def work(session: Session, job: Job) -> None:
            session.batch = explain_batch(session.model, paths, asked, session.look, session.folder, job)

        for values in self._work(token, "batch", asked, work):
            yield (None, *values)

    def _work(self, token: str, tab: str, asked: Question, work: Work) -> Iterator[Values]:
        """Yield the result while the job runs and at its end, unless another job was started since."""
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
            status = notice_html("Stopped. The results below are from before.")
        except Exception as error:
            session.answers.pop(tab, None)
            status = notice_html(error_text(error), "error")
        yield (status, *view_of(session))

    def _progress(self, session: Session, job: Job, progress: JobProgress) -> str:
        before = session.model.worker.count_before(job)
        if before:
            return progress_html(None, f"waiting for the model, {before} ahead of this")
        return progress_html(progress.part, progress.label)

    def _failed(self, token: str, error: Exception) -> Values:
        """Return a result that shows the error above the current view."""
        try:
            view = tuple(view_of(self._sessions.find(token)))
        except ValueError:
            view = ("", "")
        return (notice_html(error_text(error), "error"), *view)

    def stop(self, token: str) -> None:
        """Cancel the job, whose own handler then shows its end."""
        with contextlib.suppress(ValueError):
            self._sessions.find(token).stop()

    def paint(self, token: str, *look: Any) -> Values:
        """Apply opacity, threshold and colours without running the model. Outputs: open tab, Python code."""
        return self._shown(token, look=look_of(*look))

    def select(self, tab: str, token: str) -> Values:
        """Open a tab. Outputs: as `paint`."""
        return self._shown(token, tab=tab)

    def _shown(self, token: str, **changes: Any) -> Values:
        try:
            session = self._sessions.find(token)
        except ValueError as error:
            return (notice_html(str(error), "error"), "")
        vars(session).update(changes)
        return tuple(view_of(session))

    def describe(self, method: MethodName) -> Any:
        """Show the summary of the chosen method. Outputs: the list of methods."""
        return self._update(info=self.about(method))

    def about(self, method: MethodName) -> str:
        """Return the summary, cost and source of a method."""
        return self._methods[method].about

    def load_model(self, token: str, file: str | None) -> Values:
        """Load a dropped model; `again` follows. Outputs: the emptied file; as `controls_of`."""

        def load(session: Session) -> None:
            with self._loading:  # one at a time, or all would pass the limit on models before any is loaded
                if not session.has_own_model:
                    self._sessions.check_model_count()
                session.use(session.load_model(str(file)))

        return self._changed(token, file, load)

    def name_classes(self, token: str, file: str | None) -> Values:
        """Apply dropped class names; `again` follows. Outputs: as `load_model`."""
        return self._changed(token, file, lambda session: session.use(session.name_classes(str(file))))

    def _changed(self, token: str, file: str | None, change: Callable[[Session], None]) -> Values:
        try:
            session = self._sessions.find(token)
        except ValueError:  # `again` shows it
            return (None, *self.controls_of(self._sessions.model, self._sessions.model.default_question))
        before = session.model
        try:
            if file is not None:
                change(session)
        except Exception as error:
            session.error = error_text(error)
        asked, model = session.question, session.model
        if model.origin != before.origin:
            asked = dataclasses.replace(model.default_question, method=asked.method)
        return (None, *self.controls_of(model, dataclasses.replace(asked, target=None, against=None)))

    def again(self, token: str, *question: Any) -> Iterator[Values]:
        """Explain the picture with the changed model, or show the error of the change. Outputs: result."""
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
        """Return headline, layer, class, against, pixel values, and layers of *Layers* for a model."""
        return (
            headline(model),
            self._update(choices=layer_choices(model), value=asked.layer),
            self._update(choices=class_choices(model, "top class"), value=TOP),
            self._update(choices=class_choices(model, "nothing"), value=NOTHING),
            self._update(value=asked.mode),
            self._update(choices=layer_choices(model), value=model.stages()),
        )
