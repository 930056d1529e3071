"""The state that an interrupted stage goes on from: in one file, which is written whole or not at all."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from .run_folder import whole
from .strategy import from_chief

_ABOUT = "about"  # the last entry of a file that holds numbers about the stage, as JSON


class StageState:
    """The state of a stage.

    NAME.npz            after the last epoch: variables of model, optimizer and random layers, and the epoch
    NAME.finished.npz   after the stage: variables of the model

    A process may be killed at any moment. What it did after the last whole file is repeated, from the same variables,
    so a resumed training ends as an uninterrupted one. Of several workers only the chief has files. All of them call
    these methods at the same points and get the chief's variables.

    Args:
        folder: made if it does not exist.
        stage: name of the stage.
        strategy: of `strategy_scope`.
        is_chief: True if this process has the files.
    """

    def __init__(self, folder: Path, stage: str, strategy: str = "none", is_chief: bool = True):
        self._file, self._finished = folder / f"{stage}.npz", folder / f"{stage}.finished.npz"
        self._strategy, self._is_chief = strategy, is_chief

    @property
    def has_begun(self) -> bool:
        """True if this process has the state of an epoch."""
        return self._is_chief and self._file.exists()

    def restore_finished(self, model: keras.Model) -> bool:
        """Give `model` the variables after the stage; return False if the stage has not ended.

        Raises:
            ValueError: the file is damaged, or of another model.
        """
        ended = self._is_chief and self._finished.exists()
        return self._restore(self._finished if ended else None, model.variables, [int(ended)])[0] == 1

    def restore(self, trainer: keras.Model) -> tuple[int, bool]:
        """Give a compiled model the variables after the last epoch; without a file the workers get the chief's.

        Returns:
            The number of epochs that have ended, and True if the training was stopped after them.

        Raises:
            ValueError: the file is damaged, or of another model.
        """
        if not trainer.optimizer.built:
            trainer.optimizer.build(trainer.trainable_variables)
        file = self._file if self.has_begun else None
        epochs, stopped = self._restore(file, _variables(trainer), [0, 0])
        return epochs, stopped == 1

    def save(self, trainer: keras.Model, epochs: int) -> None:
        """Write the state after so many epochs, on the chief."""
        if self._is_chief:
            _write(self._file, _variables(trainer), [epochs, int(trainer.stop_training)])

    def finish(self, model: keras.Model) -> None:
        """Write the variables after the stage, on the chief; the state of the last epoch is removed."""
        if self._is_chief:
            _write(self._finished, model.variables, [1])
            self._file.unlink(missing_ok=True)

    def size(self, trainer: keras.Model) -> int:
        """Return the bytes of the state after an epoch."""
        return sum(each.nbytes for each in _values(_variables(trainer))) if self._is_chief else 0

    def _restore(self, file: Path | None, variables: Sequence[Any], about: list[int]) -> list[int]:
        """Assign what the chief's file holds, or the chief's own values if it has none; return its numbers."""
        values = _values(variables)
        if file is not None:
            about, values = _read(file, values, len(about))
        numbers, *shared = from_chief(self._strategy, [np.array(about, np.int64), *values])
        if file is not None or self._strategy == "multiworker":
            for variable, value in zip(variables, shared, strict=True):
                variable.assign(value)
        return [int(number) for number in numbers]


class KeepState(keras.callbacks.Callback):
    """A callback that writes the state after each epoch. It must be the last one: then an epoch's files are written."""

    def __init__(self, state: StageState):
        super().__init__()
        self._state = state

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._state.save(self.model, epoch + 1)


def _variables(trainer: keras.Model) -> list[Any]:
    """Return all that changes in a training: weights, states of random layers, and those of the optimizer."""
    return [*trainer.variables, *trainer.optimizer.variables]


def _values(variables: Sequence[Any]) -> list[np.ndarray]:
    return [np.asarray(each.numpy()) for each in variables]


def _write(file: Path, variables: Sequence[Any], about: list[int]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole(file) as temporary, open(temporary, "wb") as content:
        entries: dict[str, Any] = {str(number): value for number, value in enumerate(_values(variables))}
        entries[_ABOUT] = json.dumps(about)
        np.savez(content, **entries)


def _read(file: Path, like: Sequence[np.ndarray], count: int) -> tuple[list[int], list[np.ndarray]]:
    """Return so many numbers, and arrays like those given."""
    try:
        with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as content:
            about = json.loads(str(content[_ABOUT]))
            values = [content[str(number)] for number in range(len(content.files) - 1)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(file, str(error)) from error
    if len(about) != count or [(each.shape, each.dtype) for each in values] != [
        (each.shape, each.dtype) for each in like
    ]:
        raise _damaged(file, f"its {len(values)} arrays are not the {len(like)} of this training")
    return about, values


def _damaged(file: Path, reason: str) -> ValueError:
    return ValueError(
        f"'{file}' is damaged: expected the state of a stage, but {reason}. Restore the file, or remove it: then the "
        "stage begins anew."
    )
