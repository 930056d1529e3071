"""The browser windows that are open, each with its session."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from tf_gradcam._app.appsample import Sample
from tf_gradcam._app.model import AppModel
from tf_gradcam._app.session import Session
from tf_gradcam._app.uploads import AppFolder

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
