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

from tf_gradcam._app.address import MAX_QUERY, read_query
from tf_gradcam._app.controls import (
    QUESTION,
    look_of,
    method_choices,
    names_of,
    question_of,
    settings,
    target_choices,
)
from tf_gradcam._app.html import notice_html, progress_html
from tf_gradcam._app.model import AppModel, Said, headline
from tf_gradcam._app.question import POINT, REGION, Question
from tf_gradcam._app.session import Session, Sessions
from tf_gradcam._app.trail import trail_html
from tf_gradcam._app.uploads import MAX_BATCH
from tf_gradcam._app.view import view_of
from tf_gradcam._app.worker import Job, JobProgress, Stopped
from tf_gradcam._errors import for_page
from tf_gradcam._models.images import model_failure
from tf_gradcam._rules.table import MethodName, find_method
from tf_gradcam._terminal import print_message
from tf_gradcam.image.overlay import HEAT

FIRST = "first"  # the model that the page began with, in the list of networks
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
        try:
            asked = question_of(*question)
        except ValueError as error:
            yield self._failed(token, error)
            return
        yield from self._explore(token, asked)

    def _explore(self, token: str, asked: Question) -> Iterator[Values]:
        """Explain the picture, or show its explanation that is in the history."""
        try:
            session = self._sessions.find(token)
        except ValueError as error:
            yield self._failed(token, error)
            return
        kept = session.kept(asked)
        if kept is None:
            yield from self._work(token, "explore", asked, lambda session, job: session.explain(asked, job))
        else:
            session.stop()
            session.question, session.answers["explore"] = asked, kept
            yield (READY, *view_of(session))

    def place(self, token: str, picked: Any) -> Iterator[Values]:
        """Say which classes a clicked place speaks for. Outputs: result.

        Args:
            picked: {"x": ..., "y": ...}, as shares of the picture.

        Raises:
            ValueError: another click, which only a request that is not the page's own can have.
        """
        shares = [picked.get("x"), picked.get("y")]
        if not all(type(value) in (int, float) and 0 <= value <= 1 for value in shares):
            raise ValueError(f"Expected a click on a picture, received {picked}.")
        x, y = map(float, shares)
        yield from self._ask(token, "place", lambda session, job: session.ask_place((x, y), job))

    def judge(self, token: str) -> Iterator[Values]:
        """Say whether to rely on the map that is shown. Outputs: result."""
        yield from self._ask(token, "verdict", Session.judge)

    def _ask(self, token: str, about: str, work: Work) -> Iterator[Values]:
        """Ask something about the map that is shown, which must not be a map that is still being made."""
        try:
            session = self._sessions.find(token)
            if session.is_busy:
                raise ValueError("The model still runs. Click again when it has ended, or press Stop first.")
        except ValueError as error:
            yield self._failed(token, error)
            return
        yield from self._work(token, about, session.question, work)

    def compare(self, token: str, methods: Sequence[str], *question: Any) -> Iterator[Values]:
        """Compare the chosen methods; each map is shown when it is ready. Outputs: result."""
        asked = question_of(*question)
        chosen = names_of(methods)
        names = [name for name in self._methods if name in chosen]
        questions: dict[str, Question] = {name: dataclasses.replace(asked, method=name, is_one=True) for name in names}
        yield from self._each(token, "compare", asked, questions, "Choose at least one method.")

    def layers(self, token: str, layers: Sequence[str], *question: Any) -> Iterator[Values]:
        """Explain the chosen layers, in the order of the network. Outputs: result."""
        asked, chosen = question_of(*question), names_of(layers)
        try:
            rows = self._sessions.find(token).model.layers
        except ValueError as error:
            yield self._failed(token, error)
            return
        paths = [row.path for row in rows if row.path in chosen]
        questions = {path: dataclasses.replace(asked, layer=path, is_one=True) for path in paths}
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
        for values in self._work(token, "batch", asked, lambda session, job: session.explain_batch(paths, asked, job)):
            yield (None, *values)

    def _work(self, token: str, tab: str, asked: Question, work: Work) -> Iterator[Values]:
        """Yield the result while the job runs and at its end, unless another job was started since."""
        try:
            session = self._sessions.find(token)
            session.model.check(asked)
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

    def describe(self, token: str, method: MethodName) -> Any:
        """Show the summary of the chosen method. Outputs: the list of methods."""
        find_method(method)
        return self._update(info=self.about(method))

    def about(self, method: MethodName) -> str:
        """Return the summary, cost and source of a method."""
        return self._methods[method].about

    def pick(self, token: str, picked: Any, target: int | str | None) -> Values:
        """Take a click on a picture or a name for a choice. Outputs: the list of classes; place; across; down;
        the list of layers; the open tab.

        Args:
            picked: {"pick": "class 3" | "box 2" | "point" | "layer block5_conv3", "x": ..., "y": ...}, the point as
                shares of the picture.
            target: the present choice.

        Raises:
            ValueError: another click, which only a request that is not the page's own can have.
        """
        kind, _, name = str(picked.get("pick")).partition(" ") if isinstance(picked, dict) else ("", "", "")
        same = self._update()
        if kind == "point":
            shares = [picked.get("x"), picked.get("y")]
            if all(type(value) in (int, float) and 0 <= value <= 1 for value in shares):
                across, down = (min(round(100 * float(value), 2), 99.99) for value in shares)
                point = (self._update(value=value) for value in (POINT, across, down))
                return same, *point, same, same
        elif kind in ("class", "box") and name.isdecimal() and len(name) < 6:
            chosen = int(name) if kind == "class" else f"box {name}"
            return self._targets(token, chosen), self._update(value=REGION), same, same, same, same
        elif kind == "layer":
            session = self._sessions.find(token)
            if name in (row.path for row in session.model.layers):
                session.tab = "explore"
                return same, same, same, same, self._update(value=name), self._update(selected="explore")
        raise ValueError(f"Expected a click on a picture, a box or a name, received {picked}.")

    def open(self, token: str, picked: Any) -> Values:
        """Show a picture of the batch; `again` follows. Outputs: the controls of `QUESTION`; the list of tabs.

        From the gallery it is explained as the batch was, from *Explore* as the controls say.

        Args:
            picked: {"open": number of the picture}.

        Raises:
            ValueError: not a number, which only a request that is not the page's own can have.
        """
        number = picked.get("open") if isinstance(picked, dict) else None
        if type(number) is not int or number < 0:
            raise ValueError(f"Expected the number of a picture, received {picked}.")
        session, changes = self._sessions.find(token), {}
        asked = session.batch.question if session.batch is not None and session.tab == "batch" else None
        try:
            session.show_kept(number)
            session.tab = "explore"
            if asked is not None:
                changes = {**settings(session.model, asked), "method": {"value": asked.method}}
        except ValueError as error:
            session.error = str(error)
        tab = self._update(selected=session.tab)
        return *(self._update(**changes.get(name, {})) for name in QUESTION), tab

    def boxes(self, token: str, target: int | str | None) -> Any:
        """Offer the boxes of the picture that is shown. Outputs: the list of classes."""
        try:
            is_detector = self._sessions.find(token).model.task.name == "detection"
        except ValueError:
            return self._update()
        return self._targets(token, target) if is_detector else self._update()

    def _targets(self, token: str, chosen: int | str | None) -> Any:
        session = self._sessions.find(token)
        answer = session.answers.get("explore")
        found = None if answer is None else answer.found
        return self._update(choices=target_choices(session.model, found, chosen), value=chosen)

    def trail(self, token: str) -> str:
        """Return the history of a window; "" for a closed one."""
        try:
            return trail_html(self._sessions.find(token))
        except ValueError:
            return ""

    def go(self, token: str, asked: Any) -> Values:
        """Show what an address asks for; `resume` follows.

        Outputs: as `controls_of`; the method; opacity, threshold, colours; the list of tabs.

        Args:
            asked: {"query": of the address, "session": token of the page's earlier session or "", "number": of the
                request}.

        Raises:
            ValueError: another request, which only one that is not the page's own can have.
        """
        query, before, number = (asked.get(name) for name in ("query", "session", "number"))
        are_texts = isinstance(query, str) and isinstance(before, str) and len(query) <= MAX_QUERY and len(before) < 100
        if not are_texts or type(number) is not int:
            raise ValueError(f"Expected an address of at most {MAX_QUERY} characters, received another one.")
        session = self._sessions.find(self._sessions.adopt(token, before))
        session.go(read_query(query, session.model, len(session.samples)))
        session.wanted = number, session.tab
        question, look = session.question, session.look
        values = (question.method, look.alpha, look.threshold, look.colormap or HEAT)
        controls = self.controls_of(session.model, question)
        return *controls, *(self._update(value=value) for value in values), self._update(selected=session.tab)

    def resume(self, token: str) -> Iterator[Values]:
        """Explain the picture of an address, and say what was wrong with the address. Outputs: result."""
        try:
            session = self._sessions.find(token)
        except ValueError as error:
            yield self._failed(token, error)
            return
        session.asked, session.tab = session.wanted
        problem, session.error = session.error, ""
        ready = notice_html(problem) or READY
        if session.picture is None:
            yield (ready, *view_of(session))
            return
        for status, *shown in self._explore(token, session.question):
            yield (ready if status == READY else status, *shown)

    def load_model(self, token: str, file: str | None) -> Values:
        """Load a dropped model; `again` follows. Outputs: the emptied file; as `controls_of`."""

        def load(session: Session) -> None:
            self._use_own(session, lambda: session.load_model(str(file)))

        return (None, *self._changed(token, load if file is not None else None))

    def _use_own(self, session: Session, load: Callable[[], AppModel]) -> None:
        """Use a model of a window's own; one is loaded at a time, or all would pass the limit before any is there."""
        with self._loading:
            if not session.has_own_model:
                self._sessions.check_model_count()
            session.use(load())

    def load_network(self, token: str, name: str, weights: str) -> Values:
        """Load a network of keras.applications, or the `FIRST` model; `again` follows. Outputs: as `controls_of`."""

        def load(session: Session) -> None:
            if name == FIRST:
                session.use(self._sessions.model)
            else:
                self._use_own(session, lambda: session.load_network(name, weights))

        return self._changed(token, load)

    def name_classes(self, token: str, file: str | None) -> Values:
        """Apply dropped class names; `again` follows. Outputs: as `load_model`."""

        def rename(session: Session) -> None:
            session.use(session.name_classes(str(file)))

        return (None, *self._changed(token, rename if file is not None else None))

    def say(self, token: str, task: str | None, unit: str | None, decode: str | None) -> Values:
        """Read the model as another task, in another unit, or its boxes otherwise; `again` follows.

        Outputs: as `controls_of`.
        """
        if not all(value is None or isinstance(value, str) for value in (task, unit, decode)):
            raise ValueError(f"Expected a task, a unit and words on boxes, received {task}, {unit}, {decode}.")

        def read(session: Session) -> None:
            before = session.model.said
            said = Said(task or None)
            if said.task == before.task:
                said = Said(said.task, (unit or "").strip(), (decode or "").strip() or None, before.threshold)
            if said != before:
                try:
                    session.use(session.model.changed(said=said))
                except ValueError as error:
                    other = "Choose another Task, Unit or Boxes."
                    raise ValueError(f"{for_page(error.args[0])} {other}") from error

        return self._changed(token, read)

    def _changed(self, token: str, change: Callable[[Session], None] | None) -> Values:
        """Change the model of a window, and return `controls_of` it; `again` shows an error."""
        try:
            session = self._sessions.find(token)
        except ValueError:
            return self.controls_of(self._sessions.model, self._sessions.model.default_question)
        before = session.model
        try:
            if change is not None:
                change(session)
        except Exception as error:
            session.error = error_text(error)
        asked, model = session.question, session.model
        if model.origin != before.origin or model.task.name != before.task.name:
            asked = dataclasses.replace(model.default_question, method=asked.method)
        return self.controls_of(model, dataclasses.replace(asked, target=None, against=None))

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
        """Return the headline, and an update of each control in the order of `settings`."""
        return headline(model), *(self._update(**changes) for changes in settings(model, asked).values())
