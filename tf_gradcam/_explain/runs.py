"""Several runs of explainers with one progress: what wraps explainers reports over all that it runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tf_gradcam._results.explanation import Explanation

Progress = Callable[[int, int], object]

_STEPS = 100  # of each run, since how much it has to do is known only as it goes on


class Explain(Protocol):
    """What `Explainer` is, and what wraps one: images and a target in, an `Explanation` out."""

    def __call__(self, images: Any, target: Any = None) -> Explanation: ...


class WithProgress(Protocol):
    """The same, telling how far it is."""

    def __call__(self, images: Any, target: Any = None, *, progress: Progress | None = None) -> Explanation: ...


class Runs:
    """Runs explainers one after the other.

    Args:
        count: how many runs there will be.
        progress: called with (done, total): 100 steps a run, in which `done` only ever rises; None for nobody to tell.
    """

    def __init__(self, count: int, progress: Progress | None = None):
        self._total = count * _STEPS
        self._progress = progress
        self._finished = 0
        self._told = 0

    def __call__(self, explainer: Explain, images: Any, target: Any = None) -> Explanation:
        """One of the runs. An explainer that does not take `progress` counts when it is through."""
        options: dict[str, Any] = {}
        if self._progress is not None and _takes_progress(explainer):
            options["progress"] = self._tell
        explanation = explainer(images, target, **options)
        self._tell(1, 1)
        self._finished += 1
        return explanation

    def _tell(self, done: int, total: int) -> None:
        """A rule may ask for more than it first did: what was told once stays told."""
        reached = self._finished * _STEPS + _STEPS * done // max(total, 1)
        if self._progress is not None and reached > self._told:
            self._told = reached
            self._progress(reached, self._total)


def _takes_progress(explainer: Explain) -> bool:
    try:
        parameters = inspect.signature(explainer).parameters.values()
    except (TypeError, ValueError):  # written in C
        return False
    return any(one.name == "progress" or one.kind is one.VAR_KEYWORD for one in parameters)
